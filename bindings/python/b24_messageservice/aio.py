"""The client and the provider for :mod:`asyncio`.

::

    async with AsyncClient("portal.bitrix24.com", access_token="...") as client:
        await client.message_status_update("provider1", "65575980fa53", Status.DELIVERED)

The methods are those of :class:`Client` and :class:`Provider`, as coroutines. Each call is made by
a thread of the object's own. However many calls there are, none takes a thread of the loop's
default executor, which the rest of the program uses.

Cancelling a task ends its call and no other: the call is told to end, its end is awaited, then
``CancelledError`` is raised. ``asyncio.timeout`` and ``asyncio.wait_for`` do so too. A call that
has not begun yet never begins. **What a cancelled call was sending may have been stored.**
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import inspect
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from b24_messageservice._errors import B24Error, InvalidArgument, InvalidConfig
from b24_messageservice._native import CancelToken, Client, Provider, Request, check_options

if TYPE_CHECKING:
    from datetime import datetime
    from os import PathLike
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from b24_messageservice._options import Options, ProviderOptions
    from b24_messageservice._provider import Drained, PortalState, RefusedReceipt
    from b24_messageservice._tokens import Tokens

    _Update = tuple[str, str | int, str] | list[Any]
    _Receipt = (
        tuple[str, str, str | int, str]
        | tuple[str, str, str | int, str, datetime | float | None]
        | list[Any]
    )

__all__ = ["AsyncClient", "AsyncProvider"]

_T = TypeVar("_T")
_Handle = TypeVar("_Handle", bound="Client | Provider")

_log = logging.getLogger("b24_messageservice")

# What `Thread.start` raises where the system has no further thread.
_NO_THREAD = (RuntimeError, MemoryError)


class _Pool:
    """Threads that make calls in their order: at most so many, started when they are needed.

    ``Thread.start`` waits until the thread runs, which on a busy machine takes longer than a loop
    may be blocked. So the threads start each other, one ahead of the calls, and the loop starts
    only the first. With ``ThreadPoolExecutor`` the loop would start all.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads: list[threading.Thread] = []
        # How many of them make no call.
        self._free = 0
        self._ends = False

    def submit(self, call: Callable[[], _T]) -> Future[_T]:
        """Makes a call as soon as a thread is free."""
        future: Future[_T] = Future()
        with self._changed:
            self._waiting.append((future, call))
            self._changed.notify()
            first = None if self._threads else self._next_thread()
        if first is not None:
            try:
                self._start(first)
            except _NO_THREAD as fault:
                # Nobody would make what waits.
                with self._changed:
                    stranded = tuple(self._waiting)
                    self._waiting.clear()
                for left, _ in stranded:
                    if left.set_running_or_notify_cancel():
                        left.set_exception(fault)
        return future

    def shutdown(self) -> None:
        """Waits for all calls, those that wait included, and ends the threads."""
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        # No further ones are made now. One that is being started is joined when it has been.
        for thread in tuple(self._threads):
            while thread.ident is None and thread in self._threads:
                time.sleep(0.001)
            if thread.ident is not None:
                thread.join()

    def _next_thread(self) -> threading.Thread:
        name = f"{self._name}-{len(self._threads)}"
        # The interpreter must not wait for them by itself: they would wait for calls for ever.
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        self._free += 1
        return thread

    def _start(self, thread: threading.Thread) -> None:
        try:
            thread.start()
        except _NO_THREAD:
            # It must not count as one that makes calls.
            with self._changed:
                self._threads.remove(thread)
                self._free -= 1
            raise

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._ends:
                        return
                    self._changed.wait()
                future, call = self._waiting.popleft()
                self._free -= 1
                is_needed = not self._free and not self._ends and len(self._threads) < self._most
                ahead = self._next_thread() if is_needed else None
            if ahead is not None:
                # Without it there is one thread less until the next call.
                with contextlib.suppress(*_NO_THREAD):
                    self._start(ahead)
            self._make(future, call)
            # Nothing of a call stays while the thread waits for the next.
            del future, call, ahead

    def _make(self, future: Future[Any], call: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            with self._changed:
                self._free += 1
            return
        outcome, fault = None, None
        try:
            outcome = call()
        except BaseException as raised:
            fault = raised
        # First, so that who waits for the outcome finds this thread free.
        with self._changed:
            self._free += 1
        if fault is None:
            future.set_result(outcome)
        else:
            future.set_exception(fault)
            # It refers to this frame, which must not refer to it in turn.
            fault = None


class _Threads:
    """The threads of one handle. They belong to no loop, so any number of loops may use them. A
    forked child starts its own."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self.forget()
        _all_threads.add(self)

    def forget(self) -> None:
        """In a forked child: there are none of the parent's threads, and any lock may be held."""
        self._lock = threading.Lock()
        self._pool: _Pool | None = None
        self._tokens: set[CancelToken] = set()

    async def call(self, function: Callable[[CancelToken], _T]) -> _T:
        """Calls a function, which gets the token that cancels it."""
        token = CancelToken()
        # As asyncio.to_thread does, so that filters of log records find what they look for.
        future = self._submit(partial(contextvars.copy_context().run, function, token))
        self._tokens.add(token)
        try:
            await _end_of(future)
        except BaseException as ending:
            # One that has not begun is taken out of the queue.
            if not future.cancel():
                token.cancel()
                if isinstance(ending, asyncio.CancelledError):
                    await _surely(future)
            raise
        finally:
            self._tokens.discard(token)
        try:
            return future.result()
        finally:
            # Its exception refers to this frame, which must not refer to it in turn.
            del future

    def cancel(self) -> None:
        """Cancels all calls."""
        for token in tuple(self._tokens):
            token.cancel()

    def shutdown(self) -> None:
        """Waits for all calls, those that wait for a thread included, and ends the threads."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _submit(self, call: Callable[[], _T]) -> Future[_T]:
        with self._lock:
            if self._pool is None:
                self._pool = _Pool(self._most, self._name)
            return self._pool.submit(call)


_all_threads: weakref.WeakSet[_Threads] = weakref.WeakSet()


def _after_fork() -> None:
    for threads in tuple(_all_threads):
        threads.forget()


def _at_exit() -> None:
    """Nobody waits any more for calls of handles that were not closed."""
    for threads in tuple(_all_threads):
        threads.cancel()
        threads.shutdown()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


async def _end_of(future: Future[Any]) -> None:
    """Waits until a future of a thread is done, whatever its outcome is."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def settle() -> None:
        if not ended.done():
            ended.set_result(None)

    def tell(_: Future[Any]) -> None:
        # A loop that was closed meanwhile has nobody who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle)

    future.add_done_callback(tell)
    await ended


async def _surely(future: Future[Any]) -> None:
    """The same, also if the task is cancelled again meanwhile."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await _end_of(future)


def _begin_aside(work: Callable[[], None]) -> Future[None]:
    """Begins work that waits for other threads in a thread of its own."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as fault:
            done.set_exception(fault)
        else:
            done.set_result(None)

    threading.Thread(target=run, name="b24-close").start()
    return done


async def _aside(done: Future[None], hurry: Callable[[], None]) -> None:
    """Waits until work that was begun is done. Hurries if it is cancelled."""
    try:
        await _end_of(done)
    except asyncio.CancelledError:
        hurry()
        await _surely(done)
        raise
    done.result()


def _most(max_threads: int) -> int:
    if not isinstance(max_threads, int) or isinstance(max_threads, bool):
        raise TypeError(f"max_threads must be an int, not {type(max_threads).__name__}")
    if not 1 <= max_threads <= 256:
        raise InvalidConfig(f"max_threads must be from 1 to 256, not {max_threads}")
    return max_threads


async def _items(items: Iterable[_T] | AsyncIterable[_T]) -> Iterable[_T]:
    """The items of a batch. What is not asynchronous is read by the thread that makes the call."""
    if not isinstance(items, AsyncIterable):
        return items
    read = []
    async for item in items:
        read.append(item)
        if len(read) % 1000 == 0:
            # An iterator that never waits must not keep the loop.
            await asyncio.sleep(0)
    return read


class _Opened(Generic[_Handle]):
    """What both classes have in common: a handle that is opened and closed, and its threads."""

    def __init__(self, make: Callable[[], _Handle], threads: _Threads, what: str) -> None:
        self._make = make
        self._threads = threads
        self._what = what
        self._handle: _Handle | None = None

    async def open(self) -> Self:
        """Opens it, as ``async with`` does; does nothing if it is open. Raises what the constructor
        of the class without ``Async`` raises."""
        if self._handle is None:
            try:
                handle = await self._threads.call(lambda _: self._make())
            except BaseException:
                await _aside(_begin_aside(self._threads.shutdown), self._hurry)
                raise
            if self._handle is None:
                self._handle = handle
        return self

    async def close(self) -> None:
        """Waits for the calls that were begun, and ends the threads. It can be opened again.

        If the task is cancelled while it waits, the calls are cancelled. Raises ``RuntimeError`` if
        the system has no thread that could wait; it stays open then.
        """
        handle, self._handle = self._handle, None
        if handle is not None:
            try:
                done = _begin_aside(partial(self._end, handle))
            except _NO_THREAD:
                self._handle = handle
                raise
            await _aside(done, self._hurry)

    def _end(self, handle: _Handle) -> None:
        self._threads.shutdown()
        handle.close()

    def _hurry(self) -> None:
        self._threads.cancel()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def cancel(self) -> None:
        """Ends all calls that are under way with ``Cancelled``. To end one, cancel its task."""
        self._opened().cancel()

    def _opened(self) -> _Handle:
        if self._handle is None:
            raise InvalidArgument(
                f"the {self._what} is not open: use `async with`, or await its open() first"
            )
        return self._handle

    async def _call(self, call: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
        return await self._threads.call(lambda token: call(*arguments, cancel=token, **named))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        name = type(self).__name__
        raise TypeError(
            f"cannot pickle or copy an {name}: make another one where it is needed, from the same "
            "options or by from_env(); in one process, any number of loops may share this one"
        )

    def __repr__(self) -> str:
        name = f"b24_messageservice.{type(self).__name__}"
        return f"<{name} closed>" if self._handle is None else f"<{name} of {self._handle!r}>"


class AsyncClient(_Opened[Client]):
    """A client of one Bitrix24 portal for asyncio: ``async with AsyncClient(...) as client``.

    The arguments are those of :class:`Client`, and ``max_threads``: how many calls may be under way
    at a time, from 1 to 256. Wrong ones are refused at once; files are opened, and threads started,
    only when they are needed. Further calls wait in their order. The threads end when the client is
    closed. Any number of loops and tasks may use one client.

    Every method is the one of :class:`Client`, and takes its ``timeout``, in seconds, which counts
    from when a thread begins the call. Cancel the task instead of giving a token.

    ``on_renewal`` is a plain function. It is called on the renewal's own thread, as that of
    :class:`Client`, and the new pair is used when it has returned. From there
    ``asyncio.run_coroutine_threadsafe`` leads into a loop.
    """

    def __init__(self, portal: str, *, max_threads: int = 8, **options: Unpack[Options]) -> None:
        make = lambda: Client(portal, **options)  # noqa: E731
        self._prepare("AsyncClient", make, max_threads, portal, options)

    @classmethod
    def from_env(
        cls, portal: str | None = None, *, max_threads: int = 8, **options: Unpack[Options]
    ) -> Self:
        """One whose options are in the environment, as those of ``Client.from_env``. That is
        read when it is opened."""
        self = cls.__new__(cls)
        make = lambda: Client.from_env(portal, **options)  # noqa: E731
        self._prepare("AsyncClient.from_env", make, max_threads, portal, options)
        return self

    def _prepare(
        self,
        owner: str,
        make: Callable[[], Client],
        max_threads: int,
        portal: str | None,
        options: Options,
    ) -> None:
        if inspect.iscoroutinefunction(options.get("on_renewal")):
            raise TypeError(
                "on_renewal must be a plain function: it runs on a thread, not in a loop"
            )
        most = _most(max_threads)
        check_options(owner, portal, options)
        _Opened.__init__(self, make, _Threads(most, "b24-client"), "client")

    @classmethod
    def _of(cls, client: Client, threads: _Threads) -> AsyncClient:
        """One that is open, and uses the threads of a provider."""
        self = cls.__new__(cls)
        _Opened.__init__(self, lambda: client, threads, "client")
        self._handle = client
        self._shares = True
        return self

    _shares = False

    def _end(self, handle: Client) -> None:
        if not self._shares:
            super()._end(handle)

    def _hurry(self) -> None:
        if not self._shares:
            super()._hurry()

    @property
    def tokens(self) -> Tokens:
        """The current tokens."""
        return self._opened().tokens

    async def message_status_update(
        self, code: str, message_id: str | int, status: str, *, timeout: float | None = None
    ) -> None:
        """Reports the status of one message. If the task is cancelled, it may have been stored."""
        call = self._opened().message_status_update
        await self._call(call, code, message_id, status, timeout=timeout)

    async def message_status_update_batch(
        self, updates: Iterable[_Update] | AsyncIterable[_Update], *, timeout: float | None = None
    ) -> list[B24Error | None]:
        """Reports the status of any number of messages, 50 in a request.

        An asynchronous iterable is read in the loop, any other by the thread that makes the call.
        """
        call = self._opened().message_status_update_batch
        return await self._call(call, await _items(updates), timeout=timeout)

    async def message_status_get(self, message_id: int, *, timeout: float | None = None) -> str:
        """Asks for the status of one message."""
        return await self._call(self._opened().message_status_get, message_id, timeout=timeout)

    async def sender_add(
        self,
        code: str,
        handler: str,
        name: str | Mapping[str, str],
        description: str | Mapping[str, str] | None = None,
        type: str = "SMS",  # noqa: A002 - the portal's name of it
        *,
        timeout: float | None = None,
    ) -> None:
        """Registers an SMS provider with the portal."""
        call = self._opened().sender_add
        await self._call(call, code, handler, name, description, type, timeout=timeout)

    async def sender_update(
        self,
        code: str,
        handler: str | None = None,
        name: str | Mapping[str, str] | None = None,
        description: str | Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        """Changes a registered sender."""
        call = self._opened().sender_update
        await self._call(call, code, handler, name, description, timeout=timeout)

    async def sender_delete(self, code: str, *, timeout: float | None = None) -> None:
        """Removes a sender from the portal."""
        await self._call(self._opened().sender_delete, code, timeout=timeout)

    async def sender_list(self, *, timeout: float | None = None) -> list[str]:
        """Returns the provider codes of the application's senders."""
        return await self._call(self._opened().sender_list, timeout=timeout)


class AsyncProvider(_Opened[Provider]):
    """A provider for asyncio: ``async with AsyncProvider(...) as provider``.

    The arguments are those of :class:`Provider`, and ``max_threads``: how many calls may be under
    way at a time, from 1 to 256. Wrong ones are refused at once; the store is opened, and threads
    are started, only when they are needed. Further calls wait in their order. The threads end when
    the provider is closed. Each drain has one more, beside its
    ``workers``, so that no drain delays other calls. Any number of loops and tasks may use one
    provider.

    Every method is the one of :class:`Provider`, and takes its ``timeout``, in seconds, which
    counts from when a thread begins the call. Cancel the task instead of giving a token.
    """

    def __init__(self, *, max_threads: int = 8, **options: Unpack[ProviderOptions]) -> None:
        self._prepare("AsyncProvider", lambda: Provider(**options), max_threads, options)

    @classmethod
    def from_env(cls, *, max_threads: int = 8, **options: Unpack[ProviderOptions]) -> Self:
        """One whose options are in the environment, as those of ``Provider.from_env``. That is
        read when it is opened."""
        self = cls.__new__(cls)
        make = lambda: Provider.from_env(**options)  # noqa: E731
        self._prepare("AsyncProvider.from_env", make, max_threads, options)
        return self

    def _prepare(
        self, owner: str, make: Callable[[], Provider], max_threads: int, options: ProviderOptions
    ) -> None:
        most = _most(max_threads)
        check_options(owner, None, options)
        self._drains = _Threads(256, "b24-drain")
        _Opened.__init__(self, make, _Threads(most, "b24-provider"), "provider")

    def _end(self, handle: Provider) -> None:
        # Drains go on until the provider is closed, and others can use it only until then.
        super()._end(handle)
        self._drains.shutdown()

    def _hurry(self) -> None:
        super()._hurry()
        self._drains.cancel()

    async def receive(
        self,
        content_type: str,
        body: bytes | bytearray | memoryview | str,
        *,
        timeout: float | None = None,
    ) -> Request:
        """Reads and checks a request of a portal."""
        return await self._call(self._opened().receive, content_type, body, timeout=timeout)

    async def install(
        self,
        auth: str | Mapping[str, Any],
        application_token: str = "",
        *,
        timeout: float | None = None,
    ) -> None:
        """Installs: keeps the tokens of an answer of the authorization server."""
        await self._call(self._opened().install, auth, application_token, timeout=timeout)

    async def install_request(self, frame: Request, *, timeout: float | None = None) -> None:
        """Installs with the tokens of a frame, on the page of the installation wizard only."""
        await self._call(self._opened().install_request, frame, timeout=timeout)

    async def import_state_dir(
        self, path: str | PathLike[str], *, timeout: float | None = None
    ) -> int:
        """Moves the installations of a ``state_dir`` to the store, and returns how many."""
        return await self._call(self._opened().import_state_dir, path, timeout=timeout)

    async def client(self, member_id: str, *, timeout: float | None = None) -> AsyncClient:
        """Returns an open client of a portal, which uses the threads of this provider."""
        client = await self._call(self._opened().client, member_id, timeout=timeout)
        return AsyncClient._of(client, self._threads)

    async def track(
        self,
        reference: str,
        member_id: str,
        code: str,
        message_id: str | int,
        *,
        operator: str = "",
        timeout: float | None = None,
    ) -> None:
        """Says which message an operator's reference stands for."""
        call = self._opened().track
        named = {"operator": operator, "timeout": timeout}
        await self._call(call, reference, member_id, code, message_id, **named)

    async def report(
        self,
        member_id: str,
        code: str,
        message_id: str | int,
        status: str,
        at: datetime | float | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        """Keeps the status of a message. If the task is cancelled, it may have been stored."""
        call = self._opened().report
        await self._call(call, member_id, code, message_id, status, at, timeout=timeout)

    async def report_batch(
        self,
        member_id: str,
        updates: Iterable[_Update] | AsyncIterable[_Update],
        *,
        timeout: float | None = None,
    ) -> list[B24Error | None]:
        """Keeps the statuses of any number of messages of one portal.

        An asynchronous iterable is read in the loop, any other by the thread that makes the call.
        """
        call = self._opened().report_batch
        return await self._call(call, member_id, await _items(updates), timeout=timeout)

    async def report_many(
        self,
        receipts: Iterable[_Receipt] | AsyncIterable[_Receipt],
        *,
        timeout: float | None = None,
    ) -> list[B24Error | None]:
        """The same of messages of any portals."""
        call = self._opened().report_many
        return await self._call(call, await _items(receipts), timeout=timeout)

    async def report_reference(
        self,
        reference: str,
        status: str,
        at: datetime | float | None = None,
        *,
        operator: str = "",
        timeout: float | None = None,
    ) -> None:
        """Keeps the status of the message that an operator's reference stands for."""
        named = {"operator": operator, "timeout": timeout}
        await self._call(self._opened().report_reference, reference, status, at, **named)

    async def drain(self, seconds: float, *, timeout: float | None = None) -> Drained:
        """Sends receipts to the portals for so many seconds.

        If the task is cancelled, what is being sent is cut off, and sent once more later. ``close``
        lets it end after its requests.
        """
        drain = self._opened().drain
        return await self._drains.call(lambda token: drain(seconds, timeout=timeout, cancel=token))

    async def drain_forever(self, each: Callable[[Drained], object] | None = None) -> None:
        """Sends receipts until the provider is closed, or the task is cancelled.

        ``each``, a plain function, is called in the loop with what every 5 seconds brought. While
        the store cannot be used, that is logged, and it is tried again.
        """
        while self._handle is not None:
            try:
                drained = await self.drain(5)
            except B24Error as error:
                if self._handle is None:
                    return
                _log.error("nothing is sent: %s", error)
                for _ in range(5):
                    if self._handle is not None:
                        await asyncio.sleep(1)
            else:
                if each is not None:
                    each(drained)

    async def inspect(self, *, timeout: float | None = None) -> list[PortalState]:
        """Returns what the store has about each portal."""
        return await self._call(self._opened().inspect, timeout=timeout)

    async def refused(
        self, after: str = "", limit: int = 1000, *, timeout: float | None = None
    ) -> list[RefusedReceipt]:
        """Returns receipts that were given up, those after a cursor."""
        return await self._call(self._opened().refused, after, limit, timeout=timeout)

    async def resume(self, member_id: str, *, timeout: float | None = None) -> None:
        """Lets a drain send the receipts of a portal again."""
        await self._call(self._opened().resume, member_id, timeout=timeout)

    async def prune(self, keep_seconds: float, *, timeout: float | None = None) -> None:
        """Removes refused receipts that are older than so many seconds."""
        await self._call(self._opened().prune, keep_seconds, timeout=timeout)


for _public in (AsyncClient, AsyncProvider):
    # As in the package, which loads this module when it is asked for one of them.
    _public.__module__ = "b24_messageservice"
