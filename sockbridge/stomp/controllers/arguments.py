"""A function's signature, compiled once into what fills its parameters.

Knows: types, and where a value of each comes from.
Does not know: which call is made when, and what becomes of the result.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec

from ...errors import InvalidController, PayloadInvalid
from ...sockjs.session import Session
from ..connection import StompConnection
from ..frame import CONTENT_TYPE, Frame
from ..payloads import Payloads, check_type, media_type, strip_none
from ..users import User

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Variable:
    """``Annotated[int, Variable("room")]``: a variable of the destination; by default of the parameter's name."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """``Annotated[str, Header("x-trace")]``: a header of the frame; by default of the parameter's name, with ``-`` for
    ``_``."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Payload:
    """``Annotated[Order, Payload()]``: the body; what a parameter without another meaning is anyway."""


class Headers(dict[str, str]):
    """A parameter of this type gets all headers of the frame, a copy."""


@dataclass(frozen=True, slots=True)
class Message(Generic[T]):
    """A parameter typed ``Message[Order]`` gets the body together with what came with it.

    Attributes:
        payload: the body.
        destination: as the client wrote it.
        headers: of the frame.
        connection: whose frame it is.
    """

    payload: T
    destination: str
    headers: Mapping[str, str]
    connection: StompConnection

    @property
    def user(self) -> User | None:
        """Who sent it; None for a guest."""
        return self.connection.user


@dataclass(frozen=True, slots=True)
class Call:
    """What is known when a function is called.

    Attributes:
        connection: whose frame it is.
        frame: a SEND or SUBSCRIBE.
        path: its destination without the application's prefix.
        variables: of the mapping, by name.
        error: what an exception handler is called for.
    """

    connection: StompConnection
    frame: Frame
    path: str
    variables: Mapping[str, str]
    error: Exception | None = None


Resolve = Callable[[Call], Any]

_MISSING: Final = inspect.Parameter.empty


