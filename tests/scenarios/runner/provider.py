"""The steps of a provider: opening it, the portal's requests, receipts, drains, and restarts."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from . import checks
from .adapter import Adapter, Broken
from .table import Json

if TYPE_CHECKING:
    from .play import Play

# What requests bring that must never be shown: `auth[access_token]=…` in a form (the brackets are
# perhaps escaped), `"access_token": "…"` in JSON, and the names in a frame.
SECRET_NAME = r"(?:access_token|refresh_token|application_token|AUTH_ID|REFRESH_ID)"
IN_A_FORM = re.compile(rf"{SECRET_NAME}(?:%5D|\])?=([^&]+)", re.IGNORECASE)
IN_JSON = re.compile(rf'"{SECRET_NAME}"\s*:\s*"([^"]+)"', re.IGNORECASE)
# Shorter texts are no tokens, and are found everywhere.
SHORTEST_SECRET = 12

# A drain is repeated for so long until its counts are what is expected, or are too high.
DRAIN_SECONDS = 15.0

ORDERS = ("install", "message", "uninstall")

# Steps whose value is the arguments of the method with the same name.
PLAIN = ("install_request", "cancel", "close", "inspect", "vocabulary", "import_state_dir")


class ProviderSteps:
    """What a row has of providers: their options, the requests that it keeps, and the clock."""

    def __init__(self, play: Play) -> None:
        self.play = play
        # By process and name: restarted processes open them again.
        self.opened: dict[tuple[int, str], list[tuple[str, str]]] = {}
        self.requests: dict[str, Json] = {}
        self.cursor = ""
        # How far the store's clock is ahead of the machine's, in seconds.
        self.ahead = 0

    # ---- What goes in

    def options(self, step: Json) -> dict[str, str]:
        """The usual options of a provider, changed by the row's and the step's own."""
        portal = self.play.portal
        settings = self.play.row["portal"]
        options = {
            "store": self.play.store.url,
            "client_id": settings["client_id"],
            "client_secret": settings["client_secret"],
            "oauth_url": f"https://oauth.bitrix24.test:{portal.oauth_port}",
            "ca_file": portal.ca_file,
            "resolve": ",".join(
                f"*:{port}:127.0.0.1" for port in (portal.https_port, portal.oauth_port)
            ),
            "proxy": "none",
            "timeout_ms": "10000",
            **self.play.row.get("config", {}),
            **step["provider"],
        }
        given = {name: value for name, value in options.items() if value is not None}
        if secret := given.get("client_secret"):
            self.play.secrets.add(secret)
        return given

    def order(self, step: Json) -> Json:
        """A request of the portal: one that it makes now, one that was kept, or the table's own."""
        wanted = step["receive"] if "receive" in step else step["order"]
        if isinstance(wanted, str):
            return self.requests[wanted]
        if "body" in wanted:
            request = {"content_type": "application/x-www-form-urlencoded", **wanted}
        else:
            (kind,) = wanted
            request = dict(self.ordered(kind, wanted[kind]))
        if "as" in step:
            self.requests[step["as"]] = request
        self.learn(request["body"])
        return request

    def ordered(self, kind: str, order: Json) -> Json:
        """A request that the emulator makes. Without `host` it is the main portal's."""
        if kind not in ORDERS:
            raise Broken(f"the emulator makes no request of the kind {kind}")
        order = {"host": self.play.names["{host}"], **order}
        if "ts_ago" in order:
            order["ts"] = int(time.time()) - order.pop("ts_ago")
        return dict(self.play.portal.ask("POST", f"/{kind}", order))

    def learn(self, body: str) -> None:
        """Keeps the secrets of a request, which must not be shown."""
        found = [unquote_plus(value) for value in IN_A_FORM.findall(body[:65536])]
        found += IN_JSON.findall(body[:65536])
        self.play.secrets.update(text for text in found if len(text) >= SHORTEST_SECRET)

    def member(self, step: Json) -> str:
        return str(step.get("member", self.play.names["{member}"]))

    def at_ms(self, step: Json) -> Json:
        """When a receipt came about, from seconds after now."""
        if "at" not in step:
            return {}
        return {"at_ms": round((time.time() + self.ahead + step["at"]) * 1000)}

    def arguments(self, step: Json) -> tuple[str, Json]:
        """The method of the adapter that a step calls, and its arguments."""
        member = self.member(step)
        if "receive" in step:
            request = self.order(step)
            body = request["body"].encode("utf-8", "surrogateescape")
            expected = step.get("expect")
            has = expected.get("has", {}) if isinstance(expected, dict) else {}
            return "receive", {
                "content_type": request["content_type"],
                "body64": base64.b64encode(body).decode(),
                "get": list(has.get("get", {})),
            }
        if "install" in step:
            return "install", self.install(step["install"])
        if "client_of" in step:
            return "client", {"member_id": step["client_of"]}
        if "track" in step:
            reference, code, message_id = step["track"]
            return "track", {
                "reference": reference,
                "operator": step.get("operator", ""),
                "member_id": member,
                "code": code,
                "message_id": message_id,
            }
        if "report" in step:
            code, message_id, status = step["report"]
            return "report", {
                "member_id": member,
                "code": code,
                "message_id": message_id,
                "status": status,
                **self.at_ms(step),
            }
        if "report_batch" in step:
            return "report_batch", {
                "member_id": member,
                "updates": checks.numbered(step["report_batch"]),
            }
        if "report_many" in step:
            return "report_many", {"receipts": checks.numbered(step["report_many"])}
        if "report_reference" in step:
            reference, status = step["report_reference"]
            return "report_reference", {
                "reference": reference,
                "operator": step.get("operator", ""),
                "status": status,
                **self.at_ms(step),
            }
        if "refused" in step:
            wanted = {"after": "", "limit": 1000, **step["refused"]}
            if wanted["after"] == "last":
                wanted["after"] = self.cursor
            return "refused", wanted
        if "resume" in step:
            return "resume", {"member_id": step["resume"]}
        if "prune" in step:
            return "prune", {"keep_seconds": step["prune"]}
        (method,) = step.keys() & set(PLAIN)
        return method, step[method]

    def install(self, wanted: Json) -> Json:
        """What is installed: an order for the emulator, a request that was kept, or a text."""
        auth = wanted["auth"]
        if isinstance(auth, dict):
            auth = self.ordered("install", {"as": "oauth", **auth})["body"]
        elif auth in self.requests:
            auth = self.requests[auth]["body"]
        self.learn(auth)
        return {"auth": auth, "application_token": wanted.get("application_token", "")}

    # ---- The steps

    def take(self, adapter: Adapter, step: Json, expected: Any) -> list[str]:
        """A step that is a line for the adapter."""
        if "provider" in step:
            options = list(self.options(step).items())
            self.opened[step.get("process", 1), step.get("with", "")] = options
            before = time.monotonic()
            seen = adapter.ask("provider", options)
            self.play.note_time(before)
            return checks.answer(expected, seen)
        if "drain" in step:
            return self.drain(adapter, step, expected)
        method, arguments = self.arguments(step)
        adapter.limit(step)
        if "cancel_after" in step:
            adapter.say("cancelled_provider_call", method, arguments)
            self.play.store.wait_for_locks(step["cancel_after"]["locked"])
            return checks.answer(expected, adapter.ask("cancel"))
        problems = []
        for _ in range(step.get("times", 1)):
            before = time.monotonic()
            seen = adapter.ask("provider_call", method, arguments)
            self.play.note_time(before)
            if method in ("report_batch", "report_many"):
                (receipts,) = (value for value in arguments.values() if isinstance(value, list))
                problems += checks.outcomes(expected, seen, len(receipts))
            else:
                problems += checks.answer(expected, seen)
        if method == "close":
            self.opened.pop((step.get("process", 1), step.get("with", "")), None)
        if method == "refused" and seen.get("result"):
            self.cursor = seen["result"][-1]["cursor"]
        return problems

    def drain(self, adapter: Adapter, step: Json, expected: Any) -> list[str]:
        """Drains until what is expected was done: how far one gets depends on the machine."""
        adapter.limit(step)
        if "cancel_after" in step:
            adapter.say("cancelled_provider_call", "drain", {"ms": step["drain"]})
            self.play.portal.wait(**step["cancel_after"], timeout=30.0)
            return checks.answer(expected, adapter.ask("cancel"))
        if "kill_after" in step:
            adapter.say("provider_call", "drain", {"ms": step["drain"]})
            self.play.portal.wait(**step["kill_after"], timeout=30.0)
            return self.restart("kill busy")
        wanted = expected.get("has", {}) if isinstance(expected, dict) else {}
        done = {"sent": 0, "refused": 0}
        give_up = time.monotonic() + DRAIN_SECONDS
        while True:
            seen = adapter.ask("provider_call", "drain", {"ms": step["drain"]})
            if "result" in seen:
                for name in done:
                    done[name] += seen["result"][name]
                seen["result"].update(done)
            problems = checks.answer(expected, seen)
            if counts := step.get("seen"):
                problems += checks.counts(counts, dict(self.play.portal.seen()))
            too_many = any(
                name in wanted and count > checks.most(wanted[name]) for name, count in done.items()
            )
            if not problems or too_many or "error" in seen or time.monotonic() > give_up:
                return problems

    def restart(self, how: str, ahead: int = 0) -> list[str]:
        """Ends the processes and starts others, which open their providers again.

        What processes were doing that are killed while they are busy is waited out."""
        language, running = self.play.language, self.play.running
        running.restart(language, how.startswith("kill"))
        if how == "kill busy":
            ahead = self.play.store.lease_seconds
        if ahead:
            self.move_clock(ahead)
        problems = []
        for (process, name), options in self.opened.items():
            adapter = running.adapter(language, process)
            adapter.ask("use", name)
            problems += checks.answer("ok", adapter.ask("provider", options))
        return problems

    def move_clock(self, seconds: int) -> None:
        """Lets a time pass for the stores that were opened."""
        stores = {dict(options)["store"] for options in self.opened.values()}
        self.ahead += self.play.store.move_clock(seconds, stores)

    def write(self, step: Json) -> None:
        """Makes a file, with the mode that a step says."""
        path, text = step["write"]
        Path(path).write_text(text, encoding="utf-8")
        Path(path).chmod(int(step.get("mode", "0600"), 8))

    def sealed(self, path: Path) -> list[str]:
        """Searches a store for tokens, which must not be there."""
        found = self.play.store.unsealed(path, list(self.secrets()))
        return [f"{place} has tokens that are not sealed" for place in found]

    def secrets(self) -> Iterator[str]:
        """The tokens of all portals of the row, as they are at its end."""
        portal = self.play.portal
        further = range(1, min(self.play.row["portal"].get("portals", 0), 9) + 1)
        for host in (None, *(f"p{number}.bitrix24.test" for number in further)):
            tokens = portal.tokens(host=host) if host else portal.tokens()
            yield tokens["application_token"]
            for pair in tokens["pairs"]:
                yield pair["access_token"]
                yield pair["refresh_token"]
