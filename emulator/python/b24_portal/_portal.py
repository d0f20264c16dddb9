"""The emulator's process and its control API."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sysconfig
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from b24_messageservice import Client
    from typing_extensions import Self

PROGRAM = "b24-portal"
VARIABLE = "B24_PORTAL_BIN"
OAUTH_HOST = "oauth.bitrix24.test"

# A command is answered at once, but `/wait` when its time is over: so much longer it may take.
PATIENCE = 30.0

# Of all emulators that this process starts.
RESETS = itertools.count(1)

# No proxy: the emulator is on this machine, whatever the environment says.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PortalError(Exception):
    """The emulator could not be started, or refused a command."""


class ProgramMissing(PortalError):
    """The emulator's program is not on this machine."""


class Pair(TypedDict):
    """An access token, and the refresh token that came with it."""

    access_token: str
    refresh_token: str
    expires: int
    user_id: int
    admin: bool
    lost: bool


class Tokens(TypedDict):
    """The tokens that are valid at present: those of the first pair, and all pairs."""

    access_token: str
    refresh_token: str
    expires: int
    lost: bool
    pairs: list[Pair]
    installed: bool
    member_id: str
    application_token: str


class Reply(TypedDict):
    """What a handler answered; the status is 0 if it did not."""

    status: int
    body: str


class Request(TypedDict, total=False):
    """A request of the portal."""

    content_type: str
    body: str
    query: str
    """The parameters in the URL of a frame."""
    pair: int
    """The place in ``tokens()["pairs"]`` of the tokens that an installation brings."""
    message_id: str
    """The id of a message."""
    reply: Reply
    """The last of the replies, if the request was sent."""
    replies: list[Reply]


class Sender(TypedDict):
    """A message provider that is installed, with its texts as they were given."""

    type: str
    handler: str
    name: str | dict[str, str]
    description: str | dict[str, str]


class Logged(TypedDict):
    """One request, as the portal saw it."""

    n: int
    host: str
    path: str
    method: str
    connection: int
    params: Any
    answer: dict[str, Any]
    user_agent: str


class Seen(TypedDict):
    """What the portal received since the last reset."""

    connections: int
    tls_handshakes_full: int
    tls_resumed: int
    tls_failed: int
    open_connections: int
    requests: int
    updates: int
    batches: int
    commands: int
    renewals: int
    renewal_requests: int
    spent_tokens: int
    app_info: int
    user_admin: int
    late: int
    query_limit: int
    bad: list[str]
    log: list[Logged]


def command(path: str, host: str | None) -> str:
    """The path of a command for another portal than the main one."""
    return path if host is None else f"{path}?{urllib.parse.urlencode({'host': host})}"


def find_program() -> str:
    """The path of the emulator.

    It is the one that ``B24_PORTAL_BIN`` names, or the one that was installed with this package, or
    the first on ``PATH``.
    """
    if named := os.environ.get(VARIABLE):
        return named
    beside = Path(__file__).parents[1] / "bin"  # where `pip install --target` puts programs
    for directory in (sysconfig.get_path("scripts"), user_scripts(), beside):
        if found := shutil.which(PROGRAM, path=str(directory)):
            return found
    if found := shutil.which(PROGRAM):
        return found
    raise ProgramMissing(
        f"the program {PROGRAM} is missing: it is not with this package and not on PATH, and "
        f"{VARIABLE} does not name it. The package's wheel for Linux brings it along: pip install "
        f"--force-reinstall --only-binary :all: b24-portal. Elsewhere build it with cargo install "
        f"--path CHECKOUT/emulator"
    )


def user_scripts() -> str:
    """Where ``pip install --user`` puts programs."""
    return sysconfig.get_path("scripts", f"{os.name}_user")


