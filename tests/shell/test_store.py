"""``install``, ``inspect``, ``refused`` and ``prune``, and the metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from b24_messageservice import Client, Status
from b24_portal import Portal
from program import MEMBER, Shell

HEAD = "code,message_id,status,member_id\n"


def test_install_from_a_file_with_a_token(shell: Shell, portal: Portal, tmp_path: Path) -> None:
    body = portal.install(as_="oauth")["body"]
    (tmp_path / "auth.json").write_text(body)
    (tmp_path / "token").write_text(portal.tokens()["application_token"] + "\n")
    done = shell("install", tmp_path / "auth.json", "--application-token-file", tmp_path / "token")
    assert (done.code, done.out, done.err) == (0, "", "")
    portals = shell("inspect", "--json").json()["portals"]
    assert [(portal["member_id"], portal["state"]) for portal in portals] == [(MEMBER, "active")]
    assert shell("install", text="nonsense").code == 2
    forged = {**json.loads(body), "access_token": "forged", "refresh_token": "forged"}
    assert shell("install", text=json.dumps(forged)).code == 5


def test_install_moves_a_directory(shell: Shell, portal: Portal, tmp_path: Path) -> None:
    directory = tmp_path / "state"
    options = portal.renewable(state_dir=str(directory))
    portal.set(expired=True)
    with Client(**options) as client:
        client.message_status_update("provider1", "m1", Status.SENT)
    done = shell("install", "--state-dir", directory)
    assert (done.code, done.out) == (0, "1 moved to the store\n"), done
    # It has the address under which the client called the portal.
    environment = {"B24_RESOLVE": ",".join(options["resolve"])}
    words = ["update", "provider1", "m2", "sent", "--member-id", MEMBER]
    assert shell(*words, env=environment).code == 0


def refuse(shell: Shell, portal: Portal, count: int) -> None:
    """Lets a portal refuse receipts for good."""
    rows = "".join(f"provider1,m{number:04},sent,{MEMBER}\n" for number in range(count))
    assert shell("batch", text=HEAD + rows).code == 0
    portal.set(answer={"status": 400, "error": "ERROR_WRONG"})
    done = shell("drain", "--seconds", "3")
    assert done.code == 1, done
    portal.set(answer=None)


def test_refused_receipts_are_listed_and_pruned(installed: Shell, portal: Portal) -> None:
    assert installed("refused").out == ""
    refuse(installed, portal, 5)
    listed = installed("refused", "--json").lines()
    assert [row["message_id"] for row in listed] == [f"m{number:04}" for number in range(5)]
    assert {row["reason"] for row in listed} == {"ERROR_WRONG"}
    part = installed("refused", "--limit", 2, "--after", listed[1]["cursor"]).out.splitlines()
    at, *rest = part[0].split("\t")
    assert at == listed[2]["at"]
    assert rest == [MEMBER, "provider1", "m0002", "sent", "ERROR_WRONG"]
    assert len(part) == 2
    assert installed("refused", "--after", "nonsense").code == 2
    assert installed("prune", "--keep", "1d").code == 0
    assert len(installed("refused").out.splitlines()) == 5
    assert installed("prune", "--keep", "0s").code == 0
    assert installed("refused").out == ""
    for text in ("soon", "30"):
        done = installed("prune", "--keep", text)
        assert done.code == 2
        assert "a whole number and a unit" in done.err
    assert installed("resume", "nobody").code == 2


NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?\d+(?:\.\d+)?)")


def metrics(text: str) -> dict[str, dict[str, float]]:
    """Reads the text format of Prometheus, and refuses whatever it does not have.

    Each metric has one HELP and one TYPE, before its samples, which stand together, and no sample
    comes twice.
    """
    assert text.endswith("\n")
    found: dict[str, dict[str, float]] = {}
    helped: set[str] = set()
    name = ""
    for line in text.splitlines():
        if comment := re.fullmatch(rf"# HELP ({NAME}) [^\n]+", line):
            name = comment[1]
            assert name not in helped
            helped.add(name)
        elif comment := re.fullmatch(rf"# TYPE ({NAME}) gauge", line):
            assert comment[1] == name
            assert name not in found
            found[name] = {}
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] == name
            labels = sample[2] or ""
            assert labels not in found[name]
            found[name][labels] = float(sample[3])
    assert helped == set(found)
    return found


def test_metrics(installed: Shell, portal: Portal) -> None:
    refuse(installed, portal, 3)
    rows = f"provider1,m9,sent,{MEMBER}\n" + 'provider1,m1,sent,"un""known\\portal"\n'
    assert installed("batch", text=HEAD + rows).code == 0
    found = metrics(installed("inspect", "--prometheus").out)
    assert found["b24_portals"]['state="active"'] == 1
    assert found["b24_portals"]['state="unknown"'] == 1
    assert found["b24_receipts_waiting"] == {"": 2}
    assert found["b24_receipts_refused"] == {"": 3}
    assert found["b24_receipts_held"] == {"": 0}
    assert found["b24_receipts_oldest_seconds"][""] >= 0
    assert "" in found["b24_receipts_next_due_seconds"]
    own = [labels for labels in found["b24_portal_receipts_refused"] if MEMBER in labels]
    assert found["b24_portal_receipts_refused"][own[0]] == 3
    assert found["b24_portal_held"][own[0]] == 0
    other = [labels for labels in found["b24_portal_held"] if "known" in labels]
    assert other[0].startswith('member_id="un\\"known\\\\portal"')
    totals = metrics(installed("inspect", "--prometheus", "--totals").out)
    assert not [name for name in totals if name.startswith("b24_portal_")]
    table = installed("inspect").out.splitlines()
    assert len({line.index("  ") > 0 for line in table}) == 1
    assert table[-1].split()[:4] == ["2", "portals", "0", "held"]


@pytest.mark.parametrize("empty", ["inspect", "refused"])
def test_an_empty_store_is_shown(shell: Shell, empty: str) -> None:
    assert shell(empty).code == 0
    found = metrics(shell("inspect", "--prometheus").out)
    assert found["b24_receipts_oldest_seconds"] == {"": 0}
    assert found["b24_receipts_next_due_seconds"] == {}
