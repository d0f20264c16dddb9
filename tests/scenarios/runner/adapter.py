"""The process of an adapter: it is sent lines of JSON, and everything that it shows is kept."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from typing import IO, Any

from .leaks import Leaks
from .platforms import ROOT
from .table import Json

# More than any row may take: an adapter without output for this long hangs.
ANSWER_SECONDS = 60

# Records come through another pipe than answers. How long to wait for them.
RECORD_SECONDS = 5


class Broken(Exception):
    """An adapter does not work."""


class Adapter:
    """One process. Everything that it shows is kept until `take_shown`."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.shown: list[str] = []
        self.leaks = Leaks()
        self.told = threading.Condition()
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=ROOT,
            )
        except OSError as error:
            raise Broken(
                f"{error}: `make adapters` builds those of this machine, "
                "`tools/platforms/adapters NAME` those of a platform"
            ) from None
        self.answers: queue.Queue[bytes | None] = queue.Queue()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.readers = [
            threading.Thread(target=self._read_answers, args=[self.process.stdout], daemon=True),
            threading.Thread(target=self._read_records, args=[self.process.stderr], daemon=True),
        ]
        for reader in self.readers:
            reader.start()

    def _read_answers(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self.answers.put(line)
        self.answers.put(None)

    def _read_records(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                with self.told:
                    self.shown.append(line.decode("utf-8", "replace").rstrip("\n"))
                    self.told.notify_all()

    def has_recorded(self, texts: list[str]) -> bool:
        """Whether there is a log record with all these texts, or one comes soon."""

        def found() -> bool:
            return any(all(text in shown for text in texts) for shown in self.shown)

        with self.told:
            return self.told.wait_for(found, timeout=RECORD_SECONDS)

    def take_shown(self) -> list[str]:
        """What was shown since the last call of this."""
        with self.told:
            taken, self.shown = self.shown, []
        return taken

    def say(self, *words: Any) -> None:
        """Sends one line."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(words).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Broken(self.last_words()) from None

    def hear(self) -> Any:
        """Waits for one answer."""
        try:
            line = self.answers.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            self.process.kill()
            raise Broken(f"the adapter did not answer within {ANSWER_SECONDS} s") from None
        if line is None:
            raise Broken(self.last_words())
        return json.loads(line)

    def limit(self, step: Json) -> None:
        """Tells the limits of the next call, if it has any."""
        if step.keys() & {"timeout_ms", "cancel_by"}:
            self.ask("limit", step.get("timeout_ms"), step.get("cancel_by") == "token")

    def ask(self, *words: Any) -> Any:
        """Sends one line, and returns its answer."""
        self.say(*words)
        answer = self.hear()
        if words[0] != "tokens":  # it may show what it is asked for
            self.show(answer)
        return answer

    def show(self, answer: Any) -> None:
        """Keeps an answer with the other things that were shown."""
        with self.told:
            self.shown.append(" ".join(texts(answer)))

    def last_words(self) -> str:
        code = self.end()
        last = "\n    ".join(self.shown[-5:])
        return f"the adapter ended with status {code}; its last words were\n    {last}"

    def close(self) -> None:
        """Ends the process, whose exit code must be 0: it has valgrind's findings."""
        if self.end() != 0:
            raise Broken(self.last_words())

    def inherit(self, former: Adapter) -> None:
        """Takes over what a process that has ended was given and has shown."""
        with self.told:
            self.shown = former.take_shown() + self.shown
        self.leaks = former.leaks

    def kill(self) -> None:
        """Ends a process whose state is not known."""
        self.process.kill()
        self.end()

    def end(self) -> int:
        """Waits until the process has ended and its output is read. Returns its exit code."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it may have ended with a line unread
            self.process.stdin.close()
        code = self.process.wait(timeout=ANSWER_SECONDS)
        for reader in self.readers:
            reader.join(timeout=5)
        # A reader closes its stream. One may go on here: wine's services, which outlive the first
        # adapter and serve the others, keep the output that they were given.
        return code


def texts(value: Any) -> Iterator[str]:
    """All texts in an answer, as they were before they became JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
