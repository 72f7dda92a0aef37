"""What the rounds of ``bench.compare`` say: medians, ratios, what was wanted and what was seen, and the tables of it.

A ratio is taken within a round, where two servers were measured one right after the other, and the median of these
ratios counts: what slows the machine for a while slows both. A refused round counts for nobody.

Knows: how figures are compared, judged and written.
Does not know: how they came about.
"""

from __future__ import annotations

import enum
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from .load import Result
from .workloads import ANY_PEER, ON_UVLOOP, PUBLIC, SOCKBRIDGE, Wanted, Workload

OURS: Final = (SOCKBRIDGE, ON_UVLOOP, PUBLIC)

OTHER_LANGUAGES: Final = ("sockjs-node", "sockjs-go", "spring")
"""Peers that have no Python loop: they are compared with sockbridge on either."""

STOPPED: Final = "stopped before it had a round"


@dataclass(slots=True)
class Row:
    """One server in one workload.

    Attributes:
        server: its name; that of sockbridge in another workload's row is made by ``reference_name``.
        results: one for each round, in order.
        failure: what was wrong with its replies, or why it did not run; then its results count for nothing.
    """

    server: str
    results: list[Result] = field(default_factory=list)
    failure: str = ""

    @property
    def counted(self) -> list[Result]:
        """The results that say something about the server."""
        return [] if self.failure else [result for result in self.results if not result.refusal]

    @property
    def refused(self) -> int:
        """How many rounds do not."""
        return sum(bool(result.refusal) for result in self.results)

    @property
    def median(self) -> Result | None:
        """The median of each figure by itself; None if no round counts."""
        if not self.counted:
            return None
        names = ("messages", "p50", "p99", "load_busy", "server_busy", "cost")
        return Result(**{name: statistics.median(getattr(result, name) for result in self.counted) for name in names})

    @property
    def why_nothing(self) -> str:
        """Why no round counts."""
        if self.failure:
            return f"{self.server} FAILED"
        if not self.results:
            return STOPPED
        return f"every round was refused ({self.results[-1].refusal})"


@dataclass(slots=True)
class Comparison:
    """One workload, and all that were measured in it.

    Attributes:
        rows: by the server's name, in the order of the table.
        absent: why a peer is not among them, by its name.
    """

    workload: Workload
    rows: dict[str, Row]
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of two servers, over the rounds that count for both.

    Attributes:
        rounds: how many these are.
    """

    median: float
    lowest: float
    highest: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lowest:.2f}-{self.highest:.2f})"


def ratio(ours: Row, theirs: Row, figure: str = "messages") -> Ratio | None:
    """How many times ``theirs`` ``ours`` is; None if no round counts for both.

    Args:
        figure: the name of a figure of ``Result``.
    """
    if ours.failure or theirs.failure:
        return None
    pairs = zip(ours.results, theirs.results, strict=False)  # a run that is stopped leaves the last round to some
    ratios = [
        getattr(mine, figure) / getattr(other, figure)
        for mine, other in pairs
        if not (mine.refusal or other.refusal) and getattr(other, figure)
    ]
    if not ratios:
        return None
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), len(ratios))


def ours_beside(server: str) -> tuple[str, ...]:
    """Which sockbridge a server is compared with: that on the same loop; none for sockbridge itself."""
    if server in OURS or server.startswith(f"{SOCKBRIDGE} "):
        return ()
    if server in OTHER_LANGUAGES:
        return (SOCKBRIDGE, ON_UVLOOP)
    return (ON_UVLOOP,) if server.endswith("-uv") else (SOCKBRIDGE,)


def reference_name(workload: str) -> str:
    """What the row of sockbridge with another workload is called."""
    return f"{SOCKBRIDGE} {workload}"


# what was wanted


class State(enum.Enum):
    """What became of a figure that is wanted."""

    MET = "met"
    MISSED = "MISSED"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One figure that is wanted, and what was seen.

    Attributes:
        workload: its name.
        what: which figure, for the reader.
        wanted: the least that will do; the greatest, if ``is_limit``.
        seen: None without a figure.
        decides: missing it fails the run.
        why: without a figure, the reason.
        is_due: there should have been a figure; without one it counts as missed.
    """

    workload: str
    what: str
    wanted: float
    seen: float | None
    is_limit: bool = False
    decides: bool = True
    why: str = ""
    is_due: bool = True

    @property
    def state(self) -> State:
        """Met, missed, or not measured."""
        if self.seen is None:
            return State.MISSED if self.is_due else State.NOT_MEASURED
        good = self.seen <= self.wanted if self.is_limit else self.seen >= self.wanted
        return State.MET if good else State.MISSED

    @property
    def verdict(self) -> str:
        """The state, and how far off or why."""
        text = self.state.value
        if self.seen is None:
            text += f": {self.why}" if self.state is State.NOT_MEASURED else f", no figure: {self.why}"
        elif self.state is State.MISSED:
            text += f" by {abs(self.seen - self.wanted):.2g} ({abs(self.seen / self.wanted - 1):.1%})"
        return text if self.decides else f"{text} (reported only)"


