"""Section 5: ERROR and the end, limits, what is not allowed, what nobody serves."""

from __future__ import annotations

import pytest

from sockbridge.stomp import EVERYBODY, NOBODY, Controller, Rule

from .site import ALL_CARRIERS, VERSIONS, Site, serve_stomp

TOPIC = {"destination": "/topic/a"}


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_after_an_error_comes_the_end_and_nothing_else(site: Site, version: str, carrier: str) -> None:
    """Rule 5.1: STOMP 1.2, "ERROR": MUST then close the connection; here in every version."""
    client = await site.connect(carrier, version)
    await client.write("PONG\n\n\0" + "SEND\ndestination:/topic/a\nreceipt:r\n\n\0")
    await client.refused("unknown command")


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_what_was_asked_for_before_a_fault_is_answered_before_it(site: Site, carrier: str) -> None:
    """Rule 5.2: STOMP 1.2, "ERROR", "RECEIPT"."""
    client = await site.connect(carrier)
    await client.write("SEND\ndestination:/topic/a\nreceipt:r1\n\n\0PONG\n\n\0")
    assert (await client.receive()).headers == {"receipt-id": "r1"}
    await client.refused("unknown command")


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_error_says_what_was_wrong_in_words_of_every_version(site: Site, version: str) -> None:
    """Rule 5.3: STOMP 1.2, "ERROR": ``message`` and, in the body, more; nothing in it needs an escape."""
    client = await site.connect("tcp", version)
    await client.write("SEND\ndestination:/topic/a\nno \\colon\n\n\0")
    frame = await client.refused("header without name and colon")
    assert not set(":\\\r\n") & set(frame.headers["message"])
    assert frame.headers["content-type"] == "text/plain;charset=UTF-8"
    assert frame.text == "'no \\\\colon'"


@pytest.mark.parametrize("command", ["CONNECTED", "MESSAGE", "RECEIPT", "ERROR"])
async def test_frames_of_servers_are_not_for_clients(site: Site, command: str) -> None:
    """Rule 5.4: STOMP 1.2, "Client Frames"."""
    client = await site.connect("tcp")
    await client.send(command, TOPIC)
    await client.refused("unknown command")


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_one_client_s_fault_touches_no_other(site: Site, carrier: str) -> None:
    """Rule 5.5: sockbridge's own."""
    others = [await site.connect(other) for other in ALL_CARRIERS]
    for other in others:
        await other.subscribe("/topic/a")
    client = await site.connect(carrier)
    await client.write("SEND\ndestination:/topic/a\n\nx\0SEND\ncontent-length:-1\n\n\0")
    await client.refused()
    for other in others:
        assert [frame.text for frame in await other.settle()] == ["x"]
    assert site.server.counters.faults == 1


# Limits.


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize(
    ("frame", "text"),
    [
        ("SEND\n" + "".join(f"h{number}:\n" for number in range(11)) + "\n\0", "too many headers"),
        (f"SEND\nx:{'y' * 200}\n\n\0", "header too long"),
        ("SEND\n" + "".join(f"h{number}:{'y' * 90}\n" for number in range(7)) + "\n\0", "head too long"),
        ("SEND\n" + "x" * 600, "head too long"),
        (f"SEND\ndestination:/topic/a\n\n{'x' * 1001}\0", "body too long"),
        (f"SEND\ndestination:/topic/a\n\n{'x' * 1001}", "body too long"),
        ("SEND\ndestination:/topic/a\ncontent-length:1001\n\n", "body too long"),
        ("SEND\ndestination:/topic/a\ncontent-length:99999999999999999999999\n\n", "body too long"),
    ],
    ids=["headers", "header", "head", "head-without-end", "body", "body-without-end", "length", "length-of-years"],
)
async def test_what_passes_a_limit_is_refused_as_soon_as_that_is_known(frame: str, text: str, carrier: str) -> None:
    """Rules 5.6 and 5.7: STOMP 1.2, "Size Limits"; not after it has been buffered."""
    limits = {"max_headers": 10, "max_header_size": 100, "max_head_size": 500, "max_body_size": 1000}
    async with serve_stomp(**limits) as site:
        client = await site.connect(carrier)
        await client.write(frame)
        assert "the limit is" in (await client.refused(text)).text


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_what_is_just_within_the_limits_is_taken(carrier: str) -> None:
    """Rule 5.6."""
    limits = {"max_headers": 10, "max_header_size": 100, "max_head_size": 500, "max_body_size": 1000}
    async with serve_stomp(**limits) as site:
        client = await site.connect(carrier)
        await client.subscribe("/topic/a")
        await client.publish("/topic/a", "x" * 1000, **{f"h{number}": "y" * 20 for number in range(9)})
        assert (await client.message()).text == "x" * 1000
        await client.publish("/topic/a", "x", y="y" * 98)
        assert (await client.message()).headers["y"] == "y" * 98


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_before_the_login_the_limits_are_smaller(carrier: str) -> None:
    """Rule 5.8: sockbridge's own: strangers are given less room."""
    async with serve_stomp(max_login_size=200) as site:
        client = await site.open(carrier)
        await client.write(f"CONNECT\nx:{'y' * 200}\n\n\0")
        await client.refused("too long")


