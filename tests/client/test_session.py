"""A session over carriers that do what the test says: its abnormal ends first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sockbridge.client import Backoff, Break, Session
from sockbridge.client.carrier import Broken, Unknown, Unsent
from sockbridge.client.frames import HEARTBEAT, OPEN
from sockbridge.errors import ConnectFailed, SessionClosed, SessionLost
from sockbridge.sockjs.framing import RAW
from sockbridge.testing import ManualClockLoop
from tests.fakes import GUARD

from .fakes import FakeCarrier, Line

SOON = Backoff(first=0.001, limit=0.001)


async def turns(count: int = 10) -> None:
    """Let everything happen that waits for nothing but its turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def ended(session: Session) -> None:
    async with asyncio.timeout(GUARD):
        while session.close_info is None:
            await asyncio.sleep(0)


async def until_closed(carrier: FakeCarrier) -> None:
    async with asyncio.timeout(GUARD):
        while not carrier.is_closed:
            await asyncio.sleep(0)


async def check_gone(line: Line, *tasks: asyncio.Task[Any]) -> None:
    """Nothing is left of the session: no task, no carrier."""
    async with asyncio.timeout(GUARD):
        while not line.is_freed or asyncio.all_tasks() - {asyncio.current_task(), *tasks}:
            await asyncio.sleep(0)
    assert all(carrier.is_closed for carrier in line.carriers)


def waiters(session: Session) -> list[asyncio.Task[Any]]:
    """One of every kind, two of each."""
    verbs: list[Callable[[], Awaitable[Any]]] = [session.receive, session.flush, lambda: session.send("blocked")]
    return [asyncio.ensure_future(verb()) for verb in verbs for _ in range(2)]


# The end, and who waits for something.


