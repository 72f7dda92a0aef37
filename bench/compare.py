"""sockbridge beside its peers, on this machine, in one run.

How: for each workload all servers that can do it run at once, pinned to one core; the load is on another. They are
measured in turn, round after round, in an order that is rotated each time; a server that is not measured has nothing
to do. Every reply is checked. A result that says nothing about the server is refused, and tried again twice.

Read: ``sockbridge is x times`` is the median of the ratios within the rounds, with the lowest and the highest. Latency
is the client's: with many connections at once it is mostly waiting for the others' turns. ``CPU us`` is the server's
CPU time per message.

Run: ``python -m bench.compare [--quick] [--workloads NAME ...] [--peers NAME ...] [--json FILE] [--png FILE]``;
``--list`` shows the names. Exit code: 1 if a reply of sockbridge was wrong or a figure that decides is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import math
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from . import idle, report
from .load import Result, WrongReply, build, run, supports
from .machine import machine, versions
from .peers.programs import Unavailable
from .peers.registry import PEERS, Peer
from .peers.running import DidNotStart, RunningPeer
from .process import allow_connections, progress, two_cores
from .report import Comparison, Gate, Row
from .websocket_load import WrongReply as IdleWrongReply
from .workloads import PUBLIC, SOCKBRIDGE, WORKLOAD_NAMES, WORKLOADS, Workload, workload_named

TRIES: Final = 3
WARM_UP: Final = 0.3
"""Seconds of load before those that count; before its first round a peer may ask for more."""

TRUST: Final = 20.0
"""Seconds by which the plan counts beside what was seen, when time is foretold."""

CLOCK_WIDTH: Final = 10
"""Characters that ``progress`` puts before a text."""

SUBTITLE_WIDTH: Final = 190
"""Characters that fit over the picture."""

OVERHEAD: Final = 0.3
"""Seconds that a round takes besides, roughly: connecting, and waiting for what is under way."""

IDLE: Final = "idle"
"""The name of the last part: memory and CPU time of sessions that have nothing to say."""

CONNECTIONS: Final = 2_000
"""More than any workload has open at a time."""

Load = Callable[..., Result]
"""``bench.load.run``, or what a test puts in its place."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server, and what is asked of it.

    Attributes:
        name: of its row.
        workload: that of the table; for a reference row another one.
    """

    name: str
    peer: Peer
    workload: Workload


@dataclass(slots=True)
class Outcome:
    """All that a run has measured so far.

    Attributes:
        unavailable: why a peer that was asked for could not be measured, by its name.
        idle_failure: what was wrong in the last part.
        is_whole: the run was not stopped.
    """

    comparisons: list[Comparison] = field(default_factory=list)
    costs: list[idle.Cost] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    idle_failure: str = ""
    is_whole: bool = True

    def gates(self) -> list[Gate]:
        """What was wanted and what was seen, of all parts."""
        decisive = [peer.name for peer in PEERS if peer.is_gate]
        found = [gate for comparison in self.comparisons for gate in report.gates(comparison, decisive)]
        return found + idle.gates(self.costs)


class Clock:
    """Says what is done now, how far the run is, and how long it will take."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            seconds: what the run would take if all went as planned.
        """
        self._planned = seconds
        self._done = 0.0
        self._now = now
        self._start = now()
        self._last = ""

    def passed(self, seconds: float) -> None:
        """So much of the plan is done."""
        self._done += seconds

    @property
    def left(self) -> float:
        """Seconds that the rest will take, at the pace so far; at first more by the plan."""
        pace = (self._now() - self._start + TRUST) / (self._done + TRUST)
        return max(self._planned - self._done, 0.0) * pace

    def show(self, text: str) -> None:
        """One line on standard error."""
        part = min(self._done / self._planned, 1.0) if self._planned else 1.0
        line = f"{part:4.0%}, {math.ceil(self.left / 60)} min left  {text}"
        if sys.stderr.isatty():  # there, one line is all there is
            line = f"{line}; last: {self._last}" if self._last else line
            line = line[: shutil.get_terminal_size().columns - CLOCK_WIDTH]
        progress(line)

    def tell(self, result: str) -> None:
        """A result; on a terminal it is shown beside what is done next."""
        self._last = result
        if not sys.stderr.isatty():
            progress(f"      {result}")


def show_result(text: str) -> None:
    """Print ``text`` where no line of progress is in its way."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
    print(text, flush=True)


