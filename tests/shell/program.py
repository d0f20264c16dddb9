"""The program ``b24-messageservice`` as users start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAM = TARGET / "debug/b24-messageservice"
MEMBER = "a223c6b3710f85df22e9377d6c4f7553"
# Much longer than anything takes: a program that hangs is to be seen as one.
PATIENCE = 60


@dataclass(frozen=True)
class Done:
    """What a run of the program left."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """Each line of the output, which is JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


class Shell:
    """Starts the program with options in the environment."""

    def __init__(self, directory: Path, options: Mapping[str, Any]) -> None:
        self.directory = directory
        self.program: list[str] = [str(PROGRAM)]
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("B24_")
        }
        self.environment.update(variables(options))

    def start(self, *words: Any, **arguments: Any) -> subprocess.Popen[str]:
        environment = {**self.environment, **arguments.pop("env", {})}
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(
            [*self.program, *map(str, words)],
            env={name: value for name, value in environment.items() if value is not None},
            cwd=self.directory,
            text=True,
            encoding="utf-8",
            **{**streams, **arguments},
        )

    def __call__(self, *words: Any, text: str = "", **arguments: Any) -> Done:
        with self.start(*words, **arguments) as process:
            return ended(process, text)


def variables(options: Mapping[str, Any]) -> dict[str, str]:
    """The environment that gives these options."""
    return {
        f"B24_{name.upper()}": ",".join(value) if isinstance(value, list) else str(value)
        for name, value in options.items()
    }


def ended(process: subprocess.Popen[str], text: str | None = None) -> Done:
    """Waits for the end of a program that was started."""
    try:
        out, err = process.communicate(text, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        raise
    return Done(process.returncode, out or "", err or "")
