"""The broker in this process: topics, queues, replay, presence; in memory, within limits.

This file joins the rooms around it. Topics give each message to whoever has subscribed at that moment; what else may
happen to it is said where it is done.

Knows: which destination belongs to which room.
Does not know: networks, connections, frames.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Final, TypeVar, Unpack

import msgspec

from ...errors import BadFrame, InvalidOption, QueueFull, UsageError
from ..codec import PreparedMessage
from ..counters import BrokerCounters
from ..destinations import Prefixes, fault_of, has_prefix, has_wildcard
from ..frame import CONTENT_TYPE, REQUEUE
from .base import MakeMessage, Subscriber
from .distribution import Queues
from .headers import check_literal, expiration_of, prefetch_of
from .history import Histories, History
from .holding import Budget, size_of
from .options import BrokerOptionArguments, BrokerOptions
from .pacing import BURST, Pacer, clock
from .presence import PRESENCE_PREFIX, Change, Here, Presence
from .temporary import REPLY_PREFIX, TEMPORARY_PREFIX, TemporaryQueues, is_address
from .topics import Topics

logger = logging.getLogger("sockbridge.broker")

TICK: Final = 1.0
"""Seconds between two looks at what expires."""

DEAD_LETTERS: Final = "dead-letters"
"""The last segment of the queue for what no consumer has taken, unless told otherwise."""

JSON: Final = "application/json"

WATCHED: Final = ("dropped", "refused", "dead", "unroutable", "missed")
"""Counters whose growth is worth a line in the log."""


T = TypeVar("T")


class EmbeddedBroker:
    """Topics, queues, replay and presence, in memory.

    Attributes:
        prefixes: of all destinations that it serves.
        counters: what has happened.
        queues: those that hold a message or have a consumer, by destination: ``len(broker.queues["/queue/jobs"])``
            messages wait, ``.lent`` are being worked on, ``.consumers`` work.
        queue_prefixes: of the destinations that are queues.
        options: the limits in force.
    """

    def __init__(
        self,
        topics: Iterable[str] = ("/topic",),
        *,
        queues: Iterable[str] = (),
        history: Sequence[History] = (),
        presence: Sequence[str] = (),
        dead_letters: str = "",
        separator: str = "/",
        **options: Unpack[BrokerOptionArguments],
    ) -> None:
        """
        Args:
            topics: prefixes of destinations whose messages go to everybody who has subscribed.
            queues: prefixes of destinations whose messages wait, and go to one consumer each. With any,
                ``/temp-queue`` and ``/reply-queue`` are served as well.
            history: which topics keep messages for those who come back.
            presence: patterns of topics where one can see who is there, by subscribing to ``/presence`` + the topic.
            dead_letters: where messages go that no consumer has taken; by default the queue ``dead-letters`` under
                the first prefix of ``queues``.
            separator: between the segments of a destination: ``"/"`` or ``"."``.
            options: see ``BrokerOptions``.

        Raises:
            InvalidOption: a value that is not allowed; the text says which are.
        """
        if separator not in ("/", "."):
            raise InvalidOption(f'separator is "/" or ".", not {separator!r}')
        self.separator = separator
        self.topics = _prefixes("topics", topics)
        self.queue_prefixes = _prefixes("queues", queues)
        if not self.topics and not self.queue_prefixes:
            raise InvalidOption("topics names no prefix, so the broker would serve nothing")
        self.options = _checked_options(options)
        self.counters = BrokerCounters()
        self._budget = Budget(self.options.max_size)
        self._presence = Presence(_sequence("presence", presence), separator)
        self._histories = Histories(
            _sequence("history", history),
            separator,
            self.options.max_histories,
            self.options.max_history_size,
            self._budget,
            partial(secrets.token_hex, 6),
        )
        self._check_under_topics([rule.destination for rule in history], "history")
        self._check_under_topics(presence, "presence")
        added = self._added_prefixes()
        self.prefixes: Sequence[str] = (*self.topics, *added)
        _check_overlap(self.topics, added)
        self._all = Prefixes(self.prefixes)
        self._of_queues = Prefixes([*self.queue_prefixes, REPLY_PREFIX] if self.queue_prefixes else [])
        self._of_temporary = Prefixes([TEMPORARY_PREFIX] if self.queue_prefixes else [])
        self._of_presence = Prefixes([PRESENCE_PREFIX] if self._presence else [])
        # Most is published to topics; what begins otherwise than all of these is sent there at once (bench.fanout).
        self._others = tuple(prefix.rstrip("/") for prefix in added)
        self._temporary = TemporaryQueues(self.options.max_temporary_queues, partial(secrets.token_urlsafe, 16))
        self._pacer = Pacer()
        self.queues = Queues(
            self.options,
            self._budget,
            self.counters,
            self._pacer,
            self._dead_letters(dead_letters),
            self._publish,
        )
        self._topics = Topics(separator, self.options, self._histories, self.queues, self._pacer, self.counters)
        self._make_message: MakeMessage | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._logged = asdict(self.counters)

    def __len__(self) -> int:
        """How many subscriptions it holds, those included whose clients are away."""
        return len(self._topics) + sum(queue.consumers for queue in self.queues.values())

    def __bool__(self) -> bool:
        return True  # one without subscriptions is a broker all the same

    # For the application.

    def here(self, destination: str) -> Here:
        """Who is on ``destination``.

        Raises:
            UsageError: ``presence`` names no pattern that matches it.
        """
        if not self._presence.is_watched(destination):
            raise UsageError(f"nobody watches who is on {destination!r}: name it in presence=")
        return self._presence.here(destination)

    @property
    def held(self) -> int:
        """Bytes of all messages that it holds."""
        return self._budget.held

    # For the server.

    async def start(self, make_message: MakeMessage) -> None:
        if self._timer is not None:
            raise UsageError("a broker belongs to one server, and this one has another already")
        self._make_message = make_message
        self.queues.start(make_message)
        self._set_timer()

    async def stop(self) -> None:
        """What is held is gone with it, and the log says how much."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._pacer.close()
        self._temporary.clear()
        count = self.queues.clear() + self._topics.clear()
        if count:
            logger.warning("the broker stops, and %d messages that waited in its queues are gone", count)

    def serves(self, destination: str) -> bool:
        return destination in self._all

    def resolve(self, owner: object, destination: str) -> str:
        if destination in self._of_temporary:
            return self._temporary.address(owner, destination)
        return destination

    async def publish(self, message: PreparedMessage) -> None:
        if not message.destination.startswith(self._others):
            self._topics.publish(message)
            return
        self._check_foreign(message.destination)
        try:
            self._publish(message)
        except QueueFull:
            self.counters.refused += 1
            raise

    async def check(self, messages: Sequence[PreparedMessage]) -> None:
        loads: dict[str, list[int]] = {}
        others = 0
        for message in messages:
            destination = message.destination
            self._check_foreign(destination)
            if destination in self._of_queues:
                check_literal(destination)
                expiration_of(message)
                if is_address(destination):  # those never refuse
                    others += size_of(message)
                else:
                    loads.setdefault(destination, []).append(size_of(message))
            else:
                others += self._topics.size_kept(message)
        try:
            if loads:
                self.queues.check(loads, others)
        except QueueFull:
            self.counters.refused += len(messages)
            raise

    async def subscribe(self, subscriber: Subscriber) -> Mapping[str, str]:
        pattern = subscriber.pattern
        if pattern.text in self._of_queues:
            self._consume(subscriber)
            return {}
        if pattern.text in self._of_presence:
            self._presence.check(pattern)
            self._topics.join(subscriber)
            self._show(subscriber, self._presence.rooms(pattern))
            return {}
        told = self._topics.listen(subscriber)
        self._tell(pattern.text, self._presence.join(subscriber))
        return told

    async def unsubscribe(self, subscriber: Subscriber, *, is_lost: bool) -> None:
        self._pacer.forget(subscriber)
        destination = subscriber.pattern.text
        queue = self.queues.get(destination)
        if queue is not None:
            self.queues.remove(queue, subscriber)
        elif destination not in self._of_queues:
            self._topics.leave(subscriber, is_lost=is_lost)
            self._tell(destination, self._presence.leave(subscriber))

    async def settle(
        self,
        subscriber: Subscriber,
        serials: Sequence[int],
        *,
        is_accepted: bool,
        headers: Mapping[str, str],
    ) -> None:
        requeue = headers.get(REQUEUE) != "false"
        queue = self.queues.get(subscriber.pattern.text)
        if queue is not None:
            self.queues.settle(queue, subscriber, serials, is_accepted=is_accepted, requeue=requeue)
        else:
            self._topics.settle(subscriber, serials, is_accepted=is_accepted, requeue=requeue)

    async def release(self, owner: object) -> None:
        for address in self._temporary.release(owner):
            self.queues.discard(address)

    # Publishing.

    def _publish(self, message: PreparedMessage) -> None:
        if message.destination in self._of_queues:
            self._put(message)
        else:
            self._topics.publish(message)

    def _put(self, message: PreparedMessage) -> None:
        destination = message.destination
        check_literal(destination)
        expires_after = expiration_of(message)
        if not is_address(destination):
            self.queues.put(self.queues.obtain(destination), message, expires_after)
        elif self._temporary.owner(destination) is None:
            self.counters.unroutable += 1  # it is gone, as a topic may be without subscribers
        else:  # who answers is not to blame if it is full
            self.queues.put_or_drop(self.queues.obtain(destination), message, expires_after)

    def _check_foreign(self, destination: str) -> None:
        if destination in self._of_presence:
            raise BadFrame("who is present is told by the server alone")
        if destination in self._of_temporary:
            raise BadFrame("a temporary queue has an address for others", "its owner's reply-to")

    # Queues.

    def _consume(self, subscriber: Subscriber) -> None:
        name = subscriber.pattern.text
        check_literal(name)
        if is_address(name) and self._temporary.owner(name) != subscriber.owner:
            raise BadFrame("this temporary queue is somebody else's, or gone")
        prefetch = prefetch_of(subscriber, self.options.prefetch, self.options.max_prefetch)
        try:
            queue = self.queues.obtain(name)
        except QueueFull as error:
            raise BadFrame("too many queues", str(error)) from None
        self.queues.add(queue, subscriber, prefetch)

    # Presence.

    def _show(self, subscriber: Subscriber, rooms: Iterator[str | None]) -> None:
        # None is a room that it does not look into; so thousands of them are no long turn either.
        for destination in itertools.islice(rooms, BURST):
            message = None if destination is None else self._about(destination, self._presence.here(destination))
            if message is not None:
                subscriber.deliver(message)
            if not subscriber.is_ready:
                break
        else:
            destination = next(rooms, "")
            if destination == "":
                return
            rooms = itertools.chain([destination], rooms)
        self._pacer.wait(subscriber, partial(self._show, subscriber, rooms))

    def _tell(self, destination: str, change: Change | None) -> None:
        message = None if change is None else self._about(destination, change)
        if message is not None:
            self._topics.tell(message)

    def _about(self, destination: str, news: Here | Change) -> PreparedMessage | None:
        if self._make_message is None:
            return None  # not started
        return self._make_message(PRESENCE_PREFIX + destination, {CONTENT_TYPE: JSON}, msgspec.json.encode(news))

    # The clock.

    def _set_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK, self._look)

    def _look(self) -> None:
        self._set_timer()
        now = clock()
        self.queues.expire(now)
        self._topics.expire(now)
        self._log_losses()

    def _log_losses(self) -> None:
        # One line for all that was lost since the last look, however much it was.
        counted = asdict(self.counters)
        grown = {name: counted[name] - self._logged[name] for name in WATCHED}
        self._logged = counted
        if any(grown.values()):
            lost = ", ".join(f"{count} {name}" for name, count in grown.items() if count)
            logger.warning("messages in the last second: %s (see BrokerCounters)", lost)

    # The set-up.

    def _added_prefixes(self) -> Sequence[str]:
        several = [*self.queue_prefixes]
        if self.queue_prefixes:
            several += [TEMPORARY_PREFIX, REPLY_PREFIX]
        if self._presence:
            several.append(PRESENCE_PREFIX)
        return several

    def _check_under_topics(self, destinations: Iterable[str], name: str) -> None:
        for destination in destinations:
            if not any(has_prefix(destination, prefix) for prefix in self.topics):
                raise InvalidOption(f"{name}: {destination!r} is under none of the topics {', '.join(self.topics)}")

    def _dead_letters(self, destination: str) -> str:
        if not destination:
            return f"{self.queue_prefixes[0].rstrip('/')}/{DEAD_LETTERS}" if self.queue_prefixes else ""
        prefixes = (*self.topics, *self.queue_prefixes)
        if (
            fault_of(destination)
            or has_wildcard(destination)
            or not any(has_prefix(destination, prefix) for prefix in prefixes)
        ):
            raise InvalidOption(f"dead_letters is a topic or a queue of this broker, not {destination!r}")
        return destination


