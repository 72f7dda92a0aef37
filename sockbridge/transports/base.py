"""What every transport is: a name, a method, and the way in.

Knows: how a request finds or opens its session, and what a receiver that comes second is told.
Does not know: any concrete transport; payload formats.
Spec: sockjs-protocol 0.3.3, SessionURLs; docs/conformance.md, sections 1 and 5.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import ClassVar, Final

from aiohttp import web
from multidict import CIMultiDict

from ..errors import ConnectionLost, Refused, WriteTimeout
from ..options import Options
from ..sockjs.framing import ANOTHER_CONNECTION, close_frame
from ..sockjs.manager import Cuttable, SessionManager
from ..sockjs.session import Receiver, Session
from .admission import Admission
from .answer import Heads
from .callback import check_callback
from .headers import JAVASCRIPT, answer_headers, method_not_allowed, preflight
from .receiver import TurnEnd

logger = logging.getLogger("sockbridge.transports")

BUSY_FRAME: Final = close_frame(ANOTHER_CONNECTION)


class Refusal(Exception):
    """A request is answered at once with ``response``; ``respond`` catches it."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


class Transport:
    """One URL under ``/{server}/{session}/``. Subclass a shape (polling, streaming, sending), not this.

    Attributes:
        name: last segment of the URL, ``session.transport``, and the name in the ``transports`` option.
        method: the one HTTP method that it takes.
        content_type: of its answers, with charset.
        cors: other origins may use it by script: CORS headers, and OPTIONS is answered.
        needs_open_origins: its origin cannot be checked, so it is served only with ``allowed_origins="*"``.
        is_websocket: switched off by ``websocket=False``.
        path: its URL below the mounted one if it is not ``/{server}/{session}/{name}``.
    """

    name: ClassVar[str]
    method: ClassVar[str] = "GET"
    content_type: ClassVar[str] = JAVASCRIPT
    cors: ClassVar[bool] = False
    needs_open_origins: ClassVar[bool] = False
    is_websocket: ClassVar[bool] = False
    path: ClassVar[str | None] = None

    def __init__(self, manager: SessionManager, admission: Admission, options: Options) -> None:
        self.manager = manager
        self.admission = admission
        self.options = options
        self.turn_end = TurnEnd()
        is_plain = type(self).headers is Transport.headers and not options.jsessionid
        self._heads = {status: Heads(status, self.headers, depend_on_origin_alone=is_plain) for status in (200, 204)}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request of this transport's method whose origin is allowed.

        Raises:
            Refusal: answered with something else.
            ConnectionLost: the client has gone meanwhile.
        """
        raise NotImplementedError

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Answer any request to this transport's URL."""
        method = request.method
        if method != self.method and not (method == "OPTIONS" and self.cors):
            return method_not_allowed(self.method, *(["OPTIONS"] if self.cors else []))
        refusal = self.admission.refusal(request)
        if refusal is not None:
            return refusal
        if method == "OPTIONS":
            return preflight(request, self.method, self.options.jsessionid)
        try:
            return await self.handle(request)
        except Refusal as refused:
            return refused.response
        except ConnectionLost:  # the client left before it was answered; nobody reads this
            return web.Response()

    def check(self, request: web.Request) -> None:
        """Look at the query, before a session is made.

        Raises:
            Refusal: it is not as it should be.
        """

    # For the shapes.

    def headers(self, request: web.Request) -> CIMultiDict[str]:
        """The headers of an answer: type, no caching, cookie, CORS. Extend it to add some."""
        headers = answer_headers(request, self.content_type, self.options.jsessionid)
        if self.cors:
            self.admission.add_cors(headers, request)
        return headers

    def reply(self, request: web.Request, body: bytes = b"", status: int = 200) -> web.StreamResponse:
        """A whole answer, with ``headers``; to be returned from ``handle``.

        Args:
            status: 200, or 204, which has no body.
        """
        return self._heads[status].answer(request, body)

    async def obtain(self, request: web.Request) -> Session:
        """The session that a receiving request means, opened if it is new.

        Raises:
            ConnectionLost: the client has gone meanwhile.
            Refusal: what ``check`` found, 404 if it is somebody else's, 503 if there is no room.
            web.HTTPException: ``authenticate`` refused.
        """
        self.check(request)
        url_id = request.match_info["session"]
        session = self.manager.find(url_id)
        if session is None:
            principal = None
            if self.options.authenticate is not None:
                principal = await self.admission.authenticate(request)
                session = self.manager.find(url_id)  # another request may have opened it meanwhile
            if request.transport is None:
                raise ConnectionLost("the client left before its session was opened")
            if session is None:
                try:
                    session = self.manager.create(self.admission.handshake(request, principal), url_id=url_id)
                except Refused:
                    raise Refusal(self.unavailable(request)) from None
                return session
        if self.options.authenticate is not None:
            await self._check_owner(request, session)
        return session

    async def find(self, request: web.Request) -> Session:
        """The session that a sending request means.

        Raises:
            Refusal: 404 if it is unknown, or somebody else's.
        """
        session = self.manager.find(request.match_info["session"])
        if session is None:
            logger.debug(
                "%s for a session that is unknown here: it has expired, or there are several workers or hosts "
                "and the load balancer does not keep a client on one of them",
                self.name,
            )
            raise Refusal(self.admission.error(request, 404, "Session not found.\n"))
        if self.options.authenticate is not None:
            await self._check_owner(request, session)
        return session

    def attach(self, session: Session, receiver: Receiver) -> bool | None:
        """Let ``receiver`` carry ``session``; what a second one meets is written here once for all transports.

        Returns:
            True if this opened the session, False if it continues it, None if ``receiver`` came second (or, by a
            hair, after the end) and is to be told ``BUSY_FRAME``.
        """
        try:
            return self.manager.attach(session, receiver)
        except Refused:
            return None

    async def complete(
        self, writing: Awaitable[None], connection: Cuttable, slowness: int = 1
    ) -> ConnectionLost | None:
        """Write the rest of an answer that the client may not take: not for ever, nor when the server stops.

        Args:
            writing: what writes it.
            connection: what is cut if it takes too long.
            slowness: how many times ``write_timeout`` it may take.

        Returns:
            Why it was not taken, or None.
        """
        with self.manager.holding(connection):
            try:
                async with asyncio.timeout(self.options.write_timeout * slowness):
                    await writing
            except TimeoutError:
                connection.cut()
                return WriteTimeout("the client did not take the end of an answer")
            except ConnectionError:
                return ConnectionLost("the client left in the middle of an answer")
        return None

    def callback(self, request: web.Request) -> str:
        """The name of the script callback in the query, for transports that answer with a script.

        Raises:
            Refusal: 500, there is none or it is not harmless.
        """
        name = request.query.get("c") or request.query.get("callback") or ""
        fault = check_callback(name)
        if fault is not None:
            raise Refusal(self.admission.error(request, 500, fault + "\n"))
        return name

    def unavailable(self, request: web.Request) -> web.Response:
        """503: the server has no room, or stops."""
        response = self.admission.error(request, 503, "Service unavailable.\n")
        response.headers["Retry-After"] = "5"
        return response

    async def _check_owner(self, request: web.Request, session: Session) -> None:
        if not await self.admission.is_owner(request, session):
            logger.warning("session %s: a request from another principal was refused", session.id)
            raise Refusal(self.admission.error(request, 404, "Session not found.\n"))
