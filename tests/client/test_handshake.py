"""Websockets are opened without following redirects."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from sockbridge.client.handshake import open_websocket
from tests.fakes import serve


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"{request.headers.get('X-Key')} {message.data}")
    return socket


async def test_a_redirect_is_a_refusal_and_takes_no_header_along() -> None:
    asked: list[str | None] = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.headers.get("X-Key"))
        return web.Response()

    other = web.Application()
    other.router.add_get("/", elsewhere)
    async with serve(other) as elsewhere_url:

        async def lead_away(request: web.Request) -> web.Response:
            raise web.HTTPFound(elsewhere_url)

        app = web.Application()
        app.router.add_get("/", lead_away)
        async with serve(app) as url, aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await open_websocket(http, URL(url), headers={"X-Key": "secret"})
            assert caught.value.status == 302
    assert asked == []


async def test_what_is_set_on_the_session_and_at_the_call_counts() -> None:
    app = web.Application()
    app.router.add_get("/", echo)
    async with serve(app) as url, aiohttp.ClientSession(headers={"X-Key": "of the session"}) as http:
        socket = await open_websocket(http, URL(url), max_msg_size=30, protocols=("a",))
        await socket.send_str("hello")
        assert (await socket.receive_str()) == "of the session hello"
        await socket.send_str("more than there is room for")
        assert (await socket.receive()).type is aiohttp.WSMsgType.ERROR
        await socket.close()


async def test_aiohttp_has_the_seam() -> None:
    """Else redirects are followed: see the module."""
    assert callable(getattr(aiohttp.ClientSession, "_ws_connect", None))
