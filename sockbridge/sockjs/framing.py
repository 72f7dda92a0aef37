"""The wire text of SockJS: frames to the client, payloads from it, close codes.

Every frame is bytes. On a framed transport (``FRAMED``) messages travel as JSON strings inside ``a[...]``;
a raw websocket (``RAW``) carries each message as it is. Quoting is per message, so a message that goes to
many sessions is quoted once (``Framing.prepare``) and the finished piece is shared.

Knows: the frames ``o h a c``, JSON escaping, the shapes a client may send.
Does not know: sessions, transports; who reads or writes.
Spec: sockjs-protocol 0.3.3, Protocol, JSONEncoding; docs/conformance.md, section 8.
"""

from __future__ import annotations

import enum
import json
import re
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from ..errors import BrokenJSON, InvalidCloseCode, PayloadExpected

Message = str | bytes
"""What an application sends and gets: text; ``bytes`` only on raw websockets."""

LARGE: Final = 1024
"""Bytes from which on a message that goes to many is put into its frame once."""

MAX_REASON_SIZE: Final = 123  # RFC 6455, 5.5: a control frame holds 125 bytes, two of them the code


class CloseCode(enum.IntEnum):
    """Close codes that sockbridge itself uses, by the names of RFC 6455 and sockjs-protocol."""

    NORMAL = 1000
    GOING_AWAY = 1001
    INTERRUPTED = 1002
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    ANOTHER_CONNECTION = 2010
    GO_AWAY = 3000


@dataclass(frozen=True, slots=True)
class Close:
    """How a session ended.

    Attributes:
        code: WebSocket or SockJS close code.
        reason: text for people; may be empty.
        clean: True if either side said goodbye, False if the connection was cut or never came back.
    """

    code: int
    reason: str
    clean: bool = True


class Binary(bytes):
    """A binary message on a raw websocket. Every other frame is text, encoded as UTF-8."""

    __slots__ = ()


class Heartbeat(bytes):
    """The type of ``HEARTBEAT_FRAME`` alone, so that no message can be the same object as it."""

    __slots__ = ()


OPEN_FRAME: Final = b"o"
HEARTBEAT_FRAME: Final = Heartbeat(b"h")

INTERRUPTED: Final = Close(CloseCode.INTERRUPTED, "Connection interrupted", clean=False)
EXPIRED: Final = Close(CloseCode.ABNORMAL, "Client did not come back", clean=False)
ANOTHER_CONNECTION: Final = Close(CloseCode.ANOTHER_CONNECTION, "Another connection still open")

_quote_ascii = msgspec.json.Encoder().encode  # ten times faster than json.dumps; equal bytes for ASCII
_quote_unescaped = json.JSONEncoder(ensure_ascii=False).encode
_decode_strings = msgspec.json.Decoder(list[str]).decode
_NOT_STRINGS = (ValueError, msgspec.MsgspecError)  # before msgspec 0.21 its errors were no ValueErrors
_quote_character = json.JSONEncoder().encode

# The characters that the protocol wants as \uXXXX beyond JSON's own, since some browsers' XHR or eval
# mangle them; and astral ones, which the reference server writes as two escaped surrogates.
_ESCAPED = re.compile(r"[\u200c-\u200f\u2028-\u202f\u2060-\u206f\ud800-\udfff\ufff0-\uffff\U00010000-\U0010ffff]")


def quote(message: Message) -> bytes:
    """``message`` as a JSON string that every SockJS client reads back unchanged, lone surrogates included.

    Raises:
        TypeError: ``message`` is not a ``str``.

    Spec: sockjs-protocol, JSONEncoding: the escaped ranges.
    """
    if type(message) is str and message.isascii():  # nearly always
        return _quote_ascii(message)
    if not isinstance(message, str):
        raise TypeError(f"a SockJS message is a str, not {type(message).__name__}; encode it first (json.dumps)")
    if message.isascii():
        return _quote_ascii(str.__str__(message))
    return _ESCAPED.sub(_escape, _quote_unescaped(message)).encode()


def _escape(match: re.Match[str]) -> str:
    return _quote_character(match[0])[1:-1]


def decode_body(payload: bytes) -> list[str]:
    """The messages in the body of a send request: a JSON array of strings.

    Raises:
        PayloadExpected: the body is empty, or JSON of another shape.
        BrokenJSON: the body is not JSON.
    """
    if not payload:
        raise PayloadExpected
    try:
        return _decode_strings(payload)
    except _NOT_STRINGS:
        return _strings(_parse(payload))


