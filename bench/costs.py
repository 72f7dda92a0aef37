"""What a message costs, in counts instead of times: the same on every machine and in every run.

How: the endpoint runs in this process, on connections in memory and a loop whose clock stands still, so nothing happens
but what a message causes. One exchange (what is fed at once, and all that follows from it) is played until it has
settled, and counted: calls of sockbridge's Python functions (a coroutine that goes on counts as called), writes to a
connection, callbacks, timers and tasks that sockbridge asks the loop for, and what it makes aiohttp and asyncio do.
All exchanges of a workload must cost the same. ``tests/test_costs.py`` holds the limits.

Read: per message, per delivery where one message goes to many, or per session that comes and goes. A count is no time:
a call may be cheap or dear. It tells that something was added to what every message goes through, which a time of a
noisy machine cannot.

Knows: endpoints, clients' bytes, the loop, the interpreter's profile hook.
Does not know: which counts are wanted.

Run: ``python -m bench.costs [WORKLOAD ...]``; for named workloads, which functions are called.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import platform
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, Literal, TypeVarTuple

import aiohttp
from aiohttp import web

import sockbridge
from sockbridge import stomp

SUBSCRIBERS: Final = 100
BURST: Final = 16
"""Messages that come in one read, or are published in one turn of the loop."""

MESSAGE_SIZE: Final = 64

ABSENCE: Final = 10.0
"""Seconds after which a client that stays away is forgotten: more than ``disconnect_delay``."""

SILENCE: Final = 26.0
"""Seconds after which a heartbeat is due: more than ``heartbeat_delay``."""

WARM_UP: Final = 4
"""Exchanges before those that count: what is made once has been made then."""

EXCHANGES: Final = 6
"""Exchanges that must cost the same."""

ATTEMPTS: Final = 3
"""Series of them that may be tried: in one of them a new second may begin, and with it a new ``Date``."""

INLINED: Final = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>"})
"""Comprehensions are functions of their own up to Python 3.11, and not from 3.12 on: they never count."""

MOST_TURNS: Final = 1000
"""Turns of the loop after which an exchange is called endless."""

Values = TypeVarTuple("Values")


# The loop and the connections.


class Endless(Exception):
    """What a message causes does not come to an end."""


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts what it is asked for. Its clock stands still while ``is_frozen``, so no timer fires.

    Attributes:
        callbacks: ``call_soon``, by whomever.
        own_callbacks: those that sockbridge asked for, itself or through what it called.
        own_timers: the same of ``call_later`` and ``call_at``.
        own_tasks: the same of ``create_task``.
        writes: of the server, to any of its connections.
    """

    def __init__(self) -> None:
        self.reset()
        self.is_frozen = False
        self._frozen_at = 0.0
        super().__init__()

    def reset(self) -> None:
        """Count from 0."""
        self.callbacks = self.own_callbacks = self.own_timers = self.own_tasks = self.writes = 0

    def freeze(self) -> None:
        """Stop the clock, until ``is_frozen`` is unset."""
        self._frozen_at = self.time()
        self.is_frozen = True

    def time(self) -> float:
        return self._frozen_at if self.is_frozen else super().time()

    def feed(self, callback: Callable[[bytes], None], received: bytes) -> None:
        """Call ``callback`` in the next turn; what we do to feed the server does not count."""
        super().call_soon(callback, received)

    def advance(self, seconds: float) -> None:
        """Let time pass, with the timers that end meanwhile; for a frozen clock."""
        self._frozen_at += seconds
        self.turn()
        self.settle()

    def turn(self) -> None:
        """One turn: everything runs that can run now."""
        self.stop()
        self.run_forever()

    def settle(self) -> None:
        """Go on until nothing is left to run.

        Raises:
            Endless: there is always something.
        """
        for _ in range(MOST_TURNS):
            before = self.callbacks
            self.turn()
            if before == self.callbacks:
                return
        raise Endless(f"still busy after {MOST_TURNS} turns of the loop")

    def call_soon(
        self, callback: Callable[[*Values], object], *args: *Values, context: Context | None = None
    ) -> asyncio.Handle:
        self.callbacks += 1
        self.own_callbacks += _is_for_us()
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Values], object], *args: *Values, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.own_timers += _is_for_us()
        return super().call_at(when, callback, *args, context=context)

    def create_task(self, coro: Any, **how: Any) -> asyncio.Task[Any]:
        self.own_tasks += _is_for_us()
        return super().create_task(coro, **how)


