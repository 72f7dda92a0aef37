"""How the cost of a message grows with sessions, subscribers, the size of messages, and destinations.

How: sockbridge over websockets, pinned to one core; the load of ``bench.compare`` is on another and checks every
reply. Cost is the server's CPU time per message that came back, or per delivery. Each measurement has a server of its
own, which others cannot have aged. Rounds are interleaved: all points of a line in turn, in an order that is rotated.

- ``sessions``: 64 bytes back and forth in all sessions; and in ten of them, while the others say nothing.
- ``subscribers``: what one publishes goes to all.
- ``size``: back and forth in ten sessions.
- ``destinations``: STOMP; what one publishes goes to ten subscribers of a destination, while other sessions have
  subscribed to a destination each.

Read: ``per decade`` says by how much the cost grows where the number grows tenfold, reckoned from the point before; it
is the median of the ratios within the rounds, and the slope its logarithm: the slope of the line in the picture. 1 is
flat, 10 is in proportion. Beside stands how much is allowed; more is exit code 1. Heartbeats are not in the figures:
the first comes when a session is 25 seconds old. Full garbage collections are, where one comes while it counts: with
10,000 sessions it takes a third of a second, and ``highest`` shows it.

Run: ``python -m bench.growth [--quick] [--lines NAME ...] [--json FILE] [--png FILE]``
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .compare import Clock, show_result
from .load import Result, WrongReply, build, run
from .machine import machine, versions
from .peers.python.serving import LARGEST_MESSAGE
from .peers.registry import PEERS, Peer
from .peers.running import DidNotStart
from .process import allow_connections, two_cores
from .report import Gate, State, gate_as_json, gates_table
from .workloads import SOCKBRIDGE, Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACTIVE: Final = 10
"""Sessions in which messages go back and forth while others are idle."""

RECIPIENTS: Final = 10
"""Subscribers of the destination that is published to."""

NUMBERS: Final = (10, 100, 1_000, 10_000)

FRAMING: Final = len('[""]')
"""Bytes that SockJS adds to a message; they count towards the limit of its size."""

SIZES: Final = (16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, LARGEST_MESSAGE - FRAMING)

QUICK_MOST: Final = 1_000
"""The greatest number of sessions of a quick run."""

WARM_UP: Final = 0.3
"""Seconds of load before those that count."""

START: Final = 0.7
"""Seconds that starting and stopping a server takes, roughly."""

CONNECTS_PER_SECOND: Final = 2_000
"""Roughly; to say how long the run will take."""

Load = Callable[..., Result]
"""``bench.load.run``, or what a test puts in its place."""


@dataclass(frozen=True, slots=True)
class Case:
    """What the load does at a point.

    Attributes:
        idle: sessions besides, see ``bench.load.run``.
    """

    workload: Workload
    idle: int = 0

    @property
    def sessions(self) -> int:
        """All that are connected; with one that publishes, if there is any."""
        return self.workload.connections + (self.workload.kind == "fanout") + self.idle


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Cost over a number that grows.

    Attributes:
        name: for the command line and the file.
        panel: which picture it is drawn in; that picture's title.
        label: what tells it from others in its picture; "" if it is alone there.
        what: what the number counts.
        unit: what the cost is paid for.
        points: the numbers.
        case: what is done at a number.
        limit: by how much the cost may grow where the number grows tenfold.
        linear_from: from this number on the cost may grow in proportion to it; what is limited then is the cost for
            one, over that at ``linear_from``, and nothing before. None where growth must be slower.
    """

    name: str
    panel: str
    label: str = ""
    what: str
    unit: str = "message"
    points: Sequence[int]
    case: Callable[[int], Case]
    limit: float
    linear_from: int | None = None


ECHO: Final = Workload(name="echo", kind="echo", connections=ACTIVE)
FANOUT: Final = Workload(name="fan-out", kind="fanout", connections=RECIPIENTS)

