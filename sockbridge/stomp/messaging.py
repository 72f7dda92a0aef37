"""Sending from anywhere in the application: to a destination, to a user, to one connection.

Knows: payloads, users, the broker's door.
Does not know: controllers, frames, carriers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..errors import BadFrame, UsageError
from .broker.base import Broker
from .codec import PreparedMessage
from .connection import StompConnection
from .destinations import fault_of, has_prefix
from .frame import CONTENT_TYPE, RESERVED
from .payloads import Payloads
from .registry import UserRegistry

FORBIDDEN: Final = RESERVED - {CONTENT_TYPE}


class Messaging:
    """``server.messaging``. Belongs to the thread of the server's event loop.

    Attributes:
        users: who is there.
        user_prefix: before the destinations of users, as clients write them.
    """

    def __init__(self, broker: Broker, users: UserRegistry, payloads: Payloads, user_prefix: str) -> None:
        self._broker = broker
        self.users = users
        self._payloads = payloads
        self.user_prefix = user_prefix
        self._serials = itertools.count(1)

    async def send(self, destination: str, payload: Any, headers: Mapping[str, str] | None = None) -> None:
        """Publish ``payload`` to everybody who has subscribed to ``destination``.

        Args:
            destination: under one of the broker's prefixes; never a pattern, whatever it holds.
            payload: text, octets, or what msgspec or a converter can write.
            headers: for the subscribers; ``content-type`` overrules the payload's own.

        Raises:
            UsageError: the broker does not serve ``destination``, or a header is the server's own or malformed.
            TypeError: there is no way to write ``payload``.
            QueueFull: the queue has no room.
        """
        if not self._broker.serves(destination):
            served = ", ".join(self._broker.prefixes)
            hint = "name its prefix to the broker, or use send_to_user"
            raise UsageError(f"the broker does not serve {destination!r}, but {served}; {hint}")
        message = self.prepare(destination, payload, headers)
        try:
            await self._broker.publish(message)
        except BadFrame as error:
            raise UsageError(str(error)) from None

    async def send_to_user(
        self, name: str, destination: str, payload: Any, headers: Mapping[str, str] | None = None
    ) -> int:
        """Send ``payload`` to every connection of one user that has subscribed to ``/user`` + ``destination``.

        Args:
            name: of the user.
            destination: without the user prefix, e.g. ``"/queue/errors"``.

        Returns:
            how many subscriptions it was sent to; 0 if the user is not there.

        Raises:
            UsageError, TypeError: see ``send``.
        """
        if not isinstance(name, str):
            raise TypeError(f"the name of a user is a str, e.g. user.name, not {name!r}")
        return self._to(self.users.connections(name), destination, payload, headers)

    async def send_to_connection(
        self, connection: StompConnection, destination: str, payload: Any, headers: Mapping[str, str] | None = None
    ) -> int:
        """The same for one connection alone, a guest's as well.

        Returns:
            how many subscriptions it was sent to.

        Raises:
            UsageError, TypeError: see ``send``.
        """
        return self._to([connection], destination, payload, headers)

    # For the server.

    def prepare(self, destination: str, payload: Any, headers: Mapping[str, str] | None = None) -> PreparedMessage:
        """A MESSAGE out of a value.

        Raises:
            UsageError, TypeError: see ``send``.
        """
        content_type, body = self._payloads.encode(payload)
        checked = {CONTENT_TYPE: content_type}
        for name, value in (headers or {}).items():
            if not isinstance(name, str) or not isinstance(value, str) or not name or "\0" in name + value:
                raise UsageError(f"a header is a name and a text, without NUL; not {name!r}: {value!r}")
            if name in FORBIDDEN:
                raise UsageError(f"the header {name} is the server's own")
            checked[name] = value
        return self.assemble(destination, checked, body)

    def assemble(self, destination: str, headers: Mapping[str, str], body: bytes) -> PreparedMessage:
        """A MESSAGE out of what a client has sent; reserved headers are left out already.

        Raises:
            UsageError: ``destination`` is none.
        """
        fault = fault_of(destination)
        if fault:
            raise UsageError(fault)
        return PreparedMessage(next(self._serials), destination, headers, body)

    def _to(
        self,
        connections: Iterable[StompConnection],
        destination: str,
        payload: Any,
        headers: Mapping[str, str] | None,
    ) -> int:
        if not destination.startswith("/"):
            raise UsageError(f'a destination of a user starts with /, e.g. "/queue/errors", not {destination!r}')
        if has_prefix(destination, self.user_prefix):
            raise UsageError(f"{destination!r} goes without the user prefix")
        return self.users.deliver(connections, self.prepare(self.user_prefix + destination, payload, headers))
