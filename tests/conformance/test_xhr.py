"""Section 3, ``xhr`` and ``xhr_send``: one frame for each poll, messages by POST."""

from __future__ import annotations

import io
import json

import pytest

from .conftest import Wire


async def test_a_poll_gets_one_frame_that_a_line_feed_ends(wire: Wire) -> None:
    """Rule 3.1."""
    url = wire.new()
    answer = await wire.request("POST", f"{url}/xhr")
    assert (answer.status, answer.body) == (200, b"o\n")
    await wire.send(url, "a")
    assert (await wire.request("POST", f"{url}/xhr")).body == b'a["a"]\n'


async def test_a_poll_waits_for_a_message(wire: Wire) -> None:
    """Rule 3.1."""
    url = await wire.open()
    poll = await wire.receive(url)
    await wire.settle()
    await wire.send(url, "late")
    assert await poll.frame() == 'a["late"]'


async def test_messages_between_two_polls_come_in_one_frame(wire: Wire) -> None:
    """Rule 3.2."""
    url = await wire.open()
    for number in range(8):
        await wire.send(url, f"m{number}")
    assert json.loads((await wire.poll(url))[1:]) == [f"m{number}" for number in range(8)]


async def test_messages_of_one_send_come_in_one_frame_and_in_order(wire: Wire) -> None:
    """Rule 3.2."""
    url = await wire.open()
    messages = [str(number) for number in range(100)]
    await wire.send(url, *messages)
    assert json.loads((await wire.poll(url))[1:]) == messages


async def test_a_send_is_answered_without_a_body_but_with_a_type(wire: Wire) -> None:
    """Rule 3.3."""
    answer = await wire.request("POST", f"{await wire.open()}/xhr_send", b'["a"]')
    assert answer.status == 204
    assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", b"Payload expected."),
        (b"[", b"Broken JSON encoding."),
        (b'["x', b"Broken JSON encoding."),
        (b'["x"]["y"]', b"Broken JSON encoding."),
        (b"x", b"Broken JSON encoding."),
        (b'["\xff"]', b"Broken JSON encoding."),
        (b'["\xed\xa0\x80"]', b"Broken JSON encoding."),
        (b"[" * 100_000, b"Broken JSON encoding."),
        (b'"x"', b"Payload expected."),
        (b"{}", b"Payload expected."),
        (b'{"a":"b"}', b"Payload expected."),
        (b"5", b"Payload expected."),
        (b"null", b"Payload expected."),
        (b"[1]", b"Payload expected."),
        (b'["x",null]', b"Payload expected."),
        (b'[["x"]]', b"Payload expected."),
        (b"[{}]", b"Payload expected."),
        (b'[{"__proto__":null}]', b"Payload expected."),
        (b"[NaN]", b"Payload expected."),
    ],
)
async def test_a_bad_payload_is_refused_and_the_session_goes_on(wire: Wire, body: bytes, text: bytes) -> None:
    """Rules 3.4, 3.5, 3.6 and 3.7."""
    url = await wire.open()
    answer = await wire.request("POST", f"{url}/xhr_send", body)
    assert answer.status == 500
    assert text in answer.body
    await wire.send(url, "a")
    assert await wire.poll(url) == 'a["a"]'


async def test_a_bad_payload_leaves_a_waiting_poll_alone(wire: Wire) -> None:
    """Rule 3.7."""
    url = await wire.open()
    poll = await wire.receive(url)
    await wire.settle()
    assert (await wire.request("POST", f"{url}/xhr_send", b"[")).status == 500
    await wire.send(url, "a")
    assert await poll.frame() == 'a["a"]'


@pytest.mark.parametrize("name", ["xhr_send", "jsonp_send"])
async def test_a_send_opens_no_session(wire: Wire, name: str) -> None:
    """Rule 3.8."""
    url = wire.new()
    for _ in range(2):
        assert (await wire.request("POST", f"{url}/{name}", b'["a"]')).status == 404
    assert await wire.poll(url) == "o"


@pytest.mark.parametrize(("body", "text"), [(b"", b"Payload expected."), (b"[", b"Broken JSON encoding.")])
async def test_the_body_is_judged_before_the_session(wire: Wire, body: bytes, text: bytes) -> None:
    """Rule 3.9."""
    answer = await wire.request("POST", f"{wire.new()}/xhr_send", body)
    assert answer.status == 500
    assert text in answer.body


