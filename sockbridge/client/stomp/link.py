"""What carries a STOMP conversation, and a SockJS session or plain websocket as one.

Knows: the four verbs; what a session's end means for the conversation.
Does not know: frames of STOMP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...errors import SessionClosed, SessionLost
from ...sockjs.framing import Binary, Message
from ...stomp.frame import printable
from ..options import RAW_WEBSOCKET, RETURNING
from ..session import Session


class LinkEnded(Exception):
    """The connection has ended; the text says how.

    Attributes:
        may_return: False if the server wants no more of us.
        in_doubt: what was on its way.
        undelivered: what has not left.
    """

    def __init__(
        self,
        text: str,
        *,
        may_return: bool = True,
        in_doubt: Sequence[Message] = (),
        undelivered: Sequence[Message] = (),
    ) -> None:
        super().__init__(text)
        self.may_return = may_return
        self.in_doubt = tuple(in_doubt)
        self.undelivered = tuple(undelivered)


class Link(Protocol):
    """One connection that carries STOMP."""

    @property
    def transport(self) -> str:
        """What it is, in a word."""
        ...

    @property
    def is_text(self) -> bool:
        """It carries text only: octets that are none cannot be sent."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent."""
        ...

    async def send(self, octets: bytes) -> None:
        """Send a frame, in the order of the calls; waits for room first. Who is cancelled meanwhile has sent nothing.

        Args:
            octets: the frame; ``Binary`` where it is to travel as such.

        Raises:
            LinkEnded: the connection has ended.
        """
        ...

    async def receive(self) -> Message:
        """What comes next, whole frames or not; waits for it.

        Raises:
            LinkEnded: nothing will come.
        """
        ...

    async def close(self) -> None:
        """Say goodbye, free everything. Never raises; may be called twice."""
        ...


class SessionLink:
    """A session of our client: SockJS, or a plain websocket."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def transport(self) -> str:
        """As ``Link.transport``."""
        return self._session.transport

    @property
    def is_text(self) -> bool:
        """As ``Link.is_text``."""
        return self._session.transport != RAW_WEBSOCKET

    @property
    def buffered(self) -> int:
        """As ``Link.buffered``: what is not confirmed as well."""
        return self._session.buffered

    async def send(self, octets: bytes) -> None:
        """As ``Link.send``."""
        message = bytes(octets) if isinstance(octets, Binary) and not self.is_text else octets.decode()
        try:
            await self._session.send(message)
        except (SessionClosed, SessionLost) as error:
            raise _ended(error) from error

    async def receive(self) -> Message:
        """As ``Link.receive``."""
        try:
            return await self._session.receive()
        except (SessionClosed, SessionLost) as error:
            raise _ended(error) from error

    async def close(self) -> None:
        """As ``Link.close``."""
        await self._session.close()


def _ended(error: SessionClosed | SessionLost) -> LinkEnded:
    if isinstance(error, SessionLost):
        return LinkEnded(printable(error), in_doubt=error.in_doubt, undelivered=error.undelivered)
    told = f"{error.code} {printable(error.reason)}".rstrip()
    return LinkEnded(f"the server closed the connection ({told})", may_return=error.code in RETURNING)
