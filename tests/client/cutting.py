"""A TCP relay that cuts each connection after a number of bytes, chosen by a seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.fakes import GUARD

RESET = struct.pack("ii", 1, 0)


class CuttingRelay:
    """Between a client and the server of ``url``; use ``relayed``.

    Attributes:
        url: where the client connects to.
        cuts: how many connections it has cut; after ``most`` of them it lets everything pass.
    """

    def __init__(self, url: str, seed: int, mean: int, most: int) -> None:
        """
        Args:
            mean: bytes that a connection carries on average before it is cut.
        """
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.cuts = 0
        self.most = most
        self._server = (parts.hostname, parts.port)
        self._path = parts.path
        self._random = random.Random(seed)
        self._mean = mean
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}{self._path}"

    async def stop(self) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GUARD)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        limits = [int(self._random.expovariate(1 / self._mean)), None]
        self._random.shuffle(limits)
        is_reset = self._random.random() < 0.5
        back, forth = await asyncio.open_connection(*self._server)
        ways = [
            asyncio.create_task(self._copy(reader, forth, limits[0])),
            asyncio.create_task(self._copy(back, writer, limits[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for one in (writer, forth):
                _end(one, is_reset=is_reset)
            await asyncio.wait(ways)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
        left = limit
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                if left is not None and self.cuts < self.most:
                    if len(piece) >= left:
                        self.cuts += 1
                        writer.write(piece[:left])
                        await asyncio.sleep(0)  # so that what was let through leaves before the cut
                        return
                    left -= len(piece)
                writer.write(piece)
                await writer.drain()


def _end(writer: asyncio.StreamWriter, *, is_reset: bool) -> None:
    connection = writer.get_extra_info("socket")
    if is_reset and connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
    else:
        writer.close()


@asynccontextmanager
async def relayed(url: str, seed: int, *, mean: int, most: int) -> AsyncIterator[CuttingRelay]:
    """A relay in front of ``url``."""
    relay = CuttingRelay(url, seed, mean, most)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
