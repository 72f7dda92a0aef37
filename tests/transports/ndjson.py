"""A transport that a third party might write: streaming for ``fetch()``, one frame per line."""

from __future__ import annotations

from typing import ClassVar

from aiohttp import web

from sockbridge.transports.streaming import StreamingTransport


class NdjsonTransport(StreamingTransport):
    """``POST /{server}/{session}/ndjson``: one frame per line, read by ``fetch()``."""

    name = "ndjson"  # last segment of the URL, and ``session.transport``
    method: ClassVar[str] = "POST"
    cors = True
    content_type = "application/x-ndjson; charset=UTF-8"

    def prelude(self, request: web.Request) -> bytes:
        return b"\n"  # lets the headers leave at once; readers skip empty lines

    def format(self, frame: bytes) -> bytes:
        return frame + b"\n"
