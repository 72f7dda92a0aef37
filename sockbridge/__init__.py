"""sockbridge: SockJS sessions on aiohttp. The names that an application imports; no code."""

from .endpoint import Endpoint, mount
from .errors import (
    BrokenJSON,
    ConnectionLost,
    EndpointClosed,
    InvalidCloseCode,
    InvalidOption,
    MessageTooBig,
    PayloadExpected,
    PongTimeout,
    ProtocolError,
    Refused,
    RemoteError,
    SendBufferOverflow,
    SessionBusy,
    SessionClosed,
    SockbridgeError,
    TooManySessions,
    UsageError,
    WriteTimeout,
)
from .options import Options
from .sockjs.framing import FRAMED, RAW, Close, CloseCode, Framing, Message
from .sockjs.handler import SessionHandler
from .sockjs.handshake import Handshake
from .sockjs.manager import Counters
from .sockjs.session import Session, State
from .transports import DEFAULT_TRANSPORTS

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_TRANSPORTS",
    "FRAMED",
    "RAW",
    "BrokenJSON",
    "Close",
    "CloseCode",
    "ConnectionLost",
    "Counters",
    "Endpoint",
    "EndpointClosed",
    "Framing",
    "Handshake",
    "InvalidCloseCode",
    "InvalidOption",
    "Message",
    "MessageTooBig",
    "Options",
    "PayloadExpected",
    "PongTimeout",
    "ProtocolError",
    "Refused",
    "RemoteError",
    "SendBufferOverflow",
    "Session",
    "SessionBusy",
    "SessionClosed",
    "SessionHandler",
    "SockbridgeError",
    "State",
    "TooManySessions",
    "UsageError",
    "WriteTimeout",
    "mount",
]
