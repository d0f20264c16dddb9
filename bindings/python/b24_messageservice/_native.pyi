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
    "check_options",
    "renewals_wait",
    "run_shell",
]

_T = TypeVar("_T")

__version__: str

def after_fork() -> None:
    """In the parent as in the child."""

def before_fork() -> None:
    """Waits until no thread uses a store, and keeps it so until the fork is over.

    A thread that uses one may need the interpreter before it is done, so this waits detached.
    """

def check_options(owner: str, portal: str | None, options: Options | ProviderOptions) -> None:
    """What the constructors of the classes for asyncio refuse at once, since the others are made only when
    those are opened. What an environment says is read then as well.
    """

def renewals_wait(timeout: float) -> None:
    """Waits until no renewal of tokens is under way in this process, for timeout seconds at most.

    A renewal may take longer than the call that started it. Once its request has been sent, only
    the answer has tokens that work, so a thread of its own waits for it and stores it. When the
    interpreter ends, this function is called with 45.0. Call it yourself before os._exit, and at
    the end of a worker process that was forked by multiprocessing or Celery. After a fork, renewals
    stay with the parent, which finishes them. Raises CallTimeout if a renewal is still under way;
    at once if timeout is 0.
    """

def run_shell(arguments: list[str]) -> int:
    """Runs the program with these arguments, and returns its exit code. It writes to the process's own
    streams, and waits for SIGINT and SIGTERM itself: Python sees neither of them meanwhile.
    """

@final
class CancelToken:
    """Cancels calls one by one: those that were given it as cancel.

    One token may be given to any number of calls, of any clients and providers. Once it is
    cancelled, it stays so: a call that begins later raises Cancelled at once and sends nothing. In
    a forked child it is a token of the child's own.
    """

    def __new__(cls) -> Self: ...
    def cancel(self) -> None:
        """Ends the calls that were given this token, from any thread, whatever they wait for: they
        raise Cancelled. An update that is cancelled may have been stored.
        """
    def is_cancelled(self) -> bool:
        """Whether it was cancelled."""

