"""The knobs of an endpoint: unit, default and reason of each, and the check of their values.

Names are those of the reference server wherever it has the option.

Knows: what each value means and which are allowed.
Does not know: who reads them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict
from urllib.parse import urlsplit

from .errors import InvalidOption

Authenticate = Callable[..., Awaitable[object | None]]
"""Takes the request: who is asking? Returns the principal, or None (or False) to refuse with 401; may raise a
``web.HTTPException``. (The request's type is aiohttp's, which this file does not know.)"""

DEFAULT_CLIENT_URL: Final = "https://cdn.jsdelivr.net/npm/sockjs-client@1/dist/sockjs.min.js"

OVERFLOW_POLICIES: Final = ("close", "drop_oldest", "drop_newest")
WEBSOCKET_READERS: Final = ("auto", "python")

_ORIGIN_PATTERN = re.compile(r"https?://(\*\.)?[^/*?#\s;,'\"]+")


class OptionArguments(TypedDict, total=False):
    """The keyword arguments of ``mount``; see ``Options`` for what they mean."""

    heartbeat_delay: float
    disconnect_delay: float
    response_limit: int
    websocket: bool
    jsessionid: bool | str
    client_url: str
    base_url: str | None
    allowed_origins: Literal["*"] | Iterable[str] | None
    forwarded: bool | Literal["rfc7239"]
    authenticate: Authenticate | None
    max_message_size: int
    send_buffer_limit: int
    receive_buffer_limit: int
    on_overflow: Literal["close", "drop_oldest", "drop_newest"]
    max_sessions: int
    pong_timeout: float
    write_timeout: float
    shutdown_grace: float
    websocket_compression: bool
    websocket_reader: Literal["auto", "python"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The settings of one endpoint. Seconds are floats, sizes are bytes.

    Attributes:
        heartbeat_delay: seconds of silence after which the server sends a heartbeat (``h``, on websockets a
            ping). 25: below the 30 to 60 seconds after which proxies cut idle connections and the 35 after
            which the jsonp client gives up. 0 switches heartbeats off.
        disconnect_delay: seconds that a session waits for its client's next request before it ends; also how
            long an ended session goes on telling its close code. 5, as the reference server.
        response_limit: bytes of frames after which a streaming response ends and the client opens the next.
            131072: old browsers keep the whole response in memory. 1 makes streaming behave like polling.
        websocket: serve websocket transports (framed and raw). Switch off where nothing lets them through.
        jsessionid: set a ``JSESSIONID`` cookie so that load balancers can keep a client on one server, and
            announce ``cookie_needed``. A string gives further attributes, e.g. ``"Secure; SameSite=None"``.
        client_url: the script that the iframe page loads. It must be the very version of sockjs-client that
            the page uses; host it yourself if you can.
        base_url: announced in ``/info``: where the client opens its transports, if not under the same URL.
        allowed_origins: pages of which origins may connect, besides the endpoint's own. None: only its own.
            A list of origins (``https://app.example.org``) or patterns (``https://*.example.org``).
            ``"*"``: every page, with credentials; the only setting with which jsonp is served.
        forwarded: trust the proxy's ``X-Forwarded-Proto``, ``-Host`` and ``-For``; with ``"rfc7239"`` its
            ``Forwarded`` header instead. Only behind a proxy that sets them itself.
        authenticate: coroutine function, called with every request of a session (not for ``/info``, pages and
            preflights). Returns the principal; None or False answers 401 where a session is opened. Later requests
            of the session must come from an equal principal, else they are answered 404. Where it is costly,
            cache in it.
        max_message_size: bytes of one request body or websocket message. 262144.
        send_buffer_limit: bytes that wait for one client. 1048576.
        receive_buffer_limit: bytes of messages that wait for a busy handler, per session, 64 more for each;
            above it the websocket is not read and a send request is answered late. 262144.
        on_overflow: what happens above ``send_buffer_limit``: ``"close"`` ends the session with 1008,
            ``"drop_oldest"`` and ``"drop_newest"`` lose messages; all three count them.
        max_sessions: sessions of this endpoint; further clients are answered 503. 50000.
        pong_timeout: seconds that a websocket peer may take to answer a ping. 10.
        write_timeout: seconds that a peer may take no bytes at all, or send none in the middle of a body. 10.
        shutdown_grace: seconds that goodbyes may take when the server stops. 1.
        websocket_compression: permessage-deflate. Off: it costs 64 KiB and more per connection, and time.
        websocket_reader: what reads websocket frames. ``"auto"``: aiohttp's compiled reader where it works as it
            should, else our own in Python, which ``"python"`` asks for; ``endpoint.websocket_reader`` tells which.
    """

    heartbeat_delay: float = 25.0
    disconnect_delay: float = 5.0
    response_limit: int = 128 * 1024
    websocket: bool = True
    jsessionid: bool | str = False
    client_url: str = DEFAULT_CLIENT_URL
    base_url: str | None = None
    allowed_origins: Literal["*"] | tuple[str, ...] | None = None
    forwarded: bool | Literal["rfc7239"] = False
    authenticate: Authenticate | None = None
    max_message_size: int = 256 * 1024
    send_buffer_limit: int = 1024 * 1024
    receive_buffer_limit: int = 256 * 1024
    on_overflow: Literal["close", "drop_oldest", "drop_newest"] = "close"
    max_sessions: int = 50_000
    pong_timeout: float = 10.0
    write_timeout: float = 10.0
    shutdown_grace: float = 1.0
    websocket_compression: bool = False
    websocket_reader: Literal["auto", "python"] = "auto"

    def __post_init__(self) -> None:
        _at_least(0, heartbeat_delay=self.heartbeat_delay, shutdown_grace=self.shutdown_grace)
        _above_zero(
            disconnect_delay=self.disconnect_delay,
            pong_timeout=self.pong_timeout,
            write_timeout=self.write_timeout,
        )
        _positive_integers(
            response_limit=self.response_limit,
            max_message_size=self.max_message_size,
            send_buffer_limit=self.send_buffer_limit,
            receive_buffer_limit=self.receive_buffer_limit,
            max_sessions=self.max_sessions,
        )
        _booleans(
            websocket=self.websocket,
            websocket_compression=self.websocket_compression,
        )
        if self.forwarded not in (True, False, "rfc7239"):
            raise InvalidOption(f'forwarded is True, False or "rfc7239", not {self.forwarded!r}')
        if self.on_overflow not in OVERFLOW_POLICIES:
            raise InvalidOption(f"on_overflow is one of {OVERFLOW_POLICIES}, not {self.on_overflow!r}")
        if self.websocket_reader not in WEBSOCKET_READERS:
            raise InvalidOption(f"websocket_reader is one of {WEBSOCKET_READERS}, not {self.websocket_reader!r}")
        if not isinstance(self.jsessionid, (bool, str)) or re.search(r"[\x00-\x1f\x7f]", str(self.jsessionid)):
            raise InvalidOption(f"jsessionid is True, False or a string of cookie attributes, not {self.jsessionid!r}")
        _script_url(self.client_url)
        if self.base_url is not None and not _is_url(self.base_url):
            raise InvalidOption(f"base_url starts with /, http:// or https://, or is None; not {self.base_url!r}")
        if self.authenticate is not None and not is_async(self.authenticate):
            raise InvalidOption("authenticate is a coroutine function that takes the request (async def ...)")
        object.__setattr__(self, "allowed_origins", _origins(self.allowed_origins))

    @property
    def tick(self) -> float:
        """Seconds between two looks at all sessions: short enough for the shortest delay, at most 0.5."""
        delays = [self.disconnect_delay, self.pong_timeout, self.write_timeout]
        if self.heartbeat_delay:
            delays.append(self.heartbeat_delay)
        return max(0.01, min(0.5, min(delays) / 5))


