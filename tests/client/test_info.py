"""What ``/info`` says, and where it leads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
import pytest
from yarl import URL

from sockbridge.client.info import ServerInfo, fetch_info
from sockbridge.errors import ConnectFailed, NotSockJS
from tests.fakes import GUARD
from tests.transports.wire import echo_server

from .scripted import INFO, Request, Script, scripted


async def ask(script: Script, headers: Mapping[str, str] = {}, patience: float = GUARD) -> tuple[ServerInfo, str]:
    """What is learned from a server, and its URL."""
    async with scripted(script, info=None) as server, aiohttp.ClientSession() as http:
        return await fetch_info(http, URL(server.url), headers, patience), server.url


def saying(body: bytes, status: int = 200, headers: str = "") -> Script:
    async def script(request: Request) -> None:
        request.answer(body, status=status, headers=headers)

    return script


NO_SOCKJS = [
    b"",
    b"<!DOCTYPE html><html>",
    b"Welcome to SockJS!\n",
    b"null",
    b"[]",
    b"[1,2]",
    b'"x"',
    b"{}",
    b'{"status":"ok"}',
    b'{"websocket":"yes"}',
    b'{"websocket":true',
    b'{"websocket":true,"base_url":5}',
    b'{"websocket":true,"base_url":"ftp://host/"}',
    b'{"websocket":true,"base_url":"http://[bad"}',
    b'{"websocket":true,"base_url":"http://a..b/"}',
    b'{"websocket":true,"base_url":"javascript:alert(1)"}',
    b'{"entropy":' + b"[" * 50_000,
    b'{"websocket":true,"x":"' + b"x" * 100_000 + b'"}',
    b"\xff\xfe",
]


@pytest.mark.parametrize("body", NO_SOCKJS, ids=lambda body: repr(body[:40]))
async def test_what_no_sockjs_server_says_is_refused(body: bytes) -> None:
    with pytest.raises(NotSockJS) as caught:
        await ask(saying(body))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("status", "kind"), [(404, NotSockJS), (410, NotSockJS), (204, NotSockJS), (302, NotSockJS)])
async def test_another_answer_than_200_is_no_sockjs(status: int, kind: type[ConnectFailed]) -> None:
    with pytest.raises(kind, match=f"answered {status} to /info: is there a SockJS server under this prefix"):
        await ask(saying(b"", status))


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (401, "wants a login"),
        (403, "wants a login"),
        (500, "not serve us now"),
        (503, "not serve us now"),
        (429, "not serve us now"),
    ],
)
async def test_a_server_that_does_not_serve_us_may_be_sockjs(status: int, text: str) -> None:
    with pytest.raises(ConnectFailed, match=rf"{status}.*{text}|{text} \({status}\)") as caught:
        await ask(saying(INFO, status))
    assert not isinstance(caught.value, NotSockJS)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
        b"HTTP/9.9 abc\r\n\r\n",
    ],
    ids=lambda answer: repr(answer[:40]),
)
async def test_what_is_no_http_cannot_be_reached(answer: bytes) -> None:
    async def script(request: Request) -> None:
        request.writer.write(answer)
        await request.writer.drain()
        request.writer.close()

    with pytest.raises(ConnectFailed, match="cannot be reached: ") as caught:
        await ask(script)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
async def test_a_server_that_says_nothing_is_given_up(head: bytes) -> None:
    async def script(request: Request) -> None:
        request.writer.write(head)
        await asyncio.Event().wait()

    with pytest.raises(ConnectFailed, match=r"did not answer within 0\.05 seconds"):
        await ask(script, patience=0.05)


async def test_our_own_server_is_understood() -> None:
    async with echo_server(websocket=False, jsessionid=True) as (url, _, _), aiohttp.ClientSession() as http:
        info = await fetch_info(http, URL(url), {})
    assert (str(info.url), info.websocket, info.cookie_needed) == (url, False, True)
    assert 0 < info.round_trip < GUARD


async def test_an_answer_may_come_in_pieces() -> None:
    async def script(request: Request) -> None:
        request.begin()
        for byte in INFO:
            request.chunk(bytes([byte]))
            await asyncio.sleep(0)
        request.chunk(b"")

    info, url = await ask(script)
    assert str(info.url) == url
    assert info.websocket


async def test_no_cache_has_the_answer() -> None:
    asked: list[str] = []

    async def script(request: Request) -> None:
        asked.append(request.path)
        request.answer(INFO)

    await ask(script)
    await ask(script)
    assert len(set(asked)) == 2


# Redirects.


async def test_a_redirect_leads_to_another_place_of_the_same_server() -> None:
    async def script(request: Request) -> None:
        if request.path.startswith("/echo/"):
            request.answer(status=301, headers="Location: /new/place/info?x=y\r\n")
        else:
            assert request.headers["x-key"] == "k"
            assert "x=y" in request.path
            request.answer(INFO)

    info, url = await ask(script, {"X-Key": "k"})
    assert str(info.url) == url.replace("/echo", "/new/place?x=y")


async def test_headers_do_not_follow_a_redirect_to_another_origin() -> None:
    async with scripted(saying(INFO), info=None) as elsewhere:
        location = f"Location: {elsewhere.url}/info\r\n"
        info, _ = await ask(saying(b"", 307, location), {"X-Key": "secret", "Authorization": "Bearer secret"})
    assert str(info.url) == elsewhere.url
    assert "secret" not in str(elsewhere.requests[0].headers)


@pytest.mark.parametrize("location", ["ftp://host/info", "http://[bad/info", "mailto:x", "http://a..b/info"])
async def test_a_redirect_to_nowhere_is_refused(location: str) -> None:
    with pytest.raises(NotSockJS, match=r"leads to .* which is no http URL"):
        await ask(saying(b"", 302, f"Location: {location}\r\n"))


async def test_redirects_in_a_circle_are_refused() -> None:
    with pytest.raises(NotSockJS, match="leads from one URL to the next"):
        await ask(saying(b"", 302, "Location: /echo/info\r\n"))


async def test_a_login_page_is_named_with_where_it_is() -> None:
    async def script(request: Request) -> None:
        if request.path.startswith("/echo/"):
            request.answer(status=302, headers="Location: /login/page\r\n")
        else:
            request.answer(b"<html>")

    with pytest.raises(NotSockJS, match=r"/echo, which leads to http://.*/login, answered b'<html>'"):
        await ask(script)


# base_url.


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("/other/", "http://host/other"),
        ("http://other:81/x/y/", "http://other:81/x/y"),
        ("https://other", "https://other/"),
        ("//other/x", "http://other/x"),
        ("/other?key=1", "http://host/other?key=1"),
        ("", "http://host/echo"),
    ],
)
async def test_base_url_says_where_the_transports_are(base_url: str, url: str) -> None:
    info, asked = await ask(saying(b'{"websocket":true,"base_url":"%b"}' % base_url.encode()))
    assert str(info.url) == url.replace("http://host", str(URL(asked).origin()))


# Time.


@pytest.mark.parametrize(("round_trip", "patience"), [(0.01, 0.62), (0.1, 0.8), (0.2, 1.6), (1.0, 8.0)])
def test_what_needs_two_round_trips_may_take_what_sockjs_client_grants(round_trip: float, patience: float) -> None:
    info = ServerInfo(URL("http://host/"), True, False, round_trip)
    assert info.patience(2) == pytest.approx(patience)
