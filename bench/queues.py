"""A queue and its consumers: sockbridge's embedded broker against CoilMQ, over TCP.

How: one client sends messages of 64 bytes to a queue, 32 ahead of what has arrived; one or ten consumers acknowledge
each message by itself. The same load speaks STOMP 1.1 to both, one write per frame. Each server has a process of its
own, all on one core, the load is on another; rounds are interleaved. Every message must arrive exactly once, and
sockbridge must have settled every one when the consumers have said goodbye.

CoilMQ (``python -m coilmq.start``, as its documentation says, with its defaults: everything in memory) lends one
message at a time to each consumer. sockbridge is measured in the same way (``prefetch-count:1``) and with its default,
100. What the others call ``client-individual`` is the ack mode ``client`` of CoilMQ, where an ACK settles one message;
``client-individual`` is not known to it and would be ``auto``.

Read: ``us`` is the server's CPU time per message (sent, delivered, acknowledged), ``load`` how busy the load was; where
it was busy all the time it was the limit, and ``us`` is the figure to compare. With one message at a time and one
consumer server and load wait for each other. Ratios are to the CoilMQ round beside.

Run: ``python -m bench.queues [--quick]``; needs the package ``coilmq`` (the extra ``bench``).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import platform
import re
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from .process import Server, pin, progress, two_cores
from .stomp_load import MESSAGE_SIZE, Client, numbered_send
from .websocket_load import GUARD, WrongReply

CONSUMERS = (1, 10)
DESTINATION = "/queue/jobs"
WINDOW = 32
"""Messages ahead: all of them together are less than CoilMQ reads at once."""

COILMQ_READ_SIZE = 4096
START_GUARD = 10.0
BUSY = 0.9
"""Of the time: from here on the load, or the server, counts as the limit."""

WANTED = 1.0
"""Greatest ratio of sockbridge's CPU time per message to CoilMQ's, each as it is by default."""

find_message = re.compile(rb"\nmessage-id:([^\n]+)\n(?:[^\n]+\n)*\n#(\d{8})#").search


class Measured(Protocol):
    """A server in a process of its own."""

    def busy_seconds(self) -> float:
        """CPU time of all its threads so far."""
        ...


class CoilMQ:
    """CoilMQ in a process of its own. Use it in a ``with``.

    Attributes:
        tcp_port: where it listens.
    """

    def __init__(self, core: int | None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.tcp_port: int = free.getsockname()[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "coilmq.start", "--host", "127.0.0.1", "--port", str(self.tcp_port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,  # so that Ctrl-C reaches us alone, and we stop it
        )
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})

    def __enter__(self) -> Self:
        end = time.perf_counter() + START_GUARD
        while time.perf_counter() < end and self._process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError):
                Client(self.tcp_port).close()
                return self
            time.sleep(0.05)
        self.__exit__()
        raise SystemExit("CoilMQ does not start: python -m coilmq.start says why")

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()  # on Ctrl-C it would wait for its clients
        self._process.wait()

    def busy_seconds(self) -> float:
        """It has a thread per connection, and all of them stay."""
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


@dataclass(frozen=True, slots=True)
class Kind:
    """A server, and what its consumers ask for.

    Attributes:
        wanted: headers of the SUBSCRIBE.
    """

    name: str
    is_coilmq: bool
    wanted: str


KINDS = (
    Kind("CoilMQ", True, "ack:client\n"),
    Kind("sockbridge, prefetch 1", False, "ack:client-individual\nprefetch-count:1\n"),
    Kind("sockbridge", False, "ack:client-individual\n"),
)
"""The last is sockbridge as it is by default."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one round.

    Attributes:
        rate: messages per second.
        cost: microseconds of the server per message.
        server: how busy it was, 0 to 1.
        load: how busy the load was.
    """

    rate: float
    cost: float
    server: float
    load: float


class Crew:
    """The clients of one server: who sends, and who consumes; and what has arrived."""

    def __init__(self, kind: Kind, port: int, size: int, measured: Measured) -> None:
        self._measured = measured
        self._poll = select.epoll()
        self._sender = Client(port)
        self._consumers: dict[int, Client] = {}
        self._arrived = bytearray()  # by number: how often
        self._count = 0
        for _ in range(size):
            consumer = Client(port)
            consumer.send(f"SUBSCRIBE\nid:0\ndestination:{DESTINATION}\n{kind.wanted}receipt:1\n\n\0".encode())
            consumer.expect(b"RECEIPT\n")
            self._consumers[consumer.fileno()] = consumer
            self._poll.register(consumer, select.EPOLLIN)
        self._poll.register(self._sender, select.EPOLLIN)

    @property
    def sent(self) -> int:
        """Messages so far."""
        return len(self._arrived)

    def round(self, seconds: float) -> Figures:
        """Send for ``seconds``, and wait until everything has arrived."""
        busy, own, start = self._measured.busy_seconds(), time.process_time(), time.perf_counter()
        end = start + seconds
        first = self._count
        self._send(WINDOW)
        while self._count < self.sent:
            self._listen()
            if time.perf_counter() < end:
                self._send(WINDOW - (self.sent - self._count))
        elapsed = time.perf_counter() - start
        own, busy = time.process_time() - own, self._measured.busy_seconds() - busy
        count = self._count - first
        return Figures(count / elapsed, busy / count * 1e6, busy / elapsed, own / elapsed)

    def leave(self) -> None:
        """Every client says goodbye; nothing may come before the answer."""
        for client in (*self._consumers.values(), self._sender):
            client.send(b"DISCONNECT\nreceipt:bye\n\n\0")
            client.expect(b"RECEIPT\nreceipt-id:bye\n")
        if self._arrived.count(1) != self.sent:
            raise WrongReply(f"{self._arrived.count(1)} of {self.sent} messages have arrived exactly once")

    def close(self) -> None:
        """Cut all."""
        for client in (*self._consumers.values(), self._sender):
            client.close()
        self._poll.close()

    def _send(self, count: int) -> None:
        for _ in range(count):
            self._sender.send(numbered_send(DESTINATION, self.sent))
            self._arrived.append(0)

    def _listen(self) -> None:
        ready = self._poll.poll(GUARD)
        if not ready:
            raise WrongReply(f"nothing came for {GUARD:g} seconds: a message was lost")
        for number, _events in ready:
            consumer = self._consumers.get(number)
            if consumer is None:
                raise WrongReply(f"{self._sender.receive()} for the sender, who has asked for nothing")
            for frame in consumer.receive():
                found = find_message(frame)
                if found is None or not frame.startswith(b"MESSAGE\n"):
                    raise WrongReply(f"{frame[:300]!r} instead of a MESSAGE")
                self._arrived[int(found[2])] += 1
                if self._arrived[int(found[2])] != 1:
                    raise WrongReply(f"message {int(found[2])} has come twice")
                self._count += 1
                consumer.send(b"ACK\nsubscription:0\nmessage-id:%b\n\n\0" % found[1])


@dataclass(slots=True)
class Row:
    """The rounds of one kind with so many consumers."""

    kind: Kind
    consumers: int
    rounds: list[Figures] = field(default_factory=list)

    def median(self, name: str) -> float:
        """Of one figure, over the rounds."""
        several: list[float] = [getattr(figures, name) for figures in self.rounds]
        return statistics.median(several)


def ratios(mine: Row, base: Row, name: str) -> list[float]:
    """Of one figure, round by round, in order of size."""
    pairs = zip(mine.rounds, base.rounds, strict=True)
    return sorted(getattr(one, name) / getattr(other, name) for one, other in pairs)


def check_settled(server: Server, sent: int) -> None:
    """Has the broker of ``server`` done its book-keeping?"""
    report = server.ask()
    counters = report.counters
    if report.errors:
        raise WrongReply(f"logged by the server: {report.errors}")
    if report.held or any(counters[name] != sent for name in ("queued", "delivered", "settled")):
        raise WrongReply(f"{sent} messages were sent, {report.held} bytes are held, the broker says {counters}")


def measure(rounds: int, seconds: float) -> list[Row]:
    """Each kind in turn, ``rounds`` times."""
    assert WINDOW * len(numbered_send(DESTINATION, 0)) <= COILMQ_READ_SIZE
    server_core, load_core = two_cores()
    pin(load_core)
    rows = [Row(kind, count) for count in CONSUMERS for kind in KINDS]
    with contextlib.ExitStack() as stack:
        crews: list[Crew] = []
        servers: list[Server | None] = []
        for row in rows:
            measured: Server | CoilMQ
            if row.kind.is_coilmq:
                measured = stack.enter_context(CoilMQ(server_core))
                port = measured.tcp_port
                servers.append(None)
            else:
                measured = stack.enter_context(Server("broker", server_core))
                port = measured.ask().tcp_port
                servers.append(measured)
            crews.append(Crew(row.kind, port, row.consumers, measured))
            stack.callback(crews[-1].close)
            crews[-1].round(0.3)
        for turn in range(rounds):
            for row, crew in zip(rows, crews, strict=True):
                figures = crew.round(seconds)
                row.rounds.append(figures)
                progress(
                    f"round {turn + 1}/{rounds}, {row.consumers:2} consumers: {row.kind.name:22}"
                    f" {figures.rate:8,.0f} messages/s {figures.cost:6.1f} us"
                    f"  server {figures.server:4.0%}, load {figures.load:4.0%}"
                )
        for crew, server in zip(crews, servers, strict=True):
            crew.leave()
            if server is not None:
                check_settled(server, crew.sent)
        progress(f"{sum(crew.sent for crew in crews):,} messages, each of them has arrived once")
    return rows


def spread(several: Sequence[float]) -> str:
    """Median, lowest, highest."""
    return f"{statistics.median(several):.2f} ({min(several):.2f}, {max(several):.2f})"


def show(rows: Sequence[Row]) -> bool:
    """Print the table; False if sockbridge, as it is by default, costs more than it should."""
    is_good = True
    print(f"{'consumers':>9}  {'':22}{'messages/s':>11}{'us':>7}{'server':>8}{'load':>6}  {'rate':18}{'us'}")
    for row in rows:
        base = next(other for other in rows if other.kind.is_coilmq and other.consumers == row.consumers)
        rates, costs = ratios(row, base, "rate"), ratios(row, base, "cost")
        is_good = is_good and (row.kind is not KINDS[-1] or statistics.median(costs) <= WANTED)
        print(
            f"{row.consumers:9}  {row.kind.name:22}{row.median('rate'):11,.0f}{row.median('cost'):7.1f}"
            f"{row.median('server'):8.0%}{row.median('load'):6.0%}  {spread(rates):18}{spread(costs)}"
        )
    for row in rows:
        if row.median("load") >= BUSY:
            print(f"{row.kind.name}, {row.consumers} consumers: the load was the limit; compare us, not messages/s")
        elif row.median("server") < BUSY:
            print(f"{row.kind.name}, {row.consumers} consumers: server and load waited, for each other or for a core")
    return is_good


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 short rounds instead of 9")
    options = parser.parse_args(arguments)
    try:
        peer = importlib.metadata.version("coilmq")
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit("this compares with CoilMQ: pip install coilmq") from None
    try:
        rows = measure(5 if options.quick else 9, 0.7 if options.quick else 2.0)
    except WrongReply as error:
        print(f"\nFAILED: {error}")
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    versions = f"Python {platform.python_version()}, CoilMQ {peer}"
    print(f"\na queue over TCP, messages of {MESSAGE_SIZE} bytes, {WINDOW} ahead; {versions}")
    if not show(rows):
        print(f"MISSED: wanted is at most {WANTED:g} times CoilMQ's CPU time per message")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
