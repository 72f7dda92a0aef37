"""A transaction: what is sent and acknowledged in it happens at its end, all or nothing.

Knows: BEGIN, COMMIT, ABORT.
Does not know: who else uses the connection.
Spec: STOMP 1.2, "BEGIN", "COMMIT", "ABORT".
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self

from ...errors import ClientError, InvalidFrame, SessionLost, StompError
from ...stomp.frame import TRANSACTION, Command, Frame
from .conversation import Conversation
from .message import Message

MakeSend = Callable[[str, object, Mapping[str, str] | None, str | None, str], Frame]
"""Makes a SEND of destination, body, headers, content type and transaction."""

Connected = Callable[[], Coroutine[Any, Any, Conversation]]
"""The conversation that lives; waits for it."""


class Transaction:
    """What ``client.transaction`` returns: BEGIN when it is entered, COMMIT at its end; ABORT at an exception.

    Attributes:
        id: by which the server knows it.
    """

    def __init__(self, id: str, connected: Connected, make_send: MakeSend, *, receipt: bool) -> None:
        self.id = id
        self._connected = connected
        self._make_send = make_send
        self._receipt = receipt
        self._conversation: Conversation | None = None
        self._settled: list[Message] = []

    async def __aenter__(self) -> Self:
        """Begin.

        Raises:
            InvalidFrame: it was begun before.
            StompError: the server has sent ERROR.
            SessionLost: the connection has ended.
        """
        if self._conversation is not None:
            raise InvalidFrame("a transaction is used once")
        self._conversation = await self._connected()
        # Who is cancelled here has sent nothing, so nothing is to be aborted.
        await self._conversation.write(Frame(Command.BEGIN, {TRANSACTION: self.id}))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Commit, or abort.

        Raises:
            InDoubt: the connection broke between COMMIT and its RECEIPT.
            SessionLost: it broke before; nothing of the transaction has happened.
            StompError: the server refused; nothing of it has happened.
            ReceiptTimeout: the server did not confirm in time.
        """
        conversation = self._begun()
        if error is not None:
            for message in self._settled:
                message.unsettle()
            if not conversation.is_over:
                conversation.run(Frame(Command.ABORT, {TRANSACTION: self.id}))
            return
        if conversation.is_over:
            raise self._broken(conversation)
        frame = Frame(Command.COMMIT, {TRANSACTION: self.id})
        await (conversation.ask(frame) if self._receipt else conversation.write(frame))

    async def send(
        self,
        destination: str,
        body: object = b"",
        *,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> None:
        """As ``Client.send``, at the COMMIT."""
        await self._write(self._make_send(destination, body, headers, content_type, self.id))

    async def ack(self, message: Message, *, headers: Mapping[str, str] | None = None) -> None:
        """As ``Message.ack``, at the COMMIT."""
        await self._settle(Command.ACK, message, headers)

    async def nack(self, message: Message, *, headers: Mapping[str, str] | None = None) -> None:
        """As ``Message.nack``, at the COMMIT."""
        await self._settle(Command.NACK, message, headers)

    async def _settle(self, command: Command, message: Message, headers: Mapping[str, str] | None) -> None:
        frame = message.settle(command, headers, self._begun(), self.id)
        self._settled.append(message)
        has_left = False
        try:
            await self._write(frame)
            has_left = True
        finally:
            if not has_left:  # it cannot be said, there was no room, or the call was cancelled
                self._settled.remove(message)
                message.unsettle()

    async def _write(self, frame: Frame) -> None:
        conversation = self._begun()
        if conversation.is_over:
            raise self._broken(conversation)
        await conversation.write(frame)

    def _begun(self) -> Conversation:
        if self._conversation is None:
            raise InvalidFrame("a transaction begins with async with")
        return self._conversation

    def _broken(self, conversation: Conversation) -> ClientError:
        failure = conversation.failure()
        if isinstance(failure, StompError):
            return failure
        return SessionLost(f"{failure}; nothing of the transaction has happened")
