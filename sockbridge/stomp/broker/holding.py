"""What holding a message costs, and the one limit for all that a broker holds.

Knows: sizes.
Does not know: who holds what.
"""

from __future__ import annotations

from ...errors import QueueFull
from ..codec import PreparedMessage


def size_of(message: PreparedMessage) -> int:
    """Bytes of the body and the headers of ``message``; characters of headers count as one each."""
    headers = message.headers
    return len(message.body) + len(message.destination) + sum(map(len, headers)) + sum(map(len, headers.values()))


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
