"""SIGTERM to a process with open sessions: everybody gets a goodbye, and it ends in under two seconds."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest

from .fakes import GUARD
from .transports.wire import ALL, LASTING, SOCKETS, STREAMING, Client, Wire, fetch

GOODBYE = 'c[1001,"Server is shutting down"]'
MOST = 2.0
"""Seconds from SIGTERM to the end of the process."""


class Server:
    """A process with an endpoint at ``url``."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url
        self._asked_at = 0.0

    def terminate(self) -> None:
        self._asked_at = monotonic()
        self.process.send_signal(signal.SIGTERM)

    async def end(self) -> tuple[dict[str, int], str, float]:
        """Wait for the end of the process: ``(calls of the handler, its log, seconds since SIGTERM)``."""
        async with asyncio.timeout(3 * GUARD):
            output, log = await self.process.communicate()
        took = monotonic() - self._asked_at
        assert self.process.returncode == 0, log.decode()
        return json.loads(output), log.decode(), took


@asynccontextmanager
async def running() -> AsyncIterator[Server]:
    """A server process, killed if it is still there."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        number, port = listening.fileno(), listening.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            "-m",
            "tests.shutdown_server",
            str(number),
            pass_fds=[number],
            cwd=Path(__file__).parents[1],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(GUARD):
            line = await process.stdout.readline()
        assert line == b"ready\n", (await process.communicate())[1].decode()
        yield Server(process, f"http://127.0.0.1:{port}/echo")
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def goodbye_of(client: Client) -> str:
    """The last frame: as the transport says goodbye; messages before it are passed over."""
    while True:
        frame = await client.frame()
        if frame.startswith("c["):
            return frame


async def is_refused(url: str) -> bool:
    """Whether nobody listens; asked until it is so."""
    async with asyncio.timeout(GUARD):
        while True:
            try:
                await fetch(url)
            except (ConnectionRefusedError, ConnectionResetError):
                return True


async def test_everybody_who_reads_gets_a_goodbye_and_the_process_ends() -> None:
    """Six clients of each transport; the handler hears the end of every session."""
    async with running() as server:
        clients = [Client(server.url, name) for name in ALL for _ in range(6)]
        await asyncio.gather(*(client.connect() for client in clients))
        # A request on a connection of its own comes after all polls, so they all wait by now.
        await fetch(server.url)
        server.terminate()
        goodbyes = await asyncio.gather(*(goodbye_of(client) for client in clients))
        assert set(goodbyes) == {GOODBYE}
        await asyncio.gather(*(client.close() for client in clients))
        calls, log, took = await server.end()
        assert calls == {"connected": len(clients), "closed": len(clients)}
        assert took < MOST
        assert log == ""


async def test_sockets_get_the_close_frame_with_1001_and_streams_a_clean_end() -> None:
    async with running() as server:
        clients = [await Client(server.url, name).connect() for name in LASTING]
        server.terminate()
        for client in clients:
            if client.name in STREAMING:
                assert await client.frame() == GOODBYE
                assert await client.frame() == ""
            else:
                assert await goodbye_of(client) == GOODBYE
                if client.name == "websocket":
                    assert await client.frame() == GOODBYE
            await client.close()
        assert (await server.end())[2] < MOST


@pytest.mark.parametrize("name", LASTING)
async def test_a_peer_that_does_not_read_does_not_hold_the_shutdown(name: str) -> None:
    """It is cut off after the grace; the others have had their goodbye."""
    async with running() as server:
        deaf = await Client(server.url, name, receive_buffer=4096).connect()
        other = await Client(server.url, name).connect()
        await deaf.send("flood")
        await asyncio.wait_for(deaf.wire.reader.read(1), GUARD)  # it has begun; nothing is read from now on
        for _ in range(100):  # hundred more requests, so that the buffers are full
            await fetch(server.url)
        server.terminate()
        assert await goodbye_of(other) == GOODBYE
        calls, _, took = await server.end()
        assert calls == {"connected": 2, "closed": 2}
        assert took < MOST
        deaf.wire.reset()
        await other.close()


@pytest.mark.parametrize("name", ["websocket", "xhr", "eventsource"])
async def test_a_handler_that_is_stuck_does_not_hold_the_shutdown(name: str) -> None:
    """It is cancelled after the grace, and hears the end all the same."""
    async with running() as server:
        client = await Client(server.url, name).connect()
        await client.send("stuck")
        await fetch(server.url)
        server.terminate()
        assert await goodbye_of(client) == GOODBYE
        calls, _, took = await server.end()
        assert calls == {"connected": 1, "closed": 1}
        assert took < MOST
        await client.close()


@pytest.mark.parametrize("size", [100, 10_000_000])
async def test_a_request_that_never_ends_does_not_hold_the_shutdown(size: int) -> None:
    """A phone that lost its network in the middle of a body; or one whose body was refused, and is still awaited."""
    async with running() as server:
        client = await Client(server.url, "xhr").connect()
        wire = await Wire.open(server.url)
        wire.request("POST", f"{client.path}/xhr_send", b'["half', {"Content-Length": str(size)})
        await fetch(server.url)
        server.terminate()
        assert await goodbye_of(client) == GOODBYE
        calls, _, took = await server.end()
        assert calls == {"connected": 1, "closed": 1}
        assert took < MOST
        wire.reset()
        await client.close()


async def test_new_sessions_are_refused_during_the_shutdown() -> None:
    """On connections that are still open; the port itself is closed."""
    async with running() as server:
        stuck = await Client(server.url, "websocket").connect()
        await stuck.send("stuck")
        kept = await Wire.open(server.url)
        kept.request("GET", "/echo/info")
        await kept.read_head()
        await kept.read_body()
        server.terminate()
        assert await goodbye_of(stuck) == GOODBYE
        assert await is_refused(server.url)
        try:
            kept.request("POST", "/echo/000/new/xhr")
            assert (await kept.read_head()).status == 503
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # closed already, which is a refusal as well
        calls, _, took = await server.end()
        assert calls == {"connected": 1, "closed": 1}
        assert took < MOST
        await kept.close()
        await stuck.close()


async def test_clients_between_two_polls_hear_nothing_but_their_sessions_end() -> None:
    async with running() as server:
        clients = [Client(server.url, "xhr") for _ in range(5)]
        for client in clients:
            await client.begin()
            assert await client.frame() == "o"
        await fetch(server.url)
        server.terminate()
        calls, _, took = await server.end()
        assert calls == {"connected": 5, "closed": 5}
        assert took < MOST
        for client in clients:
            await client.close()


@pytest.mark.parametrize("name", SOCKETS)
async def test_a_peer_that_does_not_answer_the_close_frame_does_not_hold_the_shutdown(name: str) -> None:
    async with running() as server:
        client = await Client(server.url, name).connect()
        server.terminate()
        assert await goodbye_of(client) == GOODBYE
        calls, _, took = await server.end()  # the client's connection stays open all the time
        assert calls == {"connected": 1, "closed": 1}
        assert took < MOST
        await client.close()
