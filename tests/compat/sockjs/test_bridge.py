"""What the engine tells us is told to a handler of the package's kind, over real connections."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

import sockbridge
import sockbridge.compat.sockjs as sockjs
from sockbridge.compat.sockjs.bridge import Bridge, Visitor
from tests.compat.stage import Record
from tests.fakes import GUARD, make_session, serve
from tests.transports.wire import BINARY, Client, connected, fetch, until


def app_with(handler: Any, **arguments: Any) -> tuple[web.Application, sockjs.SessionManager]:
    app = web.Application()
    sockjs.add_endpoint(app, handler, name="it", prefix="/it", **arguments)
    return app, sockjs.get_manager("it", app)


def noting(record: Record) -> Any:
    async def handler(manager: Any, session: Any, msg: Any) -> None:
        record.note(session, msg)

    return handler


# Abnormal ends first.


async def test_a_broken_connection_is_told_with_its_error() -> None:
    async def handler(manager: Any, session: Any, msg: Any) -> None:
        record.note(session, msg)
        if msg.type is sockjs.MsgType.CLOSE:
            ends.append((msg.data, session.exception, session.interrupted, session.state))

    record, ends = Record(), []  # type: ignore[var-annotated]  # one kind each
    app, manager = app_with(handler)
    async with serve(app) as base:
        client = await Client(f"{base}/it", "websocket").connect()
        client.wire.reset()
        await record.wait_for("OPEN", "CLOSE", "CLOSED")
        await until(lambda: not manager.sessions)
        await client.close()
    [(error, exception, interrupted, state)] = ends
    assert isinstance(error, sockbridge.ConnectionLost)
    assert error is exception
    assert interrupted
    assert state is sockjs.SessionState.CLOSING


async def test_what_breaks_the_protocol_is_told_with_its_error() -> None:
    record = Record()
    app, _ = app_with(noting(record))
    async with serve(app) as base, connected(f"{base}/it", "websocket") as (client,):
        client.wire.send_frame(b'["broken')
        assert await client.frame() == 'c[3000,"Broken framing."]'
        await record.wait_for("OPEN", "CLOSE", "CLOSED")
    assert record.told[0][1] == ("CLOSE", "broken")


@pytest.mark.parametrize("way", ["the server stops", "the manager stops", "the manager is cleared"])
async def test_an_end_by_this_side_is_told_as_closed_alone(way: str) -> None:
    record = Record()
    app, manager = app_with(noting(record), shutdown_grace=0.05)
    async with serve(app) as base:
        clients = [await Client(f"{base}/it", name).connect() for name in ("websocket", "xhr_streaming")]
        if way == "the manager stops":
            await manager.stop()
        elif way == "the manager is cleared":
            await manager.clear()
            await until(lambda: not manager.sessions)
    for client in clients:
        await client.close()
    assert record.told == [[("OPEN", None), ("CLOSED", None)]] * 2
    assert manager.sessions == {}


async def test_after_the_manager_has_stopped_nobody_comes_in() -> None:
    app, manager = app_with(noting(Record()))
    async with serve(app) as base:
        await manager.stop()
        assert (await fetch(f"{base}/it/0/x/xhr", "POST"))[0].status == 503


async def test_faults_in_the_last_calls_are_logged_and_hold_nothing_back(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(manager: Any, session: Any, msg: Any) -> None:
        if msg.type in (sockjs.MsgType.CLOSE, sockjs.MsgType.CLOSED):
            raise RuntimeError(msg.type.name)

    app, manager = app_with(handler)
    async with serve(app) as base:
        client = await Client(f"{base}/it", "xhr_streaming").connect()
        await client.close()
        await until(lambda: not manager.sessions)
    assert [record.getMessage().rpartition(" ")[2] for record in caplog.records] == ["CLOSE", "CLOSED"]


async def test_a_fault_in_open_ends_the_session_and_one_in_message_does_not(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(manager: Any, session: Any, msg: Any) -> None:
        record.note(session, msg)
        if msg.type is sockjs.MsgType.MESSAGE or session.request.headers.get("X-Fail"):
            raise RuntimeError(msg.type.name)

    record = Record()
    app, _ = app_with(handler)
    async with serve(app) as base:
        bad = Client(f"{base}/it", "websocket", headers={"X-Fail": "yes"})
        await bad.begin()
        assert [await bad.frame(), await bad.frame()] == ["o", 'c[3000,"Internal error"]']
        await bad.close()
        await record.wait_for("OPEN", "CLOSED")
        good = await Client(f"{base}/it", "websocket").connect()
        await good.send("one", "two")
        await record.wait_for("OPEN", "MESSAGE", "MESSAGE", session=1)
        await good.close()
    assert [record.exc_text is not None for record in caplog.records] == [True] * 4


async def test_a_binary_message_is_dropped_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    record = Record()
    app, _ = app_with(noting(record))
    async with serve(app) as base, connected(f"{base}/it", "websocket-raw") as (client,):
        client.wire.send_frame(b"\xff\x00", BINARY)
        await client.send("text")
        await record.wait_for("OPEN", "MESSAGE")
    assert record.told[0][1] == ("MESSAGE", "text")
    assert "a binary message of 2 bytes was dropped" in caplog.text


async def test_an_error_of_a_session_that_was_never_shown_is_not_told() -> None:
    record = Record()
    bridge = Bridge(sockjs.SessionManager("it", {}, noting(record)))
    session = make_session()
    await bridge.on_transport_error(session, sockbridge.ConnectionLost("gone"))
    await bridge.on_closed(session, sockbridge.Close(1002, "Connection interrupted", clean=False))
    assert record.told == []


async def test_a_factory_that_fails_ends_that_session_alone(caplog: pytest.LogCaptureFixture) -> None:
    def factory(*arguments: Any, **more: Any) -> sockjs.Session:
        if manager.sessions:
            raise RuntimeError("only one")
        return sockjs.Session(*arguments, **more)

    record = Record()
    app, manager = app_with(noting(record))
    manager.factory = factory
    async with serve(app) as base, connected(f"{base}/it", "websocket"):
        second = Client(f"{base}/it", "websocket")
        await second.begin()
        assert [await second.frame(), await second.frame()] == ["o", 'c[1011,"Internal error"]']
        await second.close()
    assert record.told == [[("OPEN", None), ("CLOSED", None)]]
    assert "only one" in caplog.text


async def test_a_call_that_hangs_does_not_keep_the_server_from_stopping() -> None:
    async def handler(manager: Any, session: Any, msg: Any) -> None:
        record.note(session, msg)
        if msg.type is sockjs.MsgType.MESSAGE:
            await asyncio.Event().wait()

    record = Record()
    app, manager = app_with(handler, shutdown_grace=0.05)
    async with asyncio.timeout(GUARD), serve(app) as base:
        client = await Client(f"{base}/it", "websocket").connect()
        await client.send("hang", "behind it")
        await record.wait_for("OPEN", "MESSAGE")
    await client.close()
    assert record.told == [[("OPEN", None), ("MESSAGE", "hang"), ("CLOSED", None)]]
    assert manager.sessions == {}


async def test_an_application_that_empties_the_table_itself_does_no_harm() -> None:
    async def handler(manager: Any, session: Any, msg: Any) -> None:
        record.note(session, msg)
        manager.sessions.clear()

    record = Record()
    app, _ = app_with(handler)
    async with serve(app) as base:
        client = await Client(f"{base}/it", "websocket").connect()
        await client.send("x")
        await record.wait_for("OPEN", "MESSAGE")
        await client.close()
        await record.wait_for("OPEN", "MESSAGE", "CLOSE", "CLOSED")


async def test_a_session_whose_id_the_application_changes_is_forgotten_all_the_same() -> None:
    async def handler(manager: Any, session: Any, msg: Any) -> None:
        record.note(session, msg)
        if msg.type is sockjs.MsgType.OPEN:
            session.id = "mine"

    record = Record()
    app, manager = app_with(handler)
    async with serve(app) as base:
        client = await Client(f"{base}/it", "websocket", id="theirs").connect()
        await record.wait_for("OPEN")
        assert list(manager.sessions) == ["theirs"]
        await client.close()
        await record.wait_for("OPEN", "CLOSE", "CLOSED")
        await until(lambda: not manager.sessions)


async def test_a_session_that_expires_by_hand_is_told_both_ends() -> None:
    async def handler(manager: Any, session: Any, msg: Any) -> None:
        record.note(session, msg)
        if msg.type is sockjs.MsgType.MESSAGE:
            session.expire()

    record = Record()
    app, _ = app_with(handler)
    async with serve(app) as base, connected(f"{base}/it", "eventsource") as (client,):
        await client.send("end it")
        assert await client.frame() == 'c[3000,"Go away!"]'
        await record.wait_for("OPEN", "MESSAGE", "CLOSE", "CLOSED")


# Who is who.


async def test_two_websockets_with_the_same_id_are_two_sessions() -> None:
    app, manager = app_with(noting(Record()))
    async with serve(app) as base:
        clients = [await Client(f"{base}/it", "websocket", id="same").connect() for _ in range(2)]
        first, second = manager.sessions
        assert first == "same"
        assert second.startswith("same-")
        assert len(second) == len("same-") + 8
        for client in clients:
            await client.close()


async def test_an_id_is_decoded_and_a_raw_websocket_gets_one() -> None:
    app, manager = app_with(noting(Record()))
    async with serve(app) as base, connected(f"{base}/it", "websocket-raw"):
        client = await Client(f"{base}/it", "xhr_streaming", id="a%20b").connect()
        raw, framed = manager.sessions.values()
        assert raw.below is not None
        assert raw.id == raw.below.id
        assert framed.id == "a b"
        assert raw.request.path == "/it/websocket"
        await client.close()


async def test_an_id_that_is_free_again_can_be_used_again() -> None:
    record = Record()
    app, manager = app_with(noting(record), disconnect_delay=0.1)
    async with serve(app) as base:
        endpoint = manager.endpoint
        assert isinstance(endpoint, sockbridge.Endpoint)
        for _ in range(2):
            client = await Client(f"{base}/it", "xhr_streaming", id="again").connect()
            assert list(manager.sessions) == ["again"]
            await client.close()
            await until(lambda: len(endpoint) == 0)
    assert [[kind for kind, _ in told] for told in record.told] == [["OPEN", "CLOSE", "CLOSED"]] * 2


def test_visitors_are_one_where_their_principals_are_equal() -> None:
    assert Visitor("first", None) == Visitor("second", None)
    assert Visitor("first", ["ada"]) == Visitor("second", ["ada"])
    assert Visitor("first", "ada") != Visitor("first", "grace")
    assert Visitor("first", "ada") != "ada"


# Kinds of handlers.


def make_plain(told: list[str]) -> Any:
    def handler(manager: Any, session: Any, msg: Any) -> None:
        told.append(msg.type.name)

    return handler


def make_object(told: list[str]) -> Any:
    class Handler:
        async def __call__(self, manager: Any, session: Any, msg: Any) -> None:
            told.append(msg.type.name)

    return Handler()


def make_old(told: list[str]) -> Any:
    @types.coroutine
    def handler(manager: Any, session: Any, msg: Any) -> Iterator[None]:
        told.append(msg.type.name)
        yield

    return handler


@pytest.mark.parametrize("make", [make_plain, make_object, make_old])
async def test_a_handler_may_be_anything_that_can_be_called(make: Any) -> None:
    told: list[str] = []
    app, manager = app_with(make(told))
    async with serve(app) as base:
        client = await Client(f"{base}/it", "websocket").connect()
        await client.send("x")
        await until(lambda: told == ["OPEN", "MESSAGE"])
        await client.close()
        await until(lambda: not manager.sessions)
    assert told == ["OPEN", "MESSAGE", "CLOSE", "CLOSED"]


async def test_the_handler_of_a_manager_can_be_exchanged() -> None:
    first, second = Record(), Record()
    app, manager = app_with(noting(first))
    async with serve(app) as base, connected(f"{base}/it", "websocket") as (client,):
        manager.handler = noting(second)
        await client.send("x")
        await until(lambda: second.told)
    assert first.told == [[("OPEN", None)]]
    assert second.told == [[("MESSAGE", "x"), ("CLOSED", None)]]
