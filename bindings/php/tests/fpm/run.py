"""Runs the PHP package under a real php-fpm and nginx against the portal emulator.

What is counted: answers, connections that the workers open to the portal, renewals. In the
environment, B24_MESSAGESERVICE_LIB names the shared library; b24_portal finds the emulator.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
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

from b24_portal import Portal

PACKAGE = Path(__file__).resolve().parents[2]
HANDLER = PACKAGE / "tests/fpm/handler.php"
EXAMPLE = PACKAGE / "examples/fpm-handler.php"
WORKERS = 4
REQUESTS = 500
APPLICATION_TOKEN = "application-token-1"


def find(*patterns: str) -> str:
    """The program of the last version that one of the patterns finds."""
    for pattern in patterns:
        found = sorted(Path("/").glob(pattern))
        if found:
            return str(found[-1])
    sys.exit(f"php-fpm test: no {' or '.join(patterns)} here")


class Checks:
    """Counts what holds, and shows what does not."""

    passed = 0
    failed = 0

    def that(self, what: str, holds: bool, shown: object) -> None:
        if holds:
            self.passed += 1
        else:
            self.failed += 1
            print(f"PHP FPM: {what}: {shown}", file=sys.stderr)


def environment_of(options: dict[str, Any]) -> dict[str, str]:
    """What web requests take their client's options from."""
    options = {**options, "rate_limit": "off", "resolve": ",".join(options["resolve"])}
    environment = {f"B24_{name.upper()}": value for name, value in options.items()}
    return {**environment, "B24_MESSAGESERVICE_LIB": os.environ["B24_MESSAGESERVICE_LIB"]}


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


def connections(checks: Checks, portal: Portal, name: str, ini: Mapping[str, str]) -> None:
    portal.reset()
    environment = environment_of(portal.options())
    if "ffi.preload" in ini:
        # Only the scope that was loaded before the workers were made can serve.
        environment["B24_MESSAGESERVICE_LIB"] = "/nowhere/libb24_messageservice.so"
    with web_server(ini, environment) as base:
        answers = load(base)
    seen = portal.seen()
    wrong = [answer for answer in answers if answer[0] != 200]
    workers = {text for _, text in answers}
    checks.that(f"{name}: answers", not wrong, wrong[:3])
    checks.that(f"{name}: updates", seen["updates"] == REQUESTS, seen["updates"])
    checks.that(f"{name}: connections", seen["connections"] <= WORKERS, seen["connections"])
    checks.that(f"{name}: workers", 1 < len(workers) <= WORKERS, workers)
    print(
        f"{name}: {len(answers) - len(wrong)} of {REQUESTS} answered by {len(workers)} workers "
        f"over {seen['connections']} connections"
    )


def renewal(checks: Checks, portal: Portal, name: str, ini: Mapping[str, str]) -> None:
    """Every worker begins with the token that has expired, and so does every web request."""
    portal.reset(expired=True, oauth_latency_ms=100)
    with tempfile.TemporaryDirectory(prefix="b24-state-") as state:
        environment = environment_of(portal.renewable(state_dir=state))
        with web_server(ini, environment) as base:
            answers = load(base)
            seen = portal.seen()
        wrong = [answer for answer in answers if answer[0] != 200]
        checks.that(f"{name}: answers after the renewal", not wrong, wrong[:3])
        checks.that(f"{name}: one renewal", seen["renewal_requests"] == 1, seen["renewal_requests"])
        checks.that(f"{name}: no spent token", seen["spent_tokens"] == 0, seen["spent_tokens"])
        checks.that(f"{name}: no misbehaviour", seen["bad"] == [], seen["bad"])
        # Workers that start anew: the old token in their settings, the new one in state_dir.
        with web_server(ini, environment) as base:
            status, text = fetch(f"{base}/status?id=later")
        again = portal.seen()
        checks.that(f"{name}: new workers", status == 200, text)
        checks.that(f"{name}: no further renewal", again["renewal_requests"] == 1, again)
    print(
        f"{name}: {len(answers) - len(wrong)} of {REQUESTS} answered with an expired token in the "
        f"settings, by {seen['renewal_requests']} renewal"
    )


def handler(checks: Checks, portal: Portal, ini: Mapping[str, str]) -> None:
    """The example takes what a portal posts."""
    portal.reset()
    post = {
        "module_id": "crm",
        "bindings[0][OWNER_TYPE_ID]": "1",
        "properties[phone_number]": "+15550100",
        "type": "SMS",
        "code": "provider1",
        "message_id": "65575980fa531ac284c2ee68f81ebebd",
        "message_to": "+15550100",
        "message_body": "Hello",
        "auth[access_token]": portal.access_token,
        "auth[client_endpoint]": f"https://{portal.host}/rest/",
        "auth[application_token]": APPLICATION_TOKEN,
    }
    environment = {**environment_of(portal.options()), "B24_APPLICATION_TOKEN": APPLICATION_TOKEN}
    with web_server(ini, environment) as base:
        url = f"{base}/handler"
        forged = {**post, "auth[application_token]": "another"}
        nothing = {key: value for key, value in post.items() if key != "message_id"}
        checks.that("handler: forged", fetch(url, forged)[0] == 403, fetch(url, forged))
        checks.that("handler: no message", fetch(url, nothing)[0] == 400, fetch(url, nothing))
        checks.that(
            "handler: arrays", fetch(url, {"auth": "x"})[0] == 403, fetch(url, {"auth": "x"})
        )
        answer = fetch(url, post)
        checks.that("handler: accepted", answer == (200, "accepted\n"), answer)
        # The report comes after the answer.
        portal.wait(1, timeout=30)
        stored = portal.messages()
    # Where no token is known, an empty one proves nothing.
    with web_server(ini, environment_of(portal.options())) as base:
        for given in ({"auth[application_token]": ""}, {}):
            unknown = {key: post[key] for key in post if "application_token" not in key}
            answer = fetch(f"{base}/handler", {**unknown, **given})
            checks.that("handler: no token known", answer[0] == 403, answer)
    key = "provider1|65575980fa531ac284c2ee68f81ebebd"
    checks.that("handler: stored", stored.get(key) == "delivered", stored)


def main() -> int:
    checks = Checks()
    with Portal() as portal, tempfile.TemporaryDirectory(prefix="b24-preload-") as directory:
        header = f"{directory}/preload.h"
        php = shutil.which("php") or sys.exit("php-fpm test: no php here")
        subprocess.run([php, PACKAGE / "bin/b24-preload", header], check=True)
        preloaded = {
            "ffi.enable": "preload",
            "ffi.preload": header,
            "opcache.enable": "1",
            "opcache.preload": str(PACKAGE / "preload.php"),
            "opcache.preload_user": getpass.getuser(),
        }
        enabled = {"ffi.enable": "true"}
        for name, ini in (("preload", preloaded), ("ffi.enable=true", enabled)):
            connections(checks, portal, name, ini)
            renewal(checks, portal, name, ini)
        handler(checks, portal, preloaded)
        # Neither PHP's default nor ffi.preload alone lets web requests use FFI.
        restricted = {"ffi.enable": "preload"}
        for name, ini in (
            ("restricted", restricted),
            ("ffi.preload alone", {**restricted, "ffi.preload": header}),
        ):
            with web_server(ini, environment_of(portal.options())) as base:
                status, text = fetch(f"{base}/status?id=m1")
            told = "LibraryUnavailable" in text and "set ffi.enable=true" in text
            checks.that(f"{name}: it says what to set", status == 500 and told, (status, text))
    print(f"PHP FPM: {checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
