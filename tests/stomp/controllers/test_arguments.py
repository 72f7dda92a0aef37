"""Signatures: what fills each kind of parameter, and what is refused before the first call.

The file has ``from __future__ import annotations``, so most annotations here are texts; ``PLAIN`` holds functions
whose annotations are objects.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
from builtins import compile as compile_source
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from sockbridge.errors import InvalidController, PayloadInvalid
from sockbridge.sockjs.session import Session
from sockbridge.stomp.connection import StompConnection
from sockbridge.stomp.controllers.arguments import Arguments, Call, Header, Headers, Message, Payload, Variable
from sockbridge.stomp.frame import Frame
from sockbridge.stomp.options import StompOptions
from sockbridge.stomp.payloads import Payloads
from sockbridge.stomp.users import User
from tests.fakes import make_session
from tests.stomp.fakes import login, make_frame

ANN = User("ann")


@dataclasses.dataclass
class Order:
    item: str
    count: int = 1


class Item(msgspec.Struct):
    name: str


class Line(TypedDict):
    text: str


class Color(enum.Enum):
    RED = "red"


class Model:
    """Of a library of models that msgspec does not know."""

    def __init__(self, name: str) -> None:
        self.name = name


class ModelConverter:
    """Reads ``name=...`` as a ``Model``."""

    def serves(self, kind: Any) -> bool:
        return kind is Model

    def decode(self, body: bytes, content_type: str, kind: Any) -> Any:
        if not body.startswith(b"name="):
            raise ValueError("no model")
        return kind(body[5:].decode())

    def encode(self, value: Any) -> tuple[str, bytes]:
        return "application/x-model", value.name.encode()


def compile(
    function: Callable[..., Any],
    variables: Collection[str] = (),
    *,
    catches: bool = False,
    payloads: Payloads | None = None,
) -> Arguments:
    return Arguments(function, "shop.buy", variables, payloads or Payloads(), catches=catches)


def call(
    body: bytes = b"",
    *,
    variables: Mapping[str, str] | None = None,
    connection: StompConnection | None = None,
    error: Exception | None = None,
    **headers: str,
) -> Call:
    frame = make_frame("SEND", body, destination="/app/shop", **headers)
    return Call(connection or login(user=ANN)[0], frame, "/shop", variables or {}, error)


def fill(function: Callable[..., Any], one: Call, **arguments: Any) -> dict[str, Any]:
    return compile(function, one.variables.keys(), **arguments).fill(one)


# The body.


def takes_str(value: str) -> None: ...
def takes_bytes(value: bytes) -> None: ...
def takes_order(value: Order) -> None: ...
def takes_item(value: Item) -> None: ...
def takes_line(value: Line) -> None: ...
def takes_list(value: list[Order]) -> None: ...
def takes_any(value: Any) -> None: ...
def takes_order_or_none(value: Order | None) -> None: ...
def takes_default(value: str = "default") -> None: ...
def takes_marked(value: Annotated[Order, Payload()]) -> None: ...
def takes_marked_by_class(value: Annotated[Order, Payload]) -> None: ...
def takes_constrained(value: Annotated[int, msgspec.Meta(ge=1)]) -> None: ...
def quoted(value: "Order") -> None: ...  # noqa: UP037  # a text inside a text
def takes_nothing() -> None: ...


@pytest.mark.parametrize(
    ("function", "body", "value"),
    [
        (quoted, b'{"item":"tea"}', Order("tea")),
        (takes_str, b"text", "text"),
        (takes_bytes, b"\xff", b"\xff"),
        (takes_order, b'{"item":"tea"}', Order("tea")),
        (takes_item, b'{"name":"x"}', Item("x")),
        (takes_line, b'{"text":"x"}', {"text": "x"}),
        (takes_list, b'[{"item":"tea","count":2}]', [Order("tea", 2)]),
        (takes_any, b"[1,2]", [1, 2]),
        (takes_order_or_none, b'{"item":"tea"}', Order("tea")),
        (takes_order_or_none, b"", None),
        (takes_default, b"text", "text"),
        (takes_default, b"", "default"),
        (takes_marked, b'{"item":"tea"}', Order("tea")),
        (takes_marked_by_class, b'{"item":"tea"}', Order("tea")),
        (takes_constrained, b"1", 1),
    ],
)
def test_a_parameter_without_another_meaning_gets_the_body(
    function: Callable[..., Any], body: bytes, value: object
) -> None:
    assert fill(function, call(body)) == {"value": value}


@pytest.mark.parametrize(
    ("function", "body"),
    [(takes_str, b""), (takes_order, b"{}"), (takes_order, b""), (takes_constrained, b"0"), (takes_list, b"{}")],
)
def test_a_body_that_does_not_fit_is_invalid(function: Callable[..., Any], body: bytes) -> None:
    with pytest.raises(PayloadInvalid):
        fill(function, call(body))


def test_the_content_type_is_heeded() -> None:
    with pytest.raises(PayloadInvalid, match="'text/plain', not JSON"):
        fill(takes_order, call(b'{"item":"tea"}', content_type="Text/Plain; charset=UTF-8"))
    assert fill(takes_str, call(b'"a"', content_type="application/json;charset=UTF-8")) == {"value": "a"}


def test_a_function_without_parameters_gets_nothing_whatever_the_body_is() -> None:
    assert fill(takes_nothing, call(b"\xff")) == {}


def test_a_converter_reads_types_of_its_own() -> None:
    def function(model: Model) -> None: ...

    payloads = Payloads([ModelConverter()])
    assert fill(function, call(b"name=a"), payloads=payloads)["model"].name == "a"
    with pytest.raises(PayloadInvalid, match="no model"):
        fill(function, call(b"{}"), payloads=payloads)


def test_marked_as_payload_a_parameter_gets_the_body_though_it_is_named_as_a_variable() -> None:
    def function(room: Annotated[str, Payload()]) -> None: ...

    assert fill(function, call(b"body", variables={"room": "7"})) == {"room": "body"}


# Variables.


def test_a_parameter_named_as_a_variable_gets_it_converted() -> None:
    def function(room: int, color: Color, kind: Literal["a", "b"], text: str, ratio: float) -> None: ...

    variables = {"room": "42", "color": "red", "kind": "b", "text": "007", "ratio": "1.5"}
    assert fill(function, call(variables=variables)) == {
        "room": 42,
        "color": Color.RED,
        "kind": "b",
        "text": "007",
        "ratio": 1.5,
    }


def test_a_variable_may_have_another_name_than_its_parameter() -> None:
    def function(number: Annotated[int, Variable("room")], room: Annotated[str, Variable]) -> None: ...

    assert fill(function, call(variables={"room": "42"})) == {"number": 42, "room": "42"}


def test_a_variable_may_be_constrained() -> None:
    def function(
        room: Annotated[int, msgspec.Meta(le=9), Variable()], other: Annotated[int, msgspec.Meta(le=9)]
    ) -> None: ...

    assert fill(function, call(variables={"room": "9", "other": "8"})) == {"room": 9, "other": 8}
    with pytest.raises(PayloadInvalid, match="other: "):
        fill(function, call(variables={"room": "9", "other": "10"}))


@pytest.mark.parametrize("value", ["", "x", "4 2", "1e999", "٤٢x"])
def test_a_variable_that_does_not_fit_is_invalid_and_named(value: str) -> None:
    def function(room: int) -> None: ...

    with pytest.raises(PayloadInvalid, match="room: "):
        fill(function, call(variables={"room": value}))


# Headers.


def takes_header(trace: Annotated[str, Header("x-trace")]) -> None: ...
def takes_header_by_name(x_trace: Annotated[str, Header()]) -> None: ...
def takes_header_class(x_trace: Annotated[str, Header]) -> None: ...
def takes_number(x_count: Annotated[int, Header()]) -> None: ...
def takes_number_or_none(x_count: Annotated[int | None, Header()]) -> None: ...
def takes_number_or_default(x_count: Annotated[int, Header()] = 7) -> None: ...
def takes_text_or_none(x_trace: Annotated[str | None, Header()]) -> None: ...


@pytest.mark.parametrize(
    ("function", "headers", "value"),
    [
        (takes_header, {"x_trace": "a"}, "a"),
        (takes_header, {"x_trace": ""}, ""),
        (takes_header_by_name, {"x_trace": "a"}, "a"),
        (takes_header_class, {"x_trace": "a"}, "a"),
        (takes_number, {"x_count": "5"}, 5),
        (takes_number_or_none, {"x_count": "5"}, 5),
        (takes_number_or_none, {}, None),
        (takes_number_or_default, {}, 7),
        (takes_number_or_default, {"x_count": "5"}, 5),
        (takes_text_or_none, {}, None),
        (takes_text_or_none, {"x_trace": "null"}, "null"),
    ],
)
def test_a_header_is_found_by_name_and_converted(
    function: Callable[..., Any], headers: dict[str, Any], value: object
) -> None:
    assert list(fill(function, call(**headers)).values()) == [value]


def test_a_header_that_is_missing_or_does_not_fit_is_invalid_and_named() -> None:
    with pytest.raises(PayloadInvalid, match="header x-trace is missing"):
        fill(takes_header, call())
    with pytest.raises(PayloadInvalid, match="x-count: "):
        fill(takes_number, call(x_count="five"))


def test_all_headers_are_a_copy() -> None:
    def function(headers: Headers) -> None: ...

    one = call(x_trace="a")
    headers = fill(function, one)["headers"]
    assert headers == {"destination": "/app/shop", "x-trace": "a"}
    assert type(headers) is Headers
    headers.clear()
    assert one.frame.headers["x-trace"] == "a"


# What else there is.


def test_the_frame_and_the_connection_are_there_for_the_asking() -> None:
    def function(frame: Frame, connection: StompConnection) -> None: ...

    one = call()
    assert fill(function, one) == {"frame": one.frame, "connection": one.connection}


def takes_user(user: User) -> None: ...
def takes_user_or_none(user: User | None) -> None: ...
def takes_session(session: Session) -> None: ...
def takes_session_or_none(session: Session | None) -> None: ...


def test_the_user_is_who_has_logged_in() -> None:
    guest, _ = login()
    assert fill(takes_user, call()) == {"user": ANN}
    assert fill(takes_user_or_none, call()) == {"user": ANN}
    assert fill(takes_user_or_none, call(connection=guest)) == {"user": None}
    with pytest.raises(PayloadInvalid, match="users who have logged in"):
        fill(takes_user, call(connection=guest))


def test_the_session_is_there_only_where_one_carries_the_connection() -> None:
    session = make_session()
    over_sockjs = StompConnection(session, StompOptions(), 0.0)
    assert fill(takes_session, call(connection=over_sockjs)) == {"session": session}
    assert fill(takes_session_or_none, call(connection=over_sockjs)) == {"session": session}
    assert fill(takes_session_or_none, call()) == {"session": None}
    with pytest.raises(PayloadInvalid, match="SockJS or a websocket"):
        fill(takes_session, call())


@dataclasses.dataclass(frozen=True)
class Member(User):
    """A user of an application's own."""


