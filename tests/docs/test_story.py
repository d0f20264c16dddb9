"""Runs the programs of docs/first-provider.md against the portal emulator, in each language.

Each program begins with a comment that is its file's name. The files of a language are written
into one directory, built as the page says, and led to the emulator by two options more,
``resolve`` and ``ca_file``. Then the portal posts to the handler, over HTTP; the operator's
receipts and the drain are programs of the command line. What the portal has seen is checked.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from b24_messageservice import Provider
from b24_portal import Portal
from pages import ROOT, STORY, named
from running import (
    C_COMPILERS,
    C_LIBRARY,
    C_WARNINGS,
    TARGET,
    build_crate,
    php_environment,
    run,
    shell_environment,
)

PORTAL = "portal.bitrix24.com"
MEMBER = "a223c6b3710f85df22e9377d6c4f7553"
HANDLER_URL = "https://provider.example.com/handler"


class Story:
    """The programs of a language in a directory, built."""

    def __init__(self, language: str, portal: Portal, directory: Path) -> None:
        self.directory = directory
        self.portal = portal
        self.resolve = (
            f"*:{portal.https_port}:127.0.0.1,oauth.bitrix.info:443:127.0.0.1:{portal.oauth_port}"
        )
        self.environment = {
            **php_environment(),
            "B24_STORE": f"sqlite:{directory}/b24.db",
            "B24_CLIENT_ID": portal.client_id,
            "B24_CLIENT_SECRET": portal.client_secret,
            "HANDLER_URL": HANDLER_URL,
        }
        for name, code in named(STORY, language).items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        path = self.directory / name
        code = path.read_text(encoding="utf-8")
        assert old in code, f"{name} has no {old}"
        path.write_text(code.replace(old, new), encoding="utf-8")

    def build(self) -> None:
        """Makes programs of the files, which find the emulator."""

    def command(self, program: str) -> list[str | Path]:
        return [self.directory / program]

    def run(self, program: str, *arguments: str) -> str:
        command = [*self.command(program), *arguments]
        return run(command, cwd=self.directory, env=self.environment)

    def fails(self, program: str, *arguments: str) -> bool:
        command = [*self.command(program), *arguments]
        options: dict[str, Any] = {"cwd": self.directory, "env": self.environment}
        done = subprocess.run(command, capture_output=True, check=False, timeout=60, **options)
        return done.returncode != 0

    @contextmanager
    def serve(self) -> Iterator[tuple[str, str]]:
        """Serves the handler; gives its address and that of the page of the wizard."""
        with cgi(self.command("handler"), self.directory, self.environment) as url:
            yield url, f"{url}install"


class Rust(Story):
    def build(self) -> None:
        options = f'.set("resolve", "{self.resolve}")?.set("ca_file", "{self.portal.ca_file}")?'
        self.replace("src/lib.rs", "open(&config)", f"open(config{options})")
        build_crate(self.directory, "sms")

    def command(self, program: str) -> list[str | Path]:
        return [TARGET / "debug" / program]


class C(Story):
    language = "c"

    def build(self) -> None:
        emulator = self.directory / "emulator.h"
        emulator.write_text(
            "#include <b24_messageservice.h>\n"
            "static inline b24_code emulator_open(const b24_config *config,\n"
            "    b24_provider **provider, b24_error **error) {\n"
            f'    b24_config_set((b24_config *)config, "resolve", "{self.resolve}", 0);\n'
            f'    b24_config_set((b24_config *)config, "ca_file", "{self.portal.ca_file}", 0);\n'
            "    return b24_provider_open(config, provider, error);\n"
            "}\n"
            "#define b24_provider_open emulator_open\n"
        )
        compiler = [*C_COMPILERS[self.language], *C_WARNINGS, f"-I{ROOT / 'include'}"]
        for source in self.directory.glob(f"*.{self.language}"):
            program = source.with_suffix("")
            run([*compiler, "-include", emulator, source, "-o", program, *C_LIBRARY])


class Cpp(C):
    language = "cpp"


class Python(Story):
    def build(self) -> None:
        options = f"resolve={self.resolve!r}, ca_file={self.portal.ca_file!r}"
        self.replace("sms.py", "Provider(\n", f"Provider({options},\n")

    def command(self, program: str) -> list[str | Path]:
        return [sys.executable, self.directory / f"{program}.py"]

    @contextmanager
    def serve(self) -> Iterator[tuple[str, str]]:
        server = (
            "from wsgiref.simple_server import make_server\n"
            "import handler\n"
            "server = make_server('127.0.0.1', 0, handler.application)\n"
            "print(server.server_port, flush=True)\n"
            "server.serve_forever()\n"
        )
        command = [sys.executable, "-c", server]
        with child(command, self.directory, self.environment) as process:
            assert process.stdout
            url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            yield f"{url}/handler", f"{url}/install"


class Php(Story):
    def build(self) -> None:
        autoload = self.directory / "vendor/autoload.php"
        autoload.parent.mkdir()
        autoload.write_text(f"<?php\nrequire '{ROOT}/bindings/php/autoload.php';\n")
        options = f"'resolve' => '{self.resolve}', 'ca_file' => '{self.portal.ca_file}'"
        self.replace("sms.php", "new Provider([", f"new Provider([{options}, ")

    def command(self, program: str) -> list[str | Path]:
        return ["php", self.directory / f"{program}.php"]

    @contextmanager
    def serve(self) -> Iterator[tuple[str, str]]:
        # Only the command line may use FFI unless this is set. PHP prints the port that it has got.
        command = ["php", "-d", "ffi.enable=true", "-S", "127.0.0.1:0", "-t", str(self.directory)]
        with child(command, self.directory, self.environment) as process:
            assert process.stdout
            started = process.stdout.readline()
            port = re.search(r"http://127\.0\.0\.1:(\d+)", started)
            assert port, started
            # It logs each request, and would stop once the pipe is full.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            url = f"http://127.0.0.1:{port[1]}"
            yield f"{url}/handler.php", f"{url}/install.php"


STORIES: dict[str, Callable[[str, Portal, Path], Story]] = {
    "rust": Rust,
    "c": C,
    "cpp": Cpp,
    "python": Python,
    "php": Php,
}


@contextmanager
def child(
    command: list[str], directory: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A server, which is ended afterwards."""
    options: dict[str, Any] = {"cwd": directory, "env": environment, "text": True}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def cgi(command: list[str | Path], directory: Path, environment: dict[str, str]) -> Iterator[str]:
    """A web server that runs a program for each request, by CGI."""

    class Request(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "0")
            variables = {
                **environment,
                "REQUEST_METHOD": "POST",
                "CONTENT_LENGTH": length,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "PATH_INFO": self.path.split("?")[0],
            }
            body = self.rfile.read(int(length))
            done = subprocess.run(
                command, input=body, capture_output=True, check=False, cwd=directory, env=variables
            )
            head, _, answer = done.stdout.partition(b"\r\n\r\n")
            status = re.match(rb"Status: (\d+)", head)
            # What went wrong is in the answer, where a failing test shows it.
            answer += done.stderr
            self.send_response(int(status[1]) if status and done.returncode == 0 else 500)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(params=STORIES)
