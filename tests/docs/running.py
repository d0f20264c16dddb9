"""Runs the programs that pages show."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
RUN_LIMIT_S = 120
BUILD_LIMIT_S = 900
C_WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Werror"]
C_COMPILERS = {"c": ["cc", "-std=c99"], "cpp": ["c++", "-std=c++17"]}
#: What a program in C is linked with, after its sources.
C_LIBRARY = [f"-L{TARGET / 'c/lib'}", f"-Wl,-rpath,{TARGET / 'c/lib'}", "-lb24_messageservice"]


def run(command: list[str | Path], limit: float = RUN_LIMIT_S, **options: Any) -> str:
    """Gives what the command has printed. If it fails, so does the test."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=limit,
        check=False,
        **options,
    )
    if done.returncode != 0:
        pytest.fail(f"exit code {done.returncode}: {done.stdout[-3000:]}", pytrace=False)
    return done.stdout


def build_crate(crate: Path, name: str) -> None:
    """Builds a crate that uses the library. Its sources are there."""
    (crate / "Cargo.toml").write_text(
        f'[package]\nname = "{name}"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n'
        f'[dependencies]\nb24-messageservice = {{ path = "{ROOT}" }}\n'
    )
    (crate / "Cargo.lock").write_bytes((ROOT / "Cargo.lock").read_bytes())
    command: list[str | Path] = ["cargo", "build", "--quiet", "--offline", "--target-dir", TARGET]
    run(command, BUILD_LIMIT_S, cwd=crate)


def php_environment() -> dict[str, str]:
    return {"B24_MESSAGESERVICE_LIB": f"{TARGET}/release/libb24_messageservice.so", **os.environ}


def shell_environment(options: dict[str, Any]) -> dict[str, str]:
    """In which the program for a shell is found, and has these options."""
    given = {
        f"B24_{name.upper()}": ",".join(value) if isinstance(value, list) else str(value)
        for name, value in options.items()
    }
    return {**os.environ, "PATH": f"{TARGET}/debug:{os.environ['PATH']}", **given}
