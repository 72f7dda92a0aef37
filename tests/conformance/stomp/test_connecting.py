"""Section 2: CONNECT, CONNECTED, heart-beats, DISCONNECT."""

from __future__ import annotations

import asyncio
import time

import pytest

from sockbridge.errors import AccessRefused
from sockbridge.stomp import EVERYBODY, NOBODY, Login, Rule, User
from tests.fakes import GUARD

from .site import ALL_CARRIERS, VERSIONS, Site, serve_stomp


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
async def test_a_client_connects_with_either_command(site: Site, command: str, carrier: str) -> None:
    """Rules 2.1 and 2.6: STOMP 1.2, "Connecting"."""
    client = await site.open(carrier)
    frame = await client.connect(command=command)
    assert frame.headers == {"version": "1.2", "heart-beat": "0,0"}


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("1.0", "1.0"),
        ("1.1", "1.1"),
        ("1.2", "1.2"),
        ("1.0,1.1,1.2", "1.2"),
        ("1.2,1.1,1.0", "1.2"),
        ("1.1,1.0", "1.1"),
        ("1.1, 1.2", "1.2"),
        (" 1.0 , 1.1 ", "1.1"),
        ("1.1,2.0,1.9,x", "1.1"),
        ("1.1,1.1", "1.1"),
    ],
)
async def test_the_highest_common_version_is_chosen(site: Site, offered: str, chosen: str) -> None:
    """Rule 2.2: STOMP 1.2, "Protocol Negotiation"; order and blanks as real clients write them."""
    client = await site.open("tcp")
    assert (await client.connect(offered)).headers["version"] == chosen


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_client_that_names_no_version_speaks_1_0(site: Site, carrier: str) -> None:
    """Rule 2.3: STOMP 1.2, "Protocol Negotiation"."""
    client = await site.open(carrier)
    await client.write("CONNECT\n\n\0")
    assert (await client.connected()).headers == {"version": "1.0", "heart-beat": "0,0"}


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("offered", ["2.0", "", "1", "1.2.0", "1.1.1,3"])
async def test_no_common_version_is_an_error_that_names_ours(site: Site, offered: str, carrier: str) -> None:
    """Rule 2.4: STOMP 1.2, "Protocol Negotiation"."""
    client = await site.open(carrier)
    await client.write(f"CONNECT\naccept-version:{offered}\n\n\0")
    frame = await client.refused()
    assert frame.headers["version"] == "1.0,1.1,1.2"
    assert frame.body


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_host_is_welcome_but_not_demanded(site: Site, version: str) -> None:
    """Rule 2.5: stompjs and webstomp send none."""
    for line in ("", "host:\n", "host:elsewhere.example\n"):
        client = await site.open("tcp")
        await client.write(f"CONNECT\naccept-version:{version}\n{line}\n\0")
        assert (await client.connected()).headers["version"] == version


async def test_connected_names_the_user_and_nothing_that_is_ours_alone(site: Site) -> None:
    """Rule 2.6: the user's name as Spring's broker tells it."""
    client = await site.open("websocket", user="alice")
    frame = await client.connect(headers={"heart-beat": "0,0"})
    assert frame.headers == {"version": "1.2", "heart-beat": "0,0", "user-name": "alice"}


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("command", ["SEND", "SUBSCRIBE", "DISCONNECT", "BEGIN", "ACK"])
async def test_nothing_is_served_before_the_login(site: Site, command: str, carrier: str) -> None:
    """Rule 2.7: STOMP 1.2, "Connecting"."""
    client = await site.open(carrier)
    await client.write(f"{command}\nid:1\ndestination:/topic/a\ntransaction:t\n\n\0")
    await client.refused("before CONNECT")


@pytest.mark.parametrize("command", ["CONNECT", "STOMP"])
async def test_a_second_login_is_an_error(site: Site, command: str) -> None:
    """Rule 2.8: STOMP 1.2, "Connecting"; Spring ends the connection too."""
    client = await site.connect("tcp")
    await client.write(f"{command}\naccept-version:1.2\nhost:test\n\n\0")
    await client.refused("connected already")


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_client_that_does_not_log_in_in_time_is_told_so(carrier: str) -> None:
    """Rule 2.9: sockbridge's own; no other client needs to come for it."""
    async with serve_stomp(connect_timeout=0.1, heart_beat_min_ms=100) as site:
        await site.hurry()
        client = await site.open(carrier)
        await client.refused("in time")


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_refused_login_is_told_and_ended(carrier: str) -> None:
    """Rule 2.10: STOMP 1.2, "CONNECT or STOMP Frame"."""

    async def authenticate(login: Login) -> User | None:
        if login.passcode == "expired":
            raise AccessRefused("this ticket has expired")
        return User(login.login) if login.passcode == "secret" else None

    async with serve_stomp(authenticate=authenticate) as site:
        client = await site.open(carrier)
        frame = await client.connect(headers={"login": "ann", "passcode": "secret"})
        assert frame.headers["user-name"] == "ann"
        for passcode, text in (("wrong", "login refused"), ("expired", "this ticket has expired")):
            client = await site.open(carrier)
            await client.write(f"CONNECT\naccept-version:1.2\nlogin:ann\npasscode:{passcode}\n\n\0")
            assert "receipt-id" not in (await client.refused(text)).headers


async def test_a_policy_may_refuse_the_login() -> None:
    """Rule 2.10."""
    async with serve_stomp(policy=[Rule.connect(NOBODY), Rule.subscribe("**", EVERYBODY)]) as site:
        client = await site.open("tcp")
        await client.write("CONNECT\naccept-version:1.2\n\n\0")
        await client.refused("connecting is not allowed")


