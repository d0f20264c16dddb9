"""The provider: what its methods take and return, and what they say of the rest."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import pickle
import weakref
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from b24_messageservice import (
    AccessDenied,
    Client,
    Drained,
    Fields,
    InvalidArgument,
    InvalidConfig,
    PortalState,
    Provider,
    RefusedReceipt,
    Request,
    Status,
    Vocabulary,
)
from b24_portal import Portal

MEMBER = "a223c6b3710f85df22e9377d6c4f7553"
FORM = "application/x-www-form-urlencoded"


def member(number: int) -> str:
    """The id of one of the emulator's further portals."""
    return f"{number:032x}"


@pytest.fixture
def make(portal: Portal, tmp_path: Path) -> Iterator[Callable[..., Provider]]:
    """Makes providers that use one store."""
    with contextlib.ExitStack() as closing:

        def provider(**options: Any) -> Provider:
            store = f"sqlite:{tmp_path}/b24.db"
            made = Provider(**portal.provider_options(**{"store": store, **options}))
            return closing.enter_context(made)

        yield provider


@pytest.fixture
def provider(make: Callable[..., Provider]) -> Provider:
    return make()


def installed(provider: Provider, portal: Portal, **order: Any) -> Request:
    """Lets a portal install the application."""
    posted = portal.install(**order)
    return provider.receive(posted["content_type"], posted["body"])


def test_a_day_of_a_provider(provider: Provider, portal: Portal) -> None:
    """Installation, sender, message, receipts by the operator's id, drain."""
    event = installed(provider, portal)
    assert (event.kind, event.member_id) == ("install", MEMBER)
    client = provider.client(MEMBER)
    assert isinstance(client, Client)
    client.sender_add("provider1", "https://provider.example.com/send", "Provider One")
    assert set(portal.senders()) == {"provider1"}
    posted = portal.message(message_id="m1", phone="+49111", text="Grüße & more")
    message = provider.receive(posted["content_type"], posted["body"])
    assert (message.kind, message["code"], message["message_id"]) == ("message", "provider1", "m1")
    assert (message["message_to"], message["message_body"]) == ("+49111", "Grüße & more")
    provider.track("op1", message.member_id, message["code"], message["message_id"])
    provider.report_reference("op1", Vocabulary("smpp").status("DELIVRD"))
    provider.report_reference("op1", "SENT", datetime.now(timezone.utc))
    drained = provider.drain(1)
    assert drained == Drained(sent=1, refused=0, held=0, waiting=0, next_due=None)
    assert portal.history() == {"provider1|m1": ["delivered"]}
    assert portal.seen()["bad"] == []


def test_receipts_of_many_portals_at_once(make: Callable[..., Provider], portal: Portal) -> None:
    portal.set(portals=3)
    provider = make()
    for number in (1, 2, 3):
        installed(provider, portal, host=f"p{number}.bitrix24.test")

    def receipts() -> Iterator[tuple[str, str, int, Status]]:
        for number in range(1, 301):
            yield member(number % 3 + 1), "provider1", number, Status.DELIVERED

    assert provider.report_many(receipts()) == [None] * 300
    drained = provider.drain(3)
    assert (drained.sent, drained.waiting) == (300, 0)
    stored = portal.all_messages()
    assert {host: len(messages) for host, messages in stored.items()} == {
        f"p{number}.bitrix24.test": 100 for number in (1, 2, 3)
    }


def test_a_batch_of_one_portal(provider: Provider, portal: Portal) -> None:
    installed(provider, portal)
    updates: list[Any] = [("provider1", 1, "sent"), ["provider1", "2", Status.FAILED]]
    assert provider.report_batch(MEMBER, updates) == [None, None]
    assert provider.drain(1).sent == 2
    assert portal.messages() == {"provider1|1": "sent", "provider1|2": "failed"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (None, "a receipt is a tuple (member_id, code, message_id, status[, at]), not NoneType"),
        ("abc", "a receipt is a tuple (member_id, code, message_id, status[, at]), not str"),
        ((MEMBER, "provider1", "m1"), "status is missing: a receipt is (member_id, code, "),
        ((), "member_id, code, message_id and status are missing: a receipt is (member_id"),
        ((MEMBER, "p", "m", "sent", 1, 2), "6 values are too many: a receipt is (member_id"),
        ((None, "provider1", "m1", "sent"), "member_id must be a str, not NoneType"),
        ((MEMBER, "provider1", 1.5, "sent"), "message_id must be a str or an int, not float"),
        ((MEMBER, "provider1", "m1", "sent", "now"), "at must be an aware datetime or Unix sec"),
        ((MEMBER, "provider1", "m1", "sent", True), "at must be an aware datetime or Unix sec"),
    ],
)
def test_a_receipt_of_a_wrong_type_stops_no_other(
    provider: Provider, portal: Portal, wrong: Any, told: str
) -> None:
    installed(provider, portal)
    first, last = ((MEMBER, "provider1", n, "sent", None) for n in (1, 2))
    outcomes = provider.report_many([first, wrong, wrong, last])
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        InvalidArgument,
        InvalidArgument,
        type(None),
    ]
    assert str(outcomes[1]).startswith(f"receipts[1]: {told}")
    assert str(outcomes[2]).startswith(f"receipts[2]: {told}")
    assert provider.drain(1).sent == 2


