"""The half that all HTTP transports share: messages leave by ``xhr_send``.

Knows: the request that carries messages, what its answers mean; how often a server may be asked.
Does not know: how frames come in.
Spec: sockjs-protocol 0.3.3, XhrPolling (``xhr_send``); docs/conformance.md, section 4.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final

import aiohttp

from ..sockjs.framing import FRAMED, Framing
from .address import below
from .carrier import Broken, Target, Unknown, Unsent, check_opened
from .faults import NETWORK, describe, has_not_left
from .frames import Kind, ServerFrame

FOREVER: Final = aiohttp.ClientTimeout(total=None)
"""aiohttp ends a request after five minutes unless it is told not to."""

PACE: Final = 1.0
"""Seconds between two requests of which the first brought no more than heartbeats: a server, or a proxy, that ends
each at once would be asked without a pause otherwise."""

SEND_PATIENCE: Final = 5.0
"""A send may take so many times ``silence_timeout``. Long, because a server answers late when its application is
busy, and the receiving half tells meanwhile that it is alive."""

LARGE_BODY: Final = 1024 * 1024
"""Bytes above which aiohttp is given a body to be read in pieces: it warns of larger ones that are written at once."""


class HttpCarrier:
    """Subclass with ``read``, which sets ``has_brought``."""

    name: ClassVar[str]
    headers: ClassVar[Mapping[str, str]] = MappingProxyType({})
    round_trips: ClassVar[int] = 2
    framing: ClassVar[Framing] = FRAMED
    subprotocol: str | None = None
    owes = False

    def __init__(self, target: Target) -> None:
        self.target = target
        self.signs = 0
        self.response: aiohttp.ClientResponse | None = None
        """What frames come in with at the moment."""
        self.has_brought = True
        """``response`` has brought more than heartbeats."""
        self._asked = 0.0
        # without compression: proxies that compress hold back a stream until there is enough of it
        self._receive_headers = {**target.headers, "Accept-Encoding": "identity", **self.headers}
        self._send_headers = {**target.headers, "Content-Type": "text/plain"}  # as sockjs-client: no preflight
        self._send_url = below(target.url, "xhr_send")
        silence = target.options.silence_timeout
        self._send_timeout = aiohttp.ClientTimeout(total=silence and silence * SEND_PATIENCE)

    async def read(self) -> ServerFrame:
        """As ``Carrier.read``."""
        raise NotImplementedError

    async def open(self) -> None:
        """As ``Carrier.open``."""
        frame = await self.read()
        while frame.kind is Kind.HEARTBEAT:
            frame = await self.read()
        check_opened(frame)

    async def request(self, method: str, path: str) -> None:
        """Ask for frames: the next ``response``.

        Raises:
            Broken: that is not answered with 200.
        """
        loop = asyncio.get_running_loop()
        if not self.has_brought:
            await asyncio.sleep(self._asked + PACE - loop.time())
        self._check_http()
        self._asked = loop.time()
        self.has_brought = False
        try:
            self.response = response = await self.target.http.request(
                method,
                below(self.target.url, path),
                headers=self._receive_headers,
                timeout=FOREVER,
                # those of the ClientSession, which ours would replace; aiohttp does not show them
                middlewares=(*getattr(self.target.http, "_middlewares", ()), _once),
                allow_redirects=False,
                raise_for_status=False,
            )
        except NETWORK as error:
            raise Broken(describe(error)) from error
        if response.status != 200:
            response.close()
            raise Broken(f"the server answered {response.status} to /{path}")

    async def chunk(self) -> bytes:
        """What comes next of ``response``; empty at its end.

        Raises:
            Broken: it was cut off.
        """
        assert self.response is not None
        try:
            chunk = await self.response.content.readany()
        except NETWORK as error:
            raise Broken(describe(error)) from error
        if chunk:
            self.signs += 1
        return chunk

    def check_size(self, size: int) -> None:
        """Raises:
        Broken: a frame of ``size`` bytes is larger than allowed.
        """
        limit = self.target.options.max_frame_size
        if size > limit:
            raise Broken(f"a frame is larger than max_frame_size ({limit} bytes)")

    async def write(self, prepared: Sequence[bytes]) -> bool:
        """As ``Carrier.write``."""
        self._check_http()
        body = b"[%b]" % b",".join(prepared)
        try:
            async with self.target.http.post(
                self._send_url,
                data=body if len(body) <= LARGE_BODY else io.BytesIO(body),
                headers=self._send_headers,
                timeout=self._send_timeout,
                allow_redirects=False,
                raise_for_status=False,
            ) as response:
                status = response.status
        except NETWORK as error:
            raise (Unsent if has_not_left(error) else Broken)(f"sending failed: {describe(error)}") from error
        if status == 404:
            raise Unknown("the server does not know the session any more (404 to /xhr_send)")
        if status == 413:
            raise Broken(f"the server takes no {len(body)} bytes at once (413 to /xhr_send)")
        if status not in (200, 204):
            raise Broken(f"the server answered {status} to /xhr_send")
        return True

    def poke(self) -> None:
        """As ``Carrier.poke``; there is nothing but its heartbeats."""

    async def close(self) -> None:
        """As ``Carrier.close``; SockJS has no goodbye for HTTP."""
        if self.response is not None:
            self.response.close()

    def _check_http(self) -> None:
        if self.target.http.closed:  # it belongs to the application
            raise Unsent("the ClientSession that requests are made with was closed")


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    # aiohttp repeats a GET by itself when the connection is cut before the answer. What the server had written into
    # the first one would be lost then, and nobody would know.
    try:
        return await send(request)
    except NETWORK as error:
        raise Broken(describe(error)) from error
