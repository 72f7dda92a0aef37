"""The opening handshake: what is none, what is answered, which compression is agreed on."""

from __future__ import annotations

import base64
import os

import pytest
from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from sockbridge.transports.websocket_upgrade import (
    Compression,
    NoHandshake,
    Upgrade,
    agree_on_compression,
    upgrade,
)

from .wire import Wire, echo_server

KEY = "dGhlIHNhbXBsZSBub25jZQ=="

SOUND = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}
"""The handshake of RFC 6455, 1.2."""


def request(*left_out: str, version: object = HttpVersion11, **changed: str) -> web.Request:
    """A sound handshake but for ``left_out`` and ``changed``, whose underscores stand for hyphens."""
    headers = CIMultiDict(SOUND)
    for name in left_out:
        del headers[name]
    for name, value in changed.items():
        headers[name.replace("_", "-")] = value
    return make_mocked_request("GET", "/echo/websocket", headers=headers, version=version)  # type: ignore[arg-type]


def answer(asked: web.Request, subprotocol: str | None = None, *, is_compressible: bool = False) -> Upgrade:
    return upgrade(asked, subprotocol, is_compressible=is_compressible)


# What is answered.


def test_the_example_of_the_standard_is_answered() -> None:
    """RFC 6455, 1.3."""
    response = answer(request())
    assert response.status == 101
    assert response.headers == {
        "Upgrade": "websocket",
        "Connection": "upgrade",
        "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    }
    assert response.compression_agreed is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Upgrade", "WebSocket"),
        ("Upgrade", " websocket "),
        ("Connection", "upgrade"),
        ("Connection", "keep-alive, Upgrade"),
        ("Connection", "UPGRADE,keep-alive"),
        ("Sec-WebSocket-Version", "8"),
        ("Sec-WebSocket-Version", "7"),
    ],
)
def test_what_clients_write_otherwise_is_a_handshake_too(name: str, value: str) -> None:
    """RFC 6455, 4.2.1 and 4.4; Firefox sends ``keep-alive, Upgrade``."""
    assert answer(request(**{name.replace("-", "_"): value})).status == 101


def test_any_16_bytes_are_a_key() -> None:
    for _ in range(20):
        assert answer(request(Sec_WebSocket_Key=base64.b64encode(os.urandom(16)).decode())).status == 101


def test_the_subprotocol_that_was_agreed_on_is_told() -> None:
    assert answer(request(), "v12.stomp").headers["Sec-WebSocket-Protocol"] == "v12.stomp"
    assert "Sec-WebSocket-Protocol" not in answer(request(Sec_WebSocket_Protocol="v12.stomp")).headers


# What is no handshake.

FAULTS: dict[str, dict[str, str]] = {
    "another upgrade": {"Upgrade": "h2c"},
    "an empty upgrade": {"Upgrade": ""},
    "two upgrades": {"Upgrade": "h2c, websocket"},
    "another connection": {"Connection": "keep-alive"},
    "an empty connection": {"Connection": ""},
    "an old version": {"Sec-WebSocket-Version": "6"},
    "a later version": {"Sec-WebSocket-Version": "14"},
    "no version": {"Sec-WebSocket-Version": ""},
    "several versions": {"Sec-WebSocket-Version": "13, 8"},
    "a version in words": {"Sec-WebSocket-Version": "thirteen"},
    "an empty key": {"Sec-WebSocket-Key": ""},
    "a short key": {"Sec-WebSocket-Key": base64.b64encode(bytes(15)).decode()},
    "a long key": {"Sec-WebSocket-Key": base64.b64encode(bytes(17)).decode()},
    "a key without its padding": {"Sec-WebSocket-Key": KEY.rstrip("=")},
    "a key that is no Base64": {"Sec-WebSocket-Key": "!" * 24},
    "a key that is no ASCII": {"Sec-WebSocket-Key": "ü" * 24},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("is_compressible", [False, True])
def test_a_header_that_is_wrong_makes_it_no_handshake(fault: str, is_compressible: bool) -> None:
    """RFC 6455, 4.2.1."""
    changed = {name.replace("-", "_"): value for name, value in FAULTS[fault].items()}
    with pytest.raises(NoHandshake):
        answer(request(**changed), is_compressible=is_compressible)


@pytest.mark.parametrize("name", SOUND)
def test_a_header_that_is_missing_makes_it_no_handshake(name: str) -> None:
    with pytest.raises(NoHandshake):
        answer(request(name))


def test_before_http_1_1_there_is_no_handshake() -> None:
    """RFC 6455, 4.2.1: "HTTP/1.1 or higher"."""
    with pytest.raises(NoHandshake):
        answer(request(version=HttpVersion10))


# On the wire.


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Connection": "close"}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Version": "12"}, 426),
        ({"Sec-WebSocket-Version": "14"}, 426),
    ],
)
async def test_what_is_no_handshake_is_answered_and_opens_nothing(headers: dict[str, str], status: int) -> None:
    """RFC 6455, 4.2.2 and 4.4: who speaks another version is told ours."""
    async with echo_server() as (url, endpoint, handler):
        wire = await Wire.open(url)
        wire.upgrade("/echo/websocket", headers)
        head = await wire.read_head()
        assert head.status == status
        assert head.headers.get("Sec-WebSocket-Version") == ("13" if status == 426 else None)
        await wire.close()
        assert handler.names() == ["on_start"]
        assert len(endpoint) == 0


async def test_a_handshake_by_http_1_0_is_refused() -> None:
    async with echo_server() as (url, _, handler):
        wire = await Wire.open(url)
        wire.request("GET", "/echo/websocket", headers=SOUND, version="1.0")
        assert (await wire.read_head()).status == 400
        await wire.close()
        assert handler.names() == ["on_start"]


