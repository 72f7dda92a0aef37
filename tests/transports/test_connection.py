"""Reading a socket in the place of aiohttp's protocol: nothing that came early is lost, and that protocol hears on."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import sockbridge
from sockbridge.transports.connection import (
    READ_SIZE,
    BufferedConnection,
    WebSocketConnection,
    make_read_buffer,
    take_over,
)

from ..fakes import GUARD, RecordingHandler
from ..needs import needs
from .frames import CLOSE, client_frame
from .wire import SOCKETS, TEXT, Client, Wire, echo_server, until

sockets = pytest.mark.parametrize("name", SOCKETS)
readers = pytest.mark.usefixtures("each_reader")


def handshake(wire: Wire, target: str) -> bytes:
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {wire.host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def target(name: str) -> str:
    return "/echo/000/early/websocket" if name == "websocket" else "/echo/websocket"


def message_frame(name: str, message: str) -> bytes:
    return client_frame((json.dumps([message]) if name == "websocket" else message).encode(), mask=bytes(4))


async def read_messages(wire: Wire, name: str, count: int) -> list[str]:
    """Behind the frame that opens the session."""
    client = Client("http://unused", name)
    client.wire = wire
    if name == "websocket":
        assert await wire.read_frame() == (TEXT, b"o")
    return await client.messages(count)


# What comes early.


@readers
@sockets
async def test_what_comes_in_one_segment_with_the_handshake_is_read(name: str) -> None:
    async with echo_server() as (url, _, handler):
        wire = await Wire.open(url)
        frames = [message_frame(name, message) for message in ("a", "b", "c")]
        wire.writer.write(handshake(wire, target(name)) + b"".join(frames))
        assert (await wire.read_head()).status == 101
        assert await read_messages(wire, name, 3) == ["a", "b", "c"]
        await wire.close()
        await handler.wait_for("on_closed")
        assert handler.names()[:2] == ["on_start", "on_connected"]


@readers
@sockets
async def test_half_a_frame_that_comes_with_the_handshake_is_completed_by_what_follows(name: str) -> None:
    async with echo_server() as (url, _, _):
        wire = await Wire.open(url)
        frames = message_frame(name, "a") + message_frame(name, "b")
        wire.writer.write(handshake(wire, target(name)) + frames[:-3])
        assert (await wire.read_head()).status == 101
        assert await read_messages(wire, name, 1) == ["a"]
        wire.writer.write(frames[-3:] + message_frame(name, "c"))
        client = Client(url, name)
        client.wire = wire
        assert await client.messages(2) == ["b", "c"]
        await wire.close()


class Doorkeeper:
    """Lets a handshake wait until ``gate`` is set."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def __call__(self, request: web.Request) -> str:
        self.asked.set()
        await self.gate.wait()
        return "somebody"


@sockets
async def test_what_comes_while_the_handshake_is_looked_at_is_read_in_order(name: str) -> None:
    door = Doorkeeper()
    async with echo_server(authenticate=door) as (url, _, _):
        wire = await Wire.open(url)
        wire.writer.write(handshake(wire, target(name)))
        await door.asked.wait()
        for message in "abcde":
            wire.writer.write(message_frame(name, message))
            for _ in range(20):
                await asyncio.sleep(0)
        door.gate.set()
        wire.writer.write(message_frame(name, "f"))
        assert (await wire.read_head()).status == 101
        assert await read_messages(wire, name, 6) == list("abcdef")
        await wire.close()


@sockets
@pytest.mark.parametrize("waits", [False, True])
async def test_a_client_that_sends_very_much_early_is_read_to_its_end(name: str, waits: bool) -> None:
    """More than aiohttp holds for a request, and more than waits for a busy handler."""
    count, size = 400, 60_000  # more than the buffers of two kernels
    door = Doorkeeper()
    if not waits:
        door.gate.set()
    handler = RecordingHandler()
    async with echo_server(handler, authenticate=door, receive_buffer_limit=100_000) as (url, _, _):
        wire = await Wire.open(url)
        frames = [message_frame(name, f"{number:04}" + "x" * size) for number in range(count)]
        wire.writer.write(handshake(wire, target(name)) + b"".join(frames))
        if waits:
            await door.asked.wait()
            outgoing = wire.writer.transport
            left, same = 0, 0
            while same < 50:  # until nobody takes any more
                await asyncio.sleep(0.005)
                same = same + 1 if outgoing.get_write_buffer_size() == left else 0
                left = outgoing.get_write_buffer_size()
            door.gate.set()
            assert left > 0, "aiohttp does not take whatever a stranger sends"
        assert (await wire.read_head()).status == 101
        received = await handler.wait_for("on_message", count)
        assert [str(message)[:4] for message in received] == [f"{number:04}" for number in range(count)]
        await wire.close()


