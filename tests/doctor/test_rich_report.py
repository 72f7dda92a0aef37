from __future__ import annotations

import io
import re

import pytest

from sockbridge.doctor.findings import Cause, Report, fault, passed, skipped, warning
from sockbridge.doctor.report import plain

pytest.importorskip("rich")

from sockbridge.doctor.rich_report import Spinning, show

REPORT = Report(
    "http://test/chat",
    (
        passed("reachable", "answered by [red]nginx[/red]"),
        fault("xhr_streaming", Cause.BUFFERED, "held back"),
        warning("info", Cause.INFO_CACHEABLE, "nothing keeps caches away"),
        skipped("jsonp", "not served"),
    ),
    6.0,
)


class Terminal(io.StringIO):
    """An output that takes colours."""

    def isatty(self) -> bool:
        return True


def words(text: str) -> str:
    """``text`` without colours, and with all blanks as one."""
    return " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).split())


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_it_says_what_plain_text_says() -> None:
    output = io.StringIO()
    show(REPORT, output)
    assert words(output.getvalue()) == words(plain(REPORT))


def test_it_has_colours_on_a_terminal() -> None:
    output = Terminal()
    show(REPORT, output)
    assert "\x1b[" in output.getvalue()
    assert words(output.getvalue()) == words(plain(REPORT))


def test_what_goes_on_is_shown_and_gone_at_the_end() -> None:
    output = Terminal()
    with Spinning(output) as spinning:
        spinning.on_started("xhr")
        spinning.on_started("websocket")
        spinning.on_finished("xhr", [], 0.1)
        spinning.on_finished("websocket", [], 0.1)
        spinning.on_finished("never started", [], 0.1)
    assert output.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K") or "\x1b[2K" in output.getvalue()
