"""Connections that are cut at any byte: what the client says about what it sent is true, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

import sockbridge
from sockbridge.client import Backoff, Break, connect
from sockbridge.errors import ConnectFailed, SessionClosed, SessionLost
from sockbridge.sockjs.framing import Message
from tests.transports.wire import echo_server

from .cutting import relayed

TRANSPORTS = ("websocket", "xhr-streaming", "eventsource", "xhr-polling", "websocket-raw")

SEEDS = 30

COUNT = 60

MANY_SEEDS = 1000


class Log(sockbridge.SessionHandler):
    """Writes down what each session received, and sends it back with the number of the session.

    Attributes:
        received: by session, in order.
    """

    def __init__(self) -> None:
        self.received: dict[str, list[int]] = {}

    async def on_connected(self, session: sockbridge.Session) -> None:
        self.received[session.id] = []

    async def on_message(self, session: sockbridge.Session, message: Message) -> None:
        assert isinstance(message, str)
        number = int(message.partition(" ")[0])
        self.received[session.id].append(number)
        session.send(f"{session.id} {number}")

    @property
    def everything(self) -> list[int]:
        return [number for numbers in self.received.values() for number in numbers]


class Client:
    """Sends numbers over connections that are cut, and keeps account.

    Attributes:
        sent: what the session has taken.
        received: what came back, ``(session, number)``.
        reported: what it was told that it may not have arrived.
    """

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.received: list[tuple[str, int]] = []
        self.reported: list[int] = []
        self.breaks = 0

    async def run(self, url: str, transport: str, *, is_patient: bool) -> None:
        session = await self._connect(url, transport, is_patient)
        listening = asyncio.create_task(self._listen(session))
        try:
            for number in range(COUNT):
                # of all lengths, so that cuts meet every place of a frame
                await session.send(f"{number} {'x' * (number * 7 % 300)}")
                self.sent.append(number)
                if number % 3 == 0:
                    await asyncio.sleep(0)
                if number % 20 == 0:
                    await self._flush(session)
        except (SessionLost, SessionClosed):  # the second, where it is the server that tells of the cut (1002)
            assert not is_patient
        await self._flush(session)
        await session.close()
        await listening
        self.reported += numbers(session.in_doubt) + numbers(session.undelivered)

    async def _flush(self, session: sockbridge.client.Session) -> None:
        while session.buffered and session.close_info is None:
            with contextlib.suppress(
                SessionLost, SessionClosed
            ):  # of what was in doubt; or the end, which ``send`` tells as well
                await session.flush()

    async def _connect(self, url: str, transport: str, is_patient: bool) -> sockbridge.client.Session:
        backoff = Backoff(first=0.001, limit=0.002)
        while True:
            try:
                return await connect(
                    url,
                    transports=[transport],
                    reconnect=backoff if is_patient else False,
                    on_reconnect=self._on_reconnect,
                )
            except ConnectFailed:
                continue

    def _on_reconnect(self, broken: Break) -> None:
        self.breaks += 1
        self.reported += numbers(broken.in_doubt)

    async def _listen(self, session: sockbridge.client.Session) -> None:
        try:
            async for message in session:
                id, number = str(message).split()
                self.received.append((id, int(number)))
        except SessionLost:
            return


def numbers(messages: tuple[Message, ...]) -> list[int]:
    return [int(str(message).partition(" ")[0]) for message in messages]


async def check(transport: str, seed: int, *, is_patient: bool) -> None:
    client = Client()
    log = Log()
    async with (
        echo_server(log, response_limit=700 if seed % 2 else 4096) as (url, _, _),
        relayed(url, seed, mean=3000, most=6) as relay,
    ):
        await client.run(relay.url, transport, is_patient=is_patient)
    judge(client, log)


def judge(client: Client, log: Log) -> None:
    arrived = log.everything
    assert len(set(arrived)) == len(arrived), "the server got a message twice"
    for received in log.received.values():
        assert received == sorted(received), "a session got messages in another order"
    assert len(set(client.reported)) == len(client.reported), "a message was reported twice"
    assert set(client.sent) - set(arrived) - set(client.reported) == set(), "a message was lost silently"
    assert len(set(client.received)) == len(client.received), "the client got a message twice"
    by_session: dict[str, list[int]] = {}
    for id, number in client.received:
        by_session.setdefault(id, []).append(number)
    for id, received in by_session.items():
        # what came back is a beginning of what the session got: nothing left out, nothing in another order
        assert received == log.received[id][: len(received)]


@pytest.mark.parametrize("is_patient", [True, False], ids=["reconnecting", "once"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_each_message_arrives_once_and_in_order_or_is_reported(
    transport: str, is_patient: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    for seed in range(SEEDS if is_patient else SEEDS // 3):
        await check(transport, seed, is_patient=is_patient)
    assert not caplog.records


@pytest.mark.nightly
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_same_a_thousand_times(transport: str) -> None:
    for seed in range(SEEDS, MANY_SEEDS):
        await check(transport, seed, is_patient=True)
