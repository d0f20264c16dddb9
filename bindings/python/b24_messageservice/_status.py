"""The statuses of a message."""

from enum import Enum


class Status(str, Enum):
    """The statuses of a message, under the portal's names. Each is also that ``str``."""

    QUEUED = "queued"
    """Accepted by the provider, not yet sent."""
    SENT = "sent"
    """Handed to the network."""
    DELIVERED = "delivered"
    """Arrived."""
    UNDELIVERED = "undelivered"
    """Could not be delivered."""
    FAILED = "failed"
    """Could not be sent."""

    # Enum's own methods differ between Python versions.
    def __str__(self) -> str:
        return self.value

    def __format__(self, format_spec: str) -> str:
        return format(self.value, format_spec)
