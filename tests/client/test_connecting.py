"""Finding a way: falling back, and servers that are none."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import sockbridge
from sockbridge.client import TRANSPORTS, Backoff, connect
from sockbridge.errors import ConnectFailed, InvalidOption, NotSockJS
from tests.fakes import GUARD, RecordingHandler, serve
from tests.needs import needs
from tests.transports.wire import echo_server

from .scripted import INFO, Request, scripted

STREAM = {"xhr_streaming": b"o\n", "eventsource": b"data: o\n\n", "xhr": b"o\n"}


async def check_failed(url: str, **how: Any) -> ConnectFailed:
    """Connecting fails with one exception of ours, and leaves no task."""
    with pytest.raises(ConnectFailed) as caught:
        async with asyncio.timeout(4 * GUARD):
            await connect(url, **how)
    assert client_tasks() == []
    return caught.value


def client_tasks() -> list[str]:
    """The tasks of clients; those of servers and connections may be there a little longer."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return [task.get_name() for task in others if "client" in str(task.get_coro())]


def stream_server(request: Request) -> None:
    """What answers on any HTTP transport."""
    request.begin()
    request.chunk(STREAM[request.name])


# Falling back.


@pytest.mark.parametrize("status", [200, 302, 400, 403, 404, 426, 500, 503])
async def test_a_refused_websocket_is_no_obstacle(status: int) -> None:
    async def script(request: Request) -> None:
        if request.name == "websocket":
            request.answer(b"no", status=status, headers="Location: /elsewhere\r\n")
        else:
            stream_server(request)
            await asyncio.Event().wait()

    async with scripted(script) as server, connect(server.url) as session:
        assert session.transport == "xhr-streaming"
        assert session.failures.keys() == {"websocket"}
        assert str(status) in session.failures["websocket"]
        assert "elsewhere" not in server.names()


@pytest.mark.parametrize("how", ["silent", "no handshake", "closes", "resets", "pings only"])
async def test_a_websocket_that_does_not_open_is_given_up(how: str) -> None:
    async def script(request: Request) -> None:
        if request.name != "websocket":
            stream_server(request)
            await asyncio.Event().wait()
        if how == "resets":
            request.reset()
        if how in ("no handshake", "resets"):
            await asyncio.Event().wait()
        request.upgrade()
        if how == "closes":
            request.writer.close()
        while True:
            if how == "pings only":
                request.send_frame(b"x", 9)
            await asyncio.sleep(0.01)  # the pace of a server, until the client has given it up

    async with scripted(script) as server, connect(server.url, timeout=0, close_timeout=0.05) as session:
        assert session.transport == "xhr-streaming"
        expected = "cut" if how == "closes" else "without an answer" if how == "resets" else "did not open within 0."
        assert expected in session.failures["websocket"] or (how == "resets" and "cut" in session.failures["websocket"])


async def test_streams_that_a_proxy_holds_back_fall_back_to_polling() -> None:
    """Nothing comes until the response ends."""

    async def script(request: Request) -> None:
        if request.name == "xhr":
            request.answer(b"o\n" if "xhr" not in [one.name for one in server.requests[:-1]] else b"h\n")
        elif request.name == "websocket":
            request.answer(status=400)
        else:
            request.begin()
            await asyncio.Event().wait()

    async with scripted(script) as server, connect(server.url, timeout=0) as session:
        assert session.transport == "xhr-polling"
        assert list(session.failures) == ["websocket", "xhr-streaming", "eventsource"]
        assert "did not open within 0." in session.failures["xhr-streaming"]


async def test_a_server_without_websockets_is_not_asked_for_one() -> None:
    async with echo_server(websocket=False) as (url, _, _), connect(url) as session:
        assert session.transport == "xhr-streaming"
        assert session.failures == {"websocket": "the server says in /info that it serves none"}


@pytest.mark.parametrize("missing", [("websocket",), ("websocket", "xhr_streaming"), ("websocket", "eventsource")])
async def test_what_our_server_does_not_serve_is_passed_over(missing: tuple[str, ...]) -> None:
    names = [name for name in ("websocket", "xhr_streaming", "eventsource", "xhr", "xhr_send") if name not in missing]
    async with echo_server(transports=names) as (url, _, _), connect(url) as session:
        assert session.transport == ("eventsource" if "xhr_streaming" in missing else "xhr-streaming")
        await session.send("x")
        assert await session.receive() == "x"


async def test_the_order_of_the_transports_is_the_callers() -> None:
    async with echo_server() as (url, _, _), connect(url, transports=["xhr-polling", "websocket"]) as session:
        assert session.transport == "xhr-polling"


async def test_if_nothing_gets_through_every_reason_is_told() -> None:
    async def script(request: Request) -> None:
        request.answer(status=403)

    async with scripted(script) as server:
        error = await check_failed(server.url)
    assert list(error.failures) == list(TRANSPORTS)
    assert all("403" in failure for failure in error.failures.values())
    assert all(name in str(error) for name in TRANSPORTS)


