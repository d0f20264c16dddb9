"""Threads, signals, forks and cancellation while a call waits.

An interruption is sent when the waiting thread is known to wait: after an event, and once the
kernel says that the thread is blocked in a system call which is not the wait for the GIL.
"""

from __future__ import annotations

import _thread
import contextlib
import itertools
import logging
import multiprocessing
import os
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from b24_messageservice import (
    B24Error,
    CallTimeout,
    Cancelled,
    Client,
    RateLimited,
    Tokens,
    renewals_wait,
)
from b24_portal import Portal

UPDATE = ("provider1", "m1", "delivered")
FUTEX = {"x86_64": "202", "aarch64": "98"}[platform.machine()]

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see a thread wait")


def until_blocked(thread_id: int) -> None:
    """Returns when the thread is in a system call that waits for something but a lock."""
    path = Path(f"/proc/self/task/{thread_id}/syscall")
    while path.read_text(encoding="ascii").split()[0] in ("running", FUTEX):
        pass


@contextlib.contextmanager
def when_main_waits(ready: Callable[[], Any], act: Callable[[], Any]) -> Iterator[None]:
    """Does something from another thread once the main thread is ready for it and waits."""
    main = threading.main_thread().native_id
    assert main is not None

    def run() -> None:
        ready()
        until_blocked(main)
        act()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run)
        yield
        done.result()


def interrupted(ready: Callable[[], Any], call: Callable[[], Any]) -> None:
    """Asserts that Ctrl-C ends a call, and prints how long that took."""
    sent: list[float] = []

    def ctrl_c() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    with when_main_waits(ready, ctrl_c), pytest.raises(KeyboardInterrupt):
        call()
    print(f"KeyboardInterrupt {(time.perf_counter() - sent[0]) * 1000:.1f} ms after the signal")


class Seen(logging.Handler):
    """An event: a record of the library that has a word in it."""

    def __init__(self, word: str) -> None:
        super().__init__(logging.DEBUG)
        self.word = word
        self.event = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.word in record.getMessage():
            self.event.set()

    def __enter__(self) -> Seen:
        logger = logging.getLogger("b24_messageservice")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger("b24_messageservice")
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(self)


def nothing() -> None:
    pass


@linux
@pytest.mark.parametrize("kind", ["hang", "hang_after", "drip"])
def test_ctrl_c_while_the_portal_does_not_answer(portal: Portal, kind: str) -> None:
    portal.fault(kind, **({"ms_per_byte": 500} if kind == "drip" else {}))
    interrupted(lambda: portal.wait(1), lambda: portal.client().message_status_update(*UPDATE))
    portal.release()


@linux
def test_ctrl_c_in_a_batch(portal: Portal) -> None:
    portal.fault("hang")
    interrupted(
        lambda: portal.wait(1),
        lambda: portal.client().message_status_update_batch([UPDATE]),
    )
    portal.release()


@linux
def test_other_threads_and_signals_get_in_while_a_batch_is_read(portal: Portal) -> None:
    begun = threading.Event()

    def interrupt() -> None:
        begun.wait()
        _thread.interrupt_main()

    client = portal.client()
    # Nothing of it is Python's bytecode, which would let others in by itself.
    rows = itertools.repeat(UPDATE, 1_000_000)

    def begin() -> None:
        begun.set()
        client.message_status_update_batch(rows)

    with ThreadPoolExecutor(1) as pool:
        interrupter = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            begin()
        interrupter.result()
    assert portal.seen()["requests"] == 0


def test_ctrl_c_while_connecting(portal: Portal) -> None:
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        # Fill the queue: further connections get no answer at all.
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(("127.0.0.1", port))
        client = portal.client(resolve=f"{portal.host}:443:127.0.0.1:{port}")
        interrupted(nothing, lambda: client.message_status_update(*UPDATE))


@linux
def test_ctrl_c_in_the_tls_handshake(portal: Portal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = portal.client(resolve=f"{portal.host}:443:127.0.0.1:{port}")
        accepted: list[object] = []
        interrupted(
            lambda: accepted.append(listener.accept()),
            lambda: client.message_status_update(*UPDATE),
        )
        for connection, _ in accepted:  # type: ignore[misc]
            connection.close()  # type: ignore[has-type]


@linux
def test_ctrl_c_in_the_back_off(portal: Portal) -> None:
    refusal = {"status": 503, "error": "INTERNAL_SERVER_ERROR", "headers": {"Retry-After": "20"}}
    portal.fault("error", **refusal)
    with Seen("INTERNAL_SERVER_ERROR") as seen:
        interrupted(seen.event.wait, lambda: portal.client().message_status_update(*UPDATE))
    assert portal.seen()["requests"] == 1


@linux
def test_ctrl_c_while_the_rate_limit_has_no_turn(portal: Portal) -> None:
    hasty = portal.client(rate_limit="1/0.1", timeout=1)

    def fill() -> None:
        while True:
            hasty.message_status_update(*UPDATE)

    with pytest.raises(RateLimited):
        fill()
    requests = portal.seen()["requests"]
    patient = portal.client(rate_limit="1/0.1", timeout=60)
    interrupted(nothing, lambda: patient.message_status_update(*UPDATE))
    assert portal.seen()["requests"] == requests


@linux
def test_ctrl_c_while_another_call_of_the_message_is_under_way(portal: Portal) -> None:
    portal.fault("hang")
    client = portal.client()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.message_status_update, *UPDATE)
        portal.wait(1)
        interrupted(nothing, lambda: client.message_status_update(*UPDATE))
        portal.release()
        first.exception()
    print("seen", portal.seen()["requests"])


