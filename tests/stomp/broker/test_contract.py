"""The embedded broker keeps what every broker promises; and one that breaks a promise is caught by the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from sockbridge.errors import BadFrame
from sockbridge.stomp.broker.distribution import Queues
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.broker.history import Stream
from sockbridge.stomp.broker.queues import Queue
from sockbridge.stomp.broker.replay import Replay
from sockbridge.testing import BrokerContract


class TestEmbeddedBroker(BrokerContract):
    def make_broker(self, **wanted: Any) -> EmbeddedBroker:
        return EmbeddedBroker(**wanted)


# Brokers that break a promise each, and a test of the contract that must notice.


class Forgetful(EmbeddedBroker):
    """Loses what a client had when it went."""

    async def unsubscribe(self, subscriber: Any, *, is_lost: bool) -> None:
        queue = self.queues.get(subscriber.pattern.text)
        if queue is not None:
            for consumer in queue._consumers.values():
                consumer.lent.clear()
        await super().unsubscribe(subscriber, is_lost=is_lost)


class Deaf(EmbeddedBroker):
    """Takes a NACK for an ACK."""

    async def settle(self, subscriber: Any, serials: Any, *, is_accepted: bool, headers: Mapping[str, str]) -> None:
        await super().settle(subscriber, serials, is_accepted=True, headers=headers)


class Careless(EmbeddedBroker):
    """Does not look whether a COMMIT fits."""

    async def check(self, messages: Any) -> None:
        pass


class Talkative(EmbeddedBroker):
    """Lets anybody listen to a temporary queue."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._temporary.owner = lambda address: self.anybody  # type: ignore[method-assign]
        self.anybody = Anybody()


class Anybody:
    def __ne__(self, other: object) -> bool:
        return False


class Clinging(EmbeddedBroker):
    """Refuses what is sent to a temporary queue whose owner has gone."""

    def _put(self, message: Any) -> None:
        if message.destination.startswith("/reply-queue") and self._temporary.owner(message.destination) is None:
            raise BadFrame("gone")
        super()._put(message)


class Trusting(EmbeddedBroker):
    """Lets clients say who is present."""

    def _check_foreign(self, destination: str) -> None:
        pass


class Ungracious(EmbeddedBroker):
    """Ends a durable subscription with its connection."""

    async def unsubscribe(self, subscriber: Any, *, is_lost: bool) -> None:
        await super().unsubscribe(subscriber, is_lost=False)


class Silent(EmbeddedBroker):
    """Tells nobody how it stands."""

    async def subscribe(self, subscriber: Any) -> Mapping[str, str]:
        await super().subscribe(subscriber)
        return {}


def change(target: type, name: str, replacement: Callable[..., Any]) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(target, name, replacement)

    return apply


def unordered(self: Queue, entry: Any, now: float) -> None:
    """Puts what comes back to the end."""
    self._take_from_consumer(entry)
    self._budget.give_back(entry.size)
    self.put(entry.message, now)
    self._waiting[-1].deliveries = entry.deliveries


def always_ready(self: Queue, entry: Any) -> Any:
    """Gives without asking whether the client takes more."""
    for consumer in self._ready:
        if len(consumer.lent) < consumer.prefetch:
            return consumer
    return None


def without_turns(self: Queue, entry: Any) -> Any:
    """Always begins with the same consumer."""
    for consumer in self._ready:
        if consumer.subscriber.is_ready and len(consumer.lent) < consumer.prefetch:
            return consumer
    return None


def gapless(self: Replay, lost: int | None) -> None:
    """Says nothing of what is missing."""
    self._gap = ""


def gives_up(self: Replay, limit: int) -> bool:
    """Says that it is done after a burst."""
    advance(self, limit)
    return False


advance = Replay.advance


def everything(self: Stream, offset: int, limit: int) -> Iterable[Any]:
    """Gives what the client has already."""
    return self._kept[self._first : self._first + limit]


def bury_nowhere(self: Queues, queue: Queue, dead: Any) -> None:
    """Throws the dead away."""


MUTANTS: dict[str, tuple[type[EmbeddedBroker], str]] = {
    "loses what was lent": (Forgetful, "test_what_a_lost_consumer_had_not_settled_comes_back_in_order"),
    "takes a NACK for an ACK": (Deaf, "test_a_nack_puts_a_message_back_to_the_front"),
    "commits by halves": (Careless, "test_a_commit_that_does_not_fit_has_no_effect_at_all"),
    "lets others listen": (Talkative, "test_nobody_else_can_listen"),
    "refuses late answers": (Clinging, "test_a_temporary_queue_is_gone_with_its_client"),
    "lets others tell": (Trusting, "test_only_the_server_tells"),
    "is not durable": (Ungracious, "test_what_comes_meanwhile_waits"),
    "says nothing": (Silent, "test_who_comes_back_gets_what_it_missed_and_then_what_comes"),
}

PATCHES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "puts to the end": (
        change(Queue, "_return", unordered), "test_what_a_lost_consumer_had_not_settled_comes_back_in_order"
    ),
    "ignores prefetch": (
        change(Queue, "_next_consumer", without_turns), "test_each_message_goes_to_one_consumer_in_turn"
    ),
    "piles up": (
        change(Queue, "_next_consumer", always_ready), "test_a_slow_consumer_loses_nothing_and_holds_nobody_up"
    ),
    "hides gaps": (change(Replay, "_headers", gapless), "test_what_cannot_be_given_any_more_is_said"),
    "repeats": (
        change(Stream, "after", everything), "test_who_comes_back_gets_what_it_missed_and_then_what_comes"
    ),
    "stops after a burst": (
        change(Replay, "advance", gives_up),
        "test_all_that_was_missed_comes_though_nothing_more_is_published",
    ),
    "has no dead letters": (
        change(Queues, "_see_off", bury_nowhere), "test_a_nack_without_requeue_leads_to_the_dead_letters"
    ),
}  # fmt: skip


class Examined(BrokerContract):
    def __init__(self, kind: type[EmbeddedBroker]) -> None:
        self.kind = kind

    def make_broker(self, **wanted: Any) -> EmbeddedBroker:
        return self.kind(**wanted)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not come in memory within half a second will not come."""
    monkeypatch.setattr("sockbridge.testing.stomp_client.GUARD", 0.5)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broker_that_breaks_a_promise_is_caught(name: str) -> None:
    kind, test = MUTANTS[name]
    with pytest.raises((AssertionError, TimeoutError, KeyError)):
        getattr(Examined(kind), test)()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", PATCHES)
def test_a_room_that_breaks_a_promise_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    apply, test = PATCHES[name]
    apply(monkeypatch)
    with pytest.raises((AssertionError, TimeoutError, KeyError)):
        getattr(Examined(EmbeddedBroker), test)()


def test_an_honest_broker_is_not_caught() -> None:
    for _, test in (*MUTANTS.values(), *PATCHES.values()):
        getattr(Examined(EmbeddedBroker), test)()
