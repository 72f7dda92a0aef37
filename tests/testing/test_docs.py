"""The examples of docs/testing.md are tests, and pass; its tables name what is there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from sockbridge.testing import MemoryClient, MemorySession, Relay, plugin

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_a_test_that_passes(
    example: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(example)
    options = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function", "-W", "error"]
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # it is imported already, by us
    result = pytester.runpytest_inprocess(
        "-p", "pytest_asyncio.plugin", "-p", "sockbridge.testing.plugin", *options, *quiet
    )
    outcomes = result.parseoutcomes()
    assert outcomes.keys() == {"passed"}
    assert outcomes["passed"] >= example.count("def test_")


def test_the_table_of_fixtures_is_complete() -> None:
    named = re.findall(r"^\| `(sockbridge_\w+)` \|", PAGE, re.M)
    waiting = {function.__name__ for function in plugin.WAITING}
    assert set(named) == {*waiting, "sockbridge_transport"}
    (row,) = re.findall(r"^\| `sockbridge_transport` \|(.*)$", PAGE, re.M)
    assert re.findall(r"`([\w-]+)`", row) == list(plugin.TRANSPORTS)


@pytest.mark.parametrize("kind", [MemorySession, Relay])
def test_the_tables_of_members_name_what_is_there(kind: type) -> None:
    tables = re.findall(r"^\| Member \| Does \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.M)
    table = tables[0] if kind is MemorySession else tables[1]
    cells = [row.split("|")[1] for row in table.splitlines()]
    calls = [call for call in re.findall(r"`(\w+)(?:\(([^`]*)\))?`", " ".join(cells)) if call[0] != "len"]
    made = vars(kind("127.0.0.1", 1)) if kind is Relay else {"heartbeats": 0}
    for name, arguments in calls:
        assert hasattr(kind, name) or name in made, name
        for argument in filter(None, re.split(r", ", arguments)):
            assert argument.partition("=")[0] in inspect.signature(getattr(kind, name)).parameters


def test_the_table_of_the_stomp_client_names_what_is_there() -> None:
    (table,) = re.findall(r"^\| Of `MemoryClient` \| Does \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.M)
    cells = " ".join(row.split("|")[1] for row in table.splitlines())
    for name, arguments in re.findall(r"`(\w+)\(([^`]*)\)`", cells):
        assert (
            set(filter(None, arguments.split(", "))) <= inspect.signature(getattr(MemoryClient, name)).parameters.keys()
        )
