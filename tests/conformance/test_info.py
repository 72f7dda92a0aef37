"""Section 7, ``/info``: what the server can do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Wire


async def info(wire: Wire, base: str) -> dict[str, Any]:
    answer = await wire.request("GET", f"{base}/info")
    assert answer.status == 200
    value = json.loads(answer.body)
    assert isinstance(value, dict)
    return value


async def test_info_tells_what_clients_read(wire: Wire) -> None:
    """Rule 7.2."""
    facts = await info(wire, "/echo")
    assert facts["websocket"] is True
    assert facts["cookie_needed"] is False
    assert facts["origins"] == ["*:*"]
    assert isinstance(facts["entropy"], int)
    assert set(facts) == {"websocket", "cookie_needed", "origins", "entropy"}


async def test_entropy_is_new_in_every_answer_and_fits_32_bits(wire: Wire) -> None:
    """Rule 7.3."""
    values = [(await info(wire, "/echo"))["entropy"] for _ in range(20)]
    assert len(set(values)) == 20
    assert all(0 <= value < 2**32 for value in values)
    assert max(values) >= 2**24  # 20 draws below that would not come from all of the 32 bits


async def test_info_says_when_websockets_are_off(wire: Wire) -> None:
    """Rule 7.4."""
    assert (await info(wire, "/disabled_websocket_echo"))["websocket"] is False


@pytest.mark.parametrize("path", ["/websocket", "/000/id/websocket"])
async def test_a_websocket_that_is_off_is_not_found(wire: Wire, path: str) -> None:
    """Rule 7.4."""
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = await wire.request("GET", f"/disabled_websocket_echo{path}", headers=headers)
    assert answer.status == 404


async def test_the_other_transports_work_where_websockets_are_off(wire: Wire) -> None:
    """Rule 7.4."""
    url = await wire.open("/disabled_websocket_echo")
    await wire.send(url, "a")
    assert await wire.poll(url) == 'a["a"]'


async def test_info_says_when_a_cookie_is_needed(wire: Wire) -> None:
    """Rule 7.5."""
    assert (await info(wire, "/cookie_needed_echo"))["cookie_needed"] is True


async def test_info_names_another_base_url_if_there_is_one(wire: Wire) -> None:
    """Rule 7.6."""
    assert (await info(wire, "/based"))["base_url"] == "https://elsewhere.example/echo"
