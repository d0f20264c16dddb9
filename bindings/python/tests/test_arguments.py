"""What a call and a constructor take, and what they say of the rest."""

from __future__ import annotations

import enum
import gc
import inspect
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from b24_messageservice import Client, InvalidArgument, InvalidConfig, Status, Tokens
from b24_portal import Portal


class Number(enum.IntEnum):
    SEVEN = 7


class Word(str):
    __slots__ = ()


@pytest.mark.parametrize("status", [*Status, "delivered", "DELIVERED", Word("sent")])
def test_a_status_or_its_text_is_taken(portal: Portal, status: str) -> None:
    portal.client().message_status_update("provider1", "m1", status)
    assert portal.messages()["provider1|m1"] == status.lower()


@pytest.mark.parametrize(
    ("message_id", "stored"),
    [("abc", "abc"), (42, "42"), (2**70, str(2**70)), (Number.SEVEN, "7"), (Word("w"), "w")],
)
def test_a_message_id_is_text_or_an_integer(
    portal: Portal, message_id: str | int, stored: str
) -> None:
    portal.client().message_status_update("provider1", message_id, "sent")
    portal.client().message_status_update_batch([("provider2", message_id, "sent")])
    assert portal.messages()[f"provider1|{stored}"] == "sent"
    assert portal.messages()[f"provider2|{stored}"] == "sent"


def test_arguments_can_be_named(portal: Portal) -> None:
    portal.client().message_status_update(code="provider1", message_id="m1", status="sent")
    assert portal.messages()["provider1|m1"] == "sent"


@pytest.mark.parametrize("wrong", [None, True, 1.5, b"abc", ["abc"], object()])
def test_a_wrong_type_of_message_id_is_a_type_error(portal: Portal, wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"message_id must be.*not {type(wrong).__name__}"):
        portal.client().message_status_update("provider1", wrong, "sent")
    assert portal.seen()["requests"] == 0


@pytest.mark.parametrize("wrong", [None, 1, b"sent"])
def test_a_wrong_type_of_code_or_status_is_a_type_error(portal: Portal, wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"code must be.*not {type(wrong).__name__}"):
        portal.client().message_status_update(wrong, "m1", "sent")
    with pytest.raises(TypeError, match=f"status must be.*not {type(wrong).__name__}"):
        portal.client().message_status_update("provider1", "m1", wrong)
    assert portal.seen()["requests"] == 0


@pytest.mark.parametrize(
    ("code", "message_id", "status", "told"),
    [
        ("", "m1", "sent", "code"),
        ("pro vider", "m1", "sent", "code"),
        ("provider1", "", "sent", "message id"),
        ("provider1", "x" * 129, "sent", "message id"),
        ("provider1", "a\0b", "sent", "message id"),
        ("provider1", "m1", "lost", "status"),
        ("\ud800", "m1", "sent", "code"),
        ("provider1", "\udcff", "sent", "message_id"),
        pytest.param("provider1", 10**5000, "sent", "message", id="long"),
    ],
)
def test_a_wrong_value_is_an_invalid_argument(
    portal: Portal, code: str, message_id: str | int, status: str, told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told) as refused:
        portal.client().message_status_update(code, message_id, status)
    assert not refused.value.retryable
    good = ("provider1", "m2", "sent")
    outcomes = portal.client().message_status_update_batch([good, (code, message_id, status), good])
    assert [type(outcome) for outcome in outcomes] == [type(None), InvalidArgument, type(None)]
    assert portal.seen()["bad"] == []


def test_a_batch_takes_any_iterable(portal: Portal) -> None:
    def updates() -> Iterator[tuple[str, int, Status]]:
        for number in range(1, 121):
            yield "provider1", number, Status.DELIVERED

    assert portal.client().message_status_update_batch(updates()) == [None] * 120
    assert len(portal.messages()) >= 120
    assert portal.seen()["batches"] == 3


def test_an_update_of_a_batch_may_be_a_list(portal: Portal) -> None:
    assert portal.client().message_status_update_batch([["provider1", "m1", "sent"]]) == [None]


def test_an_empty_batch_asks_nothing(portal: Portal) -> None:
    assert portal.client().message_status_update_batch([]) == []
    assert portal.seen()["requests"] == 0


def test_a_generator_that_fails_sends_nothing(portal: Portal) -> None:
    def updates() -> Iterator[tuple[str, str, str]]:
        yield "provider1", "m1", "sent"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        portal.client().message_status_update_batch(updates())
    assert portal.seen()["requests"] == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (None, "an update is a tuple (code, message_id, status), not NoneType"),
        ("abc", "an update is a tuple (code, message_id, status), not str"),
        ({"code": "provider1"}, "an update is a tuple (code, message_id, status), not dict"),
        (5, "an update is a tuple (code, message_id, status), not int"),
        (("provider1", "m1"), "status is missing: an update is (code, message_id, status)"),
        (["provider1"], "message_id and status are missing: an update is"),
        ((), "code, message_id and status are missing: an update is"),
        (("provider1", "m1", "sent", 4), "4 values are too many: an update is"),
        ((None, "m1", "sent"), "code must be a str, not NoneType"),
        (("provider1", 1.5, "sent"), "message_id must be a str or an int, not float"),
        (("provider1", "m1", True), "status must be a str, not bool"),
    ],
)
def test_an_update_of_a_wrong_type_stops_no_other(portal: Portal, wrong: Any, told: str) -> None:
    first, last = ("provider1", "first", "sent"), ("provider1", "last", "sent")
    outcomes = portal.client().message_status_update_batch([first, wrong, wrong, last])
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        InvalidArgument,
        InvalidArgument,
        type(None),
    ]
    assert str(outcomes[1]).startswith(f"updates[1]: {told}")
    assert str(outcomes[2]).startswith(f"updates[2]: {told}")
    messages = portal.messages()
    assert messages["provider1|first"] == messages["provider1|last"] == "sent"
    assert portal.seen()["commands"] == 2


