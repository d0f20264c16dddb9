"""The examples of a provider under a real php-fpm and nginx, and their drain, as cron starts it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from b24_portal import Portal
from web import PACKAGE, WORKERS, environment, fetch, web_server

OPERATOR = {"X-Operator-Token": "operator-token-1"}
MESSAGES = 50


@pytest.fixture
def variables(b24_portal: Portal, tmp_path: Path) -> dict[str, str]:
    """What web requests and drains take their settings from."""
    options = b24_portal.provider_options(store=f"sqlite:{tmp_path}/b24.db")
    return {
        **environment(options),
        "B24_HANDLER": "https://provider.example.com/handler",
        "B24_OPERATOR_TOKEN": OPERATOR["X-Operator-Token"],
    }


def drain(variables: Mapping[str, str], seconds: float = 1) -> dict[str, int]:
    """Does what cron does, and gives the counts that it printed."""
    done = subprocess.run(
        ["php", PACKAGE / "examples/drain.php", str(seconds)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return {name: int(count) for name, count in re.findall(r"(\w+) (\d+)", done.stdout)}


def receipt(base: str, **form: str) -> tuple[int, str]:
    return fetch(f"{base}/receipt", form, OPERATOR)


def test_the_whole_way_of_a_message(
    b24_portal: Portal, ini: dict[str, str], variables: dict[str, str]
) -> None:
    with web_server(ini, variables) as base:
        to = f"{base}/handler"
        # Nothing is known of the portal yet.
        assert b24_portal.message(to=to)["reply"]["status"] == 403
        installed = b24_portal.install(to=to)
        assert (installed["reply"]["status"], installed["reply"]["body"]) == (200, "installed\n")
        assert b24_portal.senders()["provider1"]["handler"] == variables["B24_HANDLER"]

        message = b24_portal.message(to=to)
        assert (message["reply"]["status"], message["reply"]["body"]) == (200, "accepted\n")
        name = f"id-of-{message['message_id']}"
        # Out of order, and twice.
        assert receipt(base, id=name, stat="DELIVRD") == (200, "stored\n")
        assert receipt(base, id=name, stat="ACCEPTD") == (200, "stored\n")
        assert receipt(base, id=name, stat="DELIVRD") == (200, "stored\n")
        assert b24_portal.messages() == {}
    assert drain(variables) == {"sent": 1, "refused": 0, "held": 0, "waiting": 0}
    assert b24_portal.messages() == {f"provider1|{message['message_id']}": "delivered"}
    assert drain(variables) == {"sent": 0, "refused": 0, "held": 0, "waiting": 0}
    assert b24_portal.seen()["bad"] == []


def test_the_page_of_the_installation_wizard_installs(
    b24_portal: Portal, preloaded: dict[str, str], variables: dict[str, str]
) -> None:
    with web_server(preloaded, variables) as base:
        to = f"{base}/handler"
        # Any user may open the application, and that installs nothing.
        opened = b24_portal.install(to=to, as_="frame", pair="user")
        assert opened["reply"]["status"] == 200
        assert b24_portal.message(to=to)["reply"]["status"] == 403
        wizard = b24_portal.install(to=f"{to}?page=install", as_="frame")
        assert wizard["reply"]["status"] == 200, wizard
        assert "installFinish" in wizard["reply"]["body"]
        assert b24_portal.message(to=to)["reply"]["status"] == 200


def test_what_is_not_the_portals_or_the_operators_is_refused(
    b24_portal: Portal, preloaded: dict[str, str], variables: dict[str, str]
) -> None:
    with web_server(preloaded, variables) as base:
        to = f"{base}/handler"
        b24_portal.install(to=to)
        assert b24_portal.message(to=to, forge="token")["reply"]["status"] == 403
        assert b24_portal.message(to=to, forge="token_empty")["reply"]["status"] == 403
        assert b24_portal.message(to=to, forge="json_text")["reply"]["status"] == 400
        assert fetch(f"{base}/receipt", {"id": "x", "stat": "DELIVRD"})[0] == 403
        status, text = receipt(base, id="x", stat="LOST")
        assert (status, "LOST" in text) == (400, True)
        assert receipt(base, stat="DELIVRD")[0] == 400
    assert b24_portal.messages() == {}


def test_a_store_that_cannot_be_used_makes_them_come_later(
    b24_portal: Portal, preloaded: dict[str, str], variables: dict[str, str]
) -> None:
    variables["B24_STORE"] = "sqlite:/nowhere/b24.db"
    with web_server(preloaded, variables) as base:
        assert b24_portal.install(to=f"{base}/handler")["reply"]["status"] == 503
        assert receipt(base, id="x", stat="DELIVRD") == (503, "come back later\n")


def test_nothing_is_lost_between_the_workers_of_a_pool(
    b24_portal: Portal, ini: dict[str, str], variables: dict[str, str]
) -> None:
    """50 messages and their receipts over 4 workers, while two drains send."""
    with web_server(ini, variables) as base, ThreadPoolExecutor(2 * WORKERS) as clients:
        to = f"{base}/handler"
        assert b24_portal.install(to=to)["reply"]["status"] == 200
        drains = [clients.submit(drain, variables, 5) for _ in range(2)]

        def one(_: int) -> str:
            message = b24_portal.message(to=to)
            assert message["reply"]["status"] == 200, message
            number: str = message["message_id"]
            assert receipt(base, id=f"id-of-{number}", stat="ACCEPTD")[0] == 200
            assert receipt(base, id=f"id-of-{number}", stat="DELIVRD")[0] == 200
            return number

        numbers = list(clients.map(one, range(MESSAGES)))
        counts = [drained.result() for drained in drains]
    last = drain(variables)
    assert (last["refused"], last["held"], last["waiting"]) == (0, 0, 0)
    assert b24_portal.messages() == {f"provider1|{number}": "delivered" for number in numbers}
    seen = b24_portal.seen()
    assert (seen["bad"], seen["renewals"]) == ([], 0)
    print(f"{MESSAGES} receipts: {counts} and then {last}, {seen['batches']} batches")


def test_a_drain_ends_at_sigterm(b24_portal: Portal, variables: dict[str, str]) -> None:
    """It was to send for ten minutes."""
    variables = {**os.environ, **variables}
    code = (
        f"require '{PACKAGE}/examples/provider.php'; $posted = json_decode($argv[1]);"
        "$installed = provider()->receive($posted->content_type, $posted->body);"
        "provider()->report($installed->memberId, 'provider1', 'm1', 'sent');"
    )
    posted = json.dumps(b24_portal.install())
    subprocess.run(["php", "-r", code, "--", posted], env=variables, check=True)
    before = b24_portal.seen()["requests"]
    with subprocess.Popen(
        ["php", PACKAGE / "examples/drain.php", "600"],
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        b24_portal.wait(before + 1, timeout=30)
        running.terminate()
        output, _ = running.communicate(timeout=60)
    assert (running.returncode, output) == (0, "sent 1, refused 0, held 0, waiting 0\n")
    assert b24_portal.messages() == {"provider1|m1": "sent"}
