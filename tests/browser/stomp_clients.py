"""Chromium and Node with the unmodified clients of STOMP, driven alike: each is given scripts and answers with values.

How the clients are obtained: pages load the files that ``demo.scripts`` fetches with npm and checks by their hashes.
For Node the same versions are installed with npm into a temporary folder. None is changed, and none is committed.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
import pytest_asyncio

from demo import scripts
from tests.needs import absent, needs

from .conftest import Visitor, within
from .site import FOLDER
from .stomp_site import PREFIX

NATIVE: Final = "native"
"""STOMP on a plain websocket, at the URL where SockJS is mounted."""

SOCKJS_CARRIERS: Final = ("websocket", "xhr-streaming", "xhr-polling")

CARRIERS: Final = (NATIVE, *SOCKJS_CARRIERS)

WS: Final = "ws@8"
"""What @stomp/stompjs wants under Node, where websockets are not built in."""

LINE_LIMIT: Final = 16 * 1024 * 1024


class ScriptFailed(AssertionError):
    """A script raised; the text is what it raised."""


class Front(Protocol):
    """Where front ends run."""

    async def visit(self, url: str) -> None:
        """Load the clients from the site at ``url``."""
        ...

    async def run(
        self, carrier: str, script: str, argument: object = None, *, library: str = "", url: str | None = None
    ) -> Any:
        """What ``script`` returns: an async function of ``(open, argument)``, see stomp_client.js.

        Args:
            carrier: one of ``CARRIERS``, for every client that the script opens.
            library: for ``open.old``: ``"webstomp"`` or ``"stomp.js"``.
            url: of the endpoint; by default that of the site that was visited.
        """
        ...


class ChromiumFront:
    """Scripts run in a page."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self._url = ""

    async def visit(self, url: str) -> None:
        self._url = url
        await self.visitor.visit(url)

    async def run(
        self, carrier: str, script: str, argument: object = None, *, library: str = "", url: str | None = None
    ) -> Any:
        target = {"url": url or self._url + PREFIX, "carrier": carrier, "library": library}
        return await within(
            self.visitor.page.evaluate(
                f"([target, argument]) => run(libraries, target, {script}, argument)", [target, argument]
            )
        )


class NodeFront:
    """Scripts run in a process of Node, one for all tests."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ids = itertools.count()
        self._url = ""

    async def visit(self, url: str) -> None:
        self._url = url

    async def run(
        self, carrier: str, script: str, argument: object = None, *, library: str = "", url: str | None = None
    ) -> Any:
        assert self._process.stdin is not None
        id = next(self._ids)
        target = {"url": url or self._url + PREFIX, "carrier": carrier, "library": library}
        question = {"id": id, "target": target, "script": f"({script})", "argument": argument}
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        return await within(self._answer(id))

    async def _answer(self, id: int) -> Any:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            outcome = json.loads(line)
            if outcome["id"] == id:  # others come late, from scripts whose tests have given up
                if "error" in outcome:
                    raise ScriptFailed(outcome["error"])
                return outcome["result"]
        raise ScriptFailed("Node has ended")


@pytest.fixture(scope="session")
def stomp_scripts() -> None:
    """The clients' scripts for pages, fetched if they are not here."""
    for script in scripts.SCRIPTS:
        if not script.is_here():
            try:
                scripts.fetch(script)
            except scripts.FetchFailed as error:
                absent(str(error))


@pytest.fixture(scope="session")
def stomp_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients as npm installs them for Node."""
    return _install(tmp_path_factory.getbasetemp() / "stomp-node")


@functools.cache  # the fixture belongs to each module that has it
def _install(folder: Path) -> Path:
    npm = needs("npm")
    folder.mkdir()
    packages = [*(f"{script.package}@{script.version}" for script in scripts.SCRIPTS), WS]
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix", str(folder), *packages]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        absent(f"npm could not install {' '.join(packages)}: {done.stderr.strip()[-300:]}")
    modules = folder / "node_modules"
    for script in scripts.SCRIPTS:
        content = (modules / script.package / script.member).read_bytes()
        assert script.is_intact(content), f"{script.package} is not the one that was pinned"
    return modules


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium_front(stomp_scripts: None, browser: Any) -> AsyncIterator[ChromiumFront]:
    """One window for all tests, as a new one takes longer than most of them; each test loads its page anew."""
    context = await browser.new_context()
    yield ChromiumFront(Visitor(await context.new_page()))
    await context.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def node_front(stomp_modules: Path) -> AsyncIterator[NodeFront]:
    """One process, as npm's packages take half a second to load."""
    process = await asyncio.create_subprocess_exec(
        needs("node"), str(FOLDER / "stomp_node.js"), str(stomp_modules), stdin=PIPE, stdout=PIPE, limit=LINE_LIMIT
    )
    yield NodeFront(process)
    assert process.stdin is not None
    process.stdin.close()
    try:
        await within(process.wait(), 5)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture(
    params=[
        pytest.param("chromium_front", marks=pytest.mark.browser, id="chromium"),
        pytest.param("node_front", marks=pytest.mark.node, id="node"),
    ]
)
def front(request: pytest.FixtureRequest) -> Front:
    """Each test runs in Chromium and in Node."""
    found: Front = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=CARRIERS)
def carrier(request: pytest.FixtureRequest) -> str:
    """And on each carrier, unless it names its own."""
    name: str = request.param
    return name


FIXTURES: Final = (stomp_scripts, stomp_modules, chromium_front, node_front, front, carrier)
"""For the modules that drive clients, which bind them to the same names: ``stomp_scripts, ..., carrier = FIXTURES``."""
