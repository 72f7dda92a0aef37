"""Calls that run beside their connection, and streams: who owns them, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sockbridge.stomp.connection import StompConnection
from sockbridge.stomp.tasks import FAILURES, Tasks, give_way, is_being_cancelled
from tests.fakes import GUARD
from tests.stomp.fakes import login, subscribe


class Job:
    """Work that begins, waits to be let go, and says how it ended."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.ended = asyncio.Event()
        self.how = ""

    async def run(self) -> None:
        self.begun.set()
        try:
            await self.gate.wait()
            self.how = "returned"
        except asyncio.CancelledError:
            self.how = "cancelled"
            raise
        finally:
            self.ended.set()


@asynccontextmanager
async def running(limit: int = 2) -> AsyncIterator[Tasks]:
    """Tasks that are closed in the end, whatever the test has left."""
    tasks = Tasks(limit)
    try:
        async with asyncio.timeout(GUARD):
            yield tasks
    finally:
        await tasks.close()
        assert len(tasks) == 0


async def call(tasks: Tasks, connection: StompConnection) -> Job:
    job = Job()
    tasks.start_call(connection, job.run())
    await job.begun.wait()
    return job


async def stream(tasks: Tasks, connection: StompConnection, id: str | None = None) -> Job:
    job = Job()
    owner = None if id is None else connection.subscriptions.get(id) or subscribe(connection, id=id)
    assert tasks.start_stream(connection, job.run(), owner)
    await job.begun.wait()
    return job


async def is_waiting(waiter: asyncio.Task[None]) -> bool:
    """Has ``waiter`` come to nothing in a few turns of the loop?"""
    for _ in range(5):
        await asyncio.sleep(0)
    return not waiter.done()


# Calls.


async def test_a_call_runs_beside_whoever_started_it() -> None:
    async with running() as tasks:
        job = await call(tasks, login()[0])
        assert len(tasks) == 1
        job.gate.set()
        await job.ended.wait()
        await asyncio.sleep(0)
        assert (job.how, len(tasks)) == ("returned", 0)


async def test_a_call_is_not_begun_for_a_connection_that_has_ended() -> None:
    for end in (StompConnection.leave, StompConnection.on_lost, StompConnection.close):
        async with running() as tasks:
            connection, _ = login()
            end(connection)
            job = Job()
            tasks.start_call(connection, job.run())
            assert len(tasks) == 0
            await asyncio.sleep(0)
            assert not job.begun.is_set()


async def test_a_call_outlives_its_client() -> None:
    """What was asked for is done, a payment for one, whoever waits for the answer."""
    async with running() as tasks:
        connection, _ = login()
        job = await call(tasks, connection)
        connection.on_lost()
        tasks.cancel_streams(connection)
        await asyncio.sleep(0)
        assert not job.ended.is_set()
        job.gate.set()
        await job.ended.wait()
        assert job.how == "returned"


async def test_who_has_as_many_calls_as_allowed_waits_until_one_has_ended() -> None:
    async with running(limit=2) as tasks:
        connection, _ = login()
        jobs = [await call(tasks, connection) for _ in range(2)]
        waiter = asyncio.create_task(tasks.wait_for_room(connection))
        assert await is_waiting(waiter)
        jobs[1].gate.set()
        await waiter
        await tasks.wait_for_room(connection)
        assert len(tasks) == 1


async def test_who_has_room_does_not_wait_at_all() -> None:
    async with running(limit=2) as tasks:
        connection, _ = login()
        await call(tasks, connection)
        for awaitable in (tasks.wait_for_room(connection), tasks.wait_for_calls(login()[0], GUARD)):
            with pytest.raises(StopIteration):
                awaitable.send(None)


async def test_one_connection_takes_no_room_from_another() -> None:
    async with running(limit=1) as tasks:
        await call(tasks, login()[0])
        await tasks.wait_for_room(login()[0])


async def test_of_several_who_wait_each_gets_in_when_there_is_room() -> None:
    async with running(limit=1) as tasks:
        connection, _ = login()
        first = await call(tasks, connection)
        second = Job()

        async def come() -> None:
            await tasks.wait_for_room(connection)
            tasks.start_call(connection, second.run())

        waiters = [asyncio.create_task(come()), asyncio.create_task(tasks.wait_for_room(connection))]
        await asyncio.sleep(0)
        first.gate.set()
        await waiters[0]
        assert await is_waiting(waiters[1])
        second.gate.set()
        await waiters[1]


async def test_one_may_wait_until_all_calls_have_ended() -> None:
    async with running() as tasks:
        connection, _ = login()
        jobs = [await call(tasks, connection) for _ in range(2)]
        await stream(tasks, connection)
        waiter = asyncio.create_task(tasks.wait_for_calls(connection, GUARD))
        jobs[0].gate.set()
        assert await is_waiting(waiter)
        jobs[1].gate.set()
        await waiter


async def test_who_waits_for_calls_does_so_for_a_limited_time() -> None:
    async with running() as tasks:
        connection, _ = login()
        job = await call(tasks, connection)
        await tasks.wait_for_calls(connection, 0.0)
        assert not job.ended.is_set()
        assert len(tasks) == 1


# Streams.


async def test_a_stream_runs_to_its_end() -> None:
    async with running() as tasks:
        job = await stream(tasks, login()[0])
        job.gate.set()
        await job.ended.wait()
        await asyncio.sleep(0)
        assert (job.how, len(tasks)) == ("returned", 0)


