"""What opened a session, as a value."""

from __future__ import annotations

import dataclasses

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from sockbridge.sockjs.handshake import Handshake
from tests.fakes import make_handshake


def with_cookies(*headers: str) -> Handshake:
    proxy = CIMultiDictProxy(CIMultiDict(("Cookie", header) for header in headers))
    return Handshake("http://test/", proxy, None, None, {})


def test_cookies_are_found_by_name() -> None:
    assert with_cookies('a=1; b="two words"; JSESSIONID=x.y').cookies == {
        "a": "1",
        "b": "two words",
        "JSESSIONID": "x.y",
    }


def test_cookies_of_several_headers_are_joined() -> None:
    assert with_cookies("a=1", "b=2; a=3").cookies == {"a": "3", "b": "2"}


def test_without_a_cookie_header_there_are_none() -> None:
    assert make_handshake().cookies == {}


@pytest.mark.parametrize("odd", ["a/b=1", "(x)=1", "path=/", "nonsense", "=", "x,y=1"])
def test_an_odd_cookie_hides_no_other(odd: str) -> None:
    assert with_cookies(odd).cookies == {}
    assert with_cookies(f"first=1; {odd}; token=secret").cookies == {"first": "1", "token": "secret"}
    assert with_cookies(odd, "token=secret").cookies == {"token": "secret"}


def test_a_handshake_is_a_value_that_does_not_change() -> None:
    handshake = make_handshake(Host="example.org")
    assert handshake.headers["host"] == "example.org"
    assert handshake.subprotocol is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        handshake.url = "http://other/"  # type: ignore[misc]
