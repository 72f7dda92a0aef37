"""Section 6: what carries STOMP: plain websockets, SockJS, TCP."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError

from .clients import SockjsWebsocketClient, TcpClient, WebsocketClient
from .site import ALL_CARRIERS, VERSIONS, Site, serve_stomp

PLAIN = ("mounted", "websocket")
SOCKJS = ("sockjs", "xhr_streaming", "xhr")
OCTETS = "application/octet-stream"


@pytest.mark.parametrize("carrier", PLAIN)
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["v12.stomp"], "v12.stomp"),
        (["v10.stomp", "v11.stomp"], "v10.stomp"),
        (["v12.stomp", "v11.stomp", "v10.stomp"], "v12.stomp"),
        (["v10.stomp", "v11.stomp", "v12.stomp"], "v10.stomp"),
        (["x", "v11.stomp"], "v11.stomp"),
        (["x", "y"], None),
        ([], None),
    ],
)
async def test_the_client_s_first_subprotocol_that_we_know_is_chosen(
    site: Site, offered: list[str], chosen: str | None, carrier: str
) -> None:
    """Rule 6.1: RFC 6455, 4.2.2; the IANA names; browsers fail if none of theirs is chosen."""
    client = await site.open(carrier, protocols=offered)
    assert isinstance(client, WebsocketClient)
    assert client.socket.protocol == chosen
    assert (await client.connect()).headers["version"] == "1.2"


async def test_the_version_is_agreed_on_by_connect_alone(site: Site) -> None:
    """Rule 6.2: STOMP 1.2, "Protocol Negotiation"."""
    client = await site.open("websocket", protocols=["v10.stomp"])
    assert (await client.connect("1.1")).headers["version"] == "1.1"


@pytest.mark.parametrize("carrier", PLAIN)
@pytest.mark.parametrize("version", VERSIONS)
async def test_who_talks_in_text_is_answered_in_text(site: Site, version: str, carrier: str) -> None:
    """Rule 6.3: browsers' clients read text."""
    client = await site.open(carrier)
    assert not (await client.connect(version)).is_binary
    await client.subscribe("/topic/a")
    await client.publish("/topic/a", "wörld")
    assert not (await client.message()).is_binary
    await client.write("PONG\n\n\0")
    assert not (await client.refused()).is_binary


@pytest.mark.parametrize("carrier", PLAIN)
@pytest.mark.parametrize("version", VERSIONS)
async def test_who_talks_in_binary_is_answered_in_binary(site: Site, version: str, carrier: str) -> None:
    """Rule 6.4: stompjs, ``forceBinaryWSFrames``."""
    client = await site.open(carrier)
    await client.write(f"CONNECT\naccept-version:{version}\n\n\0".encode())
    assert (await client.connected()).is_binary
    await client.write(b"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0")
    await client.write(b"SEND\ndestination:/topic/a\n\nw\xc3\xb6rld\0")
    frame = await client.message()
    assert (frame.text, frame.is_binary) == ("wörld", True)
    await client.write(b"PONG\n\n\0")
    assert (await client.refused()).is_binary


@pytest.mark.parametrize("carrier", PLAIN)
async def test_text_and_binary_may_cut_one_frame(site: Site, carrier: str) -> None:
    """Rule 6.5: a frame is a matter of octets, not of messages."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/a")
    await client.write("SEND\ndestination:/topic/a\n\nhalf ", b"and half\0")
    assert (await client.message()).text == "half and half"


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_octets_are_binary_where_there_is_binary_and_harm_nobody_elsewhere(site: Site, carrier: str) -> None:
    """Rule 6.6: as Spring, without its loss of the SockJS session."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/a")
    publisher = await site.connect("tcp")
    await publisher.publish("/topic/a", b"plain", **{"content-type": OCTETS})
    await publisher.publish("/topic/a", b"\xff\x00\xfe", **{"content-length": "3"})
    await publisher.publish("/topic/a", b"text")
    first = await client.message()
    assert (first.body, first.is_binary) == (b"plain", carrier in PLAIN)
    if carrier not in SOCKJS:
        second = await client.message()
        assert (second.body, second.is_binary) == (b"\xff\x00\xfe", carrier in PLAIN)
    last = await client.message()
    assert (last.body, last.is_binary) == (b"text", False)


