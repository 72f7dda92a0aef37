"""The options of the embedded broker: defaults as documented, wrong values refused with a sentence."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from sockbridge.errors import InvalidOption, UsageError
from sockbridge.stomp.broker.options import MOST_SECONDS, BrokerOptionArguments, BrokerOptions

DEFAULTS = {
    "prefetch": 100,
    "max_prefetch": 1000,
    "max_deliveries": 20,
    "on_queue_full": "refuse",
    "max_queues": 10_000,
    "max_queue_length": 10_000,
    "max_queue_size": 67_108_864,
    "max_temporary_queues": 100,
    "max_histories": 10_000,
    "max_history_size": 4_194_304,
    "durable_grace": 300.0,
    "max_durables": 10_000,
    "max_durables_per_user": 100,
    "max_durable_length": 1000,
    "max_size": 268_435_456,
}

INTEGERS = [name for name, default in DEFAULTS.items() if isinstance(default, int)]
NO_INTEGERS: list[object] = [None, "5", True, False, math.nan, math.inf, [5], 1j, 0, -1, 1.0, 1.5]
NO_SECONDS: list[object] = [None, "5", True, math.nan, math.inf, -math.inf, [5], 1j, 0, 0.0, -1, -0.5, 1e10]


def refusal(**options: object) -> str:
    """The sentence with which ``BrokerOptions`` refuses ``options``."""
    with pytest.raises(InvalidOption) as caught:
        BrokerOptions(**options)  # type: ignore[arg-type]
    return str(caught.value)


def test_every_default_is_as_documented() -> None:
    assert dataclasses.asdict(BrokerOptions()) == DEFAULTS


def test_the_docstring_names_every_option_and_its_default() -> None:
    text = " ".join((BrokerOptions.__doc__ or "").split())
    for name, default in DEFAULTS.items():
        described = text.partition(f" {name}: ")[2]
        assert described, f"{name} is not described"
        assert re.search(rf"\b{default:g}\b" if isinstance(default, float) else rf"\b{default}\b", described)


def test_the_keyword_arguments_of_a_broker_are_the_options() -> None:
    assert set(BrokerOptionArguments.__annotations__) == set(DEFAULTS)


def test_options_are_given_by_name_and_cannot_be_changed_later() -> None:
    with pytest.raises(TypeError):
        BrokerOptions(5)  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        BrokerOptions().prefetch = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", NO_INTEGERS, ids=repr)
def test_counts_and_sizes_are_integers_of_1_or_more(name: str, value: object) -> None:
    assert refusal(**{name: value}) == f"{name} is an integer of 1 or more, not {value!r}"


@pytest.mark.parametrize("name", INTEGERS)
def test_a_count_or_size_may_be_1(name: str) -> None:
    lowest = {"prefetch": 1, name: 1}
    assert getattr(BrokerOptions(**lowest), name) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("value", NO_SECONDS, ids=repr)
def test_the_grace_is_finite_and_above_0(value: object) -> None:
    assert refusal(durable_grace=value) == f"durable_grace is a finite number above 0, not {value!r}"


def test_an_integer_that_no_float_can_hold_is_refused_by_a_sentence_too() -> None:
    assert refusal(durable_grace=10**400).startswith("durable_grace is a finite number above 0")


@pytest.mark.parametrize("value", [0.001, 1, MOST_SECONDS])
def test_the_grace_may_be_whole_small_or_long(value: float) -> None:
    assert BrokerOptions(durable_grace=value).durable_grace == value


@pytest.mark.parametrize("value", ["", "drop", "Refuse", None, True, 0, [], {}])
def test_a_full_queue_refuses_or_drops(value: object) -> None:
    assert refusal(on_queue_full=value) == f'on_queue_full is "refuse" or "drop_oldest", not {value!r}'
    assert BrokerOptions(on_queue_full="drop_oldest").on_queue_full == "drop_oldest"


def test_the_usual_prefetch_is_not_above_the_highest() -> None:
    assert refusal(max_prefetch=99) == "prefetch is at most max_prefetch"
    assert refusal(prefetch=1001) == "prefetch is at most max_prefetch"
    assert BrokerOptions(prefetch=7, max_prefetch=7).max_prefetch == 7


def test_a_refused_option_is_a_usage_error_and_a_value_error() -> None:
    with pytest.raises(UsageError):
        BrokerOptions(max_size=0)
    with pytest.raises(ValueError, match="max_size"):
        BrokerOptions(max_size=0)
