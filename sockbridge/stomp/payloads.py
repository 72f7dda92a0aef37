"""Bodies to Python values and back.

Text, octets and JSON are built in; JSON is read and checked by msgspec against the type that a handler declares
(dataclasses, ``msgspec.Struct``, ``TypedDict``, containers of them). Other kinds of models come with a converter.

Knows: content types, types.
Does not know: destinations, who wants the value.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

import msgspec
import msgspec.inspect

from ..errors import InvalidController, PayloadInvalid
from ..sockjs.framing import encode_text

TEXT: Final = "text/plain;charset=UTF-8"
OCTETS: Final = "application/octet-stream"
JSON: Final = "application/json"

Read = Callable[[bytes, str], Any]
"""Takes a body and its content type (lower case, without parameters; "" where none is given)."""


class Converter(Protocol):
    """Reads and writes values of certain types, e.g. pydantic's models."""

    def serves(self, kind: Any) -> bool:
        """Are values of the type ``kind`` this converter's business?"""
        ...

    def decode(self, body: bytes, content_type: str, kind: Any) -> Any:
        """The value in ``body``.

        Raises:
            ValueError: it is none of this type; the text is for the log.
        """
        ...

    def encode(self, value: Any) -> tuple[str, bytes]:
        """Content type and body for ``value``."""
        ...


class Payloads:
    """The converters of one server."""

    def __init__(self, converters: Sequence[Converter] = ()) -> None:
        self._converters = tuple(converters)
        self._encode = msgspec.json.Encoder().encode

    def encode(self, value: Any) -> tuple[str, bytes]:
        """Content type and body for ``value``.

        Raises:
            TypeError: there is no way to write it.
        """
        for converter in self._converters:
            if converter.serves(type(value)):
                return converter.encode(value)
        if isinstance(value, str):
            return TEXT, encode_text(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return OCTETS, bytes(value)
        return JSON, self._encode(value)

    def reader(self, kind: Any) -> Read:
        """What reads bodies as ``kind``.

        Raises:
            InvalidController: no converter knows this type.
        """
        inner, is_optional = strip_none(kind)
        read = self._reader(inner, kind)
        if not is_optional:
            return read

        def read_or_none(body: bytes, content_type: str) -> Any:
            return read(body, content_type) if body else None

        return read_or_none

    def _reader(self, inner: Any, kind: Any) -> Read:
        for converter in self._converters:
            if converter.serves(inner):
                return _converted(converter, inner)
        if inner is bytes:
            return lambda body, content_type: body
        if inner is str:
            return _text
        try:
            check_type(kind)
        except InvalidController as error:
            raise InvalidController(f"{kind!r} cannot be read from JSON: {error}") from None
        return _json(msgspec.json.Decoder(kind).decode, is_any=inner is Any)


def check_type(kind: Any, *, is_text: bool = False) -> None:
    """Can values of the type ``kind`` be made from JSON; or, ``is_text``, from a header's text?

    Raises:
        InvalidController: no.
    """
    try:
        info = msgspec.inspect.type_info(kind)
        msgspec.json.Decoder(kind)
    except (TypeError, NameError) as error:
        raise InvalidController(str(error)) from None
    for part in _parts(info, set()):
        if isinstance(part, msgspec.inspect.CustomType):
            raise InvalidController(f"msgspec does not know how to read {part.cls!r}; pass a converter that does")
    if is_text and not all(isinstance(part, _SCALARS) for part in _alternatives(info)):
        raise InvalidController("a text cannot become it")


_SCALARS: Final = (
    msgspec.inspect.AnyType, msgspec.inspect.BoolType, msgspec.inspect.DateTimeType, msgspec.inspect.DateType,
    msgspec.inspect.DecimalType, msgspec.inspect.EnumType, msgspec.inspect.FloatType, msgspec.inspect.IntType,
    msgspec.inspect.LiteralType, msgspec.inspect.NoneType, msgspec.inspect.StrType, msgspec.inspect.TimeDeltaType,
    msgspec.inspect.TimeType, msgspec.inspect.UUIDType,
)  # fmt: skip


def _alternatives(info: msgspec.inspect.Type) -> Sequence[msgspec.inspect.Type]:
    return info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)


def _parts(info: Any, seen: set[int]) -> Iterator[Any]:
    # A type may hold itself.
    if isinstance(info, tuple):
        for part in info:
            yield from _parts(part, seen)
    elif isinstance(info, (msgspec.inspect.Type, msgspec.inspect.Field)) and id(info) not in seen:
        seen.add(id(info))
        yield info
        for name in info.__struct_fields__:
            yield from _parts(getattr(info, name), seen)


def strip_none(kind: Any) -> tuple[Any, bool]:
    """``T | None`` as ``(T, True)``; any other type as ``(type, False)``."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = [one for one in typing.get_args(kind) if one is not type(None)]
        if len(rest) < len(typing.get_args(kind)):
            return (rest[0] if len(rest) == 1 else typing.Union[tuple(rest)]), True  # noqa: UP007  # members are known at run time only
    return kind, False


def media_type(content_type: str) -> str:
    """``content_type`` in lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def _is_json(content_type: str) -> bool:
    return content_type == JSON or content_type.endswith("+json")


_decode_string = msgspec.json.Decoder(str).decode
_FAULTS: Final = (
    ValueError,
    msgspec.MsgspecError,
    RecursionError,
)  # before msgspec 0.21 its errors were no ValueErrors


def _text(body: bytes, content_type: str) -> str:
    if not body:
        raise PayloadInvalid("the body is empty")
    try:
        return _decode_string(body) if _is_json(content_type) else body.decode()
    except _FAULTS as error:
        raise PayloadInvalid(f"the body is no text: {error}") from None


def _json(decode: Callable[[bytes], Any], *, is_any: bool) -> Read:
    def read(body: bytes, content_type: str) -> Any:
        if not body:
            raise PayloadInvalid("the body is empty")
        if content_type and not _is_json(content_type):
            if is_any:
                return _text(body, content_type) if content_type.startswith("text/") else body
            raise PayloadInvalid(f"the body is {content_type[:100]!r}, not JSON")
        try:
            return decode(body)
        except _FAULTS as error:
            raise PayloadInvalid(str(error)) from None

    return read


def _converted(converter: Converter, kind: Any) -> Read:
    def read(body: bytes, content_type: str) -> Any:
        if not body:
            raise PayloadInvalid("the body is empty")
        try:
            return converter.decode(body, content_type, kind)
        except ValueError as error:
            raise PayloadInvalid(str(error)) from None

    return read
