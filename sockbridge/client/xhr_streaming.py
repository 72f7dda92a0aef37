"""A frame per line of a response that goes on.

Knows: its URL, and that a line is a frame.
Does not know: sessions.
Spec: sockjs-protocol 0.3.3, XhrStreaming.
"""

from __future__ import annotations

from typing import ClassVar

from .carrier import read_frame
from .frames import ServerFrame
from .lines import StreamCarrier


class XhrStreamingCarrier(StreamCarrier):
    """``POST /xhr_streaming``."""

    name: ClassVar[str] = "xhr-streaming"
    method: ClassVar[str] = "POST"
    path: ClassVar[str] = "xhr_streaming"

    def frame(self, line: bytes) -> ServerFrame | None:
        """As ``StreamCarrier.frame``."""
        return read_frame(line) if line else None
