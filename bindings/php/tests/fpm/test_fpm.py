"""The PHP package under a real php-fpm and nginx, against the portal emulator.

What is counted: answers, connections that the workers open to the portal, renewals. In the
environment, B24_MESSAGESERVICE_LIB names the shared library; else the checkout's is taken.
"""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from b24_portal import Portal

PACKAGE = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", PACKAGE.parents[1] / "target"))
LIBRARY = os.environ.get("B24_MESSAGESERVICE_LIB", str(TARGET / "release/libb24_messageservice.so"))
HANDLER = PACKAGE / "tests/fpm/handler.php"
EXAMPLE = PACKAGE / "examples/fpm-handler.php"
WORKERS = 4
REQUESTS = 500
APPLICATION_TOKEN = "application-token-1"
MESSAGE_ID = "65575980fa531ac284c2ee68f81ebebd"


def find(*patterns: str) -> str:
    """The program of the last version that one of the patterns finds."""
    for pattern in patterns:
        found = sorted(Path("/").glob(pattern))
        if found:
            return str(found[-1])
    pytest.fail(f"no {' or '.join(patterns)} here")


def environment(options: Mapping[str, Any]) -> dict[str, str]:
    """What web requests take their client's options from."""
    given = {**options, "rate_limit": "off", "resolve": ",".join(options["resolve"])}
    variables = {f"B24_{name.upper()}": str(value) for name, value in given.items()}
    return {**variables, "B24_MESSAGESERVICE_LIB": LIBRARY}


@contextmanager
def service(command: list[str], ready: str) -> Iterator[list[str]]:
    """A program, from when it says on standard error that it is ready to the end of the block."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if ready in line:
            break
    else:
        raise RuntimeError(f"{command[0]} did not start:\n{''.join(lines)}")
    # What it says later is read on, so that the pipe never fills.
    reader = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        yield lines
    finally:
        process.terminate()
        process.wait()
        reader.join()
        process.stderr.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def web_server(ini: Mapping[str, str], environment: Mapping[str, str]) -> Iterator[str]:
    """nginx before php-fpm, everything of theirs in a directory of its own; gives the base URL."""
    with tempfile.TemporaryDirectory(prefix="b24-fpm-") as name, ExitStack() as running:
        place = Path(name)
        root = os.geteuid() == 0
        user = getpass.getuser()
        pool = "".join(f'env[{key}] = "{value}"\n' for key, value in environment.items())
        (place / "fpm.conf").write_text(
            f"[global]\npid = {place}/fpm.pid\nerror_log = /proc/self/fd/2\n"
            f"[www]\nlisten = {place}/fpm.sock\npm = static\npm.max_children = {WORKERS}\n"
            f"catch_workers_output = yes\n{pool}" + (f"user = {user}\n" if root else "")
        )
        fpm = [find("usr/sbin/php-fpm[0-9]*", "usr/sbin/php-fpm", "usr/local/sbin/php-fpm"), "-F"]
        fpm += ["-O", "-y", str(place / "fpm.conf"), *(["-R"] if root else [])]
        for key, value in ini.items():
            fpm += ["-d", f"{key}={value}"]
        running.enter_context(service(fpm, "ready to handle connections"))

        port = free_port()
        temporary = "".join(
            f"{kind}_temp_path {place}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (place / "nginx.conf").write_text(
            (f"user {user};\n" if root else "")
            + f"""daemon off; pid {place}/nginx.pid; error_log stderr notice; worker_processes 1;
events {{}}
http {{
{temporary}access_log off;
map $uri $script {{ /status {HANDLER}; /handler {EXAMPLE}; }}
server {{
listen 127.0.0.1:{port};
fastcgi_param REQUEST_METHOD $request_method;
fastcgi_param QUERY_STRING $query_string;
fastcgi_param CONTENT_TYPE $content_type;
fastcgi_param CONTENT_LENGTH $content_length;
fastcgi_param SCRIPT_FILENAME $script;
location / {{ fastcgi_pass unix:{place}/fpm.sock; }}
}}
}}
"""
        )
        nginx = [find("usr/sbin/nginx", "usr/local/sbin/nginx"), "-p", str(place)]
        nginx += ["-c", str(place / "nginx.conf"), "-e", "stderr"]
        running.enter_context(service(nginx, "start worker process"))
        yield f"http://127.0.0.1:{port}"


def fetch(url: str, form: Mapping[str, str] | None = None) -> tuple[int, str]:
    data = None if form is None else urllib.parse.urlencode(form).encode()
    try:
        with urllib.request.urlopen(url, data) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def load(base: str) -> list[tuple[int, str]]:
    """500 requests, more of them at a time than there are workers."""
    with ThreadPoolExecutor(2 * WORKERS) as clients:
        return list(clients.map(lambda n: fetch(f"{base}/status?id=m{n}"), range(1, REQUESTS + 1)))


@pytest.fixture(scope="session")
def header(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What ffi.preload loads."""
    path = tmp_path_factory.mktemp("preload") / "preload.h"
    environment = {**os.environ, "B24_MESSAGESERVICE_LIB": LIBRARY}
    subprocess.run(["php", PACKAGE / "bin/b24-preload", path], env=environment, check=True)
    return str(path)


@pytest.fixture
def preloaded(header: str) -> dict[str, str]:
    return {
        "ffi.enable": "preload",
        "ffi.preload": header,
        "opcache.enable": "1",
        "opcache.preload": str(PACKAGE / "preload.php"),
        "opcache.preload_user": getpass.getuser(),
    }


@pytest.fixture(params=["preloaded", "enabled"])
def ini(request: pytest.FixtureRequest) -> dict[str, str]:
    """The two ways to let web requests use FFI."""
    if request.param == "enabled":
        return {"ffi.enable": "true"}
    told: dict[str, str] = request.getfixturevalue("preloaded")
    return told


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
        url = f"{base}/handler"
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
            assert fetch(f"{base}/handler", {**unknown, **given})[0] == 403


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
    assert "set ffi.enable=true" in text
