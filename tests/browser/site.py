"""A site whose pages load the unmodified client: the client's script, one page, the messages.

The same application may serve the endpoint (same origin) or not (cross-origin).

Knows: what a page needs.
Does not know: which endpoint it connects to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

import sockbridge
from demo import scripts
from sockbridge.sockjs.handler import HandlerSource

from .traffic import MESSAGES_JSON, SCRIPT_URL

FOLDER: Final = Path(__file__).parent
CLIENT_URL: Final = "/sockjs.min.js"


class Echo(sockbridge.SessionHandler):
    """Sends every message back."""

    async def on_message(self, session: sockbridge.Session, message: sockbridge.Message) -> None:
        session.send(message)


def make_site(handler: HandlerSource | None = None, prefix: str = "/echo", **options: object) -> web.Application:
    """A site with an endpoint whose iframe page loads our copy of the client, or none if there is no handler."""
    app = web.Application()
    files = {CLIENT_URL: scripts.SOCKJS.path, "/connection.js": FOLDER / "connection.js", "/": FOLDER / "page.html"}
    for url, path in files.items():
        app.router.add_get(url, _file(path))
    app.router.add_get("/messages.json", _messages)
    app.router.add_get(SCRIPT_URL, _script_has_run)
    if handler is not None:
        sockbridge.mount(app, prefix, handler, **{"client_url": CLIENT_URL, **options})  # type: ignore[arg-type]
    return app


def _file(path: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def respond(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    return respond


async def _messages(request: web.Request) -> web.Response:
    return web.Response(text=MESSAGES_JSON, content_type="application/json")


async def _script_has_run(request: web.Request) -> web.Response:
    return web.Response(status=204)
