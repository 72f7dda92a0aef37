"""What a client has to say, and who waits for it."""

from __future__ import annotations

import asyncio
import random

import pytest

from sockbridge.client.outbox import BATCH, MEMORY, MEMORY_LIMIT, OVERHEAD, Outbox
from sockbridge.errors import SessionClosed, SessionLost


def filled(*messages: str) -> Outbox:
    outbox = Outbox()
    for message in messages:
        outbox.put(message, message.encode())
    return outbox


def lost() -> SessionLost:
    return SessionLost("cut")


async def settled(task: asyncio.Task[object]) -> bool:
    """Whether ``task`` ends without anything else happening."""
    for _ in range(5):
        await asyncio.sleep(0)
    return task.done()


def test_what_is_put_leaves_in_order() -> None:
    outbox = filled("1", "2", "3")
    assert outbox.take() == [b"1", b"2", b"3"]
    assert outbox.in_doubt == ("1", "2", "3")
    assert outbox.waiting == ()
    assert outbox.take() == []


def test_a_batch_is_no_larger_than_servers_take() -> None:
    part = "x" * (BATCH // 3)
    outbox = filled(part, part, part, part)
    assert [len(outbox.take()) for _ in range(3)] == [3, 1, 0]


def test_a_message_that_is_larger_leaves_alone() -> None:
    outbox = filled("1", "x" * (BATCH + 1), "2")
    assert [len(outbox.take()) for _ in range(4)] == [1, 1, 1, 0]


def test_the_size_counts_what_waits_and_what_is_in_doubt() -> None:
    outbox = filled("12", "345")
    assert outbox.size == 5 + 2 * OVERHEAD
    outbox.take()
    assert outbox.size == 5 + 2 * OVERHEAD
    outbox.confirm(1)
    assert outbox.size == 3 + OVERHEAD
    outbox.confirm(1)
    assert outbox.size == 0


def test_what_has_not_left_waits_in_its_old_place() -> None:
    outbox = filled("1", "2", "3")
    outbox.take()
    outbox.confirm(1)
    outbox.put("4", b"4")
    outbox.take_back(2)
    assert outbox.waiting == ("2", "3", "4")
    assert outbox.in_doubt == ()


def test_what_was_answered_is_in_doubt_again_if_that_was_just_before_the_end() -> None:
    outbox = filled("1", "2", "3", "4")
    outbox.take()
    outbox.answer(1, 10.0)
    outbox.answer(2, 11.5)
    outbox.recall(11.0)
    assert outbox.in_doubt == ("2", "3", "4")
    assert outbox.size == 3 + 3 * OVERHEAD
    outbox.report([])
    outbox.recall(0.0)
    assert outbox.in_doubt == ()


def test_what_was_answered_is_not_remembered_for_ever() -> None:
    outbox = filled("1", "2")
    outbox.take()
    outbox.answer(1, 10.0)
    outbox.answer(1, 10.0 + MEMORY + 1)
    outbox.recall(0.0)
    assert outbox.in_doubt == ("2",)


def test_what_is_remembered_has_a_limit() -> None:
    outbox = filled(*("x" * 1000 for _ in range(1000)))
    while batch := outbox.take():
        outbox.answer(len(batch), 1.0)
    outbox.recall(0.0)
    assert MEMORY_LIMIT - 2000 < outbox.size <= MEMORY_LIMIT


async def test_a_flush_waits_for_what_was_put_before_it_and_no_longer() -> None:
    outbox = filled("1", "2")
    flush = asyncio.create_task(outbox.wait_for_all())
    await asyncio.sleep(0)
    outbox.put("3", b"3")
    outbox.take()
    outbox.confirm(1)
    assert not await settled(flush)
    outbox.confirm(1)
    assert await settled(flush)
    await flush


async def test_a_flush_of_nothing_does_not_wait() -> None:
    await Outbox().wait_for_all()


async def test_a_flush_that_was_satisfied_does_not_hear_of_what_breaks_right_after() -> None:
    outbox = filled("1")
    flush = asyncio.create_task(outbox.wait_for_all())
    await asyncio.sleep(0)
    outbox.take()
    outbox.confirm(1)
    outbox.put("2", b"2")
    outbox.take()
    outbox.fail(lost)
    outbox.shut(lost)
    await flush


async def test_a_break_fails_the_flush_of_what_is_in_doubt() -> None:
    outbox = filled("1")
    flush = asyncio.create_task(outbox.wait_for_all())
    await asyncio.sleep(0)
    outbox.take()
    outbox.fail(lost)
    with pytest.raises(SessionLost):
        await flush


async def test_a_break_with_nothing_in_doubt_fails_nobody() -> None:
    """What has not left is sent over the next connection."""
    outbox = filled("1")
    flush = asyncio.create_task(outbox.wait_for_all())
    await asyncio.sleep(0)
    outbox.fail(lost)
    outbox.report([])
    assert not await settled(flush)
    outbox.take()
    outbox.confirm(1)
    await flush


async def test_a_flush_waits_for_what_was_put_before_its_messages_later() -> None:
    outbox = filled("1", "2")
    flush = asyncio.create_task(outbox.wait_for_all())
    await asyncio.sleep(0)
    outbox.report([("first", b"first"), ("second", b"second")])
    assert outbox.waiting == ("first", "second", "1", "2")
    outbox.take()
    outbox.confirm(3)
    assert not await settled(flush)
    outbox.confirm(1)
    await flush
    assert outbox.size == 0


async def test_a_flush_that_was_cancelled_is_forgotten() -> None:
    outbox = filled("1")
    flush = asyncio.create_task(outbox.wait_for_all())
    other = asyncio.create_task(outbox.wait_for_all())
    await asyncio.sleep(0)
    flush.cancel()
    await asyncio.wait([flush])
    outbox.take()
    outbox.confirm(1)
    await other


async def test_all_who_wait_for_room_get_in_one_after_the_other() -> None:
    outbox = filled("x" * 100)
    entered = []

    async def enter(number: int) -> None:
        await outbox.wait_for_room(100)
        outbox.put(str(number), b"x" * 100)
        entered.append(number)

    tasks = [asyncio.create_task(enter(number)) for number in range(5)]
    await asyncio.sleep(0)
    for round in range(5):
        assert entered == list(range(round))
        outbox.take()
        outbox.confirm(1)
        await settled(tasks[round])
        assert outbox.size <= 100 + OVERHEAD
    assert all(task.done() for task in tasks)


@pytest.mark.parametrize("end", ["refuse", "shut"])
async def test_the_end_wakes_all_who_wait_for_room(end: str) -> None:
    outbox = filled("x" * 100)
    tasks = [asyncio.create_task(outbox.wait_for_room(0)) for _ in range(3)]
    await asyncio.sleep(0)
    if end == "refuse":
        outbox.refuse()
    else:
        outbox.shut(lost)
    await asyncio.gather(*tasks)
    assert outbox.is_shut


async def test_the_end_fails_every_flush_each_with_an_exception_of_its_own() -> None:
    outbox = filled("1")
    tasks = [asyncio.create_task(outbox.wait_for_all()) for _ in range(2)]
    await asyncio.sleep(0)
    outbox.shut(lambda: SessionClosed(1000, ""))
    first, second = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, SessionClosed)
    assert isinstance(second, SessionClosed)
    assert first is not second


