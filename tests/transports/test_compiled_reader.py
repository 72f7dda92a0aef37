"""aiohttp's compiled reader and ours say the same; where it is missing or different, ours is used."""

from __future__ import annotations

import importlib.util
import logging
import struct
import sys
import zlib
from types import ModuleType
from typing import Any

import pytest
from aiohttp import WebSocketError, WSMessage, WSMsgType
from aiohttp._websocket import reader as aiohttp_reader
from aiohttp._websocket import reader_py
from hypothesis import example, given
from hypothesis import strategies as st

from sockbridge.transports import compiled_reader
from sockbridge.transports.compiled_reader import choose_reader
from sockbridge.transports.websocket_frames import DEFLATED, FrameReader, Reader

from .frames import BINARY, BREACHES, CLOSE, CONTINUATION, PING, PONG, TEXT, client_frame, cut, deflated

LIMIT = 1000

Outcome = tuple[WSMsgType, object]

needs_compiled = pytest.mark.skipif(
    choose_reader("auto")[1] != "compiled", reason="aiohttp has no compiled reader here: pip install aiohttp's wheel"
)


def outcomes(reader: Reader, pieces: list[bytes]) -> list[Outcome]:
    """Kind and payload, ``(code, reason)`` of a close, the code of an error."""
    for piece in pieces:
        reader.feed(piece)
    taken = [outcome(message) for message in reader.messages]
    reader.messages.clear()
    return taken


def outcome(message: WSMessage) -> Outcome:
    kind, payload, extra = message
    if kind is WSMsgType.ERROR:
        # What is no fault of frames is one of compression.
        return kind, payload.code if isinstance(payload, WebSocketError) else 1007
    return kind, (payload, extra) if kind is WSMsgType.CLOSE else payload


def both(pieces: list[bytes], *, is_deflated: bool = False) -> tuple[list[Outcome], list[Outcome]]:
    """What the compiled reader and ours make of a stream."""
    make, name = choose_reader("auto")
    assert name == "compiled"
    return (
        outcomes(make(LIMIT, is_deflated), pieces),
        outcomes(FrameReader(LIMIT, is_deflated=is_deflated), pieces),
    )


# The same.


@needs_compiled
@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from([TEXT, BINARY, PING, PONG]),
            st.lists(st.binary(max_size=200), min_size=1, max_size=4),
            st.booleans(),
        ),
        max_size=6,
    ),
    mask=st.one_of(st.none(), st.binary(min_size=4, max_size=4)),
    is_deflated=st.booleans(),
    close=st.one_of(st.none(), st.tuples(st.sampled_from([1000, 1001, 1011, 3000, 4999]), st.text(max_size=20))),
    places=st.lists(st.integers(0, 5000), max_size=12),
)
def test_both_read_whatever_is_sound(
    frames: list[tuple[int, list[bytes], bool]],
    mask: bytes | None,
    is_deflated: bool,
    close: tuple[int, str] | None,
    places: list[int],
) -> None:
    compressor = zlib.compressobj(wbits=-15)
    stream, wanted = b"", list[Outcome]()
    for kind, parts, is_compressed in frames:
        first = kind
        if kind in (PING, PONG):
            whole, sent = parts[0][:125], [parts[0][:125]]
        else:
            whole = b"".join(parts)
            sent = parts
            if is_deflated and is_compressed:
                first |= DEFLATED
                body = deflated(compressor, whole)
                sent = [body[:3], b"", body[3:]]
        for place, part in enumerate(sent):
            if place:
                stream += client_frame(b"between", PING, mask=mask)
                wanted.append((WSMsgType.PING, b"between"))
            stream += client_frame(part, CONTINUATION if place else first, final=place == len(sent) - 1, mask=mask)
        wanted.append((WSMsgType(kind), whole))
    if close is not None:
        code, reason = close
        stream += client_frame(struct.pack("!H", code) + reason.encode(), CLOSE, mask=mask)
        wanted.append((WSMsgType.CLOSE, close))
    compiled, ours = both(cut(stream, places), is_deflated=is_deflated)
    assert compiled == wanted
    assert ours == wanted


FRAMES = st.builds(
    client_frame,
    payload=st.one_of(
        st.binary(min_size=1, max_size=20),  # none is empty: see below
        st.binary(min_size=120, max_size=130),
        st.integers(0, 65535).map(lambda code: struct.pack("!H", code)),
        st.sampled_from([b"x" * size for size in (LIMIT - 1, LIMIT, LIMIT + 1, 70_000)]),
        st.just(deflated(zlib.compressobj(wbits=-15), b"x" * 100)),
    ),
    opcode=st.one_of(st.sampled_from([TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG]), st.integers(0, 0x7F)),
    final=st.booleans(),
    mask=st.one_of(st.none(), st.binary(min_size=4, max_size=4)),
)