def _is_for_us() -> bool:
    # Is a function of sockbridge among the callers?
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if _package(frame) == "sockbridge":
            return True
        frame = frame.f_back
    return False


def _package(frame: FrameType) -> str:
    # By its globals, as a method that ``dataclass`` has written is in no file.
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]


class Connection(asyncio.Transport):
    """A connection to a server without a socket: what a client sends is fed, what the server writes is kept."""

    def __init__(self, loop: CountingLoop, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._written = b""
        self._is_closing = False
        protocol.connection_made(self)

    # For the client.

    def feed(self, received: bytes) -> None:
        """As asyncio's transports hand over what one read has brought."""
        if isinstance(self._protocol, asyncio.BufferedProtocol):
            memory = self._protocol.get_buffer(-1)
            memory[: len(received)] = received  # type: ignore[index]  # something that can be written to
            self._protocol.buffer_updated(len(received))
        elif isinstance(self._protocol, asyncio.Protocol):
            self._protocol.data_received(received)

    def take(self) -> bytes:
        """What the server has written since it was asked last."""
        written, self._written = self._written, b""
        return written

    # For the server.

    def write(self, data: Any) -> None:
        self._loop.writes += 1
        self._written += data

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def is_reading(self) -> bool:
        return True

    def pause_reading(self) -> None:
        """Nobody feeds what there is no room for."""

    def resume_reading(self) -> None:
        """Likewise."""

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """It takes everything at once."""


class Stage:
    """An endpoint at ``/echo`` that runs as in production, but for its connections.

    Attributes:
        loop: where it runs.
        connections: all that were made.
    """

    def __init__(self, loop: CountingLoop, runner: web.AppRunner) -> None:
        self.loop = loop
        self.connections: list[Connection] = []
        self._runner = runner
        self._ids = itertools.count()
        self._texts = itertools.count()

    def connect(self) -> Connection:
        """One more connection."""
        server = self._runner.server
        assert server is not None
        connection = Connection(self.loop, server())
        self.connections.append(connection)
        self.loop.settle()
        return connection

    def send(self, connection: Connection, *received: bytes) -> None:
        """Let the server read ``received`` from ``connection``, each by itself, and do all that follows."""
        for each in received:
            self.loop.feed(connection.feed, each)
        self.loop.settle()

    def leave(self, connection: Connection, *received: bytes) -> None:
        """The client sends ``received`` and closes ``connection``."""
        self.send(connection, *received)
        connection.close()
        self.loop.settle()
        self.connections.remove(connection)

    def path(self) -> str:
        """The URL of a new session."""
        return f"/echo/000/session{next(self._ids)}"

    def texts(self, count: int = 1) -> list[str]:
        """Messages; no two are the same, as what is told twice may be cheaper."""
        return [f"message {next(self._texts):08d} ".ljust(MESSAGE_SIZE, ".") for _ in range(count)]


@contextmanager
def stage(handler: sockbridge.SessionHandler, **options: Any) -> Iterator[Stage]:
    """Set one up; ``options`` as for ``mount``."""
    loop = CountingLoop()
    app = web.Application()
    endpoint = sockbridge.mount(app, "/echo", handler, allowed_origins="*", shutdown_grace=0.1, **options)
    if isinstance(handler, Broadcast):
        handler.endpoint = endpoint
    runner = web.AppRunner(app, access_log=None)
    try:
        loop.run_until_complete(runner.setup())
        loop.freeze()
        here = Stage(loop, runner)
        try:
            yield here
        finally:
            for connection in here.connections:  # the clients leave, so nobody waits for their goodbye
                connection.close()
            loop.settle()
    finally:
        loop.is_frozen = False
        loop.run_until_complete(runner.cleanup())
        loop.close()


# What is served.


class Echo(sockbridge.SessionHandler):
    """Sends every message back."""

    async def on_message(self, session: sockbridge.Session, message: str | bytes) -> None:
        session.send(message)


class Broadcast(sockbridge.SessionHandler):
    """Sends every message to all.

    Attributes:
        endpoint: to be set when it is mounted.
    """

    endpoint: sockbridge.Endpoint

    async def on_message(self, session: sockbridge.Session, message: str | bytes) -> None:
        self.endpoint.broadcast(message)


def broker() -> stomp.StompServer:
    """Clients may send to ``/topic``."""
    rules = [
        stomp.Rule.connect(stomp.EVERYBODY),
        stomp.Rule.subscribe("/topic/**", stomp.EVERYBODY),
        stomp.Rule.send("/topic/**", stomp.EVERYBODY),
    ]
    return stomp.StompServer(stomp.EmbeddedBroker(["/topic"]), policy=rules)


# Clients.


class WrongReply(Exception):
    """The server sent something else than it should, so its counts say nothing."""


def expect(connection: Connection, wanted: bytes, count: int = 1) -> bytes:
    """What ``connection`` has got; ``wanted`` must be in it so often."""
    received = connection.take()
    if received.count(wanted) != count:
        raise WrongReply(f"{count} times {wanted!r} expected, not {received[:300]!r}")
    return received


def request(method: str, path: str, *headers: str) -> bytes:
    """As a page of another origin sends it."""
    lines = [f"{method} {path} HTTP/1.1", "Host: example.org", "Origin: https://www.example.org", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def post(path: str, *texts: str) -> bytes:
    """A poll, or with ``texts`` what sends them."""
    body = json.dumps(texts).encode() if texts else b""
    return request("POST", path, f"Content-Length: {len(body)}") + body


def websocket(here: Stage) -> Connection:
    """A client whose session is open."""
    connection = here.connect()
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    here.send(connection, request("GET", f"{here.path()}/websocket", *upgrade, key))
    expect(connection, b"\r\n\r\n\x81\x01o")
    return connection


def stomp_client(here: Stage) -> Connection:
    """One that is subscribed to ``/topic/news`` as well."""
    connection = websocket(here)
    here.send(connection, sockjs("CONNECT\naccept-version:1.2\n\n\0"))
    expect(connection, b"CONNECTED")
    here.send(connection, sockjs("SUBSCRIBE\nid:sub-0\ndestination:/topic/news\nreceipt:1\n\n\0"))
    expect(connection, b"RECEIPT")
    return connection


def sockjs(text: str) -> bytes:
    """One message in a SockJS frame in a websocket frame, whose mask of zeros leaves it as it is."""
    payload = json.dumps([text]).encode()
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + payload


def streaming(here: Stage) -> tuple[Connection, str]:
    """A client whose stream is open, and the URL of its session."""
    connection, path = here.connect(), here.path()
    here.send(connection, post(f"{path}/xhr_streaming"))
    expect(connection, b"\r\no\n\r\n")
    return connection, path


# Workloads.

Play = Callable[[], None]
"""One exchange; raises ``WrongReply`` if a message is lost."""


def play_websocket_echo(here: Stage, count: int = 1) -> Play:
    """``count`` messages come in one read, and go back."""
    client = websocket(here)

    def play() -> None:
        texts = here.texts(count)
        here.send(client, b"".join(map(sockjs, texts)))
        expect(client, b'"%b"' % b'","'.join(text.encode() for text in texts))

    return play


def play_websocket_echo_burst(here: Stage) -> Play:
    """Many at once."""
    return play_websocket_echo(here, BURST)


def play_broadcast(here: Stage, count: int = 1) -> Play:
    """``count`` messages come in one turn, from a client each, and go to all."""
    clients = [websocket(here) for _ in range(SUBSCRIBERS)]

    def play() -> None:
        texts = here.texts(count)
        for client, text in zip(clients, texts, strict=False):
            here.loop.feed(client.feed, sockjs(text))
        here.loop.settle()
        wanted = b'"%b"' % b'","'.join(text.encode() for text in texts)
        for client in clients:
            expect(client, wanted)

    return play


def play_broadcast_burst(here: Stage) -> Play:
    """Many in one turn."""
    return play_broadcast(here, BURST)


def play_xhr_streaming_echo(here: Stage) -> Play:
    """A POST, answered with 204; the message comes back on a stream."""
    stream, path = streaming(here)
    sender = here.connect()

    def play() -> None:
        (text,) = here.texts()
        here.send(sender, post(f"{path}/xhr_send", text))
        expect(sender, b"HTTP/1.1 204 ")
        expect(stream, b'a["%b"]' % text.encode())

    return play


def play_xhr_polling_echo(here: Stage) -> Play:
    """A poll that waits, and a POST whose message answers it."""
    poller, sender, path = here.connect(), here.connect(), here.path()
    here.send(poller, post(f"{path}/xhr"))
    expect(poller, b"o\n")

    def play() -> None:
        (text,) = here.texts()
        here.send(poller, post(f"{path}/xhr"))
        here.send(sender, post(f"{path}/xhr_send", text))
        expect(sender, b"HTTP/1.1 204 ")
        expect(poller, b'a["%b"]\n' % text.encode())

    return play


def play_websocket_session(here: Stage) -> Play:
    """A client comes, and says goodbye."""

    def play() -> None:
        client = websocket(here)
        here.leave(client, bytes((0x88, 0x80)) + bytes(4))
        expect(client, b"\x88\x02\x03\xe8")

    return play


def play_heartbeat(here: Stage) -> Play:
    """Nothing is said until a ping is due; the client answers it."""
    client = websocket(here)
    here.loop.advance(1)  # the clock sees that nothing was written

    def play() -> None:
        here.loop.advance(SILENCE)
        expect(client, b"\x89\0")
        here.send(client, bytes((0x8A, 0x80)) + bytes(4))
        here.loop.advance(1)

    return play


def play_xhr_session(here: Stage) -> Play:
    """A client polls once on a connection that others use as well, and stays away until it is forgotten."""
    connection = here.connect()

    def play() -> None:
        here.send(connection, post(f"{here.path()}/xhr"))
        expect(connection, b"o\n")
        here.loop.advance(1)  # the clock notices that nobody polls
        here.loop.advance(ABSENCE)

    return play


def play_stomp(here: Stage) -> Play:
    """A SEND, and the MESSAGE to all subscribers."""
    clients = [stomp_client(here) for _ in range(SUBSCRIBERS)]

    def play() -> None:
        (text,) = here.texts()
        here.send(clients[0], sockjs(f"SEND\ndestination:/topic/news\n\n{text}\0"))
        for client in clients:
            expect(client, text.encode())

    return play


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Something that the counts of one exchange are taken of.

    Attributes:
        name: for the table.
        open: connects the clients; returns what plays one exchange.
        sent: messages that clients send in one exchange.
        receivers: to how many each of them goes.
        handler: makes the handler that is mounted.
        reader: the option ``websocket_reader``. Our own is in every version of Python and aiohttp.
        repeats: exchanges that are played, three times over, to see whether memory grows.
    """

    name: str
    open: Callable[[Stage], Play]
    sent: int = 1
    receivers: int = 1
    handler: Callable[[], sockbridge.SessionHandler] = Echo
    reader: Literal["auto", "python"] = "python"
    repeats: int = 400

    @property
    def messages(self) -> int:
        """Echoed or delivered in one exchange."""
        return self.sent * self.receivers

    @contextmanager
    def opened(self) -> Iterator[tuple[Stage, Play]]:
        """A stage for it, and what plays one exchange there."""
        # A stream that reaches its limit begins anew, which is no part of a message.
        with stage(self.handler(), websocket_reader=self.reader, response_limit=2**30) as here:
            play = self.open(here)
            for _ in range(WARM_UP):
                play()
            yield here, play


WORKLOADS: Final = (
    Workload(name="websocket echo", open=play_websocket_echo),
    Workload(name="websocket echo, compiled reader", open=play_websocket_echo, reader="auto"),
    Workload(name="websocket echo, 16 in a read", open=play_websocket_echo_burst, sent=BURST, repeats=50),
    Workload(name="broadcast", open=play_broadcast, receivers=SUBSCRIBERS, handler=Broadcast, repeats=40),
    Workload(
        name="broadcast, 16 in a turn",
        open=play_broadcast_burst,
        sent=BURST,
        receivers=SUBSCRIBERS,
        handler=Broadcast,
        repeats=5,
    ),
    Workload(name="xhr_streaming echo", open=play_xhr_streaming_echo, repeats=200),
    Workload(name="xhr polling echo", open=play_xhr_polling_echo, repeats=200),
    Workload(name="websocket heartbeat", open=play_heartbeat),
    Workload(name="new websocket session", open=play_websocket_session, repeats=600),
    Workload(name="new xhr session", open=play_xhr_session, repeats=600),
    Workload(name="STOMP fan-out", open=play_stomp, receivers=SUBSCRIBERS, handler=broker, repeats=40),
)


def has_compiled_reader() -> bool:
    """Does ``websocket_reader="auto"`` choose another reader here than ``"python"``?"""
    endpoint = sockbridge.mount(web.Application(), "/echo", Echo())
    return endpoint.websocket_reader == "compiled"


# Counting.


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one exchange costs.

    Attributes:
        messages: echoed or delivered in it.
        functions: calls of sockbridge's functions, by their full names.
        writes: to connections.
        callbacks: that sockbridge asked the loop for.
        timers: likewise.
        tasks: likewise.
        foreign_calls: of functions of aiohttp and asyncio; differs between their versions.
        all_callbacks: of the loop, by whomever; likewise.
    """

    messages: int
    functions: Counter[str]
    writes: int
    callbacks: int
    timers: int
    tasks: int
    foreign_calls: int
    all_callbacks: int

    @property
    def calls(self) -> int:
        """Of sockbridge's functions."""
        return self.functions.total()

    @property
    def fixed(self) -> tuple[object, ...]:
        """What must be the same for each exchange."""
        return self.functions, self.writes, self.callbacks, self.timers, self.tasks

    def most_called(self) -> str:
        """How often each function is called per message, a line each; those that are called most come first."""
        called = sorted(self.functions.items(), key=lambda item: (-item[1], item[0]))
        return "\n".join(f"{calls / self.messages:10.3f}  {name}" for name, calls in called)


class Unsteady(Exception):
    """Exchanges that should cost the same did not, three times over."""


def cost_of(workload: Workload) -> Cost:
    """What one exchange of ``workload`` costs.

    Raises:
        Unsteady: that differs from one to the next.
        WrongReply: a message was lost.
    """
    was_collecting = gc.isenabled()
    gc.disable()  # a finalizer is nobody's message
    try:
        with workload.opened() as (here, play):
            idle = set(_calls(here.loop.turn))  # what turning the loop by hand calls
            for _ in range(ATTEMPTS):
                costs = [_count(here, play, workload.messages, idle) for _ in range(EXCHANGES)]
                if all(cost.fixed == costs[0].fixed for cost in costs):
                    return costs[0]
    finally:
        if was_collecting:
            gc.enable()
    raise Unsteady(f"{workload.name}: {_difference(costs)}")


def _count(here: Stage, play: Play, messages: int, idle: set[tuple[str, str]]) -> Cost:
    loop = here.loop
    loop.reset()
    calls = _calls(play)
    return Cost(
        messages=messages,
        functions=Counter({name: calls[package, name] for package, name in calls if package == "sockbridge"}),
        writes=loop.writes,
        callbacks=loop.own_callbacks,
        timers=loop.own_timers,
        tasks=loop.own_tasks,
        foreign_calls=sum(calls[key] for key in calls if key[0] != "sockbridge" and key not in idle),
        all_callbacks=loop.callbacks,
    )


def _calls(play: Play) -> Counter[tuple[str, str]]:
    # Calls of functions written in Python, by package and full name.
    calls: Counter[tuple[str, str]] = Counter()
    watched = {"sockbridge", "aiohttp", "asyncio"}

    def on_event(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_name not in INLINED:
            package = _package(frame)
            if package in watched:
                calls[package, f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname}"] += 1

    former = sys.getprofile()
    sys.setprofile(on_event)
    try:
        play()
    finally:
        sys.setprofile(former)
    return calls


def _difference(costs: Sequence[Cost]) -> str:
    # In which way they are not all the same.
    lines = []
    for name in ("writes", "callbacks", "timers", "tasks"):
        values = [getattr(cost, name) for cost in costs]
        if len(set(values)) > 1:
            lines.append(f"{name}: {values}")
    for name in sorted({name for cost in costs for name in cost.functions}):
        values = [cost.functions[name] for cost in costs]
        if len(set(values)) > 1:
            lines.append(f"{name}: {values}")
    return "; ".join(lines)


# Memory.

POOLS: Final = (
    tracemalloc.Filter(False, "*/aiohttp/web_protocol.py"),
    tracemalloc.Filter(False, tracemalloc.__file__),
)
"""Lines whose memory does not count: aiohttp's compiled parser, called there, keeps up to 250 requests to use them
again; and ``tracemalloc`` itself."""

SERIES: Final = 3
"""How often memory is looked at, each time after a workload's ``repeats``."""


def growth_of(workload: Workload) -> float:
    """Bytes that stay behind per message that a client sends; about 0, as nothing should.

    The lowest of three series: what is lost for each message shows in all of them, what is made once in one.
    """
    with workload.opened() as (_, play), _traced():
        held = [_held(*POOLS)]
        for _ in range(SERIES):
            for _ in range(workload.repeats):
                play()
            held.append(_held(*POOLS))
    return min(after - before for before, after in itertools.pairwise(held)) / (workload.repeats * workload.sent)


SESSIONS: Final = 40
"""Sessions that the memory of one is taken of."""

SESSION_KINDS: Final[dict[str, tuple[Callable[[Stage], object], Callable[[], sockbridge.SessionHandler]]]] = {
    "websocket": (websocket, Echo),
    "xhr_streaming": (streaming, Echo),
    "STOMP subscriber": (stomp_client, broker),
}


def size_of_session(kind: str) -> float:
    """Bytes that an idle session of ``kind`` takes, with its connection as far as that is made in Python.

    Args:
        kind: of ``SESSION_KINDS``.
    """
    connect, handler = SESSION_KINDS[kind]
    with stage(handler()) as here:
        for _ in range(WARM_UP):
            connect(here)
        with _traced():
            before = _held()
            for _ in range(SESSIONS):
                connect(here)
            return (_held() - before) / SESSIONS


@contextmanager
def _traced() -> Iterator[None]:
    was_tracing = tracemalloc.is_tracing()
    gc.collect()
    gc.freeze()  # so that collecting once more is quick
    tracemalloc.start()
    try:
        yield
    finally:
        if not was_tracing:
            tracemalloc.stop()
        gc.unfreeze()


def _held(*left_out: tracemalloc.Filter) -> int:
    gc.collect()
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(left_out).traces)


def show(workload: Workload, cost: Cost, *, with_functions: bool) -> None:
    """Print a row of the table, and below it which functions of sockbridge are called."""
    calls, writes, callbacks, timers, tasks, all_calls, all_callbacks = (
        f"{total / cost.messages:.3f}"
        for total in (
            cost.calls,
            cost.writes,
            cost.callbacks,
            cost.timers,
            cost.tasks,
            cost.calls + cost.foreign_calls,
            cost.all_callbacks,
        )
    )
    row = f"{calls:>7}  {writes:>7}   {callbacks:>7} {timers:>7} {tasks:>7}        {all_calls:>7}   {all_callbacks:>7}"
    print(f"{workload.name:32}{row}")
    if with_functions:
        print(cost.most_called())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(map(repr, names))}")
    parser.add_argument("--memory", action="store_true", help="bytes that stay behind, and those of a session, too")
    options = parser.parse_args(arguments)
    unknown = set(options.workloads) - set(names)
    if unknown:
        parser.error(f"there is no workload {unknown.pop()!r}")
    chosen = [each for each in WORKLOADS if not options.workloads or each.name in options.workloads]
    print(f"Python {platform.python_version()}, aiohttp {aiohttp.__version__}\n")
    print(f"{'per message or session':32}  calls   writes callbacks  timers   tasks  of all: calls callbacks")
    for workload in chosen:
        show(workload, cost_of(workload), with_functions=bool(options.workloads))
    if options.memory:
        print("\nbytes that stay behind per message that a client sends")
        for workload in chosen:
            print(f"{workload.name:32}{growth_of(workload):7.2f}")
        print("\nbytes of an idle session")
        for kind in SESSION_KINDS:
            print(f"{kind:32}{size_of_session(kind):7.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
