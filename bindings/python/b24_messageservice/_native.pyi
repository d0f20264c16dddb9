from collections.abc import Iterable
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
    def cancel(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
