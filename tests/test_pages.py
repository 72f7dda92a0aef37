"""The URLs without a session: greeting, info, iframe page."""

from __future__ import annotations

import json

import pytest

from .transports.wire import echo_server, fetch


async def test_the_greeting_is_the_same_with_and_without_a_slash() -> None:
    """sockjs-protocol, "Greeting url"."""
    async with echo_server(jsessionid=True) as (url, _, _):
        for target in (url, f"{url}/"):
            head, body = await fetch(target)
            assert (head.status, body) == (200, b"Welcome to SockJS!\n")
            assert head.headers["Content-Type"] == "text/plain; charset=UTF-8"
            assert "Set-Cookie" not in head.headers


@pytest.mark.parametrize(("path", "allowed"), [("", "GET"), ("/iframe.html", "GET"), ("/info", "OPTIONS, GET")])
async def test_other_methods_are_answered_405(path: str, allowed: str) -> None:
    async with echo_server() as (url, _, _):
        for method in ("POST", "PUT"):
            head, body = await fetch(url + path, method)
            assert (head.status, head.headers["Allow"], body) == (405, allowed, b"")


async def test_the_info_says_what_the_options_say() -> None:
    options = {"jsessionid": True, "websocket": False, "base_url": "https://cdn.example/echo"}
    async with echo_server(**options) as (url, _, _):
        head, body = await fetch(f"{url}/info")
        info = json.loads(body)
        assert 0 <= info.pop("entropy") < 2**32
        assert info == {
            "websocket": False,
            "cookie_needed": True,
            "origins": ["*:*"],
            "base_url": "https://cdn.example/echo",
        }
        assert "Set-Cookie" not in head.headers
        assert head.headers["Cache-Control"] == "no-store, no-cache, no-transform, must-revalidate, max-age=0"


async def test_the_info_has_new_entropy_each_time() -> None:
    async with echo_server() as (url, _, _):
        seen = {json.loads((await fetch(f"{url}/info"))[1])["entropy"] for _ in range(5)}
        assert len(seen) > 1


async def test_the_info_may_be_asked_for_by_a_preflight() -> None:
    async with echo_server() as (url, _, _):
        head, body = await fetch(f"{url}/info", "OPTIONS", headers={"Origin": "https://a.example"})
        assert (head.status, body) == (204, b"")
        assert head.headers["Access-Control-Allow-Methods"] == "OPTIONS, GET"
        assert head.headers["Access-Control-Allow-Origin"] == "https://a.example"


async def test_the_iframe_page_is_kept_by_browsers() -> None:
    """sockjs-protocol, "IframePage": one page for all names, a year of caching, an ETag that means something."""
    async with echo_server(client_url="/sockjs.js") as (url, _, _):
        head, page = await fetch(f"{url}/iframe.html")
        assert len(page) == 419
        assert b'<script src="/sockjs.js"></script>' in page
        assert "public" in head.headers["Cache-Control"]
        tag = head.headers["ETag"]
        for name in ("iframe-a.html", "iframe-.html", "iframe-0.1.2abc-dirty.2144.html?t=qweqweq123"):
            again, same = await fetch(f"{url}/{name}")
            assert (again.headers["ETag"], same) == (tag, page)
        for known, status in ((tag, 304), (f'"x", {tag}', 304), (f"W/{tag}", 304), ("*", 304), ('"x"', 200)):
            head, body = await fetch(f"{url}/iframe.html", headers={"If-None-Match": known})
            assert head.status == status, known
            if status == 304:
                assert body == b""
                assert "Content-Type" not in head.headers


@pytest.mark.parametrize("name", ["iframe", "iframe.htm", "IFRAME.HTML", "iframe.HTML", "iframe.xml", "iframe-/.html"])
async def test_other_names_are_no_iframe_page(name: str) -> None:
    async with echo_server() as (url, _, _):
        assert (await fetch(f"{url}/{name}"))[0].status == 404
