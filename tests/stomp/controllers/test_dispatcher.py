"""From a destination to a function, and from what it returns or raises to whoever is to get it."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest

from sockbridge.errors import (
    AccessRefused,
    HandlerFailed,
    InvalidController,
    PayloadInvalid,
    SessionClosed,
    UnknownDestination,
)
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.connection import StompConnection
from sockbridge.stomp.controllers.arguments import Header, Variable
from sockbridge.stomp.controllers.dispatcher import Dispatcher, Found, join
from sockbridge.stomp.controllers.mapping import Controller, Reply
from sockbridge.stomp.counters import StompCounters
from sockbridge.stomp.destinations import Pattern
from sockbridge.stomp.messaging import Messaging
from sockbridge.stomp.payloads import Payloads
from sockbridge.stomp.registry import UserRegistry
from sockbridge.stomp.subscription import Subscription
from sockbridge.stomp.tasks import Tasks
from sockbridge.stomp.users import User
from tests.fakes import GUARD
from tests.stomp.clients import turns
from tests.stomp.fakes import RecordingCarrier, login, make_frame

LOGGER = "sockbridge.stomp"


class World:
    """A dispatcher and the real rooms around it; connections without sockets.

    Attributes:
        asked: the calls that were made, in order; functions of tests write here.
    """

    def __init__(
        self,
        *controllers: Controller,
        separator: str = "/",
        topics: tuple[str, ...] = ("/topic", "/queue"),
        max_tasks: int = 64,
        error_message: Callable[[Exception], str] | None = None,
    ) -> None:
        self.broker = EmbeddedBroker(topics, separator=separator)
        self.users = UserRegistry()
        self.counters = StompCounters()
        self.tasks = Tasks(max_tasks)
        payloads = Payloads()
        messaging = Messaging(self.broker, self.users, payloads, "/user")
        self.dispatcher = Dispatcher(
            controllers, payloads, messaging, self.broker, self.tasks, self.counters, error_message
        )
        self._ids = 0

    def login(self, user: str | None = None) -> tuple[StompConnection, RecordingCarrier]:
        self._ids += 1
        connection, carrier = login(user=user, id=f"c{self._ids}")
        self.users.add(connection)
        return connection, carrier

    async def listen(self, destination: str = "/topic/**", user: str | None = None) -> RecordingCarrier:
        """Somebody who has subscribed to ``destination``."""
        connection, carrier = self.login(user)
        await self.broker.subscribe(self._subscribe(connection, destination))
        return carrier

    def listen_as_user(self, connection: StompConnection, destination: str) -> None:
        self.users.subscribe(connection, self._subscribe(connection, destination))

    def _subscribe(self, connection: StompConnection, destination: str) -> Subscription:
        frame = make_frame("SUBSCRIBE", destination=destination, id=f"s{len(connection.subscriptions)}")
        return connection.subscribe(frame, Pattern(destination, self.broker.separator))

    async def send(
        self, path: str, body: bytes = b"", connection: StompConnection | None = None, **headers: str
    ) -> Found:
        """Somebody SENDs to ``/app`` + ``path``."""
        connection = connection or self.login()[0]
        frame = make_frame("SEND", body, destination=f"/app{path}", **headers)
        found = self.dispatcher.find_message(connection, frame, path)
        await self.dispatcher.run(found)
        return found

    async def ask(self, path: str, connection: StompConnection) -> Subscription:
        """``connection`` SUBSCRIBEs to ``/app`` + ``path``."""
        subscription = self._subscribe(connection, f"/app{path}")
        frame = make_frame("SUBSCRIBE", destination=f"/app{path}", id=str(subscription.id))
        await self.dispatcher.run(self.dispatcher.find_subscribe(connection, frame, path), subscription)
        return subscription


def got(carrier: RecordingCarrier) -> list[tuple[str, str]]:
    """``(destination, body)`` of what has come since the last call."""
    return [(frame.destination, frame.body.decode()) for frame in carrier.take()]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)


# Which function.


async def test_the_function_whose_mapping_says_it_most_closely_is_called() -> None:
    controller, called = Controller(), []

    def serve(destination: str) -> None:
        @controller.message_mapping(destination)
        async def function() -> None:
            called.append(destination)

    mappings = ["/**", "/rooms/**", "/rooms/*", "/rooms/{room}", "/rooms/a*", "/rooms/all", "/rooms/{room}/say"]
    for destination in mappings:
        serve(destination)
    world = World(controller)
    for path in ["/", "/x/y", "/rooms/x/y", "/rooms/x", "/rooms/ab", "/rooms/all", "/rooms/x/say"]:
        await world.send(path)
    assert called == [
        "/**", "/**", "/rooms/**", "/rooms/{room}", "/rooms/a*", "/rooms/all", "/rooms/{room}/say",
    ]  # fmt: skip


async def test_one_function_may_serve_several_destinations_and_both_commands() -> None:
    controller, called = Controller(), []

    @controller.subscribe_mapping("/c")
    @controller.message_mapping("/a", "/b")
    async def function() -> None:
        called.append(1)

    world = World(controller)
    await world.send("/a")
    await world.send("/b")
    await world.ask("/c", world.login()[0])
    assert len(called) == 3
    with pytest.raises(UnknownDestination, match="nobody serves SEND to '/app/c'"):
        await world.send("/c")
    with pytest.raises(UnknownDestination, match="nobody serves SUBSCRIBE to '/app/a'"):
        await world.ask("/a", world.login()[0])


async def test_a_long_unknown_destination_is_cut_in_the_text() -> None:
    with pytest.raises(UnknownDestination) as raised:
        await World().send("/" + "x" * 900)
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize(
    ("prefix", "destination", "separator", "joined"),
    [
        ("", "/a", "/", "/a"),
        ("", "a", "/", "/a"),
        ("", "", "/", "/"),
        ("/chat", "/a", "/", "/chat/a"),
        ("/chat", "a", "/", "/chat/a"),
        ("/chat/", "/a", "/", "/chat/a"),
        ("chat", "a", "/", "/chat/a"),
        ("/chat", "", "/", "/chat"),
        ("/chat", "a.{b}", ".", "/chat.a.{b}"),
        ("/chat.", "a", ".", "/chat.a"),
        ("/chat", ".a", ".", "/chat.a"),
    ],
)
def test_a_prefix_and_a_destination_are_joined_by_one_separator(
    prefix: str, destination: str, separator: str, joined: str
) -> None:
    assert join(prefix, destination, separator) == joined


async def test_dots_may_separate_segments() -> None:
    controller = Controller("/chat")

    @controller.message_mapping("{room}.say", send_to="/topic/chat.{room}")
    async def say(room: str, text: str) -> str:
        return f"{room}: {text}"

    world = World(controller, separator=".")
    carrier = await world.listen("/topic/chat.*")
    await world.send("/chat.a/b.say", b"hi")
    assert got(carrier) == [("/topic/chat.a/b", "a/b: hi")]


# What is refused at the start.


async def nothing() -> None: ...
def two(first: str, second: str) -> None: ...


def refuse_no_controller() -> Iterator[Any]:
    yield Controller


def refuse_taken() -> Iterator[Controller]:
    controller = Controller("/rooms")
    controller.message_mapping("/{room}")(nothing)
    controller.message_mapping("/{place}")(nothing)
    yield controller


def refuse_taken_by_another() -> Iterator[Controller]:
    for prefix, destination in (("/rooms", "/a"), ("", "/rooms/a")):
        controller = Controller(prefix)
        controller.subscribe_mapping(destination)(nothing)
        yield controller


def refuse_taken_exception() -> Iterator[Controller]:
    controller = Controller()
    controller.exception_handler(ValueError)(nothing)
    controller.exception_handler(KeyError, ValueError)(nothing)
    yield controller


def refuse_taken_everywhere() -> Iterator[Controller]:
    for _ in range(2):
        controller = Controller()
        controller.exception_handler(ValueError, everywhere=True)(nothing)
        yield controller


def refuse_no_pattern() -> Iterator[Controller]:
    controller = Controller()
    controller.message_mapping("/{a b}")(nothing)
    yield controller


def refuse_twice_the_same_variable() -> Iterator[Controller]:
    controller = Controller("/{room}")
    controller.message_mapping("/{room}")(nothing)
    yield controller


def refuse_target_of_nobody() -> Iterator[Controller]:
    controller = Controller()
    controller.message_mapping("/a", send_to="/elsewhere/a")(nothing)
    yield controller


def refuse_target_of_nobody_of_exception() -> Iterator[Controller]:
    controller = Controller()
    controller.exception_handler(ValueError, send_to="/elsewhere/a")(nothing)
    yield controller


def refuse_unknown_variable() -> Iterator[Controller]:
    controller = Controller()
    controller.message_mapping("/{room}", send_to="/topic/{place}")(nothing)
    yield controller


def refuse_unknown_variable_for_users() -> Iterator[Controller]:
    controller = Controller()
    controller.message_mapping("/{room}", send_to_user="/queue/{place}")(nothing)
    yield controller


def refuse_default_target_of_nobody() -> Iterator[Controller]:
    controller = Controller()

    @controller.message_mapping("/a")
    async def function() -> str:
        return "hi"

    yield controller


def refuse_signature() -> Iterator[Controller]:
    controller = Controller()
    controller.message_mapping("/a")(two)
    yield controller


@pytest.mark.parametrize(
    ("controllers", "text"),
    [
        (refuse_no_controller, "list of Controller objects"),
        (refuse_taken, "test_dispatcher.nothing: .*test_dispatcher.nothing serves '/rooms/{place}' already"),
        (refuse_taken_by_another, "serves '/rooms/a' already"),
        (refuse_taken_exception, "serves ValueError already"),
        (refuse_taken_everywhere, "serves ValueError already"),
        (refuse_no_pattern, "test_dispatcher.nothing: .*a b"),
        (refuse_twice_the_same_variable, "test_dispatcher.nothing: .*twice"),
        (refuse_target_of_nobody, "test_dispatcher.nothing: the broker does not serve send_to='/elsewhere/a'"),
        (refuse_target_of_nobody_of_exception, "the broker does not serve send_to='/elsewhere/a'"),
        (refuse_unknown_variable, "test_dispatcher.nothing: '/topic/{place}' names {place}, which the destination"),
        (refuse_unknown_variable_for_users, "'/queue/{place}' names {place}"),
        (refuse_signature, "test_dispatcher.two: parameter 'second'"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_cannot_be_served_is_refused_at_the_start_by_name(
    controllers: Callable[[], Iterator[Controller]], text: str
) -> None:
    with pytest.raises(InvalidController, match=text):
        World(*controllers())


def test_without_a_default_target_a_function_that_returns_something_says_where_to() -> None:
    with pytest.raises(InvalidController, match="function: say send_to=, since the broker does not serve /topic"):
        World(*refuse_default_target_of_nobody(), topics=("/queue",))
    controller = Controller()
    controller.message_mapping("/a")(nothing)
    controller.message_mapping("/b", send_to="/queue/b")(lambda: "hi")
    controller.message_mapping("/c", send_to_user=True)(lambda: "hi")
    controller.subscribe_mapping("/d")(lambda: "hi")
    World(controller, topics=("/queue",))


def test_the_same_destination_may_be_mapped_for_both_commands_and_in_other_shapes() -> None:
    controller = Controller()
    controller.message_mapping("/{a}")(nothing)
    controller.subscribe_mapping("/{a}")(nothing)
    controller.message_mapping("/*")(nothing)
    controller.message_mapping("/{a}/{b}")(nothing)
    other = Controller()
    controller.exception_handler(ValueError)(nothing)
    other.exception_handler(ValueError)(nothing)
    other.exception_handler(ValueError, everywhere=True)(nothing)
    World(controller, other)


# Where results go.


async def test_without_a_target_a_result_goes_to_topic_and_the_destination() -> None:
    controller = Controller()

    @controller.message_mapping("/rooms/{room}")
    async def say(room: str, text: str) -> dict[str, str]:
        return {room: text}

    world = World(controller)
    carrier = await world.listen()
    await world.send("/rooms/a", b"hi")
    (frame,) = carrier.take()
    assert (frame.destination, frame.body) == ("/topic/rooms/a", b'{"a":"hi"}')
    assert frame.headers["content-type"] == "application/json"


async def test_a_result_goes_to_every_target_with_its_variables_filled_in() -> None:
    controller = Controller()

    @controller.message_mapping("/{room}/{who}", send_to=["/topic/{room}", "/queue/{room}.{who}"])
    async def say(text: str) -> str:
        return text

    world = World(controller)
    topics, queues = await world.listen("/topic/**"), await world.listen("/queue/**")
    await world.send("/a/ann", b"hi")
    assert (got(topics), got(queues)) == ([("/topic/a", "hi")], [("/queue/a.ann", "hi")])


async def test_a_value_with_braces_is_not_expanded_again() -> None:
    controller = Controller()

    @controller.message_mapping("/{room}/{who}", send_to="/topic/{room}.{who}")
    async def say() -> str:
        return "hi"

    world = World(controller)
    carrier = await world.listen()
    await world.send("/{who}/ann")
    assert got(carrier) == [("/topic/{who}.ann", "hi")]


async def test_none_sends_nothing() -> None:
    controller = Controller()

    @controller.message_mapping("/a", send_to="/topic/a", send_to_user=True)
    @controller.subscribe_mapping("/a")
    def function() -> None: ...

    world = World(controller)
    topic = await world.listen()
    connection, carrier = world.login("ann")
    world.listen_as_user(connection, "/user/queue/a")
    await world.send("/a", connection=connection)
    await world.ask("/a", connection)
    assert (got(topic), got(carrier)) == ([], [])


async def test_a_plain_function_serves_as_well() -> None:
    controller = Controller()

    @controller.message_mapping("/a")
    def function(text: str) -> str:
        return text

    world = World(controller)
    carrier = await world.listen()
    await world.send("/a", b"hi")
    assert got(carrier) == [("/topic/a", "hi")]


async def test_a_reply_brings_headers() -> None:
    controller = Controller()

    @controller.message_mapping("/a", send_to_user="/queue/a", send_to="/topic/a")
    @controller.subscribe_mapping("/a")
    async def function() -> Reply:
        return Reply("hi", {"x": "1:2", "content-type": "text/markdown"})

    world = World(controller)
    topic = await world.listen()
    connection, carrier = world.login("ann")
    world.listen_as_user(connection, "/user/queue/a")
    await world.send("/a", connection=connection)
    await world.ask("/a", connection)
    for frame in (*topic.take(), *carrier.take()):
        assert (frame.body, frame.headers["x"], frame.headers["content-type"]) == (b"hi", "1:2", "text/markdown")


async def test_a_reply_cannot_set_headers_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    controller = Controller()

    @controller.message_mapping("/a")
    async def function() -> Reply:
        return Reply("hi", {"subscription": "1"})

    world = World(controller)
    carrier = await world.listen()
    with pytest.raises(HandlerFailed):
        await world.send("/a")
    assert got(carrier) == []
    assert len(errors(caplog)) == 1


async def test_a_result_that_cannot_be_written_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    controller = Controller()

    @controller.message_mapping("/a")
    async def function() -> object:
        return object()

    with pytest.raises(HandlerFailed):
        await World(controller).send("/a")
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize(("broadcast", "tabs"), [(True, ["one", "two"]), (False, ["one"])])
async def test_a_users_result_reaches_all_tabs_or_the_asking_one(broadcast: bool, tabs: list[str]) -> None:
    controller = Controller()

    @controller.message_mapping("/a", send_to_user="/queue/me", broadcast=broadcast)
    async def function() -> str:
        return "hi"

    world = World(controller)
    carriers = {}
    for tab, user in [("one", "ann"), ("two", "ann"), ("other", "bob"), ("guest", None)]:
        connection, carriers[tab] = world.login(user)
        world.listen_as_user(connection, "/user/queue/me")
        if tab == "one":
            asking = connection
    everybody = await world.listen("/**")
    await world.send("/a", connection=asking)
    assert [tab for tab, carrier in carriers.items() if got(carrier) == [("/user/queue/me", "hi")]] == tabs
    assert got(everybody) == []


@pytest.mark.parametrize("broadcast", [True, False])
async def test_a_guests_result_reaches_the_guest_alone(broadcast: bool) -> None:
    controller = Controller()

    @controller.message_mapping("/{x}", send_to_user=["/queue/{x}", "/queue/all"], broadcast=broadcast)
    async def function() -> str:
        return "hi"

    world = World(controller)
    (one, asking), (two, other) = world.login(), world.login()
    for connection in (one, two):
        world.listen_as_user(connection, "/user/queue/a")
        world.listen_as_user(connection, "/user/queue/all")
    await world.send("/a", connection=one)
    assert (got(asking), got(other)) == ([("/user/queue/a", "hi"), ("/user/queue/all", "hi")], [])


async def test_the_default_queue_of_a_user_has_the_name_of_the_destination() -> None:
    controller = Controller("/chat")

    @controller.message_mapping("/{room}", send_to_user=True)
    async def function() -> str:
        return "hi"

    world = World(controller)
    connection, carrier = world.login("ann")
    world.listen_as_user(connection, "/user/queue/chat/a")
    await world.send("/chat/a", connection=connection)
    assert got(carrier) == [("/user/queue/chat/a", "hi")]


async def test_the_answer_to_a_subscription_goes_to_it_alone_under_the_requested_destination() -> None:
    controller = Controller()

    @controller.subscribe_mapping("/init/{x}")
    async def init(x: int) -> int:
        return x

    world = World(controller)
    topic = await world.listen("/**")
    connection, carrier = world.login()
    await world.ask("/init/1", connection)
    second = await world.ask("/init/42", connection)
    first_frame, frame = carrier.take()
    assert (frame.destination, frame.body, frame.headers["subscription"]) == ("/app/init/42", b"42", second.id)
    assert first_frame.body == b"1"
    assert got(topic) == []


async def test_a_subscription_with_a_target_is_not_answered_itself() -> None:
    controller = Controller()

    @controller.subscribe_mapping("/a", send_to="/topic/joined")
    async def joined() -> str:
        return "hi"

    world = World(controller)
    topic = await world.listen()
    connection, carrier = world.login()
    await world.ask("/a", connection)
    assert (got(topic), got(carrier)) == ([("/topic/joined", "hi")], [])


async def test_an_answer_comes_too_late_for_a_subscription_that_has_ended() -> None:
    controller = Controller()

    @controller.subscribe_mapping("/a")
    async def slow(connection: StompConnection) -> str:
        connection.unsubscribe("s0")
        return "hi"

    world = World(controller)
    connection, carrier = world.login()
    await world.ask("/a", connection)
    assert got(carrier) == []


async def test_an_answer_is_not_given_to_another_subscription_of_the_same_id() -> None:
    controller = Controller()

    @controller.subscribe_mapping("/a")
    async def slow(connection: StompConnection) -> str:
        connection.unsubscribe("s0")
        world._subscribe(connection, "/topic/b")
        return "hi"

    world = World(controller)
    connection, carrier = world.login()
    await world.ask("/a", connection)
    assert got(carrier) == []


# Streams.


class Source:
    """A function that streams what the test puts in.

    Attributes:
        ended: how often a stream has ended.
    """

    def __init__(self) -> None:
        self.values: asyncio.Queue[Any] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.waits = asyncio.Event()

    async def __call__(self) -> AsyncIterator[Any]:
        try:
            while True:
                if self.values.empty():
                    self.waits.set()
                value = await self.values.get()
                if isinstance(value, Exception):
                    raise value
                if value == "end":
                    return
                yield value
        finally:
            self.ended.set()

    async def emit(self, *values: Any) -> None:
        """Give out ``values``; returns when all are taken."""
        self.waits.clear()
        for value in values:
            self.values.put_nowait(value)
        await asyncio.wait_for(self.waits.wait(), GUARD)

    async def end(self, value: Any = "end") -> None:
        self.values.put_nowait(value)
        await asyncio.wait_for(self.ended.wait(), GUARD)


def streaming(source: Callable[..., Any], **arguments: Any) -> Controller:
    controller = Controller()
    controller.subscribe_mapping("/stream", **arguments)(source)
    controller.message_mapping("/stream", **arguments)(source)
    return controller


async def finished(world: World) -> None:
    """Until no task of the dispatcher is left."""
    async with asyncio.timeout(GUARD):
        while len(world.tasks):
            await asyncio.sleep(0)


async def test_each_value_of_a_stream_is_sent_as_it_comes_and_none_is_left_out() -> None:
    source = Source()
    world = World(streaming(source))
    connection, carrier = world.login()
    await world.ask("/stream", connection)
    await source.emit("a", {"n": 1})
    assert got(carrier) == [("/app/stream", "a"), ("/app/stream", '{"n":1}')]
    await source.emit(None, Reply("b", {"x": "1"}))
    (frame,) = carrier.take()
    assert (frame.body, frame.headers["x"]) == (b"b", "1")
    await source.end()
    await finished(world)


async def test_a_stream_that_a_send_has_started_goes_to_the_targets() -> None:
    source = Source()
    world = World(streaming(source, send_to="/topic/s"))
    topic = await world.listen()
    await world.send("/stream")
    await source.emit("a", "b")
    assert got(topic) == [("/topic/s", "a"), ("/topic/s", "b")]
    await source.end()
    await finished(world)


async def test_a_coroutine_may_return_a_stream_and_an_iterator_need_not_be_a_generator() -> None:
    class Numbers:
        def __init__(self) -> None:
            self.last = 0

        def __aiter__(self) -> Numbers:
            return self

        async def __anext__(self) -> int:
            self.last += 1
            if self.last > 3:
                raise StopAsyncIteration
            return self.last

    async def function() -> AsyncIterator[int]:
        return Numbers()

    world = World(streaming(function))
    connection, carrier = world.login()
    await world.ask("/stream", connection)
    await finished(world)
    assert [body for _, body in got(carrier)] == ["1", "2", "3"]


async def test_a_stream_ends_with_its_subscription_and_its_cleaning_up_is_done() -> None:
    source, other = Source(), Source()
    controller = streaming(source)
    controller.subscribe_mapping("/other")(other)
    world = World(controller)
    connection, carrier = world.login()
    subscription = await world.ask("/stream", connection)
    await world.ask("/other", connection)
    await source.emit("a")
    connection.unsubscribe(subscription.key)
    world.tasks.cancel_streams(connection, subscription)
    await asyncio.wait_for(source.ended.wait(), GUARD)
    await other.emit("b")
    assert [body for _, body in got(carrier)] == ["a", "b"]
    assert not other.ended.is_set()
    world.tasks.cancel_streams(connection)
    await finished(world)
    assert other.ended.is_set()


async def test_a_stream_is_as_fast_as_the_one_who_asked_takes_it() -> None:
    class SlowCarrier(RecordingCarrier):
        def __init__(self) -> None:
            super().__init__()
            self.drained = asyncio.Semaphore(0)

        async def drain(self) -> None:
            await self.drained.acquire()

    given: list[int] = []

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            given.append(number)
            yield number

    world = World(streaming(numbers))
    connection, _ = world.login()
    slow = SlowCarrier()
    connection.carrier = slow
    await world.ask("/stream", connection)
    for count in range(1, 4):
        await turns()
        assert len(given) == count
        slow.drained.release()
    await finished(world)


async def test_a_stream_ends_when_its_client_has_gone(caplog: pytest.LogCaptureFixture) -> None:
    class LostCarrier(RecordingCarrier):
        async def drain(self) -> None:
            connection.on_lost()
            raise SessionClosed(1006, "gone")

    source = Source()
    world = World(streaming(source))
    connection, _ = world.login()
    connection.carrier = LostCarrier()
    await world.ask("/stream", connection)
    source.values.put_nowait("a")
    await asyncio.wait_for(source.ended.wait(), GUARD)
    await finished(world)
    assert errors(caplog) == []
    assert world.counters.unserved == 0


async def test_one_connection_has_a_limited_number_of_streams(caplog: pytest.LogCaptureFixture) -> None:
    source = Source()
    world = World(streaming(source), max_tasks=2)
    connection, _ = world.login()
    for _ in range(2):
        await world.ask("/stream", connection)
    with pytest.raises(PayloadInvalid, match="too many streams"):
        await world.ask("/stream", connection)
    other, _ = world.login()
    await world.ask("/stream", other)
    world.tasks.cancel_streams(connection)
    world.tasks.cancel_streams(other)
    await finished(world)
    assert errors(caplog) == []


async def test_a_stream_is_not_begun_for_a_client_that_has_gone_meanwhile() -> None:
    begun = asyncio.Event()
    closed = asyncio.Event()

    class Values:
        def __aiter__(self) -> Values:
            return self

        async def __anext__(self) -> str:
            begun.set()
            return "a"

        async def aclose(self) -> None:
            closed.set()

    async def function(connection: StompConnection) -> AsyncIterator[str]:
        connection.on_lost()
        return Values()

    world = World(streaming(function))
    connection, _ = world.login()
    await world.ask("/stream", connection)
    await finished(world)
    assert (begun.is_set(), closed.is_set()) == (False, True)


async def test_a_stream_that_never_waits_lets_others_have_their_turn() -> None:
    async def endless() -> AsyncIterator[None]:
        while True:
            yield None

    world = World(streaming(endless))
    connection, _ = world.login()
    await world.ask("/stream", connection)
    await turns()
    world.tasks.cancel_streams(connection)
    await finished(world)


async def test_a_stream_that_fails_is_logged_once_counted_and_touches_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source()
    world = World(streaming(source))
    connection, carrier = world.login()
    await world.ask("/stream", connection)
    await source.emit("a")
    await source.end(RuntimeError("secret"))
    await finished(world)
    assert got(carrier) == [("/app/stream", "a")]
    assert carrier.closes == []
    assert len(errors(caplog)) == 1
    assert connection.id in errors(caplog)[0]
    assert world.counters.unserved == 1


async def test_the_failure_of_a_stream_goes_to_the_handler_declared_for_it(caplog: pytest.LogCaptureFixture) -> None:
    source = Source()
    controller = streaming(source)

    @controller.exception_handler(RuntimeError, send_to_user="/queue/errors")
    async def explain(error: RuntimeError) -> str:
        return f"sorry: {error}"

    world = World(controller)
    connection, carrier = world.login()
    world.listen_as_user(connection, "/user/queue/errors")
    await world.ask("/stream", connection)
    await source.end(RuntimeError("out of order"))
    await finished(world)
    assert got(carrier) == [("/user/queue/errors", "sorry: out of order")]
    assert errors(caplog) == []


async def test_a_stream_whose_cleaning_up_fails_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("cleaning up failed")

    world = World(streaming(broken))
    connection, _ = world.login()
    await world.ask("/stream", connection)
    await turns()
    world.tasks.cancel_streams(connection)
    await finished(world)
    assert len(errors(caplog)) == 1


async def test_a_stream_whose_cleaning_up_fails_while_it_is_held_back_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By us, and not by asyncio some time later as an exception that nobody has fetched."""
    held_back = asyncio.Event()

    class StuckCarrier(RecordingCarrier):
        async def drain(self) -> None:
            held_back.set()
            await asyncio.Event().wait()

    async def broken() -> AsyncIterator[str]:
        try:
            yield "a"
        finally:
            raise RuntimeError("cleaning up failed")

    world = World(streaming(broken))
    connection, _ = world.login()
    connection.carrier = StuckCarrier()
    await world.ask("/stream", connection)
    await asyncio.wait_for(held_back.wait(), GUARD)
    world.tasks.cancel_streams(connection)
    await finished(world)
    gc.collect()
    assert [message for message in errors(caplog) if "never retrieved" in message] == []
    assert len(errors(caplog)) == 1


