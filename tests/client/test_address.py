"""URLs: what is one, and what stands below it."""

from __future__ import annotations

import base64

import pytest
from yarl import URL

from sockbridge.client.address import as_http, below, has_host, parse, shown
from sockbridge.errors import InvalidOption

NO_URLS = [
    "",
    "echo",
    "/echo",
    "//host/echo",
    "ftp://host/",
    "javascript:alert(1)",
    "http://",
    "http:///echo",
    "http://:80/",
    "http://host:99999/",
    "http://host:0/",
    "http://host:port/",
    "http://[::1/",
    "http://ho st/",
    "http://ho\nst/",
    "http://a..b/",
    f"http://{'a' * 64}/",
    "http://\ud800/",
    None,
    5,
    b"http://host/",
]


@pytest.mark.parametrize("url", NO_URLS, ids=repr)
def test_what_is_no_url_is_refused_with_a_sentence(url: object) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse(url)  # type: ignore[arg-type]  # what an application may pass nevertheless
    assert "URL" in str(caught.value)


def test_a_refusal_is_no_longer_than_one_can_read_and_has_no_password() -> None:
    with pytest.raises(InvalidOption) as caught:
        parse("http://ann:secret@host:99999/" + "x" * 10_000)
    assert len(str(caught.value)) < 300
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://host/echo", "http://host/echo"),
        ("http://host/echo/", "http://host/echo"),
        ("http://host/echo//", "http://host/echo"),
        ("http://host", "http://host/"),
        ("https://host:8443/a/b", "https://host:8443/a/b"),
        ("HTTP://HOST/Echo", "http://host/Echo"),
        ("http://[::1]:8080/echo", "http://[::1]:8080/echo"),
        ("http://host/a%2Fb/", "http://host/a%2Fb"),
        ("http://host/echo?token=a%26b", "http://host/echo?token=a%26b"),
        ("http://host/echo#part", "http://host/echo"),
        ("wss://host/echo", "wss://host/echo"),
        ("http://b\u00fccher.example/echo", "http://xn--bcher-kva.example/echo"),
    ],
)
def test_urls_are_brought_into_one_form(given: str, kept: str) -> None:
    assert parse(given) == (URL(kept, encoded=True), None)


def test_credentials_become_a_header() -> None:
    url, authorization = parse("http://ann:p%40ss@host/echo")
    assert str(url) == "http://host/echo"
    assert authorization == "Basic " + base64.b64encode(b"ann:p@ss").decode()


@pytest.mark.parametrize(("url", "http"), [("ws://host:81/x", "http://host:81/x"), ("wss://host/x", "https://host/x")])
def test_websocket_urls_are_asked_by_http(url: str, http: str) -> None:
    assert str(as_http(URL(url))) == http
    assert as_http(URL(http)) == URL(http)


def test_what_stands_below_keeps_the_query() -> None:
    assert str(below(URL("http://host/echo?token=x"), "000", "xhr")) == "http://host/echo/000/xhr?token=x"
    assert str(below(URL("http://host/"), "info")) == "http://host/info"


def test_people_do_not_see_the_query() -> None:
    assert shown(URL("http://host/echo?token=x")) == "http://host/echo"


@pytest.mark.parametrize(
    "url", ["http://h\x1b[2J/", "http://h\x07/", "http://a..b/", "http://ho st/", "/echo"], ids=repr
)
def test_a_host_that_could_do_harm_where_it_is_shown_is_none(url: str) -> None:
    try:
        parsed = URL(url)
    except ValueError:
        return
    assert not has_host(parsed)
