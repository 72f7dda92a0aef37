"""The pytest plugin: fixtures that serve a handler, connect clients to it, and end both with the test.

At start-up it only says which fixtures there are; what they need is imported when a test uses one. Fixtures that
wait are run by whichever plugin runs the test's coroutines: pytest-asyncio (with pytest-aiohttp or not), or anyio.

Knows: pytest, the plugins that run coroutines.
Does not know: what the fixtures hand out.
"""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from .factories import ClientFactory, ServerFactory, StompFactory

TRANSPORTS: Final = ("websocket", "xhr-streaming", "eventsource", "xhr-polling", "websocket-raw")
"""Those of ``sockbridge.client``, and the plain websocket; written down here, so that nothing is imported for it."""

NOBODY_RUNS_IT: Final = (
    "{name} is a fixture for tests that are coroutine functions: install pytest-asyncio (pip install pytest-asyncio), "
    "or run the test by anyio"
)


@pytest.fixture(params=TRANSPORTS)
def sockbridge_transport(request: pytest.FixtureRequest) -> str:
    """The name of a transport for ``sockbridge_client``: the test runs once for each."""
    name: str = request.param
    return name


async def sockbridge_server() -> AsyncIterator[ServerFactory]:
    """``url = await sockbridge_server(handler, prefix="/echo", **options)`` serves until the end of the test.

    Instead of a handler it takes an aiohttp application. ``.endpoint(url)`` is what ``mount`` has returned.
    """
    from .factories import ServerFactory

    async with ServerFactory() as factory:
        yield factory


async def sockbridge_client() -> AsyncIterator[ClientFactory]:
    """``client = await sockbridge_client(url, "xhr-streaming")`` connects a real client.

    ``await client.cut()`` cuts its connection, ``client.pause()`` makes it a slow reader.
    """
    from .factories import ClientFactory

    async with ClientFactory() as factory:
        yield factory


async def sockbridge_stomp() -> AsyncIterator[StompFactory]:
    """``client = await sockbridge_stomp(server, "ann")`` is a STOMP client without a socket that has logged in."""
    from .factories import StompFactory

    async with StompFactory() as factory:
        yield factory


WAITING: Final[tuple[Callable[[], AsyncIterator[Any]], ...]] = (sockbridge_server, sockbridge_client, sockbridge_stomp)


def pytest_configure(config: pytest.Config) -> None:
    """Offer the fixtures that wait, in the way that suits who runs coroutines."""
    fixtures = types.ModuleType("sockbridge.testing.waiting_fixtures")
    decorate = _decorator(config.pluginmanager)
    for function in WAITING:
        setattr(fixtures, function.__name__, decorate(function))
    config.pluginmanager.register(fixtures)


def _decorator(plugins: pytest.PytestPluginManager) -> Callable[[Callable[[], AsyncIterator[Any]]], object]:
    names = {getattr(plugin, "__name__", "") for plugin in plugins.get_plugins()}
    if "pytest_asyncio.plugin" in names:
        import pytest_asyncio

        return pytest_asyncio.fixture
    if "anyio.pytest_plugin" in names:
        return pytest.fixture
    return _explain


def _explain(function: Callable[[], AsyncIterator[Any]]) -> object:
    # Nobody would run it: say so where it is used.
    def explain() -> None:
        pytest.fail(NOBODY_RUNS_IT.format(name=function.__name__), pytrace=False)

    explain.__doc__ = function.__doc__
    return pytest.fixture(name=function.__name__)(explain)
