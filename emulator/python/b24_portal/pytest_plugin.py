"""The pytest plugin, found by its entry point: the fixture ``b24_portal``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from ._portal import Portal, ProgramMissing

# More than a renewal of b24-messageservice takes.
RENEWAL_SECONDS = 45

SETTING = "b24_portal_missing"
REASON = "b24_portal: "


def pytest_addoption(parser: pytest.Parser) -> None:
    """What happens to tests on machines for which there is no emulator."""
    about = "what becomes of a test if the emulator's program is missing: fail (default) or skip"
    parser.addini(SETTING, about, default="fail")


def pytest_configure(config: pytest.Config) -> None:
    """Refuses another value, which would be taken for the default."""
    if config.getini(SETTING) not in ("fail", "skip"):
        raise pytest.UsageError(f"{SETTING} is {config.getini(SETTING)!r}; it takes fail or skip")


@pytest.fixture(scope="session")
def _b24_portal_process(pytestconfig: pytest.Config) -> Iterator[Portal]:
    """The session's one emulator."""
    try:
        portal = Portal()
    except ProgramMissing as missing:
        if pytestconfig.getini(SETTING) == "skip":
            pytest.skip(f"{REASON}{missing}")
        advice = f"{REASON}{missing}. To skip these tests, set {SETTING} = skip"
        raise pytest.fail.Exception(advice, pytrace=False) from None
    with portal:
        yield portal


@pytest.fixture
def b24_portal(_b24_portal_process: Portal) -> Iterator[Portal]:
    """A Bitrix24 portal, reset for each test."""
    portal = _b24_portal_process
    portal.reset()
    yield portal
    # A renewal that the test has left under way must end before the next test counts requests. The
    # reset makes its token unknown, which ends it.
    portal.reset()
    library = sys.modules.get("b24_messageservice")
    if library is not None:
        library.renewals_wait(RENEWAL_SECONDS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was not tested, which pytest itself shows as a letter only."""
    reasons = [
        report.longrepr[2].partition(REASON)[2]
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and REASON in report.longrepr[2]
    ]
    if reasons:
        terminalreporter.section("b24_portal: not tested", yellow=True, bold=True)
        terminalreporter.write_line(f"{len(reasons)} skipped: {reasons[0]}", yellow=True)
