"""``xhr_send``: messages from clients of every HTTP transport but jsonp."""

from __future__ import annotations

from aiohttp import web

from .headers import TEXT
from .sending import SendingTransport


class XhrSendTransport(SendingTransport):
    """``POST /{server}/{session}/xhr_send``, any content type; Spec: sockjs-protocol, XhrPolling."""

    name = "xhr_send"
    cors = True
    content_type = TEXT

    def answer(self, request: web.Request) -> web.StreamResponse:
        return self.reply(request, status=204)
