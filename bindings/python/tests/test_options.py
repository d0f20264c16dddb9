"""How options are given, and what is said of those that are wrong: as Python spells them."""

from __future__ import annotations

import asyncio
import copy
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import b24_messageservice as b24
import pytest
from b24_portal import Portal

PORTAL = "portal.bitrix24.com"
Maker = Callable[..., Any]

CLIENTS: list[tuple[str, Maker]] = [
    ("Client", lambda **options: b24.Client(PORTAL, **options)),
    ("Client.shared", lambda **options: b24.Client.shared(PORTAL, **options)),
    ("Client.from_env", b24.Client.from_env),
    ("AsyncClient", lambda **options: b24.AsyncClient(PORTAL, **options)),
    ("AsyncClient.from_env", b24.AsyncClient.from_env),
]
PROVIDERS: list[tuple[str, Maker]] = [
    ("Provider", b24.Provider),
    ("Provider.from_env", b24.Provider.from_env),
    ("AsyncProvider", b24.AsyncProvider),
    ("AsyncProvider.from_env", b24.AsyncProvider.from_env),
]


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets variables, in place of all that there are."""
    for name in list(os.environ):
        if name.startswith("B24_"):
            monkeypatch.delenv(name)

    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.mark.parametrize(("name", "make"), CLIENTS + PROVIDERS)
@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ("tiemout", "Did you mean 'timeout'?"),
        ("timeout_ms", "Did you mean 'timeout', which takes seconds?"),
        ("connect_timeout_ms", "Did you mean 'connect_timeout', which takes seconds?"),
        ("MAX_RETRIES", "Did you mean 'max_retries'?"),
        ("zzz", "The options are "),
    ],
)
def test_an_unknown_keyword_is_a_type_error(
    name: str, make: Maker, wrong: str, advice: str
) -> None:
    for value in ("1", None):
        with pytest.raises(TypeError) as refused:
            make(**{wrong: value})
        told = f"{name}() got an unexpected keyword argument '{wrong}'. {advice}"
        assert str(refused.value).startswith(told)


def test_the_nearest_option_is_one_that_the_class_takes() -> None:
    for name, wrong, nearest in (
        ("AsyncClient", "max_thread", "max_threads"),
        ("Client", "on_renew", "on_renewal"),
        ("Provider", "workrs", "workers"),
    ):
        make: Maker = dict(CLIENTS + PROVIDERS)[name]
        with pytest.raises(TypeError, match=f"Did you mean '{nearest}'"):
            make(**{wrong: 1})
    for name, wrong in (("Provider", "acces_token"), ("Client", "storee")):
        make = dict(CLIENTS + PROVIDERS)[name]
        with pytest.raises(TypeError) as refused:
            make(**{wrong: 1})
        assert "Did you mean" not in str(refused.value)


@pytest.mark.parametrize("option", ["timeout", "connect_timeout"])
@pytest.mark.parametrize("value", [0, -1, "soon", "", 0.0004, 604801, float("nan"), "inf", True])
def test_a_time_is_told_of_in_seconds(option: str, value: Any) -> None:
    with pytest.raises(b24.InvalidConfig) as refused:
        b24.Client(PORTAL, access_token="x", **{option: value})
    assert str(refused.value).startswith(f"{option} is ")
    assert "it takes seconds, a number from 0.001 to 604800" in str(refused.value)
    assert "_ms" not in str(refused.value)


def test_times_are_rounded_to_milliseconds() -> None:
    for value in (0.001, 0.0005, 0.29, "2.5", 604800, 1e3, " 3 "):
        b24.Client(PORTAL, access_token="x", timeout=value)


def test_errors_and_records_name_options_as_python_does(
    portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(5, logger="b24_messageservice")
    portal.fault("hang", count=9)
    with pytest.raises(b24.CallTimeout) as late:
        portal.client(timeout=0.3).message_status_update("provider1", "m1", "sent")
    assert "raise timeout" in str(late.value)
    portal.release()
    outcomes = portal.client(timeout=1, rate_limit="1/0.01").message_status_update_batch(
        [("provider1", str(number), "sent") for number in range(51)]
    )
    shown = [str(late.value), *map(str, filter(None, outcomes)), caplog.text]
    assert any("timeout" in str(error) for error in outcomes)
    assert "timeout" in caplog.text
    for text in shown:
        assert "timeout_ms" not in text


def test_what_the_portal_says_is_not_changed(portal: Portal) -> None:
    said = "your timeout_ms is wrong"
    portal.set(answer={"status": 400, "error": "ERROR_X", "description": said})
    with pytest.raises(b24.B24Error) as refused:
        portal.client().message_status_update("provider1", "m1", "sent")
    assert refused.value.description == said
    assert said in str(refused.value)


def test_a_record_of_a_failed_connection_says_the_cause(
    portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="b24_messageservice")
    nobody = [f"{portal.host}:443:127.0.0.1:1"]
    with pytest.raises(b24.TransportError) as refused:
        portal.client(resolve=nobody, max_retries=0).message_status_update("p", "m1", "sent")
    (record,) = [r for r in caplog.messages if "error=TRANSPORT" in r]
    _, _, cause = record.partition(" cause=")
    assert "refused" in cause
    assert "refused" in str(refused.value)


# The environment.


def variables(options: dict[str, Any]) -> dict[str, str]:
    return {
        "B24_" + name.upper(): ",".join(value) if isinstance(value, list) else value
        for name, value in options.items()
    }


def test_a_client_of_the_environment(portal: Portal, environ: Callable[..., None]) -> None:
    environ(
        **variables(portal.options()), B24_TIMEOUT_MS="20000", B24_STORE="sqlite:/x", B24_ZZZ=""
    )
    with b24.Client.from_env() as client:
        client.message_status_update("provider1", "m1", "sent")

    async def main() -> None:
        async with b24.AsyncClient.from_env(max_threads=1) as client:
            await client.message_status_update("provider1", "m2", "sent")

    asyncio.run(main())
    assert set(portal.messages()) == {"provider1|m1", "provider1|m2"}


def test_a_provider_of_the_environment(
    portal: Portal, environ: Callable[..., None], tmp_path: Path
) -> None:
    store = f"sqlite:{tmp_path}/b24.db"
    environ(**variables(portal.provider_options(store=store)), B24_ACCESS_TOKEN="of-a-client")
    with b24.Provider.from_env() as provider:
        request = portal.install()
        provider.receive(request["content_type"], request["body"])

    async def main() -> int:
        async with b24.AsyncProvider.from_env(workers=0) as provider:
            return len(await provider.inspect())

    assert asyncio.run(main()) == 1


def test_keywords_win(portal: Portal, environ: Callable[..., None]) -> None:
    environ(
        **{**variables(portal.options()), "B24_PORTAL": "elsewhere.test", "B24_TIMEOUT_MS": "x"}
    )
    client = b24.Client.from_env(portal.host, timeout=5)
    assert repr(client) == f"<b24_messageservice.Client {portal.host}>"
    # None is not set.
    with pytest.raises(b24.InvalidConfig, match=r"B24_TIMEOUT_MS"):
        b24.Client.from_env(None, timeout=None)


def test_a_secret_may_be_in_a_file(
    portal: Portal, environ: Callable[..., None], tmp_path: Path
) -> None:
    options = portal.options()
    (tmp_path / "token").write_text(options.pop("access_token") + "\n", encoding="utf-8")
    environ(**variables(options), B24_ACCESS_TOKEN_FILE=str(tmp_path / "token"))
    b24.Client.from_env().message_status_update("provider1", "m1", "sent")
    assert portal.messages() == {"provider1|m1": "sent"}


def test_a_file_of_options_serves_python_too(
    portal: Portal, environ: Callable[..., None], tmp_path: Path
) -> None:
    file = tmp_path / "b24.conf"
    lines = [
        f"{name}={','.join(value) if isinstance(value, list) else value}\n"
        for name, value in portal.options(timeout_ms="9000").items()
    ]
    file.write_text("".join(lines), encoding="utf-8")
    file.chmod(0o600)
    environ(B24_CONFIG=str(file))
    b24.Client.from_env().message_status_update("provider1", "m1", "sent")
    assert portal.messages() == {"provider1|m1": "sent"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, ["portal is missing", "set B24_PORTAL, or give portal="]),
        ({"B24_PORTAL": PORTAL}, ["access_token is missing", "set B24_ACCESS_TOKEN"]),
        (
            {"B24_PORTAL": PORTAL, "B24_ACCESS_TOKEN": "t0ps3cret with space"},
            ["access_token contains", "from B24_ACCESS_TOKEN"],
        ),
        (
            {"B24_PORTAL": "https://portal.bitrix24.com/rest/1/t0ps3cret/"},
            ["portal", "webhook", "from B24_PORTAL"],
        ),
        ({"B24_PROXY": "ftp://user:t0ps3cret@proxy"}, ["proxy", "from B24_PROXY"]),
        ({"B24_TIMEOUT_MS": "soon"}, ["timeout", "milliseconds", "from B24_TIMEOUT_MS"]),
        ({"B24_TIMEOUT": "5"}, ["B24_TIMEOUT is set", "set B24_TIMEOUT_MS, in milliseconds"]),
        (
            {"B24_ACCESS_TOKEN": "t0ps3cret", "B24_ACCESS_TOKEN_FILE": "/x"},
            ["B24_ACCESS_TOKEN and by B24_ACCESS_TOKEN_FILE"],
        ),
        ({"B24_ACCESS_TOKEN_FILE": "/no/such"}, ["B24_ACCESS_TOKEN_FILE", "/no/such"]),
    ],
)
def test_what_is_wrong_in_the_environment_is_named_without_secrets(
    environ: Callable[..., None], given: dict[str, str], told: list[str]
) -> None:
    environ(**given)
    with pytest.raises(b24.InvalidConfig) as refused:
        b24.Client.from_env()
    for text in told:
        assert text in str(refused.value)
    assert "t0ps3cret" not in repr(refused.value)


# Copies.

UNPICKLABLE: list[Callable[[Path], Any]] = [
    lambda _: b24.Client(PORTAL, access_token="x"),
    lambda _: b24.AsyncClient(PORTAL, access_token="x"),
    lambda path: b24.Provider(store=f"sqlite:{path}/b", client_id="a", client_secret="s"),
    lambda path: b24.AsyncProvider(store=f"sqlite:{path}/b", client_id="a", client_secret="s"),
    lambda _: b24.CancelToken(),
    lambda _: b24.Vocabulary("smpp"),
]


@pytest.mark.parametrize("make", UNPICKLABLE)
@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_cannot_be_copied_says_what_to_do(
    make: Callable[[Path], Any], copied: Callable[[Any], Any], tmp_path: Path
) -> None:
    handle = make(tmp_path)
    name = type(handle).__name__
    with pytest.raises(TypeError, match=f"^cannot pickle or copy an? {name}: .*make") as refused:
        copied(handle)
    assert "from_env" in str(refused.value) or name in ("CancelToken", "Vocabulary")


def test_a_client_is_not_sent_to_a_spawned_process() -> None:
    client = b24.Client(PORTAL, access_token="x")
    process = multiprocessing.get_context("spawn").Process(target=print, args=(client,))
    with pytest.raises(TypeError, match="make another one"):
        process.start()


# Types.

PROGRAM = """
from b24_messageservice import AsyncClient, Client, ClientOptions, Provider, ProviderOptions

