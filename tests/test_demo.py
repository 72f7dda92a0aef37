"""The demos as a user meets them: started from the command line, opened, ended with Ctrl-C."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from demo import conformance, echo, scripts, serving

from .browser.transports import SAME_ORIGIN
from .fakes import GUARD, serve
from .needs import PACKAGES, absent, needs

ROOT = Path(__file__).parent.parent
LONG_GUARD = 6 * GUARD
"""For a Python that starts on a busy machine."""

FAKE_NPM = """\
#!{python}
import pathlib, shutil, sys
folder = sys.argv[sys.argv.index("--pack-destination") + 1]
shutil.copy({archive!r}, folder)
"""


@contextmanager
def started(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``python -m ...``; gives the process and the URL it prints."""
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # as a terminal has it; where the test run itself was put in the background SIGINT would be ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            found = re.search(r"http://[\d.]+:\d+", greeting)
            if found is None:
                process.kill()
                pytest.fail(f"no URL in {greeting!r}; {process.communicate()[1]}")
            yield process, found.group()
        finally:
            process.kill()


@asynccontextmanager
async def connected(*paths: str) -> AsyncIterator[list[aiohttp.ClientWebSocketResponse]]:
    """A conformance server with a websocket to each of ``paths``."""
    async with serve(conformance.make_app()) as url, aiohttp.ClientSession() as client:
        yield [await client.ws_connect(url + path) for path in paths]


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=LONG_GUARD) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["demo.echo", "demo.conformance"])
def test_demo_starts_answers_and_ends_without_a_traceback(module: str, ending: signal.Signals) -> None:
    with started(module, "--port", "0") as (process, url):
        assert read(f"{url}/echo") == "Welcome to SockJS!\n"
        assert json.loads(read(f"{url}/echo/info"))["websocket"] is True
        process.send_signal(ending)
        output, errors = process.communicate(timeout=LONG_GUARD)
        assert (process.returncode, output, errors) == (0, "Stopped.\n", "")


def test_demo_ends_at_once_while_a_client_is_connected() -> None:
    with started("demo.echo", "--port", "0") as (process, url):
        request = urllib.request.Request(f"{url}/echo/000/stays/xhr_streaming", method="POST")
        with urllib.request.urlopen(request, timeout=LONG_GUARD) as stream:
            assert stream.readline().startswith(b"h")
            assert stream.readline() == b"o\n"
            process.send_signal(signal.SIGINT)
            assert stream.read().startswith(b"c[1001,")
        output, errors = process.communicate(timeout=LONG_GUARD)
        assert (process.returncode, output, errors) == (0, "Stopped.\n", "")


def test_impatient_ctrl_c_leaves_no_traceback() -> None:
    with started("demo.echo", "--port", "0") as (process, url):
        assert read(f"{url}/echo")  # it serves
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
        output, errors = process.communicate(timeout=LONG_GUARD)
        assert (process.returncode, output, errors) == (0, "Stopped.\n", "")


@pytest.mark.parametrize("module", ["demo.echo", "demo.conformance"])
def test_port_in_use_is_one_line_that_says_what_to_do(module: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", module, "--port", port], cwd=ROOT, capture_output=True, text=True, timeout=LONG_GUARD
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"cannot listen on 127.0.0.1, port {port}: another program uses it.")
    assert "--port 0" in done.stderr
    assert done.stderr.count("\n") == 1


def test_address_that_cannot_be_had_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo.echo", "--host", "no host", "--port", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONG_GUARD,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"cannot listen on no host, port 0: [^()]+\n", done.stderr)


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serving.arguments("demo.echo", "", port=8080).parse_args([f"--port={port}"])
    assert "a port is a number from 0 to 65535" in capsys.readouterr().err


async def test_page_loads_the_script_that_was_fetched(fetched: bytes) -> None:
    """The page and the iframe page of the endpoint must have the very same script."""
    async with serve(echo.make_app()) as url, aiohttp.ClientSession() as client:
        page = await (await client.get(f"{url}/")).text()
        assert f'<script src="/static/sockjs.min.js" integrity="{scripts.SOCKJS.integrity}" crossorigin' in page
        assert "{{" not in page
        assert await (await client.get(f"{url}/static/sockjs.min.js")).read() == fetched
        assert '<script src="/static/sockjs.min.js">' in await (await client.get(f"{url}/echo/iframe.html")).text()


