"""A server as in production, for as long as a test needs it.

Knows: aiohttp's runner, with its default settings: its test server has others, e.g. it cancels requests.
Does not know: clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from ..endpoint import Endpoint, mount
from ..errors import UsageError
from ..sockjs.handler import HandlerSource
from .handler_errors import ErrorLog

HOST: Final = "127.0.0.1"

PATIENCE: Final = 5.0
"""Seconds that requests of the application may go on when the test has ended; in production a minute."""


class Serving:
    """A server that runs.

    Attributes:
        url: where the handler is mounted, or of an application the URL of its root and ``prefix``.
        app: the application.
        endpoint: what ``mount`` has returned; None if an application was given, which has its own.
    """

    __slots__ = ("_errors", "app", "endpoint", "url")

    def __init__(self, url: str, app: web.Application, endpoint: Endpoint | None, errors: ErrorLog) -> None:
        self.url = url
        self.app = app
        self.endpoint = endpoint
        self._errors = errors

    async def handler_error(self) -> BaseException:
        """The next exception of a handler, which is expected then: it is not raised at the end.

        Raises:
            AssertionError: none comes within five seconds.
        """
        return await self._errors.take()


@asynccontextmanager
async def serve(served: HandlerSource | web.Application, prefix: str = "", **options: Any) -> AsyncIterator[Serving]:
    """Serve a handler, or an application, on a free port of this machine.

    What a handler raises, in any endpoint of the application, is raised at the end, unless ``Serving.handler_error``
    has returned it. Its source is the log ``sockbridge.sockjs``: who turns that off is not told.

    Args:
        prefix: where the handler is mounted; of an application, where its endpoint is.
        options: those of ``mount``.

    Raises:
        InvalidOption: an option or the prefix is not one.
        UsageError: ``served`` is no handler; or options are given to an application, or a prefix that it has not.
        BaseException: at the end, what a handler has raised.
    """
    endpoint: Endpoint | None = None
    if isinstance(served, web.Application):
        app = served
        if options:
            raise UsageError(f"{', '.join(options)}: an application has mounted its endpoints with options of its own")
        if prefix:
            _check_prefix(app, prefix)
    else:
        app = web.Application()
        endpoint = mount(app, prefix, served, **options)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=PATIENCE)
    with ErrorLog() as errors:
        try:
            with errors.here():
                await runner.setup()
                site = web.TCPSite(runner, HOST, 0)
                await site.start()
            yield Serving(f"http://{HOST}:{site.port}{prefix.rstrip('/')}", app, endpoint, errors)
        finally:
            with errors.here():
                await runner.cleanup()


def _check_prefix(app: web.Application, prefix: str) -> None:
    paths = sorted({resource.canonical for resource in app.router.resources()})
    beginning = f"{prefix.rstrip('/')}/"
    if not any(f"{path}/".startswith((beginning, "/{")) for path in paths):
        raise UsageError(f"the application has nothing at {prefix!r}; it has {', '.join(paths) or 'no routes'}")
