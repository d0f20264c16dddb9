"""An emulator, and the program with tokens or with a store."""

from __future__ import annotations

from pathlib import Path

import pytest
from b24_portal import Portal
from program import Shell


@pytest.fixture
def portal(b24_portal: Portal) -> Portal:
    """A short name for it."""
    return b24_portal


@pytest.fixture
def direct(portal: Portal, tmp_path: Path) -> Shell:
    """The program with the tokens of the emulator's portal."""
    return Shell(tmp_path, portal.options())


@pytest.fixture
def shell(portal: Portal, tmp_path: Path) -> Shell:
    """The program with a store that has no installation yet."""
    return Shell(tmp_path, portal.provider_options(store=f"sqlite:{tmp_path}/b24.db"))


@pytest.fixture
def installed(shell: Shell, portal: Portal) -> Shell:
    """The program with a store in which the emulator's portal is installed."""
    done = shell("install", text=portal.install(as_="oauth")["body"])
    assert (done.code, done.err) == (0, ""), done
    return shell
