"""The knobs: what is allowed, and what follows from them."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from sockbridge.client.backoff import Backoff
from sockbridge.client.stomp.options import StompClientArguments, StompClientOptions, read_options
from sockbridge.errors import InvalidOption
from sockbridge.stomp.frame import Version


@pytest.mark.parametrize(
    "given",
    [
        {"nonsense": 1},
        {"versions": "1.2"},
        {"versions": []},
        {"versions": ["1.3"]},
        {"heart_beat": (1,)},
        {"heart_beat": (-1, 0)},
        {"heart_beat": ("1", 0)},
        {"timeout": 0},
        {"timeout": True},
        {"close_timeout": float("nan")},
        {"receive_buffer_limit": 0},
        {"max_body_size": 1.5},
        {"max_receipts": True},
        {"transports": "websocket"},
        {"transports": ["jsonp"]},
        {"transports": ["websocket-raw"]},
    ],
)
def test_a_wrong_value_is_told(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        read_options(given)  # type: ignore[arg-type]  # wrong on purpose


def test_every_argument_is_an_option_and_every_option_an_argument() -> None:
    assert set(StompClientArguments.__annotations__) == set(StompClientOptions.__dataclass_fields__)


def test_every_option_says_what_it_is() -> None:
    described = inspect.getdoc(StompClientOptions) or ""
    assert [name for name in StompClientOptions.__dataclass_fields__ if f"    {name}: " not in described] == []


def test_the_wire_counts_in_milliseconds() -> None:
    assert read_options({"heart_beat": (0, 0)}).heart_beat_ms == (0, 0)
    assert read_options({"heart_beat": (0.0001, 2.5)}).heart_beat_ms == (1, 2500)


def test_reconnect_may_be_a_word_or_a_backoff() -> None:
    backoff = Backoff(attempts=3)
    assert read_options({}).reconnect is None
    assert read_options({"reconnect": True}).reconnect == Backoff()
    assert read_options({"reconnect": backoff}).reconnect is backoff


def test_a_frame_of_sockjs_has_room_for_the_largest_message() -> None:
    read = read_options({"max_body_size": 10_000_000, "versions": ["1.1"]})
    assert read.max_frame_size > 60_000_000
    assert read.limits.body == 10_000_000
    assert read.versions == (Version.V1_1,)


def test_the_table_of_options_agrees_with_the_code() -> None:
    page = (Path(__file__).parents[3] / "docs" / "client-stomp.md").read_text(encoding="utf-8")
    table = page.partition("| Option of the STOMP client |")[2].partition("\n\n")[0]
    told = {row[0]: row[1] for row in re.findall(r"^\| `(\w+)` \| [^|]+ \| `([^|]+)` \|", table, re.M)}
    defaults = {name: getattr(StompClientOptions(), name) for name in StompClientOptions.__dataclass_fields__}
    assert list(told) == list(defaults)
    assert {name: ast.literal_eval(text) for name, text in told.items()} == defaults


def test_what_may_be_a_secret_is_not_shown() -> None:
    assert "SECRET" not in repr(read_options({"http_headers": {"Authorization": "Bearer SECRET"}}))
