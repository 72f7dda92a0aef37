"""What a SockJS server says: its frames, read.

Knows: the frames ``o h a m c``.
Does not know: what carries them, what follows from them.
Spec: sockjs-protocol 0.3.3, Protocol; docs/conformance.md, section 8.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import ProtocolError
from ..sockjs.framing import Close, Message, decode_body, decode_frame

LAST_CODE: Final = 4999  # RFC 6455, 7.4.2


class Kind(enum.Enum):
    """What a frame says."""

    OPEN = "open"
    HEARTBEAT = "heartbeat"
    MESSAGES = "messages"
    CLOSE = "close"
    CONFIRMED = "confirmed"
    """No frame of SockJS: the server has read messages of ours (``ServerFrame.count``)."""


@dataclass(frozen=True, slots=True)
class ServerFrame:
    """One frame of the server.

    Attributes:
        kind: what it says.
        messages: of ``MESSAGES``.
        close: of ``CLOSE``.
        count: of ``CONFIRMED``: how many more messages the server has read.
    """

    kind: Kind
    messages: Sequence[Message] = ()
    close: Close | None = None
    count: int = 0


OPEN: Final = ServerFrame(Kind.OPEN)
HEARTBEAT: Final = ServerFrame(Kind.HEARTBEAT)


def parse(text: bytes) -> ServerFrame:
    """Read one frame.

    Raises:
        ProtocolError: it is none.
    """
    letter = text[:1]
    try:
        if letter == b"a":
            return ServerFrame(Kind.MESSAGES, decode_body(text[1:]))
        if letter == b"m":
            return ServerFrame(Kind.MESSAGES, decode_frame(text[1:]))
    except ProtocolError:
        raise _refuse(text) from None
    if letter == b"c":
        return ServerFrame(Kind.CLOSE, close=_close(text))
    if text == b"o":
        return OPEN
    if letter == b"h" and not text.strip(b"h"):  # the prelude of a stream as well, which is many of them
        return HEARTBEAT
    raise _refuse(text)


def _close(text: bytes) -> Close:
    try:
        match json.loads(text[1:]):
            case [int(code), str(reason)] if 0 < code <= LAST_CODE and code is not True:
                return Close(code, reason)
            case _:
                raise _refuse(text)
    except (ValueError, RecursionError):
        raise _refuse(text) from None


def _refuse(text: bytes) -> ProtocolError:
    return ProtocolError(f"{text[:40]!r} is no SockJS frame")
