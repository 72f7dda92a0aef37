"""The chat demo: rooms that remember, private messages, and who is here.

``python -m demo.chat [--host 127.0.0.1] [--port 8080]``

Knows: who may do what, and where each message goes.
Does not know: how the page shows it (``chat.html``).
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final

from aiohttp import web
from msgspec import Meta

import sockbridge
from sockbridge import AccessRefused, PayloadInvalid, stomp

from .scripts import SOCKJS, STOMPJS
from .serving import add_page, arguments, run, script_url

SERVER: Final = web.AppKey("server", stomp.StompServer)
DAY: Final = 24 * 60 * 60
NAME: Final = r"\A[\w.-]{1,20}\Z"

Name = Annotated[str, Meta(pattern=NAME)]


@dataclass
class Draft:
    """What clients send."""

    text: Annotated[str, Meta(pattern=r"\S", max_length=1000)]


@dataclass
class Said:
    """What they get: who said it, and to which room or person."""

    who: str
    to: str
    text: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class NotHere(Exception):
    """A private message had nobody to go to."""


rooms = stomp.Controller("/rooms")
people = stomp.Controller("/people")


@rooms.message_mapping("/{room}", send_to="/topic/rooms/{room}")
async def say(room: Name, draft: Draft, user: stomp.User) -> Said:
    return Said(user.name, room, draft.text)


@people.message_mapping("/{name}", send_to_user="/queue/private")
async def whisper(name: Name, draft: Draft, user: stomp.User, messaging: stomp.Messaging) -> Said:
    """To the other person's tabs; what is returned goes to one's own."""
    said = Said(user.name, name, draft.text)
    if name != user.name and not await messaging.send_to_user(name, "/queue/private", said):
        raise NotHere(f"{name} is not here")
    return said


@people.subscribe_mapping("/here")
async def here(users: stomp.UserRegistry) -> list[str]:
    return sorted(users)


@people.exception_handler(NotHere, PayloadInvalid, send_to_user="/queue/errors", broadcast=False, everywhere=True)
async def refuse(error: Exception) -> str:
    return f"Not sent: {error}"


class Presence(stomp.Events):
    """Tells everybody who is here, whenever that has changed."""

    async def on_connected(self, connection: stomp.StompConnection) -> None:
        server: stomp.StompServer = connection.handshake.app[SERVER]
        await server.messaging.send("/topic/people", await here(server.users))

    async def on_disconnected(self, connection: stomp.StompConnection, close: sockbridge.Close) -> None:
        await self.on_connected(connection)


async def authenticate(login: stomp.Login) -> str:
    """Believes every name, as this is a demo: a real application checks a password or a token here. Who takes the
    name of somebody else is that person's second tab, and reads along."""
    if not re.match(NAME, login.login):
        raise AccessRefused("a name has 1 to 20 letters, digits, dots, dashes or underscores")
    return login.login


def make_app() -> web.Application:
    """The page, the browser scripts and the chat."""
    app = web.Application()
    add_page(app, "chat.html", sockjs=SOCKJS, stompjs=STOMPJS)
    app[SERVER] = stomp.StompServer(
        stomp.EmbeddedBroker(
            topics=["/topic"],
            history=[stomp.History("/topic/rooms/*", size=50, seconds=DAY)],
            presence=["/topic/rooms/*"],
        ),
        controllers=[rooms, people],
        events=[Presence()],
        authenticate=authenticate,
        policy=[
            stomp.Rule.connect(stomp.LOGGED_IN),
            stomp.Rule.subscribe("/topic/rooms/{room}", stomp.LOGGED_IN),
            stomp.Rule.subscribe("/presence/topic/rooms/{room}", stomp.LOGGED_IN),
            stomp.Rule.subscribe("/topic/people", stomp.LOGGED_IN),
            stomp.Rule.subscribe("/app/people/here", stomp.LOGGED_IN),
            stomp.Rule.subscribe("/user/queue/{kind}", stomp.LOGGED_IN),
            stomp.Rule.send("/app/**", stomp.LOGGED_IN),
        ],
    )
    sockbridge.mount(app, "/chat", app[SERVER], client_url=script_url(SOCKJS))
    return app


def main() -> int:
    """The command line."""
    chosen = arguments("demo.chat", "A chat with rooms and private messages, over STOMP.", port=8080).parse_args()
    greeting = "The chat demo runs. Open {url}/ in two browsers; Ctrl-C ends it."
    return run(make_app(), chosen.host, chosen.port, greeting)


if __name__ == "__main__":
    sys.exit(main())
