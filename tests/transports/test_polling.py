"""Long polls: one frame each, and clients that leave between or during them."""

from __future__ import annotations

import asyncio

import pytest

from sockbridge.errors import ConnectionLost, WriteTimeout
from sockbridge.sockjs.framing import Close

from ..fakes import RecordingHandler
from .wire import POLLING, Client, Wire, connected, echo_server, until

polling = pytest.mark.parametrize("name", POLLING)


@polling
async def test_what_is_sent_between_two_polls_is_kept(name: str) -> None:
    async with echo_server(RecordingHandler()) as (url, endpoint, handler):
        client = Client(url, name)
        await client.begin()
        assert await client.frame() == "o"
        await handler.wait_for("on_connected")
        (session,) = endpoint.sessions
        for number in range(8):
            session.send(str(number))
        assert await client.frame() == 'a["0","1","2","3","4","5","6","7"]'
        await client.close()


@polling
async def test_a_backlog_above_the_response_limit_comes_in_several_polls(name: str) -> None:
    async with echo_server(RecordingHandler(), response_limit=1000) as (url, endpoint, handler):
        client = Client(url, name)
        await client.begin()
        assert await client.frame() == "o"
        await handler.wait_for("on_connected")
        for number in range(20):
            next(endpoint.sessions).send(f"{number:02}" + "x" * 300)
        assert [message[:2] for message in await client.messages(20)] == [f"{number:02}" for number in range(20)]
        await client.close()


@polling
async def test_messages_for_a_client_that_left_while_it_polled_are_counted_as_lost(name: str) -> None:
    """Whoever comes next is told 1002."""
    async with echo_server(RecordingHandler()) as (url, endpoint, handler):
        client = await Client(url, name).connect()
        await handler.wait_for("on_connected")
        (session,) = endpoint.sessions
        await until(lambda: session.receiver is not None)  # the second poll has come
        client.wire.reset()
        await until(lambda: session.receiver is None or not session.receiver.is_connected)
        session.send("lost")
        (error,) = await handler.wait_for("on_transport_error")
        assert type(error) is ConnectionLost
        assert session.undelivered == 1
        again = Client(url, name, id=client.id)
        await again.begin()
        assert await again.frame() == 'c[1002,"Connection interrupted"]'
        await again.close()


@polling
async def test_a_client_that_stays_away_is_told_to_the_handler_as_1006(name: str) -> None:
    async with echo_server(disconnect_delay=0.1) as (url, endpoint, handler):
        client = Client(url, name)
        await client.begin()
        assert await client.frame() == "o"
        await client.close()
        assert await handler.wait_for("on_closed") == [Close(1006, "Client did not come back", clean=False)]
        assert handler.names() == ["on_start", "on_connected", "on_closed"]
        await until(lambda: len(endpoint) == 0)


@polling
async def test_a_heartbeat_answers_a_quiet_poll(name: str) -> None:
    async with echo_server(heartbeat_delay=0.05) as (url, _, _), connected(url, name) as (client,):
        for _ in range(3):
            assert await client.frame() == "h"


@polling
async def test_polls_in_a_row_on_one_connection_never_meet_the_one_before(name: str) -> None:
    """The session is let go before the answer leaves, so there is no 2010 for an honest client."""
    async with echo_server() as (url, _, _), connected(url, name) as (client,):
        for number in range(100):
            await client.send(str(number))
            assert await client.frame() == f'a["{number}"]'
            client.listen()


async def test_a_poll_that_is_sent_before_the_last_was_answered_waits_its_turn() -> None:
    """Pipelined on one connection."""
    async with echo_server() as (url, _, _):
        wire, client = await Wire.open(url), Client(url, "xhr")
        wire.request("POST", f"{client.path}/xhr")
        wire.request("POST", f"{client.path}/xhr")
        await wire.read_head()
        assert await wire.read_body() == b"o\n"
        await client.send("x")
        await wire.read_head()
        assert await wire.read_body() == b'a["x"]\n'
        await wire.close()


async def test_two_first_requests_at_once_open_one_session() -> None:
    """``authenticate`` takes its time; the second finds what the first has opened."""
    gate, asked = asyncio.Event(), []

    async def authenticate(request: object) -> str:
        asked.append(request)
        await gate.wait()
        return "somebody"

    async with echo_server(authenticate=authenticate) as (url, endpoint, handler):
        clients = [Client(url, "xhr", id="same") for _ in range(2)]
        for client in clients:
            await client.begin()
        await until(lambda: len(asked) == 2)
        gate.set()
        assert await clients[0].frame() == "o"
        await handler.wait_for("on_connected")
        next(endpoint.sessions).send("x")
        assert await clients[1].frame() == 'a["x"]'
        assert handler.names() == ["on_start", "on_connected"]
        for client in clients:
            await client.close()


LARGE = 20 * 2**20
"""Bytes that no kernel's buffers take."""


@polling
async def test_a_large_answer_that_the_client_does_not_take_ends_the_session(name: str) -> None:
    """``write_timeout`` for each 32 KiB of it; what was taken for it is lost."""
    options = {"send_buffer_limit": 2 * LARGE, "write_timeout": 0.0005}
    async with (
        echo_server(RecordingHandler(), **options) as (url, endpoint, handler),
        connected(url, name, receive_buffer=4096),
    ):
        await handler.wait_for("on_connected")
        next(endpoint.sessions).send("x" * LARGE)
        (error,) = await handler.wait_for("on_transport_error")
        assert type(error) is WriteTimeout
        await handler.wait_for("on_closed")


@polling
async def test_a_client_that_leaves_in_the_middle_of_a_large_answer_is_told(name: str) -> None:
    async with (
        echo_server(RecordingHandler(), send_buffer_limit=2 * LARGE) as (url, endpoint, handler),
        connected(url, name, receive_buffer=4096) as (client,),
    ):
        await handler.wait_for("on_connected")
        next(endpoint.sessions).send("x" * LARGE)
        await client.wire.read_head()
        client.wire.reset()
        (error,) = await handler.wait_for("on_transport_error")
        assert type(error) is ConnectionLost
        await handler.wait_for("on_closed")


@polling
async def test_a_large_answer_arrives_whole(name: str) -> None:
    async with echo_server(RecordingHandler()) as (url, endpoint, handler), connected(url, name) as (client,):
        await handler.wait_for("on_connected")
        next(endpoint.sessions).send("x" * 900_000)
        assert await client.messages() == ["x" * 900_000]
        next(endpoint.sessions).send("next")
        assert await client.messages() == ["next"]
