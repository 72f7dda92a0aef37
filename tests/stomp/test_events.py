"""Events: everybody is told, and nobody's error reaches anybody else."""

from __future__ import annotations

import asyncio
import logging

import pytest

from sockbridge.sockjs.framing import Close
from sockbridge.stomp.connection import StompConnection
from sockbridge.stomp.events import Audience, Events
from sockbridge.stomp.subscription import Subscription
from tests.fakes import GUARD
from tests.stomp.fakes import RecordingEvents, login, subscribe

CLOSE = Close(1000, "Goodbye")

NAMES = ["on_connected", "on_subscribed", "on_unsubscribed", "on_disconnected"]


class Life:
    """A client in the order of its life: ``until`` goes to the point before an event, ``tell`` has it told."""

    def __init__(self, *events: Events) -> None:
        self.audience = Audience(events)
        self.connection, _ = login(user="bob")
        self.subscription = subscribe(self.connection)

    async def until(self, name: str) -> None:
        for earlier in NAMES[: NAMES.index(name)]:
            await self.tell(earlier)

    async def tell(self, name: str) -> None:
        if name == "on_connected":
            await self.audience.connected(self.connection)
        elif name == "on_subscribed":
            await self.audience.subscribed(self.connection, self.subscription)
        elif name == "on_unsubscribed":
            self.connection.unsubscribe("s")
            await self.audience.unsubscribed(self.connection, self.subscription)
        else:
            self.connection.on_lost()
            await self.audience.disconnected(self.connection, CLOSE)

    def value(self, name: str) -> object:
        """What the event ``name`` is told with."""
        return {"on_connected": self.connection.user, "on_disconnected": CLOSE}.get(name, self.subscription)


class Raising(Events):
    async def on_connected(self, connection: StompConnection) -> None:
        raise LookupError("the application's own")

    async def on_subscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        raise LookupError("the application's own")

    async def on_unsubscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        raise LookupError("the application's own")

    async def on_disconnected(self, connection: StompConnection, close: Close) -> None:
        raise LookupError("the application's own")


class Cancelled(Events):
    """Awaits something that somebody else has cancelled."""

    async def on_connected(self, connection: StompConnection) -> None:
        raise asyncio.CancelledError

    async def on_subscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        raise asyncio.CancelledError

    async def on_unsubscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        raise asyncio.CancelledError

    async def on_disconnected(self, connection: StompConnection, close: Close) -> None:
        raise asyncio.CancelledError


class TooFewParameters(Events):
    """As one writes it in a hurry."""

    async def on_connected(self) -> None:  # type: ignore[override]
        raise AssertionError("not reached")

    on_subscribed = on_unsubscribed = on_disconnected = on_connected  # type: ignore[assignment]


class Plain(Events):
    """Functions that forgot ``async``."""

    def on_connected(self, connection: StompConnection) -> None:  # type: ignore[override]
        raise LookupError("the application's own")

    def on_subscribed(self, connection: StompConnection, subscription: Subscription) -> None:  # type: ignore[override]
        raise LookupError("the application's own")

    on_unsubscribed = on_subscribed  # type: ignore[assignment]

    def on_disconnected(self, connection: StompConnection, close: Close) -> None:  # type: ignore[override]
        """Returns nothing that one could wait for."""


