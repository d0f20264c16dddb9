"""One status update on an open connection, with each client for Python. Rounds are interleaved.

    bench.py PORT CA_FILE|- ROUNDS CALLS

Without a CA_FILE ("-") over plain HTTP. All of them call the portal by its name; lookups of that
name lead to PORT. The vendor's SDK speaks HTTPS only, with the certificates that requests trusts:
CA_FILE is made known to it by REQUESTS_CA_BUNDLE. Prints a line of JSON for each round of each
contender: microseconds per call, and of those the client's processor time.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import httpx
import pycurl
import requests
from b24_messageservice import Client

HOST = "portal.bitrix24.test"
PATH = "/rest/messageservice.message.status.update"
PROVIDER, MESSAGE_ID, STATUS = "provider1", "65575980fa531ac284c2ee68f81ebebd", "delivered"
TOKEN = "access-0000000000000001"  # noqa: S105
TIMEOUT = 30
HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/json",
    "User-Agent": "bench/1",
}

Call = Callable[[], None]


def find_at(port: int) -> None:
    """Sends every lookup of the portal's name to the emulator's port."""
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, service: Any, *rest: Any, **named: Any) -> Any:
        if host == HOST:
            host, service = "127.0.0.1", port
        return look_up(host, service, *rest, **named)

    socket.getaddrinfo = getaddrinfo


def parameters() -> dict[str, str]:
    return {"CODE": PROVIDER, "MESSAGE_ID": MESSAGE_ID, "STATUS": STATUS, "auth": TOKEN}


def check(status: int, body: Any) -> None:
    if status != 200 or body["result"] is not True:
        raise SystemExit(f"the portal answered {status}: {body}")


def library(port: int, ca_file: str | None) -> Call:
    client = Client(
        f"{'https' if ca_file else 'http'}://{HOST}",
        access_token=TOKEN,
        rate_limit="off",
        proxy="none",
        resolve=[f"{HOST}:{443 if ca_file else 80}:127.0.0.1:{port}"],
        ca_file=ca_file,
        allow_http=ca_file is None,
    )
    return lambda: client.message_status_update(PROVIDER, MESSAGE_ID, STATUS)


def http_client(_: int, ca_file: str | None) -> Call:
    connection = (
        http.client.HTTPSConnection(
            HOST, timeout=TIMEOUT, context=ssl.create_default_context(cafile=ca_file)
        )
        if ca_file
        else http.client.HTTPConnection(HOST, timeout=TIMEOUT)
    )

    def call() -> None:
        connection.request("POST", PATH, json.dumps(parameters()), HEADERS)
        answer = connection.getresponse()
        check(answer.status, json.loads(answer.read()))

    return call


def py_curl(port: int, ca_file: str | None) -> Call:
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, f"{'https' if ca_file else 'http'}://{HOST}{PATH}")
    curl.setopt(pycurl.CONNECT_TO, [f"::127.0.0.1:{port}"])
    curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in HEADERS.items()])
    curl.setopt(pycurl.TIMEOUT, TIMEOUT)
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.PROXY, "")
    if ca_file:
        curl.setopt(pycurl.CAINFO, ca_file)

    def call() -> None:
        answer = BytesIO()
        curl.setopt(pycurl.POSTFIELDS, json.dumps(parameters()))
        curl.setopt(pycurl.WRITEDATA, answer)
        curl.perform()
        check(curl.getinfo(pycurl.RESPONSE_CODE), json.loads(answer.getvalue()))

    return call


def requests_session(_: int, ca_file: str | None) -> Call:
    session = requests.Session()
    session.trust_env = False
    session.verify = ca_file or True
    session.headers.update(HEADERS)
    url = f"{'https' if ca_file else 'http'}://{HOST}{PATH}"

    def call() -> None:
        answer = session.post(url, json=parameters(), timeout=TIMEOUT)
        check(answer.status_code, answer.json())

    return call


def httpx_client(_: int, ca_file: str | None) -> Call:
    client = httpx.Client(
        headers=HEADERS,
        timeout=TIMEOUT,
        trust_env=False,
        verify=ssl.create_default_context(cafile=ca_file) if ca_file else True,
    )
    url = f"{'https' if ca_file else 'http'}://{HOST}{PATH}"

    def call() -> None:
        answer = client.post(url, json=parameters())
        check(answer.status_code, answer.json())

    return call


def vendor_sdk(_: int, ca_file: str | None) -> Call:
    if ca_file is None:
        raise ValueError("b24pysdk speaks HTTPS only")
    from b24pysdk import BitrixApp, BitrixToken, Client

    os.environ["REQUESTS_CA_BUNDLE"] = ca_file
    app = BitrixApp(client_id="app.1", client_secret="secret-0000000000000001")  # noqa: S106
    token = BitrixToken(domain=HOST, auth_token=TOKEN, bitrix_app=app)
    status = Client(token).messageservice.message.status

    def call() -> None:
        result = status.update(PROVIDER, MESSAGE_ID, STATUS).result
        if result is not True:
            raise SystemExit(f"the portal answered {result}")

    return call


CONTENDERS: dict[str, Callable[[int, str | None], Call]] = {
    "b24-messageservice": library,
    "http.client": http_client,
    "pycurl": py_curl,
    "requests.Session": requests_session,
    "httpx.Client": httpx_client,
    "b24pysdk": vendor_sdk,
}
SLOW = {"b24pysdk": 20}
"""These make fewer calls in a round, by this factor, because they open a connection for each."""


def main() -> None:
    port, rounds, calls = int(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4])
    ca_file = None if sys.argv[2] == "-" else sys.argv[2]
    find_at(port)
    ready = {
        name: make(port, ca_file)
        for name, make in CONTENDERS.items()
        if ca_file or make is not vendor_sdk
    }
    for call in ready.values():
        call()
    for _ in range(rounds):
        for name, call in ready.items():
            count = max(1, calls // SLOW.get(name, 1))
            processor, start = time.process_time(), time.perf_counter()
            for _ in range(count):
                call()
            wall = (time.perf_counter() - start) / count * 1e6
            cpu = (time.process_time() - processor) / count * 1e6
            print(json.dumps({"name": name, "wall": wall, "cpu": cpu}))


if __name__ == "__main__":
    main()
