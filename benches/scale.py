#!/usr/bin/env python3
"""What many portals cost a provider: bytes in the store, statements, memory, processor time.

    .venv/bin/python benches/scale.py                  100,000 portals in SQLite
    .venv/bin/python benches/scale.py --short          1,000 portals
    .venv/bin/python benches/scale.py --store URL      in PostgreSQL: an empty database, and psql

Prints a table for docs/scale.md. Nothing is a test; a receipt that does not arrive ends it. First
`maturin develop --release` in the checkout and in `emulator`: tests use builds that are slower.

One portal is installed as always, and the rows of the others are copies of its rows, since only ten
installations a second are confirmed. The emulator has 10,000 of the portals (`--busy`), which get
receipts. It limits none of them, and answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "emulator" / "python"))

from b24_messageservice import Provider  # noqa: E402
from b24_portal import Portal  # noqa: E402

from provider import copy, host, member  # noqa: E402

CODE = "provider1"
SLICE = 10_000
TICKS = os.sysconf("SC_CLK_TCK")
HOSTS = 50
#: What providers of this process are made with.
OPTIONS: dict[str, Any] = {}


class Sqlite:
    def __init__(self, directory: Path) -> None:
        self.file = directory / "b24.db"
        self.option = f"sqlite:{self.file}"

    def multiply(self, portals: int) -> None:
        """Copies the installation of portal 1, while no provider has the store open."""
        with sqlite3.connect(self.file) as connection:
            for table in ("b24_installation", "b24_lane"):
                select = f"SELECT * FROM {table} WHERE member_id = ?"  # noqa: S608
                row = connection.execute(select, (member(1),)).fetchone()
                copies = (tuple(copy(value, to) for value in row) for to in range(2, portals + 1))
                holders = ", ".join("?" for _ in row)
                insert = f"INSERT INTO {table} VALUES ({holders})"  # noqa: S608
                connection.executemany(insert, copies)
        connection.close()

    def size(self) -> int:
        """The bytes of the pages that are used."""
        with sqlite3.connect(self.file) as connection:
            [(pages, free, size)] = connection.execute(
                "SELECT page_count, freelist_count, page_size FROM pragma_page_count,"
                " pragma_freelist_count, pragma_page_size"
            )
        connection.close()
        return int((pages - free) * size)

    def log_written(self) -> int | None:
        """Not counted: the log is used again and again."""
        return None

    def transactions(self) -> int | None:
        return None


class Postgres:
    def __init__(self, url: str) -> None:
        self.option = self.url = url

    def sql(self, statement: str) -> str:
        command = ("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", self.url)
        done = subprocess.run(command, input=statement, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"psql: {done.stderr}")
        return done.stdout.strip()

    def multiply(self, portals: int) -> None:
        text = (
            f"replace(replace(replace(%s, '{member(1)}', lpad(to_hex(n), 32, '0')),"
            f" '{host(1)}', 'p' || n || '.bitrix24.test'), '-p1-', '-p' || n || '-')"
        )
        for table in ("b24_installation", "b24_lane"):
            columns = self.sql(
                "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"  # noqa: S608
                f" WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"
            )
            values = []
            for column in columns.splitlines():
                name, kind = column.split("|")
                if kind == "text":
                    values.append(text % name)
                elif kind == "bytea":
                    # The first byte, which says that it is not sealed, is none of a text.
                    inner = text % f"convert_from(substring({name} from 2), 'LATIN1')"
                    first = f"substring({name} from 1 for 1)"
                    values.append(f"{first} || convert_to({inner}, 'LATIN1')")
                else:
                    values.append(name)
            self.sql(
                f"INSERT INTO {table} SELECT {', '.join(values)} FROM {table},"  # noqa: S608
                f" generate_series(2, {portals}) n WHERE member_id = '{member(1)}'"
            )
        self.sql("VACUUM ANALYZE")

    def size(self) -> int:
        """The tables and their indexes."""
        return int(
            self.sql(
                "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c"
                " WHERE relname LIKE 'b24\\_%' AND relkind = 'r'"
                " AND relnamespace = current_schema()::regnamespace"
            )
        )

    def log_written(self) -> int | None:
        return int(self.sql("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')").split(".")[0])

    def processor(self) -> float:
        """Seconds that the server's processes have used which are there now."""
        postmaster = self.sql("SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)")
        used = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            if fields[1] == postmaster:
                used += int(fields[11]) + int(fields[12])
        return used / TICKS

    def transactions(self) -> int:
        return int(
            self.sql(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database"
                " WHERE datname = current_database()"
            )
        )


