"""Socket.IO on aiohttp, by the package ``python-socketio``: event ``message`` goes back to its sender.

Knows: its server for asyncio.
Does not know: SockJS.
"""

# mypy: disable-error-code="import-not-found, import-untyped"
# not everybody who checks types has it

from __future__ import annotations

import socketio
from aiohttp import web

from .serving import LARGEST_MESSAGE, serve_application

server = socketio.AsyncServer(
    async_mode="aiohttp",
    transports=["websocket"],
    cors_allowed_origins="*",
    max_http_buffer_size=LARGEST_MESSAGE,
    async_handlers=False,  # the messages of a client one after the other, without a task for each
)


async def echo(session_id: str, message: str) -> None:
    """Every message goes back."""
    await server.send(message, to=session_id)


if __name__ == "__main__":
    app = web.Application()
    server.on("message", echo)
    server.attach(app, socketio_path="echo")
    serve_application(app)
