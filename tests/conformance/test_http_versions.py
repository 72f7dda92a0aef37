"""Section 6: HTTP/1.1 and HTTP/1.0, and when a connection goes on."""

from __future__ import annotations

import pytest

from .conftest import GO_AWAY, RECEIVERS, STREAMS, Wire

OLD = [{}, {"Connection": "Keep-Alive"}]


async def test_one_connection_carries_several_requests(wire: Wire) -> None:
    """Rule 6.1."""
    connection = await wire.connect()
    for _ in range(3):
        await connection.ask("GET", "/echo", headers={"Connection": "Keep-Alive"})
        answer = await connection.answer()
        assert (answer.version, answer.status, answer.body) == ("HTTP/1.1", 200, b"Welcome to SockJS!\n")
        assert answer.headers.get("Connection", "").lower() != "close"


async def test_polls_and_sends_share_a_connection(wire: Wire) -> None:
    """Rule 6.1."""
    connection = await wire.connect()
    url = wire.new()
    await connection.ask("POST", f"{url}/xhr")
    assert (await connection.answer()).body == b"o\n"
    for number in range(3):
        await connection.ask("POST", f"{url}/xhr_send", b'["%d"]' % number)
        assert (await connection.answer()).status == 204
        await connection.ask("POST", f"{url}/xhr")
        assert (await connection.answer()).body == b'a["%d"]\n' % number


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_stream_is_chunked_and_has_no_length(wire: Wire, transport: str) -> None:
    """Rule 6.2."""
    stream = await wire.receive(wire.new("/close"), transport)
    assert stream.head is not None
    assert (stream.head.version, stream.head.status) == ("HTTP/1.1", 200)
    assert stream.head.headers.getall("Transfer-Encoding") == ["chunked"]
    assert "Content-Length" not in stream.head.headers
    assert await stream.frame() == "o"
    assert await stream.frame() == GO_AWAY
    await stream.end()


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_finished_stream_leaves_its_connection_to_the_next(wire: Wire, transport: str) -> None:
    """Rule 6.2."""
    connection = await wire.connect()
    url = wire.new("/close")
    for frames in (["o", GO_AWAY], [GO_AWAY]):
        stream = await wire.receive(url, transport, connection)
        assert [await stream.frame() for _ in frames] == frames
        await stream.end()


@pytest.mark.parametrize("headers", OLD)
async def test_the_greeting_reaches_old_clients(wire: Wire, headers: dict[str, str]) -> None:
    """Rule 6.3."""
    connection = await wire.connect()
    await connection.ask("GET", "/echo", headers=headers, version="1.0")
    head = await connection.head()
    assert head.status == 200
    assert "Transfer-Encoding" not in head.headers
    if "Content-Length" in head.headers:
        assert await connection.exactly(int(head.headers["Content-Length"])) == b"Welcome to SockJS!\n"
    else:
        assert head.headers["Connection"].lower() == "close"
        assert await connection.rest() == b"Welcome to SockJS!\n"


@pytest.mark.parametrize("headers", OLD)
@pytest.mark.parametrize("transport", STREAMS)
async def test_an_old_client_s_stream_ends_with_its_connection(
    wire: Wire, transport: str, headers: dict[str, str]
) -> None:
    """Rule 6.4."""
    connection = await wire.connect()
    method, path = RECEIVERS[transport]
    await connection.ask(method, f"{wire.new('/close')}/{path}", headers=headers, version="1.0")
    head = await connection.head()
    assert head.status == 200
    assert "Transfer-Encoding" not in head.headers
    assert "Content-Length" not in head.headers
    body = await connection.rest()
    assert body.count(b"Go away!") == 1
    assert b"\r\n0\r\n" not in body


@pytest.mark.parametrize("headers", OLD)
@pytest.mark.parametrize("transport", ["xhr", "jsonp"])
async def test_an_old_client_s_poll_ends_with_its_connection(
    wire: Wire, transport: str, headers: dict[str, str]
) -> None:
    """Rule 6.4."""
    connection = await wire.connect()
    method, path = RECEIVERS[transport]
    await connection.ask(method, f"{wire.new()}/{path}", headers=headers, version="1.0")
    head = await connection.head()
    assert head.status == 200
    assert "Transfer-Encoding" not in head.headers
    assert b"o" in await connection.rest()


@pytest.mark.parametrize("transport", STREAMS)
async def test_an_old_client_s_stream_ends_at_the_limit_and_goes_on(wire: Wire, transport: str) -> None:
    """Rule 6.4."""
    url = wire.new("/once")
    method, path = RECEIVERS[transport]
    connection = await wire.connect()
    await connection.ask(method, f"{url}/{path}", headers=OLD[1], version="1.0")
    await connection.head()
    await connection.rest()
    await wire.send(url, "next")
    connection = await wire.connect()
    await connection.ask(method, f"{url}/{path}", headers=OLD[1], version="1.0")
    await connection.head()
    assert b"next" in await connection.rest()
