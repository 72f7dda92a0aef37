"""A server as in production, and a client that sees every byte of its answers.

aiohttp's client hides chunk boundaries, tidies paths and adds headers; so requests go over plain streams.
Only websockets use aiohttp's client, where a frame is a frame.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

import sockbridge
from demo.conformance import make_app
from sockbridge.sockjs.framing import Message
from sockbridge.sockjs.session import Session
from tests.fakes import GUARD, RecordingHandler, serve

SCRIPT_URL = "/sockjs.js"

RECEIVERS = {
    "xhr": ("POST", "xhr"),
    "xhr_streaming": ("POST", "xhr_streaming"),
    "eventsource": ("GET", "eventsource"),
    "htmlfile": ("GET", "htmlfile?c=callback"),
    "jsonp": ("GET", "jsonp?c=callback"),
}
"""Name of every HTTP transport that receives: method and end of the URL."""

POLLS = ("xhr", "jsonp")
STREAMS = ("xhr_streaming", "eventsource", "htmlfile")

INTERRUPTED = 'c[1002,"Connection interrupted"]'
BUSY = 'c[2010,"Another connection still open"]'
GO_AWAY = 'c[3000,"Go away!"]'


class ObedientHandler(RecordingHandler):
    """Echoes, unless told by a message to do something else.

    ``say a b`` sends two messages, ``close 4001 Bye`` closes, ``farewell`` sends two messages and closes.
    """

    async def on_message(self, session: Session, message: Message) -> None:
        self.record("on_message", session, message)
        verb, _, rest = str(message).partition(" ")
        if verb == "say":
            for word in rest.split():
                session.send(word)
        elif verb == "close":
            code, _, reason = rest.partition(" ")
            session.close(int(code), reason)
        elif verb == "farewell":
            session.send("one")
            session.send("two")
            session.close(4001, "Bye")
        else:
            session.send(message)


class HesitantHandler(sockbridge.SessionHandler):
    """Its open handler takes until ``gate`` is set."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def on_connected(self, session: Session) -> None:
        await self.gate.wait()
        session.send("at last")


@dataclass(frozen=True)
class Head:
    """Status line and headers of an answer."""

    version: str
    status: int
    headers: CIMultiDict[str]


@dataclass(frozen=True)
class Answer(Head):
    """A whole answer."""

    body: bytes


class Connection:
    """One TCP connection to the server; every wait is guarded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = b"",
        headers: Mapping[str, str] | None = None,
        *,
        version: str = "1.1",
    ) -> None:
        """Write a request. ``body=None``: a POST without Content-Length."""
        lines = {"Host": "127.0.0.1", **(headers or {})}
        if method == "POST" and body is not None and "Transfer-Encoding" not in lines:
            lines.setdefault("Content-Length", str(len(body)))
        head = f"{method} {target} HTTP/{version}\r\n" + "".join(f"{name}: {lines[name]}\r\n" for name in lines)
        await self.write(head.encode() + b"\r\n" + (body or b""))

    async def write(self, content: bytes) -> None:
        self._writer.write(content)
        async with asyncio.timeout(GUARD):
            await self._writer.drain()

    async def head(self) -> Head:
        async with asyncio.timeout(GUARD):
            lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        version, status, _ = lines[0].split(" ", 2)
        headers: CIMultiDict[str] = CIMultiDict()
        for line in filter(None, lines[1:]):
            name, _, value = line.partition(":")
            headers.add(name, value.strip())
        return Head(version, int(status), headers)

    async def chunk(self) -> bytes:
        """The next chunk of a chunked answer; empty at its end."""
        async with asyncio.timeout(GUARD):
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            content = await self._reader.readexactly(size + 2)
        assert content.endswith(b"\r\n")
        return content[:-2]

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(GUARD):
            return await self._reader.read()

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(GUARD):
            return await self._reader.readexactly(size)

    async def answer(self) -> Answer:
        """A whole answer, however its end is marked."""
        head = await self.head()
        body = b""
        if head.status in (204, 304):
            pass
        elif head.headers.get("Transfer-Encoding") == "chunked":
            while chunk := await self.chunk():
                body += chunk
        elif "Content-Length" in head.headers:
            body = await self.exactly(int(head.headers["Content-Length"]))
        else:
            body = await self.rest()
        return Answer(head.version, head.status, head.headers, body)

    async def leave(self) -> None:
        """Close as a client does that goes to another page: FIN."""
        self._writer.close()
        await self._gone()

    async def reset(self) -> None:
        """Close as a client does that is killed: RST."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        await self._gone()

    async def _gone(self) -> None:
        try:
            await self._writer.wait_closed()
        except ConnectionError:  # either side's reset
            return


