"""A carrier without a connection: it does what a test tells it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from sockbridge.client.carrier import Broken, Carrier
from sockbridge.client.connecting import _options as make_options
from sockbridge.client.frames import HEARTBEAT, Kind, ServerFrame
from sockbridge.client.options import ClientArguments
from sockbridge.client.session import Session
from sockbridge.errors import ConnectFailed
from sockbridge.sockjs.framing import FRAMED, Close, Framing


class FakeCarrier:
    """What a session demands of a connection, by hand.

    Attributes:
        written: all that was written, in its wire form.
        is_confirming: what is written is confirmed at once.
        is_closed: ``close`` was called.
        pokes: how often it was poked.
        reads: how often ``read`` was called.
    """

    name = "fake"
    round_trips = 1
    subprotocol = None

    def __init__(self, *, is_confirming: bool = True, framing: Framing = FRAMED) -> None:
        self.framing = framing
        self.is_confirming = is_confirming
        self.signs = 0
        self.owes = False
        self.written: list[bytes] = []
        self.is_closed = False
        self.pokes = 0
        self.reads = 0
        self.debts_paid = 0
        self.fault: Broken | None = None
        self.gate = asyncio.Event()
        """Clear it, and ``write`` waits."""
        self.gate.set()
        self._frames: deque[ServerFrame | Exception] = deque()
        self._has_changed = asyncio.Event()

    # The test.

    def bring(self, *messages: str) -> None:
        """The server sends one frame."""
        self.feed(ServerFrame(Kind.MESSAGES, messages))

    def feed(self, frame: ServerFrame | Exception) -> None:
        """``read`` gives it, or raises it."""
        self._frames.append(frame)
        self._has_changed.set()

    def confirm(self, count: int) -> None:
        self.feed(ServerFrame(Kind.CONFIRMED, count=count))

    def say_goodbye(self, code: int, reason: str = "") -> None:
        self.feed(ServerFrame(Kind.CLOSE, close=Close(code, reason)))

    def cut(self, text: str = "cut") -> None:
        self.feed(Broken(text))

    async def until_written(self, count: int) -> list[bytes]:
        async with asyncio.timeout(5):
            while len(self.written) < count:
                await asyncio.sleep(0)
        return self.written

    # The session.

    async def open(self) -> None:
        return

    async def read(self) -> ServerFrame:
        self.reads += 1
        while not self._frames:
            self._has_changed.clear()
            await self._has_changed.wait()
        self.signs += 1
        frame = self._frames.popleft()
        if isinstance(frame, Exception):
            raise frame
        if frame is HEARTBEAT:
            self.owes = True
        return frame

    async def write(self, prepared: Sequence[bytes]) -> bool:
        if self.fault is not None:
            raise self.fault
        self.written += prepared
        self.debts_paid += self.owes
        self.owes = False
        await self.gate.wait()
        return self.is_confirming

    def poke(self) -> None:
        self.pokes += 1

    async def close(self) -> None:
        self.is_closed = True
        self.feed(Broken("closed"))


class Line:
    """What stands behind a session: the carriers that it gets, one after the other.

    Attributes:
        carriers: those that it has got.
        coming: those that it will get; an exception is raised instead. When there is none left it connects in vain.
        is_freed: the session has ended.
    """

    def __init__(self, *coming: FakeCarrier | Exception) -> None:
        self.carriers: list[FakeCarrier] = []
        self.coming = deque(coming)
        self.attempts = 0
        self.is_freed = False

    def session(self, **arguments: Any) -> Session:
        """The session, on the first carrier."""
        options = make_options(ClientArguments(**arguments), None)
        carrier = self.coming.popleft() if self.coming else FakeCarrier()
        assert isinstance(carrier, FakeCarrier)
        self.carriers.append(carrier)
        return Session("http://test", carrier, {}, options, self._connect, self._free)

    async def _connect(self) -> tuple[Carrier, Mapping[str, str]]:
        self.attempts += 1
        if not self.coming:
            raise ConnectFailed("nobody is there")
        carrier = self.coming.popleft()
        if isinstance(carrier, Exception):
            raise carrier
        self.carriers.append(carrier)
        return carrier, {"other": "why"}

    async def _free(self) -> None:
        self.is_freed = True