def gates(comparison: Comparison, gate_peers: Sequence[str]) -> list[Gate]:
    """All that is wanted in a workload.

    Args:
        gate_peers: names of the peers whose figures decide.
    """
    found = [_ratio_gate(comparison, wanted, gate_peers) for wanted in _expanded(comparison)]
    limit = comparison.workload.cost_limit
    if limit is not None:
        raw = reference_name(limit.workload)
        seen, why, is_due = _seen(comparison, SOCKBRIDGE, raw, "cost")
        found.append(
            Gate(
                workload=comparison.workload.name,
                what=f"CPU time: {SOCKBRIDGE} / its {limit.workload}",
                wanted=limit.greatest,
                seen=seen,
                is_limit=True,
                why=why,
                is_due=is_due,
            )
        )
    return found


def failed_run(comparisons: Sequence[Comparison], checked: Sequence[Gate]) -> bool:
    """sockbridge gave a wrong reply, or a figure that decides is missed. A peer's wrong reply is the peer's affair."""
    replied_wrong = any(row.failure for row in _own_rows(comparisons))
    return replied_wrong or any(gate.decides and gate.state is State.MISSED for gate in checked)


def _own_rows(comparisons: Sequence[Comparison]) -> Iterator[Row]:
    for comparison in comparisons:
        for name, row in comparison.rows.items():
            if not ours_beside(name):
                yield row


def _expanded(comparison: Comparison) -> Iterator[Wanted]:
    """With a figure for each peer where one is wanted for any."""
    for wanted in comparison.workload.wanted:
        if wanted.peer != ANY_PEER:
            yield wanted
            continue
        named = {other.peer for other in comparison.workload.wanted if other.ours == wanted.ours}
        for name in comparison.rows:
            if SOCKBRIDGE in ours_beside(name) and name not in named:
                yield Wanted(name, wanted.least, wanted.ours)


def _ratio_gate(comparison: Comparison, wanted: Wanted, gate_peers: Sequence[str]) -> Gate:
    seen, why, is_due = _seen(comparison, wanted.ours, wanted.peer, "messages")
    return Gate(
        workload=comparison.workload.name,
        what=f"{wanted.ours} / {wanted.peer}",
        wanted=wanted.least,
        seen=seen,
        decides=wanted.peer in gate_peers,
        why=why,
        is_due=is_due,
    )


