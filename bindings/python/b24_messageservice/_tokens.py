"""The pair of tokens that a client calls with."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tokens:
    """A snapshot of an installation's tokens. Its ``repr`` shows no secret.

    ``dataclasses.asdict`` gives what is to be stored.
    """

    access_token: str = field(repr=False)
    """The token that calls are made with."""
    refresh_token: str = field(repr=False)
    """The token of the next renewal, empty if there is none. It works once."""
    client_endpoint: str
    """The portal's REST address, ``https://portal.bitrix24.com/rest/``, moves included."""
    member_id: str
    """The portal's permanent id, empty until a renewal has told it."""
    expires: int | None
    """When the access token expires, in Unix time, if that is known."""
