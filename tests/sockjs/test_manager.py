"""The sessions of one endpoint: opened, found, fed, watched, forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sockbridge.errors import ConnectionLost, EndpointClosed, RemoteError, SessionBusy, TooManySessions, UsageError
from sockbridge.options import Options
from sockbridge.sockjs.framing import EXPIRED, FRAMED, INTERRUPTED, RAW, Close, Framing, Message
from sockbridge.sockjs.handler import HandlerSource
from sockbridge.sockjs.manager import SHUTDOWN, SessionManager
from sockbridge.sockjs.session import Session, State
from tests.fakes import GUARD, RecordingHandler, RecordingReceiver, make_handshake

GOODBYE = Close(1000, "bye")
LOST = ConnectionLost("cut")


class StuckHandler(RecordingHandler):
    """Never returns from ``stuck_in`` for the message ``stuck``, or at all where that is no message.

    Attributes:
        cancelled: the call was cancelled.
    """

    def __init__(self, stuck_in: str) -> None:
        super().__init__()
        self.stuck_in = stuck_in
        self.cancelled = asyncio.Event()

    async def on_connected(self, session: Session) -> None:
        await super().on_connected(session)
        await self._get_stuck("on_connected")

    async def on_message(self, session: Session, message: Message) -> None:
        await super().on_message(session, message)
        if message == "stuck":
            await self._get_stuck("on_message")

    async def on_closed(self, session: Session, close: Close) -> None:
        await super().on_closed(session, close)
        await self._get_stuck("on_closed")

    async def _get_stuck(self, name: str) -> None:
        if self.stuck_in == name:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()


class GoodReceiver(RecordingReceiver):
    """Behaves as a transport does: once the session has let go of it or it was cut, it releases itself."""

    def __init__(self, manager: SessionManager, session: Session) -> None:
        super().__init__(session)
        self.manager = manager

    def wake(self) -> None:
        super().wake()
        asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        assert self.session is not None
        if self.session.receiver is self:
            self.take_all()
        if self.session.receiver is not self:
            self.manager.release(self.session, self)


@asynccontextmanager
async def running(handler: HandlerSource, **options: object) -> AsyncIterator[SessionManager]:
    manager = SessionManager(handler, Options(**{"shutdown_grace": 0, **options}))  # type: ignore[arg-type]
    await manager.start()
    try:
        yield manager
    finally:
        await manager.stop()


async def connect(
    manager: SessionManager, url_id: str | None = None, framing: Framing = FRAMED
) -> tuple[Session, RecordingReceiver]:
    """An open session whose handler has been told; its receiver has taken the first frame."""
    session = manager.create(make_handshake(), framing, url_id)
    receiver = RecordingReceiver(session)
    assert manager.attach(session, receiver) is True
    receiver.take_all()
    manager.open(session)
    return session, receiver


async def deliver(manager: SessionManager, session: Session, messages: list[Message]) -> bool:
    """As a transport does it: outside any task."""
    inlet = manager.inlet(session)
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: future.set_result(inlet(messages)))
    async with asyncio.timeout(GUARD):
        return await future


async def turns(count: int = 5) -> None:
    """Let everything that is ready run; no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# Start, limits.


async def test_an_endpoint_that_has_not_started_takes_no_sessions() -> None:
    manager = SessionManager(RecordingHandler(), Options())
    with pytest.raises(EndpointClosed):
        manager.create(make_handshake())
    assert manager.counters.refused == 1
    assert len(manager) == 0
    await manager.stop()


def test_what_is_no_handler_is_refused_at_once() -> None:
    with pytest.raises(UsageError):
        SessionManager(print, Options())  # type: ignore[arg-type]


async def test_a_shared_handler_is_told_of_start_and_stop() -> None:
    handler = RecordingHandler()
    async with running(handler) as manager:
        assert handler.names() == ["on_start"]
        session, _ = await connect(manager)
    assert handler.names() == ["on_start", "on_connected", "on_closed", "on_stop"]
    assert session.state is State.CLOSED


async def test_handlers_of_a_class_are_not_told_of_start_and_stop() -> None:
    made: list[RecordingHandler] = []

    class PerSession(RecordingHandler):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    async with running(PerSession) as manager:
        assert made == []
        await connect(manager)
        await connect(manager)
    assert [handler.names() for handler in made] == [["on_connected", "on_closed"]] * 2


