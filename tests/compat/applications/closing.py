"""Ends sessions: at once, on demand, with a code of its own, twice, with words that are still to arrive."""

from __future__ import annotations

from typing import Any

from aiohttp import web


def make_app(sockjs: Any, note: Any) -> web.Application:
    async def refuse(manager: Any, session: Any, msg: Any) -> None:
        note(session, msg)
        if msg.type == sockjs.MsgType.OPEN:
            session.send("not now")
            session.close()
            assert session.state == sockjs.SessionState.CLOSING
            assert session.send("too late") is False

    async def obey(manager: Any, session: Any, msg: Any) -> None:
        note(session, msg)
        if msg.type == sockjs.MsgType.MESSAGE:
            assert session.send("goodbye") is True
            session.close(4001, msg.data)
            session.close(4002, "only the first counts")
        elif msg.type == sockjs.MsgType.CLOSED:
            assert session.state == sockjs.SessionState.CLOSED

    app = web.Application()
    sockjs.add_endpoint(app, refuse, name="refuse", prefix="/refuse")
    sockjs.add_endpoint(app, obey, name="obey", prefix="/obey", cookie_needed=False)
    return app