# Failure.


class Refusal(ValueError):
    """An application's own."""


class Sharp(Refusal):
    """More exact."""


def failing(error: Exception, prefix: str = "") -> Controller:
    controller = Controller(prefix)

    @controller.message_mapping("/fail/{room}")
    async def fail() -> None:
        raise error

    return controller


async def test_an_exception_is_logged_once_and_its_text_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    world = World(failing(RuntimeError("secret")))
    connection, carrier = world.login()
    with pytest.raises(HandlerFailed, match="the server failed to serve this") as raised:
        await world.send("/fail/a", connection=connection)
    assert "secret" not in str(raised.value)
    (record,) = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert record.levelno == logging.ERROR
    assert connection.id in record.getMessage()
    assert "fail failed" in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "secret"
    assert carrier.closes == []


@pytest.mark.parametrize("error", [UnknownDestination("secret"), SessionClosed(1000, "secret")])
async def test_exceptions_of_ours_out_of_a_function_are_failures_like_any(error: Exception) -> None:
    with pytest.raises(HandlerFailed, match="the server failed to serve this"):
        await World(failing(error)).send("/fail/a")


async def test_a_function_may_refuse_and_that_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(AccessRefused, match="not yours"):
        await World(failing(AccessRefused("not yours"))).send("/fail/a")
    assert errors(caplog) == []


