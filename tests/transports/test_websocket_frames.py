"""Frames of clients become messages, messages become frames, wherever the network cuts; RFC 6455, RFC 7692."""

from __future__ import annotations

import gc
import os
import struct
import sys
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Sequence
from types import FrameType

import pytest
from aiohttp import WebSocketError, WSMessage, WSMsgType
from hypothesis import given
from hypothesis import strategies as st

from sockbridge.transports.websocket_frames import DEFLATED, PING_FRAME, Deflater, FrameReader, unmask, websocket_frame

from .frames import BINARY, BREACHES, CLOSE, CONTINUATION, PING, PONG, TEXT, client_frame, cut, deflated

LIMIT = 100_000

Outcome = tuple[WSMsgType, object]
"""What came of a frame: kind and payload, ``(code, reason)`` of a close, the code of an error."""


def outcome(message: WSMessage) -> Outcome:
    kind, payload, extra = message
    if kind is WSMsgType.ERROR:
        assert type(payload) is WebSocketError
        return kind, payload.code
    return kind, (payload, extra) if kind is WSMsgType.CLOSE else payload


def feed(reader: FrameReader, *pieces: bytes) -> list[Outcome]:
    for piece in pieces:
        reader.feed(piece)
    return take(reader)


def take(reader: FrameReader) -> list[Outcome]:
    """What has been completed since the last time."""
    taken = [outcome(message) for message in reader.messages]
    reader.messages.clear()
    return taken


def read(*pieces: bytes, max_size: int = LIMIT, is_deflated: bool = False) -> list[Outcome]:
    return feed(FrameReader(max_size, is_deflated=is_deflated), *pieces)


def text(payload: bytes) -> Outcome:
    return WSMsgType.TEXT, payload


def binary(payload: bytes) -> Outcome:
    return WSMsgType.BINARY, payload


def error(code: int) -> Outcome:
    return WSMsgType.ERROR, code


# What we write.


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_server_s_frame_has_the_shortest_length_and_no_mask(size: int, head: bytes) -> None:
    """RFC 6455, 5.1 and 5.2."""
    assert websocket_frame(0x81, b"x" * size) == head + b"x" * size


def test_a_heartbeat_is_a_ping_without_payload() -> None:
    assert read(PING_FRAME) == [(WSMsgType.PING, b"")]


# What we read: the examples of RFC 6455, 5.7.