def contestants(workload: Workload, peers: Sequence[Peer]) -> tuple[list[Contestant], dict[str, str]]:
    """Who takes part in a workload, and why each other of ``peers`` does not."""
    found, absent = [], {}
    for peer in peers:
        reason = peer.skips.get(workload.name, "")
        if not reason and not supports(workload, peer.wording):
            reason = f"{peer.wording} cannot be measured with it"
        if not reason and peer.name == PUBLIC and not any(wanted.ours == PUBLIC for wanted in workload.wanted):
            reason = f"it differs from {SOCKBRIDGE} in how it reads websockets, which is measured elsewhere"
        if reason:
            absent[peer.name] = reason
        else:
            found.append(Contestant(peer.name, peer, workload))
        if peer.name == SOCKBRIDGE and workload.cost_limit is not None:
            other = workload_named(workload.cost_limit.workload)
            found.append(Contestant(report.reference_name(other.name), peer, other))
    return found, absent


def compare(
    comparison: Comparison,
    taking_part: Sequence[Contestant],
    rounds: int,
    seconds: float,
    clock: Clock,
    load: Load = run,
) -> None:
    """Fill the rows of ``comparison``: each server in turn, ``rounds`` times. What is done stays if that is stopped."""
    server_core, load_core = two_cores()
    name = comparison.workload.name
    with contextlib.ExitStack() as stack:
        running: dict[str, RunningPeer] = {}
        failures: dict[str, str] = {}
        for peer in {contestant.peer.name: contestant.peer for contestant in taking_part}.values():
            clock.show(f"{name}: starting {peer.name}")
            try:
                running[peer.name] = stack.enter_context(peer.start(server_core))
            except DidNotStart as error:
                failures[peer.name] = f"it did not start: {error}"
        for contestant in taking_part:
            comparison.rows[contestant.name].failure = failures.get(contestant.peer.name, "")
        for turn in range(rounds):
            for contestant in rotated(taking_part, turn):
                row = comparison.rows[contestant.name]
                if not row.failure:
                    clock.show(f"{name} {turn + 1}/{rounds}: {contestant.name}")
                    measure(row, contestant, running[contestant.peer.name], seconds, load_core, load)
                    clock.tell(describe(row))
                clock.passed(round_seconds(seconds))


def rotated(taking_part: Sequence[Contestant], turn: int) -> list[Contestant]:
    """The order of a round: another one is first each time."""
    first = turn % len(taking_part) if taking_part else 0
    return [*taking_part[first:], *taking_part[:first]]


def measure(
    row: Row, contestant: Contestant, server: RunningPeer, seconds: float, core: int | None, load: Load = run
) -> None:
    """Add one round to ``row``, or what was wrong with it."""
    warm_up = WARM_UP if row.results else contestant.peer.warm_up
    for _ in range(TRIES):
        try:
            result = load(
                contestant.workload,
                port=server.port,
                wording=contestant.peer.wording,
                pid=server.pid,
                seconds=seconds,
                warm_up=warm_up,
                core=core,
            )
        except WrongReply as error:
            row.failure = str(error)
            return
        except (RuntimeError, subprocess.SubprocessError) as error:  # the load broke; what others did must not be lost
            row.failure = f"not measured: {error}"
            return
        if not result.refusal:
            break
        warm_up = WARM_UP
    row.results.append(result)


def describe(row: Row) -> str:
    """Its last round in a line."""
    if row.failure:
        return f"{row.server} FAILED: {row.failure}"
    last = row.results[-1]
    mark = f"  REFUSED: {last.refusal}" if last.refusal else ""
    return (
        f"{row.server} {last.messages:,.0f}/s, p50 {last.p50:,.0f} us, {last.cost:.1f} us of CPU,"
        f" busy: server {last.server_busy:.0%}, load {last.load_busy:.0%}{mark}"
    )


def round_seconds(seconds: float) -> float:
    """What one server takes for one round, roughly."""
    return seconds + WARM_UP + OVERHEAD


