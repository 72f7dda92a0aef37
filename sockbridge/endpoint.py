"""Mounts a handler under a prefix of an aiohttp application: URLs, start, stop.

One resource of our own on the application's router serves the whole prefix. It splits the path itself, so
no regular expression runs per request, and leaves unknown URLs to the application's other routes.

Knows: which URL belongs to which transport or page; the application's life.
Does not know: frames, session states.
Spec: sockjs-protocol 0.3.3, BaseUrlGreeting, SessionURLs; docs/conformance.md, section 1.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, Unpack

from aiohttp import web
from aiohttp.web_urldispatcher import PrefixResource
from yarl import URL

from .errors import InvalidOption, UsageError
from .options import OptionArguments, Options
from .pages import Pages
from .sockjs.framing import Message
from .sockjs.handler import HandlerSource, SessionHandler
from .sockjs.manager import Counters, SessionManager
from .sockjs.session import Session
from .transports import DEFAULT_TRANSPORTS
from .transports.admission import Admission
from .transports.base import Transport
from .transports.websocket import WebSocketTransport

IFRAME_NAME: Final = re.compile(r"iframe[0-9a-z._-]*\.html")


def mount(
    app: web.Application,
    prefix: str,
    handler: HandlerSource,
    *,
    transports: Iterable[type[Transport] | str] = DEFAULT_TRANSPORTS,
    **options: Unpack[OptionArguments],
) -> Endpoint:
    """Serve SockJS under ``prefix`` of ``app``, beside whatever else the application serves.

    May be called several times for one application, and on a sub-application before it is added. The
    endpoint starts and stops with the application.

    Args:
        app: an application that has not been started.
        prefix: e.g. ``"/echo"``; ``""`` for the root.
        handler: a ``SessionHandler``, a class of one (an instance per session), or a coroutine function that
            takes the session.
        transports: classes, or names of ``DEFAULT_TRANSPORTS``.
        options: see ``Options``; what is not given is as the handler's ``defaults`` say, else as there.

    Raises:
        InvalidOption: an option, the prefix or a transport is not one; the text says what is allowed.
        UsageError: ``handler`` is not one, or the application has started.
    """
    if isinstance(handler, SessionHandler) or (isinstance(handler, type) and issubclass(handler, SessionHandler)):
        options = {**handler.defaults, **options}
    unknown = set(options) - OptionArguments.__annotations__.keys()
    if unknown:
        known = ", ".join(sorted(OptionArguments.__annotations__))
        near = difflib.get_close_matches(min(unknown), OptionArguments.__annotations__, 1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise InvalidOption(f"there is no option {', '.join(sorted(unknown))}{hint}; there are: transports, {known}")
    endpoint = Endpoint(prefix, handler, _choose(transports), Options(**options))  # type: ignore[arg-type]  # origins: any iterable, made a tuple there
    endpoint.add_to(app)
    return endpoint


class Endpoint:
    """One mounted handler.

    Attributes:
        options: the settings in force.
    """

    def __init__(
        self, prefix: str, handler: HandlerSource, transports: Iterable[type[Transport]], options: Options
    ) -> None:
        self.options = options
        self._manager = SessionManager(handler, options)
        admission = Admission(options)
        served = [kind(self._manager, admission, options) for kind in transports if _is_served(kind, options)]
        self._sockets = [transport for transport in served if isinstance(transport, WebSocketTransport)]
        # A raw websocket is none for SockJS clients: it is at another URL.
        has_websocket = any(transport.is_websocket and transport.path is None for transport in served)
        self._resource = EndpointResource(prefix, served, Pages(options, admission, websocket=has_websocket))

    def add_to(self, app: web.Application) -> None:
        """Register with ``app``; ``mount`` has done it.

        Raises:
            InvalidOption: there is an endpoint under this prefix already.
            UsageError: the application has started.
        """
        for resource in app.router.resources():
            if isinstance(resource, EndpointResource) and resource.canonical == self._resource.canonical:
                raise InvalidOption(f"an endpoint is mounted under {self.prefix!r} already")
        if app.router.frozen or app.on_startup.frozen:
            raise UsageError(
                "mount before the application starts (not in on_startup), and on a sub-application before add_subapp"
            )
        app.router.register_resource(self._resource)
        app.on_startup.append(self._start)
        app.on_shutdown.append(self._stop)

    @property
    def prefix(self) -> str:
        """The mounted URL's path, decoded, with the prefixes of sub-applications."""
        return self._resource.canonical

    @property
    def websocket_reader(self) -> str:
        """What reads websocket frames: ``"compiled"`` or ``"python"``; "" if no websocket is served.

        See the option ``websocket_reader``.
        """
        return self._sockets[0].reader_name if self._sockets else ""

    @property
    def sessions(self) -> Iterator[Session]:
        """The open sessions, oldest first; safe to send and close while iterating."""
        return self._manager.sessions

    def __len__(self) -> int:
        """How many sessions are held, those that are about to be forgotten included."""
        return len(self._manager)

    def __bool__(self) -> bool:
        return True  # an endpoint without sessions is one all the same

    @property
    def counters(self) -> Counters:
        """What has happened here since the start."""
        return self._manager.counters

    def broadcast(self, message: Message, sessions: Iterable[Session] | None = None) -> int:
        """Send ``message`` to ``sessions``, or to all open ones; it is encoded once for all of a kind.

        Returns:
            to how many it was sent.

        Raises:
            TypeError: ``bytes``, while one of them is not a raw websocket; nothing was sent then.
        """
        return self._manager.broadcast(message, sessions)

    async def close(self) -> None:
        """Say goodbye to every session and take no more; what the application's shutdown does anyway."""
        await self._manager.stop()

    async def _start(self, app: web.Application) -> None:
        # glibc maps and unmaps asyncio's read buffer of 256 KiB for every read until a larger block has been
        # freed once: two to three times the cost of a small message, by chance of the heap (docs/performance.md).
        bytes(4 * 1024 * 1024)
        await self._manager.start()

    async def _stop(self, app: web.Application) -> None:
        await self._manager.stop()


