"""One queue: messages that wait, consumers that compete for them, and what each has not acknowledged.

A message is in one of three places::

              put                  lend, deliver
    (nowhere) ───> WAITING in order ───────────> LENT to one consumer ───> GONE: settled
                      ^   │                         │      │
                      │   │ expired, dropped        │      │ rejected, returned too often
                      │   └─────────> GONE: dead <──┼──────┘
                      └─────────────────────────────┘ returned, to its old place

What has died is handed to whoever asks (``take_dead``); where it goes is not decided here.

Knows: order, round robin, prefetch, redelivery, expiry, the limits of one queue.
Does not know: connections, other queues, the clock; it is told the time.
Spec: STOMP 1.2, "SUBSCRIBE ack Header", "ACK", "NACK"; docs/stomp-conformance.md, section 8.
"""

from __future__ import annotations

import enum
import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ...errors import QueueFull
from ..codec import PreparedMessage
from ..counters import BrokerCounters
from ..frame import AckMode, printable
from .base import Subscriber
from .headers import REDELIVERED, X_DELIVERY_COUNT, X_MISSED
from .holding import Budget, size_of

AT_ONCE: Final = 256
"""Messages that have expired and are buried before a new one is taken in; the rest has its turn later."""

SLACK: Final = 64
"""Entries that may be left over before a list is cleaned up."""


class Death(enum.StrEnum):
    """Why a message went to the dead letters, as RabbitMQ words it.

    ``undeliverable`` is ours: none of the consumers can be told it.
    """

    REJECTED = "rejected"
    EXPIRED = "expired"
    OVERFLOW = "maxlen"
    DELIVERY_LIMIT = "delivery_limit"
    UNDELIVERABLE = "undeliverable"


