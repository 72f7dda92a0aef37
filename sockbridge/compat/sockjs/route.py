"""``add_endpoint`` and ``get_manager`` as the package ``sockjs`` has them, over ``sockbridge.mount``.

Knows: which argument of the package's is which option of ours; where managers are kept.
Does not know: sessions, frames.
Spec: the package ``sockjs`` 0.13, ``route``; docs/compat.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, Protocol, TypedDict, Unpack

from aiohttp import web

from ...endpoint import mount
from ...errors import InvalidOption, UsageError
from ...options import DEFAULT_CLIENT_URL, Authenticate, OptionArguments
from .bridge import Bridge, Visitor
from .session import Handler, SessionManager

MANAGERS: Final = web.AppKey("sockbridge.compat.sockjs", dict[str, SessionManager])

TRANSPORTS: Final = {
    "websocket": ("websocket",),
    "websocket-raw": ("websocket-raw",),
    "xhr-streaming": ("xhr_streaming",),
    "eventsource": ("eventsource",),
    "htmlfile": ("htmlfile",),
    "xhr-polling": ("xhr",),
    "jsonp-polling": ("jsonp", "jsonp_send"),
}
"""Names of transports in ``disable_transports`` -> ours. Sending by xhr is there for four of them."""

SENDING_BY_XHR: Final = frozenset({"xhr-streaming", "eventsource", "htmlfile", "xhr-polling"})

MAX_MESSAGE_SIZE: Final = 1024 * 1024
"""What the package takes by HTTP, where aiohttp sets the limit."""


class CorsConfig(Protocol):
    """What is needed of an ``aiohttp_cors.CorsConfig``: origins, and what each is allowed."""

    @property
    def defaults(self) -> Mapping[str, Any]: ...


class FurtherOptions(TypedDict, total=False):
    """The options of ``mount`` that the package has no word for; see ``sockbridge.Options``."""

    response_limit: int
    websocket: bool
    base_url: str | None
    allowed_origins: Literal["*"] | Iterable[str] | None
    forwarded: bool | Literal["rfc7239"]
    authenticate: Authenticate | None
    max_message_size: int
    send_buffer_limit: int
    receive_buffer_limit: int
    on_overflow: Literal["close", "drop_oldest", "drop_newest"]
    max_sessions: int
    pong_timeout: float
    write_timeout: float
    shutdown_grace: float
    websocket_compression: bool
    websocket_reader: Literal["auto", "python"]


def get_manager(name: str, app: web.Application) -> SessionManager:
    """The manager of the endpoint that was added to ``app`` as ``name``.

    Raises:
        KeyError: there is none.
    """
    return app.get(MANAGERS, {})[name]


def add_endpoint(
    app: web.Application,
    handler: Handler,
    *,
    name: str = "",
    prefix: str = "/sockjs",
    manager: SessionManager | None = None,
    disable_transports: Iterable[str] = (),
    sockjs_cdn: str = DEFAULT_CLIENT_URL,
    cookie_needed: bool | str = True,
    cors_config: CorsConfig | Mapping[str, Any] | None = None,
    heartbeat_delay: float = 25,
    disconnect_delay: float = 5,
    debug: bool = False,
    **options: Unpack[FurtherOptions],
) -> list[web.AbstractRoute]:
    """Serve SockJS under ``prefix`` of ``app``.

    Args:
        handler: ``async def handler(manager, session, msg)``, or a plain function.
        name: for ``get_manager``; if there is none, ``prefix`` is the name.
        manager: one that was made before. Its handler and its delays count then, not those of this call.
        disable_transports: names out of ``TRANSPORTS``.
        sockjs_cdn: the option ``client_url``.
        cookie_needed: the option ``jsessionid``, which takes a string as well.
        cors_config: an ``aiohttp_cors.CorsConfig``, or its ``defaults``: the origins become ``allowed_origins``. None:
            pages of the endpoint's own origin may connect, unless ``allowed_origins`` names others.
        debug: nothing but an attribute of the manager; see the loggers ``sockbridge.*``.
        options: further options of ``sockbridge.mount``.

    Returns:
        the routes of the endpoint.

    Raises:
        InvalidOption: a value is not allowed, or there is no such argument; the text says what there is.
        UsageError: ``handler`` cannot be called so, or the application has started.
    """
    _check_options(options)
    if manager is None:
        manager = SessionManager(name or prefix, app, handler, heartbeat_delay, disconnect_delay, debug)
    elif name and manager.name != name:
        raise InvalidOption(f"the manager is called {manager.name!r}, the endpoint {name!r}: they need the same name")
    _check_handler(manager.handler)
    managers = app.get(MANAGERS, {})
    if manager.name in managers:
        raise InvalidOption(f"there is an endpoint {manager.name!r} already")
    if cors_config is not None and "allowed_origins" in options:
        raise InvalidOption("cors_config and allowed_origins say the same: give one of them")
    authenticate = options.get("authenticate")
    settings: OptionArguments = {
        "client_url": sockjs_cdn,
        "jsessionid": cookie_needed,
        "heartbeat_delay": manager.heartbeat_delay,
        "disconnect_delay": manager.disconnect_delay,
        "allowed_origins": _origins(cors_config),
        "max_message_size": MAX_MESSAGE_SIZE,
        **options,
        "authenticate": _admit if authenticate is None else _admit_by(authenticate),
    }
    endpoint = mount(app, prefix, Bridge(manager), transports=_transports(disable_transports), **settings)
    # Before the endpoint's own: so these goodbyes count as the application's.
    app.on_shutdown.insert(len(app.on_shutdown) - 1, manager.stop)
    manager.endpoint = endpoint
    app[MANAGERS] = {**managers, manager.name: manager}
    return list(list(app.router.resources())[-1])


async def _admit(request: web.Request) -> Visitor:
    # Everybody, as with the package; this is how a session comes to its request.
    return Visitor(request, None)


def _admit_by(authenticate: Authenticate) -> Authenticate:
    async def admit(request: web.Request) -> Visitor | None:
        principal = await authenticate(request)
        return None if principal is None or principal is False else Visitor(request, principal)

    return admit


def _check_options(options: Mapping[str, object]) -> None:
    unknown = [option for option in options if option not in FurtherOptions.__annotations__]
    if unknown:
        known = ", ".join([*inspect.signature(add_endpoint).parameters][2:-1])
        further = ", ".join(sorted(FurtherOptions.__annotations__))
        raise InvalidOption(
            f"add_endpoint has no argument {', '.join(unknown)}; there are: {known}; and of sockbridge.mount: {further}"
        )


def _check_handler(handler: object) -> None:
    # A handler in the style of before 0.13 (msg, session) would fail at the first client only.
    wanted = "async def handler(manager, session, msg)"
    if not callable(handler):
        raise UsageError(f"wanted is {wanted}, not {handler!r}")
    flags = getattr(getattr(handler, "__code__", None), "co_flags", 0)
    if flags & inspect.CO_GENERATOR and not flags & inspect.CO_ITERABLE_COROUTINE:
        raise UsageError(f"wanted is {wanted}; a generator would never run")
    try:
        inspect.signature(handler).bind("manager", "session", "msg")
    except TypeError as error:
        raise UsageError(f"wanted is {wanted}, as since sockjs 0.13: {error}") from None


def _transports(disabled: Iterable[str]) -> list[str]:
    known = ", ".join(TRANSPORTS)
    if isinstance(disabled, str):
        raise InvalidOption(f"disable_transports is a list of names out of {known}, not {disabled!r}")
    enabled = dict(TRANSPORTS)
    for name in disabled:
        if name not in TRANSPORTS:
            raise InvalidOption(f"disable_transports: there is no transport {name!r}; there are: {known}")
        enabled.pop(name, None)
    served = [ours for names in enabled.values() for ours in names]
    return [*served, "xhr_send"] if enabled.keys() & SENDING_BY_XHR else served


def _origins(cors_config: CorsConfig | Mapping[str, Any] | None) -> Literal["*"] | list[str] | None:
    if cors_config is None:
        return None
    origins = cors_config if isinstance(cors_config, Mapping) else getattr(cors_config, "defaults", None)
    if not isinstance(origins, Mapping):
        raise InvalidOption(f"cors_config is an aiohttp_cors.CorsConfig or a dict of origins, not {cors_config!r}")
    for origin, allowed in origins.items():
        credentials = (
            allowed.get("allow_credentials")
            if isinstance(allowed, Mapping)
            else getattr(allowed, "allow_credentials", None)
        )
        if credentials is not True:
            raise InvalidOption(
                f"cors_config: {origin!r} lacks allow_credentials=True, but SockJS clients always send credentials; "
                "set it, or leave the origin out"
            )
    return "*" if "*" in origins else list(origins)
