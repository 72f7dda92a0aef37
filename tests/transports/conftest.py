"""Both readers of websocket frames."""

from __future__ import annotations

import pytest

from .wire import DEFAULTS


@pytest.fixture(params=["auto", "python"])
def each_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The option ``websocket_reader`` of every ``echo_server`` in the test, which runs once with each."""
    monkeypatch.setitem(DEFAULTS, "websocket_reader", request.param)
    return str(request.param)
