"""The package ``sockjs`` (aio-libs), which has been the SockJS server for aiohttp.

Knows: its endpoints.
Does not know: other servers.
"""

from __future__ import annotations

from typing import Any

import sockjs  # type: ignore[import-untyped]  # it has no types
from aiohttp import web

from .serving import LARGEST_MESSAGE, serve_application


async def echo(manager: Any, session: Any, message: Any) -> None:
    """Every message goes back."""
    if message.type is sockjs.MsgType.MESSAGE:
        session.send(message.data)


async def broadcast(manager: Any, session: Any, message: Any) -> None:
    """Every message goes to all."""
    if message.type is sockjs.MsgType.MESSAGE:
        manager.broadcast(message.data)


if __name__ == "__main__":
    app = web.Application(client_max_size=2 * LARGEST_MESSAGE)  # a message is longer as a JSON string
    sockjs.add_endpoint(app, echo, prefix="/echo", name="echo")
    sockjs.add_endpoint(app, broadcast, prefix="/broadcast", name="broadcast")
    serve_application(app)
