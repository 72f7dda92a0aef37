"""What a session costs that has nothing to say: memory, and CPU time for its heartbeats.

How: 10,000 clients connect and only answer pings. Memory is what the server's resident memory has grown by,
divided by their number; the kernel's socket buffers are not in it. CPU is the server's CPU time over two whole
heartbeats (50 seconds), in percent of one core. Each kind has a server of its own: sockbridge websockets, the same
with STOMP and one subscription, sockbridge xhr_streaming sessions, and bare aiohttp websockets (with aiohttp's own
pings) for comparison. Beside the figures stands what is wanted; missing that is exit code 1.

Run: ``python -m bench.idle [--quick] [--json FILE]``
"""

from __future__ import annotations

import argparse
import json
import platform
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from .process import Server, allow_connections, pin, progress, two_cores
from .report import Gate, State, gate_as_json, gates_table
from .websocket_load import GUARD, OPEN, IdleClients, WrongReply, client_frame, connect, expect

HEARTBEAT = 25.0
SESSIONS = 10_000

CONNECTS_PER_SECOND = 2_000
"""Roughly, of one server; to say how long the run will take."""

BARE, WEBSOCKET, STOMP, STREAM = (
    "bare aiohttp websocket",
    "sockbridge websocket",
    "STOMP over websocket",
    "sockbridge xhr_streaming",
)

WANTED_OVER_BARE = 2.0
"""Greatest memory of a websocket session over that of a bare aiohttp websocket, in KiB."""

WANTED_STREAM = 24.0
"""Greatest memory of an xhr_streaming session, in KiB."""

WANTED_BUSY = 3.0
"""Greatest part of a core for ``SESSIONS`` of them, in percent."""

