"""The line in front of a handler: one call at a time, in order, and no error gets out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from sockbridge.errors import ConnectionLost, RemoteError, SessionClosed
from sockbridge.options import Options
from sockbridge.sockjs.delivery import MESSAGE_OVERHEAD, Delivery
from sockbridge.sockjs.framing import FRAMED, INTERRUPTED, Close, CloseCode, Message
from sockbridge.sockjs.runner import Runner
from sockbridge.sockjs.session import Session
from tests.fakes import GUARD, RecordingHandler, RecordingReceiver, make_handshake

GOODBYE = Close(CloseCode.NORMAL, "bye")

GREETED: ContextVar[str] = ContextVar("greeted", default="nobody")


class StallingHandler(RecordingHandler):
    """Stays in the call for some messages, raises in others, and counts calls that overlap.

    Attributes:
        stalls: message to the event that ends its call.
        faults: call name or message to what is raised there.
        overlaps: calls that began while another ran.
    """

    def __init__(self, *stalls: str, **faults: BaseException) -> None:
        super().__init__()
        self.stalls = {name: asyncio.Event() for name in stalls}
        self.faults: dict[Message, BaseException] = dict(faults)
        self.overlaps = 0
        self._running = 0

    async def on_connected(self, session: Session) -> None:
        await super().on_connected(session)
        await self._act("on_connected")

    async def on_message(self, session: Session, message: Message) -> None:
        await super().on_message(session, message)
        await self._act(message)

    async def on_transport_error(self, session: Session, error: RemoteError) -> None:
        await super().on_transport_error(session, error)
        await self._act("on_transport_error")

    async def on_closed(self, session: Session, close: Close) -> None:
        await super().on_closed(session, close)
        await self._act("on_closed")

    async def _act(self, name: Message) -> None:
        self.overlaps += self._running
        self._running += 1
        try:
            if name in self.stalls:
                await self.stalls[str(name)].wait()
            if name in self.faults:
                raise self.faults[name]
        finally:
            self._running -= 1


class Line:
    """One session and its delivery; the session is open.

    Attributes:
        told: the sessions whose handler has been told the end.
        has_room: how often there was room again for whom ``watch_room`` has told that there was none.
    """

    def __init__(self, handler: RecordingHandler, limit: int = 1000) -> None:
        self.handler = handler
        self.tasks: list[asyncio.Task[None]] = []
        self.session = Session("public-id", make_handshake(), Options(), FRAMED, self.on_ending)
        self.session.attach(RecordingReceiver(self.session))
        self.runner = Runner()
        self.told: list[Session] = []
        self.has_room = 0
        self.delivery = Delivery(self.session, handler, limit, self.runner, self.told.append)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self.tasks.append(task)
        return task

    def on_ending(self, session: Session, close: Close, error: RemoteError | None, *, is_ours: bool) -> None:
        self.delivery.finish(close, error, is_deaf=is_ours)

    async def opened(self) -> Line:
        self.delivery.open()
        await self.settle()
        return self

    def watch_room(self) -> bool:
        """Whether there is room; if not, ``has_room`` counts when that changes."""
        return self.delivery.has_room(self.on_room)

    def on_room(self) -> None:
        self.has_room += 1

    async def deliver(self, *messages: str) -> bool:
        """As a transport does it: outside any task."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: future.set_result(self.delivery.deliver(messages)))
        async with asyncio.timeout(GUARD):
            return await future

    @property
    def call(self) -> asyncio.Task[None]:
        """The task of the one call that waits for something."""
        (task,) = self.runner.tasks
        return task

    async def settle(self) -> None:
        """Until every call and every task has ended, those that they have caused included."""
        async with asyncio.timeout(GUARD):
            await turns()
            while pending := [task for task in [*self.tasks, *self.runner.tasks] if not task.done()]:
                await asyncio.wait(pending)
                await turns()

    @property
    def messages(self) -> list[object]:
        return self.handler.values("on_message")


