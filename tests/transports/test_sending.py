"""Requests that carry messages in: too big, broken, several at once, faster than the handler."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging

import pytest

from sockbridge.sockjs.framing import Close, Message
from sockbridge.sockjs.session import Session

from ..fakes import RecordingHandler
from .wire import Client, Wire, connected, echo_server, fetch

SECRET = "secret word"


class GatedHandler(RecordingHandler):
    """``on_message`` waits until ``gate`` is set; overlapping calls are counted in ``overlaps``."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.running = self.overlaps = 0

    async def on_message(self, session: Session, message: Message) -> None:
        self.running += 1
        self.overlaps += self.running > 1
        await super().on_message(session, message)
        await self.gate.wait()
        self.running -= 1


async def chunked_post(client: Client, body: bytes, size: int = 1000) -> tuple[int, bytes]:
    """POST without ``Content-Length``; ``(status, body)``."""
    wire = await Wire.open(client.url)
    wire.request("POST", f"{client.path}/xhr_send", headers={"Transfer-Encoding": "chunked"})
    for start in range(0, len(body), size):
        part = body[start : start + size]
        wire.writer.write(b"%x\r\n%b\r\n" % (len(part), part))
    wire.writer.write(b"0\r\n\r\n")
    head = await wire.read_head()
    answer = await wire.read_body()
    await wire.close()
    return head.status, answer


