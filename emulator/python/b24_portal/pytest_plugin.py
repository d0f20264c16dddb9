"""The pytest plugin, found by its entry point: the fixture ``b24_portal``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from ._portal import Portal

# More than a renewal of b24-messageservice takes.
RENEWAL_SECONDS = 45


@pytest.fixture(scope="session")
def _b24_portal_process() -> Iterator[Portal]:
    """The session's one emulator."""
    with Portal() as portal:
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
