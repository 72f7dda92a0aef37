"""Shape 1, a request that is answered once: one frame, one response.

Knows: waiting for a frame, letting go of the session before the answer leaves.
Does not know: payload formats.
Spec: sockjs-protocol 0.3.3, "XhrPolling"; docs/conformance.md, section 3.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from ..errors import ConnectionLost, WriteTimeout
from ..sockjs.framing import INTERRUPTED
from ..sockjs.session import Session
from .base import BUSY_FRAME, Transport

SMALL: Final = 32 * 1024
"""Bytes that a connection always takes at once. A larger answer may take ``write_timeout`` for each of these."""


class PollReceiver:
    """A poll: fetches one frame, when there is one."""

    __slots__ = ("_request", "_woken", "transport")

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
    """Subclass with a ``format``; ``check`` and ``content_type`` if they differ."""

    def format(self, frame: bytes, request: web.Request) -> bytes:
        """The body for one frame."""
        raise NotImplementedError

    def check(self, request: web.Request) -> None:
        """Look at the query before a session is made.

        Raises:
            Refusal: it is not as it should be.
        """

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.check(request)
        session = await self.obtain(request)
        receiver = PollReceiver(self.name, request)
        is_new = self.attach(session, receiver)
        if is_new is None:
            return self._answer(BUSY_FRAME, request)
        frame = await self._fetch(session, receiver)
        if is_new:
            self.manager.open_soon(session)
        response = self._answer(frame, request)
        if len(frame) > SMALL:
            await self._write(response, session, receiver, request)
        return response

    async def _write(
        self, response: web.Response, session: Session, receiver: PollReceiver, request: web.Request
    ) -> None:
        # A large answer fills the peer's buffer, and may stay there: it is waited for here, and not for ever.
        body = response.body
        assert isinstance(body, bytes)
        self.manager.hold(receiver)
        try:
            async with asyncio.timeout(self.options.write_timeout * (1 + len(body) // SMALL)):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            receiver.cut()
            self.manager.leave(session, INTERRUPTED, WriteTimeout("the client did not take the answer to its poll"))
        except ConnectionError:
            self.manager.leave(session, INTERRUPTED, ConnectionLost("the client left in the middle of an answer"))
        finally:
            self.manager.let_go(receiver)

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

    def _answer(self, frame: bytes, request: web.Request) -> web.Response:
        response = web.Response(body=self.format(frame, request), headers=self.headers(request))
        if request.version < (1, 1):
            response.force_close()
        return response
