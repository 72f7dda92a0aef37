"""A STOMP client without a socket: a real session and a real connection, with a receiver that the test empties."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from multidict import CIMultiDict, CIMultiDictProxy

import sockbridge
from sockbridge.errors import RemoteError
from sockbridge.sockjs.framing import RAW, Close, Framing
from sockbridge.sockjs.handshake import Handshake
from sockbridge.sockjs.session import Session
from sockbridge.stomp.codec import Decoder, Limits
from sockbridge.stomp.frame import Frame
from sockbridge.stomp.options import StompOptions
from sockbridge.stomp.server import StompServer
from tests.fakes import GUARD, RecordingReceiver

GONE = Close(1006, "gone")
_numbers = itertools.count(1)


class _Receiver(RecordingReceiver):
    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.changed = asyncio.Event()

    def wake(self) -> None:
        super().wake()
        self.changed.set()


class Client:
    """One client of ``server``.

    Attributes:
        session: what carries it.
        connection: as the server knows it.
        close: how the server has closed it; None while it has not.
    """

    def __init__(self, server: StompServer, *, principal: object = None, framing: Framing = RAW) -> None:
        handshake = Handshake("http://test/ws", CIMultiDictProxy(CIMultiDict()), "127.0.0.1", principal, {})
        self.server = server
        self.close: Close | None = None
        self.session = Session(f"client-{next(_numbers)}", handshake, sockbridge.Options(), framing, self._on_ending)
        self._receiver = _Receiver(self.session)
        self.session.attach(self._receiver)
        self.connection = server.attach(self.session)
        self._decoder = Decoder(Limits.of(StompOptions(max_body_size=10_000_000)))
        self._frames: list[Frame] = []

    def _on_ending(self, session: Session, close: Close, error: RemoteError | None, *, is_ours: bool) -> None:
        self.close = close
        self._receiver.changed.set()

    async def send(self, command: str, headers: Mapping[str, str] | None = None, body: str | bytes = b"") -> None:
        """Send a frame; returns when the server has worked on it."""
        await self.server.receive(self.connection, wire(command, headers, body))

    async def connect(self, headers: Mapping[str, str] | None = None) -> Frame:
        """Log in; returns what is answered."""
        await self.send("CONNECT", {"accept-version": "1.2", **(headers or {})})
        return await self.frame()

    async def subscribe(self, id: str, destination: str, headers: Mapping[str, str] | None = None) -> None:
        await self.send("SUBSCRIBE", {"id": id, "destination": destination, **(headers or {})})

    async def publish(
        self, destination: str, body: str | bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """SEND."""
        await self.send("SEND", {"destination": destination, **(headers or {})}, body)

    def take(self) -> list[Frame]:
        """The frames that have come and were not taken yet."""
        self._receiver.changed.clear()
        while (octets := self.session.take_frame(65536)) is not None:
            if octets:  # a raw session says goodbye without text
                self._decoder.feed(bytes(octets))
            while (frame := self._decoder.next_frame()) is not None:
                self._frames.append(frame)
            if self.session.receiver is None:
                break
        taken, self._frames = self._frames, []
        return taken

    async def frame(self) -> Frame:
        """The next frame; waits for it."""
        async with asyncio.timeout(GUARD):
            while not (frames := self.take()):
                assert self.close is None, f"no frame will come: {self.close}"
                await self._receiver.changed.wait()
        self._frames = frames[1:]
        return frames[0]

    async def closed(self) -> Close:
        """How the server has closed it; waits until it has."""
        while self.close is None:
            await self.stirred()
        return self.close

    async def stirred(self) -> None:
        """Until something comes, or the server closes it."""
        self._receiver.changed.clear()
        async with asyncio.timeout(GUARD):
            await self._receiver.changed.wait()

    def told(self) -> list[tuple[str, str]]:
        """``(command, body or receipt)`` of what has come, for short comparisons."""
        return [(frame.command.value, frame.headers.get("receipt-id") or frame.body.decode()) for frame in self.take()]

    async def go(self) -> None:
        """Vanish: the server is told as it is when a session has ended."""
        self.session.forget()
        await self.server.on_closed(self.session, self.session.close_info or GONE)


def wire(command: str, headers: Mapping[str, str] | None = None, body: str | bytes = b"") -> bytes:
    """A frame as a client of version 1.2 writes it; headers are given as they stand on the wire."""
    octets = body.encode() if isinstance(body, str) else body
    lines = {**(headers or {}), **({"content-length": str(len(octets))} if octets else {})}
    head = "".join(f"{name}:{value}\n" for name, value in lines.items())
    return f"{command}\n{head}\n".encode() + octets + b"\0"


def assert_nothing_left(server: StompServer) -> None:
    """Nobody is there, so nothing may be held for anybody."""
    assert server._connections == {}
    assert list(server.connections) == []
    assert list(server.users) == []
    assert server.users._targets == {}
    assert server._audience._connections == {}
    assert server._audience._subscriptions == {}
    assert len(server._tasks) == 0
    assert len(server.broker) == 0  # type: ignore[arg-type]  # the embedded one has a length


@asynccontextmanager
async def running(server: StompServer) -> AsyncIterator[StompServer]:
    """``server``, started; stopped at the end."""
    await server.on_start()
    try:
        yield server
    finally:
        await server.on_stop()


async def hurry(server: StompServer) -> Client:
    """A client that needs the server's clock to tick at its fastest, so that tests of deadlines are short."""
    client = Client(server)
    await client.connect({"login": "hurry", "heart-beat": "0,1"})
    return client


async def turns(count: int = 10) -> None:
    """Let everything run that can run: for tests that nothing happens."""
    for _ in range(count):
        await asyncio.sleep(0)
