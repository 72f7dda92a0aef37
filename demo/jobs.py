"""The jobs demo: a queue of work, workers in processes of their own, and a page on which to kill them.

``python -m demo.jobs [--host 127.0.0.1] [--port 8080] [--stomp-port 0] [--workers 3]``

Pages put jobs into a queue, workers (``worker.py``) take one at a time over TCP, and results go back to the page that
wanted them. The job of a worker that is killed goes to another.

Knows: who may do what; the worker processes, which never outlive it.
Does not know: what a job is; how the page shows it (``jobs.html``).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import secrets
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aiohttp import web

import sockbridge
from sockbridge import stomp

from .scripts import SOCKJS, STOMPJS
from .serving import add_page, arguments, port_number, run, script_url

JOBS: Final = "/queue/jobs"
PROGRESS: Final = "/topic/progress"
STATE: Final = "/topic/state"

PASSCODE: Final = "SOCKBRIDGE_DEMO_PASSCODE"
"""The variable in the environment of workers: everybody on the machine can read a command line."""

MOST_WORKERS: Final = 8

LOOK_EVERY: Final = 0.2
"""Seconds between two looks at whether something has changed."""

GRACE: Final = 1.0
"""Seconds that workers have to end by themselves."""

WORKER: Final = stomp.has_role("worker")
PAGE: Final = stomp.has_role("page")


@dataclass
class Worker:
    """One worker process.

    Attributes:
        is_here: it has logged in.
    """

    name: str
    pid: int
    is_here: bool


@dataclass
class State:
    """What pages are told whenever it changes.

    Attributes:
        most: workers that there may be.
        waiting: jobs that no worker has.
        working: jobs that one has.
    """

    workers: list[Worker]
    most: int
    waiting: int
    working: int


@dataclass
class Report:
    """What has become of a worker, beside what workers themselves tell of their jobs."""

    worker: str
    state: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Refused(Exception):
    """What the page asks for cannot be done; the text says why."""


class Crew:
    """The worker processes, and what pages are told about them."""

    def __init__(
        self,
        server: stomp.StompServer,
        broker: stomp.EmbeddedBroker,
        tcp_listener: stomp.TcpListener,
        passcode: str,
        seconds: float,
    ) -> None:
        """
        Args:
            tcp_listener: where they connect to.
            passcode: by which they log in.
            seconds: that a job takes at least.
        """
        self._server = server
        self._broker = broker
        self._tcp_listener = tcp_listener
        self._passcode = passcode
        self._seconds = seconds
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: asyncio.Task[None] | None = None
        self._count = 0

    async def open(self, count: int) -> None:
        """Start ``count`` workers, and tell pages how things stand from now on."""
        self._telling = asyncio.create_task(self._tell(), name="jobs demo: state")
        for _ in range(count):
            self.add()

    async def close(self) -> None:
        """End all; returns when there are none. Does nothing before ``open``."""
        if self._telling is None:
            return
        self._telling.cancel()
        await asyncio.wait([self._telling])
        self._telling = None
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself just now
                process.terminate()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE)
        for name in list(self._processes):
            self.kill(name)
        if self._tasks:
            await asyncio.wait(self._tasks)

    def add(self) -> None:
        """Start one more.

        Raises:
            Refused: there are ``MOST_WORKERS``.
        """
        if len(self._tasks) >= MOST_WORKERS:
            raise Refused(f"there are {MOST_WORKERS} workers already")
        self._count += 1
        name = f"worker-{self._count}"
        task = asyncio.create_task(self._run(name), name=f"jobs demo: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def kill(self, name: str) -> None:
        """End one as it stands, without a word to it.

        Raises:
            Refused: it is not there, or not any more.
        """
        process = self._processes.pop(name, None)
        if process is None:
            raise Refused(f"there is no {name}")
        with contextlib.suppress(ProcessLookupError):  # see above
            process.kill()

    async def _run(self, name: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "demo.worker"),
            *("--port", str(self._tcp_listener.port), "--name", name, "--seconds", str(self._seconds)),
            stdin=asyncio.subprocess.DEVNULL,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, PASSCODE: self._passcode},
            start_new_session=True,  # the Ctrl-C of the terminal is not for it
        )
        self._processes[name] = process
        if self._telling is None:
            self.kill(name)  # all others were ended while it began
        await process.wait()
        if self._processes.pop(name, None) is not None and self._telling is not None:
            await self._server.messaging.send(PROGRESS, Report(name, "ended"))

    async def _tell(self) -> None:
        told = None
        while True:
            state = self._state()
            if state != told:
                await self._server.messaging.send(STATE, state)
                told = state
            await asyncio.sleep(LOOK_EVERY)

    def _state(self) -> State:
        queue = self._broker.queues.get(JOBS)
        return State(
            [Worker(name, process.pid, name in self._server.users) for name, process in self._processes.items()],
            MOST_WORKERS,
            waiting=0 if queue is None else len(queue),
            working=0 if queue is None else queue.lent,
        )


CREW: Final = web.AppKey("crew", Crew)

workers = stomp.Controller("/workers")


@workers.message_mapping("/start")
async def start(connection: stomp.StompConnection) -> None:
    connection.handshake.app[CREW].add()


@workers.message_mapping("/{name}/kill", send_to=PROGRESS)
async def kill(name: str, connection: stomp.StompConnection) -> Report:
    connection.handshake.app[CREW].kill(name)
    return Report(name, "killed")


@workers.exception_handler(Refused, send_to_user="/queue/errors")
async def refuse(error: Refused) -> str:
    return f"Not done: {error}"


POLICY: Final = (
    stomp.Rule.connect(stomp.LOGGED_IN),
    stomp.Rule.send(JOBS, PAGE),
    stomp.Rule.subscribe(JOBS, WORKER),
    stomp.Rule.subscribe("/temp-queue/results", PAGE),
    stomp.Rule.send("/reply-queue/{address}", WORKER),
    stomp.Rule.send(PROGRESS, WORKER),
    stomp.Rule.subscribe(PROGRESS, PAGE),
    stomp.Rule.subscribe(STATE, PAGE),
    stomp.Rule.send("/app/workers/**", PAGE),
    stomp.Rule.subscribe("/user/queue/errors", PAGE),
)


def make_authenticate(passcode: str) -> Callable[[stomp.Login], Awaitable[stomp.User | None]]:
    """Workers know the passcode; everybody else who comes from the page is one, with a name of its own."""

    async def authenticate(login: stomp.Login) -> stomp.User | None:
        if secrets.compare_digest(login.passcode.encode(), passcode.encode()):
            return stomp.User(login.login, ["worker"])
        if login.passcode or CREW not in login.handshake.app:
            return None  # over TCP, which has no application, come workers alone
        return stomp.User(f"page-{secrets.token_hex(4)}", ["page"])

    return authenticate


def make_app(tcp_listener: stomp.TcpListener, count: int = 3, seconds: float = 3.0) -> web.Application:
    """The page, the browser scripts, the queue, and the workers.

    Args:
        tcp_listener: for the workers.
        count: of them to begin with.
        seconds: that a job takes at least.
    """
    passcode = secrets.token_urlsafe()
    broker = stomp.EmbeddedBroker(
        topics=["/topic"],
        queues=["/queue"],
        # Who comes later sees what has happened, and how things stand.
        history=[stomp.History(PROGRESS, size=200), stomp.History(STATE, size=1, on_subscribe=True)],
        max_queue_length=1000,
    )
    server = stomp.StompServer(
        broker,
        controllers=[workers],
        authenticate=make_authenticate(passcode),
        policy=POLICY,
        listeners=[tcp_listener],
    )
    app = web.Application()
    add_page(app, "jobs.html", sockjs=SOCKJS, stompjs=STOMPJS)
    app[CREW] = crew = Crew(server, broker, tcp_listener, passcode, seconds)

    async def begin(app: web.Application) -> None:
        await crew.open(count)

    async def end(app: web.Application) -> None:
        await crew.close()

    app.on_shutdown.append(end)  # before the server ends
    sockbridge.mount(app, "/jobs", server, client_url=script_url(SOCKJS))
    app.on_startup.append(begin)  # after it has begun to listen
    return app


def main() -> int:
    """The command line."""
    parser = arguments("demo.jobs", "A queue of jobs, and workers that can be killed at their work.", port=8080)
    parser.add_argument(
        "--stomp-port", type=port_number, default=0, help="where workers connect, on loopback; default: a free one"
    )
    parser.add_argument(
        "--workers", type=_number_of_workers, default=3, help=f"to begin with, 0 to {MOST_WORKERS}; default %(default)s"
    )
    chosen = parser.parse_args()
    if importlib.util.find_spec("stomp") is None:
        print("The workers need stomp.py: pip install stomp.py", file=sys.stderr)
        return 1
    logging.getLogger("sockbridge.broker").setLevel(logging.ERROR)  # jobs that wait at the end are no loss here
    tcp_listener = stomp.TcpListener("127.0.0.1", chosen.stomp_port)
    app = make_app(tcp_listener, chosen.workers)
    greeting = "The jobs demo runs. Open {url}/ in a browser; Ctrl-C ends it, and its workers."
    return run(app, chosen.host, chosen.port, greeting, tcp_listener)


def _number_of_workers(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"there may be 0 to {MOST_WORKERS} workers, not {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
