"""Fakes for brokers: a subscriber without a connection, messages, and the streams of a broker alone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import NamedTuple

from sockbridge.errors import SessionClosed
from sockbridge.stomp.broker.base import Subscriber
from sockbridge.stomp.broker.history import Histories, History
from sockbridge.stomp.broker.holding import Budget, size_of
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.destinations import Pattern
from sockbridge.stomp.frame import AckMode
from tests.fakes import GUARD

ROOMS = "/topic/rooms/*"
ROOM = "/topic/rooms/1"
OTHER = "/topic/rooms/2"

_serials = itertools.count(1)


class Got(NamedTuple):
    """What a subscriber was given.

    Attributes:
        told: headers for this subscriber alone; None where there were none.
    """

    message: PreparedMessage
    told: Mapping[str, str] | None
    is_lent: bool


class RecordingSubscriber:
    """A subscription that writes down what it gets.

    Attributes:
        is_ready: set it to False to let a slow client be there; ``take_in`` lets it catch up.
        takes: how many messages it takes until it is slow; None: any number.
        can_be_told: set it to False to let it refuse what it is given.
        got: what it was given, in order.
        refused: what it could not be told.
        evicted: the reasons.
        drains: how often somebody has begun to wait for it.
    """

    def __init__(
        self,
        pattern: str = "/queue/a",
        ack: AckMode = AckMode.AUTO,
        *,
        headers: Mapping[str, str] | None = None,
        owner: object = None,
        user: str | None = None,
        client_id: str | None = None,
        separator: str = "/",
    ) -> None:
        self.pattern = Pattern(pattern, separator)
        self.ack = ack
        self.headers: Mapping[str, str] = headers or {}
        self.owner: object = self if owner is None else owner
        self.user = user
        self.client_id = client_id
        self.is_ready = True
        self.takes: int | None = None
        self.can_be_told = True
        self.got: list[Got] = []
        self.refused: list[PreparedMessage] = []
        self.evicted: list[str] = []
        self.drains = 0
        self._is_gone = False
        self._stirred = asyncio.Event()
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<RecordingSubscriber {self.pattern.text}>"

    @property
    def serials(self) -> list[int]:
        """Of what it was given."""
        return [got.message.serial for got in self.got]

    @property
    def bodies(self) -> list[str]:
        """The same as texts."""
        return [got.message.body.decode() for got in self.got]

    @property
    def told(self) -> list[Mapping[str, str] | None]:
        """The headers for this subscriber alone."""
        return [got.told for got in self.got]

    def take(self) -> list[str]:
        """The bodies since the last call."""
        bodies = self.bodies
        self.got.clear()
        return bodies

    # For brokers.

    async def drain(self) -> None:
        self.drains += 1
        self._changed.set()
        if not self.is_ready:
            await self._stirred.wait()
            self._stirred.clear()
        if self._is_gone:
            raise SessionClosed(1000, "gone")

    def deliver(self, message: PreparedMessage, headers: Mapping[str, str] | None = None) -> bool:
        return self._take(message, headers, is_lent=False)

    def lend(self, message: PreparedMessage, headers: Mapping[str, str] | None = None) -> bool:
        assert self.ack is not AckMode.AUTO
        return self._take(message, headers, is_lent=True)

    def evict(self, reason: str) -> None:
        self.evicted.append(reason)
        self.go()

    def _take(self, message: PreparedMessage, headers: Mapping[str, str] | None, *, is_lent: bool) -> bool:
        self._changed.set()
        if not self.can_be_told:
            self.refused.append(message)
            return False
        self.got.append(Got(message, headers, is_lent))
        if self.takes is not None:
            self.takes -= 1
            self.is_ready = self.takes > 0
        return True

    # For tests.

    def take_in(self, takes: int | None = None) -> None:
        """The slow client takes what waited, and from now on ``takes`` more."""
        self.is_ready, self.takes = True, takes
        self._stirred.set()

    def stir(self) -> None:
        """End one ``drain``, though the client is as slow as before."""
        self._stirred.set()

    def go(self) -> None:
        """The client has gone."""
        self.is_ready, self._is_gone = False, True
        self._stirred.set()

    async def wait_for(self, count: int) -> list[str]:
        """Until it was given ``count`` messages; their bodies."""
        async with asyncio.timeout(GUARD):
            while len(self.got) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.bodies

    async def wait_for_drain(self, count: int = 1) -> None:
        """Until somebody has waited for it ``count`` times."""
        async with asyncio.timeout(GUARD):
            while self.drains < count:
                self._changed.clear()
                await self._changed.wait()


_: type[Subscriber] = RecordingSubscriber  # it has everything that a broker asks for


def message(
    destination: str = "/queue/a", body: str | bytes = "x", headers: Mapping[str, str] | None = None
) -> PreparedMessage:
    """A message with a serial that no other has; its headers are its own."""
    octets = body.encode() if isinstance(body, str) else body
    return PreparedMessage(next(_serials), destination, dict(headers or {}), octets)


def make_message(destination: str, headers: Mapping[str, str], body: bytes) -> PreparedMessage:
    """What a broker is started with."""
    return PreparedMessage(next(_serials), destination, headers, body)


class HistoryBench:
    """The streams of one broker; by default of ``ROOMS``."""

    def __init__(
        self, *rules: History, limit: int = 100, max_size: int = 1_000_000, most: int = 1_000_000, separator: str = "/"
    ) -> None:
        self.budget = Budget(most)
        self.now = 0.0
        epochs = itertools.count(1)
        self.histories = Histories(
            rules or (History(ROOMS),), separator, limit, max_size, self.budget, lambda: f"e{next(epochs)}"
        )

    def publish(self, *bodies: str, destination: str = ROOM) -> list[PreparedMessage]:
        """Keep messages with these bodies."""
        messages = [message(destination, body) for body in bodies]
        for one in messages:
            self.histories.append(one, self.now)
        return messages

    def kept(self, destination: str = ROOM) -> list[tuple[int, str]]:
        """Offsets and bodies."""
        stream = self.histories.find(destination)
        assert stream is not None
        return [(kept.offset, kept.message.body.decode()) for kept in stream.after(0, 1000)]


def kept_size(body: str = "a") -> int:
    """Of a message to ``ROOM`` with this body, once it is numbered by one digit."""
    return size_of(message(ROOM, body, {"x-epoch": "e1", "x-offset": "1"}))
