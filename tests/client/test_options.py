"""Which options a client takes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sockbridge.client import Backoff, ClientOptions, connect
from sockbridge.errors import InvalidOption

BAD: list[tuple[str, Any]] = [
    ("transports", []),
    ("transports", ["flash"]),
    ("transports", "websocket"),
    ("transports", 5),
    ("transports", [None]),
    ("transports", ["websocket", "websocket-raw"]),
    ("subprotocols", ["v1"]),
    ("subprotocols", "v1"),
    ("headers", {"A": 5}),
    ("headers", {5: "a"}),
    ("headers", {"A": "x\r\nB: y"}),
    ("headers", {"A\n": "x"}),
    ("headers", {"": "x"}),
    ("headers", {"A B": "x"}),
    ("headers", {"A": "x\0"}),
    ("headers", ["A"]),
    ("headers", None),
    ("timeout", -1),
    ("timeout", None),
    ("timeout", "1"),
    ("timeout", math.nan),
    ("timeout", math.inf),
    ("silence_timeout", 0),
    ("silence_timeout", -1.0),
    ("silence_timeout", True),
    ("close_timeout", 0),
    ("close_timeout", None),
    ("reconnect", 5),
    ("reconnect", None),
    ("on_reconnect", 5),
    ("max_frame_size", 0),
    ("max_frame_size", 1.5),
    ("max_frame_size", True),
    ("send_buffer_limit", -1),
    ("receive_buffer_limit", None),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=lambda value: repr(value)[:30])
def test_values_that_make_no_sense_are_refused_at_the_call(name: str, value: Any) -> None:
    if (name, value) == ("reconnect", None):  # the same as False
        connect("http://host/", **{name: value})
        return
    with pytest.raises(InvalidOption) as caught:
        connect("http://host/", **{name: value})
    assert name.removesuffix("s") in str(caught.value) or "websocket-raw" in str(caught.value)


def test_an_unknown_option_is_named_with_those_that_there_are() -> None:
    with pytest.raises(
        InvalidOption, match=r"no option tiemout, did you mean timeout\?; there are: session, close_timeout, .*timeout"
    ):
        connect("http://host/", tiemout=5)  # type: ignore[call-arg]


def test_good_values_are_taken() -> None:
    connect(
        "http://host/",
        transports=(name for name in ["xhr-polling"]),
        headers={"Authorization": "Bearer x", "X-Y": ""},
        timeout=0,
        silence_timeout=None,
        close_timeout=1,
        reconnect=Backoff(first=1),
        on_reconnect=lambda broken: broken.in_doubt,
    )
    connect("ws://host/", transports=["websocket-raw"], subprotocols=["v1", "v2"])


def test_options_are_values() -> None:
    assert ClientOptions() == ClientOptions()
