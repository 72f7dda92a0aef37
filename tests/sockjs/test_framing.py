"""The wire text: quoting, decoding, close frames, packing."""

from __future__ import annotations

import enum
import json
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbridge.errors import BrokenJSON, InvalidCloseCode, PayloadExpected
from sockbridge.sockjs.framing import (
    ANOTHER_CONNECTION,
    FRAMED,
    HEARTBEAT_FRAME,
    OPEN_FRAME,
    RAW,
    Binary,
    Close,
    CloseCode,
    check_close,
    close_frame,
    decode_body,
    decode_frame,
    encode_text,
    quote,
)

ESCAPED_RANGES = [
    (0x0000, 0x001F),
    (0x200C, 0x200F),
    (0x2028, 0x202F),
    (0x2060, 0x206F),
    (0xD800, 0xDFFF),
    (0xFFF0, 0xFFFF),
]
"""What the protocol wants as an escape; the surrogates are the reference server's."""

SHORT_ESCAPES = {0x08: b"\\b", 0x09: b"\\t", 0x0A: b"\\n", 0x0C: b"\\f", 0x0D: b"\\r"}

ANY_TEXT = st.text(st.characters())  # with lone surrogates
EDGES = st.text(
    st.sampled_from('a"\\/\x00\x1f\x7f\x80é\u200b\u200c\u2028\u2070\ud7ff\ud800\udc00\udfff\uffef\uffff😀<%')
)


# Quoting.


@pytest.mark.parametrize(("first", "last"), ESCAPED_RANGES)
def test_the_required_ranges_are_escaped_in_lower_case(first: int, last: int) -> None:
    for point in range(first, last + 1):
        expected = SHORT_ESCAPES.get(point, b"\\u%04x" % point)
        assert quote(chr(point)) == b'"%b"' % expected
        assert quote("é" + chr(point)) == b'"\xc3\xa9%b"' % expected  # not ASCII: the other path


@pytest.mark.parametrize(("first", "last"), ESCAPED_RANGES[1:])
def test_the_neighbours_of_the_ranges_are_plain_utf8(first: int, last: int) -> None:
    for point in (first - 1, last + 1):
        if point <= 0xFFFF:
            assert quote(chr(point)) == b'"%b"' % chr(point).encode()


def test_astral_characters_are_two_escaped_surrogates() -> None:
    assert quote("\U0001f600") == b'"\\ud83d\\ude00"'
    assert quote("\U00010000\U0010ffff") == b'"\\ud800\\udc00\\udbff\\udfff"'


def test_json_escapes_stand_for_quotes_and_backslashes() -> None:
    assert quote('a"b\\c/') == b'"a\\"b\\\\c/"'
    assert quote("") == b'""'


@settings(max_examples=80, deadline=None)
@given(ANY_TEXT | EDGES)
def test_every_client_reads_back_what_was_quoted(message: str) -> None:
    quoted = quote(message)
    # A surrogate pair in the text is one character to JSON, as it is to a browser.
    assert json.loads(quoted).encode("utf-16", "surrogatepass") == message.encode("utf-16", "surrogatepass")
    characters = quoted.decode()
    assert not any(first <= ord(character) <= last for character in characters for first, last in ESCAPED_RANGES)
    assert all(ord(character) <= 0xFFFF for character in characters)


@settings(max_examples=40, deadline=None)
@given(st.lists(ANY_TEXT, max_size=4))
def test_a_frame_of_quoted_messages_decodes_to_them(messages: list[str]) -> None:
    body = b"[%b]" % b",".join(map(quote, messages))
    assert "".join(decode_body(body)).encode("utf-16", "surrogatepass") == "".join(messages).encode(
        "utf-16", "surrogatepass"
    )
    assert len(decode_body(body)) == len(messages)


@pytest.mark.parametrize("message", [b"bytes", None, 5, ["list"]])
def test_what_is_no_text_is_refused_with_its_type(message: object) -> None:
    with pytest.raises(TypeError, match=f"is a str, not {type(message).__name__}"):
        quote(message)  # type: ignore[arg-type]


def test_a_subclass_of_str_is_a_string() -> None:
    class Markup(str):
        __slots__ = ()

    class Colour(enum.StrEnum):
        RED = "red"

    assert quote(Markup("plain")) == b'"plain"'
    assert quote(Markup("é")) == b'"\xc3\xa9"'
    assert quote(Colour.RED) == b'"red"'


