"""Names of script callbacks: what may stand in our script."""

from __future__ import annotations

import pytest

from sockbridge.transports.callback import check_callback


@pytest.mark.parametrize("name", ["c", "_jp.a1b2c3", "callback", "A-Z_a.z09", "x" * 32])
def test_a_harmless_name_may_be_used(name: str) -> None:
    assert check_callback(name) is None


def test_a_missing_name_is_asked_for() -> None:
    assert check_callback("") == '"callback" parameter required'


@pytest.mark.parametrize(
    "name",
    [
        "a b", "*", "abc(", "abc%28", "a;b", "a\n", "\na", "a\r\n", "a</script>", "alert`1`", "a[0]", "$", "é",
        "\u0661", "a\x00", "x" * 33,
    ],
)  # fmt: skip
def test_any_other_name_is_refused(name: str) -> None:
    assert check_callback(name) == 'invalid "callback" parameter'
