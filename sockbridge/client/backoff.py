"""When to try again.

Knows: how often it was tried.
Does not know: what failed; the clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InvalidOption


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses that grow, each of random length, so that the clients of a server that comes back do not come together.

    Attributes:
        first: seconds that the first pause lasts at most.
        factor: each further one may last so many times as long.
        limit: seconds that none exceeds.
        attempts: how often it is tried before it is given up; None: for ever.
    """

    first: float = 1.0
    factor: float = 2.0
    limit: float = 30.0
    attempts: int | None = None

    def __post_init__(self) -> None:
        if not (0 < self.first <= self.limit < math.inf and 1 <= self.factor < math.inf):
            raise InvalidOption(f"a backoff has 0 < first <= limit and factor >= 1, not {self!r}")
        if self.attempts is not None and self.attempts < 1:
            raise InvalidOption(f"attempts is at least 1, or None for ever, not {self.attempts!r}")

    def longest(self, attempt: int) -> float:
        """Seconds that the pause before an attempt lasts at most.

        Args:
            attempt: 1 for the first after the connection was lost.
        """
        try:
            return min(self.limit, self.first * self.factor ** (attempt - 1))
        except OverflowError:
            return self.limit

    def pause(self, attempt: int, chance: float) -> float | None:
        """Seconds to wait before an attempt; None: give up.

        Args:
            attempt: as of ``longest``.
            chance: a random number from 0 to 1.
        """
        if self.attempts is not None and attempt > self.attempts:
            return None
        return chance * self.longest(attempt)
