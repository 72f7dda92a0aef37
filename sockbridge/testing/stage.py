"""The stage on which contracts are tested: a server with the broker in question, clients, and time at hand.

Knows: servers, clients without sockets, how a test is played.
Does not know: what brokers promise.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from ..stomp.broker.base import Broker
from ..stomp.broker.history import History
from ..stomp.frame import Command, Frame
from ..stomp.policy import EVERYBODY, Rule
from ..stomp.server import StompServer
from .loop import ManualClockLoop, turns
from .stomp_client import MemoryClient

QUEUE = "/queue/jobs"
TOPIC = "/topic/news"
KEPT = "/topic/kept/a"
LAST = "/topic/last/a"
ROOM = "/topic/rooms/a"
DEAD = "/queue/dead-letters"

KEPT_SIZE = 5
INDIVIDUAL = {"ack": "client-individual"}
DURABLE = {"durable": "true", "client-id": "desk"}

_POLICY = (Rule.connect(EVERYBODY), Rule.subscribe("**", EVERYBODY), Rule.send("**", EVERYBODY))


class Stage:
    """A server with the broker that is tested, and clients.

    Attributes:
        broker: the one.
        server: around it.
    """

    def __init__(self, contract: Contract, broker: Broker) -> None:
        self.broker = broker
        self.server = StompServer(broker, policy=_POLICY)
        self._contract = contract

    async def client(self, user: str | None = None, headers: Mapping[str, str] | None = None) -> MemoryClient:
        """One that has logged in."""
        client = MemoryClient(self.server, user)
        connected = await client.connect(headers)
        assert connected.command is Command.CONNECTED, connected
        return client

    async def consumer(self, destination: str = QUEUE, headers: Mapping[str, str] | None = None) -> MemoryClient:
        """One that has subscribed as well, with the id ``s``."""
        client = await self.client()
        told = await client.subscribe("s", destination, headers)
        assert told.command is Command.RECEIPT, told
        return client

    async def publish(self, destination: str, *bodies: str) -> None:
        """Publish from the server's side."""
        for body in bodies:
            await self.server.messaging.send(destination, body)

    async def quiet(self) -> None:
        """Until everything that was sent has arrived."""
        await self._contract.quiet()

    async def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        await self._contract.advance(seconds)

    async def came(self, client: MemoryClient) -> list[str]:
        """The bodies of all MESSAGEs that have come to ``client``."""
        await self.quiet()
        return bodies(client.take())


Scene = Callable[[Any, Stage], Awaitable[None]]
C = TypeVar("C")


def scene(**options: object) -> Callable[[Scene], Callable[[Any], None]]:
    """Makes a plain test of a coroutine function that is given a stage; ``options`` go to ``make_broker``."""

    def make(act: Scene) -> Callable[[Any], None]:
        def test(self: Contract) -> None:
            self.play(act, **options)

        test.__name__, test.__qualname__, test.__doc__ = act.__name__, act.__qualname__, act.__doc__
        return test

    return make


class Contract:
    """What all contracts share: how a broker is made, and how time passes."""

    def make_broker(self, **wanted: Any) -> Broker:
        """The broker to test.

        Args:
            wanted: as the arguments of ``EmbeddedBroker``: ``topics``, ``queues``, ``history``, ``presence``, and what
                a single test needs, e.g. ``max_deliveries``.
        """
        raise NotImplementedError

    async def quiet(self) -> None:
        """Return when everything that was sent has arrived. Override it for a broker in another process."""
        await turns(30)

    async def advance(self, seconds: float) -> None:
        """Let so much time pass. Override it for a broker that has a clock of its own."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ManualClockLoop)
        await loop.advance(seconds)

    def play(self, act: Scene, **options: object) -> None:
        """Set the stage, and let ``act`` run on it."""
        with asyncio.Runner(loop_factory=ManualClockLoop) as runner:
            runner.run(self._play(act, options))

    async def _play(self, act: Scene, options: Mapping[str, object]) -> None:
        wanted: dict[str, object] = {
            "topics": ["/topic"],
            "queues": ["/queue"],
            "history": [History("/topic/kept/*", size=KEPT_SIZE), History("/topic/last/*", size=1, on_subscribe=True)],
            "presence": ["/topic/rooms/*"],
        }
        stage = Stage(self, self.make_broker(**{**wanted, **options}))
        async with stage.server:
            await act(self, stage)


# What tests say in one word.


def body(frame: Frame) -> str:
    """As text."""
    return frame.body.decode()


def bodies(frames: list[Frame]) -> list[str]:
    """Those of the MESSAGEs among ``frames``."""
    return [body(frame) for frame in frames if frame.command is Command.MESSAGE]


def news(frame: Frame) -> dict[str, Any]:
    """What a MESSAGE about presence says."""
    told: dict[str, Any] = json.loads(frame.body)
    return told


def since(message: Frame) -> dict[str, str]:
    """Headers that ask for what comes after ``message``."""
    return {"x-since": message.headers["x-offset"], "x-epoch": message.headers["x-epoch"]}


def assert_died(dead: Frame, text: str, reason: str, deliveries: int) -> None:
    """``dead`` is the dead letter of the message ``text`` of the queue."""
    assert body(dead) == text
    assert dead.headers["x-first-death-queue"] == QUEUE
    assert dead.headers["x-first-death-reason"] == reason
    assert dead.headers["x-first-death-count"] == str(deliveries)


def assert_refused(client: MemoryClient, answer: Frame, *texts: str) -> None:
    """``answer`` is an ERROR that says ``texts``, and the connection was closed."""
    assert answer.command is Command.ERROR, answer
    told = f"{answer.headers['message']} {body(answer)}"
    assert all(text in told for text in texts), told
    assert client.close_code is not None


async def abort(client: MemoryClient) -> None:
    """ABORT the transaction ``t``."""
    await client.ask("ABORT", {"transaction": "t"})


async def unsubscribe(client: MemoryClient) -> None:
    """End the subscription ``s``."""
    await client.ask("UNSUBSCRIBE", {"id": "s"})


async def drain_queue(stage: Stage, destination: str) -> list[str]:
    """What still waits in a queue, taken out of it."""
    client = await stage.consumer(destination)
    waiting = await stage.came(client)
    await client.disconnect()
    return waiting


async def drop_all(stage: Stage) -> None:
    """Let all clients go."""
    for connection in list(stage.server.connections):
        client = connection.carrier
        assert isinstance(client, MemoryClient)
        await client.cut()
