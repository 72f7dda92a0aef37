"""Frames as clients send them, and streams cut into pieces: what the tests of both readers are made of."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import Protocol

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

MASK = b"\x37\xfa\x21\x3d"


class Compressor(Protocol):
    """A ``zlib.compressobj``."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self, mode: int, /) -> bytes: ...


def client_frame(payload: bytes, opcode: int = TEXT, *, final: bool = True, mask: bytes | None = MASK) -> bytes:
    """One frame.

    Args:
        opcode: with reserved bits, if any.
        mask: None for a frame without one.
    """
    first, size = opcode | (0x80 if final else 0), len(payload)
    flag = 0 if mask is None else 0x80
    if size < 126:
        head = struct.pack("!BB", first, flag | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, flag | 126, size)
    else:
        head = struct.pack("!BBQ", first, flag | 127, size)
    if mask is None:
        return head + payload
    if any(mask):  # one of zeros is a mask, too
        payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return head + mask + payload


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """``stream`` in pieces that end at ``places``."""
    ends = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(ends)]


def deflated(compressor: Compressor, payload: bytes) -> bytes:
    """The payload of a compressed message; RFC 7692, 7.2.1."""
    return (compressor.compress(payload) + compressor.flush(2)).removesuffix(b"\x00\x00\xff\xff")


BREACHES: dict[str, tuple[bytes, int]] = {
    # name: what is sent, the close code it leads to
    **{f"opcode {opcode:#x}": (bytes([0x80 | opcode, 0x80]), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"reserved bits {bits:#x} of text": (bytes([0x80 | bits | TEXT, 0x80]), 1002) for bits in range(0x10, 0x80, 16)},
    **{f"reserved bits {bits:#x} of a ping": (bytes([0x80 | bits | PING, 0x80]), 1002) for bits in (0x10, 0x20, 0x40)},
    "a fragment of nothing": (client_frame(b"a", CONTINUATION), 1002),
    "a first fragment of nothing": (client_frame(b"a", CONTINUATION, final=False), 1002),
    "text within text": (client_frame(b"a", TEXT, final=False) + client_frame(b"b", TEXT), 1002),
    "text within binary": (client_frame(b"a", BINARY, final=False) + client_frame(b"b", TEXT), 1002),
    "binary within text": (client_frame(b"a", TEXT, final=False) + client_frame(b"b", BINARY), 1002),
    "a start within a message": (client_frame(b"a", TEXT, final=False) * 2, 1002),
    "text within an empty start": (client_frame(b"", TEXT, final=False) + client_frame(b"b", TEXT), 1002),
    "a fragmented ping": (bytes([PING, 0x80]), 1002),
    "a fragmented pong": (bytes([PONG, 0x80]), 1002),
    "a fragmented close": (bytes([CLOSE, 0x80]), 1002),
    "a long ping": (b"\x89\xfe\x00\x7e", 1002),
    "a very long pong": (b"\x8a\xff" + bytes(8), 1002),
    "a long close": (b"\x88\xfe\x00\x7e", 1002),
    "a close of one byte": (client_frame(b"\x03", CLOSE), 1002),
    **{
        f"a close with {code}": (client_frame(struct.pack("!H", code), CLOSE), 1002)
        for code in (0, 1, 999, 1004, 1005, 1015, 1016, 2000, 2999)
    },
    "a close whose reason is no UTF-8": (client_frame(b"\x03\xe8\xff", CLOSE), 1007),
    "a close whose reason is cut short": (client_frame(b"\x03\xe8" + "ü".encode()[:1], CLOSE), 1007),
}
"""What RFC 6455 forbids: 5.2, 5.4, 5.5, 7.4.1."""