@sockets
async def test_a_goodbye_that_comes_with_the_handshake_is_heard(name: str) -> None:
    async with echo_server() as (url, endpoint, handler):
        wire = await Wire.open(url)
        goodbye = client_frame(b"\x0f\xa1bye", CLOSE)
        wire.writer.write(handshake(wire, target(name)) + message_frame(name, "last words") + goodbye)
        assert (await wire.read_head()).status == 101
        (close,) = await handler.wait_for("on_closed")
        assert close == sockbridge.Close(4001, "bye")
        assert handler.names() == ["on_start", "on_connected", "on_message", "on_closed"]
        await wire.read_end()
        await wire.close()
        await until(lambda: len(endpoint) == 0)


@sockets
async def test_a_breach_that_comes_with_the_handshake_is_one(name: str) -> None:
    async with echo_server() as (url, endpoint, handler):
        wire = await Wire.open(url)
        wire.writer.write(handshake(wire, target(name)) + b"\x83\x00")
        assert (await wire.read_head()).status == 101
        (close,) = await handler.wait_for("on_closed")
        assert isinstance(close, sockbridge.Close)
        assert close.code == 1002
        await wire.close()
        await until(lambda: len(endpoint) == 0)


@sockets
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_that_leaves_right_behind_its_handshake_leaves_nothing_behind(name: str, how: str) -> None:
    async with echo_server() as (url, endpoint, handler):
        for _ in range(5):
            wire = await Wire.open(url)
            wire.writer.write(handshake(wire, target(name)))
            if how == "rst":
                wire.reset()
            else:
                await wire.close()
        last = await Client(url, name).connect()
        await until(lambda: len(endpoint) == 1)
        await last.close()
        await until(lambda: len(endpoint) == 0)
        names = handler.names()
        assert names.count("on_connected") == names.count("on_closed")


# Connections beside each other.


async def test_connections_share_a_buffer_and_nothing_in_it() -> None:
    async with echo_server() as (url, _, _):
        wires = [await Wire.open(url) for _ in range(3)]
        for wire in wires:
            wire.upgrade(target("websocket-raw"))
            assert (await wire.read_head()).status == 101
        frames = [client_frame(letter * 3000) for letter in (b"a", b"b", b"c")]
        for start in range(0, len(frames[0]), 500):
            for wire, frame in zip(wires, frames, strict=True):
                wire.writer.write(frame[start : start + 500])
                await wire.writer.drain()
                await asyncio.sleep(0)
        for wire, letter in zip(wires, (b"a", b"b", b"c"), strict=True):
            assert await wire.read_frame() == (TEXT, letter * 3000)
            await wire.close()


async def test_a_frame_larger_than_a_read_arrives_whole() -> None:
    async with echo_server() as (url, _, _):
        wire = await Wire.open(url)
        wire.upgrade(target("websocket-raw"))
        await wire.read_head()
        payload = b"x" * (3 * READ_SIZE)
        wire.send_frame(payload)
        assert await wire.read_frame() == (TEXT, payload)
        await wire.close()


@asynccontextmanager
async def tls_server(folder: Path, handler: RecordingHandler) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    request = "req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    command = [needs("openssl"), *request.split(), "-keyout", folder / "key", "-out", folder / "crt"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(folder / "crt", folder / "key")
    app = web.Application()
    sockbridge.mount(app, "/echo", handler, allowed_origins="*")
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving)
        await site.start()
        yield f"https://127.0.0.1:{site.port}/echo", ssl.create_default_context(cafile=folder / "crt")
    finally:
        await runner.cleanup()


