"""Moves of a store from SQLite that stand still, are killed and are started again."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from b24_messageservice import InvalidConfig, Provider, StorageError
from b24_portal import Portal
from database import Database

MEMBER = "a223c6b3710f85df22e9377d6c4f7553"
CODE = "provider1"
ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# More than are copied at a time.
COUNT = 5000


@pytest.fixture
def old(portal: Portal, tmp_path: Path) -> Iterator[Provider]:
    """A provider whose store is to be moved."""
    options = portal.provider_options(store=f"sqlite:{tmp_path}/b24.db", rate_limit="off")
    with Provider(**options) as provider:
        posted = portal.install()
        provider.receive(posted["content_type"], posted["body"])
        yield provider


class Mover:
    """Starts the command ``move``."""

    def __init__(self, portal: Portal, database: Database, directory: Path) -> None:
        self.database = database
        options = portal.provider_options(store=f"sqlite:{directory}/b24.db")
        options["resolve"] = ",".join(options["resolve"])
        self.environment = {f"B24_{name.upper()}": str(options[name]) for name in options}
        self.to = directory / "to"
        self.to.write_text(database.store)
        self.started: list[subprocess.Popen[str]] = []

    def start(self, command: str = "move") -> subprocess.Popen[str]:
        to = ["--to-file", str(self.to)] if command == "move" else []
        process = subprocess.Popen(
            [str(TARGET / "debug/b24-messageservice"), command, *to],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Ends what a test that failed has left."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def __call__(self, command: str = "move") -> None:
        with self.start(command) as process:
            out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, ""), out

    def start_and_stop(self) -> subprocess.Popen[str]:
        """Starts it, and stops it in the middle of a transaction that copies receipts."""
        process = self.start()
        administrator = self.database.server.names["pg_administrator"]
        with self.database.connect(user=administrator, autocommit=True) as connection:
            while process.poll() is None:
                process.send_signal(signal.SIGSTOP)
                # What it has sent is done first.
                while "active" in (states := self.states(connection)):
                    pass
                if "idle in transaction" in states and self.receipts():
                    return process
                process.send_signal(signal.SIGCONT)
                time.sleep(0.001)
        raise AssertionError(process.communicate())

    def states(self, connection: psycopg.Connection) -> list[str]:
        """What its connections do, of those that have last had to do with receipts."""
        rows = connection.execute(
            "SELECT state FROM pg_stat_activity WHERE usename = %s AND query LIKE %s",
            [self.database.role, "INSERT INTO b24_receipt %"],
        )
        return [state for (state,) in rows.fetchall()]

    def wait_for_lock(self, statement: str) -> None:
        """Waits until it waits for a lock that somebody has."""
        administrator = self.database.server.names["pg_administrator"]
        with self.database.connect(user=administrator, autocommit=True) as connection:
            while not connection.execute(
                """SELECT 1 FROM pg_stat_activity
                   WHERE usename = %s AND query LIKE %s AND wait_event_type = 'Lock'""",
                [self.database.role, f"{statement}%"],
            ).fetchall():
                assert self.started[-1].poll() is None

    def receipts(self) -> dict[str, int]:
        """The status of each receipt in the new store."""
        with self.database.connect() as connection:
            try:
                rows = connection.execute("SELECT message_id, status FROM b24_receipt")
            except psycopg.errors.UndefinedTable:
                return {}
            return dict(rows.fetchall())


@pytest.fixture
def move(portal: Portal, database: Database, tmp_path: Path) -> Iterator[Mover]:
    mover = Mover(portal, database, tmp_path)
    yield mover
    mover.end()


def report(provider: Provider, status: str) -> None:
    rows = [(MEMBER, CODE, f"m{number:05}", status) for number in range(COUNT)]
    assert not any(provider.report_many(rows))


def replace_all(provider: Provider, portal: Portal) -> None:
    """Lets all receipts be given up and removes them. A new one is all that there is."""
    portal.set(answer={"status": 400, "error": "ERROR_WRONG"})
    while provider.drain(5).waiting:
        pass
    portal.set(answer=None)
    provider.prune(0)
    provider.report(MEMBER, CODE, "new", "delivered")


def test_a_move_that_stood_still_does_nothing_after_another(old: Provider, move: Mover) -> None:
    """What it had read is older than what the other one has moved."""
    report(old, "sent")
    with move.start_and_stop() as first:
        report(old, "delivered")
        move()
        moved = move.receipts()
        assert set(moved.values()) == {2}
        assert len(moved) == COUNT
        first.send_signal(signal.SIGCONT)
        first.communicate(timeout=60)
        # Wherever it stood: it finds the old store moved, or the new one filled by another.
        assert first.returncode in (4, 8)
    assert move.receipts() == moved


def test_what_an_interrupted_move_has_left_is_not_moved(
    old: Provider, move: Mover, portal: Portal
) -> None:
    """It was in the old store, and is not any more."""
    report(old, "sent")
    with move.start_and_stop() as first:
        first.kill()
    assert move.receipts()
    replace_all(old, portal)
    move()
    assert move.receipts() == {"new": 2}


def test_what_is_pruned_during_a_move_is_not_moved(
    old: Provider, move: Mover, portal: Portal
) -> None:
    """It would be sent once more from the new store."""
    report(old, "sent")
    with move.start_and_stop() as moving:
        assert move.receipts()
        replace_all(old, portal)
        moving.send_signal(signal.SIGCONT)
        out, err = moving.communicate(timeout=60)
        assert (moving.returncode, err) == (0, "")
    assert out == "1 installations and 1 receipts moved\n"
    assert move.receipts() == {"new": 2}


def test_a_key_that_is_missing_is_told_before(move: Mover, portal: Portal, tmp_path: Path) -> None:
    """Tokens of some portals could not be opened in the new store."""
    keys = tmp_path / "keys"
    move.environment["B24_STORE_KEY_FILE"] = str(keys)
    store = f"sqlite:{tmp_path}/b24.db"
    lines = [f"k{number} {number:064}\n" for number in (1, 2)]

    def set_keys(*lines: str) -> None:
        keys.touch(0o600)
        keys.write_text("".join(lines))

    portal.set(portals=2)
    for number, host in enumerate(["p1.bitrix24.test", "p2.bitrix24.test"]):
        set_keys(*lines[number::-1])
        with Provider(**portal.provider_options(store=store, store_key_file=str(keys))) as provider:
            posted = portal.install(host=host)
            provider.receive(posted["content_type"], posted["body"])
    for line in lines:
        set_keys(line)
        with move.start() as moving:
            out, err = moving.communicate(timeout=60)
        assert moving.returncode == 3, (out, err)
        assert "store_key_file of the new store" in err
    assert not move.receipts()
    set_keys(*lines)
    move()


@pytest.mark.parametrize("days", [-5, 5])
def test_a_clock_that_was_wrong_loses_nothing(
    move: Mover, portal: Portal, tmp_path: Path, days: int
) -> None:
    """By the new store's clock receipts would be too old to be sent, or not due for days."""
    # Another process makes it: no two copies of SQLite are to have a file open in one.
    move("inspect")
    with sqlite3.connect(tmp_path / "b24.db") as store:
        (clock,) = store.execute("SELECT value FROM b24_meta WHERE name = 'clock'").fetchone()
        boot, offset = clock.rsplit(" ", 1)
        clock = f"{boot} {int(offset) + days * 86_400_000}"
        store.execute("UPDATE b24_meta SET value = ? WHERE name = 'clock'", [clock])
    store.close()
    options = portal.provider_options(store=f"sqlite:{tmp_path}/b24.db")
    with Provider(**options) as provider:
        posted = portal.install()
        provider.receive(posted["content_type"], posted["body"])
        provider.report(MEMBER, CODE, "m1", "delivered")
    move()
    with Provider(**{**options, "store": move.database.store}) as provider:
        assert provider.drain(3).sent == 1
    assert portal.messages() == {f"{CODE}|m1": "delivered"}