options: ClientOptions = {"portal": "portal.bitrix24.com", "access_token": "x", "timeout": 5}
Client(**options)
Client.shared(**options)
AsyncClient(**options, max_threads=2)
Client.from_env(timeout=2.5)
Client.from_env("portal.bitrix24.com", access_token="x")
provider_options: ProviderOptions = {"store": "sqlite:/x", "workers": 2}
Provider(**provider_options)
Provider.from_env(**provider_options)
"""
WRONG = [
    'Client("portal.bitrix24.com", tiemout=5)',
    'Client("portal.bitrix24.com", store="sqlite:/x")',
    'Client("portal.bitrix24.com", timeout=[5])',
    'Provider(access_token="x")',
    "missing: ClientOptions = {'access_token': 'x'}",
]


def test_options_are_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + "\n".join(WRONG) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file="]
    ended = subprocess.run([*command, program.name], cwd=tmp_path, capture_output=True, text=True)
    first = PROGRAM.count("\n") + 1
    lines = {int(line.split(":")[1]) for line in ended.stdout.splitlines() if ": error:" in line}
    assert lines == set(range(first, first + len(WRONG))), ended.stdout


def test_editors_find_the_docstrings() -> None:
    root = Path(__file__).parents[1]
    check = [sys.executable, str(root / "docstrings.py"), "--check"]
    ended = subprocess.run(check, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
