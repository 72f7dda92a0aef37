"""One conversation: its state, what waits for the client, and the receiver that fetches it.

States and what moves between them::

    CONNECTING --attach--> OPEN --close, abort, overflow--> CLOSING --forget--> CLOSED
                             └──────────────expire───────────────────────────────┘

=========== ==================== ============== ================ ================ =====================
state       attach               send           close            abort            expire
=========== ==================== ============== ================ ================ =====================
CONNECTING  OPEN, frame ``o``    dropped        -                -                CLOSED, nobody is told
OPEN        busy, or flush       buffered, wake CLOSING, ``c``   CLOSING (1002)   CLOSED (1006)
CLOSING     ``c`` once more      dropped        -                -                CLOSED
CLOSED      (nobody finds it)    dropped        -                -                -
=========== ==================== ============== ================ ================ =====================

The session **wakes** its receiver, the receiver **takes** the next frame when it can: nothing else passes
between them. So a receiver decides when to write, and the buffer with its limit is here for all transports.

Knows: states, the outbound buffer, its receiver.
Does not know: HTTP, the loop, the clock, who handles messages.
Spec: sockjs-protocol 0.3.3, SessionURLs, Protocol; docs/conformance.md, section 5.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

from ..errors import ConnectionLost, RemoteError, SendBufferOverflow, SessionBusy, SessionClosed
from ..options import Options
from .framing import (
    EXPIRED,
    FRAMED,
    HEARTBEAT_FRAME,
    INTERRUPTED,
    Close,
    CloseCode,
    Framing,
    Message,
    check_close,
)
from .handshake import Handshake

HIGH_WATER: Final = 64 * 1024
"""Bytes in the buffer above which ``drain`` waits and the receiver is asked to flush at once; half of
``send_buffer_limit`` where that is less."""


QUIET_TIME: Final = 25.0
"""Seconds after which a quiet session without heartbeats is looked at all the same."""


class State(enum.Enum):
    """The states of a session, by the names of the WebSocket API."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


OPEN: Final = State.OPEN


class Receiver(Protocol):
    """What a session demands of the connection that carries it to the client.

    Attributes:
        transport: the name of its transport, for ``session.transport``.
        is_quiet: ``tick`` has nothing to look at until a frame is taken: nothing is on its way, and of the loss of
            its connection it hears by itself, and lets go of the session then.
    """

    transport: str

    @property
    def is_quiet(self) -> bool: ...

    @property
    def is_connected(self) -> bool:
        """False once the peer is known to be gone."""
        ...

    def wake(self) -> None:
        """Something waits, or the session has let go of this receiver: look soon, at best this loop turn.

        Called for the first message that waits only: whoever leaves frames looks again without being told.
        """
        ...

    def flush(self) -> None:
        """Much waits: take now what the peer accepts, without waiting for the end of the loop turn.

        One that cannot write within the call (a poll) wakes instead.
        """
        ...

    def tick(self, now: float) -> ConnectionLost | None:
        """Called about twice a second; what made the peer count as gone, or None while it is there."""
        ...

    def cut(self) -> None:
        """End the connection without a goodbye: the server stops."""
        ...


class OnEnding(Protocol):
    """Told once, when a session stops being open."""

    def __call__(self, session: Session, close: Close, error: RemoteError | None, *, is_ours: bool) -> None:
        """``error`` is None after a goodbye; ``is_ours`` if this side ended it, False if client or network did."""
        ...


