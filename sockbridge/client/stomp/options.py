"""The knobs of a STOMP client: unit, default and reason of each, and the check of their values.

Knows: what each value means and which are allowed.
Does not know: who reads them.
"""

from __future__ import annotations

import ssl as tls
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict

from ...errors import ClientError, InvalidOption
from ...stomp.codec import Limits
from ...stomp.frame import Version
from ..backoff import Backoff
from ..options import RAW_WEBSOCKET, TRANSPORTS

OnReconnect = Callable[[ClientError], Awaitable[None] | None]

VERSIONS: Final = tuple(Version)
"""All that there are; the server chooses."""

MOST_SECONDS: Final = 1e9


class StompClientArguments(TypedDict, total=False):
    """The keyword arguments of ``connect`` besides login, headers and session; see ``StompClientOptions``."""

    host: str | None
    versions: Iterable[str]
    heart_beat: tuple[float, float]
    timeout: float
    close_timeout: float
    reconnect: bool | Backoff
    on_reconnect: OnReconnect | None
    receive_buffer_limit: int
    send_buffer_limit: int
    max_body_size: int
    max_head_size: int
    max_headers: int
    max_receipts: int
    content_length: bool
    transports: Iterable[str] | None
    http_headers: Mapping[str, str]
    ssl: tls.SSLContext | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StompClientOptions:
    """How a STOMP client behaves. Seconds are floats, sizes are bytes.

    Attributes:
        host: the header ``host`` of CONNECT: a virtual host of the broker, for RabbitMQ e.g. ``"/"``. None: the host
            of the URL.
        versions: of STOMP that are offered. All: 1.0, 1.1 and 1.2.
        heart_beat: seconds between two beats that the client can send, and that it wants to get; 0: none. (10, 10).
            A server that is silent for twice as long as agreed counts as gone.
        timeout: seconds that the server may take to answer CONNECT, to confirm a frame by RECEIPT, or to take what
            waits, where a call waits for room. 30.
        close_timeout: seconds that ``close`` may take for the goodbye. 5.
        reconnect: connect again when the connection broke, with the pauses of a ``Backoff``, or the default ones.
        on_reconnect: called when there is a new connection and all subscriptions stand, with what ended the old one.
        receive_buffer_limit: bytes of messages that wait in all subscriptions together; above it nothing is read. Four
            times as much while a call waits for the server. 1 MiB.
        send_buffer_limit: bytes that wait to be sent; above it calls wait. 1 MiB.
        max_body_size: of a message. One that is larger ends the client. 4 MiB.
        max_head_size: of a frame's command and headers together. 64 KiB.
        max_headers: of one frame. 256.
        max_receipts: calls that wait for a RECEIPT at a time; further ones wait before they send. 1000.
        content_length: say how long a body is. False: only where it holds a NUL. ActiveMQ takes what says it for
            octets, what does not for text.
        transports: of SockJS, as for ``sockbridge.client.connect``; None: all.
        http_headers: sent with the requests of SockJS and of a websocket, e.g. ``Authorization``.
        ssl: of ``stomps`` URLs; None: the system's authorities. (For ``https`` and ``wss`` pass a ``session``.)
    """

    host: str | None = None
    versions: tuple[Version, ...] = VERSIONS
    heart_beat: tuple[float, float] = (10.0, 10.0)
    timeout: float = 30.0
    close_timeout: float = 5.0
    reconnect: Backoff | None = None
    on_reconnect: OnReconnect | None = None
    receive_buffer_limit: int = 1024 * 1024
    send_buffer_limit: int = 1024 * 1024
    max_body_size: int = 4 * 1024 * 1024
    max_head_size: int = 64 * 1024
    max_headers: int = 256
    max_receipts: int = 1000
    content_length: bool = True
    transports: tuple[str, ...] | None = None
    http_headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # there are tokens in it
    ssl: tls.SSLContext | None = None

    def __post_init__(self) -> None:
        if not self.versions:
            raise InvalidOption(f"versions are some of {', '.join(VERSIONS)}, not none")
        if len(self.heart_beat) != 2 or not all(_is_seconds(value) for value in self.heart_beat):
            raise InvalidOption(f"heart_beat is two numbers of seconds, 0 for never, not {self.heart_beat!r}")
        for name in ("timeout", "close_timeout"):
            value = getattr(self, name)
            if not _is_seconds(value) or not value:
                raise InvalidOption(f"{name} is a number of seconds above 0, not {value!r}")
        for name in _INTEGERS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidOption(f"{name} is an integer of 1 or more, not {value!r}")
        if self.transports is not None and (RAW_WEBSOCKET in self.transports or set(self.transports) - set(TRANSPORTS)):
            known = ", ".join(TRANSPORTS)
            raise InvalidOption(f"transports are some of {known}; a plain websocket has a URL that begins with ws://")

    @property
    def heart_beat_ms(self) -> tuple[int, int]:
        """``heart_beat`` as the wire says it; what is less than a millisecond is one."""
        can_send, wants = (max(1, round(seconds * 1000)) if seconds else 0 for seconds in self.heart_beat)
        return can_send, wants

    @property
    def limits(self) -> Limits:
        """What is let in."""
        return Limits(self.max_head_size, self.max_head_size, self.max_headers, self.max_body_size)

    @property
    def max_frame_size(self) -> int:
        """Bytes of a frame of SockJS: in JSON a control character is six times as long."""
        return max(4 * 1024 * 1024, 6 * (self.max_body_size + self.max_head_size))


_INTEGERS: Final = (
    "receive_buffer_limit", "send_buffer_limit", "max_body_size", "max_head_size", "max_headers", "max_receipts",
)  # fmt: skip


def read_options(arguments: StompClientArguments) -> StompClientOptions:
    """The options that a caller has given.

    Raises:
        InvalidOption: one of them is none, or has a value that is not allowed.
    """
    unknown = set(arguments) - StompClientArguments.__annotations__.keys()
    if unknown:
        known = ", ".join(sorted(StompClientArguments.__annotations__))
        raise InvalidOption(f"there is no option {', '.join(sorted(unknown))}; there are: {known}")
    given: dict[str, Any] = dict(arguments)
    for name in ("versions", "transports"):
        if isinstance(given.get(name), str):
            raise InvalidOption(f"{name} is a list, not {given[name]!r}")
        if given.get(name) is not None:
            given[name] = tuple(given[name])
    try:
        given["versions"] = tuple(Version(str(version)) for version in given.get("versions", VERSIONS))
    except ValueError:
        raise InvalidOption(f"versions are some of {', '.join(VERSIONS)}, not {given['versions']!r}") from None
    reconnect = given.get("reconnect", False)
    if isinstance(reconnect, bool):
        given["reconnect"] = Backoff() if reconnect else None
    return StompClientOptions(**given)


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST_SECONDS
