"""The client and the provider for asyncio."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from b24_messageservice import (
    AsyncClient,
    AsyncProvider,
    Cancelled,
    CancelToken,
    Client,
    InvalidArgument,
    InvalidConfig,
    Provider,
    Tokens,
)
from b24_messageservice.aio import _Threads
from b24_portal import Portal
from test_fork import done, forked
from test_provider_waiting import MEMBER

T = TypeVar("T")

HANDLER = "https://provider.test/handler"


def client_of(portal: Portal, **options: Any) -> AsyncClient:
    return AsyncClient(**portal.options(**options))


def provider_of(portal: Portal, tmp_path: Path, **options: Any) -> AsyncProvider:
    return AsyncProvider(**portal.provider_options(store=f"sqlite:{tmp_path}/b24.db", **options))


async def installed(provider: AsyncProvider, portal: Portal) -> None:
    posted = portal.install()
    await provider.receive(posted["content_type"], posted["body"])


async def until(there: Callable[[], bool]) -> None:
    """Waits for something that another thread does."""
    begun = time.monotonic()
    while not there():
        assert time.monotonic() < begun + 60
        await asyncio.sleep(0.002)


def threads(name: str = "b24-") -> int:
    """How many there are with such names. The one that closes ends a moment after it has closed."""
    for thread in threading.enumerate():
        if thread.name == "b24-close":
            thread.join()
    return sum(thread.name.startswith(name) for thread in threading.enumerate())


async def sent(client: AsyncClient, message_id: str, **limits: Any) -> None:
    await client.message_status_update("provider1", message_id, "sent", **limits)


def test_every_method_of_a_client(portal: Portal) -> None:
    async def main() -> None:
        async with client_of(portal) as client:
            await client.message_status_update("provider1", "m1", "sent", timeout=20)
            outcomes = await client.message_status_update_batch(
                [("provider1", "m2", "sent"), ("provider1", "", "sent")]
            )
            assert outcomes[0] is None
            assert isinstance(outcomes[1], InvalidArgument)
            await client.sender_add("p1", HANDLER, {"en": "One"})
            await client.sender_update("p1", name="Two")
            assert await client.sender_list() == ["p1"]
            await client.sender_delete("p1")
            assert isinstance(await client.message_status_get(1), str)
            assert client.tokens.access_token == portal.access_token
            assert repr(client) == (
                f"<b24_messageservice.AsyncClient of <b24_messageservice.Client {portal.host}>>"
            )
        assert repr(client) == "<b24_messageservice.AsyncClient closed>"
        # The loop's own threads are for the rest of the program.
        assert getattr(asyncio.get_running_loop(), "_default_executor", None) is None

    portal.set(messages=["provider1|m1", "provider1|m2", "1"])
    asyncio.run(main())
    assert portal.history() == {"provider1|m1": ["sent"], "provider1|m2": ["sent"]}
    assert threads() == 0


def test_every_method_of_a_provider(portal: Portal, tmp_path: Path) -> None:
    async def main() -> None:
        async with provider_of(portal, tmp_path) as provider:
            await installed(provider, portal)
            await provider.track("r1", MEMBER, "provider1", "m1", operator="o")
            await provider.report_reference("r1", "sent", operator="o")
            await provider.report(MEMBER, "provider1", "m2", "sent")
            updates = [("provider1", "m3", "sent"), ("provider1", "", "sent")]
            outcomes = await provider.report_batch(MEMBER, updates)
            assert [type(outcome) for outcome in outcomes] == [type(None), InvalidArgument]
            outcomes = await provider.report_many([(MEMBER, "provider1", "m4", "sent", None)])
            assert outcomes == [None]
            [state] = await provider.inspect()
            assert state.waiting == 4
            count = 0
            while count < 4:
                count += (await provider.drain(0.5)).sent
            client = await provider.client(MEMBER)
            async with client:
                assert await client.sender_list() == []
            assert await provider.refused() == []
            await provider.resume(MEMBER)
            await provider.prune(60)
            assert repr(provider) == (
                "<b24_messageservice.AsyncProvider of <b24_messageservice.Provider>>"
            )

    asyncio.run(main())
    assert sorted(portal.history()) == [f"provider1|m{n}" for n in range(1, 5)]
    assert threads() == 0


def shape(parameter: inspect.Parameter) -> tuple[Any, ...]:
    return parameter.name, parameter.kind, parameter.default


@pytest.mark.parametrize(
    ("blocking", "coroutines"), [(Client, AsyncClient), (Provider, AsyncProvider)]
)
def test_the_methods_are_those_of_the_blocking_classes(blocking: Any, coroutines: Any) -> None:
    # `shared` and the context manager are not for asyncio.
    names = {name for name in vars(blocking) if not name.startswith("_")} - {"shared"}
    assert names <= set(dir(coroutines))
    compared = 0
    for name in names - {"tokens", "cancel", "close", "from_env"}:
        method = getattr(coroutines, name)
        assert inspect.iscoroutinefunction(method), name
        theirs = dict(inspect.signature(getattr(blocking, name)).parameters)
        ours = dict(inspect.signature(method).parameters)
        del theirs["cancel"], theirs["self"], ours["self"]
        assert list(map(shape, ours.values())) == list(map(shape, theirs.values())), name
        compared += 1
    print(f"{compared} methods")
    assert compared in (7, 15)


def test_it_is_used_only_while_it_is_open(portal: Portal) -> None:
    async def main() -> None:
        client = client_of(portal)
        with pytest.raises(InvalidArgument, match="async with"):
            await sent(client, "m1")
        for _ in range(2):
            assert await client.open() is client
            await client.open()
            await sent(client, "m1")
            await client.close()
            await client.close()
            with pytest.raises(InvalidArgument, match="not open"):
                await sent(client, "m1")
        with pytest.raises(InvalidConfig, match="ca_file"):
            await client_of(portal, ca_file="/nowhere.pem").open()

    asyncio.run(main())
    assert threads() == 0
    assert portal.seen()["requests"] == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout": 0}, "timeout is "),
        ({"portal": "https://portal.test/rest/1/secret/"}, "portal is "),
        ({"access_token": None}, "access_token is missing"),
        ({"refresh_token": "x"}, "client_id is missing"),
        ({"workers": 2}, "workers is an option of a provider"),
    ],
)
def test_a_client_with_wrong_options_is_not_made(options: dict[str, Any], told: str) -> None:
    given = {"portal": "portal.test", "access_token": "x", **options}
    refused = []
    for make in (Client, AsyncClient):
        with pytest.raises(InvalidConfig, match=told) as error:
            make(**given)
        refused.append(str(error.value))
    assert refused[0] == refused[1]
    assert threads() == 0


def test_a_provider_with_wrong_options_is_not_made(tmp_path: Path) -> None:
    needed: dict[str, Any] = {"client_id": "x", "client_secret": "x"}
    for given, told in (
        (needed, "store is missing"),
        ({"store": f"sqlite:{tmp_path}/b24.db"}, "client_id is missing"),
        ({**needed, "store": "file.db"}, "store "),
        ({**needed, "store": f"sqlite:{tmp_path}/b24.db", "on_renewal": print}, "on_renewal is"),
    ):
        with pytest.raises(InvalidConfig, match=told):
            AsyncProvider(**given)
    AsyncProvider(**needed, store=f"sqlite:{tmp_path}/b24.db")
    assert list(tmp_path.iterdir()) == []


def test_what_the_environment_lacks_is_told_when_it_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("B24_ACCESS_TOKEN", raising=False)
    with pytest.raises(InvalidConfig, match="timeout is "):
        AsyncClient.from_env("portal.test", timeout=0)
    client = AsyncClient.from_env("portal.test")
    with pytest.raises(InvalidConfig, match="access_token is missing"):
        asyncio.run(client.open())
    monkeypatch.setenv("B24_ACCESS_TOKEN", "x")
    asyncio.run(client.open())
    asyncio.run(client.close())


def test_options_stay_as_they_were_given(portal: Portal) -> None:
    renewed: list[Tokens] = []
    portal.set(expired=True)

    async def main() -> None:
        options = portal.renewable(on_renewal=renewed.append)
        async with AsyncClient(**options) as client:
            await sent(client, "m1")

    asyncio.run(main())
    assert len(renewed) == 1


@pytest.mark.parametrize("max_threads", [0, -1, 257])
def test_the_number_of_threads_is_bounded(portal: Portal, max_threads: int) -> None:
    with pytest.raises(InvalidConfig, match="max_threads must be from 1 to 256"):
        client_of(portal, max_threads=max_threads)
    with pytest.raises(TypeError, match="max_threads must be an int, not str"):
        AsyncProvider(max_threads="8")  # type: ignore[arg-type]


def test_threads_are_made_when_they_are_needed(portal: Portal) -> None:
    async def main() -> None:
        async with client_of(portal) as client:
            for number in range(10):
                await sent(client, f"one-{number}")
            # One, and one ahead.
            assert threads("b24-client") == 2
        async with client_of(portal, max_threads=3) as client:
            portal.set(latency_ms=60_000)
            calls = [asyncio.create_task(sent(client, f"m{n}")) for n in range(20)]
            await until(lambda: portal.seen()["requests"] == 13)
            assert threads("b24-client") == 3
            portal.set(latency_ms=0)
            portal.release()
            await asyncio.gather(*calls)
            assert threads("b24-client") == 3

    asyncio.run(main())
    assert portal.seen()["requests"] == 30
    assert portal.seen()["connections"] <= 3


def test_calls_that_wait_begin_in_their_order(portal: Portal) -> None:
    async def main() -> None:
        async with client_of(portal, max_threads=1) as client:
            await asyncio.gather(*(sent(client, f"m{number}") for number in range(30)))

    asyncio.run(main())
    ids = [entry["params"]["MESSAGE_ID"] for entry in portal.seen()["log"]]
    assert ids == [f"m{number}" for number in range(30)]


def test_a_cancelled_task_ends_its_call_alone(portal: Portal) -> None:
    async def main() -> None:
        portal.set(latency_ms=60_000)
        async with client_of(portal, max_threads=2) as client:
            kept, cut, queued, last = (
                asyncio.create_task(sent(client, name))
                for name in ("kept", "cut", "queued", "last")
            )
            await until(lambda: portal.seen()["requests"] == 2)
            # It never begins.
            queued.cancel()
            cut.cancel()
            ended = await asyncio.gather(cut, queued, return_exceptions=True)
            assert [type(end) for end in ended] == [asyncio.CancelledError] * 2
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(sent(client, "late"), 0.1)
            portal.set(latency_ms=0)
            portal.release()
            await kept
            await last

    asyncio.run(main())
    ids = {entry["params"]["MESSAGE_ID"] for entry in portal.seen()["log"]}
    assert {"kept", "cut", "last"} <= ids <= {"kept", "cut", "last", "late"}


def test_a_timeout_of_a_call(portal: Portal) -> None:
    async def main() -> None:
        portal.set(latency_ms=60_000)
        async with client_of(portal) as client:
            with pytest.raises(TimeoutError):
                await sent(client, "m1", timeout=0.1)
            portal.release()

    asyncio.run(main())


def test_the_end_of_a_cancelled_call_is_awaited(portal: Portal) -> None:
    may_end, ended = threading.Event(), threading.Event()

    def slow(token: CancelToken) -> None:
        begun.set()
        while not token.is_cancelled():
            time.sleep(0.001)
        may_end.wait()
        ended.set()

    async def main() -> None:
        pool = _Threads(1, "b24-test")
        task = asyncio.create_task(pool.call(slow))
        await until(begun.is_set)
        for _ in range(5):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()
        pool.shutdown()

    begun = threading.Event()
    asyncio.run(main())


@pytest.mark.parametrize("fails", [{1}, {2}, {1, 2, 3}, {2, 3}], ids=str)
def test_it_goes_on_when_threads_can_be_started_again(
    fails: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that allows no further thread for a moment costs at most the calls of then."""
    start, starts = threading.Thread.start, itertools.count(1)

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("b24-test") and next(starts) in fails:
            raise RuntimeError("can't start new thread")
        start(thread)

    async def main() -> None:
        pool = _Threads(4, "b24-test")
        outcomes = []
        for number in range(6):
            call = pool.call(lambda _, number=number: number)  # type: ignore[misc]
            try:
                outcomes.append(await asyncio.wait_for(call, 30))
            except RuntimeError as fault:
                outcomes.append(str(fault))
        # The first thread is for a call, the others are ahead of them.
        lost = next(n for n in itertools.count() if n + 1 not in fails)
        assert outcomes == ["can't start new thread"] * lost + list(range(lost, 6))
        pool.shutdown()

    monkeypatch.setattr(threading.Thread, "start", limited)
    asyncio.run(main())