# Decoding.

GOOD = {
    b"[]": [],
    b'["a"]': ["a"],
    b'["a","b",""]': ["a", "b", ""],
    b' \r\n[ "a" ,\t"b" ] ': ["a", "b"],
    b'["\xc3\xa9"]': ["é"],
    b'["\\u00e9\\n\\/"]': ["é\n/"],
    b'["\\ud83d\\ude00"]': ["\U0001f600"],
    b'["\\ud800"]': ["\ud800"],
    b'["\\udfff","a"]': ["\udfff", "a"],
    b'["\\ude00\\ud83d"]': ["\ude00\ud83d"],
}

BROKEN = [
    b"[",
    b"]",
    b'["a"',
    b'["a",]',
    b'["a"]["b"]',
    b'["a"] trailing',
    b'["\\ud800"] trailing',
    b"['a']",
    b'["a\nb"]',
    b'["\\x41"]',
    b'["\\u12"]',
    b'["\xff"]',  # not UTF-8
    b'["\xed\xa0\x80"]',  # a surrogate as UTF-8, which it may not be
    b'["\xc0\xaf"]',  # overlong
    b'\xef\xbb\xbf["a"]',  # byte order mark
    b'["a"]\x00',
    b" ",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"[" + b"1" * 5000 + b"]",
    b"nonsense",
]

WRONG_SHAPES = [
    b"{}",
    b"5",
    b"null",
    b"true",
    b'{"a":"b"}',
    b"[1]",
    b"[null]",
    b'["a",1]',
    b'[["a"]]',
    b'["\\ud800",1]',
    b"[NaN]",
]


@pytest.mark.parametrize("payload", GOOD)
def test_an_array_of_strings_is_decoded(payload: bytes) -> None:
    assert decode_body(payload) == GOOD[payload]
    assert decode_frame(payload) == GOOD[payload]


@pytest.mark.parametrize("payload", BROKEN, ids=lambda payload: repr(payload[:16]))
def test_what_is_not_json_is_broken(payload: bytes) -> None:
    for decode in (decode_body, decode_frame):
        with pytest.raises(BrokenJSON, match=r"^Broken JSON encoding\.$"):
            decode(payload)


@pytest.mark.parametrize("payload", WRONG_SHAPES)
def test_json_of_another_shape_is_not_a_payload(payload: bytes) -> None:
    for decode in (decode_body, decode_frame):
        with pytest.raises(PayloadExpected, match=r"^Payload expected\.$"):
            decode(payload)


def test_an_empty_body_is_no_payload_but_an_empty_frame_is_nothing() -> None:
    with pytest.raises(PayloadExpected):
        decode_body(b"")
    assert decode_frame(b"") == []


@pytest.mark.parametrize(("payload", "message"), [(b'"a"', "a"), (b'""', ""), (b'"\\ud800"', "\ud800")])
def test_a_bare_string_is_a_frame_but_no_body(payload: bytes, message: str) -> None:
    assert decode_frame(payload) == [message]
    with pytest.raises(PayloadExpected):
        decode_body(payload)


# Closing.


def test_a_close_frame_holds_the_code_and_the_quoted_reason() -> None:
    assert close_frame(Close(CloseCode.GO_AWAY, "Go away!")) == b'c[3000,"Go away!"]'
    assert FRAMED.close_frame(ANOTHER_CONNECTION) == b'c[2010,"Another connection still open"]'
    assert close_frame(Close(1000, 'é"\u2028')) == b'c[1000,"\xc3\xa9\\"\\u2028"]'


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1011, 3000, 4999])
def test_an_application_may_close_with(code: int) -> None:
    check_close(code, "")


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1012, 1015, 2010, 2999, 5000])
def test_an_application_may_not_close_with(code: int) -> None:
    with pytest.raises(InvalidCloseCode, match=f"^close code {code}: allowed are 1000-1003, 1007-1011 and 3000-4999$"):
        check_close(code, "")


def test_a_reason_has_room_for_123_bytes() -> None:
    check_close(3000, "x" * 123)
    check_close(3000, "é" * 61)
    for reason in ("x" * 124, "é" * 62):
        with pytest.raises(InvalidCloseCode, match="at most 123 bytes"):
            check_close(3000, reason)


