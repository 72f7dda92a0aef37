"""The knobs of a client: unit, default and reason of each, and the check of their values.

Knows: what each value means and which are allowed.
Does not know: who reads them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypedDict

from ..errors import InvalidOption
from ..sockjs.framing import CloseCode, Message
from .backoff import Backoff

TRANSPORTS: Final = ("websocket", "xhr-streaming", "eventsource", "xhr-polling")
"""What is tried, in this order, by the names that sockjs-client has for them."""

RAW_WEBSOCKET: Final = "websocket-raw"
"""No SockJS at all: each message is a websocket message. Only where it is asked for, and alone."""


_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*")  # RFC 9110, 5.1 and 5.5


@dataclass(frozen=True, slots=True)
class Break:
    """The connection of a session broke, and there is a new one.

    The server knows nothing of what was before: to it this is another session.

    Attributes:
        reason: what happened, in words.
        transport: what carried the session until then.
        in_doubt: messages that were on their way. They are not sent again by themselves, as some may have arrived.
    """

    reason: str
    transport: str
    in_doubt: tuple[Message, ...]


OnReconnect = Callable[[Break], Iterable[Message] | Awaitable[Iterable[Message] | None] | None]


class ClientArguments(TypedDict, total=False):
    """The keyword arguments of ``connect``; see ``ClientOptions`` for what they mean."""

    transports: Iterable[str] | None
    headers: Mapping[str, str]
    subprotocols: Iterable[str]
    timeout: float
    silence_timeout: float | None
    close_timeout: float
    reconnect: bool | Backoff
    on_reconnect: OnReconnect | None
    max_frame_size: int
    send_buffer_limit: int
    receive_buffer_limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How a client behaves. Seconds are floats, sizes are bytes.

    Attributes:
        transports: names of ``TRANSPORTS`` in the order in which they are tried, or ``"websocket-raw"`` alone.
        headers: sent with every request to the server, e.g. ``Authorization``; not to another origin that the server's
            ``base_url`` may name.
        subprotocols: offered on ``"websocket-raw"``; the session's ``subprotocol`` is what was agreed on.
        timeout: seconds that a transport has at least to open. It has more where the network is slow: as in
            sockjs-client, a multiple of the time that ``/info`` took. 2.
        silence_timeout: seconds without any sign of life after which the server counts as gone; it may take half as
            long again until that is noticed. 60: servers send a heartbeat every 25. Websockets are asked (ping) at
            half of it. None: never, for servers without heartbeats.
        close_timeout: seconds that ``close`` may take to send what waits, and to say goodbye.
        reconnect: connect again when the connection broke (of which 1002 and 2010 tell as well), or the server went
            away (1001, 1012, 1013): with the pauses of a ``Backoff``, or the default ones. A server that says goodbye
            with another code means it.
        on_reconnect: called with a ``Break`` when there is a new connection; a function or a coroutine function. The
            messages that it returns are sent before all that waits: a login, or what was in doubt and does no harm
            when it comes twice. Until it returns nothing is sent and read, so it must not wait for the session. If it
            raises, the session ends.
        max_frame_size: bytes of one frame of the server. Above it the connection counts as broken. 4 MiB.
        send_buffer_limit: bytes that wait to be sent or to be confirmed; above it ``send`` waits. 1 MiB.
        receive_buffer_limit: bytes of messages that wait for the application; above it nothing is read. 1 MiB.
    """

    transports: tuple[str, ...] = TRANSPORTS
    headers: Mapping[str, str] = field(default_factory=dict)
    subprotocols: tuple[str, ...] = ()
    timeout: float = 2.0
    silence_timeout: float | None = 60.0
    close_timeout: float = 5.0
    reconnect: Backoff | None = None
    on_reconnect: OnReconnect | None = None
    max_frame_size: int = 4 * 1024 * 1024
    send_buffer_limit: int = 1024 * 1024
    receive_buffer_limit: int = 1024 * 1024

    def __post_init__(self) -> None:
        known = (*TRANSPORTS, RAW_WEBSOCKET)
        unknown = [name for name in self.transports if name not in known]
        if unknown or not self.transports:
            raise InvalidOption(f"transports are names out of {', '.join(known)}, not {unknown or 'none'}")
        if RAW_WEBSOCKET in self.transports and len(self.transports) > 1:
            raise InvalidOption(f"{RAW_WEBSOCKET} is not SockJS, so there is nothing to fall back to: name it alone")
        if self.subprotocols and self.transports != (RAW_WEBSOCKET,):
            raise InvalidOption(f"subprotocols are for {RAW_WEBSOCKET} alone; SockJS has none")
        if not isinstance(self.reconnect, Backoff | None):
            raise InvalidOption(f"reconnect is True, False or a Backoff, not {self.reconnect!r}")
        if not callable(self.on_reconnect) and self.on_reconnect is not None:
            raise InvalidOption(f"on_reconnect is a function, not {self.on_reconnect!r}")
        _check_headers(self.headers)
        for name in ("max_frame_size", "send_buffer_limit", "receive_buffer_limit"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidOption(f"{name} is a number of bytes above 0, not {value!r}")
        if not _is_time(self.timeout) or self.timeout < 0:
            raise InvalidOption(f"timeout is a number of seconds, not {self.timeout!r}")
        if not _is_time(self.close_timeout) or self.close_timeout <= 0:
            raise InvalidOption(f"close_timeout is a number of seconds above 0, not {self.close_timeout!r}")
        if self.silence_timeout is not None and (not _is_time(self.silence_timeout) or self.silence_timeout <= 0):
            raise InvalidOption(
                f"silence_timeout is a number of seconds above 0, or None, not {self.silence_timeout!r}"
            )


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str) or not _HEADER.fullmatch(f"{name}:{value}"):
            raise InvalidOption(f"headers are names and values of one line each; {name!r} is not")


RETURNING: Final = frozenset({CloseCode.GOING_AWAY, CloseCode.INTERRUPTED, CloseCode.ANOTHER_CONNECTION, 1012, 1013})
"""Close codes after which a client comes back: those of a server that expects it (RFC 6455, 7.4.1 and the IANA
registry), and those of SockJS for a connection that broke: 1002, and 2010, where the server has not noticed yet."""
