"""The server that conformance suites of SockJS expect: ``python -m demo.conformance --port 8081``.

sockjs-protocol's and sockjs-client's own tests look for these endpoints, with these options, at these URLs.

Knows: what each endpoint does.
Does not know: who tests it.
Spec: sockjs-protocol 0.3.3, "Introduction" (test server); docs/conformance.md.
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

import sockbridge
from sockbridge import Message, Session, SessionHandler

from .scripts import SOCKJS
from .serving import add_static, arguments, run, script_url


class Echo(SessionHandler):
    """Sends each message back."""

    async def on_message(self, session: Session, message: Message) -> None:
        session.send(message)


class Close(SessionHandler):
    """Says goodbye at once."""

    async def on_connected(self, session: Session) -> None:
        session.close(3000, "Go away!")


class Amplify(SessionHandler):
    """For N from 1 to 18 sends 2**N letters; anything else counts as 1."""

    async def on_message(self, session: Session, message: Message) -> None:
        try:
            power = int(message)
        except ValueError:
            power = 1
        session.send("x" * 2 ** (power if 1 <= power <= 18 else 1))


class Broadcast(SessionHandler):
    """Sends each text to everybody.

    Attributes:
        endpoint: where it is mounted; set once it is.
    """

    endpoint: sockbridge.Endpoint

    async def on_message(self, session: Session, message: Message) -> None:
        if isinstance(message, str):  # binary comes from raw websockets only, and framed sessions cannot take it
            self.endpoint.broadcast(message)


class Ticker(SessionHandler):
    """Sends ``tick!`` to everybody, once a second.

    Attributes:
        endpoint: where it is mounted; set once it is.
    """

    endpoint: sockbridge.Endpoint
    _task: asyncio.Task[None]

    async def on_start(self) -> None:
        self._task = asyncio.create_task(self._tick(), name="demo ticker")

    async def on_stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.endpoint.broadcast("tick!")


def make_app(client_url: str | None = None) -> web.Application:
    """All endpoints in one application.

    Args:
        client_url: the script of the iframe pages; None: our own copy of it if fetched, else the CDN's.
    """
    client_url = client_url or script_url(SOCKJS)
    app = web.Application()
    add_static(app)

    def mount(prefix: str, handler: SessionHandler, **options: bool) -> sockbridge.Endpoint:
        # The suites come from other origins, and jsonp is served to all origins or not at all.
        return sockbridge.mount(
            app,
            prefix,
            handler,
            allowed_origins="*",
            client_url=client_url,
            response_limit=4096,  # so that a test soon sees a stream end
            **options,  # type: ignore[arg-type]  # websocket and jsessionid, both bool here
        )

    mount("/echo", Echo())
    mount("/disabled_websocket_echo", Echo(), websocket=False)
    mount("/cookie_needed_echo", Echo(), jsessionid=True)
    mount("/close", Close())
    mount("/amplify", Amplify())
    broadcast, ticker = Broadcast(), Ticker()
    broadcast.endpoint = mount("/broadcast", broadcast)
    ticker.endpoint = mount("/ticker", ticker)
    return app


def main() -> int:
    """The command line."""
    parser = arguments("demo.conformance", "The endpoints that SockJS conformance suites expect.", port=8081)
    parser.add_argument(
        "--client-url", help="script of the iframe pages; default: sockjs-client as fetched, or a CDN's"
    )
    chosen = parser.parse_args()
    return run(make_app(chosen.client_url), chosen.host, chosen.port, "Conformance endpoints at {url}, e.g. {url}/echo")


if __name__ == "__main__":
    sys.exit(main())
