"""A STOMP client: what an application does with a server, across connections.

Knows: its subscriptions, when to connect again, what then becomes of what waits.
Does not know: sockets, how a connection is found, frames on the wire.
Spec: docs/client-stomp.md.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import random
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self

from ...errors import ClientError, ConnectFailed, InvalidFrame, InvalidOption, SessionLost, StompError
from ...stomp.frame import (
    CONTENT_TYPE,
    DESTINATION,
    ID,
    TRANSACTION,
    USER_NAME,
    AckMode,
    Command,
    Frame,
    Version,
)
from ...stomp.payloads import Payloads
from .conversation import Conversation
from .inbox import Inbox
from .link import Link
from .options import StompClientOptions
from .outgoing import frame as make_frame
from .subscription import Ending, Subscription, Terms, closed
from .subscriptions import Subscriptions
from .transaction import Transaction

logger = logging.getLogger("sockbridge.client")

Dial = Callable[[], Coroutine[Any, Any, Link]]
"""Finds a connection. Raises ``ConnectFailed``."""


class Client:
    """A client that has logged in. Use it in tasks of one loop.

    Attributes:
        url: of the server, without what may be a secret: credentials and query.
        reconnects: how often the connection was made again.
    """

    def __init__(self, url: str, dial: Dial, login: Mapping[str, str], options: StompClientOptions) -> None:
        """
        Args:
            login: the headers of CONNECT.
        """
        self.url = url
        self.reconnects = 0
        self._dial = dial
        self._login = login
        self._options = options
        self._inbox = Inbox(options.receive_buffer_limit)
        self._payloads = Payloads()
        self._subscriptions = Subscriptions(self._connected, is_lasting=options.reconnect is not None)
        self._numbers = itertools.count(1)
        self._conversation: Conversation | None = None
        self._is_ready = False
        self._changed = asyncio.Event()
        self._ending: Ending | None = None
        self._is_closing = False
        self._life: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._attempt = 0  # of connecting again, since a connection has lived for a while

    def __repr__(self) -> str:
        state = "ended" if self._ending else "connected" if self.is_connected else "connecting"
        return f"<stomp Client {self.url} {state}>"

    @property
    def is_connected(self) -> bool:
        """There is a connection, as far as we know."""
        return self._is_ready and self._conversation is not None and not self._conversation.is_over

    @property
    def version(self) -> Version:
        """Of STOMP, as agreed on for the last connection."""
        return self._last.version

    @property
    def transport(self) -> str:
        """What carries the last connection: a transport of SockJS, ``websocket-raw`` or ``tcp``."""
        return self._last.link.transport

    @property
    def server(self) -> Mapping[str, str]:
        """The headers of the last CONNECTED."""
        return self._last.server

    @property
    def unclaimed(self) -> int:
        """Messages that came for no subscription; around an UNSUBSCRIBE some may."""
        return self._subscriptions.unclaimed

    @property
    def user_name(self) -> str | None:
        """Who we are to the server, where it says so."""
        return self.server.get(USER_NAME)

    async def start(self) -> None:
        """Connect and log in, once.

        Raises:
            ConnectFailed: there is no connection.
            LoginRefused: the server answered CONNECT by ERROR.
        """
        self._conversation = await self._open()
        self._is_ready = True
        self._life = asyncio.create_task(self._live(), name=f"sockbridge stomp client {self.url}")

    async def send(
        self,
        destination: str,
        body: object = b"",
        *,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        receipt: bool = False,
    ) -> None:
        """Send a message, in the order of the calls; waits for room, and for a connection while there is none.

        Args:
            body: text as ``text/plain``, ``bytes`` as ``application/octet-stream``, anything else as JSON.
            headers: further ones.
            content_type: instead of what follows from ``body``.
            receipt: wait until the server has confirmed it. Without, nobody is told what becomes of it.

        Raises:
            TypeError: ``body`` cannot be written as JSON.
            InvalidFrame: it cannot be said: a header, or octets over SockJS.
            ReceiptTimeout: the server did not confirm in time, or took nothing.
            StompError: the server has sent ERROR.
            InDoubt: the connection broke before the server confirmed. It is not sent again.
            SessionLost: the connection has ended.
            SessionClosed: the client was closed.
        """
        frame = self._make_send(destination, body, headers, content_type, "")
        conversation = await self._connected()
        await (conversation.ask(frame) if receipt else conversation.write(frame))

    def subscribe(
        self,
        destination: str,
        *,
        ack: str = "auto",
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
        receipt: bool = True,
    ) -> Subscription:
        """A subscription, once it is entered (``async with``, which unsubscribes at the end) or awaited.

        Args:
            ack: ``"auto"``, ``"client"`` or ``"client-individual"``.
            headers: further ones of SUBSCRIBE, also after a reconnect.
            id: by which the server is to know it; None: one of our own.
            receipt: wait until it stands. Spring's simple broker never confirms that: False for it.

        Raises:
            InvalidOption: ``ack`` is none of these.
            InvalidFrame: a header or the id cannot be, or the id is taken.

        Where it is entered or awaited: ``ReceiptTimeout``, ``StompError``, ``SessionLost``, ``SessionClosed``.
        """
        if ack not in tuple(AckMode):
            raise InvalidOption(f"ack is one of {', '.join(AckMode)}, not {ack!r}")
        id = id if id is not None else f"s{next(self._numbers)}"
        make_frame(Command.SUBSCRIBE, {ID: id, DESTINATION: _text(destination)}, headers)
        terms = Terms(id, destination, AckMode(ack), dict(headers or {}), receipt)
        return Subscription(self._subscriptions, self._inbox, terms)

    def transaction(self, *, receipt: bool = True) -> Transaction:
        """``async with client.transaction() as transaction``: what is sent and acknowledged in it happens at its end.

        Args:
            receipt: the end waits until the server has confirmed the COMMIT.
        """
        return Transaction(f"t{next(self._numbers)}", self._connected, self._make_send, receipt=receipt)

    async def close(self) -> None:
        """Say goodbye and free everything, within ``close_timeout`` and what the connection needs to close.

        May be called twice: the second call waits for the first. Subscriptions end; in mode ``auto`` what has come can
        still be received.
        """
        life = self._life
        if life is None:
            return
        if self._is_closing:
            await asyncio.wait([life])
            return
        self._is_closing = True
        try:
            await asyncio.sleep(0)  # so that the life has begun: what is cancelled before that frees nothing
            if self.is_connected:
                await self._say_goodbye()
        finally:
            if self._ending is None:  # else it is about to free everything
                life.cancel()
            await asyncio.wait([life])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # Private: out.

    def _make_send(
        self,
        destination: str,
        body: object,
        headers: Mapping[str, str] | None,
        content_type: str | None,
        transaction: str,
    ) -> Frame:
        kind, octets = self._payloads.encode(body)
        own = {DESTINATION: _text(destination)}
        if octets or content_type:
            own[CONTENT_TYPE] = content_type or kind
        if transaction:
            own[TRANSACTION] = transaction
        return make_frame(Command.SEND, own, headers, octets)

    async def _connected(self) -> Conversation:
        while True:
            if self._ending is not None:
                raise self._ending()
            if self._is_closing:
                raise closed()
            conversation = self._conversation
            if self._is_ready and conversation is not None and not conversation.is_over:
                return conversation
            self._changed.clear()
            await self._changed.wait()

    @property
    def _last(self) -> Conversation:
        if self._conversation is None:
            raise closed()
        return self._conversation

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(self._options.close_timeout):
                await self._last.ask(Frame(Command.DISCONNECT))
        except TimeoutError:
            logger.info("%s: DISCONNECT was not confirmed within %g seconds", self.url, self._options.close_timeout)
        except ClientError as error:
            logger.info("%s: DISCONNECT was not confirmed: %s", self.url, error)

    # Private: the life.

    async def _open(self) -> Conversation:
        link = await self._dial()
        conversation = Conversation(link, self._options, self._inbox, self._subscriptions.deliver)
        is_open = False
        try:
            await conversation.open(self._login)
            is_open = True
        finally:
            if not is_open:
                await conversation.close()
        return conversation

    async def _live(self) -> None:
        ending: Ending = _cancelled
        clock = asyncio.get_running_loop().time
        try:
            while True:
                conversation, began = self._last, clock()
                await conversation.over.wait()
                self._is_ready = False
                self._subscriptions.interrupt()
                await self._stop_telling()
                await conversation.close()
                if self._is_closing:
                    return
                ending = conversation.failure
                if self._options.reconnect is None or not conversation.may_return:
                    return
                ending = await self._reconnect(conversation.failure(), clock() - began) or ending
                if not self._is_ready:
                    return
        except Exception as error:  # we are wrong: nobody may wait for ever, or be told another reason
            logger.exception("%s: the client failed", self.url)
            ending = _failed(error)
        finally:
            self._end(closed if self._is_closing else ending)
            await self._stop_telling()
            await self._last.close()

    async def _reconnect(self, reason: ClientError, lasted: float) -> Ending | None:
        """Connect again; returns None when that is done, or how it ends where it is given up."""
        backoff = self._options.reconnect
        assert backoff is not None
        if lasted >= backoff.longest(self._attempt + 1):  # else a server that cuts at once would be asked again at once
            self._attempt = 0
        lost = len(reason.in_doubt) + len(reason.undelivered) if isinstance(reason, SessionLost) else 0
        logger.warning("%s: %s; connecting again (%d frames may not have arrived)", self.url, reason, lost)
        failure: Exception = reason
        while True:
            self._attempt += 1
            pause = backoff.pause(self._attempt, random.random())
            if pause is None:
                told = f"{reason}; given up after {backoff.attempts} attempts to connect again: {failure}"
                return lambda: ConnectFailed(told)
            await asyncio.sleep(pause)
            try:
                await self._resume()
                break
            except StompError as error:  # a login or a subscription is refused, and would be again
                refused = error
                return lambda: type(refused)(refused.message, refused.body, refused.headers)
            except (InvalidFrame, InvalidOption) as error:  # as before, but for the version that the server now speaks
                wrong = error
                return lambda: type(wrong)(f"it cannot be connected again: {wrong}")
            except ClientError as error:
                failure = error
                logger.info("%s: attempt %d to connect again: %s", self.url, self._attempt, error)
        self.reconnects += 1
        logger.info("%s: connected again over %s", self.url, self.transport)
        self._telling = asyncio.create_task(self._tell(reason), name="sockbridge stomp client, on_reconnect")
        return None

    async def _resume(self) -> None:
        conversation = await self._open()
        self._conversation = conversation
        try:
            await self._subscriptions.resume(conversation)
            self._is_ready = True
        finally:
            if not self._is_ready:
                self._subscriptions.interrupt()
                await conversation.close()
        self._changed.set()

    async def _tell(self, reason: ClientError) -> None:
        if self._options.on_reconnect is None:
            return
        try:
            told = self._options.on_reconnect(reason)
            if inspect.isawaitable(told):
                await told
        except Exception:
            logger.exception("%s: on_reconnect failed", self.url)

    async def _stop_telling(self) -> None:
        # It may wait for the connection, so it must not keep us from noticing that there is none.
        if self._telling is not None:
            self._telling.cancel()
            _, pending = await asyncio.wait([self._telling], timeout=self._options.close_timeout)
            if pending:
                logger.warning("%s: on_reconnect was cancelled and goes on", self.url)

    def _end(self, ending: Ending) -> None:
        self._is_ready = False
        self._ending = ending
        self._subscriptions.end(ending)
        self._changed.set()


def _cancelled() -> Exception:
    return SessionLost("the client was cancelled")


def _failed(error: Exception) -> Ending:
    return lambda: SessionLost(f"the client failed: {type(error).__name__}: {error}")


def _text(destination: str) -> str:
    if not isinstance(destination, str) or not destination:
        raise InvalidFrame(f"a destination is text that is not empty, not {destination!r}")
    return destination
