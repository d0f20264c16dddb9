"""The examples, against the emulator."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
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

    web = testclient.TestClient(app)
    form = {"content-type": "application/x-www-form-urlencoded"}
    auth = {
        "access_token": portal.access_token,
        "client_endpoint": f"https://{portal.host}/rest/",
        "application_token": "application-token",
    }
    posted = {**POSTED, **{f"auth[{name}]": value for name, value in auth.items()}}
    forged = {**posted, "auth[application_token]": "guess"}
    assert web.post("/handler", content=urlencode(forged), headers=form).status_code == 403
    incomplete = {"auth[application_token]": "application-token"}
    assert web.post("/handler", content=urlencode(incomplete), headers=form).status_code == 400
    assert portal.seen()["requests"] == 0

    answer = web.post("/handler", content=urlencode(posted), headers=form)
    assert answer.json() == {"accepted": POSTED["message_id"]}
    assert portal.messages()[f"provider1|{POSTED['message_id']}"] == "delivered"

    nested = {
        "code": "provider1",
        "message_id": "json1",
        "message_to": "",
        "message_body": "",
        "auth": auth,
    }
    assert web.post("/handler", json=nested).status_code == 200
    assert portal.messages()["provider1|json1"] == "undelivered"


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
