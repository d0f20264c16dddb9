"""Many threads on one object. With a free-threaded CPython they really run at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from b24_messageservice import (
    AsyncClient,
    Cancelled,
    CancelToken,
    Client,
    InvalidArgument,
    Provider,
    Status,
    Tokens,
    Vocabulary,
)
from b24_portal import Portal
from test_provider_waiting import MEMBER

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
ROUNDS = int(os.environ.get("B24_THREAD_ROUNDS", "40" if FREE_THREADED else "4"))
THREADS = 8


def at_once(*works: Callable[[], object], times: int = THREADS) -> None:
    """Each of them on `times` threads, which begin at the same moment."""
    faults: list[BaseException] = []
    barrier = threading.Barrier(len(works) * times)

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        try:
            work()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=run, args=[work]) for work in works for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


@pytest.mark.skipif(not FREE_THREADED, reason="this CPython has a GIL, which is always on")
def test_the_module_leaves_the_gil_off() -> None:
    assert sys._is_gil_enabled() is False  # type: ignore[attr-defined,unused-ignore]


def test_one_client_for_many_threads(portal: Portal) -> None:
    client = portal.client(rate_limit="off")
    for number in range(ROUNDS):

        def report(number: int = number) -> None:
            mine = threading.get_ident()
            client.message_status_update("provider1", f"{number}-{mine}", Status.SENT)
            outcomes = client.message_status_update_batch(
                [("provider1", f"{number}-{mine}-{of}", "delivered") for of in range(3)]
            )
            assert outcomes == [None, None, None]
            assert client.tokens.access_token
            repr(client)

        at_once(report)
    assert portal.seen()["requests"] == ROUNDS * THREADS * 2


def test_a_client_that_is_closed_and_cancelled_meanwhile(portal: Portal) -> None:
    for _ in range(ROUNDS):
        client, token = portal.client(rate_limit="off"), CancelToken()

        def report(client: Client = client, token: CancelToken = token) -> None:
            with contextlib.suppress(Cancelled, InvalidArgument):
                client.message_status_update("provider1", "m1", "sent", cancel=token)

        at_once(report, client.cancel, token.cancel, client.close, gc.collect, times=2)
        with pytest.raises(InvalidArgument, match="closed"):
            client.message_status_update("provider1", "m1", "sent")


def test_renewals_call_back_once(portal: Portal) -> None:
    told: list[Tokens] = []
    portal.set(client_endpoint=f"https://{portal.host}/rest/")
    client = Client(**portal.renewable(rate_limit="off", on_renewal=told.append))
    for number in range(ROUNDS):
        portal.fault("expire")
        at_once(lambda: client.message_status_update("provider1", "m1", "sent"))
        assert len(told) == number + 1
    assert client.tokens == told[-1]


def test_one_provider_for_many_threads(portal: Portal, tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path}/b24.db"
    with Provider(**portal.provider_options(store=store, rate_limit="off")) as provider:
        posted = portal.install()
        provider.receive(posted["content_type"], posted["body"])
        vocabulary = Vocabulary("smpp")
        for number in range(max(ROUNDS // 4, 2)):

            def report(number: int = number) -> None:
                message = f"{number}-{threading.get_ident()}"
                status = vocabulary.status("DELIVRD")
                provider.report(MEMBER, "provider1", message, status)
                assert provider.report_many([(MEMBER, "provider1", f"{message}-2", "sent")]) == [
                    None
                ]

            def look() -> None:
                provider.drain(0.05)
                list(provider.inspect())
                list(provider.refused())

            at_once(report, look, times=4)
        while provider.drain(5).waiting:
            pass
        assert [state.waiting for state in provider.inspect()] == [0]
    with pytest.raises(InvalidArgument, match="closed"):
        provider.inspect()


def test_a_provider_that_is_closed_meanwhile(portal: Portal, tmp_path: Path) -> None:
    for number in range(max(ROUNDS // 4, 2)):
        store = f"sqlite:{tmp_path}/{number}.db"
        provider = Provider(**portal.provider_options(store=store, rate_limit="off"))

        def use(provider: Provider = provider) -> None:
            with contextlib.suppress(Cancelled, InvalidArgument):
                provider.report(MEMBER, "provider1", "m1", "sent")
                provider.drain(0.05)

        at_once(use, provider.close, provider.cancel, times=3)


def test_clients_for_asyncio_on_several_loops(portal: Portal) -> None:
    async def work() -> None:
        async with AsyncClient(**portal.options(rate_limit="off"), max_threads=4) as client:
            updates = [
                client.message_status_update("provider1", f"m{number}", "sent")
                for number in range(8)
            ]
            await asyncio.gather(*updates)

    for _ in range(max(ROUNDS // 4, 2)):
        at_once(lambda: asyncio.run(work()), times=4)
