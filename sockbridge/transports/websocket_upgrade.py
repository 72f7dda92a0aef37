"""The opening handshake of a websocket: what a client must ask for, and the answer 101.

Knows: the headers of the handshake, extensions.
Does not know: sessions, what frames say.
Spec: RFC 6455, 4.2; RFC 7692, 7.1.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict, istr

from .websocket_frames import Deflater

VERSION: Final = "13"
VERSIONS: Final = frozenset({VERSION, "8", "7"})  # the same on the wire; RFC 6455, 4.4
SECRET: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3

_KEY: Final = istr("Sec-WebSocket-Key")
_ACCEPT: Final = istr("Sec-WebSocket-Accept")
_VERSION: Final = istr("Sec-WebSocket-Version")
_PROTOCOL: Final = istr("Sec-WebSocket-Protocol")
_EXTENSIONS: Final = istr("Sec-WebSocket-Extensions")
_UPGRADE: Final = istr("Upgrade")
_CONNECTION: Final = istr("Connection")


class NoHandshake(Exception):
    """The request is not a websocket handshake that we understand."""


@dataclass(frozen=True, slots=True)
class Compression:
    """How messages to a client are compressed.

    Attributes:
        window_bits: 9 to 15.
        keeps_context: a message may refer to those before it.
        text: what the answer says about it.
    """

    window_bits: int
    keeps_context: bool
    text: str

    def make_deflater(self) -> Deflater:
        """For one connection."""
        return Deflater(self.window_bits, keeps_context=self.keeps_context)


class Upgrade(web.StreamResponse):
    """The answer 101. What follows on the connection is none of aiohttp's business.

    Attributes:
        compression_agreed: what was agreed on; None if messages are not compressed.
    """

    def __init__(self, headers: CIMultiDict[str], compression: Compression | None) -> None:
        super().__init__(status=101, headers=headers)
        self.compression_agreed = compression
        self._is_sent = False
        self.force_close()

    def send_with(self, first_frame: bytes, transport: asyncio.Transport) -> None:
        """Send it, together with what comes first on the websocket, instead of ``prepare``: nobody may look at it."""
        self._is_sent = True
        lines = [f"{name}: {value}\r\n" for name, value in self.headers.items()]
        transport.write(f"HTTP/1.1 101 Switching Protocols\r\n{''.join(lines)}\r\n".encode() + first_frame)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send it, unless that has been done.

        Raises:
            ConnectionResetError: the client has gone.
        """
        return request.writer if self._is_sent else await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing comes after it."""


def upgrade(request: web.Request, subprotocol: str | None, *, is_compressible: bool) -> Upgrade:
    """The answer to a handshake.

    Args:
        subprotocol: the one that was agreed on.
        is_compressible: agree to permessage-deflate if the client offers it.

    Raises:
        NoHandshake: it is none; 400, or 426 if only the version is another.
    """
    headers = request.headers
    if (
        headers.get(_UPGRADE, "").strip().lower() != "websocket"
        or "upgrade" not in headers.get(_CONNECTION, "").lower()
        or headers.get(_VERSION) not in VERSIONS
        or request.version < HttpVersion11
    ):
        raise NoHandshake
    key = headers.get(_KEY, "")
    if not _is_key(key):
        raise NoHandshake
    accept = base64.b64encode(hashlib.sha1(key.encode() + SECRET, usedforsecurity=False).digest()).decode()
    answer = CIMultiDict({_UPGRADE: "websocket", _CONNECTION: "upgrade", _ACCEPT: accept})
    if subprotocol is not None:
        answer[_PROTOCOL] = subprotocol
    compression = agree_on_compression(",".join(headers.getall(_EXTENSIONS, ()))) if is_compressible else None
    if compression is not None:
        answer[_EXTENSIONS] = compression.text
    return Upgrade(answer, compression)


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key)) == 16
    except (binascii.Error, ValueError):
        return False


def agree_on_compression(offers: str) -> Compression | None:
    """The first of the client's offers that we can meet.

    Args:
        offers: the value of ``Sec-WebSocket-Extensions``.
    """
    for offer in offers.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == "permessage-deflate":
            compression = _meet(parameters)
            if compression is not None:
                return compression
    return None


def _meet(parameters: list[str]) -> Compression | None:
    # RFC 7692, 7.1: an offer with an unknown, doubled or malformed parameter is to be declined.
    given: dict[str, str] = {}
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name in given:
            return None
        given[name] = value.strip('"')
    text = "permessage-deflate"
    window_bits, keeps_context = 15, True
    for name, value in given.items():
        if name == "server_no_context_takeover" and not value:
            keeps_context = False
            text += "; server_no_context_takeover"
        elif name == "server_max_window_bits" and value in WINDOWS:
            window_bits = int(value)
            text += f"; server_max_window_bits={value}"
        # What the client could do on its side is its own choice.
        elif not (
            (name == "client_no_context_takeover" and not value)
            or (name == "client_max_window_bits" and value in {"", "8", *WINDOWS})
        ):
            return None
    return Compression(window_bits, keeps_context, text)


WINDOWS: Final = frozenset(map(str, range(9, 16)))
"""Window sizes that zlib can do; it has none of 8 without a header."""
