"""The server as a whole: options, logins, the clock, start and stop, and what is left of clients that go."""

from __future__ import annotations

import asyncio
import datetime
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import sockbridge
from sockbridge.errors import AccessRefused, InvalidOption, UsageError
from sockbridge.sockjs.framing import FRAMED, Close, CloseCode
from sockbridge.stomp.broker.base import MakeMessage
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.connection import StompConnection
from sockbridge.stomp.controllers.mapping import Controller
from sockbridge.stomp.frame import Command, Frame
from sockbridge.stomp.interceptors import Interceptor
from sockbridge.stomp.policy import EVERYBODY, LOGGED_IN, NOBODY, Rule
from sockbridge.stomp.server import TURN, StompServer, _user_of
from sockbridge.stomp.users import Login, User
from tests.fakes import GUARD, serve
from tests.stomp.clients import GONE, Client, assert_nothing_left, hurry, running, turns, wire
from tests.stomp.fakes import RecordingBroker, RecordingCarrier, RecordingEvents

LONG_AGO = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)

CONNECT = {"accept-version": "1.2"}


def make_server(**arguments: Any) -> StompServer:
    return StompServer(arguments.pop("broker", None) or EmbeddedBroker(["/topic", "/queue"]), **arguments)


def returns(value: Any) -> Callable[[Login], Awaitable[Any]]:
    """An ``authenticate`` that knows one answer."""

    async def authenticate(login: Login) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return authenticate


class Door:
    """An ``authenticate`` that waits for the test."""

    def __init__(self) -> None:
        self.entered, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, login: Login) -> str:
        if login.login == "hurry":
            return "hurry"
        self.entered.set()
        await self.open.wait()
        return "ann"


def refusal(client: Client) -> tuple[str, int]:
    """``(message, close code)`` of a client that was refused."""
    (frame,) = client.take()
    assert frame.command is Command.ERROR
    assert client.close is not None
    return frame.headers["message"], client.close.code


# Options.


class Shut:
    def __call__(self, login: Login) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"app_prefixes": "/app"}, "app_prefixes is a list"),
        ({"app_prefixes": ["app"]}, "app_prefixes: a prefix starts with /"),
        ({"app_prefixes": ["/app/*"]}, "no wildcard"),
        ({"app_prefixes": ["/{x}"]}, "no wildcard"),
        ({"app_prefixes": ["/app\0"]}, "no wildcard"),
        ({"app_prefixes": [5]}, "starts with /"),
        ({"app_prefixes": ["/"]}, "would hide"),
        ({"app_prefixes": ["//"]}, "would hide"),
        ({"app_prefixes": ["/topic"]}, "/topic and /topic hides the other"),
        ({"app_prefixes": ["/app", "/topic/app"]}, "/topic/app and /topic hides the other"),
        ({"user_prefix": "user"}, "user_prefix: a prefix starts with /"),
        ({"user_prefix": 5}, "user_prefix"),
        ({"user_prefix": "/queue"}, "/queue and /queue hides the other"),
        ({"authenticate": lambda login: "ann"}, "coroutine function"),
        ({"authenticate": Shut()}, "coroutine function"),
        ({"authenticate": "ann"}, "coroutine function"),
        ({"policy": [5]}, "policy is a list"),
        ({"controllers": Controller()}, "controllers is a list of Controller objects, not <"),
        ({"controllers": [Controller]}, "controllers is a list of Controller objects; <class .* is none"),
        ({"interceptors": [Interceptor]}, "interceptors is a list of Interceptor objects"),
        ({"events": [5]}, "events is a list of Events objects; 5 is none"),
        ({"listeners": [5]}, "listeners is a list of Listener objects"),
        ({"policy": Rule.connect(LOGGED_IN)}, "policy is a list of Rule objects"),
        ({"policy": []}, "policy lets nobody in"),
        ({"policy": [Rule.send("/app/**", LOGGED_IN)]}, "policy lets nobody in"),
        ({"broker": "broker"}, "broker is a broker"),
        ({"nonsense": 1, "more": 2}, "there is no option more, nonsense; .*connect_timeout"),
        ({"max_body_size": 0}, "max_body_size"),
        ({"compat": "summer"}, "compat"),
    ],
)
def test_what_cannot_be_is_refused_at_once_and_the_text_says_what_can(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidOption, match=text):
        make_server(**arguments)