# the command


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asks for.

    Attributes:
        peers: those to be measured, sockbridge included.
        is_idle: with the last part.
        idle_seconds: how long each kind is watched.
    """

    workloads: Sequence[Workload]
    peers: Sequence[Peer]
    rounds: int
    seconds: float
    is_idle: bool
    idle_seconds: float


def planned(options: argparse.Namespace) -> Plan:
    """From the command line."""
    names: Sequence[str] = options.workloads or [*WORKLOAD_NAMES, IDLE]
    if options.peers:
        # with each the sockbridge that it is compared with
        wanted = {ours for name in options.peers for ours in report.ours_beside(name)} | {SOCKBRIDGE, *options.peers}
    elif options.quick:
        wanted = {peer.name for peer in PEERS if peer.is_gate} | set(report.OURS)
    else:
        wanted = {peer.name for peer in PEERS}
    return Plan(
        workloads=[workload for workload in WORKLOADS if workload.name in names],
        peers=[peer for peer in PEERS if peer.name in wanted],
        rounds=options.rounds or (3 if options.quick else 5),
        seconds=options.seconds or (0.6 if options.quick else 1.0),
        is_idle=IDLE in names,
        idle_seconds=idle.HEARTBEAT * (1 if options.quick else 2),
    )


def prepare(peers: Sequence[Peer]) -> tuple[list[Peer], dict[str, str]]:
    """Build what is to be built; those that are ready, and why each other is not."""
    ready, unavailable = [], {}
    for peer in peers:
        try:
            if reason := peer.unavailable():
                raise Unavailable(reason)
            progress(f"preparing {peer.name}")
            peer.prepare(progress)
            ready.append(peer)
        except Unavailable as error:
            unavailable[peer.name] = str(error)
            show_result(f"skipped: {peer.name}: {error}")
    return ready, unavailable


def perform(plan: Plan, ready: Sequence[Peer], outcome: Outcome) -> None:
    """All parts of the run, into ``outcome``."""
    takes = {workload.name: contestants(workload, ready) for workload in plan.workloads}
    rows = sum(len(taking_part) for taking_part, _ in takes.values())
    idle_total = idle.planned_seconds(idle.SESSIONS, plan.idle_seconds) if plan.is_idle else 0.0
    clock = Clock(rows * plan.rounds * round_seconds(plan.seconds) + idle_total)
    for workload in plan.workloads:
        taking_part, absent = takes[workload.name]
        if not taking_part:
            continue
        comparison = Comparison(
            workload,
            {contestant.name: Row(contestant.name) for contestant in taking_part},
            {**outcome.unavailable, **absent},
        )
        outcome.comparisons.append(comparison)
        compare(comparison, taking_part, plan.rounds, plan.seconds, clock)
        show_result(f"\n{report.workload_table(comparison)}")
    if plan.is_idle:
        try:
            for kind in idle.KINDS:
                outcome.costs.append(idle.measure(kind, idle.SESSIONS, plan.idle_seconds, clock.show))
                clock.passed(idle_total / len(idle.KINDS))
        except IdleWrongReply as error:
            outcome.idle_failure = str(error)
        show_result(f"\n{idle.table(outcome.costs)}")


def as_json(command: str, plan: Plan, outcome: Outcome, gates: Sequence[Gate]) -> dict[str, object]:
    """Everything, for the file."""
    return {
        "command": command,
        "is_whole": outcome.is_whole,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "machine": machine(),
        "versions": versions(),
        "peers": {peer.name: peer.version() for peer in plan.peers if peer.name not in outcome.unavailable},
        "unavailable": outcome.unavailable,
        "comparisons": [report.comparison_as_json(comparison) for comparison in outcome.comparisons],
        "idle": [asdict(cost) for cost in outcome.costs],
        "idle_failure": outcome.idle_failure,
        "gates": [report.gate_as_json(gate) for gate in gates],
    }


def write_files(options: argparse.Namespace, plan: Plan, outcome: Outcome, gates: Sequence[Gate]) -> None:
    """Those that were asked for."""
    if options.json:
        words = ["python", "-m", "bench.compare", *repeatable(options)]
        options.json.write_text(json.dumps(as_json(shlex.join(words), plan, outcome, gates), indent=1) + "\n")
        show_result(f"written: {options.json}")
    if options.png and outcome.comparisons:
        from .plot import draw  # needs matplotlib, which a run without a picture does not

        draw(outcome.comparisons, options.png, _subtitle(plan, outcome))
        show_result(f"written: {options.png}")


def repeatable(options: argparse.Namespace) -> list[str]:
    """What was said on the command line, without the names of files."""
    words = ["--quick"] if options.quick else []
    for name in ("rounds", "seconds"):
        if getattr(options, name):
            words += [f"--{name}", f"{getattr(options, name):g}"]
    for name in ("workloads", "peers"):
        if getattr(options, name):
            words += [f"--{name}", *getattr(options, name)]
    return words


def _subtitle(plan: Plan, outcome: Outcome) -> str:
    """What it was measured with and on, in lines for the picture."""
    found = versions()
    for peer in plan.peers:
        parts = peer.version().split(", ") if peer.name not in outcome.unavailable else []
        for package, _, version in (part.rpartition(" ") for part in parts):
            if found.get(package) != version:  # two peers are packages called sockjs, in two languages
                found[peer.name if package in found else package] = version
    lines = textwrap.wrap(", ".join(f"{name} {version}" for name, version in found.items()), SUBTITLE_WIDTH)
    of = f"medians of {plan.rounds} rounds of {plan.seconds:g} s" + (
        "" if outcome.is_whole else "; stopped before its end"
    )
    return "\n".join(
        [*lines, f"{machine()['cpu']}, one core for the servers; {of}; whiskers: lowest and highest round"]
    )


def show_names() -> None:
    """What ``--list`` prints."""
    print("workloads:")
    for workload in WORKLOADS:
        print(f"  {workload.name:24} {workload.title}")
    print(f"  {IDLE:24} memory and CPU time of sessions that have nothing to say")
    print("peers:")
    for peer in PEERS:
        mark = "decides" if peer.is_gate else ""
        print(f"  {peer.name:24} {mark:8} {peer.unavailable() or peer.version()}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was said on the command line; ends the program where that is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only the peers that decide, 3 short rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each workload (5; quick: 3)")
    parser.add_argument("--seconds", type=float, help="length of a round (1; quick: 0.6)")
    parser.add_argument("--workloads", nargs="+", metavar="NAME", choices=[*WORKLOAD_NAMES, IDLE])
    parser.add_argument("--peers", nargs="+", metavar="NAME", choices=[peer.name for peer in PEERS])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the ratios there; needs matplotlib")
    parser.add_argument("--list", action="store_true", help="show the names of workloads and peers")
    options = parser.parse_args(arguments)
    for name in ("rounds", "seconds"):
        if getattr(options, name) is not None and getattr(options, name) <= 0:
            parser.error(f"--{name} must be greater than 0")
    for file in (options.json, options.png):
        if file is not None and not file.absolute().parent.is_dir():
            parser.error(f"there is no folder {file.parent}")
    if options.png and importlib.util.find_spec("matplotlib") is None:
        parser.error("--png needs matplotlib, which is not installed: pip install matplotlib")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = parse(arguments)
    if options.list:
        show_names()
        return 0
    plan = planned(options)
    outcome = Outcome()
    try:
        allow_connections(idle.SESSIONS if plan.is_idle else CONNECTIONS)
        build()
        ready, outcome.unavailable = prepare(plan.peers)
        if SOCKBRIDGE in outcome.unavailable:
            return 1
        perform(plan, ready, outcome)
    except KeyboardInterrupt:
        outcome.is_whole = False
        show_result("\nstopped; what was measured so far:")
        if outcome.comparisons:
            show_result(f"\n{report.workload_table(outcome.comparisons[-1])}")
    return conclude(options, plan, outcome)


def conclude(options: argparse.Namespace, plan: Plan, outcome: Outcome) -> int:
    """Print the summary and what was wanted, write the files; the exit code."""
    gates = outcome.gates()
    if outcome.comparisons:
        show_result(f"\n{report.summary_tables(outcome.comparisons, gates)}")
    if gates:
        show_result(f"\n{report.gates_table(gates)}")
    if note := report.refusals(outcome.comparisons):
        show_result(f"\n{note}")
    if outcome.idle_failure:
        show_result(f"\nidle FAILED: {outcome.idle_failure}")
    write_files(options, plan, outcome, gates)
    if not outcome.is_whole:
        return 130
    return int(report.failed_run(outcome.comparisons, gates) or bool(outcome.idle_failure))


if __name__ == "__main__":
    sys.exit(main())