@pytest.mark.parametrize(
    "end", ["cut", "goodbye", "write fails", "open again", "a fault of ours", "closed", "cancelled"]
)
async def test_however_it_ends_everybody_who_waits_is_told(end: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    carrier = FakeCarrier(is_confirming=False)
    line = Line(carrier)
    session = line.session(send_buffer_limit=1, close_timeout=0.01)
    await session.send("full")
    tasks = waiters(session)
    await turns()
    match end:
        case "cut":
            carrier.cut("cut by a test")
        case "goodbye":
            carrier.say_goodbye(3000, "Go away!")
        case "write fails":
            carrier.fault = Broken("it does not write")
            carrier.feed(HEARTBEAT)  # wakes the writer
        case "open again":
            carrier.feed(OPEN)
        case "a fault of ours":
            carrier.feed(ZeroDivisionError("we are wrong"))
        case "closed":
            await session.close()
        case "cancelled":
            session._life.cancel()
    async with asyncio.timeout(GUARD):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    kind = SessionClosed if end in ("goodbye", "closed") else SessionLost
    assert [type(result) for result in results] == [kind] * 6
    await check_gone(line)
    for late in waiters(session):
        with pytest.raises(kind):
            await late
    assert session.in_doubt == ("full",)
    assert not session.is_open
    await session.close()


@pytest.mark.parametrize("verb", ["send", "flush", "receive"])
async def test_who_waits_can_be_cancelled_without_harm(verb: str) -> None:
    carrier = FakeCarrier(is_confirming=False)
    line = Line(carrier)
    session = line.session(send_buffer_limit=1)
    await session.send("1")
    calls = {"send": lambda: session.send("never"), "flush": session.flush, "receive": session.receive}
    task = asyncio.ensure_future(calls[verb]())
    await turns()
    task.cancel()
    await asyncio.wait([task])
    carrier.confirm(1)
    await session.flush()
    carrier.bring("answer")
    assert await session.receive() == "answer"
    await session.close()
    assert carrier.written == [b'"1"']
    await check_gone(line)


async def test_a_goodbye_while_a_message_is_written_leaves_it_in_doubt() -> None:
    carrier = FakeCarrier()
    line = Line(carrier)
    session = line.session()
    carrier.gate.clear()
    await session.send("1")
    await carrier.until_written(1)
    await session.send("2")
    carrier.say_goodbye(4000, "enough")
    await ended(session)
    with pytest.raises(SessionClosed) as caught:
        await session.send("3")
    assert (caught.value.code, caught.value.reason) == (4000, "enough")
    assert (session.in_doubt, session.undelivered) == (("1",), ("2",))
    await check_gone(line)


async def test_what_came_before_the_end_can_be_received_after_it() -> None:
    line = Line()
    session = line.session()
    line.carriers[0].bring("1", "2")
    line.carriers[0].bring("3")
    line.carriers[0].cut()
    await ended(session)
    assert [await session.receive() for _ in range(3)] == ["1", "2", "3"]
    with pytest.raises(SessionLost):
        await session.receive()


async def test_an_iteration_ends_with_a_goodbye_and_raises_when_the_connection_broke() -> None:
    line = Line()
    session = line.session()
    line.carriers[0].bring("1", "2")
    line.carriers[0].say_goodbye(3000)
    assert [message async for message in session] == ["1", "2"]
    line = Line()
    session = line.session()
    line.carriers[0].cut("cut by a test")
    with pytest.raises(SessionLost, match="cut by a test"):
        async for _ in session:
            pass


async def test_a_lost_session_tells_what_is_in_doubt_and_what_never_left() -> None:
    carrier = FakeCarrier(is_confirming=False)
    session = Line(carrier).session()
    for text in ("1", "2"):
        await session.send(text)
    await carrier.until_written(2)
    carrier.confirm(1)
    carrier.gate.clear()
    await session.send("3")
    await carrier.until_written(3)
    await session.send("4")
    carrier.cut()
    with pytest.raises(SessionLost) as caught:
        await session.receive()
    assert (caught.value.in_doubt, caught.value.undelivered) == (("2", "3"), ("4",))


async def test_what_surely_has_not_left_is_not_in_doubt() -> None:
    carrier = FakeCarrier()
    session = Line(carrier).session()
    carrier.fault = Unsent("nobody listens")
    await session.send("1")
    await session.send("2")
    await ended(session)
    assert (session.in_doubt, session.undelivered) == ((), ("1", "2"))


async def test_a_goodbye_on_its_way_says_more_than_a_refused_request() -> None:
    carrier = FakeCarrier()
    session = Line(carrier).session()
    carrier.fault = Unknown("404")
    await session.send("1")
    await turns()
    assert session.close_info is None
    carrier.bring("last words")
    carrier.say_goodbye(3000, "Go away!")
    await ended(session)
    assert session.close_info is not None
    assert session.close_info.code == 3000
    assert await session.receive() == "last words"


async def test_what_was_answered_just_before_a_break_is_in_doubt() -> None:
    carrier = FakeCarrier()
    session = Line(carrier).session()
    await session.send("1")
    await session.flush()
    assert session.in_doubt == ()
    carrier.cut()
    await ended(session)
    assert session.in_doubt == ("1",)


# Closing.


async def test_close_sends_what_waits_first() -> None:
    line = Line()
    session = line.session()
    for number in range(1000):
        await session.send(str(number))
    await session.close()
    assert len(line.carriers[0].written) == 1000
    assert session.close_info is not None
    assert session.close_info.code == 1000
    assert session.in_doubt == session.undelivered == ()
    await check_gone(line)


async def test_close_gives_up_after_a_while_and_says_what_did_not_arrive(caplog: pytest.LogCaptureFixture) -> None:
    carrier = FakeCarrier()
    line = Line(carrier)
    session = line.session(close_timeout=0.01)
    carrier.gate.clear()
    await session.send("1")
    await carrier.until_written(1)
    await session.send("2")
    await session.close()
    assert (session.in_doubt, session.undelivered) == (("1",), ("2",))
    assert "1 messages are in doubt, 1 were not sent" in caplog.text
    await check_gone(line)


async def test_nothing_is_sent_while_it_closes() -> None:
    carrier = FakeCarrier(is_confirming=False)
    session = Line(carrier).session()
    await session.send("1")
    closing = asyncio.create_task(session.close())
    await turns()
    assert not session.is_open
    with pytest.raises(SessionClosed):
        await session.send("2")
    carrier.confirm(1)
    await closing


async def test_what_comes_while_it_closes_can_be_received() -> None:
    carrier = FakeCarrier(is_confirming=False)
    session = Line(carrier).session()
    await session.send("1")
    closing = asyncio.create_task(session.close())
    await turns()
    carrier.bring("answer")
    carrier.confirm(1)
    await closing
    assert await session.receive() == "answer"


async def test_two_who_close_wait_for_the_same_end() -> None:
    carrier = FakeCarrier(is_confirming=False)
    line = Line(carrier)
    session = line.session()
    await session.send("1")
    tasks = [asyncio.create_task(session.close()) for _ in range(2)]
    await turns()
    assert not any(task.done() for task in tasks), "the second cut the goodbye of the first"
    carrier.confirm(1)
    await asyncio.gather(*tasks)
    assert session.in_doubt == ()
    await check_gone(line)


async def test_a_close_that_is_cancelled_cuts() -> None:
    carrier = FakeCarrier(is_confirming=False)
    line = Line(carrier)
    session = line.session()
    await session.send("1")
    closing = asyncio.create_task(session.close())
    await turns()
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    await check_gone(line)
    assert session.in_doubt == ("1",)


@pytest.mark.parametrize("goodbye", [True, False])
async def test_the_server_may_end_it_while_it_closes(goodbye: bool) -> None:
    carrier = FakeCarrier(is_confirming=False)
    line = Line(carrier)
    session = line.session()
    await session.send("1")
    closing = asyncio.create_task(session.close())
    await turns()
    if goodbye:
        carrier.say_goodbye(3000)
    else:
        carrier.cut()
    await closing
    assert session.close_info is not None
    assert session.close_info.code == (3000 if goodbye else 1006)
    assert session.in_doubt == ("1",)
    await check_gone(line)


async def test_a_session_that_is_closed_at_once_leaves_nothing() -> None:
    line = Line()
    await line.session().close()
    await check_gone(line)


async def test_leaving_the_block_closes() -> None:
    line = Line()
    async with line.session() as session:
        await session.send("1")
    assert not session.is_open
    assert line.carriers[0].written == [b'"1"']
    await check_gone(line)


# Both ways.


async def test_messages_leave_together_and_in_order() -> None:
    line = Line()
    async with line.session() as session:
        for number in range(10):
            await session.send(str(number))
        await session.flush()
        assert line.carriers[0].written == [b'"%d"' % number for number in range(10)]


async def test_a_message_is_text() -> None:
    async with Line().session() as session:
        for wrong in (b"x", 5, None, ["x"]):
            with pytest.raises(TypeError):
                await session.send(wrong)  # type: ignore[arg-type]
        assert session.buffered == 0


@pytest.mark.parametrize("wrong", [5, None, [b"x"], bytearray(b"x")])
async def test_a_raw_message_is_text_or_bytes(wrong: Any) -> None:
    line = Line(FakeCarrier(framing=RAW))
    async with line.session() as session:
        with pytest.raises(TypeError):
            await session.send(wrong)
        await session.send(b"\xff")
    assert line.carriers[0].written == [b"\xff"]


async def test_send_waits_while_too_much_waits() -> None:
    carrier = FakeCarrier(is_confirming=False)
    async with Line(carrier).session(send_buffer_limit=100) as session:
        await session.send("x" * 50)
        sending = asyncio.create_task(session.send("y"))
        await turns()
        assert not sending.done()
        carrier.confirm(1)
        await sending
        await carrier.until_written(2)
        carrier.confirm(1)


async def test_nothing_is_read_while_too_much_waits_for_the_application() -> None:
    carrier = FakeCarrier()
    async with Line(carrier).session(receive_buffer_limit=200) as session:
        for number in range(10):
            carrier.bring(str(number) * 100)
        await turns()
        assert carrier.reads == 2
        for number in range(10):
            assert await session.receive() == str(number) * 100
            await turns()
        assert carrier.reads == 11


async def test_several_who_receive_get_each_message_once() -> None:
    carrier = FakeCarrier()
    async with Line(carrier).session() as session:
        tasks = [asyncio.create_task(session.receive()) for _ in range(4)]
        await turns()
        carrier.bring("1")
        carrier.bring("2", "3")
        await turns()
        carrier.bring("4")
        async with asyncio.timeout(GUARD):
            assert sorted(map(str, await asyncio.gather(*tasks))) == ["1", "2", "3", "4"]


async def test_what_the_connection_owes_is_written_though_there_is_nothing_to_send() -> None:
    carrier = FakeCarrier()
    async with Line(carrier).session():
        carrier.feed(HEARTBEAT)
        await turns()
        assert carrier.debts_paid == 1


# Silence.


async def test_a_silent_server_is_poked_and_then_given_up() -> None:
    carrier = FakeCarrier()
    line = Line(carrier)
    session = line.session(silence_timeout=0.02)
    with pytest.raises(SessionLost, match=r"silent for 0\.02 seconds"):
        async with asyncio.timeout(GUARD):
            await session.receive()
    assert carrier.pokes == 1
    await check_gone(line)


def test_an_application_that_does_not_read_is_no_silent_server() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ManualClockLoop)
        carrier = FakeCarrier()
        async with Line(carrier).session(silence_timeout=10, receive_buffer_limit=1) as session:
            carrier.bring("1")
            for _ in range(20):
                await loop.advance(5)
            assert await session.receive() == "1"
            assert session.is_open

    with asyncio.Runner(loop_factory=ManualClockLoop) as runner:
        runner.run(scene())


