"""``eventsource``: server-sent events, one event for each frame."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from .headers import EVENT_STREAM
from .streaming import StreamingTransport

PRELUDE: Final = b"\r\n"


class EventSourceTransport(StreamingTransport):
    """``GET /{server}/{session}/eventsource``; Spec: sockjs-protocol, EventSource; HTML, 9.2."""

    name = "eventsource"
    cors = True
    content_type = EVENT_STREAM

    def prelude(self, request: web.Request) -> bytes:
        return PRELUDE

    def format(self, frame: bytes) -> bytes:
        # The browser client decodes percent escapes; the other three would end the event or be lost in it.
        frame = frame.replace(b"%", b"%25").replace(b"\r", b"%0D").replace(b"\n", b"%0A").replace(b"\0", b"%00")
        return b"data: %b\r\n\r\n" % frame
