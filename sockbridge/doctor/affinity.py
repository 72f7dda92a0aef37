"""Whether all requests of one client reach the same server process.

One connection opens a session; others, each a new one, send to it. What they send is an empty array: it is legal, and
reaches no handler. A process that does not know the session answers 404.

Knows: what the answers to ``xhr_send`` mean.
Does not know: how requests are distributed.
Spec: sockjs-protocol 0.3.3, XhrPolling (``xhr_send``); docs/conformance.md, section 4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from .findings import Cause, Figure, Finding, fault, passed, skipped, warning
from .origins import is_cross_site
from .probe import Answer, Network, NoAnswer, session_url
from .reach import Place

NOTHING: Final = b"[]"
"""A body without messages."""

CHECK: Final = "affinity"

SENDING: Final = "xhr_send"
"""The check that is told of where sends fail for another reason."""

KNOWN: Final = (200, 204, 404, 500)
"""Answers to nothing at all: taken, the session is unknown, or "Payload expected." of a server that wants messages."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One session, looked for by several connections.

    Attributes:
        found: how many reached its process.
        lost: how many reached another.
        other: what was answered otherwise, for example.
    """

    found: int
    lost: int
    other: Answer | NoAnswer | None


async def check_affinity(network: Network, place: Place) -> list[Finding]:
    """Look for a session by fresh connections: as a browser that keeps cookies, and as one that keeps none.

    Returns:
        what was found of sending, if it is worth a word, and then of affinity.
    """
    try:
        kept = await _try(
            network, place, aiohttp.CookieJar(unsafe=True)
        )  # unsafe: servers without a name have them, too
        none = (
            await _try(network, place, aiohttp.DummyCookieJar())
            if kept.found and not kept.lost and not kept.other
            else None
        )
    except NoAnswer as error:
        return [skipped(CHECK, f"no session could be opened by polling: {error}")]
    if kept.other:
        return [
            _not_sent(kept, kept.other, network.settings.connections),
            skipped(CHECK, f"sends fail for another reason: see {SENDING}"),
        ]
    return [_judge(network, place, kept, none)]


def _not_sent(kept: Trial, other: Answer | NoAnswer, count: int) -> Finding:
    figures: dict[str, Figure] = {"connections": count, "found": kept.found, "lost": kept.lost}
    failed = f"{count - kept.found - kept.lost} of {count} sends (POST)"
    if isinstance(other, NoAnswer):
        verdict = f"{failed} got no answer, while xhr (POST) opens sessions: {other}"
        return fault(SENDING, Cause.CUT, verdict, **figures)
    verdict = f"{failed} were answered {other.summary}, while xhr (POST) opens sessions"
    return fault(SENDING, Cause.REFUSED, verdict, status=other.status, **figures)


def _judge(network: Network, place: Place, kept: Trial, none: Trial | None) -> Finding:
    count = network.settings.connections
    if not kept.found:
        verdict = f"none of {kept.lost} sends found its session: xhr_send is led elsewhere, or to other workers"
        return fault(CHECK, Cause.NO_AFFINITY, verdict, connections=count, found=0, lost=kept.lost)
    if kept.lost:
        verdict = (
            f"{kept.lost} of {count} fresh connections were led to another worker than the one with their session: "
            "there are several, and requests are spread over them without affinity"
        )
        return fault(CHECK, Cause.NO_AFFINITY, verdict, connections=count, found=kept.found, lost=kept.lost)
    assert none is not None
    figures = {"connections": count, "found": kept.found, "lost": 0, "lost_without_cookies": none.lost}
    if none.lost and is_cross_site(network.settings, place):
        verdict = "only the cookie keeps a client on its worker, and the page is of another site"
        return warning(CHECK, Cause.AFFINITY_BY_COOKIE, verdict, **figures)
    by = " by the cookie" if none.lost else ""
    return passed(CHECK, f"{kept.found} fresh connections all reached the worker with their session{by}", **figures)


async def _try(network: Network, place: Place, cookies: aiohttp.abc.AbstractCookieJar) -> Trial:
    session = session_url(place.base)
    async with network.make_http(cookies, is_fresh=True) as http:
        opened = await network.fetch("POST", session / "xhr", http=http)
        if opened.status != 200 or not opened.body.startswith(b"o"):
            raise NoAnswer(f"xhr was answered {opened.summary}")
        sends = (_send(network, session / "xhr_send", http) for _ in range(network.settings.connections))
        return _count(await asyncio.gather(*sends))


async def _send(network: Network, url: URL, http: aiohttp.ClientSession) -> Answer | NoAnswer:
    try:
        return await network.fetch("POST", url, body=NOTHING, http=http)
    except NoAnswer as error:
        return error


def _count(answers: Sequence[Answer | NoAnswer]) -> Trial:
    statuses = [answer.status for answer in answers if isinstance(answer, Answer)]
    others = [answer for answer in answers if not isinstance(answer, Answer) or answer.status not in KNOWN]
    found = sum(status in KNOWN and status != 404 for status in statuses)
    return Trial(found, statuses.count(404), others[0] if others else None)
