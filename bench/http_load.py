"""One client of any transport by hand, so that it can break off wherever it likes.

Knows: the transports' URLs; requests and frames as text.
Does not know: what is measured.
Spec: sockjs-protocol 0.3.3, "Session URLs"; RFC 6455.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from typing import Final, Self

from .websocket_load import client_frame

GUARD: Final = 20.0
"""Seconds that an answer may take."""

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: do not linger at all, so that closing sends RST instead of FIN."""


class Connection:
    """One TCP connection to the server. Use it in an ``async with``, which closes it (FIN)."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(GUARD):
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._writer.close()

    def request(self, method: str, path: str, body: str = "", *headers: str, size: int | None = None) -> None:
        """Send a request.

        Args:
            size: the ``Content-Length``, if it is to differ from what is sent.
        """
        length = len(body.encode()) if size is None else size
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}", *headers, "", body]
        self._writer.write("\r\n".join(lines).encode())

    def upgrade(self, path: str) -> None:
        """Ask for a websocket."""
        key = base64.b64encode(os.urandom(16)).decode()
        wants = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}")
        self.request("GET", path, "", *wants)

    def send(self, text: str) -> None:
        """Send a websocket message of at most 125 bytes."""
        self._writer.write(client_frame(text.encode()))

    def send_raw(self, sent: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(sent)

    async def read_until(self, end: bytes) -> bytes:
        """What comes until ``end`` has come."""
        async with asyncio.timeout(GUARD):
            return await self._reader.readuntil(end)

    async def read_to_end(self, seconds: float = GUARD) -> bytes:
        """What comes until the server has closed the connection; what has come so far if it was reset."""
        received = b""
        try:
            async with asyncio.timeout(seconds):
                while more := await self._reader.read(65536):
                    received += more
        except ConnectionError:  # as good an end as any
            pass
        return received

    async def read_to_goodbye(self, goodbye: bytes) -> bytes:
        """What comes until ``goodbye`` has come or the connection has ended."""
        received = b""
        try:
            async with asyncio.timeout(GUARD):
                while goodbye not in received and (more := await self._reader.read(65536)):
                    received += more
        except ConnectionError:  # an end without a goodbye
            pass
        return received

    def reset(self) -> None:
        """Cut the connection with RST."""
        connection = self._writer.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._writer.transport.abort()
