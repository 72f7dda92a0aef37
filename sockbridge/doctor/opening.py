"""Whether sessions open over HTTP: by polling, and over answers that go on.

A stream whose first frame does not come is looked at from the other side: a second receiver of its session is told
2010 if the first one has reached the server, and then something holds the answer back. A transport that is not there
is compared with one that nobody has: whoever answers that otherwise has not answered this.

Knows: what each transport's first frame looks like.
Does not know: websockets; sending.
Spec: sockjs-protocol 0.3.3, XhrPolling, XhrStreaming, EventSource, HtmlFile, JsonPolling, Protocol;
docs/conformance.md, section 5.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Final

from yarl import URL

from .findings import Cause, Figure, Finding, duration, fault, passed, printable, skipped, warning
from .probe import Answer, Late, Network, NoAnswer, Stream, session_url
from .reach import Place

ANOTHER: Final = b"c[2010,"

CLOSING: Final = re.compile(rb'c\[\d{4},\\*"[^\n]{0,200}?\]')
"""The last frame of a session, in whatever a transport puts it."""

LINGER: Final = 0.2
"""Seconds in which an answer must not end after its first frame."""

NOT_SERVED: Final = (404, 405, 410)

MISSING: Final = ("doctor_no_transport", "doctor_none_either")
"""Transports that no server has."""

OFTEN_BLOCKED: Final = "jsonp"
"""Is often switched off on purpose, here or there."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a transport opens.

    Attributes:
        name: of the transport, last segment of the URL.
        method: of the request.
        first: what the first frame looks like.
        goes_on: the answer does not end with it.
    """

    name: str
    method: str
    first: re.Pattern[bytes]
    goes_on: bool = True


OPENINGS: Final = {
    opening.name: opening
    for opening in (
        Opening("xhr_streaming", "POST", re.compile(rb"(?:^|\n)o\r?\n")),
        Opening("eventsource", "GET", re.compile(rb"data: ?o\r?\n\r?\n")),
        Opening("htmlfile", "GET", re.compile(rb'p\("o"\);')),
        Opening("xhr", "POST", re.compile(rb"^o\r?\n"), goes_on=False),
        Opening("jsonp", "GET", re.compile(rb'call\("o"\);'), goes_on=False),
    )
}


def opening_url(session: URL, name: str) -> URL:
    """Where a transport opens a session."""
    url = session / name
    return url.with_query(c="call") if name in ("htmlfile", "jsonp") else url


async def check_opening(network: Network, place: Place, name: str) -> Finding:
    """Open a session over the transport ``name``."""
    opening = OPENINGS[name]
    session = session_url(place.base)
    arrived: list[Stream] = []
    # A task, as it has to go on while we ask who holds it up.
    task = asyncio.create_task(_open(network, opening, session, arrived))
    try:
        await asyncio.wait([task], timeout=network.settings.timeout)
        if task.done():
            return task.result()
        return await _late(network, opening, session, arrived)
    except NoAnswer as error:
        return fault(name, Cause.CUT, f"the request failed: {error}")
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _open(network: Network, opening: Opening, session: URL, arrived: list[Stream]) -> Finding:
    # ``arrived`` gets the answer when its head is there.
    patience = 3 * network.settings.timeout
    url = opening_url(session, opening.name)
    async with network.stream(opening.method, url, patience=patience) as stream:
        arrived.append(stream)
        if stream.status == 200:
            return await _read(opening, stream, patience)
        await stream.find(None, patience)
        answer = Answer(stream.status, stream.headers, bytes(stream.received), stream.seconds)
    return await _refused(network, opening, session, answer)


async def _refused(network: Network, opening: Opening, session: URL, answer: Answer) -> Finding:
    name = opening.name
    if answer.status not in NOT_SERVED or (name in ("xhr", "xhr_streaming") and not _is_plain(answer)):
        verdict = f"{opening.method} was answered {answer.summary}"
        return fault(name, Cause.REFUSED, verdict, status=answer.status)
    if answer.status == 404 and name != OFTEN_BLOCKED and (how := await _difference(network, opening, session, answer)):
        verdict = f"{answer.summary}: it seems to be blocked on the way; for a transport that nobody has, {how}"
        return warning(name, Cause.BLOCKED, verdict, status=404)
    return skipped(name, f"{answer.summary}: not served, or blocked on the way")


async def _difference(network: Network, opening: Opening, session: URL, answer: Answer) -> str:
    # What sets the answer apart from that for transports that nobody has; nothing if these are not the same each time.
    try:
        one, other = [await network.fetch(opening.method, opening_url(session, name)) for name in MISSING]
    except NoAnswer:
        return ""
    expected, found = _outline(one, MISSING[0]), _outline(answer, opening.name)
    if expected != _outline(other, MISSING[1]):
        return ""
    return next((f"{name} is {printable(expected[name])!r}" for name in expected if expected[name] != found[name]), "")


def _outline(answer: Answer, name: str) -> dict[str, str]:
    # What is said of any transport: some servers name what was asked for.
    headers = {header: answer.headers.get(header, "") for header in ("Server", "Content-Type")}
    text = answer.body.decode("utf-8", "replace").replace(name, "")
    return {"the status": str(answer.status), **headers, "the text": text}


def _is_plain(answer: Answer) -> bool:
    # A server that does not serve a transport says 404 like for any other URL; proxies send pages.
    return answer.status == 404 and "html" not in answer.headers.get("Content-Type", "")


async def _read(opening: Opening, stream: Stream, patience: float) -> Finding:
    name = opening.name
    found = await stream.find(opening.first, patience)
    opened = stream.seconds
    figures: dict[str, Figure] = {
        "http": stream.version,
        "head_seconds": stream.head_seconds,
        "first_byte_seconds": stream.first_seconds,
        "open_seconds": opened,
    }
    if not found:
        goodbye = CLOSING.search(stream.received)
        if goodbye:
            verdict = f"the server ends the session at once: {printable(goodbye[0].decode('utf-8', 'replace'))}"
            return fault(name, Cause.SESSION_CLOSED, verdict, **figures)
        said = printable(bytes(stream.received[:200]).strip().decode("utf-8", "replace")) or "nothing"
        return fault(name, Cause.NOT_SOCKJS, f"the answer is not that of a SockJS server: {said}", **figures)
    encoding = stream.headers.get("Content-Encoding", "identity")
    if opening.goes_on and encoding != "identity":
        verdict = f"opened in {duration(opened)}, but something compresses the stream ({printable(encoding)})"
        return warning(name, Cause.COMPRESSED, verdict, **figures)
    if opening.goes_on and await _ends(stream):
        verdict = f"opened in {duration(opened)}, but the answer ends with the first frame"
        return warning(name, Cause.SHORT_STREAMS, verdict, **figures)
    how = "the first frame comes while the answer goes on" if opening.goes_on else "answered at once"
    return passed(name, f"opened in {duration(opened)}: {how}", **figures)


async def _ends(stream: Stream) -> bool:
    try:
        await stream.find(None, LINGER)
    except Late:
        return False
    return stream.is_ended


async def _late(network: Network, opening: Opening, session: URL, arrived: list[Stream]) -> Finding:
    seconds = network.settings.timeout
    came = len(arrived[0].received) if arrived else 0
    figures = {"waited_seconds": seconds, "received_bytes": came}
    if opening.goes_on and await _is_attached(network, session):
        part = f"{came} bytes" if came else "the head" if arrived else "nothing"
        encoding = arrived[0].headers.get("Content-Encoding", "") if arrived else ""
        verdict = (
            "something holds the answer back: the server has opened the session, "
            f"and of its answer came {part} within {duration(seconds)}"
            + (f"; it is compressed ({printable(encoding)})" if encoding else "")
        )
        return fault(opening.name, Cause.BUFFERED, verdict, **figures)
    verdict = f"no session opened within {duration(seconds)}"
    return fault(opening.name, Cause.NO_ANSWER, verdict, **figures)


async def _is_attached(network: Network, session: URL) -> bool:
    # Twice, since one may be led to another worker.
    asking = [asyncio.create_task(network.fetch("POST", session / "xhr")) for _ in range(2)]
    try:
        for answer in asyncio.as_completed(asking):
            try:
                if (await answer).body.startswith(ANOTHER):
                    return True
            except NoAnswer:
                continue
        return False
    finally:
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
