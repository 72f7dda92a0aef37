"""``websocket-raw``: a plain websocket at ``/websocket``, without SockJS frames, for other clients than browsers'."""

from __future__ import annotations

from ..errors import ProtocolError
from ..options import Options
from ..sockjs.framing import RAW, Close, CloseCode
from ..sockjs.manager import SessionManager
from .admission import Admission
from .websocket import WebSocketTransport


def decode_text(payload: bytes) -> list[str]:
    """A text message.

    Raises:
        ProtocolError: it is not UTF-8.
    """
    try:
        return [payload.decode()]
    except UnicodeDecodeError:
        raise ProtocolError("a text message is not UTF-8") from None


def take_binary(payload: bytes) -> list[bytes]:
    """A binary message, as it is."""
    return [payload]


class RawWebSocketTransport(WebSocketTransport):
    """``GET /websocket``, and an upgrade request on the mounted URL itself; Spec: sockjs-protocol, RawWebsocket."""

    name = "websocket-raw"
    path = "/websocket"
    framing = RAW
    fault = Close(CloseCode.INVALID_TEXT, "Text is not UTF-8.", clean=False)

    def __init__(self, manager: SessionManager, admission: Admission, options: Options) -> None:
        super().__init__(manager, admission, options)
        self.parse = decode_text
        self.parse_binary = take_binary
