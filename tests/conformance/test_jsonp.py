"""Section 3, ``jsonp`` and ``jsonp_send``: polling through script elements."""

from __future__ import annotations

import json
from urllib.parse import quote_plus

import pytest

from .conftest import GO_AWAY, Wire, unwrap

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_a_jsonp_poll_gets_a_call_with_one_quoted_frame(wire: Wire) -> None:
    """Rule 3.28."""
    url = wire.new()
    answer = await wire.request("GET", f"{url}/jsonp?c=%63allback")
    assert answer.status == 200
    assert answer.body == b'/**/callback("o");\r\n'
    await wire.send(url, "x", 'y"')
    answer = await wire.request("GET", f"{url}/jsonp?c=_jp.a1")
    assert answer.body == b'/**/_jp.a1("a[\\"x\\",\\"y\\\\\\"\\"]");\r\n'


async def test_a_jsonp_answer_may_not_be_sniffed(wire: Wire) -> None:
    """Rule 3.29."""
    answer = await wire.request("GET", f"{wire.new()}/jsonp?c=callback")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("text", ["\u2028\u2029", "</script>", "<!--", "\U0001f600"])
async def test_no_message_breaks_the_script(wire: Wire, text: str) -> None:
    """Rule 3.30."""
    url = await wire.open()
    await wire.send(url, text)
    body = (await wire.request("GET", f"{url}/jsonp?c=callback")).body
    assert body.isascii()
    assert b"<" not in body
    assert json.loads(unwrap("jsonp", body)[1:]) == [text]


async def test_closing_in_the_open_handler_shows_in_the_next_jsonp_poll(wire: Wire) -> None:
    """Rule 5.8."""
    url = wire.new("/close")
    assert await (await wire.receive(url, "jsonp")).frame() == "o"
    for _ in range(3):
        assert await (await wire.receive(url, "jsonp")).frame() == GO_AWAY


@pytest.mark.parametrize(
    ("body", "headers", "text"),
    [
        (b"d=%5B%22x%22%5D", FORM, "x"),
        (b"d=" + quote_plus('["a+b & c=d %20"]').encode(), FORM, "a+b & c=d %20"),
        (b"d=%5B%22a+b%22%5D", FORM, "a b"),
        (b"e=1&d=%5B%22x%22%5D&f=2", FORM, "x"),
        (b"d=%5B%22x%22%5D", {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, "x"),
        (b'["x"]', {"Content-Type": "text/plain"}, "x"),
        (b'["%61bc"]', {"Content-Type": "text/plain"}, "%61bc"),
        (b'["a+b"]', {}, "a+b"),
        (b'["x"]', {"Content-Type": ""}, "x"),
    ],
)
async def test_jsonp_send_takes_a_form_or_the_json_itself(
    wire: Wire, body: bytes, headers: dict[str, str], text: str
) -> None:
    """Rules 3.31 and 3.32."""
    url = await wire.open()
    answer = await wire.request("POST", f"{url}/jsonp_send?i=0.5", body, headers)
    assert (answer.status, answer.body) == (200, b"ok")
    assert json.loads((await wire.poll(url))[1:]) == [text]


@pytest.mark.parametrize(
    ("body", "headers", "text"),
    [
        (b"", FORM, b"Payload expected."),
        (b"d=", FORM, b"Payload expected."),
        (b"d", FORM, b"Payload expected."),
        (b"p=p", FORM, b"Payload expected."),
        (b"dd=%5B%22x%22%5D", FORM, b"Payload expected."),
        (b"d=x", FORM, b"Broken JSON encoding."),
        (b"d=%5B", FORM, b"Broken JSON encoding."),
        (b"d=%5B%22%FF%22%5D", FORM, b"Broken JSON encoding."),
        (b"\xff", FORM, b"Broken JSON encoding."),
        (b"d=5", FORM, b"Payload expected."),
        (b"d=%5B5%5D", FORM, b"Payload expected."),
        (b"", {}, b"Payload expected."),
        (b"x", {}, b"Broken JSON encoding."),
        (b'"x"', {}, b"Payload expected."),
    ],
)
async def test_a_bad_jsonp_payload_is_refused_and_the_session_goes_on(
    wire: Wire, body: bytes, headers: dict[str, str], text: bytes
) -> None:
    """Rule 3.33."""
    url = await wire.open()
    answer = await wire.request("POST", f"{url}/jsonp_send", body, headers)
    assert answer.status == 500
    assert text in answer.body
    answer = await wire.request("POST", f"{url}/jsonp_send", b"d=%5B%22x%22%5D", FORM)
    assert (answer.status, answer.body) == (200, b"ok")
    assert await wire.poll(url) == 'a["x"]'


async def test_an_empty_array_by_jsonp_does_nothing(wire: Wire) -> None:
    """Rule 3.10."""
    url = await wire.open()
    assert (await wire.request("POST", f"{url}/jsonp_send", b"d=[]", FORM)).body == b"ok"
    await wire.send(url, "a")
    assert await wire.poll(url) == 'a["a"]'


async def test_a_form_that_is_too_large_is_refused(wire: Wire) -> None:
    """Rule 3.14."""
    url = await wire.open("/small")
    connection = await wire.connect()
    await connection.ask("POST", f"{url}/jsonp_send", b"", FORM | {"Content-Length": "1001"})
    assert (await connection.answer()).status == 413
    await connection.leave()


async def test_both_ways_of_sending_reach_the_same_session(wire: Wire) -> None:
    """Rule 3.34."""
    url = wire.new()
    assert await (await wire.receive(url, "jsonp")).frame() == "o"
    assert (await wire.request("POST", f"{url}/jsonp_send", b"d=%5B%22a%22%5D", FORM)).body == b"ok"
    await wire.send(url, "b")
    assert await (await wire.receive(url, "jsonp")).frame() == 'a["a","b"]'