WRONG_VALUES = [
    ("provider 1", "m1", "sent", "code"),
    ("provider1", "", "sent", "message id"),
    ("provider1", "x" * 129, "sent", "message id"),
    ("provider1", "m1", "lost", "status"),
    ("provider1", "\udcff", "sent", "message_id"),
]


@pytest.mark.parametrize(("code", "message_id", "status", "told"), WRONG_VALUES)
def test_a_wrong_value_is_an_invalid_argument(
    provider: Provider, code: str, message_id: str, status: str, told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told):
        provider.report(MEMBER, code, message_id, status)
    wrong = (code, message_id, status)
    good = ("provider1", "m2", "sent")
    for outcomes in (
        provider.report_batch(MEMBER, [good, wrong]),
        provider.report_many([(MEMBER, *good), (MEMBER, *wrong)]),
    ):
        assert [type(outcome) for outcome in outcomes] == [type(None), InvalidArgument]
        assert told in str(outcomes[1])


@pytest.mark.parametrize("wrong", [None, 1, b"x"])
def test_a_wrong_type_is_a_type_error(provider: Provider, wrong: Any) -> None:
    good: dict[str, Any] = {
        "reference": "op1",
        "member_id": MEMBER,
        "code": "provider1",
        "message_id": "m1",
        "status": "sent",
        "operator": "",
        "content_type": FORM,
        "body": b"",
        "application_token": "",
        "after": "",
        "auth": "{}",
    }
    takes = {
        "track": ["reference", "member_id", "code", "operator"],
        "report": ["member_id", "code", "status"],
        "report_reference": ["reference", "status", "operator"],
        "receive": ["content_type"],
        "client": ["member_id"],
        "resume": ["member_id"],
        "refused": ["after"],
        "install": ["auth", "application_token"],
    }
    required = {"report": ["message_id"], "track": ["message_id"], "receive": ["body"]}
    for method, names in takes.items():
        for name in names:
            if wrong is None and name in ("operator", "application_token", "after"):
                continue  # as if it were not given
            arguments = {other: good[other] for other in names + required.get(method, [])}
            with pytest.raises(TypeError, match=f"{name} must be .*not {type(wrong).__name__}"):
                getattr(provider, method)(**{**arguments, name: wrong})


