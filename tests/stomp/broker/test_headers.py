"""The headers that clients and the broker speak in: what is read, and what is a fault of the client."""

from __future__ import annotations

import pytest

from sockbridge.errors import BadFrame
from sockbridge.stomp.broker.headers import check_literal, expiration_of, number, prefetch_of
from tests.stomp.broker.fakes import RecordingSubscriber, message


@pytest.mark.parametrize(("text", "seconds"), [(None, None), ("0", 0.0), ("1", 0.001), ("60000", 60.0)])
def test_expiration_is_in_milliseconds(text: str | None, seconds: float | None) -> None:
    assert expiration_of(message(headers={} if text is None else {"expiration": text})) == seconds


NO_NUMBERS = ["", " ", "-1", "+1", "1.5", "1e3", "0x10", "1 ", "1_000", "\u0661", "\u00b2", "x", "9" * 16, "true"]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_is_a_fault_of_the_client(text: str) -> None:
    with pytest.raises(BadFrame, match=r"^expiration is no number"):
        expiration_of(message(headers={"expiration": text}))
    for name in ("prefetch-count", "activemq.prefetchSize"):
        with pytest.raises(BadFrame, match=rf"^{name} is no number"):
            prefetch_of(RecordingSubscriber(headers={name: text}), 100, 1000)


def test_a_number_has_ascii_digits_and_not_too_many() -> None:
    assert number("9" * 15, "x") == 999_999_999_999_999
    assert number("007", "x") == 7
    with pytest.raises(BadFrame) as caught:
        number("\u00e9" * 5000, "x")
    assert len(caught.value.detail) <= 402
    assert caught.value.detail.isascii()


@pytest.mark.parametrize(
    ("headers", "prefetch"),
    [
        ({}, 100),
        ({"prefetch-count": "1"}, 1),
        ({"prefetch-count": "1000"}, 1000),
        ({"prefetch-count": "1001"}, 1000),
        ({"prefetch-count": "0"}, 1000),
        ({"activemq.prefetchSize": "5"}, 5),
        ({"activemq.prefetchSize": "0"}, 1000),
        ({"prefetch-count": "7", "activemq.prefetchSize": "5"}, 7),
    ],
)
def test_prefetch_is_what_is_asked_for_within_its_limit(headers: dict[str, str], prefetch: int) -> None:
    assert prefetch_of(RecordingSubscriber(headers=headers), 100, 1000) == prefetch


@pytest.mark.parametrize("destination", ["/queue/a", "/queue/a.b", "/queue/a-b_c/d", "/queue/\u00e9"])
def test_a_queue_is_one_destination(destination: str) -> None:
    check_literal(destination)


@pytest.mark.parametrize("destination", ["/queue/*", "/queue/**", "/queue/a*", "/queue/?", "/queue/{x}"])
def test_a_queue_is_no_pattern(destination: str) -> None:
    with pytest.raises(BadFrame, match=r"^no wildcards in the destination of a queue"):
        check_literal(destination)


def test_the_name_of_no_queue_is_shown_briefly() -> None:
    with pytest.raises(BadFrame) as caught:
        check_literal("/queue/*" + "\u00e9" * 5000)
    assert len(caught.value.detail) <= 602
    assert caught.value.detail.isascii()
