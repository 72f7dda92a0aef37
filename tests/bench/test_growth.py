"""How growth is measured, judged and shown; and idle sessions, small and large messages of the load generator."""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from bench import growth, load
from bench.compare import Clock
from bench.growth import Case, Growth, Line, Outcome, Plan
from bench.load import Result, WrongReply
from bench.peers.registry import Peer
from bench.peers.running import DidNotStart
from bench.process import Server
from bench.workloads import TransportName, Workload

from ..needs import absent

FLAT = Line(
    name="flat",
    panel="Something flat",
    what="things",
    points=(1, 10, 1_000),
    case=lambda number: Case(growth.ECHO, idle=number),
    limit=1.5,
)
PROPORTIONAL = replace(FLAT, name="size", what="bytes", points=(16, 65_536, 262_144, 1_048_572), linear_from=65_536)


def result(cost: float) -> Result:
    """With nothing else of interest."""
    return Result(messages=1.0, p50=1.0, p99=2.0, load_busy=0.4, server_busy=1.0, cost=cost)


def grown(line: Line, *costs: Sequence[float]) -> Growth:
    """With the costs of each round, point by point."""
    pairs = zip(line.points, costs, strict=False)
    return Growth(line, {number: [result(cost) for cost in of_point] for number, of_point in pairs})


# Judging


def test_growth_is_reckoned_for_a_decade() -> None:
    found = grown(FLAT, [4.0], [8.0], [32.0])
    assert found.per_decade(1, 10) == pytest.approx(2.0)
    assert found.per_decade(10, 1_000) == pytest.approx(2.0)


def test_ratios_are_taken_within_rounds() -> None:
    """What slows the machine for a round slows both."""
    assert grown(FLAT, [10.0, 30.0, 11.0], [12.0, 36.0, 13.2]).ratio(1, 10) == pytest.approx(1.2)


def test_the_step_that_comes_nearest_to_its_limit_is_judged() -> None:
    (gate,) = growth.gates([grown(FLAT, [10.0], [14.0], [14.0])])
    assert gate.what == "cost per message, x per decade, 1 to 10 things"
    assert gate.seen == pytest.approx(1.4)
    assert gate.state.value == "met"
    (gate,) = growth.gates([grown(FLAT, [10.0], [10.0], [10.0 * 1.6**2])])
    assert gate.what.endswith("10 to 1,000 things")
    assert gate.state.value == "MISSED"


def test_what_may_grow_in_proportion_is_judged_by_the_cost_for_one() -> None:
    (gate,) = growth.gates([grown(PROPORTIONAL, [10.0], [100.0], [440.0], [1_200.0])])
    assert gate.what == "cost per KiB at 256 Ki / at 64 Ki"
    assert gate.seen == pytest.approx(1.1)


@pytest.mark.parametrize("found", [Growth(FLAT), grown(FLAT, [1.0]), grown(PROPORTIONAL, [1.0], [2.0])])
def test_without_a_second_point_nothing_is_judged(found: Growth) -> None:
    assert growth.gates([found]) == []


@pytest.mark.parametrize(("size", "text"), [(16, "16"), (1024, "1 Ki"), (65_536, "64 Ki"), (1_048_572, "1 Mi")])
def test_sizes_are_written_as_people_say_them(size: int, text: str) -> None:
    assert growth.size_text(size) == text


# Measuring


@dataclass
class FakePeer:
    """Starts at once, or not at all."""

    is_broken: bool = False
    started: int = 0
    running: int = 0
    port: int = 80
    pid: int = 1
    wording: str = "sockjs"

    @contextmanager
    def start(self, core: int | None) -> Iterator[FakePeer]:
        """As a peer does."""
        if self.is_broken:
            raise DidNotStart("no such file")
        self.started += 1
        self.running += 1
        yield self
        self.running -= 1

    @property
    def peer(self) -> Peer:
        """All that is used of one."""
        return cast(Peer, self)


