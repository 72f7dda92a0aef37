"""Users and logins as values."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta, timezone

import pytest

from sockbridge.stomp.users import Login, User
from tests.fakes import make_handshake


@pytest.mark.parametrize("name", ["", None, 7, b"bob", ["bob"]])
def test_a_name_is_a_text_that_is_not_empty(name: object) -> None:
    with pytest.raises(TypeError, match="the name of a user is a str that is not empty"):
        User(name)  # type: ignore[arg-type]


def test_a_single_text_is_no_collection_of_roles() -> None:
    """``frozenset("admin")`` would be five roles of one letter."""
    with pytest.raises(TypeError, match="roles is a collection of names, not 'admin'"):
        User("bob", "admin")


def test_an_expiry_without_time_zone_is_refused() -> None:
    with pytest.raises(TypeError, match="expires needs a time zone"):
        User("bob", expires=datetime(2030, 1, 1))


@pytest.mark.parametrize("expires", ["2030-01-01", "1893456000", float("nan"), True, timedelta(hours=1)])
def test_an_expiry_that_no_clock_reaches_is_refused(expires: object) -> None:
    with pytest.raises(TypeError, match="expires"):
        User("bob", expires=expires)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "expires",
    [None, 1893456000, 1893456000.5, datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=timezone.max)],
)
def test_an_expiry_is_a_moment_or_none(expires: datetime | float | None) -> None:
    assert User("bob", expires=expires).expires == expires


def test_roles_may_come_from_any_collection() -> None:
    assert User("bob", (role for role in ["a", "b", "a"])).roles == {"a", "b"}
    assert User("bob").roles == frozenset()


def test_users_are_values() -> None:
    assert User("bob", ["a"]) == User("bob", {"a"})
    assert len({User("bob"), User("bob"), User("Bob")}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        User("bob").name = "eve"  # type: ignore[misc]


def test_a_login_gives_name_and_passcode_of_connect() -> None:
    handshake = make_handshake()
    login = Login({"login": "bob", "passcode": "a:b\\c", "token": "x"}, handshake)
    assert (login.login, login.passcode) == ("bob", "a:b\\c")
    assert login.headers["token"] == "x"
    assert login.handshake is handshake


def test_a_login_without_name_and_passcode_gives_empty_texts() -> None:
    login = Login({}, make_handshake())
    assert (login.login, login.passcode) == ("", "")


def test_secrets_of_a_login_stay_out_of_logs() -> None:
    shown = repr(Login({"passcode": "sesame", "login": "bob"}, make_handshake(Cookie="session=sesame")))
    assert "sesame" not in shown
    assert "bob" not in shown
