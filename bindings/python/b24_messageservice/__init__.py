"""Report SMS delivery statuses to Bitrix24: ``messageservice.message.status.update``.

::

    from b24_messageservice import Client, Status

    with Client("portal.bitrix24.com", access_token="...") as client:
        client.message_status_update("provider1", "65575980fa53", Status.DELIVERED)

:class:`Provider` does everything around such a call for any number of portals: it keeps
installations and their tokens, checks the portals' requests, and keeps receipts until they are
sent.

Calls block, and release the GIL: use threads. For asyncio there are :class:`AsyncClient` and
:class:`AsyncProvider`. Log records go to the logger ``b24_messageservice`` of :mod:`logging`.

A renewal of tokens has a thread of its own and may take longer than the call that started it. When
the interpreter ends, :func:`renewals_wait` is called, for 45 seconds at most.
"""

import atexit as _atexit
import logging as _logging
import os as _os
import typing as _typing

from b24_messageservice._errors import (
    # make generate writes: imports
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
    # end: imports
)
from b24_messageservice._native import (
    CancelToken,
    Client,
    Provider,
    Request,
    Vocabulary,
    __version__,
    renewals_wait,
)
from b24_messageservice._native import after_fork as _after_fork
from b24_messageservice._native import before_fork as _before_fork
from b24_messageservice._options import ClientOptions, Options, ProviderOptions
from b24_messageservice._provider import Drained, Fields, PortalState, RefusedReceipt
from b24_messageservice._status import Status
from b24_messageservice._tokens import Tokens

if _typing.TYPE_CHECKING:
    from b24_messageservice.aio import AsyncClient, AsyncProvider

__all__ = [
    "AsyncClient",
    "AsyncProvider",
    "B24Error",
    "CancelToken",
    "Client",
    "ClientOptions",
    "Drained",
    "Fields",
    "Options",
    "PortalState",
    "Provider",
    "ProviderOptions",
    "RefusedReceipt",
    "Request",
    "Status",
    "Tokens",
    "Vocabulary",
    "__version__",
    "renewals_wait",
]
__all__ += [
    # make generate writes: names
    "AccessDenied",
    "AuthError",
    "CallTimeout",
    "Cancelled",
    "InternalError",
    "InvalidArgument",
    "InvalidConfig",
    "MessageNotFound",
    "PortalError",
    "PortalMoved",
    "ProtocolError",
    "RateLimited",
    "StorageError",
    "TransportError",
    # end: names
]

for _name in __all__:
    # Tracebacks and pickles show the public path, wherever the code is.
    if callable(_public := globals().get(_name)) and _public.__module__ != __name__:
        _public.__module__ = __name__
del _name, _public


def __getattr__(name: str) -> _typing.Any:
    """Loads asyncio only in programs that use it."""
    if name not in ("AsyncClient", "AsyncProvider"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from b24_messageservice import aio

    # From now on it is found without this function.
    globals().update(AsyncClient=aio.AsyncClient, AsyncProvider=aio.AsyncProvider)
    return getattr(aio, name)


def __dir__() -> list[str]:
    return __all__


def _finish_renewals() -> None:
    """When the interpreter ends, waits for answers that have the only tokens that work."""
    try:
        renewals_wait(45.0)
    except CallTimeout as late:
        _logging.getLogger(__name__).error("the program ends in the middle of a renewal: %s", late)


_atexit.register(_finish_renewals)

if hasattr(_os, "register_at_fork"):
    # No store may be in use at the moment of a fork: a child could not go on from what it inherits.
    _os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
