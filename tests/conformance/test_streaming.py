"""Section 3, ``xhr_streaming``, ``eventsource`` and ``htmlfile``: an answer that goes on."""

from __future__ import annotations

import asyncio
import hashlib
import json
from urllib.parse import unquote

import pytest

from tests.fakes import GUARD

from .conftest import GO_AWAY, STREAMS, Wire, unwrap

PRELUDES = {"xhr_streaming": b"h" * 2048 + b"\n", "eventsource": b"\r\n"}


async def test_xhr_streaming_begins_with_2049_bytes(wire: Wire) -> None:
    """Rule 3.15."""
    stream = await wire.receive(wire.new(), "xhr_streaming")
    assert stream.prelude == PRELUDES["xhr_streaming"]
    assert await stream.connection.chunk() == b"o\n"


async def test_eventsource_begins_with_an_empty_line(wire: Wire) -> None:
    """Rule 3.16."""
    url = wire.new()
    stream = await wire.receive(url, "eventsource")
    assert stream.prelude == PRELUDES["eventsource"]
    assert await stream.connection.chunk() == b"data: o\r\n\r\n"
    await wire.send(url, "a", "b")
    assert await stream.connection.chunk() == b'data: a["a","b"]\r\n\r\n'


@pytest.mark.parametrize("text", ["100% %20", "%0A", "%", "%25", "a%ZZ", "\r\n\0%", "data: x"])
async def test_an_event_survives_the_client_s_percent_decoding(wire: Wire, text: str) -> None:
    """Rule 3.17."""
    url = wire.new()
    stream = await wire.receive(url, "eventsource")
    assert await stream.frame() == "o"
    await wire.send(url, text)
    frame = await stream.frame()
    assert not set(frame) & set("\r\n\0")
    assert json.loads(unquote(frame, errors="strict")[1:]) == [text]
    assert "%" not in frame.replace("%25", "").replace("%0D", "").replace("%0A", "").replace("%00", "")


async def test_htmlfile_begins_with_the_known_page_and_more_than_a_kilobyte(wire: Wire) -> None:
    """Rule 3.18."""
    stream = await wire.receive(wire.new(), "htmlfile")
    page = stream.prelude
    assert len(page) > 1024
    assert page.endswith(b" \r\n\r\n")
    assert len(page.strip()) == 378
    assert hashlib.md5(page.strip(), usedforsecurity=False).hexdigest() == "250d764715094a4a0a41d0e5c29dd03a"


async def test_an_htmlfile_frame_is_a_script_with_a_quoted_frame(wire: Wire) -> None:
    """Rule 3.19."""
    url = wire.new()
    stream = await wire.receive(url, "htmlfile")
    assert await stream.connection.chunk() == b'<script>\np("o");\n</script>\r\n'
    await wire.send(url, "x")
    assert await stream.connection.chunk() == b'<script>\np("a[\\"x\\"]");\n</script>\r\n'


@pytest.mark.parametrize(
    "text", ["</script>", "</SCRIPT >", "<!--", "<script>", "]]>", "</script><script>alert(1)</script>", "\u2028"]
)
async def test_no_message_ends_the_script_that_carries_it(wire: Wire, text: str) -> None:
    """Rule 3.20."""
    url = wire.new()
    stream = await wire.receive(url, "htmlfile")
    assert await stream.frame() == "o"
    await wire.send(url, text)
    chunk = await stream.connection.chunk()
    inside = chunk.removeprefix(b"<script>").removesuffix(b"</script>\r\n")
    assert b"<" not in inside
    assert inside.isascii()
    assert json.loads(unwrap("htmlfile", chunk)[1:]) == [text]


@pytest.mark.parametrize("transport", ["htmlfile", "jsonp"])
@pytest.mark.parametrize("query", ["", "?", "?c", "?c=", "?a=b", "?C=callback"])
async def test_a_callback_is_required(wire: Wire, transport: str, query: str) -> None:
    """Rule 3.21."""
    answer = await wire.request("GET", f"{wire.new()}/{transport}{query}")
    assert answer.status == 500
    assert b'"callback" parameter required' in answer.body


@pytest.mark.parametrize("transport", ["htmlfile", "jsonp"])
@pytest.mark.parametrize("query", ["c=_jp.a1B2-c3", "callback=cb", "c=c%61llback", "c=a.b.c"])
async def test_a_callback_may_be_called_as_clients_call_it(wire: Wire, transport: str, query: str) -> None:
    """Rule 3.21."""
    connection = await wire.connect()
    await connection.ask("GET", f"{wire.new()}/{transport}?{query}")
    assert (await connection.head()).status == 200


