"""Puts load on a server: ``bench/load.c`` compiled, run, and what it counted.

The load generator is written in C, so that it is never the limit: a Python client takes more CPU time for a message
than a good server. It checks every message that it gets.

Knows: the C compiler, the arguments and the JSON line of ``bench/load.c``.
Does not know: which server answers, what a good figure is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from .workloads import Workload

SOURCE: Final = Path(__file__).with_suffix(".c")
BUILDS: Final = SOURCE.parent.parent / ".bench"
COMPILERS: Final = ("cc", "gcc", "clang")
FLAGS: Final = ("-std=c11", "-O2", "-Wall", "-Wextra")
PATHS: Final = {"echo": "/echo", "connect": "/echo", "fanout": "/broadcast"}

START_GUARD: Final = 60.0
"""Seconds that the load may take to open and to end all sessions."""


class WrongReply(Exception):
    """The server did not do what the protocol demands, or a message was lost, changed, repeated or reordered.

    Its text names the connection, what was wanted and what came.
    """


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of the load measured.

    Attributes:
        messages: per second of a core: echoed messages, deliveries to subscribers, or opened sessions. Where the server
            had to wait for its core because something else ran there, what it would have done meanwhile at that pace.
        p50: median of the latency in microseconds. ``echo``: from sending a message to its reply; ``fanout``: from
            publishing to the delivery to the last subscriber; ``connect``: from ``connect()`` to the open frame.
        p99: what 99 % of the latencies are below.
        load_busy: part of a core that the load took, 0 to 1.
        server_busy: part of a core that the server took, all its threads and processes together; may exceed 1.
        cost: microseconds of the server's CPU time per message.
        server_waited: part of the time in which the server was ready to run and something else had its core.
    """

    messages: float
    p50: float
    p99: float
    load_busy: float
    server_busy: float
    cost: float
    server_waited: float = 0.0

    @property
    def refusal(self) -> str:
        """Why ``messages`` says nothing about the server: it was not the limit. Empty if it was.

        It was if it ran or wanted to run for 90 % of the time, and did run for 30 %.
        """
        if self.server_busy >= 0.9 or (self.server_busy >= 0.3 and self.server_busy + self.server_waited >= 0.9):
            return ""
        return "the load was the limit" if self.load_busy >= 0.9 else "other processes took the cores"


def supports(workload: Workload, wording: str) -> bool:
    """Whether there are clients of this wording (``"sockjs"``, ``"plain"``, ``"socketio"``) for ``workload``."""
    is_websocket = workload.transport == "websocket"
    if wording != "sockjs":
        return is_websocket and not workload.is_stomp and (wording == "plain" or workload.kind == "echo")
    if workload.is_stomp:
        return is_websocket and workload.kind != "connect"
    return workload.kind != "connect" or workload.transport in ("websocket", "xhr")


def build() -> Path:
    """Compile the load generator, unless this source was compiled before.

    Raises:
        SystemExit: there is no C compiler, or it failed.
    """
    program = BUILDS / f"load-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
    if program.exists():
        return program
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise SystemExit("the load generator needs a C compiler (Debian: apt-get install gcc libc6-dev)")
    BUILDS.mkdir(exist_ok=True)
    unfinished = program.with_suffix(f".{os.getpid()}")  # two runs may build at the same time
    done = subprocess.run([compiler, *FLAGS, "-o", unfinished, SOURCE], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{compiler} cannot compile {SOURCE.name} (Debian: apt-get install libc6-dev):\n{done.stderr}")
    unfinished.replace(program)
    return program


def run(
    workload: Workload,
    *,
    port: int,
    wording: str,
    pid: int,
    seconds: float = 1.0,
    warm_up: float = 0.3,
    core: int | None = None,
    path: str | None = None,
    guard: float = 10.0,
    idle: int = 0,
) -> Result:
    """Open the sessions of ``workload``, put load on the server, and measure.

    Args:
        port: where the server listens on 127.0.0.1.
        pid: its process; descendants are added.
        seconds: how long it is measured,
        warm_up: how long it runs before that.
        core: which core the load is pinned to; None leaves that to the system.
        path: of the endpoint; None for ``/echo``, ``/broadcast`` or ``/stomp``, as the workload demands.
        guard: seconds without any message after which one counts as lost.
        idle: sessions besides, that are opened and then say nothing: beside an echo, or beside a STOMP fan-out, where
            each is the subscriber of a topic of its own.

    Raises:
        WrongReply: the server made a mistake.
    """
    arguments = {
        "kind": workload.kind,
        "transport": workload.transport,
        "wording": wording,
        "window": workload.window,
        "size": workload.size,
        "is_json": str(workload.is_json).lower(),
        "is_stomp": str(workload.is_stomp).lower(),
        "connections": workload.connections,
        "path": path or ("/stomp" if workload.is_stomp else PATHS[workload.kind]),
        "port": port,
        "pid": pid,
        "seconds": seconds,
        "warm_up": warm_up,
        "core": -1 if core is None else core,
        "guard": guard,
        "idle": idle,
    }
    command = [str(build()), *(f"{name}={value}" for name, value in arguments.items())]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=START_GUARD + seconds + warm_up + 2 * guard
    )
    if not done.stdout:
        raise RuntimeError(f"the load generator ended without a word: exit code {done.returncode} {done.stderr}")
    counted = json.loads(done.stdout)
    if "error" in counted:
        raise WrongReply(counted["error"])
    return _result(counted)


def _result(counted: dict[str, float]) -> Result:
    seconds, count = counted["seconds"], counted["count"]
    busy, waited = counted["server_seconds"] / seconds, counted["server_waited"] / seconds
    result = Result(
        messages=count / seconds,
        p50=counted["p50"],
        p99=counted["p99"],
        load_busy=counted["load_seconds"] / seconds,
        server_busy=busy,
        cost=counted["server_seconds"] / count * 1e6 if count else float("inf"),
        server_waited=waited,
    )
    # A core that others took for a while: what would have been done in that time.
    return replace(result, messages=result.messages / busy) if busy < 0.9 and not result.refusal else result
