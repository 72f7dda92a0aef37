"""One queue: who gets which message, what comes back, what dies, and that nothing is lost."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from sockbridge.errors import QueueFull
from sockbridge.stomp.broker.holding import Budget, size_of
from sockbridge.stomp.broker.queues import AT_ONCE, SLACK, Death, Queue, QueueLimits
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.counters import BrokerCounters
from sockbridge.stomp.frame import AckMode
from tests.stomp.broker.fakes import RecordingSubscriber, message

ACK_MODES = [AckMode.CLIENT, AckMode.CLIENT_INDIVIDUAL]
SIZE = size_of(message(body="1"))
"""Of a message with a body of one octet."""


class Bench:
    """One queue, and what it shares with others."""

    def __init__(
        self,
        *,
        length: int = 10_000,
        size: int = 1_000_000,
        deliveries: int = 20,
        drops: bool = False,
        tells: bool = False,
        most: int = 1_000_000,
    ) -> None:
        self.budget = Budget(most)
        self.counters = BrokerCounters()
        self.limits = QueueLimits(length, size, deliveries, drops=drops, tells=tells)
        self.queue = Queue("/queue/a", self.limits, self.budget, self.counters)

    def put(self, *bodies: str, now: float = 0.0, expires_after: float | None = None) -> list[PreparedMessage]:
        messages = [message(body=body) for body in bodies]
        for one in messages:
            self.queue.put(one, now, expires_after)
        return messages

    def consume(self, prefetch: int = 1000, ack: AckMode = AckMode.CLIENT_INDIVIDUAL) -> RecordingSubscriber:
        subscriber = RecordingSubscriber(ack=ack)
        self.queue.add(subscriber, prefetch)
        return subscriber

    def give_out(self, now: float = 0.0) -> None:
        """Until nothing more can be given out."""
        for _ in range(10_000):
            if not self.queue.dispatch(now, 64):
                return
        raise AssertionError("there is no end to it")

    def expire(self, now: float) -> None:
        """Until nothing more has expired."""
        for _ in range(10_000):
            if not self.queue.expire(now, 64):
                return
        raise AssertionError("there is no end to it")

    def settle(
        self, subscriber: RecordingSubscriber, *bodies: str, accept: bool = True, requeue: bool = True, now: float = 0.0
    ) -> None:
        """``subscriber`` acknowledges what had these bodies (all it has if there are none), or does not."""
        chosen = [got.message.serial for got in subscriber.got if not bodies or got.message.body.decode() in bodies]
        self.queue.settle(subscriber, chosen, now, is_accepted=accept, requeue=requeue)

    def deaths(self) -> list[tuple[str, str, int]]:
        return [(dead.message.body.decode(), dead.reason.value, dead.deliveries) for dead in self.queue.take_dead()]


# Order and turns.


def test_messages_wait_and_come_in_the_order_in_which_they_were_put() -> None:
    bench = Bench()
    bench.put(*"12345")
    assert (len(bench.queue), bench.queue.lent, bench.queue.consumers) == (5, 0, 0)
    subscriber = bench.consume(ack=AckMode.AUTO)
    bench.give_out()
    assert subscriber.bodies == [*"12345"]
    assert not any(got.is_lent or got.told for got in subscriber.got)
    assert (len(bench.queue), bench.queue.lent, bench.queue.consumers) == (0, 0, 1)
    assert bench.budget.held == 0
    assert (bench.counters.queued, bench.counters.delivered, bench.counters.settled) == (5, 5, 5)


@pytest.mark.parametrize("ack", ACK_MODES)
def test_what_must_be_acknowledged_is_lent_until_it_is(ack: AckMode) -> None:
    bench = Bench()
    bench.put(*"123")
    subscriber = bench.consume(ack=ack)
    bench.give_out()
    assert [got.is_lent for got in subscriber.got] == [True] * 3
    assert (len(bench.queue), bench.queue.lent, bench.counters.settled) == (0, 3, 0)
    assert bench.budget.held == 3 * SIZE
    bench.settle(subscriber, "2")
    assert (bench.queue.lent, bench.counters.settled, bench.budget.held) == (2, 1, 2 * SIZE)
    bench.settle(subscriber, "1", "3")
    assert (bench.queue.lent, bench.counters.settled, bench.budget.held) == (0, 3, 0)
    assert bench.queue.take_dead() == []


def test_consumers_take_turns() -> None:
    bench = Bench()
    one, two, three = bench.consume(), bench.consume(ack=AckMode.AUTO), bench.consume()
    bench.put(*"123456789")
    bench.give_out()
    assert (one.bodies, two.bodies, three.bodies) == ([*"147"], [*"258"], [*"369"])


def test_turns_go_on_where_they_stopped() -> None:
    bench = Bench()
    one, two = bench.consume(), bench.consume()
    for body in "1234":
        bench.put(body)
        bench.give_out()
    assert (one.bodies, two.bodies) == ([*"13"], [*"24"])


def test_who_has_no_room_is_passed_over_and_the_others_still_take_turns() -> None:
    bench = Bench()
    full, one, two = bench.consume(1), bench.consume(), bench.consume()
    bench.put(*"1234567")
    bench.give_out()
    assert (full.bodies, one.bodies, two.bodies) == ([*"1"], [*"246"], [*"357"])
    bench.settle(full)
    bench.put(*"89a")
    bench.give_out()
    assert (full.bodies, one.bodies, two.bodies) == ([*"1a"], [*"2468"], [*"3579"])


def test_prefetch_is_how_many_one_consumer_has_at_a_time() -> None:
    bench = Bench()
    bench.put(*"12345678")
    subscriber = bench.consume(3)
    bench.give_out()
    assert subscriber.take() == [*"123"]
    assert (len(bench.queue), bench.queue.lent) == (5, 3)
    bench.give_out()
    assert subscriber.take() == []
    bench.queue.settle(subscriber, [], 0.0, is_accepted=True)
    bench.give_out()
    assert subscriber.take() == []


@pytest.mark.parametrize("accept", [True, False])
def test_what_is_settled_makes_room_for_as_many(accept: bool) -> None:
    bench = Bench()
    bench.put(*"12345678")
    subscriber = bench.consume(3)
    bench.give_out()
    bench.settle(subscriber, "1", "2", accept=accept, requeue=False)
    bench.give_out()
    assert subscriber.bodies == [*"12345"]


def test_an_automatic_consumer_has_no_prefetch() -> None:
    bench = Bench()
    bench.put(*"12345678")
    subscriber = bench.consume(1, AckMode.AUTO)
    bench.give_out()
    assert subscriber.bodies == [*"12345678"]


def test_no_more_than_the_limit_is_given_out_at_a_time() -> None:
    bench = Bench()
    bench.put(*"12345")
    subscriber = bench.consume()
    assert bench.queue.dispatch(0.0, 2)
    assert subscriber.bodies == [*"12"]
    assert bench.queue.dispatch(0.0, 2)
    assert not bench.queue.dispatch(0.0, 2)
    assert subscriber.bodies == [*"12345"]
    assert not bench.queue.dispatch(0.0, 2)


@pytest.mark.parametrize(("waiting", "consumers"), [("", 0), ("", 1), ("1", 0)])
def test_without_a_message_or_without_a_consumer_there_is_nothing_to_do(waiting: str, consumers: int) -> None:
    bench = Bench()
    bench.put(*waiting)
    for _ in range(consumers):
        bench.consume()
    assert not bench.queue.dispatch(0.0, 10)
    assert bench.queue.stalled == []


# Consumers that take nothing at the moment.


def test_a_consumer_that_is_not_ready_stalls_until_it_is_woken() -> None:
    bench = Bench()
    slow = bench.consume()
    slow.is_ready = False
    bench.put(*"12")
    assert not bench.queue.dispatch(0.0, 10)
    assert bench.queue.stalled == [slow]
    bench.queue.stalled.clear()
    slow.is_ready = True
    assert not bench.queue.dispatch(0.0, 10), "nobody has said so"
    assert slow.bodies == bench.queue.stalled == []
    bench.queue.wake(slow)
    bench.queue.wake(slow)  # a second time does nothing
    bench.give_out()
    assert slow.bodies == [*"12"]


def test_nobody_stalls_while_nothing_waits() -> None:
    bench = Bench()
    slow = bench.consume()
    slow.is_ready = False
    bench.give_out()
    assert bench.queue.stalled == []


def test_a_slow_consumer_holds_up_no_other() -> None:
    bench = Bench()
    slow, quick = bench.consume(), bench.consume()
    slow.takes = 1
    bench.put(*"12345")
    bench.give_out()
    assert (slow.bodies, quick.bodies) == ([*"1"], [*"2345"])
    assert bench.queue.stalled == [slow]


def test_a_consumer_that_is_full_and_slow_does_not_stall_before_it_has_room_again() -> None:
    """Whoever waits for it would be told at once, again and again."""
    bench = Bench()
    subscriber = bench.consume(1)
    bench.put(*"12")
    bench.give_out()
    subscriber.is_ready = True
    bench.give_out()
    assert bench.queue.stalled == []
    subscriber.is_ready = False
    bench.settle(subscriber)
    bench.give_out()
    assert bench.queue.stalled == [subscriber]


def test_waking_a_stranger_does_nothing() -> None:
    bench = Bench()
    bench.queue.wake(RecordingSubscriber())
    bench.put("1")
    assert not bench.queue.dispatch(0.0, 10)
    assert bench.queue.is_idle is False


# What comes back.


def test_what_was_not_taken_comes_again_and_says_so() -> None:
    bench = Bench()
    bench.put(*"12")
    subscriber = bench.consume(1)
    for _ in range(3):
        bench.give_out()
        bench.settle(subscriber, "1", accept=False)
    bench.give_out()
    assert subscriber.bodies == [*"1111"], "it keeps its place before all others"
    assert subscriber.told == [
        None,
        {"redelivered": "true", "x-delivery-count": "1"},
        {"redelivered": "true", "x-delivery-count": "2"},
        {"redelivered": "true", "x-delivery-count": "3"},
    ]
    assert (bench.counters.delivered, bench.counters.redelivered) == (4, 3)
    bench.settle(subscriber, "1")
    bench.give_out()
    assert subscriber.told[-1] is None


def test_what_comes_back_from_several_consumers_returns_to_its_old_place() -> None:
    bench = Bench()
    one, two, three = bench.consume(3), bench.consume(3), bench.consume(3)
    bench.put(*"abcdefghijkl")
    bench.give_out()
    assert (one.bodies, two.bodies, three.bodies) == ([*"adg"], [*"beh"], [*"cfi"])
    bench.settle(two, "h", "b", accept=False)
    bench.queue.remove(three, 0.0)
    bench.settle(one, "d", accept=False)
    bench.queue.remove(one, 0.0)
    bench.queue.remove(two, 0.0)
    assert (len(bench.queue), bench.queue.lent) == (12, 0)
    last = bench.consume(ack=AckMode.AUTO)
    bench.give_out()
    assert last.bodies == [*"abcdefghijkl"]
    assert [told is None for told in last.told] == [False] * 9 + [True] * 3


def test_what_a_consumer_had_not_settled_is_free_for_others_when_it_goes() -> None:
    bench = Bench()
    one, two = bench.consume(), bench.consume(1)
    bench.put(*"12345")
    bench.give_out()
    bench.settle(one, "3")
    bench.queue.remove(one, 0.0)
    bench.queue.remove(one, 0.0)  # a second time does nothing
    assert (bench.queue.consumers, bench.queue.lent, len(bench.queue)) == (1, 1, 3)
    for body in "21":
        bench.settle(two, body)
        bench.give_out()
    assert two.bodies == [*"214"]


def test_a_consumer_that_goes_while_it_is_full_or_stalled_is_forgotten() -> None:
    bench = Bench()
    full, stalled = bench.consume(1), bench.consume()
    bench.put(*"123")
    stalled.is_ready = False
    bench.give_out()
    bench.give_out()
    for subscriber in (full, stalled):
        bench.queue.remove(subscriber, 0.0)
    bench.give_out()
    assert bench.queue.consumers == 0
    assert (len(full.got), len(stalled.got), len(bench.queue)) == (1, 0, 3)


def test_who_has_gone_settles_nothing() -> None:
    bench = Bench()
    subscriber = bench.consume()
    bench.put("1")
    bench.give_out()
    bench.queue.remove(subscriber, 0.0)
    bench.settle(subscriber, "1")
    assert (len(bench.queue), bench.counters.settled) == (1, 0)


def test_nobody_settles_what_somebody_else_has_or_what_is_settled_already() -> None:
    bench = Bench()
    one, two = bench.consume(), bench.consume()
    first, second = bench.put(*"12")
    bench.give_out()
    bench.queue.settle(one, [second.serial, 99_999_999], 0.0, is_accepted=True)
    assert (bench.queue.lent, bench.counters.settled) == (2, 0)
    for _ in range(2):
        bench.queue.settle(one, [first.serial], 0.0, is_accepted=True)
    bench.queue.settle(one, [first.serial], 0.0, is_accepted=False)
    assert (bench.queue.lent, bench.counters.settled, len(bench.queue)) == (1, 1, 0)
    bench.settle(two)
    assert bench.budget.held == 0


def test_several_are_settled_at_once() -> None:
    """A cumulative ACK comes as the serials that it covers."""
    bench = Bench()
    subscriber = bench.consume(4, AckMode.CLIENT)
    bench.put(*"123456")
    bench.give_out()
    bench.settle(subscriber, "1", "2", "3")
    assert (bench.queue.lent, bench.counters.settled) == (1, 3)
    bench.give_out()
    assert subscriber.bodies == [*"123456"]
    bench.settle(subscriber, "4", "5", accept=False)
    assert (len(bench.queue), bench.queue.lent) == (2, 1)


def test_a_message_that_comes_back_too_often_dies() -> None:
    bench = Bench(deliveries=3)
    subscriber = bench.consume()
    bench.put("1")
    for _ in range(3):
        assert bench.deaths() == []
        bench.give_out()
        bench.settle(subscriber, accept=False)
    assert bench.deaths() == [("1", "delivery_limit", 3)]
    assert bench.deaths() == [], "once"
    bench.give_out()
    assert len(subscriber.got) == 3
    assert (len(bench.queue), bench.queue.lent, bench.budget.held) == (0, 0, 0)


def test_consumers_that_die_of_a_message_kill_it() -> None:
    bench = Bench(deliveries=2)
    bench.put("poison")
    for _ in range(2):
        subscriber = bench.consume()
        bench.give_out()
        assert subscriber.bodies == ["poison"]
        bench.queue.remove(subscriber, 0.0)
    assert bench.deaths() == [("poison", "delivery_limit", 2)]
    assert bench.queue.is_idle


def test_what_is_rejected_for_good_dies_at_once() -> None:
    bench = Bench()
    subscriber = bench.consume()
    bench.put(*"12")
    bench.give_out()
    bench.settle(subscriber, "2", accept=False, requeue=False)
    assert bench.deaths() == [("2", "rejected", 1)]
    assert (bench.queue.lent, bench.budget.held, bench.counters.settled) == (1, SIZE, 0)


# Consumers that cannot be told.


@pytest.mark.parametrize("ack", list(AckMode))
def test_what_one_consumer_cannot_be_told_goes_to_another(ack: AckMode) -> None:
    bench = Bench()
    deaf, other = bench.consume(ack=ack), bench.consume(ack=ack)
    deaf.can_be_told = False
    bench.put(*"123")
    bench.give_out()
    assert (deaf.got, other.bodies) == ([], [*"123"])
    assert bench.deaths() == []
    assert bench.counters.delivered == 3, "what could not be told is none"


@pytest.mark.parametrize("ack", list(AckMode))
def test_what_nobody_can_be_told_dies_and_holds_up_nothing(ack: AckMode) -> None:
    bench = Bench()
    deaf = bench.consume(1, ack)
    deaf.can_be_told = False
    bench.put("octets")
    bench.give_out()
    assert bench.deaths() == [("octets", "undeliverable", 0)]
    assert (len(bench.queue), bench.queue.lent, bench.budget.held) == (0, 0, 0)
    deaf.can_be_told = True
    bench.put("text")
    bench.give_out()
    assert deaf.bodies == ["text"]
    assert (bench.counters.delivered, bench.queue.lent) == (1, 0 if ack is AckMode.AUTO else 1)


def bodies_of(messages: Sequence[PreparedMessage]) -> list[str]:
    return [one.body.decode() for one in messages]


def consume_deaf(bench: Bench, prefetch: int = 1000) -> RecordingSubscriber:
    """It cannot be told anything, for now."""
    deaf = bench.consume(prefetch)
    deaf.can_be_told = False
    return deaf


def test_several_that_cannot_be_told_are_asked_once_each() -> None:
    bench = Bench()
    several = [consume_deaf(bench) for _ in range(3)]
    bench.put(*"12")
    assert bench.queue.dispatch(0.0, 2), "there is more to do"
    assert bench.deaths() == []
    bench.give_out()
    assert [bodies_of(deaf.refused) for deaf in several] == [[*"12"]] * 3
    assert bench.deaths() == [("1", "undeliverable", 0), ("2", "undeliverable", 0)]


@pytest.mark.parametrize("ack", list(AckMode))
@pytest.mark.parametrize("why", ["full", "slow"])
def test_what_one_cannot_be_told_waits_for_another_that_takes_nothing_now(why: str, ack: AckMode) -> None:
    bench = Bench(deliveries=1)
    deaf, other = bench.consume(ack=ack), bench.consume(1 if why == "full" else 1000)
    deaf.can_be_told = False
    other.takes = 1 if why == "slow" else None
    bench.put("0")
    bench.give_out()
    assert other.bodies == ["0"]
    bench.put(*"12")
    for _ in range(30):
        bench.give_out()
        bench.queue.wake(deaf)
    assert (bench.deaths(), len(bench.queue)) == ([], 2)
    assert bodies_of(deaf.refused) == [*"012"], "it is not asked again"
    deaf.can_be_told = True
    bench.put("3")
    bench.give_out()
    assert (deaf.bodies, len(bench.queue)) == (["3"], 2), "what waits for another holds up nothing"


def test_what_waited_for_another_keeps_its_place_before_what_is_younger() -> None:
    bench = Bench()
    deaf, full = consume_deaf(bench), bench.consume(1)
    bench.put(*"012")
    bench.give_out()
    deaf.can_be_told = True
    bench.put(*"34")
    bench.give_out()
    assert (full.bodies, deaf.bodies, len(bench.queue)) == (["0"], [*"34"], 2)
    bench.queue.remove(deaf, 0.0)
    bench.put("9")
    for _ in range(5):
        bench.settle(full)
        bench.give_out()
    assert full.bodies == [*"012349"]
    told = [full.told[index] for index in (0, 1, 2, 5)]
    assert told == [None] * 4, "what it could not be told was no try"


def test_workers_go_on_while_a_message_that_they_cannot_be_told_waits_for_another() -> None:
    bench = Bench()
    busy, *workers = bench.consume(1), *[consume_deaf(bench, 1) for _ in range(9)]
    bench.put("0", "octets")
    bench.give_out()
    for worker in workers:
        worker.can_be_told = True
    bench.put(*map(str, range(100)))
    for _ in range(20):
        bench.give_out()
        for worker in workers:
            bench.settle(worker)
    assert sorted(len(worker.got) for worker in workers) == [11] * 8 + [12]
    assert (busy.bodies, len(bench.queue)) == (["0"], 1)
    bench.settle(busy)
    bench.give_out()
    assert busy.bodies == ["0", "octets"]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 20])
def test_however_many_wait_for_another_there_is_an_end_to_giving_out(count: int) -> None:
    bench = Bench()
    deaf, full = consume_deaf(bench), bench.consume(1)
    bench.put("0", *["octets"] * count)
    calls = 0
    while bench.queue.dispatch(0.0, 4):
        calls += 1
        assert calls <= 2 * count
    assert len(bench.queue) == count
    bench.queue.remove(deaf, 0.0)
    for _ in range(count):
        bench.settle(full)
        while bench.queue.dispatch(0.0, 4):
            pass
    assert full.bodies == ["0", *["octets"] * count]


def test_what_comes_back_is_worded_anew() -> None:
    """Wordings are not counted, so they are not held."""
    bench = Bench()
    one, (message,) = bench.consume(), bench.put("1")
    bench.give_out()
    message.wordings["a dialect"] = "as it was told"  # type: ignore[index, assignment]
    bench.settle(one, accept=False)
    assert message.wordings == {}


def test_what_comes_back_to_a_queue_of_one_client_alone_keeps_its_wordings() -> None:
    """It is everybody's message, and was just worded for others."""
    bench = Bench(tells=True)
    one, (message,) = bench.consume(), bench.put("1")
    bench.give_out()
    message.wordings["a dialect"] = "as it was told"  # type: ignore[index, assignment]
    bench.settle(one, accept=False)
    assert len(message.wordings) == 1