async def test_what_sockjs_cannot_carry_is_counted(site: Site) -> None:
    """Rule 6.7: sockbridge's own: a loss is never silent."""
    client = await site.connect("sockjs")
    await client.subscribe("/topic/a")
    publisher = await site.connect("tcp")
    await publisher.publish("/topic/a", b"\xff")
    await publisher.settle()
    assert await client.settle() == []
    await client.vanish()
    await site.forget()
    assert site.server.counters.undelivered == 1


async def test_a_sockjs_client_that_sends_objects_is_told_what_is_wrong(site: Site) -> None:
    """Rule 6.8: sockjs-client makes text of an ArrayBuffer: its name."""
    client = await site.connect("sockjs")
    await client.write("[object ArrayBuffer]")
    await client.refused("SockJS carries text")


async def test_a_message_of_sockjs_may_hold_several_frames_and_half_ones(site: Site) -> None:
    """Rule 6.9: sockjs-protocol, WebsocketHybi10: an array of messages."""
    client = await site.connect("sockjs")
    assert isinstance(client, SockjsWebsocketClient)
    await client.subscribe("/topic/a")
    frames = ["SEND\ndestination:/topic/a\n\n1\0SEND\nde", "stination:/topic/a\n\n2\0\n", "\n"]
    await client.socket.send_str(json.dumps(frames))
    assert [frame.text for frame in await client.messages(2)] == ["1", "2"]


@pytest.mark.parametrize("carrier", SOCKJS)
async def test_beats_of_a_client_travel_as_messages_of_sockjs(carrier: str) -> None:
    """Rule 6.10: a message that is a line feed keeps the client alive."""
    async with serve_stomp(heart_beat_min_ms=300) as site:
        client = await site.connect(carrier, headers={"heart-beat": "300,300"})
        while client.beats < 6:  # 0.9 seconds, more than twice what is agreed
            assert await client.next() is None
            await client.write("\n")
        assert await client.settle() == []


@pytest.mark.parametrize("carrier", PLAIN)
async def test_text_that_is_not_utf8_ends_a_websocket(site: Site, carrier: str) -> None:
    """Rule 6.11: RFC 6455, 8.1."""
    client = await site.connect(carrier)
    assert isinstance(client, WebsocketClient)
    await client.socket.send_frame(b"SEND\ndestination:/topic/a\n\n\xff\0", WSMsgType.TEXT)
    await client.ends(1007)


async def test_a_handshake_of_a_foreign_page_is_refused_unless_allowed() -> None:
    """Rule 6.12: RFC 6455, 10.2."""
    async with serve_stomp(options={"allowed_origins": ["https://good.example"]}) as site:
        for carrier in PLAIN:
            with pytest.raises(WSServerHandshakeError) as refusal:
                await site.open(carrier, headers={"Origin": "https://bad.example"})
            assert refusal.value.status == 403
            client = await site.open(carrier, headers={"Origin": "https://good.example"})
            await client.connect()


# TCP.


async def test_a_client_that_has_said_all_it_had_to_say_is_still_answered(site: Site) -> None:
    """Rule 6.13: STOMP 1.2, "Connection Lingering"; half-closed, as netcat does."""
    client = await site.connect("tcp")
    assert isinstance(client, TcpClient)
    await client.subscribe("/topic/a")
    await client.write("SEND\ndestination:/topic/a\nreceipt:r\n\nx\0")
    client.writer.write_eof()
    assert (await client.message()).text == "x"
    assert (await client.receive()).headers == {"receipt-id": "r"}
    await client.ends()


async def test_a_tcp_connection_that_both_sides_have_ended_is_gone_at_once(site: Site) -> None:
    """Rule 6.13."""
    client = await site.connect("tcp")
    assert isinstance(client, TcpClient)
    await client.write("PONG\n\n\0")
    await client.refused()
    await client.release()
    begin = asyncio.get_running_loop().time()
    await site.until(lambda: len(site.listener) == 0)
    assert asyncio.get_running_loop().time() - begin < 0.5


async def test_who_waits_for_the_server_to_close_sees_it_close(site: Site) -> None:
    """Rule 6.14: STOMP 1.2, "ERROR"; nothing keeps a TCP connection half open."""
    client = await site.connect("tcp")
    assert isinstance(client, TcpClient)
    await client.write("PONG\n\n\0")
    await client.refused()
    await site.until(lambda: len(site.listener) == 0)  # the client does not close at all
