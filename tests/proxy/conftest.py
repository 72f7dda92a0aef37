"""Real proxies in front of real servers, configured by the very snippets of ``docs/proxies.md``."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

import sockbridge

from ..fakes import GUARD, RecordingHandler
from ..needs import needs

PAGE = Path(__file__).parents[2] / "docs" / "proxies.md"

NGINX_FRAME = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{snippet}
}}
"""


def snippet(name: str) -> str:
    """The code block of the page that is marked ``<!-- name -->``."""
    match = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert match is not None, f"docs/proxies.md has no block {name!r}"
    return match[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Backend:
    """One server process's worth of application: ``/chat`` for its own origin, ``/chat-open`` for every one."""

    def __init__(self, **options: object) -> None:
        self.handler = RecordingHandler(echo=True)
        self.open_handler = RecordingHandler(echo=True)
        self.port = 0
        options = {"forwarded": True, "jsessionid": True, **options}
        self.app = web.Application()
        self.endpoint = sockbridge.mount(self.app, "/chat", self.handler, **options)  # type: ignore[arg-type]  # by the tests
        sockbridge.mount(self.app, "/chat-open", self.open_handler, allowed_origins="*", **options)  # type: ignore[arg-type]  # the same


StartBackend = Callable[..., Awaitable[Backend]]
StartProxy = Callable[[str, dict[str, str]], Awaitable[str]]


@pytest.fixture
async def backend() -> AsyncIterator[StartBackend]:
    """Starts a ``Backend``, as often as it is called."""
    async with AsyncExitStack() as stack:

        async def start(**options: object) -> Backend:
            backend = Backend(**options)
            runner = web.AppRunner(backend.app, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            backend.port = site.port
            return backend

        yield start


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a self-signed ``chat.crt``, ``chat.key``, and ``chat.pem`` of both."""
    folder = tmp_path_factory.mktemp("certificate")
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [needs("openssl"), *request.split(), "-keyout", folder / "chat.key", "-out", folder / "chat.crt"],
        check=True,
        capture_output=True,
    )
    (folder / "chat.pem").write_text((folder / "chat.crt").read_text() + (folder / "chat.key").read_text())
    return folder


@pytest.fixture
def trust(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate / "chat.crt")


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Proxies that run in the foreground; ended with the test."""
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(GUARD)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def nginx(tmp_path: Path, certificate: Path, processes: list[subprocess.Popen[bytes]]) -> StartProxy:
    program = needs("nginx")

    async def start(text: str, replacements: dict[str, str]) -> str:
        port = free_port()
        text = fill_in(text, {"listen 443": f"listen 127.0.0.1:{port}", "/etc/ssl": str(certificate), **replacements})
        config = tmp_path / "nginx.conf"
        config.write_text(NGINX_FRAME.format(folder=tmp_path, snippet=text))
        await run(processes, [program, "-p", tmp_path, "-c", config, "-e", "stderr"], port)
        return f"https://127.0.0.1:{port}"

    return start


@pytest.fixture
def haproxy(tmp_path: Path, certificate: Path, processes: list[subprocess.Popen[bytes]]) -> StartProxy:
    program = needs("haproxy")

    async def start(text: str, replacements: dict[str, str]) -> str:
        port = free_port()
        text = fill_in(text, {"bind :443": f"bind 127.0.0.1:{port}", "/etc/ssl": str(certificate), **replacements})
        config = tmp_path / "haproxy.cfg"
        config.write_text(text + "\n")
        await run(processes, [program, "-db", "-f", config], port)
        return f"https://127.0.0.1:{port}"

    return start


def fill_in(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        assert old in text, f"the snippet does not say {old!r} any more"
        text = text.replace(old, new)
    return text


async def run(processes: list[subprocess.Popen[bytes]], command: list[str | Path], port: int) -> None:
    """Start a proxy; returns when it listens."""
    process = subprocess.Popen(command)  # noqa: ASYNC220  # at once; nothing else runs meanwhile
    processes.append(process)
    async with asyncio.timeout(GUARD):
        while True:
            assert process.poll() is None, "the proxy did not start: see its output"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                await writer.wait_closed()
                return
