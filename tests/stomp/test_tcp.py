"""STOMP over TCP: sockets that are slow, stuck, cut in the middle, ended halfway, or too many."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

import sockbridge
from sockbridge.errors import InvalidOption, SessionClosed
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.connection import StompConnection
from sockbridge.stomp.controllers.mapping import Controller
from sockbridge.stomp.frame import Command, Frame
from sockbridge.stomp.server import StompServer
from sockbridge.stomp.tcp import TcpListener
from tests.fakes import GUARD
from tests.needs import needs
from tests.stomp.clients import wire
from tests.stomp.fakes import RecordingEvents
from tests.stomp.peers import Site, TcpPeer, assert_nothing_left, site
from tests.transports.wire import Wire, until

SMALL = 4096
"""Bytes of a client's receive buffer, so that one that does not read is noticed soon."""


class Rooms:
    """A controller whose handlers wait until the test lets them go on.

    Attributes:
        go: lets ``/wait`` return.
        entered: set when ``/wait`` runs.
        made: how many values ``/flood`` has made.
        bodies: what ``/take`` was given.
    """

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.entered = asyncio.Event()
        self.made = 0
        self.bodies: list[str] = []
        self.controller = Controller()
        self.controller.message_mapping("/wait")(self.wait)
        self.controller.message_mapping("/take")(self.take)
        self.controller.message_mapping("/cancelled")(self.cancelled)
        self.controller.subscribe_mapping("/flood")(self.flood)

    async def wait(self) -> None:
        self.entered.set()
        await self.go.wait()

    async def take(self, body: str) -> None:
        self.bodies.append(body)

    async def cancelled(self) -> None:
        raise asyncio.CancelledError

    async def flood(self) -> AsyncIterator[str]:
        while True:
            self.made += 1
            yield "x" * 10_000


@pytest.fixture
async def rooms() -> Rooms:
    return Rooms()


@pytest.fixture
async def events() -> RecordingEvents:
    return RecordingEvents()


@pytest.fixture
async def here(rooms: Rooms, events: RecordingEvents) -> AsyncIterator[Site]:
    """A server with a TCP listener."""
    async with site(maker(rooms, events)) as running:
        yield running


