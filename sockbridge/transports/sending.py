"""Shape 3, a request that carries messages in.

Knows: reading a body within ``max_message_size`` and ``write_timeout``, in which order faults are found.
Does not know: where answers go; the body's format.
Spec: sockjs-protocol 0.3.3, XhrPolling (``xhr_send``), JsonPolling (``jsonp_send``).
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import ContentEncodingError

from ..errors import ConnectionLost, MessageTooBig, ProtocolError
from ..options import Options
from ..sockjs.framing import decode_body
from .base import Refusal, Transport, logger

LINGER: Final = 2.0
"""Seconds for which the rest of a refused body is read and thrown away."""


class BrokenBody(ProtocolError):
    """The body of a request cannot be decoded."""


# Faults after which the rest of the body is not read; all others are answered 500, as the protocol wants.
STATUS: Final[dict[type[Exception], int]] = {MessageTooBig: 413, BrokenBody: 400, TimeoutError: 408}


class SendingTransport(Transport):
    """Subclass with ``answer``; ``payload`` if the messages are wrapped in something."""

    method = "POST"

    def payload(self, body: bytes, request: web.Request) -> bytes:
        """The JSON array inside ``body``.

        Raises:
            ProtocolError: there is none.
        """
        return body

    def answer(self, request: web.Request) -> web.StreamResponse:
        """The messages have arrived."""
        raise NotImplementedError

    async def handle(self, request: web.Request) -> web.StreamResponse:
        upload = Upload(request, self.options)
        try:
            body = upload.take()
            if body is None:
                with self.manager.holding(upload):
                    body = await upload.read()
            messages = decode_body(self.payload(body, request))
        except (ProtocolError, TimeoutError) as error:
            with self.manager.holding(upload):
                return await self._refuse(upload, request, error)
        session = await self.find(request)
        if not await self.manager.accept(session, messages):
            raise Refusal(self.admission.error(request, 404, "Session not found.\n"))
        return self.answer(request)

    async def _refuse(self, upload: Upload, request: web.Request, error: Exception) -> web.Response:
        text = "The rest of the body did not come." if isinstance(error, TimeoutError) else str(error)
        logger.info("%s: %s", self.name, text)
        response = self.admission.error(request, STATUS.get(type(error), 500), text + "\n")
        return await upload.refuse(response) if type(error) in STATUS else response


class Upload:
    """The body of one request: within ``max_message_size``, and never waited for without end."""

    __slots__ = ("_limit", "_patience", "_request")

    def __init__(self, request: web.Request, options: Options) -> None:
        self._request = request
        self._limit = options.max_message_size
        self._patience = options.write_timeout

    def take(self) -> bytes | None:
        """The whole body if it is all here, as with nearly every request; None if ``read`` has to see to it.

        Raises:
            MessageTooBig: as there.
        """
        content = self._request.content
        if not content.is_eof() or content.at_eof() or content.exception() is not None:
            return None
        body = content.read_nowait()
        if len(body) > self._limit:
            raise MessageTooBig(self._limit)
        return body

    async def read(self) -> bytes:
        """The whole body; aiohttp's ``client_max_size`` does not apply.

        Raises:
            MessageTooBig: it has more than ``max_message_size`` bytes.
            BrokenBody: it is not encoded as its headers say.
            ConnectionLost: the client left in the middle of it.
            TimeoutError: nothing came for ``write_timeout``.
        """
        request = self._request
        if request.content_length is not None and request.content_length > self._limit:
            raise MessageTooBig(self._limit)
        if request.content.at_eof():  # empty; or a middleware has read it, and aiohttp keeps what was read
            body = await request.read()
            if len(body) > self._limit:
                raise MessageTooBig(self._limit)
            return body
        chunks: list[bytes] = []
        size = 0
        while chunk := await self._read_chunk():
            size += len(chunk)
            if size > self._limit:
                raise MessageTooBig(self._limit)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def refuse(self, response: web.Response) -> web.Response:
        """Answer before the body has come, and close; what still comes is thrown away for a moment.

        Closing at once would reset the connection, and the client might never read the answer.
        """
        response.force_close()
        self._limit = sys.maxsize
        try:
            await response.prepare(self._request)
            await response.write_eof()
            async with asyncio.timeout(LINGER):
                while await self._read_chunk():
                    continue
        except (TimeoutError, ProtocolError, ConnectionLost, ConnectionError):
            if self._request.transport is not None:
                self._request.transport.close()
                await asyncio.sleep(0)  # aiohttp notices, and does not wait for the rest as well
        return response

    def cut(self) -> None:
        """The server stops."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def _read_chunk(self) -> bytes:
        content = self._request.content
        try:
            if content.is_eof():  # all is here, as with nearly every request: no timer
                return await content.readany()
            async with asyncio.timeout(self._patience):
                return await content.readany()
        except (ConnectionError, ClientPayloadError):
            raise ConnectionLost("the client left in the middle of its request") from None
        except (web.RequestPayloadError, web.HTTPException, ContentEncodingError):
            raise BrokenBody("the body is not encoded as its headers say") from None
