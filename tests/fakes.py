"""Fakes: a handler and a receiver that write down what happens to them, and a server as in production."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

import sockbridge
from sockbridge.errors import ConnectionLost, RemoteError
from sockbridge.sockjs.framing import FRAMED, Close, Framing, Message
from sockbridge.sockjs.handshake import Handshake
from sockbridge.sockjs.runner import IDLE
from sockbridge.sockjs.session import Session

GUARD = 5.0
"""Seconds after which a test that waits gives up: a guard, never a delay."""


class RecordingHandler(sockbridge.SessionHandler):
    """Writes down every call as ``(name, session, value)``; ``calls`` wakes whoever waits for one.

    Attributes:
        echo: send every message back.
    """

    def __init__(self, *, echo: bool = False) -> None:
        self.echo = echo
        self.calls: list[tuple[str, Session | None, object]] = []
        self._changed = asyncio.Event()

    def names(self, session: Session | None = None) -> list[str]:
        """Names of the calls so far, of one session or of all."""
        return [name for name, caller, _ in self.calls if session is None or caller is session]

    def values(self, name: str) -> list[object]:
        """What the calls of ``name`` were given."""
        return [value for called, _, value in self.calls if called == name]

    async def wait_for(self, name: str, count: int = 1) -> list[object]:
        """Until ``name`` has been called ``count`` times; returns what those calls were given."""
        async with asyncio.timeout(GUARD):
            while len(self.values(name)) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.values(name)

    def record(self, name: str, session: Session | None, value: object) -> None:
        self.calls.append((name, session, value))
        self._changed.set()

    async def on_start(self) -> None:
        self.record("on_start", None, None)

    async def on_stop(self) -> None:
        self.record("on_stop", None, None)

    async def on_connected(self, session: Session) -> None:
        self.record("on_connected", session, session.transport)

    async def on_message(self, session: Session, message: Message) -> None:
        self.record("on_message", session, message)
        if self.echo:
            session.send(message)

    async def on_transport_error(self, session: Session, error: RemoteError) -> None:
        self.record("on_transport_error", session, error)

    async def on_closed(self, session: Session, close: Close) -> None:
        self.record("on_closed", session, close)


class RecordingReceiver:
    """A receiver without a socket: counts how often it was woken; takes frames when told.

    Attributes:
        is_connected: set it to False to let the peer vanish.
        frames: what it has taken.
    """

    transport = "fake"
    is_quiet = False

    def __init__(self, session: Session | None = None, *, takes: bool = False) -> None:
        self.session = session
        self.takes = takes
        self.is_connected = True
        self.is_cut = False
        self.wakes = 0
        self.flushes = 0
        self.frames: list[bytes] = []
        self.error: ConnectionLost | None = None

    def wake(self) -> None:
        self.wakes += 1

    def flush(self) -> None:
        self.flushes += 1
        if self.takes:
            self.take_all()

    def tick(self, now: float) -> ConnectionLost | None:
        if self.error is None and not self.is_connected:
            self.error = ConnectionLost("the fake peer has gone")
        return self.error

    def cut(self) -> None:
        self.is_cut = True
        self.is_connected = False

    def take_all(self, max_bytes: int = 65536) -> list[bytes]:
        """Take until nothing waits; returns all frames taken so far."""
        assert self.session is not None
        while (frame := self.session.take_frame(max_bytes)) is not None:
            self.frames.append(frame)
            if self.session.receiver is not self:
                break
        return self.frames


def busy_tasks() -> set[asyncio.Task[object]]:
    """All tasks but those that wait for a call to go on with (``sockjs/runner.py``)."""
    return {task for task in asyncio.all_tasks() if task.get_name() != IDLE}


def make_handshake(**headers: str) -> Handshake:
    """A handshake without a request."""
    return Handshake("http://test/echo/000/x/xhr", CIMultiDictProxy(CIMultiDict(headers)), "127.0.0.1", None, {})


def make_session(framing: Framing = FRAMED, **options: object) -> Session:
    """A session without a manager."""
    return Session("id", make_handshake(), sockbridge.Options(**options), framing)  # type: ignore[arg-type]


@asynccontextmanager
async def serve(app: web.Application) -> AsyncIterator[str]:
    """Run ``app`` as ``web.run_app`` does, with the runner's default settings; gives ``http://127.0.0.1:PORT``."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site.port}"
    finally:
        await runner.cleanup()