def test_it_stays_open_when_nobody_can_wait_for_its_end(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name == "b24-close":
            raise RuntimeError("can't start new thread")
        start(thread)

    async def main() -> None:
        client = await client_of(portal).open()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", limited)
            with pytest.raises(RuntimeError, match="new thread"):
                await client.close()
        await sent(client, "m1")
        await client.close()
        with pytest.raises(InvalidArgument):
            await sent(client, "m2")

    asyncio.run(main())
    assert portal.messages() == {"provider1|m1": "sent"}


def test_closing_waits_for_the_calls(portal: Portal) -> None:
    async def main() -> None:
        portal.set(latency_ms=60_000)
        client = await client_of(portal, max_threads=1).open()
        calls = [asyncio.create_task(sent(client, f"m{n}")) for n in range(3)]
        await until(lambda: portal.seen()["requests"] == 1)
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        portal.set(latency_ms=0)
        portal.release()
        await closing
        assert threads("b24-client") == 0
        await asyncio.gather(*calls)

    asyncio.run(main())
    assert len(portal.messages()) == 3


def test_a_cancelled_close_cancels_the_calls(portal: Portal) -> None:
    async def main() -> None:
        portal.set(latency_ms=60_000)
        client = await client_of(portal, max_threads=1).open()
        calls = [asyncio.create_task(sent(client, f"m{n}")) for n in range(3)]
        await until(lambda: portal.seen()["requests"] == 1)
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0.01)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        for end in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(end, Cancelled)
        portal.release()

    asyncio.run(main())
    assert portal.seen()["requests"] == 1
    assert threads() == 0


