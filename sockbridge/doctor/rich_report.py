"""A report in colours, and a line that tells what goes on; needs rich (the extra ``cli``).

Knows: rich.
Does not know: what the words mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TextIO

from rich.console import Console
from rich.padding import Padding
from rich.status import Status as Spinner
from rich.table import Table
from rich.text import Text

from .findings import Finding, Report, Status, is_fault
from .remedies import Remedy, fitted
from .report import heading, label, places, summary, title

STYLES: Final = {
    Status.OK: "green",
    Status.FAULT: "bold red",
    Status.WARNING: "yellow",
    Status.SKIPPED: "dim",
}


def show(report: Report, output: TextIO) -> None:
    """Print ``report``. All of it is text, never markup: servers have a say in it."""
    console = Console(file=output, highlight=False)
    console.print(Text(title(report), style="bold"))
    console.print(_table(report))
    for cause, findings in report.causes().items():
        style = STYLES[Status.FAULT if is_fault(findings) else Status.WARNING]
        console.print()
        console.print(Text(heading(cause, findings), style=style))
        _show_remedy(console, fitted(cause, findings, report.url))
    console.print()
    console.print(Text(summary(report), style="bold green" if report.is_clean else "bold red"))


def _table(report: Report) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in report.findings:
        style = STYLES[finding.status]
        verdict = Text(finding.verdict, style="dim" if finding.status is Status.SKIPPED else "")
        table.add_row(Text(label(finding.status), style=style), Text(finding.check), verdict)
    return table


def _show_remedy(console: Console, remedy: Remedy) -> None:
    console.print(Padding(Text(remedy.text), (0, 0, 0, 2)))
    for name, lines in places(remedy):
        console.print(Padding(Text(f"{name}:"), (0, 0, 0, 2)))
        for line in lines:  # never wrapped: they are to be copied
            console.print(Text(f"      {line}", style="cyan"), soft_wrap=True)


class Spinning:
    """A line at the bottom of the terminal, as ``Progress``; use it in ``with``."""

    def __init__(self, output: TextIO) -> None:
        self._spinner = Spinner("", console=Console(file=output))
        self._running: dict[str, None] = {}

    def __enter__(self) -> Spinning:
        self._spinner.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._spinner.stop()

    def on_started(self, check: str) -> None:
        """As ``Progress.on_started``."""
        self._running[check] = None
        self._update()

    def on_finished(self, check: str, findings: Sequence[Finding], seconds: float) -> None:
        """As ``Progress.on_finished``."""
        self._running.pop(check, None)
        self._update()

    def _update(self) -> None:
        self._spinner.update(Text(", ".join(self._running) or "..."))
