"""The peers of the benchmark: built once, started, echoing, and gone when they are stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from bench.peers.programs import Built, Python, Unavailable
from bench.peers.registry import PEERS, Peer
from bench.peers.running import CHECKOUT, DidNotStart, RunningPeer, free_port
from bench.workloads import ANY_PEER, WORKLOADS
from tests.needs import absent, needs

GUARD = 5.0

START_AND_DIE = """
import os, signal, sys
from bench.peers.registry import PEERS
running = next(peer for peer in PEERS if peer.name == "aiohttp").start(None)
print(running.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def named(name: str) -> Peer:
    return next(peer for peer in PEERS if peer.name == name)


def built(tmp_path: Path, *build: str, **tools: str) -> Built:
    """A program whose build runs the Python statements ``build``."""
    source = tmp_path / "sources" / "thing"
    source.mkdir(parents=True, exist_ok=True)
    (source / "version.txt").write_text("version 1.2\n")
    return Built(
        name="thing",
        tools=tools,
        build=tuple((sys.executable, "-c", statement) for statement in build),
        start=(),
        versions={"thing": ("version.txt", r"version (\S+)")},
        sources=tmp_path / "sources",
        built=tmp_path / "built",
    )


# --- servers that run -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sockbridge", "aiohttp", "sockjs", "sockjs-node"])
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Peer, RunningPeer]]:
    peer = named(request.param)
    if peer.name == "sockjs-node":
        needs("node")
        needs("npm")
    try:
        peer.prepare(print)
    except Unavailable as fault:
        absent(str(fault))
    with peer.start(None) as server:
        yield peer, server


class Client:
    """A websocket to an endpoint of a peer, in its wording."""

    def __init__(self, peer: Peer, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._is_sockjs = peer.wording == "sockjs"
        self._socket = socket

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, peer: Peer, port: int, endpoint: str, number: int) -> Client:
        path = f"{endpoint}/000/session{number}/websocket" if peer.wording == "sockjs" else endpoint
        client = cls(peer, await http.ws_connect(f"http://127.0.0.1:{port}/{path}"))
        if client._is_sockjs:
            assert await client._socket.receive_str(timeout=GUARD) == "o"
        return client

    async def send(self, message: str) -> None:
        await self._socket.send_str(json.dumps([message]) if self._is_sockjs else message)

    async def receive(self) -> str:
        text = await self._socket.receive_str(timeout=GUARD)
        if not self._is_sockjs:
            return text
        (message,) = json.loads(text.removeprefix("a"))
        return message


async def test_peer_echoes_to_the_sender_and_broadcasts_to_all(running: tuple[Peer, RunningPeer]) -> None:
    peer, server = running
    async with aiohttp.ClientSession() as http:
        echo = await Client.open(http, peer, server.port, "echo", 0)
        await echo.send('ä "message"')
        assert await echo.receive() == 'ä "message"'
        subscribers = [await Client.open(http, peer, server.port, "broadcast", number) for number in range(1, 4)]
        await subscribers[0].send("to all")
        assert [await subscriber.receive() for subscriber in subscribers] == ["to all"] * 3


def test_stopped_peer_leaves_no_process() -> None:
    server = named("aiohttp").start(None)
    server.stop()
    server.stop()
    with pytest.raises(ProcessLookupError):
        os.killpg(server.pid, 0)


def test_peer_runs_on_the_core_it_is_given() -> None:
    core = max(os.sched_getaffinity(0))
    with named("aiohttp").start(core) as server:
        assert os.sched_getaffinity(server.pid) == {core}


