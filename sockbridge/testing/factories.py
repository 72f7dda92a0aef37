"""What the fixtures hand out: each call makes something that runs until the end of the test.

Knows: servers, clients, in which order they end.
Does not know: pytest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from ..endpoint import Endpoint
from ..errors import UsageError
from ..sockjs.handler import HandlerSource
from ..stomp.frame import Command
from ..stomp.server import StompServer
from .relayed_client import RelayedClient
from .serving import Serving, serve
from .stomp_client import MemoryClient, told


class Factory:
    """What it has made ends with it, the last first."""

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stack.aclose()

    def check_loop(self) -> None:
        """
        Raises:
            UsageError: the test runs in another event loop than this fixture.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise UsageError(
                "this fixture of sockbridge and the test run in two event loops; give both the same scope: "
                "asyncio_default_fixture_loop_scope and asyncio_default_test_loop_scope of pytest-asyncio"
            )


class ServerFactory(Factory):
    """``url = await sockbridge_server(handler, prefix="/echo", **options)``."""

    def __init__(self) -> None:
        super().__init__()
        self._servings: dict[str, Serving] = {}

    async def __call__(self, served: HandlerSource | web.Application, prefix: str = "", **options: Any) -> str:
        """Serve a handler, or an application, until the end of the test; see ``serve``.

        Returns:
            the URL of the endpoint.
        """
        self.check_loop()
        serving = await self.stack.enter_async_context(serve(served, prefix, **options))
        self._servings[serving.url] = serving
        return serving.url

    def endpoint(self, url: str) -> Endpoint:
        """What serves a handler at ``url``: its sessions, its counters, ``broadcast``.

        Raises:
            UsageError: no handler was mounted there by this fixture.
        """
        serving = self._servings.get(url)
        if serving is None or serving.endpoint is None:
            raise UsageError(f"this fixture has mounted no handler at {url}")
        return serving.endpoint

    async def handler_error(self, url: str) -> BaseException:
        """The next exception of the handler at ``url``, five seconds at most. It is expected then: all others are
        raised at the end of the test.

        Raises:
            UsageError: this fixture has served nothing there.
            AssertionError: none comes.
        """
        self.check_loop()
        if url not in self._servings:
            raise UsageError(f"this fixture has served nothing at {url}")
        return await self._servings[url].handler_error()


class ClientFactory(Factory):
    """``client = await sockbridge_client(url, "xhr-streaming")``."""

    async def __call__(self, url: str, transport: str | None = None, **options: Any) -> RelayedClient:
        """Connect a client, which stays until the end of the test; see ``RelayedClient``."""
        self.check_loop()
        return await self.stack.enter_async_context(RelayedClient(url, transport, **options))


class StompFactory(Factory):
    """``client = await sockbridge_stomp(server, "ann")``."""

    def __init__(self) -> None:
        super().__init__()
        self._started: set[StompServer] = set()

    async def __call__(
        self, server: StompServer, user: str | None = None, headers: Mapping[str, str] | None = None
    ) -> MemoryClient:
        """A client that has logged in at ``server``, which runs from then on until the end of the test.

        Args:
            user: the ``principal`` of its handshake, and the ``login`` of its CONNECT; None: a guest.
            headers: of its CONNECT, e.g. a ``passcode``, or another ``login``.

        Raises:
            UsageError: ``server`` is no ``StompServer``.
            AssertionError: the login was refused.
        """
        self.check_loop()
        if not isinstance(server, StompServer):
            raise UsageError(
                f"sockbridge_stomp takes a StompServer, not {server!r}; a handler is for sockbridge_server"
            )
        if server not in self._started:
            self._started.add(server)
            await self.stack.enter_async_context(server)
        client = MemoryClient(server, user)
        self.stack.push_async_callback(client.cut)
        answer = await client.connect(headers)
        if answer.command is not Command.CONNECTED:
            raise AssertionError(
                f"the login was refused: {told(answer)}; {user!r} was sent as principal of the handshake and as login. "
                "What else authenticate looks at is given by headers={'passcode': ...}"
            )
        return client
