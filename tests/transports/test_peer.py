"""Peers that take nothing, slowly, or vanish; the last for real in ``test_silent_loss.py``."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from typing import Any

import pytest

from sockbridge.errors import WriteTimeout
from sockbridge.transports.peer import Peer, _seconds_unacknowledged


class FakeTransport:
    """A transport whose buffer holds what the test says; its own protocol, too."""

    def __init__(self, *, tls: bool = False) -> None:
        self.size = 0
        self.writing_paused = False
        self.high: int | None = None
        self._tls = tls

    def get_extra_info(self, name: str) -> object:
        return object() if name == "sslcontext" and self._tls else None

    def get_write_buffer_size(self) -> int:
        return self.size

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def fill(self, size: int) -> None:
        self.size, self.writing_paused = size, True


def watch(transport: FakeTransport, write_timeout: float = 10) -> Peer:
    fake: Any = transport
    return Peer(fake, fake, write_timeout)


def test_a_peer_that_takes_nothing_is_gone_after_write_timeout() -> None:
    transport = FakeTransport()
    peer = watch(transport)
    transport.fill(70_000)
    assert peer.fault(100) is None
    assert peer.fault(109.9) is None
    assert isinstance(peer.fault(110), WriteTimeout)


def test_every_byte_that_is_taken_starts_the_clock_anew() -> None:
    transport = FakeTransport()
    peer = watch(transport)
    for step in range(10):
        transport.fill(70_000 - step)
        assert peer.fault(step * 9.0) is None


def test_a_refilled_buffer_is_no_stall() -> None:
    """The peer took all between two looks, and we wrote as much again."""
    transport = FakeTransport()
    peer = watch(transport)
    transport.fill(20_000)
    assert peer.fault(0) is None
    peer.was_written = True
    transport.fill(70_000)
    assert peer.fault(11) is None


def test_an_empty_buffer_forgets_the_stall() -> None:
    transport = FakeTransport()
    peer = watch(transport)
    transport.fill(70_000)
    assert peer.fault(0) is None
    transport.writing_paused = False
    assert peer.fault(5) is None
    transport.fill(70_000)
    assert peer.fault(11) is None


def test_over_tls_the_buffer_is_smaller_and_the_patience_longer() -> None:
    """Bytes leave it in steps, so progress shows later."""
    transport = FakeTransport(tls=True)
    peer = watch(transport)
    assert transport.high == 65_536
    transport.fill(70_000)
    assert peer.fault(0) is None
    assert peer.fault(19) is None
    assert isinstance(peer.fault(20), WriteTimeout)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel by means of Linux")
async def test_the_kernel_tells_what_is_acknowledged() -> None:
    """A peer that reads leaves nothing waiting; one that does not is there all the same."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
    with client, server:
        server.setblocking(False)
        client.setblocking(False)
        await loop.sock_sendall(server, b"x")
        assert await loop.sock_recv(client, 1) == b"x"
        async with asyncio.timeout(5):
            while _seconds_unacknowledged(server) is not None:
                await asyncio.sleep(0)
        with suppress(BlockingIOError):
            while server.send(bytes(65_536)):  # until both kernels' buffers are full
                continue
        silence = _seconds_unacknowledged(server)
        assert silence is not None
        assert silence < 1
    assert _seconds_unacknowledged(server) is None  # closed