async def test_an_empty_array_is_taken_and_does_nothing(wire: Wire) -> None:
    """Rule 3.10."""
    url = await wire.open()
    await wire.send(url)
    await wire.send(url, "a")
    assert await wire.poll(url) == 'a["a"]'


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "T",
        "application/json",
        "application/xml",
        "text/xml",
        "application/json; charset=utf-8",
        "text/xml; charset=utf-8",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "text/plain; charset=no-such-thing",
    ],
)
async def test_the_type_of_a_send_does_not_matter(wire: Wire, content_type: str | None) -> None:
    """Rule 3.11."""
    url = await wire.open()
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await wire.request("POST", f"{url}/xhr_send", b'["a"]', headers)
    assert answer.status == 204
    assert await wire.poll(url) == 'a["a"]'


async def test_a_post_without_a_length_does_not_hurt(wire: Wire) -> None:
    """Rule 3.12."""
    connection = await wire.connect()
    url = wire.new()
    await connection.ask("POST", f"{url}/xhr", body=None)
    assert (await connection.answer()).body == b"o\n"
    await connection.ask("POST", f"{url}/xhr_send", body=None)
    answer = await connection.answer()
    assert answer.status == 500
    assert b"Payload expected." in answer.body


async def test_a_send_in_chunks_arrives(wire: Wire) -> None:
    """Rule 3.12."""
    url = await wire.open()
    body = b'3\r\n["h\r\n4\r\ni"]\n\r\n0\r\n\r\n'
    answer = await wire.request("POST", f"{url}/xhr_send", body, {"Transfer-Encoding": "chunked"})
    assert answer.status == 204
    assert await wire.poll(url) == 'a["hi"]'


async def test_a_poll_may_carry_a_body(wire: Wire) -> None:
    """Rule 3.12."""
    connection = await wire.connect()
    url = wire.new()
    await connection.ask("POST", f"{url}/xhr", b"whatever" * 1000)
    assert (await connection.answer()).body == b"o\n"
    await connection.ask("GET", "/echo")
    assert (await connection.answer()).status == 200


async def test_sends_after_the_goodbye_are_taken_until_the_session_is_forgotten(wire: Wire) -> None:
    """Rule 3.13."""
    url = await wire.open("/brief")
    await wire.send(url, "close 4001 Bye")
    await wire.send(url, "unheard")
    await wire.send(url, "unheard")
    assert await wire.poll(url) == 'c[4001,"Bye"]'
    assert wire.obedient.values("on_message") == ["close 4001 Bye"]
    while (await wire.request("POST", f"{url}/xhr_send", b'["unheard"]')).status != 404:
        await wire.obedient.wait_for("on_closed")
    assert wire.obedient.values("on_message") == ["close 4001 Bye"]


async def test_a_body_that_is_announced_too_large_is_refused_unread(wire: Wire) -> None:
    """Rule 3.14."""
    url = await wire.open("/small")
    connection = await wire.connect()
    await connection.ask("POST", f"{url}/xhr_send", b"", {"Content-Length": "1001"})
    answer = await connection.answer()
    assert answer.status == 413
    assert answer.headers["Connection"] == "close"
    await connection.leave()
    await wire.send(url, "a")
    assert await wire.poll(url) == 'a["a"]'


async def test_a_body_that_grows_too_large_is_refused(wire: Wire) -> None:
    """Rule 3.14."""
    url = await wire.open("/small")
    connection = await wire.connect()
    await connection.ask("POST", f"{url}/xhr_send", b"", {"Transfer-Encoding": "chunked"})
    await connection.write(b"200\r\n" + b"x" * 0x200 + b"\r\n")
    await connection.write(b"200\r\n" + b"x" * 0x200 + b"\r\n")
    assert (await connection.answer()).status == 413
    await connection.leave()
    await wire.send(url, "a")
    assert await wire.poll(url) == 'a["a"]'


async def test_a_body_far_above_the_default_limit_is_refused_while_it_is_sent(wire: Wire) -> None:
    """Rule 3.14."""
    url = await wire.open()
    async with wire.client.post(f"{wire.url}{url}/xhr_send", data=io.BytesIO(b"x" * 4_000_000)) as response:
        assert response.status == 413
    await wire.send(url, "a")
    assert await wire.poll(url) == 'a["a"]'


async def test_a_body_of_just_the_limit_is_taken(wire: Wire) -> None:
    """Rule 3.14."""
    url = await wire.open("/small")
    body = json.dumps(["x" * 996]).encode()
    assert len(body) == 1000
    assert (await wire.request("POST", f"{url}/xhr_send", body)).status == 204


async def test_a_client_that_breaks_off_its_send_harms_nobody(wire: Wire) -> None:
    """Rule 3.7."""
    url = await wire.open()
    for end in ("leave", "reset"):
        connection = await wire.connect()
        await connection.ask("POST", f"{url}/xhr_send", b'["cut', {"Content-Length": "100"})
        await wire.settle()
        await getattr(connection, end)()
    await wire.send(url, "a")
    assert await wire.poll(url) == 'a["a"]'
