"""What holding a message costs, and the one limit for all that a broker holds.

Knows: sizes.
Does not know: who holds what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...errors import QueueFull
from ..codec import PreparedMessage

OVERHEAD: Final = 500
"""Bytes that a message costs besides what it says: objects, containers, the place in a queue (bench.backlog)."""


def size_of(message: PreparedMessage) -> int:
    """Bytes that holding ``message`` costs, about: what it says, and ``OVERHEAD``. Characters of headers count as one
    each. What it was worded as for subscribers is not in it."""
    headers = message.headers
    text = len(message.destination) + sum(map(len, headers)) + sum(map(len, headers.values()))
    return OVERHEAD + text + len(message.body)


class Budget:
    """Bytes that may be held, by many together.

    Attributes:
        limit: how many.
        held: how many are.
        give_way: forgets so many bytes, if it can, of what can best be done without; None if nothing can.
    """

    __slots__ = ("_whole", "give_way", "held", "limit")

    def __init__(self, limit: int, whole: Budget | None = None) -> None:
        """
        Args:
            whole: that this one is a part of: what is held here is held there as well.
        """
        self.limit = limit
        self.held = 0
        self.give_way: Callable[[int], None] | None = None
        self._whole = whole

    def has_room(self, size: int) -> bool:
        """May ``size`` more be held? What can be done without is forgotten for it."""
        missing = self.held + size - self.limit
        if missing > 0 and self.give_way is not None:
            self.give_way(missing)
            missing = self.held + size - self.limit
        return missing <= 0 and (self._whole is None or self._whole.has_room(size))

    def take(self, size: int) -> None:
        """So many more are held; ``has_room`` was asked before."""
        self.held += size
        if self._whole is not None:
            self._whole.take(size)

    def give_back(self, size: int) -> None:
        """So many are held no more."""
        self.held -= size
        if self._whole is not None:
            self._whole.give_back(size)

    def is_full(self) -> QueueFull:
        """The error that says so."""
        return QueueFull(f"the broker may hold max_size ({self.limit}) bytes")
