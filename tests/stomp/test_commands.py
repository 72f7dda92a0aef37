"""What each frame of a client does, in which order, and what a fault leads to."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import Any

import pytest

from sockbridge.errors import AccessRefused, BadFrame, HandlerFailed, PayloadInvalid
from sockbridge.sockjs.framing import FRAMED, Close, CloseCode
from sockbridge.stomp.broker.base import Subscriber
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.broker.history import History
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.connection import StompConnection
from sockbridge.stomp.controllers.mapping import Controller
from sockbridge.stomp.frame import RESERVED, Command, Frame
from sockbridge.stomp.interceptors import Interceptor
from sockbridge.stomp.policy import EVERYBODY, NOBODY, Rule
from sockbridge.stomp.server import StompServer
from sockbridge.stomp.subscription import Subscription
from tests.fakes import GUARD
from tests.stomp.clients import Client, assert_nothing_left, running, turns, wire
from tests.stomp.fakes import RecordingBroker, RecordingEvents

OPEN = [Rule.connect(EVERYBODY), Rule.subscribe("**", EVERYBODY), Rule.send("**", EVERYBODY)]
"""A policy that lets everything in."""


def make_server(*controllers: Controller, broker: RecordingBroker | None = None, **arguments: object) -> StompServer:
    broker = broker or RecordingBroker("/topic", "/queue")
    return StompServer(broker, controllers=controllers, **{"policy": OPEN, **arguments})  # type: ignore[arg-type]


async def login(server: StompServer, user: str | None = None, **headers: str) -> Client:
    client = Client(server, principal=user)
    assert (await client.connect(headers)).command is Command.CONNECTED
    return client


def error_of(client: Client) -> Frame:
    """The ERROR that has come, after which nothing came and the connection was closed."""
    frames = client.take()
    assert frames[-1].command is Command.ERROR, frames
    assert client.close is not None
    return frames[-1]


class Gate:
    """A controller whose functions wait for the test.

    Attributes:
        entered: the bodies of the calls so far.
    """

    def __init__(self, *, concurrent: bool = False) -> None:
        self.controller = Controller()
        self.entered: list[str] = []
        self.left: list[str] = []
        self.open = asyncio.Event()
        self._changed = asyncio.Event()
        self.controller.message_mapping("/gate", concurrent=concurrent)(self.enter)
        self.controller.subscribe_mapping("/gate", concurrent=concurrent)(self.enter_by_subscribing)

    async def enter(self, name: str) -> str:
        self.entered.append(name)
        self._changed.set()
        await self.open.wait()
        self.left.append(name)
        return name

    async def enter_by_subscribing(self) -> str:
        return await self.enter("subscriber")

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(GUARD):
            while len(self.entered) < count:
                self._changed.clear()
                await self._changed.wait()


# Receipts and order.


async def test_each_frame_is_answered_after_its_effect_and_in_order() -> None:
    """STOMP 1.2, "RECEIPT": sent once a server has successfully processed a client frame that requests one."""
    server = make_server()
    client = await login(server)
    await client.subscribe("1", "/topic/a", {"receipt": "r1"})
    await client.publish("/topic/a", "x", {"receipt": "r2"})
    await client.send("UNSUBSCRIBE", {"id": "1", "receipt": "r3"})
    await client.publish("/topic/a", "y", {"receipt": "r4"})
    assert client.told() == [
        ("RECEIPT", "r1"), ("MESSAGE", "x"), ("RECEIPT", "r2"), ("RECEIPT", "r3"), ("RECEIPT", "r4"),
    ]  # fmt: skip


async def test_the_receipt_of_a_subscribe_waits_for_the_broker() -> None:
    broker = RecordingBroker("/topic")
    server = make_server(broker=broker)
    client = await login(server)
    broker.gate.clear()
    subscribing = asyncio.create_task(client.subscribe("1", "/topic/a", {"receipt": "r"}))
    await asyncio.wait_for(broker.waits.wait(), GUARD)
    assert client.told() == []
    broker.gate.set()
    await subscribing
    assert client.told() == [("RECEIPT", "r")]


async def test_the_receipt_of_a_send_waits_for_the_function() -> None:
    gate = Gate()
    client = await login(make_server(gate.controller))
    sending = asyncio.create_task(client.publish("/app/gate", "a", {"receipt": "r"}))
    await gate.wait_for(1)
    assert client.told() == []
    gate.open.set()
    await sending
    assert client.told() == [("RECEIPT", "r")]


async def test_frames_of_one_client_wait_for_each_other_and_hold_up_no_other_client() -> None:
    gate = Gate()
    server = make_server(gate.controller)
    client, other = await login(server), await login(server)
    frames = b"".join(wire("SEND", {"destination": "/app/gate", "receipt": name}, name) for name in "abc")
    sending = asyncio.create_task(server.receive(client.connection, frames))
    await gate.wait_for(1)
    await other.publish("/topic/a", "", {"receipt": "r"})
    assert other.told() == [("RECEIPT", "r")]
    assert gate.entered == ["a"]
    gate.open.set()
    await sending
    assert gate.left == ["a", "b", "c"]
    assert client.told() == [("RECEIPT", "a"), ("RECEIPT", "b"), ("RECEIPT", "c")]


async def test_a_concurrent_function_holds_nobody_up_and_its_receipt_follows_its_end() -> None:
    gate = Gate(concurrent=True)
    server = make_server(gate.controller)
    client = await login(server)
    await client.publish("/app/gate", "a", {"receipt": "a"})
    await client.publish("/topic/x", "", {"receipt": "b"})
    await gate.wait_for(1)
    assert client.told() == [("RECEIPT", "b")]
    gate.open.set()
    assert (await client.frame()).headers["receipt-id"] == "a"
    await turns()
    await client.go()
    assert_nothing_left(server)


async def test_more_concurrent_calls_than_allowed_wait_for_room() -> None:
    gate = Gate(concurrent=True)
    server = make_server(gate.controller, max_tasks=2)
    client = await login(server)
    sending = [asyncio.create_task(client.publish("/app/gate", name)) for name in "ab"]
    await asyncio.gather(*sending)
    third = asyncio.create_task(client.publish("/app/gate", "c"))
    await gate.wait_for(2)
    await turns()
    assert gate.entered == ["a", "b"]
    gate.open.set()
    await third
    await gate.wait_for(3)
    await turns()
    await client.go()
    assert_nothing_left(server)


async def test_a_concurrent_call_that_waits_for_room_is_not_made_once_its_client_has_gone() -> None:
    gate = Gate(concurrent=True)
    server = make_server(gate.controller, max_tasks=1)
    client = await login(server)
    await client.publish("/app/gate", "a")
    second = asyncio.create_task(client.publish("/app/gate", "b"))
    await gate.wait_for(1)
    await turns()
    await client.go()
    gate.open.set()
    await asyncio.wait_for(second, GUARD)
    await turns()
    assert gate.entered == ["a"]
    assert_nothing_left(server)


async def test_a_concurrent_call_that_runs_is_not_broken_off_by_a_client_that_goes() -> None:
    gate = Gate(concurrent=True)
    server = make_server(gate.controller)
    client = await login(server)
    await client.publish("/app/gate", "a", {"receipt": "a"})
    await gate.wait_for(1)
    await client.go()
    gate.open.set()
    await turns()
    assert gate.left == ["a"]
    assert_nothing_left(server)


async def test_a_call_that_does_not_end_holds_up_a_goodbye_for_a_while_only() -> None:
    gate = Gate(concurrent=True)
    server = make_server(gate.controller, disconnect_grace=0.01)
    client = await login(server)
    await client.publish("/app/gate", "a", {"receipt": "a"})
    await asyncio.wait_for(client.send("DISCONNECT", {"receipt": "bye"}), GUARD)
    assert client.told() == [("RECEIPT", "bye")]
    gate.open.set()
    await turns()
    assert gate.left == ["a"]
    assert client.told() == [], "the receipt of DISCONNECT is the last word"
    await client.go()
    assert_nothing_left(server)


async def test_an_acknowledgement_in_a_transaction_that_is_wrong_ends_the_connection() -> None:
    client = await login(make_server())
    await client.send("BEGIN", {"transaction": "t"})
    await client.send("ACK", {"id": "7-1", "transaction": "t", "receipt": "ack"})
    await client.send("COMMIT", {"transaction": "t", "receipt": "commit"})
    assert "unknown message" in error_of(client).headers["message"]


async def test_a_concurrent_function_may_refuse() -> None:
    controller = Controller()

    @controller.message_mapping("/a", concurrent=True)
    async def refuse() -> None:
        raise AccessRefused("not yours")

    client = await login(make_server(controller))
    await client.publish("/app/a")
    await client.closed()
    assert error_of(client).headers["message"] == "not yours"


async def test_a_concurrent_call_that_is_cancelled_from_outside_tells_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As when the server stops while it runs."""
    gate = Gate(concurrent=True)
    server = make_server(gate.controller)
    async with running(server):
        client = await login(server)
        await client.publish("/app/gate", "a", {"receipt": "a"})
        await gate.wait_for(1)
    await turns()
    assert gate.left == []
    assert "ERROR" not in [command for command, _ in client.told()]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_client_that_goes_on_asking_for_what_is_not_served_fills_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "sockbridge.stomp")
    server = make_server()
    client = await login(server)
    for _ in range(10):
        await client.publish("/nowhere", "x")
    assert (len(caplog.records), server.counters.unserved) == (1, 10)


