"""Shape 4, both ways: a websocket whose session lives and dies with it.

What the socket brings is handled within the read: messages go to the handler at once, or wait in line behind a call
that runs (see ``sockjs/delivery.py``); pings are answered and a goodbye is heard meanwhile. The socket is not read
while too much waits in line.

Knows: reading, writing, pings, the closing handshake.
Does not know: who handles messages; SockJS sessions of other transports.
Spec: RFC 6455; sockjs-protocol 0.3.3, WebsocketHttpErrors, WebsocketHybi10, RawWebsocket; docs/conformance.md 4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

from aiohttp import WebSocketError, WSMsgType, web

from ..errors import ConnectionLost, MessageTooBig, PongTimeout, ProtocolError, Refused, RemoteError
from ..options import Options
from ..sockjs.framing import (
    FRAMED,
    HEARTBEAT_FRAME,
    LARGE,
    Binary,
    Close,
    CloseCode,
    Framing,
    Message,
    decode_frame,
    encode_text,
)
from ..sockjs.manager import SessionManager
from ..sockjs.session import Session
from .admission import Admission
from .answer import is_watched
from .base import Refusal, Transport, logger
from .compiled_reader import choose_reader
from .connection import make_read_buffer, take_over
from .receiver import FRAME_SIZE, SocketReceiver
from .websocket_frames import BINARY, CLOSE, DEFLATED, PING_FRAME, PONG, TEXT, websocket_frame
from .websocket_upgrade import VERSION, NoHandshake, Upgrade, upgrade

Parse = Callable[[bytes], list[str] | list[bytes]]
"""Takes a payload; raises ``ProtocolError`` if it is not what a client may send."""

PIECE: Final = 1024
"""Bytes of compressed input that are read at a time."""

LINGER: Final = 1.0
"""Seconds that a client may take to answer our close frame."""

# Codes below 3000 that may stand in a close frame (RFC 6455, 7.4.1); the others only describe.
SENDABLE_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1012)})

TEXT_MESSAGE = WSMsgType.TEXT
BINARY_MESSAGE = WSMsgType.BINARY


def close_frame(code: int, reason: str) -> bytes:
    """A close frame; a code that may not stand in one becomes 1000."""
    code = code if code in SENDABLE_CODES or code >= 3000 else CloseCode.NORMAL
    return websocket_frame(CLOSE, code.to_bytes(2, "big") + encode_text(reason))


class WebSocketReceiver(SocketReceiver):
    """Reads and writes one websocket.

    Attributes:
        ended: done when the connection has ended.
    """

    __slots__ = (
        "_answered",
        "_closing",
        "_feed",
        "_hand_in",
        "_is_answered",
        "_is_deaf",
        "_is_paused",
        "_messages",
        "_parse",
        "_ping_at",
        "_pong",
        "_unanswered",
        "_wire",
        "ended",
        "is_full",
    )

    def __init__(self, wire: WebSocketTransport, session: Session, request: web.Request, response: Upgrade) -> None:
        super().__init__(wire.name, session, request, wire.options.write_timeout, wire.turn_end)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        compression = response.compression_agreed
        self._wire = wire
        self._parse = wire.parse
        self._hand_in = wire.manager.inlet(session)
        reader = wire.make_reader(wire.options.max_message_size, compression is not None)
        self._feed, self._messages = reader.feed, reader.messages
        self.is_full = False
        self._is_paused = False  # too much waits for the handler, so nobody reads
        self._is_deaf = False  # the client said goodbye or broke the protocol: what comes behind that is dropped
        self._unanswered = False  # a ping that no sign of life has followed
        self._ping_at: float | None = None
        self._pong: bytes | None = None  # a pong that waits for room
        self._closing: asyncio.Task[None] | None = None
        self._is_answered = False  # the client's close frame has come, or its connection is lost
        self._answered: asyncio.Event | None = None  # made when somebody waits for that

    # Reading.

    def listen(self) -> None:
        """Read from now on."""
        take_over(self._transport, self._protocol, self, self._wire.read_buffer)

    def on_received(self, received: bytes) -> None:
        self._unanswered = False
        messages = self._messages
        incoming: list[Message] = []
        self._feed(received)
        for kind, payload, extra in messages:
            if kind is not TEXT_MESSAGE and kind is not BINARY_MESSAGE:
                if incoming:  # what came before it comes first
                    self._deliver(incoming)
                    incoming = []
                self._on_control(kind, payload, extra)
            elif not self._is_deaf:
                try:
                    incoming += self._parse(payload) if kind is TEXT_MESSAGE else self._wire.parse_binary(payload)
                except ProtocolError as error:
                    if incoming:
                        self._deliver(incoming)
                        incoming = []
                    self._refuse(error)
        messages.clear()
        if incoming:
            self._deliver(incoming)

    def on_lost(self) -> None:
        self._hear_answer()
        if not self.ended.done():
            self.ended.set_result(None)

    def _deliver(self, messages: list[Message]) -> None:
        if self._closing is not None:  # the session may have been forgotten
            self._wire.manager.drop(messages)
        elif not self._hand_in(messages):
            self._stop_reading()

    def _stop_reading(self) -> None:
        if not self._is_paused and not self._wire.manager.has_room(self.session, self._read_on):
            self._is_paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        self._is_paused = False
        self._transport.resume_reading()

    def _refuse(self, error: ProtocolError) -> None:
        logger.info("session %s: %s", self.session.id, error)
        self._is_deaf = True
        self.session.interrupt(self._wire.fault, error)
        self.flush()  # what the protocol has to say comes before the close frame
        self.on_let_go()

    def _on_control(self, kind: WSMsgType, payload: Any, extra: str | None) -> None:
        if kind is WSMsgType.PING:
            self._answer_ping(payload)
        elif kind is WSMsgType.CLOSE:
            self._on_close(payload, extra or "")
        elif kind is WSMsgType.ERROR:
            self._on_fault(payload)

    def _answer_ping(self, payload: bytes) -> None:
        if self._is_answered or self._transport.is_closing():
            return
        if self.is_full:
            self._pong = payload  # the last one is enough (RFC 6455, 5.5.3)
            self.flush_when_drained()
        else:
            self._transport.write(websocket_frame(PONG, payload))
            self.peer.was_written = True
            self.session.look_soon()

    def _on_close(self, code: int, reason: str) -> None:
        is_answer = self._closing is not None
        self._is_deaf = True
        self._hear_answer()
        self.session.interrupt(Close(code or CloseCode.NO_STATUS, reason), None)
        self.session.detach(self)  # a call may still run: the time that it is waited for begins now
        if is_answer or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > 0 or self._transport.get_extra_info("sslcontext") is not None:
            self._start_closing(code or CloseCode.NORMAL, "")
            return
        self._transport.write(close_frame(code or CloseCode.NORMAL, ""))
        if self._transport.get_write_buffer_size() > 0:
            self._closing = asyncio.create_task(self._see_off())
        else:  # nearly always: it has left
            self._transport.close()

    def _on_fault(self, fault: Exception) -> None:
        # The reader is at its end: what still comes is dropped.
        code: int = fault.code if isinstance(fault, WebSocketError) else CloseCode.INVALID_TEXT
        error: RemoteError = ProtocolError(str(fault))
        if code == CloseCode.MESSAGE_TOO_BIG:
            error = MessageTooBig(self._wire.options.max_message_size)
        logger.info("session %s: %s", self.session.id, error)
        self.session.interrupt(Close(code, str(error), clean=False), error)
        self.session.detach(self)
        if self._closing is None:
            self._start_closing(code, "")

    def _hear_answer(self) -> None:
        self._is_answered = True
        if self._answered is not None:
            self._answered.set()

    # Writing.

    def encode(self, frame: bytes) -> bytes:
        if type(frame) is bytes:  # nearly always
            return websocket_frame(TEXT, frame) if len(frame) < LARGE else self._wire.encode_large(frame)
        if frame is HEARTBEAT_FRAME:
            self._unanswered = True
            return PING_FRAME
        return websocket_frame(BINARY if type(frame) is Binary else TEXT, frame)

    @property
    def connection(self) -> asyncio.Transport:
        """What is written to."""
        return self._transport

    def take_first(self) -> bytes:
        """The first frame as it is on the wire, to be written behind the handshake; empty if there is none."""
        self.peer.was_written = True
        frame = self.session.take_frame(FRAME_SIZE) if self.session.has_more else None
        return self.encode(frame) if frame else b""

    def on_let_go(self) -> None:
        if self._closing is None and self.is_connected and not self._is_answered:
            close = self.session.close_info
            code, reason = (close.code, close.reason) if close is not None else (CloseCode.INTERRUPTED, "")
            self._start_closing(code, reason)

    def on_drained(self) -> None:
        pong, self._pong = self._pong, None
        if pong is not None and self.is_connected:
            self._answer_ping(pong)
        super().on_drained()

    def _start_closing(self, code: int, reason: str) -> None:
        self._closing = asyncio.create_task(self._say_goodbye(code, reason))

    async def _say_goodbye(self, code: int, reason: str) -> None:
        patience = self._wire.options.write_timeout
        try:
            async with asyncio.timeout(patience):
                await self._request.writer.drain()  # nobody could tell a close frame behind a full buffer anyway
                self._transport.write(close_frame(code, reason))
                await self._request.writer.drain()
            # The client answers. What it has sent before is read meanwhile: a socket that is closed with input unread
            # is reset, and our last words would be lost (RFC 6455, 7.1.1).
            if not self._is_answered:
                await self._wait_for_answer()
        except (TimeoutError, ConnectionError):  # it will not hear us any more
            self.cut()
        else:
            await self._see_off()

    async def _see_off(self) -> None:
        # What is written may take ``write_timeout`` to leave.
        self._transport.close()
        try:
            async with asyncio.timeout(self._wire.options.write_timeout):
                await asyncio.wait([self.ended])
        except TimeoutError:
            self.cut()

    async def _wait_for_answer(self) -> None:
        self._answered = asyncio.Event()
        try:
            async with asyncio.timeout(LINGER):
                await self._answered.wait()
        except TimeoutError:
            logger.debug("session %s: no answer to the close frame", self.session.id)

    async def wait_closed(self) -> None:
        """Until the connection has ended, and nothing is to be done about it any more."""
        await self.ended
        if self._closing is not None:
            await self._closing

    # Time.

    def tick(self, now: float) -> ConnectionLost | None:
        if not self.is_connected:
            return super().tick(now)
        self.judge(now)
        self._watch_pong(now)
        self.is_quiet = not (self._unanswered or self.peer.is_watched or self.is_full)
        return self.lost

    def _watch_pong(self, now: float) -> None:
        # The clock runs from when the ping has left, and only while somebody reads what comes in.
        if not self._unanswered or self._is_paused or self.is_full or self.lost is not None:
            self._ping_at = None
        elif self._ping_at is None:
            self._ping_at = now
        elif now - self._ping_at >= self._wire.options.pong_timeout:
            self.lost = PongTimeout(f"no answer to a ping for {self._wire.options.pong_timeout:g} seconds")
            self.cut()


class CompressingReceiver(WebSocketReceiver):
    """One with permessage-deflate. A little may become much, so it reads piece by piece, while there is room."""

    __slots__ = ("_deflater", "_held")

    def __init__(self, wire: WebSocketTransport, session: Session, request: web.Request, response: Upgrade) -> None:
        super().__init__(wire, session, request, response)
        assert response.compression_agreed is not None
        self._deflater = response.compression_agreed.make_deflater()
        self._held = bytearray()  # what has come and was not looked at yet

    def on_received(self, received: bytes) -> None:
        self._held += received
        while self._held and not self._is_paused:
            piece = bytes(self._held[:PIECE])
            del self._held[:PIECE]
            super().on_received(piece)

    def encode(self, frame: bytes) -> bytes:
        if frame is HEARTBEAT_FRAME:
            return super().encode(frame)
        opcode = BINARY if type(frame) is Binary else TEXT
        return websocket_frame(opcode | DEFLATED, self._deflater.deflate(frame))

    def _read_on(self) -> None:
        self._is_paused = False
        self.on_received(b"")
        if not self._is_paused:
            self._transport.resume_reading()


class WebSocketTransport(Transport):
    """``GET /{server}/{session}/websocket``; the ids in the URL are ignored, each socket is its own session.

    Attributes:
        framing: how messages are worded.
        fault: how a socket ends whose client sends what ``parse`` refuses.
        parse: gives the messages in one websocket message that is text.
        parse_binary: the same for a binary one.
    """

    name = "websocket"
    is_websocket = True
    framing: ClassVar[Framing] = FRAMED
    fault: ClassVar[Close] = Close(CloseCode.GO_AWAY, "Broken framing.", clean=False)

    def __init__(self, manager: SessionManager, admission: Admission, options: Options) -> None:
        super().__init__(manager, admission, options)
        self.make_reader, self.reader_name = choose_reader(options.websocket_reader)
        self.parse: Parse = decode_frame
        self.parse_binary: Parse = decode_frame
        self.read_buffer = make_read_buffer()
        self._last = (b"", b"")  # a large frame of a session, and what it is on the wire

    def encode_large(self, frame: bytes) -> bytes:
        """A text frame as it is on the wire; a broadcast asks for the same one again and again."""
        last, encoded = self._last
        if frame is not last:
            encoded = websocket_frame(TEXT, frame)
            self._last = (frame, encoded)
        return encoded

    async def handle(self, request: web.Request) -> web.StreamResponse:
        principal = await self.admission.authenticate(request)
        subprotocol = self._agree(request)
        try:
            session = self.manager.create(self.admission.handshake(request, principal, subprotocol), self.framing)
        except Refused:
            raise Refusal(self.unavailable(request)) from None
        try:
            response = self._upgrade(request, subprotocol)
            is_sent = is_watched(request)  # or it leaves together with the first frame
            if is_sent:
                await response.prepare(request)
            kind = WebSocketReceiver if response.compression_agreed is None else CompressingReceiver
            receiver = kind(self, session, request, response)
        except ConnectionError:  # the client has gone already
            self.manager.forget(session)
            return web.Response()
        except (Refusal, ConnectionLost, asyncio.CancelledError):
            self.manager.forget(session)
            raise
        if self.attach(session, receiver) is None:  # it took so long that the session has been forgotten
            receiver.cut()
            return response
        error: ConnectionLost | None = None
        try:
            receiver.listen()
            if not is_sent:
                response.send_with(receiver.take_first(), receiver.connection)
            receiver.flush()
            self.manager.open(session)
            await receiver.wait_closed()
        except asyncio.CancelledError:
            error = ConnectionLost("the request was cancelled")
            raise
        finally:
            # Does nothing where the session has ended already, as it should have.
            error = receiver.lost or error or ConnectionLost("the client closed the connection without a goodbye")
            self.manager.release(session, receiver, error)
        return response

    def _upgrade(self, request: web.Request, subprotocol: str | None) -> Upgrade:
        try:
            return upgrade(request, subprotocol, is_compressible=self.options.websocket_compression)
        except NoHandshake:
            logger.info("%s: not a websocket handshake", self.name)
            raise Refusal(self._no_handshake(request)) from None

    def _no_handshake(self, request: web.Request) -> web.Response:
        # One of another version may come again with ours; RFC 6455, 4.2.2 and 4.4.
        version = request.headers.get("Sec-WebSocket-Version", VERSION)
        if version == VERSION:
            return self.admission.error(request, 400, "Not a valid websocket request.\n")
        answer = self.admission.error(request, 426, "This server speaks version 13 of the protocol.\n")
        answer.headers["Sec-WebSocket-Version"] = VERSION
        return answer

    def _agree(self, request: web.Request) -> str | None:
        offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        return next((name for name in map(str.strip, offered) if name in self.manager.handlers.subprotocols), None)
