"""The options of an endpoint: defaults as documented, wrong values refused with a sentence."""

from __future__ import annotations

import dataclasses
import math

import pytest
from yarl import URL

from sockbridge.errors import InvalidOption, UsageError
from sockbridge.options import DEFAULT_CLIENT_URL, OptionArguments, Options

DEFAULTS = {
    "heartbeat_delay": 25.0,
    "disconnect_delay": 5.0,
    "response_limit": 131_072,
    "websocket": True,
    "jsessionid": False,
    "client_url": "https://cdn.jsdelivr.net/npm/sockjs-client@1/dist/sockjs.min.js",
    "base_url": None,
    "allowed_origins": None,
    "forwarded": False,
    "authenticate": None,
    "max_message_size": 262_144,
    "send_buffer_limit": 1_048_576,
    "receive_buffer_limit": 262_144,
    "on_overflow": "close",
    "max_sessions": 50_000,
    "pong_timeout": 10.0,
    "write_timeout": 10.0,
    "shutdown_grace": 1.0,
    "websocket_compression": False,
    "websocket_reader": "auto",
}

ZERO_OR_MORE = ["heartbeat_delay", "shutdown_grace"]
ABOVE_ZERO = ["disconnect_delay", "pong_timeout", "write_timeout"]
POSITIVE_INTEGERS = ["response_limit", "max_message_size", "send_buffer_limit", "receive_buffer_limit", "max_sessions"]
BOOLEANS = ["websocket", "websocket_compression"]

NO_NUMBERS = [None, "5", True, math.nan, math.inf, -math.inf, [5], 1j]


def pairs(names: list[str], values: list[object]) -> list[object]:
    return [pytest.param(name, value, id=f"{name}-{value!r}") for name in names for value in values]


def refusal(name: str, value: object) -> str:
    """The sentence with which ``Options`` refuses ``value``."""
    with pytest.raises(InvalidOption) as caught:
        Options(**{name: value})  # type: ignore[arg-type]
    return str(caught.value)


# Defaults.


def test_every_default_is_as_documented() -> None:
    assert dataclasses.asdict(Options()) == DEFAULTS
    assert Options().client_url is DEFAULT_CLIENT_URL


def test_mount_takes_the_same_names_as_options() -> None:
    assert list(OptionArguments.__annotations__) == [field.name for field in dataclasses.fields(Options)]
    assert OptionArguments.__required_keys__ == frozenset()


def test_every_option_is_documented() -> None:
    assert Options.__doc__ is not None
    assert [name for name in DEFAULTS if f"\n        {name}: " not in Options.__doc__] == []


def test_options_are_values_given_by_name() -> None:
    options = Options(heartbeat_delay=1)
    assert options == Options(heartbeat_delay=1.0) != Options()
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.heartbeat_delay = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        Options(25.0)  # type: ignore[misc]


# Numbers.


@pytest.mark.parametrize(("name", "value"), pairs(ZERO_OR_MORE, [0, 0.0, 0.5, 3600]) + pairs(ABOVE_ZERO, [0.001, 5]))
def test_a_number_of_seconds_is_allowed(name: str, value: float) -> None:
    assert getattr(Options(**{name: value}), name) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), pairs(ZERO_OR_MORE + ABOVE_ZERO, NO_NUMBERS))
def test_what_is_no_number_of_seconds_is_refused(name: str, value: object) -> None:
    assert refusal(name, value) == f"{name} is a finite number of seconds, not {value!r}"


@pytest.mark.parametrize(("name", "value"), pairs(ZERO_OR_MORE, [-0.1, -1]))
def test_a_negative_delay_is_refused(name: str, value: float) -> None:
    assert refusal(name, value) == f"{name} is 0 seconds or more, not {value!r}"


@pytest.mark.parametrize(("name", "value"), pairs(ABOVE_ZERO, [0, 0.0, -1]))
def test_a_delay_that_may_not_be_zero_is_refused(name: str, value: float) -> None:
    assert refusal(name, value) == f"{name} is more than 0 seconds, not {value!r}"


@pytest.mark.parametrize("name", POSITIVE_INTEGERS)
def test_one_is_the_least_integer(name: str) -> None:
    assert getattr(Options(**{name: 1}), name) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), pairs(POSITIVE_INTEGERS, [0, -1, 1.0, "1", None, True]))
def test_what_is_no_positive_integer_is_refused(name: str, value: object) -> None:
    assert refusal(name, value) == f"{name} is an integer of 1 or more, not {value!r}"


# Switches and texts.


@pytest.mark.parametrize(("name", "value"), pairs(BOOLEANS, [None, 0, 1, "yes", ""]))
def test_what_is_no_switch_is_refused(name: str, value: object) -> None:
    assert refusal(name, value) == f"{name} is True or False, not {value!r}"


@pytest.mark.parametrize("value", [True, False, "rfc7239"])
def test_what_the_proxy_sends_may_be_trusted_in_two_spellings(value: object) -> None:
    assert Options(forwarded=value).forwarded is value  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, "", "yes", "RFC7239", []])
def test_another_way_to_trust_the_proxy_is_refused(value: object) -> None:
    assert refusal("forwarded", value) == f'forwarded is True, False or "rfc7239", not {value!r}'


