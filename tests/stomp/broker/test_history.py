"""What topics keep, how it is numbered, and what a client that returns is given: all of the rest, or told what not."""

from __future__ import annotations

import itertools
import math
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbridge.errors import BadFrame, InvalidOption
from sockbridge.stomp.broker.history import MOST_MESSAGES, Histories, History, Replay, Since, since_of
from sockbridge.stomp.broker.holding import Budget, size_of
from sockbridge.stomp.broker.options import MOST_SECONDS
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.counters import BrokerCounters
from sockbridge.stomp.destinations import Pattern
from tests.stomp.broker.fakes import RecordingSubscriber, message

ROOMS = "/topic/rooms/*"
ROOM = "/topic/rooms/1"
OTHER = "/topic/rooms/2"
ALL = Since(None, 0)


class Bench:
    """The streams of one broker, and those who catch up."""

    def __init__(
        self, *rules: History, limit: int = 100, max_size: int = 1_000_000, most: int = 1_000_000, separator: str = "/"
    ) -> None:
        self.budget = Budget(most)
        self.counters = BrokerCounters()
        self.now = 0.0
        self.news: list[Replay] = []
        self.replays: list[Replay] = []
        epochs = itertools.count(1)
        self.histories = Histories(
            rules or (History(ROOMS),), separator, limit, max_size, self.budget, lambda: f"e{next(epochs)}"
        )

    def publish(self, *bodies: str, destination: str = ROOM) -> list[PreparedMessage]:
        """As topics do: keep it, and give it to whoever wants it."""
        messages = [message(destination, body) for body in bodies]
        for one in messages:
            self.histories.append(one, self.now)
            for replay in self.replays:
                if replay.subscriber.pattern.match(destination) is not None:
                    assert replay.deliver(one)
        return messages

    def replay(self, subscriber: RecordingSubscriber, since: Since = ALL) -> Replay:
        replay = Replay(subscriber, since, self.histories, self.counters, self.news.append)
        self.replays.append(replay)
        return replay

    def kept(self, destination: str = ROOM) -> list[tuple[int, str]]:
        stream = self.histories.find(destination)
        assert stream is not None
        return [(kept.offset, kept.message.body.decode()) for kept in stream.after(0, 1000)]


def listener(pattern: str = ROOM) -> RecordingSubscriber:
    return RecordingSubscriber(pattern)


def finish(replay: Replay, limit: int = 64) -> None:
    while replay.advance(limit):
        assert replay.subscriber.is_ready


# What is kept.


def test_messages_are_numbered_from_1_within_an_epoch() -> None:
    bench = Bench()
    messages = bench.publish(*"abc")
    assert [one.headers for one in messages] == [{"x-epoch": "e1", "x-offset": str(number)} for number in (1, 2, 3)]
    (other,) = bench.publish("d", destination=OTHER)
    assert other.headers == {"x-epoch": "e2", "x-offset": "1"}
    assert len(bench.histories) == 2
    stream = bench.histories.find(ROOM)
    assert stream is not None
    assert (stream.epoch, stream.offset, len(stream)) == ("e1", 3, 3)


def test_the_headers_of_a_message_stay_and_whoever_made_it_keeps_his_own() -> None:
    bench, headers = Bench(), {"x": "1"}
    one = PreparedMessage(1, ROOM, headers, b"")
    bench.histories.append(one, 0.0)
    assert one.headers == {"x": "1", "x-epoch": "e1", "x-offset": "1"}
    assert headers == {"x": "1"}


@pytest.mark.parametrize("destination", ["/topic/rooms", "/topic/rooms/1/x", "/topic/other", "/topic/rooms2/1"])
def test_of_other_topics_nothing_is_kept(destination: str) -> None:
    bench = Bench()
    (one,) = bench.publish("x", destination=destination)
    assert one.headers == {}
    assert bench.histories.find(destination) is None
    assert (len(bench.histories), bench.budget.held) == (0, 0)