LINES: Final[tuple[Line, ...]] = (
    Line(
        name="sessions",
        panel="Sessions: echo of 64 bytes",
        label="all of them active",
        what="sessions",
        points=NUMBERS,
        case=lambda number: Case(replace(ECHO, connections=number)),
        limit=1.6,
    ),
    Line(
        name="sessions-idle",
        panel="Sessions: echo of 64 bytes",
        label=f"{ACTIVE} active, the others idle",
        what="sessions",
        points=NUMBERS,
        case=lambda number: Case(ECHO, idle=number - ACTIVE),
        limit=1.6,
    ),
    Line(
        name="subscribers",
        panel="Subscribers: 64 bytes to all",
        what="subscribers",
        unit="delivery",
        points=(1, *NUMBERS),
        case=lambda number: Case(replace(FANOUT, connections=number)),
        limit=1.6,
    ),
    Line(
        name="size",
        panel=f"Size: echo in {ACTIVE} sessions",
        what="bytes",
        points=SIZES,
        case=lambda number: Case(replace(ECHO, size=number)),
        limit=1.5,
        linear_from=65_536,
    ),
    Line(
        name="destinations",
        panel=f"Destinations: STOMP, 64 bytes to {RECIPIENTS}",
        what="other destinations",
        unit="delivery",
        points=(1, *NUMBERS),
        case=lambda number: Case(replace(FANOUT, is_stomp=True), idle=number),
        limit=1.6,
    ),
)


# measuring


@dataclass(slots=True)
class Growth:
    """A line, and what was measured of it.

    Attributes:
        results: number -> one for each round, in order.
    """

    line: Line
    results: dict[int, list[Result]] = field(default_factory=dict)

    @property
    def measured(self) -> list[int]:
        """The numbers that have a figure."""
        return [number for number in self.line.points if self.results.get(number)]

    def costs(self, number: int) -> list[float]:
        """Microseconds, of each round."""
        return [result.cost for result in self.results[number]]

    def median(self, number: int) -> float:
        """Of the costs."""
        return statistics.median(self.costs(number))

    def ratio(self, first: int, second: int) -> float:
        """What the cost at ``second`` is over that at ``first``: the median over the rounds."""
        pairs = zip(self.costs(first), self.costs(second), strict=False)  # a run that is stopped leaves a round to some
        return statistics.median(later / earlier for earlier, later in pairs)

    def per_decade(self, first: int, second: int) -> float:
        """By how much the cost grows where the number grows tenfold."""
        return float(self.ratio(first, second) ** (1 / math.log10(second / first)))


def measure(
    growth: Growth, points: Sequence[int], peer: Peer, rounds: int, seconds: float, clock: Clock, load: Load = run
) -> None:
    """Fill ``growth``: each of ``points`` in turn, ``rounds`` times. What is done stays if that is stopped.

    Raises:
        WrongReply: the server made a mistake.
        DidNotStart: it did not start.
    """
    server_core, load_core = two_cores()
    line = growth.line
    for turn in range(rounds):
        for number in rotated(points, turn):
            clock.show(f"{line.name} {turn + 1}/{rounds}: {number:,} {line.what}")
            case = line.case(number)
            with peer.start(server_core) as server:
                result = load(
                    case.workload,
                    port=server.port,
                    wording=peer.wording,
                    pid=server.pid,
                    seconds=seconds,
                    warm_up=WARM_UP,
                    core=load_core,
                    idle=case.idle,
                )
            growth.results.setdefault(number, []).append(result)
            clock.passed(planned_seconds(case, seconds))
            clock.tell(
                f"{number:,} {line.what}: {result.cost:,.2f} us per {line.unit},"
                f" busy: server {result.server_busy:.0%}, load {result.load_busy:.0%}"
            )


def rotated(points: Sequence[int], turn: int) -> list[int]:
    """The order of a round: another one is first each time."""
    first = turn % len(points)
    return [*points[first:], *points[:first]]


def planned_seconds(case: Case, seconds: float) -> float:
    """What one measurement takes, roughly."""
    return START + WARM_UP + seconds + case.sessions / CONNECTS_PER_SECOND


# judging


