"""What each frame of a client does: one method per command, and what happens when it cannot be done.

A fault against the protocol, or something that is not allowed, ends the connection with an ERROR. A frame that the
application does not serve ends it only if the client asked for a receipt, since STOMP has no other way to say no.

Knows: in which order the rooms are asked: interceptors, policy, controllers, users, broker.
Does not know: carriers, logins, the clock.
Spec: STOMP 1.2, "Client Frames"; docs/stomp-conformance.md, sections 3 to 5.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from ..errors import AccessRefused, BadFrame, HandlerFailed, RemoteError, UnknownDestination, Unserved, UsageError
from ..sockjs.framing import CloseCode
from .broker.base import Broker
from .connection import State, StompConnection
from .controllers.dispatcher import Dispatcher, Found
from .counters import StompCounters
from .destinations import Pattern, fault_of, has_prefix
from .events import Audience
from .frame import CONTENT_TYPE, DESTINATION, ID, TRANSACTION, Command, Frame, Version, is_reserved, printable, require
from .interceptors import Inbound
from .messaging import Messaging
from .options import StompOptions
from .policy import Policy
from .registry import UserRegistry
from .subscription import Subscription, subscription_key
from .tasks import FAILURES, Tasks, is_being_cancelled

logger = logging.getLogger("sockbridge.stomp")

Action = Callable[[StompConnection, Frame], Awaitable[bool]]
"""Works on a frame; True if its receipt may be sent now, False if there is none, or later."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """What commands work with; see the rooms of these names."""

    broker: Broker
    dispatcher: Dispatcher
    messaging: Messaging
    users: UserRegistry
    policy: Policy
    audience: Audience
    tasks: Tasks
    inbound: Sequence[Inbound]
    counters: StompCounters
    app_prefixes: Sequence[str]
    user_prefix: str
    options: StompOptions


class Commands:
    """The commands of STOMP, for all connections of one server."""

    def __init__(self, rooms: Rooms, log_in: Action) -> None:
        """
        Args:
            log_in: what a CONNECT does.
        """
        self._broker = rooms.broker
        self._dispatcher = rooms.dispatcher
        self._messaging = rooms.messaging
        self._users = rooms.users
        self._policy = rooms.policy
        self._audience = rooms.audience
        self._tasks = rooms.tasks
        self._inbound = rooms.inbound
        self._counters = rooms.counters
        self._app_prefixes = rooms.app_prefixes
        self._user_prefix = rooms.user_prefix
        self._options = rooms.options
        self._separator = rooms.broker.separator
        self._patterns: WeakValueDictionary[str, Pattern] = WeakValueDictionary()  # shared by equal subscriptions
        self._actions: Mapping[Command, Action] = {
            Command.CONNECT: log_in,
            Command.STOMP: log_in,
            Command.SEND: self._send,
            Command.SUBSCRIBE: self._subscribe,
            Command.UNSUBSCRIBE: self._unsubscribe,
            Command.ACK: self._settle,
            Command.NACK: self._settle,
            Command.BEGIN: self._begin,
            Command.COMMIT: self._commit,
            Command.ABORT: self._abort,
            Command.DISCONNECT: self._disconnect,
        }

    async def handle(self, connection: StompConnection, frame: Frame) -> None:
        """Work on a frame; returns when it has taken effect and its receipt is sent. Never raises."""
        try:
            seen = await self._intercept(connection, frame)
            if seen is None or connection.state not in (State.CONNECTING, State.CONNECTED):
                return  # dropped; or the client has gone meanwhile
            frame = seen
            act = self._actions.get(frame.command)
            if act is None:
                raise BadFrame("unknown command", f"{frame.command} is for servers")
            if await act(connection, frame):
                connection.send_receipt(frame)
        except Unserved as error:
            self._excuse(connection, frame, error)
        except RemoteError as error:
            self.fail(connection, error, frame)
        except Exception:
            self._fail_inside(connection, frame)

    async def _intercept(self, connection: StompConnection, frame: Frame) -> Frame | None:
        is_login = connection.state is State.CONNECTING
        for inbound in self._inbound:
            seen = await inbound(connection, frame)
            if seen is None:
                self._counters.dropped += 1
                logger.debug("connection %s: an interceptor dropped %s", connection.id, frame.command)
                if is_login:
                    raise AccessRefused("connecting is not allowed")
                return None
            if not isinstance(seen, Frame):
                raise TypeError(f"an interceptor returns a Frame or None, not {seen!r}")
            frame = seen
        return frame

    async def _disconnect(self, connection: StompConnection, frame: Frame) -> bool:
        self._tasks.cancel_streams(connection)
        # What was sent before is worked on before the goodbye, if it does not take too long.
        await self._tasks.wait_for_calls(connection, self._options.disconnect_grace)
        await self.end_subscriptions(connection)  # nothing comes after the receipt
        if frame.receipt is not None:
            connection.send_receipt(frame)
            connection.leave()
        elif self._options.is_spring:
            connection.fail(RemoteError("Session closed."), frame)
        else:
            connection.end(CloseCode.NORMAL, "Goodbye")
        return False

    # Subscriptions.

    async def _subscribe(self, connection: StompConnection, frame: Frame) -> bool:
        pattern = self._pattern(frame)
        self._policy.check_subscribe(connection.user, pattern)
        path = self._app_path(pattern.text)
        is_users = has_prefix(pattern.text, self._user_prefix)
        if path is None and not is_users and not self._broker.serves(pattern.text):
            raise UnknownDestination(f"nobody serves SUBSCRIBE to {pattern.text[:200]!r}")
        if is_users and not pattern.is_literal:
            raise BadFrame("no wildcards in a user's destination")
        found = None if path is None else self._dispatcher.find_subscribe(connection, frame, path)
        subscription = connection.subscribe(frame, pattern)
        if is_users:
            self._users.subscribe(connection, subscription)
        elif found is None:
            try:
                await self._broker.subscribe(subscription)
            except Exception:
                connection.unsubscribe(subscription.key)
                raise
            if connection.subscriptions.get(subscription.key) is not subscription:
                await self._broker.unsubscribe(subscription)  # the client has gone while the broker worked
                return False
        await self._audience.subscribed(connection, subscription)
        if found is None:
            return True
        if connection.subscriptions.get(subscription.key) is not subscription:
            return False  # it has ended while its beginning was told
        return await self._run(connection, frame, found, subscription)

    def _pattern(self, frame: Frame) -> Pattern:
        destination = require(frame, DESTINATION)
        pattern = self._patterns.get(destination)
        if pattern is None:
            try:
                pattern = Pattern(destination, self._separator)
            except UsageError as error:
                raise BadFrame("no such destination", str(error)) from None
            self._patterns[destination] = pattern
        return pattern

    async def _unsubscribe(self, connection: StompConnection, frame: Frame) -> bool:
        if ID not in frame.headers:
            require(frame, DESTINATION if connection.version is Version.V1_0 else ID)
        await self.end_subscription(connection, subscription_key(frame))  # an unknown id is harmless
        return True

    async def end_subscription(self, connection: StompConnection, key: str) -> bool:
        """End one subscription of ``connection``; False if there is none of this key."""
        subscription = connection.unsubscribe(key)
        if subscription is None:
            return False
        self._tasks.cancel_streams(connection, subscription)
        self._users.unsubscribe(connection, subscription)
        if self._broker.serves(subscription.destination):
            try:
                await self._broker.unsubscribe(subscription)
            except FAILURES:  # the broker's: the rest is ended all the same
                if is_being_cancelled():
                    raise
                logger.exception("connection %s: %r could not be ended", connection.id, subscription)
        await self._audience.unsubscribed(connection, subscription)
        return True

    async def end_subscriptions(self, connection: StompConnection) -> None:
        """End all subscriptions of ``connection``."""
        for key in list(connection.subscriptions):
            await self.end_subscription(connection, key)

    # Messages.

    async def _send(self, connection: StompConnection, frame: Frame) -> bool:
        destination = require(frame, DESTINATION)
        fault = fault_of(destination)
        if fault:
            raise BadFrame("no such destination", fault)
        self._policy.check_send(connection.user, destination)
        if TRANSACTION in frame.headers:
            self._check_served(connection, frame)  # while the client can still abort
            connection.transactions.hold(frame)
            return False
        return await self._apply_send(connection, frame)

    def _check_served(self, connection: StompConnection, frame: Frame) -> None:
        destination = frame.destination
        path = self._app_path(destination)
        if path is not None:
            self._dispatcher.find_message(connection, frame, path)
        elif not has_prefix(destination, self._user_prefix) and not self._broker.serves(destination):
            raise UnknownDestination(f"nobody serves SEND to {destination[:200]!r}")

    async def _apply_send(self, connection: StompConnection, frame: Frame) -> bool:
        destination = frame.destination
        path = self._app_path(destination)
        if path is not None:
            found = self._dispatcher.find_message(connection, frame, path)
            return await self._run(connection, frame, found)
        self._check_served(connection, frame)
        headers = {name: value for name, value in frame.headers.items() if not is_reserved(name)}
        if CONTENT_TYPE in frame.headers:
            headers[CONTENT_TYPE] = frame.headers[CONTENT_TYPE]
        if has_prefix(destination, self._user_prefix):
            self._send_to_user(destination, headers, frame.body)
        else:
            await self._broker.publish(self._messaging.assemble(destination, headers, frame.body))
        return True

    def _send_to_user(self, destination: str, headers: Mapping[str, str], body: bytes) -> None:
        # /user/{name}/queue/x reaches those who have subscribed to /user/queue/x; a / in a name is written %2F.
        name, _, rest = destination[len(self._user_prefix) + 1 :].partition("/")
        message = self._messaging.assemble(f"{self._user_prefix}/{rest}", headers, body)
        self._users.deliver(self._users.connections(name.replace("%2F", "/").replace("%2f", "/")), message)

    async def _run(
        self, connection: StompConnection, frame: Frame, found: Found, subscription: Subscription | None = None
    ) -> bool:
        if not found.is_concurrent:
            await self._dispatcher.run(found, subscription)
            return True
        await self._tasks.wait_for_room(connection)
        self._tasks.start_call(connection, self._run_beside(connection, frame, found, subscription))
        return False

    async def _run_beside(
        self, connection: StompConnection, frame: Frame, found: Found, subscription: Subscription | None
    ) -> None:
        try:
            await self._dispatcher.run(found, subscription)
            connection.send_receipt(frame)
        except Unserved as error:
            self._excuse(connection, frame, error)
        except RemoteError as error:
            self.fail(connection, error, frame)
        except FAILURES:
            if is_being_cancelled():
                raise
            self._fail_inside(connection, frame)

    def _app_path(self, destination: str) -> str | None:
        for prefix in self._app_prefixes:
            if has_prefix(destination, prefix):
                return "/" + destination[len(prefix) + 1 :]
        return None

    # Acknowledgements and transactions.

    async def _settle(self, connection: StompConnection, frame: Frame) -> bool:
        if TRANSACTION in frame.headers:
            connection.transactions.hold(frame)
            connection.check_settle(frame)  # while nothing of the transaction has had an effect
            return False
        return await self._apply_settle(connection, frame)

    async def _apply_settle(self, connection: StompConnection, frame: Frame) -> bool:
        settled = connection.settle(frame)
        if settled is not None:
            subscription, serials = settled
            is_accepted = frame.command is Command.ACK
            await self._broker.settle(subscription, serials, is_accepted=is_accepted, headers=frame.headers)
        return True

    async def _begin(self, connection: StompConnection, frame: Frame) -> bool:
        connection.transactions.begin(frame)
        return True

    async def _commit(self, connection: StompConnection, frame: Frame) -> bool:
        done = [frame]
        for held in connection.transactions.end(frame):
            if connection.has_ended:
                return False  # one of them has failed, and the client was told
            try:
                apply = self._apply_send if held.command is Command.SEND else self._apply_settle
                if await apply(connection, held):
                    done.append(held)
            except Unserved as error:
                self._excuse(connection, held, error)
        for receipted in done:
            connection.send_receipt(receipted)
        return False

    async def _abort(self, connection: StompConnection, frame: Frame) -> bool:
        connection.transactions.end(frame)
        return True

    # Faults.

    def fail(self, connection: StompConnection, error: RemoteError, frame: Frame | None = None) -> None:
        """The client is told, and its connection ends."""
        if connection.has_ended:
            return
        self._counters.faults += 1
        logger.info("connection %s%s: ended, since %s", connection.id, _about(connection, frame), printable(error))
        connection.fail(error, frame)

    def _fail_inside(self, connection: StompConnection, frame: Frame) -> None:
        # Something of the application's that is no controller, or what a controller awaited was cancelled.
        logger.exception("connection %s%s: failed", connection.id, _about(connection, frame))
        self._counters.faults += 1
        connection.fail(RemoteError("internal error"), frame, CloseCode.INTERNAL_ERROR)

    def _excuse(self, connection: StompConnection, frame: Frame, error: Unserved) -> None:
        """The application did not serve a frame: the client is told only if it asked for a receipt, as STOMP has no
        other way to say no."""
        self._counters.unserved += 1
        # The first of a connection is worth a line; a client that goes on fills no disk.
        level = logging.INFO if connection.count_unserved() == 1 else logging.DEBUG
        if not isinstance(error, HandlerFailed) and logger.isEnabledFor(level):  # that was logged where it happened
            about = _about(connection, frame)
            logger.log(level, "connection %s%s: not served: %s", connection.id, about, printable(error))
        is_silent = self._options.is_spring and isinstance(error, UnknownDestination)
        if (frame.receipt is not None and not is_silent) or connection.state is State.CONNECTING:
            self.fail(connection, error, frame)


def _about(connection: StompConnection, frame: Frame | None) -> str:
    # Whose frame, and where to: for the log.
    user = f", user {connection.user.name!r}" if connection.user else ""
    return user if frame is None else f"{user}, {frame.command} {frame.destination[:200]!r}"
