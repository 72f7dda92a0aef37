"""A server whose topics are open to everybody."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .site import Site, serve_stomp


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """With short delays, and with the limits of production."""
    async with serve_stomp(disconnect_grace=0.2) as site:
        yield site
