"""Who is where: users by name, and what each connection wants of its user's messages."""

from __future__ import annotations

import pytest

from sockbridge.errors import InvalidCloseCode
from sockbridge.stomp.connection import StompConnection
from sockbridge.stomp.frame import Command, Frame
from sockbridge.stomp.registry import UserRegistry
from sockbridge.stomp.subscription import Subscription
from tests.stomp.fakes import RecordingCarrier, login, make_message, subscribe

QUEUE = "/user/queue/x"


def come(registry: UserRegistry, name: str | None = "bob") -> tuple[StompConnection, RecordingCarrier]:
    """A connection that has logged in and is known."""
    connection, carrier = login(user=name)
    registry.add(connection)
    return connection, carrier


def want(registry: UserRegistry, connection: StompConnection, destination: str = QUEUE, id: str = "s") -> Subscription:
    subscription = subscribe(connection, destination, id=id)
    registry.subscribe(connection, subscription)
    return subscription


def deliver(registry: UserRegistry, name: str, destination: str = QUEUE) -> int:
    return registry.deliver(registry.connections(name), make_message(destination=destination))


# Who is there.


def test_a_user_is_there_from_the_first_connection_to_the_end_of_the_last() -> None:
    registry = UserRegistry()
    assert ("bob" in registry, len(registry), list(registry)) == (False, 0, [])
    first, _ = come(registry)
    second, _ = come(registry)
    assert ("bob" in registry, len(registry), list(registry)) == (True, 1, ["bob"])
    assert registry.connections("bob") == [first, second]
    registry.discard(first)
    assert registry.connections("bob") == [second]
    registry.discard(second)
    assert ("bob" in registry, len(registry), list(registry)) == (False, 0, [])
    assert registry.connections("bob") == []


def test_a_connection_may_end_twice_or_without_having_come() -> None:
    registry = UserRegistry()
    gone, _ = come(registry)
    here, _ = come(registry)
    stranger, _ = login(user="eve")
    for _ in range(2):
        registry.discard(gone)
        registry.discard(stranger)
    assert registry.connections("bob") == [here]
    assert list(registry) == ["bob"]


def test_guests_are_not_listed() -> None:
    registry = UserRegistry()
    guest, _ = come(registry, None)
    assert len(registry) == 0
    registry.discard(guest)


def test_users_may_go_while_one_looks_at_them() -> None:
    registry = UserRegistry()
    connections = [come(registry, name)[0] for name in "abc"]
    for name, connection in zip(registry, connections, strict=True):
        assert name in registry
        registry.discard(connection)
    assert len(registry) == 0


def test_what_one_gets_is_no_part_of_the_registry() -> None:
    registry = UserRegistry()
    come(registry)
    registry.connections("bob").clear()
    assert len(registry.connections("bob")) == 1


# Out with them.


def test_disconnect_closes_every_connection_of_one_user() -> None:
    registry = UserRegistry()
    carriers = [come(registry)[1], come(registry)[1]]
    other, _ = come(registry, "eve")
    assert registry.disconnect("bob", 4001, "out") == 2
    assert [carrier.closes for carrier in carriers] == [[(4001, "out")]] * 2
    assert other.is_open


def test_disconnect_of_nobody_closes_nothing() -> None:
    registry = UserRegistry()
    _, carrier = come(registry, "eve")
    assert registry.disconnect("bob") == 0
    assert carrier.is_open


def test_disconnect_with_a_code_that_may_not_be_used_closes_nobody() -> None:
    registry = UserRegistry()
    carriers = [come(registry)[1], come(registry)[1]]
    with pytest.raises(InvalidCloseCode):
        registry.disconnect("bob", 1006)
    assert all(carrier.is_open for carrier in carriers)


# Messages.


