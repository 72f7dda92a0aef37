"""What one client has been sent and has not acknowledged.

Numbers only: whoever must be able to send a message again keeps it. There is one limit for all subscriptions of a
connection; beyond it the oldest counts as acknowledged, so a client that never does costs no memory.

Knows: subscriptions that acknowledge, numbers of messages.
Does not know: messages, what an ACK leads to.
Spec: STOMP 1.2, "ACK", "NACK"; docs/stomp-conformance.md, section 3.
"""

from __future__ import annotations

from collections import OrderedDict

from ..errors import BadFrame
from .frame import AckMode
from .subscription import Subscription


class Unsettled:
    """The messages of one connection that wait for an ACK or NACK, the oldest first."""

    __slots__ = ("_forgotten", "_limit", "_subscriptions", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._subscriptions: dict[int, Subscription] = {}
        self._waiting: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def watch(self, subscription: Subscription) -> None:
        """What ``subscription`` gets is to be acknowledged."""
        self._subscriptions[subscription.ordinal] = subscription

    def add(self, ordinal: int, serial: int) -> None:
        """Message ``serial`` was sent for the subscription ``ordinal``."""
        self._waiting[ordinal, serial] = None
        if len(self._waiting) > self._limit:
            (_, oldest), _ = self._waiting.popitem(last=False)
            self._forgotten = max(self._forgotten, oldest)

    def check(self, ordinal: int, serial: int) -> None:
        """Could ``settle`` do it now?

        Raises:
            BadFrame: see there.
        """
        is_forgotten = 0 < serial <= self._forgotten
        if ordinal in self._subscriptions and (ordinal, serial) not in self._waiting and not is_forgotten:
            raise BadFrame("ACK or NACK of a message that waits for none", f"{ordinal}-{serial}")

    def settle(self, ordinal: int, serial: int) -> tuple[Subscription, list[int]] | None:
        """What an ACK or NACK of message ``serial`` is about.

        Returns:
            the subscription, and serials, the oldest first: one, or (mode ``client``) all up to it, or none if it was
            forgotten. None if the subscription has ended, or acknowledges by itself.

        Raises:
            BadFrame: it was never sent, or is settled already.
        """
        subscription = self._subscriptions.get(ordinal)
        if subscription is None:
            return None
        self.check(ordinal, serial)
        if (ordinal, serial) not in self._waiting:
            return subscription, []
        settled = [serial]
        if subscription.ack is AckMode.CLIENT:
            sent = [number for owner, number in self._waiting if owner == ordinal]
            settled = sent[: sent.index(serial) + 1]
        for number in settled:
            del self._waiting[ordinal, number]
        return subscription, settled

    def forget(self, subscription: Subscription) -> None:
        """``subscription`` has ended. Does nothing if it was not watched."""
        if self._subscriptions.pop(subscription.ordinal, None) is not None:
            for key in [key for key in self._waiting if key[0] == subscription.ordinal]:
                del self._waiting[key]
