"""Sessions of our client as links: what their ends mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

import sockbridge
from sockbridge.client.connecting import connect
from sockbridge.client.stomp.link import LinkEnded, SessionLink
from sockbridge.sockjs.framing import Binary
from tests.fakes import GUARD, serve


class Service(sockbridge.SessionHandler):
    """Sends back what it gets, and ends as it is told."""

    async def on_message(self, session: sockbridge.Session, message: str | bytes) -> None:
        if isinstance(message, str) and message.startswith("close "):
            session.close(int(message[6:]), "told to\n\x1b[2J")
        else:
            session.send(message)


@asynccontextmanager
async def link(transport: str) -> AsyncIterator[SessionLink]:
    app = web.Application()
    sockbridge.mount(app, "/echo", Service(), allowed_origins="*")
    async with serve(app) as base, asyncio.timeout(GUARD):
        made = SessionLink(await connect(f"{base}/echo", transports=[transport]))
        try:
            yield made
        finally:
            await made.close()
            await made.close()


@pytest.mark.parametrize("transport", ["websocket", "xhr-polling"])
async def test_over_sockjs_everything_is_text(transport: str) -> None:
    async with link(transport) as made:
        assert (made.transport, made.is_text) == (transport, True)
        await made.send("\u00e4".encode())
        assert made.buffered > 0
        assert await made.receive() == "\u00e4"
        await made.send(Binary(b"text"))
        assert await made.receive() == "text"


async def test_over_a_plain_websocket_octets_stay_octets() -> None:
    async with link("websocket-raw") as made:
        assert not made.is_text
        await made.send(Binary(b"\xff"))
        assert await made.receive() == b"\xff"
        await made.send(b"text")
        assert await made.receive() == "text"


@pytest.mark.parametrize(("code", "may_return"), [(1001, True), (1008, False), (3000, False)])
@pytest.mark.parametrize("transport", ["websocket", "xhr-polling", "websocket-raw"])
async def test_a_goodbye_says_whether_we_may_return(transport: str, code: int, may_return: bool) -> None:
    async with link(transport) as made:
        await made.send(f"close {code}".encode())
        with pytest.raises(LinkEnded, match=rf"{code} told to\?\?\[2J") as caught:
            await made.receive()
        assert caught.value.may_return is may_return
        with pytest.raises(LinkEnded):
            await made.send(b"x")
