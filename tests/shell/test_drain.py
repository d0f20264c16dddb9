"""``drain``, and what shows the store: ``inspect``, ``refused``, ``resume`` and ``prune``."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
from b24_portal import Portal
from program import MEMBER, Shell, ended

HEAD = "code,message_id,status\n"


def report(shell: Shell, count: int, first: int = 1) -> None:
    """Puts receipts into the store."""
    rows = "".join(f"provider1,m{n},sent\n" for n in range(first, first + count))
    done = shell("batch", "--member-id", MEMBER, text=HEAD + rows)
    assert done.code == 0, done


def test_drain_says_what_it_has_done(installed: Shell, portal: Portal) -> None:
    report(installed, 3)
    done = installed("drain", "--seconds", 1)
    assert (done.code, done.out, done.err) == (0, "3 sent, 0 refused, 0 held, 0 waiting\n", "")
    assert len(portal.messages()) == 3


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("how_long", [["--forever"], ["--seconds", "600"]])
def test_a_signal_lets_requests_finish_and_starts_no_others(
    installed: Shell, portal: Portal, which: signal.Signals, how_long: list[str]
) -> None:
    report(installed, 150)
    before = portal.seen()["requests"]
    portal.set(latency_ms=600_000)
    with installed.start("drain", *how_long) as process:
        portal.wait(requests=before + 1)
        process.send_signal(which)
        # It waits for the answer, which has not come yet.
        with pytest.raises(TimeoutError):
            portal.wait(requests=before + 2, timeout=1)
        assert process.poll() is None
        portal.release()
        done = ended(process)
    assert done.code == 0, done
    assert portal.seen()["requests"] == before + 1
    assert installed("inspect", "--json").json()["totals"]["waiting"] == 100


def test_a_second_signal_ends_requests(installed: Shell, portal: Portal) -> None:
    report(installed, 1)
    before = portal.seen()["requests"]
    portal.fault("hang", at="update")
    portal.fault("hang", at="batch")
    with installed.start("drain", "--forever") as process:
        portal.wait(requests=before + 1)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(TimeoutError):
            portal.wait(requests=before + 2, timeout=1)
        process.send_signal(signal.SIGTERM)
        done = ended(process)
    assert done.code == 143, done
    portal.release()


def test_a_service_manager_is_told(installed: Shell, tmp_path: Path) -> None:
    for name in (str(tmp_path / "notify"), f"\0{tmp_path}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(name)
            manager.settimeout(60)
            environment = {"NOTIFY_SOCKET": name.replace("\0", "@")}
            with installed.start("drain", "--forever", env=environment) as process:
                assert manager.recv(64) == b"READY=1"
                process.send_signal(signal.SIGTERM)
                assert ended(process).code == 0
                assert manager.recv(64) == b"STOPPING=1"


def test_a_drain_sees_receipts_that_come_later(installed: Shell, portal: Portal) -> None:
    with installed.start("drain", "--forever") as process:
        for number in range(1, 4):
            before = portal.seen()["requests"]
            report(installed, 1, number)
            portal.wait(requests=before + 1)
        process.send_signal(signal.SIGTERM)
        assert ended(process).code == 0
    assert len(portal.messages()) == 3
