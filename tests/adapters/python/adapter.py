"""The Python adapter of the scenario table: lines in, calls, lines out. It judges nothing.

Needs nothing but the package installed. tests/README.md describes the lines.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import b24_messageservice as b24


class Adapter:
    """What the lines have set up so far. A line is a method: its verb, and `do_` before it."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.clients: dict[str, b24.Client] = {}
        self.providers: dict[str, b24.Provider] = {}
        self.request: b24.Request | None = None
        self.used = ""
        self.renewals = 0
        self.last_error: BaseException | None = None
        # Those of the next call, and of the one under way.
        self.limits: dict[str, Any] = {}

    def answer(self, verb: str, *arguments: Any) -> dict[str, Any]:
        """Carries out one line, and gives what answers it."""
        try:
            return {"result": self.plain(getattr(self, "do_" + verb)(*arguments))}
        except (b24.B24Error, TypeError, ValueError) as error:
            return {"error": self.members(error)}
        finally:
            if verb != "limit":
                self.limits = {}

    def do_use(self, name: str) -> None:
        self.used = name

    def do_client(self, kind: str, options: list[tuple[str, str]]) -> None:
        if kind == "new":
            self.options = {}
        self.options |= keywords(options)
        self.clients.pop(self.used, None)
        make = b24.Client if kind == "new" else b24.Client.shared
        portal: Any = self.options.get("portal")
        others = {name: value for name, value in self.options.items() if name != "portal"}
        self.clients[self.used] = make(portal, on_renewal=self.count_renewal, **others)

    def do_provider(self, options: list[tuple[str, str]]) -> None:
        former = self.providers.pop(self.used, None)
        if former is not None:
            former.close()
        self.providers[self.used] = b24.Provider(**keywords(options))

    def do_limit(self, milliseconds: int | None, token: bool) -> None:
        if milliseconds is not None:
            self.limits["timeout"] = milliseconds / 1000
        if token:
            self.limits["cancel"] = b24.CancelToken()

    def do_call(self, method: str, arguments: dict[str, Any]) -> Any:
        return getattr(self.client(), method)(**arguments)

    def do_cancelled_call(self, method: str, arguments: dict[str, Any]) -> Any:
        return self.cancelled(
            self.clients[self.used].cancel, lambda: self.do_call(method, arguments)
        )

    def do_provider_call(self, method: str, arguments: dict[str, Any]) -> Any:
        own = getattr(self, "provider_" + method, None)
        if own is not None:
            return own(**arguments)
        return getattr(self.provider(), method)(**arguments)

    def do_cancelled_provider_call(self, method: str, arguments: dict[str, Any]) -> Any:
        call = lambda: self.do_provider_call(method, arguments)  # noqa: E731
        return self.cancelled(self.providers[self.used].cancel, call)

    def cancelled(self, cancel: Callable[[], None], call: Callable[[], Any]) -> Any:
        """Makes a call, which is cancelled when the next line comes."""

        token: b24.CancelToken | None = self.limits.get("cancel")

        def at_the_next_line() -> None:
            sys.stdin.readline()
            cancel() if token is None else token.cancel()

        thread = threading.Thread(target=at_the_next_line)
        thread.start()
        try:
            return call()
        finally:
            thread.join()

    # Methods whose arguments or results the lines have in another form.

    def provider_receive(self, content_type: str, body64: str, get: list[str]) -> dict[str, Any]:
        request = self.provider().receive(content_type, base64.b64decode(body64))
        self.request = request
        return {
            "kind": request.kind,
            "member_id": request.member_id,
            "client_endpoint": request.client_endpoint,
            "get": {name: request.get(name, "") for name in get},
        }

    def provider_install_request(self) -> None:
        self.provider().install_request(self.request)

    def provider_client(self, member_id: str) -> None:
        self.clients[self.used] = self.provider().client(member_id)

    def provider_report(self, at_ms: int = 0, **arguments: Any) -> None:
        self.provider().report(**arguments, at=seconds(at_ms))

    def provider_report_reference(self, at_ms: int = 0, **arguments: Any) -> None:
        self.provider().report_reference(**arguments, at=seconds(at_ms))

    def provider_drain(self, ms: int) -> dict[str, Any]:
        return numbers(self.provider().drain(ms / 1000))

    def provider_inspect(self) -> list[dict[str, Any]]:
        return [numbers(portal) for portal in self.provider().inspect()]

    def provider_refused(self, **arguments: Any) -> list[dict[str, Any]]:
        refused = self.provider().refused(**arguments)
        shown = [dataclasses.asdict(receipt) for receipt in refused]
        return [{"at_ms": round(row.pop("at").timestamp() * 1000), **row} for row in shown]

    def provider_vocabulary(
        self, name: str, word: str, table: dict[str, str] | None = None
    ) -> b24.Status:
        return b24.Vocabulary(name, table).status(word)

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
            self.providers,
            self.request and (self.request, self.request.fields),
            [client.tokens for client in self.clients.values()],
            error,
            error and (str(error), error.args, vars(error)),
        ]
        return repr(shown)

    def do_reset(self) -> None:
        for provider in self.providers.values():
            provider.close()
        self.__init__()  # type: ignore[misc]

    def client(self) -> Any:
        return Limited(self.clients[self.used], self.limits)

    def provider(self) -> Any:
        return Limited(self.providers[self.used], self.limits)

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


class Limited:
    """A client or provider, whose calls get these limits."""

    def __init__(self, handle: b24.Client | b24.Provider, limits: dict[str, Any]) -> None:
        self._handle = handle
        self._limits = limits

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._handle, name)
        return (
            functools.partial(member, **self._limits)
            if self._limits and callable(member)
            else member
        )


def keywords(options: list[tuple[str, str]]) -> dict[str, Any]:
    """The options as keyword arguments."""
    given: dict[str, Any] = {}
    for name, value in options:
        # Python tells times in seconds. What is no number the library must refuse as it is.
        if name in ("timeout_ms", "connect_timeout_ms"):
            number = int(value) / 1000 if value.isdecimal() else value
            given[name.removesuffix("_ms")] = number
        else:
            given[name] = value
    return given


def seconds(milliseconds: int) -> float | None:
    """A time as the lines have it, where 0 is now, as Python does."""
    return milliseconds / 1000 if milliseconds else None


def numbers(value: Any) -> dict[str, Any]:
    """The members of a dataclass, with times as the lines have them."""
    shown = dataclasses.asdict(value)
    for name in {"oldest", "next_due"} & shown.keys():
        length = shown.pop(name)
        shown[name + "_ms"] = -1 if length is None else round(length * 1000)
    return shown


def main() -> None:
    adapter = Adapter()
    # Line by line: during a call that is to be cancelled another thread reads.
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(adapter.answer(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
