"""STOMP over TCP, for clients outside the browser: services, scripts, message bridges.

Each connection is a carrier as a SockJS session is: it says ``send_prepared`` and ``close``, and has a limit for what
waits. Closing flushes first, then ends the writing half and reads on for a second: a socket that is closed with
unread input is reset, and the ERROR in flight would be lost.

Knows: sockets, when to write, when to stop reading.
Does not know: frames.
Spec: STOMP 1.2, "Connection Lingering".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import ssl as tls
from collections import deque
from typing import Final, cast

from multidict import CIMultiDict, CIMultiDictProxy

from ..errors import InvalidOption, SessionClosed
from ..sockjs.framing import RAW, Close, CloseCode, Framing
from ..sockjs.handshake import Handshake
from .connection import StompConnection
from .server import StompServer

logger = logging.getLogger("sockbridge.stomp")

LINGER: Final = 1.0
"""Seconds that a closed connection is still read, so that its last words arrive."""

HIGH_WATER: Final = 64 * 1024
"""Bytes that wait, above which ``drain`` waits; and bytes not yet worked on, above which nothing is read."""

HANDSHAKE: Final = 10.0
"""Seconds that a TLS handshake may take."""

TICK: Final = 0.5

KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A peer that has vanished without a word, and asked for no heart-beats, is noticed after 90 seconds."""


