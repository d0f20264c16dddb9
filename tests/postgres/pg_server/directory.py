"""The temporary directory of a server, and the user that it runs as."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

# PostgreSQL and pgbouncer refuse to run as root.
INSTEAD_OF_ROOT = ("postgres", "nobody")


class Directory:
    """The directory. It is removed at the end."""

    def __init__(self) -> None:
        self.user: dict[str, Any] = {}
        # A short path: one of a socket has at most 107 bytes.
        self.path = Path(tempfile.mkdtemp(prefix="b24-pg-"))
        if os.geteuid() == 0:
            entry = known_user()
            self.user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(self.path, entry.pw_uid, entry.pw_gid)

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def write(self, name: str, text: str) -> None:
        """Writes a file that only the server's user may read."""
        path = self.path / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        if self.user:
            os.chown(path, self.user["user"], self.user["group"])

    def append(self, name: str, text: str) -> None:
        path = self.path / name
        self.write(name, path.read_text(encoding="utf-8") + text)

    def run(self, *command: str) -> None:
        """Runs a program as the server's user."""
        done = subprocess.run(
            command,
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **self.user,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed: {done.stdout}")


def known_user() -> pwd.struct_passwd:
    """The first of the users that there is."""
    for name in INSTEAD_OF_ROOT:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError(f"there is no user {' or '.join(INSTEAD_OF_ROOT)} to run PostgreSQL as")
