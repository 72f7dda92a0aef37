"""Tells a handler in the style of the package ``sockjs`` what our engine tells a ``SessionHandler``.

=========================================== ==================================================
the engine calls                            the handler is told
=========================================== ==================================================
``on_connected``                            ``OPEN``; if that fails, 3000 ends the session
``on_message``                              ``MESSAGE``; if that fails, the session goes on
``on_transport_error``                      nothing yet
``on_closed``, the application has closed   ``CLOSED``
``on_closed`` otherwise                     ``CLOSE``, with the transport's error if there was one; then ``CLOSED``
=========================================== ==================================================

Knows: both kinds of handler, which call becomes which.
Does not know: HTTP, how an endpoint is mounted.
Spec: docs/compat.md.
"""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from ...errors import RemoteError
from ...sockjs.framing import Close, CloseCode, Message
from ...sockjs.handler import SessionHandler
from ...sockjs.session import Session as EngineSession
from .protocol import CLOSED_MESSAGE, OPEN_MESSAGE, MsgType, SockjsMessage
from .session import Session, SessionManager

logger = logging.getLogger("sockbridge.compat")

SUFFIX: Final = 8
"""Characters that tell apart two sessions with the same id in their URLs, as with the package."""


@dataclass(frozen=True, slots=True, eq=False)
class Visitor:
    """Who opens a session: the principal of the endpoint.

    Attributes:
        request: the request (``aiohttp.web.Request``), which handlers look at.
        principal: by whom visitors are told apart; None where all are one.
    """

    request: Any  # aiohttp is not known here
    principal: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Visitor) and self.principal == other.principal

    __hash__ = None  # type: ignore[assignment]  # a principal need not have one


class Bridge(SessionHandler):
    """The engine's handler that calls the handler of ``manager``."""

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager
        self._sessions: dict[EngineSession, tuple[str, Session]] = {}  # with the key of the manager's table

    async def on_connected(self, session: EngineSession) -> None:
        shown = self._show(session)
        error = await self._tell(shown, OPEN_MESSAGE)
        if error is not None:
            shown.break_off(error)
            shown.close(CloseCode.GO_AWAY, "Internal error")

    async def on_message(self, session: EngineSession, message: Message) -> None:
        if not isinstance(message, str):
            logger.warning("session %s: a binary message of %d bytes was dropped", session.id, len(message))
            return
        _, shown = self._sessions[session]
        await self._tell(shown, SockjsMessage(MsgType.MESSAGE, message))

    async def on_transport_error(self, session: EngineSession, error: RemoteError) -> None:
        if session in self._sessions:
            _, shown = self._sessions[session]
            shown.break_off(error)

    async def on_closed(self, session: EngineSession, close: Close) -> None:
        if session not in self._sessions:  # the factory failed
            return
        key, shown = self._sessions.pop(session)
        try:
            if not shown.is_ended_here:
                await self._tell(shown, SockjsMessage(MsgType.CLOSE, shown.exception))
            shown.finish()
            await self._tell(shown, CLOSED_MESSAGE)
        finally:
            shown.finish()
            self._manager.sessions.pop(key, None)  # the application may have been there before

    def _show(self, session: EngineSession) -> Session:
        manager, visitor = self._manager, session.handshake.principal
        assert isinstance(visitor, Visitor)
        id = unquote(visitor.request.match_info.get("session", session.id))
        if id in manager.sessions:
            id = f"{id}-{session.id[:SUFFIX]}"
        shown = manager.factory(
            id,
            heartbeat_delay=manager.heartbeat_delay,
            disconnect_delay=manager.disconnect_delay,
            debug=manager.debug,
        )
        shown.bind(session, visitor.request)
        manager.sessions[id] = shown
        self._sessions[session] = id, shown
        return shown

    async def _tell(self, session: Session, message: SockjsMessage) -> Exception | None:
        # Returns what the handler raised: it goes no further, as with the package.
        try:
            result = self._manager.handler(self._manager, session, message)
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            logger.exception("%r: the handler failed in %s", session, message.type.name)
            return error
        return None
