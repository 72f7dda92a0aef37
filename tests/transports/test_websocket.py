"""WebSockets that stay silent, that are read while a handler is busy, and that carry what they should not."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import tracemalloc
import zlib

import pytest

from sockbridge.errors import ConnectionLost, MessageTooBig, PongTimeout, ProtocolError
from sockbridge.sockjs.framing import Close, Message
from sockbridge.sockjs.session import Session
from sockbridge.transports.compiled_reader import choose_reader

from ..fakes import GUARD, RecordingHandler
from .wire import BINARY, CLOSE, PING, PONG, SOCKETS, TEXT, Client, Wire, connected, echo_server, fetch, until

pytestmark = pytest.mark.usefixtures("each_reader")

sockets = pytest.mark.parametrize("name", SOCKETS)

DEAD = {"heartbeat_delay": 0.1, "pong_timeout": 0.1}
"""Options with which a silent peer is given up in 0.2 to 0.3 seconds."""


class GatedHandler(RecordingHandler):
    """``on_message`` waits until ``gate`` is set."""

    def __init__(self, *, echo: bool = False) -> None:
        super().__init__(echo=echo)
        self.gate = asyncio.Event()

    async def on_message(self, session: Session, message: Message) -> None:
        await super().on_message(session, message)
        await self.gate.wait()


def check_only_line(caplog: pytest.LogCaptureFixture) -> None:
    """One log line above DEBUG, without payload."""
    lines = [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
    assert len(lines) == 1, lines
    assert "secret word" not in lines[0]


def text_of(messages: list[str], name: str) -> bytes:
    return json.dumps(messages).encode() if name == "websocket" else messages[0].encode()


async def read_close(wire: Wire) -> tuple[int, str]:
    """``(code, reason)``; frames before the close are passed over."""
    while True:
        opcode, payload = await wire.read_frame()
        if opcode == CLOSE:
            return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


# Pings.


@sockets
async def test_a_peer_that_answers_no_ping_is_given_up(name: str) -> None:
    async with echo_server(**DEAD) as (url, endpoint, handler), connected(url, name) as (client,):
        assert await client.wire.read_frame() == (PING, b"")
        (error,) = await handler.wait_for("on_transport_error")
        assert type(error) is PongTimeout
        assert await handler.wait_for("on_closed") == [Close(1002, "Connection interrupted", clean=False)]
        await client.wire.read_end()
        await until(lambda: len(endpoint) == 0)


@pytest.mark.parametrize("sign", ["pong", "message", "ping"])
async def test_whatever_a_peer_sends_counts_as_life(sign: str) -> None:
    """Five heartbeats long, which is more than twice ``heartbeat_delay`` and ``pong_timeout`` together."""
    async with echo_server(**DEAD) as (url, _, handler), connected(url, "websocket") as (client,):
        pings = 0
        while pings < 5:
            opcode, _ = await client.wire.read_frame()
            if opcode == PING:
                pings += 1
                if sign == "pong":
                    client.wire.send_frame(b"", PONG)
                elif sign == "ping":
                    client.wire.send_frame(b"mine", PING)
                else:
                    client.wire.send_frame(b'["life"]')
        assert "on_closed" not in handler.names()


async def test_a_handler_that_is_busy_for_longer_than_pong_timeout_costs_no_client() -> None:
    """Its pongs come in behind its message, and are read all the same."""
    async with (
        echo_server(GatedHandler(echo=True), **DEAD) as (url, _, handler),
        connected(url, "websocket") as (client,),
    ):
        await client.send("slow")
        await handler.wait_for("on_message")
        pings = 0
        while pings < 5:
            opcode, payload = await client.wire.read_frame()
            if opcode == PING:
                pings += 1
                client.wire.send_frame(payload, PONG)
        handler.gate.set()
        await client.send("after")
        await handler.wait_for("on_message", 2)
        assert "on_closed" not in handler.names()


async def test_a_peer_that_falls_silent_while_its_handler_is_busy_is_given_up() -> None:
    async with (
        echo_server(GatedHandler(), **DEAD) as (url, endpoint, handler),
        connected(url, "websocket") as (client,),
    ):
        await client.send("slow")
        await handler.wait_for("on_message")
        (session,) = endpoint.sessions
        await until(lambda: not session.is_open)
        assert "on_closed" not in handler.names(), "it waits for the call that runs"
        handler.gate.set()
        assert type((await handler.wait_for("on_transport_error"))[0]) is PongTimeout
        await handler.wait_for("on_closed")


@sockets
async def test_a_ping_is_answered_while_the_handler_is_busy(name: str) -> None:
    async with echo_server(GatedHandler()) as (url, _, handler), connected(url, name) as (client,):
        await client.send("slow")
        await handler.wait_for("on_message")
        client.wire.send_frame(b"are you there", PING)
        assert await client.wire.read_frame() == (PONG, b"are you there")
        handler.gate.set()


@sockets
async def test_a_goodbye_is_heard_while_the_handler_is_busy(name: str) -> None:
    """The close frame is answered and the session ends; ``on_closed`` waits for the call that runs."""
    async with echo_server(GatedHandler()) as (url, endpoint, handler), connected(url, name) as (client,):
        await client.send("slow")
        await handler.wait_for("on_message")
        (session,) = endpoint.sessions
        client.wire.send_frame(struct.pack("!H", 4001) + b"bye", CLOSE)
        assert (await read_close(client.wire))[0] in (1000, 4001)
        await until(lambda: not session.is_open)
        assert handler.names() == ["on_start", "on_connected", "on_message"]
        handler.gate.set()
        assert await handler.wait_for("on_closed") == [Close(4001, "bye")]


async def test_messages_behind_a_busy_handler_keep_their_order() -> None:
    """Two readers take turns; the line is one."""
    async with echo_server(GatedHandler(echo=True)) as (url, _, handler), connected(url, "websocket") as (client,):
        await client.send("0")
        await handler.wait_for("on_message")
        client.wire.send_frame(b"x", PING)
        assert await client.wire.read_frame() == (TEXT, b'a["0"]')
        for number in range(1, 100):
            await client.send(str(number))
        assert await client.wire.read_frame() == (PONG, b"x")
        handler.gate.set()
        assert await client.messages(99) == [str(number) for number in range(1, 100)]


@sockets
async def test_a_socket_is_not_read_while_too_much_waits_for_its_handler(name: str) -> None:
    """Back-pressure reaches the client; nothing is lost once the handler goes on."""
    count, size = 400, 60_000  # more than the buffers of two kernels
    async with (
        echo_server(GatedHandler(), receive_buffer_limit=50_000, pong_timeout=0.5) as (url, endpoint, handler),
        connected(url, name) as (client,),
    ):
        for number in range(count):
            await client.send(f"{number:08}" + "x" * size)
        outgoing = client.wire.writer.transport
        await handler.wait_for("on_message")
        (session,) = endpoint.sessions
        left, same = 0, 0
        while same < 50:  # until nobody takes any more
            await asyncio.sleep(0.005)
            same = same + 1 if outgoing.get_write_buffer_size() == left else 0
            left = outgoing.get_write_buffer_size()
        assert left > 0
        assert session.is_open
        handler.gate.set()
        received = await handler.wait_for("on_message", count)
        assert [str(message)[:8] for message in received] == [f"{number:08}" for number in range(count)]


# The goodbye.


@sockets
async def test_a_goodbye_of_the_client_is_told_with_its_code_and_without_an_error(name: str) -> None:
    async with echo_server() as (url, endpoint, handler), connected(url, name) as (client,):
        client.wire.send_frame(struct.pack("!H", 1000) + b"done", CLOSE)
        assert (await read_close(client.wire))[0] == 1000
        assert await handler.wait_for("on_closed") == [Close(1000, "done")]
        assert await client.wire.read_end() == b""
        assert handler.names() == ["on_start", "on_connected", "on_closed"]
        await until(lambda: len(endpoint) == 0)


@sockets
async def test_what_a_client_sends_behind_its_goodbye_is_not_heard(name: str) -> None:
    """RFC 6455, 5.5.1 and 1.4: nothing comes after a close frame, not even in the same read."""
    async with echo_server() as (url, _, handler), connected(url, name) as (client,):
        await client.send("before")
        client.wire.send_frame(struct.pack("!H", 1000) + b"done", CLOSE)
        await client.send("behind")
        client.wire.send_frame(b"now", PING)
        assert (await read_close(client.wire))[0] == 1000
        assert await handler.wait_for("on_closed") == [Close(1000, "done")]
        assert handler.values("on_message") == ["before"]
        assert await client.wire.read_end() == b""


@sockets
async def test_a_close_frame_without_a_code_is_told_as_1005(name: str) -> None:
    async with echo_server() as (url, _, handler), connected(url, name) as (client,):
        client.wire.send_frame(b"", CLOSE)
        assert await handler.wait_for("on_closed") == [Close(1005, "")]


async def test_the_application_s_goodbye_goes_into_both_frames() -> None:
    async with echo_server() as (url, endpoint, handler), connected(url, "websocket") as (client,):
        await handler.wait_for("on_connected")
        next(endpoint.sessions).close(3456, "enough")
        assert await client.wire.read_frame() == (TEXT, b'c[3456,"enough"]')
        assert await client.wire.read_frame() == (CLOSE, struct.pack("!H", 3456) + b"enough")
        client.wire.send_frame(struct.pack("!H", 3456), CLOSE)
        assert await client.wire.read_end() == b""
        assert handler.names() == ["on_start", "on_connected", "on_closed"]


@sockets
async def test_a_peer_that_does_not_answer_the_close_frame_is_given_up(name: str) -> None:
    async with echo_server(write_timeout=0.2) as (url, endpoint, handler), connected(url, name) as (client,):
        await handler.wait_for("on_connected")
        next(endpoint.sessions).close()
        await client.wire.read_end()
        await until(lambda: len(endpoint) == 0)


@sockets
async def test_what_a_client_sends_behind_our_goodbye_is_read_until_it_answers(name: str) -> None:
    """RFC 6455, 7.1.1: a socket that is closed with input unread is reset, and the goodbye is lost by it."""
    async with echo_server() as (url, endpoint, handler), connected(url, name) as (client,):
        await handler.wait_for("on_connected")
        next(endpoint.sessions).close(3456, "enough")
        assert await read_close(client.wire) == (3456, "enough")
        for _ in range(200):  # more than the kernel takes by itself
            client.wire.send_frame(text_of(["x" * 30_000], name))
            await client.wire.writer.drain()
        client.wire.send_frame(struct.pack("!H", 3456), CLOSE)
        assert await client.wire.read_end() == b""
        assert handler.values("on_message") == []


@sockets
async def test_what_comes_behind_a_broken_message_is_read_as_well(name: str) -> None:
    async with echo_server() as (url, _, handler), connected(url, name) as (client,):
        client.wire.send_frame(b"\xff")
        assert (await read_close(client.wire))[0] in (1007, 3000)
        for _ in range(200):
            client.wire.send_frame(text_of(["x" * 30_000], name))
            await client.wire.writer.drain()
        client.wire.send_frame(struct.pack("!H", 1007), CLOSE)
        assert await client.wire.read_end() == b""
        assert handler.values("on_message") == []


# What may not come in.


@sockets
async def test_a_message_over_the_limit_ends_the_session_with_1009(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with (
        echo_server(max_message_size=1000) as (url, _, handler),
        connected(url, name, name) as (client, other),
    ):
        client.wire.send_frame(text_of(["secret word" * 1000], name))
        assert (await read_close(client.wire))[0] == 1009
        (error,) = await handler.wait_for("on_transport_error")
        assert isinstance(error, MessageTooBig)
        assert error.limit == 1000
        (close,) = await handler.wait_for("on_closed")
        assert isinstance(close, Close)
        assert (close.code, close.clean) == (1009, False)
        await other.send("still here")
        assert await other.messages() == ["still here"]
    check_only_line(caplog)


@sockets
async def test_fragments_over_the_limit_together_end_the_session_with_1009(name: str) -> None:
    async with echo_server(max_message_size=1000) as (url, _, handler), connected(url, name) as (client,):
        client.wire.send_frame(b"x" * 900, TEXT, final=False)
        client.wire.send_frame(b"x" * 900, 0, final=True)
        assert (await read_close(client.wire))[0] == 1009
        assert isinstance((await handler.wait_for("on_transport_error"))[0], MessageTooBig)


@sockets
async def test_a_message_of_just_the_limit_passes(name: str) -> None:
    overhead = 4 if name == "websocket" else 0  # brackets and quotes
    async with echo_server(max_message_size=1000) as (url, _, _), connected(url, name) as (client,):
        await client.send("x" * (1000 - overhead))
        assert await client.messages() == ["x" * (1000 - overhead)]


@sockets
async def test_a_fragmented_message_arrives_whole(name: str) -> None:
    """With a ping between its parts, as RFC 6455 (5.4) allows."""
    async with echo_server() as (url, _, _), connected(url, name) as (client,):
        whole = text_of(["über den Fluß"], name)
        client.wire.send_frame(whole[:5], TEXT, final=False)
        client.wire.send_frame(b"now", PING)
        client.wire.send_frame(whole[5:6], 0, final=False)
        client.wire.send_frame(whole[6:], 0, final=True)
        assert await client.wire.read_frame() == (PONG, b"now")
        assert [message.encode().decode() for message in await client.messages()] == ["über den Fluß"]


BROKEN = {
    "no JSON": b"secret word",
    "an object": b'{"secret": "word"}',
    "a number": b"5",
    "no strings": b'["secret word", 5]',
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "no UTF-8": b'["secret word \xff"]',
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_frame_that_breaks_the_protocol_ends_its_own_session_only(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with echo_server() as (url, _, handler), connected(url, "websocket", "websocket") as (client, other):
        client.wire.send_frame(BROKEN[fault])
        assert await read_close(client.wire) == (3000, "Broken framing.")
        assert isinstance((await handler.wait_for("on_transport_error"))[0], ProtocolError)
        assert await handler.wait_for("on_closed") == [Close(3000, "Broken framing.", clean=False)]
        assert "on_message" not in handler.names()
        await other.send("still here")
        assert await other.messages() == ["still here"]
    check_only_line(caplog)


async def test_a_binary_frame_is_read_like_text_on_a_framed_websocket() -> None:
    async with echo_server() as (url, _, _), connected(url, "websocket") as (client,):
        client.wire.send_frame(b'["binary"]', BINARY)
        assert await client.messages() == ["binary"]


async def test_a_frame_with_a_reserved_bit_ends_the_session_with_1002(caplog: pytest.LogCaptureFixture) -> None:
    """No extension was agreed on (RFC 6455, 5.2)."""
    caplog.set_level(logging.INFO)
    async with echo_server() as (url, _, handler), connected(url, "websocket") as (client,):
        client.wire.send_frame(b'["x"]', 0x40 | TEXT)
        assert (await read_close(client.wire))[0] == 1002
        error = (await handler.wait_for("on_transport_error"))[0]
        assert isinstance(error, ProtocolError)
        assert not isinstance(error, (MessageTooBig, ConnectionLost))
    check_only_line(caplog)


# The handshake.


async def test_the_endpoint_tells_which_reader_it_uses(each_reader: str) -> None:
    async with echo_server() as (_, endpoint, _):
        assert endpoint.websocket_reader == choose_reader(each_reader)[1]


async def test_a_plain_request_is_answered_400() -> None:
    async with echo_server(disconnect_delay=0.1) as (url, endpoint, handler):
        for target in ("/000/x/websocket", "/websocket"):
            head, body = await fetch(url + target)
            assert head.status == 400
            assert body == b"Not a valid websocket request.\n"
        assert handler.names() == ["on_start"]
        await until(lambda: len(endpoint) == 0)


async def test_an_offered_subprotocol_is_agreed_on_if_the_handler_knows_it() -> None:
    class Speaker(RecordingHandler):
        subprotocols = ("v2.chat", "v1.chat")

    async with echo_server(Speaker()) as (url, endpoint, handler):
        client = Client(url, "websocket-raw", headers={"Sec-WebSocket-Protocol": "v0.chat, v1.chat"})
        await client.connect()
        assert client.wire.head is not None
        assert client.wire.head.headers["Sec-WebSocket-Protocol"] == "v1.chat"
        await handler.wait_for("on_connected")
        assert next(endpoint.sessions).handshake.subprotocol == "v1.chat"
        await client.close()


async def test_a_second_socket_with_the_same_ids_is_a_session_of_its_own() -> None:
    async with echo_server() as (url, endpoint, handler):
        first = await Client(url, "websocket", id="same").connect()
        second = await Client(url, "websocket", id="same").connect()
        await handler.wait_for("on_connected", 2)
        assert len(endpoint) == 2
        await first.send("one")
        await second.send("two")
        assert await second.messages() == ["two"]
        assert await first.messages() == ["one"]
        await first.close()
        await second.close()


async def test_an_upgrade_of_the_mounted_url_itself_is_a_raw_websocket() -> None:
    async with echo_server() as (url, _, handler):
        for target in ("/echo", "/echo/"):
            wire = await Wire.open(url)
            wire.upgrade(target)
            assert (await wire.read_head()).status == 101
            wire.send_frame(b"hello")
            assert await wire.read_frame() == (TEXT, b"hello")
            await wire.close()
        await handler.wait_for("on_closed", 2)


# Compression, which is off unless asked for.


async def test_compression_is_not_agreed_on_by_default() -> None:
    async with echo_server() as (url, _, _):
        client = Client(url, "websocket", headers={"Sec-WebSocket-Extensions": "permessage-deflate"})
        head = await client.begin()
        assert head is not None
        assert "Sec-WebSocket-Extensions" not in head.headers
        await client.close()


async def test_compressed_sockets_carry_messages_and_goodbyes() -> None:
    """With a client that can inflate: aiohttp's own."""
    import aiohttp

    async with (
        echo_server(websocket_compression=True, heartbeat_delay=0.05) as (url, endpoint, handler),
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{url}/000/x/websocket", compress=15, autoping=False) as socket,
    ):
        async with asyncio.timeout(GUARD):
            assert socket.compress
            assert await socket.receive_str() == "o"
            await socket.send_json(["x" * 10_000] * 3)
            received: list[str] = []
            while len(received) < 3:
                message = await socket.receive()
                if message.type is aiohttp.WSMsgType.TEXT:
                    received += json.loads(message.data[1:])
            assert received == ["x" * 10_000] * 3
            assert (await socket.receive()).type is aiohttp.WSMsgType.PING
            await socket.pong()
            next(endpoint.sessions).close(3001, "done")
            message = await socket.receive()
            while message.type is aiohttp.WSMsgType.PING:
                message = await socket.receive()
            assert message.data == 'c[3001,"done"]'
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 3001
        await handler.wait_for("on_closed")


