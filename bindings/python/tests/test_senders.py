"""Senders, and the status of a message: what the methods take, return and refuse. What becomes of
calls whose answer is lost is the scenario table's business."""

from __future__ import annotations

import enum
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from b24_messageservice import (
    Cancelled,
    Client,
    InvalidArgument,
    MessageNotFound,
    PortalError,
)
from b24_portal import Portal

HANDLER = "https://provider.example.com/send"


class Languages(Mapping[str, str]):
    """A mapping that is no dict; it fails when it is read, if it is to."""

    def __init__(self, texts: dict[str, str], failure: Exception | None = None) -> None:
        self.texts = texts
        self.failure = failure

    def __getitem__(self, language: str) -> str:
        if self.failure:
            raise self.failure
        return self.texts[language]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)


class Number(enum.IntEnum):
    SEVEN = 7


def test_a_sender_comes_changes_and_goes(portal: Portal) -> None:
    client = portal.client()
    client.sender_add("provider1", HANDLER, "One", {"en": "SMS", "de": "Kurznachrichten"})
    assert portal.senders() == {
        "provider1": {
            "type": "SMS",
            "handler": HANDLER,
            "name": "One",
            "description": {"en": "SMS", "de": "Kurznachrichten"},
        }
    }
    client.sender_update("provider1", name={"en": "Two"})
    assert portal.senders()["provider1"]["name"] == {"en": "Two"}
    assert portal.senders()["provider1"]["handler"] == HANDLER
    assert client.sender_list() == ["provider1"]
    client.sender_delete("provider1")
    assert client.sender_list() == []


def test_arguments_of_senders_can_be_named(portal: Portal) -> None:
    client = portal.client()
    client.sender_add(code="provider1", handler=HANDLER, name="One", description="SMS", type="SMS")
    client.sender_update(
        code="provider1", handler=HANDLER + "2", name="Two", description={"en": "Text"}
    )
    assert portal.senders() == {
        "provider1": {
            "type": "SMS",
            "handler": HANDLER + "2",
            "name": "Two",
            "description": {"en": "Text"},
        }
    }
    client.sender_delete(code="provider1")
    with pytest.raises(MessageNotFound):
        client.message_status_get(message_id=1)


@pytest.mark.parametrize(
    "name",
    [{"en": "One"}, MappingProxyType({"en": "One"}), Languages({"en": "One"})],
    ids=["dict", "proxy", "class"],
)
def test_any_mapping_of_languages_is_taken(portal: Portal, name: Mapping[str, str]) -> None:
    portal.client().sender_add("provider1", HANDLER, name)
    assert portal.senders()["provider1"]["name"] == {"en": "One"}


def test_an_exception_in_a_mapping_is_passed_on(portal: Portal) -> None:
    with pytest.raises(ZeroDivisionError):
        portal.client().sender_add(
            "provider1", HANDLER, Languages({"en": "One"}, ZeroDivisionError())
        )
    assert portal.seen()["requests"] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((None, HANDLER, "One"), "code must be a str, not NoneType"),
        (("provider1", b"https://a.example", "One"), "handler must be a str, not bytes"),
        (
            ("provider1", HANDLER, 7),
            "name must be a str, or a mapping of languages to str",
        ),
        (("provider1", HANDLER, None), "name must be a str, or a mapping"),
        (("provider1", HANDLER, [("en", "One")]), "name must be a str, or a mapping .*not list"),
        (("provider1", HANDLER, {1: "One"}), "a language of name must be a str, not int"),
        (("provider1", HANDLER, {"en": None}), 'name in "en" must be a str, not NoneType'),
        (("provider1", HANDLER, "One", 7), "description must be a str, or a mapping .*not int"),
        (("provider1", HANDLER, "One", None, 7), "type must be a str, not int"),
        (("provider1", HANDLER, "One", None, {"en": "SMS"}), "type must be a str, not dict"),
        (("provider1", {"en": HANDLER}, "One"), "handler must be a str, not dict"),
    ],
)
def test_a_wrong_type_is_a_type_error(
    portal: Portal, arguments: tuple[Any, ...], told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        portal.client().sender_add(*arguments)
    assert portal.seen()["requests"] == 0


def test_other_calls_name_a_wrong_type_too(portal: Portal) -> None:
    client: Any = portal.client()
    with pytest.raises(TypeError, match=r"name must be a str, or a mapping .*not int"):
        client.sender_update("provider1", name=7)
    with pytest.raises(TypeError, match="code must be a str, not int"):
        client.sender_update(7, name="One")
    with pytest.raises(TypeError, match="code must be a str, not int"):
        client.sender_delete(7)
    with pytest.raises(TypeError, match="type"):
        client.sender_update("provider1", type="SMS")
    assert portal.seen()["requests"] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("", HANDLER, "One"), "code"),
        (("pro vider", HANDLER, "One"), "code"),
        (("\ud800", HANDLER, "One"), "code contains a lone surrogate"),
        (("provider1", "provider.example.com", "One"), "handler"),
        (("provider1", "\ud800", "One"), "handler contains a lone surrogate"),
        (("provider1", HANDLER, " "), "name"),
        (("provider1", HANDLER, {}), "name"),
        (("provider1", HANDLER, {"en": ""}), "name"),
        (("provider1", HANDLER, {"": "One"}), "language"),
        (("provider1", HANDLER, {"\udcff": "One"}), "language of name contains a lone surrogate"),
        (("provider1", HANDLER, "One", {"en": "\ud800"}), "description in"),
        (("provider1", HANDLER, "One", None, ""), "type"),
    ],
)
def test_a_wrong_value_is_an_invalid_argument(
    portal: Portal, arguments: tuple[Any, ...], told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told) as refused:
        portal.client().sender_add(*arguments)
    assert not refused.value.retryable
    assert portal.seen()["requests"] == 0


