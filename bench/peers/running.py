"""A server of another project in a process of its own: started, waited for, stopped.

Knows: processes, ports, the first request.
Does not know: which servers there are and how they are built.
"""

from __future__ import annotations

import base64
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, Self

CHECKOUT: Final = Path(__file__).parents[2]

LAUNCHER: Final = Path(__file__).with_name("launch.py")

START_GUARD: Final = 60.0
"""Seconds that a server may take until it answers; a Java virtual machine on a busy core takes ten."""

STOP_GUARD: Final = 1.0
"""Seconds that a server may take to stop. Some wait for connections that nobody needs any more; they are killed."""

LOG_END: Final = 2000
"""Characters of its log that are shown of a server that did not start."""

Wording = Literal["sockjs", "plain", "socketio"]
"""How messages are worded: SockJS with its transports; a websocket's text messages; Engine.IO with Socket.IO."""

FIRST_PATHS: Final[Mapping[Wording, str]] = {
    "sockjs": "/echo/info",
    "plain": "/echo",
    "socketio": "/echo/?EIO=4&transport=websocket",
}
"""What is asked for to see whether a server answers."""

HANDSHAKE: Final = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


class DidNotStart(Exception):
    """A server ended, or did not answer in time; the text has the end of what it wrote."""


class RunningPeer:
    """A server that answers. Use it in a ``with``; leaving that stops it.

    Start it from a thread that lives as long as it should: it is killed at the thread's end.

    Attributes:
        pid: its process; all its threads are in there.
        port: where it listens on 127.0.0.1.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        wording: Wording,
        port: int,
        core: int | None,
        log: Path,
        environment: Mapping[str, str],
    ) -> None:
        """
        Args:
            command: listens on ``port``.
            core: which core it is pinned to; None leaves it where it is.
            log: the file that gets what it writes; is overwritten.
            environment: added to ours.

        Raises:
            DidNotStart: see there.
        """
        self.port = port
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), "" if core is None else str(core), str(os.getpid())]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*launcher, *command],
                cwd=CHECKOUT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # so that Ctrl-C reaches us alone, and we stop it
            )
        self.pid = self._process.pid
        try:
            self._wait_for_answer(wording)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process and whatever it has started. May be called twice."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_GUARD)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()

    def _wait_for_answer(self, wording: Wording) -> None:
        until = time.monotonic() + START_GUARD
        while not answers(self.port, wording):
            code = self._process.poll()
            if code is not None:
                raise DidNotStart(f"it ended with exit code {code}: {self._log_end()}")
            if time.monotonic() > until:
                raise DidNotStart(f"no answer within {START_GUARD:.0f} seconds: {self._log_end()}")
            time.sleep(0.02)

    def _log_end(self) -> str:
        text = self._log.read_text(errors="replace").strip()
        return text[-LOG_END:] or "it wrote nothing"


def answers(port: int, wording: Wording) -> bool:
    """Whether what listens on ``port`` serves the endpoint ``/echo`` yet."""
    is_handshake = wording != "sockjs"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_GUARD)
    try:
        connection.request("GET", FIRST_PATHS[wording], headers=HANDSHAKE if is_handshake else {})
        return connection.getresponse().status == (101 if is_handshake else 200)
    except (OSError, http.client.HTTPException):  # it does not listen yet, or not for long
        return False
    finally:
        connection.close()


def free_port() -> int:
    """A port that nothing listened on a moment ago; not every server can choose one and tell."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