async def turns(count: int = 5) -> None:
    """Let everything that is ready run; no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


# Order.


async def test_an_idle_session_gets_its_message_within_the_call_that_brought_it() -> None:
    line = Line(RecordingHandler())
    line.delivery.open()
    assert await line.deliver("a", "b") is True
    await line.delivery.accept(["c"])
    assert line.messages == ["a", "b", "c"]
    assert line.runner.tasks == set()


async def test_messages_wait_until_on_connected_has_ended() -> None:
    handler = StallingHandler("on_connected")
    line = Line(handler)
    line.delivery.open()
    assert await line.deliver("early") is True
    await line.delivery.accept(["later"])
    await turns()
    assert handler.names() == ["on_connected"]
    handler.stalls["on_connected"].set()
    await line.settle()
    assert handler.names() == ["on_connected", "on_message", "on_message"]
    assert line.messages == ["early", "later"]


async def test_messages_that_a_call_itself_brings_wait_for_its_end() -> None:
    """As where a handler delivers to its own session; nothing is nested."""

    class Talkative(StallingHandler):
        async def _act(self, name: Message) -> None:
            if name in ("on_connected", "1"):
                await line.delivery.accept(["1" if name == "on_connected" else "2"])
                assert name in self.names() or name in self.values("on_message")
                assert len(self.values("on_message")) == (0 if name == "on_connected" else 1)
            await super()._act(name)

    handler = Talkative()
    line = Line(handler)
    line.delivery.open()
    assert line.messages == ["1", "2"]
    assert handler.overlaps == 0
    assert line.delivery.is_idle()


async def test_parallel_arrivals_are_handled_one_at_a_time_in_order_of_arrival() -> None:
    handler = StallingHandler("1", "4")
    line = await Line(handler).opened()
    await line.deliver("1", "2")
    await handler.wait_for("on_message")
    await line.delivery.accept(["3"])
    await line.deliver("4", "5")
    await line.delivery.accept(["6"])
    assert line.messages == ["1"]
    handler.stalls["1"].set()
    await handler.wait_for("on_message", 4)
    await line.delivery.accept(["7"])
    await turns()
    assert line.messages == ["1", "2", "3", "4"]
    handler.stalls["4"].set()
    await line.settle()
    assert line.messages == [str(number) for number in range(1, 8)]
    assert handler.overlaps == 0


async def test_accept_does_not_wait_for_the_handler() -> None:
    handler = StallingHandler("slow")
    line = await Line(handler).opened()
    async with asyncio.timeout(GUARD):
        await line.delivery.accept(["slow", "next"])
        await line.delivery.accept(["last"])
    await handler.wait_for("on_message")
    assert line.messages == ["slow"]
    handler.stalls["slow"].set()
    await line.settle()
    assert line.messages == ["slow", "next", "last"]


async def test_nobody_overtakes_what_waits_behind_a_call_that_has_just_ended() -> None:
    handler = StallingHandler("slow")
    line = await Line(handler).opened()
    await line.deliver("slow")
    await line.deliver("first")
    handler.stalls["slow"].set()  # its task goes on in the next turn only
    await line.deliver("second")
    await line.delivery.accept(["third"])
    await line.settle()
    assert line.messages == ["slow", "first", "second", "third"]


async def test_a_call_goes_on_when_the_task_that_brought_its_message_is_cancelled() -> None:
    """As that of a request whose client has gone."""
    handler = StallingHandler("slow")
    line = await Line(handler).opened()

    async def request() -> None:
        await line.delivery.accept(["slow", "next"])
        await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await handler.wait_for("on_message")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    handler.stalls["slow"].set()
    await line.settle()
    assert line.messages == ["slow", "next"]


async def test_all_calls_of_a_session_see_one_context_and_those_of_another_see_none_of_it() -> None:
    class Greeting(RecordingHandler):
        async def on_connected(self, session: Session) -> None:
            self.record("greeted", session, GREETED.get())
            GREETED.set("its session")

        async def on_message(self, session: Session, message: Message) -> None:
            self.record("greeted", session, GREETED.get())
            await asyncio.sleep(0)
            self.record("greeted", session, GREETED.get())

        async def on_closed(self, session: Session, close: Close) -> None:
            self.record("greeted", session, GREETED.get())

    line, other = Line(Greeting()), Line(Greeting())
    GREETED.set("the server")
    line.delivery.open()
    await other.deliver("message")
    assert GREETED.get() == "the server"
    await line.deliver("message")
    await line.settle()
    await other.settle()
    line.session.interrupt(GOODBYE, None)
    await line.settle()
    assert line.handler.values("greeted") == ["nobody", "its session", "its session", "its session"]
    assert other.handler.values("greeted") == ["nobody", "nobody"]


# Back-pressure.


async def test_accept_waits_above_the_limit_and_lets_in_by_order_of_arrival() -> None:
    handler = StallingHandler("busy")
    line = await Line(handler, limit=10 + MESSAGE_OVERHEAD).opened()
    await line.deliver("busy")
    await handler.wait_for("on_message")
    async with asyncio.timeout(GUARD):
        await line.delivery.accept(["x" * 10])  # at the limit
        await line.delivery.accept(["y"])  # passes it
    waiting = [line.start(line.delivery.accept([name])) for name in ("a", "b", "c")]
    await turns()
    assert not any(task.done() for task in waiting)
    handler.stalls["busy"].set()
    await line.settle()
    assert line.messages == ["busy", "x" * 10, "y", "a", "b", "c"]


async def test_empty_messages_use_up_the_limit_too() -> None:
    handler = StallingHandler("busy")
    line = await Line(handler, limit=10 * MESSAGE_OVERHEAD).opened()
    await line.deliver("busy")
    await handler.wait_for("on_message")
    async with asyncio.timeout(GUARD):
        await line.delivery.accept([""] * 11)
    late = line.start(line.delivery.accept(["late"]))
    await turns()
    assert not late.done()
    handler.stalls["busy"].set()
    await line.settle()
    assert line.messages == ["busy", *[""] * 11, "late"]


async def test_deliver_tells_when_the_line_has_become_too_long_and_takes_the_messages_all_the_same() -> None:
    handler = StallingHandler("busy")
    line = await Line(handler, limit=10 + MESSAGE_OVERHEAD).opened()
    assert await line.deliver("busy") is True, "the call that runs takes no room"
    assert await line.deliver("x" * 10) is True, "at the limit"
    assert await line.deliver("y") is False
    assert await line.deliver("z") is False
    handler.stalls["busy"].set()
    await line.settle()
    assert line.messages == ["busy", "x" * 10, "y", "z"]
    assert await line.deliver("after") is True


async def test_what_came_with_a_message_whose_call_waits_stands_in_line_too() -> None:
    handler = StallingHandler("busy")
    line = await Line(handler, limit=10 + MESSAGE_OVERHEAD).opened()
    assert await line.deliver("busy", "x" * 2000) is False
    handler.stalls["busy"].set()
    await line.settle()
    assert line.messages == ["busy", "x" * 2000]


async def test_whoever_found_no_room_is_told_once_when_there_is_room_again() -> None:
    handler = StallingHandler("busy", "x" * 20, "y" * 20)
    line = await Line(handler, limit=10 + MESSAGE_OVERHEAD).opened()
    assert line.watch_room()
    await line.deliver("busy")
    assert line.watch_room(), "the call that runs takes no room"
    await line.deliver("x" * 20, "y" * 20, "z")
    assert not line.watch_room()
    handler.stalls["busy"].set()
    await handler.wait_for("on_message", 2)
    assert line.has_room == 0, "still too long"
    handler.stalls["x" * 20].set()
    await handler.wait_for("on_message", 3)
    assert line.has_room == 1, "before the call that made room has ended"
    assert line.watch_room()
    handler.stalls["y" * 20].set()
    await line.settle()
    assert line.messages == ["busy", "x" * 20, "y" * 20, "z"]
    assert line.has_room == 1


@pytest.mark.parametrize("way", ["the application closes", "the handler fails", "overruled"])
async def test_whoever_found_no_room_is_told_when_the_line_is_dropped(way: str) -> None:
    handler = StallingHandler("busy", **({"busy": ValueError("bug")} if way == "the handler fails" else {}))
    line = await Line(handler, limit=1).opened()
    await line.deliver("busy")
    await line.deliver("xx")
    assert not line.watch_room()
    if way == "the application closes":
        line.session.close()
    elif way == "overruled":
        line.session.interrupt(GOODBYE, None)
        assert line.has_room == 0
        line.delivery.overrule()
    else:
        handler.stalls["busy"].set()
        await handler.wait_for("on_closed")
    assert line.has_room == 1
    handler.stalls["busy"].set()
    await line.settle()
    assert line.delivery.unheard == 1
    assert line.messages == ["busy"]


async def test_room_for_one_lets_one_in_and_the_others_go_on_waiting() -> None:
    handler = StallingHandler("busy", "x" * 20)
    line = await Line(handler, limit=10).opened()
    await line.deliver("busy")
    await handler.wait_for("on_message")
    await line.delivery.accept(["x" * 20])
    first = line.start(line.delivery.accept(["y" * 20]))
    second = line.start(line.delivery.accept(["z"]))
    await turns()
    handler.stalls["busy"].set()
    await handler.wait_for("on_message", 2)
    await turns()
    assert (first.done(), second.done()) == (True, False)
    handler.stalls["x" * 20].set()
    await line.settle()
    assert line.messages == ["busy", "x" * 20, "y" * 20, "z"]


async def test_a_newcomer_does_not_overtake_those_who_wait_for_room() -> None:
    class Inviting(StallingHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            if message == "x" * 20:  # room has just been made for "a"; "b" still waits behind it
                line.start(line.delivery.accept(["newcomer"]))
            await super().on_message(session, message)

    handler = Inviting("busy", "x" * 20)
    line = await Line(handler, limit=10).opened()
    await line.deliver("busy")
    await handler.wait_for("on_message")
    await line.delivery.accept(["x" * 20])
    line.start(line.delivery.accept(["a"]))
    line.start(line.delivery.accept(["b"]))
    await turns()
    handler.stalls["busy"].set()
    await handler.wait_for("on_message", 2)
    await turns()
    handler.stalls["x" * 20].set()
    await line.settle()
    assert line.messages == ["busy", "x" * 20, "a", "b", "newcomer"]


async def test_those_who_wait_for_room_are_let_go_when_the_application_closes() -> None:
    handler = StallingHandler("busy")
    line = await Line(handler, limit=1).opened()
    await line.deliver("busy")
    await handler.wait_for("on_message")
    await line.delivery.accept(["xx"])
    late = line.start(line.delivery.accept(["late"]))
    await turns()
    line.session.close()
    async with asyncio.timeout(GUARD):
        await late
    handler.stalls["busy"].set()
    await line.settle()
    assert line.messages == ["busy"]
    assert line.delivery.unheard == 2
    assert handler.names()[-1] == "on_closed"


async def test_those_who_wait_for_room_are_let_go_when_the_handler_fails_after_a_goodbye() -> None:
    handler = StallingHandler("busy", first=ValueError("bug"))
    line = await Line(handler, limit=1).opened()
    await line.deliver("busy")
    await handler.wait_for("on_message")
    await line.delivery.accept(["first", "second"])
    waiting = line.start(line.delivery.accept(["third"]))
    await turns()
    line.session.interrupt(GOODBYE, None)
    handler.stalls["busy"].set()
    async with asyncio.timeout(GUARD):
        await waiting
    await line.settle()
    assert handler.names()[-1] == "on_closed"


# The end.


async def test_what_came_before_the_clients_goodbye_is_delivered_then_the_end() -> None:
    handler = StallingHandler("1")
    line = await Line(handler).opened()
    await line.deliver("1", "2")
    await handler.wait_for("on_message")
    await line.delivery.accept(["3"])
    line.session.interrupt(GOODBYE, None)
    await turns()
    assert "on_closed" not in handler.names()
    handler.stalls["1"].set()
    await line.settle()
    assert line.messages == ["1", "2", "3"]
    assert handler.names()[-1] == "on_closed"
    assert handler.values("on_closed") == [GOODBYE]
    assert line.delivery.unheard == 0


async def test_after_the_applications_close_messages_are_dropped_and_counted() -> None:
    class Closing(RecordingHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            await super().on_message(session, message)
            await line.delivery.accept(["in line"])
            session.close()
            await line.delivery.accept(["after"])

    line = await Line(Closing()).opened()
    await line.deliver("last", "same frame", "same frame")
    await line.deliver("late")
    await line.settle()
    assert line.messages == ["last"]
    assert line.delivery.unheard == 5
    assert line.handler.names() == ["on_connected", "on_message", "on_closed"]


async def test_the_end_of_an_idle_session_is_told_in_the_next_turn() -> None:
    line = await Line(RecordingHandler()).opened()
    error = ConnectionLost("cut")
    line.session.interrupt(INTERRUPTED, error)
    assert line.handler.names() == ["on_connected"]
    assert not line.delivery.is_told
    await line.settle()
    assert line.delivery.is_told
    assert line.handler.names() == ["on_connected", "on_transport_error", "on_closed"]
    assert line.handler.values("on_transport_error") == [error]
    assert line.handler.values("on_closed") == [INTERRUPTED]


async def test_a_close_inside_on_connected_ends_in_on_closed() -> None:
    class Unwilling(RecordingHandler):
        async def on_connected(self, session: Session) -> None:
            await super().on_connected(session)
            session.close(4000, "no")

    line = await Line(Unwilling()).opened()
    assert line.handler.names() == ["on_connected", "on_closed"]
    assert line.handler.values("on_closed") == [Close(4000, "no")]


async def test_a_session_that_was_never_connected_is_not_told() -> None:
    line = Line(RecordingHandler())
    line.session.interrupt(INTERRUPTED, None)
    await line.settle()
    assert line.delivery.is_told
    assert line.handler.names() == []


@pytest.mark.parametrize("fault", [None, ValueError("bug")])
async def test_whoever_asked_hears_once_when_on_closed_has_returned(fault: Exception | None) -> None:
    handler = StallingHandler("on_closed", **({} if fault is None else {"on_closed": fault}))
    line = await Line(handler).opened()
    await line.deliver("message")
    line.session.interrupt(GOODBYE, None)
    await handler.wait_for("on_closed")
    await turns()
    assert line.told == []
    handler.stalls["on_closed"].set()
    await line.settle()
    assert line.told == [line.session]


async def test_on_closed_is_told_once_however_often_the_end_is_reported() -> None:
    line = await Line(RecordingHandler()).opened()
    line.delivery.finish(GOODBYE, None, is_deaf=True)
    line.delivery.finish(GOODBYE, None, is_deaf=True)
    await line.settle()
    line.delivery.overrule()
    line.delivery.finish(GOODBYE, None, is_deaf=True)
    await line.settle()
    assert line.handler.names() == ["on_connected", "on_closed"]


async def test_a_call_that_is_stuck_after_the_end_is_overruled() -> None:
    handler = StallingHandler("stuck")
    line = await Line(handler).opened()
    await line.deliver("stuck", "unheard")
    stuck = line.call
    await handler.wait_for("on_message")
    await line.delivery.accept(["in line"])
    line.delivery.overrule()
    await turns()
    assert handler.names() == ["on_connected", "on_message"], "nothing has ended yet"
    line.session.interrupt(GOODBYE, None)
    line.delivery.overrule()
    assert await handler.wait_for("on_closed") == [GOODBYE]
    assert not stuck.done()
    handler.stalls["stuck"].set()
    await line.settle()
    assert line.messages == ["stuck"]
    assert line.delivery.unheard == 2
    assert handler.names().count("on_closed") == 1


async def test_two_overrules_in_one_turn_tell_once() -> None:
    handler = StallingHandler("stuck")
    line = await Line(handler).opened()
    await line.deliver("stuck")
    await handler.wait_for("on_message")
    line.session.interrupt(GOODBYE, None)
    line.delivery.overrule()
    line.delivery.overrule()
    handler.stalls["stuck"].set()
    await line.settle()
    assert handler.names().count("on_closed") == 1


# Errors.


async def test_an_error_in_on_connected_closes_with_1011_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    handler = StallingHandler(on_connected=ValueError("secret of the application"))
    line = Line(handler)
    line.delivery.open()
    await line.delivery.accept(["late"])
    await line.settle()
    assert handler.names() == ["on_connected", "on_closed"]
    assert handler.values("on_closed") == [Close(1011, "Internal error")]
    assert line.delivery.unheard == 1
    (record,) = errors(caplog)
    assert record.getMessage() == "session public-id: the handler failed in on_connected"
    assert record.exc_info is not None
    assert record.exc_info[1] is handler.faults["on_connected"]


async def test_an_error_in_on_connected_that_has_waited_drops_what_came_meanwhile() -> None:
    handler = StallingHandler("on_connected", on_connected=ValueError("bug"))
    line = Line(handler)
    line.delivery.open()
    await line.delivery.accept(["early"])
    handler.stalls["on_connected"].set()
    await line.settle()
    assert handler.names() == ["on_connected", "on_closed"]
    assert line.delivery.unheard == 1


async def test_an_error_in_on_message_closes_with_1011_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    handler = StallingHandler(bad=ValueError("bug"))
    line = await Line(handler).opened()
    await line.deliver("good", "bad", "after")
    assert line.messages == ["good", "bad"]
    assert handler.values("on_closed") == [Close(1011, "Internal error")]
    assert [record.getMessage() for record in errors(caplog)] == ["session public-id: the handler failed in on_message"]


async def test_messages_behind_the_one_that_failed_are_counted() -> None:
    line = await Line(StallingHandler(bad=ValueError("bug"))).opened()
    await line.deliver("bad", "after", "after")
    assert line.delivery.unheard == 2


async def test_an_error_for_a_message_in_line_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    handler = StallingHandler(bad=ValueError("bug"))
    line = await Line(handler).opened()
    await line.delivery.accept(["good", "bad", "after"])
    await line.settle()
    assert line.messages == ["good", "bad"]
    assert handler.values("on_closed") == [Close(1011, "Internal error")]
    assert line.delivery.unheard == 1
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize("name", ["on_transport_error", "on_closed"])
async def test_an_error_at_the_end_is_contained_and_logged_once(caplog: pytest.LogCaptureFixture, name: str) -> None:
    handler = StallingHandler(**{name: ValueError("bug")})
    line = await Line(handler).opened()
    line.session.interrupt(INTERRUPTED, ConnectionLost("cut"))
    await line.settle()
    assert handler.names() == ["on_connected", "on_transport_error", "on_closed"]
    assert [record.getMessage() for record in errors(caplog)] == [f"session public-id: the handler failed in {name}"]


@pytest.mark.parametrize("name", ["on_connected", "message", "on_transport_error", "on_closed"])
async def test_a_cancellation_inside_the_handler_is_an_error_like_any_other(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    handler = StallingHandler(**{name: asyncio.CancelledError()})
    line = await Line(handler).opened()
    await line.deliver("message")
    line.session.interrupt(INTERRUPTED, ConnectionLost("cut"))
    await line.settle()
    assert handler.names()[-1] == "on_closed"
    assert len(errors(caplog)) == 1


async def test_drain_that_ends_with_the_session_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    class Flooding(RecordingHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            await super().on_message(session, message)
            while True:
                session.send("x" * 40_000)
                await session.drain()

    line = await Line(Flooding()).opened()
    await line.deliver("flood")
    await line.handler.wait_for("on_message")
    await turns()
    line.session.interrupt(GOODBYE, None)
    await line.settle()
    assert errors(caplog) == []
    assert line.handler.names() == ["on_connected", "on_message", "on_closed"]


async def test_session_closed_of_another_session_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    line = await Line(StallingHandler(bad=SessionClosed(1000, "another"))).opened()
    await line.deliver("bad")
    assert line.handler.values("on_closed") == [Close(1011, "Internal error")]
    assert len(errors(caplog)) == 1


async def test_a_call_that_somebody_cancels_ends_its_session(caplog: pytest.LogCaptureFixture) -> None:
    """Without a word in the log: it was wanted. What waits behind it is not heard, and nothing comes out of order."""
    handler = StallingHandler("busy")
    line = await Line(handler).opened()
    await line.deliver("busy", "behind")
    line.call.cancel()
    await line.settle()
    assert errors(caplog) == []
    assert not line.session.is_open
    await line.deliver("next")
    assert line.messages == ["busy"]
    assert line.delivery.unheard == 2
    assert handler.names()[-1] == "on_closed"


async def test_the_end_is_told_when_on_connected_was_cancelled() -> None:
    handler = StallingHandler("on_connected")
    line = Line(handler)
    line.delivery.open()
    task = line.call
    task.cancel()
    await asyncio.wait({task})
    line.session.interrupt(INTERRUPTED, None)
    await line.settle()
    assert handler.names() == ["on_connected", "on_closed"]


async def test_cancel_ends_the_call_that_runs_and_no_other() -> None:
    handler = StallingHandler("busy")
    line = await Line(handler).opened()
    line.delivery.cancel()  # nothing runs: nothing happens
    await line.deliver("busy")
    task = line.call
    await turns()
    line.delivery.cancel()
    await asyncio.wait({task})
    line.delivery.cancel()  # nothing runs any more
    await line.settle()
    assert handler.names() == ["on_connected", "on_message", "on_closed"]


async def test_cancel_reaches_a_call_in_the_turn_in_which_it_began() -> None:
    handler = StallingHandler("busy")
    line = await Line(handler).opened()
    await line.deliver("busy")
    task = line.call
    line.delivery.cancel()
    await asyncio.wait({task})
    assert line.delivery.is_idle()


async def test_cancel_reaches_a_call_out_of_the_line() -> None:
    handler = StallingHandler("busy", "next")
    line = await Line(handler).opened()
    await line.deliver("busy")
    task = line.call
    await line.deliver("next")
    handler.stalls["busy"].set()
    await handler.wait_for("on_message", 2)
    line.delivery.cancel()
    await asyncio.wait({task})
    assert line.delivery.is_idle()


async def test_idle_means_that_no_call_runs() -> None:
    handler = StallingHandler("busy")
    line = await Line(handler).opened()
    assert line.delivery.is_idle()
    await line.deliver("busy")
    await handler.wait_for("on_message")
    assert not line.delivery.is_idle()
    handler.stalls["busy"].set()
    await line.settle()
    assert line.delivery.is_idle()
