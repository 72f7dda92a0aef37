"""STOMP clients over TCP as light as Python allows: blocking sockets, frames taken apart at their NULs.

They speak STOMP 1.1 and keep to what CoilMQ understands as well: no colon in a value, and no more on its way to the
server at a time than CoilMQ reads at once, since it fails where a read ends inside the headers of a frame.

Knows: the few frames that measuring needs; numbered bodies.
Does not know: which server answers.
Spec: STOMP 1.1.
"""

from __future__ import annotations

import re
import socket
from typing import Final

from .websocket_load import GUARD, WrongReply

MESSAGE_SIZE: Final = 64
READ_SIZE: Final = 256 * 1024

find_number = re.compile(rb"\n\n#(\d{8})#").search
"""The number in the body of a frame."""


def numbered_body(number: int, size: int = MESSAGE_SIZE) -> bytes:
    """``number``, filled up to ``size`` bytes."""
    return (b"#%08d#" % number).ljust(size, b".")


def numbered_send(destination: str, number: int, size: int = MESSAGE_SIZE, headers: str = "") -> bytes:
    """A SEND with such a body.

    Args:
        headers: further ones, each with its line end.
    """
    head = f"SEND\ndestination:{destination}\ncontent-length:{size}\n{headers}\n".encode()
    return b"%b%b\0" % (head, numbered_body(number, size))


def number_of(frame: bytes) -> int:
    """The number in the body of a MESSAGE.

    Raises:
        WrongReply: there is none.
    """
    found = find_number(frame) if frame.startswith(b"MESSAGE\n") else None
    if found is None:
        raise WrongReply(f"{frame[:300]!r} instead of a MESSAGE")
    return int(found[1])


class Client:
    """A client that has logged in."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), GUARD)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        self.send(b"CONNECT\naccept-version:1.1\nhost:localhost\n\n\0")
        self.expect(b"CONNECTED\n")

    def fileno(self) -> int:
        """For epoll."""
        return self.socket.fileno()

    def send(self, octets: bytes) -> None:
        """One write."""
        self.socket.sendall(octets)

    def receive(self) -> list[bytes]:
        """The frames that have come, at least a part of one; none holds its NUL. Bodies must hold none.

        Raises:
            WrongReply: nothing came, or the server closed.
        """
        try:
            received = self.socket.recv(READ_SIZE)
        except TimeoutError:
            raise WrongReply(f"nothing came for {GUARD:g} seconds") from None
        if not received:
            raise WrongReply("the server closed a connection")
        *frames, self._rest = (self._rest + received).split(b"\0")
        return frames

    def expect(self, beginning: bytes) -> bytes:
        """The one frame that must come now, and nothing behind it.

        Raises:
            WrongReply: another came.
        """
        frames: list[bytes] = []
        while not frames:
            frames = self.receive()
        if len(frames) > 1 or self._rest or not frames[0].startswith(beginning):
            raise WrongReply(f"{frames[0][:300]!r} and {len(frames) - 1} more instead of {beginning!r}")
        return frames[0]

    def close(self) -> None:
        """Cut it."""
        self.socket.close()