def test_a_reason_is_measured_as_it_is_sent() -> None:
    check_close(3000, "\ud800" * 41)  # U+FFFD has three bytes
    with pytest.raises(InvalidCloseCode):
        check_close(3000, "\ud800" * 42)


# Framed.


def test_the_frames_without_messages() -> None:
    assert (FRAMED.open_frame, RAW.open_frame) == (OPEN_FRAME, b"")
    assert (OPEN_FRAME, HEARTBEAT_FRAME) == (b"o", b"h")


def test_no_message_can_be_taken_for_a_heartbeat() -> None:
    assert RAW.prepare("h") == HEARTBEAT_FRAME
    assert RAW.prepare("h") is not HEARTBEAT_FRAME


def test_framed_messages_are_quoted_once_and_joined_without_blanks() -> None:
    assert FRAMED.pack(deque([FRAMED.prepare('a"')]), 5, 100) == (b'a["a\\""]', 5)
    assert FRAMED.pack(deque(map(FRAMED.prepare, ["a", "b"])), 6, 100) == (b'a["a","b"]', 6)


def test_framed_refuses_bytes() -> None:
    with pytest.raises(TypeError):
        FRAMED.prepare(b"a")


def test_pack_takes_as_many_as_fit_and_leaves_the_rest() -> None:
    buffer = deque(map(FRAMED.prepare, ["a", "b", "c"]))
    assert FRAMED.pack(buffer, sum(map(len, buffer)), 6) == (b'a["a","b"]', 6)
    assert FRAMED.pack(buffer, sum(map(len, buffer)), 6) == (b'a["c"]', 3)
    assert not buffer


def test_a_message_above_the_limit_comes_whole_and_alone() -> None:
    buffer = deque(map(FRAMED.prepare, ["x" * 100, "b"]))
    assert FRAMED.pack(buffer, sum(map(len, buffer)), 1) == (b'a["%b"]' % (b"x" * 100), 102)
    assert list(buffer) == [b'"b"']


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("ab", max_size=8), min_size=1, max_size=12), st.integers(1, 40))
def test_packing_keeps_the_order_and_the_limit(messages: list[str], max_bytes: int) -> None:
    buffer = deque(map(FRAMED.prepare, messages))
    unpacked: list[str] = []
    while buffer:
        waiting = sum(map(len, buffer))
        frame, taken = FRAMED.pack(buffer, sum(map(len, buffer)), max_bytes)
        batch = json.loads(frame[1:])
        assert taken == sum(len(quote(message)) for message in batch) == waiting - sum(map(len, buffer))
        assert taken <= max_bytes or len(batch) == 1
        assert not buffer or taken + len(buffer[0]) > max_bytes, "one more would have fitted"
        unpacked += batch
    assert unpacked == messages


# Raw.


def test_raw_messages_go_one_by_one_as_they_are() -> None:
    buffer = deque([RAW.prepare('a"'), RAW.prepare("é"), RAW.prepare("")])
    assert [RAW.pack(buffer, sum(map(len, buffer)), 1000) for _ in range(3)] == [(b'a"', 2), (b"\xc3\xa9", 2), (b"", 0)]


def test_raw_binary_messages_are_marked_and_text_is_not() -> None:
    assert type(RAW.prepare(b"\x00\xff")) is Binary
    assert RAW.prepare(b"\x00\xff") == b"\x00\xff"
    assert type(RAW.prepare("text")) is not Binary


def test_raw_leaves_the_goodbye_to_the_transport() -> None:
    assert RAW.close_frame(Close(3000, "Go away!")) == b""


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("\ud800", "\ufffd"),
        ("a\udc00b\ud800", "a\ufffdb\ufffd"),
        ("\ud800\ud800x", "\ufffd\ufffdx"),
        ("\ud83d\ude00\ud800", "\U0001f600\ufffd"),
        ("\ufeffbom\ud800", "\ufeffbom\ufffd"),
        ("no surrogate: é😀", "no surrogate: é😀"),
    ],
)
def test_a_lone_surrogate_becomes_the_replacement_character(text: str, encoded: str) -> None:
    assert RAW.prepare(text) == encode_text(text) == encoded.encode()


def test_a_reason_in_the_place_of_the_code_is_told() -> None:
    with pytest.raises(InvalidCloseCode, match="the reason comes second"):
        check_close("bye", "")  # type: ignore[arg-type]