def gates(growths: Sequence[Growth]) -> list[Gate]:
    """The step of each line that comes nearest to its limit, or is farthest beyond."""
    found = []
    for growth in growths:
        steps = dict(_steps(growth))
        if steps:
            worst = max(steps, key=lambda what: steps[what])
            found.append(
                Gate(workload=growth.line.name, what=worst, wanted=growth.line.limit, seen=steps[worst], is_limit=True)
            )
    return found


def _steps(growth: Growth) -> Iterator[tuple[str, float]]:
    """What is limited: each step in words, and what was seen."""
    line, base = growth.line, growth.line.linear_from
    if base is None:
        for first, second in itertools.pairwise(growth.measured):
            text = f"cost per {line.unit}, x per decade, {first:,} to {second:,} {line.what}"
            yield text, growth.per_decade(first, second)
    elif base in growth.measured:
        for number in growth.measured:
            if number > base:
                text = f"cost per KiB at {size_text(number)} / at {size_text(base)}"
                yield text, growth.ratio(base, number) / (number / base)


# showing


def size_text(size: int) -> str:
    """A size as people say it: ``16``, ``4 Ki``, ``1 Mi``; the framing is left for SockJS."""
    for step, name in ((1 << 20, " Mi"), (1 << 10, " Ki")):
        if size + FRAMING >= step:
            return f"{(size + FRAMING) // step}{name}"
    return str(size)


def table(growth: Growth) -> str:
    """All figures of one line."""
    line = growth.line
    is_size = line.linear_from is not None
    heading = f"{line.name}: {line.panel}" + (f", {line.label}" if line.label else "")
    columns = f"{line.what:>20}{'us, median':>12}{'lowest':>10}{'highest':>10}"
    columns += f"{'per KiB':>10}" if is_size else ""
    lines = [f"{heading}; per {line.unit}", f"{columns}{'per decade':>12}{'slope':>8}{'server busy':>13}"]
    before: int | None = None
    for number in growth.measured:
        costs, median = growth.costs(number), growth.median(number)
        text = f"{size_text(number) if is_size else format(number, ','):>20}"
        text += f"{median:12,.2f}{min(costs):10,.2f}{max(costs):10,.2f}"
        text += f"{median * 1024 / number:10,.2f}" if is_size else ""
        if before is None:
            text += f"{'':20}"
        else:
            factor = growth.per_decade(before, number)
            text += f"{factor:12.2f}{math.log10(factor):8.2f}"
        busy = statistics.median(result.server_busy for result in growth.results[number])
        lines.append(f"{text}{busy:13.0%}")
        before = number
    return "\n".join(lines)


def growth_as_json(growth: Growth) -> dict[str, object]:
    """All about one line."""
    line, measured = growth.line, growth.measured
    steps = [None, *(growth.per_decade(*pair) for pair in itertools.pairwise(measured))]
    return {
        "name": line.name,
        "panel": line.panel,
        "label": line.label,
        "what": line.what,
        "unit": line.unit,
        "points": [
            {
                "number": number,
                "median": growth.median(number),
                "lowest": min(growth.costs(number)),
                "highest": max(growth.costs(number)),
                "per_decade": per_decade,
                "slope": per_decade and math.log10(per_decade),
                "costs": growth.costs(number),
                "server_busy": [result.server_busy for result in growth.results[number]],
                "server_waited": [result.server_waited for result in growth.results[number]],
            }
            for number, per_decade in zip(measured, steps, strict=False)
        ],
    }


# the picture

COLOURS: Final = ("#1d4ed8", "#d97706")
QUIET: Final = "#4b5563"
PROPORTION: Final = "#9ca3af"


