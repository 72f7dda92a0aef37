"""Sessions and their manager as the package ``sockjs`` has them, over sessions of our own engine.

A session here is a view: what it says is asked of the session below, what it is told is handed down. The one thing it
adds is the package's notion of an end, in two steps: ``CLOSE`` if the client or the network has ended it, then
``CLOSED``.

Knows: the package's names; which session of ours is which of theirs.
Does not know: HTTP, transports, how an endpoint is mounted.
Spec: the package ``sockjs`` 0.13, ``session``; docs/compat.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar, overload

from ...errors import PayloadExpected, ProtocolError, UsageError
from ...sockjs.framing import CloseCode, decode_body
from ...sockjs.session import Session as EngineSession
from ...sockjs.session import State
from .protocol import Frame, SessionState, SockjsMessage

Handler = Callable[["SessionManager", "Session", SockjsMessage], Awaitable[None] | None]
"""``async def handler(manager, session, msg)``; a plain function will do."""

Default = TypeVar("Default")
MISSING: Final = object()
"""Stands for a ``default`` that was not given, as None may be one."""

STATES: Final = {
    State.CONNECTING: SessionState.NEW,
    State.OPEN: SessionState.OPEN,
    State.CLOSING: SessionState.CLOSING,
    State.CLOSED: SessionState.CLOSING,  # until the handler is told
}

ENGINE: Final = "is part of the package's engine; here another engine does the work"
CLOCK: Final = "is the package's clock; here the endpoint has one"

SESSION_LACKS: Final = {
    **dict.fromkeys(("feed", "get_frame", "release_waiters", "acquire", "release"), ENGINE),
    **dict.fromkeys(("tick", "heartbeat", "next_heartbeat", "create_heartbeat_task", "expires"), CLOCK),
}
MANAGER_LACKS: Final = {
    **dict.fromkeys(("acquire", "release", "acquired"), ENGINE),
    **dict.fromkeys(("remote_message", "remote_messages", "remote_close", "remote_closed"), ENGINE),
    "start": "is not needed: the endpoint starts with its application",
    "route_name": "names no route; see docs/compat.md",
}
"""What the package has and we have not, and why. Asked for, or overridden, it is an error rather than nothing."""


class App(Protocol):
    """An application as far as it matters here, where aiohttp is not known."""

    def __getitem__(self, key: Any, /) -> Any: ...


class Endpoint(Protocol):
    """What a manager asks of the endpoint that it stands for."""

    def broadcast(self, message: str, sessions: Iterable[EngineSession] | None = None) -> int:
        """Send ``message`` to ``sessions``."""
        ...

    async def close(self) -> None:
        """Say goodbye to everybody, and take no more."""
        ...


class Session:
    """One client, as a handler sees it. A subclass may be made the manager's ``factory``.

    Attributes:
        id: the id in the URL, as with the package: it is the client's secret, do not show it to others. Where that is
            taken, as a websocket's may be, or missing, as a raw websocket's is, one that is like it.
        request: the request that opened the session (``aiohttp.web.Request``), for as long as the session lives.
        exception: why the connection broke; None while it has not.
        interrupted: True if it broke, or the handler failed in ``OPEN``.
    """

    def __init__(
        self, session_id: str, *, heartbeat_delay: float = 25, disconnect_delay: float = 5, debug: bool = False
    ) -> None:
        self.id = session_id
        self.request: Any = None  # aiohttp is not known here
        self.exception: Exception | None = None
        self.interrupted = False
        self._heartbeat_delay = heartbeat_delay
        self._disconnect_delay = disconnect_delay
        self._below: EngineSession | None = None
        self._is_over = False
        self._is_ended_here = False

    def __init_subclass__(cls) -> None:
        """
        Raises:
            UsageError: the subclass overrides what would never be called.
        """
        super().__init_subclass__()
        _check_overrides(cls, SESSION_LACKS)

    if not TYPE_CHECKING:  # pragma: no branch  # or every attribute would pass the type checker

        def __getattr__(self, name: str) -> NoReturn:
            _lack(type(self), name, SESSION_LACKS)

    def __repr__(self) -> str:
        # Not the id of the URL, which must not get into logs.
        return f"<{type(self).__name__} {self._below.id if self._below else '-'} {self.state.name.lower()}>"

    @property
    def state(self) -> SessionState:
        """Where the session stands; ``CLOSED`` from the handler's last call on."""
        if self._is_over:
            return SessionState.CLOSED
        return STATES[self._below.state] if self._below is not None else SessionState.NEW

    @property
    def expired(self) -> bool:
        """True once the session is over."""
        return self._is_over

    @property
    def acquired(self) -> bool:
        """True while a connection carries the session; between two polls none does."""
        return self._below is not None and self._below.receiver is not None

    @property
    def heartbeat_delay(self) -> float:
        """Seconds, as they are set for the endpoint."""
        return self._heartbeat_delay

    @property
    def disconnect_delay(self) -> float:
        """Seconds, as they are set for the endpoint."""
        return self._disconnect_delay

    def send(self, msg: str) -> bool:
        """Send ``msg`` to the client.

        Returns:
            False if the session is not open: then the message is dropped.

        Raises:
            TypeError: ``msg`` is no ``str``.
        """
        if not isinstance(msg, str):
            raise TypeError(f"send takes a str, not {type(msg).__name__}; encode it first (json.dumps)")
        if self._below is None:
            return False
        is_open = self._below.is_open
        self._below.send(msg)
        return is_open

    def send_frame(self, frm: str) -> None:
        """Send the messages of a frame ``a["...",...]``.

        Raises:
            ValueError: it is another kind of frame, or none.
        """
        try:
            if not frm.startswith(Frame.MESSAGE.value):
                raise PayloadExpected
            messages = decode_body(frm[1:].encode())
        except ProtocolError:
            raise ValueError(f"send_frame takes a frame of messages, e.g. 'a[\"text\"]', not {frm!r:.100}") from None
        for message in messages:
            self.send(message)

    def close(self, code: int = CloseCode.GO_AWAY, reason: str = "Go away!") -> None:
        """End the session: what waits is delivered, then the client is told ``code``. The handler is told ``CLOSED``.

        Raises:
            InvalidCloseCode: a code or reason that may not go to a client.
        """
        if self._below is not None:
            was_open = self._below.is_open
            self._below.close(code, reason)
            self._is_ended_here |= was_open

    def expire(self) -> None:
        """End the session now, as if its client had stayed away: the handler is told ``CLOSE``, then ``CLOSED``."""
        if self._below is not None:
            self._below.close(CloseCode.GO_AWAY, "Go away!")

    # For whoever bridges the engine to a handler.

    @property
    def below(self) -> EngineSession | None:
        """The session of ours that this one shows: what the package has no word for is found there."""
        return self._below

    @property
    def is_ended_here(self) -> bool:
        """True if the application has ended the session, rather than the client or the network."""
        return self._is_ended_here

    def bind(self, below: EngineSession, request: object) -> None:
        """Show ``below`` from now on, which ``request`` has opened."""
        self._below, self.request = below, request

    def break_off(self, error: Exception) -> None:
        """The connection broke, or the handler failed before it was of any use."""
        self.exception, self.interrupted = error, True

    def finish(self) -> None:
        """The handler is about to be told ``CLOSED``."""
        self._is_over = True


