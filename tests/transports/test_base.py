"""What all transports have in common: handlers that fail, limits, methods, a full house, what the logs hold."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from sockbridge.sockjs.framing import Close, Message
from sockbridge.sockjs.session import Session

from ..fakes import RecordingHandler
from .wire import ALL, HTTP, POLLING, SOCKETS, Client, Wire, connected, echo_server, fetch, until

everywhere = pytest.mark.parametrize("name", ALL)

FAILED = Close(1011, "Internal error")


class Failing(RecordingHandler):
    """Calls ``act`` in the callback ``where``."""

    def __init__(self, where: str, act: Callable[[Session], None]) -> None:
        super().__init__()
        self.where = where
        self.act = act

    async def on_connected(self, session: Session) -> None:
        await super().on_connected(session)
        if self.where == "on_connected":
            self.act(session)

    async def on_message(self, session: Session, message: Message) -> None:
        await super().on_message(session, message)
        if self.where == "on_message" and message == "act":
            self.act(session)
        else:
            session.send(message)

    async def on_closed(self, session: Session, close: Close) -> None:
        await super().on_closed(session, close)
        if self.where == "on_closed":
            self.act(session)


def fail(session: Session) -> None:
    raise RuntimeError("the application's own trouble")


def close(session: Session) -> None:
    session.send("before")
    session.close(3456, "enough")
    session.send("after")
    session.close(3457, "again")


def close_frame(name: str, code: int, reason: str) -> str:
    return f"c[{code},{json.dumps(reason)}]"


async def skip_to_close(client: Client) -> str:
    """The first close frame; what comes before it is passed over."""
    while True:
        frame = await client.frame()
        if frame.startswith("c["):
            return frame


# Handlers that fail or close.


@pytest.mark.parametrize("where", ["on_connected", "on_message"])
@everywhere
async def test_a_handler_that_raises_costs_its_own_session_only(
    name: str, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """1011 for the client without a word of the cause; one log line for the operator."""
    async with (
        echo_server(Failing(where, fail), disconnect_delay=0.1) as (url, _, handler),
        connected(url, name) as (client,),
    ):
        if where == "on_message":
            await client.send("act", *(["late"] if name != "websocket-raw" else []))
        assert await skip_to_close(client) == 'c[1011,"Internal error"]'
        assert await handler.wait_for("on_closed") == [FAILED]
        assert handler.names().count("on_message") == (1 if where == "on_message" else 0)
        assert "on_transport_error" not in handler.names()
        if where == "on_message":
            async with connected(url, name) as (other,):
                await other.send("still here")
                assert await other.messages() == ["still here"]
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert errors[0].name == "sockbridge.sockjs"
    assert client.id not in caplog.text


@pytest.mark.parametrize("where", ["on_connected", "on_message"])
@everywhere
async def test_a_close_by_the_handler_comes_after_what_was_sent_before_it(name: str, where: str) -> None:
    """The first close counts; what is sent after it is dropped and counted."""
    async with (
        echo_server(Failing(where, close), disconnect_delay=0.1) as (url, endpoint, handler),
        connected(url, name) as (client,),
    ):
        if where == "on_message":
            await client.send("act")
        assert await client.messages() == ["before"]
        assert await skip_to_close(client) == 'c[3456,"enough"]'
        assert await handler.wait_for("on_closed") == [Close(3456, "enough")]
        await until(lambda: len(endpoint) == 0)
        assert endpoint.counters.undelivered == 1


@everywhere
async def test_a_send_after_the_end_is_dropped_and_a_late_failure_is_logged(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def send_late(session: Session) -> None:
        session.send("too late")
        session.close()
        fail(session)

    async with (
        echo_server(Failing("on_closed", send_late), disconnect_delay=0.1) as (url, endpoint, handler),
        connected(url, name) as (client,),
    ):
        await handler.wait_for("on_connected")
        next(endpoint.sessions).close()
        assert await skip_to_close(client) == 'c[3000,"Go away!"]'
        await until(lambda: len(endpoint) == 0)
        assert endpoint.counters.undelivered == 1
        assert handler.names() == ["on_start", "on_connected", "on_closed"]
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_coroutine_that_ends_or_fails_closes_its_session(caplog: pytest.LogCaptureFixture) -> None:
    async def chat(session: Session) -> None:
        async for message in session:
            if message == "fail":
                fail(session)
            if message == "end":
                return

    async with echo_server(chat) as (url, _, _), connected(url, *ALL, *ALL) as clients:
        for client in clients[: len(ALL)]:
            await client.send("end")
            assert await skip_to_close(client) == 'c[1000,"Normal closure"]'
        assert not caplog.records
        for client in clients[len(ALL) :]:
            await client.send("fail")
            assert await skip_to_close(client) == 'c[1011,"Internal error"]'
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == len(ALL)


# Every transport, whole lives.


@everywhere
async def test_messages_of_every_kind_come_back_in_order(name: str) -> None:
    messages = [
        "",
        "x" * 50_000,
        "100% %20",
        "</script>",
        'quote"back\\slash',
        "\x00\x1f\x7f",
        "ü€😀",
        "\u2028\u200d",
        "[]",
    ]
    async with echo_server() as (url, _, _), connected(url, name) as (client,):
        await client.send(*messages)
        assert await client.messages(len(messages)) == messages


async def test_no_id_of_a_url_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whole lives on every transport, with faults, at every level; aiohttp's access log is the operator's choice."""
    caplog.set_level(logging.DEBUG)
    async with echo_server(disconnect_delay=0.1, max_message_size=1000) as (url, endpoint, handler):
        ids = []
        for name in ALL:
            goodbye, cut, big, broken = clients = [await Client(url, name).connect() for _ in range(4)]
            ids += [client.id for client in clients]
            await goodbye.send("hello")
            await goodbye.messages()
            if name in HTTP:
                intruder = Client(url, "xhr", id=cut.id)
                await intruder.begin()
                await intruder.frame()
                await intruder.close()
                await big.post(b"x" * 2000)
                await broken.post(b"broken")
                await Client(url, name, id="secret-unknown").post(b'["x"]')
                await fetch(f"{url}/000/{goodbye.id}/nonsense")
                await fetch(f"{url}/000/{goodbye.id}/{name}", "PUT")
            else:
                big.wire.send_frame(b"x" * 2000)
                broken.wire.send_frame(b"broken \xff")
            cut.wire.reset()
            for session in endpoint.sessions:
                session.close()
            for client in clients:
                await client.close()
        await until(lambda: len(endpoint) == 0)
        assert handler.names().count("on_connected") == handler.names().count("on_closed") == 4 * len(ALL)
    text = "\n".join(record.getMessage() + repr(record.args) + (record.exc_text or "") for record in caplog.records)
    assert "sockbridge" in {record.name.split(".")[0] for record in caplog.records}
    assert not [id for id in [*ids, "secret-unknown"] if id in text]


