"""A demonstration: a portal installs the application and sends messages, and a provider in Rust,
C, Python and PHP receives them and reports what became of them.

usage: demo.py TARGET_DIRECTORY (after `make build`)
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from b24_portal import Portal

ROOT = Path(__file__).resolve().parent.parent

PYTHON = """
import sys
from pathlib import Path
from b24_messageservice import Provider
store, client_id, secret, oauth_url, ca_file, resolve, *files = sys.argv[1:]
with Provider(store=store, client_id=client_id, client_secret=secret, oauth_url=oauth_url,
              ca_file=ca_file, resolve=resolve) as provider:
    for file in files:
        request = provider.receive("application/x-www-form-urlencoded", Path(file).read_bytes())
        if request.kind == "message":
            provider.track("python-1", request.member_id, request["code"], request["message_id"])
    provider.report_reference("python-1", "delivered")
    drained = provider.drain(1)
    print(f"Python: {drained.sent} sent, {drained.waiting} waiting")
"""

PHP = """
require $argv[1];
use B24\\MessageService\\Provider;
use B24\\MessageService\\RequestKind;
use B24\\MessageService\\Status;
[, , $store, $clientId, $secret, $oauthUrl, $caFile, $resolve] = $argv;
$provider = new Provider(['store' => $store, 'client_id' => $clientId, 'client_secret' => $secret,
    'oauth_url' => $oauthUrl, 'ca_file' => $caFile, 'resolve' => $resolve]);
foreach (array_slice($argv, 8) as $file) {
    $request = $provider->receive('application/x-www-form-urlencoded', file_get_contents($file));
    if ($request->kind === RequestKind::Message) {
        [$code, $messageId] = [$request->get('code'), $request->get('message_id')];
        $provider->track('php-1', $request->memberId, $code, $messageId);
    }
}
$provider->reportReference('php-1', Status::Delivered);
$drained = $provider->drain(1);
echo "PHP: {$drained->sent} sent, {$drained->waiting} waiting\\n";
"""


def main() -> None:
    target = Path(sys.argv[1]).resolve()
    library = str(target / "release/libb24_messageservice.so")
    environment = {**os.environ, "B24_MESSAGESERVICE_LIB": library, "no_proxy": "*"}
    autoload = str(ROOT / "bindings/php/autoload.php")
    programs = {
        "rust": [str(target / "debug/examples/provider")],
        "c": [str(target / "c/bin/demo")],
        "python": [sys.executable, "-c", PYTHON],
        "php": ["php", "-d", "ffi.enable=1", "-r", PHP, "--", autoload],
    }
    with Portal(target / "debug/b24-portal") as portal, tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        options = portal.provider_options()
        resolve = options["resolve"]
        arguments = [
            f"sqlite:{place / 'b24.db'}",
            options["client_id"],
            options["client_secret"],
            options["oauth_url"],
            str(options["ca_file"]),
            resolve if isinstance(resolve, str) else ",".join(resolve),
        ]
        # The portal sends the event of its installation to every program: the first stores it in
        # the store that they share, and the others know it.
        (place / "installation").write_text(portal.install()["body"])
        for language, program in programs.items():
            order = portal.message(code="provider1", message_id=f"from-{language}")
            (place / "message").write_text(order["body"])
            files = [str(place / "installation"), str(place / "message")]
            subprocess.run([*program, *arguments, *files], env=environment, check=True)

        seen, stored = portal.seen(), portal.messages()
        print("\nWhat the portal recorded:")
        for request in seen["log"]:
            commands = request["params"].get("cmd", {})
            print(
                f"  {request['method']} https://{request['host']}{request['path']}  "
                f"{request['user_agent']}  HTTP {request['answer']['status']}"
            )
            for command in commands.values() if isinstance(commands, dict) else commands:
                print(f"    {command}")
        for message, status in sorted(stored.items()):
            print(f"  {message} is {status}")
        expected = {f"provider1|from-{name}": "delivered" for name in programs}
        if stored != expected or seen["bad"]:
            sys.exit(
                f"demo: the portal should have recorded {expected}, and nothing bad: {seen['bad']}"
            )


if __name__ == "__main__":
    main()
