"""The topics of a broker: who listens, who catches up at whose speed, and who is never quite away."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from random import Random

import pytest

from sockbridge.errors import BadFrame
from sockbridge.stomp.broker.distribution import Queues
from sockbridge.stomp.broker.history import Histories, History
from sockbridge.stomp.broker.holding import OVERHEAD, Budget, size_of
from sockbridge.stomp.broker.options import BrokerOptions
from sockbridge.stomp.broker.pacing import BURST, Pacer, clock
from sockbridge.stomp.broker.topics import Topics
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.counters import BrokerCounters
from sockbridge.stomp.frame import AckMode
from tests.stomp.broker.fakes import RecordingSubscriber, make_message, message
from tests.stomp.clients import turns

ROOM = "/topic/rooms/1"
OTHER = "/topic/rooms/2"
ROOMS = "/topic/rooms/*"
DURABLE = {"durable": "true"}


class Bench:
    """The topics of a broker that has started.

    Attributes:
        letters: what went to the dead letters.
    """

    def __init__(self, *rules: History, separator: str = "/", **options: object) -> None:
        self.options = BrokerOptions(**options)  # type: ignore[arg-type]
        self.budget = Budget(self.options.max_size)
        self.counters = BrokerCounters()
        self.pacer = Pacer()
        self.letters: list[PreparedMessage] = []
        epochs = itertools.count(1)
        histories = Histories(
            rules,
            separator,
            self.options.max_histories,
            self.options.max_history_size,
            self.budget,
            lambda: f"e{next(epochs)}",
        )
        queues = Queues(self.options, self.budget, self.counters, self.pacer, "/topic/dead", self.letters.append)
        queues.start(make_message)
        self.topics = Topics(separator, self.options, histories, queues, self.pacer, self.counters)

    def publish(self, *bodies: str, destination: str = ROOM) -> None:
        for body in bodies:
            self.topics.publish(message(destination, body))

    def listen(self, destination: str = ROOM, **headers: str) -> tuple[RecordingSubscriber, Mapping[str, str]]:
        """A client that subscribes, and what it is told."""
        written = {name.replace("_", "-"): value for name, value in headers.items()}
        subscriber = RecordingSubscriber(destination, headers=written)
        return subscriber, self.topics.listen(subscriber)

    def attend(
        self, destination: str = ROOM, *, ack: AckMode = AckMode.AUTO, user: str | None = "ann", **headers: str
    ) -> RecordingSubscriber:
        """A client whose subscription is durable."""
        written = {**DURABLE, **{name.replace("_", "-"): value for name, value in headers.items()}}
        subscriber = RecordingSubscriber(destination, ack, headers=written, user=user, client_id="tab")
        self.told = self.topics.listen(subscriber)
        return subscriber

    def lose(self, subscriber: RecordingSubscriber) -> None:
        """Its connection is lost."""
        self.pacer.forget(subscriber)
        self.topics.leave(subscriber, is_lost=True)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    one = Bench()
    yield one
    await one.pacer.close()


@pytest.fixture
async def keeping() -> AsyncIterator[Bench]:
    """One that keeps the last 100 of each room."""
    one = Bench(History(ROOMS, size=100))
    yield one
    await one.pacer.close()


# Plain.


async def test_everybody_who_has_subscribed_gets_what_is_published(bench: Bench) -> None:
    one, told = bench.listen()
    two, _ = bench.listen(ROOMS)
    three = RecordingSubscriber(ROOM)
    bench.topics.join(three)
    bench.publish(*"ab")
    bench.publish("c", destination=OTHER)
    assert (one.bodies, two.bodies, three.bodies) == ([*"ab"], [*"abc"], [*"ab"])
    assert (told, one.told) == ({}, [None, None])
    assert (bench.counters.published, len(bench.topics)) == (3, 3)
    assert bench.budget.held == 0


async def test_who_has_left_gets_nothing_more(bench: Bench) -> None:
    one, _ = bench.listen()
    for is_lost in (True, False):
        bench.topics.leave(one, is_lost=is_lost)
    bench.publish("a")
    assert (one.got, len(bench.topics)) == ([], 0)


async def test_what_the_broker_itself_says_is_neither_kept_nor_counted(keeping: Bench) -> None:
    one, _ = keeping.listen()
    keeping.topics.tell(message(ROOM, "joined"))
    assert one.bodies == ["joined"]
    assert (keeping.counters.published, keeping.budget.held) == (0, 0)
    assert keeping.listen(x_since="0")[0].bodies == []


async def test_settling_what_was_given_for_good_changes_nothing(bench: Bench) -> None:
    one, _ = bench.listen()
    bench.publish("a")
    bench.topics.settle(one, one.serials, is_accepted=False, requeue=True)
    bench.topics.settle(RecordingSubscriber(), [1], is_accepted=True, requeue=True)
    assert one.bodies == ["a"]


async def test_one_may_ask_how_much_would_be_held_of_a_message(keeping: Bench) -> None:
    """Once in the history, once for each durable subscription, and for nobody else."""
    one = message(ROOM, "x")
    assert keeping.topics.size_kept(message("/topic/other", "x")) == 0
    assert keeping.topics.size_kept(one) == size_of(one)
    keeping.listen()
    keeping.lose(keeping.attend())
    keeping.attend(ROOMS, user="bob")
    assert keeping.topics.size_kept(one) == 3 * size_of(one)
    assert keeping.budget.held == 0


# Catching up.


async def test_who_asks_for_all_that_is_kept_gets_it_and_then_lives_on(keeping: Bench) -> None:
    keeping.publish(*"ab")
    one, told = keeping.listen(x_since="0")
    assert told == {"x-missed": "0", "x-epoch": "e1", "x-offset": "2"}
    keeping.publish("c")
    assert one.bodies == [*"abc"]
    assert len(keeping.topics) == 1
    assert [got.message.headers["x-offset"] for got in one.got] == [*"123"]


async def test_who_says_how_far_it_has_come_gets_the_rest(keeping: Bench) -> None:
    keeping.publish(*"abcd")
    one, told = keeping.listen(x_since="3", x_epoch="e1")
    assert (one.bodies, told) == (["d"], {"x-missed": "0", "x-epoch": "e1", "x-offset": "4"})


async def test_who_missed_what_is_not_kept_is_told_twice() -> None:
    bench = Bench(History(ROOMS, size=2))
    bench.publish(*"abcdef")
    one, told = bench.listen(x_since="1", x_epoch="e1")
    assert told["x-missed"] == "3"
    assert (one.bodies, one.told) == ([*"ef"], [{"x-missed": "3"}, None])


async def test_who_comes_from_another_epoch_is_told_so(keeping: Bench) -> None:
    one, told = keeping.listen(x_since="9", x_epoch="before")
    assert told == {"x-missed": "unknown"}
    keeping.publish(*"ab")
    assert (one.bodies, one.told) == ([*"ab"], [{"x-missed": "unknown"}, None])
    keeping.topics.leave(one, is_lost=True)
    assert len(keeping.topics) == 0


async def test_what_has_grown_too_old_is_not_given_though_nobody_has_looked() -> None:
    bench = Bench(History(ROOMS, seconds=0.000_001))
    bench.publish("a")
    before = clock()
    while clock() < before + 0.000_01:
        pass
    one, told = bench.listen(x_since="0")
    assert one.got == []
    assert told == {"x-missed": "0", "x-epoch": "e1", "x-offset": "1"}
    two, told = bench.listen(x_since="1", x_epoch="e1")
    assert (two.got, told["x-missed"]) == ([], "0")


async def test_who_does_not_ask_gets_what_comes_from_now_on(keeping: Bench) -> None:
    keeping.publish(*"ab")
    one, told = keeping.listen()
    keeping.publish("c")
    assert (one.bodies, told) == (["c"], {"x-epoch": "e1", "x-offset": "2"})


async def test_who_does_not_ask_begins_with_the_last_value_where_the_application_wants_it() -> None:
    bench = Bench(History("/topic/prices/*", size=1, on_subscribe=True))
    bench.publish(*"12", destination="/topic/prices/x")
    one, told = bench.listen("/topic/prices/x")
    every, every_told = bench.listen("/topic/prices/*")
    empty, _ = bench.listen("/topic/prices/y")
    assert (one.bodies, every.bodies, empty.bodies) == (["2"], ["2"], [])
    assert (told, every_told) == ({"x-epoch": "e1", "x-offset": "2"}, {})
    bench.publish("3", destination="/topic/prices/x")
    bench.publish("4", destination="/topic/prices/y")
    assert (one.bodies, every.bodies, empty.bodies) == ([*"23"], [*"234"], ["4"])


async def test_several_destinations_are_replayed_in_the_order_of_their_publishing(keeping: Bench) -> None:
    for body, destination in zip("abcde", [ROOM, OTHER, OTHER, ROOM, OTHER], strict=True):
        keeping.publish(body, destination=destination)
    one, told = keeping.listen(ROOMS, x_since="0")
    assert (one.bodies, told) == ([*"abcde"], {"x-missed": "0"})


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ({"x_since": "x"}, "x-since is no number"),
        ({"x_since": "1"}, "x-since without x-epoch"),
        ({"x_since": "0", "durable": "true"}, "either durable or x-since"),
        ({"durable": "true", "prefetch_count": "x"}, "prefetch-count is no number"),
        ({"durable": "maybe"}, "durable is true or false"),
    ],
)
async def test_what_contradicts_itself_is_a_fault_and_leaves_nothing_behind(
    keeping: Bench, headers: dict[str, str], fault: str
) -> None:
    with pytest.raises(BadFrame, match=f"^{fault}"):
        keeping.listen(client_id="tab", **headers) if "durable" not in headers else keeping.attend(**headers)
    keeping.publish("a")
    assert len(keeping.topics) == 0


async def test_a_long_replay_gives_others_their_turn() -> None:
    bench = Bench(History(ROOMS, size=1000))
    bench.publish(*map(str, range(3 * BURST)))
    one, _ = bench.listen(x_since="0")
    two, _ = bench.listen(x_since="0")
    assert (len(one.got), len(two.got)) == (BURST, BURST)
    bench.publish("live")
    assert (len(one.got), len(two.got)) == (BURST, BURST), "in its turn"
    assert await one.wait_for(3 * BURST + 1) == [*map(str, range(3 * BURST)), "live"]
    await turns()
    assert two.bodies == one.bodies
    assert len(bench.pacer) == 0
    bench.publish("later")
    assert one.bodies[-1] == two.bodies[-1] == "later"
    assert len(bench.topics) == 2


async def test_a_slow_subscriber_catches_up_at_its_own_speed_while_messages_come_and_go() -> None:
    bench = Bench(History(ROOMS, size=3))
    bench.publish(*"abc")
    slow = RecordingSubscriber(ROOM, headers={"x-since": "0"})
    slow.takes = 1
    assert bench.topics.listen(slow)["x-missed"] == "0"
    assert (slow.bodies, bench.pacer.is_waiting(slow)) == (["a"], True)
    bench.publish(*"defg")
    assert slow.bodies == ["a"]
    await slow.wait_for_drain()
    slow.take_in(2)
    await slow.wait_for(3)
    assert slow.bodies == [*"aef"]
    assert slow.told == [None, {"x-missed": "3"}, None]
    assert bench.counters.missed == 3
    bench.publish("h")
    await turns()
    slow.take_in()
    await slow.wait_for(5)
    bench.publish("i")
    assert slow.bodies == [*"aefghi"]
    assert not any(slow.told[2:])
    assert len(bench.pacer) == 0


async def test_a_slow_subscriber_that_has_everything_joins_the_others_when_it_is_ready(keeping: Bench) -> None:
    keeping.publish("a")
    slow = RecordingSubscriber(ROOM, headers={"x-since": "0"})
    slow.takes = 1
    keeping.topics.listen(slow)
    keeping.publish("b")
    assert slow.bodies == ["a"], "it is not ready"
    slow.take_in()
    await slow.wait_for(2)
    slow.is_ready = False
    keeping.publish("c")
    assert slow.bodies == [*"abc"], "it lives with the others, whom nothing holds up"


async def test_who_goes_while_it_catches_up_leaves_nothing_behind(keeping: Bench) -> None:
    keeping.publish(*"abc")
    slow = RecordingSubscriber(ROOM, headers={"x-since": "0"})
    slow.takes = 1
    keeping.topics.listen(slow)
    await slow.wait_for_drain()
    keeping.lose(slow)
    keeping.lose(slow)
    slow.take_in()
    await turns()
    keeping.publish("d")
    assert (slow.bodies, len(keeping.topics), len(keeping.pacer)) == (["a"], 0, 0)


async def test_who_is_lost_while_it_catches_up_is_waited_for_no_more(keeping: Bench) -> None:
    keeping.publish(*"abc")
    slow = RecordingSubscriber(ROOM, headers={"x-since": "0"})
    slow.takes = 1
    keeping.topics.listen(slow)
    await slow.wait_for_drain()
    slow.go()
    await turns()
    assert len(keeping.pacer) == 0
    keeping.lose(slow)
    assert len(keeping.topics) == 0


async def test_what_is_not_kept_comes_at_once_even_to_who_catches_up(keeping: Bench) -> None:
    keeping.publish(*"ab")
    slow = RecordingSubscriber("/topic/**", headers={"x-since": "0"})
    slow.takes = 1
    keeping.topics.listen(slow)
    keeping.publish("now", destination="/topic/other")
    slow.take_in()
    await slow.wait_for(3)
    assert sorted(slow.bodies) == ["a", "b", "now"]


# Never quite away.


async def test_what_is_published_while_a_client_is_away_waits_for_it(bench: Bench) -> None:
    one = bench.attend()
    assert bench.told == {"x-resumed": "false"}
    bench.publish("a")
    assert one.bodies == ["a"]
    bench.lose(one)
    bench.publish(*"bc")
    assert len(bench.topics) == 1
    two = bench.attend()
    assert bench.told == {"x-resumed": "true"}
    bench.publish("d")
    assert (one.bodies, two.bodies) == (["a"], [*"bcd"])
    assert two.told == [None, None, None]
    assert bench.budget.held == 0


async def test_who_comes_first_gets_nothing_of_before(bench: Bench) -> None:
    bench.publish("a")
    assert bench.attend().bodies == []


@pytest.mark.parametrize("pattern", [ROOMS, "/topic/**", "/topic/rooms/{x}"])
async def test_a_durable_subscription_may_have_wildcards(bench: Bench, pattern: str) -> None:
    bench.lose(bench.attend(pattern))
    bench.publish("a")
    bench.publish("b", destination=OTHER)
    bench.publish("c", destination="/elsewhere")
    one = bench.attend(pattern)
    assert [(got.message.destination, got.message.body) for got in one.got] == [(ROOM, b"a"), (OTHER, b"b")]
    bench.topics.leave(one, is_lost=False)
    assert len(bench.topics) == 0


async def test_nobody_gets_what_waits_for_somebody_else(bench: Bench) -> None:
    bench.lose(bench.attend())
    bench.publish("secret")
    for user in ("bob", None, "Ann", ""):
        assert bench.attend(user=user).bodies == []
        assert bench.told == {"x-resumed": "false"}
    assert bench.attend(ROOMS).bodies == []
    assert bench.attend().bodies == ["secret"]


async def test_who_unsubscribes_is_not_waited_for(bench: Bench) -> None:
    one = bench.attend(ack=AckMode.CLIENT)
    bench.publish("a")
    bench.topics.leave(one, is_lost=False)
    bench.topics.leave(one, is_lost=False)
    assert (len(bench.topics), bench.budget.held, bench.counters.dropped) == (0, 0, 1)
    bench.publish("b")
    assert bench.attend().bodies == []
    assert bench.told == {"x-resumed": "false"}


@pytest.mark.parametrize("ack", [AckMode.CLIENT, AckMode.CLIENT_INDIVIDUAL])
async def test_what_a_durable_subscriber_has_not_acknowledged_comes_again(bench: Bench, ack: AckMode) -> None:
    one = bench.attend(ack=ack)
    bench.publish(*"abc")
    bench.topics.settle(one, one.serials[:1], is_accepted=True, requeue=True)
    bench.lose(one)
    two = bench.attend(ack=ack)
    assert two.bodies == [*"bc"]
    assert [told and told["redelivered"] for told in two.told] == ["true", "true"]
    bench.topics.settle(two, two.serials, is_accepted=True, requeue=True)
    assert bench.budget.held == 0


async def test_a_durable_subscriber_may_refuse(bench: Bench) -> None:
    one = bench.attend(ack=AckMode.CLIENT_INDIVIDUAL)
    bench.publish(*"ab")
    first, second = one.serials
    bench.topics.settle(one, [first], is_accepted=False, requeue=True)
    bench.topics.settle(one, [second], is_accepted=False, requeue=False)
    assert one.bodies == [*"aba"]
    assert (bench.letters, bench.counters.dropped) == ([], 1), "it was everybody's message"


async def test_a_durable_subscriber_has_a_prefetch(bench: Bench) -> None:
    one = bench.attend(ack=AckMode.CLIENT_INDIVIDUAL, prefetch_count="2")
    bench.publish(*"abc")
    assert one.bodies == [*"ab"]
    bench.topics.settle(one, one.serials[:1], is_accepted=True, requeue=True)
    assert one.bodies == [*"abc"]


async def test_who_was_away_for_long_is_told_how_many_were_dropped() -> None:
    bench = Bench(max_durable_length=2)
    bench.lose(bench.attend())
    bench.publish(*"abcde")
    one = bench.attend()
    assert (one.bodies, one.told) == ([*"de"], [{"x-missed": "3"}, None])
    assert (bench.counters.dropped, bench.counters.dead, bench.letters) == (3, 0, [])


async def test_what_is_too_large_to_wait_is_dropped_and_the_publisher_does_not_suffer() -> None:
    bench = Bench(max_queue_size=OVERHEAD + 100)
    bench.lose(bench.attend())
    bench.publish("x" * 1000, "a")
    one = bench.attend()
    assert (one.bodies, one.told) == (["a"], [{"x-missed": "1"}])


async def test_a_second_connection_takes_over_and_the_first_is_told_to_go(bench: Bench) -> None:
    one = bench.attend(ack=AckMode.CLIENT)
    bench.publish(*"ab")
    two = bench.attend(ack=AckMode.CLIENT)
    assert bench.told == {"x-resumed": "true"}
    assert one.evicted == ["its durable subscription is used by another connection"]
    assert two.bodies == [*"ab"]
    bench.topics.settle(one, one.serials, is_accepted=True, requeue=True)
    bench.lose(one)
    bench.topics.leave(one, is_lost=False)
    bench.publish("c")
    assert (one.bodies, two.bodies) == ([*"ab"], [*"abc"]), "what the first does later is nobody's matter"
    assert two.evicted == []
    assert len(bench.topics) == 1


async def test_a_client_does_not_take_over_from_itself(bench: Bench) -> None:
    """It is told what is wrong, not that somebody else has come."""
    client = object()

    def ask() -> RecordingSubscriber:
        one = RecordingSubscriber(ROOM, AckMode.CLIENT, headers=DURABLE, owner=client, user="ann", client_id="tab")
        bench.topics.listen(one)
        return one

    one = ask()
    with pytest.raises(BadFrame, match=r"^this durable subscription is the client's already"):
        ask()
    bench.publish("a")
    assert (one.bodies, one.evicted, len(bench.topics)) == (["a"], [], 1)
    bench.lose(one)
    assert ask().bodies == ["a"]


async def test_one_user_has_so_many_durable_subscriptions_and_others_have_theirs() -> None:
    bench = Bench(max_durables=5, max_durables_per_user=2)
    one = bench.attend("/topic/a")
    bench.attend("/topic/b")
    with pytest.raises(BadFrame, match=r"^too many durable subscriptions: the limit is 2, of one user"):
        bench.attend("/topic/c")
    bench.publish("a", destination="/topic/c")
    assert (len(bench.topics), bench.budget.held) == (2, 0), "nothing of it stays"
    bench.lose(one)
    bench.attend("/topic/a")  # it is the same one
    guest = bench.attend("/topic/c", user=None)
    bench.attend("/topic/d", user=None)
    with pytest.raises(BadFrame, match=r"the limit is 2, of all guests"):
        bench.attend("/topic/e", user=None)
    bench.topics.leave(guest, is_lost=False)
    for user in ("bob", "cid"):
        bench.attend("/topic/e", user=user)
    with pytest.raises(BadFrame, match=r"the limit is 5, of all clients"):
        bench.attend("/topic/f", user="dan")


async def test_a_slow_connection_is_taken_over_from_too(bench: Bench) -> None:
    one = bench.attend()
    one.takes = 1
    bench.publish(*"abc")
    await one.wait_for_drain()
    two = bench.attend()
    assert two.bodies == [*"bc"]
    await turns()
    assert len(bench.pacer) == 0


async def test_who_stays_away_is_forgotten_when_the_grace_is_over() -> None:
    bench = Bench(durable_grace=10.0)
    here, away = bench.attend(), bench.attend(ROOMS, user="bob")
    bench.lose(away)
    now = clock()
    bench.publish(*"ab")
    bench.topics.expire(now + 9.9)
    assert len(bench.topics) == 2
    bench.topics.expire(clock() + 10.0)
    assert len(bench.topics) == 1
    assert (bench.budget.held, bench.counters.dropped) == (0, 2)
    bench.publish("c")
    assert here.bodies == [*"abc"]
    assert bench.attend(ROOMS, user="bob").bodies == []
    assert bench.told == {"x-resumed": "false"}


async def test_there_are_so_many_durable_subscriptions_and_no_more() -> None:
    bench = Bench(max_durables=1)
    bench.lose(bench.attend())
    with pytest.raises(BadFrame, match=r"^too many durable subscriptions"):
        bench.attend(user="bob")
    assert len(bench.topics) == 1
    bench.publish("a")
    assert bench.attend().bodies == ["a"]


async def test_a_durable_subscription_with_the_brokers_separator_is_found_again() -> None:
    bench = Bench(separator=".")
    one = RecordingSubscriber("/topic/rooms.*", headers=DURABLE, client_id="tab", separator=".")
    bench.topics.listen(one)
    bench.publish("a", destination="/topic/rooms.1")
    bench.topics.leave(one, is_lost=False)
    assert (one.bodies, len(bench.topics)) == (["a"], 0)


async def test_a_durable_subscription_to_what_is_kept_is_told_where_it_stands(keeping: Bench) -> None:
    keeping.publish("a")
    keeping.attend()
    assert keeping.told == {"x-resumed": "false", "x-epoch": "e1", "x-offset": "1"}


async def test_who_is_away_at_the_end_is_forgotten(bench: Bench) -> None:
    bench.lose(bench.attend())
    bench.publish(*"ab")
    bench.attend(user="bob", ack=AckMode.CLIENT)
    bench.publish("c")
    assert bench.topics.clear() == 4
    assert (len(bench.topics), bench.budget.held) == (0, 0)
    assert bench.topics.clear() == 0


async def test_at_the_end_who_still_catches_up_is_no_longer_stood_in_for(bench: Bench) -> None:
    subscriber, _ = bench.listen(x_since="1", x_epoch="of another life")  # it waits to be told
    assert len(bench.topics) == 1
    bench.topics.clear()
    bench.topics.leave(subscriber, is_lost=True)
    assert len(bench.topics) == 0


async def test_at_the_end_what_is_kept_is_forgotten_too() -> None:
    bench = Bench(History(ROOMS))
    bench.publish(*"ab")
    subscriber, _ = bench.listen(x_since="0")
    durable = bench.attend()
    assert bench.topics.clear() == 0
    assert bench.budget.held == 0
    for one in (subscriber, durable):
        bench.topics.leave(one, is_lost=False)  # connections may end later
    bench.publish("c")
    _, told = bench.listen(x_since="1", x_epoch="e1")
    assert told == {"x-missed": "unknown", "x-epoch": "e2", "x-offset": "1"}


async def test_what_a_durable_subscription_cannot_be_told_is_no_dead_letter_that_comes_back() -> None:
    """It would be told of the letter, which it cannot be told either, and so on."""
    bench = Bench()
    one = bench.attend("/topic/**")
    one.can_be_told = False
    bench.publish("octets", destination="/topic/dead")
    assert (len(one.refused), bench.letters, bench.counters.dropped) == (1, [], 1)


@pytest.mark.parametrize(
    ("rules", "durable", "stays"),
    [([], False, True), ([History(ROOMS)], False, False), ([], True, False)],
    ids=["not kept", "kept", "waits"],
)
async def test_what_is_kept_is_not_kept_in_every_wording(rules: list[History], durable: bool, stays: bool) -> None:
    bench = Bench(*rules)
    if durable:
        bench.lose(bench.attend())
    one = message(ROOM, "x" * 2000)
    one.wordings["a dialect"] = "as it was told"  # type: ignore[index, assignment]
    bench.topics.publish(one)
    assert bool(one.wordings) is stays


async def test_what_is_too_old_is_forgotten_when_somebody_looks() -> None:
    bench = Bench(History(ROOMS, seconds=10.0))
    bench.publish("a")
    bench.topics.expire(clock() + 10.0)
    assert bench.budget.held == 0


# Whatever happens.


@pytest.mark.parametrize("seed", range(20))
async def test_everybody_who_catches_up_has_everything_in_the_end(seed: int) -> None:
    """Each offset comes once and in order, or it was said that it does not come; whoever goes leaves nothing."""
    random = Random(seed)
    bench = Bench(History(ROOMS, size=20))
    everybody: list[RecordingSubscriber] = []
    published = 0
    for _ in range(150):
        act = random.choice(["publish", "publish", "come", "go", "slow", "turn"])
        if act == "publish":
            for _ in range(random.randrange(1, 30)):
                published += 1
                bench.publish(str(published))
        elif act == "come" and len(everybody) < 6 and published:
            headers = {"x-since": str(random.randrange(1, published + 1)), "x-epoch": "e1"}
            subscriber = RecordingSubscriber(ROOM, headers=headers)
            subscriber.takes = random.randrange(1, 10)
            bench.topics.listen(subscriber)
            everybody.append(subscriber)
        elif act == "go" and everybody:
            bench.lose(everybody.pop(random.randrange(len(everybody))))
        elif act == "slow" and everybody:
            random.choice(everybody).take_in(random.choice([None, 5, 50]))
        else:
            await turns(3)
    bench.publish("last")
    for subscriber in everybody:
        subscriber.take_in()
    await turns(20)
    for subscriber in everybody:
        offset = int(subscriber.headers["x-since"])
        for got in subscriber.got:
            offset += 1 + int((got.told or {}).get("x-missed", "0"))
            assert got.message.headers["x-offset"] == str(offset)
        assert offset == published + 1
        bench.lose(subscriber)
    assert (len(bench.topics), len(bench.pacer)) == (0, 0)