async def test_above_max_sessions_new_ones_are_refused_and_the_others_stay() -> None:
    async with running(RecordingHandler(), max_sessions=2) as manager:
        first, first_receiver = await connect(manager)
        second, _ = await connect(manager)
        with pytest.raises(TooManySessions, match=r"max_sessions \(2\)"):
            manager.create(make_handshake())
        assert manager.counters.refused == 1
        assert first.is_open
        assert second.is_open
        first.close()
        first_receiver.take_all()
        manager.release(first, first_receiver)
        await turns()
        manager.look(0)
        assert len(manager) == 1
        await connect(manager)


async def test_a_full_house_is_logged_once_until_there_is_room_again(caplog: pytest.LogCaptureFixture) -> None:
    async with running(RecordingHandler(), max_sessions=10) as manager:
        there = [await connect(manager) for _ in range(10)]

        def refuse(count: int) -> list[str]:
            caplog.clear()
            for _ in range(count):
                with pytest.raises(TooManySessions):
                    manager.create(make_handshake())
            return caplog.messages

        full = ["new sessions are refused: max_sessions (10) are open"]
        assert refuse(1000) == full
        manager.look(0)
        assert refuse(1) == []
        for session, _ in there[:2]:
            manager.forget(session)
        manager.look(0)
        await connect(manager)
        await connect(manager)
        assert refuse(2) == full
        assert manager.counters.refused == 1003


async def test_sessions_lists_the_open_ones_oldest_first() -> None:
    async with running(RecordingHandler()) as manager:
        first, _ = await connect(manager)
        second, _ = await connect(manager)
        third, _ = await connect(manager)
        manager.create(make_handshake())
        second.close()
        assert list(manager.sessions) == [first, third]
        assert len(manager) == 4
        for session in manager.sessions:
            session.close()
        assert list(manager.sessions) == []


async def test_ids_for_logs_are_random_and_not_those_of_the_url() -> None:
    async with running(RecordingHandler()) as manager:
        ids = {manager.create(make_handshake(), url_id=f"secret{number}").id for number in range(50)}
    assert len(ids) == 50
    assert not any("secret" in one for one in ids)


# Finding, attaching.


async def test_a_session_is_found_by_the_id_of_its_url_only() -> None:
    async with running(RecordingHandler()) as manager:
        session, _ = await connect(manager, "secret")
        websocket, _ = await connect(manager)
        assert manager.find("secret") is session
        assert manager.find(session.id) is None
        assert manager.find(websocket.id) is None


async def test_a_second_receiver_is_busy_and_counts_as_nothing() -> None:
    async with running(RecordingHandler()) as manager:
        session, receiver = await connect(manager, "x")
        with pytest.raises(SessionBusy):
            manager.attach(session, RecordingReceiver(session))
        assert session.receiver is receiver
        assert manager.counters.opened == 1
        manager.release(session, receiver)
        assert manager.attach(session, RecordingReceiver(session)) is False
        assert manager.counters.opened == 1


async def test_open_tells_the_application_at_once() -> None:
    handler = RecordingHandler()
    async with running(handler) as manager:
        session = manager.create(make_handshake(), url_id="x")
        manager.attach(session, RecordingReceiver(session))
        manager.open(session)
        assert handler.names(session) == ["on_connected"]


async def test_open_does_not_wait_for_the_application_and_messages_do() -> None:
    handler = StuckHandler("on_connected")
    async with running(handler) as manager:
        session = manager.create(make_handshake(), url_id="x")
        manager.attach(session, RecordingReceiver(session))
        manager.open(session)
        async with asyncio.timeout(GUARD):
            await manager.accept(session, ["early"])
        assert await deliver(manager, session, ["as early"]) is True
        await turns()
        assert handler.names(session) == ["on_connected"]


async def test_a_session_that_could_not_be_attached_is_discarded_untold() -> None:
    handler = RecordingHandler()
    async with running(handler) as manager:
        session = manager.create(make_handshake(), url_id="x")
        manager.forget(session)
        assert len(manager) == 0
        assert manager.find("x") is None
        assert handler.names(session) == []
        manager.forget(session)
        with pytest.raises(EndpointClosed):
            manager.attach(session, RecordingReceiver(session))
        assert session.receiver is None


# Messages in.


