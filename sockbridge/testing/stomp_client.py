"""A STOMP client without a socket: it talks to a server in the same loop, and can vanish or stop reading.

Knows: frames of STOMP 1.2, what carries a connection.
Does not know: which broker is behind the server; sockets.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Mapping
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from ..errors import SessionClosed, UsageError
from ..sockjs.framing import RAW, Close, CloseCode, Framing
from ..sockjs.handshake import Handshake
from ..stomp.codec import Decoder, Limits, dialect
from ..stomp.connection import StompConnection
from ..stomp.frame import Command, Frame, Version
from ..stomp.server import StompServer

GUARD: Final = 5.0
"""Seconds after which what does not come will not come."""

_ANYTHING: Final = Limits(head=1 << 30, header=1 << 30, headers=1 << 20, body=1 << 30)
_WRITTEN: Final = dialect(Version.V1_2, RAW)
_numbers = itertools.count(1)


class MemoryClient:
    """One client of ``server``. Also what carries its connection, as the server sees it.

    Attributes:
        connection: as the server knows it.
        close_code: how the server has closed it; None while it has not.
        is_reading: False once it was told to stop reading.
    """

    transport: Final = "memory"
    framing: Framing = RAW

    def __init__(self, server: StompServer, user: str | None = None) -> None:
        """
        Args:
            user: the ``principal`` of its handshake, and the ``login`` of its CONNECT; None: a guest.
        """
        self.id = f"memory-{next(_numbers)}"
        self.handshake = Handshake("memory://", CIMultiDictProxy(CIMultiDict()), None, user, {})
        self.close_code: int | None = None
        self.is_reading = True
        self._server = server
        self._unserved_before = server.counters.unserved
        self._error: Frame | None = None  # the last one that came
        self._frames: deque[Frame] = deque()
        self._unread: list[bytes] = []
        self._is_gone = False
        self._changed = asyncio.Event()
        self._decoder = Decoder(_ANYTHING)
        self._receipts = itertools.count(1)
        self.connection: StompConnection = server.attach(self)

    def __repr__(self) -> str:
        return f"<MemoryClient {self.id} {self.handshake.principal or 'guest'}>"

    # For the test.

    async def connect(self, headers: Mapping[str, str] | None = None) -> Frame:
        """Log in; returns CONNECTED, or ERROR. The user's name is sent as ``login``, unless ``headers`` has another."""
        user = self.handshake.principal
        login = {} if user is None else {"login": str(user)}
        await self.send("CONNECT", {"accept-version": "1.2", **login, **(headers or {})})
        return await self.frame()

    async def send(self, command: str, headers: Mapping[str, str] | None = None, body: bytes | str = b"") -> None:
        """Send a frame; returns when the server has worked on it. A message is sent by ``publish``.

        Raises:
            UsageError: ``command`` is none of STOMP.
        """
        if command not in list(Command):
            raise UsageError(f"{command!r} is no command of STOMP; a message is sent by publish(destination, body)")
        octets = body.encode() if isinstance(body, str) else body
        length = {"content-length": str(len(octets))} if octets else {}
        frame = Frame(Command(command), {**(headers or {}), **length}, octets)
        await self._server.receive(self.connection, _WRITTEN.encode(frame) or b"")

    async def ask(self, command: str, headers: Mapping[str, str] | None = None, body: bytes | str = b"") -> Frame:
        """The same with a receipt; returns RECEIPT, or ERROR. Messages that come before it stay where they are."""
        receipt = f"r{next(self._receipts)}"
        await self.send(command, {**(headers or {}), "receipt": receipt}, body)
        passed: list[Frame] = []
        while True:
            frame = await self.frame()
            if frame.command is Command.ERROR or frame.headers.get("receipt-id") == receipt:
                self._frames.extendleft(reversed(passed))
                return frame
            passed.append(frame)

    async def subscribe(self, id: str, destination: str, headers: Mapping[str, str] | None = None) -> Frame:
        """SUBSCRIBE, with a receipt; returns RECEIPT, or ERROR."""
        return await self.ask("SUBSCRIBE", {"id": id, "destination": destination, **(headers or {})})

    async def publish(
        self, destination: str, body: bytes | str = b"", headers: Mapping[str, str] | None = None
    ) -> Frame:
        """SEND, with a receipt; returns RECEIPT, or ERROR."""
        return await self.ask("SEND", {"destination": destination, **(headers or {})}, body)

    async def ack(self, message: Frame, headers: Mapping[str, str] | None = None) -> None:
        """Acknowledge ``message``."""
        await self.send("ACK", {"id": message.headers["ack"], **(headers or {})})

    async def nack(self, message: Frame, headers: Mapping[str, str] | None = None) -> None:
        """Refuse ``message``."""
        await self.send("NACK", {"id": message.headers["ack"], **(headers or {})})

    async def frame(self) -> Frame:
        """The next frame; waits for it, five seconds at most.

        Raises:
            AssertionError: none comes; the text says what is known of the reason.
        """
        return await self._next("frame")

    async def message(self) -> Frame:
        """The next frame, which must be a MESSAGE.

        Raises:
            AssertionError: none comes, or another frame; the text says what is known of the reason.
        """
        frame = await self._next("MESSAGE")
        if frame.command is not Command.MESSAGE:
            raise AssertionError(f"a MESSAGE was to come, and not {told(frame)}")
        return frame

    async def messages(self, count: int) -> list[Frame]:
        """The next ``count`` frames, all MESSAGEs."""
        return [await self.message() for _ in range(count)]

    def take(self) -> list[Frame]:
        """The frames that have come and were not taken yet."""
        taken = list(self._frames)
        self._frames.clear()
        return taken

    def stop_reading(self) -> None:
        """Be a client for whom everything waits from now on."""
        self.is_reading = False

    def read_on(self) -> None:
        """Read again, what waited first."""
        self.is_reading = True
        unread, self._unread = self._unread, []
        for octets in unread:
            self._read(octets)
        self._changed.set()

    async def cut(self) -> None:
        """Vanish without a word; what was on its way is lost. Returns when the server has noticed."""
        self._is_gone = True
        self._unread.clear()
        self._changed.set()
        await self._server.release(self, Close(CloseCode.ABNORMAL, "cut", clean=False))

    async def disconnect(self) -> None:
        """Say goodbye, and go."""
        await self.ask("DISCONNECT")
        await self.cut()

    # For the connection.

    @property
    def buffered(self) -> int:
        """Bytes that were sent and not read."""
        return sum(map(len, self._unread))

    @property
    def is_drained(self) -> bool:
        """False while it does not read."""
        return self.is_reading

    @property
    def is_open(self) -> bool:
        """Neither side has ended it."""
        return not self._is_gone and self.close_code is None

    def send_prepared(self, prepared: bytes) -> None:
        """A frame comes."""
        if not self.is_open:
            return
        if not self.is_reading:
            self._unread.append(prepared)
            return
        self._read(prepared)
        self._changed.set()

    async def drain(self) -> None:
        """Wait until it reads.

        Raises:
            SessionClosed: it has gone.
        """
        while self.is_open and not self.is_reading:
            self._changed.clear()
            await self._changed.wait()
        await asyncio.sleep(0)
        if not self.is_open:
            raise SessionClosed(self.close_code or CloseCode.ABNORMAL, "")

    def close(self, code: int = CloseCode.GO_AWAY, reason: str = "") -> None:
        """The server closes."""
        if self.close_code is None:
            self.close_code = code
            self._changed.set()

    async def _next(self, wanted: str) -> Frame:
        try:
            async with asyncio.timeout(GUARD):
                while not self._frames:
                    if self.close_code is not None:
                        last = f" after {told(self._error)}" if self._error else ""
                        raise AssertionError(
                            f"no {wanted} will come, the server has closed with {self.close_code}{last}"
                        )
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"no {wanted} came within {GUARD:g} seconds{self._hint()}") from None
        return self._frames.popleft()

    def _hint(self) -> str:
        if not self.is_reading:
            return "; the client has stopped reading"
        unserved = self._server.counters.unserved - self._unserved_before
        if not unserved:
            return "; the server has refused nothing since this client is there"
        return (
            f"; the server has not served {unserved} frames since this client is there (counters.unserved). Why is in "
            "the log sockbridge.stomp (level INFO), and in the ERROR that publish and ask return"
        )

    def _read(self, octets: bytes) -> None:
        self._decoder.feed(octets)
        while (frame := self._decoder.next_frame()) is not None:
            self._frames.append(frame)
            if frame.command is Command.ERROR:
                self._error = frame


def told(frame: Frame) -> str:
    """``frame`` for the text of an error: of an ERROR what it says."""
    if frame.command is not Command.ERROR:
        return str(frame)
    return f"ERROR: {frame.headers.get('message', '')} {frame.body.decode(errors='replace')}".rstrip()
