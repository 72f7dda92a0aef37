"""What a server says of itself before a session is opened, and how long it took to say so.

Knows: ``/info``, where it leads, the time-outs that follow from its round trip.
Does not know: transports.
Spec: sockjs-protocol 0.3.3, InfoTest; docs/conformance.md, section 2.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from ..errors import ConnectFailed, NotSockJS
from .address import below, has_host, shown
from .faults import NETWORK, describe

PATIENCE: Final = 8.0
"""Seconds that ``/info`` may take, as in sockjs-client."""

MAX_SIZE: Final = 64 * 1024
"""Bytes that it may have."""

MAX_REDIRECTS: Final = 10

HANGS_UP: Final = (aiohttp.ServerDisconnectedError, ConnectionResetError)
"""What a TLS server does when it is asked in plain HTTP."""

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class _Body(msgspec.Struct):
    # All servers send the first four; they are not looked at where nothing follows from them.
    websocket: bool | None = None
    cookie_needed: bool = False
    entropy: object = None
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What ``/info`` said.

    Attributes:
        url: below which the transports are; where requests were led to, or what the server's ``base_url`` says.
        websocket: the server serves websockets.
        cookie_needed: it is behind a load balancer that tells clients apart by a cookie.
        round_trip: seconds that the answer took.
    """

    url: URL
    websocket: bool
    cookie_needed: bool
    round_trip: float

    def patience(self, round_trips: int) -> float:
        """Seconds that something may take that needs ``round_trips``: what sockjs-client grants."""
        one = 4 * self.round_trip if self.round_trip > 0.1 else 0.3 + self.round_trip
        return one * round_trips


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    url: URL  # what was asked at last, without the query that no cache has
    round_trip: float


async def fetch_info(
    http: aiohttp.ClientSession, url: URL, headers: Mapping[str, str], patience: float = PATIENCE
) -> ServerInfo:
    """Ask the server below ``url``.

    Args:
        headers: sent to the origin of ``url`` alone.

    Raises:
        NotSockJS: what answers is none.
        ConnectFailed: nothing answers, or it does not serve now.
    """
    try:
        async with asyncio.timeout(patience):
            answer = await _ask(http, url, headers)
    except TimeoutError:
        raise ConnectFailed(f"{shown(url)} did not answer within {patience:g} seconds") from None
    except NETWORK as error:
        hint = ": does it speak https?" if url.scheme == "http" and isinstance(error, HANGS_UP) else ""
        raise ConnectFailed(f"{shown(url)} cannot be reached: {describe(error)}{hint}") from error
    _check_status(url, answer)
    try:
        said = msgspec.json.decode(answer.body, type=_Body)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        said = None
    if said is None or (said.websocket is None and said.entropy is None):
        raise NotSockJS(
            f"{_place(url, answer)} answered {answer.body[:40]!r} to /info, which no SockJS server says: "
            "is the prefix right?"
        )
    base = _base(url, answer, said.base_url)
    return ServerInfo(base, said.websocket is not False, said.cookie_needed, answer.round_trip)


async def _ask(http: aiohttp.ClientSession, url: URL, headers: Mapping[str, str]) -> _Answer:
    # Follows redirects by hand, as aiohttp would send the headers to other origins as well.
    asked = below(url, "info")
    for _ in range(MAX_REDIRECTS):
        before = monotonic()
        async with http.get(
            asked.update_query(t=secrets.token_hex(4)),  # no cache has that
            headers=headers if asked.origin() == url.origin() else None,
            allow_redirects=False,
            raise_for_status=False,
        ) as response:
            location = response.headers.get("Location") if response.status in REDIRECTS else None
            if location is None:
                round_trip = monotonic() - before
                return _Answer(response.status, await _body(response), asked, round_trip)
        asked = _lead(url, asked, location)
    raise NotSockJS(f"{shown(url)} leads from one URL to the next, and never to a SockJS server")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_SIZE:  # whatever it is, it is no /info
            response.close()
            break
    return bytes(body[:MAX_SIZE])


def _lead(url: URL, asked: URL, location: str) -> URL:
    led = _join(asked, location)
    if led is None:
        raise NotSockJS(f"{shown(url)} leads to {location[:100]!r}, which is no http URL")
    if asked.scheme == "https" and led.scheme == "http":
        raise ConnectFailed(f"{shown(url)} leads from https to http ({shown(led)}), where anybody could read along")
    query = [(name, value) for name, value in led.query.items() if name != "t"]
    return led.with_query(query)


def _check_status(url: URL, answer: _Answer) -> None:
    place, status = _place(url, answer), answer.status
    if status in (401, 403):
        raise ConnectFailed(f"{place} answered {status} to /info: it wants a login, or others than us")
    if status == 407:
        raise ConnectFailed(f"{place} cannot be reached: the proxy wants a login (407)")
    if status == 429 or status >= 500:
        raise ConnectFailed(f"{place} answered {status} to /info: something is there, but it does not serve us now")
    if status != 200:
        raise NotSockJS(f"{place} answered {status} to /info: is there a SockJS server under this prefix?")


def _base(url: URL, answer: _Answer, base_url: str | None) -> URL:
    base = answer.url.parent.with_query(answer.url.query)
    if not base_url:
        return base
    wanted = _join(base, base_url)
    if wanted is None:
        raise NotSockJS(f"{shown(url)} wants to be asked at {base_url[:100]!r} (base_url), which is no http URL")
    if base.scheme == "https" and wanted.scheme == "http":
        raise ConnectFailed(
            f"{shown(url)} wants to be asked at {shown(wanted)} (base_url), by http, where anybody could read along"
        )
    return wanted.with_path(wanted.raw_path.rstrip("/") or "/", encoded=True).with_query(wanted.query)


def _join(base: URL, reference: str) -> URL | None:
    try:
        url = base.join(URL(reference)).with_fragment(None)
        return url if url.scheme in ("http", "https") and has_host(url) else None
    except ValueError:
        return None


def _place(url: URL, answer: _Answer) -> str:
    if answer.url == below(url, "info"):
        return shown(url)
    return f"{shown(url)}, which leads to {shown(answer.url.parent)},"
