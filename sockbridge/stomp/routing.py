"""Where the destinations of clients lead: to a controller, to a user, or to the broker.

Knows: prefixes, and which room is behind each.
Does not know: who may do what; receipts; what a fault leads to.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import BadFrame, QueueFull, UnknownDestination
from .broker.base import Broker
from .codec import PreparedMessage
from .connection import StompConnection
from .controllers.dispatcher import Dispatcher, Found
from .destinations import has_prefix
from .frame import CONTENT_TYPE, DESTINATION, REPLY_TO, Command, Frame, is_reserved, trimmed
from .messaging import Messaging


class Routing:
    """The destinations of one server."""

    def __init__(
        self, broker: Broker, dispatcher: Dispatcher, messaging: Messaging, app_prefixes: Sequence[str]
    ) -> None:
        self._broker = broker
        self._dispatcher = dispatcher
        self._messaging = messaging
        self._app_prefixes = app_prefixes
        self._user_prefix = messaging.user_prefix

    def is_users(self, destination: str) -> bool:
        """Does it belong to a user?"""
        return has_prefix(destination, self._user_prefix)

    def app_path(self, destination: str) -> str | None:
        """The rest of it for controllers; None if it is not theirs."""
        for prefix in self._app_prefixes:
            if has_prefix(destination, prefix):
                return "/" + destination[len(prefix) + 1 :]
        return None

    def is_functions(self, frame: Frame) -> bool:
        """Is it a SEND to a function?"""
        return frame.command is Command.SEND and self.app_path(frame.destination) is not None

    def resolve(self, connection: StompConnection, frame: Frame) -> str:
        """Write into a SEND what others call the temporary queues that the client calls by names of its own.

        Returns:
            its ``reply-to`` where that is no temporary queue of the client; "" where it is, or there is none.
        """
        headers = frame.headers
        headers[DESTINATION] = self._broker.resolve(connection, frame.destination)
        written = [name for name in headers if REPLY_TO in name and trimmed(name) == REPLY_TO]
        if not written:
            return ""
        # Whoever answers may drop blanks that were written around it, so they are gone before it is looked at.
        values = [headers.pop(name) for name in written]
        reply_to = trimmed(values[0])
        headers[REPLY_TO] = self._broker.resolve(connection, reply_to)
        return reply_to if headers[REPLY_TO] == reply_to else ""

    def check_served(self, connection: StompConnection, frame: Frame) -> None:
        """Does the destination of a SEND lead anywhere?

        Raises:
            UnknownDestination: it does not.
        """
        destination = frame.destination
        is_served = self.is_users(destination) or self._broker.serves(destination)
        if not is_served and self.find(connection, frame) is None:
            raise UnknownDestination(f"nobody serves SEND to {destination[:200]!r}")

    def find(self, connection: StompConnection, frame: Frame) -> Found | None:
        """The function that a SEND is for; None if its destination is not for controllers.

        Raises:
            UnknownDestination: it is, and there is none.
        """
        path = self.app_path(frame.destination)
        return None if path is None else self._dispatcher.find_message(connection, frame, path)

    def message(self, frame: Frame) -> PreparedMessage | None:
        """What a SEND to the broker publishes; None if its destination is not for the broker."""
        if not self._broker.serves(frame.destination):
            return None
        return self._messaging.assemble(frame.destination, _public_headers(frame), frame.body)

    async def publish(self, message: PreparedMessage) -> None:
        """
        Raises:
            BadFrame: the broker does not take it.
        """
        try:
            await self._broker.publish(message)
        except QueueFull as error:
            raise _refused(error) from None

    async def check(self, messages: Sequence[PreparedMessage]) -> None:
        """Would the broker take all of these?

        Raises:
            BadFrame: it would not.
        """
        try:
            await self._broker.check(messages)
        except QueueFull as error:
            raise _refused(error) from None

    def send_to_user(self, frame: Frame) -> None:
        """``/user/{name}/queue/x`` reaches those who have subscribed to ``/user/queue/x``; a / in a name is written
        %2F."""
        name, _, rest = frame.destination[len(self._user_prefix) + 1 :].partition("/")
        message = self._messaging.assemble(f"{self._user_prefix}/{rest}", _public_headers(frame), frame.body)
        users = self._messaging.users
        users.deliver(users.connections(name.replace("%2F", "/").replace("%2f", "/")), message)


def _public_headers(frame: Frame) -> dict[str, str]:
    # Those of a SEND that its receivers see.
    headers = {name: value for name, value in frame.headers.items() if not is_reserved(name)}
    if CONTENT_TYPE in frame.headers:
        headers[CONTENT_TYPE] = frame.headers[CONTENT_TYPE]
    return headers


def _refused(error: QueueFull) -> BadFrame:
    return BadFrame("queue full", str(error))