class Broken(tzinfo):
    """A time zone that fails."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        raise ZeroDivisionError("no such zone")

    def dst(self, _: datetime | None) -> None: ...

    def tzname(self, _: datetime | None) -> None: ...


TIMES: list[tuple[float | datetime, int]] = [
    (1780319382, 1780319382000),
    (1780319382.123, 1780319382123),
    (datetime(2026, 6, 1, 13, 9, 42, 123000, timezone.utc), 1780319382123),
    (datetime(2026, 6, 1, 14, 9, 42, 123000, timezone(timedelta(hours=1))), 1780319382123),
    (0.999, 999),
]


def test_a_time_arrives_to_the_millisecond(provider: Provider, portal: Portal) -> None:
    installed(provider, portal)
    # A removed application's receipts are refused by the next drain, which shows what was stored.
    for number, (at, _) in enumerate(TIMES):
        provider.report(MEMBER, "provider1", f"a{number}", "sent", at)
    several = [(MEMBER, "provider1", f"b{n}", "sent", at) for n, (at, _) in enumerate(TIMES)]
    assert provider.report_many(several) == [None] * len(TIMES)
    posted = portal.uninstall()
    provider.receive(posted["content_type"], posted["body"])
    provider.drain(1)
    refused = provider.refused()
    shown = {receipt.message_id: round(receipt.at.timestamp() * 1000) for receipt in refused}
    for number, (_, milliseconds) in enumerate(TIMES):
        assert shown[f"a{number}"] == shown[f"b{number}"] == milliseconds
    assert {receipt.at.tzinfo for receipt in refused} == {timezone.utc}
    assert all(type(receipt) is RefusedReceipt for receipt in refused)
    assert refused[0].status is Status.SENT
    assert all(receipt.reason for receipt in refused)
    # Page by page, it is the same list.
    after, pages = "", []
    while page := provider.refused(after, 3):
        pages += page
        after = page[-1].cursor
    assert pages == refused


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (datetime(2026, 6, 1), "naive"),
        (float("nan"), "NaN"),
        (float("inf"), "inf"),
        (1e300, "Unix seconds"),
        pytest.param(10**400, "too large", id="large"),
        (datetime(2026, 6, 1, tzinfo=Broken()), "no such zone"),
    ],
)
def test_a_wrong_time_is_an_invalid_argument(provider: Provider, at: Any, told: str) -> None:
    with pytest.raises(InvalidArgument, match=f"at .*{told}"):
        provider.report(MEMBER, "provider1", "m1", "sent", at)
    with pytest.raises(InvalidArgument, match=f"at .*{told}"):
        provider.report_reference("op1", "sent", at)
    (outcome,) = provider.report_many([(MEMBER, "provider1", "m1", "sent", at)])
    assert isinstance(outcome, InvalidArgument)
    assert told in str(outcome)
    assert provider.inspect() == []


@pytest.mark.parametrize("at", ["2026-06-01", True, date(2026, 6, 1), b"1", object()])
def test_a_wrong_type_of_time_is_a_type_error(provider: Provider, at: Any) -> None:
    told = f"at must be an aware datetime or Unix seconds, not {type(at).__name__}"
    with pytest.raises(TypeError, match=told):
        provider.report(MEMBER, "provider1", "m1", "sent", at)
    with pytest.raises(TypeError, match=told):
        provider.report_reference("op1", "sent", at)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_a_wrong_length_of_time_is_an_invalid_argument(provider: Provider, wrong: float) -> None:
    with pytest.raises(InvalidArgument, match=r"^seconds must be"):
        provider.drain(wrong)
    with pytest.raises(InvalidArgument, match=r"^keep_seconds must be"):
        provider.prune(wrong)


def test_a_wrong_limit(provider: Provider) -> None:
    with pytest.raises(InvalidArgument, match=r"^limit must be"):
        provider.refused(limit=-1)
    for wrong in (1.5, True, "1"):
        with pytest.raises(TypeError, match="limit must be an int"):
            provider.refused(limit=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview, str, "part"])
def test_a_body_is_bytes_or_text(provider: Provider, portal: Portal, form: Any) -> None:
    installed(provider, portal)
    posted = portal.message(message_id="m1", text="Grüße")
    raw = posted["body"].encode()
    bodies: dict[Any, Any] = {
        bytes: raw,
        bytearray: bytearray(raw),
        memoryview: memoryview(raw),
        str: posted["body"],
        "part": memoryview(b"xx" + raw + b"xx")[2:-2],
    }
    request = provider.receive(posted["content_type"], bodies[form])
    assert request["message_body"] == "Grüße"


@pytest.mark.parametrize("wrong", [None, 5, [1], object()])
def test_a_body_of_a_wrong_type(provider: Provider, wrong: Any) -> None:
    told = f"body must be bytes, bytearray, memoryview or str, not {type(wrong).__name__}"
    with pytest.raises(TypeError, match=told):
        provider.receive(FORM, wrong)


@pytest.mark.parametrize("json", [False, True])
def test_the_fields_of_a_request(provider: Provider, portal: Portal, json: bool) -> None:
    installed(provider, portal)
    posted = portal.message(message_id="m1", json=json)
    request = provider.receive(posted["content_type"], posted["body"])
    assert request.client_endpoint == request["auth[client_endpoint]"]
    assert request.member_id == request["auth[member_id]"] == request.get("auth[member_id]")
    assert "message_id" in request
    assert "nothing" not in request
    assert (request.get("nothing"), request.get("nothing", ""), request.get("code", 5)) == (
        None,
        "",
        "provider1",
    )
    with pytest.raises(KeyError, match="nothing"):
        request["nothing"]
    with pytest.raises(TypeError, match="name must be a str, not int"):
        request[0]  # type: ignore[index]
    fields = request.fields
    assert isinstance(fields, Fields)
    assert isinstance(fields, Mapping)
    assert {name: request[name] for name in fields} == dict(fields)
    assert len(fields) == len(list(fields)) > 10
    assert fields["bindings[0][OWNER_ID]"]
    assert fields == request.fields
    assert fields.get("nothing") is None
    shown = repr(fields) + repr(request)
    assert "auth[access_token]" in shown
    assert (request.kind, request.member_id) == ("message", MEMBER)
    assert repr(request) == f"<b24_messageservice.Request message {MEMBER}>"
    for secret in ("auth[access_token]", "auth[application_token]"):
        assert fields[secret] not in shown
    with pytest.raises(AttributeError):
        request.kind = "frame"  # type: ignore[misc]


def test_what_is_not_the_portals_is_refused(provider: Provider, portal: Portal) -> None:
    installed(provider, portal)
    posted = portal.message(forge="token")
    with pytest.raises(AccessDenied) as refused:
        provider.receive(posted["content_type"], posted["body"])
    assert isinstance(refused.value, PermissionError)
    with pytest.raises(InvalidArgument):
        provider.receive("application/json", "{")


def test_a_frame_installs_when_it_is_told_to(provider: Provider, portal: Portal) -> None:
    posted = portal.install(as_="frame")
    frame = provider.receive(posted["content_type"], posted["body"])
    assert frame.kind == "frame"
    assert provider.inspect() == []
    provider.install_request(frame)
    assert [state.member_id for state in provider.inspect()] == [MEMBER]
    with pytest.raises(TypeError, match="frame"):
        provider.install_request({})  # type: ignore[arg-type]


@pytest.mark.parametrize("form", [str, dict, MappingProxyType])
def test_an_oauth_answer_installs(
    provider: Provider, portal: Portal, form: Callable[[Any], Any]
) -> None:
    import json

    answer = portal.install(as_="oauth")["body"]
    provider.install(answer if form is str else form(json.loads(answer)))
    provider.client(MEMBER).message_status_update("provider1", "m1", "sent")
    assert portal.messages() == {"provider1|m1": "sent"}


def test_what_a_portal_is_like(provider: Provider, portal: Portal) -> None:
    portal.set(portals=2)
    for number in (1, 2):
        installed(provider, portal, host=f"p{number}.bitrix24.test")
        provider.report(member(number), "provider1", "m1", "sent")
    portal.set(down=["p2.bitrix24.test"])
    drained = provider.drain(1)
    assert (drained.sent, drained.refused, drained.held, drained.waiting) == (1, 0, 0, 1)
    assert drained.next_due is not None
    assert 0 <= drained.next_due < 60
    up, down = sorted(provider.inspect(), key=lambda state: state.member_id)
    assert type(up) is PortalState
    assert (up.member_id, up.state, up.reason, up.waiting) == (member(1), "active", "", 0)
    assert up.client_endpoint == f"https://p1.bitrix24.test:{portal.https_port}/rest/"
    assert (up.oldest, up.next_due) == (None, None)
    assert (down.member_id, down.state, down.waiting) == (member(2), "waiting", 1)
    assert down.reason
    assert isinstance(down.oldest, float)
    assert isinstance(down.next_due, float)
    portal.set(down=[])
    provider.resume(member(2))
    for values in (drained, up):
        assert pickle.loads(pickle.dumps(values)) == values
        with pytest.raises(dataclasses.FrozenInstanceError):
            values.waiting = 5  # type: ignore[misc]


def test_references_of_two_operators(provider: Provider, portal: Portal) -> None:
    installed(provider, portal)
    provider.track("1", MEMBER, "provider1", "m1", operator="a")
    provider.track("1", MEMBER, "provider1", 2, operator="b")
    provider.report_reference("1", "delivered", operator="a")
    provider.report_reference("1", "failed", operator="b", at=1780319382)
    provider.drain(1)
    assert portal.messages() == {"provider1|m1": "delivered", "provider1|2": "failed"}
    with pytest.raises(TypeError):
        provider.track("1", MEMBER, "provider1", "m1", "a")  # type: ignore[call-arg]


def test_a_state_dir_is_imported(provider: Provider, portal: Portal, tmp_path: Path) -> None:
    state = tmp_path / "state"
    portal.set(expired=True)
    options = portal.renewable(state_dir=state)
    Client(**options).message_status_update("provider1", "m1", "sent")
    assert provider.import_state_dir(state) == 1
    assert provider.import_state_dir(str(state)) == 0
    assert len(provider.inspect()) == 1
    with pytest.raises(TypeError):
        provider.import_state_dir(5)  # type: ignore[arg-type]


def test_a_closed_provider_says_so(make: Callable[..., Provider]) -> None:
    with make() as provider:
        provider.report(MEMBER, "provider1", "m1", "sent")
        # Neither the secret nor the address of the store, which may contain a password.
        assert repr(provider) == "<b24_messageservice.Provider>"
    for call in (
        lambda: provider.report(MEMBER, "provider1", "m1", "sent"),
        lambda: provider.report_many([]),
        lambda: provider.report_batch(MEMBER, []),
        lambda: provider.drain(1),
        lambda: provider.inspect(),
        lambda: provider.receive(FORM, b""),
        provider.__enter__,
    ):
        with pytest.raises(InvalidArgument, match="closed"):
            call()
    provider.close()
    provider.cancel()
    assert repr(provider) == "<b24_messageservice.Provider closed>"
    # Another one finds what is stored.
    assert [state.waiting for state in make().inspect()] == [1]


def test_a_provider_and_a_request_cannot_be_copied(provider: Provider, portal: Portal) -> None:
    for value in (provider, installed(provider, portal), Vocabulary("smpp")):
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                copied(value)
    with pytest.raises(TypeError):
        Request()


def test_a_provider_that_nobody_has_is_gone(portal: Portal, tmp_path: Path) -> None:
    provider: Any = Provider(**portal.provider_options(store=f"sqlite:{tmp_path}/b24.db"))
    gone = weakref.ref(provider)
    assert gone() is provider
    del provider
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("store", None, "store"),
        ("store", "mysql://x", "store"),
        ("client_id", None, "client_id"),
        ("client_secret", None, "client_secret"),
        ("portal", "portal.bitrix24.com", "portal"),
        ("access_token", "x", "access_token"),
        ("refresh_token", "x", "refresh_token"),
        ("state_dir", Path("/tmp"), "state_dir"),
        ("on_renewal", print, "on_renewal"),
        ("durability", "forever", "durability"),
        ("workers", -1, "workers"),
        ("workers", 1.5, "workers"),
        ("store_max_mb", "much", "store_max_mb"),
        ("store_key_file", Path("/no/such/file"), "store_key_file"),
        ("timeout", 0, "timeout"),
    ],
)
def test_a_wrong_value_of_an_option_is_named(
    make: Callable[..., Provider], option: str, value: Any, named: str
) -> None:
    with pytest.raises(InvalidConfig, match=f'^{named}|^"{named}'):
        make(**{option: value})


def test_a_wrong_type_of_an_option_is_named(make: Callable[..., Provider]) -> None:
    for name, value in (("store", 5.5j), ("workers", object()), ("on_renewal", 5)):
        with pytest.raises(TypeError, match=f"{name} must be .*not {type(value).__name__}"):
            make(**{name: value})
    with pytest.raises(TypeError):
        Provider("sqlite:x")  # type: ignore[call-arg]


def test_a_client_takes_no_options_of_a_provider(portal: Portal) -> None:
    with pytest.raises(InvalidConfig, match=r"^workers"):
        portal.client(workers=3)


def test_options_take_the_types_of_python(make: Callable[..., Provider]) -> None:
    make(
        timeout=2.5,
        connect_timeout="2",
        workers=0,
        store_max_mb=100,
        durability="process",
        store_key_file=None,
        allow_http=False,
        redirect_hosts=["a.test"],
        on_renewal=None,
    )


def test_vocabularies() -> None:
    smpp = Vocabulary("smpp")
    assert smpp.status("DELIVRD") is Status.DELIVERED
    assert smpp.status(" delivrd ") is smpp.status(2) is smpp.status("2") is Status.DELIVERED
    assert repr(smpp) == '<b24_messageservice.Vocabulary "smpp">'
    mine = Vocabulary("mine", {"OK": "delivered", "GONE": Status.FAILED})
    assert mine.status("ok") is Status.DELIVERED
    numbers = Vocabulary("numbers", MappingProxyType({0: "delivered", 1: "failed"}))
    assert (numbers.status(0), numbers.status("1")) == (Status.DELIVERED, Status.FAILED)
    with pytest.raises(InvalidArgument, match=r"mine.*LOST"):
        mine.status("LOST")
    with pytest.raises(InvalidArgument, match="klingon"):
        Vocabulary("klingon")
    with pytest.raises(InvalidArgument, match="lost"):
        Vocabulary("mine", {"OK": "lost"})
    for wrong in (5, [("OK", "sent")]):
        with pytest.raises(TypeError, match="table must be a mapping"):
            Vocabulary("mine", wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match='the status of "OK" must be a str'):
        Vocabulary("mine", {"OK": 5})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="word must be a str or an int, not float"):
        smpp.status(2.0)  # type: ignore[arg-type]
