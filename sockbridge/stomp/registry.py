"""Who is where: users, their connections, and what each has subscribed to under the user prefix.

Messages to users never pass the broker: a destination ``/user/queue/x`` belongs to the connection that subscribed
to it, and is found through that connection alone. So there is no name by which anybody else could get at it.

Knows: users, connections, subscriptions to ``/user/...``.
Does not know: carriers, brokers, who sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .codec import PreparedMessage
from .connection import StompConnection
from .subscription import Subscription


class UserRegistry:
    """The users of one server. ``server.users`` for applications."""

    def __init__(self) -> None:
        self._connections: dict[str, dict[StompConnection, None]] = {}
        self._targets: dict[StompConnection, dict[str, dict[Subscription, None]]] = {}

    # For the application.

    def __iter__(self) -> Iterator[str]:
        """Names of the users who are connected."""
        return iter(list(self._connections))

    def __contains__(self, name: str) -> bool:
        return name in self._connections

    def __len__(self) -> int:
        return len(self._connections)

    def connections(self, name: str) -> list[StompConnection]:
        """The connections of a user, oldest first: one per tab."""
        return list(self._connections.get(name, ()))

    def disconnect(self, name: str, code: int = 3000, reason: str = "Go away!") -> int:
        """Close every connection of a user.

        Returns:
            how many there were.
        """
        connections = self.connections(name)
        for connection in connections:
            connection.close(code, reason)
        return len(connections)

    # For the server.

    def add(self, connection: StompConnection) -> None:
        """A user has logged in."""
        if connection.user is not None:
            self._connections.setdefault(connection.user.name, {})[connection] = None

    def discard(self, connection: StompConnection) -> None:
        """A connection has ended."""
        self._targets.pop(connection, None)
        if connection.user is not None:
            connections = self._connections.get(connection.user.name, {})
            connections.pop(connection, None)
            if not connections:
                self._connections.pop(connection.user.name, None)

    def subscribe(self, connection: StompConnection, subscription: Subscription) -> None:
        """A connection wants what is sent to its user under this destination."""
        targets = self._targets.setdefault(connection, {})
        targets.setdefault(subscription.destination, {})[subscription] = None

    def unsubscribe(self, connection: StompConnection, subscription: Subscription) -> None:
        """No longer. May be called again."""
        by_destination = self._targets.get(connection, {})
        subscriptions = by_destination.get(subscription.destination, {})
        subscriptions.pop(subscription, None)
        if not subscriptions:
            by_destination.pop(subscription.destination, None)
        if not by_destination:
            self._targets.pop(connection, None)

    def deliver(self, connections: Iterable[StompConnection], message: PreparedMessage) -> int:
        """Send ``message`` to those of ``connections`` that have subscribed to its destination.

        Returns:
            how many subscriptions it was sent to.
        """
        count = 0
        for connection in connections:
            for target in list(self._targets.get(connection, {}).get(message.destination, ())):
                target.deliver(message)
                count += 1
        return count
