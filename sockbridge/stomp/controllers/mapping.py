"""What an application writes: functions mapped to destinations. Only collected here, and registered nowhere.

Knows: the decorators and what they were told.
Does not know: who calls the functions.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from ...errors import InvalidController

F = TypeVar("F", bound=Callable[..., Any])


class Kind(enum.Enum):
    """What a function is mapped to."""

    MESSAGE = "message_mapping"
    SUBSCRIBE = "subscribe_mapping"
    EXCEPTION = "exception_handler"


@dataclass(frozen=True, slots=True)
class Mapped:
    """One mapped function.

    Attributes:
        kind: what it is mapped to.
        function: the application's.
        destinations: patterns, without the prefix of the controller.
        exceptions: classes; of ``EXCEPTION`` alone.
        send_to: patterns of destinations for what it returns.
        send_to_user: the same for the user who asked, without the user prefix.
        is_default: neither of the two was given.
        is_broadcast: all connections of the user, not only the one that asked.
        is_concurrent: does not hold up the next frame of its connection.
        is_everywhere: serves the exceptions of every controller.
    """

    kind: Kind
    function: Callable[..., Any]
    destinations: tuple[str, ...] = ()
    exceptions: tuple[type[BaseException], ...] = ()
    send_to: tuple[str, ...] = ()
    send_to_user: tuple[str, ...] = ()
    is_default: bool = False
    is_broadcast: bool = True
    is_concurrent: bool = False
    is_everywhere: bool = False

    @property
    def name(self) -> str:
        """Of the function, for messages to people."""
        return f"{self.function.__module__}.{getattr(self.function, '__qualname__', type(self.function).__name__)}"


@dataclass(frozen=True, slots=True)
class Reply:
    """A return value with headers.

    Attributes:
        payload: what would have been returned without them.
        headers: for whoever gets the message; reserved names are refused.
    """

    payload: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class Controller:
    """A group of functions that serve destinations under one of the server's ``app_prefixes``.

    A function is a coroutine function, a plain one, or an asynchronous generator, each of whose values is sent. Its
    parameters are filled by their types; see ``docs/stomp.md``. The decorators hand the function back unchanged.

    What it returns is sent to ``send_to``, to ``send_to_user``, or to both; without either to ``/topic`` + its
    destination (for a subscription: to the one who subscribed). ``None`` sends nothing. Destinations may name variables
    of the mapping: ``send_to="/topic/rooms/{room}"``.
    """

    def __init__(self, prefix: str = "") -> None:
        """
        Args:
            prefix: before all destinations of this controller, e.g. ``"/chat"``.
        """
        self.prefix = prefix
        self._mapped: list[Mapped] = []
        self._is_sealed = False

    def seal(self) -> Sequence[Mapped]:
        """What was mapped; from now on nothing can be, as the server that asks would not know. May be called again."""
        self._is_sealed = True
        return tuple(self._mapped)

    def message_mapping(
        self,
        *destinations: str,
        send_to: str | Iterable[str] | None = None,
        send_to_user: str | Iterable[str] | bool | None = None,
        broadcast: bool = True,
        concurrent: bool = False,
    ) -> Callable[[F], F]:
        """The function is called for each SEND to one of ``destinations``.

        Args:
            destinations: patterns without the application's prefix, e.g. ``"/rooms/{room}/say"``.
            send_to: where to send what it returns.
            send_to_user: under which destination the user who asked gets it, without the user prefix; True for
                ``/queue`` + the destination.
            broadcast: to all connections of that user; False: to the one that asked. A guest has only one.
            concurrent: go on with the next frame of the client meanwhile; else they wait, in order.
        """
        return self._collect(Kind.MESSAGE, destinations, send_to, send_to_user, broadcast, concurrent)

    def subscribe_mapping(
        self,
        *destinations: str,
        send_to: str | Iterable[str] | None = None,
        send_to_user: str | Iterable[str] | bool | None = None,
        broadcast: bool = True,
        concurrent: bool = False,
    ) -> Callable[[F], F]:
        """The function is called for each SUBSCRIBE to one of ``destinations``; what it returns is the answer.

        Args:
            destinations: see ``message_mapping``, as are the others. Without ``send_to`` and ``send_to_user`` the
                subscriber alone gets what is returned; a generator goes on until UNSUBSCRIBE.
        """
        return self._collect(Kind.SUBSCRIBE, destinations, send_to, send_to_user, broadcast, concurrent)

    def exception_handler(
        self,
        *exceptions: type[BaseException],
        send_to: str | Iterable[str] | None = None,
        send_to_user: str | Iterable[str] | bool | None = None,
        broadcast: bool = True,
        everywhere: bool = False,
    ) -> Callable[[F], F]:
        """The function is called when another of this controller raises one of ``exceptions``.

        ``PayloadInvalid`` (the body does not fit the function's types) is among what may be declared. The class
        nearest to what was raised decides.

        Args:
            exceptions: classes.
            everywhere: serve the functions of all controllers that have no such handler of their own.

        Raises:
            InvalidController: one of ``exceptions`` is none.
        """
        if not exceptions or not all(isinstance(one, type) and issubclass(one, Exception) for one in exceptions):
            raise InvalidController(f"exception_handler takes classes of exceptions, not {exceptions!r}")

        def decorate(function: F) -> F:
            if not callable(function):
                raise InvalidController(f"a function is mapped, not {function!r}")
            self._add(
                Mapped(
                    Kind.EXCEPTION,
                    function,
                    exceptions=exceptions,
                    send_to=_several(send_to, "send_to"),
                    send_to_user=_several(send_to_user, "send_to_user"),
                    is_broadcast=broadcast,
                    is_everywhere=everywhere,
                )
            )
            return function

        return decorate

    def _add(self, mapped: Mapped) -> None:
        if self._is_sealed:
            raise InvalidController(f"{mapped.name} is mapped too late: a server has been made with its controller")
        self._mapped.append(mapped)

    def _collect(
        self,
        kind: Kind,
        destinations: tuple[str, ...],
        send_to: str | Iterable[str] | None,
        send_to_user: str | Iterable[str] | bool | None,
        broadcast: bool,
        concurrent: bool,
    ) -> Callable[[F], F]:
        if not destinations or not all(isinstance(one, str) for one in destinations):
            raise InvalidController(f'{kind.value} takes destinations, e.g. ("/echo"), not {destinations!r}')

        def decorate(function: F) -> F:
            if not callable(function):
                raise InvalidController(f"a function is mapped, not {function!r}")
            self._add(
                Mapped(
                    kind,
                    function,
                    destinations=destinations,
                    send_to=_several(send_to, "send_to"),
                    send_to_user=_several(send_to_user, "send_to_user"),
                    is_default=send_to is None and not send_to_user,
                    is_broadcast=broadcast,
                    is_concurrent=concurrent,
                )
            )
            return function

        return decorate


OWN_QUEUE: Final = ""
"""In ``Mapped.send_to_user``: ``/queue`` + the destination of the call."""


def _several(targets: str | Iterable[str] | bool | None, name: str) -> tuple[str, ...]:
    if targets is None or targets is False:
        return ()
    if targets is True:
        return (OWN_QUEUE,)
    several = (targets,) if isinstance(targets, str) else tuple(targets)
    for target in several:
        if not isinstance(target, str) or not target.startswith("/"):
            raise InvalidController(f"{name} is a destination that starts with /, or several, not {targets!r}")
    return several
