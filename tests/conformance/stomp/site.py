"""A STOMP server as in production, on all its carriers at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
from aiohttp import web

import sockbridge
from sockbridge.stomp import EVERYBODY, EmbeddedBroker, Rule, StompServer, TcpListener
from tests.fakes import GUARD, serve

from .clients import Client, Headers, TcpClient, open_sockjs, open_websocket

CARRIERS = ("mounted", "websocket", "sockjs", "xhr_streaming")
"""Over which every check of STOMP runs: plain websockets at both URLs, and SockJS on two transports."""

WITH_POLLING = (*CARRIERS, "xhr")
ALL_CARRIERS = ("tcp", *WITH_POLLING)
VERSIONS = ("1.0", "1.1", "1.2")

OPEN_POLICY = (Rule.connect(EVERYBODY), Rule.subscribe("**", EVERYBODY), Rule.send("**", EVERYBODY))
"""Clients may send to the broker's topics, so that tests need no controller."""

USER = "X-User"


class Site:
    """A server that runs, and ways to reach it.

    Under ``/ws`` everybody is a guest, or who ``authenticate`` of the server says; under ``/users`` the header
    ``X-User`` of the request names the user.
    """

    def __init__(
        self, url: str, server: StompServer, listener: TcpListener, http: aiohttp.ClientSession, stack: AsyncExitStack
    ) -> None:
        self.url = url
        self.server = server
        self.http = http
        self.listener = listener
        self._stack = stack
        self._clients: list[Client] = []

    async def open(
        self,
        carrier: str = "websocket",
        *,
        user: str = "",
        protocols: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Client:
        """A client that has not said anything.

        Args:
            user: who it is by its HTTP requests; "": a guest.
            protocols: subprotocols that it offers, if it is a plain websocket.
            headers: of its requests.
        """
        client: Client
        base = f"{self.url}/{'users' if user else 'ws'}"
        sent = {**({USER: user} if user else {}), **(headers or {})}
        if carrier == "tcp":
            client = TcpClient(*await asyncio.open_connection("127.0.0.1", self.listener.port, limit=2**26))
        elif carrier in ("mounted", "websocket"):
            client = await open_websocket(self.http, base, carrier, sent, protocols)
        else:
            client = await open_sockjs(self.http, base, carrier, sent)
        self._clients.append(client)
        return client

    async def connect(
        self, carrier: str = "websocket", version: str = "1.2", *, user: str = "", headers: Headers = ()
    ) -> Client:
        """A client that has logged in."""
        client = await self.open(carrier, user=user)
        await client.connect(version, headers)
        return client

    @property
    def broker(self) -> EmbeddedBroker:
        """The server's."""
        broker = self.server.broker
        assert isinstance(broker, EmbeddedBroker)
        return broker

    async def put(self, destination: str, *bodies: str | int, **headers: str) -> None:
        """Messages from somebody else, in this order; they have taken effect when this returns."""
        publisher = await self.connect("tcp")
        for body in bodies:
            assert await publisher.ask("SEND", {"destination": destination, **headers}, str(body)) == []

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the server go round its loop until ``condition`` holds."""
        async with asyncio.timeout(GUARD):
            while not condition():
                async with self.http.get(f"{self.url}/ws"):
                    pass

    async def forget(self, count: int = 1) -> None:
        """Until ``count`` connections that had logged in have ended, with all that belongs to it."""
        await self.until(lambda: self.server.counters.disconnected >= count)

    async def hurry(self) -> None:
        """Make the server's clock tick five times as fast: somebody is there who wants heart-beats often."""
        await self.connect("tcp", headers={"heart-beat": "0,1"})

    async def stop(self) -> None:
        """Shut the server down as a signal does."""
        await self._stack.aclose()

    async def close(self) -> None:
        """Give the clients' sockets back."""
        for client in self._clients:
            await client.release()
        await self.http.close()


async def name_of(request: web.Request) -> str | None:
    """Who asks under ``/users``."""
    return request.headers.get(USER)


@asynccontextmanager
async def serve_stomp(
    server: StompServer | None = None,
    options: Mapping[str, object] | None = None,
    *,
    listener: TcpListener | None = None,
    **arguments: object,
) -> AsyncIterator[Site]:
    """Run ``server``, or one made of ``arguments`` whose clients may do what they like with ``/topic``.

    Args:
        options: of ``mount``.
        listener: of ``server``.
    """
    listener = listener or TcpListener(port=0)
    if server is None:
        settings: dict[str, object] = {"broker": EmbeddedBroker(), "policy": OPEN_POLICY, **arguments}
        server = StompServer(listeners=[listener], **settings)  # type: ignore[arg-type]  # the tests' own
    app = web.Application()
    chosen: dict[str, object] = {"allowed_origins": "*", **(options or {})}
    sockbridge.mount(app, "/ws", server, **chosen)  # type: ignore[arg-type]
    sockbridge.mount(app, "/users", server, authenticate=name_of, **chosen)  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serve(app))
        http = aiohttp.ClientSession(read_bufsize=2**24, timeout=aiohttp.ClientTimeout(total=None))  # streams last
        site = Site(url, server, listener, http, stack)
        try:
            yield site
        finally:
            await site.close()  # first, so that the server need not wait for anybody's goodbye