def start(what: str, options: dict[str, Any], arguments: list[int]) -> subprocess.Popen[str]:
    """Runs a function below in a process of its own."""
    command = (sys.executable, __file__, "--work", what, json.dumps(options), *map(str, arguments))
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)


def end(process: subprocess.Popen[str]) -> dict[str, float]:
    """What it has measured."""
    output, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"a process failed with {process.returncode}")
    told: dict[str, float] = json.loads(output)
    return told


def work(what: str, options: dict[str, Any], arguments: list[int]) -> dict[str, float]:
    return end(start(what, options, arguments))


def report(provider: Provider, portals: int, each: int, first: int = 0) -> None:
    receipts = (
        (member(portal), CODE, f"{portal:016x}{number:016x}", "delivered")
        for number in range(first, first + each)
        for portal in range(1, portals + 1)
    )
    part = []
    for receipt in receipts:
        part.append(receipt)
        if len(part) == SLICE:
            store(provider, part)
            part = []
    store(provider, part)


def store(provider: Provider, part: list[Any]) -> None:
    if failed := [error for error in provider.report_many(part) if error is not None]:
        raise failed[0]


def track(provider: Provider, references: int) -> None:
    for number in range(references):
        provider.track(f"operator-{number:08}", member(1 + number % 1000), CODE, f"{number:032x}")


def drain(provider: Provider, _count: int) -> None:
    """Until the standard input ends."""
    draining = threading.Thread(target=provider.drain, args=(3600,))
    draining.start()
    sys.stdin.read()
    # Lets it finish its requests.
    provider.close()
    draining.join()


def rest(provider: Provider, seconds: int) -> None:
    provider.drain(seconds)


