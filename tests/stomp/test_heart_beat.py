"""The agreement on heart-beats, and when one is due; time is passed in."""

from __future__ import annotations

import pytest

from sockbridge.errors import BadFrame
from sockbridge.stomp.heart_beat import HeartBeat, Look, parse_heart_beat
from sockbridge.stomp.options import StompOptions

SLOWEST_TICK = 1.0
"""Seconds between two looks of the server at most."""


def agree(can_send: int, wants: int, now: float = 0.0, **options: object) -> HeartBeat:
    return HeartBeat.mirroring((can_send, wants), StompOptions(**options), now)  # type: ignore[arg-type]


def idle_look(heart_beat: HeartBeat, now: float) -> Look:
    return heart_beat.look(now, has_read=False, has_written=False)


# The header.


@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        (None, (0, 0)),
        ("0,0", (0, 0)),
        ("1000,2000", (1000, 2000)),
        (" 1000 , 2000 ", (1000, 2000)),
        ("007,999999999999", (7, 999_999_999_999)),
    ],
)
def test_the_header_is_what_the_client_can_send_and_what_it_wants(header: str | None, numbers: tuple[int, int]) -> None:
    """STOMP 1.2, "Heart-beating": a missing header is the same as ``0,0``."""
    assert parse_heart_beat(header) == numbers


@pytest.mark.parametrize(
    "header",
    [
        *(
            "",
            ",",
            "1",
            "1,",
            ",1",
            "1,2,3",
            "-1,0",
            "+1,0",
            "1.5,0",
            "1e3,0",
            "1_000,0",
            "0x10,0",
            "\u0663,0",
            "\u00b2,0",
        ),
        *("a,b", "9" * 13 + ",0", "1 0,0", "0,0\x00", "x" * 8000),
    ],
)
def test_garbage_in_the_header_is_refused(header: str) -> None:
    with pytest.raises(BadFrame) as caught:
        parse_heart_beat(header)
    assert caught.value.message == "heart-beat is two numbers of milliseconds"
    assert len(caught.value.detail) < 1000
    assert caught.value.detail.isascii()


# The agreement.


@pytest.mark.parametrize(
    ("asked", "header", "send_every", "expect_every"),
    [
        ((0, 0), "0,0", 0, 0),
        ((5000, 0), "0,5000", 0, 5),
        ((0, 5000), "5000,0", 5, 0),
        ((10_000, 4000), "4000,10000", 4, 10),
        ((1, 1), "1000,1000", 1, 1),
        ((999, 1001), "1001,1000", 1.001, 1),
        ((60_000, 60_000), "60000,60000", 60, 60),
        # Beyond the bounds the greater number holds, as both sides compute it.
        ((90_000, 120_000), "60000,60000", 120, 90),
    ],
)
def test_what_the_client_asks_for_is_mirrored_within_bounds(
    asked: tuple[int, int], header: str, send_every: float, expect_every: float
) -> None:
    heart_beat = agree(*asked)
    assert heart_beat.header == header
    assert (heart_beat.send_every, heart_beat.expect_every) == (send_every, expect_every)


def test_both_sides_compute_the_same_intervals_from_the_two_headers() -> None:
    """STOMP 1.2, "Heart-beating": MAX(<cx>,<sy>) and MAX(<sx>,<cy>), unless one of the two is 0."""
    for can_send in (0, 1, 500, 1000, 7000, 60_000, 61_000):
        for wants in (0, 1, 500, 1000, 7000, 60_000, 61_000):
            heart_beat = agree(can_send, wants)
            offered, demanded = map(int, heart_beat.header.split(","))
            assert heart_beat.expect_every * 1000 == (max(can_send, demanded) if can_send and demanded else 0)
            assert heart_beat.send_every * 1000 == (max(offered, wants) if offered and wants else 0)


def test_the_bounds_are_options() -> None:
    assert agree(100, 9000, heart_beat_min_ms=250, heart_beat_max_ms=5000).header == "5000,250"


@pytest.mark.parametrize(
    ("asked", "tick"), [((0, 0), 0.0), ((1000, 0), 0.2), ((0, 1000), 0.2), ((10_000, 5000), 1.0), ((2000, 60_000), 0.4)]
)
def test_the_shorter_interval_decides_how_often_to_look(asked: tuple[int, int], tick: float) -> None:
    assert agree(*asked).tick == pytest.approx(tick)


# Sending.


def ticks(heart_beat: HeartBeat, begin: float, end: float) -> list[float]:
    """When the server looks."""
    tick = min(heart_beat.tick, SLOWEST_TICK)
    return [begin + tick * count for count in range(1, round((end - begin) / tick) + 1)]


@pytest.mark.parametrize("begin", [0.0, 0.1, 123_456.789])
@pytest.mark.parametrize("interval", [1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 25.0, 60.0])
def test_beats_to_a_quiet_client_are_half_to_seven_tenths_of_the_interval_apart(interval: float, begin: float) -> None:
    heart_beat = agree(0, int(interval * 1000), now=begin)
    beats = [now for now in ticks(heart_beat, begin, begin + 20 * interval) if idle_look(heart_beat, now) is Look.BEAT]
    assert len(beats) >= 28
    for before, after in zip([begin, *beats], beats, strict=False):
        assert 0.5 * interval - 1e-6 <= after - before <= 0.7 * interval + 1e-6


