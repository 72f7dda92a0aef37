"""The stage on which transports are tested: a server with the transport in question, and requests as clients send them.

Knows: requests, answers, how they are cut.
Does not know: what transports promise; how the one that is tested words a frame.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from ..endpoint import Endpoint, mount
from ..errors import RemoteError
from ..sockjs.framing import Close, Message
from ..sockjs.handler import SessionHandler
from ..sockjs.session import Session
from ..transports.base import Transport
from ..transports.sending import SendingTransport
from ..transports.streaming import StreamingTransport
from ..transports.websocket import WebSocketTransport
from ..transports.xhr_polling import XhrPollingTransport
from ..transports.xhr_send import XhrSendTransport
from .loop import Guard
from .relay import Relay
from .serving import HOST

USER: Final = "X-Test-User"
"""The header by which the stage tells principals apart, where a scene wants that (``users=True``)."""

Unwrap = Callable[[bytes], str]


class Recorder(SessionHandler):
    """Sends every message back, and writes down what it is told.

    Attributes:
        calls: ``(name, session, value)`` of each call.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, Session, object]] = []
        self._changed = asyncio.Event()

    def values(self, name: str) -> list[object]:
        """What the calls of ``name`` were given."""
        return [value for called, _, value in self.calls if called == name]

    async def wait_for(self, name: str, count: int = 1) -> list[object]:
        """Until ``name`` was called ``count`` times; what those calls were given."""
        async with Guard(f"the handler's {name} was not called {count} times"):
            while len(self.values(name)) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.values(name)

    async def session(self) -> Session:
        """The last one that was opened."""
        await self.wait_for("on_connected")
        return [session for name, session, _ in self.calls if name == "on_connected"][-1]

    def _record(self, name: str, session: Session, value: object) -> None:
        self.calls.append((name, session, value))
        self._changed.set()

    async def on_connected(self, session: Session) -> None:
        """As ``SessionHandler.on_connected``."""
        self._record("on_connected", session, session.transport)

    async def on_message(self, session: Session, message: Message) -> None:
        """As ``SessionHandler.on_message``."""
        session.send(message)
        self._record("on_message", session, message)

    async def on_transport_error(self, session: Session, error: RemoteError) -> None:
        """As ``SessionHandler.on_transport_error``."""
        self._record("on_transport_error", session, error)

    async def on_closed(self, session: Session, close: Close) -> None:
        """As ``SessionHandler.on_closed``."""
        self._record("on_closed", session, close)


class Incoming:
    """The receiving half of a client: one request after the other, for one session.

    Attributes:
        response: the last one whose head has come.
        requests: how many there were.
    """

    def __init__(self, http: aiohttp.ClientSession, kind: type[Transport], url: str, unwrap: Unwrap) -> None:
        self.response: aiohttp.ClientResponse | None = None
        self.requests = 0
        self._http = http
        self._kind = kind
        self._url = url
        self._unwrap = unwrap
        self._asking: asyncio.Task[aiohttp.ClientResponse] | None = None

    def ask(self) -> None:
        """Send the next request, whatever it brings."""
        self.requests += 1
        self._asking = asyncio.create_task(self._http.request(self._kind.method, self._url))

    async def head(self) -> aiohttp.ClientResponse:
        """The head of the answer; of a stream its prelude has come as well."""
        if self._asking is None:
            self.ask()
        asking, self._asking = self._asking, None
        assert asking is not None
        async with Guard("no answer came"):
            self.response = await asking
            if self.response.status == 200 and issubclass(self._kind, StreamingTransport):
                prelude = await self._chunk(self.response)
                assert prelude, "a stream's prelude may not be empty: proxies hold back what has no first bytes"
        return self.response

    async def frame(self) -> str:
        """The next frame; "" where a stream has ended, and the next request is to be sent."""
        async with Guard("no frame came"):
            if issubclass(self._kind, StreamingTransport):
                if self.response is None:
                    await self.head()
                assert self.response is not None
                body = await self._chunk(self.response)
                if not body:
                    self.response = None
            else:
                body = await (await self.head()).read()
        return self._unwrap(body) if body else ""

    async def messages(self, count: int) -> list[str]:
        """The next ``count`` messages, in as many frames and requests as it takes."""
        messages: list[str] = []
        while len(messages) < count:
            frame = await self.frame()
            if frame not in ("", "h"):
                assert frame.startswith("a"), frame[:100]
                messages += json.loads(frame[1:])
        return messages

    def close(self) -> None:
        """Send no more."""
        if self._asking is not None:
            self._asking.cancel()
        if self.response is not None:
            self.response.close()

    async def _chunk(self, response: aiohttp.ClientResponse) -> bytes:
        pieces = []
        is_whole = False
        while not is_whole:
            piece, is_whole = await response.content.readchunk()
            pieces.append(piece)
            if not piece and response.content.at_eof():
                break
        return b"".join(pieces)