def test_a_user_of_a_class_of_its_own_is_never_read_from_the_body() -> None:
    """Else a client could write the user itself."""

    def function(user: Member) -> None: ...

    member = Member("bob")
    connection, _ = login(user=member)
    assert fill(function, call(b'{"name":"root"}', connection=connection)) == {"user": member}


def test_a_user_of_another_class_than_wanted_does_not_get_in() -> None:
    def function(user: Member) -> None: ...

    def optional(user: Member | None) -> None: ...

    for wanted in (function, optional):
        with pytest.raises(PayloadInvalid, match="users who have logged in"):
            fill(wanted, call())
    guest, _ = login()
    assert fill(optional, call(connection=guest)) == {"user": None}


class OwnConnection(StompConnection):
    """Nobody makes one."""


class OwnFrame(Frame):
    """Nobody makes one."""


class OwnSession(Session):
    """Nobody makes one."""


def own_connection(value: OwnConnection) -> None: ...
def own_frame(value: OwnFrame) -> None: ...
def own_session(value: OwnSession | None) -> None: ...


def test_a_message_brings_the_body_together_with_what_came_with_it() -> None:
    def function(message: Message[Order]) -> None: ...

    one = call(b'{"item":"tea"}', x_trace="a")
    message = fill(function, one)["message"]
    assert message == Message(Order("tea"), "/app/shop", {"destination": "/app/shop", "x-trace": "a"}, one.connection)
    assert message.user == ANN
    message.headers.clear()
    assert one.frame.headers["x-trace"] == "a"
    with pytest.raises(PayloadInvalid):
        fill(function, call(b"{}"))


