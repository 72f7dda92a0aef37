"""The servers that are measured: ``python -m bench.server KIND``, started by ``bench/process.py``.

Each runs as in production, by ``web.run_app`` with its defaults (but no access log), in a process of its own.
It writes one JSON line with its port when it listens, a JSON line with what it has counted for each line on
its standard input, and a last one when it has stopped. The end of standard input stops it.

Knows: how the measured servers are set up; counting live objects.
Does not know: who puts load on them.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import json
import logging
import resource
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

import sockbridge
from sockbridge import stomp

COUNTED = ("aiohttp.", "sockbridge.")
"""Objects of classes defined in these packages are counted, and tasks and sockets."""

RECEIVE_SIZE = 256 * 1024
"""Bytes that asyncio asks the system's allocator for at each read of a socket, to give back all but a few."""

READY = web.AppKey("ready", asyncio.Task[None])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a server tells about itself.

    Attributes:
        port: where it listens.
        resident: bytes of its resident memory.
        sessions: how many its endpoint holds, those about to be forgotten included.
        connected: calls of ``on_connected`` so far.
        closed: calls of ``on_closed`` so far.
        objects: number of live objects by class name; empty unless asked for.
        errors: what was logged at ERROR or above so far, and how often.
        tcp_port: where it listens for STOMP without HTTP; 0 if it does not.
        held: bytes that its broker says it holds.
        counters: of its broker.
    """

    port: int
    resident: int = 0
    sessions: int = 0
    connected: int = 0
    closed: int = 0
    objects: dict[str, int] = dataclasses.field(default_factory=dict)
    errors: dict[str, int] = dataclasses.field(default_factory=dict)
    tcp_port: int = 0
    held: int = 0
    counters: dict[str, int] = dataclasses.field(default_factory=dict)


class Echo(sockbridge.SessionHandler):
    """Sends every message back, and counts sessions."""

    def __init__(self) -> None:
        self.connected = 0
        self.closed = 0

    async def on_connected(self, session: sockbridge.Session) -> None:
        self.connected += 1

    async def on_message(self, session: sockbridge.Session, message: str | bytes) -> None:
        session.send(message)

    async def on_closed(self, session: sockbridge.Session, close: sockbridge.Close) -> None:
        self.closed += 1


class ErrorCount(logging.Handler):
    """Counts what is logged as an error, without showing it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        fault = record.exc_info[1] if record.exc_info else None
        self.errors[f"{record.name}: {record.msg} ({fault!r})"] += 1


class Server:
    """One application, its standard input and output."""

    def __init__(self, kind: str, options: dict[str, Any]) -> None:
        self.app = web.Application()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.handler = Echo()
        self.endpoint: sockbridge.Endpoint | None = None
        self.broker: stomp.EmbeddedBroker | None = None
        self.tcp: stomp.TcpListener | None = None
        KINDS[kind](self, options)
        self.log = ErrorCount()
        logging.getLogger().addHandler(self.log)
        self.app.on_startup.append(self._listen_to_parent)

    def run(self) -> None:
        """Until SIGTERM, or the end of standard input."""
        web.run_app(self.app, sock=self.listener, print=None, access_log=None)
        self._tell("last")

    def report(self, question: str) -> Report:
        """``"objects"`` asks for the live objects as well, which takes a while."""
        if question == "objects":
            for _ in range(3):  # finalizers may leave something for the next turn
                gc.collect()
        return Report(
            port=self._port,
            resident=int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize(),
            sessions=len(self.endpoint) if self.endpoint is not None else 0,
            connected=self.handler.connected,
            closed=self.handler.closed,
            errors=dict(self.log.errors),
            objects=dict(count_objects()) if question == "objects" else {},
            tcp_port=self.tcp.port if self.tcp is not None else 0,
            held=self.broker.held if self.broker is not None else 0,
            counters=dataclasses.asdict(self.broker.counters) if self.broker is not None else {},
        )

    def _tell(self, question: str) -> None:
        print(json.dumps(dataclasses.asdict(self.report(question))), flush=True)

    async def _listen_to_parent(self, app: web.Application) -> None:
        self._port = self.listener.getsockname()[1]
        app[READY] = asyncio.create_task(self._answer_parent())

    async def _answer_parent(self) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        self._tell("ready")
        while line := await reader.readline():
            self._tell(line.decode().strip())
        signal.raise_signal(signal.SIGTERM)


