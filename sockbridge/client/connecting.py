"""Finds a way to a server: the transports in turn, and why each one failed.

Knows: all transports, their order, how long each may take.
Does not know: messages.
Spec: docs/client.md; sockjs-client's documentation, "Supported transports".
"""

from __future__ import annotations

import asyncio
import difflib
import secrets
from collections.abc import Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Unpack

import aiohttp
from yarl import URL

from ..errors import ConnectFailed, InvalidOption
from .address import as_http, below, parse, shown
from .backoff import Backoff
from .carrier import Broken, Carrier, Target
from .eventsource import EventSourceCarrier
from .info import PATIENCE, ServerInfo, fetch_info
from .options import RAW_WEBSOCKET, ClientArguments, ClientOptions
from .session import Session
from .websocket import RawWebSocketCarrier, WebSocketCarrier
from .xhr_polling import XhrPollingCarrier
from .xhr_streaming import XhrStreamingCarrier

CARRIERS: Final[dict[str, type[WebSocketCarrier | XhrStreamingCarrier | EventSourceCarrier | XhrPollingCarrier]]] = {
    kind.name: kind for kind in (WebSocketCarrier, XhrStreamingCarrier, EventSourceCarrier, XhrPollingCarrier)
}

KEEP_ALIVE: Final = 4.0
"""Seconds that a connection waits for the next request: less than the 5 after which Node.js closes it, as a send that
meets that is in doubt."""

RAW_PATIENCE: Final = 5.0
"""Seconds that a raw websocket has at least to open, as there is no round trip to measure before."""


def connect(
    url: str, *, session: aiohttp.ClientSession | None = None, **options: Unpack[ClientArguments]
) -> Connecting:
    """Open a session with the SockJS server at ``url``.

    ``async with connect(url) as session: ...`` closes it at the end; ``session = await connect(url)`` does not.

    Args:
        url: where the server is mounted, e.g. ``"https://example.org/echo"``. With ``transports=["websocket-raw"]``
            the URL of any websocket (``ws`` or ``wss``), or where a SockJS server is mounted (``http`` or ``https``).
            A user and password in it are sent as ``Authorization``; a query goes with every request.
        session: what requests are made with: its cookies, headers, proxy and TLS settings hold. It stays open. Over
            HTTP each session needs two connections of it (aiohttp's default limit is 100). None: one of our own.
        options: see ``ClientOptions``.

    Raises:
        InvalidOption: ``url`` or an option is not one.
        ConnectFailed: there is no way; raised where it is awaited or entered.
    """
    address, authorization = parse(url)
    return Connecting(address, session, _options(options, authorization))


class Connecting:
    """A session that is opened when this is awaited or entered."""

    def __init__(self, url: URL, http: aiohttp.ClientSession | None, options: ClientOptions) -> None:
        self._route = Route(url, http, options)
        self._options = options
        self._session: Session | None = None

    def __await__(self) -> Generator[Any, None, Session]:
        return self._open().__await__()

    async def __aenter__(self) -> Session:
        self._session = await self._open()
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def _open(self) -> Session:
        route, session = self._route, None
        try:
            carrier, failures = await route.find()
            session = Session(shown(route.url), carrier, failures, self._options, route.find, route.free)
        finally:
            if session is None:
                await route.free()
        return session


class Route:
    """The way to one server.

    Attributes:
        url: where it is mounted.
    """

    def __init__(self, url: URL, http: aiohttp.ClientSession | None, options: ClientOptions) -> None:
        self.url = url
        self._options = options
        self._http = http
        self._is_ours = http is None

    async def find(self) -> tuple[Carrier, Mapping[str, str]]:
        """Open a connection.

        Returns:
            it, and why the transports failed that were tried before.

        Raises:
            ConnectFailed: none can be opened.
        """
        http = self._http
        if http is None:
            connector = aiohttp.TCPConnector(keepalive_timeout=KEEP_ALIVE)
            # unsafe: cookies of servers without a name, as load balancers set them
            http = self._http = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.CookieJar(unsafe=True))
        if http.closed:
            raise ConnectFailed("the ClientSession that requests are to be made with is closed")
        if self._options.transports == (RAW_WEBSOCKET,):
            return await self._find_raw(http)
        url = as_http(self.url)
        info = await fetch_info(http, url, self._options.headers, max(PATIENCE, self._options.timeout))
        failures: dict[str, str] = {}
        for name in self._options.transports:
            if name == "websocket" and not info.websocket:
                failures[name] = "the server says in /info that it serves none"
                continue
            kind = CARRIERS[name]
            carrier = kind(self._target(http, info, url))
            patience = max(self._options.timeout, info.patience(kind.round_trips))
            failure = await _try(carrier, patience)
            if failure is None:
                return carrier, failures
            failures[name] = failure
        told = "; ".join(f"{name}: {failure}" for name, failure in failures.items())
        raise ConnectFailed(f"{shown(url)} is a SockJS server, but no transport gets through: {told}", failures)

    async def free(self) -> None:
        """Close what requests were made with, if it is ours."""
        if self._is_ours and self._http is not None:
            http, self._http = self._http, None
            await http.close()

    async def _find_raw(self, http: aiohttp.ClientSession) -> tuple[Carrier, Mapping[str, str]]:
        is_prefix = self.url.scheme in ("http", "https")
        url = below(self.url, "websocket") if is_prefix else self.url
        carrier = RawWebSocketCarrier(Target(http, url, dict(self._options.headers), self._options))
        failure = await _try(carrier, max(self._options.timeout, RAW_PATIENCE))
        if failure is not None:
            raise ConnectFailed(f"no websocket with {shown(url)}: {failure}", {RAW_WEBSOCKET: failure})
        return carrier, {}

    def _target(self, http: aiohttp.ClientSession, info: ServerInfo, asked: URL) -> Target:
        server, session = f"{secrets.randbelow(1000):03d}", secrets.token_hex(8)
        headers = dict(self._options.headers) if info.url.origin() == asked.origin() else {}
        return Target(http, below(info.url, server, session), headers, self._options)


async def _try(carrier: Carrier, patience: float) -> str | None:
    # None, or why it cannot be opened.
    is_open = False
    try:
        async with asyncio.timeout(patience):
            await carrier.open()
        is_open = True
        return None
    except Broken as broken:
        return str(broken)
    except TimeoutError:
        return f"the session did not open within {patience:.1f} seconds"
    finally:
        if not is_open:
            await carrier.close()


def _options(arguments: ClientArguments, authorization: str | None) -> ClientOptions:
    unknown = set(arguments) - ClientArguments.__annotations__.keys()
    if unknown:
        known = ", ".join(sorted(ClientArguments.__annotations__))
        near = difflib.get_close_matches(min(unknown), ClientArguments.__annotations__, 1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise InvalidOption(f"there is no option {', '.join(sorted(unknown))}{hint}; there are: session, {known}")
    given: dict[str, Any] = dict(arguments)
    for name in ("transports", "subprotocols"):
        value = given.pop(name, None)
        if isinstance(value, str) or not isinstance(value, Iterable | None):
            raise InvalidOption(f"{name} is a list of names, not {value!r}")
        if value is not None:
            given[name] = tuple(value)
    headers = given.get("headers", {})
    if not isinstance(headers, Mapping):
        raise InvalidOption(f"headers is a mapping of names to values, not {headers!r}")
    given["headers"] = {**({"Authorization": authorization} if authorization else {}), **headers}
    reconnect = given.get("reconnect", False)
    if isinstance(reconnect, bool):
        given["reconnect"] = Backoff() if reconnect else None
    return ClientOptions(**given)
