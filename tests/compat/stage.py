"""Plays the same scene with the package ``sockjs`` and with ours, and gives what clients saw and handlers were told."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import sockjs as theirs
from aiohttp import web

import sockbridge.compat.sockjs as ours
from tests.transports.wire import CLOSE, SOCKETS, Client, until

MODULES = {"theirs": theirs, "ours": ours}

FOREIGN_WARNINGS = [
    # The package keeps its managers and its transport's name under string keys of the application and the request.
    pytest.mark.filterwarnings("ignore:It is recommended to use web.AppKey:aiohttp.web.NotAppKeyWarning"),
    pytest.mark.filterwarnings("ignore:It is recommended to use web.RequestKey:aiohttp.web.NotAppKeyWarning"),
]


def add_open_endpoint(app: web.Application, handler: Any, **arguments: Any) -> list[web.AbstractRoute]:
    """``add_endpoint`` of ours, open to pages of every origin, as the package's jsonp and websockets are."""
    if "cors_config" not in arguments:
        arguments.setdefault("allowed_origins", "*")
    return ours.add_endpoint(app, handler, **arguments)


OPEN = SimpleNamespace(**{name: getattr(ours, name) for name in ours.__all__} | {"add_endpoint": add_open_endpoint})

MakeApp = Callable[[Any, Any], web.Application]
Event = tuple[str, object]


@dataclass
class Record:
    """What came of a scene.

    Attributes:
        seen: what clients saw, in the order in which the scene looked at it.
        told: what the handler was told, session by session in the order of their opening.
    """

    seen: list[object] = field(default_factory=list)
    told: list[list[Event]] = field(default_factory=list)
    _sessions: list[object] = field(default_factory=list)

    def note(self, session: object, msg: Any) -> None:
        """To be called by handlers."""
        if session not in self._sessions:
            self._sessions.append(session)
            self.told.append([])
        value = "broken" if isinstance(msg.data, BaseException) else msg.data
        self.told[self._sessions.index(session)].append((msg.type.name, value))

    def told_by(self, *clients: str) -> list[list[Event]]:
        """``told``; of clients on HTTP transports without the ``CLOSE`` before ``CLOSED``.

        The package misses when they go (test_differences.py), so whether it is told depends on when the server stops.

        Args:
            clients: the transports of those that left, in the order of their opening.
        """
        return [
            told if name in SOCKETS else [event for event in told if event[0] != "CLOSE"]
            for told, name in zip(self.told, clients, strict=True)
        ]

    async def wait_for(self, *names: str, session: int = 0) -> None:
        """Until the handler was told the last of ``names`` for a session; they are all that it was told."""
        await until(lambda: len(self.told) > session and len(self.told[session]) >= len(names))
        assert [name for name, _ in self.told[session]] == list(names)


Scene = Callable[[str, Record], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """A server as in production, but for patience: the package does not end its open streams when it stops."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site.port}"
    finally:
        await runner.cleanup()


async def play(make_app: MakeApp, module: ModuleType, scene: Scene) -> Record:
    """The scene with one of the two; until its server has stopped."""
    record = Record()
    async with serving(make_app(OPEN if module is ours else module, record.note)) as base:
        await scene(base, record)
    return record


async def play_both(make_app: MakeApp, scene: Scene) -> tuple[Record, Record]:
    """``(theirs, ours)``."""
    return await play(make_app, theirs, scene), await play(make_app, ours, scene)


async def leave(client: Client) -> None:
    """Go as a browser goes: a websocket says goodbye, a stream or a poll is cut off."""
    if client.name in SOCKETS:
        client.wire.send_frame(b"\x03\xe8", CLOSE)
        await client.wire.read_end()
    await client.close()