def only_line(caplog: pytest.LogCaptureFixture) -> str:
    """The one log line above DEBUG."""
    lines = [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
    assert len(lines) == 1, lines
    assert SECRET not in lines[0]
    return lines[0]


# Faults.


@pytest.mark.parametrize("name", ["xhr", "jsonp"])
async def test_a_body_over_the_limit_is_answered_413_before_it_is_read(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The announced length is enough; the connection ends, and the session goes on."""
    async with echo_server(max_message_size=1000) as (url, _, handler), connected(url, name) as (client,):
        caplog.set_level(logging.INFO)
        wire = await Wire.open(url)
        target = f"{client.path}/{'jsonp_send' if name == 'jsonp' else 'xhr_send'}"
        wire.request("POST", target, SECRET.encode(), {"Content-Length": "1000000"})
        head = await wire.read_head()
        assert head.status == 413
        assert head.headers["Connection"] == "close"
        assert await wire.read_body() == b"Message exceeds the limit of 1000 bytes.\n"
        await wire.close()
        only_line(caplog)
        await client.send("still here")
        assert await client.messages() == ["still here"]
        assert handler.values("on_message") == ["still here"]


async def test_a_chunked_body_over_the_limit_is_answered_413(caplog: pytest.LogCaptureFixture) -> None:
    async with echo_server(max_message_size=1000) as (url, _, _), connected(url, "xhr") as (client,):
        caplog.set_level(logging.INFO)
        status, _ = await chunked_post(client, json.dumps([SECRET * 1000]).encode())
        assert status == 413
        only_line(caplog)
        assert (await chunked_post(client, b'["in many chunks"]', size=1))[0] == 204
        assert await client.messages() == ["in many chunks"]


async def test_a_body_of_just_the_limit_passes() -> None:
    async with echo_server(max_message_size=1000) as (url, _, _), connected(url, "xhr") as (client,):
        await client.send("x" * 996)
        assert await client.messages() == ["x" * 996]


async def test_aiohttp_s_own_limit_does_not_apply() -> None:
    """``client_max_size`` is 1 MiB by default; ``max_message_size`` is the only limit."""
    async with echo_server(max_message_size=4 * 2**20) as (url, _, handler), connected(url, "xhr") as (client,):
        await client.send("x" * 3 * 2**20)
        assert [len(message) for message in handler.values("on_message")] == [3 * 2**20]  # type: ignore[arg-type]  # str


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_that_inflates_over_the_limit_is_answered_413(
    is_chunked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """64 KiB that become 64 MiB."""
    bomb = gzip.compress(b'["' + b"x" * 64 * 2**20 + b'"]')
    async with echo_server() as (url, _, handler), connected(url, "xhr", "xhr") as (client, other):
        caplog.set_level(logging.INFO)
        headers = {"Content-Encoding": "gzip"}
        wire = await Wire.open(url)
        if is_chunked:
            wire.request("POST", f"{client.path}/xhr_send", headers={**headers, "Transfer-Encoding": "chunked"})
            wire.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(bomb), bomb))
        else:
            wire.request("POST", f"{client.path}/xhr_send", bomb, headers)
        assert (await wire.read_head()).status == 413
        await wire.close()
        only_line(caplog)
        await other.send("still here")
        assert await other.messages() == ["still here"]
        assert handler.values("on_message") == ["still here"]


async def test_a_compressed_body_within_the_limit_is_read() -> None:
    async with echo_server() as (url, _, _), connected(url, "xhr") as (client,):
        head, _ = await client.post(gzip.compress(b'["inflated"]'), {"Content-Encoding": "gzip"})
        assert head.status == 204
        assert await client.messages() == ["inflated"]


BROKEN = {
    "nothing": (b"", b"Payload expected.\n"),
    "no JSON": (SECRET.encode(), b"Broken JSON encoding.\n"),
    "half": (b'["secret word', b"Broken JSON encoding.\n"),
    "an object": (b'{"secret": "word"}', b"Payload expected.\n"),
    "a string": (b'"secret word"', b"Payload expected.\n"),
    "null": (b"null", b"Payload expected.\n"),
    "no strings": (b'["secret word", 5]', b"Payload expected.\n"),
    "deep": (b"[" * 100_000, b"Broken JSON encoding.\n"),
    "deep and closed": (b"[" * 100_000 + b"]" * 100_000, b"Broken JSON encoding.\n"),
    "no UTF-8": (b'["secret word \xff"]', b"Broken JSON encoding.\n"),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_body_is_answered_500_and_the_session_goes_on(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """sockjs-protocol, "test_invalid_json": the answer's text; nothing reaches the handler."""
    body, answer = BROKEN[fault]
    async with echo_server() as (url, _, handler), connected(url, "xhr") as (client,):
        caplog.set_level(logging.INFO)
        head, text = await client.post(body)
        assert (head.status, text) == (500, answer)
        only_line(caplog)
        await client.send("still here")
        assert await client.messages() == ["still here"]
        assert handler.values("on_message") == ["still here"]


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_that_leaves_in_the_middle_of_its_body_hurts_nobody(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with echo_server() as (url, _, handler), connected(url, "xhr") as (client,):
        wire = await Wire.open(url)
        wire.request("POST", f"{client.path}/xhr_send", b'["half', {"Content-Length": "100"})
        await fetch(url)
        if how == "rst":
            wire.reset()
        else:
            await wire.close()
        await client.send("still here")
        assert await client.messages() == ["still here"]
        assert handler.values("on_message") == ["still here"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_body_that_is_not_compressed_as_it_says_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with echo_server() as (url, _, handler), connected(url, "xhr") as (client,):
        head, _ = await client.post(b'["secret word"]', {"Content-Encoding": "gzip"})
        assert 400 <= head.status <= 500
        await client.send("still here")
        assert await client.messages() == ["still here"]
        assert handler.values("on_message") == ["still here"]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert SECRET not in caplog.text


async def test_a_body_that_does_not_come_is_answered_408(caplog: pytest.LogCaptureFixture) -> None:
    """After ``write_timeout`` without a byte; the connection ends."""
    async with echo_server(write_timeout=0.1) as (url, _, handler), connected(url, "xhr") as (client,):
        caplog.set_level(logging.INFO)
        wire = await Wire.open(url)
        wire.request("POST", f"{client.path}/xhr_send", b'["half', {"Content-Length": "100"})
        head = await wire.read_head()
        assert (head.status, head.headers["Connection"]) == (408, "close")
        assert await wire.read_body() == b"The rest of the body did not come.\n"
        assert await wire.read_end() == b""
        await wire.close()
        only_line(caplog)
        await client.send("still here")
        assert handler.values("on_message") == ["still here"]


async def test_an_unknown_session_is_answered_404_with_a_hint_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with echo_server() as (url, _, _):
        for name in ("xhr_send", "jsonp_send"):
            head, _ = await fetch(f"{url}/000/nobody/{name}", "POST", b'["x"]', {"Origin": "http://a.example"})
            assert head.status == 404
            assert head.headers["Access-Control-Allow-Origin"] == "http://a.example"
        hints = [line for line in caplog.messages if "unknown here" in line]
        assert len(hints) == 2
        assert "nobody" not in caplog.text


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"d=%5B%22a%20b%22%5D", {"Content-Type": "application/x-www-form-urlencoded"}, (200, b"ok")),
        (b'["%61"]', {"Content-Type": "text/plain"}, (200, b"ok")),
        (b"p=p", {"Content-Type": "application/x-www-form-urlencoded"}, (500, b"Payload expected.\n")),
        (b"d=", {"Content-Type": "application/x-www-form-urlencoded"}, (500, b"Payload expected.\n")),
        (b"d=\xff", {"Content-Type": "application/x-www-form-urlencoded"}, (500, b"Broken JSON encoding.\n")),
        (b"&d=" * 100, {"Content-Type": "application/x-www-form-urlencoded"}, (500, b"Broken JSON encoding.\n")),
    ],
)
async def test_jsonp_send_takes_a_form_or_json(
    body: bytes, headers: dict[str, str], expected: tuple[int, bytes]
) -> None:
    async with echo_server() as (url, _, handler), connected(url, "jsonp") as (client,):
        head, text = await client.post(body, headers)
        assert (head.status, text) == expected
        if head.status == 200:
            assert await handler.wait_for("on_message") in (["a b"], ["%61"])


# Order and pace.


async def test_parallel_posts_keep_the_order_of_their_arrival_one_message_at_a_time() -> None:
    """Each on its own connection, the next sent when the one before is answered, while the handler is busy."""
    async with echo_server(GatedHandler()) as (url, _, handler), connected(url, "xhr") as (client,):
        for number in range(20):
            await client.send(f"{number}a", f"{number}b")
        assert handler.values("on_message") == ["0a"]
        handler.gate.set()
        await handler.wait_for("on_message", 40)
        assert handler.values("on_message") == [f"{number}{part}" for number in range(20) for part in "ab"]
        assert handler.overlaps == 0


async def test_posts_at_the_same_moment_are_handled_one_at_a_time() -> None:
    async with echo_server(GatedHandler()) as (url, _, handler), connected(url, "xhr") as (client,):
        handler.gate.set()
        await asyncio.gather(*(client.send(f"{number}a", f"{number}b") for number in range(20)))
        messages = [str(message) for message in await handler.wait_for("on_message", 40)]
        assert [message[:-1] for message in messages[::2]] == [message[:-1] for message in messages[1::2]]
        assert {message[-1] for message in messages[::2]} == {"a"}
        assert handler.overlaps == 0


async def test_a_busy_handler_delays_no_204_until_the_receive_buffer_is_full() -> None:
    """Then the answer waits, and nothing is lost; the limit is passed by one request at most."""
    async with (
        echo_server(GatedHandler(), receive_buffer_limit=1000) as (url, _, handler),
        connected(url, "xhr") as (client,),
    ):
        await client.send("first")
        await handler.wait_for("on_message")
        for number in range(3):
            await client.send(f"{number}" + "x" * 400)
        late = [asyncio.ensure_future(client.send(f"{number}" + "x" * 400)) for number in (3,)]
        probe = Client(url, "xhr")
        await probe.connect()  # a whole conversation of somebody else fits in between
        await probe.close()
        assert not late[0].done()
        handler.gate.set()
        await late[0]
        messages = await handler.wait_for("on_message", 5)
        assert [str(message)[0] for message in messages] == ["f", "0", "1", "2", "3"]


async def test_posts_that_wait_for_room_are_answered_when_the_session_ends() -> None:
    """Nobody waits for a handler whose session is over."""
    async with (
        echo_server(GatedHandler(), receive_buffer_limit=10) as (url, endpoint, handler),
        connected(url, "xhr") as (client,),
    ):
        await client.send("first")
        await handler.wait_for("on_message")
        await client.send("x" * 100)
        late = asyncio.ensure_future(client.send("late"))
        await fetch(url)
        assert not late.done()
        next(endpoint.sessions).close()
        await late
        handler.gate.set()
        assert await handler.wait_for("on_closed") == [Close(3000, "Go away!")]
        assert handler.values("on_message") == ["first"]


async def test_messages_after_the_application_has_closed_are_taken_and_counted() -> None:
    """404 would make the client report 1006 and hide the true code."""
    async with echo_server(disconnect_delay=0.1) as (url, endpoint, handler), connected(url, "xhr") as (client,):
        await handler.wait_for("on_connected")
        next(endpoint.sessions).close(3456, "enough")
        await client.send("late")
        assert await client.frame() == 'c[3456,"enough"]'
        assert endpoint.counters.unheard == 1
        assert "on_message" not in handler.names()


async def test_messages_after_the_connection_was_cut_are_refused_so_that_the_client_knows() -> None:
    """A 204 would say that they are in line."""
    async with echo_server() as (url, endpoint, handler), connected(url, "xhr_streaming") as (client,):
        await handler.wait_for("on_connected")
        await client.close()
        await handler.wait_for("on_closed")
        for body in (b'["late"]', b"[]"):
            head, _ = await client.post(body)
            assert head.status == 404
            assert head.headers["Access-Control-Allow-Origin"]
        assert endpoint.counters.unheard == 1
        assert "on_message" not in handler.names()
