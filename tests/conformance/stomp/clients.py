"""Clients of STOMP over every carrier, strict in what they read.

They share no code with the server. A frame that breaks a rule of its version, or that is not exactly one message of
its carrier, fails the test by an assertion; so does silence, after ``GUARD``.
"""

from __future__ import annotations

import abc
import asyncio
import io
import itertools
import json
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import aiohttp
from aiohttp import WSMsgType

from tests.fakes import GUARD

BEAT = b"\n"
ESCAPES = {"1.0": {}, "1.1": {"n": "\n", "c": ":", "\\": "\\"}, "1.2": {"n": "\n", "c": ":", "\\": "\\", "r": "\r"}}
NEEDED = {
    "CONNECTED": {"version", "heart-beat"},
    "MESSAGE": {"destination", "message-id", "content-length"},
    "RECEIPT": {"receipt-id"},
    "ERROR": {"message"},
}
PRELUDE = b"h" * 2048 + b"\n"
CLOSING = aiohttp.ClientWSTimeout(ws_close=1.0)

Headers = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ServerFrame:
    """What the server has sent.

    Attributes:
        command: one of the four.
        headers: unescaped.
        body: octets.
        is_binary: it came in a binary message.
        wire: as it came, without the NUL.
    """

    command: str
    headers: Mapping[str, str]
    body: bytes
    is_binary: bool = False
    wire: bytes = field(default=b"", repr=False)

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()


@dataclass(frozen=True)
class Ending:
    """The carrier has ended. TCP knows no codes: None."""

    code: int | None
    reason: str = ""


@dataclass(frozen=True)
class Unit:
    """One message of the carrier."""

    octets: bytes
    is_binary: bool = False


def parse(unit: Unit, version: str | None) -> ServerFrame:
    """The one frame that ``unit`` must be.

    Args:
        version: agreed on; None before that, when nothing may need unescaping.
    """
    octets = unit.octets
    assert octets.endswith(b"\0"), octets
    head, gap, body = octets[:-1].partition(b"\n\n")
    assert gap, octets
    command, *lines = head.decode().split("\n")
    assert command in NEEDED, octets
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        assert colon, line
        assert name, line
        if command != "CONNECTED":
            name, value = unescape(name, version), unescape(value, version)
        assert name not in headers, f"{name} comes twice"
        headers[name] = value
    assert NEEDED[command] <= set(headers), headers
    if version != "1.0" and command == "MESSAGE":
        assert "subscription" in headers
    if "content-length" in headers:
        assert headers["content-length"] == str(len(body))
    if command in ("CONNECTED", "RECEIPT"):
        assert body == b""
    if body:
        assert "content-length" in headers
    return ServerFrame(command, headers, body, unit.is_binary, octets[:-1])


def unescape(text: str, version: str | None) -> str:
    """``text``, which must be escaped as its version wants it."""
    if version is None:
        assert not re.search(r"[\\:\r]", text), text
        return text
    if version == "1.0":
        return text
    known = ESCAPES[version]
    assert ":" not in text, text
    return re.sub(r"\\(.?)", lambda match: known[match[1]], text, flags=re.DOTALL)


def escape(text: str, version: str | None) -> str:
    """``text`` as a client of ``version`` has to write it."""
    codes = {value: f"\\{code}" for code, value in ESCAPES.get(version or "1.0", {}).items()}
    return "".join(codes.get(character, character) for character in text)


