"""Whether messages come back as they were sent, where the application is known to send them back.

Knows: our client.
Does not know: how it carries messages.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Final

from ..client.connecting import connect
from ..client.session import Session
from ..errors import ClientError, ConnectFailed, SessionClosed
from ..sockjs.framing import CloseCode
from .bodies import DEFAULT
from .findings import Cause, Finding, duration, fault, passed, printable, quantity, skipped
from .probe import MAX_MESSAGE, Network, Watch
from .reach import Place

CARRIERS: Final = {
    "websocket": "websocket",
    "xhr_streaming": "xhr-streaming",
    "eventsource": "eventsource",
    "xhr": "xhr-polling",
}
"""What is tried, and the client's name for it."""

COUNT: Final = 20
"""Messages in a row, whose order is looked at."""

ROOM: Final = 1024
"""Bytes that a message of the largest size leaves to what is around it."""

LONGEST: Final = 300
"""Characters of a sentence of our client, which may quote the server."""


class Wrong(Exception):
    """What came back is not what was sent."""


async def check_echo(network: Network, place: Place, name: str) -> Finding:
    """Round trips over the transport ``name``."""
    check = f"echo {name}"
    settings = network.settings
    url = str(place.base)
    try:
        async with connect(
            url,
            session=network.http,
            transports=[CARRIERS[name]],
            headers=network.headers(place.base),
            timeout=settings.timeout,
            max_frame_size=max(MAX_MESSAGE, 2 * (settings.large or DEFAULT)),
        ) as session:
            if not await _echoes(session, settings.timeout):
                return skipped(check, "this application does not send back what it is sent")
            return await _talk(session, check, settings.large or DEFAULT, settings.timeout)
    except ConnectFailed as error:
        return skipped(check, f"it does not open: {printable(str(error), LONGEST)}")
    except Wrong as error:
        return fault(check, Cause.ECHO_WRONG, str(error))
    except TimeoutError:
        return fault(check, Cause.ECHO_WRONG, f"a message did not come back within {duration(settings.timeout)}")
    except SessionClosed as error:
        return fault(check, Cause.SESSION_CLOSED, _ended(error), code=error.code)
    except ClientError as error:
        return fault(check, Cause.CUT, f"the session broke: {printable(str(error), LONGEST)}")


async def _echoes(session: Session, seconds: float) -> bool:
    text = f"sockbridge doctor {secrets.token_hex(8)}"
    await session.send(text)
    try:
        async with asyncio.timeout(seconds):
            return await session.receive() == text
    except TimeoutError:
        return False


async def _talk(session: Session, check: str, large: int, seconds: float) -> Finding:
    trips = []
    for number in range(COUNT):
        watch = Watch()
        await _exchange(session, [f"round trip {number}"], seconds)
        trips.append(watch.seconds)
    await _exchange(session, [f"in order {number}" for number in range(COUNT)], seconds)
    text = "0123456789abcdef" * ((large - ROOM) // 16 if large > 2 * ROOM else large // 32)
    await _exchange(session, [text], seconds)
    middle = sorted(trips)[COUNT // 2]
    verdict = f"{COUNT} messages in order, a round trip in {duration(middle)}, one of {quantity(len(text))} as well"
    return passed(check, verdict, round_trip_seconds=middle, slowest_seconds=max(trips), large_bytes=len(text))


async def _exchange(session: Session, texts: list[str], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        for text in texts:
            await session.send(text)
        for text in texts:
            back = await session.receive()
            if back != text:
                raise Wrong(f"{_shown(text)} was sent, and {_shown(str(back))} came back")


def _ended(error: SessionClosed) -> str:
    by = printable(f"{error.code} {error.reason}", LONGEST)
    if error.code == CloseCode.INTERNAL_ERROR:
        return f"the application failed, or is no echo application: the server ended the session ({by})"
    return f"the server ended the session ({by}): is this an echo application?"


def _shown(text: str) -> str:
    return json.dumps(text[:40]) + ("..." if len(text) > 40 else "")
