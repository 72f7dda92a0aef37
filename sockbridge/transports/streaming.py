"""Shape 2, a request whose answer goes on: frames as chunks until ``response_limit`` bytes are sent.

Knows: prelude, chunks, the limit.
Does not know: payload formats.
Spec: sockjs-protocol 0.3.3, XhrStreaming, EventSource, HtmlFile; docs/conformance.md, section 3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import HttpVersion11, web

from ..errors import ConnectionLost
from ..sockjs.session import Session
from .base import BUSY_FRAME, Transport
from .connection import give_back, watch
from .receiver import SocketReceiver


class StreamReceiver(SocketReceiver):
    """Writes each frame as one chunk of the response, and ends after ``response_limit`` bytes of frames."""

    __slots__ = ("_done", "_format", "_is_chunked", "is_full")

    def __init__(self, transport: StreamingTransport, session: Session, request: web.Request, is_chunked: bool) -> None:
        super().__init__(transport.name, session, request, transport.options.write_timeout, transport.turn_end)
        self._format: Callable[[bytes], bytes] = transport.format
        self.room = transport.options.response_limit
        self._is_chunked = is_chunked
        self.is_full = False
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        """Until the session has let go or the limit is reached."""
        await self._done

    def on_lost(self) -> None:
        """The connection has ended."""
        if self.lost is None:
            self.lost = ConnectionLost("the client closed the connection without a goodbye")
        self.on_let_go()

    def tick(self, now: float) -> ConnectionLost | None:
        error = super().tick(now)
        self.is_quiet = not (self.peer.is_watched or self.is_full)
        return error

    def encode(self, frame: bytes) -> bytes:
        body = self._format(frame)
        self.room -= len(body)
        return b"%x\r\n%b\r\n" % (len(body), body) if self._is_chunked else body

    def on_let_go(self) -> None:
        if not self._done.done():
            self._done.set_result(None)


class StreamingTransport(Transport):
    """Subclass with ``format``; ``prelude``, ``check`` and ``content_type`` if they differ."""

    def prelude(self, request: web.Request) -> bytes:
        """What is sent before the first frame; not counted against ``response_limit``. Not empty."""
        raise NotImplementedError

    def format(self, frame: bytes) -> bytes:
        """The bytes for one frame."""
        raise NotImplementedError

    async def handle(self, request: web.Request) -> web.StreamResponse:
        session = await self.obtain(request)
        response = await self._begin(request)
        receiver = StreamReceiver(self, session, request, response.chunked)
        is_new = self.attach(session, receiver)
        if is_new is not None:
            await self._stream(request, session, receiver, is_new)
        elif receiver.is_connected:
            await response.write(self.format(BUSY_FRAME))
        if receiver.is_connected:
            await self.complete(response.write_eof(), receiver)
        return response

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=self.headers(request))
        response.headers["X-Accel-Buffering"] = "no"  # tells nginx to pass each chunk on at once
        if request.version >= HttpVersion11:
            response.enable_chunked_encoding()
        else:
            response.force_close()
        try:
            await response.prepare(request)
            await response.write(self.prelude(request))
        except ConnectionError:
            raise ConnectionLost("the client left before it was answered") from None
        return response

    async def _stream(self, request: web.Request, session: Session, receiver: StreamReceiver, is_new: bool) -> None:
        error: ConnectionLost | None = None
        connection, former = request.transport, request.protocol
        assert connection is not None  # or there would be no receiver
        watch(connection, former, receiver)
        try:
            receiver.flush()
            if is_new:
                self.manager.open(session)
            await receiver.wait()
        except asyncio.CancelledError:
            error = ConnectionLost("the request was cancelled")
            raise
        finally:
            if receiver.is_connected:
                give_back(connection, former)
            self.manager.release(session, receiver, error or receiver.lost)
