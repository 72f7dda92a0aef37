"""The unmodified client under Node: the same 200 messages over every transport that it has there.

Node has neither iframes nor script elements, so four of the eleven are left.
"""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

import sockbridge
from tests.fakes import serve
from tests.needs import needs

from .conftest import within
from .proxies import tcp_proxy
from .site import FOLDER, Echo, make_site
from .traffic import COUNT, MESSAGES_JSON
from .transports import SAME_ORIGIN, UNDER_NODE

pytestmark = pytest.mark.node


class PoliteEcho(Echo):
    """Sends every message back, and closes with 3001 on ``goodbye``."""

    async def on_message(self, session: sockbridge.Session, message: sockbridge.Message) -> None:
        if message == "goodbye":
            session.close(3001, "because")
        else:
            await super().on_message(session, message)


async def run_client(modules: Path, folder: Path, url: str, *transports: str) -> dict[str, Any]:
    """What node_client.js printed."""
    messages = folder / "messages.json"
    messages.write_text(MESSAGES_JSON, encoding="ascii")
    process = await asyncio.create_subprocess_exec(
        needs("node"),
        str(FOLDER / "node_client.js"),
        str(modules),
        url,
        ",".join(transports),
        str(messages),
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        output, errors = await within(process.communicate())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


@pytest.mark.parametrize("transport", UNDER_NODE)
async def test_messages_come_back_and_the_close_code_follows(
    node_modules: Path, tmp_path: Path, transport: str
) -> None:
    async with serve(make_site(PoliteEcho())) as url:
        result = await run_client(node_modules, tmp_path, url + "/echo", transport)
    assert result == {
        "version": "1.6.1",
        "settled": {"transport": transport, "close": None},
        "echo": {"transport": transport, "count": COUNT + 1, "difference": None, "close": None},
        "close": {"code": 3001, "reason": "because", "clean": True},
    }


async def test_client_has_no_other_transports(node_modules: Path, tmp_path: Path) -> None:
    others = [name for name in SAME_ORIGIN if name not in UNDER_NODE]
    async with serve(make_site(PoliteEcho(), allowed_origins="*")) as url:
        result = await run_client(node_modules, tmp_path, url + "/echo", *others)
    assert result["close"]["code"] == 2000


async def test_behind_a_proxy_that_refuses_upgrades_the_client_settles_on_xhr_streaming(
    node_modules: Path, tmp_path: Path
) -> None:
    async with serve(make_site(PoliteEcho())) as server, tcp_proxy(server, refuses_upgrades=True) as (proxy, url):
        result = await run_client(node_modules, tmp_path, url + "/echo", *UNDER_NODE)
    assert result["settled"]["transport"] == "xhr-streaming"
    assert result["echo"]["difference"] is None
    assert proxy.refusals == 1
