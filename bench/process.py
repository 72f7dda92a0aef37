"""Starts a server of ``bench/server.py`` in a process of its own, pinned to a core, and asks it questions.

Knows: processes, cores, CPU time.
Does not know: what the server serves.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from .server import Report

STOP_GUARD = 30.0
"""Seconds that a server may take to stop."""


class Server:
    """A running server. Use it in a ``with``; leaving that stops it.

    Attributes:
        pid: its process.
        port: where it listens on 127.0.0.1.
    """

    def __init__(self, kind: str, core: int | None = None, **options: object) -> None:
        """
        Args:
            kind: see ``bench.server.KINDS``.
            core: which core it is pinned to; None leaves it where it is.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.server", kind, json.dumps(options)],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,  # so that Ctrl-C reaches us alone, and we stop it
        )
        self.pid = self._process.pid
        if core is not None:
            os.sched_setaffinity(self.pid, {core})
        self.port = self._read().port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def ask(self, question: str = "") -> Report:
        """What the server says about itself; ``"objects"`` has it count its live objects."""
        assert self._process.stdin is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self._read()

    def terminate(self) -> None:
        """Send SIGTERM, as a service manager does; ``stop`` waits for the end."""
        self._process.send_signal(signal.SIGTERM)

    def is_running(self) -> bool:
        """False once the process has ended."""
        return self._process.poll() is None

    def last_report(self) -> Report:
        """What the server said when it had stopped; waits for that. Once, after ``terminate``."""
        return self._read()

    def stop(self) -> None:
        """End the process. May be called twice."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_GUARD)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def busy_seconds(self) -> float:
        """CPU time of its only thread so far."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    def _read(self) -> Report:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the server ended: exit code {self._process.wait()}")
        return Report(**json.loads(line))


def two_cores() -> tuple[int, int] | tuple[None, None]:
    """A core for the server and one for the load; ``(None, None)`` if there is only one, so nothing is pinned."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def pin(core: int | None) -> None:
    """Keep this process on ``core``."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def allow_connections(count: int) -> None:
    """Let this process, and those it starts, open ``count`` connections.

    Raises:
        SystemExit: the system does not allow so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"{count} connections need {wanted} open files; the hard limit is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def progress(text: str) -> None:
    """Show ``text`` on standard error: on a terminal in place of what was shown before."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{time.strftime('%H:%M:%S')} {text}")
    else:
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