def story(request: pytest.FixtureRequest, b24_portal: Portal, tmp_path: Path) -> Story:
    b24_portal.reset(member_id=MEMBER)
    made = STORIES[request.param](request.param, b24_portal, tmp_path)
    made.build()
    return made


def test_from_installation_to_receipt(story: Story, b24_portal: Portal) -> None:
    def posted(how: Callable[..., Any], to: str, **order: Any) -> tuple[int, str]:
        reply = how(to=to, host=PORTAL, **order)["reply"]
        return reply["status"], reply["body"]

    with story.serve() as (handler, wizard):
        # Before the installation, nothing is proven.
        status, text = posted(b24_portal.message, handler)
        assert status == 403, text

        # A page that is not the wizard's installs nothing.
        status, text = posted(b24_portal.install, handler, as_="frame")
        assert status == 200, text
        assert b24_portal.senders(PORTAL) == {}

        status, text = posted(b24_portal.install, handler)
        assert status == 200, text
        senders = b24_portal.senders(PORTAL)
        assert senders["provider1"]["handler"] == HANDLER_URL
        assert b24_portal.seen()["app_info"] >= 1

        # The wizard's page brings the same, and the sender is there already.
        status, text = posted(b24_portal.install, wizard, as_="frame")
        assert status == 200, text
        assert b24_portal.senders(PORTAL) == senders

        message_id = "65575980fa531ac284c2ee68f81ebebd"
        status, text = posted(b24_portal.message, handler, message_id=message_id)
        assert status == 200, text
        status, text = posted(b24_portal.message, handler, forge="token")
        assert status == 403, text
        status, text = posted(b24_portal.message, handler, forge="json_text", json=False)
        assert status == 400, text

        # The operator's receipts: out of order, twice, and one in unknown words.
        story.run("receipt", f"op-{message_id}", "DELIVRD")
        story.run("receipt", f"op-{message_id}", "ENROUTE")
        story.run("receipt", f"op-{message_id}", "DELIVRD")
        assert story.fails("receipt", f"op-{message_id}", "WHATEVER")
        assert "1 waiting" in story.run("watch")

        assert story.run("drain", "1").strip() == "1 sent, 0 waiting, 0 held, 0 refused"
        assert b24_portal.history(PORTAL) == {f"provider1|{message_id}": ["delivered"]}
        watched = story.run("watch")
        assert MEMBER in watched
        assert "active" in watched

        # A wait of a minute at the portal's uninstallation would prove nothing more.
        status, text = posted(b24_portal.uninstall, handler)
        assert status == 200, text
        assert "uninstalled" in story.run("watch")
    assert b24_portal.seen()["bad"] == []


def test_the_shell_drains_and_watches(b24_portal: Portal, tmp_path: Path) -> None:
    b24_portal.reset()
    programs = named(STORY, "sh")
    options = b24_portal.provider_options(store=f"sqlite:{tmp_path}/b24.db")
    with Provider(**options) as provider:
        auth = json.loads(b24_portal.install(as_="oauth")["body"])
        provider.install(auth)
        provider.report(auth["member_id"], "provider1", "m1", "delivered")
    environment = shell_environment(options)
    with child(["bash", "-euc", programs["service.sh"]], tmp_path, environment) as service:
        b24_portal.wait(1)
    assert service.returncode == 0
    assert b24_portal.messages() == {"provider1|m1": "delivered"}
    assert auth["member_id"] in run(["bash", "-euc", programs["watch.sh"]], env=environment)


def test_every_language_tells_the_whole_story() -> None:
    """The same programs in each; C++ shares no file with C, and PHP's wizard is one of its own."""
    told = {
        language: sorted(
            {Path(name).stem for name in named(STORY, language)} - {"sms", "lib", "install"}
        )
        for language in STORIES
    }
    assert set(map(tuple, told.values())) == {("drain", "handler", "receipt", "watch")}
