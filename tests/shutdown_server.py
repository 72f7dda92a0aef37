"""The process that ``test_shutdown.py`` ends: ``web.run_app`` as in production.

Says when it is ready, and at its end what was called.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys

from aiohttp import web

import sockbridge


class Handler(sockbridge.SessionHandler):
    """Counts calls; ``on_message`` never ends for "stuck", and sends for ever for "flood"."""

    connected = 0
    closed = 0

    async def on_connected(self, session: sockbridge.Session) -> None:
        self.connected += 1

    async def on_message(self, session: sockbridge.Session, message: sockbridge.Message) -> None:
        if message == "flood":
            while session.is_open:
                session.send("x" * 8000)
                await session.drain()
        if message == "stuck":
            await asyncio.Event().wait()
        session.send(message)

    async def on_closed(self, session: sockbridge.Session, close: sockbridge.Close) -> None:
        self.closed += 1


def main() -> None:
    handler = Handler()
    app = web.Application()
    sockbridge.mount(app, "/echo", handler, allowed_origins="*", response_limit=2**30, disconnect_delay=60)

    listening = socket.socket(fileno=int(sys.argv[1]))
    web.run_app(app, sock=listening, access_log=None, print=lambda text: print("ready", flush=True))
    print(json.dumps({"connected": handler.connected, "closed": handler.closed}), flush=True)


if __name__ == "__main__":
    main()