def draw(growths: Sequence[Growth], file: Path, caption: str) -> None:
    """Write the picture to ``file``, as PNG: a panel for each number that grows; both axes are logarithmic.

    Args:
        caption: with what and how it was measured.
    """
    # needs matplotlib, which a run without a picture does not
    from matplotlib import rcParams
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rcParams["font.family"] = "DejaVu Sans"
    panels: dict[str, list[Growth]] = {}
    for growth in growths:
        if growth.measured:
            panels.setdefault(growth.line.panel, []).append(growth)
    figure = Figure(figsize=(10, 7.4), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.03, 0.975, "How the cost of a message grows", fontsize=16, fontweight="bold", va="top")
    figure.text(0.03, 0.93, caption, fontsize=9.5, color=QUIET, va="top", linespacing=1.4)
    all_axes = figure.subplots(2, 2, gridspec_kw={"left": 0.08, "right": 0.975, "top": 0.82, "bottom": 0.07})
    figure.subplots_adjust(hspace=0.42, wspace=0.2)
    reach = _reach([growth for growth in growths if growth.line.linear_from is None])
    for axes, title in zip(all_axes.flat, panels, strict=False):
        members = panels[title]
        _panel(axes, title, members, _reach(members) if members[0].line.linear_from else reach)
    for axes in all_axes.flat[len(panels) :]:
        axes.axis("off")
    figure.savefig(file, format="png")


def _reach(growths: Sequence[Growth]) -> tuple[float, float]:
    """Whole decades that hold all costs."""
    costs = [cost for growth in growths for number in growth.measured for cost in growth.costs(number)]
    if not costs:
        return 1.0, 10.0
    return 10.0 ** math.floor(math.log10(min(costs))), 10.0 ** math.ceil(math.log10(max(costs)))


def _panel(axes: Axes, title: str, growths: Sequence[Growth], reach: tuple[float, float]) -> None:
    line = growths[0].line
    axes.set_xscale("log")
    axes.set_yscale("log")
    for growth, colour in zip(growths, COLOURS, strict=False):
        numbers = growth.measured
        medians = [growth.median(number) for number in numbers]
        lowest, highest = ([end(growth.costs(number)) for number in numbers] for end in (min, max))
        axes.fill_between(numbers, lowest, highest, color=colour, alpha=0.18, linewidth=0)
        axes.plot(numbers, medians, color=colour, marker="o", markersize=4.5, linewidth=1.8, label=growth.line.label)
    if line.linear_from in growths[0].measured:
        base = growths[0].median(line.linear_from)
        ends = (reach[0] / base * line.linear_from, growths[0].measured[-1])
        slope = [base * end / line.linear_from for end in ends]
        axes.plot(ends, slope, color=PROPORTION, linestyle=(0, (4, 3)), linewidth=1.1, label="in proportion", zorder=1)
    axes.set_ylim(*reach)
    decades = round(math.log10(reach[1] / reach[0]))
    parts = (1, 2, 5) if decades < 3 else (1,)
    ticks = [reach[0] * 10**decade * part for decade in range(decades) for part in parts] + [reach[1]]
    axes.set_yticks(ticks, [f"{tick:,g}" if tick < 1000 else f"{tick:,.0f}" for tick in ticks])
    numbers = sorted({number for growth in growths for number in growth.measured})
    is_size = line.linear_from is not None
    axes.set_xticks(numbers, [size_text(number) if is_size else f"{number:,}" for number in numbers])
    axes.minorticks_off()
    axes.set_title(title, fontsize=11, fontweight="bold", loc="left", pad=8)
    axes.set_xlabel(line.what, fontsize=9, color=QUIET)
    axes.set_ylabel(f"us of CPU per {line.unit}", fontsize=9, color=QUIET)
    axes.tick_params(labelsize=8.5, colors=QUIET, length=2)
    axes.grid(color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color("#d1d5db")
    if any(axes.get_legend_handles_labels()):
        axes.legend(fontsize=8.5, frameon=False, loc="upper left")


# the command


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asks for."""

    lines: Sequence[Line]
    rounds: int
    seconds: float
    most: int

    def points(self, line: Line) -> list[int]:
        """Those that are measured."""
        return [number for number in line.points if line.linear_from is not None or number <= self.most]

    @property
    def total(self) -> float:
        """Seconds that all will take, roughly."""
        cases = [line.case(number) for line in self.lines for number in self.points(line)]
        return self.rounds * sum(planned_seconds(case, self.seconds) for case in cases)

    @property
    def sessions(self) -> int:
        """The most that are connected at a time."""
        return max(line.case(number).sessions for line in self.lines for number in self.points(line))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was said on the command line; ends the program where that is wrong."""
    names = [line.name for line in LINES]
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"shorter rounds, up to {QUICK_MOST:,} sessions")
    parser.add_argument("--rounds", type=int, help="rounds of each line (7; quick: 5)")
    parser.add_argument("--seconds", type=float, help="length of a measurement (0.6; quick: 0.3)")
    parser.add_argument("--lines", nargs="+", metavar="NAME", choices=names, help=f"only these of {', '.join(names)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw them there; needs matplotlib")
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