async def test_what_does_not_fit_the_function_is_no_error_of_the_application(caplog: pytest.LogCaptureFixture) -> None:
    controller, called = Controller(), []

    @controller.message_mapping("/{number}")
    async def function(number: int, order: dict[str, int]) -> None:
        called.append(1)

    world = World(controller)
    for path, body in [("/x", b"{}"), ("/1", b"[]"), ("/1", b"")]:
        with pytest.raises(PayloadInvalid):
            await world.send(path, body)
    assert (called, errors(caplog)) == ([], [])


async def test_the_application_may_say_what_a_client_is_told() -> None:
    world = World(failing(Refusal("no")), error_message=lambda error: f"told: {error}")
    with pytest.raises(HandlerFailed, match=r"^told: no$"):
        await world.send("/fail/a")


async def test_no_text_of_the_application_means_ours() -> None:
    with pytest.raises(HandlerFailed, match="the server failed to serve this"):
        await World(failing(Refusal("no")), error_message=lambda error: "").send("/fail/a")


async def test_an_error_message_that_fails_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def explain(error: Exception) -> str:
        raise KeyError("secret")

    with pytest.raises(HandlerFailed, match="the server failed to serve this"):
        await World(failing(Refusal("no")), error_message=explain).send("/fail/a")
    assert len(errors(caplog)) == 2