async def test_deliver_runs_the_handler_and_accept_does_not_wait_for_it() -> None:
    handler = StuckHandler("on_message")
    async with running(handler) as manager:
        session, _ = await connect(manager, "x")
        assert await deliver(manager, session, ["a"]) is True
        assert handler.values("on_message") == ["a"]
        async with asyncio.timeout(GUARD):
            await manager.accept(session, ["stuck"])
            await manager.accept(session, [])
            await manager.accept(session, ["behind"])
        await turns()
        assert handler.values("on_message") == ["a", "stuck"]


async def test_a_session_that_has_no_room_says_so_and_tells_when_it_has_some() -> None:
    handler = StuckHandler("on_message")
    told: list[str] = []
    async with running(handler, receive_buffer_limit=100) as manager:
        session, _ = await connect(manager)
        other, _ = await connect(manager)
        assert manager.has_room(session, lambda: told.append("never"))
        assert await deliver(manager, session, ["stuck"]) is True
        assert await deliver(manager, session, ["x" * 100]) is False
        assert not manager.has_room(session, lambda: told.append("room"))
        assert manager.has_room(other, lambda: told.append("never"))
        assert await deliver(manager, other, ["x" * 100]) is True
        assert told == []
        session.close()
        assert told == ["room"]
        manager.forget(session)
        assert manager.has_room(session, lambda: told.append("never")), "nothing waits for what is not there"
    assert told == ["room"]


async def test_accept_waits_while_a_session_has_no_room() -> None:
    handler = StuckHandler("on_message")
    async with running(handler, receive_buffer_limit=100) as manager:
        session, _ = await connect(manager, "x")
        await manager.accept(session, ["stuck"])
        await manager.accept(session, ["x" * 100])
        late = asyncio.create_task(manager.accept(session, ["late"]))
        await turns()
        assert not late.done()
        session.close()
        async with asyncio.timeout(GUARD):
            await late
        assert handler.values("on_message") == ["stuck"]


async def test_messages_of_an_ended_session_are_counted_and_no_error() -> None:
    handler = RecordingHandler()
    async with running(handler) as manager:
        session, _ = await connect(manager, "x")
        session.close()
        await manager.accept(session, ["a", "b"])
        assert manager.counters.unheard == 2
        assert handler.values("on_message") == []


async def test_a_message_for_a_session_that_is_forgotten_is_counted() -> None:
    async with running(RecordingHandler()) as manager:
        session, receiver = await connect(manager)
        session.close()
        receiver.take_all()
        await turns()
        manager.look(0)
        assert len(manager) == 0
        manager.drop(["late"])
        await manager.accept(session, ["later"])
        assert manager.counters.unheard == 2
        manager.release(session, receiver)