class Session:
    """A live two-way connection with one client, whichever transport carries it.

    Applications call ``send``, ``drain`` and ``close`` and read the attributes. All of it may be used from
    the event loop's thread only.

    Attributes:
        id: random, made by the server, fit for logs. Not the id in the URL, which is the client's secret.
        url_id: that one, by which HTTP requests find the session; None for a websocket. Not for logs.
        handshake: the request that opened the session.
        framing: ``FRAMED``, or ``RAW`` on a raw websocket, where ``bytes`` may be sent as well.
        buffered: bytes of messages that wait for the client.
        messages: what iteration over the session gives; set for a coroutine handler only.
        undelivered: messages that were sent after the end, dropped by ``on_overflow``, or never fetched.
        has_heartbeat: False switches this session's heartbeats off, e.g. where the application has its own.
        has_more: ``take_frame`` would return a frame.
        receiver: the connection that carries the session now. One that finds itself replaced or let go is to end.
        look_at: before that time ``look`` has nothing to do; 0 while it may have.
    """

    __slots__ = (
        "__weakref__",
        "_attributes",
        "_buffer",
        "_close",
        "_deadline",
        "_drained",
        "_has_written",
        "_has_yielded",
        "_heartbeat_is_due",
        "_high_water",
        "_is_new",
        "_on_ending",
        "_options",
        "_prepare",
        "_quiet_since",
        "_state",
        "_transport",
        "buffered",
        "framing",
        "handshake",
        "has_heartbeat",
        "has_more",
        "id",
        "look_at",
        "messages",
        "receiver",
        "undelivered",
        "url_id",
    )

    def __init__(
        self,
        id: str,
        handshake: Handshake,
        options: Options,
        framing: Framing = FRAMED,
        on_ending: OnEnding | None = None,
        url_id: str | None = None,
    ) -> None:
        self.id = id
        self.url_id = url_id
        self.handshake = handshake
        self.undelivered = 0
        self.buffered = 0
        self.look_at = 0.0
        self.has_heartbeat = options.heartbeat_delay > 0
        self.messages: AsyncIterator[Message] | None = None
        self._options = options
        self._high_water = min(HIGH_WATER, options.send_buffer_limit // 2)
        self.framing = framing
        self._prepare = framing.prepare
        self._on_ending = on_ending
        self._state = State.CONNECTING
        self._close: Close | None = None
        self._buffer: deque[bytes] = deque()
        self.receiver: Receiver | None = None
        self._transport = ""
        self._attributes: dict[Any, Any] | None = None
        self._drained: asyncio.Event | None = None
        self._is_new = self.has_more = bool(framing.open_frame)
        self._heartbeat_is_due = False
        self._has_written = True
        self._has_yielded = True
        self._quiet_since = 0.0
        self._deadline: float | None = None

    def __repr__(self) -> str:
        return f"<Session {self.id} {self._state.value} {self._transport or '-'}>"

    # For the application.

    @property
    def state(self) -> State:
        """Where the session stands; see the table of this module."""
        return self._state

    @property
    def is_open(self) -> bool:
        """True while messages can be sent."""
        return self._state is OPEN

    @property
    def attributes(self) -> dict[Any, Any]:
        """A dict for the application's own use; sockbridge never looks at it."""
        if self._attributes is None:
            self._attributes = {}
        return self._attributes

    @property
    def transport(self) -> str:
        """Name of the transport that carries the session now, or carried it last; "" before the first."""
        return self._transport

    @property
    def heartbeat_delay(self) -> float:
        """Seconds of silence after which a heartbeat is sent, where ``has_heartbeat`` is set; the endpoint's option."""
        return self._options.heartbeat_delay

    @property
    def close_info(self) -> Close | None:
        """How the session ended; None while it has not."""
        return self._close

    def send(self, message: Message) -> None:
        """Queue ``message`` for the client. Never blocks; after the end it is dropped and counted.

        Messages arrive in the order of the calls, at most once. What the client has not fetched when the
        session ends is lost: ``undelivered`` counts it.

        Args:
            message: text; ``bytes`` only on a raw websocket.

        Raises:
            TypeError: ``message`` is of another type.
        """
        if self._state is not OPEN:
            self.undelivered += 1
            return
        # As ``send_prepared``, without a call more: every reply comes through here (bench.compare, ws-echo-16).
        prepared = self._prepare(message)
        self._buffer.append(prepared)
        self.buffered = buffered = self.buffered + len(prepared)
        if not self.has_more:  # else the receiver is awake already
            self.has_more = True
            if self.receiver is not None:
                self.receiver.wake()
        if buffered > self._high_water:
            self._relieve()

    def send_prepared(self, prepared: bytes) -> None:
        """Queue what ``framing.prepare`` of this session's framing returned, for fan-out.

        Prepare once, send to many: equal for all sessions with an equal ``framing``.
        """
        if self._state is not OPEN:
            self.undelivered += 1
            return
        self._buffer.append(prepared)
        self.buffered = buffered = self.buffered + len(prepared)
        if not self.has_more:
            self.has_more = True
            if self.receiver is not None:
                self.receiver.wake()
        if buffered > self._high_water:
            self._relieve()

    @property
    def is_drained(self) -> bool:
        """Less than ``HIGH_WATER`` waits for the client; where it does not, ``drain`` waits."""
        return self.buffered <= self._high_water

    async def drain(self) -> None:
        """Wait until less than ``HIGH_WATER`` waits for the client: flow control for whoever sends much.

        Raises:
            SessionClosed: the session has ended, so that a ``while True`` around it ends too.
        """
        if self.buffered <= self._high_water and not self._has_yielded:
            # The peer swallowed the burst as fast as it was sent; let the other sessions have their turn.
            self._has_yielded = True
            await asyncio.sleep(0)
        while self._state is OPEN and self.buffered > self._high_water:
            if self._drained is None:
                self._drained = asyncio.Event()
            self._drained.clear()
            await self._drained.wait()
        if self._close is not None:
            raise SessionClosed(self._close.code, self._close.reason)

    def close(self, code: int = CloseCode.GO_AWAY, reason: str = "Go away!") -> None:
        """Start the goodbye: what waits is delivered first, then every receiver is told ``code``.

        Does nothing unless the session is open. ``on_closed`` runs once, later. Messages that arrive from
        the client after this call are dropped.

        Args:
            code: 1000-1003, 1007-1011 or 3000-4999; 2010 is the protocol's own.
            reason: shown to the client; at most 123 bytes as UTF-8.

        Raises:
            InvalidCloseCode: ``code`` or ``reason`` is outside of that.

        Spec: sockjs-protocol, HandlingClose.
        """
        check_close(code, reason)
        if self._state is OPEN:
            self._end(Close(int(code), reason), None, is_ours=True)

    def __aiter__(self) -> AsyncIterator[Message]:
        if self.messages is None:
            raise TypeError(
                "only a handler that is a plain coroutine function iterates over its session; "
                "a SessionHandler gets its messages in on_message"
            )
        return self.messages

    # For transports.

    def attach(self, receiver: Receiver) -> bool:
        """Let ``receiver`` fetch the frames from now on.

        Returns:
            True if this opened the session.

        Raises:
            SessionBusy: another receiver is attached and its peer is there. Nothing was touched; answer 2010.

        Spec: sockjs-protocol, Protocol; docs/conformance.md 5.3.
        """
        if self.receiver is not None:
            if self.receiver.is_connected:
                raise SessionBusy(f"session {self.id} has a receiver already")
            self.abort(self.receiver, ConnectionLost("the client left without a goodbye"))
        self.receiver = receiver
        self.look_at = 0.0
        self._transport = receiver.transport
        self._has_written = True  # heartbeats count from here
        if self._state is State.CONNECTING:
            self._state = OPEN
            return True
        return False

    def take_frame(self, max_bytes: int) -> bytes | None:
        """The next frame for the client: open, messages, close or heartbeat; None if nothing waits.

        The close frame comes last and lets go of the receiver. ``Binary`` marks a binary message (raw only).

        Args:
            max_bytes: of messages in one frame; a single larger message still comes whole.
        """
        buffer = self._buffer
        if self._is_new:
            self._is_new = False
            frame = self.framing.open_frame
        elif buffer:
            frame, taken = self.framing.pack(buffer, self.buffered, max_bytes)
            self.buffered -= taken
            if self._drained is not None and self.buffered <= self._high_water:
                self._drained.set()
        elif self._close is not None:
            self.receiver = None
            self.look_at = 0.0
            return self.framing.close_frame(self._close)
        elif self._heartbeat_is_due:
            frame = HEARTBEAT_FRAME
        else:
            self.has_more = False
            return None
        if not buffer:
            self.has_more = self._close is not None
        self._heartbeat_is_due = False  # any frame is a sign of life
        self._has_written = True
        self.look_at = 0.0
        return frame

    def detach(self, receiver: Receiver) -> None:
        """``receiver`` ended as it should; the client will come back within ``disconnect_delay``.

        Does nothing unless ``receiver`` is the one attached.
        """
        if self.receiver is receiver:
            self.receiver = None
            self.look_at = 0.0
            self._heartbeat_is_due = False
            self.has_more = bool(self._buffer) or self._close is not None
            if self._state is OPEN:
                self._deadline = None

    def abort(self, receiver: Receiver, error: ConnectionLost) -> None:
        """``receiver`` was cut off: what waits is lost, and whoever comes next is told 1002.

        Does nothing unless ``receiver`` is the one attached.
        """
        if self.receiver is receiver:
            self.receiver = None
            self.look_at = 0.0
            self.interrupt(INTERRUPTED, error)
            receiver.wake()

    def interrupt(self, close: Close, error: RemoteError | None) -> None:
        """End an open session for a reason that is not the application's; what waits is counted as lost."""
        if self._state is OPEN:
            self._forfeit()
            self._end(close, error, is_ours=False)

    def look_soon(self) -> None:
        """The receiver has something on its way that is no frame of this session: ``look`` at it in the next tick."""
        self.look_at = 0.0

    # For the manager.

    def look(self, now: float) -> bool:
        """See to what time brings: heartbeats, a peer that went silent, a client that stays away.

        Called about twice a second, but for sessions whose ``look_at`` is later. Aborts by itself where the receiver's
        peer turned out to be gone.

        Args:
            now: seconds on a clock that never goes back.

        Returns:
            True once nobody has fetched for ``disconnect_delay``: the session is to be forgotten.
        """
        receiver = self.receiver
        if receiver is None:
            if self._deadline is None:
                self._deadline = now + self._options.disconnect_delay
            return now >= self._deadline
        error = receiver.tick(now)
        if error is not None:
            self.abort(receiver, error)
            return False
        if self.has_heartbeat:
            self._beat(receiver, now)
        if receiver.is_quiet:
            quiet_since = self._quiet_since if self.has_heartbeat else now
            self.look_at = quiet_since + (self._options.heartbeat_delay or QUIET_TIME)
        return False

    def forget(self) -> None:
        """Nobody will find this session any more. May be called twice."""
        self.interrupt(EXPIRED, None)
        self._forfeit()
        self._state = State.CLOSED
        self._close = self._close or EXPIRED
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.wake()

    # Private.

    def _beat(self, receiver: Receiver, now: float) -> None:
        if self._has_written:
            self._has_written = False
            self._quiet_since = now
        elif now - self._quiet_since >= self._options.heartbeat_delay:
            self._quiet_since = now
            self._heartbeat_is_due = self.has_more = True
            receiver.wake()

    def _relieve(self) -> None:
        # A burst within one loop turn is no overflow: what the peer takes now is gone before we judge.
        if self.receiver is not None:
            self._has_yielded = False
            self.receiver.flush()
        if self.buffered <= self._options.send_buffer_limit:
            return
        if self._options.on_overflow == "close":
            self._forfeit()
            self._end(
                Close(CloseCode.POLICY_VIOLATION, "Too many messages waiting", clean=False),
                SendBufferOverflow(self._options.send_buffer_limit),
                is_ours=True,
            )
            return
        drop = self._buffer.pop if self._options.on_overflow == "drop_newest" else self._buffer.popleft
        while self.buffered > self._options.send_buffer_limit:
            self.buffered -= len(drop())
            self.undelivered += 1
        if self._drained is not None and self.buffered <= self._high_water:
            self._drained.set()

    def _forfeit(self) -> None:
        self.undelivered += len(self._buffer)
        self._buffer.clear()
        self.buffered = 0

    def _end(self, close: Close, error: RemoteError | None, *, is_ours: bool) -> None:
        self._state = State.CLOSING
        self._close = close
        self._deadline = None
        self.look_at = 0.0
        self.has_more = True
        if self._drained is not None:
            self._drained.set()
        if self._on_ending is not None:
            self._on_ending(self, close, error, is_ours=is_ours)
        if self.receiver is not None:
            self.receiver.wake()
