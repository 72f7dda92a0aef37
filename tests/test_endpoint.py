"""Endpoints in applications of every shape: several, nested, beside routes and middlewares; options and handlers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

import sockbridge
from sockbridge import InvalidOption, UsageError
from sockbridge.sockjs.framing import Close, Message
from sockbridge.sockjs.session import Session
from sockbridge.transports.compiled_reader import choose_reader

from .fakes import RecordingHandler, serve
from .transports.wire import ALL, HTTP, SOCKETS, Client, Wire, connected, fetch, until

GREETING = web.AppKey("greeting", str)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(prefix: str = "/echo", handler: Any = None, **options: Any) -> tuple[web.Application, Any, Any]:
    """``(app, endpoint, handler)``."""
    app = web.Application()
    handler = handler or RecordingHandler(echo=True)
    return app, sockbridge.mount(app, prefix, handler, **{"allowed_origins": "*", **options}), handler


# Shapes of applications.


async def test_a_raw_websocket_alone_is_not_offered_to_sockjs_clients() -> None:
    """They would ask for ``/{server}/{session}/websocket``, which is not there."""
    app, _, _ = make_app("/echo", transports=["websocket-raw", "xhr", "xhr_send"])
    async with serve(app) as base:
        assert json.loads((await fetch(f"{base}/echo/info"))[1])["websocket"] is False


async def test_endpoints_of_one_application_know_nothing_of_each_other() -> None:
    """An id of one is unknown to the other; each has its handler, options and counters."""
    app, one, first = make_app("/one")
    second = RecordingHandler(echo=True)
    two = sockbridge.mount(app, "/two", second, allowed_origins="*", websocket=False)
    async with serve(app) as base, connected(f"{base}/one", "xhr") as (client,):
        stranger = Client(f"{base}/two", "xhr", id=client.id)
        assert (await stranger.post(b'["x"]'))[0].status == 404
        await stranger.connect()
        assert len(one) == len(two) == 1
        await stranger.send("to two")
        assert await stranger.messages() == ["to two"]
        assert first.values("on_message") == []
        assert second.values("on_message") == ["to two"]
        assert one.broadcast("for one") == 1
        assert await client.messages() == ["for one"]
        for prefix, offered in (("/one", True), ("/two", False)):
            _, info = await fetch(f"{base}{prefix}/info")
            assert json.loads(info)["websocket"] is offered
        assert (await fetch(f"{base}/two/websocket"))[0].status == 404
        assert (await fetch(f"{base}/two/000/x/websocket"))[0].status == 404
        assert (await fetch(f"{base}/two", headers={"Upgrade": "websocket", "Connection": "Upgrade"}))[0].status == 200
        await stranger.close()


@pytest.mark.parametrize("name", ALL)
async def test_an_endpoint_works_inside_a_sub_application_of_a_sub_application(name: str) -> None:
    inner, endpoint, handler = make_app("/echo")
    inner[GREETING] = "hello"
    middle, outer = web.Application(), web.Application()
    middle.add_subapp("/inner", inner)
    outer.add_subapp("/middle", middle)
    async with serve(outer) as base, connected(f"{base}/middle/inner/echo", name) as (client,):
        assert endpoint.prefix == "/middle/inner/echo"
        await client.send("x")
        assert await client.messages() == ["x"]
        assert next(endpoint.sessions).handshake.app[GREETING] == "hello"
        assert (await fetch(f"{base}/echo"))[0].status == 404
        assert (await fetch(f"{base}/middle/inner/echo/"))[1] == b"Welcome to SockJS!\n"
    assert handler.names()[0] == "on_start"
    assert handler.names()[-1] == "on_stop"


async def test_the_user_s_routes_under_the_same_prefix_stay_reachable() -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text=f"page {request.match_info.get('name', '')}")

    app = web.Application()
    app.router.add_get("/echo/about", page)
    sockbridge.mount(app, "/echo", RecordingHandler(echo=True), allowed_origins="*")
    app.router.add_get("/echo/pages/{name}", page)
    app.router.add_get("/echoes", page)
    app.router.add_get("/", page)
    async with serve(app) as base:
        for path in ("/echo/about", "/echo/pages/x", "/echoes", "/"):
            head, body = await fetch(base + path)
            assert head.status == 200, path
            assert body.startswith(b"page")
        assert (await fetch(f"{base}/echo/nothing"))[0].status == 404
        assert (await fetch(f"{base}/echo"))[1] == b"Welcome to SockJS!\n"
        async with connected(f"{base}/echo", *ALL) as clients:
            for client in clients:
                await client.send("x")
                assert await client.messages() == ["x"]


@pytest.mark.parametrize("prefix", ["", "/"])
async def test_the_root_may_be_mounted(prefix: str) -> None:
    app, endpoint, _ = make_app(prefix)
    async with serve(app) as base:
        assert (await fetch(f"{base}/"))[1] == b"Welcome to SockJS!\n"
        assert endpoint.prefix == ""
        async with connected(base, "xhr", "websocket", "websocket-raw") as clients:
            for client in clients:
                await client.send("x")
                assert await client.messages() == ["x"]


@pytest.mark.parametrize("prefix", ["/echo/", "/a/b.c/d-e", "/ü"])
async def test_prefixes_may_be_deep_and_end_with_a_slash(prefix: str) -> None:
    app, endpoint, _ = make_app(prefix)
    async with serve(app) as base:
        url = base + quote(endpoint.prefix)
        assert (await fetch(f"{url}/info"))[0].status == 200
        async with connected(url, "xhr") as (client,):
            await client.send("x")
            assert await client.messages() == ["x"]


async def test_middlewares_see_every_request() -> None:
    """And may add to what a plain answer carries; a refusal of theirs is final."""
    seen = []

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen.append((request.method, request.path.rpartition("/")[2]))
        if "X-Forbidden" in request.headers:
            raise web.HTTPUnauthorized
        response = await handler(request)
        if not response.prepared:
            response.headers["X-Seen"] = "yes"
        return response

    app = web.Application(middlewares=[watch])
    endpoint = sockbridge.mount(app, "/echo", RecordingHandler(echo=True), allowed_origins="*")
    async with serve(app) as base, connected(f"{base}/echo", *ALL) as clients:
        for client in clients:
            await client.send("x")
            assert await client.messages() == ["x"]
        for path in ("", "/", "/info", "/iframe.html", "/000/x/xhr_send"):
            head, _ = await fetch(f"{base}/echo{path}")
            assert head.headers["X-Seen"] == "yes"
        assert {name for _, name in seen} >= {*HTTP, "websocket", "info", "iframe.html", "xhr_send"}
        count = len(endpoint)
        for name in (*HTTP, "xhr_send", "websocket"):
            method = "GET" if name in ("eventsource", "htmlfile", "jsonp", "websocket") else "POST"
            head, _ = await fetch(f"{base}/echo/000/new/{name}?c=x", method, headers={"X-Forbidden": "1"})
            assert head.status == 401
        assert len(endpoint) == count


async def test_a_middleware_s_headers_may_be_set_when_an_answer_is_prepared() -> None:
    """aiohttp's ``on_response_prepare`` reaches streams and handshakes as well."""
    app, _, _ = make_app()

    async def sign(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Signed"] = "yes"

    app.on_response_prepare.append(sign)
    async with serve(app) as base, connected(f"{base}/echo", "xhr_streaming", *SOCKETS) as clients:
        for client in clients:
            assert client.wire.head is not None
            assert client.wire.head.headers["X-Signed"] == "yes"


async def test_the_application_s_router_can_list_the_endpoint() -> None:
    app, _, _ = make_app()
    (resource,) = app.router.resources()
    assert resource.canonical == "/echo"
    assert str(resource.url_for()) == "/echo"
    assert resource.get_info() == {"prefix": "/echo"}
    assert len(list(resource)) == len(resource) > len(ALL)  # type: ignore[arg-type]  # a resource has a length


# What mount refuses.


@pytest.mark.parametrize("prefix", ["echo", "/a b", "/a{b}", "/a?b", "/a#b"])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidOption, match="a prefix starts with /"):
        make_app(prefix)