def test_an_update_of_nothing_is_an_invalid_argument(portal: Portal) -> None:
    client = portal.client()
    with pytest.raises(InvalidArgument, match="nothing to change"):
        client.sender_update("provider1")
    with pytest.raises(InvalidArgument, match="nothing to change"):
        client.sender_update("provider1", name=None, description={})
    assert portal.seen()["requests"] == 0


def test_the_portals_refusals_are_raised(portal: Portal) -> None:
    portal.reset(senders=["provider1"])
    client = portal.client()
    refused: list[tuple[Callable[[], None], str]] = [
        (lambda: client.sender_add("provider1", HANDLER, "One"), "ERROR_SENDER_ALREADY_INSTALLED"),
        (lambda: client.sender_update("provider2", name="Two"), "ERROR_SENDER_NOT_FOUND"),
        (lambda: client.sender_delete("provider2"), "ERROR_SENDER_NOT_FOUND"),
    ]
    for call, code in refused:
        with pytest.raises(PortalError) as raised:
            call()
        assert raised.value.portal_code == code


def test_the_status_of_a_message_is_its_english_name(portal: Portal) -> None:
    portal.reset(message_statuses={"7": "Delivered", "8": "", str(2**63 - 1): "Sent"})
    client = portal.client()
    assert client.message_status_get(7) == client.message_status_get(Number.SEVEN) == "Delivered"
    assert client.message_status_get(8) == ""
    assert client.message_status_get(2**63 - 1) == "Sent"
    with pytest.raises(MessageNotFound):
        client.message_status_get(9)


@pytest.mark.parametrize("wrong", [None, True, 1.5, "7", b"7", object()])
def test_a_number_of_a_wrong_type_is_a_type_error(portal: Portal, wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"message_id must be an int.*not {type(wrong).__name__}"):
        portal.client().message_status_get(wrong)
    assert portal.seen()["requests"] == 0


@pytest.mark.parametrize("wrong", [0, -1, 2**64, 10**5000], ids=["0", "-1", "2**64", "long"])
def test_a_number_that_no_message_has_is_an_invalid_argument(portal: Portal, wrong: int) -> None:
    with pytest.raises(InvalidArgument, match=r"message.id"):
        portal.client().message_status_get(wrong)
    assert portal.seen()["requests"] == 0


def test_a_closed_client_says_so(portal: Portal) -> None:
    client = portal.client()
    client.close()
    for call in (
        lambda: client.message_status_get(1),
        lambda: client.sender_add("provider1", HANDLER, "One"),
        lambda: client.sender_update("provider1", HANDLER),
        lambda: client.sender_delete("provider1"),
        client.sender_list,
    ):
        with pytest.raises(InvalidArgument, match="closed"):
            call()
    assert portal.seen()["requests"] == 0


def test_other_threads_run_while_a_call_waits(portal: Portal) -> None:
    client = portal.client()
    calls: dict[str, Callable[[], object]] = {
        "status.get": lambda: client.message_status_get(1),
        "sender.add": lambda: client.sender_add("provider1", HANDLER, "One"),
        "sender.update": lambda: client.sender_update("provider1", HANDLER),
        "sender.delete": lambda: client.sender_delete("provider1"),
        "sender.list": client.sender_list,
    }
    for method, call in calls.items():
        before = portal.seen()["requests"]
        portal.fault("hang", at=method)

        def cancel(seen: int = before + (2 if method == "sender.add" else 1)) -> None:
            portal.wait(seen)
            client.cancel()

        other = threading.Thread(target=cancel)
        other.start()
        with pytest.raises(Cancelled):
            call()
        other.join()
        portal.release()


def test_help_shows_the_arguments() -> None:
    shown = str(inspect.signature(Client.sender_add))
    assert "code, handler, name, description=None, type='SMS'" in shown
