"""How a comparison goes round: who takes part, in which order, what is tried again, what is left when one fails."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from bench import compare
from bench.compare import Clock, Contestant
from bench.load import Result, WrongReply
from bench.peers.registry import PEERS, Peer
from bench.peers.running import DidNotStart
from bench.report import Comparison, Row
from bench.workloads import Workload, workload_named

GOOD = Result(messages=10.0, p50=1.0, p99=2.0, load_busy=0.4, server_busy=1.0, cost=5.0)
REFUSED = Result(messages=3.0, p50=1.0, p99=2.0, load_busy=0.4, server_busy=0.3, cost=5.0)


@dataclass
class FakePeer:
    """Starts at once, or not at all; its port is its number."""

    name: str
    port: int
    is_broken: bool = False
    wording: str = "sockjs"
    warm_up: float = 0.3
    is_running: bool = False
    pid: int = 1

    def start(self, core: int | None) -> FakePeer:
        """As a peer does."""
        if self.is_broken:
            raise DidNotStart("no such file")
        self.is_running = True
        return self

    def __enter__(self) -> FakePeer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.is_running = False


@dataclass
class FakeLoad:
    """Gives each server the results that were laid up for it, then good ones."""

    results: dict[int, list[Result | Exception | type[BaseException]]] = field(default_factory=dict)
    calls: list[tuple[int, float]] = field(default_factory=list)

    def __call__(self, workload: Workload, *, port: int, warm_up: float, **_options: Any) -> Result:
        self.calls.append((port, warm_up))
        waiting = self.results.get(port)
        result = waiting.pop(0) if waiting else GOOD
        if isinstance(result, Result):
            return result
        raise result

    @property
    def order(self) -> list[int]:
        """Ports, as they were measured."""
        return [port for port, _warm_up in self.calls]


def compared(peers: Sequence[FakePeer], load: FakeLoad, rounds: int = 3) -> Comparison:
    """After so many rounds, or a stop."""
    workload = workload_named("ws-echo")
    taking_part = [Contestant(peer.name, cast(Peer, peer), workload) for peer in peers]  # all that is used of one
    found = Comparison(workload, {peer.name: Row(peer.name) for peer in peers})
    with contextlib.suppress(KeyboardInterrupt):
        compare.compare(found, taking_part, rounds, 1.0, Clock(100.0), load)
    assert not any(peer.is_running for peer in peers)
    return found


def test_each_server_is_measured_in_each_round_and_another_is_first() -> None:
    load = FakeLoad()
    found = compared([FakePeer("a", 1), FakePeer("b", 2), FakePeer("c", 3)], load)
    assert load.order == [1, 2, 3, 2, 3, 1, 3, 1, 2]
    assert all(row.results == [GOOD] * 3 for row in found.rows.values())


def test_a_refused_result_is_tried_three_times_and_then_marked() -> None:
    load = FakeLoad({1: [REFUSED, GOOD], 2: [REFUSED] * 3})
    found = compared([FakePeer("a", 1), FakePeer("b", 2)], load, rounds=1)
    assert load.order == [1, 1, 2, 2, 2]
    assert found.rows["a"].results == [GOOD]
    assert found.rows["b"].results == [REFUSED]


@pytest.mark.parametrize("error", [WrongReply("wanted a, got b"), RuntimeError("wanted a, got b")])
def test_a_server_that_fails_is_left_out_of_the_other_rounds(error: Exception) -> None:
    load = FakeLoad({1: [GOOD, error]})
    found = compared([FakePeer("a", 1), FakePeer("b", 2)], load)
    assert "wanted a, got b" in found.rows["a"].failure
    assert found.rows["b"].results == [GOOD] * 3
    assert load.order.count(1) == 2


def test_a_server_that_does_not_start_fails_alone() -> None:
    found = compared([FakePeer("a", 1, is_broken=True), FakePeer("b", 2)], FakeLoad())
    assert found.rows["a"].failure == "it did not start: no such file"
    assert found.rows["b"].results == [GOOD] * 3


def test_ctrl_c_keeps_what_was_measured_and_stops_the_servers() -> None:
    found = compared([FakePeer("a", 1), FakePeer("b", 2)], FakeLoad({2: [GOOD, KeyboardInterrupt]}))
    assert [len(row.results) for row in found.rows.values()] == [1, 1]


def test_a_server_is_warmed_up_before_its_first_round_only() -> None:
    load = FakeLoad()
    compared([FakePeer("spring", 1, warm_up=6.0)], load, rounds=2)
    assert load.calls == [(1, 6.0), (1, compare.WARM_UP)]


def test_the_cost_of_another_workload_is_measured_beside_with_the_same_server() -> None:
    taking_part, absent = compare.contestants(workload_named("stomp-fanout"), PEERS)
    by_name = {contestant.name: contestant for contestant in taking_part}
    assert by_name["sockbridge ws-fanout"].workload is workload_named("ws-fanout")
    assert by_name["sockbridge ws-fanout"].peer is by_name["sockbridge"].peer
    assert absent["aiohttp"] == "it has no STOMP"


def test_the_public_reader_is_measured_where_a_figure_is_wanted_of_it() -> None:
    for name, is_there in (("ws-echo-16", True), ("xhr-echo", False)):
        taking_part, absent = compare.contestants(workload_named(name), PEERS)
        assert any(contestant.name == "sockbridge-public" for contestant in taking_part) is is_there
        assert ("sockbridge-public" in absent) is not is_there


@pytest.mark.parametrize(
    ("arguments", "peers"),
    [
        (["--peers", "sockjs-uv"], ["sockbridge", "sockbridge-uv", "sockjs-uv"]),
        (["--peers", "aiohttp"], ["sockbridge", "aiohttp"]),
        (["--quick"], ["sockbridge", "sockbridge-uv", "sockbridge-public", "aiohttp", "sockjs", "sockjs-node"]),
        ([], [peer.name for peer in PEERS]),
    ],
)
def test_peers_are_measured_with_the_sockbridge_that_they_are_compared_with(
    arguments: list[str], peers: list[str]
) -> None:
    plan = compare.planned(compare.parse(arguments))
    assert [peer.name for peer in plan.peers] == peers


def test_the_last_part_can_be_left_out() -> None:
    assert compare.planned(compare.parse([])).is_idle
    assert not compare.planned(compare.parse(["--workloads", "ws-echo"])).is_idle
    alone = compare.planned(compare.parse(["--workloads", "idle"]))
    assert alone.is_idle
    assert not alone.workloads


@pytest.mark.parametrize(
    "arguments",
    [["--rounds", "0"], ["--seconds", "-1"], ["--workloads", "x"], ["--peers", "x"], ["--json", "no/such/folder/x"]],
)
def test_wrong_arguments_are_told_before_anything_runs(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        compare.parse(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_the_time_left_follows_the_pace() -> None:
    now = 0.0

    def read() -> float:
        return now

    clock = Clock(100.0, read)
    assert clock.left == 100.0
    clock.passed(50.0)
    now = 120.0
    assert clock.left == 50.0 * (120.0 + compare.TRUST) / (50.0 + compare.TRUST)


def test_the_command_in_the_file_names_no_file() -> None:
    options = compare.parse(["--quick", "--seconds", "0.5", "--peers", "aiohttp", "--json", "x.json"])
    assert compare.repeatable(options) == ["--quick", "--seconds", "0.5", "--peers", "aiohttp"]
