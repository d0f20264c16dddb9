"""A portal for your own tests: the emulator ``b24-portal``, as a pytest fixture.

In ``conftest.py``::

    pytest_plugins = ["b24_messageservice.testing"]

and in a test::

    def test_reports_delivery(portal):
        with portal.client() as client:
            client.message_status_update("provider1", "abc", "delivered")
        assert portal.messages()["provider1|abc"] == "delivered"

The program is taken from the environment variable ``B24_PORTAL_BIN``, else from ``PATH``; without
it the tests that ask for the fixture are skipped, and say so. One emulator serves the whole
session; each test gets it freshly reset.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from b24_messageservice import Client, renewals_wait

__all__ = ["Portal", "b24_portal", "portal"]

OAUTH_HOST = "oauth.bitrix24.test"


class Portal:
    """A running emulator, told what to do and asked what it saw.

    Settings, faults and counts are those of ``b24-portal``'s documentation. Each reset gives the
    portal another host and other tokens: the library remembers, for the life of the process, a
    portal's rate limit and an installation's renewed tokens.
    """

    def __init__(self, program: str) -> None:
        """Starts the program, and returns when it is ready."""
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        ready = self._process.stdout.readline()
        if not ready:
            raise RuntimeError(f"{program} ended before it was ready: {self._process.wait()}")
        self.addresses: dict[str, Any] = json.loads(ready)
        """What the emulator printed when it was ready: ports, control address, ``ca_file``."""
        self._resets = 0
        self.reset()

    def close(self) -> None:
        """Ends the emulator, and waits for its end."""
        self._process.communicate()

    def options(self, **overrides: Any) -> dict[str, Any]:
        """The keyword arguments of a :class:`Client` of this portal; ``None`` takes one away."""
        resolve = [
            f"{self.host}:443:127.0.0.1:{self.addresses['https_port']}",
            f"{OAUTH_HOST}:443:127.0.0.1:{self.addresses['oauth_port']}",
        ]
        options = {
            "portal": self.host,
            "access_token": self.access_token,
            "ca_file": self.addresses["ca_file"],
            "resolve": resolve,
            "proxy": "none",
        }
        return {**options, **overrides}

    def renewable(self, **overrides: Any) -> dict[str, Any]:
        """As :meth:`options`, with what it takes to renew an expired token."""
        credentials = {
            "refresh_token": self.refresh_token,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "oauth_url": f"https://{OAUTH_HOST}",
        }
        return self.options(**{**credentials, **overrides})

    def client(self, **overrides: Any) -> Client:
        """A client of this portal."""
        return Client(**self.options(**overrides))

    def reset(self, **settings: Any) -> None:
        """Forgets everything, and goes on as a new portal with these settings over the defaults."""
        self._resets += 1
        # None that a renewal gives: those are numbered too, and would be taken for the first.
        number = f"{self._resets:016}"
        self.host = f"portal{self._resets}.bitrix24.test"
        """Where clients reach it, by ``resolve``."""
        self.client_id = f"app.{self._resets}"
        """The application that is installed on it."""
        self.access_token = f"installed-access-{number}"
        """The first access token; renewals give others."""
        self.refresh_token = f"installed-refresh-{number}"
        """What the first renewal takes."""
        self.client_secret = f"installed-secret-{number}"
        """The application's secret."""
        installed = {
            "application": self.client_id,
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
        }
        self._ask("/reset", {**installed, **settings})

    def set(self, **settings: Any) -> None:
        """Changes settings."""
        self._ask("/set", settings)

    def fault(self, kind: str, **fault: Any) -> None:
        """Orders a fault for the next request that it applies to."""
        self._ask("/fault", [{"kind": kind, **fault}])

    def release(self) -> None:
        """Lets go of every request that a fault made hang."""
        self._ask("/release", {})

    def wait(self, requests: int, timeout: float = 10.0) -> None:
        """Waits until the portal has seen that many requests since it was reset."""
        self._ask("/wait", {"requests": requests, "timeout_ms": round(timeout * 1000)})

    def wait_for_renewals(self, requests: int, timeout: float = 10.0) -> None:
        """Waits until a renewal was asked for that many times since the portal was reset."""
        self._ask("/wait", {"renewal_requests": requests, "timeout_ms": round(timeout * 1000)})

    def seen(self) -> dict[str, Any]:
        """What the portal saw: counts, protocol violations (``bad``), and a log."""
        answer: dict[str, Any] = self._ask("/seen")
        return answer

    def messages(self) -> dict[str, Any]:
        """The status of each message, by ``"CODE|MESSAGE_ID"``."""
        answer: dict[str, Any] = self._ask("/messages")
        return answer

    def tokens(self) -> dict[str, Any]:
        """The present pair of tokens."""
        answer: dict[str, Any] = self._ask("/tokens")
        return answer

    def _ask(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        # No proxy: the emulator is on this machine, whatever the environment says.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.addresses["control"] + path, data, timeout=60) as response:
            text = response.read()
        return json.loads(text) if text else None


@pytest.fixture(scope="session")
def b24_portal() -> Iterator[Portal]:
    """The session's one emulator."""
    program = os.environ.get("B24_PORTAL_BIN") or shutil.which("b24-portal")
    if program is None:
        pytest.skip("b24-portal is not on PATH, and B24_PORTAL_BIN does not name it")
    portal = Portal(program)
    yield portal
    portal.close()


@pytest.fixture
def portal(b24_portal: Portal) -> Iterator[Portal]:
    """The emulator, freshly reset. A renewal that a test leaves behind is over before the next."""
    b24_portal.reset()
    yield b24_portal
    # Its token is unknown from here on, which ends the renewal.
    b24_portal.reset()
    renewals_wait(45)