class Blocking(RecordingEvents):
    """Waits in the event ``name`` until the gate opens."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()

    async def on_connected(self, connection: StompConnection) -> None:
        await super().on_connected(connection)
        await self.wait("on_connected")

    async def on_subscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        await super().on_subscribed(connection, subscription)
        await self.wait("on_subscribed")

    async def on_unsubscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        await super().on_unsubscribed(connection, subscription)
        await self.wait("on_unsubscribed")

    async def on_disconnected(self, connection: StompConnection, close: Close) -> None:
        await super().on_disconnected(connection, close)
        await self.wait("on_disconnected")

    async def wait(self, name: str) -> None:
        if name == self.name:
            self.begun.set()
            await self.gate.wait()


# Who is told.


async def test_a_life_is_told_once_and_in_order() -> None:
    events = RecordingEvents()
    life = Life(Events(), events)
    for name in NAMES:
        await life.tell(name)
    assert events.calls == [(name, life.connection, life.value(name)) for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
async def test_the_next_is_told_when_the_one_before_has_ended(name: str) -> None:
    before, after = Blocking(name), RecordingEvents()
    life = Life(before, after)
    async with asyncio.timeout(GUARD):
        await life.until(name)
        task = asyncio.create_task(life.tell(name))
        await before.begun.wait()
        assert name not in after.names()
        before.gate.set()
        await task
    assert after.names() == NAMES[: NAMES.index(name) + 1]


@pytest.mark.parametrize("name", NAMES)
async def test_nobody_need_be_told(name: str) -> None:
    life = Life()
    await life.until(name)
    await life.tell(name)


# Ends without beginnings.


async def test_who_was_not_told_of_a_beginning_is_not_told_of_an_end() -> None:
    events = RecordingEvents()
    life = Life(events)
    await life.tell("on_unsubscribed")
    await life.tell("on_disconnected")
    assert events.calls == []


async def test_a_client_that_has_gone_before_it_was_told_of_never_was() -> None:
    events = RecordingEvents()
    life = Life(events)
    life.connection.on_lost()
    for name in ("on_connected", "on_disconnected"):
        await life.tell(name)
    assert events.calls == []


async def test_a_subscription_that_has_ended_before_it_was_told_of_never_was() -> None:
    events = RecordingEvents()
    life = Life(events)
    await life.tell("on_connected")
    life.connection.unsubscribe("s")
    newer = subscribe(life.connection)
    await life.tell("on_subscribed")
    await life.audience.unsubscribed(life.connection, life.subscription)
    assert events.names() == ["on_connected"]
    await life.audience.subscribed(life.connection, newer)
    assert events.calls[-1] == ("on_subscribed", life.connection, newer)


@pytest.mark.parametrize("ends", NAMES[2:])
async def test_an_end_is_told_once(ends: str) -> None:
    events = RecordingEvents()
    life = Life(events)
    await life.until(ends)
    for _ in range(2):
        await life.tell(ends)
    assert events.names().count(ends) == 1


@pytest.mark.parametrize(
    ("begins", "ends"), [("on_connected", "on_disconnected"), ("on_subscribed", "on_unsubscribed")]
)
async def test_what_ends_while_the_first_is_being_told_is_never_told_to_the_second(begins: str, ends: str) -> None:
    first, second = Blocking(begins), RecordingEvents()
    life = Life(first, second)
    async with asyncio.timeout(GUARD):
        await life.until(begins)
        task = asyncio.create_task(life.tell(begins))
        await first.begun.wait()
        await life.tell(ends)
        first.gate.set()
        await task
    assert first.names()[-2:] == [begins, ends]
    assert begins not in second.names()
    assert ends not in second.names()


async def test_the_end_of_a_client_tells_the_end_of_its_subscriptions_first() -> None:
    events = RecordingEvents()
    life = Life(events)
    other = subscribe(life.connection, id="other")
    await life.until("on_unsubscribed")
    await life.audience.subscribed(life.connection, other)
    await life.tell("on_disconnected")
    assert [(name, value) for name, _, value in events.calls[3:]] == [
        ("on_unsubscribed", life.subscription),
        ("on_unsubscribed", other),
        ("on_disconnected", CLOSE),
    ]


async def test_the_end_of_one_subscription_leaves_the_others() -> None:
    events = RecordingEvents()
    life = Life(events)
    other = subscribe(life.connection, id="other")
    await life.until("on_unsubscribed")
    await life.audience.subscribed(life.connection, other)
    await life.tell("on_unsubscribed")
    await life.tell("on_disconnected")
    told = [value for name, _, value in events.calls if name == "on_unsubscribed"]
    assert told == [life.subscription, other]


# Errors.


@pytest.mark.parametrize("broken", [Raising, TooFewParameters, Plain, Cancelled])
@pytest.mark.parametrize("name", NAMES)
async def test_an_error_is_logged_and_the_others_are_told_all_the_same(
    name: str, broken: type[Events], caplog: pytest.LogCaptureFixture
) -> None:
    before, after = RecordingEvents(), RecordingEvents()
    life = Life(before, broken(), after)
    await life.until(name)
    caplog.clear()
    with caplog.at_level(logging.ERROR, logger="sockbridge.stomp"):
        await life.tell(name)
    assert before.names() == after.names() == NAMES[: NAMES.index(name) + 1]
    (record,) = caplog.records
    assert record.exc_info is not None


async def test_a_cancellation_of_whoever_tells_is_no_error_of_the_application(caplog: pytest.LogCaptureFixture) -> None:
    before, after = Blocking("on_connected"), RecordingEvents()
    life = Life(before, after)
    async with asyncio.timeout(GUARD):
        task = asyncio.create_task(life.tell("on_connected"))
        await before.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (after.calls, caplog.records) == ([], [])
