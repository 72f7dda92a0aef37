"""``xhr``: long polling. One POST, one frame; works wherever HTTP does."""

from __future__ import annotations

from aiohttp import web

from .polling import PollingTransport


class XhrPollingTransport(PollingTransport):
    """``POST /{server}/{session}/xhr``; Spec: sockjs-protocol, XhrPolling."""

    name = "xhr"
    method = "POST"
    cors = True

    def format(self, frame: bytes, request: web.Request) -> bytes:
        return frame + b"\n"