def test_a_message_without_a_type_holds_any_json_and_one_with_none_may_be_empty() -> None:
    def function(message: Message) -> None: ...  # type: ignore[type-arg]  # that is the point

    def optional(message: Message[Order | None]) -> None: ...

    assert fill(function, call(b"[1]"))["message"].payload == [1]
    assert fill(optional, call())["message"].payload is None


def test_an_exception_handler_gets_the_exception_beside_the_rest() -> None:
    def function(error: ValueError, order: Order, user: User) -> None: ...

    error = ValueError("bad")
    assert fill(function, call(b'{"item":"tea"}', error=error), catches=True) == {
        "error": error,
        "order": Order("tea"),
        "user": ANN,
    }


def test_several_kinds_stand_beside_each_other_in_any_order() -> None:
    def function(
        connection: StompConnection,
        room: int,
        order: Order,
        *,
        user: User,
        x_trace: Annotated[str, Header()] = "-",
    ) -> None: ...

    one = call(b'{"item":"tea"}', variables={"room": "1"})
    assert fill(function, one) == {
        "connection": one.connection,
        "room": 1,
        "order": Order("tea"),
        "user": ANN,
        "x_trace": "-",
    }


# Kinds of functions.


async def coroutine(order: Order) -> None: ...


async def generator(order: Order) -> AsyncIterator[str]:
    yield order.item


