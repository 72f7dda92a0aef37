"""Single requests, and how long they took.

Knows: aiohttp's client; this is where its exceptions become words.
Does not know: SockJS but the form of its URLs; what an answer means.
Spec: sockjs-protocol 0.3.3, SessionURLs.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Final, Literal, Self, cast

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from ..client.faults import NETWORK, describe
from ..client.handshake import open_websocket
from .findings import printable, quantity
from .settings import Settings

MAX_BODY: Final = 64 * 1024
"""Bytes of an answer that are looked at."""

MAX_MESSAGE: Final = 4 * 1024 * 1024
"""Bytes of one message on a websocket. What the doctor waits for is small; applications may send more."""

KEPT: Final = 0.2
"""Seconds for which a connection is used again: after a proxy's own time it may be closed just when a request leaves.
Browsers ask again then; we must not take it for a fault."""

GOODBYE: Final = 1.0
"""Seconds that the close of a websocket may take."""

LAST_LOOK: Final = 1.0
"""Seconds that connections have at the end to be gone."""


class NoAnswer(Exception):
    """There was none, or it broke off; the text says how."""


class Late(NoAnswer):
    """There was none in time."""


class NotTrusted(NoAnswer):
    """The server's certificate is not valid."""


class TooLarge(NoAnswer):
    """It is larger than what the doctor reads."""


class Watch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = monotonic()

    @property
    def seconds(self) -> float:
        """Until now."""
        return monotonic() - self._start


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole answer to a request.

    Attributes:
        body: its first 64 KiB.
        seconds: until all of it was there.
    """

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        """The beginning of the body on one line, to be shown."""
        text = self.body[:400].decode("utf-8", "replace")
        if "html" in self.headers.get("Content-Type", ""):
            title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
            text = title[1] if title else text
        return printable(" ".join(text.split()))

    @property
    def summary(self) -> str:
        """What was answered by whom."""
        server = server_name(self.headers)
        text = self.text.removeprefix(f"{self.status}").lstrip(": ")
        said = f" ({text})" if text else ""
        return f"{self.status}{said}{f' by {server}' if server else ''}"


def server_name(headers: Mapping[str, str]) -> str:
    """Who answered, as far as the answer tells; may be empty."""
    return printable(headers.get("Server", "") or headers.get("Via", ""))


class Network:
    """Makes requests as one examination is to make them; use it in ``async with``.

    Attributes:
        settings: of the examination.
        http: connections and cookies that are kept.
    """

    http: aiohttp.ClientSession

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # made now, so that SSL_CERT_FILE counts
        self._trust: ssl.SSLContext | bool = not settings.insecure and ssl.create_default_context()
        self._sockets: list[socket.socket] = []

    async def __aenter__(self) -> Self:
        self.http = self.make_http(aiohttp.CookieJar(unsafe=True))  # unsafe: of servers without a name as well
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.http.close()
        # An answer that is left in the middle would wait for a farewell of TLS that no proxy sends.
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_LOOK):
                while any(one.fileno() >= 0 for one in self._sockets):
                    await asyncio.sleep(0.001)

    def make_http(self, cookies: aiohttp.abc.AbstractCookieJar, *, is_fresh: bool = False) -> aiohttp.ClientSession:
        """More connections; to be closed.

        Args:
            is_fresh: no connection is used twice.
        """
        connector = aiohttp.TCPConnector(
            ssl=self._trust,
            force_close=is_fresh,
            keepalive_timeout=None if is_fresh else KEPT,
            limit=0,
            socket_factory=self._make_socket,
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=cookies, timeout=aiohttp.ClientTimeout(total=None), trust_env=False
        )

    def headers(self, url: URL, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What is sent to ``url``: the headers of the settings only to the origin that they are meant for."""
        is_ours = url.origin() == self.settings.url.origin()
        return {"User-Agent": "sockbridge-doctor", **(self.settings.headers if is_ours else {}), **(more or {})}

    async def fetch(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        http: aiohttp.ClientSession | None = None,
    ) -> Answer:
        """Ask and read the whole answer; redirects are answers.

        Raises:
            NoAnswer: there was none.
            Late: there was none in time.
        """
        watch = Watch()
        async with self.stream(method, url, headers=headers, body=body, http=http) as stream:
            rest = max(0.0, self.settings.timeout - watch.seconds)
            await stream.find(None, rest)
            return Answer(stream.status, stream.headers, bytes(stream.received), watch.seconds)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        http: aiohttp.ClientSession | None = None,
        patience: float | None = None,
    ) -> AsyncIterator[Stream]:
        """Ask, and wait for the head of the answer.

        Args:
            patience: seconds that the head may take; None: as long as every answer.

        Raises:
            NoAnswer: there was none.
            Late: there was none in time.
        """
        watch = Watch()
        asking = (http or self.http).request(
            method, url, headers=self.headers(url, headers), data=body or None, allow_redirects=False
        )
        with _translated():
            async with asyncio.timeout(patience or self.settings.timeout):
                response = await asking
        try:
            yield Stream(response, watch)
        finally:
            response.close()

    @asynccontextmanager
    async def websocket(self, url: URL) -> AsyncIterator[aiohttp.ClientWebSocketResponse[Literal[True]]]:
        """Shake hands; a redirect is a refusal. Pings are not answered by themselves.

        Raises:
            HandshakeRefused: the answer is another than 101.
            NoAnswer: there was none.
            Late: there was none in time.
        """
        shaking = open_websocket(
            self.http,
            url,
            headers=self.headers(url),
            autoping=False,
            timeout=aiohttp.ClientWSTimeout(ws_close=GOODBYE),
            max_msg_size=MAX_MESSAGE,
        )
        with _translated():
            async with asyncio.timeout(self.settings.timeout):
                opened = await shaking
        try:
            # text is decoded, as nobody asked for anything else
            yield cast(aiohttp.ClientWebSocketResponse[Literal[True]], opened)
        finally:
            await _close(opened)

    def _make_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        self._sockets = [one for one in self._sockets if one.fileno() >= 0]
        self._sockets.append(socket.socket(*address[:3]))
        return self._sockets[-1]


