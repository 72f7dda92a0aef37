"""What publishing costs while the number of subscriptions grows: 10 to 10,000, by destination and by pattern.

How: the embedded broker alone, no sockets. 10 subscribers of the destination that is published to get every message;
all others have subscribed elsewhere: to 1,000 other destinations, or to 1,000 other patterns. Their number should not
matter. Rounds are interleaved, each size in turn; figures are medians.

Run: ``python -m bench.subscriptions [--quick]``
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence

from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.destinations import Pattern
from sockbridge.stomp.frame import AckMode

from .process import progress

SIZES = (10, 100, 1000, 10_000)
OTHERS = 1000
"""Destinations, or patterns, over which the others are spread."""

RECIPIENTS = 10
WANTED = 1.5
"""Greatest ratio of the cost with the most subscriptions to that with the fewest."""


class Subscriber:
    """One that only counts."""

    ack = AckMode.AUTO
    headers: Mapping[str, str] = {}
    owner: object = None
    user: str | None = None
    client_id: str | None = None
    is_ready = True

    def __init__(self, destination: str) -> None:
        self.pattern = Pattern(destination)
        self.count = 0

    async def drain(self) -> None:
        """Nothing ever waits."""

    def deliver(self, message: PreparedMessage, headers: Mapping[str, str] | None = None) -> bool:
        self.count += 1
        return True

    def lend(self, message: PreparedMessage, headers: Mapping[str, str] | None = None) -> bool:
        return self.deliver(message, headers)

    def evict(self, reason: str) -> None:
        """Nobody is."""


KINDS = {
    "destinations": "/topic/rooms/{number}/news",
    "patterns room": "/topic/rooms/{number}/*",
    "patterns deep": "/topic/**/room{number}",
    "patterns glob": "/topic/rooms/{number}-*/news",
}
TARGET = "/topic/rooms/target/news"


async def fill(kind: str, size: int) -> tuple[EmbeddedBroker, list[Subscriber]]:
    """A broker with ``size`` subscriptions, and those that get what is published."""
    broker = EmbeddedBroker(["/topic"])
    recipients = [Subscriber(TARGET) for _ in range(RECIPIENTS)]
    others = [Subscriber(KINDS[kind].replace("{number}", str(n % OTHERS))) for n in range(size - RECIPIENTS)]
    for subscriber in (*recipients, *others):
        await broker.subscribe(subscriber)
    return broker, recipients


async def one_round(broker: EmbeddedBroker, recipients: Sequence[Subscriber], count: int) -> float:
    """Microseconds per publish."""
    message = PreparedMessage(1, TARGET, {}, b"")
    before = sum(subscriber.count for subscriber in recipients)
    start = time.perf_counter()
    for _ in range(count):
        await broker.publish(message)
    elapsed = time.perf_counter() - start
    delivered = sum(subscriber.count for subscriber in recipients) - before
    if delivered != count * RECIPIENTS:
        raise SystemExit(f"{delivered} messages were delivered instead of {count * RECIPIENTS}")
    return elapsed / count * 1e6


async def measure(rounds: int, count: int) -> dict[tuple[str, int], list[float]]:
    """All sizes in turn, ``rounds`` times."""
    brokers = {(kind, size): await fill(kind, size) for kind in KINDS for size in SIZES}
    costs: dict[tuple[str, int], list[float]] = {key: [] for key in brokers}
    for turn in range(rounds):
        for key, (broker, recipients) in brokers.items():
            costs[key].append(await one_round(broker, recipients, count))
        progress(f"round {turn + 1}/{rounds}")
    return costs


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    options = parser.parse_args(arguments)
    try:
        costs = asyncio.run(measure(5 if options.quick else 15, 2000 if options.quick else 10_000))
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    print(f"\nus per publish to {RECIPIENTS} subscribers, Python {platform.python_version()}")
    print(f"{'subscriptions':16}" + "".join(f"{size:>10,}" for size in SIZES) + f"{'ratio':>10}")
    is_good = True
    for kind in KINDS:
        medians = [statistics.median(costs[kind, size]) for size in SIZES]
        # with ten there is no pattern in the table at all, so the first that counts is a hundred
        ratio = medians[-1] / medians[1]
        is_good = is_good and ratio <= WANTED
        print(f"{kind:16}" + "".join(f"{cost:10.2f}" for cost in medians) + f"{ratio:10.2f}")
    if not is_good:
        print(f"MISSED: wanted is at most {WANTED:g} times the cost with 100")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
