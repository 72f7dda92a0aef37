"""Catching up: a client that returns says how far it has come, and gets what it missed, and then what comes.

Both happen without a gap and without repetition, however long it takes: until a subscriber has caught up, a
``Replay`` stands in its place among the living, and what is published meanwhile is read from the same streams.

Knows: which streams a subscriber is behind in, and how far it has come there.
Does not know: what is kept for how long, connections, turns of the loop.
Spec: none in STOMP; docs/stomp-conformance.md, section 10.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ...errors import BadFrame
from ..codec import PreparedMessage
from ..counters import BrokerCounters
from .base import Subscriber
from .headers import X_EPOCH, X_MISSED, X_SINCE, number
from .history import Histories, Kept, Stream

UNKNOWN: Final = "unknown"

SMALL: Final = 1024
"""Bytes of a body up to which what a kept message was worded as is kept with it."""


@dataclass(frozen=True, slots=True)
class Since:
    """How far a client has come.

    Attributes:
        epoch: None where it wants all that is kept.
        offset: of the last message that it got.
        is_asked: it says so itself; False where it begins with what is kept because the application wants it to.
    """

    epoch: str | None
    offset: int
    is_asked: bool = True


class Replay:
    """A subscriber that catches up.

    Attributes:
        subscriber: whose.
        missed: how many messages cannot be given any more, before the first that can: ``0``, a number, or ``unknown``.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        since: Since,
        histories: Histories,
        counters: BrokerCounters,
        on_news: Callable[[Replay], None],
        now: float,
    ) -> None:
        """
        Args:
            on_news: called when something was published that the subscriber wants.
        """
        self.subscriber = subscriber
        self._histories = histories
        self._counters = counters
        self._on_news = on_news
        self._behind: dict[str, tuple[Stream, int]] = {}  # destination -> its stream, and offset of the last given
        self._turns: list[tuple[int, str]] = []  # a heap: serial of the next message of a destination that is behind
        self._listed: set[str] = set()  # the destinations in it
        self._gap = ""  # how many messages are missing before the next, where that is no matter of counting
        self.missed = "0"
        wanted = subscriber.pattern
        kept = dict(histories.matching(wanted, now))
        if since.epoch is not None:
            stream = kept.get(wanted.text)
            if stream is not None and stream.epoch == since.epoch and since.offset <= stream.offset:
                self._note(wanted.text, stream, since.offset)
                first = next(iter(stream.after(since.offset, 1)), None)
                self.missed = str((stream.offset + 1 if first is None else first.offset) - since.offset - 1)
                return
            self.missed = self._gap = UNKNOWN
        for destination, stream in kept.items():
            if since.is_asked or stream.history.on_subscribe:
                self._note(destination, stream, stream.offset - len(stream))  # all that is kept

    @property
    def is_done(self) -> bool:
        """There is nothing left to give or to say: the subscriber can take its place."""
        return not (self._gap or self._behind)

    def advance(self, limit: int) -> bool:
        """Give the subscriber what comes next, ``limit`` messages at most.

        Returns:
            True if there may be more: the limit was met, or the subscriber takes no more at the moment.
        """
        if len(self._behind) == 1:
            return self._advance_in_one(limit)
        for _ in range(limit):
            if not self.subscriber.is_ready:
                return True
            following = self._next()
            if following is None:
                self._skip_forgotten()
                return False
            stream, kept = following
            self._give(stream, kept.offset, kept.message)
            self._list(kept.message.destination)
        return True

    def deliver(self, message: PreparedMessage) -> bool:
        """Something was published. What is kept comes in its turn; the rest is given at once."""
        destination = message.destination
        stream = self._histories.find(destination)
        if stream is None:
            self._tell(message, 0)
        else:
            known, offset = self._behind.get(destination, (stream, stream.offset - 1))
            if known is not stream:
                self._gap, offset = UNKNOWN, stream.offset - 1
            self._behind[destination] = stream, offset
            self._list(destination)
            if destination not in self._listed and self.subscriber.is_ready:
                self._give(stream, stream.offset, message)  # it is not kept, so this is its only turn
            elif len(self._behind) > 2 * len(self._histories):
                self._skip_forgotten()
        self._on_news(self)
        return True

    def _advance_in_one(self, limit: int) -> bool:
        # The usual case, without turns: one destination (bench.replay).
        self._turns.clear()
        self._listed.clear()
        self._skip_forgotten()
        count = 0
        for destination, (stream, offset) in list(self._behind.items()):
            for kept in stream.after(offset, limit):
                if not self.subscriber.is_ready:
                    break
                count += 1
                self._give(stream, kept.offset, kept.message)
            self._list(destination)
        return count == limit or bool(self._listed)

    def _note(self, destination: str, stream: Stream, offset: int) -> None:
        if offset < stream.offset:
            self._behind[destination] = stream, offset
            self._list(destination)

    def _skip_forgotten(self) -> None:
        # A stream may go before all of it was given: the next message, of whatever destination, tells.
        for destination, (stream, _) in list(self._behind.items()):
            if self._histories.find(destination) is not stream:
                del self._behind[destination]
                self._gap = UNKNOWN

    def _list(self, destination: str) -> None:
        # If there is something to give, it waits for its turn: of several destinations in the order of publishing.
        if destination in self._behind and destination not in self._listed:
            stream, offset = self._behind[destination]
            for kept in stream.after(offset, 1):
                self._listed.add(destination)
                heapq.heappush(self._turns, (kept.message.serial, destination))

    def _next(self) -> tuple[Stream, Kept] | None:
        while self._turns:
            serial, destination = heapq.heappop(self._turns)
            self._listed.discard(destination)
            if destination in self._behind:
                stream, offset = self._behind[destination]
                for kept in stream.after(offset, 1):
                    if kept.message.serial == serial:
                        return stream, kept
            self._list(destination)  # that one is not kept any more
        return None

    def _give(self, stream: Stream, offset: int, message: PreparedMessage) -> None:
        destination = message.destination
        lost = offset - self._behind[destination][1] - 1
        if offset == stream.offset:
            del self._behind[destination]
        else:
            self._behind[destination] = stream, offset
        self._tell(message, lost)
        forget_wordings(message)

    def _tell(self, message: PreparedMessage, lost: int) -> None:
        headers = self._headers(lost) if lost or self._gap else None
        if not self.subscriber.deliver(message, headers) and headers is not None:
            self._gap = headers[X_MISSED]  # the client does not know of it yet

    def _headers(self, lost: int) -> Mapping[str, str] | None:
        # What is missing before a message: counted as far as it is known, and told to the client.
        gap, self._gap = self._gap, ""
        if not gap:
            self._counters.missed += lost
        return {X_MISSED: gap or str(lost)} if gap or lost else None


def forget_wordings(message: PreparedMessage) -> None:
    """A kept message was given to subscribers: what it was worded as for them is let go if it is large, as each dialect
    costs as much again."""
    if len(message.body) > SMALL:
        message.wordings.clear()


def since_of(subscriber: Subscriber) -> Since | None:
    """How far ``subscriber`` says that it has come; None if it says nothing.

    Raises:
        BadFrame: it is malformed, or says too little.
    """
    text = subscriber.headers.get(X_SINCE)
    if text is None:
        return None
    offset = number(text, X_SINCE)
    if offset == 0:
        return Since(None, 0)
    epoch = subscriber.headers.get(X_EPOCH)
    if not epoch:
        raise BadFrame(
            f"{X_SINCE} without {X_EPOCH}", f"an offset needs its epoch; {X_SINCE}:0 asks for all that is kept"
        )
    if not subscriber.pattern.is_literal:
        raise BadFrame(f"{X_SINCE} for one destination only", f"for a pattern there is {X_SINCE}:0, all that is kept")
    return Since(epoch, offset)
