"""Timeouts and cancel tokens of single calls."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from b24_messageservice import (
    CallTimeout,
    Cancelled,
    CancelToken,
    InvalidArgument,
    Provider,
    StorageError,
)
from b24_portal import Portal
from test_fork import done, forked
from test_provider_waiting import MEMBER, next_request, report
from test_provider_waiting import provider as provider

UPDATE = ("provider1", "m1", "sent")

client_calls: list[Callable[..., Any]] = [
    lambda client, **limits: client.message_status_update(*UPDATE, **limits),
    lambda client, **limits: client.message_status_get(1, **limits),
    lambda client, **limits: client.sender_add("p1", "https://p.test/", "One", **limits),
    lambda client, **limits: client.sender_update("p1", name="One", **limits),
    lambda client, **limits: client.sender_delete("p1", **limits),
    lambda client, **limits: client.sender_list(**limits),
]
provider_calls: list[Callable[..., Any]] = [
    lambda provider, **limits: provider.receive("application/json", "{}", **limits),
    lambda provider, **limits: provider.install("{}", **limits),
    lambda provider, **limits: provider.client(MEMBER, **limits),
    lambda provider, **limits: provider.track("r1", MEMBER, "provider1", "m1", **limits),
    lambda provider, **limits: provider.report(MEMBER, *UPDATE, **limits),
    lambda provider, **limits: provider.report_reference("r1", "sent", **limits),
    lambda provider, **limits: provider.drain(60, **limits),
    lambda provider, **limits: provider.inspect(**limits),
    lambda provider, **limits: provider.refused(**limits),
    lambda provider, **limits: provider.resume(MEMBER, **limits),
    lambda provider, **limits: provider.prune(0, **limits),
]


def test_a_token_that_is_cancelled_stays_so(portal: Portal) -> None:
    token = CancelToken()
    assert not token.is_cancelled()
    assert repr(token) == "<b24_messageservice.CancelToken>"
    token.cancel()
    token.cancel()
    assert token.is_cancelled()
    assert repr(token) == "<b24_messageservice.CancelToken cancelled>"
    client = portal.client()
    for call in client_calls:
        with pytest.raises(Cancelled):
            call(client, cancel=token)
    [outcome] = client.message_status_update_batch([UPDATE], cancel=token)
    assert isinstance(outcome, Cancelled)
    # A long batch is not even read to its end.
    with pytest.raises(Cancelled):
        client.message_status_update_batch((UPDATE for _ in iter(int, 1)), cancel=token)
    assert portal.seen()["requests"] == 0
    client.message_status_update(*UPDATE, cancel=CancelToken())


@pytest.mark.parametrize("limits", [{"cancel": CancelToken()}, {"timeout": 0}])
def test_a_provider_ends_at_once(provider: Provider, portal: Portal, limits: Any) -> None:
    kind: Any = CallTimeout
    if "cancel" in limits:
        limits["cancel"].cancel()
        kind = Cancelled
    before = portal.seen()["requests"]
    for call in provider_calls:
        with pytest.raises(kind):
            call(provider, **limits)
    for outcome in [
        *provider.report_batch(MEMBER, [UPDATE], **limits),
        *provider.report_many([(MEMBER, *UPDATE)], **limits),
    ]:
        assert isinstance(outcome, kind)
    assert provider.inspect()[0].waiting == 0
    assert portal.seen()["requests"] == before


@pytest.mark.parametrize("timeout", [-1, math.nan, math.inf])
def test_a_timeout_is_a_number_of_seconds(portal: Portal, timeout: float) -> None:
    with pytest.raises(InvalidArgument, match="timeout must be a number of seconds"):
        portal.client().sender_list(timeout=timeout)
    assert portal.seen()["requests"] == 0


def test_limits_of_a_wrong_type_are_refused(portal: Portal) -> None:
    client: Any = portal.client()
    with pytest.raises(TypeError, match="timeout"):
        client.sender_list(timeout="1")
    with pytest.raises(TypeError, match="cancel"):
        client.sender_list(cancel=threading.Event())
    with pytest.raises(TypeError, match="positional"):
        client.message_status_update(*UPDATE, 1.0)
    assert portal.seen()["requests"] == 0


def test_others_go_on(portal: Portal) -> None:
    client, token = portal.client(), CancelToken()
    portal.set(latency_ms=60_000)
    with ThreadPoolExecutor(3) as pool:
        other = pool.submit(client.message_status_update, "provider1", "other", "sent")
        both = [
            pool.submit(client.message_status_update, "provider1", f"m{at}", "sent", cancel=token)
            for at in range(2)
        ]
        portal.wait(3)
        with pytest.raises(CallTimeout):
            client.message_status_update("provider1", "m3", "sent", timeout=0.1)
        token.cancel()
        for cancelled in both:
            with pytest.raises(Cancelled):
                cancelled.result()
        portal.set(latency_ms=0)
        portal.release()
        assert other.result() is None


def test_a_drain_is_cancelled_alone(provider: Provider, portal: Portal) -> None:
    report(provider, "m1")
    portal.set(latency_ms=60_000)
    sent, token = next_request(portal), CancelToken()
    with ThreadPoolExecutor(2) as pool:
        sending = pool.submit(provider.drain, 60, cancel=token)
        sent()
        other = pool.submit(provider.drain, 5)
        token.cancel()
        with pytest.raises(Cancelled):
            sending.result()
        portal.set(latency_ms=0)
        portal.release()
        report(provider, "m2")
        assert other.result().sent >= 1


LOCK = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_wait_for_the_store_is_limited(provider: Provider, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOCK, f"{tmp_path}/b24.db"]
    token = CancelToken()
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        plain = pool.submit(report, provider, "plain")
        limited = pool.submit(provider.report, MEMBER, *UPDATE, cancel=token)
        with pytest.raises(StorageError, match="deadline"):
            provider.report(MEMBER, *UPDATE, timeout=0.1)
        token.cancel()
        with pytest.raises(Cancelled):
            limited.result()
        other.stdin.close()
        plain.result()
    assert provider.inspect()[0].waiting == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_token_in_a_forked_child(portal: Portal) -> None:
    client, before, token = portal.client(), CancelToken(), CancelToken()
    before.cancel()
    client.message_status_update("provider1", "parent", "sent", cancel=token)
    portal.set(latency_ms=60_000)

    def child() -> None:
        assert before.is_cancelled()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.message_status_update, *UPDATE, cancel=token)
            portal.wait(3)
            token.cancel()
            with pytest.raises(Cancelled):
                waiting.result()

    with ThreadPoolExecutor(1) as pool:
        amid = pool.submit(client.message_status_update, "provider1", "m2", "sent", cancel=token)
        portal.wait(2)
        done(forked(child))
        # The child has cancelled its copy.
        assert not token.is_cancelled()
        portal.release()
        assert amid.result() is None
