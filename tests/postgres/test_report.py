"""`b24_report`, by which a host reports a receipt in a transaction of its own in PostgreSQL."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
from b24_messageservice import CallTimeout, InvalidArgument, Provider, Status, StorageError
from b24_portal import Portal
from database import Database

MEMBER = "a223c6b3710f85df22e9377d6c4f7553"
CODE = "provider1"
REPORT = "SELECT b24_report(%s, %s, %s, %s)"
REPORT_AT = "SELECT b24_report(%s, %s, %s, %s, %s)"


def drained(provider: Provider) -> int:
    """How many receipts were sent until none is due."""
    sent = 0
    while (round_ := provider.drain(0.3)).sent:
        sent += round_.sent
    return sent


def statuses(portal: Portal) -> dict[str, str]:
    """The status of each message at the portal, by its id."""
    return {name.removeprefix(f"{CODE}|"): status for name, status in portal.messages().items()}


@pytest.mark.parametrize("bouncer", [False, True], ids=["direct", "pgbouncer"])
def test_a_transaction_that_is_rolled_back_reports_nothing(
    provider: Provider, portal: Portal, database: Database, bouncer: bool
) -> None:
    with database.connect(bouncer) as host:
        host.execute(REPORT, [MEMBER, CODE, "m1", "delivered"])
        host.rollback()
        assert drained(provider) == 0
        host.execute(REPORT, [MEMBER, CODE, "m2", "sent"])
        host.commit()
    assert drained(provider) == 1
    assert statuses(portal) == {"m2": "sent"}


def test_it_is_part_of_the_hosts_transaction(
    provider: Provider, portal: Portal, database: Database
) -> None:
    with database.connect() as host:
        host.execute("CREATE TABLE messages (id TEXT PRIMARY KEY, status TEXT NOT NULL)")
        host.execute("INSERT INTO messages VALUES ('m1', 'queued')")
        host.commit()
        # What fails after it takes it away, too.
        host.execute(REPORT, [MEMBER, CODE, "m1", "delivered"])
        with pytest.raises(psycopg.errors.NotNullViolation):
            host.execute("UPDATE messages SET status = NULL")
        host.rollback()
        assert drained(provider) == 0
        with host.transaction():
            host.execute("UPDATE messages SET status = 'delivered'")
            host.execute(REPORT, [MEMBER, CODE, "m1", "delivered"])
        # And a savepoint alone.
        with host.transaction():
            with host.transaction(force_rollback=True):
                host.execute(REPORT, [MEMBER, CODE, "m2", "failed"])
            host.execute(REPORT, [MEMBER, CODE, "m2", "sent"])
    assert drained(provider) == 2
    assert statuses(portal) == {"m1": "delivered", "m2": "sent"}


@pytest.mark.parametrize("bouncer", [False, True], ids=["direct", "pgbouncer"])
@pytest.mark.parametrize("before", ["off", "local", "on", "remote_apply"])
def test_it_is_durable_whatever_the_session_says(
    provider: Provider, database: Database, before: str, bouncer: bool
) -> None:
    with database.connect(bouncer) as host:
        host.execute(f"SET synchronous_commit = '{before}'")
        host.commit()
        if bouncer:
            # Another transaction may have another connection to the server.
            host.execute(f"SET LOCAL synchronous_commit = '{before}'")
        host.execute(REPORT, [MEMBER, CODE, "m1", "delivered"])
        during = host.execute("SHOW synchronous_commit").fetchone()
        host.commit()
        after = host.execute("SHOW synchronous_commit").fetchone()
    assert during is not None
    assert during[0] in {"off": ("on",), "local": ("on",)}.get(before, (before, "on"))
    if not bouncer:
        assert after == (before,)


def test_a_host_with_another_search_path(
    provider: Provider, portal: Portal, database: Database
) -> None:
    with database.connect(options="-c search_path=pg_catalog") as host:
        host.execute(f"SELECT {database.role}.b24_report(%s, %s, 'm1', 'sent')", [MEMBER, CODE])
    # Tables of the same names that somebody has put before them.
    with database.connect() as host:
        host.execute("CREATE TEMPORARY TABLE b24_receipt (status TEXT)")
        host.execute("CREATE TEMPORARY TABLE b24_lane (status TEXT)")
        host.execute(REPORT, [MEMBER, CODE, "m2", "sent"])
    assert drained(provider) == 2
    assert statuses(portal) == {"m1": "sent", "m2": "sent"}


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_sees_what_was_loses_nothing(
    provider: Provider, portal: Portal, database: Database, level: str
) -> None:
    """For it the portal's lane is awake still, which has gone to sleep meanwhile."""
    provider.report(MEMBER, CODE, "m1", "sent")
    with database.connect() as host:
        host.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        host.execute("SELECT count(*) FROM b24_receipt")
        assert drained(provider) == 1
        with pytest.raises(psycopg.errors.SerializationFailure):
            host.execute(REPORT, [MEMBER, CODE, "m2", "delivered"])
        host.rollback()
        # As its host does it again, and while the lane is awake.
        for message_id in ("m2", "m3"):
            host.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            host.execute(REPORT, [MEMBER, CODE, message_id, "delivered"])
            host.commit()
    assert drained(provider) == 2
    assert statuses(portal) == {"m1": "sent", "m2": "delivered", "m3": "delivered"}


