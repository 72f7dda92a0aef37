"""One connection: the login, receipts, beats, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sockbridge.client.stomp.conversation import Conversation
from sockbridge.client.stomp.inbox import READ_ON, Inbox
from sockbridge.client.stomp.link import LinkEnded
from sockbridge.errors import (
    ConnectFailed,
    InDoubt,
    InvalidFrame,
    LoginRefused,
    ReceiptTimeout,
    SessionLost,
    StompError,
)
from sockbridge.stomp.frame import Command, Frame, Version
from sockbridge.testing import ManualClockLoop
from tests.client.stomp.fakes import FakeLink, conversation, options
from tests.fakes import GUARD


async def opening(link: FakeLink, **arguments: Any) -> None:
    """Open a conversation, which fails."""
    chosen = options(**arguments)
    talk = Conversation(link, chosen, Inbox(1), lambda *_: None)
    try:
        async with asyncio.timeout(GUARD):
            await talk.open({})
    finally:
        await talk.close()


def send(body: bytes = b"x") -> Frame:
    return Frame(Command.SEND, {"destination": "/a"}, body)


# The login.


async def test_a_refused_login_is_told_with_all_that_the_server_says() -> None:
    link = FakeLink()
    link.say("ERROR", {"message": "no such user", "version": "1.2"}, "who are you?")
    with pytest.raises(LoginRefused, match="no such user: who are you") as caught:
        await opening(link)
    assert (caught.value.message, caught.value.body) == ("no such user", "who are you?")
    assert caught.value.headers["version"] == "1.2"
    assert link.is_closed


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02",
        b"SSH-2.0-x\r\n",
        b"RECEIPT\nreceipt-id:1\n\n\0",
        b"CONNECTED\nversion:1.3\n\n\0",
        b"CONNECTED\nversion:1.1\n\n\0",  # was not offered
        b"CONNECTED\nversion:1.2\nheart-beat:x\n\n\0",
        b"CONNECTED\n\xff:1\n\n\0",
        b"CONNECTED\nno colon\n\n\0",
        b"x" * 100_000,
    ],
)
async def test_what_is_no_answer_to_connect_fails(answer: bytes) -> None:
    link = FakeLink()
    link.say_raw(answer)
    with pytest.raises(ConnectFailed):
        await opening(link, versions=["1.2"])


async def test_a_connection_that_ends_before_the_answer_fails() -> None:
    link = FakeLink()
    link.cut("the server closed the connection")
    with pytest.raises(ConnectFailed, match="the server closed the connection"):
        await opening(link)


async def test_a_server_that_does_not_answer_fails() -> None:
    with pytest.raises(ConnectFailed, match="within"):
        await opening(FakeLink(), timeout=0.01)


async def test_a_login_offers_all_versions_and_takes_what_is_chosen() -> None:
    link = FakeLink(version="1.1")
    talk = Conversation(link, options(heart_beat=(1, 2)), Inbox(1), lambda *_: None)
    async with asyncio.timeout(GUARD):
        _, frame = await asyncio.gather(talk.open({"login": "ann"}), link.log_in(server="x", heart_beat="0,0"))
    assert frame.headers == {"accept-version": "1.0,1.1,1.2", "heart-beat": "1000,2000", "login": "ann"}
    assert talk.version is Version.V1_1
    assert talk.server["server"] == "x"
    await talk.close()
    assert link.is_closed


async def test_a_server_that_names_no_version_speaks_1_0() -> None:
    link = FakeLink()
    link.say_raw(b"CONNECTED\nsession:1\n\n\0MESSAGE\na:b\\q\nmessage-id:1\ndestination:/a\n\nx\0")
    messages: list[Frame] = []
    talk = Conversation(link, options(), Inbox(1000), lambda _, frame: messages.append(frame))
    async with asyncio.timeout(GUARD):
        await talk.open({})
        await link.frame("CONNECT")
        ask = asyncio.create_task(talk.ask(send()))
        await link.confirm("SEND")
        await ask
    assert talk.version is Version.V1_0
    assert messages[0].headers["a"] == "b\\q"
    await talk.close()


# In pieces.


async def test_frames_may_come_in_pieces_and_several_at_once() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, messages):
        for piece in (b"MESS", b"AGE\na:1\n", b"\nx\0\n\nMESSAGE\na:2\n\n", b"\0"):
            link.say_raw(piece)
        for piece in ("MESSAGE\na:3\n\n\ud83d", "\ude00\0"):  # SockJS may cut a character
            link.say_raw(piece)
        async with asyncio.timeout(GUARD):
            await asyncio.gather(talk.ask(send()), link.confirm("SEND"))
        assert [frame.headers["a"] for frame in messages] == ["1", "2", "3"]
        assert messages[2].body == "\U0001f600".encode()


@pytest.mark.parametrize(
    "piece",
    [
        b"NONSENSE\n\n\0",
        b"SEND\n\n\0",
        b"CONNECTED\n\n\0",
        b"RECEIPT\n\nbody\0",
        b"MESSAGE\na:\\q\n\n\0",
        b"MESSAGE\ncontent-length:1001\n\n",
        b"MESSAGE\ncontent-length:1\n\nxx\0",
        b"MESSAGE\n" + b"a" * 100_000,
    ],
)
async def test_what_the_server_may_not_say_ends_it_for_good(piece: bytes) -> None:
    link = FakeLink()
    async with conversation(link, max_body_size=1000) as (talk, _):
        asking = asyncio.create_task(talk.ask(send()))
        await link.frame("SEND")
        link.say_raw(piece)
        with pytest.raises(InDoubt, match="cannot be read"):
            await asking
        assert not talk.may_return, "it would say the same again"


# Receipts.


async def test_receipts_find_those_who_wait_for_them() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _), asyncio.timeout(GUARD):
        asking = [asyncio.create_task(talk.ask(send(b"%d" % number))) for number in range(3)]
        frames = [await link.frame("SEND") for _ in range(3)]
        link.say("RECEIPT", {"receipt-id": "nobody's"})
        for frame in reversed(frames):
            link.say("RECEIPT", {"receipt-id": frame.headers["receipt"], "a": frame.body.decode()})
            link.say("RECEIPT", {"receipt-id": frame.headers["receipt"]})  # twice
        assert [(await one).headers["a"] for one in asking] == ["0", "1", "2"]


async def test_a_receipt_that_does_not_come_ends_the_call_and_not_the_connection() -> None:
    link = FakeLink()
    async with conversation(link, timeout=0.05) as (talk, _):
        with pytest.raises(ReceiptTimeout, match="RECEIPT") as caught:
            await talk.ask(send())
        assert caught.value.was_sent
        late = await link.frame("SEND")
        link.say("RECEIPT", {"receipt-id": late.headers["receipt"]})
        async with asyncio.timeout(GUARD):
            await asyncio.gather(talk.ask(send()), link.confirm("SEND"))


async def test_a_subscribe_without_receipt_is_explained() -> None:
    async with conversation(FakeLink(), timeout=0.01) as (talk, _):
        with pytest.raises(ReceiptTimeout, match="receipt=False"):
            await talk.ask(Frame(Command.SUBSCRIBE, {"id": "1"}))


async def test_more_calls_than_max_receipts_wait_before_they_send() -> None:
    link = FakeLink()
    async with conversation(link, max_receipts=2) as (talk, _), asyncio.timeout(GUARD):
        asking = [asyncio.create_task(talk.ask(send())) for _ in range(3)]
        await link.confirm("SEND")
        await link.frame("SEND")
        await link.confirm("SEND")
        await asking[0]
        await asking[2]
        asking[1].cancel()


async def test_a_cancelled_call_leaves_nothing_behind() -> None:
    link = FakeLink()
    async with conversation(link, max_receipts=1) as (talk, _), asyncio.timeout(GUARD):
        asking = asyncio.create_task(talk.ask(send()))
        frame = await link.frame("SEND")
        asking.cancel()
        await asyncio.wait([asking])
        link.say("RECEIPT", {"receipt-id": frame.headers["receipt"]})
        await asyncio.gather(talk.ask(send()), link.confirm("SEND"))


async def test_a_server_that_takes_nothing_ends_the_call() -> None:
    link = FakeLink()
    async with conversation(link, timeout=0.05) as (talk, _):
        link.has_room.clear()
        for call in (talk.write, talk.ask):
            with pytest.raises(ReceiptTimeout, match=r"took nothing .* not sent: SEND") as caught:
                await call(send())
            assert not caught.value.was_sent
        link.has_room.set()
        await talk.write(send(b"next"))
        assert (await link.frame("SEND")).body == b"next"


async def test_what_cannot_be_said_is_not_sent_and_harms_nothing() -> None:
    link = FakeLink(version="1.0")
    async with conversation(link) as (talk, _):
        with pytest.raises(InvalidFrame):
            await talk.ask(Frame(Command.SEND, {"a": "b\nc"}))
        await talk.write(send())
        assert (await link.frame("SEND")).body == b"x"


# The end.


async def test_an_error_ends_everybody_who_waits() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _):
        asking = [asyncio.create_task(talk.ask(send())) for _ in range(2)]
        frame = await link.frame("SEND")
        link.say("ERROR", {"message": " no ", "receipt-id": frame.headers["receipt"]}, b"\xff")
        link.message("s1")  # what follows is not looked at
        for one, is_this_frame in zip(asking, (True, False), strict=True):
            with pytest.raises(StompError, match="no: \ufffd") as caught:
                await one
            assert caught.value.headers["receipt-id"] == frame.headers["receipt"]
            assert caught.value.is_this_frame is is_this_frame
        assert talk.may_return
        for call in (talk.write, talk.ask):
            with pytest.raises(StompError):
                await call(send())


async def test_an_error_without_words_has_some() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _):
        link.say("ERROR")
        await talk.over.wait()
        assert str(talk.failure()) == "the server sent ERROR"


async def test_a_cut_leaves_what_waited_in_doubt_and_what_follows_unsent() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _):
        sending = asyncio.create_task(talk.ask(send(b"job")))
        subscribing = asyncio.create_task(talk.ask(Frame(Command.SUBSCRIBE, {"id": "1"})))
        await link.frame("SEND")
        await link.frame("SUBSCRIBE")
        link.cut("cut", in_doubt=["a"], undelivered=["b"])
        with pytest.raises(InDoubt, match="cut") as caught:
            await sending
        assert caught.value.in_doubt == (b"job",)
        with pytest.raises(InDoubt) as caught:
            await subscribing
        assert caught.value.in_doubt == ()
        for call in (talk.write, talk.ask):
            with pytest.raises(SessionLost) as lost:
                await call(send())
            assert type(lost.value) is SessionLost
            assert (lost.value.in_doubt, lost.value.undelivered) == (("a",), ("b",))


async def test_a_write_that_finds_the_connection_gone_ends_it() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _):
        link.cut("gone")
        with pytest.raises(SessionLost, match="gone"):
            await talk.write(send())
        assert talk.is_over


@pytest.mark.parametrize("receipt", [False, True])
async def test_an_error_that_lies_before_the_break_is_told_where_a_write_fails(receipt: bool) -> None:
    link = FakeLink()
    async with conversation(link) as (talk, messages):
        link.message("s1", "last")
        link.say("ERROR", {"message": "refused"})
        link.cut("gone")
        with pytest.raises(StompError, match="refused"):
            await (talk.ask(send()) if receipt else talk.write(send()))
        assert [frame.body for frame in messages] == [b"last"]


def test_where_a_write_fails_a_reader_that_is_held_back_is_not_waited_for_long() -> None:
    async def scene() -> None:
        link, inbox = FakeLink(), Inbox(1)
        async with conversation(link, inbox=inbox) as (talk, _):
            inbox.add(100)
            link.message("s1")
            await turns()
            link.cut("gone")
            writing = asyncio.create_task(talk.write(send()))
            await advance(0.5)
            assert not writing.done()
            await advance(1)
            with pytest.raises(SessionLost, match="gone"):
                await writing

    run(scene())


async def test_what_the_server_says_is_one_line_of_a_log_and_nothing_is_lost_of_it() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _):
        link.say("ERROR", {"message": "no\\nCRITICAL: forged \x1b[2J"}, "a\x07\nb" + "c" * 10_000)
        await talk.over.wait()
        failure = talk.failure()
        assert isinstance(failure, StompError)
        assert str(failure).startswith(r"no\nCRITICAL: forged \x1b[2J: a\x07\nbccc")
        assert len(str(failure)) < 1100
        assert (failure.message, failure.body[:4]) == ("no\nCRITICAL: forged \x1b[2J", "a\x07\nb")


async def test_a_goodbye_that_wants_no_return_is_remembered() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _):
        link.cut("go away", may_return=False)
        await talk.over.wait()
        assert not talk.may_return


async def test_close_ends_those_who_wait_and_may_be_called_twice() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _):
        asking = asyncio.create_task(talk.ask(send()))
        await link.frame("SEND")
        await talk.close()
        with pytest.raises(InDoubt, match="closed"):
            await asking
        await talk.close()


async def test_a_fault_of_our_own_ends_the_conversation_instead_of_hanging_it(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    link = FakeLink()
    talk = Conversation(link, options(), Inbox(1), fail)
    async with asyncio.timeout(GUARD):
        await asyncio.gather(talk.open({}), link.log_in())
        link.message("s1")
        await talk.over.wait()
    assert "ZeroDivisionError" in str(talk.failure())
    assert "the conversation failed" in caplog.text
    await talk.close()


# What waits.


async def test_reading_stops_when_nobody_takes_what_came() -> None:
    link, inbox = FakeLink(), Inbox(100)
    async with conversation(link, inbox=inbox) as (talk, messages):
        inbox.add(101)
        link.message("s1")
        link.message("s1")
        link.say("ERROR")
        await turns()
        assert len(messages) == 1, "it was noticed behind the first"
        inbox.remove(1)
        async with asyncio.timeout(GUARD):
            await talk.over.wait()
        assert len(messages) == 2


async def test_a_receipt_is_found_behind_messages_that_nobody_takes() -> None:
    """Who sends from the loop in which it takes messages must not wait for itself."""
    link, inbox = FakeLink(), Inbox(100)
    async with conversation(link, inbox=inbox) as (talk, messages), asyncio.timeout(GUARD):
        inbox.add(200)
        link.message("s1")
        link.message("s1")
        await asyncio.gather(talk.ask(send()), link.confirm("SEND"))
        assert len(messages) == 2


async def test_reading_on_has_a_limit_too_and_the_call_is_told_why() -> None:
    link, inbox = FakeLink(), Inbox(100)
    async with conversation(link, inbox=inbox, timeout=0.05) as (talk, _):
        inbox.add(100 * READ_ON + 1)
        link.message("s1")
        asking = asyncio.create_task(talk.ask(send()))
        await link.confirm("SEND")
        with pytest.raises(ReceiptTimeout, match="401 bytes of messages wait"):
            await asking


# Beats. The clock is moved by hand.


def run(coroutine: Any) -> None:
    with asyncio.Runner(loop_factory=ManualClockLoop) as runner:
        runner.run(coroutine)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def advance(seconds: float) -> None:
    """Let time pass in small steps, as it does."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ManualClockLoop)
    for _ in range(round(seconds / 0.1)):
        await loop.advance(0.1)


