"""Peers that vanish without FIN or RST, as phones do: behind a cable that is pulled in a network namespace."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiohttp import web

import sockbridge
from sockbridge.errors import ConnectionLost, PongTimeout, RemoteError

from ..fakes import RecordingHandler
from ..needs import absent, needs
from .wire import STREAMING, Client, until

NEAR_ADDRESS, FAR_ADDRESS = "192.0.2.1", "192.0.2.2"  # seen by nobody outside of the two namespaces
CLONE_NEWNET = 0x40000000


class Cable:
    """Two network namespaces and a pair of devices between them; the machine's own network is not touched."""

    def __init__(self, ip: str, tag: str) -> None:
        self._ip = ip
        self.near, self.far = f"sockbridge-near-{tag}", f"sockbridge-far-{tag}"

    def plug_in(self) -> None:
        self._run("netns", "add", self.near)
        self._run("netns", "add", self.far)
        self._run("-n", self.near, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", self.far)
        for namespace, address in ((self.near, NEAR_ADDRESS), (self.far, FAR_ADDRESS)):
            self._run("-n", namespace, "addr", "add", f"{address}/30", "dev", "cable")
            self._run("-n", namespace, "link", "set", "cable", "up")

    def pull(self) -> None:
        self._run("-n", self.far, "link", "set", "cable", "down")

    def remove(self) -> None:
        for namespace in (self.near, self.far):
            subprocess.run([self._ip, "netns", "del", namespace], check=False, capture_output=True)

    def listen(self) -> socket.socket:
        """A listening socket of the near end."""
        return self._inside(self.near, lambda: socket.create_server((NEAR_ADDRESS, 0)))

    def connect(self, address: tuple[str, int]) -> socket.socket:
        """A connected socket of the far end."""
        return self._inside(self.far, lambda: socket.create_connection(address, timeout=5))

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._ip, *arguments], check=True, capture_output=True)

    def _inside(self, namespace: str, make: Callable[[], socket.socket]) -> socket.socket:
        # In a thread that ends, since a namespace belongs to a thread.
        def enter() -> socket.socket:
            libc = ctypes.CDLL(None, use_errno=True)
            with (Path("/run/netns") / namespace).open() as file:
                if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            return make()

        with ThreadPoolExecutor(1) as threads:
            return threads.submit(enter).result()


@pytest.fixture
def cable() -> Iterator[Cable]:
    cable = Cable(needs("ip"), str(os.getpid() % 100_000))
    try:
        cable.plug_in()
    except subprocess.CalledProcessError as error:
        cable.remove()
        absent(f"no network namespace could be made, which takes root: {error.stderr.decode().strip()}")
    yield cable
    cable.remove()


async def lose(cable: Cable, name: str, *, writes: bool, **options: float) -> tuple[RemoteError, float]:
    """Connect ``name`` through ``cable`` and pull it; ``(error, seconds until the handler was told)``."""
    handler = RecordingHandler()
    app = web.Application()
    endpoint = sockbridge.mount(app, "/echo", handler, allowed_origins="*", disconnect_delay=0.5, **options)  # type: ignore[arg-type]  # the seconds
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        listening = cable.listen()
        await web.SockSite(runner, listening).start()
        url = f"http://{NEAR_ADDRESS}:{listening.getsockname()[1]}/echo"
        client = Client(url, name, connect=cable.connect)
        await client.connect()
        await handler.wait_for("on_connected")
        (session,) = endpoint.sessions
        loop = asyncio.get_running_loop()
        cable.pull()
        start = loop.time()
        if writes:
            session.send("into the void")
        (error,) = await handler.wait_for("on_transport_error")
        took = loop.time() - start
        await handler.wait_for("on_closed")
        await until(lambda: len(endpoint) == 0)
        client.wire.reset()
        assert isinstance(error, RemoteError)
        return error, took
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("name", STREAMING)
async def test_a_stream_is_given_up_within_write_timeout_of_the_next_write(cable: Cable, name: str) -> None:
    """Small writes vanish in the kernel's buffer; only the kernel knows."""
    error, took = await lose(cable, name, writes=True, write_timeout=0.5, heartbeat_delay=20)
    assert isinstance(error, ConnectionLost)
    assert 0.3 < took < 1.5


@pytest.mark.slow
async def test_a_quiet_stream_is_given_up_after_a_heartbeat(cable: Cable) -> None:
    error, took = await lose(cable, "xhr_streaming", writes=False, write_timeout=0.5, heartbeat_delay=0.5)
    assert isinstance(error, ConnectionLost)
    assert took < 2


@pytest.mark.parametrize("name", ["websocket", "websocket-raw"])
async def test_a_quiet_websocket_is_given_up_within_heartbeat_and_pong_timeout(cable: Cable, name: str) -> None:
    error, took = await lose(cable, name, writes=False, heartbeat_delay=0.5, pong_timeout=0.5)
    assert type(error) is PongTimeout
    assert 0.5 < took < 1.7