class TcpListener:
    """Another way in: ``StompServer(..., listeners=[TcpListener(port=61613)])``.

    Attributes:
        port: where it listens; the chosen one where 0 was asked for, once it has started.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 61613,
        *,
        ssl: tls.SSLContext | None = None,
        max_connections: int = 10_000,
        send_buffer_limit: int = 4 * 1024 * 1024,
        write_timeout: float = 10.0,
        handler_grace: float = 5.0,
        shutdown_grace: float = 1.0,
    ) -> None:
        """
        Args:
            host: address to listen on. Whoever reaches it can log in: set ``authenticate``.
            port: 0 takes a free one.
            ssl: a server's context; None: no TLS.
            max_connections: further ones are closed at once.
            send_buffer_limit: bytes that wait for one client; above it the connection is cut.
            write_timeout: seconds that a client may take nothing while more than 64 KiB wait for it.
            handler_grace: seconds that a handler may go on after its client has gone, before the end is told beside it;
                it is never cancelled by a client that goes.
            shutdown_grace: seconds that goodbyes may take when the server stops.

        Raises:
            InvalidOption: an address, a port or a limit is none.
        """
        if not isinstance(host, str):
            raise InvalidOption(f"host is an address, not {host!r}; the port comes second, or as port=")
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
            raise InvalidOption(f"port is a number from 0 to 65535, not {port!r}")
        limits = {"max_connections": max_connections, "send_buffer_limit": send_buffer_limit}
        times = {"write_timeout": write_timeout, "handler_grace": handler_grace}
        for name, value in {**limits, **times}.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1e9:
                raise InvalidOption(f"{name} is a number above 0, not {value!r}")
        grace = shutdown_grace
        if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not 0 <= grace <= 1e9:
            raise InvalidOption(f"shutdown_grace is a number of seconds, not {grace!r}")
        self.host = host
        self.port = port
        self.max_connections = max_connections
        self.send_buffer_limit = send_buffer_limit
        self.write_timeout = write_timeout
        self.handler_grace = handler_grace
        self._ssl = ssl
        self._grace = shutdown_grace
        self._server: asyncio.Server | None = None
        self._carriers: set[TcpCarrier] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = False

    def __repr__(self) -> str:
        return f"<TcpListener {self.host} port {self.port}>"

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._carriers)

    def __bool__(self) -> bool:
        return True

    async def start(self, server: StompServer) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._is_open = True
        self._server = await loop.create_server(
            lambda: TcpCarrier(self, server),
            self.host,
            self.port,
            ssl=self._ssl,
            ssl_handshake_timeout=HANDSHAKE if self._ssl else None,
            ssl_shutdown_timeout=LINGER if self._ssl else None,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._timer = loop.call_later(TICK, self._look)

    async def stop(self) -> None:
        """Say goodbye to everybody, for ``shutdown_grace`` at most."""
        if self._server is None:
            return
        self._is_open = False
        self._server.close()
        if self._timer is not None:
            self._timer.cancel()
        for carrier in list(self._carriers):
            carrier.close(CloseCode.GOING_AWAY, "Server is shutting down")
        await self._wait(self._grace)
        for carrier in list(self._carriers):
            carrier.cut("the server stops")
            carrier.cancel()
        await self._wait(LINGER)
        for carrier in list(self._carriers):  # their goodbyes hang
            carrier.cancel()
        await self._wait(LINGER)
        self._server = None

    # For the connections.

    def add(self, carrier: TcpCarrier) -> bool:
        """Count a connection in; False if there are too many, or the server stops."""
        if not self._is_open:
            return False
        if len(self._carriers) >= self.max_connections:
            logger.warning("a TCP connection was refused: there are max_connections (%d)", self.max_connections)
            return False
        self._carriers.add(carrier)
        return True

    def discard(self, carrier: TcpCarrier) -> None:
        """A connection has ended."""
        self._carriers.discard(carrier)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        for carrier in list(self._carriers):
            carrier.look(loop.time())
        self._timer = loop.call_later(TICK, self._look)

    async def _wait(self, seconds: float) -> None:
        tasks = [task for carrier in self._carriers for task in carrier.tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)


class TcpCarrier(asyncio.Protocol):
    """One TCP connection.

    Attributes:
        id: random, made by the server, fit for logs.
        handshake: its address; nothing else is known.
        undelivered: messages that came after the end.
        tasks: one works on what comes in, one waits for the end.
    """

    transport = "tcp"
    framing: Framing = RAW

    def __init__(self, listener: TcpListener, server: StompServer) -> None:
        self.id = secrets.token_hex(8)
        self.undelivered = 0
        self.tasks: tuple[asyncio.Task[None], ...] = ()
        self.handshake = Handshake("", _NO_HEADERS, None, None, {})
        self._listener = listener
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._close: Close | None = None
        self._has_eof = False
        self._ended = asyncio.Event()
        self._lost = asyncio.Event()
        self._pending: list[bytes] = []  # written together at the end of the loop turn
        self._pending_size = 0
        self._received: deque[bytes] = deque()
        self._received_size = 0
        self._arrived = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._written = 0
        self._linger_end = 0.0
        self._stalled: tuple[float, int] | None = None  # since when, with how much taken

    # For the connection.

    @property
    def is_open(self) -> bool:
        """True while frames can be sent."""
        return self._close is None

    @property
    def buffered(self) -> int:
        """Bytes that wait for the client."""
        return self._pending_size + (self._transport.get_write_buffer_size() if self._transport else 0)

    @property
    def is_drained(self) -> bool:
        """Less than ``HIGH_WATER`` waits for the client."""
        return self._drained.is_set()

    def send_prepared(self, prepared: bytes) -> None:
        """Write soon; never blocks."""
        if self._close is not None:
            self.undelivered += 1
            return
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(prepared)
        self._pending_size += len(prepared)
        if self._pending_size > HIGH_WATER:
            self._flush()

    async def drain(self) -> None:
        """Wait until less than ``HIGH_WATER`` waits.

        Raises:
            SessionClosed: the connection has ended.
        """
        self._flush()
        await self._drained.wait()
        await asyncio.sleep(0)
        if self._close is not None:
            raise SessionClosed(self._close.code, self._close.reason)

    def close(self, code: int = CloseCode.GO_AWAY, reason: str = "Go away!") -> None:
        """Deliver what waits, then end. Does nothing if it has ended."""
        if self._close is not None:
            return
        self._flush()
        self._end(Close(code, reason))
        transport = self._transport
        if transport is None:
            return
        if self._has_eof or not transport.can_write_eof():
            transport.close()  # after what is buffered; over TLS there is no half of a connection to end
            return
        try:
            transport.resume_reading()
            transport.write_eof()  # after what is buffered; then ``look`` sees to the end
        except OSError:  # it was reset, and the loop has not seen it yet
            transport.abort()

    # For the listener.

    def cut(self, reason: str) -> None:
        """End without a goodbye."""
        if self._close is None:
            logger.info("connection %s: cut, since %s", self.id, reason)
            self._end(Close(CloseCode.ABNORMAL, reason, clean=False))
        if self._transport is not None:
            self._transport.abort()

    def cancel(self) -> None:
        """The server stops and has no more time."""
        for task in self.tasks:
            task.cancel()

    def look(self, now: float) -> None:
        """Give a client up that takes nothing while much waits, or anything behind a goodbye; end what has lingered."""
        if self._transport is None:
            return
        waiting = self._transport.get_write_buffer_size()
        taken = self._written - waiting
        if self._close is not None and waiting == 0:
            self._linger_end = self._linger_end or now + LINGER
            if now >= self._linger_end:
                self._transport.abort()
        elif self._close is None and waiting <= HIGH_WATER:
            self._stalled = None
        elif self._stalled is None or taken > self._stalled[1]:
            self._stalled = (now, taken)
        elif now - self._stalled[0] >= self._listener.write_timeout:
            self.cut("it takes nothing")

    # For the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transports are of another family, and do the same.
        self._transport = cast(asyncio.Transport, transport)
        if not self._listener.add(self):
            self._end(Close(CloseCode.GOING_AWAY, "too many connections"))
            self._transport.close()
            return
        peer = transport.get_extra_info("peername") or ("",)
        self.handshake = Handshake(f"stomp://{self._listener.host}", _NO_HEADERS, str(peer[0]), None, {})
        _keep_alive(transport.get_extra_info("socket"))
        self._transport.set_write_buffer_limits(HIGH_WATER)
        connection = self._server.attach(self)
        worker = self._loop.create_task(self._work(connection), name=f"sockbridge stomp {self.id}")
        self.tasks = (self._loop.create_task(self._await_end(worker)), worker)

    def data_received(self, data: bytes) -> None:
        if self._close is not None:
            return  # read, so that the last words are not lost by a reset
        self._received.append(data)
        self._received_size += len(data)
        self._arrived.set()
        if self._received_size > HIGH_WATER and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        if self._close is not None:
            return False  # both sides have said goodbye
        self._has_eof = True
        self._arrived.set()
        # What came before is still worked on, and answered; TLS knows no half-closed connection.
        return self._transport is not None and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end(Close(CloseCode.ABNORMAL, "the connection was lost", clean=False))
        self._lost.set()

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    # Private.

    async def _work(self, connection: StompConnection) -> None:
        while True:
            while self._received:
                data = b"".join(self._received)
                self._received.clear()
                self._received_size = 0
                if self._transport is not None and not self._transport.is_closing():
                    self._transport.resume_reading()
                await self._deliver(connection, data)
            if self._close is not None:
                return
            if self._has_eof:
                self._flush()
                self._end(Close(CloseCode.NO_STATUS, "the client closed"))
                if self._transport is not None:
                    self._transport.close()
                return
            self._arrived.clear()
            await self._arrived.wait()

    async def _deliver(self, connection: StompConnection, data: bytes) -> None:
        try:
            await self._server.receive(connection, data)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # something that the application awaited was cancelled, not we
            logger.error("connection %s: the application failed", self.id, exc_info=error)
            self.close(CloseCode.INTERNAL_ERROR, "Internal error")

    async def _await_end(self, worker: asyncio.Task[None]) -> None:
        await self._ended.wait()
        try:
            await asyncio.wait({worker}, timeout=self._listener.handler_grace)
        finally:  # when the server has no more time as well
            try:
                await self._server.release(self, self._close or Close(CloseCode.ABNORMAL, "", clean=False))
                await self._lost.wait()
                await asyncio.wait({worker})
            finally:
                self._listener.discard(self)

    def _end(self, close: Close) -> None:
        if self._close is None:
            self._close = close
            self.undelivered += len(self._pending)
            self._pending.clear()
            self._pending_size = 0
        self._drained.set()
        self._arrived.set()
        self._ended.set()

    def _flush(self) -> None:
        pending, self._pending, self._pending_size = self._pending, [], 0
        if pending and self._transport is not None and not self._transport.is_closing():
            octets = pending[0] if len(pending) == 1 else b"".join(pending)
            self._transport.write(octets)
            self._written += len(octets)
            limit = self._listener.send_buffer_limit
            if self._transport.get_write_buffer_size() > limit:
                self.cut(f"more than send_buffer_limit ({limit} bytes) waited for it")


_NO_HEADERS: Final[CIMultiDictProxy[str]] = CIMultiDictProxy(CIMultiDict())


def _keep_alive(connection: socket.socket | None) -> None:
    if connection is None:
        return
    with contextlib.suppress(OSError):  # it has been reset already: the loop will say so
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, seconds in KEEPALIVE:
            option = getattr(socket, name, None)  # not every system has them
            if option is not None:
                connection.setsockopt(socket.IPPROTO_TCP, option, seconds)
