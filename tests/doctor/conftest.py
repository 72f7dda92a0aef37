"""Examinations in tests: quick ones, of real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import sockbridge
from sockbridge.doctor.examine import examine
from sockbridge.doctor.findings import Finding, Report
from sockbridge.doctor.probe import Network
from sockbridge.doctor.reach import Place, reach
from sockbridge.doctor.settings import Settings, parse_url

from ..fakes import RecordingHandler, serve
from ..proxy.conftest import backend, certificate, haproxy, nginx, processes, trust

__all__ = ["backend", "certificate", "haproxy", "nginx", "processes", "trust"]  # fixtures


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxies' certificate counts as valid."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "chat.crt"))


class RecordedProgress:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.finished: list[str] = []

    def on_started(self, check: str) -> None:
        self.started.append(check)

    def on_finished(self, check: str, findings: Sequence[Finding], seconds: float) -> None:
        assert seconds >= 0
        self.finished.append(check)


def settings(url: str, **wishes: Any) -> Settings:
    return Settings(url=parse_url(url), **{"timeout": 1.0, **wishes})


async def report(url: str, **wishes: Any) -> Report:
    """Examine ``url``; an answer may take a second."""
    return await examine(settings(url, **wishes), RecordedProgress())


def told(examined: Report) -> dict[str, list[str]]:
    """Cause -> checks that found it, of faults and warnings."""
    return {cause.value: [one.check for one in findings] for cause, findings in examined.causes().items()}


def finding(examined: Report, check: str) -> Finding:
    return next(one for one in examined.findings if one.check == check)


@asynccontextmanager
async def place_of(url: str, **wishes: Any) -> AsyncIterator[tuple[Network, Place]]:
    """A server that was reached."""
    async with Network(settings(url, **wishes)) as network:
        place, _ = await reach(network)
        yield network, place


@asynccontextmanager
async def chat(handler: sockbridge.SessionHandler | None = None, **options: Any) -> AsyncIterator[str]:
    """A server of ours; gives the URL of its endpoint."""
    app = web.Application()
    sockbridge.mount(app, "/chat", handler or RecordingHandler(echo=True), **options)
    async with serve(app) as origin:
        yield f"{origin}/chat"


@asynccontextmanager
async def other_server(**answers: Any) -> AsyncIterator[str]:
    """A server that is none of ours: last part of the path (``root`` for the root) -> what answers.

    An answer is a function that takes the request, as aiohttp's handlers; others are 404. Gives its URL.
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2].replace(".", "_") or "root"
        if name not in answers:
            raise web.HTTPNotFound
        response: web.StreamResponse = await answers[name](request)
        return response

    app = web.Application()
    app[LEAVING] = asyncio.Event()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serve(app) as origin:
        try:
            yield origin
        finally:
            app[LEAVING].set()


LEAVING = web.AppKey("leaving", asyncio.Event)


async def hold(request: web.Request) -> web.Response:
    """An answer of ``other_server`` that does not come before the test is over."""
    await request.app[LEAVING].wait()
    return web.Response()
