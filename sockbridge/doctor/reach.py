"""Whether a SockJS server is there, and what it says of itself.

Knows: the greeting and ``/info``; where else to look for them.
Does not know: sessions.
Spec: sockjs-protocol 0.3.3, BaseUrlGreeting, InfoTest; docs/conformance.md, section 7.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from yarl import URL

from ..errors import ConnectFailed, NotSockJS
from .findings import Cause, Finding, duration, fault, passed, warning
from .probe import Answer, Late, Network, NoAnswer, NotTrusted, server_name
from .settings import is_server, veiled

REDIRECTS: Final = (301, 302, 303, 307, 308)
MOST_REDIRECTS: Final = 5
NEAR: Final = ("sockjs", "ws", "echo", "chat", "stomp")
"""Names under which SockJS servers are often mounted."""

GREETING: Final = b"Welcome to SockJS!"

_NOT_KEPT = re.compile(r"no-store|no-cache|max-age=0", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """A SockJS server that was found.

    Attributes:
        url: where it is mounted, as asked for; where redirects led to, if they did.
        base: below which its transports are: ``url``, or what its ``base_url`` says.
        websocket: it says that it serves websockets.
        cookie_needed: it says that clients are told apart by a cookie.
        entropy: what it said at first; None if it said nothing of the kind.
        server: who answered, as far as the answer tells.
    """

    url: URL
    base: URL
    websocket: bool
    cookie_needed: bool
    entropy: object
    server: str


async def reach(network: Network) -> tuple[Place, list[Finding]]:
    """Find the server.

    Raises:
        ConnectFailed: nothing answers there.
        NotSockJS: what answers is no SockJS server; the text says where one is, if one is near.
    """
    asked = network.settings.url
    url, answer = await _ask(network, asked)
    said = read_info(answer)
    if said is None:
        raise NotSockJS(await _not_here(network, url, answer))
    base = _base(url, said)
    place = Place(
        url,
        base,
        said.get("websocket") is not False,
        said.get("cookie_needed") is True,
        said.get("entropy"),
        server_name(answer.headers),
    )
    by = f", by {place.server}" if place.server else ""
    findings = [
        passed("reachable", f"/info was answered in {duration(answer.seconds)}{by}", answer_seconds=answer.seconds)
    ]
    if url != asked:
        verdict = f"{asked} redirects to {url}, which is what is examined here{_held_back(network, url)}"
        findings.append(warning("redirect", Cause.REDIRECTED, verdict))
    if network.settings.insecure and url.scheme == "https":
        findings.append(warning("tls", Cause.NOT_VERIFIED, "the certificate was not verified (--insecure)"))
    findings += await asyncio.gather(_check_info(network, place, answer), _check_greeting(network, place))
    return place, findings


def read_info(answer: Answer) -> dict[str, Any] | None:
    """What ``/info`` said; None if this is no answer of ``/info``."""
    if answer.status != 200:
        return None
    try:
        said = msgspec.json.decode(answer.body)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
    # every server says at least one of these
    return said if isinstance(said, dict) and said.keys() & {"websocket", "entropy", "cookie_needed"} else None


async def _ask(network: Network, url: URL) -> tuple[URL, Answer]:
    # Redirects by hand: what is secret in the headers stays with the origin that it is meant for.
    for _ in range(MOST_REDIRECTS):
        try:
            answer = await network.fetch("GET", url / "info")
        except NoAnswer as error:
            hint = "" if isinstance(error, Late) else await _other_scheme(network, url)
            raise ConnectFailed(f"{url} cannot be examined: {error}{hint}") from error
        if answer.status not in REDIRECTS:
            return url, answer
        target = _redirect(url, answer)
        if target is None:
            raise NotSockJS(f"{url} cannot be examined: /info was answered {answer.summary}, which leads nowhere")
        url = target
    raise ConnectFailed(f"{network.settings.url} cannot be examined: it redirects again and again, at last to {url}")


def _redirect(url: URL, answer: Answer) -> URL | None:
    try:
        target = (url / "info").join(URL(answer.headers.get("Location", "")))
    except ValueError:
        return None
    if not is_server(target) or target.name != "info":
        return None
    return target.with_user(None).parent  # and without a query; a login in it is not ours to use, nor to show


def _base(url: URL, said: dict[str, Any]) -> URL:
    base_url = said.get("base_url")
    if not base_url:
        return url
    try:
        base = url.join(URL(base_url.rstrip("/"))) if isinstance(base_url, str) else URL()
    except ValueError:
        base = URL()
    if not is_server(base):
        shown = veiled(str(base_url))[:100]
        raise NotSockJS(f"{url} wants to be asked at {shown!r} (base_url), which is no http URL")
    return base.with_user(None).with_query(None).with_fragment(None)


def _held_back(network: Network, url: URL) -> str:
    # Whoever sent us there need not know what the headers hold.
    asked = network.settings.url
    if not network.settings.headers or url.origin() == asked.origin():
        return ""
    return f"; --header is for {asked.origin()} and was not sent to {url.origin()}"


async def _not_here(network: Network, url: URL, answer: Answer) -> str:
    found = f"{url} is no SockJS server: /info was answered {answer.summary}"
    if answer.status in (502, 503, 504):
        return f"{found}. The proxy is there, and the server behind it is not: is it running?"
    if answer.status == 400 and (hint := await _other_scheme(network, url)):  # what nginx says then
        return found + hint
    near = await _look_around(network, url)
    if near is not None:
        return f"{found}. There is one at {near}"
    if answer.status in (401, 403):
        held_back = _held_back(network, url)
        if held_back:
            return f"{found}{held_back}: give that URL instead"
        return f"{found}. Is there a login in front of it? Pass --header 'Authorization: ...' or 'Cookie: ...'"
    return f"{found}. Is the prefix right, and does the proxy lead all below it to the server?"


async def _other_scheme(network: Network, url: URL) -> str:
    # A port that speaks TLS alone says little to http.
    if url.scheme == "https":
        return ""
    secure = url.with_scheme("https")
    try:
        await network.fetch("GET", secure / "info")
    except NoAnswer as error:
        if not isinstance(error, NotTrusted):
            return ""
    return f". It speaks https: try {secure}"


async def _look_around(network: Network, url: URL) -> URL | None:
    parents: list[URL] = []
    one = url
    while one.path != "/" and len(parents) < 4:
        one = one.parent
        parents.append(one)
    candidates = [*parents, *(url / name for name in NEAR)]
    answers = await asyncio.gather(*(_is_there(network, one) for one in candidates))
    return next((one for one, is_there in zip(candidates, answers, strict=True) if is_there), None)


async def _is_there(network: Network, url: URL) -> bool:
    try:
        return read_info(await network.fetch("GET", url / "info")) is not None
    except NoAnswer:
        return False


async def _check_info(network: Network, place: Place, first: Answer) -> Finding:
    try:
        second = await network.fetch("GET", place.url / "info")
    except NoAnswer as error:
        return fault("info", Cause.CUT, f"/info was answered once, but not a second time: {error}")
    said = read_info(second)
    if said is None:
        return fault("info", Cause.NOT_SOCKJS, f"/info was answered once, and then {second.summary}")
    figures = {"websocket": place.websocket, "cookie_needed": place.cookie_needed, "again_seconds": second.seconds}
    age = second.headers.get("Age", "")
    if place.entropy is not None and said.get("entropy") == place.entropy:
        verdict = "two answers of /info are the same, so a cache gives them"
        return fault("info", Cause.INFO_CACHED, verdict + (f" (Age: {printable_age(age)})" if age else ""), **figures)
    if not _NOT_KEPT.search(",".join(first.headers.getall("Cache-Control", []))):
        verdict = "nothing in the head of /info keeps caches from keeping it"
        return warning("info", Cause.INFO_CACHEABLE, verdict, **figures)
    extra = "" if place.base == place.url else f"; transports are at {place.base}"
    sockets = "offers websockets" if place.websocket else "says that there are no websockets"
    return passed("info", f"it {sockets} and is not cached{extra}", **figures)


def printable_age(age: str) -> str:
    """The header Age, if it is a number."""
    return age if age.isdigit() and len(age) < 12 else "?"


async def _check_greeting(network: Network, place: Place) -> Finding:
    try:
        answer = await network.fetch("GET", place.url)
    except NoAnswer as error:
        return warning("greeting", Cause.GREETING_MISSING, f"the URL itself gives no answer: {error}")
    if answer.status == 200 and answer.body.strip() == GREETING:
        return passed("greeting", "the URL itself is answered as it should be")
    verdict = f"the URL itself is answered {answer.summary} instead of {GREETING.decode()!r}"
    return warning("greeting", Cause.GREETING_MISSING, verdict)
