"""Clients killed at every step, applications that fail at every step, and a server that stops in the middle of it.

Whatever happens: nothing is left behind, events come in pairs, and nobody else notices.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sockbridge.sockjs.framing import Close
from sockbridge.stomp.broker.base import Subscriber
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.connection import StompConnection
from sockbridge.stomp.controllers.mapping import Controller
from sockbridge.stomp.frame import Command
from sockbridge.stomp.server import StompServer
from sockbridge.stomp.subscription import Subscription
from sockbridge.stomp.tcp import TcpListener
from sockbridge.stomp.users import Login, User
from tests.fakes import GUARD, busy_tasks
from tests.stomp.fakes import RecordingEvents
from tests.stomp.peers import CARRIERS, Site, assert_nothing_left, site
from tests.transports.wire import Wire, until

LETS_GO = 0.05
"""Seconds after which a server tells the end beside a call that still runs."""


class Application:
    """All that an application can be: slow, hanging, raising, cancelled, at every place where it is called.

    What hangs does so until ``go`` is set; ``entered`` tells that it has begun.

    Attributes:
        faults: place -> "hang", "raise" or "cancel"; a place that is not in it works.
        ended: names of the calls and streams that have come to an end, however they did.
    """

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.entered = asyncio.Event()
        self.faults: dict[str, str] = {}
        self.ended: list[str] = []

    async def at(self, place: str) -> None:
        """Do what ``place`` is to do."""
        fault = self.faults.get(place)
        if fault is None:
            return
        self.entered.set()
        try:
            if fault == "raise":
                raise LookupError(f"{place} fails, as it was asked to")
            if fault == "cancel":
                raise asyncio.CancelledError
            await self.go.wait()
        finally:
            self.ended.append(place)

    async def authenticate(self, login: Login) -> User:
        await self.at("authenticate")
        return User(login.login or "somebody")

    def controller(self) -> Controller:
        controller = Controller()

        @controller.message_mapping("/do", send_to="/topic/done")
        async def do(body: str) -> str:
            await self.at("handler")
            return body

        @controller.message_mapping("/beside", concurrent=True)
        async def beside(body: str) -> None:
            await self.at("beside")

        @controller.subscribe_mapping("/stream")
        async def stream() -> AsyncIterator[str]:
            try:
                yield "first"
                self.entered.set()
                await asyncio.Event().wait()
            finally:
                self.ended.append("stream")

        @controller.message_mapping("/late-stream")
        async def late_stream() -> AsyncIterator[str]:
            await self.at("handler")
            return stream()

        return controller


class FaultyBroker(EmbeddedBroker):
    """Topics whose verbs are as slow or broken as the application says."""

    def __init__(self, application: Application) -> None:
        super().__init__(["/topic"])
        self._application = application

    async def publish(self, message: PreparedMessage) -> None:
        await self._application.at("publish")
        await super().publish(message)

    async def subscribe(self, subscriber: Subscriber) -> Mapping[str, str]:
        await self._application.at("subscribe")
        return await super().subscribe(subscriber)

    async def unsubscribe(self, subscriber: Subscriber, *, is_lost: bool) -> None:
        await super().unsubscribe(subscriber, is_lost=is_lost)
        await self._application.at("unsubscribe")


class FaultyEvents(RecordingEvents):
    """Writes down what it is told, and then does what the application says."""

    def __init__(self, application: Application) -> None:
        super().__init__()
        self._application = application

    async def on_connected(self, connection: StompConnection) -> None:
        await super().on_connected(connection)
        await self._application.at("on_connected")

    async def on_subscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        await super().on_subscribed(connection, subscription)
        await self._application.at("on_subscribed")

    async def on_unsubscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        await super().on_unsubscribed(connection, subscription)
        await self._application.at("on_unsubscribed")

    async def on_disconnected(self, connection: StompConnection, close: Close) -> None:
        await super().on_disconnected(connection, close)
        await self._application.at("on_disconnected")


def assert_balanced(events: RecordingEvents) -> None:
    """Each beginning has its end, exactly once and after it; nothing is told of a connection outside of its life."""
    for connection in {id(caller): caller for _, caller, _ in events.calls}.values():
        names = events.names(connection)
        assert names[0] == "on_connected", names
        assert names[-1] == "on_disconnected", names
        assert (names.count("on_connected"), names.count("on_disconnected")) == (1, 1), names
        begun = [value for name, caller, value in events.calls if caller is connection and name == "on_subscribed"]
        ended = [value for name, caller, value in events.calls if caller is connection and name == "on_unsubscribed"]
        assert len(begun) == len(set(map(id, begun))), names
        assert sorted(map(id, begun)) == sorted(map(id, ended)), names


class Stage(Site):
    """A server, an application that can fail, and a bystander who must not notice.

    Attributes:
        application: see there.
        events: what was told.
        bystander: a client that has logged in over TCP.
    """

    application: Application
    events: FaultyEvents
    bystander: Any

    async def entered(self) -> None:
        """Until the application hangs."""
        async with asyncio.timeout(GUARD):
            await self.application.entered.wait()


@asynccontextmanager
async def stage(*, is_told: bool = True, disconnect_delay: float = LETS_GO, **options: Any) -> AsyncIterator[Stage]:
    """A stage; at its end nothing may be left, neither of a client nor of a task.

    Args:
        disconnect_delay: longer where clients that poll must wait for many others.
        is_told: False where the application hangs when it is told, so that it cannot be told of what comes after.
    """
    before = busy_tasks()
    application = Application()
    events = FaultyEvents(application)

    def make(listener: TcpListener) -> StompServer:
        return StompServer(
            FaultyBroker(application),
            controllers=[application.controller()],
            authenticate=application.authenticate,
            events=[events],
            listeners=[listener],
            max_tasks=1,
            compat="spring",  # clients may SEND to topics
            **options,
        )

    tcp = {"handler_grace": LETS_GO, "shutdown_grace": LETS_GO}
    async with site(make, tcp=tcp, disconnect_delay=disconnect_delay, shutdown_grace=LETS_GO) as running:
        running.__class__ = Stage
        assert isinstance(running, Stage)
        running.application, running.events = application, events
        running.bystander = await running.logged_in()
        yield running
    assert_nothing_left(running.server)
    if is_told:
        assert_balanced(events)
    assert len(running.listener) == 0
    await until(lambda: busy_tasks() == before)
    gc.collect()  # a coroutine that nobody has awaited warns now


async def nobody_but_the_bystander(here: Stage) -> None:
    """Until the server knows of the bystander alone, who is served as ever."""
    server = here.server
    await until(lambda: len(server._connections) == 1)
    await until(lambda: [*server.connections] == [*server._connections.values()])
    await until(lambda: len(server.users) == 1)
    await until(lambda: len(server.broker) == 0)  # type: ignore[arg-type]  # the embedded one has a length
    assert server.users._targets == {}
    names = here.events.names()
    await until(lambda: here.events.names().count("on_connected") == here.events.names().count("on_disconnected") + 1)
    assert names.count("on_subscribed") == names.count("on_unsubscribed"), names
    here.application.faults.clear()
    for carried in (here.bystander,):
        answer = await carried.ask("SEND", {"destination": "/app/do"}, "hello")
        assert answer.command is Command.RECEIPT


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# Clients that are killed.

Step = Callable[[Stage, Any], Awaitable[None]]
STEPS: dict[str, Step] = {}


def step(function: Step) -> Step:
    """A client is killed after ``function``."""
    STEPS[function.__name__] = function
    return function


@step
async def opened(here: Stage, peer: Any) -> None:
    """Nothing of STOMP was said."""


@step
async def half_a_connect(here: Stage, peer: Any) -> None:
    await peer.write("CONNECT\naccept-ver")


@step
async def a_connect_whose_authentication_hangs(here: Stage, peer: Any) -> None:
    here.application.faults["authenticate"] = "hang"
    await peer.send("CONNECT", {"accept-version": "1.2"})
    await here.entered()


@step
async def a_connect_whose_answer_is_not_read(here: Stage, peer: Any) -> None:
    await peer.send("CONNECT", {"accept-version": "1.2"})
    await here.events.wait_for("on_connected", 2)


@step
async def a_connect_whose_event_hangs(here: Stage, peer: Any) -> None:
    here.application.faults["on_connected"] = "hang"
    await peer.send("CONNECT", {"accept-version": "1.2"})
    await here.entered()


@step
async def half_a_subscribe(here: Stage, peer: Any) -> None:
    await peer.connect()
    await peer.write("SUBSCRIBE\nid:1\ndestination:/topic/a\n")


@step
async def a_subscribe_that_the_broker_works_on(here: Stage, peer: Any) -> None:
    await peer.connect()
    here.application.faults["subscribe"] = "hang"
    await peer.send("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    await here.entered()


@step
async def a_subscribe_whose_event_hangs(here: Stage, peer: Any) -> None:
    await peer.connect()
    here.application.faults["on_subscribed"] = "hang"
    await peer.send("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    await here.entered()


@step
async def a_stream_whose_beginning_is_told_slowly(here: Stage, peer: Any) -> None:
    await peer.connect()
    here.application.faults["on_subscribed"] = "hang"
    await peer.send("SUBSCRIBE", {"id": "1", "destination": "/app/stream"})
    await here.entered()


@step
async def subscriptions_of_all_kinds(here: Stage, peer: Any) -> None:
    await peer.connect({"login": "alice"})
    for id, destination in enumerate(("/topic/a", "/topic/*", "/topic/**", "/user/queue/a", "/topic/a")):
        ack = "client-individual" if id == 4 else "auto"
        answer = await peer.ask("SUBSCRIBE", {"id": str(id), "destination": destination, "ack": ack})
        assert answer.command is Command.RECEIPT
    await here.server.messaging.send("/topic/a", "not acknowledged")
    await here.server.messaging.send_to_user("alice", "/queue/a", "hello")


@step
async def an_unsubscribe_whose_event_hangs(here: Stage, peer: Any) -> None:
    await peer.connect()
    await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    here.application.faults["on_unsubscribed"] = "hang"
    await peer.send("UNSUBSCRIBE", {"id": "1"})
    await here.entered()


@step
async def an_unsubscribe_that_the_broker_works_on(here: Stage, peer: Any) -> None:
    await peer.connect()
    await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    here.application.faults["unsubscribe"] = "hang"
    await peer.send("UNSUBSCRIBE", {"id": "1"})
    await here.entered()


@step
async def half_a_send(here: Stage, peer: Any) -> None:
    await peer.connect()
    await peer.write("SEND\ndestination:/topic/a\ncontent-length:100\n\nhalf")


@step
async def a_send_whose_handler_hangs(here: Stage, peer: Any) -> None:
    await peer.connect()
    await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/done"})
    here.application.faults["handler"] = "hang"
    await peer.send("SEND", {"destination": "/app/do"}, "first")
    await peer.send("SEND", {"destination": "/app/do"}, "never heard")
    await here.entered()


@step
async def a_send_that_the_broker_works_on(here: Stage, peer: Any) -> None:
    await peer.connect()
    await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    here.application.faults["publish"] = "hang"
    await peer.send("SEND", {"destination": "/topic/a"}, "first")
    await here.entered()


@step
async def a_handler_that_returns_a_stream_too_late(here: Stage, peer: Any) -> None:
    await peer.connect()
    here.application.faults["handler"] = "hang"
    await peer.send("SEND", {"destination": "/app/late-stream"})
    await here.entered()


@step
async def concurrent_handlers_of_which_one_waits_for_room(here: Stage, peer: Any) -> None:
    await peer.connect()
    here.application.faults["beside"] = "hang"
    await peer.send("SEND", {"destination": "/app/beside"}, "first")
    await peer.send("SEND", {"destination": "/app/beside"}, "second")
    await here.entered()


@step
async def a_begin(here: Stage, peer: Any) -> None:
    await peer.connect()
    await peer.ask("BEGIN", {"transaction": "t"})


@step
async def sends_within_a_transaction(here: Stage, peer: Any) -> None:
    await peer.connect()
    await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    await peer.send("BEGIN", {"transaction": "t"})
    for _ in range(3):
        await peer.send("SEND", {"transaction": "t", "destination": "/app/do"}, "held")
    await peer.write("SEND\ntransaction:t\ndestination:/app/do\n\nhalf")


@step
async def a_commit_whose_handler_hangs(here: Stage, peer: Any) -> None:
    await peer.connect()
    await peer.send("BEGIN", {"transaction": "t"})
    for _ in range(3):
        await peer.send("SEND", {"transaction": "t", "destination": "/app/do"}, "held")
    here.application.faults["handler"] = "hang"
    await peer.send("COMMIT", {"transaction": "t"})
    await here.entered()


@step
async def a_stream(here: Stage, peer: Any) -> None:
    await peer.connect()
    await peer.send("SUBSCRIBE", {"id": "1", "destination": "/app/stream"})
    await here.entered()


@step
async def a_disconnect_whose_receipt_is_not_read(here: Stage, peer: Any) -> None:
    await peer.connect()
    await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    await peer.send("DISCONNECT", {"receipt": "bye"})
    await here.events.wait_for("on_unsubscribed")


@step
async def a_fault_whose_error_is_not_read(here: Stage, peer: Any) -> None:
    await peer.connect()
    await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    await peer.send("ABORT", {"transaction": "unknown"})


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("name", STEPS)
async def test_a_client_killed_at_this_step_leaves_nothing_behind(
    name: str, carrier: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage() as here:
        peer = await here.peer(carrier)
        await STEPS[name](here, peer)
        peer.cut()
        await nobody_but_the_bystander(here)
        here.application.go.set()
        await nobody_but_the_bystander(here)  # nor when what hung goes on
    assert errors(caplog) == []


HALVES: dict[str, bytes] = {
    "nothing": b"",
    "half a request": b"GET /ws/web",
    "half an upgrade": b"GET /ws/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n",
    "half the head of a poll": b"POST /ws/000/half/xhr HTTP/1.1\r\nHost: x\r\n",
    "half a body": b'POST /ws/000/half/xhr_send HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n["CONN',
}


@pytest.mark.parametrize("half", HALVES)
async def test_a_client_killed_within_its_request_leaves_nothing_behind(
    half: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage() as here:
        for url in (here.url, f"http://127.0.0.1:{here.listener.port}"):
            cut = await Wire.open(url)
            cut.writer.write(HALVES[half])
            await cut.writer.drain()
            cut.reset()
        await nobody_but_the_bystander(here)
    assert errors(caplog) == []


@pytest.mark.parametrize("carrier", ["websocket-raw", "websocket"])
async def test_a_client_killed_within_a_websocket_frame_leaves_nothing_behind(
    carrier: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage() as here:
        peer = await here.logged_in(carrier)
        await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
        peer._client.wire.writer.write(b"\x81\xfe\x10\x00" + bytes(4) + b"SEND\ndesti")
        peer.cut()
        await nobody_but_the_bystander(here)
    assert errors(caplog) == []


async def test_clients_killed_in_crowds_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    """All at once, in the middle of what each other send."""
    async with stage(disconnect_delay=1.0) as here:
        peers = [await here.logged_in(carrier) for carrier in CARRIERS * 4]
        for number, peer in enumerate(peers):
            await peer.send("SUBSCRIBE", {"id": "1", "destination": f"/topic/{number % 3}"})
            await peer.send("SUBSCRIBE", {"id": "2", "destination": "/topic/*"})
        await here.events.wait_for("on_subscribed", 2 * len(peers))
        for number, peer in enumerate(peers):
            for _ in range(5):
                await here.server.messaging.send(f"/topic/{number % 3}", "x" * 1000)
            peer.cut()
        await nobody_but_the_bystander(here)
    assert errors(caplog) == []


# Applications that fail.

PLACES = {
    "authenticate": ("CONNECT", {"accept-version": "1.2"}),
    "on_connected": ("CONNECT", {"accept-version": "1.2"}),
    "subscribe": ("SUBSCRIBE", {"id": "2", "destination": "/topic/b"}),
    "on_subscribed": ("SUBSCRIBE", {"id": "2", "destination": "/topic/b"}),
    "unsubscribe": ("UNSUBSCRIBE", {"id": "1"}),
    "on_unsubscribed": ("UNSUBSCRIBE", {"id": "1"}),
    "handler": ("SEND", {"destination": "/app/do"}),
    "beside": ("SEND", {"destination": "/app/beside"}),
    "publish": ("SEND", {"destination": "/topic/a"}),
    "on_disconnected": ("DISCONNECT", {}),
}
"""Where an application is called -> the frame that leads there."""


@pytest.mark.parametrize("carrier", ["tcp", "websocket", "xhr"])
@pytest.mark.parametrize("fault", ["raise", "cancel"])
@pytest.mark.parametrize("place", PLACES)
async def test_an_application_that_fails_here_leaves_nothing_behind(
    place: str, fault: str, carrier: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage() as here:
        peer = await here.peer(carrier)
        if PLACES[place][0] != "CONNECT":
            await peer.connect()
            await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
            await peer.ask("SUBSCRIBE", {"id": "user", "destination": "/user/queue/a"})
        here.application.faults[place] = fault
        command, headers = PLACES[place]
        await peer.send(command, headers, "hello" if command == "SEND" else "")
        await here.entered()
        peer.cut()
        await nobody_but_the_bystander(here)
    assert len(errors(caplog)) <= 2, errors(caplog)


@pytest.mark.parametrize("place", ["unsubscribe", "on_unsubscribed", "on_disconnected"])
@pytest.mark.parametrize("fault", ["raise", "cancel"])
@pytest.mark.parametrize("carrier", CARRIERS)
async def test_an_application_that_fails_while_a_client_is_let_go_leaves_nothing_behind(
    carrier: str, fault: str, place: str
) -> None:
    """One failure does not keep the rest from ending."""
    async with stage() as here:
        peer = await here.logged_in(carrier)
        for id in ("1", "2", "3"):
            await peer.ask("SUBSCRIBE", {"id": id, "destination": "/topic/a"})
        await peer.ask("SUBSCRIBE", {"id": "user", "destination": "/user/queue/a"})
        here.application.faults[place] = fault
        peer.cut()
        await nobody_but_the_bystander(here)
        assert here.application.ended


# A server that stops.


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("name", STEPS)
async def test_a_server_that_stops_at_this_step_leaves_nothing_behind(
    name: str, carrier: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody lets go what hangs: the server ends it."""
    async with stage() as here:
        peer = await here.peer(carrier)
        await STEPS[name](here, peer)
        async with asyncio.timeout(4.0):
            await here.endpoint.close()
        assert_nothing_left(here.server)
        assert len(here.listener) == 0
        assert_balanced(here.events)
    assert [text for text in errors(caplog) if "never" in text] == []


@pytest.mark.parametrize("place", ["unsubscribe", "on_unsubscribed", "on_disconnected"])
@pytest.mark.parametrize("carrier", CARRIERS)
async def test_a_server_stops_although_the_application_hangs_in_its_goodbyes(carrier: str, place: str) -> None:
    async with stage(is_told=False) as here:
        peer = await here.logged_in(carrier)
        await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
        here.application.faults[place] = "hang"
        async with asyncio.timeout(4.0):
            await here.endpoint.close()
        assert len(here.listener) == 0
