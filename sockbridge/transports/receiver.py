"""Writes a session's frames to a socket: together at the end of the loop turn, never more than the peer takes.

The common part of the websocket's and the streams' receivers. Measured against writing each message at once,
one write per loop turn is never slower and four times faster under load, since several messages share it.

Knows: the transport, when to write.
Does not know: what the bytes mean; who sends.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from aiohttp import web

from ..errors import ConnectionLost, UsageError
from ..sockjs.session import Session
from .peer import Peer

FRAME_SIZE: Final = 64 * 1024
"""Bytes of messages in one frame of a long backlog; a client parses a frame as a whole."""


class TurnEnd:
    """Flushes all receivers of a transport that were woken in this turn of the loop.

    One callback for all of them: one for each costs as much as packing a frame (``bench.compare``, ws-echo).
    """

    __slots__ = ("_woken",)

    def __init__(self) -> None:
        self._woken: list[SocketReceiver] = []

    def add(self, receiver: SocketReceiver) -> None:
        """``receiver`` has something to write."""
        if not self._woken:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                raise UsageError(
                    "a session belongs to the thread of its event loop; "
                    "from another thread use loop.call_soon_threadsafe(session.send, message)"
                ) from None
            loop.call_soon(self._flush)
        self._woken.append(receiver)

    def _flush(self) -> None:
        woken, self._woken = self._woken, []
        receivers = iter(woken)
        try:
            for receiver in receivers:
                receiver.is_woken = False
                receiver.flush()
        finally:  # a fault in one holds up no other
            for receiver in receivers:
                self.add(receiver)


class SocketReceiver:
    """A ``Receiver`` that writes to the transport of ``request``, which must have been answered already.

    Subclasses say how a frame looks on the wire (``encode``) and what happens when the session has let go
    (``on_let_go``).

    Attributes:
        session: whose frames it writes.
        peer: whether it still takes what is written.
        room: bytes that it may still take; a subclass may count them down.
        lost: what made the peer count as gone; None while it is there.
        is_full: the transport's buffer is full.
        is_quiet: see ``Receiver``.
        is_woken: ``TurnEnd`` is to flush it.
    """

    __slots__ = (
        "_drain_task",
        "_protocol",
        "_request",
        "_transport",
        "_turn_end",
        "is_quiet",
        "is_woken",
        "lost",
        "peer",
        "room",
        "session",
        "transport",
    )

    is_full: bool

    def __init__(
        self, transport: str, session: Session, request: web.Request, write_timeout: float, turn_end: TurnEnd
    ) -> None:
        """
        Raises:
            ConnectionLost: the client has gone before it was answered.
        """
        if request.transport is None:
            raise ConnectionLost("the client left before it was answered")
        self.transport = transport
        self.session = session
        self.lost: ConnectionLost | None = None
        self.room = sys.maxsize
        self.is_quiet = False
        self._request = request
        self._transport = request.transport
        self._protocol = request.protocol
        self.peer = Peer(request.transport, request.protocol, write_timeout)
        self._turn_end = turn_end
        self.is_woken = False
        self._drain_task: asyncio.Task[None] | None = None

    # For subclasses.

    def encode(self, frame: bytes) -> bytes:
        """The bytes on the wire for one frame of the session."""
        raise NotImplementedError

    def on_let_go(self) -> None:
        """The session wants nothing more of this receiver. May be called again."""
        raise NotImplementedError

    # For the session.

    @property
    def is_connected(self) -> bool:
        # Asked for every session twice a second: no property that asks another.
        return self.lost is None and self._protocol.transport is not None and not self._transport.is_closing()

    def wake(self) -> None:
        if not self.is_woken:
            self._turn_end.add(self)
            self.is_woken = True

    def flush(self) -> None:
        """Write what waits, until the session has nothing more or the peer's buffer is full."""
        session, transport = self.session, self._transport
        while session.receiver is self and not self.is_full:
            if transport.is_closing():
                return  # what waits stays with the session, which learns of the loss at the next tick
            if self.room <= 0:
                session.detach(self)
                break
            frame = session.take_frame(FRAME_SIZE)
            if frame is None:
                return
            if frame or session.receiver is self:  # a raw websocket's goodbye has no frame
                transport.write(self.encode(frame))
                self.peer.was_written = True
            if not session.has_more and self.room > 0:
                return
        if session.receiver is not self:
            self.on_let_go()
        else:
            self.flush_when_drained()

    def tick(self, now: float) -> ConnectionLost | None:
        if self.is_connected:
            self.judge(now)
        else:
            if self.lost is None:
                self.lost = ConnectionLost("the client closed the connection without a goodbye")
            self.cut()  # it may have closed its half alone, and take nothing of what still waits to be written
        return self.lost

    def judge(self, now: float) -> None:
        """Give the peer up (``lost``) if it does not take what is written."""
        self.lost = self.peer.fault(now)
        if self.lost is not None:
            self.cut()

    def cut(self) -> None:
        self._transport.abort()

    def flush_when_drained(self) -> None:
        """Go on once the peer's buffer has room. May be called again meanwhile."""
        if self._drain_task is None and self.is_connected:
            self._drain_task = asyncio.create_task(self._wait_for_room())

    def on_drained(self) -> None:
        """The peer's buffer has room again."""
        self.flush()

    # Private.

    async def _wait_for_room(self) -> None:
        # The slow path: a task, for as long as the peer's buffer is full.
        try:
            await self._request.writer.drain()
        except ConnectionError:  # the peer has gone; the next tick finds out
            return
        finally:
            self._drain_task = None
        self.on_drained()
