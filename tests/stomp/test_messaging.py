"""Sending from anywhere: what is refused at the call, and who gets what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from sockbridge.errors import QueueFull, UsageError
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.frame import RESERVED
from sockbridge.stomp.messaging import Messaging
from sockbridge.stomp.payloads import Payloads
from sockbridge.stomp.registry import UserRegistry
from sockbridge.stomp.users import User
from tests.stomp.fakes import RecordingBroker, login, subscribe


def make_messaging() -> tuple[Messaging, RecordingBroker, UserRegistry]:
    broker, users = RecordingBroker("/topic"), UserRegistry()
    return Messaging(broker, users, Payloads(), "/user"), broker, users


async def test_what_is_sent_reaches_whoever_has_subscribed() -> None:
    messaging, broker, _ = make_messaging()
    connection, carrier = login()
    await broker.subscribe(subscribe(connection, "/topic/*"))
    await messaging.send("/topic/a", {"n": 1}, {"x": "a:b"})
    (frame,) = carrier.take()
    assert frame.body == b'{"n":1}'
    assert frame.headers["destination"] == "/topic/a"
    assert frame.headers["subscription"] == "s"
    assert frame.headers["content-type"] == "application/json"
    assert frame.headers["content-length"] == "7"
    assert frame.headers["x"] == "a:b"


async def test_a_content_type_given_by_the_application_overrules_the_payloads_own() -> None:
    messaging, _, _ = make_messaging()
    assert messaging.prepare("/topic/a", "<a/>", {"content-type": "text/xml"}).headers == {"content-type": "text/xml"}


async def test_a_destination_with_wildcards_is_no_pattern() -> None:
    messaging, broker, _ = make_messaging()
    connection, carrier = login()
    await broker.subscribe(subscribe(connection, "/topic/a"))
    await messaging.send("/topic/*", "x")
    assert carrier.take() == []


def test_every_message_has_a_number_of_its_own() -> None:
    messaging, _, _ = make_messaging()
    serials = [messaging.prepare("/topic/a", "x").serial for _ in range(5)]
    assert len(set(serials)) == 5
    assert serials == sorted(serials)


@pytest.mark.parametrize("destination", ["/queue/a", "topic/a", "", "/topics", "/user/queue/a"])
async def test_what_the_broker_does_not_serve_is_refused_at_the_call(destination: str) -> None:
    messaging, broker, _ = make_messaging()
    with pytest.raises(UsageError, match="does not serve"):
        await messaging.send(destination, "x")
    assert broker.calls == []


@pytest.mark.parametrize("destination", ["/topic/\0", "/topic/" + "x" * 2000])
async def test_what_is_no_destination_is_refused_at_the_call(destination: str) -> None:
    messaging, broker, _ = make_messaging()
    with pytest.raises(UsageError, match="a destination"):
        await messaging.send(destination, "x")
    assert broker.calls == []


@pytest.mark.parametrize("name", sorted(RESERVED - {"content-type"}))
async def test_headers_of_the_server_cannot_be_set(name: str) -> None:
    messaging, _, _ = make_messaging()
    with pytest.raises(UsageError, match=f"the header {name} is the server's own"):
        await messaging.send("/topic/a", "x", {name: "1"})


@pytest.mark.parametrize("headers", [{"": "x"}, {"a": 5}, {5: "a"}, {"a": "\0"}, {"a\0": "x"}, {"a": None}])
async def test_a_header_that_is_none_is_refused(headers: Any) -> None:
    messaging, broker, _ = make_messaging()
    with pytest.raises(UsageError, match="a name and a text"):
        await messaging.send("/topic/a", "x", headers)
    assert broker.calls == []


async def test_a_payload_that_cannot_be_written_is_a_type_error_and_nothing_is_sent() -> None:
    messaging, broker, _ = make_messaging()
    with pytest.raises(TypeError):
        await messaging.send("/topic/a", object())
    assert broker.calls == []


async def test_a_full_queue_is_told_to_whoever_sends() -> None:
    messaging = Messaging(EmbeddedBroker(queues=["/queue"], max_queue_length=1), UserRegistry(), Payloads(), "/user")
    await messaging.send("/queue/a", "1")
    with pytest.raises(QueueFull, match="max_queue_length"):
        await messaging.send("/queue/a", "2")


@pytest.mark.parametrize(
    ("destination", "headers", "text"),
    [
        ("/queue/*", {}, "no wildcards"),
        ("/queue/a", {"expiration": "soon"}, "expiration is no number"),
        ("/presence/topic/a", {}, "who is present"),
    ],
)
async def test_what_the_broker_finds_malformed_is_wrong_use(
    destination: str, headers: dict[str, str], text: str
) -> None:
    broker = EmbeddedBroker(queues=["/queue"], presence=["/topic/*"])
    messaging = Messaging(broker, UserRegistry(), Payloads(), "/user")
    with pytest.raises(UsageError, match=text):
        await messaging.send(destination, "x", headers)


async def test_the_name_of_a_user_is_a_text() -> None:
    messaging, _, _ = make_messaging()
    for name in (User("ann"), None, 5):
        with pytest.raises(TypeError, match=r"^the name of a user is a str"):
            await messaging.send_to_user(name, "/queue/me", "hi")  # type: ignore[arg-type]


async def test_a_destination_of_a_user_goes_without_the_prefix() -> None:
    messaging, _, _ = make_messaging()
    with pytest.raises(UsageError, match="goes without the user prefix"):
        await messaging.send_to_user("ann", "/user/queue/me", "hi")


async def test_a_user_is_reached_in_every_connection_that_has_subscribed_and_in_no_other() -> None:
    messaging, broker, users = make_messaging()
    carriers = {}
    for name, user, destination in [
        ("tab 1", "ann", "/user/queue/me"),
        ("tab 2", "ann", "/user/queue/me"),
        ("other queue", "ann", "/user/queue/other"),
        ("bob", "bob", "/user/queue/me"),
    ]:
        connection, carriers[name] = login(user=user, id=name)
        users.add(connection)
        users.subscribe(connection, subscribe(connection, destination))
    assert await messaging.send_to_user("ann", "/queue/me", "hi", {"x": "1"}) == 2
    taken = {name: carrier.take() for name, carrier in carriers.items()}
    assert [name for name, frames in taken.items() if frames] == ["tab 1", "tab 2"]
    (frame,) = taken["tab 1"]
    assert (frame.body, frame.destination, frame.headers["x"]) == (b"hi", "/user/queue/me", "1")
    assert broker.calls == [], "messages to users never pass the broker"


async def test_a_user_who_is_not_there_gets_nothing_and_nobody_minds() -> None:
    messaging, _, _ = make_messaging()
    assert await messaging.send_to_user("nobody", "/queue/me", "hi") == 0


async def test_one_connection_is_reached_alone_and_be_it_a_guests() -> None:
    messaging, _, users = make_messaging()
    guest, carrier = login(id="one")
    other, others = login(id="two")
    for connection in (guest, other):
        users.subscribe(connection, subscribe(connection, "/user/queue/me"))
    assert await messaging.send_to_connection(guest, "/queue/me", "hi") == 1
    assert await messaging.send_to_connection(guest, "/queue/you", "hi") == 0
    assert ([frame.body for frame in carrier.take()], others.take()) == ([b"hi"], [])


@pytest.mark.parametrize("destination", ["queue/me", "", "user/queue/me"])
async def test_a_users_destination_begins_with_a_slash(destination: str) -> None:
    messaging, _, _ = make_messaging()
    connection, _ = login()
    with pytest.raises(UsageError, match="starts with /"):
        await messaging.send_to_user("ann", destination, "x")
    with pytest.raises(UsageError, match="starts with /"):
        await messaging.send_to_connection(connection, destination, "x")


@pytest.mark.parametrize("headers", [{"subscription": "1"}, {"": ""}])
async def test_headers_to_users_are_checked_as_well(headers: Mapping[str, str]) -> None:
    messaging, _, _ = make_messaging()
    with pytest.raises(UsageError):
        await messaging.send_to_user("ann", "/queue/me", "x", headers)


def test_the_broker_may_use_dots() -> None:
    messaging = Messaging(EmbeddedBroker(separator="."), UserRegistry(), Payloads(), "/user")
    assert messaging.prepare("/topic/a.b", "x").destination == "/topic/a.b"
