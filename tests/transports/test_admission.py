"""Who may come in: origins, what a proxy says of them, principals, owners."""

from __future__ import annotations

import logging

import pytest
from aiohttp import web

from .wire import ALL, HTTP, Client, Wire, connected, echo_server, fetch

OWN = "http://chat.example"


async def status_of(url: str, headers: dict[str, str], path: str = "/info") -> int:
    head, _ = await fetch(url + path, headers={"Host": "chat.example", **headers})
    if head.status != 403:
        assert head.headers["Access-Control-Allow-Origin"] == headers["Origin"]
        assert head.headers["Access-Control-Allow-Credentials"] == "true"
    assert head.headers["Vary"] == "Origin"
    return head.status


# Origins.


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://chat.example", 200),
        ("HTTP://CHAT.example", 200),
        ("https://chat.example", 403),
        ("http://chat.example:8080", 403),
        ("http://chat.example.evil.com", 403),
        ("http://other.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
async def test_by_default_only_the_own_origin_may_connect(origin: str, status: int) -> None:
    async with echo_server(allowed_origins=None) as (url, _, _):
        assert await status_of(url, {"Origin": origin}) == status


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("chat.example:80", "http://chat.example", 200),
        ("chat.example:8080", "http://chat.example:8080", 200),
        ("CHAT.example:8080", "http://chat.example:8080", 200),
        ("chat.example:8080", "http://chat.example", 403),
        ("chat.example:443", "http://chat.example", 403),
        ("[::1]:8080", "http://[::1]:8080", 200),
    ],
)
async def test_the_own_origin_has_the_port_that_the_client_used(host: str, origin: str, status: int) -> None:
    async with echo_server(allowed_origins=None) as (url, _, _):
        assert await status_of(url, {"Host": host, "Origin": origin}) == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://app.example.org", 200),
        ("https://APP.example.org", 200),
        ("https://a.b.example.org", 200),
        ("https://evil-example.org", 403),
        ("https://example.org.evil.com", 403),
        ("https://app.example.org.evil.com", 403),
        ("https://example.org", 403),
        ("http://app.example.org", 403),
        ("https://app.example.org:444", 403),
        ("https://.example.org", 403),
        ("https://evil.com/.example.org", 403),
        ("https://evil.com#.example.org", 403),
        ("https://evil.com\\.example.org", 403),
        ("https://evil.com:80@.example.org", 403),
        ("https://appXexample.org", 403),
        ("http://listed.example:8080", 200),
        ("http://listed.example", 403),
        ("http://chat.example", 200),
        ("null", 403),
    ],
)
async def test_a_list_adds_origins_and_patterns_to_the_own_one(origin: str, status: int) -> None:
    """The star stands for whole labels of a host name."""
    allowed = ["https://*.example.org", "http://Listed.example:8080"]
    async with echo_server(allowed_origins=allowed) as (url, _, _):
        assert await status_of(url, {"Origin": origin}) == status


async def test_null_is_an_origin_only_where_it_is_listed() -> None:
    """Sandboxed frames and local files have it."""
    async with echo_server(allowed_origins=["null"]) as (url, _, _):
        assert await status_of(url, {"Origin": "null"}) == 200
        assert await status_of(url, {"Origin": "http://other.example"}) == 403
    async with echo_server(allowed_origins="*") as (url, _, _):
        assert await status_of(url, {"Origin": "null"}) == 200


