"""Bodies to Python values and back.

Text, octets and JSON are built in; JSON is read and checked by msgspec against the type that a handler declares
(dataclasses, ``msgspec.Struct``, ``TypedDict``, containers of them). Other kinds of models come with a converter.

Knows: content types, types.
Does not know: destinations, who wants the value.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

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
            decode = msgspec.json.Decoder(kind).decode
        except (TypeError, NameError) as error:
            raise InvalidController(f"{kind!r} cannot be read from JSON: {error}") from None
        return _json(decode, is_any=inner is Any)


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
            raise PayloadInvalid(f"the body is {content_type[:100]}, not JSON")
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
