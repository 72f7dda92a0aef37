"""Opens a websocket without following redirects, as browsers do it.

``ClientSession.ws_connect`` follows them, and takes the caller's headers along to another origin: an API key would end
there, and what is said on the connection. It has no switch for that, but asks by the session's public ``request``,
which has one. So it is given a session that asks with the switch off. That is a private seam of aiohttp: where it is
not as expected, redirects are followed as aiohttp does.

Knows: aiohttp's client session.
Does not know: which websocket.
Spec: RFC 6455, 4.1 (a client need not follow redirects); HTML standard, "WebSockets" (redirect mode "error").
"""

from __future__ import annotations

from typing import Any, Final

import aiohttp
from yarl import URL

_WS_CONNECT: Final[Any] = getattr(aiohttp.ClientSession, "_ws_connect", None)


async def open_websocket(http: aiohttp.ClientSession, url: URL, **how: Any) -> aiohttp.ClientWebSocketResponse[bool]:
    """``http.ws_connect(url, **how)``, but that a redirect is a refusal.

    Raises:
        aiohttp.ClientError: as ``ws_connect``; ``WSServerHandshakeError`` for a redirect.
    """
    if _WS_CONNECT is None:
        return await http.ws_connect(url, **how)  # type: ignore[no-any-return]  # how it is typed hangs on decode_text
    socket: aiohttp.ClientWebSocketResponse[bool] = await _WS_CONNECT(_Straight(http), url, **how)
    return socket


class _Straight:
    """A session as it is, but for redirects."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    def __getattr__(self, name: str) -> Any:
        return getattr(self._http, name)

    async def request(self, method: str, url: URL, **how: Any) -> aiohttp.ClientResponse:
        return await self._http.request(method, url, **{**how, "allow_redirects": False})
