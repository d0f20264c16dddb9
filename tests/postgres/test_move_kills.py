"""Moves that are killed while others report, send and renew tokens, until one comes to its end."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from b24_messageservice import InvalidConfig, Provider, StorageError
from b24_portal import Portal
from database import Database
from pg_server import Server
from test_move import CODE, MEMBER, Mover

# So many times in each test; 100 with B24_MOVE_KILLS=100.
KILLS = int(os.environ.get("B24_MOVE_KILLS", "6"))
SEED = int(os.environ.get("B24_MOVE_SEED", "5"))
BEFORE = 3000


class Reporter(threading.Thread):
    """Reports to the old store until that was moved, and then to the new one."""

    def __init__(self, old: dict[str, object], new: dict[str, object]) -> None:
        super().__init__()
        self.options = [old, new]
        self.acknowledged: list[str] = []
        self.in_new = threading.Event()
        self.ended = threading.Event()
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            for options in self.options:
                self.report_to(options)
        except BaseException as fault:
            self.fault = fault
            raise

    def report_to(self, options: dict[str, object]) -> None:
        is_new = options is self.options[1]
        with self.opened(options) as provider:
            while not (is_new and self.ended.is_set()):
                message = f"while-{len(self.acknowledged)}"
                try:
                    provider.report(MEMBER, CODE, message, "delivered")
                except StorageError as error:
                    if not error.retryable:
                        raise
                    if "was moved to another store" in str(error):
                        return
                else:
                    self.acknowledged.append(message)
                    if is_new:
                        self.in_new.set()

    def opened(self, options: dict[str, object]) -> Provider:
        while True:
            try:
                return Provider(**options)  # type: ignore[arg-type]
            except InvalidConfig as error:
                # It is opened when the move has come to its end.
                if "is being filled from another store" not in str(error):
                    raise
            except StorageError:
                # The server is killed.
                pass
            time.sleep(0.01)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that is killed."""
    server = Server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("killed", ["mover", "both"])
def test_killed_moves_lose_nothing(
    portal: Portal, server: Server, database: Database, tmp_path: Path, killed: str
) -> None:
    chance = random.Random(SEED)
    mover = Mover(portal, database, tmp_path)
    options = portal.provider_options(store=f"sqlite:{tmp_path}/b24.db", rate_limit="off")
    with Provider(**options) as old:
        posted = portal.install()
        old.receive(posted["content_type"], posted["body"])
        rows = [(MEMBER, CODE, f"before-{number}", "sent") for number in range(BEFORE)]
        assert not any(old.report_many(rows))
        reporter = Reporter(options, {**options, "store": database.store})
        reporter.start()
        kills = 0
        longest = 0.1
        try:
            while True:
                began = time.monotonic()
                process = mover.start()
                if kills < KILLS:
                    # Sent while it is moved, with tokens that were renewed meanwhile.
                    portal.set(expired=True)
                    try:
                        old.drain(0.001)
                    except StorageError as error:
                        if not error.retryable:
                            raise
                    wait = chance.uniform(0, 1.3 * longest) - (time.monotonic() - began)
                    time.sleep(max(wait, 0))
                    if process.poll() is None:
                        process.kill()
                        kills += 1
                    if killed == "both":
                        server.ask("kill")
                        server.ask("start")
                        kills += 1
                _, err = process.communicate(timeout=60)
                if process.returncode == 0:
                    break
                longest = min(longest * 1.3, 1.0)
                # Nobody is sent away who can go on.
                assert process.returncode in (-9, 8), err
                assert kills
            assert reporter.in_new.wait(60)
        finally:
            reporter.ended.set()
            mover.end()
            reporter.join(60)
        assert reporter.fault is None
    there = mover.receipts()
    wanted = {f"before-{number}" for number in range(BEFORE)} | set(reporter.acknowledged)
    print(f"{kills} kills, {len(wanted)} receipts acknowledged")
    assert wanted - there.keys() == set()
    with pytest.raises(InvalidConfig, match="was moved to"):
        Provider(**options)
    portal.set(expired=True)
    with Provider(**{**options, "store": database.store}) as provider:
        while provider.drain(5).waiting:
            pass
        assert [row.state for row in provider.inspect()] == ["active"]
    assert portal.messages().keys() == {f"{CODE}|{message}" for message in wanted}
