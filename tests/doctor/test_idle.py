from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import WSCloseCode, web
from yarl import URL

import sockbridge
from sockbridge.doctor.findings import Cause, Finding, Status
from sockbridge.doctor.idle import HOLDERS, check_idle
from sockbridge.doctor.probe import Network
from sockbridge.doctor.reach import Place

from .conftest import chat, hold, other_server, place_of, settings


class Closing(sockbridge.SessionHandler):
    """Says goodbye at once."""

    async def on_connected(self, session: sockbridge.Session) -> None:
        session.close(4000, "go \x1b away")


async def idle_at(name: str, answer: Any, idle: float = 0.2) -> Finding:
    async with other_server(**{name: answer}) as url, Network(settings(url, idle=idle)) as network:
        return await check_idle(network, Place(URL(url), URL(url), True, False, None, ""), name)


@pytest.mark.parametrize("name", HOLDERS)
async def test_a_connection_that_is_left_alone_lives(name: str) -> None:
    async with chat() as url, place_of(url, idle=0.2) as (network, place):
        found = await check_idle(network, place, name)
        assert (found.status, found.figures["heartbeats"]) == (Status.OK, 0)


@pytest.mark.parametrize("response_limit", [1, 128 * 1024])
@pytest.mark.parametrize("name", HOLDERS)
async def test_heartbeats_are_counted_and_measured(name: str, response_limit: int) -> None:
    """Also where each ends an answer, and the next is asked for."""
    async with (
        chat(heartbeat_delay=0.1, response_limit=response_limit) as url,
        place_of(url, idle=0.5) as (network, place),
    ):
        found = await check_idle(network, place, name)
        assert found.status is Status.OK, found
        assert int(found.figures["heartbeats"]) >= 2
        assert 0.05 < float(found.figures["heartbeat_seconds"]) < 0.45


@pytest.mark.parametrize("name", HOLDERS)
async def test_a_goodbye_of_the_application_is_no_cut(name: str) -> None:
    async with chat(Closing()) as url, place_of(url, idle=5.0) as (network, place):
        found = await check_idle(network, place, name)
        assert (found.status, found.cause) == (Status.WARNING, Cause.SESSION_CLOSED)
        assert "4000" in found.verdict
        assert "\x1b" not in found.verdict


async def test_a_websocket_that_is_cut() -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("o")
        await socket.send_str("h")
        assert request.transport is not None
        request.transport.close()
        return socket

    found = await idle_at("websocket", answer, 5.0)
    assert found.cause is Cause.IDLE_CUT
    assert "after heartbeats" in found.verdict


async def test_a_message_that_is_too_large_is_not_quiet() -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("o")
        assert request.transport is not None
        request.transport.write(b"\x81\x7f" + (1 << 40).to_bytes(8, "big") + bytes(1000))
        await hold(request)
        return socket

    found = await idle_at("websocket", answer, 5.0)
    assert found.status is Status.SKIPPED
    assert "4 MiB" in found.verdict


async def test_a_websocket_that_something_closes() -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("o")
        await socket.close(code=WSCloseCode.GOING_AWAY, message=b"bye\x1b")
        return socket

    found = await idle_at("websocket", answer, 5.0)
    assert found.cause is Cause.IDLE_CUT
    assert "closed (1001 bye\\x1b)" in found.verdict


async def test_a_stream_that_is_cut() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"h" * 2048 + b"\no\n")
        assert request.transport is not None
        request.transport.close()
        return response

    found = await idle_at("xhr_streaming", answer, 5.0)
    assert found.cause is Cause.IDLE_CUT
    assert "before a heartbeat came" in found.verdict


@pytest.mark.parametrize("status", [502, 504])
async def test_a_poll_that_something_else_answers_is_cut(status: int) -> None:
    answers = iter(["o\n"])

    async def answer(request: web.Request) -> web.Response:
        text = next(answers, None)
        return web.Response(text=text) if text else web.Response(status=status)

    found = await idle_at("xhr", answer, 5.0)
    assert found.cause is Cause.IDLE_CUT
    assert str(status) in found.verdict


async def test_a_stream_that_ends_without_a_frame_is_cut() -> None:
    answers = iter(["o\n"])

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=next(answers, ""))

    assert (await idle_at("xhr_streaming", answer, 5.0)).cause is Cause.IDLE_CUT


@pytest.mark.parametrize("name", HOLDERS)
async def test_what_does_not_open_is_not_held(name: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    assert (await idle_at(name, answer)).status is Status.SKIPPED
    assert (await idle_at(name, hold, 0.05)).status is Status.SKIPPED


async def test_a_server_that_answers_polls_at_once_does_not_keep_us_busy() -> None:
    """A frame that is none ends it."""
    count = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.Response(text="")

    found = await idle_at("xhr", answer, 0.5)
    assert count == 1
    assert found.status is Status.SKIPPED


@pytest.mark.parametrize("frame", ["o", "h", 'a["tick"]'])
async def test_a_server_that_sends_all_the_time_is_not_quiet(frame: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{frame}\n")

    found = await idle_at("xhr", answer, 60.0)
    assert found.status is Status.SKIPPED
    assert "not quiet" in found.verdict


async def test_silence_for_longer_than_heartbeats_take_is_a_warning() -> None:
    async with chat(heartbeat_delay=0) as url, place_of(url, idle=1.2, heartbeat_delay=0.1) as (network, place):
        found = await asyncio.gather(*(check_idle(network, place, name) for name in HOLDERS))
    assert [one.cause for one in found] == [Cause.NO_HEARTBEATS] * 3
