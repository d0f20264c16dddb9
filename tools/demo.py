"""The main job, end to end: a portal, and a status update from C, Python and PHP over TLS.

usage: demo.py TARGET_DIRECTORY (after `make build`)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "access-0000000000000001"
PORTAL = "portal.bitrix24.test"

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
    with subprocess.Popen(
        [target / "debug/b24-portal"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as portal:
        assert portal.stdout is not None
        assert portal.stdin is not None
        told = json.loads(portal.stdout.readline())
        resolve = f"{PORTAL}:443:127.0.0.1:{told['https_port']}"
        arguments = [PORTAL, TOKEN, told["ca_file"], resolve]
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
            print(f"{language}: told {PORTAL} that its message was delivered")

        with urllib.request.urlopen(f"{told['control']}/messages") as answer:
            stored = {key: value for key, value in json.load(answer).items() if "|" in key}
        with urllib.request.urlopen(f"{told['control']}/seen") as answer:
            seen = json.load(answer)
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
        portal.stdin.close()


if __name__ == "__main__":
    main()
