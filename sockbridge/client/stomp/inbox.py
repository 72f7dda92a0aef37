"""How much waits for the application, and whether more is read.

A subscription that nobody empties must not grow without bound, and nothing may be lost: so reading stops, and the
server learns by TCP that we are slow. But RECEIPTs come behind the messages. Where a call waits for the server, reading
goes on up to ``READ_ON`` times the limit; otherwise an application that sends from the loop in which it takes
messages would wait for itself.

Knows: bytes.
Does not know: whose, what comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

READ_ON: Final = 4

OVERHEAD: Final = 500
"""What a waiting message costs besides head and body, so that empty ones cannot fill the memory."""


class Inbox:
    """What waits in all subscriptions of one client.

    Attributes:
        size: bytes that wait.
        limit: above it reading stops.
    """

    __slots__ = ("_changed", "_waiting", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._waiting = 0
        self._changed = asyncio.Event()

    @property
    def has_room(self) -> bool:
        """More may be read."""
        return self.size <= (self.limit * READ_ON if self._waiting else self.limit)

    def add(self, size: int) -> None:
        """A message of ``size`` bytes waits."""
        self.size += size

    def remove(self, size: int) -> None:
        """It does not any more."""
        self.size -= size
        self._changed.set()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a call that waits for something that the server says."""
        self._waiting += 1
        self._changed.set()
        try:
            yield
        finally:
            self._waiting -= 1

    async def room(self) -> None:
        """Wait until ``has_room``."""
        while not self.has_room:
            self._changed.clear()
            await self._changed.wait()
