"""What the fixtures hand out: servers as in production, clients that can be cut and be slow over every transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

import sockbridge
from sockbridge.errors import ConnectFailed, InvalidOption, SessionClosed, SessionLost, UsageError
from sockbridge.sockjs.framing import Close, Message
from sockbridge.sockjs.session import Session
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.policy import EVERYBODY, LOGGED_IN, Rule
from sockbridge.stomp.server import StompServer
from sockbridge.stomp.users import Login
from sockbridge.testing.factories import ClientFactory, ServerFactory, StompFactory
from sockbridge.testing.memory_session import MemorySession
from sockbridge.testing.plugin import TRANSPORTS
from sockbridge.testing.relayed_client import RelayedClient
from sockbridge.testing.serving import serve
from tests.fakes import RecordingHandler
from tests.transports.wire import until


@pytest.fixture
async def servers() -> AsyncIterator[ServerFactory]:
    async with ServerFactory() as factory:
        yield factory


@pytest.fixture
async def clients() -> AsyncIterator[ClientFactory]:
    async with ClientFactory() as factory:
        yield factory


# Servers.


async def test_what_cannot_be_served_is_said(servers: ServerFactory) -> None:
    with pytest.raises(InvalidOption, match="there is no option heart"):
        await servers(RecordingHandler(), "/echo", heart=1)
    with pytest.raises(UsageError, match="coroutine function"):
        await servers(42)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="heartbeat_delay: an application has mounted"):
        await servers(web.Application(), heartbeat_delay=1)
    with pytest.raises(UsageError, match="no handler at http"):
        servers.endpoint("http://127.0.0.1:1/echo")


async def test_an_application_that_does_not_start_says_why(servers: ServerFactory) -> None:
    app = web.Application()

    async def fail(app: web.Application) -> None:
        raise ValueError("no database")

    app.on_startup.append(fail)
    with pytest.raises(ValueError, match="no database"):
        await servers(app)


async def test_a_handler_and_an_application_are_served_until_the_end(clients: ClientFactory) -> None:
    mine, theirs = RecordingHandler(echo=True), RecordingHandler(echo=True)
    app = web.Application()
    sockbridge.mount(app, "/their/echo", theirs)
    async with ServerFactory() as servers:
        one = await servers(mine, "/echo", disconnect_delay=1)
        two = await servers(app, "/their/echo")
        for url in (one, two):
            client = await clients(url)
            await client.send("x")
            assert await client.receive() == "x"
        assert servers.endpoint(one).options.disconnect_delay == 1
        assert [session.transport for session in servers.endpoint(one).sessions] == ["websocket"]
        with pytest.raises(UsageError, match="no handler at"):
            servers.endpoint(two)
    for handler in (mine, theirs):
        assert handler.values("on_closed") == [Close(1001, "Server is shutting down")]
        assert handler.names()[-1] == "on_stop"


def test_a_fixture_of_another_loop_says_so() -> None:
    async def make() -> ServerFactory:
        return ServerFactory()

    async def use(factory: ServerFactory) -> None:
        with pytest.raises(UsageError, match="asyncio_default_fixture_loop_scope"):
            await factory(RecordingHandler())

    factory = asyncio.run(make())
    asyncio.run(use(factory))


# Errors of the handler.


class Failing(sockbridge.SessionHandler):
    """Fails in the calls that it is made with."""

    def __init__(self, *calls: str, error: BaseException | None = None) -> None:
        self.calls = calls
        self.error = error

    def fail(self, call: str) -> None:
        if call in self.calls:
            raise self.error or ValueError(call)

    async def on_message(self, session: Session, message: Message) -> None:
        self.fail("on_message")

    async def on_closed(self, session: Session, close: Close) -> None:
        self.fail("on_closed")

    async def on_stop(self) -> None:
        self.fail("on_stop")


def served(form: str, handler: sockbridge.SessionHandler) -> sockbridge.SessionHandler | web.Application:
    if form == "handler":
        return handler
    app = web.Application()
    sockbridge.mount(app, "/echo", handler)
    return app


@pytest.mark.parametrize("call", ["on_message", "on_closed", "on_stop"])
@pytest.mark.parametrize("form", ["handler", "application"])
async def test_what_a_handler_raises_is_raised_at_the_end(form: str, call: str) -> None:
    async def act() -> None:
        async with ServerFactory() as servers, ClientFactory() as clients:
            client = await clients(await servers(served(form, Failing(call)), "/echo"))
            await client.send("x")

    with pytest.raises(ValueError, match=call):
        await act()


@pytest.mark.parametrize("form", ["handler", "application"])
async def test_an_error_that_a_test_asks_for_is_expected(form: str) -> None:
    async with ServerFactory() as servers, ClientFactory() as clients:
        url = await servers(served(form, Failing("on_message")), "/echo")
        client = await clients(url)
        await client.send("x")
        error = await servers.handler_error(url)
        assert repr(error) == "ValueError('on_message')"
        with pytest.raises(SessionClosed, match="1011"):
            await client.receive()
        with pytest.raises(UsageError, match="has served nothing at"):
            await servers.handler_error(f"{url}/more")


async def test_an_error_that_does_not_come_is_not_waited_for_without_end(
    servers: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await servers(RecordingHandler())
    monkeypatch.setattr("sockbridge.testing.loop.Guard.__init__.__defaults__", (0.01,))
    with pytest.raises(AssertionError, match="the handler raised nothing within"):
        await servers.handler_error(url)


async def test_a_test_that_fails_by_itself_is_told_of_the_handler_s_errors_in_notes() -> None:
    with pytest.raises(AssertionError, match="mine") as caught:
        async with serve(Failing("on_stop")):
            raise AssertionError("mine")
    assert caught.value.__notes__ == ["the handler has raised, too: ValueError('on_stop')"]


async def test_a_cancellation_that_a_handler_raises_does_not_cancel_the_test() -> None:
    async def act() -> None:
        handler = Failing("on_message", error=asyncio.CancelledError())
        async with serve(handler) as serving, RelayedClient(serving.url) as client:
            await client.send("x")

    with pytest.raises(AssertionError, match="the handler was cancelled by itself") as caught:
        await act()
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


async def test_an_error_is_that_of_the_server_where_it_was_raised() -> None:
    async def act() -> None:
        async with serve(Failing("on_message")) as bad:
            async with serve(RecordingHandler()), RelayedClient(bad.url) as client:
                await client.send("x")
            async with MemorySession(Failing("on_message", error=TypeError("expected"))) as session:
                with pytest.raises(TypeError, match="expected"):
                    await session.send("x")

    with pytest.raises(ValueError, match="on_message") as caught:
        await act()
    assert not hasattr(caught.value, "__notes__")


# Clients.


async def test_a_client_that_cannot_connect_leaves_no_relay(clients: ClientFactory) -> None:
    with pytest.raises(ConnectFailed):
        await clients("http://127.0.0.1:1/echo")
    with pytest.raises(UsageError, match="a URL names a host"):
        await clients("echo")
    with pytest.raises(UsageError, match="to be entered"):
        await RelayedClient("http://127.0.0.1:1/echo").send("x")


@pytest.mark.parametrize("name", TRANSPORTS)
async def test_the_server_sees_the_client_as_if_there_was_no_relay(
    servers: ServerFactory, clients: ClientFactory, name: str
) -> None:
    url = await servers(RecordingHandler(), "/echo")
    await clients(url, name, headers={"X-A": "1"})
    (session,) = servers.endpoint(url).sessions
    assert session.handshake.url.startswith(f"{url}/")
    assert (session.handshake.headers["X-A"], session.handshake.remote) == ("1", "127.0.0.1")


@pytest.mark.parametrize("name", TRANSPORTS)
@pytest.mark.parametrize("reset", [True, False])
async def test_a_connection_that_is_cut_is_lost_at_both_ends(
    servers: ServerFactory, clients: ClientFactory, name: str, reset: bool
) -> None:
    handler = RecordingHandler()
    url = await servers(handler)
    client = await clients(url, name)
    (session,) = servers.endpoint(url).sessions
    await until(lambda: session.receiver is not None)  # it polls
    await client.cut(reset=reset)
    with pytest.raises(SessionLost):
        await client.receive()
    assert not client.is_open
    assert await handler.wait_for("on_closed") == [Close(1002, "Connection interrupted", clean=False)]


@pytest.mark.parametrize("name", TRANSPORTS)
async def test_a_client_that_is_paused_holds_the_handler_back_and_loses_nothing(
    servers: ServerFactory, clients: ClientFactory, name: str
) -> None:
    piece, count = "x" * 50_000, 400
    drained: list[int] = []

    async def much(session: Session) -> None:
        for number in range(count):
            session.send(piece)
            await session.drain()
            drained.append(number)

    url = await servers(much)
    client = RelayedClient(url, name)
    async with client:
        client.pause()
        (session,) = servers.endpoint(url).sessions
        await until(lambda: session.buffered > 64 * 1024)
        assert len(drained) < count
        client.resume()
        assert await client.messages(count) == [piece] * count
        with pytest.raises(SessionClosed):
            await client.receive()
        assert client.close_info == Close(1000, "Normal closure")


async def test_a_client_that_takes_nothing_for_write_timeout_is_given_up(
    servers: ServerFactory, clients: ClientFactory
) -> None:
    handler = RecordingHandler()
    url = await servers(handler, write_timeout=0.3, send_buffer_limit=100_000_000)
    client = await clients(url)
    client.pause()
    (session,) = servers.endpoint(url).sessions
    session.send("x" * 20_000_000)
    (error,) = await handler.wait_for("on_transport_error")
    assert type(error) is sockbridge.WriteTimeout


async def test_a_goodbye_ends_the_iteration(servers: ServerFactory, clients: ClientFactory) -> None:
    class Farewell(sockbridge.SessionHandler):
        async def on_message(self, session: Session, message: Message) -> None:
            session.send(message)
            session.close(4000, "Bye")

    client = await clients(await servers(Farewell()), "xhr-streaming")
    await client.send("x")
    assert [message async for message in client] == ["x"]
    assert (client.transport, client.close_info) == ("xhr-streaming", Close(4000, "Bye"))
    await client.close()


async def test_what_does_not_come_is_not_waited_for_without_end(
    servers: ServerFactory, clients: ClientFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await clients(await servers(RecordingHandler()))
    monkeypatch.setattr("sockbridge.testing.loop.Guard.__init__.__defaults__", (0.01,))
    with pytest.raises(AssertionError, match="no message came within"):
        await client.receive()
    client.pause()
    with pytest.raises(AssertionError, match="the client is paused, and send waits for an answer"):
        await client.send("x")
    await client.session.send("y")


async def test_a_prefix_that_an_application_has_not_is_said(servers: ServerFactory) -> None:
    app = web.Application()
    sockbridge.mount(app, "/echo", RecordingHandler())
    with pytest.raises(UsageError, match="has nothing at '/nope'; it has /echo"):
        await servers(app, "/nope")


async def test_a_server_that_was_not_awaited_and_an_option_with_a_slip_are_said(
    servers: ServerFactory, clients: ClientFactory
) -> None:
    with pytest.raises(UsageError, match="await sockbridge_server"):
        await clients(servers(RecordingHandler()))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a URL is a str, not 42"):
        await clients(42)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match=r"there is no option header, did you mean headers\?"):
        await clients("http://127.0.0.1:1/echo", header={})


# STOMP.


async def test_stomp_clients_are_logged_in_at_a_server_that_runs() -> None:
    policy = [Rule.connect(EVERYBODY), Rule.subscribe("/**", EVERYBODY), Rule.send("/**", EVERYBODY)]
    server = StompServer(EmbeddedBroker(), policy=policy)
    async with StompFactory() as stomp:
        ann, guest = await stomp(server, "ann"), await stomp(server, headers={"heart-beat": "0,0"})
        assert ann.connection.user is not None
        assert (ann.connection.user.name, guest.connection.user) == ("ann", None)
        await ann.subscribe("1", "/topic/news")
        await guest.publish("/topic/news", "x")
        assert (await ann.message()).body == b"x"
    assert len(server) == 0


async def test_a_login_that_is_refused_fails_the_test_with_the_reason() -> None:
    server = StompServer(EmbeddedBroker(), policy=[Rule.connect(LOGGED_IN)])
    async with StompFactory() as stomp:
        with pytest.raises(AssertionError, match="the login was refused: "):
            await stomp(server)


async def test_the_name_of_a_stomp_client_is_its_login_unless_its_headers_have_another() -> None:
    async def authenticate(login: Login) -> str | None:
        return login.login if login.passcode != "wrong" else None

    server = StompServer(EmbeddedBroker(), authenticate=authenticate)
    async with StompFactory() as stomp:
        clients = [await stomp(server, "ann"), await stomp(server, "ann", {"login": "bob"})]
        assert [client.connection.user.name for client in clients if client.connection.user] == ["ann", "bob"]
        with pytest.raises(AssertionError, match="'ann' was sent as principal of the handshake and as login"):
            await stomp(server, "ann", {"passcode": "wrong"})
        with pytest.raises(UsageError, match="takes a StompServer"):
            await stomp(RecordingHandler())  # type: ignore[arg-type]
