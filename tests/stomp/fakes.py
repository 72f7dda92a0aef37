"""Fakes for STOMP: a carrier without a socket, a broker and events that write down what happens to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

from sockbridge.errors import SessionClosed
from sockbridge.sockjs.framing import FRAMED, RAW, Close, Framing, check_close, encode_text
from sockbridge.stomp.broker.base import MakeMessage, Subscriber
from sockbridge.stomp.codec import Decoder, Limits, PreparedMessage
from sockbridge.stomp.connection import StompConnection, Watch
from sockbridge.stomp.destinations import Pattern, PatternTable, has_prefix
from sockbridge.stomp.events import Events
from sockbridge.stomp.frame import Command, Frame, Version
from sockbridge.stomp.options import StompOptions
from sockbridge.stomp.subscription import Subscription
from sockbridge.stomp.users import User
from tests.fakes import GUARD, make_handshake

BEAT = b"\n"

ANYTHING = Limits(head=1 << 30, header=1 << 30, headers=1 << 30, body=1 << 30)


class RecordingCarrier:
    """Carries a connection without a socket, and reads back what the client would.

    What is sent after ``close`` is dropped, as a session does.

    Attributes:
        wire: each message that was sent, without quotes; a ``Binary`` where it was one.
        frames: the frames in them; every message is one whole frame, or a heart-beat.
        beats: how many heart-beats were sent.
        closes: ``(code, reason)`` of every call of ``close``.
        dropped: what was sent too late.
        buffered: bytes that wait for the client; set it to let a slow client be there.
        is_drained: set it to False to let one be there that takes nothing more; ``drain`` then waits for ``take_in``.
    """

    transport = "fake"

    def __init__(self, framing: Framing = FRAMED, id: str = "id") -> None:
        self.id = id
        self.framing = framing
        self.handshake = make_handshake()
        self.is_open = True
        self.buffered = 0
        self.is_drained = True
        self.wire: list[bytes] = []
        self.frames: list[Frame] = []
        self.beats = 0
        self.closes: list[tuple[int, str]] = []
        self.dropped: list[bytes] = []
        self._taken = asyncio.Event()
        self._version = Version.V1_0  # until CONNECTED tells, nothing is escaped

    def send_prepared(self, prepared: bytes) -> None:
        if not self.is_open:
            self.dropped.append(prepared)
            return
        octets = prepared if self.framing is RAW else encode_text(json.loads(prepared))
        self.wire.append(octets)
        if octets == BEAT:
            self.beats += 1
            return
        decoder = Decoder(ANYTHING, self._version)
        decoder.feed(octets)
        frame = decoder.next_frame()
        assert frame is not None, f"{octets!r} is no whole frame"
        assert (decoder.next_frame(), decoder.buffered) == (None, 0), f"{octets!r} is more than one frame"
        if frame.command is Command.CONNECTED:
            self._version = Version(frame.headers["version"])
        self.frames.append(frame)

    async def drain(self) -> None:
        while self.is_open and not self.is_drained:
            self._taken.clear()
            await self._taken.wait()
        await asyncio.sleep(0)
        if not self.is_open:
            raise SessionClosed(1006, "gone")

    def take_in(self) -> None:
        """The slow client takes what waited."""
        self.is_drained = True
        self._taken.set()

    def close(self, code: int = 3000, reason: str = "Go away!") -> None:
        check_close(code, reason)
        self.closes.append((code, reason))
        self.is_open = False
        self._taken.set()

    def take(self) -> list[Frame]:
        """The frames since the last call; ``wire`` begins anew as well."""
        taken, self.frames, self.wire = self.frames, [], []
        return taken


class RecordingBroker:
    """Topics in memory that write down every call as ``(name, value)``.

    Attributes:
        gate: clear it to keep whoever publishes, subscribes or unsubscribes waiting.
        waits: set while somebody waits at the gate.
        told: headers for the RECEIPT of a SUBSCRIBE.
        released: the connections that have ended.
        make_message: what ``start`` was given.
    """

    def __init__(self, *topics: str, separator: str = "/") -> None:
        self.prefixes: Sequence[str] = topics or ("/topic",)
        self.queue_prefixes: Sequence[str] = ()
        self.separator = separator
        self.calls: list[tuple[str, object]] = []
        self.told: Mapping[str, str] = {}
        self.released: list[object] = []
        self.make_message: MakeMessage | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.waits = asyncio.Event()
        self._subscribers: PatternTable[Subscriber] = PatternTable(separator)

    def __len__(self) -> int:
        """How many subscriptions it holds."""
        return len(self._subscribers)

    def __bool__(self) -> bool:
        return True

    def values(self, name: str) -> list[object]:
        """What the calls of ``name`` were given."""
        return [value for called, value in self.calls if called == name]

    async def start(self, make_message: MakeMessage) -> None:
        self.make_message = make_message
        await self._record("start", None)

    async def stop(self) -> None:
        await self._record("stop", None)

    def serves(self, destination: str) -> bool:
        return any(has_prefix(destination, prefix) for prefix in self.prefixes)

    def resolve(self, owner: object, destination: str) -> str:
        if destination.startswith("/temp-queue/"):
            self.calls.append(("resolve", (owner, destination)))
            return f"{self.prefixes[0]}/of-{id(owner)}{destination}"
        return destination

    async def check(self, messages: Sequence[PreparedMessage]) -> None:
        if messages:
            await self._record("check", list(messages))

    async def release(self, owner: object) -> None:
        self.released.append(owner)

    async def publish(self, message: PreparedMessage) -> None:
        await self._record("publish", message)
        for subscriber in self._subscribers.match(message.destination):
            subscriber.deliver(message)

    async def subscribe(self, subscriber: Subscriber) -> Mapping[str, str]:
        await self._record("subscribe", subscriber)
        self._subscribers.add(subscriber.pattern, subscriber)
        return self.told

    async def unsubscribe(self, subscriber: Subscriber, *, is_lost: bool) -> None:
        self._subscribers.discard(subscriber.pattern, subscriber)
        await self._record("unsubscribe", subscriber)

    async def settle(
        self,
        subscriber: Subscriber,
        serials: Sequence[int],
        *,
        is_accepted: bool,
        headers: Mapping[str, str],
    ) -> None:
        await self._record("settle", (subscriber, list(serials), is_accepted, dict(headers)))

    async def _record(self, name: str, value: object) -> None:
        self.calls.append((name, value))
        if not self.gate.is_set():
            self.waits.set()
            await self.gate.wait()


class RecordingEvents(Events):
    """Writes down every event as ``(name, connection, value)``."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, StompConnection, object]] = []
        self._changed = asyncio.Event()

    def names(self, connection: StompConnection | None = None) -> list[str]:
        """Names of the events so far, of one connection or of all."""
        return [name for name, caller, _ in self.calls if connection is None or caller is connection]

    async def wait_for(self, name: str, count: int = 1) -> list[object]:
        """Until ``name`` has come ``count`` times; returns what it was told with."""
        async with asyncio.timeout(GUARD):
            while self.names().count(name) < count:
                self._changed.clear()
                await self._changed.wait()
        return [value for called, _, value in self.calls if called == name]

    async def on_connected(self, connection: StompConnection) -> None:
        self._record("on_connected", connection, connection.user)

    async def on_subscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        self._record("on_subscribed", connection, subscription)

    async def on_unsubscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        self._record("on_unsubscribed", connection, subscription)

    async def on_disconnected(self, connection: StompConnection, close: Close) -> None:
        self._record("on_disconnected", connection, close)

    def _record(self, name: str, connection: StompConnection, value: object) -> None:
        self.calls.append((name, connection, value))
        self._changed.set()