async def test_streams_end_with_their_connection() -> None:
    async with running() as tasks:
        connection, _ = login()
        jobs = [await stream(tasks, connection), await stream(tasks, connection, "s")]
        other = await stream(tasks, login()[0])
        tasks.cancel_streams(connection)
        for job in jobs:
            await job.ended.wait()
        assert [job.how for job in jobs] == ["cancelled", "cancelled"]
        assert not other.ended.is_set()


async def test_a_stream_ends_with_its_subscription_and_leaves_the_others() -> None:
    async with running(limit=5) as tasks:
        connection, _ = login()
        first, second, loose = [await stream(tasks, connection, id) for id in ("one", "two", None)]
        subscription = connection.subscriptions["one"]
        tasks.cancel_streams(connection, subscription)
        tasks.cancel_streams(connection, subscription)
        await first.ended.wait()
        await asyncio.sleep(0)
        assert not second.ended.is_set()
        assert not loose.ended.is_set()
        assert len(tasks) == 2


async def test_a_stream_is_not_begun_for_what_has_ended() -> None:
    connection, _ = login()
    unsubscribed = subscribe(connection)
    connection.unsubscribe("s")
    lost, _ = login()
    of_lost = subscribe(lost)
    lost.on_lost()
    replaced_by = subscribe(connection)
    async with running() as tasks:
        for owner, subscription in ((connection, unsubscribed), (lost, of_lost), (lost, None)):
            job = Job()
            assert not tasks.start_stream(owner, job.run(), subscription)
            await asyncio.sleep(0)
            assert not job.begun.is_set()
        assert len(tasks) == 0
        job = Job()
        assert tasks.start_stream(connection, job.run(), replaced_by)


async def test_streams_have_a_limit_of_their_own() -> None:
    async with running(limit=2) as tasks:
        connection, _ = login()
        jobs = [await stream(tasks, connection) for _ in range(2)]
        assert not tasks.has_room(connection)
        assert tasks.has_room(login()[0])
        await tasks.wait_for_room(connection)
        jobs[0].gate.set()
        await jobs[0].ended.wait()
        await asyncio.sleep(0)
        assert tasks.has_room(connection)


async def test_a_new_stream_may_begin_while_an_old_one_ends() -> None:
    async with running() as tasks:
        connection, _ = login()
        old = await stream(tasks, connection, "s")
        tasks.cancel_streams(connection)
        new = await stream(tasks, connection, "s")
        await old.ended.wait()
        await asyncio.sleep(0)
        assert not new.ended.is_set()
        tasks.cancel_streams(connection)
        await new.ended.wait()
        assert new.how == "cancelled"


async def test_nothing_is_left_to_cancel_where_nothing_runs() -> None:
    async with running() as tasks:
        tasks.cancel_streams(login()[0])


# The end.


async def test_a_cancellation_from_outside_is_told_from_one_that_was_awaited() -> None:
    found: list[bool] = []

    async def work(cancelled: asyncio.Future[None]) -> None:
        try:
            await cancelled
        except FAILURES:
            found.append(is_being_cancelled())

    loop = asyncio.get_running_loop()
    of_somebody_else = loop.create_future()
    of_somebody_else.cancel()
    await asyncio.create_task(work(of_somebody_else))
    task = asyncio.create_task(work(loop.create_future()))
    await asyncio.sleep(0)
    task.cancel()
    await task
    assert found == [False, True]


async def test_who_gives_way_lets_others_have_their_turn() -> None:
    turns: list[str] = []
    asyncio.get_running_loop().call_soon(turns.append, "other")
    await give_way()
    assert turns == ["other"]


def test_outside_of_tasks_nothing_is_being_cancelled() -> None:
    found: list[bool] = []

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: found.append(is_being_cancelled()))
        await asyncio.sleep(0)

    asyncio.run(main())
    assert found == [False]


async def test_close_ends_everything_and_waits_for_it() -> None:
    tasks = Tasks(5)
    connections = [login()[0] for _ in range(2)]
    start: list[Callable[[Tasks, StompConnection], Awaitable[Job]]] = [call, stream]
    jobs = [await begin(tasks, connection) for begin in start for connection in connections]
    ending = await stream(tasks, connections[0], "s")
    tasks.cancel_streams(connections[0], connections[0].subscriptions["s"])
    await tasks.close()
    assert [job.how for job in [*jobs, ending]] == ["cancelled"] * 5
    assert len(tasks) == 0


async def test_close_waits_for_work_that_tidies_up() -> None:
    tidy = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            tidy.set()

    tasks, (connection, _) = Tasks(2), login()
    tasks.start_call(connection, work())
    await asyncio.sleep(0)
    await tasks.close()
    assert tidy.is_set()


@pytest.mark.slow
async def test_close_does_not_wait_for_work_that_will_not_end() -> None:
    gate = asyncio.Event()

    async def work() -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    async with asyncio.timeout(GUARD):
        for is_stream in (False, True):
            gate.clear()
            tasks, (connection, _) = Tasks(2), login()
            if is_stream:
                tasks.start_stream(connection, work(), None)
            else:
                tasks.start_call(connection, work())
            await asyncio.sleep(0)
            await tasks.close()
            assert len(tasks) == 1
            gate.set()
            while len(tasks):
                await asyncio.sleep(0)


async def test_closing_twice_is_harmless() -> None:
    tasks = Tasks(1)
    await tasks.close()
    await tasks.close()
