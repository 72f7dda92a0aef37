"""A piece of network between a client and a server, which a test can cut, stop and slow down.

Each connection to the relay is one to the server, both ways byte for byte. What the client is, which transport it
uses, and whether there is TLS makes no difference.

Knows: TCP, how it ends.
Does not know: HTTP, SockJS, what the bytes mean.
Spec: RFC 9293, 3.5 (reset) and 3.6 (closing).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

from ..errors import UsageError
from .loop import Guard

logger = logging.getLogger("sockbridge.testing")

PIECE: Final = 16 * 1024
"""Bytes that are passed on at once; a few times as many are held in each direction of a connection, no more."""

WINDOW: Final = 128 * 1024
"""Bytes that the system takes for the relay in each direction; little, so that a pause is noticed soon."""

MAX_CONNECTIONS: Final = 1000

LINGER: Final = 1.0
"""Seconds that an end may take to pass on what the relay holds."""

_NOW: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets


class Relay:
    """Listens on a port of its own, and connects each client to ``host:port``.

    ::

        async with Relay("127.0.0.1", port) as relay:
            session = await sockbridge.client.connect(relay.url_for(url))
            await relay.cut()

    Attributes:
        delay: seconds that each piece of up to 16 KiB is held back, in each direction; may be set at any time.
    """

    def __init__(self, host: str, port: int, *, delay: float = 0.0, max_connections: int = MAX_CONNECTIONS) -> None:
        """
        Args:
            max_connections: at once; further ones are reset. 1000.
        """
        self.delay = delay
        self._target = (host, port)
        self._max_connections = max_connections
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], _Link] = {}
        self._reads = asyncio.Event()
        self._reads.set()

    async def __aenter__(self) -> Self:
        listener = _tcp_socket(socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=PIECE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1.

        Raises:
            UsageError: it does not.
        """
        if self._server is None:
            raise UsageError("a Relay is to be entered: async with Relay(host, port) as relay")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def url_for(self, url: str) -> str:
        """``url`` of the server, by way of this relay. The host stays if it is this machine's, for its certificate."""
        parts = urlsplit(url)
        host = "localhost" if parts.hostname == "localhost" else "127.0.0.1"
        return urlunsplit(parts._replace(netloc=f"{host}:{self.port}"))

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._links)

    def __bool__(self) -> bool:
        return True  # a relay without connections is one all the same

    # What can happen to a network.

    async def cut(self, *, reset: bool = True) -> None:
        """Cut all connections, at both ends; returns when they are gone. New ones are passed on as before.

        Args:
            reset: both ends see a reset (RST), and what was on its way is lost. False: they see an end (FIN), but for
                those of whom something waits that the relay has not taken, e.g. while it is paused.
        """
        links = dict(self._links)
        for task, link in links.items():
            if reset:
                link.reset()
            task.cancel()
        if links:
            async with Guard("the relay did not get rid of a connection"):
                await asyncio.wait(links)

    def pause(self) -> None:
        """Take nothing more from the server: the clients are slow readers. What they send is passed on.

        The system's own buffers, which may be some megabytes large, still take what the server writes.
        """
        self._reads.clear()

    def resume(self) -> None:
        """Take from the server again, what waited first."""
        self._reads.set()

    async def close(self) -> None:
        """Take no connections any more, and reset those that there are. May be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await self.cut()
            await server.wait_closed()

    # Private.

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, self._reads, writer)
        task = asyncio.current_task()
        assert task is not None
        if len(self._links) >= self._max_connections or self._server is None:
            logger.warning("a connection is refused: there are max_connections (%d)", self._max_connections)
            link.reset()
            return
        self._links[task] = link
        try:
            await link.run(reader, self._target)
        except asyncio.CancelledError:  # by ``cut``, which is all that it wants
            return
        finally:
            await link.end()
            del self._links[task]


class _Link:
    """One client's connection, and the one to the server that stands for it."""

    def __init__(self, relay: Relay, reads: asyncio.Event, client: asyncio.StreamWriter) -> None:
        self._relay = relay
        self._reads = reads
        self._writers = [client]
        self._ways: list[asyncio.Task[None]] = []

    async def run(self, reader: asyncio.StreamReader, target: tuple[str, int]) -> None:
        (client,) = self._writers
        try:
            answers, server = await self._connect(target)
        except OSError as error:
            logger.info("the server does not take a connection: %s", error)
            self.reset()
            return
        self._writers.append(server)
        async with asyncio.TaskGroup() as tasks:
            self._ways = [
                tasks.create_task(self._pass_on(reader, server, None)),
                tasks.create_task(self._pass_on(answers, client, self._reads)),
            ]

    async def _connect(self, target: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection = _tcp_socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET)
        with ExitStack() as on_failure:
            on_failure.callback(connection.close)
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, target)
            streams = await asyncio.open_connection(sock=connection, limit=PIECE)
            on_failure.pop_all()
        return streams

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event | None
    ) -> None:
        writer.transport.set_write_buffer_limits(high=PIECE)
        try:
            while True:
                if gate is not None:
                    await gate.wait()
                piece = await reader.read(PIECE)
                if gate is not None:
                    await gate.wait()  # it was paused meanwhile
                if self._relay.delay > 0:
                    await asyncio.sleep(self._relay.delay)
                if not piece:
                    break
                writer.write(piece)
                await writer.drain()
            writer.write_eof()
        except OSError:  # one end is gone without a goodbye: so is the other
            self.reset()

    def reset(self) -> None:
        """RST, at both ends."""
        for writer in self._writers:
            connection = writer.get_extra_info("socket")
            if connection is not None and connection.fileno() >= 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
            writer.transport.abort()
        for way in self._ways:
            if way is not asyncio.current_task():
                way.cancel()

    async def end(self) -> None:
        """FIN, at both ends that are not closed yet; a reset after ``LINGER``."""
        for writer in self._writers:
            writer.close()
        try:
            async with asyncio.timeout(LINGER):
                for writer in self._writers:
                    await _wait_closed(writer)
        except TimeoutError:
            self.reset()


async def _wait_closed(writer: asyncio.StreamWriter) -> None:
    try:
        await writer.wait_closed()
    except OSError:  # it was reset
        return


def _tcp_socket(family: int) -> socket.socket:
    # Its protocol is named, as asyncio else leaves Nagle's algorithm on, which holds small pieces back for 40 ms.
    connection = socket.socket(family, proto=socket.IPPROTO_TCP)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
    return connection