@final
class Client:
    """A light handle to one Bitrix24 portal. Nothing is sent until the first call.

    Any number of threads may use one client at once, and it also works in a forked child.
    Connections, rate limits and renewals belong to the process, not to the client, so you may make
    one for each message.

    Options are keyword arguments; times are seconds. An option that is None is not set. A wrong
    one raises InvalidConfig, which names it and what it takes, and an unknown one TypeError. Every
    value may also be given as text ("50/2", "true", "30"). from_env reads the environment.

    Every call takes two more keyword arguments: timeout, its deadline in seconds instead of that of
    the options, from 0 to 7 days; and cancel, a CancelToken that ends it from another thread. A call
    that is cancelled, or whose deadline has passed, may have been executed by the portal.

    portal: "portal.bitrix24.com", an origin, or the client_endpoint of the portal's request.
    on_renewal: called with the new Tokens before they are used, and after they are written to
        state_dir, if that is set. Store them in it. It runs on the renewal's own thread, possibly
        after the call that started the renewal has ended, and must not make calls to the same
        portal. An exception in it goes to sys.unraisablehook, and the new tokens are used.
    All others are the keys of Options: see help(b24_messageservice.Options).
    """

    def __new__(cls, portal: str, **options: Unpack[Options]) -> Self: ...
    @classmethod
    def from_env(cls, portal: str | None = None, **options: Unpack[Options]) -> Client:
        """Makes a client of what the environment says: B24_PORTAL, B24_ACCESS_TOKEN and so on.

        The variables are those of the program b24-messageservice: B24_ and the option's name in upper
        case. A time is in milliseconds there, and its variable ends in _MS: B24_TIMEOUT_MS. What may be
        a secret (access_token, refresh_token, client_secret, proxy) may be in a file instead, which
        B24_ACCESS_TOKEN_FILE and so on name. B24_CONFIG names a file of lines NAME=VALUE. An empty
        variable counts as not set. Keyword arguments win, and are those of Client. Raises InvalidConfig,
        which names the variable and shows no secret.
        """
    @classmethod
    def shared(cls, portal: str, **options: Unpack[Options]) -> Client:
        """Returns the client that the process keeps for an equal configuration, and makes it the first
        time.

        The arguments are those of Client. The process keeps it with its tokens after the last
        reference is gone, so a web handler that keeps nothing between requests uses the renewed
        ones. on_renewal is not part of the configuration: a renewal calls the one of the client
        whose call started it.
        """
    @property
    def tokens(self) -> Tokens:
        """The current tokens, a Tokens."""
    def message_status_update(
        self,
        code: str,
        message_id: str | int,
        status: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Reports the status of one message.

        code is the provider code of the message; message_id the id that the portal posted to the
        provider's handler, a str or an int; status a Status or its text in any case. Reporting the
        same status again is harmless. Raises B24Error.

        Calls for one message are made one after the other, in the order in which they were begun,
        across all clients of the process for one portal. The last status stands. An attempt whose
        outcome is unknown may still be executed by the portal for up to 60 s.
        """
    def message_status_update_batch(
        self,
        updates: Iterable[tuple[str, str | int, str] | list[Any]],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[B24Error | None]:
        """Reports the status of any number of messages, 50 in a request.

        updates is an iterable of (code, message_id, status), read to its end before anything is
        sent. Returns each update's outcome in the same order: None if it was applied, else the
        B24Error that a single call would have raised. The outcome of an update of a wrong type or
        length is InvalidArgument, and the others are sent nevertheless. Of several updates of one
        message only the last is sent. Updates that failed for the same reason may share one
        exception object.

        The deadline counts from when the updates have been read. An update takes its place in the
        order of the calls for its message when its slice is queued, at most 10,000 updates at a time.
        """
    def message_status_get(
        self,
        message_id: int,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> str:
        """Asks for the status of one message.

        message_id is the portal's own number of the message, an int, not the id that the portal
        posted to the provider's handler. Returns the English name of the status, or "" if the
        message has none. Raises B24Error.
        """
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
    ) -> None:
        """Registers an SMS provider with the portal, so that users can choose it.

        code is the provider code; handler the http or https address that the portal posts messages
        to; name and description the texts that users see, each a str or a mapping of languages to
        str, such as {"en": "...", "de": "..."}; type is "SMS". Raises B24Error.

        The portal refuses a code that is registered. So the list of senders is asked for first, and
        again if the answer is lost, to find out whether the sender was added. Therefore a
        PortalError with the portal_code ERROR_SENDER_ALREADY_INSTALLED means that the code was
        registered before.
        """
    def sender_update(
        self,
        code: str,
        handler: str | None = None,
        name: str | Mapping[str, str] | None = None,
        description: str | Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Changes the handler, name or description of a registered sender.

        The arguments are those of sender_add; what is None stays as it is. Calling this twice is
        harmless. Raises B24Error, a PortalError with the portal_code ERROR_SENDER_NOT_FOUND if the
        code is not registered.
        """
    def sender_delete(
        self,
        code: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Removes a sender from the portal, by its provider code.

        If the answer is lost, the list of senders is asked for, to find out whether the sender was
        removed. Raises B24Error, a PortalError with the portal_code ERROR_SENDER_NOT_FOUND if the
        code is not registered.
        """
    def sender_list(
        self,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[str]:
        """Returns the provider codes of the senders that the application has registered with the
        portal, a list of str. Raises B24Error.
        """
    def cancel(self) -> None:
        """Ends this client's calls that are under way, from any thread: they raise Cancelled. Calls
        made later are not affected.
        """
    def close(self) -> None:
        """Ends the use of this client: later calls raise InvalidArgument. Calls that are under way are
        not affected. Connections stay open for other clients of the process.
        """
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

@final
class Provider:
    """Does the whole job of a provider of messages, for any number of portals: keeps installations and
    their tokens, checks the portals' requests, and keeps receipts until the portals have them.

    What report has taken is at the portal in the end, or is counted as waiting, held or refused.
    Receipts are sent by drain: call it in a loop, in one process or in several.

    Any number of threads may use one provider at once, and any number of processes may have one on
    the same store. It also works in a forked child. Nothing is sent when it is made, and it has no
    thread of its own.

    Every call takes two more keyword arguments: timeout, its deadline in seconds instead of that of
    the options, from 0 to 7 days; and cancel, a CancelToken that ends it from another thread. What a
    cancelled call was storing may have been stored. In drain, timeout limits the requests, not the
    whole.

    Options are keyword arguments; times are seconds. An option that is None is not set. store,
    client_id and client_secret are required. A wrong one raises InvalidConfig, which names it and what
    it takes, and an unknown one TypeError. All are the keys of ProviderOptions: see
    help(b24_messageservice.ProviderOptions).
    """

    def __new__(cls, **options: Unpack[ProviderOptions]) -> Self: ...
    @classmethod
    def from_env(cls, **options: Unpack[ProviderOptions]) -> Provider:
        """Makes a provider of what the environment says: B24_STORE, B24_CLIENT_ID, B24_CLIENT_SECRET and
        so on.

        The variables are those of the program b24-messageservice: B24_ and the option's name in upper
        case. A time is in milliseconds there, and its variable ends in _MS: B24_TIMEOUT_MS. What may be
        a secret (client_secret, store, proxy) may be in a file instead, which B24_CLIENT_SECRET_FILE and
        so on name. B24_CONFIG names a file of lines NAME=VALUE. An empty variable counts as not set.
        Keyword arguments win, and are those of Provider. Raises InvalidConfig, which names the variable
        and shows no secret.
        """
    def receive(
        self,
        content_type: str,
        body: bytes | bytearray | memoryview | str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Request:
        """Reads a request that a portal has posted, and checks that it is the portal's. Returns a
        Request.

        content_type is the request's header of this name, or "" if it has none; body its body, as
        bytes, bytearray, memoryview or str. Installations and uninstallations are carried out before
        this returns. It answers nothing: the program answers the portal itself. Raises
        InvalidArgument if the request cannot be read (answer 400), AccessDenied if it is not proven
        to be the portal's (403), and any other B24Error, after which the portal should try again
        (503).
        """
    def install(
        self,
        auth: str | Mapping[str, Any],
        application_token: str = "",
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Installs: keeps the tokens of an answer of the authorization server.

        auth is that answer, or the auth of an event, as JSON text or as a mapping;
        application_token the portal's, if it is known. The authorization server is asked to confirm
        it. Raises AccessDenied if it does not.
        """
    def install_request(
        self,
        frame: Request,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Installs with the tokens of a request of the kind "frame".

        Call this on the page of your application's installation wizard, and nowhere else: a later
        opening brings the tokens of whoever opened it. Raises as install.
        """
    def import_state_dir(
        self,
        path: str | PathLike[str],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> int:
        """Moves the installations of a client's state_dir to the store, and returns how many. Plain
        clients of that directory then fail, and say so.
        """
    def client(
        self,
        member_id: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Client:
        """Returns a Client of the portal with this member_id, with the tokens of the store. Raises
        InvalidArgument if the portal is not installed.
        """
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
    ) -> None:
        """Says which message an operator's reference stands for, so that report_reference finds it.

        reference is what the operator calls the message by, 1 to 255 bytes. If you have several
        operators, operator says whose it is, at most 64 bytes. Several references may stand for one
        message that was sent in parts.
        """
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
    ) -> None:
        """Keeps the status of a message, for drain to send. When this returns, it is stored durably.

        member_id, code and message_id (a str or an int) are those of the portal's message; status is
        a Status or its text in any case; at is when the status came about, an aware datetime or Unix
        seconds, or None for now. A status never replaces one of a higher rank: queued, sent, then
        delivered, undelivered and failed. Of the same rank the later one stands. Raises
        StorageError if it cannot be stored: tell the operator to deliver the receipt again.
        """
    def report_batch(
        self,
        member_id: str,
        updates: Iterable[tuple[str, str | int, str] | list[Any]],
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[B24Error | None]:
        """Keeps the statuses of any number of messages of one portal, as report does.

        updates is an iterable of (code, message_id, status), read to its end before anything is
        stored. Returns each update's outcome in the same order: None if it is stored, else the
        B24Error that report would have raised. The outcome of an update of a wrong type or length is
        InvalidArgument, and the others are stored nevertheless. Updates that failed for the same
        reason may share one exception object.
        """
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
    ) -> list[B24Error | None]:
        """Keeps the statuses of any number of messages of any portals, as report does.

        receipts is an iterable of (member_id, code, message_id, status) or
        (member_id, code, message_id, status, at). Otherwise as report_batch.
        """
    def report_reference(
        self,
        reference: str,
        status: str,
        at: datetime | float | None = None,
        *,
        operator: str = "",
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Keeps the status of the message that an operator's reference stands for.

        It may come before track: it then waits for an hour. reference and operator are those of
        track, status and at those of report, which it raises as.
        """
    def drain(
        self,
        seconds: float,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> Drained:
        """Sends receipts to the portals for so many seconds, and waits while none is due. Returns a
        Drained.

        No request starts later, and this returns within the option timeout after that. Call it in a
        loop, from any number of threads and processes: each portal is served by one of them at a
        time. Raises StorageError if the store fails, Cancelled after cancel.
        """
    def inspect(
        self,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[PortalState]:
        """Returns what the store has about each portal, a list of PortalState."""
    def refused(
        self,
        after: str = "",
        limit: int = 1000,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> list[RefusedReceipt]:
        """Returns receipts that were given up, a list of RefusedReceipt in a fixed order: at most limit of
        those after the one with the cursor after, which is "" for the first.
        """
    def resume(
        self,
        member_id: str,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Lets drain send the receipts of a portal again that is held, or that waits after a failure.
        Raises InvalidArgument if the store does not know the portal.
        """
    def prune(
        self,
        keep_seconds: float,
        *,
        timeout: float | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Removes refused receipts, and references, that are older than so many seconds. What is settled
        is remembered for 72 hours in any case; what waits is not removed.
        """
    def cancel(self) -> None:
        """Ends drains and other calls of this provider that are under way, from any thread: they raise
        Cancelled. Calls made later are not affected.
        """
    def close(self) -> None:
        """Ends the use of this provider: later calls raise InvalidArgument. Drains that are under way
        end after their requests, and this waits for them. What is stored stays stored.
        """
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

@final
class Request:
    """A request of a portal, as Provider.receive returns it: checked to be the portal's, except a frame.

    The fields are under the portal's own names, nested ones in PHP's notation such as
    auth[user_id], and are all str. request[name] raises KeyError if there is none of this name, get
    returns a default. The repr shows no values of fields.
    """

    @property
    def kind(self) -> Literal["message", "install", "uninstall", "frame"]:
        """What the portal wants: "message" (send one), "install" or "uninstall" (it is done already),
        or "frame" (a page of the application was opened; nothing was stored).
        """
    @property
    def member_id(self) -> str:
        """The portal's permanent id; empty if a frame does not say it."""
    @property
    def client_endpoint(self) -> str:
        """The portal's REST address as the request says it; empty if it does not."""
    @property
    def fields(self) -> Fields:
        """All fields, a Fields: a mapping of names to str. There are tokens among them."""
    @overload
    def get(self, name: str, default: None = None) -> str | None: ...
    @overload
    def get(self, name: str, default: _T) -> str | _T:
        """The field of this name, or default if there is none."""
    def __getitem__(self, name: str, /) -> str: ...
    def __contains__(self, name: str, /) -> bool: ...

@final
class Vocabulary:
    """What an operator's own words for a status mean.

    Vocabulary("smpp"), "gsm" and "twilio" are known. Vocabulary("mine", {"OK": "delivered"}) has
    the words of a mapping; its name is for messages. Words compare without case and surrounding
    spaces. Raises InvalidArgument for an unknown name or status.
    """

    def __new__(
        cls, name: str, table: Mapping[str, str] | Mapping[int, str] | None = None
    ) -> Self: ...
    def status(self, word: str | int) -> Status:
        """Returns the Status that a word stands for, a str or an int. Raises InvalidArgument, which
        names the word, if it is unknown or says nothing about a delivery.
        """