@pytest.mark.parametrize(
    ("error", "served_by"),
    [
        (Sharp("x"), "own Sharp"),
        (Refusal("x"), "own ValueError"),
        (ValueError("x"), "own ValueError"),
        (KeyError("x"), "everywhere LookupError"),
        (RuntimeError("x"), "everywhere Exception"),
    ],
)
async def test_the_handler_of_the_nearest_class_is_called_own_ones_first(
    error: Exception, served_by: str, caplog: pytest.LogCaptureFixture
) -> None:
    controller, other = failing(error), Controller()

    def serve(where: Controller, kind: type[Exception], name: str, **arguments: Any) -> None:
        @where.exception_handler(kind, send_to_user="/queue/errors", **arguments)
        async def handle() -> str:
            return name

    serve(controller, Sharp, "own Sharp")
    serve(controller, ValueError, "own ValueError")
    serve(other, Refusal, "of another")
    serve(other, Sharp, "everywhere Sharp", everywhere=True)
    serve(other, LookupError, "everywhere LookupError", everywhere=True)
    serve(other, Exception, "everywhere Exception", everywhere=True)
    world = World(controller, other)
    connection, carrier = world.login()
    world.listen_as_user(connection, "/user/queue/errors")
    await world.send("/fail/a", connection=connection)
    assert got(carrier) == [("/user/queue/errors", served_by)]
    assert errors(caplog) == []


