"""A bare websocket of the package ``websockets``, with its server for asyncio.

Knows: the handler and the broadcast of ``websockets``.
Does not know: SockJS.
"""

from __future__ import annotations

import asyncio
import contextlib

# not everybody who checks types has it
from websockets.asyncio.server import (  # type: ignore[import-not-found, unused-ignore]
    ServerConnection,
    broadcast,
    serve,
)
from websockets.exceptions import ConnectionClosed  # type: ignore[import-not-found, unused-ignore]

from .serving import BACKLOG, HOST, LARGEST_MESSAGE, serve_forever

connections: set[ServerConnection] = set()


async def handle(connection: ServerConnection) -> None:
    """As the path says."""
    assert connection.request is not None
    serve_one = echo if connection.request.path == "/echo" else broadcast_all
    with contextlib.suppress(ConnectionClosed):  # the client left without a goodbye
        await serve_one(connection)


async def echo(connection: ServerConnection) -> None:
    """Every message goes back."""
    async for message in connection:
        await connection.send(message)


async def broadcast_all(connection: ServerConnection) -> None:
    """Every message goes to all."""
    connections.add(connection)
    try:
        async for message in connection:
            broadcast(connections, message)
    finally:
        connections.discard(connection)


async def main(port: int) -> None:
    """Serve until cancelled."""
    async with serve(handle, HOST, port, backlog=BACKLOG, max_size=LARGEST_MESSAGE):
        await asyncio.Event().wait()


if __name__ == "__main__":
    serve_forever(main)
