"""The program, ``python -m b24_messageservice`` and PHP's ``vendor/bin/b24`` are the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from b24_portal import Portal
from program import MEMBER, PROGRAM, ROOT, Done, Shell, ended

PHP = str(ROOT / "bindings/php/bin/b24")
WAYS = {
    "program": [str(PROGRAM)],
    "python": [sys.executable, "-m", "b24_messageservice"],
    "python-script": [str(Path(sys.executable).with_name("b24-messageservice"))],
    "php": ["php", PHP],
    "php-without-pcntl": ["php", "-d", "disable_functions=pcntl_exec", PHP],
}
TEXT = "code,message_id,status\nprovider1,m1,delivered\nprovider1,Grüße,sent\nprovider1,m3,lost\n"
# Only the name of the file differs, in which the library is looked for.
BESIDE = {"B24_MESSAGESERVICE_LIB": str(PROGRAM.with_name("libb24_messageservice.so"))}


def run(shell: Shell, way: Sequence[str], *words: object, text: str = "") -> Done:
    shell.program = list(way)
    return shell(*words, text=text, env=BESIDE)


def test_they_give_the_same(installed: Shell, direct: Shell, portal: Portal) -> None:
    runs = [
        (direct, ["batch"], TEXT),
        (direct, ["batch", "--json"], TEXT),
        (direct, ["update", "provider1", "m 1", "sent"], ""),
        (direct, ["update", "provider1"], ""),
        (direct, ["update", "a", "b", "sent", "--timeout-ms", "Grüße"], ""),
        (direct, ["sender", "list", "--json"], ""),
        (installed, ["resume", MEMBER], ""),
        (installed, ["--help"], ""),
        (installed, ["drain", "--help"], ""),
        (installed, ["--version"], ""),
        (installed, [], ""),
    ]
    for shell, words, text in runs:
        outcomes = {name: run(shell, way, *words, text=text) for name, way in WAYS.items()}
        for name, done in outcomes.items():
            assert done == outcomes["program"], (name, words)
    # The first is the exit code of what failed for good, so the program ran.
    assert run(direct, WAYS["python"], "batch", text=TEXT).code == 1


@pytest.mark.parametrize("way", WAYS)
def test_the_log_is_the_same(installed: Shell, way: str) -> None:
    done = run(installed, WAYS[way], "drain", "--seconds", "1", "-vv")
    assert (done.code, done.out) == (0, "0 sent, 0 refused, 0 held, 0 waiting\n")
    assert "WARN" not in done.err


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", WAYS)
def test_signals_end_a_drain(
    installed: Shell, portal: Portal, way: str, which: signal.Signals
) -> None:
    text = "code,message_id,status\nprovider1,m1,sent\n"
    assert installed("batch", "--member-id", MEMBER, text=text).code == 0
    before = portal.seen()["requests"]
    installed.program = WAYS[way]
    with installed.start("drain", "--forever", env=BESIDE) as process:
        portal.wait(requests=before + 1)
        process.send_signal(which)
        done = ended(process)
    assert (done.code, done.err) == (0, "")


def test_php_says_where_the_program_belongs(tmp_path: Path) -> None:
    php = subprocess.run(["sh", "-c", "command -v php"], capture_output=True, text=True, check=True)
    environment = {"B24_MESSAGESERVICE_LIB": str(tmp_path / "lib.so"), "PATH": str(tmp_path)}
    done = subprocess.run(
        [php.stdout.strip(), PHP, "inspect"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 127
    assert "bin/b24 install-library installs both" in done.stderr
    program = tmp_path / "b24-messageservice"
    program.write_text('#!/bin/sh\n/bin/echo "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        [php.stdout.strip(), PHP, "one two", "--three"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "one two --three\n")
