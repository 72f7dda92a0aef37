"""A client that takes chunks as proxies cut them, keeps cookies and speaks TLS: aiohttp's, with SockJS on top."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import unquote

import aiohttp

from ..fakes import GUARD

ENDS = {"xhr_streaming": b"\n", "eventsource": b"\r\n\r\n", "htmlfile": b"</script>\r\n"}
"""What ends a frame, by transport."""

PRELUDES = {"xhr_streaming": 2049, "eventsource": 2}

TRANSPORTS = ("websocket", "websocket-raw", "xhr_streaming", "eventsource", "htmlfile", "xhr")

_ids = itertools.count()


class Browser:
    """Talks to the endpoint at ``url`` with an ``Origin`` and a cookie jar of its own."""

    def __init__(self, http: aiohttp.ClientSession, url: str, server: str = "000") -> None:
        self.http = http
        self.url = url
        self.path = f"{url}/{server}/session{next(_ids)}"

    async def send(self, message: str, name: str = "xhr_send") -> int:
        async with self.http.post(f"{self.path}/{name}", data=json.dumps([message]).encode()) as response:
            return response.status

    async def poll(self, name: str = "xhr") -> str:
        """The next frame; for the status of a refusal its number."""
        if name == "jsonp":
            request = self.http.get(f"{self.path}/jsonp?c=call")
        else:
            request = self.http.post(f"{self.path}/xhr")
        async with request as response:
            text = await response.text()
            if response.status != 200:
                return str(response.status)
        return json.loads(text[len("/**/call(") : -4]) if name == "jsonp" else text.rstrip("\n")

    @asynccontextmanager
    async def stream(self, name: str) -> AsyncIterator[Stream]:
        method = "POST" if name == "xhr_streaming" else "GET"
        async with self.http.request(method, f"{self.path}/{name}?c=call") as response:
            stream = Stream(name, response)
            if response.status == 200:
                await stream.skip_prelude()
            yield stream

    async def talk(self, name: str, count: int = 3) -> None:
        """Connect, then send and get ``count`` messages, each only when the one before has come back."""
        async with asyncio.timeout(GUARD):
            if name.startswith("websocket"):
                await self._talk_by_socket(name, count)
            elif name in ENDS:
                async with self.stream(name) as stream:
                    assert await stream.frame() == "o"
                    for number in range(count):
                        assert await self.send(f"message {number}") == 204
                        assert await stream.frame() == f'a["message {number}"]'
            else:
                assert await self.poll(name) == "o"
                for number in range(count):
                    assert await self.send(f"message {number}", f"{name}_send") in (200, 204)
                    assert await self.poll(name) == f'a["message {number}"]'

    async def _talk_by_socket(self, name: str, count: int) -> None:
        url = f"{self.path}/websocket" if name == "websocket" else f"{self.url}/websocket"
        async with self.http.ws_connect(url) as socket:
            if name == "websocket":
                assert await socket.receive_str() == "o"
            for number in range(count):
                text = f"message {number}"
                await socket.send_str(json.dumps(text) if name == "websocket" else text)
                assert await socket.receive_str() == (f'a["{text}"]' if name == "websocket" else text)


class Stream:
    """The frames of an answer that goes on."""

    def __init__(self, name: str, response: aiohttp.ClientResponse) -> None:
        self.name = name
        self.response = response

    async def skip_prelude(self) -> None:
        if self.name == "htmlfile":
            await self.response.content.readuntil(b"</script>\n")
        else:
            await self.response.content.readexactly(PRELUDES[self.name])

    async def frame(self) -> str:
        """The next frame; raises ``aiohttp.ClientError`` if the answer was cut off."""
        text = (await self.response.content.readuntil(ENDS[self.name])).decode()
        if self.name == "eventsource":
            return unquote(text.removeprefix("data: ").rstrip("\r\n"))
        if self.name == "htmlfile":
            match = re.search(r"p\((.*)\);", text)
            assert match is not None
            return str(json.loads(match[1]))
        return text.rstrip("\n")

    def cut(self) -> None:
        """Leave as a browser does that is closed: TCP ends, without a farewell of TLS."""
        assert self.response.connection is not None
        assert self.response.connection.transport is not None
        self.response.connection.transport.abort()


@asynccontextmanager
async def browsing(trust: ssl.SSLContext, origin: str | None) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser with a page of ``origin``."""
    headers = {"Origin": origin} if origin else {}
    sockets: list[socket.socket] = []

    def make_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        sockets.append(socket.socket(*info[:3]))
        return sockets[-1]

    connector = aiohttp.TCPConnector(ssl=trust, socket_factory=make_socket)
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of numeric addresses
    try:
        async with aiohttp.ClientSession(headers=headers, connector=connector, cookie_jar=jar) as http:
            yield http
    finally:
        # aiohttp waits for no TLS farewell of an answer that was left in the middle.
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        async with asyncio.timeout(GUARD):
            while any(one.fileno() >= 0 for one in sockets):
                await asyncio.sleep(0)
