"""Peers that vanish, stall or read slowly, on every connection that lasts: streams and websockets."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

import sockbridge
from sockbridge.errors import ConnectionLost, SendBufferOverflow, WriteTimeout
from sockbridge.sockjs.framing import Close
from sockbridge.sockjs.session import HIGH_WATER, Session

from ..fakes import GUARD, RecordingHandler, busy_tasks
from ..needs import needs
from .wire import ALL, LASTING, Client, connected, echo_server, until

INTERRUPTED = Close(1002, "Connection interrupted", clean=False)
NO_LIMIT = 2**30
SMALL = 4096
"""Bytes of a receive buffer that is soon full."""

lasting = pytest.mark.parametrize("name", LASTING)


async def stall(session: Session, size: int = 8000, text: str = "x") -> int:
    """Send until the peer's buffers are full and ``session`` holds something; returns how many messages."""
    count = 0
    async with asyncio.timeout(GUARD):
        while session.buffered < 2 * size:
            session.send(f"{count:08}" + text * size)
            count += 1
            await asyncio.sleep(0)
    return count


# Cut off.


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_cut_offs_on_all_transports_are_told_within_a_second_with_default_settings(how: str) -> None:
    """The error, then the end, once each; a poll that waits is noticed as well as a stream."""
    async with echo_server() as (url, endpoint, handler), connected(url, *ALL) as clients:
        await handler.wait_for("on_connected", len(ALL))
        await until(lambda: all(session.receiver is not None for session in endpoint.sessions))
        start = asyncio.get_running_loop().time()
        for client in clients:
            if how == "rst":
                client.wire.reset()
            else:
                client.wire.finish()
        closes = await handler.wait_for("on_closed", len(ALL))
        assert asyncio.get_running_loop().time() - start < 1.2
        assert closes == [INTERRUPTED] * len(ALL)
        for session in {caller for _, caller, _ in handler.calls if caller is not None}:
            assert handler.names(session) == ["on_connected", "on_transport_error", "on_closed"]
        assert all(type(error) is ConnectionLost for error in handler.values("on_transport_error"))


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("name", ALL)
async def test_a_cut_off_leaves_nothing_behind(name: str, how: str) -> None:
    """No session, no task."""
    async with echo_server(disconnect_delay=0.1) as (url, endpoint, handler):
        before = busy_tasks()
        client = await Client(url, name).connect()
        await handler.wait_for("on_connected")
        await until(lambda: all(session.receiver is not None for session in endpoint.sessions))
        if how == "rst":
            client.wire.reset()
        else:
            client.wire.finish()
        await handler.wait_for("on_closed")
        await until(lambda: len(endpoint) == 0)
        await client.close()
        await until(lambda: busy_tasks() <= before)
        assert handler.names() == ["on_start", "on_connected", "on_transport_error", "on_closed"]


@lasting
async def test_a_client_that_leaves_at_once_is_noticed_like_any_other(name: str) -> None:
    """The reset may overtake the answer to the request itself."""
    async with echo_server(disconnect_delay=0.1) as (url, endpoint, handler):
        for _ in range(10):
            client = Client(url, name)
            begun = asyncio.ensure_future(client.begin())
            while client.wire is None:
                await asyncio.sleep(0)
            client.wire.reset()
            await asyncio.gather(begun, return_exceptions=True)
        async with connected(url, name):
            await until(lambda: len(endpoint) <= 1)
        await until(lambda: len(endpoint) == 0)
        assert handler.names().count("on_connected") == handler.names().count("on_closed")


async def test_a_stream_that_comes_back_after_a_cut_off_is_told_1002() -> None:
    """What was written to the dead connection is lost, so the session cannot go on as if it were not."""
    async with echo_server() as (url, _, handler):
        client = await Client(url, "xhr_streaming").connect()
        client.wire.reset()
        await client.begin()
        assert await client.frame() == 'c[1002,"Connection interrupted"]'
        assert handler.values("on_closed") == [INTERRUPTED]
        await client.close()


# Stalled.