@pytest.mark.parametrize(
    ("transports", "text"),
    [
        (["xhr", "carrier-pigeon"], "or one of websocket, websocket-raw, xhr_streaming"),
        (["xhr", "xhr"], "two transports are called 'xhr'"),
        ("xhr", "a list of classes or names"),
        (5, "a list of classes or names"),
        ([], "nobody could connect"),
        ([RecordingHandler], "a transport is a Transport class"),
    ],
)
def test_transports_that_are_none_are_refused(transports: Any, text: str) -> None:
    with pytest.raises(InvalidOption, match=text):
        make_app(transports=transports)


def test_an_unknown_option_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(
        InvalidOption, match=r"no option heartbeat, did you mean heartbeat_delay\?; there are: .*on_overflow"
    ):
        make_app(heartbeat=5)


def test_a_bad_value_is_refused_at_mount() -> None:
    with pytest.raises(InvalidOption, match="disconnect_delay is more than 0 seconds"):
        make_app(disconnect_delay=-1)


@pytest.mark.parametrize("handler", [None, 5, "chat", lambda session: None, int, dict])
def test_a_handler_that_is_none_is_refused(handler: Any) -> None:
    with pytest.raises(UsageError, match="the handler is a SessionHandler, a class of one, or a coroutine function"):
        sockbridge.mount(web.Application(), "/echo", handler)


