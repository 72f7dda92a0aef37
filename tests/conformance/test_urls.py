"""Section 1: which URLs there are, and who answers at them."""

from __future__ import annotations

import pytest

from .conftest import GO_AWAY, Wire

URLS = {
    "": "GET",
    "/": "GET",
    "/info": "OPTIONS, GET",
    "/iframe.html": "GET",
    "/websocket": "GET",
    "/000/id/websocket": "GET",
    "/000/id/xhr": "OPTIONS, POST",
    "/000/id/xhr_streaming": "OPTIONS, POST",
    "/000/id/xhr_send": "OPTIONS, POST",
    "/000/id/eventsource": "OPTIONS, GET",
    "/000/id/htmlfile": "GET",
    "/000/id/jsonp": "GET",
    "/000/id/jsonp_send": "POST",
}


@pytest.mark.parametrize(
    ("server", "session"),
    [
        ("a", "a"),
        ("_", "_"),
        ("1", "1"),
        ("abcdefgh_i-j%20", "abcdefg_i-j%20"),
        ("000", "%C3%A9"),
        ("000", "a%2fb"),
        ("-", "$&'()*+,;=:@!~"),
    ],
)
async def test_any_ids_without_slash_and_dot_make_a_session(wire: Wire, server: str, session: str) -> None:
    """Rule 1.1."""
    assert await wire.poll(f"/echo/{server}/{session}") == "o"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path", ["//", "/a./a", "/a/a.", "/./.", "/", "//session", "/server/", "/server/a.b", "/a/b/c", "/server", ""]
)
@pytest.mark.parametrize("transport", ["xhr", "eventsource"])
async def test_malformed_session_urls_are_not_found(wire: Wire, method: str, path: str, transport: str) -> None:
    """Rule 1.2."""
    answer = await wire.request(method, f"/echo{path}/{transport}")
    assert answer.status == 404


async def test_the_server_id_takes_no_part_in_finding_a_session(wire: Wire) -> None:
    """Rule 1.3."""
    session = (await wire.open()).rpartition("/")[2]
    await wire.send(f"/echo/111/{session}", "a")
    assert await wire.poll(f"/echo/999/{session}") == 'a["a"]'


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/a",
        "/a.html",
        "//",
        "///",
        "/a/a",
        "/a/a/",
        "/INFO",
        "/000/id/XHR",
        "/000/id/",
        "/000/id",
        "/000/id/chunked",
        "/000/id/xhr/more",
    ],
)
async def test_unknown_urls_are_not_found(wire: Wire, method: str, path: str) -> None:
    """Rule 1.4."""
    assert (await wire.request(method, f"/echo{path}")).status == 404


@pytest.mark.parametrize("path", ["/echoes", "/invalid_url", "/invalid_url/info", "/invalid_url/000/id/xhr"])
async def test_a_url_outside_of_the_prefix_is_not_found(wire: Wire, path: str) -> None:
    """Rule 1.4."""
    assert (await wire.request("POST", path)).status == 404


@pytest.mark.parametrize(
    "path",
    ["/iframe", "/iframe.htm", "/IFRAME.HTML", "/iframe.HTML", "/iframe.xml", "/iframe-/.html", "/Iframe.html"],
)
async def test_what_only_resembles_an_iframe_url_is_not_found(wire: Wire, path: str) -> None:
    """Rule 1.5."""
    assert (await wire.request("GET", f"/echo{path}")).status == 404


@pytest.mark.parametrize("path", [path for path in URLS if path not in ("", "/")])
async def test_a_trailing_slash_makes_another_url(wire: Wire, path: str) -> None:
    """Rule 1.6."""
    method = "POST" if "POST" in URLS[path] else "GET"
    assert (await wire.request(method, f"/echo{path}/")).status == 404


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", URLS)
async def test_a_wrong_method_is_refused_without_a_type(wire: Wire, method: str, path: str) -> None:
    """Rule 1.7."""
    if method in URLS[path]:
        return
    connection = await wire.connect()
    await connection.ask(method, f"/echo{path}")
    head = await connection.head()
    assert head.status == 405
    assert set(head.headers["Allow"].split(", ")) == set(URLS[path].split(", "))
    assert "Content-Type" not in head.headers
    assert method == "HEAD" or head.headers["Content-Length"] == "0"


async def test_a_refused_method_makes_no_session(wire: Wire) -> None:
    """Rule 1.7."""
    url = wire.new()
    assert (await wire.request("GET", f"{url}/xhr")).status == 405
    assert (await wire.request("POST", f"{url}/xhr_send", b'["a"]')).status == 404


@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
async def test_the_chunking_test_of_old_clients_is_left_out(wire: Wire, method: str) -> None:
    """Rule 1.8."""
    assert (await wire.request(method, "/echo/chunking_test")).status == 404


async def test_two_endpoints_share_no_session(wire: Wire) -> None:
    """Rule 1.9."""
    session = (await wire.open("/echo")).rpartition("/")[2]
    assert (await wire.request("POST", f"/plain/000/{session}/xhr_send", b'["a"]')).status == 404
    assert await wire.poll(f"/close/000/{session}") == "o"
    assert await wire.poll(f"/close/000/{session}") == GO_AWAY
    await wire.send(f"/echo/000/{session}", "a")
    assert await wire.poll(f"/echo/000/{session}") == 'a["a"]'


@pytest.mark.parametrize("query", ["?t=1700000000000", "?a=b&c=d", "?"])
async def test_a_query_changes_no_url(wire: Wire, query: str) -> None:
    """Rule 1.10."""
    url = wire.new()
    assert (await wire.request("GET", f"/echo/info{query}")).status == 200
    assert (await wire.request("POST", f"{url}/xhr{query}")).body == b"o\n"
    assert (await wire.request("POST", f"{url}/xhr_send{query}", b'["a"]')).status == 204