EXAMPLES: dict[str, tuple[bytes, list[Outcome]]] = {
    "unmasked text": (b"\x81\x05\x48\x65\x6c\x6c\x6f", [text(b"Hello")]),
    "masked text": (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", [text(b"Hello")]),
    "fragmented text": (b"\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f", [text(b"Hello")]),
    "unmasked ping": (b"\x89\x05\x48\x65\x6c\x6c\x6f", [(WSMsgType.PING, b"Hello")]),
    "masked pong": (b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", [(WSMsgType.PONG, b"Hello")]),
    "256 bytes": (b"\x82\x7e\x01\x00" + b"x" * 256, [binary(b"x" * 256)]),
    "64 KiB": (b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + b"x" * 65536, [binary(b"x" * 65536)]),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_standard_are_read(example: str) -> None:
    """RFC 6455, 5.7."""
    stream, wanted = EXAMPLES[example]
    assert read(stream) == wanted


@pytest.mark.parametrize("mask", [None, b"\x00\x00\x00\x00", b"\x01\x02\x03\x04", b"\xff\xfe\x00\x80"])
@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 125, 126, 127, 65535, 65536, LIMIT])
def test_frames_of_all_lengths_are_read_masked_and_unmasked(size: int, kind: int, mask: bytes | None) -> None:
    payload = os.urandom(size)
    wanted = (WSMsgType(kind), payload)
    assert read(client_frame(payload, kind, mask=mask) * 2) == [wanted, wanted]


def test_a_length_need_not_be_the_shortest() -> None:
    """RFC 6455 asks for that of who sends; nobody is harmed by one that does not."""
    for head in (b"\x81\x7e\x00\x02", b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x02"):
        assert read(head + b"ok") == [text(b"ok")]


def test_payloads_are_bytes_that_nobody_changes_any_more() -> None:
    for frame in (client_frame(b"a"), client_frame(b"x" * 1000), client_frame(b"a", final=False) + b"\x80\x00"):
        reader = FrameReader(LIMIT)
        reader.feed(frame)
        (message,) = reader.messages
        assert type(message) is WSMessage
        assert type(message.data) is bytes


# Cut anywhere.

CONVERSATION = (
    client_frame(b"hello")
    + client_frame(b"one ", TEXT, final=False)
    + client_frame(b"now", PING)
    + client_frame(b"two ", CONTINUATION, final=False)
    + client_frame(b"", PONG)
    + client_frame(b"", CONTINUATION, final=False)
    + client_frame(b"three", CONTINUATION)
    + client_frame(b"x" * 200, BINARY, mask=None)
    + client_frame(b"")
    + client_frame(struct.pack("!H", 4001) + "adiós".encode(), CLOSE)
)
CONVERSED: list[Outcome] = [
    text(b"hello"),
    (WSMsgType.PING, b"now"),
    (WSMsgType.PONG, b""),
    text(b"one two three"),
    binary(b"x" * 200),
    text(b""),
    (WSMsgType.CLOSE, (4001, "adiós")),
]


def test_a_stream_that_is_split_at_any_byte_says_the_same() -> None:
    for place in range(len(CONVERSATION) + 1):
        assert read(CONVERSATION[:place], CONVERSATION[place:]) == CONVERSED, place


def test_a_stream_that_comes_in_pieces_of_any_size_says_the_same() -> None:
    for size in range(1, len(CONVERSATION) + 1):
        assert read(*cut(CONVERSATION, range(size, len(CONVERSATION), size))) == CONVERSED, size


def test_a_message_comes_with_its_last_byte_and_not_later() -> None:
    reader = FrameReader(LIMIT)
    frame = client_frame(b"x" * 300)
    for place in range(len(frame) - 1):
        assert feed(reader, frame[place : place + 1]) == []
    assert feed(reader, frame[-1:]) == [text(b"x" * 300)]
    assert feed(reader, b"\x81") == []
    assert feed(reader, b"\x00") == [text(b"")], "an empty one as well"


def test_a_piece_of_nothing_changes_nothing() -> None:
    reader = FrameReader(LIMIT)
    assert feed(reader, b"", CONVERSATION[:10], b"", CONVERSATION[10:], b"") == CONVERSED


MESSAGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([TEXT, BINARY]), st.lists(st.binary(max_size=300), min_size=1, max_size=4)),
        st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125).map(lambda payload: [payload])),
    ),
    max_size=6,
)