async def test_page_falls_back_to_a_cdn_with_integrity(not_fetched: None) -> None:
    async with serve(echo.make_app()) as url, aiohttp.ClientSession() as client:
        page = await (await client.get(f"{url}/")).text()
        script = scripts.SOCKJS
        assert f'<script src="{script.cdn_url}" integrity="{script.integrity}" crossorigin="anonymous">' in page
        assert "python -m demo.scripts" in page
        assert f'<script src="{script.cdn_url}">' in await (await client.get(f"{url}/echo/iframe.html")).text()


@pytest.mark.browser
async def test_messages_come_back_over_every_transport_of_the_drop_down(fetched: bytes, browser: Browser) -> None:
    async with serve(echo.make_app()) as url, opened(browser, url) as page:
        names = await page.locator("#transport option").all_inner_texts()
        assert [name.strip() for name in names] == ["automatic", *SAME_ORIGIN]
        await expect(page.locator("#in-use")).to_have_text("websocket")
        for name in SAME_ORIGIN:
            await page.select_option("#transport", name)
            await expect(page.locator("#in-use")).to_have_text(name)
            await page.click("#burst")
            await expect(page.locator("#counts")).to_have_text("10 / 10")
            await expect(page.locator("#round-trip")).to_contain_text("ms")
            await expect(page.locator("#log .in .content", has_text='"Hello 10"]').last).to_be_visible()
            await page.click("#toggle")
            await expect(page.locator("#state")).to_have_text("closed, 1000")


@pytest.mark.browser
async def test_page_says_which_transport_the_client_refuses(fetched: bytes, browser: Browser) -> None:
    async with serve(echo.make_app()) as url, opened(browser, url, before="delete window.WebSocket") as page:
        await expect(page.locator("#in-use")).to_have_text("xhr-streaming")
        await expect(page.locator("#transport option").nth(1)).to_have_text("websocket (the client refuses it here)")
        await page.select_option("#transport", "websocket")
        await expect(page.locator("#state")).to_have_text("closed, 2000")
        await expect(page.locator("#refused")).to_contain_text("sockjs-client refuses websocket")


@pytest.mark.browser
async def test_page_without_a_script_says_what_to_do(not_fetched: None, browser: Browser) -> None:
    async with serve(echo.make_app()) as url, opened(browser, url, blocked=scripts.SOCKJS.cdn_url) as page:
        await expect(page.locator("#no-script")).to_contain_text("python -m demo.scripts")
        await expect(page.locator("#toggle")).to_be_disabled()


@pytest.mark.browser
async def test_page_with_the_script_of_the_cdn_works_and_says_so(
    fetched: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, browser: Browser
) -> None:
    """The CDN is played by the browser's own interception, with the bytes that were fetched."""
    monkeypatch.setattr(scripts, "STATIC", tmp_path)
    async with (
        serve(echo.make_app()) as url,
        opened(browser, url, blocked=scripts.SOCKJS.cdn_url, answer=fetched) as page,
    ):
        await expect(page.locator("#from-cdn")).to_be_visible()
        await expect(page.locator("#state")).to_have_text("open")


async def test_client_url_of_the_conformance_demo_is_the_script_of_its_iframe_page() -> None:
    async with serve(conformance.make_app("http://localhost:1/client.js")) as url, aiohttp.ClientSession() as client:
        page = await (await client.get(f"{url}/close/iframe.html")).text()
        assert '<script src="http://localhost:1/client.js">' in page


@pytest.mark.parametrize(
    ("message", "length"),
    [("1", 2), ("3", 8), ("18", 262144), ("19", 2), ("0", 2), ("-4", 2), ("x", 2), ("", 2), ("9" * 5000, 2)],
)
async def test_amplify_sends_a_power_of_two(message: str, length: int) -> None:
    async with connected("/amplify/websocket") as (connection,):
        await connection.send_str(message)
        assert await connection.receive_str(timeout=GUARD) == "x" * length


async def test_broadcast_reaches_framed_and_raw_sessions() -> None:
    async with connected("/broadcast/websocket", "/broadcast/000/framed/websocket") as (raw, framed):
        assert await framed.receive_str(timeout=GUARD) == "o"
        await raw.send_bytes(b"not for all")
        await raw.send_str("for all")
        assert await raw.receive_str(timeout=GUARD) == "for all"
        assert await framed.receive_str(timeout=GUARD) == 'a["for all"]'