@lasting
async def test_a_peer_that_takes_nothing_is_given_up_after_write_timeout(name: str) -> None:
    async with (
        echo_server(RecordingHandler(), write_timeout=0.3, response_limit=NO_LIMIT) as (url, endpoint, handler),
        connected(url, name, receive_buffer=SMALL),
        connected(url, name) as (other,),
    ):
        await handler.wait_for("on_connected", 2)
        slow, healthy = endpoint.sessions
        await stall(slow)
        assert slow.is_open
        (error,) = await handler.wait_for("on_transport_error")
        assert type(error) is WriteTimeout
        await handler.wait_for("on_closed")
        assert handler.names(slow) == ["on_connected", "on_transport_error", "on_closed"]
        assert slow.undelivered > 0
        healthy.send("still here")
        assert await other.messages() == ["still here"]


@lasting
async def test_a_peer_above_the_send_buffer_limit_is_closed_with_1008(name: str) -> None:
    limit = 200_000
    async with echo_server(RecordingHandler(), send_buffer_limit=limit, response_limit=NO_LIMIT) as served:
        url, endpoint, handler = served
        async with connected(url, name, receive_buffer=SMALL), connected(url, name) as (other,):
            await handler.wait_for("on_connected", 2)
            slow, healthy = endpoint.sessions
            most = 0
            while slow.is_open:
                slow.send("x" * 8000)
                most = max(most, slow.buffered)
                await asyncio.sleep(0)
            assert limit - 10_000 < most <= limit
            assert slow.buffered == 0
            (error,) = await handler.wait_for("on_transport_error")
            assert isinstance(error, SendBufferOverflow)
            assert await handler.wait_for("on_closed") == [Close(1008, "Too many messages waiting", clean=False)]
            healthy.send("still here")
            assert await other.messages() == ["still here"]
            assert healthy.undelivered == 0


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
@lasting
async def test_a_peer_above_the_limit_loses_messages_where_that_was_chosen(name: str, policy: str) -> None:
    """What was lost is counted, and what arrives is in order."""
    options = {"on_overflow": policy, "send_buffer_limit": 200_000, "response_limit": NO_LIMIT}
    async with (
        echo_server(RecordingHandler(), **options) as (url, endpoint, handler),
        connected(url, name, receive_buffer=SMALL) as (client,),
    ):
        await handler.wait_for("on_connected")
        (session,) = endpoint.sessions
        sent = await stall(session)
        for _ in range(50):
            session.send(f"{sent:08}" + "y" * 8000)
            sent += 1
        assert session.undelivered > 0
        assert session.is_open
        received = [int(message[:8]) for message in await client.messages(sent - session.undelivered)]
        assert received == sorted(set(received))
        assert (received[-1] == sent - 1) is (policy == "drop_oldest")
        assert (received == list(range(len(received)))) is (policy == "drop_newest")


@lasting
async def test_a_slow_reader_that_resumes_gets_everything_in_order(name: str) -> None:
    async with (
        echo_server(RecordingHandler(), response_limit=NO_LIMIT) as (url, endpoint, handler),
        connected(url, name, receive_buffer=SMALL) as (client,),
    ):
        await handler.wait_for("on_connected")
        (session,) = endpoint.sessions
        count = await stall(session)
        assert [int(message[:8]) for message in await client.messages(count)] == list(range(count))
        assert session.undelivered == 0


@lasting
async def test_drain_bounds_what_waits_for_a_slow_reader(name: str) -> None:
    """A producer loop goes as fast as its reader."""
    count, produced, most = 3000, 0, 0

    async def produce(session: Session) -> None:
        nonlocal produced, most
        for number in range(count):
            session.send(f"{number:08}" + "x" * 2000)
            produced += 1
            most = max(most, session.buffered)
            await session.drain()
        async for _ in session:
            break

    async with (
        echo_server(produce, response_limit=NO_LIMIT) as (url, endpoint, _),
        connected(url, name, receive_buffer=SMALL) as (client,),
    ):
        (session,) = endpoint.sessions
        await until(lambda: session.buffered > HIGH_WATER)
        assert produced < count
        assert [int(message[:8]) for message in await client.messages(count)] == list(range(count))
        assert most < HIGH_WATER + 2100