def _sequence(name: str, several: Sequence[T]) -> Sequence[T]:
    if isinstance(several, str) or not isinstance(several, Sequence):
        raise InvalidOption(f"{name} is a list, not {several!r}")
    return several


def _prefixes(name: str, prefixes: Iterable[str]) -> tuple[str, ...]:
    if isinstance(prefixes, str):
        raise InvalidOption(f"{name} is a list of prefixes, not {prefixes!r}")
    several = tuple(prefixes)
    for prefix in several:
        if not isinstance(prefix, str) or not prefix.startswith("/") or any(one in prefix for one in "*?{}\0"):
            raise InvalidOption(f'a prefix starts with / and holds no wildcard, e.g. "/topic", not {prefix!r}')
    return several


def _check_overlap(topics: Sequence[str], added: Sequence[str]) -> None:
    for index, prefix in enumerate(added):
        for other in (*topics, *added[index + 1 :]):
            if has_prefix(prefix, other) or has_prefix(other, prefix):
                raise InvalidOption(f"one of the prefixes {prefix} and {other} hides the other")


def _checked_options(options: BrokerOptionArguments) -> BrokerOptions:
    unknown = set(options) - BrokerOptionArguments.__annotations__.keys()
    if unknown:
        known = ", ".join(sorted(BrokerOptionArguments.__annotations__))
        raise InvalidOption(f"there is no option {', '.join(sorted(unknown))}; limits and times are: {known}")
    return BrokerOptions(**options)
