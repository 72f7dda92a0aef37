"""What the client costs: messages per second and CPU per message, against a bare websocket of aiohttp.

How: an echo server of ours in a process of its own, pinned to another core; one client at a time, which keeps a number
of messages in flight. All take turns, round by round; the figures are medians of the rounds, the ratios those of the
rounds beside each other. CPU time is that of this process, so it holds on a machine that others use as well. A bare
websocket does not know what the server has read; ours asks it, by pings. Every answer is compared.

Run: ``python -m bench.client [--quick] [--only NAME]``
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from sockbridge.client import TRANSPORTS, connect

from .process import Server, pin, progress, two_cores

SIZE: Final = 64
ROUNDS: Final = 5
BARE: Final = "aiohttp"
SECONDS: Final = {False: 2.0, True: 0.3}
"""Of one measurement; by whether it is a quick run."""

WINDOWS: Final = (100, 1)


@dataclass(frozen=True, slots=True)
class Link:
    """A client that is connected."""

    send: Callable[[str], Awaitable[None]]
    receive: Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Contest:
    """One client, with so many messages in flight.

    Attributes:
        rates: messages per second, round by round.
        costs: microseconds of CPU per message, round by round.
    """

    name: str
    window: int
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)


@asynccontextmanager
async def bare(url: str) -> AsyncIterator[Link]:
    """aiohttp's websocket on the raw endpoint, as one writes it without us."""
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/websocket") as socket:
        yield Link(socket.send_str, socket.receive_str)


@asynccontextmanager
async def ours(url: str, transport: str) -> AsyncIterator[Link]:
    """Our client."""
    async with connect(url, transports=[transport], timeout=10) as session:
        yield Link(session.send, session.receive)


def link(url: str, name: str) -> AbstractAsyncContextManager[Link]:
    """The client of that name."""
    return bare(url) if name == BARE else ours(url, name)


async def measure(contest: Contest, url: str, seconds: float) -> None:
    """One round."""
    message = "x" * SIZE
    async with link(url, contest.name) as client:
        await exchange(client, message, contest.window, 50)
        before, busy = time.perf_counter(), time.process_time()
        count = 0
        while (taken := time.perf_counter() - before) < seconds:
            count += await exchange(client, message, contest.window, 10)
        busy = time.process_time() - busy
    contest.rates.append(count / taken)
    contest.costs.append(busy / count * 1e6)


async def exchange(client: Link, message: str, window: int, rounds: int) -> int:
    """Keep ``window`` messages in flight until as many have come back ``rounds`` times; returns how many that were."""
    total = window * rounds
    for _ in range(window):
        await client.send(message)
    for number in range(total):
        answer = await client.receive()
        if answer != message:
            raise SystemExit(f"{answer!r} came back instead of {message!r}")
        if number < total - window:
            await client.send(message)
    return total


def table(contests: Sequence[Contest]) -> str:
    """What was measured, beside the bare websocket."""
    lines = ["client           in flight   messages/s      ratio   CPU us/message      ratio"]
    for contest in contests:
        (base,) = (one for one in contests if one.name == BARE and one.window == contest.window)
        faster = statistics.median(ours / theirs for ours, theirs in zip(contest.rates, base.rates, strict=True))
        dearer = statistics.median(ours / theirs for ours, theirs in zip(contest.costs, base.costs, strict=True))
        rate, cost = statistics.median(contest.rates), statistics.median(contest.costs)
        lines.append(
            f"{contest.name:<16} {contest.window:>9} {rate:>12,.0f} {faster:>10.2f} {cost:>16.1f} {dearer:>10.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short rounds: for a look, not for figures")
    parser.add_argument("--only", action="append", help="this client alone, beside the bare one; may be repeated")
    arguments = parser.parse_args()
    names = [BARE, "websocket-raw", *TRANSPORTS]
    if arguments.only:
        names = [name for name in names if name == BARE or name in arguments.only]
    contests = [Contest(name, window) for window in WINDOWS for name in names]
    server_core, client_core = two_cores()
    pin(client_core)
    with Server("sockbridge", server_core) as server:
        url = f"http://127.0.0.1:{server.port}/echo"
        for number in range(ROUNDS):
            for contest in contests:
                progress(f"round {number + 1} of {ROUNDS}: {contest.name}, {contest.window} in flight")
                asyncio.run(measure(contest, url, SECONDS[arguments.quick]))
    print(table(contests))


if __name__ == "__main__":
    main()