def test_the_end_of_a_program_cancels_what_is_under_way(portal: Portal) -> None:
    ends: list[type[BaseException]] = []
    client = client_of(portal)

    async def call() -> None:
        try:
            await sent(client, "m1")
        except BaseException as end:
            ends.append(type(end))
            raise

    async def main() -> None:
        portal.set(latency_ms=60_000)
        await client.open()
        asyncio.create_task(call())  # noqa: RUF006 - nobody waits for it
        await until(lambda: portal.seen()["requests"] == 1)

    asyncio.run(main())
    assert ends == [asyncio.CancelledError]
    portal.release()
    asyncio.run(client.close())


def test_a_loop_that_is_closed_amid_a_call(portal: Portal) -> None:
    portal.set(latency_ms=60_000)
    client = client_of(portal)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.open())
    call = client.message_status_update("provider1", "m1", "sent")
    task = loop.create_task(call)
    loop.run_until_complete(asyncio.sleep(0.05))
    portal.wait(1)
    loop.close()
    # Whoever drops the task drops the call, so another loop can close the client soon.
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    call.close()
    del call, task
    asyncio.run(client.close())
    assert threads() == 0
    portal.release()


def test_several_loops_use_one_client(portal: Portal) -> None:
    client = client_of(portal, rate_limit="off")
    asyncio.run(client.open())

    async def main(loop: int) -> None:
        await asyncio.gather(*(sent(client, f"{loop}-{n}") for n in range(20)))

    loops = [threading.Thread(target=asyncio.run, args=(main(n),)) for n in range(4)]
    for thread in loops:
        thread.start()
    for thread in loops:
        thread.join()
    asyncio.run(client.close())
    assert len(portal.messages()) == 80


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(portal: Portal) -> None:
    client = client_of(portal)

    async def main(name: str) -> None:
        await asyncio.gather(*(sent(client, f"{name}-{n}") for n in range(10)))

    def child() -> None:
        asyncio.run(main("child"))
        asyncio.run(client.close())
        assert threads() == 0

    asyncio.run(client.open())
    asyncio.run(main("before"))
    done(forked(child))
    asyncio.run(main("after"))
    asyncio.run(client.close())
    assert len(portal.messages()) == 30


