"""Runs the programs of docs/postgresql.md on a PostgreSQL server of its own, and the emulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from b24_messageservice import InvalidConfig, Provider, StorageError
from b24_portal import Portal
from pages import ROOT, named
from running import run, shell_environment

sys.path.insert(0, str(ROOT / "tests/postgres"))

from pg_server import Server  # not installed

PAGE = ROOT / "docs/postgresql.md"
CODE = "provider1"
MEMBER = "a223c6b3710f85df22e9377d6c4f7553"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server.start("--fsync", "off")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def environment(server: Server) -> dict[str, str]:
    """Of an administrator."""
    names = server.names
    return {
        **os.environ,
        "PGHOST": names["pg_socket"],
        "PGPORT": names["pg_port"],
        "PGUSER": names["pg_administrator"],
    }


@pytest.fixture(scope="module")
def store(server: Server, environment: dict[str, str]) -> str:
    run(["bash", "-euc", named(PAGE, "sh")["create.sh"]], env=environment)
    host, port = server.names["pg_socket"], server.names["pg_port"]
    return f"postgres://sms:PASSWORD@/sms?host={host}&port={port}"


@pytest.fixture
def provider(store: str, b24_portal: Portal) -> Iterator[Provider]:
    b24_portal.reset(member_id=MEMBER)
    with psycopg.connect(store, autocommit=True) as connection:
        # A store is for one application, and each test has another.
        connection.execute("DROP OWNED BY CURRENT_USER")
        connection.execute("CREATE SCHEMA IF NOT EXISTS public")
    with Provider(**b24_portal.provider_options(store=store)) as provider:
        provider.install(json.loads(b24_portal.install(as_="oauth")["body"]))
        yield provider
    assert b24_portal.seen()["bad"] == []


def test_own_transaction(
    provider: Provider, store: str, b24_portal: Portal, tmp_path: Path
) -> None:
    with psycopg.connect(store) as connection:
        connection.execute("CREATE TABLE message (id text, state text)")
        connection.execute("INSERT INTO message VALUES ('abc', 'sent')")
    program = tmp_path / "own_transaction.py"
    program.write_text(named(PAGE, "python")[program.name], encoding="utf-8")
    run([sys.executable, program], env={**os.environ, "B24_STORE": store})
    provider.drain(1)
    assert b24_portal.messages() == {f"{CODE}|abc": "delivered"}
    with psycopg.connect(store) as connection:
        [state] = connection.execute("SELECT state FROM message").fetchall()
        connection.execute("DROP TABLE message")
    assert state == ("delivered",)


@pytest.mark.usefixtures("provider")
def test_other_roles_have_no_rights(store: str, environment: dict[str, str]) -> None:
    run(["psql", "-Xq", "postgres", "-c", "CREATE ROLE other LOGIN"], env=environment)
    with psycopg.connect(store.replace("sms:PASSWORD", "other"), autocommit=True) as connection:
        for statement in (
            "SELECT * FROM b24_installation",
            f"SELECT b24_report('{MEMBER}', '{CODE}', 'a', 'sent')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_rights_of_another_role(
    provider: Provider, store: str, environment: dict[str, str], b24_portal: Portal
) -> None:
    levels = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
    roles = "CREATE ROLE app LOGIN; CREATE ROLE member LOGIN; GRANT sms TO member"
    run(["psql", "-Xq", "postgres", "-c", roles], env=environment)
    grant = named(PAGE, "sh")["grant.sh"]
    run(["bash", "-euc", grant], env={**os.environ, "B24_STORE": store})
    for role in ("app", "member"):
        address = store.replace("sms:PASSWORD", role)
        for level in levels:
            for status in ("sent", "delivered", "delivered"):
                with psycopg.connect(address) as connection:
                    connection.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
                    connection.execute(
                        "SELECT b24_report(%s, %s, %s, %s)",
                        (MEMBER, CODE, f"{role}-{level[:4]}", status),
                    )
    with psycopg.connect(store.replace("sms:PASSWORD", "app"), autocommit=True) as connection:
        for statement in ("SELECT * FROM b24_installation", "DELETE FROM b24_receipt"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    provider.drain(1)
    wanted = [f"{CODE}|{role}-{level[:4]}" for role in ("app", "member") for level in levels]
    assert b24_portal.messages() == dict.fromkeys(wanted, "delivered")


REPORT_FOREVER = """
import itertools, json, sys
from b24_messageservice import InvalidConfig, Provider, StorageError
with Provider(**json.loads(sys.argv[1])) as provider:
    for number in itertools.count():
        provider.report("other", "provider1", f"m{number}", "sent")
        print(number, flush=True)
"""


def test_a_dump_has_what_was_acknowledged_before(
    provider: Provider, store: str, environment: dict[str, str], b24_portal: Portal, tmp_path: Path
) -> None:
    programs = {
        name: code.replace("/var/backups/sms", str(tmp_path))
        for name, code in named(PAGE, "sh").items()
    }
    options = json.dumps(b24_portal.provider_options(store=store))
    provider.report(MEMBER, CODE, "a", "sent")
    command = [sys.executable, "-c", REPORT_FOREVER, options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        acknowledged = [writer.stdout.readline() for _ in range(50)]
        run(["bash", "-euc", programs["dump.sh"]], env=environment)
        writer.kill()
    provider.report(MEMBER, CODE, "b", "sent")
    provider.close()

    run(["bash", "-euc", programs["load.sh"]], env=environment)
    with psycopg.connect(store) as connection:
        rows = connection.execute("SELECT message_id FROM b24_receipt").fetchall()
    there = {row[0] for row in rows}
    assert {"a", *(f"m{int(number)}" for number in acknowledged)} <= there
    assert "b" not in there
    with Provider(**json.loads(options)) as restored:
        restored.drain(1)
    assert b24_portal.messages() == {f"{CODE}|a": "sent"}


def test_a_store_moves_from_sqlite(
    provider: Provider, store: str, b24_portal: Portal, tmp_path: Path
) -> None:
    provider.close()
    with psycopg.connect(store, autocommit=True) as connection:
        connection.execute("DROP OWNED BY CURRENT_USER")
    options = b24_portal.provider_options(store=f"sqlite:{tmp_path}/b24.db")
    old = Provider(**options)
    old.install(json.loads(b24_portal.install(as_="oauth")["body"]))
    old.report(MEMBER, CODE, "a", "delivered")
    address = tmp_path / "new_store"
    address.touch(mode=0o600)
    address.write_text(store)
    program = named(PAGE, "sh")["move.sh"].replace("/etc/sms", str(tmp_path))
    run(["bash", "-euc", program], env=shell_environment(options))
    with pytest.raises(StorageError) as failed:
        old.report(MEMBER, CODE, "b", "delivered")
    assert failed.value.retryable
    with pytest.raises(InvalidConfig, match="was moved to"):
        Provider(**options)
    with Provider(**{**options, "store": store}) as moved:
        moved.drain(1)
    assert b24_portal.messages() == {f"{CODE}|a": "delivered"}
