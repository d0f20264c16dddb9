"""The suite's portal: the emulator as users get it."""

from __future__ import annotations

import pytest
from b24_portal import Portal


@pytest.fixture
def portal(b24_portal: Portal) -> Portal:
    """A short name for it."""
    return b24_portal
