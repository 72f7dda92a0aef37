from __future__ import annotations

from collections.abc import Callable

import pytest

from sockbridge.doctor.findings import (
    Cause,
    Finding,
    Report,
    Status,
    duration,
    fault,
    is_fault,
    passed,
    printable,
    quantity,
    skipped,
    warning,
)

BUFFERED = fault("xhr_streaming", Cause.BUFFERED, "held back", waited_seconds=5.0)
AGAIN = fault("eventsource", Cause.BUFFERED, "held back")
COMPRESSED = warning("htmlfile", Cause.COMPRESSED, "compressed")


def test_a_report_without_faults_is_clean_whatever_else_is_in_it() -> None:
    assert Report("http://test/", (passed("a", "b"), skipped("c", "d"), COMPRESSED), 1.0).is_clean
    assert not Report("http://test/", (passed("a", "b"), BUFFERED), 1.0).is_clean


def test_findings_of_one_cause_stand_together_and_faults_come_first() -> None:
    report = Report("http://test/", (COMPRESSED, BUFFERED, passed("a", "b"), AGAIN), 1.0)
    assert list(report.causes().items()) == [(Cause.BUFFERED, [BUFFERED, AGAIN]), (Cause.COMPRESSED, [COMPRESSED])]
    assert is_fault([COMPRESSED, BUFFERED])
    assert not is_fault([COMPRESSED])


def test_findings_hold_what_was_measured() -> None:
    assert BUFFERED.figures == {"waited_seconds": 5.0}
    assert skipped("a", "b").status is Status.SKIPPED
    assert Report("http://test/", (BUFFERED, AGAIN), 1.0).count(Status.FAULT) == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nginx/1.22.1", "nginx/1.22.1"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\r\nb", "a\\x0d\\x0ab"),
        ("right\u202eleft", "right\\x202eleft"),
        ("x" * 101, "x" * 100 + "..."),
        ("x" * 100, "x" * 100),
    ],
)
def test_what_a_server_says_cannot_move_the_cursor(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "made",
    [
        lambda said: passed("a", said),
        lambda said: skipped("a", said),
        lambda said: fault("a", Cause.CUT, said),
        lambda said: warning("a", Cause.CUT, said),
    ],
)
def test_no_verdict_moves_the_cursor_or_fills_the_screen(made: Callable[[str], Finding]) -> None:
    verdict = made("\x1b[2J" * 10_000).verdict
    assert verdict.isprintable()
    assert len(verdict) < 10_000


def test_quantities_are_for_readers() -> None:
    assert [quantity(one) for one in (2, 1024, 1536, 3 * 1024 * 1024)] == ["2 bytes", "1 KiB", "1.5 KiB", "3 MiB"]
    assert [duration(one) for one in (0.0014, 0.25, 1.04, 25.0)] == ["1 ms", "250 ms", "1.0 s", "25.0 s"]
