"""A client whose server, network and application do anything in any order: what must hold all the time."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any

import pytest

from sockbridge.client.backoff import Backoff
from sockbridge.client.stomp.client import Client
from sockbridge.client.stomp.subscription import Subscription
from sockbridge.errors import ClientError, ConnectFailed, SessionClosed
from tests.client.stomp.fakes import FakeLink, options
from tests.fakes import GUARD


class World:
    """A client, and a server that answers everything until it does not."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.links: list[FakeLink] = []
        self.serving: list[asyncio.Task[None]] = []
        self.calls: set[asyncio.Task[Any]] = set()
        self.subscriptions: list[Subscription] = []
        self.outcomes: list[str] = []
        self.serial = 0
        self.standing: list[str] = []  # ids that the last server knows
        self.taken: dict[Subscription, list[int]] = {}
        self.client = Client(
            "fake://server",
            self.dial,
            {},
            options(
                reconnect=Backoff(first=1e-6, limit=1e-6),
                receive_buffer_limit=3000,
                timeout=GUARD,
                close_timeout=0.01,
                max_receipts=3,
            ),
        )

    async def dial(self) -> FakeLink:
        if len(self.links) and self.chance.random() < 0.2:
            raise ConnectFailed("not now")
        link = FakeLink()
        self.links.append(link)
        self.serving.append(asyncio.create_task(self.serve(link)))
        return link

    async def serve(self, link: FakeLink) -> None:
        self.standing = standing = []
        while True:
            try:
                frame = await link.frame()
            except TimeoutError:
                return
            if frame.command == "CONNECT":
                link.say("CONNECTED", {"version": "1.2"})
            elif frame.command == "SUBSCRIBE":
                assert frame.headers["id"] not in standing
                standing.append(frame.headers["id"])
            elif frame.command == "UNSUBSCRIBE":
                standing.remove(frame.headers["id"])
            for _ in range(self.chance.randrange(3)):
                self.publish(link, standing)
            if frame.receipt is not None:
                link.say("RECEIPT", {"receipt-id": frame.receipt})

    def publish(self, link: FakeLink, standing: list[str]) -> None:
        if standing:
            self.serial += 1
            link.message(self.chance.choice(standing), str(self.serial), ack="1")

    # What the application and the network do.

    def act(self) -> None:
        acts = [self.subscribe, self.unsubscribe, self.send, self.take, self.take, self.cut, self.fail, self.cancel]
        weights = [3, 2, 3, 4, 4, 1, 1, 1]
        self.chance.choices(acts, weights)[0]()

    def subscribe(self) -> None:
        one = self.client.subscribe("/topic/a", ack=self.chance.choice(["auto", "client-individual"]))
        self.subscriptions.append(one)
        self.call(one.__aenter__)

    def unsubscribe(self) -> None:
        if self.subscriptions:
            self.call(self.chance.choice(self.subscriptions).unsubscribe)

    def send(self) -> None:
        self.call(partial(self.client.send, "/topic/a", "x", receipt=self.chance.random() < 0.5))

    def take(self) -> None:
        if self.subscriptions:
            self.call(partial(self.take_one, self.chance.choice(self.subscriptions)))

    async def take_one(self, subscription: Subscription) -> None:
        message = await subscription.receive()
        self.taken.setdefault(subscription, []).append(int(message.text))
        if subscription.ack == "client-individual":
            await message.ack(receipt=self.chance.random() < 0.5)

    def cut(self) -> None:
        self.links[-1].cut("cut")

    def fail(self) -> None:
        if self.client.is_connected and self.chance.random() < 0.3:
            self.links[-1].say("ERROR", {"message": "no"})

    def cancel(self) -> None:
        if self.calls:
            self.chance.choice(sorted(self.calls, key=id)).cancel()

    def call(self, work: Any) -> None:
        task = asyncio.ensure_future(self.watch(work))
        self.calls.add(task)
        task.add_done_callback(self.calls.discard)

    async def watch(self, work: Any) -> None:
        try:
            await work()  # called here: a task may be cancelled before it begins
            self.outcomes.append("done")
        except (ClientError, SessionClosed) as error:
            self.outcomes.append(type(error).__name__)

    async def settle(self) -> None:
        """Until nobody calls any more, and the server has heard all that was said."""
        for task in self.calls:
            task.cancel()
        if self.calls:
            await asyncio.wait(self.calls)
        emptying = asyncio.create_task(self.empty())
        confirmed = 0
        while confirmed < 2:  # behind what waited for its turn
            try:
                await self.client.send("/settled", receipt=True)
                confirmed += 1
            except ClientError:
                continue
        emptying.cancel()

    async def empty(self) -> None:
        """Take everything: where nobody does, nothing is read."""
        while True:
            for one in self.subscriptions:
                while len(one):
                    await one.receive()
            await asyncio.sleep(0)

    def check(self) -> None:
        waiting = sum(message.size for one in self.subscriptions for message in one._arrived)
        assert self.client._inbox.size == waiting, "what waits is counted"
        for one, numbers in self.taken.items():
            assert numbers == sorted(set(numbers)), f"in order, and once: {one}"


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_happens_nothing_hangs_and_everything_is_freed(seed: int) -> None:
    world = World(seed)
    async with asyncio.timeout(4 * GUARD):
        await world.client.start()
        for _ in range(150):
            world.act()
            for _ in range(world.chance.randrange(8)):
                await asyncio.sleep(0)
            world.check()
        await world.settle()
        assert sorted(world.standing) == sorted(one.id for one in world.subscriptions if one.is_active)
        world.check()
        await world.client.close()
        assert world.client._inbox.size == 0
        assert all(link.is_closed for link in world.links)
        assert world.outcomes.count("done") > 10
        for task in world.serving:
            assert not task.done() or task.exception() is None
            task.cancel()
        await asyncio.wait(world.serving)
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert [name for name in names if name.startswith("sockbridge")] == []
