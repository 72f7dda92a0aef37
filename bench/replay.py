"""A topic with history, and 100 clients that come back at the same moment: 10,000 messages for each of them.

How: one server, everybody over TCP. In each round 10,000 messages of 64 bytes are published to 100 subscribers, 64
ahead of the slowest, for comparison. Then all of these are cut off, as many messages are published again, and all
connect anew. The clock of the replay runs from the first SUBSCRIBE (with ``x-since`` and ``x-epoch``) to the last byte
of the last client; while they catch up, 100 more messages are published.

Every client must get every message once, in order, with offsets without a gap, what was published meanwhile behind
what it has missed. What one client gets is taken apart by the project's decoder; all others must get the same, byte
for byte.

Read: ``us`` is the server's CPU time per delivered message, ``ratio`` that of a replay to that of the live delivery of
the same round; the peak is the memory that the server's process had at most, above what it had before.

Run: ``python -m bench.replay [--quick] [--clients N] [--messages N]``
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import platform
import re
import select
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sockbridge.stomp.codec import Decoder, Limits
from sockbridge.stomp.frame import Version
from sockbridge.stomp.options import StompOptions

from .process import Server, allow_connections, pin, progress, two_cores
from .stomp_load import READ_SIZE, Client, numbered_body, numbered_send
from .websocket_load import GUARD, WrongReply

DESTINATION = "/topic/news"
WINDOW = 64
"""Messages ahead, of live delivery."""

MEANWHILE = 100
"""Messages that are published during a replay."""

BATCH = 500
WANTED = 2.0
"""Greatest ratio of a replay to live delivery."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one replay.

    Attributes:
        seconds: it took.
        rate: delivered messages per second.
        cost: microseconds of the server per delivered message.
        live: the same of live delivery.
        load: how busy the load was, 0 to 1.
        resident: bytes of the server before.
        peak: bytes that came on top.
    """

    seconds: float
    rate: float
    cost: float
    live: float
    load: float
    resident: int
    peak: int


class Publisher:
    """Sends numbered messages; number n has the offset n + 1."""

    def __init__(self, port: int) -> None:
        self._client = Client(port)
        self.sent = 0

    def send(self, count: int) -> None:
        """The next ones."""
        numbers = range(self.sent, self.sent + count)
        self._client.send(b"".join([numbered_send(DESTINATION, number) for number in numbers]))
        self.sent += count

    def send_all(self, count: int) -> None:
        """The next ones; returns when the server has taken all of them."""
        for start in range(0, count - 1, BATCH):
            self.send(min(BATCH, count - 1 - start))
        self._client.send(numbered_send(DESTINATION, self.sent, headers="receipt:1\n"))
        self.sent += 1
        self._client.expect(b"RECEIPT\n")

    def close(self) -> None:
        """Cut it."""
        self._client.close()


class Crowd:
    """Clients that subscribe, and what they get."""

    def __init__(self, port: int, size: int) -> None:
        self._clients = [Client(port) for _ in range(size)]
        self._poll = select.epoll()
        for client in self._clients:
            self._poll.register(client, select.EPOLLIN)
        self._by_number = {client.fileno(): index for index, client in enumerate(self._clients)}

    def subscribe(self, headers: str = "") -> None:
        """All of them, one after the other; does not wait."""
        for client in self._clients:
            client.send(f"SUBSCRIBE\nid:0\ndestination:{DESTINATION}\n{headers}\n\0".encode())

    def expect_receipts(self) -> str:
        """All are subscribed; the epoch."""
        epochs = [re.search(rb"\nx-epoch:(\w+)\n", client.expect(b"RECEIPT\n")) for client in self._clients]
        if epochs[0] is None:
            raise WrongReply("a RECEIPT without x-epoch")
        return epochs[0][1].decode()

    def collect(self, count: int, on_progress: Callable[[int], None]) -> bytes:
        """Read until everybody has got ``count`` frames.

        Args:
            on_progress: is told how many have arrived, all together.

        Returns:
            what one of them got.

        Raises:
            WrongReply: somebody got something else.
        """
        counts = [0] * len(self._clients)
        digests = [hashlib.blake2b() for _ in self._clients]
        kept: list[bytes] = []
        arrived, wanted = 0, count * len(self._clients)
        while arrived < wanted:
            ready = self._poll.poll(GUARD)
            if not ready:
                raise WrongReply(f"nothing came for {GUARD:g} seconds, after {min(counts)} to {max(counts)} messages")
            for number, _events in ready:
                index = self._by_number[number]
                received = self._clients[index].socket.recv(READ_SIZE)
                if not received:
                    raise WrongReply(f"the server closed a connection after {counts[index]} messages")
                frames = received.count(b"\0")
                counts[index] += frames
                arrived += frames
                digests[index].update(received)
                if index == 0:
                    kept.append(received)
            on_progress(arrived)
        if min(counts) != max(counts) or len({digest.digest() for digest in digests}) != 1:
            raise WrongReply(f"not everybody has got the same; {min(counts)} to {max(counts)} messages")
        return b"".join(kept)

    def close(self) -> None:
        """Cut all."""
        for client in self._clients:
            client.close()
        self._poll.close()


def check(octets: bytes, first: int, count: int, epoch: str) -> None:
    """Are these the messages from number ``first`` on, ``count`` of them, and nothing else?

    Raises:
        WrongReply: they are not.
    """
    decoder = Decoder(Limits.of(StompOptions()), Version.V1_1)
    decoder.feed(octets)
    for number in range(first, first + count):
        frame = decoder.next_frame()
        wanted = {"x-epoch": epoch, "x-offset": str(number + 1), "destination": DESTINATION}
        if frame is None or frame.body != numbered_body(number) or not wanted.items() <= frame.headers.items():
            raise WrongReply(f"{frame} instead of message {number}")
        if "x-missed" in frame.headers:
            raise WrongReply(f"before message {number} there is a gap: {frame.headers}")
    if decoder.next_frame() is not None or decoder.buffered:
        raise WrongReply("more came than was published")


def memory(pid: int, name: str) -> int:
    """``VmRSS``, or ``VmHWM``, the highest since ``forget_peak``, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def forget_peak(pid: int) -> None:
    """``VmHWM`` begins anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class Scene:
    """A server with its history, who publishes, and who listens."""

    def __init__(self, server: Server, clients: int, messages: int) -> None:
        self._server = server
        self._port = server.ask().tcp_port
        self._clients = clients
        self._messages = messages
        self._left = 0  # of those that are published during a replay
        self._publisher = Publisher(self._port)
        self._publisher.send_all(1)  # there is no epoch before the first message
        self._crowd = Crowd(self._port, clients)
        self._crowd.subscribe("receipt:1\n")
        self._epoch = self._crowd.expect_receipts()

    def round(self) -> Figures:
        """Live delivery, then a replay."""
        live = self._deliver() * 1e6
        self._crowd.close()
        since = self._publisher.sent
        self._publisher.send_all(self._messages)
        self._crowd = Crowd(self._port, self._clients)
        forget_peak(self._server.pid)
        resident = memory(self._server.pid, "VmRSS")
        busy, own, start = self._server.busy_seconds(), time.process_time(), time.perf_counter()
        self._crowd.subscribe(f"x-since:{since}\nx-epoch:{self._epoch}\n")
        count, self._left = self._messages + MEANWHILE, MEANWHILE
        octets = self._crowd.collect(count, self._publish_meanwhile)
        elapsed = time.perf_counter() - start
        own, busy = time.process_time() - own, self._server.busy_seconds() - busy
        peak = memory(self._server.pid, "VmHWM") - resident
        check(octets, since, count, self._epoch)
        delivered = count * self._clients
        cost = busy / delivered * 1e6
        return Figures(elapsed, delivered / elapsed, cost, live, own / elapsed, resident, peak)

    def close(self) -> None:
        """Cut all."""
        self._crowd.close()
        self._publisher.close()

    def _deliver(self) -> float:
        # To everybody who listens; seconds of the server per delivered message.
        publisher, first, count = self._publisher, self._publisher.sent, self._messages

        def go_on(arrived: int) -> None:
            ahead = publisher.sent - first - arrived // self._clients
            publisher.send(min(WINDOW - ahead, count - (publisher.sent - first)))

        busy = self._server.busy_seconds()
        go_on(0)
        octets = self._crowd.collect(count, go_on)
        busy = self._server.busy_seconds() - busy
        check(octets, first, count, self._epoch)
        return busy / (count * self._clients)

    def _publish_meanwhile(self, arrived: int) -> None:
        # Evenly over the first nine tenths of the replay.
        share = arrived / (0.9 * self._messages * self._clients)
        due = min(MEANWHILE, 1 + int(share * MEANWHILE))
        done = MEANWHILE - self._left
        if due > done:
            self._publisher.send(due - done)
            self._left -= due - done


def measure(clients: int, messages: int, rounds: int) -> list[Figures]:
    """One server, ``rounds`` times."""
    server_core, load_core = two_cores()
    pin(load_core)
    allow_connections(2 * clients)
    history = [{"destination": DESTINATION, "size": messages + MEANWHILE}]
    several: list[Figures] = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            Server("broker", server_core, history=history, max_history_size=(messages + MEANWHILE) * 1024)
        )
        scene = Scene(server, clients, messages)
        stack.callback(scene.close)
        for turn in range(rounds):
            figures = scene.round()
            several.append(figures)
            progress(
                f"round {turn + 1}/{rounds}: {figures.seconds:5.2f} s {figures.rate:10,.0f} messages/s"
                f" {figures.cost:5.2f} us, live {figures.live:5.2f} us, load {figures.load:4.0%},"
                f" peak {figures.peak / 2**20:+.1f} MiB over {figures.resident / 2**20:.1f}"
            )
        report = server.ask()
        if report.errors or report.counters["missed"]:
            raise WrongReply(f"the server has logged {report.errors}, and counted {report.counters}")
    return several


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds with 2,000 messages instead of 7 with 10,000")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--messages", type=int)
    options = parser.parse_args(arguments)
    messages = options.messages or (2000 if options.quick else 10_000)
    try:
        several = measure(options.clients, messages, 3 if options.quick else 7)
    except WrongReply as error:
        print(f"\nFAILED: {error}")
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 130

    def median(name: str) -> float:
        values: list[float] = [getattr(figures, name) for figures in several]
        return statistics.median(values)

    ratios = [figures.cost / figures.live for figures in several]
    ratio = statistics.median(ratios)
    print(f"\nreplay of {messages:,} messages to {options.clients} clients, Python {platform.python_version()}")
    print(f"{'seconds':>8}{'messages/s':>12}{'us':>7}{'live us':>9}  {'ratio (lowest, highest)':24}{'load':>5}")
    print(
        f"{median('seconds'):8.2f}{median('rate'):12,.0f}{median('cost'):7.2f}{median('live'):9.2f}"
        f"  {f'{ratio:.2f} ({min(ratios):.2f}, {max(ratios):.2f})':24}{median('load'):5.0%}"
    )
    peak = max(figures.resident + figures.peak for figures in several) - several[0].resident
    print(f"memory: {several[0].resident / 2**20:.1f} MiB before the first replay, at most {peak / 2**20:.1f} MiB more")
    if ratio > WANTED:
        print(f"MISSED: wanted is at most {WANTED:g} times live delivery")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
