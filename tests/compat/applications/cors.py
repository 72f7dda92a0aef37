"""Lets the pages of one other site in, by way of ``aiohttp_cors``."""

from __future__ import annotations

from typing import Any

import aiohttp_cors
from aiohttp import web


def make_app(sockjs: Any, note: Any) -> web.Application:
    async def echo(manager: Any, session: Any, msg: Any) -> None:
        note(session, msg)
        if msg.type == sockjs.MsgType.MESSAGE:
            session.send(msg.data)

    async def other(request: web.Request) -> web.Response:
        return web.Response(text="not SockJS")

    app = web.Application()
    allowed = aiohttp_cors.ResourceOptions(allow_credentials=True, expose_headers="*", allow_headers="*")
    cors = aiohttp_cors.setup(app, defaults={"https://friend.example": allowed})
    cors.add(app.router.add_get("/other", other))
    sockjs.add_endpoint(app, echo, name="echo", prefix="/sockjs", cors_config=cors)
    return app
