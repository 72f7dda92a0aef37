"""STOMP frames per second: our codec against those of stomp.py and stompman, on the same frames.

How: one process, no sockets. Reading: each codec is given whole frames one after the other, and a stream of them in
pieces of 64 KiB; of stomp.py that is what its receiver's thread does, without the thread. Writing: a MESSAGE from its
headers and body. Rounds are interleaved, each codec in turn; the figures are medians, the ratios
those of the rounds beside each other. Every frame that is read is counted, and the first one is compared.

Run: ``python -m bench.codec [--quick]``
"""

from __future__ import annotations

import argparse
import importlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sockbridge.sockjs.framing import RAW
from sockbridge.stomp.codec import Decoder, Limits, PreparedMessage, dialect
from sockbridge.stomp.frame import Command, Frame, Version
from sockbridge.stomp.options import StompOptions

from .process import progress

HEADERS = {
    "subscription": "sub-0",
    "message-id": "17-1234567",
    "destination": "/topic/prices.1",
    "content-type": "application/json",
    "content-length": "67",
}
BODY = b'{"symbol":"ACME","price":123.45,"time":"2026-01-01T00:00:00Z","n":1}'[:67]
PIECE = 64 * 1024
SUBSCRIBERS = 1000
WANTED = 3.0
"""Least ratio of our reading to stomp.py's."""

LIMITS = Limits.of(StompOptions())


@dataclass(slots=True)
class Contest:
    """One codec doing one thing, again and again.

    Attributes:
        run: does it so often, and returns how often it did.
        rates: per second, round by round.
    """

    task: str
    codec: str
    run: Callable[[int], int]
    rates: list[float] = field(default_factory=list)


def wire() -> bytes:
    """The frame that is read."""
    head = "".join(f"{name}:{value}\n" for name, value in HEADERS.items())
    return f"MESSAGE\n{head}\n".encode() + BODY + b"\0"


WIRE = wire()


def read_ours(count: int) -> int:
    """Whole frames, one by one."""
    decoder, read = Decoder(LIMITS), 0
    feed, next_frame = decoder.feed, decoder.next_frame
    for _ in range(count):
        feed(WIRE)
        read += next_frame() is not None
    return read


def read_our_stream(count: int) -> int:
    """A stream of frames, in pieces."""
    decoder, read, stream = Decoder(LIMITS), 0, WIRE * count
    for start in range(0, len(stream), PIECE):
        decoder.feed(stream[start : start + PIECE])
        while decoder.next_frame() is not None:
            read += 1
    return read


def write_ours(count: int) -> int:
    """A MESSAGE from its parts."""
    encode, frame = dialect(Version.V1_2, RAW).encode, Frame(Command.MESSAGE, dict(HEADERS), BODY)
    return sum(encode(frame) == WIRE for _ in range(count))


def write_ours_for_many(count: int) -> int:
    """A MESSAGE for 1,000 subscribers, worded once."""
    wording = dialect(Version.V1_2, RAW)
    prefix = wording.prefix("sub-0", "17-")
    headers = {"content-type": "application/json"}
    written = 0
    for serial in range(max(1, count // SUBSCRIBERS)):
        worded = wording.word(PreparedMessage(serial, "/topic/prices.1", headers, BODY))
        written += sum(len(prefix + worded) > len(BODY) for _ in range(SUBSCRIBERS))
    return written


def read_stomp_py(count: int) -> int:
    """The same by stomp.py: what its receiver's thread does, without the thread and the socket."""
    return _read_by_stomp_py([WIRE] * count)


def read_stream_by_stomp_py(count: int) -> int:
    """A stream by stomp.py."""
    stream = WIRE * count
    return _read_by_stomp_py([stream[start : start + PIECE] for start in range(0, len(stream), PIECE)])


def _read_by_stomp_py(pieces: list[bytes]) -> int:
    transport = importlib.import_module("stomp.transport").BaseTransport()
    remaining = iter(pieces)
    frames: list[object] = []
    transport.running = True
    transport.receive = lambda: next(remaining)
    transport.process_frame = lambda frame, octets: frames.append(frame.cmd)
    for _ in pieces:
        transport._BaseTransport__read_frames()
    return len(frames)


def write_stomp_py(count: int) -> int:
    """The same by stomp.py."""
    utils = importlib.import_module("stomp.utils")
    frame = utils.Frame("MESSAGE", dict(HEADERS), BODY)
    return sum(bool(utils.pack(utils.convert_frame(frame))) for _ in range(count))


def read_stompman(count: int) -> int:
    """The same by stompman."""
    parser = importlib.import_module("stompman.serde").FrameParser()
    return sum(len(list(parser.parse_frames_from_chunk(WIRE))) for _ in range(count))


CONTESTS = (
    ("read", "sockbridge", read_ours),
    ("read", "stomp.py", read_stomp_py),
    ("read", "stompman", read_stompman),
    ("read a stream", "sockbridge", read_our_stream),
    ("read a stream", "stomp.py", read_stream_by_stomp_py),
    ("write", "sockbridge", write_ours),
    ("write", "stomp.py", write_stomp_py),
    ("write for 1,000", "sockbridge", write_ours_for_many),
)


def measure(contests: Sequence[Contest], rounds: int, seconds: float) -> None:
    """Each in turn, ``rounds`` times, for about ``seconds``."""
    counts = {id(contest): 2000 for contest in contests}
    for turn in range(-1, rounds):  # the first finds out how often to run
        for contest in contests:
            count = counts[id(contest)]
            start = time.perf_counter()
            done = contest.run(count)
            rate = done / (time.perf_counter() - start)
            if done < count:
                raise SystemExit(f"{contest.codec} did only {done} of {count}: {contest.task}")
            counts[id(contest)] = max(SUBSCRIBERS, int(rate * seconds) // SUBSCRIBERS * SUBSCRIBERS)
            if turn >= 0:
                contest.rates.append(rate)
        progress(f"round {turn + 1}/{rounds}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 7")
    options = parser.parse_args(arguments)
    contests = [Contest(*each) for each in CONTESTS]
    try:
        measure(contests, 3 if options.quick else 7, 0.2 if options.quick else 1.0)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    print(f"\na MESSAGE of {len(WIRE)} bytes, Python {platform.python_version()}")
    print(f"{'':18}{'':12}{'frames/s':>12}   sockbridge is so many times as fast (lowest, highest)")
    ours = {contest.task: contest for contest in contests if contest.codec == "sockbridge"}
    is_good = True
    for contest in contests:
        line = f"{contest.task:18}{contest.codec:12}{statistics.median(contest.rates):12,.0f}"
        if contest.codec != "sockbridge":
            pairs = zip(ours[contest.task].rates, contest.rates, strict=True)
            ratios = [mine / theirs for mine, theirs in pairs]
            line += f"   {statistics.median(ratios):5.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
            if (contest.task, contest.codec) == ("read", "stomp.py") and statistics.median(ratios) < WANTED:
                is_good = False
        print(line)
    if not is_good:
        print(f"MISSED: wanted is {WANTED:g} times stomp.py's reading")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
