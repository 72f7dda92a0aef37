"""What a client has to say: messages that wait, and messages that have left and are not confirmed.

.. code-block:: text

    put ──> waiting ──take──> in doubt ──confirm──────────> gone
               ^               │  ^ └────answer──> gone, for a while remembered
               └───take_back───┘  └─────recall─────────────────┘
                          in doubt ──report──> gone (the application was told)

Knows: their order, their size, who waits for what.
Does not know: connections, what a message says, the clock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from ..sockjs.framing import Message

BATCH: Final = 64 * 1024
"""Bytes of messages that leave in one piece, so that they do not pass a server's ``max_message_size`` together."""

OVERHEAD: Final = 64
"""What a waiting message costs besides its own length, so that empty ones cannot fill the memory."""

MEMORY: Final = 6.0
"""Seconds that an answered message is remembered; longer than the 5 that servers keep an ended session by default."""

MEMORY_LIMIT: Final = 256 * 1024
"""Bytes of such messages."""

Letter = tuple[Message, bytes]
"""A message, and what goes on the wire for it."""


class Outbox:
    """Filled by many, emptied by one.

    Attributes:
        size: bytes that wait or are in doubt, ``OVERHEAD`` more for each message.
        is_shut: it takes no more.
    """

    def __init__(self) -> None:
        self.size = 0
        self.is_shut = False
        self._waiting: deque[Letter] = deque()
        self._in_doubt: deque[Letter] = deque()
        self._answered: deque[tuple[float, Letter]] = deque()  # (when, what)
        self._answered_size = 0
        self._put = self._gone = 0  # how many, ever; those put first are counted as if they had come before all others
        self._has_work = asyncio.Event()
        self._has_changed = asyncio.Event()
        self._flushes: deque[tuple[int, asyncio.Future[None]]] = deque()  # (what ``_gone`` has to reach, who waits)

    @property
    def waiting(self) -> tuple[Message, ...]:
        """What has not left."""
        return tuple(message for message, _ in self._waiting)

    @property
    def in_doubt(self) -> tuple[Message, ...]:
        """What has left and is not confirmed."""
        return tuple(message for message, _ in self._in_doubt)

    # Those who send.

    def put(self, message: Message, prepared: bytes) -> None:
        """Behind all others."""
        self._waiting.append((message, prepared))
        self.size += len(prepared) + OVERHEAD
        self._put += 1
        self._has_work.set()

    async def wait_for_room(self, limit: int) -> None:
        """Until ``size`` is no more than ``limit``, or it is shut."""
        while self.size > limit and not self.is_shut:
            self._has_changed.clear()
            await self._has_changed.wait()

    async def wait_for_all(self) -> None:
        """Until all is gone that was put before the call.

        Raises:
            Exception: what ``fail`` or ``shut`` was given meanwhile.
        """
        if self._gone < self._put:
            waiter = asyncio.get_running_loop().create_future()
            self._flushes.append((self._put, waiter))
            await waiter

    # The one who writes.

    async def wait_for_work(self) -> None:
        """Until something waits, or ``wake`` is called."""
        self._has_work.clear()
        if not self._waiting:
            await self._has_work.wait()

    def wake(self) -> None:
        """The one who writes has to look at something else."""
        self._has_work.set()

    def take(self) -> list[bytes]:
        """What leaves next, in its wire form: as much as fits into ``BATCH``; nothing if nothing waits."""
        waiting, batch, size = self._waiting, list[bytes](), 0
        while waiting and (not batch or size + len(waiting[0][1]) <= BATCH):
            letter = waiting.popleft()
            self._in_doubt.append(letter)
            batch.append(letter[1])
            size += len(letter[1])
        return batch

    def take_back(self, count: int) -> None:
        """The last ``count`` that were taken have not left after all."""
        for _ in range(count):
            self._waiting.appendleft(self._in_doubt.pop())
        self._has_work.set()

    def confirm(self, count: int) -> None:
        """The server has read ``count`` more."""
        for _ in range(count):
            self._let_go()
        if self._answered:
            self._forget_answered()  # what is confirmed proves what was before it
        self._tell_gone()

    def answer(self, count: int, now: float) -> None:
        """The server says that it has ``count`` more; see ``recall``."""
        for _ in range(count):
            letter = self._let_go()
            self._answered.append((now, letter))
            self._answered_size += len(letter[1]) + OVERHEAD
        while self._answered and (self._answered[0][0] < now - MEMORY or self._answered_size > MEMORY_LIMIT):
            _, (_, prepared) = self._answered.popleft()
            self._answered_size -= len(prepared) + OVERHEAD
        self._tell_gone()

    def _let_go(self) -> Letter:
        letter = self._in_doubt.popleft()
        self.size -= len(letter[1]) + OVERHEAD
        self._gone += 1
        return letter

    def _forget_answered(self) -> None:
        self._answered.clear()
        self._answered_size = 0

    def _tell_gone(self) -> None:
        while self._flushes and self._flushes[0][0] <= self._gone:
            _, waiter = self._flushes.popleft()
            if not waiter.done():  # else it was cancelled
                waiter.set_result(None)
        self._has_changed.set()

    # When a connection breaks.

    def recall(self, since: float) -> None:
        """What was answered since then is in doubt again.

        A server that has lost the connection that it sends by goes on answering the requests that bring messages,
        and throws those away.
        """
        while self._answered and self._answered[-1][0] >= since:
            _, letter = self._answered.pop()
            self._in_doubt.appendleft(letter)
            self.size += len(letter[1]) + OVERHEAD
            self._gone -= 1
        self._forget_answered()

    def fail(self, error: Callable[[], Exception]) -> None:
        """Tell those who wait for what is in doubt, if something is."""
        if self._in_doubt:
            self._fail_flushes(error)

    def report(self, first: Iterable[Letter]) -> None:
        """What was in doubt is no longer ours; ``first`` is put before all that waits."""
        self.confirm(len(self._in_doubt))
        for letter in reversed(list(first)):
            self._waiting.appendleft(letter)
            self.size += len(letter[1]) + OVERHEAD
            self._gone -= 1
        self._has_work.set()

    def refuse(self) -> None:
        """Take no more; what waits may still leave."""
        self.is_shut = True
        self._has_changed.set()

    def shut(self, error: Callable[[], Exception]) -> None:
        """Nothing leaves any more: everybody who waits is told."""
        self.refuse()
        self._fail_flushes(error)

    def _fail_flushes(self, error: Callable[[], Exception]) -> None:
        for _, waiter in self._flushes:
            if not waiter.done():
                waiter.set_exception(error())
        self._flushes.clear()
