"""A real client behind a relay: its connection can be cut, and it can be a slow reader, over every transport.

Knows: a session of the client, the relay in front of its server.
Does not know: transports, servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from ..client.connecting import connect
from ..client.session import Session
from ..errors import SessionClosed, UsageError
from ..sockjs.framing import Close, Message
from .loop import Guard
from .relay import Relay


class RelayedClient:
    """A client of the server at ``url``. Enter it: then it is connected.

    Attributes:
        relay: all its connections lead through it, and nobody else's.
    """

    def __init__(self, url: str, transport: str | None = None, **options: Any) -> None:
        """
        Args:
            url: ``http`` or ``https``.
            transport: e.g. ``"xhr-streaming"``; None: the first that works.
            options: those of ``sockbridge.client.connect``.

        Raises:
            UsageError: ``url`` is no URL of a host.
        """
        _check_url(url)
        parts = urlsplit(url)
        if parts.hostname is None:
            raise UsageError(f"a URL names a host, e.g. http://127.0.0.1:8080/echo, not {url!r}")
        self.relay = Relay(parts.hostname, parts.port or (443 if parts.scheme in ("https", "wss") else 80))
        headers: Mapping[str, str] = options.pop("headers", {})
        self._options = {**options, "headers": {"Host": parts.netloc.rpartition("@")[2], **headers}}
        if transport is not None:
            self._options["transports"] = [transport]
        self._url = url
        self._session: Session | None = None
        self._is_paused = False

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as on_failure:
            await on_failure.enter_async_context(self.relay)
            self._session = await connect(self.relay.url_for(self._url), **self._options)
            on_failure.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.relay.resume()
        try:
            await self.session.close()
        finally:
            await self.relay.close()

    @property
    def session(self) -> Session:
        """The client's own session, for all that is not here.

        Raises:
            UsageError: it was not entered.
        """
        if self._session is None:
            raise UsageError("a RelayedClient is to be entered: async with RelayedClient(url) as client")
        return self._session

    # What a network and a page can do.

    async def cut(self, *, reset: bool = True) -> None:
        """Cut the connection now; see ``Relay.cut``. Returns when both ends could know."""
        await self.relay.cut(reset=reset)

    def pause(self) -> None:
        """Read nothing from now on: see ``Relay.pause``. ``send`` waits for an answer, so it does not end meanwhile."""
        self._is_paused = True
        self.relay.pause()

    def resume(self) -> None:
        """Read again, what waited first."""
        self._is_paused = False
        self.relay.resume()

    # As the session.

    @property
    def transport(self) -> str:
        """Name of the transport that carries the session."""
        return self.session.transport

    @property
    def is_open(self) -> bool:
        """True while messages can be sent."""
        return self.session.is_open

    @property
    def close_info(self) -> Close | None:
        """How the session ended; None while it has not."""
        return self.session.close_info

    async def send(self, message: Message) -> None:
        """As ``sockbridge.client.Session.send``; and returns when the server has read it, five seconds at most.

        Raises:
            AssertionError: the server did not answer. A client that is paused cannot hear it: send by ``session``.
        """
        what = "the server did not read a message"
        if self._is_paused:
            what = "the client is paused, and send waits for an answer (client.session.send does not): none was read"
        async with Guard(what):
            await self.session.send(message)
            await self.session.flush()

    async def receive(self) -> Message:
        """As ``sockbridge.client.Session.receive``; five seconds at most."""
        async with Guard("no message came"):
            return await self.session.receive()

    async def messages(self, count: int) -> list[Message]:
        """The next ``count`` messages."""
        return [await self.receive() for _ in range(count)]

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        """The next message; the iteration ends with a goodbye, and raises ``SessionLost`` where there was none."""
        try:
            return await self.receive()
        except SessionClosed:
            raise StopAsyncIteration from None

    async def close(self) -> None:
        """Say goodbye."""
        await self.session.close()


def _check_url(url: object) -> None:
    if asyncio.iscoroutine(url):
        url.close()
        raise UsageError("this URL has not been awaited: url = await sockbridge_server(...)")
    if not isinstance(url, str):
        raise UsageError(f"a URL is a str, not {url!r}")
