"""A bare websocket, as one writes it with aiohttp alone.

Knows: the websockets of aiohttp.
Does not know: SockJS.
"""

from __future__ import annotations

from aiohttp import ClientConnectionResetError, web

from .serving import serve_application


class Broadcast:
    """What one websocket sends goes to all, one after the other, waiting for each that is slow."""

    def __init__(self) -> None:
        self._sockets: set[web.WebSocketResponse] = set()

    async def __call__(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            async for message in socket:
                await self._send(message.data)
        finally:
            self._sockets.discard(socket)
        return socket

    async def _send(self, text: str) -> None:
        for socket in tuple(self._sockets):  # others may come and go while we wait
            try:
                await socket.send_str(text)
            except ClientConnectionResetError:  # it has left; its own handler removes it
                continue


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Every message goes back."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/echo", echo)
    app.router.add_get("/broadcast", Broadcast().__call__)
    serve_application(app)
