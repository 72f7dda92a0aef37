"""What a handler is told in memory is what it is told in production, over the transport of the same name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sockbridge.errors import SessionClosed, SessionLost
from sockbridge.sockjs.framing import Message
from sockbridge.sockjs.session import Session
from sockbridge.testing.memory_session import MemorySession
from sockbridge.testing.relayed_client import RelayedClient
from sockbridge.testing.serving import serve
from tests.fakes import RecordingHandler
from tests.transports.wire import until

Client = MemorySession | RelayedClient
NAMES = {
    "websocket": "websocket",
    "websocket-raw": "websocket-raw",
    "xhr_streaming": "xhr-streaming",
    "eventsource": "eventsource",
    "xhr": "xhr-polling",
}
"""The client's name of each transport."""


class Obedient(RecordingHandler):
    """Does what it is told: ``close``, ``fail``, ``burst``, ``late``; else it sends back."""

    async def on_message(self, session: Session, message: Message) -> None:
        self.record("on_message", session, message)
        match message:
            case "close":
                session.send("last words")
                session.close(4001, "Bye")
                session.send("never sent")
            case "fail":
                session.send("before the fault")
                raise ValueError("as told")
            case "burst":
                for number in range(100):
                    session.send(str(number))
            case _:
                session.send(message)


async def echo(client: Client, session: Session) -> None:
    for message in ("a", "", "ü\u2028", "burst", "z"):
        await client.send(message)


async def close(client: Client, session: Session) -> None:
    await client.send("close")


async def fail(client: Client, session: Session) -> None:
    try:
        await client.send("fail")
    except ValueError:
        assert isinstance(client, MemorySession)


async def say_goodbye(client: Client, session: Session) -> None:
    await client.send("a")
    await client.receive()
    await client.close()


async def cut(client: Client, session: Session) -> None:
    await client.send("a")
    await client.receive()
    await until(lambda: session.receiver is not None)  # it polls
    await client.cut()


async def server_closes(client: Client, session: Session) -> None:
    await until(lambda: session.receiver is not None)
    session.send("1")
    session.send("2")
    session.close(4321, "enough")


async def expect_end(client: Client) -> tuple[list[Message], str]:
    """What still comes to the client, and how it ends for it."""
    messages: list[Message] = []
    try:
        while True:
            messages.append(await client.receive())
            if messages[-1:] == ["z"]:
                await client.close()
    except SessionLost:
        return messages, "lost"
    except SessionClosed as closed:
        return messages, "lost" if closed.code == 1006 else str(closed.code)


Scenario = Callable[[Client, Session], Awaitable[None]]


async def play(make: Callable[[Obedient], Any], scenario: Scenario) -> tuple[list[Any], list[Message], str]:
    handler = Obedient()
    async with make(handler) as (client, session):
        await scenario(client, session)
        messages, end = await expect_end(client)
        await handler.wait_for("on_closed")
        lost = session.undelivered
    calls = [
        (name, type(value) if name == "on_transport_error" else value)
        for name, _, value in handler.calls
        if name not in ("on_start", "on_stop")
    ]
    return [*calls, ("undelivered", lost)], messages, end


class InMemory:
    def __init__(self, transport: str, options: dict[str, Any], handler: Obedient) -> None:
        self.client = MemorySession(handler, transport, **options)

    async def __aenter__(self) -> tuple[Client, Session]:
        await self.client.__aenter__()
        return self.client, self.client.served

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.client.__aexit__(*exc_info)


class InProduction:
    def __init__(self, transport: str, options: dict[str, Any], handler: Obedient) -> None:
        self.handler = handler
        self.serving = serve(handler, "/echo", **options)
        self.transport = NAMES[transport]

    async def __aenter__(self) -> tuple[Client, Session]:
        self.server = serving = await self.serving.__aenter__()
        assert serving.endpoint is not None
        self.client = await RelayedClient(serving.url, self.transport).__aenter__()
        await until(lambda: serving.endpoint is not None and list(serving.endpoint.sessions))
        (session,) = serving.endpoint.sessions
        return self.client, session

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.client.__aexit__(None, None, None)
        if "fail" in self.handler.values("on_message"):
            assert isinstance(await self.server.handler_error(), ValueError)
        await self.serving.__aexit__(None, None, None)


@pytest.mark.parametrize("scenario", [echo, close, fail, say_goodbye, cut, server_closes])
@pytest.mark.parametrize("transport", NAMES)
async def test_a_handler_is_told_the_same(transport: str, scenario: Scenario) -> None:
    options: dict[str, Any] = {"disconnect_delay": 0.5}
    seen = [
        await play(lambda handler, kind=kind: kind(transport, options, handler), scenario)  # type: ignore[misc]
        for kind in (InMemory, InProduction)
    ]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("transport", ["websocket", "websocket-raw"])
async def test_a_message_that_is_too_large_ends_both_alike(transport: str) -> None:
    async def send_too_much(client: Client, session: Session) -> None:
        await client.send("fits")
        try:
            await client.send("x" * 200)
        except (SessionLost, SessionClosed):
            assert isinstance(client, RelayedClient)

    options: dict[str, Any] = {"max_message_size": 100}
    told = []
    for kind in (InMemory, InProduction):
        calls, messages, _ = await play(lambda handler, kind=kind: kind(transport, options, handler), send_too_much)  # type: ignore[misc]
        told.append((calls, messages))
    assert told[0] == told[1]
