from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from sockbridge.doctor.examine import examine
from sockbridge.doctor.findings import Status
from sockbridge.errors import ConnectFailed, NotSockJS

from ..fakes import RecordingHandler
from .conftest import RecordedProgress, chat, finding, other_server, report, settings, told

ALWAYS = ["reachable", "info", "greeting"]
AFTER = ["origin", "cookies", "affinity", "large body"]
ALL = ["websocket", "websocket-raw", "xhr_streaming", "eventsource", "htmlfile", "xhr", "jsonp"]


async def info(request: web.Request) -> web.Response:
    return web.json_response({"websocket": True, "entropy": None}, headers={"Cache-Control": "no-store"})


async def test_our_server_gets_a_clean_bill_and_its_handler_hears_nothing() -> None:
    handler = RecordingHandler(echo=True)
    async with chat(handler) as url:
        examined = await report(url)
    assert told(examined) == {}
    assert [one.check for one in examined.findings] == ALWAYS + ALL + AFTER
    assert [one.check for one in examined.findings if one.status is not Status.OK] == ["jsonp"]
    assert examined.url == url
    assert 0 < examined.seconds < 5
    assert handler.values("on_message") == []


async def test_each_check_that_begins_is_told_to_be_done() -> None:
    progress = RecordedProgress()
    async with chat() as url:
        await examine(settings(url, echo=True, idle=0.1), progress)
    assert sorted(progress.started) == sorted(progress.finished)
    assert {"reachable", "xhr", "affinity", "echo websocket", "idle xhr"} <= set(progress.started)


async def test_only_what_is_asked_for_is_examined() -> None:
    async with chat() as url:
        examined = await report(url, transports=("xhr", "websocket"), idle=0.1, echo=True)
    late = ["idle websocket", "idle xhr", "echo websocket", "echo xhr"]
    assert [one.check for one in examined.findings] == [*ALWAYS, "websocket", "xhr", *AFTER, *late]


async def test_what_does_not_open_is_not_held() -> None:
    async with chat(websocket=False) as url:
        examined = await report(url, idle=0.1)
    assert told(examined) == {}
    assert "idle websocket" not in [one.check for one in examined.findings]


async def test_a_login_ends_the_examination() -> None:
    async def authenticate(request: web.Request) -> object | None:
        return request.headers.get("Authorization")

    async with chat(authenticate=authenticate) as url:
        with pytest.raises(ConnectFailed, match=r"answers 401 to every session: pass .*--header"):
            await report(url)
        assert told(await report(url, headers={"Authorization": "me"})) == {}


async def test_a_server_of_which_only_info_is_there_has_a_fault() -> None:
    async with other_server(info=info) as url:
        examined = await report(url, transports=("xhr", "eventsource"))
    assert told(examined)["refused"] == ["transports"]
    assert finding(examined, "affinity").status is Status.SKIPPED


@pytest.mark.parametrize("status", [403, 500, 503])
async def test_a_server_that_refuses_every_session_has_faults(status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status)

    async with other_server(info=info, xhr=answer, websocket=answer) as url:
        found = told(await report(url, transports=("xhr", "websocket")))
    assert found["refused"] == ["xhr"]
    assert found["websocket-refused"] == ["websocket"]


async def opens(request: web.Request) -> web.Response:
    return web.Response(text="\r\ndata: o\r\n\r\n")


async def test_a_method_that_is_refused_is_named() -> None:
    async def forbid(request: web.Request) -> web.Response:
        return web.Response(status=403)

    asked = ("xhr_streaming", "eventsource", "xhr")
    async with other_server(info=info, xhr=forbid, xhr_streaming=forbid, eventsource=opens) as url:
        examined = await report(url, transports=asked)
    assert told(examined)["method-refused"] == ["xhr_streaming", "xhr"]
    assert finding(examined, "xhr").verdict.endswith("; all POST fails, and GET passes (eventsource)")


async def test_one_post_that_is_refused_is_not_the_method() -> None:
    async def forbid(request: web.Request) -> web.Response:
        return web.Response(status=403)

    async def poll(request: web.Request) -> web.Response:
        return web.Response(text="o\n")

    asked = ("xhr_streaming", "eventsource", "xhr")
    async with other_server(info=info, xhr=poll, xhr_streaming=forbid, eventsource=opens) as url:
        assert told(await report(url, transports=asked))["refused"] == ["xhr_streaming"]


async def test_what_is_no_server_is_not_examined() -> None:
    async with other_server() as url:
        with pytest.raises(NotSockJS):
            await report(url)


async def test_a_server_that_stops_meanwhile_leaves_a_report() -> None:
    """Whatever each check meets, it becomes a finding."""
    asked = 0

    async def answer(request: web.Request) -> Any:
        nonlocal asked
        asked += 1
        if asked > 2:
            assert request.transport is not None
            request.transport.abort()
        return await info(request)

    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with other_server(info=answer, xhr=cut, websocket=cut, xhr_streaming=cut) as url:
        examined = await report(url, transports=("xhr", "websocket", "xhr_streaming"), idle=0.1, echo=True)
    assert told(examined)["cut"] == ["websocket", "xhr_streaming", "xhr", "origin"]
