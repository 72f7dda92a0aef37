"""Shape 3, a request that carries messages in.

Knows: reading a body within ``max_message_size``, in which order faults are found.
Does not know: where answers go; the body's format.
Spec: sockjs-protocol 0.3.3, "XhrPolling" (``xhr_send``), "JsonpPolling" (``jsonp_send``).
"""

from __future__ import annotations

from aiohttp import web

from ..errors import MessageTooBig, ProtocolError
from ..sockjs.framing import decode_body
from .base import Transport, logger


class SendingTransport(Transport):
    """Subclass with ``answer``; ``payload`` if the messages are wrapped in something."""

    method = "POST"

    def payload(self, body: bytes, request: web.Request) -> bytes:
        """The JSON array inside ``body``.

        Raises:
            ProtocolError: there is none.
        """
        return body

    def answer(self, request: web.Request) -> web.Response:
        """The messages have arrived."""
        raise NotImplementedError

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await read_body(request, self.options.max_message_size)
            messages = decode_body(self.payload(body, request))
        except MessageTooBig as error:
            logger.info("%s: %s", self.name, error)
            response = self.admission.error(request, 413, f"{error}\n")
            response.force_close()  # the rest of the body is not worth reading
            return response
        except ProtocolError as error:
            logger.info("%s: %s", self.name, error)
            return self.admission.error(request, 500, f"{error}\n")
        session = await self.find(request)
        await self.manager.accept(session, messages)
        return self.answer(request)


async def read_body(request: web.Request, limit: int) -> bytes:
    """The body of ``request``; aiohttp's ``client_max_size`` does not apply.

    Raises:
        MessageTooBig: it has more than ``limit`` bytes.
    """
    announced = request.content_length
    if announced is not None and announced > limit:
        raise MessageTooBig(limit)
    if request.content.at_eof():  # a middleware has read it; aiohttp keeps what was read
        return await request.read()
    chunks: list[bytes] = []
    size = 0
    while True:
        chunk = await request.content.readany()
        if not chunk:
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        size += len(chunk)
        if size > limit:
            raise MessageTooBig(limit)
        chunks.append(chunk)
