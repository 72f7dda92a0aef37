"""Whether the peer of a connection still takes what is written to it.

Two ways in which one vanishes without a word: it takes nothing, so that our buffer stays full; or it is not there
any more, and what we write waits in the kernel, unacknowledged, for a quarter of an hour. Only the kernel knows of
the second (Linux); elsewhere pings and the system's own time-outs have to do.

Knows: the transport's buffer, the kernel's account of the connection.
Does not know: who writes what; what follows from it.
Spec: RFC 9293, 3.8.6 (zero windows); tcp(7), ``TCP_INFO``.
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

from ..errors import WriteTimeout

TCP_INFO_SIZE: Final = 60  # bytes of struct tcp_info that we look at; see tcp(7), and <linux/tcp.h> for its fields


class Peer:
    """Watches one connection; is told of each write, and asked now and then.

    Attributes:
        was_written: to be set at each write, for which there was room: the peer has taken what was before.
        is_watched: something that was written may still be on its way.
    """

    __slots__ = (
        "_connection",
        "_patience",
        "_protocol",
        "_stalled_at",
        "_stalled_size",
        "_transport",
        "_unacknowledged_at",
        "_write_timeout",
        "is_watched",
        "was_written",
    )

    def __init__(self, transport: asyncio.Transport, protocol: web.RequestHandler, write_timeout: float) -> None:
        """
        Args:
            write_timeout: seconds for which a peer may take nothing; twice as long over TLS.
        """
        self._transport = transport
        self._protocol = protocol
        self._write_timeout = self._patience = write_timeout
        self._connection = _tcp_connection(transport)
        self.was_written = False
        self.is_watched = False
        self._stalled_at: float | None = None
        self._stalled_size = 0
        self._unacknowledged_at: float | None = None
        if transport.get_extra_info("sslcontext") is not None:
            # The default of asyncio's TLS is eight times as much, out of sight of send_buffer_limit; and below it
            # bytes leave in steps, so progress shows later.
            transport.set_write_buffer_limits(high=64 * 1024)
            self._patience = 2 * write_timeout

    def fault(self, now: float) -> WriteTimeout | None:
        """Why the peer counts as gone, or None.

        Args:
            now: seconds on a clock that never goes back.
        """
        if self.was_written:
            self.was_written = False
            self.is_watched = True
            self._stalled_at = None
        if not self._protocol.writing_paused:
            self._stalled_at = None
        elif self._has_stalled(now):
            return WriteTimeout(f"the client took no bytes for {self._patience:g} seconds")
        if self.is_watched and self._has_vanished(now):
            return WriteTimeout(f"the client's side acknowledged nothing for {self._write_timeout:g} seconds")
        return None

    def _has_stalled(self, now: float) -> bool:
        size = self._transport.get_write_buffer_size()
        if self._stalled_at is None or size < self._stalled_size:
            self._stalled_at, self._stalled_size = now, size
        return now - self._stalled_at >= self._patience

    def _has_vanished(self, now: float) -> bool:
        silence = None if self._connection is None else _seconds_unacknowledged(self._connection)
        if silence is None:
            self.is_watched = self._protocol.writing_paused
            self._unacknowledged_at = None
            return False
        if self._unacknowledged_at is None:
            self._unacknowledged_at = now
        return min(silence, now - self._unacknowledged_at) >= self._write_timeout


def _tcp_connection(transport: asyncio.Transport) -> socket.socket | None:
    # The socket, where the kernel can be asked about it: TCP on Linux.
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is None or sys.platform != "linux":
        return None
    return connection if connection.family in (socket.AF_INET, socket.AF_INET6) else None


def _seconds_unacknowledged(connection: socket.socket) -> float | None:
    # How long ago the peer acknowledged anything, while bytes wait for that; None if none wait. A peer whose window
    # is full has nothing to acknowledge but the kernel's probes, which come ever more rarely: 0 unless some
    # were missed.
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
    if not in_flight and probes < 3:
        return 0.0
    return float(last_acknowledgement) / 1000
