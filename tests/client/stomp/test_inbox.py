"""How much may wait, and when reading goes on."""

from __future__ import annotations

import asyncio

from sockbridge.client.stomp.inbox import READ_ON, Inbox
from tests.fakes import GUARD


async def test_reading_stops_above_the_limit_and_goes_on_when_it_is_met_again() -> None:
    inbox = Inbox(100)
    inbox.add(100)
    assert inbox.has_room
    inbox.add(1)
    assert not inbox.has_room
    waiting = asyncio.create_task(inbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.remove(1)
    async with asyncio.timeout(GUARD):
        await waiting


async def test_a_call_that_waits_lets_more_be_read_up_to_a_limit_as_well() -> None:
    inbox = Inbox(100)
    inbox.add(101)
    reading = asyncio.create_task(inbox.room())
    await asyncio.sleep(0)
    with inbox.waiting():
        async with asyncio.timeout(GUARD):
            await reading
        inbox.add(READ_ON * 100 - 101)
        assert inbox.has_room
        inbox.add(1)
        assert not inbox.has_room
    inbox.remove(200)
    assert not inbox.has_room, "nobody waits any more"
