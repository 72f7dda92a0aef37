"""``websocket-raw``: a plain websocket at ``/websocket``, without SockJS frames, for other clients than browsers'."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ProtocolError
from ..sockjs.framing import RAW, Close, CloseCode, Message
from .websocket import WebSocketTransport


class RawWebSocketTransport(WebSocketTransport):
    """``GET /websocket``, and an upgrade request on the mounted URL itself; Spec: sockjs-protocol, RawWebsocket."""

    name = "websocket-raw"
    path = "/websocket"
    framing = RAW
    fault = Close(CloseCode.INVALID_TEXT, "Text is not UTF-8.", clean=False)

    def parse(self, payload: bytes, is_binary: bool) -> Sequence[Message]:
        if is_binary:
            return [payload]
        try:
            return [payload.decode()]
        except UnicodeDecodeError:
            raise ProtocolError("a text message is not UTF-8") from None