# Connecting again.


@pytest.mark.parametrize("ending", ["cut", 1001, 1002, 2010, 1012, 1013])
async def test_it_connects_again_and_reports_what_is_in_doubt(ending: str | int) -> None:
    first, second = FakeCarrier(is_confirming=False), FakeCarrier()
    line = Line(first, ConnectFailed("not yet"), second)
    breaks: list[Break] = []
    session = line.session(reconnect=SOON, on_reconnect=breaks.append)
    await session.send("1")
    await first.until_written(1)
    if isinstance(ending, int):
        first.say_goodbye(ending, "later")
    else:
        first.cut("cut by a test")
    await until_closed(first)
    await session.send("2")
    await second.until_written(1)
    assert [broken.in_doubt for broken in breaks] == [("1",)]
    assert breaks[0].transport == "fake"
    assert ("cut by a test" if ending == "cut" else f"{ending} later") in breaks[0].reason
    assert second.written == [b'"2"'], "what is in doubt is not sent again by itself"
    assert (session.reconnects, session.failures) == (1, {"other": "why"})
    assert first.is_closed
    await session.close()
    await check_gone(line)


@pytest.mark.parametrize("code", [1000, 1008, 1011, 3000, 4000])
async def test_it_does_not_come_back_after_a_goodbye_that_is_meant(code: int) -> None:
    line = Line(FakeCarrier(), FakeCarrier())
    session = line.session(reconnect=SOON)
    line.carriers[0].say_goodbye(code)
    await ended(session)
    await check_gone(line)
    assert line.attempts == 0


