"""One examination: which checks there are, in which order, which of them at once.

Knows: all checks, and which of them make no sense after what others found.
Does not know: how a check works, who reads the report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from ..errors import ConnectFailed
from .affinity import CHECK as AFFINITY
from .affinity import check_affinity
from .bodies import CHECK as LARGE_BODY
from .bodies import check_large_body
from .cookies import check_cookies
from .echo import CARRIERS, check_echo
from .findings import Cause, Finding, Report, Status, fault, skipped
from .idle import HOLDERS, check_idle
from .opening import OPENINGS, check_opening
from .origins import check_origin
from .probe import Network, Watch
from .reach import Place, reach
from .settings import TRANSPORTS, Settings
from .sockets import check_raw_websocket, check_websocket

SOCKETS: Final = {"websocket": check_websocket, "websocket-raw": check_raw_websocket}

Check = Coroutine[Any, Any, Finding | list[Finding]]


class Progress(Protocol):
    """Who is told how far it is."""

    def on_started(self, check: str) -> None:
        """The check begins."""
        ...

    def on_finished(self, check: str, findings: Sequence[Finding], seconds: float) -> None:
        """It is done."""
        ...


async def examine(settings: Settings, progress: Progress) -> Report:
    """Examine the way to a server.

    Raises:
        ConnectFailed: there is nothing to examine; the text says what was found and what to try.
    """
    watch = Watch()
    async with Network(settings) as network:
        findings = await Examination(network, progress).run()
    return Report(str(settings.url), tuple(findings), watch.seconds)


class Examination:
    """The checks of one server."""

    def __init__(self, network: Network, progress: Progress) -> None:
        self._network = network
        self._settings = network.settings
        self._progress = progress

    async def run(self) -> list[Finding]:
        """All of them, in the order of the report."""
        network = self._network
        self._progress.on_started("reachable")
        watch = Watch()
        place, findings = await reach(network)
        self._progress.on_finished("reachable", findings, watch.seconds)
        opened = await self._together(
            {name: self._check_transport(place, name) for name in TRANSPORTS if name in self._settings.transports}
        )
        self._need_no_login(opened)
        opened = _by_method(opened)
        findings += opened + _nothing_opens(opened)
        findings += await self._together(
            {"origin": check_origin(network, place), "cookies": check_cookies(network, place)}
        )
        # Alone: other requests between its own could make turns look like affinity.
        affinity = await self._together({AFFINITY: check_affinity(network, place)})
        working = {one.check for one in opened if one.status in (Status.OK, Status.WARNING)}
        late: dict[str, Check] = {LARGE_BODY: check_large_body(network, place)}
        if self._settings.idle:
            late |= {f"idle {name}": check_idle(network, place, name) for name in HOLDERS if name in working}
        if self._settings.echo:
            late |= self._echoes(place, working, has_affinity=affinity[-1].cause is not Cause.NO_AFFINITY)
        return findings + affinity + await self._together(late)

    def _check_transport(self, place: Place, name: str) -> Check:
        if name in SOCKETS:
            return SOCKETS[name](self._network, place)
        return check_opening(self._network, place, name)

    def _echoes(self, place: Place, working: set[str], *, has_affinity: bool) -> dict[str, Check]:
        echoes: dict[str, Check] = {}
        for name in CARRIERS:
            if name in working:
                can_talk = has_affinity or name == "websocket"
                echo = check_echo(self._network, place, name) if can_talk else _without_affinity(name)
                echoes[f"echo {name}"] = echo
        return echoes

    async def _together(self, checks: dict[str, Check]) -> list[Finding]:
        results = await asyncio.gather(*(self._timed(name, check) for name, check in checks.items()))
        return [finding for result in results for finding in result]

    async def _timed(self, name: str, check: Check) -> list[Finding]:
        self._progress.on_started(name)
        watch = Watch()
        result = await check
        findings = result if isinstance(result, list) else [result]
        self._progress.on_finished(name, findings, watch.seconds)
        return findings

    def _need_no_login(self, opened: list[Finding]) -> None:
        statuses = {one.figures.get("status") for one in opened if one.status is not Status.SKIPPED}
        if statuses == {401}:
            raise ConnectFailed(
                f"{self._settings.url} is a SockJS server, but answers 401 to every session: "
                "pass what it wants, e.g. --header 'Authorization: ...' or --header 'Cookie: ...'"
            )


def _by_method(opened: list[Finding]) -> list[Finding]:
    # Where all that is refused is POST, and no POST passes, it is the method that something refuses.
    opens = {one.check: one.status in (Status.OK, Status.WARNING) for one in opened if one.check in OPENINGS}
    refused = [one for one in opened if one.check in OPENINGS and one.cause is Cause.REFUSED]
    passing = [check for check, does in opens.items() if does]
    methods = {OPENINGS[one.check].method for one in refused}
    if len(refused) < 2 or not passing or methods != {"POST"} or {OPENINGS[one].method for one in passing} != {"GET"}:
        return opened
    how = f"; all POST fails, and GET passes ({', '.join(passing)})"
    return [
        replace(one, cause=Cause.METHOD_REFUSED, verdict=one.verdict + how) if one in refused else one for one in opened
    ]


def _nothing_opens(opened: list[Finding]) -> list[Finding]:
    # Each may be missing for a good reason, but not all of them.
    if any(one.status is not Status.SKIPPED for one in opened):
        return []
    return [fault("transports", Cause.REFUSED, "no transport opens a session, though /info is there")]


async def _without_affinity(name: str) -> Finding:
    return skipped(f"echo {name}", "requests do not reach the worker with their session")
