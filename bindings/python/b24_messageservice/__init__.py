"""Tells Bitrix24 what became of a message: ``messageservice.message.status.update``.

::

    from b24_messageservice import Client, Status

    with Client("portal.bitrix24.com", access_token="...") as client:
        client.message_status_update("provider1", "65575980fa53", Status.DELIVERED)

Calls block, without the GIL: use threads, or ``asyncio.to_thread``. Log records go to the logger
``b24_messageservice`` of :mod:`logging`.
"""

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
    TransportError,
)
from b24_messageservice._native import Client, __version__
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
    "Tokens",
    "TransportError",
    "__version__",
]

for _name in __all__:
    # What users see in tracebacks and pickles is the public path, wherever the code lives.
    if isinstance(_class := globals()[_name], type) and _class is not Client:
        _class.__module__ = __name__
del _name, _class
