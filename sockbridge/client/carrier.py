"""What a session demands of the connection that carries it, and what a connection may fail with.

A carrier has no tasks and no timers. One task of the session reads, another writes, so neither ever waits for the
other: what a connection has to say by itself (a pong, a question) waits in the carrier until the writer asks for it.

Knows: the verbs, the address of one session.
Does not know: any transport; reconnecting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import aiohttp
from yarl import URL

from ..errors import ProtocolError
from ..sockjs.framing import Framing
from .frames import Kind, ServerFrame, parse
from .options import ClientOptions


class Broken(Exception):
    """The connection has failed; the text says how. What was being written may or may not have arrived."""


class Unsent(Broken):
    """The same, but what was being written has surely not arrived."""


class Unknown(Unsent):
    """The same, because the server does not know the session any more: its goodbye may still be on its way."""


@dataclass(frozen=True, slots=True)
class Target:
    """One session to be opened.

    Attributes:
        http: what requests are made with.
        url: ``{base}/{server}/{session}``, or of a raw websocket its own URL; a query goes with every request.
        headers: to be sent with every request.
        options: limits and times.
    """

    http: aiohttp.ClientSession
    url: URL
    headers: dict[str, str]
    options: ClientOptions


class Carrier(Protocol):
    """One connection, or the series of requests that stands for one.

    Attributes:
        name: of the transport, as in the option ``transports``.
        round_trips: how many it takes to open.
        framing: how messages are worded for ``write``.
        subprotocol: what was agreed on; None if nothing was.
        signs: grows with everything that comes from the server, so whoever looks twice sees whether it is alive.
        owes: True while the connection has something of its own to write; ``write`` with no messages does that. May
            become True in ``read`` and ``poke``.
    """

    name: ClassVar[str]
    round_trips: ClassVar[int]
    framing: ClassVar[Framing]
    subprotocol: str | None
    signs: int
    owes: bool

    async def open(self) -> None:
        """Connect; returns when the server has opened the session.

        Raises:
            Broken: it has not.
        """
        ...

    async def read(self) -> ServerFrame:
        """The next frame of the server; waits for it, and never for ``write``. Not called by two at once.

        Raises:
            Broken: there will be none.
        """
        ...

    async def write(self, prepared: Sequence[bytes]) -> bool:
        """Send messages in their order, and what the connection owes. Not called by two at once.

        Args:
            prepared: what ``framing.prepare`` has made of them; may be empty.

        Returns:
            True if the server has them now; False if ``read`` will tell so (``Kind.CONFIRMED``).

        Raises:
            Broken: some of them, in their order, may have arrived.
            Unsent: none has.
            Unknown: none has, as the session has ended.
        """
        ...

    def poke(self) -> None:
        """Provoke a sign of life, where the transport can."""
        ...

    async def close(self) -> None:
        """Say goodbye where the transport can, within ``close_timeout``, and free everything.

        Never raises; may be called twice, and while ``read`` waits, which then fails.
        """
        ...


def check_opened(frame: ServerFrame) -> None:
    """Look at the first frame.

    Raises:
        Broken: it does not open the session.
    """
    if frame.close is not None:
        raise Broken(f"the server refused the session ({frame.close.code} {frame.close.reason})")
    if frame.kind is not Kind.OPEN:
        raise Broken("the server sent messages before it opened the session")


def read_frame(text: bytes) -> ServerFrame:
    """Read one frame.

    Raises:
        Broken: it is none.
    """
    try:
        return parse(text)
    except ProtocolError as error:
        raise Broken(f"the server does not speak SockJS here: {error}" if text else "the answer was empty") from error
