"""Runs the test suites of every language and adds up their results.

A suite's exit code says whether it passed. How many tests it had is read from the JUnit XML that it
wrote, or for `cargo test`, which writes none, from the lines that it ends with.

A suite that passed is not run again until a file that it depends on has changed; with CI in the
environment, or --all, every suite runs. Needs what `make build` has built.

usage: suites.py [--all] [--target DIRECTORY] [SUITE ...]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ("src", "Cargo.toml", "Cargo.lock")
C = (*CORE, "bindings/c", "include")
PORTAL = ("emulator",)
SHELL = ("cli", "tests/shell")
TABLE = ("tests/scenarios", "tests/adapters")
POSTGRES = ("tests/postgres",)


@dataclass(frozen=True)
class Suite:
    """A command, and the files that its outcome depends on."""

    name: str
    inputs: tuple[str, ...]
    #: `{junit}` is replaced by the name of the file that it must write.
    command: tuple[str, ...]
    #: Whether it is in every run. The others are run if they are named.
    always: bool = True


CARGO = ("cargo", "test", "--locked", "--quiet", "-p")
PYTEST = (".venv/bin/python", "-m", "pytest", "-q", "--junitxml", "{junit}")
SCENARIOS = (*PYTEST, "tests/scenarios", "-rs", "--dist", "worksteal")
# Rows wait most of the time, so more of them are run at a time than there are cores. Not under
# valgrind, which needs so much time that a call's deadline would pass.
AT_A_TIME = ("-n", "8")
VALGRIND = ("-n", "2", "-m", "c", "--valgrind")
# Through pgbouncer all languages; what it hides is the same in every language.
PGBOUNCER = ("--store", "pgbouncer")
POSTGRES_DIRECTLY = ("--store", "postgres", "-m", "rust or python")
CTEST = (
    "cmake -S bindings/c -B {target}/ctest >{target}/ctest.log; "
    "ctest --test-dir {target}/ctest --output-on-failure --output-junit {junit}"
)
STRESS = ("tests/stress/run",)
# With a later PHP than the system's, which the first run unpacks.
LATER_PHP = "B24_PHP=$(tools/platforms/php {version}); export B24_PHP; exec {command}"
MAKE_C = ("make", "--no-print-directory", "-C", "bindings/c")

SUITES = (
    Suite("core", (*CORE, *PORTAL, "tests/bytes.rs"), (*CARGO, "b24-messageservice")),
    Suite("portal", ("Cargo.lock", *PORTAL), (*CARGO, "b24-portal")),
    Suite("portal-python", PORTAL, (*PYTEST, "emulator/python/tests")),
    Suite("portal-php", PORTAL, ("phpunit", "-c", "emulator/php", "--log-junit", "{junit}")),
    Suite("scenarios", (*C, *PORTAL, "bindings", *TABLE), (*SCENARIOS, *AT_A_TIME)),
    Suite("scenarios-valgrind", (*C, *PORTAL, *TABLE), (*SCENARIOS, *VALGRIND)),
    Suite(
        "scenarios-pgbouncer",
        (*C, *PORTAL, "bindings", *TABLE, *POSTGRES),
        (*SCENARIOS, *AT_A_TIME, *PGBOUNCER),
    ),
    Suite(
        "scenarios-postgres",
        (*C, *PORTAL, "bindings", *TABLE, *POSTGRES),
        (*SCENARIOS, *AT_A_TIME, *POSTGRES_DIRECTLY),
    ),
    Suite(
        "postgres",
        (*CORE, *PORTAL, *SHELL, "bindings/python", *POSTGRES),
        (*PYTEST, "tests/postgres"),
    ),
    Suite("schedules", (*CORE, "tests/schedules"), ("tests/schedules/run",)),
    Suite("stress", (*CORE, *PORTAL, "tests/stress"), (*STRESS, "--skip", "postgres_")),
    Suite(
        "stress-postgres",
        (*CORE, *PORTAL, *POSTGRES, "tests/stress"),
        (*STRESS, "postgres_"),
    ),
    Suite("c", (*C, *PORTAL), ("sh", "-ec", CTEST)),
    Suite("c-valgrind", (*C, *PORTAL), (*MAKE_C, "valgrind")),
    Suite("c-sanitize", (*C, *PORTAL), (*MAKE_C, "sanitize")),
    Suite("python", (*CORE, *PORTAL, "bindings/python", "pyproject.toml"), PYTEST),
    Suite(
        "php",
        (*C, *PORTAL, *POSTGRES, "bindings/php"),
        ("bindings/php/tests/run", "--log-junit", "{junit}"),
    ),
    Suite("php-fpm", (*C, *PORTAL, "bindings/php"), (*PYTEST, "bindings/php/tests/fpm")),
    Suite(
        "docs",
        (
            *(*C, *PORTAL, "cli", "bindings", "docs", "tests", "README.md", "CONTRIBUTING.md"),
            *("pyproject.toml", "tools/dist_documents.py"),
        ),
        (*PYTEST, "tests/docs", "-rs"),
    ),
    Suite("shell", (*C, *PORTAL, *SHELL, "bindings"), (*PYTEST, "tests/shell", "-rs")),
    Suite("fuzz", (*C, "fuzz"), ("fuzz/run", "5")),
    Suite(
        "wheels",
        (*CORE, "bindings/python", "pyproject.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE"),
        ("bindings/python/wheels.sh",),
    ),
    *(
        Suite(
            f"{suite}-{version}",
            (*C, *PORTAL, *POSTGRES, "bindings/php", *TABLE, "tools/platforms/php"),
            ("sh", "-ec", LATER_PHP.format(version=version, command=command)),
            always=False,
        )
        for version in ("8.4", "8.5")
        for suite, command in {
            "php": "bindings/php/tests/run --log-junit {junit}",
            "scenarios-php": " ".join((*SCENARIOS, *AT_A_TIME, "-m", "php")),
        }.items()
    ),
)

EVERY_RUN = {suite.name for suite in SUITES if suite.always}

# The harness of Rust's own tests writes JSON or JUnit only with a nightly toolchain. With every
# toolchain each test program ends with this line.
LIBTEST = re.compile(
    r"^test result: \w+\. (?P<passed>\d+) passed; (?P<failed>\d+) failed; (?P<skipped>\d+) ignored",
    re.MULTILINE,
)


def count(suite: Suite, junit: Path, output: str, exit_code: int) -> Counter[str]:
    """How many tests passed, failed and were skipped. A suite that counts none is one test."""
    counts: Counter[str] = Counter()
    if "{junit}" in " ".join(suite.command):
        if junit.is_file():
            counts.update(map(outcome, ET.parse(junit).iter("testcase")))
    elif found := list(LIBTEST.finditer(output)):
        for line in found:
            counts.update({name: int(number) for name, number in line.groupdict().items()})
    elif exit_code == 0:
        counts["passed"] = 1
    if exit_code != 0 and counts["failed"] == 0:
        counts["failed"] = 1
    if counts["passed"] + counts["failed"] == 0:
        print(f"{suite.name}: ran no test", flush=True)
        counts["failed"] = 1
    return counts


def outcome(test: ET.Element) -> str:
    """The outcome of a test in JUnit's XML."""
    if test.find("failure") is not None or test.find("error") is not None:
        return "failed"
    return "skipped" if test.find("skipped") is not None else "passed"


