"""What has to hold behind any proxy; the tests of each proxy run these with its own configuration."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import pytest

from sockbridge.errors import ConnectionLost

from ..fakes import GUARD
from .browser import TRANSPORTS, Browser, browsing
from .conftest import Backend


async def every_transport_passes(origin: str, trust: ssl.SSLContext, backend: Backend) -> None:
    """Same origin over TLS; jsonp, which is open to all, on the open endpoint."""
    async with browsing(trust, origin) as http:
        for name in TRANSPORTS:
            await Browser(http, f"{origin}/chat").talk(name)
        for name in (*TRANSPORTS, "jsonp"):
            await Browser(http, f"{origin}/chat-open").talk(name)
        async with http.get(f"{origin}/chat/info") as response:
            assert (await response.json())["websocket"] is True
            assert response.headers["Access-Control-Allow-Origin"] == origin
        assert (await backend.handler.wait_for("on_connected", len(TRANSPORTS)))[: len(TRANSPORTS)] == list(TRANSPORTS)
        session = next(session for _, session, _ in backend.handler.calls if session is not None)
        assert session.handshake.remote == "127.0.0.1"
        assert session.handshake.url.startswith(f"{origin}/chat/")


async def other_origins_are_refused(origin: str, trust: ssl.SSLContext) -> None:
    """Also if the client forges what proxies write."""
    forged = {
        "Forwarded": "proto=https;host=evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
    }
    async with browsing(trust, "https://evil.example") as http:
        for headers in ({}, forged):
            async with http.get(f"{origin}/chat/info", headers=headers) as response:
                assert response.status == 403
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await http.ws_connect(f"{origin}/chat/000/x/websocket", headers=headers)


async def the_own_origin_is_refused(origin: str, trust: ssl.SSLContext) -> None:
    """What a missing ``forwarded=True`` looks like."""
    async with browsing(trust, origin) as http, http.get(f"{origin}/chat/info") as response:
        assert response.status == 403
        assert await response.text() == "Origin not allowed.\n"


async def a_client_that_leaves_is_noticed(origin: str, trust: ssl.SSLContext, backend: Backend) -> None:
    """The proxy passes the end of a stream on."""
    async with browsing(trust, origin) as http:
        browser = Browser(http, f"{origin}/chat")
        async with browser.stream("xhr_streaming") as stream:
            assert await stream.frame() == "o"
            stream.cut()
            error = (await backend.handler.wait_for("on_transport_error"))[-1]
            assert type(error) is ConnectionLost


async def a_quiet_connection_lives_on_heartbeats(origin: str, trust: ssl.SSLContext) -> None:
    """Through a proxy that cuts after a second of silence, for more than two."""
    async with (
        browsing(trust, origin) as http,
        asyncio.timeout(GUARD),
        Browser(http, f"{origin}/chat").stream("eventsource") as stream,
        http.ws_connect(f"{origin}/chat/websocket") as socket,
    ):
        assert await stream.frame() == "o"
        answer = asyncio.ensure_future(socket.receive_str())  # whoever receives, answers pings
        for _ in range(6):
            assert await stream.frame() == "h"
        await socket.send_str("still here")
        assert await answer == "still here"


async def a_quiet_connection_without_heartbeats_is_cut(origin: str, trust: ssl.SSLContext, backend: Backend) -> None:
    """And the handler is told."""
    async with browsing(trust, origin) as http:
        async with asyncio.timeout(GUARD), Browser(http, f"{origin}/chat").stream("xhr_streaming") as stream:
            assert await stream.frame() == "o"
            with pytest.raises((aiohttp.ClientError, asyncio.IncompleteReadError)):
                await stream.frame()
        await backend.handler.wait_for("on_closed")


async def clients_stay_on_their_backend(origin: str, trust: ssl.SSLContext, backends: list[Backend]) -> None:
    """Twenty clients, each with a server segment and a cookie jar of its own; both backends get some."""
    for number in range(20):
        async with browsing(trust, origin) as http:
            browser = Browser(http, f"{origin}/chat", server=f"{number * 37:03}")
            await browser.talk("xhr", count=5)
    opened = [backend.endpoint.counters.opened for backend in backends]
    assert sum(opened) == 20
    assert all(opened), opened
