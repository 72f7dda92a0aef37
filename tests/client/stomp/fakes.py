"""A link whose other end is the test, a client on such links, and a proxy that cuts connections on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sockbridge.client.stomp.client import Client
from sockbridge.client.stomp.conversation import Conversation
from sockbridge.client.stomp.inbox import Inbox
from sockbridge.client.stomp.link import LinkEnded
from sockbridge.client.stomp.options import StompClientArguments, StompClientOptions, read_options
from sockbridge.errors import ConnectFailed
from sockbridge.sockjs.framing import Message
from sockbridge.stomp.codec import Decoder, Limits
from sockbridge.stomp.frame import Frame, Version
from tests.fakes import GUARD
from tests.stomp.clients import wire

LIMITS = Limits(head=1 << 20, header=1 << 20, headers=1000, body=1 << 30)
NO_BEATS: StompClientArguments = {"heart_beat": (0, 0)}


def options(**arguments: Any) -> StompClientOptions:
    return read_options({**NO_BEATS, **arguments})  # type: ignore[typeddict-item]  # given by name


class FakeLink:
    """A link to the test, which is the server.

    Attributes:
        beats: how many heart-beats were sent.
        is_closed: the client has closed it.
        has_room: set it to let calls of ``send`` return.
    """

    def __init__(self, *, is_text: bool = False, version: str = "1.2") -> None:
        self.transport = "fake"
        self.is_text = is_text
        self.buffered = 0
        self.beats = 0
        self.is_closed = False
        self.version = version
        self.has_room = asyncio.Event()
        self.has_room.set()
        self._decoder = Decoder(LIMITS, Version(version))
        self._sent: asyncio.Queue[Frame] = asyncio.Queue()
        self._coming: asyncio.Queue[Message | LinkEnded] = asyncio.Queue()
        self._ended: LinkEnded | None = None
        self.has_beaten = asyncio.Event()

    # For the conversation.

    async def send(self, octets: bytes) -> None:
        if self._ended is not None:
            raise self._ended
        await self.has_room.wait()
        if self.is_closed:
            raise LinkEnded("the link was closed")
        if octets == b"\n":
            self.beats += 1
            self.has_beaten.set()
        self._decoder.feed(octets)
        while (frame := self._decoder.next_frame()) is not None:
            self._sent.put_nowait(frame)

    async def receive(self) -> Message:
        coming = await self._coming.get()
        if isinstance(coming, LinkEnded):
            raise coming
        return coming

    async def close(self) -> None:
        self.is_closed = True
        self.has_room.set()

    # For the test.

    async def frame(self, command: str | None = None) -> Frame:
        """The next frame of the client, which must be ``command``."""
        async with asyncio.timeout(GUARD):
            frame = await self._sent.get()
        assert command is None or frame.command.value == command, frame
        return frame

    @property
    def is_quiet(self) -> bool:
        """The client has sent nothing that was not taken."""
        return self._sent.empty()

    def say(self, command: str, headers: Mapping[str, str] | None = None, body: str | bytes = b"") -> None:
        """Send a frame to the client."""
        self._coming.put_nowait(wire(command, headers, body))

    def say_raw(self, piece: Message) -> None:
        """Send anything."""
        self._coming.put_nowait(piece)

    def message(self, subscription: str, body: str = "", destination: str = "/topic/a", **headers: str) -> None:
        """Send a MESSAGE; ``_`` in names of headers stand for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.say(
            "MESSAGE", {"subscription": subscription, "destination": destination, "message-id": "m", **named}, body
        )

    def cut(self, reason: str = "the connection was cut", **how: Any) -> None:
        """Let the connection end."""
        self._ended = LinkEnded(reason, **how)
        self._coming.put_nowait(self._ended)

    async def log_in(self, **headers: str) -> Frame:
        """Answer CONNECT; returns it."""
        frame = await self.frame("CONNECT")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.say("CONNECTED", {"version": self.version, **named})
        return frame

    async def confirm(self, command: str, **headers: str) -> Frame:
        """Answer the next frame, which must be ``command``, by RECEIPT; returns it."""
        frame = await self.frame(command)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.say("RECEIPT", {"receipt-id": frame.headers["receipt"], **named})
        return frame


@asynccontextmanager
async def conversation(
    link: FakeLink, *, inbox: Inbox | None = None, connected: Mapping[str, str] | None = None, **arguments: Any
) -> AsyncIterator[tuple[Conversation, list[Frame]]]:
    """A conversation that has logged in, and the MESSAGEs that come by it."""
    messages: list[Frame] = []
    chosen = options(**arguments)
    talk = Conversation(
        link, chosen, inbox or Inbox(chosen.receive_buffer_limit), lambda _, frame: messages.append(frame)
    )
    try:
        async with asyncio.timeout(GUARD):
            await asyncio.gather(talk.open({}), link.log_in(**dict(connected or {})))
        yield talk, messages
    finally:
        await talk.close()


class Exchange:
    """Gives links to a client, in order; None refuses.

    Attributes:
        dials: how often it was asked.
    """

    def __init__(self, *links: FakeLink | None) -> None:
        self.dials = 0
        self._links = list(links)

    async def dial(self) -> FakeLink:
        self.dials += 1
        link = self._links.pop(0) if self._links else None
        if link is None:
            raise ConnectFailed("the exchange has no link")
        return link


@asynccontextmanager
async def client(*links: FakeLink | None, **arguments: Any) -> AsyncIterator[Client]:
    """A client that has logged in by the first of ``links``, and connects again by the others; closed at the end."""
    first = links[0]
    assert first is not None
    made = Client(
        "fake://server", Exchange(*links).dial, {"login": "ann"}, options(**{"close_timeout": 0.01, **arguments})
    )
    async with asyncio.timeout(GUARD):
        await asyncio.gather(made.start(), first.log_in())
    try:
        yield made
    finally:
        await made.close()


class Scissors:
    """A proxy for any TCP connection, which cuts.

    Attributes:
        port: where it listens.
        count: connections that were made through it.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.count = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._transports: set[asyncio.WriteTransport] = set()

    async def open(self) -> None:
        """Listen, where it has listened before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Take no further connections, and cut all."""
        assert self._server is not None
        self._server.close()
        self.cut()
        if self._pumps:
            await asyncio.wait(self._pumps)

    def cut(self) -> None:
        """Reset all connections, on both sides."""
        for transport in self._transports:
            transport.abort()
        self._transports.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        there, here = await asyncio.open_connection("127.0.0.1", self._target)
        self._transports |= {writer.transport, here.transport}
        for source, sink in ((reader, here), (there, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while octets := await source.read(65536):
                sink.write(octets)
                await sink.drain()
        except OSError:  # it was cut
            pass
        finally:
            sink.close()


@asynccontextmanager
async def scissors(target: int) -> AsyncIterator[Scissors]:
    """A proxy in front of the local port ``target``."""
    proxy = Scissors(target)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.shut()
