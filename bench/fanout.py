"""One message to many: STOMP subscribers against raw SockJS sessions, over websockets.

How: 1,000 SockJS websockets. One more client sends a message of 64 bytes; the raw endpoint broadcasts it, the STOMP
server publishes it to the topic that all have subscribed to. The next is sent when all have got it (or, with a window,
so many before). Each kind has a server of its own, both on one core, the load is on another; rounds are interleaved.
Every client's messages are checked: none may be lost, doubled or out of order.

Read: ``us`` is the server's CPU time per delivered message; ``ratio`` that of a round to the raw round beside it.

Run: ``python -m bench.fanout [--quick] [--subscribers N]``
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import re
import select
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from .idle import connect_sockjs_websocket
from .process import Server, allow_connections, pin, progress, two_cores
from .websocket_load import GUARD, PING, PONG, WrongReply, expect

WINDOWS = (1, 16)
MESSAGE_SIZE = 64
WANTED = 1.5
"""Greatest ratio of STOMP to raw SockJS."""

MARK = re.compile(rb"#(\d{8})#")


def long_client_frame(payload: bytes) -> bytes:
    """One masked frame of up to 65,535 bytes; the mask is zero, which leaves the payload as it is."""
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + payload


def raw_message(body: str) -> str:
    """What a client sends to the raw endpoint."""
    return body


def stomp_message(body: str) -> str:
    """What a client sends to the STOMP server."""
    return f"SEND\ndestination:/topic/news\n\n{body}\0"


def exchange(connection: socket.socket, message: str, answer: str) -> None:
    """Send ``message`` in a SockJS frame and read exactly ``answer`` in one."""
    connection.sendall(long_client_frame(json.dumps([message]).encode()))
    frame = b"a" + json.dumps([answer]).encode()
    expect(connection, b"", b"\x81" + bytes((len(frame),)) + frame)


def raw_client(port: int, number: int) -> socket.socket:
    """One that gets what is broadcast."""
    return connect_sockjs_websocket(port, number)


def stomp_sender(port: int, number: int) -> socket.socket:
    """One that is logged in."""
    connection = connect_sockjs_websocket(port, number)
    exchange(connection, "CONNECT\naccept-version:1.2\n\n\0", "CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0")
    return connection


def stomp_client(port: int, number: int) -> socket.socket:
    """One that is subscribed."""
    connection = stomp_sender(port, number)
    subscribe = "SUBSCRIBE\nid:sub-0\ndestination:/topic/news\nreceipt:1\n\n\0"
    exchange(connection, subscribe, "RECEIPT\nreceipt-id:1\n\n\0")
    return connection


@dataclass(frozen=True, slots=True)
class Kind:
    """A server, and what its clients do."""

    name: str
    client: Callable[[int, int], socket.socket]
    sender: Callable[[int, int], socket.socket]
    word: Callable[[str], str]


KINDS = (
    Kind("broadcast", raw_client, raw_client, raw_message),
    Kind("stomp", stomp_client, stomp_sender, stomp_message),
)


class Audience:
    """The clients of one server, and what each has got."""

    def __init__(self, kind: Kind, server: Server, size: int) -> None:
        self._kind = kind
        self._server = server
        self._poll = select.epoll()
        self._clients: dict[int, socket.socket] = {}
        self._next: dict[int, int] = {}
        self._rest: dict[int, bytes] = {}
        for number in range(size):
            connection = kind.client(server.port, number)
            self._clients[connection.fileno()] = connection
            self._next[connection.fileno()] = 0
            self._rest[connection.fileno()] = b""
            self._poll.register(connection, select.EPOLLIN)
            if (number + 1) % 250 == 0:
                progress(f"{kind.name}: {number + 1}/{size} connected")
        self._sender = kind.sender(server.port, size)
        self._poll.register(self._sender, select.EPOLLIN)
        self._sent = 0

    def round(self, seconds: float, window: int) -> float:
        """Publish for ``seconds``, ``window`` messages ahead; microseconds of the server per delivered message."""
        before = self._server.busy_seconds()
        end = time.perf_counter() + seconds
        first, waiting = self._sent, 0
        for _ in range(window):
            self._send()
        waiting = window * len(self._clients)
        while waiting:
            waiting -= self._listen()
            if time.perf_counter() < end:
                behind = (waiting + len(self._clients) - 1) // len(self._clients)
                for _ in range(window - behind):
                    self._send()
                    waiting += len(self._clients)
        delivered = (self._sent - first) * len(self._clients)
        return (self._server.busy_seconds() - before) / delivered * 1e6

    def close(self) -> None:
        """Cut all."""
        for connection in (*self._clients.values(), self._sender):
            connection.close()
        self._poll.close()

    def _send(self) -> None:
        body = f"#{self._sent:08d}#".ljust(MESSAGE_SIZE, ".")
        self._sender.sendall(long_client_frame(json.dumps([self._kind.word(body)]).encode()))
        self._sent += 1

    def _listen(self) -> int:
        ready = self._poll.poll(GUARD)
        if not ready:
            raise WrongReply(f"nothing came for {GUARD:g} seconds: a message was lost")
        count = 0
        for number, _events in ready:
            if number == self._sender.fileno():  # of the raw endpoint it gets the broadcast as well
                self._sender.recv(262144)
                continue
            received = self._clients[number].recv(262144)
            if not received:
                raise WrongReply("the server closed a connection")
            received = self._rest[number] + received
            cut = max(received.rfind(b"."), 0)  # a mark is never cut in two: bodies end in dots
            self._rest[number] = received[cut:] if b"#" in received[cut:] else b""
            for mark in MARK.findall(received[:cut]):
                if int(mark) != self._next[number]:
                    raise WrongReply(f"message {int(mark)} instead of {self._next[number]}")
                self._next[number] += 1
                count += 1
            if received.startswith(PING):
                self._clients[number].sendall(PONG)
        return count


@dataclass(slots=True)
class Row:
    """The rounds of one kind with one window."""

    kind: str
    window: int
    costs: list[float] = field(default_factory=list)


def measure(size: int, rounds: int, seconds: float) -> list[Row]:
    """Each kind in turn, ``rounds`` times."""
    server_core, load_core = two_cores()
    pin(load_core)
    allow_connections(2 * size)
    rows = [Row(kind.name, window) for window in WINDOWS for kind in KINDS]
    with contextlib.ExitStack() as stack:
        audiences = {}
        for kind in KINDS:
            server = stack.enter_context(Server(kind.name, server_core))
            audiences[kind.name] = Audience(kind, server, size)
            stack.callback(audiences[kind.name].close)
        for row in rows:
            audiences[row.kind].round(0.3, row.window)
        for turn in range(rounds):
            for row in rows:
                row.costs.append(audiences[row.kind].round(seconds, row.window))
                progress(f"round {turn + 1}/{rounds}, window {row.window:2}: {row.kind:9} {row.costs[-1]:6.2f} us")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 7")
    parser.add_argument("--subscribers", type=int, default=1000)
    options = parser.parse_args(arguments)
    try:
        rows = measure(options.subscribers, 3 if options.quick else 7, 1.0 if options.quick else 2.0)
    except WrongReply as error:
        print(f"\nFAILED: {error}")
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    versions = f"Python {platform.python_version()}, aiohttp {aiohttp.__version__}"
    print(f"\nfan-out of {MESSAGE_SIZE} bytes to {options.subscribers} SockJS websockets, {versions}")
    print(f"{'window':>6}  {'':10}{'us':>6}  ratio (lowest, highest)")
    raw = {row.window: row for row in rows if row.kind == "broadcast"}
    is_good = True
    for row in rows:
        ratios = [mine / base for mine, base in zip(row.costs, raw[row.window].costs, strict=True)]
        ratio = statistics.median(ratios)
        is_good = is_good and ratio <= WANTED
        print(
            f"{row.window:6}  {row.kind:10}{statistics.median(row.costs):6.2f}"
            f"  {ratio:5.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
        )
    if not is_good:
        print(f"MISSED: wanted is at most {WANTED:g} times raw SockJS")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
