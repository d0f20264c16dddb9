"""Errors, renewal, log records and secrets, as they look from Python. What the core does in each
case is the scenario table's business."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import b24_messageservice as b24
import pytest
from b24_messageservice import Tokens
from b24_portal import Portal

UPDATE = ("provider1", "m1", "delivered")


@pytest.mark.parametrize(
    ("answer", "cls", "builtin"),
    [
        ((400, "ERROR_MESSAGE_NOT_FOUND"), b24.MessageNotFound, LookupError),
        ((403, "insufficient_scope"), b24.AccessDenied, PermissionError),
        ((401, "invalid_token"), b24.AuthError, Exception),
        ((400, "SOMETHING_NEW"), b24.PortalError, Exception),
    ],
)
def test_a_refusal_is_raised_as_its_class(
    portal: Portal, answer: tuple[int, str], cls: type[b24.B24Error], builtin: type[Exception]
) -> None:
    status, code = answer
    portal.set(answer={"status": status, "error": code, "description": "Said so!"})
    with pytest.raises(builtin) as raised:
        portal.client().message_status_update(*UPDATE)
    error = raised.value
    assert type(error) is cls
    assert isinstance(error, b24.B24Error)
    assert (error.portal_code, error.description) == (code, "Said so!")
    assert error.http_status == status
    assert error.retryable is False
    assert error.retry_after is None


def test_an_unreachable_portal_is_a_connection_error(portal: Portal) -> None:
    with pytest.raises(ConnectionError) as raised:
        portal.client(
            resolve=f"{portal.host}:443:127.0.0.1:1", max_retries=0
        ).message_status_update(*UPDATE)
    assert type(raised.value) is b24.TransportError
    assert raised.value.retryable
    assert raised.value.http_status is None


def test_the_wait_that_a_limit_asks_for_is_told_in_seconds(portal: Portal) -> None:
    client = portal.client(rate_limit="1/0.1", timeout=1)

    def calls() -> None:
        for _ in range(3):
            client.message_status_update(*UPDATE)

    with pytest.raises(b24.RateLimited) as raised:
        calls()
    assert raised.value.retryable
    assert raised.value.retry_after is not None
    assert 0 < raised.value.retry_after <= 20


def test_fates_of_a_batch_stand_in_its_order(portal: Portal) -> None:
    portal.set(messages=["provider1|known"])
    outcomes = portal.client().message_status_update_batch(
        [("provider1", name, "sent") for name in ("unknown", "known", "")]
    )
    assert [type(outcome) for outcome in outcomes] == [
        b24.MessageNotFound,
        type(None),
        b24.InvalidArgument,
    ]


def test_updates_that_failed_alike_share_an_exception(portal: Portal) -> None:
    portal.set(messages=["provider1|known"])
    unknown = ("provider1", "unknown", "sent")
    outcomes = portal.client().message_status_update_batch(
        [unknown, ("provider1", "unknown too", "sent"), ("provider1", "", "sent"), unknown]
    )
    assert type(outcomes[0]) is b24.MessageNotFound
    assert outcomes[1] is outcomes[0]
    assert type(outcomes[2]) is b24.InvalidArgument
    assert type(outcomes[3]) is b24.MessageNotFound


def test_a_renewed_pair_is_given_to_the_callback_before_it_is_used(portal: Portal) -> None:
    given: list[Tokens] = []
    seen: list[int] = []

    def store(tokens: Tokens) -> None:
        given.append(tokens)
        seen.append(portal.seen()["updates"])

    portal.set(expired=True)
    client = portal.client(**{**portal.renewable(), "on_renewal": store})
    updates_before = portal.seen()["updates"]
    client.message_status_update(*UPDATE)
    assert len(given) == 1
    assert given[0] == client.tokens
    assert isinstance(given[0], Tokens)
    assert given[0].access_token == portal.tokens()["access_token"] != portal.access_token
    assert given[0].refresh_token == portal.tokens()["refresh_token"]
    assert portal.messages()["provider1|m1"] == "delivered"
    print(f"updates before {updates_before}, at the callback {seen}")


def test_a_callback_is_the_one_of_the_client_that_is_called(portal: Portal) -> None:
    other = portal.client(on_renewal=lambda _: pytest.fail("not the client that renewed"))
    nested: list[logging.LogRecord] = []

    class Nesting(logging.Handler):
        """Calls another client amid the call that renews."""

        def emit(self, record: logging.LogRecord) -> None:
            nested.append(record)
            with pytest.raises(b24.InvalidArgument):
                other.message_status_update("provider1", "", "sent")

    portal.set(expired=True)
    given: list[Tokens] = []
    client = portal.client(**portal.renewable(on_renewal=given.append))
    logger = logging.getLogger("b24_messageservice")
    handler = Nesting()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        client.message_status_update(*UPDATE)
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)
    assert nested
    assert len(given) == 1


class Stop(BaseException):
    """As KeyboardInterrupt, which would end the tests as well if it were raised."""


# There is no call on the renewal's thread that they could end.
@pytest.mark.parametrize("raised", [OSError("disk full"), Stop(), SystemExit(3)])
def test_a_callback_that_fails_is_reported_and_the_call_goes_on(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: reported.append(told.exc_value))

    def store(_tokens: Tokens) -> None:
        raise raised

    portal.set(expired=True)
    portal.client(**portal.renewable(on_renewal=store)).message_status_update(*UPDATE)
    assert reported == [raised]
    assert portal.messages()["provider1|m1"] == "delivered"


def test_a_callback_runs_on_the_thread_of_the_renewal(portal: Portal) -> None:
    threads: list[int] = []
    blocked: list[set[int]] = []

    def store(_tokens: Tokens) -> None:
        threads.append(threading.get_ident())
        blocked.append({int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])})

    portal.set(expired=True)
    portal.client(**portal.renewable(on_renewal=store)).message_status_update(*UPDATE)
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD} <= blocked[0]


def test_a_callback_of_a_client_that_is_gone_is_called(portal: Portal) -> None:
    given: list[Tokens] = []
    portal.set(expired=True, oauth_latency_ms=60_000)
    client = portal.client(**portal.renewable(on_renewal=given.append, timeout=2))
    with pytest.raises(b24.CallTimeout):
        client.message_status_update(*UPDATE)
    del client
    gc.collect()
    portal.release()
    b24.renewals_wait(45)
    assert [tokens.refresh_token for tokens in given] == [portal.tokens()["refresh_token"]]
    assert portal.seen()["renewals"] == 1


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), float("inf"), 1e300])
def test_waiting_for_renewals_takes_seconds(timeout: float) -> None:
    with pytest.raises(b24.InvalidArgument, match="timeout"):
        b24.renewals_wait(timeout)
    assert b24.renewals_wait(0) is None  # type: ignore[func-returns-value]
    assert b24.renewals_wait(timeout=1e9) is None  # type: ignore[func-returns-value]


def test_records_go_to_the_logger(portal: Portal, caplog: pytest.LogCaptureFixture) -> None:
    client = portal.client()
    with caplog.at_level(logging.DEBUG, "b24_messageservice"):
        client.message_status_update(*UPDATE)
    assert caplog.records
    for record in caplog.records:
        assert record.name == "b24_messageservice"
        assert record.pathname == __file__
        assert record.args in (None, ())
    assert portal.host in caplog.text
    print(caplog.text)


def test_a_level_is_obeyed_from_call_to_call(
    portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    client = portal.client()
    logger = logging.getLogger("b24_messageservice")
    for level, wanted in ((logging.CRITICAL, 0), (logging.DEBUG, 1), (logging.CRITICAL, 0)):
        caplog.clear()
        with caplog.at_level(level, logger.name):
            client.message_status_update(*UPDATE)
        assert bool(caplog.records) is bool(wanted)


def test_a_disabled_level_is_obeyed(portal: Portal, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "b24_messageservice"):
        logging.disable(logging.CRITICAL)
        try:
            portal.client().message_status_update(*UPDATE)
        finally:
            logging.disable(logging.NOTSET)
    assert caplog.records == []


def test_nothing_is_logged_by_the_crates_below(
    portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    portal.client().message_status_update(*UPDATE)
    assert {record.name for record in caplog.records} == {"b24_messageservice"}


def test_a_handler_that_fails_is_reported(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError

    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: reported.append(told.exc_type))
    logger = logging.getLogger("b24_messageservice")
    handler = Broken()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        portal.client().message_status_update(*UPDATE)
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)
    assert set(reported) == {ZeroDivisionError}


def test_no_secret_is_ever_shown(
    portal: Portal, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    shown: list[object] = []
    renewed: list[Tokens] = []
    secrets = ["webhook-secret", "pw-secret"]
    with caplog.at_level(1):
        for settings in (
            {"expired": True},
            {"expired": True, "oauth": {"status": 400, "error": "invalid_grant"}},
            {"answer": {"status": 401, "error": "invalid_token"}},
            {"answer": {"status": 200, "body": "garbage"}},
        ):
            portal.reset(**settings)
            secrets += [portal.access_token, portal.refresh_token, portal.client_secret]
            options = portal.renewable(on_renewal=renewed.append, max_retries=1, user_agent="s/1")
            client = portal.client(**options)
            shown += [client, client.tokens]
            try:
                client.message_status_update(*UPDATE)
            except b24.B24Error as error:
                shown += [error, str(error), error.args, vars(error)]
            shown += client.message_status_update_batch([UPDATE])
            shown += [client, client.tokens]
    for wrong in ("https://portal.bitrix24.test/rest/1/webhook-secret/", "https://u:pw-secret@x"):
        with pytest.raises(b24.InvalidConfig) as refused:
            portal.client(portal=wrong, access_token="secret\nbroken").message_status_update(
                *UPDATE
            )
        shown.append(refused.value)
    text = caplog.text + repr(shown) + repr(renewed)
    secrets += [token for pair in renewed for token in (pair.access_token, pair.refresh_token)]
    assert renewed
    for secret in secrets:
        assert secret not in text