async def test_transports_may_be_chosen_by_name() -> None:
    app, _, _ = make_app(transports=["xhr", "xhr_send"])
    async with serve(app) as base, connected(f"{base}/echo", "xhr") as (client,):
        await client.send("x")
        assert await client.messages() == ["x"]
        assert (await fetch(f"{base}/echo/000/x/eventsource"))[0].status == 404
        assert json.loads((await fetch(f"{base}/echo/info"))[1])["websocket"] is False


# Handlers.


async def echo(session: Session) -> None:
    async for message in session:
        session.send(message)


class Caller:
    """An instance whose call is a coroutine."""

    async def __call__(self, session: Session) -> None:
        await echo(session)


class Counting(RecordingHandler):
    """One per session."""

    made: list[Counting] = []  # noqa: RUF012  # of the test below

    def __init__(self) -> None:
        super().__init__(echo=True)
        self.made.append(self)


@pytest.mark.parametrize("handler", [RecordingHandler(echo=True), Counting, echo, Caller()])
async def test_a_handler_may_be_an_instance_a_class_or_a_coroutine(handler: Any) -> None:
    app, _, _ = make_app(handler=handler)
    async with serve(app) as base, connected(f"{base}/echo", *ALL) as clients:
        for client in clients:
            await client.send("one", "two") if client.name != "websocket-raw" else await client.send("one")
            assert (await client.messages())[0] == "one"


async def test_a_class_gives_each_session_a_handler_of_its_own() -> None:
    """Without ``on_start`` and ``on_stop``, which belong to the endpoint."""
    Counting.made.clear()
    app, _, _ = make_app(handler=Counting)
    async with serve(app) as base, connected(f"{base}/echo", *ALL):
        await until(lambda: len(Counting.made) == len(ALL))
    assert {tuple(handler.names()) for handler in Counting.made} == {("on_connected", "on_closed")} or {
        tuple(handler.names()) for handler in Counting.made
    } <= {("on_connected", "on_closed"), ("on_connected", "on_transport_error", "on_closed")}