def test_beats_are_sent_in_time_and_not_where_something_else_was_sent() -> None:
    async def scene() -> None:
        link = FakeLink()
        async with conversation(link, heart_beat=(1, 0), connected={"heart-beat": "0,2000"}) as (talk, _):
            await advance(10)
            assert 5 <= link.beats <= 10, "one in two seconds at least"
            link.beats = 0
            for _ in range(20):
                await talk.write(send())
                await advance(0.5)
            assert link.beats == 0
            link.buffered = 1
            await advance(4)
            assert link.beats == 0, "what waits says it as well"

    run(scene())


def test_a_server_that_falls_silent_is_given_up_after_twice_the_interval() -> None:
    async def scene() -> None:
        link = FakeLink()
        async with conversation(link, heart_beat=(0, 1), connected={"heart-beat": "2000,0"}) as (talk, _):
            for _ in range(10):
                await advance(1.9)
                link.say_raw(b"\n")
                await turns()
            assert not talk.is_over
            asking = asyncio.create_task(talk.ask(send()))
            await advance(4.5)
            with pytest.raises(InDoubt, match="silent for 4 seconds"):
                await asking
            assert talk.may_return

    run(scene())


def test_who_does_not_read_cannot_say_that_the_server_is_silent() -> None:
    async def scene() -> None:
        link, inbox = FakeLink(), Inbox(100)
        async with conversation(link, inbox=inbox, heart_beat=(0, 1), connected={"heart-beat": "1000,0"}) as (talk, _):
            inbox.add(200)
            link.message("s1")
            await advance(10)
            assert not talk.is_over
            inbox.remove(200)
            await advance(3)
            assert talk.is_over

    run(scene())


