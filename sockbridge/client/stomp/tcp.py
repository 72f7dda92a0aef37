"""A TCP connection, with TLS or without, that carries STOMP.

Knows: sockets, when to write.
Does not know: frames.
Spec: STOMP 1.2, "Connection Lingering".
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl as tls
from typing import ClassVar, Final

from ...errors import ConnectFailed
from ..faults import describe
from .link import LinkEnded

PIECE: Final = 64 * 1024
"""Bytes that are read at a time."""

GOODBYE: Final = 1.0
"""Seconds that the end of a connection may take: TLS says goodbye, and a peer that has gone never answers."""


async def open_tcp(
    host: str, port: int, *, ssl: tls.SSLContext | None, timeout: float, send_buffer_limit: int
) -> TcpLink:
    """Connect.

    Raises:
        ConnectFailed: nothing answers, or not in TLS.
    """
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _open(host, port, ssl)
    except TimeoutError:
        raise ConnectFailed(f"{where} did not answer within {timeout:g} seconds") from None
    except ConnectionRefusedError:
        raise ConnectFailed(
            f"nothing listens on {where}: is the server running, and the port right?", {"tcp": "refused"}
        ) from None
    except (socket.gaierror, UnicodeError):  # the second: a label that is empty or too long
        raise ConnectFailed(f"there is no host {host}: is the name right?", {"tcp": "unknown host"}) from None
    except OSError as error:
        raise ConnectFailed(f"{where} cannot be reached: {describe(error)}", {"tcp": describe(error)}) from error
    writer.transport.set_write_buffer_limits(send_buffer_limit)
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it has been reset already: reading will say so
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return TcpLink(reader, writer)


async def _open(host: str, port: int, ssl: tls.SSLContext | None) -> tuple[Reader, asyncio.StreamWriter]:
    # As ``asyncio.open_connection``, with a reader of our own.
    loop = asyncio.get_running_loop()
    reader = Reader(limit=PIECE, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, ssl=ssl)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class Reader(asyncio.StreamReader):
    """A reader that hands out what came before a break first: the ERROR that explains it may be in there.

    Attributes:
        fault: that broke the connection.
    """

    fault: Exception | None = None

    def set_exception(self, exc: Exception) -> None:
        """As of ``StreamReader``, but behind what waits."""
        self.fault = exc
        self.feed_eof()


class TcpLink:
    """One TCP connection."""

    transport: ClassVar[str] = "tcp"
    is_text: ClassVar[bool] = False

    def __init__(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    @property
    def buffered(self) -> int:
        """As ``Link.buffered``."""
        return self._writer.transport.get_write_buffer_size()

    async def send(self, octets: bytes) -> None:
        """As ``Link.send``."""
        async with self._turn:  # one by one: room for one is no room for all who wait for it
            self._check()
            try:
                await self._writer.drain()
            except OSError as error:
                raise LinkEnded(describe(error)) from error
            self._check()
            self._writer.write(octets)
            self._check()

    async def receive(self) -> bytes:
        """As ``Link.receive``."""
        octets = await self._reader.read(PIECE)
        if not octets:
            fault = self._reader.fault
            raise LinkEnded("the server closed the connection" if fault is None else describe(fault)) from fault
        return octets

    async def close(self) -> None:
        """As ``Link.close``."""
        self._writer.close()
        try:
            async with asyncio.timeout(GOODBYE):
                await self._writer.wait_closed()
        except TimeoutError:
            self._writer.transport.abort()
        except OSError:  # it is gone, which is what was wanted
            return

    def _check(self) -> None:
        if self._writer.is_closing():  # and then ``drain`` and ``write`` tell nothing
            raise LinkEnded("the connection has ended")
