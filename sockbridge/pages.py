"""The URLs without a session: greeting, ``/info`` and the iframe page.

Knows: what they say.
Does not know: sessions, the insides of transports.
Spec: sockjs-protocol 0.3.3, BaseUrlGreeting, IframePage, InfoTest; docs/conformance.md, section 7.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

import msgspec
from aiohttp import web

from .options import Options
from .transports.admission import Admission
from .transports.headers import (
    HTML,
    JSON,
    TEXT,
    answer_headers,
    long_cache_headers,
    method_not_allowed,
    preflight,
)

GREETING: Final = "Welcome to SockJS!\n"

# A constant of the wire up to the script's URL.
IFRAME_PAGE: Final = """\
<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="%s"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>"""


class Pages:
    """Answers for one endpoint."""

    def __init__(self, options: Options, admission: Admission, *, websocket: bool) -> None:
        """
        Args:
            websocket: whether ``/info`` offers it.
        """
        self._options = options
        self._admission = admission
        self._websocket = websocket
        self._iframe = (IFRAME_PAGE % options.client_url).encode()
        self._etag = f'"{hashlib.sha256(self._iframe).hexdigest()[:32]}"'

    async def greeting(self, request: web.Request) -> web.Response:
        """``GET`` of the mounted URL."""
        if request.method != "GET":
            return method_not_allowed("GET")
        return web.Response(text=GREETING, headers={"Content-Type": TEXT})

    async def info(self, request: web.Request) -> web.Response:
        """``GET /info``: what the server can do. Clients measure the round trip with it."""
        if request.method not in ("GET", "OPTIONS"):
            return method_not_allowed("OPTIONS", "GET")
        refusal = self._admission.refusal(request)
        if refusal is not None:
            return refusal
        if request.method == "OPTIONS":
            return preflight(request, "GET")
        headers = answer_headers(request, JSON)
        self._admission.add_cors(headers, request)
        info: dict[str, object] = {
            "websocket": self._websocket,
            "cookie_needed": bool(self._options.jsessionid),
            "origins": ["*:*"],
            "entropy": secrets.randbits(32),
        }
        if self._options.base_url is not None:
            info["base_url"] = self._options.base_url
        return web.Response(body=msgspec.json.encode(info), headers=headers)

    async def iframe(self, request: web.Request) -> web.Response:
        """``GET /iframe*.html``: the page that carries iframe transports to other origins."""
        if request.method != "GET":
            return method_not_allowed("GET")
        headers = long_cache_headers()
        headers["ETag"] = self._etag
        if self._admission.frame_ancestors is not None:
            headers["Content-Security-Policy"] = self._admission.frame_ancestors
        known = request.if_none_match or ()
        if any(tag.value in (self._etag.strip('"'), "*") for tag in known):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = HTML
        return web.Response(body=self._iframe, headers=headers)
