"""WebSocket frames: those of clients to messages, messages to frames, and their compression.

``FrameReader`` is the reader in Python, for wherever the one in C is not there (``compiled_reader.py``). Both are
fed what a socket brings and return the messages that it completes. A message is aiohttp's ``WSMessage``: its type,
its payload (a ``CLOSE`` has a code there, 0 for none, and the reason in ``extra``). The last one of a client that
breaks the protocol is an ``ERROR`` with a ``WebSocketError``; nothing follows it.

Knows: frames, masks, fragments, limits, deflate.
Does not know: sockets, SockJS.
Spec: RFC 6455, 5 (framing) and 7.4 (close codes); RFC 7692, 7.2 (permessage-deflate).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType

# First bytes of unfragmented server frames (RFC 6455, 5.2).
TEXT: Final = 0x81
BINARY: Final = 0x82
CLOSE: Final = 0x88
PONG: Final = 0x8A
PING_FRAME: Final = b"\x89\x00"

DEFLATED: Final = 0x40  # RSV1 in the first byte (RFC 7692, 6)

_KINDS: Final = {
    0x0: WSMsgType.CONTINUATION,
    0x1: WSMsgType.TEXT,
    0x2: WSMsgType.BINARY,
    0x8: WSMsgType.CLOSE,
    0x9: WSMsgType.PING,
    0xA: WSMsgType.PONG,
}
_CLOSE_CODES: Final = frozenset(map(int, WSCloseCode))
_MASKED: Final = 0x80
_MEDIUM: Final = 0xFE  # masked, and the size is in the next two bytes
_SYNC_TAIL: Final = b"\x00\x00\xff\xff"  # RFC 7692, 7.2.1: what senders leave away

_header_medium = struct.Struct("!BBH").pack
_header_long = struct.Struct("!BBQ").pack


# The heads of small text frames, by their size: what is written most.
_SHORT_TEXT: Final = [bytes((TEXT, size)) for size in range(126)]


def websocket_frame(opcode: int, payload: bytes) -> bytes:
    """One unmasked frame, as servers send them.

    Args:
        opcode: with the FIN bit, ``TEXT`` or ``BINARY``.

    Spec: RFC 6455, 5.2.
    """
    size = len(payload)
    if size < 126:
        return (_SHORT_TEXT[size] if opcode == TEXT else bytes((opcode, size))) + payload
    if size < 65536:
        return _header_medium(opcode, 126, size) + payload
    return _header_long(opcode, 127, size) + payload


class Reader(Protocol):
    """Turns what a socket brings into messages.

    Attributes:
        messages: those that have been completed; whoever feeds takes them away.
        feed: takes what has come, which completes messages; nothing any more after an ``ERROR``. What it returns means
            nothing.
    """

    messages: list[WSMessage]

    @property
    def feed(self) -> Callable[[bytes], object]: ...


class FrameReader:
    """Reads client frames, in Python."""

    __slots__ = (
        "_has_failed",
        "_inflater",
        "_is_deflated",
        "_kind",
        "_limit",
        "_needed",
        "_parts",
        "_rest",
        "messages",
    )

    def __init__(self, max_size: int, *, is_deflated: bool = False) -> None:
        """
        Args:
            max_size: bytes of one message, all its fragments together, inflated.
            is_deflated: permessage-deflate was agreed on.
        """
        self.messages: list[WSMessage] = []
        self._limit = max_size
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if is_deflated else None
        self._rest = bytearray()  # of a frame that is not yet complete
        self._needed = 0  # bytes that ``_rest`` must have before another look pays
        self._parts = bytearray()  # fragments of a message that is not yet complete
        self._kind: WSMsgType | None = None  # of that message
        self._is_deflated = False  # that message
        self._has_failed = False

    def feed(self, received: bytes) -> None:
        """See ``Reader``."""
        if self._has_failed:
            return
        if self._rest:
            self._rest += received
            if len(self._rest) < self._needed:
                return
            received = bytes(self._rest)
            self._rest.clear()
        try:
            used = self._read(received, self.messages)
        except WebSocketError as error:
            self._has_failed = True
            self.messages.append(WSMessage(WSMsgType.ERROR, error, None))
        else:
            if used < len(received):
                self._rest += received[used:]

    def _read(self, received: bytes, messages: list[WSMessage]) -> int:
        # Appends what is complete; returns how many bytes that took.
        position, end = 0, len(received)
        number_of, text = int.from_bytes, WSMsgType.TEXT
        message_of = tuple.__new__  # a named tuple's own way takes twice as long
        while end - position >= 2:
            first, second = received[position], received[position + 1]
            if first == TEXT and _MASKED <= second < _MEDIUM and self._kind is None and self._limit >= 125:
                # Nearly always: a small text message in one frame. As below, with fewer calls.
                start = position + 6
                size = second - _MASKED
                stop = start + size
                if stop > end:
                    self._needed = stop - position
                    return position
                words = (size + 3) >> 2
                mask = number_of(received[position + 2 : start], "little") * _REPEATS[words]
                payload = (number_of(received[start:stop], "little") ^ mask).to_bytes(words << 2, "little")[:size]
                messages.append(message_of(WSMessage, (text, payload, "")))
                position = stop
                continue
            start, size = position + 2, second & 0x7F
            if size >= 126:
                width = 2 if size == 126 else 8
                if end - start < width:
                    self._needed = start + width - position
                    return position
                size = int.from_bytes(received[start : start + width], "big")
                start += width
            self._check(first, second & 0x7F, size)
            if second & _MASKED:
                start += 4
            stop = start + size
            if stop > end:
                self._needed = stop - position
                return position
            payload = received[start:stop]
            if second & _MASKED:
                payload = unmask(received[start - 4 : start], payload)
            position = stop
            if first == TEXT and self._kind is None:
                messages.append(WSMessage(WSMsgType.TEXT, payload, ""))
            else:
                self._take(first, payload, messages)
        self._needed = 2
        return position

    def _check(self, first: int, length: int, size: int) -> None:
        # What can be told before the payload has come.
        kind = _KINDS.get(first & 0x0F)
        if kind is None:
            raise WebSocketError(WSCloseCode.PROTOCOL_ERROR, f"Unexpected opcode={first & 0x0F}")
        is_control, is_final = first & 0x08, first & 0x80
        reserved = first & 0x70
        # RSV1 of a control frame means nothing, and some clients set it.
        if reserved & ~DEFLATED or (reserved and (self._inflater is None or kind is WSMsgType.CONTINUATION)):
            raise WebSocketError(WSCloseCode.PROTOCOL_ERROR, "Received frame with non-zero reserved bits")
        if is_control:
            if not is_final:
                raise WebSocketError(WSCloseCode.PROTOCOL_ERROR, "Received fragmented control frame")
            if length > 125:
                raise WebSocketError(WSCloseCode.PROTOCOL_ERROR, "A control frame holds at most 125 bytes")
        elif size + len(self._parts) > self._limit:
            raise WebSocketError(WSCloseCode.MESSAGE_TOO_BIG, f"A message may have {self._limit} bytes")

    def _take(self, first: int, payload: bytes, messages: list[WSMessage]) -> None:
        kind = _KINDS[first & 0x0F]
        if kind is WSMsgType.CLOSE:
            messages.append(_close_message(payload))
        elif first & 0x08:
            messages.append(WSMessage(kind, payload, ""))
        else:
            self._take_part(kind, first, payload, messages)

    def _take_part(self, kind: WSMsgType, first: int, payload: bytes, messages: list[WSMessage]) -> None:
        if kind is WSMsgType.CONTINUATION:
            if self._kind is None:
                raise WebSocketError(WSCloseCode.PROTOCOL_ERROR, "A fragment of nothing")
        elif self._kind is not None:
            raise WebSocketError(WSCloseCode.PROTOCOL_ERROR, "A new message within a fragmented one")
        else:
            self._kind, self._is_deflated = kind, bool(first & DEFLATED)
        self._parts += payload
        if first & 0x80:
            whole, kind, self._kind = bytes(self._parts), self._kind, None
            self._parts.clear()
            messages.append(WSMessage(kind, self._inflate(whole) if self._is_deflated else whole, ""))

    def _inflate(self, payload: bytes) -> bytes:
        assert self._inflater is not None
        try:
            inflated = self._inflater.decompress(payload + _SYNC_TAIL, self._limit + 1)
        except zlib.error:
            raise WebSocketError(WSCloseCode.INVALID_TEXT, "What should be compressed is not") from None
        if len(inflated) > self._limit:
            raise WebSocketError(WSCloseCode.MESSAGE_TOO_BIG, f"A message may have {self._limit} bytes, inflated")
        if self._inflater.eof:  # a final block, which starts the next message afresh (RFC 7692, 7.2.3.4)
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        return inflated


def _close_message(payload: bytes) -> WSMessage:
    if not payload:
        return WSMessage(WSMsgType.CLOSE, 0, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or (code < 3000 and code not in _CLOSE_CODES):
        raise WebSocketError(WSCloseCode.PROTOCOL_ERROR, f"Invalid close code: {code}")
    try:
        return WSMessage(WSMsgType.CLOSE, code, payload[2:].decode())
    except UnicodeDecodeError:
        raise WebSocketError(WSCloseCode.INVALID_TEXT, "The close reason is not UTF-8") from None


# Python has no exclusive or of bytes. As one large number it is fastest for small payloads, by tables for large ones.
_SMALL: Final = 512
_REPEATS: Final = [sum(1 << 32 * turn for turn in range(count)) for count in range(_SMALL // 4 + 1)]
_TABLES: Final = [bytes(byte ^ key for byte in range(256)) for key in range(256)]


def unmask(mask: bytes, payload: bytes) -> bytes:
    """``payload`` without its mask of four bytes; RFC 6455, 5.3."""
    size = len(payload)
    if size <= _SMALL:
        words = (size + 3) // 4
        number = int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little") * _REPEATS[words]
        return number.to_bytes(4 * words, "little")[:size]
    unmasked = bytearray(size)
    for lane, key in enumerate(mask):
        unmasked[lane::4] = payload[lane::4].translate(_TABLES[key])
    return bytes(unmasked)


class Deflater:
    """Compresses the messages of one connection to its client."""

    __slots__ = ("_compressor", "_flush")

    def __init__(self, window_bits: int, *, keeps_context: bool) -> None:
        """
        Args:
            window_bits: 9 to 15; memory is 4 KiB and more for 9, about 256 KiB for 15.
            keeps_context: a message may refer to those before it.
        """
        self._compressor = zlib.compressobj(zlib.Z_BEST_SPEED, wbits=-window_bits)
        self._flush = zlib.Z_SYNC_FLUSH if keeps_context else zlib.Z_FULL_FLUSH

    def deflate(self, payload: bytes) -> bytes:
        """The payload of a frame with ``DEFLATED`` in its first byte."""
        return (self._compressor.compress(payload) + self._compressor.flush(self._flush)).removesuffix(_SYNC_TAIL)
