"""The server that conformance suites expect: ``python -m demo.conformance --port 8081 [--stomp-port 61613]``.

sockjs-protocol's and sockjs-client's own tests look for the SockJS endpoints, with these options, at these URLs.
Suites of STOMP find a broker at ``/stomp``, with topics and queues, and the same one over TCP with ``--stomp-port``.

Knows: what each endpoint does.
Does not know: who tests it.
Spec: sockjs-protocol 0.3.3, "Introduction" (test server); docs/conformance.md.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from aiohttp import web

import sockbridge
from sockbridge import Message, Session, SessionHandler, stomp

from .scripts import SOCKJS
from .serving import add_static, arguments, port_number, run, script_url

LARGEST_BODY: Final = 20 * 1024 * 1024

ROOM: Final = 8 * LARGEST_BODY
"""Bytes that may wait for a STOMP client, or in a queue: several of the largest bodies, quoted for SockJS."""


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


async def authenticate(login: stomp.Login) -> str | None:
    """The one user is guest, with the passcode guest."""
    return "guest" if (login.login, login.passcode) == ("guest", "guest") else None


def make_stomp(tcp_listener: stomp.TcpListener | None = None) -> stomp.StompServer:
    """Topics under ``/topic``, queues under ``/queue``, temporary queues; for everybody who has logged in."""
    return stomp.StompServer(
        stomp.EmbeddedBroker(topics=["/topic"], queues=["/queue"], max_queue_size=ROOM, max_size=2 * ROOM),
        authenticate=authenticate,
        policy=[
            stomp.Rule.connect(stomp.LOGGED_IN),
            stomp.Rule.subscribe("/topic/**", stomp.LOGGED_IN),
            stomp.Rule.send("/topic/**", stomp.LOGGED_IN),
            stomp.Rule.subscribe("/queue/**", stomp.LOGGED_IN),
            stomp.Rule.send("/queue/**", stomp.LOGGED_IN),
            stomp.Rule.subscribe("/temp-queue/**", stomp.LOGGED_IN),
            stomp.Rule.send("/temp-queue/**", stomp.LOGGED_IN),
            stomp.Rule.send("/reply-queue/**", stomp.LOGGED_IN),
        ],
        listeners=[tcp_listener] if tcp_listener else [],
        heart_beat_min_ms=1000,
        max_body_size=LARGEST_BODY,
        max_transaction_size=ROOM,
    )


def make_app(client_url: str | None = None, tcp_listener: stomp.TcpListener | None = None) -> web.Application:
    """All endpoints in one application.

    Args:
        client_url: the script of the iframe pages; None: our own copy of it if fetched, else the CDN's.
        tcp_listener: another way to the broker of ``/stomp``.
    """
    client_url = client_url or script_url(SOCKJS)
    app = web.Application()
    add_static(app)

    def mount(prefix: str, handler: SessionHandler, **options: int) -> sockbridge.Endpoint:
        # The suites come from other origins, and jsonp is served to all origins or not at all.
        return sockbridge.mount(
            app,
            prefix,
            handler,
            allowed_origins="*",
            client_url=client_url,
            response_limit=4096,  # so that a test soon sees a stream end
            **options,  # type: ignore[arg-type]  # switches and sizes, all int here
        )

    mount("/echo", Echo())
    mount("/disabled_websocket_echo", Echo(), websocket=False)
    mount("/cookie_needed_echo", Echo(), jsessionid=True)
    mount("/close", Close())
    mount("/amplify", Amplify())
    broadcast, ticker = Broadcast(), Ticker()
    broadcast.endpoint = mount("/broadcast", broadcast)
    ticker.endpoint = mount("/ticker", ticker)
    mount("/stomp", make_stomp(tcp_listener), max_message_size=ROOM, send_buffer_limit=ROOM)
    return app


def main() -> int:
    """The command line."""
    parser = arguments(
        "demo.conformance", "The endpoints that conformance suites of SockJS and STOMP expect.", port=8081
    )
    parser.add_argument(
        "--client-url", help="script of the iframe pages; default: sockjs-client as fetched, or a CDN's"
    )
    parser.add_argument(
        "--stomp-port", type=port_number, help="serve the broker of /stomp over TCP as well; 0 takes a free port"
    )
    chosen = parser.parse_args()
    tcp_listener = None
    if chosen.stomp_port is not None:
        tcp_listener = stomp.TcpListener(chosen.host, chosen.stomp_port, send_buffer_limit=ROOM)
    app = make_app(chosen.client_url, tcp_listener)
    return run(app, chosen.host, chosen.port, "Conformance endpoints at {url}, e.g. {url}/echo", tcp_listener)


if __name__ == "__main__":
    sys.exit(main())
