"""Networks where WebSocket, or more, does not pass: the unmodified client ends up connected and echoing."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes import RecordingHandler, serve

from .conftest import GUARD, BrowserConnection, Visitor, within
from .proxies import buffering_proxy, tcp_proxy
from .site import Echo, make_site
from .traffic import COUNT

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

TRY_MS = 1000
"""How long the client gives each transport here; left alone it gives 600 ms on a near network."""


async def test_client_without_obstacles_settles_on_websocket(visitor: Visitor) -> None:
    async with serve(make_site(Echo())) as url:
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo", timeout=TRY_MS)
        await assert_settles_on("websocket", connection)


async def test_page_without_websocket_settles_on_xhr_streaming(visitor: Visitor) -> None:
    """``WebSocket`` is deleted before the client loads."""
    await visitor.page.add_init_script("delete window.WebSocket")
    async with serve(make_site(Echo())) as url:
        await visitor.visit(url)
        assert await visitor.page.evaluate("typeof WebSocket") == "undefined"
        connection = await visitor.connect(url + "/echo", timeout=TRY_MS)
        await assert_settles_on("xhr-streaming", connection)


async def test_endpoint_without_websocket_is_not_tried_with_it(visitor: Visitor) -> None:
    """The client reads it in ``/info``."""
    sockets: list[str] = []
    visitor.page.on("websocket", lambda socket: sockets.append(socket.url))
    async with serve(make_site(Echo(), websocket=False)) as url:
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo", timeout=TRY_MS)
        await assert_settles_on("xhr-streaming", connection)
        assert sockets == []


async def test_behind_a_proxy_that_refuses_upgrades_the_client_settles_on_xhr_streaming(visitor: Visitor) -> None:
    async with serve(make_site(Echo())) as server, tcp_proxy(server, refuses_upgrades=True) as (proxy, url):
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo", timeout=TRY_MS)
        await assert_settles_on("xhr-streaming", connection)
        assert proxy.refusals == 1


async def test_behind_a_proxy_that_buffers_responses_the_client_settles_on_xhr_polling(visitor: Visitor) -> None:
    """What was tried and given up blocks nothing, and is forgotten: one session stays.

    With the client's own time-outs: it leaves the timer of a transport that failed running, which then ends
    the try of the next one, and only its own times are apart enough for ``xhr-polling`` to get its chance.
    """
    handler = RecordingHandler(echo=True)
    site = make_site(handler, disconnect_delay=0.5, heartbeat_delay=0.5)
    async with serve(site) as server, buffering_proxy(server) as url:
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo")
        await assert_settles_on("xhr-polling", connection)
        opened = len(handler.values("on_connected"))
        assert opened > 1, "streaming was tried before"
        await handler.wait_for("on_closed", opened - 1)
        await assert_settles_on("xhr-polling", connection)
        assert len(handler.values("on_closed")) == opened - 1


async def test_heartbeats_keep_connections_that_would_be_cut_for_being_idle(visitor: Visitor) -> None:
    """The proxy cuts after 1 second of silence, the server breaks it after 0.3: three times the limit pass."""
    transports = ("websocket", "xhr-streaming", "eventsource", "htmlfile", "xhr-polling")
    async with (
        serve(make_site(Echo(), heartbeat_delay=0.3)) as server,
        tcp_proxy(server, idle_timeout=1.0) as (_, url),
    ):
        await assert_outlasts(3.0, transports, visitor, url)


@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming", "xhr-polling"])
async def test_without_heartbeats_an_idle_connection_is_cut_and_the_page_is_told(
    visitor: Visitor, transport: str
) -> None:
    """The control of the test above. 1002 where Chromium repeats a cut-off poll by itself: the server's word."""
    async with (
        serve(make_site(Echo(), heartbeat_delay=0)) as server,
        tcp_proxy(server, idle_timeout=0.5) as (proxy, url),
    ):
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo", transport, timeout=5 * TRY_MS)
        assert await connection.transport() == transport
        assert (await connection.closed())["code"] in (1002, 1006)
        assert proxy.cuts > 0


@pytest.mark.slow
async def test_behind_a_proxy_that_cuts_after_10_seconds_a_heartbeat_of_4_keeps_the_client_connected(
    visitor: Visitor,
) -> None:
    """Three transports at once, silent for more than twice the limit."""
    transports = ("websocket", "xhr-streaming", "xhr-polling")
    async with (
        serve(make_site(Echo(), heartbeat_delay=4.0)) as server,
        tcp_proxy(server, idle_timeout=10.0) as (_, url),
    ):
        await assert_outlasts(22.0, transports, visitor, url)


async def assert_outlasts(seconds: float, transports: tuple[str, ...], visitor: Visitor, url: str) -> None:
    """One connection by each of ``transports`` stays, and echoes after having been silent for ``seconds``."""
    await visitor.visit(url)
    connections = [await visitor.connect(url + "/echo", name, timeout=5 * TRY_MS) for name in transports]
    assert [await connection.transport() for connection in connections] == list(transports)
    # What is tested is that time passes, so it has to; a connection that closes ends the wait.
    script = "(connection, ms) => Promise.race([connection.closed(), new Promise(done => setTimeout(done, ms))])"
    await within(asyncio.gather(*(one.evaluate(script, seconds * 1000) for one in connections)), seconds + GUARD)
    for name, connection in zip(transports, connections, strict=True):
        await assert_settles_on(name, connection)
        heartbeats = await connection.evaluate("connection => connection.heartbeats")
        assert (heartbeats > 0) == (name != "websocket"), "a websocket gets pings, which no script sees"


async def assert_settles_on(transport: str, connection: BrowserConnection) -> None:
    """The client is connected by ``transport``, and the 200 messages come back."""
    assert await connection.settled() == {"transport": transport, "close": None}
    result = await connection.echo()
    assert result == {"transport": transport, "count": COUNT + 1, "difference": None, "close": None}
