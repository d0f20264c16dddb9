"""The figures of a provider with a store in PostgreSQL: reports beside libpq, a fleet's drains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from b24_portal import Portal

import provider
from provider import Stage, copy, end, host, line, member, numbers, spread

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "postgres"))

from pg_server import Server  # noqa: E402

WRITERS, DRAINERS = 8, 4
TICKS = os.sysconf("SC_CLK_TCK")
# The same upsert of a receipt, without anything around it, and the statement of the library.
UPSERT = """
INSERT INTO b24_receipt (member_id, code, message_id, status, happened_at, arrived_at, state,
    version, due_at, tries, settled_at, unknown_until)
VALUES ('%s', 'provider1', $1::text, 2, $2::bigint, $2, 0, 1, $2, 0, 0, 0)
ON CONFLICT (member_id, code, message_id) DO UPDATE SET status = excluded.status,
    happened_at = excluded.happened_at, arrived_at = excluded.arrived_at, state = 0,
    version = b24_receipt.version + 1, due_at = excluded.due_at, tries = 0, settled_at = 0,
    reason = NULL
WHERE (b24_receipt.state <> 0 AND b24_receipt.settled_at <= $2 - 259200000)
    OR (excluded.status >= 2 AND b24_receipt.status < 2)"""


class PostgresStage(Stage):
    """The same with a store in PostgreSQL."""

    def __init__(self, program: Path, at: Portal, server: Server, name: str) -> None:
        super().__init__(program, at, Path("/nonexistent"))
        self.server, self.name = server, name
        self.psql(
            f"CREATE ROLE {name} LOGIN; CREATE SCHEMA {name} AUTHORIZATION {name}",
            user=server.names["pg_administrator"],
        )

    def connection(self, user: str) -> str:
        names = self.server.names
        return (
            f"host={names['pg_socket']} port={names['pg_port']}"
            f" user={user} dbname={names['pg_database']}"
        )

    def psql(self, sql: str, user: str | None = None) -> str:
        command = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
        done = subprocess.run(
            [*command, "-d", self.connection(user or self.name)],
            input=sql,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    @property
    def url(self) -> str:
        names = self.server.names
        return (
            f"postgres://{self.name}@/{names['pg_database']}"
            f"?host={names['pg_socket']}&port={names['pg_port']}"
        )

    def options(self, **overrides: Any) -> str:
        options = self.at.provider_options(store=self.url, workers=provider.WORKERS, **overrides)
        options["resolve"] = ",".join(options["resolve"])
        return "\n".join(f"{name}={value}" for name, value in options.items())

    def install(self, portals: int) -> None:
        self.run("install", self.at.install(as_="oauth", host=host(1))["body"])
        for table in ("b24_installation", "b24_lane"):
            select = f"SELECT row_to_json(t) FROM {table} t WHERE member_id = "  # noqa: S608
            row = json.loads(self.psql(f"{select}'{member(1)}'"))
            copies = [
                {name: copied(value, to) for name, value in row.items()}
                for to in range(2, portals + 1)
            ]
            text = json.dumps(copies).replace("'", "''")
            rows = f"json_populate_recordset(NULL::{table}, '{text}')"
            self.psql(f"INSERT INTO {table} SELECT * FROM {rows}")  # noqa: S608


def copied(value: object, to: int) -> object:
    """A value of portal 1's row as JSON, for the portal `to`."""
    if isinstance(value, str) and value.startswith("\\x"):
        plain = copy(bytes.fromhex(value[2:]), to)
        assert isinstance(plain, bytes)
        return "\\x" + plain.hex()
    return copy(value, to)


