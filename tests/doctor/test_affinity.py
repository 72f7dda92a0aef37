from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from sockbridge.doctor.affinity import check_affinity
from sockbridge.doctor.findings import Cause, Finding, Status
from sockbridge.doctor.probe import Network
from sockbridge.doctor.reach import Place

from .conftest import RecordingHandler, chat, other_server, place_of, settings

PAGE = "https://app.example.org"


async def opens(request: web.Request) -> web.Response:
    """``xhr``, by the worker ``one``."""
    return web.Response(text="o\n", headers={"Set-Cookie": "JSESSIONID=one; path=/"})


def answers(statuses: Iterable[int]) -> Any:
    """``xhr_send``, with these statuses in turn."""
    turns = iter(statuses)

    async def answer(request: web.Request) -> web.Response:
        assert await request.read() == b"[]"
        return web.Response(status=next(turns))

    return answer


async def by_cookie(request: web.Request) -> web.Response:
    """``xhr_send``, of a load balancer that knows a client by its cookie."""
    return web.Response(status=204 if request.cookies.get("JSESSIONID") == "one" else 404)


async def affinity_of(send: Any, open_by: Any = opens, **wishes: Any) -> Finding:
    async with other_server(xhr=open_by, xhr_send=send) as url, Network(settings(url, **wishes)) as network:
        return (await findings_of(network, Place(URL(url), URL(url), True, False, None, "")))[0]


async def findings_of(network: Network, place: Place) -> list[Finding]:
    """The last is that of the check itself."""
    findings = await check_affinity(network, place)
    assert [one.check for one in findings] in (["affinity"], ["xhr_send", "affinity"])
    assert len(findings) == 1 or findings[1].status is Status.SKIPPED
    return findings


async def test_one_server_is_reached_by_all_and_its_handler_hears_nothing() -> None:
    handler = RecordingHandler()
    async with chat(handler) as url, place_of(url, connections=5) as (network, place):
        (found,) = await findings_of(network, place)
    assert (found.status, found.figures["found"]) == (Status.OK, 5)
    assert "on_message" not in handler.names()


async def test_turns_between_two_workers_are_no_affinity() -> None:
    found = await affinity_of(answers(itertools.cycle([404, 204])))
    assert found.cause is Cause.NO_AFFINITY
    assert (found.figures["found"], found.figures["lost"]) == (4, 4)
    assert "4 of 8" in found.verdict


async def test_one_lost_connection_is_enough() -> None:
    found = await affinity_of(answers([204, 204, 404]), connections=3)
    assert found.cause is Cause.NO_AFFINITY


async def test_no_send_that_finds_its_session_is_no_affinity_either() -> None:
    assert (await affinity_of(answers(itertools.repeat(404)))).cause is Cause.NO_AFFINITY


async def test_affinity_by_the_cookie_is_said() -> None:
    found = await affinity_of(by_cookie)
    assert found.status is Status.OK
    assert found.verdict.endswith("by the cookie")
    assert found.figures["lost_without_cookies"] == 8


async def test_affinity_by_the_cookie_is_little_to_pages_of_another_site() -> None:
    found = await affinity_of(by_cookie, origin=PAGE)
    assert (found.status, found.cause) == (Status.WARNING, Cause.AFFINITY_BY_COOKIE)


@pytest.mark.parametrize("statuses", [[502] * 8, [204, 502, 204, 404, 204, 204, 204, 204]])
async def test_another_answer_is_told(statuses: list[int]) -> None:
    found = await affinity_of(answers(statuses))
    assert (found.check, found.cause, found.figures["status"]) == ("xhr_send", Cause.REFUSED, 502)
    assert f"{statuses.count(502)} of 8 sends (POST) were answered 502" in found.verdict
    assert "xhr (POST) opens sessions" in found.verdict


async def test_a_server_that_wants_messages_has_the_session() -> None:
    """Some answer "Payload expected." to an empty array."""
    assert (await affinity_of(answers(itertools.repeat(500)))).status is Status.OK


async def test_sends_without_an_answer_are_told() -> None:
    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    found = await affinity_of(cut)
    assert (found.check, found.cause) == ("xhr_send", Cause.CUT)
    assert "8 of 8 sends (POST) got no answer" in found.verdict


@pytest.mark.parametrize(("status", "text"), [(404, ""), (200, "<html>"), (401, "o\n")])
async def test_nothing_is_said_where_no_session_opens(status: int, text: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    assert (await affinity_of(by_cookie, answer)).status is Status.SKIPPED
