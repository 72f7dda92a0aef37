"""What an examination is asked for, and the check of these wishes.

Knows: what each wish means and which values are allowed.
Does not know: the command line, who reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

from ..client.address import has_host
from ..errors import InvalidOption

TRANSPORTS: Final = ("websocket", "websocket-raw", "xhr_streaming", "eventsource", "htmlfile", "xhr", "jsonp")
"""What is examined, by the names that the option ``transports`` of ``mount`` has for them."""

ALIASES: Final = {"xhr-streaming": "xhr_streaming", "xhr-polling": "xhr", "jsonp-polling": "jsonp"}
"""sockjs-client's names."""

MOST_CONNECTIONS: Final = 64
MOST_LARGE: Final = 64 * 1024 * 1024

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_LOGIN = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", re.DOTALL)  # to the last @: a password may have any
_QUERY = re.compile(r"\?.*", re.DOTALL)
_NOT_IN_VALUES = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One examination. Seconds are floats, sizes are bytes.

    Attributes:
        url: where the server is mounted.
        origin: of the page whose access is checked; None: of a page from the server itself.
        idle: seconds for which quiet connections are held; 0: none are.
        connections: how many fresh connections look for the session that one of them opened.
        headers: sent with every request to the origin of ``url``.
        insecure: take any certificate.
        large: of the request body that is tried; None: 256 KiB, and a server whose own limit is below that has no
            fault.
        timeout: seconds that each answer may take.
        transports: names of ``TRANSPORTS``.
        heartbeat_delay: seconds after which servers send heartbeats: that none comes for a second longer is a warning.
        echo: the application sends back what it is sent, and this may be tried.
    """

    url: URL
    origin: str | None = None
    idle: float = 0.0
    connections: int = 8
    headers: Mapping[str, str] = field(default_factory=dict)
    insecure: bool = False
    large: int | None = None
    timeout: float = 5.0
    transports: tuple[str, ...] = TRANSPORTS
    heartbeat_delay: float = 25.0
    echo: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.idle <= 86_400:
            raise InvalidOption(f"the idle time is 0 to 86400 seconds, not {self.idle:g}")
        if not 0 < self.timeout <= 600:
            raise InvalidOption(f"the time-out is more than 0 and at most 600 seconds, not {self.timeout:g}")
        if not 2 <= self.connections <= MOST_CONNECTIONS:
            raise InvalidOption(f"it takes 2 to {MOST_CONNECTIONS} connections, not {self.connections}")
        if self.large is not None and not 2 <= self.large <= MOST_LARGE:
            raise InvalidOption(f"a large body has 2 to {MOST_LARGE} bytes, not {self.large}")
        unknown = [name for name in self.transports if name not in TRANSPORTS]
        if unknown or not self.transports:
            raise InvalidOption(f"transports are out of {', '.join(TRANSPORTS)}, not {', '.join(unknown) or 'none'}")


def parse_url(text: str) -> URL:
    """Where a server is mounted.

    Raises:
        InvalidOption: that is no URL of one; the text says what is missing.
    """
    shown = veiled(text)
    try:
        url = URL(text)
    except ValueError:
        raise InvalidOption(f"{shown!r} is no URL") from None
    if url.scheme in ("ws", "wss") and url.host:
        raise InvalidOption(f"give the URL that the page gives to SockJS: http{shown[2:]}, not {shown}")
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidOption(f"a URL begins with http:// or https://, e.g. https://example.org/chat; {shown!r} does not")
    if not is_server(url):
        raise InvalidOption(f"{shown!r} names no host and port that there could be")
    if url.user is not None or url.password is not None:
        raise InvalidOption("a URL holds no password here: pass --header 'Authorization: ...'")
    return url.with_path(url.raw_path.rstrip("/") or "/", encoded=True)  # without a query


def is_server(url: URL) -> bool:
    """Whether ``url`` can be asked by HTTP: its host can be looked up, and shown."""
    return url.scheme in ("http", "https") and has_host(url) and (url.raw_host or "").isprintable()


def veiled(text: str) -> str:
    """What is or was to be a URL, for people: what may be a login or a query, and so a secret, is ``***``."""
    return _QUERY.sub("?***", _LOGIN.sub(r"\g<1>***@", text))


def parse_origin(text: str) -> str:
    """The origin of a page: scheme, host and port as browsers write them.

    Raises:
        InvalidOption: that is none.
    """
    if text == "null":
        return text
    url = parse_url(text)
    if url.path != "/":
        raise InvalidOption(f"an origin has no path: {url.origin()}, not {veiled(text)}")
    return str(url.origin())


def parse_header(text: str) -> tuple[str, str]:
    """``Name: value``.

    Raises:
        InvalidOption: it is not.
    """
    name, colon, value = text.partition(":")
    # What was given is not shown: it may be a key, with its name forgotten.
    if not colon:
        raise InvalidOption("a header is 'Name: value' on one line; there is no colon in '***'")
    if not _TOKEN.fullmatch(name):
        raise InvalidOption("a header is 'Name: value' on one line; what is before the colon in '***: ***' is no name")
    if _NOT_IN_VALUES.search(value):
        raise InvalidOption(f"a header is 'Name: value' on one line; '{name}: ***' has control characters")
    return name, value.strip()


def parse_transports(text: str) -> tuple[str, ...]:
    """Names with commas between them; which exist is checked later."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return tuple(dict.fromkeys(ALIASES.get(name, name) for name in names))
