"""What the benchmark says about figures: ratios, what is wanted, what fails a run, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from bench import idle, report
from bench.load import Result
from bench.report import Comparison, Gate, Row, State
from bench.workloads import ANY_PEER, ON_UVLOOP, PUBLIC, WORKLOADS, CostLimit, Wanted, Workload

GATE_PEERS = ["aiohttp", "sockjs"]


def result(messages: float, *, is_refused: bool = False, cost: float = 10.0) -> Result:
    """One round, of which only these figures matter."""
    busy = 0.5 if is_refused else 1.0
    return Result(messages=messages, p50=1.0, p99=2.0, load_busy=0.4, server_busy=busy, cost=cost)


def row(server: str, *rounds: float | None, failure: str = "") -> Row:
    """A server whose rounds had these figures; None stands for a refused round."""
    results = [result(1e9, is_refused=True) if figure is None else result(figure) for figure in rounds]
    return Row(server, results, failure)


def comparison(*rows: Row, wanted: Sequence[Wanted] = (), limit: CostLimit | None = None, **absent: str) -> Comparison:
    """Of one workload."""
    workload = Workload(name="ws-echo", kind="echo", wanted=tuple(wanted), cost_limit=limit)
    return Comparison(workload, {each.server: each for each in rows}, absent)


def only_gate(of: Comparison) -> Gate:
    """The one that it has."""
    (gate,) = report.gates(of, GATE_PEERS)
    return gate


def words(line: str) -> str:
    """Without the blanks that make columns."""
    return " ".join(line.split())


# ratios


def test_a_ratio_pairs_the_results_of_one_round() -> None:
    """The machine was slow in the second round: that changes no ratio, but would change one of medians."""
    found = report.ratio(row("sockbridge", 20, 2, 33), row("aiohttp", 10, 1, 11))
    assert found == report.Ratio(median=2.0, lowest=2.0, highest=3.0, rounds=3)
    assert str(found) == "2.00 (2.00-3.00)"


def test_a_refused_round_counts_for_nobody() -> None:
    found = report.ratio(row("sockbridge", 20, None, 40), row("aiohttp", 10, 10, None))
    assert found == report.Ratio(median=2.0, lowest=2.0, highest=2.0, rounds=1)
    assert report.ratio(row("sockbridge", None, 40), row("aiohttp", 10, None)) is None


def test_medians_are_of_the_rounds_that_count() -> None:
    median = row("aiohttp", 10, None, 30, 20).median
    assert median is not None
    assert median.messages == 20
    assert row("aiohttp", None).median is None
    assert row("aiohttp", 10, failure="wrong").median is None


def test_a_run_that_was_stopped_has_the_ratios_of_its_whole_rounds() -> None:
    found = report.ratio(row("sockbridge", 20, 80), row("aiohttp", 10))
    assert found is not None
    assert found.rounds == 1


def test_a_failed_server_has_no_ratio() -> None:
    assert report.ratio(row("sockbridge", 20), row("aiohttp", 10, failure="wrong")) is None


def test_a_server_that_did_nothing_in_a_round_is_no_division_by_zero() -> None:
    assert report.ratio(row("sockbridge", 20), row("aiohttp", 0)) is None


@pytest.mark.parametrize(
    ("server", "ours"),
    [
        ("aiohttp", ("sockbridge",)),
        ("aiohttp-uv", ("sockbridge-uv",)),
        ("sockjs-go", ("sockbridge", "sockbridge-uv")),
        ("sockbridge-uv", ()),
        ("sockbridge ws-fanout", ()),
    ],
)
def test_a_peer_is_compared_on_its_own_loop(server: str, ours: tuple[str, ...]) -> None:
    assert report.ours_beside(server) == ours


# what is wanted


def test_a_met_gate_shows_what_was_seen() -> None:
    gate = only_gate(comparison(row("sockbridge", 12), row("aiohttp", 10), wanted=[Wanted("aiohttp", 1.2)]))
    assert (gate.what, gate.wanted, gate.seen, gate.verdict) == ("sockbridge / aiohttp", 1.2, 1.2, "met")


def test_a_missed_gate_is_named_with_figures() -> None:
    missed = comparison(row("sockbridge", 12), row("aiohttp", 10), wanted=[Wanted("aiohttp", 1.5)])
    gate = only_gate(missed)
    assert gate.state is State.MISSED
    assert gate.verdict == "MISSED by 0.3 (20.0%)"
    table = report.gates_table([gate]).splitlines()
    assert words(table[1]) == "ws-echo sockbridge / aiohttp 1.20 >= 1.50 MISSED by 0.3 (20.0%)"
    assert report.failed_run([missed], [gate])


def test_a_gate_without_figures_is_a_miss() -> None:
    refused = comparison(row("sockbridge", 12), row("aiohttp", None), wanted=[Wanted("aiohttp", 1.2)])
    gate = only_gate(refused)
    assert gate.verdict == "MISSED, no figure: every round was refused (other processes took the cores)"
    assert report.failed_run([refused], [gate])


def test_a_gate_of_a_gate_peer_that_failed_is_a_miss() -> None:
    failed = comparison(row("sockbridge", 12), row("aiohttp", failure="wrong"), wanted=[Wanted("aiohttp", 1.2)])
    gate = only_gate(failed)
    assert gate.verdict == "MISSED, no figure: aiohttp FAILED"
    assert report.failed_run([failed], [gate])


def test_rounds_that_count_for_one_each_are_no_figure() -> None:
    gate = only_gate(comparison(row("sockbridge", 12, None), row("aiohttp", None, 9), wanted=[Wanted("aiohttp", 1.2)]))
    assert gate.verdict == "MISSED, no figure: no round counts for both"


def test_a_gate_of_a_peer_that_is_not_installed_is_not_measured_and_says_why() -> None:
    absent = comparison(row("sockbridge", 12), wanted=[Wanted("aiohttp", 1.2)], aiohttp="aiohttp is not installed")
    gate = only_gate(absent)
    assert gate.verdict == "not measured: aiohttp is not installed"
    assert not report.failed_run([absent], [gate])


def test_a_gate_of_a_peer_that_was_left_out_is_not_measured() -> None:
    gate = only_gate(comparison(row("sockbridge", 12), wanted=[Wanted("aiohttp", 1.2)]))
    assert gate.verdict == "not measured: aiohttp was left out"


def test_a_gate_of_a_run_that_was_stopped_is_not_measured() -> None:
    gate = only_gate(comparison(row("sockbridge", 12), row("aiohttp"), wanted=[Wanted("aiohttp", 1.2)]))
    assert gate.verdict == f"not measured: {report.STOPPED}"


def test_other_peers_are_reported_and_decide_nothing() -> None:
    missed = comparison(row("sockbridge", 12), row("sockjs-go", 10), wanted=[Wanted("sockjs-go", 1.5)])
    gate = only_gate(missed)
    assert gate.verdict == "MISSED by 0.3 (20.0%) (reported only)"
    assert not report.failed_run([missed], [gate])


def test_a_gate_compares_the_sockbridge_that_it_names() -> None:
    of = comparison(
        row("sockbridge", 10), row(ON_UVLOOP, 30), row("sockjs-go", 10), wanted=[Wanted("sockjs-go", 2.0, ON_UVLOOP)]
    )
    assert only_gate(of).seen == 3.0


def test_every_peer_means_all_that_were_measured_but_those_that_are_named() -> None:
    of = comparison(
        row("sockbridge", 60),
        row(PUBLIC, 50),
        row("aiohttp", 10),
        row("aiohttp-uv", 20),
        row("sockjs-go", 25),
        wanted=[Wanted("aiohttp", 5.5), Wanted("aiohttp", 4.5, PUBLIC), Wanted(ANY_PEER, 3.5, PUBLIC)],
    )
    found = {gate.what: (gate.wanted, gate.seen, gate.decides) for gate in report.gates(of, GATE_PEERS)}
    assert found == {
        "sockbridge / aiohttp": (5.5, 6.0, True),
        "sockbridge-public / aiohttp": (4.5, 5.0, True),
        "sockbridge-public / sockjs-go": (3.5, 2.0, False),
    }


@pytest.mark.parametrize(("cost", "state"), [(15.0, State.MET), (16.0, State.MISSED)])
def test_a_cost_limit_compares_cpu_time_with_the_other_workload(cost: float, state: State) -> None:
    of = comparison(
        Row("sockbridge", [result(10, cost=cost)]),
        Row("sockbridge ws-fanout", [result(10, cost=10.0)]),
        limit=CostLimit("ws-fanout", 1.5),
    )
    gate = only_gate(of)
    assert (gate.seen, gate.state) == (cost / 10, state)
    assert report.failed_run([of], [gate]) is (state is State.MISSED)


def test_a_wrong_reply_of_sockbridge_fails_the_run_and_that_of_a_peer_does_not() -> None:
    for name in ("sockbridge", ON_UVLOOP, PUBLIC, report.reference_name("ws-fanout")):
        assert report.failed_run([comparison(row(name, 10, failure="wrong"))], [])
    assert not report.failed_run([comparison(row("sockbridge", 10), row("sockjs", 10, failure="wrong"))], [])


def test_the_table_of_workloads_asks_for_known_servers_and_rows() -> None:
    """A misspelt name would be "left out" for ever."""
    names = {workload.name for workload in WORKLOADS}
    peers = {"aiohttp", "aiohttp-uv", "sockjs", "sockjs-node", "sockjs-go", ANY_PEER}
    assert len(names) == len(WORKLOADS)
    for workload in WORKLOADS:
        assert {wanted.peer for wanted in workload.wanted} <= peers
        assert {wanted.ours for wanted in workload.wanted} <= set(report.OURS)
        assert workload.cost_limit is None or workload.cost_limit.workload in names


# tables and the file


def test_the_table_of_a_workload_has_figures_failures_and_refusals() -> None:
    table = report.workload_table(
        comparison(
            row("sockbridge", 20_000, None),
            row("aiohttp", 10_000, 10_000),
            row("sockjs", failure="connection 3: wanted a, got b"),
            row("sockjs-node", None),
            row("spring", None, None),
        )
    )
    lines = table.splitlines()
    assert lines[0] == "ws-echo: websocket echo, 64 B, 1 in flight, 100 connections"
    assert words(lines[2]) == "sockbridge 20,000 1 2 10.0 100% 40% 1 of 2"
    assert words(lines[3]) == "aiohttp 10,000 1 2 10.0 2.00 (2.00-2.00) 100% 40%"
    assert lines[4].split() == ["sockjs", "FAILED"]
    assert words(lines[5]) == "sockjs-node - (10.0) 1 of 1"
    assert lines[7:] == [
        "sockjs FAILED: connection 3: wanted a, got b",
        "every round was refused (other processes took the cores): sockjs-node, spring",
    ]


def test_a_server_without_a_round_is_shown_without_figures() -> None:
    assert report.workload_table(comparison(row("aiohttp"))).splitlines()[2].split() == ["aiohttp", "-"]


def test_the_summary_has_a_column_for_each_peer_on_either_loop() -> None:
    of = comparison(
        row("sockbridge", 20),
        row(ON_UVLOOP, 40),
        row("aiohttp", 10),
        row("aiohttp-uv", 20),
        row("sockjs", 10, failure="wrong"),
        row("sockjs-node", 25),
        row("websockets", None),
        wanted=[Wanted("sockjs-node", 1.1)],
    )
    text = report.summary_tables([of], report.gates(of, ["sockjs-node"]))
    blocks = [[line.split() for line in block.splitlines()[1:]] for block in text.split("\n\n")]
    assert blocks[0] == [
        ["aiohttp", "sockjs", "sockjs-node", "websockets"],
        ["ws-echo", "2.00", "FAILED", "0.80!", "refused"],
    ]
    assert blocks[1] == [["aiohttp-uv", "sockjs-node"], ["ws-echo", "2.00", "1.60"]]
    assert text.endswith("! less than wanted")


def test_a_peer_that_cannot_do_a_workload_leaves_its_cell_empty() -> None:
    both = comparison(row("sockbridge", 20), row("aiohttp", 10)), comparison(row("sockbridge", 20))
    assert report.summary_tables(both, []).splitlines()[-1].split() == ["ws-echo", "-"]


def test_without_sockbridge_there_is_no_summary() -> None:
    assert report.summary_tables([comparison(row("aiohttp", 10))], []) == ""


def test_many_refused_rounds_are_told() -> None:
    assert report.refusals([comparison(row("aiohttp", *[10.0] * 9, None))]) == ""
    assert report.refusals([comparison(row("aiohttp", 10, None))]) == (
        "1 of 2 rounds were refused: 1 times other processes took the cores."
        " Nothing else should run on the machine meanwhile."
    )


def test_the_file_has_every_round() -> None:
    of = comparison(row("sockbridge", 20, 30), row("aiohttp", 10, None), wanted=[Wanted("aiohttp", 1.2)], sockjs="no")
    found = json.loads(json.dumps(report.comparison_as_json(of)))
    assert found["absent"] == {"sockjs": "no"}
    mine, peer = found["servers"]
    assert [each["messages"] for each in mine["rounds"]] == [20, 30]
    assert mine["median"]["messages"] == 25
    assert peer["rounds"][1]["refusal"] == "other processes took the cores"
    assert peer["sockbridge_is_times"]["sockbridge"] == {"median": 2, "lowest": 2, "highest": 2, "rounds": 1}
    gate = json.loads(json.dumps(report.gate_as_json(only_gate(of))))
    assert (gate["state"], gate["seen"], gate["wanted"]) == ("met", 2.0, 1.2)


# the picture


def test_the_yardstick_is_the_best_known_server_that_has_figures() -> None:
    all_three = comparison(row("sockbridge", 20), row("aiohttp", 10), row("sockjs-node", 5))
    assert report.yardstick(all_three) is all_three.rows["aiohttp"]
    failed = comparison(row("sockbridge", 20), row("aiohttp", 10, failure="wrong"), row("sockjs-node", 5))
    assert report.yardstick(failed) is failed.rows["sockjs-node"]
    assert report.yardstick(comparison(row("sockbridge", None))) is None


def test_the_yardstick_over_http_is_sockjs_node() -> None:
    workload = Workload(name="xhr-echo", kind="echo", transport="xhr")
    rows = {name: row(name, 10) for name in ("sockbridge", "sockjs", "sockjs-node")}
    assert report.yardstick(Comparison(workload, rows)) is rows["sockjs-node"]


def test_bars_say_why_there_is_none() -> None:
    of = comparison(
        row("aiohttp", 10, 10), row("sockbridge", 30, None), row("a", None), row("b", failure="x"), row("c")
    )
    found = report.bars(of, of.rows["aiohttp"])
    assert [bar.ratio and bar.ratio.median for bar in found] == [1, 3, None, None, None]
    assert [bar.why_nothing for bar in found] == ["", "", "refused", "FAILED", "stopped"]
    assert found[1].refused == 1


# idle sessions


def cost(name: str, kibibytes: float, busy: float, sessions: int = 10_000) -> idle.Cost:
    """Of one kind."""
    return idle.Cost(name=name, sessions=sessions, memory=kibibytes * 1024, busy=busy, heartbeats=1)


def test_idle_sessions_are_checked_for_memory_and_cpu_time() -> None:
    costs = [
        cost(idle.BARE, 20.0, 0.5),
        cost(idle.WEBSOCKET, 22.0, 0.03),
        cost(idle.STOMP, 99.0, 0.5),
        cost(idle.STREAM, 25.0, 0.04),
    ]
    assert [(gate.what, gate.seen, gate.verdict) for gate in idle.gates(costs)] == [
        ("websocket: KiB per session over bare aiohttp", 2.0, "met"),
        ("xhr_streaming: KiB per session", 25.0, "MISSED by 1 (4.2%)"),
        ("websocket: % of a core, 10,000 sessions", 3.0, "met"),
        ("xhr_streaming: % of a core, 10,000 sessions", 4.0, "MISSED by 1 (33.3%)"),
    ]


def test_cpu_time_of_fewer_idle_sessions_is_reckoned_for_all() -> None:
    (_memory, busy) = idle.gates([cost(idle.STREAM, 20.0, 0.004, sessions=1000)])
    assert busy.seen == pytest.approx(4.0)


def test_kinds_that_were_not_measured_are_not_checked() -> None:
    assert idle.gates([]) == []
    assert idle.table([]).startswith("idle: 0 sessions")