def planned(options: argparse.Namespace) -> Plan:
    """From the command line."""
    return Plan(
        lines=[line for line in LINES if not options.lines or line.name in options.lines],
        rounds=options.rounds or (5 if options.quick else 7),
        seconds=options.seconds or (0.3 if options.quick else 0.6),
        most=QUICK_MOST if options.quick else max(NUMBERS),
    )


@dataclass(slots=True)
class Outcome:
    """All that a run has measured so far.

    Attributes:
        failure: what was wrong with a reply, or why a server did not start; the run ended there.
        is_stopped: by Ctrl-C.
    """

    growths: list[Growth] = field(default_factory=list)
    failure: str = ""
    is_stopped: bool = False

    @property
    def is_whole(self) -> bool:
        """All was measured that was planned."""
        return not (self.failure or self.is_stopped)


def perform(plan: Plan, peer: Peer, outcome: Outcome, load: Load = run) -> None:
    """All lines, into ``outcome``."""
    clock = Clock(plan.total)
    for line in plan.lines:
        growth = Growth(line)
        outcome.growths.append(growth)
        try:
            measure(growth, plan.points(line), peer, plan.rounds, plan.seconds, clock, load)
        except KeyboardInterrupt:
            outcome.is_stopped = True
        except (WrongReply, DidNotStart) as error:
            outcome.failure = f"{line.name} FAILED: {error}"
        if growth.measured:
            show_result(f"\n{table(growth)}")
        if not outcome.is_whole:
            break


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = parse(arguments)
    plan = planned(options)
    outcome = Outcome()
    allow_connections(plan.sessions)
    build()
    perform(plan, next(peer for peer in PEERS if peer.name == SOCKBRIDGE), outcome)
    return conclude(options, plan, outcome)


def conclude(options: argparse.Namespace, plan: Plan, outcome: Outcome) -> int:
    """Print what was wanted and what was wrong, write the files; the exit code."""
    checked = gates(outcome.growths)
    if checked:
        show_result(f"\n{gates_table(checked)}")
    if not outcome.is_whole:
        show_result(f"\n{outcome.failure or 'stopped before its end'}")
    if options.json:
        options.json.write_text(json.dumps(as_json(plan, outcome, checked), indent=1) + "\n")
        show_result(f"written: {options.json}")
    if options.png:
        draw(outcome.growths, options.png, caption(plan, outcome))
        show_result(f"written: {options.png}")
    if outcome.is_stopped:
        return 130
    return int(bool(outcome.failure) or any(gate.state is State.MISSED for gate in checked))


def as_json(plan: Plan, outcome: Outcome, checked: Sequence[Gate]) -> dict[str, object]:
    """Everything, for the file."""
    return {
        "is_whole": outcome.is_whole,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "machine": machine(),
        "versions": _versions(),
        "lines": [growth_as_json(growth) for growth in outcome.growths],
        "gates": [gate_as_json(gate) for gate in checked],
    }


def _versions() -> dict[str, str]:
    """Of what sockbridge runs on."""
    found = versions()
    return {name: found[name] for name in ("Python", "aiohttp")}


def caption(plan: Plan, outcome: Outcome) -> str:
    """With what and how it was measured, in lines for the picture."""
    of = ", ".join(f"{name} {version}" for name, version in _versions().items())
    lines = [
        f"sockbridge over websockets, {of}; server and load pinned to a core each.",
        f"Lines: medians of {plan.rounds} rounds of {plan.seconds:g} s; bands: lowest to highest round."
        + ("" if outcome.is_whole else " Stopped before its end."),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
