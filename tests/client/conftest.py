"""Servers of other makes: sockjs-node, and the package ``sockjs``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import sockjs
from aiohttp import web

from tests.needs import absent, needs

SOCKJS_NODE: Final = "sockjs@0.3.24"

SCRIPT: Final = Path(__file__).with_name("node_server.js")


@pytest.fixture(scope="session")
def sockjs_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of sockjs-node's endpoint: it echoes; ``farewell`` makes it say goodbye with 4001."""
    node, npm = needs("node"), needs("npm")
    folder = tmp_path_factory.mktemp("sockjs_node")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix", str(folder), SOCKJS_NODE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        absent(f"npm could not install {SOCKJS_NODE}: {done.stderr.strip()[-300:]}")
    environment = {**os.environ, "NODE_PATH": str(folder / "node_modules")}
    with subprocess.Popen(
        [node, str(SCRIPT)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/echo"
        process.stdin.close()  # that ends it


@asynccontextmanager
async def package_server() -> AsyncIterator[str]:
    """The URL of an endpoint of the package ``sockjs``, which does the same, with 3000."""

    async def echo(manager: object, session: sockjs.Session, message: sockjs.SockjsMessage) -> None:
        if message.type is not sockjs.MsgType.MESSAGE:
            return
        if message.data == "farewell":
            session.send("last words")
            session.close(4001, "enough")
        else:
            session.send(message.data)

    app = web.Application(client_max_size=2**20)
    sockjs.add_endpoint(app, echo, prefix="/echo", name="echo")
    # it does not notice that a client has gone, so its streams would hold up the end
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{site.port}/echo"
    await runner.cleanup()
