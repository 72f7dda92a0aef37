"""Clients of others over TCP, as back-end services use them: stomp.py in all its versions, and stompman.

Knows: how each is called, and how what it gets reaches a test.
Does not know: what a test asks of the server.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import stomp
import stompman

from sockbridge.stomp.tcp import TcpListener
from tests.fakes import GUARD

KINDS: Final = {"1.0": stomp.StompConnection10, "1.1": stomp.StompConnection11, "1.2": stomp.StompConnection12}
VERSIONS: Final = tuple(KINDS)

LIBRARIES: Final = ("stomp.py", "stompman")
"""Of which a service that does not finish its work can be made; see ``Victim``."""


class Listening(Protocol):
    """A site that can be reached over TCP."""

    @property
    def listener(self) -> TcpListener:
        """Where."""
        ...


class Ear(stomp.ConnectionListener):
    """Hears what a stomp.py client hears, in its thread, and tells the test's loop.

    Attributes:
        heard: ``(what, headers, body)`` of each call.
        beats: how many heart-beats have come.
    """

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[str, dict[str, str], Any]] = asyncio.Queue()
        self.beats = 0
        self._early: deque[tuple[str, dict[str, str], Any]] = deque()
        self._loop = asyncio.get_running_loop()

    def on_message(self, frame: Any) -> None:
        self._tell("MESSAGE", frame.headers, frame.body)

    def on_receipt(self, frame: Any) -> None:
        self._tell("RECEIPT", frame.headers, frame.body)

    def on_error(self, frame: Any) -> None:
        self._tell("ERROR", frame.headers, frame.body)

    def on_disconnected(self) -> None:
        self._tell("disconnected", {}, "")

    def on_heartbeat_timeout(self) -> None:
        self._tell("timeout", {}, "")

    def on_heartbeat(self) -> None:
        self.beats += 1

    def _tell(self, what: str, headers: dict[str, str], body: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.heard.put_nowait, (what, headers, body))

    async def next(self, what: str) -> tuple[dict[str, str], Any]:
        """Headers and body of what comes next, which must be ``what``."""
        found, headers, body = self._early.popleft() if self._early else await self._get()
        assert found == what, (found, headers, body)
        return headers, body

    async def body(self) -> Any:
        """The body of the next message."""
        return (await self.next("MESSAGE"))[1]

    async def receipt(self, id: str) -> dict[str, str]:
        """The headers of the RECEIPT ``id``, which must come next."""
        headers, _ = await self.next("RECEIPT")
        assert headers["receipt-id"] == id
        return headers

    async def receipt_among(self, id: str) -> dict[str, str]:
        """The same where messages may come before it; those are next afterwards."""
        earlier = []
        while (found := await self._get())[0] == "MESSAGE":
            earlier.append(found)
        self._early.extend(earlier)
        what, headers, body = found
        assert (what, headers.get("receipt-id")) == ("RECEIPT", id), (what, headers, body)
        return headers

    async def _get(self) -> tuple[str, dict[str, str], Any]:
        async with asyncio.timeout(GUARD):
            return await self.heard.get()


def make_client(here: Listening, version: str, **how: Any) -> Any:
    """A client of stomp.py that has not connected."""
    return KINDS[version]([("127.0.0.1", here.listener.port)], reconnect_attempts_max=1, **how)


@asynccontextmanager
async def stomp_py(
    here: Listening, version: str, login: str = "guest", *, headers: Mapping[str, str] | None = None, **how: Any
) -> AsyncIterator[tuple[Any, Ear]]:
    """A client of stomp.py that has logged in; says goodbye with a receipt at the end.

    Args:
        headers: of its CONNECT.
    """
    client, ear = make_client(here, version, **how), Ear()
    client.set_listener("ear", ear)
    await asyncio.to_thread(client.connect, login, "secret", wait=True, headers=headers)
    try:
        yield client, ear
    finally:
        if client.is_connected():
            await asyncio.to_thread(client.disconnect, receipt="goodbye")
        else:
            await asyncio.to_thread(client.transport.stop)


@asynccontextmanager
async def stompman_client(here: Listening, login: str = "guest", **how: Any) -> AsyncIterator[stompman.Client]:
    """A client of stompman that has logged in."""
    server = stompman.ConnectionParameters("127.0.0.1", here.listener.port, login, "secret")
    async with asyncio.timeout(4 * GUARD), stompman.Client([server], **how) as client:
        yield client


class Inbox:
    """What a subscription of stompman gets."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.errors: list[Exception] = []

    async def take(self, frame: Any) -> None:
        await self.messages.put(frame)

    def suppressed(self, error: Exception, frame: Any) -> None:
        self.errors.append(error)

    async def next(self) -> Any:
        async with asyncio.timeout(GUARD):
            return await self.messages.get()

    async def body(self) -> str:
        return bytes((await self.next()).body).decode()


async def subscribe(client: stompman.Client, destination: str, **how: Any) -> tuple[Any, Inbox]:
    """A subscription of stompman that the server has confirmed, and what it gets."""
    inbox = Inbox()
    subscription = await client.subscribe(
        destination, inbox.take, on_suppressed_exception=inbox.suppressed, receipt_timeout=GUARD, **how
    )
    return subscription, inbox


async def confirmed(client: Any, ear: Ear, destination: str, ack: str = "auto", id: str = "1", **headers: str) -> Any:
    """Let stomp.py subscribe; the headers of the RECEIPT."""
    client.subscribe(destination, id=id, ack=ack, headers={**headers, "receipt": f"subscribed {id}"})
    return await ear.receipt_among(f"subscribed {id}")


def settle(client: Any, verb: str, headers: Mapping[str, str], **how: Any) -> None:
    """ACK or NACK as a user of stomp.py does it in the version of ``client``."""
    call = getattr(client, verb)
    if isinstance(client, stomp.StompConnection10):
        call(headers["message-id"], **how)
    elif isinstance(client, stomp.StompConnection12):
        call(headers["ack"], **how)
    else:
        call(headers["message-id"], headers["subscription"], **how)


class Victim:
    """A back-end service in a process of its own, that takes jobs and never finishes one."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def job(self) -> str:
        """The body of the next job that it works on."""
        assert self._process.stdout is not None
        async with asyncio.timeout(4 * GUARD):  # it has to start
            line = await self._process.stdout.readline()
        assert line, "it has ended"
        return line.decode().rstrip("\n")

    async def kill(self) -> None:
        """At once, by the kernel: its socket is cut, and nobody says goodbye. May be called twice."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def victim(here: Listening, library: str, destination: str) -> AsyncIterator[Victim]:
    """A service made of ``library``, one of ``LIBRARIES``, that consumes ``destination``."""
    command = (sys.executable, str(Path(__file__).with_name("victim.py")))
    process = await asyncio.create_subprocess_exec(*command, library, str(here.listener.port), destination, stdout=PIPE)
    running = Victim(process)
    try:
        yield running
    finally:
        await running.kill()
