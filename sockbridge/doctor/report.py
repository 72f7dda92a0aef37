"""A report as plain text, and as JSON for scripts.

Knows: the words around findings; the keys, which stay as they are (docs/doctor.md).
Does not know: terminals, colours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from .findings import Cause, Finding, Report, Status, is_fault
from .remedies import Remedy, fitted

FORMAT: Final = 1
"""Of the JSON; a higher number when a key changes its meaning or goes away, not when one comes."""

CHECK_WIDTH: Final = 20


def plain(report: Report) -> str:
    """For a reader, with a line break at the end."""
    lines = [f"{title(report)}\n"]
    lines += [f"{label(one.status):8} {one.check:{CHECK_WIDTH}} {one.verdict}" for one in report.findings]
    for cause, findings in report.causes().items():
        lines += [f"\n{heading(cause, findings)}", *_remedy(fitted(cause, findings, report.url))]
    return "\n".join([*lines, f"\n{summary(report)}\n"])


def title(report: Report) -> str:
    """What was examined."""
    return f"sockbridge doctor {report.url}"


def label(status: Status) -> str:
    """A fault is to be seen without colours, too."""
    return "FAULT" if status is Status.FAULT else str(status.value)


def heading(cause: Cause, findings: list[Finding]) -> str:
    """The name of a cause, and who found it."""
    status = Status.FAULT if is_fault(findings) else Status.WARNING
    return f"{label(status)}: {cause.value} ({', '.join(one.check for one in findings)})"


def summary(report: Report) -> str:
    """The last line."""
    causes = report.causes().values()
    faults = sum(map(is_fault, causes))
    warnings = len(causes) - faults
    took = f"{report.seconds:.1f} s"
    if not faults:
        rest = f", with {_number(warnings, 'warning')}" if warnings else ""
        return f"A clean bill of health{rest}. ({took})"
    return f"{_number(faults, 'fault')}, {_number(warnings, 'warning')}. ({took})"


def places(remedy: Remedy) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Where something is to be done, and which lines."""
    named = (("nginx", remedy.nginx), ("HAProxy", remedy.haproxy), ("sockbridge.mount", remedy.sockbridge))
    return ((name, lines) for name, lines in named if lines)


def _remedy(remedy: Remedy) -> list[str]:
    lines = [f"  {remedy.text}"]
    for name, wanted in places(remedy):
        lines += [f"  {name}:", *(f"      {line}" for line in wanted)]
    return lines


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def as_json(report: Report, version: str) -> str:
    """For a script: one object."""
    return _dump(
        version,
        report.url,
        "clean" if report.is_clean else "faults",
        seconds=round(report.seconds, 3),
        findings=[_finding(one) for one in report.findings],
        remedies={
            cause.value: _remedy_fields(fitted(cause, findings, report.url))
            for cause, findings in report.causes().items()
        },
    )


def failure_as_json(url: str, error: str, version: str) -> str:
    """For a script: there is no report."""
    return _dump(version, url, "failed", error=error)


def _dump(version: str, url: str, outcome: str, **more: Any) -> str:
    head = {"format": FORMAT, "sockbridge": version, "url": url, "outcome": outcome}
    return json.dumps(head | more, indent=2) + "\n"


def _finding(finding: Finding) -> dict[str, Any]:
    figures = {
        name: round(figure, 6) if isinstance(figure, float) else figure for name, figure in finding.figures.items()
    }
    return {
        "check": finding.check,
        "status": finding.status.value,
        "cause": finding.cause.value if finding.cause else None,
        "verdict": finding.verdict,
        "figures": figures,
    }


def _remedy_fields(remedy: Remedy) -> dict[str, Any]:
    return {
        "text": remedy.text,
        "nginx": list(remedy.nginx),
        "haproxy": list(remedy.haproxy),
        "sockbridge": list(remedy.sockbridge),
    }