def test_without_rules_nothing_is_kept_at_all() -> None:
    histories = Histories([], "/", 10, 1000, Budget(1000), lambda: "e")
    assert not histories
    assert Bench().histories, "though nothing is in there yet"


def test_the_first_rule_that_matches_decides() -> None:
    bench = Bench(History(ROOM, size=1), History(ROOMS, size=2), History("/topic/**", size=3))
    for destination, count in [(ROOM, 1), (OTHER, 2), ("/topic/x/y/z", 3)]:
        bench.publish(*"abcde", destination=destination)
        assert [body for _, body in bench.kept(destination)] == [*"abcde"[-count:]]


def test_patterns_are_those_of_the_brokers_separator() -> None:
    bench = Bench(History("/topic/rooms.*"), separator=".")
    bench.publish("x", destination="/topic/rooms.1")
    bench.publish("x", destination="/topic/rooms.1.2")
    assert len(bench.histories) == 1


def test_of_each_destination_the_last_so_many_are_kept() -> None:
    bench = Bench(History(ROOMS, size=3))
    for number in range(1, 200):
        bench.publish(str(number))
        assert bench.kept() == [(n, str(n)) for n in range(max(1, number - 2), number + 1)]
    (size,) = {kept.size for kept in bench.histories.find(ROOM).after(0, 9)}  # type: ignore[union-attr]
    assert bench.budget.held == 3 * size


def test_what_is_too_old_is_dropped_by_the_next_or_when_somebody_looks() -> None:
    bench = Bench(History(ROOMS, seconds=10.0))
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


def test_one_may_look_at_some_alone() -> None:
    bench = Bench(History(ROOMS, seconds=10.0))
    bench.publish("a")
    bench.publish("b", destination=OTHER)
    bench.histories.expire(100.0, Pattern(OTHER))
    assert (len(bench.kept()), len(bench.kept(OTHER))) == (1, 0)
    bench.histories.expire(100.0, Pattern("/topic/other"))
    bench.histories.expire(100.0, Pattern("/topic/**"))
    assert bench.kept() == []


def test_what_never_grows_old_is_kept() -> None:
    bench = Bench()
    bench.publish("a")
    bench.histories.expire(1e12)
    assert bench.kept() == [(1, "a")]


def kept_size(body: str = "a") -> int:
    """Of a message with this body, once it is numbered by one digit."""
    return size_of(message(ROOM, body, {"x-epoch": "e1", "x-offset": "1"}))


@pytest.mark.parametrize("limit", ["max_size", "most"])
def test_the_oldest_make_room_where_there_is_no_more(limit: str) -> None:
    bench = Bench(**{limit: 3 * kept_size()})  # type: ignore[arg-type]
    bench.publish(*"abcd")
    assert [body for _, body in bench.kept()] == [*"bcd"]
    bench.publish("xx")
    assert [body for _, body in bench.kept()] == ["d", "xx"]
    assert bench.budget.held == 2 * kept_size() + 1


def test_a_message_that_is_larger_than_a_history_leaves_no_gap_in_it() -> None:
    bench = Bench(max_size=2 * kept_size())
    bench.publish("a", "x" * 2 * kept_size())
    assert bench.kept() == []
    assert bench.budget.held == 0
    bench.publish("c")
    assert bench.kept() == [(3, "c")]


def test_what_finds_no_room_in_the_broker_leaves_no_gap_either() -> None:
    bench = Bench(most=3 * kept_size())
    bench.publish(*"ab")
    bench.budget.held += kept_size()  # a queue holds it
    bench.publish("xx")
    assert [body for _, body in bench.kept()] == ["xx"]
    bench.budget.held = 2 * bench.budget.limit
    bench.publish("c")
    assert bench.kept() == []
    bench.budget.held = 0
    bench.publish("d")
    assert bench.kept() == [(5, "d")]


def test_what_other_destinations_hold_is_not_dropped_for_it() -> None:
    bench = Bench(most=2 * kept_size())
    bench.publish(*"ab", destination=OTHER)
    (one,) = bench.publish("c")
    assert one.headers["x-offset"] == "1"
    assert (bench.kept(), len(bench.kept(OTHER))) == ([], 2)


