"""A session from the client's side, over one connection after the other.

Three tasks for as long as a connection lives: one reads, one writes what the outbox has, one listens for silence. A
fourth, the *life*, drives them, and connects again where that is wanted. The end is one act (``_end``), which wakes
everybody who waits.

Knows: what has come, in which order things end, when it is connected again.
Does not know: any transport, how a connection is found.
Spec: sockjs-protocol 0.3.3, Protocol; docs/client.md.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Final, Never, Self

from ..errors import ConnectFailed, SessionClosed, SessionLost
from ..sockjs.framing import Close, CloseCode, Message
from .carrier import Broken, Carrier, Unknown, Unsent
from .frames import Kind, ServerFrame
from .options import RETURNING, Break, ClientOptions
from .outbox import MEMORY, OVERHEAD, Outbox

logger = logging.getLogger("sockbridge.client")

LAST_WORDS: Final = 1.0
"""Seconds that a goodbye may take longer than the news that the session has ended, as it says more than that."""

ANSWERED: Final = 1.0
"""Seconds before a connection broke since which an answer of the server proves nothing; see ``Outbox.recall``. Where
the server has ended the session it is ``MEMORY``, as nobody knows when it did."""

Connect = Callable[[], Coroutine[Any, Any, tuple[Carrier, Mapping[str, str]]]]
"""Finds a connection: the carrier, and why others before it failed. Raises ``ConnectFailed``."""


class Session:
    """A live two-way connection with a SockJS server.

    Use it in the task that made it, or others of the same loop. Messages come in order, at most once.

    Attributes:
        url: of the server, without credentials and query.
        failures: why the transports failed that were tried before the one that works, by name.
        reconnects: how often the connection was made again.
    """

    def __init__(
        self,
        url: str,
        carrier: Carrier,
        failures: Mapping[str, str],
        options: ClientOptions,
        connect: Connect,
        on_end: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """
        Args:
            connect: finds the next connection.
            on_end: frees what connections are made with.
        """
        self.url = url
        self.failures = failures
        self.reconnects = 0
        self._carrier = carrier
        self._options = options
        self._connect = connect
        self._on_end = on_end
        self._close: Close | None = None
        self._lost: str | None = None  # how it broke
        self._fault: Exception | None = None  # what on_reconnect has raised
        self._outbox = Outbox()
        self._arrived: deque[Message] = deque()
        self._arrived_size = 0
        self._has_arrived = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._attempt = 0
        self._is_leaving = False  # the life frees everything, and is not to be disturbed
        self._life = asyncio.create_task(self._live(), name=f"sockbridge client {url}")

    def __repr__(self) -> str:
        return f"<client Session {self.url} {self.transport} {'open' if self.is_open else self._close or 'closing'}>"

    @property
    def transport(self) -> str:
        """Name of the transport that carries the session now, or carried it last."""
        return self._carrier.name

    @property
    def subprotocol(self) -> str | None:
        """What was agreed on; raw websockets only."""
        return self._carrier.subprotocol

    @property
    def is_open(self) -> bool:
        """True while messages can be sent; while it is connecting again as well."""
        return not self._outbox.is_shut

    @property
    def close_info(self) -> Close | None:
        """How the session ended; None while it has not."""
        return self._close

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent or to be confirmed, 64 more for each message."""
        return self._outbox.size

    @property
    def in_doubt(self) -> tuple[Message, ...]:
        """What was sent and is not confirmed; the last such state when the session is over."""
        return self._outbox.in_doubt

    @property
    def undelivered(self) -> tuple[Message, ...]:
        """What waits to be sent; what has never left when the session is over."""
        return self._outbox.waiting

    async def send(self, message: Message) -> None:
        """Send ``message``; waits while more than ``send_buffer_limit`` waits.

        Messages leave in the order in which the calls return. That is before they have arrived: see ``flush``.

        Args:
            message: text; ``bytes`` on a raw websocket only.

        Raises:
            TypeError: it is of another type.
            SessionClosed: the session has ended, or is being closed.
            SessionLost: the connection broke.
        """
        if not isinstance(message, (str, bytes)):
            raise TypeError(f"a message is a str, not {type(message).__name__}; encode it first (json.dumps)")
        prepared = self._carrier.framing.prepare(message)
        outbox, limit = self._outbox, self._options.send_buffer_limit
        if outbox.size > limit:
            await outbox.wait_for_room(limit)
        if outbox.is_shut:
            raise self._ending()
        outbox.put(message, prepared)

    async def flush(self) -> None:
        """Wait until the server has read all that was sent before.

        It has when it has answered the ping behind them; on HTTP transports, when it has answered the request that
        brought them. That is less: if the connection breaks within a second they may be ``in_doubt`` again.

        Raises:
            SessionClosed: the session has ended before.
            SessionLost: the connection broke before; see its ``in_doubt``. With ``reconnect`` the session goes on
                nevertheless, and what had not left yet is sent.
        """
        if self._close is not None and self._outbox.size:
            raise self._ending()
        await self._outbox.wait_for_all()

    async def receive(self) -> Message:
        """The next message; waits for it. Messages that came before the end can be received after it.

        Raises:
            SessionClosed: the server has said goodbye, or ``close`` was called.
            SessionLost: the connection broke.
        """
        while not self._arrived:
            if self._close is not None:
                raise self._ending()
            self._has_arrived.clear()
            await self._has_arrived.wait()
        message = self._arrived.popleft()
        self._arrived_size -= len(message) + OVERHEAD
        if self._arrived_size <= self._options.receive_buffer_limit:
            self._has_room.set()
        return message

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        """The next message; the iteration ends with the session, and raises ``SessionLost`` where that broke."""
        try:
            return await self.receive()
        except SessionClosed:
            raise StopAsyncIteration from None

    async def close(self) -> None:
        """Send what waits, say goodbye, free everything; within ``close_timeout``. May be called twice.

        What could not be sent is in ``in_doubt`` and ``undelivered`` then. If this is cancelled the connection is cut.
        """
        try:
            await asyncio.sleep(0)  # so that the life has begun: what is cancelled before that frees nothing
            if not self._outbox.is_shut:
                self._outbox.refuse()
                await self._say_goodbye()
                self._stop()
            await asyncio.wait([self._life])
        except asyncio.CancelledError:
            self._end(Close(CloseCode.NORMAL, "Normal closure"))
            self._stop()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _stop(self) -> None:
        if not self._is_leaving:
            self._life.cancel()

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(self._options.close_timeout):
                while self._close is None and self._outbox.size:
                    try:
                        await self._outbox.wait_for_all()
                    except (SessionLost, SessionClosed):  # it connects again, and sends the rest; or it has ended
                        continue
                if self._close is None:
                    self._end(Close(CloseCode.NORMAL, "Normal closure"))
                    await self._carrier.close()
        except TimeoutError:
            self._end(Close(CloseCode.NORMAL, "Normal closure"))
        if self._outbox.size and self._lost is None:
            text = "%s: closed; %d messages are in doubt, %d were not sent"
            logger.warning(text, self.url, len(self.in_doubt), len(self.undelivered))

    # The life of the connection.

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                ending = await self._converse(self._carrier)
                if self._close is not None:  # by ``close``, which has cut the conversation off
                    return
                self._outbox.recall(loop.time() - (MEMORY if isinstance(ending, Unknown | Close) else ANSWERED))
                if self._options.reconnect is None or (
                    isinstance(ending, Close) and (ending.code not in RETURNING or self._outbox.is_shut)
                ):
                    self._end(ending)
                    return
                await self._reconnect(ending, loop.time() - began)
        except ConnectFailed as error:
            self._end(Broken(str(error)))
        except asyncio.CancelledError:  # with the loop; or by ``close``, and then it is no news
            self._end(Broken("the session was cancelled"))
            raise
        except Exception as error:  # on_reconnect raised, or we are wrong: nobody may wait for ever
            logger.exception("%s: the session failed", self.url)
            self._fault = error
            self._end(Broken(f"{type(error).__name__}: {error}"))
        finally:
            self._is_leaving = True
            try:
                await self._carrier.close()
            finally:
                await self._on_end()

    async def _converse(self, carrier: Carrier) -> Close | Broken:
        # All ways until the connection ends; returns how.
        reading = asyncio.create_task(self._read(carrier))
        others = [asyncio.create_task(self._write(carrier))]
        if self._options.silence_timeout is not None:
            others.append(asyncio.create_task(self._listen(carrier, self._options.silence_timeout / 2)))
        tasks = [reading, *others]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if others[0].done() and isinstance(others[0].exception(), Unknown):
                await asyncio.wait([reading], timeout=LAST_WORDS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                try:
                    return task.result()
                except Broken as broken:
                    return broken
        raise AssertionError("one of them has ended the conversation")

    async def _read(self, carrier: Carrier) -> Close:
        while True:
            frame = await carrier.read()
            kind = frame.kind
            if kind is Kind.MESSAGES:
                self._take(frame)
                if not self._has_room.is_set():
                    await self._has_room.wait()
            elif kind is Kind.CONFIRMED:
                self._outbox.confirm(frame.count)
            elif frame.close is not None:
                return frame.close
            elif kind is Kind.OPEN:
                raise Broken("the server has lost the session, and opened another")
            if carrier.owes:
                self._outbox.wake()

    def _take(self, frame: ServerFrame) -> None:
        for message in frame.messages:
            self._arrived.append(message)
            self._arrived_size += len(message) + OVERHEAD
        self._has_arrived.set()
        if self._arrived_size > self._options.receive_buffer_limit:
            self._has_room.clear()

    async def _write(self, carrier: Carrier) -> Never:
        outbox, loop = self._outbox, asyncio.get_running_loop()
        while True:
            batch = outbox.take()
            if not batch and not carrier.owes:
                await outbox.wait_for_work()
                continue
            try:
                is_confirmed = await carrier.write(batch)
            except Unsent:
                outbox.take_back(len(batch))
                raise
            if is_confirmed:
                outbox.answer(len(batch), loop.time())

    async def _listen(self, carrier: Carrier, half: float) -> Never:
        signs, is_asked = -1, False
        while True:
            await asyncio.sleep(half)
            if carrier.signs != signs or not self._has_room.is_set():  # we do not read, so we cannot hear it
                signs, is_asked = carrier.signs, False
            elif is_asked:
                raise Broken(f"the server was silent for {2 * half:g} seconds")
            else:
                is_asked = True
                carrier.poke()
                self._outbox.wake()

    # Connecting again.

    async def _reconnect(self, ending: Close | Broken, lasted: float) -> None:
        backoff = self._options.reconnect
        assert backoff is not None
        reason = _worded(ending)
        doubts = len(self.in_doubt)
        logger.warning("%s: %s; %d messages are in doubt; connecting again", self.url, reason, doubts)
        self._outbox.fail(lambda: self._lost_error(reason))
        await self._carrier.close()
        if lasted >= backoff.longest(self._attempt + 1):  # else a server that cuts at once would be asked again at once
            self._attempt = 0
        while True:
            self._attempt += 1
            pause = backoff.pause(self._attempt, random.random())
            if pause is None:
                raise ConnectFailed(f"{reason}; given up after {backoff.attempts} attempts to connect again")
            await asyncio.sleep(pause)
            try:
                carrier, failures = await self._connect()
                break
            except ConnectFailed as error:
                logger.info("%s: attempt %d: %s", self.url, self._attempt, error)
        broken = Break(reason, self._carrier.name, self.in_doubt)
        self._carrier, self.failures = carrier, failures
        self.reconnects += 1
        logger.info("%s: connected again over %s", self.url, carrier.name)
        self._outbox.report(await self._ask_what_is_first(broken))

    async def _ask_what_is_first(self, broken: Break) -> list[tuple[Message, bytes]]:
        if self._options.on_reconnect is None:
            return []
        messages = self._options.on_reconnect(broken)
        if inspect.isawaitable(messages):
            messages = await messages
        return [(message, self._carrier.framing.prepare(message)) for message in messages or ()]

    # The end.

    def _end(self, ending: Close | Broken) -> None:
        # Nothing, if it has ended before.
        if self._close is not None:
            return
        if isinstance(ending, Broken):
            self._lost = str(ending)
            self._close = Close(CloseCode.ABNORMAL, self._lost, clean=False)
        else:
            self._close = ending
        self._outbox.shut(self._ending)
        self._has_arrived.set()

    def _ending(self) -> SessionClosed | SessionLost:
        if self._lost is not None:
            return self._lost_error(self._lost, self._outbox.waiting)
        close = self._close or Close(CloseCode.NORMAL, "Normal closure")
        return SessionClosed(close.code, close.reason)

    def _lost_error(self, reason: str, undelivered: tuple[Message, ...] = ()) -> SessionLost:
        error = SessionLost(f"{self.url}: {reason}", self._outbox.in_doubt, undelivered)
        error.__cause__ = self._fault
        return error


def _worded(ending: Close | Broken) -> str:
    if isinstance(ending, Broken):
        return str(ending)
    return f"the server closed the session ({ending.code} {ending.reason})"