def test_who_comes_later_gets_what_another_could_not_be_told() -> None:
    bench = Bench()
    consume_deaf(bench)
    bench.consume(1)
    bench.put(*"0123")
    bench.give_out()
    late = bench.consume()
    bench.give_out()
    assert late.bodies == [*"123"]
    assert bench.deaths() == []


def test_when_all_others_have_gone_what_the_last_cannot_be_told_dies() -> None:
    bench = Bench()
    deaf, full = consume_deaf(bench), bench.consume(1)
    bench.put(*"012")
    bench.give_out()
    assert bodies_of(deaf.refused) == [*"012"]
    deaf.can_be_told = True
    bench.put("3")
    bench.queue.remove(full, 0.0)
    bench.give_out()
    assert bench.deaths() == [(body, "undeliverable", int(body == "0")) for body in "012"]
    assert deaf.bodies == ["3"]


def test_what_nobody_is_there_for_waits_whoever_could_not_be_told_before() -> None:
    bench = Bench()
    deaf, full = consume_deaf(bench), bench.consume(1)
    bench.put(*"01")
    bench.give_out()
    bench.queue.remove(deaf, 0.0)
    bench.queue.remove(full, 0.0)
    bench.give_out()
    assert (bench.deaths(), len(bench.queue)) == ([], 2)
    deaf.can_be_told = True
    bench.queue.add(deaf, 10)  # anew, and over another carrier perhaps
    bench.give_out()
    assert deaf.bodies == [*"01"]


