"""What is measured, beside whom, and what is wanted: a table of workloads.

Knows: the workloads of ``bench.compare``, and the figures wanted in each.
Does not know: how load is made, which servers run on this machine, how results are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["echo", "fanout", "connect"]
"""``echo``: every message comes back. ``fanout``: what one publishes goes to all. ``connect``: sessions are opened."""

TransportName = Literal["websocket", "xhr_streaming", "eventsource", "xhr"]

SUBSCRIBERS: Final = 500

SOCKBRIDGE: Final = "sockbridge"
ON_UVLOOP: Final = "sockbridge-uv"
PUBLIC: Final = "sockbridge-public"
"""sockbridge on aiohttp's public API alone; the others may use a private seam."""

ANY_PEER: Final = "every peer"
"""Stands for all peers on asyncio's own loop, or in another language, that can do the workload."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """sockbridge is to be ``least`` times as fast as ``peer``: messages per second, of the same round.

    Attributes:
        peer: a peer's name, or ``ANY_PEER``.
        ours: which sockbridge is compared: ``SOCKBRIDGE``, ``ON_UVLOOP`` or ``PUBLIC``.
    """

    peer: str
    least: float
    ours: str = SOCKBRIDGE


@dataclass(frozen=True, slots=True)
class CostLimit:
    """sockbridge may take ``greatest`` times the CPU time per message that it takes for ``workload``.

    Attributes:
        workload: the name of the other one, which is measured beside this in the same rounds.
    """

    workload: str
    greatest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One row of the table.

    Attributes:
        name: for the command line and the file.
        kind: what the load does.
        transport: by which it is done; a publisher always uses a websocket.
        window: messages of a connection in flight (``echo``; over HTTP they share one POST), or published messages
            that are not yet with all subscribers (``fanout``).
        size: bytes of a message.
        is_json: the message is the text of a JSON object, so that SockJS has quotes to escape.
        connections: sessions at a time; subscribers, for ``fanout``.
        is_stomp: the messages are STOMP frames, in SockJS.
        wanted: ratios to reach.
        cost_limit: None where there is none.
    """

    name: str
    kind: Kind
    transport: TransportName = "websocket"
    window: int = 1
    size: int = 64
    is_json: bool = False
    connections: int = 100
    is_stomp: bool = False
    wanted: tuple[Wanted, ...] = ()
    cost_limit: CostLimit | None = None

    @property
    def title(self) -> str:
        """What is done, in words: for the head of a table."""
        way = f"STOMP over {self.transport}" if self.is_stomp else self.transport
        text = f"{self.size} B of JSON" if self.is_json else f"{self.size} B"
        if self.kind == "echo":
            return f"{way} echo, {text}, {self.window} in flight, {self.connections} connections"
        if self.kind == "fanout":
            return f"{way} fan-out, {text}, to {self.connections}, {self.window} published ahead"
        return f"new {way} sessions, {self.connections} at a time"

    @property
    def unit(self) -> str:
        """What is counted per second."""
        return {"echo": "messages", "fanout": "deliveries", "connect": "sessions"}[self.kind]


WORKLOADS: Final[tuple[Workload, ...]] = (
    Workload(
        name="ws-echo",
        kind="echo",
        wanted=(
            Wanted("aiohttp", 1.2),
            Wanted("aiohttp-uv", 1.2, ON_UVLOOP),
            Wanted("sockjs", 2.2),
            Wanted("sockjs-node", 1.1),
            Wanted("sockjs-go", 1.1, ON_UVLOOP),
        ),
    ),
    Workload(
        name="ws-echo-1k",
        kind="echo",
        size=1024,
        wanted=(Wanted("aiohttp", 1.15), Wanted("sockjs-node", 1.9), Wanted("sockjs-go", 1.5)),
    ),
    Workload(name="ws-echo-json", kind="echo", size=512, is_json=True),
    Workload(
        name="ws-echo-16",
        kind="echo",
        window=16,
        wanted=(Wanted("aiohttp", 5.5), Wanted("aiohttp", 4.5, PUBLIC), Wanted(ANY_PEER, 3.5, PUBLIC)),
    ),
    Workload(
        name="xhr-streaming-echo",
        kind="echo",
        transport="xhr_streaming",
        wanted=(Wanted("sockjs-node", 1.4), Wanted("sockjs", 2.4), Wanted("sockjs-go", 0.75, ON_UVLOOP)),
    ),
    Workload(
        name="xhr-streaming-echo-8",
        kind="echo",
        transport="xhr_streaming",
        window=8,
        wanted=(Wanted("sockjs-node", 1.6), Wanted("sockjs-go", 1.05, ON_UVLOOP)),
    ),
    Workload(
        name="eventsource-echo",
        kind="echo",
        transport="eventsource",
        wanted=(Wanted("sockjs-node", 1.4), Wanted("sockjs", 2.4), Wanted("sockjs-go", 0.75, ON_UVLOOP)),
    ),
    Workload(
        name="xhr-echo",
        kind="echo",
        transport="xhr",
        wanted=(Wanted("sockjs-node", 1.25), Wanted("sockjs", 2.8)),
    ),
    Workload(
        name="ws-fanout",
        kind="fanout",
        connections=SUBSCRIBERS,
        wanted=(
            Wanted("aiohttp", 1.25),
            Wanted("sockjs-node", 1.2),
            Wanted("sockjs", 2.2),
            Wanted("sockjs-go", 1.15, ON_UVLOOP),
        ),
    ),
    Workload(
        name="ws-fanout-16",
        kind="fanout",
        window=16,
        connections=SUBSCRIBERS,
        wanted=(Wanted("aiohttp", 10.0),),
    ),
    Workload(name="xhr-streaming-fanout", kind="fanout", transport="xhr_streaming", connections=SUBSCRIBERS),
    Workload(
        name="xhr-streaming-fanout-16",
        kind="fanout",
        transport="xhr_streaming",
        window=16,
        connections=SUBSCRIBERS,
        wanted=(Wanted("sockjs-node", 4.0),),
    ),
    Workload(
        name="eventsource-fanout-16",
        kind="fanout",
        transport="eventsource",
        window=16,
        connections=SUBSCRIBERS,
        wanted=(Wanted("sockjs-node", 4.0),),
    ),
    Workload(
        name="xhr-fanout",
        kind="fanout",
        transport="xhr",
        connections=SUBSCRIBERS,
        wanted=(Wanted("sockjs-node", 0.8),),
    ),
    Workload(
        name="xhr-fanout-16",
        kind="fanout",
        transport="xhr",
        window=16,
        connections=SUBSCRIBERS,
        wanted=(Wanted("sockjs-node", 1.3),),
    ),
    Workload(
        name="ws-connect",
        kind="connect",
        connections=50,
        wanted=(Wanted("sockjs-node", 1.3), Wanted("sockjs", 1.35), Wanted("aiohttp", 0.8)),
    ),
    Workload(
        name="xhr-connect",
        kind="connect",
        transport="xhr",
        wanted=(Wanted("sockjs-node", 1.2), Wanted("sockjs", 3.0)),
    ),
    Workload(name="stomp-echo", kind="echo", is_stomp=True),
    Workload(
        name="stomp-fanout",
        kind="fanout",
        is_stomp=True,
        connections=SUBSCRIBERS,
        cost_limit=CostLimit("ws-fanout", 1.5),
    ),
)

WORKLOAD_NAMES: Final = tuple(workload.name for workload in WORKLOADS)


def workload_named(name: str) -> Workload:
    """The row of that name, one of ``WORKLOAD_NAMES``."""
    return WORKLOADS[WORKLOAD_NAMES.index(name)]
