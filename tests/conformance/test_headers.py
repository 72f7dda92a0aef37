"""Section 2: headers that many answers share: caching, CORS, cookies, content types."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from .conftest import RECEIVERS, Head, Wire

NO_CACHE = "no-store, no-cache, no-transform, must-revalidate, max-age=0"
CORS_URLS = {
    "info": ("GET", "/info"),
    "xhr": ("POST", "/000/{id}/xhr"),
    "xhr_streaming": ("POST", "/000/{id}/xhr_streaming"),
    "xhr_send": ("POST", "/000/{id}/xhr_send"),
    "eventsource": ("GET", "/000/{id}/eventsource"),
}
CONTENT_TYPES = {
    "greeting": "text/plain;charset=UTF-8",
    "info": "application/json;charset=UTF-8",
    "iframe": "text/html;charset=UTF-8",
    "xhr": "application/javascript;charset=UTF-8",
    "xhr_streaming": "application/javascript;charset=UTF-8",
    "eventsource": "text/event-stream",
    "htmlfile": "text/html;charset=UTF-8",
    "jsonp": "application/javascript;charset=UTF-8",
    "xhr_send": "text/plain;charset=UTF-8",
    "jsonp_send": "text/plain;charset=UTF-8",
}


async def ask(wire: Wire, name: str, headers: dict[str, str] | None = None, base: str = "/echo") -> Head:
    """The head of a good answer of the URL called ``name``."""
    pages = {"greeting": "", "info": "/info", "iframe": "/iframe.html"}
    if name in pages:
        return await wire.request("GET", base + pages[name], headers=headers)
    connection = await wire.connect()
    if name in RECEIVERS:
        method, end = RECEIVERS[name]
        await connection.ask(method, f"{wire.new(base)}/{end}", headers=headers)
    else:
        await connection.ask("POST", f"{await wire.open(base)}/{name}", b'["a"]', headers)
    return await connection.head()


async def preflight(wire: Wire, name: str, headers: dict[str, str] | None = None, base: str = "/echo") -> Head:
    method, path = CORS_URLS[name]
    defaults = {"Origin": "http://page.example", "Access-Control-Request-Method": method}
    answer = await wire.request("OPTIONS", base + path.format(id="never"), headers=defaults | (headers or {}))
    assert answer.status == 204
    assert answer.body == b""
    return answer


def assert_long_cache(head: Head) -> None:
    parts = head.headers["Cache-Control"].replace(" ", "").split(",")
    assert "public" in parts
    assert any(part.startswith("max-age=") and len(part) >= len("max-age=1000000") for part in parts)
    assert parsedate_to_datetime(head.headers["Expires"]) is not None
    assert "Last-Modified" not in head.headers


@pytest.mark.parametrize("name", [name for name in CONTENT_TYPES if name not in ("greeting", "iframe")])
async def test_answers_of_the_moment_may_not_be_cached(wire: Wire, name: str) -> None:
    """Rule 2.1."""
    head = await ask(wire, name)
    assert head.headers.getall("Cache-Control") == [NO_CACHE]
    assert "Expires" not in head.headers
    assert "Last-Modified" not in head.headers


@pytest.mark.parametrize("name", CORS_URLS)
async def test_a_preflight_answer_may_be_kept_for_long(wire: Wire, name: str) -> None:
    """Rule 2.2."""
    head = await preflight(wire, name)
    assert_long_cache(head)
    assert int(head.headers["Access-Control-Max-Age"]) > 1_000_000


async def test_the_iframe_page_may_be_kept_for_long(wire: Wire) -> None:
    """Rule 2.2."""
    assert_long_cache(await ask(wire, "iframe"))


@pytest.mark.parametrize("origin", ["http://page.example", "https://page.example:8443", "null", "chrome-extension://x"])
@pytest.mark.parametrize("name", CORS_URLS)
async def test_the_asking_origin_is_named_and_given_credentials(wire: Wire, name: str, origin: str) -> None:
    """Rules 2.3 and 2.4."""
    for head in (await ask(wire, name, {"Origin": origin}), await preflight(wire, name, {"Origin": origin})):
        assert head.headers.getall("Access-Control-Allow-Origin") == [origin]
        assert head.headers.getall("Access-Control-Allow-Credentials") == ["true"]


@pytest.mark.parametrize("name", CORS_URLS)
async def test_without_an_origin_everyone_may_read_but_without_credentials(wire: Wire, name: str) -> None:
    """Rule 2.5."""
    head = await ask(wire, name)
    assert head.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in head.headers


@pytest.mark.parametrize("name", CORS_URLS)
async def test_requested_headers_are_allowed_as_they_were_written(wire: Wire, name: str) -> None:
    """Rule 2.6."""
    for wanted in ("a, b, c", "x-one,X-Two"):
        head = await preflight(wire, name, {"Access-Control-Request-Headers": wanted})
        assert head.headers["Access-Control-Allow-Headers"] == wanted
    head = await ask(wire, name, {"Origin": "http://page.example", "Access-Control-Request-Headers": "a, b, c"})
    assert head.headers["Access-Control-Allow-Headers"] == "a, b, c"


@pytest.mark.parametrize("headers", [{}, {"Access-Control-Request-Headers": ""}])
@pytest.mark.parametrize("name", CORS_URLS)
async def test_no_requested_headers_no_allowed_headers(wire: Wire, name: str, headers: dict[str, str]) -> None:
    """Rule 2.6."""
    assert "Access-Control-Allow-Headers" not in (await preflight(wire, name, headers)).headers


@pytest.mark.parametrize("name", CORS_URLS)
async def test_caches_are_told_that_the_origin_matters(wire: Wire, name: str) -> None:
    """Rule 2.7."""
    assert (await ask(wire, name)).headers["Vary"] == "Origin"
    assert (await ask(wire, name, {"Origin": "http://page.example"})).headers["Vary"] == "Origin"
    assert (await preflight(wire, name)).headers["Vary"] == "Origin"


@pytest.mark.parametrize("asked", ["GET", "POST", "OPTIONS, POST", "DELETE", ""])
@pytest.mark.parametrize("name", CORS_URLS)
async def test_a_preflight_names_the_methods_whatever_was_asked(wire: Wire, name: str, asked: str) -> None:
    """Rule 2.8."""
    head = await preflight(wire, name, {"Access-Control-Request-Method": asked})
    assert set(head.headers["Access-Control-Allow-Methods"].split(", ")) == {"OPTIONS", CORS_URLS[name][0]}


async def test_a_preflight_makes_no_session(wire: Wire) -> None:
    """Rule 2.8."""
    await preflight(wire, "xhr")
    assert (await wire.request("POST", "/echo/000/never/xhr_send", b'["a"]')).status == 404


@pytest.mark.parametrize("name", [*RECEIVERS, "xhr_send", "jsonp_send"])
async def test_the_session_cookie_is_set_or_handed_back(wire: Wire, name: str) -> None:
    """Rules 2.9 and 2.10."""
    head = await ask(wire, name, base="/cookie_needed_echo")
    assert head.headers.getall("Set-Cookie") == ["JSESSIONID=dummy; path=/"]
    head = await ask(wire, name, {"Cookie": "other=1; JSESSIONID=abcdef"}, base="/cookie_needed_echo")
    assert head.headers.getall("Set-Cookie") == ["JSESSIONID=abcdef; path=/"]


@pytest.mark.parametrize("name", [name for name in CORS_URLS if name != "info"])
async def test_a_preflight_sets_the_session_cookie_too(wire: Wire, name: str) -> None:
    """Rule 2.9."""
    head = await preflight(wire, name, base="/cookie_needed_echo")
    assert head.headers["Set-Cookie"] == "JSESSIONID=dummy; path=/"


@pytest.mark.parametrize("cookie", ["JSESSIONID=", "JSESSIONID=a b", 'JSESSIONID="a; Domain=evil.example"', "=;;"])
async def test_an_odd_cookie_gains_nothing(wire: Wire, cookie: str) -> None:
    """Rule 2.10."""
    head = await ask(wire, "xhr", {"Cookie": cookie}, base="/cookie_needed_echo")
    value, _, attributes = head.headers["Set-Cookie"].partition(";")
    assert value.startswith("JSESSIONID=")
    assert attributes.strip() == "path=/"


@pytest.mark.parametrize("name", ["greeting", "info", "iframe"])
async def test_pages_without_a_session_set_no_cookie(wire: Wire, name: str) -> None:
    """Rule 2.11."""
    head = await ask(wire, name, {"Cookie": "JSESSIONID=abcdef"}, base="/cookie_needed_echo")
    assert "Set-Cookie" not in head.headers


async def test_a_websocket_sets_no_cookie(wire: Wire) -> None:
    """Rule 2.11."""
    connection = await wire.connect()
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Cookie": "JSESSIONID=abcdef",
    }
    await connection.ask("GET", wire.new("/cookie_needed_echo") + "/websocket", headers=headers)
    head = await connection.head()
    assert head.status == 101
    assert "Set-Cookie" not in head.headers


@pytest.mark.parametrize("name", [*RECEIVERS, "xhr_send", "jsonp_send"])
async def test_no_cookie_unless_the_endpoint_wants_it(wire: Wire, name: str) -> None:
    """Rule 2.12."""
    head = await ask(wire, name, {"Cookie": "JSESSIONID=abcdef"}, base="/plain")
    assert "Set-Cookie" not in head.headers


@pytest.mark.parametrize("name", CONTENT_TYPES)
async def test_every_answer_has_its_content_type(wire: Wire, name: str) -> None:
    """Rule 2.13."""
    head = await ask(wire, name)
    assert head.headers["Content-Type"].replace(" ", "") == CONTENT_TYPES[name]


@pytest.mark.parametrize(("body", "status"), [(b'["a"]', 404), (b"", 500), (b"[", 500)])
async def test_the_asking_page_may_read_errors(wire: Wire, body: bytes, status: int) -> None:
    """Rule 2.14."""
    answer = await wire.request("POST", wire.new() + "/xhr_send", body, {"Origin": "http://page.example"})
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == "http://page.example"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
