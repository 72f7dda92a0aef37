"""Topics in this process: who gets what, in which order, and what is left afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from sockbridge.errors import InvalidOption
from sockbridge.stomp.broker.base import Broker, Subscriber
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.destinations import Pattern
from sockbridge.stomp.frame import AckMode


class Listener:
    """A subscriber that writes down what it gets."""

    ack = AckMode.AUTO
    headers: Mapping[str, str] = {}

    def __init__(self, pattern: str, separator: str = "/") -> None:
        self.pattern = Pattern(pattern, separator)
        self.got: list[str] = []

    owner: object = None
    user: str | None = None
    client_id: str | None = None
    is_ready = True

    async def drain(self) -> None:
        pass

    def deliver(self, message: PreparedMessage, headers: Mapping[str, str] | None = None) -> bool:
        self.got.append(f"{message.destination} {message.body.decode()}")
        return True

    lend = deliver

    def evict(self, reason: str) -> None:
        raise AssertionError(reason)


def message(destination: str, body: str = "x", serial: int = 1) -> PreparedMessage:
    return PreparedMessage(serial, destination, {}, body.encode())


async def listen(broker: EmbeddedBroker, pattern: str) -> Listener:
    listener = Listener(pattern, broker.separator)
    subscriber: Subscriber = listener
    await broker.subscribe(subscriber)
    return listener


async def test_everybody_who_has_subscribed_gets_each_message_in_order() -> None:
    broker = EmbeddedBroker()
    one, two = await listen(broker, "/topic/a"), await listen(broker, "/topic/a")
    other = await listen(broker, "/topic/b")
    for number in range(3):
        await broker.publish(message("/topic/a", str(number), number))
    assert one.got == two.got == ["/topic/a 0", "/topic/a 1", "/topic/a 2"]
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
    assert listener.got == [f"{destination} x" for destination in gets]


async def test_publishing_to_a_text_with_wildcards_is_literal() -> None:
    broker = EmbeddedBroker()
    plain, pattern = await listen(broker, "/topic/p/a"), await listen(broker, "/topic/p/*")
    await broker.publish(message("/topic/p/*"))
    assert (plain.got, pattern.got) == ([], ["/topic/p/* x"])


async def test_who_unsubscribes_gets_nothing_more_and_leaves_nothing_behind() -> None:
    broker = EmbeddedBroker()
    plain, pattern = await listen(broker, "/topic/a"), await listen(broker, "/topic/**/{x}")
    assert len(broker) == 2
    for listener in (plain, pattern):
        await broker.unsubscribe(listener, is_lost=False)
        await broker.unsubscribe(listener, is_lost=False)  # a second time does nothing
    await broker.publish(message("/topic/a"))
    assert (plain.got, pattern.got, len(broker)) == ([], [], 0)


async def test_who_unsubscribes_while_a_message_is_given_out_disturbs_nobody() -> None:
    broker = EmbeddedBroker()
    one, two = await listen(broker, "/topic/a"), await listen(broker, "/topic/a")
    deliver = one.deliver

    def leave(prepared: PreparedMessage, headers: Mapping[str, str] | None = None) -> bool:
        broker._subscribers.discard(one.pattern, one)
        return deliver(prepared, headers)

    one.deliver = leave  # type: ignore[method-assign, assignment]  # this one goes when it is told
    await broker.publish(message("/topic/a", "1"))
    await broker.publish(message("/topic/a", "2"))
    assert (one.got, two.got) == (["/topic/a 1"], ["/topic/a 1", "/topic/a 2"])


async def test_settling_a_message_of_a_topic_changes_nothing() -> None:
    broker: Broker = EmbeddedBroker()
    listener = Listener("/topic/a")
    await broker.start(lambda *parts: PreparedMessage(1, *parts))
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
