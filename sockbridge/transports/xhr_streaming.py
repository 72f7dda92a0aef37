"""``xhr_streaming``: one POST whose answer goes on, one line for each frame."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from .streaming import StreamingTransport

PRELUDE: Final = b"h" * 2048 + b"\n"  # some browsers show a stream to the script only after 2 KiB


class XhrStreamingTransport(StreamingTransport):
    """``POST /{server}/{session}/xhr_streaming``; Spec: sockjs-protocol, XhrStreaming."""

    name = "xhr_streaming"
    method = "POST"
    cors = True

    def prelude(self, request: web.Request) -> bytes:
        return PRELUDE

    def format(self, frame: bytes) -> bytes:
        return frame + b"\n"