# A full house.


@pytest.mark.parametrize("name", ALL)
async def test_above_max_sessions_new_clients_are_answered_503(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """With CORS headers, so that the page sees why; those who are there stay."""
    async with echo_server(max_sessions=3, disconnect_delay=0.1) as (url, endpoint, _):
        async with connected(url, "xhr", "websocket", "eventsource") as clients:
            late = Client(url, name, headers={"Origin": "https://a.example"})
            await late.begin()
            head = late.wire.head if name not in POLLING else await late.wire.read_head()
            assert head is not None
            assert head.status == 503
            assert int(head.headers["Retry-After"]) > 0
            assert head.headers["Access-Control-Allow-Origin"] == "https://a.example"
            await late.close()
            assert endpoint.counters.refused == 1
            assert len(endpoint) == 3
            for client in clients:
                await client.send("still here")
                assert await client.messages() == ["still here"]
        await until(lambda: len(endpoint) == 0)
        async with connected(url, name):
            assert len(endpoint) == 1


# Methods and paths.


METHODS: dict[str, str] = {
    "xhr": "POST, OPTIONS",
    "xhr_send": "POST, OPTIONS",
    "xhr_streaming": "POST, OPTIONS",
    "eventsource": "GET, OPTIONS",
    "htmlfile": "GET",
    "jsonp": "GET",
    "jsonp_send": "POST",
    "websocket": "GET",
}


@pytest.mark.parametrize("name", METHODS)
async def test_other_methods_are_answered_405_with_what_is_allowed(name: str) -> None:
    async with echo_server() as (url, endpoint, _):
        for method in {"GET", "POST", "PUT", "DELETE", "OPTIONS"} - set(METHODS[name].split(", ")):
            head, body = await fetch(f"{url}/000/x/{name}?c=x", method)
            assert (head.status, head.headers["Allow"], body) == (405, METHODS[name], b"")
            assert "Content-Type" not in head.headers
        assert len(endpoint) == 0


@pytest.mark.parametrize(
    "path",
    [
        "/a",
        "/a.html",
        "//",
        "///",
        "/a/a",
        "/a/a/",
        "//x/xhr",
        "/0//xhr",
        "/0/a.b/xhr",
        "/a.b/0/xhr",
        "/0/x/xhr/",
        "/0/x/nothing",
    ],
)
async def test_unknown_paths_are_404_for_every_method(path: str) -> None:
    async with echo_server() as (url, _, _):
        for method in ("GET", "POST"):
            head, _ = await fetch(url + path, method)
            assert head.status == 404


async def test_an_id_may_be_percent_encoded() -> None:
    async with echo_server() as (url, _, _):
        client = await Client(url, "xhr", id="abc%20d%2Fe").connect()
        await client.send("x")
        assert await client.messages() == ["x"]
        await client.close()


async def test_the_server_segment_takes_no_part_in_the_look_up() -> None:
    async with echo_server() as (url, _, _), connected(url, "xhr") as (client,):
        head, _ = await fetch(f"{url}/999/{client.id}/xhr_send", "POST", b'["x"]')
        assert head.status == 204
        assert await client.messages() == ["x"]


@pytest.mark.parametrize("name", ["htmlfile", "jsonp"])
@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "required"),
        ("?c=", "required"),
        ("?c=abc(", "invalid"),
        ("?c=abc%28", "invalid"),
        ("?c=%20", "invalid"),
        ("?c=a%0Ab", "invalid"),
        ("?c=" + "x" * 33, "invalid"),
    ],
)
async def test_a_callback_that_could_break_out_opens_no_session(name: str, query: str, text: str) -> None:
    async with echo_server() as (url, endpoint, _):
        head, body = await fetch(f"{url}/000/x/{name}{query}")
        assert head.status == 500
        assert text in body.decode()
        assert len(endpoint) == 0