async def test_over_tls_it_is_the_same(tmp_path: Path) -> None:
    handler = RecordingHandler(echo=True)
    async with tls_server(tmp_path, handler) as (url, trust):
        wire = await Wire.open(url, tls=trust)
        large = "x" * 200_000
        frames = message_frame("websocket-raw", "early") + message_frame("websocket-raw", large)
        wire.writer.write(handshake(wire, target("websocket-raw")) + frames)
        assert (await wire.read_head()).status == 101
        assert await read_messages(wire, "websocket-raw", 2) == ["early", large]
        wire.send_frame(b"later")
        assert await wire.read_frame() == (TEXT, b"later")
        await wire.close()
        await handler.wait_for("on_closed")


async def test_over_tls_many_records_in_one_read_arrive_unchanged(tmp_path: Path) -> None:
    """asyncio reads each record into what is left of the buffer."""
    handler = RecordingHandler()
    async with tls_server(tmp_path, handler) as (url, trust):
        wire = await Wire.open(url, tls=trust)
        wire.upgrade(target("websocket-raw"))
        assert (await wire.read_head()).status == 101
        sent = [f"{number:03}" * number for number in range(200)]
        for message in sent:
            wire.send_frame(message.encode())  # a record each
        received = await handler.wait_for("on_message", len(sent))
        assert received == sent
        await wire.close()
        await handler.wait_for("on_closed")


# Who read before.


class Former:
    """aiohttp's protocol: writes down what it hears."""

    def __init__(self, early: bytes = b"", *, is_full: bool = False) -> None:
        self.early = early
        self.writing_paused = is_full
        self.calls: list[tuple[object, ...]] = []

    def keep_alive(self, value: bool) -> None:
        self.calls.append(("keep_alive", value))

    def set_parser(self, parser: Any) -> None:
        self.calls.append(("set_parser",))
        if self.early:
            assert parser.feed_data(self.early) == (False, b"")
        parser.feed_eof()  # as it does when the connection ends

    def pause_writing(self) -> None:
        self.calls.append(("pause_writing",))

    def resume_writing(self) -> None:
        self.calls.append(("resume_writing",))

    def connection_lost(self, fault: Exception | None) -> None:
        self.calls.append(("connection_lost", fault))


class Listener:
    """Writes down what it hears, and whether the former protocol had heard it before."""

    def __init__(self, former: Former) -> None:
        self.former = former
        self.is_full = False
        self.received: list[bytes] = []
        self.lost: list[tuple[object, ...]] = []

    def on_received(self, received: bytes) -> None:
        self.received.append(received)

    def on_lost(self) -> None:
        self.lost.append(self.former.calls[-1])


