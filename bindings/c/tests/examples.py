"""Run the examples against the portal emulator: what they print, and what the portal has stored.

usage: examples.py DIRECTORY_OF_THE_EXAMPLES; b24_portal finds the emulator.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from b24_portal import Portal

RECEIPTS = """\
id:r1 sub:001 dlvrd:001 submit date:2601011200 done date:2601011201 stat:DELIVRD err:000 text:hi
id:r2 sub:001 dlvrd:000 submit date:2601011200 done date:2601011201 stat:UNDELIV err:001 text:
id:r3 sub:001 dlvrd:000 submit date:2601011200 done date:2601011201 stat:ENROUTE err:000 text:
id:r3 sub:001 dlvrd:000 submit date:2601011200 done date:2601011201 stat:REJECTD err:008 text:
this is no receipt
id:r4 sub:001 dlvrd:000 submit date:2601011200 done date:2601011201 stat:UNKNOWN err:000 text:
"""


class Checks:
    """Counts what holds, and shows what does not."""

    passed = 0
    failed = 0

    def equal(self, what: str, got: object, wanted: object) -> None:
        if got == wanted:
            self.passed += 1
        else:
            self.failed += 1
            print(f"{what}: got {got!r}, wanted {wanted!r}", file=sys.stderr)


def provider_examples(examples: Path, portal: Portal, checks: Checks) -> None:
    """Those that keep what they do in a store."""

    def run(name: str, store: Path, stdin: str, *arguments: str) -> str:
        options = portal.provider_options()
        options["resolve"] = ",".join(options["resolve"])
        secret = options.pop("client_secret")
        done = subprocess.run(
            [examples / name, f"store=sqlite:{store}", *map("=".join, options.items()), *arguments],
            env={**os.environ, "B24_CLIENT_SECRET": secret},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        return f"{done.returncode} {done.stdout}{done.stderr}"

    with tempfile.TemporaryDirectory() as directory:
        portal.reset()
        store = Path(directory) / "provider.db"
        member_id = portal.tokens()["member_id"]
        message = portal.message(message_id="m1", phone="+15550100", text="Hi")["body"]
        output = run("provider", store, message)
        checks.equal("provider, unknown portal", "answer 403" in output, True)

        output = run("provider", store, portal.install()["body"])
        checks.equal("provider, installed", output, f"0 installed on {member_id}\nanswer 200\n")
        output = run("provider", store, message)
        told = "message m1 to +15550100: Hi\n1 sent, 0 refused, 0 held, 0 waiting\nanswer 200\n"
        checks.equal("provider, message", output, f"0 {told}")
        checks.equal("provider, stored", portal.history(), {"provider1|m1": ["delivered"]})
        typed = portal.message(message_id="m2", json=True)
        output = run("provider", store, typed["body"], typed["content_type"])
        checks.equal("provider, JSON", output[:13], "0 message m2 ")

        forged = portal.message(forge="token")["body"]
        output = run("provider", store, forged)
        checks.equal("provider, forged", (output[0], "answer 403" in output), ("1", True))
        output = run("provider", store, "", "text/plain")
        checks.equal("provider, unreadable", (output[0], "answer 400" in output), ("1", True))
        output = run("provider", store, portal.uninstall()["body"])
        checks.equal("provider, removed", output, f"0 removed from {member_id}\nanswer 200\n")

    with tempfile.TemporaryDirectory() as directory:
        portal.reset()
        store = Path(directory) / "gateway.db"
        requests = [portal.install()["body"]]
        requests += [
            portal.message(message_id=f"m{n}", phone=f"+1555010{n}")["body"] for n in range(4)
        ]
        handler = "handler=https://gateway.example.com/sms"
        output = run("smpp_gateway", store, "\n".join(requests), handler, "operator=smsc1")
        checks.equal("smpp_gateway, answers", output.count("answer 200\n"), 5)
        checks.equal("smpp_gateway, end", "0 waiting, 0 held\n" in output, True)
        checks.equal("smpp_gateway, unknown word", output.count("receipt: "), 2)
        stored = portal.messages()
        wanted = {
            "provider1|m0": "delivered",
            "provider1|m1": "undelivered",
            "provider1|m2": "failed",
            "provider1|m3": "sent",
        }
        checks.equal("smpp_gateway, stored", stored, wanted)
        late = {statuses[-1] for statuses in portal.history().values()}
        checks.equal("smpp_gateway, last", late, set(wanted.values()))
        checks.equal("smpp_gateway, senders", list(portal.senders()), ["provider1"])
        checks.equal("smpp_gateway, good", portal.seen()["bad"], [])

        # Another program with the same store.
        requests = [portal.install()["body"], portal.message(forge="member")["body"]]
        output = run("smpp_gateway", store, "\n".join(requests), handler, "operator=smsc1")
        checks.equal("smpp_gateway, again", output[0], "1")
        checks.equal("smpp_gateway, again", output.count("answer 200\n"), 1)
        checks.equal("smpp_gateway, forged", output.count("answer 403\n"), 1)
        checks.equal("smpp_gateway, stored again", portal.messages(), stored)


def main(examples: Path) -> int:
    checks = Checks()
    with Portal() as portal:

        def run(name: str, *arguments: str, stdin: str = "", **settings: Any) -> str:
            portal.reset(**settings)
            options = {**portal.renewable(), "resolve": ",".join(portal.resolve())}
            token = options.pop("access_token")
            done = subprocess.run(
                [examples / name, *map("=".join, options.items()), *arguments],
                env={**os.environ, "B24_ACCESS_TOKEN": token},
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
            )
            return f"{done.returncode} {done.stdout}{done.stderr}"

        output = run("single", "provider1", "m1", "delivered")
        checks.equal("single", output, "0 stored\n")
        checks.equal("single, stored", portal.messages(), {"provider1|m1": "delivered"})
        output = run("single", "provider1", "m1", "sent", messages=[])
        checks.equal("single, unknown", output, "1 the portal does not know this message\n")
        output = run("single", "provider1", "m1", "lost")
        checks.equal("single, refused", output.split(":")[0], "1 B24_INVALID_ARGUMENT")
        # Which compiler evaluates which argument first must make no difference to what is told.
        for name in ("single", "provider"):
            output = run(name, "portl=x", "provider1", "m1", "sent")
            checks.equal(f"{name}, the wrong option is named", "portl" in output, True)

        # The call gives up before the renewal is answered; the program must not.
        with tempfile.TemporaryDirectory() as state:
            output = run(
                "single",
                *(f"state_dir={state}", "timeout_ms=1000", "provider1", "m1", "sent"),
                expired=True,
                oauth_latency_ms=3000,
            )
            checks.equal("single, timed out in a renewal", output.split(":")[0], "1 B24_TIMEOUT")
            files = [path.read_bytes() for path in Path(state).iterdir() if path.is_file()]
            tokens = portal.tokens()
            checks.equal(
                "single, kept", any(tokens["refresh_token"].encode() in t for t in files), True
            )
            checks.equal("single, lost", tokens["lost"], False)
            checks.equal("single, renewals", portal.seen()["renewals"], 1)

        updates = "provider1 m1 sent\nprovider1 m2 delivered\nprovider1 m1 delivered\nnonsense\n"
        output = run("batch", stdin=updates, messages=["provider1|m1"])
        checks.equal("batch", "2 stored, 1 not" in output and "passed over" in output, True)
        checks.equal("batch, stored", portal.messages(), {"provider1|m1": "delivered"})
        checks.equal("batch, requests", portal.seen()["requests"], 1)

        output = run("threads", "rate_limit=off", "provider1", "8", "200")
        checks.equal("threads", output, "0 200 stored, 0 not, by 8 threads\n")
        checks.equal("threads, stored", len(portal.messages()), 200)

        provider_examples(examples, portal, checks)

        output = run("gateway", "code=provider1", stdin=RECEIPTS)
        checks.equal("gateway", "4 stored, 0 not" in output, True)
        checks.equal("gateway, passed over", output.count("passed over"), 2)
        checks.equal(
            "gateway, stored",
            portal.messages(),
            {
                "provider1|r1": "delivered",
                "provider1|r2": "undelivered",
                "provider1|r3": "failed",
            },
        )
    print(f"C examples: {checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
