"""Who a client is, and what it says of itself when it logs in.

Knows: names, roles, expiry, the headers of CONNECT.
Does not know: connections; how a user is recognized.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ..sockjs.handshake import Handshake
from .frame import LOGIN, PASSCODE


@dataclass(frozen=True, slots=True)
class User:
    """Who a client is: what ``authenticate`` returns.

    Attributes:
        name: by which messages reach the user; equal names are one user.
        roles: for the policy.
        expires: when the login ends, as a datetime with time zone or as seconds since the epoch (the ``exp`` of a
            token); the connection is closed then. None: never.
    """

    name: str
    roles: frozenset[str] = frozenset()
    expires: datetime | float | None = None

    def __init__(self, name: str, roles: Iterable[str] = (), expires: datetime | float | None = None) -> None:
        if not isinstance(name, str) or not name:
            raise TypeError(f"the name of a user is a str that is not empty, not {name!r}")
        if isinstance(roles, str):
            raise TypeError(f"roles is a collection of names, not {roles!r}")
        if isinstance(expires, datetime) and expires.tzinfo is None:
            raise TypeError("expires needs a time zone: datetime.now(UTC) + ...")
        if not isinstance(expires, (datetime, int, float, type(None))) or expires != expires or expires is True:  # nan
            raise TypeError(f"expires is a datetime, seconds since the epoch, or None; not {expires!r}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "roles", frozenset(roles))
        object.__setattr__(self, "expires", expires)


@dataclass(frozen=True, slots=True)
class Login:
    """What ``authenticate`` is given: a client that wants to log in.

    Attributes:
        headers: of its CONNECT; tokens travel here, as browsers cannot set headers of the request.
        handshake: the request that opened the connection: cookies, remote, principal, the aiohttp ``app``.
    """

    headers: Mapping[str, str] = field(repr=False)  # they hold secrets
    handshake: Handshake = field(repr=False)

    @property
    def login(self) -> str:
        """The ``login`` header; "" if there is none."""
        return self.headers.get(LOGIN, "")

    @property
    def passcode(self) -> str:
        """The ``passcode`` header; "" if there is none."""
        return self.headers.get(PASSCODE, "")