@linux
def test_ctrl_c_while_another_thread_renews(portal: Portal) -> None:
    portal.set(expired=True, oauth_latency_ms=3000)
    client = Client(**portal.renewable())
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.message_status_update, *UPDATE)
        portal.wait(1)
        interrupted(
            lambda: portal.wait(2),
            lambda: client.message_status_update("provider1", "m2", "sent"),
        )
        assert first.exception() is None
    assert portal.seen()["renewals"] == 1


@linux
@pytest.mark.parametrize("stored", [False, True], ids=["memory", "state_dir"])
def test_ctrl_c_in_a_renewal_loses_nothing(portal: Portal, tmp_path: Path, stored: bool) -> None:
    portal.set(expired=True, oauth_latency_ms=60_000)
    given: list[Tokens] = []
    state = {"state_dir": tmp_path / "state"} if stored else {}
    client = Client(**portal.renewable(on_renewal=given.append, **state))
    interrupted(
        lambda: portal.wait(renewal_requests=1),
        lambda: client.message_status_update(*UPDATE),
    )
    assert portal.seen()["renewals"] == len(given) == 0
    with pytest.raises(CallTimeout):
        renewals_wait(0)
    portal.release()
    client.message_status_update(*UPDATE)
    assert [tokens.refresh_token for tokens in given] == [portal.tokens()["refresh_token"]]
    assert client.tokens == given[0]
    seen = portal.seen()
    assert (seen["renewals"], seen["renewal_requests"], seen["spent_tokens"]) == (1, 1, 0)
    assert portal.tokens()["lost"] is False


@linux
def test_ctrl_c_ends_the_wait_for_renewals(portal: Portal) -> None:
    portal.set(expired=True, oauth_latency_ms=60_000)
    client = Client(**portal.renewable(timeout=2))
    with pytest.raises(CallTimeout):
        client.message_status_update(*UPDATE)
    main = threading.main_thread().ident
    assert main is not None

    def wait() -> None:
        renewals_wait(45)

    def ctrl_c() -> None:
        while sys._current_frames()[main].f_code is not wait.__code__:
            if over.is_set():
                return
        os.kill(os.getpid(), signal.SIGINT)

    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(ctrl_c)
        try:
            with pytest.raises(KeyboardInterrupt):
                wait()
        finally:
            over.set()
    assert portal.seen()["renewals"] == 0


@pytest.mark.parametrize("fault", ["hang", "drip", "renewal"])
def test_a_signal_between_two_waits_ends_the_call(portal: Portal, fault: str) -> None:
    """It has ended no system call, so only asking for it finds it."""
    if fault == "renewal":
        portal.set(expired=True, oauth_latency_ms=60_000)
    else:
        portal.fault(fault, **({"ms_per_byte": 20} if fault == "drip" else {}))
    client = Client(**portal.renewable(timeout=20))

    def ctrl_c() -> None:
        portal.wait(1, renewal_requests=int(fault == "renewal"))
        _thread.interrupt_main()

    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            client.message_status_update(*UPDATE)
        done.result()
    took = time.monotonic() - began
    print(f"KeyboardInterrupt after {took:.2f} s of at most 20")
    assert took < 20, "it came when the deadline ended the call"
    portal.release()


@linux
def test_the_client_works_on_after_ctrl_c(portal: Portal) -> None:
    client = portal.client()
    portal.fault("hang")
    interrupted(lambda: portal.wait(1), lambda: client.message_status_update(*UPDATE))
    client.message_status_update("provider1", "m2", "sent")
    assert portal.messages()["provider1|m2"] == "sent"
    portal.release()


@linux
def test_a_handler_that_raises_its_own_ends_the_call_with_it(portal: Portal) -> None:
    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGTERM, stop)
    portal.fault("hang")
    try:
        with (
            when_main_waits(lambda: portal.wait(1), lambda: os.kill(os.getpid(), signal.SIGTERM)),
            pytest.raises(Stop),
        ):
            portal.client().message_status_update(*UPDATE)
    finally:
        signal.signal(signal.SIGTERM, before)
        portal.release()


@linux
def test_a_handler_that_returns_lets_the_call_go_on(portal: Portal) -> None:
    handled: list[int] = []

    def handle(number: int, _frame: object) -> None:
        handled.append(number)
        # The call under way cannot end before this: the handler ran while it waited.
        portal.release()

    before = signal.signal(signal.SIGTERM, handle)
    portal.fault("hang")
    try:
        with when_main_waits(lambda: portal.wait(1), lambda: os.kill(os.getpid(), signal.SIGTERM)):
            portal.client().message_status_update(*UPDATE)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert handled == [signal.SIGTERM]
    assert portal.messages()["provider1|m1"] == "delivered"


