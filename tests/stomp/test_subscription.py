"""One subscription: what its client gets, and what waits for an acknowledgement."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbridge.errors import BadFrame, SessionClosed
from sockbridge.sockjs.framing import FRAMED, RAW, Binary, Framing
from sockbridge.stomp.frame import AckMode, Command, Frame
from sockbridge.stomp.subscription import FOR_BROKERS, MAX_HEADER, MAX_HEADERS, Subscription, subscription_key
from tests.fakes import GUARD
from tests.stomp.fakes import RecordingCarrier, login, make_connection, make_frame, make_message, subscribe

ACK_MODES = [AckMode.AUTO, AckMode.CLIENT, AckMode.CLIENT_INDIVIDUAL]
OCTETS = b"\xff\x00\xfe"


def subscribed(
    version: str = "1.2", ack: str = "auto", framing: Framing = FRAMED, **options: object
) -> tuple[Subscription, RecordingCarrier]:
    connection, carrier = login(version, framing=framing, **options)  # type: ignore[arg-type]
    return subscribe(connection, ack=ack), carrier


def pass_on(connection: object, frame: Frame) -> Frame:
    return frame


# What the client gets.


@pytest.mark.parametrize(("version", "ack"), list(product(["1.0", "1.1", "1.2"], ACK_MODES)))
@pytest.mark.parametrize("framing", [FRAMED, RAW])
def test_a_message_has_the_headers_of_its_version(version: str, ack: str, framing: Framing) -> None:
    """STOMP 1.2, "MESSAGE": destination, message-id and subscription; ``ack`` where the client must acknowledge."""
    subscription, carrier = subscribed(version, ack, framing)
    subscription.deliver(make_message(7, headers={"content-type": "text/plain"}))
    (frame,) = carrier.take()
    expected = {
        "subscription": "s",
        "message-id": "1-7",
        "destination": "/topic/a",
        "content-type": "text/plain",
        "content-length": "5",
    }
    if version == "1.2" and ack != "auto":
        expected["ack"] = "1-7"
    assert frame.headers == expected
    assert frame.body == b"hello"


@pytest.mark.parametrize("watch", [None, pass_on])
def test_without_an_id_there_is_no_subscription_header(watch: object) -> None:
    """STOMP 1.0, "SUBSCRIBE": the id is optional there."""
    connection, carrier = login("1.0", watch=watch)  # type: ignore[arg-type]
    subscription = connection.subscribe(make_frame("SUBSCRIBE", destination="/topic/a"), subscribe(connection).pattern)
    subscription.deliver(make_message())
    (frame,) = carrier.take()
    assert "subscription" not in frame.headers
    assert subscription.id is None


def test_two_subscriptions_to_one_destination_get_a_message_each() -> None:
    connection, carrier = login()
    message = make_message()
    for id in ("one", "two"):
        subscribe(connection, id=id).deliver(message)
    frames = carrier.take()
    assert [frame.headers["subscription"] for frame in frames] == ["one", "two"]
    assert len({frame.headers["message-id"] for frame in frames}) == 2


def test_a_message_says_where_it_was_sent_not_what_was_subscribed_to() -> None:
    connection, carrier = login()
    subscribe(connection, "/topic/*").deliver(make_message(destination="/topic/b"))
    (frame,) = carrier.take()
    assert frame.headers["destination"] == "/topic/b"


@pytest.mark.parametrize("watch", [None, pass_on])
@pytest.mark.parametrize("ack", ACK_MODES)
@pytest.mark.parametrize("framing", [FRAMED, RAW])
@pytest.mark.parametrize(
    ("version", "raw"), [("1.1", "a:b\\c"), ("1.2", "a:b"), ("1.2", "a\\cb"), ("1.2", "héllo\\\\")]
)
def test_the_id_goes_back_as_the_client_wrote_it(
    version: str, raw: str, framing: Framing, ack: str, watch: object
) -> None:
    """Clients that never escape would not find their own subscription otherwise."""
    connection, carrier = login(version, framing=framing, watch=watch)  # type: ignore[arg-type]
    connection.receive(f"SUBSCRIBE\nid:{raw}\ndestination:/topic/a\nack:{ack}\n\n\0")
    frame = connection.next_frame()
    assert frame is not None
    connection.subscribe(frame, subscribe(connection).pattern).deliver(make_message())
    assert f"\nsubscription:{raw}\n".encode() in carrier.wire[0]


BODIES = [b"", b"hello", "h\u00e9llo \U0001f600 \u2028".encode(), b'"\\\n', OCTETS]
HEADERS: list[dict[str, str]] = [{}, {"x": "a:b\\c\nd"}, {"content-type": "application/octet-stream"}]


@pytest.mark.parametrize("framing", [FRAMED, RAW])
@pytest.mark.parametrize(("version", "ack"), list(product(["1.0", "1.1", "1.2"], ACK_MODES)))
@pytest.mark.parametrize(("body", "headers"), list(product(BODIES, HEADERS)))
def test_interceptors_that_change_nothing_change_nothing(
    version: str, ack: str, framing: Framing, body: bytes, headers: dict[str, str]
) -> None:
    plain, watched = (login(version, framing=framing, watch=watch) for watch in (None, pass_on))
    message = make_message(7, body=body, headers=headers)
    for connection, _ in (plain, watched):
        subscribe(connection, ack=ack).deliver(message)
    sent = plain[1].wire
    assert [type(octets) for octets in watched[1].wire] == [type(octets) for octets in sent]
    assert plain[0].undelivered == watched[0].undelivered == (framing is FRAMED and body is OCTETS)
    assert plain[1].take() == watched[1].take()


def test_a_message_is_worded_once_for_all_who_speak_alike() -> None:
    message = make_message()
    for version in ("1.1", "1.2", "1.2", "1.2"):
        subscribed(version)[0].deliver(message)
        subscribed(version, framing=RAW)[0].deliver(message)
    assert len(message.wordings) == 4


@given(
    st.sampled_from(["1.0", "1.1", "1.2"]),
    st.sampled_from([FRAMED, RAW]),
    st.sampled_from(ACK_MODES),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])),
)
def test_prefix_and_shared_rest_join_to_one_frame_whatever_they_hold(
    version: str, framing: Framing, ack: str, body: str, value: str
) -> None:
    subscription, carrier = subscribed(version, ack, framing)
    subscription.deliver(make_message(body=body.encode(), headers={"x": value}))
    (frame,) = carrier.take()
    assert frame.body == body.encode()
    if version != "1.0":
        assert frame.headers["x"] == value


# Binary.


@pytest.mark.parametrize("ack", ACK_MODES)
@pytest.mark.parametrize("watch", [None, pass_on])
def test_octets_that_are_no_text_go_out_in_binary_on_a_raw_websocket(ack: str, watch: object) -> None:
    connection, carrier = login(framing=RAW, watch=watch)  # type: ignore[arg-type]
    subscribe(connection, ack=ack).deliver(make_message(body=OCTETS))
    assert type(carrier.wire[0]) is Binary
    (frame,) = carrier.take()
    assert (frame.body, frame.headers.get("ack")) == (OCTETS, None if ack == "auto" else "1-1")


@pytest.mark.parametrize("watch", [None, pass_on])
def test_octets_that_are_no_text_are_counted_where_they_cannot_be_said(watch: object) -> None:
    """SockJS carries text alone."""
    connection, carrier = login(watch=watch)  # type: ignore[arg-type]
    subscription, message = subscribe(connection), make_message(body=OCTETS)
    for _ in range(3):
        subscription.deliver(message)
    assert connection.undelivered == 3
    assert carrier.take() == []


def test_a_client_that_talks_in_binary_gets_all_its_messages_so() -> None:
    connection, carrier = login(framing=RAW)
    subscription = subscribe(connection)
    subscription.deliver(make_message(1))
    connection.answer_in_binary()
    subscription.deliver(make_message(2))
    assert [type(octets) for octets in carrier.wire] == [bytes, Binary]
    assert [frame.headers["message-id"] for frame in carrier.take()] == ["1-1", "1-2"]


# Acknowledgements.


@pytest.mark.parametrize("ack", [AckMode.CLIENT, AckMode.CLIENT_INDIVIDUAL])
@pytest.mark.parametrize("watch", [None, pass_on])
def test_what_is_sent_waits_for_its_ack(ack: str, watch: object) -> None:
    connection, _ = login(watch=watch)  # type: ignore[arg-type]
    subscribe(connection, ack=ack).deliver(make_message(7))
    assert connection.settle(make_frame("ACK", id="1-7")) == (connection.subscriptions["s"], [7])


def test_what_is_sent_to_an_automatic_subscription_waits_for_none() -> None:
    connection, _ = login()
    subscribe(connection, id="other", ack="client")
    subscribe(connection).deliver(make_message(7))
    assert connection.settle(make_frame("ACK", id="2-7")) is None


# For a broker.


@pytest.mark.parametrize("watch", [None, pass_on])
@pytest.mark.parametrize("framing", [FRAMED, RAW])
@pytest.mark.parametrize(("version", "ack"), list(product(["1.0", "1.1", "1.2"], ACK_MODES)))
@pytest.mark.parametrize("body", [b"hello", OCTETS])
def test_headers_for_one_subscriber_alone_are_told_to_nobody_else(
    version: str, ack: str, framing: Framing, watch: object, body: bytes
) -> None:
    (one, carrier), (two, others) = (subscribed(version, ack, framing, watch=watch) for _ in range(2))
    message = make_message(7, body=body, headers={"x": "1"})
    is_told = one.deliver(message, {"redelivered": "true", "x-delivery-count": "3"})
    two.deliver(message)
    assert is_told is (framing is RAW or body is not OCTETS)
    if not is_told:
        assert carrier.take() == others.take() == []
        return
    (frame,), (plain,) = carrier.take(), others.take()
    assert frame.body == plain.body == body
    assert frame.headers == {**plain.headers, "redelivered": "true", "x-delivery-count": "3"}
    assert len(message.wordings) <= 1, "what is equal is worded once all the same"


@pytest.mark.parametrize("watch", [None, pass_on])
@pytest.mark.parametrize("ack", [AckMode.CLIENT, AckMode.CLIENT_INDIVIDUAL])
def test_what_is_lent_looks_the_same_and_never_counts_as_acknowledged(ack: str, watch: object) -> None:
    connection, carrier = login(watch=watch, max_unsettled=1)  # type: ignore[arg-type]
    subscription = subscribe(connection, ack=ack)
    message = make_message(1)
    assert subscription.deliver(message)
    assert subscription.lend(message)
    given, lent = carrier.take()
    assert given.headers == lent.headers
    for serial in range(2, 6):
        assert subscription.lend(make_message(serial), {"x-delivery-count": "1"})
    assert connection.settle(make_frame("ACK", id="1-2")) == (subscription, [1, 2] if ack == "client" else [2])


@pytest.mark.parametrize("watch", [None, pass_on])
@pytest.mark.parametrize("ack", ACK_MODES)
def test_what_cannot_be_said_is_told_to_the_broker_and_waits_for_no_ack(ack: str, watch: object) -> None:
    """SockJS carries text alone."""
    connection, carrier = login(watch=watch)  # type: ignore[arg-type]
    subscription = subscribe(connection, ack=ack)
    assert subscription.deliver(make_message(1, body=OCTETS)) is False
    if ack != "auto":
        assert subscription.lend(make_message(2, body=OCTETS)) is False
        for token in ("1-1", "1-2"):
            with pytest.raises(BadFrame):
                connection.settle(make_frame("ACK", id=token))
    assert carrier.take() == []


def test_what_an_interceptor_drops_is_not_told_either() -> None:
    connection, _ = login(watch=lambda connection, frame: None if frame.command is Command.MESSAGE else frame)
    subscription = subscribe(connection, ack="client")
    assert subscription.lend(make_message(1)) is False
    with pytest.raises(BadFrame):
        connection.settle(make_frame("ACK", id="1-1"))


def test_a_subscription_says_whose_it_is() -> None:
    connection, _ = login(user="ann")
    one, two = subscribe(connection, id="one"), subscribe(connection, id="two")
    guest = subscribe(login()[0])
    assert one.owner == two.owner != guest.owner
    assert len({one.owner, two.owner, guest.owner}) == 2
    assert (one.user, guest.user) == ("ann", None)


@pytest.mark.parametrize(
    ("connect", "subscribes", "client_id"),
    [(None, None, None), ("tab", None, "tab"), (None, "desk", "desk"), ("tab", "desk", "desk"), ("tab", "", "tab")],
)
def test_the_client_is_named_by_its_subscribe_or_else_by_its_connect(
    connect: str | None, subscribes: str | None, client_id: str | None
) -> None:
    connection, _ = make_connection()
    headers = {} if connect is None else {"client_id": connect}
    connection.accept(make_frame("CONNECT", accept_version="1.2", **headers), None, 0.0)
    headers = {} if subscribes is None else {"client_id": subscribes}
    assert subscribe(connection, **headers).client_id == client_id


async def test_a_subscription_is_as_ready_as_its_connection() -> None:
    connection, carrier = login()
    subscription = subscribe(connection)
    assert subscription.is_ready
    await subscription.drain()
    carrier.is_drained = False
    assert not subscription.is_ready
    draining = asyncio.create_task(subscription.drain())
    carrier.take_in()
    await asyncio.wait_for(draining, GUARD)
    connection.close()
    assert not subscription.is_ready
    with pytest.raises(SessionClosed):
        await subscription.drain()


async def test_a_subscription_that_was_struck_out_takes_nothing_more_though_its_connection_does() -> None:
    """What it would get is for others."""
    connection, carrier = login()
    subscription = subscribe(connection)
    assert not subscription.is_over
    carrier.is_drained = False
    draining = asyncio.create_task(subscription.drain())
    connection.unsubscribe("s")
    again = subscribe(connection)
    carrier.take_in()
    assert (subscription.is_over, again.is_over) == (True, False)
    assert (subscription.is_ready, again.is_ready) == (False, True)
    with pytest.raises(SessionClosed):
        await asyncio.wait_for(draining, GUARD)
    await again.drain()


def test_who_is_evicted_is_told_why_and_its_connection_ends() -> None:
    connection, carrier = login()
    subscription = subscribe(connection)
    subscription.evict("taken over")
    subscription.evict("taken over")
    (error,) = carrier.take()
    assert (error.command, error.headers["message"]) == (Command.ERROR, "taken over")
    assert connection.has_ended
    assert subscription.deliver(make_message())  # it goes nowhere
    assert carrier.take() == []


# What is kept of the SUBSCRIBE.


def test_headers_are_kept_for_the_broker_unless_they_are_long_or_many() -> None:
    connection, _ = login()
    headers = {"selector": "a=1", "token": "x" * MAX_HEADER, **{f"x-{number}": "1" for number in range(40)}}
    kept = subscribe(connection, **headers).headers
    assert kept["selector"] == "a=1"
    assert "token" not in kept
    assert len(kept) == MAX_HEADERS


def test_what_brokers_look_at_is_kept_wherever_it_stands() -> None:
    connection, _ = login()
    headers = {**{f"y-{number}": "1" for number in range(40)}, **dict.fromkeys(FOR_BROKERS, "7")}
    kept = subscribe(connection, **headers).headers
    assert {name: kept.get(name) for name in FOR_BROKERS} == dict.fromkeys(FOR_BROKERS, "7")
    assert len(kept) == MAX_HEADERS
    assert len(FOR_BROKERS) < MAX_HEADERS


# What it is called.


def test_the_key_is_the_id_or_else_the_destination() -> None:
    """STOMP 1.0, "UNSUBSCRIBE": by id or by destination."""
    with_id = make_frame("SUBSCRIBE", id="x", destination="/topic/a")
    without = make_frame("SUBSCRIBE", destination="/topic/a")
    assert subscription_key(with_id) == subscription_key(make_frame("UNSUBSCRIBE", id="x"))
    assert subscription_key(without) == subscription_key(make_frame("UNSUBSCRIBE", destination="/topic/a"))
    assert subscription_key(without) != subscription_key(make_frame("SUBSCRIBE", id="/topic/a"))


def test_a_subscription_knows_what_was_asked_for() -> None:
    connection, _ = login()
    subscription = subscribe(connection, "/topic/{x}", id="one", ack="client", selector="a=1")
    assert subscription.connection is connection
    assert (subscription.id, subscription.key, subscription.ack) == ("one", "one", AckMode.CLIENT)
    assert subscription.destination == subscription.pattern.text == "/topic/{x}"
    assert subscription.headers["selector"] == "a=1"
    assert "one" in repr(subscription)
    assert "/topic/{x}" in repr(subscription)
