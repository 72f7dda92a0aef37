"""When a client tries again."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sockbridge.client.backoff import Backoff
from sockbridge.errors import InvalidOption


@pytest.mark.parametrize(
    "values",
    [
        {"first": 0},
        {"first": -1},
        {"first": 31},
        {"first": 2, "limit": 1},
        {"limit": math.inf},
        {"factor": 0.5},
        {"factor": math.inf},
        {"factor": math.nan},
        {"attempts": 0},
        {"attempts": -3},
    ],
)
def test_a_backoff_that_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        Backoff(**values)


def test_pauses_grow_up_to_the_limit() -> None:
    backoff = Backoff(first=1, factor=2, limit=10)
    assert [backoff.pause(attempt, 1.0) for attempt in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_a_pause_is_a_random_part_of_what_it_may_be() -> None:
    backoff = Backoff(first=2)
    assert backoff.pause(1, 0.0) == 0
    assert backoff.pause(1, 0.25) == 0.5


def test_it_is_given_up_after_the_last_attempt() -> None:
    backoff = Backoff(attempts=2)
    assert backoff.pause(2, 0.5) is not None
    assert backoff.pause(3, 0.5) is None


@pytest.mark.parametrize("factor", [1.0, 2.0, 1e300])
def test_the_millionth_attempt_pauses_like_any_other(factor: float) -> None:
    assert Backoff(first=1, factor=factor, limit=30).longest(1_000_000) == (1 if factor == 1 else 30)
