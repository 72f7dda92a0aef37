"""HAProxy in front, with the configuration of ``docs/proxies.md``."""

from __future__ import annotations

import re
import ssl

import pytest

from . import checks
from .conftest import StartBackend, StartProxy, snippet

pytestmark = pytest.mark.proxy

BACKEND = re.compile(r"^backend chat\n.*", re.DOTALL | re.MULTILINE)


async def test_every_transport_passes(haproxy: StartProxy, backend: StartBackend, trust: ssl.SSLContext) -> None:
    """Messages come as they are sent: each is awaited before the next."""
    one = await backend()
    origin = await haproxy(snippet("haproxy"), {"127.0.0.1:8081": f"127.0.0.1:{one.port}"})
    await checks.every_transport_passes(origin, trust, one)
    await checks.other_origins_are_refused(origin, trust)
    await checks.a_client_that_leaves_is_noticed(origin, trust, one)


async def test_without_forwarded_the_own_origin_is_refused(
    haproxy: StartProxy, backend: StartBackend, trust: ssl.SSLContext
) -> None:
    one = await backend(forwarded=False)
    origin = await haproxy(snippet("haproxy"), {"127.0.0.1:8081": f"127.0.0.1:{one.port}"})
    await checks.the_own_origin_is_refused(origin, trust)


@pytest.mark.slow
async def test_heartbeats_keep_connections_through_a_short_timeout(
    haproxy: StartProxy, backend: StartBackend, trust: ssl.SSLContext
) -> None:
    one = await backend(heartbeat_delay=0.4)
    replacements = {"127.0.0.1:8081": f"127.0.0.1:{one.port}", " 60s": " 1s"}
    origin = await haproxy(snippet("haproxy"), replacements)
    await checks.a_quiet_connection_lives_on_heartbeats(origin, trust)


async def test_without_heartbeats_a_short_timeout_cuts(
    haproxy: StartProxy, backend: StartBackend, trust: ssl.SSLContext
) -> None:
    one = await backend(heartbeat_delay=0)
    replacements = {"127.0.0.1:8081": f"127.0.0.1:{one.port}", " 60s": " 1s"}
    origin = await haproxy(snippet("haproxy"), replacements)
    await checks.a_quiet_connection_without_heartbeats_is_cut(origin, trust, one)


@pytest.mark.parametrize("block", ["haproxy sticky", "haproxy sticky by url"])
async def test_clients_stay_on_one_backend(
    block: str, haproxy: StartProxy, backend: StartBackend, trust: ssl.SSLContext
) -> None:
    """By the JSESSIONID cookie, or by the server segment of the URL."""
    backends = [await backend(), await backend()]
    text = BACKEND.sub(lambda _: snippet(block), snippet("haproxy"))
    ports = {f"127.0.0.1:{old}": f"127.0.0.1:{one.port}" for old, one in zip((8081, 8082), backends, strict=True)}
    await checks.clients_stay_on_their_backend(await haproxy(text, ports), trust, backends)
