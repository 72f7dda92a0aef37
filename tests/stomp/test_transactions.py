"""Frames that wait for COMMIT: their order, their names, and how much may wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbridge.errors import BadFrame
from sockbridge.stomp.frame import Frame
from sockbridge.stomp.options import StompOptions
from sockbridge.stomp.transactions import Transactions
from tests.stomp.fakes import make_frame


def make_transactions(**options: int) -> Transactions:
    return Transactions(StompOptions(**options))  # type: ignore[arg-type]


def test_frames_of_a_transaction_are_held_until_it_ends_in_order() -> None:
    """STOMP 1.2, "BEGIN", "COMMIT"."""
    transactions = make_transactions()
    transactions.begin(make_frame("BEGIN", transaction="t"))
    frames = [make_frame("SEND", str(number).encode(), destination="/a", transaction="t") for number in range(3)]
    frames.insert(1, make_frame("ACK", id="1-1", transaction="t"))
    for frame in frames:
        transactions.hold(frame)
    assert transactions.end(make_frame("COMMIT", transaction="t")) == frames


def test_transactions_do_not_mix() -> None:
    transactions = make_transactions()
    held: dict[str, list[Frame]] = {"a": [], "b": []}
    for name in held:
        transactions.begin(make_frame("BEGIN", transaction=name))
    for number in range(6):
        frame = make_frame("SEND", transaction="ab"[number % 2], n=str(number))
        held["ab"[number % 2]].append(frame)
        transactions.hold(frame)
    assert transactions.end(make_frame("ABORT", transaction="b")) == held["b"]
    assert transactions.end(make_frame("COMMIT", transaction="a")) == held["a"]


def test_a_frame_without_transaction_is_not_held() -> None:
    transactions = make_transactions()
    transactions.begin(make_frame("BEGIN", transaction="t"))
    with pytest.raises(BadFrame, match="SEND without transaction"):
        transactions.hold(make_frame("SEND", destination="/a"))
    assert transactions.end(make_frame("COMMIT", transaction="t")) == []


def test_a_name_may_be_used_again_after_the_end() -> None:
    transactions = make_transactions()
    for command in ("COMMIT", "ABORT", "COMMIT"):
        transactions.begin(make_frame("BEGIN", transaction="t"))
        transactions.hold(make_frame("SEND", transaction="t"))
        assert len(transactions.end(make_frame(command, transaction="t"))) == 1


@pytest.mark.parametrize("headers", [{}, {"transaction": ""}])
@pytest.mark.parametrize("command", ["BEGIN", "COMMIT", "ABORT"])
def test_a_transaction_has_a_name(command: str, headers: dict[str, str]) -> None:
    transactions = make_transactions()
    frame = make_frame(command, **headers)
    act = transactions.begin if command == "BEGIN" else transactions.end
    with pytest.raises(BadFrame, match=rf"^{command} without transaction$"):
        act(frame)


def test_an_empty_name_is_none_for_a_send_either() -> None:
    with pytest.raises(BadFrame, match=r"^SEND without transaction$"):
        make_transactions().hold(make_frame("SEND", transaction=""))


@pytest.mark.parametrize("command", ["COMMIT", "ABORT", "SEND", "ACK", "NACK"])
def test_an_unknown_transaction_is_refused(command: str) -> None:
    for is_other_open in (False, True):
        transactions = make_transactions()
        if is_other_open:
            transactions.begin(make_frame("BEGIN", transaction="other"))
        frame = make_frame(command, transaction="t" * 5000)
        act = transactions.end if command in ("COMMIT", "ABORT") else transactions.hold
        with pytest.raises(BadFrame, match=r"^unknown transaction: 't{100}'$"):
            act(frame)


def test_an_open_name_cannot_be_opened_again_and_loses_nothing() -> None:
    transactions = make_transactions()
    transactions.begin(make_frame("BEGIN", transaction="t"))
    transactions.hold(make_frame("SEND", transaction="t"))
    with pytest.raises(BadFrame, match=r"^this transaction is open already: 't'$"):
        transactions.begin(make_frame("BEGIN", transaction="t"))
    assert len(transactions.end(make_frame("COMMIT", transaction="t"))) == 1


def test_there_are_never_more_transactions_than_the_limit() -> None:
    transactions = make_transactions(max_transactions=2)
    for name in "ab":
        transactions.begin(make_frame("BEGIN", transaction=name))
    with pytest.raises(BadFrame, match=r"^too many transactions: the limit is 2$"):
        transactions.begin(make_frame("BEGIN", transaction="c"))
    transactions.end(make_frame("ABORT", transaction="a"))
    transactions.begin(make_frame("BEGIN", transaction="c"))


def test_the_frames_of_all_transactions_together_stay_within_the_limit() -> None:
    transactions = make_transactions(max_transaction_frames=5)
    for name in "ab":
        transactions.begin(make_frame("BEGIN", transaction=name))
    for number in range(5):
        transactions.hold(make_frame("SEND", transaction="ab"[number % 2]))
    for name in "ab":
        with pytest.raises(BadFrame, match=r"^too many frames in transactions: the limit is 5$"):
            transactions.hold(make_frame("ACK", transaction=name))
    held = [len(transactions.end(make_frame("COMMIT", transaction=name))) for name in "ab"]
    assert held == [3, 2]


def frame_of(size: int, name: str = "t") -> Frame:
    """A SEND that weighs ``size`` bytes: body, names and values."""
    return make_frame("SEND", b"x" * (size - len("transaction") - len(name)), transaction=name)


def test_the_frames_of_all_transactions_together_are_no_larger_than_the_limit() -> None:
    transactions = make_transactions(max_transaction_size=1000)
    for name in "ab":
        transactions.begin(make_frame("BEGIN", transaction=name))
        transactions.hold(frame_of(500, name))
    with pytest.raises(BadFrame, match=r"^transactions too large: the limit is 1000 bytes$"):
        transactions.hold(make_frame("ACK", transaction="a"))


def test_a_frame_beyond_the_limit_by_one_byte_is_refused_at_once() -> None:
    transactions = make_transactions(max_transaction_size=1000)
    transactions.begin(make_frame("BEGIN", transaction="t"))
    with pytest.raises(BadFrame, match=r"^transactions too large"):
        transactions.hold(frame_of(1001))
    assert transactions.end(make_frame("COMMIT", transaction="t")) == []


@pytest.mark.parametrize("command", ["COMMIT", "ABORT"])
def test_the_end_of_a_transaction_makes_room(command: str) -> None:
    transactions = make_transactions(max_transaction_size=1000, max_transaction_frames=2)
    for _ in range(10):
        transactions.begin(make_frame("BEGIN", transaction="t"))
        transactions.hold(frame_of(500))
        transactions.hold(frame_of(500))
        assert len(transactions.end(make_frame(command, transaction="t"))) == 2


def test_what_was_refused_takes_no_room() -> None:
    transactions = make_transactions(max_transaction_size=1000)
    transactions.begin(make_frame("BEGIN", transaction="t"))
    with pytest.raises(BadFrame):
        transactions.hold(frame_of(1001))
    transactions.hold(frame_of(1000))


def test_headers_weigh_what_they_weigh_on_the_wire() -> None:
    """Sizes are bytes: a header of euro signs has three per character."""
    transactions = make_transactions(max_transaction_size=1000)
    transactions.begin(make_frame("BEGIN", transaction="t"))
    with pytest.raises(BadFrame, match=r"^transactions too large"):
        transactions.hold(make_frame("SEND", transaction="t", x="\u20ac" * 400))


@given(
    st.lists(
        st.tuples(st.sampled_from(["BEGIN", "SEND", "COMMIT", "ABORT"]), st.sampled_from("abc"), st.integers(20, 400)),
        max_size=50,
    )
)
def test_what_waits_is_never_more_than_the_limits(acts: list[tuple[str, str, int]]) -> None:
    transactions = make_transactions(max_transactions=2, max_transaction_frames=4, max_transaction_size=500)
    held: dict[str, list[Frame]] = {}
    sizes: dict[str, list[int]] = {}
    for command, name, size in acts:
        frame = frame_of(size, name) if command == "SEND" else make_frame(command, transaction=name)
        waiting = [each for several in sizes.values() for each in several]
        try:
            if command == "BEGIN":
                transactions.begin(frame)
                held[name], sizes[name] = [], []
            elif command == "SEND":
                transactions.hold(frame)
                held[name].append(frame)
                sizes[name].append(size)
                assert len(waiting) < 4
                assert sum(waiting) + size <= 500
            else:
                assert transactions.end(frame) == held.pop(name)
                del sizes[name]
        except BadFrame:
            if command == "BEGIN":
                assert name in held or len(held) == 2
            elif command == "SEND":
                assert name not in held or len(waiting) == 4 or sum(waiting) + size > 500
            else:
                assert name not in held