def test_every_connection_of_a_user_gets_a_message_and_nobody_else() -> None:
    registry = UserRegistry()
    tabs = [come(registry) for _ in range(2)]
    other = come(registry, "eve")
    for connection, _ in (*tabs, other):
        want(registry, connection)
    assert deliver(registry, "bob") == 2
    assert [len(carrier.frames) for _, carrier in (*tabs, other)] == [1, 1, 0]
    assert tabs[0][1].frames[0].command is Command.MESSAGE
    assert tabs[0][1].frames[0].headers["destination"] == QUEUE


def test_a_message_reaches_those_alone_who_have_subscribed_to_its_destination() -> None:
    registry = UserRegistry()
    connection, carrier = come(registry)
    want(registry, connection, "/user/queue/other", "one")
    assert deliver(registry, "bob") == 0
    assert carrier.frames == []
    assert deliver(registry, "nobody") == 0


def test_two_subscriptions_of_one_connection_get_a_message_each() -> None:
    registry = UserRegistry()
    connection, carrier = come(registry)
    for id in ("one", "two"):
        want(registry, connection, id=id)
    assert deliver(registry, "bob") == 2
    assert [frame.headers["subscription"] for frame in carrier.frames] == ["one", "two"]


def test_no_pattern_matches_messages_of_users() -> None:
    registry = UserRegistry()
    connection, carrier = come(registry)
    for number, pattern in enumerate(("/user/**", "/user/queue/*", "**", "/user/bob/queue/x")):
        want(registry, connection, pattern, str(number))
    assert deliver(registry, "bob") == 0
    assert carrier.frames == []


def test_a_guest_can_be_reached_through_its_connection() -> None:
    registry = UserRegistry()
    guest, carrier = come(registry, None)
    want(registry, guest)
    assert registry.deliver([guest], make_message(destination=QUEUE)) == 1
    assert len(carrier.frames) == 1


def test_after_unsubscribe_nothing_comes() -> None:
    registry = UserRegistry()
    connection, carrier = come(registry)
    first, second = (want(registry, connection, id=id) for id in ("one", "two"))
    registry.unsubscribe(connection, first)
    registry.unsubscribe(connection, first)
    assert deliver(registry, "bob") == 1
    registry.unsubscribe(connection, second)
    assert deliver(registry, "bob") == 0
    assert [frame.headers["subscription"] for frame in carrier.frames] == ["two"]


def test_unsubscribing_from_one_destination_leaves_the_others() -> None:
    registry = UserRegistry()
    connection, _ = come(registry)
    first = want(registry, connection, id="one")
    want(registry, connection, "/user/queue/y", "two")
    registry.unsubscribe(connection, first)
    assert deliver(registry, "bob", "/user/queue/y") == 1


def test_unsubscribing_what_was_never_subscribed_is_harmless() -> None:
    registry = UserRegistry()
    connection, _ = come(registry)
    registry.unsubscribe(connection, subscribe(connection, "/topic/a", id="other"))
    want(registry, connection)
    registry.unsubscribe(connection, subscribe(connection, "/topic/b", id="another"))
    assert deliver(registry, "bob") == 1


def test_a_connection_that_has_ended_gets_nothing() -> None:
    registry = UserRegistry()
    connection, carrier = come(registry)
    want(registry, connection)
    registry.discard(connection)
    assert registry.deliver([connection], make_message(destination=QUEUE)) == 0
    assert carrier.frames == []


def test_subscriptions_may_end_while_a_message_is_delivered() -> None:
    """Whoever had subscribed when it was sent gets it."""
    registry = UserRegistry()
    subscriptions: list[Subscription] = []

    def watch(connection: StompConnection, frame: Frame) -> Frame:
        for subscription in subscriptions:
            registry.unsubscribe(connection, subscription)
        return frame

    connection, carrier = login(user="bob", watch=watch)
    registry.add(connection)
    subscriptions += [want(registry, connection, id=id) for id in ("one", "two", "three")]
    assert deliver(registry, "bob") == 3
    assert len(carrier.frames) == 3
    assert deliver(registry, "bob") == 0
