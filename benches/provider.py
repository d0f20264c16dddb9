"""The provider's figures: reports beside the disk's own writes, and drains."""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "emulator" / "python"))

from b24_portal import Portal  # noqa: E402

PROCESSES, WORKERS = 8, 8
LATENCY, RATE = 150, {"x": 50, "y": 2}
# How many bytes the stripped C library may have.
SIZES = {"all": 4_500_000, "without provider": 2_800_000}


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def host(portal: int) -> str:
    return f"p{portal}.bitrix24.test"


def member(portal: int) -> str:
    return f"{portal:032x}"


@dataclass
class Stage:
    """An emulator with portals, and a store with an installation of each."""

    program: Path
    at: Portal
    directory: Path

    @property
    def store(self) -> Path:
        return self.directory / "b24.db"

    def options(self, **overrides: Any) -> str:
        options = self.at.provider_options(
            store=f"sqlite:{self.store}", workers=WORKERS, **overrides
        )
        options["resolve"] = ",".join(options["resolve"])
        return "\n".join(f"{name}={value}" for name, value in options.items())

    def start(self, command: str, *arguments: object, **overrides: Any) -> subprocess.Popen[str]:
        words = (self.program, command, self.options(**overrides), *arguments)
        pipe = subprocess.PIPE
        return subprocess.Popen([str(word) for word in words], stdin=pipe, stdout=pipe, text=True)

    def run(self, command: str, *arguments: object, **overrides: Any) -> str:
        process = self.start(command, *arguments, **overrides)
        output, _ = process.communicate()
        if process.returncode != 0:
            raise SystemExit(f"provider {command} failed with {process.returncode}")
        return output

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """For when no process has the store open, as Python's is another copy of SQLite."""
        with sqlite3.connect(self.store) as connection:
            return connection.execute(sql, parameters).fetchall()

    def install(self, portals: int) -> None:
        """Portal 1 is installed as always. The rows of the others are copies of its rows.

        Only ten installations a second are confirmed.
        """
        self.run("install", self.at.install(as_="oauth", host=host(1))["body"])
        with sqlite3.connect(self.store) as connection:
            for table in ("b24_installation", "b24_lane"):
                select = f"SELECT * FROM {table} WHERE member_id = ?"  # noqa: S608
                found = connection.execute(select, (member(1),))
                names = [column[0] for column in found.description]
                row = found.fetchone()
                copies = (tuple(copy(value, to) for value in row) for to in range(2, portals + 1))
                holders = ", ".join("?" for _ in names)
                insert = f"INSERT INTO {table} VALUES ({holders})"  # noqa: S608
                connection.executemany(insert, copies)
        connection.close()

    def wait_for_commands(self, count: int, seconds: float) -> float | None:
        """When the portals have executed so many commands; None if they have not in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.at.seen(log=0)["commands"] >= count:
                return time.monotonic()
            time.sleep(0.1)
        return None

    def check(self, count: int) -> None:
        there = sum(len(messages) for messages in self.at.all_messages().values())
        seen = self.at.seen(log=0)
        if there != count or seen["query_limit"] > 0 or seen["bad"]:
            raise SystemExit(f"{there} of {count} receipts are there; the portal saw {seen}")


def copy(value: object, to: int) -> object:
    """A value of portal 1's row as the portal `to` has it."""
    if isinstance(value, str):
        return value.replace(member(1), member(to)).replace(host(1), host(to))
    if isinstance(value, bytes):
        text = str(copy(str(value, "latin-1"), to))
        return text.replace("-p1-", f"-p{to}-").encode("latin-1")
    return value


def end(drain: subprocess.Popen[str]) -> dict[str, Any]:
    """Ends a drain, or waits until it has ended; what it printed."""
    output, _ = drain.communicate()
    if drain.returncode != 0:
        raise SystemExit(f"a drain failed with {drain.returncode}")
    told: dict[str, Any] = json.loads(output)
    return told


