"""The client's side of a session without a socket: what a test says to a handler, and what it hears from it.

::

    async with MemorySession(Echo()) as session:
        await session.send("hello")
        assert await session.receive() == "hello"

Behind it is the engine that serves requests, so order, limits, errors and closing are those of production. A session
is carried as by a websocket; one with the name of an HTTP transport may stay away for a while (``leave``), and has no
goodbye but being cut.

Knows: messages both ways, the ways in which a client goes.
Does not know: requests; what single transports do with the bytes.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self, TypedDict, Unpack

from ..errors import ConnectionLost, InvalidOption, MessageTooBig, Refused, SessionClosed, UsageError
from ..options import OptionArguments
from ..sockjs.framing import FRAMED, HEARTBEAT_FRAME, RAW, Binary, Close, CloseCode, Message
from ..sockjs.handler import HandlerSource
from ..sockjs.handshake import Handshake
from ..sockjs.session import Session
from .handler_errors import raise_or_note
from .handshake import HandshakeArguments, make_handshake
from .loop import Guard, turns
from .memory_endpoint import MemoryEndpoint
from .memory_receiver import MemoryReceiver

RECEIVE_LIMIT: Final = 1024 * 1024
"""Bytes that a client holds which the test does not read, 64 more for each message; above it the client is slow."""

OVERHEAD: Final = 64

SOCKETS: Final = ("websocket", "websocket-raw")
"""Transports whose client can say goodbye, and whose session ends with the connection. All others are like HTTP."""

TRANSPORTS: Final = (*SOCKETS, "xhr", "xhr_streaming", "eventsource", "htmlfile", "jsonp")
"""Names that ``Session.transport`` may have."""

CLIENT_NAMES: Final = {"xhr-polling": "xhr", "xhr-streaming": "xhr_streaming"}
"""What ``sockbridge.client`` calls some of them."""

CUT: Final = Close(CloseCode.ABNORMAL, "the connection was cut", clean=False)
"""What a client knows of the end of a session without a goodbye."""

_numbers = itertools.count(1)


class MemorySessionArguments(HandshakeArguments, OptionArguments, total=False):
    """The keyword arguments of ``MemorySession``: the handshake's values, and the options of ``mount``."""


class _Values(TypedDict):
    handshake: HandshakeArguments
    options: OptionArguments