class SessionManager:
    """The sessions of one endpoint. ``add_endpoint`` makes one, or is given one.

    Attributes:
        name: by which ``get_manager`` finds it.
        app: the application it was made for.
        handler: called as ``handler(manager, session, msg)``.
        factory: makes a session: ``Session``, or a subclass of it.
        sessions: the sessions by their ``id``, from before ``OPEN`` until after ``CLOSED``.
        endpoint: the ``sockbridge.Endpoint`` below; None until ``add_endpoint``.
    """

    def __init__(
        self,
        name: str,
        app: App,
        handler: Handler,
        heartbeat_delay: float = 25,
        disconnect_delay: float = 5,
        debug: bool = False,
    ) -> None:
        self.name = name
        self.app = app
        self.handler = handler
        self.factory: Callable[..., Session] = Session
        self.sessions: dict[str, Session] = {}
        self.heartbeat_delay = heartbeat_delay
        self.disconnect_delay = disconnect_delay
        self.debug = debug
        self.endpoint: Endpoint | None = None

    def __init_subclass__(cls) -> None:
        """
        Raises:
            UsageError: the subclass overrides what would never be called.
        """
        super().__init_subclass__()
        _check_overrides(cls, MANAGER_LACKS)

    if not TYPE_CHECKING:  # pragma: no branch  # or every attribute would pass the type checker

        def __getattr__(self, name: str) -> NoReturn:
            _lack(type(self), name, MANAGER_LACKS)

    @property
    def started(self) -> bool:
        """True once ``add_endpoint`` has taken it."""
        return self.endpoint is not None

    @overload
    def get(self, session_id: str, create: bool = False) -> Session: ...

    @overload
    def get(self, session_id: str, create: bool = False, default: Default = ...) -> Session | Default: ...

    def get(self, session_id: str, create: bool = False, default: object = MISSING) -> object:
        """The session with this ``id``.

        Args:
            default: returned if there is none.

        Raises:
            KeyError: there is none, and no ``default``.
            UsageError: ``create``: only a client opens a session.
        """
        if create:
            raise UsageError("get(create=True): a session is opened by its client, and not made by the application")
        if session_id in self.sessions:
            return self.sessions[session_id]
        if default is MISSING:
            raise KeyError(session_id)
        return default

    def is_acquired(self, session: Session) -> bool:
        """True while a connection carries ``session``."""
        return session.acquired

    def active_sessions(self) -> Iterator[Session]:
        """The sessions that are not over; safe to send and close while iterating."""
        return (session for session in list(self.sessions.values()) if not session.expired)

    def broadcast(self, message: str, exclude_session_ids: Iterable[str] | None = None) -> None:
        """Send ``message`` to every open session but those; it is encoded once for all of a kind.

        Raises:
            TypeError: ``message`` is no ``str``.
        """
        if not isinstance(message, str):
            raise TypeError(f"broadcast takes a str, not {type(message).__name__}; encode it first (json.dumps)")
        excluded = frozenset(exclude_session_ids or ())
        below = [one.below for id, one in self.sessions.items() if one.below is not None and id not in excluded]
        if self.endpoint is not None:
            self.endpoint.broadcast(message, [session for session in below if session.is_open])

    async def clear(self) -> None:
        """End every session; their handlers are told ``CLOSED`` in the turns of the loop that follow."""
        for session in list(self.sessions.values()):
            session.close()

    async def stop(self, _app: object = None) -> None:
        """Say goodbye to every session (1001) and take no more; what the application's shutdown does anyway."""
        for session in list(self.sessions.values()):
            session.close(CloseCode.GOING_AWAY, "Server is shutting down")
        if self.endpoint is not None:
            await self.endpoint.close()


def _check_overrides(kind: type, lacks: Mapping[str, str]) -> None:
    for name in vars(kind):
        if name in lacks:
            raise UsageError(f"{kind.__name__}.{name} would never be called: it {lacks[name]}")


def _lack(kind: type, name: str, lacks: Mapping[str, str]) -> NoReturn:
    reason = f": it {lacks[name]}" if name in lacks else ""
    raise AttributeError(f"sockbridge.compat.sockjs: {kind.__name__} has no attribute {name!r}{reason}")
