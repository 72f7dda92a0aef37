"""Who is on a destination: users, once each however many tabs they have, and guests, who have no name.

Who has subscribed to the destination itself is there; a subscription with wildcards looks on from outside. Whoever
subscribes to the companion destination, ``/presence`` + the destination, is told who is there, and then who comes
and goes.

Knows: destinations, names, owners of subscriptions.
Does not know: messages, who is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from ...errors import BadFrame, InvalidOption, UsageError
from ..destinations import Pattern, fault_of, misplaced_stars
from .base import Subscriber

PRESENCE_PREFIX: Final = "/presence"


class Here(msgspec.Struct, frozen=True, tag_field="type", tag="here"):
    """Who is there.

    Attributes:
        users: names, sorted.
        count: users, and guests, each of whose connections counts as one.
    """

    users: list[str]
    count: int


class Change(msgspec.Struct, frozen=True):
    """Somebody has come or gone.

    Attributes:
        user: the name; None for a guest.
        count: as in ``Here``, afterwards.
    """

    type: Literal["join", "leave"]
    user: str | None
    count: int


class Room:
    """Those on one destination."""

    __slots__ = ("_guests", "_users")

    def __init__(self) -> None:
        self._users: dict[object, int] = {}  # name -> subscriptions
        self._guests: dict[object, int] = {}  # owner -> subscriptions

    def here(self) -> Here:
        """Who they are."""
        return Here(sorted(map(str, self._users)), self.count)

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self._users) + len(self._guests)

    def join(self, subscriber: Subscriber) -> Change | None:
        """One more subscription; None if its user was there already."""
        table, key = self._place(subscriber)
        table[key] = table.get(key, 0) + 1
        return Change("join", subscriber.user, self.count) if table[key] == 1 else None

    def leave(self, subscriber: Subscriber) -> Change | None:
        """One less; None if its user is still there by another."""
        table, key = self._place(subscriber)
        table[key] -= 1
        if table[key]:
            return None
        del table[key]
        return Change("leave", subscriber.user, self.count)

    def _place(self, subscriber: Subscriber) -> tuple[dict[object, int], object]:
        if subscriber.user is None:
            return self._guests, subscriber.owner
        return self._users, subscriber.user


class Presence:
    """Who is where, at one broker."""

    def __init__(self, destinations: Sequence[str], separator: str) -> None:
        """
        Args:
            destinations: patterns of those that are watched.

        Raises:
            InvalidOption: one is no pattern.
        """
        self._patterns = []
        for destination in destinations:
            try:
                self._patterns.append(Pattern(destination, separator))
            except (TypeError, UsageError) as error:
                raise InvalidOption(f"presence: {error} ({destination!r})") from None
            fault = misplaced_stars(destination, separator)
            if fault:
                raise InvalidOption(f"presence: {fault} ({destination!r})")
        self._rooms: dict[str, Room] = {}
        self._present: dict[Subscriber, None] = {}

    def __len__(self) -> int:
        """How many destinations somebody is on."""
        return len(self._rooms)

    def __bool__(self) -> bool:
        """Is anything watched at all?"""
        return bool(self._patterns)

    def here(self, destination: str) -> Here:
        """Who is on ``destination``."""
        room = self._rooms.get(destination)
        return room.here() if room else Here([], 0)

    def is_watched(self, destination: str) -> bool:
        """Is it told who is on ``destination``?"""
        if fault_of(PRESENCE_PREFIX + destination):
            return False  # too long to have a companion
        return any(pattern.match(destination) is not None for pattern in self._patterns)

    def check(self, wanted: Pattern) -> None:
        """Is there anything to see for a subscriber to ``wanted``, a companion or a pattern of companions?

        Raises:
            BadFrame: it is one whose destination is not watched, so it would look as if nobody were there.
        """
        destination = wanted.text[len(PRESENCE_PREFIX) :]
        if wanted.is_literal and not self.is_watched(destination):
            raise BadFrame("nobody watches who is on this destination", ascii(destination[:100]))

    def rooms(self, wanted: Pattern) -> Iterator[str | None]:
        """The destinations whose companion ``wanted`` matches: of a pattern those that somebody is on, with None for
        each that does not match."""
        if wanted.is_literal:
            yield wanted.text[len(PRESENCE_PREFIX) :]
            return
        for destination in list(self._rooms):
            yield destination if wanted.match(PRESENCE_PREFIX + destination) is not None else None

    def join(self, subscriber: Subscriber) -> Change | None:
        """A subscription begins; the change if it makes one."""
        destination = subscriber.pattern.text
        if not subscriber.pattern.is_literal or not self.is_watched(destination):
            return None
        self._present[subscriber] = None
        return self._rooms.setdefault(destination, Room()).join(subscriber)

    def leave(self, subscriber: Subscriber) -> Change | None:
        """It ends. May be called again."""
        if subscriber not in self._present:
            return None
        del self._present[subscriber]
        destination = subscriber.pattern.text
        room = self._rooms[destination]
        change = room.leave(subscriber)
        if not room.count:
            del self._rooms[destination]
        return change
