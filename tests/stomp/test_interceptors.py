"""Hooks around frames: their order, and what one does to the next."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from sockbridge.sockjs.framing import FRAMED, RAW, Framing
from sockbridge.stomp.connection import StompConnection
from sockbridge.stomp.frame import Command, Frame
from sockbridge.stomp.interceptors import Interceptor, inbound_of, outbound_of
from tests.stomp.fakes import login, make_frame, make_message, subscribe

FRAME = make_frame("SEND", destination="/a")


class Trace(Interceptor):
    """Adds its name to the header ``trace``, both ways."""

    def __init__(self, name: str) -> None:
        self.name = name

    def mark(self, frame: Frame) -> Frame:
        return replace(frame, headers={**frame.headers, "trace": frame.headers.get("trace", "") + self.name})

    async def inbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
        return self.mark(frame)

    def outbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
        return self.mark(frame)


class InboundOnly(Interceptor):
    async def inbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
        return None


class Outbound(Interceptor):
    """Drops frames of one command, and counts all it sees."""

    def __init__(self, drops: Command | None = None) -> None:
        self.drops = drops
        self.seen: list[Command] = []

    def outbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
        self.seen.append(frame.command)
        return None if frame.command is self.drops else frame


class Broken(Interceptor):
    def outbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
        if frame.command is Command.MESSAGE:
            raise LookupError("the application's own")
        return frame


async def test_one_that_overrides_nothing_hands_frames_on() -> None:
    connection, _ = login()
    assert await Interceptor().inbound(connection, FRAME) is FRAME
    assert Interceptor().outbound(connection, FRAME) is FRAME


def test_one_that_overrides_nothing_costs_nothing() -> None:
    assert inbound_of([Interceptor(), Outbound()]) == []
    assert outbound_of([Interceptor(), InboundOnly()]) is None
    assert outbound_of([]) is None
    assert inbound_of([]) == []


def test_an_inherited_override_counts() -> None:
    class Heir(Trace):
        pass

    assert len(inbound_of([Heir("a")])) == 1
    assert outbound_of([Heir("a")]) is not None


async def test_what_comes_in_passes_in_the_order_of_the_list() -> None:
    connection, _ = login()
    frame: Frame | None = FRAME
    for inbound in inbound_of([Trace("a"), Interceptor(), Trace("b")]):
        assert frame is not None
        frame = await inbound(connection, frame)
    assert frame is not None
    assert frame.headers["trace"] == "ab"


def test_what_goes_out_passes_in_the_opposite_order() -> None:
    connection, carrier = login(watch=outbound_of([Trace("a"), Interceptor(), Trace("b")]))
    connection.send_receipt(make_frame("SEND", receipt="r"))
    assert carrier.frames[0].headers == {"receipt-id": "r", "trace": "ba"}


def test_what_one_drops_the_next_does_not_see() -> None:
    outer, inner = Outbound(), Outbound(drops=Command.RECEIPT)
    connection, carrier = login(watch=outbound_of([outer, inner]))
    connection.send_receipt(make_frame("SEND", receipt="r"))
    assert (outer.seen, inner.seen) == ([Command.CONNECTED], [Command.CONNECTED, Command.RECEIPT])
    assert carrier.frames == []


def test_a_change_for_one_recipient_changes_no_other(caplog: pytest.LogCaptureFixture) -> None:
    connection, carrier = login(watch=outbound_of([Trace("a")]))
    other, other_carrier = login()
    message = make_message()
    for one in (connection, other):
        subscribe(one).deliver(message)
    assert carrier.frames[0].headers["trace"] == "a"
    assert "trace" not in other_carrier.frames[0].headers
    assert message.headers == {}


def test_a_failing_one_loses_the_frame_and_no_other_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    outer = Outbound()
    connection, carrier = login(watch=outbound_of([outer, Broken()]))
    with caplog.at_level(logging.ERROR, logger="sockbridge.stomp"):
        subscribe(connection).deliver(make_message(body=b"private"))
    connection.send_receipt(make_frame("SEND", receipt="r"))
    assert [frame.command for frame in carrier.frames] == [Command.RECEIPT]
    assert Command.MESSAGE not in outer.seen
    (record,) = caplog.records
    assert record.getMessage() == "connection id: an interceptor failed for MESSAGE"
    assert record.exc_info is not None
    assert "private" not in caplog.text


NO_FRAMES = {
    "no frame": "MESSAGE",
    "a number as value": make_frame("MESSAGE", x=5),  # type: ignore[arg-type]
    "a number as name": Frame(Command.MESSAGE, {5: "x"}),  # type: ignore[dict-item]
    "text as body": Frame(Command.MESSAGE, {}, "text"),  # type: ignore[arg-type]
    "no body": Frame(Command.MESSAGE, {}, None),  # type: ignore[arg-type]
    "NUL in a value": make_frame("MESSAGE", x="a\0b"),
    "NUL in a name": Frame(Command.MESSAGE, {"a\0b": "x"}),
    "an empty name": Frame(Command.MESSAGE, {"": "x"}),
}


@pytest.mark.parametrize("made", NO_FRAMES)
@pytest.mark.parametrize("framing", [FRAMED, RAW])
def test_what_is_no_frame_is_not_sent_and_harms_nobody_else(
    made: str, framing: Framing, caplog: pytest.LogCaptureFixture
) -> None:
    class Sloppy(Interceptor):
        def outbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
            return NO_FRAMES[made] if frame.command is Command.MESSAGE else frame  # type: ignore[return-value]

    connection, carrier = login(watch=outbound_of([Sloppy()]), framing=framing)
    with caplog.at_level(logging.ERROR, logger="sockbridge.stomp"):
        subscribe(connection).deliver(make_message())
    assert carrier.wire == []
    assert len(caplog.records) == 1
    assert connection.is_open