@needs_compiled
@given(
    frames=st.lists(FRAMES, max_size=8), is_deflated=st.booleans(), places=st.lists(st.integers(0, 3000), max_size=8)
)
def test_both_refuse_the_same_frames(frames: list[bytes], is_deflated: bool, places: list[int]) -> None:
    """Where a frame breaks two rules, each tells the one that it sees first."""
    compiled, ours = both(cut(b"".join(frames), places), is_deflated=is_deflated)
    assert len(compiled) == len(ours)
    if compiled != ours:
        assert compiled[:-1] == ours[:-1]
        assert {compiled[-1], ours[-1]} == {(WSMsgType.ERROR, 1002), (WSMsgType.ERROR, 1009)}


@needs_compiled
@pytest.mark.parametrize("breach", sorted(set(BREACHES) - {"text within an empty start"}))  # see below
def test_both_refuse_every_breach_with_the_same_code(breach: str) -> None:
    stream, code = BREACHES[breach]
    for pieces in ([stream], cut(stream, range(len(stream)))):
        compiled, ours = both(pieces)
        assert compiled == ours == [(WSMsgType.ERROR, code)]


@needs_compiled
@given(pieces=st.lists(st.binary(max_size=30), max_size=20), is_deflated=st.booleans())
@example(pieces=[b"\x89\x7e"], is_deflated=False)
@example(pieces=[b"\x81\x7f" + b"\xff" * 8], is_deflated=False)
@example(pieces=[b"\xc1\x00" * 3], is_deflated=True)
def test_both_make_the_same_of_any_bytes(pieces: list[bytes], is_deflated: bool) -> None:
    """One may see a fault before the frame is complete, the other with its end, or not at all: see below."""
    compiled, ours = both(pieces, is_deflated=is_deflated)
    has_failed = bool(ours) and ours[-1][0] is WSMsgType.ERROR
    sound = ours[:-1] if has_failed else ours
    assert compiled[: len(sound)] == sound
    rest = compiled[len(sound) :]
    assert has_failed or all(kind is WSMsgType.ERROR for kind, _ in rest)


@needs_compiled
def test_ours_refuses_a_message_within_one_whose_parts_were_empty_so_far() -> None:
    """The one breach of RFC 6455, 5.4, that aiohttp lets pass. It leads nowhere: no message is lost or mixed."""
    stream = client_frame(b"", TEXT, final=False) + client_frame(b"b") + client_frame(b"a", CONTINUATION)
    compiled, ours = both([stream])
    assert compiled == [(WSMsgType.TEXT, b"b"), (WSMsgType.TEXT, b"a")]
    assert ours == [(WSMsgType.ERROR, 1002)]


LENGTHS = (0, 1, 125, 126, 127, LIMIT - 1, LIMIT, LIMIT + 1)


@needs_compiled
@pytest.mark.parametrize("is_deflated", [False, True])
@pytest.mark.parametrize("size", LENGTHS)
def test_both_have_the_same_limit(size: int, is_deflated: bool) -> None:
    payload = b"x" * size
    if is_deflated:
        stream = client_frame(deflated(zlib.compressobj(wbits=-15), payload), DEFLATED | TEXT)
    else:
        stream = client_frame(payload)
    wanted = [(WSMsgType.TEXT, payload)] if size <= LIMIT else [(WSMsgType.ERROR, 1009)]
    compiled, ours = both([stream], is_deflated=is_deflated)
    assert ours == wanted
    assert compiled == wanted


@needs_compiled
@pytest.mark.parametrize(
    "payload",
    [
        bytes.fromhex("f248cdc9c90700"),
        bytes.fromhex("f348cdc9c9070000"),  # a final block
        bytes.fromhex("000500faff48656c6c6f00"),
        bytes.fromhex("f24805000000ffffcac9c90700"),
        b"\x00",
    ],
)
def test_both_inflate_the_examples_of_the_standard_again_and_again(payload: bytes) -> None:
    """RFC 7692, 7.2.3."""
    compiled, ours = both([client_frame(payload, DEFLATED | TEXT)] * 3, is_deflated=True)
    assert compiled == ours == [(WSMsgType.TEXT, b"" if payload == b"\x00" else b"Hello")] * 3


@needs_compiled
def test_both_stop_a_bomb_at_the_limit() -> None:
    bomb = deflated(zlib.compressobj(9, wbits=-15), bytes(500_000))
    assert len(bomb) < LIMIT
    compiled, ours = both([client_frame(bomb, DEFLATED | TEXT) + client_frame(b"after")], is_deflated=True)
    assert compiled == ours == [(WSMsgType.ERROR, 1009)]


@needs_compiled
def test_both_give_back_nothing_once_there_was_an_error() -> None:
    stream = [client_frame(b"good"), b"\x83\x00", client_frame(b"after"), b""]
    compiled, ours = both(stream)
    assert compiled == ours == [(WSMsgType.TEXT, b"good"), (WSMsgType.ERROR, 1002)]


# Which one.


