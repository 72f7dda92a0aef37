"""Handlers that run beside their connection: those declared concurrent, and streams.

Knows: which task belongs to which connection and subscription.
Does not know: what they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from .connection import StompConnection
from .subscription import Subscription


class Tasks:
    """The tasks of one server, each owned by a connection and ended with it."""

    def __init__(self, limit: int) -> None:
        """
        Args:
            limit: tasks of one connection.
        """
        self._limit = limit
        self._tasks: dict[StompConnection, dict[asyncio.Task[None], Subscription | None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def is_full(self, connection: StompConnection) -> bool:
        """Has ``connection`` as many as it may have?"""
        return len(self._tasks.get(connection, ())) >= self._limit

    async def wait_for_room(self, connection: StompConnection) -> None:
        """Until one of the tasks of ``connection`` has ended, if it has as many as it may have."""
        while self.is_full(connection):
            await asyncio.wait(self._tasks[connection], return_when=asyncio.FIRST_COMPLETED)

    def start(
        self, connection: StompConnection, work: Coroutine[Any, Any, None], subscription: Subscription | None = None
    ) -> None:
        """Run ``work`` until it ends, or ``connection`` does, or ``subscription``."""
        task = asyncio.create_task(work)
        self._tasks.setdefault(connection, {})[task] = subscription

        def end(task: asyncio.Task[None]) -> None:
            self._ending.discard(task)
            others = self._tasks.get(connection, {})
            others.pop(task, None)
            if not others:
                self._tasks.pop(connection, None)

        task.add_done_callback(end)

    def cancel(self, connection: StompConnection, subscription: Subscription | None = None) -> None:
        """End the tasks of ``connection``, or those of one of its subscriptions."""
        for task, owner in self._tasks.get(connection, {}).items():
            if subscription is None or owner is subscription:
                self._ending.add(task)
                task.cancel()

    async def close(self) -> None:
        """End all, and wait until they have."""
        for connection in list(self._tasks):
            self.cancel(connection)
        if self._ending:
            await asyncio.wait(set(self._ending), timeout=1.0)
