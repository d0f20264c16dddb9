"""The options of clients and providers. Written by ``make generate`` from the table in
``src/options.rs``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, TypedDict

from b24_messageservice._tokens import Tokens


class Options(TypedDict, total=False):
    """The keyword arguments of ``Client`` and ``Client.shared``.

    An option that is None is not set. A function that passes options on can declare them as
    ``**options: Unpack[Options]``.

    access_token: The OAuth access token of an installed application. Required, unless
        ``state_dir`` holds one.
    refresh_token: The refresh token that came with the access token. It needs ``client_id`` and
        ``client_secret``.
    client_id: The application's id.
    client_secret: The application's secret. It is sent to the authorization server only.
    oauth_url: The authorization server, https only. The default is
        ``"https://oauth.bitrix.info"``.
    timeout: The deadline of a whole call, from 1 ms to 7 days: waiting, renewal, redirects and
        retries included. In seconds. The default is ``30.0``.
    connect_timeout: The deadline of one attempt to connect: DNS, TCP, proxy and TLS. In
        seconds. The default is ``10.0``.
    max_retries: How often a call is retried after the first attempt, from 0 to 100. In a batch
        this holds for each request. The default is ``4``.
    rate_limit: How many requests the portal allows: ``standard`` (50 at once, 2 a second),
        ``enterprise`` (250 at once, 5 a second), ``off``, or ``BURST/DRAIN`` such as ``50/2``. The
        default is ``"standard"``.
    state_dir: A directory in which the processes of one machine share tokens and the rate
        limit. It is made if its parent exists.
    ca_file: A PEM file of root certificates that are trusted besides the built-in ones.
    proxy: The proxy: ``env`` for what the environment says, ``none``, or the URL of an HTTP
        proxy. The default is ``"env"``.
    resolve: Addresses to use instead of DNS: ``host:port:address[:port]``, separated by commas.
        The host ``*`` stands for any.
    redirect_hosts: Further hosts that a portal may move to, separated by commas.
    user_agent: A prefix to the library's own ``User-Agent``, such as ``my-gateway/2.1``.
    allow_http: Whether an ``http://`` portal is accepted. The token is then sent unencrypted.
        The default is ``False``.
    on_renewal: Called with each renewed pair of tokens before it is used, on the renewal's own
        thread.
    """

    access_token: str | None
    refresh_token: str | None
    client_id: str | None
    client_secret: str | None
    oauth_url: str | None
    timeout: float | str | None
    connect_timeout: float | str | None
    max_retries: int | str | None
    rate_limit: str | None
    state_dir: str | PathLike[str] | None
    ca_file: str | PathLike[str] | None
    proxy: str | None
    resolve: str | Sequence[str] | None
    redirect_hosts: str | Sequence[str] | None
    user_agent: str | None
    allow_http: bool | str | None
    on_renewal: Callable[[Tokens], Any] | None


class _Portal(TypedDict):
    portal: str


class ClientOptions(_Portal, Options, total=False):
    """All arguments of ``Client``, ``Client.shared`` and ``AsyncClient``, to write
    ``Client(**options)``: ``portal``, which is required, and those of ``Options``.
    """


class ProviderOptions(TypedDict, total=False):
    """The keyword arguments of ``Provider``.

    ``store``, ``client_id`` and ``client_secret`` are required. An option that is None is not set.
    A function that passes options on can declare them as ``**options: Unpack[ProviderOptions]``.

    client_id: The application's id.
    client_secret: The application's secret. It is sent to the authorization server only.
    oauth_url: The authorization server, https only. The default is
        ``"https://oauth.bitrix.info"``.
    timeout: The deadline of a whole call, from 1 ms to 7 days: waiting, renewal, redirects and
        retries included. In seconds. The default is ``30.0``.
    connect_timeout: The deadline of one attempt to connect: DNS, TCP, proxy and TLS. In
        seconds. The default is ``10.0``.
    max_retries: How often a call is retried after the first attempt, from 0 to 100. In a batch
        this holds for each request. The default is ``4``.
    rate_limit: How many requests the portal allows: ``standard`` (50 at once, 2 a second),
        ``enterprise`` (250 at once, 5 a second), ``off``, or ``BURST/DRAIN`` such as ``50/2``. The
        default is ``"standard"``.
    ca_file: A PEM file of root certificates that are trusted besides the built-in ones.
    proxy: The proxy: ``env`` for what the environment says, ``none``, or the URL of an HTTP
        proxy. The default is ``"env"``.
    resolve: Addresses to use instead of DNS: ``host:port:address[:port]``, separated by commas.
        The host ``*`` stands for any.
    redirect_hosts: Further hosts that a portal may move to, separated by commas.
    user_agent: A prefix to the library's own ``User-Agent``, such as ``my-gateway/2.1``.
    allow_http: Whether an ``http://`` portal is accepted. The token is then sent unencrypted.
        The default is ``False``.
    store: Where a provider keeps installations and receipts: ``sqlite:`` and the path of a
        file, which is made if its directory exists, or for several machines the address of a
        PostgreSQL database, ``postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full``.
        Required.
    durability: What an acknowledged receipt survives: ``disk``, that the machine fails, or
        ``process``, only that the process is killed, which is faster. The default is ``"disk"``.
    store_max_mb: How large the store may become, in megabytes. Beyond that, and if less than 64
        MB of the disk are free, receipts are refused with ``STORAGE``, and those in the store are
        still sent.
    store_key_file: A file of keys, with which the tokens in the store are sealed: a line ``ID
        KEY`` for each, where ``KEY`` is 32 random bytes in hexadecimal or Base64. The first one
        seals, all open.
    workers: How many threads send receipts while a program drains, from 0 to 256. With 0 only
        the calling thread does. The default is ``8``.
    """

    client_id: str | None
    client_secret: str | None
    oauth_url: str | None
    timeout: float | str | None
    connect_timeout: float | str | None
    max_retries: int | str | None
    rate_limit: str | None
    ca_file: str | PathLike[str] | None
    proxy: str | None
    resolve: str | Sequence[str] | None
    redirect_hosts: str | Sequence[str] | None
    user_agent: str | None
    allow_http: bool | str | None
    store: str | None
    durability: str | None
    store_max_mb: int | str | None
    store_key_file: str | PathLike[str] | None
    workers: int | str | None