@dataclass(frozen=True, slots=True)
class Dead:
    """A message that no consumer has taken.

    Attributes:
        deliveries: how often it was tried.
    """

    message: PreparedMessage
    reason: Death
    deliveries: int


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What one queue may hold; see ``BrokerOptions``.

    Attributes:
        drops: makes room by dropping the oldest; else it refuses what is new.
        tells: says in the header ``x-missed`` of the next message how many were dropped for lack of room. Such a queue
            is one client's alone, and what dies in it is no dead letter.
    """

    length: int
    size: int
    deliveries: int
    drops: bool
    tells: bool = False


class Place(enum.Enum):
    """Where a message is; see the drawing above."""

    WAITING = "waiting"
    LENT = "lent"
    GONE = "gone"


class Entry:
    """One message of one queue."""

    __slots__ = ("deliveries", "expires_at", "message", "missed", "number", "place", "refused_by", "size")

    def __init__(self, message: PreparedMessage, number: int, size: int, expires_at: float | None) -> None:
        self.message = message
        self.number = number
        self.size = size
        self.expires_at = expires_at
        self.deliveries = 0
        self.place = Place.WAITING
        self.refused_by: set[int] | None = None  # numbers of consumers who cannot be told
        self.missed = 0  # messages that were dropped before it; said with each try


class Consumer:
    """One subscriber of a queue, and what it has been lent, by serial."""

    __slots__ = ("is_listed", "lent", "number", "prefetch", "subscriber")

    def __init__(self, subscriber: Subscriber, prefetch: int, number: int) -> None:
        self.subscriber = subscriber
        self.number = number
        self.prefetch = prefetch
        self.lent: dict[int, Entry] = {}
        self.is_listed = False  # among those who may get the next message


class Queue:
    """The messages and consumers of one destination.

    Attributes:
        name: its destination.
        stalled: subscribers that take nothing at the moment, though there is something; whoever empties this list
            calls ``wake`` when they do again.
    """

    __slots__ = (
        "_budget",
        "_consumers",
        "_counters",
        "_dead",
        "_expiries",
        "_left_over",
        "_lent",
        "_lent_size",
        "_limits",
        "_missed",
        "_number",
        "_ready",
        "_returned",
        "_size",
        "_waiting",
        "_waiting_count",
        "name",
        "stalled",
    )

    def __init__(self, name: str, limits: QueueLimits, budget: Budget, counters: BrokerCounters) -> None:
        self.name = name
        self.stalled: list[Subscriber] = []
        self._limits = limits
        self._budget = budget
        self._counters = counters
        self._number = 0
        self._waiting: deque[Entry] = deque()  # never given out; all are younger than the returned ones
        self._returned: list[tuple[int, Entry]] = []  # a heap, by number
        self._left_over = 0  # of both, how many are gone
        self._waiting_count = 0
        self._size = 0  # of what waits
        self._lent = 0
        self._lent_size = 0
        self._expiries: list[tuple[float, int, Entry]] = []  # a heap, by time
        self._consumers: dict[Subscriber, Consumer] = {}
        self._ready: deque[Consumer] = deque()
        self._dead: list[Dead] = []
        self._missed = 0

    def __repr__(self) -> str:
        numbers = f"{self._waiting_count} waiting, {self._lent} lent, {len(self._consumers)} consumers"
        return f"<Queue {self.name!r} {numbers}>"

    def __len__(self) -> int:
        """How many messages wait."""
        return self._waiting_count

    def __bool__(self) -> bool:
        return True  # one where nothing waits is a queue all the same

    @property
    def lent(self) -> int:
        """How many messages consumers have that are not settled."""
        return self._lent

    @property
    def consumers(self) -> int:
        """How many there are."""
        return len(self._consumers)

    @property
    def is_idle(self) -> bool:
        """It holds nothing, nobody listens, and nothing is to be said: it might as well not be there."""
        return not (self._consumers or self._waiting_count or (self._missed and self._limits.tells))

    @property
    def can_expire(self) -> bool:
        """Time changes something here."""
        return bool(self._expiries)

    @property
    def tells(self) -> bool:
        """It is one client's alone: that one is told what is dropped, and what dies goes nowhere else."""
        return self._limits.tells

    @property
    def size_to_drop(self) -> int:
        """Bytes that it drops, if need be, to make room."""
        return self._size if self._limits.drops else 0

    # Messages come in.

    def check(self, count: int, size: int) -> None:
        """Is there room for ``count`` messages of ``size`` bytes together?

        Raises:
            QueueFull: there is none, nor is it made.
        """
        limits, held = self._limits, 0
        if not limits.drops:  # what consumers have may come back, and must find its place
            held = self._size + self._lent_size
            if self._waiting_count + self._lent + count > limits.length:
                raise QueueFull(f"{printable(self.name)} holds max_queue_length ({limits.length}) messages")
        if held + size > limits.size:
            raise QueueFull(f"{printable(self.name)} may hold max_queue_size ({limits.size}) bytes")
        if not self._budget.has_room(size - self.size_to_drop):
            raise self._budget.is_full()

    def put(self, message: PreparedMessage, now: float, expires_after: float | None = None) -> None:
        """Take a message in, at the end. ``dispatch`` gives it out.

        Args:
            expires_after: seconds; None: never.

        Raises:
            QueueFull: see ``check``.
        """
        if self._expiries and self._expiries[0][0] <= now:
            self.expire(now, AT_ONCE)  # nothing suffers for what is dead already, as far as that is quickly done
        size = size_of(message)
        self.check(1, size)
        limits = self._limits
        while self._waiting_count and (
            self._waiting_count >= limits.length or self._size + size > limits.size or not self._budget.has_room(size)
        ):
            self._drop_oldest(now)
        self._number += 1
        entry = Entry(message, self._number, size, None if expires_after is None else now + expires_after)
        if entry.expires_at is not None:
            heapq.heappush(self._expiries, (entry.expires_at, entry.number, entry))
        self._waiting.append(entry)
        self._waiting_count += 1
        self._size += size
        self._budget.take(size)
        self._counters.queued += 1

    def skip(self) -> None:
        """A message does not fit at all, and is dropped instead of being refused."""
        self._counters.queued += 1
        self._counters.dropped += 1
        self._missed += 1

    def _drop_oldest(self, now: float) -> None:
        oldest = self._take_first(now)
        if oldest is not None:  # else all that waited had expired
            self._missed += 1
            self._bury(oldest, Death.OVERFLOW)

    # Consumers come and go.

    def add(self, subscriber: Subscriber, prefetch: int) -> None:
        """``subscriber`` wants to be given messages.

        Args:
            prefetch: how many it may have at a time without having settled them.
        """
        self._number += 1
        self._consumers[subscriber] = Consumer(subscriber, prefetch, self._number)
        self.wake(subscriber)

    def remove(self, subscriber: Subscriber, now: float) -> None:
        """It wants no more; what it has not settled goes back to its old place. May be called again."""
        consumer = self._consumers.pop(subscriber, None)
        if consumer is None:
            return
        if consumer.is_listed:
            self._ready.remove(consumer)
        for entry in consumer.lent.values():
            self._return(entry, now)

    def wake(self, subscriber: Subscriber) -> None:
        """``subscriber`` may be given messages (again), as far as is known."""
        consumer = self._consumers.get(subscriber)
        if consumer is not None and not consumer.is_listed:
            consumer.is_listed = True
            self._ready.append(consumer)

    def settle(
        self, subscriber: Subscriber, serials: Iterable[int], now: float, *, is_accepted: bool, requeue: bool = True
    ) -> None:
        """``subscriber`` is done with messages that it was lent. Those it does not have are passed over.

        Args:
            is_accepted: it has taken them.
            requeue: if it has not, somebody may try again; False: they are dead.
        """
        consumer = self._consumers.get(subscriber)
        if consumer is None:
            return
        for serial in serials:
            entry = consumer.lent.pop(serial, None)
            if entry is None:
                continue
            if is_accepted:
                self._take_from_consumer(entry)
                self._finish(entry)
            elif requeue:
                self._return(entry, now)
            else:
                self._take_from_consumer(entry)
                self._bury(entry, Death.REJECTED)
        self.wake(subscriber)

    # Messages go out.

    def dispatch(self, now: float, limit: int) -> bool:
        """Give out what waits, in turn to each consumer that has room, the oldest first.

        Args:
            limit: of what is given out in this call, so that others have their turn.

        Returns:
            True if the limit was met, and there is more to do.
        """
        aside: list[Entry] = []  # what those who are ready cannot be told; others still might
        has_met_limit = True
        for _ in range(limit):
            entry = self._take_first(now) if self._waiting_count and self._ready else None
            if entry is None:
                has_met_limit = False
                break
            consumer = self._next_consumer(entry)
            if consumer is not None:
                self._give(entry, consumer)
            elif self._is_refused_by_all(entry):
                self._bury(entry, Death.UNDELIVERABLE)
            else:
                aside.append(entry)
        for entry in aside:
            self._put_back(entry)
        # Where all of them were laid aside the next call would find the same.
        return has_met_limit and bool(self._ready) and len(aside) < min(limit, self._waiting_count)

    def _next_consumer(self, entry: Entry) -> Consumer | None:
        for _ in range(len(self._ready)):
            consumer = self._ready[0]
            if not consumer.subscriber.is_ready:
                self.stalled.append(consumer.subscriber)
            elif len(consumer.lent) < consumer.prefetch:
                self._ready.rotate(-1)
                if entry.refused_by is None or consumer.number not in entry.refused_by:
                    return consumer
                continue
            consumer.is_listed = False
            self._ready.popleft()
        return None

    def _is_refused_by_all(self, entry: Entry) -> bool:
        refused_by = entry.refused_by
        return refused_by is not None and all(one.number in refused_by for one in self._consumers.values())

    def _give(self, entry: Entry, consumer: Consumer) -> None:
        subscriber, message = consumer.subscriber, entry.message
        give = subscriber.deliver if subscriber.ack is AckMode.AUTO else subscriber.lend
        entry.deliveries += 1
        entry.missed += self._missed
        self._missed = 0
        if not give(message, self._headers(entry)):
            # It cannot be told to this client, so that was no try; another may have better luck.
            entry.deliveries -= 1
            if entry.refused_by is None:
                entry.refused_by = set()
            entry.refused_by.add(consumer.number)
            self._put_back(entry)
            return
        entry.place = Place.LENT
        self._lent += 1
        self._lent_size += entry.size
        self._counters.delivered += 1
        self._counters.redelivered += entry.deliveries > 1
        if subscriber.ack is AckMode.AUTO:
            self._take_from_consumer(entry)
            self._finish(entry)
        else:
            consumer.lent[message.serial] = entry

    def _headers(self, entry: Entry) -> Mapping[str, str] | None:
        headers = {}
        if entry.deliveries > 1:
            headers = {REDELIVERED: "true", X_DELIVERY_COUNT: str(entry.deliveries - 1)}
        if entry.missed and self._limits.tells:
            headers[X_MISSED] = str(entry.missed)
        return headers or None

    def _take_first(self, now: float) -> Entry | None:
        while self._returned or self._waiting:
            entry = heapq.heappop(self._returned)[1] if self._returned else self._waiting.popleft()
            if entry.place is Place.GONE:
                self._left_over -= 1
                continue
            self._waiting_count -= 1
            self._size -= entry.size
            if entry.expires_at is None or now < entry.expires_at:
                return entry
            self._bury(entry, Death.EXPIRED)
        return None

    def _return(self, entry: Entry, now: float) -> None:
        self._take_from_consumer(entry)
        if entry.expires_at is not None and now >= entry.expires_at:
            self._bury(entry, Death.EXPIRED)
        elif entry.deliveries >= self._limits.deliveries:
            self._bury(entry, Death.DELIVERY_LIMIT)
        else:
            self._put_back(entry)

    def _put_back(self, entry: Entry) -> None:
        # To its old place: it is older than all that were never given out.
        if not self._limits.tells:
            entry.message.wordings.clear()  # a durable subscription's message is worded for others as well
        entry.place = Place.WAITING
        heapq.heappush(self._returned, (entry.number, entry))
        self._waiting_count += 1
        self._size += entry.size

    def _take_from_consumer(self, entry: Entry) -> None:
        self._lent -= 1
        self._lent_size -= entry.size

    def _finish(self, entry: Entry) -> None:
        self._strike_out(entry)
        self._counters.settled += 1

    # Messages die.

    def expire(self, now: float, limit: int) -> bool:
        """Bury what waits and has expired; what is lent is looked at when it comes back.

        Args:
            limit: of what is buried in this call, so that others have their turn.

        Returns:
            True if the limit was met, and there may be more to do.
        """
        expiries = self._expiries
        for _ in range(limit):
            if not (expiries and expiries[0][0] <= now):
                self._clean_up()
                return False
            entry = heapq.heappop(expiries)[2]
            if entry.place is Place.WAITING:
                self._waiting_count -= 1
                self._size -= entry.size
                self._left_over += 1
                self._bury(entry, Death.EXPIRED)
        return True

    def clear(self) -> int:
        """The queue itself goes; how many messages went with it."""
        waiting = itertools.chain(self._waiting, (entry for _, entry in self._returned))
        entries = [entry for entry in waiting if entry.place is Place.WAITING]
        entries += [entry for consumer in self._consumers.values() for entry in consumer.lent.values()]
        for entry in entries:
            entry.place = Place.GONE
            self._budget.give_back(entry.size)
        self._counters.dropped += len(entries)
        self._waiting.clear()
        self._returned.clear()
        self._expiries.clear()
        self._consumers.clear()
        self._ready.clear()
        self._waiting_count = self._size = self._lent = self._lent_size = self._left_over = 0
        return len(entries)

    def take_dead(self) -> Sequence[Dead]:
        """What has died since the last call, in order; nobody else holds it any more."""
        dead, self._dead = self._dead, []
        return dead

    def _bury(self, entry: Entry, reason: Death) -> None:
        self._dead.append(Dead(entry.message, reason, entry.deliveries))
        if reason is not Death.REJECTED:  # who has rejected it was told
            self._missed += entry.missed
        self._strike_out(entry)

    def _strike_out(self, entry: Entry) -> None:
        entry.place = Place.GONE
        self._budget.give_back(entry.size)
        del entry.message  # which counts no more, while the entry may be left over for long

    def _clean_up(self) -> None:
        # What has gone from the middle is skipped when its turn comes; it must not pile up behind what stays.
        if self._left_over > self._waiting_count + SLACK:
            self._waiting = deque(entry for entry in self._waiting if entry.place is Place.WAITING)
            self._returned = [pair for pair in self._returned if pair[1].place is Place.WAITING]
            heapq.heapify(self._returned)
            self._left_over = 0
        if len(self._expiries) > 2 * (self._waiting_count + self._lent) + SLACK:
            self._expiries = [item for item in self._expiries if item[2].place is not Place.GONE]
            heapq.heapify(self._expiries)
