"""Sends back what it gets."""

from __future__ import annotations

from typing import Any

from aiohttp import web


def make_app(sockjs: Any, note: Any) -> web.Application:
    async def echo(manager: Any, session: Any, msg: Any) -> None:
        note(session, msg)
        if msg.type == sockjs.MsgType.MESSAGE:
            session.send(msg.data)

    app = web.Application()
    sockjs.add_endpoint(app, echo, name="echo", prefix="/sockjs/")
    return app
