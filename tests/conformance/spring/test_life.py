"""Check 40: order, slow and silent clients, the server's stop."""

from __future__ import annotations

import asyncio
import json

import pytest
from yarl import URL

from tests.fakes import GUARD

from ..stomp.clients import words
from ..stomp.site import CARRIERS, WITH_POLLING, Site
from .application import Application, serve_spring

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
LOGIN = [
    str(words("CONNECT", {"accept-version": "1.2"})),
    str(words("SUBSCRIBE", {"id": "1", "destination": "/topic/messages"})),
]


@pytest.mark.parametrize("carrier", WITH_POLLING)
async def test_40_a_thousand_messages_arrive_in_the_order_of_their_sending(site: Site, carrier: str) -> None:
    """Rule 7.40: Spring does so with a flag only."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/messages")
    for number in range(1000):
        await site.server.messaging.send("/topic/messages", str(number))
    assert [frame.text for frame in await client.messages(1000)] == [str(number) for number in range(1000)]


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_40_slow_and_fast_handlers_are_answered_in_the_order_of_the_sends(
    site: Site, application: Application, carrier: str
) -> None:
    """Rule 7.40."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/messages")
    for text in ("slow", "fast", "faster"):
        await client.publish("/app/gated", text)
    async with asyncio.timeout(GUARD):
        await application.gate.waiting.wait()
    application.gate.open.set()
    assert [frame.text for frame in await client.messages(3)] == ["slow", "fast", "faster"]


class Stubborn:
    """Logs in, subscribes, and reads no more: by hand, as every HTTP client reads on by itself."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    @classmethod
    async def connect(cls, site: Site, carrier: str) -> Stubborn:
        """Over any carrier; returns when its subscription is in force."""
        url = URL(site.url)
        reader, writer = await asyncio.open_connection(url.host, url.port, limit=4096)
        session = "/ws/000/stubborn"
        path = {"mounted": "/ws", "websocket": "/ws/websocket", "sockjs": f"{session}/websocket"}.get(carrier)
        if path is None:
            writer.write(f"POST {session}/xhr_streaming HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n".encode())
            await reader.readuntil(b"o\n")
            async with site.http.post(f"{site.url}{session}/xhr_send", data=json.dumps(LOGIN)) as answer:
                assert answer.status == 204
        else:
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()
            )
            await reader.readuntil(b"\r\n\r\n")
            for message in [json.dumps(LOGIN)] if carrier == "sockjs" else LOGIN:
                payload = message.encode()
                assert len(payload) < 65536
                size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
                writer.write(b"\x81" + size + bytes(4) + payload)  # masked by zeros
        await site.until(lambda: len(site.server.broker) == 2)  # type: ignore[arg-type]  # the embedded broker
        return cls(writer)


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_40_who_stops_reading_is_closed_and_holds_up_nobody(carrier: str) -> None:
    """Rule 7.40: by the limit of the send buffer; the others get everything meanwhile."""
    async with serve_spring({"send_buffer_limit": 200_000, "write_timeout": 1.0}) as spring:
        site = spring.site
        neighbour = await site.connect(carrier)
        await neighbour.subscribe("/topic/messages")
        stubborn = await Stubborn.connect(site, carrier)
        body = "x" * 100_000
        async with asyncio.timeout(4 * GUARD):
            while site.server.counters.disconnected == 0:
                await site.server.messaging.send("/topic/messages", body)
                assert (await neighbour.message()).text == body
        assert [connection.is_open for connection in site.server.connections] == [True]
        stubborn.writer.transport.abort()


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_40_a_socket_that_says_nothing_is_closed_without_the_help_of_others(carrier: str) -> None:
    """Rule 7.40: Spring looks at it when somebody else connects."""
    async with serve_spring(connect_timeout=0.1) as spring:
        client = await spring.site.open(carrier)
        await client.refused("in time")


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_40_the_stop_of_the_server_is_1001(site: Site, carrier: str) -> None:
    """Rule 7.40: stompjs and sockjs-client connect again after it."""
    client = await site.connect(carrier)
    end = asyncio.create_task(client.ends(1001))
    await site.stop()
    await end