@pytest.mark.parametrize("policy", ["close", "drop_oldest", "drop_newest"])
def test_these_overflow_policies_are_allowed(policy: str) -> None:
    assert Options(on_overflow=policy).on_overflow == policy  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["drop", "CLOSE", None, 1, []])
def test_another_overflow_policy_is_refused_and_all_are_named(value: object) -> None:
    sentence = refusal("on_overflow", value)
    assert sentence == f"on_overflow is one of ('close', 'drop_oldest', 'drop_newest'), not {value!r}"


@pytest.mark.parametrize("value", [True, False, "", "Secure; SameSite=None"])
def test_a_cookie_may_be_a_switch_or_attributes(value: bool | str) -> None:
    assert Options(jsessionid=value).jsessionid == value


@pytest.mark.parametrize("value", [None, 1, b"Secure", ["Secure"], "Secure\r\nX-Evil: 1", "a\x00", "a\x7f"])
def test_another_cookie_is_refused(value: object) -> None:
    assert refusal("jsessionid", value).startswith("jsessionid is True, False or a string of cookie attributes, not ")


@pytest.mark.parametrize("url", ["/sockjs.js", "http://example.org/s.js", "https://example.org/s.js?v=1&x=2"])
def test_a_script_url_is_allowed(url: str) -> None:
    assert Options(client_url=url).client_url == url


@pytest.mark.parametrize(
    "url",
    ["", "sockjs.js", "javascript:alert(1)", '/a"b', "/a'b", "/a<b", "/a>b", "/a b", "/a\n", "ftp://x/s.js", None, 5],
)
def test_a_script_url_that_could_leave_its_attribute_is_refused(url: object) -> None:
    assert refusal("client_url", url).startswith("client_url starts with /, http:// or https:// and holds no ")


@pytest.mark.parametrize("url", ["https://example.org/echo", "http://example.org", "/echo"])
def test_a_base_url_is_absolute_or_a_path(url: str) -> None:
    assert Options(base_url=url).base_url == url


@pytest.mark.parametrize("url", [5, "", "echo", "javascript:alert(1)", b"/echo", URL("https://example.org")])
def test_another_base_url_is_refused(url: object) -> None:
    assert refusal("base_url", url) == f"base_url starts with /, http:// or https://, or is None; not {url!r}"


def test_authenticate_is_something_to_call() -> None:
    async def authenticate(request: object) -> object:
        return request

    assert Options(authenticate=authenticate).authenticate is authenticate
    for wrong in ("admin", lambda request: "everybody"):
        text = refusal("authenticate", wrong)
        assert text == "authenticate is a coroutine function that takes the request (async def ...)"


# Origins.


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ("*", "*"),
        ([], ()),
        (["https://example.org"], ("https://example.org",)),
        (("http://localhost:8080", "null"), ("http://localhost:8080", "null")),
        ({"https://*.example.org"}, ("https://*.example.org",)),
        (["https://Example.ORG:8443"], ("https://example.org:8443",)),
        (["http://[::1]:8080"], ("http://[::1]:8080",)),
        ((origin for origin in ["https://a.example"]), ("https://a.example",)),
    ],
)
def test_origins_are_kept_in_lower_case(given: object, kept: object) -> None:
    assert Options(allowed_origins=given).allowed_origins == kept  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["https://example.org", "", 5, True])
def test_what_is_no_list_of_origins_is_refused(value: object) -> None:
    assert refusal("allowed_origins", value) == f'allowed_origins is None, "*" or a list of origins, not {value!r}'


@pytest.mark.parametrize(
    "origin",
    [
        "example.org", "https://", "https://example.org/", "https://example.org/path", "https://example.org?x",
        "https://example.org#x", "https://a.*.org", "https://*", "https://*example.org", "*.example.org", "ftp://x",
        "https://example.org:0", "https://example.org:99999", "https://example.org:port", "http://[::1", "https://a b",
        "https://a;b", "https://a,b", "https://a'b", 'https://a"b', "https://a\n", "", None, 5, "HTTPS://example.org",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_refused(origin: object) -> None:
    sentence = refusal("allowed_origins", [origin])
    assert sentence == (
        f"an allowed origin is scheme://host[:port], without a path, or scheme://*.host, not {origin!r}"
    )


def test_a_refusal_is_an_error_of_use_and_of_value() -> None:
    assert issubclass(InvalidOption, UsageError)
    assert issubclass(InvalidOption, ValueError)


# The clock.


@pytest.mark.parametrize(
    ("options", "tick"),
    [
        ({}, 0.5),
        ({"disconnect_delay": 1}, 0.2),
        ({"heartbeat_delay": 0.5}, 0.1),
        ({"heartbeat_delay": 0}, 0.5),
        ({"pong_timeout": 0.25}, 0.05),
        ({"write_timeout": 0.1}, 0.02),
        ({"disconnect_delay": 0.001}, 0.01),
    ],
)
def test_a_tick_is_short_enough_for_the_shortest_delay(options: dict[str, float], tick: float) -> None:
    assert Options(**options).tick == pytest.approx(tick)  # type: ignore[arg-type]