def test_other_threads_run_while_a_call_waits(portal: Portal) -> None:
    portal.fault("hang")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(portal.client(timeout=20).message_status_update, *UPDATE)
        portal.wait(1)
        progress = sum(range(100_000))
        assert progress
        assert not call.done()
        portal.release()
        # Had the call held the GIL, nothing could have been released before its deadline.
        call.result()


def test_cancel_ends_a_call_from_another_thread(portal: Portal) -> None:
    portal.fault("hang")
    client = portal.client()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.message_status_update, *UPDATE)
        portal.wait(1)
        client.cancel()
        assert type(call.exception()) is Cancelled
    client.message_status_update("provider1", "m2", "sent")
    portal.release()


def test_cancel_ends_each_update_of_a_batch(portal: Portal) -> None:
    portal.fault("hang")
    client = portal.client()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.message_status_update_batch, [UPDATE, UPDATE])
        portal.wait(1)
        client.cancel()
        outcomes = call.result()
    assert [type(outcome) for outcome in outcomes] == [Cancelled, Cancelled]
    portal.release()


def test_equal_clients_take_turns_for_a_message(portal: Portal) -> None:
    portal.fault("status", status=503, headers={"Retry-After": "1"})
    first, second = portal.client(), portal.client()
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(first.message_status_update, "provider1", "m1", "sent")
        portal.wait(1)
        second.message_status_update("provider1", "m1", "delivered")
        early.result()
    assert portal.history() == {"provider1|m1": ["sent", "delivered"]}


def test_threads_share_a_client(portal: Portal) -> None:
    client = portal.client(rate_limit="off")

    def report(thread: int) -> None:
        for number in range(25):
            client.message_status_update("provider1", f"{thread}-{number}", "sent")
            client.message_status_update("provider1", f"{thread}-{number}", "delivered")

    with ThreadPoolExecutor(16) as pool:
        for outcome in [pool.submit(report, thread) for thread in range(16)]:
            outcome.result()
    seen = portal.seen()
    assert list(portal.messages().values()).count("delivered") == 400
    assert seen["requests"] == 800
    assert seen["connections"] <= 16
    assert seen["bad"] == []


def test_threads_with_an_expired_token_renew_once(portal: Portal) -> None:
    portal.set(expired=True)
    renewed: list[object] = []
    client = portal.client(**portal.renewable(rate_limit="off", on_renewal=renewed.append))
    start = threading.Barrier(16)

    def report(thread: int) -> None:
        start.wait()
        client.message_status_update("provider1", str(thread + 1), "delivered")

    with ThreadPoolExecutor(16) as pool:
        for outcome in [pool.submit(report, thread) for thread in range(16)]:
            outcome.result()
    assert portal.seen()["renewals"] == len(renewed) == 1
    assert portal.seen()["spent_tokens"] == 0


def test_threads_log_and_renew_without_deadlock(
    portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    portal.set(expired=True)
    client = portal.client(**portal.renewable(rate_limit="off", on_renewal=lambda _: None))

    def report(thread: int) -> None:
        for number in range(10):
            client.message_status_update("provider1", f"{thread}-{number}", "delivered")
            assert client.tokens.access_token
            assert repr(client)

    with caplog.at_level(logging.DEBUG, "b24_messageservice"), ThreadPoolExecutor(8) as pool:
        for outcome in [pool.submit(report, thread) for thread in range(8)]:
            outcome.result(timeout=60)
    assert len(caplog.records) >= 80


def in_child(work: Callable[[], None]) -> None:
    """Runs it in a forked child, and asserts that it raised nothing."""
    context = multiprocessing.get_context("fork")
    child = context.Process(target=work)
    child.start()
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_client_made_before_a_fork_works_in_parent_and_child(portal: Portal) -> None:
    client = portal.client()
    client.message_status_update("provider1", "before", "sent")
    in_child(lambda: client.message_status_update("provider1", "child", "sent"))
    client.message_status_update("provider1", "after", "sent")
    log = {entry["params"]["MESSAGE_ID"]: entry["connection"] for entry in portal.seen()["log"]}
    assert log["before"] == log["after"] != log["child"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_while_another_thread_is_inside_a_call(portal: Portal) -> None:
    client = portal.client(timeout=20)
    portal.fault("hang")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.message_status_update, *UPDATE)
        portal.wait(1)
        in_child(lambda: client.message_status_update(*UPDATE))
        portal.release()
        call.result()
    assert portal.messages()["provider1|m1"] == "delivered"


def test_an_error_in_one_thread_stays_there(portal: Portal) -> None:
    portal.set(messages=["provider1|known"])
    client = portal.client(rate_limit="off")

    def report(name: str) -> bool:
        try:
            client.message_status_update("provider1", name, "sent")
        except B24Error:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(report, ["known", "unknown"] * 20))
    assert outcomes == [True, False] * 20
