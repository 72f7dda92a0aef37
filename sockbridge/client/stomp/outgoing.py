"""Frames of a client, checked and worded.

Nothing is bent silently: what a version or a carrier cannot say is refused before anything is sent.

Knows: what each version can say, which headers are the client's own.
Does not know: connections.
Spec: STOMP 1.2, 1.1 and 1.0, "Value Encoding", "Client Frames".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ...errors import InvalidFrame
from ...sockjs.framing import RAW
from ...stomp.codec import dialect
from ...stomp.frame import (
    ACCEPT_VERSION,
    ACK,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    DESTINATION,
    HEART_BEAT,
    ID,
    LOGIN,
    MESSAGE_ID,
    PASSCODE,
    RECEIPT,
    SUBSCRIPTION,
    TRANSACTION,
    UNESCAPED,
    Command,
    Frame,
    Version,
)

OURS: Final[Mapping[Command, frozenset[str]]] = {
    Command.CONNECT: frozenset({ACCEPT_VERSION, HEART_BEAT, LOGIN, PASSCODE, "host", RECEIPT, CONTENT_LENGTH}),
    Command.SEND: frozenset({DESTINATION, CONTENT_TYPE, CONTENT_LENGTH, RECEIPT, TRANSACTION}),
    Command.SUBSCRIBE: frozenset({ID, DESTINATION, ACK, RECEIPT, CONTENT_LENGTH}),
    Command.UNSUBSCRIBE: frozenset({ID, RECEIPT, CONTENT_LENGTH}),
    Command.ACK: frozenset({ID, MESSAGE_ID, SUBSCRIPTION, RECEIPT, TRANSACTION, CONTENT_LENGTH}),
    Command.NACK: frozenset({ID, MESSAGE_ID, SUBSCRIPTION, RECEIPT, TRANSACTION, CONTENT_LENGTH}),
}
"""Headers that the client writes itself, by command: callers say them by arguments, or not at all."""

_BREAKS: Final[Mapping[Version | None, tuple[re.Pattern[str], re.Pattern[str]]]] = {
    # what a name and what a value cannot hold; NUL has no escape in any version
    None: (re.compile("[\0\r\n:]"), re.compile("[\0\r\n]")),
    Version.V1_0: (re.compile("[\0\r\n:]"), re.compile("[\0\r\n]")),
    Version.V1_1: (re.compile("[\0\r]"), re.compile("[\0\r]")),
    Version.V1_2: (re.compile("\0"), re.compile("\0")),
}


def frame(command: Command, own: Mapping[str, str], further: Mapping[str, str] | None, body: bytes = b"") -> Frame:
    """A frame with the client's own headers, and those of the caller.

    Raises:
        InvalidFrame: ``further`` holds one that is the client's own, or what is no header.
    """
    for name, value in (further or {}).items():
        if not isinstance(name, str) or not isinstance(value, str) or not name:
            raise InvalidFrame(f"a header is a name and a value, both text; {name!r} is {type(value).__name__}")
        if name in OURS.get(command, ()):
            raise InvalidFrame(
                f"the header {name} of {command} is the client's own: there is an argument for it, if any"
            )
    return Frame(command, {**own, **(further or {})}, body)


def encode(frame: Frame, version: Version, *, is_text: bool, with_length: bool) -> bytes:
    """``frame`` on the wire.

    Args:
        is_text: it will travel as text.
        with_length: say how long the body is, also where it need not be said.

    Returns:
        the octets; ``Binary`` where they are to travel as such.

    Raises:
        InvalidFrame: this version or this carrier cannot say it.
    """
    is_plain = frame.command in UNESCAPED
    bad_name, bad_value = _BREAKS[None if is_plain else version]
    for name, value in frame.headers.items():
        if bad_name.search(name) or bad_value.search(value):
            where = "before the login" if is_plain else f"in STOMP {version}"
            raise InvalidFrame(f"the header {name!r} of {frame.command} holds what cannot be said {where}")
    if frame.body and (with_length or b"\0" in frame.body):
        frame.headers[CONTENT_LENGTH] = str(len(frame.body))
    octets = dialect(version, RAW).encode(frame) or b""
    if is_text:
        try:
            octets.decode()
        except UnicodeDecodeError:
            raise InvalidFrame(
                "SockJS carries text, and this body is none: send text, or connect to a ws:// or stomp:// URL"
            ) from None
    return octets
