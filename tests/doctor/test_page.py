"""``docs/doctor.md`` tells all that scripts and operators may rely on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sockbridge.cli import main
from sockbridge.doctor.findings import Cause, Report, Status, fault
from sockbridge.doctor.report import as_json, failure_as_json

from .conftest import chat, report

PAGE = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
CODE = set(re.findall(r"`([^`\n]+)`", PAGE))


def test_every_cause_is_listed_and_nothing_else() -> None:
    listed = re.search(r"^Causes: (.*?)\.\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert listed is not None
    assert re.findall(r"`([a-z-]+)`", listed[1]) == [cause.value for cause in Cause]


def test_every_key_of_the_json_is_listed() -> None:
    found = Report("http://test/", (fault("xhr", Cause.CUT, "cut"),), 1.0)
    said = json.loads(as_json(found, "1")) | json.loads(failure_as_json("", "", "1"))
    keys = {*said, *said["findings"][0], *said["remedies"]["cut"]}
    assert keys <= CODE
    assert {status.value for status in Status} <= CODE


def test_every_option_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    options = set(re.findall(r"^  (--[a-z]+)", capsys.readouterr().out, re.MULTILINE))
    assert len(options) == 10
    assert options == {name.split()[0] for name in CODE if name.startswith("--")}


async def test_every_check_is_listed() -> None:
    async with chat() as url:
        for origin in (None, "https://app.example.org"):
            examined = await report(url, origin=origin, idle=0.1, echo=True)
            assert {one.check for one in examined.findings} <= CODE