async def test_what_was_sent_before_a_goodbye_is_worked_on_and_answered_before_it() -> None:
    """STOMP 1.2, "DISCONNECT": the receipt tells that all previous frames have been received by the server."""
    gate = Gate(concurrent=True)
    gate.open.set()
    server = make_server(gate.controller)
    client = await login(server)
    frames = wire("SEND", {"destination": "/app/gate", "receipt": "a"}, "a") + wire("DISCONNECT", {"receipt": "b"})
    await server.receive(client.connection, frames)
    assert gate.left == ["a"]
    assert client.told() == [("RECEIPT", "a"), ("RECEIPT", "b")]


@pytest.mark.parametrize("receipt", [{}, {"receipt": "r"}])
async def test_a_concurrent_failure_is_told_where_a_receipt_was_asked_for(receipt: dict[str, str]) -> None:
    controller = Controller()

    @controller.message_mapping("/fail", concurrent=True)
    async def fail() -> None:
        raise RuntimeError("secret")

    server = make_server(controller)
    client = await login(server)
    await client.publish("/app/fail", "", receipt)
    async with asyncio.timeout(GUARD):
        while not server.counters.unserved:
            await asyncio.sleep(0)
    if receipt:
        error = error_of(client)
        assert error.headers["receipt-id"] == "r"
        assert "secret" not in str(error)
    else:
        assert (client.take(), client.close) == ([], None)


# Transactions.


async def test_a_transaction_takes_effect_at_its_commit_and_its_receipts_come_then() -> None:
    """STOMP 1.2, "BEGIN", "COMMIT"; docs/stomp-conformance.md, section 4."""
    controller, called = Controller(), []

    @controller.message_mapping("/a")
    async def function(text: str) -> None:
        called.append(text)

    server = make_server(controller)
    client = await login(server)
    await client.subscribe("1", "/topic/a")
    await client.send("BEGIN", {"transaction": "t", "receipt": "begin"})
    await client.publish("/topic/a", "1", {"transaction": "t", "receipt": "one"})
    await client.publish("/app/a", "2", {"transaction": "t", "receipt": "two"})
    await client.publish("/topic/a", "other")
    assert client.told() == [("RECEIPT", "begin"), ("MESSAGE", "other")]
    assert called == []
    await client.send("COMMIT", {"transaction": "t", "receipt": "commit"})
    told = client.told()
    assert told[0] == ("MESSAGE", "1")
    assert sorted(told[1:]) == [("RECEIPT", "commit"), ("RECEIPT", "one"), ("RECEIPT", "two")]
    assert called == ["2"]


async def test_an_aborted_transaction_has_no_effect_and_its_frames_get_no_receipt() -> None:
    broker = RecordingBroker("/topic")
    client = await login(make_server(broker=broker))
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish("/topic/a", "1", {"transaction": "t", "receipt": "one"})
    await client.send("ABORT", {"transaction": "t", "receipt": "abort"})
    assert client.told() == [("RECEIPT", "abort")]
    assert broker.values("publish") == []
    await client.send("COMMIT", {"transaction": "t", "receipt": "late"})
    error = error_of(client)
    assert (error.headers["message"], error.headers["receipt-id"]) == ("unknown transaction", "late")


async def test_the_receipt_of_a_concurrent_function_in_a_transaction_follows_its_end() -> None:
    gate = Gate(concurrent=True)
    client = await login(make_server(gate.controller))
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish("/app/gate", "a", {"transaction": "t", "receipt": "a"})
    await client.send("COMMIT", {"transaction": "t", "receipt": "commit"})
    await gate.wait_for(1)
    assert client.told() == [("RECEIPT", "commit")]
    gate.open.set()
    assert (await client.frame()).headers["receipt-id"] == "a"


async def test_a_frame_of_a_transaction_that_is_not_served_leaves_the_others_alone() -> None:
    server = make_server()
    client = await login(server)
    await client.subscribe("1", "/topic/a")
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish("/nowhere", "1", {"transaction": "t"})
    await client.publish("/topic/a", "2", {"transaction": "t"})
    await client.send("COMMIT", {"transaction": "t", "receipt": "r"})
    assert client.told() == [("MESSAGE", "2"), ("RECEIPT", "r")]
    assert server.counters.unserved == 1


async def test_a_frame_of_a_transaction_that_is_not_served_and_wants_a_receipt_ends_the_connection() -> None:
    client = await login(make_server())
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish("/nowhere", "1", {"transaction": "t", "receipt": "one"})
    await client.send("COMMIT", {"transaction": "t", "receipt": "r"})
    assert error_of(client).headers["receipt-id"] == "one"


async def test_what_is_not_allowed_is_refused_before_its_transaction_is_committed() -> None:
    client = await login(make_server(policy=[*OPEN[:2], Rule.send("/app/**", EVERYBODY)]))
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish("/topic/a", "1", {"transaction": "t"})
    assert "not allowed" in error_of(client).headers["message"]


async def test_a_client_that_goes_takes_its_open_transactions_along() -> None:
    broker = RecordingBroker("/topic")
    server = make_server(broker=broker)
    client = await login(server)
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish("/topic/a", "1", {"transaction": "t"})
    await client.go()
    assert broker.calls == []
    assert_nothing_left(server)


async def test_acknowledgements_reach_the_broker_and_wait_for_their_transaction() -> None:
    broker = RecordingBroker("/topic")
    client = await login(make_server(broker=broker))
    await client.subscribe("1", "/topic/a", {"ack": "client-individual"})
    for body in ("a", "b", "c"):
        await client.publish("/topic/a", body)
    acks = [frame.headers["ack"] for frame in client.take()]
    await client.send("ACK", {"id": acks[0], "receipt": "r1", "x": "1"})
    await client.send("NACK", {"id": acks[1], "receipt": "r2"})
    await client.send("BEGIN", {"transaction": "t"})
    await client.send("ACK", {"id": acks[2], "transaction": "t", "receipt": "r3"})
    settled: list[Any] = broker.values("settle")
    serials = [int(ack.partition("-")[2]) for ack in acks]
    assert [call[1:3] for call in settled] == [([serials[0]], True), ([serials[1]], False)]
    assert settled[0][3]["x"] == "1"
    assert client.told() == [("RECEIPT", "r1"), ("RECEIPT", "r2")]
    await client.send("COMMIT", {"transaction": "t"})
    assert len(broker.values("settle")) == 3
    assert client.told() == [("RECEIPT", "r3")]


async def test_an_acknowledgement_of_nothing_is_harmless_where_clients_send_it() -> None:
    """stompjs acknowledges a message that needs none with the id ``undefined``."""
    broker = RecordingBroker("/topic")
    client = await login(make_server(broker=broker))
    await client.send("ACK", {"id": "undefined", "receipt": "r"})
    assert client.told() == [("RECEIPT", "r")]
    assert broker.values("settle") == []


# Goodbyes.


async def test_a_goodbye_with_receipt_is_answered_and_the_client_closes() -> None:
    server = make_server()
    client = await login(server)
    await client.subscribe("1", "/topic/a")
    await client.send("DISCONNECT", {"receipt": "bye"})
    await server.messaging.send("/topic/a", "late")
    await client.publish("/topic/a", "later", {"receipt": "r"})
    assert client.told() == [("RECEIPT", "bye")]
    assert client.close is None
    await client.go()
    assert_nothing_left(server)


async def test_a_goodbye_without_receipt_closes_at_once() -> None:
    client = await login(make_server())
    await client.send("DISCONNECT")
    assert client.take() == []
    assert client.close is not None
    assert client.close.code == CloseCode.NORMAL


async def test_a_goodbye_without_receipt_is_an_error_for_spring() -> None:
    server = make_server(compat="spring")
    client = await login(server)
    await client.send("DISCONNECT")
    assert error_of(client).headers["message"] == "Session closed."
    assert client.close is not None
    assert client.close.code == CloseCode.INTERRUPTED


async def test_a_client_that_is_gone_while_its_goodbye_is_worked_on_stays_gone() -> None:
    broker = RecordingBroker("/topic")
    server = make_server(broker=broker)
    client = await login(server)
    await client.subscribe("1", "/topic/a")
    broker.gate.clear()
    leaving = asyncio.create_task(client.send("DISCONNECT", {"receipt": "bye"}))
    await asyncio.wait_for(broker.waits.wait(), GUARD)
    await client.go()
    broker.gate.set()
    await leaving
    assert client.connection.has_ended
    assert not client.connection.is_open
    assert client.take() == []
    assert_nothing_left(server)


# Subscriptions.


async def test_two_subscriptions_of_one_client_get_each_message_twice() -> None:
    client = await login(make_server())
    await client.subscribe("1", "/topic/a")
    await client.subscribe("2", "/topic/*")
    await client.publish("/topic/a", "x")
    assert [frame.headers["subscription"] for frame in client.take()] == ["1", "2"]
    await client.send("UNSUBSCRIBE", {"id": "1"})
    await client.publish("/topic/a", "x")
    assert [frame.headers["subscription"] for frame in client.take()] == ["2"]


async def test_an_unknown_id_is_harmless() -> None:
    client = await login(make_server())
    await client.send("UNSUBSCRIBE", {"id": "nothing", "receipt": "r"})
    assert client.told() == [("RECEIPT", "r")]


async def test_a_client_of_1_0_may_subscribe_by_destination_alone() -> None:
    """STOMP 1.0, "UNSUBSCRIBE": requires either a destination header or an id header."""
    server = make_server()
    client = Client(server)
    await client.send("CONNECT")
    await client.send("SUBSCRIBE", {"destination": "/topic/a"})
    await client.publish("/topic/a", "x")
    assert [command for command, _ in client.told()] == ["CONNECTED", "MESSAGE"]
    await client.send("UNSUBSCRIBE", {"destination": "/topic/a"})
    await client.publish("/topic/a", "y", {"receipt": "r"})
    assert client.told() == [("RECEIPT", "r")]
    await client.send("UNSUBSCRIBE", {"receipt": "r"})
    assert error_of(client).headers["message"] == "UNSUBSCRIBE without destination"


