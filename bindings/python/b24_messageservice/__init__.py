"""Tells Bitrix24 what became of a message: ``messageservice.message.status.update``.

::

    from b24_messageservice import Client, Status

    with Client("portal.bitrix24.com", access_token="...") as client:
        client.message_status_update("provider1", "65575980fa53", Status.DELIVERED)

Calls block, without the GIL: use threads, or ``asyncio.to_thread``. Log records go to the logger
``b24_messageservice`` of :mod:`logging`.

A renewal of tokens outlives the call that began it, on a thread of its own. When the interpreter
ends, :func:`renewals_wait` is called, for 45 seconds at most.
"""

import atexit as _atexit
import logging as _logging

from b24_messageservice._errors import (
    AccessDenied,
    AuthError,
    B24Error,
    CallTimeout,
    Cancelled,
    InternalError,
    InvalidArgument,
    InvalidConfig,
    MessageNotFound,
    PortalError,
    PortalMoved,
    ProtocolError,
    RateLimited,
    StorageError,
    TransportError,
)
from b24_messageservice._native import Client, __version__, renewals_wait
from b24_messageservice._status import Status
from b24_messageservice._tokens import Tokens

__all__ = [
    "AccessDenied",
    "AuthError",
    "B24Error",
    "CallTimeout",
    "Cancelled",
    "Client",
    "InternalError",
    "InvalidArgument",
    "InvalidConfig",
    "MessageNotFound",
    "PortalError",
    "PortalMoved",
    "ProtocolError",
    "RateLimited",
    "Status",
    "StorageError",
    "Tokens",
    "TransportError",
    "__version__",
    "renewals_wait",
]

for _name in __all__:
    # What users see in tracebacks and pickles is the public path, wherever the code lives.
    if callable(_public := globals()[_name]) and _public is not Client:
        _public.__module__ = __name__
del _name, _public


def _finish_renewals() -> None:
    """Waits, as the interpreter ends, for the answers that hold the only good tokens."""
    try:
        renewals_wait(45.0)
    except CallTimeout as late:
        _logging.getLogger(__name__).error("the program ends in the middle of a renewal: %s", late)


_atexit.register(_finish_renewals)