def ticks(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class Bench:
    def __init__(self, out: Path, emulator: Path, *, short: bool) -> None:
        self.out, self.emulator, self.short = out, emulator, short

    def sections(self) -> dict[str, Any]:
        return {"postgres": self.report, "fleet": self.fleet, "rest": self.rest}

    @contextmanager
    def stage(self, portals: int, **settings: Any) -> Iterator[PostgresStage]:
        with Portal(self.emulator, log=0, portals=portals, **settings) as at:
            server = Server.start()
            try:
                stage = PostgresStage(self.out / "provider", at, server, "bench")
                stage.install(portals)
                yield stage
            finally:
                server.stop()

    def report(self) -> dict[str, Any]:
        """Reports of several processes, in turns with the same upsert by libpq."""
        turns, ms = (3, 500) if self.short else (12, 2000)
        with self.stage(1) as stage:
            block = self.out / "block"
            reports = [stage.start("contend", block) for _ in range(WRITERS)]
            upserts = [
                subprocess.Popen(
                    [self.out / "upsert", stage.connection("bench"), UPSERT % member(1)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for _ in range(WRITERS)
            ]
            for process in (*reports, *upserts):
                line(process)
            times: dict[str, list[float]] = {"report": [], "upsert": []}
            for _ in range(turns):
                for what, running in (("report", reports), ("upsert", upserts)):
                    for process in running:
                        print(what, ms, file=process.stdin, flush=True)
                    for process in running:
                        times[what] += numbers([line(process)])
            for process in (*reports, *upserts):
                process.communicate()
            block.unlink(missing_ok=True)
        return {what: spread(of) | {"mean": sum(of) / len(of)} for what, of in times.items()}

    def fleet(self) -> dict[str, float]:
        """Several drainers of receipts that wait for many portals, which limit nothing."""
        portals, each = (100, 100) if self.short else (1000, 100)
        with self.stage(portals) as stage:
            stage.run("fill", 1, portals, each)
            start = time.monotonic()
            drains = [stage.start("drain", 600_000, rate_limit="off") for _ in range(DRAINERS)]
            there = stage.wait_for_commands(portals * each, 600)
            took = (there or float("inf")) - start
            told = [end(drain) for drain in drains]
            stage.check(portals * each)
            seen = stage.at.seen(log=0)
        # A receipt that was sent twice is one command too many.
        if seen["commands"] != portals * each:
            raise SystemExit(f"{seen['commands']} commands for {portals * each} receipts")
        return {
            "seconds": took,
            "a second": portals * each / took,
            "requests": seen["requests"],
            "least by one drainer": min(drain["sent"] for drain in told),
        }

    def rest(self) -> dict[str, float]:
        """What a drain costs that has nothing to do."""
        portals, seconds = (1000, 10) if self.short else (10_000, 120)
        with self.stage(portals) as stage:
            drain = stage.start("drain", 3_600_000)
            # Until what it does at first is over.
            time.sleep(5)
            before = ticks(drain.pid)
            transactions = self.transactions(stage)
            start = time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - start
            used = (ticks(drain.pid) - before) / TICKS
            made = self.transactions(stage) - transactions
            end(drain)
        return {"share of a core": used / took, "transactions a second": made / took}

    @staticmethod
    def transactions(stage: PostgresStage) -> int:
        sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        return int(stage.psql(sql))


def targets(of: dict[str, Any], at_most: Callable[[str, float, float], None]) -> None:
    """Adds the figures that have a limit to those of the page."""
    report, upsert = of["postgres"]["report"], of["postgres"]["upsert"]
    for share in ("p50", "mean"):
        reached = report[share] / upsert[share]
        at_most(f"a report to PostgreSQL, {WRITERS} writers, {share} / libpq", 1.2, reached)
    # So that it is one that must not be exceeded.
    at_most(
        f"{DRAINERS} drainers, ms a receipt (0.2 is 5,000 a second)",
        0.2,
        1000 / of["fleet"]["a second"],
    )
    at_most("a drain at rest, % of a core", 1.0, 100 * of["rest"]["share of a core"])


def page(of: dict[str, Any], table: Callable[[list[str], list[list[str]]], str]) -> str:
    shares = ("p50", "p99", "p99.9", "max", "mean")
    names = {"report": "report", "upsert": "the same upsert by libpq"}
    reports = [
        [names[what], *(f"{times[share]:,.0f}" for share in shares)]
        for what, times in of["postgres"].items()
    ]
    fleet, rest = of["fleet"], of["rest"]
    return f"""## PostgreSQL

{WRITERS} processes report to a PostgreSQL on this machine, over its socket, in turns with as many
that do the same upsert by libpq. Microseconds; `fsync` and `synchronous_commit` are on.

{table(["", *shares], reports)}
{DRAINERS} drainers with {provider.WORKERS} workers each send receipts to portals that limit
nothing, on the same processors as the server and the portals: {fleet["requests"]:.0f} requests in
{fleet["seconds"]:.1f} s, {fleet["a second"]:,.0f} receipts a second, none twice.

A drain at rest over 10,000 portals takes {100 * rest["share of a core"]:.2f} % of a core, and makes
{rest["transactions a second"]:.1f} transactions a second.
"""