async def test_a_transport_that_failed_leaves_no_session_open() -> None:
    recording = RecordingHandler(echo=True)

    async def hold_back(request: web.Request, handler: Any) -> Any:
        if request.path.endswith("/xhr_streaming"):
            raise web.HTTPBadGateway
        return await handler(request)

    app = web.Application(middlewares=[web.middleware(hold_back)])
    sockbridge.mount(app, "/echo", recording, allowed_origins="*")
    async with serve(app) as base, connect(f"{base}/echo", transports=["xhr-streaming", "eventsource"]) as session:
        assert session.failures["xhr-streaming"] == "the server answered 502 to /xhr_streaming"
        assert recording.values("on_connected") == ["eventsource"]


# Servers that are none, or bad ones.


@pytest.mark.parametrize(
    "frame",
    [
        b"nonsense\n",
        b"<html>\n<body>\n",
        b"{}\n",
        b"o\no\n",
        b'o\na["x"\n',
        b"o\na" + b"x" * 2000,
        b"o\nc[]\n",
        b"\xff\n",
    ],
)
async def test_nonsense_loses_the_session_or_opens_none(frame: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def script(request: Request) -> None:
        request.begin()
        request.chunk(frame)
        await asyncio.Event().wait()

    async with scripted(script) as server:
        with pytest.raises(sockbridge.errors.ClientError) as caught:
            async with connect(server.url, transports=["xhr-streaming"], max_frame_size=1000) as session:
                await session.receive()
    assert any(text in str(caught.value) for text in ("does not speak SockJS", "max_frame_size", "opened another"))
    assert not caplog.records


async def test_a_refused_port_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = await check_failed(f"http://127.0.0.1:{port}/echo")
    assert f"nothing listens on 127.0.0.1:{port}" in str(error)


async def test_an_unknown_host_says_so() -> None:
    error = await check_failed("http://no.such.host.invalid/echo")
    assert "there is no host no.such.host.invalid" in str(error)


async def test_a_proxy_that_cannot_be_reached_says_so() -> None:
    async with aiohttp.ClientSession(proxy="http://127.0.0.1:9") as http:
        for url in ("http://127.0.0.1:8/echo", "https://127.0.0.1:8/echo"):
            error = await check_failed(url, session=http)
            assert "the proxy at 127.0.0.1:9 cannot be reached" in str(error)


async def test_a_proxy_that_refuses_says_so() -> None:
    async def script(request: Request) -> None:
        request.answer(status=407)

    async with scripted(script, info=None) as server:
        proxy = server.url.removesuffix("/echo")
        async with aiohttp.ClientSession(proxy=proxy) as http:
            for url in ("http://127.0.0.1:8/echo", "https://127.0.0.1:8/echo"):
                assert "407" in str(await check_failed(url, session=http))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """What a TLS server needs, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    key, crt = str(folder / "key.pem"), str(folder / "crt.pem")
    command = [needs("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        [*command, "-keyout", key, "-out", crt, "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(crt, key)
    return context


@pytest.fixture
async def secure_port(certificate: ssl.SSLContext) -> AsyncIterator[int]:
    """Where a SockJS server listens with TLS."""
    app = web.Application()
    sockbridge.mount(app, "/echo", RecordingHandler(echo=True), allowed_origins="*")
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate)
    await site.start()
    yield site.port
    await runner.cleanup()


@pytest.mark.parametrize("by", ["redirect", "base_url"])
async def test_nothing_leads_from_https_to_http(certificate: ssl.SSLContext, by: str) -> None:
    async def info(request: web.Request) -> web.Response:
        if by == "redirect":
            raise web.HTTPFound("http://127.0.0.1:9/echo/info")
        return web.json_response({"websocket": True, "entropy": 1, "base_url": "http://127.0.0.1:9/echo"})

    app = web.Application()
    app.router.add_get("/echo/info", info)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate)
    await site.start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:
        error = await check_failed(f"https://127.0.0.1:{site.port}/echo", session=http)
    assert "where anybody could read along" in str(error)
    await runner.cleanup()


@pytest.mark.parametrize(("scheme", "how"), [("https", {}), ("wss", {"transports": ["websocket-raw"]})])
async def test_a_certificate_that_nobody_vouches_for_says_so(secure_port: int, scheme: str, how: Any) -> None:
    error = await check_failed(f"{scheme}://127.0.0.1:{secure_port}/echo/websocket".removesuffix("/websocket"), **how)
    assert "certificate of 127.0.0.1 is not valid (self-signed certificate)" in str(error)


async def test_plain_http_on_a_tls_port_says_so(secure_port: int) -> None:
    error = await check_failed(f"http://127.0.0.1:{secure_port}/echo")
    assert "does it speak https?" in str(error)


async def test_https_on_a_plain_port_says_so() -> None:
    async with echo_server() as (url, _, _):
        error = await check_failed(url.replace("http:", "https:"))
    assert "TLS failed" in str(error)
    assert "speak https?" in str(error)


@pytest.mark.parametrize("transport", [*TRANSPORTS, "websocket-raw"])
async def test_tls_with_a_connector_that_trusts_works(secure_port: int, transport: str) -> None:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http,
        connect(f"https://127.0.0.1:{secure_port}/echo", session=http, transports=[transport]) as session,
    ):
        await session.send("x")
        assert await session.receive() == "x"


async def test_a_client_session_that_is_closed_says_so() -> None:
    http = aiohttp.ClientSession()
    await http.close()
    assert "is closed" in str(await check_failed("http://127.0.0.1:9/echo", session=http))


async def test_a_server_that_is_none_is_not_asked_for_transports() -> None:
    async def script(request: Request) -> None:
        request.answer(b"<html>")

    async with scripted(script, info=None) as server:
        with pytest.raises(NotSockJS):
            await connect(server.url)
        assert server.names() == ["info"]


# Cancellation.


@pytest.mark.parametrize("where", ["info", "websocket", "o", "xhr_streaming", "xhr"])
async def test_connecting_can_be_cancelled_anywhere(where: str) -> None:
    reached = asyncio.Event()

    async def script(request: Request) -> None:
        if where == "o" and request.name == "websocket":
            request.upgrade()
            request.send_frame(b"", 9)
        elif where != request.name:
            request.answer(INFO if request.name == "info" else b"", status=200)
            return
        reached.set()
        await asyncio.Event().wait()

    async with scripted(script, info=None) as server:
        transport = {"xhr_streaming": "xhr-streaming", "xhr": "xhr-polling"}.get(where, "websocket")

        async def enter() -> None:
            async with connect(server.url, transports=[transport], timeout=GUARD, close_timeout=0.1):
                raise AssertionError("it is not open")

        connecting = asyncio.create_task(enter())
        async with asyncio.timeout(GUARD):
            await reached.wait()
        connecting.cancel()
        await asyncio.wait([connecting])
        assert connecting.cancelled()
        assert client_tasks() == []


# URLs and what goes along.


async def test_credentials_and_headers_go_with_every_request_and_into_no_text() -> None:
    async def script(request: Request) -> None:
        if request.name == "xhr_send":
            request.answer(status=204)
        else:
            stream_server(request)
            await asyncio.Event().wait()

    async with scripted(script) as server:
        url = server.url.replace("http://", "http://ann:secret@") + "?token=hidden"
        async with connect(url, transports=["xhr-streaming"], headers={"X-Y": "z"}) as session:
            await session.send("x")
            await session.flush()
            assert session.url == server.url
            assert "secret" not in repr(session)
    assert {request.headers["authorization"] for request in server.requests} == {"Basic YW5uOnNlY3JldA=="}
    assert {request.headers["x-y"] for request in server.requests} == {"z"}
    assert all("token=hidden" in request.path for request in server.requests)
    error = await check_failed(url)
    assert "secret" not in str(error)
    assert "hidden" not in str(error)


async def test_base_url_leads_elsewhere_and_the_headers_stay_here() -> None:
    async def there(request: Request) -> None:
        stream_server(request)
        await asyncio.Event().wait()

    async with scripted(there) as elsewhere:
        info = b'{"websocket":false,"entropy":1,"base_url":"%b/deep/"}' % elsewhere.url.encode()
        async with (
            scripted(there, info=info) as server,
            connect(server.url, headers={"Authorization": "Bearer secret"}) as session,
        ):
            assert session.transport == "xhr-streaming"
    assert server.names() == ["info"]
    (request,) = elsewhere.requests
    assert request.path.startswith("/echo/deep/")
    assert "authorization" not in request.headers


async def test_a_websocket_url_works_for_sockjs_as_well() -> None:
    async with echo_server() as (url, _, _), connect(url.replace("http:", "ws:")) as session:
        assert session.transport == "websocket"


async def test_an_option_that_is_none_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(InvalidOption):
        connect("http://127.0.0.1:9/echo", transports=["carrier-pigeon"])


# Connecting again.


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_that_restarts_is_found_again(transport: str) -> None:
    class Echo(sockbridge.SessionHandler):
        async def on_message(self, session: sockbridge.Session, message: sockbridge.Message) -> None:
            session.send(message)

    async def start(port: int) -> web.AppRunner:
        app = web.Application()
        sockbridge.mount(app, "/echo", Echo(), allowed_origins="*")
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        return runner

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    runner = await start(port)
    async with asyncio.timeout(4 * GUARD):
        async with connect(
            f"http://127.0.0.1:{port}/echo", transports=[transport], reconnect=Backoff(first=0.01, limit=0.05)
        ) as session:
            await session.send("before")
            assert await session.receive() == "before"
            await runner.cleanup()
            await session.send("between")
            runner = await start(port)
            assert await session.receive() == "between"
            assert session.reconnects == 1
    await runner.cleanup()
