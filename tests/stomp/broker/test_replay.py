"""Who catches up gets all of the rest, in order, or is told what not; whatever is published and forgotten meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbridge.errors import BadFrame
from sockbridge.stomp.broker.history import History
from sockbridge.stomp.broker.replay import SMALL, Replay, Since, forget_wordings, since_of
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.counters import BrokerCounters
from sockbridge.stomp.destinations import Pattern
from tests.stomp.broker.fakes import OTHER, ROOM, ROOMS, HistoryBench, RecordingSubscriber, kept_size, message

ALL = Since(None, 0)


class Bench(HistoryBench):
    """The streams of one broker, and those who catch up."""

    def __init__(self, *rules: History, limit: int = 100, max_size: int = 1_000_000, most: int = 1_000_000) -> None:
        super().__init__(*rules, limit=limit, max_size=max_size, most=most)
        self.counters = BrokerCounters()
        self.news: list[Replay] = []
        self.replays: list[Replay] = []

    def publish(self, *bodies: str, destination: str = ROOM) -> list[PreparedMessage]:
        """As topics do: keep it, and give it to whoever wants it."""
        messages = []
        for body in bodies:
            messages += super().publish(body, destination=destination)
            for replay in self.replays:
                if replay.subscriber.pattern.match(destination) is not None:
                    assert replay.deliver(messages[-1])
        return messages

    def replay(self, subscriber: RecordingSubscriber, since: Since = ALL) -> Replay:
        replay = Replay(subscriber, since, self.histories, self.counters, self.news.append, self.now)
        self.replays.append(replay)
        return replay


def listener(pattern: str = ROOM) -> RecordingSubscriber:
    return RecordingSubscriber(pattern)


def finish(replay: Replay, limit: int = 64) -> None:
    while replay.advance(limit):
        assert replay.subscriber.is_ready


def test_a_gap_is_said_until_the_client_could_be_told() -> None:
    bench, subscriber = Bench(), listener()
    subscriber.can_be_told = False
    replay = bench.replay(subscriber, Since("of another life", 7))
    bench.publish("octets")
    finish(replay)
    subscriber.can_be_told = True
    bench.publish("text")
    finish(replay)
    assert (subscriber.bodies, replay.is_done) == (["text"], True)
    assert subscriber.told == [{"x-missed": "unknown"}]


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
    assert (subscriber.bodies, replay.is_done) == ([*"abcde"], False), "it is told by what comes next"
    bench.publish("f", destination="/topic/rooms/4")
    finish(replay)
    assert (subscriber.bodies[5:], subscriber.told) == (["f"], [*[None] * 5, {"x-missed": "unknown"}])
    assert replay.is_done
    assert bench.counters.missed == 0, "nobody knows how many"


def test_a_message_too_large_to_be_kept_is_a_gap_for_who_takes_nothing_then() -> None:
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


LARGE = "x" * 3 * kept_size()


@pytest.mark.parametrize("pattern", [ROOM, ROOMS])
@pytest.mark.parametrize("before", ["", "a", LARGE])
def test_who_has_caught_up_is_given_what_cannot_be_kept_and_lives_on(before: str, pattern: str) -> None:
    """Or it would catch up for ever, and get nothing of it."""
    bench = Bench(max_size=3 * kept_size())
    if before:
        bench.publish(before)
    subscriber = listener(pattern)
    replay = bench.replay(subscriber)
    finish(replay)
    bench.publish(LARGE, LARGE)
    assert subscriber.bodies[-2:] == [LARGE] * 2
    assert (replay.is_done, replay.missed, bench.counters.missed) == (True, "0", 0)
    bench.publish("b")
    finish(replay)
    assert (subscriber.bodies[-1], not any(subscriber.told), replay.is_done) == ("b", True, True)


def test_what_cannot_be_kept_says_what_is_missing_before_it() -> None:
    bench = Bench(max_size=3 * kept_size())
    bench.publish("a", LARGE)
    subscriber = listener()
    replay = bench.replay(subscriber, Since("e1", 1))
    finish(replay)
    assert (replay.missed, replay.is_done, subscriber.got) == ("1", False, [])
    bench.publish(LARGE)
    assert (subscriber.bodies, subscriber.told) == ([LARGE], [{"x-missed": "1"}])
    assert (replay.is_done, bench.counters.missed) == (True, 1)


def test_what_cannot_be_kept_overtakes_nothing_of_its_destination() -> None:
    bench = Bench(most=3 * kept_size())
    bench.publish(*"ab")
    subscriber = listener()
    replay = bench.replay(subscriber)
    assert replay.advance(1)
    bench.budget.give_way = None
    bench.budget.take(kept_size())  # somebody else holds it, so the next is not kept
    bench.publish("c")
    assert subscriber.bodies == ["a"]
    finish(replay)
    assert (subscriber.bodies, replay.is_done) == ([*"ab"], False)
    bench.budget.give_back(kept_size())
    bench.publish("d")
    finish(replay)
    assert (subscriber.bodies, subscriber.told) == ([*"abd"], [None, None, {"x-missed": "1"}])
    assert replay.is_done


def test_of_a_slow_reader_nothing_piles_up() -> None:
    """It is behind in what is kept, and not in all that ever was."""
    bench = Bench(limit=5)
    bench.publish("a")
    subscriber = listener(ROOMS)
    subscriber.is_ready = False
    replay = bench.replay(subscriber)
    for number in range(1000):
        bench.publish("x", destination=f"/topic/rooms/{number}")
        assert len(replay._behind) <= 11
    subscriber.take_in()
    finish(replay)
    assert subscriber.told[0] == {"x-missed": "unknown"}
    assert (len(subscriber.got), any(subscriber.told[1:])) == (5, False)
    bench.publish("last")
    finish(replay)
    assert (subscriber.bodies[-1], replay.is_done, len(replay._behind)) == ("last", True, 0)


class Counting(Pattern):
    """A pattern that counts what it is compared with."""

    __slots__ = ("count",)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.count = 0

    def match(self, destination: str) -> dict[str, str] | None:
        self.count += 1
        return super().match(destination)


@pytest.mark.parametrize("text", [ROOMS, "/topic/nothing/*"])
def test_all_that_is_kept_is_looked_through_once(text: str) -> None:
    bench = Bench(limit=1000)
    for number in range(1000):
        bench.publish("x", destination=f"/topic/rooms/{number}")
    subscriber = listener()
    subscriber.pattern = pattern = Counting(text)
    replay = bench.replay(subscriber)
    finish(replay)
    assert (replay.is_done, len(subscriber.got)) == (True, 1000 if text == ROOMS else 0)
    assert pattern.count == 1000


def test_what_has_grown_too_old_is_not_given_though_nobody_has_looked() -> None:
    bench = Bench(History(ROOMS, seconds=10.0))
    bench.publish("a")
    bench.now = 5.0
    bench.publish("b")
    bench.now = 10.0
    subscriber = listener()
    replay = bench.replay(subscriber, Since("e1", 0))
    finish(replay)
    assert (subscriber.bodies, replay.missed) == (["b"], "1")


# What they were worded as.


@pytest.mark.parametrize(("size", "stays"), [(SMALL, True), (SMALL + 1, False)])
def test_what_a_large_message_was_worded_as_is_forgotten(size: int, stays: bool) -> None:
    one = message(ROOM, "x" * size)
    one.wordings["a dialect"] = "as it was told"  # type: ignore[index, assignment]
    forget_wordings(one)
    assert bool(one.wordings) is stays


@pytest.mark.parametrize("is_kept", [True, False])
def test_who_catches_up_leaves_no_wordings_of_large_messages_behind(is_kept: bool) -> None:
    bench = Bench(max_size=10_000 if is_kept else 1000)
    subscriber = Wording(ROOM)
    replay = bench.replay(subscriber)
    (one,) = bench.publish("x" * 2000)
    finish(replay)
    assert (len(subscriber.got), one.wordings) == (1, {})


class Wording(RecordingSubscriber):
    """A client for whom messages are worded, as for real ones."""

    def _take(self, message: PreparedMessage, headers: Mapping[str, str] | None, *, is_lent: bool) -> bool:
        message.wordings["a dialect"] = "as it was told"  # type: ignore[index, assignment]
        return super()._take(message, headers, is_lent=is_lent)


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
    for destination, stream in bench.histories.matching(subscriber.pattern, bench.now):
        last[destination] = stream.epoch, stream.offset - len(stream)
    stream = bench.histories.find(ROOM)
    is_unknown = offset is not None and (stream is None or stream.epoch != epoch or offset > stream.offset)
    if offset is not None:
        last = {} if is_unknown else {ROOM: (epoch, offset)}
    replay = bench.replay(subscriber, ALL if offset is None else Since(epoch, offset))
    assert (replay.missed == "unknown") is is_unknown
    newest: dict[tuple[str, str], int] = {}

    def look() -> None:
        for destination, stream in bench.histories.matching(subscriber.pattern, bench.now):
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
        if len(got.message.body) == 1:  # what cannot be kept overtakes other destinations
            serials.append(got.message.serial)
        its_epoch, its_offset = headers["x-epoch"], int(headers["x-offset"])
        known, before_it = last.get(got.message.destination, (its_epoch, 0))
        if missed != "unknown":
            assert its_offset == (before_it if known == its_epoch else 0) + 1 + int(missed)
        last[got.message.destination] = its_epoch, its_offset
    assert serials == sorted(set(serials)), "once each, in order"
    assert len({got.message.serial for got in subscriber.got}) == len(subscriber.got)
    if is_unknown and subscriber.got:
        assert (subscriber.got[0].told or {})["x-missed"] == "unknown", "the first tells"
    assert is_unknown or forgotten or not unknowns, "without a reason"
    assert unknowns or not replay.is_done or not (is_unknown or forgotten), "it was not told"
    for destination, stream in bench.histories.matching(subscriber.pattern, bench.now):
        known, its_offset = last.get(destination, (stream.epoch, 0))
        its_offset = its_offset if known == stream.epoch else 0
        assert not stream.after(its_offset, 1), "all of the rest"
        assert its_offset == stream.offset or not replay.is_done
