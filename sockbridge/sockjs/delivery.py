"""The inbound half of one session: its handler is called one call at a time, in order of arrival.

An idle session runs ``on_message`` at once, within the call that brought the message: no queue, no task switch
(``runner.py``). While a call runs, what arrives waits in line, up to ``receive_buffer_limit``; the task that runs the
handler then empties the line. The end of the session waits in the same line, so ``on_closed`` is the last call.

All calls of a session see one context (``contextvars``): a copy of the one in which it was opened.

Knows: the handler, the line, which task runs the handler; the one place that contains handlers' errors.
Does not know: transports, HTTP, which sessions there are.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import copy_context
from typing import Any, Final

from ..errors import RemoteError, SessionClosed
from .framing import Close, CloseCode, Message
from .handler import SessionHandler
from .runner import Runner
from .session import Session

logger = logging.getLogger("sockbridge.sockjs")

MESSAGE_OVERHEAD: Final = 64
"""What a waiting message costs besides its own length, so that empty ones cannot fill the memory."""

NOTHING: Final[Iterator[Message]] = iter(())


def weight(message: Message) -> int:
    """What ``message`` counts against ``receive_buffer_limit``."""
    return len(message) + MESSAGE_OVERHEAD


class Delivery:
    """Calls the handler of one session.

    Attributes:
        is_told: the handler's ``on_closed`` has been called, or will never be.
        unheard: messages from the client that were dropped: this side had ended the session, or a call before them
            failed or went on for too long.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_end",
        "_gate",
        "_handler",
        "_is_busy",
        "_is_deaf",
        "_is_ending",
        "_limit",
        "_line",
        "_line_size",
        "_on_room",
        "_on_told",
        "_rest",
        "_room",
        "_runner",
        "_session",
        "_task",
        "_waiting",
        "_was_connected",
        "is_told",
        "unheard",
    )

    def __init__(
        self,
        session: Session,
        handler: SessionHandler,
        limit: int,
        runner: Runner,
        on_told: Callable[[Session], None] | None = None,
    ) -> None:
        """
        Args:
            limit: ``receive_buffer_limit``.
            on_told: called when ``on_closed`` has returned.
        """
        self._session = session
        self._handler = handler
        self._limit = limit
        self._runner = runner
        self._on_told = on_told
        self._context = copy_context()
        self._is_busy = False
        self._is_deaf = False  # the application has closed: what still comes in is dropped
        self._is_ending = False  # nothing runs, and the handler is about to be told the end
        self._was_connected = False
        self._end: tuple[Close, RemoteError | None] | None = None
        self._line: deque[Message] | None = None
        self._rest = NOTHING  # what was brought together with the message that is being handled
        self._line_size = 0
        self._gate: asyncio.Lock | None = None
        self._room: asyncio.Event | None = None
        self._on_room: Callable[[], None] | None = None
        self._waiting = 0
        self._task: asyncio.Task[Any] | None = None
        self.is_told = False
        self.unheard = 0

    def open(self) -> None:
        """Call ``on_connected``; what comes in meanwhile waits for it."""
        self._is_busy = self._was_connected = True
        self._task = self._runner.run_inside(self._open(), self._context)

    def deliver(self, messages: Sequence[Message]) -> bool:
        """Call ``on_message`` for each, here and now; behind a call that runs, put them in line instead.

        Not within a task: see ``accept``.

        Returns:
            False if the line is too long now; see ``has_room``.
        """
        if self._is_busy:
            self._enqueue(messages)
            return self._line_size <= self._limit
        self._is_busy = True
        runner = self._runner.run(self._call(messages), self._context)
        return runner is None or self._wait_behind(runner)

    async def accept(self, messages: Sequence[Message]) -> None:
        """The same for a request: wait while the line is too long, in order of arrival."""
        if self._line_size > self._limit or self._waiting:
            await self._wait_for_room(messages)
        else:
            self._deliver_inside(messages)

    def _deliver_inside(self, messages: Sequence[Message]) -> None:
        if self._is_busy:
            self._enqueue(messages)
            return
        self._is_busy = True
        runner = self._runner.run_inside(self._call(messages), self._context)
        if runner is not None:
            self._wait_behind(runner)

    def _wait_behind(self, runner: asyncio.Task[None]) -> bool:
        # The call waits for something: what came with its message stands in line from now on, and is weighed.
        self._task = runner
        self._enqueue(list(self._rest))
        return self._line_size <= self._limit

    def has_room(self, on_room: Callable[[], None]) -> bool:
        """True unless the line is too long; then ``on_room`` is called once, when there is room again."""
        if self._line_size <= self._limit:
            return True
        self._on_room = on_room
        return False

    def finish(self, close: Close, error: RemoteError | None, *, is_deaf: bool) -> None:
        """The session has ended: tell the handler once what is in line has been delivered.

        Args:
            close: for ``on_closed``.
            error: for ``on_transport_error``, which comes before it; None if there was none.
            is_deaf: drop what is in line, because the application itself has closed.
        """
        self._end = (close, error)
        if is_deaf:
            self._is_deaf = True
            self._drop_line()
        if not self._is_busy:
            self._is_busy = self._is_ending = True
            self._task = None
            self._runner.run_soon(self._settle(), self._context)

    def is_idle(self) -> bool:
        """True if no call runs and none waits."""
        return not self._is_busy

    def overrule(self) -> None:
        """A call has run for too long after the end of the session: tell the end beside it."""
        if not self.is_told and not self._is_ending and self._end is not None:
            self._is_deaf = True
            self._drop_line()
            self._runner.run_soon(self._tell_end(), self._context)

    def cancel(self) -> None:
        """The server stops and has no more time for the call that runs."""
        if self._is_busy and self._task is not None:
            self._task.cancel()

    async def _call(self, messages: Sequence[Message]) -> None:
        session, on_message = self._session, self._handler.on_message
        self._rest = rest = iter(messages)
        try:
            for message in rest:
                if self._is_deaf:
                    self.unheard += 1
                else:
                    await on_message(session, message)
        except (Exception, asyncio.CancelledError) as error:
            self._fail("on_message", error)
        finally:
            self._is_busy = False
        if self._line or self._end is not None:
            await self._settle()

    async def _open(self) -> None:
        try:
            await self._handler.on_connected(self._session)
        except (Exception, asyncio.CancelledError) as error:
            self._fail("on_connected", error)
        finally:
            self._is_busy = False
        if self._line or self._end is not None:
            await self._settle()

    def _enqueue(self, messages: Sequence[Message]) -> None:
        if self._is_deaf:
            self.unheard += len(messages)
            return
        if self._line is None:
            self._line = deque()
        self._line.extend(messages)
        self._line_size += sum(map(weight, messages))

    async def _wait_for_room(self, messages: Sequence[Message]) -> None:
        if self._gate is None or self._room is None:
            self._gate, self._room = asyncio.Lock(), asyncio.Event()
        self._waiting += 1
        try:
            async with self._gate:  # first come, first served
                while self._line_size > self._limit:
                    self._room.clear()
                    await self._room.wait()
                self._deliver_inside(messages)
        finally:
            self._waiting -= 1

    async def _settle(self) -> None:
        # Empties the line; then, if the session has ended, tells the handler.
        self._is_busy = True
        self._task = asyncio.current_task()
        try:
            await self._empty_line()
            if self._end is not None:
                await self._tell_end()
        finally:
            self._is_busy = False
            self._task = None  # the runner sees who holds on to its task
        if self.is_told and self._on_told is not None:
            self._on_told(self._session)

    async def _empty_line(self) -> None:
        try:
            while self._line:
                message = self._line.popleft()
                self._line_size -= weight(message)
                if self._line_size <= self._limit:
                    self._tell_room()
                await self._handler.on_message(self._session, message)
        except (Exception, asyncio.CancelledError) as error:
            self._fail("on_message", error)

    async def _tell_end(self) -> None:
        if self.is_told or self._end is None:
            return
        self.is_told = True
        self._is_deaf = True  # nothing comes after the end
        self._drop_line()
        if not self._was_connected:
            return
        close, error = self._end
        if error is not None:
            await self._contain(self._handler.on_transport_error, error)
        await self._contain(self._handler.on_closed, close)

    async def _contain(self, call: Callable[[Session, Any], Awaitable[None]], value: object) -> None:
        try:
            await call(self._session, value)
        except (Exception, asyncio.CancelledError) as error:
            self._report(getattr(call, "__name__", "a callback"), error)

    def _fail(self, name: str, error: BaseException) -> None:
        if not isinstance(error, SessionClosed) or self._session.is_open:  # else it is how a loop around drain() ends
            self._report(name, error)
        self._is_deaf = True
        self._drop_line()
        self._session.close(CloseCode.INTERNAL_ERROR, "Internal error")

    def _report(self, name: str, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                return  # somebody ends this call, whose task is ours; otherwise the handler awaited something that was
        logger.error("session %s: the handler failed in %s", self._session.id, name, exc_info=error)

    def _drop_line(self) -> None:
        self.unheard += sum(1 for _ in self._rest)
        if self._line:
            self.unheard += len(self._line)
            self._line.clear()
        self._line_size = 0
        self._tell_room()

    def _tell_room(self) -> None:
        if self._room is not None:
            self._room.set()
        on_room, self._on_room = self._on_room, None
        if on_room is not None:
            on_room()
