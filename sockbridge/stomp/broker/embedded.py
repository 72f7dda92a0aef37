"""The broker in this process: topics, in memory.

Whoever has subscribed when a message is published gets it, once per subscription, in the order of publishing;
nothing is kept. An ACK or NACK of a topic's message changes nothing, as there is nobody else to give it to.

Knows: prefixes, the table of subscribers.
Does not know: networks, connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...errors import InvalidOption
from ..codec import PreparedMessage
from ..destinations import PatternTable, has_prefix
from .base import Subscriber


class EmbeddedBroker:
    """Topics in memory.

    Args:
        topics: prefixes of the destinations that it serves, e.g. ``["/topic", "/queue"]``.
        separator: between the segments of a destination: ``"/"`` or ``"."``.
    """

    def __init__(self, topics: Iterable[str] = ("/topic",), *, separator: str = "/") -> None:
        """
        Raises:
            InvalidOption: a prefix is no path, or the separator is another.
        """
        if isinstance(topics, str):
            raise InvalidOption(f"topics is a list of prefixes, not {topics!r}")
        self.topics = tuple(topics)
        if not self.topics:
            raise InvalidOption("topics names no prefix, so the broker would serve nothing")
        for prefix in self.topics:
            if not isinstance(prefix, str) or not prefix.startswith("/") or any(one in prefix for one in "*?{}\0"):
                raise InvalidOption(f'a prefix starts with / and holds no wildcard, e.g. "/topic", not {prefix!r}')
        if separator not in ("/", "."):
            raise InvalidOption(f'separator is "/" or ".", not {separator!r}')
        self.separator = separator
        self._subscribers: PatternTable[Subscriber] = PatternTable(separator)

    def __len__(self) -> int:
        """How many subscriptions it holds."""
        return len(self._subscribers)

    def __bool__(self) -> bool:
        return True  # one without subscriptions is a broker all the same

    @property
    def prefixes(self) -> Sequence[str]:
        return self.topics

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self) -> None:
        """Nothing to do: connections take their subscriptions with them."""

    def serves(self, destination: str) -> bool:
        return any(has_prefix(destination, prefix) for prefix in self.topics)

    async def publish(self, message: PreparedMessage) -> None:
        for subscriber in self._subscribers.match(message.destination):
            subscriber.deliver(message)

    async def subscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.add(subscriber.pattern, subscriber)

    async def unsubscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber.pattern, subscriber)

    async def settle(
        self,
        subscriber: Subscriber,
        serials: Sequence[int],
        *,
        is_accepted: bool,
        headers: Mapping[str, str],
    ) -> None:
        """Nothing to do: a topic's message was given to everybody already."""
