"""BEGIN, COMMIT, ABORT, and what a break leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sockbridge.client.stomp.client import Client
from sockbridge.client.stomp.message import Message
from sockbridge.errors import InDoubt, InvalidFrame, ReceiptTimeout, SessionLost, StaleMessage, StompError
from sockbridge.stomp.frame import AckMode, Command, Frame
from tests.client.stomp.fakes import FakeLink, client
from tests.client.stomp.test_client import subscribed
from tests.fakes import GUARD


async def test_all_of_it_carries_its_name_and_is_committed_at_the_end() -> None:
    link = FakeLink()
    async with client(link) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, link, ack="client-individual")
        for _ in range(2):
            link.message(one.id, ack="a1")
        done, failed = await one.receive(), await one.receive()
        confirming = asyncio.create_task(_frames(link, 4))
        async with made.transaction() as transaction:
            await transaction.send("/a", {"x": 1}, headers={"y": "z"})
            await transaction.ack(done)
            await transaction.nack(failed, headers={"requeue": "false"})
        begin, send, ack, nack = await confirming
        assert begin.headers == {"transaction": transaction.id}
        assert send.headers.items() >= {"transaction": transaction.id, "y": "z", "destination": "/a"}.items()
        assert ack.headers == {"transaction": transaction.id, "id": "a1"}
        assert nack.headers == {"transaction": transaction.id, "id": "a1", "requeue": "false"}


async def _frames(link: FakeLink, count: int) -> list[Frame]:
    frames = [await link.frame() for _ in range(count)]
    await link.confirm("COMMIT")
    return frames


async def test_an_exception_aborts_it_and_the_message_still_waits_for_its_ack() -> None:
    link = FakeLink()
    async with client(link) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, link, ack="client")
        link.message(one.id)
        message = await one.receive()

        async def work() -> None:
            async with made.transaction() as transaction:
                await transaction.ack(message)
                with pytest.raises(InvalidFrame):
                    await transaction.ack(message)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await work()
        assert [(await link.frame()).command for _ in range(3)] == [Command.BEGIN, Command.ACK, Command.ABORT]
        await message.ack()


async def test_without_a_receipt_the_end_does_not_wait() -> None:
    link = FakeLink()
    async with client(link) as made:
        async with made.transaction(receipt=False):
            pass
        await link.frame("BEGIN")
        assert "receipt" not in (await link.frame("COMMIT")).headers


async def test_a_transaction_is_used_once_and_only_where_it_was_begun() -> None:
    link = FakeLink()
    async with client(link) as made:
        transaction = made.transaction(receipt=False)
        with pytest.raises(InvalidFrame):
            await transaction.send("/a")
        async with transaction:
            pass
        with pytest.raises(InvalidFrame):
            async with transaction:
                pass


@pytest.mark.parametrize("use", [False, True])
async def test_a_break_before_the_commit_means_that_nothing_has_happened(use: bool) -> None:
    link = FakeLink()

    async def work(made: Client) -> None:
        async with made.transaction() as transaction:
            link.cut()
            with pytest.raises(SessionLost):
                await made.send("/a", receipt=True)
            if use:
                await transaction.send("/a")

    async with client(link) as made:
        with pytest.raises(SessionLost, match="nothing of the transaction") as caught:
            await work(made)
        assert not isinstance(caught.value, InDoubt)


@pytest.mark.parametrize("is_error", [False, True])
async def test_a_break_before_the_receipt_of_the_commit_leaves_it_in_doubt(is_error: bool) -> None:
    link = FakeLink()
    async with client(link) as made:
        with pytest.raises(StompError if is_error else InDoubt):
            async with made.transaction():
                breaking = asyncio.create_task(_break(link, is_error))
        await breaking


async def _break(link: FakeLink, is_error: bool) -> None:
    await link.frame("BEGIN")
    await link.frame("COMMIT")
    if is_error:
        link.say("ERROR", {"message": "queue full"})
    else:
        link.cut()


async def test_an_error_in_the_middle_is_told_at_the_next_step() -> None:
    link = FakeLink()

    async def work(made: Client) -> None:
        async with made.transaction():
            link.say("ERROR", {"message": "no"})
            with pytest.raises(StompError):
                await made.send("/a", receipt=True)

    async with client(link) as made:
        with pytest.raises(StompError, match="no"):
            await work(made)


async def test_a_commit_that_is_not_confirmed_is_told() -> None:
    async with client(FakeLink(), timeout=0.02) as made:
        with pytest.raises(ReceiptTimeout):
            async with made.transaction():
                pass


async def test_a_message_of_another_connection_cannot_be_part_of_it() -> None:
    async with client(FakeLink()) as made:
        other: Any = object()
        message = Message(Frame(Command.MESSAGE, {"ack": "1"}), other, "s1", AckMode.CLIENT)
        with pytest.raises(StaleMessage):
            async with made.transaction() as transaction:
                await transaction.ack(message)


async def test_an_ack_that_cannot_be_said_settles_nothing() -> None:
    link = FakeLink(version="1.1")
    async with client(link) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, link, ack="client")
        link.message(one.id)
        message = await one.receive()
        async with made.transaction(receipt=False) as transaction:
            with pytest.raises(InvalidFrame):
                await transaction.ack(message, headers={"a": "b\r"})
            await transaction.ack(message)


async def test_an_ack_that_is_cancelled_before_it_leaves_can_be_said_again() -> None:
    link = FakeLink()
    async with client(link) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, link, ack="client-individual")
        link.message(one.id)
        message = await one.receive()
        async with made.transaction(receipt=False) as transaction:
            await link.frame("BEGIN")
            link.has_room.clear()
            acking = asyncio.create_task(transaction.ack(message))
            await asyncio.sleep(0)
            acking.cancel()
            await asyncio.wait([acking])
            link.has_room.set()
            await transaction.ack(message)
            await link.frame("ACK")
        await link.frame("COMMIT")


async def test_one_that_is_aborted_while_its_ack_waits_for_room_leaves_the_message_as_it_was() -> None:
    link = FakeLink()
    async with client(link) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, link, ack="client-individual")
        link.message(one.id)
        message = await one.receive()

        async def work() -> None:
            async with made.transaction() as transaction:
                link.has_room.clear()
                await transaction.ack(message)

        working = asyncio.create_task(work())
        await link.frame("BEGIN")
        working.cancel()
        await asyncio.wait([working])
        link.has_room.set()
        await link.frame("ABORT")
        await message.ack()
        assert "transaction" not in (await link.frame("ACK")).headers


async def test_one_that_is_cancelled_before_it_begins_has_not_begun() -> None:
    link = FakeLink()
    async with client(link) as made, asyncio.timeout(GUARD):
        link.has_room.clear()
        beginning = asyncio.create_task(made.transaction().__aenter__())
        await asyncio.sleep(0)
        beginning.cancel()
        await asyncio.wait([beginning])
        link.has_room.set()
        await made.send("/a")
        await link.frame("SEND")
