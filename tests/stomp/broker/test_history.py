"""What topics keep, for how long, and how it is numbered."""

from __future__ import annotations

import math
import weakref

import pytest

from sockbridge.errors import InvalidOption
from sockbridge.stomp.broker.history import MOST_MESSAGES, Histories, History
from sockbridge.stomp.broker.holding import Budget
from sockbridge.stomp.broker.options import MOST_SECONDS
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.destinations import Pattern
from tests.stomp.broker.fakes import OTHER, ROOM, ROOMS, HistoryBench, kept_size

# What is kept.


def test_messages_are_numbered_from_1_within_an_epoch() -> None:
    bench = HistoryBench()
    messages = bench.publish(*"abc")
    assert [one.headers for one in messages] == [{"x-epoch": "e1", "x-offset": str(number)} for number in (1, 2, 3)]
    (other,) = bench.publish("d", destination=OTHER)
    assert other.headers == {"x-epoch": "e2", "x-offset": "1"}
    assert len(bench.histories) == 2
    stream = bench.histories.find(ROOM)
    assert stream is not None
    assert (stream.epoch, stream.offset, len(stream)) == ("e1", 3, 3)


def test_the_headers_of_a_message_stay_and_whoever_made_it_keeps_his_own() -> None:
    bench, headers = HistoryBench(), {"x": "1"}
    one = PreparedMessage(1, ROOM, headers, b"")
    bench.histories.append(one, 0.0)
    assert one.headers == {"x": "1", "x-epoch": "e1", "x-offset": "1"}
    assert headers == {"x": "1"}


@pytest.mark.parametrize("destination", ["/topic/rooms", "/topic/rooms/1/x", "/topic/other", "/topic/rooms2/1"])
def test_of_other_topics_nothing_is_kept(destination: str) -> None:
    bench = HistoryBench()
    (one,) = bench.publish("x", destination=destination)
    assert one.headers == {}
    assert bench.histories.find(destination) is None
    assert (len(bench.histories), bench.budget.held) == (0, 0)


def test_without_rules_nothing_is_kept_at_all() -> None:
    histories = Histories([], "/", 10, 1000, Budget(1000), lambda: "e")
    assert not histories
    assert HistoryBench().histories, "though nothing is in there yet"


def test_the_first_rule_that_matches_decides() -> None:
    bench = HistoryBench(History(ROOM, size=1), History(ROOMS, size=2), History("/topic/**", size=3))
    for destination, count in [(ROOM, 1), (OTHER, 2), ("/topic/x/y/z", 3)]:
        bench.publish(*"abcde", destination=destination)
        assert [body for _, body in bench.kept(destination)] == [*"abcde"[-count:]]


def test_patterns_are_those_of_the_brokers_separator() -> None:
    bench = HistoryBench(History("/topic/rooms.*"), separator=".")
    bench.publish("x", destination="/topic/rooms.1")
    bench.publish("x", destination="/topic/rooms.1.2")
    assert len(bench.histories) == 1


def test_of_each_destination_the_last_so_many_are_kept() -> None:
    bench = HistoryBench(History(ROOMS, size=3))
    for number in range(1, 200):
        bench.publish(str(number))
        assert bench.kept() == [(n, str(n)) for n in range(max(1, number - 2), number + 1)]
    (size,) = {kept.size for kept in bench.histories.find(ROOM).after(0, 9)}  # type: ignore[union-attr]
    assert bench.budget.held == 3 * size


def test_what_is_too_old_is_dropped_by_the_next_or_when_somebody_looks() -> None:
    bench = HistoryBench(History(ROOMS, seconds=10.0))
    bench.publish("a")
    bench.now = 5.0
    bench.publish("b")
    bench.publish("c", destination=OTHER)
    bench.histories.expire(9.999)
    assert bench.kept() == [(1, "a"), (2, "b")]
    bench.histories.expire(10.0)
    assert bench.kept() == [(2, "b")]
    bench.now = 15.0
    bench.publish("d")
    assert bench.kept() == [(3, "d")]
    assert bench.kept(OTHER) == [(1, "c")]
    bench.histories.expire(15.0)
    assert bench.kept(OTHER) == []
    assert bench.budget.held > 0
    bench.histories.expire(1000.0)
    assert bench.budget.held == 0
    stream = bench.histories.find(ROOM)
    assert stream is not None
    assert (stream.epoch, stream.offset) == ("e1", 3), "a stream that is empty goes on counting"


def test_what_never_grows_old_is_kept() -> None:
    bench = HistoryBench()
    bench.publish("a")
    bench.histories.expire(1e12)
    assert bench.kept() == [(1, "a")]