@given(
    messages=MESSAGES,
    between=st.lists(st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=20)), max_size=3),
    masks=st.lists(st.one_of(st.none(), st.binary(min_size=4, max_size=4)), min_size=1, max_size=5),
    is_deflated=st.booleans(),
    places=st.lists(st.integers(0, 4000), max_size=12),
)
def test_any_messages_in_any_fragments_come_out_the_same_wherever_they_are_cut(
    messages: list[tuple[int, list[bytes]]],
    between: list[tuple[int, bytes]],
    masks: list[bytes | None],
    is_deflated: bool,
    places: list[int],
) -> None:
    compressor = zlib.compressobj(wbits=-15)
    frames: list[bytes] = []
    wanted: list[Outcome] = []

    def add(payload: bytes, opcode: int, *, final: bool = True) -> None:
        frames.append(client_frame(payload, opcode, final=final, mask=masks[len(frames) % len(masks)]))

    for number, (kind, parts) in enumerate(messages):
        is_control = kind in (PING, PONG)
        first = kind
        if is_deflated and not is_control and number % 2 == 0:
            whole = deflated(compressor, b"".join(parts))
            sent = [whole[: len(whole) // 2], whole[len(whole) // 2 :]] if len(parts) > 1 else [whole]
            first |= DEFLATED
        else:
            sent = parts
        for place, part in enumerate(sent):
            if place:
                for opcode, payload in between:
                    add(payload, opcode)
                    wanted.append((WSMsgType(opcode), payload))
            add(part, CONTINUATION if place else first, final=place == len(sent) - 1)
        wanted.append((WSMsgType(kind), b"".join(parts)))
    stream = b"".join(frames)
    assert read(*cut(stream, places), is_deflated=is_deflated) == wanted


# Limits.


def announced(size: int, first: int = 0x80 | TEXT) -> bytes:
    """The head of a frame whose payload is not there yet."""
    return struct.pack("!BBQ", first, 0x80 | 127, size)


def test_a_message_of_just_the_limit_passes_and_one_byte_more_does_not() -> None:
    for kind in (TEXT, BINARY):
        assert read(client_frame(b"x" * 1000, kind), max_size=1000) == [(WSMsgType(kind), b"x" * 1000)]
        assert read(client_frame(b"x" * 1001, kind), max_size=1000) == [error(1009)]


@pytest.mark.parametrize("size", [1001, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("first", [0x80 | TEXT, 0x80 | BINARY, TEXT, BINARY])
def test_a_length_over_the_limit_is_refused_before_the_payload_comes(first: int, size: int) -> None:
    head = announced(size, first)
    assert read(head, max_size=1000) == [error(1009)]
    assert read(*cut(head, range(1, len(head))), max_size=1000) == [error(1009)]


def test_a_length_over_the_limit_is_refused_before_its_mask_has_come() -> None:
    assert read(b"\x81\xfe\x03\xe9", max_size=1000) == [error(1009)]


def test_fragments_over_the_limit_together_are_refused_before_the_last_one_comes() -> None:
    start = client_frame(b"x" * 600, TEXT, final=False)
    assert read(start, client_frame(b"x" * 400, CONTINUATION), max_size=1000) == [text(b"x" * 1000)]
    assert read(start, b"\x80\xfe\x01\x91", max_size=1000) == [error(1009)]
    middle = client_frame(b"x" * 300, CONTINUATION, final=False)
    assert read(start, middle, b"\x00\xfe\x00\x65", max_size=1000) == [error(1009)]


def test_each_message_has_the_limit_for_itself() -> None:
    parts = client_frame(b"x" * 600, TEXT, final=False) + client_frame(b"x" * 400, CONTINUATION)
    assert read(parts * 3 + client_frame(b"y" * 1000), max_size=1000) == [text(b"x" * 1000)] * 3 + [text(b"y" * 1000)]


def test_control_frames_do_not_count_against_the_limit() -> None:
    start = client_frame(b"xxxx", TEXT, final=False)
    ping = client_frame(b"p" * 125, PING)
    wanted = [(WSMsgType.PING, b"p" * 125), text(b"xxxxx")]
    assert read(start, ping, client_frame(b"x", CONTINUATION), max_size=5) == wanted


def test_what_came_before_a_length_over_the_limit_is_there() -> None:
    stream = client_frame(b"good") + client_frame(b"now", PING) + announced(2**40)
    assert read(stream, max_size=1000) == [text(b"good"), (WSMsgType.PING, b"now"), error(1009)]


# Breaches.


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_an_error_with_its_code_and_nothing_follows(breach: str) -> None:
    """RFC 6455, 5.2, 5.4, 5.5, 7.4.1."""
    stream, code = BREACHES[breach]
    before = client_frame(b"before")
    after = client_frame(b"after")
    assert read(before + stream + after, after, b"") == [text(b"before"), error(code)]
    assert read(before, *cut(stream, range(1, len(stream))), after) == [text(b"before"), error(code)]


@pytest.mark.parametrize("breach", ["a fragmented ping", "a long ping", "opcode 0x3", "reserved bits 0x10 of text"])
def test_a_breach_in_a_head_is_told_before_the_payload_comes(breach: str) -> None:
    stream, code = BREACHES[breach]
    assert read(stream[:2] + b"\x00\x7e"[: len(stream) - 2]) == [error(code)]


def test_an_error_says_what_was_wrong() -> None:
    reader = FrameReader(LIMIT)
    reader.feed(b"\x83\x80")
    (message,) = reader.messages
    assert str(message.data) == "Unexpected opcode=3"


@given(pieces=st.lists(st.binary(max_size=40), max_size=20), is_deflated=st.booleans())
def test_no_bytes_make_it_fail_otherwise(pieces: list[bytes], is_deflated: bool) -> None:
    outcomes = read(*pieces, max_size=50, is_deflated=is_deflated)
    assert all(kind is not WSMsgType.ERROR for kind, _ in outcomes[:-1])
    assert all(len(payload) <= 125 for _, payload in outcomes if isinstance(payload, bytes))


# Close frames.


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999]
)
@pytest.mark.parametrize("reason", ["", "bye", "adiós", "x" * 123])
def test_a_close_has_its_code_and_its_reason(code: int, reason: str) -> None:
    assert read(client_frame(struct.pack("!H", code) + reason.encode(), CLOSE)) == [
        (WSMsgType.CLOSE, (code, reason)),
    ]


def test_a_close_without_a_code_has_none() -> None:
    assert read(client_frame(b"", CLOSE)) == [(WSMsgType.CLOSE, (0, ""))]


def test_a_close_may_come_between_fragments() -> None:
    assert read(client_frame(b"a", TEXT, final=False) + client_frame(b"", CLOSE)) == [(WSMsgType.CLOSE, (0, ""))]


# Compression: RFC 7692.

DEFLATED_TEXT = 0x80 | DEFLATED | TEXT
"""First byte of a compressed message in one frame."""


def raw_frame(first: int, payload: bytes) -> bytes:
    assert len(payload) < 126
    return bytes([first, len(payload)]) + payload


def test_the_examples_of_the_standard_are_inflated() -> None:
    """RFC 7692, 7.2.3.1 to 7.2.3.5: one block, a message twice, no compression, a final block, two blocks."""
    one = bytes.fromhex("f248cdc9c90700")
    assert read(raw_frame(DEFLATED_TEXT, one), is_deflated=True) == [text(b"Hello")]
    again = bytes.fromhex("f200110000")
    assert (
        read(raw_frame(DEFLATED_TEXT, one), raw_frame(DEFLATED_TEXT, again), is_deflated=True) == [text(b"Hello")] * 2
    )
    fragments = b"\x41\x03" + one[:3] + b"\x80\x04" + one[3:]
    assert read(fragments, is_deflated=True) == [text(b"Hello")]
    stored = bytes.fromhex("000500faff48656c6c6f00")
    assert read(raw_frame(DEFLATED_TEXT, stored), is_deflated=True) == [text(b"Hello")]
    final = bytes.fromhex("f348cdc9c9070000")
    assert read(raw_frame(DEFLATED_TEXT, final), is_deflated=True) == [text(b"Hello")]
    two = bytes.fromhex("f24805000000ffffcac9c90700")
    assert read(raw_frame(DEFLATED_TEXT, two), is_deflated=True) == [text(b"Hello")]


def test_messages_may_refer_to_those_before_them() -> None:
    compressor = zlib.compressobj(wbits=-15)
    payload = os.urandom(500)
    first, again = deflated(compressor, payload), deflated(compressor, payload)
    assert len(again) < 50
    frames = [client_frame(part, DEFLATED | BINARY) for part in (first, again, again)]
    assert read(*frames[:2], is_deflated=True) == [binary(payload)] * 2


def test_a_message_after_a_final_block_is_read_afresh() -> None:
    final = bytes.fromhex("f348cdc9c9070000")
    frame = raw_frame(DEFLATED_TEXT, final)
    compressor = zlib.compressobj(wbits=-15)
    other = raw_frame(DEFLATED_TEXT, deflated(compressor, b"other"))
    assert read(frame * 3 + other, is_deflated=True) == [text(b"Hello")] * 3 + [text(b"other")]


def test_messages_that_are_not_compressed_may_come_between() -> None:
    compressor = zlib.compressobj(wbits=-15)
    payloads = [b"compressed", b"plain", b"compressed again"]
    frames = [
        client_frame(deflated(compressor, payloads[0]), DEFLATED | TEXT),
        client_frame(payloads[1]),
        client_frame(deflated(compressor, payloads[2]), DEFLATED | TEXT),
    ]
    assert read(*frames, is_deflated=True) == [text(payload) for payload in payloads]


def test_a_plain_message_in_fragments_behind_a_compressed_one_is_not_inflated() -> None:
    compressor = zlib.compressobj(wbits=-15)
    stream = (
        client_frame(deflated(compressor, b"compressed"), DEFLATED | TEXT, final=True)
        + client_frame(b"pl", TEXT, final=False)
        + client_frame(b"ain", CONTINUATION)
    )
    assert read(stream, is_deflated=True) == [text(b"compressed"), text(b"plain")]


def test_an_empty_message_may_be_compressed() -> None:
    """RFC 7692, 7.2.3.6."""
    assert read(raw_frame(DEFLATED_TEXT, b"\x00") * 3, is_deflated=True) == [text(b"")] * 3


def test_only_the_first_fragment_says_that_a_message_is_compressed() -> None:
    """RFC 7692, 6.1. On a control frame the bit means nothing: some clients set it."""
    start = client_frame(b"a", DEFLATED | TEXT, final=False)
    assert read(start, bytes([0x80 | DEFLATED | CONTINUATION, 0x80]), is_deflated=True) == [error(1002)]
    plain = client_frame(b"a", TEXT, final=False)
    assert read(plain, bytes([DEFLATED | CONTINUATION, 0x80]), is_deflated=True) == [error(1002)]
    assert read(client_frame(b"p", DEFLATED | PING), is_deflated=True) == [(WSMsgType.PING, b"p")]


@pytest.mark.parametrize("bits", [0x10, 0x20, 0x30, 0x50, 0x60, 0x70])
def test_other_reserved_bits_are_breaches_all_the_same(bits: int) -> None:
    assert read(bytes([0x80 | bits | TEXT, 0x80]), is_deflated=True) == [error(1002)]


def test_what_is_not_compressed_although_it_should_be_is_an_error() -> None:
    frame = client_frame(b"\xff" * 20, DEFLATED | TEXT)
    assert read(frame + client_frame(b"after"), is_deflated=True) == [error(1007)]


def test_an_inflated_message_of_just_the_limit_passes_and_one_byte_more_does_not() -> None:
    for size, wanted in ((1000, text(b"x" * 1000)), (1001, error(1009))):
        frame = client_frame(deflated(zlib.compressobj(wbits=-15), b"x" * size), DEFLATED | TEXT)
        assert read(frame, max_size=1000, is_deflated=True) == [wanted]


def test_after_messages_of_just_the_limit_the_next_are_whole() -> None:
    compressor = zlib.compressobj(wbits=-15)
    payloads = [os.urandom(500) * 2, os.urandom(10) * 100, b"x" * 1000, b"end"]
    frames = [client_frame(deflated(compressor, payload), DEFLATED | BINARY) for payload in payloads]
    assert read(*frames, max_size=1000, is_deflated=True) == [binary(payload) for payload in payloads]


def test_a_bomb_stops_at_the_limit() -> None:
    bomb = deflated(zlib.compressobj(9, wbits=-15), bytes(50_000_000))
    assert len(bomb) < LIMIT
    reader = FrameReader(LIMIT, is_deflated=True)
    frame = client_frame(bomb, DEFLATED | BINARY, mask=None)
    tracemalloc.start()
    try:
        assert feed(reader, frame) == [error(1009)]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10 * LIMIT


# What it costs.


def test_a_large_frame_in_many_pieces_is_not_looked_at_for_each() -> None:
    """One look for the head, one when all is there: else each piece would copy all before it."""
    frame = client_frame(b"x" * 1_000_000)
    pieces = cut(frame, range(100, len(frame), 100))
    reader = FrameReader(1_000_000)
    calls: Counter[str] = Counter()

    def count(running: FrameType, event: str, argument: object) -> None:
        if event == "call":
            calls[running.f_code.co_name] += 1

    sys.setprofile(count)
    try:
        for piece in pieces:
            reader.feed(piece)
    finally:
        sys.setprofile(None)
    assert take(reader) == [text(b"x" * 1_000_000)]
    assert calls["feed"] == len(pieces)
    assert calls.total() < len(pieces) + 20


def test_nothing_is_kept_of_what_has_been_read() -> None:
    reader = FrameReader(1_000_000, is_deflated=False)
    large = client_frame(b"x" * 500_000, BINARY, final=False) + client_frame(b"x" * 500_000, CONTINUATION)
    for place in (1, 600_000, len(large) - 1):
        feed(reader, large[:place], large[place:])
    assert size_of(reader) < 1000


def size_of(reader: FrameReader) -> int:
    return sum(sys.getsizeof(part) for part in gc.get_referents(reader) if isinstance(part, (bytes, bytearray)))


def test_many_small_frames_in_one_piece_are_all_there() -> None:
    assert read(client_frame(b"x") * 10_000) == [text(b"x")] * 10_000


# Masks.


@pytest.mark.parametrize("mask", [b"\x00\x00\x00\x00", b"\x01\x02\x03\x04", b"\xff\x00\xaa\x55"])
@pytest.mark.parametrize("size", [*range(18), 125, 126, *range(505, 530), 1023, 4096, 65_537])
def test_unmask_is_an_exclusive_or_with_the_mask_repeated(size: int, mask: bytes) -> None:
    """RFC 6455, 5.3."""
    payload = os.urandom(size)
    unmasked = unmask(mask, payload)
    assert unmasked == bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    assert type(unmasked) is bytes


@given(mask=st.binary(min_size=4, max_size=4), payload=st.binary(max_size=1100))
def test_unmask_twice_is_nothing(mask: bytes, payload: bytes) -> None:
    assert unmask(mask, unmask(mask, payload)) == payload


# Compression of what we write.


def inflate_all(parts: Sequence[bytes], window_bits: int = 15, *, keeps_context: bool = True) -> list[bytes]:
    """As a client does: RFC 7692, 7.2.2."""
    inflater = zlib.decompressobj(wbits=-window_bits)
    whole = []
    for part in parts:
        if not keeps_context:
            inflater = zlib.decompressobj(wbits=-window_bits)
        whole.append(inflater.decompress(part + b"\x00\x00\xff\xff"))
        assert not inflater.unconsumed_tail
        assert not inflater.eof
    return whole


@pytest.mark.parametrize("keeps_context", [True, False])
@pytest.mark.parametrize("window_bits", range(9, 16))
def test_what_is_deflated_inflates_to_the_same(window_bits: int, keeps_context: bool) -> None:
    noise = os.urandom(70_000)
    payloads = [b"hello", b"hello", b"", b"", b"x" * 100_000, noise, noise, b"", b"\x00\x00\xff\xff", b"end"]
    deflater = Deflater(window_bits, keeps_context=keeps_context)
    parts = [deflater.deflate(payload) for payload in payloads]
    assert inflate_all(parts, window_bits, keeps_context=keeps_context) == payloads
    assert not any(part.endswith(b"\x00\x00\xff\xff") for part in parts[:-2])
    assert len(parts[4]) < 1000


def test_an_empty_message_is_one_byte() -> None:
    """RFC 7692, 7.2.3.6: however many of them."""
    deflater = Deflater(15, keeps_context=True)
    assert [deflater.deflate(b"") for _ in range(3)] == [b"\x00"] * 3


def test_with_context_a_message_refers_to_those_before_it_and_without_it_does_not() -> None:
    payload = os.urandom(300)
    keeping, fresh = Deflater(15, keeps_context=True), Deflater(15, keeps_context=False)
    assert len(keeping.deflate(payload)) > 300
    assert len(keeping.deflate(payload)) < 50
    assert fresh.deflate(payload) == fresh.deflate(payload)


@given(payloads=st.lists(st.binary(max_size=2000), max_size=8), keeps_context=st.booleans())
def test_any_messages_survive_compression(payloads: list[bytes], keeps_context: bool) -> None:
    deflater = Deflater(12, keeps_context=keeps_context)
    parts = [deflater.deflate(payload) for payload in payloads]
    assert inflate_all(parts, 12, keeps_context=keeps_context) == payloads
    reader = FrameReader(LIMIT, is_deflated=True)
    frames = [websocket_frame(0x80 | DEFLATED | BINARY, part) for part in parts]
    assert feed(reader, *frames) == [binary(payload) for payload in payloads]
