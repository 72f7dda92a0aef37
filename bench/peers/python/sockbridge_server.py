"""Our own server, as an application mounts it.

Knows: the faces of sockbridge.
Does not know: how it works inside.
"""

from __future__ import annotations

import os
from typing import Final, Literal

from aiohttp import web

import sockbridge
from sockbridge import stomp

from .serving import LARGEST_MESSAGE, serve_application

READER: Final[Literal["auto", "python"]] = "python" if os.environ.get("BENCH_WEBSOCKET_READER") == "python" else "auto"
"""The option ``websocket_reader``: ``"python"`` uses nothing but aiohttp's public interface."""


class Echo(sockbridge.SessionHandler):
    """Every message goes back."""

    async def on_message(self, session: sockbridge.Session, message: str | bytes) -> None:
        session.send(message)


class Broadcast(sockbridge.SessionHandler):
    """Every message goes to all sessions of ``endpoint``, which is set once it is mounted."""

    endpoint: sockbridge.Endpoint

    async def on_message(self, session: sockbridge.Session, message: str | bytes) -> None:
        self.endpoint.broadcast(message)


def stomp_server() -> stomp.StompServer:
    """Everybody may subscribe and send to ``/topic``."""
    rules = [
        stomp.Rule.connect(stomp.EVERYBODY),
        stomp.Rule.subscribe("/topic/**", stomp.EVERYBODY),
        stomp.Rule.send("/topic/**", stomp.EVERYBODY),
    ]
    return stomp.StompServer(stomp.EmbeddedBroker(["/topic"]), policy=rules)


def mount(app: web.Application, prefix: str, handler: sockbridge.SessionHandler) -> sockbridge.Endpoint:
    """With the options that all peers have."""
    return sockbridge.mount(
        app, prefix, handler, allowed_origins="*", max_message_size=LARGEST_MESSAGE, websocket_reader=READER
    )


if __name__ == "__main__":
    application = web.Application()
    mount(application, "/echo", Echo())
    broadcast = Broadcast()
    broadcast.endpoint = mount(application, "/broadcast", broadcast)
    mount(application, "/stomp", stomp_server())
    serve_application(application)
