"""Checks 21 to 24, 37 and 38: logging in, faults, leaving, heart-beats."""

from __future__ import annotations

import asyncio

import pytest

from sockbridge.errors import AccessRefused
from sockbridge.stomp import Login, User
from tests.fakes import GUARD

from ..stomp.clients import HttpClient
from ..stomp.site import CARRIERS, WITH_POLLING, Site
from .application import serve_spring


async def token_user(login: Login) -> User:
    """Knows one token."""
    if login.headers.get("Authorization") != "Bearer good":
        raise AccessRefused("bad token")
    return User("alice")


@pytest.mark.parametrize("carrier", WITH_POLLING)
@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
@pytest.mark.parametrize("user", ["", "alice"])
async def test_21_a_login_gets_connected_with_our_heart_beats_and_the_user_s_name(
    site: Site, user: str, command: str, carrier: str
) -> None:
    """Rule 7.21: ``user-name`` is there exactly when the user is known, here from the HTTP request."""
    client = await site.open(carrier, user=user)
    frame = await client.connect("1.2,1.1,1.0", {"heart-beat": "10000,20000"}, command)
    expected = {"version": "1.2", "heart-beat": "20000,10000"}
    assert frame.headers == ({**expected, "user-name": "alice"} if user else expected)


@pytest.mark.parametrize("carrier", WITH_POLLING)
async def test_21_the_user_may_come_from_the_connect_as_well(carrier: str) -> None:
    """Rule 7.21."""
    async with serve_spring(authenticate=token_user) as spring:
        client = await spring.site.open(carrier)
        frame = await client.connect(headers={"Authorization": "Bearer good"})
        assert frame.headers["user-name"] == "alice"


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_22_versions_are_negotiated_where_spring_hangs(site: Site, carrier: str) -> None:
    """Rule 7.22: none offered is 1.0, blanks are no part of a version, and 2.0 alone is an ERROR."""
    client = await site.open(carrier)
    await client.write("CONNECT\n\n\0")
    assert (await client.connected()).headers["version"] == "1.0"
    client = await site.open(carrier)
    assert (await client.connect("1.1, 1.2")).headers["version"] == "1.2"
    client = await site.open(carrier)
    await client.write("CONNECT\naccept-version:2.0\n\n\0")
    await client.refused("version")


@pytest.mark.parametrize("carrier", WITH_POLLING)
async def test_23_a_refused_token_is_an_error_on_polls_too(carrier: str) -> None:
    """Rule 7.23: and the close code is 1002, in SockJS's own close frame where there is one."""
    async with serve_spring(authenticate=token_user) as spring:
        client = await spring.site.open(carrier)
        await client.write("CONNECT\naccept-version:1.2\nAuthorization:Bearer bad\n\n\0")
        frame = await client.refused("bad token")
        assert frame.headers["message"]


FAULTS = {
    "frame before CONNECT": (False, "SEND\ndestination:/topic/a\n\n\0"),
    "second CONNECT": (True, "CONNECT\naccept-version:1.2\n\n\0"),
    "unknown command": (True, "PUBLISH\ndestination:/topic/a\n\n\0"),
    "lower case": (True, "send\ndestination:/topic/a\n\n\0"),
    "no colon": (True, "SEND\ndestination\n\n\0"),
    "lone CR": (True, "SEND\ndestination:/topic/a\rb\n\n\0"),
    "undefined escape": (True, "SEND\ndestination:/topic/\\t\n\n\0"),
    "body on SUBSCRIBE": (True, "SUBSCRIBE\nid:1\ndestination:/topic/a\n\nbody\0"),
    "body longer than its length": (True, "SEND\ndestination:/topic/a\ncontent-length:2\n\nbody\0"),
}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_24_a_fault_is_an_error_then_1002_and_nobody_else_s_business(
    site: Site, fault: str, carrier: str
) -> None:
    """Rule 7.24."""
    neighbour = await site.connect(carrier)
    is_connected, frame = FAULTS[fault]
    client = await (site.connect if is_connected else site.open)(carrier)
    await client.write(frame)
    await client.refused()
    assert await neighbour.settle() == []


