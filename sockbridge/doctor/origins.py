"""Whether pages may use the server: those of its own origin, or of the one that was asked for.

Knows: what browsers want of a server's answers (CORS).
Does not know: sessions beyond the one that it opens.
Spec: Fetch standard, "CORS protocol"; docs/security.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from yarl import URL

from .findings import Cause, Finding, fault, passed, printable, skipped, warning
from .probe import Answer, Network, NoAnswer, session_url
from .reach import Place
from .settings import Settings

ALLOW_ORIGIN: Final = "Access-Control-Allow-Origin"
ALLOW_CREDENTIALS: Final = "Access-Control-Allow-Credentials"


def is_cross_origin(settings: Settings, place: Place) -> bool:
    """True if the page is not of the server's own origin."""
    return settings.origin is not None and settings.origin != str(place.url.origin())


def is_cross_site(settings: Settings, place: Place) -> bool:
    """True if browsers may keep the server's cookies from the page: another host. (Two hosts of one registered domain
    are one site; we know no list of these.)"""
    return is_cross_origin(settings, place) and URL(settings.origin or "").host != place.url.host


async def check_origin(network: Network, place: Place) -> list[Finding]:
    """Ask as a page would."""
    settings = network.settings
    origin = settings.origin or str(place.url.origin())
    if not is_cross_origin(settings, place):
        return [await _check_own(network, place, origin)]
    return [await _check_answers(network, place, origin), await _check_preflight(network, place, origin)]


async def _check_own(network: Network, place: Place, origin: str) -> Finding:
    # Its own origin: browsers need no CORS headers for it, only not to be refused.
    try:
        answer = await network.fetch("GET", place.url / "info", headers={"Origin": origin})
    except NoAnswer as error:
        return fault("origin", Cause.CUT, f"a request with 'Origin: {origin}' failed: {error}")
    if answer.status == 200:
        return passed("origin", f"pages of {origin} are let in")
    verdict = f"pages of {origin}, the server's own origin, are refused: {answer.summary}"
    for believed, wrong in _mistaken(place.url.origin()).items() if answer.status == 403 else ():
        if await _lets_in(network, place, believed):
            verdict += f"; those of {believed} are let in, so the server takes itself for that: {wrong} "
            verdict += "must be wrong, missing or not believed"
            return fault("origin", Cause.OWN_ORIGIN_REFUSED, verdict, status=403, wrong=wrong)
    return fault("origin", Cause.OWN_ORIGIN_REFUSED, verdict, status=answer.status)


def _mistaken(own: URL) -> dict[str, str]:
    # What a server takes itself for -> what it was told wrongly.
    other = URL.build(scheme="http" if own.scheme == "https" else "https", host=own.host or "", port=own.explicit_port)
    mistaken = {str(other): "X-Forwarded-Proto"}
    if own.explicit_port is not None:  # nginx: $host has no port, $http_host has
        mistaken[str(own.with_port(None))] = "X-Forwarded-Host (or Host)"
        mistaken[str(other.with_port(None))] = "X-Forwarded-Proto and X-Forwarded-Host (or Host)"
    return mistaken


async def _lets_in(network: Network, place: Place, origin: str) -> bool:
    try:
        return (await network.fetch("GET", place.url / "info", headers={"Origin": origin})).status == 200
    except NoAnswer:
        return False


async def _check_answers(network: Network, place: Place, origin: str) -> Finding:
    # What a page reads: /info, and the answer that opens a session.
    headers = {"Origin": origin}
    session = session_url(place.base)
    try:
        asked = {
            "/info": await network.fetch("GET", place.url / "info", headers=headers),
            "/xhr": await network.fetch("POST", session / "xhr", headers=headers),
        }
        if asked["/xhr"].status == 200:
            asked["/xhr_send"] = await network.fetch("POST", session / "xhr_send", headers=headers, body=b"[]")
    except NoAnswer as error:
        return fault("cors", Cause.CUT, f"a request with 'Origin: {origin}' failed: {error}")
    for path, answer in asked.items():
        found = _judge(path, answer, origin)
        if found is not None:
            return found
    return passed("cors", f"pages of {origin} may read the answers, with cookies")


def _judge(path: str, answer: Answer, origin: str) -> Finding | None:
    if answer.status == 403:
        verdict = f"pages of {origin} are refused: {path} was answered {answer.summary}"
        return fault("cors", Cause.ORIGIN_REFUSED, verdict, status=403, origin=origin)
    if not 200 <= answer.status < 300:
        return None  # another check's business: not served, another worker, broken
    fault_found = judge_headers(answer.headers.getall(ALLOW_ORIGIN, []), answer.headers, origin)
    if fault_found is None:
        return None
    cause, verdict = fault_found
    return fault("cors", cause, f"a page of {origin} cannot read the answer to {path}: {verdict}", status=answer.status)


def judge_headers(allowed: list[str], headers: Mapping[str, str], origin: str) -> tuple[Cause, str] | None:
    """Whether a browser hands an answer to a page of ``origin`` that asks with cookies, as sockjs-client does.

    Args:
        allowed: the values of Access-Control-Allow-Origin.

    Returns:
        None if it does, else why not.
    """
    values = [value.strip() for one in allowed for value in one.split(",") if value.strip()]
    shown = printable(", ".join(values))
    if not values:
        return Cause.CORS_STRIPPED, f"there is no {ALLOW_ORIGIN}"
    if len(values) > 1:
        return Cause.CORS_DOUBLED, f"{ALLOW_ORIGIN} is there {len(values)} times ({shown})"
    if values[0] != origin:
        return Cause.CORS_WRONG, f"{ALLOW_ORIGIN} is {shown}"
    credentials = headers.get(ALLOW_CREDENTIALS)
    if credentials is None:
        return Cause.CORS_STRIPPED, f"there is no {ALLOW_CREDENTIALS}"
    if credentials != "true":
        return Cause.CORS_WRONG, f"{ALLOW_CREDENTIALS} is {printable(credentials)}"
    return None


async def _check_preflight(network: Network, place: Place, origin: str) -> Finding:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    session = session_url(place.base)
    for name in ("xhr", "xhr_send"):
        try:
            answer = await network.fetch("OPTIONS", session / name, headers=headers)
        except NoAnswer as error:
            return warning("preflight", Cause.CUT, f"OPTIONS of /{name} failed: {error}")
        if answer.status == 403:
            return skipped("preflight", f"the origin is refused: {answer.summary}")
        if answer.status == 404:
            return skipped("preflight", f"/{name} is not served")
        if not 200 <= answer.status < 300:
            verdict = f"OPTIONS of /{name} was answered {answer.summary}"
            return warning("preflight", Cause.PREFLIGHT_REFUSED, verdict, status=answer.status)
        found = judge_headers(answer.headers.getall(ALLOW_ORIGIN, []), answer.headers, origin)
        if found is not None:
            return warning("preflight", found[0], f"the answer to OPTIONS of /{name}: {found[1]}")
    return passed("preflight", "OPTIONS requests are answered as browsers want it")
