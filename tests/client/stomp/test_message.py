"""A message that has come: reading and acknowledging it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from sockbridge.client.stomp.conversation import Conversation
from sockbridge.client.stomp.message import Message
from sockbridge.errors import BadPayload, InDoubt, InvalidFrame, ReceiptTimeout, StaleMessage
from sockbridge.stomp.frame import AckMode, Command, Frame
from tests.client.stomp.fakes import FakeLink, conversation
from tests.fakes import GUARD


def message(
    talk: Conversation | None = None, body: bytes = b"", mode: str = "client-individual", **headers: str
) -> Message:
    named = {"destination": "/queue/a", "message-id": "m1", "ack": "a1"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Message(Frame(Command.MESSAGE, named, body), talk, "s1", AckMode(mode))  # type: ignore[arg-type]  # unused where None


@dataclass
class Point:
    x: int
    y: int = 0


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"", Any), (b"{", Any), (b"\xff", Any), (b'{"x": "1"}', Point), (b"[1]", list[str]), (b"[" * 10_000, Any)],
)
def test_a_body_that_is_not_what_it_is_read_as_is_told(body: bytes, kind: Any) -> None:
    with pytest.raises(BadPayload):
        message(body=body).json(kind)


def test_a_body_that_is_no_text_is_told() -> None:
    with pytest.raises(BadPayload):
        _ = message(body=b"\xff").text


def test_a_body_is_read_as_text_or_json() -> None:
    assert message(body="ä".encode()).text == "ä"
    assert message(body=b'{"x": 1}').json() == {"x": 1}
    assert message(body=b'{"x": 1}').json(Point) == Point(1)
    assert message(body=b"[1, 2]").json(list[int]) == [1, 2]


def test_a_gap_before_it_can_be_seen() -> None:
    assert message().missed == 0
    assert message(x_missed="3").missed == 3
    assert message(x_missed="unknown").missed is None
    assert message(x_missed="9" * 5000).missed is None


def test_what_a_server_wrote_is_not_put_into_texts_as_it_is() -> None:
    one = message(destination="/a\n\x1b[2J", body=b"\xff")
    assert repr(one) == "<Message /a??[2J 1 bytes>"
    with pytest.raises(BadPayload, match="<Message /a"):
        _ = one.text


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.2", {"id": "a1"}),
        ("1.1", {"message-id": "m1", "subscription": "s1"}),
        ("1.0", {"message-id": "m1", "subscription": "s1"}),
    ],
)
async def test_it_is_acknowledged_by_what_its_version_names(version: str, headers: dict[str, str]) -> None:
    link = FakeLink(version=version)
    async with conversation(link) as (talk, _):
        await message(talk).ack()
        assert (await link.frame("ACK")).headers == headers


async def test_1_0_has_no_nack() -> None:
    link = FakeLink(version="1.0")
    async with conversation(link) as (talk, _):
        one = message(talk)
        with pytest.raises(InvalidFrame):
            await one.nack()
        await one.ack()
        await link.frame("ACK")


async def test_a_message_is_settled_once() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _):
        one = message(talk)
        await one.nack(headers={"requeue": "false"})
        assert (await link.frame("NACK")).headers == {"id": "a1", "requeue": "false"}
        with pytest.raises(InvalidFrame):
            await one.ack()


async def test_an_ack_that_cannot_be_said_settles_nothing() -> None:
    link = FakeLink(version="1.1")
    async with conversation(link) as (talk, _):
        one = message(talk)
        for headers in ({"id": "x"}, {"a": "b\r"}):
            with pytest.raises(InvalidFrame):
                await one.ack(headers=headers)
        await one.ack()


async def test_a_message_of_mode_auto_is_not_acknowledged() -> None:
    async with conversation(FakeLink()) as (talk, _):
        with pytest.raises(InvalidFrame, match="auto"):
            await message(talk, mode="auto").ack()


async def test_an_ack_may_wait_for_its_receipt() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _), asyncio.timeout(GUARD):
        await asyncio.gather(message(talk).ack(receipt=True), link.confirm("ACK"))


async def test_an_ack_whose_receipt_does_not_come_is_in_doubt() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _):
        acking = asyncio.create_task(message(talk).ack(receipt=True))
        await link.frame("ACK")
        link.cut()
        with pytest.raises(InDoubt):
            await acking


async def test_an_ack_of_a_connection_that_is_gone_is_void() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _):
        one = message(talk)
        link.cut()
        await talk.over.wait()
        with pytest.raises(StaleMessage):
            await one.ack()


@pytest.mark.parametrize("receipt", [False, True])
async def test_an_ack_that_is_cancelled_before_it_leaves_settles_nothing(receipt: bool) -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _), asyncio.timeout(GUARD):
        one = message(talk)
        link.has_room.clear()
        acking = asyncio.create_task(one.ack(receipt=receipt))
        await asyncio.sleep(0)
        with pytest.raises(InvalidFrame):
            await one.ack()  # it is on its way
        acking.cancel()
        await asyncio.wait([acking])
        link.has_room.set()
        await one.nack()
        await link.frame("NACK")


async def test_an_ack_that_waits_for_a_slot_and_is_cancelled_settles_nothing() -> None:
    link = FakeLink()
    async with conversation(link, max_receipts=1) as (talk, _), asyncio.timeout(GUARD):
        one = message(talk)
        hog = asyncio.create_task(talk.ask(Frame(Command.SEND, {"destination": "/a"})))
        await link.frame("SEND")
        acking = asyncio.create_task(one.ack(receipt=True))
        await asyncio.sleep(0)
        acking.cancel()
        await asyncio.wait([acking])
        await one.ack()
        hog.cancel()


@pytest.mark.parametrize("receipt", [False, True])
async def test_an_ack_for_which_there_is_no_room_settles_nothing(receipt: bool) -> None:
    link = FakeLink()
    async with conversation(link, timeout=0.05) as (talk, _):
        one = message(talk)
        link.has_room.clear()
        with pytest.raises(ReceiptTimeout) as caught:
            await one.ack(receipt=receipt)
        assert not caught.value.was_sent
        link.has_room.set()
        await one.ack()


async def test_an_ack_that_has_left_is_settled_though_nobody_waits_for_its_receipt() -> None:
    link = FakeLink()
    async with conversation(link) as (talk, _):
        one = message(talk)
        acking = asyncio.create_task(one.ack(receipt=True))
        await link.frame("ACK")
        acking.cancel()
        await asyncio.wait([acking])
        with pytest.raises(InvalidFrame):
            await one.ack()
