"""The stores of rows with a provider: SQLite's file, PostgreSQL, and pgbouncer before it."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from .adapter import Broken
from .platforms import ROOT
from .table import Json, has_provider

# `pg_server` is not installed.
sys.path.append(str(ROOT / "tests" / "postgres"))
from pg_server import Server

# More than it takes until a statement waits for a lock, or is given up.
LOCK_SECONDS = 20


class Store(Protocol):
    """The store of a row."""

    #: What the option `store` says.
    url: str
    #: Texts of it that must never be shown.
    secrets: tuple[str, ...]
    #: Placeholders that lead to it.
    names: dict[str, str]
    #: How long what a killed process was doing is kept from others.
    lease_seconds: int

    def move_clock(self, seconds: int, urls: set[str]) -> int:
        """Lets a time pass. Returns how far the store's clock is ahead of the machine's by that."""

    def set_meta(self, values: dict[str, str]) -> None:
        """Changes what it says of itself."""

    def unsealed(self, path: Path, tokens: list[str]) -> Iterable[str]:
        """Where it has tokens as they are."""

    def sql(self, statement: str) -> Json:
        """What an administrator's statement returns, as an adapter's answer."""

    def control(self, command: str) -> None:
        """Does something to the server."""

    def wait_for_locks(self, count: int) -> None:
        """Waits until so many statements wait for a lock."""

    def close(self) -> None:
        """Removes it, if it is not in the row's directory."""


class SqliteStore:
    """A file in the row's directory."""

    secrets: tuple[str, ...] = ()
    # It sees that the process has ended.
    lease_seconds = 0

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/b24.db"
        self.url = f"sqlite:{self.path}"
        self.names: dict[str, str] = {}

    def move_clock(self, seconds: int, urls: set[str]) -> int:
        for url in urls:
            with closing(sqlite3.connect(url.removeprefix("sqlite:"))) as database, database:
                (clock,) = database.execute(
                    "SELECT value FROM b24_meta WHERE name = 'clock'"
                ).fetchone()
                boot, offset = clock.split(" ")
                moved = f"{boot} {int(offset) + seconds * 1000}"
                database.execute("UPDATE b24_meta SET value = ? WHERE name = 'clock'", [moved])
        return seconds

    def set_meta(self, values: dict[str, str]) -> None:
        with closing(sqlite3.connect(self.path)) as database, database:
            for name, value in values.items():
                database.execute("UPDATE b24_meta SET value = ? WHERE name = ?", [value, name])

    def unsealed(self, path: Path, tokens: list[str]) -> Iterable[str]:
        for file in path.parent.glob(f"{path.name}*"):
            content = file.read_bytes()
            if any(token.encode() in content for token in tokens):
                yield file.name

    def sql(self, statement: str) -> Json:
        raise Broken(f"only rows that need postgres may have {statement!r}")

    def control(self, command: str) -> None:
        raise Broken(f"only rows that need postgres may {command} it")

    def wait_for_locks(self, count: int) -> None:
        raise Broken("only rows that need postgres may wait for locks")

    def close(self) -> None:
        pass


