"""Runs a coroutine here and now, up to where it first waits; the rest goes on in a task.

A handler's call seldom waits. A task of its own for each, with the turn of the loop that it takes to start, would
cost as much as everything else that a message needs (``bench.compare``, ws-echo). So an idle task lends its name:
while the first step runs, ``asyncio.current_task()`` is that task, as time-outs and task groups need it. A coroutine
that waits keeps the task, which then drives it to its end; one that does not gives it back, unless somebody has kept
a reference to it. So whoever holds on to the current task of a call holds the task of that call alone.

Knows: tasks, contexts.
Does not know: what it runs.
Spec: Python's asyncio, "Extending", Task lifetime support.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from contextvars import Context
from sys import getrefcount
from typing import Any, Final
from weakref import getweakrefcount

_enter_task, _leave_task = asyncio._enter_task, asyncio._leave_task

ENDED: Final = object()
"""What a step of a coroutine gives that has ended, where one that waits gives what it waits for."""

IDLE: Final = "sockbridge idle"
"""Name of the task that waits for the next call that waits."""


class Runner:
    """Runs coroutines for one owner, in the loop that it is first used in.

    Attributes:
        tasks: those in which a coroutine goes on at the moment.
    """

    __slots__ = ("_idle", "tasks")

    def __init__(self) -> None:
        self._idle: list[_Seat] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def run(self, coroutine: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None] | None:
        """Run ``coroutine`` in ``context`` until it waits for something. Not within a task: see ``run_inside``.

        Returns:
            the task in which it goes on, or None if it has ended.

        Raises:
            BaseException: what it raised before it waited.
        """
        idle = self._idle
        seat = idle.pop() if idle else _Seat(asyncio.get_running_loop())
        loop, task = seat.loop, seat.task
        if task.cancelling() or task.done():  # by a call that had it before
            return self.run(coroutine, context)
        references, watchers = getrefcount(task), getweakrefcount(task)
        _enter_task(loop, task)
        try:
            awaited = context.run(seat.step, coroutine)
        except BaseException:
            seat.renew()
            idle.append(seat)
            raise
        finally:
            _leave_task(loop, task)
        if awaited is ENDED:
            if getrefcount(task) == references and getweakrefcount(task) == watchers:
                idle.append(seat)
            else:  # somebody holds on to the task of this call: it must not become another's
                task.cancel()
            return None
        seat.keep(context, awaited)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def run_inside(self, coroutine: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None] | None:
        """``run``, wherever we are called: a task that runs makes room meanwhile."""
        loop = asyncio.get_running_loop()
        outer = asyncio.current_task(loop)
        if outer is None:
            return self.run(coroutine, context)
        _leave_task(loop, outer)
        try:
            return self.run(coroutine, context)
        finally:
            _enter_task(loop, outer)

    def run_soon(self, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        """``run``, never within the call but in the next turn of the loop."""
        asyncio.get_running_loop().call_soon(self.run, coroutine, context)

    def close(self) -> list[asyncio.Task[None]]:
        """Cancel the idle tasks and those in which something goes on; returns them, to be awaited."""
        tasks = [*self.tasks, *(seat.task for seat in self._idle)]
        self._idle.clear()
        for task in tasks:
            task.cancel()
        return tasks


@types.coroutine
def _steps() -> Generator[Any, Any, None]:
    # Drives one coroutine after the other, each of which is sent to it; gives ENDED behind each. So a coroutine that
    # ends needs no StopIteration, which would cost as much as the step.
    coroutine = yield ENDED
    while True:
        yield from coroutine
        coroutine = yield ENDED


@types.coroutine
def _begin() -> Generator[None, None, None]:
    yield


class _Seat:
    """A task that waits for a coroutine that has begun, and drives it to its end.

    Attributes:
        step: runs a coroutine that it is given until that waits, or has ended.
    """

    __slots__ = ("_awaited", "_context", "_steps", "_waiter", "loop", "step", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._context: Context | None = None
        self._awaited: Any = None
        self._waiter: asyncio.Future[None] = loop.create_future()
        self.renew()
        sitting = self._sit()
        sitting.send(None)  # into its try: a cancellation before the task has begun must reach the coroutine
        # An empty context: what one call has set must not be seen, or kept alive, by another.
        self.task = loop.create_task(sitting, name=IDLE, context=Context())

    def renew(self) -> None:
        """A coroutine has raised something, which ended the steps."""
        self._steps = _steps()
        self.step = self._steps.send
        self.step(None)

    def keep(self, context: Context, awaited: Any) -> None:
        """The coroutine waits for ``awaited``, which its last step gave; ``task`` goes on with it."""
        self._context, self._awaited = context, awaited
        self.task.set_name("sockbridge call")
        if not self._waiter.done():  # it is cancelled if the task is: then the coroutine has to hear of that
            self._waiter.set_result(None)

    async def _sit(self) -> None:
        try:
            await _begin()
            await self._waiter
        except asyncio.CancelledError as cancelled:
            if self._context is None:
                raise
            # Else it was taken back, maybe by a call before this one.
            await self._drive(self._context, cancelled if self.task.cancelling() else None)
        else:
            assert self._context is not None
            await self._drive(self._context, None)

    @types.coroutine
    def _drive(self, context: Context, error: BaseException | None) -> Generator[Any, Any, None]:
        # What ``await`` does, but in the context of the call, and from its second step on.
        awaited, self._awaited = self._awaited, None
        if error is not None and awaited is not None and awaited.cancel():
            error = None  # as Task.cancel does it: who waits is told by what it waits for
        while awaited is not ENDED:
            if error is None:
                try:
                    yield awaited
                except BaseException as raised:
                    error = raised
            if error is None:
                awaited = context.run(self.step, None)
            else:
                fault, error = error, None
                awaited = context.run(self._steps.throw, fault)
