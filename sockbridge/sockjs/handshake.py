"""What opened a session, as a value that outlives its request.

Knows: url, headers, cookies, address, principal.
Does not know: the request object, transports.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

from multidict import CIMultiDictProxy


@dataclass(frozen=True, slots=True, eq=False)
class Handshake:
    """The request that opened a session.

    Attributes:
        url: as the client wrote it, with scheme and host. It holds the client's session id, which is the
            client's secret: do not log it.
        headers: the request's headers, read-only.
        remote: the client's address, or None if the transport has none. Behind a proxy this is the proxy's
            address unless ``forwarded`` is set.
        principal: what ``authenticate`` returned; None without one.
        app: the aiohttp application (or sub-application) that the endpoint is mounted in, for its keys.
        subprotocol: the websocket subprotocol that was agreed on; None if there is none.
    """

    url: str
    headers: CIMultiDictProxy[str]
    remote: str | None
    principal: object | None
    app: MutableMapping[Any, Any]  # aiohttp's own type for an application; only the keys' types are known
    subprotocol: str | None = None

    @property
    def cookies(self) -> Mapping[str, str]:
        """The request's cookies by name; what cannot be parsed is left out."""
        jar: SimpleCookie = SimpleCookie()
        for header in self.headers.getall("Cookie", ()):
            for pair in header.split(";"):
                try:
                    jar.load(pair)
                except CookieError:  # an odd cookie, often another application's, hides no other
                    continue
        return {name: morsel.value for name, morsel in jar.items()}
