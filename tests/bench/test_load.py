"""The load generator: it gets on with servers that are right, and finds every mistake of those that are not."""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import socketserver
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from queue import Queue

import pytest
from aiohttp import WSMsgType, web

from bench import load
from bench.process import Server
from bench.workloads import WORKLOADS, Workload

from ..needs import absent

if not any(map(shutil.which, load.COMPILERS)):
    absent("no C compiler is installed (Debian: apt-get install gcc libc6-dev)")

ECHO = Workload(name="echo", kind="echo", connections=3, window=4)
ONE = replace(ECHO, connections=1)
SHORT = {"seconds": 0.1, "warm_up": 0.05, "guard": 5.0}

KINDS = {"echo": "sockbridge", "connect": "sockbridge", "fanout": "broadcast"}
"""Kind of a workload -> the kind of server in ``bench.server`` that has it, at ``/echo``."""


# Servers that are right


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], Server]]:
    """Our servers by their kind, each started when it is first asked for."""
    started: dict[str, Server] = {}

    def server_of(kind: str) -> Server:
        if kind not in started:
            started[kind] = Server(kind)
        return started[kind]

    yield server_of
    for server in started.values():
        server.stop()


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_every_workload_runs_against_sockbridge(servers: Callable[[str], Server], workload: Workload) -> None:
    server = servers("stomp" if workload.is_stomp else KINDS[workload.kind])
    small = replace(workload, connections=10)
    result = load.run(small, port=server.port, wording="sockjs", pid=server.pid, path="/echo", **SHORT)
    assert result.messages > 0
    assert 0 < result.p50 <= result.p99 < 5e6
    assert 0 < result.load_busy < 1.1
    assert 0 < result.server_busy < 1.1
    assert 0 < result.cost < 1.1e6 / result.messages
    assert server.ask().errors == {}


@pytest.mark.parametrize("transport", ["xhr_streaming", "eventsource"])
def test_a_stream_that_reached_its_limit_is_followed_by_the_next(
    servers: Callable[[str], Server], transport: str
) -> None:
    """Spec: sockjs-protocol, "Response size limit": 128 KiB."""
    server = servers("sockbridge")
    long = replace(ECHO, transport=transport, connections=1, window=24, size=4096)
    result = load.run(long, port=server.port, wording="sockjs", pid=server.pid, **SHORT)
    assert result.messages * SHORT["seconds"] * long.size > 2 * 128 * 1024


@pytest.mark.parametrize("kind", ["echo", "connect"])
async def test_every_session_says_goodbye(kind: str) -> None:
    """Spec: RFC 6455, 7.1.1: a close frame first, and the connection ends when it is answered."""
    codes: list[int | None] = []

    async def serve(websocket: web.WebSocketResponse) -> None:
        async for message in websocket:
            await websocket.send_str(message.data)
        codes.append(websocket.close_code)

    await run_against(on_websocket(serve), replace(ECHO, kind=kind))
    assert len(codes) >= ECHO.connections
    assert set(codes) == {1000}


@pytest.mark.parametrize("kind", ["echo", "connect", "fanout"])
async def test_plain_websockets_are_spoken(kind: str) -> None:
    websockets: set[web.WebSocketResponse] = set()

    async def serve(websocket: web.WebSocketResponse) -> None:
        websockets.add(websocket)
        async for message in websocket:
            for other in list(websockets) if kind == "fanout" else [websocket]:
                if not other.closed:
                    await other.send_str(message.data)
        websockets.discard(websocket)

    result = await run_against(on_websocket(serve), replace(ECHO, kind=kind))
    assert result.messages > 0


