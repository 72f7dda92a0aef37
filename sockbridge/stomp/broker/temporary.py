"""Temporary queues: each client has its own, which others reach by an address that nobody can guess.

A client calls its queue ``/temp-queue/x``. Others get to know it as ``/reply-queue/...``, from the ``reply-to`` of
what the client sends. They may send there; only the owner may subscribe.

Knows: whose queue has which address.
Does not know: messages, consumers, how addresses are made up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ...errors import BadFrame
from ..destinations import Prefixes
from .headers import check_literal

TEMPORARY_PREFIX: Final = "/temp-queue"
REPLY_PREFIX: Final = "/reply-queue"


class TemporaryQueues:
    """The temporary queues of all clients of one broker."""

    def __init__(self, limit: int, make_token: Callable[[], str]) -> None:
        """
        Args:
            limit: queues of one client.
            make_token: makes a text that nobody can guess, of letters that fit into a destination.
        """
        self._limit = limit
        self._make_token = make_token
        self._addresses: dict[object, dict[str, str]] = {}  # owner -> its own name of the queue -> address
        self._owners: dict[str, object] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._owners)

    def address(self, owner: object, destination: str) -> str:
        """By which others reach the queue that ``owner`` calls ``destination``.

        Raises:
            BadFrame: it is no name of a queue, or the owner has too many.
        """
        names = self._addresses.get(owner, {})
        address = names.get(destination)
        if address is not None:
            return address
        if not destination[len(TEMPORARY_PREFIX) + 1 :]:
            raise BadFrame("a temporary queue has a name", f"e.g. {TEMPORARY_PREFIX}/answers")
        check_literal(destination)
        if len(names) >= self._limit:
            raise BadFrame("too many temporary queues", f"the limit is {self._limit}")
        address = f"{REPLY_PREFIX}/{self._make_token()}"
        self._addresses.setdefault(owner, {})[destination] = address
        self._owners[address] = owner
        return address

    def owner(self, address: str) -> object | None:
        """Whose queue it is; None if it is gone, or never was."""
        return self._owners.get(address)

    def release(self, owner: object) -> Sequence[str]:
        """``owner`` has gone, and its queues with it; their addresses. May be called again."""
        addresses = list(self._addresses.pop(owner, {}).values())
        for address in addresses:
            del self._owners[address]
        return addresses

    def clear(self) -> None:
        """All owners have gone."""
        self._addresses.clear()
        self._owners.clear()


_ADDRESSES: Final = Prefixes([REPLY_PREFIX])


def is_address(destination: str) -> bool:
    """Is it the address of one?"""
    return destination in _ADDRESSES