class MemorySession:
    """One client of a handler. Enter it: then it is connected. At the end of its block it says goodbye, and what the
    handler has raised is raised there, if no call has raised it; see ``MemoryEndpoint``.

    Attributes:
        handshake: what the handler sees as ``session.handshake``.
        heartbeats: how many have come.
    """

    def __init__(
        self,
        handler: HandlerSource | MemoryEndpoint,
        transport: str = "websocket",
        **values: Unpack[MemorySessionArguments],
    ) -> None:
        """
        Args:
            handler: in any form that ``mount`` takes, for a session of its own; or the endpoint of several.
            transport: what ``session.transport`` is to be. With ``"websocket-raw"`` there are bytes as well, with the
                name of an HTTP transport there is ``leave``. The names of ``sockbridge.client`` are taken as well.
            values: of the handshake (``headers``, ``cookies``, ``principal``, ``url``, ``remote``, ``app``,
                ``subprotocol``), and the options of ``mount``.

        Raises:
            InvalidOption: an option is not one, or the name of the transport.
            UsageError: ``handler`` is not one; or options are given although an endpoint has its own.
        """
        transport = CLIENT_NAMES.get(transport, transport)
        if transport not in TRANSPORTS:
            names = ", ".join([*TRANSPORTS, *CLIENT_NAMES])
            raise InvalidOption(f"there is no transport {transport!r}; there are: {names}")
        split = _split(values)
        self._own_endpoint: MemoryEndpoint | None = None
        if isinstance(handler, MemoryEndpoint):
            if split["options"]:
                raise UsageError(f"{', '.join(split['options'])}: options are given to the MemoryEndpoint")
            self.endpoint = handler
        else:
            self.endpoint = self._own_endpoint = MemoryEndpoint(handler, **split["options"])
        id = f"memory-{next(_numbers)}"
        self.handshake: Handshake = make_handshake(transport, id, **split["handshake"])
        self.heartbeats = 0
        self._id = None if transport in SOCKETS else id  # by which the next request finds the session
        self._transport = transport
        self._framing = RAW if transport == "websocket-raw" else FRAMED
        self._served: Session | None = None
        self._receiver: MemoryReceiver | None = None
        self._arrived: deque[Message] = deque()
        self._arrived_size = 0
        self._is_paused = False
        self._close: Close | None = None
        self._watch = self.endpoint.handler.make()
        self._sent = 0

    def __repr__(self) -> str:
        return f"<MemorySession {self.handshake.url} {'open' if self._close is None else self._close}>"

    async def __aenter__(self) -> Self:
        if self._served is not None:
            raise UsageError("a MemorySession is one client: make another one")
        if self._own_endpoint is not None:
            await self._own_endpoint.__aenter__()
        elif not self.endpoint.is_entered:
            raise UsageError(
                "the MemoryEndpoint is to be entered before: async with MemoryEndpoint(handler) as endpoint"
            )
        async with AsyncExitStack() as on_failure:
            on_failure.push_async_exit(self.__aexit__)
            self._open()
            await turns()
            self._tell_error()
            on_failure.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._served is not None:
            self._go(Close(CloseCode.NORMAL, ""))
            await turns()
        if self._own_endpoint is None:
            raise_or_note(self._watch.take_errors(), error)
        else:
            await self._own_endpoint.__aexit__(kind, error, traceback)

    # What the test sees.

    @property
    def served(self) -> Session:
        """The session as the handler sees it.

        Raises:
            UsageError: it was not entered.
        """
        if self._served is None:
            raise UsageError("a MemorySession is to be entered: async with MemorySession(handler) as session")
        return self._served

    @property
    def is_open(self) -> bool:
        """Neither side has ended it, as far as the client knows."""
        return self._close is None

    @property
    def close_info(self) -> Close | None:
        """How the session ended for the client: as the server told it, as ``close`` was called, or 1006 if it was cut.
        None while it has not."""
        return self._close

    @property
    def handler_error(self) -> BaseException | None:
        """What the handler raised and no call here has raised yet; None if there is nothing."""
        return self._watch.errors[0] if self._watch.errors else None

    # Messages.

    async def send(self, message: Message) -> None:
        """Send ``message``; returns when the handler has done all that it can do without waiting: when nothing in the
        loop can go on at once, or after ``MOST_TURNS`` of the loop if that does not come.

        A message above ``max_message_size`` ends the session of a websocket with 1009.

        Raises:
            Exception: what the handler raised.
            SessionClosed: the session has ended.
            MessageTooBig: it is above ``max_message_size``, on an HTTP transport, which answers 413.
            TypeError: ``message`` is of another type than the transport carries.
            AssertionError: more than ``receive_buffer_limit`` waits for the handler, for five seconds.
        """
        self._tell_error()
        served = self.served
        if self._close is not None:
            raise SessionClosed(self._close.code, self._close.reason)
        if self._is_within_limit(message):
            limit = self.endpoint.options.receive_buffer_limit
            async with Guard(f"receive_buffer_limit ({limit} bytes) waits, and the handler made no room"):
                await self.endpoint.manager.accept(served, [message])
            self._sent += 1
        await turns()
        self._tell_error()

    async def receive(self) -> Message:
        """The next message of the handler; waits for it, five seconds at most.

        Raises:
            Exception: what the handler raised.
            SessionClosed: the session has ended, and everything that came before was received.
            AssertionError: nothing comes.
        """
        async with Guard("no message came"):
            while not self._arrived:
                self._tell_error()
                if self._close is not None and (self._close.code != CloseCode.INTERNAL_ERROR or self._watch.close):
                    raise SessionClosed(self._close.code, self._close.reason)  # and of 1011 the reason is known
                await self._change()
        message = self._arrived.popleft()
        self._arrived_size -= len(message) + OVERHEAD
        if self._receiver is not None:
            self._receiver.wake()
        return message

    async def messages(self, count: int) -> list[Message]:
        """The next ``count`` messages."""
        return [await self.receive() for _ in range(count)]

    def take(self) -> list[Message]:
        """The messages that have come and were not received; what the handler has sent just now included."""
        if self._receiver is not None:
            self._receiver.flush()
        taken = list(self._arrived)
        self._arrived.clear()
        self._arrived_size = 0
        if self._receiver is not None:
            self._receiver.wake()
        return taken

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        """The next message; the iteration ends with the session."""
        try:
            return await self.receive()
        except SessionClosed:
            raise StopAsyncIteration from None

    async def settle(self) -> None:
        """Wait until the handler has worked on all that was sent, five seconds at most.

        A coroutine handler has fetched it then, and run until it waits for something.

        Raises:
            Exception: what the handler raised.
            AssertionError: a call of the handler goes on.
        """
        watch = self._watch
        async with Guard("a call of the handler did not end"):
            while watch.running or (self.served.is_open and watch.handled < self._sent):
                await self._change()
        await turns()
        self._tell_error()

    # How clients behave.

    def pause(self) -> None:
        """Read nothing from now on: what the handler sends waits on its side."""
        self._is_paused = True

    def resume(self) -> None:
        """Read again, what waited first. It arrives in the next turn of the loop."""
        self._is_paused = False
        if self._receiver is not None:
            self._receiver.wake()

    async def leave(self) -> None:
        """Fetch nothing from now on, as a page between two polls; after ``disconnect_delay`` the session is over.

        Raises:
            UsageError: the session is a websocket's.
        """
        if self._id is None:
            raise UsageError(f"a {self._transport} cannot stay away and come back: name an HTTP transport, e.g. 'xhr'")
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            self.endpoint.manager.release(self.served, receiver)
        await turns()

    async def come_back(self) -> None:
        """Fetch again, after ``leave`` or ``cut``: what waited comes, or how the session has ended.

        Raises:
            UsageError: it is there already, or the session is a websocket's.
            SessionClosed: the session is forgotten; a real client would get a new one.
        """
        if self._id is None or self._receiver is not None:
            raise UsageError("to come back, leave before")
        try:
            self._attach()
        except Refused:
            close = self.served.close_info
            assert close is not None
            raise SessionClosed(close.code, close.reason) from None
        await turns()

    async def cut(self, error: ConnectionLost | None = None) -> None:
        """Lose the connection without a goodbye, and what was on its way.

        Args:
            error: what the handler is told; e.g. ``sockbridge.PongTimeout("...")``.
        """
        self._lose(error or ConnectionLost("the client left without a goodbye"))
        await turns()

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """End the session from the client's side. HTTP has no goodbye: there the connection is cut.

        Does nothing if it has ended. ``wait_closed`` waits until the handler has been told.
        """
        self._go(Close(code, reason))
        await turns()

    async def wait_closed(self) -> Close:
        """Wait until ``on_closed`` has returned, five seconds at most; returns what it was given.

        Raises:
            Exception: what the handler raised.
            AssertionError: the session goes on, or a call of the handler does.
        """
        async with Guard("on_closed did not come, or not to its end"):
            while self._watch.close is None:
                await self._change()
        self._tell_error()
        return self._watch.close

    async def advance(self, seconds: float) -> None:
        """As ``MemoryEndpoint.advance``."""
        await self.endpoint.advance(seconds)

    # For the receiver.

    @property
    def has_room(self) -> bool:
        """It takes another frame."""
        return not self._is_paused and self._arrived_size <= RECEIVE_LIMIT

    def on_frame(self, frame: bytes) -> None:
        """The next frame."""
        if frame is HEARTBEAT_FRAME:
            self.heartbeats += 1
        elif self._framing is RAW:
            if frame or self.served.receiver is self._receiver:  # else it is the goodbye, which has no frame
                self._arrive([bytes(frame) if isinstance(frame, Binary) else frame.decode()])
        elif frame.startswith(b"a"):
            self._arrive(json.loads(frame[1:]))
        self._watch.changed.set()

    def on_let_go(self, receiver: MemoryReceiver) -> None:
        """The session wants nothing more of ``receiver``."""
        if receiver is self._receiver:
            self._receiver = None
            self._close = self.served.close_info if receiver.is_connected else CUT
            self.endpoint.manager.release(self.served, receiver)
            self._watch.changed.set()

    # Private.

    def _open(self) -> None:
        endpoint = self.endpoint
        self._served = endpoint.manager.create(self.handshake, self._framing, self._id)
        endpoint.handler.put(self._served, self._watch)
        self._attach()
        endpoint.manager.open(self._served)

    def _attach(self) -> None:
        receiver = MemoryReceiver(self._transport, self.served, self, self.endpoint.options.write_timeout, self._on_cut)
        self.endpoint.manager.attach(self.served, receiver)
        self._receiver = receiver
        receiver.flush()

    def _on_cut(self) -> None:
        self._lose(ConnectionLost("the server cut the connection"))

    def _lose(self, error: ConnectionLost) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.is_connected = False
            self._close = self._close or CUT
            self.endpoint.manager.release(self.served, receiver, error)
            self._watch.changed.set()

    def _go(self, close: Close) -> None:
        receiver = self._receiver
        if receiver is None:
            return
        self._close = self._close or close
        if self._id is not None:
            self._lose(ConnectionLost("the client left without a goodbye"))
            return
        self._receiver = None
        self.served.interrupt(close, None)
        self.endpoint.manager.release(self.served, receiver)
        self._watch.changed.set()

    def _arrive(self, messages: Sequence[Message]) -> None:
        self._arrived.extend(messages)
        self._arrived_size += sum(len(message) + OVERHEAD for message in messages)

    def _is_within_limit(self, message: Message) -> bool:
        limit = self.endpoint.options.max_message_size
        size = len(self._framing.prepare(message)) + (0 if self._framing is RAW else len("[]"))
        if size <= limit:
            return True
        fault = MessageTooBig(limit)
        if self._id is not None:
            raise fault
        self.served.interrupt(Close(CloseCode.MESSAGE_TOO_BIG, str(fault), clean=False), fault)
        return False

    def _tell_error(self) -> None:
        if self._watch.errors:
            raise self._watch.errors.pop(0)

    async def _change(self) -> None:
        self._watch.changed.clear()
        await self._watch.changed.wait()


def _split(values: MemorySessionArguments) -> _Values:
    given: dict[str, Any] = dict(values)
    names = HandshakeArguments.__annotations__.keys()
    return {
        "handshake": {name: given[name] for name in given if name in names},  # type: ignore[typeddict-item]  # by name
        "options": {name: given[name] for name in given if name not in names},  # type: ignore[typeddict-item]  # by name
    }