def _seen(comparison: Comparison, ours: str, theirs: str, figure: str) -> tuple[float | None, str, bool]:
    """The ratio; else None, why, and whether it is due."""
    for name in (theirs, ours):
        if name not in comparison.rows:
            return None, comparison.absent.get(name, f"{name} was left out"), False
    mine, other = comparison.rows[ours], comparison.rows[theirs]
    found = ratio(mine, other, figure)
    if found is not None:
        return found.median, "", True
    empty = [row for row in (mine, other) if row.failure] or [row for row in (mine, other) if not row.counted]
    why = ", ".join(dict.fromkeys(row.why_nothing for row in empty)) or "no round counts for both"
    return None, why, not any(row.why_nothing == STOPPED for row in empty)


# tables


def workload_table(comparison: Comparison) -> str:
    """All figures of one workload."""
    workload = comparison.workload
    figures = [f"{workload.unit}/s", "p50 us", "p99 us", "CPU us"]
    ratios = [f"{SOCKBRIDGE} is x times", f"{ON_UVLOOP} is x"]
    lines = [["server", *figures, *ratios, "busy: server", "load", "refused"]]
    failures = []
    empty: dict[str, list[str]] = {}
    for row in comparison.rows.values():
        median = row.median
        if row.failure:
            lines.append([row.server, "FAILED"])
            failures.append(f"{row.server} FAILED: {row.failure}")
            continue
        refused = f"{row.refused} of {len(row.results)}" if row.refused else ""
        if median is None:
            cost = f"({statistics.median(result.cost for result in row.results):,.1f})" if row.results else ""
            lines.append([row.server, "-", "", "", cost, "", "", "", "", refused])
            empty.setdefault(row.why_nothing, []).append(row.server)
            continue
        lines.append(
            [
                row.server,
                f"{median.messages:,.0f}",
                f"{median.p50:,.0f}",
                f"{median.p99:,.0f}",
                f"{median.cost:,.1f}",
                _ratio_cell(comparison, SOCKBRIDGE, row),
                _ratio_cell(comparison, ON_UVLOOP, row),
                f"{median.server_busy:.0%}",
                f"{median.load_busy:.0%}",
                refused,
            ]
        )
    failures += [f"{why}: {', '.join(servers)}" for why, servers in empty.items()]
    return "\n".join([f"{workload.name}: {workload.title}", _grid(lines), *failures])


def _ratio_cell(comparison: Comparison, ours: str, row: Row) -> str:
    is_other_self = ours == SOCKBRIDGE and row.server in (ON_UVLOOP, PUBLIC)
    if not is_other_self and ours not in ours_beside(row.server):
        return ""
    mine = comparison.rows.get(ours)
    found = ratio(mine, row) if mine is not None else None
    return str(found) if found is not None else "-"


def summary_tables(comparisons: Sequence[Comparison], checked: Sequence[Gate]) -> str:
    """A line for each workload, a column for each peer: how many times as fast sockbridge is, on either loop."""
    blocks = []
    for ours, heading in ((SOCKBRIDGE, "sockbridge is so many times as fast as"), (ON_UVLOOP, "On uvloop, as")):
        peers = list(dict.fromkeys(name for each in comparisons for name in each.rows if ours in ours_beside(name)))
        if not peers or not any(ours in comparison.rows for comparison in comparisons):
            continue
        missed = {(gate.workload, gate.what) for gate in checked if gate.state is State.MISSED}
        lines = [["", *peers]]
        for comparison in comparisons:
            name = comparison.workload.name
            cells = [_summary_cell(comparison, ours, peer) for peer in peers]
            marks = ["!" if (name, f"{ours} / {peer}") in missed else " " for peer in peers]
            lines.append([name, *(cell + mark for cell, mark in zip(cells, marks, strict=True))])
        blocks.append(f"{heading}\n{_grid(lines)}")
    if any("!" in block for block in blocks):
        blocks.append("! less than wanted")
    return "\n\n".join(blocks)


def _summary_cell(comparison: Comparison, ours: str, peer: str) -> str:
    row, mine = comparison.rows.get(peer), comparison.rows.get(ours)
    if row is None or mine is None:
        return "-"
    if row.failure or mine.failure:
        return "FAILED"
    found = ratio(mine, row)
    return f"{found.median:.2f}" if found is not None else "refused"


