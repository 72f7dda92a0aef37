"""Section 4, raw websockets: no SockJS frames."""

from __future__ import annotations

import pytest
from aiohttp import WSMsgType

from sockbridge.sockjs.framing import Close
from tests.fakes import GUARD

from .conftest import Wire
from .test_websocket import end, text

URLS = ["/plain/websocket", "/plain", "/plain/"]


@pytest.mark.parametrize("target", URLS)
async def test_text_passes_as_it_is(wire: Wire, target: str) -> None:
    """Rules 4.14 and 4.15."""
    async with await wire.websocket(target) as socket:
        for message in ("Hello world!\uffff", '["a"]', "", "[", "o", "\U0001f600"):
            await socket.send_str(message)
            assert await text(socket) == message


async def test_binary_passes_as_binary(wire: Wire) -> None:
    """Rule 4.16."""
    async with await wire.websocket("/plain/websocket") as socket:
        await socket.send_bytes(b"\x00\xff")
        assert await socket.receive_bytes(timeout=GUARD) == b"\x00\xff"


@pytest.mark.parametrize("target", ["/close/websocket", "/close"])
async def test_a_close_of_the_application_has_its_code_and_reason(wire: Wire, target: str) -> None:
    """Rule 4.17."""
    async with await wire.websocket(target) as socket:
        assert await end(socket) == (3000, "Go away!")


async def test_what_waits_comes_before_the_close(wire: Wire) -> None:
    """Rule 4.17."""
    async with await wire.websocket("/plain/websocket") as socket:
        await socket.send_str("farewell")
        assert await text(socket) == "one"
        assert await text(socket) == "two"
        assert await end(socket) == (4001, "Bye")


async def test_a_raw_socket_is_pinged_and_gets_no_heartbeat_message(wire: Wire) -> None:
    """Rule 4.18."""
    async with await wire.websocket("/beat/websocket", autoping=False) as socket:
        message = await socket.receive(timeout=GUARD)
        assert message.type is WSMsgType.PING


async def test_text_that_is_not_utf8_ends_the_socket(wire: Wire) -> None:
    """Rule 4.15."""
    async with await wire.websocket("/plain/websocket") as socket:
        await socket.send_frame(b"\xff\xfe", WSMsgType.TEXT)
        assert (await end(socket))[0] == 1007


async def test_a_raw_message_that_is_too_large_ends_the_socket(wire: Wire) -> None:
    """Rule 4.8."""
    async with await wire.websocket("/small/websocket") as socket:
        await socket.send_str("x" * 2000)
        assert (await end(socket))[0] == 1009


async def test_the_goodbye_of_a_raw_client_reaches_the_application(wire: Wire) -> None:
    """Rule 4.13."""
    async with await wire.websocket("/plain/websocket") as socket:
        await wire.obedient.wait_for("on_connected")
        await socket.close(code=1001)
    assert await wire.obedient.wait_for("on_closed") == [Close(1001, "")]
