"""Frames that stand on lines of their own, and a stream of them.

Knows: line ends, limits, that a response that ends is followed by the next.
Does not know: which URL, what stands on a line.
Spec: sockjs-protocol 0.3.3, XhrStreaming, EventSource.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from .carrier import Broken, Target
from .frames import Kind, ServerFrame
from .http import HttpCarrier


class StreamCarrier(HttpCarrier):
    """A response that goes on, and is asked for again when it ends. Subclass with ``frame``."""

    method: ClassVar[str]
    path: ClassVar[str]

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._lines: deque[bytes] = deque()
        self._rest: list[bytes] = []  # the beginning of a line whose end has not come
        self._rest_size = 0

    def frame(self, line: bytes) -> ServerFrame | None:
        """The frame that ``line`` completes, if it does.

        Raises:
            Broken: it is none.
        """
        raise NotImplementedError

    async def read(self) -> ServerFrame:
        """As ``Carrier.read``."""
        while True:
            while self._lines:
                line = self._lines.popleft()
                self.check_size(len(line))
                frame = self.frame(line)
                if frame is not None:
                    if frame.kind is not Kind.HEARTBEAT:
                        self.has_brought = True
                    return frame
            self.check_size(self._rest_size)  # not earlier: what came before it is in order
            if self.response is None:
                await self.request(self.method, self.path)
            chunk = await self.chunk()
            if chunk:
                self._split(chunk)
            else:
                self._end()

    def _split(self, chunk: bytes) -> None:
        first, *others = chunk.split(b"\n")
        self._keep(first)
        for rest in others:
            self._lines.append(b"".join(self._rest).removesuffix(b"\r"))
            self._rest.clear()
            self._rest_size = 0
            self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._rest.append(piece)
            self._rest_size += len(piece)

    def _end(self) -> None:
        if self._rest:
            raise Broken("an answer ended in the middle of a frame")
        self.response = None