def hosts(provider: Provider, seconds: int, count: int) -> None:
    """So many drains at rest as hosts would have, but in one process."""
    others = [Provider(**OPTIONS) for _ in range(count)]
    threads = [threading.Thread(target=other.drain, args=(seconds,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def inspect(provider: Provider, portals: int) -> None:
    rows = provider.inspect()
    if len(rows) != portals:
        raise SystemExit(f"{len(rows)} portals instead of {portals}")


WORK: dict[str, Callable[..., None]] = {
    function.__name__: function for function in (report, track, drain, rest, hosts, inspect)
}


def measured(what: str, options: dict[str, Any], arguments: list[int]) -> dict[str, float]:
    OPTIONS.update(options)
    provider = Provider(**options)
    started, processor = time.monotonic(), time.process_time()
    WORK[what](provider, *arguments)
    figures = {
        "seconds": time.monotonic() - started,
        "processor": time.process_time() - processor,
        "peak_mb": peak_kb() / 1000,
    }
    provider.close()
    return figures


def peak_kb() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


def scale(at: Portal, kept: Sqlite | Postgres, portals: int, busy: int) -> list[tuple[str, str]]:
    options = at.provider_options(store=kept.option)
    provider = Provider(**options)
    provider.install(at.install(as_="oauth", host=host(1))["body"])
    provider.close()
    empty = kept.size()
    kept.multiply(portals)
    installed = kept.size()
    rows = [("an installation: bytes in the store", f"{(installed - empty) / (portals - 1):,.0f}")]

    each = 10
    count = busy * each
    log = kept.log_written()
    told = work("report", options, [busy, each])
    waiting = kept.size()
    rows += [
        ("a receipt that waits: bytes in the store", f"{(waiting - installed) / count:,.0f}"),
        (f"storing {count:,} receipts by 10,000: a second", f"{count / told['seconds']:,.0f}"),
    ]
    if log is not None:
        written = (kept.log_written() or 0) - log
        rows.append(("its bytes in the log (WAL)", f"{written / count:,.0f}"))

    log, done = kept.log_written(), kept.transactions()
    told, requests = drained(at, options, count)
    rows += [
        (f"draining them in {requests:,} requests: a second", f"{count / told['seconds']:,.0f}"),
        ("the processor's time for a receipt, µs", f"{told['processor'] / count * 1e6:,.0f}"),
        ("the drain's memory, MB", f"{told['peak_mb']:.0f}"),
    ]
    if log is not None:
        written = (kept.log_written() or 0) - log
        rows.append(("a receipt's bytes in the log (WAL)", f"{written / count:,.0f}"))
    if done is not None:
        used = (kept.transactions() or 0) - done
        rows.append(("transactions for each request", f"{used / requests:.1f}"))
    rows.append(
        ("a receipt that was sent: bytes in the store", f"{(kept.size() - installed) / count:,.0f}")
    )

    # Each in a request of its own, over a connection of its own.
    work("report", options, [busy, 1, each])
    told, requests = drained(at, options, count + busy)
    rows += [
        (f"{busy:,} requests of one receipt each: a second", f"{requests / told['seconds']:,.0f}"),
        ("the processor's time for such a request, µs", f"{told['processor'] / busy * 1e6:,.0f}"),
    ]

    before = kept.size()
    references = 2_000
    told = work("track", options, [references])
    rows += [
        ("a reference: bytes in the store", f"{(kept.size() - before) / references:,.0f}"),
        ("`track`, one after the other: a second", f"{references / told['seconds']:,.0f}"),
    ]

    done = kept.transactions()
    told = work("rest", options, [20])
    share = told["processor"] / told["seconds"]
    rows.append(("a drain at rest: of a processor", f"{100 * share:.2f} %"))
    if done is not None:
        used = (kept.transactions() or 0) - done
        rows.append(("its transactions a second", f"{used / told['seconds']:.1f}"))
    if isinstance(kept, Postgres):
        rows += at_rest(kept, options)
    told = work("inspect", options, [portals])
    rows += [
        (f"`inspect` of {portals:,} portals: seconds", f"{told['seconds']:.2f}"),
        ("its memory, MB", f"{told['peak_mb']:.0f}"),
    ]
    return rows


def at_rest(kept: Postgres, options: dict[str, Any]) -> list[tuple[str, str]]:
    """The drains of several hosts that have nothing to do."""
    done, processor, seconds = kept.transactions(), kept.processor(), 20
    process = start("hosts", options, [seconds, HOSTS])
    time.sleep(seconds - 2)
    connections = kept.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = current_user")
    # Before they end, since a backend's time goes with it.
    processor = kept.processor() - processor
    end(process)
    used = kept.transactions() - done
    return [
        (f"{HOSTS} drains at rest: their transactions a second", f"{used / seconds:.0f}"),
        ("the server's processors", f"{processor / (seconds - 2):.2f}"),
        ("their connections", connections),
    ]


def drained(at: Portal, options: dict[str, Any], count: int) -> tuple[dict[str, float], int]:
    """Drains until the portals have so many receipts; in how many requests."""
    before = at.seen(log=0)["requests"]
    process = start("drain", options, [0])
    began = time.monotonic()
    while at.seen(log=0)["commands"] < count:
        if process.poll() is not None or time.monotonic() > began + 3600:
            raise SystemExit("the portals did not get their receipts")
        time.sleep(0.05)
    took = time.monotonic() - began
    told = end(process)
    there = sum(len(messages) for messages in at.all_messages().values())
    if there != count:
        raise SystemExit(f"{there} of {count} receipts are there")
    return {**told, "seconds": took}, at.seen(log=0)["requests"] - before


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what many portals cost a provider.")
    parser.add_argument("--portals", type=int, default=100_000)
    parser.add_argument("--store", help="postgres://…, an empty database")
    parser.add_argument("--busy", type=int, default=10_000, help="portals that get receipts")
    parser.add_argument("--short", action="store_true", help="1,000 portals")
    chosen = parser.parse_args()
    portals = 1000 if chosen.short else chosen.portals
    busy = min(portals, chosen.busy)
    with (
        Portal(log=0, portals=busy) as at,
        # On the same disk as the checkout.
        tempfile.TemporaryDirectory(dir=ROOT / "target") as directory,
    ):
        kept = Postgres(chosen.store) if chosen.store else Sqlite(Path(directory))
        print(f"| {portals:,} portals | |\n| --- | --: |")
        for name, value in scale(at, kept, portals, busy):
            print(f"| {name} | {value} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _, _, what, options, *numbers = sys.argv
        print(json.dumps(measured(what, json.loads(options), [int(one) for one in numbers])))
    else:
        main()
