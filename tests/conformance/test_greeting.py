"""Section 7, greeting: what the mounted URL itself says."""

from __future__ import annotations

import pytest

from .conftest import Wire


@pytest.mark.parametrize("path", ["/echo", "/echo/", "/echo?a=b", "/close", "/disabled_websocket_echo/"])
async def test_the_mounted_url_greets(wire: Wire, path: str) -> None:
    """Rule 7.1."""
    answer = await wire.request("GET", path)
    assert answer.status == 200
    assert answer.body == b"Welcome to SockJS!\n"
    assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
    assert "Set-Cookie" not in answer.headers
