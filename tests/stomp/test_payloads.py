"""Bodies to values and back: content types, types, and what does not fit."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import uuid
from typing import Any, Optional, TypedDict, Union

import msgspec
import pytest

from sockbridge.errors import InvalidController, PayloadInvalid
from sockbridge.stomp.payloads import JSON, OCTETS, TEXT, Payloads, check_type, media_type, strip_none


@dataclasses.dataclass
class Order:
    item: str
    count: int = 1


class Item(msgspec.Struct):
    name: str


class Line(TypedDict):
    text: str


class Model:
    """What a library of models may offer: a way in and a way out of its own."""

    def __init__(self, name: str) -> None:
        self.name = name


class ModelConverter:
    """Reads ``name=...`` as a ``Model``."""

    def serves(self, kind: Any) -> bool:
        return isinstance(kind, type) and issubclass(kind, Model)

    def decode(self, body: bytes, content_type: str, kind: Any) -> Any:
        if not body.startswith(b"name="):
            raise ValueError(f"{content_type or 'the body'} is no {kind.__name__}")
        return kind(body[5:].decode())

    def encode(self, value: Any) -> tuple[str, bytes]:
        return "application/x-model", b"name=" + value.name.encode()


PAYLOADS = Payloads()

ENCODED = [
    ("text", (TEXT, b"text")),
    ("hellö", (TEXT, "hellö".encode())),
    ("", (TEXT, b"")),
    ("\ud800", (TEXT, "\ufffd".encode())),
    (b"\xff", (OCTETS, b"\xff")),
    (bytearray(b"a"), (OCTETS, b"a")),
    (memoryview(b"ab"), (OCTETS, b"ab")),
    (Order("tea", 2), (JSON, b'{"item":"tea","count":2}')),
    (Item("ö"), (JSON, '{"name":"ö"}'.encode())),
    ({"a": [1, None, True]}, (JSON, b'{"a":[1,null,true]}')),
    (5, (JSON, b"5")),
    (None, (JSON, b"null")),
]


@pytest.mark.parametrize(("value", "encoded"), ENCODED, ids=[repr(value)[:40] for value, _ in ENCODED])
def test_a_value_is_written_by_its_kind_and_text_is_not_quoted(value: object, encoded: tuple[str, bytes]) -> None:
    assert PAYLOADS.encode(value) == encoded


def test_a_value_that_cannot_be_written_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        PAYLOADS.encode(object())


DECODED: list[tuple[Any, bytes, str, object]] = [
    (bytes, b"\xff\0", "", b"\xff\0"),
    (bytes, b"", "", b""),
    (bytes, b"{}", "application/json", b"{}"),
    (str, "hellö".encode(), "", "hellö"),
    (str, b'"a"', "text/plain", '"a"'),
    (str, b'"a"', "application/json", "a"),
    (str, b'"a"', "application/problem+json", "a"),
    (Order, b'{"item":"tea"}', "", Order("tea")),
    (Order, b'{"item":"tea","count":3,"more":1}', "application/json", Order("tea", 3)),
    (Item, b'{"name":"x"}', "application/vnd.item+json", Item("x")),
    (Line, b'{"text":"x"}', "", {"text": "x"}),
    (list[int], b"[1,2]", "", [1, 2]),
    (int, b"5", "", 5),
    (Any, b'{"a":1}', "", {"a": 1}),
    (Any, b'{"a":1}', "application/json", {"a": 1}),
    (Any, "hellö".encode(), "text/plain", "hellö"),
    (Any, b"\xff", "application/octet-stream", b"\xff"),
    (Order | None, b"", "", None),
    (Order | None, b'{"item":"tea"}', "", Order("tea")),
    (Order | None, b"null", "", None),
    (str | None, b"", "", None),
    (str | None, b"a", "", "a"),
    (bytes | None, b"", "", None),
    (int | str | None, b"5", "", 5),
    (Any | None, b"", "", None),
]


@pytest.mark.parametrize(
    ("kind", "body", "content_type", "value"), DECODED, ids=[f"{row[0]}-{row[1]!r}-{row[2]}" for row in DECODED]
)
def test_a_body_is_read_as_the_type_that_is_asked_for(kind: Any, body: bytes, content_type: str, value: object) -> None:
    assert PAYLOADS.reader(kind)(body, content_type) == value


UNREADABLE: list[tuple[Any, bytes, str, str]] = [
    (str, b"", "", "empty"),
    (str, b"\xff", "", "no text"),
    (str, b'{"a":1}', "application/json", "no text"),
    (str, b'"a', "application/json", "no text"),
    (Order, b"", "", "empty"),
    (Order, b"", "application/json", "empty"),
    (Order, b"{}", "", "item"),
    (Order, b'{"item":5}', "", "item"),
    (Order, b'{"item":"tea"', "", "truncated"),
    (Order, b'{"item":"\xff"}', "", "utf-8"),
    (Order, b'{"item":"tea"}', "text/plain", "'text/plain', not JSON"),
    (Order, b'{"item":"tea"}', "application/octet-stream", "'application/octet-stream', not JSON"),
    (Order | None, b'{"item":5}', "", "item"),
    (list[int], b'["a"]', "", "int"),
    (Any, b"", "", "empty"),
    (Any, b"plain words", "", "JSON"),
    (Any, b"\xff", "text/plain", "no text"),
    (Any, b"[" * 100_000, "", "recursion"),
]


@pytest.mark.parametrize(
    ("kind", "body", "content_type", "text"),
    UNREADABLE,
    ids=[f"{row[0]}-{row[1][:20]!r}-{row[2]}" for row in UNREADABLE],
)
def test_a_body_that_does_not_fit_is_invalid_and_the_text_says_why(
    kind: Any, body: bytes, content_type: str, text: str
) -> None:
    with pytest.raises(PayloadInvalid, match=text):
        PAYLOADS.reader(kind)(body, content_type)


def test_a_long_content_type_is_cut_in_the_text_of_the_error() -> None:
    with pytest.raises(PayloadInvalid) as raised:
        PAYLOADS.reader(Order)(b"{}", "x" * 10_000)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("kind", [int | Order | Item, "NoSuchName", 5, list["NoSuchName"]])  # type: ignore[name-defined]  # noqa: F821  # a name that nobody has
def test_a_type_that_json_cannot_become_is_refused_when_it_is_declared(kind: Any) -> None:
    with pytest.raises(InvalidController, match="cannot be read from JSON"):
        PAYLOADS.reader(kind)


@pytest.mark.parametrize("kind", [Model, Model | None, list[Model], object])
def test_a_class_that_msgspec_does_not_know_is_refused_when_it_is_declared(kind: Any) -> None:
    with pytest.raises(InvalidController, match="cannot be read from JSON"):
        PAYLOADS.reader(kind)


@dataclasses.dataclass
class Tree:
    """A type that holds itself."""

    name: str
    children: list[Tree] = dataclasses.field(default_factory=list)


def test_a_type_may_hold_itself() -> None:
    read = PAYLOADS.reader(Tree)
    assert read(b'{"name":"a","children":[{"name":"b"}]}', "") == Tree("a", [Tree("b")])


@pytest.mark.parametrize(
    "kind", [int, float, bool, str, uuid.UUID, datetime.datetime, decimal.Decimal, Any, int | None]
)
def test_a_text_can_become_what_has_one_value(kind: Any) -> None:
    check_type(kind, is_text=True)


@pytest.mark.parametrize("kind", [Order, Item, Line, list[int], dict[str, str], int | Order, bytes])
def test_a_text_cannot_become_what_has_parts(kind: Any) -> None:
    check_type(kind)
    with pytest.raises(InvalidController, match="a text cannot become it"):
        check_type(kind, is_text=True)


def test_a_converter_comes_before_what_is_built_in() -> None:
    class Upper:
        def serves(self, kind: Any) -> bool:
            return kind is str

        def decode(self, body: bytes, content_type: str, kind: Any) -> Any:
            return body.decode().upper()

        def encode(self, value: Any) -> tuple[str, bytes]:
            return "text/upper", value.upper().encode()

    payloads = Payloads([ModelConverter(), Upper()])
    assert payloads.encode("a") == ("text/upper", b"A")
    assert payloads.reader(str)(b"a", "") == "A"
    assert payloads.encode(b"a") == (OCTETS, b"a")


def test_a_converter_reads_and_writes_its_own_types() -> None:
    payloads = Payloads([ModelConverter()])
    assert payloads.encode(Model("a")) == ("application/x-model", b"name=a")
    assert payloads.reader(Model)(b"name=a", "").name == "a"
    read_or_none = payloads.reader(Model | None)
    assert read_or_none(b"", "") is None
    assert read_or_none(b"name=b", "").name == "b"
    assert payloads.reader(Order)(b'{"item":"tea"}', "") == Order("tea")


def test_what_a_converter_refuses_is_invalid() -> None:
    read = Payloads([ModelConverter()]).reader(Model)
    with pytest.raises(PayloadInvalid, match="text/odd is no Model"):
        read(b"nonsense", "text/odd")
    with pytest.raises(PayloadInvalid, match="empty"):
        read(b"", "")


@pytest.mark.parametrize(
    ("kind", "inner", "is_optional"),
    [
        (int, int, False),
        (int | None, int, True),
        (Optional[str], str, True),  # noqa: UP045  # the old spelling is a type of its own
        (Union[int, str], Union[int, str], False),  # noqa: UP007  # the same
        (int | str | None, int | str, True),
        (None, None, False),
        (list[int | None], list[int | None], False),
    ],
)
def test_none_is_taken_off_a_type(kind: Any, inner: Any, is_optional: bool) -> None:
    assert strip_none(kind) == (inner, is_optional)


@pytest.mark.parametrize(
    ("content_type", "media"),
    [
        ("", ""),
        ("text/plain", "text/plain"),
        (" Application/JSON ; charset=UTF-8", "application/json"),
        (";charset=UTF-8", ""),
    ],
)
def test_the_media_type_is_lower_case_and_without_parameters(content_type: str, media: str) -> None:
    assert media_type(content_type) == media
