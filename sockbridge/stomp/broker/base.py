"""The door to a broker: what a STOMP server asks of it.

Knows: publishing, subscribing, settling; what a broker may ask of a subscription.
Does not know: any broker; connections, frames, controllers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from ..codec import PreparedMessage
from ..destinations import Pattern
from ..frame import AckMode

MakeMessage = Callable[[str, Mapping[str, str], bytes], PreparedMessage]
"""Makes a message of the broker's own: destination, headers, body."""


class Subscriber(Protocol):
    """One subscription, as a broker sees it."""

    @property
    def pattern(self) -> Pattern:
        """What it wants; of a temporary queue what ``Broker.resolve`` returned."""
        ...

    @property
    def ack(self) -> AckMode:
        """How it acknowledges; ``settle`` is called for what is not ``AUTO``."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the SUBSCRIBE."""
        ...

    @property
    def owner(self) -> object:
        """The connection that it belongs to, hashable: equal for all subscriptions of one client, and for no others."""
        ...

    @property
    def user(self) -> str | None:
        """Name of the user who has logged in; None for a guest."""
        ...

    @property
    def client_id(self) -> str | None:
        """By which a client says that it is the same as before; None if it says nothing."""
        ...

    @property
    def is_ready(self) -> bool:
        """It takes what it is given: its client is there, and not much waits for it."""
        ...

    async def drain(self) -> None:
        """Wait until little waits for its client.

        Raises:
            SessionClosed: its client has gone.
        """
        ...

    def deliver(self, message: PreparedMessage, headers: Mapping[str, str] | None = None) -> bool:
        """Give it a message, for good. Never blocks, never calls back.

        Args:
            headers: for this subscriber alone, besides those of the message.

        Returns:
            False if its client cannot be told this message: octets that are no text, over SockJS.
        """
        ...

    def lend(self, message: PreparedMessage, headers: Mapping[str, str] | None = None) -> bool:
        """Give it a message that stays with the broker until it is settled. Only where ``ack`` is not ``AUTO``.

        Unlike a message given for good it never counts as acknowledged because too many wait.
        """
        ...

    def evict(self, reason: str) -> None:
        """End its connection with an ERROR: somebody else has taken its place."""
        ...


@runtime_checkable
class Broker(Protocol):
    """Takes what is published, and gives it to whoever has subscribed.

    Attributes:
        separator: between the segments of a destination, ``"/"`` or ``"."``.
        prefixes: of the destinations that it serves; the server's own lie elsewhere.
        queue_prefixes: those where each message goes to one subscriber alone, who thereby takes it from the others;
            without a policy no client may subscribe there.
    """

    separator: str

    @property
    def prefixes(self) -> Sequence[str]:
        """See above."""
        ...

    @property
    def queue_prefixes(self) -> Sequence[str]:
        """See above."""
        ...

    async def start(self, make_message: MakeMessage) -> None:
        """Before the first call of the others. If it raises it has not started, and ``stop`` is not called.

        Args:
            make_message: makes messages of the broker's own.
        """
        ...

    async def stop(self) -> None:
        """After the last."""
        ...

    def serves(self, destination: str) -> bool:
        """Does this destination, or pattern, belong to the broker?"""
        ...

    def resolve(self, owner: object, destination: str) -> str:
        """What ``owner`` means by ``destination``: for a temporary queue of its own, the address by which others
        reach it. Everything else, and what is no destination of this broker, means itself.

        Raises:
            BadFrame: it has too many temporary queues.
        """
        ...

    async def publish(self, message: PreparedMessage) -> None:
        """Take charge of ``message``: when this returns, it is in its queue, or everybody who had subscribed before
        has been served.

        Raises:
            BadFrame: a header that the broker looks at is malformed.
            QueueFull: its queue has no room, and does not make any.
        """
        ...

    async def check(self, messages: Sequence[PreparedMessage]) -> None:
        """Would ``publish`` take all of these now? Asked before any frame of a transaction has an effect.

        Raises:
            BadFrame, QueueFull: see ``publish``.
        """
        ...

    async def subscribe(self, subscriber: Subscriber) -> Mapping[str, str]:
        """From the return on, ``subscriber`` gets what is published.

        Returns:
            headers for the RECEIPT, which tell the client how it stands.

        Raises:
            BadFrame: nobody, or not this client, can subscribe to this; or a header is malformed. Then it has not
                subscribed.
        """
        ...

    async def unsubscribe(self, subscriber: Subscriber, *, is_lost: bool) -> None:
        """From the call on, it gets nothing. What it has not settled is free for others. May be called again.

        Args:
            is_lost: it goes with its connection; False if the client, or the application, wants it to end.
        """
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

    async def release(self, owner: object) -> None:
        """A connection has ended, its subscriptions before it: its temporary queues are gone. May be called again."""
        ...
