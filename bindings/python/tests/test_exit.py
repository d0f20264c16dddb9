"""The end of the interpreter amid a renewal: its answer is awaited, and stored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from b24_portal import Portal

PROGRAM = """
import json, os, pathlib, sys
from b24_messageservice import CallTimeout, Client, renewals_wait

options, stored, end = json.loads(sys.stdin.readline())

def store(tokens):
    pathlib.Path(stored).write_text(tokens.refresh_token)

client = Client(**options, on_renewal=store)
try:
    client.message_status_update("provider1", "m1", "sent")
except CallTimeout:
    print("timed out", flush=True)
if end == "raise":
    raise SystemExit(3)
if end == "_exit":
    renewals_wait(45)
    os._exit(3)
if end == "fork":
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print("the child has ended", flush=True)
    sys.exit(3)
"""


class Running:
    """The program, once its call has timed out in the renewal."""

    def __init__(self, portal: Portal, directory: Path, end: str) -> None:
        portal.set(expired=True, oauth_latency_ms=60_000)
        self.stored = directory / "stored"
        self.state_dir = directory / "state"
        options: dict[str, Any] = portal.renewable(timeout=2, state_dir=str(self.state_dir))
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([options, str(self.stored), end]) + "\n")
        self.process.stdin.flush()
        assert self.line() == "timed out"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip()

    def ended(self) -> int:
        """The exit code, once it has ended."""
        return self.process.wait(60)


@pytest.fixture
def running(portal: Portal, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    running = Running(portal, tmp_path, request.param)
    yield running
    running.process.kill()
    running.process.communicate()


def assert_kept(portal: Portal, running: Running) -> None:
    token = portal.tokens()["refresh_token"]
    assert running.stored.read_text(encoding="utf-8") == token
    files = [path.read_bytes() for path in running.state_dir.iterdir() if path.is_file()]
    assert any(token.encode() in text for text in files)
    assert portal.seen()["renewals"] == 1
    assert portal.tokens()["lost"] is False


@pytest.mark.parametrize("running", ["end", "raise", "_exit"], indirect=True)
def test_the_end_waits_for_a_renewal(portal: Portal, running: Running) -> None:
    # It must not have ended before: nothing tells that a process waits, but that it is there.
    with pytest.raises(subprocess.TimeoutExpired):
        running.process.wait(1)
    portal.release()
    assert running.ended() in (0, 3)
    assert_kept(portal, running)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("running", ["fork"], indirect=True)
def test_a_child_does_not_wait_for_a_renewal_of_its_parent(
    portal: Portal, running: Running
) -> None:
    assert running.line() == "the child has ended"
    assert portal.seen()["renewals"] == 0
    portal.release()
    assert running.ended() == 3
    assert_kept(portal, running)


@pytest.mark.parametrize("running", ["end"], indirect=True)
def test_ctrl_c_ends_the_wait_at_the_end(portal: Portal, running: Running) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        running.process.wait(1)
    running.process.send_signal(signal.SIGINT)
    running.ended()
    assert portal.seen()["renewals"] == 0
    assert not running.stored.exists()
