"""A demonstration: the emulator, and a status update from C, Python and PHP over TLS.

usage: demo.py TARGET_DIRECTORY (after `make build`)
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from b24_portal import Portal

ROOT = Path(__file__).resolve().parent.parent
HOST = "portal.bitrix24.test"

PYTHON = """
import sys
from b24_messageservice import Client, Status
portal, token, ca_file, resolve = sys.argv[1:]
with Client(portal, access_token=token, ca_file=ca_file, resolve=resolve) as client:
    client.message_status_update("provider1", "from-python", Status.DELIVERED)
"""

PHP = """
require $argv[1];
use B24\\MessageService\\Client;
use B24\\MessageService\\Status;
[, , $portal, $token, $caFile, $resolve] = $argv;
$options = ['access_token' => $token, 'ca_file' => $caFile, 'resolve' => $resolve];
$client = new Client($portal, $options);
$client->messageStatusUpdate('provider1', 'from-php', Status::Delivered);
"""


def main() -> None:
    target = Path(sys.argv[1]).resolve()
    with Portal(target / "debug/b24-portal") as portal:
        resolve = portal.resolve(HOST)[0]
        arguments = [HOST, portal.access_token, portal.ca_file, resolve]
        library = str(target / "release/libb24_messageservice.so")
        environment = {**os.environ, "B24_MESSAGESERVICE_LIB": library, "no_proxy": "*"}
        autoload = str(ROOT / "bindings/php/autoload.php")
        programs = {
            "C": [str(target / "c/bin/demo"), *arguments],
            "Python": [sys.executable, "-c", PYTHON, *arguments],
            "PHP": ["php", "-d", "ffi.enable=1", "-r", PHP, "--", autoload, *arguments],
        }
        for language, program in programs.items():
            subprocess.run(program, env=environment, check=True)
            print(f"{language}: told {HOST} that its message was delivered")

        seen, stored = portal.seen(), portal.messages()
        print("\nWhat the portal recorded:")
        for request in seen["log"]:
            sent = request["params"]
            answered = request["answer"]["status"]
            print(
                f"  {request['method']} https://{request['host']}{request['path']}  "
                f"CODE={sent['CODE']} MESSAGE_ID={sent['MESSAGE_ID']} STATUS={sent['STATUS']}  "
                f"{request['user_agent']}  HTTP {answered}"
            )
        for message, status in sorted(stored.items()):
            print(f"  {message} is {status}")
        expected = {f"provider1|from-{name}": "delivered" for name in ("c", "python", "php")}
        if stored != expected or seen["bad"]:
            sys.exit(
                f"demo: the portal should have recorded {expected}, and nothing bad: {seen['bad']}"
            )


if __name__ == "__main__":
    main()