# A handler that does not end.


@sockets
@pytest.mark.parametrize("way", ["goodbye", "cut"])
async def test_on_closed_does_not_wait_for_ever_for_a_call_that_hangs(name: str, way: str) -> None:
    """And neither does the server's stop, which cancels that call."""
    async with echo_server(GatedHandler(), disconnect_delay=0.2) as (url, endpoint, handler):
        client = Client(url, name)
        await client.connect()
        await client.send("hangs")
        await handler.wait_for("on_message")
        if way == "goodbye":
            client.wire.send_frame(struct.pack("!H", 1000), CLOSE)
        else:
            client.wire.reset()
        await handler.wait_for("on_closed")
        await until(lambda: len(endpoint) == 0)
        assert not handler.gate.is_set()
        start = asyncio.get_running_loop().time()
        await client.close()
    assert asyncio.get_running_loop().time() - start < GUARD
    assert handler.names().count("on_closed") == 1


@sockets
async def test_a_goodbye_behind_messages_that_wait_for_room_is_heard(name: str) -> None:
    """The client has gone, but what it said before lies unread, since the line is full."""
    async with echo_server(GatedHandler(), receive_buffer_limit=1) as (url, endpoint, handler):
        client = Client(url, name)
        await client.connect()
        for number in range(4):
            await client.send(str(number) + "x" * 60_000)
        client.wire.send_frame(struct.pack("!H", 1000), CLOSE)
        await handler.wait_for("on_message")
        (session,) = endpoint.sessions
        client.wire.writer.close()
        await client.wire.writer.wait_closed()
        now = asyncio.get_running_loop().time()
        for turn in range(50):
            assert not session.look(now + turn / 10)
            await asyncio.sleep(0)
        handler.gate.set()
        assert await handler.wait_for("on_closed") == [Close(1000, "")]
        assert [str(message)[0] for message in handler.values("on_message")] == ["0", "1", "2", "3"]
        assert "on_transport_error" not in handler.names()