class PostgresServer:
    """A server, on which each row has a role and a schema of the same name."""

    def __init__(self, names: dict[str, str], server: Any = None) -> None:
        import psycopg

        self.names = names
        # The process that runs it, if it is of this pytest process alone.
        self.server = server
        self.psycopg = psycopg
        self.connections: dict[str, Any] = {}

    def connection(self, of: str = "administrator") -> Any:
        """A connection of the administrator's, by what it is for."""
        connection = self.connections.get(of)
        if connection is None or connection.closed:
            connection = self.psycopg.connect(
                host=self.names["pg_socket"],
                port=self.names["pg_port"],
                dbname=self.names["pg_database"],
                user=self.names["pg_administrator"],
                autocommit=True,
            )
            self.connections[of] = connection
        return connection

    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What a statement returns. If the server has been started again, another connection is
        used."""
        try:
            cursor = self.connection().execute(statement, parameters or None)
        except self.psycopg.OperationalError:
            if not self.connections["administrator"].closed:
                raise
            cursor = self.connection().execute(statement, parameters or None)
        return list(cursor.fetchall()) if cursor.description else []

    def forget(self, of: str) -> None:
        if connection := self.connections.pop(of, None):
            connection.close()

    def close(self) -> None:
        for of in list(self.connections):
            self.forget(of)
        if self.server:
            self.server.stop()


class PostgresStore:
    """A role with a schema of its name, which its tables are in."""

    # 60 s more than `connect_timeout_ms`, which rows leave at its default. The others are shorter.
    lease_seconds = 71

    def __init__(self, server: PostgresServer, number: str, bouncer: bool) -> None:
        self.server = server
        self.role = f"row_{number}"
        # With what an address needs percent-encoding for. It has the number, as all secrets.
        password = f"a/b:c@d {number}%?#"
        self.secrets: tuple[str, ...] = (password,)
        names = server.names
        port = names["pg_bouncer_port" if bouncer else "pg_port"]
        encoded = quote(password, safe="")
        self.names = {
            **names,
            "pg_role": self.role,
            "pg_password": encoded,
            # For TLS and passwords, without the query.
            "pg_tcp": f"postgres://{self.role}:{encoded}@127.0.0.1:{names['pg_port']}"
            f"/{names['pg_database']}",
        }
        self.url = (
            f"postgres://{self.role}:{encoded}@/{names['pg_database']}"
            f"?host={quote(names['pg_socket'], safe='')}&port={port}"
        )
        self.names["pg_store"] = self.url
        self.stopped: list[int] = []
        literal = password.replace("'", "''")
        server.execute(f"CREATE ROLE {self.role} LOGIN PASSWORD '{literal}'")
        server.execute(f"CREATE SCHEMA {self.role} AUTHORIZATION {self.role}")

    def move_clock(self, seconds: int, urls: set[str]) -> int:
        """Every time in the tables becomes so much earlier, which is the same for the library."""
        if urls - {self.url}:
            raise Broken("only the clock of the row's own store can be moved")
        tables: dict[str, list[str]] = {}
        for table, column in self.server.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = %s AND data_type = 'bigint'"
            r" AND column_name ~ '_(at|until)$'",
            self.role,
        ):
            # 0 is no time, and NULL stays as it is.
            moved = f"CASE {column} WHEN 0 THEN 0 ELSE {column} - {seconds * 1000} END"
            tables.setdefault(table, []).append(f"{column} = {moved}")
        if not tables:
            raise Broken("there are no tables with times")
        for table, changes in tables.items():
            self.server.execute(f"UPDATE {self.role}.{table} SET {', '.join(changes)}")
        # Levels of rate limits have the time after them.
        self.server.execute(
            f"UPDATE {self.role}.b24_meta SET value = split_part(value, ' ', 1) || ' '"
            f" || split_part(value, ' ', 2)::bigint - {seconds * 1000}"
            " WHERE name LIKE 'level %'"
        )
        return 0

    def set_meta(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            self.server.execute(
                f"UPDATE {self.role}.b24_meta SET value = %s WHERE name = %s", value, name
            )

    def unsealed(self, path: Path, tokens: list[str]) -> Iterable[str]:
        tables = self.server.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", self.role
        )
        for (table,) in tables:
            content = repr(self.server.execute(f"SELECT * FROM {self.role}.{table}"))
            if any(token in content for token in tokens):
                yield table

    def sql(self, statement: str) -> Json:
        self.server.execute(f"SET search_path TO {self.role}")
        try:
            rows = self.server.execute(statement)
        except self.server.psycopg.Error as error:
            return {"error": {"code": "SQL", "message": str(error)}}
        return {"result": [list(row) for row in rows]}

    def control(self, command: str) -> None:
        if command == "terminate":
            self.server.execute(f"SELECT pg_terminate_backend(pid, 10000) {self.of_role()}")
        elif command == "freeze":
            for (process,) in self.server.execute(f"SELECT pid {self.of_role()}"):
                os.kill(process, signal.SIGSTOP)
                self.stopped.append(process)
        elif command == "thaw":
            self.thaw()
        elif command.startswith("lock "):
            locking = self.server.connection("lock")
            locking.execute("BEGIN")
            locking.execute(f"LOCK TABLE {self.role}.{command.removeprefix('lock ')}")
        elif command == "unlock":
            self.server.forget("lock")
        elif command == "settled":
            self.wait_for_locks(0)
        elif self.server.server is None:
            raise Broken(f"only rows that need own-postgres may {command} it")
        else:
            self.server.server.ask(command.removesuffix(" all"))

    def wait_for_locks(self, count: int) -> None:
        """Waits until so many of the role's statements wait for a lock."""
        give_up = time.monotonic() + LOCK_SECONDS
        # pg_stat_activity says less: a statement that looks for a deadlock has no `wait_event`.
        waiting = (
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            f" WHERE usename = '{self.role}' AND NOT granted"
        )
        while (seen := self.server.execute(waiting)[0][0]) != count:
            if time.monotonic() > give_up:
                raise Broken(f"{seen} statements wait for a lock, not {count}")
            time.sleep(0.01)

    def of_role(self) -> str:
        return f"FROM pg_stat_activity WHERE usename = '{self.role}'"

    def thaw(self) -> None:
        while self.stopped:
            os.kill(self.stopped.pop(), signal.SIGCONT)

    def close(self) -> None:
        self.thaw()
        self.server.forget("lock")
        if self.server.server:
            self.server.server.ask("thaw")
            self.server.server.ask("start")
        # Those that pgbouncer keeps, too.
        self.control("terminate")
        self.server.execute(f"DROP OWNED BY {self.role} CASCADE")
        self.server.execute(f"DROP ROLE {self.role}")


class Stores:
    """The stores of a pytest process: `kind` says which rows get."""

    def __init__(self, kind: str, names: dict[str, str]) -> None:
        self.kind = kind
        # Of the server that all pytest processes share, and of the one that is for this one alone.
        self.servers: dict[str, PostgresServer] = {}
        self.names = names

    def of_row(self, row: Json, number: str, directory: str) -> Store:
        if self.kind == "sqlite" or not has_provider(row):
            return SqliteStore(directory)
        own = "own-postgres" in row.get("needs", [])
        return PostgresStore(self.server(own), number, self.kind == "pgbouncer")

    def server(self, own: bool) -> PostgresServer:
        """A server, started when it is first needed."""
        which = "own" if own else "shared"
        if which not in self.servers:
            if own:
                server = start_server()
                self.servers[which] = PostgresServer(server.names, server)
            else:
                self.servers[which] = PostgresServer(self.names)
        return self.servers[which]

    def close(self) -> None:
        for server in self.servers.values():
            server.close()


def start_server() -> Server:
    """A server for rows. They kill no machine, so it need not wait for disks."""
    return Server.start("--fsync", "off")
