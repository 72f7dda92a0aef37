"""The line in front of a handler: one call at a time, in order, and no error gets out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import pytest

from sockbridge.errors import ConnectionLost, RemoteError, SessionClosed
from sockbridge.options import Options
from sockbridge.sockjs.delivery import MESSAGE_OVERHEAD, Delivery
from sockbridge.sockjs.framing import FRAMED, INTERRUPTED, Close, CloseCode, Message
from sockbridge.sockjs.session import Session
from tests.fakes import GUARD, RecordingHandler, RecordingReceiver, make_handshake

GOODBYE = Close(CloseCode.NORMAL, "bye")


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
    """One session, its delivery and the tasks that it spawned; the session is open."""

    def __init__(self, handler: RecordingHandler, limit: int = 1000) -> None:
        self.handler = handler
        self.tasks: list[asyncio.Task[None]] = []
        self.session = Session("public-id", make_handshake(), Options(), FRAMED, self.on_ending)
        self.session.attach(RecordingReceiver(self.session))
        self.delivery = Delivery(self.session, handler, limit, self.spawn)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.start(coroutine)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self.tasks.append(task)
        return task

    def on_ending(self, session: Session, close: Close, error: RemoteError | None, *, is_ours: bool) -> None:
        self.delivery.finish(close, error, is_deaf=is_ours)

    async def opened(self) -> Line:
        await self.delivery.open()
        return self

    async def settle(self) -> None:
        """Until every task has ended, those that tasks have spawned included."""
        async with asyncio.timeout(GUARD):
            while pending := [task for task in self.tasks if not task.done()]:
                await asyncio.wait(pending)

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


async def test_an_idle_session_gets_its_message_in_the_task_that_brought_it() -> None:
    line = await Line(RecordingHandler()).opened()
    await line.delivery.deliver(["a", "b"])
    assert line.messages == ["a", "b"]
    assert line.tasks == []


async def test_messages_wait_until_on_connected_has_ended() -> None:
    handler = StallingHandler("on_connected")
    line = Line(handler)
    opening = line.start(line.delivery.open())
    await line.delivery.deliver(["early"])
    await turns()
    assert handler.names() == ["on_connected"]
    handler.stalls["on_connected"].set()
    await opening
    assert handler.names() == ["on_connected", "on_message"]


async def test_messages_wait_for_on_connected_before_its_task_has_begun() -> None:
    line = Line(RecordingHandler())
    opening = line.delivery.open()
    await line.delivery.accept(["early"])
    assert line.handler.names() == []
    await opening
    assert line.handler.names() == ["on_connected", "on_message"]


async def test_parallel_arrivals_are_handled_one_at_a_time_in_order_of_arrival() -> None:
    handler = StallingHandler("1", "4")
    line = await Line(handler).opened()
    line.start(line.delivery.deliver(["1", "2"]))
    await handler.wait_for("on_message")
    await line.delivery.accept(["3"])
    await line.delivery.deliver(["4", "5"])
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


async def test_nobody_overtakes_a_message_whose_task_has_not_started() -> None:
    line = await Line(RecordingHandler()).opened()
    await line.delivery.accept(["first"])
    await line.delivery.deliver(["second"])
    await line.settle()
    assert line.messages == ["first", "second"]


# Back-pressure.


async def test_accept_waits_above_the_limit_and_lets_in_by_order_of_arrival() -> None:
    handler = StallingHandler("busy")
    line = await Line(handler, limit=10 + MESSAGE_OVERHEAD).opened()
    line.start(line.delivery.deliver(["busy"]))
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
    line.start(line.delivery.deliver(["busy"]))
    await handler.wait_for("on_message")
    async with asyncio.timeout(GUARD):
        await line.delivery.accept([""] * 11)
    late = line.start(line.delivery.accept(["late"]))
    await turns()
    assert not late.done()
    handler.stalls["busy"].set()
    await line.settle()
    assert line.messages == ["busy", *[""] * 11, "late"]


async def test_deliver_waits_above_the_limit_too() -> None:
    handler = StallingHandler("busy")
    line = await Line(handler, limit=1).opened()
    line.start(line.delivery.deliver(["busy"]))
    await handler.wait_for("on_message")
    await line.delivery.deliver(["xx"])
    late = line.start(line.delivery.deliver(["late"]))
    await turns()
    assert not late.done()
    handler.stalls["busy"].set()
    await line.settle()
    assert line.messages == ["busy", "xx", "late"]


async def test_room_for_one_lets_one_in_and_the_others_go_on_waiting() -> None:
    handler = StallingHandler("busy", "x" * 20)
    line = await Line(handler, limit=10).opened()
    line.start(line.delivery.deliver(["busy"]))
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
    line.start(line.delivery.deliver(["busy"]))
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
    line.start(line.delivery.deliver(["busy"]))
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
    line.start(line.delivery.deliver(["busy"]))
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
    line.start(line.delivery.deliver(["1", "2"]))
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
    await line.delivery.deliver(["last", "same frame", "same frame"])
    await line.delivery.deliver(["late"])
    await line.settle()
    assert line.messages == ["last"]
    assert line.delivery.unheard == 5
    assert line.handler.names() == ["on_connected", "on_message", "on_closed"]


async def test_the_end_of_an_idle_session_is_told_in_a_task() -> None:
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
    stuck = line.start(line.delivery.deliver(["stuck", "unheard"]))
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
    line.start(line.delivery.deliver(["stuck"]))
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
    opening = line.delivery.open()
    await line.delivery.accept(["early"])
    await opening
    assert handler.names() == ["on_connected", "on_closed"]
    assert handler.values("on_closed") == [Close(1011, "Internal error")]
    assert line.delivery.unheard == 1
    (record,) = errors(caplog)
    assert record.getMessage() == "session public-id: the handler failed in on_connected"
    assert record.exc_info is not None
    assert record.exc_info[1] is handler.faults["on_connected"]


async def test_an_error_in_on_message_closes_with_1011_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    handler = StallingHandler(bad=ValueError("bug"))
    line = await Line(handler).opened()
    await line.delivery.deliver(["good", "bad", "after"])
    assert line.messages == ["good", "bad"]
    assert handler.values("on_closed") == [Close(1011, "Internal error")]
    assert [record.getMessage() for record in errors(caplog)] == ["session public-id: the handler failed in on_message"]


async def test_messages_behind_the_one_that_failed_are_counted() -> None:
    line = await Line(StallingHandler(bad=ValueError("bug"))).opened()
    await line.delivery.deliver(["bad", "after", "after"])
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
    assert [task.exception() for task in line.tasks] == [None]
    assert handler.names() == ["on_connected", "on_transport_error", "on_closed"]
    assert [record.getMessage() for record in errors(caplog)] == [f"session public-id: the handler failed in {name}"]


@pytest.mark.parametrize("name", ["on_connected", "message", "on_transport_error", "on_closed"])
async def test_a_cancellation_inside_the_handler_is_an_error_like_any_other(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    handler = StallingHandler(**{name: asyncio.CancelledError()})
    line = await Line(handler).opened()
    await line.delivery.deliver(["message"])
    line.session.interrupt(INTERRUPTED, ConnectionLost("cut"))
    await line.settle()
    assert not any(task.cancelled() for task in line.tasks)
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
    line.start(line.delivery.deliver(["flood"]))
    await line.handler.wait_for("on_message")
    await turns()
    line.session.interrupt(GOODBYE, None)
    await line.settle()
    assert errors(caplog) == []
    assert line.handler.names() == ["on_connected", "on_message", "on_closed"]


async def test_session_closed_of_another_session_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    line = await Line(StallingHandler(bad=SessionClosed(1000, "another"))).opened()
    await line.delivery.deliver(["bad"])
    assert line.handler.values("on_closed") == [Close(1011, "Internal error")]
    assert len(errors(caplog)) == 1


async def test_a_cancellation_of_the_task_itself_gets_through(caplog: pytest.LogCaptureFixture) -> None:
    handler = StallingHandler("busy")
    line = await Line(handler).opened()
    task = line.start(line.delivery.deliver(["busy"]))
    await handler.wait_for("on_message")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert errors(caplog) == []
    assert line.session.is_open
    await line.delivery.deliver(["next"])
    assert line.messages == ["busy", "next"]


async def test_the_end_is_told_when_on_connected_was_cancelled() -> None:
    handler = StallingHandler("on_connected")
    line = Line(handler)
    task = line.start(line.delivery.open())
    await handler.wait_for("on_connected")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    line.session.interrupt(INTERRUPTED, None)
    await line.settle()
    assert handler.names() == ["on_connected", "on_closed"]


async def test_cancel_ends_the_call_that_runs_and_no_other() -> None:
    handler = StallingHandler("busy")
    line = await Line(handler).opened()
    line.delivery.cancel()  # nothing runs: nothing happens
    task = line.start(line.delivery.deliver(["busy"]))
    await handler.wait_for("on_message")
    line.delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancel_before_the_first_call_has_begun_does_nothing() -> None:
    line = Line(RecordingHandler())
    opening = line.delivery.open()
    line.delivery.cancel()
    await opening
    assert line.handler.names() == ["on_connected"]


async def test_idle_means_that_no_call_runs() -> None:
    handler = StallingHandler("busy")
    line = await Line(handler).opened()
    assert line.delivery.is_idle()
    line.start(line.delivery.deliver(["busy"]))
    await handler.wait_for("on_message")
    assert not line.delivery.is_idle()
    handler.stalls["busy"].set()
    await line.settle()
    assert line.delivery.is_idle()
