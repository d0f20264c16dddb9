"""The state directory where only a process of its own shows it: two copies of the library, a killed
parent with a child that lives, a disk that is full."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from b24_messageservice import Client, StorageError
from b24_portal import Portal

ROOT = Path(__file__).parents[3]
UPDATE = ("provider1", "m1", "sent")


def c_library() -> ctypes.CDLL:
    """The C library, as a program that is written in C has it beside Python's module."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    named = os.environ.get("B24_MESSAGESERVICE_LIB")
    built = [target / profile / "libb24_messageservice.so" for profile in ("release", "debug")]
    for path in [Path(named)] if named else built:
        if path.exists():
            return ctypes.CDLL(str(path))
    pytest.skip("the C library is not built: make -C bindings/c library")


def update_through_c(library: ctypes.CDLL, options: dict[str, str]) -> int:
    """One update through the C ABI: its code."""
    library.b24_config_new.restype = ctypes.c_void_p
    config = ctypes.c_void_p(library.b24_config_new())
    for name, value in options.items():
        assert library.b24_config_set(config, name.encode(), value.encode(), None) == 0, name
    client = ctypes.c_void_p()
    assert library.b24_client_new(config, ctypes.byref(client), None) == 0
    words = [word.encode() for word in UPDATE]
    code: int = library.b24_message_status_update(client, *words, None)
    library.b24_client_free(client)
    library.b24_config_free(config)
    return code


@pytest.mark.parametrize("attempt", range(5))
def test_two_copies_in_one_process_renew_once(portal: Portal, tmp_path: Path, attempt: int) -> None:
    library = c_library()
    # Long enough for both to want to renew.
    portal.set(expired=True, oauth_latency_ms=100)
    options = portal.renewable(state_dir=tmp_path / "state")
    texts = {
        name: ",".join(value) if isinstance(value, list) else str(value)
        for name, value in options.items()
    }
    client = Client(**options)
    with ThreadPoolExecutor(2) as pool:
        by_c = pool.submit(update_through_c, library, texts)
        by_python = pool.submit(client.message_status_update, *UPDATE)
        by_python.result()
        assert by_c.result() == 0
    seen = portal.seen()
    assert (seen["renewals"], seen["spent_tokens"]) == (1, 0), attempt
    assert not portal.tokens()["lost"]
    assert seen["bad"] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_holds_no_lock_of_a_killed_parent(portal: Portal, tmp_path: Path) -> None:
    portal.set(expired=True)
    portal.fault("hang", at="oauth")
    options = portal.renewable(state_dir=str(tmp_path / "state"))
    # The child is forked while the parent renews, and outlives it: it ends with its input.
    program = f"""
import os, sys, threading
from b24_messageservice import Client
client = Client(**{options!r})
call = threading.Thread(target=client.message_status_update, args={UPDATE!r}, daemon=True)
call.start()
sys.stdin.readline()
child = os.fork()
if child == 0:
    print("child", flush=True)
    sys.stdin.read()
    os._exit(0)
os.waitpid(child, 0)
"""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        portal.wait(renewal_requests=1)
        parent.stdin.write("fork\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "child\n"
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        # The hanging request was not executed. If the child held the lock, this would time out.
        Client(**{**options, "timeout": 20}).message_status_update(*UPDATE)
        seen = portal.seen()
        assert (seen["renewals"], seen["spent_tokens"]) == (1, 0)
        parent.stdin.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k,mode=0700", "none", str(place)]
    mounted = subprocess.run(["mount", *options], check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here, it takes root: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Takes all the room that is left: the file to remove again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as full:
            if full.errno != errno.ENOSPC:
                raise
    return filler


def test_on_a_full_disk_no_token_is_spent_and_calls_go_on(portal: Portal, small_disk: Path) -> None:
    client = Client(**portal.renewable(state_dir=small_disk / "state", max_retries=0))
    filler = fill(small_disk)
    # The rate limit needs the directory as well, and is kept by the process alone.
    client.message_status_update(*UPDATE)
    portal.set(expired=True)
    with pytest.raises(StorageError, match="state_dir") as caught:
        client.message_status_update(*UPDATE)
    assert caught.value.retryable
    assert portal.seen()["renewal_requests"] == 0
    filler.unlink()
    client.message_status_update(*UPDATE)
    seen = portal.seen()
    assert (seen["renewals"], seen["spent_tokens"]) == (1, 0)


def test_a_disk_that_fills_up_amid_a_renewal_has_room_for_its_answer(
    portal: Portal, small_disk: Path
) -> None:
    options = portal.renewable(state_dir=str(small_disk / "state"))
    portal.set(expired=True, oauth_latency_ms=60_000)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(Client(**options).message_status_update, *UPDATE)
        portal.wait(renewal_requests=1)
        fill(small_disk)
        portal.release()
        call.result()
    # Another process begins with the old settings.
    program = f"""
from b24_messageservice import Client
Client(**{options!r}).message_status_update(*{UPDATE!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    seen = portal.seen()
    assert (seen["renewals"], seen["spent_tokens"]) == (1, 0)
    assert not portal.tokens()["lost"]
