"""Waiting for slow subscribers: one task each, which ends with whoever it waits for."""

from __future__ import annotations

import asyncio

import pytest

from sockbridge.stomp.broker.pacing import Pacer, clock
from tests.fakes import GUARD
from tests.stomp.broker.fakes import RecordingSubscriber
from tests.stomp.clients import turns


def slow() -> RecordingSubscriber:
    subscriber = RecordingSubscriber()
    subscriber.is_ready = False
    return subscriber


class Resumed:
    """What is to be done when a subscriber takes something again."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._changed.set()

    async def wait(self) -> None:
        await asyncio.wait_for(self._changed.wait(), GUARD)


async def test_the_clock_is_the_loops() -> None:
    loop = asyncio.get_running_loop()
    assert loop.time() <= clock() <= loop.time()


async def test_it_goes_on_when_a_subscriber_takes_something_again() -> None:
    pacer, subscriber, resumed = Pacer(), slow(), Resumed()
    pacer.wait(subscriber, resumed)
    await subscriber.wait_for_drain()
    await turns()
    assert (pacer.is_waiting(subscriber), len(pacer), resumed.count) == (True, 1, 0)
    subscriber.take_in()
    await resumed.wait()
    assert (pacer.is_waiting(subscriber), len(pacer), resumed.count) == (False, 0, 1)


async def test_it_goes_on_in_a_later_turn_even_for_one_that_is_ready() -> None:
    pacer, resumed = Pacer(), Resumed()
    pacer.wait(RecordingSubscriber(), resumed)
    assert resumed.count == 0
    await resumed.wait()
    assert (resumed.count, len(pacer)) == (1, 0)


async def test_one_waits_once_whoever_asks() -> None:
    pacer, subscriber, resumed, other = Pacer(), slow(), Resumed(), Resumed()
    for resume in (resumed, other, resumed):
        pacer.wait(subscriber, resume)
    assert len(pacer) == 1
    subscriber.take_in()
    await resumed.wait()
    await turns()
    assert (resumed.count, other.count, subscriber.drains) == (1, 0, 1)


async def test_who_is_not_ready_after_all_is_waited_for_again() -> None:
    """Somebody else was quicker to give it something."""
    pacer, subscriber, resumed = Pacer(), slow(), Resumed()
    pacer.wait(subscriber, resumed)
    for count in (1, 2, 3):
        await subscriber.wait_for_drain(count)
        subscriber.stir()
    await subscriber.wait_for_drain(4)
    assert resumed.count == 0
    subscriber.take_in()
    await resumed.wait()
    assert resumed.count == 1


async def test_what_is_done_then_may_wait_again() -> None:
    pacer, subscriber, resumed = Pacer(), slow(), Resumed()

    def resume() -> None:
        resumed()
        if resumed.count == 1:
            subscriber.is_ready = False
            pacer.wait(subscriber, resume)
            assert pacer.is_waiting(subscriber)

    pacer.wait(subscriber, resume)
    await subscriber.wait_for_drain()
    subscriber.take_in()
    await subscriber.wait_for_drain(2)
    assert (resumed.count, len(pacer)) == (1, 1)
    subscriber.take_in()
    await turns()
    assert (resumed.count, len(pacer)) == (2, 0)


async def test_for_a_client_that_has_gone_nothing_is_done() -> None:
    pacer, subscriber, resumed = Pacer(), slow(), Resumed()
    pacer.wait(subscriber, resumed)
    await subscriber.wait_for_drain()
    subscriber.go()
    await turns()
    assert (resumed.count, len(pacer)) == (0, 0)


async def test_for_a_client_that_goes_after_it_was_stirred_nothing_is_done_either() -> None:
    pacer, subscriber, resumed = Pacer(), slow(), Resumed()
    pacer.wait(subscriber, resumed)
    await subscriber.wait_for_drain()
    subscriber.stir()
    await subscriber.wait_for_drain(2)
    subscriber.go()
    await turns()
    assert (resumed.count, len(pacer)) == (0, 0)


@pytest.mark.parametrize("begun", [True, False])
async def test_who_is_forgotten_is_given_nothing_more(begun: bool) -> None:
    pacer, subscriber, resumed = Pacer(), slow(), Resumed()
    pacer.wait(subscriber, resumed)
    if begun:
        await subscriber.wait_for_drain()
    pacer.forget(subscriber)
    assert not pacer.is_waiting(subscriber)
    subscriber.take_in()
    await turns()
    assert (resumed.count, len(pacer)) == (0, 0)
    pacer.forget(subscriber)
    pacer.forget(slow())


async def test_who_is_forgotten_and_comes_again_is_waited_for_anew() -> None:
    pacer, subscriber, former, resumed = Pacer(), slow(), Resumed(), Resumed()
    pacer.wait(subscriber, former)
    await subscriber.wait_for_drain()
    pacer.forget(subscriber)
    pacer.wait(subscriber, resumed)
    await subscriber.wait_for_drain(2)
    assert pacer.is_waiting(subscriber), "the end of the first does not end the second"
    subscriber.take_in()
    await resumed.wait()
    assert (former.count, resumed.count, len(pacer)) == (0, 1, 0)


async def test_who_is_forgotten_in_the_moment_it_is_ready_is_given_nothing() -> None:
    pacer, subscriber, resumed = Pacer(), slow(), Resumed()
    pacer.wait(subscriber, resumed)
    await subscriber.wait_for_drain()
    subscriber.take_in()
    pacer.forget(subscriber)
    await turns()
    assert resumed.count == 0


async def test_several_are_waited_for_apart() -> None:
    pacer, several = Pacer(), [slow() for _ in range(3)]
    done: list[int] = []
    for number, subscriber in enumerate(several):
        pacer.wait(subscriber, lambda number=number: done.append(number))  # type: ignore[misc]
    await several[2].wait_for_drain()
    several[1].take_in()
    await turns()
    assert (done, len(pacer)) == ([1], 2)
    await pacer.close()


async def test_at_the_end_nobody_is_waited_for() -> None:
    pacer, several, resumed = Pacer(), [slow() for _ in range(3)], Resumed()
    for subscriber in several:
        pacer.wait(subscriber, resumed)
    await several[0].wait_for_drain()
    await pacer.close()
    assert len(pacer) == 0
    for subscriber in several:
        subscriber.take_in()
    await turns()
    assert resumed.count == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await pacer.close()


async def test_who_is_forgotten_by_what_is_done_for_it_is_not_broken_off() -> None:
    pacer, subscriber, resumed = Pacer(), slow(), Resumed()

    def resume() -> None:
        pacer.forget(subscriber)
        resumed()

    pacer.wait(subscriber, resume)
    subscriber.take_in()
    await resumed.wait()
    assert len(pacer) == 0


async def test_who_is_forgotten_by_its_own_drain_is_given_nothing_more() -> None:
    class Leaving(RecordingSubscriber):
        async def drain(self) -> None:
            pacer.forget(self)

    pacer, resumed = Pacer(), Resumed()
    pacer.wait(Leaving(), resumed)
    await turns()
    assert (resumed.count, len(pacer)) == (0, 0)
