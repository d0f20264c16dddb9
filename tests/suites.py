"""Runs the test suites of every language and sums them up.

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
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ("src", "Cargo.toml", "Cargo.lock")
C = (*CORE, "bindings/c", "include")
PORTAL = ("emulator",)
PYTHON = ".venv/bin/python"


@dataclass(frozen=True)
class Suite:
    """A command, whose output says how many tests passed and failed."""

    name: str
    #: Whose tests these are, where the output does not say so itself.
    language: str
    inputs: tuple[str, ...]
    command: tuple[str, ...]


MAKE_C = ("make", "--no-print-directory", "-C", "bindings/c")
SUITES = (
    Suite(
        "core",
        "Rust",
        (*CORE, *PORTAL, "tests/bytes.rs"),
        ("cargo", "test", "--locked", "--quiet", "-p", "b24-messageservice"),
    ),
    Suite(
        "portal",
        "Rust",
        ("Cargo.lock", *PORTAL),
        ("cargo", "test", "--locked", "--quiet", "-p", "b24-portal"),
    ),
    Suite(
        "portal-python",
        "Python",
        PORTAL,
        (PYTHON, "-m", "pytest", "-q", "emulator/python/tests"),
    ),
    Suite(
        "scenarios",
        "",
        (*C, *PORTAL, "bindings", "tests"),
        (PYTHON, "tests/run_scenarios.py", "--target", "{target}", "--python", PYTHON),
    ),
    Suite(
        "scenarios-valgrind",
        "",
        (*C, *PORTAL, "tests/scenarios", "tests/adapters/adapter.c", "tests/run_scenarios.py"),
        (PYTHON, "tests/run_scenarios.py", "--target", "{target}", "--lang", "c", "--valgrind"),
    ),
    Suite("stress", "Rust", (*CORE, *PORTAL, "tests/stress"), ("tests/stress/run",)),
    Suite("c", "C", (*C, *PORTAL), (*MAKE_C, "test")),
    Suite("c-valgrind", "C", (*C, *PORTAL), (*MAKE_C, "valgrind")),
    Suite("c-sanitize", "C", (*C, *PORTAL), (*MAKE_C, "sanitize")),
    Suite(
        "python",
        "Python",
        (*CORE, *PORTAL, "bindings/python", "pyproject.toml"),
        (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
    ),
    Suite("php", "PHP", (*C, *PORTAL, "bindings/php"), ("bindings/php/tests/run",)),
    Suite(
        "docs",
        "Docs",
        (*C, *PORTAL, "bindings", "docs", "tests/docs", "README.md", "CONTRIBUTING.md"),
        (PYTHON, "tests/docs/run_snippets.py", "--target", "{target}", "--python", PYTHON),
    ),
    Suite("fuzz", "Rust", (*C, "fuzz"), ("fuzz/run", "5")),
    Suite(
        "wheels",
        "Python",
        (*CORE, "bindings/python", "pyproject.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE"),
        ("bindings/python/wheels.sh",),
    ),
)

COUNTS = (
    # cargo test
    re.compile(r"^test result: \w+\. (?P<passed>\d+) passed; (?P<failed>\d+) failed"),
    # our own programs, a line for each language or subject
    re.compile(r"^(?P<language>[\w+ -]+)?:? ?\b(?P<passed>\d+) passed, (?P<failed>\d+) failed"),
    # pytest
    re.compile(r"^(?:=+ )?(?:(?P<failed>\d+) failed, )?(?P<passed>\d+) passed"),
    # PHPUnit
    re.compile(r"^OK \((?P<passed>\d+) tests?"),
    re.compile(
        r"^Tests: (?P<all>\d+), Assertions: \d+"
        r"(?:, Errors: (?P<errors>\d+))?(?:, Failures: (?P<failed>\d+))?"
    ),
)
LANGUAGES = {"rust": "Rust", "c": "C", "python": "Python", "php": "PHP", "docs": "Docs"}


def count(suite: Suite, output: str) -> Counter[str]:
    """How many tests passed and failed, by language: keys such as "Rust passed"."""
    counts: Counter[str] = Counter()
    for line in output.splitlines():
        found = next((match for pattern in COUNTS if (match := pattern.match(line.strip()))), None)
        if not found:
            continue
        told = found.groupdict()
        first = (told.get("language") or "").split()
        language = LANGUAGES.get(first[0].lower() if first else "", suite.language)
        if not language:
            continue  # the total of what was counted by language
        failed = int(told.get("failed") or 0) + int(told.get("errors") or 0)
        passed = int(told["passed"]) if "passed" in told else int(told["all"]) - failed
        counts[f"{language} passed"] += passed
        counts[f"{language} failed"] += failed
    return counts


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
    record = target / "suites" / f"{suite.name}.json"
    state = fingerprint(suite)
    if not again and record.is_file():
        former = json.loads(record.read_text())
        if former["state"] == state:
            print(f"== {suite.name}: unchanged since it passed", flush=True)
            return Counter(former["counts"])
    print(f"== {suite.name}", flush=True)
    started = time.monotonic()
    # Through a shell, so that a program that is missing is a failed suite like any other.
    command = [
        "sh",
        "-c",
        'exec "$0" "$@"',
        *(word.format(target=target) for word in suite.command),
    ]
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(target),
        "B24_PORTAL": str(target / "debug/b24-portal"),
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
    counts = count(suite, "".join(lines))
    failed = sum(number for key, number in counts.items() if key.endswith(" failed"))
    if process.returncode != 0 and failed == 0:
        counts[f"{suite.language or 'Rust'} failed"] += 1
    if process.returncode == 0 and failed == 0 and sum(counts.values()) == 0:
        print(f"{suite.name}: ran no test", flush=True)
        counts[f"{suite.language or 'Rust'} failed"] += 1
    elif process.returncode == 0 and failed == 0:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"state": state, "counts": counts}))
    print(
        f"== {suite.name}: exit code {process.returncode}, {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return counts


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
    total: Counter[str] = Counter()
    failing = []
    for suite in SUITES:
        if options.suites and suite.name not in options.suites:
            continue
        counts = run(suite, options.target.resolve(), again)
        if any(number for key, number in counts.items() if key.endswith(" failed")):
            failing.append(suite.name)
        total.update(counts)

    print("\n== summary")
    languages = sorted({key.rsplit(" ", 1)[0] for key in total})
    for language in languages:
        passed, failed = total[f"{language} passed"], total[f"{language} failed"]
        print(f"  {language:7} {passed} passed, {failed} failed")
    if failing:
        print(f"  failing suites: {', '.join(failing)}")
    passed = sum(total[f"{language} passed"] for language in languages)
    failed = sum(total[f"{language} failed"] for language in languages)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failing else 0)


if __name__ == "__main__":
    main()
