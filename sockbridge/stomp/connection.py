"""One client's STOMP conversation: who it is, what it has agreed to, subscribed to and left open.

::

    CONNECTING --accept--> CONNECTED --leave--> LEAVING --> CLOSED
        └───────────fail────────┴──────fail, close──────────────┘

Verbs of this class are the only writers of its state. They act at once, send what the client must be told, and
raise what breaks the protocol; the server decides in which order they are called.

Knows: states, version, heart-beats, subscriptions, transactions, limits.
Does not know: brokers, controllers, the application, the clock.
Spec: STOMP 1.2, "Connecting", "Client Frames", "Server Frames"; docs/stomp-conformance.md, sections 2 to 5.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from ..errors import AccessRefused, BadFrame, HeartBeatTimeout, RemoteError, SessionClosed, UnsupportedVersion
from ..sockjs.framing import MAX_REASON_SIZE, CloseCode, Framing, encode_text
from ..sockjs.handshake import Handshake
from .codec import Decoder, Dialect, Limits, dialect
from .destinations import Pattern
from .frame import (
    ACCEPT_VERSION,
    ACK,
    CLIENT_ID,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HEART_BEAT,
    ID,
    MESSAGE,
    MESSAGE_ID,
    RECEIPT,
    RECEIPT_ID,
    REQUEUE,
    SUBSCRIPTION,
    USER_NAME,
    VERSION,
    AckMode,
    Command,
    Frame,
    Version,
    choose_version,
    require,
)
from .heart_beat import HeartBeat, Look, parse_heart_beat
from .options import StompOptions
from .subscription import Subscription, subscription_key
from .transactions import Transactions
from .unsettled import Unsettled
from .users import User


class State(enum.Enum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    LEAVING = "leaving"
    CLOSED = "closed"


class Carrier(Protocol):
    """What carries a connection: a SockJS session, or a TCP connection."""

    id: str
    handshake: Handshake

    @property
    def buffered(self) -> int:
        """Bytes that wait for the client."""
        ...

    @property
    def is_drained(self) -> bool:
        """Little waits for the client: ``drain`` would return at once."""
        ...

    @property
    def framing(self) -> Framing:
        """``FRAMED``, or ``RAW`` where frames travel as they are."""
        ...

    @property
    def transport(self) -> str:
        """Its name."""
        ...

    @property
    def is_open(self) -> bool:
        """True while frames can be sent."""
        ...

    def send_prepared(self, prepared: bytes) -> None:
        """Send what ``framing.prepare`` made."""
        ...

    async def drain(self) -> None:
        """Wait until little waits; raises ``SessionClosed`` at the end."""
        ...

    def close(self, code: int = ..., reason: str = ...) -> None:
        """Deliver what waits, then end."""
        ...


Watch = Callable[["StompConnection", Frame], Frame | None]
"""Sees every frame that goes out; returns the one to send, or None to send none."""

MAX_ID: Final = 1024
"""Characters in the id of a subscription; it is part of every MESSAGE."""

EOL: Final = "\n"

_UNSAFE: Final = {ord(character): " " for character in ":\\\r\n\0"}


class StompConnection:
    """A client that speaks STOMP.

    Attributes:
        id: random, made by the server, fit for logs.
        carrier: what carries it; a ``Session`` where it came over SockJS or a websocket.
        state: see the drawing above.
        version: of the protocol; 1.0 until it is agreed on.
        user: who it is; None for a guest.
        client_id: the header ``client-id`` of its CONNECT; None if there was none.
        subscriptions: by their keys (ids); read-only for applications.
        undelivered: messages that this client could not be told: binary over SockJS.
    """

    __slots__ = (
        "__weakref__",
        "_attributes",
        "_deadline",
        "_expires_at",
        "_has_read",
        "_has_written",
        "_heart_beat",
        "_is_busy",
        "_options",
        "_ordinal",
        "_patterns",
        "_send",
        "_transactions",
        "_unserved",
        "_unsettled",
        "_watch",
        "carrier",
        "client_id",
        "decoder",
        "dialect",
        "id",
        "is_watched",
        "state",
        "subscriptions",
        "undelivered",
        "user",
        "version",
    )

    def __init__(self, carrier: Carrier, options: StompOptions, now: float, watch: Watch | None = None) -> None:
        """
        Args:
            now: seconds on the clock that ``tick`` is given.
            watch: sees every frame that goes out; None where nobody wants to.
        """
        self.id = carrier.id
        self.carrier = carrier
        self.state = State.CONNECTING
        self.version = Version.V1_0
        self.user: User | None = None
        self.client_id: str | None = None
        self.subscriptions: dict[str, Subscription] = {}
        self._is_busy = False
        self.is_watched = watch is not None
        self.undelivered = 0
        self._unserved = 0
        self.decoder = Decoder(Limits.before_login(options))
        self.dialect: Dialect = dialect(None, carrier.framing)
        self._options = options
        self._send = carrier.send_prepared
        self._watch = watch
        self._deadline: float | None = now + options.connect_timeout
        self._expires_at: float | None = None
        self._heart_beat: HeartBeat | None = None
        self._has_read = False
        self._has_written = False
        self._ordinal = 0
        self._patterns = 0
        self._unsettled: Unsettled | None = None
        self._transactions: Transactions | None = None
        self._attributes: dict[Any, Any] | None = None

    def __repr__(self) -> str:
        name = self.user.name if self.user else "-"
        return f"<StompConnection {self.id} {self.state.value} {name} {self.carrier.transport}>"

    # For the application.

    @property
    def is_open(self) -> bool:
        """True from CONNECTED to the end."""
        return self.state is State.CONNECTED and self.carrier.is_open

    @property
    def has_ended(self) -> bool:
        """True once a goodbye was said by either side, or the carrier was lost."""
        return self.state in (State.LEAVING, State.CLOSED)

    @property
    def is_ready(self) -> bool:
        """It is open, and little waits for the client: what is sent now is not piled up."""
        return self.state is State.CONNECTED and self.carrier.is_open and self.carrier.is_drained

    async def drain(self) -> None:
        """Wait until little waits for the client: flow control for whoever sends much.

        Raises:
            SessionClosed: the connection has ended.
        """
        await self.carrier.drain()
        if self.has_ended:
            raise SessionClosed(CloseCode.NORMAL, "Goodbye")

    @property
    def handshake(self) -> Handshake:
        """The request that opened the carrier: headers, cookies, remote, principal, app."""
        return self.carrier.handshake

    @property
    def attributes(self) -> dict[Any, Any]:
        """A dict for the application's own use."""
        if self._attributes is None:
            self._attributes = {}
        return self._attributes

    def close(self, code: int = CloseCode.GO_AWAY, reason: str = "Go away!") -> None:
        """Deliver what waits, then end. May be called again.

        Raises:
            InvalidCloseCode: see ``Session.close``.
        """
        self.carrier.close(code, reason)
        self.state = State.CLOSED

    # In.

    def receive(self, received: str | bytes) -> None:
        """Take in what the client sent; ``next_frame`` gives what it amounts to, then comes ``rest``."""
        self._has_read = self._is_busy = True
        if self.state in (State.CONNECTING, State.CONNECTED):
            self.decoder.feed(received)

    def rest(self) -> None:
        """What was received is worked on. Until then silence says nothing, as more may wait unread."""
        self._is_busy = False

    def count_unserved(self) -> int:
        """One more frame was not served; how many that makes."""
        self._unserved += 1
        return self._unserved

    def next_frame(self) -> Frame | None:
        """The next frame of the client; None until more is received, and from the end on.

        Raises:
            BadFrame: it is not STOMP, or not for this moment.
        """
        if self.has_ended or not self.carrier.is_open:
            return None
        frame = self.decoder.next_frame()
        if frame is None:
            return None
        is_login = frame.command in (Command.CONNECT, Command.STOMP)
        if is_login and self.state is State.CONNECTED:
            raise BadFrame("connected already", receipt=frame.written_receipt)
        if not is_login and self.state is State.CONNECTING:
            raise BadFrame(f"{frame.command} before CONNECT", receipt=frame.written_receipt)
        return frame

    def answer_in_binary(self) -> None:
        """The client talks in binary messages: it gets its frames in such as well."""
        if not self.dialect.is_binary:
            self.dialect = dialect(self.dialect.version, self.dialect.framing, is_binary=True)

    # The login.

    def accept(self, connect: Frame, user: User | None, now: float, expires_at: float | None = None) -> HeartBeat:
        """Agree on a version and on heart-beats, and answer CONNECTED.

        Args:
            expires_at: when the login ends, on the clock of ``now``; None: never.

        Returns:
            what was agreed.

        Raises:
            BadFrame: no version in common, or a ``heart-beat`` header that is none.
        """
        version = choose_version(connect.headers.get(ACCEPT_VERSION))
        asked = parse_heart_beat(connect.headers.get(HEART_BEAT))
        if version is Version.V1_0:
            asked = (0, 0)  # heart-beats came with 1.1; webstomp asks for them in 1.0 as well, and then sends none
        heart_beat = HeartBeat.mirroring(asked, self._options, now)
        self.state = State.CONNECTED
        self.version = version
        self.user = user
        self.client_id = connect.headers.get(CLIENT_ID)
        self.decoder.version = version
        self.decoder.limits = Limits.of(self._options)
        self.dialect = dialect(version, self.dialect.framing, is_binary=self.dialect.is_binary)
        self._deadline = None
        self._expires_at = expires_at
        self._heart_beat = heart_beat if heart_beat.tick else None
        headers = {VERSION: version.value, HEART_BEAT: heart_beat.header}
        if user is not None:
            headers[USER_NAME] = user.name.translate(_UNSAFE) if _is_unsafe(user.name) else user.name
        self.send(Frame(Command.CONNECTED, headers))
        return heart_beat

    # Subscriptions.

    def subscribe(self, frame: Frame, pattern: Pattern) -> Subscription:
        """Take down what a SUBSCRIBE wants.

        Raises:
            BadFrame: no id, one that is taken, an unknown ack mode, or too many subscriptions.
        """
        if ID not in frame.headers and self.version is not Version.V1_0:
            raise BadFrame("SUBSCRIBE without id")
        try:
            ack = AckMode(frame.headers.get(ACK, AckMode.AUTO))
        except ValueError:
            raise BadFrame("ack is auto, client or client-individual") from None
        key = subscription_key(frame)
        if len(frame.headers.get(ID, "")) > MAX_ID:
            raise BadFrame("id too long", f"the limit is {MAX_ID} characters")
        if key in self.subscriptions:
            raise BadFrame("this id is subscribed already", ascii(key[:100]))
        if len(self.subscriptions) >= self._options.max_subscriptions:
            raise BadFrame("too many subscriptions", f"the limit is {self._options.max_subscriptions}")
        if not pattern.is_literal:
            if self._patterns >= self._options.max_patterns:
                raise BadFrame("too many patterns", f"the limit is {self._options.max_patterns}")
            self._patterns += 1
        self._ordinal += 1
        subscription = Subscription(self, frame, pattern, ack, self._ordinal)
        self.subscriptions[key] = subscription
        if ack is not AckMode.AUTO:
            if self._unsettled is None:
                self._unsettled = Unsettled(self._options.max_unsettled)
            self._unsettled.watch(subscription)
        return subscription

    def unsubscribe(self, key: str) -> Subscription | None:
        """Strike a subscription out; None if there is none of this key."""
        subscription = self.subscriptions.pop(key, None)
        if subscription is not None:
            self._patterns -= not subscription.pattern.is_literal
            if self._unsettled is not None:
                self._unsettled.forget(subscription)
        return subscription

    def await_ack(self, ordinal: int, serial: int, *, is_lent: bool) -> None:
        """A message was sent for a subscription that acknowledges; see ``Unsettled``."""
        if self._unsettled is not None:
            self._unsettled.add(ordinal, serial, is_lent=is_lent)

    def settle(self, frame: Frame) -> tuple[Subscription, list[int]] | None:
        """What an ACK or NACK is about, by serials; None if there is nothing to settle any more.

        An ACK may come for a subscription that has ended or acknowledges by itself (stompjs then sends the id
        ``undefined``): both are no faults of the client.

        Raises:
            BadFrame: without an id, or of a message that was never sent or is settled already.
        """
        message = self._acknowledged(frame)
        return self._unsettled.settle(*message) if message and self._unsettled is not None else None

    def check_settles(self, frames: Iterable[Frame]) -> None:
        """Could ``settle`` do these now, one after the other? For what waits for its transaction.

        Raises:
            BadFrame: see there.
        """
        messages = [self._acknowledged(frame) for frame in frames]
        if self._unsettled is not None:
            self._unsettled.check(message for message in messages if message is not None)

    def _acknowledged(self, frame: Frame) -> tuple[int, int] | None:
        # The numbers of subscription and message; None where the client could not know them.
        token = require(frame, ID if self.version is Version.V1_2 else MESSAGE_ID)
        if self.version is Version.V1_1:
            require(frame, SUBSCRIPTION)
        if frame.headers.get(REQUEUE, "true") not in ("true", "false"):
            raise BadFrame(f"{REQUEUE} is true or false", ascii(frame.headers[REQUEUE][:100]))
        ordinal, dash, serial = token.partition("-")
        if token == "undefined":
            return None
        if not (dash and _is_number(ordinal) and _is_number(serial)) or not 0 < int(ordinal) <= self._ordinal:
            raise BadFrame(f"{frame.command} of an unknown message", ascii(token[:100]))
        owner = self._unsettled.id_of(int(ordinal)) if self._unsettled is not None else None
        if self.version is Version.V1_1 and owner not in (None, frame.headers[SUBSCRIPTION]):
            raise BadFrame(f"{frame.command} of another subscription's message")
        return int(ordinal), int(serial)

    @property
    def transactions(self) -> Transactions:
        """Those that are open."""
        if self._transactions is None:
            self._transactions = Transactions(self._options)
        return self._transactions

    # Out.

    def send(self, frame: Frame) -> bool:
        """Word ``frame`` for this client and send it; nothing is sent after a goodbye of either side.

        Returns:
            False if it is not sent: the connection has ended, an interceptor wants none of it, or it cannot be said.
        """
        if self.has_ended:
            return False
        if self._watch is not None:
            watched = self._watch(self, frame)
            if watched is None:
                return False
            frame = watched
        return self.send_prepared(self.dialect.encode(frame) or b"")

    def send_prepared(self, prepared: bytes) -> bool:
        """Send what is worded already.

        Args:
            prepared: b"" for what cannot be said over this carrier, which is counted.

        Returns:
            False for that.
        """
        if not prepared:
            self.undelivered += 1
            return False
        self._has_written = True
        self._send(prepared)
        return True

    def send_receipt(self, frame: Frame, told: Mapping[str, str] | None = None) -> None:
        """Tell the client that ``frame`` has been worked on, if it asked.

        Args:
            told: headers for the RECEIPT; they hold nothing to escape.
        """
        receipt = frame.receipt
        if receipt is not None:
            raw = frame.verbatim(RECEIPT)
            self.send(Frame(Command.RECEIPT, {RECEIPT_ID: receipt, **(told or {})}, b"", {RECEIPT_ID: raw}))

    # The end.

    def leave(self) -> None:
        """The client has said goodbye and will close; else the server does, after ``disconnect_grace``."""
        if self.state is State.CONNECTED:
            self.state = State.LEAVING
            self._send = _drop

    def fail(self, error: RemoteError, frame: Frame | None = None, code: int = CloseCode.INTERRUPTED) -> None:
        """Tell the client what was wrong, and end. Does nothing if it has ended.

        Args:
            frame: the one at fault; None where there is none, or where it could not be read.
        """
        if self.state is State.CLOSED:
            return
        message, detail = public_text(error)
        headers = {MESSAGE: message}
        if isinstance(error, UnsupportedVersion):
            headers[VERSION] = error.supported
        receipt = frame.receipt if frame else error.receipt if isinstance(error, BadFrame) else None
        raw = None
        if receipt is not None:
            headers[RECEIPT_ID] = receipt
            raw = {RECEIPT_ID: frame.verbatim(RECEIPT) if frame else receipt}
        body = encode_text(detail)
        if body:
            headers[CONTENT_TYPE] = "text/plain;charset=UTF-8"
        headers[CONTENT_LENGTH] = str(len(body))
        self.send(Frame(Command.ERROR, headers, body, raw))
        self.end(code, message)

    def end(self, code: int, reason: str) -> None:
        """Nothing more is said or heard; what waits is delivered first."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self.carrier.close(code, encode_text(reason)[:MAX_REASON_SIZE].decode("utf-8", "ignore"))

    def on_lost(self) -> None:
        """The carrier has ended, for whatever reason. What was open in transactions is dropped."""
        self.state = State.CLOSED
        self._transactions = None
        self._unsettled = None

    # The clock.

    @property
    def tick(self) -> float:
        """Seconds between two looks that this connection needs; 0 if it needs none in particular."""
        return self._heart_beat.tick if self._heart_beat else 0.0

    def look(self, now: float) -> RemoteError | None:
        """See to heart-beats and deadlines.

        Returns:
            why the connection must end; None if it need not.
        """
        if self.state is State.LEAVING:
            if self._deadline is None:
                self._deadline = now + self._options.disconnect_grace
            elif now >= self._deadline:
                self.end(CloseCode.NORMAL, "Goodbye")
            return None
        if self.state is State.CLOSED or not self.carrier.is_open:
            return None
        if self._deadline is not None and now >= self._deadline:
            return BadFrame("no login in time", f"the limit is {self._options.connect_timeout:g} seconds")
        if self._expires_at is not None and now >= self._expires_at:
            return AccessRefused("the login has expired")
        heart_beat = self._heart_beat
        if heart_beat is None or self.state is not State.CONNECTED:
            return None
        # What waits behind a busy handler has not been read yet, so it counts as being there.
        found = heart_beat.look(now, has_read=self._has_read or self._is_busy, has_written=self._has_written)
        self._has_read = self._has_written = False
        if found is Look.BEAT and not self.carrier.buffered:
            self._send(self.carrier.framing.prepare(EOL))
        elif found is Look.SILENT:
            return HeartBeatTimeout(f"no heart-beat in time, {heart_beat.expect_every:g} seconds were agreed")
        return None


def _drop(prepared: bytes) -> None:
    """What would come behind the goodbye."""


def public_text(error: RemoteError) -> tuple[str, str]:
    """What a client is told: a short message that is valid in every version, and more of it."""
    if isinstance(error, BadFrame):
        return error.message.translate(_UNSAFE), error.detail
    return str(error).translate(_UNSAFE)[:200], ""


def _is_unsafe(text: str) -> bool:
    return any(character in text for character in "\r\n\0")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
