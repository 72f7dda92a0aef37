"""What reads a connection that lasts, in the place of aiohttp's protocol or in front of it.

A websocket is read by us alone once the handshake is done (``take_over``): aiohttp wakes a task for each message, here
whoever handles messages is called at once. A stream goes on being read by aiohttp, and we listen (``watch``). Both
hear at once that the connection is lost or that its buffer is full; aiohttp's protocol goes on hearing of it too.

On asyncio's own transports all websockets of an endpoint are read into one buffer: what it holds is gone when the read
has been handled. So a connection that waits costs none, and a read asks for no memory.

Knows: asyncio's transports, aiohttp's protocol.
Does not know: frames, sessions.
Spec: RFC 6455, 4.1 (what a client sends early); asyncio, "Buffered streaming protocols".
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from aiohttp import web

READ_SIZE: Final = 64 * 1024


def make_read_buffer() -> memoryview:
    """What one read of a socket can bring; for all connections of a loop."""
    return memoryview(bytearray(READ_SIZE))


class Watcher(Protocol):
    """Who is told of what happens to a connection.

    Attributes:
        is_full: set while its buffer is full.
    """

    is_full: bool

    def on_lost(self) -> None:
        """The connection has ended. Once."""
        ...


class Listener(Watcher, Protocol):
    """Who is told of what a connection brings, too."""

    def on_received(self, received: bytes) -> None:
        """So much has come."""
        ...


def watch(transport: asyncio.Transport, former: web.RequestHandler, watcher: Watcher) -> None:
    """Tell ``watcher`` what happens to ``transport``, until ``give_back``."""
    watcher.is_full = former.writing_paused
    transport.set_protocol(WatchedConnection(former, watcher))


def give_back(transport: asyncio.Transport, former: web.RequestHandler) -> None:
    """``former`` alone hears of ``transport`` again."""
    transport.set_protocol(former)


def take_over(transport: asyncio.Transport, former: web.RequestHandler, listener: Listener, view: memoryview) -> None:
    """Read ``transport``, which ``former`` has read, for ``listener``; what has come since the handshake first.

    Call it in the turn of the loop in which the handshake was answered; ``listener`` is not called within it.
    """
    loop = asyncio.get_running_loop()
    former.keep_alive(False)
    # asyncio's own transports ask the system for 256 KiB at each read, which may cost more than all the rest. Others
    # (uvloop) do better without our buffer.
    is_own = isinstance(loop, asyncio.BaseEventLoop)
    connection = BufferedConnection(former, listener, view) if is_own else WebSocketConnection(former, listener)
    early = EarlyBytes()
    former.set_parser(early)  # type: ignore[arg-type]  # it looks like one: aiohttp hands over what it has
    listener.is_full = former.writing_paused
    if early.received:
        transport.pause_reading()  # or a read of this very turn would overtake it
        loop.call_soon(_begin, transport, listener, early.received)
    transport.set_protocol(connection)


def _begin(transport: asyncio.Transport, listener: Listener, early: bytes) -> None:
    transport.resume_reading()
    listener.on_received(early)  # which may pause it again


class EarlyBytes:
    """Takes what came behind the handshake before we read; aiohttp's protocol takes it for a parser.

    Attributes:
        received: that.
    """

    __slots__ = ("received",)

    def __init__(self) -> None:
        self.received = b""

    def feed_data(self, received: bytes) -> tuple[bool, bytes]:
        """Called once, if there is something."""
        self.received += received
        return False, b""

    def feed_eof(self) -> None:
        """We hear of the end by ``connection_lost``."""


class _Connection(asyncio.BaseProtocol):
    """What all kinds have in common: the former protocol goes on hearing of what concerns it."""

    __slots__ = ("_former", "_watcher")

    def __init__(self, former: web.RequestHandler, watcher: Watcher) -> None:
        self._former = former
        self._watcher = watcher

    def eof_received(self) -> None:
        """The transport closes itself, and says so by ``connection_lost``."""

    def pause_writing(self) -> None:
        self._watcher.is_full = True
        self._former.pause_writing()

    def resume_writing(self) -> None:
        self._watcher.is_full = False
        self._former.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._former.connection_lost(exc)
        self._watcher.on_lost()


class WatchedConnection(_Connection, asyncio.Protocol):
    """A connection that aiohttp goes on reading."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self._former.data_received(data)


class WebSocketConnection(_Connection, asyncio.Protocol):
    """Reads one connection for a listener."""

    __slots__ = ("_on_received",)

    def __init__(self, former: web.RequestHandler, listener: Listener) -> None:
        super().__init__(former, listener)
        self._on_received = listener.on_received

    def data_received(self, data: bytes) -> None:
        self._on_received(data)


class BufferedConnection(_Connection, asyncio.BufferedProtocol):
    """The same, into a buffer that all share."""

    __slots__ = ("_on_received", "_view")

    def __init__(self, former: web.RequestHandler, listener: Listener, view: memoryview) -> None:
        super().__init__(former, listener)
        self._on_received = listener.on_received
        self._view = view

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view  # TLS reads into slices of it, which of a bytearray would be copies

    def buffer_updated(self, nbytes: int) -> None:
        self._on_received(bytes(self._view[:nbytes]))
