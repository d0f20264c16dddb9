"""Forks: workers made before or after the first call, their children, and forks amid calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from b24_messageservice import Cancelled, Client
from b24_portal import Portal

if not hasattr(os, "fork"):
    pytest.skip("this system has no fork", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def forked(work: Callable[[], Any]) -> int:
    """Begins work in a child: its process id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def done(child: int) -> None:
    """Waits for a child, and asserts that it raised nothing."""
    assert os.waitpid(child, 0)[1] == 0


def send(client: Client, message_id: str) -> None:
    client.message_status_update("provider1", message_id, "sent")


def connections(portal: Portal) -> dict[str, set[int]]:
    """The connections over which each sort of message came, by the first word of its id."""
    found: dict[str, set[int]] = {}
    for entry in portal.seen()["log"]:
        sort = str(entry["params"]["MESSAGE_ID"]).split(".")[0]
        found.setdefault(sort, set()).add(entry["connection"])
    return found


def test_a_child_of_a_child(portal: Portal) -> None:
    client = portal.client()
    send(client, "parent")

    def child() -> None:
        send(client, "child")
        done(forked(lambda: send(client, "grandchild")))
        send(client, "child")

    done(forked(child))
    send(client, "parent")
    used = connections(portal)
    assert [len(used[sort]) for sort in ("parent", "child", "grandchild")] == [1, 1, 1]
    assert len(set.union(*used.values())) == 3


@pytest.mark.parametrize("warm", [False, True])
def test_prefork_workers(portal: Portal, warm: bool) -> None:
    client = portal.client()
    if warm:
        send(client, "master")

    def work() -> None:
        for number in range(25):
            send(client, f"{os.getpid()}.{number}")

    workers = [forked(work) for _ in range(8)]
    for worker in workers:
        done(worker)
    send(client, "master")
    used = connections(portal)
    assert set(used) == {"master", *map(str, workers)}
    assert all(len(of_one) == 1 for of_one in used.values())
    assert len(set.union(*used.values())) == 9
    assert len(portal.messages()) >= 8 * 25


def test_a_storm_of_forks_amid_calls(portal: Portal) -> None:
    """Whatever the threads hold at the moment of a fork, no child waits for it."""
    client = portal.client(timeout=60)
    stop = threading.Event()

    def calls(thread: int) -> int:
        made = 0
        while not stop.is_set():
            send(client, f"thread{thread}.{made % 10}")
            updates = [("provider1", f"thread{thread}.{n}", "sent") for n in range(3)]
            assert client.message_status_update_batch(updates) == [None] * 3
            made += 1
        return made

    with ThreadPoolExecutor(4) as pool:
        threads = [pool.submit(calls, thread) for thread in range(4)]
        try:
            for number in range(60):
                child = forked(lambda number=number: send(client, f"child{number}.0"))  # type: ignore[misc]
                done(child)
        finally:
            stop.set()
        assert all(thread.result() > 0 for thread in threads)
    messages = portal.messages()
    assert all(messages[f"provider1|child{number}.0"] == "sent" for number in range(60))
    assert portal.seen()["bad"] == []


def test_a_fork_while_a_thread_renews(portal: Portal) -> None:
    """The child waits for no renewal of its parent's thread: that thread is not in it."""
    portal.reset(expired=True)
    client = portal.client(**portal.renewable())
    portal.fault("hang", at="oauth")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(send, client, "parent")
        while portal.seen()["renewal_requests"] == 0:
            pass
        done(forked(lambda: send(client, "child")))
        # The child renewed first; the token of the parent's attempt is spent, which its answer,
        # never given, would not have told.
        assert portal.seen()["renewals"] == 1
        client.cancel()
        with pytest.raises(Exception, match="cancelled"):
            call.result()


def test_a_signal_handler_forks_amid_a_call(portal: Portal) -> None:
    """The answer is the parent's: the call ends in the child, which then makes its own."""
    client = portal.client()
    portal.fault("slow_header", ms_per_byte=8)
    parent = os.getpid()
    children = []
    before = signal.signal(signal.SIGUSR1, lambda *_: children.append(os.fork()))

    def signal_amid_the_call() -> None:
        portal.wait(requests=1)
        os.kill(parent, signal.SIGUSR1)

    watcher = forked(signal_amid_the_call)
    try:
        send(client, "once")
        ended = False
    except Cancelled:
        ended = True
    if os.getpid() != parent:
        try:
            send(client, "child")
        except BaseException:
            ended = False
        os._exit(0 if ended else 1)
    signal.signal(signal.SIGUSR1, before)
    done(watcher)
    assert not ended
    for child in children:
        done(child)
    sent = [entry["params"]["MESSAGE_ID"] for entry in portal.seen()["log"]]
    assert (len(children), sent.count("once"), sent.count("child")) == (1, 1, 1)


# Runs as process 1 of a PID namespace, and forks a child that is process 1 of another.
SAME_PROCESS_ID = """
import ctypes, json, os, sys
from b24_messageservice import Client, MessageNotFound

NEW_PID_NAMESPACE = 0x20000000
client = Client(**json.loads(sys.argv[1]))
client.message_status_update("provider1", "known", "sent")
assert ctypes.CDLL(None).unshare(NEW_PID_NAMESPACE) == 0
child = os.fork()
assert os.getpid() == 1
wrong = 0
for _ in range(500):
    try:
        client.message_status_update("provider1", "known" if child else "unknown", "sent")
        known = True
    except MessageNotFound:
        known = False
    except Exception:
        known = None
    wrong += known is not bool(child)
if child:
    wrong += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(wrong)
else:
    os._exit(min(wrong, 255))
"""


def test_a_child_with_its_parents_process_id(portal: Portal) -> None:
    """Each gets the answers to its own calls: only the parent sends a known message."""
    namespace = ["unshare", "--pid", "--fork"]
    tried = subprocess.run([*namespace, "unshare", "--pid", "--fork", "true"], check=False)
    if tried.returncode != 0:
        pytest.skip("no PID namespace can be made here; it takes CAP_SYS_ADMIN")
    portal.set(messages=["provider1|known"])
    # Over TLS a shared connection breaks; without, its answers are taken for each other.
    options = portal.options(
        portal=f"http://127.0.0.1:{portal.http_port}",
        allow_http=True,
        rate_limit="off",
    )
    parent = subprocess.run(
        [*namespace, sys.executable, "-c", SAME_PROCESS_ID, json.dumps(options)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    assert int(parent.stdout) == 0
    seen = portal.seen()
    assert (seen["requests"], seen["connections"]) == (1001, 2)
