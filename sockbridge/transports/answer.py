"""Whole answers whose head is ready-made: status line, headers and body leave in one write.

aiohttp builds, completes, checks and serializes a set of headers for each response, which costs more than all that
SockJS does for a message. Two answers of one transport to pages of one origin differ in length, date and body
only, so their head is worded once and kept as bytes.

That is done only where nobody can notice: no middleware and no ``on_response_prepare`` handler may look at the
answer or change it, and the connection goes on as HTTP/1.1 does by itself. Every other request gets an ordinary
``web.Response``, made of the same headers.

Knows: what a small answer looks like on the wire; who could look at it before it leaves.
Does not know: sessions; what the headers say.
Spec: RFC 9112, 3 to 6; RFC 9110, 6.6.1 (``Date``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import formatdate
from time import time
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict, istr

MAX_HEADS: Final = 64
"""Origins whose heads are kept; a server has few, unless somebody invents them."""

MAX_ORIGIN_LENGTH: Final = 256

CONTENT_LENGTH: Final = istr("Content-Length")
ORIGIN: Final = istr("Origin")
REQUESTED_HEADERS: Final = istr("Access-Control-Request-Headers")

REASONS: Final = {200: "OK", 204: "No Content"}

# What a field value may be made of to be copied as it is (RFC 9110, 5.5, without obs-text).
_PLAIN = re.compile(r"[\x20-\x7e\t]*")


def is_watched(request: web.Request) -> bool:
    """May the application look at the answer before it leaves, in a middleware or by ``on_response_prepare``?"""
    return any(app.middlewares or app.on_response_prepare for app in request.match_info.apps)


class Head:
    """A status and headers, and how they are worded."""

    __slots__ = ("_last", "headers", "status", "text")

    def __init__(self, status: int, headers: CIMultiDict[str]) -> None:
        """
        Raises:
            ValueError: a header cannot be sent as it is.
        """
        self.status = status
        self.headers = headers
        lines = [f"HTTP/1.1 {status} {REASONS[status]}"]
        for name, value in headers.items():
            if not _PLAIN.fullmatch(value):
                raise ValueError(f"{name} holds what must not be sent")
            lines.append(f"{name}: {value}")
        self.text = "\r\n".join([*lines, ""]).encode("ascii")
        self._last: ReadyAnswer | None = None

    def answer(self, body: bytes, date_lines: bytes) -> ReadyAnswer:
        """The answer with this head. Requests that are told the same share it: every 204, each poll of a fan-out."""
        last = self._last
        if last is None or last.body != body or last.date_lines is not date_lines:
            last = self._last = ReadyAnswer(self, body, date_lines)
        return last


class Heads:
    """The heads of a transport's whole answers, one for each origin that asks."""

    __slots__ = ("_apps", "_are_watching", "_date_lines", "_heads", "_make", "_may_keep", "_second", "_status")

    def __init__(
        self, status: int, make: Callable[[web.Request], CIMultiDict[str]], *, depend_on_origin_alone: bool
    ) -> None:
        """
        Args:
            status: 200, or 204 for answers without a body.
            make: the headers for a request.
            depend_on_origin_alone: of all that requests say; if not, none are kept.
        """
        self._status = status
        self._make = make
        self._may_keep = depend_on_origin_alone
        self._heads: dict[str | None, Head] = {}
        self._apps: tuple[web.Application, ...] = ()
        self._are_watching = False
        self._second = 0
        self._date_lines = b""

    def answer(self, request: web.Request, body: bytes = b"") -> web.StreamResponse:
        """The answer to ``request``; aiohttp sends it when the handler returns it."""
        asked = request.headers
        if not self._may_keep or REQUESTED_HEADERS in asked:
            return web.Response(status=self._status, headers=self._make(request), body=body)
        origin = asked.get(ORIGIN)
        head = self._heads.get(origin) or self._add(request, origin)
        if head is None:
            return web.Response(status=self._status, headers=self._make(request), body=body)
        if request.version != HttpVersion11 or not request.keep_alive or self._is_watched(request):
            return web.Response(status=self._status, headers=head.headers, body=body)
        return head.answer(body, self._now())

    def _add(self, request: web.Request, origin: str | None) -> Head | None:
        if origin is not None and len(origin) > MAX_ORIGIN_LENGTH:
            return None
        try:
            head = Head(self._status, self._make(request))
        except ValueError:  # aiohttp says what it thinks of it
            return None
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        self._heads[origin] = head
        return head

    def _is_watched(self, request: web.Request) -> bool:
        # May the application look at the answer before it leaves? An application that runs does not change its mind.
        apps = request.match_info.apps
        if apps != self._apps:
            self._apps = apps
            self._are_watching = is_watched(request)
        return self._are_watching

    def _now(self) -> bytes:
        second = int(time())
        if second != self._second:
            self._second = second
            self._date_lines = f"Date: {formatdate(second, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n".encode()
        return self._date_lines


class ReadyAnswer(web.StreamResponse):
    """An answer to HTTP/1.1 requests whose connection stays. Nobody changes it, so many requests may share it.

    Attributes:
        body: what it says.
        date_lines: the headers that change with the time.
    """

    def __init__(self, head: Head, body: bytes, date_lines: bytes) -> None:
        super().__init__(status=head.status)
        self.body = body
        self.date_lines = date_lines
        self._head = head
        if head.status == 204:
            self._wire = b"%b%b\r\n" % (head.text, date_lines)
        else:
            self._wire = b"%bContent-Length: %d\r\n%b\r\n%b" % (head.text, len(body), date_lines, body)

    @property
    def headers(self) -> CIMultiDict[str]:
        """What is sent, for an access log."""
        headers = super().headers
        if not headers:
            headers.extend(self._head.headers)
            if self.status != 204:
                headers[CONTENT_LENGTH] = str(len(self.body))
        return headers

    @property
    def keep_alive(self) -> bool:
        return True

    @property
    def body_length(self) -> int:
        """As aiohttp counts it: all bytes that were sent."""
        return len(self._wire)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Send it.

        Raises:
            ConnectionResetError: the client has gone.
        """
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        transport.write(self._wire)
        if request.protocol.writing_paused:
            await request.writer.drain()
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """It has been sent as a whole."""
