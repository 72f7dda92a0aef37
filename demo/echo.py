"""The echo demo: a page at ``/`` that talks to the endpoint at ``/echo`` over the transport you pick.

``python -m demo.echo [--host 127.0.0.1] [--port 8080]``

Knows: the page, the endpoint.
Does not know: how the page shows what passes (``echo.html``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from aiohttp import web

import sockbridge

from .scripts import SOCKJS
from .serving import add_static, arguments, run, script_url

PAGE: Final = Path(__file__).with_name("echo.html")


class Echo(sockbridge.SessionHandler):
    """Sends each message back."""

    async def on_message(self, session: sockbridge.Session, message: sockbridge.Message) -> None:
        session.send(message)


async def page(request: web.Request) -> web.Response:
    """The page, with the address and the hash of the browser script filled in."""
    text = PAGE.read_text(encoding="utf-8")
    text = text.replace("{{script}}", script_url(SOCKJS)).replace("{{integrity}}", SOCKJS.integrity)
    return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-store"})


def make_app() -> web.Application:
    """The page, the browser script and the endpoint."""
    app = web.Application()
    app.router.add_get("/", page)
    add_static(app)
    sockbridge.mount(
        app,
        "/echo",
        Echo(),
        # jsonp is served to every origin or not at all, and the demo is to show every transport. There is
        # nothing to protect here: the server listens on loopback and only says what it is told.
        allowed_origins="*",
        client_url=script_url(SOCKJS),
    )
    return app


def main() -> int:
    """The command line."""
    chosen = arguments("demo.echo", "A page that echoes messages over every SockJS transport.", port=8080).parse_args()
    return run(make_app(), chosen.host, chosen.port, "The echo demo runs. Open {url}/ in a browser; Ctrl-C ends it.")


if __name__ == "__main__":
    sys.exit(main())