async def test_a_handler_of_another_controller_is_not_called() -> None:
    other = Controller()
    other.exception_handler(Refusal)(nothing)
    with pytest.raises(HandlerFailed):
        await World(failing(Refusal("x")), other).send("/fail/a")


async def test_a_handler_gets_the_exception_the_user_and_the_frame_and_answers_to_all_targets() -> None:
    controller = failing(Refusal("no"))

    @controller.exception_handler(
        Refusal, send_to="/topic/errors/{room}", send_to_user="/queue/errors", broadcast=False
    )
    def explain(error: Refusal, user: User, body: bytes, x_trace: Annotated[str, Header()]) -> Reply:
        return Reply(f"{user.name} {error} {body.decode()}", {"trace": x_trace})

    world = World(controller)
    topic = await world.listen()
    (one, asking), (two, other) = world.login("ann"), world.login("ann")
    for connection in (one, two):
        world.listen_as_user(connection, "/user/queue/errors")
    await world.send("/fail/a", b"body", one, x_trace="t")
    assert got(topic) == [("/topic/errors/a", "ann no body")]
    (frame,) = asking.take()
    assert (frame.body, frame.headers["trace"]) == (b"ann no body", "t")
    assert got(other) == []


async def test_what_does_not_fit_may_be_handled_as_well() -> None:
    controller = Controller()

    @controller.message_mapping("/a")
    async def function(order: dict[str, int]) -> None: ...

    @controller.exception_handler(PayloadInvalid, send_to_user="/queue/errors")
    async def explain(error: PayloadInvalid) -> str:
        return "does not fit"

    world = World(controller)
    connection, carrier = world.login()
    world.listen_as_user(connection, "/user/queue/errors")
    await world.send("/a", b"nonsense", connection)
    assert got(carrier) == [("/user/queue/errors", "does not fit")]


