from __future__ import annotations

import json

from sockbridge.doctor.findings import Cause, Report, fault, passed, skipped, warning
from sockbridge.doctor.report import as_json, failure_as_json, plain

GOOD = Report(
    "http://test/chat", (passed("xhr", "opened", open_seconds=0.12345678), skipped("jsonp", "not served")), 1.23
)
BAD = Report(
    "http://test/chat",
    (
        warning("info", Cause.INFO_CACHEABLE, "nothing keeps caches away"),
        fault("xhr_streaming", Cause.BUFFERED, "held back", waited_seconds=5.0),
        fault("eventsource", Cause.BUFFERED, "held back"),
        fault("origin", Cause.OWN_ORIGIN_REFUSED, "refused", status=403),
    ),
    6.0,
)


def test_a_clean_bill_is_said() -> None:
    assert plain(GOOD) == (
        "sockbridge doctor http://test/chat\n\n"
        "ok       xhr                  opened\n"
        "skipped  jsonp                not served\n\n"
        "A clean bill of health. (1.2 s)\n"
    )


def test_warnings_leave_a_clean_bill() -> None:
    assert plain(Report("http://test/", BAD.findings[:1], 1.0)).endswith(
        "A clean bill of health, with 1 warning. (1.0 s)\n"
    )


def test_each_cause_has_its_remedy_once_and_faults_come_first() -> None:
    text = plain(BAD)
    assert "FAULT: buffered (xhr_streaming, eventsource)\n" in text
    assert text.count("      proxy_buffering off;\n") == 1
    assert "  HAProxy:\n      # defaults: option http-no-delay\n" in text
    assert "  sockbridge.mount:\n      forwarded=True\n" in text
    assert text.index("FAULT: own-origin-refused (origin)") < text.index("warning: info-cacheable (info)")
    assert text.endswith("2 faults, 1 warning. (6.0 s)\n")


def test_scripts_get_one_object_with_the_same_content() -> None:
    said = json.loads(as_json(BAD, "1.2"))
    assert {name: value for name, value in said.items() if name not in ("findings", "remedies")} == {
        "format": 1,
        "sockbridge": "1.2",
        "url": "http://test/chat",
        "outcome": "faults",
        "seconds": 6.0,
    }
    assert said["findings"][1] == {
        "check": "xhr_streaming",
        "status": "fault",
        "cause": "buffered",
        "verdict": "held back",
        "figures": {"waited_seconds": 5.0},
    }
    assert list(said["remedies"]) == ["buffered", "own-origin-refused", "info-cacheable"]
    assert said["remedies"]["own-origin-refused"]["sockbridge"] == ["forwarded=True"]
    assert set(said["remedies"]["buffered"]) == {"text", "nginx", "haproxy", "sockbridge"}


def test_a_clean_bill_for_scripts_has_no_remedies() -> None:
    said = json.loads(as_json(GOOD, "1.2"))
    assert (said["outcome"], said["remedies"]) == ("clean", {})
    assert said["findings"][0]["figures"] == {"open_seconds": 0.123457}
    assert said["findings"][1]["cause"] is None


def test_a_failure_is_an_object_as_well() -> None:
    text = failure_as_json("nonsense", "that is no URL \udcff", "1.2")
    assert text.isascii()
    assert json.loads(text) == {
        "format": 1,
        "sockbridge": "1.2",
        "url": "nonsense",
        "outcome": "failed",
        "error": "that is no URL \udcff",
    }
