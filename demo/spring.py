"""The Spring demo: two back ends as they are written for Spring, and a page that its front ends would recognize.

``python -m demo.spring [--host 127.0.0.1] [--port 8080]``

At ``/gs-guide-websocket`` what Spring's guide to websockets serves: a plain websocket, a name in, a greeting out.
At ``/ws`` an echo service with SockJS for pages of every origin: a text in, the text with its time out.

Knows: the destinations and the types.
Does not know: how the page shows them (``spring.html``).
"""

from __future__ import annotations

import html
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

import sockbridge
from sockbridge import stomp

from .scripts import SOCKJS, STOMPJS
from .serving import add_page, arguments, run, script_url


@dataclass
class Hello:
    """What the guide's page sends."""

    name: str


@dataclass
class Greeting:
    """What it gets."""

    content: str


@dataclass
class EchoMessage:
    """A text, and when it came."""

    message: str
    time: datetime


greetings = stomp.Controller()
echo = stomp.Controller()


@greetings.message_mapping("/hello", send_to="/topic/greetings")
async def greet(hello: Hello) -> Greeting:
    return Greeting(f"Hello, {html.escape(hello.name)}!")  # the guide's page inserts it as HTML


@echo.message_mapping("/echo", send_to="/topic/messages")
async def echo_message(message: str) -> EchoMessage:
    return EchoMessage(message, datetime.now(UTC))


def make_app() -> web.Application:
    """The page, the browser scripts and both back ends."""
    app = web.Application()
    add_page(app, "spring.html", sockjs=SOCKJS, stompjs=STOMPJS)
    guide = stomp.StompServer(stomp.EmbeddedBroker(topics=["/topic"]), controllers=[greetings], compat="spring")
    sockbridge.mount(app, "/gs-guide-websocket", guide)
    echoes = stomp.StompServer(
        stomp.EmbeddedBroker(topics=["/topic"]), app_prefixes=["/api"], controllers=[echo], compat="spring"
    )
    sockbridge.mount(app, "/ws", echoes, allowed_origins="*", client_url=script_url(SOCKJS))
    return app


def main() -> int:
    """The command line."""
    chosen = arguments("demo.spring", "Two back ends as one writes them for Spring.", port=8080).parse_args()
    greeting = "The Spring demo runs. Open {url}/ in a browser; Ctrl-C ends it."
    return run(make_app(), chosen.host, chosen.port, greeting)


if __name__ == "__main__":
    sys.exit(main())