def test_a_deaf_consumer_takes_no_tries_from_the_others() -> None:
    bench = Bench(deliveries=3)
    deaf, other = consume_deaf(bench), bench.consume()
    bench.put("1")
    for _ in range(3):
        bench.give_out()
        bench.settle(other, accept=False)
    assert [told and told["x-delivery-count"] for told in other.told] == [None, "1", "2"]
    assert len(deaf.refused) == 1, "once is enough"
    assert bench.deaths() == [("1", "delivery_limit", 3)]
    assert (bench.counters.delivered, bench.counters.redelivered) == (3, 2)


# Expiry.


def test_what_has_expired_while_it_waited_is_not_given_out() -> None:
    bench = Bench()
    bench.put("1", expires_after=5.0)
    bench.put("2")
    bench.put("3", expires_after=9.0)
    subscriber = bench.consume()
    bench.give_out(5.0)
    assert subscriber.bodies == [*"23"]
    assert bench.deaths() == [("1", "expired", 0)]


def test_a_message_lives_until_its_time() -> None:
    bench = Bench()
    bench.put("1", now=10.0, expires_after=5.0)
    bench.expire(14.999)
    subscriber = bench.consume()
    bench.give_out(14.999)
    assert subscriber.bodies == ["1"]


def test_what_expires_at_once_is_given_to_nobody() -> None:
    bench = Bench()
    subscriber = bench.consume()
    bench.put("1", now=3.0, expires_after=0.0)
    assert not bench.queue.dispatch(3.0, 10)
    assert subscriber.got == []
    assert bench.deaths() == [("1", "expired", 0)]


