"""What stands between client and server in bad networks: small proxies with one bad habit each.

Knows: bytes, the head of a request.
Does not know: SockJS.
Spec: RFC 9110, 7.6.1 (headers that are not passed on).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "host"}
)

REFUSAL: Final = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class TcpProxy:
    """Passes bytes on.

    Attributes:
        cuts: how many connections were cut for being idle.
        refusals: how many upgrades were refused.
    """

    def __init__(self, url: str, *, idle_timeout: float | None = None, refuses_upgrades: bool = False) -> None:
        """
        Args:
            url: the server's.
            idle_timeout: seconds without a byte in either direction after which both ends are cut; None: never.
            refuses_upgrades: answer 400 to a connection whose first request wants to upgrade.
        """
        port = urlsplit(url).port
        assert port is not None
        self._port = port
        self._idle_timeout = idle_timeout
        self._refuses_upgrades = refuses_upgrades
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0
        self.refusals = 0

    async def start(self) -> str:
        """Listen; returns the URL."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Listen no more and cut every connection, without a goodbye. May be called twice."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if self._refuses_upgrades and b"\r\nupgrade:" in head.lower():
                self.refusals += 1
                writer.write(REFUSAL)
                await writer.drain()
                writer.close()
                return
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
            ends.append(server_writer)
            server_writer.write(head)
            await self._join(reader, writer, server_reader, server_writer)
        except (asyncio.IncompleteReadError, ConnectionError):  # one end has gone
            return
        finally:
            for end in ends:
                if not end.is_closing():
                    end.transport.abort()

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        try:
            async with asyncio.timeout(self._idle_timeout) as deadline:
                ways = [
                    asyncio.create_task(self._pass(reader, server_writer, deadline)),
                    asyncio.create_task(self._pass(server_reader, writer, deadline)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
        except TimeoutError:
            self.cuts += 1

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deadline: asyncio.Timeout
    ) -> None:
        loop = asyncio.get_running_loop()
        while chunk := await reader.read(65536):
            if self._idle_timeout is not None:
                deadline.reschedule(loop.time() + self._idle_timeout)
            writer.write(chunk)
            await writer.drain()
        writer.close()  # what is written still leaves


@asynccontextmanager
async def tcp_proxy(
    url: str, *, idle_timeout: float | None = None, refuses_upgrades: bool = False
) -> AsyncIterator[tuple[TcpProxy, str]]:
    """A running ``TcpProxy`` and its URL."""
    proxy = TcpProxy(url, idle_timeout=idle_timeout, refuses_upgrades=refuses_upgrades)
    try:
        yield proxy, await proxy.start()
    finally:
        await proxy.stop()


@asynccontextmanager
async def buffering_proxy(url: str) -> AsyncIterator[str]:
    """The URL of a proxy that passes a response on when all of it has come, and knows no upgrades."""

    async def pass_on(request: web.Request) -> web.Response:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
        target = URL(url + request.raw_path, encoded=True)
        async with client.request(
            request.method,
            target,
            headers=[*headers, ("Host", request.headers["Host"])],
            data=await request.read(),
            allow_redirects=False,
            auto_decompress=False,
        ) as answer:
            body = await answer.read()
        headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
        return web.Response(status=answer.status, body=body, headers=headers)

    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", pass_on)
    # With cancellation, since an abandoned stream is read for as long as it lasts.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as client:
        try:
            yield f"http://127.0.0.1:{site.port}"
        finally:
            await runner.cleanup()
