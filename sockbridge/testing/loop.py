"""An event loop whose clock a test can move: what waits for an hour need not take one.

Knows: time.
Does not know: what is tested.
"""

from __future__ import annotations

import asyncio


class ManualClockLoop(asyncio.SelectorEventLoop):
    """Its clock runs as usual, and jumps when it is told to: ``asyncio.Runner(loop_factory=ManualClockLoop)``."""

    def __init__(self) -> None:
        super().__init__()
        self._jumped = 0.0

    def time(self) -> float:
        return super().time() + self._jumped

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once; returns when all that was due by then has run."""
        self._jumped += seconds
        await turns()


async def turns(count: int = 10) -> None:
    """Let everything run that can run."""
    for _ in range(count):
        await asyncio.sleep(0)