async def test_a_coroutine_iterates_until_its_client_leaves() -> None:
    ended: asyncio.Queue[list[Message]] = asyncio.Queue()

    async def collect(session: Session) -> None:
        ended.put_nowait([message async for message in session])

    app, _, _ = make_app(handler=collect)
    async with serve(app) as base:
        async with connected(f"{base}/echo", "websocket") as (client,):
            await client.send("one", "two", "three")
        async with asyncio.timeout(5):
            assert await ended.get() == ["one", "two", "three"]


async def test_on_start_runs_before_the_first_session_and_on_stop_after_the_last_end() -> None:
    app, endpoint, handler = make_app()
    async with serve(app) as base:
        assert handler.names() == ["on_start"]
        client = await Client(f"{base}/echo", "websocket").connect()
        await handler.wait_for("on_connected")
    assert handler.names() == ["on_start", "on_connected", "on_closed", "on_stop"]
    assert handler.values("on_closed") == [Close(1001, "Server is shutting down")]
    assert len(endpoint) == 0
    await client.close()


async def test_an_endpoint_may_be_closed_alone() -> None:
    app, one, first = make_app("/one")
    two = sockbridge.mount(app, "/two", RecordingHandler(echo=True), allowed_origins="*")
    async with (
        serve(app) as base,
        connected(f"{base}/one", "eventsource") as (client,),
        connected(f"{base}/two", "eventsource") as (other,),
    ):
        await first.wait_for("on_connected")
        await one.close()
        assert await client.frame() == 'c[1001,"Server is shutting down"]'
        assert first.names() == ["on_start", "on_connected", "on_closed", "on_stop"]
        late = Client(f"{base}/one", "eventsource")
        head = await late.begin()
        assert head is not None
        assert head.status == 503
        await late.close()
        await other.send("still here")
        assert await other.messages() == ["still here"]
        assert len(two) == 1


# Broadcast.


async def test_a_broadcast_reaches_every_transport_in_its_own_words() -> None:
    app, endpoint, handler = make_app()
    async with serve(app) as base, connected(f"{base}/echo", *ALL) as clients:
        await handler.wait_for("on_connected", len(ALL))
        assert endpoint.broadcast("fünf % </script>") == len(ALL)
        for client in clients:
            assert await client.messages() == ["fünf % </script>"]


async def test_a_broadcast_may_go_to_some() -> None:
    app, endpoint, handler = make_app()
    async with serve(app) as base, connected(f"{base}/echo", *SOCKETS) as (framed, raw):
        await handler.wait_for("on_connected", 2)
        chosen = [session for session in endpoint.sessions if session.transport == "websocket-raw"]
        assert endpoint.broadcast(b"bytes", chosen) == 1
        assert await raw.messages() == ["bytes"]
        with pytest.raises(TypeError):
            endpoint.broadcast(b"bytes")
        assert endpoint.broadcast("text") == 2
        assert await framed.messages() == ["text"]
        assert await raw.messages() == ["text"]


async def test_the_counters_tell_what_happened() -> None:
    app, endpoint, handler = make_app(max_sessions=2, disconnect_delay=0.1)
    async with serve(app) as base:
        async with connected(f"{base}/echo", "xhr", "websocket") as (poll, socket):
            await handler.wait_for("on_connected", 2)
            head, _ = await fetch(f"{base}/echo/000/x/xhr", "POST")
            assert head.status == 503
            socket.wire.reset()
            await handler.wait_for("on_transport_error")
            for session in endpoint.sessions:
                session.close()
            assert (await poll.frame()).startswith("c[3000")
        await until(lambda: len(endpoint) == 0)
    counters = endpoint.counters
    assert (counters.opened, counters.closed, counters.cut, counters.refused) == (2, 1, 1, 1)


def test_an_endpoint_tells_what_reads_its_websocket_frames() -> None:
    assert make_app(websocket_reader="python")[1].websocket_reader == "python"
    assert make_app()[1].websocket_reader == choose_reader("auto")[1]
    for name in SOCKETS:
        assert make_app(transports=[name], websocket_reader="python")[1].websocket_reader == "python"


