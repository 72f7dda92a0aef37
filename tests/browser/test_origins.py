"""Pages of other origins in Chromium: the default refuses them over every transport, and nothing connects."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.fakes import RecordingHandler, serve

from .conftest import PATIENCE_MS, Visitor
from .site import Echo, make_site
from .transports import CROSS_ORIGIN, SAME_ORIGIN, UNCHECKED

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

HOSTS = pytest.mark.parametrize("page_host", ["localhost", "127.0.0.1"], ids=["another site", "another port"])


@HOSTS
async def test_default_options_refuse_a_page_of_another_origin(visitor: Visitor, page_host: str) -> None:
    """The client gives up at ``/info`` already, which the page may not read."""
    handler = RecordingHandler()
    async with serve(make_site()) as site, serve(make_site(handler)) as url:
        await visitor.visit(f"http://{page_host}:{urlsplit(site).port}")
        connection = await visitor.connect(url + "/echo")
        close = (await connection.settled())["close"]
        assert (close["code"], close["reason"]) == (1002, "Cannot connect to server")
        assert [urlsplit(request).path for request in visitor.requests if "/echo" in request] == ["/echo/info"]
        assert "on_connected" not in handler.names()


@HOSTS
@pytest.mark.parametrize("transport", SAME_ORIGIN)
async def test_default_options_refuse_every_transport_to_a_page_of_another_origin(
    visitor: Visitor, transport: str, page_host: str
) -> None:
    """The client is led past ``/info`` by another endpoint that is open and names this one as ``base_url``."""
    handler = RecordingHandler()
    server = make_site(handler, prefix="/closed")
    async with serve(make_site()) as site, serve(server) as url:
        async with serve(make_site(Echo(), prefix="/open", allowed_origins="*", base_url=url + "/closed")) as guide:
            await visitor.visit(f"http://{page_host}:{urlsplit(site).port}")
            connection = await visitor.connect(guide + "/open", transport)
            assert (await connection.settled())["close"]["code"] == 2000
        assert "on_connected" not in handler.names()
        if transport in CROSS_ORIGIN and transport != "websocket":
            assert any("/closed/" in request for request in visitor.requests), "it was not even tried"


@pytest.mark.parametrize("transport", CROSS_ORIGIN)
async def test_a_list_that_names_others_refuses_every_transport(visitor: Visitor, transport: str) -> None:
    handler = RecordingHandler()
    server = make_site(handler, prefix="/closed", allowed_origins=["https://app.example.org"])
    async with serve(make_site()) as site, serve(server) as url:
        async with serve(make_site(Echo(), prefix="/open", allowed_origins="*", base_url=url + "/closed")) as guide:
            await visitor.visit(site)
            connection = await visitor.connect(guide + "/open", transport)
            assert (await connection.settled())["close"]["code"] == 2000
        assert "on_connected" not in handler.names()


async def test_a_transport_is_tried_where_the_guide_leads(visitor: Visitor) -> None:
    """The control of the tests above: led in the same way to an endpoint that allows the page, it connects."""
    handler = RecordingHandler()
    async with serve(make_site()) as site, serve(make_site(handler, prefix="/closed", allowed_origins=[site])) as url:
        async with serve(make_site(Echo(), prefix="/open", allowed_origins="*", base_url=url + "/closed")) as guide:
            await visitor.visit(site)
            for transport in CROSS_ORIGIN:
                if transport != UNCHECKED:
                    connection = await visitor.connect(guide + "/open", transport, timeout=PATIENCE_MS)
                    assert await connection.transport() == transport
        assert len(await handler.wait_for("on_connected", len(CROSS_ORIGIN) - 1)) == len(CROSS_ORIGIN) - 1


async def test_default_options_serve_a_page_of_the_same_origin(visitor: Visitor) -> None:
    async with serve(make_site(Echo())) as url:
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo", timeout=PATIENCE_MS)
        assert await connection.transport() == "websocket"


async def test_jsonp_is_not_served_where_only_some_origins_are_allowed(visitor: Visitor) -> None:
    """Not even to a page that is allowed, since its request does not say which page it comes from."""
    handler = RecordingHandler()
    async with serve(make_site()) as site, serve(make_site(handler, allowed_origins=[site])) as url:
        await visitor.visit(site)
        connection = await visitor.connect(url + "/echo", UNCHECKED)
        assert (await connection.settled())["close"]["code"] == 2000
        assert "on_connected" not in handler.names()


async def test_pages_may_not_embed_a_stream_of_another_origin(visitor: Visitor) -> None:
    """``htmlfile`` in an iframe of a page that is not allowed opens no session."""
    handler = RecordingHandler()
    async with serve(make_site()) as site, serve(make_site(handler)) as url:
        await visitor.visit(site)
        async with visitor.page.expect_response(lambda response: "/htmlfile" in response.url) as awaited:
            await visitor.page.evaluate(
                "url => { document.body.appendChild(document.createElement('iframe')).src = url; }",
                url + "/echo/000/chosen/htmlfile?c=callback",
            )
        assert (await awaited.value).status == 403
        assert "on_connected" not in handler.names()


async def test_iframe_page_is_shown_to_allowed_pages_only(visitor: Visitor) -> None:
    """``frame-ancestors`` of the Content-Security-Policy, as Chromium understands it."""
    async with (
        serve(make_site()) as friend,
        serve(make_site()) as stranger,
        serve(make_site(Echo(), allowed_origins=[friend])) as url,
    ):
        assert await embeds(visitor, friend, url + "/echo/iframe.html")
        assert await embeds(visitor, url, url + "/echo/iframe.html")
        assert not await embeds(visitor, stranger, url + "/echo/iframe.html")


async def embeds(visitor: Visitor, site: str, url: str) -> bool:
    """Does Chromium show ``url`` inside an iframe of a page of ``site``?"""
    await visitor.visit(site)
    await visitor.page.evaluate(
        """url => new Promise(done => {
            const iframe = document.createElement('iframe');
            iframe.onload = done;
            iframe.src = url;
            document.body.appendChild(iframe);
        })""",
        url,
    )
    return any(frame.url == url for frame in visitor.page.frames)