def test_what_has_expired_dies_without_a_consumer_in_the_order_of_its_time() -> None:
    bench = Bench()
    bench.put("1", expires_after=9.0)
    bench.put("2", expires_after=3.0)
    bench.put("3")
    bench.put("4", expires_after=6.0)
    assert bench.queue.can_expire
    bench.expire(2.9)
    assert bench.deaths() == []
    bench.expire(6.0)
    assert bench.deaths() == [("2", "expired", 0), ("4", "expired", 0)]
    assert (len(bench.queue), bench.budget.held) == (2, 2 * SIZE)
    bench.expire(100.0)
    assert bench.deaths() == [("1", "expired", 0)]
    assert not bench.queue.can_expire
    subscriber = bench.consume()
    bench.give_out(100.0)
    assert subscriber.bodies == ["3"]


def test_no_more_than_the_limit_expires_at_a_time() -> None:
    bench = Bench()
    bench.put(*"12345", expires_after=5.0)
    assert bench.queue.expire(5.0, 2)
    assert [body for body, _, _ in bench.deaths()] == [*"12"]
    assert bench.queue.expire(5.0, 2)
    assert not bench.queue.expire(5.0, 2)
    assert [body for body, _, _ in bench.deaths()] == [*"345"]
    assert not bench.queue.expire(5.0, 2)


def test_a_queue_whose_messages_never_expire_says_so() -> None:
    bench = Bench()
    bench.put("1")
    assert not bench.queue.can_expire
    bench.expire(1e9)
    assert len(bench.queue) == 1


@pytest.mark.parametrize("goes", [True, False])
def test_what_is_lent_expires_when_it_comes_back_and_not_before(goes: bool) -> None:
    bench = Bench()
    bench.put("1", "2", expires_after=5.0)
    subscriber = bench.consume()
    bench.give_out()
    bench.expire(6.0)
    assert bench.deaths() == []
    bench.settle(subscriber, "1", now=6.0)
    assert bench.counters.settled == 1, "who has it in time may take it late"
    if goes:
        bench.queue.remove(subscriber, 6.0)
    else:
        bench.settle(subscriber, "2", accept=False, now=6.0)
    assert bench.deaths() == [("2", "expired", 1)]
    assert (len(bench.queue), bench.queue.lent, bench.budget.held) == (0, 0, 0)


def test_what_came_back_in_time_expires_while_it_waits_again() -> None:
    bench = Bench()
    bench.put("1", "2", expires_after=5.0)
    bench.put("3")
    subscriber = bench.consume(2)
    bench.give_out()
    bench.queue.remove(subscriber, 4.0)
    assert len(bench.queue) == 3
    bench.expire(5.0)
    assert bench.deaths() == [("1", "expired", 1), ("2", "expired", 1)]
    other = bench.consume()
    bench.give_out(5.0)
    assert (other.bodies, len(bench.queue)) == (["3"], 0)


def test_too_many_tries_count_less_than_being_late() -> None:
    bench = Bench(deliveries=1)
    bench.put("1", expires_after=5.0)
    subscriber = bench.consume()
    bench.give_out()
    bench.settle(subscriber, accept=False, now=5.0)
    assert bench.deaths() == [("1", "expired", 1)]


# Limits.


def test_a_full_queue_refuses_what_is_new() -> None:
    bench = Bench(length=3)
    bench.put(*"123")
    with pytest.raises(QueueFull, match=r"^/queue/a holds max_queue_length \(3\) messages$"):
        bench.put("4")
    assert (len(bench.queue), bench.counters.queued, bench.budget.held) == (3, 3, 3 * SIZE)
    subscriber = bench.consume(1)
    bench.give_out()
    with pytest.raises(QueueFull, match="max_queue_length"):
        bench.put("4")  # what is lent may come back
    assert (len(bench.queue), bench.queue.lent) == (2, 1)
    bench.queue.remove(subscriber, 0.0)
    assert len(bench.queue) == 3, "and has its place"
    with pytest.raises(QueueFull):
        bench.put("4")


@pytest.mark.parametrize("limit", ["length", "size"])
def test_the_name_of_a_full_queue_writes_no_line_of_its_own_into_a_log(limit: str) -> None:
    """Clients make up names."""
    most = {"length": 10, "size": 10_000, limit: 0}
    queue = Queue(
        "/queue/a\nCRITICAL root: forged\x1b[2J",
        QueueLimits(**most, deliveries=1, drops=False),
        Budget(1000),
        BrokerCounters(),
    )
    with pytest.raises(QueueFull) as caught:
        queue.check(1, 1)
    assert str(caught.value).isprintable()
    assert "forged" in str(caught.value)


