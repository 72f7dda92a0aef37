"""The core of the other files once more on uvloop, whose transports and timers are not asyncio's."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from . import test_base, test_connection, test_receiver, test_sending, test_streaming, test_websocket
from .wire import ALL, DEFAULTS, LASTING, POLLING, SOCKETS, STREAMING

Scenario = Callable[..., Coroutine[Any, Any, None]]

SCENARIOS: list[tuple[Scenario, tuple[Any, ...]]] = [
    (test_base.test_a_burst_of_clients_of_all_kinds_at_once_is_served, ()),
    *((test_base.test_messages_of_every_kind_come_back_in_order, (name,)) for name in ALL),
    *(
        (test_base.test_a_close_by_the_handler_comes_after_what_was_sent_before_it, (name, "on_message"))
        for name in ALL
    ),
    *(
        (test_receiver.test_cut_offs_on_all_transports_are_told_within_a_second_with_default_settings, (how,))
        for how in ("fin", "rst")
    ),
    *((test_receiver.test_a_cut_off_leaves_nothing_behind, (name, "rst")) for name in ALL),
    *((test_receiver.test_a_peer_that_takes_nothing_is_given_up_after_write_timeout, (name,)) for name in LASTING),
    *((test_receiver.test_a_slow_reader_that_resumes_gets_everything_in_order, (name,)) for name in LASTING),
    *(
        (test_receiver.test_drain_bounds_what_waits_for_a_slow_reader, (name,))
        for name in ("xhr_streaming", "websocket")
    ),
    (test_sending.test_a_body_of_just_the_limit_passes, ()),
    (test_sending.test_parallel_posts_keep_the_order_of_their_arrival_one_message_at_a_time, ()),
    *(
        (test_streaming.test_a_second_receiver_is_told_2010_and_the_first_stays, (one, two))
        for one in STREAMING
        for two in POLLING
    ),
    *((test_websocket.test_a_peer_that_answers_no_ping_is_given_up, (name,)) for name in SOCKETS),
    *((test_websocket.test_a_ping_is_answered_while_the_handler_is_busy, (name,)) for name in SOCKETS),
    *((test_websocket.test_a_socket_is_not_read_while_too_much_waits_for_its_handler, (name,)) for name in SOCKETS),
    *((test_websocket.test_a_fragmented_message_arrives_whole, (name,)) for name in SOCKETS),
    (test_websocket.test_compressed_sockets_carry_messages_and_goodbyes, ()),
    *((test_connection.test_what_comes_in_one_segment_with_the_handshake_is_read, (name,)) for name in SOCKETS),
    *((test_connection.test_a_client_that_sends_very_much_early_is_read_to_its_end, (name, True)) for name in SOCKETS),
    (test_connection.test_connections_share_a_buffer_and_nothing_in_it, ()),
    (test_connection.test_a_frame_larger_than_a_read_arrives_whole, ()),
]

READING = [
    scenario for scenario in SCENARIOS if scenario[0].__module__ in (test_websocket.__name__, test_connection.__name__)
]
"""Those of websockets, which run with both readers."""


def name_of(scenario: tuple[Scenario, tuple[Any, ...]]) -> str:
    function, arguments = scenario
    return "-".join([function.__name__.removeprefix("test_"), *map(str, arguments)])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_on_uvloop(scenario: tuple[Scenario, tuple[Any, ...]]) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed: pip install sockbridge[speed]")
    function, arguments = scenario
    assert len(inspect.signature(function).parameters) == len(arguments)

    async def run() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        await function(*arguments)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("scenario", READING, ids=name_of)
def test_on_uvloop_with_the_reader_in_python(
    scenario: tuple[Scenario, tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEFAULTS, "websocket_reader", "python")
    test_on_uvloop(scenario)