def test_a_program_that_was_started_too_early_stores_nothing(
    old: Provider, move: Mover, portal: Portal
) -> None:
    """The end of the move would remove what is not in the old store."""
    report(old, "sent")
    options = portal.provider_options(store=move.database.store, rate_limit="off")
    with Provider(**options) as early:
        moving = move.start_and_stop()
        with pytest.raises(StorageError, match="is being filled from another one") as failed:
            early.report(MEMBER, CODE, "early", "delivered")
        assert failed.value.retryable
        moving.send_signal(signal.SIGCONT)
        out, err = moving.communicate(timeout=60)
        assert (moving.returncode, err) == (0, "")
        early.report(MEMBER, CODE, "early", "delivered")
        assert move.receipts().pop("early") == 2
        assert out == f"1 installations and {COUNT} receipts moved\n"
        while early.drain(5).waiting:
            pass
    assert len(portal.messages()) == COUNT + 1


def test_a_store_in_use_is_not_filled(old: Provider, move: Mover, portal: Portal) -> None:
    """It goes on as if nothing had been tried."""
    options = portal.provider_options(store=move.database.store)
    with Provider(**options) as other:
        other.report(MEMBER, CODE, "there", "sent")
        with move.start() as moving:
            _, err = moving.communicate(timeout=60)
        assert moving.returncode == 8
        assert "is in use: move to an empty one" in err
        other.report(MEMBER, CODE, "there", "delivered")
    assert move.receipts() == {"there": 2}
    old.report(MEMBER, CODE, "here", "delivered")


