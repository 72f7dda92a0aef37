"""Who is on a destination: users once, guests by connection, and each change told once."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbridge.errors import BadFrame, InvalidOption
from sockbridge.stomp.broker.presence import PRESENCE_PREFIX, Change, Here, Presence, Room
from sockbridge.stomp.destinations import MAX_DESTINATION, Pattern
from tests.stomp.broker.fakes import RecordingSubscriber

ROOMS = "/topic/rooms/*"
ROOM = "/topic/rooms/1"


def subscriber(user: str | None = "ann", pattern: str = ROOM, owner: object = None) -> RecordingSubscriber:
    return RecordingSubscriber(pattern, user=user, owner=owner)


def make_presence(*patterns: str, separator: str = "/") -> Presence:
    return Presence(patterns or (ROOMS,), separator)


# Who counts.


def test_who_subscribes_joins_and_who_goes_leaves() -> None:
    presence, ann, bob = make_presence(), subscriber("ann"), subscriber("bob")
    assert presence.here(ROOM) == Here([], 0)
    assert presence.join(bob) == Change("join", "bob", 1)
    assert presence.join(ann) == Change("join", "ann", 2)
    assert presence.here(ROOM) == Here(["ann", "bob"], 2), "sorted"
    assert presence.leave(bob) == Change("leave", "bob", 1)
    assert presence.leave(ann) == Change("leave", "ann", 0)
    assert presence.here(ROOM) == Here([], 0)
    assert len(presence) == 0, "nothing is left behind"


def test_a_user_counts_once_however_many_tabs_and_subscriptions_there_are() -> None:
    presence = make_presence()
    tab, other_tab = object(), object()
    several = [subscriber("ann", owner=owner) for owner in (tab, tab, other_tab)]
    assert [presence.join(one) for one in several] == [Change("join", "ann", 1), None, None]
    assert presence.here(ROOM) == Here(["ann"], 1)
    assert [presence.leave(one) for one in several] == [None, None, Change("leave", "ann", 0)]


def test_a_guest_counts_once_per_connection_and_has_no_name() -> None:
    presence = make_presence()
    one, two = object(), object()
    several = [subscriber(None, owner=owner) for owner in (one, one, two)]
    assert [presence.join(guest) for guest in several] == [Change("join", None, 1), None, Change("join", None, 2)]
    assert presence.join(subscriber("ann")) == Change("join", "ann", 3)
    assert presence.here(ROOM) == Here(["ann"], 3)
    assert [presence.leave(guest) for guest in several] == [None, Change("leave", None, 2), Change("leave", None, 1)]


def test_a_user_of_no_name_is_no_guest() -> None:
    """And who calls himself as guests are told of is none either."""
    presence = make_presence()
    assert presence.join(subscriber("")) == Change("join", "", 1)
    assert presence.join(subscriber("None")) == Change("join", "None", 2)
    assert presence.join(subscriber(None)) == Change("join", None, 3)
    assert presence.here(ROOM) == Here(["", "None"], 3)


def test_who_leaves_twice_leaves_once() -> None:
    presence = make_presence()
    one, two = subscriber("ann"), subscriber("ann")
    presence.join(one)
    presence.join(two)
    assert presence.leave(one) is None
    assert presence.leave(one) is None
    assert presence.here(ROOM) == Here(["ann"], 1)
    assert presence.leave(two) == Change("leave", "ann", 0)
    assert presence.leave(two) is None


def test_who_never_came_cannot_leave() -> None:
    assert make_presence().leave(subscriber()) is None


def test_who_looks_on_from_outside_does_not_count() -> None:
    presence = make_presence()
    watcher = subscriber("ann", ROOMS)
    assert presence.join(watcher) is None
    assert presence.here(ROOMS) == Here([], 0)
    assert presence.leave(watcher) is None


@pytest.mark.parametrize("destination", ["/topic/rooms", "/topic/rooms/1/x", "/topic/other", "/queue/rooms/1"])
def test_what_is_not_watched_has_nobody(destination: str) -> None:
    presence = make_presence()
    assert presence.join(subscriber("ann", destination)) is None
    assert (presence.here(destination), len(presence)) == (Here([], 0), 0)


def test_what_is_too_long_to_have_a_companion_has_nobody() -> None:
    """Nobody could subscribe to it, and nothing be told there."""
    presence = make_presence()
    longest = "/topic/rooms/".ljust(MAX_DESTINATION - len(PRESENCE_PREFIX), "x")
    for destination, counts in [(longest, True), (f"{longest}x", False)]:
        one = subscriber("ann", destination)
        assert presence.join(one) == (Change("join", "ann", 1) if counts else None)
        assert presence.leave(one) == (Change("leave", "ann", 0) if counts else None)


def test_each_destination_has_its_own() -> None:
    presence = make_presence("/topic/rooms/*", "/topic/lobby")
    for destination in (ROOM, "/topic/lobby"):
        assert presence.join(subscriber("ann", destination)) == Change("join", "ann", 1)
    assert len(presence) == 2


def test_patterns_are_those_of_the_brokers_separator() -> None:
    presence = make_presence("/topic/rooms.*", separator=".")
    assert presence.join(RecordingSubscriber("/topic/rooms.1", user="ann", separator=".")) == Change("join", "ann", 1)


# Who is where.


def test_destinations_are_found_by_a_pattern_of_their_companions() -> None:
    presence = make_presence()
    for number in "123":
        presence.join(subscriber("ann", f"/topic/rooms/{number}"))
    assert list(presence.rooms(Pattern("/presence/topic/rooms/*"))) == [f"/topic/rooms/{number}" for number in "123"]
    assert list(presence.rooms(Pattern("/presence/**"))) == [f"/topic/rooms/{number}" for number in "123"]
    assert list(presence.rooms(Pattern("/presence/topic/*/2"))) == [None, "/topic/rooms/2", None]
    assert list(presence.rooms(Pattern("/topic/rooms/*"))) == [None] * 3, "each is a step, though none is found"


@pytest.mark.parametrize("destination", ["/topic/rooms/1", "/topic/rooms/[12]", "/topic/empty", ""])
def test_a_companion_is_of_one_destination_whether_somebody_is_there_or_not(destination: str) -> None:
    presence = make_presence()
    presence.join(subscriber("ann", "/topic/rooms/1"))
    assert list(presence.rooms(Pattern(f"/presence{destination}"))) == [destination]


def test_whoever_goes_while_one_looks_disturbs_nobody() -> None:
    presence = make_presence()
    several = [subscriber("ann", f"/topic/rooms/{number}") for number in "123"]
    for one in several:
        presence.join(one)
    found = presence.rooms(Pattern("/presence/**"))
    next(found)
    presence.leave(several[1])
    assert list(found) == ["/topic/rooms/2", "/topic/rooms/3"]


def test_without_patterns_nothing_is_watched() -> None:
    assert not Presence([], "/")
    assert make_presence()


# On the wire.


def test_what_is_told_is_short_json() -> None:
    assert msgspec.json.encode(Here(["ann"], 2)) == b'{"type":"here","users":["ann"],"count":2}'
    assert msgspec.json.encode(Change("join", "ann", 2)) == b'{"type":"join","user":"ann","count":2}'
    assert msgspec.json.encode(Change("leave", None, 0)) == b'{"type":"leave","user":null,"count":0}'


# The set-up.


@pytest.mark.parametrize(
    ("destination", "text"),
    [
        ("", "a destination is not empty"),
        ("/topic/{1}", "a variable is a name"),
        ("/topic/" + "x" * 2000, "a destination has at most"),
        ("/topic/a**", r"\*\* stands for segments only"),
        (5, "object of type 'int'"),
        (None, "a destination is not empty"),
    ],
)
def test_what_is_no_pattern_is_refused_at_once(destination: object, text: str) -> None:
    with pytest.raises(InvalidOption, match=f"^presence: {text}"):
        Presence([destination], "/")  # type: ignore[list-item]


# Whatever happens.


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["ann", "bob", None]), st.integers(1, 3), st.sampled_from("12")),
        max_size=60,
    )
)
def test_everybody_joins_and_leaves_once_and_the_count_is_right(acts: list[tuple[int, str | None, int, str]]) -> None:
    """Each act is the beginning of a subscription, or the end of the one in that place."""
    presence, places = make_presence(), dict[int, RecordingSubscriber]()
    there: dict[str, Counter[object]] = {"1": Counter(), "2": Counter()}
    for place, user, owner, room in acts:
        before = places.pop(place, None)
        if before is None:
            one = places[place] = subscriber(user, f"/topic/rooms/{room}", owner=f"connection {owner}")
            change = presence.join(one)
        else:
            one, room = before, before.pattern.text[-1]
            change = presence.leave(one)
        key = ("guest", one.owner) if one.user is None else one.user
        present = there[room]
        present[key] += 1 if before is None else -1
        is_change = present[key] == (1 if before is None else 0)
        present += Counter()
        expected = Change("join" if before is None else "leave", one.user, len(present)) if is_change else None
        assert change == expected
        here = presence.here(f"/topic/rooms/{room}")
        assert here == Here(sorted(key for key in present if isinstance(key, str)), len(present))
    assert len(presence) == sum(bool(present) for present in there.values())


def test_a_room_counts_for_itself() -> None:
    room, ann = Room(), subscriber()
    assert room.join(ann) == Change("join", "ann", 1)
    assert (room.count, room.here()) == (1, Here(["ann"], 1))
    assert room.leave(ann) == Change("leave", "ann", 0)


# What there is to see.


def test_of_what_is_watched_there_is_something_to_see() -> None:
    presence = Presence(["/topic/rooms/*"], "/")
    for wanted in ("/presence/topic/rooms/a", "/presence/topic/*/a", "/presence/**"):
        presence.check(Pattern(wanted))


@pytest.mark.parametrize("destination", ["/topic/other", "/topic/rooms", "", "/queue/a"])
def test_who_asks_for_what_is_not_watched_is_told_so(destination: str) -> None:
    presence = Presence(["/topic/rooms/*"], "/")
    with pytest.raises(BadFrame, match=r"^nobody watches who is on this destination"):
        presence.check(Pattern(f"/presence{destination}"))
    assert not presence.is_watched(destination)
