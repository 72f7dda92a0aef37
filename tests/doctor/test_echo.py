from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

import sockbridge
from sockbridge.doctor.echo import CARRIERS, check_echo
from sockbridge.doctor.findings import Cause, Status
from sockbridge.sockjs.framing import Message

from ..fakes import GUARD, serve
from .conftest import RecordingHandler, chat, place_of


class Changing(sockbridge.SessionHandler):
    """Sends the first message back, and others changed."""

    def __init__(self, change: Any) -> None:
        self.change = change
        self.count = 0

    async def on_message(self, session: sockbridge.Session, message: Message) -> None:
        self.count += 1
        if self.count == 1:
            session.send(message)
        else:
            self.change(session, message)


@pytest.mark.parametrize("name", CARRIERS)
async def test_messages_come_back_over_each_transport(name: str) -> None:
    async with chat() as url, place_of(url) as (network, place):
        found = await check_echo(network, place, name)
    assert found.status is Status.OK, found
    assert 0 < float(found.figures["round_trip_seconds"]) <= float(found.figures["slowest_seconds"])
    assert int(found.figures["large_bytes"]) > 250_000


async def test_a_small_large_message_is_sent_as_well() -> None:
    async with chat(max_message_size=1000) as url, place_of(url, large=900) as (network, place):
        assert (await check_echo(network, place, "xhr")).status is Status.OK


async def test_a_message_may_be_larger_than_what_our_client_takes_by_default() -> None:
    large = 5 * 1024 * 1024
    async with (
        chat(max_message_size=large, send_buffer_limit=4 * large) as url,
        place_of(url, large=large, timeout=GUARD) as (network, place),
    ):
        assert (await check_echo(network, place, "websocket")).status is Status.OK


async def test_an_application_that_does_not_echo_is_left_alone() -> None:
    handler = RecordingHandler()
    async with chat(handler) as url, place_of(url, timeout=0.2) as (network, place):
        found = await check_echo(network, place, "websocket")
    assert found.status is Status.SKIPPED
    assert "does not send back" in found.verdict
    assert len(handler.values("on_message")) == 1


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda session, message: session.send(message.upper() + "\x1b"), Cause.ECHO_WRONG),
        (lambda session, message: None, Cause.ECHO_WRONG),
        (lambda session, message: session.close(4000, "no"), Cause.SESSION_CLOSED),
        (lambda session, message: session.close(4000, "\x1b[2J\n\u202eno"), Cause.SESSION_CLOSED),
    ],
)
async def test_what_is_not_an_echo_is_a_fault(change: Any, cause: Cause) -> None:
    async with chat(Changing(change)) as url, place_of(url, timeout=0.3) as (network, place):
        found = await check_echo(network, place, "websocket")
    assert found.cause is cause
    assert found.verdict.isprintable()


class Failing(sockbridge.SessionHandler):
    """Fails at each message."""

    async def on_message(self, session: sockbridge.Session, message: Message) -> None:
        raise RuntimeError("no echo")


@pytest.mark.parametrize("name", CARRIERS)
async def test_an_application_that_fails_is_told_from_a_cut(name: str) -> None:
    async with chat(Failing()) as url, place_of(url) as (network, place):
        found = await check_echo(network, place, name)
    assert found.cause is Cause.SESSION_CLOSED
    assert "the application failed, or is no echo application" in found.verdict
    assert "1011 Internal error" in found.verdict


async def test_a_session_that_is_cut_is_something_else() -> None:
    def cut(session: sockbridge.Session, message: Message) -> None:
        for transport in transports:
            transport.abort()

    transports: list[asyncio.Transport] = []

    @web.middleware
    async def remember(request: web.Request, handler: Any) -> web.StreamResponse:
        assert request.transport is not None
        transports.append(request.transport)
        response: web.StreamResponse = await handler(request)
        return response

    app = web.Application(middlewares=[remember])
    sockbridge.mount(app, "/chat", Changing(cut))
    async with serve(app) as origin, place_of(f"{origin}/chat") as (network, place):
        assert (await check_echo(network, place, "websocket")).cause is Cause.CUT


async def test_a_transport_that_does_not_open_is_skipped() -> None:
    async with chat(transports=["xhr", "xhr_send"]) as url, place_of(url) as (network, place):
        assert (await check_echo(network, place, "eventsource")).status is Status.SKIPPED
