"""The sessions of one endpoint: who is there, who gets what, who has stayed away.

``live`` holds every session until it is forgotten: broadcast, limits and shutdown go through it. ``by_id``
holds those that an HTTP request can find by the id in its URL; a websocket's session is not among them.

Knows: all sessions, their deliveries, the clock.
Does not know: HTTP, which transport carries a session.
Spec: sockjs-protocol 0.3.3, SessionURLs; docs/conformance.md, section 5.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol
from weakref import WeakSet

from ..errors import ConnectionLost, EndpointClosed, Refused, RemoteError, TooManySessions
from ..options import Options
from .delivery import Delivery
from .framing import EXPIRED, FRAMED, INTERRUPTED, Close, CloseCode, Framing, Message
from .handler import HandlerFactory, HandlerSource
from .handshake import Handshake
from .runner import Runner
from .session import Receiver, Session

logger = logging.getLogger("sockbridge.sockjs")

SHUTDOWN: Final = Close(CloseCode.GOING_AWAY, "Server is shutting down")


class Cuttable(Protocol):
    """A connection that ``stop`` waits for, and cuts in the end."""

    def cut(self) -> None:
        """End it without a goodbye."""
        ...


@dataclass(slots=True)
class Counters:
    """What has happened at an endpoint since it started.

    Attributes:
        opened: sessions that were opened.
        closed: sessions that ended with a goodbye of either side.
        cut: sessions whose connection was cut, whose client stayed away or broke the protocol, or that passed a limit.
        undelivered: messages to clients that were lost.
        unheard: messages from clients that no handler got: they came after the session had ended, or waited behind a
            call that failed or went on for too long.
        refused: requests refused because of ``max_sessions`` or a shutdown.
    """

    opened: int = 0
    closed: int = 0
    cut: int = 0
    undelivered: int = 0
    unheard: int = 0
    refused: int = 0


class SessionManager:
    """Opens, finds, feeds and forgets the sessions of one endpoint."""

    def __init__(self, handler: HandlerSource, options: Options) -> None:
        """
        Raises:
            UsageError: ``handler`` is not one.
        """
        self.options = options
        self.handlers = HandlerFactory(handler)
        self.counters = Counters()
        self._live: dict[Session, Delivery] = {}
        self._by_id: dict[str, Session] = {}
        self._connections: set[Cuttable] = set()
        self._runner = Runner()
        self._ended, self._told = self._on_ending, self._forget_if_over  # bound once, not for each session
        self._overdue: WeakSet[Delivery] = WeakSet()  # calls that run although their session is forgotten
        self._is_refusing = False
        self._clock: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    # The endpoint's life.

    async def start(self) -> None:
        """Take sessions from now on."""
        if self.handlers.shared is not None:
            await self.handlers.shared.on_start()
        self._clock = asyncio.create_task(self._watch(), name="sockbridge clock")

    async def stop(self) -> None:
        """Say goodbye to everybody; after ``shutdown_grace`` cut off who has not taken it. May be called twice.

        Every handler has got its ``on_closed`` when this returns, unless it did not end in time.
        """
        clock, self._clock = self._clock, None  # None: takes no sessions
        if clock is not None:
            # In a task of its own, as a handler may ask for it, whose call is then cancelled.
            self._stopping = asyncio.create_task(self._stop(clock), name="sockbridge stop")
        if self._stopping is not None:
            await asyncio.shield(self._stopping)

    async def _stop(self, clock: asyncio.Task[None]) -> None:
        for session in list(self._live):
            session.close(SHUTDOWN.code, SHUTDOWN.reason)
        self.look(asyncio.get_running_loop().time())  # who has gone a moment ago need not be waited for
        await self._wait(self.options.shutdown_grace)
        for connection in list(self._connections):
            connection.cut()
        for delivery in [*self._live.values(), *self._overdue]:
            delivery.cancel()
            delivery.overrule()
        await self._wait(self.options.shutdown_grace)
        for session in list(self._live):
            self.forget(session)
        await self._cancel([clock, *self._runner.close()])
        if self.handlers.shared is not None:
            try:
                await self.handlers.shared.on_stop()
            except Exception:  # the application's other endpoints must stop as well
                logger.exception("the handler failed in on_stop")

    # For the application.

    @property
    def sessions(self) -> Iterator[Session]:
        """The open sessions, oldest first; safe to send and close while iterating."""
        return iter([session for session in self._live if session.is_open])

    def __len__(self) -> int:
        return len(self._live)

    def broadcast(self, message: Message, sessions: Iterable[Session] | None = None) -> int:
        """Send ``message`` to ``sessions``, or to all open ones; it is encoded once for each framing.

        Returns:
            to how many it was sent.

        Raises:
            TypeError: ``bytes``, while one of the sessions is not a raw websocket; nothing was sent then.
        """
        receivers = list(self.sessions if sessions is None else sessions)
        if not isinstance(message, str):
            for each in {session.framing for session in receivers}:  # all of them can, or nobody gets it
                each.prepare(message)
        framing: Framing | None = None
        prepared = b""
        for session in receivers:
            if session.framing is not framing:
                framing = session.framing
                prepared = framing.prepare(message)
            session.send_prepared(prepared)
        return len(receivers)

    # For transports.

    def create(self, handshake: Handshake, framing: Framing = FRAMED, url_id: str | None = None) -> Session:
        """A new session, to be attached at once.

        Args:
            url_id: the id by which later HTTP requests find it; None for a websocket.

        Raises:
            TooManySessions: there are ``max_sessions``.
            EndpointClosed: the server is stopping, or has not been started.
        """
        if self._clock is None:
            raise self._refusal(
                EndpointClosed("the endpoint is not running: the application is shutting down or has not started")
            )
        if len(self._live) >= self.options.max_sessions:
            raise self._refusal(TooManySessions(f"max_sessions ({self.options.max_sessions}) are open"))
        session = Session(secrets.token_hex(8), handshake, self.options, framing, self._ended, url_id)
        limit = self.options.receive_buffer_limit
        handler = self.handlers.make()
        self._live[session] = Delivery(session, handler, limit, self._runner, self._told)
        if url_id is not None:
            self._by_id[url_id] = session
        return session

    def find(self, url_id: str) -> Session | None:
        """The session that an HTTP request means; None if it is unknown here."""
        return self._by_id.get(url_id)

    def attach(self, session: Session, receiver: Receiver) -> bool:
        """``receiver`` carries ``session`` from now on, until ``release``; see ``Session.attach``.

        Returns:
            True if this opened the session: write its first frame, then call ``open``.

        Raises:
            SessionBusy: answer 2010; ``release`` is not needed.
            EndpointClosed: the session has been forgotten since it was found; likewise.
        """
        if session not in self._live:
            raise EndpointClosed("the session has ended meanwhile")
        is_new = session.attach(receiver)
        self._connections.add(receiver)
        if is_new:
            self.counters.opened += 1
        return is_new

    def open(self, session: Session) -> None:
        """Tell the application that ``session`` is there."""
        self._live[session].open()

    def release(self, session: Session, receiver: Receiver, error: ConnectionLost | None = None) -> None:
        """``receiver`` ends: as it should, or with ``error`` because it was cut off."""
        self._connections.discard(receiver)
        if error is None:
            session.detach(receiver)
        else:
            session.abort(receiver, error)
        self._forget_if_over(session)

    @contextmanager
    def holding(self, connection: Cuttable) -> Iterator[None]:
        """While a request is not finished: ``connection`` is cut off if it is still there when the server stops."""
        self._connections.add(connection)
        try:
            yield
        finally:
            self._connections.discard(connection)

    def inlet(self, session: Session) -> Callable[[Sequence[Message]], bool]:
        """What runs the handler of a session for messages, or puts them in line behind a call that runs.

        It is not to be called in a task, and returns False if too much waits in line; see ``has_room``.
        """
        delivery = self._live.get(session)
        return self._ignore if delivery is None else delivery.deliver

    def _ignore(self, messages: Sequence[Message]) -> bool:
        self.drop(messages)
        return True

    def drop(self, messages: Sequence[Message]) -> None:
        """``messages`` came when their session had ended."""
        self.counters.unheard += len(messages)

    def has_room(self, session: Session, on_room: Callable[[], None]) -> bool:
        """False if too much waits for the handler of ``session``; ``on_room`` is called once when that has changed."""
        delivery = self._live.get(session)
        return delivery is None or delivery.has_room(on_room)

    async def accept(self, session: Session, messages: Sequence[Message]) -> bool:
        """Hand in what a request brought, without waiting for the handler unless too much waits already.

        Returns:
            False if the client's connection has been cut: nothing that comes now is delivered, and it is to know.
            Where this side has closed the session the client is about to hear the close code instead.
        """
        delivery = self._live.get(session)
        if delivery is None or not session.is_open:
            self.drop(messages)
            return session.close_info not in (INTERRUPTED, EXPIRED)
        if messages:
            await delivery.accept(messages)
        return True

    def forget(self, session: Session) -> None:
        """Nobody will find ``session`` any more. May be called twice."""
        session.forget()
        delivery = self._live.pop(session, None)
        if delivery is None:
            return
        delivery.overrule()
        if not delivery.is_idle():
            self._overdue.add(delivery)
        if session.url_id is not None:
            del self._by_id[session.url_id]
        self.counters.unheard += delivery.unheard
        if session.undelivered:
            self.counters.undelivered += session.undelivered
            logger.info("session %s: %d messages were not delivered", session.id, session.undelivered)

    # The clock.

    def look(self, now: float) -> None:
        """See to heartbeats, silent peers and clients that stayed away; the clock calls it every tick."""
        if self._is_refusing and len(self._live) < 0.9 * self.options.max_sessions:
            self._is_refusing = False
        for session, delivery in list(self._live.items()):
            if session.look_at > now:
                continue
            try:
                is_due = session.look(now)
                if is_due and session.is_open and not delivery.is_idle():
                    session.interrupt(EXPIRED, None)  # a call still runs: on_closed waits for it once more
                elif is_due or self._is_over(session):
                    self.forget(session)
            except Exception:  # a third party's receiver: its session is on its own, the clock goes on
                logger.exception("session %s: its receiver failed", session.id)
                if session.receiver is not None:
                    session.detach(session.receiver)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.options.tick)
            self.look(loop.time())

    # Private.

    def _refusal(self, reason: Refused) -> Refused:
        # Counted each time, logged once, until there is room again.
        self.counters.refused += 1
        if not self._is_refusing:
            self._is_refusing = True
            logger.warning("new sessions are refused: %s", reason)
        return reason

    def _on_ending(self, session: Session, close: Close, error: RemoteError | None, *, is_ours: bool) -> None:
        if close.clean:
            self.counters.closed += 1
        else:
            self.counters.cut += 1
        if is_ours and error is not None:
            logger.warning("session %s: closed, since %s; await session.drain() where much is sent", session.id, error)
        logger.debug("session %s: closed with %d %s", session.id, close.code, close.reason)
        self._live[session].finish(close, error, is_deaf=is_ours)

    def _forget_if_over(self, session: Session) -> None:
        if self._is_over(session):
            self.forget(session)

    def _is_over(self, session: Session) -> bool:
        # Nobody asks again for the close frame of a websocket, so its session need not wait for that.
        if session.is_open or session.receiver is not None or session.url_id is not None:
            return False
        delivery = self._live.get(session)
        return delivery is not None and delivery.is_told

    async def _wait(self, seconds: float) -> None:
        # Until everybody has gone, at most for so long.
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        for _ in range(3):  # even without grace, what was started just now gets its turn
            await asyncio.sleep(0)
        while (self._connections or self._runner.tasks) and loop.time() < end:
            await asyncio.sleep(min(0.01, seconds))

    async def _cancel(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        _, pending = await asyncio.wait(tasks, timeout=max(0.1, self.options.shutdown_grace))
        if pending:
            logger.error("%d calls of the handler went on although they were cancelled", len(pending))
