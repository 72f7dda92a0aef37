"""``htmlfile``: a page inside a hidden iframe that never ends, one script element for each frame."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from ..sockjs.framing import quote
from .headers import HTML, NO_SNIFFING
from .streaming import StreamingTransport

# A constant of the wire up to the callback's name.
PAGE: Final = """\
<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.%s;
    c.start();
    function p(d) {c.message(d);};
    window.onload = function() {c.stop();};
  </script>
"""
PADDED_SIZE: Final = 1024  # some browsers run the first script only after 1 KiB


def as_script_string(frame: bytes) -> bytes:
    """``frame`` as a JavaScript string literal that cannot end a script element."""
    return quote(frame.decode()).replace(b"<", rb"\u003c")


class HtmlFileTransport(StreamingTransport):
    """``GET /{server}/{session}/htmlfile?c=CALLBACK``; Spec: sockjs-protocol, HtmlFile."""

    name = "htmlfile"
    content_type = HTML

    def check(self, request: web.Request) -> None:
        self.callback(request)

    def headers(self, request: web.Request) -> CIMultiDict[str]:
        headers = super().headers(request)
        headers.update(NO_SNIFFING)
        if self.admission.frame_ancestors is not None:
            headers["Content-Security-Policy"] = self.admission.frame_ancestors
        return headers

    def prelude(self, request: web.Request) -> bytes:
        page = PAGE % self.callback(request)
        return page.encode().ljust(PADDED_SIZE + 1) + b"\r\n\r\n"

    def format(self, frame: bytes) -> bytes:
        return b"<script>\np(%b);\n</script>\r\n" % as_script_string(frame)