def test_a_row_that_becomes_what_it_was_is_moved_so(
    old: Provider, move: Mover, tmp_path: Path
) -> None:
    """A portal that was held for a moment would be for good."""

    def set_lane(values: str) -> None:
        # Another process: no two copies of SQLite are to have a file open in one.
        program = (
            "import sqlite3, sys; store = sqlite3.connect(sys.argv[1]); "
            "store.execute(sys.argv[2]); store.commit()"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "b24.db")]
        subprocess.run([*command, f"UPDATE b24_lane SET {values}"], check=True)

    report(old, "sent")
    administrator = move.database.server.names["pg_administrator"]
    lock = f"LOCK TABLE {move.database.role}.b24_%s IN SHARE MODE"
    with (
        move.database.connect(user=administrator) as lanes,
        move.database.connect(user=administrator) as receipts,
    ):
        moving = move.start_and_stop()
        lanes.execute(lock % "lane")
        moving.send_signal(signal.SIGCONT)
        move.wait_for_lock("INSERT INTO b24_lane")
        set_lane("held = 1, reason = 'for a moment'")
        # So many that there is another round.
        report(old, "delivered")
        receipts.execute(lock % "receipt")
        lanes.commit()
        move.wait_for_lock("INSERT INTO b24_receipt")
        lanes.execute(lock % "lane")
        receipts.commit()
        move.wait_for_lock("INSERT INTO b24_lane")
        set_lane("held = 0, reason = NULL")
        lanes.commit()
        out, err = moving.communicate(timeout=60)
        assert (moving.returncode, err) == (0, ""), out
    with move.database.connect() as connection:
        rows = connection.execute("SELECT held, reason FROM b24_lane").fetchall()
    assert rows == [(0, None)]


def test_what_was_kept_for_long_does_not_depend_on_the_last_moment(
    old: Provider, move: Mover, portal: Portal
) -> None:
    """With ``durability=process`` a server that fails loses it: all that was just moved."""
    options = portal.provider_options(store=move.database.store)
    with Provider(**options):
        pass
    with move.database.connect() as connection:
        connection.execute(
            """CREATE TABLE at_commit (setting TEXT);
               CREATE FUNCTION note_setting() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   INSERT INTO at_commit VALUES (current_setting('synchronous_commit'));
                   RETURN NULL;
               END $$;
               CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON b24_installation
                   DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_setting()"""
        )
    old.report(MEMBER, CODE, "m1", "sent")
    move.environment["B24_DURABILITY"] = "process"
    move()
    with move.database.connect() as connection:
        rows = connection.execute("SELECT setting FROM at_commit").fetchall()
    assert rows == [("on",)]


def test_a_wrong_client_id_leaves_the_new_store_as_it_was(old: Provider, move: Mover) -> None:
    """It would be the other application's, and could not be filled."""
    old.report(MEMBER, CODE, "m1", "sent")
    right = move.environment["B24_CLIENT_ID"]
    move.environment["B24_CLIENT_ID"] = "app.0123456789abcd.12345678"
    with move.start() as moving:
        _, err = moving.communicate(timeout=60)
    assert moving.returncode == 3, err
    assert "belongs to another application (client_id)" in err
    move.environment["B24_CLIENT_ID"] = right
    move()
    assert move.receipts() == {"m1": 1}


def test_an_old_store_that_is_not_there_is_not_made(move: Mover, tmp_path: Path) -> None:
    """A wrong path would be a move of nothing, which succeeds."""
    move.environment["B24_STORE"] = f"sqlite:{tmp_path}/b42.db"
    with move.start() as moving:
        _, err = moving.communicate(timeout=60)
    assert moving.returncode == 3, err
    assert f"there is no file {tmp_path}/b42.db" in err
    assert not (tmp_path / "b42.db").exists()


@pytest.mark.parametrize("statement", ["DELETE FROM b24_delivery", "DROP FUNCTION"])
def test_a_move_that_is_killed_in_its_last_round_is_started_again(
    old: Provider, move: Mover, portal: Portal, statement: str
) -> None:
    """At its first statement nobody can write to the old store; at the last that is closed."""
    report(old, "sent")
    options = portal.provider_options(store=f"sqlite:{move.to.parent}/b24.db", rate_limit="off")
    is_closed = statement == "DROP FUNCTION"
    administrator = move.database.server.names["pg_administrator"]
    table, mode = ("lane", "ACCESS SHARE") if is_closed else ("delivery", "SHARE")
    with move.database.connect(user=administrator) as locks:
        moving = move.start_and_stop()
        locks.execute(f"LOCK TABLE {move.database.role}.b24_{table} IN {mode} MODE")
        moving.send_signal(signal.SIGCONT)
        move.wait_for_lock(statement)
        moving.kill()
        moving.communicate()
    with pytest.raises(InvalidConfig, match="is being filled from another store"):
        Provider(**{**options, "store": move.database.store})
    if is_closed:
        with pytest.raises(StorageError, match="was moved to another store"):
            old.report(MEMBER, CODE, "after", "sent")
        with pytest.raises(InvalidConfig, match="was moved to"):
            Provider(**options)
    else:
        old.report(MEMBER, CODE, "after", "sent")
    with move.start() as again:
        out, err = again.communicate(timeout=60)
    assert (again.returncode, err) == (0, "")
    moved = COUNT if is_closed else COUNT + 1
    assert out == f"1 installations and {moved} receipts moved\n"
    assert len(move.receipts()) == moved
    with Provider(**{**options, "store": move.database.store}) as new:
        while new.drain(5).waiting:
            pass
    assert len(portal.messages()) == moved
