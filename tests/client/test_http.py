"""Sending over HTTP, and asking for frames: what servers may answer."""

from __future__ import annotations

import asyncio
import itertools

import aiohttp
import pytest

from sockbridge.client import connect
from sockbridge.client import http as http_room
from sockbridge.errors import ConnectFailed, SessionClosed, SessionLost
from tests.fakes import GUARD

from .scripted import Request, scripted

HTTP = ("xhr-streaming", "eventsource", "xhr-polling")


async def forever() -> None:
    await asyncio.Event().wait()


def receiving(answer: bytes | None = b"o\n") -> dict[str, bytes | None]:
    return {"xhr_streaming": answer}


@pytest.mark.parametrize(
    ("status", "text", "is_sent"),
    [
        (404, r"does not know the session any more \(404", False),
        (413, r"takes no 9 bytes at once \(413", True),
        (500, "answered 500 to /xhr_send", True),
        (302, "answered 302 to /xhr_send", True),
        (101, "answered 101 to /xhr_send", True),
    ],
)
async def test_a_send_that_is_refused_ends_the_session(status: int, text: str, is_sent: bool) -> None:
    async def script(request: Request) -> None:
        if request.name == "xhr_send":
            request.answer(status=status)
        else:
            request.begin()
            request.chunk(b"o\n")
            await forever()

    async with scripted(script) as server, connect(server.url, transports=["xhr-streaming"]) as session:
        await session.send("hello")
        async with asyncio.timeout(GUARD):
            with pytest.raises(SessionLost, match=text) as caught:
                await session.flush()
    assert caught.value.in_doubt == (("hello",) if is_sent else ())
    assert caught.value.undelivered == (() if is_sent else ("hello",))


@pytest.mark.parametrize("how", ["reset", "end", "half an answer", "no HTTP"])
async def test_a_send_whose_connection_is_cut_is_in_doubt(how: str) -> None:
    async def script(request: Request) -> None:
        if request.name == "xhr_send":
            if how == "reset":
                request.reset()
            elif how == "half an answer":
                request.writer.write(b"HTTP/1.1 204 No Con")
            elif how == "no HTTP":
                request.writer.write(b"hello\r\n\r\n")
            request.writer.close()
        else:
            request.begin()
            request.chunk(b"o\n")
            await forever()

    async with scripted(script) as server, connect(server.url, transports=["xhr-streaming"]) as session:
        await session.send("hello")
        async with asyncio.timeout(GUARD):
            with pytest.raises(SessionLost, match="sending failed") as caught:
                await session.flush()
    assert caught.value.in_doubt == ("hello",)


async def test_a_server_that_has_gone_has_not_got_the_message() -> None:
    async def script(request: Request) -> None:
        request.begin("Connection: close\r\n")
        request.chunk(b"o\n")
        await forever()

    async with scripted(script) as server:
        session = await connect(server.url, transports=["xhr-streaming"])
    # the server is gone, its port refuses
    await session.send("hello")
    async with asyncio.timeout(GUARD):
        with pytest.raises(SessionLost) as caught:
            await session.flush()
    assert caught.value.in_doubt + caught.value.undelivered == ("hello",)
    await session.close()


@pytest.mark.parametrize("transport", HTTP)
@pytest.mark.parametrize("status", [204, 302, 401, 403, 404, 500, 503])
async def test_another_answer_than_200_says_so(transport: str, status: int) -> None:
    async def script(request: Request) -> None:
        request.answer(status=status, headers="Location: /elsewhere\r\n")

    async with scripted(script) as server:
        with pytest.raises(ConnectFailed) as caught:
            await connect(server.url, transports=[transport])
    assert f"answered {status} to /" in caught.value.failures[transport]
    assert "elsewhere" not in server.names()


@pytest.mark.parametrize("transport", HTTP)
async def test_the_first_frame_may_be_a_goodbye(transport: str) -> None:
    async def script(request: Request) -> None:
        frame = b'c[2010,"Another connection still open"]'
        request.answer(b"data: %b\r\n\r\n" % frame if request.name == "eventsource" else frame + b"\n")

    async with scripted(script) as server:
        with pytest.raises(ConnectFailed, match="2010 Another connection still open"):
            await connect(server.url, transports=[transport])


@pytest.mark.parametrize("transport", HTTP)
async def test_messages_before_the_session_is_open_are_no_sockjs(transport: str) -> None:
    async def script(request: Request) -> None:
        request.answer(b'data: a["x"]\n\n' if request.name == "eventsource" else b'a["x"]\n')

    async with scripted(script) as server:
        with pytest.raises(ConnectFailed, match="messages before it opened"):
            await connect(server.url, transports=[transport])


