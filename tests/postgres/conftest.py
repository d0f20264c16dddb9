"""A server for the tests, and a schema for each of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from b24_messageservice import Provider
from b24_portal import Portal
from database import Database
from pg_server import Server

NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server.start("--fsync", "off")
    yield server
    server.stop()


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    database = Database(server, f"test_{next(NUMBERS)}")
    administrator = server.names["pg_administrator"]
    with database.connect(user=administrator, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {database.role} LOGIN")
        connection.execute(f"CREATE SCHEMA {database.role} AUTHORIZATION {database.role}")
    yield database
    # The server may have been killed.
    with database.connect(user=administrator, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = %s",
            [database.role],
        )
        connection.execute(f"DROP OWNED BY {database.role} CASCADE")
        connection.execute(f"DROP ROLE {database.role}")


@pytest.fixture
def portal(b24_portal: Portal) -> Portal:
    """A short name for it."""
    return b24_portal


@pytest.fixture
def provider(database: Database, portal: Portal) -> Iterator[Provider]:
    """A provider that a portal has installed."""
    options = portal.provider_options(store=database.store, rate_limit="off")
    with Provider(**options) as provider:
        posted = portal.install()
        provider.receive(posted["content_type"], posted["body"])
        yield provider