@pytest.mark.slow
async def test_ticker_ticks() -> None:
    async with connected("/ticker/websocket") as (connection,):
        assert await connection.receive_str(timeout=GUARD) == "tick!"


def test_script_that_npm_gives_is_kept_if_it_is_the_pinned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, not_fetched: None
) -> None:
    content = b"// the browser client"
    provide_npm(tmp_path, monkeypatch, content)
    scripts.fetch(pinned(content))
    assert scripts.STATIC.joinpath("sockjs.min.js").read_bytes() == content


def test_script_with_other_bytes_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, not_fetched: None, capsys: pytest.CaptureFixture[str]
) -> None:
    provide_npm(tmp_path, monkeypatch, b"// something else")
    with pytest.raises(scripts.FetchFailed, match=r"sockjs-client@1\.6\.1 is not what was pinned; nothing was kept"):
        scripts.fetch(scripts.SOCKJS)
    assert scripts.main() == 0
    assert "The demo pages will load https://" in capsys.readouterr().err
    assert not scripts.SOCKJS.is_here()
    assert not scripts.STATIC.exists()


def test_without_npm_the_demo_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, not_fetched: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert scripts.main() == 0
    assert "npm is not installed (Debian: apt-get install npm)" in capsys.readouterr().err


def test_npm_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, not_fetched: None) -> None:
    write_program(tmp_path / "npm", f"#!{sys.executable}\nraise SystemExit('no network here')\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(scripts.FetchFailed, match="no network here"):
        scripts.fetch(scripts.SOCKJS)


def test_build_machine_runs_the_test_line_of_the_readme_and_installs_what_tests_need() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in readme.splitlines() if line.startswith("    python3 -m venv")]
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert [line.rpartition(" ")[2] for line in lines] == ["demo", "test"]
    assert run.splitlines()[-1] == lines[1]
    assert dict(re.findall(r"\[(\w+)\]=(\w+)", run)) == PACKAGES


def test_every_document_that_the_readme_names_is_there() -> None:
    named = re.findall(r"\]\(([\w./]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    path = needs("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser, url: str, *, before: str = "", blocked: str = "", answer: bytes | None = None
) -> AsyncIterator[Page]:
    """The demo's page.

    Args:
        before: JavaScript that runs before the page's.
        blocked: a URL that is not fetched from the network, but fails; or gives ``answer``.
    """
    page = await browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    async def intercept(route: Route) -> None:
        if answer is None:
            await route.abort()
        else:
            await route.fulfill(body=answer, headers={"Access-Control-Allow-Origin": "*"})

    if before:
        await page.add_init_script(before)
    if blocked:
        await page.route(blocked, intercept)
    await page.goto(url)
    yield page
    await page.close()
    assert errors == []


@pytest.fixture
def fetched() -> bytes:
    """The browser script, as ``python -m demo.scripts`` fetched it."""
    if not scripts.SOCKJS.is_here():
        absent("the browser script is not there (python -m demo.scripts fetches it)")
    return scripts.SOCKJS.path.read_bytes()


@pytest.fixture
def not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout in which nothing has been fetched."""
    folder = tmp_path / "static"
    monkeypatch.setattr(scripts, "STATIC", folder)
    monkeypatch.setattr(serving, "STATIC", folder)


def pinned(content: bytes) -> scripts.Script:
    digest = base64.b64encode(hashlib.sha384(content).digest()).decode()
    return scripts.Script("sockjs.min.js", "sockjs-client", "1.6.1", "dist/sockjs.min.js", digest)


def provide_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put an npm on the PATH whose package has ``content`` as its script."""
    archive = folder / "sockjs-client-1.6.1.tgz"
    with tarfile.open(archive, "w:gz") as package:
        member = tarfile.TarInfo("package/dist/sockjs.min.js")
        member.size = len(content)
        package.addfile(member, io.BytesIO(content))
    programs = folder / "bin"
    programs.mkdir()
    write_program(programs / "npm", FAKE_NPM.format(python=sys.executable, archive=str(archive)))
    monkeypatch.setenv("PATH", str(programs))


def write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    os.chmod(path, 0o755)
