"""Keeps a shopping list for each session, by the session's id."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web


def make_app(sockjs: Any, note: Any) -> web.Application:
    lists: dict[str, list[str]] = {}

    async def shop(manager: Any, session: Any, msg: Any) -> None:
        note(session, msg)
        assert manager.get(session.id) is session
        assert session in manager.active_sessions() or msg.type == sockjs.MsgType.CLOSED
        match msg.type:
            case sockjs.MsgType.OPEN:
                lists[session.id] = []
                session.visits = 0
            case sockjs.MsgType.MESSAGE:
                session.visits += 1
                lists[session.id].append(msg.data)
                session.send(json.dumps([session.visits, lists[session.id]]))
            case sockjs.MsgType.CLOSED:
                del lists[session.id]

    async def count(request: web.Request) -> web.Response:
        """How many lists there are; another's cannot be seen."""
        manager = sockjs.get_manager("shop", request.app)
        assert {session.id for session in manager.active_sessions()} == set(lists)
        assert manager.get("nobody", default=None) is None
        return web.json_response(len(lists))

    app = web.Application()
    sockjs.add_endpoint(app, handler=shop, name="shop", prefix="/shop")
    app.router.add_get("/count", count)
    return app