def test_who_was_quiet_for_longest_is_forgotten_for_another() -> None:
    bench = Bench(limit=2)
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
    bench = Bench(History(ROOMS, size=5))
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
    bench, references = Bench(History(ROOMS, size=size)), []
    for number in range(1, 3 * size):
        one = Traced(number, ROOM, {}, b"x")
        references.append(weakref.ref(one))
        bench.histories.append(one, 0.0)
        del one
        assert sum(reference() is not None for reference in references) == min(number, size)


# Finding.


def test_streams_are_found_by_destination_or_pattern() -> None:
    bench = Bench()
    for destination in (ROOM, OTHER):
        bench.publish("x", destination=destination)
    found = {
        text: [destination for destination, _ in bench.histories.matching(Pattern(text))]
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
    bench = Bench(History(ROOMS), History("/topic/prices/*", size=1, on_subscribe=True))
    assert bench.histories.begins_with_kept(Pattern(wanted)) is begins


@pytest.mark.parametrize(("destination", "is_kept"), [(ROOM, True), ("/topic/rooms", False), ("/topic/other", False)])
def test_one_may_ask_whether_something_would_be_kept(destination: str, is_kept: bool) -> None:
    bench = Bench()
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


# How far a client has come.


def since(text: str | None = None, epoch: str | None = None, pattern: str = ROOM) -> Since | None:
    headers = {"x-since": text, "x-epoch": epoch}
    return since_of(
        RecordingSubscriber(pattern, headers={name: value for name, value in headers.items() if value is not None})
    )


def test_who_says_nothing_wants_nothing() -> None:
    assert since() is None
    assert since(epoch="e1") is None


def test_0_is_all_that_is_kept_with_or_without_epoch_and_for_patterns() -> None:
    assert since("0") == since("0", "e1") == since("0", pattern=ROOMS) == since("00") == Since(None, 0)


def test_an_offset_belongs_to_an_epoch() -> None:
    assert since("17", "e1") == Since("e1", 17)
    for epoch in (None, ""):
        with pytest.raises(BadFrame, match=r"^x-since without x-epoch"):
            since("17", epoch)


def test_an_offset_is_one_of_one_destination() -> None:
    with pytest.raises(BadFrame, match=r"^x-since for one destination only"):
        since("17", "e1", ROOMS)


@pytest.mark.parametrize("text", ["", "-1", "x", "1.0", "9" * 16, "\u0661", "1 "])
def test_an_offset_is_a_number(text: str) -> None:
    with pytest.raises(BadFrame, match=r"^x-since is no number"):
        since(text, "e1")


# Catching up.


@pytest.mark.parametrize(("offset", "bodies"), [(1, "bcde"), (2, "cde"), (4, "e"), (5, "")])
def test_who_returns_gets_what_was_missed_and_nothing_else(offset: int, bodies: str) -> None:
    bench = Bench()
    bench.publish(*"abcde")
    subscriber = listener()
    replay = bench.replay(subscriber, Since("e1", offset))
    assert replay.missed == "0"
    assert replay.is_done is (offset == 5)
    finish(replay)
    assert subscriber.bodies == [*bodies]
    assert subscriber.told == [None] * len(bodies)
    assert not any(got.is_lent for got in subscriber.got)
    assert replay.is_done
    assert bench.counters.missed == 0


@pytest.mark.parametrize(("offset", "missed"), [(1, 6), (5, 2), (6, 1), (7, 0), (8, 0)])
def test_what_is_not_kept_any_more_is_told_exactly(offset: int, missed: int) -> None:
    bench = Bench(History(ROOMS, size=3))
    bench.publish(*map(str, range(1, 11)))
    subscriber = listener()
    replay = bench.replay(subscriber, Since("e1", offset))
    assert replay.missed == str(missed)
    finish(replay)
    assert subscriber.bodies == [str(number) for number in range(max(8, offset + 1), 11)]
    assert subscriber.told[0] == ({"x-missed": str(missed)} if missed else None)
    assert not any(subscriber.told[1:])
    assert replay.is_done
    assert bench.counters.missed == missed


@pytest.mark.parametrize("how", ["old", "large"])
def test_where_nothing_is_left_the_next_message_tells_what_is_missing(how: str) -> None:
    bench = Bench(History(ROOMS, seconds=10.0), max_size=3 * kept_size())
    bench.publish(*"ab")
    if how == "old":
        bench.publish("c")
        bench.histories.expire(10.0)
    else:
        bench.publish("x" * 3 * kept_size())
    subscriber = listener()
    replay = bench.replay(subscriber, Since("e1", 1))
    assert replay.missed == "2"
    finish(replay)
    assert (subscriber.got, replay.is_done) == ([], False), "it has not been told"
    bench.now = 10.0
    bench.publish("d")
    assert bench.news == [replay]
    finish(replay)
    assert (subscriber.bodies, subscriber.told) == (["d"], [{"x-missed": "2"}])
    assert replay.is_done


@pytest.mark.parametrize("since", [Since("other", 1), Since("e1", 4), Since("other", 999)])
def test_who_comes_from_another_epoch_gets_all_that_is_kept_and_is_told(since: Since) -> None:
    """The server was started anew; or it was, and has counted to less since."""
    bench = Bench()
    bench.publish(*"abc")
    subscriber = listener()
    replay = bench.replay(subscriber, since)
    assert replay.missed == "unknown"
    assert not replay.is_done
    finish(replay)
    assert subscriber.bodies == [*"abc"]
    assert subscriber.told == [{"x-missed": "unknown"}, None, None]
    assert replay.is_done


def test_who_comes_from_another_epoch_to_an_empty_one_is_told_by_the_first_message() -> None:
    bench = Bench()
    subscriber = listener()
    replay = bench.replay(subscriber, Since("other", 7))
    assert replay.missed == "unknown"
    finish(replay)
    assert not replay.is_done
    bench.publish(*"ab")
    finish(replay)
    assert (subscriber.bodies, subscriber.told) == ([*"ab"], [{"x-missed": "unknown"}, None])
    assert replay.is_done


def test_where_nothing_is_kept_nobody_knows_what_is_missing() -> None:
    bench = Bench()
    subscriber = listener("/topic/other")
    replay = bench.replay(subscriber, Since("e1", 7))
    assert (replay.missed, replay.is_done) == ("unknown", False)
    bench.publish(*"ab", destination="/topic/other")
    assert (subscriber.bodies, subscriber.told) == ([*"ab"], [{"x-missed": "unknown"}, None])
    assert replay.is_done
    assert not replay.advance(64)


def test_all_that_is_kept_is_missing_nothing() -> None:
    bench = Bench(History(ROOMS, size=2))
    bench.publish(*"abcd")
    subscriber = listener()
    replay = bench.replay(subscriber)
    assert replay.missed == "0"
    finish(replay)
    assert (subscriber.bodies, subscriber.told) == ([*"cd"], [None, None])
    assert bench.counters.missed == 0


def test_all_that_is_kept_of_nothing_is_nothing() -> None:
    bench = Bench()
    replay = bench.replay(listener())
    assert (replay.is_done, replay.missed, replay.advance(64)) == (True, "0", False)


def test_several_destinations_come_in_the_order_of_their_publishing() -> None:
    bench = Bench()
    for number, destination in enumerate([ROOM, OTHER, OTHER, ROOM, "/topic/rooms/3", OTHER, ROOM]):
        bench.publish(str(number), destination=destination)
    for limit in (1, 2, 64):
        subscriber = listener("/topic/**")
        replay = bench.replay(subscriber)
        finish(replay, limit)
        assert subscriber.bodies == [*"0123456"]
        assert replay.is_done


@pytest.mark.parametrize("limit", [1, 7, 64])
def test_more_destinations_than_are_given_at_a_time_come_in_order_as_well(limit: int) -> None:
    bench = Bench(limit=300)
    several = [f"/topic/rooms/{number * number % 300}" for number in range(600)]
    for number, destination in enumerate(several):
        bench.publish(str(number), destination=destination)
    subscriber = listener(ROOMS)
    replay = bench.replay(subscriber)
    finish(replay, limit)
    assert subscriber.bodies == [*map(str, range(600))]
    assert replay.is_done


def test_who_does_not_ask_begins_with_what_the_application_wants_alone() -> None:
    bench = Bench(History(ROOMS), History("/topic/prices/*", size=1, on_subscribe=True))
    bench.publish(*"ab")
    bench.publish(*"12", destination="/topic/prices/x")
    bench.publish(*"34", destination="/topic/prices/y")
    subscriber = listener("/topic/**")
    replay = bench.replay(subscriber, Since(None, 0, is_asked=False))
    finish(replay)
    assert subscriber.bodies == [*"24"]
    asking = listener("/topic/**")
    finish(bench.replay(asking))
    assert asking.bodies == [*"ab24"]


# Meanwhile.


def test_what_is_published_meanwhile_comes_in_its_turn() -> None:
    bench = Bench()
    bench.publish(*"abc")
    subscriber = listener()
    replay = bench.replay(subscriber)
    assert replay.advance(2)
    bench.publish(*"de")
    assert subscriber.bodies == [*"ab"]
    assert bench.news == [replay, replay]
    assert not replay.is_done
    assert replay.advance(2)
    assert not replay.advance(2)
    assert subscriber.bodies == [*"abcde"]
    assert replay.is_done


def test_what_is_not_kept_is_given_at_once_to_who_wants_it_too() -> None:
    bench = Bench()
    bench.publish(*"ab")
    subscriber = listener("/topic/**")
    replay = bench.replay(subscriber)
    replay.advance(1)
    bench.publish("now", destination="/topic/other")
    finish(replay)
    assert subscriber.bodies == ["a", "now", "b"]


def test_a_slow_subscriber_is_given_nothing_until_it_takes_something_again() -> None:
    bench = Bench()
    bench.publish(*"abcde")
    subscriber = listener()
    subscriber.takes = 2
    replay = bench.replay(subscriber)
    assert replay.advance(64)
    assert subscriber.bodies == [*"ab"]
    assert replay.advance(64)
    assert not replay.is_done
    subscriber.take_in()
    assert not replay.advance(64)
    assert subscriber.bodies == [*"abcde"]


def test_what_is_dropped_before_a_slow_subscriber_came_to_it_is_told_exactly() -> None:
    bench = Bench(History(ROOMS, size=3))
    bench.publish(*"abc")
    subscriber = listener()
    subscriber.takes = 1
    replay = bench.replay(subscriber)
    replay.advance(64)
    bench.publish(*"defg")
    subscriber.take_in()
    finish(replay)
    assert subscriber.bodies == [*"aefg"]
    assert subscriber.told == [None, {"x-missed": "3"}, None, None]
    assert bench.counters.missed == 3
    assert replay.missed == "0", "as it was when it came"


def test_each_of_several_destinations_has_gaps_of_its_own() -> None:
    bench = Bench(History(ROOMS, size=2))
    bench.publish(*"ab")
    bench.publish(*"AB", destination=OTHER)
    subscriber = listener(ROOMS)
    subscriber.takes = 1
    replay = bench.replay(subscriber)
    replay.advance(64)
    bench.publish(*"CDEF", destination=OTHER)
    bench.publish("c", destination=ROOM)
    subscriber.take_in()
    finish(replay)
    assert subscriber.bodies == [*"abEFc"]
    assert subscriber.told == [None, None, {"x-missed": "4"}, None, None]


def test_a_destination_that_begins_meanwhile_is_given_from_its_beginning() -> None:
    bench = Bench()
    bench.publish(*"ab")
    subscriber = listener(ROOMS)
    subscriber.takes = 1
    replay = bench.replay(subscriber)
    replay.advance(64)
    bench.publish(*"AB", destination=OTHER)
    assert not replay.is_done
    subscriber.take_in()
    finish(replay)
    assert (subscriber.bodies, replay.is_done) == ([*"abAB"], True)


def test_a_destination_that_is_forgotten_meanwhile_and_begins_anew_is_told() -> None:
    bench = Bench(limit=1)
    bench.publish(*"abc")
    subscriber = listener()
    subscriber.takes = 1
    replay = bench.replay(subscriber)
    replay.advance(64)
    bench.publish("x", destination=OTHER)
    bench.publish(*"de")
    subscriber.take_in()
    finish(replay)
    assert subscriber.bodies == [*"ade"]
    assert subscriber.told == [None, {"x-missed": "unknown"}, None]
    assert replay.is_done


def test_who_has_not_got_everything_of_what_is_forgotten_is_not_done_before_it_is_told() -> None:
    bench = Bench(limit=1)
    bench.publish(*"abc")
    subscriber = listener()
    subscriber.takes = 1
    replay = bench.replay(subscriber)
    replay.advance(64)
    bench.publish("x", destination=OTHER)
    subscriber.take_in()
    finish(replay)
    assert not replay.is_done, "b and c are missing, and it does not know"
    bench.publish("d")
    finish(replay)
    assert (subscriber.bodies, subscriber.told) == ([*"ad"], [None, {"x-missed": "unknown"}])
    assert replay.is_done


def test_who_has_got_everything_of_what_is_forgotten_misses_nothing() -> None:
    bench = Bench(limit=1)
    bench.publish(*"ab")
    subscriber = listener()
    replay = bench.replay(subscriber)
    finish(replay)
    bench.publish("x", destination=OTHER)
    assert replay.is_done
    bench.publish(*"cd")
    finish(replay)
    assert (subscriber.bodies, subscriber.told) == ([*"abcd"], [None] * 4)


def test_what_begins_and_is_forgotten_meanwhile_is_told_by_the_next_of_any_destination() -> None:
    bench = Bench(limit=2)
    bench.publish("a", destination="/topic/rooms/3")
    bench.publish(*"bc")
    subscriber = listener(ROOMS)
    subscriber.takes = 2
    replay = bench.replay(subscriber)
    replay.advance(64)
    bench.publish(*"xy", destination=OTHER)
    bench.publish("d")
    bench.publish("e", destination="/topic/rooms/4")  # OTHER is forgotten, nothing of it was given
    subscriber.take_in()
    finish(replay)
    assert subscriber.bodies == [*"abcde"]
    assert subscriber.told == [None, None, {"x-missed": "unknown"}, None, None]
    assert replay.is_done


def test_a_message_too_large_to_be_kept_is_a_gap_for_who_catches_up() -> None:
    bench = Bench(max_size=3 * kept_size())
    bench.publish(*"ab")
    subscriber = listener()
    subscriber.takes = 1
    replay = bench.replay(subscriber)
    replay.advance(64)
    bench.publish("x" * 3 * kept_size(), "c")
    subscriber.take_in()
    finish(replay)
    assert subscriber.bodies == [*"ac"]
    assert subscriber.told == [None, {"x-missed": "2"}]


# Whatever happens.


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from([ROOM, ROOM, OTHER, "/topic/rooms/3", "/topic/other"])),
        st.tuples(st.just("large"), st.sampled_from([ROOM, OTHER])),
        st.tuples(st.just("take"), st.integers(1, 5)),
        st.tuples(st.just("time"), st.sampled_from([1.0, 5.0])),
        st.tuples(st.just("look"), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([ROOM, OTHER]), max_size=12),
    st.sampled_from([ROOM, ROOM, ROOMS, "/topic/**"]),
    st.one_of(st.none(), st.integers(1, 14)),
    st.sampled_from(["e1", "e1", "e1", "other"]),
    st.integers(1, 3),
    st.integers(2, 3),
    ACTS,
)
def test_in_the_end_a_subscriber_has_everything_or_was_told_exactly_what_not(
    before: list[str],
    pattern: str,
    offset: int | None,
    epoch: str,
    burst: int,
    limit: int,
    acts: list[tuple[str, object]],
) -> None:
    """Slow subscribers, several destinations, what is evicted, too old or forgotten meanwhile."""
    bench = Bench(History(ROOMS, size=4, seconds=8.0), limit=limit, max_size=10 * kept_size())
    for number, destination in enumerate(before):
        bench.publish(str(number), destination=destination)
    if offset is not None:
        pattern = ROOM
    subscriber = listener(pattern)
    subscriber.is_ready = False
    # By destination: epoch and offset of the last message that it has, or does not want.
    last: dict[str, tuple[str, int]] = {}
    for destination, stream in bench.histories.matching(subscriber.pattern):
        last[destination] = stream.epoch, stream.offset - len(stream)
    stream = bench.histories.find(ROOM)
    is_unknown = offset is not None and (stream is None or stream.epoch != epoch or offset > stream.offset)
    if offset is not None:
        last = {} if is_unknown else {ROOM: (epoch, offset)}
    replay = bench.replay(subscriber, ALL if offset is None else Since(epoch, offset))
    assert (replay.missed == "unknown") is is_unknown
    newest: dict[tuple[str, str], int] = {}

    def look() -> None:
        for destination, stream in bench.histories.matching(subscriber.pattern):
            newest[destination, stream.epoch] = stream.offset

    look()
    for act, value in acts:
        if act == "publish":
            bench.publish("x", destination=str(value))
        elif act == "large":
            bench.publish("x" * 10 * kept_size(), destination=str(value))
        elif act == "take":
            subscriber.take_in(int(str(value)))
            while replay.advance(burst) and subscriber.is_ready:
                pass
        elif act == "time":
            bench.now += float(str(value))
        else:
            bench.histories.expire(bench.now)
        look()
    subscriber.take_in()
    finish(replay, burst)

    # What was forgotten before it was given, and has not been told of.
    seen = {(got.message.destination, got.message.headers.get("x-epoch")): got for got in subscriber.got}
    given = {key: int(got.message.headers["x-offset"]) for key, got in seen.items() if key[1] is not None}
    forgotten = False
    for (destination, its_epoch), offset_of_newest in newest.items():
        stream = bench.histories.find(destination)
        is_gone = stream is None or stream.epoch != its_epoch
        base = last[destination][1] if last.get(destination, ("",))[0] == its_epoch else 0
        forgotten |= is_gone and max(base, given.get((destination, its_epoch), 0)) < offset_of_newest
    serials, unknowns = [], 0
    for got in subscriber.got:
        headers, missed = got.message.headers, (got.told or {}).get("x-missed", "0")
        unknowns += missed == "unknown"
        if "x-offset" not in headers:
            assert missed in ("0", "unknown")
            continue
        serials.append(got.message.serial)
        its_epoch, its_offset = headers["x-epoch"], int(headers["x-offset"])
        known, before_it = last.get(got.message.destination, (its_epoch, 0))
        if missed != "unknown":
            assert its_offset == (before_it if known == its_epoch else 0) + 1 + int(missed)
        last[got.message.destination] = its_epoch, its_offset
    assert serials == sorted(set(serials)), "once each, in order"
    if is_unknown and subscriber.got:
        assert (subscriber.got[0].told or {})["x-missed"] == "unknown", "the first tells"
    assert is_unknown or forgotten or not unknowns, "without a reason"
    assert unknowns or not replay.is_done or not (is_unknown or forgotten), "it was not told"
    for destination, stream in bench.histories.matching(subscriber.pattern):
        known, its_offset = last.get(destination, (stream.epoch, 0))
        its_offset = its_offset if known == stream.epoch else 0
        assert not stream.after(its_offset, 1), "all of the rest"
        assert its_offset == stream.offset or not replay.is_done