def test_batches_from_asynchronous_iterators(portal: Portal, tmp_path: Path) -> None:
    async def updates() -> AsyncIterator[tuple[str, str, str]]:
        for number in range(1500):
            yield ("provider1", f"m{number}", "sent")

    async def receipts() -> AsyncIterator[tuple[str, str, str, str]]:
        async for update in updates():
            yield (MEMBER, *update)

    async def main() -> None:
        async with client_of(portal, rate_limit="off") as client:
            assert await client.message_status_update_batch(updates()) == [None] * 1500
        async with provider_of(portal, tmp_path) as provider:
            assert await provider.report_batch(MEMBER, updates()) == [None] * 1500
            assert await provider.report_many(receipts()) == [None] * 1500

    asyncio.run(main())
    assert len(portal.messages()) == 1500


def test_on_renewal_is_a_plain_function(portal: Portal) -> None:
    given: list[tuple[Tokens, str]] = []

    def keep(tokens: Tokens) -> None:
        given.append((tokens, threading.current_thread().name))

    async def wrong(_: Tokens) -> None: ...

    async def main() -> None:
        async with AsyncClient(**portal.renewable(on_renewal=keep)) as client:
            await sent(client, "m1")
            assert client.tokens == given[0][0]

    with pytest.raises(TypeError, match="plain function"):
        client_of(portal, on_renewal=wrong)
    portal.set(expired=True)
    asyncio.run(main())
    assert given[0][1] != threading.current_thread().name
    assert portal.seen()["renewals"] == len(given) == 1