def test_a_queue_holds_so_many_bytes() -> None:
    bench = Bench(size=3 * SIZE)
    bench.put(*"123")
    with pytest.raises(QueueFull, match=rf"^/queue/a may hold max_queue_size \({3 * SIZE}\) bytes$"):
        bench.put("4")
    subscriber = bench.consume(ack=AckMode.AUTO)
    bench.give_out()
    bench.put("x" * (2 * SIZE + 1))
    with pytest.raises(QueueFull):
        bench.put("")
    bench.give_out()
    assert len(subscriber.got) == 4


@pytest.mark.parametrize("limit", ["length", "size"])
@pytest.mark.parametrize(
    ("how", "makes_room"),
    [
        ({"accept": True}, True),
        ({"accept": False, "requeue": False}, True),
        ({"accept": False}, False),
        ({"accept": False, "now": 5.0}, True),
    ],
    ids=["accepted", "rejected", "given back", "given back too late"],
)
def test_what_is_lent_has_its_room_until_it_is_gone(how: dict[str, Any], makes_room: bool, limit: str) -> None:
    bench = Bench(**{limit: 2 * (1 if limit == "length" else SIZE)})
    bench.put(*"12", expires_after=5.0)
    subscriber = bench.consume(2)
    bench.give_out()
    with pytest.raises(QueueFull):
        bench.put("3")
    bench.settle(subscriber, "1", **how)
    assert (len(bench.queue), bench.queue.lent) == (0 if makes_room else 1, 1)
    if makes_room:
        bench.put("3")
    with pytest.raises(QueueFull):
        bench.put("4")
    bench.queue.remove(subscriber, 0.0)
    assert (len(bench.queue), bench.budget.held) == (2, 2 * SIZE)


def test_what_is_settled_as_it_is_given_out_has_its_room_no_longer() -> None:
    bench = Bench(length=2, size=2 * SIZE)
    bench.consume(ack=AckMode.AUTO)
    for _ in range(5):
        bench.put(*"12")
        bench.give_out()
    assert bench.counters.settled == 10


@pytest.mark.parametrize("limit", ["length", "size"])
def test_where_the_oldest_make_room_only_what_waits_counts(limit: str) -> None:
    bench = Bench(drops=True, **{limit: 2 * (1 if limit == "length" else SIZE)})
    bench.put(*"12")
    bench.consume(2)
    bench.give_out()
    bench.put(*"34")
    assert (bench.queue.lent, len(bench.queue), bench.deaths()) == (2, 2, [])
    bench.put("5")
    assert bench.deaths() == [("3", "maxlen", 0)]


def test_a_queue_that_was_cleared_has_all_its_room() -> None:
    bench = Bench(length=2, size=2 * SIZE)
    for _ in range(3):
        bench.put(*"12")
        bench.consume(1)
        bench.give_out()
        assert (bench.queue.lent, len(bench.queue), bench.queue.clear()) == (1, 1, 2)


@pytest.mark.parametrize("drops", [True, False])
def test_a_message_that_is_larger_than_the_queue_is_refused_and_nothing_dies_for_it(drops: bool) -> None:
    bench = Bench(size=3 * SIZE, drops=drops)
    bench.put(*"12")
    with pytest.raises(QueueFull, match="max_queue_size"):
        bench.put("x" * 3 * SIZE)
    assert (bench.deaths(), len(bench.queue)) == ([], 2)


@pytest.mark.parametrize("drops", [True, False])
def test_a_message_that_is_larger_than_the_broker_is_refused_and_nothing_dies_for_it(drops: bool) -> None:
    bench = Bench(most=3 * SIZE, drops=drops)
    bench.put(*"12")
    with pytest.raises(QueueFull, match=rf"^the broker may hold max_size \({3 * SIZE}\) bytes$"):
        bench.put("x" * 3 * SIZE)
    assert (bench.deaths(), len(bench.queue)) == ([], 2)


def test_several_queues_share_what_the_broker_may_hold() -> None:
    bench = Bench(most=4 * SIZE)
    dropping = QueueLimits(100, 100 * SIZE, 20, drops=True)
    other = Queue("/queue/b", dropping, bench.budget, bench.counters)
    bench.put(*"123")
    other.put(message("/queue/b", "1"), 0.0)
    assert bench.budget.held == 4 * SIZE
    with pytest.raises(QueueFull, match="max_size"):
        bench.put("4")
    other.put(message("/queue/b", "2"), 0.0)
    assert (len(other), bench.budget.held) == (1, 4 * SIZE), "it makes room at its own cost"
    with pytest.raises(QueueFull, match="max_size"):
        other.put(message("/queue/b", "22"), 0.0)
    subscriber = bench.consume()
    bench.give_out()
    with pytest.raises(QueueFull):
        other.put(message("/queue/b", "22"), 0.0)  # what is lent is held all the same
    bench.settle(subscriber, "1")
    other.put(message("/queue/b", "22"), 0.0)
    assert bench.budget.held == 2 * SIZE + SIZE + 1
    assert [dead.message.body for dead in other.take_dead()] == [b"1", b"2"]


@pytest.mark.parametrize("limit", ["length", "size", "most"])
def test_a_queue_that_drops_makes_room_at_the_cost_of_the_oldest(limit: str) -> None:
    bench = Bench(drops=True, **{limit: 3 * (1 if limit == "length" else SIZE)})
    bench.put(*"12345")
    assert bench.deaths() == [("1", "maxlen", 0), ("2", "maxlen", 0)]
    assert (len(bench.queue), bench.budget.held, bench.counters.queued) == (3, 3 * SIZE, 5)
    subscriber = bench.consume(ack=AckMode.AUTO)
    bench.give_out()
    assert subscriber.bodies == [*"345"]
    assert subscriber.told == [None] * 3, "the dead letters say enough"


def test_a_large_message_pushes_out_as_many_as_it_takes() -> None:
    bench = Bench(drops=True, size=4 * SIZE)
    bench.put(*"1234")
    bench.put("x" * (2 * SIZE + 1))
    assert [body for body, _, _ in bench.deaths()] == [*"123"]
    bench.put("y" * (3 * SIZE + 1))
    assert [body for body, _, _ in bench.deaths()] == ["4", "x" * (2 * SIZE + 1)]
    assert bench.budget.held == 4 * SIZE


def test_what_came_back_is_the_oldest_and_goes_first() -> None:
    bench = Bench(drops=True, length=3)
    bench.put(*"12")
    subscriber = bench.consume()
    bench.give_out()
    bench.put(*"34")
    bench.queue.remove(subscriber, 0.0)
    assert len(bench.queue) == 4
    bench.put("5")
    assert bench.deaths() == [("1", "maxlen", 1), ("2", "maxlen", 1)]


def test_what_is_lent_is_never_dropped() -> None:
    bench = Bench(drops=True, length=1)
    subscriber = bench.consume()
    for body in "123":
        bench.put(body)
        bench.give_out()
    assert (bench.queue.lent, bench.deaths()) == (3, [])
    bench.settle(subscriber)
    assert bench.counters.settled == 3