def test_peer_dies_with_a_benchmark_that_is_killed() -> None:
    done = subprocess.run([sys.executable, "-c", START_AND_DIE], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    state = Path(f"/proc/{int(done.stdout)}/stat")
    until = time.monotonic() + GUARD
    while state.exists() and ") Z " not in state.read_text():  # where nobody reaps orphans it stays as a zombie
        assert time.monotonic() < until
        time.sleep(0.01)


def test_peer_that_dies_at_its_start_gives_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(DidNotStart, match=r"(?s)it ended with exit code 1: .*no port for me"):
        RunningPeer(
            [sys.executable, "-c", "print('x' * 9000); raise SystemExit('no port for me')"],
            wording="plain",
            port=free_port(),
            core=None,
            log=tmp_path / "logs" / "broken.log",
            environment={},
        )


def test_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DidNotStart, match="FileNotFoundError"):
        RunningPeer(
            ["no-such-program"], wording="plain", port=free_port(), core=None, log=tmp_path / "log", environment={}
        )


# --- programs ---------------------------------------------------------------------------------------------------------


def test_missing_package_is_named() -> None:
    program = Python("aiohttp_server", {"aiohttp": "aiohttp", "python-nothing": "nothing_of_that_name"})
    assert program.unavailable() == "python-nothing is not installed: pip install python-nothing"
    with pytest.raises(Unavailable, match="pip install python-nothing"):
        program.prepare(print)


def test_missing_tool_is_named(tmp_path: Path) -> None:
    program = built(tmp_path, **{"no-such-tool": "Debian: apt-get install tool"})
    assert program.unavailable() == "no-such-tool is not installed (Debian: apt-get install tool)"
    with pytest.raises(Unavailable, match="no-such-tool is not installed"):
        program.prepare(print)


def test_build_runs_again_only_for_other_sources(tmp_path: Path) -> None:
    told: list[str] = []
    program = built(tmp_path, "open('result', 'w').close()")
    program.prepare(told.append)
    assert (tmp_path / "built" / "thing" / "result").exists()
    program.prepare(told.append)
    assert len(told) == 1
    (tmp_path / "sources" / "thing" / "more.txt").write_text("")
    program.prepare(told.append)
    assert len(told) == 2
    assert (tmp_path / "built" / "thing" / "more.txt").exists()


def test_build_that_fails_is_quoted_and_tried_again(tmp_path: Path) -> None:
    program = built(tmp_path, "raise SystemExit('no network here')")
    for _ in range(2):
        with pytest.raises(Unavailable, match="failed: no network here"):
            program.prepare(lambda text: None)
        assert not program.is_built()


def test_version_is_read_from_the_sources(tmp_path: Path) -> None:
    assert built(tmp_path).version() == "thing 1.2"


# --- the list ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sockjs-node", "sockjs-go", "spring", "sockjs-tornado"])
def test_every_built_peer_tells_its_versions(name: str) -> None:
    program = named(name).program
    assert isinstance(program, Built)
    assert re.fullmatch(r"\S+ [\d.]+(, \S+ [\d.]+)*", program.version())
    assert program.version().count(",") == len(program.versions) - 1


def test_gates_are_those_of_the_same_loop_and_the_reference() -> None:
    assert [peer.name for peer in PEERS if peer.is_gate] == ["aiohttp", "sockjs", "sockjs-node"]


def test_peer_skips_what_it_cannot_do() -> None:
    assert not named("sockbridge").skips
    assert not named("spring").skips
    assert named("sockjs-tornado").skips == {"stomp-echo": "it has no STOMP", "stomp-fanout": "it has no STOMP"}
    assert "2010" in named("sockjs-go").skips["xhr-echo"]
    assert "xhr-connect" not in named("sockjs-go").skips
    assert named("aiohttp").skips["xhr-echo"] == "it has websockets only"
    assert "ws-fanout" not in named("aiohttp").skips
    assert named("socketio").skips["ws-fanout"] == "it is measured by its echo only"


def test_every_peer_that_a_workload_names_is_there() -> None:
    names = {peer.name for peer in PEERS}
    for workload in WORKLOADS:
        for wanted in workload.wanted:
            assert names >= {wanted.ours, wanted.peer} - {ANY_PEER}