async def _close(socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
    # aiohttp waits anew after each message that is no goodbye, so this has a limit as a whole; then it cuts.
    with suppress(*NETWORK):
        async with asyncio.timeout(GOODBYE):
            await socket.close()


class HandshakeRefused(NoAnswer):
    """A websocket handshake was answered otherwise."""


class Stream:
    """An answer that goes on.

    Attributes:
        head_seconds: until its head was there.
        first_seconds: until the first byte of its body was there; 0 before.
        received: what has come and was not taken out.
        is_ended: the answer is complete.
    """

    def __init__(self, response: aiohttp.ClientResponse, watch: Watch) -> None:
        self._response = response
        self._watch = watch
        self.head_seconds = watch.seconds
        self.first_seconds = 0.0
        self.received = bytearray()
        self.is_ended = False

    @property
    def seconds(self) -> float:
        """Since the request left."""
        return self._watch.seconds

    @property
    def status(self) -> int:
        """Of the answer."""
        return self._response.status

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """Of the answer."""
        return self._response.headers

    @property
    def version(self) -> str:
        """Of HTTP, e.g. ``"1.1"``."""
        version = self._response.version
        return f"{version.major}.{version.minor}" if version else ""

    async def find(self, pattern: re.Pattern[bytes] | None, seconds: float) -> re.Match[bytes] | None:
        """Read until ``pattern`` has come, and take it out with all before it.

        Args:
            pattern: None reads to the end, or to 64 KiB.
            seconds: that this may take.

        Returns:
            None if the answer ended before, or is larger than 64 KiB.

        Raises:
            NoAnswer: the connection was cut.
            Late: the time is up.
        """
        with _translated():
            async with asyncio.timeout(seconds):
                while True:
                    match = pattern.search(self.received) if pattern else None
                    if match:
                        found = bytes(self.received)
                        del self.received[: match.end()]
                        assert pattern is not None
                        return pattern.search(found)
                    if self.is_ended or len(self.received) >= MAX_BODY:
                        return None
                    await self._read()

    async def _read(self) -> None:
        chunk = await self._response.content.readany()
        if not chunk and self._response.content.at_eof():
            self.is_ended = True
            return
        if not self.received and not self.first_seconds:
            self.first_seconds = self._watch.seconds
        self.received += chunk


class _translated:
    """A context in which exceptions of the network become ``NoAnswer``."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and isinstance(error, NETWORK):
            raise translate(error) from error


def translate(error: BaseException) -> NoAnswer:
    """An exception of the network in words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = printable(str(error.certificate_error))
        return NotTrusted(
            f"the certificate of {printable(error.host)} is not valid ({reason}): SSL_CERT_FILE "
            "names the file of a CA of your own, --insecure takes any certificate"
        )
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return HandshakeRefused(printable(describe(error)))
    if isinstance(error, aiohttp.WebSocketError) and error.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
        return TooLarge(f"a message of more than {quantity(MAX_MESSAGE)} came, and it reads none so large")
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientConnectorError):
        return Late("there was no answer in time")
    return NoAnswer(printable(describe(error), 300))


def led_to(url: URL, location: str) -> str:
    """The origin that ``url`` is redirected to, to be shown: what else is in a Location may be secret; empty if there
    is none."""
    try:
        return printable(str(url.join(URL(location)).origin())) if location else ""
    except ValueError:
        return ""


def session_url(base: URL) -> URL:
    """A new session's URL: ``{base}/{server}/{session}``."""
    return base / f"{secrets.randbelow(1000):03}" / f"doctor{secrets.token_hex(8)}"
