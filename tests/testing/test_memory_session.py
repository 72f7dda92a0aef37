"""A session without a socket behaves as one with a socket would, and shows what a handler does wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import sockbridge
from sockbridge.endpoint import DEFAULT_TRANSPORTS
from sockbridge.errors import (
    ConnectionLost,
    InvalidOption,
    MessageTooBig,
    PongTimeout,
    SendBufferOverflow,
    SessionClosed,
    TooManySessions,
    UsageError,
    WriteTimeout,
)
from sockbridge.sockjs.framing import Close, Message
from sockbridge.sockjs.session import Session
from sockbridge.testing.loop import ManualClockLoop, turns
from sockbridge.testing.memory_endpoint import MemoryEndpoint
from sockbridge.testing.memory_session import RECEIVE_LIMIT, TRANSPORTS, MemorySession
from tests.fakes import RecordingHandler, busy_tasks

INTERRUPTED = Close(1002, "Connection interrupted", clean=False)
CUT = Close(1006, "the connection was cut", clean=False)


class Echo(sockbridge.SessionHandler):
    async def on_message(self, session: Session, message: Message) -> None:
        session.send(message)


async def echo(session: Session) -> None:
    async for message in session:
        session.send(message)


class Failing(sockbridge.SessionHandler):
    """Fails in the call that a message names, or at once in those that it is made with."""

    def __init__(self, *calls: str) -> None:
        self.calls = set(calls)

    def fail(self, call: str) -> None:
        if call in self.calls:
            raise ValueError(call)

    async def on_connected(self, session: Session) -> None:
        self.fail("on_connected")

    async def on_message(self, session: Session, message: Message) -> None:
        self.calls.add(str(message))
        self.fail("on_message")

    async def on_closed(self, session: Session, close: Close) -> None:
        self.fail("on_closed")

    async def on_stop(self) -> None:
        self.fail("on_stop")


async def failing(session: Session) -> None:
    async for message in session:
        raise ValueError(message)


async def ticker(session: Session) -> None:
    session.send("tick")
    await asyncio.Event().wait()


def with_manual_clock(act: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await act()

    with asyncio.Runner(loop_factory=ManualClockLoop) as runner:
        runner.run(run())


@pytest.fixture(autouse=True)
async def nothing_is_left() -> Any:
    before = busy_tasks()
    yield
    assert busy_tasks() - {asyncio.current_task()} <= before


# Errors of the handler.


async def test_what_on_message_raises_is_raised_by_send() -> None:
    async with MemorySession(Failing()) as session:
        with pytest.raises(ValueError, match="on_message"):
            await session.send("on_message")
        assert session.handler_error is None
        with pytest.raises(SessionClosed, match="1011 Internal error"):
            await session.receive()
        assert session.close_info == Close(1011, "Internal error")


async def test_what_a_coroutine_handler_raises_is_raised_by_receive() -> None:
    async with MemorySession(failing) as session:
        with pytest.raises(ValueError, match="bad"):  # noqa: PT012  # it may come with either
            await session.send("bad")
            await session.receive()
        with pytest.raises(SessionClosed, match="1011"):
            await session.receive()


async def test_what_nobody_has_seen_is_raised_at_the_end() -> None:
    with pytest.raises(ValueError, match="on_closed"):
        async with MemorySession(Failing("on_closed")):
            pass
    with pytest.raises(ValueError, match="on_stop"):
        async with MemorySession(Failing("on_stop")):
            pass


async def test_what_on_connected_raises_is_raised_at_the_beginning_and_nothing_runs_on() -> None:
    with pytest.raises(ValueError, match="on_connected"):
        async with MemorySession(Failing("on_connected")):
            pytest.fail("it was entered")


async def test_what_making_a_handler_raises_is_raised_at_the_beginning() -> None:
    class Wrong(sockbridge.SessionHandler):
        def __init__(self) -> None:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        async with MemorySession(Wrong):
            pytest.fail("it was entered")


async def test_a_test_that_fails_by_itself_is_told_of_the_handler_s_error_in_a_note() -> None:
    with pytest.raises(AssertionError, match="mine") as caught:
        async with MemorySession(Failing("on_closed", "on_stop")):
            raise AssertionError("mine")
    assert caught.value.__notes__ == [
        "the handler has raised, too: ValueError('on_closed')",
        "the handler has raised, too: ValueError('on_stop')",
    ]


async def test_of_several_errors_the_first_is_raised_and_names_the_others() -> None:
    with pytest.raises(ValueError, match="on_closed") as caught:
        async with MemorySession(Failing("on_closed", "on_stop")):
            pass
    assert caught.value.__notes__ == ["the handler has raised, too: ValueError('on_stop')"]


async def test_an_error_that_comes_late_is_kept_until_somebody_asks() -> None:
    gate = asyncio.Event()

    class Late(sockbridge.SessionHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            await gate.wait()
            raise ValueError("late")

    async with MemorySession(Late()) as session:
        await session.send("x")
        assert session.handler_error is None
        gate.set()
        with pytest.raises(ValueError, match="late"):
            await session.settle()


async def test_drain_that_ends_with_the_session_is_no_error() -> None:
    async def numbers(session: Session) -> None:
        while True:
            session.send("x" * 1000)
            await session.drain()

    async with MemorySession(numbers) as session:
        assert await session.receive() == "x" * 1000
        session.pause()
        await session.close()
        await session.wait_closed()


async def test_a_call_that_awaited_something_cancelled_has_failed() -> None:
    class Cancelled(sockbridge.SessionHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            task = asyncio.create_task(asyncio.Event().wait())
            task.cancel()
            await task

    async with MemorySession(Cancelled()) as session:
        with pytest.raises(asyncio.CancelledError):
            await session.send("x")
        assert session.close_info == Close(1011, "Internal error")


async def test_a_coroutine_function_that_never_ends_is_cancelled_at_the_end_and_that_is_no_error() -> None:
    async with MemorySession(ticker, shutdown_grace=0) as session:
        assert await session.receive() == "tick"
        await session.send("is never fetched")


class Hanging(sockbridge.SessionHandler):
    """Waits for ever in the calls that it is made with."""

    def __init__(self, *calls: str, catch: bool = False) -> None:
        self.calls = calls
        self.catch = catch
        self.gate = asyncio.Event()

    async def hang(self, call: str) -> None:
        if call in self.calls:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                if not self.catch:
                    raise

    async def on_connected(self, session: Session) -> None:
        await self.hang("on_connected")

    async def on_message(self, session: Session, message: Message) -> None:
        await self.hang("on_message")

    async def on_closed(self, session: Session, close: Close) -> None:
        await self.hang("on_closed")


@pytest.mark.parametrize("catch", [False, True], ids=["is cancelled", "catches the cancellation"])
@pytest.mark.parametrize("call", ["on_connected", "on_message", "on_closed"])
async def test_a_call_that_does_not_end_fails_the_test_and_is_named(call: str, catch: bool) -> None:
    with pytest.raises(AssertionError, match=f"{call} did not end within shutdown_grace") as caught:
        async with MemorySession(Hanging(call, catch=catch), shutdown_grace=0.02) as session:
            await session.send("x")
    assert not hasattr(caught.value, "__notes__")
    assert isinstance(caught.value.__cause__, asyncio.CancelledError) is not catch  # it shows where the call waited


async def test_a_lock_that_is_never_released_fails_the_test() -> None:
    class Locking(sockbridge.SessionHandler):
        def __init__(self) -> None:
            self.lock = asyncio.Lock()

        async def on_message(self, session: Session, message: Message) -> None:
            await self.lock.acquire()
            session.send(message)

    async def act() -> None:
        async with MemorySession(Locking(), shutdown_grace=0.02) as session:
            await session.send("1")
            await session.send("2")
            assert session.take() == ["1"]

    with pytest.raises(AssertionError, match="on_message did not end"):
        await act()


async def test_a_call_that_goes_on_although_it_is_cancelled_fails_the_test() -> None:
    gate = asyncio.Event()

    class Stubborn(sockbridge.SessionHandler):
        async def on_closed(self, session: Session, close: Close) -> None:
            for _ in range(2):  # as often as the server cancels it
                with contextlib.suppress(asyncio.CancelledError):
                    await gate.wait()
            await gate.wait()

    with pytest.raises(AssertionError, match="on_closed goes on although it was cancelled"):
        async with MemorySession(Stubborn(), shutdown_grace=0.02):
            pass
    gate.set()
    await turns()


@pytest.mark.parametrize("form", ["class", "coroutine function"])
def test_a_handler_that_swallows_every_cancellation_does_not_keep_the_loop_from_closing(form: str) -> None:
    async def stubborn(session: Session) -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    class Stubborn(sockbridge.SessionHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            await stubborn(session)

    async def act() -> None:
        async with MemorySession(Stubborn() if form == "class" else stubborn, shutdown_grace=0.02) as session:
            await session.send("x")

    call = "handler's on_message" if form == "class" else form
    with pytest.raises(AssertionError, match=f"the {call} goes on although it was cancelled"):
        asyncio.run(act())


async def test_a_call_that_ends_within_the_grace_is_no_error() -> None:
    handler = Hanging("on_closed")
    async with MemorySession(handler):
        asyncio.get_running_loop().call_later(0.01, handler.gate.set)


async def test_a_call_that_hangs_at_a_common_endpoint_fails_its_block() -> None:
    async def act() -> None:
        async with MemoryEndpoint(Hanging("on_message"), shutdown_grace=0.02) as endpoint:
            async with MemorySession(endpoint) as session:
                await session.send("x")
            seen.append("the session's block has ended")

    seen: list[str] = []
    with pytest.raises(AssertionError, match="on_message did not end"):
        await act()
    assert seen


async def test_what_a_call_raises_after_the_end_of_its_session_is_not_lost() -> None:
    class Late(Hanging):
        async def on_message(self, session: Session, message: Message) -> None:
            await self.gate.wait()
            raise ValueError("late")

    async def act() -> None:
        handler = Late()
        async with MemoryEndpoint(handler) as endpoint:
            async with MemorySession(endpoint) as session:
                await session.send("x")
            endpoint.manager.forget(session.served)  # as after disconnect_delay: the end is told beside the call
            await session.wait_closed()
            handler.gate.set()
            await turns()

    with pytest.raises(ValueError, match="late"):
        await act()


async def test_an_end_of_another_session_is_an_error_although_the_own_one_has_ended() -> None:
    class Wrong(sockbridge.SessionHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            session.close(4000, "mine")
            raise SessionClosed(4001, "another's")

    async with MemorySession(Wrong()) as session:
        with pytest.raises(SessionClosed, match="4001 another's"):
            await session.send("x")


@pytest.mark.parametrize("form", ["class", "coroutine"])
async def test_send_returns_when_the_handler_has_nothing_left_to_do(form: str) -> None:
    class Hops(sockbridge.SessionHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            for _ in range(80):
                await asyncio.sleep(0)
            session.send(message)

    async def hops(session: Session) -> None:
        async for message in session:
            await Hops().on_message(session, message)

    async with MemorySession(Hops if form == "class" else hops) as session:
        await session.send("x")
        assert session.take() == ["x"]


async def test_the_error_of_one_session_is_not_another_s() -> None:
    async with (
        MemoryEndpoint(Failing()) as endpoint,
        MemorySession(endpoint) as bad,
        MemorySession(endpoint) as good,
    ):
        with pytest.raises(ValueError, match="on_message"):
            await bad.send("on_message")
        assert good.is_open


# Wrong use.


async def test_what_is_no_handler_or_option_is_refused_as_by_mount() -> None:
    with pytest.raises(UsageError, match="coroutine function"):
        MemorySession(42)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="there is no option heartbeat"):
        MemorySession(Echo(), heartbeat=1)  # type: ignore[call-arg]
    with pytest.raises(InvalidOption, match="disconnect_delay"):
        MemorySession(Echo(), disconnect_delay=0)


async def test_a_transport_has_one_of_the_names_of_server_or_client() -> None:
    with pytest.raises(InvalidOption, match=r"no transport 'xhr-stream'; there are: .*xhr_streaming.*xhr-streaming"):
        MemorySession(Echo(), "xhr-stream")
    assert {*TRANSPORTS, "xhr_send", "jsonp_send"} == {kind.name for kind in DEFAULT_TRANSPORTS}
    for name, seen in {"xhr-polling": "xhr", "xhr-streaming": "xhr_streaming", "jsonp": "jsonp"}.items():
        async with MemorySession(Echo(), name) as session:
            assert session.served.transport == seen


async def test_an_endpoint_is_to_be_entered_before_its_sessions() -> None:
    with pytest.raises(UsageError, match="async with MemoryEndpoint"):
        async with MemorySession(MemoryEndpoint(Echo())):
            pass


async def test_options_of_one_session_are_those_of_its_endpoint() -> None:
    async with MemoryEndpoint(Echo()) as endpoint:
        with pytest.raises(UsageError, match="heartbeat_delay: options are given to the MemoryEndpoint"):
            MemorySession(endpoint, heartbeat_delay=1)


async def test_a_session_is_to_be_entered() -> None:
    session = MemorySession(Echo())
    with pytest.raises(UsageError, match="to be entered"):
        await session.send("x")


async def test_a_session_is_entered_once() -> None:
    async with MemorySession(Echo()) as session:
        with pytest.raises(UsageError, match="make another one"):
            await session.__aenter__()
        await session.send("x")


async def test_bytes_are_for_raw_websockets_only() -> None:
    async with MemorySession(Echo()) as session:
        with pytest.raises(TypeError, match="a SockJS message is a str"):
            await session.send(b"x")
    async with MemorySession(Echo(), "websocket-raw") as session:
        await session.send(b"x")
        await session.send("")
        await session.send("ü")
        assert await session.messages(3) == [b"x", "", "ü"]


async def test_a_websocket_does_not_stay_away_and_only_who_is_away_comes_back() -> None:
    async with MemorySession(Echo()) as session:
        with pytest.raises(UsageError, match="name an HTTP transport"):
            await session.leave()
        with pytest.raises(UsageError, match="leave before"):
            await session.come_back()
    async with MemorySession(Echo(), "xhr") as session:
        with pytest.raises(UsageError, match="leave before"):
            await session.come_back()


async def test_time_is_moved_on_a_loop_for_it_only() -> None:
    async with MemorySession(Echo()) as session:
        with pytest.raises(UsageError, match="ManualClockLoop"):
            await session.advance(1)


# Messages.


@pytest.mark.parametrize("handler", [Echo(), Echo, echo], ids=["shared", "class", "coroutine"])
async def test_messages_come_back_in_order_whatever_the_form_of_the_handler(handler: Any) -> None:
    awkward = ["", "x", '"', "\u2028\ud800\U0001f600", "</script>", "x" * 100_000]
    async with MemorySession(handler) as session:
        for message in awkward:
            await session.send(message)
        assert await session.messages(len(awkward)) == awkward


async def test_iteration_and_take_give_what_came_and_end_with_the_session() -> None:
    async def three(session: Session) -> None:
        for number in "123":
            session.send(number)

    async with MemorySession(three) as session:
        assert [message async for message in session] == ["1", "2", "3"]
        assert session.close_info == Close(1000, "Normal closure")
        with pytest.raises(SessionClosed, match="1000"):
            await session.send("late")
    async with MemorySession(three) as session:
        assert session.take() == ["1", "2", "3"]
        assert session.take() == []


async def test_what_does_not_come_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockbridge.testing.loop.Guard.__init__.__defaults__", (0.01,))
    async with MemorySession(Echo()) as session:
        with pytest.raises(AssertionError, match=r"no message came within 0\.01 seconds"):
            await session.receive()
        with pytest.raises(AssertionError, match="on_closed did not come"):
            await session.wait_closed()
    async with MemorySession(ticker, shutdown_grace=0, receive_buffer_limit=10) as session:
        await session.send("is being handled")
        await session.send("waits")
        with pytest.raises(AssertionError, match=r"receive_buffer_limit \(10 bytes\) waits"):
            await session.send("has no room")
        with pytest.raises(AssertionError, match="did not end"):
            await session.settle()


async def test_a_session_knows_what_opened_it() -> None:
    handler = RecordingHandler()
    app: dict[str, object] = {"db": 1}
    async with MemorySession(
        handler,
        "eventsource",
        headers={"X-A": "1", "cookie": "a=b"},
        cookies={"login": "s3cret"},
        principal="ann",
        app=app,
        subprotocol="v1",
        remote="192.0.2.1",
        url="https://example.org/x",
    ) as session:
        handshake = session.served.handshake
        assert (handshake.headers["x-a"], dict(handshake.cookies)) == ("1", {"a": "b", "login": "s3cret"})
        assert (handshake.principal, handshake.app, handshake.subprotocol) == ("ann", app, "v1")
        assert (handshake.remote, handshake.url) == ("192.0.2.1", "https://example.org/x")
        assert session.served.transport == "eventsource"
    async with MemorySession(handler) as session:
        handshake = session.served.handshake
        assert (handshake.remote, handshake.principal, dict(handshake.headers)) == ("127.0.0.1", None, {})
        assert handshake.url.endswith("/websocket")


async def test_the_defaults_of_a_handler_hold() -> None:
    class Large(Echo):
        defaults = {"max_message_size": 4}  # noqa: RUF012

    async with MemorySession(Large()) as session:
        assert session.endpoint.options.max_message_size == 4


# Ends.


async def test_a_server_that_closes_delivers_what_waits_first() -> None:
    class Farewell(RecordingHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            session.send("last")
            session.close(4001, "Bye")

    handler = Farewell()
    async with MemorySession(handler) as session:
        await session.send("go")
        assert session.close_info == Close(4001, "Bye")
        assert await session.receive() == "last"
        with pytest.raises(SessionClosed, match="4001 Bye"):
            await session.receive()
        assert await session.wait_closed() == Close(4001, "Bye")
        await session.close()  # changes nothing
        await session.cut()
    assert handler.values("on_closed") == [Close(4001, "Bye")]
    assert handler.values("on_transport_error") == []


async def test_a_client_that_says_goodbye_is_closed_as_it_said() -> None:
    handler = RecordingHandler()
    async with MemorySession(handler) as session:
        await session.close(4000, "enough")
        assert await session.wait_closed() == Close(4000, "enough") == session.close_info
        assert len(session.endpoint) == 0
    assert handler.names() == ["on_start", "on_connected", "on_closed", "on_stop"]


async def test_the_end_of_the_test_is_a_goodbye() -> None:
    handler = RecordingHandler()
    async with MemorySession(handler):
        pass
    assert handler.values("on_closed") == [Close(1000, "")]


@pytest.mark.parametrize("transport", ["websocket", "websocket-raw", "xhr_streaming"])
async def test_a_cut_connection_is_told_and_what_waited_is_lost(transport: str) -> None:
    handler = RecordingHandler()
    async with MemorySession(handler, transport) as session:
        session.pause()
        session.served.send("lost")
        await session.cut()
        assert await session.wait_closed() == INTERRUPTED
        assert (session.close_info, session.served.undelivered) == (CUT, 1)
        with pytest.raises(SessionClosed, match="1006"):
            await session.receive()
    (error,) = handler.values("on_transport_error")
    assert type(error) is ConnectionLost


async def test_a_cut_may_have_a_reason() -> None:
    handler = RecordingHandler()
    async with MemorySession(handler) as session:
        await session.cut(PongTimeout("no answer"))
        await session.wait_closed()
    assert [type(error) for error in handler.values("on_transport_error")] == [PongTimeout]


async def test_over_http_a_goodbye_is_a_cut_and_who_comes_next_is_told_1002() -> None:
    handler = RecordingHandler()
    async with MemorySession(handler, "xhr") as session:
        await session.close(4000, "HTTP has no goodbye")
        assert await session.wait_closed() == INTERRUPTED
        await session.come_back()
        assert session.close_info == INTERRUPTED


async def test_who_stays_away_gets_what_waited_when_it_comes_back() -> None:
    async with MemorySession(Echo(), "xhr") as session:
        await session.leave()
        await session.send("meanwhile")
        assert session.take() == []
        session.served.close(4001, "Bye")
        await turns()
        await session.come_back()
        assert await session.receive() == "meanwhile"
        with pytest.raises(SessionClosed, match="4001"):
            await session.receive()
        await session.come_back()  # and is told the end again and again
        assert session.close_info == Close(4001, "Bye")


def test_who_stays_away_for_too_long_is_forgotten() -> None:
    handler = RecordingHandler()

    async def act() -> None:
        async with MemorySession(handler, "xhr", disconnect_delay=60) as session:
            await session.leave()
            await session.advance(59)
            assert handler.values("on_closed") == []
            await session.advance(2)
            assert await session.wait_closed() == Close(1006, "Client did not come back", clean=False)
            with pytest.raises(SessionClosed, match="1006 Client did not come back"):
                await session.come_back()

    with_manual_clock(act)
    assert handler.values("on_transport_error") == []


async def test_a_server_that_stops_says_1001() -> None:
    async with MemoryEndpoint(Echo()) as endpoint, MemorySession(endpoint) as session:
        await endpoint.close()
        assert session.close_info == Close(1001, "Server is shutting down")


async def test_a_paused_client_does_not_hold_up_a_server_that_stops() -> None:
    handler = RecordingHandler()
    async with MemoryEndpoint(handler, shutdown_grace=0) as endpoint, MemorySession(endpoint) as session:
        session.pause()
        session.served.send("x")
        await endpoint.close()
        await turns()
        assert session.close_info == CUT
    assert len(handler.values("on_closed")) == 1


# Limits.


async def test_a_message_above_the_limit_ends_a_websocket_and_is_refused_over_http() -> None:
    fits, passes = "x" * 96, "x" * 97  # with two quotes and two brackets
    handler = RecordingHandler(echo=True)
    async with MemorySession(handler, max_message_size=100) as session:
        await session.send(fits)
        await session.send(passes)
        assert await session.receive() == fits
        with pytest.raises(SessionClosed, match="1009 Message exceeds the limit of 100 bytes"):
            await session.receive()
    assert [type(error) for error in handler.values("on_transport_error")] == [MessageTooBig]
    async with MemorySession(Echo(), "xhr", max_message_size=100) as session:
        with pytest.raises(MessageTooBig):
            await session.send(passes)
        await session.send(fits)
        assert await session.receive() == fits
    async with MemorySession(Echo(), "websocket-raw", max_message_size=3) as session:
        await session.send("üa")
        await session.send("üab")
        with pytest.raises(SessionClosed, match="1009"):
            await session.messages(2)


async def test_a_slow_client_makes_drain_wait() -> None:
    drained = asyncio.Event()

    async def much(session: Session) -> None:
        session.send("x" * 100_000)
        await session.drain()
        drained.set()
        await asyncio.Event().wait()

    async with MemoryEndpoint(much, shutdown_grace=0) as endpoint:
        session = MemorySession(endpoint)
        session.pause()
        async with session:
            assert not drained.is_set()
            assert session.served.buffered > 100_000
            session.resume()
            assert await session.receive() == "x" * 100_000
            await drained.wait()


async def test_a_test_that_does_not_read_is_a_slow_client() -> None:
    async def flood(session: Session) -> None:
        while True:
            session.send("x" * 10_000)
            await session.drain()

    async with MemorySession(flood) as session:
        await turns(1000)
        assert not session.has_room
        assert sum(map(len, session.take())) <= RECEIVE_LIMIT + 200_000
        await turns()
        assert await session.receive() == "x" * 10_000


@pytest.mark.parametrize(("policy", "left"), [("drop_oldest", ["3", "4"]), ("drop_newest", ["1", "2"]), ("close", [])])
async def test_what_overflows_is_dealt_with_as_the_option_says(policy: Any, left: list[str]) -> None:
    handler = RecordingHandler()
    async with MemorySession(handler, send_buffer_limit=6, on_overflow=policy) as session:
        session.pause()
        for number in "1234":
            session.served.send(number)
        session.resume()
        await turns()
        assert session.take() == left
        assert session.served.undelivered == 4 - len(left)
        if policy == "close":
            assert await session.wait_closed() == Close(1008, "Too many messages waiting", clean=False)
    assert [type(error) for error in handler.values("on_transport_error")] == [SendBufferOverflow] * (not left)


async def test_more_sessions_than_are_allowed_are_refused() -> None:
    async with MemoryEndpoint(Echo(), max_sessions=1) as endpoint, MemorySession(endpoint) as session:
        with pytest.raises(TooManySessions):
            async with MemorySession(endpoint):
                pytest.fail("it was entered")
        await session.send("x")
        assert endpoint.counters.refused == 1


# Time.


def test_silence_is_broken_by_heartbeats() -> None:
    async def act() -> None:
        async with MemorySession(Echo()) as session:
            await session.advance(24)
            assert session.heartbeats == 0
            await session.advance(2)
            assert session.heartbeats == 1
            await session.advance(104)  # each up to a tick late
            assert session.heartbeats == 5
            assert session.take() == []

    with_manual_clock(act)


def test_a_client_that_takes_nothing_is_given_up_after_write_timeout() -> None:
    handler = RecordingHandler()

    async def act() -> None:
        async with MemorySession(handler, heartbeat_delay=0, write_timeout=7) as session:
            session.pause()
            await session.advance(100)  # nothing was written, so nothing is missed
            session.served.send("x")
            await session.advance(6)
            assert handler.values("on_transport_error") == []
            await session.advance(2)
            assert await session.wait_closed() == INTERRUPTED
            assert session.close_info == CUT

    with_manual_clock(act)
    (error,) = handler.values("on_transport_error")
    assert isinstance(error, WriteTimeout)
    assert str(error) == "the client took no bytes for 7 seconds"


def test_hours_that_pass_do_not_end_a_wait_of_the_test() -> None:
    async def act() -> None:
        async with MemorySession(Echo(), heartbeat_delay=0) as session:
            waiting = asyncio.create_task(session.receive())
            await turns()
            await session.endpoint.advance(30)
            session.served.send("at last")
            assert await waiting == "at last"

    with_manual_clock(act)


def test_what_a_handler_sleeps_passes_as_well() -> None:
    async def alarm(session: Session) -> None:
        await asyncio.sleep(3600)
        session.send("wake up")

    async def act() -> None:
        async with MemorySession(alarm) as session:
            await session.advance(3601)
            assert await session.receive() == "wake up"

    with_manual_clock(act)


# Several.


async def test_a_broadcast_reaches_all_and_each_session_has_an_instance_of_its_own() -> None:
    class Counter(sockbridge.SessionHandler):
        def __init__(self) -> None:
            self.count = 0

        async def on_message(self, session: Session, message: Message) -> None:
            self.count += 1
            endpoint.broadcast(f"{message} {self.count}")

    async with MemoryEndpoint(Counter) as endpoint, MemorySession(endpoint) as ann, MemorySession(endpoint) as bob:
        assert endpoint
        assert (len(endpoint), list(endpoint.sessions)) == (2, [ann.served, bob.served])
        for session in (ann, ann, bob):
            await session.send("x")
        assert ann.take() == bob.take() == ["x 1", "x 2", "x 1"]
        assert endpoint.broadcast("y", [bob.served]) == 1
        assert (ann.take(), bob.take()) == ([], ["y"])
        await ann.close()
        assert list(endpoint.sessions) == [bob.served]


async def test_an_error_is_in_the_log_as_in_production(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        async with MemorySession(Failing()) as session:
            with pytest.raises(ValueError, match="on_message"):
                await session.send("on_message")
    assert "the handler failed in on_message" in caplog.text
    assert repr(session).startswith("<MemorySession http://testserver/memory/000/memory-")
