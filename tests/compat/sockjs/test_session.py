"""Sessions and managers in the package's words, over sessions of ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sockjs as theirs

import sockbridge
import sockbridge.compat.sockjs as sockjs
from sockbridge.compat.sockjs.session import MANAGER_LACKS, SESSION_LACKS
from sockbridge.sockjs.framing import RAW
from tests.fakes import RecordingReceiver, make_session

DOCUMENT = Path(__file__).parent.parent.parent.parent / "docs" / "compat.md"


class RecordingEndpoint:
    """Sends what is broadcast to those whom it is meant for."""

    def __init__(self) -> None:
        self.is_closed = False

    def broadcast(self, message: str, sessions: Any = None) -> int:
        for session in sessions:
            session.send(message)
        return len(sessions)

    async def close(self) -> None:
        self.is_closed = True


def opened(id: str = "one", framing: Any = sockbridge.FRAMED) -> tuple[sockjs.Session, RecordingReceiver]:
    """A session that is open, and what its client gets."""
    below = make_session(framing)
    receiver = RecordingReceiver(below)
    below.attach(receiver)
    session = sockjs.Session(id)
    session.bind(below, "a request")
    return session, receiver


def managing(*sessions: sockjs.Session) -> sockjs.SessionManager:
    manager = sockjs.SessionManager("it", {}, lambda manager, session, msg: None)
    manager.sessions = {session.id: session for session in sessions}
    manager.endpoint = RecordingEndpoint()
    return manager


# Misuse first.


@pytest.mark.parametrize("message", [b"bytes", 5, None, ["x"]])
def test_what_is_no_text_is_refused_at_the_call(message: Any) -> None:
    session, receiver = opened(framing=RAW)
    with pytest.raises(TypeError, match="send takes a str"):
        session.send(message)
    with pytest.raises(TypeError, match="broadcast takes a str"):
        managing(session).broadcast(message)
    assert receiver.take_all() == []


@pytest.mark.parametrize("frame", ["", "o", 'c[3000,"x"]', "h", '["x"]', "ax"])
def test_send_frame_refuses_what_is_no_frame_of_messages(frame: str) -> None:
    session, receiver = opened()
    with pytest.raises(ValueError, match="send_frame takes a frame of messages"):
        session.send_frame(frame)
    assert receiver.take_all() == [b"o"]


@pytest.mark.parametrize("frame", ["a[", "a[1]"])
def test_send_frame_refuses_what_is_no_list_of_texts(frame: str) -> None:
    session, receiver = opened()
    with pytest.raises(ValueError, match="send_frame takes a frame of messages"):
        session.send_frame(frame)
    assert receiver.take_all() == [b"o"]


def test_a_close_code_that_may_not_be_sent_leaves_the_session_open() -> None:
    session, _ = opened()
    with pytest.raises(sockbridge.InvalidCloseCode):
        session.close(1005, "x")
    assert session.state is sockjs.SessionState.OPEN
    assert not session.is_ended_here


def test_the_application_makes_no_session() -> None:
    with pytest.raises(sockbridge.UsageError, match="opened by its client"):
        managing().get("x", create=True)


@pytest.mark.parametrize("name", ["feed", "get_frame", "acquire", "expires", "tick", "heartbeat"])
def test_what_a_session_lacks_says_why_and_cannot_be_overridden(name: str) -> None:
    session, _ = opened()
    with pytest.raises(AttributeError, match=rf"Session has no attribute '{name}': it is "):
        getattr(session, name)
    with pytest.raises(sockbridge.UsageError, match=rf"Mine.{name} would never be called"):
        type("Mine", (sockjs.Session,), {name: lambda self: None})


@pytest.mark.parametrize("name", ["acquire", "release", "remote_messages", "start", "route_name"])
def test_what_a_manager_lacks_says_why_and_cannot_be_overridden(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"SessionManager has no attribute '{name}': it "):
        getattr(managing(), name)
    with pytest.raises(sockbridge.UsageError, match=rf"Mine.{name} would never be called"):
        type("Mine", (sockjs.SessionManager,), {name: lambda self: None})


def test_what_is_called_can_be_overridden() -> None:
    class Loud(sockjs.Session):
        def send(self, msg: str) -> bool:
            return super().send(msg.upper())

    class Polite(sockjs.SessionManager):
        def broadcast(self, message: str, exclude_session_ids: Any = None) -> None:
            super().broadcast(f"{message}, please", exclude_session_ids)

    session, receiver = opened()
    manager = Polite("it", {}, lambda manager, session, msg: None)
    manager.sessions, manager.endpoint = {"one": session}, RecordingEndpoint()
    manager.broadcast("tea")
    loud = Loud("loud")
    assert session.below is not None
    loud.bind(session.below, None)
    assert loud.send("thanks")
    assert receiver.take_all() == [b"o", b'a["tea, please","THANKS"]']


def test_an_attribute_that_nobody_knows_is_an_attribute_error() -> None:
    session, _ = opened()
    assert getattr(session, "user", "nobody") == "nobody"
    session.user = "Ada"  # type: ignore[attr-defined]  # as applications do
    assert session.user == "Ada"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"SessionManager has no attribute 'unheard_of'$"):
        getattr(managing(), "unheard_of")  # noqa: B009  # for the type checker


def test_what_the_package_has_is_here_or_is_told_not_to_be_and_the_document_says_the_same() -> None:
    section = DOCUMENT.read_text().partition("## What is not there")[2].partition("\n## ")[0]
    pairs: list[tuple[Any, Any, Any]] = [
        (theirs.Session("x"), sockjs.Session("x"), SESSION_LACKS),
        (theirs.SessionManager("x", {}, None), managing(), MANAGER_LACKS),
    ]
    for their, our, lacks in pairs:
        names = {name for name in dir(their) if not name.startswith("_")}
        assert names - set(dir(our)) == set(lacks)
        for name in lacks:
            assert re.search(rf"[`.]{name}`", section), name


# A session.


def test_a_session_that_no_client_has_opened_is_new() -> None:
    session = sockjs.Session("x", heartbeat_delay=7, disconnect_delay=3, debug=True)
    assert (session.id, session.state, session.request) == ("x", sockjs.SessionState.NEW, None)
    assert (session.heartbeat_delay, session.disconnect_delay) == (7, 3)
    assert not session.acquired
    assert not session.expired
    assert session.send("nobody hears it") is False
    session.close()
    session.expire()
    assert session.state is sockjs.SessionState.NEW


def test_its_states_are_open_closing_closed() -> None:
    session, receiver = opened()
    assert session.state is sockjs.SessionState.OPEN
    assert session.send("one") is True
    session.close(4000, "Bye")
    session.close(4001, "again")
    assert session.state is sockjs.SessionState.CLOSING
    assert session.is_ended_here
    assert session.send("two") is False
    assert receiver.take_all() == [b"o", b'a["one"]', b'c[4000,"Bye"]']
    assert not session.expired
    session.finish()
    assert session.state is sockjs.SessionState.CLOSED
    assert session.expired


def test_it_is_acquired_while_a_connection_carries_it() -> None:
    session, receiver = opened()
    assert session.acquired
    assert session.below is not None
    session.below.detach(receiver)
    assert not session.acquired
    assert not managing(session).is_acquired(session)
    assert session.request == "a request"


def test_expiring_it_is_not_an_end_by_the_application() -> None:
    session, _ = opened()
    session.expire()
    assert session.state is sockjs.SessionState.CLOSING
    assert not session.is_ended_here


def test_closing_it_when_the_client_has_gone_is_not_either() -> None:
    session, receiver = opened()
    assert session.below is not None
    session.below.abort(receiver, sockbridge.ConnectionLost("gone"))
    session.close()
    assert not session.is_ended_here


def test_a_ready_frame_reaches_either_kind_of_client() -> None:
    framed, framed_receiver = opened()
    raw, raw_receiver = opened(framing=RAW)
    for session in (framed, raw):
        session.send_frame('a["one","t\\"wo"]')
    assert framed_receiver.take_all() == [b"o", b'a["one","t\\"wo"]']
    assert raw_receiver.take_all() == [b"one", b't"wo']


def test_the_secret_of_the_client_is_not_in_what_is_logged() -> None:
    session, _ = opened("secret")
    assert repr(session) == str(session) == "<Session id open>"
    assert repr(sockjs.Session("secret")) == "<Session - new>"


# A manager.


def test_a_session_is_found_by_its_id() -> None:
    session, _ = opened("one")
    manager = managing(session)
    assert manager.get("one") is session
    assert manager.get("two", default=None) is None
    assert manager.get("two", False, "none") == "none"
    with pytest.raises(KeyError, match="two"):
        manager.get("two")


def test_a_session_that_is_over_is_not_active() -> None:
    (one, _), (two, _) = opened("one"), opened("two")
    two.finish()
    assert list(managing(one, two).active_sessions()) == [one]


def test_a_broadcast_reaches_who_is_open_and_not_excluded() -> None:
    sessions = [opened(id) for id in ("one", "two", "three")]
    sessions[2][0].close()
    manager = managing(*(session for session, _ in sessions), sockjs.Session("new"))
    manager.broadcast("all")
    manager.broadcast("not one", exclude_session_ids={"one", "unknown"})
    manager.broadcast("not two", ["two"])
    taken = [receiver.take_all() for _, receiver in sessions]
    assert taken == [[b"o", b'a["all","not two"]'], [b"o", b'a["all","not one"]'], [b"o", b'c[3000,"Go away!"]']]


async def test_clear_ends_all_sessions() -> None:
    session, receiver = opened()
    await managing(session).clear()
    assert receiver.take_all() == [b"o", b'c[3000,"Go away!"]']
    assert session.is_ended_here


async def test_stop_says_goodbye_and_closes_the_endpoint() -> None:
    session, receiver = opened()
    manager = managing(session)
    endpoint = manager.endpoint
    assert manager.started
    await manager.stop()
    assert isinstance(endpoint, RecordingEndpoint)
    assert endpoint.is_closed
    assert receiver.take_all() == [b"o", b'c[1001,"Server is shutting down"]']
    unused = sockjs.SessionManager("unused", {}, lambda manager, session, msg: None)
    assert not unused.started
    unused.broadcast("nobody is there")
    await unused.stop()
