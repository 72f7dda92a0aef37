"""Clients of others over TCP, as they come: stomp.py in all its versions, and stompman."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import stomp.exception
import stompman

from sockbridge.errors import AccessRefused
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.controllers.mapping import Controller
from sockbridge.stomp.frame import Command
from sockbridge.stomp.server import StompServer
from sockbridge.stomp.tcp import TcpListener
from sockbridge.stomp.users import Login, User
from tests.fakes import GUARD
from tests.stomp.foreign import VERSIONS, Ear, Inbox, make_client, settle, stomp_py, stompman_client, subscribe
from tests.stomp.peers import Site, assert_nothing_left, site
from tests.transports.wire import until

ACK_MODES: Final = ("auto", "client", "client-individual")

BEATS: Final = 3.5
"""Seconds in which several heart-beats of one second pass."""


async def authenticate(login: Login) -> User:
    """Everybody who knows that the passcode is ``secret`` may come in, by any name."""
    if login.passcode != "secret":
        raise AccessRefused("wrong passcode")
    return User(login.login)


def make_server(*listeners: TcpListener) -> StompServer:
    controller = Controller()

    @controller.message_mapping("/greet", send_to="/topic/greetings")
    async def greet(name: str) -> str:
        return f"Hello, {name}"

    return StompServer(
        EmbeddedBroker(["/topic"]),
        authenticate=authenticate,
        controllers=[controller],
        listeners=listeners,
        compat="spring",  # clients may SEND to topics
    )


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    """A server with a TCP listener; at its end every client must be forgotten."""
    async with site(make_server, tcp={"shutdown_grace": 0.1}, disconnect_delay=0.05) as running:
        yield running
    await until(lambda: not len(running.listener))
    assert_nothing_left(running.server)


# stomp.py.


@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_subscribes_sends_and_leaves(here: Site, version: str) -> None:
    async with stomp_py(here, version) as (client, ear):
        (connection,) = here.server.connections
        assert (connection.version, connection.user) == (version, User("guest"))
        client.subscribe("/topic/greetings", id="1", headers={"receipt": "subscribed"})
        assert (await ear.next("RECEIPT"))[0]["receipt-id"] == "subscribed"
        client.send("/app/greet", "Zoë", content_type="text/plain;charset=UTF-8")
        headers, body = await ear.next("MESSAGE")
        assert body == "Hello, Zoë"
        assert headers["destination"] == "/topic/greetings"
        assert headers["subscription"] == "1"
        client.unsubscribe(id="1", headers={"receipt": "unsubscribed"})
        assert (await ear.next("RECEIPT"))[0]["receipt-id"] == "unsubscribed"
        assert len(here.server.broker) == 0  # type: ignore[arg-type]  # the embedded one has a length
    async with asyncio.timeout(GUARD):
        last = {what: headers for what, headers, _ in (await ear.heard.get(), await ear.heard.get())}
    assert last["RECEIPT"]["receipt-id"] == "goodbye"
    assert "disconnected" in last


@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_is_told_why_its_login_is_refused(here: Site, version: str) -> None:
    client, ear = make_client(here, version), Ear()
    client.set_listener("ear", ear)
    with pytest.raises(stomp.exception.ConnectFailedException):
        await asyncio.to_thread(client.connect, "guest", "wrong", wait=True)
    assert (await ear.next("ERROR"))[0]["message"] == "wrong passcode"
    await ear.next("disconnected")
    await asyncio.to_thread(client.transport.stop)
    assert len(here.server) == 0


@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_commits_and_aborts(here: Site, version: str) -> None:
    async with stomp_py(here, version) as (client, ear):
        client.subscribe("/topic/a", id="1")
        for end in (client.abort, client.commit):
            transaction = client.begin()
            for number in range(3):
                client.send("/topic/a", f"{end.__name__} {number}", transaction=transaction)
            client.send("/topic/a", f"before {end.__name__}")
            end(transaction, receipt=end.__name__)
            assert await ear.body() == f"before {end.__name__}"
            if end.__name__ == "commit":
                assert [await ear.body() for _ in range(3)] == ["commit 0", "commit 1", "commit 2"]
            assert (await ear.next("RECEIPT"))[0]["receipt-id"] == end.__name__


@pytest.mark.parametrize("mode", ["client", "client-individual"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_acknowledges(here: Site, version: str, mode: str) -> None:
    """STOMP 1.2, "ACK", "NACK": in mode ``client`` for all messages up to this one. NACK came with 1.1."""
    verbs = ("ack",) if version == "1.0" else ("ack", "nack")
    async with stomp_py(here, version) as (client, ear):
        client.subscribe("/topic/a", id="1", ack=mode)
        for verb in verbs:
            for body in ("first", "second"):
                client.send("/topic/a", body)
            first = (await ear.next("MESSAGE"))[0]
            second = (await ear.next("MESSAGE"))[0]
            for receipt, headers in (("first", first), ("second", second))[mode == "client" :]:
                settle(client, verb, headers, receipt=receipt)
                assert (await ear.next("RECEIPT"))[0]["receipt-id"] == receipt
        settle(client, "ack", first, receipt="again")
        headers, _ = await ear.next("ERROR")
        assert headers["receipt-id"] == "again"
        await ear.next("disconnected")


@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_is_told_of_its_faults_and_cut_off(here: Site, version: str) -> None:
    async with stomp_py(here, version) as (client, ear):
        client.send("/topic/a", "hello", transaction="unknown", receipt="1")
        headers, _ = await ear.next("ERROR")
        assert (headers["message"], headers["receipt-id"]) == ("unknown transaction", "1")
        await ear.next("disconnected")
        await until(lambda: len(here.server) == 0)


@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_notices_that_the_server_ends_it(here: Site, version: str) -> None:
    async with stomp_py(here, version) as (_, ear):
        assert here.server.users.disconnect("guest") == 1
        await ear.next("disconnected")


@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_carries_large_bodies_and_all_of_unicode(here: Site, version: str) -> None:
    bodies = ["x" * 700_000, "Zoë, 日本, 😀, \u2028", "a\x00b", ""]
    async with stomp_py(here, version) as (client, ear):
        client.subscribe("/topic/a", id="1")
        for body in bodies:
            client.send("/topic/a", body)
            assert (await ear.body() or "") == body


@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_carries_octets_that_are_no_text(here: Site, version: str) -> None:
    octets = bytes(range(256)) * 10
    async with stomp_py(here, version, auto_decode=False) as (client, ear):
        client.subscribe("/topic/a", id="1")
        client.send("/topic/a", octets, content_type="application/octet-stream")
        assert await ear.body() == octets


# stompman.


async def test_stompman_subscribes_sends_and_leaves(here: Site) -> None:
    async with stompman_client(here) as client:
        subscription, inbox = await subscribe(client, "/topic/greetings")
        (connection,) = here.server.connections
        assert (connection.version, connection.user) == ("1.2", User("guest"))
        await client.send("Zoë".encode(), "/app/greet", content_type="text/plain", receipt_timeout=GUARD)
        message = await inbox.next()
        assert message.body.decode() == "Hello, Zoë"
        assert message.headers["destination"] == "/topic/greetings"
        await subscription.unsubscribe()
        assert client.is_alive()
    await until(lambda: len(here.server) == 0)
    assert inbox.errors == []


async def test_stompman_is_told_that_its_login_is_refused(here: Site) -> None:
    server = stompman.ConnectionParameters("127.0.0.1", here.listener.port, "guest", "wrong")
    how: Any = {"connect_retry_attempts": 1, "connection_confirmation_timeout": 1}
    with pytest.raises(stompman.FailedAllConnectAttemptsError):  # it keeps the reason to itself
        async with asyncio.timeout(GUARD), stompman.Client([server], **how):
            pass
    assert (len(here.server), here.server.counters.faults) == (0, 1)


async def test_stompman_commits_and_aborts(here: Site) -> None:
    async with stompman_client(here) as client:
        subscription, inbox = await subscribe(client, "/topic/a")

        async def give_up() -> None:
            async with client.begin() as transaction:
                await transaction.send(b"aborted", "/topic/a")
                raise LookupError

        with pytest.raises(LookupError):
            await give_up()
        async with client.begin() as transaction:
            for number in range(3):
                await transaction.send(f"held {number}".encode(), "/topic/a")
            await client.send(b"before", "/topic/a")
        assert [await inbox.body() for _ in range(4)] == ["before", "held 0", "held 1", "held 2"]
        await subscription.unsubscribe()


@pytest.mark.parametrize("mode", ACK_MODES)
async def test_stompman_acknowledges_by_itself(here: Site, mode: Any) -> None:
    """It sends ACK when its handler has returned, NACK when it has raised."""
    async with stompman_client(here) as client:
        subscription, inbox = await subscribe(client, "/topic/a", ack=mode)
        for number in range(20):
            await client.send(str(number).encode(), "/topic/a")
        assert [await inbox.body() for _ in range(20)] == [str(number) for number in range(20)]
        await client.send(b"last", "/topic/a", receipt_timeout=GUARD)  # what it sent before has done no harm
        await subscription.unsubscribe()


async def test_stompman_settles_by_hand(here: Site) -> None:
    inbox = Inbox()
    async with stompman_client(here) as client:
        subscription = await client.subscribe_with_manual_ack("/topic/a", inbox.take, receipt_timeout=GUARD)
        for body in (b"first", b"second"):
            await client.send(body, "/topic/a")
        await (await inbox.next()).ack()
        await (await inbox.next()).nack()
        await client.send(b"third", "/topic/b", receipt_timeout=GUARD)
        await subscription.unsubscribe()


async def test_stompman_is_told_what_is_refused(here: Site) -> None:
    async with stompman_client(here, on_error_frame=None) as client:
        with pytest.raises(stompman.SendReceiptError) as caught:
            await client.send(
                b"{", "/app/greet", content_type="text/plain", headers={"transaction": "unknown"}, receipt_timeout=GUARD
            )
        assert caught.value.frame is not None
        assert caught.value.frame.headers["message"] == "unknown transaction"


async def test_stompman_comes_back_with_its_subscriptions_when_it_is_cut_off(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL):  # it logs that it has lost the connection
        async with stompman_client(here) as client:
            subscription, inbox = await subscribe(client, "/topic/a")
            (first,) = here.server.connections
            first.close()
            await until(lambda: [*here.server.connections] not in ([], [first]))
            await until(lambda: len(here.server.broker))  # type: ignore[arg-type]  # the embedded one has a length
            await here.server.messaging.send("/topic/a", "welcome back")
            assert await inbox.body() == "welcome back"
            await subscription.unsubscribe()


# Together.


@pytest.mark.slow
async def test_heart_beats_keep_every_client_connected(here: Site) -> None:
    """STOMP 1.2, "Heart-beating": each side hears the other once a second, and nobody gives up."""
    async with (
        stomp_py(here, "1.1", "eleven", heartbeats=(1000, 1000)) as (eleven, ear_of_eleven),
        stomp_py(here, "1.2", "twelve", heartbeats=(1000, 1000)) as (twelve, ear_of_twelve),
        stompman_client(here, "man") as man,
    ):
        subscription, inbox = await subscribe(man, "/topic/a")
        assert len(here.server) == 3
        await asyncio.sleep(BEATS)
        assert min(ear_of_eleven.beats, ear_of_twelve.beats) >= 2
        assert eleven.is_connected()
        assert twelve.is_connected()
        assert man.is_alive()
        assert len(here.server) == 3
        twelve.send("/topic/a", "still here")
        assert await inbox.body() == "still here"
        await subscription.unsubscribe()


@pytest.mark.slow
async def test_a_client_whose_heart_stops_is_cut_off(here: Site) -> None:
    peer = await here.peer()
    await peer.connect({"login": "silent", "passcode": "secret", "heart-beat": "1000,0"})
    assert (await peer.frame()).command is Command.ERROR
    assert await peer.end() == []


async def test_all_clients_and_a_page_talk_on_one_topic(here: Site) -> None:
    async with (
        stomp_py(here, "1.0") as (ten, ear_of_ten),
        stomp_py(here, "1.1") as (eleven, ear_of_eleven),
        stomp_py(here, "1.2") as (twelve, ear_of_twelve),
        stompman_client(here) as man,
    ):
        page = await here.peer("websocket")
        raw = await here.peer("websocket-raw")
        for peer in (page, raw):
            await peer.connect({"login": "page", "passcode": "secret"})
            assert (await peer.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/all"})).command is Command.RECEIPT
        for client, ear in ((ten, ear_of_ten), (eleven, ear_of_eleven), (twelve, ear_of_twelve)):
            client.subscribe("/topic/all", id="1", headers={"receipt": "subscribed"})
            await ear.next("RECEIPT")
        subscription, inbox = await subscribe(man, "/topic/all")

        ten.send("/topic/all", "from 1.0")
        assert await ear_of_ten.body() == "from 1.0"
        eleven.send("/topic/all", "from 1.1")
        assert await ear_of_eleven.body() == "from 1.0"
        assert await ear_of_eleven.body() == "from 1.1"
        twelve.send("/topic/all", "from 1.2")
        assert [await ear_of_twelve.body() for _ in range(3)] == ["from 1.0", "from 1.1", "from 1.2"]
        await man.send(b"from stompman", "/topic/all", receipt_timeout=GUARD)
        await page.send("SEND", {"destination": "/topic/all"}, "from a page")

        wanted = ["from 1.0", "from 1.1", "from 1.2", "from stompman", "from a page"]
        for peer in (page, raw):
            assert [(await peer.frame()).body.decode() for _ in wanted] == wanted
        assert [await inbox.body() for _ in wanted] == wanted
        assert [await ear_of_ten.body() for _ in wanted[1:]] == wanted[1:]
        assert [await ear_of_eleven.body() for _ in wanted[2:]] == wanted[2:]
        assert [await ear_of_twelve.body() for _ in wanted[3:]] == wanted[3:]
        await subscription.unsubscribe()


ODD: Final = "a:b\\c\nd\re\\n ümläut 😀"
"""Everything that some version escapes, and some characters that none does."""


async def test_headers_with_odd_characters_cross_the_versions(here: Site) -> None:
    """STOMP 1.2, "Value Encoding": 1.0 escapes nothing, so the end of a line becomes a blank; 1.1 takes a carriage
    return as it is. No header is ever torn in two."""
    async with (
        stomp_py(here, "1.0") as (ten, ear_of_ten),
        stomp_py(here, "1.1") as (eleven, ear_of_eleven),
        stomp_py(here, "1.2") as (twelve, ear_of_twelve),
    ):
        page = await here.peer("websocket")
        await page.connect({"login": "page", "passcode": "secret"})
        await page.ask("SUBSCRIBE", {"id": "1", "destination": "/topic/odd"})
        for client, ear in ((ten, ear_of_ten), (eleven, ear_of_eleven), (twelve, ear_of_twelve)):
            client.subscribe("/topic/odd", id="o:d\\d" if client is not ten else "odd", headers={"receipt": "r"})
            await ear.next("RECEIPT")

        twelve.send("/topic/odd", "1.2", headers={"odd": ODD, "after": "yes"})
        headers, _ = await ear_of_twelve.next("MESSAGE")
        assert (headers["odd"], headers["after"]) == (ODD, "yes")
        assert headers["subscription"] == "o:d\\d"
        headers, _ = await ear_of_eleven.next("MESSAGE")
        assert (headers["odd"], headers["after"]) == (ODD, "yes")
        headers, _ = await ear_of_ten.next("MESSAGE")
        assert headers["odd"].startswith("a:b")  # in 1.0 as well it takes for escapes what looks like them
        assert headers["odd"].endswith("ümläut 😀")
        assert headers["after"] == "yes"
        frame = await page.frame()
        assert (frame.headers["odd"], frame.headers["after"]) == (ODD, "yes")

        value = "a:b 😀"  # 1.0 can say this as it is
        for client, body in ((ten, "1.0"), (eleven, "1.1")):
            client.send("/topic/odd", body, headers={"odd": value})
            for ear in (ear_of_ten, ear_of_eleven, ear_of_twelve):
                headers, heard = await ear.next("MESSAGE")
                assert (heard, headers["odd"]) == (body, value)
            assert (await page.frame()).headers["odd"] == value
