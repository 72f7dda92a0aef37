"""What every message goes through gets no dearer unseen: the counts of ``bench.costs`` are what this table says."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import Final

import pytest

import sockbridge
from bench import costs
from bench.costs import Cost, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one exchange; see ``bench.costs.Cost``."""

    calls: int
    writes: int
    callbacks: int
    timers: int = 0
    tasks: int = 0


# How to change it: the numbers are those of one exchange, e.g. of one broadcast to 100 clients, so that they are whole;
# the failing test says what it has counted. A change that raises a number says why in its commit; one that lowers a
# number lowers it here as well, so that nobody takes back unseen what was gained.
LIMITS: Final = {
    "websocket echo": Limits(calls=21, writes=1, callbacks=1),
    "websocket echo, compiled reader": Limits(calls=20, writes=1, callbacks=1),
    "websocket echo, 16 in a read": Limits(calls=67, writes=1, callbacks=1),
    "broadcast": Limits(calls=916, writes=100, callbacks=1),
    "broadcast, 16 in a turn": Limits(calls=4241, writes=100, callbacks=1),
    "xhr_streaming echo": Limits(calls=37, writes=2, callbacks=1),
    "xhr polling echo": Limits(calls=66, writes=2, callbacks=1),
    "websocket heartbeat": Limits(calls=40, writes=1, callbacks=1, timers=2),
    "new websocket session": Limits(calls=114, writes=2, callbacks=4),
    "new xhr session": Limits(calls=77, writes=1, callbacks=1, timers=2),
    "STOMP fan-out": Limits(calls=1173, writes=100, callbacks=1),
}

GROWTH: Final = 4.0
"""Bytes that may stay behind per message that a client sends: half a pointer. What is measured is under 2: the objects
that the measuring needs."""

SESSION_GROWTH: Final = 16.0
"""The same per session that came and went: two pointers. yarl and aiohttp's parser keep some of the last requests."""

SESSION_SIZES: Final = {"websocket": 18_000, "xhr_streaming": 18_000, "STOMP subscriber": 20_000}
"""Bytes of an idle session, aiohttp's part of it included; over a quarter more than on Python 3.11 to 3.13."""

WORKLOADS: Final = {workload.name: workload for workload in costs.WORKLOADS}


def faults(workload: Workload, cost: Cost) -> str:
    """What differs from ``LIMITS``, and what is called; empty if nothing does."""
    limits = LIMITS[workload.name]
    lines = []
    for field in dataclasses.fields(limits):
        seen, limit = getattr(cost, field.name), getattr(limits, field.name)
        if seen != limit:
            advice = "" if seen > limit else "; lower the limit, so that nobody takes that back unseen"
            lines.append(
                f"{workload.name}: {seen} {field.name} in an exchange of {cost.messages}, the limit is {limit} "
                f"({seen / cost.messages:.3f} per message instead of {limit / cost.messages:.3f}){advice}"
            )
    if lines:
        lines.append(f'calls per message (python -m bench.costs "{workload.name}" shows them for another version):')
        lines.append(cost.most_called())
    return "\n".join(lines)


def workload_named(name: str) -> Workload:
    """Skips the test where there is nothing to measure."""
    if WORKLOADS[name].reader == "auto" and not costs.has_compiled_reader():
        pytest.skip("sockbridge does not use the compiled reader of this version of aiohttp")
    return WORKLOADS[name]


def test_every_workload_has_limits() -> None:
    assert list(LIMITS) == list(WORKLOADS)
    assert list(SESSION_SIZES) == list(costs.SESSION_KINDS)


@pytest.mark.parametrize("name", LIMITS)
def test_a_message_costs_what_the_table_says(name: str) -> None:
    workload = workload_named(name)
    found = faults(workload, costs.cost_of(workload))
    if found:
        pytest.fail(found, pytrace=False)


@pytest.mark.parametrize("name", LIMITS)
def test_nothing_of_a_message_stays_behind(name: str) -> None:
    grown = costs.growth_of(workload_named(name))
    limit = SESSION_GROWTH if name.startswith("new ") else GROWTH
    assert grown < limit, f"{name}: {grown:.1f} bytes per message stay behind"


@pytest.mark.parametrize("kind", SESSION_SIZES)
def test_an_idle_session_takes_little_memory(kind: str) -> None:
    assert costs.size_of_session(kind) < SESSION_SIZES[kind]


# The guard itself.


class Chatty(costs.Echo):
    """Calls one function of sockbridge more, and keeps the message."""

    def __init__(self) -> None:
        self.kept: list[object] = []

    async def on_message(self, session: sockbridge.Session, message: str | bytes) -> None:
        assert session.is_open
        self.kept.append(message)
        await super().on_message(session, message)


def test_one_call_more_is_noticed_and_told() -> None:
    workload = WORKLOADS["websocket echo"]
    plain, chatty = costs.cost_of(workload), costs.cost_of(dataclasses.replace(workload, handler=Chatty))
    assert chatty.functions - plain.functions == {"sockbridge.sockjs.session.Session.is_open": 1}
    calls, limit = chatty.calls, LIMITS[workload.name].calls
    first, _, *called = faults(workload, chatty).splitlines()
    assert first == (
        f"websocket echo: {calls} calls in an exchange of 1, the limit is {limit} "
        f"({calls}.000 per message instead of {limit}.000)"
    )
    assert "     1.000  sockbridge.sockjs.session.Session.is_open" in called


def test_a_call_less_is_told_as_well() -> None:
    workload = WORKLOADS["broadcast"]
    limits = LIMITS[workload.name]
    cheap = Cost(
        messages=100,
        functions=Counter({"sockbridge.a": 3, "sockbridge.b": limits.calls - 4}),
        foreign_calls=0,
        all_callbacks=0,
        **{name: value for name, value in dataclasses.asdict(limits).items() if name != "calls"},
    )
    first, _, *called = faults(workload, cheap).splitlines()
    assert first.endswith("; lower the limit, so that nobody takes that back unseen")
    assert [line.split()[1] for line in called] == ["sockbridge.b", "sockbridge.a"]


def test_what_stays_behind_is_noticed() -> None:
    assert costs.growth_of(dataclasses.replace(WORKLOADS["websocket echo"], handler=Chatty, repeats=100)) > 64


class Moody(costs.Echo):
    """Does more with every other message."""

    def __init__(self) -> None:
        self.count = 0

    async def on_message(self, session: sockbridge.Session, message: str | bytes) -> None:
        self.count += 1
        assert self.count % 2 or session.is_open
        await super().on_message(session, message)


def test_exchanges_that_differ_are_no_figure() -> None:
    with pytest.raises(costs.Unsteady, match=r"Session\.is_open: \[\d, \d, \d, \d, \d, \d\]"):
        costs.cost_of(dataclasses.replace(WORKLOADS["websocket echo"], handler=Moody))


class Mute(sockbridge.SessionHandler):
    """Sends nothing back."""


def test_a_message_that_is_lost_is_no_figure() -> None:
    with pytest.raises(costs.WrongReply, match="1 times b'\"message 00000000"):
        costs.cost_of(dataclasses.replace(WORKLOADS["websocket echo"], handler=Mute))


class Restless(sockbridge.SessionHandler):
    """Never comes to an end."""

    async def on_message(self, session: sockbridge.Session, message: str | bytes) -> None:
        while True:
            await asyncio.sleep(0)


def test_an_exchange_without_an_end_is_given_up() -> None:
    with pytest.raises(costs.Endless):
        costs.cost_of(dataclasses.replace(WORKLOADS["websocket echo"], handler=Restless))
