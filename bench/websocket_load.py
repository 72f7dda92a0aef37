"""Websocket clients as light as Python allows: one thread, epoll, frames built beforehand.

What a server has to answer is known beforehand too, so a reply is checked by comparing bytes: lost, changed,
reordered and foreign messages are all found, and little is parsed.

Knows: client frames, SockJS framing, the handshake.
Does not know: which server answers.
Spec: RFC 6455, 5.2; sockjs-protocol 0.3.3, "Framing and protocol".
"""

from __future__ import annotations

import base64
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

CYCLE: Final = 64
"""Messages of a connection that differ; then they repeat. More than may be in flight."""

MESSAGE_SIZE: Final = 64
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


class Wording(Protocol):
    """How messages travel: what a client sends, and what must come back."""

    greeting: bytes
    """What the server sends before anything else."""

    def frame(self, text: bytes) -> bytes:
        """The client's frame for one message."""
        ...

    def replies(self, texts: Sequence[bytes]) -> Callable[[bytes], int]:
        """A function that is given the bytes that come in and returns how many messages they complete."""
        ...


class PlainWording:
    """A websocket message for each message."""

    greeting = b""

    def frame(self, text: bytes) -> bytes:
        return client_frame(text)

    def replies(self, texts: Sequence[bytes]) -> Callable[[bytes], int]:
        frames = [b"\x81" + bytes((len(text),)) + text for text in texts]
        size = len(frames[0])
        expected = b"".join(frames) * 2
        position = 0

        def check(received: bytes) -> int:
            nonlocal position
            end = position + len(received)
            if expected[position:end] != received:
                raise WrongReply(f"{received[:100]!r} instead of {expected[position:end][:100]!r}")
            completed = end // size - position // size
            position = end % (size * CYCLE)
            return completed

        return check


class SockJSWording:
    """SockJS frames: the server may put several messages into one."""

    greeting = OPEN

    def frame(self, text: bytes) -> bytes:
        return client_frame(b'["%b"]' % text)

    def replies(self, texts: Sequence[bytes]) -> Callable[[bytes], int]:
        expected = b"".join(b'"%b",' % text for text in texts) * 2
        size = len(texts[0]) + 3  # two quotes and a comma
        number = 0
        rest = b""

        def check(received: bytes) -> int:
            nonlocal number, rest
            received = rest + received
            before, start, end = number, 0, len(received)
            while start + 4 <= end:
                length, payload = received[start + 1], start + 2
                if length == 126:
                    length, payload = int.from_bytes(received[payload : payload + 2], "big"), payload + 2
                if payload + length > end:
                    break
                first = number % CYCLE * size
                wanted = b"a[%b]" % expected[first : first + length - 3]
                if received[start] != 0x81 or received[payload : payload + length] != wanted:
                    raise WrongReply(f"{received[start : payload + length][:100]!r} instead of {wanted[:100]!r}")
                start = payload + length
                number += (length - 2) // size
            rest = received[start:]
            return number - before

        return check


class EchoClient:
    """One connection that keeps ``window`` messages in flight.

    Attributes:
        connection: its socket.
        received: messages that came back.
    """

    __slots__ = ("_check", "_frame_size", "_frames", "_sent", "connection", "received")

    def __init__(self, port: int, path: str, wording: Wording, number: int) -> None:
        self.connection, rest = connect(port, path)
        expect(self.connection, rest, wording.greeting)
        texts = [f"client {number:05d} message {turn:05d} ".encode().ljust(MESSAGE_SIZE, b".") for turn in range(CYCLE)]
        self._check = wording.replies(texts)
        frames = [wording.frame(text) for text in texts]
        self._frame_size = len(frames[0])
        self._frames = b"".join(frames) * 2
        self._sent = 0
        self.received = 0

    def send(self, count: int) -> None:
        """Send ``count`` more messages, in one write."""
        first = self._sent % CYCLE * self._frame_size
        self.connection.sendall(self._frames[first : first + count * self._frame_size])
        self._sent += count

    def receive(self) -> int:
        """Read and check what is there; returns how many messages it completes."""
        received = self.connection.recv(65536)
        if not received:
            raise WrongReply("the server closed the connection")
        completed = self._check(received)
        self.received += completed
        return completed

    def finish(self) -> None:
        """Wait for what is in flight, then say goodbye."""
        while self.received < self._sent:
            self.receive()
        self.connection.sendall(CLOSE)
        while self.connection.recv(65536):
            pass
        self.connection.close()


@dataclass(frozen=True, slots=True)
class Round:
    """What one run of the load measured.

    Attributes:
        messages: echoed per second.
        load_busy: part of a core that the load took, 0 to 1.
        server_busy: part of a core that the server took.
        cost: microseconds of the server's CPU time per message.
    """

    messages: float
    load_busy: float
    server_busy: float
    cost: float

    @property
    def refusal(self) -> str:
        """Why ``messages`` says nothing about the server: it was not the limit. Empty if it was."""
        if self.server_busy >= 0.9:
            return ""
        return "the load was the limit" if self.load_busy >= 0.9 else "other processes took the cores"


def echo_round(
    clients: Sequence[EchoClient],
    window: int,
    seconds: float,
    server_seconds: Callable[[], float],
    warm_up: float = 0.3,
) -> Round:
    """Keep ``window`` messages of every client in flight for ``warm_up`` and then for ``seconds``, which count.

    Args:
        server_seconds: CPU time of the server so far.

    Raises:
        WrongReply: a message was lost, changed or out of order.
    """
    poll = select.epoll()
    by_number = {client.connection.fileno(): client for client in clients}
    for client in clients:
        poll.register(client.connection, select.EPOLLIN)
        client.send(window)
    _exchange(poll, by_number, warm_up)
    start, load, server = time.perf_counter(), time.process_time(), server_seconds()
    messages = _exchange(poll, by_number, seconds)
    elapsed = time.perf_counter() - start
    load, server = time.process_time() - load, server_seconds() - server
    poll.close()
    for client in clients:
        client.finish()
    return Round(messages / elapsed, load / elapsed, server / elapsed, server / messages * 1e6)


def _exchange(poll: select.epoll, clients: dict[int, EchoClient], seconds: float) -> int:
    clock = time.perf_counter
    end = clock() + seconds
    messages = 0
    while clock() < end:
        ready = poll.poll(GUARD)
        if not ready:
            raise WrongReply(f"no answer for {GUARD:g} seconds: a message was lost")
        for number, _events in ready:
            client = clients[number]
            completed = client.receive()
            if completed:
                client.send(completed)
                messages += completed
    return messages


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
