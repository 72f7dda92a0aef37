"""The calls of the PyPI package ``sockjs`` 0.13: ``import sockbridge.compat.sockjs as sockjs``. Names only; no code.

Its modules have modules of the same name here: ``protocol``, ``session``, ``route``, ``exceptions``.
"""

from .exceptions import SessionIsAcquired, SessionIsClosed
from .protocol import Frame, MsgType, SessionState, SockjsMessage
from .route import add_endpoint, get_manager
from .session import Session, SessionManager

__all__ = [
    "Frame",
    "MsgType",
    "Session",
    "SessionIsAcquired",
    "SessionIsClosed",
    "SessionManager",
    "SessionState",
    "SockjsMessage",
    "add_endpoint",
    "get_manager",
]
