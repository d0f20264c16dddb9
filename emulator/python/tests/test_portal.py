"""The portal as tests in Python use it."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from b24_portal import Portal, PortalError, Request, find_program

PYTHON_SOURCE = Path(__file__).parents[1]


def call(portal: Portal, method: str, token: str | None = None, **params: Any) -> Any:
    """A call of the portal by nothing but the standard library."""
    body = json.dumps({"auth": token or portal.access_token, **params}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{portal.http_port}/rest/{method}",
        body,
        {"Content-Type": "application/json", "User-Agent": "test/1"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)["result"]
    except urllib.error.HTTPError as refused:
        with refused:
            return json.load(refused)["error"]


def update(portal: Portal, message: str, status: str = "sent", token: str | None = None) -> Any:
    return call(
        portal,
        "messageservice.message.status.update",
        token,
        CODE="provider1",
        MESSAGE_ID=message,
        STATUS=status,
    )


def test_what_is_told_is_stored(b24_portal: Portal) -> None:
    assert update(b24_portal, "m1") is True
    assert update(b24_portal, "m1", "delivered") is True
    assert b24_portal.messages() == {"provider1|m1": "delivered"}
    assert b24_portal.history() == {"provider1|m1": ["sent", "delivered"]}
    seen = b24_portal.seen()
    assert (seen["requests"], seen["updates"], seen["bad"]) == (2, 2, [])
    assert [entry["params"]["MESSAGE_ID"] for entry in seen["log"]] == ["m1", "m1"]
    assert [entry["n"] for entry in b24_portal.seen(log=1)["log"]] == [2]


def test_each_reset_is_another_installation(b24_portal: Portal) -> None:
    first = (b24_portal.host, b24_portal.client_id, b24_portal.access_token)
    update(b24_portal, "m1")
    b24_portal.reset(messages=["provider1|m2"])
    assert b24_portal.messages() == {}
    assert not {b24_portal.host, b24_portal.client_id, b24_portal.access_token} & set(first)
    assert update(b24_portal, "m1", token=first[2]) == "invalid_token"
    assert update(b24_portal, "m1") == "ERROR_MESSAGE_NOT_FOUND"
    assert update(b24_portal, "m2") is True


def test_tokens_may_be_named(b24_portal: Portal) -> None:
    b24_portal.reset(access_token="mine", refresh_token="mine-too")
    assert b24_portal.access_token == "mine"
    assert b24_portal.options()["access_token"] == "mine"
    options = b24_portal.renewable(client_id="other")
    assert (options["refresh_token"], options["client_id"]) == ("mine-too", "other")
    tokens = b24_portal.tokens()
    assert (tokens["access_token"], tokens["refresh_token"]) == ("mine", "mine-too")
    assert update(b24_portal, "m1") is True


def test_senders_are_shown(b24_portal: Portal) -> None:
    b24_portal.reset(senders=["preset"], message_statuses={"7": "Read"})
    added = call(
        b24_portal,
        "messageservice.sender.add",
        CODE="p1",
        TYPE="SMS",
        HANDLER="https://handler.test/",
        NAME={"en": "P"},
    )
    assert added is True
    assert call(b24_portal, "messageservice.sender.list") == ["preset", "p1"]
    assert list(b24_portal.senders()) == ["p1", "preset"]
    assert b24_portal.senders()["p1"]["name"] == {"en": "P"}
    assert call(b24_portal, "messageservice.message.status.get", MESSAGE_ID=7) == "Read"


def test_faults_and_settings(b24_portal: Portal) -> None:
    b24_portal.fault("error", status=500, error="INTERNAL_SERVER_ERROR", count=2)
    b24_portal.faults([{"kind": "ok"}, {"kind": "error", "error": "LAST"}])
    told = [update(b24_portal, "m1") for _ in range(4)]
    assert told == ["INTERNAL_SERVER_ERROR", "INTERNAL_SERVER_ERROR", True, "LAST"]
    b24_portal.set(expired=True)
    assert update(b24_portal, "m1") == "expired_token"


def test_what_hangs_is_awaited_and_released(b24_portal: Portal) -> None:
    b24_portal.fault("hang_after")
    ended = []

    def hang() -> None:
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            update(b24_portal, "m1")
        ended.append(True)

    thread = threading.Thread(target=hang)
    thread.start()
    b24_portal.wait(1)
    with pytest.raises(TimeoutError, match=r"after 0\.01 s there were"):
        b24_portal.wait(2, timeout=0.01)
    assert not ended
    b24_portal.release()
    thread.join(30)
    assert ended
    assert b24_portal.messages() == {"provider1|m1": "sent"}


def test_a_mistake_is_told(b24_portal: Portal) -> None:
    host = b24_portal.host
    with pytest.raises(PortalError, match=r"POST /reset: .*colour"):
        b24_portal.reset(colour="red")
    assert b24_portal.host == host
    with pytest.raises(PortalError, match=r"POST /fault: .*explode"):
        b24_portal.fault("explode")
    with pytest.raises(PortalError, match="no such command"):
        b24_portal.ask("GET", "/colour")


def fields(request: Request) -> dict[str, str]:
    """The fields of a form, under the names that they have there."""
    assert request["content_type"] == "application/x-www-form-urlencoded"
    return dict(urllib.parse.parse_qsl(request["body"], strict_parsing=True))


def test_an_installation_is_shown_in_three_forms(b24_portal: Portal) -> None:
    event = fields(b24_portal.install())
    assert event["event"] == "ONAPPINSTALL"
    assert event["auth[access_token]"] == b24_portal.access_token
    assert event["auth[refresh_token]"] == b24_portal.refresh_token
    endpoint = f"https://{b24_portal.host}:{b24_portal.https_port}/rest/"
    assert event["auth[client_endpoint]"] == endpoint
    frame = b24_portal.install(as_="frame", pair="user")
    assert dict(urllib.parse.parse_qsl(frame["query"]))["DOMAIN"] == b24_portal.host
    pair = b24_portal.tokens()["pairs"][frame["pair"]]
    assert fields(frame)["AUTH_ID"] == pair["access_token"]
    assert (pair["admin"], pair["user_id"]) == (False, 68)
    told = json.loads(b24_portal.install(as_="oauth")["body"])
    assert (told["member_id"], told["client_endpoint"]) == (event["auth[member_id]"], endpoint)
    assert call(b24_portal, "user.admin") is True
    assert call(b24_portal, "user.admin", pair["access_token"]) is False
    b24_portal.spend(1)
    assert [pair["lost"] for pair in b24_portal.tokens()["pairs"]] == [False, True]
    assert fields(b24_portal.uninstall(clean=True))["data[CLEAN]"] == "1"
    assert not b24_portal.tokens()["installed"]
    assert update(b24_portal, "m1") == "APPLICATION_NOT_FOUND"


def test_other_portals_have_messages_of_their_own(b24_portal: Portal) -> None:
    b24_portal.reset(portals=2, messages=[])
    host = "p2.bitrix24.test"
    message = b24_portal.message(host=host, code="provider1", text="A & B")
    told = fields(message)
    assert told["message_id"] == message["message_id"]
    assert (told["message_body"], told["auth[member_id]"]) == ("A & B", f"{2:032x}")
    body = {
        "CODE": "provider1",
        "MESSAGE_ID": message["message_id"],
        "STATUS": "sent",
        "auth": "access-p2-0000000000000001",
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{b24_portal.http_port}/rest/messageservice.message.status.update",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "User-Agent": "test/1", "Host": host},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        assert json.load(answer)["result"] is True
    stored = {f"provider1|{message['message_id']}": "sent"}
    assert b24_portal.messages() == {}
    assert b24_portal.messages(host) == stored
    assert list(b24_portal.history(host).values()) == [["sent"]]
    assert b24_portal.all_messages() == {host: stored}
    assert b24_portal.tokens(host)["application_token"] == "application-p2-0000000000000001"
    assert b24_portal.senders(host) == {}


def test_a_request_is_sent_to_a_handler(b24_portal: Portal) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(202)
            self.end_headers()
            self.wfile.write(b"thank you")

        def log_message(self, *_: Any) -> None:
            pass

    got: list[tuple[str, bytes]] = []
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        to = f"http://127.0.0.1:{server.server_port}/install?a=b"
        frame = b24_portal.install(as_="frame", to=to, times=2)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert frame["reply"] == {"status": 202, "body": "thank you"}
    assert len(frame["replies"]) == 2
    assert got == [(f"/install?a=b&{frame['query']}", frame["body"].encode())] * 2
    with pytest.raises(PortalError, match="not on this machine"):
        b24_portal.message(to="http://192.0.2.1/")


def test_a_provider_finds_every_portal(b24_portal: Portal) -> None:
    options = b24_portal.provider_options(rate_limit="off")
    assert options == {
        "client_id": b24_portal.client_id,
        "client_secret": b24_portal.client_secret,
        "oauth_url": f"https://oauth.bitrix24.test:{b24_portal.oauth_port}",
        "ca_file": b24_portal.ca_file,
        "resolve": [
            f"*:{b24_portal.https_port}:127.0.0.1",
            f"*:{b24_portal.oauth_port}:127.0.0.1",
        ],
        "proxy": "none",
        "rate_limit": "off",
    }


def test_it_ends_with_the_block(tmp_path: Path) -> None:
    with Portal(directory=tmp_path, messages=["provider1|m1"]) as portal:
        assert update(portal, "m2") == "ERROR_MESSAGE_NOT_FOUND"
        assert Path(portal.ca_file).parent == tmp_path
    portal.close()
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        update(portal, "m1")


def test_a_program_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PortalError, match="cannot be started: No such file"):
        Portal(tmp_path / "none")
    with pytest.raises(PortalError, match="ended before it was ready: 1"):
        Portal("false")
    with pytest.raises(PortalError, match="colour"):
        Portal(colour="red")
    monkeypatch.setenv("B24_PORTAL_BIN", "/some/where/b24-portal")
    assert find_program() == "/some/where/b24-portal"


def test_the_program_is_looked_for(tmp_path: Path) -> None:
    """Beside the package where ``pip install --target`` puts it, then on ``PATH``."""
    for directory in ("beside/bin", "path"):
        program = tmp_path / directory / "b24-portal"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    package = tmp_path / "beside" / "b24_portal"
    package.symlink_to(PYTHON_SOURCE / "b24_portal")
    finding = (
        "import sys, sysconfig; sysconfig.get_path = lambda *_: '/nowhere';"
        "sys.path.insert(0, sys.argv[1]); import b24_portal; print(b24_portal.find_program())"
    )

    def found(source: Path, path: Path) -> str:
        return subprocess.run(
            [sys.executable, "-I", "-c", finding, source],
            env={"PATH": str(path)},
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()

    assert found(tmp_path / "beside", tmp_path / "path") == f"{tmp_path}/beside/bin/b24-portal"
    assert found(PYTHON_SOURCE, tmp_path / "path") == f"{tmp_path}/path/b24-portal"
    assert found(PYTHON_SOURCE, tmp_path) == ""


def test_a_client_of_the_library(b24_portal: Portal) -> None:
    library = pytest.importorskip("b24_messageservice")
    b24_portal.set(expired=True)
    with library.Client(**b24_portal.renewable()) as client:
        client.message_status_update("provider1", "m1", "delivered")
    b24_portal.wait(2, renewal_requests=1)
    with b24_portal.client(access_token=b24_portal.tokens()["access_token"]) as client:
        client.message_status_update("provider1", "m2", "delivered")
    assert b24_portal.messages() == {"provider1|m1": "delivered", "provider1|m2": "delivered"}
    assert b24_portal.seen()["bad"] == []
