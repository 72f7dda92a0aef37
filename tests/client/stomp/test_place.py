"""How far a subscription has come, and what it has missed."""

from __future__ import annotations

import pytest

from sockbridge.client.stomp.place import Place

HERE = {"x-epoch": "e", "x-offset": "7"}


def place(**headers: str) -> Place:
    return Place("/topic/a", {name.replace("_", "-"): value for name, value in headers.items()})


def test_a_first_subscription_says_what_the_application_says() -> None:
    assert place(selector="x").subscribe(again=False) == {"selector": "x"}


def test_after_a_reconnect_it_asks_for_what_followed_the_last_message() -> None:
    one = place(x_since="3", x_epoch="d")
    one.advance("/topic/a", HERE)
    assert one.subscribe(again=True) == {"x-since": "7", "x-epoch": "e"}
    assert one.missed == 0


def test_where_nothing_came_yet_it_asks_for_what_followed_its_beginning() -> None:
    one = place()
    one.subscribe(again=False)
    one.confirm(HERE)
    assert one.subscribe(again=True) == {"x-since": "7", "x-epoch": "e"}


def test_what_is_still_to_come_is_not_skipped() -> None:
    """The RECEIPT names the newest that there is; what lies between comes behind it."""
    one = place(x_since="3", x_epoch="e")
    one.subscribe(again=False)
    one.confirm({**HERE, "x-missed": "0"})
    assert one.epoch is None
    assert one.subscribe(again=True) == {"x-since": "3", "x-epoch": "e"}


def test_a_later_receipt_does_not_move_the_place() -> None:
    one = place()
    one.advance("/topic/a", HERE)
    one.subscribe(again=True)
    one.confirm({"x-epoch": "e", "x-offset": "20", "x-missed": "0"})
    assert one.offset == 7


def test_without_numbers_nobody_knows_what_was_missed() -> None:
    one = place()
    one.advance("/topic/a", {})
    assert one.subscribe(again=True) == {}
    assert one.missed is None


def test_of_many_destinations_no_place_can_be_said() -> None:
    """``x-since`` above 0 is for one destination, and 0 would bring again what came."""
    one = place(x_since="0")
    one.advance("/topic/b", HERE)
    assert one.subscribe(again=True) == {}
    assert one.missed is None


def test_a_gap_is_counted_once_though_it_is_told_twice() -> None:
    one = place()
    one.advance("/topic/a", HERE)
    one.subscribe(again=True)
    one.confirm({"x-missed": "5"})
    one.advance("/topic/a", {"x-missed": "5"})
    assert one.missed == 5
    one.advance("/topic/a", {"x-missed": "2"})
    assert one.missed == 7, "another gap"


def test_the_message_behind_the_gap_may_come_first() -> None:
    one = place()
    one.subscribe(again=True)
    one.missed = 0
    one.advance("/topic/a", {"x-missed": "5"})
    one.advance("/topic/a", {"x-missed": "2"})
    one.confirm({"x-missed": "5"})
    assert one.missed == 7


def test_more_may_be_lost_while_it_catches_up() -> None:
    one = place()
    one.confirm({"x-missed": "5"})
    one.advance("/topic/a", {"x-missed": "6"})
    assert one.missed == 6


@pytest.mark.parametrize("told", ["unknown", "-1", "", "\u0663", "9" * 19, "9" * 5000])
def test_an_unknown_gap_stays_unknown(told: str) -> None:
    one = place()
    one.confirm({"x-missed": told})
    one.advance("/topic/a", {"x-missed": "3"})
    assert one.missed is None


@pytest.mark.parametrize("offset", ["", "x", "-1", "\u0663", "9" * 19, "9" * 5000])
def test_an_offset_that_is_none_is_ignored(offset: str) -> None:
    one = place()
    one.advance("/topic/a", {"x-epoch": "e", "x-offset": offset})
    assert one.epoch is None
