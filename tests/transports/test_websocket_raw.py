"""Raw websockets: messages as they are, text and binary."""

from __future__ import annotations

import logging
import struct

import pytest

from sockbridge.errors import ProtocolError
from sockbridge.sockjs.framing import Close

from .wire import BINARY, CLOSE, TEXT, connected, echo_server

pytestmark = pytest.mark.usefixtures("each_reader")


async def test_text_and_bytes_come_back_as_what_they_were() -> None:
    async with echo_server() as (url, _, handler), connected(url, "websocket-raw") as (client,):
        client.wire.send_frame(b'["a"]')
        client.wire.send_frame(b"\xff\x00", BINARY)
        client.wire.send_frame(b"", TEXT)
        assert await client.wire.read_frame() == (TEXT, b'["a"]')
        assert await client.wire.read_frame() == (BINARY, b"\xff\x00")
        assert await client.wire.read_frame() == (TEXT, b"")
        assert handler.values("on_message") == ['["a"]', b"\xff\x00", ""]


async def test_text_that_is_not_utf8_ends_the_session_with_1007(caplog: pytest.LogCaptureFixture) -> None:
    """RFC 6455, 8.1."""
    caplog.set_level(logging.INFO)
    async with echo_server() as (url, _, handler), connected(url, "websocket-raw", "websocket-raw") as (client, other):
        client.wire.send_frame(b"secret word \xff")
        opcode, payload = await client.wire.read_frame()
        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1007))
        assert isinstance((await handler.wait_for("on_transport_error"))[0], ProtocolError)
        assert await handler.wait_for("on_closed") == [Close(1007, "Text is not UTF-8.", clean=False)]
        await other.send("still here")
        assert await other.messages() == ["still here"]
    assert len(caplog.records) == 1
    assert "secret word" not in caplog.text


async def test_the_goodbye_is_the_close_frame() -> None:
    """sockjs-protocol, "RawWebsocket": code and reason of the application."""
    async with echo_server() as (url, endpoint, handler), connected(url, "websocket-raw") as (client,):
        await handler.wait_for("on_connected")
        next(endpoint.sessions).close()
        assert await client.wire.read_frame() == (CLOSE, struct.pack("!H", 3000) + b"Go away!")


async def test_each_message_is_a_frame_of_its_own() -> None:
    async with echo_server() as (url, endpoint, handler), connected(url, "websocket-raw") as (client,):
        await handler.wait_for("on_connected")
        session = next(endpoint.sessions)
        for message in ("one", b"two", "three"):
            session.send(message)
        frames = [await client.wire.read_frame() for _ in range(3)]
        assert frames == [(TEXT, b"one"), (BINARY, b"two"), (TEXT, b"three")]
