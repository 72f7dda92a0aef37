"""What waits for an ACK, by number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbridge.errors import BadFrame
from sockbridge.stomp.subscription import Subscription
from sockbridge.stomp.unsettled import Unsettled
from tests.stomp.fakes import login, subscribe

MODES = ["client", "client-individual"]


def watching(*acks: str, limit: int = 1000, sent: int = 0, lent: int = 0) -> tuple[Unsettled, list[Subscription]]:
    """One subscription for each of ``acks``, with ordinals from 1 on; each was sent messages 1 to ``sent``, or was
    lent 1 to ``lent``."""
    connection, _ = login()
    unsettled = Unsettled(limit)
    subscriptions = [subscribe(connection, id=str(number), ack=ack) for number, ack in enumerate(acks)]
    for subscription in subscriptions:
        unsettled.watch(subscription)
    for serial in range(1, sent + 1):
        for subscription in subscriptions:
            unsettled.add(subscription.ordinal, serial, is_lent=False)
    for serial in range(1, lent + 1):
        for subscription in subscriptions:
            unsettled.add(subscription.ordinal, serial, is_lent=True)
    return unsettled, subscriptions


def serials(unsettled: Unsettled, serial: int, ordinal: int = 1) -> list[int]:
    found = unsettled.settle(ordinal, serial)
    assert found is not None
    assert found[0].ordinal == ordinal
    return found[1]


def test_in_mode_client_an_ack_is_about_everything_up_to_it() -> None:
    """STOMP 1.2, "SUBSCRIBE", ack:client: cumulative."""
    unsettled, _ = watching("client", sent=5)
    assert [serials(unsettled, serial) for serial in (3, 4, 5)] == [[1, 2, 3], [4], [5]]
    assert len(unsettled) == 0


def test_in_mode_client_individual_an_ack_is_about_one_message() -> None:
    """STOMP 1.2, "SUBSCRIBE", ack:client-individual."""
    unsettled, _ = watching("client-individual", sent=3)
    assert [serials(unsettled, serial) for serial in (2, 3, 1)] == [[2], [3], [1]]
    assert len(unsettled) == 0


def test_acks_stay_within_their_subscription() -> None:
    unsettled, _ = watching("client", "client", "client-individual", sent=3)
    assert serials(unsettled, 3, 2) == [1, 2, 3]
    assert serials(unsettled, 2, 3) == [2]
    assert serials(unsettled, 2, 1) == [1, 2]
    assert serials(unsettled, 3, 1) == [3]
    assert len(unsettled) == 2


def test_cumulative_goes_by_the_order_of_sending_not_by_number() -> None:
    unsettled, _ = watching("client")
    for serial in (5, 3, 4):
        unsettled.add(1, serial, is_lent=False)
    assert serials(unsettled, 3) == [5, 3]
    assert serials(unsettled, 4) == [4]


@pytest.mark.parametrize("ack", MODES)
def test_a_message_is_settled_once(ack: str) -> None:
    unsettled, _ = watching(ack, sent=3)
    serials(unsettled, 2)
    with pytest.raises(BadFrame, match=r"^ACK or NACK of a message that waits for none: 1-2$"):
        unsettled.settle(1, 2)
    assert serials(unsettled, 3) == [3]


def test_in_mode_client_what_a_later_ack_has_settled_is_settled() -> None:
    unsettled, _ = watching("client", sent=3)
    serials(unsettled, 3)
    with pytest.raises(BadFrame, match="1-1"):
        unsettled.settle(1, 1)


@pytest.mark.parametrize("ack", MODES)
@pytest.mark.parametrize("serial", [0, 4, 10**17])  # serials begin at 1
def test_a_message_that_was_never_sent_cannot_be_settled(ack: str, serial: int) -> None:
    for sent in (0, 3):
        unsettled, _ = watching(ack, sent=sent)
        with pytest.raises(BadFrame, match="waits for none"):
            unsettled.settle(1, serial)


def test_a_message_sent_to_another_subscription_alone_cannot_be_settled() -> None:
    unsettled, _ = watching("client", "client")
    unsettled.add(2, 1, is_lent=False)
    with pytest.raises(BadFrame, match="1-1"):
        unsettled.settle(1, 1)


def test_a_subscription_that_nobody_watches_has_nothing_to_settle() -> None:
    unsettled, _ = watching("client", sent=1)
    assert unsettled.settle(2, 1) is None


def test_whose_messages_they_are_is_known_while_the_subscription_lasts() -> None:
    unsettled, (first, _) = watching("client", "client-individual")
    assert [unsettled.id_of(ordinal) for ordinal in (1, 2, 3)] == ["0", "1", None]
    unsettled.forget(first)
    assert [unsettled.id_of(ordinal) for ordinal in (1, 2)] == [None, "1"]


def test_with_a_subscription_what_it_was_sent_is_forgotten() -> None:
    unsettled, (first, _) = watching("client", "client", sent=3)
    unsettled.forget(first)
    unsettled.forget(first)
    assert len(unsettled) == 3
    assert unsettled.settle(1, 2) is None
    assert serials(unsettled, 3, 2) == [1, 2, 3]


@pytest.mark.parametrize("ack", MODES)
def test_above_the_limit_the_oldest_are_forgotten_and_their_acks_are_harmless(ack: str) -> None:
    unsettled, _ = watching(ack, sent=5, limit=3)
    assert len(unsettled) == 3
    assert [serials(unsettled, serial) for serial in (1, 2, 1, 3, 4)] == [[], [], [], [3], [4]]


def test_the_limit_is_one_for_all_subscriptions() -> None:
    unsettled, _ = watching("client", "client-individual", sent=10, limit=5)
    assert len(unsettled) == 5


def test_in_mode_client_an_ack_settles_what_is_still_remembered() -> None:
    unsettled, _ = watching("client", sent=5, limit=3)
    assert serials(unsettled, 5) == [3, 4, 5]


def test_what_was_forgotten_makes_no_room_for_lies() -> None:
    unsettled, _ = watching("client", sent=5, limit=2)
    with pytest.raises(BadFrame):
        unsettled.settle(1, 6)


def test_what_was_forgotten_stays_forgotten_in_whatever_order_it_came() -> None:
    """Messages may overtake each other on their way through a broker."""
    unsettled, _ = watching("client-individual", limit=1)
    for serial in (5, 3, 6):
        unsettled.add(1, serial, is_lent=False)
    assert [serials(unsettled, serial) for serial in (5, 3, 6)] == [[], [], [6]]


@pytest.mark.parametrize("ack", MODES)
def test_what_is_lent_is_never_forgotten(ack: str) -> None:
    unsettled, _ = watching(ack, lent=5, limit=3)
    assert len(unsettled) == 5
    assert serials(unsettled, 1) == [1]
    assert serials(unsettled, 5) == ([2, 3, 4, 5] if ack == "client" else [5])
    with pytest.raises(BadFrame):
        unsettled.settle(1, 5)


def test_what_is_lent_is_no_excuse_for_an_ack_of_something_else() -> None:
    unsettled, _ = watching("client", "client-individual", limit=1)
    for serial in (1, 2, 3):
        unsettled.add(1, serial, is_lent=False)
    unsettled.add(2, 4, is_lent=True)
    assert serials(unsettled, 1) == []  # forgotten
    with pytest.raises(BadFrame):
        unsettled.settle(2, 1)


def test_what_is_lent_is_forgotten_with_its_subscription() -> None:
    unsettled, (first, _) = watching("client", "client", lent=3)
    unsettled.forget(first)
    assert len(unsettled) == 3
    assert unsettled.settle(1, 2) is None
    assert serials(unsettled, 3, 2) == [1, 2, 3]


def test_a_transaction_is_checked_as_a_whole() -> None:
    """What an earlier ACK of it covers, a later one cannot settle again."""
    unsettled, _ = watching("client", "client-individual", lent=5)
    unsettled.check([(1, 2), (1, 5), (2, 3), (2, 1), (9, 1)])
    for messages in ([(1, 5), (1, 2)], [(2, 3), (2, 3)], [(1, 6)]):
        with pytest.raises(BadFrame):
            unsettled.check(messages)
    assert len(unsettled) == 10


@given(
    st.tuples(st.sampled_from(MODES), st.sampled_from(MODES)),
    st.lists(st.tuples(st.integers(1, 2), st.integers(0, 12)), max_size=40),
    st.integers(1, 5),
)
def test_nothing_is_settled_twice_or_for_another(
    acks: tuple[str, str], acts: list[tuple[int, int]], limit: int
) -> None:
    # Serial 0 sends the next message to that subscription, any other is an ACK of it.
    unsettled, _ = watching(*acks, limit=limit)
    last = 0
    sent: set[tuple[int, int]] = set()
    settled: list[tuple[int, int]] = []
    for ordinal, serial in acts:
        if serial == 0:
            last += 1
            unsettled.add(ordinal, last, is_lent=False)
            sent.add((ordinal, last))
            assert len(unsettled) <= limit
            continue
        before = len(unsettled)
        try:
            found = serials(unsettled, serial, ordinal)
        except BadFrame:
            assert len(unsettled) == before
            continue
        assert len(unsettled) == before - len(found)
        assert len(found) <= 1 or acks[ordinal - 1] == "client"
        settled += [(ordinal, number) for number in found]
    assert len(settled) == len(set(settled))
    assert set(settled) <= sent
