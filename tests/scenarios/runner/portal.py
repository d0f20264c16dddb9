"""The emulator's process and its control API."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

# The control API is on this machine, whatever proxy the environment names.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PortalError(Exception):
    """The emulator could not be started, or refused a command."""


class Portal:
    """A running emulator, told what to do and asked what it saw."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise PortalError(f"{program} ended without telling its addresses")
        self.addresses: dict[str, Any] = json.loads(line)

    def close(self) -> None:
        self.process.communicate()

    def reset(self, **settings: Any) -> None:
        self.ask("POST", "/reset", settings)

    def set(self, **settings: Any) -> None:
        self.ask("POST", "/set", settings)

    def faults(self, faults: list[dict[str, Any]]) -> None:
        self.ask("POST", "/fault", faults)

    def release(self) -> None:
        self.ask("POST", "/release")

    def wait(self, requests: int = 0, *, renewal_requests: int = 0) -> None:
        wanted = {"requests": requests, "renewal_requests": renewal_requests}
        if not self.ask("POST", "/wait", wanted)["reached"]:
            raise TimeoutError(f"the portal has not seen {wanted}")

    def seen(self) -> dict[str, Any]:
        return dict(self.ask("GET", "/seen"))

    def messages(self) -> dict[str, str]:
        told: dict[str, str] = self.ask("GET", "/messages")
        del told["history"]
        return told

    def history(self) -> dict[str, list[str]]:
        return dict(self.ask("GET", "/messages")["history"])

    def tokens(self) -> dict[str, Any]:
        return dict(self.ask("GET", "/tokens"))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.addresses["control"] + path, data, method=method)
        try:
            with OPENER.open(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            raise PortalError(f"{method} {path}: {refused.read().decode()}") from refused