def test_drain_forever(portal: Portal, tmp_path: Path) -> None:
    async def main() -> None:
        rounds: list[int] = []
        async with provider_of(portal, tmp_path, max_threads=1) as provider:
            await installed(provider, portal)
            draining = [
                asyncio.create_task(
                    provider.drain_forever(lambda drained: rounds.append(drained.sent))
                )
                for _ in range(2)
            ]
            # Drains do not take the only thread.
            for number in range(5):
                await provider.report(MEMBER, "provider1", f"m{number}", "sent")
            await until(lambda: len(portal.messages()) == 5)
            draining[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await draining[0]
            assert not draining[1].done()
        # The other ends by itself.
        await draining[1]
        assert sum(rounds) <= 5

    asyncio.run(main())
    assert threads() == 0


def test_drain_forever_goes_on_when_the_store_fails(
    portal: Portal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with provider_of(portal, tmp_path) as provider:
            (tmp_path / "b24.db").rename(tmp_path / "away.db")
            (tmp_path / "b24.db").mkdir()
            draining = asyncio.create_task(provider.drain_forever())
            await until(lambda: "nothing is sent" in caplog.text)
            assert not draining.done()
        await draining

    asyncio.run(main())


# A program that closes nothing ends nevertheless, and at once.
UNCLOSED = """
import asyncio, json, sys
from b24_messageservice import AsyncClient

async def main():
    client = await AsyncClient(**json.loads(sys.argv[1])).open()
    await client.message_status_update("provider1", "m1", "sent")
    asyncio.create_task(client.message_status_update("provider1", "m2", "sent"))
    await asyncio.sleep(0)
    print("the end")

asyncio.run(main())
"""


def test_a_program_that_closes_nothing_ends(portal: Portal) -> None:
    command = [sys.executable, "-c", UNCLOSED, json.dumps(portal.options())]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "the end\n", "")


def test_how_long_the_loop_is_blocked(portal: Portal, tmp_path: Path) -> None:
    provider_options = portal.provider_options(store=f"sqlite:{tmp_path}/b24.db")
    # The same address as the provider's: a process knows an installation by its tokens.
    address = f"https://{portal.host}:{portal.https_port}"
    options = {**portal.options(rate_limit="off"), "portal": address}
    options["resolve"] = provider_options["resolve"]
    arguments = [options, provider_options, portal.install()]
    ticks = Path(__file__).parents[3] / "benches" / "python" / "ticks.py"
    command = [sys.executable, str(ticks), *map(json.dumps, arguments)]
    ended = subprocess.run(command, capture_output=True, check=True)
    figures = json.loads(ended.stdout)
    for phase, latest in figures["latest_ms"].items():
        print(f"{phase}: the latest tick was {latest:.1f} ms late")
    counts = {"calls": 200, "batch": 10_000, "reports": 200, "report_many": 10_000}
    assert figures["counts"] == counts
    assert portal.seen()["requests"] == 400 + 1  # one that asked about the installation
