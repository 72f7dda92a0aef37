"""The client without a socket: what it reads, what it misses, and how it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sockbridge.errors import SessionClosed, UsageError
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.controllers.mapping import Controller
from sockbridge.stomp.frame import Command
from sockbridge.stomp.policy import EVERYBODY, Rule
from sockbridge.stomp.server import StompServer
from sockbridge.testing import BrokerContract, ManualClockLoop, MemoryClient
from sockbridge.testing.loop import turns

POLICY = [Rule.connect(EVERYBODY), Rule.subscribe("/**", EVERYBODY), Rule.send("/**", EVERYBODY)]


numbers = Controller()


@numbers.message_mapping("/double")
async def double(number: int) -> None:
    """Doubles nothing."""


def play(act: Callable[[StompServer], Awaitable[None]]) -> None:
    async def run() -> None:
        async with StompServer(EmbeddedBroker(), controllers=[numbers], policy=POLICY) as server:
            await act(server)

    with asyncio.Runner(loop_factory=ManualClockLoop) as runner:
        runner.run(run())


async def arrive(server: StompServer, user: str | None = None) -> MemoryClient:
    client = MemoryClient(server, user)
    assert (await client.connect()).command is Command.CONNECTED
    return client


def test_it_speaks_and_hears() -> None:
    async def act(server: StompServer) -> None:
        client = await arrive(server, "ann")
        assert repr(client) == f"<MemoryClient {client.id} ann>"
        assert (await client.subscribe("1", "/topic/a", {"ack": "client"})).command is Command.RECEIPT
        assert (await client.publish("/topic/a", "b:ö")).command is Command.RECEIPT
        message = await client.message()
        assert message.body.decode() == "b:ö"
        await client.ack(message)
        await client.disconnect()
        assert list(server.connections) == []

    play(act)


def test_a_receipt_does_not_swallow_what_comes_before_it() -> None:
    async def act(server: StompServer) -> None:
        client = await arrive(server)
        await client.subscribe("1", "/topic/a")
        for body in "xy":
            await client.publish("/topic/a", body)
        assert [frame.body for frame in await client.messages(2)] == [b"x", b"y"]
        assert client.take() == []

    play(act)


def test_who_does_not_read_is_not_drained_and_reads_on_in_order() -> None:
    async def act(server: StompServer) -> None:
        client = await arrive(server)
        await client.subscribe("1", "/topic/a")
        client.stop_reading()
        for body in "xy":
            await server.messaging.send("/topic/a", body)
        assert (client.is_drained, client.buffered > 0, client.take()) == (False, True, [])
        draining = asyncio.create_task(client.drain())
        await turns()
        assert not draining.done()
        client.read_on()
        await draining
        assert [frame.body for frame in client.take()] == [b"x", b"y"]

    play(act)


def test_who_is_cut_hears_nothing_more_and_nobody_waits_for_it() -> None:
    async def act(server: StompServer) -> None:
        client = await arrive(server)
        client.stop_reading()
        draining = asyncio.create_task(client.drain())
        await turns()
        await client.cut()
        with pytest.raises(SessionClosed):
            await draining
        client.send_prepared(b"MESSAGE\n\n\0")
        client.read_on()
        assert client.take() == []

    play(act)


def test_a_frame_that_cannot_come_is_not_waited_for() -> None:
    async def act(server: StompServer) -> None:
        client = await arrive(server)
        await client.send("ACK", {"id": "nonsense"})
        assert (await client.frame()).command is Command.ERROR
        client.close(4000)  # a second goodbye changes nothing
        assert client.close_code == 1002
        with pytest.raises(AssertionError, match="the server has closed with 1002"):
            await client.frame()

    play(act)


def test_what_is_no_command_is_refused_and_publish_is_named() -> None:
    async def act(server: StompServer) -> None:
        client = await arrive(server)
        with pytest.raises(UsageError, match=r"'/app/a' is no command of STOMP; .* publish\(destination, body\)"):
            await client.send("/app/a", body="x")

    play(act)


def test_who_waits_for_a_message_in_vain_is_told_what_the_server_did(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(server: StompServer) -> None:
        client = await arrive(server, "ann")
        with pytest.raises(AssertionError, match=r"no MESSAGE came within .* the server has refused nothing"):
            await client.message()
        await client.send("SEND", {"destination": "/app/double"}, "no number")
        with pytest.raises(AssertionError, match=r"has not served 1 frames .* the log sockbridge.stomp"):
            await client.message()
        client.stop_reading()
        with pytest.raises(AssertionError, match="the client has stopped reading"):
            await client.message()
        client.read_on()
        assert (await client.publish("/app/double", "no number")).command is Command.ERROR
        with pytest.raises(AssertionError, match=r"no MESSAGE will come, .* after ERROR: .+"):
            await client.message()

    monkeypatch.setattr("sockbridge.testing.stomp_client.GUARD", 0.02)
    play(act)


def test_another_frame_than_a_message_is_told() -> None:
    async def act(server: StompServer) -> None:
        client = await arrive(server)
        await client.send("ACK", {"id": "nonsense"})
        with pytest.raises(AssertionError, match=r"a MESSAGE was to come, and not ERROR: .+"):
            await client.message()

    play(act)


def test_a_clock_that_jumps_does_at_once_what_is_due() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ManualClockLoop)
        done: list[str] = []
        loop.call_later(3600, done.append, "an hour")
        loop.call_later(7200, done.append, "two")
        await loop.advance(3601)
        assert done == ["an hour"]

    with asyncio.Runner(loop_factory=ManualClockLoop) as runner:
        runner.run(run())


def test_a_contract_wants_a_broker() -> None:
    with pytest.raises(NotImplementedError):
        BrokerContract().test_a_topic_keeps_nothing_for_whoever_comes_later()
