"""A subscription: what has come for it and was not taken, across connections.

Knows: what waits, how far it has come, when it ends.
Does not know: how frames are sent; other subscriptions.
Spec: STOMP 1.2, "SUBSCRIBE", "UNSUBSCRIBE".
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from ...errors import InvalidFrame, SessionClosed
from ...sockjs.framing import CloseCode
from ...stomp.frame import AckMode, Frame
from .conversation import Conversation
from .inbox import Inbox
from .message import Message
from .place import Place

logger = logging.getLogger("sockbridge.client")

Ending = Callable[[], Exception]
"""Makes the exception that tells why nothing more will come."""


def closed() -> Exception:
    """The ending where the application has closed or unsubscribed."""
    return SessionClosed(CloseCode.NORMAL, "Normal closure")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a SUBSCRIBE says; see ``Client.subscribe``."""

    id: str
    destination: str
    ack: AckMode
    headers: Mapping[str, str]
    receipt: bool


class Subscriber(Protocol):
    """Who speaks for a subscription."""

    async def subscribe(self, subscription: Subscription) -> None:
        """Let the server know of it."""
        ...

    async def unsubscribe(self, subscription: Subscription, headers: Mapping[str, str] | None) -> None:
        """Let the server forget it."""
        ...

    def abandon(self, subscription: Subscription) -> None:
        """The same, where nobody waits for it."""
        ...


class Subscription:
    """What ``client.subscribe`` returns: subscribed when it is entered or awaited.

    Iterate over it, or call ``receive``; several tasks may share it, each message goes to one of them.

    Attributes:
        id: by which the server knows it; the same after a reconnect.
        destination: as it was asked for.
        ack: how its messages are acknowledged.
        receipt: SUBSCRIBE and UNSUBSCRIBE wait for the server's RECEIPT.
        conversation: in which it stands; None: in none.
        voided: messages that had come and were not taken when their connection broke, in the modes ``client`` and
            ``client-individual``: nobody can acknowledge them any more, and a queue gives them out again.
    """

    def __init__(self, subscriber: Subscriber, inbox: Inbox, terms: Terms) -> None:
        self.id = terms.id
        self.destination = terms.destination
        self.ack = terms.ack
        self.receipt = terms.receipt
        self.conversation: Conversation | None = None
        self.voided = 0
        self._place = Place(terms.destination, terms.headers)
        self._subscriber = subscriber
        self._inbox = inbox
        self._arrived: deque[Message] = deque()
        self._changed = asyncio.Event()
        self._ending: Ending | None = None
        self._is_entered = False
        self._has_stood = False

    def __repr__(self) -> str:
        state = "ended" if self._ending else "active" if self.is_active else "waiting"
        return f"<Subscription {self.id} {self.destination} {state}>"

    def __len__(self) -> int:
        """How many messages wait to be taken."""
        return len(self._arrived)

    def __bool__(self) -> bool:
        return True

    @property
    def is_active(self) -> bool:
        """The server knows of it, as far as we know."""
        return self.conversation is not None and not self.conversation.is_over

    @property
    def missed(self) -> int | None:
        """How many messages it has surely missed in reconnects and gaps.

        None: nobody knows, perhaps none. So it is after a reconnect where the server does not keep messages for replay,
        or where ``destination`` is a pattern.
        """
        return self._place.missed

    @property
    def place(self) -> tuple[str, int] | None:
        """``(epoch, offset)`` of the last message, where the server numbers them; None where it does not.

        Another client may go on there with the headers ``x-epoch`` and ``x-since``.
        """
        return None if self._place.epoch is None else (self._place.epoch, self._place.offset)

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        """Subscribe; see ``Client.subscribe`` for what it raises."""
        self._is_entered = True
        await self._subscriber.subscribe(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.unsubscribe()
        else:  # which is not to wait for a server that may be gone
            self._subscriber.abandon(self)

    async def receive(self) -> Message:
        """The next message; waits for it.

        Raises:
            InvalidFrame: it was never entered or awaited.
            SessionClosed: it was unsubscribed, or the client was closed.
            StompError: the server has sent ERROR.
            SessionLost: the connection broke.
        """
        while not self._arrived:
            if self._ending is not None:
                raise self._ending()
            if not self._is_entered:
                raise InvalidFrame("it is not subscribed yet: enter it (async with), or await it")
            self._changed.clear()
            await self._changed.wait()
        message = self._arrived.popleft()
        self._inbox.remove(message.size)
        if self.ack is not AckMode.AUTO:  # what is not taken comes again
            self._place.advance(message.destination, message.headers)
        return message

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        """The next message; the iteration ends with UNSUBSCRIBE and with ``close``, and raises what else ends it."""
        try:
            return await self.receive()
        except SessionClosed:
            raise StopAsyncIteration from None

    async def unsubscribe(self, headers: Mapping[str, str] | None = None) -> None:
        """Get nothing more. May be called twice.

        In mode ``auto`` what has come can still be received. In the others it goes back to the server.

        Raises:
            ReceiptTimeout: the server did not confirm in time.
            StompError: the server refused.
        """
        await self._subscriber.unsubscribe(self, headers)

    # For the table of all.

    @property
    def has_ended(self) -> bool:
        """Nothing more will come."""
        return self._ending is not None

    def headers(self, conversation: Conversation) -> dict[str, str]:
        """The further headers of the SUBSCRIBE in ``conversation``, where it stands from now on."""
        self.conversation = conversation
        headers = self._place.subscribe(again=self._has_stood)
        self._has_stood = self._has_stood or not self.receipt  # else it is not known that it ever did
        return headers

    def confirm(self, receipt: Frame) -> None:
        """The RECEIPT of the SUBSCRIBE has come."""
        self._has_stood = True
        self._place.confirm(receipt.headers)

    def deliver(self, frame: Frame, conversation: Conversation) -> None:
        """A MESSAGE has come for it."""
        self._has_stood = True
        message = Message(frame, conversation, self.id, self.ack)
        if self.ack is AckMode.AUTO:
            self._place.advance(message.destination, message.headers)
        self._arrived.append(message)
        self._inbox.add(message.size)
        self._changed.set()

    def interrupt(self) -> None:
        """The connection has ended."""
        self.conversation = None
        if self.ack is not AckMode.AUTO and self._arrived:
            self.voided += len(self._arrived)
            logger.info("%s: %d messages that were not taken are void", self.destination, len(self._arrived))
            self._drop()

    def end(self, ending: Ending) -> None:
        """Nothing more will come."""
        if self._ending is None:
            self.interrupt()
            self._ending = ending
            for message in self._arrived:  # they can be taken, but keep nothing else waiting
                self._inbox.remove(message.size)
                message.size = 0
            self._changed.set()

    def _drop(self) -> None:
        for message in self._arrived:
            self._inbox.remove(message.size)
        self._arrived.clear()