@pytest.mark.parametrize("transport", ["htmlfile", "jsonp"])
@pytest.mark.parametrize(
    "callback",
    [
        "%20",
        "*",
        "abc(",
        "abc%28",
        "a%0Ab",
        "a%00",
        "%3Cscript%3E",
        "alert(1)//",
        "a+b",
        "%C3%A9",
        "a;b",
        "abc%0A",
        "a" * 33,
    ],
)
async def test_a_harmful_callback_is_refused_before_a_session_is_made(
    wire: Wire, transport: str, callback: str
) -> None:
    """Rule 3.22."""
    url = wire.new()
    answer = await wire.request("GET", f"{url}/{transport}?c={callback}")
    assert answer.status == 500
    assert b'invalid "callback" parameter' in answer.body
    assert (await wire.request("POST", f"{url}/xhr_send", b'["a"]')).status == 404


@pytest.mark.parametrize("transport", STREAMS)
async def test_prelude_and_frames_are_chunks_of_their_own(wire: Wire, transport: str) -> None:
    """Rule 3.23."""
    url = wire.new()
    stream = await wire.receive(url, transport)
    assert await stream.frame() == "o"
    for text in ("a", "b"):
        await wire.send(url, text)
        assert await stream.frame() == f'a["{text}"]'


@pytest.mark.parametrize("transport", STREAMS)
async def test_open_and_close_are_two_chunks(wire: Wire, transport: str) -> None:
    """Rule 3.23."""
    stream = await wire.receive(wire.new("/close"), transport)
    assert await stream.frame() == "o"
    assert await stream.frame() == GO_AWAY
    await stream.end()


async def test_xhr_streaming_ends_after_the_frame_that_passes_the_limit(wire: Wire) -> None:
    """Rule 3.24."""
    url = wire.new()
    stream = await wire.receive(url, "xhr_streaming")
    assert await stream.frame() == "o"
    message = "x" * 128
    for _ in range(31):
        await wire.send(url, message)
        assert await stream.connection.chunk() == f'a["{message}"]\n'.encode()
    await stream.end()


@pytest.mark.parametrize("transport", ["eventsource", "htmlfile"])
async def test_one_large_message_ends_a_stream_unsplit(wire: Wire, transport: str) -> None:
    """Rule 3.24."""
    url = wire.new()
    stream = await wire.receive(url, transport)
    assert await stream.frame() == "o"
    message = "x" * 4096
    await wire.send(url, message)
    assert await stream.frame() == f'a["{message}"]'
    await stream.end()


@pytest.mark.parametrize("transport", STREAMS)
async def test_after_the_limit_the_session_goes_on_with_the_next_request(wire: Wire, transport: str) -> None:
    """Rule 3.24."""
    url = wire.new()
    connection = await wire.connect()
    stream = await wire.receive(url, transport, connection)
    assert await stream.frame() == "o"
    for letter in "abc":
        await wire.send(url, letter * 4096)
        assert await stream.frame() == f'a["{letter * 4096}"]'
        await stream.end()
        await wire.send(url, f"between {letter}")
        stream = await wire.receive(url, transport, connection)
        assert await stream.frame() == f'a["between {letter}"]'


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_limit_of_one_byte_makes_polls_of_streams(wire: Wire, transport: str) -> None:
    """Rule 3.25."""
    url = wire.new("/once")
    stream = await wire.receive(url, transport)
    assert await stream.frame() == "o"
    await stream.end()
    await wire.send(url, "a")
    stream = await wire.receive(url, transport)
    assert await stream.frame() == 'a["a"]'
    await stream.end()


@pytest.mark.parametrize("transport", STREAMS)
async def test_the_first_bytes_leave_before_the_application_has_answered(wire: Wire, transport: str) -> None:
    """Rule 3.26."""
    stream = await wire.receive(wire.new("/slow"), transport)
    assert await stream.frame() == "o"
    assert not wire.hesitant.gate.is_set()
    wire.hesitant.gate.set()
    assert await stream.frame() == 'a["at last"]'


@pytest.mark.parametrize("transport", STREAMS)
async def test_proxies_are_asked_not_to_hold_a_stream_back(wire: Wire, transport: str) -> None:
    """Rule 3.27."""
    stream = await wire.receive(wire.new(), transport)
    assert stream.head is not None
    assert stream.head.headers["X-Accel-Buffering"] == "no"
    assert "no-transform" in stream.head.headers["Cache-Control"]


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_reader_that_pauses_loses_nothing(wire: Wire, transport: str) -> None:
    """Rule 3.24."""
    url = wire.new("/plain")
    stream = await wire.receive(url, transport)
    assert await stream.frame() == "o"
    message = "x" * 60_000
    await asyncio.gather(*(wire.send(url, f"{number} {message}") for number in range(16)))
    numbers: list[int] = []
    async with asyncio.timeout(GUARD):
        while len(numbers) < 16:
            content = await stream.connection.chunk()
            if not content:
                stream = await wire.receive(url, transport)
                continue
            for text in json.loads(unwrap(transport, content)[1:]):
                number, _, rest = text.partition(" ")
                assert rest == message
                numbers.append(int(number))
    assert sorted(numbers) == list(range(16))
