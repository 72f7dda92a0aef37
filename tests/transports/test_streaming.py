"""Answers that go on: chunks, the limit, second receivers, old HTTP."""

from __future__ import annotations

import asyncio
import json

import pytest

from sockbridge.sockjs.framing import Close, Message
from sockbridge.sockjs.session import Session

from ..fakes import RecordingHandler
from .wire import HTTP, STREAMING, Client, Wire, connected, echo_server, until

streaming = pytest.mark.parametrize("name", STREAMING)


@streaming
async def test_each_frame_is_a_chunk_that_leaves_at_once(name: str) -> None:
    """Prelude, open frame, messages."""
    async with echo_server() as (url, _, _), connected(url, name) as (client,):
        for message in ("one", "two % %20\r\n\0", "</script><script>", "\u2028\ud83d\ude00 \U0001f600"):
            await client.send(message)
            (received,) = await client.messages()
            assert received.encode("utf-16", "surrogatepass") == message.encode("utf-16", "surrogatepass")


@streaming
async def test_a_stream_ends_after_the_frame_that_passes_the_limit_and_the_session_goes_on(name: str) -> None:
    """sockjs-protocol, "test_response_limit"; what waits comes with the next request."""
    async with (
        echo_server(RecordingHandler(), response_limit=1000) as (url, endpoint, handler),
        connected(url, name) as (client,),
    ):
        await handler.wait_for("on_connected")
        (session,) = endpoint.sessions
        for number in range(20):
            session.send(f"{number:02}" + "x" * 300)
            await asyncio.sleep(0)  # a frame of its own for each
        received: list[str] = []
        streams = 1
        while len(received) < 20:
            frame = await client.frame()
            if frame == "":
                streams += 1
                await client.begin()
            else:
                received += json.loads(frame[1:])
        assert [message[:2] for message in received] == [f"{number:02}" for number in range(20)]
        assert streams >= 2
        assert session.is_open


@streaming
async def test_one_message_over_the_limit_comes_whole(name: str) -> None:
    async with echo_server(response_limit=1000) as (url, _, _), connected(url, name) as (client,):
        await client.send("x" * 5000)
        assert await client.messages() == ["x" * 5000]
        assert await client.frame() == ""


@pytest.mark.parametrize("second", HTTP)
@pytest.mark.parametrize("first", HTTP)
async def test_a_second_receiver_is_told_2010_and_the_first_stays(first: str, second: str) -> None:
    async with echo_server() as (url, _, handler), connected(url, first) as (client,):
        intruder = Client(url, second, id=client.id)
        await intruder.begin()
        assert await intruder.frame() == 'c[2010,"Another connection still open"]'
        if second in STREAMING:
            assert await intruder.frame() == ""
        await intruder.close()
        await client.send("still here")
        assert await client.messages() == ["still here"]
        assert "on_closed" not in handler.names()


@streaming
async def test_old_http_gets_no_chunks_and_an_end_of_the_connection(name: str) -> None:
    """HTTP/1.0, keep-alive or not."""
    async with echo_server() as (url, endpoint, handler):
        wire = await Wire.open(url)
        client = Client(url, name)
        method = "POST" if name == "xhr_streaming" else "GET"
        wire.request(method, f"{client.path}/{name}?c=x", headers={"Connection": "keep-alive"}, version="1.0")
        head = await wire.read_head()
        assert "Transfer-Encoding" not in head.headers
        assert "Content-Length" not in head.headers
        await handler.wait_for("on_connected")
        next(endpoint.sessions).close()
        body = await wire.read_end()
        assert b"Go away!" in body
        await wire.close()


@streaming
async def test_heartbeats_keep_a_quiet_stream_alive(name: str) -> None:
    async with echo_server(heartbeat_delay=0.05) as (url, _, handler), connected(url, name) as (client,):
        assert [await client.frame() for _ in range(3)] == ["h"] * 3
        assert "on_closed" not in handler.names()


@pytest.mark.parametrize("name", HTTP)
async def test_a_close_inside_on_connected_follows_the_open_frame(name: str) -> None:
    class Closer(RecordingHandler):
        async def on_connected(self, session: Session) -> None:
            await super().on_connected(session)
            session.send("first")
            session.close(3000, "Go away!")

    async with echo_server(Closer(), disconnect_delay=0.1) as (url, endpoint, handler):
        client = Client(url, name)
        await client.begin()
        assert await client.frame() == "o"
        assert await client.frame() == 'a["first"]'
        assert await client.frame() == 'c[3000,"Go away!"]'
        assert await handler.wait_for("on_closed") == [Close(3000, "Go away!")]
        await client.close()
        await until(lambda: len(endpoint) == 0)


@pytest.mark.parametrize("late", HTTP)
async def test_the_true_close_code_reaches_late_receivers_until_the_session_is_forgotten(late: str) -> None:
    """Each that asks within ``disconnect_delay``; a fixed deadline, so asking does not prolong it."""
    async with echo_server(disconnect_delay=0.3) as (url, endpoint, handler), connected(url, "xhr") as (client,):
        await handler.wait_for("on_connected")
        next(endpoint.sessions).close(3456, "enough")
        assert await client.frame() == 'c[3456,"enough"]'
        receiver = Client(url, late, id=client.id)
        for _ in range(2):
            await receiver.begin()
            assert await receiver.frame() == 'c[3456,"enough"]'
        await receiver.close()
        start = asyncio.get_running_loop().time()
        while True:
            poll = Client(url, "xhr", id=client.id)
            await poll.begin()
            frame = await poll.frame()
            await poll.close()
            if frame == "o":
                break
            assert frame == 'c[3456,"enough"]'
            assert asyncio.get_running_loop().time() - start < 1


async def test_a_session_may_go_from_one_transport_to_another() -> None:
    async with echo_server(response_limit=1) as (url, endpoint, handler):
        client = Client(url, "xhr_streaming")
        await client.begin()
        assert await client.frame() == "o"
        assert await client.frame() == ""
        await handler.wait_for("on_connected")
        (session,) = endpoint.sessions
        session.send("for whoever comes")
        await client.close()
        for name in ("eventsource", "xhr", "htmlfile", "jsonp"):
            other = Client(url, name, id=client.id)
            await other.begin()
            assert await other.messages() == ["for whoever comes"]
            assert session.transport == name
            if name in STREAMING:
                assert await other.frame() == ""
            await other.close()
            session.send("for whoever comes")


async def echo_as_coroutine(session: Session) -> None:
    async for message in session:
        session.send(message)


@streaming
async def test_a_coroutine_echoes_over_a_stream(name: str) -> None:
    messages: list[Message] = [str(number) for number in range(50)]
    async with echo_server(echo_as_coroutine) as (url, _, _), connected(url, name) as (client,):
        await client.send(*map(str, messages))
        assert await client.messages(50) == messages
