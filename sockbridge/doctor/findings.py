"""What an examination finds, as values.

Knows: which faults there are, and their names, which scripts may rely on.
Does not know: how they are found, how they are shown, what helps.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

LONGEST_QUOTE: Final = 100
"""Characters of what a server says that a report shows."""

LONGEST_VERDICT: Final = 1000
"""Characters of a whole verdict."""

Figure = str | int | float | bool


class Status(enum.Enum):
    """How a check ended."""

    OK = "ok"
    FAULT = "fault"
    """Users suffer from it, or will."""
    WARNING = "warning"
    """Works now; look at it."""
    SKIPPED = "skipped"
    """Not examined; the verdict says why."""


class Cause(enum.Enum):
    """What is behind a fault or a warning. One cause may be found by several checks."""

    REDIRECTED = "redirected"
    NOT_VERIFIED = "not-verified"
    INFO_CACHED = "info-cached"
    INFO_CACHEABLE = "info-cacheable"
    GREETING_MISSING = "greeting-missing"
    OWN_ORIGIN_REFUSED = "own-origin-refused"
    ORIGIN_REFUSED = "origin-refused"
    CORS_STRIPPED = "cors-stripped"
    CORS_DOUBLED = "cors-doubled"
    CORS_WRONG = "cors-wrong"
    PREFLIGHT_REFUSED = "preflight-refused"
    UPGRADE_STRIPPED = "upgrade-stripped"
    WEBSOCKET_REFUSED = "websocket-refused"
    WEBSOCKET_SILENT = "websocket-silent"
    BUFFERED = "buffered"
    COMPRESSED = "compressed"
    SHORT_STREAMS = "short-streams"
    NO_ANSWER = "no-answer"
    REFUSED = "refused"
    METHOD_REFUSED = "method-refused"
    BLOCKED = "blocked"
    CUT = "cut"
    NOT_SOCKJS = "not-sockjs"
    NO_AFFINITY = "no-affinity"
    AFFINITY_BY_COOKIE = "affinity-by-cookie"
    COOKIE_MISSING = "cookie-missing"
    COOKIE_NOT_CROSS_SITE = "cookie-not-cross-site"
    BODY_LIMIT = "body-limit"
    MESSAGE_LIMIT = "message-limit"
    IDLE_CUT = "idle-cut"
    NO_HEARTBEATS = "no-heartbeats"
    SESSION_CLOSED = "session-closed"
    ECHO_WRONG = "echo-wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: its name.
        verdict: a sentence without a full stop, printable whatever a check quotes.
        figures: what was measured, by name; seconds end in ``_seconds``, sizes in ``_bytes``.
        cause: of a fault or a warning; None otherwise.
    """

    check: str
    status: Status
    verdict: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    cause: Cause | None = None


def passed(check: str, verdict: str, **figures: Figure) -> Finding:
    """All is well."""
    return Finding(check, Status.OK, printable(verdict, LONGEST_VERDICT), figures)


def skipped(check: str, why: str) -> Finding:
    """Not examined."""
    return Finding(check, Status.SKIPPED, printable(why, LONGEST_VERDICT))


def fault(check: str, cause: Cause, verdict: str, **figures: Figure) -> Finding:
    """Users suffer."""
    return Finding(check, Status.FAULT, printable(verdict, LONGEST_VERDICT), figures, cause)


def warning(check: str, cause: Cause, verdict: str, **figures: Figure) -> Finding:
    """Works now."""
    return Finding(check, Status.WARNING, printable(verdict, LONGEST_VERDICT), figures, cause)


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of one examination, in the order of the checks.

    Attributes:
        url: what was examined.
        seconds: how long that took.
    """

    url: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def is_clean(self) -> bool:
        """True if there is no fault; warnings may be there."""
        return self.count(Status.FAULT) == 0

    def count(self, status: Status) -> int:
        """How many findings have ``status``."""
        return sum(finding.status is status for finding in self.findings)

    def causes(self) -> dict[Cause, list[Finding]]:
        """The faults and warnings by their cause; those with a fault among them first."""
        causes: dict[Cause, list[Finding]] = {}
        for finding in self.findings:
            if finding.cause is not None:
                causes.setdefault(finding.cause, []).append(finding)
        return dict(sorted(causes.items(), key=lambda item: not is_fault(item[1])))


def is_fault(findings: Sequence[Finding]) -> bool:
    """Whether a fault is among them."""
    return any(finding.status is Status.FAULT for finding in findings)


def printable(text: str, limit: int = LONGEST_QUOTE) -> str:
    """What a server said, so that it cannot move the cursor, colour the terminal or fill the screen."""
    shown = "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text[:limit])
    return shown + ("..." if len(text) > limit else "")


def quantity(number: int) -> str:
    """A number of bytes for a reader."""
    for unit, size in (("MiB", 1024 * 1024), ("KiB", 1024)):
        if number >= size:
            return f"{number / size:.4g} {unit}"
    return f"{number} bytes"


def duration(seconds: float) -> str:
    """A time for a reader."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