# Requests that are cancelled, where a server is run with ``handler_cancellation=True``.


@pytest.mark.parametrize("name", ALL)
async def test_a_cancelled_request_interrupts_its_session(name: str) -> None:
    from aiohttp import web

    import sockbridge

    handler = RecordingHandler()
    app = web.Application()
    endpoint = sockbridge.mount(app, "/echo", handler, allowed_origins="*", disconnect_delay=0.1)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        client = await Client(f"http://127.0.0.1:{site.port}/echo", name).connect()
        await handler.wait_for("on_connected")
        await until(lambda: all(session.receiver is not None for session in endpoint.sessions))
        client.wire.reset()
        assert await handler.wait_for("on_closed") == [Close(1002, "Connection interrupted", clean=False)]
        await until(lambda: len(endpoint) == 0)
        await client.close()
    finally:
        await runner.cleanup()


async def test_a_burst_of_clients_of_all_kinds_at_once_is_served() -> None:
    """Two hundred, in parallel."""

    async def talk(url: str, name: str) -> None:
        async with connected(url, name) as (client,):
            await client.send("hello")
            assert await client.messages() == ["hello"]

    async with echo_server(disconnect_delay=0.1) as (url, endpoint, handler):
        tasks: list[Any] = [talk(url, name) for name in ALL for _ in range(200 // len(ALL))]
        await asyncio.gather(*tasks)
        await until(lambda: len(endpoint) == 0)
        assert handler.names().count("on_closed") == len(tasks)


@pytest.mark.parametrize("name", SOCKETS)
async def test_an_upgrade_without_its_key_is_answered_400(name: str) -> None:
    async with echo_server() as (url, _, _):
        wire = await Wire.open(url)
        path = "/echo/websocket" if name == "websocket-raw" else "/echo/000/x/websocket"
        wire.request("GET", path, headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        assert (await wire.read_head()).status == 400
        await wire.close()