def test_where_everything_is_lent_the_broker_may_still_be_full() -> None:
    bench = Bench(drops=True, most=2 * SIZE)
    bench.consume()
    bench.put(*"12")
    bench.give_out()
    with pytest.raises(QueueFull, match="max_size"):
        bench.put("3")
    assert bench.deaths() == []


@pytest.mark.parametrize("drops", [True, False])
@pytest.mark.parametrize("limit", ["length", "size", "most"])
def test_what_has_expired_makes_room_before_anything_else_suffers(limit: str, drops: bool) -> None:
    """Whoever looks after what expires does so now and then only."""
    bench = Bench(drops=drops, **{limit: 2 * (1 if limit == "length" else SIZE)})
    bench.put("1")
    bench.put("2", expires_after=5.0)
    bench.put("3", now=5.0)
    assert bench.deaths() == [("2", "expired", 0)]
    subscriber = bench.consume()
    bench.give_out(5.0)
    assert subscriber.bodies == [*"13"]


def test_everything_that_waits_may_have_expired_when_room_is_wanted() -> None:
    bench = Bench(drops=True, length=2)
    bench.put("1", "2", expires_after=5.0)
    bench.put("3", now=5.0)
    assert bench.deaths() == [("1", "expired", 0), ("2", "expired", 0)]
    assert (len(bench.queue), bench.budget.held) == (1, SIZE)


@pytest.mark.parametrize(("drops", "count", "fits"), [(False, 3, True), (False, 4, False), (True, 4, True)])
def test_one_may_ask_whether_several_would_fit(drops: bool, count: int, fits: bool) -> None:
    bench = Bench(length=5, drops=drops)
    bench.put(*"12")
    if fits:
        bench.queue.check(count, count * SIZE)
    else:
        with pytest.raises(QueueFull):
            bench.queue.check(count, count * SIZE)
    assert (len(bench.queue), bench.counters.queued) == (2, 2)


# Saying what is missing: durable subscriptions.


def test_the_next_message_says_how_many_were_dropped_before_it() -> None:
    bench = Bench(length=2, drops=True, tells=True)
    assert bench.queue.tells
    bench.put(*"12345")
    subscriber = bench.consume()
    bench.give_out()
    assert subscriber.bodies == [*"45"]
    assert subscriber.told == [{"x-missed": "3"}, None]
    bench.put("6")
    bench.give_out()
    assert subscriber.told[-1] is None, "once"


def test_what_does_not_fit_at_all_is_told_as_well() -> None:
    bench = Bench(size=3 * SIZE, drops=True, tells=True)
    with pytest.raises(QueueFull):
        bench.put("x" * 3 * SIZE)
    bench.queue.skip()
    bench.put("1")
    subscriber = bench.consume()
    bench.give_out()
    assert subscriber.told == [{"x-missed": "1"}]
    assert (bench.counters.queued, bench.counters.dropped) == (2, 1)


def test_who_could_not_be_told_has_not_been_told_of_the_gap_either() -> None:
    bench = Bench(length=1, drops=True, tells=True)
    bench.put(*"123")
    deaf, other = bench.consume(), bench.consume()
    deaf.can_be_told = False
    bench.give_out()
    assert other.told == [{"x-missed": "2"}]


def test_what_comes_again_says_again_what_is_missing_before_it() -> None:
    """It may have been lost with the connection."""
    bench = Bench(length=2, drops=True, tells=True)
    bench.put(*"12345")
    one = bench.consume(1)
    bench.give_out()
    bench.queue.remove(one, 0.0)
    two = bench.consume()
    bench.give_out()
    assert two.bodies == [*"45"]
    assert two.told == [{"redelivered": "true", "x-delivery-count": "1", "x-missed": "3"}, None]
    bench.settle(two)
    bench.put("6")
    bench.give_out()
    assert two.told[-1] is None


def test_what_was_dropped_after_it_came_back_leaves_its_gap_to_the_next() -> None:
    bench = Bench(length=2, drops=True, tells=True)
    bench.put(*"12345")
    one = bench.consume(1)
    bench.give_out()
    bench.queue.remove(one, 0.0)
    bench.put(*"67")
    two = bench.consume()
    bench.give_out()
    assert (two.bodies, two.told) == ([*"67"], [{"x-missed": "5"}, None])


def test_what_nobody_can_be_told_leaves_its_gap_to_the_next() -> None:
    bench = Bench(length=2, drops=True, tells=True)
    bench.put(*"12345")
    one = consume_deaf(bench)
    bench.queue.dispatch(0.0, 2)
    assert bench.deaths()[-1] == ("4", "undeliverable", 0)
    one.can_be_told = True
    bench.give_out()
    assert (one.bodies, one.told) == (["5"], [{"x-missed": "3"}])


def test_who_rejects_a_message_was_told_of_the_gap_before_it() -> None:
    bench = Bench(length=1, drops=True, tells=True)
    bench.put(*"12")
    one = bench.consume()
    bench.give_out()
    bench.settle(one, accept=False, requeue=False)
    bench.put("3")
    bench.give_out()
    assert one.told == [{"x-missed": "1"}, None]


@pytest.mark.parametrize("tells", [True, False])
def test_a_queue_that_has_something_to_say_is_not_idle(tells: bool) -> None:
    bench = Bench(tells=tells)
    bench.queue.skip()
    assert bench.queue.is_idle is not tells
    subscriber = bench.consume(ack=AckMode.AUTO)
    bench.put("1")
    bench.give_out()
    assert subscriber.told == ([{"x-missed": "1"}] if tells else [None])
    bench.queue.remove(subscriber, 0.0)
    assert bench.queue.is_idle


# The end, and a look from outside.


def test_a_queue_that_goes_takes_everything_along() -> None:
    bench = Bench()
    bench.put("0", expires_after=5.0)
    bench.put(*"1234")
    one, two = bench.consume(1), bench.consume(2)
    bench.give_out()
    bench.queue.remove(one, 0.0)
    bench.expire(6.0)
    assert bench.deaths() == [("0", "expired", 1)]
    assert (len(bench.queue), bench.queue.lent) == (2, 2)
    assert bench.queue.clear() == 4
    assert bench.queue.clear() == 0
    assert (len(bench.queue), bench.queue.lent, bench.queue.consumers, bench.budget.held) == (0, 0, 0, 0)
    assert bench.counters.dropped == 4
    assert bench.queue.is_idle
    assert not bench.queue.can_expire
    bench.settle(two)
    bench.queue.remove(two, 0.0)
    bench.queue.wake(two)
    assert (bench.counters.settled, bench.budget.held) == (0, 0)


def test_a_queue_is_idle_without_messages_and_consumers() -> None:
    bench = Bench()
    assert bench.queue.is_idle
    bench.put("1")
    assert not bench.queue.is_idle
    subscriber = bench.consume()
    bench.give_out()
    bench.settle(subscriber)
    assert not bench.queue.is_idle
    bench.queue.remove(subscriber, 0.0)
    assert bench.queue.is_idle


def test_a_queue_where_nothing_waits_is_a_queue_all_the_same() -> None:
    bench = Bench()
    assert (len(bench.queue), bool(bench.queue)) == (0, True)


