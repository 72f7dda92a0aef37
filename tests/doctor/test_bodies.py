from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from sockbridge.doctor.bodies import blank_body, check_large_body
from sockbridge.doctor.findings import Cause, Finding, Status
from sockbridge.doctor.probe import Network
from sockbridge.doctor.reach import Place

from ..fakes import RecordingHandler
from .conftest import chat, other_server, place_of, settings

KIB = 1024


def takes(limit: int, refusal: int = 413, taken: int = 204) -> Any:
    async def answer(request: web.Request) -> web.Response:
        size = len(await request.read())
        return web.Response(status=taken if size <= limit else refusal, text="")

    return answer


async def body_at(send: Any, **wishes: Any) -> Finding:
    async def opens(request: web.Request) -> web.Response:
        return web.Response(text="o\n")

    async with other_server(xhr=opens, xhr_send=send) as url, Network(settings(url, **wishes)) as network:
        return await check_large_body(network, Place(URL(url), URL(url), True, False, None, ""))


@pytest.mark.parametrize("size", [2, 3, 1000])
def test_a_body_of_any_size_holds_nothing(size: int) -> None:
    body = blank_body(size)
    assert len(body) == size
    assert json.loads(body) == []


async def test_ours_takes_its_default_and_its_handler_hears_nothing() -> None:
    handler = RecordingHandler()
    async with chat(handler) as url, place_of(url) as (network, place):
        found = await check_large_body(network, place)
    assert (found.status, found.figures) == (Status.OK, {"size_bytes": 256 * KIB})
    assert "on_message" not in handler.names()


async def test_a_limit_of_our_own_is_a_fault_only_where_the_size_was_asked_for() -> None:
    async with chat(max_message_size=10_000) as url:
        async with place_of(url) as (network, place):
            found = await check_large_body(network, place)
            assert (found.status, found.figures["server_limit_bytes"]) == (Status.OK, 10_000)
        async with place_of(url, large=10_001) as (network, place):
            assert (await check_large_body(network, place)).cause is Cause.MESSAGE_LIMIT
        async with place_of(url, large=10_000) as (network, place):
            assert (await check_large_body(network, place)).status is Status.OK


@pytest.mark.parametrize(
    ("limit", "passing"), [(16 * KIB, 16 * KIB), (100_000, 64 * KIB), (1024, 1024), (1023, 0), (2, 0)]
)
async def test_a_limit_on_the_way_is_measured(limit: int, passing: int) -> None:
    found = await body_at(takes(limit))
    assert found.cause is Cause.BODY_LIMIT
    assert found.figures == {"size_bytes": 256 * KIB, "passing_bytes": passing}


async def test_a_connection_that_is_cut_by_a_large_body_is_a_limit_as_well() -> None:
    async def answer(request: web.Request) -> web.Response:
        if (request.content_length or 0) > 5000:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=204)

    assert (await body_at(answer)).cause is Cause.BODY_LIMIT


@pytest.mark.parametrize("taken", [200, 204, 404, 500])
async def test_any_answer_of_the_server_shows_that_it_was_reached(taken: int) -> None:
    """404: another worker; 500: a server that wants messages."""
    assert (await body_at(takes(10**9, taken=taken))).status is Status.OK


async def test_nothing_is_said_where_no_send_passes() -> None:
    found = await body_at(takes(0, refusal=403))
    assert found.status is Status.SKIPPED
    assert "403" in found.verdict
