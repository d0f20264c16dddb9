"""The scenario table in pytest: options, the programs that it needs, and a summary."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runner.platforms import PLATFORMS, ROOT
from runner.play import Running
from runner.stores import Stores, start_server
from runner.table import LANGUAGES, STORES, has_provider, subjects

# Where the server is that the pytest processes share.
SERVER = pytest.StashKey["dict[str, str]"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--valgrind", action="store_true", help="run C's adapter under valgrind")
    parser.addoption(
        "--store",
        choices=STORES,
        default="sqlite",
        help="what the providers of rows have as their store; with another than sqlite, only rows "
        "with a provider are run",
    )
    parser.addoption(
        "--platform",
        choices=PLATFORMS,
        default="native",
        help="where adapters run, with what `tools/platforms/adapters NAME` has built; languages "
        "that cannot be run there are left out",
    )


def pytest_configure(config: pytest.Config) -> None:
    for language in LANGUAGES:
        config.addinivalue_line("markers", f"{language}: rows run in this language")
    for subject in subjects():
        config.addinivalue_line("markers", f"{subject}: rows of {subject}.json")
    config.stash[SERVER] = {}
    if hasattr(config, "workerinput"):
        config.stash[SERVER] = config.workerinput["server"]
    elif config.getoption("store") != "sqlite" and not config.getoption("collectonly"):
        server = start_server()
        config.add_cleanup(server.stop)
        config.stash[SERVER] = server.names


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a process that pytest-xdist starts where the server is."""
    node.workerinput["server"] = node.config.stash[SERVER]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is the same with every store, and languages that a platform has not."""
    languages = PLATFORMS[config.getoption("platform")].programs

    def wanted(item: pytest.Item) -> bool:
        if not isinstance(item, pytest.Function):
            return True
        row, language = item.callspec.params["row"], item.callspec.params["language"]
        # Without a provider, rows are the same with every store.
        return language in languages and (
            config.getoption("store") == "sqlite" or has_provider(row)
        )

    without = [item for item in items if not wanted(item)]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if wanted(item)]


@pytest.fixture(scope="session")
def running(pytestconfig: pytest.Config) -> Iterator[Running]:
    """The emulator and the adapters of this process, of which pytest-xdist may start several."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    stores = Stores(pytestconfig.getoption("store"), pytestconfig.stash[SERVER])
    platform = pytestconfig.getoption("platform")
    running = Running(target, platform, pytestconfig.getoption("valgrind"), stores)
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
