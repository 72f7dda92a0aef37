"""A STOMP frame as a value: command, headers, body; and the words of the protocol.

Knows: the commands and header names of STOMP 1.0, 1.1 and 1.2.
Does not know: how frames look on the wire; who sends them.
Spec: STOMP 1.2, "STOMP Frames", "Standard Headers", "Client Frames", "Server Frames".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ..errors import BadFrame, UnsupportedVersion


class Version(enum.StrEnum):
    """The versions of the protocol, as ``accept-version`` and ``version`` spell them."""

    V1_0 = "1.0"
    V1_1 = "1.1"
    V1_2 = "1.2"


def choose_version(accepted: str | None) -> Version:
    """The highest version that both sides speak; 1.0 for a client that names none.

    Raises:
        UnsupportedVersion: there is none.
    """
    if accepted is None:
        return Version.V1_0
    wanted = {item.strip() for item in accepted.split(",")}
    common = [version for version in Version if version.value in wanted]
    if not common:
        raise UnsupportedVersion(",".join(Version), ascii(accepted[:100]))
    return common[-1]


class Command(enum.StrEnum):
    """The first line of a frame. Commands are case sensitive."""

    CONNECT = "CONNECT"
    STOMP = "STOMP"
    CONNECTED = "CONNECTED"
    SEND = "SEND"
    SUBSCRIBE = "SUBSCRIBE"
    UNSUBSCRIBE = "UNSUBSCRIBE"
    ACK = "ACK"
    NACK = "NACK"
    BEGIN = "BEGIN"
    COMMIT = "COMMIT"
    ABORT = "ABORT"
    DISCONNECT = "DISCONNECT"
    MESSAGE = "MESSAGE"
    RECEIPT = "RECEIPT"
    ERROR = "ERROR"


class AckMode(enum.StrEnum):
    """How a subscription acknowledges what it gets."""

    AUTO = "auto"
    CLIENT = "client"
    CLIENT_INDIVIDUAL = "client-individual"


COMMANDS: Final[Mapping[str, Command]] = {command.value: command for command in Command}

WITH_BODY: Final = frozenset({Command.SEND, Command.MESSAGE, Command.ERROR})
"""Only these may have a body; STOMP 1.2, "Body"."""

UNESCAPED: Final = frozenset({Command.CONNECT, Command.STOMP, Command.CONNECTED})
"""The headers of these are never escaped, as the version is not known yet; STOMP 1.2, "Value Encoding"."""

ACCEPT_VERSION: Final = "accept-version"
ACK: Final = "ack"
CLIENT_ID: Final = "client-id"
CONTENT_LENGTH: Final = "content-length"
CONTENT_TYPE: Final = "content-type"
DESTINATION: Final = "destination"
HEART_BEAT: Final = "heart-beat"
ID: Final = "id"
LOGIN: Final = "login"
MESSAGE: Final = "message"
MESSAGE_ID: Final = "message-id"
PASSCODE: Final = "passcode"
RECEIPT: Final = "receipt"
RECEIPT_ID: Final = "receipt-id"
REPLY_TO: Final = "reply-to"
REQUEUE: Final = "requeue"
SUBSCRIPTION: Final = "subscription"
TRANSACTION: Final = "transaction"
USER_NAME: Final = "user-name"
VERSION: Final = "version"

HARMLESS: Final = frozenset({ACCEPT_VERSION, CLIENT_ID, HEART_BEAT, "host", LOGIN, RECEIPT})
"""Headers of a CONNECT that hold no secret."""

RESERVED: Final = frozenset(
    {
        ACK,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        DESTINATION,
        LOGIN,
        MESSAGE_ID,
        PASSCODE,
        RECEIPT,
        RECEIPT_ID,
        "redelivered",
        SUBSCRIPTION,
        TRANSACTION,
        USER_NAME,
        "x-delivery-count",
        "x-epoch",
        "x-first-death-count",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-missed",
        "x-offset",
    }
)
"""Headers of a MESSAGE that the server sets, or that mean the sender's own session: a client's SEND cannot set them."""


_BLANKS: Final = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\ufeff"


def trimmed(text: str) -> str:
    """A name or a value as clients in the field see it: they drop blanks around it."""
    return text.strip(_BLANKS)


def is_reserved(name: str) -> bool:
    """Is the header ``name`` the server's own? Blanks around it count for nothing."""
    return trimmed(name) in RESERVED


@dataclass(slots=True)
class Frame:
    """One frame.

    Attributes:
        command: what it is.
        headers: name to value, unescaped, in the order of the wire; of repeated ones the first.
        body: octets; empty where there is none.
        raw: values that stand on the wire otherwise than escaping would write them, by name. Clients that never
            escape get their own ``id`` and ``receipt`` back as they wrote them. None where there are none.
    """

    command: Command
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        headers = self.headers
        if self.command in (Command.CONNECT, Command.STOMP):  # passcode and tokens are not for logs
            headers = {name: value if name in HARMLESS else "..." for name, value in headers.items()}
        return f"Frame({self.command}, {headers!r}, {self.body!r})"

    @property
    def destination(self) -> str:
        """The ``destination`` header; "" where there is none."""
        return self.headers.get(DESTINATION, "")

    @property
    def receipt(self) -> str | None:
        """The receipt that the client asks for; None if it asks for none."""
        return self.headers.get(RECEIPT)

    @property
    def written_receipt(self) -> str | None:
        """The same, as the client wrote it."""
        return self.verbatim(RECEIPT) if RECEIPT in self.headers else None

    def verbatim(self, name: str) -> str:
        """The header ``name`` as the client wrote it; "" where there is none."""
        return (self.raw or {}).get(name) or self.headers.get(name, "")


def require(frame: Frame, name: str) -> str:
    """The header ``name``.

    Raises:
        BadFrame: it is missing or empty.
    """
    value = frame.headers.get(name)
    if not value:
        raise BadFrame(f"{frame.command} without {name}")
    return value


def printable(value: object) -> str:
    """``value`` for a log: what a client wrote cannot end the line or look like another."""
    return "".join(character if character.isprintable() else "?" for character in str(value)[:500])