def add_sockbridge(server: Server, options: dict[str, Any]) -> None:
    """Our endpoint with every transport; ``options`` as for ``mount``."""
    server.endpoint = sockbridge.mount(server.app, "/echo", server.handler, allowed_origins="*", **options)


def add_aiohttp(server: Server, options: dict[str, Any]) -> None:
    """A bare websocket, as one writes it with aiohttp alone; ``options`` as for ``WebSocketResponse``."""

    async def echo(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse(**options)
        await response.prepare(request)
        async for message in response:
            await response.send_str(message.data)
        return response

    server.app.router.add_get("/echo/{server}/{session}/websocket", echo)


def add_broadcast(server: Server, options: dict[str, Any]) -> None:
    """Our endpoint; what one client sends goes to all. ``options`` as for ``mount``."""

    class Broadcast(sockbridge.SessionHandler):
        async def on_message(self, session: sockbridge.Session, message: str | bytes) -> None:
            endpoint.broadcast(message)

    endpoint = server.endpoint = sockbridge.mount(
        server.app, "/echo", Broadcast(), allowed_origins="*", max_message_size=1024 * 1024, **options
    )


def add_stomp(server: Server, options: dict[str, Any]) -> None:
    """STOMP under the same URL; clients may send to ``/topic``. ``options`` as for ``mount``."""
    rules = [stomp.Rule.connect(stomp.EVERYBODY), stomp.Rule.subscribe("/topic/**", stomp.EVERYBODY)]
    broker = stomp.EmbeddedBroker(["/topic"])
    handler = stomp.StompServer(broker, policy=[*rules, stomp.Rule.send("/topic/**", stomp.EVERYBODY)])
    server.endpoint = sockbridge.mount(server.app, "/echo", handler, allowed_origins="*", **options)


def add_broker(server: Server, options: dict[str, Any]) -> None:
    """STOMP over TCP as well; clients may send to ``/topic`` and ``/queue``.

    ``options`` as for ``EmbeddedBroker``; ``history`` is a list of arguments of ``History``.
    """
    rules = [stomp.Rule.connect(stomp.EVERYBODY)]
    for pattern in ("/topic/**", "/queue/**"):
        rules += [stomp.Rule.subscribe(pattern, stomp.EVERYBODY), stomp.Rule.send(pattern, stomp.EVERYBODY)]
    history = [stomp.History(**arguments) for arguments in options.pop("history", ())]
    server.broker = stomp.EmbeddedBroker(["/topic"], queues=["/queue"], history=history, **options)
    server.tcp = stomp.TcpListener(port=0)
    handler = stomp.StompServer(server.broker, policy=rules, listeners=[server.tcp])
    server.endpoint = sockbridge.mount(server.app, "/echo", handler, allowed_origins="*")


KINDS: dict[str, Callable[[Server, dict[str, Any]], None]] = {
    "sockbridge": add_sockbridge,
    "aiohttp": add_aiohttp,
    "broadcast": add_broadcast,
    "stomp": add_stomp,
    "broker": add_broker,
}


def settle_allocator() -> None:
    """Make all servers alike: glibc serves asyncio's read buffers from its heap in each of them.

    Until something larger than a read buffer has been freed as a whole, glibc maps and unmaps memory for every
    read of a socket; then a message costs 2 to 3 times as much. Whether that has happened when a server
    starts is chance (which modules were loaded, in which order, from where), so two servers could not be compared.
    """
    bytes(16 * RECEIVE_SIZE)  # freed at once; glibc then keeps what is smaller in its heap


def count_objects() -> Counter[str]:
    """Live objects that a session or a connection needs, by class name."""
    return Counter(_class_names())


def _class_names() -> Iterator[str]:
    for item in gc.get_objects():
        kind = type(item)
        if f"{kind.__module__}.".startswith(COUNTED) or kind is asyncio.Task or "Transport" in kind.__name__:
            yield kind.__name__


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="One server of the benchmarks.")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("options", nargs="?", type=json.loads, default={}, help="a JSON object")
    arguments = parser.parse_args()
    settle_allocator()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Server(arguments.kind, arguments.options).run()


if __name__ == "__main__":
    main()
