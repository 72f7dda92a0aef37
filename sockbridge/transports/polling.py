"""Shape 1, a request that is answered once: one frame, one response.

Knows: waiting for a frame, letting go of the session before the answer leaves, how long a large one may take.
Does not know: payload formats.
Spec: sockjs-protocol 0.3.3, XhrPolling; docs/conformance.md, section 3.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from ..errors import ConnectionLost
from ..sockjs.framing import INTERRUPTED
from ..sockjs.session import Session
from .base import BUSY_FRAME, Transport

SMALL: Final = 32 * 1024
"""Bytes that a connection always takes at once. A larger answer may take ``write_timeout`` for each of these."""


class PollReceiver:
    """A poll: fetches one frame, when there is one."""

    __slots__ = ("_request", "_woken", "transport")

    is_quiet = False

    def __init__(self, transport: str, request: web.Request) -> None:
        self.transport = transport
        self._request = request
        self._woken: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Until the session has something, or has let go."""
        self._woken = asyncio.get_running_loop().create_future()
        await self._woken

    @property
    def is_connected(self) -> bool:
        transport = self._request.transport
        return transport is not None and not transport.is_closing()

    def wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    flush = wake

    def tick(self, now: float) -> ConnectionLost | None:
        return None if self.is_connected else ConnectionLost("the client left while it polled")

    def cut(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()


class PollingTransport(Transport):
    """Subclass with ``format``; ``check`` and ``content_type`` if they differ."""

    def format(self, frame: bytes, request: web.Request) -> bytes:
        """The body for one frame."""
        raise NotImplementedError

    async def handle(self, request: web.Request) -> web.StreamResponse:
        session = await self.obtain(request)
        receiver = PollReceiver(self.name, request)
        is_new = self.attach(session, receiver)
        frame = BUSY_FRAME if is_new is None else await self._fetch(session, receiver)
        if is_new:
            self.manager.open(session)
        body = self.format(frame, request)
        if len(body) <= SMALL:
            answer: web.StreamResponse = self.reply(request, body)
        else:
            answer = Answer(body, self.headers(request), self, session, receiver)
        if request.version < HttpVersion11:
            answer.force_close()
        return answer

    async def _fetch(self, session: Session, receiver: PollReceiver) -> bytes:
        # A poll of a client that has gone takes nothing: what waits is then counted as undelivered.
        error: ConnectionLost | None = None
        try:
            frame = session.take_frame(self.options.response_limit)
            while frame is None and session.receiver is receiver:
                await receiver.wait()
                if receiver.is_connected:
                    frame = session.take_frame(self.options.response_limit)
                else:
                    error = ConnectionLost("the client left while it polled")
                    break
        except asyncio.CancelledError:
            error = ConnectionLost("the request was cancelled")
            raise
        finally:
            # Before the answer is written, so that the client's next poll never comes too early.
            self.manager.release(session, receiver, error)
        return frame or b""


class Answer(web.Response):
    """A large answer to a poll. aiohttp writes it, when all middlewares have seen it, but not for ever."""

    def __init__(
        self,
        body: bytes,
        headers: CIMultiDict[str],
        transport: PollingTransport,
        session: Session,
        receiver: PollReceiver,
    ) -> None:
        super().__init__(body=body, headers=headers)
        self._slowness = 1 + len(body) // SMALL
        self._transport = transport
        self._session = session
        self._receiver = receiver

    async def write_eof(self, data: bytes = b"") -> None:
        """Write it; the session is interrupted where the client does not take it."""
        lost = await self._transport.complete(super().write_eof(data), self._receiver, self._slowness)
        if lost is not None:
            self._session.interrupt(INTERRUPTED, lost)
