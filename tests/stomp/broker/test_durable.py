"""Durable subscriptions: who is the same as before, and for how long a client may be away."""

from __future__ import annotations

import pytest

from sockbridge.errors import BadFrame
from sockbridge.stomp.broker.durable import Durable, Durables, Key, key_of
from sockbridge.stomp.broker.holding import Budget
from sockbridge.stomp.broker.queues import Queue, QueueLimits
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.counters import BrokerCounters
from tests.stomp.broker.fakes import RecordingSubscriber, message

KEY = Key("ann", "tab", "/topic/a")


def make_durable(key: Key = KEY, aside: list[tuple[Durable, PreparedMessage]] | None = None) -> Durable:
    queue = Queue(key.destination, QueueLimits(10, 1000, 3, drops=True, tells=True), Budget(1000), BrokerCounters())
    put_aside = [] if aside is None else aside
    return Durable(key, queue, lambda durable, one: put_aside.append((durable, one)))


def key(
    user: str | None = "ann", client_id: str | None = "tab", destination: str = "/topic/a", **headers: str
) -> Key | None:
    return key_of(RecordingSubscriber(destination, headers=headers, user=user, client_id=client_id))


# Who is the same.


@pytest.mark.parametrize("headers", [{}, {"durable": "false"}, {"client-id": "tab"}])
def test_who_does_not_ask_is_not_durable(headers: dict[str, str]) -> None:
    assert key(**headers) is None
    assert key(client_id=None, **headers) is None


def test_who_asks_says_who_it_is() -> None:
    assert key(durable="true") == KEY
    assert key(None, "tab", "/topic/**", durable="true") == Key(None, "tab", "/topic/**")


@pytest.mark.parametrize("client_id", [None, ""])
def test_without_a_client_id_nobody_is_the_same_as_before(client_id: str | None) -> None:
    with pytest.raises(BadFrame, match=r"^durable without client-id"):
        key(client_id=client_id, durable="true")


@pytest.mark.parametrize("text", ["", "True", "TRUE", "1", "yes", " true"])
def test_durable_is_true_or_false(text: str) -> None:
    with pytest.raises(BadFrame, match=r"^durable is true or false"):
        key(durable=text)


def test_what_a_client_wrote_is_shown_briefly() -> None:
    with pytest.raises(BadFrame) as caught:
        key(durable="\u00e9" * 5000)
    assert caught.value.detail.isascii()
    assert len(caught.value.detail) <= 402


def test_no_user_is_somebody_else_by_the_id_of_his_client() -> None:
    """Nor can a guest take what waits for a user, nor a user with a name that looks like none."""
    keys = {
        key("ann", durable="true"),
        key("bob", durable="true"),
        key(None, durable="true"),
        key("", durable="true"),
        key("None", durable="true"),
        key("ann", "other", durable="true"),
        key("ann", destination="/topic/b", durable="true"),
    }
    assert len(keys) == 7


# Being there and away.


def test_what_is_published_is_put_aside_whether_somebody_is_there_or_not() -> None:
    aside: list[tuple[Durable, PreparedMessage]] = []
    durable, one, two = make_durable(aside=aside), message("/topic/a"), message("/topic/a")
    assert durable.deliver(one)
    durable.attend(RecordingSubscriber())
    assert durable.deliver(two)
    assert aside == [(durable, one), (durable, two)]


def test_whoever_comes_takes_over() -> None:
    durable, one, two = make_durable(), RecordingSubscriber(), RecordingSubscriber()
    assert durable.subscriber is None
    assert durable.attend(one) is None
    assert durable.attend(two) is one
    assert durable.subscriber is two
    durable.abandon(5.0)
    assert durable.subscriber is None
    assert durable.attend(one) is None


def test_it_is_over_when_its_client_was_away_for_too_long() -> None:
    durable = make_durable()
    durable.attend(RecordingSubscriber())
    assert not durable.is_over(1e9, 10.0)
    durable.abandon(5.0)
    assert not durable.is_over(14.999, 10.0)
    assert durable.is_over(15.0, 10.0)
    durable.attend(RecordingSubscriber())
    assert not durable.is_over(1e9, 10.0)
    durable.abandon(100.0)
    assert not durable.is_over(109.0, 10.0), "it is counted anew"


# All of them.


def test_they_are_found_by_who_they_are_for() -> None:
    durables, one, two = Durables(10, 10), make_durable(), make_durable(KEY._replace(client_id="other"))
    assert durables.find(KEY) is None
    durables.add(one)
    durables.add(two)
    assert (durables.find(KEY), durables.find(two.key), len(durables)) == (one, two, 2)
    durables.discard(one)
    assert (durables.find(KEY), list(durables)) == (None, [two])


def test_there_are_so_many_and_no_more() -> None:
    durables, first = Durables(2, 2), make_durable()
    durables.add(first)
    durables.add(make_durable(KEY._replace(user="bob")))
    with pytest.raises(BadFrame, match=r"^too many durable subscriptions") as caught:
        durables.add(make_durable(KEY._replace(user="cid")))
    assert caught.value.detail == "the limit is 2, of all clients"
    assert len(durables) == 2
    durables.discard(first)
    durables.add(make_durable(KEY._replace(user="cid")))


@pytest.mark.parametrize(
    ("user", "limits", "told"),
    [
        ("ann", (10, 2), "the limit is 2, of one user"),
        (None, (4, 10), "the limit is 2, of all guests"),
        (None, (5, 1), "the limit is 2, of all guests"),
    ],
)
def test_one_user_or_all_guests_together_have_so_many_and_no_more(
    user: str | None, limits: tuple[int, int], told: str
) -> None:
    """A ``client-id`` costs nothing."""
    durables = Durables(*limits)
    first, *others = [make_durable(Key(user, client_id, "/topic/a")) for client_id in ("one", "two", "three")]
    durables.add(first)
    durables.add(others[0])
    with pytest.raises(BadFrame, match=r"^too many durable subscriptions") as caught:
        durables.add(others[1])
    assert caught.value.detail == told
    assert (len(durables), durables.find(others[1].key)) == (2, None)
    durables.add(make_durable(KEY._replace(user="bob")))
    durables.discard(first)
    durables.add(others[1])
    with pytest.raises(BadFrame):
        durables.add(first)


def test_who_has_none_left_may_have_as_many_as_before() -> None:
    durables = Durables(10, 2)
    for _ in range(3):
        several = [make_durable(KEY._replace(client_id=client_id)) for client_id in ("one", "two")]
        for durable in several:
            durables.add(durable)
        for durable in several:
            durables.discard(durable)
    assert len(durables) == 0


def test_one_may_be_struck_out_while_all_are_looked_at() -> None:
    durables = Durables(10, 10)
    for user in ("ann", "bob", "cid"):
        durables.add(make_durable(KEY._replace(user=user)))
    for durable in durables:
        durables.discard(durable)
    assert len(durables) == 0