class Shop:
    def method(self, order: Order) -> None: ...

    @classmethod
    def of_class(cls, order: Order) -> None: ...

    @staticmethod
    def static(order: Order) -> None: ...

    async def __call__(self, order: Order) -> None: ...


def with_store(store: Model, order: Order) -> None: ...


@functools.wraps(takes_order)
def wrapper(*args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        coroutine,
        generator,
        Shop().method,
        Shop.of_class,
        Shop.static,
        Shop(),
        functools.partial(coroutine),
        functools.partial(with_store, Model("store")),
        functools.partial(Shop().method),
        functools.partial(Shop()),
        wrapper,
    ],
    ids=[
        "coroutine function",
        "generator",
        "method",
        "class method",
        "static method",
        "callable object",
        "partial",
        "partial with an argument",
        "partial of a method",
        "partial of an object",
        "wrapped function",
    ],
)
def test_anything_that_can_be_called_is_served(function: Callable[..., Any]) -> None:
    assert list(fill(function, call(b'{"item":"tea"}')).values()) == [Order("tea")]


def test_what_a_partial_has_bound_by_name_is_left_alone() -> None:
    function = functools.partial(with_store, store=Model("store"))
    assert fill(function, call(b'{"item":"tea"}')) == {"order": Order("tea")}


PLAIN: dict[str, Any] = {"Order": Order, "Annotated": Annotated, "Header": Header, "Model": Model}
exec(
    compile_source(
        """
def order(order: Order, trace: Annotated[str, Header("x-trace")] = "-") -> None: ...
def text(order: "Order") -> None: ...
class Shop:
    def __call__(self, order: Order) -> None: ...
def store(store: Model, order: Order) -> None: ...
""",
        "plain",
        "exec",
        dont_inherit=True,  # the future import of this file is not theirs
    ),
    PLAIN,
)


@pytest.mark.parametrize(
    "function",
    [
        PLAIN["order"],
        PLAIN["text"],
        PLAIN["Shop"](),
        functools.partial(PLAIN["store"], 1),
        functools.partial(PLAIN["order"]),
    ],
    ids=["function", "text", "object", "partial with an argument", "partial"],
)
def test_annotations_that_are_objects_are_served_as_well(function: Callable[..., Any]) -> None:
    assert fill(function, call(b'{"item":"tea"}'))["order"] == Order("tea")


def test_types_of_the_function_around_are_found_where_they_are_used() -> None:
    @dataclasses.dataclass
    class Local:
        name: str

    def function(local: Local) -> Local:
        return Local(local.name)

    assert fill(function, call(b'{"name":"x"}')) == {"local": Local("x")}


def test_a_function_around_that_is_not_finished_does_no_harm() -> None:
    def function(order: Order) -> None:
        later()

    assert fill(function, call(b'{"item":"tea"}')) == {"order": Order("tea")}

    def later() -> None: ...


# What is refused before the first call.


