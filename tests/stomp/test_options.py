"""The options of a STOMP server: defaults as documented, wrong values refused with a sentence."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from sockbridge.errors import InvalidOption, UsageError
from sockbridge.stomp.options import StompOptionArguments, StompOptions

DEFAULTS = {
    "compat": None,
    "connect_timeout": 10.0,
    "disconnect_grace": 2.0,
    "heart_beat_min_ms": 1000,
    "heart_beat_max_ms": 60_000,
    "heart_beat_tolerance": 2.0,
    "max_body_size": 1_048_576,
    "max_head_size": 32_768,
    "max_header_size": 8192,
    "max_headers": 64,
    "max_login_size": 16_384,
    "max_subscriptions": 1000,
    "max_patterns": 100,
    "max_transactions": 16,
    "max_transaction_frames": 1024,
    "max_transaction_size": 4_194_304,
    "max_unsettled": 1000,
    "max_tasks": 64,
}

SECONDS = ["connect_timeout", "disconnect_grace"]
INTEGERS = [name for name in DEFAULTS if name.startswith(("max_", "heart_beat_m"))]

NO_NUMBERS: list[object] = [None, "5", True, math.nan, math.inf, -math.inf, [5], 1j]


def pairs(names: list[str], values: list[object]) -> list[object]:
    return [pytest.param(name, value, id=f"{name}-{value!r:.20}") for name in names for value in values]


def refusal(**options: object) -> str:
    """The sentence with which ``StompOptions`` refuses ``options``."""
    with pytest.raises(InvalidOption) as caught:
        StompOptions(**options)  # type: ignore[arg-type]
    return str(caught.value)


# Defaults.


def test_every_default_is_as_documented() -> None:
    assert dataclasses.asdict(StompOptions()) == DEFAULTS


def test_the_docstring_names_every_option_and_its_default() -> None:
    text = " ".join((StompOptions.__doc__ or "").split())
    for name, default in DEFAULTS.items():
        described = text.partition(f" {name}: ")[2]
        assert described, f"{name} is not described"
        assert re.search(rf"\b{default:g}\b" if isinstance(default, float) else rf"\b{default}\b", described)


def test_the_keyword_arguments_of_a_server_are_the_options() -> None:
    assert set(StompOptionArguments.__annotations__) == set(DEFAULTS)


def test_a_refused_option_is_a_usage_error_and_a_value_error() -> None:
    with pytest.raises(UsageError):
        StompOptions(max_tasks=0)
    with pytest.raises(ValueError, match="max_tasks"):
        StompOptions(max_tasks=0)


def test_options_cannot_be_changed_later() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        StompOptions().max_tasks = 1  # type: ignore[misc]


# Values.


@pytest.mark.parametrize(("name", "value"), pairs(SECONDS, [*NO_NUMBERS, 0, 0.0, -1, -0.5]))
def test_seconds_are_finite_and_above_0(name: str, value: object) -> None:
    assert refusal(**{name: value}) == f"{name} is a finite number above 0, not {value!r}"


@pytest.mark.parametrize("name", [*SECONDS, "heart_beat_tolerance"])
def test_an_integer_that_no_float_can_hold_is_refused_by_a_sentence_too(name: str) -> None:
    assert refusal(**{name: 10**400}).startswith(f"{name} is a finite number above 0")


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [0.001, 1, 86_400.0])
def test_seconds_may_be_whole_or_small(name: str, value: float) -> None:
    assert getattr(StompOptions(**{name: value}), name) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), pairs(INTEGERS, [*NO_NUMBERS, 0, -1, 1.0, 1.5]))
def test_sizes_and_counts_are_integers_of_1_or_more(name: str, value: object) -> None:
    assert refusal(**{name: value}) == f"{name} is an integer of 1 or more, not {value!r}"


@pytest.mark.parametrize("name", INTEGERS)
def test_a_size_or_count_may_be_1(name: str) -> None:
    lowest = {"heart_beat_min_ms": 1, name: 1}
    assert getattr(StompOptions(**lowest), name) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -2])
def test_the_tolerance_is_a_number(value: object) -> None:
    assert refusal(heart_beat_tolerance=value) == f"heart_beat_tolerance is a finite number above 0, not {value!r}"


@pytest.mark.parametrize("value", [0.5, 0.999])
def test_a_tolerance_of_less_than_an_interval_is_refused(value: float) -> None:
    assert refusal(heart_beat_tolerance=value).startswith("heart_beat_tolerance is 1 or more")


def test_a_tolerance_of_one_interval_is_allowed() -> None:
    assert StompOptions(heart_beat_tolerance=1).heart_beat_tolerance == 1


def test_the_shortest_heart_beat_is_not_above_the_longest() -> None:
    assert refusal(heart_beat_min_ms=2000, heart_beat_max_ms=1999) == "heart_beat_min_ms is at most heart_beat_max_ms"
    assert StompOptions(heart_beat_min_ms=2000, heart_beat_max_ms=2000).heart_beat_max_ms == 2000


@pytest.mark.parametrize("value", ["", "Spring", "rabbitmq", True, False, 0, [], {}])
def test_compat_is_none_or_spring(value: object) -> None:
    assert refusal(compat=value) == f'compat is None or "spring", not {value!r}'


def test_spring_is_what_compat_says() -> None:
    assert not StompOptions().is_spring
    assert StompOptions(compat="spring").is_spring
