"""Chromium with pages that load the unmodified sockjs-client, and Node with the same client.

How the client is obtained: pages load ``dist/sockjs.min.js`` of sockjs-client 1.6.1, which ``demo.scripts``
fetches with npm into ``demo/static/`` and checks by its hash. For Node the same version is installed with npm
into a temporary folder. Neither is changed, and neither is committed.

Playwright's objects belong to one event loop, so every test that uses them runs on the loop of the session.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
import pytest_asyncio

from demo import scripts
from tests.needs import absent, needs

from .traffic import SCRIPT_URL

GUARD: Final = 30.0
"""Seconds after which a test that waits for a client gives up: a guard, never a delay."""

CHROMIUM_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

PATIENCE_MS: Final = 10_000
"""``timeout`` of the client: how long it gives each transport, where it may not fall back. On its own it gives
600 ms, which a loaded machine can pass."""

T = TypeVar("T")


def playwright_error() -> type[Exception]:
    """What playwright raises; imported late, as these files are collected where it is not installed."""
    from playwright.async_api import Error

    return Error


async def within(awaitable: Awaitable[T], seconds: float = GUARD) -> T:
    """What ``awaitable`` gives, in time."""
    async with asyncio.timeout(seconds):
        return await awaitable


class BrowserConnection:
    """A ``Connection`` of connection.js inside a page."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def evaluate(self, script: str, argument: object = None) -> Any:
        """The result of a JavaScript function of ``(connection, argument)``."""
        return await within(self._handle.evaluate(script, argument))

    async def settled(self) -> dict[str, Any]:
        """``transport`` and ``close`` once it is known: a name and None if it opened, None and why if it failed."""
        return await self.evaluate("connection => connection.settled")

    async def transport(self) -> str | None:
        """The transport that the client settled on; None if it could not connect."""
        return (await self.settled())["transport"]

    async def send(self, message: str) -> None:
        await self.evaluate("(connection, message) => connection.socket.send(message)", message)

    async def echo(self) -> dict[str, Any]:
        """Send the 200 messages and compare what comes back."""
        return await self.evaluate(
            "connection => fetch('/messages.json').then(r => r.json()).then(messages => connection.echo(messages))"
        )

    async def received(self, count: int) -> list[str]:
        """The messages so far, once there are ``count`` of them or the connection is closed."""
        return await self.evaluate(
            "(connection, count) => connection.until(() => connection.received.length >= count)"
            ".then(() => connection.received)",
            count,
        )

    async def closed(self) -> dict[str, Any]:
        """``code``, ``reason``, ``clean`` of the close event."""
        return await self.evaluate("connection => connection.closed()")


class Visitor:
    """A browser window of its own, with its own cookies.

    Attributes:
        page: playwright's page.
        requests: the URL of every request that its page and iframes have made.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.requests: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))

    async def visit(self, url: str) -> None:
        """Open the page at ``url``."""
        await within(self.page.goto(url + "/"))

    async def connect(self, url: str, *transports: str, **options: object) -> BrowserConnection:
        """Start to connect to the endpoint at ``url``.

        Args:
            transports: white list; all if there is none.
            options: further options of the client.
        """
        if transports:
            options["transports"] = list(transports)
        return BrowserConnection(
            await within(
                self.page.evaluate_handle(
                    "([url, options]) => new Connection(SockJS, url, options)",
                    [url, options],
                )
            )
        )

    async def traces_of_scripts(self) -> list[str]:
        """What the script in the messages has left behind, in any frame; empty if it never ran."""
        traces = [url for url in self.requests if url.endswith(SCRIPT_URL)]
        for frame in self.page.frames:
            try:
                mark = await within(frame.evaluate("() => window.scriptHasRun"))
            except playwright_error():
                if not frame.is_detached() and not frame.url.startswith("chrome-error:"):
                    raise
                continue  # the client has taken this iframe away meanwhile
            if mark is not None:
                traces.append(f"window.scriptHasRun in {frame.url}")
        return traces


@pytest.fixture(scope="session")
def client_script() -> Path:
    """The browser's client, fetched if it is not here."""
    if not scripts.SOCKJS.is_here():
        try:
            scripts.fetch(scripts.SOCKJS)
        except scripts.FetchFailed as error:
            absent(str(error))
    return scripts.SOCKJS.path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(client_script: Path) -> AsyncIterator[Any]:
    """Debian's Chromium, one for all tests."""
    path = needs("chromium")
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        absent("playwright is not installed (pip install sockbridge[test])")
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_ARGUMENTS))
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Any) -> AsyncIterator[Visitor]:
    """A new window. However the test ends, no script of a message may have run in it."""
    context = await browser.new_context()
    visitor = Visitor(await context.new_page())
    yield visitor
    traces = await visitor.traces_of_scripts()
    await context.close()
    assert traces == []


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client as npm installs it for Node."""
    npm = needs("npm")
    folder = tmp_path_factory.mktemp("node")
    package = f"{scripts.SOCKJS.package}@{scripts.SOCKJS.version}"
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix", str(folder), package]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        absent(f"npm could not install {package}: {done.stderr.strip()[-300:]}")
    modules = folder / "node_modules"
    script = modules / scripts.SOCKJS.package / scripts.SOCKJS.member
    assert scripts.SOCKJS.is_intact(script.read_bytes()), "the package is not the one that was pinned"
    return modules
