"""``update`` and ``batch``."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from b24_portal import Portal
from program import MEMBER, Shell, ended, variables


def test_update_reaches_the_portal(direct: Shell, portal: Portal) -> None:
    done = direct("update", "provider1", "m1", "Delivered")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert portal.messages() == {"provider1|m1": "delivered"}


def test_update_with_the_tokens_of_the_store(installed: Shell, portal: Portal) -> None:
    done = installed("update", "provider1", "m1", "sent", "--member-id", MEMBER)
    assert done.code == 0, done
    assert portal.messages() == {"provider1|m1": "sent"}


CSV = 'message_id,code,status\nm1,provider1,sent\n"m,2",provider1,delivered\nm3,provider1,lost\n'


def test_batch_of_csv(direct: Shell, portal: Portal) -> None:
    done = direct("batch", text=CSV)
    assert (done.code, done.out) == (1, "2 applied, 1 failed\n")
    assert done.err.startswith("line 4: provider1 m3 lost: INVALID_ARGUMENT: status")
    assert portal.messages() == {"provider1|m1": "sent", "provider1|m,2": "delivered"}
    assert portal.seen()["batches"] == 1


def test_batch_of_a_file_of_json(direct: Shell, portal: Portal, tmp_path: Path) -> None:
    rows = [{"code": "provider1", "message_id": number, "status": "sent"} for number in range(1, 4)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "nonsense\n")
    done = direct("batch", file, "--json")
    assert done.code == 1
    failed, counts = done.lines()
    assert counts == {"done": 3, "failed": 1}
    assert failed["line"] == 4
    assert failed["error"]["kind"] == "INVALID_ARGUMENT"
    assert len(portal.messages()) == 3
    assert direct("batch", file, "--format", "csv").code == 2


def test_rows_are_sent_while_more_come(direct: Shell, portal: Portal) -> None:
    with direct.start("batch", "--format", "json") as process:
        assert process.stdin is not None
        for number in range(1, 4):
            row = {"code": "provider1", "message_id": f"m{number}", "status": "sent"}
            process.stdin.write(json.dumps(row) + "\n")
            process.stdin.flush()
            portal.wait(requests=number)
        done = ended(process)
    assert (done.code, done.out) == (0, "3 applied, 0 failed\n")


def test_batch_into_the_store_waits_for_a_drain(installed: Shell, portal: Portal) -> None:
    for words in (["--member-id", MEMBER], []):
        column = "" if words else f",{MEMBER}"
        head = "code,message_id,status,at" + ("" if words else ",member_id")
        given = [f"provider1,m{n},sent,2026-01-31T12:00:00+01:00{column}" for n in range(1, 102)]
        done = installed("batch", *words, text="\n".join([head, *given]))
        assert (done.code, done.out) == (0, "101 stored, 0 failed\n"), done
        assert portal.messages() == {}
    seen = installed("inspect", "--json").json()
    assert seen["totals"]["waiting"] == 101
    assert seen["totals"]["oldest_seconds"] >= 0
    # A status that came about earlier than another of its rank does not replace it.
    rows = f"code,message_id,status,at,member_id\nprovider1,m1,failed,1000,{MEMBER}\n"
    rows += f"provider1,m1,delivered,2000,{MEMBER}\nprovider1,m1,failed,1999,{MEMBER}\n"
    assert installed("batch", text=rows).code == 0
    drained = installed("drain", "--seconds", "2", "--json").json()
    assert drained == {"sent": 101, "refused": 0, "held": 0, "waiting": 0, "next_due_seconds": None}
    assert len(portal.messages()) == 101
    assert portal.messages()["provider1|m1"] == "delivered"


def test_rows_with_and_without_a_portal_do_not_mix(installed: Shell, portal: Portal) -> None:
    rows = [
        {"code": "provider1", "message_id": "m1", "status": "sent", "member_id": MEMBER},
        {"code": "provider1", "message_id": "m2", "status": "sent"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    done = installed("batch", "--format", "json", text=text)
    assert (done.code, done.out) == (1, "1 stored, 1 failed\n")
    assert "line 2: provider1 m2 sent: INVALID_ARGUMENT: it has no member_id" in done.err
    text = "".join(json.dumps(row) + "\n" for row in reversed(rows))
    environment = variables(portal.renewable())
    done = installed("batch", "--format", "json", text=text, env=environment)
    assert (done.code, done.out) == (1, "1 applied, 1 failed\n"), done
    assert "line 2: provider1 m1 sent: INVALID_ARGUMENT: it has a member_id" in done.err


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no column code"),
        ("code,message_id\n", "no column status"),
        ("code,message_id,status,colour\n", '"colour" is not known'),
        ("code,message_id,status,code\n", '"code" occurs twice'),
    ],
)
def test_columns_that_are_wrong_are_refused(
    direct: Shell, portal: Portal, text: str, what: str
) -> None:
    done = direct("batch", text=text)
    assert done.code == 2
    assert what in done.err
    assert portal.seen()["requests"] == 0


def test_a_quotation_mark_that_is_not_closed_is_told(direct: Shell, portal: Portal) -> None:
    """All that follows would be one row, and all of it in the memory."""
    begin = 'code,message_id,status\nprovider1,m1,sent\nprovider1,m2,"sent\n'
    done = direct("batch", text=begin + "provider1,m3,sent\n" * 70_000)
    assert done.code == 2
    assert "row that begins in line 3" in done.err
    assert len(done.err) < 500
    assert portal.messages() == {"provider1|m1": "sent"}


def test_a_row_does_not_go_on_in_the_next_line(direct: Shell, portal: Portal) -> None:
    """The rows that the mark swallows would count as one that failed."""
    begin = 'code,message_id,status\nprovider1,m1,sent\nprovider1,m2,"sent\n'
    for end in ("provider1,m3,sent\n", 'provider1,m3,"sent"\nprovider1,m4,sent\n'):
        done = direct("batch", text=begin + end)
        assert done.code == 2
        assert "row that begins in line 3 of - goes on in the next one" in done.err
    assert portal.messages() == {"provider1|m1": "sent"}


def test_a_batch_stops_when_nothing_can_get_through(direct: Shell, portal: Portal) -> None:
    rows = "".join(f"provider1,m{number},sent\n" for number in range(1, 1401))
    wrong = {"B24_ACCESS_TOKEN": "another"}
    done = direct("batch", "--json", text="code,message_id,status\n" + rows, env=wrong)
    assert done.code == 5
    stopped, counts = done.lines()
    assert stopped["stopped_at_line"] == 2
    assert stopped["error"]["kind"] == "AUTH"
    assert counts == {"done": 0, "failed": 0}
    # What follows is not even tried.
    assert portal.seen()["requests"] <= 10
    assert "stopped: nothing from line 2 on was applied" in done.err


def test_a_row_with_a_fault_does_not_hide_that_nothing_can_get_through(
    direct: Shell, portal: Portal
) -> None:
    """With the code of rows that will never be accepted, the good ones would be thrown away."""
    rows = "provider1,m1,sentt\nprovider1,m2,sent\nprovider1,m3,sentt\nprovider1,m4,sent\n"
    wrong = {"B24_ACCESS_TOKEN": "another"}
    done = direct("batch", "--json", text="code,message_id,status\n" + rows, env=wrong)
    assert done.code == 5
    failed, stopped, counts = done.lines()
    assert (failed["line"], failed["error"]["kind"]) == (2, "INVALID_ARGUMENT")
    assert (stopped["stopped_at_line"], stopped["error"]["kind"]) == (3, "AUTH")
    assert counts == {"done": 0, "failed": 1}
    assert portal.messages() == {}


def test_a_signal_says_where_to_go_on(direct: Shell, portal: Portal) -> None:
    """Somebody who starts it again must not send everything once more, and leave nothing out."""
    portal.set(latency_ms=500)
    text = "code,message_id,status\n" + "".join(f"provider1,m{n},sent\n" for n in range(2000))
    with direct.start("batch", "--json") as process:
        assert process.stdin is not None
        process.stdin.write(text)
        process.stdin.close()
        process.stdin = None
        # The first was answered.
        portal.wait(requests=2)
        process.send_signal(signal.SIGINT)
        done = ended(process)
    assert done.code == 130
    *failed, stopped, counts = done.lines()
    assert {row["error"]["kind"] for row in failed} == {"CANCELLED"}
    assert stopped == {"stopped_at_line": failed[-1]["line"] + 1, "error": None}
    assert counts["done"] >= 50
    assert counts["done"] + counts["failed"] == stopped["stopped_at_line"] - 2
    assert f"stopped: nothing from line {stopped['stopped_at_line']} on was applied" in done.err


def test_rows_that_a_limit_keeps_back_are_sent_later(direct: Shell, portal: Portal) -> None:
    # Six requests take longer than one call may.
    rows = "".join(f"provider1,m{number},sent\n" for number in range(1, 301))
    done = direct(
        "batch", "--rate-limit", "1/2", "--timeout-ms", "1000", "--max-retries", "0",
        text="code,message_id,status\n" + rows,
    )  # fmt: skip
    assert (done.code, done.out) == (0, "300 applied, 0 failed\n"), done
    assert len(portal.messages()) == 300
