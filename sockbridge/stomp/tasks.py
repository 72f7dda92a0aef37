"""Handlers that run beside their connection: concurrent calls, and streams.

A call is never cancelled because its client goes: it ends by itself, or with the server. A stream is: nobody is left
to read it.

Knows: which task belongs to which connection and subscription.
Does not know: what they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from .connection import StompConnection
from .subscription import Subscription

PATIENCE: Final = 1.0
"""Seconds that cancelled tasks may take to end when the server stops."""

Work = Coroutine[Any, Any, None]


FAILURES: Final = (Exception, asyncio.CancelledError)
"""What a call of the application can end with; see ``is_being_cancelled``."""


def is_over(connection: StompConnection, subscription: Subscription | None) -> bool:
    """Has the one ended, or the other?"""
    if subscription is not None and connection.subscriptions.get(subscription.key) is not subscription:
        return True
    return connection.has_ended


async def give_way() -> None:
    """Let others have their turn."""
    await asyncio.sleep(0)


def is_being_cancelled() -> bool:
    """Is the running task itself to end? Otherwise a ``CancelledError`` comes from something that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Tasks:
    """The tasks of one server."""

    def __init__(self, limit: int) -> None:
        """
        Args:
            limit: calls of one connection; and streams, the same number.
        """
        self._limit = limit
        self._calls: dict[StompConnection, set[asyncio.Task[None]]] = {}
        self._streams: dict[StompConnection, dict[asyncio.Task[None], Subscription | None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many run."""
        return sum(map(len, self._calls.values())) + sum(map(len, self._streams.values())) + len(self._ending)

    # Calls.

    def start_call(self, connection: StompConnection, work: Work) -> None:
        """Run ``work`` until it ends; not at all if ``connection`` has ended meanwhile."""
        if connection.has_ended:
            work.close()
            return
        task = asyncio.create_task(work)
        self._calls.setdefault(connection, set()).add(task)

        def end(task: asyncio.Task[None]) -> None:
            self._calls[connection].discard(task)
            if not self._calls[connection]:
                del self._calls[connection]

        task.add_done_callback(end)

    async def wait_for_room(self, connection: StompConnection) -> None:
        """Until one of the calls of ``connection`` has ended, if it has as many as it may have."""
        while len(self._calls.get(connection, ())) >= self._limit:
            await asyncio.wait(self._calls[connection], return_when=asyncio.FIRST_COMPLETED)

    async def wait_for_calls(self, connection: StompConnection, seconds: float) -> None:
        """Until all calls of ``connection`` have ended, at most so long."""
        if connection in self._calls:
            await asyncio.wait(self._calls[connection], timeout=seconds)

    # Streams.

    def has_room(self, connection: StompConnection) -> bool:
        """May ``connection`` have one more stream?"""
        return len(self._streams.get(connection, ())) < self._limit

    def start_stream(self, connection: StompConnection, work: Work, subscription: Subscription | None) -> bool:
        """Run ``work`` until it ends, or ``connection`` does, or ``subscription``.

        Returns:
            False if one of these has ended meanwhile, so that ``work`` was not begun.
        """
        if is_over(connection, subscription):
            work.close()
            return False
        task = asyncio.create_task(work)
        self._streams.setdefault(connection, {})[task] = subscription

        def end(task: asyncio.Task[None]) -> None:
            self._ending.discard(task)
            others = self._streams.get(connection, {})
            others.pop(task, None)
            if not others:
                self._streams.pop(connection, None)

        task.add_done_callback(end)
        return True

    def cancel_streams(self, connection: StompConnection, subscription: Subscription | None = None) -> None:
        """End the streams of ``connection``, or those of one of its subscriptions.

        One that calls this itself is not cancelled in the middle of it: it finds out with its next value.
        """
        streams = self._streams.get(connection, {})
        for task, owner in list(streams.items()):
            if task is asyncio.current_task():
                continue
            if subscription is None or owner is subscription:
                del streams[task]
                self._ending.add(task)
                task.cancel()

    async def close(self) -> None:
        """End everything, and wait until it has ended, for a second at most."""
        for connection in list(self._streams):
            self.cancel_streams(connection)
        calls = [task for tasks in self._calls.values() for task in tasks]
        for task in calls:
            task.cancel()
        tasks = [*calls, *self._ending]
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE)