def test_prefixes_that_hide_each_other_are_refused() -> None:
    """What lies under two prefixes reaches one of them only."""
    with pytest.raises(InvalidOption, match="/user"):
        make_server(app_prefixes=["/app", "/user"])
    with pytest.raises(InvalidOption, match="/app"):
        make_server(broker=EmbeddedBroker(["/app/topic"]))


@pytest.mark.parametrize("authenticate", [Door(), returns("ann"), functools.partial(returns("ann")), Door().__call__])
def test_whatever_is_awaited_may_recognize(authenticate: Any) -> None:
    assert make_server(authenticate=authenticate)


def test_an_empty_server_is_one_all_the_same() -> None:
    server = make_server()
    assert (len(server), list(server.connections)) == (0, [])
    assert server


def test_a_large_frame_meets_the_limit_of_stomp_before_that_of_sockjs() -> None:
    server = make_server(max_body_size=10_000_000)
    assert server.defaults["max_message_size"] > 2 * 10_000_000
    assert make_server(max_body_size=1, max_head_size=1).defaults["max_message_size"] >= 256 * 1024


# Logins.


@pytest.mark.parametrize(
    ("recognized", "name"),
    [("ann", "ann"), (User("ann", ["admin"]), "ann"), (type("Principal", (), {"name": "ann"})(), "ann")],
)
async def test_who_is_recognized_is_connected_under_a_name(recognized: object, name: str) -> None:
    server = make_server(authenticate=returns(recognized))
    client = Client(server)
    frame = await client.connect({"login": "ann", "passcode": "secret"})
    assert (frame.command, frame.headers["user-name"], frame.headers["version"]) == (Command.CONNECTED, name, "1.2")
    assert list(server.users) == [name]
    assert list(server.connections) == [client.connection]
    assert (len(server), server.counters.connected) == (1, 1)
    await client.go()
    assert (len(server), server.counters.disconnected) == (0, 1)
    assert_nothing_left(server)


@pytest.mark.parametrize("principal", ["ann", User("ann"), type("Principal", (), {"name": "ann"})()])
async def test_without_authenticate_the_user_is_who_made_the_request(principal: object) -> None:
    client = Client(make_server(), principal=principal)
    assert (await client.connect()).headers["user-name"] == "ann"


async def test_a_guest_is_connected_without_a_name() -> None:
    server = make_server()
    client = Client(server)
    assert "user-name" not in (await client.connect()).headers
    assert (list(server.users), len(server)) == ([], 1)


async def test_authenticate_is_given_the_headers_and_the_request() -> None:
    logins: list[Login] = []

    async def authenticate(login: Login) -> User:
        logins.append(login)
        return User(login.login)

    client = Client(make_server(authenticate=authenticate))
    await client.send("STOMP", {**CONNECT, "login": "ann", "passcode": "a:b\\c", "token": "t"})
    (login,) = logins
    assert (login.login, login.passcode, login.headers["token"]) == ("ann", "a:b\\c", "t")
    assert login.handshake is client.session.handshake


