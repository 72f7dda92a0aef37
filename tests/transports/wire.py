"""A client of raw bytes: it can do what browsers do, and what only networks and attackers do.

``Wire`` is one TCP connection, ``Client`` one SockJS client on any transport. Nothing here shares code with the
server, except the names of transports.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import web
from multidict import CIMultiDict

import sockbridge
from tests.fakes import GUARD, RecordingHandler, serve

POLLING = ("xhr", "jsonp")
STREAMING = ("xhr_streaming", "eventsource", "htmlfile")
SOCKETS = ("websocket", "websocket-raw")
HTTP = (*POLLING, *STREAMING)
LASTING = (*STREAMING, *SOCKETS)
ALL = (*HTTP, *SOCKETS)

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

DEFAULTS: dict[str, Any] = {"allowed_origins": "*"}
"""Options of ``echo_server`` where a test says nothing else."""

_ids = itertools.count()


async def until(condition: Callable[[], object], timeout: float = GUARD) -> None:
    """Wait for what no event tells: that something has gone."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def echo_server(
    handler: Any = None, prefix: str = "/echo", **options: Any
) -> AsyncIterator[tuple[str, sockbridge.Endpoint, Any]]:
    """An endpoint that every origin may use, on a server as in production: ``(url, endpoint, handler)``."""
    handler = RecordingHandler(echo=True) if handler is None else handler
    app = web.Application()
    endpoint = sockbridge.mount(app, prefix, handler, **{**DEFAULTS, **options})
    async with serve(app) as base:
        yield base + prefix, endpoint, handler


@dataclass
class Head:
    """Status and headers of an answer."""

    status: int
    headers: CIMultiDict[str]


