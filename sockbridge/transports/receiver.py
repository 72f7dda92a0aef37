"""Writes a session's frames to a socket: together at the end of the loop turn, never more than the peer takes.

The common part of the websocket's and the streams' receivers. Measured against writing each message at once,
one write per loop turn is never slower and four times faster under load, since several messages share it.

Knows: the transport, when to write, when a peer counts as gone.
Does not know: what the bytes mean; who sends.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Final

from aiohttp import web

if sys.platform != "win32":
    import fcntl
    import termios

from ..errors import ConnectionLost, UsageError, WriteTimeout
from ..sockjs.session import Session

FRAME_SIZE: Final = 64 * 1024
"""Bytes of messages in one frame of a long backlog; a client parses a frame as a whole."""


TCP_INFO_SIZE: Final = 60  # bytes of struct tcp_info that we look at; see tcp(7), and <linux/tcp.h> for its fields


class TurnEnd:
    """Flushes all receivers of a transport that were woken in this turn of the loop.

    One callback for all of them: one for each costs as much as packing a frame (``bench.echo``, 1 in flight).
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
                receiver.on_turn_end()
        finally:  # a fault in one holds up no other
            for receiver in receivers:
                self.add(receiver)


class SocketReceiver:
    """A ``Receiver`` that writes to the transport of ``request``, which must have been answered already.

    Subclasses say how a frame looks on the wire (``encode``) and what happens when the session has let go
    (``on_let_go``).

    Attributes:
        session: whose frames it writes.
        lost: what made the peer count as gone; None while it is there.
    """

    __slots__ = (
        "_connection",
        "_drain_task",
        "_has_written",
        "_is_woken",
        "_patience",
        "_protocol",
        "_request",
        "_stalled_at",
        "_stalled_size",
        "_transport",
        "_turn_end",
        "_unacknowledged_at",
        "_write_timeout",
        "lost",
        "session",
        "transport",
    )

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
        self._request = request
        self._transport = request.transport
        self._protocol = request.protocol
        self._write_timeout = write_timeout
        self._turn_end = turn_end
        self._is_woken = False
        self._drain_task: asyncio.Task[None] | None = None
        self._stalled_at: float | None = None
        self._stalled_size = 0
        self._connection = _tcp_connection(self._transport)
        self._has_written = False
        self._unacknowledged_at: float | None = None
        if self._transport.get_extra_info("sslcontext") is not None:
            # The default of asyncio's TLS is eight times as much, out of sight of send_buffer_limit; and below it
            # bytes leave in steps, so progress shows later.
            self._transport.set_write_buffer_limits(high=64 * 1024)
            self._patience = 2 * write_timeout
        else:
            self._patience = write_timeout

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
        # Asked for every session twice a second: no property that asks another.
        return self.lost is None and self._protocol.transport is not None and not self._transport.is_closing()

    def wake(self) -> None:
        if not self._is_woken:
            self._turn_end.add(self)
            self._is_woken = True

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
                self._has_written = True  # as in wrote(), without the call
                self._stalled_at = None
            if not session.has_more and self.has_room():
                return
        if session.receiver is not self:
            self.on_let_go()
        elif self._drain_task is None and self.is_connected:
            self._drain_task = asyncio.create_task(self._flush_when_drained())

    def tick(self, now: float) -> ConnectionLost | None:
        if self.is_connected:
            self.watch(now)
        elif self.lost is None:
            self.lost = ConnectionLost("the client closed the connection without a goodbye")
        return self.lost

    def wrote(self) -> None:
        """Something has been written, for which there was room: the peer has taken what was before."""
        self._has_written = True
        self._stalled_at = None

    def watch(self, now: float) -> None:
        """Give the peer up (``lost``) if it takes no bytes, or acknowledges none."""
        if self._protocol.writing_paused:
            self._watch_stall(now)
        else:
            self._stalled_at = None
        if self._has_written:
            self._watch_acknowledgements(now)

    def cut(self) -> None:
        self._transport.abort()

    def on_turn_end(self) -> None:
        """Everything that this turn of the loop brings has been sent."""
        self._is_woken = False
        self.flush()

    # Private.

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
        size = self._transport.get_write_buffer_size()
        if self._stalled_at is None or size < self._stalled_size:
            self._stalled_at, self._stalled_size = now, size
        elif now - self._stalled_at >= self._patience:
            self._give_up(f"the client took no bytes for {self._patience:g} seconds")

    def _watch_acknowledgements(self, now: float) -> None:
        # A peer that vanished without a word takes small writes into the kernel's buffer for a quarter of an hour.
        # Only the kernel sees that nobody acknowledges them; a peer that is there but does not read acknowledges.
        silence = None if self._connection is None else _seconds_unacknowledged(self._connection)
        if silence is None:
            self._has_written = False
            self._unacknowledged_at = None
        elif self._unacknowledged_at is None:
            self._unacknowledged_at = now
        elif min(silence, now - self._unacknowledged_at) >= self._write_timeout:
            self._give_up(f"the client's side acknowledged nothing for {self._write_timeout:g} seconds")

    def _give_up(self, reason: str) -> None:
        self.lost = WriteTimeout(reason)
        self._transport.abort()


def _tcp_connection(transport: asyncio.Transport) -> socket.socket | None:
    # The socket, where the kernel can be asked about it: TCP on Linux.
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is None or sys.platform != "linux":
        return None
    return connection if connection.family in (socket.AF_INET, socket.AF_INET6) else None


def _seconds_unacknowledged(connection: socket.socket) -> float | None:
    # How long ago the peer acknowledged anything, while bytes wait for that; None if none wait. A peer whose window
    # is full has nothing to acknowledge but the kernel's probes, which come ever more rarely: 0 unless one was missed.
    try:
        (waiting,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
        if waiting == 0:
            return None
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
    except (OSError, ValueError):  # closed meanwhile: the next tick finds out
        return None
    probes = info[3]  # tcpi_probes: unanswered ones, the one that is under way included
    (in_flight,) = struct.unpack_from("I", info, 24)  # tcpi_unacked, in segments
    (last_acknowledgement,) = struct.unpack_from("I", info, 56)  # tcpi_last_ack_recv, in milliseconds
    if not in_flight and probes < 2:
        return 0.0
    return float(last_acknowledgement) / 1000
