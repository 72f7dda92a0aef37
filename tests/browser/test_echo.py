"""The unmodified client in Chromium: 200 mixed messages come back over every transport, in order and equal.

That no script of a message runs is checked after each test by the ``visitor`` fixture.
"""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from demo import scripts
from sockbridge import DEFAULT_TRANSPORTS
from sockbridge.sockjs.framing import quote
from sockbridge.transports.htmlfile import HtmlFileTransport
from tests.fakes import serve

from .conftest import PATIENCE_MS, Visitor
from .site import Echo, make_site
from .traffic import COUNT, SCRIPT_URL
from .transports import CROSS_ORIGIN, PATHS, SAME_ORIGIN, STREAMING, UNCHECKED

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_client_is_the_version_that_is_pinned(visitor: Visitor) -> None:
    async with serve(make_site()) as url:
        await visitor.visit(url)
        assert await visitor.page.evaluate("SockJS.version") == scripts.SOCKJS.version == "1.6.1"


@pytest.mark.parametrize("transport", SAME_ORIGIN)
async def test_messages_come_back_on_a_page_of_the_same_origin(visitor: Visitor, transport: str) -> None:
    """With default options; jsonp needs every origin to be allowed."""
    options = {"allowed_origins": "*"} if transport == UNCHECKED else {}
    async with serve(make_site(Echo(), **options)) as url:
        await visitor.visit(url)
        await assert_echoes(visitor, url, transport)


@pytest.mark.parametrize("transport", CROSS_ORIGIN)
async def test_messages_come_back_on_a_page_of_another_site(visitor: Visitor, transport: str) -> None:
    """The page's origin is in a list; jsonp needs every origin to be allowed."""
    async with serve(make_site()) as site:
        page_origin = f"http://localhost:{urlsplit(site).port}"
        origins = "*" if transport == UNCHECKED else ["https://app.example.org", page_origin]
        async with serve(make_site(Echo(), allowed_origins=origins)) as url:
            await visitor.visit(page_origin)
            await assert_echoes(visitor, url, transport)


@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming", "iframe-htmlfile"])
async def test_messages_come_back_on_a_page_of_another_port(visitor: Visitor, transport: str) -> None:
    """Another origin of the same site, which browsers treat differently from another site."""
    async with serve(make_site()) as site, serve(make_site(Echo(), allowed_origins=[site])) as url:
        await visitor.visit(site)
        await assert_echoes(visitor, url, transport)


async def test_client_does_not_use_htmlfile_on_a_page_of_another_origin(visitor: Visitor) -> None:
    """So there is nothing to carry there; ``iframe-htmlfile`` is what it uses."""
    async with serve(make_site()) as site, serve(make_site(Echo(), allowed_origins="*")) as url:
        await visitor.visit(site)
        connection = await visitor.connect(url + "/echo", "htmlfile", timeout=PATIENCE_MS)
        close = (await connection.settled())["close"]
        assert (close["code"], close["reason"]) == (2000, "All transports failed")
        assert not any(urlsplit(request).path.endswith("/htmlfile") for request in visitor.requests)


async def test_a_script_that_ran_would_be_noticed(visitor: Visitor) -> None:
    """The control of this file: over a transport that forgets to escape, the probe does its work."""

    class LeakingHtmlFile(HtmlFileTransport):
        name: ClassVar[str] = "htmlfile"

        def format(self, frame: bytes) -> bytes:
            return b"<script>\np(%b);\n</script>\r\n" % quote(frame.decode())

    served = [LeakingHtmlFile if kind is HtmlFileTransport else kind for kind in DEFAULT_TRANSPORTS]
    async with serve(make_site(Echo(), transports=served)) as url:
        await visitor.visit(url)
        connection = await visitor.connect(url + "/echo", "htmlfile", timeout=PATIENCE_MS)
        assert await connection.transport() == "htmlfile"
        async with visitor.page.expect_request(lambda request: request.url.endswith(SCRIPT_URL)):
            await connection.evaluate(
                "connection => fetch('/messages.json').then(r => r.json())"
                ".then(messages => messages.forEach(message => connection.socket.send(message)))"
            )
        traces = await visitor.traces_of_scripts()
        assert any(trace.startswith("window.scriptHasRun") for trace in traces)
        visitor.requests.clear()
        await visitor.visit(url)


async def assert_echoes(visitor: Visitor, url: str, transport: str) -> None:
    """The 200 messages come back over ``transport`` and nothing else."""
    connection = await visitor.connect(url + "/echo", transport, timeout=PATIENCE_MS)
    assert await connection.settled() == {"transport": transport, "close": None}
    result = await connection.echo()
    assert result == {"transport": transport, "count": COUNT + 1, "difference": None, "close": None}
    received_on = [path for path in map(_path, visitor.requests) if path in PATHS.values()]
    assert set(received_on) <= {PATHS[transport]}
    if transport in STREAMING:
        assert len(received_on) > 1, "the traffic is to pass the response limit"
    assert await visitor.traces_of_scripts() == []  # while the frames of the transport are still there


def _path(url: str) -> str:
    path = urlsplit(url).path
    return path[path.rindex("/") :] if "/echo/" in path else ""
