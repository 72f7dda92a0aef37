"""``authenticate=`` with a cookie login, as a page in Chromium meets it."""

from __future__ import annotations

import pytest
from aiohttp import web

import sockbridge
from tests.fakes import serve

from .conftest import PATIENCE_MS, Visitor
from .site import make_site

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

USERS = {"ticket-of-alice": "alice", "ticket-of-bob": "bob"}

TRANSPORTS = pytest.mark.parametrize("transport", ["websocket", "xhr-streaming", "iframe-eventsource", "xhr-polling"])


class WhoAmI(sockbridge.SessionHandler):
    """Answers each message with the name of who sent it."""

    async def on_message(self, session: sockbridge.Session, message: sockbridge.Message) -> None:
        session.send(f"{session.handshake.principal}: {message}")  # type: ignore[str-bytes-safe]


async def authenticate(request: web.Request) -> str | None:
    return USERS.get(request.cookies.get("ticket", ""))


async def log_in(request: web.Request) -> web.Response:
    response = web.Response(status=204)
    response.set_cookie("ticket", f"ticket-of-{request.match_info['name']}", httponly=True, samesite="Lax")
    return response


def make_site_with_login() -> web.Application:
    app = make_site(WhoAmI(), authenticate=authenticate)
    app.router.add_post("/login/{name}", log_in)
    return app


@TRANSPORTS
async def test_page_with_the_cookie_connects_as_its_user(visitor: Visitor, transport: str) -> None:
    async with serve(make_site_with_login()) as url:
        await visitor.visit(url)
        await visitor.page.evaluate("fetch('/login/alice', {method: 'POST'}).then(response => response.status)")
        connection = await visitor.connect(url + "/echo", transport, timeout=PATIENCE_MS)
        assert await connection.transport() == transport
        await connection.send("hello")
        assert await connection.received(1) == ["alice: hello"]


@TRANSPORTS
async def test_page_without_the_cookie_does_not_connect(visitor: Visitor, transport: str) -> None:
    async with serve(make_site_with_login()) as url:
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo", transport)
        assert (await connection.settled())["close"]["code"] == 2000


async def test_poll_with_the_cookie_of_somebody_else_ends_the_connection(visitor: Visitor) -> None:
    """The user changes in mid-session: the next requests belong to nobody that this session knows."""
    async with serve(make_site_with_login()) as url:
        await visitor.visit(url)
        await visitor.page.evaluate("fetch('/login/alice', {method: 'POST'}).then(response => response.status)")
        connection = await visitor.connect(url + "/echo", "xhr-polling", timeout=PATIENCE_MS)
        assert await connection.transport() == "xhr-polling"
        await visitor.page.evaluate("fetch('/login/bob', {method: 'POST'}).then(response => response.status)")
        await connection.send("who am I?")
        assert (await connection.closed())["code"] == 1006
        assert await connection.received(1) == []
