"""The Python adapter of the scenario table: lines in, calls, lines out. It judges nothing.

Needs nothing but the package installed. tests/README.md describes the lines.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from typing import Any

import b24_messageservice as b24


class Adapter:
    """What the lines have set up so far. A line is a method: its verb, and `do_` before it."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.clients: dict[str, b24.Client] = {}
        self.used = ""
        self.renewals = 0
        self.last_error: BaseException | None = None

    def answer(self, verb: str, *arguments: Any) -> dict[str, Any]:
        """Carries out one line, and gives what answers it."""
        try:
            return {"result": self.plain(getattr(self, "do_" + verb)(*arguments))}
        except (b24.B24Error, TypeError, ValueError) as error:
            return {"error": self.members(error)}

    def do_use(self, name: str) -> None:
        self.used = name

    def do_client(self, kind: str, options: list[tuple[str, str]]) -> None:
        if kind == "new":
            self.options = {}
        for name, value in options:
            # Python tells times in seconds. What is no number the library must refuse as it is.
            if name in ("timeout_ms", "connect_timeout_ms") and value.isdecimal():
                self.options[name.removesuffix("_ms")] = int(value) / 1000
            else:
                self.options[name] = value
        self.clients.pop(self.used, None)
        make = b24.Client if kind == "new" else b24.Client.shared
        portal: Any = self.options.get("portal")
        others = {name: value for name, value in self.options.items() if name != "portal"}
        self.clients[self.used] = make(portal, on_renewal=self.count_renewal, **others)

    def do_call(self, method: str, arguments: dict[str, Any]) -> Any:
        return getattr(self.client(), method)(**arguments)

    def do_cancelled_call(self, method: str, arguments: dict[str, Any]) -> Any:
        client = self.client()

        def cancel() -> None:
            sys.stdin.readline()
            client.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            return self.do_call(method, arguments)
        finally:
            thread.join()

    def do_renewals_wait(self, milliseconds: int) -> None:
        b24.renewals_wait(milliseconds / 1000)

    def do_tokens(self) -> dict[str, Any]:
        tokens = self.client().tokens
        return {
            "access_token": tokens.access_token,
            "refresh_token": tokens.refresh_token,
            "client_endpoint": tokens.client_endpoint,
            "member_id": tokens.member_id,
            "expires": tokens.expires,
        }

    def do_renewed(self) -> int:
        return self.renewals

    def do_log(self) -> None:
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
        logging.getLogger("b24_messageservice").setLevel(5)

    def do_dump(self) -> str:
        error = self.last_error
        shown = [
            self.clients,
            [client.tokens for client in self.clients.values()],
            error,
            error and (str(error), error.args, vars(error)),
        ]
        return repr(shown)

    def do_reset(self) -> None:
        self.__init__()  # type: ignore[misc]

    def client(self) -> b24.Client:
        return self.clients[self.used]

    def count_renewal(self, _tokens: b24.Tokens) -> None:
        self.renewals += 1

    def plain(self, value: Any) -> Any:
        """What a method returned, as JSON has it: an error among the outcomes of a batch too."""
        if isinstance(value, list):
            return [self.plain(item) for item in value]
        if isinstance(value, b24.B24Error):
            return {"error": self.members(value)}
        return value

    def members(self, error: BaseException) -> dict[str, Any]:
        self.last_error = error
        if not isinstance(error, b24.B24Error):
            return {"code": type(error).__name__, "message": str(error)}
        return {
            "code": error.code,
            "portal_code": error.portal_code,
            "http_status": error.http_status or 0,
            "retryable": error.retryable,
            "retry_after_ms": -1 if error.retry_after is None else round(error.retry_after * 1000),
            "message": str(error),
            "description": error.description,
        }


def main() -> None:
    adapter = Adapter()
    # Line by line: during a call that is to be cancelled another thread reads.
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(adapter.answer(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