async def test_what_the_application_returns_is_sent_before_all_that_waits() -> None:
    first, second = FakeCarrier(is_confirming=False), FakeCarrier()

    async def again(broken: Break) -> list[str]:
        return ["login", *map(str, broken.in_doubt)]

    async with Line(first, second).session(reconnect=SOON, on_reconnect=again) as session:
        await session.send("1")
        await first.until_written(1)
        first.cut()
        await until_closed(first)
        await session.send("2")
        await second.until_written(3)
        assert second.written == [b'"login"', b'"1"', b'"2"']
        await session.flush()
        assert session.buffered == 0


async def test_a_flush_hears_of_the_break_and_the_next_one_of_nothing() -> None:
    first, second = FakeCarrier(is_confirming=False), FakeCarrier()
    async with Line(first, second).session(reconnect=SOON) as session:
        await session.send("1")
        flush = asyncio.create_task(session.flush())
        await first.until_written(1)
        first.cut()
        with pytest.raises(SessionLost) as caught:
            await flush
        assert caught.value.in_doubt == ("1",)
        await session.send("2")
        while session.reconnects == 0:
            await asyncio.sleep(0)
        await session.flush()
        assert second.written == [b'"2"']


@pytest.mark.parametrize(
    "on_reconnect", [lambda broken: 1 / 0, lambda broken: [b"bytes"], lambda broken: 5], ids=["raises", "bytes", "5"]
)
async def test_a_callback_that_fails_ends_the_session_and_everybody_is_told(
    on_reconnect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first = FakeCarrier(is_confirming=False)
    line = Line(first, FakeCarrier())
    session = line.session(reconnect=SOON, on_reconnect=on_reconnect)
    await session.send("1")
    receiving = asyncio.create_task(session.receive())
    await first.until_written(1)
    first.cut()
    with pytest.raises(SessionLost) as caught:
        await receiving
    assert caught.value.in_doubt == ("1",)
    assert isinstance(caught.value.__cause__, (ZeroDivisionError, TypeError))
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]
    await check_gone(line)


