"""Has faults: one where a session opens, one at certain messages."""

from __future__ import annotations

from typing import Any

from aiohttp import web


def make_app(sockjs: Any, note: Any) -> web.Application:
    async def fail_at_once(manager: Any, session: Any, msg: Any) -> None:
        note(session, msg)
        if msg.type == sockjs.MsgType.OPEN:
            raise RuntimeError("a fault in OPEN")

    async def divide(manager: Any, session: Any, msg: Any) -> None:
        note(session, msg)
        if msg.type == sockjs.MsgType.MESSAGE:
            session.send(str(60 // int(msg.data)))

    app = web.Application()
    sockjs.add_endpoint(app, fail_at_once, name="open", prefix="/open")
    sockjs.add_endpoint(app, divide, name="divide", prefix="/divide")
    return app