def test_it_does_not_keep_drains_from_a_portal_that_is_awake(
    provider: Provider, database: Database
) -> None:
    provider.report(MEMBER, CODE, "m1", "sent")
    with database.connect() as host:
        host.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        host.execute(REPORT, [MEMBER, CODE, "m2", "delivered"])
        assert drained(provider) == 1
        host.commit()
    # The lane stays awake, for a look at it in half a second.
    assert provider.drain(3).sent == 1


WRONG = {
    "status": (MEMBER, CODE, "m1", "read"),
    "empty-status": (MEMBER, CODE, "m1", ""),
    "no-status": (MEMBER, CODE, "m1", None),
    "empty-member": ("", CODE, "m1", "sent"),
    "long-member": ("0" * 65, CODE, "m1", "sent"),
    "member-with-a-space": ("a b", CODE, "m1", "sent"),
    "no-member": (None, CODE, "m1", "sent"),
    "empty-code": (MEMBER, "", "m1", "sent"),
    "code-with-a-line": (MEMBER, "a\nb", "m1", "sent"),
    "no-code": (MEMBER, None, "m1", "sent"),
    "code-0": (MEMBER, "0", "m1", "sent"),
    "code-of-letters-that-are-not-ascii": (MEMBER, "\u00e4", "m1", "sent"),
    "empty-message": (MEMBER, CODE, "", "sent"),
    "message-with-a-line": (MEMBER, CODE, "a\nb", "sent"),
    "message-0": (MEMBER, CODE, "0", "sent"),
    "long-message": (MEMBER, CODE, "m" * 129, "sent"),
    "message-with-a-control-character": (MEMBER, CODE, "a\u0085b", "sent"),
    "no-message": (MEMBER, CODE, None, "sent"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_the_library_refuses_is_refused(
    provider: Provider, database: Database, wrong: tuple[str, str, str, str]
) -> None:
    with pytest.raises((InvalidArgument, TypeError)):
        provider.report(*wrong)
    with database.connect() as host, pytest.raises(psycopg.Error) as raised:
        host.execute(REPORT, wrong)
    # By the function itself, not by a constraint that it ran into.
    assert raised.value.diag.sqlstate in ("22023", "22004", "P0001")
    assert drained(provider) == 0


@pytest.mark.parametrize("drained_between", [False, True], ids=["waiting", "sent-already"])
def test_ranks_are_those_of_the_library(
    provider: Provider, portal: Portal, database: Database, drained_between: bool
) -> None:
    """Every pair of statuses, the second one earlier, at the same time and later."""
    now = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(minutes=5)
    seconds = (-60, 0, 60)
    cases = list(enumerate(itertools.product(Status, Status, seconds)))
    with database.connect(autocommit=True) as host:
        for turn in (0, 1):
            for number, (*pair, later) in cases:
                status = pair[turn]
                at = now + timedelta(seconds=later * turn)
                host.execute(REPORT_AT, [MEMBER, CODE, f"sql{number}", str(status), at])
                provider.report(MEMBER, CODE, f"library{number}", status, at)
            if drained_between or turn:
                drained(provider)
    seen, history = statuses(portal), portal.history()
    assert len(seen) == 2 * len(cases)
    for number, case in cases:
        both = [f"{CODE}|{by}{number}" for by in ("sql", "library")]
        assert history[both[0]] == history[both[1]], case
    # Some are replaced and some are not, or nothing was compared.
    assert {len(received) for received in history.values()} == ({1, 2} if drained_between else {1})
    assert set(seen.values()) == {str(status) for status in Status}


def test_what_the_library_takes_is_taken(
    provider: Provider, portal: Portal, database: Database
) -> None:
    """Letters of both cases in a status, and ids of 128 characters of any language."""
    ids = ("ü" * 128, "a b|c%d&e=f", "😀", "'; DROP TABLE b24_receipt; --")
    with database.connect(autocommit=True) as host:
        for message_id in ids:
            host.execute(REPORT, [MEMBER, "a.b_c-1", message_id, "Delivered"])
    assert drained(provider) == len(ids)
    assert portal.messages() == {f"a.b_c-1|{message_id}": "delivered" for message_id in ids}


def test_a_time_in_the_future_is_now(
    provider: Provider, portal: Portal, database: Database
) -> None:
    """As it is by the library: a wrong clock of an operator stops no later receipt."""
    with database.connect(autocommit=True) as host:
        future = datetime.now(timezone.utc) + timedelta(days=1)
        host.execute(REPORT_AT, [MEMBER, CODE, "m1", "failed", future])
        host.execute(REPORT, [MEMBER, CODE, "m1", "delivered"])
        host.execute(
            REPORT_AT,
            [MEMBER, CODE, "m1", "undelivered", datetime.min.replace(tzinfo=timezone.utc)],
        )
    assert drained(provider) == 1
    assert statuses(portal) == {"m1": "delivered"}


def test_a_time_is_never_ahead_of_the_clock(
    provider: Provider, portal: Portal, database: Database
) -> None:
    """Parts of a millisecond are cut off, as the library does it: what is reported without a time
    is not later than what comes after it with one."""
    millisecond = timedelta(milliseconds=1)
    second = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(minutes=5)
    with database.connect(autocommit=True) as host:
        at = second + 0.7 * millisecond
        host.execute(REPORT_AT, [MEMBER, CODE, "m1", "delivered", at])
        provider.report(MEMBER, CODE, "m1", Status.FAILED, second + 0.9 * millisecond)
        for number in range(100):
            host.execute(REPORT, [MEMBER, "clock", f"m{number}", "delivered"])
            seen = host.execute(
                "SELECT happened_at <= extract(epoch FROM clock_timestamp()) * 1000"
                " FROM b24_receipt WHERE code = 'clock' AND message_id = %s",
                [f"m{number}"],
            )
            assert seen.fetchall() == [(True,)]
    assert drained(provider) == 101
    assert portal.messages()[f"{CODE}|m1"] == "failed"


def test_an_open_transaction_delays_no_other_portal(portal: Portal, database: Database) -> None:
    """What is reported for the same portal meanwhile waits for it, at most to the deadline."""
    portal.reset(portals=1)
    other = f"{1:032x}"
    options = portal.provider_options(store=database.store, rate_limit="off", workers=1, timeout=2)
    with Provider(**options) as provider, database.connect() as host:
        for order in ({}, {"host": "p1.bitrix24.test"}):
            posted = portal.install(**order)
            member = provider.receive(posted["content_type"], posted["body"]).member_id
            provider.report(member, CODE, "m1", "sent")
        assert drained(provider) == 2
        # Now it has the row of the portal's lane, which sleeps.
        host.execute(REPORT, [MEMBER, CODE, "m2", "delivered"])
        provider.report(other, CODE, "m3", "sent")
        assert drained(provider) == 1
        with pytest.raises((CallTimeout, StorageError)) as raised:
            provider.report(MEMBER, CODE, "m1", "delivered")
        assert raised.value.retryable
        assert drained(provider) == 0
        host.commit()
        provider.report(MEMBER, CODE, "m1", "delivered")
        assert drained(provider) == 2
    assert statuses(portal) == {"m1": "delivered", "m2": "delivered"}
    assert portal.all_messages()["p1.bitrix24.test"] == {f"{CODE}|m1": "sent", f"{CODE}|m3": "sent"}