class Incoming:
    """A receiving request of any transport, seen as frames."""

    def __init__(self, connection: Connection, transport: str) -> None:
        self.connection = connection
        self.transport = transport
        self.head: Head | None = None
        self.prelude = b""

    async def begin(self) -> None:
        """Read what comes before the first frame; a poll's answer has no such part."""
        if self.transport in STREAMS:
            self.head = await self.connection.head()
            self.prelude = await self.connection.chunk()

    async def frame(self) -> str:
        """The next frame."""
        if self.transport in STREAMS:
            return unwrap(self.transport, await self.connection.chunk())
        answer = await self.connection.answer()
        self.head = answer
        return unwrap(self.transport, answer.body)

    async def end(self) -> None:
        """The answer is complete, as it should be."""
        if self.transport in STREAMS:
            assert await self.connection.chunk() == b""


def unwrap(transport: str, body: bytes) -> str:
    """The frame in ``body``, whose wrapping must be that of ``transport``."""
    before, after = {
        "xhr": ("", "\n"),
        "xhr_streaming": ("", "\n"),
        "eventsource": ("data: ", "\r\n\r\n"),
        "htmlfile": ("<script>\np(", ");\n</script>\r\n"),
        "jsonp": ("/**/callback(", ");\r\n"),
    }[transport]
    text = body.decode()
    assert text.startswith(before), text
    assert text.endswith(after), text
    frame = text[len(before) : len(text) - len(after)]
    return str(json.loads(frame)) if transport in ("htmlfile", "jsonp") else frame


class Wire:
    """The server under test, and ways to talk to it.

    Attributes:
        obedient: the handler of ``/brief`` and the other endpoints of this file.
        hesitant: the handler of ``/slow``.
    """

    def __init__(self, url: str, client: aiohttp.ClientSession) -> None:
        self.url = url
        self.client = client
        self.obedient = ObedientHandler()
        self.hesitant = HesitantHandler()
        self._connections: list[Connection] = []

    def new(self, base: str = "/echo") -> str:
        """The URL of a session that nobody has used."""
        return f"{base}/000/{uuid4().hex}"

    async def connect(self) -> Connection:
        port = int(self.url.rpartition(":")[2])
        connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
        self._connections.append(connection)
        return connection

    async def request(
        self,
        method: str,
        target: str,
        body: bytes | None = b"",
        headers: Mapping[str, str] | None = None,
        *,
        version: str = "1.1",
    ) -> Answer:
        """One request on a connection of its own, and its whole answer."""
        connection = await self.connect()
        await connection.ask(method, target, body, headers, version=version)
        answer = await connection.answer()
        await connection.leave()
        return answer

    async def receive(self, url: str, transport: str = "xhr", connection: Connection | None = None) -> Incoming:
        """Start a receiving request."""
        connection = connection or await self.connect()
        method, end = RECEIVERS[transport]
        await connection.ask(method, f"{url}/{end}")
        incoming = Incoming(connection, transport)
        await incoming.begin()
        return incoming

    async def poll(self, url: str) -> str:
        """The frame that one xhr poll fetches."""
        return await (await self.receive(url)).frame()

    async def open(self, base: str = "/echo") -> str:
        """The URL of a session that one xhr poll has opened."""
        url = self.new(base)
        assert await self.poll(url) == "o"
        return url

    async def send(self, url: str, *messages: str) -> None:
        answer = await self.request("POST", f"{url}/xhr_send", json.dumps(messages).encode())
        assert answer.status == 204

    async def settle(self) -> None:
        """When this returns, the server has begun with every request that was written before."""
        assert (await self.request("GET", "/echo")).status == 200

    async def websocket(self, target: str, **arguments: object) -> aiohttp.ClientWebSocketResponse:
        return await self.client.ws_connect(self.url + target, **arguments)  # type: ignore[arg-type]

    async def close(self) -> None:
        for connection in self._connections:
            await connection.leave()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """The endpoints of ``demo.conformance``, and some with short delays and small limits."""
    app = make_app(client_url=SCRIPT_URL)
    async with aiohttp.ClientSession() as client:
        wire = Wire("", client)
        add_endpoints(app, wire)
        async with serve(app) as url:
            wire.url = url
            yield wire
        await wire.close()  # after the server: streams that are still open get a goodbye and end at once


def add_endpoints(app: web.Application, wire: Wire) -> None:
    """What the rules about time and size need; all with every origin allowed."""
    mount: Callable[..., object] = sockbridge.mount
    options: dict[str, dict[str, object]] = {
        "/plain": {},
        "/brief": {"disconnect_delay": 0.2},
        "/beat": {"heartbeat_delay": 0.1},
        "/strict": {"heartbeat_delay": 0.1, "pong_timeout": 0.1},
        "/once": {"response_limit": 1},
        "/small": {"max_message_size": 1000},
        "/based": {"base_url": "https://elsewhere.example/echo"},
        "/cookie": {"jsessionid": True},
    }
    for prefix, chosen in options.items():
        mount(app, prefix, wire.obedient, allowed_origins="*", **chosen)
    mount(app, "/slow", wire.hesitant, allowed_origins="*")