class TransportStage:
    """A server with the transport that is tested, and all that it takes to talk to it.

    Attributes:
        kind: the transport.
        endpoint: of the server.
        handler: sends back, and writes down.
        http: for further requests; follows no redirect and keeps no cookie.
        url: of the endpoint.
        relay: all ``receiver``s receive through it.
    """

    def __init__(self, contract: Contract, users: bool = False, **options: Any) -> None:
        self.kind = contract.transport
        self.handler = Recorder()
        self._contract = contract
        self._app = web.Application()
        if users:
            options["authenticate"] = _who
        self.endpoint: Endpoint = mount(
            self._app,
            "/stage",
            self.handler,
            transports=[contract.transport, *contract.companions()],
            **{"allowed_origins": "*", **options},
        )
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1.0)  # of requests that never end
        self._incoming: list[Incoming] = []
        self._ids = itertools.count()

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, 0)
        await site.start()
        self.url = f"http://{HOST}:{site.port}/stage"
        self.relay = await Relay(HOST, site.port).__aenter__()
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), headers={USER: "ann"})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for incoming in self._incoming:
            incoming.close()
        await self.http.close()
        await self.relay.close()
        await self._runner.cleanup()

    def new_url(self, name: str | None = None) -> str:
        """The URL of a session that nobody has used, for the transport that is tested or another."""
        return f"{self.url}/000/{next(self._ids)}x/{name or self.kind.name}{self._contract.query if not name else ''}"

    def receiver(self, url: str | None = None, *, kind: type[Transport] | None = None) -> Incoming:
        """The receiving half of a client.

        Args:
            url: of its session; None: of a new one.
            kind: None: the transport that is tested.
        """
        direct = url or self.new_url()
        unwrap = self._contract.unwrap if kind is None else _plain
        if kind is not None:
            direct = f"{session_url(direct)}/{kind.name}"
        incoming = Incoming(self.http, kind or self.kind, self.relay.url_for(direct), unwrap)
        self._incoming.append(incoming)
        return incoming

    async def client(self) -> tuple[Incoming, str]:
        """A client whose session is open, and that waits for more; and the URL of its session."""
        url = self.new_url()
        incoming = self.receiver(url)
        frame = await incoming.frame()
        assert frame == "o", f"the first frame of a session is o, not {frame[:100]!r}"
        await self.wait_attached(incoming)
        return incoming, url

    async def wait_attached(self, incoming: Incoming) -> None:
        """Until the server has taken the next request of ``incoming`` for the last session's receiver."""
        if not issubclass(self.kind, StreamingTransport):
            incoming.ask()
        session = await self.handler.session()
        async with Guard("the session has no receiver"):
            while session.receiver is None:
                await asyncio.sleep(0.005)  # nobody tells

    async def send(self, url: str, *messages: str) -> None:
        """Send messages to the session of ``url``."""
        target = f"{session_url(url)}/{XhrSendTransport.name}"
        async with self.http.post(target, data=json.dumps(messages)) as response:
            assert response.status == 204, await response.text()

    async def status(self, method: str, url: str, **request: Any) -> tuple[int, str, aiohttp.ClientResponse]:
        """``(status, body, response)`` of a request."""
        async with self.http.request(method, url, allow_redirects=False, **request) as response:
            return response.status, await response.text(), response


Scene = Callable[[Any, TransportStage], Awaitable[None]]


def transport_scene(**options: Any) -> Callable[[Scene], Callable[[Any], None]]:
    """Makes a plain test of a coroutine function that is given a stage.

    Args:
        options: of ``mount``; ``users=True``: requests have a principal, named by the header ``X-Test-User``.
    """

    def make(act: Scene) -> Callable[[Any], None]:
        def test(self: Contract) -> None:
            with asyncio.Runner() as runner:
                runner.run(_play(self, act, options))

        test.__name__, test.__qualname__, test.__doc__ = act.__name__, act.__qualname__, act.__doc__
        return test

    return make


class Contract:
    """What the contracts of transports share.

    Attributes:
        transport: the class that is tested.
        query: of its URL, e.g. ``"?c=callback"``.
    """

    transport: type[Transport]
    query = ""

    def unwrap(self, body: bytes) -> str:
        """The frame in ``body``, which the transport has sent: a poll's whole answer, or a stream's chunk.

        It asserts that all around the frame is as the transport words it.
        """
        raise NotImplementedError(
            f"define unwrap(self, body) in {type(self).__name__}: it returns the frame in what the transport has sent"
        )

    def companions(self) -> list[type[Transport]]:
        """What a server needs besides: a way in, and another way out."""
        kinds: list[type[Transport]] = [XhrSendTransport, XhrPollingTransport]
        return [kind for kind in kinds if kind.name != self.transport.name]


def check_kind(kind: type[Transport], *, sends: bool) -> None:
    """
    Raises:
        AssertionError: the contract is not for transports of this kind.
    """
    assert not issubclass(kind, WebSocketTransport), "there is no contract for websockets; this one is for HTTP"
    assert issubclass(kind, SendingTransport) is sends, (
        f"{kind.__name__} is for the {'TransportContract' if sends else 'SendingContract'}"
    )


def session_url(url: str) -> str:
    """``url`` of a transport, without the name of that."""
    return urlsplit(url)._replace(query="").geturl().rpartition("/")[0]


async def _play(contract: Contract, act: Scene, options: dict[str, Any]) -> None:
    async with TransportStage(contract, **options) as stage:
        await act(contract, stage)


async def _who(request: web.Request) -> str | None:
    return request.headers.get(USER) or None


def _plain(body: bytes) -> str:
    return body.decode().removesuffix("\n")
