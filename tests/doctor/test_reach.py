from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sockbridge.doctor.findings import Cause, Status
from sockbridge.doctor.reach import printable_age
from sockbridge.errors import ConnectFailed, NotSockJS

from ..proxy.conftest import StartProxy, free_port, snippet
from .conftest import chat, finding, hold, other_server, place_of, report, told

INFO: dict[str, Any] = {"websocket": True, "origins": ["*:*"], "cookie_needed": False, "entropy": 7}


def says(said: object, **headers: str) -> Any:
    """Answers with JSON."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=json.dumps(said), content_type="application/json", headers=headers)

    return answer


async def failure(url: str, **wishes: Any) -> str:
    with pytest.raises(ConnectFailed) as caught:
        await report(url, **wishes)
    return str(caught.value)


# No server at all.


async def test_a_port_where_nothing_listens() -> None:
    assert "nothing listens" in await failure(f"http://127.0.0.1:{free_port()}/chat")


@pytest.mark.proxy
async def test_a_port_that_speaks_tls_alone(nginx: StartProxy, certificate: Path) -> None:
    """nginx answers 400, others cut; whether its certificate is valid is another matter."""
    origin = await nginx(snippet("nginx"), {})
    assert f"It speaks https: try {origin}/chat" in await failure(f"{origin}/chat".replace("https:", "http:"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "chat.crt", certificate / "chat.key")
    runner = web.AppRunner(web.Application())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        address = f"127.0.0.1:{runner.addresses[0][1]}"
        assert f"It speaks https: try https://{address}/chat" in await failure(f"http://{address}/chat")
    finally:
        await runner.cleanup()


async def test_a_host_that_is_not_there() -> None:
    assert "there is no host nowhere.invalid" in await failure("http://nowhere.invalid/chat")


async def test_a_port_that_speaks_no_tls() -> None:
    async with chat() as url:
        assert "speak https" in await failure(url.replace("http:", "https:"))


async def test_a_server_that_does_not_answer() -> None:
    async with other_server(info=hold) as url:
        assert "no answer in time" in await failure(url, timeout=0.05)


@pytest.mark.parametrize(
    "said",
    [
        "<html><title>A \x1b[31mshop</title></html>",
        "",
        "{",
        "null",
        "[]",
        '"websocket"',
        "{}",
        '{"status": "up"}',
        "[" * 100_000,
        "\ufeff{}",
    ],
)
async def test_a_page_that_is_no_info(said: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=said, content_type="text/html")

    async with other_server(info=answer) as url:
        told_of = await failure(url)
        assert "is no SockJS server: /info was answered 200" in told_of
        assert "\x1b" not in told_of
        assert len(told_of) < 400


async def test_an_info_that_is_no_utf_8() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b'{"websocket": "\xff"}')

    async with other_server(info=answer) as url:
        with pytest.raises(NotSockJS):
            await report(url)


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "--header"), (403, "--header"), (503, "is it running"), (404, "prefix")]
)
async def test_a_refusal_brings_a_hint(status: int, hint: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status)

    async with other_server(info=answer) as url:
        assert hint in await failure(url)


async def test_a_server_that_is_near_is_named() -> None:
    async with chat() as url:
        for wrong in (f"{url}/000/session/xhr", f"{url}/info", f"{url}/websocket", url.removesuffix("/chat")):
            assert (await failure(wrong)).endswith(f"There is one at {url}")


# Redirects.


async def test_a_redirect_is_followed_and_said() -> None:
    async with chat() as url:

        async def answer(request: web.Request) -> web.Response:
            raise web.HTTPMovedPermanently(f"{url}/info")

        async with other_server(info=answer) as other:
            examined = await report(other)
            assert told(examined) == {"redirected": ["redirect"]}
            assert url in finding(examined, "redirect").verdict


LONG = f"http://{64 * 'a'}.example"
"""A host with a label that no name may have."""


async def test_what_is_secret_stays_with_its_origin_and_that_is_said() -> None:
    seen: list[str | None] = []

    async def refuse(request: web.Request) -> web.Response:
        seen.append(request.headers.get("X-Key"))
        raise web.HTTPUnauthorized

    async with other_server(info=refuse) as other:

        async def lead_away(request: web.Request) -> web.Response:
            raise web.HTTPFound(f"{other}/info")

        async with other_server(info=lead_away) as url:
            said = await failure(url, headers={"X-Key": "secret"})
    assert set(seen) == {None}
    assert f"was not sent to {other}: give that URL" in said


async def test_that_headers_were_not_sent_is_said_where_it_works_without() -> None:
    async with chat() as url:

        async def answer(request: web.Request) -> web.Response:
            raise web.HTTPMovedPermanently(f"{url}/info")

        async with other_server(info=answer) as other:
            verdict = finding(await report(other, headers={"X-Key": "secret"}), "redirect").verdict
    assert "was not sent" in verdict
    assert "secret" not in verdict


async def test_a_login_in_a_redirect_is_neither_used_nor_shown() -> None:
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        raise web.HTTPFound(f"http://user:secret@{request.host}/elsewhere/info?token=secret")

    async with other_server(info=answer) as url:
        assert "secret" not in await failure(url)
    assert set(seen) == {None}


@pytest.mark.parametrize(
    "target",
    [
        "",
        "ftp://test/info",
        "/login",
        "http://",
        "http://[::1/info",
        "http://a..b/info",
        f"{LONG}/info",
        "http://test:0/info",
        "http://te\u009bst/info",
    ],
)
async def test_a_redirect_to_something_else_leads_nowhere(target: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": target})

    async with other_server(info=answer) as url:
        said = await failure(url)
        assert "leads nowhere" in said or "again and again" in said


async def test_a_circle_of_redirects_ends() -> None:
    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPFound("/info")

    async with other_server(info=answer) as url:
        assert "again and again" in await failure(url)


# What it says of itself.


async def test_our_server_is_reached() -> None:
    async with chat(jsessionid=True, websocket=False) as url, place_of(f"{url}/") as (_, place):
        assert str(place.url) == str(place.base) == url
        assert (place.websocket, place.cookie_needed) == (False, True)
        assert "aiohttp" in place.server


async def test_the_same_entropy_twice_comes_from_a_cache() -> None:
    headers = {"Cache-Control": "no-store", "Age": "12"}
    async with other_server(info=says(INFO, **headers)) as url:
        examined = await report(url)
        assert "info-cached" in told(examined)
        assert "(Age: 12)" in finding(examined, "info").verdict


async def test_an_info_that_caches_may_keep_is_a_warning() -> None:
    async with other_server(info=says({"websocket": True, "entropy": None})) as url:
        examined = await report(url)
        assert "info-cacheable" in told(examined)
        assert finding(examined, "info").status is Status.WARNING


async def test_a_second_info_that_is_none_is_a_fault() -> None:
    answers = iter([says(INFO), says("Please log in")])

    async def answer(request: web.Request) -> web.Response:
        return await next(answers, says(INFO))(request)

    async with other_server(info=answer) as url:
        assert "not-sockjs" in told(await report(url))


async def test_a_second_info_that_does_not_come_is_a_fault() -> None:
    answers = iter([says(INFO | {"entropy": None})])

    async def answer(request: web.Request) -> web.Response:
        said = next(answers, None)
        if said is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        response: web.Response = await said(request)
        return response

    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with other_server(info=answer, root=cut) as url:
        examined = await report(url)
    assert finding(examined, "info").cause is Cause.CUT
    assert finding(examined, "greeting").status is Status.WARNING


async def test_what_is_near_may_give_no_answer() -> None:
    async with other_server(info=hold) as url:
        with pytest.raises(ConnectFailed):
            await report(f"{url}/a", timeout=0.05)


@pytest.mark.parametrize(("age", "shown"), [("12", "12"), ("", "?"), ("\x1b[2J", "?"), ("9" * 20, "?")])
def test_an_age_is_shown_if_it_is_one(age: str, shown: str) -> None:
    assert printable_age(age) == shown


async def test_a_missing_greeting_is_a_warning() -> None:
    async with other_server(info=says(INFO | {"entropy": None})) as url:
        examined = await report(url)
        assert finding(examined, "greeting").status is Status.WARNING
        assert "404" in finding(examined, "greeting").verdict


async def test_transports_are_where_base_url_says() -> None:
    async with chat() as url, other_server(info=says(INFO | {"base_url": f"{url}/"})) as other:
        examined = await report(other)
        assert url in next(one.verdict for one in examined.findings if one.check == "info") or "info-cached" in told(
            examined
        )
        assert finding(examined, "websocket").status is Status.OK


@pytest.mark.parametrize(
    "base_url",
    [
        "ftp://test/",
        "http://[::1",
        "javascript:alert(1)",
        "http://a..b/",
        LONG,
        "http://te\x1bst/",
        "http://user:secret@[::1",
        ["secret"] * 1000,
        {"a": 1},
        5,
    ],
)
async def test_a_base_url_that_is_none(base_url: object) -> None:
    async with other_server(info=says(INFO | {"base_url": base_url})) as url:
        said = await failure(url)
        assert "which is no http URL" in said
        assert "secret@" not in said
        assert said.isprintable()
        assert len(said) < 400


async def test_a_login_in_a_base_url_is_neither_used_nor_shown() -> None:
    said = INFO | {"base_url": "http://user:secret@127.0.0.1:1/x?token=secret"}
    async with other_server(info=says(said)) as url, place_of(url) as (_, place):
        assert str(place.base) == "http://127.0.0.1:1/x"


async def test_a_relative_base_url_is_below_the_server() -> None:
    async with other_server(info=says(INFO | {"base_url": "/elsewhere"})) as url, place_of(url) as (_, place):
        assert str(place.base) == f"{url}/elsewhere"