@pytest.mark.parametrize("text", ['"\u20ac', "\U0001f600"], ids=["quote", "emoji"])
@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_body_of_the_largest_size_passes_the_carriers(site: Site, carrier: str, text: str) -> None:
    """Rule 5.9: sockbridge's own: one limit for a message, not two; so an ERROR says what is wrong."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/a")
    body = text * (2**18)
    await client.publish("/topic/a", body)
    assert (await client.message()).text == body
    await client.publish("/topic/a", body + "!")
    await client.refused("body too long")


@pytest.mark.parametrize(
    ("limit", "frames", "text"),
    [
        ("max_subscriptions", [f"SUBSCRIBE\nid:{n}\ndestination:/topic/a\n\n\0" for n in range(3)], "subscriptions"),
        ("max_patterns", [f"SUBSCRIBE\nid:{n}\ndestination:/topic/*\n\n\0" for n in range(3)], "patterns"),
        ("max_transactions", [f"BEGIN\ntransaction:{n}\n\n\0" for n in range(3)], "transactions"),
        (
            "max_transaction_frames",
            ["BEGIN\ntransaction:1\n\n\0", *["SEND\ndestination:/topic/a\ntransaction:1\n\n\0"] * 3],
            "frames in transactions",
        ),
        (
            "max_transaction_size",
            ["BEGIN\ntransaction:1\n\n\0", "SEND\ndestination:/topic/a\ntransaction:1\n\nxxxx\0"],
            "transactions too large",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("max") else "",
)
async def test_what_one_client_may_hold_is_limited(limit: str, frames: list[str], text: str) -> None:
    """Rule 5.10: sockbridge's own."""
    async with serve_stomp(**{limit: 2}) as site:
        client = await site.connect("tcp")
        for frame in frames:
            await client.write(frame)
        await client.refused(text)


# What is not allowed, and what nobody serves.


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
async def test_what_is_not_allowed_ends_the_connection(command: str, carrier: str) -> None:
    """Rule 5.11: STOMP 1.2, "SEND", "SUBSCRIBE": the server rejects with ERROR."""
    policy = [
        Rule.connect(EVERYBODY),
        Rule.subscribe("/topic/secret", NOBODY),
        Rule.subscribe("**", EVERYBODY),
        Rule.send("/topic/open", EVERYBODY),
    ]
    async with serve_stomp(policy=policy) as site:
        client = await site.connect(carrier)
        assert await client.ask("SEND", {"destination": "/topic/open"}) == []
        await client.send(command, {"id": "1", "destination": "/topic/secret", "receipt": "r"})
        frame = await client.refused("not allowed")
        assert frame.headers["receipt-id"] == "r"


@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE"])
async def test_what_nobody_serves_is_no_fault_unless_a_receipt_was_asked_for(site: Site, command: str) -> None:
    """Rule 5.12: sockbridge's own: STOMP has no other way to say no; Spring says nothing."""
    client = await site.connect("tcp")
    await client.send(command, {"id": "1", "destination": "/nowhere"})
    assert await client.settle() == []
    await client.send(command, {"id": "1", "destination": "/nowhere", "receipt": "r"})
    assert (await client.refused(f"nobody serves {command}")).headers["receipt-id"] == "r"
    assert site.server.counters.unserved == 2


async def test_an_exception_of_the_application_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """Rule 5.13: sockbridge's own: logged with all it says, told with nothing of it."""
    controller = Controller()

    @controller.message_mapping("/fail")
    async def fail(text: str) -> None:
        raise ValueError("the password is 12345")

    async with serve_stomp(controllers=[controller]) as site:
        client = await site.connect("tcp")
        await client.publish("/app/fail", "x")
        assert await client.settle() == []
        await client.publish("/app/fail", "x", receipt="r")
        frame = await client.refused()
        assert b"12345" not in frame.wire
    assert "12345" in caplog.text


async def test_a_last_word_is_read_though_the_client_goes_on_sending(site: Site) -> None:
    """Rule 5.14: STOMP 1.2, "Connection Lingering": a reset would destroy the ERROR on its way."""
    client = await site.connect("tcp")
    await client.write("PONG\n\n\0")
    for _ in range(50):
        await client.write("SEND\ndestination:/topic/a\n\n" + "x" * 50_000 + "\0")
    await client.refused("unknown command")


async def test_an_error_waits_for_the_next_poll(site: Site) -> None:
    """Rule 5.15: sockbridge's own; Spring loses it."""
    client = await site.connect("xhr")
    await client.write("PONG\n\n\0")
    await site.until(lambda: site.server.counters.faults == 1)
    await client.refused("unknown command")
