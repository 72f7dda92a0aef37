from __future__ import annotations

from typing import Any

import pytest
from yarl import URL

from sockbridge.doctor.settings import (
    TRANSPORTS,
    Settings,
    parse_header,
    parse_origin,
    parse_transports,
    parse_url,
    veiled,
)
from sockbridge.errors import InvalidOption

CHAT = URL("http://test/chat")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "begins with http"),
        ("nonsense", "begins with http"),
        ("localhost:8080/chat", "begins with http"),
        ("ftp://test/chat", "begins with http"),
        ("http://", "begins with http"),
        ("http:///chat", "begins with http"),
        ("http://[::1", "is no URL"),
        ("http://test:99999/", "is no URL"),
        ("ws://test/chat", "http://test/chat, not ws://test/chat"),
        ("wss://test/chat", "https://test/chat, not wss"),
        ("http://user:secret@test/", "Authorization"),
        ("http://a..b/", "could be"),
        (f"http://{64 * 'a'}.example/", "could be"),
        ("http://test:0/", "could be"),
        ("http://te\x1bst/", "could be"),
    ],
)
def test_what_is_no_url_is_refused_with_a_hint(text: str, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        parse_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://user:secret@test/",
        "http://user:sec ret@test/",
        "http://user:x/secret@test/",
        "http://user:x@secret@[::1",
        "ws://user:secret@test/chat",
        "user:secret@test/chat",
        "https:/user:secret@test/chat",
        "http://a..b/chat?token=secret",
    ],
)
def test_what_may_be_secret_in_a_url_is_not_repeated(text: str) -> None:
    for parse in (parse_url, parse_origin):
        with pytest.raises(InvalidOption) as caught:
            parse(text)
        assert "secret" not in str(caught.value)
        assert "ret@" not in str(caught.value)
    assert "secret" not in veiled(text)
    with pytest.raises(InvalidOption) as caught:
        parse_origin("http://test/page?token=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("path", ["/a%2520b", "/a%2Fb", "/a%252Fb", "/a+b", "/a%20b/c", "/@here"])
def test_a_path_stays_as_it_was_given(path: str) -> None:
    assert str(parse_url(f"http://test{path}/")) == f"http://test{path}"


@pytest.mark.parametrize("text", ["http://test/chat", "http://test/chat/", "http://test/chat//?x=1#y"])
def test_a_url_is_where_a_server_is_mounted(text: str) -> None:
    assert parse_url(text) == CHAT


def test_the_root_is_a_url_as_well() -> None:
    assert str(parse_url("https://test:8443")) == "https://test:8443/"


@pytest.mark.parametrize("text", ["app.example.org", "https://app.example.org/page", "*", "https://"])
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption):
        parse_origin(text)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://App.Example.org", "https://app.example.org"),
        ("https://app.example.org:443/", "https://app.example.org"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("null", "null"),
    ],
)
def test_an_origin_is_written_as_browsers_do(text: str, origin: str) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize("text", ["", "Name", ": value", "Na me: value", "A: b\r\nC: d", "A: b\0", "Ä: b"])
def test_what_is_no_header_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="on one line"):
        parse_header(text)


@pytest.mark.parametrize("text", ["secret", "a secret: value", "Authorization: secret\r\nX: y", "secret\0: x"])
def test_a_wrong_header_is_not_repeated(text: str) -> None:
    with pytest.raises(InvalidOption, match=r"\*\*\*") as caught:
        parse_header(text)
    assert "secret" not in str(caught.value)


def test_a_header_has_a_name_and_a_value() -> None:
    assert parse_header("Authorization: Bearer a:b ") == ("Authorization", "Bearer a:b")
    assert parse_header("X-Empty:") == ("X-Empty", "")


def test_transports_have_the_servers_names_or_those_of_the_client() -> None:
    assert parse_transports("xhr-streaming, websocket,xhr-polling,xhr") == ("xhr_streaming", "websocket", "xhr")
    assert parse_transports(" , ") == ()


@pytest.mark.parametrize(
    "wishes",
    [
        {"idle": -1},
        {"idle": 1e9},
        {"idle": float("nan")},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"connections": 1},
        {"connections": 65},
        {"large": 1},
        {"large": 1 << 40},
        {"transports": ()},
        {"transports": ("carrier-pigeon",)},
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(wishes: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        Settings(url=CHAT, **wishes)


def test_everything_is_examined_unless_it_is_told_otherwise() -> None:
    assert Settings(url=CHAT).transports == TRANSPORTS