def test_who_was_asleep_cannot_say_that_the_server_was_silent() -> None:
    """The loop was blocked, or the machine suspended: what came meanwhile could not be read yet."""

    async def scene() -> None:
        link = FakeLink()
        async with conversation(link, heart_beat=(0, 1), connected={"heart-beat": "1000,0"}) as (talk, _):
            loop = asyncio.get_running_loop()
            assert isinstance(loop, ManualClockLoop)
            await loop.advance(60)
            assert not talk.is_over
            await advance(3)
            assert talk.is_over

    run(scene())


@pytest.mark.parametrize(
    ("ours", "theirs"), [((0, 0), "1000,1000"), ((1, 1), "0,0"), ((1, 0), "1000,0"), ((0, 1), "0,1000")]
)
def test_where_one_side_wants_none_there_are_none(ours: tuple[float, float], theirs: str) -> None:
    async def scene() -> None:
        link = FakeLink()
        async with conversation(link, heart_beat=ours, connected={"heart-beat": theirs}) as (talk, _):
            await advance(10)
            assert not talk.is_over
            assert link.beats == 0

    run(scene())


def test_a_beat_that_finds_the_connection_gone_ends_it() -> None:
    async def scene() -> None:
        link = FakeLink()
        async with conversation(link, heart_beat=(1, 0), connected={"heart-beat": "0,1000"}) as (talk, _):
            link.send = gone  # type: ignore[method-assign]
            await advance(2)
            assert talk.is_over

    async def gone(octets: bytes) -> None:
        raise LinkEnded("gone")

    run(scene())
