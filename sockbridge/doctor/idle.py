"""After how much silence something cuts a connection, and whether heartbeats come before.

Knows: how heartbeats look on each transport, what an end looks like.
Does not know: messages.
Spec: sockjs-protocol 0.3.3, Protocol (heartbeats); RFC 6455, 5.5.2 (pings).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn

import aiohttp
from aiohttp import WSMsgType
from yarl import URL

from ..client.faults import NETWORK
from .findings import Cause, Figure, Finding, duration, fault, passed, printable, skipped, warning
from .probe import HandshakeRefused, Network, NoAnswer, TooLarge, Watch, session_url, translate
from .reach import Place

MOST_FRAMES: Final = 1000
"""Above that the connection is not quiet, or the server answers without end."""

_FRAME = re.compile(rb"^([oh]|[acm][^\n]*)\r?\n", re.MULTILINE)


class Closed(Exception):
    """The server said goodbye; the text says how."""


class NotQuiet(Exception):
    """Frames come all the time."""


@dataclass(slots=True)
class Quiet:
    """A connection on which nobody says anything.

    Attributes:
        watch: since when.
        last: seconds at which the server was last heard.
        beats: seconds of silence before each heartbeat.
        frames: how many have come.
    """

    watch: Watch = field(default_factory=Watch)
    last: float = 0.0
    beats: list[float] = field(default_factory=list)
    frames: int = 0

    def hear(self, *, is_heartbeat: bool) -> None:
        """Something came from the server.

        Raises:
            NotQuiet: and that too often.
        """
        now = self.watch.seconds
        if is_heartbeat:
            self.beats.append(now - self.last)
        self.last = now
        self.frames += 1
        if self.frames > MOST_FRAMES:
            raise NotQuiet

    @property
    def silence(self) -> float:
        """Seconds since the server was last heard."""
        return self.watch.seconds - self.last


async def check_idle(network: Network, place: Place, name: str) -> Finding:
    """Hold a connection over the transport ``name`` for as long as was asked for."""
    quiet = Quiet()
    hold: Callable[[Network, URL, Quiet], Awaitable[NoReturn]] = HOLDERS[name]
    try:
        async with asyncio.timeout(network.settings.idle):
            await hold(network, session_url(place.base), quiet)
    except TimeoutError:
        return _alive(network, name, quiet) if quiet.last else skipped(f"idle {name}", "it does not open")
    except Closed as error:
        verdict = f"the application ended the session after {duration(quiet.watch.seconds)}: {error}"
        return warning(f"idle {name}", Cause.SESSION_CLOSED, verdict, **_figures(quiet))
    except NotQuiet:
        return skipped(f"idle {name}", f"more than {MOST_FRAMES} frames came, so it is not quiet here")
    except TooLarge as error:
        return skipped(f"idle {name}", f"{error}: it is not quiet here")
    except HandshakeRefused as error:
        return skipped(f"idle {name}", f"it does not open: {error}")
    except NoAnswer as error:
        if not quiet.last:
            return skipped(f"idle {name}", f"it does not open: {error}")
        return _cut(name, quiet, str(error))


def _figures(quiet: Quiet) -> dict[str, Figure]:
    figures: dict[str, Figure] = {"held_seconds": quiet.watch.seconds, "heartbeats": len(quiet.beats)}
    if quiet.beats:
        figures["heartbeat_seconds"] = max(quiet.beats)
    return figures


def _alive(network: Network, name: str, quiet: Quiet) -> Finding:
    idle = network.settings.idle
    figures = _figures(quiet)
    if quiet.beats:
        verdict = f"held for {duration(idle)}, with a heartbeat every {duration(max(quiet.beats))}"
        return passed(f"idle {name}", verdict, **figures)
    delay = network.settings.heartbeat_delay
    if idle > delay + 1:
        verdict = f"held for {duration(idle)}, but no heartbeat came: servers send one every {duration(delay)}"
        return warning(f"idle {name}", Cause.NO_HEARTBEATS, verdict, **figures)
    return passed(f"idle {name}", f"{duration(idle)} of silence do no harm", **figures)


def _cut(name: str, quiet: Quiet, how: str) -> Finding:
    before = f"after heartbeats every {duration(max(quiet.beats))}" if quiet.beats else "before a heartbeat came"
    verdict = f"cut after {duration(quiet.silence)} of silence, {before}: {how}"
    return fault(f"idle {name}", Cause.IDLE_CUT, verdict, silence_seconds=quiet.silence, **_figures(quiet))


# How each is held: until it is cut (NoAnswer), or the session ends (Closed).


async def _hold_websocket(network: Network, session: URL, quiet: Quiet) -> NoReturn:
    async with network.websocket(session / "websocket") as socket:
        while True:
            try:
                message = await socket.receive()
                if message.type is WSMsgType.PING:
                    await socket.pong(message.data)
            except NETWORK as error:
                raise translate(error) from error
            if message.type is WSMsgType.TEXT:
                _hear(quiet, message.data)
            elif message.type is WSMsgType.PING:
                quiet.hear(is_heartbeat=True)
            else:
                raise _end(message)


def _end(message: aiohttp.WSMessage) -> NoAnswer:
    if message.type is WSMsgType.CLOSE:
        return NoAnswer(f"the websocket was closed ({message.data} {printable(str(message.extra or ''))})")
    if message.type is WSMsgType.ERROR and isinstance(message.data, Exception):
        return translate(message.data)
    return NoAnswer("the connection ended without a goodbye")


async def _hold_stream(network: Network, session: URL, quiet: Quiet) -> NoReturn:
    while True:
        async with network.stream("POST", session / "xhr_streaming") as stream:
            if stream.status != 200:
                raise NoAnswer(f"xhr_streaming was answered {stream.status}")
            frames = 0
            while match := await stream.find(_FRAME, network.settings.idle + 1):
                frames += 1
                _hear(quiet, match[1].decode("utf-8", "replace"))
        if not frames:
            raise NoAnswer("the answer ended")


async def _hold_poll(network: Network, session: URL, quiet: Quiet) -> NoReturn:
    while True:
        async with network.stream("POST", session / "xhr", patience=network.settings.idle + 1) as stream:
            await stream.find(None, network.settings.idle + 1)
            if stream.status != 200:
                raise NoAnswer(f"a poll was answered {stream.status} by something on the way")
            frame = _FRAME.match(stream.received)
            if not frame:
                raise NoAnswer(
                    f"a poll was answered {printable(bytes(stream.received[:200]).decode('utf-8', 'replace'))!r}"
                )
            _hear(quiet, frame[1].decode("utf-8", "replace"))


def _hear(quiet: Quiet, frame: str) -> None:
    if frame.startswith("c["):
        raise Closed(printable(frame))
    quiet.hear(is_heartbeat=frame == "h")


HOLDERS: Final = {"websocket": _hold_websocket, "xhr_streaming": _hold_stream, "xhr": _hold_poll}
"""Which transports are held; others end like one of these."""