@pytest.mark.parametrize("limit", ["max_size", "most"])
def test_the_oldest_make_room_where_there_is_no_more(limit: str) -> None:
    bench = HistoryBench(**{limit: 3 * kept_size()})  # type: ignore[arg-type]
    bench.publish(*"abcd")
    assert [body for _, body in bench.kept()] == [*"bcd"]
    bench.publish("xx")
    assert [body for _, body in bench.kept()] == ["d", "xx"]
    assert bench.budget.held == 2 * kept_size() + 1


def test_a_message_that_is_larger_than_a_history_leaves_no_gap_in_it() -> None:
    bench = HistoryBench(max_size=2 * kept_size())
    bench.publish("a", "x" * 2 * kept_size())
    assert bench.kept() == []
    assert bench.budget.held == 0
    bench.publish("c")
    assert bench.kept() == [(3, "c")]


def test_what_finds_no_room_in_the_broker_leaves_no_gap_either() -> None:
    bench = HistoryBench(most=3 * kept_size())
    bench.publish(*"ab")
    bench.budget.take(kept_size())  # a queue holds it
    bench.publish("xx")
    assert [body for _, body in bench.kept()] == ["xx"]
    bench.budget.take(2 * kept_size())
    bench.publish("c")
    assert bench.kept() == []
    bench.budget.give_back(3 * kept_size())
    bench.publish("d")
    assert bench.kept() == [(5, "d")]


def test_who_was_quiet_for_longest_makes_room_for_the_others() -> None:
    bench = HistoryBench(most=4 * kept_size())
    bench.publish(*"ab", destination=OTHER)
    bench.publish(*"cde")
    assert (bench.kept(OTHER), len(bench.kept())) == ([(2, "b")], 3)
    bench.publish("f", destination=OTHER)
    assert (bench.kept(OTHER), bench.kept()) == ([(2, "b"), (3, "f")], [(2, "d"), (3, "e")])


def test_what_is_kept_gives_way_to_what_waits_the_quietest_first() -> None:
    bench = HistoryBench(most=5 * kept_size())
    bench.publish(*"ab")
    bench.publish(*"cde", destination=OTHER)
    assert bench.budget.has_room(1)
    assert (len(bench.kept()), len(bench.kept(OTHER))) == (1, 3)
    assert bench.budget.has_room(3 * kept_size())
    assert (bench.kept(), bench.kept(OTHER)) == ([], [(2, "d"), (3, "e")])
    assert not bench.budget.has_room(5 * kept_size() + 1), "more than it may hold"
    assert (len(bench.kept(OTHER)), bench.budget.held) == (0, 0)
    assert len(bench.histories) == 2, "they go on counting"
    bench.publish("f")
    assert bench.kept() == [(3, "f")]


@pytest.mark.parametrize(
    ("size", "left"), [(-5, 3), (0, 3), (1, 2), (kept_size(), 2), (kept_size() + 1, 1), (10**6, 0)]
)
def test_what_gives_way_is_no_more_than_is_wanted(size: int, left: int) -> None:
    bench = HistoryBench()
    bench.publish(*"abc")
    bench.histories.give_way(size)
    assert len(bench.kept()) == left


def test_a_stream_tells_how_much_it_gives_back() -> None:
    bench = HistoryBench()
    bench.publish("a", "bbb")
    stream = bench.histories.find(ROOM)
    assert stream is not None
    assert (stream.drop(bench.budget), bench.kept()) == (kept_size("a"), [(2, "bbb")])
    assert bench.budget.held == kept_size("bbb")


def test_everything_may_be_forgotten() -> None:
    bench = HistoryBench()
    bench.publish(*"ab")
    bench.publish("c", destination=OTHER)
    bench.histories.clear()
    assert (len(bench.histories), bench.budget.held, bench.histories.find(ROOM)) == (0, 0, None)
    (again,) = bench.publish("d")
    assert again.headers == {"x-epoch": "e3", "x-offset": "1"}, "a new epoch"


def test_who_was_quiet_for_longest_is_forgotten_for_another() -> None:
    bench = HistoryBench(limit=2)
    bench.publish("a", destination="/topic/rooms/1")
    bench.publish("b", destination="/topic/rooms/2")
    bench.publish("c", destination="/topic/rooms/1")
    bench.publish("d", destination="/topic/rooms/3")
    assert bench.histories.find("/topic/rooms/2") is None
    assert len(bench.kept("/topic/rooms/1")) == 2
    assert bench.budget.held == 3 * kept_size()
    (again,) = bench.publish("e", destination="/topic/rooms/2")
    assert again.headers == {"x-epoch": "e4", "x-offset": "1"}, "a new epoch"


