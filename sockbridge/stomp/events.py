"""What happens to connections, told to the application: each exactly once, and after the fact.

Knows: the names and the order of the calls.
Does not know: who makes them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from ..sockjs.framing import Close
from .connection import StompConnection
from .subscription import Subscription
from .tasks import FAILURES, is_being_cancelled

logger = logging.getLogger("sockbridge.stomp")


class Events:
    """Override what you need; each does nothing. An exception out of one is logged and changes nothing.

    For one connection the calls come in the order of what they tell, and do not overlap; but a call that outlives its
    client by more than ``disconnect_delay`` (over TCP ``handler_grace``) is not waited for,
    and ``server.unsubscribe`` waits for no call of another task.
    """

    async def on_connected(self, connection: StompConnection) -> None:
        """A client has logged in; CONNECTED is on its way. Its next frame waits until this ends."""

    async def on_subscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        """A subscription is in force: what is sent now arrives. Its receipt follows."""

    async def on_unsubscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        """A subscription has ended: by the client, by ``server.unsubscribe``, or with its connection."""

    async def on_disconnected(self, connection: StompConnection, close: Close) -> None:
        """A client that was connected has gone. Its subscriptions have ended before this."""


class Audience:
    """Everybody who is told; the one place that contains their errors.

    An event whose beginning somebody was not told has no end for them either: where a client goes while the first of
    several is still busy with it, the others never hear of it.
    """

    def __init__(self, events: Sequence[Events]) -> None:
        self._events = tuple(events)
        # How many of them know of a connection; and of its subscriptions.
        self._connections: dict[StompConnection, int] = {}
        self._subscriptions: dict[StompConnection, dict[Subscription, int]] = {}

    async def connected(self, connection: StompConnection) -> None:
        """Tell that a client has logged in."""
        for count, events in enumerate(self._events, 1):
            if connection.has_ended:
                return
            self._connections[connection] = count
            await self._tell(events.on_connected, connection)

    async def subscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        """Tell that a subscription is in force."""
        for count, events in enumerate(self._events, 1):
            if connection.subscriptions.get(subscription.key) is not subscription:
                return
            self._subscriptions.setdefault(connection, {})[subscription] = count
            await self._tell(events.on_subscribed, connection, subscription)

    async def unsubscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        """Tell that a subscription has ended. May be called again."""
        told = self._subscriptions.get(connection, {})
        count = told.pop(subscription, 0)
        if not told:
            self._subscriptions.pop(connection, None)
        for events in self._events[:count]:
            await self._tell(events.on_unsubscribed, connection, subscription)

    async def disconnected(self, connection: StompConnection, close: Close) -> None:
        """Tell that a client has gone, and before that the end of each subscription that is still to be told."""
        for subscription in list(self._subscriptions.get(connection, ())):
            await self.unsubscribed(connection, subscription)
        for events in self._events[: self._connections.pop(connection, 0)]:
            await self._tell(events.on_disconnected, connection, close)

    def forget(self, connection: StompConnection) -> None:
        """Nothing more is told of ``connection``. May be called twice."""
        self._subscriptions.pop(connection, None)
        self._connections.pop(connection, None)

    async def _tell(self, call: Callable[..., Awaitable[None]], *values: object) -> None:
        try:
            await call(*values)
        except FAILURES:  # the application's: what has happened has happened
            if is_being_cancelled():
                raise
            logger.exception("an event failed")
