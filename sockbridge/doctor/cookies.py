"""Whether the cookie for load balancers is there, and whether browsers will send it.

Knows: JSESSIONID and its attributes.
Does not know: whether a load balancer uses it.
Spec: sockjs-protocol 0.3.3, JsessionidCookie; RFC 6265, 5.2; its successor's "SameSite".
"""

from __future__ import annotations

from typing import Final

import aiohttp

from .findings import Cause, Finding, fault, passed, printable, skipped
from .origins import is_cross_site
from .probe import Network, NoAnswer, session_url
from .reach import Place

NAME: Final = "JSESSIONID"


async def check_cookies(network: Network, place: Place) -> Finding:
    """Look at the cookie that an answer sets."""
    try:
        async with network.make_http(aiohttp.DummyCookieJar()) as http:  # some set it only where it is missing
            answer = await network.fetch("POST", session_url(place.base) / "xhr", http=http)
    except NoAnswer as error:
        return skipped("cookies", f"no session could be opened by polling: {error}")
    if answer.status != 200:
        return skipped("cookies", f"no session could be opened by polling: {answer.summary}")
    cookie = find_cookie(answer.headers.getall("Set-Cookie", []))
    if cookie is None:
        if place.cookie_needed:
            return fault(
                "cookies", Cause.COOKIE_MISSING, f"/info says that a cookie is needed, and none ({NAME}) is set"
            )
        return passed("cookies", "none is needed, and none is set")
    is_secure, same_site = "secure" in cookie, printable(cookie.get("samesite", "")) or "not said"
    if is_cross_site(network.settings, place) and not (is_secure and same_site.lower() == "none"):
        verdict = f"{NAME} is not sent for pages of {network.settings.origin}: " + (
            f"SameSite is {same_site}" if same_site.lower() != "none" else "it lacks Secure"
        )
        return fault("cookies", Cause.COOKIE_NOT_CROSS_SITE, verdict, secure=is_secure, same_site=same_site)
    return passed("cookies", f"{NAME} is set", secure=is_secure, same_site=same_site)


def find_cookie(headers: list[str]) -> dict[str, str] | None:
    """The attributes of the cookie, by their names in small letters; None if it is not set.

    Args:
        headers: values of Set-Cookie.

    Spec: RFC 6265, 5.2.
    """
    for header in headers:
        pair, *attributes = header.split(";")
        name, equals, _ = pair.partition("=")
        if equals and name.strip() == NAME:
            parts = (attribute.partition("=") for attribute in attributes)
            return {key.strip().lower(): value.strip() for key, _, value in parts}
    return None
