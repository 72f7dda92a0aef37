"""Websockets, framed and raw.

The protocol does not say what a server has read. A websocket does: a ping behind a message is answered when the message
has been read. So there is a ping behind what is sent, never more than one at a time.

Knows: aiohttp's client websocket, pings as receipts.
Does not know: sessions, reconnecting.
Spec: RFC 6455, 5.5 (pings) and 7.1 (closing); sockjs-protocol 0.3.3, WebsocketHttpErrors and Protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import aiohttp
from aiohttp import WSMsgType
from yarl import URL

from ..sockjs.framing import FRAMED, RAW, Binary, Close, CloseCode, Framing
from .address import below
from .carrier import Broken, Target, Unsent, check_opened, read_frame
from .faults import NETWORK, describe
from .frames import HEARTBEAT, Kind, ServerFrame
from .handshake import open_websocket


class WebSocketCarrier:
    """``GET /websocket`` below a session's URL."""

    name: ClassVar[str] = "websocket"
    round_trips: ClassVar[int] = 2
    framing: ClassVar[Framing] = FRAMED

    def __init__(self, target: Target) -> None:
        self.subprotocol: str | None = None
        self.signs = 0
        self.owes = False
        self._target = target
        self._socket: aiohttp.ClientWebSocketResponse[bool] | None = None
        self._sent = self._confirmed = 0
        self._asked: int | None = None  # how much had been sent at the ping that is not answered
        self._is_poked = False
        self._pong: bytes | None = None  # to be sent
        self._closing = asyncio.Lock()

    @property
    def url(self) -> URL:
        """Where to shake hands."""
        return below(self._target.url, "websocket")

    async def open(self) -> None:
        """As ``Carrier.open``."""
        await self.connect()
        while (frame := await self.read()).kind is Kind.HEARTBEAT:
            if self.owes:
                await self.write(())
        check_opened(frame)

    async def connect(self) -> None:
        """Shake hands.

        Raises:
            Broken: that failed.
        """
        target = self._target
        try:
            self._socket = await open_websocket(
                target.http,
                self.url,
                headers=target.headers,
                protocols=target.options.subprotocols,
                autoping=False,
                max_msg_size=target.options.max_frame_size,
                timeout=aiohttp.ClientWSTimeout(ws_close=target.options.close_timeout),
                decode_text=False,
            )
        except NETWORK as error:
            raise Broken(describe(error)) from error
        self.subprotocol = self._socket.protocol

    async def read(self) -> ServerFrame:
        """As ``Carrier.read``."""
        socket = self._socket
        assert socket is not None
        message = await socket.receive()
        self.signs += 1
        kind = message.type
        if kind is WSMsgType.TEXT:
            return self.text(message.data)
        if kind is WSMsgType.PONG:
            return self._confirm(bytes(message.data))
        if kind is WSMsgType.PING:
            self._pong = bytes(message.data)  # an earlier one need not be answered any more: RFC 6455, 5.5.3
            self.owes = True
            return HEARTBEAT
        if kind is WSMsgType.BINARY:
            return self.binary(message.data)
        if kind is WSMsgType.CLOSE:
            return self.goodbye(Close(message.data or CloseCode.NO_STATUS, message.extra or ""))
        raise self._end(message.data)

    def text(self, payload: bytes) -> ServerFrame:
        """The frame that a text message of the server is.

        Raises:
            Broken: it is none.
        """
        return read_frame(payload)

    def binary(self, payload: bytes) -> ServerFrame:
        """As ``text``, for a binary one."""
        raise Broken("the server sent a binary message, which SockJS has not")

    def goodbye(self, close: Close) -> ServerFrame:
        """As ``text``, for the closing handshake."""
        raise Broken(f"the websocket was closed ({_worded(close)})")

    def encode(self, prepared: Sequence[bytes]) -> Sequence[bytes]:
        """The websocket messages that carry ``prepared``."""
        return (b"[%b]" % b",".join(prepared),) if prepared else ()

    async def write(self, prepared: Sequence[bytes]) -> bool:
        """As ``Carrier.write``."""
        socket = self._socket
        assert socket is not None
        if socket.closed:
            raise Unsent("the connection has ended")
        try:
            for message in self.encode(prepared):
                await socket.send_frame(message, WSMsgType.BINARY if isinstance(message, Binary) else WSMsgType.TEXT)
            self._sent += len(prepared)
            await self._pay(socket)
        except NETWORK as error:
            raise Broken(f"sending failed: {describe(error)}") from error
        return False

    def poke(self) -> None:
        """As ``Carrier.poke``."""
        if self._asked is None:  # else it has been asked, and waits for the answer
            self._is_poked = self.owes = True

    async def close(self) -> None:
        """As ``Carrier.close``."""
        if self._socket is not None:
            try:
                # one after the other, as the connection is freed by the second
                async with asyncio.timeout(self._target.options.close_timeout), self._closing:
                    await self._socket.close()
            except NETWORK:  # it is gone, which is what was wanted
                return

    async def _pay(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        pong, self._pong = self._pong, None
        asks = self._asked is None and (self._is_poked or self._sent > self._confirmed)
        self.owes = False  # not later: it may owe more while this is sent
        if asks:
            self._is_poked = False
            self._asked = self._sent
            await socket.ping(b"%d" % self._sent)
        if pong is not None:
            await socket.pong(pong)

    def _confirm(self, answer: bytes) -> ServerFrame:
        if self._asked is None or answer != b"%d" % self._asked:
            return HEARTBEAT  # not asked for: RFC 6455, 5.5.3
        count = self._asked - self._confirmed
        self._confirmed = self._asked
        self._asked = None
        self.owes = self.owes or self._confirmed < self._sent
        return ServerFrame(Kind.CONFIRMED, count=count) if count else HEARTBEAT

    def _end(self, fault: object) -> Broken:
        if isinstance(fault, aiohttp.WebSocketError):
            if fault.code == CloseCode.MESSAGE_TOO_BIG:
                return Broken(f"a frame is larger than max_frame_size ({self._target.options.max_frame_size} bytes)")
            return Broken(f"the server broke the websocket protocol: {fault}")
        return Broken(describe(fault) if isinstance(fault, Exception) else "the connection was cut")


class RawWebSocketCarrier(WebSocketCarrier):
    """A plain websocket: ``/websocket`` below the server's URL, or any other websocket's URL."""

    name: ClassVar[str] = "websocket-raw"
    round_trips: ClassVar[int] = 1
    framing: ClassVar[Framing] = RAW

    @property
    def url(self) -> URL:
        """As ``WebSocketCarrier.url``."""
        return self._target.url

    async def open(self) -> None:
        """As ``Carrier.open``: there is no frame for it."""
        await self.connect()

    def text(self, payload: bytes) -> ServerFrame:
        """As ``WebSocketCarrier.text``."""
        try:
            return ServerFrame(Kind.MESSAGES, (payload.decode(),))
        except UnicodeDecodeError:
            raise Broken("the server sent text that is no UTF-8") from None

    def binary(self, payload: bytes) -> ServerFrame:
        """As ``WebSocketCarrier.binary``."""
        return ServerFrame(Kind.MESSAGES, (payload,))

    def goodbye(self, close: Close) -> ServerFrame:
        """As ``WebSocketCarrier.goodbye``."""
        return ServerFrame(Kind.CLOSE, close=close)

    def encode(self, prepared: Sequence[bytes]) -> Sequence[bytes]:
        """As ``WebSocketCarrier.encode``."""
        return prepared


def _worded(close: Close) -> str:
    return f"{close.code} {close.reason}".rstrip()
