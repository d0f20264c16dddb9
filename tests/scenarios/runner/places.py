"""Addresses at which connections fail before they reach a portal, and a proxy that works."""

from __future__ import annotations

import base64
import os
import re
import socket
import sqlite3
import tempfile
import threading
from contextlib import closing
from pathlib import Path

LOCAL = ("127.0.0.1", 0)
# Directories that tokens must not be kept in; `foreign` belongs to another user.
DIRECTORIES = {"public": 0o777, "group": 0o770, "group-read-write": 0o775, "foreign": 0o755}
NOBODY = 65534


class Places:
    """The addresses. What goes through the proxy is counted, for one row at a time."""

    def __init__(self, https_port: int) -> None:
        self.https_port = https_port
        # Bound, so that nobody else gets it, and not listening: connections are refused.
        self.unused = socket.socket()
        self.unused.bind(LOCAL)
        # Listening with no room left: connections are neither accepted nor refused.
        self.stalled = socket.create_server(LOCAL, backlog=0)
        self.waiting = [socket.socket() for _ in range(4)]
        for waiting in self.waiting:
            waiting.setblocking(False)
            waiting.connect_ex(self.stalled.getsockname())
        # Accepting connections, on which nothing is ever sent.
        self.silent = socket.create_server(LOCAL, backlog=128)
        self.tunnels = 0
        self.proxy_requests = 0
        self.proxy = socket.create_server(LOCAL)
        threading.Thread(target=self._serve_proxy, daemon=True).start()

    def names(self) -> dict[str, str]:
        """The placeholders that stand for them."""
        return {
            "unused_port": str(self.unused.getsockname()[1]),
            "stalled_port": str(self.stalled.getsockname()[1]),
            "silent_port": str(self.silent.getsockname()[1]),
            "proxy_port": str(self.proxy.getsockname()[1]),
        }

    def _serve_proxy(self) -> None:
        while True:
            try:
                client, _ = self.proxy.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=[client], daemon=True).start()

    def _tunnel(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(4096)
            if not data:
                return
            head += data
        if not head.startswith(b"CONNECT "):
            client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
            client.close()
            return
        self.proxy_requests += 1
        status = proxy_status(head, self.proxy_requests)
        if status != 200:
            client.sendall(b"HTTP/1.1 %d Refused\r\nContent-Length: 0\r\n\r\n" % status)
            client.close()
            return
        self.tunnels += 1
        portal = socket.create_connection(("127.0.0.1", self.https_port))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=pump, args=[portal, client], daemon=True)
        back.start()
        pump(client, portal)
        back.join()
        client.close()
        portal.close()

    def close(self) -> None:
        for place in (self.unused, self.stalled, *self.waiting, self.silent, self.proxy):
            place.close()


def proxy_status(head: bytes, number: int) -> int:
    """The status that the proxy gives its request of this number: a user named 503-200 asks for a
    503, and a 200 to every request after it."""
    credentials = re.search(rb"(?i)proxy-authorization: basic (\S+)", head)
    user = base64.b64decode(credentials[1]).split(b":")[0] if credentials else b"200"
    statuses = [int(status) for status in user.split(b"-")]
    return statuses[min(number, len(statuses)) - 1]


def pump(source: socket.socket, target: socket.socket) -> None:
    """Copies until one end is closed."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # a reset on one side ends both


def temporary_directory() -> tempfile.TemporaryDirectory[str]:
    """The directory of a row, with the content that tests/README.md describes."""
    directory = tempfile.TemporaryDirectory(prefix="b24-scenario-")
    (Path(directory.name) / "not-pem.txt").write_text("no certificate\n")
    for name, mode in DIRECTORIES.items():
        path = Path(directory.name) / name
        path.mkdir()
        path.chmod(mode)
    other = Path(directory.name) / "other.db"
    with closing(sqlite3.connect(other)) as database, database:
        database.execute("CREATE TABLE cities (name TEXT)")
    other.chmod(0o600)
    foreign = Path(directory.name) / "foreign.db"
    foreign.touch(0o600)
    if os.geteuid() == 0:
        for path in (Path(directory.name) / "foreign", foreign):
            os.chown(path, NOBODY, NOBODY)
    return directory
