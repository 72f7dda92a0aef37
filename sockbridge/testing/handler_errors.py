"""What handlers raise, told to the test: the engine contains it, and a test is to fail by it.

In a served application we see of an endpoint what everybody sees: the log. Whose entry it is tells the context: a
server is started in one of its own, which all that happens for its connections inherits.

Knows: the engine's log, contexts, who is told of an error.
Does not know: servers, sessions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Self

from .loop import Guard

ENGINE: Final = logging.getLogger("sockbridge.sockjs")
"""Where the engine says which handler has failed."""

_inside: ContextVar[ErrorLog | None] = ContextVar("sockbridge.testing", default=None)


class ErrorLog(logging.Handler):
    """The errors of the handlers of one server, oldest first. At the end of its block those are raised of which nobody
    was told."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._errors: deque[BaseException] = deque()
        self._arrived = asyncio.Event()

    def __enter__(self) -> Self:
        ENGINE.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        ENGINE.removeHandler(self)
        self.close()
        raise_or_note(list(self._errors), error)

    @contextmanager
    def here(self) -> Iterator[None]:
        """What is started meanwhile is the server's."""
        token = _inside.set(self)
        try:
            yield
        finally:
            _inside.reset(token)

    def emit(self, record: logging.LogRecord) -> None:
        """As ``logging.Handler.emit``."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None or _inside.get() is not self:
            return
        if isinstance(error, asyncio.CancelledError):  # raised in the test, it would cancel that one
            fault = AssertionError("the handler was cancelled by itself: it awaited something that was")
            fault.__cause__ = error
            error = fault
        self._errors.append(error)
        self._arrived.set()

    async def take(self) -> BaseException:
        """The next error, which somebody is told of now; waits for it, five seconds at most.

        Raises:
            AssertionError: none comes.
        """
        async with Guard("the handler raised nothing"):
            while not self._errors:
                self._arrived.clear()
                await self._arrived.wait()
        return self._errors.popleft()


def raise_or_note(errors: list[BaseException], error: BaseException | None) -> None:
    """Raise the first of ``errors``; where ``error`` is on its way already, say it there instead.

    Args:
        errors: of the handler; the others are named in the first one's notes.
    """
    others = [one for one in errors if one is not error]
    if error is None and others:
        error, *others = others
        _note(error, others)
        raise error
    if error is not None:
        _note(error, others)


def _note(error: BaseException, others: list[BaseException]) -> None:
    for other in others:
        error.add_note(f"the handler has raised, too: {other!r}")
