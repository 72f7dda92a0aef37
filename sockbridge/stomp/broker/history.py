"""What topics keep for replay: the last messages of each destination, numbered without gaps.

Offsets of one destination count from 1 within an *epoch*; a new epoch means that nobody knows any more what came
before: the server was started anew, or the destination was quiet for so long that it was forgotten.

Knows: offsets, epochs, what is kept for how long.
Does not know: who reads it, the clock, how epochs are made up.
Spec: none in STOMP; docs/stomp-conformance.md, section 10.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ...errors import InvalidOption, UsageError
from ..codec import PreparedMessage
from ..destinations import Pattern, misplaced_stars
from .headers import X_EPOCH, X_OFFSET
from .holding import Budget, size_of
from .options import MOST_SECONDS

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
        while len(self) and (len(self) >= self.history.size or self._size + size > max_size):
            self.drop(budget)
        if budget.has_room(size):
            self._kept.append(Kept(self.offset, now, size, message))
            self._size += size
            budget.take(size)

    def expire(self, now: float, budget: Budget) -> None:
        """Drop what is too old."""
        seconds = self.history.seconds
        if seconds is not None:
            while len(self) and now - self._kept[self._first].at >= seconds:
                self.drop(budget)

    def clear(self, budget: Budget) -> None:
        """Drop everything."""
        while len(self):
            self.drop(budget)

    def after(self, offset: int, limit: int) -> Sequence[Kept]:
        """What is kept and younger than ``offset``, the oldest first; ``limit`` of them at most."""
        if not len(self):
            return ()
        start = self._first + max(0, offset + 1 - self._kept[self._first].offset)
        return self._kept[start : start + limit]

    def drop(self, budget: Budget) -> int:
        """Drop the oldest; how many bytes that gives back. There is one."""
        size = self._kept[self._first].size
        self._size -= size
        budget.give_back(size)
        self._kept[self._first] = _DROPPED  # what counts no more is not held
        self._first += 1
        if self._first * 2 >= len(self._kept):
            del self._kept[: self._first]
            self._first = 0
        return size


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
        budget.give_way = self.give_way  # what is kept can best be done without, but for nothing that waits
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

    def expire(self, now: float) -> None:
        """Drop what is too old."""
        for stream in self._streams.values():
            stream.expire(now, self._budget)

    def give_way(self, size: int) -> None:
        """Drop so many bytes, if there are, of the streams that were quiet for longest."""
        for stream in self._streams.values():
            while len(stream):
                if size <= 0:
                    return
                size -= stream.drop(self._budget)

    def clear(self) -> None:
        """Forget everything."""
        for stream in self._streams.values():
            stream.clear(self._budget)
        self._streams.clear()

    def matching(self, wanted: Pattern, now: float) -> Iterator[tuple[str, Stream]]:
        """The streams of the destinations that ``wanted`` matches, without what is too old."""
        if wanted.is_literal:
            literal = self._streams.get(wanted.text)
            several = [] if literal is None else [(wanted.text, literal)]
        else:
            several = [item for item in self._streams.items() if wanted.match(item[0]) is not None]
        for destination, stream in several:
            stream.expire(now, self._budget)
            yield destination, stream

    def _rule(self, destination: str) -> History | None:
        for pattern, rule in self._rules:
            if pattern.match(destination) is not None:
                return rule
        return None
