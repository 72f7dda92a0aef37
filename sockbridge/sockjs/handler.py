"""What an application writes: a ``SessionHandler``, or one coroutine function.

Knows: the names and the order of the calls.
Does not know: who makes them.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

from ..errors import RemoteError, SessionClosed, UsageError
from ..options import OptionArguments
from .framing import Close, CloseCode, Message
from .session import Session


class SessionHandler:
    """The application's side of every session of an endpoint. Override what you need; each does nothing.

    For one session the calls never overlap and come in this order: ``on_connected`` once, ``on_message`` any
    number of times, ``on_transport_error`` at most once, ``on_closed`` once. A client that goes never
    cancels a call that runs (but for ``on_message`` on a websocket where the application's runner is set to
    ``handler_cancellation=True``). An exception out of ``on_connected`` or ``on_message`` closes that session with
    1011, is logged, and touches no other.

    Attributes:
        subprotocols: websocket subprotocols that the endpoint agrees to; among them the client's order decides.
        defaults: options of ``mount`` that this handler wants where ``mount`` is not told otherwise, e.g. a larger
            ``max_message_size``.
    """

    subprotocols: Iterable[str] = ()
    defaults: OptionArguments = {}  # noqa: RUF012  # a TypedDict cannot be a ClassVar that instances override

    async def on_start(self) -> None:
        """The endpoint starts: before the first session. Not called on per-session instances."""

    async def on_stop(self) -> None:
        """The endpoint has stopped: after the last ``on_closed``. Not called on per-session instances."""

    async def on_connected(self, session: Session) -> None:
        """A client is there; it knows already that it is connected. Its messages wait until this ends."""

    async def on_message(self, session: Session, message: Message) -> None:
        """The client sent ``message``: a ``str``, or ``bytes`` for a binary message on a raw websocket."""

    async def on_transport_error(self, session: Session, error: RemoteError) -> None:
        """The session ends without a goodbye: the connection was cut, or a limit was passed.

        ``session.undelivered`` counts the messages that are lost by it. ``on_closed`` follows.
        """

    async def on_closed(self, session: Session, close: Close) -> None:
        """The session is over; ``send`` drops from now on. Waits for an ``on_message`` that still runs,
        for ``disconnect_delay`` at most."""


logger = logging.getLogger("sockbridge.sockjs")

LAST_WORDS: Final = 5.0
"""Seconds that a coroutine function has to end after its session has ended."""

NO_HANDLER: Final = "the handler is a SessionHandler, a class of one, or a coroutine function that takes the session"

CALLS: Final = {
    "on_start": (),
    "on_stop": (),
    "on_connected": ("session",),
    "on_message": ("session", "message"),
    "on_transport_error": ("session", "error"),
    "on_closed": ("session", "close"),
}
"""The callbacks of a ``SessionHandler`` and what they are given."""

Coroutine = Callable[[Session], Awaitable[None]]
HandlerSource = SessionHandler | type[SessionHandler] | Coroutine
"""What ``mount`` takes: one handler for all sessions, a class (an instance per session), or a coroutine
function ``async def chat(session)`` that runs once per session."""


class HandlerFactory:
    """Finds the handler of a new session."""

    def __init__(self, source: HandlerSource) -> None:
        """
        Raises:
            UsageError: ``source`` is none of the three.
        """
        self.shared: SessionHandler | None = source if isinstance(source, SessionHandler) else None
        self.subprotocols: tuple[str, ...] = ()
        if isinstance(source, SessionHandler) or (isinstance(source, type) and issubclass(source, SessionHandler)):
            self.subprotocols = tuple(source.subprotocols)
            _check_methods(source)
        elif inspect.isclass(source):
            raise UsageError(f"{NO_HANDLER}; {source.__name__} is a class of something else")
        else:
            _check_call(source, ["session"], getattr(source, "__name__", "handler"))
        self._source = source

    def make(self) -> SessionHandler:
        """The handler for one more session."""
        source = self._source
        if isinstance(source, SessionHandler):
            return source
        if isinstance(source, type) and issubclass(source, SessionHandler):
            return source()
        return CoroutineHandler(source)  # type: ignore[arg-type]  # checked when the factory was made


def _check_methods(source: SessionHandler | type[SessionHandler]) -> None:
    is_class = isinstance(source, type)
    for name, values in CALLS.items():
        # A class is asked for plain functions, whose first argument is the handler.
        _check_call(getattr(source, name), ["self", *values] if is_class else [*values], name)
    kind = source if isinstance(source, type) else type(source)
    if is_class:
        try:
            inspect.signature(kind).bind()
        except TypeError as error:
            raise UsageError(
                f"an instance of {kind.__name__} is made for each session, without arguments ({error}); "
                f"pass {kind.__name__}(...) to have one for all sessions"
            ) from None
    for name in vars(kind):
        if name.startswith("on_") and name not in CALLS:
            logger.warning("%s.%s is never called; the calls are %s", kind.__name__, name, ", ".join(CALLS))


def _check_call(call: object, values: list[str], name: str) -> None:
    # A mistake in the handler is told at mount, not at the first client.
    wanted = f"async def {name}({', '.join(values)})"
    if not inspect.iscoroutinefunction(call) and not inspect.iscoroutinefunction(getattr(call, "__call__", None)):  # noqa: B004  # an instance
        raise UsageError(f"{NO_HANDLER}; wanted is {wanted}: ..., not {call!r}")
    try:
        inspect.signature(call).bind(*values)  # type: ignore[arg-type]  # something to call, as was just seen
    except TypeError as error:
        raise UsageError(f"wanted is {wanted}: {error}") from None


class CoroutineHandler(SessionHandler):
    """Runs a coroutine function as the handler of one session.

    The function iterates over its session; the iteration ends when the session does. When the function
    returns, the session is closed with 1000. One that goes on after its session has ended is cancelled
    ``LAST_WORDS`` later.
    """

    def __init__(self, function: Coroutine) -> None:
        self._function = function
        self._feed = MessageFeed()
        self._task: asyncio.Task[None] | None = None

    async def on_connected(self, session: Session) -> None:
        session.messages = self._feed
        self._task = asyncio.create_task(self._run(session), name=f"sockbridge session {session.id}")

    async def on_message(self, session: Session, message: Message) -> None:
        await self._feed.put(message)

    async def on_closed(self, session: Session, close: Close) -> None:
        self._feed.end()
        task = self._task
        if task is None:
            return
        try:
            await asyncio.wait({task}, timeout=LAST_WORDS)
        finally:
            is_late = task.cancel()  # else nobody would ever end it
        if is_late:
            await asyncio.wait({task})
        else:
            await task

    async def _run(self, session: Session) -> None:
        try:
            await self._function(session)
            session.close(CloseCode.NORMAL, "Normal closure")
        except SessionClosed:  # the usual end of a function that was sending
            if session.is_open:
                raise
        finally:
            self._feed.end()
            session.close(CloseCode.INTERNAL_ERROR, "Internal error")  # unless it is closed already


class MessageFeed(AsyncIterator[Message]):
    """The messages of one session as an asynchronous iterator; ``put`` waits while one is not yet fetched."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._fetched = asyncio.Event()
        self._has_ended = False

    async def put(self, message: Message) -> None:
        """Hand in a message; returns when it was fetched or the feed has ended."""
        self._messages.append(message)
        self._arrived.set()
        self._fetched.clear()
        if not self._has_ended:
            await self._fetched.wait()

    def end(self) -> None:
        """No more messages; those handed in can still be fetched. May be called twice."""
        self._has_ended = True
        self._arrived.set()
        self._fetched.set()

    async def __anext__(self) -> Message:
        while not self._messages:
            if self._has_ended:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        message = self._messages.popleft()
        self._fetched.set()
        return message