def two_payloads(first: Order, second: str) -> None: ...
def two_messages(first: Message[str], second: str) -> None: ...
def untyped(value) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001, RUF100  # that is the point
def unknown(value: NoSuchType) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # that is the point
def unknown_attribute(value: enum.NoSuchType) -> None: ...  # type: ignore[name-defined]  # that is the point
def broken_text(value: "list[") -> None: ...  # type: ignore[valid-type]  # noqa: F722  # that is the point
def args(*values: str) -> None: ...
def kwargs(**values: str) -> None: ...
def positional(value: str, /) -> None: ...
def both(value: Annotated[str, Header(), Variable()]) -> None: ...
def no_variable(value: Annotated[str, Variable()]) -> None: ...
def other_variable(value: Annotated[str, Variable("place")]) -> None: ...
def catches_all(value: ValueError) -> None: ...
def catches_some(value: ValueError | None) -> None: ...
def unreadable(value: Order | Item) -> None: ...
def unreadable_message(value: Message[Order | Item]) -> None: ...
def model(value: Model) -> None: ...
def models(value: list[Model]) -> None: ...
def header_model(value: Annotated[Model, Header()]) -> None: ...
def header_unreadable(value: Annotated[Order | Item, Header()]) -> None: ...
def header_order(value: Annotated[Order, Header()]) -> None: ...
def header_list(value: Annotated[list[int], Header()]) -> None: ...
def variable_order(room: Order) -> None: ...
def optional_header(first: Order, value: Annotated[str, Header()] | None) -> None: ...


@pytest.mark.parametrize(
    ("function", "parameter", "advice"),
    [
        (two_payloads, "second", "'first' does already; if it is a header or a variable, say Annotated"),
        (two_messages, "second", "'first' does already"),
        (untyped, "value", "has no type; the type says what it gets"),
        (unknown, "value", "cannot be found: .*NoSuchType"),
        (unknown_attribute, "value", "cannot be found: .*NoSuchType"),
        (broken_text, "value", "cannot be found"),
        (args, "values", r"no \*args, \*\*kwargs or /"),
        (kwargs, "values", r"no \*args, \*\*kwargs or /"),
        (positional, "value", r"no \*args, \*\*kwargs or /"),
        (both, "value", "is both of Header and Variable"),
        (no_variable, "value", "is the variable value, but the destination's variables are: room"),
        (other_variable, "value", "is the variable place, but the destination's variables are: room"),
        (catches_all, "value", "only an exception_handler gets"),
        (catches_some, "value", "only an exception_handler gets"),
        (own_connection, "value", "subclass of StompConnection"),
        (own_frame, "value", "subclass of Frame"),
        (own_session, "value", "subclass of Session"),
        (unreadable, "value", "that no body can become"),
        (unreadable_message, "value", "that no body can become"),
        (model, "value", "that no body can become"),
        (models, "value", "that no body can become"),
        (header_model, "value", "that a text cannot become"),
        (header_unreadable, "value", "that a text cannot become"),
        (header_order, "value", "that a text cannot become"),
        (header_list, "value", "that a text cannot become"),
        (variable_order, "room", "that a text cannot become"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_wrong_signature_is_refused_and_the_text_names_function_parameter_and_cure(
    function: Callable[..., Any], parameter: str, advice: str
) -> None:
    with pytest.raises(InvalidController, match=f"shop.buy: parameter '{parameter}' .*{advice}"):
        compile(function, ["room"])


def test_a_role_inside_a_union_is_not_lost() -> None:
    body = b'{"item":"tea"}'
    assert fill(optional_header, call(body, value="a")) == {"first": Order("tea"), "value": "a"}
    assert fill(optional_header, call(body)) == {"first": Order("tea"), "value": None}


def test_a_type_that_is_a_text_and_stands_nowhere_is_refused() -> None:
    class Odd:
        __signature__ = inspect.Signature(
            [inspect.Parameter("value", inspect.Parameter.KEYWORD_ONLY, annotation="Order")]
        )
        __call__ = print  # has no module of its own in which Order could be looked up

    with pytest.raises(InvalidController, match="parameter 'value' has a type that cannot be found"):
        compile(Odd())


def test_a_variable_where_the_destination_has_none_is_refused() -> None:
    with pytest.raises(InvalidController, match="variables are: none"):
        compile(no_variable)


@pytest.mark.parametrize("function", [print, dict.fromkeys, 5, "function"], ids=["print", "builtin", "int", "str"])
def test_what_has_no_signature_is_refused_as_a_controller(function: Any) -> None:
    with pytest.raises(InvalidController, match=r"^shop[.]buy: "):
        compile(function)