def decode_frame(payload: bytes) -> list[str]:
    """The messages in one websocket frame: a JSON array of strings, one JSON string, or nothing.

    Raises:
        PayloadExpected: JSON of another shape.
        BrokenJSON: not JSON.
    """
    try:
        return _decode_strings(payload)
    except _NOT_STRINGS:
        if not payload:
            return []
        value = _parse(payload)
        return [value] if isinstance(value, str) else _strings(value)


def _parse(payload: bytes) -> object:
    # The fast decoder refuses lone surrogates, which browsers do send; the standard library takes them.
    try:
        value: object = json.loads(payload.decode())
    except (ValueError, RecursionError):
        raise BrokenJSON from None
    return value


def _strings(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise PayloadExpected
    return value


def close_frame(close: Close) -> bytes:
    """The frame ``c[code,"reason"]``."""
    return b"c[%d,%b]" % (close.code, quote(close.reason))


def check_close(code: int, reason: str) -> None:
    """Raises:
    InvalidCloseCode: an application may not close with this code or reason.
    """
    if not isinstance(code, int):
        raise InvalidCloseCode(f"a close code is a number, not {code!r}; the reason comes second")
    if not (1000 <= code <= 1003 or 1007 <= code <= 1011 or 3000 <= code <= 4999):
        raise InvalidCloseCode(f"close code {code}: allowed are 1000-1003, 1007-1011 and 3000-4999")
    if len(encode_text(reason)) > MAX_REASON_SIZE:
        raise InvalidCloseCode(f"a close reason holds at most {MAX_REASON_SIZE} bytes as UTF-8")


class Framing(Protocol):
    """How a session's messages are worded. There are two: ``FRAMED`` and ``RAW``."""

    open_frame: bytes
    """First frame of a session; empty if there is none."""

    def prepare(self, message: Message) -> bytes:
        """One message, ready to be packed; the same for every session of this framing."""
        ...

    def pack(self, buffer: deque[bytes], size: int, max_bytes: int) -> tuple[bytes, int]:
        """The next frame out of ``buffer``, which holds ``size`` bytes, and how many bytes were taken from it."""
        ...

    def close_frame(self, close: Close) -> bytes:
        """The goodbye; empty if the transport words it itself."""
        ...


class _Framed:
    """SockJS frames: messages as JSON strings, several in one ``a[...]``."""

    open_frame = OPEN_FRAME

    prepare = staticmethod(quote)  # no call more than needed: once per message

    def __init__(self) -> None:
        self._last: tuple[bytes, bytes] = (b"", b"a[]")  # a large message and its frame

    def pack(self, buffer: deque[bytes], size: int, max_bytes: int) -> tuple[bytes, int]:
        if len(buffer) == 1:
            message = buffer.popleft()
            return (b"a[%b]" % message if size < LARGE else self._frame_large(message)), size
        if size <= max_bytes:
            frame = b"a[%b]" % b",".join(buffer)
            buffer.clear()
            return frame, size
        messages = [buffer.popleft()]
        taken = len(messages[0])
        while taken + len(buffer[0]) <= max_bytes:
            message = buffer.popleft()
            taken += len(message)
            messages.append(message)
        return b"a[%b]" % b",".join(messages), taken

    def _frame_large(self, message: bytes) -> bytes:
        # A broadcast asks for the same one again and again: a look is cheaper than a copy then.
        last, frame = self._last
        if message is not last:
            frame = b"a[%b]" % message
            self._last = (message, frame)
        return frame

    def close_frame(self, close: Close) -> bytes:
        return close_frame(close)


class _Raw:
    """No frames: each message is a websocket message of its own."""

    open_frame = b""

    def prepare(self, message: Message) -> bytes:
        if isinstance(message, str):
            return encode_text(message)
        return Binary(message)

    def pack(self, buffer: deque[bytes], size: int, max_bytes: int) -> tuple[bytes, int]:
        message = buffer.popleft()
        return message, len(message)

    def close_frame(self, close: Close) -> bytes:
        return b""


def encode_text(text: str) -> bytes:
    """``text`` as UTF-8; a lone surrogate, which UTF-8 cannot hold, becomes U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


FRAMED: Final[Framing] = _Framed()
RAW: Final[Framing] = _Raw()
