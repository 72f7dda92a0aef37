"""A handler around the handler that is tested: it remembers what that one raised, and when its calls are over.

The engine contains the errors of handlers and logs them. In a test they are to be seen, so they are written down on
their way.

Knows: the calls of a handler, which of them run.
Does not know: clients, what a test makes of an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from ..errors import RemoteError, SessionClosed
from ..sockjs.framing import Close, Message
from ..sockjs.handler import CoroutineHandler, HandlerFactory, HandlerSource, SessionHandler
from ..sockjs.session import Session


class Watch:
    """One session's calls. ``with watch.call(name)`` around each.

    Attributes:
        handler: the tested one.
        errors: what the handler raised and nobody was told of yet, oldest first.
        running: names of the calls that have begun and not ended.
        tasks: those in which they run, one for each.
        handled: messages that the handler was given, and whose call has ended.
        close: what ``on_closed`` was given, once that has ended; None before.
        changed: set whenever something of that changes.
        session: whose calls they are; None of the endpoint's own.
    """

    def __init__(self, handler: SessionHandler) -> None:
        self.handler = handler
        self.errors: list[BaseException] = []
        self.running: list[str] = []
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.handled = 0
        self.close: Close | None = None
        self.changed = asyncio.Event()
        self.session: Session | None = None

    @property
    def is_over(self) -> bool:
        """No call runs, and none will come."""
        return self.close is not None and not self.running

    def take_errors(self) -> list[BaseException]:
        """``errors``, of which somebody is told now."""
        errors, self.errors = self.errors, []
        return errors

    def call(self, name: str) -> Call:
        """The handler's ``name`` runs inside: enter it around."""
        return Call(self, name)

    def judge(self, name: str, error: BaseException | None, *, is_cancelled: bool) -> None:
        """The call ``name`` has ended, with ``error`` or without; keep what a test is to be told of it.

        Args:
            is_cancelled: somebody cancelled it; nobody does but a server that stops.
        """
        if isinstance(error, GeneratorExit):  # by ``end_all``
            return
        if error is not None and not (is_cancelled and isinstance(error, asyncio.CancelledError)):
            if not self._is_own_end(error):
                self.errors.append(error)
        elif is_cancelled and not isinstance(self.handler, CoroutineHandler):
            fault = AssertionError(f"the handler's {name} did not end within shutdown_grace ({self.session})")
            fault.__cause__ = error  # it shows where the call waited
            self.errors.append(fault)

    def _is_own_end(self, error: BaseException) -> bool:
        # How a loop around ``drain`` ends. That of another session is a fault.
        close = None if self.session is None else self.session.close_info
        if close is None or not isinstance(error, SessionClosed):
            return False
        return (error.code, error.reason) == (close.code, close.reason)


class Call:
    """One call of the handler, while it runs."""

    def __init__(self, watch: Watch, name: str) -> None:
        self._watch = watch
        self._name = name
        self._task: asyncio.Task[Any] | None = None
        self._cancelled_before = 0  # an earlier call in the same task

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._watch.running.append(self._name)
        self._watch.tasks.append(self._task)
        self._cancelled_before = _cancellations()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        watch = self._watch
        watch.running.remove(self._name)
        watch.tasks.remove(self._task)
        watch.judge(self._name, error, is_cancelled=_cancellations() > self._cancelled_before)
        watch.changed.set()


def _end(task: asyncio.Task[Any]) -> None:
    coroutine = task.get_coro()
    with suppress(Exception):  # it may do what it likes, once
        if coroutine is not None:
            coroutine.close()
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # it is known
    task.cancel()  # wakes it up: its coroutine has ended


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


class WatchedHandler(SessionHandler):
    """Calls the tested handler, whichever of its three forms it has."""

    def __init__(self, source: HandlerSource) -> None:
        """
        Raises:
            UsageError: ``source`` is no handler.
        """
        self._factory = HandlerFactory(source)
        self._watches: dict[Session, Watch] = {}
        self._failed: list[Watch] = []
        self._functions: dict[str, Session] = {}  # by name of the task in which a coroutine function runs
        self._end = Watch(self)  # of the endpoint itself
        self.subprotocols = self._factory.subprotocols

    def make(self) -> Watch:
        """The watch for one more session. Raises what the handler's class raises."""
        return Watch(self._factory.make())

    def put(self, session: Session, watch: Watch) -> None:
        """``watch`` is that of ``session``."""
        watch.session = session
        self._watches[session] = watch
        if isinstance(watch.handler, CoroutineHandler):
            self._functions[f"sockbridge session {session.id}"] = session

    def take_errors(self) -> list[BaseException]:
        """What the handler raised in any session and nobody was told of; told now."""
        watches = [*self._failed, *self._watches.values(), self._end]
        self._failed.clear()
        return [error for watch in watches for error in watch.take_errors()]

    def unended(self) -> list[BaseException]:
        """To be asked when the server has stopped: an error for each call that still runs."""
        running = [(f"handler's {name}", session) for session, watch in self._watches.items() for name in watch.running]
        running += [("coroutine function", self._functions[task.get_name()]) for task in self._function_tasks()]
        return [
            AssertionError(f"the {what} goes on although it was cancelled ({session})") for what, session in running
        ]

    def end_all(self) -> None:
        """Put an end to the calls that still run, and to the coroutine functions. One that swallows its cancellation
        would else keep the loop from closing, which waits for all tasks."""
        tasks = [task for watch in self._watches.values() for task in watch.tasks if task is not None]
        for task in [*tasks, *self._function_tasks()]:
            if task is not asyncio.current_task():
                _end(task)

    def _function_tasks(self) -> list[asyncio.Task[Any]]:
        return [task for task in asyncio.all_tasks() if task.get_name() in self._functions] if self._functions else []

    async def on_start(self) -> None:
        """As ``SessionHandler.on_start``."""
        if self._factory.shared is not None:
            await self._factory.shared.on_start()

    async def on_stop(self) -> None:
        """As ``SessionHandler.on_stop``."""
        if self._factory.shared is not None:
            with self._end.call("on_stop"):
                await self._factory.shared.on_stop()

    async def on_connected(self, session: Session) -> None:
        """As ``SessionHandler.on_connected``."""
        with self._call(session, "on_connected") as watch:
            await watch.handler.on_connected(session)

    async def on_message(self, session: Session, message: Message) -> None:
        """As ``SessionHandler.on_message``."""
        with self._call(session, "on_message") as watch:
            try:
                await watch.handler.on_message(session, message)
            finally:
                watch.handled += 1

    async def on_transport_error(self, session: Session, error: RemoteError) -> None:
        """As ``SessionHandler.on_transport_error``."""
        with self._call(session, "on_transport_error") as watch:
            await watch.handler.on_transport_error(session, error)

    async def on_closed(self, session: Session, close: Close) -> None:
        """As ``SessionHandler.on_closed``."""
        with self._call(session, "on_closed") as watch:
            try:
                await watch.handler.on_closed(session, close)
            finally:
                watch.close = close

    @contextmanager
    def _call(self, session: Session, name: str) -> Iterator[Watch]:
        watch = self._watches[session]
        try:
            with watch.call(name):
                yield watch
        finally:
            if watch.is_over:  # a call that was told to be late may end after on_closed
                del self._watches[session]
                if watch.errors:
                    self._failed.append(watch)