@pytest.mark.parametrize("drops", [True, False])
def test_a_queue_tells_how_much_it_could_drop(drops: bool) -> None:
    bench = Bench(drops=drops)
    assert bench.queue.size_to_drop == 0
    bench.put(*"123")
    assert bench.queue.size_to_drop == (3 * SIZE if drops else 0)
    bench.consume(1)
    bench.give_out()
    assert bench.queue.size_to_drop == (2 * SIZE if drops else 0), "what is lent stays"


def test_a_queue_shows_what_is_in_it() -> None:
    bench = Bench()
    bench.put(*"123")
    bench.consume(1)
    bench.give_out()
    assert repr(bench.queue) == "<Queue '/queue/a' 2 waiting, 1 lent, 1 consumers>"
    assert bench.queue.name == "/queue/a"
    assert not bench.queue.tells


# Memory.


class Traced(PreparedMessage):
    """A message whose end can be seen."""

    __slots__ = ("__weakref__",)


def put_traced(bench: Bench, count: int, expires_after: float | None = None) -> list[weakref.ref[Traced]]:
    messages = [Traced(-number, "/queue/a", {}, b"x") for number in range(1, count + 1)]
    for one in messages:
        bench.queue.put(one, 0.0, expires_after)
    return [weakref.ref(one) for one in messages]


def alive(references: Sequence[weakref.ref[Traced]]) -> int:
    return sum(reference() is not None for reference in references)


@pytest.mark.parametrize("drops", [True, False])
def test_a_new_message_does_not_wait_for_thousands_to_be_buried(drops: bool) -> None:
    bench = Bench(length=4 * AT_ONCE, drops=drops)
    bench.put(*map(str, range(4 * AT_ONCE)), expires_after=5.0)
    bench.put("new", now=10.0)
    assert len(bench.queue) == 3 * AT_ONCE + 1
    assert len(bench.queue.take_dead()) == AT_ONCE


def test_where_all_that_waits_has_expired_nothing_else_is_dropped() -> None:
    bench = Bench(size=10**9, most=2 * AT_ONCE * SIZE, drops=True)
    bench.put(*"x" * 2 * AT_ONCE, expires_after=5.0)
    bench.put("y" * AT_ONCE * SIZE, now=10.0)
    assert len(bench.queue) == 1
    assert {dead.reason for dead in bench.queue.take_dead()} == {Death.EXPIRED}


def test_what_has_expired_in_the_middle_does_not_pile_up() -> None:
    bench = Bench(length=100_000)
    bench.put("first")  # it stays, so nothing behind it has its turn
    references = put_traced(bench, 1000, 5.0)
    bench.put("last")
    bench.expire(5.0)
    assert len(bench.deaths()) == 1000
    assert alive(references) <= SLACK
    subscriber = bench.consume(ack=AckMode.AUTO)
    bench.give_out(5.0)
    assert subscriber.bodies == ["first", "last"]


def test_what_came_back_and_has_expired_does_not_pile_up() -> None:
    bench = Bench(length=100_000)
    bench.put("first")
    references = put_traced(bench, 1000, 5.0)
    subscriber = bench.consume(2000)
    bench.give_out()
    bench.queue.remove(subscriber, 0.0)
    subscriber.got.clear()
    bench.expire(5.0)
    bench.queue.take_dead()
    assert alive(references) <= SLACK
    other = bench.consume(ack=AckMode.AUTO)
    bench.give_out(5.0)
    assert other.bodies == ["first"]


@pytest.mark.parametrize("ack", list(AckMode))
def test_what_is_settled_is_let_go_though_it_would_have_lived_for_long(ack: AckMode) -> None:
    """Sixty messages of a megabyte with ``expiration`` would stay for a year, and count for nothing."""
    bench = Bench()
    references = put_traced(bench, SLACK, 1e9)
    subscriber = bench.consume(ack=ack)
    bench.give_out()
    bench.settle(subscriber)
    subscriber.got.clear()
    bench.expire(1.0)
    assert bench.budget.held == 0
    assert alive(references) == 0


def test_what_is_settled_leaves_no_entry_behind_though_it_would_have_lived_for_long() -> None:
    bench = Bench(length=100_000)
    subscriber = bench.consume(ack=AckMode.AUTO)
    put_traced(bench, 10 * SLACK, 1e9)
    bench.give_out()
    bench.expire(1.0)
    assert not bench.queue.can_expire, "nothing is there that could"
    bench.put("1", expires_after=5.0)
    assert bench.queue.can_expire
    bench.give_out()
    assert subscriber.bodies[-1] == "1"


def test_what_is_still_there_expires_after_the_others_were_cleaned_up() -> None:
    bench = Bench(length=100_000)
    subscriber = bench.consume(10 * SLACK)
    bench.put("kept", expires_after=50.0)
    put_traced(bench, 10 * SLACK - 1, 50.0)
    bench.give_out()
    bench.settle(subscriber, "x")
    bench.expire(1.0)
    bench.queue.remove(subscriber, 2.0)
    assert len(bench.queue) == 1
    bench.expire(50.0)
    assert bench.deaths() == [("kept", "expired", 1)]


# A random walk beside a model.


class Held:
    """A message as the model knows it."""

    def __init__(self, message: PreparedMessage, expires_at: float | None) -> None:
        self.message = message
        self.expires_at = expires_at
        self.deliveries = 0
        self.owner: RecordingSubscriber | None = None
        self.refused_by: set[RecordingSubscriber] = set()
        self.missed = 0


class Checking(RecordingSubscriber):
    """Asks the model about everything it is given."""

    def __init__(self, walk: Walk, ack: AckMode, prefetch: int) -> None:
        super().__init__(ack=ack)
        self.walk = walk
        self.prefetch = prefetch

    def _take(self, message: PreparedMessage, headers: object, *, is_lent: bool) -> bool:
        is_told = super()._take(message, headers, is_lent=is_lent)  # type: ignore[arg-type]
        self.walk.on_given(self, message, headers, is_told=is_told)
        return is_told