async def test_it_gives_up_after_the_last_attempt() -> None:
    line = Line(FakeCarrier())
    session = line.session(reconnect=Backoff(first=0.001, limit=0.001, attempts=3))
    await session.send("1")
    await session.flush()
    line.carriers[0].cut("cut by a test")
    with pytest.raises(SessionLost, match="cut by a test; given up after 3 attempts"):
        await session.receive()
    assert line.attempts == 3
    await check_gone(line)


async def test_a_server_that_cuts_each_connection_at_once_is_given_up_as_well() -> None:
    carriers = [FakeCarrier() for _ in range(10)]
    for carrier in carriers:
        carrier.cut()
    line = Line(*carriers)
    session = line.session(reconnect=Backoff(first=0.1, limit=0.1, attempts=3))
    async with asyncio.timeout(GUARD):
        with pytest.raises(SessionLost, match="given up after 3 attempts"):
            await session.receive()
    assert line.attempts == 3


async def test_close_ends_it_while_it_connects_again() -> None:
    line = Line(FakeCarrier())
    session = line.session(reconnect=Backoff(first=100, limit=100))
    line.carriers[0].cut()
    await turns()
    assert session.is_open
    async with asyncio.timeout(GUARD):
        await session.close()
    await check_gone(line)
    assert session.close_info is not None
    assert session.close_info.code == 1000


async def test_close_waits_a_while_for_a_new_connection_if_something_waits() -> None:
    first, second = FakeCarrier(), FakeCarrier()
    line = Line(first, second)
    session = line.session(reconnect=SOON)
    first.cut()
    await turns()
    await session.send("1")
    await session.close()
    assert second.written == [b'"1"']
    assert session.undelivered == ()
    await check_gone(line)


async def test_the_callback_may_close_the_session() -> None:
    first = FakeCarrier()
    line = Line(first, FakeCarrier())

    async def close(broken: Break) -> None:
        await session.close()

    session = line.session(reconnect=SOON, on_reconnect=close)
    first.cut()
    await ended(session)
    await check_gone(line)


async def test_a_session_shows_what_it_is() -> None:
    session = Line().session()
    assert repr(session) == "<client Session http://test fake open>"
    await session.close()
    assert "1000" in repr(session)
    assert session.subprotocol is None
