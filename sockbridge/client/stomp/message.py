"""A message that has come, as the application sees it.

Knows: its headers and body, how it is acknowledged in each version.
Does not know: where it waits.
Spec: STOMP 1.2, "MESSAGE", "ACK", "NACK"; STOMP 1.1 and 1.0, the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar, overload

import msgspec

from ...errors import BadPayload, InvalidFrame, StaleMessage
from ...stomp.broker.headers import X_MISSED
from ...stomp.frame import (
    ACK,
    CONTENT_TYPE,
    ID,
    MESSAGE_ID,
    SUBSCRIPTION,
    TRANSACTION,
    AckMode,
    Command,
    Frame,
    Version,
    printable,
)
from .conversation import Conversation
from .inbox import OVERHEAD
from .outgoing import frame as make_frame
from .place import number

T = TypeVar("T")


class Message:
    """One MESSAGE.

    Attributes:
        headers: name to value, unescaped.
        body: octets.
        size: bytes that it counts for while it waits.
    """

    __slots__ = ("_conversation", "_is_settled", "_mode", "_subscription", "body", "headers", "size")

    def __init__(self, frame: Frame, conversation: Conversation, subscription: str, mode: AckMode) -> None:
        """
        Args:
            conversation: by which it came.
            subscription: id of the one that gets it.
        """
        self.headers: Mapping[str, str] = frame.headers
        self.body = frame.body
        self.size = len(frame.body) + sum(map(len, frame.headers.values())) + OVERHEAD
        self._conversation = conversation
        self._subscription = subscription
        self._mode = mode
        self._is_settled = False

    def __repr__(self) -> str:
        return f"<Message {printable(self.destination)} {len(self.body)} bytes>"

    @property
    def destination(self) -> str:
        """As the server names it; of a subscription to a pattern one that matches."""
        return self.headers.get("destination", "")

    @property
    def content_type(self) -> str:
        """As the sender gave it; "" where it gave none."""
        return self.headers.get(CONTENT_TYPE, "")

    @property
    def missed(self) -> int | None:
        """How many messages are lost between the one before and this one, where the server says so; None: unknown."""
        return number(self.headers.get(X_MISSED))

    @property
    def text(self) -> str:
        """The body as text.

        Raises:
            BadPayload: it is not UTF-8.
        """
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise BadPayload(f"the body of {self!r} is no text: {error}") from None

    @overload
    def json(self) -> Any: ...

    @overload
    def json(self, kind: type[T]) -> T: ...

    def json(self, kind: Any = Any) -> Any:
        """The body, read as JSON.

        Args:
            kind: what it is to be: a dataclass, a ``TypedDict``, ``list[int]``...; whatever msgspec reads.

        Raises:
            BadPayload: it is no JSON, or of another shape.
        """
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise BadPayload(f"the body of {self!r}: {printable(error)}") from None

    async def ack(self, *, receipt: bool = False, headers: Mapping[str, str] | None = None) -> None:
        """Say that it was handled; in mode ``client`` that those before it were as well.

        Args:
            receipt: wait until the server has confirmed it.

        Raises:
            InvalidFrame: it needs none (mode ``auto``), or has had its ACK or NACK.
            StaleMessage: the connection by which it came is gone; a queue gives it out again.
            ReceiptTimeout: the server did not confirm in time.
            StompError: the server refused.
            InDoubt: the connection broke before the server confirmed.
        """
        await self._settle(Command.ACK, headers, receipt=receipt)

    async def nack(self, *, receipt: bool = False, headers: Mapping[str, str] | None = None) -> None:
        """Say that it was not handled. What the server does then is its own affair; see ``headers``.

        Args:
            receipt: wait until the server has confirmed it.
            headers: e.g. ``{"requeue": "false"}``, for the dead letters instead of another try.

        Raises:
            InvalidFrame: as of ``ack``; and in STOMP 1.0, which has no NACK.
            StaleMessage, ReceiptTimeout, StompError, InDoubt: as of ``ack``.
        """
        await self._settle(Command.NACK, headers, receipt=receipt)

    # For transactions.

    def settle(
        self, command: Command, headers: Mapping[str, str] | None, conversation: Conversation, transaction: str = ""
    ) -> Frame:
        """The ACK or NACK; from now on it counts as settled, unless ``unsettle`` is called.

        Raises:
            InvalidFrame: it means nothing.
            StaleMessage: it came by another connection than ``conversation``, or that has ended.
        """
        if self._mode is AckMode.AUTO:
            raise InvalidFrame('messages of a subscription with ack="auto" are not acknowledged')
        if self._is_settled:
            raise InvalidFrame("the message has had its ACK or NACK")
        if conversation is not self._conversation or conversation.is_over:
            raise StaleMessage("the connection by which the message came is gone; a queue gives it out again")
        own = {TRANSACTION: transaction} if transaction else {}
        if conversation.version is Version.V1_2:
            own[ID] = self.headers.get(ACK) or self.headers.get(MESSAGE_ID, "")
        else:
            if conversation.version is Version.V1_0 and command is Command.NACK:
                raise InvalidFrame("STOMP 1.0 has no NACK")
            own[MESSAGE_ID] = self.headers.get(MESSAGE_ID, "")
            own[SUBSCRIPTION] = self._subscription
        made = make_frame(command, own, headers)
        self._is_settled = True
        return made

    def unsettle(self) -> None:
        """Its ACK or NACK has not left, or its transaction was aborted."""
        self._is_settled = False

    async def _settle(self, command: Command, headers: Mapping[str, str] | None, *, receipt: bool) -> None:
        frame = self.settle(command, headers, self._conversation)
        has_left = asyncio.Event()
        try:
            if receipt:
                await self._conversation.ask(frame, has_left.set)
            else:
                await self._conversation.write(frame)
                has_left.set()
        finally:
            if not has_left.is_set():  # it cannot be said, there was no room, or the call was cancelled
                self.unsettle()