class Walk(RuleBasedStateMachine):
    """Whatever happens to a queue: nothing is lost, nothing comes twice but what was given back, all in order."""

    consumers = Bundle("consumers")
    drops = False
    LENGTH = 6
    DELIVERIES = 4

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(
            length=self.LENGTH, size=8 * SIZE, most=12 * SIZE, deliveries=self.DELIVERIES, drops=self.drops, tells=True
        )
        self.queue = self.bench.queue
        self.now = 0.0
        self.waiting: dict[int, Held] = {}  # by serial, which grows as the queue does
        self.lent: dict[int, Held] = {}
        self.present: list[Checking] = []
        self.asleep: set[Checking] = set()
        self.put_count = self.settled = self.dead = self.missed = 0
        self.rejected = set[int]()

    @rule(
        body=st.sampled_from(["1", "1", "1", "22", "x" * 3 * SIZE]),
        expires_after=st.sampled_from([None, None, 0.0, 1.0, 3.0]),
    )
    def put(self, body: str, expires_after: float | None) -> None:
        one = message(body=body)
        try:
            self.queue.put(one, self.now, expires_after)
        except QueueFull:
            self.bury()
            waiting = sum(size_of(held.message) for held in self.waiting.values())
            total = waiting + sum(size_of(held.message) for held in self.lent.values())
            if self.drops:
                assert size_of(one) > 8 * SIZE or total - waiting + size_of(one) > 12 * SIZE
            else:
                is_full = len(self.waiting) + len(self.lent) == self.LENGTH
                assert is_full or total + size_of(one) > 8 * SIZE
            return
        self.put_count += 1
        self.waiting[one.serial] = Held(one, None if expires_after is None else self.now + expires_after)
        self.bury()

    @rule(target=consumers, ack=st.sampled_from(list(AckMode)), prefetch=st.integers(1, 3))
    def add(self, ack: AckMode, prefetch: int) -> Checking:
        subscriber = Checking(self, ack, prefetch)
        self.queue.add(subscriber, prefetch)
        self.present.append(subscriber)
        return subscriber

    @rule(subscriber=consumes(consumers))
    def remove(self, subscriber: Checking) -> None:
        self.queue.remove(subscriber, self.now)
        self.present.remove(subscriber)
        self.asleep.discard(subscriber)
        for serial, held in list(self.lent.items()):
            if held.owner is subscriber:
                self.give_back(serial)
        self.bury()

    @rule(subscriber=consumers, is_ready=st.booleans(), can_be_told=st.sampled_from([True, True, True, False]))
    def turn(self, subscriber: Checking, is_ready: bool, can_be_told: bool) -> None:
        subscriber.is_ready, subscriber.can_be_told = is_ready, can_be_told

    @rule(subscriber=consumers, count=st.integers(1, 3), how=st.sampled_from(["ack", "nack", "reject"]))
    def settle(self, subscriber: Checking, count: int, how: str) -> None:
        chosen = [serial for serial, held in self.lent.items() if held.owner is subscriber][-count:]
        strange = [serial for serial, held in self.lent.items() if held.owner is not subscriber]
        self.queue.settle(
            subscriber, [*strange, *chosen, *chosen], self.now, is_accepted=how == "ack", requeue=how != "reject"
        )
        self.asleep.discard(subscriber)
        for serial in chosen:
            if how == "ack":
                del self.lent[serial]
                self.settled += 1
            elif how == "nack":
                self.give_back(serial)
            else:
                assert self.lent.pop(serial).owner is subscriber
                self.dead += 1
                self.rejected.add(serial)
        self.bury()

    @rule(subscriber=consumers)
    def wake(self, subscriber: Checking) -> None:
        self.queue.wake(subscriber)
        self.asleep.discard(subscriber)

    @rule(limit=st.integers(1, 8))
    def dispatch(self, limit: int) -> None:
        has_more = self.queue.dispatch(self.now, limit)
        for subscriber in self.queue.stalled:
            assert not subscriber.is_ready
            self.asleep.add(subscriber)  # type: ignore[arg-type]
        self.queue.stalled.clear()
        self.bury()
        if not has_more and self.waiting:
            for serial, subscriber in itertools.product(sorted(self.waiting)[:limit], self.present):
                has_room = self.owned(subscriber) < subscriber.prefetch
                is_deaf = subscriber in self.waiting[serial].refused_by
                assert subscriber in self.asleep or not subscriber.is_ready or not has_room or is_deaf

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        while self.queue.expire(self.now, 2):
            pass
        self.bury()
        assert not any(self.has_expired(held) for held in self.waiting.values())

    # What the model makes of it.

    def on_given(self, subscriber: Checking, one: PreparedMessage, headers: object, *, is_told: bool) -> None:
        self.bury()  # what nobody could be told before this
        held = self.waiting.pop(one.serial)
        assert subscriber in self.present
        assert subscriber.is_ready or subscriber.takes == 0
        assert not self.has_expired(held)
        older = [serial for serial in self.waiting if serial < one.serial]
        for other in map(self.waiting.__getitem__, older):
            assert self.has_expired(other) or subscriber in other.refused_by, "out of order"
        assert subscriber not in held.refused_by
        told = dict(headers or {})  # type: ignore[call-overload]
        assert told.get("x-delivery-count", "0") == str(held.deliveries)
        assert ("redelivered" in told) is (held.deliveries > 0)
        held.missed += self.missed
        self.missed = 0
        assert told.get("x-missed", "0") == str(held.missed)
        if not is_told:
            held.refused_by.add(subscriber)
            self.waiting[one.serial] = held
            return
        held.deliveries += 1
        held.owner = subscriber
        if subscriber.ack is AckMode.AUTO:
            self.settled += 1
        else:
            self.lent[one.serial] = held
            assert self.owned(subscriber) <= subscriber.prefetch

    def owned(self, subscriber: Checking) -> int:
        return sum(held.owner is subscriber for held in self.lent.values())

    def has_expired(self, held: Held) -> bool:
        return held.expires_at is not None and self.now >= held.expires_at

    def give_back(self, serial: int) -> None:
        held = self.lent.pop(serial)
        held.owner = None
        self.waiting[serial] = held  # or it dies of it; see bury

    def bury(self) -> None:
        for dead in self.queue.take_dead():
            serial = dead.message.serial
            if dead.reason is Death.REJECTED:
                self.rejected.remove(serial)
                continue
            held = self.waiting.pop(serial)
            self.dead += 1
            self.missed += held.missed
            assert dead.deliveries == held.deliveries
            if dead.reason is Death.EXPIRED:
                assert self.has_expired(held)
            elif dead.reason is Death.DELIVERY_LIMIT:
                assert held.deliveries == self.DELIVERIES
            elif dead.reason is Death.UNDELIVERABLE:
                assert self.present
                assert held.refused_by.issuperset(self.present)
            else:
                assert self.drops
                assert all(other > serial for other in self.waiting)
                self.missed += 1
        assert not self.rejected

    @invariant()
    def the_sums_are_right(self) -> None:
        queue, counters = self.queue, self.bench.counters
        assert len(queue) == len(self.waiting)
        assert queue.lent == len(self.lent)
        assert queue.consumers == len(self.present)
        assert queue.is_idle is (not self.present and not self.waiting and not self.missed)
        held = sum(size_of(held.message) for held in [*self.waiting.values(), *self.lent.values()])
        assert self.bench.budget.held == held
        if not self.drops:
            assert len(queue) + queue.lent <= self.LENGTH, "what comes back finds its place"
            assert held <= 8 * SIZE
        assert counters.queued == self.put_count
        assert counters.settled == self.settled
        assert counters.queued == counters.settled + self.dead + len(queue) + queue.lent

    def teardown(self) -> None:
        """Whoever comes last gets everything that is left, in order, and then nothing is held."""
        for subscriber in list(self.present):
            self.remove(subscriber)
        last = self.add(AckMode.AUTO, 1)
        while self.queue.dispatch(self.now, 5):
            pass
        self.bury()
        assert last.serials == sorted(last.serials)
        assert self.waiting == self.lent == {}
        assert self.bench.budget.held == 0
        self.remove(last)
        assert self.queue.is_idle is (self.missed == 0)


class DroppingWalk(Walk):
    """The same where the oldest makes room."""

    drops = True


TestWalk = Walk.TestCase
TestDroppingWalk = DroppingWalk.TestCase
TestWalk.settings = TestDroppingWalk.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
