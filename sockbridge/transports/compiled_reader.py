"""The reader of aiohttp, compiled to C, fed by us: the one private part of aiohttp that sockbridge uses.

Per message it saves what ``FrameReader`` costs in Python, about a tenth of an echo. It is used where it is there and
does what it should, which is tried once when the first endpoint is mounted; else ``FrameReader`` is used, as it is
with ``websocket_reader="python"``. All tests of websockets run with both.

Knows: aiohttp's reader, and what it wants from a queue.
Does not know: who uses the messages.
Spec: as ``websocket_frames.py``.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import WSMessage, WSMsgType

from .websocket_frames import FrameReader, Reader

logger = logging.getLogger("sockbridge.transports")

MakeReader = Callable[[int, bool], Reader]
"""Makes a reader, given the largest size of a message and whether permessage-deflate was agreed on."""


def choose_reader(wanted: str) -> tuple[MakeReader, str]:
    """What makes readers, and its name: ``"compiled"`` or ``"python"``.

    Args:
        wanted: the option ``websocket_reader``.
    """
    if wanted == "python":
        return _make_in_python, "python"
    make, fault = _load()
    if make is None:
        logger.info("websocket frames are read in Python: aiohttp's compiled reader %s", fault)
        return _make_in_python, "python"
    return make, "compiled"


def _make_in_python(max_size: int, is_deflated: bool) -> Reader:
    return FrameReader(max_size, is_deflated=is_deflated)


@functools.cache
def _load() -> tuple[MakeReader | None, str]:
    # What makes compiled readers, or why there are none.
    try:
        from aiohttp._websocket import reader as private
    except ImportError:
        return None, "is not there"
    try:
        return _adapt(private)
    except Exception as error:  # whatever another version of aiohttp may do
        return None, f"cannot be used in this version: {error!r}"


def _adapt(private: Any) -> tuple[MakeReader | None, str]:
    if not getattr(private.WebSocketReader, "__module__", "").endswith("reader_c"):
        return None, "is not compiled here"

    class Sink(private.WebSocketDataQueue):  # type: ignore[misc]  # looked up at run time
        """Stands where aiohttp's reader puts messages; keeps them for who has fed it."""

        def __init__(self) -> None:  # without that of the base, which makes what only a task needs that waits
            self.messages: list[Any] = []

        def feed_data(self, message: Any, size: int) -> None:
            self.messages.append(message)

        def set_exception(self, error: BaseException, cause: BaseException | None = None) -> None:
            self.messages.append(WSMessage(WSMsgType.ERROR, error, None))

    class CompiledReader:
        """See ``Reader``."""

        __slots__ = ("feed", "messages")

        def __init__(self, max_size: int) -> None:
            sink = Sink()
            self.messages = sink.messages
            # One more, as aiohttp refuses what reaches its limit.
            self.feed = private.WebSocketReader(sink, max_size + 1, False, False).feed_data

    def make(max_size: int, is_deflated: bool) -> Reader:
        # What is compressed costs its inflation, whoever reads it; and the limit of what is inflated is exact in ours.
        return FrameReader(max_size, is_deflated=True) if is_deflated else CompiledReader(max_size)

    return (make, "") if _is_alike(make) else (None, "behaves differently in this version")


def _is_alike(make: MakeReader) -> bool:
    # Text, a fragmented message with a ping in it, a pong, binary, a close; then three ways to break the protocol.
    mask = b"\x01\x02\x03\x04"
    sound = (
        b"\x81\x85" + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(b"hello"))
        + b"\x01\x01a\x89\x01p\x80\x01b\x8a\x00\x82\x7e\x00\x80" + b"x" * 128 + b"\x88\x05\x0f\xa1bye"
    )  # fmt: skip
    streams = [sound, b"\x81\x02ok\x83\x00", b"\x81\x7e\x20\x00", b"\x09\x00\x81\x01x"]
    return all(
        _summary(make(1000, False), stream, step) == _summary(FrameReader(1000), stream, step)
        for stream in streams
        for step in (1, len(stream))
    )


def _summary(reader: Reader, stream: bytes, step: int) -> list[tuple[Any, ...]]:
    for start in range(0, len(stream), step):
        reader.feed(stream[start : start + step])
    return [
        (message[0], message[1].code if message[0] is WSMsgType.ERROR else message[1]) for message in reader.messages
    ]
