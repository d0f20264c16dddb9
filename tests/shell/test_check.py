"""``check``: each point, well and not."""

from __future__ import annotations

from pathlib import Path

import pytest
from b24_portal import Portal
from program import MEMBER, Done, Shell, variables

WAY = ["dns", "tcp", "tls", "http", "clock"]


def points(done: Done) -> dict[str, tuple[str, str]]:
    """Outcome and text of each point of a check with ``--json``."""
    return {point["point"]: (point["outcome"], point["text"]) for point in done.lines()}


def failed(done: Done) -> dict[str, str]:
    return {name: text for name, (outcome, text) in points(done).items() if outcome == "failed"}


@pytest.fixture(autouse=True)
def with_time(portal: Portal) -> None:
    portal.set(date_ahead_s=0)


def test_all_is_well(direct: Shell, portal: Portal) -> None:
    direct.environment.update(variables(portal.renewable()))
    assert (
        direct("sender", "add", "provider1", "--name", "One", "--handler", "https://h.test/").code
        == 0
    )
    done = direct("check", "--json", "--sender", "provider1")
    assert done.code == 0, done
    expected = [*(f"portal {step}" for step in WAY), *(f"oauth {step}" for step in WAY)]
    assert sorted(points(done)) == sorted(["options", *expected, "token", "scope", "sender"])
    assert {outcome for outcome, _ in points(done).values()} == {"ok"}
    shown = direct("check")
    assert shown.code == 0
    assert shown.out.splitlines()[0] == "ok       options       they are complete"


def test_all_is_well_with_a_store(installed: Shell, portal: Portal, tmp_path: Path) -> None:
    done = installed("check", "--json")
    assert done.code == 0, done
    assert points(done)["token"][0] == "skipped"
    words = ["--name", "One", "--handler", "https://h.test/", "--member-id", MEMBER]
    assert installed("sender", "add", "provider1", *words).code == 0
    done = installed("check", "--json", "--member-id", MEMBER)
    assert (done.code, points(done)["sender"]) == (0, ("ok", "provider1")), done


@pytest.mark.parametrize(
    ("variable", "value", "point", "text"),
    [
        ("B24_PORTAL", None, "options", "portal is missing"),
        ("B24_TIMEOUT_MS", "soon", "options", "(from B24_TIMEOUT_MS)"),
        ("B24_RESOLVE", None, "portal dns", "check the name"),
        ("B24_RESOLVE", "*:443:127.0.0.1:1", "portal tcp", "check the network"),
        ("B24_CA_FILE", None, "portal tls", "name its root in ca_file"),
        ("B24_ACCESS_TOKEN", "another", "token", "AUTH"),
    ],
)
def test_what_is_wrong_is_named(
    direct: Shell, variable: str, value: str | None, point: str, text: str
) -> None:
    done = direct("check", "--json", env={variable: value})
    assert done.code == 1
    found = failed(done)
    assert list(found) == [point], done
    assert text in found[point]
    assert "another" not in done.out


def test_a_clock_that_is_wrong_is_seen(direct: Shell, portal: Portal) -> None:
    for ahead, which in ((3600, "behind"), (-3600, "ahead of")):
        portal.set(date_ahead_s=ahead, senders=["provider1"])
        done = direct("check", "--json")
        found = failed(done)
        assert "portal clock" in found, done
        assert f"s {which} the server's" in found["portal clock"]


def test_a_scope_that_is_missing_and_a_sender_that_is_not_there(
    direct: Shell, portal: Portal
) -> None:
    assert "none is registered" in failed(direct("check", "--json"))["sender"]
    found = failed(direct("check", "--json", "--sender", "provider1"))
    assert found["sender"] == "provider1 is not registered: register it with sender add"
    portal.fault("error", at="sender.list", error="insufficient_scope", status=403)
    assert "ACCESS_DENIED" in failed(direct("check", "--json"))["scope"]


def test_a_store_that_cannot_be_used(shell: Shell, tmp_path: Path) -> None:
    done = shell("check", "--json", env={"B24_STORE": f"sqlite:{tmp_path}/missing/b24.db"})
    assert (done.code, list(failed(done))) == (1, ["store"])
    keys = tmp_path / "keys"
    keys.write_text("nonsense\n")
    keys.chmod(0o600)
    done = shell("check", "--json", env={"B24_STORE_KEY_FILE": str(keys)})
    assert (done.code, list(failed(done))) == (1, ["keys"]), done


def test_a_portal_that_is_held(installed: Shell, portal: Portal) -> None:
    text = "code,message_id,status\nprovider1,m1,sent\n"
    assert installed("batch", "--member-id", MEMBER, text=text).code == 0
    portal.set(answer={"status": 402, "error": "PAYMENT_REQUIRED"})
    assert installed("drain", "--seconds", "1").code == 0
    found = failed(installed("check", "--json"))
    assert list(found) == ["portals"]
    assert f"1 held, such as {MEMBER}: PAYMENT_REQUIRED" in found["portals"]
    assert installed("resume", MEMBER).code == 0
    portal.set(answer=None)
    assert installed("check").code == 0
    assert installed("drain", "--seconds", "1").out.startswith("1 sent")
