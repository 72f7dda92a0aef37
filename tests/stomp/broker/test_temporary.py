"""Temporary queues: whose they are, and by which address others reach them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbridge.errors import BadFrame
from sockbridge.stomp.broker.temporary import TemporaryQueues, is_address


def make_queues(limit: int = 100) -> TemporaryQueues:
    tokens = map("t{}".format, itertools.count(1))
    return TemporaryQueues(limit, tokens.__next__)


def test_a_queue_has_one_address_for_as_long_as_it_is_there() -> None:
    queues, owner = make_queues(), object()
    address = queues.address(owner, "/temp-queue/x")
    assert address == "/reply-queue/t1"
    assert queues.address(owner, "/temp-queue/x") == address
    assert queues.owner(address) is owner
    assert len(queues) == 1


def test_equal_names_of_different_clients_are_different_queues() -> None:
    queues, one, two = make_queues(), object(), object()
    addresses = [queues.address(owner, "/temp-queue/x") for owner in (one, two)]
    assert addresses == ["/reply-queue/t1", "/reply-queue/t2"]
    assert [queues.owner(address) for address in addresses] == [one, two]


def test_different_names_of_one_client_are_different_queues() -> None:
    queues, owner = make_queues(), object()
    names = ["/temp-queue/x", "/temp-queue/y", "/temp-queue/x/y", "/temp-queue/ x", "/temp-queue/x "]
    assert len({queues.address(owner, name) for name in names}) == 5
    assert len(queues) == 5


@pytest.mark.parametrize("destination", ["/temp-queue", "/temp-queue/"])
def test_a_queue_has_a_name(destination: str) -> None:
    queues = make_queues()
    with pytest.raises(BadFrame, match=r"^a temporary queue has a name") as caught:
        queues.address(object(), destination)
    assert "/temp-queue/" in caught.value.detail
    assert len(queues) == 0


def test_a_client_has_so_many_and_one_that_is_there_is_found_all_the_same() -> None:
    queues, greedy, modest = make_queues(limit=2), object(), object()
    first = queues.address(greedy, "/temp-queue/1")
    queues.address(greedy, "/temp-queue/2")
    with pytest.raises(BadFrame, match=r"^too many temporary queues") as caught:
        queues.address(greedy, "/temp-queue/3")
    assert caught.value.detail == "the limit is 2"
    assert queues.address(greedy, "/temp-queue/1") == first
    queues.address(modest, "/temp-queue/1")
    assert len(queues) == 3


def test_they_go_with_their_owner() -> None:
    queues, one, two = make_queues(limit=2), object(), object()
    gone = [queues.address(one, f"/temp-queue/{name}") for name in "xy"]
    stays = queues.address(two, "/temp-queue/x")
    assert list(queues.release(one)) == gone
    assert [queues.owner(address) for address in (*gone, stays)] == [None, None, two]
    assert list(queues.release(one)) == [], "a second time does nothing"
    assert list(queues.release(object())) == []
    assert len(queues) == 1


def test_an_address_never_comes_again() -> None:
    queues, owner = make_queues(), object()
    before = queues.address(owner, "/temp-queue/x")
    queues.release(owner)
    assert queues.address(owner, "/temp-queue/x") != before
    assert queues.owner(before) is None


def test_all_owners_may_go_at_once() -> None:
    queues = make_queues()
    before = [queues.address(owner, "/temp-queue/x") for owner in ("ann", "bob")]
    queues.clear()
    assert (len(queues), [queues.owner(address) for address in before]) == (0, [None, None])
    assert queues.release("ann") == []
    assert queues.address("ann", "/temp-queue/x") not in before


def test_an_address_that_never_was_is_nobodys() -> None:
    assert make_queues().owner("/reply-queue/guess") is None


@pytest.mark.parametrize(
    ("destination", "address"),
    [
        ("/temp-queue/x", False),
        ("/temp-queue", False),
        ("/reply-queue/x", True),
        ("/reply-queue", True),
        ("/reply-queue2", False),
        ("/reply-queue.x", False),
        ("/queue/reply-queue/x", False),
        ("", False),
    ],
)
def test_addresses_are_told_by_their_prefix(destination: str, address: bool) -> None:
    assert is_address(destination) == address


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("wxyz"), st.booleans()), max_size=50))
def test_nobody_ever_has_somebody_elses_queue(acts: list[tuple[str, str, bool]]) -> None:
    queues = make_queues(limit=3)
    known: dict[str, dict[str, str]] = {}
    ever: set[str] = set()
    for owner, name, goes in acts:
        its = known.setdefault(owner, {})
        if goes:
            assert sorted(queues.release(owner)) == sorted(its.values())
            known[owner] = {}
        elif name not in its and len(its) == 3:
            with pytest.raises(BadFrame):
                queues.address(owner, f"/temp-queue/{name}")
        else:
            address = queues.address(owner, f"/temp-queue/{name}")
            assert its.setdefault(name, address) == address
            ever.add(address)
        owners = {address: owner for owner, its in known.items() for address in its.values()}
        assert {address: queues.owner(address) for address in ever} == {one: owners.get(one) for one in ever}
        assert len(queues) == len(owners)
