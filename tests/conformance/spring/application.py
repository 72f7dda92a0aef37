"""What the forty checks assume: an application as one written for Spring, with its prefixes.

Topics under ``/topic`` and ``/queue``, controllers under ``/app`` and ``/api``, users under ``/user``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sockbridge.stomp import Controller, EmbeddedBroker, Reply, StompServer, TcpListener, User

from ..stomp.site import Site, serve_stomp


@dataclass
class Greeting:
    """What the guide's page is sent."""

    content: str


@dataclass
class Hello:
    """What the guide's page sends."""

    name: str


class Gate:
    """Holds up handlers until a test lets them go on.

    Attributes:
        waiting: set when a handler has come to it.
        open: set by the test.
    """

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.open = asyncio.Event()


class Application:
    """The controllers, and what they have been given.

    Attributes:
        calls: arguments of the calls of ``/take...``.
        gate: of ``/gated``.
    """

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.gate = Gate()
        self.controller = Controller()
        self._map_messages()
        self._map_users()

    def _map_messages(self) -> None:
        controller = self.controller

        @controller.message_mapping("/echo", send_to="/topic/messages")
        async def echo(text: str) -> str:
            return text

        @controller.message_mapping("/hello", send_to="/topic/greetings")
        async def greet(hello: Hello) -> Greeting:
            return Greeting(f"Hello, {hello.name}!")

        @controller.message_mapping("/nothing", send_to="/topic/messages")
        async def say_nothing(text: str) -> None:
            self.calls.append(text)

        @controller.message_mapping("/octets", send_to="/topic/messages")
        async def octets(body: bytes) -> bytes:
            return body

        @controller.message_mapping("/take-text")
        async def take_text(text: str) -> None:
            self.calls.append(text)

        @controller.message_mapping("/take-object")
        async def take_object(hello: Hello) -> None:
            self.calls.append(hello)

        @controller.message_mapping("/plain")
        async def plain(text: str) -> str:
            return text

        @controller.message_mapping("/both", send_to=["/topic/one", "/topic/two"])
        async def both(text: str) -> str:
            return text

        @controller.message_mapping("/rooms/{room}/say", send_to="/topic/rooms/{room}")
        async def say(room: str, text: str) -> Reply:
            return Reply(f"{room}: {text}", {"mood": "a:b"})

        @controller.subscribe_mapping("/init/{number}")
        async def init(number: int) -> dict[str, int]:
            return {"number": number}

        @controller.message_mapping("/gated", send_to="/topic/messages")
        async def gated(text: str) -> str:
            if text == "slow":
                self.gate.waiting.set()
                await self.gate.open.wait()
            return text

        @controller.message_mapping("/fail", send_to="/topic/messages")
        async def fail(text: str) -> str:
            raise ValueError(text)

        @controller.message_mapping("/fail-mapped")
        async def fail_mapped(text: str) -> str:
            raise LookupError(text)

        @controller.exception_handler(LookupError, send_to_user="/queue/errors", broadcast=False)
        async def explain(error: LookupError) -> dict[str, Any]:
            return {"error": str(error.args[0])}

    def _map_users(self) -> None:
        controller = self.controller

        @controller.message_mapping("/me", send_to_user="/queue/me")
        async def me(user: User | None, text: str) -> str:
            return f"{user.name if user else 'guest'}: {text}"

        @controller.message_mapping("/me-alone", send_to_user="/queue/me", broadcast=False)
        async def me_alone(text: str) -> str:
            return text


class SpringSite:
    """A server with that application.

    Attributes:
        site: ways to reach the server.
        application: what it serves.
    """

    def __init__(self, site: Site, application: Application) -> None:
        self.site = site
        self.application = application


@asynccontextmanager
async def serve_spring(options: dict[str, object] | None = None, **arguments: object) -> AsyncIterator[SpringSite]:
    """Run it.

    Args:
        options: of ``mount``.
        arguments: of the server.
    """
    application = Application()
    listener = TcpListener(port=0)
    settings: dict[str, object] = {"broker": EmbeddedBroker(topics=["/topic", "/queue"]), **arguments}
    server = StompServer(
        app_prefixes=["/app", "/api"],
        controllers=[application.controller],
        listeners=[listener],
        **settings,  # type: ignore[arg-type]  # the tests' own
    )
    async with serve_stomp(server, options, listener=listener) as site:
        yield SpringSite(site, application)