class Bench:
    def __init__(self, out: Path, emulator: Path, library: Path, *, short: bool) -> None:
        self.out, self.emulator, self.library, self.short = out, emulator, library, short

    def sections(self) -> dict[str, Any]:
        return {
            "report": self.report,
            "steady": self.steady,
            "portals": self.portals,
            "apart": self.apart,
            "memory": self.memory,
            "size": self.size,
        }

    @contextmanager
    def stage(self, portals: int, **settings: Any) -> Iterator[Stage]:
        with ExitStack() as stack:
            at = stack.enter_context(Portal(self.emulator, log=0, portals=portals, **settings))
            # On the same disk as the checkout.
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self.out)))
            stage = Stage(self.out / "provider", at, directory)
            stage.install(portals)
            yield stage

    def report(self) -> dict[str, Any]:
        """Reports in one process and in several, in turns with writes of the disk."""
        rounds, calls, turns, ms = (5, 200, 3, 500) if self.short else (40, 500, 12, 2000)
        with self.stage(1) as stage:
            lines = stage.run("compare", stage.directory / "block", rounds, calls).splitlines()
            one = {"report": numbers(lines[0::2]), "write": numbers(lines[1::2])}
            several = self.contend(stage, turns, ms)
        return {
            "1": {name: spread(of) for name, of in one.items()},
            str(PROCESSES): {name: spread(of) for name, of in several.items()},
        }

    def contend(self, stage: Stage, turns: int, ms: int) -> dict[str, list[float]]:
        block = stage.directory / "block"
        running = [stage.start("contend", block) for _ in range(PROCESSES)]
        for process in running:
            line(process)
        times: dict[str, list[float]] = {"report": [], "write": []}
        for turn in range(2 * turns):
            what = "report" if turn % 2 == 0 else "write"
            for process in running:
                print(what, ms, file=process.stdin, flush=True)
            for process in running:
                times[what] += numbers([line(process)])
        for process in running:
            process.communicate()
        return times

    def steady(self) -> dict[str, float]:
        """Receipts that arrive evenly, for one portal."""
        count, seconds = (1000, 6) if self.short else (10_000, 60)
        with self.stage(1, latency_ms=LATENCY, rate=RATE) as stage:
            drain = stage.start("drain", 600_000)
            reports = stage.start("steady", 1, count, seconds * 1000, "steady")
            start = time.monotonic()
            there = stage.wait_for_commands(count, 4 * seconds)
            took = (there or float("inf")) - start
            reports.communicate()
            end(drain)
            stage.check(count)
            requests = stage.at.seen(log=0)["requests"]
        necessary = max(seconds, (count / 50 - RATE["x"]) / RATE["y"])
        return {"seconds": took, "requests": requests, "necessary": necessary}

    def portals(self) -> dict[str, float]:
        """Receipts that wait for many portals."""
        portals, each = (100, 100) if self.short else (1000, 100)
        with self.stage(portals, latency_ms=LATENCY, rate=RATE) as stage:
            stage.run("fill", 1, portals, each)
            start = time.monotonic()
            drain = stage.start("drain", 600_000)
            there = stage.wait_for_commands(portals * each, 600)
            took = (there or float("inf")) - start
            told = end(drain)
            stage.check(portals * each)
            requests = stage.at.seen(log=0)["requests"]
        necessary = requests * LATENCY / 1000 / WORKERS
        return {
            "seconds": took,
            "requests": requests,
            "necessary": necessary,
            "peak_kb": told["peak_kb"],
        }

    def apart(self) -> dict[str, Any]:
        """Whether a portal that is down and one that throttles delay others."""
        portals, seconds, rounds = (16, 5, 2) if self.short else (16, 30, 4)
        delays: dict[str, list[float]] = {"without": [], "with": []}
        with self.stage(portals, latency_ms=LATENCY) as stage:
            drain = stage.start("drain", 3_600_000)
            for number in range(2 * rounds):
                kind = "without" if number % 2 == 0 else "with"
                faulty = kind == "with"
                stage.at.set(
                    down=[host(1)] if faulty else [], throttled=[host(2)] if faulty else []
                )
                stage.run("steady", portals, portals * seconds, seconds * 1000, kind)
                time.sleep(2)
            end(drain)
            # What is settled keeps its times.
            found = stage.rows(
                "SELECT message_id, settled_at - arrived_at, state FROM b24_receipt"
                " WHERE member_id NOT IN (?, ?)",
                member(1),
                member(2),
            )
        for message, delay, state in found:
            if state != 1:
                raise SystemExit(f"receipt {message} was not sent")
            delays[message.split("-")[0]].append(delay)
        return {
            kind: {
                "p50": statistics.median(of),
                "p99": quantile(of, 0.99),
                "max": max(of),
                "count": len(of),
            }
            for kind, of in delays.items()
        }

    def memory(self) -> dict[str, Any]:
        """The peak of a drain's memory, over many portals and with many receipts."""
        portals, each, ms = (1000, 100, 5000) if self.short else (10_000, 100, 30_000)
        with self.stage(portals) as stage:
            stage.run("fill", 1, portals, 1)
            start = time.monotonic()
            drain = stage.start("drain", 3_600_000)
            if stage.wait_for_commands(portals, 1200) is None:
                raise SystemExit("the portals did not get their receipts")
            took = time.monotonic() - start
            many_portals = end(drain)
            stage.at.set(latency_ms=LATENCY)
            stage.run("fill", 1, portals, each)
            # It ends by itself, and counts what is left.
            drain = stage.start("drain", ms)
            drain.wait()
            many_receipts = end(drain)
        return {
            "portals": portals,
            "receipts": portals * each,
            "left": many_receipts["waiting"],
            "portals_seconds": took,
            "portals_mb": many_portals["peak_kb"] / 1000,
            "receipts_mb": many_receipts["peak_kb"] / 1000,
        }

    def size(self) -> dict[str, int]:
        """The stripped C library, with and without the feature `provider`."""
        without = self.out / "without"
        command = ("cargo", "build", "--locked", "--quiet", "--release", "--no-default-features")
        target = ("-p", "b24-messageservice-c", "--target-dir", str(without))
        subprocess.run([*command, *target], check=True, cwd=ROOT)
        libraries = {
            "all": self.library,
            "without provider": without / "release" / self.library.name,
        }
        sizes = {name: stripped(library, self.out) for name, library in libraries.items()}
        # Unlike times, they do not depend on what else the machine does.
        if large := {name: size for name, size in sizes.items() if size > SIZES[name]}:
            raise SystemExit(f"the C library is too large: {large}, and at most {SIZES}")
        return sizes


