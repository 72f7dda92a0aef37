"""The relay passes bytes on, and does to connections what networks do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sockbridge.errors import UsageError
from sockbridge.testing.loop import Guard
from sockbridge.testing.relay import PIECE, Relay
from tests.transports.wire import until

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Server:
    """Takes connections for a test; ``accepted`` gives their streams."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[Streams] = asyncio.Queue()
        self.port = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.put_nowait((reader, writer))


@asynccontextmanager
async def served() -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_server(server.take, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


@asynccontextmanager
async def joined(relay: Relay, server: Server) -> AsyncIterator[tuple[Streams, Streams]]:
    """``(client, server)``, joined by ``relay``."""
    client = await asyncio.open_connection("127.0.0.1", relay.port)
    async with Guard("the relay did not connect"):
        other = await server.accepted.get()
    try:
        yield client, other
    finally:
        for _, writer in (client, other):
            writer.transport.abort()


async def test_a_relay_is_to_be_entered() -> None:
    with pytest.raises(UsageError, match="to be entered"):
        Relay("127.0.0.1", 1).url_for("http://localhost/echo")


async def test_a_server_that_is_not_there_is_a_reset(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as server:
        port = server.port
    with caplog.at_level(logging.INFO, "sockbridge.testing"):
        async with Relay("127.0.0.1", port) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.transport.abort()
            await until(lambda: len(relay) == 0)
    assert "the server does not take a connection" in caplog.text


async def test_more_connections_than_allowed_are_reset(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        served() as server,
        Relay("127.0.0.1", server.port, max_connections=1) as relay,
        joined(relay, server) as ((one, _), _),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.transport.abort()
        assert not one.at_eof()
    assert "max_connections (1)" in caplog.text


async def test_bytes_pass_both_ways_and_ends_one_by_one() -> None:
    much = bytes(range(256)) * 4096
    async with served() as server, Relay("127.0.0.1", server.port) as relay, joined(relay, server) as (client, other):
        for (_, writer), (reader, _) in ((client, other), (other, client)):
            writer.write(much)
            writer.write_eof()
            async with Guard("not all has come"):
                assert await reader.read() == much
        async with Guard("the relay keeps a connection that has ended"):
            await until(lambda: len(relay) == 0)
        assert relay


@pytest.mark.parametrize("is_paused", [False, True])
async def test_a_cut_resets_both_ends_and_new_connections_pass(is_paused: bool) -> None:
    async with served() as server, Relay("127.0.0.1", server.port) as relay:
        async with joined(relay, server) as (client, other):
            if is_paused:
                relay.pause()
            await relay.cut()
            assert len(relay) == 0
            for reader, _ in (client, other):
                with pytest.raises(ConnectionResetError):
                    await reader.read()
        relay.resume()
        async with joined(relay, server) as ((reader, _), (_, writer)):
            writer.write(b"again")
            assert await reader.readexactly(5) == b"again"


async def test_a_cut_without_reset_is_an_end() -> None:
    async with served() as server, Relay("127.0.0.1", server.port) as relay, joined(relay, server) as (client, other):
        await relay.cut(reset=False)
        for reader, _ in (client, other):
            assert await reader.read() == b""


async def test_an_end_that_a_client_does_not_take_becomes_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockbridge.testing.relay.LINGER", 0.05)
    async with served() as server, Relay("127.0.0.1", server.port) as relay, joined(relay, server) as (client, other):
        client[1].transport.pause_reading()  # type: ignore[attr-defined]  # a transport reads as well
        other[1].write(bytes(64 * 1024 * 1024))
        size = -1
        while size != (size := other[1].transport.get_write_buffer_size()):  # until the network is full
            await asyncio.sleep(0.05)  # no event tells that the kernel takes no more
        await relay.cut(reset=False)
        assert len(relay) == 0
        with pytest.raises(ConnectionResetError):
            await other[0].read()


async def test_a_cut_of_nothing_does_nothing() -> None:
    async with served() as server, Relay("127.0.0.1", server.port) as relay:
        await relay.cut()
        await relay.close()
        await relay.close()


async def test_a_reset_of_one_end_is_one_of_the_other_even_while_paused() -> None:
    async with served() as server, Relay("127.0.0.1", server.port) as relay:
        for is_paused in (False, True):
            if is_paused:
                relay.pause()
            async with joined(relay, server) as ((_, writer), (reader, _)):
                relay_links = len(relay)
                assert relay_links == 1
                reset(writer)
                with pytest.raises(ConnectionResetError):
                    await reader.read()
                await until(lambda: len(relay) == 0)


async def test_who_is_paused_takes_nothing_and_sends_on() -> None:
    size = 64 * 1024 * 1024
    async with served() as server, Relay("127.0.0.1", server.port) as relay, joined(relay, server) as (client, other):
        relay.pause()
        other[1].transport.set_write_buffer_limits(high=0)
        other[1].write(bytes(size))
        draining = asyncio.create_task(other[1].drain())
        client[1].write(b"I am here")
        assert await other[0].readexactly(9) == b"I am here"
        assert other[1].transport.get_write_buffer_size() > size // 2
        assert not draining.done()
        relay.resume()
        async with Guard("not all has come"):
            assert await client[0].readexactly(size) == bytes(size)
            await draining


async def test_a_server_on_ipv6_is_reached() -> None:
    server = Server()
    try:
        listener = await asyncio.start_server(server.take, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with Relay("::1", listener.sockets[0].getsockname()[1]) as relay, joined(relay, server) as (client, other):
        client[1].write(b"x")
        assert await other[0].readexactly(1) == b"x"
    listener.close()


async def test_a_delay_holds_pieces_back() -> None:
    async with served() as server, Relay("127.0.0.1", server.port) as relay, joined(relay, server) as (client, other):
        loop = asyncio.get_running_loop()
        relay.delay = 0.05
        for (_, writer), (reader, _) in ((client, other), (other, client)):
            begin = loop.time()
            writer.write(b"x")
            await reader.readexactly(1)
            assert loop.time() - begin >= 0.05
    assert PIECE > 0


async def test_the_url_of_a_relay_keeps_path_and_scheme() -> None:
    async with Relay("127.0.0.1", 1) as relay:
        assert relay.url_for("http://127.0.0.1:80/echo?a=b") == f"http://127.0.0.1:{relay.port}/echo?a=b"
        assert relay.url_for("https://localhost/") == f"https://localhost:{relay.port}/"
        assert relay.url_for("ws://[::1]:1/x") == f"ws://127.0.0.1:{relay.port}/x"


def reset(writer: asyncio.StreamWriter) -> None:
    from tests.transports.wire import Wire

    Wire(asyncio.StreamReader(), writer, "").reset()
