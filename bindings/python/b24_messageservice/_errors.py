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


# make generate writes: exceptions


class InvalidArgument(B24Error, ValueError):
    """An argument is not valid: it was not sent, or the portal refused it. Correct the program that
    made the call."""

    code = "INVALID_ARGUMENT"


class InvalidConfig(B24Error, ValueError):
    """An option is unknown, malformed, missing, or contradicts another, or a file that it names
    cannot be used. Correct the option that the message names."""

    code = "INVALID_CONFIG"


class TransportError(B24Error, ConnectionError):
    """No usable connection: DNS, TCP, TLS, a proxy, or a connection that broke. Check the network,
    DNS, the proxy and ``ca_file``."""

    code = "TRANSPORT"


class CallTimeout(B24Error, TimeoutError):
    """The deadline of the call passed. The portal may or may not have executed it. The message says
    whether to call again."""

    code = "TIMEOUT"


class ProtocolError(B24Error):
    """The answer is not one of a portal. Check what answers at the address in ``portal``."""

    code = "PROTOCOL"


class AuthError(B24Error):
    """The tokens are no longer valid, and could not be renewed. Have the application authorized or
    installed again."""

    code = "AUTH"


class AccessDenied(B24Error, PermissionError):
    """The tokens are valid but do not allow this call. Check the application's scope, the user's
    rights and the portal's plan."""

    code = "ACCESS_DENIED"


class MessageNotFound(B24Error, LookupError):
    """The portal knows no such message of this application and provider code. Drop the update."""

    code = "MESSAGE_NOT_FOUND"


class RateLimited(B24Error):
    """The portal's limits do not allow the call before its deadline. Call again after the time that
    the error says, and send batches."""

    code = "RATE_LIMITED"


class PortalError(B24Error):
    """Any other refusal by the portal. See the portal's own error code."""

    code = "PORTAL"


class PortalMoved(B24Error):
    """The portal moved to an address that the token may not be sent to. Check the address in the
    message. If it is the customer's, add its host to ``redirect_hosts``."""

    code = "PORTAL_MOVED"


class Cancelled(B24Error):
    """The call was cancelled while it was under way. The portal may or may not have executed it.
    Call again if it is still wanted."""

    code = "CANCELLED"


class InternalError(B24Error):
    """A bug in this library, or there was no free file descriptor or thread. The client can still
    be used. Raise the limit that the message names. If it names none, please report the bug."""

    code = "INTERNAL"


class StorageError(B24Error, OSError):
    """The store, or a file in ``state_dir``, could not be read, written or locked. The message
    names it. Check disk space, permissions and the limit of open files."""

    code = "STORAGE"


# end: exceptions
