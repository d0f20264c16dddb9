"""The Python adapter of the scenario table: lines in, calls, lines out. It judges nothing.

Runs with nothing but the package installed. The driver, tests/run_scenarios.py, tells the lines.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any
from urllib.parse import quote, unquote

import b24_messageservice as b24


class Adapter:
    """What the lines have collected so far."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.clients: dict[str, b24.Client] = {}
        self.used = ""
        self.updates: list[tuple[str, str, str]] = []
        self.renewals = 0
        self.last_error: BaseException | None = None

    def run(self, words: list[str]) -> list[str]:
        """Carries out one line, and gives the lines that answer it."""
        command, arguments = words[0], words[1:]
        try:
            answer: list[str] = getattr(self, "do_" + command)(*arguments)
        except (b24.B24Error, TypeError, ValueError) as error:
            self.last_error = error
            return [error_line(error)]
        return answer

    def do_use(self, name: str) -> list[str]:
        self.used = name
        return ["ok"]

    def do_config(self, name: str = "", value: str = "") -> list[str]:
        if not name:
            self.config = {}
            return ["ok"]
        # Seconds are how Python tells times; what is no number the library must refuse as it is.
        if name in ("timeout_ms", "connect_timeout_ms") and value.isdecimal():
            self.config[name.removesuffix("_ms")] = int(value) / 1000
        else:
            self.config[name] = value
        return ["ok"]

    def do_client(self, kind: str) -> list[str]:
        options = dict(self.config, on_renewal=self.count_renewal)
        portal = options.pop("portal", None)
        make = b24.Client if kind == "new" else b24.Client.shared
        self.clients.pop(self.used, None)
        self.clients[self.used] = make(portal, **options)
        return ["ok"]

    def do_update(self, code: str, message_id: str, status: str) -> list[str]:
        self.opened().message_status_update(code, message_id, status)
        return ["ok"]

    def do_cancelled_update(self, code: str, message_id: str, status: str) -> list[str]:
        client = self.opened()

        def cancel() -> None:
            sys.stdin.readline()
            client.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            client.message_status_update(code, message_id, status)
        finally:
            thread.join()
        return ["ok"]

    def do_renewals_wait(self, milliseconds: str) -> list[str]:
        b24.renewals_wait(int(milliseconds) / 1000)
        return ["ok"]

    def do_add(self, code: str, message_id: str, status: str) -> list[str]:
        self.updates.append((code, message_id, status))
        return ["ok"]

    def do_batch(self) -> list[str]:
        updates, self.updates = self.updates, []
        fates = self.opened().message_status_update_batch(updates)
        for fate in fates:
            self.last_error = fate or self.last_error
        lines = ["ok" if fate is None else error_line(fate) for fate in fates]
        return [line("fates", len(fates)), *lines]

    def do_tokens(self) -> list[str]:
        tokens = self.opened().tokens
        return [
            line(
                "tokens",
                tokens.access_token,
                tokens.refresh_token,
                tokens.client_endpoint,
                tokens.member_id,
                tokens.expires or 0,
            )
        ]

    def do_renewed(self) -> list[str]:
        return [str(self.renewals)]

    def do_log(self, _on: str) -> list[str]:
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
        logging.getLogger("b24_messageservice").setLevel(5)
        return ["ok"]

    def do_dump(self) -> list[str]:
        error = self.last_error
        shown = [
            self.clients,
            [client.tokens for client in self.clients.values()],
            error,
            error and (str(error), error.args, vars(error)),
        ]
        return [quote(repr(shown), safe="")]

    def do_reset(self) -> list[str]:
        self.__init__()  # type: ignore[misc]
        return ["ok"]

    def count_renewal(self, _tokens: b24.Tokens) -> None:
        self.renewals += 1

    def opened(self) -> b24.Client:
        if self.used not in self.clients:
            raise ValueError("there is no client: say `client new` first")
        return self.clients[self.used]


def error_line(error: BaseException) -> str:
    if not isinstance(error, b24.B24Error):
        return line("error", type(error).__name__, "", 0, 0, -1, error, "")
    return line(
        "error",
        error.code,
        error.portal_code,
        error.http_status or 0,
        int(error.retryable),
        -1 if error.retry_after is None else round(error.retry_after * 1000),
        error,
        error.description,
    )


def line(*fields: object) -> str:
    return "\t".join(quote(str(field), safe="") for field in fields)


def main() -> None:
    adapter = Adapter()
    # Line by line: during a call that is to be cancelled another thread reads.
    for text in iter(sys.stdin.readline, ""):
        words = [unquote(word) for word in text.rstrip("\n").split("\t")]
        if words == ["exit"]:
            break
        for answer in adapter.run(words):
            print(answer, flush=True)


if __name__ == "__main__":
    main()