async def test_a_handler_that_returns_nothing_has_dealt_with_it(caplog: pytest.LogCaptureFixture) -> None:
    controller = failing(Refusal("no"))
    controller.exception_handler(Refusal)(nothing)
    await World(controller).send("/fail/a")
    assert errors(caplog) == []


async def test_a_handler_that_fails_is_logged_once_and_no_other_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    controller, called = failing(Refusal("no")), []

    @controller.exception_handler(Refusal)
    async def fail(error: Refusal) -> None:
        called.append("fail")
        raise KeyError("secret")

    @controller.exception_handler(Exception)
    async def rescue(error: Exception) -> None:
        called.append("rescue")

    with pytest.raises(HandlerFailed):
        await World(controller).send("/fail/a")
    assert called == ["fail"]
    assert len(errors(caplog)) == 1
    assert ".fail failed" in errors(caplog)[0]


async def test_a_handler_whose_parameters_the_frame_does_not_fill_fails() -> None:
    controller = failing(Refusal("no"))

    @controller.exception_handler(Refusal)
    async def explain(error: Refusal, order: dict[str, int]) -> None: ...

    with pytest.raises(PayloadInvalid):
        await World(controller).send("/fail/a", b"nonsense")


async def test_a_handler_that_streams_fails_and_its_stream_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    controller = failing(Refusal("no"))

    @controller.exception_handler(Refusal)
    async def explain() -> AsyncIterator[str]:
        yield "a"

    world = World(controller)
    with pytest.raises(HandlerFailed):
        await world.send("/fail/a")
    assert "a value, not a stream" in caplog.text
    assert len(world.tasks) == 0


