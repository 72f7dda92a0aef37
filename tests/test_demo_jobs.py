"""The jobs demo as a user meets it: real worker processes, and a real browser."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stomp as stomp_py
from playwright.async_api import Browser, async_playwright, expect

from demo import jobs, scripts, serving
from demo.worker import count_primes
from sockbridge import stomp

from .fakes import serve
from .needs import absent, needs
from .test_demo import LONG_GUARD, opened, read, started
from .test_demo_stomp import Client, Headers, Listener, connected, run

LONG_GUARD_MS = LONG_GUARD * 1000

PRIMES_BELOW_A_THOUSAND = "168"

Frame = tuple[str, Headers, str]


class Page(Client):
    """What the page does, without a browser."""

    async def listen(self, *destinations: str) -> None:
        """Subscribe, with all that is kept."""
        for destination in destinations:
            await self.send("SUBSCRIBE", {"id": destination, "destination": destination, "x-since": "0"})

    async def submit(self, job: object) -> None:
        """Put a job into the queue."""
        headers = {"destination": jobs.JOBS, "content-type": "application/json", "reply-to": "/temp-queue/results"}
        await self.send("SEND", headers, json.dumps(job))

    async def ask(self, what: str) -> None:
        """For something to be done with workers."""
        await self.send("SEND", {"destination": f"/app/workers/{what}"})

    async def hear(self, subscription: str, wanted: Callable[[Any], object] = bool) -> Any:
        """The next body under ``subscription`` that is wanted; all others are passed over."""
        while True:
            command, headers, body = await self.receive(LONG_GUARD)
            assert command == "MESSAGE", (command, headers, body)
            value = json.loads(body) if headers["content-type"] == "application/json" else body
            if headers["subscription"] == subscription and wanted(value):
                return value


def make_app(count: int, seconds: float = 2.0) -> aiohttp.web.Application:
    return jobs.make_app(stomp.TcpListener(port=0), count, seconds)


@asynccontextmanager
async def page_of(url: str, *destinations: str) -> AsyncIterator[Page]:
    """A client that has logged in as pages do, and has subscribed."""
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/jobs/websocket") as websocket:
        page = Page(websocket)
        command, headers, _ = await page.log_in()
        assert command == "CONNECTED"
        assert headers["user-name"].startswith("page-")
        await page.listen(*destinations)
        yield page


async def pids_of_busy_workers(url: str, count: int) -> list[int]:
    """The processes of ``count`` workers, once each is in the middle of a job."""
    async with page_of(url, jobs.PROGRESS) as page:
        for number in range(count):
            await page.submit({"id": str(number), "first": 0, "last": 1000})
        busy: set[str] = set()
        while len(busy) < count:
            report = await page.hear(jobs.PROGRESS)
            assert report["state"] == "started"
            busy.add(report["worker"])
        await page.listen(jobs.STATE)
        state = await page.hear(jobs.STATE, lambda state: state["working"] == count)
        assert all(worker["is_here"] for worker in state["workers"])
        return [worker["pid"] for worker in state["workers"]]


# The command line.


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
async def test_workers_end_with_the_demo_however_busy_they_are(ending: signal.Signals) -> None:
    """They write to the same pipe, so the end of output is the end of them."""
    with started("demo.jobs", "--port", "0", "--workers", "2") as (process, url):
        assert process.stdout is not None
        assert process.stdout.readline().startswith("STOMP over TCP at 127.0.0.1:")
        assert "sockbridge jobs" in read(f"{url}/")
        pids = await pids_of_busy_workers(url, 2)
        process.send_signal(ending)
        output, errors = await asyncio.to_thread(process.communicate, timeout=LONG_GUARD)
        assert (process.returncode, output, errors) == (0, "Stopped.\n", "")
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_workers_of_a_demo_that_is_killed_end_by_themselves() -> None:
    with started("demo.jobs", "--port", "0", "--workers", "2") as (process, url):
        await pids_of_busy_workers(url, 2)
        process.kill()
        _, errors = await asyncio.to_thread(process.communicate, timeout=LONG_GUARD)
        assert errors == ""


def test_impatient_ctrl_c_leaves_no_traceback_and_no_worker() -> None:
    with started("demo.jobs", "--port", "0", "--workers", "2") as (process, url):
        assert read(f"{url}/")  # it serves, while its workers still start
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
        output, errors = process.communicate(timeout=LONG_GUARD)
        assert (process.returncode, errors) == (0, "")
        assert output.endswith("Stopped.\n")


def test_without_stomp_py_the_demo_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "stomp", None)
    monkeypatch.setattr(sys, "argv", ["demo.jobs"])
    assert jobs.main() == 1
    assert capsys.readouterr() == ("", "The workers need stomp.py: pip install stomp.py\n")


@pytest.mark.parametrize("option", ["--port", "--stomp-port"])
def test_port_in_use_is_one_line_that_says_what_to_do(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("demo.jobs", "--port", "0", option, port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"cannot listen on 127.0.0.1, port {port}: another program uses it.")
    assert f"{option} 0" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", ["-1", "9", "many"])
def test_number_of_workers_that_is_none_is_refused(number: str) -> None:
    done = run("demo.jobs", "--port", "0", f"--workers={number}")
    assert done.returncode == 2
    assert "there may be 0 to 8 workers" in done.stderr


def test_worker_that_finds_no_demo_ends_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    done = run("demo.worker", "--port", port)
    assert (done.returncode, done.stdout) == (1, "")


# Workers.


@pytest.mark.parametrize(
    ("first", "last", "count"),
    [(0, 0, 0), (0, 2, 0), (0, 3, 1), (0, 1000, 168), (500, 1000, 73), (2, 3, 1), (3, 2, 0), (25, 26, 0), (49, 54, 1)],
)
def test_primes_are_counted(first: int, last: int, count: int) -> None:
    assert count_primes(first, last) == count


async def test_job_of_a_killed_worker_is_done_by_another() -> None:
    async with serve(make_app(2)) as url, page_of(url, jobs.STATE, jobs.PROGRESS, "/temp-queue/results") as page:
        await page.hear(jobs.STATE, lambda state: [worker["is_here"] for worker in state["workers"]] == [True, True])
        await page.submit({"id": "one", "first": 0, "last": 1000})
        victim = (await page.hear(jobs.PROGRESS))["worker"]
        await page.ask(f"{victim}/kill")
        killed = await page.hear(jobs.PROGRESS, lambda report: report["state"] != "half done")
        assert (killed["worker"], killed["state"]) == (victim, "killed")
        taken = await page.hear(jobs.PROGRESS)
        assert (taken["job"], taken["state"]) == ("one", "taken over")
        assert taken["worker"] != victim
        result = await page.hear("/temp-queue/results")
        assert result == {"id": "one", "count": 168, "worker": taken["worker"]}
        state = await page.hear(jobs.STATE, lambda state: state["working"] == 0)
        assert [worker["name"] for worker in state["workers"]] == [taken["worker"]]


async def test_worker_that_ends_by_itself_is_told() -> None:
    async with serve(make_app(1)) as url, page_of(url, jobs.STATE) as page:
        state = await page.hear(jobs.STATE, lambda state: state["workers"] and state["workers"][0]["is_here"])
        await page.listen(jobs.PROGRESS)
        os.kill(state["workers"][0]["pid"], signal.SIGTERM)
        report = await page.hear(jobs.PROGRESS)
        assert (report["worker"], report["state"]) == ("worker-1", "ended")
        assert (await page.hear(jobs.STATE))["workers"] == []


async def test_job_that_is_none_holds_up_no_other() -> None:
    async with serve(make_app(1, seconds=0)) as url, page_of(url, "/temp-queue/results") as page:
        for job in ("not a job", {"id": "large", "first": 0, "last": 10**9}, {"id": "", "first": 0, "last": 1}):
            await page.submit(job)
        await page.submit({"id": "right", "first": 0, "last": 100})
        assert (await page.hear("/temp-queue/results"))["count"] == 25


async def test_workers_are_bounded() -> None:
    """The server ends here while most of them still start."""
    async with serve(make_app(jobs.MOST_WORKERS)) as url, page_of(url, "/user/queue/errors") as page:
        await page.ask("start")
        assert await page.hear("/user/queue/errors") == "Not done: there are 8 workers already"


async def test_worker_that_is_not_there_cannot_be_killed() -> None:
    async with serve(make_app(0)) as url, page_of(url, "/user/queue/errors", jobs.PROGRESS) as page:
        await page.ask("worker-1/kill")
        assert await page.hear("/user/queue/errors") == "Not done: there is no worker-1"


# Who may do what.


@pytest.mark.parametrize(
    ("command", "destination"),
    [
        ("SUBSCRIBE", jobs.JOBS),
        ("SUBSCRIBE", "/queue/**"),
        ("SUBSCRIBE", "/queue/dead-letters"),
        ("SUBSCRIBE", "/topic/**"),
        ("SEND", jobs.PROGRESS),
        ("SEND", jobs.STATE),
        ("SEND", "/reply-queue/x"),
    ],
)
async def test_page_can_neither_take_jobs_nor_speak_for_a_worker(command: str, destination: str) -> None:
    async with serve(make_app(0)) as url, page_of(url) as page:
        await page.send(command, {"destination": destination, "id": "0", "receipt": "0"})
        answer, headers, _ = await page.receive()
        assert answer == "ERROR"
        assert headers["message"].endswith("to this destination is not allowed")


async def test_nobody_is_a_worker_without_the_passcode() -> None:
    async with serve(make_app(0)) as url, connected(f"{url}/jobs/websocket") as client:
        command, headers, _ = await client.log_in(login="worker-1", passcode="guessed")
        assert (command, headers["message"]) == ("ERROR", "login refused")


@pytest.mark.parametrize("passcode", [None, "guessed"])
async def test_over_tcp_come_workers_alone(passcode: str | None) -> None:
    tcp_listener = stomp.TcpListener(port=0)

    def connect() -> tuple[str, str]:
        client = stomp_py.Connection12([("127.0.0.1", tcp_listener.port)], reconnect_attempts_max=1)
        listener = Listener()
        client.set_listener("", listener)
        client.connect(passcode and "worker-1", passcode)
        command, frame = listener.next()
        assert listener.next()[0] == "DISCONNECTED"
        return command, frame.headers["message"]

    async with serve(jobs.make_app(tcp_listener, 0)):
        assert await asyncio.to_thread(connect) == ("ERROR", "login refused")


# The page.


@pytest.mark.browser
async def test_page_shows_that_the_job_of_a_killed_worker_is_taken_over(fetched: None, browser: Browser) -> None:
    async with serve(make_app(2)) as url, opened(browser, url) as page:
        await expect(page.locator("#workers .doing", has_text="waits for a job")).to_have_count(
            2, timeout=LONG_GUARD_MS
        )
        await page.fill("#below", "1000")
        await page.fill("#parts", "3")
        await page.click("#submit button")
        await expect(page.locator("#waiting")).to_have_text("1")
        await expect(page.locator("#working")).to_have_text("2")
        victim = page.locator("#workers li", has=page.locator(".started, .half-done")).first
        name = await victim.get_attribute("data-name")
        await victim.locator("button").click()
        await expect(page.locator("#log .killed")).to_contain_text("killed at")
        await expect(page.locator("#log .taken-over")).to_contain_text("taken over", timeout=LONG_GUARD_MS)
        await expect(page.locator(".batch .outcome")).to_have_text(PRIMES_BELOW_A_THOUSAND, timeout=LONG_GUARD_MS)
        await expect(page.locator(".batch .state", has_text="(taken over)")).to_have_count(1)
        await expect(page.locator("#workers li")).to_have_count(1)
        assert await page.locator("#workers li").get_attribute("data-name") != name


@pytest.mark.browser
async def test_results_go_to_the_page_that_has_submitted_the_jobs(fetched: None, browser: Browser) -> None:
    async with serve(make_app(2, seconds=0.1)) as url, opened(browser, url) as page, opened(browser, url) as other:
        for one, below, parts in ((page, "1000", "4"), (other, "100", "2")):
            await expect(one.locator("#state")).to_have_text("connected", timeout=LONG_GUARD_MS)
            await one.fill("#below", below)
            await one.fill("#parts", parts)
            await one.click("#submit button")
        await expect(page.locator(".batch .outcome")).to_have_text("168", timeout=LONG_GUARD_MS)
        await expect(other.locator(".batch .outcome")).to_have_text("25", timeout=LONG_GUARD_MS)
        for one, parts in ((page, 4), (other, 2)):
            await expect(one.locator(".batch li .done")).to_have_count(parts)
            await expect(one.locator("#log .done")).to_have_count(6)  # everybody sees what happens


@pytest.mark.browser
async def test_jobs_wait_for_a_worker_to_be_started(fetched: None, browser: Browser) -> None:
    async with serve(make_app(0, seconds=0)) as url, opened(browser, url) as page:
        await expect(page.locator("#no-workers")).to_have_text("There are none, so jobs wait.", timeout=LONG_GUARD_MS)
        await page.click("#submit button")
        await expect(page.locator("#waiting")).to_have_text("6")
        await page.click("#start")
        await expect(page.locator(".batch .outcome")).to_have_text("78,498", timeout=LONG_GUARD_MS)
        await expect(page.locator("#waiting")).to_have_text("0")


@pytest.mark.browser
async def test_page_that_comes_later_sees_what_has_happened(fetched: None, browser: Browser) -> None:
    async with serve(make_app(1, seconds=0)) as url:
        async with page_of(url, "/temp-queue/results") as earlier:
            await earlier.submit({"id": "early", "first": 0, "last": 10})
            assert (await earlier.hear("/temp-queue/results"))["count"] == 4
        async with opened(browser, url) as page:
            await expect(page.locator("#log .done")).to_have_text("early done", timeout=LONG_GUARD_MS)
            await expect(page.locator("#workers .doing")).to_have_text("waits for a job")


@pytest.mark.browser
async def test_page_says_which_jobs_were_lost_with_its_connection(fetched: None, browser: Browser) -> None:
    app = make_app(0)
    async with serve(app) as url, opened(browser, url) as page:
        await expect(page.locator("#state")).to_have_text("connected", timeout=LONG_GUARD_MS)
        await page.click("#submit button")
        await expect(page.locator("#waiting")).to_have_text("6")
        await page.evaluate("client.forceDisconnect()")
        await expect(page.locator(".batch .lost")).to_have_count(6)
        await expect(page.locator("#state")).to_have_text("connected", timeout=LONG_GUARD_MS)
        await expect(page.locator("#waiting")).to_have_text("6")


@pytest.mark.browser
async def test_page_without_a_script_says_what_to_do(not_fetched: None, browser: Browser) -> None:
    async with serve(make_app(0)) as url, opened(browser, url, blocked="https://**") as page:
        await expect(page.locator("#no-script")).to_contain_text("python -m demo.scripts")
        await expect(page.locator("#submit button")).to_be_disabled()
        await expect(page.locator("#start")).to_be_disabled()


async def test_page_falls_back_to_a_cdn_with_integrity(not_fetched: None) -> None:
    async with serve(make_app(0)) as url, aiohttp.ClientSession() as client:
        page = await (await client.get(f"{url}/")).text()
        for script in (scripts.SOCKJS, scripts.STOMPJS):
            assert f'<script src="{script.cdn_url}" integrity="{script.integrity}" crossorigin="anonymous">' in page


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


@pytest.fixture
def fetched() -> None:
    """The browser scripts are there, as ``python -m demo.scripts`` fetched them."""
    if not (scripts.SOCKJS.is_here() and scripts.STOMPJS.is_here()):
        absent("the browser scripts are not there (python -m demo.scripts fetches them)")


@pytest.fixture
def not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout in which nothing has been fetched."""
    monkeypatch.setattr(scripts, "STATIC", tmp_path / "static")
    monkeypatch.setattr(serving, "STATIC", tmp_path / "static")