@pytest.mark.parametrize("transport", HTTP)
async def test_a_server_that_ends_each_answer_at_once_is_not_asked_without_a_pause(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the answers have: nothing, heartbeats, a prelude. With PACE as it is, once a second."""
    monkeypatch.setattr(http_room, "PACE", 0.05)
    opened = {"xhr_streaming": b"o\n", "eventsource": b"data: o\n\n", "xhr": b"o\n"}
    idle = {"xhr_streaming": b"h" * 2048 + b"\n", "eventsource": b"\r\n", "xhr": b"h\n"}

    asked_at: list[float] = []
    is_enough = asyncio.Event()

    async def script(request: Request) -> None:
        asked_at.append(asyncio.get_running_loop().time())
        if len(asked_at) == 5:
            is_enough.set()
        request.answer(opened[request.name] if request.number == 1 else idle[request.name])

    async with scripted(script) as server, connect(server.url, transports=[transport]), asyncio.timeout(GUARD):
        await is_enough.wait()
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked_at[1:5])]
    assert all(pause > 0.9 * http_room.PACE for pause in pauses), pauses


@pytest.mark.parametrize("transport", HTTP)
async def test_the_pause_is_not_made_where_messages_come(transport: str) -> None:
    words = {"xhr_streaming": b"%b\n", "eventsource": b"data: %b\n\n", "xhr": b"%b\n"}

    async def script(request: Request) -> None:
        frame = b"o" if request.number == 1 else b'a["%d"]' % request.number
        request.answer(words[request.name] % frame)

    async with scripted(script) as server, connect(server.url, transports=[transport]) as session:
        async with asyncio.timeout(http_room.PACE):
            for number in range(2, 50):
                assert await session.receive() == str(number)


@pytest.mark.parametrize("transport", HTTP)
async def test_a_request_is_not_repeated_when_the_connection_is_cut_before_its_answer(transport: str) -> None:
    """aiohttp repeats a GET by itself; what the first one had fetched would be lost silently."""

    async def script(request: Request) -> None:
        if request.number == 1:
            request.answer(b"data: o\n\n" if request.name == "eventsource" else b"o\n")
        else:
            request.reset()

    async with scripted(script) as server, connect(server.url, transports=[transport]) as session:
        async with asyncio.timeout(GUARD):
            with pytest.raises(SessionLost):
                await session.receive()
        assert len(server.requests) == 3


@pytest.mark.parametrize("transport", HTTP)
async def test_streams_and_polls_ask_for_no_compression_and_carry_the_headers(transport: str) -> None:
    async def script(request: Request) -> None:
        if request.name == "xhr_send":
            request.answer(status=204)
        elif request.number == 1:
            request.answer(b"data: o\n\n" if request.name == "eventsource" else b"o\n")
        else:
            await forever()

    async with (
        scripted(script) as server,
        connect(f"{server.url}?token=t", transports=[transport], headers={"X-Key": "k"}) as session,
    ):
        await session.send("x")
        await session.flush()
    assert {request.headers["x-key"] for request in server.requests} == {"k"}
    assert all("token=t" in request.path for request in server.requests)
    asking = [request for request in server.requests if request.name not in ("info", "xhr_send")]
    assert {request.headers["accept-encoding"] for request in asking} == {"identity"}
    (send,) = (request for request in server.requests if request.name == "xhr_send")
    assert (send.body, send.headers["content-type"]) == (b'["x"]', "text/plain")


async def test_a_client_session_that_the_application_closes_ends_the_session(caplog: pytest.LogCaptureFixture) -> None:
    async def script(request: Request) -> None:
        if request.number == 1:
            request.answer(b"o\n")
        else:
            await forever()

    async with scripted(script) as server, aiohttp.ClientSession() as http:
        session = await connect(server.url, transports=["xhr-polling"], session=http)
        await http.close()
        await session.send("x")
        async with asyncio.timeout(GUARD):
            with pytest.raises(SessionLost):
                await session.receive()
        await session.close()
    assert not caplog.records


async def test_silence_is_noticed_and_heartbeats_are_none() -> None:
    async def script(request: Request) -> None:
        request.begin()
        request.chunk(b"o\n")
        for _ in range(5):
            await asyncio.sleep(0.02)  # the pace of a server: silence is real time on real sockets
            request.chunk(b"h\n")
        request.chunk(b'a["heard"]\n')
        await forever()

    async with (
        scripted(script) as server,
        connect(server.url, transports=["xhr-streaming"], silence_timeout=0.06) as session,
    ):
        assert await session.receive() == "heard"
        async with asyncio.timeout(GUARD):
            with pytest.raises(SessionLost, match="silent"):
                await session.receive()


async def test_a_send_may_be_answered_late() -> None:
    release = asyncio.Event()

    async def script(request: Request) -> None:
        if request.name == "xhr_send":
            await release.wait()
            request.answer(status=204)
        else:
            request.begin()
            request.chunk(b"o\n")
            await forever()

    async with scripted(script) as server, connect(server.url, transports=["xhr-streaming"]) as session:
        await session.send("1")
        flush = asyncio.create_task(session.flush())
        while "xhr_send" not in server.names():
            await asyncio.sleep(0)
        await session.send("2")
        await session.send("3")
        assert not flush.done()
        release.set()
        await flush
        await session.flush()
        assert [request.body for request in server.requests if request.name == "xhr_send"] == [b'["1"]', b'["2","3"]']


async def test_the_goodbye_of_the_server_comes_though_a_send_is_refused() -> None:
    refused = asyncio.Event()

    async def script(request: Request) -> None:
        if request.name == "xhr_send":
            request.answer(status=404)
            refused.set()
        else:
            request.begin()
            request.chunk(b"o\n")
            await refused.wait()
            request.chunk(b'c[3000,"Go away!"]\n')
            await forever()

    async with scripted(script) as server, connect(server.url, transports=["xhr-streaming"]) as session:
        await session.send("x")
        async with asyncio.timeout(GUARD):
            with pytest.raises(SessionClosed):
                await session.receive()
        assert session.undelivered == ("x",)
