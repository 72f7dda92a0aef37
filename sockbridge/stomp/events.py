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

logger = logging.getLogger("sockbridge.stomp")


class Events:
    """Override what you need; each does nothing. An exception out of one is logged and changes nothing.

    For one connection the calls never overlap and come in the order of what they tell.
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
    """Everybody who is told; the one place that contains their errors."""

    def __init__(self, events: Sequence[Events]) -> None:
        self._events = tuple(events)

    async def connected(self, connection: StompConnection) -> None:
        """Tell that a client has logged in."""
        for events in self._events:
            await self._tell(events.on_connected, connection)

    async def subscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        """Tell that a subscription is in force."""
        for events in self._events:
            await self._tell(events.on_subscribed, connection, subscription)

    async def unsubscribed(self, connection: StompConnection, subscription: Subscription) -> None:
        """Tell that a subscription has ended."""
        for events in self._events:
            await self._tell(events.on_unsubscribed, connection, subscription)

    async def disconnected(self, connection: StompConnection, close: Close) -> None:
        """Tell that a client has gone."""
        for events in self._events:
            await self._tell(events.on_disconnected, connection, close)

    async def _tell(self, call: Callable[..., Awaitable[None]], *values: object) -> None:
        try:
            await call(*values)
        except Exception:  # the application's: what has happened has happened
            logger.exception("an event failed")