def test_a_batch_that_is_no_iterable_is_a_type_error(portal: Portal) -> None:
    with pytest.raises(TypeError):
        portal.client().message_status_update_batch(7)  # type: ignore[arg-type]
    assert portal.seen()["requests"] == 0


def test_options_take_the_types_of_python(portal: Portal, tmp_path: Path) -> None:
    plain = portal.options()
    client = Client(
        **{**plain, "ca_file": Path(plain["ca_file"]), "resolve": ",".join(plain["resolve"])},
        timeout=2.5,
        connect_timeout=2,
        max_retries=0,
        rate_limit="off",
        state_dir=tmp_path,
        redirect_hosts=("a.test", "b.test"),
        user_agent="suite/1",
        allow_http=True,
        refresh_token=None,
        on_renewal=None,
    )
    client.message_status_update("provider1", "m1", "sent")
    assert portal.seen()["log"][0]["user_agent"].startswith("suite/1")


def test_seconds_are_seconds(portal: Portal) -> None:
    portal.fault("hang", count=4)  # a first attempt has half of the time
    for timeout in (0.05, "0.05"):
        with pytest.raises(TimeoutError):
            portal.client(timeout=timeout).message_status_update("provider1", "m1", "sent")
    portal.release()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", -1),
        ("timeout", float("nan")),
        ("timeout", float("inf")),
        ("timeout", "soon"),
        ("connect_timeout", 0),
        ("max_retries", -1),
        ("max_retries", 1.5),
        ("rate_limit", "fast"),
        ("allow_http", "perhaps"),
        ("resolve", ["nonsense"]),
        ("user_agent", "a\nb"),
        ("user_agent", "\ud800"),
        ("proxy", "gopher://x"),
        ("refresh_token", "alone"),
        ("portal", "not a host"),
    ],
)
def test_a_wrong_value_of_an_option_is_named(portal: Portal, option: str, value: Any) -> None:
    named = "client_id" if option == "refresh_token" else option
    for make in (Client, Client.shared):
        with pytest.raises(InvalidConfig, match=named):
            make(**portal.options(**{option: value}))


@pytest.mark.parametrize(
    ("option", "value"),
    [("user_agent", b"x"), ("ca_file", b"/x"), ("timeout", object()), ("on_renewal", 5)],
)
def test_a_wrong_type_of_an_option_is_named(portal: Portal, option: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{option} must be .*not {type(value).__name__}"):
        portal.client(**{option: value})


def test_the_portal_is_required(portal: Portal) -> None:
    with pytest.raises(TypeError, match="portal"):
        Client()  # type: ignore[call-arg]
    with pytest.raises(InvalidConfig, match="portal"):
        portal.client(portal=None)


def test_the_callers_options_stay_as_they_were(portal: Portal) -> None:
    options = portal.options(on_renewal=print)
    before = dict(options)
    Client(**options)
    assert options == before


def test_a_closed_client_says_so(portal: Portal) -> None:
    with portal.client() as client:
        client.message_status_update("provider1", "m1", "sent")
    for call in (
        lambda: client.message_status_update("provider1", "m1", "sent"),
        lambda: client.message_status_update_batch([]),
        client.__enter__,
    ):
        with pytest.raises(InvalidArgument, match="closed"):
            call()
    client.close()
    client.cancel()
    assert client.tokens.access_token
    assert portal.seen()["requests"] == 1


def test_the_shared_client_is_one_for_an_equal_configuration(portal: Portal) -> None:
    portal.set(expired=True)
    given: list[Tokens] = []
    first = Client.shared(**portal.renewable(on_renewal=given.append))
    first.message_status_update("provider1", "m1", "sent")
    del first
    # Made anew from the old token, as a web handler would: it goes on with the renewed one.
    again = Client.shared(**portal.renewable(on_renewal=print))
    again.message_status_update("provider1", "m2", "sent")
    assert again.tokens.access_token == portal.tokens()["access_token"]
    assert portal.seen()["renewals"] == len(given) == 1
    assert portal.seen()["requests"] == 3


def test_a_client_that_its_own_callback_holds_can_be_collected(portal: Portal) -> None:
    class Service:
        def __init__(self) -> None:
            self.client = portal.client(on_renewal=self.store)

        def store(self, tokens: Tokens) -> None: ...

    service = Service()
    gone = weakref.ref(service)
    del service
    gc.collect()
    assert gone() is None


def test_repr_names_the_portal(portal: Portal) -> None:
    assert repr(portal.client()) == f"<b24_messageservice.Client {portal.host}>"


def test_the_stub_is_what_help_shows() -> None:
    assert inspect.signature(Client.message_status_update).parameters.keys() == {
        "self",
        "code",
        "message_id",
        "status",
        "timeout",
        "cancel",
    }
