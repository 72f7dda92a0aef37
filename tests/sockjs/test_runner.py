"""A coroutine that runs within the call, as far as it can, and goes on in a task."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, cast

import pytest

from sockbridge.sockjs.runner import IDLE, Runner
from tests.fakes import GUARD

WHO: ContextVar[str] = ContextVar("who", default="nobody")

Scenario = Callable[..., Coroutine[Any, Any, None]]


class Journal:
    """What coroutines do, in order."""

    def __init__(self) -> None:
        self.entries: list[object] = []
        self.gate = asyncio.Event()

    async def write(self, *entries: object) -> None:
        """Ends without waiting."""
        self.entries += entries

    async def wait(self) -> None:
        """Waits for ``gate``, or writes that it was cancelled."""
        self.entries.append("begun")
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.entries.append("cancelled")
            raise
        self.entries.append("ended")


async def turns(count: int = 5) -> None:
    """Let everything that is ready run; no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)


async def end_of(task: asyncio.Task[None] | None) -> asyncio.Task[None]:
    """Until ``task`` is done, however it ends."""
    assert task is not None
    _, pending = await asyncio.wait([task], timeout=GUARD)
    assert not pending
    return task


async def end_all(runner: Runner) -> None:
    """Nothing of ``runner`` may be left."""
    if closed := runner.close():
        await asyncio.wait(closed, timeout=GUARD)
    assert idle_tasks() == set()


def idle_tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task.get_name() == IDLE}


