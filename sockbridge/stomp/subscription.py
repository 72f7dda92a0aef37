"""One subscription of one client: wording what it gets.

Knows: its id, its destination, its ack mode.
Does not know: brokers, who sends, what an ACK leads to.
Spec: STOMP 1.2, "SUBSCRIBE", "ACK", "MESSAGE"; docs/stomp-conformance.md, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from ..sockjs.framing import Binary
from .codec import Dialect, PreparedMessage
from .destinations import Pattern
from .frame import (
    ACK,
    CONTENT_LENGTH,
    DESTINATION,
    MESSAGE_ID,
    SUBSCRIPTION,
    AckMode,
    Command,
    Frame,
    Version,
)
from .users import User

MAX_HEADER: Final = 256
MAX_HEADERS: Final = 16


class Client(Protocol):
    """What a subscription needs of its connection."""

    @property
    def user(self) -> User | None:
        """Who it is."""
        ...

    @property
    def version(self) -> Version:
        """Of the protocol."""
        ...

    @property
    def dialect(self) -> Dialect:
        """How frames are worded for it."""
        ...

    @property
    def is_watched(self) -> bool:
        """Interceptors want to see what it gets, frame by frame."""
        ...

    def close(self, code: int = ..., reason: str = ...) -> None:
        """End it."""
        ...

    def await_ack(self, ordinal: int, serial: int) -> None:
        """A message is sent that is to be acknowledged."""
        ...

    def send(self, frame: Frame) -> None:
        """Word a frame and send it."""
        ...

    def send_prepared(self, prepared: bytes) -> None:
        """Send what is worded already; b"" cannot be said to this client."""
        ...


class Subscription:
    """What one SUBSCRIBE asked for.

    Attributes:
        id: as the client chose it, unescaped; None only in STOMP 1.0.
        key: by which its connection finds it: the id, or for lack of one the destination.
        pattern: what it wants.
        ack: how it acknowledges.
        headers: of the SUBSCRIBE, unescaped, for the broker; those of more than ``MAX_HEADER`` characters (tokens) and
            those beyond ``MAX_HEADERS`` are not kept.
        connection: whose it is.
        ordinal: a number that no other subscription of the connection ever has.
    """

    __slots__ = (
        "_prefix",
        "_raw_id",
        "ack",
        "connection",
        "headers",
        "id",
        "key",
        "ordinal",
        "pattern",
    )

    def __init__(self, connection: Client, frame: Frame, pattern: Pattern, ack: AckMode, ordinal: int) -> None:
        self.connection = connection
        self.id = frame.headers.get("id")
        self.key = subscription_key(frame)
        self.pattern = pattern
        self.ack = ack
        short = [(name, value) for name, value in frame.headers.items() if len(name) + len(value) <= MAX_HEADER]
        self.headers: Mapping[str, str] = dict(short[:MAX_HEADERS])
        self.ordinal = ordinal
        self._raw_id = None if self.id is None else frame.verbatim("id")
        self._prefix = connection.dialect.prefix(self._raw_id, f"{ordinal}-")

    def __repr__(self) -> str:
        return f"<Subscription {self.id!r} to {self.destination!r}>"

    @property
    def destination(self) -> str:
        """As the client wrote it; may hold wildcards."""
        return self.pattern.text

    def deliver(self, message: PreparedMessage) -> None:
        """Send ``message`` to the client. What is equal for all subscribers was worded once."""
        connection = self.connection
        if self.ack is not AckMode.AUTO:
            connection.await_ack(self.ordinal, message.serial)
        if connection.is_watched:
            connection.send(self._frame(message))
            return
        dialect = connection.dialect
        worded = message.wordings.get(dialect)
        if worded is None:
            worded = dialect.word(message)
        if not worded:
            connection.send_prepared(b"")
        elif type(worded) is Binary:
            connection.send_prepared(Binary(self._prefix_of(message) + worded))
        elif self.ack is AckMode.AUTO:
            connection.send_prepared(self._prefix + worded)
        else:
            connection.send_prepared(self._prefix_of(message) + worded)

    def _ack_header(self, message: PreparedMessage) -> str | None:
        if self.ack is AckMode.AUTO or self.connection.version is not Version.V1_2:
            return None
        return f"{self.ordinal}-{message.serial}"

    def _prefix_of(self, message: PreparedMessage) -> bytes:
        ack = self._ack_header(message)
        return self._prefix if ack is None else self.connection.dialect.prefix(self._raw_id, f"{self.ordinal}-", ack)

    def _frame(self, message: PreparedMessage) -> Frame:
        headers = {DESTINATION: message.destination, MESSAGE_ID: f"{self.ordinal}-{message.serial}"}
        headers[CONTENT_LENGTH] = str(len(message.body))
        if self.id is not None:
            headers[SUBSCRIPTION] = self.id
        ack = self._ack_header(message)
        if ack is not None:
            headers[ACK] = ack
        headers.update(message.headers)
        raw = None if self._raw_id is None else {SUBSCRIPTION: self._raw_id}
        return Frame(Command.MESSAGE, headers, message.body, raw)


def subscription_key(frame: Frame) -> str:
    """By which a SUBSCRIBE, and later its UNSUBSCRIBE, means a subscription."""
    found = frame.headers.get("id")
    return f"\0{frame.destination}" if found is None else found  # no id holds a NUL
