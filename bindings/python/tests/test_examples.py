"""The examples, against the emulator."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from b24_portal import Portal

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def environment(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    options = portal.options()
    variables = {
        "B24_PORTAL": portal.host,
        "B24_ACCESS_TOKEN": portal.access_token,
        "B24_APPLICATION_TOKEN": "application-token",
        "B24_CA_FILE": options["ca_file"],
        "B24_RESOLVE": ",".join(options["resolve"]),
        "B24_PROXY": "none",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return {**os.environ, **variables}


def run(name: str, *arguments: str, environment: dict[str, str], text: str = "") -> Any:
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("provider1", "known", "delivered"), 0, "known is delivered"),
        (("provider1", "unknown", "delivered"), 1, "no message unknown"),
        (("provider1", "known", "lost"), 2, "status"),
    ],
)
def test_plain(
    portal: Portal, environment: dict[str, str], arguments: tuple[str, ...], code: int, told: str
) -> None:
    portal.set(messages=["provider1|known"])
    ended = run("plain.py", *arguments, environment=environment)
    assert ended.returncode == code, ended.stderr
    assert told in ended.stdout + ended.stderr


def test_plain_tells_whether_to_try_again(portal: Portal, environment: dict[str, str]) -> None:
    portal.set(answer={"status": 403, "error": "insufficient_scope"})
    ended = run("plain.py", "provider1", "m1", "sent", environment=environment)
    assert ended.returncode == 3
    assert "trying again does not help" in ended.stderr


def test_asyncio_sender(portal: Portal, environment: dict[str, str]) -> None:
    lines = "".join(f"provider1 m{number} delivered\n" for number in range(120))
    ended = run("asyncio_sender.py", environment=environment, text=lines)
    assert ended.stdout == "120 applied\n", ended.stderr
    assert portal.messages()["provider1|m119"] == "delivered"


POSTED = {
    "module_id": "crm",
    "bindings[0][OWNER_TYPE_ID]": "3",
    "type": "SMS",
    "code": "provider1",
    "message_id": "65575980fa531ac284c2ee68f81ebebd",
    "message_to": "+49111",
    "message_body": "Grüße & more",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_fastapi_handler(portal: Portal, environment: dict[str, str]) -> None:
    testclient = pytest.importorskip("fastapi.testclient", reason="fastapi is not installed")
    from fastapi_handler import app

    form = {"content-type": "application/x-www-form-urlencoded"}
    auth = {
        "access_token": portal.access_token,
        "client_endpoint": f"https://{portal.host}/rest/",
        "application_token": "application-token",
    }
    posted = {**POSTED, **{f"auth[{name}]": value for name, value in auth.items()}}
    forged = {**posted, "auth[application_token]": "guess"}
    incomplete = {"auth[application_token]": "application-token"}
    nested = {
        "code": "provider1",
        "message_id": "json1",
        "message_to": "",
        "message_body": "",
        "auth": auth,
    }
    with testclient.TestClient(app) as web:
        assert web.post("/handler", content=urlencode(forged), headers=form).status_code == 403
        assert web.post("/handler", content=urlencode(incomplete), headers=form).status_code == 400
        assert portal.seen()["requests"] == 0

        answer = web.post("/handler", content=urlencode(posted), headers=form)
        assert answer.json() == {"accepted": POSTED["message_id"]}
        assert web.post("/handler", json=nested).status_code == 200
    # What was accepted is reported before the program ends.
    assert portal.messages() == {
        f"provider1|{POSTED['message_id']}": "delivered",
        "provider1|json1": "undelivered",
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_fastapi_handler_lets_no_portal_delay_another(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    testclient = pytest.importorskip("fastapi.testclient", reason="fastapi is not installed")
    from fastapi_handler import app

    full, other = "p1.bitrix24.test", "p2.bitrix24.test"
    with Portal(portals=2) as portal:
        options = portal.provider_options()
        monkeypatch.setenv("B24_CA_FILE", options["ca_file"])
        monkeypatch.setenv("B24_RESOLVE", ",".join(options["resolve"]))
        # Two requests at once, then one in ten seconds.
        monkeypatch.setenv("B24_RATE_LIMIT", "2/0.1")

        def post(web: Any, host: str, message_id: str) -> None:
            auth = {
                "access_token": portal.tokens(host)["access_token"],
                "client_endpoint": f"https://{host}:{portal.https_port}/rest/",
                "application_token": "application-token",
            }
            fields = {"message_to": "+49111", "message_body": "Hello", "code": "provider1"}
            sent = {**fields, "message_id": message_id, "auth": auth}
            assert web.post("/handler", json=sent).status_code == 200

        with testclient.TestClient(app) as web:
            for number in range(40):
                post(web, full, f"m{number}")
            begun = time.perf_counter()
            post(web, other, "m0")
            until(lambda: portal.messages(other).get("provider1|m0") == "delivered")
            print(f"it came after {(time.perf_counter() - begun) * 1000:.0f} ms")
        hosts = [entry["host"].split(":")[0] for entry in portal.seen()["log"]]
        # Only the two that the full portal's limit allowed at once came before.
        assert hosts.index(other) <= 2
        assert hosts.count(full) > 2
        # The one whose limit was used up has them all in the end.
        assert len(portal.messages(full)) == 40
        assert portal.seen()["bad"] == []
        assert portal.seen()["query_limit"] == 0


def test_a_message_proves_nothing_where_no_token_is_known(environment: dict[str, str]) -> None:
    from portal_post import Forged, read

    form = "application/x-www-form-urlencoded"
    for body in ({**POSTED}, {**POSTED, "auth[application_token]": ""}):
        for known in ("", "application-token"):
            with pytest.raises(Forged):
                read(urlencode(body).encode(), form, known)
    nested = json.dumps({**POSTED, "auth": {"application_token": ""}}).encode()
    with pytest.raises(Forged):
        read(nested, "application/json", "")


GUIDE = Path(__file__).parents[3] / "docs" / "guide-python.md"


def test_the_guides_check_takes_the_portals_token_only() -> None:
    snippets = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    checks = [snippet for snippet in snippets if "application_token" in snippet]
    assert len(checks) == 1
    names: dict[str, Any] = {}
    exec(checks[0], names)
    is_the_portal = names["is_the_portal"]
    assert is_the_portal({"auth[application_token]": "token"}, "token") is True
    for given in ({"auth[application_token]": "another"}, {"auth[application_token]": ""}, {}):
        assert is_the_portal(given, "token") is False
        assert is_the_portal(given, "") is False


def test_celery_worker(portal: Portal, environment: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("celery", reason="celery is not installed")
    # The file system as a broker: what one process writes to data_out, another reads from data_in.
    (tmp_path / "data_in").mkdir()
    (tmp_path / "data_out").symlink_to("data_in")
    environment |= {"CELERY_BROKER": "filesystem://", "PYTHONPATH": str(EXAMPLES)}
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    celery = [sys.executable, "-m", "celery", "-A", "celery_worker"]
    worker = subprocess.Popen(
        [*celery, "worker", "--pool=prefork", "--concurrency=2", *quiet],
        cwd=tmp_path,
        env=environment,
    )
    for number in range(3):
        subprocess.run(
            [
                *celery,
                "call",
                "celery_worker.report",
                f'--args=["provider1", {number + 1}, "sent"]',
            ],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
        )
    portal.wait(3, timeout=60)
    # A warm shutdown: tasks under way are finished.
    worker.terminate()
    worker.wait(60)
    assert [portal.messages()[f"provider1|{number + 1}"] for number in range(3)] == ["sent"] * 3
    connections = {entry["connection"] for entry in portal.seen()["log"]}
    assert len(connections) <= 2
    assert portal.seen()["bad"] == []


def test_celery_task_fails_where_trying_again_is_useless(
    portal: Portal, environment: dict[str, str]
) -> None:
    pytest.importorskip("celery", reason="celery is not installed")
    from celery_worker import report

    portal.set(messages=[])
    ended = report.apply(args=("provider1", "unknown", "sent"))
    assert type(ended.result).__name__ == "MessageNotFound"
    assert portal.seen()["requests"] == 1


@pytest.fixture
def provider_environment(
    portal: Portal, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, str]:
    options = portal.provider_options(store=f"sqlite:{tmp_path}/b24.db")
    variables = {
        "OPERATOR_TOKEN": "operator-token",
        "HANDLER_URL": "https://provider.example.com/handler",
        "PYTHONPATH": str(EXAMPLES),
        **{
            "B24_" + name.upper(): ",".join(value) if isinstance(value, list) else value
            for name, value in options.items()
        },
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    # They make their provider at import.
    for module in ("fastapi_provider", "celery_provider"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return {**environment, **variables}


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """What is entered ends with the test."""
    with contextlib.ExitStack() as stack:
        yield stack


def until(there: Callable[[], bool]) -> None:
    """Waits until another process has done something."""
    begun = time.monotonic()
    while not there():
        assert time.monotonic() < begun + 60
        time.sleep(0.02)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_fastapi_provider(
    portal: Portal, provider_environment: dict[str, str], stack: contextlib.ExitStack
) -> None:
    testclient = pytest.importorskip("fastapi.testclient", reason="fastapi is not installed")
    import fastapi_provider
    import gateway

    web = stack.enter_context(testclient.TestClient(fastapi_provider.app))

    def post(request: Any, path: str = "/handler") -> Any:
        headers = {"content-type": request["content_type"]}
        return web.post(path, content=request["body"], headers=headers)

    assert post(portal.message()).status_code == 403  # not installed yet
    assert post(portal.install()).json() == {"accepted": "install"}
    assert portal.senders()["provider1"]["handler"] == provider_environment["HANDLER_URL"]
    assert post(portal.message(forge="token")).status_code == 403
    assert post(portal.message(forge="json_text")).status_code == 400
    message = {"phone": "+49111", "text": "Grüße & more"}
    assert post(portal.message(message_id="m1", **message)).json() == {"accepted": "message"}
    assert post(portal.message(message_id="m2", phone="")).json() == {"accepted": "message"}
    receipt = {"message": gateway.send("+49111", "Grüße & more"), "state": "DELIVRD"}
    assert web.post("/receipts", json=receipt).status_code == 401
    operator = {"authorization": "Bearer operator-token"}
    for at in (None, time.time()):
        answer = web.post("/receipts", json={**receipt, "at": at}, headers=operator)
        assert answer.status_code == 200
    unknown = web.post("/receipts", json={**receipt, "state": "LOST"}, headers=operator)
    assert unknown.status_code == 400
    assert "LOST" in unknown.json()["error"]

    drain = subprocess.Popen(
        [sys.executable, EXAMPLES / "fastapi_provider.py"], env=provider_environment
    )
    until(lambda: len(portal.messages()) == 2)
    drain.terminate()
    assert drain.wait(60) == 0
    # Only the newest status was sent.
    assert portal.history() == {"provider1|m1": ["delivered"], "provider1|m2": ["failed"]}
    assert portal.seen()["bad"] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_fastapi_provider_installs_on_the_wizards_page(
    portal: Portal, provider_environment: dict[str, str], stack: contextlib.ExitStack
) -> None:
    testclient = pytest.importorskip("fastapi.testclient", reason="fastapi is not installed")
    import fastapi_provider

    web = stack.enter_context(testclient.TestClient(fastapi_provider.app))
    frame = portal.install(as_="frame")
    headers = {"content-type": frame["content_type"]}
    # Another page of the application is no installation.
    assert web.post("/handler", content=frame["body"], headers=headers).status_code == 200
    inspect = fastapi_provider.provider.inspect
    assert web.portal.call(inspect) == []
    assert web.post("/wizard", content=frame["body"], headers=headers).text == "Installed."
    assert len(web.portal.call(inspect)) == 1
    assert set(portal.senders()) == {"provider1"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_celery_provider(
    portal: Portal,
    provider_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pytest.importorskip("celery", reason="celery is not installed")
    (tmp_path / "data_in").mkdir()
    (tmp_path / "data_out").symlink_to("data_in")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CELERY_BROKER", "filesystem://")
    environment = {**provider_environment, "CELERY_BROKER": "filesystem://"}
    import celery_provider
    import gateway

    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    celery = [sys.executable, "-m", "celery", "-A", "celery_provider"]
    worker = subprocess.Popen(
        [*celery, "worker", "--beat", "--pool=prefork", "--concurrency=2", *quiet],
        env=environment,
    )

    def posted(request: Any) -> None:
        celery_provider.posted(request["content_type"], request["body"].encode())

    posted(portal.install())
    for number in range(3):
        posted(portal.message(message_id=f"m{number}", phone=f"+4911{number}", text="Hello"))
        reference = gateway.send(f"+4911{number}", "Hello")
        celery_provider.receipt.delay(reference, "DELIVRD", time.time())
    until(lambda: list(portal.messages().values()) == ["delivered"] * 3)
    worker.terminate()
    worker.wait(60)
    assert set(portal.messages()) == {f"provider1|m{number}" for number in range(3)}
    assert portal.seen()["bad"] == []


def test_celery_provider_does_not_try_again_where_that_is_useless(
    portal: Portal, provider_environment: dict[str, str]
) -> None:
    pytest.importorskip("celery", reason="celery is not installed")
    from celery_provider import provider, receipt

    unknown = receipt.apply(args=("op-1", "LOST", time.time()))
    assert type(unknown.result).__name__ == "InvalidArgument"
    provider.close()