class Portal:
    """A running emulator.

    ``program`` is the emulator, by default what :func:`find_program` finds. Its root certificate is
    written to ``directory``, by default a temporary one. ``settings`` are those of the first
    :meth:`reset`. Settings, faults and counts are those of the emulator's documentation.
    """

    def __init__(
        self,
        program: str | os.PathLike[str] | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> None:
        """Starts the emulator, and returns when it is ready."""
        path = find_program() if program is None else os.fspath(program)
        options = [] if directory is None else ["--dir", os.fspath(directory)]
        try:
            self._process = subprocess.Popen(
                [path, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise PortalError(f"{path} cannot be started: {error.strerror}") from error
        assert self._process.stdout is not None
        ready = self._process.stdout.readline()
        if not ready:
            raise PortalError(f"{path} ended before it was ready: {self._end()}")
        self.addresses: dict[str, Any] = json.loads(ready)
        """What the emulator printed when it was ready; see its documentation."""
        try:
            self.reset(**settings)
        except PortalError:
            self.close()
            raise

    def __enter__(self) -> Self:
        """The emulator, which :meth:`close` ends after the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the emulator."""
        self.close()

    def close(self) -> None:
        """Ends the emulator, and waits for its end. A second time does nothing."""
        if self._process.returncode is None:
            self._end()

    def _end(self) -> int:
        # It ends when its standard input does.
        self._process.communicate()
        return self._process.returncode

    @property
    def https_port(self) -> int:
        """The port of 127.0.0.1 where the portal answers, whatever the host name."""
        return int(self.addresses["https_port"])

    @property
    def http_port(self) -> int:
        """The same portal without TLS."""
        return int(self.addresses["http_port"])

    @property
    def oauth_port(self) -> int:
        """The authorization server."""
        return int(self.addresses["oauth_port"])

    @property
    def ca_file(self) -> str:
        """The root certificate to trust."""
        return str(self.addresses["ca_file"])

    @property
    def control(self) -> str:
        """The URL of the control API."""
        return str(self.addresses["control"])

    @property
    def pid(self) -> int:
        """The emulator's process."""
        return self._process.pid

    def resolve(self, host: str | None = None) -> list[str]:
        """Where the portal and the authorization server are found, as curl's ``--resolve`` has it.

        ``host`` is another name of the portal than :attr:`host`.
        """
        return [
            f"{host or self.host}:443:127.0.0.1:{self.https_port}",
            f"{OAUTH_HOST}:443:127.0.0.1:{self.oauth_port}",
        ]

    def options(self, **overrides: Any) -> dict[str, Any]:
        """The options of a ``b24_messageservice.Client`` of this portal, with ``overrides``."""
        options = {
            "portal": self.host,
            "access_token": self.access_token,
            "ca_file": self.ca_file,
            "resolve": self.resolve(),
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

    def provider_options(self, **overrides: Any) -> dict[str, Any]:
        """The options of a ``b24_messageservice.Provider``, with ``overrides``.

        With them it finds the portals under all names, and the authorization server.
        """
        options = {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "oauth_url": f"https://{OAUTH_HOST}:{self.oauth_port}",
            "ca_file": self.ca_file,
            "resolve": [f"*:{port}:127.0.0.1" for port in (self.https_port, self.oauth_port)],
            "proxy": "none",
        }
        return {**options, **overrides}

    def client(self, **overrides: Any) -> Client:
        """A ``b24_messageservice.Client`` of this portal, if that package is installed."""
        from b24_messageservice import Client

        return Client(**self.options(**overrides))

    def reset(self, **settings: Any) -> None:
        """Forgets everything, and goes on as a new portal with these settings over the defaults.

        Each reset gives another host, another application and other tokens, unless ``settings``
        name them: a client may remember for the life of the process what it knows of a portal.
        """
        reset = next(RESETS)
        # Never given before, nor by another process: a client may keep tokens in a directory.
        number = f"{os.getpid():08}{reset:08}"
        installed: dict[str, Any] = {
            "client_id": f"app.{number}",
            "access_token": f"installed-access-{number}",
            "refresh_token": f"installed-refresh-{number}",
            "client_secret": f"installed-secret-{number}",
        }
        installed.update(settings)
        self.ask("POST", "/reset", installed)
        self.host = f"portal{reset}.bitrix24.test"
        """A name of the portal that no earlier one had; it answers under every other as well."""
        self.client_id: str = installed["client_id"]
        """The application that is installed on it."""
        self.client_secret: str = installed["client_secret"]
        """The application's secret."""
        self.access_token: str = installed["access_token"]
        """The first access token; renewals give others."""
        self.refresh_token: str = installed["refresh_token"]
        """What the first renewal takes."""

    def set(self, **settings: Any) -> None:
        """Changes settings, and keeps everything else."""
        self.ask("POST", "/set", settings)

    def fault(self, kind: str, **fault: Any) -> None:
        """Orders a fault: ``fault("drop_after", at="update", count=2)``."""
        self.faults([{"kind": kind, **fault}])

    def faults(self, faults: Iterable[Mapping[str, Any]]) -> None:
        """Orders several faults. Each request takes the first that applies to it."""
        self.ask("POST", "/fault", [dict(fault) for fault in faults])

    def release(self) -> None:
        """Lets go of every request that hangs or waits for a latency."""
        self.ask("POST", "/release")

    def wait(self, requests: int = 0, *, renewal_requests: int = 0, timeout: float = 10.0) -> None:
        """Waits until so many calls and requests for a renewal have come since the last reset.

        Raises :class:`TimeoutError` if they have not within ``timeout`` seconds.
        """
        wanted = {"requests": requests, "renewal_requests": renewal_requests}
        body = {**wanted, "timeout_ms": round(timeout * 1000)}
        told = self.ask("POST", "/wait", body, timeout=timeout + PATIENCE)
        if not told["reached"]:
            come = {name: told[name] for name in wanted}
            raise TimeoutError(f"after {timeout} s there were {come} of {wanted}")

    def seen(self, log: int | None = None) -> Seen:
        """What the portal saw: counts, violations of the protocol (``bad``), and a log.

        ``log`` is how many of the last requests are wanted; by default all that are kept.
        """
        seen: Seen = self.ask("GET", "/seen" if log is None else f"/seen?log={log}")
        return seen

    def messages(self, host: str | None = None) -> dict[str, str]:
        """The status of each message, by ``"CODE|MESSAGE_ID"``; of another portal with ``host``."""
        told: dict[str, str] = self.ask("GET", command("/messages", host))
        del told["history"]
        return told

    def history(self, host: str | None = None) -> dict[str, list[str]]:
        """All statuses of each message, the oldest first."""
        history: dict[str, list[str]] = self.ask("GET", command("/messages", host))["history"]
        return history

    def all_messages(self) -> dict[str, dict[str, str]]:
        """The messages of each portal that has any, by its host; of the main one by ``""``."""
        told: dict[str, dict[str, str]] = self.ask("GET", "/messages?all=1")
        for messages in told.values():
            del messages["history"]
        return told

    def senders(self, host: str | None = None) -> dict[str, Sender]:
        """The message providers that are installed, by their codes."""
        senders: dict[str, Sender] = self.ask("GET", command("/senders", host))
        return senders

    def tokens(self, host: str | None = None) -> Tokens:
        """The present tokens; ``lost`` if a spent refresh token came again."""
        tokens: Tokens = self.ask("GET", command("/tokens", host))
        return tokens

    def spend(self, pair: int = 0, *, host: str | None = None) -> None:
        """Lets a pair of ``tokens()["pairs"]`` not be renewed any more: ``invalid_grant``."""
        self.ask("POST", "/spend", {"host": host or self.host, "pair": pair})

    def install(self, *, as_: str = "event", host: str | None = None, **order: Any) -> Request:
        """Installs the application, and gives the request that tells a provider.

        ``as_`` is ``"event"``, ``"frame"`` or ``"oauth"``; ``host`` another portal than
        :attr:`host`. All other members of the order are those of the emulator's documentation.
        """
        return self._request("/install", host, {"as": as_, **order})

    def message(self, *, host: str | None = None, **order: Any) -> Request:
        """The request that sends a message to a provider."""
        return self._request("/message", host, order)

    def uninstall(self, *, host: str | None = None, **order: Any) -> Request:
        """Uninstalls the application, and gives the request that tells a provider."""
        return self._request("/uninstall", host, order)

    def _request(self, path: str, host: str | None, order: dict[str, Any]) -> Request:
        # A handler may take its time as often as the request is sent.
        patience = PATIENCE * max(1, order.get("times", 1))
        order = {"host": host or self.host, **order}
        request: Request = self.ask("POST", path, order, timeout=patience)
        return request

    def ask(self, method: str, path: str, body: Any = None, *, timeout: float = PATIENCE) -> Any:
        """Sends a command to the control API, and gives its answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control + path, data, method=method)  # noqa: S310
        try:
            with OPENER.open(request, timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                raise PortalError(f"{method} {path}: {json.load(refused)['error']}") from None
