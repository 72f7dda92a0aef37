"""A server of raw bytes that says what a test wants, right or wrong."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

INFO = b'{"websocket":true,"origins":["*:*"],"cookie_needed":false,"entropy":1}'

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@dataclass
class Request:
    """One request, and the connection that it came by.

    Attributes:
        number: how many had come to the server before it.
    """

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def name(self) -> str:
        """The last part of the path, without the query."""
        return self.path.partition("?")[0].rpartition("/")[2]

    def answer(self, body: bytes = b"", status: int = 200, headers: str = "") -> None:
        """A whole answer."""
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.writer.write(head.encode() + body)

    def begin(self, headers: str = "") -> None:
        """An answer that goes on, with ``chunk``."""
        self.writer.write(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{headers}\r\n".encode())

    def chunk(self, data: bytes) -> None:
        """A part of it; an empty one is the end."""
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    def upgrade(self, headers: str = "") -> None:
        """The handshake of a websocket."""
        key = self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.writer.write(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{headers}\r\n".encode()
        )

    def send_frame(self, payload: bytes, opcode: int = TEXT) -> None:
        """One websocket frame, at most 65535 bytes."""
        size = len(payload)
        head = struct.pack("!BB", 0x80 | opcode, size) if size < 126 else struct.pack("!BBH", 0x80 | opcode, 126, size)
        self.writer.write(head + payload)

    async def read_frame(self) -> tuple[int, bytes]:
        """``(opcode, payload)`` of the client's next one."""
        first, size = await self.reader.readexactly(2)
        size &= 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        mask = await self.reader.readexactly(4)
        payload = await self.reader.readexactly(size)
        masks = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        return first & 0x0F, (int.from_bytes(payload, "big") ^ masks).to_bytes(size, "big")

    def reset(self) -> None:
        """Cut the connection."""
        self.writer.transport.abort()


Script = Callable[[Request], Awaitable[None]]


@dataclass
class Scripted:
    """The server.

    Attributes:
        url: of its endpoint.
        requests: all that have come.
    """

    url: str = ""
    requests: list[Request] = field(default_factory=list)

    def names(self) -> list[str]:
        return [request.name for request in self.requests]


@asynccontextmanager
async def scripted(script: Script, info: bytes | None = INFO) -> AsyncIterator[Scripted]:
    """A server that does what ``script`` does with each request; the connection stays until it returns.

    Args:
        info: the answer to ``/info``; None leaves that to the script as well.
    """
    server = Scripted()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader, writer, len(server.requests))) is not None:
                server.requests.append(request)
                if request.name == "info" and info is not None:
                    request.answer(info)
                else:
                    await script(request)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/echo"
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> Request | None:
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode("latin1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(number, method, path, headers, body, reader, writer)
