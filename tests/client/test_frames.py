"""What the server's frames mean, and what are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbridge.client.frames import HEARTBEAT, OPEN, Kind, parse
from sockbridge.errors import ProtocolError
from sockbridge.sockjs.framing import Close, close_frame, quote


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"O",
        b"oo",
        b"o ",
        b"hello",
        b"h1",
        b"a",
        b"a{}",
        b"a[1]",
        b'a["x"',
        b'a["x"]x',
        b'a["\xff"]',
        b"a" + b"[" * 100_000,
        b"m",
        b"m1",
        b"mnull",
        b"c",
        b"c[]",
        b"c[1000]",
        b'c[1000,"x","y"]',
        b'c["1000","x"]',
        b'c[true,"x"]',
        b'c[0,"x"]',
        b'c[-1,"x"]',
        b'c[5000,"x"]',
        b'c[1e3,"x"]',
        b"c" + b"[" * 100_000,
        b"c\xff",
        b"<!DOCTYPE html>",
        b"Welcome to SockJS!\n",
    ],
)
def test_what_is_no_frame_is_refused(text: bytes) -> None:
    if text == b"m":  # sockjs-node's words for no message at all
        assert parse(text).messages == []
        return
    with pytest.raises(ProtocolError) as caught:
        parse(text)
    assert len(str(caught.value)) < 200


def test_the_open_frame_opens() -> None:
    assert parse(b"o") is OPEN


@pytest.mark.parametrize("text", [b"h", b"h" * 2048])
def test_a_heartbeat_and_a_prelude_say_nothing(text: bytes) -> None:
    assert parse(text) is HEARTBEAT


def test_messages_come_in_order() -> None:
    frame = parse(b'a["1","2","\\ud83c\\udf89","\\u2028"]')
    assert frame.kind is Kind.MESSAGES
    assert frame.messages == ["1", "2", "\N{PARTY POPPER}", "\u2028"]


def test_a_single_message_may_stand_alone() -> None:
    assert parse(b'm"x"').messages == ["x"]


def test_a_frame_may_be_empty() -> None:
    assert parse(b"a[]").messages == []


@pytest.mark.parametrize("text", [b'c[3000,"Go away!"]', b'c[3000, "Go away!"]', b' c[3000,"Go away!"]'.strip()])
def test_a_goodbye_has_its_code_and_reason(text: bytes) -> None:
    assert parse(text).close == Close(3000, "Go away!")


@given(st.lists(st.text(st.characters(exclude_categories=()))))
def test_whatever_a_server_quotes_is_read_back(messages: list[str]) -> None:
    """Halves of characters as well."""
    assert parse(b"a[%b]" % b",".join(map(quote, messages))).messages == messages


@given(st.integers(1, 4999), st.text(st.characters(exclude_categories=())))
def test_whatever_goodbye_a_server_says_is_read_back(code: int, reason: str) -> None:
    assert parse(close_frame(Close(code, reason))).close == Close(code, reason)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_read_and_nothing_else(noise: bytes) -> None:
    try:
        assert parse(noise).kind in Kind
    except ProtocolError:
        return