class Arguments:
    """What fills the parameters of one function."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        variables: Collection[str],
        payloads: Payloads,
        *,
        catches: bool,
        services: Mapping[type, object] | None = None,
    ) -> None:
        """
        Args:
            name: of the function, for messages to people.
            variables: that the mapping has.
            catches: it is an exception handler.
            services: what parameters of these very types get, in every call.

        Raises:
            InvalidController: a parameter cannot be filled; the text names it.
        """
        self._name = name
        self._variables = variables
        self._payloads = payloads
        self._catches = catches
        self._services = services or {}
        self._has_payload = ""
        self._resolvers: dict[str, Resolve] = {}
        bound = function.keywords if isinstance(function, functools.partial) else {}
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError) as error:
            raise InvalidController(f"{name}: its parameters cannot be found: {error}") from None
        for parameter in parameters.values():
            if parameter.name not in bound:
                self._resolvers[parameter.name] = self._compile(parameter, function)

    def fill(self, call: Call) -> dict[str, Any]:
        """The arguments by name.

        Raises:
            PayloadInvalid: the frame does not give what a parameter needs.
        """
        return {name: resolve(call) for name, resolve in self._resolvers.items()}

    def _fault(self, parameter: inspect.Parameter, text: str) -> InvalidController:
        return InvalidController(f"{self._name}: parameter {parameter.name!r} {text}")

    def _compile(self, parameter: inspect.Parameter, function: Callable[..., Any]) -> Resolve:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise self._fault(parameter, "is none that can be filled by name: no *args, **kwargs or /")
        kind, role = self._annotation(parameter, function)
        if isinstance(role, Variable) or (role is None and parameter.name in self._variables):
            return self._variable(parameter, kind, (role and role.name) or parameter.name)
        if isinstance(role, Header):
            return self._header(parameter, kind, role.name or parameter.name.replace("_", "-"))
        special = None if isinstance(role, Payload) else self._special(parameter, kind)
        return special or self._payload(parameter, kind)

    def _annotation(
        self, parameter: inspect.Parameter, function: Callable[..., Any]
    ) -> tuple[Any, Variable | Header | Payload | None]:
        annotation = parameter.annotation
        if annotation is _MISSING:
            if parameter.name == "self":
                raise self._fault(parameter, "is not filled: map the method of an object, mapping(...)(thing.method)")
            raise self._fault(parameter, "has no type; the type says what it gets (Any takes any JSON)")
        while isinstance(annotation, str):  # twice so where a quoted one meets the __future__ import
            written = _source(function)
            names = {**getattr(written, "__globals__", {}), **_enclosing(written)}
            try:
                annotation = eval(annotation, names)  # the application's own source
            except (AttributeError, LookupError, NameError, SyntaxError, TypeError) as error:
                raise self._fault(parameter, f"has a type that cannot be found: {error}") from None
        inner, is_optional = strip_none(annotation)
        if typing.get_origin(inner) is not Annotated:
            return annotation, None
        kind, *extras = typing.get_args(inner)
        roles = [
            extra() if isinstance(extra, type) else extra
            for extra in extras
            if isinstance(extra, (Variable, Header, Payload)) or extra in (Variable, Header, Payload)
        ]
        if len(roles) > 1:
            raise self._fault(parameter, "is both of " + " and ".join(type(role).__name__ for role in roles))
        if not roles:
            return annotation, None
        return (kind | None if is_optional else kind), roles[0]

    # One way of filling each.

    def _special(self, parameter: inspect.Parameter, kind: Any) -> Resolve | None:
        inner, is_optional = strip_none(kind)
        if inner is StompConnection:
            return lambda call: call.connection
        if inner is Frame:
            return lambda call: call.frame
        if isinstance(inner, type) and inner in self._services:
            service = self._services[inner]
            return lambda call: service
        if inner is Headers:
            return lambda call: Headers(call.frame.headers)
        if isinstance(inner, type) and issubclass(inner, User):
            return _user(inner, is_optional=is_optional)
        if inner is Session:
            return _session_or_none if is_optional else _session
        if inner in (Variable, Header, Payload):
            name = inner.__name__
            raise self._fault(parameter, f"is typed {name}, which goes behind a type: Annotated[str, {name}()]")
        if isinstance(inner, type) and issubclass(inner, (StompConnection, Frame, Session)):
            raise self._fault(parameter, f"is a subclass of {inner.__mro__[1].__name__}, which nobody makes")
        if isinstance(inner, type) and issubclass(inner, BaseException):
            if not self._catches:
                raise self._fault(parameter, "is an exception, which only an exception_handler gets")
            return lambda call: call.error
        if inner is Message or typing.get_origin(inner) is Message:
            return self._message(parameter, (typing.get_args(inner) or (Any,))[0])
        return None

    def _variable(self, parameter: inspect.Parameter, kind: Any, name: str) -> Resolve:
        if name not in self._variables:
            known = ", ".join(self._variables) or "none"
            raise self._fault(parameter, f"is the variable {name}, but the destination's variables are: {known}")
        convert = self._converter(parameter, kind)
        return lambda call: convert(call.variables[name], name)

    def _header(self, parameter: inspect.Parameter, kind: Any, name: str) -> Resolve:
        convert = self._converter(parameter, kind)
        is_optional = strip_none(kind)[1]
        default = parameter.default

        def resolve(call: Call) -> Any:
            value = call.frame.headers.get(name)
            if value is not None:
                return convert(value, name)
            if default is not _MISSING:
                return default
            if is_optional:
                return None
            raise PayloadInvalid(f"the header {name} is missing")

        return resolve

    def _converter(self, parameter: inspect.Parameter, kind: Any) -> Callable[[str, str], Any]:
        if kind is str:
            return lambda value, name: value
        try:
            check_type(kind, is_text=True)
        except InvalidController as error:
            raise self._fault(parameter, f"has a type that a text cannot become: {error}") from None

        def convert(value: str, name: str) -> Any:
            try:
                return msgspec.convert(value, kind, strict=False)
            except (ValueError, msgspec.MsgspecError) as error:  # before msgspec 0.21 its errors were no ValueErrors
                raise PayloadInvalid(f"{name}: {error}") from None

        return convert

    def _payload(self, parameter: inspect.Parameter, kind: Any) -> Resolve:
        read = self._reader(parameter, kind)
        default = parameter.default

        def resolve(call: Call) -> Any:
            body = call.frame.body
            if not body and default is not _MISSING:
                return default
            return read(body, media_type(call.frame.headers.get(CONTENT_TYPE, "")))

        return resolve

    def _message(self, parameter: inspect.Parameter, kind: Any) -> Resolve:
        read = self._reader(parameter, kind)

        def resolve(call: Call) -> Message[Any]:
            frame = call.frame
            payload = read(frame.body, media_type(frame.headers.get(CONTENT_TYPE, "")))
            return Message(payload, frame.destination, Headers(frame.headers), call.connection)

        return resolve

    def _reader(self, parameter: inspect.Parameter, kind: Any) -> Callable[[bytes, str], Any]:
        if self._has_payload:
            raise self._fault(
                parameter,
                f"would get the body, as {self._has_payload!r} does already; if it is a header or a variable, say "
                "Annotated[..., Header()] or Annotated[..., Variable()]",
            )
        self._has_payload = parameter.name
        try:
            return self._payloads.reader(kind)
        except InvalidController as error:
            raise self._fault(parameter, f"has a type that no body can become: {error}") from None


def _enclosing(function: Callable[..., Any]) -> dict[str, Any]:
    # Names of the functions around it that it uses itself.
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    names = {}
    if code is not None:
        for name, cell in zip(code.co_freevars, cells or (), strict=True):
            with contextlib.suppress(ValueError):  # a name that is bound further down
                names[name] = cell.cell_contents
    return names


def _source(function: Callable[..., Any]) -> Callable[..., Any]:
    # The function whose text holds the annotations.
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    return function if hasattr(function, "__globals__") else type(function).__call__


def _user(kind: type[User], *, is_optional: bool) -> Resolve:
    def resolve(call: Call) -> User | None:
        user = call.connection.user
        if isinstance(user, kind) or (user is None and is_optional):
            return user
        raise PayloadInvalid("this destination is for users who have logged in")

    return resolve


def _session(call: Call) -> Session:
    if not isinstance(call.connection.carrier, Session):
        raise PayloadInvalid("this destination is for clients that come over SockJS or a websocket")
    return call.connection.carrier


def _session_or_none(call: Call) -> Session | None:
    carrier = call.connection.carrier
    return carrier if isinstance(carrier, Session) else None
