"""The state machine of one client: the table of its module, limits, time, and a random walk."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sockbridge.errors import (
    AccessRefused,
    BadFrame,
    HeartBeatTimeout,
    InvalidCloseCode,
    RemoteError,
    SessionClosed,
    UnsupportedVersion,
)
from sockbridge.sockjs.framing import FRAMED, MAX_REASON_SIZE, RAW, Binary, Framing
from sockbridge.stomp.connection import MAX_ID, State, StompConnection, public_text
from sockbridge.stomp.destinations import MAX_DESTINATION, Pattern
from sockbridge.stomp.frame import AckMode, Command, Frame, Version
from sockbridge.stomp.users import User
from tests.fakes import GUARD
from tests.stomp.clients import turns
from tests.stomp.fakes import RecordingCarrier, login, make_connection, make_frame, make_message, subscribe

BOTH = (FRAMED, RAW)
VERSIONS = ("1.0", "1.1", "1.2")


def send(text: str, connection: StompConnection) -> Frame | None:
    """Let the client send ``text``; gives the frame it amounts to."""
    connection.receive(text)
    return connection.next_frame()


def connection_in(state: State) -> tuple[StompConnection, RecordingCarrier]:
    """A connection that came to ``state`` the usual way."""
    if state is State.CONNECTING:
        return make_connection()
    connection, carrier = login()
    if state is State.LEAVING:
        connection.leave()
    if state is State.CLOSED:
        connection.end(1000, "Goodbye")
    assert connection.state is state
    return connection, carrier


# The table: every state x verb.

CONNECT = make_frame("CONNECT", accept_version="1.2")
FAULT = BadFrame("a fault")

VERBS: dict[str, Callable[[StompConnection], object]] = {
    "accept": lambda connection: connection.accept(CONNECT, None, 0.0),
    "leave": lambda connection: connection.leave(),
    "fail": lambda connection: connection.fail(FAULT),
    "end": lambda connection: connection.end(1000, "Goodbye"),
    "close": lambda connection: connection.close(),
    "on_lost": lambda connection: connection.on_lost(),
    "send": lambda connection: connection.send(make_frame("RECEIPT", receipt_id="r")),
    "send_receipt": lambda connection: connection.send_receipt(make_frame("SEND", receipt="r")),
    "send_prepared": lambda connection: connection.send_prepared(connection.carrier.framing.prepare("RECEIPT\n\n\0")),
    "look": lambda connection: connection.look(5.0),
}

CONNECTING, CONNECTED, LEAVING, CLOSED = State
SAID, SILENT = True, False

TABLE: list[tuple[str, State, State, bool, bool]] = [
    # verb, state, state after it, is something said?, is the carrier closed?
    ("accept", CONNECTING, CONNECTED, SAID, False),
    ("leave", CONNECTED, LEAVING, SILENT, False),
    ("leave", LEAVING, LEAVING, SILENT, False),
    ("leave", CLOSED, CLOSED, SILENT, True),
    ("fail", CONNECTING, CLOSED, SAID, True),
    ("fail", CONNECTED, CLOSED, SAID, True),
    ("fail", LEAVING, CLOSED, SILENT, True),
    ("fail", CLOSED, CLOSED, SILENT, True),
    *(("end", state, CLOSED, SILENT, True) for state in State),
    *(("on_lost", state, CLOSED, SILENT, state is CLOSED) for state in State),
    ("send", CONNECTING, CONNECTING, SAID, False),
    ("send", CONNECTED, CONNECTED, SAID, False),
    ("send", CLOSED, CLOSED, SILENT, True),
    ("send_receipt", CONNECTED, CONNECTED, SAID, False),
    ("send_receipt", LEAVING, LEAVING, SILENT, False),
    ("send_receipt", CLOSED, CLOSED, SILENT, True),
    ("send_prepared", CONNECTED, CONNECTED, SAID, False),
    ("send_prepared", LEAVING, LEAVING, SILENT, False),
    ("send_prepared", CLOSED, CLOSED, SILENT, True),
    *(("look", state, state, SILENT, state is CLOSED) for state in State),
]


@pytest.mark.parametrize(("verb", "before", "after", "is_said", "is_closed"), TABLE)
def test_table(verb: str, before: State, after: State, is_said: bool, is_closed: bool) -> None:
    connection, carrier = connection_in(before)
    VERBS[verb](connection)
    assert connection.state is after
    assert bool(carrier.wire) is is_said
    assert carrier.is_open is not is_closed
    assert connection.is_open is (after is CONNECTED)


@pytest.mark.parametrize("state", State)
def test_close_delivers_what_waits_and_nothing_is_heard_behind_it(state: State) -> None:
    connection, carrier = connection_in(state)
    connection.receive("SEND\ndestination:/topic/a\n\n\0" if state is CONNECTED else "CONNECT\n\n\0")
    connection.close(4000, "out")
    connection.close(4000, "out")
    assert not carrier.is_open
    assert (carrier.wire, carrier.dropped) == ([], [])
    assert connection.next_frame() is None
    assert not connection.is_open


def test_nothing_becomes_of_a_connection_that_was_closed_from_outside() -> None:
    connection, carrier = login(heart_beat="1000,1000")
    connection.close()
    assert [connection.look(now) for now in (0.6, 10.0)] == [None, None]
    assert (carrier.wire, carrier.dropped) == ([], [])


def test_close_takes_what_a_session_takes() -> None:
    connection, carrier = login()
    with pytest.raises(InvalidCloseCode):
        connection.close(1005)
    assert connection.is_open
    connection.close()
    assert carrier.closes == [(3000, "Go away!")]


# In: frames in their places.


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
def test_either_word_logs_in(command: str) -> None:
    """STOMP 1.2, "CONNECT or STOMP Frame"."""
    connection, _ = make_connection()
    frame = send(f"{command}\naccept-version:1.2\n\n\0", connection)
    assert frame is not None
    assert frame.command == command


@pytest.mark.parametrize("command", [command for command in Command if command not in (Command.CONNECT, Command.STOMP)])
def test_nothing_comes_before_connect(command: str) -> None:
    connection, _ = make_connection()
    connection.receive(f"{command}\nreceipt:r\n\n\0")
    with pytest.raises(BadFrame, match=rf"^{command} before CONNECT$") as caught:
        connection.next_frame()
    assert caught.value.receipt == "r"


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
def test_a_client_logs_in_once(command: str) -> None:
    connection, _ = login()
    connection.receive(f"{command}\nreceipt:r\n\n\0")
    with pytest.raises(BadFrame, match=r"^connected already$") as caught:
        connection.next_frame()
    assert caught.value.receipt == "r"


@pytest.mark.parametrize("state", [LEAVING, CLOSED])
def test_from_the_end_on_nothing_is_heard(state: State) -> None:
    connection, _ = connection_in(state)
    connection.receive("SEND\ndestination:/a\n\n\0 \xff garbage" * 1000)
    assert connection.next_frame() is None
    assert connection.decoder.buffered == 0


def test_what_had_come_before_the_end_is_not_heard_either() -> None:
    connection, _ = login()
    connection.receive("DISCONNECT\n\n\0SEND\ndestination:/a\n\n\0")
    assert connection.next_frame() is not None
    connection.leave()
    assert connection.next_frame() is None


def test_frames_come_in_order_and_then_none() -> None:
    connection, _ = login()
    connection.receive("\n\r\nSEND\ndestination:/a\n\n\0\nBEGIN\ntrans")
    first = connection.next_frame()
    assert first is not None
    assert first.destination == "/a"
    assert connection.next_frame() is None
    second = send("action:t\n\n\0", connection)
    assert second is not None
    assert second.headers == {"transaction": "t"}


def test_limits_are_tight_before_the_login_and_wide_after_it() -> None:
    body = "SEND\ndestination:/a\n\n" + "x" * 500
    connection, _ = make_connection(max_login_size=100)
    with pytest.raises(BadFrame, match=r"too long"):
        send(body, connection)
    connection, _ = login(max_login_size=100)
    assert send(f"{body}\0", connection) is not None


def test_escapes_are_those_of_the_version_agreed_on() -> None:
    for version, value in (("1.0", "a\\cb"), ("1.1", "a:b"), ("1.2", "a:b")):
        connection, _ = login(version)
        frame = send("SEND\nx:a\\cb\n\n\0", connection)
        assert frame is not None
        assert frame.headers["x"] == value


# Versions.


@pytest.mark.parametrize("accepted", ["", " ", ",", "2.0", "1", "1.20", "01.2", "1.2.0", "v1.2", "1.2;1.1", "1.1 1.2"])
def test_no_version_in_common_is_told_with_those_there_are(accepted: str) -> None:
    connection, carrier = make_connection()
    connect = make_frame("CONNECT", accept_version=accepted)
    with pytest.raises(UnsupportedVersion) as caught:
        connection.accept(connect, None, 0.0)
    assert connection.state is CONNECTING
    connection.fail(caught.value, connect)
    (error,) = carrier.take()
    assert error.headers["version"] == "1.0,1.1,1.2"
    assert b"supported are 1.0,1.1,1.2" in error.body


# CONNECTED.


@pytest.mark.parametrize("framing", BOTH)
@pytest.mark.parametrize("version", VERSIONS)
def test_connected_tells_version_and_heart_beats_always(version: str, framing: Framing) -> None:
    """STOMP 1.2, "CONNECTED Frame"; old clients of 1.1 fail without the heart-beat header."""
    connection, carrier = make_connection(framing=framing)
    agreed = connection.accept(make_frame("CONNECT", accept_version=version, heart_beat="2000,3000"), None, 0.0)
    (connected,) = carrier.take()
    assert connected.command is Command.CONNECTED
    header = "0,0" if version == "1.0" else "3000,2000"  # heart-beats came with 1.1
    assert connected.headers == {"version": version, "heart-beat": header}
    assert agreed.header == header
    assert connection.tick == agreed.tick
    assert (agreed.tick > 0) == (version != "1.0")


def test_a_client_that_asks_for_no_heart_beats_needs_no_looks() -> None:
    connection, carrier = make_connection()
    connection.accept(make_frame("CONNECT"), None, 0.0)
    assert carrier.frames[0].headers["heart-beat"] == "0,0"
    assert connection.tick == 0
    assert connection.look(1e9) is None


def test_a_bad_heart_beat_leaves_the_client_outside() -> None:
    connection, carrier = make_connection()
    with pytest.raises(BadFrame, match=r"heart-beat is two numbers"):
        connection.accept(make_frame("CONNECT", accept_version="1.2", heart_beat="often"), User("bob"), 0.0)
    assert (connection.state, connection.user, carrier.wire) == (CONNECTING, None, [])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("bob", "bob"),
        ("a:b\\c", "a:b\\c"),
        ("Zoë \U0001f600", "Zoë \U0001f600"),
        ("a\nrole:admin\r\0", "a role admin  "),
    ],
)
@pytest.mark.parametrize("framing", BOTH)
def test_connected_tells_the_name_of_the_user_on_one_line(framing: Framing, name: str, shown: str) -> None:
    """STOMP 1.2, "Value Encoding": CONNECTED is never escaped."""
    connection, carrier = make_connection(framing=framing)
    user = User(name)
    connection.accept(CONNECT, user, 0.0)
    assert connection.user is user
    assert f"\nuser-name:{shown}\n".encode() in carrier.wire[0]
    assert len(carrier.wire[0].split(b"\n")) == 6


def test_a_client_that_talks_in_binary_is_answered_so_from_connected_on() -> None:
    connection, carrier = make_connection(framing=RAW)
    connection.answer_in_binary()
    connection.answer_in_binary()
    connection.accept(CONNECT, None, 0.0)
    connection.send_receipt(make_frame("SEND", receipt="r"))
    assert [type(octets) for octets in carrier.wire] == [Binary, Binary]


def test_sockjs_has_no_binary() -> None:
    connection, carrier = make_connection(framing=FRAMED)
    connection.answer_in_binary()
    connection.accept(CONNECT, None, 0.0)
    assert len(carrier.frames) == 1


# For the application.


def test_the_application_has_a_dict_and_the_handshake() -> None:
    connection, carrier = login()
    connection.attributes["room"] = 5
    assert connection.attributes == {"room": 5}
    assert connection.handshake is carrier.handshake
    assert connection.carrier is carrier
    assert connection.id == carrier.id


@pytest.mark.parametrize(("header", "client_id"), [({}, None), ({"client_id": "tab"}, "tab"), ({"client_id": ""}, "")])
def test_a_client_may_say_that_it_is_the_same_as_before(header: dict[str, str], client_id: str | None) -> None:
    connection, _ = make_connection()
    assert connection.client_id is None
    connection.accept(make_frame("CONNECT", accept_version="1.2", **header), None, 0.0)
    assert connection.client_id == client_id


def test_what_is_not_served_is_counted_per_connection() -> None:
    (one, _), (two, _) = login(), login()
    assert [one.count_unserved() for _ in range(3)] == [1, 2, 3]
    assert two.count_unserved() == 1


# Flow control.


def test_a_connection_is_ready_while_it_is_open_and_little_waits() -> None:
    connection, carrier = make_connection()
    assert not connection.is_ready, "it has not logged in"
    connection.accept(make_frame("CONNECT", accept_version="1.2"), None, 0.0)
    assert connection.is_ready
    carrier.is_drained = False
    assert not connection.is_ready
    carrier.take_in()
    assert connection.is_ready


@pytest.mark.parametrize("end", ["leave", "close", "on_lost", "the carrier"])
def test_a_connection_that_has_ended_is_never_ready(end: str) -> None:
    connection, carrier = login()
    if end == "the carrier":
        carrier.is_open = False
    else:
        getattr(connection, end)()
    assert not connection.is_ready


async def test_one_may_wait_until_little_waits() -> None:
    connection, carrier = login()
    await connection.drain()
    carrier.is_drained = False
    draining = asyncio.create_task(connection.drain())
    await turns()
    assert not draining.done()
    carrier.take_in()
    await asyncio.wait_for(draining, GUARD)


@pytest.mark.parametrize("end", ["leave", "close", "fail"])
async def test_whoever_waits_for_a_connection_that_ends_is_told(end: str) -> None:
    connection, carrier = login()
    carrier.is_drained = False
    draining = asyncio.create_task(connection.drain())
    await turns()
    if end == "fail":
        connection.fail(BadFrame("no"))
    else:
        getattr(connection, end)()
    carrier.take_in()
    with pytest.raises(SessionClosed):
        await asyncio.wait_for(draining, GUARD)
    with pytest.raises(SessionClosed):
        await connection.drain()


def test_a_connection_shows_who_it_is() -> None:
    assert repr(login(user="bob")[0]) == "<StompConnection id connected bob fake>"
    assert repr(make_connection()[0]) == "<StompConnection id connecting - fake>"


# Subscriptions.


@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_an_id_is_required_from_1_1_on(version: str) -> None:
    """STOMP 1.1 and 1.2, "SUBSCRIBE"."""
    connection, _ = login(version)
    with pytest.raises(BadFrame, match=r"^SUBSCRIBE without id$"):
        connection.subscribe(make_frame("SUBSCRIBE", destination="/topic/a"), Pattern("/topic/a"))
    assert connection.subscriptions == {}


def test_in_1_0_destinations_do_for_an_id() -> None:
    connection, _ = login("1.0")
    frame = make_frame("SUBSCRIBE", destination="/topic/a")
    subscription = connection.subscribe(frame, Pattern("/topic/a"))
    with pytest.raises(BadFrame, match=r"subscribed already"):
        connection.subscribe(frame, Pattern("/topic/a"))
    subscribe(connection, "/topic/a", id="/topic/a")
    assert connection.unsubscribe(subscription.key) is subscription
    assert len(connection.subscriptions) == 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("ack", AckMode)
def test_all_ack_modes_are_known_in_every_version(version: str, ack: AckMode) -> None:
    assert subscribe(login(version)[0], ack=ack.value).ack is ack


def test_without_ack_header_the_mode_is_auto() -> None:
    assert subscribe(login()[0]).ack is AckMode.AUTO


@pytest.mark.parametrize("ack", ["", "Auto", "AUTO", "client_individual", "individual", " auto"])
def test_an_unknown_ack_mode_is_refused(ack: str) -> None:
    connection, _ = login()
    with pytest.raises(BadFrame, match=r"^ack is auto, client or client-individual$"):
        subscribe(connection, ack=ack)
    assert connection.subscriptions == {}


def test_an_id_is_taken_until_it_is_unsubscribed() -> None:
    connection, _ = login()
    first = subscribe(connection)
    with pytest.raises(BadFrame, match=r"^this id is subscribed already: 's'$"):
        subscribe(connection, "/topic/b")
    assert connection.subscriptions == {"s": first}
    assert connection.unsubscribe("s") is first
    assert connection.unsubscribe("s") is None
    second = subscribe(connection)
    assert second.ordinal != first.ordinal


@pytest.mark.parametrize("version", VERSIONS)
def test_an_id_has_an_end(version: str) -> None:
    """It is repeated in every MESSAGE."""
    connection, _ = login(version)
    subscribe(connection, id="x" * MAX_ID)
    with pytest.raises(BadFrame, match=r"^id too long: the limit is 1024 characters$"):
        subscribe(connection, id="x" * (MAX_ID + 1))


def test_in_1_0_the_longest_destination_does_for_an_id() -> None:
    connection, _ = login("1.0")
    destination = "/" + "x" * (MAX_DESTINATION - 1)
    connection.subscribe(make_frame("SUBSCRIBE", destination=destination), Pattern(destination))


def test_there_are_never_more_subscriptions_than_the_limit() -> None:
    connection, _ = login(max_subscriptions=3)
    for number in range(3):
        subscribe(connection, id=str(number))
    with pytest.raises(BadFrame, match=r"^too many subscriptions: the limit is 3$"):
        subscribe(connection, id="more")
    connection.unsubscribe("1")
    subscribe(connection, id="more")
    assert len(connection.subscriptions) == 3


def test_there_are_never_more_patterns_than_the_limit() -> None:
    connection, _ = login(max_patterns=2)
    for number in range(5):
        subscribe(connection, id=f"plain {number}")
    for number in range(2):
        subscribe(connection, "/topic/*", id=str(number))
    for _ in range(3):  # what is refused does not count
        with pytest.raises(BadFrame, match=r"^too many patterns: the limit is 2$"):
            subscribe(connection, "/topic/*", id="more")
    subscribe(connection, id="plain more")
    connection.unsubscribe("plain 0")
    with pytest.raises(BadFrame, match=r"^too many patterns"):
        subscribe(connection, "/topic/*", id="more")
    connection.unsubscribe("0")
    subscribe(connection, "/topic/*", id="more")


# Acknowledgements.


def settle(connection: StompConnection, token: str, command: str = "ACK", **headers: str) -> list[int] | None:
    """Send ACK or NACK as the version wants it; the serials it is about."""
    name = "id" if connection.version is Version.V1_2 else "message_id"
    found = connection.settle(make_frame(command, **{name: token, "subscription": "s", **headers}))
    return None if found is None else found[1]


def deliver(connection: StompConnection, count: int, ack: str, id: str = "s") -> None:
    subscription = subscribe(connection, ack=ack, id=id)
    for serial in range(1, count + 1):
        subscription.deliver(make_message(serial))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", ["ACK", "NACK"])
def test_a_client_acknowledges_with_what_its_message_said(version: str, command: str) -> None:
    """STOMP 1.2, "ACK": ``id`` is the ``ack`` header of the MESSAGE; before that it is ``message-id``."""
    connection, carrier = login(version)
    deliver(connection, 3, "client-individual")
    name = "ack" if version == "1.2" else "message-id"
    tokens = [frame.headers[name] for frame in carrier.take()]
    assert [settle(connection, token, command) for token in reversed(tokens)] == [[3], [2], [1]]


def test_cumulative_acks_stay_within_their_subscription() -> None:
    """STOMP 1.2, "SUBSCRIBE": an ACK in mode ``client`` is about the messages of that subscription."""
    connection, _ = login()
    deliver(connection, 3, "client", "one")
    deliver(connection, 3, "client", "two")
    assert settle(connection, "2-3") == [1, 2, 3]
    assert settle(connection, "1-2") == [1, 2]
    assert settle(connection, "1-3") == [3]


@pytest.mark.parametrize(
    ("version", "headers", "missing"),
    [
        ("1.0", {}, "message-id"),
        ("1.0", {"message-id": ""}, "message-id"),
        ("1.1", {"subscription": "s"}, "message-id"),
        ("1.1", {"message-id": "1-1"}, "subscription"),
        ("1.2", {"message-id": "1-1", "subscription": "s"}, "id"),
        ("1.2", {"id": ""}, "id"),
    ],
)
def test_an_ack_needs_the_headers_of_its_version(version: str, headers: dict[str, str], missing: str) -> None:
    """STOMP 1.0, 1.1 and 1.2, "ACK"."""
    connection, _ = login(version)
    deliver(connection, 1, "client")
    with pytest.raises(BadFrame, match=rf"^NACK without {missing}$"):
        connection.settle(Frame(Command.NACK, headers))


TOKENS_OF_NOBODY = [
    *("x", "1", "-", "1-", "-1", "1-1-1", "2-1", "99-1", "1-x", "x-1", " 1-1", "1-1 ", "+1-1", "1--1", "1-+1", "1_0-1"),
    *("0-1", "\u0661-1", "1-\u00b2", "1-1.0", "9" * 19 + "-1", "1-" + "9" * 19, "9" * 5000 + "-1", "Undefined", "null"),
    "\ud83d-1",
]


@pytest.mark.parametrize("token", TOKENS_OF_NOBODY)
@pytest.mark.parametrize("version", VERSIONS)
def test_an_ack_of_what_nobody_sent_is_refused(version: str, token: str) -> None:
    connection, _ = login(version)
    deliver(connection, 1, "client")
    with pytest.raises(BadFrame, match=r"^ACK of an unknown message: ") as caught:
        settle(connection, token)
    assert len(str(caught.value)) < 1000
    assert settle(connection, "1-1") == [1]


@pytest.mark.parametrize("ack", ["client", "client-individual"])
def test_a_second_ack_of_a_message_is_refused(ack: str) -> None:
    connection, _ = login()
    deliver(connection, 2, ack)
    settle(connection, "1-1")
    with pytest.raises(BadFrame, match=r"^ACK or NACK of a message that waits for none: 1-1$"):
        settle(connection, "1-1")


def test_an_ack_that_meets_the_unsubscribe_on_its_way_is_harmless() -> None:
    connection, _ = login()
    deliver(connection, 2, "client")
    deliver(connection, 1, "client", "other")
    connection.unsubscribe("s")
    assert settle(connection, "1-2") is None
    assert settle(connection, "1-2") is None
    assert settle(connection, "2-1") == [1]


def test_a_new_subscription_of_the_same_id_does_not_get_the_acks_of_the_old_one() -> None:
    connection, _ = login()
    deliver(connection, 2, "client")
    connection.unsubscribe("s")
    deliver(connection, 2, "client")
    assert settle(connection, "1-2") is None
    assert settle(connection, "2-2") == [1, 2]


@pytest.mark.parametrize("others", [0, 1])
def test_an_ack_for_an_automatic_subscription_is_harmless(others: int) -> None:
    """webstomp acknowledges with the message-id, stompjs, which finds no ``ack`` header, with ``undefined``."""
    connection, _ = login()
    deliver(connection, 1, "auto")
    for _ in range(others):
        deliver(connection, 1, "client", "other")
    assert settle(connection, "1-1") is None
    assert settle(connection, "undefined") is None


def test_an_ack_of_what_was_forgotten_is_about_nothing() -> None:
    connection, _ = login(max_unsettled=2)
    deliver(connection, 5, "client-individual")
    assert [settle(connection, f"1-{serial}") for serial in (3, 1, 5, 4)] == [[], [], [5], [4]]


def test_in_1_1_the_subscription_of_an_ack_is_the_messages_own() -> None:
    """STOMP 1.1, "ACK": message-id and subscription both say which message it is."""
    connection, _ = login("1.1")
    deliver(connection, 1, "client", "one")
    deliver(connection, 1, "client", "two")
    assert settle(connection, "2-1", subscription="two") == [1]
    for _ in range(2):
        with pytest.raises(BadFrame, match=r"^ACK of another subscription's message$"):
            settle(connection, "1-1", subscription="two")
    assert settle(connection, "1-1", subscription="one") == [1], "nothing was settled by the fault"


def test_in_1_1_an_ack_for_a_subscription_that_has_ended_is_harmless_whatever_it_names() -> None:
    connection, _ = login("1.1")
    deliver(connection, 1, "client", "one")
    deliver(connection, 1, "auto", "two")
    connection.unsubscribe("one")
    for token, named in (("1-1", "one"), ("1-1", "two"), ("2-1", "two"), ("2-1", "one")):
        assert settle(connection, token, subscription=named) is None
        connection.check_settles([make_frame("ACK", message_id=token, subscription=named)])


@pytest.mark.parametrize("version", ["1.0", "1.2"])
def test_only_1_1_asks_whose_message_it_is(version: str) -> None:
    """The others have no such header; a client may say there what it likes."""
    connection, _ = login(version)
    deliver(connection, 1, "client", "one")
    assert settle(connection, "1-1", subscription="two") == [1]


def test_acks_after_the_end_are_about_nothing() -> None:
    connection, _ = login()
    deliver(connection, 1, "client")
    connection.on_lost()
    connection.subscriptions["s"].deliver(make_message(2))
    assert [settle(connection, token) for token in ("1-1", "1-2")] == [None, None]


@pytest.mark.parametrize("command", ["ACK", "NACK"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("requeue", ["true", "false"])
def test_whether_a_message_may_come_again_is_true_or_false(version: str, command: str, requeue: str) -> None:
    connection, _ = login(version)
    deliver(connection, 1, "client")
    for wrong in ("", "no", "True", "0", " false", "\u00e9" * 5000):
        with pytest.raises(BadFrame, match=r"^requeue is true or false: '") as caught:
            settle(connection, "1-1", command, requeue=wrong)
        assert len(str(caught.value)) < 1000
    assert settle(connection, "1-1", command, requeue=requeue) == [1]


def lend(connection: StompConnection, count: int, ack: str, id: str = "s") -> None:
    subscription = subscribe(connection, "/queue/a", ack=ack, id=id)
    for serial in range(1, count + 1):
        assert subscription.lend(make_message(serial))


def test_what_is_lent_waits_for_its_ack_however_many_there_are() -> None:
    """Whoever keeps it limits how many; what is given for good counts as acknowledged beyond a limit."""
    connection, _ = login(max_unsettled=2)
    lend(connection, 5, "client-individual", "queue")
    deliver(connection, 5, "client-individual", "topic")
    assert [settle(connection, f"1-{serial}") for serial in (1, 5)] == [[1], [5]]
    assert [settle(connection, f"2-{serial}") for serial in (1, 5)] == [[], [5]]


def ack(token: str, command: str = "ACK", **headers: str) -> Frame:
    return make_frame(command, **{"id": token, **headers})


def test_a_transaction_of_acks_is_checked_without_an_effect() -> None:
    connection, _ = login()
    lend(connection, 5, "client", "one")
    lend(connection, 5, "client-individual", "two")
    frames = [ack("1-2"), ack("2-5", "NACK"), ack("1-5"), ack("2-1"), ack("undefined")]
    for _ in range(2):
        connection.check_settles(frames)
    assert [settle(connection, frame.headers["id"]) for frame in frames] == [[1, 2], [5], [3, 4, 5], [1], None]


@pytest.mark.parametrize(
    ("frames", "fault"),
    [
        ([ack("2-1"), ack("2-1")], "waits for none: 2-1"),
        ([ack("2-1"), ack("2-1", "NACK")], "waits for none: 2-1"),
        ([ack("1-3"), ack("1-2")], "waits for none: 1-2"),
        ([ack("1-2"), ack("1-6")], "waits for none: 1-6"),
        ([ack("1-1"), ack("9-1")], "unknown message"),
        ([ack("1-1"), ack("1-2", requeue="x")], "requeue is true or false"),
        ([ack("1-1"), make_frame("NACK")], "NACK without id"),
    ],
)
def test_a_transaction_of_acks_is_refused_as_a_whole(frames: list[Frame], fault: str) -> None:
    connection, _ = login()
    lend(connection, 5, "client", "one")
    lend(connection, 5, "client-individual", "two")
    with pytest.raises(BadFrame, match=fault):
        connection.check_settles(frames)
    assert settle(connection, "1-5") == [1, 2, 3, 4, 5]
    assert settle(connection, "2-1") == [1]


def test_acks_of_a_transaction_that_are_about_nothing_are_harmless() -> None:
    connection, _ = login()
    connection.check_settles([])
    connection.check_settles([ack("undefined")])
    lend(connection, 1, "client")
    connection.unsubscribe("s")
    connection.check_settles([ack("1-1"), ack("1-1")])
    connection.on_lost()
    connection.check_settles([ack("1-1")])


def test_in_1_1_a_transaction_with_the_ack_of_another_subscription_is_refused() -> None:
    """Or what came before it in the transaction has had its effect already."""
    connection, _ = login("1.1")
    lend(connection, 1, "client", "one")
    lend(connection, 1, "client", "two")
    with pytest.raises(BadFrame, match=r"^ACK of another subscription's message$"):
        connection.check_settles([make_frame("ACK", message_id="1-1", subscription="two")])
    own = [
        make_frame("ACK", message_id="1-1", subscription="one"),
        make_frame("ACK", message_id="2-1", subscription="two"),
    ]
    connection.check_settles(own)


# Transactions.


def test_transactions_are_the_connections_own() -> None:
    """STOMP 1.2, "BEGIN": names are per connection."""
    connection, _ = login()
    connection.transactions.begin(make_frame("BEGIN", transaction="t"))
    connection.transactions.hold(make_frame("SEND", transaction="t"))
    with pytest.raises(BadFrame, match=r"^unknown transaction: 't'$"):
        login()[0].transactions.hold(make_frame("SEND", transaction="t"))


def test_a_lost_client_has_no_transactions_left() -> None:
    """STOMP 1.2, "BEGIN": a connection that fails aborts its transactions."""
    connection, _ = login()
    connection.transactions.begin(make_frame("BEGIN", transaction="t"))
    connection.on_lost()
    with pytest.raises(BadFrame, match="unknown transaction"):
        connection.transactions.end(make_frame("COMMIT", transaction="t"))


# Receipts.

RECEIPTS = [
    *((version, raw) for version in VERSIONS for raw in ("r1", "", "a:b", "a b ", "é\U0001f600", "77" * 300)),
    *((version, raw) for version in ("1.1", "1.2") for raw in ("a\\cb", "a\\\\cb", "a\\nb", "\\\\")),
    ("1.0", "a\\b"),
    ("1.0", "a\\cb\\"),
    ("1.2", "a\\rb"),
]


@pytest.mark.parametrize("framing", BOTH)
@pytest.mark.parametrize(("version", "raw"), RECEIPTS)
def test_a_receipt_goes_back_as_the_client_wrote_it(version: str, raw: str, framing: Framing) -> None:
    """STOMP 1.2, "RECEIPT"; clients that never escape compare what they wrote."""
    connection, carrier = login(version, framing=framing)
    frame = send(f"SEND\ndestination:/a\nreceipt:{raw}\n\n\0", connection)
    assert frame is not None
    connection.send_receipt(frame)
    echoed = raw.strip() if version == "1.0" else raw
    assert carrier.wire == [f"RECEIPT\nreceipt-id:{echoed}\n\n\0".encode()]


def test_who_asks_for_no_receipt_gets_none() -> None:
    connection, carrier = login()
    connection.send_receipt(make_frame("SEND", destination="/a"))
    connection.send_receipt(make_frame("SUBSCRIBE", destination="/a"), {"x-offset": "5"})
    assert carrier.wire == []


def test_a_receipt_may_tell_more() -> None:
    connection, carrier = login()
    connection.send_receipt(make_frame("SUBSCRIBE", receipt="r"), {"x-epoch": "e1", "x-offset": "5"})
    (frame,) = carrier.take()
    assert frame.headers == {"receipt-id": "r", "x-epoch": "e1", "x-offset": "5"}


# ERROR.

ERRORS: list[RemoteError] = [
    BadFrame("a fault", "and: more\\of\r\nit\0 \u20ac"),
    BadFrame("a fault: with\\all\r\nof it\0"),
    AccessRefused("not: you\\there\r\nuser-name:admin\0"),
    RemoteError(""),
    UnsupportedVersion("1.0,1.1,1.2", "'9'"),
]


@pytest.mark.parametrize("framing", BOTH)
@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("version", [None, *VERSIONS])
def test_an_error_can_be_read_in_every_version(version: str | None, error: RemoteError, framing: Framing) -> None:
    """STOMP 1.2, "ERROR"; before the login nobody knows how to escape."""
    connection, carrier = login(version, framing=framing) if version else make_connection(framing=framing)
    connection.fail(error)
    octets = carrier.wire[0]
    (frame,) = carrier.take()
    assert frame.command is Command.ERROR
    assert not set(":\\\r\n") & set(frame.headers["message"])
    assert frame.headers["content-length"] == str(len(frame.body))
    head = octets.split(b"\n\n")[0]
    assert b"\\" not in head
    assert b"\r" not in head
    assert ("content-type" in frame.headers) is bool(frame.body)
    assert ("version" in frame.headers) is isinstance(error, UnsupportedVersion)
    assert set(frame.headers) <= {"message", "content-length", "content-type", "version"}
    ((code, reason),) = carrier.closes
    assert (code, reason.strip()) == (1002, frame.headers["message"].strip())


def test_an_error_names_the_receipt_of_the_frame_at_fault() -> None:
    """STOMP 1.2, "ERROR": receipt-id, if the frame asked for a receipt."""
    connection, carrier = login()
    connection.fail(AccessRefused("no"), make_frame("SEND", receipt="r"))
    (frame,) = carrier.take()
    assert frame.headers == {"message": "no", "receipt-id": "r", "content-length": "0"}


def test_an_error_names_no_receipt_where_none_was_asked_for() -> None:
    for error in (AccessRefused("no"), BadFrame("no")):
        for frame in (None, make_frame("SEND")):
            connection, carrier = login()
            connection.fail(error, frame)
            assert "receipt-id" not in carrier.frames[0].headers


AT_FAULT = {
    "before CONNECT": (None, "SEND\ndestination:/a\nreceipt:{}\n\n\0"),
    "second CONNECT": ("1.2", "CONNECT\nreceipt:{}\n\n\0"),
    "a body where none may be": ("1.2", "BEGIN\nreceipt:{}\n\nbody\0"),
    "a body where none may be, by its length": ("1.2", "BEGIN\nreceipt:{}\ncontent-length:4\n\nbody\0"),
    "a length that is wrong": ("1.2", "SEND\nreceipt:{}\ncontent-length:2\n\nbody\0"),
    "a length that is none": ("1.2", "SEND\nreceipt:{}\ncontent-length:x\n\nbody\0"),
    "a body that is too long": ("1.2", "SEND\nreceipt:{}\ncontent-length:99999999\n\nbody\0"),
    "an undefined escape elsewhere": ("1.2", "SEND\nreceipt:{}\nx:\\t\n\n\0"),
}


@pytest.mark.parametrize("framing", BOTH)
@pytest.mark.parametrize("raw", ["r1", "a:b", "a\\cb", "a\\nevil\\c1", "a\\n\\nb", "\\\\", "é"])
@pytest.mark.parametrize("fault", AT_FAULT)
def test_an_error_about_a_frame_that_cannot_be_read_gives_the_receipt_back_verbatim(
    fault: str, raw: str, framing: Framing
) -> None:
    version, text = AT_FAULT[fault]
    connection, carrier = login(version, framing=framing) if version else make_connection(framing=framing)
    connection.receive(text.format(raw))
    with pytest.raises(BadFrame) as caught:
        connection.next_frame()
    connection.fail(caught.value)
    head = carrier.wire[0].split(b"\n\n")[0].split(b"\n")
    assert f"receipt-id:{raw}".encode() in head
    assert {line.split(b":")[0] for line in head[1:]} <= {b"message", b"receipt-id", b"content-length", b"content-type"}


def test_a_receipt_that_was_changed_on_the_way_is_the_one_told() -> None:
    """An interceptor may replace a frame; a RECEIPT must then be well-formed all the same."""
    connection, carrier = login()
    frame = send("SEND\nreceipt:a\\cb\n\n\0", connection)
    assert frame is not None
    connection.fail(AccessRefused("no"), dataclasses.replace(frame, raw=None))
    assert carrier.frames[0].headers["receipt-id"] == "a:b"


def test_the_reason_of_the_close_fits_into_a_close_frame() -> None:
    for text in ("é" * 500, "x" * 500, "\U0001f600" * 100):
        connection, carrier = login()
        connection.fail(AccessRefused(text))
        ((code, reason),) = carrier.closes
        assert code == 1002
        assert 0 < len(reason.encode()) <= MAX_REASON_SIZE
        assert text.startswith(reason)
        assert len(carrier.frames[0].headers["message"]) <= 200


def test_text_that_no_wire_can_hold_ends_the_connection_as_well() -> None:
    """An application may put into its refusal what it has read out of JSON: half of a character."""
    for error in (AccessRefused("no room \ud83d"), BadFrame("a fault", "\ud83d")):
        for framing in BOTH:
            connection, carrier = login(framing=framing)
            connection.fail(error)
            assert connection.state is CLOSED
            assert len(carrier.closes) == 1
            assert len(carrier.frames) == 1


def test_the_code_may_be_another() -> None:
    connection, carrier = login()
    connection.fail(RemoteError("internal error"), None, 1011)
    assert carrier.closes == [(1011, "internal error")]


def test_a_client_is_told_of_one_fault() -> None:
    connection, carrier = login()
    connection.fail(AccessRefused("first"))
    connection.fail(AccessRefused("second"))
    connection.end(1000, "Goodbye")
    assert [frame.headers["message"] for frame in carrier.frames] == ["first"]
    assert len(carrier.closes) == 1
    assert carrier.dropped == []


def test_after_the_receipt_of_disconnect_nothing_is_said() -> None:
    """STOMP 1.2, "DISCONNECT": that RECEIPT is the last frame."""
    connection, carrier = login(heart_beat="1000,1000")
    subscription = subscribe(connection)
    connection.send_receipt(make_frame("DISCONNECT", receipt="bye"))
    connection.leave()
    subscription.deliver(make_message())
    connection.send_receipt(make_frame("SEND", receipt="late"))
    connection.look(0.6)
    connection.fail(AccessRefused("late"))
    assert [frame.headers for frame in carrier.frames] == [{"receipt-id": "bye"}]
    assert carrier.beats == 0


def test_public_text_leaks_no_more_than_the_error_says() -> None:
    assert public_text(BadFrame("a: b", "c: d")) == ("a  b", "c: d")
    assert public_text(AccessRefused("a: b")) == ("a  b", "")


# Interceptors.


def test_the_watch_sees_each_frame_and_may_change_or_drop_it() -> None:
    seen: list[str] = []

    def watch(connection: StompConnection, frame: Frame) -> Frame | None:
        seen.append(frame.command)
        if frame.command is Command.RECEIPT:
            return None
        return dataclasses.replace(frame, headers={**frame.headers, "x": "1"})

    connection, carrier = make_connection(watch=watch)
    assert connection.is_watched
    connection.accept(CONNECT, None, 0.0)
    connection.send_receipt(make_frame("SEND", receipt="r"))
    subscribe(connection).deliver(make_message())
    connection.fail(AccessRefused("no"))
    assert seen == ["CONNECTED", "RECEIPT", "MESSAGE", "ERROR"]
    frames = carrier.take()
    assert [frame.command for frame in frames] == ["CONNECTED", "MESSAGE", "ERROR"]
    assert all(frame.headers["x"] == "1" for frame in frames)
    assert connection.undelivered == 0


def test_an_error_that_an_interceptor_drops_ends_the_connection_all_the_same() -> None:
    connection, carrier = login(watch=lambda connection, frame: None if frame.command == "ERROR" else frame)
    connection.fail(AccessRefused("no"))
    assert carrier.wire == []
    assert carrier.closes == [(1002, "no")]


def test_what_cannot_be_said_is_counted() -> None:
    connection, carrier = login()
    connection.send(make_frame("MESSAGE", b"\xff"))
    connection.send_prepared(b"")
    assert (connection.undelivered, carrier.wire) == (2, [])


# The clock.


def test_a_client_that_never_logs_in_is_given_up() -> None:
    connection, _ = make_connection(now=100.0, connect_timeout=10.0)
    connection.receive("\n\nCONNE")
    assert connection.look(109.9) is None
    error = connection.look(110.0)
    assert isinstance(error, BadFrame)
    assert str(error) == "no login in time: the limit is 10 seconds"


def test_a_client_that_has_logged_in_is_not() -> None:
    connection, _ = login(now=100.0)
    assert connection.look(1e9) is None


def test_a_login_that_expires_ends_the_connection() -> None:
    for heart_beat in ("0,0", "1000,1000"):
        connection, _ = login(expires_at=50.0, now=49.0, heart_beat=heart_beat)
        assert connection.look(49.9) is None
        error = connection.look(50.0)
        assert isinstance(error, AccessRefused)
        assert str(error) == "the login has expired"


def test_a_client_who_leaves_has_its_grace_and_is_then_hung_up_on() -> None:
    """STOMP 1.2, "DISCONNECT": the client is to close; some never do."""
    connection, carrier = login(disconnect_grace=2.0, expires_at=11.0, heart_beat="1000,1000")
    connection.leave()
    assert [connection.look(now) for now in (10.0, 11.0, 11.9)] == [None] * 3
    assert (connection.state, carrier.closes) == (LEAVING, [])
    assert connection.look(12.0) is None
    assert (connection.state, carrier.closes) == (CLOSED, [(1000, "Goodbye")])
    assert connection.look(13.0) is None
    assert (len(carrier.closes), carrier.wire) == (1, [])


def looks(connection: StompConnection, begin: float, end: float) -> list[float]:
    """When the server looks: once a second, or five times in the shortest interval."""
    tick = min(connection.tick or 1.0, 1.0)
    return [begin + tick * count for count in range(1, round((end - begin) / tick) + 1)]


@pytest.mark.parametrize("framing", BOTH)
@pytest.mark.parametrize("interval", [1.0, 10.0])
def test_a_quiet_client_gets_beats_at_half_to_seven_tenths_of_the_interval(interval: float, framing: Framing) -> None:
    """STOMP 1.2, "Heart-beating": a beat is one EOL."""
    connection, carrier = login(heart_beat=f"0,{interval * 1000:.0f}", framing=framing, now=7.0)
    heard = [7.0]
    for now in looks(connection, 7.0, 7.0 + 20 * interval):
        before = carrier.beats
        assert connection.look(now) is None
        if carrier.beats > before:
            assert carrier.wire[-1] == b"\n"
            assert 0.5 * interval - 1e-6 <= now - heard[-1] <= 0.7 * interval + 1e-6
            heard.append(now)
    assert len(heard) >= 29


def test_frames_put_off_the_beat() -> None:
    connection, carrier = login(heart_beat="0,1000")
    subscription = subscribe(connection)
    for now in looks(connection, 0.0, 10.0):
        subscription.deliver(make_message())
        connection.look(now)
    assert carrier.beats == 0


def test_bytes_that_wait_already_spare_the_beat() -> None:
    """A client that reads nothing would pile them up."""
    connection, carrier = login(heart_beat="0,1000")
    carrier.buffered = 10
    for now in looks(connection, 0.0, 10.0):
        connection.look(now)
    assert carrier.wire == []
    carrier.buffered = 0
    for now in looks(connection, 10.0, 11.0):
        connection.look(now)
    assert carrier.beats > 0


@pytest.mark.parametrize("interval", [1.0, 10.0])
def test_a_silent_client_is_given_up_after_two_intervals(interval: float) -> None:
    connection, _ = login(heart_beat=f"{interval * 1000:.0f},0")
    times = looks(connection, 0.0, 2 * interval)
    assert [connection.look(now) for now in times[:-1]] == [None] * (len(times) - 1)
    error = connection.look(times[-1] + 1e-6)
    assert isinstance(error, HeartBeatTimeout)
    assert str(error) == f"no heart-beat in time, {interval:g} seconds were agreed"


@pytest.mark.parametrize("received", ["\n", "\r\n", "SE", b"\n", "\0", "SEND\ndestination:/a\n\n\0"])
def test_any_octet_shows_that_the_client_is_there(received: str | bytes) -> None:
    connection, _ = login(heart_beat="1000,0")
    for now in looks(connection, 0.0, 20.0):
        if round(now * 10) % 18 == 0:
            connection.receive(received)
        assert connection.look(now) is None


def test_a_busy_connection_counts_as_heard() -> None:
    """What the client sends waits unread while its frame is worked on."""
    connection, _ = login(heart_beat="1000,0")
    connection.receive(b"")
    assert {connection.look(now) for now in looks(connection, 0.0, 60.0)} == {None}
    connection.rest()
    assert connection.look(61.8) is None
    assert isinstance(connection.look(62.0), HeartBeatTimeout)


# A random walk.

IDS = st.sampled_from(["a", "b", "c", "d", ""])
NAMES = st.sampled_from(["t", "u", "v"])
TOKENS = st.one_of(
    st.builds("{}-{}".format, st.integers(0, 8), st.integers(0, 30)),
    st.sampled_from(["undefined", "x", "1", "1-x", ""]),
)
MAX_SUBSCRIPTIONS, MAX_PATTERNS, MAX_TRANSACTIONS, MAX_FRAMES, MAX_SIZE = 3, 2, 2, 4, 400


def frame_of(size: int, name: str = "t") -> Frame:
    """A SEND that weighs ``size`` bytes: body, names and values."""
    return make_frame("SEND", b"x" * (size - len("transaction") - len(name)), transaction=name)


class RandomWalk(RuleBasedStateMachine):
    """A client and an application without manners, beside a model of what there should be."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.connection, self.carrier = make_connection(
            max_subscriptions=MAX_SUBSCRIPTIONS,
            max_patterns=MAX_PATTERNS,
            max_transactions=MAX_TRANSACTIONS,
            max_transaction_frames=MAX_FRAMES,
            max_transaction_size=MAX_SIZE,
            max_unsettled=3,
        )
        self.serial = 0
        self.patterns: dict[str, bool] = {}
        self.transactions: dict[str, list[Frame]] = {}
        self.size = 0
        self.is_over = False
        self.last_word = 0

    def was_refused(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except BadFrame:  # anything else fails the walk
            return True
        return False

    @precondition(lambda self: self.connection.state is CONNECTING)
    @rule(version=st.sampled_from(["1.0", "1.1", "1.2", "9"]), heart_beat=st.sampled_from(["0,0", "1000,1000", "x"]))
    def accept(self, version: str, heart_beat: str) -> None:
        frame = make_frame("CONNECT", accept_version=version, heart_beat=heart_beat)
        is_bad = version == "9" or heart_beat == "x"
        assert self.was_refused(lambda: self.connection.accept(frame, None, self.now)) is is_bad

    @precondition(lambda self: self.connection.state is CONNECTED)
    @rule(id=IDS, ack=st.sampled_from([*AckMode, "x"]), destination=st.sampled_from(["/t/a", "/t/*", "/**"]))
    def subscribe(self, id: str, ack: str, destination: str) -> None:
        is_pattern = destination != "/t/a"
        refused = self.was_refused(lambda: subscribe(self.connection, destination, id=id, ack=ack))
        full = len(self.patterns) >= MAX_SUBSCRIPTIONS or (is_pattern and sum(self.patterns.values()) >= MAX_PATTERNS)
        assert refused is (ack == "x" or id in self.patterns or full)
        if not refused:
            self.patterns[id] = is_pattern

    @rule(id=IDS)
    def unsubscribe(self, id: str) -> None:
        found = self.connection.unsubscribe(id)
        assert (found is not None) is (self.patterns.pop(id, None) is not None)

    @rule()
    def deliver(self) -> None:
        self.serial += 1
        for subscription in list(self.connection.subscriptions.values()):
            subscription.deliver(make_message(self.serial))

    @precondition(lambda self: self.connection.state is CONNECTED)
    @rule(token=TOKENS, command=st.sampled_from(["ACK", "NACK"]))
    def settle(self, token: str, command: str) -> None:
        self.was_refused(lambda: settle(self.connection, token, command))

    @precondition(lambda self: self.connection.state is CONNECTED)
    @rule(name=NAMES)
    def begin(self, name: str) -> None:
        refused = self.was_refused(lambda: self.connection.transactions.begin(make_frame("BEGIN", transaction=name)))
        assert refused is (name in self.transactions or len(self.transactions) >= MAX_TRANSACTIONS)
        if not refused:
            self.transactions[name] = []

    @precondition(lambda self: self.connection.state is CONNECTED)
    @rule(name=NAMES, size=st.integers(20, 300))
    def hold(self, name: str, size: int) -> None:
        frame = frame_of(size, name)
        refused = self.was_refused(lambda: self.connection.transactions.hold(frame))
        count = sum(map(len, self.transactions.values()))
        assert refused is (name not in self.transactions or count >= MAX_FRAMES or self.size + size > MAX_SIZE)
        if not refused:
            self.transactions[name].append(frame)
            self.size += size

    @precondition(lambda self: self.connection.state is CONNECTED)
    @rule(name=NAMES, command=st.sampled_from(["COMMIT", "ABORT"]))
    def end_transaction(self, name: str, command: str) -> None:
        held: list[Frame] = []
        frame = make_frame(command, transaction=name)
        refused = self.was_refused(lambda: held.extend(self.connection.transactions.end(frame)))
        assert refused is (name not in self.transactions)
        if not refused:
            assert held == self.transactions.pop(name)
            self.size -= sum(len(frame.body) + len("transaction") + len(name) for frame in held)

    @rule(received=st.sampled_from(["\n", "SEND\n\n\0", "CONNECT\n\n\0", "BEGIN\ntransaction:t\nreceipt:a\\cb\n\n\0"]))
    def receive(self, received: str) -> None:
        self.connection.receive(received)
        state = self.connection.state
        frames: list[Frame | None] = []
        refused = self.was_refused(lambda: frames.append(self.connection.next_frame()))
        if state in (LEAVING, CLOSED) or received == "\n":
            assert frames == [None]
        else:
            assert refused is ((state is CONNECTED) is received.startswith("CONNECT"))

    @rule(seconds=st.sampled_from([0.0, 0.2, 0.6, 3.0]), is_busy=st.booleans())
    def look(self, seconds: float, is_busy: bool) -> None:
        self.now += seconds
        if is_busy:
            self.connection.receive(b"")
        else:
            self.connection.rest()
        error = self.connection.look(self.now)
        assert error is None or self.connection.state in (CONNECTING, CONNECTED)

    @rule()
    def send_receipt(self) -> None:
        self.connection.send_receipt(make_frame("SEND", receipt="r"))

    @rule()
    def leave(self) -> None:
        self.connection.leave()

    @rule(error=st.sampled_from(ERRORS))
    def fail(self, error: RemoteError) -> None:
        self.connection.fail(error)
        assert self.connection.state is CLOSED

    @rule()
    def on_lost(self) -> None:
        self.connection.on_lost()
        self.transactions, self.size = {}, 0

    @invariant()
    def counts_are_kept(self) -> None:
        assert set(self.connection.subscriptions) == set(self.patterns)

    @invariant()
    def the_end_is_the_end(self) -> None:
        state = self.connection.state
        assert not (self.is_over and state is not CLOSED)
        self.is_over = state is CLOSED
        assert len(self.carrier.closes) <= 1

    @invariant()
    def nothing_is_said_after_a_goodbye(self) -> None:
        if self.connection.state is LEAVING:
            self.last_word = self.last_word or len(self.carrier.wire)
            assert len(self.carrier.wire) == self.last_word

    @invariant()
    def an_error_or_a_goodbye_is_the_last_word(self) -> None:
        commands = [frame.command for frame in self.carrier.frames]
        assert Command.ERROR not in commands[:-1]
        if Command.ERROR in commands:
            assert not self.carrier.is_open


TestRandomWalk = RandomWalk.TestCase
TestRandomWalk.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
