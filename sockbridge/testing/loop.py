"""An event loop whose clock a test can move: what waits for an hour need not take one.

Knows: time.
Does not know: what is tested.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

GUARD: Final = 5.0
"""Seconds after which what does not come will not come."""

FEWEST_TURNS: Final = 10
"""Of the loop, that are waited for at least: what is ready in the system comes with the next one."""

MOST_TURNS: Final = 200
"""Of the loop, after which something in it is taken to never rest."""


class ManualClockLoop(asyncio.SelectorEventLoop):
    """Its clock runs as usual, and jumps when it is told to: ``asyncio.Runner(loop_factory=ManualClockLoop)``.

    Attributes:
        guards: time-outs that jumps leave alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._jumped = 0.0
        self.guards: set[asyncio.Timeout] = set()

    def time(self) -> float:
        return super().time() + self._jumped

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once; returns when all that was due by then has run."""
        self._jumped += seconds
        for guard in self.guards:
            end = guard.when()
            if end is not None:
                guard.reschedule(end + seconds)
        await turns()


class Guard:
    """Ends a wait of the test itself, after real seconds: the jumps of a ``ManualClockLoop`` do not count.

    Raises at its end:
        AssertionError: it took longer.
    """

    def __init__(self, what: str, seconds: float = GUARD) -> None:
        """
        Args:
            what: did not happen, for the text.
        """
        self._what = what
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        loop = asyncio.get_running_loop()
        if isinstance(loop, ManualClockLoop):
            loop.guards.add(self._timeout)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(loop, ManualClockLoop):
            loop.guards.discard(self._timeout)
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise AssertionError(f"{self._what} within {self._seconds:g} seconds") from None


async def turns(fewest: int = FEWEST_TURNS) -> None:
    """Let everything run that can run: until nothing in the loop can go on at once, or ``MOST_TURNS`` are over.

    Args:
        fewest: turns that are taken in any case.
    """
    # What is ready is asyncio's own affair; where a loop of another make does not show it, all turns are taken.
    ready = getattr(asyncio.get_running_loop(), "_ready", True)
    count = 0
    while count < fewest or (ready and count < MOST_TURNS):
        await asyncio.sleep(0)
        count += 1
