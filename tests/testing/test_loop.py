"""A guard ends what a test waits for, after real time, whatever the clock of the loop says."""

from __future__ import annotations

import asyncio

import pytest

from sockbridge.testing.loop import MOST_TURNS, Guard, ManualClockLoop, turns


def on_manual_clock(act: object) -> None:
    with asyncio.Runner(loop_factory=ManualClockLoop) as runner:
        runner.run(act)  # type: ignore[arg-type]  # a coroutine


async def test_what_takes_too_long_is_named() -> None:
    with pytest.raises(AssertionError, match=r"it did not happen within 0\.01 seconds"):
        async with Guard("it did not happen", 0.01):
            await asyncio.Event().wait()


async def test_errors_and_cancellation_pass_through_a_guard() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with Guard("it did not happen"):
            raise ValueError("mine")
    with pytest.raises(TimeoutError, match="another's"):
        async with Guard("it did not happen"):
            raise TimeoutError("another's")

    async def wait() -> None:
        async with Guard("it did not happen"):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_jump_of_the_clock_is_no_time_for_a_guard_and_ends_a_timeout() -> None:
    async def act() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ManualClockLoop)
        gate = asyncio.Event()

        async def guarded() -> str:
            async with Guard("it did not happen"):
                await gate.wait()
            return "in time"

        async def timed() -> None:
            async with asyncio.timeout(5):
                await gate.wait()

        tasks = asyncio.create_task(guarded()), asyncio.create_task(timed())
        await turns()
        await loop.advance(3600)
        assert isinstance(tasks[1].exception(), TimeoutError)
        gate.set()
        assert await tasks[0] == "in time"
        assert loop.guards == set()
        await loop.advance(3600)

    on_manual_clock(act())


def test_a_guard_ends_on_a_loop_with_a_manual_clock_as_well() -> None:
    async def act() -> None:
        with pytest.raises(AssertionError, match="it did not happen"):
            async with Guard("it did not happen", 0.01):
                await asyncio.Event().wait()

    on_manual_clock(act())


async def test_turns_end_when_the_loop_has_nothing_to_do_and_do_not_wait_for_what_never_rests() -> None:
    hops = 0

    async def hop(count: int) -> None:
        nonlocal hops
        for _ in range(count):
            await asyncio.sleep(0)
            hops += 1

    task = asyncio.create_task(hop(50))
    await turns()
    assert (hops, task.done()) == (50, True)
    hops = 0
    task = asyncio.create_task(hop(10 * MOST_TURNS))
    await turns()
    assert 0 < hops <= MOST_TURNS
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
