"""The shelf: the transports that an endpoint offers unless told otherwise. One line each."""

from .eventsource import EventSourceTransport
from .htmlfile import HtmlFileTransport
from .jsonp import JsonpSendTransport, JsonpTransport
from .websocket import WebSocketTransport
from .websocket_raw import RawWebSocketTransport
from .xhr_polling import XhrPollingTransport
from .xhr_send import XhrSendTransport
from .xhr_streaming import XhrStreamingTransport

DEFAULT_TRANSPORTS = (
    WebSocketTransport,
    RawWebSocketTransport,
    XhrStreamingTransport,
    EventSourceTransport,
    HtmlFileTransport,
    XhrPollingTransport,
    XhrSendTransport,
    JsonpTransport,
    JsonpSendTransport,
)
