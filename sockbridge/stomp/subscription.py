"""One subscription of one client: wording what it gets.

Knows: its id, its destination, its ack mode.
Does not know: brokers, who sends, what an ACK leads to.
Spec: STOMP 1.2, "SUBSCRIBE", "ACK", "MESSAGE"; docs/stomp-conformance.md, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from ..errors import BadFrame, RemoteError, SessionClosed
from ..sockjs.framing import Binary, CloseCode
from .codec import Dialect, PreparedMessage
from .destinations import Pattern
from .frame import (
    ACK,
    CLIENT_ID,
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
FOR_BROKERS: Final = frozenset(
    {"activemq.prefetchSize", CLIENT_ID, "durable", "prefetch-count", "selector", "x-epoch", "x-since"}
)
"""Headers of a SUBSCRIBE that brokers look at: they are kept before all others."""


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

    @property
    def subscriptions(self) -> Mapping[str, Subscription]:
        """Those that are in force, by their keys."""
        ...

    @property
    def client_id(self) -> str | None:
        """By which the client says, on every connection, that it is the same."""
        ...

    @property
    def is_ready(self) -> bool:
        """The client is there, and not much waits for it."""
        ...

    async def drain(self) -> None:
        """Wait until little waits; raises ``SessionClosed`` at the end."""
        ...

    def close(self, code: int = ..., reason: str = ...) -> None:
        """End it."""
        ...

    def fail(self, error: RemoteError) -> None:
        """Tell the client what was wrong, and end."""
        ...

    def await_ack(self, ordinal: int, serial: int, *, is_lent: bool) -> None:
        """A message is sent that is to be acknowledged; one that is lent never counts as such by itself."""
        ...

    def send(self, frame: Frame) -> bool:
        """Word a frame and send it; False if it is not sent."""
        ...

    def send_prepared(self, prepared: bytes) -> bool:
        """Send what is worded already; b"" cannot be said to this client, and False is returned."""
        ...


class Subscription:
    """What one SUBSCRIBE asked for.

    Attributes:
        id: as the client chose it, unescaped; None only in STOMP 1.0.
        key: by which its connection finds it: the id, or for lack of one the destination.
        pattern: what it wants.
        ack: how it acknowledges.
        headers: of the SUBSCRIBE, unescaped, for the broker; those of more than ``MAX_HEADER`` characters (tokens) and
            those beyond ``MAX_HEADERS`` are not kept, ``FOR_BROKERS`` last of all.
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
        short.sort(key=lambda item: item[0] not in FOR_BROKERS)
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

    @property
    def owner(self) -> object:
        """The connection: equal for all subscriptions of one client."""
        return self.connection

    @property
    def user(self) -> str | None:
        """The name of whoever has logged in; None for a guest."""
        user = self.connection.user
        return None if user is None else user.name

    @property
    def client_id(self) -> str | None:
        """The header ``client-id`` of the SUBSCRIBE, or of the CONNECT; None if neither has one."""
        return self.headers.get(CLIENT_ID) or self.connection.client_id

    @property
    def is_over(self) -> bool:
        """It was struck out; what comes now is for others."""
        return self.connection.subscriptions.get(self.key) is not self

    @property
    def is_ready(self) -> bool:
        """It is in force, the client is there, and not much waits for it."""
        return self.connection.is_ready and not self.is_over

    async def drain(self) -> None:
        """Wait until little waits for the client.

        Raises:
            SessionClosed: the client has gone, or the subscription has ended.
        """
        await self.connection.drain()
        if self.is_over:
            raise SessionClosed(CloseCode.NORMAL, "unsubscribed")

    def evict(self, reason: str) -> None:
        """End the connection with an ERROR."""
        self.connection.fail(BadFrame(reason))

    def deliver(self, message: PreparedMessage, headers: Mapping[str, str] | None = None) -> bool:
        """Send ``message`` to the client. What is equal for all subscribers was worded once.

        Args:
            headers: for this subscriber alone, besides those of the message.

        Returns:
            False if the client cannot be told.
        """
        return self._send(message, headers, is_lent=False)

    def lend(self, message: PreparedMessage, headers: Mapping[str, str] | None = None) -> bool:
        """The same for a message that somebody keeps until it is acknowledged."""
        return self._send(message, headers, is_lent=True)

    def _send(self, message: PreparedMessage, headers: Mapping[str, str] | None, *, is_lent: bool) -> bool:
        connection = self.connection
        if connection.is_watched:
            is_sent = connection.send(self._frame(message, headers))
        else:
            dialect = connection.dialect
            worded = message.wordings.get(dialect)
            if worded is None:
                worded = dialect.word(message)
            if not worded:
                is_sent = connection.send_prepared(b"")
            elif type(worded) is Binary:
                is_sent = connection.send_prepared(Binary(self._prefix_of(message, headers) + worded))
            elif self.ack is AckMode.AUTO and headers is None:
                return connection.send_prepared(self._prefix + worded)
            else:
                is_sent = connection.send_prepared(self._prefix_of(message, headers) + worded)
        if is_sent and self.ack is not AckMode.AUTO:
            connection.await_ack(self.ordinal, message.serial, is_lent=is_lent)
        return is_sent

    def _own_headers(self, message: PreparedMessage, headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
        # Those that no other subscriber shares; None: there are none.
        if self.ack is AckMode.AUTO or self.connection.version is not Version.V1_2:
            return headers
        return {ACK: f"{self.ordinal}-{message.serial}", **(headers or {})}

    def _prefix_of(self, message: PreparedMessage, headers: Mapping[str, str] | None) -> bytes:
        own = self._own_headers(message, headers)
        if own is None:
            return self._prefix
        return self.connection.dialect.prefix(self._raw_id, f"{self.ordinal}-", own)

    def _frame(self, message: PreparedMessage, headers: Mapping[str, str] | None) -> Frame:
        written = {DESTINATION: message.destination, MESSAGE_ID: f"{self.ordinal}-{message.serial}"}
        written[CONTENT_LENGTH] = str(len(message.body))
        if self.id is not None:
            written[SUBSCRIPTION] = self.id
        written.update(self._own_headers(message, headers) or {})
        written.update(message.headers)
        raw = None if self._raw_id is None else {SUBSCRIPTION: self._raw_id}
        return Frame(Command.MESSAGE, written, message.body, raw)


def subscription_key(frame: Frame) -> str:
    """By which a SUBSCRIBE, and later its UNSUBSCRIBE, means a subscription."""
    found = frame.headers.get("id")
    return f"\0{frame.destination}" if found is None else found  # no id holds a NUL
