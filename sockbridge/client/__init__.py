"""A client for SockJS servers. The names that applications import; no code."""

from .backoff import Backoff
from .connecting import Connecting, connect
from .options import TRANSPORTS, Break, ClientOptions
from .session import Session

__all__ = ["TRANSPORTS", "Backoff", "Break", "ClientOptions", "Connecting", "Session", "connect"]
