"""The time of the loop, and waiting for subscribers that take nothing at the moment: one task each, while it waits.

Knows: the clock; who waits, and what is to be done when it takes something again.
Does not know: what it is to be given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ...errors import SessionClosed
from .base import Subscriber

BURST: Final = 64
"""Messages that one subscriber, or one queue, gets before others have their turn."""


def clock() -> float:
    """Seconds, on the clock of the running loop."""
    return asyncio.get_running_loop().time()


class Pacer:
    """The subscribers of one broker that it waits for."""

    def __init__(self) -> None:
        self._tasks: dict[Subscriber, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """How many it waits for."""
        return len(self._tasks)

    def is_waiting(self, subscriber: Subscriber) -> bool:
        """Is it waiting for ``subscriber``?"""
        return subscriber in self._tasks

    def wait(self, subscriber: Subscriber, resume: Callable[[], None]) -> None:
        """Call ``resume`` as soon as ``subscriber`` takes something again, in a later turn of the loop.

        Does nothing if it waits already; never calls if the client goes, or ``forget`` comes first.
        """
        if subscriber not in self._tasks:
            self._tasks[subscriber] = asyncio.create_task(self._wait(subscriber, resume))

    def forget(self, subscriber: Subscriber) -> None:
        """It is not to be given anything any more. May be called for one that is not waited for."""
        task = self._tasks.pop(subscriber, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def close(self) -> None:
        """Wait for nobody any more."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _wait(self, subscriber: Subscriber, resume: Callable[[], None]) -> None:
        is_there = False
        try:
            await subscriber.drain()
            while not subscriber.is_ready:
                await subscriber.drain()
            is_there = True
        except SessionClosed:  # its end is told by whoever carries it
            pass
        finally:
            is_wanted = self._tasks.get(subscriber) is asyncio.current_task()
            if is_wanted:
                del self._tasks[subscriber]
        if is_there and is_wanted:
            resume()
