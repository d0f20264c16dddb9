"""The statuses of a message."""

from enum import Enum


class Status(str, Enum):
    """What became of a message, in the portal's words. Each is also that ``str``."""

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

    # Enum's own differ from one Python version to the next.
    def __str__(self) -> str:
        return self.value

    def __format__(self, format_spec: str) -> str:
        return format(self.value, format_spec)