async def test_what_becomes_much_when_it_is_inflated_is_read_only_while_there_is_room() -> None:
    """64 KiB that hold 60 MiB: the limit of what waits for a handler counts what comes out of it."""
    limit, size, count = 256 * 1024, 256 * 1024, 240
    compressor = zlib.compressobj(9, wbits=-15)
    handler = GatedHandler()
    async with echo_server(handler, websocket_compression=True, receive_buffer_limit=limit) as (url, _, _):
        wire = await Wire.open(url)
        fields = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Extensions": "permessage-deflate",
        }
        wire.request("GET", "/echo/websocket", headers=fields)
        assert "permessage-deflate" in (await wire.read_head()).headers["Sec-WebSocket-Extensions"]
        await handler.wait_for("on_connected")
        tracemalloc.start()
        try:
            for _ in range(count):
                deflated = compressor.compress(b"x" * size) + compressor.flush(zlib.Z_SYNC_FLUSH)
                wire.send_frame(deflated[:-4], TEXT | 0x40)
            await handler.wait_for("on_message")
            for _ in range(100):
                await asyncio.sleep(0)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 16 * size, "a few messages, not all of them"
        handler.gate.set()
        assert len(await handler.wait_for("on_message", count)) == count
        await wire.close()


@sockets
async def test_a_client_that_pings_and_reads_nothing_is_given_up_after_write_timeout(name: str) -> None:
    """Its pongs wait; its next heartbeat is far away."""
    async with echo_server(write_timeout=0.3, heartbeat_delay=60) as (url, endpoint, handler):
        client = Client(url, name)
        await client.connect()
        await handler.wait_for("on_connected")
        (session,) = endpoint.sessions
        session.look(asyncio.get_running_loop().time())
        async with asyncio.timeout(GUARD):
            while len(endpoint):
                for _ in range(200):
                    client.wire.send_frame(b"p" * 125, PING)
                await asyncio.sleep(0.005)
        await handler.wait_for("on_closed")
        await client.close()
