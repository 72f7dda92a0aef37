"""The broker in this process: which room serves what, what is told to whom, and what is left afterwards."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from sockbridge.errors import BadFrame, InvalidOption, QueueFull, UsageError
from sockbridge.stomp.broker.base import Broker
from sockbridge.stomp.broker.embedded import TICK, EmbeddedBroker
from sockbridge.stomp.broker.history import History
from sockbridge.stomp.broker.holding import OVERHEAD
from sockbridge.stomp.broker.options import BrokerOptions
from sockbridge.stomp.broker.pacing import BURST
from sockbridge.stomp.broker.presence import Here
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.frame import AckMode
from sockbridge.testing import ManualClockLoop
from tests.stomp.broker.fakes import RecordingSubscriber, make_message, message
from tests.stomp.clients import turns

ROOM = "/topic/rooms/1"
ROOMS = "/topic/rooms/*"
JOBS = "/queue/jobs"
DEAD = "/queue/dead-letters"


def got(subscriber: RecordingSubscriber) -> list[str]:
    """Destinations and bodies of what it was given."""
    return [f"{one.message.destination} {one.message.body.decode()}" for one in subscriber.got]


def news(subscriber: RecordingSubscriber) -> list[tuple[object, ...]]:
    """What it was told of who is present; ``type``, ``user`` or ``users``, and ``count``."""
    return [tuple(json.loads(body).values()) for body in subscriber.take()]


async def listen(broker: EmbeddedBroker, pattern: str, **arguments: Any) -> RecordingSubscriber:
    subscriber = RecordingSubscriber(pattern, separator=broker.separator, **arguments)
    await broker.subscribe(subscriber)
    return subscriber


async def consume(broker: EmbeddedBroker, name: str = JOBS, **arguments: Any) -> RecordingSubscriber:
    return await listen(broker, name, **{"ack": AckMode.CLIENT_INDIVIDUAL, **arguments})


async def put(broker: EmbeddedBroker, *bodies: str, name: str = JOBS, **headers: str) -> None:
    for body in bodies:
        await broker.publish(message(name, body, headers))


async def settle(broker: EmbeddedBroker, subscriber: RecordingSubscriber, *, accept: bool, **headers: str) -> None:
    """It is done with all that it has."""
    await broker.settle(subscriber, subscriber.serials, is_accepted=accept, headers=headers)


def on_manual_clock(play: Callable[[ManualClockLoop], Awaitable[None]]) -> None:
    """Play a test on a loop whose clock can be moved."""
    with asyncio.Runner(loop_factory=ManualClockLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, ManualClockLoop)
        runner.run(play(loop))  # type: ignore[arg-type]  # a coroutine is what it is


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    """One that has everything, and has started."""
    one = EmbeddedBroker(queues=["/queue"], history=[History("/topic/kept/*")], presence=[ROOMS])
    await one.start(make_message)
    yield one
    await one.stop()


# Topics.


async def test_everybody_who_has_subscribed_gets_each_message_in_order() -> None:
    broker = EmbeddedBroker()
    one, two = await listen(broker, "/topic/a"), await listen(broker, "/topic/a")
    other = await listen(broker, "/topic/b")
    for number in range(3):
        await broker.publish(message("/topic/a", str(number)))
    assert got(one) == got(two) == ["/topic/a 0", "/topic/a 1", "/topic/a 2"]
    assert other.got == []


async def test_nothing_is_kept_for_whoever_comes_later() -> None:
    broker = EmbeddedBroker()
    await broker.publish(message("/topic/a"))
    assert (await listen(broker, "/topic/a")).got == []


@pytest.mark.parametrize(
    ("separator", "pattern", "gets"),
    [
        ("/", "/topic/p/?", ["/topic/p/a"]),
        ("/", "/topic/p/*", ["/topic/p/a", "/topic/p/ab"]),
        ("/", "/topic/**", ["/topic/p/a", "/topic/p/ab", "/topic/p/a/z", "/topic/z"]),
        ("/", "/topic/**/z", ["/topic/p/a/z", "/topic/z"]),
        ("/", "/topic/p/{x}", ["/topic/p/a", "/topic/p/ab"]),
        (".", "/topic/p.*", ["/topic/p.a"]),
        (".", "/topic/p.**", ["/topic/p.a", "/topic/p.a.z"]),
    ],
)
async def test_a_pattern_gets_what_it_matches(separator: str, pattern: str, gets: list[str]) -> None:
    broker = EmbeddedBroker(separator=separator)
    listener = await listen(broker, pattern)
    for destination in ["/topic/p/a", "/topic/p/ab", "/topic/p/a/z", "/topic/z", "/topic/p.a", "/topic/p.a.z"]:
        if separator == "." or "." not in destination:
            await broker.publish(message(destination))
    assert got(listener) == [f"{destination} x" for destination in gets]


async def test_publishing_to_a_text_with_wildcards_is_literal() -> None:
    broker = EmbeddedBroker()
    plain, pattern = await listen(broker, "/topic/p/a"), await listen(broker, "/topic/p/*")
    await broker.publish(message("/topic/p/*"))
    assert (got(plain), got(pattern)) == ([], ["/topic/p/* x"])


async def test_who_unsubscribes_gets_nothing_more_and_leaves_nothing_behind() -> None:
    broker = EmbeddedBroker()
    plain, pattern = await listen(broker, "/topic/a"), await listen(broker, "/topic/**/{x}")
    assert len(broker) == 2
    for listener in (plain, pattern):
        await broker.unsubscribe(listener, is_lost=False)
        await broker.unsubscribe(listener, is_lost=False)  # a second time does nothing
    await broker.publish(message("/topic/a"))
    assert (plain.got, pattern.got, len(broker)) == ([], [], 0)


async def test_who_is_evicted_while_a_message_is_given_out_disturbs_nobody() -> None:
    broker = EmbeddedBroker()

    class Leaving(RecordingSubscriber):
        def deliver(self, message: PreparedMessage, headers: Mapping[str, str] | None = None) -> bool:
            leaving.append(asyncio.create_task(broker.unsubscribe(self, is_lost=True)))
            return super().deliver(message, headers)

    leaving: list[asyncio.Task[None]] = []
    one = Leaving("/topic/a")
    await broker.subscribe(one)
    two = await listen(broker, "/topic/a")
    await broker.publish(message("/topic/a", "1"))
    await leaving[0]
    await broker.publish(message("/topic/a", "2"))
    assert (one.bodies, two.bodies) == ([*"1"], [*"12"])


async def test_settling_a_message_of_a_topic_changes_nothing() -> None:
    broker: Broker = EmbeddedBroker()
    listener = RecordingSubscriber("/topic/a", AckMode.CLIENT)
    await broker.start(make_message)
    await broker.subscribe(listener)
    await broker.settle(listener, [1], is_accepted=False, headers={})
    assert listener.got == []
    await broker.stop()


@pytest.mark.parametrize(
    ("separator", "destination", "is_served"),
    [
        ("/", "/topic", True),
        ("/", "/topic/a", True),
        ("/", "/topic/**", True),
        ("/", "/queue/a", True),
        ("/", "/topics", False),
        ("/", "/topic.a", False),
        (".", "/topic.a", False),
        ("/", "/topi*/a", False),
        ("/", "/**", False),
        ("/", "", False),
        (".", "/topic/a.b", True),
        (".", "/topic*", False),
    ],
)
def test_a_broker_serves_what_lies_under_its_prefixes(separator: str, destination: str, is_served: bool) -> None:
    assert EmbeddedBroker(["/topic", "/queue/"], separator=separator).serves(destination) is is_served


def test_a_broker_tells_its_prefixes() -> None:
    assert list(EmbeddedBroker(["/topic", "/queue"]).prefixes) == ["/topic", "/queue"]


def test_an_empty_broker_is_one_all_the_same() -> None:
    assert len(EmbeddedBroker()) == 0
    assert EmbeddedBroker()


@pytest.mark.parametrize(
    ("topics", "separator", "text"),
    [
        ("/topic", "/", "list of prefixes"),
        ([], "/", "no prefix"),
        (["topic"], "/", "starts with /"),
        ([""], "/", "starts with /"),
        ([5], "/", "starts with /"),
        (["/topic/*"], "/", "no wildcard"),
        (["/topic/{x}"], "/", "no wildcard"),
        (["/topic\0"], "/", "no wildcard"),
        (["/topic"], ":", "separator"),
        (["/topic"], "", "separator"),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(topics: Any, separator: str, text: str) -> None:
    with pytest.raises(InvalidOption, match=text):
        EmbeddedBroker(topics, separator=separator)


# Which room serves what.


@pytest.mark.parametrize(
    ("destination", "is_served"),
    [
        (JOBS, True),
        ("/queue", True),
        ("/queues/a", False),
        ("/temp-queue/x", True),
        ("/reply-queue/x", True),
        ("/presence/topic/rooms/1", True),
        ("/presence", True),
        ("/user/a", False),
    ],
)
async def test_queues_and_presence_have_prefixes_of_their_own(
    broker: EmbeddedBroker, destination: str, is_served: bool
) -> None:
    assert broker.serves(destination) is is_served
    assert list(broker.prefixes) == ["/topic", "/queue", "/temp-queue", "/reply-queue", "/presence"]


def test_without_queues_and_presence_their_prefixes_are_not_taken() -> None:
    broker = EmbeddedBroker(["/topic", "/temp-queue", "/presence", "/reply-queue"])
    assert broker.resolve(object(), "/temp-queue/x") == "/temp-queue/x"
    assert broker.serves("/reply-queue/x")


async def test_without_queues_and_presence_those_names_are_topics_like_any_other() -> None:
    broker = EmbeddedBroker(["/topic", "/temp-queue", "/presence", "/reply-queue"])
    several = [await listen(broker, f"/{name}/x") for name in ("temp-queue", "presence", "reply-queue")]
    for subscriber in several:
        await broker.publish(message(subscriber.pattern.text, "1"))
        assert subscriber.bodies == ["1"]
    await broker.check([message("/presence/x"), message("/temp-queue/x")])


async def test_a_broker_may_have_queues_alone() -> None:
    broker = EmbeddedBroker([], queues=["/queue"])
    assert not broker.serves("/topic/a")
    await put(broker, "1")
    assert (await consume(broker)).bodies == ["1"]


# Queues.


async def test_a_message_goes_to_one_consumer_and_topics_are_not_touched(broker: EmbeddedBroker) -> None:
    one, two = await consume(broker), await consume(broker)
    every = await listen(broker, "/topic/**")
    await put(broker, *"123")
    assert (one.bodies, two.bodies, every.bodies) == ([*"13"], ["2"], [])
    queue = broker.queues[JOBS]
    assert (len(queue), queue.lent, queue.consumers, len(broker)) == (0, 3, 2, 3)
    await settle(broker, one, accept=True)
    await settle(broker, two, accept=True)
    assert (broker.held, broker.counters.settled, broker.counters.published) == (0, 3, 0)


async def test_who_goes_gives_back_what_it_had(broker: EmbeddedBroker) -> None:
    one = await consume(broker)
    await put(broker, *"12")
    for is_lost in (True, False, True):
        await broker.unsubscribe(one, is_lost=is_lost)
    two = await consume(broker)
    assert (two.bodies, len(broker)) == ([*"12"], 1)


@pytest.mark.parametrize(("headers", "dies"), [({}, False), ({"requeue": "true"}, False), ({"requeue": "false"}, True)])
async def test_what_is_not_taken_comes_again_or_dies(
    broker: EmbeddedBroker, headers: dict[str, str], dies: bool
) -> None:
    one = await consume(broker)
    await put(broker, "1")
    await settle(broker, one, accept=False, **headers)
    assert one.bodies == ["1"] * (1 if dies else 2)
    assert (await consume(broker, DEAD)).bodies == ["1"] * dies


async def test_requeue_is_about_what_is_not_taken(broker: EmbeddedBroker) -> None:
    one = await consume(broker)
    await put(broker, "1")
    await settle(broker, one, accept=True, requeue="false")
    assert (broker.counters.settled, broker.counters.dead) == (1, 0)


async def test_a_consumer_says_how_much_it_has_at_a_time(broker: EmbeddedBroker) -> None:
    one = await consume(broker, headers={"prefetch-count": "2"})
    await put(broker, *"1234")
    assert one.bodies == [*"12"]
    with pytest.raises(BadFrame, match=r"^prefetch-count is no number"):
        await consume(broker, headers={"prefetch-count": "-1"})
    assert broker.queues[JOBS].consumers == 1


@pytest.mark.parametrize("name", ["/queue/*", "/queue/**", "/queue/{x}", "/queue/a?", "/reply-queue/*"])
async def test_queues_know_no_wildcards(broker: EmbeddedBroker, name: str) -> None:
    with pytest.raises(BadFrame, match=r"^no wildcards in the destination of a queue"):
        await consume(broker, name)
    with pytest.raises(BadFrame, match=r"^no wildcards in the destination of a queue"):
        await put(broker, "1", name=name)
    with pytest.raises(BadFrame, match=r"^no wildcards in the destination of a queue"):
        await broker.check([message(name)])
    assert (len(broker.queues), len(broker)) == (0, 0)


@pytest.mark.parametrize("name", [JOBS, "/reply-queue/gone"])
async def test_an_expiration_is_a_number(broker: EmbeddedBroker, name: str) -> None:
    one = message(name, headers={"expiration": "soon"})
    for act in (broker.publish(one), broker.check([one])):
        with pytest.raises(BadFrame, match=r"^expiration is no number"):
            await act
    assert len(broker.queues) == 0
    await broker.publish(message("/topic/a", headers={"expiration": "soon"}))  # there it means nothing


async def test_a_full_queue_refuses_and_says_so() -> None:
    broker = EmbeddedBroker(queues=["/queue"], max_queue_length=2)
    await put(broker, *"12")
    with pytest.raises(QueueFull, match="max_queue_length"):
        await put(broker, "3")
    assert (broker.counters.refused, broker.counters.queued) == (1, 2)


async def test_there_are_so_many_queues_and_no_more() -> None:
    broker = EmbeddedBroker(queues=["/queue"], max_queues=1)
    await consume(broker)
    with pytest.raises(BadFrame, match=r"^too many queues"):
        await consume(broker, "/queue/b")
    with pytest.raises(QueueFull, match="max_queues"):
        await put(broker, "1", name="/queue/b")
    assert list(broker.queues) == [JOBS]


@pytest.mark.parametrize(
    ("arguments", "destination"),
    [
        ({}, DEAD),
        ({"queues": ["/jobs/", "/queue"]}, "/jobs/dead-letters"),
        ({"dead_letters": "/queue/morgue"}, "/queue/morgue"),
        ({"dead_letters": "/topic/morgue"}, "/topic/morgue"),
    ],
)
async def test_what_dies_goes_to_the_dead_letters(arguments: dict[str, Any], destination: str) -> None:
    broker = EmbeddedBroker(**{"queues": ["/queue"], **arguments})
    await broker.start(make_message)
    morgue = await listen(broker, destination)
    one = await consume(broker, "/queue/a")
    await put(broker, "1", name="/queue/a")
    await settle(broker, one, accept=False, requeue="false")
    assert got(morgue) == [f"{destination} 1"]
    await broker.stop()


# Would all of it be taken?


async def test_what_fits_is_not_taken_yet(broker: EmbeddedBroker) -> None:
    await broker.check([message(JOBS), message(JOBS), message("/topic/a"), message("/reply-queue/gone")])
    await broker.check([])
    assert (len(broker.queues), broker.counters.queued, broker.counters.unroutable) == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"max_queue_length": 2}, [JOBS] * 3),
        ({"max_queue_size": 3 * OVERHEAD}, [JOBS] * 3),
        ({"max_size": 3 * OVERHEAD}, [JOBS, "/queue/b", "/queue/c"]),
        ({"max_queues": 2}, [JOBS, "/queue/b", "/queue/c"]),
    ],
)
async def test_what_does_not_fit_as_a_whole_is_refused(options: dict[str, Any], names: list[str]) -> None:
    broker = EmbeddedBroker(queues=["/queue"], **options)
    messages = [message("/topic/a"), *(message(name, "x" * 10) for name in names)]
    with pytest.raises(QueueFull, match=next(iter(options))):
        await broker.check(messages)
    assert (len(broker.queues), broker.held, broker.counters.refused) == (0, 0, 4)


# Temporary queues.


@pytest.mark.parametrize(
    ("destination", "is_own"),
    [
        ("/temp-queue/x", True),
        ("/temp-queue/x/y", True),
        ("/temp-queues/x", False),
        ("/temp-queue.x", False),
        ("/reply-queue/x", False),
        ("/queue/temp-queue/x", False),
        ("", False),
    ],
)
def test_a_client_s_own_names_are_told_by_their_prefix(destination: str, is_own: bool) -> None:
    broker = EmbeddedBroker(queues=["/queue"])
    assert (broker.resolve("owner", destination) != destination) == is_own


async def test_a_client_is_reached_by_the_address_of_its_queue(broker: EmbeddedBroker) -> None:
    owner = object()
    address = broker.resolve(owner, "/temp-queue/x")
    assert address.startswith("/reply-queue/")
    assert len(address) > len("/reply-queue/") + 20
    assert broker.resolve(object(), "/temp-queue/x") != address
    await put(broker, "early", name=address)
    one = await listen(broker, address, owner=owner)
    await put(broker, "late", name=address)
    assert one.bodies == ["early", "late"]
    assert one.got[0].message.destination == address


@pytest.mark.parametrize("owner", [object(), None])
async def test_nobody_else_may_listen(broker: EmbeddedBroker, owner: object) -> None:
    address = broker.resolve("owner", "/temp-queue/x")
    for name in (address, "/reply-queue/guess"):
        with pytest.raises(BadFrame, match=r"^this temporary queue is somebody else's, or gone"):
            await listen(broker, name, owner=owner)
    assert len(broker) == 0


async def test_what_comes_too_late_is_counted_and_nobody_minds(broker: EmbeddedBroker) -> None:
    address = broker.resolve("owner", "/temp-queue/x")
    one = await listen(broker, address, owner="owner", ack=AckMode.CLIENT)
    await put(broker, *"12", name=address)
    await broker.unsubscribe(one, is_lost=True)
    assert broker.held > 0
    for _ in range(2):
        await broker.release("owner")
    assert (broker.held, broker.counters.dropped) == (0, 2)
    await put(broker, "3", name=address)
    assert (broker.counters.unroutable, broker.counters.queued, len(broker.queues)) == (1, 2, 0)
    with pytest.raises(BadFrame):
        await listen(broker, address, owner="owner")
    await settle(broker, one, accept=True)
    await broker.unsubscribe(one, is_lost=True)


async def test_who_answers_suffers_from_nothing() -> None:
    broker = EmbeddedBroker(queues=["/queue"], max_queue_length=1, max_queues=1, max_queue_size=OVERHEAD + 100)
    address = broker.resolve("owner", "/temp-queue/x")
    await put(broker, "1", "2", "x" * 200, name=address)
    assert (broker.counters.queued, broker.counters.dropped) == (3, 2)
    await broker.check([message(address)] * 10)
    other = broker.resolve("owner", "/temp-queue/y")
    await put(broker, "3", name=other)
    assert (broker.counters.unroutable, list(broker.queues)) == (0, [address, other])
    await put(broker, "4")
    assert list(broker.queues) == [address, other, JOBS], "nor does he take anybody's place"


async def test_a_client_has_so_many_temporary_queues() -> None:
    broker = EmbeddedBroker(queues=["/queue"], max_temporary_queues=1)
    broker.resolve("owner", "/temp-queue/x")
    with pytest.raises(BadFrame, match=r"^too many temporary queues"):
        broker.resolve("owner", "/temp-queue/y")
    await broker.release("owner")
    broker.resolve("owner", "/temp-queue/y")


async def test_a_temporary_queue_is_reached_by_its_address_alone(broker: EmbeddedBroker) -> None:
    for act in (broker.publish(message("/temp-queue/x")), broker.check([message("/temp-queue/x")])):
        with pytest.raises(BadFrame, match=r"^a temporary queue has an address for others"):
            await act


def test_what_is_no_temporary_queue_means_itself() -> None:
    broker = EmbeddedBroker(queues=["/queue"])
    for destination in (JOBS, "/topic/a", "/reply-queue/x", "", "nonsense"):
        assert broker.resolve(object(), destination) == destination


# Replay and durable subscriptions.


async def test_who_returns_is_told_where_it_stands(broker: EmbeddedBroker) -> None:
    await put(broker, *"ab", name="/topic/kept/a")
    one = RecordingSubscriber("/topic/kept/a", headers={"x-since": "0"})
    told = await broker.subscribe(one)
    assert one.bodies == [*"ab"]
    epoch = told["x-epoch"]
    assert told == {"x-missed": "0", "x-epoch": epoch, "x-offset": "2"}
    assert len(epoch) == 12
    two = RecordingSubscriber("/topic/kept/a", headers={"x-since": "1", "x-epoch": epoch})
    assert (await broker.subscribe(two))["x-missed"] == "0"
    assert two.bodies == ["b"]
    for subscriber in (one, two):
        await broker.unsubscribe(subscriber, is_lost=True)
    assert len(broker) == 0


async def test_every_broker_has_epochs_of_its_own() -> None:
    epochs = set()
    for _ in range(3):
        broker = EmbeddedBroker(history=[History("/topic/**")])
        await put(broker, "a", name=ROOM)
        epochs.add((await broker.subscribe(RecordingSubscriber(ROOM)))["x-epoch"])
    assert len(epochs) == 3


async def test_a_durable_subscription_outlives_its_connection(broker: EmbeddedBroker) -> None:
    arguments: dict[str, Any] = {"headers": {"durable": "true"}, "client_id": "tab", "ack": AckMode.CLIENT}
    one = await listen(broker, "/topic/a", **arguments)
    await put(broker, *"ab", name="/topic/a")
    await broker.settle(one, one.serials[:1], is_accepted=True, headers={})
    await broker.unsubscribe(one, is_lost=True)
    await put(broker, "c", name="/topic/a")
    two = RecordingSubscriber("/topic/a", **arguments)
    assert await broker.subscribe(two) == {"x-resumed": "true"}
    assert two.bodies == [*"bc"]
    await broker.settle(two, two.serials, is_accepted=False, headers={"requeue": "false"})
    assert (await consume(broker, DEAD)).bodies == []
    await broker.unsubscribe(two, is_lost=False)
    assert (broker.counters.settled, broker.counters.dropped) == (1, 2)


async def test_on_a_queue_durable_means_nothing(broker: EmbeddedBroker) -> None:
    one = RecordingSubscriber(JOBS, headers={"durable": "true"})
    assert await broker.subscribe(one) == {}
    await broker.unsubscribe(one, is_lost=True)
    assert len(broker.queues) == 0


async def test_who_is_waited_for_and_goes_is_waited_for_no_more(broker: EmbeddedBroker) -> None:
    slow = await consume(broker)
    slow.takes = 1
    await put(broker, *"12")
    await slow.wait_for_drain()
    await broker.unsubscribe(slow, is_lost=True)
    slow.take_in()
    await turns()
    assert slow.bodies == ["1"]


# Presence.


async def test_who_asks_is_told_who_is_there_and_then_who_comes_and_goes(broker: EmbeddedBroker) -> None:
    ann = await listen(broker, ROOM, user="ann")
    watcher = await listen(broker, f"/presence{ROOM}")
    assert watcher.got[0].message.destination == f"/presence{ROOM}"
    assert watcher.got[0].message.headers == {"content-type": "application/json"}
    assert news(watcher) == [("here", ["ann"], 1)]
    bob, tab, guest = [await listen(broker, ROOM, user=user) for user in ("bob", "bob", None)]
    assert news(watcher) == [("join", "bob", 2), ("join", None, 3)]
    assert broker.here(ROOM) == Here(["ann", "bob"], 3)
    for subscriber in (bob, guest, tab, ann):
        await broker.unsubscribe(subscriber, is_lost=True)
        await broker.unsubscribe(subscriber, is_lost=True)
    assert news(watcher) == [("leave", None, 2), ("leave", "bob", 1), ("leave", "ann", 0)]
    assert broker.here(ROOM) == Here([], 0)
    await broker.unsubscribe(watcher, is_lost=True)
    assert len(broker) == 0


async def test_one_may_watch_many_at_once(broker: EmbeddedBroker) -> None:
    for user, number in [("ann", 1), ("bob", 2)]:
        await listen(broker, f"/topic/rooms/{number}", user=user)
    watcher = await listen(broker, "/presence/topic/rooms/*")
    assert [one.message.destination for one in watcher.got] == ["/presence/topic/rooms/1", "/presence/topic/rooms/2"]
    assert news(watcher) == [("here", ["ann"], 1), ("here", ["bob"], 1)]
    await listen(broker, "/topic/rooms/3", user="cid")
    assert news(watcher) == [("join", "cid", 1)]


async def test_who_watches_many_is_told_in_several_turns(broker: EmbeddedBroker) -> None:
    several = [f"/topic/rooms/{number}" for number in range(2 * BURST)]
    for room in several:
        await listen(broker, room, user="ann")
    watcher = await listen(broker, "/presence/**")
    assert len(watcher.got) == BURST
    await watcher.wait_for(2 * BURST)
    await turns()
    assert [one.message.destination for one in watcher.got] == [f"/presence{room}" for room in several]
    assert news(watcher)[0] == ("here", ["ann"], 1)


async def test_who_watches_nothing_of_many_takes_no_long_turn_either(broker: EmbeddedBroker) -> None:
    for number in range(3 * BURST):
        await listen(broker, f"/topic/rooms/{number}", user="ann")
    watcher = await listen(broker, "/presence/nothing/*")
    await watcher.wait_for_drain(2)  # after each burst but the last
    await turns()
    assert watcher.got == []


async def test_who_watches_and_is_slow_is_told_at_its_own_speed(broker: EmbeddedBroker) -> None:
    for number in range(5):
        await listen(broker, f"/topic/rooms/{number}", user="ann")
    watcher = RecordingSubscriber("/presence/**")
    watcher.takes = 2
    await broker.subscribe(watcher)
    assert len(watcher.got) == 2
    await watcher.wait_for_drain()
    watcher.take_in(2)
    await watcher.wait_for(4)
    await watcher.wait_for_drain(2)
    await broker.unsubscribe(watcher, is_lost=True)
    watcher.take_in()
    await turns()
    assert len(watcher.got) == 4, "who has gone is told no more"


async def test_of_what_is_not_watched_nobody_learns_anything(broker: EmbeddedBroker) -> None:
    """An empty answer would look as if nobody were there."""
    await listen(broker, "/topic/other", user="ann")
    count = len(broker)
    for destination in ("/topic/other", "", "/queue/a"):
        with pytest.raises(BadFrame, match=r"^nobody watches who is on this destination"):
            await listen(broker, f"/presence{destination}")
        with pytest.raises(UsageError, match=r"name it in presence="):
            broker.here(destination)
    assert len(broker) == count
    watcher = await listen(broker, "/presence/**")
    await listen(broker, ROOMS, user="ann")
    assert news(watcher) == []


async def test_only_the_broker_tells_who_is_present(broker: EmbeddedBroker) -> None:
    for destination in (f"/presence{ROOM}", "/presence", "/presence/x"):
        for act in (broker.publish(message(destination)), broker.check([message(destination)])):
            with pytest.raises(BadFrame, match=r"^who is present is told by the server alone"):
                await act
    assert broker.counters.published == 0


async def test_a_broker_that_has_not_started_tells_nobody() -> None:
    broker = EmbeddedBroker(presence=[ROOMS])
    watcher = await listen(broker, f"/presence{ROOM}")
    await listen(broker, ROOM, user="ann")
    assert watcher.got == []
    assert broker.here(ROOM) == Here(["ann"], 1)


async def test_who_could_not_subscribe_is_not_present(broker: EmbeddedBroker) -> None:
    with pytest.raises(BadFrame):
        await listen(broker, ROOM, user="ann", headers={"x-since": "x"})
    assert broker.here(ROOM) == Here([], 0)


# The room that all of them share.


async def test_what_is_kept_takes_no_room_from_queues() -> None:
    broker = EmbeddedBroker(queues=["/queue"], history=[History(ROOMS)], max_size=100_000)
    for number in range(300):
        await put(broker, "x" * 1000, name=f"/topic/rooms/{number}")
    assert 90_000 < broker.held <= 100_000
    await broker.check([message(JOBS, "x" * 20_000), message("/queue/others", "x" * 20_000)])
    await put(broker, "x" * 50_000)
    assert len(broker.queues[JOBS]) == 1
    newest = await listen(broker, "/topic/rooms/299", headers={"x-since": "0"})
    oldest = await listen(broker, "/topic/rooms/260", headers={"x-since": "0"})
    assert (len(newest.got), len(oldest.got), broker.held <= 100_000) == (1, 0, True)


async def test_what_waits_for_guests_takes_no_room_from_queues() -> None:
    broker = EmbeddedBroker(queues=["/queue"], max_size=100_000)
    for number in range(20):
        headers = {"durable": "true", "client-id": str(number)}
        away = await listen(broker, "/topic/busy", headers=headers, client_id=str(number))
        await broker.unsubscribe(away, is_lost=True)
    address = broker.resolve("owner", "/temp-queue/x")
    for _ in range(20):
        await put(broker, "x" * 1000, name="/topic/busy")
        await put(broker, "x" * 1000, name=address)
    assert 40_000 < broker.held <= 50_000
    await put(broker, *["x" * 1000] * 30)
    assert len(broker.queues[JOBS]) == 30


# The clock and the log.


def test_what_expires_does_so_without_anybody_asking() -> None:
    async def play(loop: ManualClockLoop) -> None:
        broker = EmbeddedBroker(queues=["/queue"], history=[History("/topic/**", seconds=5.0)], durable_grace=10.0)
        await broker.start(make_message)
        morgue = await consume(broker, DEAD)
        away = await listen(broker, ROOM, headers={"durable": "true"}, client_id="tab")
        await broker.unsubscribe(away, is_lost=True)
        await put(broker, "1", expiration="3000")
        await put(broker, "2", name=ROOM)
        await loop.advance(2.5)
        assert (morgue.bodies, len(broker)) == ([], 2)
        await loop.advance(TICK)
        assert morgue.bodies == ["1"]
        held = broker.held
        await loop.advance(2.5)
        assert broker.held < held, "the history"
        assert len(broker) == 2
        await loop.advance(5.0)
        assert len(broker) == 1, "the durable subscription"
        await settle(broker, morgue, accept=True)
        assert broker.held == 0
        await broker.stop()

    on_manual_clock(play)


def test_what_is_lost_is_logged_once_a_second_however_much_it_is(caplog: pytest.LogCaptureFixture) -> None:
    async def play(loop: ManualClockLoop) -> None:
        broker = EmbeddedBroker(queues=["/queue"], max_queue_length=2)
        await broker.start(make_message)
        await loop.advance(TICK)
        for _ in range(50):
            await put(broker, "1", name="/reply-queue/gone")
            try:
                await put(broker, "1")
            except QueueFull:
                continue
        await loop.advance(TICK)
        await loop.advance(TICK)
        await put(broker, "1", name="/reply-queue/gone")
        await loop.advance(TICK)
        await broker.stop()

    with caplog.at_level(logging.WARNING, "sockbridge.broker"):
        on_manual_clock(play)
    assert [record.getMessage() for record in caplog.records] == [
        "messages in the last second: 48 refused, 50 unroutable (see BrokerCounters)",
        "messages in the last second: 1 unroutable (see BrokerCounters)",
        "the broker stops, and 2 messages that waited in its queues are gone",
    ]


def test_a_look_that_fails_is_not_the_last_one() -> None:
    faults: list[object] = []

    def fail_once(destination: str, headers: Mapping[str, str], body: bytes) -> PreparedMessage:
        if not faults:
            raise UsageError("not this one")
        return make_message(destination, headers, body)

    async def play(loop: ManualClockLoop) -> None:
        loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
        broker = EmbeddedBroker(queues=["/queue"])
        await broker.start(fail_once)
        morgue = await consume(broker, DEAD)
        await put(broker, "1", expiration="500")
        await put(broker, "2", expiration="1500")
        await loop.advance(TICK)
        assert (len(faults), morgue.bodies) == (1, [])
        await loop.advance(TICK)
        assert (len(faults), morgue.bodies) == (1, ["2"])
        await broker.stop()

    on_manual_clock(play)


async def test_at_the_end_nothing_is_left(caplog: pytest.LogCaptureFixture) -> None:
    broker = EmbeddedBroker(queues=["/queue"])
    await broker.start(make_message)
    slow = await consume(broker)
    slow.takes = 1
    await put(broker, *"123")
    await broker.stop()
    await broker.stop()
    assert (broker.held, len(broker.queues)) == (0, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    (record,) = caplog.records
    assert record.getMessage() == "the broker stops, and 3 messages that waited in its queues are gone"
    await broker.unsubscribe(slow, is_lost=True)  # connections may end later


async def test_at_the_end_nothing_is_known_of_before() -> None:
    broker = EmbeddedBroker(queues=["/queue"], history=[History(ROOMS)])
    await broker.start(make_message)
    await put(broker, *"ab", name=ROOM)
    address = broker.resolve("owner", "/temp-queue/x")
    durable = await listen(broker, ROOM, headers={"durable": "true"}, client_id="tab")
    before = await broker.subscribe(RecordingSubscriber(ROOM, headers={"x-since": "0"}))
    await broker.stop()
    assert broker.held == 0
    await broker.unsubscribe(durable, is_lost=False)
    await broker.start(make_message)
    await put(broker, "c", name=ROOM)
    since = {"x-since": "1", "x-epoch": before["x-epoch"]}
    after = await broker.subscribe(RecordingSubscriber(ROOM, headers=since))
    assert (after["x-missed"], after["x-offset"]) == ("unknown", "1")
    assert after["x-epoch"] != before["x-epoch"]
    await put(broker, "d", name=address)
    assert broker.counters.unroutable == 1
    await broker.stop()


async def test_a_broker_belongs_to_one_server_at_a_time() -> None:
    broker = EmbeddedBroker()
    await broker.start(make_message)
    with pytest.raises(UsageError, match="belongs to one server"):
        await broker.start(make_message)
    await broker.stop()
    await broker.start(make_message)
    await broker.stop()


# The set-up.


def test_options_are_those_of_broker_options() -> None:
    broker = EmbeddedBroker(queues=["/queue"], prefetch=5, durable_grace=1.5)
    assert broker.options == BrokerOptions(prefetch=5, durable_grace=1.5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"prefetch": 0}, "prefetch is an integer"),
        ({"max_lenght": 5, "a": 1}, "there is no option a, max_lenght; limits and times are: durable_grace, max_"),
        ({"queues": "/queue"}, "queues is a list of prefixes"),
        ({"queues": ["queue"]}, "a prefix starts with /"),
        ({"queues": ["/topic"]}, "one of the prefixes /topic and /topic hides the other"),
        ({"queues": ["/topic/queue"]}, "one of the prefixes /topic/queue and /topic hides the other"),
        ({"queues": ["/queue", "/queue/a"]}, "one of the prefixes /queue and /queue/a hides the other"),
        ({"queues": ["/temp-queue"]}, "one of the prefixes /temp-queue and /temp-queue hides the other"),
        ({"topics": ["/reply-queue"], "queues": ["/queue"]}, "one of the prefixes /reply-queue and /reply-queue"),
        ({"topics": ["/topic", "/presence"], "presence": ["/topic/*"]}, "one of the prefixes /presence and /presence"),
        ({"presence": "/topic/*"}, "presence is a list, not"),
        ({"presence": ["/elsewhere"]}, "presence: '/elsewhere' is under none of the topics /topic"),
        ({"presence": ["/**"]}, r"presence: '/\*\*' is under none of the topics"),
        ({"history": History("/topic/*")}, "history is a list, not"),
        ({"history": [History("/queue/a")], "queues": ["/queue"]}, "history: '/queue/a' is under none of the topics"),
        ({"dead_letters": "/elsewhere", "queues": ["/queue"]}, "dead_letters is a topic or a queue of this broker"),
        ({"dead_letters": "/queue/*", "queues": ["/queue"]}, "dead_letters is a topic or a queue of this broker"),
        ({"dead_letters": "/queue/a\0", "queues": ["/queue"]}, "dead_letters is a topic or a queue of this broker"),
        ({"dead_letters": "/topic/" + "x" * 1018}, "dead_letters is a topic or a queue of this broker"),
        ({"dead_letters": "/temp-queue/x", "queues": ["/queue"]}, "dead_letters is a topic or a queue of this broker"),
    ],
)
def test_what_contradicts_itself_is_refused_at_once(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidOption, match=f"^{text}"):
        EmbeddedBroker(**arguments)


def test_the_destination_of_dead_letters_may_be_as_long_as_any() -> None:
    EmbeddedBroker(dead_letters="/topic/" + "x" * 1017)


# Faults that are known.


async def test_a_destination_whose_companion_is_too_long_is_no_trap(broker: EmbeddedBroker) -> None:
    """Whoever made it can be told, or not; but what the broker refuses must not stay in it."""
    one = RecordingSubscriber("/topic/rooms/" + "x" * 1005, user="ann")

    def strict(destination: str, headers: Mapping[str, str], body: bytes) -> PreparedMessage:
        if len(destination) > 1024:
            raise UsageError("a destination has at most 1024 characters")
        return make_message(destination, headers, body)

    await broker.stop()
    await broker.start(strict)
    try:
        await broker.subscribe(one)
    except UsageError:
        assert len(broker) == 0
    else:
        await broker.unsubscribe(one, is_lost=True)
    assert len(broker._presence) == 0


async def test_what_a_transaction_keeps_of_topics_is_no_room_for_its_queues() -> None:
    broker = EmbeddedBroker(queues=["/queue"], history=[History("/topic/**")], max_size=2 * OVERHEAD + 200)
    messages = [message("/topic/a", "x" * 100), message(JOBS, "x" * 100)]
    with pytest.raises(QueueFull):
        await broker.check(messages)
