"""The application of the forty checks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ..stomp.site import Site
from .application import Application, SpringSite, serve_spring


@pytest.fixture
async def spring() -> AsyncIterator[SpringSite]:
    """As it stands."""
    async with serve_spring() as spring:
        yield spring


@pytest.fixture
async def site(spring: SpringSite) -> Site:
    """Ways to reach it."""
    return spring.site


@pytest.fixture
async def application(spring: SpringSite) -> Application:
    """What it serves."""
    return spring.application
