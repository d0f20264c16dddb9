from collections.abc import Iterable, Mapping
from datetime import datetime
from os import PathLike
from types import TracebackType
from typing import Any, Literal, TypeVar, final, overload

from typing_extensions import Self, Unpack

from b24_messageservice import (
    B24Error,
    Drained,
    Fields,
    Options,
    PortalState,
    ProviderOptions,
    RefusedReceipt,
    Status,
    Tokens,
)

__all__ = [
    "CancelToken",
    "Client",
    "Provider",
    "Request",
    "Vocabulary",
    "__version__",
    "after_fork",
    "before_fork",
    "renewals_wait",
    "run_shell",
]

_T = TypeVar("_T")

__version__: str

def after_fork() -> None: ...
def before_fork() -> None: ...
def renewals_wait(timeout: float) -> None: ...
def run_shell(arguments: list[str]) -> int: ...

@final
class CancelToken:
    def __new__(cls) -> Self: ...
    def cancel(self) -> None: ...
    def is_cancelled(self) -> bool: ...

@final
class Client:
    def __new__(cls, portal: str, **options: Unpack[Options]) -> Self: ...
    @classmethod
    def shared(cls, portal: str, **options: Unpack[Options]) -> Client: ...
    @property
    def tokens(self) -> Tokens: ...
    def message_status_update(
        self,
        code: str,
        message_id: str | int,
        status: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...
    def message_status_update_batch(
        self,
        updates: Iterable[tuple[str, str | int, str] | list[Any]],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[B24Error | None]: ...
    def message_status_get(
        self,
        message_id: int,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> str: ...
    def sender_add(
        self,
        code: str,
        handler: str,
        name: str | Mapping[str, str],
        description: str | Mapping[str, str] | None = None,
        type: str = "SMS",  # noqa: A002 - the portal's name of it
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...
    def sender_update(
        self,
        code: str,
        handler: str | None = None,
        name: str | Mapping[str, str] | None = None,
        description: str | Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...
    def sender_delete(
        self,
        code: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...
    def sender_list(
        self,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[str]: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

@final
class Provider:
    def __new__(cls, **options: Unpack[ProviderOptions]) -> Self: ...
    def receive(
        self,
        content_type: str,
        body: bytes | bytearray | memoryview | str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Request: ...
    def install(
        self,
        auth: str | Mapping[str, Any],
        application_token: str = "",
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...
    def install_request(
        self,
        frame: Request,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...
    def import_state_dir(
        self,
        path: str | PathLike[str],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> int: ...
    def client(
        self,
        member_id: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Client: ...
    def track(
        self,
        reference: str,
        member_id: str,
        code: str,
        message_id: str | int,
        *,
        operator: str = "",
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...
    def report(
        self,
        member_id: str,
        code: str,
        message_id: str | int,
        status: str,
        at: datetime | float | None = None,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...
    def report_batch(
        self,
        member_id: str,
        updates: Iterable[tuple[str, str | int, str] | list[Any]],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[B24Error | None]: ...
    def report_many(
        self,
        receipts: Iterable[
            tuple[str, str, str | int, str]
            | tuple[str, str, str | int, str, datetime | float | None]
            | list[Any]
        ],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[B24Error | None]: ...
    def report_reference(
        self,
        reference: str,
        status: str,
        at: datetime | float | None = None,
        *,
        operator: str = "",
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...
    def drain(
        self,
        seconds: float,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Drained: ...
    def inspect(
        self,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[PortalState]: ...
    def refused(
        self,
        after: str = "",
        limit: int = 1000,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[RefusedReceipt]: ...
    def resume(
        self,
        member_id: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...
    def prune(
        self,
        keep_seconds: float,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

@final
class Request:
    @property
    def kind(self) -> Literal["message", "install", "uninstall", "frame"]: ...
    @property
    def member_id(self) -> str: ...
    @property
    def client_endpoint(self) -> str: ...
    @property
    def fields(self) -> Fields: ...
    @overload
    def get(self, name: str, default: None = None) -> str | None: ...
    @overload
    def get(self, name: str, default: _T) -> str | _T: ...
    def __getitem__(self, name: str, /) -> str: ...
    def __contains__(self, name: str, /) -> bool: ...

@final
class Vocabulary:
    def __new__(
        cls, name: str, table: Mapping[str, str] | Mapping[int, str] | None = None
    ) -> Self: ...
    def status(self, word: str | int) -> Status: ...
