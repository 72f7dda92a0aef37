"""The topics of one broker: who listens from now on, who catches up, and who is never quite away.

Knows: the table of subscribers, who stands in for whom, turns.
Does not know: queues of the application, who is present, prefixes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Protocol

from ...errors import BadFrame
from ..codec import PreparedMessage
from ..counters import BrokerCounters
from ..destinations import Pattern, PatternTable
from .base import Subscriber
from .distribution import Queues
from .durable import DURABLE, Durable, Durables, Key, key_of
from .headers import X_EPOCH, X_MISSED, X_OFFSET, X_RESUMED, X_SINCE, prefetch_of
from .history import Histories
from .holding import size_of
from .options import BrokerOptions
from .pacing import BURST, Pacer, clock
from .replay import Replay, Since, forget_wordings, since_of


class Sink(Protocol):
    """What stands in the table of topics: a subscriber, or whoever stands in for it."""

    def deliver(self, message: PreparedMessage) -> bool:
        """Something was published."""
        ...


class Topics:
    """What is published goes to everybody who has subscribed."""

    def __init__(
        self,
        separator: str,
        options: BrokerOptions,
        histories: Histories,
        queues: Queues,
        pacer: Pacer,
        counters: BrokerCounters,
    ) -> None:
        """
        Args:
            queues: make those in which the messages of durable subscriptions wait.
        """
        self._separator = separator
        self._options = options
        self._histories = histories
        self._queues = queues
        self._pacer = pacer
        self._counters = counters
        self._keeps = bool(histories)
        self._holds = self._keeps  # somebody may still have a message when it has been given to everybody
        self._durables = Durables(options.max_durables, options.max_durables_per_user)
        self._subscribers: PatternTable[Sink] = PatternTable(separator)
        self._stand_ins: dict[Subscriber, Durable | Replay] = {}

    def __len__(self) -> int:
        """How many subscriptions there are, durable ones included whose clients are away."""
        return len(self._subscribers)

    def publish(self, message: PreparedMessage) -> None:
        """Give ``message`` to whoever wants it, and keep it where that is wanted."""
        self._counters.published += 1
        if self._keeps:
            self._histories.append(message, clock())
        for sink in self._subscribers.match(message.destination):
            sink.deliver(message)
        if self._holds:
            forget_wordings(message)

    def size_kept(self, message: PreparedMessage) -> int:
        """Bytes of ``message`` that would be held if it were published, in all places together."""
        places = int(self._histories.keeps(message.destination))
        places += sum(isinstance(sink, Durable) for sink in self._subscribers.match(message.destination))
        return places * size_of(message)

    def tell(self, message: PreparedMessage) -> None:
        """The same for what the broker itself has to say; it is not kept."""
        for sink in self._subscribers.match(message.destination):
            sink.deliver(message)

    def join(self, subscriber: Subscriber) -> None:
        """Let it get what is published from now on."""
        self._subscribers.add(subscriber.pattern, subscriber)

    def leave(self, subscriber: Subscriber, *, is_lost: bool) -> None:
        """From now on it gets nothing. May be called again.

        Args:
            is_lost: its client may come back.
        """
        stand_in = self._stand_ins.pop(subscriber, None)
        if isinstance(stand_in, Durable):
            self._abandon(stand_in, subscriber, is_lost=is_lost)
        else:
            self._subscribers.discard(subscriber.pattern, stand_in or subscriber)

    def settle(self, subscriber: Subscriber, serials: Iterable[int], *, is_accepted: bool, requeue: bool) -> None:
        """What a durable subscription was lent is settled; a topic's message was given to everybody already."""
        stand_in = self._stand_ins.get(subscriber)
        if isinstance(stand_in, Durable):
            self._queues.settle(stand_in.queue, subscriber, serials, is_accepted=is_accepted, requeue=requeue)

    def expire(self, now: float) -> None:
        """Forget what is too old, and who was away for too long."""
        self._histories.expire(now)
        for durable in self._durables:
            if durable.is_over(now, self._options.durable_grace):
                self._forget(durable)

    def clear(self) -> int:
        """Forget who is away, and all that is kept; how many messages waited for durable subscriptions."""
        for subscriber, stand_in in self._stand_ins.items():
            if isinstance(stand_in, Replay):
                self._subscribers.discard(subscriber.pattern, stand_in)
        self._stand_ins.clear()
        self._histories.clear()
        return sum(self._forget(durable) for durable in self._durables)

    # Catching up, and never quite away.

    def listen(self, subscriber: Subscriber) -> Mapping[str, str]:
        """The same as ``join`` for a client, which may want more than what comes from now on.

        Returns:
            headers for its RECEIPT.

        Raises:
            BadFrame: what it wants is malformed, contradicts itself, or passes a limit.
        """
        pattern = subscriber.pattern
        since, key = since_of(subscriber), key_of(subscriber)
        if since is not None and key is not None:
            raise BadFrame(f"either {DURABLE} or {X_SINCE}", "a durable subscription misses nothing anyway")
        told = {}
        if key is not None:
            told[X_RESUMED] = "true" if self._attend(key, subscriber) else "false"
        elif since is not None or self._histories.begins_with_kept(pattern):
            replay = self._replay(subscriber, since or Since(None, 0, is_asked=False))
            if since is not None:
                told[X_MISSED] = replay.missed
        else:
            self._subscribers.add(pattern, subscriber)
        stream = self._histories.find(pattern.text)
        if stream is not None:
            told |= {X_EPOCH: stream.epoch, X_OFFSET: str(stream.offset)}
        return told

    def _replay(self, subscriber: Subscriber, since: Since) -> Replay:
        replay = Replay(subscriber, since, self._histories, self._counters, self._catch_up, clock())
        self._stand_ins[subscriber] = replay
        self._subscribers.add(subscriber.pattern, replay)
        self._catch_up(replay)
        return replay

    def _catch_up(self, replay: Replay) -> None:
        subscriber = replay.subscriber
        if self._pacer.is_waiting(subscriber):
            return
        has_more = replay.advance(BURST)
        if has_more or not subscriber.is_ready:
            self._pacer.wait(subscriber, partial(self._catch_up, replay))
        elif replay.is_done:
            del self._stand_ins[subscriber]
            self._subscribers.discard(subscriber.pattern, replay)
            self._subscribers.add(subscriber.pattern, subscriber)

    def _attend(self, key: Key, subscriber: Subscriber) -> bool:
        # Whether it was there before.
        prefetch = prefetch_of(subscriber, self._options.prefetch, self._options.max_prefetch)
        durable = self._durables.find(key)
        is_resumed = durable is not None
        if durable is not None and durable.subscriber is not None and durable.subscriber.owner == subscriber.owner:
            raise BadFrame("this durable subscription is the client's already")
        if durable is None:
            durable = Durable(key, self._queues.make_durable(key.destination), self._put_aside)
            self._durables.add(durable)
            self._holds = True
            self._subscribers.add(subscriber.pattern, durable)
        former = durable.attend(subscriber)
        self._stand_ins[subscriber] = durable
        if former is not None:
            self._pacer.forget(former)
            self._queues.remove(durable.queue, former)
            former.evict("its durable subscription is used by another connection")
        self._queues.add(durable.queue, subscriber, prefetch)
        return is_resumed

    def _put_aside(self, durable: Durable, message: PreparedMessage) -> None:
        self._queues.put_or_drop(durable.queue, message)

    def _abandon(self, durable: Durable, subscriber: Subscriber, *, is_lost: bool) -> None:
        if durable.subscriber is not subscriber:
            return  # another connection has taken over
        durable.abandon(clock())
        self._queues.remove(durable.queue, subscriber)
        if not is_lost:
            self._forget(durable)

    def _forget(self, durable: Durable) -> int:
        # How many messages have gone with it.
        self._durables.discard(durable)
        self._subscribers.discard(Pattern(durable.key.destination, self._separator), durable)
        return durable.queue.clear()
