#!/usr/bin/env python3
"""Runs the scenario table through every language's door, and judges what came of it.

Each language has one adapter process, which only turns lines into calls, and one portal emulator of
its own, so that languages run side by side. `tests/README.md` describes the table and the lines.

Needs nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import queue
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "scenarios"
LANGUAGES = ("rust", "c", "python", "php")
VALGRIND = (
    "valgrind",
    "--quiet",
    "--suppressions=bindings/c/tests/valgrind.supp",
    "--leak-check=full",
    "--errors-for-leak-kinds=definite,indirect",
    "--show-leak-kinds=definite,indirect",
    "--error-exitcode=1",
)

# Longer than any row may take: an adapter that says nothing for so long hangs.
ANSWER_SECONDS = 60

# Records come through another pipe than answers: so long may they be on their way.
RECORD_SECONDS = 5
LOCAL = ("127.0.0.1", 0)
ACCESS_TOKEN = "access-0000000000000001"
REFRESH_TOKEN = "refresh-0000000000000001"
CLIENT_SECRET = "secret-0000000000000001"
# Each row has a number of its own in its place: an installation is known by its tokens.
NUMBER = "0000000000000001"
# Directories in {tmp}, which tokens must not be kept in; `foreign` belongs to another user.
DIRECTORIES = {"public": 0o777, "group": 0o770, "group-read-write": 0o775, "foreign": 0o755}
NOBODY = 65534
# What a row may need besides, and why it cannot be run without.
NEEDS = {
    "root": (os.geteuid() == 0, "only root can give a directory to another user"),
}
# Longer than any renewal takes.
RENEWALS_MS = 45_000
SECRET_OPTIONS = ("access_token", "refresh_token", "client_secret")
ERROR_FIELDS = (
    "code",
    "portal_code",
    "http_status",
    "retryable",
    "retry_after_ms",
    "message",
    "description",
)
# A row of a hexadecimal dump in a log: sixteen bytes, "--" where there are fewer.
DUMP_ROW = re.compile(r"((?:(?:[0-9a-f]{2}|--){2} ){8})")
TOKEN_FIELDS = ("access_token", "refresh_token", "client_endpoint", "member_id", "expires")

Json = dict[str, Any]


class Broken(Exception):
    """An adapter or the emulator did not do its part."""


class Failed(Exception):
    """A row's expectation was not met."""


