"""The exceptions: one class for each kind of error, below the built-in that is most like it."""

from __future__ import annotations

from typing import ClassVar


class B24Error(Exception):
    """A call that failed.

    ``str()`` of it is for people and says what to do; the attributes are for programs. No text in
    it contains a token, a client secret or a webhook path.
    """

    code: ClassVar[str] = "INTERNAL"
    """The kind of error, one for each class: ``"MESSAGE_NOT_FOUND"``."""

    portal_code: str
    """The portal's own error code as it wrote it (``"ERROR_MESSAGE_NOT_FOUND"``), empty if none."""
    description: str
    """The portal's own description, empty if none."""
    http_status: int | None
    """The HTTP status of the answer; None if there was none."""
    retryable: bool
    """Whether the same call may succeed later without anyone changing anything."""
    retry_after: float | None
    """Seconds until the same call can succeed; None if unknown."""

    def __init__(
        self,
        message: str = "",
        *,
        portal_code: str = "",
        description: str = "",
        http_status: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.portal_code = portal_code
        self.description = description
        self.http_status = http_status
        self.retryable = retryable
        self.retry_after = retry_after


class InvalidArgument(B24Error, ValueError):
    """An argument of the call cannot be sent; nothing was."""

    code = "INVALID_ARGUMENT"


class InvalidConfig(B24Error, ValueError):
    """An option is unknown, malformed, missing, or contradicts another."""

    code = "INVALID_CONFIG"


class TransportError(B24Error, ConnectionError):
    """No usable connection: DNS, TCP, TLS, a proxy, or a connection that broke."""

    code = "TRANSPORT"


class CallTimeout(B24Error, TimeoutError):
    """The deadline (``timeout``) passed; the update may or may not have been stored."""

    code = "TIMEOUT"


class ProtocolError(B24Error):
    """The answer is not one of a portal."""

    code = "PROTOCOL"


class AuthError(B24Error):
    """The tokens are no longer valid, and renewing them did not help."""

    code = "AUTH"


class AccessDenied(B24Error, PermissionError):
    """The tokens are valid but do not allow this call."""

    code = "ACCESS_DENIED"


class MessageNotFound(B24Error, LookupError):
    """The portal knows no such message of this application and provider code."""

    code = "MESSAGE_NOT_FOUND"


class RateLimited(B24Error):
    """The portal's limits do not allow the call before its deadline; see ``retry_after``."""

    code = "RATE_LIMITED"


class PortalError(B24Error):
    """Any other refusal by the portal; see ``portal_code``."""

    code = "PORTAL"


class PortalMoved(B24Error):
    """The portal moved to an address that the token may not be sent to."""

    code = "PORTAL_MOVED"


class Cancelled(B24Error):
    """``Client.cancel`` was called while the call was under way."""

    code = "CANCELLED"


class InternalError(B24Error):
    """A bug in this library; the client can still be used."""

    code = "INTERNAL"


class StorageError(B24Error, OSError):
    """A file in ``state_dir`` could not be read, written or locked; the text names it.

    ``errno`` and the other attributes of an ``OSError`` are None.
    """

    code = "STORAGE"
