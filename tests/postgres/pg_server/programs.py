"""A server program: started, awaited, stopped, and ended with this process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path

from .directory import Directory

# More than any of them takes on a machine that is busy.
SECONDS = 60
# Where Debian keeps the programs of the server, which are not in PATH.
DEBIAN = "/usr/lib/postgresql"
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def find(program: str) -> str:
    """The path of a program; the newest of PostgreSQL's."""
    versions = sorted(Path(DEBIAN).glob("*/bin"), key=lambda path: version(path.parent.name))
    places = [*map(str, reversed(versions)), os.environ.get("PATH", os.defpath), "/usr/sbin"]
    if found := shutil.which(program, path=os.pathsep.join(places)):
        return found
    raise RuntimeError(f"there is no program {program}: `make setup` installs it")


def version(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdigit())


def end_with_parent(how: signal.Signals) -> None:
    """Of a program that has just been started: it gets a signal when this process is killed."""
    LIBC.prctl(PR_SET_PDEATHSIG, how)


class Program:
    """A program that listens on a port of its own."""

    def __init__(
        self,
        name: str,
        directory: Directory,
        ready: str,
        orphaned: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        # What ends it when this process is killed. PostgreSQL frees its shared memory at SIGQUIT.
        self.orphaned = orphaned
        self.directory = directory
        self.ready = ready
        self.port = unused_port()
        self.command: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self.reader: threading.Thread | None = None
        self.is_ready = threading.Event()
        self.last_lines: deque[str] = deque(maxlen=20)

    def start(self) -> None:
        """Starts it if it does not run, and waits until it says that it is ready."""
        if self.process and self.process.poll() is None:
            return
        self.is_ready.clear()
        self.process = subprocess.Popen(
            self.command,
            cwd=self.directory.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            preexec_fn=partial(end_with_parent, self.orphaned),
            # Signals for all of PostgreSQL's processes.
            start_new_session=True,
            **self.directory.user,
        )
        self.reader = threading.Thread(target=self._read, args=[self.process], daemon=True)
        self.reader.start()
        if not self.is_ready.wait(SECONDS) or self.process.poll() is not None:
            raise RuntimeError(f"{self.name} did not start:\n" + "\n".join(self.last_lines))

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self.last_lines.append(line.rstrip("\n"))
                if self.ready in line:
                    self.is_ready.set()
        process.wait()
        # Nobody waits for what has ended.
        self.is_ready.set()

    def stop(self, how: signal.Signals) -> None:
        """Asks it to end, and waits until it has."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
        self.wait()

    def kill(self) -> None:
        """Kills it with all its processes."""
        self.signal_all(signal.SIGKILL)
        self.wait()

    def processes(self) -> list[int]:
        """All its processes: each of PostgreSQL's has a session of its own, not a group of all."""
        if self.process is None or self.process.poll() is not None:
            return []
        return [self.process.pid, *children(self.process.pid)]

    def signal_all(self, number: signal.Signals) -> None:
        """Sends a signal to all its processes."""
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def freeze(self) -> None:
        """Stops all its processes where they are, and waits until they stand still.

        The first is the one that starts others."""
        self.signal_all(signal.SIGSTOP)
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                # Of one that was started in between.
                os.kill(process, signal.SIGSTOP)
            while state(process) not in ("T", "Z", ""):
                time.sleep(0.001)

    def wait(self) -> None:
        if self.process:
            self.process.wait(timeout=SECONDS)
        if self.reader:
            self.reader.join(timeout=SECONDS)


def state(process: int) -> str:
    """The state of a process as a letter, T if it is stopped; empty if it has ended."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    path = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(process) for process in path.read_text().split()]


def unused_port() -> int:
    """A port that nobody listens on. Somebody may before this is used, which is very unlikely."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])
