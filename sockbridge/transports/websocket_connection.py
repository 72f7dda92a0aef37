"""What reads a websocket's connection once the handshake is done, in the place of aiohttp's protocol.

aiohttp wakes a task for each message; here whoever handles messages is called at once. aiohttp's protocol goes on
hearing of what concerns it: the end of the connection, and whether its buffer is full.

All connections of a transport are read into one buffer: what it holds is gone when the read has been handled. So a
connection that waits costs none, and a read asks for no memory.

Knows: asyncio's transports, aiohttp's protocol.
Does not know: frames, sessions.
Spec: RFC 6455, 4.1 (what a client sends early); asyncio, "Buffered streaming protocols".
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from aiohttp import web

READ_SIZE: Final = 64 * 1024


class ReadBuffer:
    """What one read of a socket can bring; shared by the connections of a loop.

    Attributes:
        memory: to read into.
        view: to take it from.
    """

    __slots__ = ("memory", "view")

    def __init__(self) -> None:
        self.memory = bytearray(READ_SIZE)
        self.view = memoryview(self.memory)


class Listener(Protocol):
    """Who is told of what a connection brings.

    Attributes:
        is_full: set while its buffer is full.
    """

    is_full: bool

    def on_received(self, received: bytes) -> None:
        """So much has come."""
        ...

    def on_lost(self) -> None:
        """The connection has ended. Once."""
        ...


def take_over(transport: asyncio.Transport, former: web.RequestHandler, listener: Listener, buffer: ReadBuffer) -> None:
    """Read ``transport``, which ``former`` has read, for ``listener``; what has come since the handshake first.

    Call it in the turn of the loop in which the handshake was answered; ``listener`` is not called within it.
    """
    loop = asyncio.get_running_loop()
    former.keep_alive(False)
    # asyncio's own transports ask the system for 256 KiB at each read, which may cost more than all the rest. Others
    # (uvloop) do better without our buffer.
    is_own = isinstance(loop, asyncio.BaseEventLoop)
    connection = BufferedConnection(former, listener, buffer) if is_own else WebSocketConnection(former, listener)
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
    """What both kinds have in common: the former protocol goes on hearing of what concerns it."""

    __slots__ = ("_former", "_listener", "_on_received")

    def __init__(self, former: web.RequestHandler, listener: Listener) -> None:
        self._former = former
        self._listener = listener
        self._on_received = listener.on_received

    def eof_received(self) -> None:
        """The transport closes itself, and says so by ``connection_lost``."""

    def pause_writing(self) -> None:
        self._listener.is_full = True
        self._former.pause_writing()

    def resume_writing(self) -> None:
        self._listener.is_full = False
        self._former.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._former.connection_lost(exc)
        self._listener.on_lost()


class WebSocketConnection(_Connection, asyncio.Protocol):
    """Reads one connection for a listener."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        self._on_received(data)


class BufferedConnection(_Connection, asyncio.BufferedProtocol):
    """The same, into a buffer that all share."""

    __slots__ = ("_memory", "_view")

    def __init__(self, former: web.RequestHandler, listener: Listener, buffer: ReadBuffer) -> None:
        super().__init__(former, listener)
        self._memory = buffer.memory
        self._view = buffer.view

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        self._on_received(bytes(self._view[:nbytes]))
