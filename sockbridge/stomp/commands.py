"""What each frame of a client does: one method per command, and what happens when it cannot be done.

A fault against the protocol, or something that is not allowed, ends the connection with an ERROR. A frame that the
application does not serve ends it only if the client asked for a receipt, since STOMP has no other way to say no.

Knows: in which order the rooms are asked: interceptors, policy, controllers, users, broker.
Does not know: carriers, logins, the clock.
Spec: STOMP 1.2, "Client Frames"; docs/stomp-conformance.md, sections 3 to 5.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from ..errors import (
    AccessRefused,
    BadFrame,
    HandlerFailed,
    RemoteError,
    UnknownDestination,
    Unserved,
    UsageError,
)
from ..sockjs.framing import CloseCode
from .broker.base import Broker
from .codec import PreparedMessage
from .connection import State, StompConnection
from .controllers.dispatcher import Dispatcher, Found
from .counters import StompCounters
from .destinations import Pattern, fault_of
from .events import Audience
from .frame import (
    DESTINATION,
    ID,
    TRANSACTION,
    Command,
    Frame,
    Version,
    printable,
    require,
)
from .interceptors import Inbound
from .options import StompOptions
from .policy import Policy
from .registry import UserRegistry
from .routing import Routing
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
    routing: Routing
    users: UserRegistry
    policy: Policy
    audience: Audience
    tasks: Tasks
    inbound: Sequence[Inbound]
    counters: StompCounters
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
        self._users = rooms.users
        self._policy = rooms.policy
        self._audience = rooms.audience
        self._tasks = rooms.tasks
        self._inbound = rooms.inbound
        self._counters = rooms.counters
        self._routing = rooms.routing
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
        pattern = self._pattern(require(frame, DESTINATION))
        self._policy.check_subscribe(connection.user, pattern)
        address = self._broker.resolve(connection, pattern.text)
        if address != pattern.text:
            pattern = self._pattern(address)  # a temporary queue, by the name that others know it by
        path = self._routing.app_path(pattern.text)
        is_users = self._routing.is_users(pattern.text)
        if path is None and not is_users and not self._broker.serves(pattern.text):
            raise UnknownDestination(f"nobody serves SUBSCRIBE to {pattern.text[:200]!r}")
        if is_users and not pattern.is_literal:
            raise BadFrame("no wildcards in a user's destination")
        found = None if path is None else self._dispatcher.find_subscribe(connection, frame, path)
        subscription = connection.subscribe(frame, pattern)
        told: Mapping[str, str] = {}
        if is_users:
            self._users.subscribe(connection, subscription)
        elif found is None:
            try:
                told = await self._broker.subscribe(subscription)
            except Exception:
                connection.unsubscribe(subscription.key)
                raise
            if connection.subscriptions.get(subscription.key) is not subscription:
                await self._broker.unsubscribe(subscription, is_lost=True)  # the client has gone while it worked
                return False
        await self._audience.subscribed(connection, subscription)
        if found is None:
            connection.send_receipt(frame, told)
            return False
        if connection.subscriptions.get(subscription.key) is not subscription:
            return False  # it has ended while its beginning was told
        return await self._run(connection, frame, found, subscription)

    def _pattern(self, destination: str) -> Pattern:
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
        await self._end(connection, subscription, is_lost=False)
        await self._audience.unsubscribed(connection, subscription)
        return True

    async def end_subscriptions(self, connection: StompConnection) -> None:
        """The connection has ended: end all its subscriptions, and whatever else the broker has for it."""
        subscriptions = list(connection.subscriptions.values())
        for subscription in subscriptions:  # all at once, so that none gets what another had not acknowledged
            connection.unsubscribe(subscription.key)
        for subscription in subscriptions:
            await self._end(connection, subscription, is_lost=True)
        with self._contained(connection):
            await self._broker.release(connection)
        for subscription in subscriptions:  # told last, as others wait for what this client had not acknowledged
            await self._audience.unsubscribed(connection, subscription)

    async def _end(self, connection: StompConnection, subscription: Subscription, *, is_lost: bool) -> None:
        self._tasks.cancel_streams(connection, subscription)
        self._users.unsubscribe(connection, subscription)
        if self._broker.serves(subscription.destination):
            with self._contained(connection):
                await self._broker.unsubscribe(subscription, is_lost=is_lost)

    @contextmanager
    def _contained(self, connection: StompConnection) -> Iterator[None]:
        # What the broker raises at the end of something: the rest is ended all the same.
        try:
            yield
        except FAILURES:
            if is_being_cancelled():
                raise
            logger.exception("connection %s: the broker failed to end something", connection.id)

    # Messages.

    async def _send(self, connection: StompConnection, frame: Frame) -> bool:
        destination = require(frame, DESTINATION)
        fault = fault_of(destination)
        if fault:
            raise BadFrame("no such destination", fault)
        self._policy.check_send(connection.user, destination)
        reply_to = self._routing.resolve(connection, frame)
        if reply_to.startswith("/"):
            # Whoever answers may have more rights, and must not be led to use them there.
            self._policy.check_send(connection.user, reply_to)
        if TRANSACTION in frame.headers:
            self._routing.check_served(connection, frame)  # while the client can still abort
            connection.transactions.hold(frame)
            return False
        return await self._apply_send(connection, frame, self._routing.message(frame))

    async def _apply_send(self, connection: StompConnection, frame: Frame, message: PreparedMessage | None) -> bool:
        if message is not None:
            await self._routing.publish(message)
            return True
        found = self._routing.find(connection, frame)
        if found is not None:
            return await self._run(connection, frame, found)
        self._routing.check_served(connection, frame)
        self._routing.send_to_user(frame)
        return True

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

    # Acknowledgements and transactions.

    async def _settle(self, connection: StompConnection, frame: Frame) -> bool:
        if TRANSACTION in frame.headers:
            connection.transactions.hold(frame)
            connection.check_settles([frame])  # while nothing of the transaction has had an effect
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
        held = connection.transactions.end(frame)
        messages = await self._check_commit(connection, held)
        done = [frame]
        # First what is the broker's, and all of it, whatever becomes of the client: nothing is awaited in between that
        # others could use. A function may take its time, and find its client gone.
        work = sorted(zip(held, messages, strict=True), key=lambda item: self._routing.is_functions(item[0]))
        for one, message in work:
            if connection.has_ended and self._routing.is_functions(one):
                return False
            try:
                if one.command is not Command.SEND:
                    is_done = await self._apply_settle(connection, one)
                else:
                    is_done = await self._apply_send(connection, one, message)
                if is_done:
                    done.append(one)
            except Unserved as error:
                self._excuse(connection, one, error)
        for receipted in done:
            connection.send_receipt(receipted)
        return False

    async def _check_commit(
        self, connection: StompConnection, held: Sequence[Frame]
    ) -> Sequence[PreparedMessage | None]:
        # Before anything has an effect: can all of it have one? The messages to publish, one per frame.
        connection.check_settles(frame for frame in held if frame.command is not Command.SEND)
        messages = [self._routing.message(frame) if frame.command is Command.SEND else None for frame in held]
        await self._routing.check([message for message in messages if message is not None])
        return messages

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