@pytest.mark.parametrize(
    ("command", "headers", "message"),
    [
        ("SUBSCRIBE", {"id": "1"}, "SUBSCRIBE without destination"),
        ("SUBSCRIBE", {"destination": "/topic/a"}, "SUBSCRIBE without id"),
        ("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "ack": "some"}, "ack is auto"),
        ("SUBSCRIBE", {"id": "1", "destination": "/topic/" + "x" * 2000}, "no such destination"),
        ("SUBSCRIBE", {"id": "1", "destination": "/topic/{1}"}, "no such destination"),
        ("SUBSCRIBE", {"id": "1", "destination": "/user/queue/*"}, "no wildcards in a user's destination"),
        ("SUBSCRIBE", {"id": "1", "destination": "/user/**"}, "no wildcards in a user's destination"),
        ("UNSUBSCRIBE", {}, "UNSUBSCRIBE without id"),
        ("SEND", {}, "SEND without destination"),
        ("SEND", {"destination": ""}, "SEND without destination"),
        ("SEND", {"destination": "/topic/" + "x" * 2000}, "no such destination"),
        ("SEND", {"destination": "/topic/a", "transaction": "t"}, "unknown transaction"),
        ("ACK", {}, "ACK without id"),
        ("ACK", {"id": "7-1"}, "ACK of an unknown message"),
        ("BEGIN", {}, "BEGIN without transaction"),
        ("COMMIT", {"transaction": "t"}, "unknown transaction"),
        ("ABORT", {"transaction": "t"}, "unknown transaction"),
        ("CONNECT", {}, "connected already"),
        ("MESSAGE", {"destination": "/topic/a"}, "unknown command"),
        ("CONNECTED", {}, "unknown command"),
        ("RECEIPT", {}, "unknown command"),
        ("ERROR", {}, "unknown command"),
        ("SHOUT", {}, "unknown command"),
    ],
)
async def test_a_fault_of_the_client_ends_its_connection_with_an_error_that_says_what(
    command: str, headers: dict[str, str], message: str
) -> None:
    server = make_server()
    client, other = await login(server), await login(server)
    await client.send(command, {**headers, "receipt": "r"})
    error = error_of(client)
    assert error.headers["message"].startswith(message)
    assert error.headers.get("receipt-id", "r") == "r"
    assert client.close is not None
    assert client.close.code == CloseCode.INTERRUPTED
    assert server.counters.faults == 1
    await client.publish("/topic/a", "late")
    assert client.take() == []
    assert other.connection.is_open
    await client.go()
    await other.go()
    assert_nothing_left(server)


async def test_a_broker_that_fails_leaves_no_subscription_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(RecordingBroker):
        async def subscribe(self, subscriber: Subscriber) -> Mapping[str, str]:
            raise OSError("secret")

    events = RecordingEvents()
    server = make_server(broker=Broken("/topic"), events=[events])
    client = await login(server)
    await client.subscribe("1", "/topic/a", {"receipt": "r"})
    error = error_of(client)
    assert (error.headers["message"], error.headers["receipt-id"]) == ("internal error", "r")
    assert client.close is not None
    assert client.close.code == CloseCode.INTERNAL_ERROR
    await client.go()
    assert events.names() == ["on_connected", "on_disconnected"]
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
    assert_nothing_left(server)


async def test_a_broker_that_cannot_end_a_subscription_holds_up_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    class Sticky(RecordingBroker):
        async def unsubscribe(self, subscriber: Subscriber, *, is_lost: bool) -> None:
            await super().unsubscribe(subscriber, is_lost=is_lost)
            raise OSError("gone")

    events = RecordingEvents()
    server = make_server(broker=Sticky("/topic"), events=[events])
    client = await login(server, "ann")
    await client.subscribe("1", "/topic/a")
    await client.subscribe("2", "/topic/b")
    await client.go()
    assert events.names() == [
        "on_connected", "on_subscribed", "on_subscribed", "on_unsubscribed", "on_unsubscribed", "on_disconnected",
    ]  # fmt: skip
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 2
    assert_nothing_left(server)


async def test_a_broker_whose_own_work_is_cancelled_holds_up_nothing_either() -> None:
    class Cancelled(RecordingBroker):
        async def unsubscribe(self, subscriber: Subscriber, *, is_lost: bool) -> None:
            await super().unsubscribe(subscriber, is_lost=is_lost)
            raise asyncio.CancelledError

    server = make_server(broker=Cancelled("/topic"))
    client = await login(server)
    await client.subscribe("1", "/topic/a")
    await client.send("UNSUBSCRIBE", {"id": "1", "receipt": "r"})
    assert client.told() == [("RECEIPT", "r")]
    await client.go()
    assert_nothing_left(server)


async def test_work_that_is_cancelled_from_outside_ends() -> None:
    """As when the server stops: what is cancelled must not go on."""
    broker = RecordingBroker("/topic")
    server = make_server(broker=broker)
    client = await login(server)
    await client.subscribe("1", "/topic/a")
    broker.gate.clear()
    working = asyncio.create_task(client.send("UNSUBSCRIBE", {"id": "1", "receipt": "r"}))
    await asyncio.wait_for(broker.waits.wait(), GUARD)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert client.told() == []


async def test_a_client_that_goes_while_the_broker_subscribes_leaves_nothing_behind() -> None:
    broker, events = RecordingBroker("/topic"), RecordingEvents()
    server = make_server(broker=broker, events=[events])
    client = await login(server, "ann")
    broker.gate.clear()
    subscribing = asyncio.create_task(client.subscribe("1", "/topic/a", {"receipt": "r"}))
    await asyncio.wait_for(broker.waits.wait(), GUARD)
    going = asyncio.create_task(client.go())
    await turns()
    broker.gate.set()
    await subscribing
    await going
    assert client.take() == []
    assert events.names() == ["on_connected", "on_disconnected"]
    assert_nothing_left(server)


async def test_a_client_that_goes_while_a_subscription_is_told_gets_no_call() -> None:
    class Slow(RecordingEvents):
        def __init__(self) -> None:
            super().__init__()
            self.gate = asyncio.Event()

        async def on_subscribed(self, connection: StompConnection, subscription: object) -> None:
            await super().on_subscribed(connection, subscription)  # type: ignore[arg-type]
            await self.gate.wait()

    events, controller, called = Slow(), Controller(), []

    @controller.subscribe_mapping("/a")
    async def numbers() -> AsyncIterator[int]:
        called.append(1)
        yield 1
        await asyncio.Event().wait()

    server = make_server(controller, events=[events])
    client = await login(server)
    subscribing = asyncio.create_task(client.subscribe("1", "/app/a", {"receipt": "r"}))
    await events.wait_for("on_subscribed")
    await client.go()
    events.gate.set()
    await subscribing
    await turns()
    assert called == []
    assert_nothing_left(server)


async def test_the_application_is_told_of_everything_exactly_once_and_after_the_fact() -> None:
    class Looking(RecordingEvents):
        async def on_connected(self, connection: StompConnection) -> None:
            assert connection in list(server.connections)
            assert "ann" in server.users
            await super().on_connected(connection)

        async def on_disconnected(self, connection: StompConnection, close: object) -> None:
            assert connection not in list(server.connections)
            assert "ann" not in server.users
            assert not connection.subscriptions
            await super().on_disconnected(connection, close)  # type: ignore[arg-type]

    events, second = Looking(), RecordingEvents()
    server = make_server(events=[events, second])
    client = await login(server, "ann")
    await client.subscribe("1", "/topic/a")
    await client.subscribe("2", "/user/queue/a")
    await client.send("UNSUBSCRIBE", {"id": "1"})
    await client.send("UNSUBSCRIBE", {"id": "1"})
    await client.send("DISCONNECT", {"receipt": "r"})
    await client.go()
    await client.go()
    assert events.names() == second.names() == [
        "on_connected", "on_subscribed", "on_subscribed", "on_unsubscribed", "on_unsubscribed", "on_disconnected",
    ]  # fmt: skip
    assert_nothing_left(server)


async def test_a_stream_ends_with_unsubscribe_and_with_its_client() -> None:
    controller, ended = Controller(), asyncio.Semaphore(0)

    @controller.subscribe_mapping("/ticks")
    async def ticks() -> AsyncIterator[str]:
        try:
            yield "tick"
            await asyncio.Event().wait()
        finally:
            ended.release()

    server = make_server(controller)
    client = await login(server)
    await client.subscribe("1", "/app/ticks", {"receipt": "r"})
    await client.subscribe("2", "/app/ticks")
    frames = [(await client.frame()).command.value for _ in range(3)]
    assert sorted(frames) == ["MESSAGE", "MESSAGE", "RECEIPT"]
    await client.send("UNSUBSCRIBE", {"id": "1"})
    await asyncio.wait_for(ended.acquire(), GUARD)
    await turns()
    assert ended.locked(), "the other goes on"
    await client.go()
    await asyncio.wait_for(ended.acquire(), GUARD)
    await turns()
    assert_nothing_left(server)


async def test_a_subscription_to_a_function_is_none_to_the_broker() -> None:
    controller, broker = Controller(), RecordingBroker("/topic")

    @controller.subscribe_mapping("/init/{number}")
    async def init(number: int) -> int:
        return number

    server = make_server(controller, broker=broker)
    client = await login(server)
    await client.subscribe("1", "/app/init/42", {"receipt": "r"})
    frames = client.take()
    assert [frame.command.value for frame in frames] == ["MESSAGE", "RECEIPT"]
    assert (frames[0].destination, frames[0].headers["subscription"]) == ("/app/init/42", "1")
    await client.send("UNSUBSCRIBE", {"id": "1"})
    assert broker.calls == []
    await client.go()
    assert_nothing_left(server)


# Faults of the application.


@pytest.mark.parametrize("compat", [None, "spring"])
@pytest.mark.parametrize(
    ("command", "headers", "body"),
    [
        ("SEND", {"destination": "/nowhere/a"}, ""),
        ("SEND", {"destination": "/app/nowhere"}, ""),
        ("SUBSCRIBE", {"id": "1", "destination": "/nowhere/a"}, ""),
        ("SUBSCRIBE", {"id": "1", "destination": "/app/nowhere"}, ""),
        ("SEND", {"destination": "/app/number"}, "x"),
        ("SEND", {"destination": "/app/fail"}, ""),
    ],
)
async def test_what_is_not_served_is_answered_only_where_a_receipt_was_asked_for(
    command: str, headers: dict[str, str], body: str, compat: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Unknown destinations are passed over in silence as Spring does, where ``compat`` asks for it."""
    controller = Controller()

    @controller.message_mapping("/number")
    async def number(value: int) -> None: ...

    @controller.message_mapping("/fail")
    async def fail() -> None:
        raise RuntimeError("secret")

    caplog.set_level(logging.INFO, "sockbridge.stomp")
    server = make_server(controller, compat=compat)
    client = await login(server)
    await client.send(command, headers, body)
    assert (client.take(), client.close, server.counters.unserved) == ([], None, 1)
    assert caplog.records, "or nobody would know"
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) <= 1, "logged once"
    assert not client.connection.subscriptions
    await client.send(command, {**headers, "receipt": "r"}, body)
    assert server.counters.unserved == 2
    if compat and "nowhere" in headers["destination"]:
        assert (client.take(), client.close) == ([], None)
    else:
        error = error_of(client)
        assert error.headers["receipt-id"] == "r"
        assert "secret" not in error.headers["message"] + error.body.decode()
    await client.go()
    assert_nothing_left(server)


async def test_a_policy_that_fails_ends_the_connection_and_says_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    def broken(user: object, variables: object) -> bool:
        raise KeyError("secret")

    client = await login(make_server(policy=[Rule.connect(EVERYBODY), Rule.send("**", broken)]))
    await client.publish("/topic/a", "x", {"receipt": "r"})
    error = error_of(client)
    assert (error.headers["message"], error.body, error.headers["receipt-id"]) == ("internal error", b"", "r")
    assert client.close is not None
    assert client.close.code == CloseCode.INTERNAL_ERROR
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


# What clients may do.


@pytest.mark.parametrize("destination", ["/topic/a", "/user/ann/queue/a", "/elsewhere", "/ap", "/apps/a", "**", "/"])
async def test_by_default_clients_send_to_functions_and_to_nothing_else(destination: str) -> None:
    broker = RecordingBroker("/topic")
    server = make_server(broker=broker, policy=None)
    client, ann = await login(server), await login(server, "ann")
    await ann.subscribe("1", "/user/queue/a")
    await client.publish(destination, "x", {"receipt": "r"})
    error = error_of(client)
    assert error.headers["receipt-id"] == "r"
    assert "not allowed" in error.headers["message"]
    assert broker.values("publish") == []
    assert ann.take() == []
    assert ann.connection.is_open


@pytest.mark.parametrize("separator", ["/", "."])
async def test_by_default_clients_may_send_to_functions(separator: str) -> None:
    controller, called = Controller(), []

    @controller.message_mapping("/", "a", f"a{separator}b{separator}c")
    async def function() -> None:
        called.append(1)

    server = make_server(
        controller, broker=RecordingBroker("/topic", separator=separator), policy=None, app_prefixes=["/app", "/api/"]
    )
    client = await login(server)
    for destination in ["/app/a", f"/app/a{separator}b{separator}c", "/api/a", "/app/", "/api/"]:
        await client.publish(destination, "", {"receipt": destination})
    assert client.close is None
    assert len(called) == 5


async def test_spring_lets_clients_send_to_broker_and_users() -> None:
    server = make_server(policy=None, compat="spring")
    client, ann = await login(server), await login(server, "ann")
    await ann.subscribe("1", "/user/queue/a")
    await ann.subscribe("2", "/topic/a")
    await client.publish("/user/ann/queue/a", "private")
    await client.publish("/topic/a", "public")
    assert [(frame.destination, frame.body) for frame in ann.take()] == [
        ("/user/queue/a", b"private"),
        ("/topic/a", b"public"),
    ]


async def test_what_is_refused_leaves_no_trace_and_the_first_rule_that_matches_decides() -> None:
    broker = RecordingBroker("/topic")
    rules = [
        Rule.connect(EVERYBODY),
        Rule.subscribe("/topic/secret/**", NOBODY),
        Rule.subscribe("/topic/**", EVERYBODY),
    ]
    server = make_server(broker=broker, policy=rules)
    for destination in ["/topic/secret/a", "/topic/**", "/topic/*/a", "/queue/a", "/topic/s*/a"]:
        client = await login(server)
        await client.subscribe("1", destination, {"receipt": "r"})
        error = error_of(client)
        assert error.headers["receipt-id"] == "r"
        assert "not allowed" in error.headers["message"]
        await client.go()
    assert broker.calls == []
    client = await login(server)
    await client.subscribe("1", "/topic/open", {"receipt": "r"})
    assert client.told() == [("RECEIPT", "r")]
    await client.go()
    assert_nothing_left(server)


async def test_headers_of_a_client_reach_subscribers_but_for_those_of_the_server() -> None:
    client = await login(make_server())
    await client.subscribe("1", "/topic/a")
    headers = dict.fromkeys(RESERVED - {"receipt", "transaction", "content-length", "destination"}, "forged")
    await client.publish("/topic/a", "x", {**headers, "x-own": "a\\cb", "content-type": "text/css", "message": "m"})
    (frame,) = client.take()
    assert frame.headers["x-own"] == "a:b"
    assert frame.headers["content-type"] == "text/css"
    assert frame.headers["message"] == "m"
    assert frame.headers["subscription"] == "1"
    assert "forged" not in frame.headers.values()


async def test_a_message_without_content_type_gets_none() -> None:
    client = await login(make_server())
    await client.subscribe("1", "/topic/a")
    await client.publish("/topic/a", "x")
    (frame,) = client.take()
    assert "content-type" not in frame.headers


# Users.


@pytest.mark.parametrize(
    ("name", "written"), [("ann", "ann"), ("a/b", "a%2Fb"), ("a/b/c", "a%2fb%2Fc"), ("ä b", "ä b")]
)
async def test_a_message_to_a_user_reaches_every_tab_under_the_users_own_name_for_it(name: str, written: str) -> None:
    broker = RecordingBroker("/topic", "/queue")
    server = make_server(broker=broker)
    tabs = [await login(server, name), await login(server, name)]
    other, sender = await login(server, "other"), await login(server)
    spy = await login(server)
    for pattern, id in [("/**", "1"), ("/queue/**", "2"), ("/topic/**", "3"), (f"/user/{written}/queue/me", "4")]:
        await spy.subscribe(id, pattern)
    for client in (*tabs, other):
        await client.subscribe("1", "/user/queue/me", {"receipt": "r"})
        assert client.told() == [("RECEIPT", "r")]
    await sender.publish(f"/user/{written}/queue/me", "hi", {"x": "1", "receipt": "r"})
    assert sender.told() == [("RECEIPT", "r")]
    for client in tabs:
        (frame,) = client.take()
        assert (frame.destination, frame.body, frame.headers["x"]) == ("/user/queue/me", b"hi", "1")
    assert (other.take(), spy.take()) == ([], [])
    assert broker.values("publish") == []
    for client in (*tabs, other, sender, spy):
        await client.go()
    assert_nothing_left(server)


@pytest.mark.parametrize(
    "destination", ["/user/nobody/queue/me", "/user/queue/me", "/user", "/user/", "/user//queue/me"]
)
async def test_a_message_to_nobody_is_silent(destination: str) -> None:
    server = make_server()
    ann, client = await login(server, "ann"), await login(server)
    await ann.subscribe("1", "/user/queue/me")
    await client.publish(destination, "hi", {"receipt": "r"})
    assert client.told() == [("RECEIPT", "r")]
    assert ann.take() == []


async def test_unsubscribed_a_user_gets_nothing_more() -> None:
    server = make_server()
    ann = await login(server, "ann")
    await ann.subscribe("1", "/user/queue/me")
    await ann.send("UNSUBSCRIBE", {"id": "1"})
    assert await server.messaging.send_to_user("ann", "/queue/me", "hi") == 0
    await ann.go()
    assert_nothing_left(server)


# Interceptors.


class Watching(Interceptor):
    """Answers frames with what the test has put in for their commands."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.answers: dict[str, Frame | Exception | None] = {}

    async def inbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
        self.seen.append(frame.command)
        answer = self.answers.get(frame.command, frame)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_interceptors_see_frames_in_order_before_the_server_does() -> None:
    first, second = Watching(), Watching()
    first.answers["SEND"] = Frame(Command.SEND, {"destination": "/topic/changed"}, b"changed")
    client = await login(make_server(interceptors=[first, second]))
    await client.subscribe("1", "/topic/**")
    await client.publish("/topic/a", "x")
    (frame,) = client.take()
    assert (frame.destination, frame.body) == ("/topic/changed", b"changed")
    assert first.seen == second.seen == ["CONNECT", "SUBSCRIBE", "SEND"]


async def test_what_an_interceptor_makes_of_a_frame_is_subject_to_the_policy() -> None:
    watching = Watching()
    watching.answers["SEND"] = Frame(Command.SEND, {"destination": "/topic/changed"}, b"changed")
    broker = RecordingBroker("/topic")
    client = await login(make_server(broker=broker, interceptors=[watching], policy=None))
    await client.publish("/app/a", "x")
    assert "not allowed" in error_of(client).headers["message"]
    assert broker.values("publish") == []


async def test_a_dropped_frame_has_no_effect_no_receipt_and_goes_no_further() -> None:
    first, second, broker = Watching(), Watching(), RecordingBroker("/topic")
    first.answers["SEND"] = None
    server = make_server(broker=broker, interceptors=[first, second])
    client = await login(server)
    await client.publish("/topic/a", "x", {"receipt": "r"})
    assert (client.take(), client.close, broker.calls) == ([], None, [])
    assert second.seen == ["CONNECT"]
    assert server.counters.dropped == 1


async def test_a_dropped_connect_is_refused() -> None:
    watching = Watching()
    watching.answers["CONNECT"] = None
    server = make_server(interceptors=[watching])
    client = Client(server)
    await client.send("CONNECT", {"accept-version": "1.2"})
    assert error_of(client).headers["message"] == "connecting is not allowed"
    await client.go()
    assert_nothing_left(server)


async def test_an_interceptor_may_refuse_and_the_client_gets_its_text() -> None:
    watching = Watching()
    watching.answers["SEND"] = AccessRefused("you talk too much")
    client = await login(make_server(interceptors=[watching]))
    await client.publish("/topic/a", "x", {"receipt": "r"})
    error = error_of(client)
    assert (error.headers["message"], error.headers["receipt-id"]) == ("you talk too much", "r")
    assert client.close is not None
    assert client.close.code == CloseCode.INTERRUPTED


async def test_an_interceptor_that_fails_tells_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    watching = Watching()
    watching.answers["SEND"] = RuntimeError("secret")
    server = make_server(interceptors=[watching])
    client = await login(server)
    await client.publish("/topic/a", "x")
    error = error_of(client)
    assert (error.headers["message"], error.body) == ("internal error", b"")
    assert client.close is not None
    assert client.close.code == CloseCode.INTERNAL_ERROR
    assert server.counters.faults == 1
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


async def test_a_client_that_goes_while_an_interceptor_looks_leaves_no_effect() -> None:
    class Slow(Interceptor):
        def __init__(self) -> None:
            self.entered, self.gate = asyncio.Event(), asyncio.Event()

        async def inbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
            if frame.command is Command.SUBSCRIBE:
                self.entered.set()
                await self.gate.wait()
            return frame

    slow = Slow()
    server = make_server(interceptors=[slow])
    client = await login(server)
    subscribing = asyncio.create_task(client.subscribe("1", "/topic/a"))
    await asyncio.wait_for(slow.entered.wait(), GUARD)
    await client.go()
    slow.gate.set()
    await subscribing
    assert_nothing_left(server)


async def test_outbound_interceptors_change_and_drop_what_one_client_gets() -> None:
    class Outbound(Interceptor):
        def outbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
            if frame.body == b"hidden":
                return None
            if frame.command is Command.MESSAGE and connection.user is not None:
                return dataclasses.replace(frame, headers={**frame.headers, "x-for": connection.user.name})
            return frame

    server = make_server(interceptors=[Outbound()])
    ann, guest = await login(server, "ann"), await login(server)
    for client in (ann, guest):
        await client.subscribe("1", "/topic/a")
    await guest.publish("/topic/a", "seen")
    await guest.publish("/topic/a", "hidden")
    assert [frame.headers.get("x-for") for frame in ann.take()] == ["ann"]
    assert [frame.headers.get("x-for") for frame in guest.take()] == [None]


@pytest.mark.parametrize("broken", [5, "frame", "header"])
async def test_an_outbound_interceptor_that_makes_nonsense_harms_nobody_else(
    broken: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Outbound(Interceptor):
        def outbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
            if connection.user is None or frame.command is not Command.MESSAGE:
                return frame
            if broken == "header":
                return dataclasses.replace(frame, headers={"x": 5})  # type: ignore[dict-item]  # that is the point
            return broken  # type: ignore[return-value]  # that is the point

    server = make_server(interceptors=[Outbound()])
    ann, guest = await login(server, "ann"), await login(server)
    for client in (ann, guest):
        await client.subscribe("1", "/topic/a")
    await guest.publish("/topic/a", "x", {"receipt": "r"})
    assert guest.told() == [("MESSAGE", "x"), ("RECEIPT", "r")]
    assert guest.connection.is_open
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


# The rest.


async def test_publishing_goes_on_while_a_subscriber_is_lost() -> None:
    server = make_server()
    lost, client = await login(server), await login(server)
    for one in (lost, client):
        await one.subscribe("1", "/topic/a")
    lost.session.forget()  # on_closed has not been told yet
    await client.publish("/topic/a", "x", {"receipt": "r"})
    assert client.told() == [("MESSAGE", "x"), ("RECEIPT", "r")]
    await lost.go()
    await client.go()
    assert_nothing_left(server)


async def test_octets_that_are_no_text_are_counted_where_they_cannot_be_said() -> None:
    server = make_server()
    client = Client(server, framing=FRAMED)
    await client.send("CONNECT", {"accept-version": "1.2"})
    await client.subscribe("1", "/topic/a")
    await server.messaging.send("/topic/a", b"\xff")
    assert client.connection.undelivered == 1
    await client.go()
    assert server.counters.undelivered == 1


async def test_a_subscriber_is_given_its_message_as_it_was_published() -> None:
    """One and the same for all: what is equal is worded once."""

    class Own(RecordingBroker):
        async def publish(self, message: PreparedMessage) -> None:
            self.message = message
            await super().publish(message)

    broker = Own("/topic")
    server = make_server(broker=broker)
    clients = [await login(server) for _ in range(3)]
    for client in clients:
        await client.subscribe("1", "/topic/a")
    await clients[0].publish("/topic/a", "x")
    assert len(broker.message.wordings) == 1
    assert [len(client.take()) for client in clients] == [1, 1, 1]


async def test_a_fault_of_nobodys_frame_has_no_receipt() -> None:
    server = make_server()
    client = await login(server)
    server._commands.fail(client.connection, BadFrame("too late"))
    assert "receipt-id" not in error_of(client).headers


class Sluggish(RecordingBroker):
    """Takes a few turns of the loop for everything."""

    def __init__(self, random: Random) -> None:
        super().__init__("/topic")
        self.random = random

    async def _record(self, name: str, value: object) -> None:
        await turns(self.random.randrange(4))


class SluggishEvents(RecordingEvents):
    """The same for whoever is told."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random

    async def on_connected(self, connection: StompConnection) -> None:
        await super().on_connected(connection)
        await turns(self.random.randrange(3))

    async def on_subscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        await super().on_subscribed(connection, subscription)
        await turns(self.random.randrange(3))

    async def on_unsubscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        await super().on_unsubscribed(connection, subscription)
        await turns(self.random.randrange(3))

    async def on_disconnected(self, connection: StompConnection, close: Close) -> None:
        await super().on_disconnected(connection, close)
        await turns(self.random.randrange(3))


FRAMES = [
    wire("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "receipt": "r"}),
    wire("SUBSCRIBE", {"id": "2", "destination": "/topic/**", "ack": "client"}),
    wire("SUBSCRIBE", {"id": "3", "destination": "/user/queue/me"}),
    wire("SUBSCRIBE", {"id": "4", "destination": "/app/ticks"}),
    wire("SUBSCRIBE", {"id": "5", "destination": "/app/wait"}),
    *(wire("UNSUBSCRIBE", {"id": id}) for id in "12345"),
    wire("SEND", {"destination": "/topic/a"}, "x"),
    wire("SEND", {"destination": "/user/ann/queue/me"}, "x"),
    wire("SEND", {"destination": "/app/ticks"}, "x"),
    wire("SEND", {"destination": "/app/wait", "receipt": "r"}, "x"),
    wire("SEND", {"destination": "/app/fail"}, "x"),
    wire("BEGIN", {"transaction": "t"}) + wire("SEND", {"destination": "/topic/a", "transaction": "t"}, "x"),
    wire("COMMIT", {"transaction": "t"}),
    wire("DISCONNECT", {"receipt": "r"}),
    wire("DISCONNECT"),
    b"NONSENSE\n\n\0",
]


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_clients_do_and_whenever_they_go_nothing_is_left_and_all_is_told_once(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A random walk of many clients at a time; each goes at some moment, mostly in the middle of a frame."""
    random = Random(seed)
    controller = Controller()

    async def ticks() -> AsyncIterator[int]:
        for number in range(random.randrange(5)):
            await turns(random.randrange(3))
            yield number
        if random.random() < 0.5:
            await asyncio.Event().wait()

    async def wait() -> str:
        await turns(random.randrange(6))
        return "done"

    async def fail() -> None:
        raise RuntimeError("on purpose")

    controller.message_mapping("/ticks", send_to="/topic/a")(ticks)
    controller.subscribe_mapping("/ticks")(ticks)
    controller.message_mapping("/wait", send_to_user=True, concurrent=True)(wait)
    controller.subscribe_mapping("/wait", concurrent=True)(wait)
    controller.message_mapping("/fail")(fail)
    caplog.set_level(logging.CRITICAL, "sockbridge.stomp")
    events = SluggishEvents(random)
    server = make_server(controller, broker=Sluggish(random), events=[events], max_tasks=2)

    async def talk(client: Client) -> None:
        await client.send("CONNECT", {"accept-version": "1.2"})
        for _ in range(random.randrange(15)):
            await server.receive(client.connection, random.choice(FRAMES))
            if random.random() < 0.1:
                await server.unsubscribe(client.connection, random.choice("12345"))

    async def live() -> StompConnection:
        client = Client(server, principal=random.choice(["ann", "bob", None]))
        talking = asyncio.create_task(talk(client))
        await turns(random.randrange(60))
        await client.go()  # beside what is being worked on
        await talking
        return client.connection

    async with asyncio.timeout(GUARD):
        connections = await asyncio.gather(*(live() for _ in range(30)))
        while len(server._tasks):
            await asyncio.sleep(0)
    assert_nothing_left(server)
    assert server.counters.connected == server.counters.disconnected
    for connection in connections:
        told = [(name, value) for name, caller, value in events.calls if caller is connection]
        names = [name for name, _ in told]
        assert names[:1] in ([], ["on_connected"])
        assert names.count("on_connected") == names.count("on_disconnected") == bool(names)
        assert names[-1:] in ([], ["on_disconnected"]), names
        begun = [value for name, value in told if name == "on_subscribed"]
        ended = [value for name, value in told if name == "on_unsubscribed"]
        assert begun == list(dict.fromkeys(begun))
        assert set(map(id, begun)) == set(map(id, ended))
        assert len(begun) == len(ended)


@pytest.mark.parametrize("answer", [True, "frame", 5])
async def test_an_interceptor_that_returns_no_frame_ends_that_connection_alone(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    watching = Watching()
    watching.answers["SEND"] = answer  # type: ignore[assignment]  # that is the point
    client = await login(make_server(interceptors=[watching]))
    await client.publish("/topic/a", "x")
    assert error_of(client).headers["message"] == "internal error"
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


@pytest.mark.parametrize("error", [PayloadInvalid("secret"), HandlerFailed("secret")])
async def test_a_connect_that_is_not_served_is_answered_like_any_failure(error: Exception) -> None:
    """A client that waits for CONNECTED must not be left without an answer."""
    watching = Watching()
    watching.answers["CONNECT"] = error
    client = Client(make_server(interceptors=[watching]))
    await client.send("CONNECT", {"accept-version": "1.2"})
    error_of(client)


async def test_one_connection_counts_as_one_fault() -> None:
    server = make_server()
    client = await login(server)
    await client.send("BEGIN", {"transaction": "t"})
    for receipt in ("one", "two"):
        await client.publish("/nowhere", "1", {"transaction": "t", "receipt": receipt})
    await client.send("COMMIT", {"transaction": "t"})
    assert error_of(client).headers["receipt-id"] == "one"
    assert (server.counters.faults, server.counters.unserved) == (1, 1), "the rest was not begun"


async def test_a_call_that_fails_after_its_client_has_gone_is_no_fault_of_a_connection() -> None:
    gate, controller = asyncio.Event(), Controller()

    @controller.message_mapping("/fail", concurrent=True)
    async def fail() -> None:
        await gate.wait()
        raise RuntimeError("secret")

    server = make_server(controller)
    client = await login(server)
    await client.publish("/app/fail", "", {"receipt": "r"})
    await client.go()
    gate.set()
    await turns()
    assert (server.counters.faults, server.counters.unserved) == (0, 1)
    assert_nothing_left(server)


async def test_the_end_of_a_subscription_is_told_before_the_end_of_its_connection() -> None:
    broker, events = RecordingBroker("/topic"), RecordingEvents()
    server = make_server(broker=broker, events=[events])
    client = await login(server)
    await client.subscribe("1", "/topic/a")
    broker.gate.clear()
    unsubscribing = asyncio.create_task(server.unsubscribe(client.connection, "1"))
    await asyncio.wait_for(broker.waits.wait(), GUARD)
    going = asyncio.create_task(client.go())
    await turns()
    broker.gate.set()
    await unsubscribing
    await going
    assert events.names() == ["on_connected", "on_subscribed", "on_unsubscribed", "on_disconnected"]


async def test_a_concurrent_call_that_awaits_something_cancelled_is_told_as_a_fault_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    controller = Controller()

    @controller.message_mapping("/fail", concurrent=True)
    async def fail() -> None:
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled

    server = make_server(controller)
    client = await login(server)
    await client.publish("/app/fail", "", {"receipt": "r"})
    assert (await client.closed()).code == 1011
    error = error_of(client)
    assert (error.headers["message"], error.headers["receipt-id"]) == ("internal error", "r")
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
    await client.go()
    await turns()
    assert_nothing_left(server)


async def test_a_stream_may_end_its_own_subscription() -> None:
    controller = Controller()
    went_on: list[str] = []

    @controller.subscribe_mapping("/few")
    async def few(connection: StompConnection) -> AsyncIterator[str]:
        yield "one"
        await server.unsubscribe(connection, "s")
        went_on.append("cleaned up")
        yield "two"
        went_on.append("never")

    server = make_server(controller)
    client = await login(server)
    await client.subscribe("s", "/app/few")
    await turns()
    assert [frame.body for frame in client.take()] == [b"one"]
    assert went_on == ["cleaned up"]
    await client.go()
    assert_nothing_left(server)


async def test_an_acknowledgement_of_nothing_spoils_a_transaction_before_it_is_committed() -> None:
    """All or nothing: the SEND beside it has no effect."""
    broker = RecordingBroker("/topic")
    server = StompServer(broker, policy=[Rule.connect(EVERYBODY), Rule.send("**", EVERYBODY)])
    client = await login(server)
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish("/topic/a", "x", {"transaction": "t"})
    await client.send("ACK", {"id": "9-9", "transaction": "t"})
    await client.send("COMMIT", {"transaction": "t"})
    assert "unknown message" in error_of(client).headers["message"]
    assert broker.values("publish") == []


# Brokers that keep things.


def make_keeping(*controllers: Controller, **options: Any) -> tuple[StompServer, EmbeddedBroker]:
    """A server with a broker that has everything."""
    arguments = {name: options.pop(name) for name in ("policy", "compat") if name in options}
    broker = EmbeddedBroker(
        queues=["/queue"], history=[History("/topic/kept/*")], presence=["/topic/rooms/*"], **options
    )
    return StompServer(broker, controllers=controllers, **{"policy": OPEN, **arguments}), broker


async def test_the_receipt_of_a_subscribe_tells_what_the_broker_has_to_say() -> None:
    broker = RecordingBroker("/topic")
    broker.told = {"x-epoch": "e1", "x-offset": "5"}
    client = await login(make_server(broker=broker))
    await client.subscribe("1", "/topic/a")
    assert client.take() == []
    await client.subscribe("2", "/topic/a", {"receipt": "r"})
    (receipt,) = client.take()
    assert receipt.headers == {"receipt-id": "r", "x-epoch": "e1", "x-offset": "5"}


async def test_the_receipt_of_a_subscribe_that_is_none_of_the_brokers_tells_nothing_more() -> None:
    broker = RecordingBroker("/topic")
    broker.told = {"x-offset": "5"}
    client = await login(make_server(broker=broker), "ann")
    await client.subscribe("1", "/user/queue/a", {"receipt": "r"})
    (receipt,) = client.take()
    assert receipt.headers == {"receipt-id": "r"}


async def test_a_client_that_returns_gets_what_it_missed_and_its_receipt_says_so() -> None:
    server, _ = make_keeping()
    async with running(server):
        for body in "abc":
            await server.messaging.send("/topic/kept/a", body)
        client = await login(server)
        await client.subscribe("1", "/topic/kept/a", {"receipt": "r", "x-since": "0"})
        frames = client.take()
        assert [frame.body for frame in frames[:3]] == [b"a", b"b", b"c"]
        epoch = frames[0].headers["x-epoch"]
        assert frames[3].headers == {"receipt-id": "r", "x-missed": "0", "x-epoch": epoch, "x-offset": "3"}
        await client.send("UNSUBSCRIBE", {"id": "1"})
        await client.subscribe("1", "/topic/kept/a", {"x-since": "2", "x-epoch": epoch})
        assert client.told() == [("MESSAGE", "c")]
        await client.subscribe("2", "/topic/kept/a", {"x-since": "2", "receipt": "r"})
        assert error_of(client).headers["message"] == "x-since without x-epoch"
        await client.go()
        assert_nothing_left(server)


@pytest.mark.parametrize(
    ("destination", "headers", "message"),
    [
        ("/queue/*", {}, "no wildcards in the destination of a queue"),
        ("/queue/a", {"prefetch-count": "x"}, "prefetch-count is no number"),
        ("/reply-queue/guess", {}, "this temporary queue is somebody else's, or gone"),
        ("/temp-queue/", {}, "a temporary queue has a name"),
        ("/topic/a", {"durable": "true"}, "durable without client-id"),
        ("/topic/a", {"durable": "perhaps"}, "durable is true or false"),
        ("/topic/a", {"durable": "true", "client-id": "tab", "x-since": "0"}, "either durable or x-since"),
        ("/topic/kept/*", {"x-since": "5", "x-epoch": "e"}, "x-since for one destination only"),
    ],
)
async def test_what_a_broker_refuses_ends_the_connection_and_leaves_no_subscription(
    destination: str, headers: dict[str, str], message: str
) -> None:
    server, _ = make_keeping()
    async with running(server):
        client = await login(server)
        await client.subscribe("1", destination, {"receipt": "r", **headers})
        error = error_of(client)
        assert error.headers["message"].startswith(message)
        assert error.headers["receipt-id"] == "r"
        assert not client.connection.subscriptions
        await client.go()
        assert_nothing_left(server)


async def test_what_came_with_subscribing_may_be_named_in_connect() -> None:
    server, _ = make_keeping()
    async with running(server):
        first = await login(server, "ann", **{"client-id": "tab"})
        await first.subscribe("1", "/topic/a", {"durable": "true"})
        await first.go()
        await server.messaging.send("/topic/a", "missed")
        second = await login(server, "ann", **{"client-id": "tab"})
        await second.subscribe("9", "/topic/a", {"durable": "true", "receipt": "r"})
        message, receipt = second.take()
        assert (message.body, message.headers["subscription"]) == (b"missed", "9")
        assert receipt.headers == {"receipt-id": "r", "x-resumed": "true"}
        await second.send("UNSUBSCRIBE", {"id": "9"})
        await second.go()
        assert_nothing_left(server)


@pytest.mark.parametrize("goodbye", [True, False])
async def test_a_goodbye_ends_no_durable_subscription_but_unsubscribing_does(goodbye: bool) -> None:
    """STOMP has no other way to say that one comes back."""
    server, broker = make_keeping()
    async with running(server):
        client = await login(server)
        await client.subscribe("1", "/topic/a", {"durable": "true", "client-id": "tab"})
        await client.send("DISCONNECT", {"receipt": "bye"}) if goodbye else await client.send(
            "UNSUBSCRIBE", {"id": "1"}
        )
        await client.go()
        await server.messaging.send("/topic/a", "x")
        assert len(broker) == (1 if goodbye else 0)
        assert (broker.held > 0) is goodbye


async def test_who_comes_second_takes_over_and_the_first_is_told() -> None:
    server, broker = make_keeping()
    async with running(server):
        first, second = await login(server, "ann"), await login(server, "ann")
        headers = {"durable": "true", "client-id": "tab", "ack": "client"}
        await first.subscribe("1", "/topic/a", headers)
        await server.messaging.send("/topic/a", "x")
        assert first.told() == [("MESSAGE", "x")]
        await second.subscribe("1", "/topic/a", headers)
        assert "used by another connection" in error_of(first).headers["message"]
        (message,) = second.take()
        assert (message.body, message.headers["redelivered"]) == (b"x", "true")
        await first.go()
        await server.messaging.send("/topic/a", "y")
        assert second.told() == [("MESSAGE", "y")]
        await second.go()
        assert len(broker) == 1


async def test_nobody_takes_over_from_itself() -> None:
    server, broker = make_keeping()
    async with running(server):
        client = await login(server, "ann", **{"client-id": "tab"})
        for id in "12":
            await client.subscribe(id, "/topic/a", {"durable": "true"})
        assert "the client's already" in error_of(client).headers["message"]
        await client.go()
        await server.messaging.send("/topic/a", "x")
        assert (len(broker), broker.held > 0) == (1, True), "it may come back"


async def test_what_a_lost_consumer_had_is_given_to_another_in_order() -> None:
    server, broker = make_keeping()
    async with running(server):
        first, second = await login(server), await login(server)
        await first.subscribe("1", "/queue/a", {"ack": "client-individual"})
        for body in "abc":
            await server.messaging.send("/queue/a", body)
        await second.subscribe("1", "/queue/a", {"ack": "client-individual"})
        assert [body for _, body in first.told()] == [*"abc"]
        await first.go()
        frames = second.take()
        assert [frame.body for frame in frames] == [b"a", b"b", b"c"]
        await second.send("ACK", {"id": frames[0].headers["ack"]})
        await second.send("NACK", {"id": frames[1].headers["ack"], "requeue": "false"})
        await second.send("NACK", {"id": frames[2].headers["ack"], "requeue": "true"})
        (again,) = second.take()
        assert (again.body, again.headers["x-delivery-count"]) == (b"c", "2")
        assert (broker.counters.settled, broker.counters.dead) == (1, 1)
        await second.send("NACK", {"id": again.headers["ack"], "requeue": "later", "receipt": "r"})
        assert error_of(second).headers["message"] == "requeue is true or false"
        await second.go()
        await server.messaging.send("/queue/a", "still there")
        assert len(broker.queues["/queue/a"]) == 2


@pytest.mark.parametrize("end", ["DISCONNECT", "go", "UNSUBSCRIBE"])
async def test_the_broker_is_told_whether_a_subscription_was_lost(end: str) -> None:
    class Noting(RecordingBroker):
        async def unsubscribe(self, subscriber: Subscriber, *, is_lost: bool) -> None:
            self.calls.append(("is_lost", is_lost))
            await super().unsubscribe(subscriber, is_lost=is_lost)

    broker = Noting("/topic")
    client = await login(make_server(broker=broker))
    await client.subscribe("1", "/topic/a")
    if end == "UNSUBSCRIBE":
        await client.send("UNSUBSCRIBE", {"id": "1"})
    elif end == "DISCONNECT":
        await client.send("DISCONNECT", {"receipt": "r"})
    await client.go()
    assert broker.values("is_lost") == [end != "UNSUBSCRIBE"]


async def test_a_full_queue_is_told_to_whoever_sends_and_ends_its_connection() -> None:
    server, broker = make_keeping(max_queue_length=1)
    async with running(server):
        client, other = await login(server), await login(server)
        await client.publish("/queue/a", "1", {"receipt": "r1"})
        assert client.told() == [("RECEIPT", "r1")]
        await client.publish("/queue/a", "2", {"receipt": "r2"})
        error = error_of(client)
        assert (error.headers["message"], error.headers["receipt-id"]) == ("queue full", "r2")
        assert error.body == b"/queue/a holds max_queue_length (1) messages"
        assert other.connection.is_open
        assert (broker.counters.refused, server.counters.faults) == (1, 1)


async def test_an_expiration_that_is_none_ends_the_connection() -> None:
    server, _ = make_keeping()
    async with running(server):
        client = await login(server)
        await client.publish("/queue/a", "1", {"expiration": "soon"})
        assert error_of(client).headers["message"] == "expiration is no number"


# Temporary queues.


async def test_who_asks_is_answered_by_an_address_that_only_it_can_listen_to() -> None:
    controller, asked = Controller(), list[str]()

    @controller.message_mapping("/ask")
    async def ask(frame: Frame) -> None:
        asked.append(frame.headers["reply-to"])

    server, broker = make_keeping(controller)
    async with running(server):
        asking, answering = await login(server), await login(server)
        await asking.subscribe("1", "/temp-queue/answers", {"receipt": "r"})
        assert asking.told() == [("RECEIPT", "r")]
        await answering.subscribe("1", "/queue/jobs")
        await asking.publish("/queue/jobs", "?", {"reply-to": "/temp-queue/answers"})
        await asking.publish("/app/ask", "?", {"reply-to": "/temp-queue/answers"})
        (question,) = answering.take()
        address = question.headers["reply-to"]
        assert address.startswith("/reply-queue/")
        assert asked == [address], "controllers see the same"
        await answering.publish(address, "!", {"receipt": "r"})
        assert answering.told() == [("RECEIPT", "r")]
        await server.messaging.send(address, "!!")
        answers = asking.take()
        assert [(answer.destination, answer.body) for answer in answers] == [(address, b"!"), (address, b"!!")]
        await answering.subscribe("2", address)
        assert "somebody else's" in error_of(answering).headers["message"]
        await asking.send("UNSUBSCRIBE", {"id": "1"})
        await asking.publish("/temp-queue/answers", "to itself")
        await asking.subscribe("2", "/temp-queue/answers")
        assert asking.told() == [("MESSAGE", "to itself")]
        await asking.go()
        await server.messaging.send(address, "too late")
        assert broker.counters.unroutable == 1


async def test_names_of_temporary_queues_are_checked_as_the_client_writes_them() -> None:
    rules = [
        Rule.connect(EVERYBODY),
        Rule.subscribe("/temp-queue/**", EVERYBODY),
        Rule.send("/queue/**", EVERYBODY),
    ]
    server, broker = make_keeping(policy=rules)
    async with running(server):
        client, other = await login(server), await login(server)
        await client.subscribe("1", "/temp-queue/x", {"receipt": "r"})
        assert client.told() == [("RECEIPT", "r")]
        await client.publish("/queue/a", "", {"reply-to": "/temp-queue/x", "receipt": "r"})
        assert client.told() == [("RECEIPT", "r")]
        address = next(name for name in broker.queues if name.startswith("/reply-queue/"))
        await client.subscribe("2", address, {"receipt": "r"})
        assert "not allowed" in error_of(client).headers["message"], "its own, but by a name that no rule knows"
        await other.publish(address, "x", {"receipt": "r"})
        assert "not allowed" in error_of(other).headers["message"]


@pytest.mark.parametrize("transaction", [{}, {"transaction": "t"}])
async def test_nobody_is_answered_where_the_asker_may_not_send(transaction: dict[str, str]) -> None:
    """Whoever answers may have more rights."""
    rules = [Rule.connect(EVERYBODY), Rule.send("/queue/**", EVERYBODY)]
    server, broker = make_keeping(policy=rules)
    async with running(server):
        for reply_to in ("/topic/secret", " /topic/secret", "/reply-queue/guess"):
            client = await login(server)
            await client.send("BEGIN", {"transaction": "t"})
            await client.publish("/queue/a", "", {"reply-to": reply_to, **transaction})
            assert "not allowed" in error_of(client).headers["message"]
        assert broker.counters.queued == 0
        client = await login(server)
        for reply_to in ("/queue/b", "somewhere else", ""):
            await client.publish("/queue/a", "", {"reply-to": reply_to})
        assert broker.counters.queued == 3


async def test_what_a_client_leaves_behind_is_released_once_it_has_gone() -> None:
    broker = RecordingBroker("/topic")
    server = make_server(broker=broker)
    client, guest = await login(server), Client(server)
    await client.subscribe("1", "/topic/a")
    assert broker.released == []
    await client.go()
    assert set(broker.released) == {client.connection}
    assert broker.calls[-1][0] == "unsubscribe", "before"
    await guest.go()
    assert_nothing_left(server)


async def test_a_goodbye_releases_before_it_is_answered() -> None:
    broker = RecordingBroker("/topic")
    client = await login(make_server(broker=broker))
    await client.send("DISCONNECT", {"receipt": "bye"})
    assert broker.released == [client.connection]
    assert client.told() == [("RECEIPT", "bye")]


async def test_a_broker_that_cannot_release_holds_up_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    class Sticky(RecordingBroker):
        async def release(self, owner: object) -> None:
            raise OSError("gone")

    events = RecordingEvents()
    server = make_server(broker=Sticky("/topic"), events=[events])
    client = await login(server)
    await client.subscribe("1", "/topic/a")
    await client.go()
    assert events.names() == ["on_connected", "on_subscribed", "on_unsubscribed", "on_disconnected"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert_nothing_left(server)


async def test_no_subscription_of_a_client_that_goes_gets_what_another_had() -> None:
    server, broker = make_keeping()
    async with running(server):
        client = await login(server)
        for id in "123":
            await client.subscribe(id, "/queue/a", {"ack": "client-individual", "prefetch-count": "1"})
        for body in "abc":
            await server.messaging.send("/queue/a", body)
        assert len(client.take()) == 3
        await client.go()
        assert (len(broker.queues["/queue/a"]), broker.counters.delivered) == (3, 3)


# Transactions take effect as a whole.


class Transaction:
    """A consumer of two messages, which has begun a transaction, and somebody who sees what happens.

    Attributes:
        acks: of the messages that the client has.
    """

    def __init__(self, server: StompServer, broker: EmbeddedBroker) -> None:
        self.server = server
        self.broker = broker

    async def begin(self, ack: str = "client-individual") -> None:
        self.client, self.witness = await login(self.server), await login(self.server)
        await self.witness.subscribe("1", "/topic/**")
        await self.client.subscribe("1", "/queue/jobs", {"ack": ack})
        for body in "ab":
            await self.server.messaging.send("/queue/jobs", body)
        self.acks = [frame.headers["ack"] for frame in self.client.take()]
        await self.client.send("BEGIN", {"transaction": "t"})

    async def add(self, command: str, headers: dict[str, str], body: str = "") -> None:
        await self.client.send(command, {**headers, "transaction": "t"}, body)

    async def commit(self) -> None:
        await self.client.send("COMMIT", {"transaction": "t", "receipt": "commit"})

    async def assert_refused(self, message: str) -> None:
        """The client was told, and nothing of the transaction has happened."""
        error = error_of(self.client)
        assert message in f"{error.headers['message']}: {error.body.decode()}"
        assert self.witness.take() == []
        assert (self.broker.counters.settled, self.broker.counters.dead) == (0, 0)
        assert self.broker.queues["/queue/jobs"].lent == 2
        assert [name for name in self.broker.queues if name != "/queue/jobs"] == []


async def test_a_commit_applies_all_in_order_and_its_receipts_come_last() -> None:
    server, broker = make_keeping()
    async with running(server):
        play = Transaction(server, broker)
        await play.begin()
        await play.add("SEND", {"destination": "/topic/a", "receipt": "1"}, "first")
        await play.add("ACK", {"id": play.acks[0], "receipt": "2"})
        await play.add("NACK", {"id": play.acks[1], "receipt": "3", "requeue": "false"})
        await play.add("SEND", {"destination": "/queue/done", "receipt": "4"}, "second")
        assert (play.client.take(), play.witness.take(), broker.counters.settled) == ([], [], 0)
        await play.commit()
        assert play.client.told() == [("RECEIPT", name) for name in ("commit", "1", "2", "3", "4")]
        assert play.witness.told() == [("MESSAGE", "first")]
        assert (broker.counters.settled, broker.counters.dead) == (1, 1)
        assert sorted(broker.queues) == ["/queue/dead-letters", "/queue/done", "/queue/jobs"]


@pytest.mark.parametrize("ack", ["client", "client-individual"])
async def test_a_commit_that_acknowledges_twice_has_no_effect(ack: str) -> None:
    server, broker = make_keeping()
    async with running(server):
        play = Transaction(server, broker)
        await play.begin(ack)
        await play.add("SEND", {"destination": "/topic/a"}, "x")
        await play.add("ACK", {"id": play.acks[1]})
        await play.add("NACK", {"id": play.acks[0 if ack == "client" else 1]})
        await play.commit()
        await play.assert_refused("waits for none")


async def test_a_commit_of_what_was_acknowledged_meanwhile_has_no_effect() -> None:
    server, broker = make_keeping()
    async with running(server):
        play = Transaction(server, broker)
        await play.begin()
        await play.add("SEND", {"destination": "/topic/a"}, "x")
        await play.add("ACK", {"id": play.acks[0]})
        await play.client.send("ACK", {"id": play.acks[0]})
        await play.commit()
        assert "waits for none" in error_of(play.client).headers["message"]
        assert play.witness.take() == []
        assert broker.counters.settled == 1


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"destination": "/queue/full"}, "queue full: /queue/full holds max_queue_length (2) messages"),
        ({"destination": "/queue/other", "expiration": "soon"}, "expiration is no number"),
        ({"destination": "/reply-queue/gone", "expiration": "soon"}, "expiration is no number"),
        ({"destination": "/queue/*"}, "no wildcards"),
        ({"destination": "/reply-queue/*"}, "no wildcards"),
        ({"destination": "/presence/topic/a"}, "who is present"),
    ],
)
async def test_a_commit_of_what_the_broker_does_not_take_has_no_effect(headers: dict[str, str], message: str) -> None:
    server, broker = make_keeping(max_queue_length=2)
    async with running(server):
        play = Transaction(server, broker)
        await play.begin()
        await play.add("ACK", {"id": play.acks[0]})
        await play.add("SEND", {"destination": "/topic/a"}, "x")
        for _ in range(3):
            await play.add("SEND", headers, "x")
        await play.commit()
        await play.assert_refused(message)


async def test_a_commit_is_whole_at_the_broker_before_its_functions_run() -> None:
    gate = Gate()
    server, broker = make_keeping(gate.controller)
    async with running(server):
        play = Transaction(server, broker)
        await play.begin()
        await play.add("SEND", {"destination": "/app/gate", "receipt": "1"}, "one")
        await play.add("SEND", {"destination": "/queue/done", "receipt": "2"}, "x")
        await play.add("SEND", {"destination": "/app/gate", "receipt": "3"}, "two")
        await play.add("ACK", {"id": play.acks[0], "receipt": "4"})
        await play.add("SEND", {"destination": "/topic/a", "receipt": "5"}, "y")
        committing = asyncio.create_task(play.commit())
        await gate.wait_for(1)
        assert gate.entered == ["one"]
        assert (broker.counters.settled, len(broker.queues["/queue/done"])) == (1, 1)
        assert play.witness.told() == [("MESSAGE", "y")]
        gate.open.set()
        await committing
        assert gate.left == ["one", "two"]
        assert play.client.told() == [("RECEIPT", name) for name in ("commit", "2", "4", "5", "1", "3")]


async def test_a_function_whose_client_goes_meanwhile_leaves_the_rest_of_the_commit_as_it_is() -> None:
    """The broker's part is done; functions that have not begun have nobody to work for."""
    gate = Gate()
    server, broker = make_keeping(gate.controller)
    async with running(server):
        play = Transaction(server, broker)
        await play.begin()
        await play.add("SEND", {"destination": "/queue/out"}, "result")
        await play.add("SEND", {"destination": "/app/gate"}, "a")
        await play.add("SEND", {"destination": "/app/gate"}, "b")
        await play.add("ACK", {"id": play.acks[0]})
        committing = asyncio.create_task(play.commit())
        await gate.wait_for(1)
        await play.client.go()
        gate.open.set()
        await committing
        assert (broker.counters.settled, len(broker.queues["/queue/out"])) == (1, 1)
        assert len(broker.queues["/queue/jobs"]) == 1, "the other of the two"
        assert gate.entered == ["a"]
        assert play.client.take() == []


async def test_a_commit_whose_client_is_ended_on_the_way_is_whole_at_the_broker() -> None:
    """By what is not served, and wants a receipt."""
    server, broker = make_keeping()
    async with running(server):
        play = Transaction(server, broker)
        await play.begin()
        with_user = {"destination": "/user/nobody/queue/a", "receipt": "1"}
        await play.add("SEND", with_user, "x")
        await play.add("SEND", {"destination": "/queue/out"}, "result")
        await play.add("ACK", {"id": play.acks[0]})
        await play.commit()
        assert (broker.counters.settled, len(broker.queues["/queue/out"])) == (1, 1)


@pytest.mark.parametrize("receipt", [{}, {"receipt": "one"}])
async def test_a_function_that_fails_in_a_commit_undoes_nothing_and_ends_it_only_where_it_must_be_told(
    receipt: dict[str, str],
) -> None:
    """What a function does cannot be checked before it is done."""
    controller = Controller()

    @controller.message_mapping("/fail")
    async def fail() -> None:
        raise RuntimeError("secret")

    broker = RecordingBroker("/topic")
    server = make_server(controller, broker=broker)
    client = await login(server)
    await client.subscribe("1", "/topic/a")
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish("/topic/a", "before", {"transaction": "t"})
    await client.publish("/app/fail", "", {"transaction": "t", **receipt})
    await client.publish("/topic/a", "after", {"transaction": "t"})
    await client.send("COMMIT", {"transaction": "t", "receipt": "commit"})
    assert server.counters.unserved == 1
    if receipt:
        before, after, error = client.take()
        assert (before.body, after.body, error.headers["receipt-id"]) == (b"before", b"after", "one")
        assert "secret" not in str(error)
    else:
        assert client.told() == [("MESSAGE", "before"), ("MESSAGE", "after"), ("RECEIPT", "commit")]
