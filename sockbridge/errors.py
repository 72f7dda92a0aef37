"""Every exception of sockbridge, by whose fault it is.

Knows: codes and sentences.
Does not know: sessions, requests, frames; an exception carries strings and numbers only.

.. code-block:: text

    SockbridgeError
    ├── UsageError                  the application's fault; raised at the call
    │   ├── InvalidOption           mount() was given a value that is not allowed
    │   ├── InvalidCloseCode        close() was given a code that may not go on the wire
    │   ├── InvalidController       STOMP: a mapped function has a signature that cannot be served
    │   └── SessionClosed           waited for a session that has ended
    ├── RemoteError                 the client's or the network's fault; never raised at the application,
    │   │                           but handed to its on_transport_error
    │   ├── ProtocolError           what came in breaks the protocol
    │   │   ├── PayloadExpected     a body without messages, or JSON of the wrong shape
    │   │   ├── BrokenJSON          not JSON at all
    │   │   ├── MessageTooBig       more than max_message_size
    │   │   └── BadFrame            STOMP: a frame against the grammar, the order of frames or a limit
    │   │       └── UnsupportedVersion   no version in common
    │   ├── ConnectionLost          the connection ended without a goodbye
    │   │   ├── PongTimeout         a websocket ping stayed unanswered for pong_timeout
    │   │   ├── WriteTimeout        the peer took nothing for write_timeout
    │   │   └── HeartBeatTimeout    STOMP: the client sent nothing for too long
    │   ├── SendBufferOverflow      the peer did not take its messages in time
    │   ├── AccessRefused           STOMP: not allowed to connect, subscribe or send; applications raise it too
    │   └── Unserved                STOMP: a frame in order that the application did not serve
    │       ├── UnknownDestination  nobody serves it
    │       ├── PayloadInvalid      its body or headers are not of the types that the handler wants
    │       └── HandlerFailed       the handler raised an exception
    └── Refused                     the server's answer to a request or receiver that it does not serve
        ├── SessionBusy             another receiver is attached (the client is told 2010)
        ├── TooManySessions         max_sessions are open
        ├── EndpointClosed          the server is shutting down, or was never started
        └── QueueFull               STOMP: a queue of the broker has no room for a message
"""

from __future__ import annotations


class SockbridgeError(Exception):
    """Base of all errors of sockbridge; never raised itself."""


class UsageError(SockbridgeError):
    """The application asked for something that cannot be done."""


class InvalidOption(UsageError, ValueError):
    """An option of ``mount`` has a value that is not allowed; the text says which are."""


class InvalidCloseCode(UsageError, ValueError):
    """A close code outside 1000-1003, 1007-1011 and 3000-4999, or a reason that is too long."""


class InvalidController(UsageError, TypeError):
    """A function is mapped whose parameters cannot be served, or under a destination that is taken."""


class SessionClosed(UsageError):
    """The session has ended, so there is nothing to wait for.

    Attributes:
        code: the close code of the session.
        reason: the close reason of the session.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the session is closed ({code} {reason})")
        self.code = code
        self.reason = reason


class RemoteError(SockbridgeError):
    """The client or the network is at fault; the application is told, not interrupted."""


class ProtocolError(RemoteError):
    """What came in breaks the protocol; nothing of it reached the application."""


class PayloadExpected(ProtocolError):
    """The body holds no messages: it is empty, or JSON that is no array of strings."""

    def __init__(self) -> None:
        super().__init__("Payload expected.")


class BrokenJSON(ProtocolError):
    """The body is not JSON, or not UTF-8."""

    def __init__(self) -> None:
        super().__init__("Broken JSON encoding.")


class MessageTooBig(ProtocolError):
    """A body or a websocket message is larger than ``max_message_size``.

    Attributes:
        limit: the limit that was passed, in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"Message exceeds the limit of {limit} bytes.")
        self.limit = limit


class BadFrame(ProtocolError):
    """A STOMP frame breaks the grammar, comes at the wrong time, or passes a limit. The connection ends by it.

    Attributes:
        message: the fault in a few words, for the ``message`` header of an ERROR.
        detail: more of it, for the body; may be empty.
        receipt: the receipt that a frame asked for which nobody else will see, as the client wrote it; None if it asked
            for none, or where it could not be read.
    """

    def __init__(self, message: str, detail: str = "", receipt: str | None = None) -> None:
        super().__init__(f"{message}: {detail}" if detail else message)
        self.message = message
        self.detail = detail
        self.receipt = receipt


class UnsupportedVersion(BadFrame):
    """A STOMP client speaks no version that the server speaks.

    Attributes:
        supported: what the server speaks, e.g. ``"1.0,1.1,1.2"``.
    """

    def __init__(self, supported: str, wanted: str) -> None:
        super().__init__("unsupported version", f"supported are {supported}, not {wanted}")
        self.supported = supported


class ConnectionLost(RemoteError):
    """The connection that carried the session ended without a goodbye."""


class PongTimeout(ConnectionLost):
    """A websocket peer did not answer a ping within ``pong_timeout``."""


class WriteTimeout(ConnectionLost):
    """A peer took no bytes for ``write_timeout``."""


class HeartBeatTimeout(ConnectionLost):
    """A STOMP client sent nothing for twice the time that it had promised a heart-beat for."""


class SendBufferOverflow(RemoteError):
    """More than ``send_buffer_limit`` bytes wait for a peer that does not take them.

    Attributes:
        limit: the limit that was passed, in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than send_buffer_limit ({limit} bytes) waited for the client")
        self.limit = limit


class AccessRefused(RemoteError):
    """A STOMP client may not do this; it gets the text in an ERROR, and its connection ends.

    Applications may raise it in ``authenticate``, in interceptors and in controllers; the client sees the text.
    """


class Unserved(RemoteError):
    """A STOMP frame in order could not be served. The connection stays, unless the client asked for a receipt."""


class UnknownDestination(Unserved):
    """No controller and no broker serves this destination."""


class PayloadInvalid(Unserved):
    """A body, header or destination variable is not of the type that the handler declares."""


class HandlerFailed(Unserved):
    """A controller raised an exception, and no exception handler is declared for it."""


class Refused(SockbridgeError):
    """The server does not serve this request or receiver; nothing else is touched by it."""


class SessionBusy(Refused):
    """The session has a receiver already; this one is to be told 2010."""


class TooManySessions(Refused):
    """The endpoint holds ``max_sessions`` sessions."""


class EndpointClosed(Refused):
    """The endpoint takes no sessions: its application shuts down, or has not started."""


class QueueFull(Refused):
    """A queue of the broker has no room for a message; the text names the limit.

    A client is told by ERROR, and its connection ends. ``messaging.send`` raises it: try again later, or raise the
    limit.
    """
