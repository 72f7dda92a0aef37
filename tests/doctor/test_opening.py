from __future__ import annotations

import itertools
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from sockbridge.doctor.findings import Cause, Finding, Status
from sockbridge.doctor.opening import OPENINGS, check_opening
from sockbridge.doctor.probe import Network
from sockbridge.doctor.reach import Place

from ..fakes import serve
from .conftest import chat, hold, other_server, place_of, settings

STREAMS = [name for name, opening in OPENINGS.items() if opening.goes_on]


async def opening_of(name: str, answer: Any, **answers: Any) -> Finding:
    """What is found where ``answer`` answers."""
    async with other_server(**{name: answer, **answers}) as url:
        network = Network(settings(url, timeout=0.3))
        async with network:
            return await check_opening(network, Place(URL(url), URL(url), True, False, None, ""), name)


@pytest.mark.parametrize("name", OPENINGS)
async def test_each_transport_of_ours_opens(name: str) -> None:
    async with chat(allowed_origins="*") as url, place_of(url) as (network, place):
        found = await check_opening(network, place, name)
        assert found.status is Status.OK, found
        assert 0 < float(found.figures["head_seconds"]) <= float(found.figures["open_seconds"])


@pytest.mark.parametrize("name", STREAMS)
async def test_an_answer_that_ends_with_its_first_frame_is_a_short_stream(name: str) -> None:
    async with chat(response_limit=1) as url, place_of(url) as (network, place):
        assert (await check_opening(network, place, name)).cause is Cause.SHORT_STREAMS


@pytest.mark.parametrize("name", STREAMS)
async def test_an_answer_that_does_not_come_while_its_session_is_open_is_buffered(name: str) -> None:
    async def second(request: web.Request) -> web.Response:
        return web.Response(text='c[2010,"Another connection still open"]\n')

    found = await opening_of(name, hold, xhr=second)
    assert found.cause is Cause.BUFFERED
    assert "came nothing" in found.verdict


async def test_what_came_of_a_buffered_answer_is_measured() -> None:
    async def begin(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": "identity"})
        await response.prepare(request)
        await response.write(b"h" * 1000)
        await hold(request)
        return response

    async def second(request: web.Request) -> web.Response:
        return web.Response(text='c[2010,"Another connection still open"]\n')

    found = await opening_of("xhr_streaming", begin, xhr=second)
    assert found.cause is Cause.BUFFERED
    assert found.figures["received_bytes"] == 1000


@pytest.mark.parametrize("name", OPENINGS)
async def test_an_answer_that_does_not_come_and_no_session_is_something_else(name: str) -> None:
    found = await opening_of(name, hold)
    assert found.cause is Cause.NO_ANSWER


@pytest.mark.parametrize("name", OPENINGS)
@pytest.mark.parametrize("said", ["", "<html>Please log in</html>", "a[]\n", "ok\n", "x" * 100_000])
async def test_another_answer_is_not_sockjs(name: str, said: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=said)

    found = await opening_of(name, answer)
    assert (found.status, found.cause) == (Status.FAULT, Cause.NOT_SOCKJS)
    assert len(found.verdict) < 300


@pytest.mark.parametrize("name", OPENINGS)
async def test_a_plain_404_says_that_it_is_not_served(name: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    found = await opening_of(name, answer)
    assert found.status is Status.SKIPPED
    assert "not served, or blocked on the way" in found.verdict


async def wall(request: web.Request) -> web.Response:
    return web.Response(status=404, text="<title>404 Not Found</title>", content_type="text/html")


@pytest.mark.parametrize("name", ["eventsource", "htmlfile"])
async def test_a_404_unlike_the_server_s_own_is_a_warning(name: str) -> None:
    found = await opening_of(name, wall)
    assert (found.status, found.cause) == (Status.WARNING, Cause.BLOCKED)
    assert found.verdict.startswith("404 (Not Found)")
    assert found.verdict.endswith("for a transport that nobody has, Content-Type is 'text/plain; charset=utf-8'")


async def test_jsonp_may_be_blocked_on_purpose() -> None:
    assert (await opening_of("jsonp", wall)).status is Status.SKIPPED


async def test_a_404_that_names_what_was_asked_for_is_like_another() -> None:
    async with missing(lambda request: f"Cannot GET {request.path}") as found:
        assert found.status is Status.SKIPPED


async def test_a_404_that_differs_each_time_proves_nothing() -> None:
    numbers = itertools.count()
    async with missing(lambda request: f"404, request {next(numbers)}") as found:
        assert found.status is Status.SKIPPED


async def test_a_server_that_leaves_meanwhile_proves_nothing() -> None:
    def leave(request: web.Request) -> str:
        if not request.path.endswith("/eventsource"):
            assert request.transport is not None
            request.transport.abort()
        return "404"

    async with missing(leave) as found:
        assert found.status is Status.SKIPPED


@asynccontextmanager
async def missing(text: Callable[[web.Request], str]) -> AsyncIterator[Finding]:
    """What is found of eventsource where everything is 404 with ``text``."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=404, text=text(request))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serve(app) as url, Network(settings(url)) as network:
        yield await check_opening(network, Place(URL(url), URL(url), True, False, None, ""), "eventsource")


@pytest.mark.parametrize("status", [301, 400, 401, 403, 500, 502, 503])
async def test_a_refusal_is_told_with_who_said_it(status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text="No.", headers={"Server": "wall"})

    found = await opening_of("xhr", answer)
    assert found.cause is Cause.REFUSED
    assert f"POST was answered {status} (No.) by wall" in found.verdict
    assert found.figures["status"] == status


async def test_a_page_with_404_is_a_refusal_where_all_servers_have_the_transport() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=404, text="<title>404 Not Found</title>", content_type="text/html")

    assert (await opening_of("xhr_streaming", answer)).cause is Cause.REFUSED


async def test_a_compressed_stream_is_a_warning() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
        await response.prepare(request)
        packer = zlib.compressobj(wbits=31)
        await response.write(packer.compress(b"\r\ndata: o\r\n\r\n") + packer.flush(zlib.Z_SYNC_FLUSH))
        await hold(request)
        return response

    found = await opening_of("eventsource", answer)
    assert (found.status, found.cause) == (Status.WARNING, Cause.COMPRESSED)


async def test_an_answer_that_is_cut_is_a_fault() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"hhh")
        assert request.transport is not None
        request.transport.abort()
        return response

    found = await opening_of("xhr_streaming", answer)
    assert found.cause is Cause.CUT


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("xhr", 'c[1012,"Service restart"]\n'),
        ("xhr_streaming", "h" * 2048 + '\nc[1012,"Service restart"]\n'),
        ("eventsource", '\r\ndata: c[1012,"Service restart"]\r\n\r\n'),
        ("htmlfile", '<script>\np("c[1012,\\"Service restart\\"]");\n</script>\r\n'),
        ("jsonp", '/**/call("c[1012,\\"Service restart\\"]");\r\n'),
    ],
)
async def test_a_session_that_is_ended_at_once_says_why(name: str, said: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=said)

    found = await opening_of(name, answer)
    assert found.cause is Cause.SESSION_CLOSED
    assert "Service restart" in found.verdict


async def test_a_second_receiver_without_an_answer_proves_nothing() -> None:
    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    assert (await opening_of("eventsource", hold, xhr=cut)).cause is Cause.NO_ANSWER