class EndpointResource(PrefixResource):
    """The URLs of one endpoint, for the application's router."""

    def __init__(self, prefix: str, transports: Iterable[Transport], pages: Pages) -> None:
        """
        Raises:
            InvalidOption: ``prefix`` is no path.
        """
        prefix = prefix.rstrip("/")
        if (prefix and not prefix.startswith("/")) or re.search(r"[{}?#\s]", prefix):
            raise InvalidOption(
                f'a prefix starts with / and holds no blank, brace, ? or #, e.g. "/echo", not {prefix!r}'
            )
        super().__init__(prefix)
        self._pages: dict[str, web.ResourceRoute] = {
            "": self._route(pages.greeting),
            "/": self._route(pages.greeting),
            "/info": self._route(pages.info),
        }
        self._iframe = self._route(pages.iframe)
        self._sessions: dict[str, web.ResourceRoute] = {}
        self._upgrade: web.ResourceRoute | None = None
        for transport in transports:
            route = self._route(transport.respond)
            if transport.path is None:
                self._sessions[transport.name] = route
            else:
                self._pages[transport.path] = route
            if transport.path is not None and transport.is_websocket:
                self._upgrade = route

    @property
    def canonical(self) -> str:
        """The prefix as the router looks for it: decoded."""
        return URL.build(path=self._prefix, encoded=True).path_safe

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        """The route for a URL of this endpoint; None for any other, which other routes may know."""
        path = request.rel_url.raw_path
        if not path.startswith(self._prefix):
            return None, set()
        rest = path[len(self._prefix) :]
        parts = rest.split("/")
        if len(parts) == 4:
            nothing, server, session, name = parts
            route = self._sessions.get(name)
            # Both may be anything but empty, without a dot.
            if route is None or nothing or not server or not session or "." in server or "." in session:
                return None, set()
            return web.UrlMappingMatchInfo({"server": server, "session": session}, route), set()
        found = self._pages.get(rest)
        if found is None:
            if len(parts) != 2 or parts[0] or not IFRAME_NAME.fullmatch(parts[1]):
                return None, set()
            found = self._iframe
        elif not parts[-1] and self._upgrade is not None and _wants_websocket(request):
            found = self._upgrade
        return web.UrlMappingMatchInfo({}, found), set()

    def url_for(self, **parts: str) -> URL:
        """The mounted URL."""
        return URL.build(path=self._prefix or "/", encoded=True)

    def get_info(self) -> Any:  # aiohttp's type for it is private
        """For the application's introspection."""
        return {"prefix": self._prefix}

    def _route(self, answer: Any) -> web.ResourceRoute:
        return web.ResourceRoute("*", answer, self)

    @property
    def _all(self) -> list[web.ResourceRoute]:
        return [*self._pages.values(), self._iframe, *self._sessions.values()]

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter(self._all)


def _wants_websocket(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def _is_served(kind: type[Transport], options: Options) -> bool:
    if kind.needs_open_origins and options.allowed_origins != "*":
        return False
    return options.websocket or not kind.is_websocket


def _choose(transports: Iterable[type[Transport] | str]) -> list[type[Transport]]:
    named = {kind.name: kind for kind in DEFAULT_TRANSPORTS}
    chosen: list[type[Transport]] = []
    if isinstance(transports, str) or not isinstance(transports, Iterable):
        raise InvalidOption(f"transports is a list of classes or names, not {transports!r}")
    for item in transports:
        kind = named.get(item) if isinstance(item, str) else item
        if not (isinstance(kind, type) and issubclass(kind, Transport)):
            raise InvalidOption(f"a transport is a Transport class or one of {', '.join(named)}, not {item!r}")
        if any(kind.name == other.name for other in chosen):
            raise InvalidOption(f"two transports are called {kind.name!r}")
        chosen.append(kind)
    if not chosen:
        raise InvalidOption("transports names no transport, so nobody could connect")
    return chosen