def targets(of: dict[str, Any], at_most: Callable[[str, float, float], None]) -> None:
    """Adds the figures that have a limit to those of the page."""
    one, several = of["report"]["1"], of["report"][str(PROCESSES)]
    drained, memory, size = of["portals"], of["memory"], of["size"]
    for name, limit in (("p50", 2.0), ("p99", 4.0)):
        reached = one["report"][name] / one["write"][name]
        at_most(f"a report, {name} / a write with fdatasync", limit, reached)
    reached = several["report"]["p99.9"] / several["write"]["p99.9"]
    at_most(f"a report of {PROCESSES} processes, p99.9 / their locked write", 10.0, reached)
    at_most("the longest of these reports, s", 0.3, several["report"]["max"] / 1e6)
    at_most("10,000 receipts in 60 s to one portal, s", 80.0, of["steady"]["seconds"])
    at_most("100 receipts each for 1,000 portals, s", 45.0, drained["seconds"])
    at_most("a drain over 10,000 portals, MB", 64.0, memory["portals_mb"])
    at_most("a drain with 1,000,000 receipts, MB", 64.0, memory["receipts_mb"])
    at_most("the stripped C library, MB", 4.5, size["all"] / 1e6)
    at_most("the same without the feature provider, MB", 2.8, size["without provider"] / 1e6)


def page(of: dict[str, Any], table: Callable[[list[str], list[list[str]]], str]) -> str:
    shares = ("p50", "p99", "p99.9", "max")
    reports = [
        [f"{what}, {processes}", *(f"{times[what][share]:,.0f}" for share in shares)]
        for processes, times in of["report"].items()
        for what in ("report", "write")
    ]
    kinds = (("steady", "10,000 in 60 s to one portal"), ("portals", "100 each for 1,000 portals"))
    drains = []
    for name, what in kinds:
        figures = of[name]
        row = (
            f"{figures['requests']:.0f}",
            f"{figures['necessary']:.1f}",
            f"{figures['seconds']:.1f}",
        )
        drains.append([what, *row])
    memory = of["memory"]
    sizes = [[name, f"{size:,}"] for name, size in of["size"].items()]
    peaks = [
        [f"{memory['portals']:,} portals", f"{memory['portals_mb']:.1f}"],
        [f"{memory['receipts']:,} receipts", f"{memory['receipts_mb']:.1f}"],
    ]
    kinds = (("without", "are well"), ("with", "are down, and throttle"))
    apart = [
        [what, *(f"{of['apart'][kind][share]:.0f}" for share in ("p50", "p99", "max"))]
        for kind, what in kinds
    ]
    return f"""## Receipts that are kept

A provider's store on the disk of this machine, in microseconds. A write is one of 4 KiB in place
with `fdatasync`, without which nothing is durable. Receipts and writes are made in turns. Several
processes write under a lock (`flock`), since the disk commits for one at a time: who barges in has
a short wait, and others a long one. Reports wait in a queue.

{table(["processes", *shares], reports)}
## Drains

With {WORKERS} workers, to portals that take {LATENCY} ms for a request and allow {RATE["x"]} at
once and {RATE["y"]} a second. What is necessary follows from that. The installations are copies of
one that was confirmed, since only ten a second are.

{table(["receipts", "requests", "necessary s", "s"], drains)}
Milliseconds from the storing of a receipt until it is sent, at 14 portals with one receipt a second
each. Requests with fewer than 50 receipts are at least 500 ms apart.

{table(["two other portals", "p50", "p99", "max"], apart)}
The peak of a drain's memory:

{table(["with", "MB"], peaks)}
## Size

{table(["the stripped C library", "bytes"], sizes)}"""


def stripped(library: Path, out: Path) -> int:
    to = out / "stripped.so"
    shutil.copy(library, to)
    subprocess.run(["strip", str(to)], check=True)  # noqa: S607
    return to.stat().st_size


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    told = process.stdout.readline()
    if not told:
        raise SystemExit(f"a process failed with {process.wait()}")
    return told


def numbers(lines: list[str]) -> list[float]:
    return [float(number) for line in lines for number in line.split()]


def spread(times: list[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    named = {name: quantile(times, share) for name, share in shares.items()}
    return {**named, "max": max(times), "count": len(times)}
