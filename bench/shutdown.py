"""How long the server takes from SIGTERM to its end, and whether it says goodbye to everybody.

How: 1,000 sessions, spread evenly over all transports that receive, each with a client attached that reads to
the end. Then SIGTERM, as a service manager sends it, to a server that runs as in production.

Wanted: the process ends in under 2 seconds, every client gets a close frame, and ``on_closed`` is called for
every session. The exit code is 1 if not.

Run: ``python -m bench.shutdown [--sessions N]``
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .http_load import Connection
from .process import Server, allow_connections, progress
from .server import Report

MOST_SECONDS = 2.0
CONCURRENT = 50
WEBSOCKET_GOODBYE = b"\x03\xe9"
"""1001, going away, as a websocket's close frame has it."""

SOCKJS_GOODBYE = b"c[1001,"


@dataclass(frozen=True, slots=True)
class Kind:
    """One transport: how a client opens its session, and how it sees the end.

    Attributes:
        path: below the session's URL; an absolute one for the raw websocket.
        opened: the last bytes of what the client gets first.
        is_poll: the client has to ask again before it waits.
    """

    name: str
    method: str
    path: str
    opened: bytes
    goodbye: bytes = SOCKJS_GOODBYE
    is_poll: bool = False

    @property
    def is_websocket(self) -> bool:
        """True if the connection is upgraded."""
        return self.path.endswith("websocket")


KINDS = (
    Kind("websocket", "GET", "/websocket", b"\x81\x01o"),
    Kind("raw websocket", "GET", "/echo/websocket", b"\r\n\r\n", goodbye=WEBSOCKET_GOODBYE),
    Kind("xhr_streaming", "POST", "/xhr_streaming", b"\no\n\r\n"),
    Kind("eventsource", "GET", "/eventsource", b"data: o\r\n\r\n\r\n"),
    Kind("htmlfile", "GET", "/htmlfile?c=callback", b'p("o");\n</script>\r\n\r\n'),
    Kind("xhr", "POST", "/xhr", b"\r\n\r\no\n", is_poll=True),
    Kind("jsonp", "GET", "/jsonp?c=callback", b'/**/callback("o");\r\n', is_poll=True),
)


class Clients:
    """All clients of a run."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._door = asyncio.Semaphore(CONCURRENT)
        self._attached = 0
        self.all_attached = asyncio.Event()
        self.told: Counter[str] = Counter()

    async def run(self, number: int) -> None:
        """One client: open, attach, read to the end, note whether there was a goodbye."""
        kind = KINDS[number % len(KINDS)]
        path = kind.path if kind.path.startswith("/echo") else f"/echo/000/stop{number}{kind.path}"
        async with Connection(self._port) as connection:
            async with self._door:
                if kind.is_websocket:
                    connection.upgrade(path)
                else:
                    connection.request(kind.method, path)
                await connection.read_until(kind.opened)
            if kind.is_poll:
                connection.request(kind.method, path)
            self._attached += 1
            if self._attached == self._count:
                self.all_attached.set()
            received = await connection.read_to_goodbye(kind.goodbye)
            if kind.is_websocket:
                connection.send_raw(b"\x88\x82\x00\x00\x00\x00\x03\xe9")  # answer the close frame, as browsers do
            await connection.read_to_end()
        if kind.goodbye in received:
            self.told[kind.name] += 1


async def shut_down(server: Server, count: int) -> tuple[float, Counter[str], Report]:
    """Connect ``count`` clients and stop the server; returns the seconds, who was told, the server's last words."""
    clients = Clients(server.port, count)
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(clients.run(number))
        async with asyncio.timeout(60):
            await clients.all_attached.wait()
        while server.ask().connected < count:  # the last polls are on their way
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        progress(f"{count} sessions attached; SIGTERM")
        start = time.perf_counter()
        server.terminate()
        while server.is_running():
            await asyncio.sleep(0.005)
        seconds = time.perf_counter() - start
    return seconds, clients.told, server.last_report()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=1000)
    options = parser.parse_args(arguments)
    count = options.sessions
    allow_connections(count)
    try:
        with Server("sockbridge") as server:
            seconds, told, last = asyncio.run(shut_down(server, count))
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    for number, kind in enumerate(KINDS):
        print(f"{kind.name:15}{told[kind.name]:5} of {len(range(number, count, len(KINDS)))} got a close frame")
    print(
        f"SIGTERM to exit: {seconds:.2f} s; close frames: {told.total()}; on_closed: {last.closed} of {last.connected}"
    )
    good = seconds < MOST_SECONDS and told.total() == last.closed == last.connected == count
    if not good:
        print(f"MISSED: wanted are {count} of each in under {MOST_SECONDS:g} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
