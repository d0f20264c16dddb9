"""A schema of a test's own, and connections of a host to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from pg_server import Server


@dataclass(frozen=True)
class Database:
    """A role, and the schema of the same name."""

    server: Server
    role: str

    @property
    def store(self) -> str:
        """What the option `store` says, through pgbouncer."""
        names = self.server.names
        socket, port = names["pg_socket"], names["pg_bouncer_port"]
        return f"postgres://{self.role}@/{names['pg_database']}?host={socket}&port={port}"

    def connect(self, bouncer: bool = False, **options: Any) -> psycopg.Connection:
        """A connection of a host's own, past pgbouncer or through it."""
        names = self.server.names
        return psycopg.connect(
            **{
                "host": names["pg_socket"],
                "port": names["pg_bouncer_port" if bouncer else "pg_port"],
                "dbname": names["pg_database"],
                "user": self.role,
                # A pooler in transaction mode keeps no statement for the next transaction.
                "prepare_threshold": None,
                **options,
            }
        )
