from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, final

from typing_extensions import Self, Unpack

from b24_messageservice import B24Error, Options, Tokens

__all__ = ["Client", "__version__", "renewals_wait"]

__version__: str

def renewals_wait(timeout: float) -> None: ...

@final
class Client:
    def __new__(cls, portal: str, **options: Unpack[Options]) -> Self: ...
    @classmethod
    def shared(cls, portal: str, **options: Unpack[Options]) -> Client: ...
    @property
    def tokens(self) -> Tokens: ...
    def message_status_update(self, code: str, message_id: str | int, status: str) -> None: ...
    def message_status_update_batch(
        self, updates: Iterable[tuple[str, str | int, str] | list[Any]]
    ) -> list[B24Error | None]: ...
    def message_status_get(self, message_id: int) -> str: ...
    def sender_add(
        self,
        code: str,
        handler: str,
        name: str | Mapping[str, str],
        description: str | Mapping[str, str] | None = None,
        type: str = "SMS",  # noqa: A002 - the portal's name of it
    ) -> None: ...
    def sender_update(
        self,
        code: str,
        handler: str | None = None,
        name: str | Mapping[str, str] | None = None,
        description: str | Mapping[str, str] | None = None,
    ) -> None: ...
    def sender_delete(self, code: str) -> None: ...
    def sender_list(self) -> list[str]: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
