"""The PHP package under a real php-fpm and nginx, against the portal emulator.

What is counted: answers, connections that the workers open to the portal, renewals. In the
environment, B24_MESSAGESERVICE_LIB names the shared library; else the checkout's is taken.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from b24_portal import Portal
from web import WORKERS, environment, fetch, web_server

REQUESTS = 500
APPLICATION_TOKEN = "application-token-1"
MESSAGE_ID = "65575980fa531ac284c2ee68f81ebebd"


def load(base: str) -> list[tuple[int, str]]:
    """500 requests, more of them at a time than there are workers."""
    with ThreadPoolExecutor(2 * WORKERS) as clients:
        return list(clients.map(lambda n: fetch(f"{base}/status?id=m{n}"), range(1, REQUESTS + 1)))


def test_each_worker_keeps_its_connection(b24_portal: Portal, ini: dict[str, str]) -> None:
    variables = environment(b24_portal.options())
    if "ffi.preload" in ini:
        # Only the scope that was loaded before the workers were made can serve.
        variables["B24_MESSAGESERVICE_LIB"] = "/nowhere/libb24_messageservice.so"
    with web_server(ini, variables) as base:
        answers = load(base)
    seen = b24_portal.seen()
    workers = {text for _, text in answers}
    print(f"{REQUESTS} requests: {len(workers)} workers over {seen['connections']} connections")
    assert [answer for answer in answers if answer[0] != 200] == []
    assert seen["updates"] == REQUESTS
    assert seen["connections"] <= WORKERS
    assert 1 < len(workers) <= WORKERS


def test_all_workers_renew_once(b24_portal: Portal, ini: dict[str, str], tmp_path: Path) -> None:
    """Every worker begins with the token that has expired, and so does every web request."""
    b24_portal.reset(expired=True, oauth_latency_ms=100)
    (tmp_path / "state").mkdir(mode=0o700)
    variables = environment(b24_portal.renewable(state_dir=tmp_path / "state"))
    with web_server(ini, variables) as base:
        answers = load(base)
    seen = b24_portal.seen()
    assert [answer for answer in answers if answer[0] != 200] == []
    assert (seen["renewal_requests"], seen["spent_tokens"], seen["bad"]) == (1, 0, [])
    # Workers that start anew: the old token in their settings, the new one in state_dir.
    with web_server(ini, variables) as base:
        status, text = fetch(f"{base}/status?id=later")
    assert status == 200, text
    assert b24_portal.seen()["renewal_requests"] == 1


@pytest.fixture
def post(b24_portal: Portal) -> dict[str, str]:
    """What a portal posts."""
    return {
        "module_id": "crm",
        "bindings[0][OWNER_TYPE_ID]": "1",
        "properties[phone_number]": "+15550100",
        "type": "SMS",
        "code": "provider1",
        "message_id": MESSAGE_ID,
        "message_to": "+15550100",
        "message_body": "Hello",
        "auth[access_token]": b24_portal.access_token,
        "auth[client_endpoint]": f"https://{b24_portal.host}/rest/",
        "auth[application_token]": APPLICATION_TOKEN,
    }


def test_the_example_takes_what_a_portal_posts(
    b24_portal: Portal, preloaded: dict[str, str], post: dict[str, str]
) -> None:
    variables = {**environment(b24_portal.options()), "B24_APPLICATION_TOKEN": APPLICATION_TOKEN}
    with web_server(preloaded, variables) as base:
        url = f"{base}/message"
        assert fetch(url, {**post, "auth[application_token]": "another"})[0] == 403
        assert fetch(url, {name: post[name] for name in post if name != "message_id"})[0] == 400
        assert fetch(url, {"auth": "x"})[0] == 403
        assert b24_portal.seen()["requests"] == 0
        assert fetch(url, post) == (200, "accepted\n")
        # The report comes after the answer.
        b24_portal.wait(1, timeout=30)
    assert b24_portal.messages() == {f"provider1|{MESSAGE_ID}": "delivered"}


def test_where_no_token_is_known_an_empty_one_proves_nothing(
    b24_portal: Portal, preloaded: dict[str, str], post: dict[str, str]
) -> None:
    unknown = {name: post[name] for name in post if "application_token" not in name}
    with web_server(preloaded, environment(b24_portal.options())) as base:
        for given in ({"auth[application_token]": ""}, {}):
            assert fetch(f"{base}/message", {**unknown, **given})[0] == 403


def test_a_web_request_is_given_its_own_log_records(
    b24_portal: Portal, ini: dict[str, str]
) -> None:
    """A worker goes on without a logger: what it does then waits for no later web request."""
    with web_server(ini, environment(b24_portal.options())) as base:
        for number in range(4 * WORKERS):
            status, silent = fetch(f"{base}/status?id=m{number}")
            assert (status, "method=" in silent) == (200, False)
            status, logged = fetch(f"{base}/status?id=m{number}&log=1")
            assert (status, logged.count("method=")) == (200, 1), logged


@pytest.mark.parametrize("with_header", [False, True])
def test_without_ffi_it_says_what_to_set(
    b24_portal: Portal, header: str, with_header: bool
) -> None:
    """Neither PHP's default nor ffi.preload alone lets web requests use FFI."""
    ini = {"ffi.enable": "preload", **({"ffi.preload": header} if with_header else {})}
    with web_server(ini, environment(b24_portal.options())) as base:
        status, text = fetch(f"{base}/status?id=m1")
    assert status == 500
    assert "LibraryUnavailable" in text
    assert "ffi.enable=preload, which is PHP's default" in text
    assert "set ffi.enable=true in the php.ini of fpm-fcgi" in text
    assert ("ffi.preload is not set" in text) is not with_header
