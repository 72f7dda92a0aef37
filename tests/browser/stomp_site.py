"""A site as a front end of STOMP meets it: a server with typed controllers, and the pages and scripts that drive it.

Knows: what the tests' clients ask for.
Does not know: which client asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from aiohttp import web

import sockbridge
from demo import scripts
from sockbridge import stomp
from sockbridge.errors import AccessRefused
from sockbridge.sockjs.framing import Close
from tests.fakes import GUARD

from .site import FOLDER

PREFIX: Final = "/ws"

PASSCODES: Final = {"alice": "wonder:land\\", "bob": "builder"}
"""One with what has to be escaped everywhere but in CONNECT."""


class Hello(msgspec.Struct):
    """Who says hello."""

    name: str


class Greeting(msgspec.Struct):
    """What everybody is told then."""

    content: str


class Trouble(Exception):
    """What the application tells the user about."""


def make_controller() -> stomp.Controller:
    """What the pages ask for under ``/app``."""
    controller = stomp.Controller()

    @controller.message_mapping("/hello", send_to="/topic/greetings")
    async def greet(hello: Hello) -> Greeting:
        return Greeting(f"Hello, {hello.name}!")

    @controller.subscribe_mapping("/rooms/{room}")
    async def look_into(room: int) -> dict[str, int]:
        return {"room": room}

    @controller.message_mapping("/me", send_to_user="/queue/me")
    async def tell_user(text: str, user: stomp.User) -> str:
        return f"{user.name}: {text}"

    @controller.message_mapping("/tab", send_to_user="/queue/me", broadcast=False)
    async def tell_tab(text: str) -> str:
        return f"this tab: {text}"

    @controller.message_mapping("/trouble")
    async def fail(text: str) -> None:
        raise Trouble(text)

    @controller.exception_handler(Trouble, send_to_user="/queue/errors", broadcast=False)
    async def explain(error: Trouble) -> str:
        return f"sorry: {error}"

    @controller.message_mapping("/octets", send_to="/topic/octets")
    async def make_octets(octets: list[int]) -> bytes:
        return bytes(octets)

    @controller.message_mapping("/size", send_to_user="/queue/size", broadcast=False)
    async def measure(body: bytes) -> int:
        return len(body)

    return controller


async def authenticate(login: stomp.Login) -> stomp.User:
    """Who knows the passcode is in; everybody else is told so."""
    if not login.login or PASSCODES.get(login.login) != login.passcode:
        raise AccessRefused("wrong name or passcode")
    return stomp.User(login.login)


class Witness(stomp.Interceptor, stomp.Events):
    """Writes down what clients send and how they go; wakes whoever waits for it."""

    def __init__(self) -> None:
        self.frames: list[stomp.Frame] = []
        self.connected: list[stomp.StompConnection] = []
        self.closes: list[Close] = []
        self._changed = asyncio.Event()

    async def inbound(self, connection: stomp.StompConnection, frame: stomp.Frame) -> stomp.Frame:
        self.frames.append(frame)
        self._changed.set()
        return frame

    async def on_connected(self, connection: stomp.StompConnection) -> None:
        self.connected.append(connection)
        self._changed.set()

    async def on_subscribed(self, connection: stomp.StompConnection, subscription: stomp.Subscription) -> None:
        self._changed.set()

    async def on_disconnected(self, connection: stomp.StompConnection, close: Close) -> None:
        self.closes.append(close)
        self._changed.set()

    def of(self, command: str) -> list[stomp.Frame]:
        """The frames of one command so far."""
        return [frame for frame in self.frames if frame.command == command]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; it is asked after each thing that happens."""
        async with asyncio.timeout(GUARD):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class StompSite:
    """The application, the server in it, and who watches.

    Attributes:
        app: to be served.
        server: mounted under ``PREFIX``.
        witness: sees what comes in.
    """

    def __init__(
        self,
        authenticate: Callable[[stomp.Login], Awaitable[stomp.User]] | None = None,
        *,
        broker: stomp.EmbeddedBroker | None = None,
        policy: list[stomp.Rule] | None = None,
        mount: Mapping[str, object] | None = None,
        **options: object,
    ) -> None:
        """
        Args:
            authenticate: None lets guests in.
            broker: None has topics alone.
            policy: None lets clients send to topics as well.
            mount: options of the endpoint.
            options: of ``StompServer``.
        """
        everybody = stomp.EVERYBODY
        rules = [stomp.Rule.connect(everybody), stomp.Rule.subscribe("**", everybody), stomp.Rule.send("**", everybody)]
        self.witness = Witness()
        self.server = stomp.StompServer(
            broker or stomp.EmbeddedBroker(topics=["/topic"]),
            controllers=[make_controller()],
            authenticate=authenticate,
            policy=rules if policy is None else policy,
            interceptors=[self.witness],
            events=[self.witness],
            **options,  # type: ignore[arg-type]
        )
        self.app = web.Application()
        for script in scripts.SCRIPTS:
            self.app.router.add_get(f"/{script.name}", _file(script.path.name, of_demo=True))
        for url, name in (
            ("/stomp_client.js", "stomp_client.js"),
            ("/", "stomp_page.html"),
            ("/greetings", "stomp_greetings.html"),
        ):
            self.app.router.add_get(url, _file(name))
        sockbridge.mount(self.app, PREFIX, self.server, **(mount or {}))  # type: ignore[arg-type]


def _file(name: str, *, of_demo: bool = False) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    path = (scripts.STATIC if of_demo else FOLDER) / name

    async def respond(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    return respond