def maker(rooms: Rooms, events: RecordingEvents) -> Callable[..., StompServer]:
    """What makes the server of a test."""

    def make(*listeners: TcpListener) -> StompServer:
        return StompServer(
            EmbeddedBroker(["/topic"]),
            controllers=[rooms.controller],
            events=[events],
            listeners=listeners,
            compat="spring",  # clients may SEND to topics
        )

    return make


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server with a certificate of its own, and of a client that trusts it."""
    folder: Path = tmp_path_factory.mktemp("tls")
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    command = [needs("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=certificate)


def only(server: StompServer) -> StompConnection:
    """The one connection that has logged in."""
    (connection,) = server.connections
    return connection


async def gone(here: Site) -> None:
    """Until nobody is there, and nothing is held for anybody."""
    await until(lambda: not len(here.listener))
    assert_nothing_left(here.server)


def told(frames: list[Frame]) -> list[str]:
    """The commands of ``frames``."""
    return [frame.command.value for frame in frames]


# Coming in.


async def test_frames_that_come_octet_by_octet_are_understood(here: Site) -> None:
    """STOMP 1.2 knows no packets: TCP cuts where it likes."""
    peer = await here.peer()
    for octet in wire("CONNECT", {"accept-version": "1.2"}) + wire("SEND", {"destination": "/topic/a", "receipt": "ü"}):
        peer.wire.writer.write(bytes([octet]))
        await asyncio.sleep(0)
    assert (await peer.frame()).command is Command.CONNECTED
    assert (await peer.frame()).headers["receipt-id"] == "ü"


async def test_a_connection_tells_the_address_and_the_carrier(here: Site) -> None:
    await here.logged_in()
    connection = only(here.server)
    assert connection.handshake.remote == "127.0.0.1"
    assert connection.handshake.principal is None
    assert connection.carrier.transport == "tcp"
    assert "tcp" in repr(connection)


async def test_frames_before_a_half_close_are_all_answered(here: Site, rooms: Rooms) -> None:
    """A script may pipe its frames in and end its half: ``printf ... | nc``."""
    peer = await here.peer()
    rooms.go.set()
    await peer.send("CONNECT", {"accept-version": "1.2"})
    await peer.send("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "receipt": "1"})
    await peer.send("SEND", {"destination": "/app/wait", "receipt": "2"})
    await peer.send("SEND", {"destination": "/topic/a", "receipt": "3"}, "hello")
    peer.wire.finish()
    assert told(await peer.end()) == ["CONNECTED", "RECEIPT", "RECEIPT", "MESSAGE", "RECEIPT"]
    await gone(here)


async def test_half_close_behind_a_busy_handler_waits_for_it(here: Site, rooms: Rooms) -> None:
    peer = await here.logged_in()
    await peer.send("SEND", {"destination": "/app/wait", "receipt": "1"})
    peer.wire.finish()
    async with asyncio.timeout(GUARD):
        await rooms.entered.wait()
    rooms.go.set()
    assert told(await peer.end()) == ["RECEIPT"]
    await gone(here)


async def test_half_a_frame_before_a_half_close_is_dropped(here: Site, events: RecordingEvents) -> None:
    peer = await here.logged_in()
    await peer.write("SEND\ndestination:/topic/a\n\nhal")
    peer.wire.finish()
    assert await peer.end() == []
    await gone(here)
    assert events.names() == ["on_connected", "on_disconnected"]


async def test_a_client_that_sends_more_than_is_worked_on_is_not_read(here: Site, rooms: Rooms) -> None:
    peer = await here.logged_in(receive_buffer=None)
    await peer.send("SEND", {"destination": "/app/wait"})
    async with asyncio.timeout(GUARD):
        await rooms.entered.wait()
    body = "x" * 100_000
    for _ in range(200):
        await peer.send("SEND", {"destination": "/app/take"}, body)
    transport = peer.wire.writer.transport
    before = -1
    while transport.get_write_buffer_size() != before:  # until the kernel takes no more
        before = transport.get_write_buffer_size()
        await asyncio.sleep(0.05)
    assert before > 5_000_000, "the server has read on"
    assert only(here.server).carrier._received_size < 512 * 1024  # type: ignore[attr-defined]  # what it holds meanwhile
    rooms.go.set()
    assert (await peer.ask("SEND", {"destination": "/app/take"}, "last")).command is Command.RECEIPT
    assert [len(text) for text in rooms.bodies] == [100_000] * 200 + [4]


async def test_what_comes_after_the_end_is_read_and_dropped(here: Site, rooms: Rooms) -> None:
    peer = await here.logged_in()
    only(here.server).close()
    await peer.send("SEND", {"destination": "/app/take"}, "too late")
    assert await peer.end() == []
    peer.cut()
    await gone(here)
    assert rooms.bodies == []


# Faults.


async def test_error_arrives_although_the_client_goes_on_sending(here: Site) -> None:
    """STOMP 1.2, "Connection Lingering": a socket that is closed with unread input is reset, and the ERROR is lost."""
    peer = await here.logged_in()
    await peer.write("NONSENSE\n\n\0")
    for _ in range(50):
        await peer.send("SEND", {"destination": "/topic/a"}, "x" * 20_000)
    frames = await peer.end()
    assert told(frames) == ["ERROR"]
    assert frames[0].headers["message"] == "unknown command"
    peer.cut()
    await gone(here)


async def test_the_clients_own_end_after_ours_ends_the_connection_at_once(here: Site) -> None:
    """Nothing is left to wait for, so the second of lingering is not needed."""
    peer = await here.logged_in()
    loop = asyncio.get_running_loop()
    before = loop.time()
    await peer.send("NACK")
    assert told(await peer.end()) == ["ERROR"]
    await peer.close()
    await gone(here)
    assert loop.time() - before < 0.7


@pytest.mark.slow
async def test_a_client_that_stays_after_the_end_is_cut(here: Site) -> None:
    peer = await here.logged_in()
    await peer.write("NONSENSE\n\n\0")
    assert told(await peer.end()) == ["ERROR"]
    assert len(here.listener) == 1
    await gone(here)


async def test_closing_a_connection_that_was_reset_in_this_very_loop_turn_raises_nothing(here: Site) -> None:
    other = await here.logged_in()
    connection = only(here.server)
    with socket.create_connection(("127.0.0.1", here.listener.port)) as blocking:
        blocking.sendall(wire("CONNECT", {"accept-version": "1.2"}))
        await until(lambda: len(here.server) == 2)
        blocking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _, reset = here.server.connections
    reset.close()  # before the loop has learned of it
    await until(lambda: len(here.server) == 1)
    assert only(here.server) is connection
    assert (await other.ask("SEND", {"destination": "/topic/a"})).command is Command.RECEIPT


async def test_a_handler_that_lets_a_cancellation_out_ends_its_connection_only(
    here: Site, events: RecordingEvents
) -> None:
    other = await here.logged_in()
    peer = await here.logged_in()
    await peer.send("SEND", {"destination": "/app/cancelled"})
    await peer.end()
    await peer.close()
    await until(lambda: len(here.listener) == 1)
    (close,) = await events.wait_for("on_disconnected")
    assert isinstance(close, sockbridge.Close)
    assert close.code == 1011
    assert (await other.ask("SEND", {"destination": "/topic/a"})).command is Command.RECEIPT


async def test_a_reset_client_is_let_go_although_its_handler_never_returns(
    rooms: Rooms, events: RecordingEvents
) -> None:
    async with site(maker(rooms, events), tcp={"handler_grace": 0.05, "shutdown_grace": 0.1}) as here:
        peer = await here.logged_in()
        await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
        await peer.send("SEND", {"destination": "/app/wait"})
        async with asyncio.timeout(GUARD):
            await rooms.entered.wait()
        await peer.send("SEND", {"destination": "/app/take"}, "too late")
        look: Callable[[float], None] = only(here.server).carrier.look  # type: ignore[attr-defined]  # a TcpCarrier
        peer.cut()
        await events.wait_for("on_disconnected")
        assert_nothing_left(here.server)
        look(asyncio.get_running_loop().time() + 1000)  # the clock goes on for it: nothing is left to do
        rooms.go.set()
        await gone(here)
    assert rooms.bodies == []
    assert events.names() == ["on_connected", "on_subscribed", "on_unsubscribed", "on_disconnected"]


# Going out.


async def test_many_small_frames_leave_in_few_writes(here: Site) -> None:
    reads: list[int] = []
    ended = asyncio.Event()

    class Counting(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            reads.append(len(data))
            if b"the last" in data:
                ended.set()

    transport, _ = await asyncio.get_running_loop().create_connection(Counting, "127.0.0.1", here.listener.port)
    subscribe = wire("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    transport.write(wire("CONNECT", {"accept-version": "1.2"}) + subscribe)
    await until(lambda: len(here.server.broker))  # type: ignore[arg-type]  # the embedded one has a length
    await until(lambda: reads)
    reads.clear()
    for number in range(200):
        await here.server.messaging.send("/topic/a", "the last" if number == 199 else "m")
    async with asyncio.timeout(GUARD):
        await ended.wait()
    transport.abort()
    assert sum(reads) > 10_000
    assert len(reads) <= 3, "each frame was written for itself"


async def test_a_client_that_never_reads_is_cut_at_the_limit_and_others_get_all(
    rooms: Rooms, events: RecordingEvents, caplog: pytest.LogCaptureFixture
) -> None:
    async with site(maker(rooms, events), tcp={"send_buffer_limit": 500_000}) as here:
        with caplog.at_level(logging.INFO, "sockbridge.stomp"):
            stuck = await here.logged_in(receive_buffer=SMALL)
            await stuck.send("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
            reader = await here.logged_in()
            await reader.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
            await until(lambda: len(here.server.broker) == 2)  # type: ignore[arg-type]  # the embedded one has a length
            sent = 0
            while len(here.server) == 2:
                assert sent < 200, "it is still there"
                await here.server.messaging.send("/topic/a", "x" * 50_000)
                sent += 1
                assert len((await reader.frame()).body) == 50_000
            assert (await reader.ask("SEND", {"destination": "/topic/b"})).command is Command.RECEIPT
        await until(lambda: len(here.listener) == 1)
    assert "send_buffer_limit (500000 bytes)" in caplog.text


async def test_a_client_that_takes_nothing_for_the_time_out_is_cut(here: Site, rooms: Rooms) -> None:
    stuck = await here.logged_in(receive_buffer=SMALL)
    connection = only(here.server)
    look: Callable[[float], None] = connection.carrier.look  # type: ignore[attr-defined]  # a TcpCarrier
    await stuck.send("SUBSCRIBE", {"id": "1", "destination": "/app/flood"})
    await until(lambda: connection.carrier.buffered > 64 * 1024)
    now = asyncio.get_running_loop().time() + 1000
    look(now)
    look(now + 9.9)
    assert connection.is_open
    look(now + 10)
    assert not connection.is_open
    await gone(here)


async def test_a_client_that_reads_slowly_is_not_cut(here: Site) -> None:
    """It takes some, but more comes than it takes."""
    slow = await here.logged_in(receive_buffer=SMALL)
    connection = only(here.server)
    look: Callable[[float], None] = connection.carrier.look  # type: ignore[attr-defined]  # a TcpCarrier
    await slow.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    now = asyncio.get_running_loop().time() + 1000
    for turn in range(6):
        await fill(here, 200_000 * (turn + 1))
        look(now + 4 * turn)
        before = connection.carrier.buffered
        async with asyncio.timeout(GUARD):
            while connection.carrier.buffered == before:
                await slow.wire.reader.read(SMALL)
    assert connection.is_open


async def test_a_client_that_has_caught_up_is_given_all_the_time_again(here: Site) -> None:
    slow = await here.logged_in(receive_buffer=SMALL)
    connection = only(here.server)
    look: Callable[[float], None] = connection.carrier.look  # type: ignore[attr-defined]  # a TcpCarrier
    await slow.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    now = asyncio.get_running_loop().time() + 1000
    await fill(here, 200_000)
    look(now)
    async with asyncio.timeout(GUARD):
        while connection.carrier.buffered:
            await slow.wire.reader.read(SMALL)
    look(now + 5)
    await fill(here, 200_000)
    look(now + 100)
    look(now + 109)
    assert connection.is_open


async def fill(here: Site, size: int) -> None:
    """Send to ``/topic/a`` until more than ``size`` waits for the one who is there, beyond what the kernel takes."""
    carrier = only(here.server).carrier
    async with asyncio.timeout(GUARD):
        while carrier.buffered <= size:
            await here.server.messaging.send("/topic/a", "x" * 50_000)
            for _ in range(3):
                await asyncio.sleep(0)


async def test_drain_waits_for_a_client_that_does_not_read(here: Site, rooms: Rooms) -> None:
    """A stream is as fast as the one who asked takes it."""
    peer = await here.logged_in(receive_buffer=SMALL)
    await peer.send("SUBSCRIBE", {"id": "1", "destination": "/app/flood"})
    made = -1
    while rooms.made != made or not made:
        made = rooms.made
        await asyncio.sleep(0.05)
    assert made < 1000
    assert only(here.server).carrier.buffered < 200_000
    for _ in range(made + 100):
        assert len((await peer.frame()).body) == 10_000
    peer.cut()
    await gone(here)


async def test_drain_ends_with_the_connection(here: Site) -> None:
    peer = await here.logged_in(receive_buffer=SMALL)
    await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    carrier = only(here.server).carrier
    await carrier.drain()
    await fill(here, 200_000)
    waiting = asyncio.create_task(carrier.drain())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    peer.cut()
    async with asyncio.timeout(GUARD):
        with pytest.raises(SessionClosed):
            await waiting
    carrier.send_prepared(b"too late")
    assert carrier.undelivered == 1  # type: ignore[attr-defined]  # a TcpCarrier
    await gone(here)
    carrier.close()
    carrier.cut("again")  # type: ignore[attr-defined]
    assert not carrier.is_open


async def test_what_waits_is_delivered_before_the_end(here: Site) -> None:
    peer = await here.logged_in()
    await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    await here.server.messaging.send("/topic/a", "x" * 1_000_000)
    await here.server.messaging.send("/topic/a", "the last")
    only(here.server).close()
    first, last = await peer.end()
    assert (len(first.body), last.body) == (1_000_000, b"the last")


async def test_peers_that_vanish_without_a_word_are_found_by_the_kernel(here: Site) -> None:
    await here.logged_in()
    connection = only(here.server).carrier._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    if hasattr(socket, "TCP_KEEPIDLE"):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


# The listener.


@pytest.mark.parametrize("option", ["max_connections", "send_buffer_limit", "write_timeout"])
@pytest.mark.parametrize("value", [0, -1, True, "1", None])
def test_limits_that_are_none_are_refused(option: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=option):
        TcpListener(**{option: value})  # type: ignore[arg-type]


async def test_a_listener_that_has_not_started_stops_without_a_word() -> None:
    listener = TcpListener(port=0)
    await listener.stop()
    assert (len(listener), bool(listener)) == (0, True)


async def test_connections_above_the_limit_are_closed_at_once(
    rooms: Rooms, events: RecordingEvents, caplog: pytest.LogCaptureFixture
) -> None:
    async with site(maker(rooms, events), tcp={"max_connections": 2}) as here:
        first = await here.logged_in()
        await here.logged_in()
        with caplog.at_level(logging.WARNING, "sockbridge.stomp"):
            refused = await here.peer()
            await refused.write("CONNECT\n\n\0")
            assert await refused.wire.read_end() == b""
        assert "max_connections (2)" in caplog.text
        assert (len(here.listener), len(here.server)) == (2, 2)
        first.cut()
        await until(lambda: len(here.listener) == 1)
        await here.logged_in()


async def test_a_port_that_is_taken_stops_the_start_and_leaves_nothing_running(
    rooms: Rooms, events: RecordingEvents
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as blocker:
        first, second = TcpListener(port=0), TcpListener(port=blocker.getsockname()[1])
        app = web.Application()
        sockbridge.mount(app, "/ws", maker(rooms, events)(first, second))
        runner = web.AppRunner(app)
        with pytest.raises(OSError, match=str(second.port)):
            await runner.setup()
        await runner.cleanup()
    with pytest.raises(ConnectionError):
        await Wire.open(f"http://127.0.0.1:{first.port}")


async def test_a_server_can_be_started_again(rooms: Rooms, events: RecordingEvents) -> None:
    listener = TcpListener(port=0, shutdown_grace=0.1)
    server = maker(rooms, events)(listener)
    for _ in range(2):
        await server.on_start()
        peer = TcpPeer(listener.port)
        await peer.open()
        assert await peer.logged_in()
        await server.on_stop()
        assert await peer.end() == []
        await peer.close()
    assert events.names() == ["on_connected", "on_disconnected"] * 2


# Shutdown.


async def test_stop_says_goodbye_to_everybody_within_the_grace(rooms: Rooms, events: RecordingEvents) -> None:
    """Clients that are idle, not logged in, busy, or do not read; over all of them the server stops in time."""
    async with site(maker(rooms, events), tcp={"shutdown_grace": 0.3}, shutdown_grace=0.1) as here:
        idle = await here.logged_in()
        silent = await here.peer()
        busy = await here.logged_in()
        await busy.send("SEND", {"destination": "/app/wait", "receipt": "1"})
        stuck = await here.logged_in(receive_buffer=SMALL)
        await stuck.send("SUBSCRIBE", {"id": "1", "destination": "/app/flood"})
        await until(lambda: rooms.made > 10)
        async with asyncio.timeout(GUARD):
            await rooms.entered.wait()
        loop = asyncio.get_running_loop()
        before = loop.time()
        await here.endpoint.close()
        assert loop.time() - before < 2.0
        assert_nothing_left(here.server)
        assert len(here.listener) == 0
        for peer in (idle, silent, busy):
            assert await peer.wire.read_end() == b""
    assert sorted(events.names()) == ["on_connected"] * 3 + ["on_disconnected"] * 3 + [
        "on_subscribed",
        "on_unsubscribed",
    ]
    closes = {value.code for value in await events.wait_for("on_disconnected", 3)}  # type: ignore[attr-defined]
    assert closes == {1001}


async def test_stop_does_not_wait_for_clients_that_have_gone(rooms: Rooms, events: RecordingEvents) -> None:
    async with site(maker(rooms, events), tcp={"shutdown_grace": 30.0}, shutdown_grace=0.1) as here:
        peer = await here.logged_in()
        stopping = asyncio.create_task(here.endpoint.close())
        assert await peer.end() == []
        await peer.close()
        async with asyncio.timeout(0.9):  # less than the second of lingering
            await stopping
        assert len(here.listener) == 0


async def test_a_handler_that_ends_within_the_grace_is_not_cancelled(rooms: Rooms, events: RecordingEvents) -> None:
    async with site(maker(rooms, events), tcp={"shutdown_grace": 30.0}, shutdown_grace=0.1) as here:
        peer = await here.logged_in()
        await peer.send("SEND", {"destination": "/app/wait"})
        async with asyncio.timeout(GUARD):
            await rooms.entered.wait()
        stopping = asyncio.create_task(here.endpoint.close())
        assert await peer.end() == []
        assert len(here.server) == 1
        rooms.go.set()
        await peer.close()
        async with asyncio.timeout(GUARD):
            await stopping
        assert_nothing_left(here.server)


async def test_a_connection_that_arrives_while_the_server_stops_is_refused(
    rooms: Rooms, events: RecordingEvents
) -> None:
    listener = TcpListener(port=0)
    server = maker(rooms, events)(listener)
    await server.on_start()
    with socket.create_connection(("127.0.0.1", listener.port)) as blocking:
        for _ in range(3):
            await asyncio.sleep(0)  # accepted, perhaps; certainly not told of yet
        await server.on_stop()
        await until(lambda: not len(listener))
        blocking.settimeout(GUARD)
        try:
            blocking.sendall(b"CONNECT\n\n\0")
            assert await asyncio.to_thread(blocking.recv, 100) == b""
        except ConnectionError:  # the backlog was reset
            pass
    assert_nothing_left(server)


# TLS.


async def test_tls_carries_frames_both_ways(
    rooms: Rooms, events: RecordingEvents, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    ours, theirs = tls
    async with site(maker(rooms, events), tls=ours) as here:
        peer = await here.logged_in(tls=theirs)
        await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
        await peer.send("SEND", {"destination": "/topic/a"}, "x" * 300_000)
        assert len((await peer.frame()).body) == 300_000
        await peer.send("DISCONNECT", {"receipt": "bye"})
        assert (await peer.frame()).headers["receipt-id"] == "bye"
        await peer.close()
        await gone(here)


async def test_error_arrives_over_tls_although_the_client_goes_on_sending(
    rooms: Rooms, events: RecordingEvents, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    ours, theirs = tls
    async with site(maker(rooms, events), tls=ours) as here:
        peer = await here.logged_in(tls=theirs)
        await peer.write("NONSENSE\n\n\0")
        for _ in range(50):
            await peer.send("SEND", {"destination": "/topic/a"}, "x" * 20_000)
        assert (await peer.frame()).command is Command.ERROR
        peer.cut()
        await gone(here)


async def test_a_client_over_tls_that_never_reads_is_cut(
    rooms: Rooms, events: RecordingEvents, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    ours, theirs = tls
    async with site(maker(rooms, events), tls=ours, tcp={"send_buffer_limit": 500_000}) as here:
        peer = await here.logged_in(tls=theirs, receive_buffer=SMALL)
        await peer.send("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
        await until(lambda: len(here.server.broker))  # type: ignore[arg-type]  # the embedded one has a length
        sent = 0
        while only_or_none(here.server) is not None:
            assert sent < 400, "it is still there"
            await here.server.messaging.send("/topic/a", "x" * 50_000)
            await asyncio.sleep(0)
            sent += 1
        await gone(here)


def only_or_none(server: StompServer) -> StompConnection | None:
    return next(server.connections, None)


async def test_the_end_of_a_client_over_tls_ends_its_connection(
    rooms: Rooms, events: RecordingEvents, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """TLS knows no half-closed connection."""
    ours, theirs = tls
    async with site(maker(rooms, events), tls=ours) as here:
        for end in ("close", "reset"):
            peer = await here.logged_in(tls=theirs)
            if end == "close":
                await peer.close()
            else:
                peer.cut()
            await gone(here)
    assert events.names() == ["on_connected", "on_disconnected"] * 2


async def test_stop_over_tls_ends_everybody(
    rooms: Rooms, events: RecordingEvents, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    ours, theirs = tls
    async with site(maker(rooms, events), tls=ours, tcp={"shutdown_grace": 0.3}) as here:
        idle = await here.logged_in(tls=theirs)
        stuck = await here.logged_in(tls=theirs, receive_buffer=SMALL)
        await stuck.send("SUBSCRIBE", {"id": "1", "destination": "/app/flood"})
        await until(lambda: rooms.made > 10)
        async with asyncio.timeout(3.0):
            await here.endpoint.close()
        assert await idle.wire.read_end() == b""
        assert len(here.listener) == 0
        assert_nothing_left(here.server)
        stuck.cut()


async def test_a_handshake_that_ends_after_the_stop_leads_nowhere(
    rooms: Rooms, events: RecordingEvents, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """Else a client would talk to a server whose clock stands still, for ever."""
    ours, theirs = tls
    listener = TcpListener(port=0, ssl=ours)
    server = maker(rooms, events)(listener)
    await server.on_start()
    late = await Wire.open(f"http://127.0.0.1:{listener.port}")
    other = TcpPeer(listener.port, tls=theirs)
    await other.open()  # so the one before has been accepted
    assert await other.logged_in()
    await other.close()
    await until(lambda: not len(listener))
    await server.on_stop()
    async with asyncio.timeout(GUARD):
        await late.writer.start_tls(theirs, server_hostname="127.0.0.1")
    late.writer.write(wire("CONNECT", {"accept-version": "1.2"}))
    assert await late.read_end() == b""
    late.reset()
    assert len(listener) == 0
    assert events.names() == ["on_connected", "on_disconnected"]  # the other's
    assert_nothing_left(server)


async def test_a_client_without_tls_is_not_served_where_tls_is(
    rooms: Rooms, events: RecordingEvents, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async with site(maker(rooms, events), tls=tls[0]) as here:
        plain = await here.peer()
        await plain.write("CONNECT\naccept-version:1.2\n\n\0")
        assert b"CONNECTED" not in await plain.wire.read_end()
        assert len(here.listener) == 0


# Another loop.


def test_uvloop_serves_as_well() -> None:
    """Its transports are no subclasses of asyncio's, and refuse calls after their end."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not made for this system")
    uvloop.run(asyncio.wait_for(_talk(), 2 * GUARD))


async def _talk() -> None:
    rooms, events = Rooms(), RecordingEvents()
    async with site(maker(rooms, events), tcp={"shutdown_grace": 0.1}) as here:
        half = await here.logged_in()
        await half.send("SEND", {"destination": "/app/take", "receipt": "1"}, "hello")
        half.wire.finish()
        assert told(await half.end()) == ["RECEIPT"]
        faulty = await here.logged_in()
        await faulty.write("NONSENSE\n\n\0")
        for _ in range(20):
            await faulty.send("SEND", {"destination": "/topic/a"}, "x" * 20_000)
        assert told(await faulty.end()) == ["ERROR"]
        await faulty.close()
        reset = await here.logged_in()
        reset.cut()
        await gone(here)
        await here.logged_in()
    assert len(here.listener) == 0
    assert events.names() == ["on_connected", "on_disconnected"] * 4
    assert rooms.bodies == ["hello"]
