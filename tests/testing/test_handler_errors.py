"""The log of a server's handlers hears what is its own, and nothing after its end."""

from __future__ import annotations

import asyncio

import pytest

from sockbridge.testing.handler_errors import ENGINE, ErrorLog, raise_or_note


def report(error: BaseException) -> None:
    ENGINE.error("the handler failed", exc_info=error)


async def test_what_is_reported_elsewhere_or_without_an_exception_is_not_told() -> None:
    with ErrorLog() as errors, ErrorLog() as others:
        report(ValueError("nobody's"))
        with errors.here():
            ENGINE.error("no exception")
            report(ValueError("mine"))
            with others.here():
                report(ValueError("theirs"))
        assert [str(await log.take()) for log in (errors, others)] == ["mine", "theirs"]


async def test_what_a_task_reports_later_belongs_to_where_it_was_started() -> None:
    async def fail() -> None:
        await gate.wait()
        report(ValueError("late"))

    gate = asyncio.Event()
    with ErrorLog() as errors:
        with errors.here():
            task = asyncio.create_task(fail())
        gate.set()
        assert str(await errors.take()) == "late"
        await task


async def test_at_its_end_the_first_is_raised_and_names_the_others() -> None:
    def act() -> None:
        with ErrorLog() as errors, errors.here():
            report(ValueError("1"))
            report(ValueError("2"))

    before = list(ENGINE.handlers)
    with pytest.raises(ValueError, match="1") as caught:
        act()
    assert caught.value.__notes__ == ["the handler has raised, too: ValueError('2')"]
    assert ENGINE.handlers == before


def test_an_error_that_is_on_its_way_is_not_named_in_its_own_notes() -> None:
    error = ValueError("x")
    raise_or_note([error], error)
    assert not hasattr(error, "__notes__")
