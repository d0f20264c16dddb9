"""Status, Tokens and the exceptions: plain Python values."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import b24_messageservice as b24
import pytest
from b24_messageservice import B24Error, Status, Tokens

# Programs catch the built-in ones too.
BASES = {
    "InvalidArgument": ValueError,
    "InvalidConfig": ValueError,
    "TransportError": ConnectionError,
    "CallTimeout": TimeoutError,
    "AccessDenied": PermissionError,
    "MessageNotFound": LookupError,
    "StorageError": OSError,
}
CLASSES = B24Error.__subclasses__()


def test_statuses_are_the_portals_words() -> None:
    assert [s.value for s in Status] == ["queued", "sent", "delivered", "undelivered", "failed"]


def test_a_status_is_its_text() -> None:
    status = Status.DELIVERED
    assert status == "delivered"
    assert str(status) == f"{status}" == "".join(["delivered"]) == "delivered"
    assert f"{status:>10}" == " delivered"
    assert json.dumps({"status": status}) == '{"status": "delivered"}'
    assert Status("delivered") is status
    assert pickle.loads(pickle.dumps(status)) is status
    assert copy.deepcopy(status) is status


def test_a_text_that_is_no_status_is_refused() -> None:
    with pytest.raises(ValueError, match="lost"):
        Status("lost")


def test_tokens_hide_their_secrets_and_can_be_stored() -> None:
    tokens = Tokens("access-secret", "refresh-secret", "https://p.test/rest/", "m1", 5)
    assert "secret" not in repr(tokens)
    assert "https://p.test/rest/" in repr(tokens)
    assert Tokens(**dataclasses.asdict(tokens)) == tokens
    assert pickle.loads(pickle.dumps(tokens)) == tokens
    with pytest.raises(dataclasses.FrozenInstanceError):
        tokens.expires = 6  # type: ignore[misc]


@pytest.mark.parametrize("name", BASES)
def test_an_exception_is_also_the_builtin_it_resembles(name: str) -> None:
    cls = getattr(b24, name)
    assert issubclass(cls, B24Error)
    assert issubclass(cls, BASES[name])


def test_a_storage_error_has_the_attributes_of_an_oserror() -> None:
    error = b24.StorageError("state_dir: /x: disk full; make room", retryable=True)
    assert (error.code, error.retryable) == ("STORAGE", True)
    assert (error.errno, error.strerror, error.filename) == (None, None, None)


def test_every_kind_is_public_and_has_its_own_code() -> None:
    assert {cls.__name__ for cls in CLASSES} <= set(b24.__all__)
    assert len({cls.code for cls in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_exception_survives_pickle_and_copy(cls: type[B24Error]) -> None:
    error = cls(
        "what happened, and what to do",
        portal_code="ERROR_X",
        description="X!",
        http_status=400,
        retryable=True,
        retry_after=1.5,
    )
    assert str(error) == "what happened, and what to do"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert_same(pickle.loads(pickle.dumps(error, protocol)), error)
    assert_same(copy.copy(error), error)
    assert_same(copy.deepcopy(error), error)


def assert_same(one: B24Error, other: B24Error) -> None:
    assert type(one) is type(other)
    assert str(one) == str(other)
    assert repr(one) == repr(other)
    assert vars(one) == vars(other)


def test_attributes_of_an_exception_default_to_nothing() -> None:
    error = B24Error("text")
    assert (error.portal_code, error.description) == ("", "")
    assert (error.http_status, error.retryable, error.retry_after) == (None, False, None)