async def test_a_failure_of_a_subscription_is_not_sent_as_its_answer() -> None:
    controller = Controller()

    @controller.subscribe_mapping("/a")
    async def function() -> None:
        raise Refusal("no")

    @controller.exception_handler(Refusal, send_to_user="/queue/errors")
    async def explain() -> str:
        return "sorry"

    world = World(controller)
    connection, carrier = world.login()
    world.listen_as_user(connection, "/user/queue/errors")
    await world.ask("/a", connection)
    assert got(carrier) == [("/user/queue/errors", "sorry")]


async def test_a_variable_is_marked_and_named_otherwise() -> None:
    controller = Controller()

    @controller.message_mapping("/{room}", concurrent=True)
    async def function(number: Annotated[int, Variable("room")]) -> int:
        return number + 1

    world = World(controller)
    carrier = await world.listen()
    found = await world.send("/41")
    assert got(carrier) == [("/topic/41", "42")]
    assert found.is_concurrent


async def test_a_function_may_ask_for_the_servers_messaging_and_users() -> None:
    controller = Controller()
    asked: list[object] = []

    @controller.message_mapping("/ask")
    async def ask(messaging: Messaging, users: UserRegistry | None, text: str) -> None:
        asked.extend([messaging, users, text])
        await messaging.send("/topic/asked", text)

    world = World(controller)
    listener = await world.listen()
    await world.send("/ask", b"well")
    assert isinstance(asked[0], Messaging)
    assert asked[1:] == [world.users, "well"]
    assert got(listener) == [("/topic/asked", "well")]


@pytest.mark.parametrize("separator", ["/", "."])
def test_stars_that_serve_less_than_they_seem_to_are_refused_at_the_start(separator: str) -> None:
    controller = Controller()

    @controller.message_mapping("/rooms/a**")
    async def serve(text: str) -> None: ...

    with pytest.raises(InvalidController, match="as a whole one"):
        World(controller, separator=separator)
