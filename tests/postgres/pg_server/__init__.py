"""Real PostgreSQL servers for tests, each with pgbouncer before it, in a temporary directory.

`Server.start()` starts one by `python -m pg_server`, a process that ends them and removes their
directory when this one ends, however it does. See ../README.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["Server"]

# More than starting one takes on a machine that is busy.
ANSWER_SECONDS = 120


class Server:
    """A running server, and where it is: `names` has what `python -m pg_server` says of it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.names: dict[str, str] = self.hear()

    @classmethod
    def start(cls, *options: str) -> Server:
        """Starts one, with options of `python -m pg_server`."""
        return cls(
            subprocess.Popen(
                [sys.executable, "-m", "pg_server", *options],
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def ask(self, command: str) -> None:
        """Does what `python -m pg_server` calls so, and waits until it is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        self.hear()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline() or '{"error": "it has ended"}')
        if "error" in answer:
            raise RuntimeError(f"the PostgreSQL server for the tests: {answer['error']}")
        return answer

    def stop(self) -> None:
        """Stops it, and removes its directory."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=ANSWER_SECONDS)
        self.process.stdout.close()
