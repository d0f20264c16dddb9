"""The scenario table in pytest: options, the programs that it needs, and a summary."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from runner.play import Running
from runner.table import LANGUAGES, ROOT, subjects


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--valgrind", action="store_true", help="run C's adapter under valgrind")


def pytest_configure(config: pytest.Config) -> None:
    for language in LANGUAGES:
        config.addinivalue_line("markers", f"{language}: rows run in this language")
    for subject in subjects():
        config.addinivalue_line("markers", f"{subject}: rows of {subject}.json")


@pytest.fixture(scope="session")
def running(pytestconfig: pytest.Config) -> Iterator[Running]:
    """The emulator and the adapters of this process, of which pytest-xdist may start several."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    running = Running(target, pytestconfig.getoption("valgrind"))
    yield running
    running.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what was measured but not tested, and how much was searched for secrets."""
    times: dict[str, list[str]] = defaultdict(list)
    secrets = texts = 0
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            told = dict(getattr(report, "user_properties", ()))
            secrets += told.get("secrets", 0)
            texts += told.get("texts", 0)
            if "took_ms" in told:
                row, language = report.nodeid.partition("[")[2].rstrip("]").rsplit("-", 1)
                deadline = f"{row}, deadline {told['deadline_ms']} ms"
                times[deadline].append(f"{language} {told['took_ms']}")
    if times:
        terminalreporter.section("calls that ran into their deadline (measured, not judged)")
        for row, took in sorted(times.items()):
            terminalreporter.line(f"{row}: {'  '.join(sorted(took))}")
    terminalreporter.line(f"{secrets} secrets were looked for in {texts} texts and records")
