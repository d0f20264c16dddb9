"""The platforms of a release: the page follows from what was noted, and others are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT

PLATFORMS = ROOT / "tools" / "platforms"
sys.path += [str(PLATFORMS), str(ROOT / "tests" / "scenarios")]

import matrix  # noqa: E402
from runner import platforms as runner  # noqa: E402


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )


def test_the_page_is_up_to_date() -> None:
    done = run(sys.executable, "tools/platforms/matrix.py", "--check")
    assert done.returncode == 0, done.stderr
    text = matrix.PAGE.read_text(encoding="utf-8")
    for name in matrix.platforms():
        assert f"\n| {name} | " in text, f"docs/platforms.md does not name {name}"


def test_what_was_noted_is_of_this_table() -> None:
    """A row that has been added since is not a fault; a platform or a language that went is."""
    for platform, things in matrix.read().items():
        assert platform in matrix.platforms()
        assert set(things) <= set(matrix.THINGS)


def test_the_scenarios_know_only_platforms_of_the_table() -> None:
    names = {name.removesuffix("-static") for name in runner.PLATFORMS}
    assert names - {"native"} <= set(matrix.platforms())


@pytest.mark.parametrize("name", ["windows-arm64", "linux-riscv64", "", "linux"])
def test_a_platform_that_nothing_is_made_for(name: str) -> None:
    for words in (
        ["tools/dist", "--platform", name],
        ["tools/platforms/cargo", name, "build"],
        ["tools/platforms/adapters", name],
        ["tools/platforms/test", name],
    ):
        done = run(*words)
        assert done.returncode == 2, words
        assert f"there is no platform {name}: a release is for linux-x86_64 " in done.stderr


def test_a_platform_that_nothing_here_runs() -> None:
    done = run("tools/platforms/adapters", "macos-arm64")
    assert done.returncode == 2
    assert "nothing here runs programs of macos-arm64" in done.stderr


@pytest.mark.parametrize("target", ["x86_64-unknown-freebsd", "x86_64-pc-windows-msvc"])
def test_an_installation_for_a_target_that_is_not_known(target: str, tmp_path: Path) -> None:
    done = run("make", "install", f"CARGO_BUILD_TARGET={target}", f"DESTDIR={tmp_path}")
    assert done.returncode != 0
    assert f"nothing is known of the names of libraries for {target}" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_library_that_needs_a_newer_glibc() -> None:
    program = os.path.realpath(sys.executable)
    done = run("tools/platforms/glibc", "2.2.5", program)
    assert done.returncode == 1
    assert f"{program} needs GLIBC_2" in done.stderr
    assert run("tools/platforms/glibc", "99.0", program).returncode == 0
    done = run("tools/platforms/glibc", "2.17", __file__)
    assert done.returncode == 1
