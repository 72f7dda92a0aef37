"""Websocket echo of sockbridge against a bare aiohttp websocket, and against the ``sockjs`` package.

How: 100 connections with 1 message of 64 bytes in flight on each, then with 16. Every server has a process
of its own, all on one core; the load is on another. Rounds are interleaved (each server in turn, again and
again), so that whatever else the machine does hits all of them. Every reply is compared with what was sent:
a lost, changed or reordered message ends the run.

Read: ``messages/s`` as medians; ``ratio`` is that of a round to the bare aiohttp round beside it (median,
lowest, highest); ``us`` is the server's CPU time per message, over all rounds: other work on the machine
touches it least. A round in which the server was busy for less than 90 % of the time is marked, tried again and
not counted: the load was the limit, or other processes took the cores. A row without rounds fails the run.

Run: ``python -m bench.echo [--quick] [--json FILE]``
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from .process import Server, pin, progress, two_cores
from .websocket_load import EchoClient, PlainWording, Round, SockJSWording, Wording, WrongReply, echo_round

BASELINE = "aiohttp"
WORDINGS: dict[str, Wording] = {"aiohttp": PlainWording(), "sockbridge": SockJSWording(), "sockjs": SockJSWording()}
WINDOWS = (1, 16)
TRIES = 3
"""How often a round is tried that says nothing."""

WANTED = {1: 0.9, 16: 3.0}
"""Least ratio of sockbridge to bare aiohttp, by messages in flight."""


@dataclass(slots=True)
class Row:
    """The rounds of one server with one window."""

    server: str
    window: int
    rounds: list[Round] = field(default_factory=list)

    @property
    def counted(self) -> list[Round]:
        """Those that say something about the server."""
        return [each for each in self.rounds if not each.refusal]

    def ratios(self, baseline: Row) -> list[float]:
        """Messages per second, round by round, as parts of the baseline's."""
        pairs = zip(self.rounds, baseline.rounds, strict=True)
        return [mine.messages / base.messages for mine, base in pairs if not (mine.refusal or base.refusal)]


def measure(rows: Sequence[Row], rounds: int, seconds: float, connections: int) -> None:
    """Fill ``rows``: each in turn, ``rounds`` times."""
    server_core, load_core = two_cores()
    pin(load_core)
    with contextlib.ExitStack() as stack:
        names = dict.fromkeys(row.server for row in rows)
        servers = {name: stack.enter_context(Server(name, server_core)) for name in names}
        for turn in range(rounds):
            for row in rows:
                for _ in range(TRIES):
                    result = one_round(servers[row.server], row, seconds, connections)
                    progress(f"round {turn + 1}/{rounds}, {row.window:2} in flight: {describe(row.server, result)}")
                    if not result.refusal:
                        break
                row.rounds.append(result)


def one_round(server: Server, row: Row, seconds: float, connections: int) -> Round:
    """Connect, load, disconnect."""
    wording = WORDINGS[row.server]
    clients = [
        EchoClient(server.port, f"/echo/000/bench{number}/websocket", wording, number) for number in range(connections)
    ]
    return echo_round(clients, row.window, seconds, server.busy_seconds)


def describe(server: str, result: Round) -> str:
    """One round in a line."""
    mark = f"  REFUSED: {result.refusal}" if result.refusal else ""
    return (
        f"{server:10} {result.messages:9,.0f} messages/s  {result.cost:5.1f} us"
        f"  busy: server {result.server_busy:4.0%}, load {result.load_busy:4.0%}{mark}"
    )


def summary(row: Row, baseline: Row) -> dict[str, object]:
    """Medians and ratios of ``row``, for the table and the file; no messages and ratio if no round counts."""
    result: dict[str, object] = {
        "server": row.server,
        "window": row.window,
        "rounds": [dataclasses.asdict(each) for each in row.rounds],
        "refused": len(row.rounds) - len(row.counted),
        "cost": statistics.median(each.cost for each in row.rounds),
        "cost_ratio": statistics.median(
            mine.cost / base.cost for mine, base in zip(row.rounds, baseline.rounds, strict=True)
        ),
    }
    ratios = row.ratios(baseline)
    if ratios:
        result["messages"] = statistics.median(each.messages for each in row.counted)
        result["ratio"] = [statistics.median(ratios), min(ratios), max(ratios)]
    return result


def report(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Print the table; returns what it holds."""
    baselines = {row.window: row for row in rows if row.server == BASELINE}
    results = [summary(row, baselines[row.window]) for row in rows]
    print("\nin flight  server           us  us ratio  messages/s  ratio (lowest, highest)  refused")
    for result in results:
        line = f"{result['window']:>9}  {result['server']:10}  {result['cost']:7.1f}  {result['cost_ratio']:8.2f}  "
        match result:
            case {"ratio": [median, lowest, highest]}:
                line += f"{result['messages']:10,.0f}   {median:5.2f} ({lowest:5.2f}, {highest:5.2f})"
            case _:
                line += f"{'no pair of rounds counts':33}"
        print(f"{line}  {result['refused']:7}")
    return results


def is_good(results: Sequence[dict[str, object]]) -> bool:
    """Every row has figures, and sockbridge's are what is wanted; says what is not."""
    good = True
    for result in results:
        ratio, window = result.get("ratio"), result["window"]
        wanted = WANTED[window] if result["server"] == "sockbridge" and isinstance(window, int) else 0
        if not isinstance(ratio, list):
            good = False
        elif ratio[0] < wanted:
            print(f"MISSED: {result['server']}, {window} in flight: {ratio[0]:.2f} of bare aiohttp; wanted: {wanted}")
            good = False
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 7")
    parser.add_argument("--rounds", type=int, help="rounds per server and window")
    parser.add_argument("--seconds", type=float, help="length of a round (2; quick: 1)")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--servers", nargs="+", choices=WORDINGS, default=list(WORDINGS), help=f"with {BASELINE}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(arguments)
    names = dict.fromkeys([BASELINE, *options.servers])
    rows = [Row(name, window) for window in WINDOWS for name in names]
    rounds = options.rounds or (3 if options.quick else 7)
    versions = {"python": platform.python_version(), "aiohttp": aiohttp.__version__}
    print(
        f"websocket echo, {options.connections} connections, Python {versions['python']}, aiohttp {aiohttp.__version__}"
    )
    try:
        measure(rows, rounds, options.seconds or (1.0 if options.quick else 2.0), options.connections)
    except WrongReply as error:
        print(f"\nFAILED: {error}")
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    results = report(rows)
    if options.json:
        options.json.write_text(json.dumps({**versions, "rows": results}, indent=1) + "\n")
    return 0 if is_good(results) else 1


if __name__ == "__main__":
    sys.exit(main())
