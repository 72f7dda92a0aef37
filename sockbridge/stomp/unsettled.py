"""What one client has been sent and has not acknowledged.

Numbers only: whoever must be able to send a message again keeps it, and has *lent* it; such a message waits for its
ACK however long that takes, and whoever keeps it limits how many there are. Of all others there is one limit for all
subscriptions of a connection; beyond it the oldest counts as acknowledged, so a client that never does costs no memory.

Knows: subscriptions that acknowledge, numbers of messages.
Does not know: messages, what an ACK leads to.
Spec: STOMP 1.2, "ACK", "NACK"; docs/stomp-conformance.md, section 3.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable

from ..errors import BadFrame
from .frame import AckMode
from .subscription import Subscription


class Unsettled:
    """The messages of one connection that wait for an ACK or NACK, the oldest first."""

    __slots__ = ("_forgotten", "_lent", "_limit", "_subscriptions", "_waiting")

    def __init__(self, limit: int) -> None:
        """
        Args:
            limit: messages that are not lent.
        """
        self._limit = limit
        self._subscriptions: dict[int, Subscription] = {}
        self._waiting: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._lent: dict[int, dict[int, None]] = {}  # ordinal -> serials
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._waiting) + sum(map(len, self._lent.values()))

    def watch(self, subscription: Subscription) -> None:
        """What ``subscription`` gets is to be acknowledged."""
        self._subscriptions[subscription.ordinal] = subscription

    def add(self, ordinal: int, serial: int, *, is_lent: bool) -> None:
        """Message ``serial`` was sent for the subscription ``ordinal``."""
        if is_lent:
            self._lent.setdefault(ordinal, {})[serial] = None
            return
        self._waiting[ordinal, serial] = None
        if len(self._waiting) > self._limit:
            (_, oldest), _ = self._waiting.popitem(last=False)
            self._forgotten = max(self._forgotten, oldest)

    def id_of(self, ordinal: int) -> str | None:
        """The id of that subscription; None if it has ended, or has none."""
        subscription = self._subscriptions.get(ordinal)
        return None if subscription is None else subscription.id

    def check(self, messages: Iterable[tuple[int, int]]) -> None:
        """Could ``settle`` do these now, one after the other?

        Args:
            messages: ordinal and serial of each.

        Raises:
            BadFrame: see there.
        """
        settled: set[tuple[int, int]] = set()
        for ordinal, serial in messages:
            subscription = self._subscriptions.get(ordinal)
            if subscription is not None:
                if (ordinal, serial) in settled:
                    raise _unknown(ordinal, serial)
                settled.update((ordinal, covered) for covered in self._covered(subscription, serial))

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
        settled = self._covered(subscription, serial)
        lent = self._lent.get(ordinal, {})
        for number in settled:
            if number in lent:
                del lent[number]
            else:
                del self._waiting[ordinal, number]
        return subscription, settled

    def forget(self, subscription: Subscription) -> None:
        """``subscription`` has ended. Does nothing if it was not watched."""
        if self._subscriptions.pop(subscription.ordinal, None) is not None:
            self._lent.pop(subscription.ordinal, None)
            for key in [key for key in self._waiting if key[0] == subscription.ordinal]:
                del self._waiting[key]

    def _covered(self, subscription: Subscription, serial: int) -> list[int]:
        ordinal = subscription.ordinal
        lent = self._lent.get(ordinal, {})
        if serial not in lent and (ordinal, serial) not in self._waiting:
            if 0 < serial <= self._forgotten and ordinal not in self._lent:
                return []
            raise _unknown(ordinal, serial)
        if subscription.ack is not AckMode.CLIENT:
            return [serial]
        sent: Iterable[int] = lent
        if serial not in lent:
            sent = (number for owner, number in self._waiting if owner == ordinal)
        return [*itertools.takewhile(lambda number: number != serial, sent), serial]


def _unknown(ordinal: int, serial: int) -> BadFrame:
    return BadFrame("ACK or NACK of a message that waits for none", f"{ordinal}-{serial}")