async def test_an_error_in_one_session_touches_no_other(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(RecordingHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            if message == "bad":
                raise ValueError("bug")
            await super().on_message(session, message)

    handler = Failing(echo=True)
    async with running(handler) as manager:
        good, good_receiver = await connect(manager)
        bad, bad_receiver = await connect(manager)
        await deliver(manager, bad, ["bad"])
        await deliver(manager, good, ["fine"])
        assert bad_receiver.take_all() == [b"o", b'c[1011,"Internal error"]']
        assert good_receiver.take_all() == [b"o", b'a["fine"]']
        assert handler.names(good) == ["on_connected", "on_message"]
        assert errors(caplog) == [f"session {bad.id}: the handler failed in on_message"]


# Messages out.


class CountingFraming:
    """The usual frames; counts how often a message is prepared."""

    open_frame = FRAMED.open_frame
    pack = staticmethod(FRAMED.pack)
    close_frame = staticmethod(FRAMED.close_frame)

    def __init__(self) -> None:
        self.prepared = 0

    def prepare(self, message: Message) -> bytes:
        self.prepared += 1
        return FRAMED.prepare(message)


async def test_broadcast_encodes_once_for_each_framing() -> None:
    framing, other = CountingFraming(), CountingFraming()
    async with running(RecordingHandler()) as manager:
        carried = [await connect(manager, framing=one) for one in (framing, framing, framing, other, RAW)]
        assert manager.broadcast('é"') == 5
        assert (framing.prepared, other.prepared) == (1, 1)
        frames = [receiver.take_all()[-1] for _, receiver in carried]
        assert frames == [b'a["\xc3\xa9\\""]'] * 4 + [b'\xc3\xa9"']


async def test_broadcast_to_some_leaves_the_others_alone() -> None:
    async with running(RecordingHandler()) as manager:
        first, first_receiver = await connect(manager)
        _, second_receiver = await connect(manager)
        assert manager.broadcast("a", (session for session in [first])) == 1
        assert manager.broadcast("b", []) == 0
        assert first_receiver.take_all() == [b"o", b'a["a"]']
        assert second_receiver.take_all() == [b"o"]


async def test_broadcast_goes_to_open_sessions_only() -> None:
    async with running(RecordingHandler()) as manager:
        session, _ = await connect(manager)
        session.close()
        assert manager.broadcast("a") == 0
        assert session.undelivered == 0


async def test_broadcast_of_bytes_sends_nothing_while_one_session_is_framed() -> None:
    async with running(RecordingHandler()) as manager:
        raw, raw_receiver = await connect(manager, framing=RAW)
        framed, _ = await connect(manager)
        with pytest.raises(TypeError):
            manager.broadcast(b"bytes")
        assert (raw.buffered, framed.buffered) == (0, 0)
        assert manager.broadcast(b"bytes", [raw]) == 1
        assert raw_receiver.take_all()[-1] == b"bytes"


# The end of a session.


async def test_the_clients_goodbye_ends_the_session_after_what_it_sent() -> None:
    handler = RecordingHandler()
    async with running(handler) as manager:
        session, receiver = await connect(manager)
        await manager.accept(session, ["last"])
        session.interrupt(GOODBYE, None)
        assert await handler.wait_for("on_closed") == [GOODBYE]
        assert handler.names(session) == ["on_connected", "on_message", "on_closed"]
        receiver.take_all()
        manager.release(session, receiver)
        assert len(manager) == 0
        assert (manager.counters.closed, manager.counters.cut, manager.counters.unheard) == (1, 0, 0)


async def test_a_fault_of_the_client_is_told_before_on_closed() -> None:
    handler = RecordingHandler()
    async with running(handler) as manager:
        session, _ = await connect(manager)
        error = RemoteError("broken")
        session.interrupt(Close(3000, "Broken framing.", clean=False), error)
        await handler.wait_for("on_closed")
        assert handler.names(session) == ["on_connected", "on_transport_error", "on_closed"]
        assert handler.values("on_transport_error") == [error]
        assert manager.counters.cut == 1


async def test_a_receiver_that_is_cut_off_interrupts_the_session() -> None:
    handler = RecordingHandler()
    async with running(handler) as manager:
        session, receiver = await connect(manager, "x")
        session.send("lost")
        manager.release(session, receiver, LOST)
        assert await handler.wait_for("on_closed") == [INTERRUPTED]
        manager.look(0)
        assert manager.find("x") is session, "the next receiver is told"
        late = RecordingReceiver(session)
        manager.attach(session, late)
        assert late.take_all() == [b'c[1002,"Connection interrupted"]']
        manager.release(session, late)
        manager.look(0)
        manager.look(5)
        assert manager.find("x") is None
        assert manager.counters.undelivered == 1


async def test_the_session_of_a_websocket_goes_as_soon_as_it_is_over_and_told() -> None:
    handler = RecordingHandler()
    async with running(handler) as manager:
        session, receiver = await connect(manager)
        manager.release(session, receiver, LOST)
        assert len(manager) == 1, "on_closed has not been called yet"
        await handler.wait_for("on_closed")
        await turns(1)
        assert len(manager) == 0, "without a look of the clock"


async def test_the_session_of_a_websocket_stays_until_on_closed_has_returned() -> None:
    handler = StuckHandler("on_closed")
    async with running(handler) as manager:
        session, receiver = await connect(manager)
        manager.release(session, receiver, LOST)
        await handler.wait_for("on_closed")
        await turns()
        assert len(manager) == 1


async def test_the_session_of_a_websocket_stays_until_its_close_frame_is_taken() -> None:
    handler = RecordingHandler()
    async with running(handler) as manager:
        session, receiver = await connect(manager)
        session.close()
        await handler.wait_for("on_closed")
        manager.look(0)
        assert session.receiver is receiver
        assert receiver.take_all() == [b"o", b'c[3000,"Go away!"]']
        manager.look(0)
        assert len(manager) == 0


async def test_what_waits_when_the_application_closes_is_dropped_and_counted() -> None:
    proceed = asyncio.Event()

    class Slow(RecordingHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            await super().on_message(session, message)
            await proceed.wait()

    handler = Slow()
    async with running(handler) as manager:
        session, receiver = await connect(manager)
        await deliver(manager, session, ["first", "behind it"])
        await manager.accept(session, ["a", "b"])
        session.close()
        proceed.set()
        await handler.wait_for("on_closed")
        assert handler.values("on_message") == ["first"]
        receiver.take_all()
        manager.release(session, receiver)
        assert manager.counters.unheard == 3


async def test_lost_messages_are_counted_and_logged_with_the_public_id(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "sockbridge.sockjs")
    async with running(RecordingHandler()) as manager:
        session, receiver = await connect(manager, "secret")
        manager.release(session, receiver)
        session.send("payload")
        manager.look(0)
        manager.look(5)
        assert manager.counters.undelivered == 1
    assert f"session {session.id}: 1 messages were not delivered" in caplog.text
    assert "secret" not in caplog.text
    assert "payload" not in caplog.text


# Time.


async def test_a_client_that_stays_away_expires_and_is_forgotten() -> None:
    handler = RecordingHandler()
    async with running(handler, disconnect_delay=5) as manager:
        session, receiver = await connect(manager, "x")
        manager.release(session, receiver)
        manager.look(100)
        manager.look(104.9)
        assert manager.find("x") is session
        manager.look(105)
        assert manager.find("x") is None
        assert len(manager) == 0
        assert await handler.wait_for("on_closed") == [EXPIRED]
        await turns()
        assert handler.names(session) == ["on_connected", "on_closed"]
        assert manager.counters.cut == 1


async def test_a_session_that_was_never_attached_expires_untold() -> None:
    handler = RecordingHandler()
    async with running(handler, disconnect_delay=5) as manager:
        session = manager.create(make_handshake(), url_id="x")
        manager.look(0)
        manager.look(5)
        await turns()
        assert len(manager) == 0
        assert handler.names(session) == []


async def test_expiry_lets_a_call_that_runs_end_before_on_closed() -> None:
    proceed = asyncio.Event()

    class Slow(RecordingHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            await proceed.wait()
            await super().on_message(session, message)

    handler = Slow()
    async with running(handler, disconnect_delay=5) as manager:
        session, receiver = await connect(manager, "x")
        manager.release(session, receiver)
        await manager.accept(session, ["1", "2"])
        manager.look(0)
        manager.look(5)
        await turns()
        assert not session.is_open
        assert "on_closed" not in handler.names(session)
        proceed.set()
        assert await handler.wait_for("on_closed") == [EXPIRED]
        assert handler.names(session) == ["on_connected", "on_message", "on_message", "on_closed"]
        manager.look(6)
        manager.look(11)
        assert len(manager) == 0


async def test_a_call_that_is_stuck_delays_on_closed_for_disconnect_delay_at_most() -> None:
    handler = StuckHandler("on_message")
    async with running(handler, disconnect_delay=5) as manager:
        session, receiver = await connect(manager, "x")
        await manager.accept(session, ["stuck", "behind"])
        await handler.wait_for("on_message")
        manager.release(session, receiver, LOST)
        manager.look(0)
        manager.look(4.9)
        await turns()
        assert "on_closed" not in handler.names(session)
        manager.look(5)
        assert await handler.wait_for("on_closed") == [INTERRUPTED]
        assert not handler.cancelled.is_set(), "a client that goes cancels nothing"
        assert manager.counters.unheard == 1
        assert len(manager) == 0


async def test_a_receiver_that_fails_ends_its_own_session_only(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(RecordingReceiver):
        def tick(self, now: float) -> ConnectionLost | None:
            raise ValueError("bug")

    handler = RecordingHandler()
    async with running(handler, heartbeat_delay=5) as manager:
        session, receiver = await connect(manager, "x")
        manager.release(session, receiver)
        manager.attach(session, Broken(session))
        other, other_receiver = await connect(manager, "y")
        for now in (0, 5, 10):
            manager.look(now)
        assert await handler.wait_for("on_closed") == [EXPIRED]
        assert manager.find("x") is None
        assert other.is_open
        assert other_receiver.take_all() == [b"o", b"h"]
        assert errors(caplog) == [f"session {session.id}: its receiver failed"]


async def test_the_clock_sees_to_time_by_itself() -> None:
    handler = RecordingHandler()
    async with running(handler, disconnect_delay=0.01) as manager:
        session, receiver = await connect(manager, "x")
        manager.release(session, receiver)
        assert await handler.wait_for("on_closed") == [EXPIRED]
        assert manager.find("x") is None


# Shutdown.


async def test_stop_says_goodbye_to_everybody_and_takes_no_more() -> None:
    handler = RecordingHandler()
    async with running(handler, shutdown_grace=1) as manager:
        receivers = []
        for number in range(3):
            session, receiver = await connect(manager, f"{number}")
            manager.release(session, receiver)
            good = GoodReceiver(manager, session)
            manager.attach(session, good)
            receivers.append(good)
        between_polls, receiver = await connect(manager, "between polls")
        manager.release(between_polls, receiver)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await manager.stop()
        assert loop.time() - began < 0.5, "it does not wait longer than the goodbyes take"
        assert [receiver.frames for receiver in receivers] == [[b'c[1001,"Server is shutting down"]']] * 3
        assert not any(receiver.is_cut for receiver in receivers)
        assert handler.values("on_closed") == [SHUTDOWN] * 4
        assert handler.names()[-1] == "on_stop"
        assert len(manager) == 0
        with pytest.raises(EndpointClosed):
            manager.create(make_handshake())
        await manager.stop()
        assert handler.names().count("on_stop") == 1


async def test_stop_cuts_receivers_that_do_not_take_their_goodbye() -> None:
    handler = RecordingHandler()
    async with running(handler, shutdown_grace=0.01) as manager:
        session, receiver = await connect(manager)
        await manager.stop()
        assert receiver.is_cut
        assert session.state is State.CLOSED
        assert handler.names(session) == ["on_connected", "on_closed"]


@pytest.mark.parametrize("stuck_in", ["on_connected", "on_message", "on_closed"])
async def test_stop_cancels_a_handler_that_is_stuck(stuck_in: str) -> None:
    handler = StuckHandler(stuck_in)
    async with running(handler, shutdown_grace=0.01) as manager:
        session = manager.create(make_handshake(), url_id="x")
        manager.attach(session, RecordingReceiver(session))
        manager.open(session)
        await manager.accept(session, ["stuck"])
        await handler.wait_for("on_connected")
        await turns()
        await manager.stop()
        assert handler.cancelled.is_set()
        assert handler.names(session)[-1] == "on_closed"
        assert handler.names(session).count("on_closed") == 1
        assert handler.names()[-1] == "on_stop"


async def test_stop_cancels_a_coroutine_that_is_stuck() -> None:
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def stuck(session: Session) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with running(stuck, shutdown_grace=0.01) as manager:
        await connect(manager)
        await started.wait()
        await manager.stop()
        assert cancelled.is_set()


async def test_stop_ends_a_call_and_not_the_task_that_brought_its_message() -> None:
    handler = StuckHandler("on_message")
    async with running(handler, shutdown_grace=0.01) as manager:
        session, _ = await connect(manager)

        async def read() -> str:
            await deliver(manager, session, ["stuck"])
            await handler.cancelled.wait()
            return "read on"

        request = asyncio.create_task(read())
        await handler.wait_for("on_message")
        await manager.stop()
        assert await request == "read on"
        assert handler.values("on_closed") == [SHUTDOWN]


async def test_stop_waits_for_a_call_that_ends_in_time() -> None:
    class Slow(RecordingHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            for _ in range(20):
                await asyncio.sleep(0)
            await super().on_message(session, message)

    handler = Slow()
    async with running(handler, shutdown_grace=GUARD) as manager:
        session, receiver = await connect(manager)
        await deliver(manager, session, ["slow"])
        receiver.take_all()
        manager.release(session, receiver)
        await manager.stop()
        assert handler.names() == ["on_start", "on_connected", "on_message", "on_closed", "on_stop"]


async def test_without_grace_every_handler_is_told_still() -> None:
    handler = RecordingHandler()
    async with running(handler, shutdown_grace=0) as manager:
        for _ in range(3):
            await connect(manager)
        await manager.stop()
        assert handler.values("on_closed") == [SHUTDOWN] * 3


async def test_stop_cuts_requests_that_the_client_has_not_finished() -> None:
    async with running(RecordingHandler(), shutdown_grace=0.01) as manager:
        unfinished, finished = RecordingReceiver(), RecordingReceiver()
        with manager.holding(finished):
            pass
        with manager.holding(unfinished):
            await manager.stop()
        assert (unfinished.is_cut, finished.is_cut) == (True, False)


async def test_stop_waits_for_nobody_who_ignores_that_he_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    proceed, ended = asyncio.Event(), asyncio.Event()

    class Stubborn(RecordingHandler):
        async def on_closed(self, session: Session, close: Close) -> None:
            await super().on_closed(session, close)
            while not proceed.is_set():
                try:
                    await proceed.wait()
                except asyncio.CancelledError:
                    continue
            ended.set()

    handler = Stubborn()
    async with running(handler, shutdown_grace=0.01) as manager:
        await connect(manager)
        async with asyncio.timeout(GUARD):
            await manager.stop()
        assert handler.names()[-1] == "on_stop"
        assert errors(caplog) == ["1 calls of the handler went on although they were cancelled"]
        proceed.set()
        async with asyncio.timeout(GUARD):
            await ended.wait()


async def test_an_error_in_on_stop_is_contained_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(RecordingHandler):
        async def on_stop(self) -> None:
            raise ValueError("bug")

    async with running(Failing()) as manager:
        await manager.stop()
    assert errors(caplog) == ["the handler failed in on_stop"]


async def test_stop_forgets_a_session_that_was_never_attached() -> None:
    handler = RecordingHandler()
    async with running(handler) as manager:
        session = manager.create(make_handshake(), url_id="x")
        await manager.stop()
        assert len(manager) == 0
        assert handler.names(session) == []


async def test_stop_leaves_no_task_behind_of_sessions_that_were_never_attached() -> None:
    before = asyncio.all_tasks()
    async with running(RecordingHandler()) as manager:
        manager.create(make_handshake(), url_id="x")
    await turns()
    assert asyncio.all_tasks() == before


async def test_stop_leaves_no_task_behind() -> None:
    handler = StuckHandler("on_closed")
    before = asyncio.all_tasks()
    async with running(handler, shutdown_grace=0.01) as manager:
        session, receiver = await connect(manager, "x")
        manager.release(session, receiver, LOST)
        await handler.wait_for("on_closed")
        manager.look(0)
        manager.look(5)
        assert len(manager) == 0
    await turns(1)
    assert asyncio.all_tasks() == before
    assert handler.cancelled.is_set()


async def test_a_handler_may_stop_its_own_endpoint() -> None:
    """Its call is cancelled, everybody is told all the same, and whoever stops as well waits for that."""

    class Stopper(RecordingHandler):
        manager: SessionManager

        async def on_message(self, session: Session, message: Message) -> None:
            self.record("on_message", session, message)
            await self.manager.stop()

    handler = Stopper()
    manager = handler.manager = SessionManager(handler, Options(shutdown_grace=0.05))
    await manager.start()
    session = manager.create(make_handshake())
    receiver = RecordingReceiver(session)
    manager.attach(session, receiver)
    manager.open(session)
    await deliver(manager, session, ["stop"])
    await handler.wait_for("on_message")
    await turns()  # it does stop: this one comes second
    manager.release(session, receiver)
    async with asyncio.timeout(GUARD):
        await manager.stop()
    assert handler.names()[-2:] == ["on_closed", "on_stop"]
    assert len(manager) == 0


async def test_an_overflow_is_told_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    handler = RecordingHandler()
    async with running(handler, send_buffer_limit=100) as manager:
        session, _ = await connect(manager)
        session.send("x" * 200)
        await handler.wait_for("on_closed")
        assert caplog.messages == [
            f"session {session.id}: closed, since more than send_buffer_limit (100 bytes) waited for the client; "
            "await session.drain() where much is sent"
        ]


async def test_a_fault_while_a_session_is_forgotten_leaves_the_clock_running(caplog: pytest.LogCaptureFixture) -> None:
    class Marking(RecordingHandler):
        async def on_connected(self, session: Session) -> None:
            session.attributes["fault"] = True

    class Faulty(SessionManager):
        def forget(self, session: Session) -> None:
            if session.attributes.pop("fault", False):
                raise ValueError("bug")
            super().forget(session)

    handler = Marking()
    manager = Faulty(handler, Options(disconnect_delay=5, shutdown_grace=0.05))
    await manager.start()
    session, receiver = await connect(manager, "x")
    manager.release(session, receiver)
    for now in (0, 5, 10):
        manager.look(now)
    assert errors(caplog) == [f"session {session.id}: its receiver failed"]
    assert len(manager) == 0
    await manager.stop()