def make_frame(command: str, body: bytes = b"", /, **headers: str) -> Frame:
    """A frame; underscores in the names of headers stand for dashes."""
    return Frame(Command(command), {name.replace("_", "-"): value for name, value in headers.items()}, body)


def make_connection(
    *, framing: Framing = FRAMED, watch: Watch | None = None, now: float = 0.0, id: str = "id", **options: object
) -> tuple[StompConnection, RecordingCarrier]:
    """A connection that has not logged in, and what carries it."""
    carrier = RecordingCarrier(framing, id)
    return StompConnection(carrier, StompOptions(**options), now, watch), carrier  # type: ignore[arg-type]


def login(
    version: str = "1.2",
    user: User | str | None = None,
    *,
    heart_beat: str = "0,0",
    framing: Framing = FRAMED,
    watch: Watch | None = None,
    now: float = 0.0,
    expires_at: float | None = None,
    id: str = "id",
    **options: object,
) -> tuple[StompConnection, RecordingCarrier]:
    """A connection that has logged in, its CONNECTED taken away already."""
    connection, carrier = make_connection(framing=framing, watch=watch, now=now, id=id, **options)
    connect = make_frame("CONNECT", accept_version=version, host="test", heart_beat=heart_beat)
    connection.accept(connect, User(user) if isinstance(user, str) else user, now, expires_at)
    carrier.take()
    return connection, carrier


def subscribe(connection: StompConnection, destination: str = "/topic/a", **headers: str) -> Subscription:
    """Let ``connection`` subscribe; its id is ``s`` unless ``headers`` say otherwise."""
    frame = make_frame("SUBSCRIBE", **{"id": "s", "destination": destination, **headers})
    return connection.subscribe(frame, Pattern(destination))


def make_message(
    serial: int = 1, destination: str = "/topic/a", body: bytes = b"hello", headers: Mapping[str, str] | None = None
) -> PreparedMessage:
    """A message for any number of subscribers."""
    return PreparedMessage(serial, destination, headers or {}, body)
