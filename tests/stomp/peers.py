"""STOMP clients on real sockets that do what networks do: cut in the middle, read nothing, end halfway.

``TcpPeer`` is one TCP connection, ``SockJsPeer`` one SockJS session on any transport. Both talk the same way, so that
a test can run on every carrier.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from aiohttp import web

import sockbridge
from sockbridge.stomp.codec import Decoder, Limits
from sockbridge.stomp.frame import Command, Frame
from sockbridge.stomp.options import StompOptions
from sockbridge.stomp.server import StompServer
from sockbridge.stomp.tcp import TcpListener
from tests.fakes import GUARD, serve
from tests.stomp.clients import wire
from tests.transports.wire import Client, Wire

CARRIERS = ("tcp", "websocket-raw", "websocket", "xhr_streaming", "xhr")


class Peer(Protocol):
    """What every carrier's client can do."""

    async def open(self) -> None:
        """Until the carrier is there; nothing of STOMP is said yet."""
        ...

    async def write(self, text: str) -> None:
        """Send a piece of STOMP, whole frames or not."""
        ...

    async def frame(self) -> Frame:
        """The next frame that comes."""
        ...

    def cut(self) -> None:
        """Vanish with a reset."""
        ...

    async def close(self) -> None:
        """Let go of what the test holds."""
        ...


class _Talk:
    """What is said is the same on all carriers."""

    def __init__(self) -> None:
        self.decoder = Decoder(Limits.of(StompOptions(max_body_size=100_000_000)))

    async def write(self, text: str) -> None:
        raise NotImplementedError

    async def _more(self) -> str | bytes:
        raise NotImplementedError

    async def send(self, command: str, headers: Mapping[str, str] | None = None, body: str = "") -> None:
        """Send a frame."""
        await self.write(wire(command, headers, body).decode())

    async def frame(self) -> Frame:
        async with asyncio.timeout(GUARD):
            while (frame := self.decoder.next_frame()) is None:
                self.decoder.feed(await self._more())
            return frame

    async def connect(self, headers: Mapping[str, str] | None = None) -> Frame:
        """Log in; what is answered."""
        await self.send("CONNECT", {"accept-version": "1.2", **(headers or {})})
        return await self.frame()

    async def ask(self, command: str, headers: Mapping[str, str] | None = None, body: str = "") -> Frame:
        """Send a frame with a receipt, and wait for what is answered."""
        await self.send(command, {"receipt": "r", **(headers or {})}, body)
        return await self.frame()

    async def logged_in(self) -> bool:
        """CONNECT, and see that it works."""
        return (await self.connect()).command is Command.CONNECTED


class TcpPeer(_Talk):
    """A client over TCP.

    Attributes:
        wire: its connection.
    """

    def __init__(self, port: int, **how: Any) -> None:
        super().__init__()
        self._port = port
        self._how = how
        self.wire: Wire = None  # type: ignore[assignment]  # set by open

    async def open(self) -> None:
        async with asyncio.timeout(GUARD):
            self.wire = await Wire.open(f"http://127.0.0.1:{self._port}", **self._how)

    async def write(self, text: str) -> None:
        self.wire.writer.write(text.encode())

    async def _more(self) -> bytes:
        received = await self.wire.reader.read(65536)
        assert received, "the server has closed"
        return received

    async def end(self) -> list[Frame]:
        """The frames until the server ends the connection, which it does in order: no reset."""
        async with asyncio.timeout(GUARD):
            self.decoder.feed(await self.wire.reader.read())
        frames = []
        while (frame := self.decoder.next_frame()) is not None:
            frames.append(frame)
        return frames

    def cut(self) -> None:
        self.wire.reset()

    async def close(self) -> None:
        if self.wire is not None:
            try:
                await self.wire.close()
            except ssl.SSLError:  # the server had more to say
                self.wire.writer.transport.abort()


class SockJsPeer(_Talk):
    """A client over SockJS, or over a plain websocket."""

    def __init__(self, url: str, transport: str) -> None:
        super().__init__()
        self._client = Client(url, transport)

    async def open(self) -> None:
        async with asyncio.timeout(GUARD):
            await self._client.connect()

    async def write(self, text: str) -> None:
        await self._client.send(text)

    async def _more(self) -> str:
        return "".join(await self._client.messages())

    def cut(self) -> None:
        self._client.wire.reset()

    async def close(self) -> None:
        await self._client.close()


class Site:
    """A STOMP server with all its ways in, as in production.

    Attributes:
        server: the STOMP server.
        listener: its TCP listener.
        url: of its SockJS endpoint.
    """

    def __init__(self, server: StompServer, listener: TcpListener) -> None:
        self.server = server
        self.listener = listener
        self.url = ""
        self.endpoint: sockbridge.Endpoint = None  # type: ignore[assignment]  # set while it is mounted
        self._stack = AsyncExitStack()

    async def peer(self, carrier: str = "tcp", **how: Any) -> Any:
        """A client on ``carrier``, open, not logged in; closed at the end of the site."""
        peer = TcpPeer(self.listener.port, **how) if carrier == "tcp" else SockJsPeer(self.url, carrier)
        self._stack.push_async_callback(peer.close)
        await peer.open()
        return peer

    async def logged_in(self, carrier: str = "tcp", **how: Any) -> Any:
        """A client on ``carrier`` that has logged in."""
        peer = await self.peer(carrier, **how)
        assert await peer.logged_in()
        return peer

    async def dismiss(self) -> None:
        """Close all clients now."""
        await self._stack.aclose()


def assert_nothing_left(server: StompServer) -> None:
    """Nobody is there, so nothing may be held for anybody."""
    assert server._connections == {}
    assert list(server.connections) == []
    assert list(server.users) == []
    assert server.users._targets == {}
    assert server._audience._connections == {}
    assert server._audience._subscriptions == {}
    assert len(server._tasks) == 0
    assert len(server.broker) == 0  # type: ignore[arg-type]  # the embedded one has a length


@asynccontextmanager
async def site(
    make: Callable[[TcpListener], StompServer],
    *,
    tcp: Mapping[str, Any] | None = None,
    tls: ssl.SSLContext | None = None,
    **mount: Any,
) -> AsyncIterator[Site]:
    """The server that ``make`` makes, running.

    Args:
        tcp: options of the TCP listener.
        mount: options of the SockJS endpoint.
    """
    listener = TcpListener(port=0, ssl=tls, **(tcp or {}))
    running = Site(make(listener), listener)
    app = web.Application()
    running.endpoint = sockbridge.mount(app, "/ws", running.server, **{"allowed_origins": "*", **mount})
    async with serve(app) as base:
        running.url = f"{base}/ws"
        async with running._stack:
            yield running
