"""Websockets: pings as receipts, odd servers, plain ones."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest
from aiohttp import WSMsgType, web

import sockbridge
from sockbridge.client import connect
from sockbridge.errors import ConnectFailed, SessionClosed, SessionLost
from sockbridge.sockjs.framing import Message
from tests.fakes import GUARD, RecordingHandler, serve
from tests.transports.wire import echo_server

from .scripted import BINARY, CLOSE, PING, PONG, TEXT, Request, Scripted, scripted


class Plain(RecordingHandler):
    """Says goodbye when told to; sends bytes back as bytes."""

    async def on_message(self, session: sockbridge.Session, message: Message) -> None:
        self.record("on_message", session, message)
        if message == "farewell":
            session.close(4001, "enough")
        else:
            session.send(message)


def opening(*frames: tuple[bytes, int], hang_up: bool = False) -> AsyncIterator[Scripted]:
    """A server that opens, sends ``frames``, and reads on until the client closes."""

    async def script(request: Request) -> None:
        request.upgrade()
        for payload, opcode in frames:
            request.send_frame(payload, opcode)
        if hang_up:
            await request.writer.drain()
            request.writer.close()
            return
        while (await request.read_frame())[0] != CLOSE:
            pass
        request.send_frame(struct.pack("!H", 1000), CLOSE)

    return scripted(script)  # type: ignore[return-value]  # a context manager


FAULTS = [
    ([(b"o", TEXT), (b"nonsense", TEXT)], "does not speak SockJS here: b'nonsense'"),
    ([(b"o", TEXT), (b"", TEXT)], "the answer was empty"),
    ([(b"o", TEXT), (b"x", BINARY)], "binary message, which SockJS has not"),
    ([(b"o", TEXT), (b"o", TEXT)], "lost the session, and opened another"),
    ([(b"o", TEXT), (b"x" * 2000, TEXT)], r"larger than max_frame_size \(1000 bytes\)"),
    ([(b"o", TEXT), (b"x", 3)], "broke the websocket protocol"),
    ([(b"o", TEXT), (b'a["\xff"]', TEXT)], "does not speak SockJS"),
    ([(b"o", TEXT), (struct.pack("!H", 1001) + b"bye", CLOSE)], r"the websocket was closed \(1001 bye\)"),
    ([(b"o", TEXT), (b"", CLOSE)], r"the websocket was closed \(1005\)"),
    ([(b"o", TEXT), (struct.pack("!H", 77), CLOSE)], "broke the websocket protocol"),
]


@pytest.mark.parametrize(("frames", "text"), FAULTS, ids=[text for _, text in FAULTS])
async def test_a_server_that_breaks_the_rules_loses_the_session(
    frames: list[tuple[bytes, int]], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        opening(*frames) as server,  # type: ignore[attr-defined]
        connect(server.url, transports=["websocket"], max_frame_size=1000, close_timeout=0.1) as session,
    ):
        async with asyncio.timeout(GUARD):
            with pytest.raises(SessionLost, match=text):
                await session.receive()
    assert not caplog.records


@pytest.mark.parametrize("reset", [True, False])
async def test_a_cut_connection_loses_the_session_after_what_came(reset: bool) -> None:
    async def script(request: Request) -> None:
        request.upgrade()
        request.send_frame(b"o")
        request.send_frame(b'a["1","2"]')
        await request.read_frame()
        if reset:
            request.reset()
        else:
            request.writer.close()

    async with scripted(script) as server, connect(server.url, transports=["websocket"]) as session:
        assert await session.receive() == "1"
        await session.send("x")
        assert await session.receive() == "2"
        async with asyncio.timeout(GUARD):
            with pytest.raises(SessionLost, match="cut") as caught:
                await session.receive()
        assert caught.value.in_doubt == ("x",)


REFUSALS = [
    ([(b'c[1001,"later"]', TEXT)], r"refused the session \(1001 later\)"),
    ([(b'a["x"]', TEXT)], "messages before it opened"),
    ([(b"hello", TEXT)], "does not speak SockJS"),
    ([(struct.pack("!H", 1013), CLOSE)], "1013"),
]


@pytest.mark.parametrize(("frames", "text"), REFUSALS, ids=[text for _, text in REFUSALS])
async def test_a_session_that_does_not_open_says_why(frames: list[tuple[bytes, int]], text: str) -> None:
    async with opening(*frames) as server:  # type: ignore[attr-defined]
        with pytest.raises(ConnectFailed, match=text):
            await connect(server.url, transports=["websocket"], close_timeout=0.1)


async def test_pings_are_answered_even_before_the_session_is_open() -> None:
    async def script(request: Request) -> None:
        request.upgrade()
        for payload in (b"first", b"second"):
            request.send_frame(payload, PING)
            assert await request.read_frame() == (PONG, payload)
            request.send_frame(b"o")
        await request.read_frame()

    async with scripted(script) as server:
        session = await connect(server.url, transports=["websocket"], close_timeout=0.1)
        async with asyncio.timeout(GUARD):
            with pytest.raises(SessionLost, match="opened another"):  # so the second ping was answered as well
                await session.receive()
        await session.close()


async def test_a_message_is_in_doubt_until_the_ping_behind_it_is_answered() -> None:
    pings: asyncio.Queue[bytes] = asyncio.Queue()
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(request: Request) -> None:
        request.upgrade()
        request.send_frame(b"o")
        answering = asyncio.create_task(answer(request))
        try:
            while True:
                opcode, payload = await request.read_frame()
                if opcode == PING:
                    pings.put_nowait(payload)
        finally:
            answering.cancel()

    async def answer(request: Request) -> None:
        while True:
            request.send_frame(await answers.get(), PONG)

    async with scripted(script) as server, asyncio.timeout(GUARD):
        session = await connect(server.url, transports=["websocket"], close_timeout=0.1)
        await session.send("1")
        first = await pings.get()
        await session.send("2")
        await session.send("3")
        for wrong in (b"", b"0", b"99", b"-1", first + b" "):
            answers.put_nowait(wrong)  # not asked for
        answers.put_nowait(first)
        second = await pings.get()  # one at a time
        assert session.in_doubt == ("2", "3")
        answers.put_nowait(second)
        await session.flush()
        assert session.in_doubt == ()
        answers.put_nowait(second)  # once more: nothing follows
        await session.send("4")
        await pings.get()
        assert session.in_doubt == ("4",)
        await session.close()


async def test_a_silent_server_is_pinged_and_stays_if_it_answers() -> None:
    async def script(request: Request) -> None:
        request.upgrade()
        request.send_frame(b"o")
        for _ in range(3):
            opcode, payload = await request.read_frame()
            assert opcode == PING
            request.send_frame(payload, PONG)
        while True:
            await request.read_frame()

    async with scripted(script) as server:
        async with asyncio.timeout(GUARD):
            session = await connect(server.url, transports=["websocket"], silence_timeout=0.04, close_timeout=0.1)
            with pytest.raises(SessionLost, match="silent"):
                await session.receive()
        await session.close()


async def test_a_server_that_does_not_read_holds_up_send_and_flush_and_pongs_but_not_what_it_says() -> None:
    """The reader never waits for the writer: two that wait for each other would wait for ever."""
    go_on = asyncio.Event()

    async def script(request: Request) -> None:
        request.upgrade()
        request.send_frame(b"o")
        request.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(200):
            request.send_frame(b"ping", PING)
            request.send_frame(b'a["%d"]' % number)
            await asyncio.sleep(0)
        await go_on.wait()
        request.writer.transport.resume_reading()  # type: ignore[attr-defined]
        while True:
            opcode, payload = await request.read_frame()
            if opcode == PING:
                request.send_frame(payload, PONG)

    async def pour() -> int:
        for number in range(100):
            await session.send(f"{number}" + "x" * 60_000)
        return number + 1

    async with (
        scripted(script) as server,
        connect(server.url, transports=["websocket"], send_buffer_limit=200_000, close_timeout=0.1) as session,
        asyncio.timeout(4 * GUARD),
    ):
        pouring = asyncio.create_task(pour())
        assert [await session.receive() for _ in range(200)] == [str(number) for number in range(200)]
        assert not pouring.done()
        assert session.buffered < 400_000
        go_on.set()
        assert await pouring == 100
        await session.flush()


async def test_the_closing_handshake_is_made() -> None:
    async with echo_server(Plain()) as (url, _, handler):
        async with connect(url, transports=["websocket"]) as session:
            await session.send("1")
        (close,) = await handler.wait_for("on_closed")
        assert (close.code, close.clean) == (1000, True)
        assert handler.values("on_message") == ["1"]


# Plain websockets.


@pytest.fixture
async def plain() -> AsyncIterator[str]:
    """The URL of a websocket without SockJS."""

    async def serve_one(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=["v2", "v1"])
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT and message.data == "farewell":
                await socket.close(code=4001, message=b"enough")
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/any/where", serve_one)
    async with serve(app) as base:
        yield base.replace("http", "ws") + "/any/where"


async def test_a_plain_websocket_carries_text_and_bytes(plain: str) -> None:
    messages: list[Message] = ["", "1", b"\0\xff", "\u2028\N{PARTY POPPER}", b"", "x" * 100_000, *map(str, range(1000))]
    async with connect(plain, transports=["websocket-raw"]) as session:
        for message in messages:
            await session.send(message)
        async with asyncio.timeout(GUARD):
            assert [await session.receive() for _ in messages] == messages
        await session.flush()


async def test_a_plain_websocket_agrees_on_a_subprotocol(plain: str) -> None:
    async with connect(plain, transports=["websocket-raw"], subprotocols=["v9", "v1"]) as session:
        assert session.subprotocol == "v1"


async def test_a_plain_websocket_says_goodbye_with_its_code(plain: str) -> None:
    async with connect(plain, transports=["websocket-raw"]) as session:
        await session.send("farewell")
        with pytest.raises(SessionClosed) as caught:
            await session.receive()
        assert (caught.value.code, caught.value.reason) == (4001, "enough")


async def test_the_raw_websocket_of_a_sockjs_server_stands_below_its_prefix(sockjs_node: str) -> None:
    async with echo_server(Plain()) as (ours, _, _):
        for url in (ours, sockjs_node):
            async with connect(url, transports=["websocket-raw"]) as session:
                await session.send("[1]")
                assert await session.receive() == "[1]"


async def test_a_raw_websocket_that_is_not_there_says_so() -> None:
    async with echo_server(Plain()) as (url, _, _):
        with pytest.raises(
            ConnectFailed, match=r"no websocket with .*/nothing/websocket: .* answered 404 instead of 101"
        ):
            await connect(f"{url}/nothing", transports=["websocket-raw"])


async def test_text_that_is_no_utf_8_loses_the_session() -> None:
    async with (
        opening((b"\xff", TEXT)) as server,  # type: ignore[attr-defined]
        connect(server.url, transports=["websocket-raw"], close_timeout=0.1) as session,
    ):
        with pytest.raises(SessionLost, match=r"UTF-8|utf-8"):
            await session.receive()


async def test_a_handshake_that_is_wrong_is_none() -> None:
    async def script(request: Request) -> None:
        request.headers["sec-websocket-key"] = "another"
        request.upgrade()
        await asyncio.Event().wait()

    async with scripted(script) as server:
        with pytest.raises(ConnectFailed, match="handshake is wrong"):
            await connect(server.url, transports=["websocket-raw"])