async def test_the_answer_has_no_body_and_no_length() -> None:
    """RFC 9110, 8.6: none with 1xx. Whatever follows it would be taken for a frame."""
    async with echo_server() as (url, _, _):
        wire = await Wire.open(url)
        wire.upgrade("/echo/websocket", {"Sec-WebSocket-Key": KEY})
        head = await wire.read_head()
        assert head.status == 101
        assert head.headers["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert head.headers["Upgrade"] == "websocket"
        assert head.headers["Connection"].lower() == "upgrade"
        for name in ("Content-Length", "Transfer-Encoding", "Content-Type"):
            assert name not in head.headers
        wire.send_frame(b"hello")
        assert await wire.read_frame() == (1, b"hello")
        await wire.close()


# Compression.

FRESH = "; server_no_context_takeover"

OFFERS: dict[str, tuple[int, bool, str]] = {
    # offer: window bits, keeps context, answer
    "permessage-deflate": (15, True, ""),
    "permessage-deflate; server_no_context_takeover": (15, False, FRESH),
    "permessage-deflate; client_no_context_takeover": (15, True, ""),
    "permessage-deflate; client_max_window_bits": (15, True, ""),
    "permessage-deflate; client_max_window_bits=8": (15, True, ""),
    "permessage-deflate; client_max_window_bits=15": (15, True, ""),
    "permessage-deflate; server_max_window_bits=9": (9, True, "; server_max_window_bits=9"),
    'permessage-deflate; server_max_window_bits="10"': (10, True, "; server_max_window_bits=10"),
    "permessage-deflate; server_max_window_bits=15": (15, True, "; server_max_window_bits=15"),
    "permessage-deflate;server_max_window_bits=12;server_no_context_takeover;client_max_window_bits": (
        12,
        False,
        "; server_max_window_bits=12; server_no_context_takeover",
    ),
    "permessage-deflate; client_max_window_bits; server_max_window_bits=10": (
        10,
        True,
        "; server_max_window_bits=10",
    ),
    # RFC 7692, 7.1.3: the first that can be met, of several
    "permessage-deflate; server_max_window_bits=10, permessage-deflate": (10, True, "; server_max_window_bits=10"),
    "permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits": (
        15,
        True,
        "",
    ),
    "permessage-bzip2, permessage-deflate": (15, True, ""),
    "x-webkit-deflate-frame, permessage-deflate; server_no_context_takeover": (15, False, FRESH),
}


@pytest.mark.parametrize("offer", OFFERS)
def test_an_offer_that_can_be_met_is_agreed_on(offer: str) -> None:
    """RFC 7692, 7.1."""
    window_bits, keeps_context, parameters = OFFERS[offer]
    assert agree_on_compression(offer) == Compression(window_bits, keeps_context, "permessage-deflate" + parameters)


@pytest.mark.parametrize(
    "offer",
    [
        "",
        ",",
        "; server_no_context_takeover",
        "deflate",
        "permessage-deflate2",
        "x-webkit-deflate-frame",
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=8",  # zlib has none
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=+10",
        "permessage-deflate; server_max_window_bits=ten",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=08",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        "permessage-deflate;",
        "permessage-deflate; server_max_window_bits=10; unknown, permessage-deflate; unknown=1",
    ],
)
def test_an_offer_that_cannot_be_met_is_declined(offer: str) -> None:
    """RFC 7692, 7.1: unknown, malformed and doubled parameters."""
    assert agree_on_compression(offer) is None


def test_the_answer_tells_what_was_agreed_on() -> None:
    offer = "permessage-deflate; server_max_window_bits=10; client_max_window_bits"
    response = answer(request(Sec_WebSocket_Extensions=offer), is_compressible=True)
    assert response.headers["Sec-WebSocket-Extensions"] == "permessage-deflate; server_max_window_bits=10"
    assert response.compression_agreed == Compression(10, True, "permessage-deflate; server_max_window_bits=10")


def test_offers_may_be_in_several_headers() -> None:
    """RFC 6455, 9.1."""
    headers = CIMultiDict(SOUND)
    headers.add("Sec-WebSocket-Extensions", "permessage-bzip2")
    headers.add("Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover")
    response = answer(make_mocked_request("GET", "/", headers=headers), is_compressible=True)
    assert response.headers["Sec-WebSocket-Extensions"] == "permessage-deflate; server_no_context_takeover"


@pytest.mark.parametrize("offer", [None, "permessage-deflate; server_max_window_bits=8"])
def test_no_offer_that_can_be_met_is_no_fault(offer: str | None) -> None:
    offers = {} if offer is None else {"Sec_WebSocket_Extensions": offer}
    response = answer(request(**offers), is_compressible=True)
    assert response.status == 101
    assert "Sec-WebSocket-Extensions" not in response.headers
    assert response.compression_agreed is None


def test_offers_are_passed_over_where_compression_is_not_wanted() -> None:
    response = answer(request(Sec_WebSocket_Extensions="permessage-deflate"))
    assert "Sec-WebSocket-Extensions" not in response.headers
    assert response.compression_agreed is None


def test_a_deflater_keeps_to_what_was_agreed_on() -> None:
    payload = os.urandom(300)
    fresh = Compression(9, False, "").make_deflater()
    assert fresh.deflate(payload) == fresh.deflate(payload)
    keeping = Compression(15, True, "").make_deflater()
    assert keeping is not Compression(15, True, "").make_deflater()
    assert len(keeping.deflate(payload)) > len(keeping.deflate(payload))
