"""A frame per event of an event stream.

Knows: its URL, the fields of an event, that the data is percent-encoded.
Does not know: sessions.
Spec: sockjs-protocol 0.3.3, EventSource; HTML standard, "Server-sent events"; docs/conformance.md, section 6.
"""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import unquote_to_bytes

from .carrier import Target, read_frame
from .frames import ServerFrame
from .lines import StreamCarrier


class EventSourceCarrier(StreamCarrier):
    """``GET /eventsource``."""

    name: ClassVar[str] = "eventsource"
    method: ClassVar[str] = "GET"
    path: ClassVar[str] = "eventsource"
    headers = {"Accept": "text/event-stream"}  # noqa: RUF012  # never changed

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._data: list[bytes] = []
        self._data_size = 0

    def frame(self, line: bytes) -> ServerFrame | None:
        """As ``StreamCarrier.frame``."""
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._data_size += len(line)
            self.check_size(self._data_size)
        elif not line and self._data:
            data = b"\n".join(self._data)
            self._data.clear()
            self._data_size = 0
            return read_frame(unquote_to_bytes(data))
        return None
