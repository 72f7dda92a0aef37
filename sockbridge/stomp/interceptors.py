"""Hooks around every frame, in and out.

Knows: their order.
Does not know: what they are used for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from .connection import StompConnection, Watch
from .frame import Frame

logger = logging.getLogger("sockbridge.stomp")


class Inbound(Protocol):
    """Sees every frame of a client before the server does."""

    async def __call__(self, connection: StompConnection, frame: Frame) -> Frame | None:
        """Returns the frame to go on with; None drops it."""
        ...


class Interceptor:
    """Override what you need; each hands the frame on.

    Heart-beats pass by unseen. Interceptors are called in the order of the list for what comes in, and in the
    opposite order for what goes out.
    """

    async def inbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
        """A client has sent ``frame``; what is returned goes on in its place.

        Returns:
            the frame, which may be changed; None drops it, and its receipt is then not answered (a CONNECT that is
            dropped is refused).

        Raises:
            AccessRefused: the client gets the text in an ERROR, and its connection ends.
        """
        return frame

    def outbound(self, connection: StompConnection, frame: Frame) -> Frame | None:
        """``frame`` is about to be sent to one client: called once per recipient, so a plain function.

        Returns:
            the frame to send, for which ``dataclasses.replace`` is good; None sends nothing.
        """
        return frame


def inbound_of(interceptors: Sequence[Interceptor]) -> list[Inbound]:
    """Those that want to see what comes in."""
    return [one.inbound for one in interceptors if type(one).inbound is not Interceptor.inbound]


def outbound_of(interceptors: Sequence[Interceptor]) -> Watch | None:
    """One function for all that want to see what goes out; None where nobody does."""
    watches = [one.outbound for one in reversed(interceptors) if type(one).outbound is not Interceptor.outbound]
    if not watches:
        return None

    def watch(connection: StompConnection, frame: Frame) -> Frame | None:
        for one in watches:
            try:
                seen = one(connection, frame)
            except Exception:  # the application's; nobody else's messages may fail by it, and nothing goes out unseen
                logger.exception("connection %s: an interceptor failed for %s", connection.id, frame.command)
                return None
            if seen is None:
                return None
            if not _is_frame(seen):
                logger.error("connection %s: an interceptor made no frame of %s", connection.id, frame.command)
                return None
            frame = seen
        return frame

    return watch


def _is_frame(value: object) -> bool:
    # Whatever else would break the words of others as well: the publisher's, or those behind it on the wire.
    return (
        isinstance(value, Frame)
        and isinstance(value.body, bytes)
        and all(
            isinstance(name, str) and isinstance(text, str) and name and "\0" not in name + text
            for name, text in value.headers.items()
        )
    )
