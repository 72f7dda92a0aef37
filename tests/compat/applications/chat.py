"""A chat: everybody hears who comes, what is said, and who goes. A whisper is not heard by who whispers."""

from __future__ import annotations

from typing import Any

from aiohttp import web


def make_app(sockjs: Any, note: Any) -> web.Application:
    async def chat(manager: Any, session: Any, msg: Any) -> None:
        note(session, msg)
        if msg.type == sockjs.MsgType.OPEN:
            manager.broadcast("A guest has come")
        elif msg.type == sockjs.MsgType.MESSAGE:
            if msg.data.startswith("psst"):
                manager.broadcast(msg.data, exclude_session_ids={session.id})
            else:
                manager.broadcast(msg.data)
        elif msg.tp == sockjs.MsgType.CLOSED:
            manager.broadcast("A guest has gone")

    app = web.Application()
    sockjs.add_endpoint(app, chat, name="chat")
    return app
