"""Frames of the client: what can be said, and what is refused before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from sockbridge.client.stomp.outgoing import OURS, encode, frame
from sockbridge.errors import InvalidFrame
from sockbridge.sockjs.framing import Binary
from sockbridge.stomp.frame import Command, Version


def encoded(headers: dict[str, str], version: str = "1.2", command: Command = Command.SEND, body: bytes = b"") -> bytes:
    return encode(frame(command, {}, headers, body), Version(version), is_text=False, with_length=True)


@pytest.mark.parametrize("headers", [{"a": 1}, {1: "a"}, {"": "a"}, {"a": None}, {"a": b"b"}])
def test_a_header_is_text(headers: Any) -> None:
    with pytest.raises(InvalidFrame):
        frame(Command.SEND, {}, headers)


@pytest.mark.parametrize(("command", "name"), [(command, name) for command, names in OURS.items() for name in names])
def test_headers_of_the_client_are_not_the_caller_s(command: Command, name: str) -> None:
    with pytest.raises(InvalidFrame, match=name):
        frame(command, {}, {name: "x"})


@pytest.mark.parametrize("version", list(Version))
@pytest.mark.parametrize("headers", [{"a": "b\0c"}, {"a\0b": "c"}])
def test_nul_cannot_be_said_in_a_header(version: str, headers: dict[str, str]) -> None:
    """No version has an escape for it, and it would end the frame."""
    with pytest.raises(InvalidFrame):
        encoded(headers, version)


@pytest.mark.parametrize("headers", [{"a": "b\nc:d"}, {"a": "b\r"}, {"a:b": "c"}, {"a\nb": "c"}])
@pytest.mark.parametrize("version", ["1.0", "1.2"])
def test_a_login_cannot_smuggle_headers(version: str, headers: dict[str, str]) -> None:
    """CONNECT is never escaped (STOMP 1.2, "Value Encoding")."""
    with pytest.raises(InvalidFrame):
        encoded(headers, version, Command.CONNECT)


@pytest.mark.parametrize("headers", [{"a": "b\nc"}, {"a": "b\r"}, {"a:b": "c"}, {"a\nb": "c"}])
def test_what_1_0_cannot_say_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidFrame, match=r"1\.0"):
        encoded(headers, "1.0")


def test_a_carriage_return_has_no_escape_in_1_1() -> None:
    with pytest.raises(InvalidFrame):
        encoded({"a": "b\r"}, "1.1")
    assert encoded({"a\nb": "c:\\d"}, "1.1") == b"SEND\na\\nb:c\\c\\\\d\n\n\0"


def test_in_1_2_everything_else_can_be_said() -> None:
    assert encoded({"a:\r\n\\": ":\r\n\\"}) == b"SEND\na\\c\\r\\n\\\\:\\c\\r\\n\\\\\n\n\0"


def test_octets_over_sockjs_are_refused() -> None:
    with pytest.raises(InvalidFrame, match="SockJS"):
        encode(frame(Command.SEND, {}, None, b"\xff"), Version.V1_2, is_text=True, with_length=True)


def test_octets_that_are_text_go_over_sockjs() -> None:
    octets = frame(Command.SEND, {"content-type": "application/octet-stream"}, None, b"x")
    assert encode(octets, Version.V1_2, is_text=True, with_length=True).endswith(b"x\0")


def test_octets_are_binary_where_the_carrier_knows_that() -> None:
    made = encode(frame(Command.SEND, {}, None, b"\xff"), Version.V1_2, is_text=False, with_length=True)
    assert isinstance(made, Binary)


def test_the_length_may_be_left_out_where_it_need_not_be_said() -> None:
    def made(body: bytes, *, with_length: bool) -> bytes:
        return encode(frame(Command.SEND, {}, None, body), Version.V1_2, is_text=False, with_length=with_length)

    assert b"content-length:1\n" in made(b"x", with_length=True)
    assert b"content-length" not in made(b"x", with_length=False)
    assert b"content-length:3\n" in made(b"x\0y", with_length=False)
    assert b"content-length" not in made(b"", with_length=True)
