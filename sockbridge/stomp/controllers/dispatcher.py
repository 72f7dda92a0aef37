"""From a destination to the application's function, and from what it returns to whoever is to get it.

The one place that contains errors of controllers: an exception goes to the handler that is declared for it, or is
logged; either way the connection goes on.

Knows: which function serves which destination, where results go.
Does not know: transports, receipts, which broker it is.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...errors import (
    AccessRefused,
    HandlerFailed,
    InvalidController,
    PayloadInvalid,
    RemoteError,
    SessionClosed,
    UnknownDestination,
    UsageError,
)
from ..broker.base import Broker
from ..connection import StompConnection
from ..counters import StompCounters
from ..destinations import Pattern, PatternTable, has_prefix, misplaced_stars
from ..frame import Frame
from ..messaging import Messaging
from ..payloads import Payloads
from ..registry import UserRegistry
from ..subscription import Subscription
from ..tasks import FAILURES, Tasks, give_way, is_being_cancelled, is_over
from .arguments import Arguments, Call
from .mapping import OWN_QUEUE, Controller, Kind, Mapped, Reply

logger = logging.getLogger("sockbridge.stomp")

DEFAULT_PREFIX: Final = "/topic"
"""Before the destination, for what a function without a target returns."""

VALUES_PER_TURN: Final = 64
"""Values of a stream that never waits, before others get their turn."""

ErrorMessage = Callable[[Exception], str]
"""What a client may be told about an exception, where it asked for a receipt."""

_VARIABLE = re.compile(r"\{([^{}]*)\}")


class Route:
    """One function, ready to be called.

    Attributes:
        pattern: of the paths that it serves.
        mapped: what the application has declared.
        controller: whose exception handlers come first.
        is_concurrent: the next frame does not wait for it.
    """

    __slots__ = ("arguments", "controller", "is_concurrent", "mapped", "pattern")

    def __init__(
        self,
        controller: Controller,
        mapped: Mapped,
        pattern: Pattern | None,
        payloads: Payloads,
        services: Mapping[type, object],
    ) -> None:
        variables = pattern.variables if pattern else ()
        self.controller = controller
        self.mapped = mapped
        self.pattern = pattern
        self.is_concurrent = mapped.is_concurrent
        catches = mapped.kind is Kind.EXCEPTION
        self.arguments = Arguments(
            mapped.function, mapped.name, variables, payloads, catches=catches, services=services
        )
        # An exception handler uses the variables of whatever call has failed, which differ.
        for target in () if catches else (*mapped.send_to, *mapped.send_to_user):
            for name in _VARIABLE.findall(target):
                if name not in variables:
                    raise InvalidController(
                        f"{mapped.name}: {target!r} names {{{name}}}, which the destination has not"
                    )


@dataclass(slots=True)
class Found:
    """A function and the call that it is to get."""

    route: Route
    call: Call

    @property
    def is_concurrent(self) -> bool:
        """The next frame does not wait for it."""
        return self.route.is_concurrent


class Dispatcher:
    """The controllers of one server."""

    def __init__(
        self,
        controllers: Iterable[Controller],
        payloads: Payloads,
        messaging: Messaging,
        broker: Broker,
        tasks: Tasks,
        counters: StompCounters,
        error_message: ErrorMessage | None = None,
    ) -> None:
        """
        Raises:
            InvalidController: a function cannot be served; the text says which and why.
        """
        self._messaging = messaging
        self._separator = broker.separator
        self._broker = broker
        self._payloads = payloads
        self._services: Mapping[type, object] = {Messaging: messaging, UserRegistry: messaging.users}
        self._tasks = tasks
        self._counters = counters
        self._error_message = error_message
        self._tables: dict[Kind, PatternTable[Route]] = {
            Kind.MESSAGE: PatternTable(self._separator),
            Kind.SUBSCRIBE: PatternTable(self._separator),
        }
        self._taken: dict[tuple[Kind, str], str] = {}
        self._catchers: dict[tuple[Controller | None, type[BaseException]], Route] = {}
        for controller in controllers:
            if not isinstance(controller, Controller):
                raise InvalidController(f"controllers is a list of Controller objects, not {controller!r}")
            for mapped in controller.seal():
                self._add(controller, mapped)

    def find_message(self, connection: StompConnection, frame: Frame, path: str) -> Found:
        """What serves a SEND.

        Args:
            path: the destination without the application's prefix.

        Raises:
            UnknownDestination: nothing does.
        """
        return self._find(Kind.MESSAGE, connection, frame, path)

    def find_subscribe(self, connection: StompConnection, frame: Frame, path: str) -> Found:
        """What serves a SUBSCRIBE; otherwise as ``find_message``."""
        return self._find(Kind.SUBSCRIBE, connection, frame, path)

    async def run(self, found: Found, subscription: Subscription | None = None) -> None:
        """Call the function and send what it returns. A generator goes on in a task of its own.

        Args:
            subscription: that asked; None for a SEND.

        Raises:
            Unserved: it failed, and no exception handler is declared for that.
            AccessRefused: the function raised it.
        """
        try:
            result = await _outcome(found)
            if isinstance(result, AsyncIterator):
                await self._start_stream(found, result, subscription)
            else:
                await self._reply(found, result, subscription)
        except Exception as error:
            await self._catch(found, error, subscription)

    # Start-up.

    def _add(self, controller: Controller, mapped: Mapped) -> None:
        for target in mapped.send_to:
            if not self._broker.serves(_VARIABLE.sub("x", target)):
                served = ", ".join(self._broker.prefixes)
                raise InvalidController(f"{mapped.name}: the broker does not serve send_to={target!r}, but {served}")
        for target in mapped.send_to_user:
            if has_prefix(target, self._messaging.user_prefix):
                raise InvalidController(f"{mapped.name}: send_to_user={target!r} goes without the user prefix")
        if mapped.kind is Kind.EXCEPTION:
            route = Route(controller, mapped, None, self._payloads, self._services)
            for kind in mapped.exceptions:
                key = (None if mapped.is_everywhere else controller, kind)
                if key in self._catchers:
                    other = self._catchers[key].mapped.name
                    raise InvalidController(f"{mapped.name}: {other} serves {kind.__name__} already")
                self._catchers[key] = route
            return
        self._check_default_target(mapped)
        for destination in mapped.destinations:
            text = join(controller.prefix, destination, self._separator)
            try:
                pattern = Pattern(text, self._separator)
            except UsageError as error:
                raise InvalidController(f"{mapped.name}: {error} ({text!r})") from None
            fault = misplaced_stars(text, self._separator)
            if fault:
                raise InvalidController(f"{mapped.name}: {fault} ({text!r})")
            shape = _VARIABLE.sub("{}", text)
            if (mapped.kind, shape) in self._taken:
                raise InvalidController(f"{mapped.name}: {self._taken[mapped.kind, shape]} serves {text!r} already")
            self._taken[mapped.kind, shape] = mapped.name
            self._tables[mapped.kind].add(pattern, Route(controller, mapped, pattern, self._payloads, self._services))

    def _check_default_target(self, mapped: Mapped) -> None:
        returned = getattr(mapped.function, "__annotations__", {}).get("return")
        is_silent = mapped.kind is Kind.SUBSCRIBE or not mapped.is_default or returned in (None, "None")
        if not is_silent and not self._broker.serves(f"{DEFAULT_PREFIX}/x"):
            raise InvalidController(
                f"{mapped.name}: say send_to=, since the broker does not serve {DEFAULT_PREFIX}, where results go else"
            )

    # A call.

    def _find(self, kind: Kind, connection: StompConnection, frame: Frame, path: str) -> Found:
        best: Route | None = None
        for route in self._tables[kind].match(path):
            if best is None or _specificity(route) > _specificity(best):
                best = route
        if best is None or best.pattern is None:
            raise UnknownDestination(f"nobody serves {frame.command} to {frame.destination[:200]!r}")
        return Found(best, Call(connection, frame, path, best.pattern.match(path) or {}))

    async def _reply(self, found: Found, value: Any, subscription: Subscription | None) -> None:
        if value is None:
            return
        headers: Mapping[str, str] | None = None
        if isinstance(value, Reply):
            value, headers = value.payload, value.headers
        call, mapped = found.call, found.route.mapped
        if mapped.is_default and subscription is not None:
            if call.connection.subscriptions.get(subscription.key) is subscription:
                subscription.deliver(self._messaging.prepare(call.frame.destination, value, headers))
            return
        for target in (DEFAULT_PREFIX + call.path,) if mapped.is_default else mapped.send_to:
            await self._messaging.send(_expand(target, call.variables), value, headers)
        for target in mapped.send_to_user:
            await self._reply_to_user(mapped, call, _expand(target, call.variables), value, headers)

    async def _reply_to_user(
        self, mapped: Mapped, call: Call, target: str, value: Any, headers: Mapping[str, str] | None
    ) -> None:
        if target == OWN_QUEUE:
            target = "/queue" + call.path
        user = call.connection.user
        if user is not None and mapped.is_broadcast:
            await self._messaging.send_to_user(user.name, target, value, headers)
        else:
            await self._messaging.send_to_connection(call.connection, target, value, headers)

    async def _start_stream(self, found: Found, values: AsyncIterator[Any], subscription: Subscription | None) -> None:
        connection = found.call.connection
        if not self._tasks.has_room(connection):
            await _end(values)
            raise PayloadInvalid("too many streams of this connection are running")
        if not self._tasks.start_stream(connection, self._stream(found, values, subscription), subscription):
            await _end(values)

    async def _stream(self, found: Found, values: AsyncIterator[Any], subscription: Subscription | None) -> None:
        connection = found.call.connection
        try:
            count = 0
            async for value in values:
                if is_over(connection, subscription):
                    return
                await self._reply(found, value, subscription)
                await connection.carrier.drain()  # as fast as the one who asked takes it
                count += 1
                if count % VALUES_PER_TURN == 0:
                    await give_way()
        except FAILURES as error:
            if is_being_cancelled():
                raise
            if connection.is_open or not isinstance(error, SessionClosed):  # else the client has gone
                await self._catch_in_stream(found, error)
        finally:
            await _end(values)

    async def _catch_in_stream(self, found: Found, error: BaseException) -> None:
        if not isinstance(error, Exception):
            error = RuntimeError(f"what it awaited was cancelled: {error!r}")
        try:
            await self._catch(found, error, None)
        except RemoteError:  # nobody waits for it
            self._counters.unserved += 1

    # Failure.

    async def _catch(self, found: Found, error: Exception, subscription: Subscription | None) -> None:
        catcher = self._catcher(found.route.controller, type(error))
        if catcher is None:
            raise self._report(found.route, found.call, error) from None
        call = found.call
        again = Found(catcher, Call(call.connection, call.frame, call.path, call.variables, error))
        try:
            result = await _outcome(again)
            if isinstance(result, AsyncIterator):
                await _end(result)
                raise TypeError("an exception handler returns a value, not a stream")
            await self._reply(again, result, None)
        except Exception as failure:
            raise self._report(catcher, call, failure) from None

    def _catcher(self, controller: Controller, kind: type[Exception]) -> Route | None:
        for owner in (controller, None):
            for base in kind.__mro__:
                if (owner, base) in self._catchers:
                    return self._catchers[owner, base]
        return None

    def _report(self, route: Route, call: Call, error: Exception) -> RemoteError:
        name, connection = route.mapped.name, call.connection
        if isinstance(error, (AccessRefused, PayloadInvalid)):
            return error  # the client's fault
        logger.error("connection %s: %s failed", connection.id, name, exc_info=error)
        text = "the server failed to serve this"
        if self._error_message is not None:
            try:
                text = self._error_message(error) or text
            except Exception:  # the application's: the client is told less, then
                logger.exception("error_message failed")
        return HandlerFailed(text)


def join(prefix: str, destination: str, separator: str) -> str:
    """``destination`` behind ``prefix``, with one separator between; always with a leading ``/``."""
    text = destination
    if prefix:
        stem = prefix.rstrip("/" + separator)
        text = f"{stem}{'' if destination[:1] in ('/', separator) else separator}{destination}" if destination else stem
    return text if text.startswith("/") else f"/{text}"


async def _outcome(found: Found) -> Any:
    result = found.route.mapped.function(**found.route.arguments.fill(found.call))
    return await result if inspect.isawaitable(result) else result


async def _end(values: AsyncIterator[Any]) -> None:
    close = getattr(values, "aclose", None)  # generators have it, other iterators need not
    if close is None:
        return
    try:
        await close()
    except Exception:  # the application's: nobody waits for what it cleans up
        logger.exception("a stream failed at its end")


def _specificity(route: Route) -> tuple[int, int, int, int]:
    return route.pattern.specificity if route.pattern else (0, 0, 0, 0)


def _expand(target: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), target)