@pytest.mark.parametrize(
    ("answer", "message", "code"),
    [
        (None, "login refused", CloseCode.INTERRUPTED),
        ("", "login refused", CloseCode.INTERRUPTED),
        (AccessRefused("token expired"), "token expired", CloseCode.INTERRUPTED),
        (KeyError("secret"), "internal error", CloseCode.INTERNAL_ERROR),
        (5, "internal error", CloseCode.INTERNAL_ERROR),
        (object(), "internal error", CloseCode.INTERNAL_ERROR),
        (User("ann", expires=1.0), "the login has expired", CloseCode.INTERRUPTED),
        (User("ann", expires=LONG_AGO), "the login has expired", CloseCode.INTERRUPTED),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_who_is_not_recognized_is_told_and_leaves_nothing(
    answer: object, message: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    events = RecordingEvents()
    server = make_server(authenticate=returns(answer), events=[events])
    client = Client(server)
    await client.send("CONNECT", CONNECT)
    assert refusal(client) == (message, code)
    assert (len(server), server.counters.connected, server.counters.faults) == (0, 0, 1)
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == (code == CloseCode.INTERNAL_ERROR)
    await client.go()
    assert events.calls == []
    assert_nothing_left(server)


async def test_the_policy_decides_who_connects_at_all() -> None:
    client = Client(make_server(policy=[Rule.connect(LOGGED_IN)]))
    await client.send("CONNECT", CONNECT)
    assert refusal(client) == ("connecting is not allowed", CloseCode.INTERRUPTED)


async def test_a_version_that_nobody_speaks_is_refused_after_the_login() -> None:
    server = make_server(authenticate=returns("ann"))
    client = Client(server)
    await client.send("CONNECT", {"accept-version": "2.0"})
    (frame,) = client.take()
    assert (frame.headers["message"], frame.headers["version"]) == ("unsupported version", "1.0,1.1,1.2")
    await client.go()
    assert_nothing_left(server)


async def test_frames_behind_a_refused_login_have_no_effect() -> None:
    broker = RecordingBroker("/topic")
    server = make_server(broker=broker, authenticate=returns(None), policy=None, compat="spring")
    client = Client(server)
    octets = wire("CONNECT", CONNECT) + wire("SEND", {"destination": "/topic/a"}, "x")
    await server.receive(client.connection, octets)
    assert refusal(client)[0] == "login refused"
    assert broker.calls == []


async def test_frames_behind_a_login_wait_for_it() -> None:
    door, broker = Door(), RecordingBroker("/topic")
    server = make_server(broker=broker, authenticate=door, compat="spring")
    client = Client(server)
    octets = wire("CONNECT", CONNECT) + wire("SEND", {"destination": "/topic/a"}, "x")
    working = asyncio.create_task(server.receive(client.connection, octets))
    await asyncio.wait_for(door.entered.wait(), GUARD)
    assert broker.calls == []
    door.open.set()
    await working
    assert len(broker.values("publish")) == 1


async def test_a_client_that_goes_while_it_is_looked_at_never_was_there() -> None:
    door, events = Door(), RecordingEvents()
    server = make_server(authenticate=door, events=[events])
    client = Client(server)
    connecting = asyncio.create_task(client.send("CONNECT", CONNECT))
    await asyncio.wait_for(door.entered.wait(), GUARD)
    await client.go()
    door.open.set()
    await connecting
    assert (client.take(), events.calls, server.counters.connected) == ([], [], 0)
    assert_nothing_left(server)


async def test_a_client_whose_carrier_ends_while_it_is_looked_at_is_not_connected() -> None:
    door, events = Door(), RecordingEvents()
    server = make_server(authenticate=door, events=[events])
    client = Client(server)
    connecting = asyncio.create_task(client.send("CONNECT", CONNECT))
    await asyncio.wait_for(door.entered.wait(), GUARD)
    client.session.close(3000, "shutting down")
    door.open.set()
    await connecting
    assert (len(server), events.calls) == (0, [])
    await client.go()
    assert_nothing_left(server)


async def test_an_event_that_outlives_its_client_changes_nothing() -> None:
    class Slow(RecordingEvents):
        def __init__(self) -> None:
            super().__init__()
            self.gate = asyncio.Event()

        async def on_connected(self, connection: StompConnection) -> None:
            await super().on_connected(connection)
            await self.gate.wait()

    slow, second = Slow(), RecordingEvents()
    server = make_server(events=[slow, second], authenticate=returns("ann"))
    client = Client(server)
    octets = wire("CONNECT", CONNECT) + wire("SUBSCRIBE", {"id": "1", "destination": "/topic/a"})
    connecting = asyncio.create_task(server.receive(client.connection, octets))
    await slow.wait_for("on_connected")
    going = asyncio.create_task(client.go())
    await turns()
    slow.gate.set()
    await connecting
    await going
    assert slow.names() == ["on_connected", "on_disconnected"]
    assert second.names() in ([], ["on_connected", "on_disconnected"]), "the end is told to those alone who know"
    assert_nothing_left(server)


# The clock.


def ticking(**arguments: Any) -> AbstractAsyncContextManager[StompServer]:
    """A server that runs and whose clock may tick fast."""
    return running(make_server(heart_beat_min_ms=1, **arguments))


async def test_who_does_not_log_in_in_time_is_told_and_closed() -> None:
    async with ticking(connect_timeout=0.01) as server:
        other = await hurry(server)
        client = Client(server)
        assert (await client.closed()).code == CloseCode.INTERRUPTED
        assert refusal(client)[0] == "no login in time"
        assert other.connection.is_open
        await client.go()
        await other.go()
        assert server.counters.faults == 1
        assert_nothing_left(server)


@pytest.mark.slow
async def test_the_clock_looks_once_a_second_where_nobody_needs_it_more_often() -> None:
    async with running(make_server(connect_timeout=0.01)) as server:
        client = Client(server)
        await client.closed()
        assert refusal(client)[0] == "no login in time"


async def test_an_authenticate_that_hangs_is_cut_off_by_the_same_limit() -> None:
    door, events = Door(), RecordingEvents()
    async with ticking(authenticate=door, connect_timeout=0.01, events=[events]) as server:
        other = await hurry(server)
        client = Client(server)
        connecting = asyncio.create_task(client.send("CONNECT", CONNECT))
        await asyncio.wait_for(door.entered.wait(), GUARD)
        await client.closed()
        assert refusal(client)[0] == "no login in time"
        await client.go()
        door.open.set()
        await connecting
        assert events.names(client.connection) == []
        await other.go()
        assert_nothing_left(server)


@pytest.mark.parametrize("kind", ["a datetime", "seconds"])
async def test_a_login_that_expires_ends_the_connection(kind: str) -> None:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.1)
    user = User("ann", expires=moment if kind == "a datetime" else moment.timestamp())
    async with ticking(authenticate=returns(user)) as server:
        client = await hurry(server)
        await client.subscribe("1", "/topic/a")
        assert (await client.closed()).code == CloseCode.INTERRUPTED
        assert time.time() >= moment.timestamp() - 0.01
        assert client.take()[-1].headers["message"] == "the login has expired"
        await client.go()
        assert_nothing_left(server)


async def test_a_login_that_expires_later_does_not_end_now() -> None:
    async with ticking(authenticate=returns(User("ann", expires=time.time() + 60)), connect_timeout=0.01) as server:
        client, late = await hurry(server), Client(server)
        await late.closed()  # the clock has looked
        assert client.connection.is_open


async def test_one_interceptor_that_fails_does_not_stop_the_clock_for_the_others() -> None:
    class Nonsense(Interceptor):
        def outbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
            return 5 if connection is first.connection else frame  # type: ignore[return-value]  # that is the point

    async with ticking(connect_timeout=0.01, interceptors=[Nonsense()]) as server:
        first = Client(server)
        await hurry(server)
        await first.closed()
        second = Client(server)
        await second.closed()
        assert refusal(second)[0] == "no login in time"


async def test_one_carrier_that_fails_does_not_stop_the_clock_for_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class BrokenCarrier(RecordingCarrier):
        def close(self, code: int = 0, reason: str = "") -> None:
            raise OSError("not connected")

    async with ticking(connect_timeout=0.01) as server:
        await hurry(server)
        broken = BrokenCarrier()
        server.attach(broken)
        client = Client(server)
        await client.closed()
        assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1, "logged once"
        await server.release(broken, GONE)


async def test_heart_beats_of_stomp_replace_those_of_sockjs_only_where_both_sides_promise_them() -> None:
    async with running(make_server()) as server:
        for header, has_heartbeat in [
            ("10000,10000", False),
            ("50000,50000", False),  # a beat after half of it, and heartbeat_delay is 25
            ("52000,52000", True),
            ("0,10000", True),
            ("10000,0", True),
            ("0,0", True),
        ]:
            client = Client(server, framing=FRAMED)
            await client.send("CONNECT", {**CONNECT, "heart-beat": header})
            assert client.session.has_heartbeat is has_heartbeat, header


async def test_the_clock_ticks_for_the_shortest_heart_beat() -> None:
    async with ticking() as server:
        fast, slow = await hurry(server), Client(server)
        await slow.connect({"heart-beat": "0,60000"})
        beats = 0
        async with asyncio.timeout(GUARD):
            while beats < 2:
                await fast.stirred()
                beats += fast.session.take_frame(65536) == b"\n"
        assert slow.session.take_frame(65536) is None


# Start and stop.


class RecordingListener:
    """Another way in that writes down what it is told.

    Attributes:
        calls: what it was told, in order; shared with others.
    """

    def __init__(self, name: str, calls: list[str], *, fails: bool = False) -> None:
        self.name, self.calls, self.fails = name, calls, fails

    async def start(self, server: StompServer) -> None:
        self.calls.append(f"start {self.name}")
        if self.fails:
            raise OSError("address in use")

    async def stop(self) -> None:
        self.calls.append(f"stop {self.name}")


async def test_mounted_twice_a_server_starts_once_and_stops_with_the_last() -> None:
    broker, calls = RecordingBroker("/topic"), list[str]()
    server = make_server(broker=broker, listeners=[RecordingListener("a", calls), RecordingListener("b", calls)])
    await server.on_start()
    await server.on_start()
    assert (broker.calls, calls) == ([("start", None)], ["start a", "start b"])
    await server.on_stop()
    assert len(calls) == 2
    await server.on_stop()
    assert broker.calls == [("start", None), ("stop", None)]
    assert sorted(calls[2:]) == ["stop a", "stop b"]
    async with running(server):
        assert broker.calls[2:] == [("start", None)]
    assert broker.calls[3:] == [("stop", None)]


@pytest.mark.parametrize(("authenticate", "warnings"), [(None, 1), (returns("ann"), 0)])
async def test_who_lets_everybody_in_by_a_listener_is_warned(
    authenticate: Any, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(make_server(authenticate=authenticate, listeners=[RecordingListener("a", [])])):
        assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == warnings


async def test_a_listener_that_cannot_start_leaves_nothing_running() -> None:
    broker, calls = RecordingBroker("/topic"), list[str]()
    listeners = [
        RecordingListener("a", calls),
        RecordingListener("b", calls, fails=True),
        RecordingListener("c", calls),
    ]
    server = make_server(broker=broker, listeners=listeners)
    with pytest.raises(OSError, match="address in use"):
        await server.on_start()
    assert broker.calls == [("start", None), ("stop", None)]
    assert "stop a" in calls
    assert "start c" not in calls
    assert server._timer is None


async def test_a_broker_that_cannot_start_leaves_nothing_running() -> None:
    class Broken(RecordingBroker):
        async def start(self, make_message: MakeMessage) -> None:
            await super().start(make_message)
            raise OSError("no network")

    calls = list[str]()
    broker = Broken("/topic")
    server = make_server(broker=broker, listeners=[RecordingListener("a", calls)])
    for _ in range(2):  # a second try is possible
        with pytest.raises(OSError, match="no network"):
            await server.on_start()
    assert broker.calls == [("start", None)] * 2, "what has not started is not stopped"
    assert "start a" not in calls
    assert server._timer is None


async def test_a_second_server_around_a_running_broker_leaves_it_alone() -> None:
    broker = EmbeddedBroker(queues=["/queue"], durable_grace=300)
    async with running(make_server(broker=broker)) as first:
        await first.messaging.send("/queue/jobs", "a")
        second = make_server(broker=broker)
        for _ in range(2):
            with pytest.raises(UsageError, match="belongs to one server"):
                await second.on_start()
        assert (len(broker.queues["/queue/jobs"]), broker._timer is None) == (1, False)
        assert second._timer is None
    await second.on_start()
    await second.on_stop()
    assert (len(broker.queues), broker._timer) == (0, None)


async def test_a_server_that_stops_ends_what_runs_beside_its_connections() -> None:
    controller, cancelled = Controller(), asyncio.Event()

    @controller.message_mapping("/hang", concurrent=True)
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    server = make_server(controllers=[controller])
    await server.on_start()
    client = Client(server)
    await client.connect()
    await client.publish("/app/hang")
    await turns()
    await client.go()
    await server.on_stop()
    assert cancelled.is_set()
    assert_nothing_left(server)


# For the application.


async def test_a_user_is_thrown_out_of_every_connection() -> None:
    server = make_server()
    tabs, other = [Client(server, principal="ann") for _ in range(2)], Client(server, principal="bob")
    for client in (*tabs, other):
        await client.connect()
    assert server.users.disconnect("ann", 4000, "bye") == 2
    assert server.users.disconnect("nobody") == 0
    assert [client.close for client in tabs] == [Close(4000, "bye")] * 2
    assert other.close is None
    await tabs[0].publish("/topic/a", "late")
    for client in (*tabs, other):
        await client.go()
    assert_nothing_left(server)


async def test_connections_may_be_closed_while_they_are_looked_at() -> None:
    server = make_server()
    clients = [Client(server) for _ in range(3)]
    for client in clients:
        await client.connect()
    for connection in server.connections:
        connection.close()
    for client in clients:
        await client.go()
    assert_nothing_left(server)


async def test_a_subscription_can_be_taken_away() -> None:
    events = RecordingEvents()
    server = make_server(events=[events])
    client = Client(server)
    await client.connect()
    await client.subscribe("1", "/topic/a")
    await client.subscribe("2", "/topic/a")
    assert await server.unsubscribe(client.connection, "1") is True
    assert await server.unsubscribe(client.connection, "1") is False
    await server.messaging.send("/topic/a", "x")
    assert [frame.headers["subscription"] for frame in client.take()] == ["2"]
    assert events.names() == ["on_connected", "on_subscribed", "on_subscribed", "on_unsubscribed"]
    await client.go()
    assert_nothing_left(server)


# For the endpoint.


async def test_a_message_after_the_end_of_its_session_is_passed_over() -> None:
    server = make_server()
    client = Client(server)
    await client.connect()
    await client.go()
    await server.on_message(client.session, "SEND\ndestination:/topic/a\n\n\0")
    await server.on_closed(client.session, GONE)
    assert_nothing_left(server)


async def test_a_client_that_talks_in_octets_is_answered_in_octets() -> None:
    server = make_server()
    client = Client(server)
    await server.on_message(client.session, wire("CONNECT", CONNECT))
    assert client.connection.dialect.is_binary
    assert client.take()[0].command is Command.CONNECTED


async def test_text_may_come_in_any_pieces() -> None:
    server = make_server()
    client = Client(server)
    await server.on_connected(client.session)
    for character in wire("CONNECT", CONNECT).decode():
        await server.on_message(client.session, character)
    assert client.take()[0].command is Command.CONNECTED


async def test_many_frames_in_one_message_let_others_have_their_turn() -> None:
    controller = Controller()

    @controller.message_mapping("/work")
    def work() -> None:
        end = time.perf_counter() + 1.2 * TURN
        while time.perf_counter() < end:
            pass

    server = make_server(controllers=[controller])
    client = Client(server)
    await client.connect()
    working = asyncio.create_task(server.receive(client.connection, wire("SEND", {"destination": "/app/work"}) * 5))
    others = 0
    while not working.done():
        await asyncio.sleep(0)
        others += 1
    assert others >= 5


async def test_what_is_no_stomp_ends_that_connection_alone() -> None:
    server = make_server()
    client, other = Client(server), Client(server)
    await other.connect()
    await server.on_message(client.session, "GET / HTTP/1.1\r\n\r\n")
    assert refusal(client)[0] == "unknown command"
    assert other.connection.is_open


async def test_clients_that_go_at_every_step_leave_nothing_behind() -> None:
    """Killed after each of the first octets, and after each frame of a whole conversation."""
    gate, controller = asyncio.Event(), Controller()

    @controller.subscribe_mapping("/a", concurrent=True)
    async def wait() -> None:
        await gate.wait()

    broker = EmbeddedBroker()
    server = make_server(broker=broker, controllers=[controller], compat="spring")
    frames = [
        wire("CONNECT", CONNECT),
        wire("SUBSCRIBE", {"id": "1", "destination": "/topic/**", "ack": "client"}),
        wire("SUBSCRIBE", {"id": "2", "destination": "/user/queue/a"}),
        wire("SUBSCRIBE", {"id": "3", "destination": "/app/a"}),
        wire("BEGIN", {"transaction": "t"}),
        wire("SEND", {"destination": "/topic/a", "transaction": "t"}, "x"),
        wire("SEND", {"destination": "/topic/a"}, "y"),
        wire("COMMIT", {"transaction": "t"}),
        wire("DISCONNECT", {"receipt": "r"}),
    ]
    octets = b"".join(frames)
    for length in range(0, len(octets) + 1, 7):
        client = Client(server, principal="ann")
        await server.on_message(client.session, octets[:length])
        await client.go()
    gate.set()
    await turns()
    assert_nothing_left(server)
    assert server.counters.connected == server.counters.disconnected


async def test_it_is_mounted_like_any_handler_and_speaks_the_subprotocols_of_stomp() -> None:
    """In production's own runner: a plain websocket at the mounted URL."""
    events = RecordingEvents()
    server = make_server(events=[events], max_body_size=500_000)
    app = web.Application()
    sockbridge.mount(app, "/ws", server)
    async with serve(app) as url, aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{url}/ws/websocket", protocols=["v11.stomp", "v12.stomp"]) as websocket:
            assert websocket.protocol == "v11.stomp"
            await websocket.send_str(wire("CONNECT", CONNECT).decode())
            connected = await websocket.receive_str(timeout=GUARD)
            assert connected.startswith("CONNECTED\nversion:1.2\n")
            await websocket.send_str(wire("SUBSCRIBE", {"id": "1", "destination": "/topic/a", "receipt": "r"}).decode())
            assert (await websocket.receive_str(timeout=GUARD)).startswith("RECEIPT\nreceipt-id:r\n")
            await server.messaging.send("/topic/a", "x" * 400_000)
            assert len(await websocket.receive_str(timeout=GUARD)) > 400_000
        await events.wait_for("on_disconnected")
        assert_nothing_left(server)


def test_a_principal_without_a_name_is_a_mistake_of_the_application() -> None:
    with pytest.raises(UsageError, match="authenticate returns a User, a name, or an object with a name; not 5"):
        _user_of(5)


async def test_a_listener_that_fails_to_stop_holds_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Listening:
        def __init__(self, *, fails: bool) -> None:
            self.fails = fails
            self.is_stopped = False

        async def start(self, server: StompServer) -> None: ...

        async def stop(self) -> None:
            self.is_stopped = True
            if self.fails:
                raise OSError("cannot stop")

    broken, sound = Listening(fails=True), Listening(fails=False)
    broker = RecordingBroker()
    async with StompServer(broker, listeners=[broken, sound]) as server:
        assert server is not None
    assert broken.is_stopped
    assert sound.is_stopped
    assert [name for name, _ in broker.calls] == ["start", "stop"]
    assert "failed to stop" in caplog.text


def test_a_rule_without_a_slash_guards_nothing_and_is_refused() -> None:
    with pytest.raises(InvalidOption, match="starts with /"):
        StompServer(EmbeddedBroker(), policy=[Rule.connect(EVERYBODY), Rule.subscribe("topic/secret", NOBODY)])