def read_table(directory: Path) -> list[Json]:
    """All rows, in the order of the files' names. A malformed table is an error at once."""
    rows: list[Json] = []
    for path in sorted(directory.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            row["subject"] = path.stem
            rows.append(row)
    known = {
        "name", "about", "subject", "portal", "faults", "config", "hosts", "steps", "seen", "log",
        "messages", "history", "tunnels", "proxy_requests", "records", "deadline_ms",
        "secrets", "except", "needs", "lost",
    }  # fmt: skip
    names = Counter(row["name"] for row in rows)
    for row in rows:
        name = row["name"]
        if names[name] > 1:
            raise Broken(f"two rows are named {name}")
        if unknown := set(row) - known:
            raise Broken(f"row {name} has unknown members: {', '.join(sorted(unknown))}")
        if not row.get("about") or not row.get("steps"):
            raise Broken(f"row {name} lacks `about` or `steps`")
        if "requests" not in row.get("seen", {}):
            raise Broken(f"row {name} does not say how many requests the portal must have seen")
    return rows


class Emulator:
    """One `b24-portal` process, and its control API."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen(
            [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Broken(f"{program} ended without telling its addresses")
        self.addresses: Json = json.loads(line)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Sends a control command and gives its answer."""
        request = urllib.request.Request(
            self.addresses["control"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with NO_PROXY.open(request, timeout=ANSWER_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Broken(f"the emulator refused {path}: {error.read().decode()}") from error

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=ANSWER_SECONDS)


class Places:
    """Addresses at which things go wrong before any portal, and a proxy that works."""

    def __init__(self, https_port: int) -> None:
        self.https_port = https_port
        self.directory = tempfile.TemporaryDirectory(prefix="b24-scenarios-")
        (Path(self.directory.name) / "not-pem.txt").write_text("no certificate\n")
        for name, mode in DIRECTORIES.items():
            directory = Path(self.directory.name) / name
            directory.mkdir()
            directory.chmod(mode)
        if os.geteuid() == 0:
            os.chown(Path(self.directory.name) / "foreign", NOBODY, NOBODY)
        # Bound, so that nobody else gets it, and not listening: connections are refused.
        self.unused = socket.socket()
        self.unused.bind(LOCAL)
        # Listening with no room left: connections are neither accepted nor refused.
        self.stalled = socket.create_server(LOCAL, backlog=0)
        self.waiting = [socket.socket() for _ in range(4)]
        for waiting in self.waiting:
            waiting.setblocking(False)
            waiting.connect_ex(self.stalled.getsockname())
        # Accepting connections on which nothing is ever said.
        self.silent = socket.create_server(LOCAL, backlog=128)
        self.tunnels = 0
        self.proxy_requests = 0
        self.proxy = socket.create_server(LOCAL)
        threading.Thread(target=self._serve_proxy, daemon=True).start()

    def names(self) -> dict[str, str]:
        """The placeholders that stand for them."""
        return {
            "tmp": self.directory.name,
            "table": str(TABLE),
            "unused_port": str(self.unused.getsockname()[1]),
            "stalled_port": str(self.stalled.getsockname()[1]),
            "silent_port": str(self.silent.getsockname()[1]),
            "proxy_port": str(self.proxy.getsockname()[1]),
        }

    def _serve_proxy(self) -> None:
        while True:
            try:
                client, _ = self.proxy.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=[client], daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(4096)
            if not data:
                return
            head += data
        if not head.startswith(b"CONNECT "):
            client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
            client.close()
            return
        self.proxy_requests += 1
        status = proxy_status(head, self.proxy_requests)
        if status != 200:
            client.sendall(b"HTTP/1.1 %d Refused\r\nContent-Length: 0\r\n\r\n" % status)
            client.close()
            return
        self.tunnels += 1
        portal = socket.create_connection(("127.0.0.1", self.https_port))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=pump, args=[portal, client], daemon=True)
        back.start()
        pump(client, portal)
        back.join()
        client.close()
        portal.close()

    def close(self) -> None:
        for place in (self.unused, self.stalled, *self.waiting, self.silent, self.proxy):
            place.close()
        self.directory.cleanup()


def proxy_status(head: bytes, number: int) -> int:
    """The status that the proxy gives its request of this number: a user named 503-200 asks for a
    503, and a 200 to every request after it."""
    credentials = re.search(rb"(?i)proxy-authorization: basic (\S+)", head)
    user = base64.b64decode(credentials[1]).split(b":")[0] if credentials else b"200"
    statuses = [int(status) for status in user.split(b"-")]
    return statuses[min(number, len(statuses)) - 1]


def pump(source: socket.socket, target: socket.socket) -> None:
    """Copies until one end is closed."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # a reset on one side is the end of both


# The control API is on this machine, whatever proxy the environment names.
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Adapter:
    """One adapter process, spoken to in lines. Everything it shows is kept for the secrets test."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.shown: list[str] = []
        self.told = threading.Condition()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
        )
        self.answers: queue.Queue[str | None] = queue.Queue()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.readers = [
            threading.Thread(target=self._read_answers, args=[self.process.stdout], daemon=True),
            threading.Thread(target=self._read_records, args=[self.process.stderr], daemon=True),
        ]
        for reader in self.readers:
            reader.start()

    def _read_answers(self, stream: IO[bytes]) -> None:
        for line in stream:
            self.answers.put(line.decode("utf-8", "replace").rstrip("\n"))
        self.answers.put(None)

    def _read_records(self, stream: IO[bytes]) -> None:
        for line in stream:
            with self.told:
                self.shown.append(line.decode("utf-8", "replace").rstrip("\n"))
                self.told.notify_all()

    def has_recorded(self, texts: list[str]) -> bool:
        """Whether a log record with all these texts comes, or has come."""

        def found() -> bool:
            return any(all(text in shown for text in texts) for shown in self.shown)

        with self.told:
            return self.told.wait_for(found, timeout=RECORD_SECONDS)

    def say(self, *fields: str) -> None:
        """Sends one line."""
        assert self.process.stdin is not None
        text = "\t".join(quote(word, safe="") for word in fields)
        try:
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Broken(self.end()) from None

    def hear(self) -> list[str]:
        """Waits for one line, and gives its fields."""
        try:
            line = self.answers.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            self.process.kill()
            raise Broken(f"the adapter did not answer within {ANSWER_SECONDS} s") from None
        if line is None:
            raise Broken(self.end())
        fields = [unquote(word) for word in line.split("\t")]
        if fields[0] != "tokens":  # what it is asked to tell, it may tell
            self.shown.append(" ".join(fields))
        return fields

    def call(self, *fields: str) -> list[str]:
        """Sends one line and waits for its answer."""
        self.say(*fields)
        return self.hear()

    def end(self) -> str:
        code = self.process.wait(timeout=ANSWER_SECONDS)
        for reader in self.readers:
            reader.join(timeout=5)
        last = "\n    ".join(self.shown[-5:])
        return f"the adapter ended with status {code}; its last words were\n    {last}"

    def close(self) -> None:
        if self.process.poll() is None:
            self.say("exit")
            self.process.wait(timeout=ANSWER_SECONDS)
        for reader in self.readers:
            reader.join(timeout=5)
        if self.process.returncode != 0:
            raise Broken(self.end())


def outcome_of(fields: list[str]) -> Json | str:
    """What an adapter's answer means: "ok", or an error as the table writes it."""
    if fields == ["ok"]:
        return "ok"
    if fields[0] != "error" or len(fields) != 1 + len(ERROR_FIELDS):
        raise Broken(f"the adapter answered {fields}")
    error: Json = dict(zip(ERROR_FIELDS, fields[1:], strict=True))
    error["http_status"] = int(error["http_status"])
    error["retry_after_ms"] = int(error["retry_after_ms"])
    error["retryable"] = error["retryable"] == "1"
    return error


def matches(expected: object, seen: object) -> bool:
    """Equal; or, where the table gives two numbers, between them; or one of its texts."""
    if isinstance(expected, list) and isinstance(seen, int):
        return bool(expected[0] <= seen <= expected[1])
    if isinstance(expected, list):
        return seen in expected
    return expected == seen


def differences(expected: object, seen: Json | str) -> list[str]:
    """How an outcome differs from the expected one."""
    if isinstance(expected, str) or isinstance(seen, str):
        return [] if expected == seen else [f"expected {expected}, seen {seen}"]
    assert isinstance(expected, dict)
    found = []
    for name, value in expected.items():
        if name in ("message_has", "message_lacks"):
            wanted = [value] if isinstance(value, str) else value
            has = name == "message_has"
            found += [
                f"message {'lacks' if has else 'has'} {text!r}: {seen['message']!r}"
                for text in wanted
                if (text.lower() in seen["message"].lower()) != has
            ]
        elif name not in seen:
            raise Broken(f"the table expects {name}, which no outcome has")
        elif not matches(value, seen[name]):
            found.append(f"{name}: expected {value!r}, seen {seen[name]!r}")
    if found and "code" in seen:
        found.append(f"({seen['code']}: {seen['message']})")
    return found


@dataclass
class Result:
    """What came of one language."""

    language: str
    passed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    deadlines: list[tuple[str, int, float]] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    shown: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def leaks(self) -> list[str]:
        """What the adapter showed that has a secret in it, the secret itself left out."""
        # The emulator's setting for any token at all is none.
        secrets = {
            form for secret in self.secrets - {"*"} for form in (secret, quote(secret, safe=""))
        }
        found = []
        for text in [*self.shown, self.dumped()]:
            for secret in secrets:
                if secret in text:
                    place = text.index(secret)
                    near = text[max(0, place - 100) : place + len(secret) + 100]
                    found.append(near.replace(secret, "<SECRET>"))
                    break
        return found

    def dumped(self) -> str:
        """What the dumps among the records are dumps of: a secret may go from row to row."""
        rows = (DUMP_ROW.search(text) for text in self.shown)
        return "".join(
            bytes.fromhex(row[1].replace("-", "")).decode("latin-1") for row in rows if row
        )


class Runner:
    """Runs rows through one language."""

    def __init__(self, language: str, command: list[str], environment: dict[str, str]) -> None:
        self.result = Result(language)
        self.command = command
        self.environment = environment
        # By number: the first one, and the second of rows that have steps in two processes.
        self.adapters: dict[int, Adapter] = {}
        self.names: dict[str, str] = {}
        self.rows = 0

    def run(self, rows: list[Json], portal: Path) -> None:
        started = time.monotonic()
        self.emulator = Emulator(portal)
        self.places = Places(self.emulator.addresses["https_port"])
        try:
            for row in rows:
                self.run_row(row)
        finally:
            for adapter in self.adapters.values():
                adapter.close()
                self.result.shown += adapter.shown
            self.emulator.close()
            self.places.close()
        self.result.seconds = time.monotonic() - started

    def run_row(self, row: Json) -> None:
        name = row["name"]
        reason = row.get("except", {}).get(self.result.language)
        for need in row.get("needs", []):
            met, lacking = NEEDS[need]
            reason = reason or (None if met else lacking)
        if reason:
            self.result.left_out.append((name, reason))
            return
        try:
            self.play(row)
        except Failed as failed:
            self.result.failures.append((name, f"{row['about']}\n{failed}"))
        except Broken as broken:
            self.result.failures.append((name, str(broken)))
            for adapter in self.adapters.values():
                adapter.process.kill()
                self.result.shown += adapter.shown
            self.adapters = {}
        else:
            self.result.passed += 1

    def adapter(self, step: Json) -> Adapter:
        """The process that a step is for, started when first needed."""
        number = step.get("process", 1)
        if number not in self.adapters:
            self.adapters[number] = Adapter(self.command, self.environment)
            self.adapters[number].call("log", "on")
        return self.adapters[number]

    def play(self, row: Json) -> None:
        self.adapter({})
        # A name of its own for each row: buckets and renewals of one portal outlive a client.
        self.names = {
            "host": f"{row['name']}.bitrix24.test",
            **{key: str(value) for key, value in self.emulator.addresses.items()},
            **self.places.names(),
        }
        self.places.tunnels = self.places.proxy_requests = 0
        self.rows += 1
        self.names[NUMBER] = f"{os.getpid():08}{self.rows:08}"
        tokens = {
            "access_token": ACCESS_TOKEN,
            "refresh_token": REFRESH_TOKEN,
            "client_secret": CLIENT_SECRET,
        }
        row = self.fill({**row, "portal": {**tokens, **row.get("portal", {})}})
        # To a new portal the tokens of the row before are unknown, which ends a renewal of them.
        self.emulator.ask("POST", "/reset", row["portal"])
        for adapter in self.adapters.values():
            adapter.call("renewals_wait", str(RENEWALS_MS))
            adapter.call("reset")
            adapter.call("log", "on")
        self.emulator.ask("POST", "/reset", row["portal"])
        if row.get("faults"):
            self.emulator.ask("POST", "/fault", row["faults"])
        config = self.config(row)
        self.result.secrets.update(config[name] for name in SECRET_OPTIONS if config.get(name))
        self.result.secrets.update(row.get("secrets", []))
        problems = []
        steps = row["steps"]
        if not steps[0].keys() & {"client", "copy"}:
            steps = [{"client": "new", "expect": "ok"}, *steps]
        for number, step in enumerate(steps, 1 - (steps is not row["steps"])):
            problems += [
                f"step {number}: {problem}" for problem in self.play_step(step, config, row)
            ]
        problems += self.judge(row)
        for adapter in self.adapters.values():
            adapter.call("dump")
        if problems:
            raise Failed("\n".join(f"    {problem}" for problem in problems))

    def fill(self, value: Any) -> Any:
        """Puts this run's addresses where the table has placeholders."""
        if isinstance(value, str):
            for name, text in self.names.items():
                value = value.replace(NUMBER if name == NUMBER else f"{{{name}}}", text)
            return value
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {self.fill(name): self.fill(item) for name, item in value.items()}
        return value

    def config(self, row: Json) -> dict[str, str]:
        """The options of a row: the usual ones, changed by its own; null takes one away."""
        hosts = [self.names["host"], *row.get("hosts", [])]
        options = {
            "portal": self.names["host"],
            "access_token": row["portal"]["access_token"],
            "oauth_url": "https://oauth.bitrix24.test",
            "proxy": "none",
            "ca_file": self.names["ca_file"],
            "resolve": ",".join(
                [
                    *(f"{host}:443:127.0.0.1:{self.names['https_port']}" for host in hosts),
                    f"{self.names['host']}:80:127.0.0.1:{self.names['http_port']}",
                    f"oauth.bitrix24.test:443:127.0.0.1:{self.names['oauth_port']}",
                ]
            ),
        }
        options.update(row.get("config", {}))
        return {name: value for name, value in options.items() if value is not None}

    def play_step(self, step: Json, config: dict[str, str], row: Json) -> list[str]:
        expected = step.get("expect", "ok")
        if "set" in step:
            self.emulator.ask("POST", "/set", step["set"])
        elif "fault" in step:
            self.emulator.ask("POST", "/fault", step["fault"])
        elif "copy" in step:
            shutil.copyfile(*step["copy"])
        elif "remove" in step:
            shutil.rmtree(step["remove"])
        elif "release" in step:
            self.emulator.ask("POST", "/release")
        elif "wait" in step:
            self.await_portal(step["wait"])
        elif "parallel" in step:
            for one in step["parallel"]:
                self.adapter(one).call("use", one.get("with", ""))
                self.adapter(one).say("update", *one["update"])
            return [
                f"{one.get('process', 1)}: {problem}"
                for one in step["parallel"]
                for problem in differences(
                    one.get("expect", "ok"), outcome_of(self.adapter(one).hear())
                )
            ]
        else:
            adapter = self.adapter(step)
            adapter.call("use", step.get("with", ""))
            if "client" in step:
                options = {**config, **step.get("config", {})}
                given = {name: value for name, value in options.items() if value is not None}
                self.result.secrets.update(
                    given[name] for name in SECRET_OPTIONS if given.get(name)
                )
                return differences(expected, self.make_client(adapter, step["client"], given))
            return self.play_call(adapter, step, expected, row)
        return []

    def play_call(self, adapter: Adapter, step: Json, expected: Any, row: Json) -> list[str]:
        if "update" in step:
            problems = []
            for _ in range(step.get("times", 1)):
                before = time.monotonic()
                outcome = self.update(adapter, step)
                took = (time.monotonic() - before) * 1000
                problems += differences(expected, outcome)
            if "deadline_ms" in row:
                self.result.deadlines.append((row["name"], row["deadline_ms"], took))
            return problems
        if "batch" in step:
            return self.play_batch(adapter, step["batch"], expected)
        if "tokens" in step:
            return self.compare_tokens(step["tokens"], adapter.call("tokens"))
        if "renewals_wait" in step:
            answer = adapter.call("renewals_wait", str(step["renewals_wait"]))
            return differences(expected, outcome_of(answer))
        if "renewed" in step:
            seen = int(adapter.call("renewed")[0])
            # A language without the callback answers -1.
            ok = seen in (-1, step["renewed"])
            return [] if ok else [f"renewal callbacks: expected {step['renewed']}, seen {seen}"]
        raise Broken(f"unknown step: {', '.join(step)}")

    def update(self, adapter: Adapter, step: Json) -> Json | str:
        """One update; with `cancel_after` it is cancelled once the portal has seen so much."""
        if "cancel_after" not in step:
            return outcome_of(adapter.call("update", *step["update"]))
        adapter.say("cancelled_update", *step["update"])
        self.await_portal(step["cancel_after"])
        return outcome_of(adapter.call("cancel"))

    def await_portal(self, counts: Json) -> None:
        """Waits until the portal has seen so many `requests` and `renewal_requests`."""
        if not self.emulator.ask("POST", "/wait", counts)["reached"]:
            raise Failed(f"    the portal has not seen {counts}")

    def make_client(self, adapter: Adapter, kind: str, options: dict[str, str]) -> Json | str:
        """Gives the options and makes the client; the first refusal is the outcome."""
        # What shares a client must be one configuration, where that has a callback.
        if kind == "new":
            adapter.call("config")
        for name, value in options.items():
            outcome = outcome_of(adapter.call("config", name, value))
            if outcome != "ok":
                return outcome
        return outcome_of(adapter.call("client", kind))

    def play_batch(self, adapter: Adapter, batch: Any, expected: Any) -> list[str]:
        if isinstance(batch, dict):
            batch = [
                [text.replace("{n}", str(n)) for text in batch["each"]]
                for n in range(1, batch["count"] + 1)
            ]
        for update in batch:
            adapter.call("add", *update)
        head = adapter.call("batch")
        if head[0] != "fates":
            return differences(expected, outcome_of(head))
        fates = [outcome_of(adapter.hear()) for _ in range(int(head[1]))]
        if len(fates) != len(batch):
            return [f"{len(batch)} updates have {len(fates)} fates"]
        wanted = expected if isinstance(expected, list) else [expected] * len(batch)
        if len(wanted) != len(batch):
            raise Broken(f"{len(batch)} updates, but {len(wanted)} fates are expected")
        return [
            f"fate {number}: {problem}"
            for number, (want, fate) in enumerate(zip(wanted, fates, strict=True))
            for problem in differences(want, fate)
        ]

    def compare_tokens(self, expected: Json, fields: list[str]) -> list[str]:
        if fields[0] != "tokens" or len(fields) != 1 + len(TOKEN_FIELDS):
            raise Broken(f"the adapter answered {fields} when asked for tokens")
        seen = dict(zip(TOKEN_FIELDS, fields[1:], strict=True))
        now = self.emulator.ask("GET", "/tokens")
        found = []
        for name, value in expected.items():
            if name == "expires":  # True: known and in the future
                ok = (int(seen[name]) > time.time()) == value
            else:
                # "portal": the one that is good at the portal now.
                ok = seen[name] == (now[name] if value == "portal" else value)
            if not ok:
                shown = "one that is not" if name in SECRET_OPTIONS else repr(seen[name])
                found.append(f"tokens: {name}: expected {value!r}, seen {shown}")
        return found

    def judge(self, row: Json) -> list[str]:
        """Compares what the portal saw and keeps."""
        seen = self.emulator.ask("GET", "/seen")
        messages = self.emulator.ask("GET", "/messages")
        tokens = self.emulator.ask("GET", "/tokens")
        log = seen["log"]
        for name in ("access_token", "refresh_token"):
            if tokens[name]:
                self.result.secrets.add(tokens[name])
        found = [f"the portal saw what must not be: {bad}" for bad in seen["bad"]]
        found += [
            f"portal saw {name}: expected {value}, seen {seen[name]}"
            for name, value in row["seen"].items()
            if not matches(value, seen[name])
        ]
        if row.get("tunnels", 0) != self.places.tunnels:
            found.append(
                f"proxy: expected {row.get('tunnels', 0)} tunnels, seen {self.places.tunnels}"
            )
        asked = self.places.proxy_requests
        if asked != row.get("proxy_requests", asked):
            found.append(f"proxy: expected {row['proxy_requests']} requests, seen {asked}")
        history = messages.pop("history", {})
        if "messages" in row and row["messages"] != messages:
            found.append(f"portal keeps: expected {row['messages']}, seen {messages}")
        found += [
            f"history of {name}: expected {value}, seen {history.get(name)}"
            for name, value in row.get("history", {}).items()
            if history.get(name) != value
        ]
        if tokens["lost"] != row.get("lost", False):
            found.append(f"the installation is {'lost' if tokens['lost'] else 'not lost'}")
        found += [
            f"no log record has all of {', '.join(texts)}"
            for texts in row.get("records", [])
            if not self.adapters[1].has_recorded([self.names["host"], *texts])
        ]
        if "log" in row:
            found += compare_log(row["log"], log)
        if found:
            found.append("requests: " + ", ".join(map(shown_request, log[-8:])))
        return found


def compare_log(expected: list[Json], log: list[Json]) -> list[str]:
    if len(expected) != len(log):
        return [f"log: expected {len(expected)} requests, seen {len(log)}"]
    found = []
    for number, (want, entry) in enumerate(zip(expected, log, strict=True), 1):
        for name, value in want.items():
            seen = entry["user_agent"] if name == "user_agent_begins" else entry[name]
            if name == "user_agent_begins":
                ok = seen.startswith(value)
            elif name in ("params", "answer"):
                ok = all(seen.get(key) == text for key, text in value.items())
            else:
                ok = seen == value
            if not ok:
                found.append(f"log: request {number}: {name}: expected {value!r}, seen {seen!r}")
    return found


def shown_request(entry: Json) -> str:
    answer = entry.get("answer") or {}
    return f"{entry['host']}{entry['path']} -> {answer.get('status')} {answer.get('error')}".strip()


def commands(target: Path, python: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """How each language's adapter is started."""
    adapters = ROOT / "tests" / "adapters"
    # Proxies and libraries are what the table says, not what the environment happens to hold.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and name != "B24_MESSAGESERVICE_LIB"
    }
    library = str(target / "release" / "libb24_messageservice.so")
    return {
        "rust": ([str(target / "debug" / "b24-adapter")], environment),
        "c": ([str(target / "c" / "bin" / "adapter")], environment),
        "python": ([str(python), str(adapters / "adapter.py")], environment),
        "php": (
            ["php", "-d", "ffi.enable=true", str(adapters / "adapter.php")],
            {**environment, "B24_MESSAGESERVICE_LIB": library},
        ),
    }


def report(results: list[Result], rows: int) -> int:
    """Prints what came of it, and gives the exit status."""
    for result in results:
        for name, text in result.failures:
            print(f"FAILED {result.language} {name}: {text}")
        for name, reason in result.left_out:
            print(f"left out {result.language} {name}: {reason}")
    deadlines = [(r.language, *row) for r in results for row in r.deadlines]
    if deadlines:
        print("calls that ran into their deadline (measured, not judged):")
        for name in dict.fromkeys(row[1] for row in deadlines):
            of_name = [row for row in deadlines if row[1] == name]
            # Of the calls of one row, the longest is the one that met the deadline.
            longest = {row[0]: 0.0 for row in of_name}
            for language, _, _, took in of_name:
                longest[language] = max(longest[language], took)
            times = "  ".join(f"{language} {took:.0f}" for language, took in longest.items())
            print(f"  {name:<32} deadline {of_name[0][2]} ms: {times}")
    leaks = 0
    for result in results:
        found = result.leaks()
        leaks += len(found)
        for text in found[:10]:
            print(f"SECRET SHOWN by {result.language}: {text[:300]}")
    texts = sum(len(result.shown) for result in results)
    secrets = len(set().union(*(result.secrets for result in results)))
    print(f"secrets: {secrets} looked for in {texts} texts and records, {leaks} found")
    for result in results:
        print(
            f"{result.language}: {result.passed} passed, {len(result.failures)} failed"
            f" ({rows} rows, {result.seconds:.0f} s)"
        )
    passed = sum(result.passed for result in results)
    failed = sum(len(result.failures) for result in results) + bool(leaks)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--lang", default=",".join(LANGUAGES), help="rust,c,python,php")
    parser.add_argument("--only", action="append", help="rows by name or subject", default=[])
    parser.add_argument("--list", action="store_true", help="names the rows and ends")
    parser.add_argument("--target", type=Path, default=ROOT / "target", help="Cargo's directory")
    parser.add_argument("--valgrind", action="store_true", help="runs C's adapter under valgrind")
    parser.add_argument("--python", type=Path, default=ROOT / ".venv" / "bin" / "python")
    arguments = parser.parse_args()
    rows = read_table(TABLE)
    if arguments.only:
        wanted = set(arguments.only)
        rows = [row for row in rows if {row["name"], row["subject"]} & wanted]
    if arguments.list:
        for row in rows:
            print(f"{row['subject']:<14} {row['name']:<44} {row['about']}")
        print(f"{len(rows)} rows")
        return 0
    if not rows:
        parser.error("no row has such a name or subject")
    starts = commands(arguments.target, arguments.python)
    if arguments.valgrind:
        command, environment = starts["c"]
        starts["c"] = ([*VALGRIND, *command], environment)
    portal = arguments.target / "debug" / "b24-portal"
    runners = [Runner(language, *starts[language]) for language in arguments.lang.split(",")]

    def work(runner: Runner) -> None:
        try:
            runner.run(rows, portal)
        except Exception as error:  # a thread's own end would go unnoticed
            runner.result.failures.append(("(the runner)", f"{type(error).__name__}: {error}"))

    threads = [threading.Thread(target=work, args=[runner]) for runner in runners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return report([runner.result for runner in runners], len(rows))


if __name__ == "__main__":
    sys.exit(main())
