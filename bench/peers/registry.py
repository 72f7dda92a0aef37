"""Which servers are measured: sockbridge and its peers.

Every one serves ``/echo``, which sends each message back, and ``/broadcast``, which sends it to all sessions of that
endpoint (but Socket.IO, which has only the echo). Each is set up as its own documentation has it, for production, with
access logs off, heartbeats as they come, open origins, and room for large messages.

Knows: names, wordings, what a peer cannot do.
Does not know: how load is made; what the figures mean.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ..workloads import WORKLOADS, TransportName, Workload
from .programs import BUILT, Built, Program, Progress, Python
from .running import RunningPeer, Wording, free_port

LOGS: Final = BUILT / "logs"
"""A file for each peer with what it wrote when it was last started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server to be measured.

    Attributes:
        name: for the command line and the table; ``-uv`` at its end says that it runs on uvloop.
        wording: how one talks to it; says with which workloads it can be measured.
        program: how it is built and started.
        is_gate: a figure that is wanted beside this peer must be reached.
        flaws: transport -> why messages over it cannot be measured, though it has the transport.
        is_stomp: it has the endpoint ``/stomp``: STOMP over SockJS, whose clients may send to ``/topic``.
        warm_up: seconds of load until it is as fast as it gets.
    """

    name: str
    wording: Wording
    program: Program
    is_gate: bool = False
    flaws: Mapping[TransportName, str] = field(default_factory=dict)
    is_stomp: bool = False
    warm_up: float = 0.3

    @property
    def skips(self) -> Mapping[str, str]:
        """Name of a workload that this peer cannot do -> the reason."""
        return {workload.name: reason for workload in WORKLOADS if (reason := self._skips(workload))}

    def version(self) -> str:
        """For people: the versions of its parts; "" where it is not available."""
        return "" if self.unavailable() else self.program.version()

    def unavailable(self) -> str:
        """Why it is skipped; "" if it can be prepared."""
        return self.program.unavailable()

    def prepare(self, progress: Progress) -> None:
        """Build what is to be built, once; before ``start``.

        Raises:
            Unavailable: that failed, or something is missing.
        """
        self.program.prepare(progress)

    def start(self, core: int | None) -> RunningPeer:
        """Start it on a free port and wait until it answers.

        Args:
            core: which core it is pinned to; None leaves it where it is.

        Raises:
            DidNotStart: it ended, or does not answer.
        """
        port = free_port()
        return RunningPeer(
            self.program.command(port),
            wording=self.wording,
            port=port,
            core=core,
            log=LOGS / f"{self.name}.log",
            environment=self.program.environment,
        )

    def _skips(self, workload: Workload) -> str:
        if workload.is_stomp and not self.is_stomp:
            return "it has no STOMP"
        if workload.transport != "websocket" and self.wording != "sockjs":
            return "it has websockets only"
        if workload.kind != "echo" and self.wording == "socketio":
            return "it is measured by its echo only"
        return "" if workload.kind == "connect" else self.flaws.get(workload.transport, "")


def _on_uvloop(peer: Peer) -> Peer:
    program = peer.program
    assert isinstance(program, Python)
    return replace(peer, name=f"{peer.name}-uv", program=replace(program, is_uvloop=True), is_gate=False)


_AIOHTTP: Final = Peer(
    name="aiohttp", wording="plain", is_gate=True, program=Python("aiohttp_server", {"aiohttp": "aiohttp"})
)

_SOCKJS: Final = Peer(
    name="sockjs", wording="sockjs", is_gate=True, program=Python("sockjs_server", {"sockjs": "sockjs"})
)

_SOCKBRIDGE: Final = Peer(
    name="sockbridge",
    wording="sockjs",
    is_stomp=True,
    program=Python("sockbridge_server", {"sockbridge": "sockbridge"}),
)

_SOCKBRIDGE_PUBLIC: Final = replace(
    _SOCKBRIDGE,
    name="sockbridge-public",
    program=Python(
        "sockbridge_server",
        {"sockbridge": "sockbridge"},
        environment={"BENCH_WEBSOCKET_READER": "python"},
    ),
)

_SOCKJS_NODE: Final = Peer(
    name="sockjs-node",
    wording="sockjs",
    is_gate=True,
    program=Built(
        name="node",
        tools={"node": "Debian: apt-get install nodejs", "npm": "Debian: apt-get install npm"},
        build=(("npm", "install", "--silent", "--no-audit", "--no-fund", "--omit=dev"),),
        start=("node", "{folder}/server.js", "{port}"),
        versions={"sockjs": ("package.json", r'"sockjs": "([^"]+)"')},
        environment={"NODE_ENV": "production"},
    ),
)

_SOCKJS_GO: Final = Peer(
    name="sockjs-go",
    wording="sockjs",
    # it lets go of the old poll in a goroutine of its own, some time after it has answered it
    flaws={"xhr": "it refuses a poll that follows the answer to the last one at once (2010)"},
    program=Built(
        name="go",
        tools={"go": "Debian: apt-get install golang"},
        build=(("go", "build", "-o", "server", "."),),
        # GOMAXPROCS is left alone: Go counts the cores that it is pinned to
        start=("{folder}/server", "{port}"),
        versions={"sockjs-go": ("go.mod", r"sockjs-go/v3 v(\S+)")},
    ),
)

_SPRING: Final = Peer(
    name="spring",
    wording="sockjs",
    is_stomp=True,
    warm_up=6.0,  # the virtual machine compiles what is hot, on the same core
    program=Built(
        name="spring",
        tools={
            "java": "Debian: apt-get install openjdk-17-jdk-headless",
            "javac": "Debian: apt-get install openjdk-17-jdk-headless",
            "mvn": "Debian: apt-get install maven",
        },
        build=(("mvn", "--quiet", "--batch-mode", "package"),),
        start=("java", "-XX:ActiveProcessorCount=1", "-jar", "{folder}/target/peer.jar", "--server.port={port}"),
        versions={"spring-boot": ("pom.xml", r"(?s)<parent>.*?<version>([^<]+)<")},
    ),
)

_SOCKJS_TORNADO: Final = Peer(
    name="sockjs-tornado",
    wording="sockjs",
    program=Built(
        # in an environment of its own: its import package is called sockjs, as another peer's is
        name="tornado",
        tools={},
        build=(
            (sys.executable, "-m", "venv", "venv"),
            ("venv/bin/python", "-m", "pip", "install", "--quiet", "--requirement", "requirements.txt"),
        ),
        start=("{folder}/venv/bin/python", "{folder}/server.py", "{port}"),
        versions={
            "sockjs-tornado": ("requirements.txt", r"sockjs-tornado==(\S+)"),
            "tornado": ("requirements.txt", r"(?m)^tornado==(\S+)"),
        },
    ),
)

_SOCKETIO: Final = Peer(
    name="socketio",
    wording="socketio",
    program=Python("socketio_server", {"python-socketio": "socketio"}),
)

_WEBSOCKETS: Final = Peer(
    name="websockets",
    wording="plain",
    program=Python("websockets_server", {"websockets": "websockets"}),
)

_PICOWS: Final = Peer(name="picows", wording="plain", program=Python("picows_server", {"picows": "picows"}))

PEERS: Final[tuple[Peer, ...]] = (
    _SOCKBRIDGE,
    _on_uvloop(_SOCKBRIDGE),
    _SOCKBRIDGE_PUBLIC,
    _AIOHTTP,
    _on_uvloop(_AIOHTTP),
    _SOCKJS,
    _on_uvloop(_SOCKJS),
    _SOCKJS_NODE,
    _SOCKJS_GO,
    _SPRING,
    _SOCKJS_TORNADO,
    _SOCKETIO,
    _on_uvloop(_SOCKETIO),
    _WEBSOCKETS,
    _PICOWS,
    _on_uvloop(_PICOWS),
)
"""In the order of the table."""