@dataclass
class FakeLoad:
    """Each message costs so much, until something happens."""

    cost: float = 5.0
    events: list[BaseException | None] = field(default_factory=list)
    idle: list[int] = field(default_factory=list)

    def __call__(self, workload: Workload, *, idle: int, **_options: Any) -> Result:
        self.idle.append(idle)
        event = self.events.pop(0) if self.events else None
        if event is not None:
            raise event
        return result(self.cost)


PLAN = Plan(lines=[FLAT, PROPORTIONAL], rounds=2, seconds=0.1, most=1_000)


def test_each_point_is_measured_in_each_round_with_a_new_server() -> None:
    peer, fake_load, found = FakePeer(), FakeLoad(), Growth(FLAT)
    growth.measure(found, FLAT.points, peer.peer, 3, 0.1, Clock(1.0), fake_load)
    assert fake_load.idle == [1, 10, 1_000, 10, 1_000, 1, 1_000, 1, 10]
    assert peer.started == 9
    assert found.costs(10) == [5.0] * 3


@pytest.mark.parametrize(
    ("event", "code", "text"),
    [
        (WrongReply("wanted a, got b"), 1, "flat FAILED: wanted a, got b"),
        (KeyboardInterrupt(), 130, "stopped before its end"),
    ],
)
def test_what_was_measured_before_a_stop_is_shown(
    event: BaseException, code: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer, outcome = FakePeer(), Outcome()
    file = tmp_path / "growth.json"
    growth.perform(PLAN, peer.peer, outcome, FakeLoad(events=[None] * 4 + [event]))
    assert growth.conclude(growth.parse(["--json", str(file)]), PLAN, outcome) == code
    shown = capsys.readouterr().out
    assert "1.00  <= 1.50  met" in shown
    assert text in shown
    written = json.loads(file.read_text())
    assert not written["is_whole"]
    assert [point["costs"] for point in written["lines"][0]["points"]] == [[5.0], [5.0, 5.0], [5.0]]
    assert len(written["lines"]) == 1


def test_a_server_that_does_not_start_fails_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome()
    growth.perform(PLAN, FakePeer(is_broken=True).peer, outcome, FakeLoad())
    assert growth.conclude(growth.parse([]), PLAN, outcome) == 1
    assert "no such file" in capsys.readouterr().out


def test_a_limit_that_is_missed_fails_the_run() -> None:
    for costs, code in (([1.0], [1.0]), 0), (([1.0], [2.0]), 1):
        assert growth.conclude(growth.parse([]), PLAN, Outcome([grown(FLAT, *costs)])) == code


# Showing


def test_the_table_has_all_figures() -> None:
    lines = growth.table(grown(FLAT, [4.0, 5.0, 9.0], [8.0, 10.0, 18.0])).splitlines()
    assert lines[-2].split() == ["1", "5.00", "4.00", "9.00", "100%"]
    assert lines[-1].split() == ["10", "10.00", "8.00", "18.00", "2.00", "0.30", "100%"]
    sizes = growth.table(grown(PROPORTIONAL, [4.0], [128.0])).splitlines()
    assert sizes[-1].split()[:6] == ["64", "Ki", "128.00", "128.00", "128.00", "2.00"]


def test_the_file_has_the_slope() -> None:
    points = cast(list[dict[str, float | None]], growth.growth_as_json(grown(FLAT, [4.0], [8.0]))["points"])
    assert [point["slope"] for point in points] == [None, pytest.approx(math.log10(2))]


def test_the_picture_is_drawn_of_whatever_there_is(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "growth.png"
    whole = [grown(line, *([float(number), number + 9.0] for number in line.points)) for line in growth.LINES]
    for growths in (whole, whole[:1], [Growth(FLAT)], [grown(PROPORTIONAL, [4.0])]):
        growth.draw(growths, file, growth.caption(PLAN, Outcome()))
        assert file.read_bytes().startswith(b"\x89PNG")


# The command


def test_a_quick_run_has_fewer_sessions_and_all_sizes() -> None:
    quick, whole = (growth.planned(growth.parse(arguments)) for arguments in (["--quick"], []))
    assert (quick.sessions, whole.sessions) == (1_011, 10_011)
    assert quick.rounds >= 5
    for plan in (quick, whole):
        (size,) = (line for line in plan.lines if line.name == "size")
        assert plan.points(size) == list(growth.SIZES)
    assert quick.total < whole.total


def test_lines_can_be_chosen() -> None:
    plan = growth.planned(growth.parse(["--lines", "size", "--rounds", "2", "--seconds", "0.5"]))
    assert [line.name for line in plan.lines] == ["size"]
    assert (plan.rounds, plan.seconds) == (2, 0.5)


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--lines", "x"], ["--json", "no/such/folder/x"]])
def test_wrong_arguments_are_told_before_anything_runs(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        growth.parse(arguments)
    assert stopped.value.code == 2


# What the load generator does for this


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    """Our own, by kind; the endpoint is ``/echo``."""
    if not any(map(shutil.which, load.COMPILERS)):
        absent("no C compiler is installed (Debian: apt-get install gcc libc6-dev)")
    with Server("sockbridge") as echo, Server("stomp") as stomp:
        yield {"sockbridge": echo, "stomp": stomp}


def put_load(server: Server, workload: Workload, idle: int = 0) -> Result:
    """For a moment."""
    options = {"path": "/echo", "seconds": 0.1, "warm_up": 0.0, "guard": 5.0}
    return load.run(workload, port=server.port, wording="sockjs", pid=server.pid, idle=idle, **cast(Any, options))


@pytest.mark.parametrize("size", [16, 28, 29, 125, 126, 65_531, 65_532, 200_000])
def test_messages_of_any_size_come_back(servers: dict[str, Server], size: int) -> None:
    """Spec: RFC 6455, 5.2: lengths in 7, 16 and 64 bits."""
    assert put_load(servers["sockbridge"], replace(growth.ECHO, size=size)).messages > 0


@pytest.mark.parametrize("transport", ["websocket", "xhr_streaming", "xhr"])
def test_idle_sessions_are_connected_beside_an_echo(servers: dict[str, Server], transport: TransportName) -> None:
    server = servers["sockbridge"]
    before = server.ask().connected
    assert put_load(server, replace(growth.ECHO, transport=transport), idle=50).messages > 0
    assert server.ask().connected - before == growth.ACTIVE + 50


@pytest.mark.parametrize("workload", [growth.ECHO, growth.FANOUT])
def test_idle_sessions_have_topics_of_their_own_in_stomp(servers: dict[str, Server], workload: Workload) -> None:
    """Each is ready only when a message to its topic has come, and fails if one of the others does."""
    server = servers["stomp"]
    assert put_load(server, replace(workload, is_stomp=True), idle=50).messages > 0
    assert server.ask().errors == {}


@pytest.mark.parametrize("workload", [growth.FANOUT, replace(growth.ECHO, kind="connect")])
def test_idle_sessions_are_refused_where_they_could_not_be_idle(servers: dict[str, Server], workload: Workload) -> None:
    with pytest.raises(WrongReply, match="none can be idle"):
        put_load(servers["sockbridge"], workload, idle=1)


async def test_a_message_to_an_idle_session_is_found() -> None:
    websockets: list[web.WebSocketResponse] = []

    async def serve(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        websockets.append(websocket)
        async for message in websocket:
            for other in websockets:
                await other.send_str(message.data)
        return websocket

    app = web.Application()
    app.router.add_get("/echo", serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one = replace(growth.ECHO, connections=1)
    try:
        with pytest.raises(WrongReply, match="connection 1: wanted 'no message' but got 'from 00000"):
            await asyncio.to_thread(
                load.run, one, port=runner.addresses[0][1], wording="plain", pid=os.getpid(), seconds=0.1, idle=1
            )
    finally:
        await runner.cleanup()
