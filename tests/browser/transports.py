"""Which transports the client has, and which of them it uses in Chromium.

sockjs-client 1.6.1 has eleven. ``xdr-streaming`` and ``xdr-polling`` need XDomainRequest, which only Internet
Explorer had. ``htmlfile`` is used with a plain iframe where ActiveX is missing, but only on pages of the
server's own origin; ``iframe-htmlfile`` brings it to other origins.
"""

from __future__ import annotations

from typing import Final

SAME_ORIGIN: Final = (
    "websocket",
    "xhr-streaming",
    "eventsource",
    "iframe-eventsource",
    "htmlfile",
    "iframe-htmlfile",
    "xhr-polling",
    "iframe-xhr-polling",
    "jsonp-polling",
)

CROSS_ORIGIN: Final = tuple(name for name in SAME_ORIGIN if name != "htmlfile")

UNCHECKED: Final = "jsonp-polling"
"""Its requests name no origin, so the server offers it only where every origin is allowed."""

UNDER_NODE: Final = ("websocket", "xhr-streaming", "eventsource", "xhr-polling")

PATHS: Final = {
    "websocket": "/websocket",
    "xhr-streaming": "/xhr_streaming",
    "eventsource": "/eventsource",
    "iframe-eventsource": "/eventsource",
    "htmlfile": "/htmlfile",
    "iframe-htmlfile": "/htmlfile",
    "xhr-polling": "/xhr",
    "iframe-xhr-polling": "/xhr",
    "jsonp-polling": "/jsonp",
}
"""The last segment of the URL that each receives on."""

STREAMING: Final = ("xhr-streaming", "eventsource", "iframe-eventsource", "htmlfile", "iframe-htmlfile")
