"""Websocket connections that mostly wait: the handshake, frames of clients, answers to pings.

Knows: client frames, the handshake.
Does not know: which server answers.
Spec: RFC 6455, 5.2; sockjs-protocol 0.3.3, "Framing and protocol".
"""

from __future__ import annotations

import base64
import os
import select
import socket
import time
from typing import Final

GUARD: Final = 10.0
PING: Final = b"\x89\x00"
PONG: Final = b"\x8a\x80\x00\x00\x00\x00"
CLOSE: Final = b"\x88\x82\x00\x00\x00\x00\x03\xe8"
OPEN: Final = b"\x81\x01o"


class WrongReply(Exception):
    """A server sent something else than it should."""


def client_frame(payload: bytes, first: int = 0x81) -> bytes:
    """One masked frame; ``payload`` has at most 125 bytes."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[position % 4] for position, byte in enumerate(payload))
    return bytes((first, 0x80 | len(payload))) + mask + masked


def connect(port: int, path: str) -> tuple[socket.socket, bytes]:
    """A websocket after its handshake, and what has come after that."""
    key = base64.b64encode(os.urandom(16)).decode()
    connection = socket.create_connection(("127.0.0.1", port), GUARD)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        received = connection.recv(4096)
        if not received:
            raise WrongReply(f"the handshake ended early: {head[:200]!r}")
        head += received
    head, _, rest = head.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 "):
        raise WrongReply(f"no handshake: {head[:200]!r}")
    return connection, rest


def expect(connection: socket.socket, received: bytes, wanted: bytes) -> None:
    """Read until exactly ``wanted`` has come; ``received`` has come already."""
    while len(received) < len(wanted):
        more = connection.recv(len(wanted) - len(received))
        if not more:
            break
        received += more
    if received != wanted:
        raise WrongReply(f"{received!r} instead of {wanted!r}")


class IdleClients:
    """Connections that only listen, and answer pings."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._connections: dict[int, socket.socket] = {}
        self.pings = 0

    def add(self, connection: socket.socket) -> None:
        """One more connection."""
        self._connections[connection.fileno()] = connection
        self._poll.register(connection, select.EPOLLIN)

    def listen(self, seconds: float) -> None:
        """Answer pings for so long.

        Raises:
            WrongReply: the server closed a connection.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for number, _events in self._poll.poll(left):
                connection = self._connections[number]
                received = connection.recv(65536)
                if not received:
                    raise WrongReply("the server closed an idle connection")
                if received.startswith(PING):
                    connection.sendall(PONG)
                self.pings += 1

    def close(self) -> None:
        """Cut every connection."""
        self._poll.close()
        for connection in self._connections.values():
            connection.close()
