"""Frames in streams: however they are cut, whatever ends them."""

from __future__ import annotations

import asyncio

import pytest

from sockbridge.client import connect
from sockbridge.errors import SessionLost
from tests.fakes import GUARD

from .scripted import Request, scripted

STREAMS = {"xhr-streaming": b"%b\n", "eventsource": b"data: %b\r\n\r\n"}


async def check(transport: str, *pieces: bytes, **options: int) -> list[object]:
    """What a session receives whose stream is made of ``pieces``, then ends; "second" where it is asked for again."""

    async def script(request: Request) -> None:
        request.begin()
        if request.number == 1:
            for piece in pieces:
                request.chunk(piece)
                await asyncio.sleep(0)
            request.chunk(b"")
        else:
            request.chunk(STREAMS[transport] % b'a["second"]')
            await asyncio.Event().wait()

    received: list[object] = []
    async with scripted(script) as server, connect(server.url, transports=[transport], **options) as session:  # type: ignore[arg-type]
        async with asyncio.timeout(GUARD):
            while "second" not in received:
                received.append(await session.receive())
    return received


@pytest.mark.parametrize("transport", STREAMS)
async def test_frames_may_be_cut_at_every_byte(transport: str) -> None:
    frames = [b"o", b"h", b'a["\\u2028","1"]', 'a["\u00fc"]'.encode(), b"a[]"]
    stream = b"".join(STREAMS[transport] % frame for frame in frames)
    whole = ["\u2028", "1", "\u00fc", "second"]
    for place in range(1, len(stream)):
        assert await check(transport, stream[:place], stream[place:]) == whole
    assert await check(transport, *(stream[place : place + 1] for place in range(len(stream)))) == whole


async def test_a_prelude_and_empty_lines_and_carriage_returns_say_nothing() -> None:
    assert await check("xhr-streaming", b"h" * 2048 + b'\n\no\r\n\r\na["1"]\r\n') == ["1", "second"]


async def test_events_may_have_other_fields_and_several_lines_of_data() -> None:
    stream = b'retry: 1\r\n\r\n: comment\ndata:o\n\nid: 5\nevent: message\ndata: a["%25",\ndata: "%0D"]\n\n\n'
    with pytest.raises(SessionLost, match="does not speak SockJS"):  # %0D is a line end inside of a string
        await check("eventsource", stream)
    assert await check("eventsource", stream.replace(b"%0D", b"1")) == ["%", "1", "second"]


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_stream_that_ends_within_a_frame_loses_the_session(transport: str) -> None:
    with pytest.raises(SessionLost, match="in the middle of a frame"):
        await check(transport, STREAMS[transport] % b"o", b'data: a["1"')


@pytest.mark.parametrize("transport", STREAMS)
@pytest.mark.parametrize("pieces", [1, 5, 1000])
async def test_a_frame_has_a_limit(transport: str, pieces: int) -> None:
    with pytest.raises(SessionLost, match=r"larger than max_frame_size \(5000 bytes\)"):
        await check(transport, STREAMS[transport] % b"o", *[b"x" * (6000 // pieces)] * pieces, max_frame_size=5000)


async def test_an_event_of_many_lines_has_the_same_limit() -> None:
    with pytest.raises(SessionLost, match=r"larger than max_frame_size \(5000 bytes\)"):
        await check("eventsource", b"data: o\n\n", b"data: x\n" * 2000, max_frame_size=5000)


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_large_frame_in_small_pieces_takes_no_more_than_its_size(transport: str) -> None:
    text = "x" * 300_000
    stream = STREAMS[transport] % (b'a["%b"]' % text.encode())
    pieces = [stream[place : place + 100] for place in range(0, len(stream), 100)]
    assert await check(transport, STREAMS[transport] % b"o", *pieces) == [text, "second"]
