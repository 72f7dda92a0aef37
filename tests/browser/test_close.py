"""What the unmodified client in Chromium is told when a session ends."""

from __future__ import annotations

import asyncio

import pytest

import sockbridge
from tests.fakes import GUARD, RecordingHandler, serve

from .conftest import PATIENCE_MS, Visitor
from .proxies import tcp_proxy
from .site import Echo, make_site
from .transports import SAME_ORIGIN, UNCHECKED

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


class Farewell(sockbridge.SessionHandler):
    """Closes with 3001 on any message, after one last message of its own."""

    async def on_message(self, session: sockbridge.Session, message: sockbridge.Message) -> None:
        session.send("last")
        session.close(3001, "because")


class Refusing(sockbridge.SessionHandler):
    """Closes whoever connects."""

    async def on_connected(self, session: sockbridge.Session) -> None:
        session.close(4000, 'no "room" </script>')


def origins(transport: str) -> dict[str, object]:
    """The option that lets ``transport`` be served."""
    return {"allowed_origins": "*"} if transport == UNCHECKED else {}


@pytest.mark.parametrize("transport", SAME_ORIGIN)
async def test_close_code_and_reason_of_the_application_reach_the_page(visitor: Visitor, transport: str) -> None:
    async with serve(make_site(Farewell(), **origins(transport))) as url:
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo", transport, timeout=PATIENCE_MS)
        assert await connection.transport() == transport
        await connection.send("go")
        assert await connection.closed() == {"code": 3001, "reason": "because", "clean": True}
        assert await connection.received(1) == ["last"]


@pytest.mark.parametrize("transport", SAME_ORIGIN)
async def test_close_in_on_connected_reaches_the_page_after_it_was_open(visitor: Visitor, transport: str) -> None:
    async with serve(make_site(Refusing(), **origins(transport))) as url:
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo", transport, timeout=PATIENCE_MS)
        assert await connection.transport() == transport
        assert await connection.closed() == {"code": 4000, "reason": 'no "room" </script>', "clean": True}


@pytest.mark.parametrize("transport", SAME_ORIGIN)
async def test_page_is_told_when_the_server_shuts_down(visitor: Visitor, transport: str) -> None:
    handler = RecordingHandler(echo=True)
    async with serve(make_site(handler, **origins(transport))) as url:
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo", transport, timeout=PATIENCE_MS)
        assert await connection.transport() == transport
        await connection.send("once round")
        assert await connection.received(1) == ["once round"]
        session = handler.calls[-1][1]
        assert session is not None
        async with asyncio.timeout(GUARD):
            while session.receiver is None:  # between two polls; then it would find the port closed: 1006
                await asyncio.sleep(0.01)
    close = await connection.closed()
    assert (close["code"], close["clean"]) == (1001, True)


@pytest.mark.parametrize("transport", SAME_ORIGIN)
async def test_page_is_told_when_the_server_has_gone_without_a_goodbye(visitor: Visitor, transport: str) -> None:
    """Polls fail at once. An event source reconnects for ever, and a page that was cut off while it loaded fires
    no event, so with those the client notices with the next message that it sends."""
    async with serve(make_site(Echo(), **origins(transport))) as server, tcp_proxy(server) as (proxy, url):
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo", transport, timeout=PATIENCE_MS)
        assert await connection.transport() == transport
        await connection.send("once round")
        assert await connection.received(1) == ["once round"]
        await proxy.stop()
        if transport.endswith(("eventsource", "htmlfile")):
            await connection.send("is anybody there?")
        close = await connection.closed()
        assert (close["code"], close["clean"]) == (1006, False)


@pytest.mark.parametrize("transport", SAME_ORIGIN)
async def test_handler_is_told_when_the_page_has_gone(visitor: Visitor, transport: str) -> None:
    handler = RecordingHandler(echo=True)
    async with serve(make_site(handler, disconnect_delay=1.0, **origins(transport))) as url:
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo", transport, timeout=PATIENCE_MS)
        assert await connection.transport() == transport
        await connection.send("once round")
        assert await connection.received(1) == ["once round"]
        await visitor.page.goto("about:blank")
        await handler.wait_for("on_closed")
        assert handler.names().count("on_connected") == 1
        assert handler.names().count("on_closed") == 1
