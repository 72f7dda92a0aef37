"""``jsonp`` and ``jsonp_send``: polling through script elements, where scripts may not read HTTP answers.

A script element sends no origin, so nobody can tell which page asks: both are served only where every page
may connect (``allowed_origins="*"``).
"""

from __future__ import annotations

from urllib.parse import parse_qs

from aiohttp import web
from multidict import CIMultiDict

from ..errors import BrokenJSON, PayloadExpected
from .headers import NO_SNIFFING, TEXT
from .htmlfile import as_script_string
from .polling import PollingTransport
from .sending import SendingTransport


class JsonpTransport(PollingTransport):
    """``GET /{server}/{session}/jsonp?c=CALLBACK``; Spec: sockjs-protocol, JsonPolling."""

    name = "jsonp"
    needs_open_origins = True

    def check(self, request: web.Request) -> None:
        self.callback(request)

    def headers(self, request: web.Request) -> CIMultiDict[str]:
        headers = super().headers(request)
        headers.update(NO_SNIFFING)
        return headers

    def format(self, frame: bytes, request: web.Request) -> bytes:
        # The comment keeps the callback's name from being the first bytes of another file format.
        return b"/**/%b(%b);\r\n" % (self.callback(request).encode(), as_script_string(frame))


class JsonpSendTransport(SendingTransport):
    """``POST /{server}/{session}/jsonp_send``, a form with the field ``d``, or the JSON itself."""

    name = "jsonp_send"
    content_type = TEXT
    needs_open_origins = True

    def payload(self, body: bytes, request: web.Request) -> bytes:
        if request.content_type != "application/x-www-form-urlencoded":
            return body
        try:
            fields = parse_qs(body.decode(), errors="strict", max_num_fields=16)
        except ValueError:
            raise BrokenJSON from None
        if "d" not in fields:
            raise PayloadExpected
        return fields["d"][0].encode()

    def answer(self, request: web.Request) -> web.StreamResponse:
        return self.reply(request, b"ok")
