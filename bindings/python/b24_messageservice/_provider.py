"""What a provider's methods return: plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from b24_messageservice._status import Status


class Fields(Mapping[str, str]):
    """The fields of a portal's request under the portal's own names, a mapping that does not
    change.

    There are tokens among the values, so its ``repr`` shows only the names. ``dict(fields)`` shows
    everything.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = dict(fields)

    def __getitem__(self, name: str) -> str:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"<b24_messageservice.Fields {', '.join(self._fields)}>"


@dataclass(frozen=True)
class Drained:
    """What a drain has done, and what is left."""

    sent: int
    """How many receipts the portals have stored."""
    refused: int
    """How many were refused for good. ``Provider.refused`` lists them with their reasons."""
    held: int
    """How many are in the store for portals that are held."""
    waiting: int
    """How many others are in the store."""
    next_due: float | None
    """Seconds until the first of those can be sent; None if there is none."""


@dataclass(frozen=True)
class PortalState:
    """What the store has about a portal."""

    member_id: str
    """The portal's permanent id."""
    client_endpoint: str
    """Its REST address; empty if it is not known."""
    state: str
    """``"active"``, ``"waiting"`` (after a failure of the portal), ``"held"``, ``"uninstalled"`` or
    ``"unknown"``."""
    reason: str
    """Why it is waiting or held; empty otherwise."""
    waiting: int
    """How many receipts are not sent yet, held ones included."""
    refused: int
    """How many receipts were refused and are kept with the reason."""
    oldest: float | None
    """How old the oldest of those that wait is, in seconds; None if there is none."""
    next_due: float | None
    """Seconds until the next can be sent; None if there is none."""


@dataclass(frozen=True)
class RefusedReceipt:
    """A receipt that was given up."""

    cursor: str
    """What to give to ``Provider.refused`` as ``after``, to get those after this one."""
    member_id: str
    """The portal's permanent id; empty for a reference that was never tracked."""
    code: str
    """The provider code."""
    message_id: str
    """The portal's id of the message."""
    operator: str
    """The operator of ``reference``."""
    reference: str
    """The operator's reference, if it was reported by that and never tracked."""
    status: Status
    """The status that was not sent."""
    at: datetime
    """When the status came about, in UTC."""
    reason: str
    """Why: the portal's code, or what happened."""


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _time(milliseconds: int) -> datetime:
    """A time that is given in Unix milliseconds; the nearest that a datetime can be."""
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        edge = datetime.max if milliseconds > 0 else datetime.min
        return edge.replace(tzinfo=timezone.utc)
