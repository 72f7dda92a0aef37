"""What an application may write: a handler, a class of one, a coroutine function."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable

import pytest

from sockbridge.errors import SessionClosed, UsageError
from sockbridge.options import Options
from sockbridge.sockjs.framing import Close, Message
from sockbridge.sockjs.handler import LAST_WORDS, CoroutineHandler, HandlerFactory, MessageFeed, SessionHandler
from sockbridge.sockjs.manager import SessionManager
from sockbridge.sockjs.session import Session
from tests.fakes import GUARD, RecordingReceiver, make_handshake, make_session


class Conversation:
    """One open session of a manager that runs a coroutine function."""

    def __init__(self, function: Callable[[Session], Awaitable[None]]) -> None:
        self.manager = SessionManager(function, Options())
        self.ended = asyncio.Event()

    async def __aenter__(self) -> Conversation:
        await self.manager.start()
        self.session = self.manager.create(make_handshake())
        self.receiver = RecordingReceiver(self.session)
        self.manager.attach(self.session, self.receiver)
        self.manager.open(self.session)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.manager.release(self.session, self.receiver)
        await self.manager.stop()

    async def deliver(self, *messages: Message) -> None:
        await self.manager.accept(self.session, messages)

    async def until_closed(self) -> Close:
        await until(lambda: self.session.close_info is not None)
        assert self.session.close_info is not None
        return self.session.close_info

    async def until_forgotten(self) -> None:
        """The client goes; every call of the handler has returned when this does."""
        self.manager.release(self.session, self.receiver)
        await until(lambda: len(self.manager) == 0)


async def until(condition: Callable[[], object]) -> None:
    """Let everything that is ready run until ``condition`` is met; no time passes."""
    async with asyncio.timeout(GUARD):
        while not condition():
            await asyncio.sleep(0)


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


# Which handler.


def test_one_handler_serves_all_sessions() -> None:
    handler = SessionHandler()
    handler.subprotocols = ["v12.stomp", "v11.stomp"]
    factory = HandlerFactory(handler)
    assert factory.shared is handler
    assert factory.make() is factory.make() is handler
    assert factory.subprotocols == ("v12.stomp", "v11.stomp")


def test_a_class_gives_an_instance_to_each_session() -> None:
    class Chat(SessionHandler):
        subprotocols = ("chat",)

    factory = HandlerFactory(Chat)
    assert factory.shared is None
    first, second = factory.make(), factory.make()
    assert type(first) is type(second) is Chat
    assert first is not second
    assert factory.subprotocols == ("chat",)


async def echo(session: Session) -> None:
    async for message in session:
        session.send(message)


class CallableInstance:
    async def __call__(self, session: Session) -> None:
        await echo(session)


async def with_more_arguments(room: str, session: Session) -> None:
    await echo(session)


@pytest.mark.parametrize("function", [echo, CallableInstance(), functools.partial(with_more_arguments, "room")])
def test_a_coroutine_function_runs_once_for_each_session(function: Callable[[Session], Awaitable[None]]) -> None:
    factory = HandlerFactory(function)
    assert factory.shared is None
    assert factory.subprotocols == ()
    first, second = factory.make(), factory.make()
    assert type(first) is type(second) is CoroutineHandler
    assert first is not second


@pytest.mark.parametrize("source", [None, "echo", print, lambda session: None, object(), int, CallableInstance])
def test_what_is_no_handler_is_refused_with_a_sentence(source: object) -> None:
    with pytest.raises(UsageError, match=r"^the handler is a SessionHandler, a class of one, or a coroutine function"):
        HandlerFactory(source)  # type: ignore[arg-type]


async def test_the_base_class_takes_every_call_and_does_nothing() -> None:
    handler, session = SessionHandler(), make_session()
    await handler.on_start()
    await handler.on_connected(session)
    await handler.on_message(session, "message")
    await handler.on_closed(session, Close(1000, ""))
    await handler.on_stop()
    assert session.undelivered == 0


# The coroutine.


async def test_a_coroutine_gets_messages_in_order_and_sends() -> None:
    async with Conversation(echo) as conversation:
        await conversation.deliver("a", "b")
        await conversation.deliver("c")
        await until(lambda: conversation.session.buffered == len('"a""b""c"'))
        assert conversation.receiver.take_all() == [b"o", b'a["a","b","c"]']


async def test_the_next_message_waits_until_the_last_was_fetched() -> None:
    proceed = asyncio.Event()
    fetched: list[Message] = []

    async def slow(session: Session) -> None:
        async for message in session:
            fetched.append(message)
            await proceed.wait()

    async with Conversation(slow) as conversation:
        await conversation.deliver("a", "b", "c")
        for _ in range(10):
            await asyncio.sleep(0)
        assert fetched == ["a"]
        proceed.set()
        await until(lambda: fetched == ["a", "b", "c"])


async def test_the_iteration_ends_when_the_client_leaves_and_takes_what_came_before() -> None:
    seen: list[object] = []
    done = asyncio.Event()
    begin = asyncio.Event()

    async def listen(session: Session) -> None:
        await begin.wait()
        async for message in session:
            seen.append(message)
        seen.append(session.close_info)
        done.set()

    async with Conversation(listen) as conversation:
        await conversation.manager.accept(conversation.session, ["a", "b"])
        conversation.session.interrupt(Close(1000, "bye"), None)
        begin.set()
        async with asyncio.timeout(GUARD):
            await done.wait()
        assert seen == ["a", "b", Close(1000, "bye")]


async def test_the_iteration_ends_when_the_function_itself_closes() -> None:
    seen: list[Message] = []
    ended = asyncio.Event()

    async def one(session: Session) -> None:
        async for message in session:
            seen.append(message)
            session.close(4000, "enough")
        ended.set()

    async with Conversation(one) as conversation:
        await conversation.deliver("a", "b")
        assert await conversation.until_closed() == Close(4000, "enough")
        async with asyncio.timeout(GUARD):
            await ended.wait()
        assert seen == ["a"]


async def test_returning_closes_with_1000_after_what_was_sent() -> None:
    async def greet(session: Session) -> None:
        session.send("hello")

    async with Conversation(greet) as conversation:
        assert await conversation.until_closed() == Close(1000, "Normal closure")
        assert conversation.receiver.take_all() == [b"o", b'a["hello"]', b'c[1000,"Normal closure"]']


async def test_messages_behind_the_return_hold_nobody_up() -> None:
    async def first_only(session: Session) -> None:
        async for _ in session:
            return

    async with Conversation(first_only) as conversation:
        await conversation.deliver("a", "b", "c")
        assert await conversation.until_closed() == Close(1000, "Normal closure")
        await conversation.until_forgotten()


async def test_a_message_that_nobody_fetched_before_the_return_holds_nobody_up() -> None:
    proceed = asyncio.Event()

    async def first_only(session: Session) -> None:
        async for _ in session:
            await proceed.wait()
            return

    async with Conversation(first_only) as conversation:
        await conversation.deliver("a", "b")
        for _ in range(10):
            await asyncio.sleep(0)
        assert conversation.session.is_open
        proceed.set()
        assert await conversation.until_closed() == Close(1000, "Normal closure")
        await conversation.until_forgotten()


async def test_an_error_closes_with_1011_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("bug")

    async def fail(session: Session) -> None:
        async for _ in session:
            raise error

    async with Conversation(fail) as conversation:
        await conversation.deliver("a")
        assert await conversation.until_closed() == Close(1011, "Internal error")
    (record,) = errors(caplog)
    assert conversation.session.id in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def test_a_cancellation_inside_the_function_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(session: Session) -> None:
        raise asyncio.CancelledError

    async with Conversation(fail) as conversation:
        assert await conversation.until_closed() == Close(1011, "Internal error")
    assert len(errors(caplog)) == 1


async def test_session_closed_out_of_drain_is_the_usual_end_of_a_sender(caplog: pytest.LogCaptureFixture) -> None:
    ended = asyncio.Event()

    async def flood(session: Session) -> None:
        try:
            while True:
                session.send("x" * 40_000)
                await session.drain()
        finally:
            ended.set()

    async with Conversation(flood) as conversation:
        async with asyncio.timeout(GUARD):
            while conversation.session.buffered < 65536:
                await asyncio.sleep(0)
        conversation.session.interrupt(Close(1000, "bye"), None)
        async with asyncio.timeout(GUARD):
            await ended.wait()
    assert errors(caplog) == []


async def test_session_closed_of_another_session_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(session: Session) -> None:
        raise SessionClosed(1000, "another")

    async with Conversation(fail) as conversation:
        assert await conversation.until_closed() == Close(1011, "Internal error")
    assert len(errors(caplog)) == 1


async def test_a_function_that_goes_on_after_the_end_is_cancelled_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def stuck(session: Session) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with Conversation(stuck) as conversation:
        await started.wait()
        conversation.session.interrupt(Close(1000, "bye"), None)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not cancelled.is_set()
        loop = asyncio.get_running_loop()
        real_time = loop.time
        monkeypatch.setattr(loop, "time", lambda: real_time() + LAST_WORDS)
        async with asyncio.timeout(GUARD):
            await cancelled.wait()


async def test_two_sessions_do_not_share_their_messages() -> None:
    async with Conversation(echo) as first, Conversation(echo) as second:
        await first.deliver("a")
        await second.deliver("b")
        await until(lambda: first.session.buffered and second.session.buffered)
        assert first.receiver.take_all() == [b"o", b'a["a"]']
        assert second.receiver.take_all() == [b"o", b'a["b"]']


async def test_a_session_that_ends_before_it_was_connected_ends_quietly() -> None:
    await CoroutineHandler(echo).on_closed(make_session(), Close(1000, ""))


# The feed.


async def test_put_waits_until_its_message_is_fetched() -> None:
    feed = MessageFeed()
    putting = asyncio.create_task(feed.put("a"))
    await asyncio.sleep(0)
    assert not putting.done()
    assert await anext(feed) == "a"
    async with asyncio.timeout(GUARD):
        await putting


async def test_what_was_put_before_the_end_is_fetched_then_the_iteration_stops() -> None:
    feed = MessageFeed()
    putting = asyncio.create_task(feed.put("a"))
    await asyncio.sleep(0)
    feed.end()
    feed.end()
    async with asyncio.timeout(GUARD):
        await putting
        await feed.put("b")
    assert [message async for message in feed] == ["a", "b"]


async def test_the_end_wakes_who_waits_for_a_message() -> None:
    feed = MessageFeed()

    async def fetch_all() -> list[Message]:
        return [message async for message in feed]

    waiting = asyncio.create_task(fetch_all())
    await asyncio.sleep(0)
    feed.end()
    async with asyncio.timeout(GUARD):
        assert await waiting == []


def test_a_callback_with_other_arguments_is_refused_with_a_sentence() -> None:
    class Short(SessionHandler):
        async def on_closed(self, session: Session) -> None:  # type: ignore[override]
            """Without the close."""

    with pytest.raises(UsageError, match=r"async def on_closed\(session, close\): too many positional arguments"):
        HandlerFactory(Short())


def test_a_class_that_wants_arguments_is_refused_with_a_sentence() -> None:
    class Chat(SessionHandler):
        def __init__(self, database: object) -> None:
            """One for all sessions is passed as an instance."""

    with pytest.raises(UsageError, match=r"an instance of Chat is made for each session.*pass Chat\(\.\.\.\)"):
        HandlerFactory(Chat)
    assert HandlerFactory(Chat(None)).shared is not None


def test_a_callback_that_nobody_calls_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Chat(SessionHandler):
        async def on_mesage(self, session: Session, message: Message) -> None:
            """Misspelt."""

    HandlerFactory(Chat)
    assert caplog.messages[0].startswith("Chat.on_mesage is never called; the calls are on_start,")
