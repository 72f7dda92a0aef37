"""What a handler in the style of the package ``sockjs`` is told, as values.

Knows: the names and values of the package's enumerations; what parts of a frame mean.
Does not know: sessions, who tells.
Spec: the package ``sockjs`` 0.13, ``protocol``; docs/compat.md.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


@enum.unique
class SessionState(enum.Enum):
    """Where a session stands: made, in use, ending, over."""

    NEW = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


@enum.unique
class MsgType(enum.Enum):
    """What a handler is called for.

    ``OPEN`` comes once, ``MESSAGE`` any number of times, ``CLOSE`` at most once (the client or the network has ended
    the session), ``CLOSED`` once, at the very end.
    """

    OPEN = 1
    MESSAGE = 2
    CLOSE = 3
    CLOSED = 4


@enum.unique
class Frame(enum.Enum):
    """How frames to the client begin. ``MESSAGE_BLOB`` is not on the wire: it marks a frame that is worded already."""

    OPEN = "o"
    CLOSE = "c"
    MESSAGE = "a"
    MESSAGE_BLOB = "a1"
    HEARTBEAT = "h"


@dataclass(frozen=True)
class SockjsMessage:
    """What a handler gets with each call.

    Attributes:
        type: what has happened.
        data: the text of a ``MESSAGE``; of a ``CLOSE`` why the connection broke, or None after a goodbye; else None.
    """

    type: MsgType
    data: str | Exception | None

    @property
    def tp(self) -> MsgType:
        """``type``, by its older name."""
        return self.type


OPEN_MESSAGE: Final = SockjsMessage(MsgType.OPEN, None)
CLOSE_MESSAGE: Final = SockjsMessage(MsgType.CLOSE, None)
CLOSED_MESSAGE: Final = SockjsMessage(MsgType.CLOSED, None)
