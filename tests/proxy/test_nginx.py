"""nginx in front, with the configuration of ``docs/proxies.md``."""

from __future__ import annotations

import re
import ssl

import pytest

from . import checks
from .browser import Browser, browsing
from .conftest import StartBackend, StartProxy, snippet

pytestmark = pytest.mark.proxy

UPSTREAM = re.compile(r"upstream chat \{.*?\n\}\n", re.DOTALL)


async def test_every_transport_passes(nginx: StartProxy, backend: StartBackend, trust: ssl.SSLContext) -> None:
    """Messages come as they are sent: each is awaited before the next."""
    one = await backend()
    origin = await nginx(snippet("nginx"), {"127.0.0.1:8081": f"127.0.0.1:{one.port}"})
    await checks.every_transport_passes(origin, trust, one)
    await checks.other_origins_are_refused(origin, trust)
    await checks.a_client_that_leaves_is_noticed(origin, trust, one)


async def test_streams_pass_a_location_that_buffers(
    nginx: StartProxy, backend: StartBackend, trust: ssl.SSLContext
) -> None:
    """``X-Accel-Buffering: no`` is enough."""
    one = await backend()
    replacements = {"127.0.0.1:8081": f"127.0.0.1:{one.port}", "proxy_buffering  off;": ""}
    origin = await nginx(snippet("nginx"), replacements)
    await checks.every_transport_passes(origin, trust, one)


async def test_without_forwarded_the_own_origin_is_refused(
    nginx: StartProxy, backend: StartBackend, trust: ssl.SSLContext
) -> None:
    one = await backend(forwarded=False)
    origin = await nginx(snippet("nginx"), {"127.0.0.1:8081": f"127.0.0.1:{one.port}"})
    await checks.the_own_origin_is_refused(origin, trust)


async def test_without_upgrade_headers_the_socket_is_answered_400_and_streams_pass(
    nginx: StartProxy, backend: StartBackend, trust: ssl.SSLContext
) -> None:
    one = await backend()
    replacements = {
        "127.0.0.1:8081": f"127.0.0.1:{one.port}",
        "proxy_set_header Upgrade           $http_upgrade;": "",
        "$connection_upgrade;": "close;",
    }
    origin = await nginx(snippet("nginx"), replacements)
    async with browsing(trust, origin) as http:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
        async with http.get(f"{origin}/chat/000/x/websocket", headers=headers) as response:
            assert response.status == 400
            assert await response.text() == "Not a valid websocket request.\n"
        await Browser(http, f"{origin}/chat").talk("xhr_streaming")


@pytest.mark.slow
async def test_heartbeats_keep_connections_through_a_short_timeout(
    nginx: StartProxy, backend: StartBackend, trust: ssl.SSLContext
) -> None:
    one = await backend(heartbeat_delay=0.4)
    replacements = {"127.0.0.1:8081": f"127.0.0.1:{one.port}", "timeout 60s": "timeout 1s"}
    origin = await nginx(snippet("nginx"), replacements)
    await checks.a_quiet_connection_lives_on_heartbeats(origin, trust)


async def test_without_heartbeats_a_short_timeout_cuts(
    nginx: StartProxy, backend: StartBackend, trust: ssl.SSLContext
) -> None:
    one = await backend(heartbeat_delay=0)
    replacements = {"127.0.0.1:8081": f"127.0.0.1:{one.port}", "timeout 60s": "timeout 1s"}
    origin = await nginx(snippet("nginx"), replacements)
    await checks.a_quiet_connection_without_heartbeats_is_cut(origin, trust, one)


async def test_the_server_segment_keeps_a_client_on_one_backend(
    nginx: StartProxy, backend: StartBackend, trust: ssl.SSLContext
) -> None:
    backends = [await backend(), await backend()]
    text = UPSTREAM.sub(lambda _: snippet("nginx sticky"), snippet("nginx"))
    ports = {f"127.0.0.1:{old}": f"127.0.0.1:{one.port}" for old, one in zip((8081, 8082), backends, strict=True)}
    await checks.clients_stay_on_their_backend(await nginx(text, ports), trust, backends)


async def test_without_stickiness_a_session_is_unknown_to_the_other_backend(
    nginx: StartProxy, backend: StartBackend, trust: ssl.SSLContext
) -> None:
    """How the fault looks: 404 for a send, a second ``o`` for a receiver."""
    backends = [await backend(), await backend()]
    text = UPSTREAM.sub(
        lambda _: snippet("nginx sticky").replace("hash $sockjs_server consistent;", ""), snippet("nginx")
    )
    ports = {f"127.0.0.1:{old}": f"127.0.0.1:{one.port}" for old, one in zip((8081, 8082), backends, strict=True)}
    origin = await nginx(text, ports)
    async with browsing(trust, origin) as http:
        browser = Browser(http, f"{origin}/chat")
        assert await browser.poll() == "o"
        assert sorted([await browser.send("x"), await browser.send("x")]) == [204, 404]
