"""What a portal posts to a provider's handler when a message is to be sent."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl


class Forged(Exception):
    """The request does not come from the portal that the application was installed on."""


@dataclass(frozen=True)
class Message:
    """A message to send, with all that a report about it needs."""

    code: str
    message_id: str
    to: str
    text: str
    portal: str
    """The portal's REST address, for the option ``portal`` of a client."""
    access_token: str = field(repr=False)
    """Valid for an hour. No refresh token comes with a message."""


def read(body: bytes, content_type: str, application_token: str) -> Message:
    """The message in a request, after checking that the portal sent it.

    ``application_token`` is the one received when the application was installed.
    """
    if content_type.startswith("application/json"):
        fields = flat(json.loads(body))
    else:
        # PHP's notation: auth[access_token]=…
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
    given = fields.get("auth[application_token]", "").encode()
    known = application_token.encode()
    # An empty token proves nothing: requests without one would pass too. The time of the comparison
    # must not show how much of a guess is right.
    if not known or not hmac.compare_digest(given, known):
        raise Forged
    return Message(
        code=fields["code"],
        message_id=fields["message_id"],
        to=fields["message_to"],
        text=fields["message_body"],
        portal=fields["auth[client_endpoint]"],
        access_token=fields["auth[access_token]"],
    )


def flat(value: Any, name: str = "") -> dict[str, str]:
    """Nested JSON as fields with the names that they have in the form."""
    if not isinstance(value, dict):
        return {name: str(value)}
    fields: dict[str, str] = {}
    for key, inner in value.items():
        fields.update(flat(inner, f"{name}[{key}]" if name else key))
    return fields
