"""The suite's portal: the emulator as users get it, found in the build directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["b24_messageservice.testing"]

ROOT = Path(__file__).parents[3]


def pytest_configure() -> None:
    """Names the emulator for the fixtures. Unlike a user's suite, this one cannot do without."""
    if "B24_PORTAL_BIN" in os.environ:
        return
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    for profile in ("release", "debug"):
        program = target / profile / "b24-portal"
        if program.exists():
            os.environ["B24_PORTAL_BIN"] = str(program)
            return
    raise pytest.UsageError("the emulator is not built: cargo build -p b24-portal")
