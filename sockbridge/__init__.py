"""sockbridge: SockJS sessions on aiohttp. The names that an application imports; no code."""

from .endpoint import Endpoint, mount
from .errors import (
    AccessRefused,
    BadFrame,
    BrokenJSON,
    ConnectionLost,
    EndpointClosed,
    HandlerFailed,
    HeartBeatTimeout,
    InvalidCloseCode,
    InvalidController,
    InvalidOption,
    MessageTooBig,
    PayloadExpected,
    PayloadInvalid,
    PongTimeout,
    ProtocolError,
    QueueFull,
    Refused,
    RemoteError,
    SendBufferOverflow,
    SessionBusy,
    SessionClosed,
    SockbridgeError,
    TooManySessions,
    UnknownDestination,
    Unserved,
    UnsupportedVersion,
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
    "AccessRefused",
    "BadFrame",
    "BrokenJSON",
    "Close",
    "CloseCode",
    "ConnectionLost",
    "Counters",
    "Endpoint",
    "EndpointClosed",
    "Framing",
    "HandlerFailed",
    "Handshake",
    "HeartBeatTimeout",
    "InvalidCloseCode",
    "InvalidController",
    "InvalidOption",
    "Message",
    "MessageTooBig",
    "Options",
    "PayloadExpected",
    "PayloadInvalid",
    "PongTimeout",
    "ProtocolError",
    "QueueFull",
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
    "UnknownDestination",
    "Unserved",
    "UnsupportedVersion",
    "UsageError",
    "WriteTimeout",
    "mount",
]
