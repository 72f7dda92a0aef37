"""What publishing costs while other queues are idle: 1 to 1,000 of them, each with a consumer and no message.

How: the embedded broker alone, started, no sockets. A message is published to a queue with one consumer, which takes it
at once, or acknowledges it afterwards; and to a topic with one subscriber. The number of idle queues should not matter.
Rounds are interleaved, each number in turn; figures are medians.

Run: ``python -m bench.idle_queues [--quick]``
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import platform
import statistics
import sys
import time
from collections.abc import Mapping, Sequence

from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.frame import AckMode

from .process import progress
from .subscriptions import Subscriber

NUMBERS = (1, 10, 1000)
WANTED = 1.5
"""Greatest ratio of the cost with the most idle queues to that with one."""


class Acknowledging(Subscriber):
    """One that acknowledges each message by itself."""

    ack = AckMode.CLIENT_INDIVIDUAL


KINDS: Mapping[str, tuple[str, type[Subscriber]]] = {
    "queue, auto": ("/queue/busy/auto", Subscriber),
    "queue, client-individual": ("/queue/busy/individual", Acknowledging),
    "topic": ("/topic/busy", Subscriber),
}


class Scene:
    """A broker with so many idle queues, and those who get what is published."""

    def __init__(self) -> None:
        self.broker = EmbeddedBroker(["/topic"], queues=["/queue"])
        self.receivers = {kind: receiver(destination) for kind, (destination, receiver) in KINDS.items()}
        self._serials = itertools.count(1)

    async def fill(self, idle: int) -> None:
        """Start, and subscribe everybody."""
        await self.broker.start(self._message)
        for subscriber in (*(Subscriber(f"/queue/idle/{number}") for number in range(idle)), *self.receivers.values()):
            await self.broker.subscribe(subscriber)

    async def round(self, kind: str, count: int) -> float:
        """Microseconds per message."""
        broker, receiver = self.broker, self.receivers[kind]
        destination = KINDS[kind][0]
        is_settling = receiver.ack is not AckMode.AUTO
        before = receiver.count
        messages = [self._message(destination, {}, b"") for _ in range(count)]
        start = time.perf_counter()
        for message in messages:
            await broker.publish(message)
            if is_settling:
                await broker.settle(receiver, [message.serial], is_accepted=True, headers={})
        elapsed = time.perf_counter() - start
        if receiver.count - before != count or broker.held:
            raise SystemExit(f"{receiver.count - before} of {count} messages arrived, {broker.held} bytes are held")
        return elapsed / count * 1e6

    def _message(self, destination: str, headers: Mapping[str, str], body: bytes) -> PreparedMessage:
        return PreparedMessage(next(self._serials), destination, headers, body)


async def measure(rounds: int, count: int) -> dict[tuple[str, int], list[float]]:
    """All numbers in turn, ``rounds`` times."""
    scenes = {number: Scene() for number in NUMBERS}
    for number, scene in scenes.items():
        await scene.fill(number)
    costs: dict[tuple[str, int], list[float]] = {(kind, number): [] for kind in KINDS for number in NUMBERS}
    for turn in range(rounds):
        for kind in KINDS:
            for number, scene in scenes.items():
                costs[kind, number].append(await scene.round(kind, count))
                await asyncio.sleep(0)  # the broker's clock may look at its queues
        progress(f"round {turn + 1}/{rounds}")
    for scene in scenes.values():
        await scene.broker.stop()
    return costs


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    options = parser.parse_args(arguments)
    try:
        costs = asyncio.run(measure(7 if options.quick else 25, 2000 if options.quick else 10_000))
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    print(f"\nus per publish among idle queues, Python {platform.python_version()}")
    print(f"{'':26}" + "".join(f"{number:>8,}" for number in NUMBERS) + f"{'ratio':>8}")
    is_good = True
    for kind in KINDS:
        medians = [statistics.median(costs[kind, number]) for number in NUMBERS]
        ratio = medians[-1] / medians[0]
        is_good = is_good and ratio <= WANTED
        print(f"{kind:26}" + "".join(f"{cost:8.2f}" for cost in medians) + f"{ratio:8.2f}")
    if not is_good:
        print(f"MISSED: wanted is at most {WANTED:g} times the cost with {NUMBERS[0]}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
