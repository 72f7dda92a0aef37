"""Check 39: frames and messages of the carrier are two things; limits; octets."""

from __future__ import annotations

import pytest

from ..stomp.clients import words
from ..stomp.site import CARRIERS, Site
from .application import serve_spring

OCTETS = "application/octet-stream"


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_39_line_ends_before_and_within_frames(site: Site, carrier: str) -> None:
    """Rule 7.39: LF and CR LF, as Spring's own client writes them."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/messages")
    await client.write("\n\r\n\nSEND\r\ndestination:/app/echo\r\n\r\nbody\0\n")
    assert (await client.message()).text == "body"


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_39_several_frames_in_one_message(site: Site, carrier: str) -> None:
    """Rule 7.39."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/messages")
    await client.write("".join(f"SEND\ndestination:/app/echo\n\n{number}\0\n" for number in range(3)))
    assert [frame.text for frame in await client.messages(3)] == ["0", "1", "2"]


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("size", [8 * 1024, 16 * 1024])
async def test_39_one_frame_over_many_messages(site: Site, size: int, carrier: str) -> None:
    """Rule 7.39: as stompjs and webstomp cut them."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/messages")
    body = "0123456789" * 6000
    frame = str(words("SEND", {"destination": "/app/echo", "content-length": str(len(body))}, body, "1.2"))
    await client.write(*(frame[start : start + size] for start in range(0, len(frame), size)))
    assert (await client.message()).text == body


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_39_a_nul_in_a_body(site: Site, carrier: str) -> None:
    """Rule 7.39."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/messages")
    await client.publish("/app/echo", "a\0b", **{"content-length": "3"})
    assert (await client.message()).text == "a\0b"


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_39_a_message_of_60_kib_at_once(site: Site, carrier: str) -> None:
    """Rule 7.39: Spring ends the connection with 1009."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/messages")
    await client.publish("/app/echo", "ö" * 30 * 1024)
    assert (await client.message()).text == "ö" * 30 * 1024


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("is_announced", [False, True])
async def test_39_above_the_limit_an_error_names_it(is_announced: bool, carrier: str) -> None:
    """Rule 7.39: an announcement is enough."""
    async with serve_spring(max_body_size=64 * 1024) as spring:
        client = await spring.site.connect(carrier)
        if is_announced:
            await client.write("SEND\ndestination:/app/echo\ncontent-length:65537\n\n")
        else:
            await client.publish("/app/echo", "x" * 65537)
        await client.refused("the limit is 65536 bytes")


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_39_octets_are_a_binary_message_on_a_plain_websocket_alone(site: Site, carrier: str) -> None:
    """Rule 7.39: a receiver over SockJS lives on; what is no text it is not sent."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/messages")
    for body in (b"text", b"\xff\xfe"):
        await site.server.messaging.send("/topic/messages", body)
    await site.server.messaging.send("/topic/messages", "still here")
    frames = await client.messages(3 if carrier in ("mounted", "websocket") else 2)
    assert [frame.headers["content-type"] for frame in frames[:-1]] == [OCTETS] * (len(frames) - 1)
    assert all(frame.is_binary == (carrier in ("mounted", "websocket")) for frame in frames[:-1])
    assert (frames[0].body, frames[-1].text, frames[-1].is_binary) == (b"text", "still here", False)
