"""The door to a broker: what a STOMP server asks of it.

Knows: publishing, subscribing, settling.
Does not know: any broker; connections, frames, controllers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from ..codec import PreparedMessage
from ..destinations import Pattern
from ..frame import AckMode


class Subscriber(Protocol):
    """One subscription, as a broker sees it."""

    @property
    def pattern(self) -> Pattern:
        """What it wants."""
        ...

    @property
    def ack(self) -> AckMode:
        """How it acknowledges; ``settle`` is called for what is not ``AUTO``."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the SUBSCRIBE."""
        ...

    def deliver(self, message: PreparedMessage) -> None:
        """Give it a message. Never blocks, never calls back."""
        ...


@runtime_checkable
class Broker(Protocol):
    """Takes what is published, and gives it to whoever has subscribed.

    Attributes:
        separator: between the segments of a destination, ``"/"`` or ``"."``.
        prefixes: of the destinations that it serves; the server's own lie elsewhere.
    """

    separator: str

    @property
    def prefixes(self) -> Sequence[str]:
        """See above."""
        ...

    async def start(self) -> None:
        """Before the first call of the others."""
        ...

    async def stop(self) -> None:
        """After the last."""
        ...

    def serves(self, destination: str) -> bool:
        """Does this destination, or pattern, belong to the broker?"""
        ...

    async def publish(self, message: PreparedMessage) -> None:
        """Take charge of ``message``: when this returns, everybody who had subscribed before has been served."""
        ...

    async def subscribe(self, subscriber: Subscriber) -> None:
        """From the return on, ``subscriber`` gets what is published."""
        ...

    async def unsubscribe(self, subscriber: Subscriber) -> None:
        """From the call on, it gets nothing. What it has not settled is free for others. May be called again."""
        ...

    async def settle(
        self,
        subscriber: Subscriber,
        serials: Sequence[int],
        *,
        is_accepted: bool,
        headers: Mapping[str, str],
    ) -> None:
        """An ACK or NACK has come.

        Args:
            serials: of the messages that it is about, the oldest first.
            is_accepted: False for a NACK.
            headers: of the ACK or NACK.
        """
        ...