async def test_socketio_is_spoken() -> None:
    """Spec: Socket.IO protocol 5 in Engine.IO protocol 4, a ping included."""

    async def serve(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str('0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000}')
        assert await websocket.receive_str() == "40"
        await websocket.send_str('40{"sid":"b"}')
        await websocket.send_str("2")
        pongs = 0
        async for message in websocket:
            if message.data == "3":
                pongs += 1
            else:
                await websocket.send_str(message.data)
        assert pongs == 1

    result = await run_against(on_websocket(serve), replace(ECHO, is_json=True, size=200), wording="socketio")
    assert result.messages > 0


async def test_a_websocket_is_answered_when_it_pings() -> None:
    """Spec: RFC 6455, 5.5.2."""
    pongs: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(websocket: web.WebSocketResponse) -> None:
        await websocket.ping(b"alive?")
        async for message in websocket:
            if message.type is WSMsgType.PONG:
                pongs.put_nowait(message.data)
            elif message.type is WSMsgType.TEXT:
                await websocket.send_str(message.data)

    await run_against(on_websocket(serve, autoping=False), ECHO)
    assert pongs.qsize() == ECHO.connections
    assert pongs.get_nowait() == b"alive?"


@pytest.mark.parametrize("head", ["Connection: close\r\n", "Content-Length: {size}\r\n"], ids=["close", "length"])
async def test_answers_without_chunks_are_read(head: str) -> None:
    """Spec: RFC 9112, 6.3: a body ends with the connection, or after its length."""
    result = await run_against(on_poll(head), replace(ECHO, transport="xhr"), wording="sockjs")
    assert result.messages > 0


# Servers that are wrong


def test_a_server_that_is_not_there_is_reported() -> None:
    with pytest.raises(load.WrongReply, match=r"connection 0: .*refused"):
        load.run(ECHO, port=1, wording="plain", pid=os.getpid(), **SHORT)


def once(replies: Callable[[list[str]], list[str]]) -> Callable[[web.WebSocketResponse], Awaitable[None]]:
    """An echo that collects four messages, sends what ``replies`` makes of them, and from then on what it gets."""

    async def serve(websocket: web.WebSocketResponse) -> None:
        texts = [await websocket.receive_str() for _ in range(4)]
        for text in replies(texts):
            await websocket.send_str(text)
        async for message in websocket:
            await websocket.send_str(message.data)

    return serve


@pytest.mark.parametrize(
    ("replies", "found"),
    [
        (lambda texts: texts[1:], "number 0000000000 .* but got .* number 0000000001"),
        (lambda texts: [texts[0], *texts], "number 0000000001 .* but got .* number 0000000000"),
        (lambda texts: [texts[1], texts[0], *texts[2:]], "number 0000000000 .* but got .* number 0000000001"),
        (lambda texts: [texts[0], texts[1].replace(".", ":", 1), *texts[2:]], r"but got '[^']*:"),
        (lambda texts: [texts[0] + ".", *texts[1:]], "wanted .* but got"),
        (lambda texts: [texts[0][:-1], *texts[1:]], "wanted .* but got"),
        (
            lambda texts: [text.replace("from 00000", "from 00099") for text in texts],
            "wanted 'from 00000 .*'from 00099",
        ),
    ],
    ids=["lost", "repeated", "reordered", "changed", "longer", "shorter", "foreign"],
)
async def test_a_message_is_found_that_was(replies: Callable[[list[str]], list[str]], found: str) -> None:
    with pytest.raises(load.WrongReply, match=f"connection 0: .*{found}"):
        await run_against(on_websocket(once(replies)), ONE)


async def test_the_last_messages_are_missed() -> None:
    """Nothing after them shows that they were lost: only time does."""
    with pytest.raises(
        load.WrongReply, match=r"connection 0: nothing came for 0.3 seconds; wanted 'from 00000 number 0"
    ):
        await run_against(on_websocket(once(lambda texts: [])), ONE, guard=0.3)


async def test_a_message_that_nobody_sent_is_found() -> None:
    """What a server sends after everything has come back: it would be missed if the load left too soon."""

    async def serve(websocket: web.WebSocketResponse) -> None:
        async for message in websocket:
            await websocket.send_str(message.data)
        assert websocket.close_code == 1000
        await websocket.send_str("one more")

    with pytest.raises(load.WrongReply, match="wanted 'no message' but got 'one more'"):
        await run_against(on_websocket(serve, autoclose=False), ECHO)


async def test_a_subscriber_that_was_left_out_is_found() -> None:
    websockets: list[web.WebSocketResponse] = []

    async def serve(websocket: web.WebSocketResponse) -> None:
        websockets.append(websocket)
        async for message in websocket:
            for other in websockets[:-1]:
                if not other.closed:
                    await other.send_str(message.data)

    with pytest.raises(load.WrongReply, match=r"connection 3: nothing came for 0.3 seconds; wanted 'from 00000"):
        await run_against(on_websocket(serve), replace(ECHO, kind="fanout"), guard=0.3)


async def test_a_server_that_leaves_early_is_reported() -> None:
    async def serve(websocket: web.WebSocketResponse) -> None:
        await websocket.receive_str()
        await websocket.close()

    with pytest.raises(load.WrongReply, match=r"connection \d: the server closed it; wanted 'from 0000"):
        await run_against(on_websocket(serve), ECHO)


@pytest.mark.parametrize("transport", ["websocket", "xhr", "xhr_streaming", "eventsource"])
async def test_a_status_that_is_no_success_is_reported(transport: str) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=500)

    with pytest.raises(load.WrongReply, match=r"wanted 'HTTP/1.1 (101 |200)' but got 'HTTP/1.1 500 Internal"):
        await run_against(on_request(refuse), replace(ONE, transport=transport), wording="sockjs")


