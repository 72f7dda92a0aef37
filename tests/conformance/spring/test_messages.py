"""Checks 25 to 28, 34 and 35: controllers and what they return, faults of theirs, what is denied."""

from __future__ import annotations

import json

import pytest

from sockbridge.stomp import EVERYBODY, NOBODY, Rule

from ..stomp.site import CARRIERS, WITH_POLLING, Site
from .application import Application, Hello, serve_spring

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("carrier", WITH_POLLING)
async def test_25_the_seed_s_echo(site: Site, carrier: str) -> None:
    """Rule 7.25: text comes back as text, with its length in octets."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/messages", "sub-0")
    await client.publish("/api/echo", "hello wörld")
    await client.publish("/api/echo", "hello wörld")
    frames = await client.messages(2)
    for frame in frames:
        assert frame.text == "hello wörld"
        id = frame.headers["message-id"]
        assert frame.headers == {
            "destination": "/topic/messages",
            "content-type": "text/plain;charset=UTF-8",
            "subscription": "sub-0",
            "message-id": id,
            "content-length": "12",
        }
    assert len({frame.headers["message-id"] for frame in frames} - {""}) == 2


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_26_an_object_becomes_compact_json_and_a_string_stays_itself(site: Site, carrier: str) -> None:
    """Rule 7.26: and ``None`` sends nothing."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/greetings")
    await client.subscribe("/topic/messages", "other")
    await client.publish("/app/hello", json.dumps({"name": "Jörg"}, ensure_ascii=False))
    frame = await client.message()
    assert frame.headers["content-type"] == "application/json"
    assert frame.text == '{"content":"Hello, Jörg!"}'
    assert frame.headers["content-length"] == str(len('{"content":"Hello, Jörg!"}') + 1)
    await client.publish("/app/echo", 'a "string"')
    assert (await client.message()).text == 'a "string"'
    await client.publish("/app/nothing", "x")
    assert await client.settle() == []


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_27_a_body_is_read_as_the_handler_declares(site: Site, application: Application, carrier: str) -> None:
    """Rule 7.27: without a content type as well."""
    client = await site.connect(carrier)
    await client.publish("/app/take-text", "plain {")
    await client.publish("/app/take-object", '{"name": "a"}')
    await client.publish("/app/take-object", '{"name": "b"}', **JSON)
    await client.publish("/app/take-object", '{"name": "c"}', **{"content-type": "application/json;charset=UTF-8"})
    assert await client.settle() == []
    assert application.calls == ["plain {", Hello("a"), Hello("b"), Hello("c")]


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_27_a_body_of_another_type_runs_no_handler_and_ends_nothing(
    site: Site, application: Application, carrier: str
) -> None:
    """Rule 7.27."""
    client = await site.connect(carrier)
    await client.publish("/app/take-object", '{"name": "a"}', **{"content-type": "text/plain"})
    await client.publish("/app/take-object", '{"name": ')
    await client.publish("/app/take-object", '{"name": 3}')
    await client.publish("/app/take-object", "")
    await client.publish("/app/take-text", "")
    assert await client.settle() == []
    assert application.calls == []
    assert site.server.counters.unserved == 5


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_28_results_go_where_they_are_meant_to(site: Site, carrier: str) -> None:
    """Rule 7.28: to ``/topic`` and the path by default, to several targets, to one with variables."""
    client = await site.connect(carrier)
    for number, destination in enumerate(("/topic/plain", "/topic/one", "/topic/two", "/topic/rooms/blue")):
        await client.subscribe(destination, str(number))
    await client.publish("/app/plain", "a")
    await client.publish("/app/both", "b")
    await client.publish("/app/rooms/blue/say", "c")
    await client.publish("/app/rooms/red/say", "d")
    frames = await client.settle()
    assert [(frame.headers["destination"], frame.text) for frame in frames] == [
        ("/topic/plain", "a"),
        ("/topic/one", "b"),
        ("/topic/two", "b"),
        ("/topic/rooms/blue", "blue: c"),
    ]


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_28_headers_of_a_result_are_escaped_and_readable_again(site: Site, carrier: str) -> None:
    """Rule 7.28."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/rooms/blue")
    await client.publish("/app/rooms/blue/say", "c")
    frame = await client.message()
    assert frame.headers["mood"] == "a:b"
    assert b"\nmood:a\\cb\n" in frame.wire


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_34_a_failing_handler_ends_nothing(site: Site, carrier: str, caplog: pytest.LogCaptureFixture) -> None:
    """Rule 7.34: no ERROR, and the connection goes on."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/messages")
    await client.publish("/app/fail", "x")
    await client.publish("/app/echo", "still here")
    assert (await client.message()).text == "still here"
    assert "fail failed" in caplog.text


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_34_an_exception_that_is_mapped_is_told_to_the_one_who_asked(site: Site, carrier: str) -> None:
    """Rule 7.34."""
    client, other = await site.connect(carrier, user="alice"), await site.connect(carrier, user="alice")
    for one in (client, other):
        await one.subscribe("/user/queue/errors")
    await client.publish("/app/fail-mapped", "no such thing")
    frame = await client.message()
    assert frame.headers["destination"] == "/user/queue/errors"
    assert frame.text == '{"error":"no such thing"}'
    assert await other.settle() == []


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("receipt", [{}, {"receipt": "r"}], ids=["", "receipt"])
@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
async def test_35_what_is_denied_is_an_error_and_the_end(command: str, receipt: dict[str, str], carrier: str) -> None:
    """Rule 7.35: nothing of it is delivered."""
    policy = [
        Rule.connect(EVERYBODY),
        Rule.subscribe("/topic/secret", NOBODY),
        Rule.subscribe("**", EVERYBODY),
        Rule.send("/app/**", EVERYBODY),
    ]
    async with serve_spring(policy=policy) as spring:
        witness = await spring.site.connect("tcp")
        await witness.subscribe("/topic/messages")
        client = await spring.site.connect(carrier)
        destination = "/topic/messages" if command == "SEND" else "/topic/secret"
        await client.send(command, {"id": "1", "destination": destination, **receipt})
        frame = await client.refused("not allowed")
        assert frame.headers.get("receipt-id") == receipt.get("receipt")
        assert await witness.settle() == []


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_35_by_default_clients_may_not_send_to_topics(site: Site, carrier: str) -> None:
    """Rule 7.35: with ``compat="spring"`` they may."""
    client = await site.connect(carrier)
    await client.publish("/topic/messages", "x")
    await client.refused("not allowed")
    async with serve_spring(compat="spring") as spring:
        client = await spring.site.connect(carrier)
        await client.subscribe("/topic/messages")
        await client.publish("/topic/messages", "x")
        assert (await client.message()).text == "x"
