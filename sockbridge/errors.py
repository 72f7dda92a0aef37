"""Every exception of sockbridge, by whose fault it is.

Knows: codes and sentences.
Does not know: sessions, requests, frames; an exception carries strings and numbers only.

.. code-block:: text

    SockbridgeError
    ├── UsageError                  the application's fault; raised at the call
    │   ├── InvalidOption           mount() was given a value that is not allowed
    │   ├── InvalidCloseCode        close() was given a code that may not go on the wire
    │   ├── InvalidController       STOMP: a mapped function has a signature that cannot be served
    │   ├── InvalidFrame            STOMP client: a frame that cannot be said, or means nothing
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
    ├── ClientError                 a client of ours: the server or the network failed it; raised at its caller
    │   ├── ConnectFailed           there is no connection; `failures` says why, transport by transport
    │   │   └── NotSockJS           what answers at this URL is no SockJS server
    │   ├── SessionLost             the connection broke; `in_doubt` says which messages may not have arrived
    │   │   └── InDoubt             STOMP: it broke before the server confirmed this one
    │   ├── StompError              STOMP: the server sent an ERROR, and the connection ended
    │   │   └── LoginRefused        it was the answer to CONNECT
    │   ├── ReceiptTimeout          STOMP: the server did not confirm in time; the connection stays
    │   ├── StaleMessage            STOMP: what is to be acknowledged came by a connection that is gone
    │   └── BadPayload              STOMP: the body of a message is not what the application reads it as
    └── Refused                     the server's answer to a request or receiver that it does not serve
        ├── SessionBusy             another receiver is attached (the client is told 2010)
        ├── TooManySessions         max_sessions are open
        ├── EndpointClosed          the server is shutting down, or was never started
        └── QueueFull               STOMP: a queue of the broker has no room for a message
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType


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


class InvalidFrame(UsageError, ValueError):
    """A STOMP client of ours is to send what cannot be said: a header with a line's end in 1.0, octets over SockJS; or
    what means nothing: the ACK of a message that needs none. Nothing was sent."""


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


class ClientError(SockbridgeError):
    """The server or the network failed a client of ours; raised at whoever uses the client."""


class ConnectFailed(ClientError):
    """There is no connection. The text says what was found and what to try.

    Attributes:
        failures: why each transport that was tried did not work, in the order of trying; empty if none was tried.
    """

    def __init__(self, text: str, failures: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(text)
        self.failures = failures


class NotSockJS(ConnectFailed):
    """What answers at this URL is no SockJS server."""


class SessionLost(ClientError):
    """The connection broke without a goodbye.

    Attributes:
        in_doubt: messages that were on their way: some of them may have arrived, in order, the others not.
        undelivered: messages that waited behind them; none of these has left.
    """

    def __init__(
        self, text: str, in_doubt: Sequence[str | bytes] = (), undelivered: Sequence[str | bytes] = ()
    ) -> None:
        super().__init__(text)
        self.in_doubt = tuple(in_doubt)
        self.undelivered = tuple(undelivered)


class InDoubt(SessionLost):
    """The connection broke before the server confirmed this frame: it may have been served, or not.

    It is not sent again by itself. The client may have connected again meanwhile (``reconnect``).

    Attributes:
        in_doubt: the body of a SEND; empty for other frames.
    """


class StompError(ClientError):
    """The server sent an ERROR, and the connection ended by it. Raised at everybody who waits for something.

    Its text is fit for a log: one line, not too long, what cannot be printed escaped. The attributes hold what came.

    Attributes:
        message: the fault in a few words; may be empty.
        body: more of it; may be empty.
        headers: all of them.
        is_this_frame: its ``receipt-id`` names the frame of the call that raises it, so that was not served. False: it
            names another one, or none, and what became of this frame is not known.
    """

    def __init__(
        self,
        message: str,
        body: str = "",
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        is_this_frame: bool = False,
    ) -> None:
        super().__init__(_one_line(f"{message[:500]}: {body[:500]}" if body else message[:500]))
        self.is_this_frame = is_this_frame
        self.message = message
        self.body = body
        self.headers = headers


class LoginRefused(StompError):
    """The answer to CONNECT was an ERROR. Trying again with the same login is of no use."""


class ReceiptTimeout(ClientError):
    """The server did not confirm a frame within ``timeout``, or took nothing for so long.

    Attributes:
        was_sent: False: there was no room for the frame, and it never left. True: it may still be served.
    """

    def __init__(self, text: str, *, was_sent: bool = True) -> None:
        super().__init__(text)
        self.was_sent = was_sent


class StaleMessage(ClientError):
    """A message came by a connection that is gone: nobody waits for its ACK, and a queue gives it out again."""


class BadPayload(ClientError):
    """The body of a message is no text, no JSON, or not of the type that is asked for."""


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


def _one_line(text: str) -> str:
    # What a server wrote cannot end the line of a log, or colour a terminal.
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
