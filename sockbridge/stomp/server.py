"""``StompServer``: the application's side of SockJS sessions and TCP connections that speak STOMP.

It joins the rooms around it: a connection turns octets into frames, interceptors see them, the policy allows them,
and they go to a controller, to a user, or to the broker.

Knows: in which order the rooms are asked, the clock.
Does not know: aiohttp, transports, which broker it is.
Spec: STOMP 1.2, "Client Frames"; docs/stomp-conformance.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, Protocol, Unpack, runtime_checkable

from ..errors import (
    AccessRefused,
    BadFrame,
    InvalidOption,
    UsageError,
)
from ..options import OptionArguments, is_async
from ..sockjs.framing import Close, Message
from ..sockjs.handler import SessionHandler
from ..sockjs.session import Session
from .broker.base import Broker
from .commands import Commands, Rooms
from .connection import Carrier, State, StompConnection
from .controllers.dispatcher import Dispatcher, ErrorMessage
from .controllers.mapping import Controller
from .counters import StompCounters
from .destinations import everything_under, has_prefix
from .events import Audience, Events
from .frame import Frame
from .heart_beat import SEND_AFTER
from .interceptors import Interceptor, inbound_of, outbound_of
from .messaging import Messaging
from .options import StompOptionArguments, StompOptions
from .payloads import Converter, Payloads
from .policy import EVERYBODY, NOBODY, Action, Policy, Rule
from .registry import UserRegistry
from .routing import Routing
from .tasks import Tasks
from .users import Login, User

logger = logging.getLogger("sockbridge.stomp")

Authenticate = Callable[[Login], Awaitable[User | str | None]]
"""Who is it? Returns a user or a name; None refuses, as does ``AccessRefused``, whose text the client is told."""

SLOWEST_TICK: Final = 1.0
FASTEST_TICK: Final = 0.05

TURN: Final = 0.005
"""Seconds for the frames of one message, before other clients get their turn."""


@runtime_checkable
class Listener(Protocol):
    """Another way in than SockJS, e.g. ``TcpListener``; started and stopped with the server."""

    async def start(self, server: StompServer) -> None:
        """Take connections from now on."""
        ...

    async def stop(self) -> None:
        """End them all."""
        ...


class StompServer(SessionHandler):
    """Mount it like any handler: ``sockbridge.mount(app, "/ws", StompServer(...))``.

    May be mounted under several prefixes.

    Attributes:
        broker: who distributes what is published.
        messaging: sends from anywhere in the application.
        users: who is there.
        counters: what has happened.
        options: the limits and times in force.
    """

    subprotocols = ("v12.stomp", "v11.stomp", "v10.stomp")

    def __init__(
        self,
        broker: Broker,
        *,
        app_prefixes: Iterable[str] = ("/app",),
        user_prefix: str = "/user",
        controllers: Sequence[Controller] = (),
        authenticate: Authenticate | None = None,
        policy: Sequence[Rule] | None = None,
        interceptors: Sequence[Interceptor] = (),
        events: Sequence[Events] = (),
        converters: Sequence[Converter] = (),
        listeners: Sequence[Listener] = (),
        error_message: ErrorMessage | None = None,
        **options: Unpack[StompOptionArguments],
    ) -> None:
        """
        Args:
            broker: e.g. ``EmbeddedBroker(topics=["/topic"])``.
            app_prefixes: what clients SEND and SUBSCRIBE to under these goes to ``controllers``.
            user_prefix: under it each user has destinations of its own.
            controllers: the application's functions.
            authenticate: coroutine function that is given a ``Login``. Without it the user is the ``principal`` of
                the handshake (a ``User``, a name, or an object with a ``name`` and perhaps ``roles`` and ``expires``),
                or a guest. TCP has no principal.
            policy: who may do what; the first rule that matches decides, and what none matches is refused, also under
                ``app_prefixes`` and ``user_prefix``. None:
                everybody may connect, subscribe to everything but the broker's queues, and send to ``app_prefixes``,
                to nothing else.
            interceptors: see every frame.
            events: are told what happens to connections.
            converters: read and write types that msgspec does not know.
            listeners: other ways in, e.g. ``TcpListener(port=61613)``.
            error_message: what a client may be told about an exception of a controller; by default nothing of it.
            options: see ``StompOptions``.

        Raises:
            InvalidOption: a value that is not allowed; the text says which are.
            InvalidController: a mapped function cannot be served.
        """
        if not isinstance(broker, Broker):
            raise InvalidOption(f"broker is a broker, e.g. EmbeddedBroker(), not {broker!r}")
        if authenticate is not None and not is_async(authenticate):
            raise InvalidOption("authenticate is a coroutine function that takes the login (async def ...)")
        _check_list("controllers", controllers, Controller)
        _check_list("interceptors", interceptors, Interceptor)
        _check_list("events", events, Events)
        _check_list("listeners", listeners, Listener)
        self.options = _checked_options(options)
        self.defaults = _sizes(self.options)
        self.broker = broker
        self.users = UserRegistry()
        self.counters = StompCounters()
        self._app_prefixes = _prefixes(app_prefixes, "app_prefixes")
        self._user_prefix = _prefixes([user_prefix], "user_prefix")[0]
        _check_overlap([*self._app_prefixes, self._user_prefix], broker.prefixes)
        self._authenticate = authenticate
        self._policy = _compile_policy(self._default_policy() if policy is None else policy, broker.separator)
        if policy is None and broker.queue_prefixes:
            logger.warning("no policy is given, so no client may use %s", ", ".join(broker.queue_prefixes))
        self._watch = outbound_of(interceptors)
        self._audience = Audience(events)
        self._listeners = tuple(listeners)
        payloads = Payloads(converters)
        self.messaging = Messaging(broker, self.users, payloads, self._user_prefix)
        self._tasks = Tasks(self.options.max_tasks)
        dispatcher = Dispatcher(
            controllers, payloads, self.messaging, broker, self._tasks, self.counters, error_message
        )
        self._commands = Commands(
            Rooms(
                broker=broker,
                dispatcher=dispatcher,
                routing=Routing(broker, dispatcher, self.messaging, self._app_prefixes),
                users=self.users,
                policy=self._policy,
                audience=self._audience,
                tasks=self._tasks,
                inbound=inbound_of(interceptors),
                counters=self.counters,
                options=self.options,
            ),
            self._log_in,
        )
        self._connections: dict[Carrier, StompConnection] = {}
        self._connected: dict[StompConnection, None] = {}
        self._mounts = 0
        self._timer: asyncio.TimerHandle | None = None

    # For the application.

    @property
    def connections(self) -> Iterator[StompConnection]:
        """Who has logged in, oldest first; safe to close while iterating."""
        return iter(list(self._connected))

    def __len__(self) -> int:
        """How many have logged in."""
        return len(self._connected)

    def __bool__(self) -> bool:
        return True  # a server without clients is one all the same

    async def unsubscribe(self, connection: StompConnection, id: str) -> bool:
        """Take a subscription away from a client, which is not told: STOMP has no frame for it.

        Returns:
            False if there was none of this id.
        """
        return await self._commands.end_subscription(connection, id)

    # For the endpoint.

    async def on_start(self) -> None:
        self._mounts += 1
        if self._mounts > 1:
            return
        try:
            await self.broker.start(self.messaging.assemble)
        except BaseException:
            self._mounts -= 1  # it has not started, so it is not stopped: it may be another server's
            raise
        try:
            self._set_timer(SLOWEST_TICK)
            for listener in self._listeners:
                await listener.start(self)
                if self._authenticate is None:
                    logger.warning("whoever reaches %r is let in as a guest: authenticate= is not set", listener)
        except BaseException:
            await self.on_stop()  # nobody else will: what has not started is not stopped
            raise

    async def on_stop(self) -> None:
        self._mounts -= 1
        if self._mounts > 0:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            for listener in self._listeners:
                try:
                    await listener.stop()
                except Exception:  # a third party's: the others stop all the same
                    logger.exception("%r failed to stop", listener)
            await self._tasks.close()
        finally:
            await self.broker.stop()

    async def __aenter__(self) -> StompServer:
        """Start a server that is mounted nowhere, and serves its listeners alone."""
        await self.on_start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.on_stop()

    async def on_connected(self, session: Session) -> None:
        self.attach(session)

    async def on_message(self, session: Session, message: Message) -> None:
        connection = self._connections.get(session)
        if connection is None:
            return  # it was released while an earlier message was worked on
        if isinstance(message, bytes):
            connection.answer_in_binary()
        await self.receive(connection, message)

    async def on_closed(self, session: Session, close: Close) -> None:
        await self.release(session, close)

    # For whatever carries connections.

    def attach(self, carrier: Carrier) -> StompConnection:
        """A client is there; it is to log in within ``connect_timeout``."""
        now = asyncio.get_running_loop().time()
        connection = self._connections[carrier] = StompConnection(carrier, self.options, now, self._watch)
        return connection

    async def receive(self, connection: StompConnection, received: Message) -> None:
        """Work on what a client has sent, in order; returns when it has taken effect."""
        loop = asyncio.get_running_loop()
        turn_end = loop.time() + TURN
        try:
            connection.receive(received)
            while (frame := connection.next_frame()) is not None:
                await self._commands.handle(connection, frame)
                if loop.time() > turn_end:
                    await asyncio.sleep(0)  # thousands fit into one message, and others want their turn
                    turn_end = loop.time() + TURN
        except BadFrame as error:
            self._commands.fail(connection, error)
        finally:
            connection.rest()

    async def release(self, carrier: Carrier, close: Close) -> None:
        """The carrier has ended; nothing of its connection is left when this returns. May be called again."""
        connection = self._connections.pop(carrier, None)
        if connection is None:
            return
        # What cannot wait comes first: the application's calls may take their time, or never end.
        connection.on_lost()
        self._tasks.cancel_streams(connection)
        self.users.discard(connection)
        self.counters.undelivered += connection.undelivered
        if connection in self._connected:
            del self._connected[connection]
            self.counters.disconnected += 1
        try:
            await self._commands.end_subscriptions(connection)
            await self._audience.disconnected(connection, close)
        finally:
            self._audience.forget(connection)

    # The login.

    async def _log_in(self, connection: StompConnection, frame: Frame) -> bool:
        user = await self._recognize(connection, frame)
        self._policy.check_connect(user)
        now = asyncio.get_running_loop().time()
        expires_at = None if user is None or user.expires is None else now + _seconds_until(user.expires)
        if expires_at is not None and expires_at <= now:
            raise AccessRefused("the login has expired")
        if connection.state is not State.CONNECTING or not connection.carrier.is_open:
            return False  # it has gone while it was looked at
        heart_beat = connection.accept(frame, user, now, expires_at)
        if heart_beat.tick:
            self._set_timer(min(heart_beat.tick, SLOWEST_TICK), only_if_sooner=True)
        carrier = connection.carrier
        beat = heart_beat.send_every * SEND_AFTER
        if isinstance(carrier, Session) and heart_beat.expect_every and 0 < beat <= carrier.heartbeat_delay:
            carrier.has_heartbeat = False  # STOMP's do its work, in both directions
        self._connected[connection] = None
        self.users.add(connection)
        self.counters.connected += 1
        await self._audience.connected(connection)
        return False  # a CONNECT has no receipt

    async def _recognize(self, connection: StompConnection, frame: Frame) -> User | None:
        if self._authenticate is None:
            return _user_of(connection.handshake.principal)
        recognized = await self._authenticate(Login(frame.headers, connection.handshake))
        if not recognized:
            raise AccessRefused("login refused")
        return _user_of(recognized)

    # The clock.

    def _set_timer(self, delay: float, *, only_if_sooner: bool = False) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if only_if_sooner and self._timer.when() <= loop.time() + delay:
                return
            self._timer.cancel()
        self._timer = loop.call_later(max(delay, FASTEST_TICK), self._look)

    def _look(self) -> None:
        # One look at all connections, as often as the shortest heart-beat needs.
        now = asyncio.get_running_loop().time()
        delay = SLOWEST_TICK
        for connection in list(self._connections.values()):
            try:
                error = connection.look(now)
                if error is not None:
                    self._commands.fail(connection, error)
                elif 0 < connection.tick < delay:
                    delay = connection.tick
            except Exception:  # a third party's carrier: the clock goes on for all others
                logger.exception("connection %s: its carrier failed", connection.id)
        self._set_timer(delay)

    def _default_policy(self) -> list[Rule]:
        separator = self.broker.separator
        rules = [Rule.connect(EVERYBODY)]
        # Who consumes takes from others; that is nothing for whoever comes along.
        for prefix in self.broker.queue_prefixes:
            stem = prefix.rstrip("/")
            rules += [Rule.subscribe(stem, NOBODY), Rule.subscribe(everything_under(stem, separator), NOBODY)]
        rules.append(Rule.subscribe("**", EVERYBODY))
        if self.options.is_spring:
            return [*rules, Rule.send("**", EVERYBODY)]
        return [*rules, *(Rule.send(everything_under(prefix, separator), EVERYBODY) for prefix in self._app_prefixes)]


def _prefixes(prefixes: Iterable[str], name: str) -> tuple[str, ...]:
    if isinstance(prefixes, str):
        raise InvalidOption(f"{name} is a list of prefixes, not {prefixes!r}")
    several = tuple(prefixes)
    for prefix in several:
        if not isinstance(prefix, str) or not prefix.startswith("/") or any(one in prefix for one in "*?{}\0"):
            raise InvalidOption(f'{name}: a prefix starts with / and holds no wildcard, e.g. "/app", not {prefix!r}')
        if prefix.rstrip("/.") == "":
            raise InvalidOption(f"{name}: {prefix!r} would hide the broker's destinations")
    return tuple(prefix.rstrip("/.") for prefix in several)


def _checked_options(options: StompOptionArguments) -> StompOptions:
    unknown = set(options) - StompOptionArguments.__annotations__.keys()
    if unknown:
        known = ", ".join(sorted(StompOptionArguments.__annotations__))
        raise InvalidOption(f"there is no option {', '.join(sorted(unknown))}; limits and times are: {known}")
    return StompOptions(**options)


def _sizes(options: StompOptions) -> OptionArguments:
    # What mount is to allow, so that a frame meets our limits first.
    size = options.max_body_size + options.max_head_size
    return {
        "max_message_size": max(3 * size, 256 * 1024),  # quoted by the client: an emoji becomes three times as long
        "send_buffer_limit": max(6 * size, 1024 * 1024),  # quoted by us: a control character becomes six
    }


def _compile_policy(rules: Sequence[Rule], separator: str) -> Policy:
    _check_list("policy", rules, Rule)
    for rule in rules:
        if rule.action is not Action.CONNECT and not rule.destination.startswith(("/", "*")):
            raise InvalidOption(f"policy: a destination starts with /, not {rule.destination!r}")
    policy = Policy(rules, separator)
    if not policy.admits:
        raise InvalidOption("policy lets nobody in: add Rule.connect(...), e.g. Rule.connect(LOGGED_IN)")
    for hidden in policy.hidden:
        logger.warning("policy: the rule for %s is never asked, as one before it decides", hidden)
    return policy


def _check_list(name: str, several: object, kind: type) -> None:
    # A mistake in the set-up is told here, not at the first client.
    wanted = f"{name} is a list of {kind.__name__} objects"
    if not isinstance(several, Sequence):
        raise InvalidOption(f"{wanted}, not {several!r}")
    for one in several:
        if isinstance(one, type) or not isinstance(one, kind):
            raise InvalidOption(f"{wanted}; {one!r} is none")


def _check_overlap(ours: Sequence[str], brokers: Sequence[str]) -> None:
    for index, prefix in enumerate(ours):
        for other in (*ours[index + 1 :], *brokers):
            if has_prefix(prefix, other) or has_prefix(other, prefix):
                raise InvalidOption(f"one of the prefixes {prefix} and {other} hides the other")


def _user_of(principal: object) -> User | None:
    if principal is None or isinstance(principal, User):
        return principal
    if isinstance(principal, str):
        return User(principal)
    name = getattr(principal, "name", None)
    if not isinstance(name, str):
        raise UsageError(f"authenticate returns a User, a name, or an object with a name; not {principal!r:.100}")
    return User(name, getattr(principal, "roles", ()), getattr(principal, "expires", None))


def _seconds_until(moment: datetime | float) -> float:
    return (moment.timestamp() if isinstance(moment, datetime) else moment) - time.time()
