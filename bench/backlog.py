"""What a message costs in memory while it waits in a queue.

How: 100,000 messages of 64 bytes, or of 1 KiB, are sent to a queue over TCP, where nobody listens; the server's
resident memory is compared with what it was before. Then a consumer takes all of them, and they must come once and in
order, and the same is done again. Every size has a server of its own, which has worked off a few messages before.

Read: ``counted`` is what the broker's limits (``max_queue_size``, ``max_size``) count for a message, ``resident`` what
it takes. ``kept`` is what the process still has when all messages are gone, per message: the allocator keeps it for
what comes next, so the second time (``again``) no more is needed than the first time.

Run: ``python -m bench.backlog [--quick]``
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from .process import Server, pin, progress, two_cores
from .stomp_load import Client, number_of, numbered_send
from .websocket_load import WrongReply

DESTINATION = "/queue/jobs"
SIZES = (64, 1024)
WARM_UP = 1000
BATCH = 100
MAX_SIZE = 1024 * 1024 * 1024
WANTED = 1.1
"""Greatest ratio of the memory at the second time to that at the first."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Bytes per message.

    Attributes:
        size: of the body.
        counted: by the broker's limits.
        resident: memory of the server.
        kept: what it still has when the messages are gone.
        again: its memory when as many are there once more.
    """

    size: int
    counted: float
    resident: float
    kept: float
    again: float


def fill(sender: Client, count: int, size: int) -> None:
    """Send ``count`` messages; returns when the server has them."""
    for start in range(0, count - 1, BATCH):
        numbers = range(start, min(start + BATCH, count - 1))
        sender.send(b"".join([numbered_send(DESTINATION, number, size) for number in numbers]))
    sender.send(numbered_send(DESTINATION, count - 1, size, "receipt:1\n"))
    sender.expect(b"RECEIPT\n")


def empty(port: int, count: int, size: int) -> None:
    """Take ``count`` messages, and check them."""
    consumer = Client(port)
    consumer.send(f"SUBSCRIBE\nid:0\ndestination:{DESTINATION}\n\n\0".encode())
    arrived = 0
    while arrived < count:
        for frame in consumer.receive():
            if number_of(frame) != arrived or len(frame.partition(b"\n\n")[2]) != size:
                raise WrongReply(f"{frame[:300]!r} instead of message {arrived}")
            arrived += 1
    consumer.send(b"DISCONNECT\nreceipt:bye\n\n\0")
    consumer.expect(b"RECEIPT\n")
    consumer.close()


def measure(size: int, count: int) -> Figures:
    """One size."""
    server_core, load_core = two_cores()
    pin(load_core)
    limits = {"max_queue_length": count, "max_queue_size": MAX_SIZE, "max_size": MAX_SIZE}
    with Server("broker", server_core, **limits) as server:
        port = server.ask().tcp_port
        sender = Client(port)
        fill(sender, WARM_UP, size)
        empty(port, WARM_UP, size)
        before = server.ask().resident
        fill(sender, count, size)
        full = server.ask()
        progress(f"{count:,} messages of {size} bytes wait")
        empty(port, count, size)
        after = server.ask()
        fill(sender, count, size)
        again = server.ask()
        empty(port, count, size)
        last = server.ask()
        sender.close()
    if last.held or last.errors or last.counters["settled"] != 2 * count + WARM_UP:
        raise WrongReply(f"{last.held} bytes are held, {last.errors} logged, the broker says {last.counters}")
    resident = [(report.resident - before) / count for report in (full, after, again)]
    return Figures(size, full.held / count, *resident)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20,000 messages instead of 100,000")
    options = parser.parse_args(arguments)
    count = 20_000 if options.quick else 100_000
    try:
        rows = [measure(size, count) for size in SIZES]
    except WrongReply as error:
        print(f"\nFAILED: {error}")
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    print(f"\nbytes per message, {count:,} waiting in a queue, Python {platform.python_version()}")
    print(f"{'body':>6}{'counted':>9}{'resident':>10}{'without the body':>18}{'kept':>7}{'again':>7}")
    for row in rows:
        print(
            f"{row.size:6}{row.counted:9.0f}{row.resident:10.0f}{row.resident - row.size:18.0f}"
            f"{row.kept:7.0f}{row.again:7.0f}"
        )
    if any(row.again > WANTED * row.resident for row in rows):
        print(f"MISSED: wanted is at most {WANTED:g} times the memory of the first time")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
