"""All subscriptions of one client: which message is whose, and their standing in each new connection.

Knows: ids, SUBSCRIBE and UNSUBSCRIBE.
Does not know: when there is a new connection; what waits in a subscription.
Spec: STOMP 1.2, "SUBSCRIBE", "UNSUBSCRIBE", "MESSAGE".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ...errors import InvalidFrame, SessionLost, StompError
from ...stomp.frame import ACK, DESTINATION, ID, SUBSCRIPTION, AckMode, Command, Frame
from .conversation import Conversation, Outcome
from .outgoing import frame as make_frame
from .subscription import Ending, Subscription, closed

logger = logging.getLogger("sockbridge.client")

Connected = Callable[[], Coroutine[Any, Any, Conversation]]
"""The conversation that lives; waits for it, and raises where there will be none."""


class Subscriptions:
    """The subscriptions of one client.

    Attributes:
        unclaimed: messages that came for none of them.
    """

    def __init__(self, connected: Connected, *, is_lasting: bool) -> None:
        """
        Args:
            is_lasting: after a break there is a new connection.
        """
        self.unclaimed = 0
        self._connected = connected
        self._is_lasting = is_lasting
        self._active: dict[str, Subscription] = {}
        self._leaving: set[str] = set()
        self._abandoned: dict[str, asyncio.Task[Outcome]] = {}  # by id, the UNSUBSCRIBE that is on its way

    def __len__(self) -> int:
        return len(self._active)

    # For each of them.

    async def subscribe(self, subscription: Subscription) -> None:
        """As ``Subscriber.subscribe``.

        Raises:
            InvalidFrame: it was subscribed before, or its id is taken.
        """
        if subscription.id in self._active:
            raise InvalidFrame(f"there is a subscription with the id {subscription.id!r}")
        if subscription.has_ended:
            raise InvalidFrame("a subscription that was ended is not used again")
        self._active[subscription.id] = subscription
        has_entered = False
        try:
            while (errand := self._abandoned.get(subscription.id)) is not None:
                await asyncio.wait([errand])  # what comes until then is for the one that had the id before
            while not has_entered:
                conversation = await self._connected()
                if subscription.has_ended:  # unsubscribed meanwhile
                    raise closed()
                has_entered = subscription.conversation is conversation  # with all others, by ``resume``
                if not has_entered:
                    has_entered = await self._try(conversation, subscription)
        finally:
            if not has_entered:
                self.abandon(subscription)

    async def unsubscribe(self, subscription: Subscription, headers: Mapping[str, str] | None) -> None:
        """As ``Subscriber.unsubscribe``."""
        if self._active.get(subscription.id) is not subscription or subscription.id in self._leaving:
            return
        frame = make_frame(Command.UNSUBSCRIBE, {ID: subscription.id}, headers)
        conversation = subscription.conversation
        self._leaving.add(subscription.id)
        if subscription.ack is not AckMode.AUTO:
            subscription.end(closed)  # what has come goes back; in mode auto what is on its way is ours
        try:
            if conversation is not None and not conversation.is_over:
                await conversation.insist(frame, receipt=subscription.receipt)
        except SessionLost:  # and with the connection the subscription
            return
        finally:
            self._forget(subscription)

    def abandon(self, subscription: Subscription) -> None:
        """As ``Subscriber.abandon``. The server must not go on sending, nor keep what is not acknowledged for us."""
        if self._active.get(subscription.id) is not subscription or subscription.id in self._leaving:
            return
        conversation = subscription.conversation
        self._forget(subscription)
        if conversation is not None and not conversation.is_over:
            # with a receipt where SUBSCRIBE has one: frames that wait for one keep their order
            errand = conversation.run(Frame(Command.UNSUBSCRIBE, {ID: subscription.id}), receipt=subscription.receipt)
            self._abandoned[subscription.id] = errand
            errand.add_done_callback(lambda _: self._abandoned.pop(subscription.id, None))

    # For the client.

    def deliver(self, conversation: Conversation, frame: Frame) -> None:
        """A MESSAGE has come."""
        id = frame.headers.get(SUBSCRIPTION)
        subscription = self._active.get(id) if id is not None else self._of(frame.destination)
        if subscription is None or subscription.has_ended or subscription.id in self._abandoned:
            self.unclaimed += 1
            logger.debug("a message for the subscription %.100r, which is not there", id or frame.destination)
            return
        subscription.deliver(frame, conversation)

    async def resume(self, conversation: Conversation) -> None:
        """Subscribe all again.

        Raises:
            StompError: the server refuses one.
            ClientError: the connection broke, or the server did not confirm in time.
        """
        waiting = [one for id, one in self._active.items() if id not in self._leaving]
        results = await asyncio.gather(
            *(self._enter(conversation, subscription) for subscription in waiting), return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            raise next((failure for failure in failures if isinstance(failure, StompError)), failures[0])

    def interrupt(self) -> None:
        """The connection has ended."""
        for subscription in self._active.values():
            subscription.interrupt()

    def end(self, ending: Ending) -> None:
        """There will be no other one."""
        for subscription in list(self._active.values()):
            subscription.end(ending)
        self._active.clear()

    # Private.

    async def _try(self, conversation: Conversation, subscription: Subscription) -> bool:
        try:
            await self._enter(conversation, subscription)
        except SessionLost:
            if not self._is_lasting:
                raise
            return False
        return True

    async def _enter(self, conversation: Conversation, subscription: Subscription) -> None:
        own = {ID: subscription.id, DESTINATION: subscription.destination, ACK: subscription.ack.value}
        frame = make_frame(Command.SUBSCRIBE, own, subscription.headers(conversation))
        receipt = await conversation.insist(frame, receipt=subscription.receipt)
        if receipt is not None:
            subscription.confirm(receipt)

    def _forget(self, subscription: Subscription) -> None:
        if self._active.get(subscription.id) is subscription:
            del self._active[subscription.id]
        self._leaving.discard(subscription.id)
        subscription.end(closed)

    def _of(self, destination: str) -> Subscription | None:
        # A server of 1.0 need not name the subscription.
        return next((one for one in self._active.values() if one.destination == destination), None)
