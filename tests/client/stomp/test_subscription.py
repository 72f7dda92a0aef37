"""What waits in one subscription, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from sockbridge.client.stomp.inbox import Inbox
from sockbridge.client.stomp.subscription import Subscription, Terms, closed
from sockbridge.errors import ClientError, InvalidFrame, SessionClosed, SessionLost
from sockbridge.stomp.frame import AckMode, Command, Frame
from tests.client.stomp.fakes import FakeLink, conversation
from tests.fakes import GUARD


class Recorder:
    """A subscriber that only writes down who asks."""

    def __init__(self, error: ClientError | None = None) -> None:
        self.calls: list[str] = []
        self._error = error

    async def subscribe(self, subscription: Subscription) -> None:
        self.calls.append("subscribe")

    async def unsubscribe(self, subscription: Subscription, headers: Mapping[str, str] | None) -> None:
        self.calls.append("unsubscribe")
        if self._error is not None:
            raise self._error

    def abandon(self, subscription: Subscription) -> None:
        self.calls.append("abandon")


def subscription(inbox: Inbox | None = None, mode: str = "auto", subscriber: Recorder | None = None) -> Subscription:
    terms = Terms("s1", "/topic/a", AckMode(mode), {}, True)
    return Subscription(subscriber or Recorder(), inbox or Inbox(1000), terms)


def frame(body: str = "x", **headers: str) -> Frame:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Frame(Command.MESSAGE, {"destination": "/topic/a", **named}, body.encode())


async def test_messages_are_taken_in_order_and_make_room() -> None:
    inbox = Inbox(1000)
    one = subscription(inbox)
    async with conversation(FakeLink()) as (talk, _):
        for body in "abc":
            one.deliver(frame(body), talk)
        assert (len(one), bool(one)) == (3, True)
        assert inbox.size > 3 * 500
        assert [(await one.receive()).text for _ in range(3)] == ["a", "b", "c"]
        assert inbox.size == 0


async def test_several_tasks_may_share_it_and_each_message_goes_to_one() -> None:
    one = await subscription()
    async with conversation(FakeLink()) as (talk, _), asyncio.timeout(GUARD):
        taking = [asyncio.create_task(one.receive()) for _ in range(3)]
        await asyncio.sleep(0)
        for body in "abc":
            one.deliver(frame(body), talk)
        assert sorted([(await task).text for task in taking]) == ["a", "b", "c"]


@pytest.mark.parametrize("error", [SessionLost("cut"), None])
async def test_in_mode_auto_what_has_come_is_given_before_the_end_is_told(error: SessionLost | None) -> None:
    inbox = Inbox(1000)
    one = subscription(inbox)
    async with conversation(FakeLink()) as (talk, _):
        one.deliver(frame(), talk)
        one.end(closed if error is None else lambda: error)
        assert inbox.size == 0, "it keeps nobody else waiting"
        got = [await one.receive()]
        with pytest.raises(SessionClosed if error is None else SessionLost):
            await one.receive()
        if error is None:
            assert [message async for message in one] == []
        assert [message.text for message in got] == ["x"]
        assert inbox.size == 0


@pytest.mark.parametrize("mode", ["client", "client-individual"])
async def test_in_the_other_modes_what_was_not_taken_is_void_with_its_connection(mode: str) -> None:
    inbox = Inbox(1000)
    one = subscription(inbox, mode)
    async with conversation(FakeLink()) as (talk, _):
        one.headers(talk)
        one.deliver(frame(), talk)
        one.interrupt()
        assert (one.voided, len(one), inbox.size, one.is_active) == (1, 0, 0, False)
        assert one.voided == 1


async def test_a_break_keeps_what_has_come_in_mode_auto() -> None:
    one = subscription()
    async with conversation(FakeLink()) as (talk, _):
        one.deliver(frame(), talk)
        one.interrupt()
        assert (one.voided, len(one)) == (0, 1)


async def test_the_end_wakes_all_who_wait_and_only_the_first_counts() -> None:
    one = await subscription()
    waiting = [asyncio.create_task(one.receive()) for _ in range(2)]
    await asyncio.sleep(0)
    one.end(lambda: SessionLost("cut"))
    one.end(closed)
    async with asyncio.timeout(GUARD):
        for task in waiting:
            with pytest.raises(SessionLost):
                await task


async def test_the_place_is_that_of_the_last_message_that_cannot_come_again() -> None:
    """In mode ``auto`` what has come is ours; in the others what was taken."""
    async with conversation(FakeLink()) as (talk, _):
        auto, individual = subscription(), subscription(mode="client-individual")
        for one in (auto, individual):
            assert one.place is None
            for offset in ("1", "2"):
                one.deliver(frame(x_epoch="e", x_offset=offset), talk)
            await one.receive()
        assert (auto.place, individual.place) == (("e", 2), ("e", 1))
        individual.interrupt()
        assert individual.headers(talk) == {"x-since": "1", "x-epoch": "e"}


async def test_one_that_never_stood_has_missed_nothing() -> None:
    async with conversation(FakeLink()) as (talk, _):
        one = subscription()
        one.headers(talk)
        one.interrupt()
        one.headers(talk)
        assert one.missed == 0
        one.confirm(Frame(Command.RECEIPT))
        one.interrupt()
        one.headers(talk)
        assert one.missed is None


async def test_it_is_subscribed_where_it_is_entered_or_awaited() -> None:
    for subscriber in (Recorder(), Recorder(SessionLost("cut"))):
        one = subscription(subscriber=subscriber)
        assert await one is one
        try:
            async with subscription(subscriber=subscriber):
                assert subscriber.calls == ["subscribe", "subscribe"]
        except SessionLost:
            assert len(subscriber.calls) == 3
        assert subscriber.calls[2:] == ["unsubscribe"]


async def test_an_exception_in_the_block_waits_for_no_server() -> None:
    subscriber = Recorder(SessionLost("cut"))
    with pytest.raises(ZeroDivisionError):
        async with subscription(subscriber=subscriber):
            raise ZeroDivisionError
    assert subscriber.calls == ["subscribe", "abandon"]


async def test_one_that_was_never_entered_does_not_wait_for_ever() -> None:
    with pytest.raises(InvalidFrame, match="await"):
        await subscription().receive()


async def test_it_says_how_it_stands() -> None:
    one = subscription()
    assert "waiting" in repr(one)
    async with conversation(FakeLink()) as (talk, _):
        one.headers(talk)
        assert "active" in repr(one)
        one.end(closed)
    assert "ended" in repr(one)