@pytest.mark.parametrize("name", ALL)
async def test_every_transport_refuses_other_origins(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The websocket handshake included; no session is opened."""
    async with echo_server(allowed_origins=None) as (url, endpoint, handler):
        client = Client(url, name, headers={"Origin": "https://evil.com"})
        await client.begin()
        head = client.wire.head or await client.wire.read_head()
        assert head.status == (404 if name == "jsonp" else 403)
        await client.close()
        assert len(endpoint) == 0
        assert handler.names() == ["on_start"]
    assert len([line for line in caplog.messages if "allowed_origins" in line]) == (0 if name == "jsonp" else 1)


@pytest.mark.parametrize("name", [name for name in ALL if name != "jsonp"])
async def test_every_transport_serves_its_own_origin(name: str) -> None:
    async with echo_server(allowed_origins=None) as (url, _, _):
        base = url.removesuffix("/echo")
        async with connected(url, name, headers={"Origin": base}) as (client,):
            await client.send("x")
            assert await client.messages() == ["x"]


async def test_a_send_request_of_another_origin_is_refused() -> None:
    async with echo_server(allowed_origins=None) as (url, _, handler), connected(url, "xhr") as (client,):
        head, _ = await client.post(b'["x"]', {"Origin": "https://evil.com"})
        assert head.status == 403
        assert "Access-Control-Allow-Origin" not in head.headers
        assert "on_message" not in handler.names()


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200), (None, 200)]
)
async def test_embedding_from_another_site_is_refused_where_the_browser_tells(site: str | None, status: int) -> None:
    """A page that is embedded in a frame sends no Origin, but ``Sec-Fetch-Site``."""
    headers = {"Sec-Fetch-Site": site} if site else {}
    async with echo_server(allowed_origins=None) as (url, _, _):
        client = Client(url, "htmlfile", headers=headers)
        head = await client.begin()
        assert head is not None
        assert head.status == status
        await client.close()


async def test_jsonp_is_there_only_where_every_origin_is_allowed() -> None:
    for allowed, status in ((None, 404), (["https://a.example"], 404), ("*", 200)):
        async with echo_server(allowed_origins=allowed) as (url, _, _):
            head, _ = await fetch(f"{url}/000/x/jsonp?c=x")
            assert head.status == status
            head, _ = await fetch(f"{url}/000/x/jsonp_send", "POST", b"[]")
            assert head.status == status


@pytest.mark.parametrize(
    ("allowed", "policy"),
    [
        (None, "frame-ancestors 'self'"),
        (["https://*.a.example", "null"], "frame-ancestors 'self' https://*.a.example"),
        ("*", None),
    ],
)
async def test_pages_say_who_may_embed_them(allowed: object, policy: str | None) -> None:
    async with echo_server(allowed_origins=allowed) as (url, _, _):
        head, _ = await fetch(f"{url}/iframe.html")
        assert head.headers.get("Content-Security-Policy") == policy
        client = Client(url, "htmlfile")
        page = await client.begin()
        assert page is not None
        assert page.headers.get("Content-Security-Policy") == policy
        await client.close()


# Behind a proxy.


@pytest.mark.parametrize(
    ("forwarded", "headers"),
    [
        (True, {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "public.example"}),
        (True, {"X-Forwarded-Proto": "HTTPS", "X-Forwarded-Host": "PUBLIC.example:443"}),
        (True, {"X-Forwarded-Proto": "http, https", "X-Forwarded-Host": "evil.com, public.example"}),
        (True, {"Host": "public.example", "X-Forwarded-Proto": "https"}),
        (True, {"Host": "public.example:443", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.com"}),
        ("rfc7239", {"Forwarded": "for=10.0.0.1;proto=https;host=public.example"}),
        ("rfc7239", {"Forwarded": "for=evil;host=evil.com, for=10.0.0.1;proto=https;host=public.example"}),
        ("rfc7239", {"Forwarded": "proto=https", "Host": "public.example", "X-Forwarded-Host": "evil.com"}),
    ],
)
async def test_only_the_headers_that_are_trusted_count(forwarded: bool | str, headers: dict[str, str]) -> None:
    """The kind that the option names, and of a list the last value, which our own proxy wrote."""
    origin = {"Origin": "https://public.example"}
    async with echo_server(allowed_origins=None, forwarded=forwarded) as (url, _, _):
        assert await status_of(url, {**headers, **origin}) == 200
        assert await status_of(url, {**headers, "Origin": "https://evil.com"}) == 403
    async with echo_server(allowed_origins=None) as (url, _, _):
        assert await status_of(url, {**headers, **origin}) == 403


@pytest.mark.parametrize(
    ("forwarded", "headers"),
    [
        ("rfc7239", {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "public.example"}),
        (True, {"Forwarded": "proto=https;host=public.example"}),
    ],
)
async def test_the_other_kind_of_header_is_not_read(forwarded: bool | str, headers: dict[str, str]) -> None:
    """The proxy passes it on as the client wrote it."""
    async with echo_server(allowed_origins=None, forwarded=forwarded) as (url, _, _):
        assert await status_of(url, {**headers, "Origin": "https://public.example"}) == 403


async def test_the_handshake_tells_what_the_client_saw() -> None:
    headers = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "public.example",
        "X-Forwarded-For": "192.0.2.9, 192.0.2.1",
        "Cookie": "a=1; b=2",
    }
    for forwarded, remote in ((True, "192.0.2.1"), (False, "127.0.0.1")):
        async with (
            echo_server(forwarded=forwarded) as (url, endpoint, handler),
            connected(url, "xhr", headers=headers) as (client,),
        ):
            await handler.wait_for("on_connected")
            handshake = next(endpoint.sessions).handshake
            assert handshake.remote == remote
            expected = "https://public.example" if forwarded else url.removesuffix("/echo")
            assert handshake.url == f"{expected}{client.path}/xhr"
            assert handshake.cookies == {"a": "1", "b": "2"}
            assert handshake.principal is None


# Principals.


async def by_cookie(request: web.Request) -> str | None:
    """The user named by the cookie; without a cookie nobody; some are turned away by an exception."""
    user = request.cookies.get("user")
    if user == "banned":
        raise web.HTTPForbidden(text="You are banned.", headers={"X-Why": "spam"})
    return user


@pytest.mark.parametrize("name", ALL)
async def test_nobody_opens_a_session_without_a_principal(name: str) -> None:
    """401, or what ``authenticate`` raises, with CORS headers so that the page can tell."""
    async with echo_server(authenticate=by_cookie) as (url, endpoint, handler):
        for cookie, status in (("", 401), ("user=banned", 403)):
            client = Client(url, name, headers={"Origin": "https://a.example", "Cookie": cookie})
            await client.begin()
            head = client.wire.head or await client.wire.read_head()
            assert head.status == status
            assert head.headers["Access-Control-Allow-Origin"] == "https://a.example"
            assert head.headers["Access-Control-Allow-Credentials"] == "true"
            await client.close()
        assert head.headers["X-Why"] == "spam"
        assert len(endpoint) == 0
        async with connected(url, name, headers={"Cookie": "user=ann"}) as (client,):
            await client.send("x")
            assert await client.messages() == ["x"]
            assert next(endpoint.sessions).handshake.principal == "ann"
        assert handler.names().count("on_connected") == 1


async def test_a_preflight_is_answered_without_authenticating() -> None:
    asked = []

    async def authenticate(request: web.Request) -> None:
        asked.append(request)

    async with echo_server(authenticate=authenticate, allowed_origins=["https://a.example"]) as (url, _, _):
        for name in ("xhr", "xhr_streaming", "xhr_send", "eventsource"):
            head, body = await fetch(
                f"{url}/000/x/{name}",
                "OPTIONS",
                headers={"Origin": "https://a.example", "Access-Control-Request-Headers": "a, b, c"},
            )
            assert (head.status, body) == (204, b"")
            assert head.headers["Access-Control-Allow-Origin"] == "https://a.example"
            assert head.headers["Access-Control-Allow-Headers"] == "a, b, c"
            head, _ = await fetch(f"{url}/000/x/{name}", "OPTIONS", headers={"Origin": "https://evil.com"})
            assert head.status == 403
    assert not asked


@pytest.mark.parametrize("name", HTTP)
async def test_a_session_of_somebody_else_does_not_exist(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither to send nor to receive; 404 as for an unknown one."""
    caplog.set_level(logging.DEBUG)
    async with (
        echo_server(authenticate=by_cookie) as (url, _, handler),
        connected(url, name, headers={"Cookie": "user=ann"}) as (client,),
    ):
        for cookie in ("user=eve", "user=banned", ""):
            head, _ = await client.post(b'["from eve"]', {"Cookie": cookie, "Origin": "https://a.example"})
            assert head.status == 404
            assert head.headers["Access-Control-Allow-Origin"] == "https://a.example"
            thief = Client(url, name, id=client.id, headers={"Cookie": cookie})
            await thief.begin()
            assert (thief.wire.head or await thief.wire.read_head()).status == 404
            await thief.close()
        await client.send("from ann")
        assert await client.messages() == ["from ann"]
        assert handler.values("on_message") == ["from ann"]
        assert client.id not in caplog.text


async def test_the_same_principal_may_come_with_renewed_credentials() -> None:
    """Whoever authenticates as an equal principal is the owner; each request is asked."""
    async with (
        echo_server(authenticate=by_cookie) as (url, _, handler),
        connected(url, "xhr", headers={"Cookie": "user=ann"}) as (client,),
    ):
        for cookie in ("user=ann; token=2", "user=ann; token=3"):
            head, _ = await client.post(b'["renewed"]', {"Cookie": cookie})
            assert head.status == 204
        await handler.wait_for("on_message", 2)


async def test_a_cookie_of_the_load_balancer_goes_back_as_it_came() -> None:
    async with echo_server(jsessionid=True) as (url, _, _):
        for sent, expected in ((None, "dummy"), ("JSESSIONID=abc.node1", "abc.node1")):
            client = Client(url, "xhr", headers={"Cookie": sent} if sent else {})
            await client.begin()
            head = await client.wire.read_head()
            assert head.headers["Set-Cookie"] == f"JSESSIONID={expected}; path=/"
            await client.close()


async def test_an_early_hint_of_the_origin_check_stands_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with echo_server(allowed_origins=None) as (url, _, _):
        wire = await Wire.open(url)
        wire.request("GET", "/echo/info", headers={"Origin": "https://" + "x" * 1000})
        assert (await wire.read_head()).status == 403
        await wire.close()
    (line,) = caplog.messages
    assert "forwarded=True" in line
    assert len(line) < 500
