"""A Bitrix24 portal for tests: starts and controls the emulator ``b24-portal``.

With pytest, use the fixture ``b24_portal``, which needs no import::

    def test_reports_delivery(b24_portal):
        with Client(**b24_portal.options()) as client:
            client.message_status_update("provider1", "abc", "delivered")
        assert b24_portal.messages() == {"provider1|abc": "delivered"}

Without pytest::

    with b24_portal.Portal() as portal:
        ...
"""

from __future__ import annotations

from ._portal import (
    Logged,
    Pair,
    Portal,
    PortalError,
    ProgramMissing,
    Reply,
    Request,
    Seen,
    Sender,
    Tokens,
    find_program,
)

__all__ = [
    "Logged",
    "Pair",
    "Portal",
    "PortalError",
    "ProgramMissing",
    "Reply",
    "Request",
    "Seen",
    "Sender",
    "Tokens",
    "find_program",
]
