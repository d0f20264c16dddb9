"""Reads the rows from the table's files, and checks them against tests/README.md."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

from .platforms import PLATFORMS, ROOT

TABLE = ROOT / "tests" / "scenarios"
LANGUAGES = ("rust", "c", "python", "php")
STORES = ("sqlite", "postgres", "pgbouncer")

# What a row may need, and why it cannot be run without.
NEEDS = {
    "root": "only root can give a directory to another user",
    "postgres": "it is about PostgreSQL: run it with --store=postgres or --store=pgbouncer",
    "own-postgres": "it is about PostgreSQL: run it with --store=postgres or --store=pgbouncer",
}

Json = dict[str, Any]

MEMBERS = {
    "name", "about", "portal", "faults", "config", "hosts", "steps", "seen", "log", "messages",
    "history", "senders", "tunnels", "proxy_requests", "records", "deadline_ms", "secrets",
    "except", "needs", "lost", "all_messages",
}  # fmt: skip

# The steps, and the further members that each may have.
OF_A_CLIENT = {"with", "process", "expect"}
OF_A_CALL = OF_A_CLIENT | {"timeout_ms", "cancel_by"}
OF_A_MESSAGE = OF_A_CALL | {"member", "times"}
STEPS = {
    "client": OF_A_CLIENT | {"config"},
    "update": OF_A_CALL | {"times", "cancel_after"},
    "call": OF_A_CALL | {"times", "cancel_after"},
    "batch": OF_A_CALL,
    "tokens": OF_A_CLIENT,
    "renewed": OF_A_CLIENT | {"handed_over"},
    "renewals_wait": OF_A_CLIENT,
    "parallel": set(),
    "set": set(),
    "fault": set(),
    "release": set(),
    "wait": set(),
    "copy": set(),
    "remove": set(),
    "write": {"mode"},
    "chmod": set(),
    "sleep_ms": set(),
    "sealed": set(),
    "check": set(),
    # Of a provider.
    "provider": OF_A_CLIENT,
    "order": {"as"},
    "receive": OF_A_CALL | {"as", "times"},
    "install": OF_A_CLIENT | {"times"},
    "install_request": OF_A_CLIENT | {"times"},
    "client_of": OF_A_CLIENT,
    "import_state_dir": OF_A_CLIENT,
    "track": OF_A_MESSAGE | {"operator"},
    "report": OF_A_MESSAGE | {"at", "cancel_after"},
    "report_batch": OF_A_MESSAGE,
    "report_many": OF_A_MESSAGE,
    "report_reference": OF_A_MESSAGE | {"at", "operator"},
    "drain": OF_A_CALL | {"cancel_after", "kill_after", "seen"},
    "inspect": OF_A_CALL,
    "refused": OF_A_CLIENT,
    "resume": OF_A_CLIENT,
    "prune": OF_A_CLIENT,
    "cancel": OF_A_CLIENT,
    "close": OF_A_CLIENT,
    "vocabulary": OF_A_CLIENT,
    "restart": set(),
    "clock": set(),
    "meta": set(),
    "spend": set(),
    # Of PostgreSQL.
    "sql": {"expect"},
    "postgres": set(),
}


class Malformed(Exception):
    """A row does not follow the description of the table."""


def subjects() -> list[str]:
    """The names of the table's files."""
    return sorted(path.stem for path in TABLE.glob("*.json"))


def read_table() -> list[Json]:
    """All rows, in the order of the files' names; each knows its file's name as its `subject`."""
    rows: list[Json] = []
    for subject in subjects():
        for row in json.loads((TABLE / f"{subject}.json").read_text(encoding="utf-8")):
            check(row)
            rows.append({**row, "subject": subject})
    for name, count in Counter(row["name"] for row in rows).items():
        if count > 1:
            raise Malformed(f"{count} rows are named {name}")
    return rows


def check(row: Json) -> None:
    """Raises an error if a row has an unknown member, or lacks a required one."""
    name = row.get("name") or "without a name"
    if unknown := set(row) - MEMBERS:
        raise Malformed(f"row {name} has unknown members: {', '.join(sorted(unknown))}")
    if lacking := [member for member in ("name", "about", "steps") if not row.get(member)]:
        raise Malformed(f"row {name} lacks {', '.join(lacking)}")
    if "requests" not in row.get("seen", {}):
        raise Malformed(f"row {name} does not say how many requests the portal must have seen")
    if unknown := set(row.get("except", {})) - {*LANGUAGES, *STORES, *PLATFORMS}:
        raise Malformed(
            f"row {name} excepts what is no language, store or platform: "
            f"{', '.join(sorted(unknown))}"
        )
    if unknown := set(row.get("needs", [])) - set(NEEDS):
        raise Malformed(f"row {name} needs what is unknown: {', '.join(sorted(unknown))}")
    for number, step in enumerate(row["steps"], 1):
        for one in step.get("parallel", [step]):
            check_step(f"row {name}, step {number}", one)


def check_step(where: str, step: Json) -> None:
    kinds = set(step) & set(STEPS)
    if len(kinds) != 1:
        raise Malformed(f"{where}: does {', '.join(sorted(kinds)) or 'nothing'}; one thing it must")
    (kind,) = kinds
    if unknown := set(step) - STEPS[kind] - kinds:
        raise Malformed(f"{where}: a step with {kind} has no {', '.join(sorted(unknown))}")


def has_provider(row: Json) -> bool:
    """Whether a row is about a provider, and so needs a store."""
    return any("provider" in step for step in row["steps"])


def left_out(row: Json, language: str, store: str, platform: str) -> str:
    """Why the row is not run in this language, on this store and platform; empty if it is."""
    places = [language, store, platform]
    if store == "pgbouncer":
        # What is true of PostgreSQL is true through pgbouncer.
        places.append("postgres")
    for place in places:
        if reason := row.get("except", {}).get(place):
            return str(reason)
    met = {
        "root": os.geteuid() == 0,
        "postgres": store != "sqlite",
        "own-postgres": store != "sqlite",
    }
    return next((NEEDS[need] for need in row.get("needs", []) if not met[need]), "")
