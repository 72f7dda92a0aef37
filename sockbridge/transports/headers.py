"""HTTP manners of SockJS: caching, CORS, the JSESSIONID cookie, preflight and refusals.

Knows: headers, and what stands in them.
Does not know: sessions; who may come in.
Spec: sockjs-protocol 0.3.3, InfoTest, XhrPolling, JsessionidCookie; Fetch standard, "CORS protocol";
docs/conformance.md, section 2.
"""

from __future__ import annotations

import re
from email.utils import formatdate
from time import time
from typing import Final

from aiohttp import web
from multidict import CIMultiDict, istr

TEXT: Final = "text/plain; charset=UTF-8"
JSON: Final = "application/json; charset=UTF-8"
JAVASCRIPT: Final = "application/javascript; charset=UTF-8"
HTML: Final = "text/html; charset=UTF-8"
EVENT_STREAM: Final = "text/event-stream"  # the encoding of an event stream is always UTF-8

CONTENT_TYPE: Final = istr("Content-Type")
CACHE_CONTROL: Final = istr("Cache-Control")

# no-transform keeps proxies from compressing, and thereby holding back, a stream.
NO_CACHE: Final = "no-store, no-cache, no-transform, must-revalidate, max-age=0"
YEAR: Final = 31_536_000

# Answers that hold what clients sent, inside a script, are never taken for another type of file.
NO_SNIFFING: Final = {"X-Content-Type-Options": "nosniff"}

# What may stand in a cookie without quotes (RFC 6265, 4.1.1).
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,256}")


def answer_headers(request: web.Request, content_type: str, jsessionid: bool | str = False) -> CIMultiDict[str]:
    """The headers of an answer that must not be cached.

    Args:
        content_type: with charset.
        jsessionid: the endpoint's option; set the cookie, or hand back the one that came.
    """
    headers = CIMultiDict({CONTENT_TYPE: content_type, CACHE_CONTROL: NO_CACHE})
    if jsessionid:
        headers["Set-Cookie"] = _session_cookie(request, jsessionid)
    return headers


def long_cache_headers() -> CIMultiDict[str]:
    """The headers of an answer that may be kept for a year."""
    return CIMultiDict({CACHE_CONTROL: f"public, max-age={YEAR}", "Expires": formatdate(time() + YEAR, usegmt=True)})


def add_cors(headers: CIMultiDict[str], request: web.Request) -> None:
    """Let the page that asks read the answer. Only for requests whose origin is allowed.

    With credentials, so the origin is named and never ``*``, unless the request names none.
    """
    asked = request.headers
    origin = asked.get("Origin")
    headers.add("Vary", "Origin")
    if origin is None:
        headers["Access-Control-Allow-Origin"] = "*"
    else:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Allow-Credentials"] = "true"
    wanted = asked.get("Access-Control-Request-Headers")
    if wanted:
        headers["Access-Control-Allow-Headers"] = wanted


def preflight(request: web.Request, method: str, jsessionid: bool | str = False) -> web.Response:
    """The answer to an OPTIONS request whose origin is allowed, for a URL that takes ``method``."""
    headers = long_cache_headers()
    if jsessionid:
        headers["Set-Cookie"] = _session_cookie(request, jsessionid)
    add_cors(headers, request)
    headers["Access-Control-Allow-Methods"] = f"OPTIONS, {method}"
    headers["Access-Control-Max-Age"] = str(YEAR)
    return web.Response(status=204, headers=headers)


def method_not_allowed(*allowed: str) -> web.Response:
    """405 with ``Allow``, without a body or its type."""
    return web.Response(status=405, headers={"Allow": ", ".join(allowed)})


def _session_cookie(request: web.Request, jsessionid: bool | str) -> str:
    # What the client sent goes back to it, unless it could add attributes to the cookie.
    value = request.cookies.get("JSESSIONID", "")
    if not _COOKIE_VALUE.fullmatch(value):
        value = "dummy"
    attributes = f"; {jsessionid}" if isinstance(jsessionid, str) else ""
    return f"JSESSIONID={value}; path=/{attributes}"
