"""From a URL to a client: which kind of connection it means, and the login.

Knows: schemes, what each kind of connection is made with.
Does not know: what is said on it.
Spec: docs/client-stomp.md; RFC 6455 and the IANA registry of websocket subprotocols (``v12.stomp``).
"""

from __future__ import annotations

import ssl as tls
from collections.abc import Generator, Mapping
from types import TracebackType
from typing import Any, Final, Unpack

import aiohttp
from yarl import URL

from ...errors import InvalidOption
from ...stomp.frame import LOGIN, PASSCODE, Command
from ..address import has_host, shown
from ..connecting import connect as connect_session
from ..options import RAW_WEBSOCKET, ClientArguments
from .client import Client
from .link import Link, SessionLink
from .options import StompClientArguments, StompClientOptions, read_options
from .outgoing import encode
from .outgoing import frame as make_frame
from .tcp import open_tcp

PORTS: Final[Mapping[str, int]] = {"stomp": 61613, "stomps": 61614}
"""Where brokers listen, where the URL says nothing."""

SCHEMES: Final = ("http", "https", "ws", "wss", *PORTS)


def connect(
    url: str,
    *,
    login: str | None = None,
    passcode: str | None = None,
    headers: Mapping[str, str] | None = None,
    session: aiohttp.ClientSession | None = None,
    **options: Unpack[StompClientArguments],
) -> Connecting:
    """Connect with the STOMP server at ``url``, and log in.

    ``async with connect(url) as client: ...`` closes it at the end; ``client = await connect(url)`` does not.

    Args:
        url: ``http`` or ``https``: where a SockJS server is mounted; ``ws`` or ``wss``: a plain websocket; ``stomp`` or
            ``stomps``: host and port of a broker, without and with TLS.
        login: who we are.
        passcode: the proof.
        headers: further ones of CONNECT, e.g. ``client-id`` or a token.
        session: what requests of SockJS and websockets are made with; it stays open. None: one of our own.
        options: see ``StompClientOptions``.

    Raises:
        InvalidOption: ``url`` or an option is not one; login or passcode is no text.
        InvalidFrame: login, passcode or a header cannot be said: they may hold no line's end.

    Where it is awaited or entered:

    * ``ConnectFailed``: there is no connection, or what answers does not speak STOMP.
    * ``LoginRefused``: the server said no.
    * ``InvalidOption``: ``session`` is closed.
    """
    read = read_options(options)
    parsed = _parse(url)
    named = {LOGIN: login, PASSCODE: passcode, "host": read.host or parsed.host}
    own = {name: value for name, value in named.items() if value is not None}
    for name, value in own.items():
        if not isinstance(value, str):
            raise InvalidOption(f"{name} is text, not of type {type(value).__name__}")
    connect_frame = make_frame(Command.CONNECT, own, headers)
    encode(connect_frame, read.versions[0], is_text=True, with_length=False)  # what cannot be said is told here
    return Connecting(Route(parsed, session, read), connect_frame.headers, read)


class Connecting:
    """A client that connects when this is awaited or entered."""

    def __init__(self, route: Route, login: Mapping[str, str], options: StompClientOptions) -> None:
        self._route = route
        self._login = login
        self._options = options
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._open().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._open()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def _open(self) -> Client:
        client = Client(shown(self._route.url.with_user(None)), self._route.dial, self._login, self._options)
        await client.start()
        return client


class Route:
    """The way to one server.

    Attributes:
        url: of it.
    """

    def __init__(self, url: URL, http: aiohttp.ClientSession | None, options: StompClientOptions) -> None:
        self.url = url
        self._http = http
        self._options = options

    async def dial(self) -> Link:
        """Open a connection.

        Raises:
            ConnectFailed: there is none.
            InvalidOption: the session that it is to be made with is closed.
        """
        options = self._options
        if self.url.scheme in PORTS:
            is_safe = self.url.scheme == "stomps"
            return await open_tcp(
                self.url.host or "",
                self.url.port or 0,
                ssl=(options.ssl or tls.create_default_context()) if is_safe else None,
                timeout=options.timeout,
                send_buffer_limit=options.send_buffer_limit,
            )
        if self._http is not None and self._http.closed:
            raise InvalidOption("the aiohttp.ClientSession that was given is closed")
        how = ClientArguments(
            headers=options.http_headers,
            close_timeout=options.close_timeout,
            max_frame_size=options.max_frame_size,
            send_buffer_limit=options.send_buffer_limit,
        )
        if self.url.scheme in ("ws", "wss"):
            how["transports"] = [RAW_WEBSOCKET]
            how["subprotocols"] = [f"v{version.replace('.', '')}.stomp" for version in sorted(options.versions)[::-1]]
        elif options.transports is not None:
            how["transports"] = options.transports
        return SessionLink(await connect_session(str(self.url), session=self._http, **how))


def _parse(url: str) -> URL:
    try:
        parsed = URL(url)
        if parsed.port is None and parsed.host and parsed.scheme in PORTS:
            parsed = parsed.with_port(PORTS[parsed.scheme])
    except (TypeError, ValueError):
        raise InvalidOption("the URL is none") from None  # not repeated: there may be a password in it
    if parsed.scheme not in SCHEMES or not has_host(parsed):
        raise InvalidOption(f"a URL begins with {', '.join(f'{scheme}://' for scheme in SCHEMES)}, and names a host")
    if parsed.scheme in PORTS:
        if parsed.user or parsed.password:
            raise InvalidOption("login and passcode are arguments, and no part of the URL, which is logged")
        if parsed.path not in ("", "/") or parsed.query_string:
            raise InvalidOption(f"after {parsed.scheme}:// come host and port only; a virtual host is said by host=")
    return parsed