@pytest.mark.parametrize("carrier", WITH_POLLING)
async def test_37_a_receipt_is_the_last_word_and_the_server_closes_if_the_client_does_not(carrier: str) -> None:
    """Rule 7.37: the grace is 2 seconds in production."""
    async with serve_spring(disconnect_grace=0.2) as spring:
        await spring.site.hurry()
        client = await spring.site.connect(carrier)
        await client.subscribe("/topic/messages")
        await client.send("DISCONNECT", {"receipt": "bye"})
        assert (await client.receive()).headers == {"receipt-id": "bye"}
        await client.ends(1000)


@pytest.mark.parametrize("carrier", WITH_POLLING)
async def test_37_without_a_receipt_the_end_comes_at_once(site: Site, carrier: str) -> None:
    """Rule 7.37."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/messages")
    await client.send("DISCONNECT")
    await client.ends(1000)


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_37_compat_answers_it_as_spring_does(carrier: str) -> None:
    """Rule 7.37: with ``compat="spring"``: ERROR and 1002."""
    async with serve_spring(compat="spring") as spring:
        client = await spring.site.connect(carrier)
        await client.send("DISCONNECT")
        await client.refused("Session closed.")


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(
    ("asked", "answered"), [("", "0,0"), ("0,0", "0,0"), ("4000,6000", "6000,4000"), ("0,6000", "6000,0")]
)
async def test_38_no_heart_beats_only_for_those_who_want_none(
    site: Site, asked: str, answered: str, carrier: str
) -> None:
    """Rule 7.38."""
    client = await site.open(carrier)
    frame = await client.connect(headers={"heart-beat": asked} if asked else {})
    assert frame.headers["heart-beat"] == answered


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_38_a_silent_client_gets_its_beats_and_is_cut_after_two_intervals(carrier: str) -> None:
    """Rule 7.38."""
    now = asyncio.get_running_loop().time
    async with serve_spring(heart_beat_min_ms=300) as spring:
        client = await spring.site.connect(carrier, headers={"heart-beat": "300,300"})
        begin = now()
        await client.refused("heart-beat")
        assert 0.5 < now() - begin < 1.5
        assert client.beats >= 2


@pytest.mark.parametrize("carrier", ["xhr_streaming", "xhr"])
@pytest.mark.parametrize(
    ("asked", "heartbeat_delay", "goes_on"),
    [
        ("0,0", 0.08, True),
        ("300,0", 0.08, True),
        ("0,300", 0.08, True),
        ("300,300", 0.08, True),  # STOMP's come less often than heartbeat_delay asks for
        ("300,300", 0.2, False),
    ],
)
async def test_38_heartbeats_of_sockjs_stop_only_where_those_of_stomp_replace_them(
    asked: str, heartbeat_delay: float, goes_on: bool, carrier: str
) -> None:
    """Rule 7.38: Spring stops them always, and then nothing flows. On a websocket they are pings."""
    async with serve_spring({"heartbeat_delay": heartbeat_delay}, heart_beat_min_ms=300) as spring:
        client = await spring.site.connect(carrier, headers={"heart-beat": asked})
        assert isinstance(client, HttpClient)
        async with asyncio.timeout(GUARD):
            frames = [await client.frame() for _ in range(3)]
        assert ("h" in frames) == goes_on
        assert goes_on or frames == ['a["\\n"]'] * 3


@pytest.mark.nightly
@pytest.mark.parametrize("carrier", WITH_POLLING)
async def test_38_ten_minutes_of_idling_end_no_connection(site: Site, carrier: str) -> None:
    """Rule 7.38: with stompjs's own 10 seconds both ways."""
    now = asyncio.get_running_loop().time
    client = await site.connect(carrier, headers={"heart-beat": "10000,10000"})
    client.patience = 10.0  # seconds between two beats; stompjs waits for twice that
    begin = now()
    while now() - begin < 600:
        assert await client.next() is None
        await client.write("\n")
    assert await client.settle() == []
