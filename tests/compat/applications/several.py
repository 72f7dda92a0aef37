"""Three endpoints: news that an HTTP request publishes, a handler that is a plain function, and sessions of its own."""

from __future__ import annotations

from typing import Any

from aiohttp import web


def make_app(sockjs: Any, note: Any) -> web.Application:
    app = web.Application()

    async def news(manager: Any, session: Any, msg: Any) -> None:
        note(session, msg)
        if msg.type == sockjs.MsgType.OPEN:
            session.send(f"welcome to {manager.name}")

    async def publish(request: web.Request) -> web.Response:
        sockjs.get_manager("news", request.app).broadcast(await request.text())
        return web.Response(text="published")

    def shout(manager: Any, session: Any, msg: Any) -> None:
        note(session, msg)
        if msg.type == sockjs.MsgType.MESSAGE:
            session.send(msg.data.upper())

    class Counting(sockjs.Session):  # type: ignore[misc]  # the module is an argument
        count = 0

        def send(self, msg: str) -> bool:
            self.count += 1
            sent: bool = super().send(f"{self.count}. {msg}")
            return sent

    async def echo(manager: Any, session: Any, msg: Any) -> None:
        note(session, msg)
        if msg.type == sockjs.MsgType.MESSAGE:
            session.send(msg.data)

    counting = sockjs.SessionManager("counting", app, echo, heartbeat_delay=60, disconnect_delay=3)
    counting.factory = Counting
    sockjs.add_endpoint(app, news, name="news", prefix="/news")
    sockjs.add_endpoint(app, shout, name="shout", prefix="/shout", disable_transports=["websocket", "htmlfile"])
    sockjs.add_endpoint(app, echo, name="counting", prefix="/counting", manager=counting)
    app.router.add_post("/publish", publish)
    return app
