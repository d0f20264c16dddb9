"""Runs a row in one language: sets up the portal, takes the steps, compares the results."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from b24_portal import Portal

from . import checks
from .adapter import Adapter, Broken
from .leaks import RUN
from .places import Places, temporary_directory
from .platforms import PLATFORMS
from .provider import ProviderSteps
from .stores import Stores
from .table import TABLE, Json, has_provider

# More than a renewal takes.
RENEWALS_MS = 45_000

# More than it takes until the portal has seen what a row waits for.
WAIT_SECONDS = 30.0

# Each row has its own number in place of this one, since tokens identify an installation.
NUMBER = "0000000000000001"
INSTALLED = {
    "client_id": "app.1",
    "client_secret": f"secret-{NUMBER}",
    "access_token": f"access-{NUMBER}",
    "refresh_token": f"refresh-{NUMBER}",
}
# Steps that call a method of a client.
CALLS = {"call", "update", "batch"}
SECRETS = ("access_token", "refresh_token", "client_secret")
# Rows with a provider have an application and a portal of their own, and no client to begin with.
OF_A_PROVIDER = {
    "client_id": f"app.{NUMBER}",
    "member_id": f"a223c6b3710f85df{NUMBER}",
    "application_token": f"application-{NUMBER}",
}
# The options whose unit is part of their name, except in Python.
IN_MILLISECONDS = ("timeout_ms", "connect_timeout_ms")
# In what is expected: what is expected instead in some languages.
IN_LANGUAGES = "in"
# The ids of the emulator's further portals: 32 digits.
FURTHER = {f"{{p{number}}}": f"{number:032x}" for number in range(1, 10)}


class Running:
    """The programs of a pytest process: an emulator, and the adapters that rows have used."""

    def __init__(self, target: Path, platform: str, valgrind: bool, stores: Stores) -> None:
        self.target = target
        self.platform = platform
        self.valgrind = valgrind
        self.stores = stores
        self.portal = Portal()
        self.places = Places(self.portal.https_port)
        # By language and number: a row may have steps in a second process.
        self.adapters: dict[str, dict[int, Adapter]] = {}
        self.rows = 0

    def adapter(self, language: str, number: int) -> Adapter:
        """The process, started when it is first needed."""
        of_language = self.adapters.setdefault(language, {})
        if number not in of_language:
            platform = PLATFORMS[self.platform]
            command = platform.command(language, self.target, self.valgrind)
            of_language[number] = Adapter(*command)
            of_language[number].ask("log")
        return of_language[number]

    def restart(self, language: str, kill: bool) -> None:
        """Ends adapters, and starts others in their place, which keep what those have shown."""
        for number, former in self.adapters.pop(language, {}).items():
            if kill:
                former.kill()
            else:
                former.close()
            self.adapter(language, number).inherit(former)

    def kill(self, language: str) -> None:
        """Ends adapters whose state is not known."""
        for adapter in self.adapters.pop(language, {}).values():
            adapter.kill()

    def close(self) -> None:
        """Ends everything. Raises an error if an adapter ends with one."""
        problems = []
        for language, of_language in self.adapters.items():
            for adapter in of_language.values():
                try:
                    adapter.close()
                except Broken as broken:
                    problems.append(f"{language}: {broken}")
                leaks = adapter.leaks.find(adapter.take_shown())
                problems += [f"{language}: secret shown: {leak}" for leak in leaks]
        self.portal.close()
        self.places.close()
        self.stores.close()
        if problems:
            raise Broken("\n".join(problems))


@dataclass
class Played:
    """The result of a row."""

    problems: list[str] = field(default_factory=list)
    #: How long the longest call took that was to reach its deadline.
    longest_ms: float = 0.0
    secrets: int = 0
    texts: int = 0


class Play:
    """A row in one language."""

    def __init__(self, running: Running, row: Json, language: str) -> None:
        self.running = running
        self.portal = running.portal
        self.language = language
        self.played = Played()
        self.directory = temporary_directory()
        running.rows += 1
        self.names = {
            # A name of its own for each row, because the process keeps rate limits and renewals of
            # a portal after a client has gone.
            "{host}": f"{row['name']}.bitrix24.test",
            "{tmp}": self.directory.name,
            "{table}": str(TABLE),
            **{f"{{{name}}}": str(value) for name, value in self.portal.addresses.items()},
            **{f"{{{name}}}": port for name, port in running.places.names().items()},
            "{member}": OF_A_PROVIDER["member_id"],
            NUMBER: f"{RUN}{running.rows:08}",
            # As messages name them: Python has seconds.
            **{f"{{{name}}}": spelled(name, language) for name in IN_MILLISECONDS},
            **FURTHER,
        }
        # Its kinds of steps say what a row needs.
        self.has_provider = has_provider(row)
        self.store = running.stores.of_row(row, self.names[NUMBER], self.directory.name)
        self.names.update({f"{{{name}}}": text for name, text in self.store.names.items()})
        settings = {**INSTALLED, **(OF_A_PROVIDER if self.has_provider else {})}
        self.row = self.fill({**row, "portal": {**settings, **row.get("portal", {})}})
        self.names["{member}"] = self.fill("{member}")
        self.secrets = {*self.row.get("secrets", []), *self.store.secrets}
        self.provider = ProviderSteps(self)

    def fill(self, value: Any) -> Any:
        """Replaces the placeholders of the table by the addresses of this run."""
        if isinstance(value, str):
            for name, text in self.names.items():
                value = value.replace(name, text)
            return value
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            if IN_LANGUAGES in value:
                others = {name: item for name, item in value.items() if name != IN_LANGUAGES}
                value = value[IN_LANGUAGES].get(self.language, others)
            return {self.fill(name): self.fill(item) for name, item in value.items()}
        return value

    def run(self) -> Played:
        try:
            self.take_steps()
            self.judge()
            self.look_for_leaks()
            self.forget()
        except BaseException:
            self.running.kill(self.language)
            raise
        finally:
            self.store.close()
            self.directory.cleanup()
        return self.played

    def take_steps(self) -> None:
        self.running.places.tunnels = self.running.places.proxy_requests = 0
        self.portal.reset(**self.row["portal"])
        if faults := self.row.get("faults"):
            self.portal.faults(faults)
        for adapter in self.adapters():
            adapter.ask("log")
        steps = self.row["steps"]
        if not self.has_provider and not steps[0].keys() & {"client", "copy"}:
            self.tell("the client", self.take({"client": "new", "expect": "ok"}))
        for number, step in enumerate(steps, 1):
            self.tell(f"step {number}", self.take(step))

    def forget(self) -> None:
        """Ends what the row has left under way, so that the next starts with nothing."""
        # A portal that was reset does not know the row's tokens, which ends a renewal of them.
        self.portal.reset(**INSTALLED)
        for adapter in self.adapters():
            adapter.ask("renewals_wait", RENEWALS_MS)
            adapter.ask("reset")

    def tell(self, where: str, problems: Iterable[str]) -> None:
        self.played.problems += [f"{where}: {problem}" for problem in problems]

    def adapters(self) -> list[Adapter]:
        return list(self.running.adapters.get(self.language, {}).values())

    def adapter(self, step: Json) -> Adapter:
        """The process that a step is for."""
        return self.running.adapter(self.language, step.get("process", 1))

    def tokens(self) -> Json:
        """The tokens that are valid at the portal now."""
        return cast("Json", self.portal.tokens())

    def options(self, step: Json) -> dict[str, str]:
        """The options of a client: the usual ones, changed by the row's and the step's own."""
        host, portal = self.names["{host}"], self.portal
        resolve = [
            *portal.resolve(host),
            f"{host}:80:127.0.0.1:{portal.http_port}",
            *(f"{name}:443:127.0.0.1:{portal.https_port}" for name in self.row.get("hosts", [])),
        ]
        options = {
            "portal": host,
            "access_token": self.row["portal"]["access_token"],
            "oauth_url": "https://oauth.bitrix24.test",
            "proxy": "none",
            "ca_file": portal.ca_file,
            "resolve": ",".join(resolve),
            **self.row.get("config", {}),
            **step.get("config", {}),
        }
        given = {name: value for name, value in options.items() if value is not None}
        self.secrets.update(given[name] for name in SECRETS if given.get(name))
        return given

    # ---- Steps: each returns the differences between what was expected and what came.

    def take(self, step: Json) -> list[str]:
        if "parallel" in step:
            return self.take_parallel(step["parallel"])
        if "set" in step:
            self.portal.set(**step["set"])
        elif "fault" in step:
            self.portal.faults(step["fault"])
        elif "release" in step:
            self.portal.release()
        elif "wait" in step:
            self.portal.wait(**step["wait"], timeout=WAIT_SECONDS)
        elif "copy" in step:
            shutil.copyfile(*step["copy"])
        elif "remove" in step:
            remove(Path(step["remove"]))
        elif "write" in step:
            self.provider.write(step)
        elif "chmod" in step:
            path, mode = step["chmod"]
            Path(path).chmod(int(mode, 8))
        elif "order" in step:
            self.provider.order(step)
        elif "sealed" in step:
            return self.provider.sealed(Path(step["sealed"]))
        elif "spend" in step:
            self.portal.spend(**{"host": self.names["{host}"], **step["spend"]})
        elif "sleep_ms" in step:
            time.sleep(step["sleep_ms"] / 1000)
        elif "restart" in step:
            return self.provider.restart(step["restart"])
        elif "clock" in step:
            return self.provider.restart("", ahead=step["clock"])
        elif "meta" in step:
            self.store.set_meta(step["meta"])
        elif "sql" in step:
            return checks.answer(step.get("expect", "ok"), self.store.sql(step["sql"]))
        elif "postgres" in step:
            self.store.control(step["postgres"])
        elif "check" in step:
            return self.check(step["check"])
        else:
            adapter = self.adapter(step)
            adapter.ask("use", step.get("with", ""))
            return self.take_with(adapter, step)
        return []

    def take_with(self, adapter: Adapter, step: Json) -> list[str]:
        expected = step.get("expect", "ok")
        if "client" in step:
            options = list(self.options(step).items())
            return checks.answer(expected, adapter.ask("client", step["client"], options))
        if "tokens" in step:
            seen = adapter.ask("tokens")["result"]
            return checks.tokens(step["tokens"], seen, self.tokens(), time.time())
        if "renewals_wait" in step:
            return checks.answer(expected, adapter.ask("renewals_wait", step["renewals_wait"]))
        if "renewed" in step:
            seen = adapter.ask("renewed")["result"]
            times = step["renewed"]
            if self.language == "php":  # after a call, and not for each renewal in it
                times = step.get("handed_over", times)
            ok = seen == times
            return [] if ok else [f"renewal callbacks: expected {times}, seen {seen}"]
        if step.keys() & CALLS:
            return self.take_call(adapter, step, expected)
        return self.provider.take(adapter, step, expected)

    def check(self, wanted: Json) -> list[str]:
        """What the portal has stored and counted so far."""
        seen = cast("Json", self.portal.seen())
        return [
            *checks.counts(wanted.get("seen", {}), seen),
            *checks.stored(wanted, self.portal.messages(), self.portal.history()),
        ]

    def take_call(self, adapter: Adapter, step: Json, expected: Any) -> list[str]:
        method, arguments = call_of(step)
        problems = []
        for _ in range(step.get("times", 1)):
            adapter.limit(step)
            before = time.monotonic()
            if "cancel_after" in step:
                adapter.say("cancelled_call", method, arguments)
                self.portal.wait(**step["cancel_after"], timeout=WAIT_SECONDS)
                seen = adapter.ask("cancel")
            else:
                seen = adapter.ask("call", method, arguments)
            self.note_time(before)
            if "batch" in step:
                problems += checks.outcomes(expected, seen, len(arguments["updates"]))
            else:
                problems += checks.answer(expected, seen)
        return problems

    def note_time(self, before: float) -> None:
        """Keeps how long a call took that began then, if none took longer."""
        took = (time.monotonic() - before) * 1000
        self.played.longest_ms = max(self.played.longest_ms, took)

    def take_parallel(self, steps: list[Json]) -> list[str]:
        """Starts all before any has ended."""
        for step in steps:
            self.adapter(step).ask("use", step.get("with", ""))
            self.adapter(step).say("call", *call_of(step))
        problems = []
        for step in steps:
            adapter = self.adapter(step)
            seen = adapter.hear()
            adapter.show(seen)
            differences = checks.answer(step.get("expect", "ok"), seen)
            problems += [f"process {step.get('process', 1)}: {one}" for one in differences]
        return problems

    # ---- The end

    def judge(self) -> None:
        seen, now, places = cast("Json", self.portal.seen()), self.tokens(), self.running.places
        self.secrets.update(now[name] for name in ("access_token", "refresh_token") if now[name])
        if self.has_provider:
            self.secrets.update(self.provider.secrets())
        problems = [
            *checks.portal(
                self.row,
                seen,
                self.portal.messages(),
                self.portal.history(),
                cast("Json", self.portal.senders()),
                now,
            ),
            *checks.proxy(self.row, places.tunnels, places.proxy_requests),
        ]
        if (everywhere := self.row.get("all_messages")) is not None:
            told = self.portal.all_messages()
            if everywhere != told:
                problems.append(f"portals keep: expected {everywhere}, seen {told}")
        for texts in self.row.get("records", []):
            adapter = self.running.adapter(self.language, 1)
            # Records of a provider name portals by their ids.
            host = () if self.has_provider else (self.names["{host}"],)
            if not adapter.has_recorded([*host, *texts]):
                problems.append(f"no log record has all of {', '.join(texts)}")
        self.played.problems += problems
        if self.played.problems:
            self.played.problems.append(checks.last_requests(seen["log"]))

    def look_for_leaks(self) -> None:
        """Searches all that was shown for the secrets of this row and of those before it."""
        for adapter in self.adapters():
            adapter.ask("dump")
            for secret in self.secrets:
                adapter.leaks.know(secret)
            shown = adapter.take_shown()
            self.played.texts += len(shown)
            self.tell("secret shown", adapter.leaks.find(shown))
            if self.language == "python":
                self.tell("names an option as C does", [t for t in shown if misspelled(t)])
        self.played.secrets = len(self.secrets)


def spelled(option: str, language: str) -> str:
    """The option's name in messages."""
    return option.removesuffix("_ms") if language == "python" else option


def misspelled(text: str) -> bool:
    """Whether a text that Python shows names an option that Python has not."""
    return re.search(r"\b(connect_)?timeout_ms\b", text) is not None


def call_of(step: Json) -> tuple[str, Json]:
    """The method that a step calls, and its arguments by name."""
    if "call" in step:
        method, arguments = step["call"]
        return method, arguments
    if "update" in step:
        names = ("code", "message_id", "status")
        return "message_status_update", dict(zip(names, step["update"], strict=True))
    return "message_status_update_batch", {"updates": checks.numbered(step["batch"])}


def remove(path: Path) -> None:
    """Removes a directory or a file."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
