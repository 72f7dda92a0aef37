"""Heart-beats: what the two sides agree on, and when one is due.

The server mirrors what the client asks for, within bounds. A beat is sent when half of the interval has passed in
silence, the other side is given up after twice its own: timers of browsers are late, and so are networks.

Knows: the header, the intervals.
Does not know: the clock, connections.
Spec: STOMP 1.2, "Heart-beating"; docs/stomp-conformance.md, section 2.
"""

from __future__ import annotations

import enum
from typing import Final

from ..errors import BadFrame
from .options import StompOptions

SEND_AFTER: Final = 0.5
"""Share of the interval after which a beat is sent; the rest is for the tick and for the way."""

TICKS_PER_INTERVAL: Final = 5


def parse_heart_beat(header: str | None) -> tuple[int, int]:
    """``(what the client can send, what it wants to get)`` in milliseconds; 0 means never.

    Raises:
        BadFrame: not two numbers.
    """
    if header is None:
        return 0, 0
    numbers = [number.strip() for number in header.split(",")]
    if len(numbers) != 2 or not all(n.isascii() and n.isdigit() and len(n) <= 12 for n in numbers):
        raise BadFrame("heart-beat is two numbers of milliseconds", ascii(header[:100]))
    return int(numbers[0]), int(numbers[1])


class Look(enum.Enum):
    """What a look at the clock finds."""

    NOTHING = "nothing to do"
    BEAT = "send a beat"
    SILENT = "the other side has been silent for too long"


class HeartBeat:
    """The agreement of one connection, and when each side was heard last.

    Attributes:
        header: for CONNECTED or CONNECT: what this side can send and wants to get, in milliseconds.
        send_every: seconds; 0 if this side sends none.
        expect_every: seconds; 0 if the other side sends none.
    """

    __slots__ = ("_heard_at", "_looked_at", "_patience", "_sent_at", "expect_every", "header", "send_every")

    def __init__(self, ours: tuple[int, int], theirs: tuple[int, int], tolerance: float, now: float) -> None:
        """
        Args:
            ours: what this side can send and wants to get, in milliseconds; 0 means never.
            theirs: the same of the other side; see ``parse_heart_beat``.
            tolerance: intervals of silence after which the other side counts as gone.
            now: when CONNECTED is written, or has come: the time of both begins here.
        """
        self.header = f"{ours[0]},{ours[1]}"
        self.send_every = max(ours[0], theirs[1]) / 1000 if ours[0] and theirs[1] else 0.0
        self.expect_every = max(ours[1], theirs[0]) / 1000 if ours[1] and theirs[0] else 0.0
        self._patience = self.expect_every * tolerance
        self._sent_at = self._heard_at = self._looked_at = now

    @classmethod
    def mirroring(cls, asked: tuple[int, int], options: StompOptions, now: float) -> HeartBeat:
        """The agreement as a server reaches it: what the client asks for, within bounds."""
        can_send, wants = asked
        least, most = options.heart_beat_min_ms, options.heart_beat_max_ms
        offered = min(max(wants, least), most) if wants else 0
        demanded = min(max(can_send, least), most) if can_send else 0
        return cls((offered, demanded), asked, options.heart_beat_tolerance, now)

    @property
    def tick(self) -> float:
        """Seconds between two looks that this agreement needs; 0 if it needs none."""
        return min(filter(None, (self.send_every, self.expect_every)), default=0.0) / TICKS_PER_INTERVAL

    def look(self, now: float, *, has_read: bool, has_written: bool) -> Look:
        """What is due.

        Args:
            has_read: something came from the client since the last look.
            has_written: something was sent to it since then.
        """
        if has_read:
            self._heard_at = now
        if has_written:
            self._sent_at = self._looked_at  # it may have been just after the last look
        self._looked_at = now
        if self._patience and now - self._heard_at >= self._patience:
            return Look.SILENT
        if self.send_every and now - self._sent_at >= self.send_every * SEND_AFTER:
            self._sent_at = now
            return Look.BEAT
        return Look.NOTHING
