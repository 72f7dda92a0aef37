"""What opened a session that no request has opened: a handshake with the values that a test wants.

Knows: which values there are, and how they look where a test says nothing.
Does not know: sessions, requests.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TypedDict, Unpack

from multidict import CIMultiDict, CIMultiDictProxy

from ..sockjs.handshake import Handshake

BASE: Final = "http://testserver/memory/000"


class HandshakeArguments(TypedDict, total=False):
    """Attributes of ``sockbridge.Handshake``; cookies are put into its headers."""

    url: str
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    remote: str | None
    principal: object | None
    app: MutableMapping[Any, Any]
    subprotocol: str | None


def make_handshake(transport: str, id: str, **values: Unpack[HandshakeArguments]) -> Handshake:
    """The handshake of a client that has no request.

    Args:
        transport: last part of its URL.
        id: the part before.
        values: what is not given is empty; ``remote`` is ``"127.0.0.1"``.
    """
    headers = CIMultiDict(values.get("headers", {}))
    cookies = values.get("cookies", {})
    if cookies:
        headers.add("Cookie", "; ".join(f"{name}={value}" for name, value in cookies.items()))
    return Handshake(
        url=values.get("url", f"{BASE}/{id}/{transport}"),
        headers=CIMultiDictProxy(headers),
        remote=values.get("remote", "127.0.0.1"),
        principal=values.get("principal"),
        app=values.get("app", {}),
        subprotocol=values.get("subprotocol"),
    )
