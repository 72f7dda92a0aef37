"""Who may come in: origin, principal, owner of a session.

Order: the origin (403); a preflight is answered then, without authenticating; then ``authenticate``: 401 where
a session is opened, 404 where one is there that belongs to another principal.

Knows: the options that concern it, the request.
Does not know: what the transports do once inside.
Spec: RFC 6454 (origins), RFC 7239 (``Forwarded``); docs/security.md.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from ..options import Options
from ..sockjs.handshake import Handshake
from ..sockjs.session import Session
from .headers import TEXT, add_cors

logger = logging.getLogger("sockbridge.transports")

DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class Admission:
    """The door of one endpoint.

    Attributes:
        is_open_to_all: True if pages of every origin may connect.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._allows = _origin_check(options.allowed_origins)
        self.is_open_to_all = options.allowed_origins == "*"

    @property
    def frame_ancestors(self) -> str | None:
        """Who may embed our pages, for a Content-Security-Policy; None if everybody may."""
        if self.is_open_to_all:
            return None
        origins = [origin for origin in self._options.allowed_origins or () if origin != "null"]
        return " ".join(["frame-ancestors 'self'", *origins])

    # The origin.

    def refusal(self, request: web.Request) -> web.Response | None:
        """403 if the request comes from a page that may not; None if it may go on.

        A request without an Origin header comes from no other origin's script: browsers send it with every
        cross-origin request but plain embedding, which ``Sec-Fetch-Site`` tells.
        """
        if self.is_open_to_all:
            return None
        origin = request.headers.get("Origin")
        if origin is None:
            if request.headers.get("Sec-Fetch-Site") not in ("cross-site", "same-site"):
                return None
            origin = "another site"
        elif origin.lower() == self._own_origin(request) or self._allows(origin.lower()):
            return None
        logger.warning(
            "refused a request from %.100r: this endpoint serves %.100s and what allowed_origins names; "
            "behind a proxy that ends TLS or changes the Host header pass forwarded=True",
            origin,
            self._own_origin(request),
        )
        return web.Response(status=403, text="Origin not allowed.\n", headers={"Content-Type": TEXT, "Vary": "Origin"})

    def error(self, request: web.Request, status: int, text: str) -> web.Response:
        """An error that the asking page may read; its origin has been allowed before."""
        headers: CIMultiDict[str] = CIMultiDict({"Content-Type": TEXT})
        self.add_cors(headers, request)
        return web.Response(status=status, text=text, headers=headers)

    def add_cors(self, headers: CIMultiDict[str], request: web.Request) -> None:
        """CORS headers; none to a request without an origin where only some origins are allowed."""
        if self.is_open_to_all or "Origin" in request.headers:
            add_cors(headers, request)
        else:
            headers["Vary"] = "Origin"

    # The principal.

    async def authenticate(self, request: web.Request) -> object | None:
        """The principal who asks, by the application's ``authenticate``; None where there is none.

        Raises:
            web.HTTPException: 401, or what ``authenticate`` raised; with CORS headers.
        """
        if self._options.authenticate is None:
            return None
        try:
            principal = await self._options.authenticate(request)
        except web.HTTPException as error:
            self.add_cors(error.headers, request)
            raise
        if principal is None or principal is False:
            headers: CIMultiDict[str] = CIMultiDict()
            self.add_cors(headers, request)
            raise web.HTTPUnauthorized(headers=headers, text="Authentication required.\n")
        return principal

    async def is_owner(self, request: web.Request, session: Session) -> bool:
        """Does this later request come from the principal that opened ``session``?

        Asks ``authenticate`` again: only the application knows by what it tells its users apart.
        """
        if self._options.authenticate is None:
            return True
        try:
            return await self.authenticate(request) == session.handshake.principal
        except web.HTTPException:
            return False

    # The handshake.

    def handshake(self, request: web.Request, principal: object | None, subprotocol: str | None = None) -> Handshake:
        """What the application is to know of the request that opened its session."""
        remote, scheme, host = self._seen_by_client(request)
        target = request.raw_path  # as it was sent, which may be a whole URL
        return Handshake(
            url=f"{scheme}://{host}{target if target.startswith('/') else request.rel_url}",
            headers=request.headers,
            remote=remote,
            principal=principal,
            app=request.app,
            subprotocol=subprotocol,
        )

    def _own_origin(self, request: web.Request) -> str:
        _, scheme, host = self._seen_by_client(request)
        return f"{scheme}://{host.removesuffix(DEFAULT_PORTS.get(scheme, ' '))}".lower()

    def _seen_by_client(self, request: web.Request) -> tuple[str | None, str, str]:
        # (address, scheme, host); the last value of a list is the one that our own proxy wrote.
        # Only the kind of header that the option names is read: the proxy passes on the other as the client wrote it.
        remote, scheme, host = request.remote, request.scheme, request.host
        if self._options.forwarded == "rfc7239":
            element = request.forwarded[-1] if request.forwarded else {}
            remote, scheme, host = element.get("for", remote), element.get("proto", scheme), element.get("host", host)
        elif self._options.forwarded:
            remote = _last(request, "X-Forwarded-For") or remote
            scheme = _last(request, "X-Forwarded-Proto") or scheme
            host = _last(request, "X-Forwarded-Host") or host
        return remote, scheme.lower(), host


def _last(request: web.Request, name: str) -> str | None:
    values = request.headers.getall(name, None)
    return values[-1].rpartition(",")[2].strip() if values else None


def _origin_check(allowed: str | tuple[str, ...] | None) -> Callable[[str], bool]:
    if isinstance(allowed, str):
        return lambda origin: True
    exact = {origin for origin in allowed or () if "*" not in origin}
    patterns = [origin for origin in allowed or () if "*" in origin]
    if not patterns:
        return exact.__contains__
    # The star stands for one or more whole labels of a host name, never for anything else.
    pattern = re.compile(
        "|".join(re.escape(origin).replace(r"\*", r"[a-z0-9-]+(?:\.[a-z0-9-]+)*") for origin in patterns)
    )
    return lambda origin: origin in exact or pattern.fullmatch(origin) is not None
