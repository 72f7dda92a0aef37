"""Writes a session's frames to a socket: together at the end of the loop turn, never more than the peer takes.

The common part of the websocket's and the streams' receivers. Measured against writing each message at once,
one write per loop turn is never slower and four times faster under load, since several messages share it.

Knows: the transport, when to write, when a peer counts as gone.
Does not know: what the bytes mean; who sends.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from aiohttp import web

from ..errors import ConnectionLost, WriteTimeout
from ..sockjs.session import Session

FRAME_SIZE: Final = 64 * 1024
"""Bytes of messages in one frame of a long backlog; a client parses a frame as a whole."""


MAX_MILLISECONDS: Final = 2**31 - 1  # what the kernel's option holds


class SocketReceiver:
    """A ``Receiver`` that writes to the transport of ``request``, which must have been answered already.

    Subclasses say how a frame looks on the wire (``encode``) and what happens when the session has let go
    (``on_let_go``).
    """

    __slots__ = (
        "_call_soon",
        "_drain_task",
        "_is_woken",
        "_protocol",
        "_request",
        "_stalled_at",
        "_stalled_size",
        "_transport",
        "_write_timeout",
        "lost",
        "session",
        "transport",
    )

    def __init__(self, transport: str, session: Session, request: web.Request, write_timeout: float) -> None:
        """
        Raises:
            ConnectionLost: the client has gone before it was answered.
        """
        if request.transport is None:
            raise ConnectionLost("the client left before it was answered")
        self.transport = transport
        self.session = session
        self.lost: ConnectionLost | None = None
        self._request = request
        self._transport = request.transport
        self._protocol = request.protocol
        self._write_timeout = write_timeout
        self._call_soon: Callable[[Callable[[], None]], object] = asyncio.get_running_loop().call_soon
        self._is_woken = False
        self._drain_task: asyncio.Task[None] | None = None
        self._stalled_at: float | None = None
        self._stalled_size = 0
        _limit_unacknowledged(self._transport, write_timeout)

    # For subclasses.

    def encode(self, frame: bytes) -> bytes:
        """The bytes on the wire for one frame of the session."""
        raise NotImplementedError

    def on_let_go(self) -> None:
        """The session wants nothing more of this receiver. May be called again."""
        raise NotImplementedError

    def has_room(self) -> bool:
        """False once this receiver is to take no more frames, for a reason of its own."""
        return True

    # For the session.

    @property
    def is_connected(self) -> bool:
        return self.lost is None and self._request.transport is not None and not self._transport.is_closing()

    def wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._call_soon(self._on_turn_end)

    def flush(self) -> None:
        """Write what waits, until the session has nothing more or the peer's buffer is full."""
        session, transport = self.session, self._transport
        while session.receiver is self and not self._protocol.writing_paused:
            if transport.is_closing():
                return  # what waits stays with the session, which learns of the loss at the next tick
            if not self.has_room():
                session.detach(self)
                break
            frame = session.take_frame(FRAME_SIZE)
            if frame is None:
                return
            if frame or session.receiver is self:  # a raw websocket's goodbye has no frame
                transport.write(self.encode(frame))
        if session.receiver is not self:
            self.on_let_go()
        elif self._drain_task is None and self.is_connected:
            self._drain_task = asyncio.create_task(self._flush_when_drained())

    def tick(self, now: float) -> ConnectionLost | None:
        if self.is_connected:
            self._watch_stall(now)
        elif self.lost is None:
            self.lost = ConnectionLost("the client closed the connection without a goodbye")
        return self.lost

    def cut(self) -> None:
        self._transport.abort()

    # Private.

    def _on_turn_end(self) -> None:
        self._is_woken = False
        self.flush()

    async def _flush_when_drained(self) -> None:
        # The slow path: a task, for as long as the peer's buffer is full.
        try:
            await self._request.writer.drain()
        except ConnectionError:  # the peer has gone; the next tick finds out
            return
        finally:
            self._drain_task = None
        self.flush()

    def _watch_stall(self, now: float) -> None:
        if not self._protocol.writing_paused:
            self._stalled_at = None
            return
        size = self._transport.get_write_buffer_size()
        if self._stalled_at is None or size < self._stalled_size:
            self._stalled_at, self._stalled_size = now, size
        elif now - self._stalled_at >= self._write_timeout:
            self.lost = WriteTimeout(f"the client took no bytes for {self._write_timeout:g} seconds")
            self._transport.abort()


def _limit_unacknowledged(transport: asyncio.Transport, seconds: float) -> None:
    # A peer that vanished without a word takes small writes into the kernel's buffer for a quarter of an
    # hour; only the kernel sees that nobody acknowledges them (RFC 5482). Linux has the option.
    connection = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if connection is None or option is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        connection.setsockopt(socket.IPPROTO_TCP, option, min(int(seconds * 1000) or 1, MAX_MILLISECONDS))
    except OSError:  # closed meanwhile: the next tick finds out
        return
