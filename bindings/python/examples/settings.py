"""Options from environment variables: B24_ACCESS_TOKEN, B24_CA_FILE, ….

The library itself reads no such variables; where options come from is the program's choice. Every
option may be given as text, so nothing needs converting.
"""

from __future__ import annotations

import os

NAMES = [
    "access_token",
    "refresh_token",
    "client_id",
    "client_secret",
    "oauth_url",
    "timeout",
    "rate_limit",
    "state_dir",
    "ca_file",
    "proxy",
    "resolve",
]
PROVIDER_NAMES = [
    "store",
    "store_key_file",
    "durability",
    "client_id",
    "client_secret",
    "oauth_url",
    "timeout",
    "rate_limit",
    "workers",
    "ca_file",
    "proxy",
    "resolve",
]


def options(*names: str) -> dict[str, str]:
    """The options of these names, or of all that a client takes, that the environment sets."""
    wanted = names or tuple(NAMES)
    return {
        name: os.environ["B24_" + name.upper()]
        for name in wanted
        if "B24_" + name.upper() in os.environ
    }


def provider_options() -> dict[str, str]:
    """The options of a provider that the environment sets."""
    return options(*PROVIDER_NAMES)