class Transport(asyncio.Transport):
    """Writes down what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.protocol: asyncio.BaseProtocol | None = None

    def pause_reading(self) -> None:
        self.calls.append("pause_reading")

    def resume_reading(self) -> None:
        self.calls.append("resume_reading")

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.calls.append("set_protocol")
        self.protocol = protocol


async def taken_over(former: Former) -> tuple[Any, Listener, Transport]:
    """The protocol that reads now, whom it tells, and what was done to the transport, a turn later."""
    transport, listener = Transport(), Listener(former)
    take_over(transport, former, listener, make_read_buffer())  # type: ignore[arg-type]  # a fake
    assert listener.received == [], "not within the call: that is in the task of a request"
    await asyncio.sleep(0)
    return transport.protocol, listener, transport


async def test_taking_over_tells_the_former_protocol_and_exchanges_it() -> None:
    former = Former()
    connection, listener, transport = await taken_over(former)
    assert former.calls == [("keep_alive", False), ("set_parser",)]
    assert isinstance(connection, BufferedConnection)
    assert transport.calls == ["set_protocol"]
    assert listener.received == []


async def test_what_the_former_protocol_held_comes_first_and_once() -> None:
    """Nothing is read before it; then the listener may pause reading again."""
    former = Former(b"early")
    connection, listener, transport = await taken_over(former)
    assert transport.calls == ["pause_reading", "set_protocol", "resume_reading"]
    assert listener.received == [b"early"]
    connection.get_buffer(-1)[:5] = b"later"
    connection.buffer_updated(5)
    assert listener.received == [b"early", b"later"]


KINDS: dict[str, Callable[[Former, Listener], BufferedConnection | WebSocketConnection]] = {
    "buffered": lambda former, listener: BufferedConnection(former, listener, make_read_buffer()),  # type: ignore[arg-type]
    "plain": lambda former, listener: WebSocketConnection(former, listener),  # type: ignore[arg-type]
}
"""The two kinds of protocol, for a former one that is a fake."""

kinds = pytest.mark.parametrize("kind", KINDS)


def made(kind: str) -> tuple[Any, Former, Listener]:
    former = Former()
    listener = Listener(former)
    return KINDS[kind](former, listener), former, listener


def test_what_a_plain_one_receives_is_told() -> None:
    connection, _, listener = made("plain")
    assert not isinstance(connection, asyncio.BufferedProtocol)
    connection.data_received(b"one")
    connection.data_received(b"other")
    assert listener.received == [b"one", b"other"]


def test_what_was_received_is_not_changed_by_the_next_read() -> None:
    connection, _, listener = made("buffered")
    for word in (b"one", b"other"):
        connection.get_buffer(-1)[: len(word)] = word
        connection.buffer_updated(len(word))
    assert listener.received == [b"one", b"other"]
    assert all(type(received) is bytes for received in listener.received)


def test_a_part_of_the_buffer_is_no_copy() -> None:
    """TLS reads one record behind the other, and tells of all of them at once (``asyncio.sslproto``)."""
    connection, _, listener = made("buffered")
    buffer = connection.get_buffer(-1)
    buffer[:3] = b"one"
    rest = buffer[3:]
    rest[:5] = b"other"
    connection.buffer_updated(8)
    assert listener.received == [b"oneother"]


def test_a_read_may_fill_the_buffer() -> None:
    connection, _, listener = made("buffered")
    assert len(connection.get_buffer(-1)) == READ_SIZE
    connection.get_buffer(1)[:] = b"x" * READ_SIZE
    connection.buffer_updated(READ_SIZE)
    assert listener.received == [b"x" * READ_SIZE]


@kinds
def test_both_hear_whether_the_buffer_is_full(kind: str) -> None:
    """``writer.drain()`` and ``writing_paused`` go by what the former protocol hears."""
    connection, former, listener = made(kind)
    assert not listener.is_full
    connection.pause_writing()
    assert listener.is_full
    connection.resume_writing()
    assert not listener.is_full
    assert former.calls == [("pause_writing",), ("resume_writing",)]


async def test_a_buffer_that_is_full_already_is_told() -> None:
    _, listener, _ = await taken_over(Former(is_full=True))
    assert listener.is_full


@kinds
@pytest.mark.parametrize("fault", [None, ConnectionResetError("reset")])
def test_the_end_is_told_to_the_former_protocol_first(kind: str, fault: Exception | None) -> None:
    connection, former, listener = made(kind)
    assert connection.eof_received() is None, "the transport closes itself"
    assert listener.lost == []
    connection.connection_lost(fault)
    assert former.calls == [("connection_lost", fault)]
    assert listener.lost == [("connection_lost", fault)]


@sockets
@pytest.mark.parametrize("how", ["fin", "rst", "goodbye"])
async def test_aiohttp_knows_of_no_connection_that_has_ended(name: str, how: str) -> None:
    handler = RecordingHandler(echo=True)
    app = web.Application()
    sockbridge.mount(app, "/echo", handler, allowed_origins="*")
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert runner.server is not None
        client = await Client(f"http://127.0.0.1:{site.port}/echo", name).connect()
        await client.send("there")
        assert await client.messages() == ["there"]
        assert len(runner.server.connections) == 1
        if how == "rst":
            client.wire.reset()
        elif how == "goodbye":
            client.wire.send_frame(b"\x03\xe8", CLOSE)
            await client.wire.read_end()
        else:
            client.wire.finish()
        await handler.wait_for("on_closed")
        await until(lambda: runner.server is not None and not runner.server.connections)
        await client.close()
    finally:
        async with asyncio.timeout(GUARD):
            await runner.cleanup()
