"""Shape 4, both ways: a websocket whose session lives and dies with it.

One task reads and runs the handler. While a handler takes its time, the next reader takes over reading, so
pings are answered and a goodbye is heard; messages then wait in line (see ``sockjs/delivery.py``).

Knows: reading, writing, pings, the closing handshake.
Does not know: who handles messages; SockJS sessions of other transports.
Spec: RFC 6455; sockjs-protocol 0.3.3, WebsocketHttpErrors, WebsocketHybi10, RawWebsocket; docs/conformance.md 4.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import ClassVar, Final

from aiohttp import WebSocketError, WSMessage, WSMsgType, web

from ..errors import ConnectionLost, MessageTooBig, PongTimeout, ProtocolError, Refused, RemoteError
from ..sockjs.framing import (
    FRAMED,
    HEARTBEAT_FRAME,
    INTERRUPTED,
    Binary,
    Close,
    CloseCode,
    Framing,
    Message,
    decode_frame,
    encode_text,
)
from ..sockjs.session import Session
from .base import Refusal, Transport, logger
from .receiver import FRAME_SIZE, SocketReceiver

# First bytes of an unfragmented server frame (RFC 6455, 5.2).
TEXT: Final = 0x81
BINARY: Final = 0x82
PING: Final = b"\x89\x00"

VERSION: Final = "13"

LINGER: Final = 1.0
"""Seconds that a client may take to answer our close frame."""

# Codes below 3000 that may stand in a close frame (RFC 6455, 7.4.1); the others only describe.
SENDABLE_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1012)})

_header_short = struct.Struct("!BB").pack
_header_medium = struct.Struct("!BBH").pack
_header_long = struct.Struct("!BBQ").pack


def websocket_frame(opcode: int, payload: bytes) -> bytes:
    """One unmasked frame, as servers send them.

    Args:
        opcode: with the FIN bit, ``TEXT`` or ``BINARY``.

    Spec: RFC 6455, 5.2.
    """
    size = len(payload)
    if size < 126:
        return _header_short(opcode, size) + payload
    if size < 65536:
        return _header_medium(opcode, 126, size) + payload
    return _header_long(opcode, 127, size) + payload


TEXT_MESSAGE = WSMsgType.TEXT
BINARY_MESSAGE = WSMsgType.BINARY


class WebSocketReceiver(SocketReceiver):
    """Reads and writes one websocket."""

    __slots__ = (
        "_answered",
        "_closing",
        "_gone_at",
        "_has_older",
        "_is_answered",
        "_is_compressing",
        "_is_delivering",
        "_ping_at",
        "_readers",
        "_socket",
        "_turn",
        "_unanswered",
        "_wire",
        "_writer",
    )

    def __init__(
        self,
        wire: WebSocketTransport,
        session: Session,
        request: web.Request,
        response: web.WebSocketResponse,
    ) -> None:
        super().__init__(wire.name, session, request, wire.options.write_timeout, wire.turn_end)
        self._wire = wire
        self._socket = response
        self._is_compressing = bool(response.compress)
        self._turn = 0  # whose turn it is to read
        self._has_older = False  # the reader before this one still runs a handler
        self._is_delivering = False  # nobody reads at the moment
        self._readers: set[asyncio.Task[None]] = set()
        self._unanswered = False  # a ping that no sign of life has followed
        self._ping_at: float | None = None
        self._gone_at: float | None = None
        self._writer: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._is_answered = False  # the client's close frame has come, or its connection is lost
        self._answered: asyncio.Event | None = None  # made when somebody waits for that

    # Reading.

    async def serve(self) -> None:
        """Tell the application, then read until the socket has ended and every call that it caused as well."""
        self._is_delivering = True
        await self._wire.manager.open(self.session)
        if self._turn == 0:
            self._is_delivering = False
            await self._read(0)
        else:  # it took so long that somebody else reads already
            self._has_older = False
        while self._readers:
            await asyncio.wait(self._readers)
        if self._closing is not None:
            await self._closing

    async def _read(self, turn: int) -> None:
        session, receive = self.session, self._socket.receive
        deliver, parse = self._wire.manager.deliver, self._wire.parse
        runner = asyncio.current_task()
        while True:
            received = await receive()
            self._unanswered = False
            kind = received.type
            if kind is TEXT_MESSAGE or kind is BINARY_MESSAGE:
                try:
                    messages = parse(received.data, kind is not TEXT_MESSAGE)
                except ProtocolError as error:
                    logger.info("session %s: %s", session.id, error)
                    session.interrupt(self._wire.fault, error)
                    self.flush()  # what the protocol has to say comes before the close frame
                    self.on_let_go()
                    continue  # what comes behind it is read, and dropped
                self._is_delivering = True
                await deliver(session, messages, runner)
                if self._turn != turn:
                    self._has_older = False
                    return
                self._is_delivering = False
            elif kind is WSMsgType.PING:
                await self._answer_ping(received.data)
            elif kind is not WSMsgType.PONG:
                self._is_answered = True
                if self._answered is not None:
                    self._answered.set()
                if kind is WSMsgType.CLOSE and self._closing is None:
                    await self._answer_close(received)
                session.interrupt(*self._farewell(received))
                session.detach(self)  # a call may still run: the time that it is waited for begins now
                return

    async def _answer_close(self, received: WSMessage) -> None:
        try:
            await self._socket.close(code=received.data or CloseCode.NORMAL, drain=False)
        except ConnectionError:  # the client did not wait for it
            return

    async def _answer_ping(self, payload: bytes) -> None:
        try:
            await self._socket.pong(payload)
        except ConnectionError:  # the client has gone: what is received next says so
            return

    def _take_over(self) -> None:
        self._turn += 1
        self._has_older = True
        self._is_delivering = False
        reader = asyncio.create_task(self._read(self._turn))
        self._readers.add(reader)
        reader.add_done_callback(self._on_reader_end)

    def _on_reader_end(self, reader: asyncio.Task[None]) -> None:
        self._readers.discard(reader)
        if not reader.cancelled() and (fault := reader.exception()) is not None:
            logger.error("session %s: its reader failed", self.session.id, exc_info=fault)
            self.cut()

    def _farewell(self, received: WSMessage) -> tuple[Close, RemoteError | None]:
        if received.type is WSMsgType.CLOSE:
            return Close(received.data or CloseCode.NO_STATUS, received.extra or ""), None
        if isinstance(received.data, WebSocketError):
            code = received.data.code
            if code == CloseCode.MESSAGE_TOO_BIG:
                error: RemoteError = MessageTooBig(self._wire.options.max_message_size)
            else:
                error = ProtocolError(str(received.data))
            logger.info("session %s: %s", self.session.id, error)
            return Close(code, str(error), clean=False), error
        error = self.lost or ConnectionLost("the client closed the connection without a goodbye")
        return INTERRUPTED, error

    # Writing.

    def encode(self, frame: bytes) -> bytes:
        if frame is HEARTBEAT_FRAME:
            self._unanswered = True
            return PING
        return websocket_frame(BINARY if type(frame) is Binary else TEXT, frame)

    def flush(self) -> None:
        if not self._is_compressing:
            SocketReceiver.flush(self)
        elif self._writer is None:
            self._writer = asyncio.create_task(self._write_compressed())

    def on_let_go(self) -> None:
        if self._closing is None and self.is_connected:
            close = self.session.close_info
            self._closing = asyncio.create_task(self._say_goodbye(close or INTERRUPTED))

    async def _write_compressed(self) -> None:
        # Compression may leave the loop's thread, so this path waits for each frame.
        try:
            while self.session.receiver is self:
                frame = self.session.take_frame(FRAME_SIZE)
                if frame is None:
                    return
                if frame is HEARTBEAT_FRAME:
                    self._unanswered = True
                    await self._socket.ping()
                    self.peer.wrote()
                elif frame or self.session.receiver is self:
                    kind = WSMsgType.BINARY if type(frame) is Binary else WSMsgType.TEXT
                    await self._socket.send_frame(frame, kind)
                    self.peer.wrote()
        except ConnectionError:  # the client has gone: the reader finds out
            return
        finally:
            self._writer = None
        self.on_let_go()

    async def _say_goodbye(self, close: Close) -> None:
        code = close.code if close.code in SENDABLE_CODES or close.code >= 3000 else CloseCode.NORMAL
        try:
            async with asyncio.timeout(self._wire.options.write_timeout):
                await self._socket.send_frame(code.to_bytes(2, "big") + encode_text(close.reason), WSMsgType.CLOSE)
                await self._request.writer.drain()
        except (TimeoutError, ConnectionError):  # it will not hear us any more
            self.cut()
            return
        # The client answers. What it has sent before is read meanwhile: a socket that is closed with input unread is
        # reset, and our last words would be lost (RFC 6455, 7.1.1).
        if not self._is_answered:
            self._answered = asyncio.Event()
            try:
                async with asyncio.timeout(LINGER):
                    await self._answered.wait()
            except TimeoutError:
                logger.debug("session %s: no answer to the close frame", self.session.id)
        self._transport.close()

    # Time.

    def tick(self, now: float) -> ConnectionLost | None:
        if self._is_delivering and not self._has_older:
            self._take_over()
        elif self.is_connected:
            self.judge(now)
            self._watch_pong(now)
        elif self._is_delivering:
            # Nobody reads until there is room again; what the client said before it left is to be heard then.
            if self._gone_at is None:
                self._gone_at = now
            elif now - self._gone_at >= self._wire.options.disconnect_delay:
                return super().tick(now)
        else:
            # The client has gone. The reader finds that out behind the last messages, once nothing waits to be written.
            self.cut()
        return self.lost

    def _watch_pong(self, now: float) -> None:
        # The clock runs from when the ping has left, and only while somebody reads what comes in.
        if not self._unanswered or self._is_delivering or self._protocol.writing_paused or self.lost is not None:
            self._ping_at = None
        elif self._ping_at is None:
            self._ping_at = now
        elif now - self._ping_at >= self._wire.options.pong_timeout:
            self.lost = PongTimeout(f"no answer to a ping for {self._wire.options.pong_timeout:g} seconds")
            self.cut()


class WebSocketTransport(Transport):
    """``GET /{server}/{session}/websocket``; the ids in the URL are ignored, each socket is its own session.

    Attributes:
        framing: how messages are worded.
        fault: how a socket ends whose client sends what ``parse`` refuses.
    """

    name = "websocket"
    is_websocket = True
    framing: ClassVar[Framing] = FRAMED
    fault: ClassVar[Close] = Close(CloseCode.GO_AWAY, "Broken framing.", clean=False)

    def parse(self, payload: bytes, is_binary: bool) -> Sequence[Message]:
        """The messages in one websocket message.

        Raises:
            ProtocolError: it is not what a client may send.
        """
        return decode_frame(payload)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        principal = await self.admission.authenticate(request)
        subprotocol = self._agree(request)
        try:
            session = self.manager.create(self.admission.handshake(request, principal, subprotocol), self.framing)
        except Refused as refused:
            raise Refusal(self.unavailable(request, refused)) from None
        try:
            response = await self._upgrade(request, subprotocol)
            receiver = WebSocketReceiver(self, session, request, response)
        except (Refusal, ConnectionLost, asyncio.CancelledError):
            self.manager.forget(session)
            raise
        if self.attach(session, receiver) is None:
            await response.close(code=CloseCode.GOING_AWAY)
            return response
        try:
            receiver.flush()
            await receiver.serve()
        finally:
            # Does nothing where the session has ended already, as it should have.
            self.manager.release(session, receiver, receiver.lost or ConnectionLost("the request was cancelled"))
        return response

    async def _upgrade(self, request: web.Request, subprotocol: str | None) -> web.WebSocketResponse:
        response = web.WebSocketResponse(
            timeout=self.options.write_timeout,
            autoping=False,
            autoclose=False,
            protocols=(subprotocol,) if subprotocol else (),
            compress=self.options.websocket_compression,
            max_msg_size=self.options.max_message_size + 1,  # aiohttp refuses what reaches its limit
            decode_text=False,
        )
        try:
            await response.prepare(request)
        except web.HTTPBadRequest:
            logger.info("%s: not a websocket handshake", self.name)
            raise Refusal(self._no_handshake(request)) from None
        except ConnectionError:  # the client has gone already
            raise Refusal(web.Response()) from None
        return response

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
