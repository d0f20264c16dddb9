"""A php-fpm with an nginx before it, both of this machine, started for a test."""

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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", PACKAGE.parents[1] / "target"))
LIBRARY = os.environ.get("B24_MESSAGESERVICE_LIB", str(TARGET / "release/libb24_messageservice.so"))
#: The PHP files behind the paths.
SCRIPTS = {
    "/status": PACKAGE / "tests/fpm/status.php",
    "/message": PACKAGE / "examples/fpm-handler.php",
    "/handler": PACKAGE / "examples/handler.php",
    "/receipt": PACKAGE / "examples/receipt.php",
}
WORKERS = 4


def find(*patterns: str) -> str:
    """The program of the last version that one of the patterns finds."""
    for pattern in patterns:
        found = sorted(Path("/").glob(pattern))
        if found:
            return str(found[-1])
    pytest.fail(f"no {' or '.join(patterns)} here")


def environment(options: Mapping[str, Any]) -> dict[str, str]:
    """What PHP programs take the options of a client or a provider from."""
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
        scripts = " ".join(f"{path} {script};" for path, script in SCRIPTS.items())
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
map $uri $script {{ {scripts} }}
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


def fetch(
    url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    data = None if form is None else urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(url, data, dict(headers or {}))
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
