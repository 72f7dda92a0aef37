"""Where the package ``sockjs`` is at fault, or knows no limit, ours differs on purpose. Each test shows both.

docs/compat.md has a row for each of these tests.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
import sockjs as theirs
from aiohttp import web

import sockbridge
import sockbridge.compat.sockjs as ours
from tests.transports.wire import BINARY, STREAMING, Client, fetch, until

from .stage import FOREIGN_WARNINGS, Record, leave, play, serving

pytestmark = FOREIGN_WARNINGS

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "compat.md"

Handle = Callable[[Any, Any, Any, Any], Awaitable[None]]


def app_of(handle: Handle | None = None, **arguments: Any) -> Callable[[Any, Any], web.Application]:
    """An application with one endpoint; ``handle`` gets the module, and what a handler gets."""

    def make_app(sockjs: Any, note: Any) -> web.Application:
        async def handler(manager: Any, session: Any, msg: Any) -> None:
            note(session, msg)
            if handle is not None:
                await handle(sockjs, manager, session, msg)

        app = web.Application()
        sockjs.add_endpoint(app, handler, name="it", prefix="/it", **arguments)
        return app

    return make_app


async def echo(sockjs: Any, manager: Any, session: Any, msg: Any) -> None:
    if msg.type == sockjs.MsgType.MESSAGE:
        session.send(msg.data)


async def farewell(sockjs: Any, manager: Any, session: Any, msg: Any) -> None:
    if msg.type == sockjs.MsgType.OPEN:
        session.send("last words")
        session.close(4001, "Bye")


# What handlers are told.


@pytest.mark.parametrize("name", STREAMING)
async def test_a_client_that_is_cut_off_is_noticed_at_once(name: str) -> None:
    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/it", name).connect()
        await client.close()
        other = await Client(f"{base}/it", "xhr_streaming").connect()
        await other.send("a round trip")
        await other.messages()
        record.seen.append([kind for kind, _ in record.told[0]])
        await other.close()

    assert (await play(app_of(echo), theirs, scene)).seen == [["OPEN"]]
    assert (await play(app_of(echo), ours, scene)).seen == [["OPEN", "CLOSE", "CLOSED"]]


async def test_closed_follows_close_without_a_delay() -> None:
    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/it", "websocket").connect()
        await leave(client)
        await until(lambda: len(record.told[0]) >= 2)
        await fetch(f"{base}/it/info")
        record.seen += [kind for kind, _ in record.told[0]]

    assert (await play(app_of(), theirs, scene)).seen == ["OPEN", "CLOSE"]
    assert (await play(app_of(), ours, scene)).seen == ["OPEN", "CLOSE", "CLOSED"]


async def test_a_client_that_stays_away_is_given_up() -> None:
    apps: list[web.Application] = []

    def make_app(sockjs: Any, note: Any) -> web.Application:
        apps.append(app_of(disconnect_delay=0.1)(sockjs, note))
        return apps[-1]

    async def scene(base: str, record: Record) -> None:
        client = Client(f"{base}/it", "xhr")
        await client.begin()
        assert await client.frame() == "o"
        if len(apps) == 1:
            session = theirs.get_manager("it", apps[0]).get(client.id)
            record.seen.append((session.acquired, session.expires))
        else:
            await record.wait_for("OPEN", "CLOSE", "CLOSED")
        await client.close()

    assert (await play(make_app, theirs, scene)).seen == [(False, None)]  # nobody carries it, and it never expires
    told = (await play(make_app, ours, scene)).told
    assert told == [[("OPEN", None), ("CLOSE", None), ("CLOSED", None)]]


async def test_messages_after_the_close_do_not_reach_the_handler() -> None:
    async def scene(base: str, record: Record) -> None:
        client = Client(f"{base}/it", "xhr_streaming")
        await client.begin()
        assert await client.frame() == "o"
        await client.send("too late")
        await client.close()

    told = (await play(app_of(farewell), theirs, scene)).told
    assert told == [[("OPEN", None), ("MESSAGE", "too late"), ("CLOSED", None)]]
    assert (await play(app_of(farewell), ours, scene)).told == [[("OPEN", None), ("CLOSED", None)]]


@pytest.mark.parametrize(("body", "heard"), [(b'"abc"', ["a", "b", "c"]), (b'["x",1]', ["x", 1]), (b'{"k":1}', ["k"])])
async def test_a_body_of_another_shape_is_refused(body: bytes, heard: list[object]) -> None:
    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/it", "xhr_streaming").connect()
        record.seen.append((await client.post(body))[0].status)
        record.seen.append([value for kind, value in record.told[0] if kind == "MESSAGE"])
        await client.close()

    assert (await play(app_of(), theirs, scene)).seen == [204, heard]
    assert (await play(app_of(), ours, scene)).seen == [500, []]


async def test_a_second_receiver_does_not_end_the_session() -> None:
    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/it", "xhr_streaming").connect()
        intruder = Client(f"{base}/it", "xhr", id=client.id)
        await intruder.begin()
        record.seen.append(await intruder.frame())
        record.seen.append([kind for kind, _ in record.told[0]])
        await intruder.close()
        await client.close()

    busy = 'c[2010,"Another connection still open"]'
    assert (await play(app_of(echo), theirs, scene)).seen == [busy, ["OPEN", "CLOSE"]]
    assert (await play(app_of(echo), ours, scene)).seen == [busy, ["OPEN"]]


async def test_the_calls_of_a_session_do_not_overlap() -> None:
    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/it", "xhr_streaming").connect()
        first = asyncio.create_task(client.send("first"))
        await until(lambda: ("MESSAGE", "first") in record.told[0])
        second = asyncio.create_task(client.send("second"))
        await fetch(f"{base}/it/info")
        await fetch(f"{base}/it/info")
        record.seen.append(("MESSAGE", "second") in record.told[0])
        gate.set()
        await asyncio.gather(first, second)
        await record.wait_for("OPEN", "MESSAGE", "MESSAGE")
        await client.close()

    async def wait(sockjs: Any, manager: Any, session: Any, msg: Any) -> None:
        if msg.type == sockjs.MsgType.MESSAGE:
            await gate.wait()

    gate = asyncio.Event()
    assert (await play(app_of(wait), theirs, scene)).seen == [True]
    gate.clear()
    assert (await play(app_of(wait), ours, scene)).seen == [False]


async def test_a_slow_open_does_not_keep_the_client_from_opening() -> None:
    async def scene(base: str, record: Record) -> None:
        client = Client(f"{base}/it", "xhr_streaming")
        await client.begin()
        opened = asyncio.create_task(client.frame())
        await fetch(f"{base}/it/info")
        await fetch(f"{base}/it/info")
        record.seen.append(opened.done())
        gate.set()
        assert await opened == "o"
        await client.close()

    async def wait(sockjs: Any, manager: Any, session: Any, msg: Any) -> None:
        if msg.type == sockjs.MsgType.OPEN:
            await gate.wait()

    gate = asyncio.Event()
    assert (await play(app_of(wait), theirs, scene)).seen == [False]
    gate.clear()
    assert (await play(app_of(wait), ours, scene)).seen == [True]


async def test_the_request_is_there_between_two_polls() -> None:
    async def look(sockjs: Any, manager: Any, session: Any, msg: Any) -> None:
        if msg.type == sockjs.MsgType.MESSAGE:
            session.send("-" if session.request is None else session.request.path.rpartition("/")[2])

    async def scene(base: str, record: Record) -> None:
        client = Client(f"{base}/it", "xhr")
        await client.begin()
        assert await client.frame() == "o"
        await client.send("who?")
        record.seen += await client.messages()
        await client.close()

    assert (await play(app_of(look), theirs, scene)).seen == ["-"]
    assert (await play(app_of(look), ours, scene)).seen == ["xhr"]


# What clients see.


@pytest.mark.parametrize("name", ["xhr", "jsonp"])
async def test_polls_get_the_last_words_and_the_code(name: str) -> None:
    async def scene(base: str, record: Record) -> None:
        client = Client(f"{base}/it", name)
        await client.begin()
        record.seen += [await client.frame(), await client.frame()]
        if record.seen[1].startswith("a"):
            record.seen.append(await client.frame())
        await client.close()

    assert (await play(app_of(farewell), theirs, scene)).seen == ["o", 'c[3000,"Go away!"]']
    assert (await play(app_of(farewell), ours, scene)).seen == ["o", 'a["last words"]', 'c[4001,"Bye"]']


async def test_a_broadcast_is_not_quoted_on_a_raw_websocket() -> None:
    async def tell(sockjs: Any, manager: Any, session: Any, msg: Any) -> None:
        if msg.type == sockjs.MsgType.OPEN:
            manager.broadcast('say "hi"')

    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/it", "websocket-raw").connect()
        record.seen += await client.messages()
        await client.close()

    assert (await play(app_of(tell), theirs, scene)).seen == ['"say \\"hi\\""']
    assert (await play(app_of(tell), ours, scene)).seen == ['say "hi"']


async def test_an_empty_message_on_a_raw_websocket_is_one_and_a_binary_one_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/it", "websocket-raw").connect()
        client.wire.send_frame(b"\x00\x01", BINARY)
        await client.send("", "x")
        await until(lambda: ("MESSAGE", "x") in record.told[0])
        record.seen += [value for kind, value in record.told[0] if kind == "MESSAGE"]
        await client.close()

    assert (await play(app_of(), theirs, scene)).seen == ["x"]
    assert "binary" not in caplog.text
    assert (await play(app_of(), ours, scene)).seen == ["", "x"]
    assert "a binary message of 2 bytes was dropped" in caplog.text


async def test_no_message_ends_the_script_of_an_htmlfile_answer() -> None:
    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/it", "htmlfile").connect()
        await client.send("</script><script>alert(1)</script>")
        record.seen.append((await client.wire.read_chunk()).count(b"</script>"))
        await client.close()

    assert (await play(app_of(echo), theirs, scene)).seen == [3]
    assert (await play(app_of(echo), ours, scene)).seen == [1]


async def test_pages_of_other_origins_are_refused_until_they_are_named() -> None:
    page = {"Origin": "https://page.example"}

    async def scene(base: str, record: Record) -> None:
        head, _ = await fetch(f"{base}/it/info", headers=page)
        record.seen.append((head.status, head.headers.get("Access-Control-Allow-Origin")))
        async with aiohttp.ClientSession() as session:
            try:
                async with session.ws_connect(f"{base}/it/000/any/websocket", headers=page):
                    record.seen.append("connected")
            except aiohttp.WSServerHandshakeError as error:
                record.seen.append(error.status)

    assert (await play(app_of(), theirs, scene)).seen == [(200, None), "connected"]
    assert (await play(app_of(allowed_origins=None), ours, scene)).seen == [(403, None), 403]
    named = app_of(allowed_origins=[page["Origin"]])
    assert (await play(named, ours, scene)).seen == [(200, page["Origin"]), "connected"]


async def test_a_wrong_method_opens_no_session() -> None:
    async def scene(base: str, record: Record) -> None:
        record.seen += [(await fetch(f"{base}/it/000/x{method}/xhr", method))[0].status for method in ("PUT", "GET")]
        record.seen.append(len(record.told))

    assert (await play(app_of(), theirs, scene)).seen == [200, 200, 2]
    assert (await play(app_of(), ours, scene)).seen == [405, 405, 0]


async def test_who_is_there_when_the_server_stops_is_told() -> None:
    async def play_to_the_end(module: ModuleType) -> str:
        async with serving(app_of()(module, lambda session, msg: None)) as base:
            client = await Client(f"{base}/it", "xhr_streaming").connect()
        rest = await client.wire.read_end()
        await client.close()
        return rest.decode()

    assert "c[" not in await play_to_the_end(theirs)
    assert 'c[1001,"Server is shutting down"]\n' in await play_to_the_end(ours)


async def test_what_waits_for_a_client_has_a_limit() -> None:
    async def flood(sockjs: Any, manager: Any, session: Any, msg: Any) -> None:
        if msg.type == sockjs.MsgType.OPEN:
            for _ in range(48):
                manager.broadcast("x" * 65536)
            note.append(session.state.name)

    note: list[str] = []

    async def scene(base: str, record: Record) -> None:
        client = Client(f"{base}/it", "xhr")
        await client.begin()
        assert await client.frame() == "o"
        await client.close()

    await play(app_of(flood), theirs, scene)
    told = (await play(app_of(flood), ours, scene)).told
    assert note == ["OPEN", "CLOSING"]
    assert told == [[("OPEN", None), ("CLOSE", "broken"), ("CLOSED", None)]]


# Arguments.


async def test_without_xhr_polling_streams_can_send() -> None:
    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/it", "xhr_streaming").connect()
        record.seen.append((await client.post(b'["x"]'))[0].status)
        await client.close()

    make_app = app_of(disable_transports=["xhr-polling"])
    assert (await play(make_app, theirs, scene)).seen == [404]
    assert (await play(make_app, ours, scene)).seen == [204]


def test_an_unknown_transport_is_told() -> None:
    make_app = app_of(disable_transports=["xhr_polling"])
    make_app(theirs, None)
    with pytest.raises(
        sockbridge.InvalidOption, match=r"there is no transport 'xhr_polling'; there are: .*xhr-polling"
    ):
        make_app(ours, None)


def test_a_prefix_is_not_a_pattern() -> None:
    async def handler(manager: Any, session: Any, msg: Any) -> None: ...

    theirs.add_endpoint(web.Application(), handler, prefix="/{room}/it")
    with pytest.raises(sockbridge.InvalidOption, match="a prefix starts with /"):
        ours.add_endpoint(web.Application(), handler, prefix="/{room}/it")


async def test_only_text_can_be_sent_and_a_close_code_must_be_one() -> None:
    async def misuse(sockjs: Any, manager: Any, session: Any, msg: Any) -> None:
        if msg.type == sockjs.MsgType.OPEN:
            for act in (
                lambda: session.send(b"bytes"),
                lambda: manager.broadcast({"a": 1}),
                lambda: manager.get("another", create=True),
                lambda: session.close(1005, "No status"),
            ):
                try:
                    act()
                    raised.append("-")
                except Exception as error:
                    raised.append(type(error).__name__)

    raised: list[str] = []

    async def scene(base: str, record: Record) -> None:
        client = Client(f"{base}/it", "xhr_streaming")
        await client.begin()
        assert await client.frame() == "o"
        await client.close()

    await play(app_of(misuse), theirs, scene)
    assert raised == ["AssertionError", "-", "-", "-"]
    raised.clear()
    await play(app_of(misuse), ours, scene)
    assert raised == ["TypeError", "TypeError", "UsageError", "InvalidCloseCode"]


def test_the_document_has_a_row_for_each_of_these_tests() -> None:
    section = DOCUMENT.read_text().partition("## What differs, and why")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .+ \| .+ \| `(test_\w+)` \|$", section, re.MULTILINE)
    here = [name for name in globals() if name.startswith("test_") and not name.startswith("test_the_document")]
    assert rows == here
