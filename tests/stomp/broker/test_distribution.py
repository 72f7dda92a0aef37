"""All queues of one broker: which there are, whose turn it is, and where what has died goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from random import Random

import pytest

from sockbridge.errors import QueueFull
from sockbridge.stomp.broker.distribution import QUEUES_PER_TURN, Queues
from sockbridge.stomp.broker.holding import Budget, size_of
from sockbridge.stomp.broker.options import BrokerOptions
from sockbridge.stomp.broker.pacing import BURST, Pacer, clock
from sockbridge.stomp.broker.queues import Queue
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.counters import BrokerCounters
from sockbridge.stomp.frame import AckMode
from tests.stomp.broker.fakes import RecordingSubscriber, make_message, message
from tests.stomp.clients import turns

JOBS = "/queue/jobs"
DEAD = "/queue/dead-letters"
ANSWERS = "/reply-queue/token"
SIZE = size_of(message(JOBS, "1"))


class Bench:
    """The queues of a broker that has started.

    Attributes:
        published: dead letters to a topic.
    """

    def __init__(self, dead_letters: str = DEAD, *, is_started: bool = True, **options: object) -> None:
        self.options = BrokerOptions(**options)  # type: ignore[arg-type]
        self.budget = Budget(self.options.max_size)
        self.counters = BrokerCounters()
        self.pacer = Pacer()
        self.published: list[PreparedMessage] = []
        self.queues = Queues(self.options, self.budget, self.counters, self.pacer, dead_letters, self.publish)
        if is_started:
            self.queues.start(make_message)

    def publish(self, one: PreparedMessage) -> None:
        """As a broker does."""
        if one.destination.startswith("/topic"):
            self.published.append(one)
        else:
            self.queues.put(self.queues.obtain(one.destination), one)

    def put(
        self,
        *bodies: str,
        name: str = JOBS,
        expires_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        for body in bodies:
            self.queues.put(self.queues.obtain(name), message(name, body, headers), expires_after)

    def consume(
        self, name: str = JOBS, ack: AckMode = AckMode.CLIENT_INDIVIDUAL, prefetch: int = 1000
    ) -> RecordingSubscriber:
        subscriber = RecordingSubscriber(name, ack)
        self.queues.add(self.queues.obtain(name), subscriber, prefetch)
        return subscriber

    def settle(
        self, subscriber: RecordingSubscriber, *, accept: bool = True, requeue: bool = True, name: str = JOBS
    ) -> None:
        """``subscriber`` is done with all that it has."""
        self.queues.settle(self.queues[name], subscriber, subscriber.serials, is_accepted=accept, requeue=requeue)

    def letters(self) -> list[str]:
        """Bodies of the dead letters, which are taken."""
        return self.consume(DEAD, AckMode.AUTO).bodies


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    one = Bench()
    yield one
    await one.pacer.close()


# Which there are.


async def test_queues_are_found_by_destination(bench: Bench) -> None:
    bench.put("1", name="/queue/a")
    bench.put("1", name="/queue/b")
    assert (sorted(bench.queues), len(bench.queues)) == (["/queue/a", "/queue/b"], 2)
    assert bench.queues["/queue/a"] is bench.queues.obtain("/queue/a")
    assert bench.queues.get("/queue/c") is None
    with pytest.raises(KeyError):
        bench.queues["/queue/c"]


async def test_a_queue_is_there_while_it_holds_a_message_or_has_a_consumer(bench: Bench) -> None:
    subscriber = bench.consume()
    bench.put("1")
    bench.settle(subscriber)
    assert list(bench.queues) == [JOBS]
    bench.put("2")
    bench.queues.remove(bench.queues[JOBS], subscriber)
    assert (list(bench.queues), len(bench.queues[JOBS])) == ([JOBS], 1)
    last = bench.consume(ack=AckMode.AUTO)
    bench.queues.remove(bench.queues[JOBS], last)
    assert (list(bench.queues), bench.budget.held) == ([], 0)


async def test_one_may_look_at_all_while_some_go(bench: Bench) -> None:
    several = [bench.consume(f"/queue/{name}") for name in "abc"]
    for name, subscriber in zip(bench.queues, several, strict=True):
        bench.queues.remove(bench.queues[name], subscriber)
    assert len(bench.queues) == 0


async def test_a_message_that_is_refused_leaves_no_queue_behind() -> None:
    bench = Bench(max_queue_size=SIZE)
    with pytest.raises(QueueFull):
        bench.put("x" * 100)
    assert (list(bench.queues), bench.counters.queued) == ([], 0)


async def test_there_are_so_many_and_dead_letters_besides() -> None:
    bench = Bench(max_queues=2)
    consumers = [bench.consume(f"/queue/{name}") for name in "ab"]
    with pytest.raises(QueueFull, match=r"^there are max_queues \(2\) queues$"):
        bench.queues.obtain("/queue/c")
    assert bench.queues.obtain("/queue/a") is bench.queues["/queue/a"]
    bench.put("1", name="/queue/a")
    bench.settle(consumers[0], accept=False, requeue=False, name="/queue/a")
    assert sorted(bench.queues) == ["/queue/a", "/queue/b", DEAD]
    bench.queues.remove(bench.queues["/queue/b"], consumers[1])
    with pytest.raises(QueueFull):
        bench.queues.obtain("/queue/c")  # the dead letters count for others
    assert bench.letters() == ["1"]


async def test_a_queue_that_is_discarded_is_gone_with_all_it_holds(bench: Bench) -> None:
    bench.put(*"123", name=ANSWERS)
    subscriber = bench.consume(ANSWERS, prefetch=1)
    bench.queues.discard(ANSWERS)
    bench.queues.discard(ANSWERS)
    assert (list(bench.queues), bench.budget.held, bench.counters.dropped) == ([], 0, 3)
    assert subscriber.bodies == ["1"]


async def test_at_the_end_all_go(bench: Bench) -> None:
    bench.put(*"123")
    bench.put(*"12", name="/queue/other")
    bench.consume(prefetch=1)
    bench.put(*map(str, range(2 * BURST)), name="/queue/long")
    late = bench.consume("/queue/long", AckMode.AUTO)
    assert bench.queues.clear() == 5 + BURST
    assert (len(bench.queues), bench.budget.held) == (0, 0)
    await turns()
    assert len(late.got) == BURST, "its turn never comes"


# Turns.


async def test_what_is_put_is_given_out_at_once(bench: Bench) -> None:
    subscriber = bench.consume()
    bench.put(*"12")
    assert subscriber.bodies == [*"12"]


async def test_who_comes_later_gets_what_waits(bench: Bench) -> None:
    bench.put(*"12")
    assert bench.consume().bodies == [*"12"]


async def test_what_comes_back_is_given_to_another(bench: Bench) -> None:
    one, two = bench.consume(), bench.consume(prefetch=1)
    bench.put(*"123")
    bench.queues.remove(bench.queues[JOBS], one)
    assert two.bodies == ["2"]
    bench.settle(two)
    assert two.bodies == [*"21"]


async def test_a_long_queue_gives_others_their_turn() -> None:
    bench = Bench()
    order: list[str] = []

    class Noting(RecordingSubscriber):
        def deliver(self, message: PreparedMessage, headers: Mapping[str, str] | None = None) -> bool:
            order.append(message.destination)
            return super().deliver(message, headers)

    for name in ("/queue/a", "/queue/b"):
        bench.put(*map(str, range(3 * BURST)), name=name)
    for name in ("/queue/a", "/queue/b"):
        bench.queues.add(bench.queues[name], Noting(name), 1)
    assert order == ["/queue/a"] * BURST + ["/queue/b"] * BURST
    bench.put("more", name="/queue/a")  # and whoever sends meanwhile does not change that
    assert order == ["/queue/a"] * BURST + ["/queue/b"] * BURST + ["/queue/a"] * BURST
    await turns()
    assert order[3 * BURST :] == ["/queue/a"] * BURST + ["/queue/b"] * BURST + ["/queue/a"] + ["/queue/b"] * BURST
    assert len(bench.queues) == 2


async def test_a_queue_that_is_emptied_before_its_turn_is_given_nothing_more(bench: Bench) -> None:
    bench.put(*map(str, range(2 * BURST)), name=ANSWERS)
    subscriber = bench.consume(ANSWERS, AckMode.AUTO)
    bench.queues.discard(ANSWERS)
    bench.put("another", name=ANSWERS)
    await turns()
    assert len(subscriber.got) == BURST
    assert len(bench.queues[ANSWERS]) == 1


async def test_a_queue_whose_consumer_goes_before_its_turn_waits(bench: Bench) -> None:
    bench.put(*map(str, range(2 * BURST)))
    subscriber = bench.consume(ack=AckMode.AUTO)
    bench.queues.remove(bench.queues[JOBS], subscriber)
    await turns()
    assert (len(subscriber.got), len(bench.queues[JOBS])) == (BURST, BURST)


# Slow consumers.


async def test_a_slow_consumer_is_given_more_when_it_takes_something_again(bench: Bench) -> None:
    subscriber = bench.consume(ack=AckMode.AUTO)
    subscriber.takes = 2
    bench.put(*"12345")
    assert (subscriber.bodies, len(bench.queues[JOBS])) == ([*"12"], 3)
    assert bench.pacer.is_waiting(subscriber)
    await subscriber.wait_for_drain()
    subscriber.take_in(2)
    assert await subscriber.wait_for(4) == [*"1234"]
    await turns()
    assert bench.pacer.is_waiting(subscriber)
    subscriber.take_in()
    assert await subscriber.wait_for(5) == [*"12345"]
    assert len(bench.pacer) == 0


async def test_a_slow_consumer_that_goes_leaves_its_share_to_others(bench: Bench) -> None:
    slow, other = bench.consume(), bench.consume(prefetch=1)
    slow.takes = 1
    bench.put(*"123")
    assert (slow.bodies, other.bodies) == (["1"], ["2"])
    slow.go()
    await turns()
    assert len(bench.pacer) == 0
    bench.queues.remove(bench.queues[JOBS], slow)
    bench.settle(other)
    assert other.bodies == [*"21"]


async def test_a_consumer_that_is_slow_from_the_start_gets_nothing_until_it_is_ready(bench: Bench) -> None:
    slow = RecordingSubscriber(JOBS)
    slow.is_ready = False
    bench.put("1")
    bench.queues.add(bench.queues[JOBS], slow, 1)
    assert slow.got == []
    slow.take_in()
    assert await slow.wait_for(1) == ["1"]


# What has died.


async def test_a_dead_letter_says_where_why_and_after_how_many_tries_it_died(bench: Bench) -> None:
    headers = {"x": "1", "expiration": "60000", "x-epoch": "e", "x-offset": "1", "content-type": "text/css"}
    bench.put("job", headers=headers)
    subscriber = bench.consume()
    bench.settle(subscriber, accept=False)
    bench.settle(subscriber, accept=False, requeue=False)
    (got,) = bench.consume(DEAD).got
    assert got.message.destination == DEAD
    assert got.message.body == b"job"
    assert got.message.headers == {
        "x": "1",
        "content-type": "text/css",
        "x-first-death-queue": JOBS,
        "x-first-death-reason": "rejected",
        "x-first-death-count": "2",
    }
    assert got.told is None
    assert got.message.serial not in subscriber.serials
    assert (bench.counters.dead, bench.counters.queued, bench.counters.settled) == (1, 2, 0)


@pytest.mark.parametrize(
    ("reason", "count"),
    [("expired", "0"), ("delivery_limit", "2"), ("maxlen", "0"), ("rejected", "1"), ("undeliverable", "1")],
)
async def test_whatever_a_message_dies_of_it_goes_to_the_dead_letters(reason: str, count: str) -> None:
    bench = Bench(max_deliveries=2, max_queue_length=1, on_queue_full="drop_oldest")
    bench.put("job", expires_after=5.0 if reason == "expired" else None)
    if reason == "expired":
        bench.queues.expire(clock() + 5.0)
    elif reason == "maxlen":
        bench.put("another")
    elif reason == "undeliverable":
        subscriber, deaf = bench.consume(), bench.consume()
        deaf.can_be_told = False
        bench.queues.remove(bench.queues[JOBS], subscriber)
    else:
        subscriber = bench.consume()
        bench.settle(subscriber, accept=False, requeue=reason != "rejected")
        if reason == "delivery_limit":
            bench.settle(subscriber, accept=False)
    (letter,) = bench.consume(DEAD).got
    assert letter.message.headers["x-first-death-reason"] == reason
    assert letter.message.headers["x-first-death-count"] == count
    assert bench.counters.dead == 1


async def test_what_expires_is_buried_wherever_it_waits_and_its_queue_goes(bench: Bench) -> None:
    bench.put("1", name="/queue/a", expires_after=5.0)
    bench.put("2", name="/queue/b", expires_after=50.0)
    bench.put("3", name="/queue/c")
    bench.queues.expire(clock() + 10.0)
    assert sorted(bench.queues) == ["/queue/b", "/queue/c", DEAD]
    assert bench.letters() == ["1"]


async def test_what_expires_at_once_is_buried_in_several_turns(bench: Bench) -> None:
    bench.put(*map(str, range(3 * BURST)), expires_after=5.0)
    bench.queues.expire(clock() + 10.0)
    assert bench.counters.dead == BURST
    await turns()
    assert (bench.counters.dead, list(bench.queues)) == (3 * BURST, [DEAD])
    assert bench.letters() == [*map(str, range(BURST))], "in the order of their time"


async def test_many_queues_expire_in_several_turns(bench: Bench) -> None:
    for number in range(3 * QUEUES_PER_TURN):
        bench.put("x", "y", name=f"/queue/{number}", expires_after=5.0)
    bench.queues.expire(clock() + 10.0)
    assert bench.counters.dead == 2 * QUEUES_PER_TURN
    bench.queues.expire(clock() + 10.0)  # one look comes while another goes on
    await turns()
    assert (bench.counters.dead, list(bench.queues)) == (6 * QUEUES_PER_TURN, [DEAD])


async def test_what_goes_while_it_expires_is_buried_no_more(bench: Bench) -> None:
    bench.put(*map(str, range(3 * BURST)), name=ANSWERS, expires_after=5.0)
    bench.queues.expire(clock() + 10.0)
    bench.queues.discard(ANSWERS)
    await turns()
    assert (bench.counters.dropped, list(bench.queues), bench.budget.held) == (3 * BURST, [], 0)


async def test_the_dead_letters_may_be_a_topic() -> None:
    bench = Bench("/topic/dead")
    bench.put("job")
    bench.settle(bench.consume(), accept=False, requeue=False)
    (letter,) = bench.published
    assert (letter.destination, letter.headers["x-first-death-queue"]) == ("/topic/dead", JOBS)
    assert (bench.counters.dead, bench.counters.dropped, list(bench.queues)) == (1, 0, [JOBS])


async def test_what_dies_among_the_dead_is_lost(bench: Bench) -> None:
    bench.put("job")
    bench.settle(bench.consume(), accept=False, requeue=False)
    gravedigger = bench.consume(DEAD)
    bench.settle(gravedigger, accept=False, requeue=False, name=DEAD)
    assert (bench.counters.dead, bench.counters.dropped, bench.budget.held) == (1, 1, 0)


async def test_what_dies_in_a_temporary_queue_is_lost(bench: Bench) -> None:
    bench.put("answer", name=ANSWERS)
    bench.settle(bench.consume(ANSWERS), accept=False, requeue=False, name=ANSWERS)
    assert (bench.counters.dead, bench.counters.dropped, list(bench.queues)) == (0, 1, [ANSWERS])


@pytest.mark.parametrize("bench", [Bench(""), Bench(is_started=False)], ids=["no dead letters", "not started"])
async def test_without_dead_letters_what_dies_is_lost(bench: Bench) -> None:
    bench.put("job")
    subscriber = bench.consume()
    bench.settle(subscriber, accept=False, requeue=False)
    assert (bench.counters.dead, bench.counters.dropped, list(bench.queues)) == (0, 1, [JOBS])
    bench.queues.remove(bench.queues[JOBS], subscriber)


async def test_dead_letters_that_are_full_drop_their_oldest_and_end_nobodys_connection() -> None:
    bench = Bench(max_queue_length=2)
    for body in "1234":
        bench.put(body)
        subscriber = bench.consume()
        bench.settle(subscriber, accept=False, requeue=False)
        bench.queues.remove(bench.queues[JOBS], subscriber)
    assert (bench.counters.dead, bench.counters.dropped) == (4, 2)
    assert bench.letters() == [*"34"]


async def test_a_dead_letter_that_fits_nowhere_is_lost() -> None:
    bench = Bench(max_queue_size=SIZE)
    bench.put("1")  # with the story of its death it is too large
    bench.settle(bench.consume(), accept=False, requeue=False)
    assert (bench.counters.dead, bench.counters.dropped, bench.budget.held) == (0, 1, 0)
    assert list(bench.queues) == [JOBS]


async def test_a_broker_that_is_full_loses_its_dead_rather_than_the_living() -> None:
    bench = Bench(max_size=3 * SIZE)
    bench.put(*"123")
    bench.settle(bench.consume(prefetch=1), accept=False, requeue=False)
    assert bench.counters.dropped == 1
    assert bench.queues[JOBS].lent + len(bench.queues[JOBS]) == 2


# Durable subscriptions and temporary queues.


async def test_the_queue_of_a_durable_subscription_is_not_among_the_others() -> None:
    bench = Bench(max_durable_length=2, max_queue_length=1)
    queue = bench.queues.make_durable("/topic/a")
    for body in "1234":
        bench.queues.put_or_drop(queue, message("/topic/a", body))
    assert (len(queue), list(bench.queues)) == (2, [])
    assert (bench.counters.dropped, bench.counters.dead) == (2, 0)
    subscriber = RecordingSubscriber("/topic/a", AckMode.CLIENT)
    bench.queues.add(queue, subscriber, 10)
    assert (subscriber.bodies, subscriber.told) == ([*"34"], [{"x-missed": "2"}, None])
    bench.queues.settle(queue, subscriber, subscriber.serials, is_accepted=True, requeue=True)
    bench.queues.remove(queue, subscriber)
    assert queue.is_idle


@pytest.mark.parametrize("reason", ["rejected", "delivery_limit", "undeliverable", "expired", "maxlen"])
@pytest.mark.parametrize("name", [ANSWERS, "/topic/durable"])
async def test_what_dies_in_a_queue_of_one_client_alone_is_dropped_and_counted(name: str, reason: str) -> None:
    """It must not push out what others look for among the dead, nor get there past the policy."""
    bench = Bench(max_deliveries=1, max_queue_length=1, max_durable_length=1)
    queue = bench.queues.obtain(name) if name is ANSWERS else bench.queues.make_durable(name)
    subscriber = RecordingSubscriber(name, AckMode.CLIENT)
    subscriber.can_be_told = reason != "undeliverable"
    bench.queues.put_or_drop(queue, message(name, "1"), 0.0 if reason == "expired" else None)
    if reason == "maxlen":
        bench.queues.put_or_drop(queue, message(name, "2"))
    bench.queues.add(queue, subscriber, 10)
    if reason in ("rejected", "delivery_limit"):
        bench.queues.settle(
            queue, subscriber, subscriber.serials, is_accepted=False, requeue=reason == "delivery_limit"
        )
    assert (bench.counters.dropped, bench.counters.dead, DEAD in bench.queues) == (1, 0, False)


async def test_what_was_dropped_is_told_though_nothing_else_is_left_of_an_answer() -> None:
    """The queue stays for as long as it has something to say."""
    bench = Bench(max_queue_size=size_of(message(ANSWERS, "1")))
    bench.queues.put_or_drop(bench.queues.obtain(ANSWERS), message(ANSWERS, "x" * 200))
    assert list(bench.queues) == [ANSWERS]
    bench.queues.put_or_drop(bench.queues.obtain(ANSWERS), message(ANSWERS, "1"))
    subscriber = bench.consume(ANSWERS, AckMode.AUTO)
    assert (subscriber.bodies, subscriber.told) == (["1"], [{"x-missed": "1"}])
    bench.queues.remove(bench.queues[ANSWERS], subscriber)
    assert list(bench.queues) == []


async def test_what_waits_for_single_clients_fills_half_of_all_at_most() -> None:
    size = size_of(message(ANSWERS, "1"))
    bench = Bench(max_size=2 * 4 * size)
    durable = bench.queues.make_durable("/topic/room12345678")  # a name as long as that of the answers
    for _ in range(3):
        bench.queues.put_or_drop(bench.queues.obtain(ANSWERS), message(ANSWERS, "1"))
    for _ in range(10):
        bench.queues.put_or_drop(durable, message(ANSWERS, "1"))
    assert (len(bench.queues[ANSWERS]), len(durable), bench.budget.held) == (3, 1, 4 * size)
    for _ in range(10):
        bench.queues.put_or_drop(bench.queues.obtain(ANSWERS), message(ANSWERS, "1"))
    assert (len(bench.queues[ANSWERS]), len(durable)) == (3, 1), "each makes room at its own cost"
    bench.put(*"1234")
    with pytest.raises(QueueFull, match=rf"max_size \({8 * size}\)"):
        bench.put("x" * size)
    bench.queues.discard(ANSWERS)
    bench.queues.put_or_drop(durable, message(ANSWERS, "1"))
    assert len(durable) == 2
    durable.clear()
    bench.queues.clear()
    assert bench.budget.held == 0


async def test_temporary_queues_take_no_place_of_others() -> None:
    bench = Bench(max_queues=2)
    several = [f"/reply-queue/{number}" for number in range(5)]
    consumers = [bench.consume(name) for name in several]
    bench.put("1", name="/queue/a")
    bench.queues.check({"/queue/b": [1]})
    bench.put("1", name="/queue/b")
    with pytest.raises(QueueFull, match=r"^there are max_queues \(2\) queues$"):
        bench.put("1", name="/queue/c")
    with pytest.raises(QueueFull, match="max_queues"):
        bench.queues.check({"/queue/c": [1]})
    bench.queues.remove(bench.queues[several[0]], consumers[0])  # it goes by itself
    bench.queues.discard(several[1])
    with pytest.raises(QueueFull):
        bench.put("1", name="/queue/c")
    bench.queues.clear()
    bench.put("1", name="/queue/a")
    bench.put("1", name="/queue/b")
    with pytest.raises(QueueFull):
        bench.put("1", name="/queue/c")


async def test_a_durable_subscription_to_the_dead_letters_loses_what_dies_in_it() -> None:
    """Or it would die for ever."""
    bench = Bench("/topic/dead")
    queue = bench.queues.make_durable("/topic/dead")
    bench.queues.put(queue, message("/topic/dead", "1"))
    subscriber = RecordingSubscriber("/topic/dead", AckMode.CLIENT)
    bench.queues.add(queue, subscriber, 10)
    bench.queues.settle(queue, subscriber, subscriber.serials, is_accepted=False, requeue=False)
    assert (bench.published, bench.counters.dropped) == ([], 1)


@pytest.mark.parametrize("name", [ANSWERS, "/topic/durable"])
async def test_what_does_not_fit_at_all_is_dropped_and_told(name: str) -> None:
    bench = Bench(max_queue_size=size_of(message(name, "1")))
    queue = bench.queues.obtain(name) if name is ANSWERS else bench.queues.make_durable(name)
    subscriber = RecordingSubscriber(name)
    bench.queues.add(queue, subscriber, 10)
    for body in ("x" * 200, "1"):
        bench.queues.put_or_drop(queue, message(name, body))
    assert (subscriber.bodies, subscriber.told) == (["1"], [{"x-missed": "1"}])
    assert (bench.counters.queued, bench.counters.settled, bench.counters.dropped) == (2, 1, 1)


async def test_answers_that_nobody_reads_make_room_for_newer_ones() -> None:
    bench = Bench(max_queue_length=2)
    for body in "12345":
        bench.queues.put_or_drop(bench.queues.obtain(ANSWERS), message(ANSWERS, body))
    subscriber = bench.consume(ANSWERS, AckMode.AUTO)
    assert (subscriber.bodies, subscriber.told) == ([*"45"], [{"x-missed": "3"}, None])
    assert (bench.counters.dropped, bench.counters.dead) == (3, 0)


# Would it fit?


def test_what_fits_leaves_no_queue_behind() -> None:
    bench = Bench()
    bench.queues.check({JOBS: [10, 10], "/queue/other": [1]})
    bench.queues.check({})
    assert len(bench.queues) == 0


@pytest.mark.parametrize(
    ("loads", "limit"),
    [
        ({JOBS: [1, 1, 1]}, "max_queue_length"),
        ({JOBS: [31]}, "max_queue_size"),
        ({JOBS: [16, 16]}, "max_queue_size"),
        ({JOBS: [20], "/queue/other": [31]}, "max_queue_size"),
        ({JOBS: [20], "/queue/other": [21]}, "max_size"),
        ({JOBS: [1], "/queue/b": [1], "/queue/c": [1]}, "max_queues"),
    ],
)
def test_what_does_not_fit_as_a_whole_is_refused(loads: dict[str, list[int]], limit: str) -> None:
    bench = Bench(max_queue_length=2, max_queue_size=30, max_size=40, max_queues=2)
    with pytest.raises(QueueFull, match=limit):
        bench.queues.check(loads)
    assert len(bench.queues) == 0


async def test_what_waits_already_counts() -> None:
    bench = Bench(max_queue_length=3)
    bench.put(*"12")
    bench.queues.check({JOBS: [1]})
    with pytest.raises(QueueFull):
        bench.queues.check({JOBS: [1, 1]})


async def test_what_a_queue_may_drop_is_room() -> None:
    bench = Bench(max_size=3 * SIZE, on_queue_full="drop_oldest")
    bench.put(*"123")
    bench.queues.check({JOBS: [3 * SIZE]})
    with pytest.raises(QueueFull, match="max_size"):
        bench.queues.check({JOBS: [SIZE], "/queue/other": [SIZE]})


async def test_a_queue_that_is_there_already_is_none_too_many() -> None:
    bench = Bench(max_queues=1)
    bench.consume()
    bench.queues.check({JOBS: [1]})


async def test_what_one_queue_may_drop_is_no_room_for_another() -> None:
    bench = Bench(max_size=10 * SIZE, on_queue_full="drop_oldest")
    bench.put(*"12345678")
    loads = {"/queue/b": [2 * SIZE], "/queue/c": [2 * SIZE], JOBS: [SIZE]}
    with pytest.raises(QueueFull):
        bench.queues.check(loads)


# Whatever happens.


@pytest.mark.parametrize("seed", range(20))
async def test_everything_that_was_put_is_somewhere(seed: int) -> None:
    """``queued`` is what was settled, is dead or was dropped, and what is still held; of dead letters anew."""
    random = Random(seed)
    most = 15 * SIZE
    bench = Bench(
        max_queue_length=5,
        max_deliveries=3,
        max_durable_length=3,
        max_size=most,
        on_queue_full=random.choice(["refuse", "drop_oldest"]),
    )
    refusing = ("/queue/a", "/queue/b")
    durable = bench.queues.make_durable("/topic/a")
    present: list[tuple[Queue, RecordingSubscriber]] = []

    def look() -> None:
        queues = [*bench.queues.values(), durable]
        counters = bench.counters
        held = sum(len(queue) + queue.lent for queue in queues)
        assert counters.queued == counters.settled + counters.dead + counters.dropped + held
        assert 0 <= bench.budget.held <= most
        assert not held or bench.budget.held > 0
        assert all(not queue.is_idle or queue is durable for queue in queues)
        if bench.options.on_queue_full == "refuse":
            assert all(len(queue) + queue.lent <= 5 for name, queue in bench.queues.items() if name in refusing)

    def act() -> None:
        name = random.choice(["/queue/a", "/queue/b", DEAD, ANSWERS, "/topic/a"])
        kind = random.choice(["put", "put", "put", "add", "remove", "settle", "settle", "expire", "slow", "discard"])
        if kind == "put":
            queue = durable if name == "/topic/a" else bench.queues.obtain(name)
            one = message(name, "x" * random.choice([1, 1, 50]))
            if name in ("/topic/a", ANSWERS):
                bench.queues.put_or_drop(queue, one)
            else:
                with suppress(QueueFull):
                    bench.queues.put(queue, one, random.choice([None, 0.0, 100.0]))
        elif kind == "add" and len(present) < 8:
            queue = durable if name == "/topic/a" else bench.queues.obtain(name)
            subscriber = RecordingSubscriber(name, random.choice(list(AckMode)))
            subscriber.can_be_told = random.random() < 0.8
            bench.queues.add(queue, subscriber, random.randrange(1, 4))
            present.append((queue, subscriber))
        elif kind == "remove" and present:
            queue, subscriber = present.pop(random.randrange(len(present)))
            bench.pacer.forget(subscriber)
            bench.queues.remove(queue, subscriber)
        elif kind == "settle" and present:
            queue, subscriber = random.choice(present)
            serials = random.sample(subscriber.serials, min(2, len(subscriber.serials)))
            accept, requeue = random.choice([True, False]), random.choice([True, False])
            bench.queues.settle(queue, subscriber, serials, is_accepted=accept, requeue=requeue)
        elif kind == "slow" and present:
            _, subscriber = random.choice(present)
            if subscriber.is_ready:
                subscriber.is_ready = False
            else:
                subscriber.take_in()
        elif kind == "expire":
            bench.queues.expire(clock() + random.choice([0.0, 200.0]))
        elif kind == "discard":
            bench.queues.discard(ANSWERS)
            present[:] = [(queue, one) for queue, one in present if one.pattern.text != ANSWERS]

    for _ in range(150):
        act()
        look()
        if random.random() < 0.3:
            await turns(2)
            look()
    for queue, subscriber in present:
        bench.pacer.forget(subscriber)
        bench.queues.remove(queue, subscriber)
        look()
    bench.queues.clear()
    durable.clear()
    assert bench.budget.held == 0
    await bench.pacer.close()
    await turns()
    assert asyncio.all_tasks() == {asyncio.current_task()}