class Wire:
    """One TCP connection to the server of ``url``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader = reader
        self.writer = writer
        self.host = host
        self.head: Head | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
        connect: Callable[[tuple[str, int]], socket.socket] | None = None,
    ) -> Wire:
        """Connect.

        Args:
            receive_buffer: bytes; a small one makes a peer that does not read noticed soon.
            connect: makes the connected socket, for one in another network namespace.
        """
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        if connect is not None:
            connection = connect((parts.hostname, parts.port))
            connection.setblocking(False)
        else:
            connection = socket.socket()
            connection.setblocking(False)
            if receive_buffer is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            try:
                await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
            except OSError:
                connection.close()
                raise
        limit = receive_buffer or 2**20
        name = parts.hostname if tls else None
        reader, writer = await asyncio.open_connection(sock=connection, limit=limit, ssl=tls, server_hostname=name)
        return cls(reader, writer, parts.netloc)

    # How it ends.

    async def close(self) -> None:
        """FIN, if everything that came has been read; RST from the kernel otherwise."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:  # the server was quicker
            return

    def finish(self) -> None:
        """FIN, while we could still read."""
        self.writer.write_eof()

    def reset(self) -> None:
        """RST."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    # HTTP.

    def request(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None, version: str = "1.1"
    ) -> None:
        """Write a request; ``Content-Length`` is set for POST unless ``headers`` says how the body is framed."""
        fields = CIMultiDict({"Host": self.host, **(headers or {})})
        if method == "POST" and "Transfer-Encoding" not in fields:
            fields.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def read_head(self) -> Head:
        async with asyncio.timeout(GUARD):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = CIMultiDict(tuple(line.split(": ", 1)) for line in lines[1:] if line)  # type: ignore[misc]  # pairs
        self.head = Head(int(lines[0].split()[1]), headers)
        return self.head

    async def read_chunk(self) -> bytes:
        """The next chunk of a chunked answer; empty at its end."""
        async with asyncio.timeout(GUARD):
            size = int(await self.reader.readline(), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def read_body(self) -> bytes:
        assert self.head is not None
        async with asyncio.timeout(GUARD):
            if self.head.headers.get("Transfer-Encoding") == "chunked":
                chunks = []
                while chunk := await self.read_chunk():
                    chunks.append(chunk)
                return b"".join(chunks)
            if self.head.status in (204, 304):
                return b""
            if "Content-Length" in self.head.headers:
                return await self.reader.readexactly(int(self.head.headers["Content-Length"]))
            return await self.reader.read()

    async def read_end(self) -> bytes:
        """Whatever comes until the server ends the connection."""
        async with asyncio.timeout(GUARD):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    # WebSocket (RFC 6455).

    def upgrade(self, target: str, headers: dict[str, str] | None = None) -> None:
        self.request(
            "GET",
            target,
            headers={
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
                **(headers or {}),
            },
        )

    def send_frame(self, payload: bytes, opcode: int = TEXT, *, final: bool = True) -> None:
        first = opcode | (0x80 if final else 0)
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", first, 0x80 | size)
        elif size < 65536:
            head = struct.pack("!BBH", first, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", first, 0x80 | 127, size)
        self.writer.write(head + bytes(4) + payload)  # a mask of zeros is a mask

    async def read_frame(self) -> tuple[int, bytes]:
        """``(opcode, payload)`` of the next frame."""
        async with asyncio.timeout(GUARD):
            first, size = await self.reader.readexactly(2)
            assert first & 0x80, "servers do not fragment"
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(size)


async def fetch(
    url: str, method: str = "GET", body: bytes = b"", headers: dict[str, str] | None = None, **how: Any
) -> tuple[Head, bytes]:
    """One request on a connection of its own: ``(head, body)``."""
    wire = await Wire.open(url, **how)
    try:
        parts = urlsplit(url)
        wire.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, headers)
        head = await wire.read_head()
        return head, b"" if method == "HEAD" else await wire.read_body()
    finally:
        await wire.close()


class Client:
    """A SockJS client on the transport ``name`` of the endpoint at ``url``; ``connect`` first.

    Attributes:
        wire: the connection that receives.
        id: its secret, the last id of its URL.
        frames: heartbeats, pings and pongs are left out of them unless ``sees_all`` is set.
    """

    def __init__(
        self, url: str, name: str, *, headers: dict[str, str] | None = None, id: str | None = None, **how: Any
    ) -> None:
        self.url = url
        self.name = name
        self.headers = headers or {}
        self.id = id or f"secret{next(_ids)}x"
        self.how = how
        self.wire: Wire = None  # type: ignore[assignment]  # set by connect
        self._is_listening = False
        self._wires: list[Wire] = []

    @property
    def path(self) -> str:
        return f"{urlsplit(self.url).path}/000/{self.id}"

    async def connect(self) -> Client:
        """Until the session is open; for polls, until the second poll waits."""
        await self.begin()
        assert self.wire.head is None or self.wire.head.status in (101, 200), self.wire.head
        if self.name != "websocket-raw":
            assert await self.frame() == "o"
        if self.name in POLLING:
            self.listen()
        return self

    async def begin(self) -> Head | None:
        """The first request; for streams and sockets until its head (and a stream's prelude) has come."""
        self.wire = await Wire.open(self.url, **self.how)
        self._wires.append(self.wire)
        if self.name in POLLING:
            self.listen()
            return None
        if self.name == "websocket":
            self.wire.upgrade(f"{self.path}/websocket", self.headers)
        elif self.name == "websocket-raw":
            self.wire.upgrade(f"{urlsplit(self.url).path}/websocket", self.headers)
        else:
            self._receive()
        head = await self.wire.read_head()
        if head.status == 200:
            await self.wire.read_chunk()  # the prelude
        return head

    def listen(self) -> None:
        """Send the next poll."""
        self._receive()
        self._is_listening = True

    async def frame(self) -> str:
        """The next SockJS frame (a message as it is on a raw websocket); "" at the end of a stream.

        A websocket's close is given as a close frame, its pings are answered and left out.
        """
        if self.name in SOCKETS:
            return await self._socket_frame()
        if self.name in POLLING:
            if not self._is_listening:
                self.listen()
            self._is_listening = False
            await self.wire.read_head()
            return self.decode(await self.wire.read_body())
        return self.decode(await self.wire.read_chunk())

    async def messages(self, count: int = 1) -> list[str]:
        """The next ``count`` messages, however they are framed; a stream that ends is opened again."""
        messages: list[str] = []
        while len(messages) < count:
            frame = await self.frame()
            if self.name == "websocket-raw":
                messages.append(frame)
            elif frame == "":
                await self.begin()
            elif frame != "h":
                assert frame.startswith("a"), frame[:80]
                messages += json.loads(frame[1:])
        return messages

    async def send(self, *messages: str) -> None:
        """Send, and for HTTP see that the server took it."""
        if self.name == "websocket-raw":
            for message in messages:
                self.wire.send_frame(message.encode())
        elif self.name == "websocket":
            self.wire.send_frame(json.dumps(messages).encode())
        else:
            head, body = await self.post(json.dumps(messages).encode())
            assert head.status in (200, 204), body

    async def post(self, body: bytes, headers: dict[str, str] | None = None) -> tuple[Head, bytes]:
        """A send request with this body."""
        name = "jsonp_send" if self.name == "jsonp" else "xhr_send"
        url = f"{self.url}/000/{self.id}/{name}"
        return await fetch(url, "POST", body, {**self.headers, **(headers or {})}, **self.how)

    async def close(self) -> None:
        for wire in self._wires:
            await wire.close()

    def decode(self, text: bytes) -> str:
        """The SockJS frame inside what a transport sent."""
        if not text:
            return ""
        if self.name == "eventsource":
            assert text.startswith(b"data: "), text[:80]
            assert text.endswith(b"\r\n\r\n")
            return unquote(text[6:-4].decode())
        if self.name in ("htmlfile", "jsonp"):
            match = re.search(r"^(?:<script>\np|/\*\*/callback)\((.*)\);\s", text.decode(), re.DOTALL)
            assert match is not None, text[:80]
            return json.loads(match[1])
        return text.decode().removesuffix("\n")

    def _receive(self) -> None:
        method = "GET" if self.name in ("eventsource", "htmlfile", "jsonp") else "POST"
        query = "?c=callback" if self.name in ("htmlfile", "jsonp") else ""
        self.wire.request(method, f"{self.path}/{self.name}{query}", headers=self.headers)

    async def _socket_frame(self) -> str:
        while True:
            opcode, payload = await self.wire.read_frame()
            if opcode == PING:
                self.wire.send_frame(payload, PONG)
            elif opcode == CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                return f"c[{code},{json.dumps(payload[2:].decode())}]"
            elif opcode in (TEXT, BINARY):
                return payload.decode()


@asynccontextmanager
async def connected(url: str, *names: str, **how: Any) -> AsyncIterator[Sequence[Client]]:
    """A connected client for each name."""
    clients = [Client(url, name, **how) for name in names]
    try:
        for client in clients:
            await client.connect()
        yield clients
    finally:
        for client in clients:
            await client.close()