def _number(name: str, value: Any) -> None:
    # compared, since an integer may be too large to become a float
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e9 <= value <= 1e9:
        raise InvalidOption(f"{name} is a finite number of seconds, not {value!r}")


def _at_least(least: float, **values: float) -> None:
    for name, value in values.items():
        _number(name, value)
        if value < least:
            raise InvalidOption(f"{name} is {least} seconds or more, not {value!r}")


def _above_zero(**values: float) -> None:
    for name, value in values.items():
        _number(name, value)
        if value <= 0:
            raise InvalidOption(f"{name} is more than 0 seconds, not {value!r}")


def _positive_integers(**values: int) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidOption(f"{name} is an integer of 1 or more, not {value!r}")


def _booleans(**values: bool) -> None:
    for name, value in values.items():
        if not isinstance(value, bool):
            raise InvalidOption(f"{name} is True or False, not {value!r}")


def is_async(function: object) -> bool:
    """Does calling ``function`` give a coroutine?"""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004  # an instance


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("/", "http://", "https://"))


def _script_url(url: str) -> None:
    # It stands inside an attribute of the iframe page, so it may not end that attribute.
    if not _is_url(url) or re.search(r"[\"'<>\s]", url):
        raise InvalidOption(f"client_url starts with /, http:// or https:// and holds no blank or quote, not {url!r}")


def _origins(origins: Any) -> Literal["*"] | tuple[str, ...] | None:
    if origins is None or origins == "*":
        return origins  # type: ignore[no-any-return]  # compared with the two constants above
    if isinstance(origins, str) or not isinstance(origins, Iterable):
        raise InvalidOption(f'allowed_origins is None, "*" or a list of origins, not {origins!r}')
    return tuple(_origin(origin) for origin in origins)


def _origin(origin: Any) -> str:
    if origin == "null":
        return "null"
    if origin == "*":
        raise InvalidOption('"*" stands alone: allowed_origins="*"')
    if (
        not isinstance(origin, str)
        or not origin.isascii()
        or not _ORIGIN_PATTERN.fullmatch(origin)
        or not _has_valid_port(origin)
    ):
        raise InvalidOption(
            f"an allowed origin is scheme://host[:port], without a path, or scheme://*.host, not {origin!r}"
        )
    written: str = origin.lower()
    return written.removesuffix(":443" if written.startswith("https:") else ":80")  # as browsers write it


def _has_valid_port(origin: str) -> bool:
    try:
        return urlsplit(origin).port != 0
    except ValueError:
        return False
