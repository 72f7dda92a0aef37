"""The receiver without a socket keeps what a receiver owes its session."""

from __future__ import annotations

from sockbridge.errors import ConnectionLost, WriteTimeout
from sockbridge.sockjs.session import Session
from sockbridge.testing.loop import turns
from sockbridge.testing.memory_receiver import MemoryReceiver
from tests.fakes import make_session


class Reader:
    """Takes frames while it has room."""

    def __init__(self) -> None:
        self.has_room = True
        self.frames: list[bytes] = []
        self.let_go = 0
        self.cuts = 0

    def on_frame(self, frame: bytes) -> None:
        self.frames.append(frame)

    def on_let_go(self, receiver: MemoryReceiver) -> None:
        self.let_go += 1

    def on_cut(self) -> None:
        self.cuts += 1


def attached(session: Session) -> tuple[MemoryReceiver, Reader]:
    reader = Reader()
    receiver = MemoryReceiver("memory", session, reader, 10.0, reader.on_cut)
    session.attach(receiver)
    receiver.flush()
    return receiver, reader


async def test_frames_leave_together_at_the_end_of_the_turn() -> None:
    session = make_session()
    _, reader = attached(session)
    session.send("a")
    session.send("b")
    assert reader.frames == [b"o"]
    await turns(1)
    assert reader.frames == [b"o", b'a["a","b"]']


async def test_who_has_no_room_gets_nothing_and_all_when_there_is() -> None:
    session = make_session()
    receiver, reader = attached(session)
    reader.has_room = False
    session.send("a")
    await turns(1)
    assert reader.frames == [b"o"]
    reader.has_room = True
    receiver.wake()
    receiver.wake()
    await turns(1)
    assert reader.frames == [b"o", b'a["a"]']


async def test_a_goodbye_lets_go_once() -> None:
    session = make_session()
    _, reader = attached(session)
    session.close(4000, "Bye")
    await turns(1)
    assert (reader.frames[-1], reader.let_go) == (b'c[4000,"Bye"]', 1)


async def test_silence_is_no_fault_and_a_stalled_client_is_one() -> None:
    session = make_session()
    receiver, reader = attached(session)
    assert receiver.tick(0.0) is None
    reader.has_room = False
    assert receiver.tick(100.0) is None  # nothing waits
    session.send("x")
    assert [receiver.tick(now) for now in (200.0, 209.0)] == [None, None]
    reader.has_room = True
    assert receiver.tick(210.0) is None  # it takes again
    reader.has_room = False
    assert receiver.tick(211.0) is None
    assert isinstance(receiver.tick(221.0), WriteTimeout)
    assert not receiver.is_connected


async def test_a_cut_is_told_once_in_the_next_turn() -> None:
    session = make_session()
    receiver, reader = attached(session)
    receiver.cut()
    receiver.cut()
    assert (receiver.is_connected, reader.cuts) == (False, 0)
    await turns(1)
    assert reader.cuts == 1
    assert isinstance(receiver.tick(0.0), ConnectionLost)
    session.send("x")
    await turns(1)
    assert reader.frames == [b"o"]