def fingerprint(suite: Suite) -> str:
    """Changes when a file that the suite depends on does."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *suite.inputs, "tests/suites.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    digest = hashlib.sha256(" ".join(suite.command).encode())
    for name in sorted(set(listed.stdout.splitlines())):
        path = ROOT / name
        if path.is_file():
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def run(suite: Suite, target: Path, again: bool) -> Counter[str]:
    results = target / "suites"
    results.mkdir(parents=True, exist_ok=True)
    record, junit = results / f"{suite.name}.json", results / f"{suite.name}.xml"
    state = fingerprint(suite)
    if not again and record.is_file():
        former = json.loads(record.read_text())
        if former["state"] == state:
            print(f"== {suite.name}: unchanged since it passed", flush=True)
            return Counter(former["counts"])
    print(f"== {suite.name}", flush=True)
    started = time.monotonic()
    junit.unlink(missing_ok=True)
    # Through a shell, so that a program that is missing is a failed suite like any other.
    command = ["sh", "-c", 'exec "$0" "$@"']
    command += [word.format(target=target, junit=junit) for word in suite.command]
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(target),
        "B24_PORTAL_BIN": str(target / "debug/b24-portal"),
        "B24_MESSAGESERVICE_LIB": str(target / "release/libb24_messageservice.so"),
    }
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    counts = count(suite, junit, "".join(lines), process.returncode)
    if counts["failed"] == 0:
        record.write_text(json.dumps({"state": state, "counts": counts}))
    else:
        record.unlink(missing_ok=True)
    print(
        f"== {suite.name}: exit code {process.returncode}, {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return counts


def shown(counts: Counter[str]) -> str:
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    return f"{counts['passed']} passed, {counts['failed']} failed{skipped}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--all", action="store_true", help="also what passed and is unchanged")
    parser.add_argument("--target", type=Path, default=ROOT / "target")
    parser.add_argument("suites", nargs="*", help="only these")
    options = parser.parse_args()
    unknown = set(options.suites) - {suite.name for suite in SUITES}
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")

    # A shell's background jobs ignore Ctrl-C, and so would the programs whose Ctrl-C is tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    again = options.all or bool(os.environ.get("CI")) or bool(options.suites)
    results = {
        suite.name: run(suite, options.target.resolve(), again)
        for suite in SUITES
        if suite.name in (options.suites or EVERY_RUN)
    }

    print("\n== summary")
    for name, counts in results.items():
        print(f"  {name:20} {shown(counts)}")
    total = sum(results.values(), Counter())
    print(shown(total))
    sys.exit(1 if total["failed"] else 0)


if __name__ == "__main__":
    main()
