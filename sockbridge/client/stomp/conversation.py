"""One connection that speaks STOMP: the login, what comes in, beats, RECEIPTs, and how it ends.

.. code-block:: text

    (made) --open--> TALKING --ERROR, break, silence, bad frame--> OVER --close--> (freed)

A conversation never comes back; the client opens another one.

Knows: the order of frames in a connection, when the server counts as gone.
Does not know: subscriptions; connecting again.
Spec: STOMP 1.2, "Connecting", "Heart-beating", "RECEIPT", "ERROR".
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from ...errors import (
    BadFrame,
    ClientError,
    ConnectFailed,
    InDoubt,
    InvalidFrame,
    LoginRefused,
    ReceiptTimeout,
    SessionLost,
    StompError,
)
from ...stomp.codec import Decoder
from ...stomp.frame import (
    ACCEPT_VERSION,
    HEART_BEAT,
    MESSAGE,
    RECEIPT,
    RECEIPT_ID,
    VERSION,
    Command,
    Frame,
    Version,
    printable,
)
from ...stomp.heart_beat import HeartBeat, Look, parse_heart_beat
from .inbox import Inbox
from .link import Link, LinkEnded
from .options import StompClientOptions
from .outgoing import encode

logger = logging.getLogger("sockbridge.client")

TOLERANCE: Final = 2.0
"""Intervals of silence after which the server counts as gone, as the server counts for its clients."""

LAST_WORDS: Final = 1.0
"""Seconds in which, where sending fails, is read what the server said before: the ERROR may be in it."""

NAME: Final = "sockbridge stomp client"

Outcome = Frame | ClientError | InvalidFrame | None
"""A RECEIPT, what was raised, or nothing to say."""

OnMessage = Callable[["Conversation", Frame], None]


class Conversation:
    """A connection with a server, from CONNECT to the end.

    Attributes:
        link: what carries it.
        version: that was agreed on.
        server: the headers of CONNECTED.
        over: set when it has ended.
        may_return: False if connecting again is of no use.
    """

    def __init__(self, link: Link, options: StompClientOptions, inbox: Inbox, on_message: OnMessage) -> None:
        """
        Args:
            on_message: called with each MESSAGE; never raises.
        """
        self.link = link
        self.version = Version.V1_0  # the decoder bends most for it, and what comes before CONNECTED may be of any
        self.server: Mapping[str, str] = {}
        self.over = asyncio.Event()
        self.may_return = True
        self._options = options
        self._inbox = inbox
        self._on_message = on_message
        self._decoder = Decoder(options.limits, self.version)
        self._heart_beat = HeartBeat((0, 0), (0, 0), TOLERANCE, 0.0)
        self._has_read = self._has_written = False
        self._receipts: dict[str, asyncio.Future[Frame | None]] = {}
        self._slots = asyncio.Semaphore(options.max_receipts)
        self._numbers = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []  # one reads, one beats
        self._errands: set[asyncio.Task[Outcome]] = set()
        self._error: Frame | None = None
        self._reason = ""
        self._ended: LinkEnded | None = None

    @property
    def is_over(self) -> bool:
        """It has ended."""
        return self.over.is_set()

    async def open(self, headers: Mapping[str, str]) -> None:
        """Log in.

        Args:
            headers: of CONNECT, without those of versions and heart-beats.

        Raises:
            LoginRefused: the server answered by ERROR.
            ConnectFailed: it did not answer, or by what is no STOMP.
        """
        offered = {ACCEPT_VERSION: ",".join(sorted(self._options.versions))}
        beats = {HEART_BEAT: ",".join(map(str, self._options.heart_beat_ms))}
        try:
            async with asyncio.timeout(self._options.timeout):
                await self._send(Frame(Command.CONNECT, {**offered, **beats, **headers}))
                answer = await self._first_frame()
        except TimeoutError:
            raise ConnectFailed(f"the server did not answer CONNECT within {self._options.timeout:g} seconds") from None
        except (BadFrame, LinkEnded) as error:
            is_frame = isinstance(error, BadFrame)
            told = "what answers does not speak STOMP" if is_frame else "there was no answer to CONNECT"
            raise ConnectFailed(f"{told}: {error}") from error
        if answer.command is Command.ERROR:
            raise LoginRefused(*_told(answer))
        if answer.command is not Command.CONNECTED:
            raise ConnectFailed(f"the server answered CONNECT by {answer.command}")
        self._agree(answer)
        self._start(self._read())
        self._start(self._beat())

    async def write(self, frame: Frame) -> None:
        """Send ``frame``; returns when it is on its way. Who is cancelled meanwhile has sent nothing.

        Raises:
            InvalidFrame: it cannot be said.
            ReceiptTimeout: there was no room for it within ``timeout``. It was not sent.
            StompError: the server has sent ERROR.
            SessionLost: the connection has ended.
        """
        try:
            with self._inbox.waiting():
                async with asyncio.timeout(self._options.timeout):
                    await self._send(frame)
        except TimeoutError:
            raise self._late(frame, was_sent=False) from None
        except LinkEnded as error:
            await self._break(error)
            raise self.failure() from error

    async def ask(self, frame: Frame, on_sent: Callable[[], object] = lambda: None) -> Frame:
        """Send ``frame`` with a receipt; returns the RECEIPT.

        Args:
            on_sent: called when it is on its way; before that, whatever ends the call, nothing was sent.

        Raises:
            InvalidFrame: it cannot be said.
            ReceiptTimeout: the RECEIPT did not come within ``timeout``, or there was no room.
            StompError: ERROR came instead.
            InDoubt: the connection ended before the RECEIPT came.
            SessionLost: it had ended before.
        """
        async with self._slots:
            receipt = f"r{next(self._numbers)}"
            frame.headers[RECEIPT] = receipt
            answer: asyncio.Future[Frame | None] = asyncio.get_running_loop().create_future()
            if self.is_over:
                raise self.failure()
            self._receipts[receipt] = answer
            try:
                await self.write(frame)
                on_sent()
                with self._inbox.waiting():
                    async with asyncio.timeout(self._options.timeout):
                        confirmed = await answer
            except TimeoutError:
                raise self._late(frame, was_sent=True) from None
            except SessionLost:  # while it was being written, so some of it may have left
                raise self._doubt(frame) from None
            finally:
                self._receipts.pop(receipt, None)
        if confirmed is None:
            raise self._doubt(frame)
        return confirmed

    async def insist(self, frame: Frame, *, receipt: bool) -> Frame | None:
        """As ``ask`` or ``write``, but a caller that is cancelled does not hold it up: it leaves in its turn.

        So it is always known what the server was told, and in which order.
        """
        outcome = await asyncio.shield(self.run(frame, receipt=receipt))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def run(self, frame: Frame, *, receipt: bool = False) -> asyncio.Task[Outcome]:
        """The same where nobody needs to wait for it."""
        errand = asyncio.get_running_loop().create_task(self._try(frame, receipt), name=f"{NAME}, {frame.command}")
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)
        return errand

    def failure(self) -> ClientError:
        """How it has ended, as a new exception."""
        if self._error is not None:
            return StompError(*_told(self._error))
        ended = self._ended or LinkEnded("")
        return SessionLost(self._reason or "the connection was closed", ended.in_doubt, ended.undelivered)

    async def close(self) -> None:
        """End it, if it has not; free everything. May be called twice."""
        self._end("the client was closed")
        for task in self._tasks:
            task.cancel()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            await self.link.close()
        if self._errands:  # all that they wait for has ended
            await asyncio.wait(self._errands, timeout=self._options.close_timeout)

    # Private: in.

    async def _first_frame(self) -> Frame:
        while (frame := self._decoder.next_frame()) is None:
            self._decoder.feed(await self.link.receive())
        return frame

    def _agree(self, connected: Frame) -> None:
        said = connected.headers.get(VERSION, Version.V1_0)
        if said not in self._options.versions:
            raise ConnectFailed(f"the server speaks STOMP {printable(said)}, which was not offered")
        try:
            theirs = parse_heart_beat(connected.headers.get(HEART_BEAT))
        except BadFrame as error:
            raise ConnectFailed(f"the server's CONNECTED cannot be read: {error}") from error
        self.version = self._decoder.version = Version(said)
        self.server = connected.headers
        now = asyncio.get_running_loop().time()
        self._heart_beat = HeartBeat(self._options.heart_beat_ms, theirs, TOLERANCE, now)

    async def _read(self) -> None:
        try:
            while True:
                while (frame := self._decoder.next_frame()) is not None:
                    self._take(frame)
                    if self.is_over:
                        return
                    if not self._inbox.has_room:
                        await self._inbox.room()
                piece = await self.link.receive()
                self._has_read = True
                self._decoder.feed(piece)
        except LinkEnded as error:
            self._end(str(error), error)
        except BadFrame as error:
            self.may_return = False  # it would send the same again
            self._end(f"the server sent what cannot be read: {error}")

    def _take(self, frame: Frame) -> None:
        match frame.command:
            case Command.MESSAGE:
                self._on_message(self, frame)
            case Command.RECEIPT:
                answer = self._receipts.get(frame.headers.get(RECEIPT_ID, ""))
                if answer is not None and not answer.done():
                    answer.set_result(frame)
            case Command.ERROR:
                self._error = frame
                self._end("the server sent ERROR")
            case _:
                raise BadFrame(f"{frame.command} from a server")

    # Private: out.

    async def _send(self, frame: Frame) -> None:
        if self.is_over:
            raise LinkEnded(self._reason)
        octets = encode(frame, self.version, is_text=self.link.is_text, with_length=self._options.content_length)
        self._has_written = True
        await self.link.send(octets)

    async def _try(self, frame: Frame, receipt: bool) -> Outcome:
        try:
            return await (self.ask(frame) if receipt else self.write(frame))
        except (ClientError, InvalidFrame) as error:
            logger.debug("%s: %s", frame.command, error)
            return error

    async def _beat(self) -> None:
        heart_beat, loop = self._heart_beat, asyncio.get_running_loop()
        while tick := heart_beat.tick:
            due = loop.time() + tick
            await asyncio.sleep(tick)
            now = loop.time()
            # Who slept himself, in a call that blocks, has not looked; and who does not read hears nothing.
            has_read = self._has_read or now - due > tick or not self._inbox.has_room
            look = heart_beat.look(now, has_read=has_read, has_written=self._has_written)
            self._has_read = self._has_written = False
            if look is Look.SILENT:
                self._end(f"the server was silent for {TOLERANCE * heart_beat.expect_every:g} seconds")
                return
            if look is Look.BEAT and not self.link.buffered:  # behind what waits a beat would come no sooner
                try:
                    await self.link.send(b"\n")
                except LinkEnded as error:
                    await self._break(error)
                    return

    # Private: the end.

    async def _break(self, error: LinkEnded) -> None:
        # Sending has failed. The reader ends it, and by what the server has said if it did.
        if not self.is_over:
            with self._inbox.waiting():
                await asyncio.wait(self._tasks[:1], timeout=LAST_WORDS)
            self._end(str(error), error)

    def _end(self, reason: str, ended: LinkEnded | None = None) -> None:
        if self.is_over:
            return
        self._reason, self._ended = reason, ended
        if ended is not None and not ended.may_return:
            self.may_return = False
        self.over.set()
        for answer in self._receipts.values():
            if not answer.done():
                answer.set_result(None)

    def _doubt(self, frame: Frame) -> ClientError:
        failure = self.failure()
        if isinstance(failure, StompError):
            failure.is_this_frame = failure.headers.get(RECEIPT_ID) == frame.headers[RECEIPT]
            return failure
        in_doubt = (frame.body,) if frame.command is Command.SEND else ()
        return InDoubt(f"{failure}; whether the {frame.command} was served is not known", in_doubt)

    def _late(self, frame: Frame, *, was_sent: bool) -> ReceiptTimeout:
        seconds = f"for {self._options.timeout:g} seconds"
        if was_sent:
            text = f"the server sent no RECEIPT {seconds}: {frame.command}"
        else:
            text = f"the server took nothing {seconds}; not sent: {frame.command}"
        if self._inbox.size > self._inbox.limit:
            text += f"; {self._inbox.size} bytes of messages wait in subscriptions that nobody empties"
        elif was_sent and frame.command is Command.SUBSCRIBE:
            text += "; some servers confirm no SUBSCRIBE (Spring's simple broker): subscribe with receipt=False"
        return ReceiptTimeout(text, was_sent=was_sent)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=NAME)
        self._tasks.append(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the conversation failed", exc_info=error)
            self._end(f"{type(error).__name__}: {error}")


def _told(frame: Frame) -> tuple[str, str, Mapping[str, str]]:
    message = frame.headers.get(MESSAGE, "").strip()
    return message or "the server sent ERROR", frame.body.decode("utf-8", "replace"), dict(frame.headers)