async def test_a_burst_within_one_loop_turn_is_no_overflow_for_a_peer_that_reads() -> None:
    """Twice the limit at once: it is flushed before it is judged."""
    async with (
        echo_server(RecordingHandler(), send_buffer_limit=100_000) as (url, endpoint, handler),
        connected(url, "websocket") as (client,),
    ):
        await handler.wait_for("on_connected")
        (session,) = endpoint.sessions
        for number in range(100):
            session.send(f"{number:08}" + "x" * 2000)
        assert session.is_open
        assert len(await client.messages(100)) == 100


@lasting
async def test_a_session_of_a_peer_that_reads_nothing_can_still_be_closed(name: str) -> None:
    """The goodbye cannot be written, so the peer is given up after ``write_timeout``."""
    async with echo_server(RecordingHandler(), write_timeout=0.2, disconnect_delay=0.1, response_limit=NO_LIMIT) as (
        url,
        endpoint,
        handler,
    ):
        before = busy_tasks()
        async with connected(url, name, receive_buffer=SMALL):
            await handler.wait_for("on_connected")
            (session,) = endpoint.sessions
            await stall(session)
            session.close()
            assert await handler.wait_for("on_closed") == [Close(3000, "Go away!")]
            await until(lambda: len(endpoint) == 0)
        await until(lambda: busy_tasks() <= before)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A folder with a self-signed ``crt`` and its ``key``."""
    request = "req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    command = [needs("openssl"), *request.split(), "-keyout", tmp_path / "key", "-out", tmp_path / "crt"]
    subprocess.run(command, check=True, capture_output=True)
    return tmp_path


@pytest.mark.parametrize("name", ["xhr_streaming", "websocket"])
async def test_a_tls_peer_that_takes_nothing_is_given_up_as_well(name: str, certificate: Path) -> None:
    """And what TLS holds back is bounded; asyncio's own limit for it is 512 KiB."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate / "crt", certificate / "key")
    trust = ssl.create_default_context(cafile=certificate / "crt")
    handler = RecordingHandler()
    app = web.Application()
    endpoint = sockbridge.mount(app, "/echo", handler, allowed_origins="*", write_timeout=0.3, response_limit=NO_LIMIT)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving)
        await site.start()
        client = Client(f"https://127.0.0.1:{site.port}/echo", name, receive_buffer=SMALL, tls=trust)
        await client.connect()
        await handler.wait_for("on_connected")
        (session,) = endpoint.sessions
        await stall(session)
        (error,) = await handler.wait_for("on_transport_error")
        assert type(error) is WriteTimeout
        await handler.wait_for("on_closed")
        client.wire.reset()
    finally:
        await runner.cleanup()


class Gusher(RecordingHandler):
    """Sends 40 MB as soon as a client is there, without a look at whether it takes them."""

    async def on_connected(self, session: Session) -> None:
        await super().on_connected(session)
        for _ in range(400):
            session.send("x" * 100_000)


@lasting
async def test_a_burst_in_on_connected_meets_the_limit_like_any_other(name: str) -> None:
    async with echo_server(Gusher()) as (url, _, handler), connected(url, name):
        (close,) = await handler.wait_for("on_closed")
        assert isinstance(close, Close)
        assert close.code == 1008


@lasting
async def test_a_client_that_closes_its_half_and_takes_nothing_leaves_no_connection(name: str) -> None:
    """asyncio closes a transport when its buffer is empty, which it never will be."""
    before = busy_tasks()
    async with echo_server(write_timeout=0.3, disconnect_delay=0.3) as (url, endpoint, _):
        client = await Client(url, name).connect()
        await until(lambda: any(session.receiver is not None for session in endpoint.sessions))
        (session,) = endpoint.sessions
        running = busy_tasks() - before
        await stall(session)
        client.wire.writer.write_eof()
        await until(lambda: len(endpoint) == 0)
        await until(lambda: len(busy_tasks() - before) < len(running))
        await client.close()