async def test_a_login_that_expires_ends_the_connection() -> None:
    """Rule 2.11: sockbridge's own."""
    now = asyncio.get_running_loop().time

    async def authenticate(login: Login) -> User:
        return User("ann", expires=time.time() + 0.3)

    async with serve_stomp(authenticate=authenticate, heart_beat_min_ms=100) as site:
        begin = now()
        client = await site.connect("tcp", headers={"heart-beat": "0,1000"})
        await client.refused("expired")
        assert now() - begin >= 0.25


async def test_a_connect_gets_connected_and_no_receipt(site: Site) -> None:
    """Rule 2.12: STOMP 1.2, "receipt": any client frame other than CONNECT."""
    client = await site.connect("tcp", headers={"receipt": "r1"})
    assert await client.settle() == []


# Heart-beats.


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("0,0", "0,0"),
        ("10000,10000", "10000,10000"),
        ("1500,2500", "2500,1500"),
        ("0,5000", "5000,0"),
        ("5000,0", "0,5000"),
        ("1,1", "1000,1000"),
        ("100000,100000", "60000,60000"),
        (" 4000 , 4000 ", "4000,4000"),
    ],
)
async def test_heart_beats_are_agreed_to_as_asked_within_bounds(site: Site, asked: str, answered: str) -> None:
    """Rule 2.13: STOMP 1.2, "Heart-beating"; the first number is what the server can send."""
    client = await site.open("tcp")
    assert (await client.connect(headers={"heart-beat": asked})).headers["heart-beat"] == answered


@pytest.mark.parametrize("asked", ["", "x,y", "1000", "1000,", "-1,0", "1000,1000,1000", "1e3,0", "٣,٣"])
async def test_a_heart_beat_header_that_is_none_is_an_error(site: Site, asked: str) -> None:
    """Rule 2.14: STOMP 1.2, "Heart-beating"; two integers."""
    client = await site.open("tcp")
    await client.write(f"CONNECT\naccept-version:1.2\nheart-beat:{asked}\n\n\0")
    await client.refused("heart-beat")


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_beats_come_in_time_to_those_who_asked_and_to_nobody_else(carrier: str) -> None:
    """Rule 2.15: STOMP 1.2, "Heart-beating"; a beat is one line feed, and a message of its own."""
    now = asyncio.get_running_loop().time
    async with serve_stomp(heart_beat_min_ms=400) as site:
        silent = await site.connect("websocket")
        client = await site.connect(carrier, headers={"heart-beat": "0,400"})
        begin = now()
        for _ in range(3):
            assert await client.next() is None
            assert now() - begin < 0.4
            begin = now()
        await silent.settle()
        assert silent.beats == 0


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_client_that_falls_silent_is_told_and_cut(carrier: str) -> None:
    """Rule 2.16: STOMP 1.2, "Heart-beating"; twice the interval is its margin of error."""
    now = asyncio.get_running_loop().time
    async with serve_stomp(heart_beat_min_ms=200) as site:
        client = await site.connect(carrier, headers={"heart-beat": "200,0"})
        begin = now()
        await client.refused("no heart-beat in time")
        assert 0.35 < now() - begin < 1.5


@pytest.mark.parametrize("octet", ["\n", "\r\n", "S"])
async def test_any_octet_counts_as_a_sign_of_life(octet: str) -> None:
    """Rule 2.17: STOMP 1.2, "Heart-beating": any new data; half a frame as well."""
    async with serve_stomp(heart_beat_min_ms=200) as site:
        client = await site.connect("tcp", headers={"heart-beat": "200,200"})
        frame = iter("SEND\ndestination:/topic/a\n\n")
        while client.beats < 8:  # about a second, more than twice what is agreed
            assert await client.next() is None
            await client.write(next(frame) if octet == "S" else octet)
        assert len(site.server) == 1


# The end.


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_disconnect_with_a_receipt_is_answered_and_then_only_silence(site: Site, carrier: str) -> None:
    """Rule 2.18: STOMP 1.2, "DISCONNECT": the client closes; else the server does, after a while."""
    await site.hurry()
    client = await site.connect(carrier)
    await client.subscribe("/topic/a")
    other = await site.connect("websocket")
    await client.write("DISCONNECT\nreceipt:77\n\n\0", "SEND\ndestination:/topic/b\nreceipt:late\n\n\0")
    frame = await client.receive()
    assert (frame.command, frame.headers) == ("RECEIPT", {"receipt-id": "77"})
    assert await other.ask("SEND", {"destination": "/topic/a"}) == []
    await client.ends(1000)


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_disconnect_without_a_receipt_is_the_end(site: Site, carrier: str) -> None:
    """Rule 2.19: STOMP 1.2, "DISCONNECT"."""
    client = await site.connect(carrier)
    await client.send("DISCONNECT")
    await client.ends(1000)


@pytest.mark.parametrize("carrier", ["tcp", "mounted", "sockjs", "xhr_streaming"])
async def test_a_client_that_just_goes_leaves_nothing_behind(site: Site, carrier: str) -> None:
    """Rule 2.20: STOMP 1.2, "Connection Lingering"; old browser clients close without a DISCONNECT."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/a")
    await client.vanish()
    await site.forget()
    assert len(site.server.broker) == 0  # type: ignore[arg-type]  # the embedded broker


async def test_the_server_s_stop_is_told_to_everybody() -> None:
    """Rule 2.21: RFC 6455, 7.4.1, "going away"."""
    async with serve_stomp() as site:
        clients = [await site.connect(carrier) for carrier in ALL_CARRIERS]
        ends = [asyncio.create_task(client.ends(1001)) for client in clients]
        async with asyncio.timeout(GUARD):
            while any(getattr(one.carrier, "receiver", one) is None for one in site.server.connections):
                await asyncio.sleep(0)  # the poll is under way
        await site.stop()
        for end in ends:
            await end
