"""Knows its visitors by what their first request brings, and by what a middleware has made of it."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

NAMES = {"key-1": "Ada", "key-2": "Grace"}
GREETING: web.AppKey[str] = web.AppKey("greeting", str)
USER: web.RequestKey[str] = web.RequestKey("user", str)


@web.middleware
async def recognize(request: web.Request, handler: Any) -> web.StreamResponse:
    request[USER] = NAMES.get(request.cookies.get("key", ""), "stranger")
    response: web.StreamResponse = await handler(request)
    return response


def make_app(sockjs: Any, note: Any) -> web.Application:
    async def welcome(manager: Any, session: Any, msg: Any) -> None:
        note(session, msg)
        if msg.type == sockjs.MsgType.OPEN:
            request = session.request
            facts = [request.headers["X-Fact"], request.remote, request.query.get("none", "-"), request.path[:9]]
            session.send(json.dumps([request.app[GREETING], request[USER], *facts]))
            if request[USER] == "stranger":
                session.close(4401, "Who are you?")

    app = web.Application(middlewares=[recognize])
    app[GREETING] = "Hello"
    sockjs.add_endpoint(app, welcome, name="welcome", prefix="/welcome")
    return app
