"""What stays behind in the server when clients are cut off.

How: 10,000 sessions per cycle, three cycles, spread evenly over every transport and over the ways to vanish
that ``WAYS`` lists: RST and FIN, in the middle of a poll, a stream, a websocket frame or a request's body,
sessions whose client just never comes back, messages nobody fetched. After each cycle the server is left alone
until it holds no session; then it collects garbage, counts the live objects of every class of sockbridge and
aiohttp, tasks and transports, and tells its resident memory.

Wanted: 0 sessions left; no error in the log; the same live objects as before the first session; as many
``on_closed`` as ``on_connected``; resident memory after the last cycle at most 5 % over that after the first.
The exit code is 1 if one of these is missed.

Run: ``python -m bench.leaks [--quick]``
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

from .http_load import Connection
from .process import Server, allow_connections, progress
from .server import Report

CONCURRENT = 200
"""Clients at a time."""

MOST_GROWTH = 1.05
FORGOTTEN_GUARD = 60.0
"""Seconds after which sessions that are still there are called left over."""

Way = Callable[[int, str], Awaitable[None]]
"""One client's life: it is given the port and the URL of its session."""


async def websocket_reset(port: int, url: str) -> None:
    """RST after an echo."""
    async with Connection(port) as connection:
        await open_websocket(connection, f"{url}/websocket")
        connection.reset()


async def websocket_gone(port: int, url: str) -> None:
    """FIN without a close frame."""
    async with Connection(port) as connection:
        await open_websocket(connection, f"{url}/websocket")


async def websocket_half_frame(port: int, url: str) -> None:
    """RST in the middle of a frame."""
    async with Connection(port) as connection:
        await open_websocket(connection, f"{url}/websocket")
        connection.send_raw(b"\x81\xfe\x10\x00half")
        connection.reset()


async def websocket_unread(port: int, url: str) -> None:
    """RST with replies that nobody read."""
    async with Connection(port) as connection:
        await open_websocket(connection, f"{url}/websocket")
        for _ in range(20):
            connection.send('["never read"]')
        connection.reset()


async def raw_websocket_reset(port: int, url: str) -> None:
    """RST on a raw websocket."""
    async with Connection(port) as connection:
        connection.upgrade(url.rsplit("/", 2)[0] + "/websocket")
        await connection.read_until(b"\r\n\r\n")
        connection.send("hello")
        await connection.read_until(b"hello")
        connection.reset()


async def open_websocket(connection: Connection, path: str) -> None:
    """Handshake, open frame, one echo."""
    connection.upgrade(path)
    await connection.read_until(b"\r\n\r\n")
    connection.send('["hello"]')
    await connection.read_until(b'a["hello"]')


def poll(name: str, method: str, answer: bytes, *, again: bool, by_reset: bool) -> Way:
    """A client that polls, and vanishes in its second poll or never comes for it."""

    async def way(port: int, url: str) -> None:
        async with Connection(port) as connection:
            connection.request(method, url + name)
            await connection.read_until(answer)
            if again:
                connection.request(method, url + name)
            if by_reset:
                await asyncio.sleep(0.01)  # let the poll arrive, or RST overtakes it
                connection.reset()

    return way


def stream(name: str, method: str, opened: bytes, *, by_reset: bool) -> Way:
    """A client that vanishes from an open stream, with a message just sent."""

    async def way(port: int, url: str) -> None:
        async with Connection(port) as connection, Connection(port) as sender:
            connection.request(method, url + name)
            await connection.read_until(opened)
            sender.request("POST", url + "/xhr_send", '["hello"]')
            await sender.read_until(b"204 No Content")
            if by_reset:
                connection.reset()

    return way


async def send_half_body(port: int, url: str) -> None:
    """RST in the body of a send request; the session is abandoned with a message that nobody fetches."""
    async with Connection(port) as connection:
        connection.request("POST", url + "/xhr")
        await connection.read_until(b"o\n")
        connection.request("POST", url + "/xhr_send", '["unfetched"]')
        await connection.read_until(b"204 No Content")
        connection.request("POST", url + "/xhr_send", '["half', size=100)
        await asyncio.sleep(0.01)
        connection.reset()


async def jsonp_unfetched(port: int, url: str) -> None:
    """Messages by ``jsonp_send`` that nobody fetches."""
    async with Connection(port) as connection:
        connection.request("GET", url + "/jsonp?c=callback")
        await connection.read_until(b'callback("o");')
        connection.request("POST", url + "/jsonp_send", '["unfetched"]')
        await connection.read_until(b"ok")


JSONP = ("/jsonp?c=callback", "GET", b'callback("o");\r\n')
XHR = ("/xhr", "POST", b"o\n")