def test_what_is_younger_than_an_offset_is_found_by_it() -> None:
    bench = HistoryBench(History(ROOMS, size=5))
    bench.publish(*map(str, range(1, 13)))
    stream = bench.histories.find(ROOM)
    assert stream is not None
    for offset in range(15):
        for limit in (1, 3, 100):
            expected = [number for number in range(8, 13) if number > offset][:limit]
            assert [kept.offset for kept in stream.after(offset, limit)] == expected


class Traced(PreparedMessage):
    """A message whose end can be seen."""

    __slots__ = ("__weakref__",)


@pytest.mark.parametrize("size", [1, 2, 10, 100])
def test_what_is_dropped_is_let_go(size: int) -> None:
    bench, references = HistoryBench(History(ROOMS, size=size)), []
    for number in range(1, 3 * size):
        one = Traced(number, ROOM, {}, b"x")
        references.append(weakref.ref(one))
        bench.histories.append(one, 0.0)
        del one
        assert sum(reference() is not None for reference in references) == min(number, size)


# Finding.


@pytest.mark.parametrize("text", [ROOM, ROOMS])
def test_what_is_found_is_without_what_is_too_old(text: str) -> None:
    bench = HistoryBench(History(ROOMS, seconds=10.0))
    bench.publish("a")
    ((_, stream),) = bench.histories.matching(Pattern(text), 9.9)
    assert len(stream) == 1
    ((_, stream),) = bench.histories.matching(Pattern(text), 10.0)
    assert (len(stream), stream.offset, bench.budget.held) == (0, 1, 0)


def test_streams_are_found_by_destination_or_pattern() -> None:
    bench = HistoryBench()
    for destination in (ROOM, OTHER):
        bench.publish("x", destination=destination)
    found = {
        text: [destination for destination, _ in bench.histories.matching(Pattern(text), bench.now)]
        for text in (ROOM, "/topic/rooms/9", ROOMS, "/topic/**", "/topic/{x}", "/topic/rooms/{x}")
    }
    assert found == {
        ROOM: [ROOM],
        "/topic/rooms/9": [],
        ROOMS: [ROOM, OTHER],
        "/topic/**": [ROOM, OTHER],
        "/topic/{x}": [],
        "/topic/rooms/{x}": [ROOM, OTHER],
    }


@pytest.mark.parametrize(
    ("wanted", "begins"),
    [("/topic/prices/a", True), ("/topic/**", True), ("/topic/*/a", True), (ROOM, False), (ROOMS, False)],
)
def test_some_topics_begin_with_what_is_kept(wanted: str, begins: bool) -> None:
    bench = HistoryBench(History(ROOMS), History("/topic/prices/*", size=1, on_subscribe=True))
    assert bench.histories.begins_with_kept(Pattern(wanted)) is begins


@pytest.mark.parametrize(("destination", "is_kept"), [(ROOM, True), ("/topic/rooms", False), ("/topic/other", False)])
def test_one_may_ask_whether_something_would_be_kept(destination: str, is_kept: bool) -> None:
    bench = HistoryBench()
    assert bench.histories.keeps(destination) is is_kept
    assert len(bench.histories) == 0


# The rules.


@pytest.mark.parametrize("destination", ["topic/a", "", None, 5, b"/topic"])
def test_a_history_is_of_a_pattern(destination: object) -> None:
    with pytest.raises(InvalidOption, match=r"^History: destination is a pattern"):
        History(destination)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -1, MOST_MESSAGES + 1, 1.0, "1", None, True])
def test_a_history_has_a_size(size: object) -> None:
    with pytest.raises(InvalidOption, match=r"^History: size is an integer from 1 to 1000000"):
        History(ROOMS, size=size)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, 0.0, -1, math.nan, math.inf, "1", True, False, MOST_SECONDS * 2, 10**400])
def test_a_history_has_an_age_or_none(seconds: object) -> None:
    with pytest.raises(InvalidOption, match=r"^History: seconds is a finite number above 0, or None"):
        History(ROOMS, seconds=seconds)  # type: ignore[arg-type]


def test_the_least_and_the_most_are_allowed() -> None:
    assert History(ROOMS) == History(ROOMS, 100, None, False)
    assert History(ROOMS, size=1, seconds=0.001).seconds == 0.001
    assert History(ROOMS, size=MOST_MESSAGES, seconds=MOST_SECONDS).size == MOST_MESSAGES


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("/topic/a", r"history is a list of History\("),
        (None, r"history is a list of History\("),
        (History("/topic/{1}"), "History: a variable is a name"),
        (History("/topic/" + "x" * 2000), "History: a destination has at most"),
        (History("/topic/a**"), r"History: \*\* stands for segments only"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_at_once(rule: object, text: str) -> None:
    with pytest.raises(InvalidOption, match=f"^{text}"):
        Histories([rule], "/", 1, 1, Budget(1), lambda: "e")  # type: ignore[list-item]