def test_ours_is_used_where_it_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "sockbridge.transports")
    make, name = choose_reader("python")
    assert name == "python"
    assert type(make(LIMIT, False)) is FrameReader
    assert caplog.messages == []


def test_each_connection_gets_a_reader_of_its_own() -> None:
    for wanted in ("auto", "python"):
        make, _ = choose_reader(wanted)
        first, second = make(LIMIT, False), make(LIMIT, False)
        assert outcomes(first, [b"\x81\x01"]) == []
        assert outcomes(second, [b"\x82\x01b"]) == [(WSMsgType.BINARY, b"b")]
        assert outcomes(first, [b"a"]) == [(WSMsgType.TEXT, b"a")]


@needs_compiled
def test_the_compiled_one_is_used_where_nothing_speaks_against_it() -> None:
    make, name = choose_reader("auto")
    assert name == "compiled"
    assert not isinstance(make(LIMIT, False), FrameReader)
    assert choose_reader("auto") == (make, name)


def load_afresh() -> ModuleType:
    """The module as at the start of the program: it looks at aiohttp once."""
    spec = importlib.util.spec_from_file_location(
        "sockbridge.transports.compiled_reader_afresh", compiled_reader.__file__
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_falls_back(caplog: pytest.LogCaptureFixture, reason: str) -> None:
    """Ours is used, and the log says why, once for each endpoint."""
    caplog.set_level(logging.INFO, "sockbridge.transports")
    caplog.clear()
    make, name = load_afresh().choose_reader("auto")
    assert name == "python"
    assert type(make(LIMIT, True)) is FrameReader
    (line,) = caplog.messages
    assert line.startswith(f"websocket frames are read in Python: aiohttp's compiled reader {reason}"), line


def test_an_aiohttp_without_that_module_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp._websocket", None)
    check_falls_back(caplog, "is not there")


def test_an_aiohttp_that_was_not_compiled_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on PyPy, or with ``AIOHTTP_NO_EXTENSIONS=1``."""
    monkeypatch.setattr(aiohttp_reader, "WebSocketReader", reader_py.WebSocketReader)
    monkeypatch.setattr(aiohttp_reader, "WebSocketDataQueue", reader_py.WebSocketDataQueue)
    check_falls_back(caplog, "is not compiled here")


@needs_compiled
@pytest.mark.parametrize("name", ["WebSocketReader", "WebSocketDataQueue"])
def test_an_aiohttp_that_calls_things_otherwise_is_no_fault(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(aiohttp_reader, name)
    check_falls_back(caplog, "cannot be used in this version: AttributeError")


def no_subclasses(cls: type) -> None:
    raise TypeError("nobody may inherit")


class Final:
    """What a compiled class that is final does when somebody inherits from it."""

    __init_subclass__ = classmethod(no_subclasses)  # type: ignore[assignment]  # it always raises


@needs_compiled
def test_an_aiohttp_whose_queue_takes_no_heirs_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(aiohttp_reader, "WebSocketDataQueue", Final)
    check_falls_back(caplog, "cannot be used in this version: TypeError")


def pretend(monkeypatch: pytest.MonkeyPatch, **attributes: Any) -> None:
    """Another version of aiohttp, whose compiled reader has other ``attributes``."""
    other = type("WebSocketReader", (aiohttp_reader.WebSocketReader,), attributes)
    other.__module__ = "aiohttp._websocket.reader_c"
    monkeypatch.setattr(aiohttp_reader, "WebSocketReader", other)


@needs_compiled
def test_an_aiohttp_whose_reader_takes_other_arguments_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, __init__=lambda self, queue: None, __new__=lambda kind, queue: None)
    check_falls_back(caplog, "cannot be used in this version: TypeError")


@needs_compiled
def test_an_aiohttp_whose_reader_is_fed_otherwise_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, feed_data=property())
    check_falls_back(caplog, "cannot be used in this version: AttributeError")


def lose_pings(self: Any, received: bytes) -> tuple[bool, bytes]:
    return type(self).__mro__[1].feed_data(self, received.replace(b"\x89\x01p", b""))  # type: ignore[attr-defined,no-any-return]  # aiohttp's


def say_nothing(self: Any, received: bytes) -> tuple[bool, bytes]:
    return False, b""


def overlook_faults(self: Any, received: bytes) -> tuple[bool, bytes]:
    if received.startswith(b"\x09"):
        return True, b""
    return type(self).__mro__[1].feed_data(self, received)  # type: ignore[attr-defined,no-any-return]  # aiohttp's


@needs_compiled
@pytest.mark.parametrize("feed_data", [say_nothing, lose_pings, overlook_faults])
def test_an_aiohttp_whose_reader_says_something_else_is_not_used(
    feed_data: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, feed_data=feed_data)
    check_falls_back(caplog, "behaves differently in this version")


@needs_compiled
def test_a_reader_that_is_only_wrapped_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the others are refused is not because of how these tests pretend."""
    pretend(monkeypatch)
    assert load_afresh().choose_reader("auto")[1] == "compiled"
