"""Tries an installed package on its own: ``python -I smoke.py /path/to/b24-portal``."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
from datetime import datetime, timezone

import b24_messageservice as b24


def main() -> None:
    with subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as emulator:
        assert emulator.stdout is not None
        assert emulator.stdin is not None
        ready = json.loads(emulator.stdout.readline())
        with b24.Client(
            "portal.bitrix24.test",
            access_token="access-0000000000000001",
            ca_file=ready["ca_file"],
            resolve=f"portal.bitrix24.test:443:127.0.0.1:{ready['https_port']}",
            proxy="none",
        ) as client:
            client.message_status_update("provider1", 1, b24.Status.DELIVERED)
            good, bad = client.message_status_update_batch(
                [("provider1", "m2", "sent"), ("provider1", "", "sent")]
            )
        assert good is None
        assert isinstance(pickle.loads(pickle.dumps(bad)), b24.InvalidArgument)
        emulator.stdin.close()
    with (
        tempfile.TemporaryDirectory() as directory,
        b24.Provider(
            store=f"sqlite:{directory}/b24.db", client_id="app.1", client_secret="secret"
        ) as provider,
    ):
        state = b24.Vocabulary("smpp").status("DELIVRD")
        provider.report("0" * 32, "provider1", 1, state, datetime.now(timezone.utc))
        assert [portal.waiting for portal in provider.inspect()] == [1]
    print(f"CPython {sys.version.split()[0]}: b24_messageservice {b24.__version__} works")


if __name__ == "__main__":
    main()
