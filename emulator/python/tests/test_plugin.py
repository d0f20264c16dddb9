"""The pytest plugin where the emulator's program is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = "import b24_portal._portal\nb24_portal._portal.PROGRAM = 'no-such-program'\n"
TESTS = """
def test_one(b24_portal):
    pass

def test_two(b24_portal):
    pass

def test_other():
    pass
"""


def run(directory: Path, setting: str) -> subprocess.CompletedProcess[str]:
    (directory / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (directory / "test_it.py").write_text(TESTS, encoding="utf-8")
    (directory / "pytest.ini").write_text(f"[pytest]\n{setting}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True)


@pytest.fixture(autouse=True)
def no_named_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of this repository may name the emulator."""
    monkeypatch.delenv("B24_PORTAL_BIN", raising=False)


def test_without_the_program_tests_fail_and_say_how_to_install_it(tmp_path: Path) -> None:
    ended = run(tmp_path, "")
    assert ended.returncode == 1
    assert "1 passed, 2 errors" in ended.stdout
    assert "the program no-such-program is missing" in ended.stdout
    assert "pip install" in ended.stdout
    assert "b24_portal_missing = skip" in ended.stdout
    # A message, and no trace of the plugin's own code.
    assert "pytest_plugin.py" not in ended.stdout
    assert "another exception" not in ended.stdout


def test_tests_that_are_skipped_are_told_of(tmp_path: Path) -> None:
    ended = run(tmp_path, "b24_portal_missing = skip")
    assert ended.returncode == 0
    assert "1 passed, 2 skipped" in ended.stdout
    assert "b24_portal: not tested" in ended.stdout
    assert "2 skipped: the program no-such-program is missing" in ended.stdout


def test_another_setting_is_refused(tmp_path: Path) -> None:
    ended = run(tmp_path, "b24_portal_missing = ignore")
    assert ended.returncode == 4
    assert "b24_portal_missing is 'ignore'; it takes fail or skip" in ended.stderr
