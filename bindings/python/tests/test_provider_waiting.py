"""The provider amid threads, signals, cancellation and forks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from b24_messageservice import Cancelled, Provider
from b24_portal import Portal
from test_fork import done, forked
from test_waiting import interrupted, linux, when_main_waits

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

MEMBER = "a223c6b3710f85df22e9377d6c4f7553"


@pytest.fixture
def provider(portal: Portal, tmp_path: Path) -> Iterator[Provider]:
    """Installed on the main portal."""
    store = f"sqlite:{tmp_path}/b24.db"
    with Provider(**portal.provider_options(store=store)) as provider:
        posted = portal.install()
        provider.receive(posted["content_type"], posted["body"])
        yield provider


def report(provider: Provider, message_id: str) -> None:
    provider.report(MEMBER, "provider1", message_id, "sent")


def next_request(portal: Portal) -> Callable[[], None]:
    """A function that waits for a request after those that the installation took."""
    before = portal.seen()["requests"]
    return lambda: portal.wait(before + 1)


def drained(provider: Provider) -> None:
    while provider.drain(0.3).waiting:
        pass


@linux
@pytest.mark.parametrize("workers", [0, 8])
def test_ctrl_c_in_a_drain(portal: Portal, tmp_path: Path, workers: int) -> None:
    store = f"sqlite:{tmp_path}/b24.db"
    with Provider(**portal.provider_options(store=store, workers=workers)) as provider:
        posted = portal.install()
        provider.receive(posted["content_type"], posted["body"])
        report(provider, "m1")
        portal.fault("hang")
        sent = next_request(portal)
        interrupted(sent, lambda: provider.drain(60))
        portal.release()


@linux
def test_ctrl_c_while_an_installation_is_confirmed(portal: Portal, tmp_path: Path) -> None:
    portal.fault("hang", at="oauth.app.info")
    posted = portal.install()

    def asked() -> None:
        while portal.seen()["app_info"] == 0:
            pass

    with Provider(**portal.provider_options(store=f"sqlite:{tmp_path}/b24.db")) as provider:
        interrupted(asked, lambda: provider.receive(posted["content_type"], posted["body"]))
    portal.release()


@linux
def test_a_signal_handler_runs_amid_a_drain_which_goes_on(
    portal: Portal, provider: Provider
) -> None:
    report(provider, "m1")
    portal.fault("hang")
    sent = next_request(portal)
    handled: list[int] = []

    def handler(number: int, _: object) -> None:
        handled.append(number)
        report(provider, "m2")
        portal.release()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with when_main_waits(sent, lambda: os.kill(os.getpid(), signal.SIGUSR1)):
            provider.drain(2)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled == [signal.SIGUSR1]
    assert portal.messages() == {"provider1|m1": "sent", "provider1|m2": "sent"}


def test_other_threads_report_while_one_drains(portal: Portal, provider: Provider) -> None:
    report(provider, "first")
    portal.fault("hang")
    sent = next_request(portal)
    with ThreadPoolExecutor(5) as pool:
        drain = pool.submit(provider.drain, 2)
        sent()
        for number in range(40):
            pool.submit(report, provider, f"m{number}").result()
        portal.release()
        drain.result()
    drained(provider)
    assert len(portal.messages()) == 41


def test_cancel_ends_a_drain(portal: Portal, provider: Provider) -> None:
    report(provider, "m1")
    portal.fault("hang")
    sent = next_request(portal)
    with ThreadPoolExecutor(1) as pool:
        drain = pool.submit(provider.drain, 60)
        sent()
        provider.cancel()
        with pytest.raises(Cancelled):
            drain.result()
    portal.release()
    report(provider, "m2")


def test_close_waits_for_a_drain(portal: Portal, provider: Provider) -> None:
    report(provider, "m1")
    portal.fault("hang_after")
    sent = next_request(portal)
    with ThreadPoolExecutor(2) as pool:
        drain = pool.submit(provider.drain, 60)
        sent()
        close = pool.submit(provider.close)
        assert not close.done()
        portal.release()
        close.result()
        # It ended after its request.
        drained = drain.result()
        assert drained.sent + drained.waiting == 1


@pytest.mark.parametrize("warm", [False, True])
def test_prefork_workers(portal: Portal, provider: Provider, warm: bool) -> None:
    if warm:
        report(provider, "master")

    def work(number: int) -> None:
        for message in range(25):
            report(provider, f"{number}.{message}")
        provider.drain(0.2)

    workers = [forked(lambda number=number: work(number)) for number in range(4)]  # type: ignore[misc]
    for worker in workers:
        done(worker)
    report(provider, "master")
    drained(provider)
    assert len(portal.messages()) == 101
    assert portal.seen()["bad"] == []


def test_multiprocessing(portal: Portal, provider: Provider) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=report, args=(provider, f"m{n}")) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    drained(provider)
    assert len(portal.messages()) == 4


def test_a_storm_of_forks_amid_reports_and_drains(portal: Portal, provider: Provider) -> None:
    """A fork waits for a store that is in use, so no child finds it so. Nothing is lost."""
    stop = threading.Event()

    def reports(thread: int) -> int:
        made = 0
        while not stop.is_set():
            report(provider, f"thread{thread}.{made}")
            made += 1
        return made

    def drains() -> None:
        while not stop.is_set():
            provider.drain(0.2)

    with ThreadPoolExecutor(4) as pool:
        threads = [pool.submit(reports, thread) for thread in range(3)]
        draining = pool.submit(drains)
        try:
            for number in range(60):
                done(forked(lambda number=number: report(provider, f"child{number}")))  # type: ignore[misc]
        finally:
            stop.set()
        made = [thread.result() for thread in threads]
        draining.result()
    drained(provider)
    expected = {f"provider1|thread{n}.{m}" for n, count in enumerate(made) for m in range(count)}
    expected |= {f"provider1|child{number}" for number in range(60)}
    assert portal.messages().keys() == expected
    assert all(made)


@pytest.mark.parametrize("workers", [0, 8])
def test_a_signal_handler_forks_amid_a_drain(portal: Portal, tmp_path: Path, workers: int) -> None:
    """The drain ends in the child, which has none of its threads. One of them may have been using
    the store, so with workers the child does not use it."""
    store = f"sqlite:{tmp_path}/b24.db"
    provider = Provider(**portal.provider_options(store=store, workers=workers))
    posted = portal.install()
    provider.receive(posted["content_type"], posted["body"])
    report(provider, "m1")
    portal.fault("slow_header", ms_per_byte=3)
    parent = os.getpid()
    children = []
    before = signal.signal(signal.SIGALRM, lambda *_: children.append(os.fork()))
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        provider.drain(3)
        ended = False
    except Cancelled:
        ended = True
    if os.getpid() != parent:
        try:
            if workers == 0:
                report(provider, "child")
        except BaseException:
            ended = False
        os._exit(0 if ended else 1)
    signal.signal(signal.SIGALRM, before)
    assert not ended
    assert len(children) == 1
    done(children[0])
    drained(provider)
    expected = {"provider1|m1": ["sent"]}
    if workers == 0:
        expected["provider1|child"] = ["sent"]
    assert portal.history() == expected
    provider.close()


# A worker that is killed amid a drain: another one sends what it had begun once more.
KILLED = """
import json, sys
from b24_messageservice import Provider

provider = Provider(**json.loads(sys.argv[1]))
print("ready", flush=True)
provider.drain(2)
"""


def test_what_was_reported_survives_a_kill(
    portal: Portal, provider: Provider, tmp_path: Path
) -> None:
    import json

    options = portal.provider_options(store=f"sqlite:{tmp_path}/b24.db")
    report(provider, "m1")
    portal.fault("hang")
    sent = next_request(portal)
    child = subprocess.Popen([sys.executable, "-c", KILLED, json.dumps(options)])
    sent()
    child.kill()
    child.wait()
    portal.release()
    (state,) = provider.inspect()
    assert state.waiting == 1