async def test_the_writer_is_woken_by_work_and_by_a_call() -> None:
    outbox = Outbox()
    task = asyncio.create_task(outbox.wait_for_work())
    assert not await settled(task)
    outbox.put("1", b"1")
    await task
    outbox.take()
    task = asyncio.create_task(outbox.wait_for_work())
    assert not await settled(task)
    outbox.wake()
    await task


@pytest.mark.parametrize("seed", range(50))
def test_a_random_walk_loses_nothing_and_keeps_the_order(seed: int) -> None:
    chance = random.Random(seed)
    outbox = Outbox()
    put, gone, now = 0, [], 0.0
    for _ in range(300):
        now += chance.random()
        doubts = len(outbox.in_doubt)
        match chance.randrange(7):
            case 0 | 1:
                outbox.put(str(put), b"x" * chance.randrange(30_000))
                put += 1
            case 2:
                outbox.take()
            case 3 if doubts:
                count = chance.randint(1, doubts)
                gone += outbox.in_doubt[:count]
                outbox.confirm(count)
            case 4 if doubts:
                count = chance.randint(1, doubts)
                gone += outbox.in_doubt[:count]
                outbox.answer(count, now)
            case 5 if doubts:
                outbox.take_back(chance.randint(1, doubts))
            case 6:
                before = len(outbox.in_doubt)
                outbox.recall(now - chance.random() * 3)
                back = len(outbox.in_doubt) - before
                assert list(outbox.in_doubt[:back]) == gone[len(gone) - back :]
                del gone[len(gone) - back :]
                gone += outbox.in_doubt
                outbox.report([])
        assert [*gone, *outbox.in_doubt, *outbox.waiting] == [str(number) for number in range(put)]
