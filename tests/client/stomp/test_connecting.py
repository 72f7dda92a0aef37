"""The whole client against real servers: our own on every carrier, with cuts in between, and the Spring demo."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

import sockbridge
from demo.spring import make_app
from sockbridge import stomp
from sockbridge.client.backoff import Backoff
from sockbridge.client.stomp import connect
from sockbridge.client.stomp.message import Message
from sockbridge.errors import (
    ConnectFailed,
    InDoubt,
    InvalidFrame,
    InvalidOption,
    LoginRefused,
    NotSockJS,
    SessionLost,
    StaleMessage,
    StompError,
)
from sockbridge.stomp.tcp import TcpListener
from tests.client.stomp.fakes import scissors
from tests.fakes import GUARD, RecordingHandler, serve
from tests.needs import needs
from tests.stomp.peers import Site, assert_nothing_left, site
from tests.transports.wire import until

SOON = Backoff(first=0.001, limit=0.001)
SOCKJS = ("websocket", "xhr-streaming", "eventsource", "xhr-polling")
CARRIERS = (*SOCKJS, "websocket-raw", "tcp")

controller = stomp.Controller()


@controller.message_mapping("/greet", send_to="/topic/greetings")
async def greet(name: dict[str, str], user: stomp.User) -> dict[str, str]:
    return {"greeting": f"Hello, {name['name']}, says {user.name}"}


async def authenticate(login: stomp.Login) -> str | None:
    return login.login if login.passcode == "secret" else None


def make(listener: TcpListener) -> stomp.StompServer:
    everything = [stomp.Rule.connect(stomp.EVERYBODY)]
    for pattern in ("/topic/**", "/queue/**", "/app/**", "/user/**"):
        everything += [stomp.Rule.subscribe(pattern, stomp.EVERYBODY), stomp.Rule.send(pattern, stomp.EVERYBODY)]
    broker = stomp.EmbeddedBroker(
        topics=["/topic"], queues=["/queue"], history=[stomp.History("/topic/kept/*", size=3)], max_queue_length=10
    )
    return stomp.StompServer(
        broker, controllers=[controller], authenticate=authenticate, policy=everything, listeners=[listener]
    )


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site(make, disconnect_delay=1.0) as running:
        yield running
        await until(lambda: not running.server._connections)
        assert_nothing_left(running.server)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server with a certificate of its own, and of a client that trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    command = [needs("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=certificate)


def way(here: Site, carrier: str, port: int | None = None) -> tuple[str, dict[str, Any]]:
    """URL and options of a client on ``carrier``; of a proxy in front of it at ``port``."""
    if carrier == "tcp":
        return f"stomp://127.0.0.1:{port or here.listener.port}", {}
    parts = urlsplit(here.url)
    place = f"127.0.0.1:{port or parts.port}{parts.path}"
    return (f"ws://{place}", {}) if carrier == "websocket-raw" else (f"http://{place}", {"transports": [carrier]})


def target(here: Site, carrier: str) -> int:
    return here.listener.port if carrier == "tcp" else urlsplit(here.url).port or 0


@asynccontextmanager
async def ann(here: Site, carrier: str = "tcp", *, port: int | None = None, **how: Any) -> AsyncIterator[Any]:
    """Ann, logged in."""
    url, options = way(here, carrier, port)
    async with asyncio.timeout(2 * GUARD), connect(url, login="ann", passcode="secret", **options, **how) as client:
        yield client


# URLs and logins.


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "ftp://localhost", "http://", "stomp://", "stomp://a:b@localhost", "stomp://localhost/vhost",
     "stomp://localhost?x=1", "stomp://localhost:0", "stomp://localhost:x", "stomp://a..b", f"stomp://{'a' * 64}",
     "http://a..b", "ws://localhost:0", None, 1],
)  # fmt: skip
def test_a_url_that_is_none_is_told_at_the_call(url: Any) -> None:
    with pytest.raises(InvalidOption):
        connect(url)


def test_wrong_options_are_told_at_the_call() -> None:
    with pytest.raises(InvalidOption, match="nonsense"):
        connect("stomp://localhost", nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(InvalidFrame):
        connect("stomp://localhost", login="ann\nadmin:true")
    with pytest.raises(InvalidFrame):
        connect("stomp://localhost", headers={"login": "ann"})


@pytest.mark.parametrize("name", ["login", "passcode", "host"])
def test_what_is_no_text_is_told_at_the_call_and_not_repeated(name: str) -> None:
    with pytest.raises(InvalidOption, match=f"{name} is text") as caught:
        connect("stomp://localhost", **{name: 1234})  # type: ignore[arg-type]  # wrong on purpose
    assert "1234" not in str(caught.value)


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_a_wrong_password_is_refused(here: Site, carrier: str) -> None:
    url, options = way(here, carrier)
    with pytest.raises(LoginRefused):
        await connect(url, login="ann", passcode="wrong", **options)


@pytest.mark.parametrize("scheme", ["http", "ws", "stomp"])
async def test_a_port_on_which_nothing_listens_is_told(scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed, match="nothing listens"):
            await connect(f"{scheme}://127.0.0.1:{free.getsockname()[1]}/"[: None if scheme != "stomp" else -1])


async def test_a_server_of_another_kind_is_told(here: Site) -> None:
    http = urlsplit(here.url)
    with pytest.raises(ConnectFailed, match="does not speak STOMP"):
        await connect(f"stomp://127.0.0.1:{http.port}")
    with pytest.raises(NotSockJS):
        await connect(f"http://127.0.0.1:{http.port}/elsewhere")
    with pytest.raises(ConnectFailed):
        await connect(f"http://127.0.0.1:{here.listener.port}/ws")


async def test_a_sockjs_server_without_stomp_is_told() -> None:
    app = web.Application()
    sockbridge.mount(app, "/echo", RecordingHandler(echo=True), allowed_origins="*")
    async with serve(app) as base:
        with pytest.raises(ConnectFailed, match="answered CONNECT by CONNECT"):
            await connect(f"{base}/echo")


async def test_a_session_of_the_caller_is_used_and_stays_open(here: Site) -> None:
    async with aiohttp.ClientSession() as http:
        for _ in range(2):
            async with connect(here.url, login="ann", passcode="secret", session=http) as client:
                assert client.user_name == "ann"
        assert not http.closed


async def test_secrets_of_the_url_are_not_shown(here: Site) -> None:
    url = here.url.replace("http://", "ws://ann:hidden@") + "?token=hidden"
    async with connect(url, login="ann", passcode="secret") as client:
        assert client.url == here.url.replace("http", "ws")
        assert "hidden" not in repr(client)


# What a client is for.


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize("carrier", CARRIERS)
async def test_it_sends_gets_acknowledges_and_leaves(here: Site, carrier: str, version: str) -> None:
    async with ann(here, carrier, versions=[version]) as client:
        assert (client.transport, client.version, client.user_name) == (carrier, version, "ann")
        async with (
            client.subscribe("/topic/greetings") as greetings,
            client.subscribe("/queue/jobs", ack="client-individual") as jobs,
        ):
            await client.send("/app/greet", {"name": "Bob"}, receipt=True)
            assert (await greetings.receive()).json(dict[str, str]) == {"greeting": "Hello, Bob, says ann"}
            await client.send("/queue/jobs", "tea: \u00e4 \U0001f600", headers={"x-kind": "a\\b"})
            first = await jobs.receive()
            assert (first.text, first.headers["x-kind"]) == ("tea: \u00e4 \U0001f600", "a\\b")
            await first.nack(receipt=True) if version != "1.0" else await first.ack(receipt=True)
            if version != "1.0":
                again = await jobs.receive()
                assert again.headers["redelivered"] == "true"
                await again.ack(receipt=True)
        assert here.server.broker.queues == {}  # type: ignore[attr-defined]  # the embedded one has


@pytest.mark.parametrize("carrier", ["websocket-raw", "tcp"])
async def test_octets_come_back_unchanged(here: Site, carrier: str) -> None:
    async with ann(here, carrier) as client, client.subscribe("/topic/octets") as octets:
        await client.send("/topic/octets", bytes(range(256)))
        assert (await octets.receive()).body == bytes(range(256))


async def test_octets_over_sockjs_are_refused_before_they_are_sent(here: Site) -> None:
    async with ann(here, "websocket") as client:
        with pytest.raises(InvalidFrame):
            await client.send("/topic/octets", b"\xff")
        await client.send("/topic/octets", b"text", receipt=True)


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_a_large_message_passes(here: Site, carrier: str) -> None:
    large = "\x01\u00e4" * 250_000  # eight octets each in JSON: more than aiohttp writes at once
    async with ann(here, carrier) as client, client.subscribe("/topic/large") as subscription:
        await client.send("/topic/large", large, receipt=True)
        assert (await subscription.receive()).text == large


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_a_thousand_messages_keep_their_order(here: Site, carrier: str) -> None:
    async with ann(here, carrier) as client, client.subscribe("/queue/order", ack="client") as subscription:
        taken = []
        for start in range(0, 1000, 10):  # the queue holds ten
            for number in range(start, start + 10):
                await client.send("/queue/order", str(number))
            for _ in range(10):
                message = await subscription.receive()
                taken.append(int(message.text))
            await message.ack(receipt=True)  # and those before it
        assert taken == list(range(1000))


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_an_error_is_raised_where_it_belongs(here: Site, carrier: str) -> None:
    async with ann(here, carrier) as client:
        subscription = await client.subscribe("/topic/a")
        with pytest.raises(StompError):
            await client.send("/nowhere", "x", receipt=True)
        with pytest.raises(StompError):
            await subscription.receive()


async def test_a_full_queue_is_told_to_its_sender(here: Site) -> None:
    async with ann(here) as client:
        for _ in range(10):
            await client.send("/queue/full", "x", receipt=True)
        with pytest.raises(StompError, match="queue full"):
            await client.send("/queue/full", "x", receipt=True)
    async with ann(here) as client, client.subscribe("/queue/full") as subscription:
        for _ in range(10):
            await subscription.receive()


@pytest.mark.parametrize("carrier", ["websocket", "tcp"])
async def test_a_transaction_happens_whole_or_not_at_all(here: Site, carrier: str) -> None:
    async def fail(client: Any, job: Message) -> None:
        async with client.transaction() as transaction:
            await transaction.ack(job)
            await transaction.send("/queue/done", "half")
            raise ZeroDivisionError

    async with ann(here, carrier) as client:
        await client.send("/queue/todo", "x", receipt=True)
        async with (
            client.subscribe("/queue/todo", ack="client-individual") as todo,
            client.subscribe("/queue/done") as done,
        ):
            job = await todo.receive()
            with pytest.raises(ZeroDivisionError):
                await fail(client, job)
            async with client.transaction() as transaction:
                await transaction.send("/queue/done", "whole")
                await transaction.ack(job)
            assert (await done.receive()).text == "whole"
            assert len(done) == 0


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_the_stop_of_the_server_is_told(carrier: str) -> None:
    async with site(make) as here:
        url, options = way(here, carrier)
        client = await connect(url, login="ann", passcode="secret", **options)
        subscription = await client.subscribe("/topic/a")
        taking = asyncio.create_task(subscription.receive())
    async with asyncio.timeout(GUARD):
        with pytest.raises(SessionLost):
            await taking
        await client.close()


async def test_tls_is_trusted_or_refused(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with site(make, tls=tls[0]) as here:
        url = f"stomps://localhost:{here.listener.port}"
        async with connect(url, login="ann", passcode="secret", ssl=tls[1]) as client:
            await client.send("/topic/a", receipt=True)
        with pytest.raises(ConnectFailed, match="TLS"):
            await connect(url, login="ann", passcode="secret")
        with pytest.raises(ConnectFailed):
            await connect(url.replace("stomps", "stomp"), login="ann", passcode="secret", timeout=GUARD)


# Cuts.


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_a_cut_ends_a_client_that_does_not_reconnect(here: Site, carrier: str) -> None:
    async with (
        scissors(target(here, carrier)) as proxy,
        ann(here, carrier, port=proxy.port) as client,
    ):
        subscription = await client.subscribe("/topic/a")
        taking = asyncio.create_task(subscription.receive())
        await proxy.shut()
        with pytest.raises(SessionLost):
            await taking
        with pytest.raises(SessionLost):
            await client.send("/topic/a")
        await proxy.open()


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_after_cuts_nothing_is_missing_and_nothing_comes_twice(here: Site, carrier: str) -> None:
    """With replay: the broker keeps three messages of this topic."""
    async with (
        scissors(target(here, carrier)) as proxy,
        ann(here, carrier, port=proxy.port, reconnect=SOON) as client,
        ann(here) as publisher,
    ):
        subscription = await client.subscribe("/topic/kept/a")
        for turn in range(3):
            await publisher.send("/topic/kept/a", f"{turn} before", receipt=True)
            assert (await subscription.receive()).text == f"{turn} before"
            await proxy.shut()
            for number in range(3):
                await publisher.send("/topic/kept/a", f"{turn} away {number}", receipt=True)
            await proxy.open()
            assert [(await subscription.receive()).text for _ in range(3)] == [f"{turn} away {n}" for n in range(3)]
            assert subscription.missed == 0
            await client.send("/topic/nobody", receipt=True)
            assert client.reconnects == turn + 1


async def test_what_the_server_keeps_no_more_is_counted(here: Site) -> None:
    async with (
        scissors(here.listener.port) as proxy,
        ann(here, port=proxy.port, reconnect=SOON) as client,
        ann(here) as publisher,
    ):
        subscription = await client.subscribe("/topic/kept/a")
        await publisher.send("/topic/kept/a", "0", receipt=True)
        await subscription.receive()
        await proxy.shut()
        for number in range(1, 8):
            await publisher.send("/topic/kept/a", str(number), receipt=True)
        await proxy.open()
        first = await subscription.receive()
        assert (first.text, first.missed, subscription.missed) == ("5", 4, 4)


async def test_a_job_whose_worker_was_cut_off_comes_again_and_the_old_ack_is_void(here: Site) -> None:
    async with (
        scissors(here.listener.port) as proxy,
        ann(here, port=proxy.port, reconnect=SOON) as worker,
        ann(here) as boss,
    ):
        jobs = await worker.subscribe("/queue/jobs", ack="client-individual")
        for number in range(3):
            await boss.send("/queue/jobs", str(number), receipt=True)
        job = await jobs.receive()
        while len(jobs) < 2:
            await worker.send("/topic/nobody", receipt=True)  # behind it the others have come
        proxy.cut()
        await until(lambda: jobs.voided)
        again = [await jobs.receive() for _ in range(3)]
        assert [message.text for message in again] == ["0", "1", "2"]
        assert {message.headers["redelivered"] for message in again} == {"true"}
        with pytest.raises(StaleMessage):
            await job.ack()
        for message in again:
            await message.ack(receipt=True)
        assert jobs.voided == 2


@pytest.mark.parametrize("carrier", ["tcp", "websocket", "xhr-streaming"])
async def test_whatever_is_cut_every_job_is_done_and_a_confirmed_one_never_again(here: Site, carrier: str) -> None:
    chance = random.Random(7)
    confirmed: list[str] = []
    done: set[str] = set()
    async with (
        scissors(target(here, carrier)) as proxy,
        ann(here, carrier, port=proxy.port, reconnect=SOON) as worker,
        ann(here) as boss,
    ):
        jobs = await worker.subscribe("/queue/jobs", ack="client-individual", headers={"prefetch-count": "3"})
        for number in range(60):
            await boss.send("/queue/jobs", str(number), receipt=True)
            while len(confirmed) < number - 5:
                message = await jobs.receive()
                assert message.text not in confirmed
                if chance.random() < 0.2:
                    proxy.cut()
                done.add(message.text)
                try:
                    await message.ack(receipt=True)
                except (StaleMessage, InDoubt):  # it comes again, or its ACK was served
                    continue
                confirmed.append(message.text)
                if len(done) == number + 1:
                    break
        while done != {str(number) for number in range(60)}:
            message = await jobs.receive()
            assert message.text not in confirmed
            done.add(message.text)
            await message.ack(receipt=True)
        assert worker.reconnects > 3
        assert len(confirmed) == len(set(confirmed))


async def test_a_send_that_is_cut_off_is_in_doubt_and_not_repeated() -> None:
    received, go_on = asyncio.Event(), asyncio.Event()
    calls: list[str] = []
    slow = stomp.Controller()

    @slow.message_mapping("/slow")
    async def wait(text: str) -> None:
        calls.append(text)
        received.set()
        await go_on.wait()

    def make_slow(listener: TcpListener) -> stomp.StompServer:
        return stomp.StompServer(
            stomp.EmbeddedBroker(), controllers=[slow], listeners=[listener], authenticate=authenticate
        )

    async with (
        site(make_slow) as other,
        scissors(other.listener.port) as proxy,
        ann(other, port=proxy.port, reconnect=SOON) as client,
    ):
        sending = asyncio.create_task(client.send("/app/slow", "once", receipt=True))
        await received.wait()
        proxy.cut()
        with pytest.raises(InDoubt) as caught:
            await sending
        assert caught.value.in_doubt == (b"once",)
        go_on.set()
        await client.send("/app/slow", "twice", receipt=True)
        assert calls == ["once", "twice"]


# The Spring guide's back end, as the page drives it.


async def test_the_spring_demo_greets() -> None:
    async with serve(make_app()) as base, asyncio.timeout(GUARD):
        guide = f"{base.replace('http', 'ws')}/gs-guide-websocket"
        async with connect(guide) as client, client.subscribe("/topic/greetings", receipt=False) as greetings:
            await client.send("/app/hello", {"name": "<Ann>"})
            assert (await greetings.receive()).json() == {"content": "Hello, &lt;Ann&gt;!"}
        async with connect(f"{base}/ws") as client, client.subscribe("/topic/messages") as messages:
            await client.send("/api/echo", "hi")
            assert (await messages.receive()).json()["message"] == "hi"


async def test_a_session_that_its_owner_has_closed_ends_the_attempts(here: Site) -> None:
    url, options = way(here, "websocket")
    http = aiohttp.ClientSession()
    async with (
        asyncio.timeout(GUARD),
        connect(url, login="ann", passcode="secret", session=http, reconnect=SOON, **options) as client,
        client.subscribe("/topic/a") as one,
    ):
        await http.close()
        with pytest.raises(InvalidOption, match="is closed"):
            await one.receive()
    with pytest.raises(InvalidOption, match="is closed"):
        await connect(url, session=http)
