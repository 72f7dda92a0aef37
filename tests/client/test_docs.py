"""The page about the client: its examples run, its tables agree with the code."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from sockbridge.client import Backoff, ClientOptions, Session
from tests.fakes import GUARD, RecordingHandler
from tests.transports.wire import echo_server

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")

EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)


def rows(head: str) -> list[list[str]]:
    """The cells of the table whose head begins so."""
    table = PAGE[PAGE.index(head) :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def run(example: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, "client.md", "exec"), names)
    return names


async def test_the_first_example_talks_to_an_echo_server(capsys: pytest.CaptureFixture[str]) -> None:
    async with echo_server() as (url, _, _):
        names = run(EXAMPLES[0].replace("http://127.0.0.1:8080/echo", url))
        await names["main"]()
    assert capsys.readouterr().out == "websocket hello\n"


async def test_the_example_that_connects_again_logs_in_again(capsys: pytest.CaptureFixture[str]) -> None:
    handler = RecordingHandler(echo=True)
    async with echo_server(handler) as (url, endpoint, _):
        names = run(EXAMPLES[1].replace("limit=10", "first=0.01, limit=0.01"))
        task = asyncio.create_task(names["listen"](url, "secret"))
        await handler.wait_for("on_message", 1)
        for session in list(endpoint.sessions):
            session.close(1001, "later")
        async with asyncio.timeout(GUARD):
            assert await handler.wait_for("on_message", 2) == ["login secret"] * 2
        task.cancel()
        await asyncio.wait([task])
    assert "1001 later" in capsys.readouterr().out


def test_the_table_of_options_agrees_with_the_code() -> None:
    defaults = {
        field.name: field.default if field.default is not dataclasses.MISSING else {}
        for field in dataclasses.fields(ClientOptions)
    }
    told = {cells[0].strip("`"): ast.literal_eval(cells[2].strip("`")) for cells in rows("| Option of the client")}
    assert told == defaults
    assert list(told) == list(defaults)


def test_the_table_of_the_session_names_what_is_there() -> None:
    told = {name for cells in rows("| Of the session") for name in re.findall(r"`(?:await )?(\w+)[`(]", cells[0])}
    there = {name for name in dir(Session) if not name.startswith("_")} | {"failures", "reconnects"}
    assert told - there == set()
    assert there - told == set()


def test_the_default_pauses_are_told() -> None:
    default = Backoff()
    values = f"first={default.first}, factor={default.factor}, limit={default.limit}, attempts={default.attempts}"
    assert f"`Backoff({values})`" in PAGE