@pytest.mark.parametrize("interval", [1.0, 10.0])
@pytest.mark.parametrize("share", [0.001, 0.999])
def test_the_client_never_hears_nothing_for_seven_tenths_wherever_a_message_falls(
    interval: float, share: float
) -> None:
    """A message may have gone out right after a look or right before one: both must do."""
    for first in range(1, 8):
        heart_beat = agree(0, int(interval * 1000))
        tick = min(heart_beat.tick, SLOWEST_TICK)
        last_heard = 0.0
        for count in range(1, 60):
            now = tick * count
            has_written = count % first == 0
            if has_written:
                last_heard = now - tick + tick * share
            if heart_beat.look(now, has_read=False, has_written=has_written) is Look.BEAT:
                last_heard = now
            assert now - last_heard <= 0.7 * interval + 1e-6


def test_who_is_written_to_all_the_time_gets_no_beat() -> None:
    heart_beat = agree(0, 1000)
    found = [heart_beat.look(now, has_read=False, has_written=True) for now in ticks(heart_beat, 0, 60)]
    assert set(found) == {Look.NOTHING}


def test_who_wants_none_gets_none() -> None:
    heart_beat = agree(0, 0)
    assert {idle_look(heart_beat, now) for now in (0.0, 1.0, 1e9)} == {Look.NOTHING}


# Listening.


@pytest.mark.parametrize("interval", [1.0, 10.0])
def test_a_client_is_given_up_after_two_silent_intervals_and_not_before(interval: float) -> None:
    heart_beat = agree(int(interval * 1000), 0, now=50.0)
    assert idle_look(heart_beat, 50.0 + 2 * interval - 0.001) is Look.NOTHING
    assert idle_look(heart_beat, 50.0 + 2 * interval) is Look.SILENT


def test_the_first_beat_of_the_client_is_due_from_connected_on() -> None:
    """STOMP 1.2, "Heart-beating": not from the opening of the socket."""
    assert idle_look(agree(1000, 0, now=1000.0), 1001.9) is Look.NOTHING


def test_whatever_comes_counts_as_heard() -> None:
    heart_beat = agree(1000, 0)
    assert heart_beat.look(1.9, has_read=True, has_written=False) is Look.NOTHING
    assert idle_look(heart_beat, 3.8) is Look.NOTHING
    assert idle_look(heart_beat, 3.9) is Look.SILENT


def test_what_comes_at_the_last_moment_saves_the_client() -> None:
    heart_beat = agree(1000, 0)
    assert heart_beat.look(100.0, has_read=True, has_written=False) is Look.NOTHING


def test_what_the_server_writes_is_no_sign_of_the_client() -> None:
    assert agree(1000, 0).look(2.0, has_read=False, has_written=True) is Look.SILENT


def test_what_the_client_sends_does_not_put_off_the_servers_beat() -> None:
    assert agree(1000, 1000).look(0.6, has_read=True, has_written=False) is Look.BEAT


def test_a_silent_client_is_told_so_rather_than_sent_a_beat() -> None:
    assert idle_look(agree(1000, 1000), 2.0) is Look.SILENT


def test_the_patience_is_an_option() -> None:
    heart_beat = agree(1000, 0, heart_beat_tolerance=3.5)
    assert idle_look(heart_beat, 3.4) is Look.NOTHING
    assert idle_look(heart_beat, 3.5) is Look.SILENT


def test_a_client_with_longer_beats_than_the_server_demands_is_measured_by_its_own() -> None:
    heart_beat = agree(90_000, 0)
    assert idle_look(heart_beat, 179.0) is Look.NOTHING
    assert idle_look(heart_beat, 180.0) is Look.SILENT


# As a client agrees.


@pytest.mark.parametrize(
    ("ours", "theirs", "send_every", "expect_every"),
    [
        ((0, 0), (0, 0), 0.0, 0.0),
        ((1000, 2000), (0, 0), 0.0, 0.0),
        ((0, 0), (1000, 2000), 0.0, 0.0),
        ((1000, 0), (0, 4000), 4.0, 0.0),
        ((5000, 0), (9, 4000), 5.0, 0.0),
        ((0, 3000), (2000, 0), 0.0, 3.0),
        ((1000, 1000), (2000, 3000), 3.0, 2.0),
    ],
)
def test_a_client_reaches_the_same_agreement(
    ours: tuple[int, int], theirs: tuple[int, int], send_every: float, expect_every: float
) -> None:
    """STOMP 1.2, "Heart-beating": each way the larger of the two numbers; none where one of them is 0."""
    heart_beat = HeartBeat(ours, theirs, 2.0, now=10.0)
    assert (heart_beat.send_every, heart_beat.expect_every) == (send_every, expect_every)
    assert heart_beat.header == f"{ours[0]},{ours[1]}"


def test_a_client_gives_the_server_up_after_its_own_patience() -> None:
    heart_beat = HeartBeat((0, 1000), (1000, 0), 3.0, now=10.0)
    assert idle_look(heart_beat, 12.9) is Look.NOTHING
    assert idle_look(heart_beat, 13.0) is Look.SILENT
