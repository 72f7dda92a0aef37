"""What holding a message costs, and how much may be held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbridge.errors import QueueFull
from sockbridge.stomp.broker.holding import OVERHEAD, Budget, size_of
from sockbridge.stomp.codec import PreparedMessage


@pytest.mark.parametrize(
    ("destination", "headers", "body", "said"),
    [
        ("/a", {}, b"", 2),
        ("/a", {}, b"hello", 7),
        ("/a", {"x": "12"}, b"hello", 10),
        ("/a", {"x": "12", "yy": ""}, b"", 7),
        ("/a", {}, "\u00e9".encode(), 4),
        ("/\u00e9", {"\u00e9": "\U0001f600"}, b"", 4),
    ],
)
def test_the_size_of_a_message_is_all_that_it_says_and_what_holding_it_costs(
    destination: str, headers: dict[str, str], body: bytes, said: int
) -> None:
    assert size_of(PreparedMessage(1, destination, headers, body)) == OVERHEAD + said


def test_messages_that_say_next_to_nothing_are_not_free() -> None:
    """Or a hundred million of them would fit into 256 MiB."""
    assert OVERHEAD == 500


def test_a_budget_has_room_up_to_its_limit() -> None:
    budget = Budget(10)
    assert budget.has_room(10)
    assert not budget.has_room(11)
    budget.take(4)
    assert budget.has_room(6)
    assert not budget.has_room(7)


def test_what_takes_no_room_always_has_some() -> None:
    budget = Budget(10)
    budget.take(10)
    assert budget.has_room(0)
    assert budget.has_room(-1)


def test_a_budget_that_is_overdrawn_has_no_room() -> None:
    budget = Budget(10)
    budget.take(11)
    assert not budget.has_room(0)


def test_the_error_of_a_full_broker_names_the_limit() -> None:
    error = Budget(10).is_full()
    assert isinstance(error, QueueFull)
    assert str(error) == "the broker may hold max_size (10) bytes"


def test_what_is_given_back_is_room_again() -> None:
    budget = Budget(10)
    budget.take(10)
    budget.give_back(4)
    assert (budget.held, budget.has_room(4), budget.has_room(5)) == (6, True, False)


def test_what_can_be_done_without_gives_way() -> None:
    budget, asked = Budget(10), []

    def give_way(size: int) -> None:
        asked.append(size)
        budget.give_back(min(size, 3))

    budget.give_way = give_way
    budget.take(8)
    assert budget.has_room(2)
    assert asked == [], "nothing is forgotten without need"
    assert budget.has_room(4)
    assert (asked, budget.held) == ([2], 6)
    assert not budget.has_room(20), "it was not enough"
    assert asked == [2, 16]


def test_what_a_part_holds_is_held_by_the_whole_too() -> None:
    whole = Budget(10)
    part = Budget(5, whole)
    part.take(4)
    whole.take(3)
    assert (part.held, whole.held) == (4, 7)
    assert part.has_room(1)
    assert not part.has_room(2), "of the part"
    whole.take(3)
    assert not part.has_room(1), "of the whole"
    part.give_back(4)
    assert (part.held, whole.held) == (0, 6)


def test_the_whole_gives_way_for_a_part() -> None:
    whole = Budget(10)
    whole.give_way = whole.give_back
    part = Budget(5, whole)
    whole.take(9)
    assert part.has_room(5)
    assert whole.held == 5
    assert not part.has_room(6)
    assert whole.held == 5, "for what the part may not hold nothing gives way"


@given(st.integers(1, 100), st.lists(st.integers(0, 60)))
def test_who_asks_first_never_holds_more_than_the_limit(limit: int, sizes: list[int]) -> None:
    budget = Budget(limit)
    for size in sizes:
        if budget.has_room(size):
            budget.take(size)
        assert budget.held <= limit