def test_an_endpoint_without_websockets_reads_no_frames() -> None:
    assert make_app(websocket=False)[1].websocket_reader == ""
    assert make_app(transports=["xhr"])[1].websocket_reader == ""


def test_another_reader_is_refused_at_mount() -> None:
    with pytest.raises(InvalidOption, match="websocket_reader is one of"):
        make_app(websocket_reader="compiled")


async def test_requests_in_a_row_on_one_connection_are_served() -> None:
    """Keep-alive, over several URLs."""
    app, _, _ = make_app()
    async with serve(app) as base:
        wire = await Wire.open(base)
        for path, status in (("/echo", 200), ("/echo/info", 200), ("/echo/x", 404), ("/echo/iframe.html", 200)):
            wire.request("GET", path)
            assert (await wire.read_head()).status == status
            await wire.read_body()
        await wire.close()


async def test_two_endpoints_under_one_prefix_are_refused() -> None:
    """The second would never be asked."""
    app, _, _ = make_app("/echo")
    with pytest.raises(InvalidOption, match="'/echo' already"):
        sockbridge.mount(app, "/echo/", RecordingHandler())


class Plain(sockbridge.SessionHandler):
    def on_message(self, session: Session, message: Message) -> None:  # type: ignore[override]
        """Not async."""


class Short(sockbridge.SessionHandler):
    async def on_message(self, message: Message) -> None:  # type: ignore[override]
        """Without the session."""


async def no_arguments() -> None:
    """Takes no session."""


@pytest.mark.parametrize(
    ("handler", "wanted"),
    [
        (Plain, r"async def on_message\(self, session, message\)"),
        (Plain(), r"async def on_message\(session, message\)"),
        (Short, r"async def on_message\(self, session, message\): too many"),
        (Short(), r"async def on_message\(session, message\): too many"),
        (no_arguments, r"async def no_arguments\(session\): too many"),
    ],
)
def test_a_callback_of_another_shape_is_refused_at_mount(handler: Any, wanted: str) -> None:
    """Not at the first client."""
    with pytest.raises(UsageError, match=wanted):
        make_app(handler=handler)


async def test_sending_from_another_thread_is_told_what_to_do() -> None:
    """And does the session no harm."""
    app, endpoint, handler = make_app()
    async with serve(app) as base, connected(f"{base}/echo", "websocket") as (client,):
        await handler.wait_for("on_connected")
        (session,) = endpoint.sessions
        with pytest.raises(UsageError, match="call_soon_threadsafe"):
            await asyncio.to_thread(session.send, "stray")
        session.close(3001, "bye")
        await handler.wait_for("on_closed")
        assert await client.frame() in ('a["stray"]', 'c[3001,"bye"]')


async def test_mounting_too_late_is_told_what_to_do() -> None:
    app, _, _ = make_app()
    async with serve(app):
        with pytest.raises(UsageError, match="before the application starts"):
            sockbridge.mount(app, "/late", RecordingHandler())
    sub = web.Application()
    web.Application().add_subapp("/sub", sub)
    with pytest.raises(UsageError, match="before add_subapp"):
        sockbridge.mount(sub, "/late", RecordingHandler())


def test_a_misspelt_callback_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Chat(sockbridge.SessionHandler):
        async def on_open(self, session: Session) -> None:
            """Of another package."""

    make_app(handler=Chat)
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == ["Chat.on_open is never called"]


def test_a_handler_class_that_wants_arguments_is_refused() -> None:
    class Chat(sockbridge.SessionHandler):
        def __init__(self, database: object) -> None:
            """One for all sessions is passed as an instance."""

    with pytest.raises(UsageError, match=r"pass Chat\(\.\.\.\) to have one for all sessions"):
        make_app(handler=Chat)
    make_app(handler=Chat(None))


def test_a_misspelt_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(InvalidOption, match="heartbeat_dealy, did you mean heartbeat_delay"):
        make_app(heartbeat_dealy=1)
    with pytest.raises(InvalidOption, match="stands alone"):
        make_app(allowed_origins=["*"])
