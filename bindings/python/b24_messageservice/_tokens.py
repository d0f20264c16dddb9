"""The pair of tokens that a client uses."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tokens:
    """The tokens of an installation at one moment. Its ``repr`` shows no secret.

    ``dataclasses.asdict`` returns what you have to store.
    """

    access_token: str = field(repr=False)
    """The token that calls use."""
    refresh_token: str = field(repr=False)
    """The token for the next renewal, which works once; empty if there is none."""
    client_endpoint: str
    """The portal's REST address, ``https://portal.bitrix24.com/rest/``."""
    member_id: str
    """The portal's permanent id; empty until the first renewal."""
    expires: int | None
    """When the access token expires, in Unix time; None if unknown."""
