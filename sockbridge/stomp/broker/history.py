"""What topics keep for replay: the last messages of each destination, numbered without gaps.

Offsets of one destination count from 1 within an *epoch*; a new epoch means that nobody knows any more what came
before: the server was started anew, or the destination was quiet for so long that it was forgotten. A client that
returns says how far it has come, and a ``Replay`` gives it what it missed and then lets it join the living, both
within one turn, so that nothing is left out and nothing comes twice.

Knows: offsets, epochs, what is kept for how long, who still catches up.
Does not know: connections, the clock, how epochs are made up.
Spec: none in STOMP; docs/stomp-conformance.md, section 10.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ...errors import BadFrame, InvalidOption, UsageError
from ..codec import PreparedMessage
from ..counters import BrokerCounters
from ..destinations import Pattern, misplaced_stars
from .base import Subscriber
from .holding import Budget, size_of
from .options import MOST_SECONDS
from .queues import X_MISSED, number

X_EPOCH: Final = "x-epoch"
X_OFFSET: Final = "x-offset"
X_SINCE: Final = "x-since"
UNKNOWN: Final = "unknown"

MOST_MESSAGES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class History:
    """Keep the messages of some topics.

    Attributes:
        destination: a pattern of them.
        size: messages that are kept of each destination.
        seconds: for how long; None: until newer ones take their place.
        on_subscribe: what is kept is also given to who subscribes without saying since when. With ``size=1`` a
            subscriber begins with the last value.
    """

    destination: str
    size: int = 100
    seconds: float | None = None
    on_subscribe: bool = False

    def __post_init__(self) -> None:
        """
        Raises:
            InvalidOption: a value that is not allowed.
        """
        if not isinstance(self.destination, str) or not self.destination.startswith("/"):
            raise InvalidOption(f'History: destination is a pattern, e.g. "/topic/rooms/*", not {self.destination!r}')
        if isinstance(self.size, bool) or not isinstance(self.size, int) or not 1 <= self.size <= MOST_MESSAGES:
            raise InvalidOption(f"History: size is an integer from 1 to {MOST_MESSAGES}, not {self.size!r}")
        seconds: object = self.seconds
        if seconds is not None and (
            isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= MOST_SECONDS
        ):
            raise InvalidOption(f"History: seconds is a finite number above 0, or None, not {seconds!r}")


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


@dataclass(frozen=True, slots=True)
class Kept:
    """One message that is kept."""

    offset: int
    at: float
    size: int
    message: PreparedMessage


class Stream:
    """What is kept of one destination.

    Attributes:
        epoch: of its offsets.
        offset: of the newest message; 0 if there was none.
        history: how much is kept.
    """

    __slots__ = ("_first", "_kept", "_size", "epoch", "history", "offset")

    def __init__(self, history: History, epoch: str) -> None:
        self.history = history
        self.epoch = epoch
        self.offset = 0
        self._kept: list[Kept] = []
        self._first = 0  # of the list, where what is kept begins: it is cut only now and then
        self._size = 0

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept) - self._first

    def append(self, message: PreparedMessage, now: float, budget: Budget, max_size: int) -> None:
        """Number ``message``, and keep it if it is not too large; the oldest make room for it."""
        self.offset += 1
        message.headers = {**message.headers, X_EPOCH: self.epoch, X_OFFSET: str(self.offset)}
        size = size_of(message)
        if size > max_size:
            self.clear(budget)  # what is kept has no gap
            return
        while len(self) and (
            len(self) >= self.history.size or self._size + size > max_size or not budget.has_room(size)
        ):
            self._drop(budget)
        if budget.has_room(size):
            self._kept.append(Kept(self.offset, now, size, message))
            self._size += size
            budget.held += size

    def expire(self, now: float, budget: Budget) -> None:
        """Drop what is too old."""
        seconds = self.history.seconds
        if seconds is not None:
            while len(self) and now - self._kept[self._first].at >= seconds:
                self._drop(budget)

    def clear(self, budget: Budget) -> None:
        """Drop everything."""
        while len(self):
            self._drop(budget)

    def after(self, offset: int, limit: int) -> Sequence[Kept]:
        """What is kept and younger than ``offset``, the oldest first; ``limit`` of them at most."""
        if not len(self):
            return ()
        start = self._first + max(0, offset + 1 - self._kept[self._first].offset)
        return self._kept[start : start + limit]

    def _drop(self, budget: Budget) -> None:
        size = self._kept[self._first].size
        self._size -= size
        budget.held -= size
        self._kept[self._first] = _DROPPED  # what counts no more is not held
        self._first += 1
        if self._first * 2 >= len(self._kept):
            del self._kept[: self._first]
            self._first = 0


_DROPPED: Final = Kept(0, 0.0, 0, PreparedMessage(0, "/", {}, b""))


class Histories:
    """The streams of one broker."""

    def __init__(
        self,
        rules: Sequence[History],
        separator: str,
        limit: int,
        max_size: int,
        budget: Budget,
        make_epoch: Callable[[], str],
    ) -> None:
        """
        Args:
            rules: the first whose pattern matches a destination says how much of it is kept.
            limit: streams.
            max_size: bytes of each.
            make_epoch: makes a text that was never an epoch before.

        Raises:
            InvalidOption: a rule is none, or its destination no pattern.
        """
        self._rules: list[tuple[Pattern, History]] = []
        for rule in rules:
            if not isinstance(rule, History):
                raise InvalidOption(f'history is a list of History("/topic/...", ...), not {rule!r}')
            try:
                pattern = Pattern(rule.destination, separator)
            except UsageError as error:
                raise InvalidOption(f"History: {error} ({rule.destination!r})") from None
            fault = misplaced_stars(rule.destination, separator)
            if fault:
                raise InvalidOption(f"History: {fault} ({rule.destination!r})")
            self._rules.append((pattern, rule))
        self._limit = limit
        self._max_size = max_size
        self._budget = budget
        self._make_epoch = make_epoch
        self._streams: OrderedDict[str, Stream] = OrderedDict()  # who was quiet for longest comes first

    def __len__(self) -> int:
        """How many streams there are."""
        return len(self._streams)

    def __bool__(self) -> bool:
        """Is anything kept at all?"""
        return bool(self._rules)

    def begins_with_kept(self, wanted: Pattern) -> bool:
        """Does a subscriber to ``wanted`` begin with what is kept, though it does not ask?"""
        return any(rule.on_subscribe and pattern.overlaps(wanted) for pattern, rule in self._rules)

    def keeps(self, destination: str) -> bool:
        """Is what is published there kept?"""
        return self._rule(destination) is not None

    def find(self, destination: str) -> Stream | None:
        """The stream of ``destination``; None where nothing is kept, or nothing was published yet."""
        return self._streams.get(destination)

    def append(self, message: PreparedMessage, now: float) -> None:
        """Keep ``message`` if its destination is one of those; its headers then say epoch and offset."""
        destination = message.destination
        stream = self._streams.get(destination)
        if stream is None:
            rule = self._rule(destination)
            if rule is None:
                return
            if len(self._streams) >= self._limit:
                _, quietest = self._streams.popitem(last=False)
                quietest.clear(self._budget)
            stream = self._streams[destination] = Stream(rule, self._make_epoch())
        self._streams.move_to_end(destination)
        stream.expire(now, self._budget)
        stream.append(message, now, self._budget, self._max_size)

    def expire(self, now: float, wanted: Pattern | None = None) -> None:
        """Drop what is too old, of the destinations that ``wanted`` matches; None: of all."""
        for stream in self._streams.values() if wanted is None else (found for _, found in self.matching(wanted)):
            stream.expire(now, self._budget)

    def matching(self, wanted: Pattern) -> Iterator[tuple[str, Stream]]:
        """The streams of the destinations that ``wanted`` matches."""
        if wanted.is_literal:
            stream = self._streams.get(wanted.text)
            if stream is not None:
                yield wanted.text, stream
            return
        for destination, stream in self._streams.items():
            if wanted.match(destination) is not None:
                yield destination, stream

    def _rule(self, destination: str) -> History | None:
        for pattern, rule in self._rules:
            if pattern.match(destination) is not None:
                return rule
        return None


class Replay:
    """A subscriber that catches up. Until it has, it stands in the place of its subscriber among the living, and what
    is published meanwhile is read from the streams, in its turn.

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
    ) -> None:
        """
        Args:
            on_news: called when something was published that the subscriber wants.
        """
        self.subscriber = subscriber
        self._histories = histories
        self._counters = counters
        self._on_news = on_news
        self._came_to: dict[str, tuple[Stream, int]] = {}  # destination -> its stream, and offset of the last message
        self._gap = ""  # how many messages are missing before the next, where that is no matter of counting
        self.missed = "0"
        wanted = subscriber.pattern
        if since.epoch is None:
            for destination, stream in histories.matching(wanted):
                # All that is kept is all that was asked for.
                is_wanted = since.is_asked or stream.history.on_subscribe
                self._came_to[destination] = stream, stream.offset - (len(stream) if is_wanted else 0)
            return
        kept = histories.find(wanted.text)
        if kept is None or kept.epoch != since.epoch or since.offset > kept.offset:
            self.missed = self._gap = UNKNOWN
            return
        self._came_to[wanted.text] = kept, since.offset
        first = next(iter(kept.after(since.offset, 1)), None)
        self.missed = str((kept.offset + 1 if first is None else first.offset) - since.offset - 1)

    @property
    def is_done(self) -> bool:
        """There is nothing left to give or to say: the subscriber can take its place."""
        if self._gap:
            return False
        return all(
            self._offset_of(destination, stream) == stream.offset
            for destination, stream in self._histories.matching(self.subscriber.pattern)
        )

    def advance(self, limit: int) -> bool:
        """Give the subscriber what comes next, ``limit`` messages at most.

        Returns:
            True if there may be more: the limit was met, or the subscriber takes no more at the moment.
        """
        self._skip_forgotten()
        count = 0
        for stream, kept in self._next(limit):
            if not self.subscriber.is_ready:
                return True
            count += 1
            self._give(stream, kept)
        return count == limit

    def deliver(self, message: PreparedMessage) -> bool:
        """Something was published. What is kept comes in its turn; the rest is given at once."""
        stream = self._histories.find(message.destination)
        if stream is None:
            self.subscriber.deliver(message, self._headers(0))
        else:
            self._came_to.setdefault(message.destination, (stream, 0))
        self._on_news(self)
        return True

    def _skip_forgotten(self) -> None:
        # A stream may go before all of it was given: the next message, of whatever destination, tells.
        for destination, (stream, offset) in list(self._came_to.items()):
            if offset < stream.offset and self._histories.find(destination) is not stream:
                del self._came_to[destination]
                self._gap = UNKNOWN

    def _offset_of(self, destination: str, stream: Stream) -> int:
        # Of the last message of ``stream`` that was given.
        known, offset = self._came_to.get(destination, (stream, 0))
        return offset if known is stream else 0

    def _next(self, limit: int) -> Iterator[tuple[Stream, Kept]]:
        # Of several destinations in the order of their publishing; there may be thousands, and the next ones come from
        # those that have the oldest.
        oldest = []
        for destination, stream in self._histories.matching(self.subscriber.pattern):
            oldest += [(stream, kept) for kept in stream.after(self._offset_of(destination, stream), 1)]
        if len(oldest) > limit:
            oldest = heapq.nsmallest(limit, oldest, key=_serial)
        several = ([(stream, kept) for kept in stream.after(first.offset - 1, limit)] for stream, first in oldest)
        return itertools.islice(heapq.merge(*several, key=_serial), limit)

    def _give(self, stream: Stream, kept: Kept) -> None:
        destination = kept.message.destination
        lost = kept.offset - self._offset_of(destination, stream) - 1
        self._came_to[destination] = stream, kept.offset
        self.subscriber.deliver(kept.message, self._headers(lost))

    def _headers(self, lost: int) -> Mapping[str, str] | None:
        # What is missing before a message: counted as far as it is known, and told to the client.
        gap, self._gap = self._gap, ""
        self._counters.missed += lost
        return {X_MISSED: gap or str(lost)} if gap or lost else None


def _serial(item: tuple[Stream, Kept]) -> int:
    return item[1].message.serial


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
