"""Durable subscriptions: what a topic's subscriber gets while it is away waits in a queue of its own, for a while.

::

                 subscribe                         connection lost
    (nowhere) ─────────────> ATTENDED by one client ──────────────> WAITING, at most ``durable_grace``
                              │   ^     └── the same client again: it takes over ──┘     │
                              v   └──────────────────────────────────────────────────────┘
                          (nowhere) <── UNSUBSCRIBE, or the grace is over

A client is the same as before if it has logged in as the same user (or again as nobody), gives the same ``client-id``
and wants the same destination.

Knows: who is the same, since when it is away.
Does not know: the clock, what is in the queues.
Spec: none in STOMP; docs/stomp-conformance.md, section 11.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ...errors import BadFrame
from ..codec import PreparedMessage
from ..frame import CLIENT_ID
from .base import Subscriber
from .queues import Queue

DURABLE: Final = "durable"


class Key(NamedTuple):
    """Who it is, and what it wants."""

    user: str | None
    client_id: str
    destination: str


class Durable:
    """One durable subscription. It stands among the subscribers of its topic.

    Attributes:
        key: whose.
        queue: what waits for it.
        subscriber: who attends it; None while its client is away.
    """

    __slots__ = ("_on_message", "_since", "key", "queue", "subscriber")

    def __init__(self, key: Key, queue: Queue, on_message: Callable[[Durable, PreparedMessage], None]) -> None:
        self.key = key
        self.queue = queue
        self.subscriber: Subscriber | None = None
        self._since = 0.0
        self._on_message = on_message

    def deliver(self, message: PreparedMessage) -> bool:
        """Something was published."""
        self._on_message(self, message)
        return True

    def attend(self, subscriber: Subscriber) -> Subscriber | None:
        """Its client is here; who attended it until now, if somebody did."""
        former, self.subscriber = self.subscriber, subscriber
        return former

    def abandon(self, now: float) -> None:
        """Its client is away."""
        self.subscriber = None
        self._since = now

    def is_over(self, now: float, grace: float) -> bool:
        """Was its client away for too long?"""
        return self.subscriber is None and now - self._since >= grace


class Durables:
    """The durable subscriptions of one broker."""

    def __init__(self, limit: int, limit_per_user: int) -> None:
        self._limit = limit
        self._limit_per_user = limit_per_user
        self._by_key: dict[Key, Durable] = {}
        self._counts: Counter[str | None] = Counter()  # of each user

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_key)

    def __iter__(self) -> Iterator[Durable]:
        return iter(list(self._by_key.values()))

    def find(self, key: Key) -> Durable | None:
        """The one of ``key``; None if there is none."""
        return self._by_key.get(key)

    def add(self, durable: Durable) -> None:
        """
        Raises:
            BadFrame: there are too many.
        """
        if len(self._by_key) >= self._limit:
            raise BadFrame("too many durable subscriptions", f"the limit is {self._limit}, of all clients")
        user = durable.key.user
        limit, whose = self._limit_per_user, "one user"
        if user is None:
            limit, whose = max(1, self._limit // 2), "all guests"
        if self._counts[user] >= limit:
            raise BadFrame("too many durable subscriptions", f"the limit is {limit}, of {whose}")
        self._counts[user] += 1
        self._by_key[durable.key] = durable

    def discard(self, durable: Durable) -> None:
        """It is over."""
        user = durable.key.user
        del self._by_key[durable.key]
        self._counts[user] -= 1
        if not self._counts[user]:
            del self._counts[user]


def key_of(subscriber: Subscriber) -> Key | None:
    """Whose durable subscription ``subscriber`` wants to attend; None if it wants none.

    Raises:
        BadFrame: it wants one, and does not say who it is; or ``durable`` is neither ``true`` nor ``false``.
    """
    text = subscriber.headers.get(DURABLE, "false")
    if text not in ("true", "false"):
        raise BadFrame(f"{DURABLE} is true or false", ascii(text[:100]))
    if text == "false":
        return None
    if not subscriber.client_id:
        raise BadFrame(f"{DURABLE} without {CLIENT_ID}", "give it in SUBSCRIBE or in CONNECT, always the same")
    return Key(subscriber.user, subscriber.client_id, subscriber.pattern.text)
