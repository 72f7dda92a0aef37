"""Section 4, framed websockets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json

import aiohttp
import pytest
from aiohttp import WSMsgType

from sockbridge.errors import ConnectionLost
from sockbridge.sockjs.framing import Close
from tests.fakes import GUARD

from .conftest import GO_AWAY, Connection, Wire

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}
SOCKETS = ["/echo/000/id/websocket", "/echo/websocket"]


async def text(socket: aiohttp.ClientWebSocketResponse) -> str:
    """The next text message; anything else fails."""
    return await socket.receive_str(timeout=GUARD)


async def end(socket: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str | None]:
    """Code and reason of the close frame that comes next."""
    message = await socket.receive(timeout=GUARD)
    assert message.type is WSMsgType.CLOSE, message
    return message.data, message.extra


async def upgraded(wire: Wire, target: str) -> Connection:
    """A websocket without a client library."""
    connection = await wire.connect()
    await connection.ask("GET", target, headers=UPGRADE)
    assert (await connection.head()).status == 101
    return connection


@pytest.mark.parametrize("target", SOCKETS)
async def test_a_plain_get_is_no_websocket(wire: Wire, target: str) -> None:
    """Rule 4.1."""
    assert (await wire.request("GET", target)).status == 400


@pytest.mark.parametrize("target", SOCKETS)
@pytest.mark.parametrize(
    "changed",
    [
        {"Connection": "close"},
        {"Connection": "keep-alive"},
        {"Upgrade": "h2c"},
        {"Sec-WebSocket-Key": "short"},
        {"Sec-WebSocket-Key": ""},
    ],
)
async def test_a_faulty_handshake_is_refused(wire: Wire, target: str, changed: dict[str, str]) -> None:
    """Rule 4.2."""
    assert (await wire.request("GET", target, headers=UPGRADE | changed)).status == 400


@pytest.mark.parametrize("target", SOCKETS)
@pytest.mark.parametrize("version", ["99", "12", "13, 8"])
async def test_a_handshake_of_another_version_is_told_ours(wire: Wire, target: str, version: str) -> None:
    """Rule 4.2."""
    answer = await wire.request("GET", target, headers=UPGRADE | {"Sec-WebSocket-Version": version})
    assert (answer.status, answer.headers["Sec-WebSocket-Version"]) == (426, "13")


@pytest.mark.parametrize("target", SOCKETS)
async def test_a_post_is_no_handshake(wire: Wire, target: str) -> None:
    """Rule 4.2."""
    answer = await wire.request("POST", target, headers=UPGRADE)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET"
    assert "Content-Type" not in answer.headers
    assert answer.body == b""


@pytest.mark.parametrize("target", [*SOCKETS, "/echo", "/echo/"])
@pytest.mark.parametrize("connection", ["Upgrade", "keep-alive, Upgrade", "upgrade"])
async def test_a_good_handshake_is_answered_as_the_rfc_wants(wire: Wire, target: str, connection: str) -> None:
    """Rule 4.3."""
    opened = await wire.connect()
    await opened.ask("GET", target, headers=UPGRADE | {"Connection": connection})
    head = await opened.head()
    accept = base64.b64encode(hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    assert (head.version, head.status) == ("HTTP/1.1", 101)
    assert head.headers["Connection"].lower() == "upgrade"
    assert head.headers["Upgrade"].lower() == "websocket"
    assert head.headers["Sec-WebSocket-Accept"] == accept.decode()
    assert "Content-Length" not in head.headers
    assert "Sec-WebSocket-Protocol" not in head.headers
    assert "Sec-WebSocket-Extensions" not in head.headers


async def test_frames_are_websocket_messages_without_a_line_feed(wire: Wire) -> None:
    """Rule 4.4."""
    connection = await upgraded(wire, wire.new() + "/websocket")
    assert await connection.exactly(3) == b"\x81\x01o"
    await connection.write(b"\x81\x85\0\0\0\0" + b'["a"]')
    assert await connection.exactly(8) == b'\x81\x06a["a"]'


async def test_several_messages_of_one_frame_come_back_in_order(wire: Wire) -> None:
    """Rule 4.4."""
    async with await wire.websocket(wire.new() + "/websocket") as socket:
        assert await text(socket) == "o"
        await socket.send_str('["a","b"]')
        await socket.send_str('["c"]')
        messages: list[str] = []
        while len(messages) < 3:
            messages += json.loads((await text(socket))[1:])
        assert messages == ["a", "b", "c"]


async def test_messages_of_every_frame_size_come_back(wire: Wire) -> None:
    """Rule 4.4."""
    async with await wire.websocket(wire.new() + "/websocket", max_msg_size=0) as socket:
        assert await text(socket) == "o"
        for size in (0, 119, 120, 121, 65_529, 65_530, 65_531, 200_000):
            await socket.send_str(json.dumps(["x" * size]))
            assert await text(socket) == f'a["{"x" * size}"]'


async def test_empty_frames_and_arrays_are_ignored(wire: Wire) -> None:
    """Rule 4.5."""
    async with await wire.websocket(wire.new() + "/websocket") as socket:
        assert await text(socket) == "o"
        for nothing in ("", "[]", " [ ] "):
            await socket.send_str(nothing)
        await socket.send_str('["a"]')
        assert await text(socket) == 'a["a"]'


async def test_a_bare_string_is_one_message(wire: Wire) -> None:
    """Rule 4.6."""
    async with await wire.websocket(wire.new() + "/websocket") as socket:
        assert await text(socket) == "o"
        await socket.send_str('"a"')
        assert await text(socket) == 'a["a"]'


async def test_a_binary_frame_is_read_as_text(wire: Wire) -> None:
    """Rule 4.6."""
    async with await wire.websocket(wire.new() + "/websocket") as socket:
        assert await text(socket) == "o"
        await socket.send_bytes(b'["a"]')
        assert await text(socket) == 'a["a"]'


@pytest.mark.parametrize("bad", ['["a', "[", "x", "5", "null", "{}", "[1]", '["a",null]', "[[]]", '["a"]["b"]'])
async def test_a_bad_payload_ends_the_socket(wire: Wire, bad: str) -> None:
    """Rule 4.7."""
    async with await wire.websocket(wire.new("/plain") + "/websocket") as socket:
        assert await text(socket) == "o"
        await socket.send_str(bad)
        assert await text(socket) == 'c[3000,"Broken framing."]'
        assert await end(socket) == (3000, "Broken framing.")
    assert len(await wire.obedient.wait_for("on_transport_error")) == 1
    await wire.obedient.wait_for("on_closed")
    assert "on_message" not in wire.obedient.names()


async def test_a_bad_payload_harms_no_other_socket(wire: Wire) -> None:
    """Rule 4.7."""
    url = wire.new() + "/websocket"
    async with await wire.websocket(url) as good, await wire.websocket(url) as bad:
        assert await text(good) == "o"
        assert await text(bad) == "o"
        await bad.send_bytes(b"\xff\xfe")
        assert await text(bad) == 'c[3000,"Broken framing."]'
        assert await end(bad) == (3000, "Broken framing.")
        await good.send_str('["a"]')
        assert await text(good) == 'a["a"]'


async def test_a_message_that_is_too_large_ends_the_socket(wire: Wire) -> None:
    """Rule 4.8."""
    async with await wire.websocket(wire.new("/small") + "/websocket") as socket:
        assert await text(socket) == "o"
        await socket.send_str(json.dumps(["x" * 2000]))
        assert (await end(socket))[0] == 1009
    await wire.obedient.wait_for("on_closed")


async def test_after_the_close_frame_the_socket_is_closed(wire: Wire) -> None:
    """Rule 4.9."""
    async with await wire.websocket(wire.new("/close") + "/websocket") as socket:
        assert await text(socket) == "o"
        assert await text(socket) == GO_AWAY
        assert await end(socket) == (3000, "Go away!")


async def test_what_waits_comes_before_the_close_frame(wire: Wire) -> None:
    """Rule 4.9."""
    async with await wire.websocket(wire.new("/plain") + "/websocket") as socket:
        assert await text(socket) == "o"
        await socket.send_str('["farewell"]')
        assert await text(socket) == 'a["one","two"]'
        assert await text(socket) == 'c[4001,"Bye"]'
        assert await end(socket) == (4001, "Bye")


async def test_one_id_serves_several_sockets_at_once_and_again(wire: Wire) -> None:
    """Rule 4.10."""
    url = wire.new() + "/websocket"
    for _ in range(2):
        async with await wire.websocket(url) as first, await wire.websocket(url) as second:
            assert await text(first) == "o"
            assert await text(second) == "o"
            await first.send_str('["1"]')
            await second.send_str('["2"]')
            assert await text(first) == 'a["1"]'
            assert await text(second) == 'a["2"]'


async def test_a_socket_s_session_is_out_of_reach_for_http(wire: Wire) -> None:
    """Rule 4.10."""
    url = wire.new()
    async with await wire.websocket(url + "/websocket") as socket:
        assert await text(socket) == "o"
        assert (await wire.request("POST", f"{url}/xhr_send", b'["a"]')).status == 404
        assert await wire.poll(url) == "o"
        await wire.send(url, "by http")
        assert await wire.poll(url) == 'a["by http"]'
        await socket.send_str('["by websocket"]')
        assert await text(socket) == 'a["by websocket"]'


@pytest.mark.parametrize("target", SOCKETS)
async def test_every_origin_may_open_a_socket_where_all_are_allowed(wire: Wire, target: str) -> None:
    """Rule 4.11."""
    async with await wire.websocket(target, headers={"Origin": "http://page.example"}) as socket:
        await socket.send_str('["a"]')
        assert (await text(socket)) in ("o", '["a"]')


async def test_an_unknown_subprotocol_is_not_agreed_to(wire: Wire) -> None:
    """Rule 4.3."""
    opened = await wire.connect()
    await opened.ask("GET", wire.new() + "/websocket", headers=UPGRADE | {"Sec-WebSocket-Protocol": "chat, v1"})
    head = await opened.head()
    assert head.status == 101
    assert "Sec-WebSocket-Protocol" not in head.headers


async def test_an_idle_socket_is_pinged_and_lives_on_with_its_pongs(wire: Wire) -> None:
    """Rule 4.12."""
    async with await wire.websocket(wire.new("/beat") + "/websocket", autoping=False) as socket:
        assert await text(socket) == "o"
        for _ in range(3):
            message = await socket.receive(timeout=GUARD)
            assert message.type is WSMsgType.PING
            await socket.pong(message.data)
        await socket.send_str('["a"]')
        assert await text(socket) == 'a["a"]'


async def test_a_socket_that_answers_no_ping_is_cut(wire: Wire) -> None:
    """Rule 4.12."""
    connection = await upgraded(wire, wire.new("/strict") + "/websocket")
    assert await connection.exactly(5) == b"\x81\x01o\x89\x00"
    assert await connection.rest() == b""
    assert len(await wire.obedient.wait_for("on_transport_error")) == 1
    assert await wire.obedient.wait_for("on_closed") == [Close(1002, "Connection interrupted", clean=False)]


async def test_a_ping_of_the_client_is_answered(wire: Wire) -> None:
    """Rule 4.12."""
    connection = await upgraded(wire, wire.new() + "/websocket")
    assert await connection.exactly(3) == b"\x81\x01o"
    await connection.write(b"\x89\x82\0\0\0\0hi")
    assert await connection.exactly(4) == b"\x8a\x02hi"


async def test_the_client_s_goodbye_reaches_the_application(wire: Wire) -> None:
    """Rule 4.13."""
    async with await wire.websocket(wire.new("/plain") + "/websocket") as socket:
        assert await text(socket) == "o"
        await socket.close(code=4002, message=b"Enough")
    assert await wire.obedient.wait_for("on_closed") == [Close(4002, "Enough")]
    assert "on_transport_error" not in wire.obedient.names()


async def test_a_goodbye_without_a_code_is_a_goodbye(wire: Wire) -> None:
    """Rule 4.13."""
    connection = await upgraded(wire, wire.new("/plain") + "/websocket")
    assert await connection.exactly(3) == b"\x81\x01o"
    await connection.write(b"\x88\x80\0\0\0\0")
    assert (await connection.rest())[:1] == b"\x88"
    assert await wire.obedient.wait_for("on_closed") == [Close(1005, "")]


@pytest.mark.parametrize("ending", ["leave", "reset"])
@pytest.mark.parametrize("target", ["/brief/000/id/websocket", "/brief/websocket"])
async def test_a_socket_cut_off_is_noticed_at_once(wire: Wire, target: str, ending: str) -> None:
    """Rule 4.13."""
    connection = await upgraded(wire, target)
    await wire.obedient.wait_for("on_connected")
    await getattr(connection, ending)()
    async with asyncio.timeout(GUARD):
        (error,) = await wire.obedient.wait_for("on_transport_error")
    assert isinstance(error, ConnectionLost)
    assert await wire.obedient.wait_for("on_closed") == [Close(1002, "Connection interrupted", clean=False)]
