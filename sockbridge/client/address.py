"""Where a server is: its URL in one form, and what stands below it.

Knows: schemes, credentials and queries in URLs.
Does not know: who asks.
Spec: RFC 3986; sockjs-client's documentation, "SockJS-client API" (the URL).
"""

from __future__ import annotations

import base64
import re
from typing import Final

from yarl import URL

from ..errors import InvalidOption

SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

_CREDENTIALS: Final = re.compile(r"//[^/@]*@")

_ODD: Final = re.compile(r"\s")

_CONTROL: Final = re.compile(r"[\0-\x1f\x7f]")


def parse(url: str) -> tuple[URL, str | None]:
    """Check a URL and bring it into one form.

    Returns:
        it without credentials, fragment and slash at the end, its query kept; and the ``Authorization`` header that
        stands for its credentials, if it has some: so they appear in no log.

    Raises:
        InvalidOption: it is no URL of a server.
    """
    try:
        parsed = URL(url)
        is_http = parsed.scheme in SCHEMES and has_host(parsed) and not _CONTROL.search(url)
    except (TypeError, ValueError) as error:
        raise InvalidOption(f"{_cut(url)} is no URL ({error})") from None
    if not is_http:
        raise InvalidOption(
            f"a URL begins with http:// or https:// and names a host, e.g. http://localhost:8080/echo, not {_cut(url)}"
        )
    if parsed.user is None:
        authorization = None
    else:
        login = f"{parsed.user}:{parsed.password or ''}"  # RFC 7617
        authorization = "Basic " + base64.b64encode(login.encode()).decode()
    path = parsed.raw_path.rstrip("/") or "/"
    return parsed.with_user(None).with_path(path, encoded=True).with_query(parsed.query), authorization


def has_host(url: URL) -> bool:
    """True if ``url`` names a host that could be looked up."""
    host = url.raw_host
    if not host or not url.port or not host.isprintable() or _ODD.search(host):
        return False
    try:
        host.encode("idna")  # as the system does before it asks
    except UnicodeError:
        return False
    return True


def as_http(url: URL) -> URL:
    """``url`` as one asks it by HTTP: ``ws`` becomes ``http``."""
    return url if url.scheme in ("http", "https") else url.with_scheme(SCHEMES[url.scheme])


def below(url: URL, *names: str) -> URL:
    """``{url}/{names}``; the query stays what it was, as in sockjs-client."""
    return url.joinpath(*names).with_query(url.query)


def shown(url: URL) -> str:
    """``url`` for people: without a query, in which there may be a secret."""
    return str(url.with_query(None))


def _cut(url: object) -> str:
    text = _CREDENTIALS.sub("//...@", repr(url))
    return text if len(text) <= 100 else f"{text[:100]}..."
