"""The knobs of a STOMP server: unit, default and reason of each, and the check of their values.

Knows: what each value means and which are allowed.
Does not know: who reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict

from ..errors import InvalidOption

MOST_SECONDS: Final = 1e9


class StompOptionArguments(TypedDict, total=False):
    """The keyword arguments of ``StompServer`` that are limits and times; see ``StompOptions``."""

    compat: Literal["spring"] | None
    connect_timeout: float
    disconnect_grace: float
    heart_beat_min_ms: int
    heart_beat_max_ms: int
    heart_beat_tolerance: float
    max_body_size: int
    max_head_size: int
    max_header_size: int
    max_headers: int
    max_login_size: int
    max_subscriptions: int
    max_patterns: int
    max_transactions: int
    max_transaction_frames: int
    max_transaction_size: int
    max_unsettled: int
    max_tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StompOptions:
    """The settings of one STOMP server. Seconds are floats, sizes are bytes. Times are kept to about a second.

    Attributes:
        compat: ``"spring"`` answers as Spring's simple broker does where a client can tell the difference: clients
            may SEND to broker destinations, a DISCONNECT without receipt is answered by ERROR, and nothing is said
            about unknown destinations. None: the safe behaviour.
        connect_timeout: seconds from the opening of a connection until it has logged in, ``authenticate`` included. 10.
        disconnect_grace: seconds after a DISCONNECT until the server closes by itself. 2.
        heart_beat_min_ms: milliseconds; who asks for heart-beats more often gets this. 1000.
        heart_beat_max_ms: milliseconds; what the server itself offers at most. 60000.
        heart_beat_tolerance: intervals of silence after which a client counts as gone. 2: clients' timers are late,
            above all in background tabs.
        max_body_size: of one frame. 1048576.
        max_head_size: command and headers of one frame together. 32768.
        max_header_size: one line of the head. 8192.
        max_headers: of one frame. 64.
        max_login_size: of one frame before the login is accepted. 16384. (What carries the frame has a limit of its
            own, ``max_message_size`` of ``mount``.)
        max_subscriptions: of one connection. 1000.
        max_patterns: of those, how many may hold wildcards. 100. Patterns are found without a scan, but for segments
            that begin and end with a wildcard (``*a*``), which are tried one by one.
        max_transactions: open at a time in one connection. 16.
        max_transaction_frames: waiting in all open transactions of one connection. 1024.
        max_transaction_size: of the bodies and heads of those frames together. 4194304.
        max_unsettled: messages that wait for an ACK, of one connection; beyond it the oldest count as acknowledged.
            1000.
        max_tasks: handlers that run beside the connection (``concurrent=True``, streams), per connection. 64.
    """

    compat: Literal["spring"] | None = None
    connect_timeout: float = 10.0
    disconnect_grace: float = 2.0
    heart_beat_min_ms: int = 1000
    heart_beat_max_ms: int = 60_000
    heart_beat_tolerance: float = 2.0
    max_body_size: int = 1024 * 1024
    max_head_size: int = 32 * 1024
    max_header_size: int = 8 * 1024
    max_headers: int = 64
    max_login_size: int = 16 * 1024
    max_subscriptions: int = 1000
    max_patterns: int = 100
    max_transactions: int = 16
    max_transaction_frames: int = 1024
    max_transaction_size: int = 4 * 1024 * 1024
    max_unsettled: int = 1000
    max_tasks: int = 64

    def __post_init__(self) -> None:
        if self.compat not in (None, "spring"):
            raise InvalidOption(f'compat is None or "spring", not {self.compat!r}')
        for name in _SECONDS:
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MOST_SECONDS:
                raise InvalidOption(f"{name} is a finite number above 0, not {value!r}")
        for name in _INTEGERS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidOption(f"{name} is an integer of 1 or more, not {value!r}")
        if self.heart_beat_tolerance < 1:
            raise InvalidOption("heart_beat_tolerance is 1 or more: a client may use the whole interval")
        if self.heart_beat_min_ms > self.heart_beat_max_ms:
            raise InvalidOption("heart_beat_min_ms is at most heart_beat_max_ms")

    @property
    def is_spring(self) -> bool:
        """Behave as Spring's simple broker where a client can tell."""
        return self.compat == "spring"


_SECONDS: Final = ("connect_timeout", "disconnect_grace", "heart_beat_tolerance")
_INTEGERS: Final = tuple(
    name for name in StompOptions.__dataclass_fields__ if name.startswith(("max_", "heart_beat_m"))
)
