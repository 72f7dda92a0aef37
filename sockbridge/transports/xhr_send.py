"""``xhr_send``: messages from clients of every HTTP transport but jsonp."""

from __future__ import annotations

from aiohttp import web

from .headers import TEXT, answer_headers
from .sending import SendingTransport


class XhrSendTransport(SendingTransport):
    """``POST /{server}/{session}/xhr_send``, any content type; Spec: sockjs-protocol, "XhrPolling"."""

    name = "xhr_send"
    cors = True

    def answer(self, request: web.Request) -> web.Response:
        headers = answer_headers(request, TEXT, self.options.jsessionid)
        self.admission.add_cors(headers, request)
        return web.Response(status=204, headers=headers)