WAYS: dict[str, Way] = {
    "websocket, RST": websocket_reset,
    "websocket, FIN": websocket_gone,
    "websocket, RST in a frame": websocket_half_frame,
    "websocket, unread": websocket_unread,
    "raw websocket, RST": raw_websocket_reset,
    "xhr, RST in a poll": poll(*XHR, again=True, by_reset=True),
    "xhr, FIN in a poll": poll(*XHR, again=True, by_reset=False),
    "xhr, abandoned": poll(*XHR, again=False, by_reset=False),
    "xhr_streaming, RST": stream("/xhr_streaming", "POST", b"\no\n", by_reset=True),
    "xhr_streaming, FIN": stream("/xhr_streaming", "POST", b"\no\n", by_reset=False),
    "eventsource, RST": stream("/eventsource", "GET", b"data: o\r\n", by_reset=True),
    "eventsource, FIN": stream("/eventsource", "GET", b"data: o\r\n", by_reset=False),
    "htmlfile, RST": stream("/htmlfile?c=callback", "GET", b'p("o");', by_reset=True),
    "htmlfile, FIN": stream("/htmlfile?c=callback", "GET", b'p("o");', by_reset=False),
    "jsonp, RST in a poll": poll(*JSONP, again=True, by_reset=True),
    "jsonp, abandoned": poll(*JSONP, again=False, by_reset=True),
    "jsonp, unfetched": jsonp_unfetched,
    "xhr_send, RST in the body": send_half_body,
}


async def run_cycle(port: int, cycle: int, count: int) -> None:
    """Let ``count`` clients come and vanish, ``CONCURRENT`` at a time."""
    numbers = iter(range(count))
    ways = list(WAYS.values())
    done = 0

    async def work() -> None:
        nonlocal done
        for number in numbers:
            await ways[number % len(ways)](port, f"/echo/000/cycle{cycle}-{number}")
            done += 1
            if done % 1000 == 0:
                progress(f"cycle {cycle}: {done}/{count} sessions")

    async with asyncio.TaskGroup() as group:
        for _ in range(min(CONCURRENT, count)):
            group.create_task(work())


def wait_until_forgotten(server: Server) -> Report:
    """The server's report once it holds no session and has nothing running, or after a minute."""
    end = time.monotonic() + FORGOTTEN_GUARD
    while time.monotonic() < end:
        report = server.ask()
        if report.sessions == 0 and report.connected == report.closed:
            break
        progress(f"{report.sessions} sessions not yet expired")
        time.sleep(0.5)
    time.sleep(1.0)  # connections close after their sessions
    return server.ask("objects")


def faults(before: Report, cycles: Sequence[Report], expected: int) -> list[str]:
    """What is not as wanted, in sentences."""
    last = cycles[-1]
    found = [
        f"cycle {turn}: {report.sessions} sessions left" for turn, report in enumerate(cycles, 1) if report.sessions
    ]
    if last.connected != expected:
        found.append(f"{last.connected} sessions were opened instead of {expected}")
    if last.connected != last.closed:
        found.append(f"{last.connected} calls of on_connected, but {last.closed} of on_closed")
    for turn, report in enumerate(cycles, 1):
        for name in sorted(report.objects.keys() | before.objects.keys()):
            now, then = report.objects.get(name, 0), before.objects.get(name, 0)
            if now > then:
                found.append(f"cycle {turn}: {now} live {name} instead of {then}")
    found += [f"logged {count} times: {error}" for error, count in last.errors.items()]
    growth = last.resident / cycles[0].resident
    if growth > MOST_GROWTH:
        found.append(f"resident memory grew by {growth - 1:.1%} from the first to the last cycle")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1,000 sessions per cycle instead of 10,000")
    parser.add_argument("--sessions", type=int, help="sessions per cycle")
    parser.add_argument("--cycles", type=int, default=3)
    options = parser.parse_args(arguments)
    count = options.sessions or (1000 if options.quick else 10_000)
    allow_connections(4 * CONCURRENT)
    cycles = []
    try:
        with Server("sockbridge", disconnect_delay=1.0) as server:
            before = server.ask("objects")
            show("before", before)
            for cycle in range(1, options.cycles + 1):
                started = time.monotonic()
                asyncio.run(run_cycle(server.port, cycle, count))
                cycles.append(wait_until_forgotten(server))
                show(f"cycle {cycle}", cycles[-1], time.monotonic() - started)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    found = faults(before, cycles, count * options.cycles)
    for fault in found:
        print(f"MISSED: {fault}")
    if not found:
        growth = cycles[-1].resident / cycles[0].resident - 1
        print(f"good: nothing left of {count * options.cycles} sessions in {len(WAYS)} ways; memory {growth:+.1%}")
    return 1 if found else 0


def show(name: str, report: Report, seconds: float = 0.0) -> None:
    """One line for a point of the run."""
    print(
        f"{name}: {report.sessions} sessions, {sum(report.objects.values())} live objects, "
        f"{report.resident / 2**20:.1f} MiB, on_connected {report.connected}, on_closed {report.closed}"
        + (f", {seconds:.1f} s" if seconds else ""),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