def words(command: str, headers: Headers = (), body: str | bytes = "", version: str | None = None) -> str | bytes:
    """A frame of a client: text, or octets if ``body`` is."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    escaped = None if command in ("CONNECT", "STOMP") else version
    lines = "".join(f"{escape(name, escaped)}:{escape(value, escaped)}\n" for name, value in pairs)
    head = f"{command}\n{lines}\n"
    return f"{head}{body}\0" if isinstance(body, str) else head.encode() + body + b"\0"


class Client(abc.ABC):
    """One client, whatever carries it.

    Attributes:
        carrier: its name.
        version: agreed on; None until then.
        patience: seconds after which silence is a failure.
        beats: STOMP heart-beats that have come.
        heartbeats: SockJS's own.
    """

    carrier = ""

    def __init__(self) -> None:
        self.version: str | None = None
        self.patience = GUARD
        self.beats = 0
        self.heartbeats = 0
        self._numbers = itertools.count(1)

    # Out.

    @abc.abstractmethod
    async def write(self, *messages: str | bytes) -> None:
        """Each in a message of its own, where the carrier has messages."""

    async def send(self, command: str, headers: Headers = (), body: str | bytes = "") -> None:
        """One frame, escaped as the version wants it."""
        await self.write(words(command, headers, body, self.version))

    async def publish(self, destination: str, body: str | bytes = "", **headers: str) -> None:
        """SEND."""
        await self.send("SEND", {"destination": destination, **headers}, body)

    async def subscribe(self, destination: str, id: str = "sub-0", **headers: str) -> None:
        """SUBSCRIBE; in force when this returns, and nothing else has come meanwhile."""
        assert await self.ask("SUBSCRIBE", {"id": id, "destination": destination, **headers}) == []

    async def ask(self, command: str, headers: Headers = (), body: str | bytes = "") -> list[ServerFrame]:
        """One frame with a receipt; gives what came before its RECEIPT."""
        earlier, told = await self.inquire(command, headers, body)
        assert told == {}
        return earlier

    async def inquire(
        self, command: str, headers: Headers = (), body: str | bytes = ""
    ) -> tuple[list[ServerFrame], Mapping[str, str]]:
        """The same where the RECEIPT says more; gives that as well."""
        number = f"r-{next(self._numbers)}"
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        await self.send(command, [*pairs, ("receipt", number)], body)
        earlier: list[ServerFrame] = []
        while (frame := await self.receive()).command != "RECEIPT":
            earlier.append(frame)
        told = dict(frame.headers)
        assert told.pop("receipt-id") == number
        return earlier, told

    async def acknowledge(self, *frames: ServerFrame, command: str = "ACK", **headers: str) -> list[ServerFrame]:
        """ACK, or NACK, of each, as the version wants it; gives what has come meanwhile."""
        return [came for frame in frames for came in await self.ask(command, {**self.settling(frame), **headers})]

    def settling(self, frame: ServerFrame) -> dict[str, str]:
        """The headers that an ACK of ``frame`` needs."""
        if self.version == "1.2":
            return {"id": frame.headers["ack"]}
        id = {"message-id": frame.headers["message-id"]}
        return id if self.version == "1.0" else {**id, "subscription": frame.headers["subscription"]}

    async def settle(self) -> list[ServerFrame]:
        """What has been sent to this client so far: it asks for something without effect, and waits for the answer."""
        return await self.ask("UNSUBSCRIBE", {"id": "there-is-none"})

    async def connect(self, version: str = "1.2", headers: Headers = (), command: str = "CONNECT") -> ServerFrame:
        """Log in; gives CONNECTED."""
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        await self.send(command, [("accept-version", version), ("host", "test"), *pairs])
        return await self.connected()

    # In.

    @abc.abstractmethod
    async def _next(self) -> Unit | Ending:
        """The next message of the carrier."""

    async def next(self) -> ServerFrame | Ending | None:
        """A frame, the end, or None for a heart-beat."""
        async with asyncio.timeout(self.patience):
            unit = await self._next()
        if isinstance(unit, Ending):
            return unit
        if unit.octets == BEAT:
            self.beats += 1
            return None
        return parse(unit, self.version)

    async def receive(self) -> ServerFrame:
        """The next frame."""
        while (found := await self.next()) is None:
            pass
        assert isinstance(found, ServerFrame), found
        return found

    async def connected(self) -> ServerFrame:
        """The CONNECTED that must come next."""
        frame = await self.receive()
        assert frame.command == "CONNECTED", frame
        self.version = frame.headers["version"]
        return frame

    async def message(self) -> ServerFrame:
        """The MESSAGE that must come next."""
        frame = await self.receive()
        assert frame.command == "MESSAGE", frame
        return frame

    async def messages(self, count: int) -> list[ServerFrame]:
        """As many of them."""
        return [await self.message() for _ in range(count)]

    async def ends(self, code: int = 1002) -> Ending:
        """Nothing comes but the end."""
        while (found := await self.next()) is None:
            pass
        assert isinstance(found, Ending), found
        if self.carrier != "tcp":
            assert found.code == code, found
        return found

    async def refused(self, text: str = "", code: int = 1002) -> ServerFrame:
        """An ERROR whose message or body holds ``text``, and then the end."""
        frame = await self.receive()
        assert frame.command == "ERROR", frame
        assert frame.headers["message"], frame
        assert text in frame.headers["message"] + "\n" + frame.text, frame
        await self.ends(code)
        return frame

    @abc.abstractmethod
    async def vanish(self) -> None:
        """Be gone without a DISCONNECT."""

    async def release(self) -> None:
        """Give the socket back, if there is one."""
        await self.vanish()


class WebsocketClient(Client):
    """A plain websocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, carrier: str) -> None:
        super().__init__()
        self.socket = socket
        self.carrier = carrier

    async def write(self, *messages: str | bytes) -> None:
        for message in messages:
            if isinstance(message, str):
                await self.socket.send_str(message)
            else:
                await self.socket.send_bytes(message)

    async def _next(self) -> Unit | Ending:
        message = await self.socket.receive()
        if message.type is WSMsgType.TEXT:
            return Unit(message.data.encode())
        if message.type is WSMsgType.BINARY:
            return Unit(message.data, is_binary=True)
        assert message.type is WSMsgType.CLOSE, message
        return Ending(message.data, message.extra or "")

    async def vanish(self) -> None:
        await self.socket.close()