async def test_a_refused_xhr_send_is_reported() -> None:
    serve = on_poll("Content-Length: {size}\r\n", send_status="404 Not Found")
    with pytest.raises(load.WrongReply, match=r"wanted 'HTTP/1.1 204' but got 'HTTP/1.1 404 Not Found"):
        await run_against(serve, replace(ONE, transport="xhr"), wording="sockjs")


async def test_a_wrong_prelude_is_found() -> None:
    """Spec: sockjs-protocol, xhr_streaming: 2048 times ``h`` come first."""

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=b"h" * 2047 + b"\no\n" + b"x" * 100)

    with pytest.raises(load.WrongReply, match=r"wanted 'hhh.*' but got 'hhh"):
        await run_against(on_request(serve), replace(ONE, transport="xhr_streaming"), wording="sockjs")


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        ('c[3000,"Go away!"]', "but got 'c"),
        ("o", "but got 'o'"),
        ('a["x"]', "wanted '\"from 0000"),
        ("a[]", "wanted 'an array'"),
        ('a["x"', "wanted 'an array'"),
        ("", "wanted 'a frame of messages' but got ''"),
    ],
)
async def test_a_wrong_sockjs_frame_is_found(frame: str, found: str) -> None:
    async def serve(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str("o")
        await websocket.receive_str()
        await websocket.send_str(frame)
        async for _message in websocket:
            pass

    with pytest.raises(load.WrongReply, match=found):
        await run_against(on_websocket(serve), ONE, wording="sockjs")


async def test_an_error_of_stomp_is_reported() -> None:
    async def serve(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str("o")
        await websocket.receive_str()
        await websocket.send_str('a["ERROR\\nmessage:no\\n\\nnot you\\u0000"]')
        async for _message in websocket:
            pass

    with pytest.raises(load.WrongReply, match=r"wanted 'the STOMP frame MESSAGE' but got 'ERROR.nmessage:no"):
        await run_against(on_websocket(serve), replace(ONE, is_stomp=True), wording="sockjs")


# Results and the compiler


def test_a_server_that_waited_for_its_core_was_the_limit_too() -> None:
    waiting = load.Result(messages=1.0, p50=1.0, p99=1.0, load_busy=0.2, server_busy=0.6, cost=1.0, server_waited=0.35)
    assert waiting.refusal == ""
    assert replace(waiting, server_waited=0.2).refusal == "other processes took the cores"
    assert replace(waiting, server_busy=0.1, server_waited=0.9).refusal == "other processes took the cores"


@pytest.mark.parametrize(
    ("load_busy", "server_busy", "refusal"),
    [(0.5, 0.95, ""), (0.99, 0.5, "the load was the limit"), (0.5, 0.5, "other processes took the cores")],
)
def test_a_result_says_whether_the_server_was_the_limit(load_busy: float, server_busy: float, refusal: str) -> None:
    result = load.Result(messages=1.0, p50=1.0, p99=1.0, load_busy=load_busy, server_busy=server_busy, cost=1.0)
    assert result.refusal == refusal


def test_each_wording_has_its_workloads() -> None:
    names = {wording: {w.name for w in WORKLOADS if load.supports(w, wording)} for wording in ("plain", "socketio")}
    assert all(load.supports(workload, "sockjs") for workload in WORKLOADS)
    assert names["plain"] >= {"ws-echo", "ws-fanout", "ws-connect"}
    assert not names["plain"] & {"xhr-echo", "xhr-connect", "xhr-fanout", "stomp-echo"}
    assert names["socketio"] == {name for name in names["plain"] if name.startswith("ws-echo")}


def test_it_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "BUILDS", tmp_path / "builds")
    program = load.build()
    built = program.stat().st_mtime_ns
    assert load.build() == program
    assert program.stat().st_mtime_ns == built
    assert list(program.parent.iterdir()) == [program]


def test_without_a_compiler_one_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "BUILDS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="apt-get install gcc"):
        load.build()


# Servers in this process


async def run_against(
    server: AbstractAsyncContextManager[int], workload: Workload, *, wording: str = "plain", guard: float = 5.0
) -> load.Result:
    """Start ``server``, which tells its port, and put the load on it."""
    async with server as port:
        return await asyncio.to_thread(
            load.run, workload, port=port, wording=wording, pid=os.getpid(), seconds=0.1, warm_up=0.0, guard=guard
        )


@asynccontextmanager
async def on_request(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[int]:
    """A server with ``handler`` under every path."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def on_websocket(
    serve: Callable[[web.WebSocketResponse], Awaitable[None]], **options: bool
) -> AbstractAsyncContextManager[int]:
    """A server that has ``serve`` talk on every websocket; ``options`` as for ``WebSocketResponse``."""

    async def handler(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(**options)
        await websocket.prepare(request)
        await serve(websocket)
        return websocket

    return on_request(handler)


@asynccontextmanager
async def on_poll(head: str, send_status: str = "204 No Content") -> AsyncIterator[int]:
    """A SockJS echo for ``xhr`` that ends its answers as ``head`` says: a library would choose for itself."""
    bodies: dict[str, Queue[str]] = {}

    def poll(session: str) -> str:
        if session not in bodies:
            bodies[session] = Queue()
            return "o\n"
        body = bodies[session].get()
        if not body:
            bodies[session].put(body)  # the end is for everybody
        return f"a{body}\n"

    class Connection(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):  # the client left
                while self.answer() and "close" not in head:
                    pass

        def answer(self) -> bool:
            path, headers = self.rfile.readline().decode(), http.client.parse_headers(self.rfile)
            if not path:
                return False
            _, _, _, session, kind = path.split()[1].split("/")
            if kind == "xhr_send":
                size = int(headers["Content-Length"])
                bodies[session].put(self.rfile.read(size).decode())
                status, body = send_status, ""
            else:
                status, body = "200 OK", poll(session)
            self.wfile.write(f"HTTP/1.1 {status}\r\n{head.format(size=len(body))}\r\n{body}".encode())
            return True

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection) as server:
        serving = asyncio.create_task(asyncio.to_thread(server.serve_forever, 0.01))
        try:
            yield server.server_address[1]
        finally:
            await asyncio.to_thread(server.shutdown)
            await serving
            for queue in bodies.values():
                queue.put("")
