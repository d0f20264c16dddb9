"""Runs the programs of docs/operations.md, on a provider's store and against the portal emulator.

Each begins with a comment that is its file's name. The paths in them become those of the test.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from b24_messageservice import Client, InvalidConfig, Provider, StorageError
from b24_portal import Portal
from pages import ROOT, STORY, named
from running import run, shell_environment

OPERATIONS = ROOT / "docs/operations.md"
CODE = "provider1"
# A provider in a process of its own: this one opens stores with another copy of SQLite as well.
DO = """
import json, sys
from b24_messageservice import Provider
with Provider(**json.loads(sys.argv[1])) as provider:
    print(json.dumps([getattr(provider, name)(*given) for name, *given in json.loads(sys.argv[2])],
        default=lambda value: getattr(value, '__dict__', None) or str(value)))
"""
REPORT_FOREVER = """
import itertools, json, sys
from b24_messageservice import Provider
with Provider(**json.loads(sys.argv[1])) as provider:
    for number in itertools.count():
        provider.report("other", "provider1", f"m{number}", "sent")
        print(number, flush=True)
"""


class Place:
    """The machine of the page: its directories are in a temporary one."""

    def __init__(self, portal: Portal, directory: Path) -> None:
        self.portal, self.directory = portal, directory
        for name in ("lib", "backups", "etc", "opt"):
            (directory / name).mkdir(mode=0o700)
        self.store = directory / "lib/b24.db"
        self.options = portal.provider_options(store=f"sqlite:{self.store}")

    def local(self, code: str) -> str:
        for path, name in (
            ("/var/lib/sms", "lib"),
            ("/var/backups/sms", "backups"),
            ("/etc/sms", "etc"),
            ("/opt/sms", "opt"),
            ("/var/lib/node_exporter", "lib"),
        ):
            code = code.replace(path, str(self.directory / name))
        return code

    def run(self, name: str, *arguments: str) -> str:
        """Runs a program of the page."""
        if name.endswith(".sh"):
            code = named(OPERATIONS, "sh")[name]
            environment = shell_environment(self.options)
            return run(["bash", "-euc", self.local(code)], env=environment)
        code = named(OPERATIONS, "python")[name]
        program = self.directory / name
        program.write_text(self.local(code), encoding="utf-8")
        shared = named(STORY, "python")["sms.py"]
        opened = f"return Provider(**{self.options!r})\n    return Provider("
        assert "return Provider(" in shared
        (self.directory / "sms.py").write_text(shared.replace("return Provider(", opened))
        return run([sys.executable, program, *arguments])

    def do(self, *calls: list[Any], **options: Any) -> list[Any]:
        """Calls of a provider."""
        given = json.dumps({**self.options, **options})
        told = run([sys.executable, "-c", DO, given, json.dumps(calls)])
        # What it logs comes before.
        answers: list[Any] = json.loads(told.splitlines()[-1])
        return answers

    def rows(self, sql: str) -> list[Any]:
        """For when no provider has the store open."""
        with closing(sqlite3.connect(self.store)) as connection, connection:
            return connection.execute(sql).fetchall()


@pytest.fixture
def place(b24_portal: Portal, tmp_path: Path) -> Iterator[Place]:
    b24_portal.reset()
    yield Place(b24_portal, tmp_path)
    assert b24_portal.seen()["bad"] == []


def test_an_older_copy_loses_and_repeats_what_the_page_says(
    place: Place, b24_portal: Portal
) -> None:
    auth = json.loads(b24_portal.install(as_="oauth")["body"])
    portal = auth["member_id"]
    place.do(["install", auth], ["report", portal, CODE, "a", "sent"])

    # While somebody writes all the time, and nothing of what was acknowledged before is missing.
    command = [sys.executable, "-c", REPORT_FOREVER, json.dumps(place.options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        acknowledged = [writer.stdout.readline() for _ in range(50)]
        place.run("backup.sh")
        writer.kill()
    copy = place.directory / "backups/b24.db"
    assert copy.stat().st_mode & 0o777 == 0o600

    b24_portal.set(expired=True)
    place.do(["drain", 1], ["report", portal, CODE, "a", "delivered"], ["drain", 1])
    assert b24_portal.history() == {f"{CODE}|a": ["sent", "delivered"]}
    assert b24_portal.seen()["renewals"] == 1
    place.do(["report", portal, CODE, "b", "delivered"])

    place.run("restore.sh")
    there = place.rows("SELECT message_id FROM b24_receipt")
    assert {("a",), *((f"m{int(number)}",) for number in acknowledged)} <= set(there)
    assert ("b",) not in there
    # By now the renewed access token is the only one that the portal takes.
    [drained, states] = place.do(["drain", 1], ["inspect"])
    state = next(row for row in states if portal in str(row))
    assert "held" in str(state), drained
    assert "invalid_grant" in str(state)

    # What was sent in the meantime is sent again, once the portal has installed it anew.
    auth = json.loads(b24_portal.install(as_="oauth", again=True)["body"])
    place.do(["install", auth], ["drain", 1])
    assert b24_portal.history() == {f"{CODE}|a": ["sent", "delivered", "sent"]}
    place.do(["report", portal, CODE, "a", "delivered"], ["drain", 1])
    assert b24_portal.messages() == {f"{CODE}|a": "delivered"}


def test_keys(place: Place, b24_portal: Portal) -> None:
    keys = place.directory / "etc/b24.keys"
    place.run("first_key.sh")
    place.options["store_key_file"] = str(keys)
    auth = json.loads(b24_portal.install(as_="oauth")["body"])
    portal = auth["member_id"]
    place.do(["install", auth])
    assert auth["refresh_token"] not in str(place.rows("SELECT pair FROM b24_installation"))

    # A program that runs meanwhile has the former file, until it meets the new key.
    with Provider(**place.options) as running:
        running.client(portal)
        place.run("next_key.sh")
        first, second = keys.read_text().splitlines()
        assert (first[:3], second[:3]) == ("k2 ", "k1 ")
        place.do(["report", portal, CODE, "a", "delivered"], ["drain", 1])
        assert b24_portal.messages() == {f"{CODE}|a": "delivered"}

        # Without the former line, what it has sealed cannot be opened; with it, nothing was lost.
        keys.write_text(f"{first}\n")
        with Provider(**place.options) as without, pytest.raises(StorageError, match="k1"):
            without.client(portal)
        keys.write_text(f"{first}\n{second}\n")
        b24_portal.set(expired=True)
        place.do(["report", portal, CODE, "b", "delivered"], ["drain", 1])
        assert b24_portal.seen()["renewals"] == 1
        keys.write_text(f"{first}\n")
        running.client(portal).message_status_update(CODE, "c", "sent")
    place.do(["report", portal, CODE, "d", "delivered"], ["drain", 1])
    assert set(b24_portal.messages()) == {f"{CODE}|{name}" for name in "abcd"}


def test_own_tables(place: Place, b24_portal: Portal) -> None:
    # More than are confirmed in a second.
    b24_portal.reset(portals=12)
    place.options.update(b24_portal.provider_options())
    with closing(sqlite3.connect(place.directory / "opt/own.db")) as own, own:
        own.execute(
            "CREATE TABLE portal (member_id, application_token, access_token, refresh_token,"
            " client_endpoint, moved DEFAULT 0)"
        )
        own.execute("CREATE TABLE receipt (member_id, code, message_id, status, at)")
        for number in range(1, 13):
            auth = json.loads(
                b24_portal.install(as_="oauth", host=f"p{number}.bitrix24.test")["body"]
            )
            row = (auth["member_id"], f"application-p{number}-0000000000000001")
            names = ("access_token", "refresh_token", "client_endpoint")
            own.execute(
                "INSERT INTO portal VALUES (?, ?, ?, ?, ?, 0)",
                (*row, *(auth[name] for name in names)),
            )
            own.execute(
                "INSERT INTO receipt VALUES (?, ?, 'm1', 'delivered', 1742895600)", (row[0], CODE)
            )
    for _ in range(2):
        assert place.run("move_tables.py") == ""
        place.do(["drain", 1])
    history = [b24_portal.history(f"p{number}.bitrix24.test") for number in range(1, 13)]
    assert history == [{f"{CODE}|m1": ["delivered"]}] * 12


def test_state_dir(place: Place, b24_portal: Portal) -> None:
    state = place.directory / "state"
    options = b24_portal.renewable(state_dir=state)
    b24_portal.set(expired=True)
    with Client(**options) as client:
        client.message_status_update(CODE, "a", "sent")
        portal = client.tokens.member_id
    # The client knows the portal without the emulator's port.
    place.options["resolve"] = [*place.options["resolve"], *b24_portal.resolve()]
    assert place.run("move_state_dir.py", str(state)) == "1 installations moved\n"
    assert place.run("move_state_dir.py", str(state)) == "0 installations moved\n"
    place.do(["report", portal, CODE, "a", "delivered"], ["drain", 1])
    assert b24_portal.history() == {f"{CODE}|a": ["sent", "delivered"]}
    with (
        pytest.raises(InvalidConfig, match="were moved to a provider"),
        Client(**options) as client,
    ):
        client.message_status_update(CODE, "b", "sent")


def test_metrics(place: Place, b24_portal: Portal) -> None:
    """They have the names that the page tells to watch; what is due and not sent is due in 0 s."""
    auth = json.loads(b24_portal.install(as_="oauth")["body"])
    place.do(["install", auth], ["report", auth["member_id"], CODE, "a", "delivered"])
    place.run("metrics.sh")
    metrics = (place.directory / "lib/b24.prom").read_text(encoding="utf-8")
    page = OPERATIONS.read_text(encoding="utf-8")
    names = set(re.findall(r"\bb24_(?:portal|receipt)\w+", page))
    assert len(names) >= 6
    for name in names:
        assert re.search(rf"^{name}\b", metrics, re.MULTILINE), name
    due = rf"^b24_portal_receipts_next_due_seconds{{member_id=\"{auth['member_id']}\".*}} 0\.000$"
    assert re.search(due, metrics, re.MULTILINE), metrics


def test_versions(place: Place) -> None:
    place.do(["inspect"])
    place.rows("UPDATE b24_meta SET value = '2' WHERE name = 'version'")
    place.do(["inspect"])
    place.rows("UPDATE b24_meta SET value = '2' WHERE name = 'min_version'")
    with pytest.raises(InvalidConfig, match=re.escape("version 2 of its tables")):
        Provider(**place.options)
