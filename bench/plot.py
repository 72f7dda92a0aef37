"""The picture of a run of ``bench.compare``: a panel for each workload, a bar for each server.

Knows: colours, axes.
Does not know: what the figures mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matplotlib import rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from . import report
from .report import Bar, Comparison
from .workloads import ON_UVLOOP, PUBLIC, SOCKBRIDGE, Workload

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS: Final = 4
WIDTH: Final = 16.0
"""Inches, of 100 pixels."""

BAR_HEIGHT: Final = 0.235
"""Inches that a server takes."""

PANEL_MARGIN: Final = 0.95
"""Inches above and below the bars of a panel."""

OURS: Final = {SOCKBRIDGE: "#1d4ed8", ON_UVLOOP: "#60a5fa", PUBLIC: "#93a8dd"}
PEER: Final = "#6b7280"
PEER_ON_UVLOOP: Final = "#b6bcc6"
WRONG: Final = "#b91c1c"
QUIET: Final = "#4b5563"

FOOT: Final = 0.1

REFUSED: Final = "*"

READING: Final = (
    "Messages per second, as a multiple of the server that is named above each panel: longer is faster. "
    f"Pale: on uvloop. {REFUSED} some rounds were refused, as the server was not the limit."
)

NAMES: Final = {"aiohttp": "bare aiohttp", "sockjs": "the sockjs package"}
"""How the yardstick is called for people."""


def draw(comparisons: Sequence[Comparison], file: Path, subtitle: str) -> None:
    """Write the picture of ``comparisons`` to ``file``, as PNG.

    Args:
        subtitle: where and with what it was measured; may have several lines.
    """
    rcParams["font.family"] = "DejaVu Sans"
    ordered = sorted(comparisons, key=lambda comparison: _family(comparison.workload))
    lines = [ordered[first : first + COLUMNS] for first in range(0, len(ordered), COLUMNS)]
    heights = [PANEL_MARGIN + BAR_HEIGHT * max(len(each.rows) for each in line) for line in lines]
    subtitle = f"{READING}\n{subtitle}"
    head = 1.0 + 0.22 * subtitle.count("\n")
    height = sum(heights) + head + FOOT
    figure = Figure(figsize=(WIDTH, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(0.012, 1 - 0.18 / height, "sockbridge beside its peers", fontsize=19, fontweight="bold", va="top")
    figure.text(0.012, 1 - 0.58 / height, subtitle, fontsize=10.5, color=QUIET, va="top", linespacing=1.4)
    top = head
    for line, inches in zip(lines, heights, strict=True):
        for column, comparison in enumerate(line):
            _panel(figure, comparison, column, top, inches, height)
        top += inches
    figure.savefig(file, format="png")


def _panel(figure: Figure, comparison: Comparison, column: int, top: float, inches: float, height: float) -> None:
    """One workload, ``top`` inches below the upper edge; as high as its servers need, at most ``inches``."""
    count = len(comparison.rows)
    left = (column + 0.37) / COLUMNS
    bottom = top + 0.62 + BAR_HEIGHT * count
    axes = figure.add_axes((left, 1 - bottom / height, 0.56 / COLUMNS, BAR_HEIGHT * count / height))
    title_left = (column + 0.05) / COLUMNS
    figure.text(
        title_left, 1 - (top + 0.1) / height, comparison.workload.name, fontsize=12, fontweight="bold", va="top"
    )
    unit = report.yardstick(comparison)
    if unit is None:
        heading = "no figures"
    else:
        heading = f"{short_title(comparison.workload)}; {NAMES.get(unit.server, unit.server)} = 1"
    figure.text(title_left, 1 - (top + 0.34) / height, heading, fontsize=8.5, color=QUIET, va="top")
    if unit is None:
        axes.axis("off")
        return
    _bars(axes, report.bars(comparison, unit))


def _family(workload: Workload) -> tuple[bool, bool]:
    """For sorting: what is drawn together; websockets and new sessions, HTTP, STOMP."""
    return workload.is_stomp, workload.transport != "websocket" and workload.kind != "connect"


def short_title(workload: Workload) -> str:
    """What the name of the workload does not say."""
    size = f"{workload.size} B of JSON" if workload.is_json else f"{workload.size} B"
    if workload.kind == "echo":
        return f"{size}, {workload.window} in flight"
    if workload.kind == "fanout":
        return f"{size} to {workload.connections}, {workload.window} ahead"
    return "sessions per second"


def _bars(axes: Axes, found: Sequence[Bar]) -> None:
    reach = max(1.0, *(bar.ratio.highest for bar in found if bar.ratio is not None)) * 1.22
    for position, bar in enumerate(found):
        if bar.ratio is None:
            axes.text(reach * 0.015, position, bar.why_nothing, color=WRONG, fontsize=9, va="center", style="italic")
            continue
        axes.barh(position, bar.ratio.median, height=0.74, color=colour(bar.server), zorder=2)
        axes.plot((bar.ratio.lowest, bar.ratio.highest), (position, position), color="#111827", linewidth=1.1, zorder=3)
        text = f"{bar.ratio.median:.2f}{REFUSED if bar.refused else ''}"
        axes.text(
            max(bar.ratio.highest, bar.ratio.median) + reach * 0.015,
            position,
            text,
            fontsize=9,
            va="center",
            fontweight="bold" if bar.server in OURS else "normal",
            color=OURS[SOCKBRIDGE] if bar.server in OURS else "#1f2937",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},  # over the dashed line
        )
    axes.axvline(1.0, color="#111827", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(0, reach)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_yticks(range(len(found)), [bar.server for bar in found], fontsize=9)
    for label, bar in zip(axes.get_yticklabels(), found, strict=True):
        if bar.server in OURS:
            label.set_fontweight("bold")
            label.set_color(OURS[SOCKBRIDGE])
    step = 10 ** math.floor(math.log10(reach))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2, 5) if reach / (step * part) <= 5)
    axes.set_xticks([step * number for number in range(math.floor(reach / step) + 1)])
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, colors=QUIET, length=2)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#d1d5db")


def colour(server: str) -> str:
    """Strong for sockbridge; pale on uvloop."""
    if server in OURS:
        return OURS[server]
    if server.startswith(f"{SOCKBRIDGE} "):
        return OURS[PUBLIC]
    return PEER_ON_UVLOOP if server.endswith("-uv") else PEER
