"""All queues of one broker: which there are, giving out what waits, and where what has died goes.

Knows: names of queues, dead letters, turns.
Does not know: who publishes; topics.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from ...errors import QueueFull
from ..codec import PreparedMessage
from ..counters import BrokerCounters
from .base import MakeMessage, Subscriber
from .headers import EXPIRATION, X_EPOCH, X_FIRST_DEATH_COUNT, X_FIRST_DEATH_QUEUE, X_FIRST_DEATH_REASON, X_OFFSET
from .holding import Budget
from .options import BrokerOptions
from .pacing import BURST, Pacer, clock
from .queues import Dead, Queue, QueueLimits
from .temporary import is_address

QUEUES_PER_TURN: Final = 16
"""Queues that are looked at for what has expired, before others have their turn."""

_OF_ITS_LIFE: Final = frozenset({EXPIRATION, X_EPOCH, X_OFFSET})


class Queues(Mapping[str, Queue]):
    """The queues that hold a message or have a consumer, by destination."""

    def __init__(
        self,
        options: BrokerOptions,
        budget: Budget,
        counters: BrokerCounters,
        pacer: Pacer,
        dead_letters: str,
        publish: Callable[[PreparedMessage], None],
    ) -> None:
        """
        Args:
            dead_letters: the destination of what no consumer has taken; "" where that is lost.
            publish: takes what goes there.
        """
        self._options = options
        self._budget = budget
        # What waits for single clients may fill a half, and then makes room at its own cost.
        self._private = Budget(budget.limit // 2, budget)
        self._counters = counters
        self._pacer = pacer
        self._dead_letters = dead_letters
        self._publish = publish
        self._make_message: MakeMessage | None = None
        self._queues: dict[str, Queue] = {}
        self._answers = 0  # of these, how many are temporary: they have a limit of their own
        self._continuing: set[Queue] = set()
        self._expiring: dict[Queue, None] = {}  # where something may have expired, in turn
        self._expired_until = 0.0
        self._limits = QueueLimits(
            options.max_queue_length,
            options.max_queue_size,
            options.max_deliveries,
            drops=options.on_queue_full == "drop_oldest",
        )
        self._durable_limits = replace(self._limits, length=options.max_durable_length, drops=True, tells=True)
        # What is dead already must not end the connection of whoever let it die, nor an answer that of who answers.
        self._dead_limits = replace(self._limits, drops=True)
        self._temporary_limits = replace(self._limits, drops=True, tells=True)

    def __getitem__(self, name: str) -> Queue:
        return self._queues[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._queues))

    def __len__(self) -> int:
        return len(self._queues)

    def start(self, make_message: MakeMessage) -> None:
        """Before anything dies."""
        self._make_message = make_message

    # Which there are.

    def obtain(self, name: str) -> Queue:
        """The queue of this destination, made if need be.

        Raises:
            QueueFull: there are too many.
        """
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = self._new(name)
            self._answers += is_address(name)
        return queue

    def make_durable(self, name: str) -> Queue:
        """A queue for one durable subscription to ``name``; it is not found by that name."""
        return Queue(name, self._durable_limits, self._private, self._counters)

    def check(self, loads: Mapping[str, Sequence[int]], others: int = 0) -> None:
        """Would all of these fit?

        Args:
            loads: the sizes of the messages for each queue.
            others: bytes that are held elsewhere at the same time.

        Raises:
            QueueFull: they would not.
        """
        missing = [name for name in loads if name not in self._queues]
        if missing and len(self._queues) - self._answers + len(missing) > self._options.max_queues:
            raise self._too_many()
        for name, sizes in loads.items():
            (self._queues.get(name) or self._new(name)).check(len(sizes), sum(sizes))
        # One queue alone may make room for itself; of several one could take what another has made.
        if (len(loads) > 1 or others) and not self._budget.has_room(sum(map(sum, loads.values())) + others):
            raise self._budget.is_full()

    def discard(self, name: str) -> None:
        """The queue ``name`` goes, with all that it holds; does nothing if there is none."""
        queue = self._remove(name)
        if queue is not None:
            queue.clear()

    def clear(self) -> int:
        """All go; how many messages went with them."""
        count = sum(queue.clear() for queue in self._queues.values())
        self._queues.clear()
        self._answers = 0
        self._continuing.clear()
        self._expiring.clear()
        return count

    def _new(self, name: str) -> Queue:
        if is_address(name):
            return Queue(name, self._temporary_limits, self._private, self._counters)
        if name == self._dead_letters:
            return Queue(name, self._dead_limits, self._budget, self._counters)
        if len(self._queues) - self._answers >= self._options.max_queues:
            raise self._too_many()
        return Queue(name, self._limits, self._budget, self._counters)

    def _remove(self, name: str) -> Queue | None:
        queue = self._queues.pop(name, None)
        self._answers -= queue is not None and is_address(name)
        return queue

    def _too_many(self) -> QueueFull:
        return QueueFull(f"there are max_queues ({self._options.max_queues}) queues")

    # What happens to a queue, and what can be given out because of it.

    def put(self, queue: Queue, message: PreparedMessage, expires_after: float | None = None) -> None:
        """See ``Queue.put``."""
        now = clock()
        try:
            queue.put(message, now, expires_after)
        finally:
            self._give_out(queue, now)

    def put_or_drop(self, queue: Queue, message: PreparedMessage, expires_after: float | None = None) -> None:
        """The same; what does not fit at all is dropped, and counted."""
        now = clock()
        try:
            queue.put(message, now, expires_after)
        except QueueFull:
            queue.skip()
        self._give_out(queue, now)

    def add(self, queue: Queue, subscriber: Subscriber, prefetch: int) -> None:
        """See ``Queue.add``."""
        queue.add(subscriber, prefetch)
        self._give_out(queue, clock())

    def remove(self, queue: Queue, subscriber: Subscriber) -> None:
        """See ``Queue.remove``."""
        now = clock()
        queue.remove(subscriber, now)
        self._give_out(queue, now)

    def settle(
        self, queue: Queue, subscriber: Subscriber, serials: Iterable[int], *, is_accepted: bool, requeue: bool
    ) -> None:
        """See ``Queue.settle``."""
        now = clock()
        queue.settle(subscriber, serials, now, is_accepted=is_accepted, requeue=requeue)
        self._give_out(queue, now)

    def expire(self, now: float) -> None:
        """Bury what has expired; not all in this turn, if it is much."""
        is_going_on = bool(self._expiring)
        self._expiring.update((queue, None) for queue in self._queues.values() if queue.can_expire)
        self._expired_until = now
        if not is_going_on:
            self._expire_some()

    def _expire_some(self) -> None:
        queues = list(itertools.islice(self._expiring, QUEUES_PER_TURN))
        for queue in queues:
            del self._expiring[queue]
            if queue.expire(self._expired_until, BURST // len(queues)):
                self._expiring[queue] = None  # behind all others
            self._give_out(queue, self._expired_until)
        if self._expiring:
            asyncio.get_running_loop().call_soon(self._expire_some)

    def _give_out(self, queue: Queue, now: float) -> None:
        has_more = queue.dispatch(now, BURST)
        if queue.stalled:
            for subscriber in queue.stalled:
                self._pacer.wait(subscriber, partial(self._resume, queue, subscriber))
            queue.stalled.clear()
        for dead in queue.take_dead():
            self._see_off(queue, dead)
        if has_more and queue not in self._continuing:
            self._continuing.add(queue)
            asyncio.get_running_loop().call_soon(self._continue, queue)
        elif queue.is_idle and self._queues.get(queue.name) is queue:
            self._remove(queue.name)

    def _resume(self, queue: Queue, subscriber: Subscriber) -> None:
        queue.wake(subscriber)
        self._give_out(queue, clock())

    def _continue(self, queue: Queue) -> None:
        if queue in self._continuing:
            self._continuing.discard(queue)
            self._give_out(queue, clock())

    # What has died.

    def _see_off(self, queue: Queue, dead: Dead) -> None:
        name = queue.name
        # What dies in a queue of one client alone is its loss: it must not push out what others look for.
        if not self._dead_letters or name == self._dead_letters or queue.tells or self._make_message is None:
            self._counters.dropped += 1
            return
        headers = {name: value for name, value in dead.message.headers.items() if name not in _OF_ITS_LIFE}
        headers[X_FIRST_DEATH_QUEUE] = name
        headers[X_FIRST_DEATH_REASON] = dead.reason.value
        headers[X_FIRST_DEATH_COUNT] = str(dead.deliveries)
        try:
            self._publish(self._make_message(self._dead_letters, headers, dead.message.body))
        except QueueFull:  # even there
            self._counters.dropped += 1
        else:
            self._counters.dead += 1
