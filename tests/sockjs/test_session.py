"""The state machine of one conversation: the table of its module, limits, time, and a random walk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sockbridge.errors import (
    ConnectionLost,
    InvalidCloseCode,
    RemoteError,
    SendBufferOverflow,
    SessionBusy,
    SessionClosed,
)
from sockbridge.options import Options
from sockbridge.sockjs.framing import EXPIRED, FRAMED, INTERRUPTED, RAW, Binary, Close, Framing
from sockbridge.sockjs.session import HIGH_WATER, Session, State
from tests.fakes import GUARD, RecordingReceiver, make_handshake, make_session

KIB = 1024
LOST = ConnectionLost("cut")


class Endings:
    """Writes down what the session tells its manager: ``(close, error, is_ours)``."""

    def __init__(self) -> None:
        self.told: list[tuple[Close, RemoteError | None, bool]] = []

    def __call__(self, session: Session, close: Close, error: RemoteError | None, *, is_ours: bool) -> None:
        assert not session.is_open
        assert session.close_info == close
        self.told.append((close, error, is_ours))


def session_in(state: State, endings: Endings | None = None) -> Session:
    """A session that came to ``state`` the usual way; no receiver is attached."""
    session = Session("id", make_handshake(), Options(), FRAMED, endings)
    if state is State.CONNECTING:
        return session
    receiver = RecordingReceiver(session)
    session.attach(receiver)
    receiver.take_all()
    if state is not State.OPEN:
        session.close(4000, "first")
        receiver.take_all()
    if state is State.CLOSED:
        session.forget()
    session.detach(receiver)
    assert session.state is state
    assert session.receiver is None
    return session


def open_session(
    *, takes: bool = False, framing: Framing = FRAMED, **options: object
) -> tuple[Session, RecordingReceiver]:
    """An open session and its receiver, which has taken the first frame."""
    session = make_session(framing, **options)
    receiver = RecordingReceiver(session, takes=takes)
    session.attach(receiver)
    receiver.take_all()
    receiver.frames.clear()
    return session, receiver


def attach(session: Session) -> RecordingReceiver:
    receiver = RecordingReceiver(session)
    session.attach(receiver)
    return receiver


# The table: state x verb.


def verb_attach(session: Session) -> list[bytes]:
    return attach(session).take_all()


def verb_send(session: Session) -> list[bytes]:
    session.send("message")
    return []


def verb_close(session: Session) -> list[bytes]:
    session.close(4001, "second")
    return []


def verb_interrupt(session: Session) -> list[bytes]:
    session.interrupt(INTERRUPTED, LOST)
    return []


def verb_forget(session: Session) -> list[bytes]:
    session.forget()
    return []


FIRST = Close(4000, "first")
SECOND = Close(4001, "second")

TABLE: list[tuple[State, Callable[[Session], list[bytes]], State, Close | None, list[bytes], list[Close]]] = [
    # state, verb, state after, close_info after, frames taken, endings told
    (State.CONNECTING, verb_attach, State.OPEN, None, [b"o"], []),
    (State.CONNECTING, verb_send, State.CONNECTING, None, [], []),
    (State.CONNECTING, verb_close, State.CONNECTING, None, [], []),
    (State.CONNECTING, verb_interrupt, State.CONNECTING, None, [], []),
    (State.CONNECTING, verb_forget, State.CLOSED, EXPIRED, [], []),
    (State.OPEN, verb_attach, State.OPEN, None, [], []),
    (State.OPEN, verb_send, State.OPEN, None, [], []),
    (State.OPEN, verb_close, State.CLOSING, SECOND, [], [SECOND]),
    (State.OPEN, verb_interrupt, State.CLOSING, INTERRUPTED, [], [INTERRUPTED]),
    (State.OPEN, verb_forget, State.CLOSED, EXPIRED, [], [EXPIRED]),
    (State.CLOSING, verb_attach, State.CLOSING, FIRST, [b'c[4000,"first"]'], []),
    (State.CLOSING, verb_send, State.CLOSING, FIRST, [], []),
    (State.CLOSING, verb_close, State.CLOSING, FIRST, [], []),
    (State.CLOSING, verb_interrupt, State.CLOSING, FIRST, [], []),
    (State.CLOSING, verb_forget, State.CLOSED, FIRST, [], []),
    (State.CLOSED, verb_send, State.CLOSED, FIRST, [], []),
    (State.CLOSED, verb_close, State.CLOSED, FIRST, [], []),
    (State.CLOSED, verb_interrupt, State.CLOSED, FIRST, [], []),
    (State.CLOSED, verb_forget, State.CLOSED, FIRST, [], []),
]


@pytest.mark.parametrize(
    ("before", "verb", "after", "close", "frames", "told"),
    [pytest.param(*row, id=f"{row[0].value}-{row[1].__name__.removeprefix('verb_')}") for row in TABLE],
)
def test_the_table_of_states_and_verbs(
    before: State,
    verb: Callable[[Session], list[bytes]],
    after: State,
    close: Close | None,
    frames: list[bytes],
    told: list[Close],
) -> None:
    endings = Endings()
    session = session_in(before, endings)
    earlier = len(endings.told)
    assert verb(session) == frames
    assert session.state is after
    assert session.is_open is (after is State.OPEN)
    assert session.close_info == close
    assert [told_close for told_close, _, _ in endings.told[earlier:]] == told


@pytest.mark.parametrize("state", [State.CONNECTING, State.CLOSING, State.CLOSED])
def test_what_is_sent_while_not_open_is_dropped_and_counted(state: State) -> None:
    session = session_in(state)
    session.send("a")
    session.send_prepared(session.framing.prepare("b"))
    assert (session.undelivered, session.buffered) == (2, 0)


def test_the_first_receiver_opens_and_later_ones_continue() -> None:
    session = make_session()
    first = RecordingReceiver(session)
    assert session.transport == ""
    assert session.attach(first) is True
    assert session.transport == "fake"
    assert first.take_all() == [b"o"]
    session.detach(first)
    assert session.transport == "fake", "it carried the session last"
    assert session.attach(RecordingReceiver(session)) is False


def test_a_session_that_closes_in_its_first_turn_says_open_messages_and_close_in_order() -> None:
    session = make_session()
    receiver = attach(session)
    session.send("a")
    session.close(4000, "done")
    assert receiver.take_all() == [b"o", b'a["a"]', b'c[4000,"done"]']


def test_a_raw_session_has_neither_open_nor_close_text_and_keeps_binary_apart() -> None:
    session, receiver = open_session(framing=RAW)
    assert receiver.take_all() == []
    session.send("text")
    session.send(b"binary")
    frames = receiver.take_all()
    assert frames == [b"text", b"binary"]
    assert [type(frame) is Binary for frame in frames] == [False, True]
    session.close()
    assert receiver.take_all()[2:] == [b""]
    assert session.receiver is None


def test_what_a_handler_may_read_is_there_from_the_start() -> None:
    session = make_session()
    assert (session.id, session.handshake.remote, session.close_info) == ("id", "127.0.0.1", None)
    assert session.framing is FRAMED
    session.attributes["name"] = "value"
    assert session.attributes == {"name": "value"}
    assert repr(session) == "<Session id connecting ->"
    attach(session)
    assert repr(session) == "<Session id open fake>"


def test_iterating_over_the_session_of_a_class_handler_says_what_to_do() -> None:
    session, _ = open_session()
    with pytest.raises(TypeError, match="on_message"):
        aiter(session)


@pytest.mark.parametrize("state", list(State))
def test_a_wrong_close_code_is_refused_in_every_state(state: State) -> None:
    session = session_in(state)
    with pytest.raises(InvalidCloseCode):
        session.close(2010)
    assert session.state is state


def test_a_message_of_another_type_is_refused_and_nothing_is_sent() -> None:
    session, _ = open_session()
    with pytest.raises(TypeError):
        session.send(b"bytes")
    assert session.buffered == 0
    assert session.is_open


def test_by_default_the_close_is_go_away() -> None:
    endings = Endings()
    session = session_in(State.OPEN, endings)
    session.close()
    assert endings.told == [(Close(3000, "Go away!"), None, True)]


# Receivers.


def test_the_first_message_wakes_the_receiver_which_takes_them_all_at_once() -> None:
    session, receiver = open_session()
    for message in ("a", "b", "c"):
        session.send(message)
    assert receiver.wakes == 1
    assert receiver.frames == []
    assert receiver.take_all() == [b'a["a","b","c"]']
    assert session.buffered == 0
    session.send("d")
    assert receiver.wakes == 2


def test_has_more_tells_what_take_frame_would_return() -> None:
    session = make_session(heartbeat_delay=25)
    receiver = attach(session)
    assert session.has_more, "the open frame"
    receiver.take_all()
    assert not session.has_more
    session.send("a")
    assert session.has_more
    receiver.take_all()
    session.look(0)
    assert not session.has_more
    session.look(25)
    assert session.has_more
    receiver.take_all()
    assert not session.has_more
    session.close()
    assert session.has_more


def test_messages_between_two_receivers_are_kept_in_order() -> None:
    session, first = open_session()
    session.detach(first)
    session.send("a")
    session.send("b")
    assert attach(session).take_all() == [b'a["a","b"]']


def test_a_frame_holds_what_the_receiver_allows() -> None:
    session, receiver = open_session()
    for message in ("a", "b", "c"):
        session.send(message)
    assert session.take_frame(6) == b'a["a","b"]'
    assert session.buffered == 3
    assert session.take_frame(6) == b'a["c"]'
    assert session.take_frame(6) is None
    assert receiver.frames == []


def test_second_receiver_is_busy_and_the_first_stays() -> None:
    session, first = open_session()
    session.send("a")
    second = RecordingReceiver(session)
    second.transport = "other"
    wakes = first.wakes
    with pytest.raises(SessionBusy):
        session.attach(second)
    assert session.receiver is first
    assert session.transport == "fake"
    assert (first.wakes, first.is_cut, second.wakes) == (wakes, False, 0)
    assert session.is_open
    assert first.take_all() == [b'a["a"]']


def test_a_refused_receiver_can_not_detach_or_abort_the_session() -> None:
    session, first = open_session()
    second = RecordingReceiver(session)
    session.detach(second)
    session.abort(second, LOST)
    assert session.receiver is first
    assert session.is_open


def test_a_newcomer_is_told_1002_if_the_peer_of_the_first_has_gone() -> None:
    endings = Endings()
    session = Session("id", make_handshake(), Options(), FRAMED, endings)
    gone = attach(session)
    session.send("lost")
    gone.is_connected = False
    wakes = gone.wakes
    newcomer = attach(session)
    assert gone.wakes == wakes + 1, "it is told to end"
    assert newcomer.take_all()[-1] == b'c[1002,"Connection interrupted"]'
    ((close, error, is_ours),) = endings.told
    assert close == INTERRUPTED
    assert isinstance(error, ConnectionLost)
    assert not is_ours
    assert session.undelivered == 1


def test_abort_tells_the_error_and_whoever_comes_next_1002() -> None:
    endings = Endings()
    session = session_in(State.OPEN, endings)
    receiver = attach(session)
    session.send("lost")
    session.send("lost too")
    session.abort(receiver, LOST)
    assert session.receiver is None
    assert endings.told == [(INTERRUPTED, LOST, False)]
    assert session.undelivered == 2
    assert attach(session).take_all() == [b'c[1002,"Connection interrupted"]']


def test_every_late_receiver_is_told_the_true_code_again() -> None:
    session, first = open_session()
    session.close(4321, "why")
    assert first.take_all() == [b'c[4321,"why"]']
    assert session.receiver is None, "the close frame lets go of the receiver"
    for _ in range(3):
        assert attach(session).take_all() == [b'c[4321,"why"]']


def test_a_receiver_that_is_cut_while_closing_does_not_change_the_code() -> None:
    endings = Endings()
    session = session_in(State.OPEN, endings)
    receiver = attach(session)
    session.close(4321, "why")
    session.abort(receiver, LOST)
    assert attach(session).take_all() == [b'c[4321,"why"]']
    assert len(endings.told) == 1


def test_close_wakes_the_receiver_and_what_waits_is_delivered_first() -> None:
    session, receiver = open_session()
    session.send("last words")
    wakes = receiver.wakes
    session.close()
    assert receiver.wakes == wakes + 1
    session.send("too late")
    assert receiver.take_all() == [b'a["last words"]', b'c[3000,"Go away!"]']
    assert session.undelivered == 1


def test_forgetting_lets_go_of_the_receiver_and_counts_what_waits() -> None:
    session, receiver = open_session()
    session.send("lost")
    session.close()
    wakes = receiver.wakes
    session.forget()
    assert session.receiver is None
    assert receiver.wakes == wakes + 1
    assert session.undelivered == 1
    session.forget()
    assert session.undelivered == 1


# Overflow.


def test_a_burst_in_one_turn_is_no_overflow_where_the_peer_takes_it() -> None:
    session, receiver = open_session(takes=True, send_buffer_limit=100 * KIB)
    for _ in range(40):
        session.send("x" * 10 * KIB)
    receiver.take_all()
    assert session.is_open
    assert session.undelivered == 0
    assert sum(frame.count(b"x") for frame in receiver.frames) == 400 * KIB
    assert receiver.flushes > 0


def test_the_receiver_is_asked_to_flush_only_above_the_high_water_mark() -> None:
    session, receiver = open_session()
    session.send("x" * (HIGH_WATER - 2))
    assert (session.buffered, receiver.flushes) == (HIGH_WATER, 0)
    session.send("")
    assert receiver.flushes == 1


def overflow(session: Session) -> None:
    for number in range(4):
        session.send(f"{number}" * (40 * KIB - 2))


def test_overflow_closes_with_1008_and_counts_all_that_waited() -> None:
    endings = Endings()
    session = Session("id", make_handshake(), Options(send_buffer_limit=100 * KIB), FRAMED, endings)
    receiver = attach(session)
    assert receiver.take_all() == [b"o"]
    overflow(session)
    ((close, error, is_ours),) = endings.told
    assert close == Close(1008, "Too many messages waiting", clean=False)
    assert isinstance(error, SendBufferOverflow)
    assert error.limit == 100 * KIB
    assert is_ours
    assert session.undelivered == 4
    assert session.buffered == 0
    assert receiver.take_all() == [b"o", b'c[1008,"Too many messages waiting"]']


def test_overflow_needs_no_receiver() -> None:
    session, receiver = open_session(send_buffer_limit=100 * KIB)
    session.detach(receiver)
    overflow(session)
    assert session.state is State.CLOSING


@pytest.mark.parametrize(("policy", "kept"), [("drop_oldest", "23"), ("drop_newest", "01")])
def test_overflow_drops_and_counts(policy: str, kept: str) -> None:
    session, receiver = open_session(send_buffer_limit=100 * KIB, on_overflow=policy)
    overflow(session)
    assert session.is_open
    assert session.undelivered == 2
    assert session.buffered == 80 * KIB
    (frame,) = (session.take_frame(1024 * KIB),)
    assert frame is not None
    assert [message[0] for message in json.loads(frame[1:])] == list(kept)
    assert receiver.flushes > 0


def test_the_limit_itself_may_be_used_up() -> None:
    session, _ = open_session(send_buffer_limit=100 * KIB)
    session.send("x" * (100 * KIB - 2))
    assert session.is_open
    assert session.buffered == 100 * KIB
    session.send("")
    assert not session.is_open


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_a_message_above_the_limit_is_dropped_itself(policy: str) -> None:
    session, _ = open_session(send_buffer_limit=100 * KIB, on_overflow=policy)
    session.send("x" * 200 * KIB)
    assert (session.is_open, session.buffered, session.undelivered) == (True, 0, 1)


def test_a_limit_below_the_high_water_mark_holds() -> None:
    session, _ = open_session(send_buffer_limit=1000)
    session.send("x" * 998)
    assert session.is_open
    session.send("x")
    assert not session.is_open


# Drain.


def step(session: Session) -> bool:
    """One step of ``drain``: True if it has returned, False if it let others have a turn."""
    drain = session.drain()
    try:
        drain.send(None)
    except StopIteration:
        return True
    drain.close()
    return False


def test_drain_returns_at_once_while_little_waits() -> None:
    session, _ = open_session()
    session.send("x" * (HIGH_WATER - 2))
    assert step(session) is True


def test_drain_yields_once_after_a_burst_that_the_peer_swallowed() -> None:
    session, _ = open_session(takes=True)
    session.send("x" * HIGH_WATER)
    assert session.buffered == 0
    assert step(session) is False
    assert step(session) is True


async def test_a_loop_of_send_and_drain_leaves_others_their_turn() -> None:
    session, _ = open_session(takes=True)
    has_run = asyncio.Event()
    asyncio.get_running_loop().call_soon(has_run.set)
    for _ in range(2):
        session.send("x" * HIGH_WATER)
        await session.drain()
    assert has_run.is_set()


async def test_drain_waits_above_64_kib_until_enough_is_taken() -> None:
    session, receiver = open_session()
    for _ in range(3):
        session.send("x" * (40 * KIB - 2))
    waiting = [asyncio.create_task(session.drain()) for _ in range(2)]
    await asyncio.sleep(0)
    assert session.take_frame(40 * KIB) is not None
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert session.buffered == 80 * KIB
    assert not any(task.done() for task in waiting)
    assert session.take_frame(40 * KIB) is not None
    async with asyncio.timeout(GUARD):
        await asyncio.gather(*waiting)
    assert session.buffered == 40 * KIB
    assert receiver.frames == []


async def test_drain_goes_on_waiting_if_the_room_was_used_before_it_ran() -> None:
    session, _ = open_session()
    session.send("x" * HIGH_WATER)
    waiting = asyncio.create_task(session.drain())
    await asyncio.sleep(0)
    session.take_frame(1)
    session.send("x" * HIGH_WATER)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    session.take_frame(1)
    async with asyncio.timeout(GUARD):
        await waiting


async def test_drain_ends_when_dropping_makes_room() -> None:
    session, _ = open_session(send_buffer_limit=100 * KIB, on_overflow="drop_oldest")
    session.send("x" * 80 * KIB)
    waiting = asyncio.create_task(session.drain())
    await asyncio.sleep(0)
    session.send("x" * 40 * KIB)
    assert session.buffered < 50 * KIB  # half of the limit
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    is_done = waiting.done()
    waiting.cancel()
    assert is_done


@pytest.mark.parametrize("state", [State.CLOSING, State.CLOSED])
async def test_drain_raises_once_the_session_has_ended(state: State) -> None:
    with pytest.raises(SessionClosed, match="4000 first") as caught:
        await session_in(state).drain()
    assert (caught.value.code, caught.value.reason) == (4000, "first")


async def test_drain_that_waits_raises_when_the_session_ends() -> None:
    session, receiver = open_session()
    session.send("x" * HIGH_WATER)
    waiting = asyncio.create_task(session.drain())
    await asyncio.sleep(0)
    session.abort(receiver, LOST)
    with pytest.raises(SessionClosed):
        async with asyncio.timeout(GUARD):
            await waiting


# Time.


def test_a_heartbeat_is_due_after_silence_and_once() -> None:
    session, receiver = open_session(heartbeat_delay=25)
    assert session.look(100) is False
    session.look(124.9)
    assert receiver.take_all() == []
    session.look(125)
    assert receiver.wakes == 1
    assert receiver.take_all() == [b"h"]
    session.look(126)
    session.look(150.9)
    assert receiver.take_all() == [b"h"], "the next one counts from this one"
    session.look(151)
    assert receiver.take_all() == [b"h", b"h"]


def test_a_heartbeat_that_is_not_taken_is_not_urged_at_every_look() -> None:
    session, receiver = open_session(heartbeat_delay=25)
    for now in (100, 125, 125.5, 126, 149.9):
        session.look(now)
    assert receiver.wakes == 1
    session.look(150)
    assert receiver.take_all() == [b"h"]


def test_heartbeats_count_from_the_last_write() -> None:
    session, receiver = open_session(heartbeat_delay=25)
    session.look(100)
    session.send("a")
    receiver.take_all()
    session.look(120)  # sees that something was written since
    session.look(144.9)
    assert receiver.take_all() == [b'a["a"]']
    session.look(145)
    assert receiver.take_all() == [b'a["a"]', b"h"]


def test_a_message_makes_a_heartbeat_needless() -> None:
    session, receiver = open_session(heartbeat_delay=25)
    session.look(100)
    session.look(125)
    session.send("a")
    assert receiver.take_all() == [b'a["a"]']
    session.look(125.5)
    session.look(150)
    assert receiver.take_all() == [b'a["a"]']
    session.look(150.5)
    assert receiver.take_all() == [b'a["a"]', b"h"]


def test_a_session_that_is_quiet_is_looked_at_when_its_heartbeat_is_due() -> None:
    session, receiver = open_session(heartbeat_delay=25)
    receiver.take_all()
    receiver.is_quiet = True
    session.look(100)
    assert session.look_at == 125
    session.send("a")
    receiver.take_all()
    assert session.look_at == 0


def test_a_quiet_session_without_heartbeats_is_looked_at_seldom() -> None:
    session, receiver = open_session(heartbeat_delay=0)
    receiver.take_all()
    receiver.is_quiet = True
    session.look(100)
    assert session.look_at == 125


def test_a_look_between_the_goodbye_and_its_frame_puts_nothing_off() -> None:
    session, receiver = open_session(heartbeat_delay=25)
    receiver.take_all()
    receiver.is_quiet = True
    session.look(100)
    session.close()
    session.look(100.5)
    receiver.take_all()
    assert session.look_at == 0


def test_a_new_receiver_starts_the_count_of_heartbeats_anew() -> None:
    session, first = open_session(heartbeat_delay=25, disconnect_delay=60)
    session.look(100)
    session.look(125)  # due, but the receiver leaves before it takes it
    session.detach(first)
    second = attach(session)
    session.look(126)
    session.look(150.9)
    assert second.take_all() == []
    session.look(151)
    assert second.take_all() == [b"h"]


def test_heartbeats_can_be_switched_off_by_option_and_per_session() -> None:
    session, receiver = open_session(heartbeat_delay=0)
    assert session.has_heartbeat is False
    other, other_receiver = open_session()
    assert other.has_heartbeat is True
    other.has_heartbeat = False
    for now in (0, 1000, 2000):
        session.look(now)
        other.look(now)
    assert receiver.take_all() == other_receiver.take_all() == []


def test_a_session_expires_after_disconnect_delay_without_receiver() -> None:
    endings = Endings()
    session = Session("id", make_handshake(), Options(disconnect_delay=5), FRAMED, endings)
    receiver = attach(session)
    assert session.look(1000) is False
    session.detach(receiver)
    session.send("never fetched")
    assert session.look(1001) is False
    assert session.look(1005.9) is False
    assert session.look(1006) is True
    assert session.is_open, "looking does not end it"
    session.forget()
    assert endings.told == [(EXPIRED, None, False)]
    assert (session.close_info, session.undelivered) == (Close(1006, "Client did not come back", clean=False), 1)


def test_a_session_to_which_nobody_attached_expires_and_nobody_is_told() -> None:
    endings = Endings()
    session = Session("id", make_handshake(), Options(disconnect_delay=5), FRAMED, endings)
    assert session.look(10) is False
    assert session.look(15) is True
    session.forget()
    assert endings.told == []


def test_every_receiver_starts_the_delay_anew_while_the_session_is_open() -> None:
    session, receiver = open_session(disconnect_delay=5)
    session.detach(receiver)
    assert session.look(10) is False
    assert session.look(14) is False
    again = attach(session)
    session.look(15)
    session.detach(again)
    assert session.look(16) is False
    assert session.look(20.9) is False
    assert session.look(21) is True


def test_late_receivers_do_not_prolong_an_ended_session() -> None:
    session, receiver = open_session(disconnect_delay=5)
    session.close()
    receiver.take_all()
    assert session.look(10) is False
    late = attach(session)
    late.take_all()
    session.detach(late)
    session.detach(attach(session))  # this one left before it took the close frame
    assert session.look(14.9) is False
    assert session.look(15) is True


def test_the_delay_of_an_ended_session_counts_from_its_end() -> None:
    session, receiver = open_session(disconnect_delay=5)
    session.detach(receiver)
    assert session.look(10) is False
    session.close()
    assert session.look(14) is False
    assert session.look(18.9) is False
    assert session.look(19) is True


def test_looking_aborts_where_the_peer_has_gone() -> None:
    endings = Endings()
    session = session_in(State.OPEN, endings)
    receiver = attach(session)
    receiver.is_connected = False
    assert session.look(10) is False
    ((close, error, is_ours),) = endings.told
    assert (close, is_ours) == (INTERRUPTED, False)
    assert error is receiver.error
    assert session.receiver is None
    assert session.look(11) is False
    assert session.look(16) is True


# A random walk.


class Walk(RuleBasedStateMachine):
    """Whatever happens in whatever order: told once, in order, nothing lost while the receiver stays."""

    def __init__(self) -> None:
        super().__init__()
        self.endings = Endings()
        options = Options(send_buffer_limit=HIGH_WATER + 1000, disconnect_delay=5, heartbeat_delay=3)
        self.session = Session("id", make_handshake(), options, FRAMED, self.endings)
        self.receiver: RecordingReceiver | None = None
        self.number = 0  # of messages sent
        self.waiting: list[int] = []  # what the session should hold, in order
        self.lost = 0
        self.sizes: dict[int, int] = {}
        self.now = 0.0
        self.has_opened = False
        self.close_frames: set[bytes] = set()
        self.is_forgotten = False

    def check_lost(self, *, is_lost: bool) -> None:
        if is_lost:
            self.lost += len(self.waiting)
            self.waiting.clear()

    @precondition(lambda self: not self.is_forgotten)
    @rule(is_connected=st.booleans())
    def attach(self, is_connected: bool) -> None:
        newcomer = RecordingReceiver(self.session)
        current, was = self.session.receiver, self.session.state
        assert current is self.receiver
        try:
            is_new = self.session.attach(newcomer)
        except SessionBusy:
            assert current is not None
            assert current.is_connected
            assert self.session.state is was
            return
        assert is_new is (was is State.CONNECTING)
        self.check_lost(is_lost=current is not None and was is State.OPEN)
        newcomer.is_connected = is_connected
        self.receiver = newcomer

    @rule(size=st.sampled_from([0, 10, 30_000, 70_000]))
    def send(self, size: int) -> None:
        self.number += 1
        message = f"{self.number}:{'x' * size}"
        was_open = self.session.is_open
        self.session.send(message)
        if not was_open:
            self.lost += 1
            return
        self.waiting.append(self.number)
        self.sizes[self.number] = len(message) + 2
        self.check_lost(is_lost=not self.session.is_open)

    @precondition(lambda self: self.receiver is not None)
    @rule(max_bytes=st.sampled_from([1, 20, 65536]))
    def take(self, max_bytes: int) -> None:
        frame = self.session.take_frame(max_bytes)
        if frame is None:
            assert not self.waiting
        elif frame == b"o":
            assert not self.has_opened
            self.has_opened = True
        elif frame.startswith(b"a"):
            assert self.has_opened
            numbers = [int(message.partition(":")[0]) for message in json.loads(frame[1:])]
            assert numbers == self.waiting[: len(numbers)]
            del self.waiting[: len(numbers)]
        elif frame.startswith(b"c"):
            assert not self.waiting
            assert self.session.state is State.CLOSING
            self.close_frames.add(frame)
            self.receiver = None
        else:
            assert frame == b"h"

    @precondition(lambda self: self.receiver is not None)
    @rule()
    def detach(self) -> None:
        assert self.receiver is not None
        self.session.detach(self.receiver)
        self.receiver = None

    @precondition(lambda self: self.receiver is not None)
    @rule()
    def abort(self) -> None:
        assert self.receiver is not None
        self.check_lost(is_lost=self.session.is_open)
        self.session.abort(self.receiver, LOST)
        self.receiver = None

    @rule(code=st.sampled_from([1000, 3000, 4999]))
    def close(self, code: int) -> None:
        self.session.close(code, "bye")

    @rule()
    def leave(self) -> None:
        self.check_lost(is_lost=self.session.is_open)
        self.session.interrupt(Close(1000, ""), None)

    @rule(seconds=st.sampled_from([0.5, 2.0, 6.0]))
    def look(self, seconds: float) -> None:
        self.now += seconds
        was_open = self.session.is_open
        is_over = self.session.look(self.now)
        assert not (is_over and self.receiver is not None)
        if self.session.receiver is not self.receiver:
            assert self.receiver is not None
            assert not self.receiver.is_connected
            self.check_lost(is_lost=was_open)
            self.receiver = None
        if is_over:
            self.forget()

    def forget(self) -> None:
        self.check_lost(is_lost=True)
        self.session.forget()
        self.is_forgotten = True

    @invariant()
    def the_end_is_told_once_and_only_after_the_start(self) -> None:
        state = self.session.state
        assert len(self.endings.told) <= 1
        if state in (State.CONNECTING, State.OPEN):
            assert self.endings.told == []
            assert self.session.close_info is None
        else:
            assert self.session.close_info is not None
            assert state is State.CLOSED or len(self.endings.told) == 1

    @invariant()
    def every_message_waits_is_lost_or_was_taken(self) -> None:
        assert self.session.buffered == sum(self.sizes[number] for number in self.waiting)
        assert self.session.undelivered == self.lost

    @invariant()
    def all_close_frames_are_equal(self) -> None:
        assert len(self.close_frames) <= 1


class TestWalk(Walk.TestCase):  # type: ignore[name-defined,misc]  # made by hypothesis at run time
    settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