class SockjsClient(Client):
    """What the three carriers of SockJS have in common: frames of arrays."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[str] = deque()

    async def open(self) -> None:
        """Read the open frame."""
        assert await self.frame() == "o"

    @abc.abstractmethod
    async def frame(self) -> str:
        """The next SockJS frame."""

    @abc.abstractmethod
    async def _end(self, ending: Ending) -> None:
        """After the close frame the carrier must end as it says."""

    async def _next(self) -> Unit | Ending:
        while not self._waiting:
            frame = await self.frame()
            if frame == "h":
                self.heartbeats += 1
            elif frame.startswith("c"):
                ending = Ending(*json.loads(frame[1:]))
                await self._end(ending)
                return ending
            else:
                assert frame.startswith("a["), frame
                self._waiting.extend(json.loads(frame[1:]))
        return Unit(self._waiting.popleft().encode())


class SockjsWebsocketClient(SockjsClient):
    """SockJS on a websocket."""

    carrier = "sockjs"

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        super().__init__()
        self.socket = socket

    async def write(self, *messages: str | bytes) -> None:
        await self.socket.send_str(json.dumps(messages))

    async def frame(self) -> str:
        message = await self.socket.receive()
        assert message.type is WSMsgType.TEXT, message
        return str(message.data)

    async def _end(self, ending: Ending) -> None:
        message = await self.socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, ending.code)

    async def vanish(self) -> None:
        await self.socket.close()


class HttpClient(SockjsClient):
    """SockJS on two requests: one that receives, and one for each send."""

    def __init__(self, http: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> None:
        super().__init__()
        self._http = http
        self._url = url
        self._headers = headers

    async def write(self, *messages: str | bytes) -> None:
        body = io.BytesIO(json.dumps(messages).encode())
        async with self._http.post(f"{self._url}/xhr_send", data=body, headers=self._headers) as answer:
            assert answer.status == 204, await answer.text()


class StreamingClient(HttpClient):
    """xhr_streaming."""

    carrier = "xhr_streaming"
    _answer: aiohttp.ClientResponse | None = None

    async def _line(self) -> bytes:
        if self._answer is None:
            self._answer = await self._http.post(f"{self._url}/xhr_streaming", headers=self._headers)
            assert self._answer.status == 200
            assert await self._answer.content.readline() == PRELUDE
        return await self._answer.content.readline()

    async def frame(self) -> str:
        while not (line := await self._line()):
            self._answer = None  # its limit is reached: the next request goes on
        assert line.endswith(b"\n")
        return line[:-1].decode()

    async def _end(self, ending: Ending) -> None:
        assert self._answer is not None
        assert await self._answer.content.readline() == b""

    async def vanish(self) -> None:
        if self._answer is not None:
            self._answer.close()


class PollingClient(HttpClient):
    """xhr."""

    carrier = "xhr"

    async def frame(self) -> str:
        async with self._http.post(f"{self._url}/xhr", headers=self._headers) as answer:
            assert answer.status == 200
            body = await answer.text()
        assert body.endswith("\n")
        return body[:-1]

    async def _end(self, ending: Ending) -> None:
        pass

    async def vanish(self) -> None:
        pass  # it just does not come back


class TcpClient(Client):
    """A TCP connection."""

    carrier = "tcp"

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self.reader = reader
        self.writer = writer

    async def write(self, *messages: str | bytes) -> None:
        for message in messages:
            self.writer.write(message.encode() if isinstance(message, str) else message)
        async with asyncio.timeout(GUARD):
            await self.writer.drain()

    async def _next(self) -> Unit | Ending:
        first = await self.reader.read(1)
        if not first:
            return Ending(None)
        if first == BEAT:
            return Unit(first)
        head = first + await self.reader.readuntil(b"\n\n")
        length = re.search(rb"^content-length:(\d+)$", head, re.MULTILINE)
        body = await (self.reader.readexactly(int(length[1]) + 1) if length else self.reader.readuntil(b"\0"))
        return Unit(head + body)

    async def vanish(self) -> None:
        self.writer.transport.abort()

    async def release(self) -> None:
        self.writer.close()
        try:
            async with asyncio.timeout(GUARD):
                await self.writer.wait_closed()
        except ConnectionError:  # the test, or the server, has cut it
            return


async def open_sockjs(http: aiohttp.ClientSession, base: str, carrier: str, headers: Mapping[str, str]) -> SockjsClient:
    """A session of SockJS under ``base``, opened."""
    url = f"{base}/000/{uuid4().hex}"
    client: SockjsClient
    if carrier == "sockjs":
        client = SockjsWebsocketClient(
            await http.ws_connect(f"{url}/websocket", headers=headers, max_msg_size=0, timeout=CLOSING)
        )
    else:
        client = (StreamingClient if carrier == "xhr_streaming" else PollingClient)(http, url, headers)
    async with asyncio.timeout(GUARD):
        await client.open()
    return client


async def open_websocket(
    http: aiohttp.ClientSession, base: str, carrier: str, headers: Mapping[str, str], protocols: Iterable[str] = ()
) -> WebsocketClient:
    """A plain websocket under ``base``."""
    url = base if carrier == "mounted" else f"{base}/websocket"
    socket = await http.ws_connect(url, headers=headers, protocols=tuple(protocols), max_msg_size=0, timeout=CLOSING)
    return WebsocketClient(socket, carrier)
