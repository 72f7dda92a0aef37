"""One request per frame.

Knows: its URL, and that a body is one frame.
Does not know: sessions.
Spec: sockjs-protocol 0.3.3, XhrPolling.
"""

from __future__ import annotations

from typing import ClassVar

from .carrier import read_frame
from .frames import Kind, ServerFrame
from .http import HttpCarrier


class XhrPollingCarrier(HttpCarrier):
    """``POST /xhr``, again and again."""

    name: ClassVar[str] = "xhr-polling"

    async def read(self) -> ServerFrame:
        """As ``Carrier.read``."""
        await self.request("POST", "xhr")
        chunks: list[bytes] = []
        size = 0
        while chunk := await self.chunk():
            chunks.append(chunk)
            size += len(chunk)
            self.check_size(size)
        frame = read_frame(b"".join(chunks).rstrip(b"\r\n"))
        self.has_brought = frame.kind is not Kind.HEARTBEAT
        return frame