def in_callback(call: Callable[[], object]) -> asyncio.Future[Any]:
    """What ``call`` returns or raises, called outside any task, as transports call their protocols."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def act() -> None:
        assert asyncio.current_task() is None
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)
        assert asyncio.current_task() is None

    loop.call_soon(act)
    return future


# Within the call.


async def test_a_coroutine_that_does_not_wait_ends_within_the_call() -> None:
    runner, journal = Runner(), Journal()
    assert runner.run_inside(journal.write("a"), Context()) is None
    assert journal.entries == ["a"]
    assert runner.tasks == set()
    await end_all(runner)


async def test_a_wait_for_what_is_there_already_is_none() -> None:
    runner, journal = Runner(), Journal()
    journal.gate.set()
    assert runner.run_inside(journal.wait(), Context()) is None
    assert journal.entries == ["begun", "ended"]
    await end_all(runner)


async def test_it_works_outside_any_task_as_well() -> None:
    runner, journal = Runner(), Journal()
    assert await in_callback(lambda: runner.run(journal.write("a"), Context())) is None
    task = await in_callback(lambda: runner.run(journal.wait(), Context()))
    assert await in_callback(lambda: runner.run(journal.write("b"), Context())) is None
    journal.gate.set()
    await end_of(task)
    assert journal.entries == ["a", "begun", "b", "ended"]
    await end_all(runner)


async def test_within_a_task_it_is_asked_for_otherwise() -> None:
    runner, journal = Runner(), Journal()
    assert await in_callback(lambda: runner.run_inside(journal.write("a"), Context())) is None
    assert runner.run_inside(journal.write("b"), Context()) is None
    assert journal.entries == ["a", "b"]
    await end_all(runner)


async def test_an_idle_task_lends_its_name_again_and_again() -> None:
    runner, journal = Runner(), Journal()

    async def who() -> None:
        journal.entries.append(id(asyncio.current_task()))

    for _ in range(5):
        runner.run_inside(who(), Context())
        await turns(1)
    assert len(set(journal.entries)) == 1
    assert set(journal.entries) == set(map(id, idle_tasks()))
    await end_all(runner)


async def test_a_call_that_waits_keeps_its_task_and_the_next_gets_another() -> None:
    runner, journal = Runner(), Journal()

    async def who() -> None:
        journal.entries.append(id(asyncio.current_task()))

    runner.run_inside(who(), Context())
    first = runner.run_inside(journal.wait(), Context())
    assert id(first) == journal.entries[0]
    runner.run_inside(who(), Context())
    assert journal.entries[-1] != id(first)
    assert len(idle_tasks()) == 1
    journal.gate.set()
    await end_of(first)
    assert len(idle_tasks()) == 1, "one that has gone on is not used again"
    await end_all(runner)


async def test_a_task_that_somebody_has_kept_is_not_lent_again() -> None:
    """Whoever cancels it later must not hit the call of another."""
    runner, kept = Runner(), []

    async def keep() -> None:
        kept.append(asyncio.current_task())

    async def watch() -> None:
        kept.append(weakref.ref(cast("asyncio.Task[None]", asyncio.current_task())))

    for call in (keep, watch):
        runner.run_inside(call(), Context())
        await turns(2)
        assert idle_tasks() == set()
    await end_all(runner)


async def test_a_thousand_calls_that_do_not_wait_leave_one_idle_task() -> None:
    runner, journal = Runner(), Journal()
    for number in range(1000):
        runner.run_inside(journal.write(number), Context())
    assert len(idle_tasks()) == 1
    await end_all(runner)


async def test_what_is_to_run_soon_runs_in_the_next_turn_outside_any_other_task() -> None:
    runner, journal = Runner(), Journal()
    context = copy_context()

    async def look() -> None:
        WHO.set("soon")
        journal.entries.append(asyncio.current_task())

    runner.run_soon(look(), context)
    assert journal.entries == []
    await turns(1)
    assert set(journal.entries) == idle_tasks()
    assert context[WHO] == "soon"
    assert WHO.get() == "nobody"
    runner.run_soon(journal.wait(), context)
    await turns(1)
    (task,) = runner.tasks
    journal.gate.set()
    await end_of(task)
    assert journal.entries[1:] == ["begun", "ended"]
    await end_all(runner)


# Going on.


@pytest.mark.parametrize("wait", ["future", "event", "sleep", "nothing", "task", "gather"])
async def test_what_waits_goes_on_in_the_task_whose_name_it_had(wait: str) -> None:
    runner, journal = Runner(), Journal()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def go() -> str:
        journal.entries.append(asyncio.current_task())
        if wait == "future":
            await future
        elif wait == "event":
            await journal.gate.wait()
        elif wait == "sleep":
            await asyncio.sleep(0.001)
        elif wait == "nothing":
            await asyncio.sleep(0)
        elif wait == "task":
            await asyncio.create_task(turns())
        else:
            await asyncio.gather(turns(), turns())
        journal.entries.append(asyncio.current_task())
        await asyncio.sleep(0)
        journal.entries.append(asyncio.current_task())
        return "ignored"

    mine = asyncio.current_task()
    task = runner.run_inside(go(), Context())  # type: ignore[arg-type]  # what it returns is dropped
    assert asyncio.current_task() is mine
    assert runner.tasks == {task}
    future.set_result(None)
    journal.gate.set()
    await end_of(task)
    assert journal.entries == [task] * 3
    assert task is not None
    assert task.exception() is None
    assert task.result() is None
    await turns(1)
    assert runner.tasks == set()
    assert idle_tasks() == set()
    await end_all(runner)


async def test_it_gets_what_it_waited_for_values_and_faults() -> None:
    runner, journal = Runner(), Journal()
    futures: list[asyncio.Future[str]] = [asyncio.get_running_loop().create_future() for _ in range(3)]

    async def collect() -> None:
        for future in futures:
            try:
                journal.entries.append(await future)
            except ValueError as error:
                journal.entries.append(str(error))

    task = runner.run_inside(collect(), Context())
    futures[0].set_result("a")
    await turns()
    futures[1].set_exception(ValueError("b"))
    await turns()
    futures[2].set_result("c")
    await end_of(task)
    assert journal.entries == ["a", "b", "c"]
    await end_all(runner)


async def test_what_is_there_before_its_task_has_begun_is_not_missed() -> None:
    runner = Runner()
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    got: list[str] = []

    async def wait() -> None:
        got.append(await future)

    task = runner.run_inside(wait(), Context())
    future.set_result("at once")
    await end_of(task)
    assert got == ["at once"]
    await end_all(runner)


async def test_many_calls_wait_beside_each_other() -> None:
    runner, journal = Runner(), Journal()
    tasks = [runner.run_inside(journal.wait(), Context()) for _ in range(50)]
    assert len(set(tasks)) == 50
    assert runner.tasks == set(tasks)
    journal.gate.set()
    for task in tasks:
        await end_of(task)
    assert journal.entries == ["begun"] * 50 + ["ended"] * 50
    await end_all(runner)


# What needs the current task.


async def test_a_time_out_that_has_begun_within_the_call_ends_the_wait() -> None:
    runner, journal = Runner(), Journal()

    async def hurry() -> None:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            journal.entries.append("late")
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        journal.entries.append(task.cancelling())

    task = await end_of(runner.run_inside(hurry(), Context()))
    assert not task.cancelled()
    assert journal.entries == ["late", 0]
    await end_all(runner)


async def test_a_time_out_that_was_not_needed_leaves_no_trace() -> None:
    runner, journal = Runner(), Journal()

    async def quick() -> None:
        async with asyncio.timeout(GUARD):
            await journal.write("in time")

    assert runner.run_inside(quick(), Context()) is None
    assert runner.run_inside(quick(), Context()) is None
    assert len(idle_tasks()) == 1
    await end_all(runner)


async def test_a_time_out_of_nothing_ends_the_first_wait() -> None:
    runner, journal = Runner(), Journal()

    async def hopeless() -> None:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            journal.entries.append("late")

    await end_of(runner.run_inside(hopeless(), Context()))
    assert journal.entries == ["late"]
    await end_all(runner)


async def test_wait_for_works_across_the_wait() -> None:
    runner, journal = Runner(), Journal()

    async def hurry() -> None:
        journal.entries.append(await asyncio.wait_for(asyncio.sleep(0, "in time"), GUARD))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        journal.entries.append("late")

    task = await end_of(runner.run_inside(hurry(), Context()))
    assert task.exception() is None
    assert journal.entries == ["in time", "late"]
    await end_all(runner)


async def test_a_task_group_that_has_begun_within_the_call_works_across_the_wait() -> None:
    runner, journal = Runner(), Journal()

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(journal.wait())
            group.create_task(journal.wait())
            asyncio.get_running_loop().call_soon(journal.gate.set)
        journal.entries.append("together")

    await end_of(runner.run_inside(together(), Context()))
    assert journal.entries == ["begun", "begun", "ended", "ended", "together"]
    await end_all(runner)


async def test_a_task_group_ends_the_call_s_wait_when_one_of_it_fails() -> None:
    runner, journal = Runner(), Journal()

    async def fail() -> None:
        raise ValueError("bug")

    async def together() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.Event().wait()
        except* ValueError:
            journal.entries.append("failed")
        await asyncio.sleep(0)
        journal.entries.append("goes on")

    task = await end_of(runner.run_inside(together(), Context()))
    assert not task.cancelled()
    assert journal.entries == ["failed", "goes on"]
    await end_all(runner)


# Cancellation.


@pytest.mark.parametrize("is_fresh", [True, False])
@pytest.mark.parametrize("late", [0, 1, 5])
async def test_who_cancels_the_task_reaches_the_coroutine(late: int, is_fresh: bool) -> None:
    """Even in the turn in which it began, and with a task that was made in this turn."""
    runner, journal = Runner(), Journal()
    if not is_fresh:
        runner.run_inside(journal.write(), Context())
        await turns()
    task = runner.run_inside(journal.wait(), Context())
    assert task is not None
    await turns(late)
    task.cancel()
    await end_of(task)
    assert task.cancelled()
    assert journal.entries == ["begun", "cancelled"]
    await end_all(runner)


@pytest.mark.parametrize("is_fresh", [True, False])
@pytest.mark.parametrize("late", [0, 1])
async def test_a_cancellation_reaches_a_coroutine_that_waits_for_nothing(late: int, is_fresh: bool) -> None:
    runner, journal = Runner(), Journal()
    if not is_fresh:
        runner.run_inside(journal.write(), Context())
        await turns()

    async def spin() -> None:
        try:
            for _ in range(100):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            journal.entries.append("cancelled")
            raise

    task = runner.run_inside(spin(), Context())
    assert task is not None
    await turns(late)
    task.cancel()
    assert (await end_of(task)).cancelled()
    assert journal.entries == ["cancelled"]
    await end_all(runner)


@pytest.mark.parametrize("is_fresh", [True, False])
@pytest.mark.parametrize("late", [0, 1, 5])
async def test_a_cancellation_reaches_the_task_that_it_waits_for_first(late: int, is_fresh: bool) -> None:
    runner, journal = Runner(), Journal()
    if not is_fresh:
        runner.run_inside(journal.write(), Context())
        await turns()
    inner: list[asyncio.Task[None]] = []

    async def outer() -> None:
        inner.append(asyncio.create_task(journal.wait()))
        try:
            await inner[0]
        except asyncio.CancelledError:
            journal.entries.append(inner[0].cancelled())
            raise

    task = runner.run_inside(outer(), Context())
    assert task is not None
    await turns(late)
    task.cancel()
    assert (await end_of(task)).cancelled()
    await turns()
    assert inner[0].cancelled()
    assert journal.entries[-1] is True
    await end_all(runner)


async def test_a_wait_behind_a_shield_ends_and_what_is_shielded_goes_on() -> None:
    runner, journal = Runner(), Journal()
    inner = asyncio.create_task(journal.wait())

    async def outer() -> None:
        await asyncio.shield(inner)

    task = runner.run_inside(outer(), Context())
    assert task is not None
    await turns()
    task.cancel()
    assert (await end_of(task)).cancelled()
    assert not inner.done()
    journal.gate.set()
    await inner
    await end_all(runner)


@pytest.mark.parametrize("late", [0, 1])
async def test_a_coroutine_may_go_on_although_it_was_cancelled(late: int) -> None:
    runner, journal = Runner(), Journal()
    runner.run_inside(journal.write(), Context())
    await turns()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            journal.entries.append("cancelled")
        await journal.gate.wait()
        journal.entries.append("ended")

    task = runner.run_inside(stubborn(), Context())
    assert task is not None
    await turns(late)
    task.cancel()
    await turns()
    journal.gate.set()
    assert not (await end_of(task)).cancelled()
    assert journal.entries == ["cancelled", "ended"]
    await end_all(runner)


@pytest.mark.parametrize("is_fresh", [True, False])
async def test_a_call_that_cancels_its_own_task_hears_of_it_where_it_waits(is_fresh: bool) -> None:
    runner, journal = Runner(), Journal()
    if not is_fresh:
        runner.run_inside(journal.write(), Context())
        await turns()

    async def give_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        journal.entries.append("cancels")
        await journal.wait()

    task = await end_of(runner.run_inside(give_up(), Context()))
    assert task.cancelled()
    assert journal.entries == ["cancels", "begun", "cancelled"]
    await end_all(runner)


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("is_fresh", [True, False])
@pytest.mark.parametrize("later", [0, 5])
async def test_a_call_that_cancels_its_own_task_without_waiting_harms_no_later_one(
    later: int, is_fresh: bool, undo: bool
) -> None:
    """Nor does one that takes it back, as time-outs and task groups do."""
    runner, journal = Runner(), Journal()
    if not is_fresh:
        runner.run_inside(journal.write(), Context())
        await turns()

    async def give_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if undo:
            task.uncancel()

    assert runner.run_inside(give_up(), Context()) is None
    await turns(later)
    task = runner.run_inside(journal.wait(), Context())
    assert task is not None
    await turns()
    assert not task.done()
    journal.gate.set()
    assert not (await end_of(task)).cancelled()
    assert journal.entries == ["begun", "ended"]
    await end_all(runner)


async def test_an_idle_task_that_somebody_has_cancelled_is_not_used() -> None:
    """As by ``for task in asyncio.all_tasks(): task.cancel()``."""
    runner, journal = Runner(), Journal()
    runner.run_inside(journal.write("a"), Context())
    for late in (0, 5):
        (idle,) = idle_tasks()
        idle.cancel()
        await turns(late)
        assert runner.run_inside(journal.write("b"), Context()) is None
        task = runner.run_inside(journal.wait(), Context())
        assert task is not idle
        await turns()
        assert journal.entries[-1] == "begun"
        assert runner.run_inside(journal.write("c"), Context()) is None
        await turns()
        assert task is not None
        assert not task.done()
    journal.gate.set()
    await turns()
    await end_all(runner)


async def test_close_cancels_those_that_wait_and_those_that_are_idle() -> None:
    runner, journal = Runner(), Journal()
    tasks = [runner.run_inside(journal.wait(), Context()) for _ in range(2)]
    runner.run_inside(journal.write(), Context())
    await turns()
    idle = idle_tasks()
    assert len(idle) == 1
    closed = runner.close()
    assert set(closed) == {*tasks, *idle}
    await asyncio.wait(closed, timeout=GUARD)
    assert all(task.cancelled() for task in closed)
    assert journal.entries == ["begun", "begun", "cancelled", "cancelled"]
    await turns(1)
    assert runner.tasks == set()
    assert runner.close() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_close_ends_calls_that_began_in_this_turn() -> None:
    runner, journal = Runner(), Journal()
    runner.run_inside(journal.wait(), Context())
    runner.run_inside(journal.write("idle"), Context())
    closed = runner.close()
    assert len(closed) == 2
    await asyncio.wait(closed, timeout=GUARD)
    assert journal.entries == ["begun", "idle", "cancelled"]


# Context variables.


async def test_what_one_call_sets_the_next_with_the_same_context_sees_and_nobody_else() -> None:
    runner, journal = Runner(), Journal()
    one, other = copy_context(), copy_context()

    async def look(value: str | None = None) -> None:
        journal.entries.append(WHO.get())
        if value is not None:
            WHO.set(value)

    runner.run_inside(look("one"), one)
    runner.run_inside(look(), other)
    runner.run_inside(look(), one)
    assert journal.entries == ["nobody", "nobody", "one"]
    assert WHO.get() == "nobody"
    await end_all(runner)


async def test_context_variables_are_kept_over_a_wait() -> None:
    runner, journal = Runner(), Journal()
    one, other = copy_context(), copy_context()

    async def look(value: str) -> None:
        WHO.set(value)
        for _ in range(2):
            await journal.gate.wait()
            journal.entries.append(WHO.get())
            await asyncio.sleep(0)
        WHO.set(f"{value} again")

    tasks = [runner.run_inside(look("one"), one), runner.run_inside(look("other"), other)]
    await turns()
    WHO.set("the server")
    journal.gate.set()
    for task in tasks:
        await end_of(task)
    assert journal.entries == ["one", "other"] * 2
    assert (one[WHO], other[WHO]) == ("one again", "other again")
    assert WHO.get() == "the server"
    await end_all(runner)


async def test_two_calls_that_share_a_context_may_wait_beside_each_other() -> None:
    """As an overruled call and the end of its session."""
    runner = Runner()
    context = copy_context()

    async def count() -> None:
        for _ in range(3):
            WHO.set(f"{WHO.get()}+")
            await asyncio.sleep(0)

    tasks = [runner.run_inside(count(), context), runner.run_inside(count(), context)]
    for task in tasks:
        assert (await end_of(task)).exception() is None
    assert context[WHO] == "nobody++++++"
    await end_all(runner)


async def test_a_task_that_a_call_makes_sees_a_copy_of_its_context() -> None:
    runner, journal = Runner(), Journal()

    async def look() -> None:
        journal.entries.append(WHO.get())
        WHO.set("the task")

    async def call() -> None:
        WHO.set("the call")
        await asyncio.create_task(look())
        journal.entries.append(WHO.get())
        asyncio.get_running_loop().call_soon(lambda: journal.entries.append(WHO.get()))
        await asyncio.sleep(0)

    await end_of(runner.run_inside(call(), copy_context()))
    assert journal.entries == ["the call"] * 3
    await end_all(runner)


async def test_no_context_of_a_call_is_kept_alive() -> None:
    class Value:
        """Something that can be watched."""

    variable: ContextVar[Value] = ContextVar("variable")
    runner, journal = Runner(), Journal()
    watched: list[weakref.ref[Value]] = []

    async def remember() -> None:
        value = Value()
        watched.append(weakref.ref(value))
        variable.set(value)

    async def remember_and_wait() -> None:
        await remember()
        await journal.gate.wait()

    runner.run_inside(remember(), Context())
    task = runner.run_inside(remember_and_wait(), Context())
    runner.run_inside(remember(), Context())
    journal.gate.set()
    await end_of(task)
    del task
    await turns()
    gc.collect()
    assert [value() for value in watched] == [None] * 3
    await end_all(runner)


# Calls within calls.


@pytest.mark.parametrize("inner_waits", [False, True])
@pytest.mark.parametrize("outer_waits", [False, True])
async def test_a_call_within_a_call_has_a_task_of_its_own_and_gives_the_other_back(
    outer_waits: bool, inner_waits: bool
) -> None:
    runner, journal = Runner(), Journal()
    tasks: list[asyncio.Task[None] | None] = []

    async def inner() -> None:
        journal.entries.append(asyncio.current_task())
        if inner_waits:
            await journal.gate.wait()
            journal.entries.append(asyncio.current_task())

    async def outer() -> None:
        if outer_waits:
            await asyncio.sleep(0)
        mine = asyncio.current_task()
        tasks.append(runner.run_inside(inner(), Context()))
        assert asyncio.current_task() is mine
        assert journal.entries[-1] is not mine
        await asyncio.sleep(0)
        assert asyncio.current_task() is mine

    mine = asyncio.current_task()
    task = await end_of(runner.run_inside(outer(), Context()))
    assert task.exception() is None
    assert asyncio.current_task() is mine
    journal.gate.set()
    if inner_waits:
        await end_of(tasks[0])
        assert journal.entries == [tasks[0]] * 2
    else:
        assert tasks == [None]
    assert mine not in journal.entries
    await end_all(runner)


async def test_calls_within_calls_may_be_deep() -> None:
    runner, journal = Runner(), Journal()

    async def nest(depth: int) -> None:
        mine = asyncio.current_task()
        if depth:
            runner.run_inside(nest(depth - 1), Context())
        assert asyncio.current_task() is mine
        journal.entries.append(id(mine))

    runner.run_inside(nest(20), Context())
    assert len(set(journal.entries)) == 21
    runner.run_inside(nest(20), Context())
    assert len(set(journal.entries)) == 21, "the same ones again"
    await end_all(runner)


# Errors.


async def test_an_error_before_it_waits_comes_out_of_the_call() -> None:
    runner, journal = Runner(), Journal()

    async def fail() -> None:
        raise ValueError("bug")

    mine = asyncio.current_task()
    with pytest.raises(ValueError, match="bug"):
        runner.run_inside(fail(), Context())
    with pytest.raises(ValueError, match="bug"):
        await in_callback(lambda: runner.run(fail(), Context()))
    assert asyncio.current_task() is mine
    assert runner.run_inside(journal.write("next"), Context()) is None
    assert len(idle_tasks()) == 1
    await end_all(runner)


async def test_an_error_after_it_has_waited_is_that_of_its_task() -> None:
    runner = Runner()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("bug")

    task = await end_of(runner.run_inside(fail(), Context()))
    assert str(task.exception()) == "bug"
    assert runner.tasks == set()
    await end_all(runner)


async def test_a_cancellation_that_it_raises_itself_comes_out_of_the_call() -> None:
    runner, journal = Runner(), Journal()

    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        runner.run_inside(give_up(), Context())
    assert runner.run_inside(journal.write("next"), Context()) is None
    await turns()
    await end_all(runner)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_what_ends_the_program_comes_out_of_the_call(kind: type[BaseException]) -> None:
    runner = Runner()

    async def stop() -> None:
        raise kind

    mine = asyncio.current_task()
    with pytest.raises(kind):
        runner.run_inside(stop(), Context())
    assert asyncio.current_task() is mine
    await end_all(runner)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_ends_the_loop_after_a_wait(kind: type[BaseException]) -> None:
    runner = Runner()

    async def stop() -> None:
        await asyncio.sleep(0)
        raise kind

    async def main() -> None:
        runner.run_inside(stop(), Context())
        await asyncio.Event().wait()

    with pytest.raises(kind), asyncio.Runner() as program:
        program.run(main())


async def test_a_coroutine_that_is_thrown_away_may_tidy_up() -> None:
    """As at the end of a loop that nobody has stopped properly."""
    runner, journal = Runner(), Journal()

    async def tidy() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            journal.entries.append("tidy")

    task = runner.run_inside(tidy(), Context())
    assert task is not None
    await turns()
    coroutine = task.get_coro()
    assert coroutine is not None
    coroutine.close()  # type: ignore[union-attr]  # a coroutine indeed
    assert journal.entries == ["tidy"]
    task.cancel()
    await end_of(task)
    if not task.cancelled():
        task.exception()
    gc.collect()
    await end_all(runner)


# Other loops.

CORE: list[tuple[Scenario, tuple[Any, ...]]] = [
    (test_a_coroutine_that_does_not_wait_ends_within_the_call, ()),
    (test_it_works_outside_any_task_as_well, ()),
    (test_an_idle_task_lends_its_name_again_and_again, ()),
    (test_a_call_that_waits_keeps_its_task_and_the_next_gets_another, ()),
    (test_it_gets_what_it_waited_for_values_and_faults, ()),
    (test_what_is_there_before_its_task_has_begun_is_not_missed, ()),
    (test_a_time_out_that_has_begun_within_the_call_ends_the_wait, ()),
    (test_a_time_out_of_nothing_ends_the_first_wait, ()),
    (test_wait_for_works_across_the_wait, ()),
    (test_a_task_group_that_has_begun_within_the_call_works_across_the_wait, ()),
    (test_a_task_group_ends_the_call_s_wait_when_one_of_it_fails, ()),
    *(
        (test_who_cancels_the_task_reaches_the_coroutine, (late, is_fresh))
        for late in (0, 5)
        for is_fresh in (True, False)
    ),
    *(
        (test_a_call_that_cancels_its_own_task_without_waiting_harms_no_later_one, (later, True, undo))
        for later in (0, 5)
        for undo in (True, False)
    ),
    (test_an_idle_task_that_somebody_has_cancelled_is_not_used, ()),
    (test_close_cancels_those_that_wait_and_those_that_are_idle, ()),
    (test_close_ends_calls_that_began_in_this_turn, ()),
    (test_what_one_call_sets_the_next_with_the_same_context_sees_and_nobody_else, ()),
    (test_context_variables_are_kept_over_a_wait, ()),
    (test_calls_within_calls_may_be_deep, ()),
    (test_an_error_before_it_waits_comes_out_of_the_call, ()),
    (test_an_error_after_it_has_waited_is_that_of_its_task, ()),
]


def name_of(scenario: tuple[Scenario, tuple[Any, ...]]) -> str:
    function, arguments = scenario
    return "-".join([function.__name__.removeprefix("test_"), *map(str, arguments)])


@pytest.mark.parametrize("scenario", CORE, ids=name_of)
def test_on_uvloop(scenario: tuple[Scenario, tuple[Any, ...]]) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed: pip install sockbridge[speed]")
    function, arguments = scenario

    async def run() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        await function(*arguments)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as program:
        program.run(run())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks cannot start eagerly before Python 3.12")
@pytest.mark.parametrize("scenario", CORE, ids=name_of)
def test_with_tasks_that_start_eagerly(scenario: tuple[Scenario, tuple[Any, ...]]) -> None:
    function, arguments = scenario

    async def run() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # 3.12
        await function(*arguments)

    with asyncio.Runner() as program:
        program.run(run())