def refusals(comparisons: Sequence[Comparison]) -> str:
    """What to do about refused rounds; empty if there are few."""
    rows = [row for comparison in comparisons for row in comparison.rows.values()]
    refused, total = sum(row.refused for row in rows), sum(len(row.results) for row in rows)
    if refused * 10 <= total:
        return ""
    reasons = Counter(result.refusal for row in rows for result in row.results if result.refusal)
    counts = ", ".join(f"{count} times {reason}" for reason, count in reasons.most_common())
    return f"{refused} of {total} rounds were refused: {counts}. Nothing else should run on the machine meanwhile."


def gates_table(checked: Sequence[Gate]) -> str:
    """What was wanted and what was seen."""
    lines = [["workload", "figure", "seen", "wanted", ""]]
    for gate in checked:
        seen = "-" if gate.seen is None else f"{gate.seen:.2f}"
        sign = "<=" if gate.is_limit else ">="
        lines.append([gate.workload, gate.what, seen, f"{sign} {gate.wanted:.2f}", gate.verdict])
    return _grid(lines, left=(0, 1, 4))


def _grid(lines: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Columns as wide as they need to be; those in ``left`` are written from the left."""
    columns = max(len(line) for line in lines)
    full = [[*line, *[""] * (columns - len(line))] for line in lines]
    widths = [max(len(line[column]) for line in full) for column in range(columns)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in full
    )


# the picture


@dataclass(frozen=True, slots=True)
class Bar:
    """One server of a picture.

    Attributes:
        ratio: to the server that is 1; None if there is none.
        why_nothing: then, in a word.
        refused: rounds that do not count.
    """

    server: str
    ratio: Ratio | None
    why_nothing: str
    refused: int


def yardstick(comparison: Comparison) -> Row | None:
    """The server that is 1 in the picture: the best known that can do the workload; None if no server has figures."""
    is_websocket = comparison.workload.transport == "websocket"
    names = ("aiohttp", "sockjs-node", "spring", SOCKBRIDGE) if is_websocket else ("sockjs-node", "sockjs", SOCKBRIDGE)
    for name in (*names, *comparison.rows):
        if name in comparison.rows and comparison.rows[name].counted:
            return comparison.rows[name]
    return None


def bars(comparison: Comparison, unit: Row) -> list[Bar]:
    """One for each server, in the order of the table."""
    found = []
    for row in comparison.rows.values():
        seen = ratio(row, unit)
        why = "" if seen is not None else "FAILED" if row.failure else "refused" if row.results else "stopped"
        found.append(Bar(row.server, seen, why, row.refused))
    return found


# the file


def comparison_as_json(comparison: Comparison) -> dict[str, object]:
    """Every round, medians and ratios."""
    workload = comparison.workload
    return {
        "workload": workload.name,
        "title": workload.title,
        "unit": f"{workload.unit} per second",
        "servers": [_row_as_json(comparison, row) for row in comparison.rows.values()],
        "absent": dict(comparison.absent),
    }


def _row_as_json(comparison: Comparison, row: Row) -> dict[str, object]:
    ratios = {}
    for ours in ours_beside(row.server):
        found = ratio(comparison.rows[ours], row) if ours in comparison.rows else None
        if found is not None:
            ratios[ours] = asdict(found)
    return {
        "server": row.server,
        "failure": row.failure,
        "refused": row.refused,
        "median": asdict(row.median) if row.median is not None else None,
        "sockbridge_is_times": ratios,
        "rounds": [{**asdict(result), "refusal": result.refusal} for result in row.results],
    }


def gate_as_json(gate: Gate) -> dict[str, object]:
    """All about one gate."""
    return {**asdict(gate), "state": gate.state.value, "verdict": gate.verdict}