Connect = Callable[[int, int], socket.socket]
"""Makes a session of the server at a port; the second number tells it from others."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is measured: clients, and the server that they connect to."""

    name: str
    server: str
    options: dict[str, float]
    connect: Connect


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one kind.

    Attributes:
        memory: bytes of resident memory per session.
        busy: part of a core while idle, heartbeats included.
        heartbeats: how many the clients got.
    """

    name: str
    sessions: int
    memory: float
    busy: float
    heartbeats: int


def connect_websocket(port: int, number: int) -> socket.socket:
    """A bare websocket."""
    connection, _rest = connect(port, f"/echo/000/idle{number}/websocket")
    return connection


def connect_sockjs_websocket(port: int, number: int) -> socket.socket:
    """A framed websocket that has got its open frame."""
    connection, rest = connect(port, f"/echo/000/idle{number}/websocket")
    expect(connection, rest, OPEN)
    return connection


def connect_stomp(port: int, number: int) -> socket.socket:
    """A framed websocket that speaks STOMP, and has subscribed to one of 1,000 topics."""
    connection = connect_sockjs_websocket(port, number)
    for text, answer in (
        (b"CONNECT\naccept-version:1.2\n\n\0", b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0"),
        (b"SUBSCRIBE\nid:0\nreceipt:0\ndestination:/topic/%d\n\n\0" % (number % 1000), b"RECEIPT\nreceipt-id:0\n\n\0"),
    ):
        connection.sendall(client_frame(json.dumps([text.decode()]).encode()))
        frame = b"a" + json.dumps([answer.decode()]).encode()
        expect(connection, b"", b"\x81" + bytes((len(frame),)) + frame)
    return connection


def connect_stream(port: int, number: int) -> socket.socket:
    """An xhr_streaming response that has got its prelude and open frame."""
    connection = socket.create_connection(("127.0.0.1", port), GUARD)
    request = f"POST /echo/000/idle{number}/xhr_streaming HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
    connection.sendall(request.encode())
    received = b""
    while not received.endswith(b"\no\n\r\n"):
        more = connection.recv(65536)
        if not more:
            raise WrongReply(f"the stream ended early: {received[:200]!r}")
        received += more
    return connection


KINDS = (
    Kind(BARE, "aiohttp", {"heartbeat": HEARTBEAT}, connect_websocket),
    Kind(WEBSOCKET, "sockbridge", {"heartbeat_delay": HEARTBEAT}, connect_sockjs_websocket),
    Kind(STOMP, "stomp", {"heartbeat_delay": HEARTBEAT}, connect_stomp),
    Kind(STREAM, "sockbridge", {"heartbeat_delay": HEARTBEAT}, connect_stream),
)


def measure(kind: Kind, count: int, seconds: float, progress: Callable[[str], None] = progress) -> Cost:
    """Connect ``count`` clients of ``kind`` and watch their server for ``seconds``.

    Raises:
        WrongReply: a server said something wrong, or closed an idle connection.
    """
    server_core, load_core = two_cores()
    pin(load_core)
    with Server(kind.server, server_core, **kind.options) as server:
        clients = IdleClients()
        kind.connect(server.port, -1).close()  # what the first session loads belongs to no session
        before = server.ask("objects").resident
        for number in range(count):
            clients.add(kind.connect(server.port, number))
            if (number + 1) % 1000 == 0:
                clients.listen(0.01)  # answer pings meanwhile
                progress(f"{kind.name}: {number + 1}/{count} connected")
        memory = (server.ask("objects").resident - before) / count
        clients.pings = 0
        busy = server.busy_seconds()
        passed = 0.0
        while passed < seconds:
            clients.listen(min(5.0, seconds - passed))
            passed += min(5.0, seconds - passed)
            progress(f"{kind.name}: idle for {passed:.0f}/{seconds:.0f} s")
        busy = server.busy_seconds() - busy
        clients.close()
    return Cost(kind.name, count, memory, busy / seconds, clients.pings)


def planned_seconds(count: int, seconds: float) -> float:
    """What measuring all kinds takes, roughly."""
    return len(KINDS) * (count / CONNECTS_PER_SECOND + seconds)


def gates(costs: Sequence[Cost]) -> list[Gate]:
    """What is wanted of those that were measured; the part of a core is reckoned for ``SESSIONS`` of them."""
    by_name = {cost.name: cost for cost in costs}
    found = []
    if BARE in by_name and WEBSOCKET in by_name:
        over = (by_name[WEBSOCKET].memory - by_name[BARE].memory) / 1024
        found.append(_limit("websocket: KiB per session over bare aiohttp", over, WANTED_OVER_BARE))
    if STREAM in by_name:
        found.append(_limit("xhr_streaming: KiB per session", by_name[STREAM].memory / 1024, WANTED_STREAM))
    for name in (WEBSOCKET, STREAM):
        if name in by_name:
            percent = by_name[name].busy * 100 * SESSIONS / by_name[name].sessions
            found.append(_limit(f"{name.split()[-1]}: % of a core, {SESSIONS:,} sessions", percent, WANTED_BUSY))
    return found


def _limit(what: str, seen: float, wanted: float) -> Gate:
    return Gate(workload="idle", what=what, wanted=wanted, seen=seen, is_limit=True)


def table(costs: Sequence[Cost]) -> str:
    """A line for each kind."""
    count = costs[0].sessions if costs else 0
    lines = [f"idle: {count:,} sessions of each kind, heartbeats every {HEARTBEAT:g} s"]
    lines.append(f"{'':26}{'KiB per session':>16}{'% of a core':>13}{'heartbeats':>12}")
    for cost in costs:
        lines.append(f"{cost.name:26}{cost.memory / 1024:16.1f}{cost.busy:13.1%}{cost.heartbeats:12,}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one heartbeat instead of two")
    parser.add_argument("--sessions", type=int, help="sessions of each kind")
    parser.add_argument("--seconds", type=float, help="how long to watch")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(arguments)
    count = options.sessions or SESSIONS
    seconds = options.seconds or (HEARTBEAT if options.quick else 2 * HEARTBEAT)
    allow_connections(count)
    costs = []
    try:
        for kind in KINDS:
            costs.append(measure(kind, count, seconds))
    except WrongReply as error:
        print(f"\nFAILED: {error}")
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    checked = gates(costs)
    print(f"\nPython {platform.python_version()}, aiohttp {aiohttp.__version__}")
    print(f"{table(costs)}\n\n{gates_table(checked)}")
    if options.json:
        figures = {"costs": [asdict(cost) for cost in costs], "gates": [gate_as_json(gate) for gate in checked]}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return int(any(gate.state is State.MISSED for gate in checked))


if __name__ == "__main__":
    sys.exit(main())
