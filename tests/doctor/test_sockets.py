from __future__ import annotations

from typing import Any

import pytest
from aiohttp import WSCloseCode, web
from yarl import URL

from sockbridge.doctor.findings import Cause, Finding, Status
from sockbridge.doctor.probe import Network
from sockbridge.doctor.reach import Place
from sockbridge.doctor.sockets import check_raw_websocket, check_websocket

from .conftest import chat, hold, other_server, place_of, settings


async def socket_at(answer: Any, *, raw: bool = False, offered: bool = True) -> Finding:
    """What is found where ``answer`` answers handshakes."""
    async with other_server(websocket=answer) as url, Network(settings(url, timeout=0.3)) as network:
        place = Place(URL(url), URL(url), offered, False, None, "")
        return await (check_raw_websocket if raw else check_websocket)(network, place)


def refuses(status: int, text: str = "", **headers: str) -> Any:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers=headers)

    return answer


def sends(*texts: str, then_close: bool = False) -> Any:
    """A websocket that sends ``texts`` and answers no ping."""

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        for text in texts:
            await socket.send_str(text)
        if then_close:
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"bye\x1b")
        async for _ in socket:
            pass
        return socket

    return answer


async def test_ours_open_and_answer_a_ping() -> None:
    async with chat() as url, place_of(url) as (network, place):
        for check in (check_websocket, check_raw_websocket):
            found = await check(network, place)
            assert found.status is Status.OK, found
            assert float(found.figures["ping_seconds"]) > 0


@pytest.mark.parametrize("raw", [False, True])
async def test_none_is_tried_where_the_server_has_none(raw: bool) -> None:
    found = await socket_at(refuses(404), raw=raw, offered=False)
    assert found.status is Status.SKIPPED


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "Not a valid websocket request.\n"),
        (400, 'Can "Upgrade" only to "WebSocket".'),
        (426, "Upgrade Required"),
        (400, "websocket: the client is not using the websocket protocol: 'upgrade' token not found"),
    ],
)
async def test_a_handshake_that_lost_its_upgrade_header(status: int, text: str, raw: bool) -> None:
    found = await socket_at(refuses(status, text), raw=raw)
    assert found.cause is Cause.UPGRADE_STRIPPED
    assert found.figures["status"] == status


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 500, 502])
async def test_any_other_refusal_is_told_with_who_said_it(status: int) -> None:
    found = await socket_at(refuses(status, "No.", Server="wall"))
    assert found.cause is Cause.WEBSOCKET_REFUSED
    assert f"{status} (No.) by wall" in found.verdict


@pytest.mark.parametrize("raw", [False, True])
async def test_a_redirect_is_refused_as_browsers_do_and_says_whereto(raw: bool) -> None:
    found = await socket_at(refuses(307, Location="http://user:secret@other.example/login?token=secret"), raw=raw)
    assert found.cause is Cause.WEBSOCKET_REFUSED
    assert "307" in found.verdict
    assert "leads to http://other.example," in found.verdict
    assert "secret" not in found.verdict


@pytest.mark.parametrize("raw", [False, True])
async def test_a_message_that_is_too_large_is_no_fault_of_the_way(raw: bool) -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await socket.send_str("o")
        assert request.transport is not None
        request.transport.write(b"\x81\x7f" + (1 << 40).to_bytes(8, "big") + bytes(1000))
        await hold(request)
        return socket

    found = await socket_at(answer, raw=raw)
    assert found.status is Status.SKIPPED
    assert "4 MiB" in found.verdict


async def test_a_plain_websocket_may_be_missing() -> None:
    assert (await socket_at(refuses(404), raw=True)).status is Status.SKIPPED


async def test_a_handshake_with_a_wrong_key_is_refused() -> None:
    headers = {"Upgrade": "websocket", "Connection": "upgrade", "Sec-WebSocket-Accept": "d3Jvbmc="}
    found = await socket_at(refuses(101, **headers))
    assert found.cause is Cause.WEBSOCKET_REFUSED


async def test_a_handshake_without_an_answer_is_silent() -> None:
    assert (await socket_at(hold)).cause is Cause.WEBSOCKET_SILENT


async def test_a_websocket_without_a_first_frame_is_silent() -> None:
    assert (await socket_at(sends())).cause is Cause.WEBSOCKET_SILENT


@pytest.mark.parametrize("raw", [False, True])
async def test_a_websocket_that_answers_no_ping_is_silent(raw: bool) -> None:
    found = await socket_at(sends("o"), raw=raw)
    assert found.cause is Cause.WEBSOCKET_SILENT
    assert "ping" in found.verdict


@pytest.mark.parametrize("text", ["", "a[]", "welcome"])
async def test_another_first_frame_is_not_sockjs(text: str) -> None:
    assert (await socket_at(sends(text))).cause is Cause.NOT_SOCKJS


@pytest.mark.parametrize("raw", [False, True])
async def test_a_websocket_that_is_closed_at_once_says_how(raw: bool) -> None:
    found = await socket_at(sends(then_close=True), raw=raw)
    assert found.cause is Cause.CUT
    assert "1001 bye\\x1b" in found.verdict


async def test_a_websocket_that_is_cut_is_a_fault() -> None:
    async def cut(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.transport is not None
        request.transport.abort()
        return socket

    assert (await socket_at(cut)).cause is Cause.CUT


async def test_a_session_that_is_ended_at_once_says_why() -> None:
    found = await socket_at(sends('c[1012,"Service restart"]'))
    assert found.cause is Cause.SESSION_CLOSED
    assert "Service restart" in found.verdict


async def test_a_frame_that_breaks_the_protocol_is_a_fault() -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.transport is not None
        request.transport.write(b"\xff\xff\xff")
        async for _ in socket:
            pass
        return socket

    assert (await socket_at(answer)).cause is Cause.CUT
    assert (await socket_at(answer, raw=True)).cause is Cause.CUT


async def test_messages_before_the_answer_to_a_ping_do_no_harm() -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.ping()
        await socket.send_str("o")
        await socket.send_str('a["hello"]')
        async for _ in socket:
            pass
        return socket

    assert (await socket_at(answer)).status is Status.OK


async def test_a_refusal_that_cannot_be_read_is_told_by_its_status() -> None:
    answers = iter([403])

    async def answer(request: web.Request) -> web.Response:
        status = next(answers, None)
        if status is None:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=status or 200)

    found = await socket_at(answer)
    assert found.cause is Cause.WEBSOCKET_REFUSED
    assert "403" in found.verdict
