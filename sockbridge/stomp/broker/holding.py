"""What holding a message costs, and the one limit for all that a broker holds.

Knows: sizes.
Does not know: who holds what.
"""

from __future__ import annotations

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
    """Bytes that may be held, by all queues and histories of one broker together.

    Attributes:
        limit: how many.
        held: how many are.
    """

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def has_room(self, size: int) -> bool:
        """May ``size`` more be held?"""
        return self.held + size <= self.limit

    def is_full(self) -> QueueFull:
        """The error that says so."""
        return QueueFull(f"the broker may hold max_size ({self.limit}) bytes")
