from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from sockbridge.doctor.probe import (
    GOODBYE,
    HandshakeRefused,
    Late,
    Network,
    NoAnswer,
    TooLarge,
    led_to,
    server_name,
    session_url,
    translate,
)

from ..fakes import GUARD
from .conftest import chat, hold, other_server, settings


async def test_an_answer_is_read_whole_and_timed() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=418, text=f"{request.method} {request.headers['X-One']}", headers={"Server": "pot"})

    async with other_server(tea=answer) as url, Network(settings(url, headers={"X-One": "1"})) as network:
        found = await network.fetch("PUT", URL(url) / "tea")
        assert (found.status, found.body, found.summary) == (418, b"PUT 1", "418 (PUT 1) by pot")
        assert 0 < found.seconds < GUARD


async def test_headers_are_sent_to_the_origin_they_are_meant_for_alone() -> None:
    async with Network(settings("http://test/chat", headers={"Authorization": "secret"})) as network:
        assert "Authorization" in network.headers(URL("http://test/elsewhere"))
        assert "Authorization" not in network.headers(URL("https://test/chat"))
        assert "Authorization" not in network.headers(URL("http://test:81/chat"))
        assert "Authorization" not in network.headers(URL("https://other/chat"))


async def test_redirects_are_answers() -> None:
    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    async with other_server(a=answer) as url, Network(settings(url)) as network:
        assert (await network.fetch("GET", URL(url) / "a")).status == 302


async def test_an_answer_without_end_is_not_read_for_ever() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 4096)

    async with other_server(a=answer) as url, Network(settings(url)) as network:
        found = await network.fetch("GET", URL(url) / "a")
        assert 64 * 1024 <= len(found.body) < 1024 * 1024


async def test_a_head_that_does_not_come_is_late() -> None:
    async with other_server(a=hold) as url, Network(settings(url, timeout=0.05)) as network:
        with pytest.raises(Late):
            await network.fetch("GET", URL(url) / "a")


async def test_a_body_that_does_not_come_is_late() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await hold(request)
        return response

    async with other_server(a=answer) as url, Network(settings(url, timeout=0.05)) as network:
        with pytest.raises(Late):
            await network.fetch("GET", URL(url) / "a")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "cut in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", "cut|HTTP"),
    ],
)
async def test_nonsense_is_no_answer(said: bytes, told: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Network(settings(url)) as network:
        with pytest.raises(NoAnswer, match=told):
            await network.fetch("GET", URL(url))


async def test_a_stream_is_read_up_to_what_is_looked_for() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b"on", b"e\ntw", b"o\n"):
            await response.write(piece)
        return response

    async with other_server(a=answer) as url, Network(settings(url)) as network:
        url_of_stream = URL(url) / "a"
        async with network.stream("GET", url_of_stream) as stream:
            line = re.compile(rb"(\w+)\n")
            for wanted in (b"one", b"two"):
                match = await stream.find(line, GUARD)
                assert match is not None
                assert match[1] == wanted
            assert await stream.find(line, GUARD) is None
            assert stream.is_ended
            assert stream.version == "1.1"
            assert 0 < stream.head_seconds <= stream.first_seconds <= stream.seconds


async def test_a_refused_handshake_is_told_from_no_answer() -> None:
    async with chat() as url, Network(settings(url)) as network:
        with pytest.raises(HandshakeRefused, match="404"):
            async with network.websocket(URL(url) / "nowhere"):
                pass
    async with Network(settings(url)) as network:
        with pytest.raises(NoAnswer, match="nothing listens") as caught:
            async with network.websocket(URL(url) / "websocket"):
                pass
        assert not isinstance(caught.value, HandshakeRefused)


async def test_a_redirected_handshake_is_refused_and_takes_no_header_along() -> None:
    asked: list[str | None] = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.headers.get("X-Key"))
        return web.Response()

    async with other_server(websocket=elsewhere) as other:

        async def lead_away(request: web.Request) -> web.Response:
            raise web.HTTPFound(f"{other}/websocket")

        async with (
            other_server(websocket=lead_away) as url,
            Network(settings(url, headers={"X-Key": "secret"})) as network,
        ):
            with pytest.raises(HandshakeRefused, match="302"):
                async with network.websocket(URL(url) / "websocket"):
                    pass
    assert asked == []


async def test_a_websocket_that_goes_on_instead_of_its_goodbye_is_cut() -> None:
    """The server never answers the close, and never is quiet for long."""
    is_cut = asyncio.Event()

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        transport = request.transport
        assert transport is not None
        while not transport.is_closing():
            transport.write(b"\x81\x01h")
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE / 10):
                    await hold(request)
                    return socket
        is_cut.set()
        return socket

    async with other_server(websocket=answer) as url, Network(settings(url)) as network, asyncio.timeout(GUARD):
        async with network.websocket(URL(url) / "websocket") as socket:
            assert (await socket.receive()).data == "h"
        await is_cut.wait()


async def test_a_message_without_end_is_not_kept() -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.transport is not None
        request.transport.write(b"\x81\x7f" + (1 << 40).to_bytes(8, "big") + bytes(1000))
        await hold(request)
        return socket

    async with (
        asyncio.timeout(GUARD),
        other_server(websocket=answer) as url,
        Network(settings(url)) as network,
        network.websocket(URL(url) / "websocket") as socket,
    ):
        message = await socket.receive()
    assert isinstance(message.data, Exception)
    assert isinstance(translate(message.data), TooLarge)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("", ""),
        ("http://[::1", ""),
        ("mailto:a", ""),
        ("/login?token=secret", "http://test"),
        ("https://user:secret@other:8443/x?token=secret", "https://other:8443"),
        ("http://other\x1b/", "http://other\\x1b"),
    ],
)
def test_a_redirect_is_told_by_its_origin_alone(location: str, shown: str) -> None:
    assert led_to(URL("http://test/chat"), location) == shown


def test_every_session_has_a_url_of_its_own() -> None:
    urls = {session_url(URL("http://test/chat")) for _ in range(100)}
    assert len(urls) == 100
    assert all(re.fullmatch(r"/chat/[0-9]{3}/doctor[0-9a-f]{16}", url.path) for url in urls)


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({}, ""),
        ({"Server": "nginx"}, "nginx"),
        ({"Via": "1.1 proxy"}, "1.1 proxy"),
        ({"Server": "\x1b[2J"}, "\\x1b[2J"),
    ],
)
def test_who_answered_is_named_as_far_as_it_tells(headers: dict[str, Any], name: str) -> None:
    assert server_name(headers) == name
