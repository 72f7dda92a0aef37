"""How far a subscription has come in what the server keeps for replay, and how much it has missed.

After a reconnect it asks for what followed, where the server numbers its messages (``x-epoch``, ``x-offset``); and is
told how many are not kept any more (``x-missed``), by the RECEIPT, and once more by the first message behind the gap.

Knows: those headers.
Does not know: frames, connections.
Spec: none in STOMP; docs/stomp-conformance.md, section 10; docs/broker.md, "Replay".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...stomp.broker.headers import X_EPOCH, X_MISSED, X_OFFSET, X_SINCE

MOST_DIGITS: Final = 18
"""Of a number of the server: what is longer is none, and Python reads no more than some thousand."""


class Place:
    """The place of one subscription.

    Attributes:
        epoch: within which ``offset`` counts; None while it is not known.
        offset: of the last message.
        missed: how many messages are known to be lost to this subscription; None: nobody knows how many, perhaps none.
    """

    __slots__ = (
        "_asks", "_by_messages", "_by_receipt", "_destination", "_headers", "_is_many", "epoch", "missed", "offset",
    )  # fmt: skip

    def __init__(self, destination: str, headers: Mapping[str, str]) -> None:
        """
        Args:
            headers: of the first SUBSCRIBE.
        """
        self.epoch: str | None = None
        self.offset = 0
        self.missed: int | None = 0
        self._destination = destination
        self._headers = headers
        self._asks = False  # the last SUBSCRIBE says where we are
        self._is_many = False  # a pattern, or the server names the destination otherwise: no place can be said
        self._by_receipt = 0  # what the RECEIPT has counted already of the gap that a message will tell
        self._by_messages = 0  # and the other way round

    def subscribe(self, *, again: bool) -> dict[str, str]:
        """The headers of a SUBSCRIBE; ``again`` on a new connection."""
        headers = dict(self._headers)
        if again and self.epoch is not None and not self._is_many:
            headers |= {X_SINCE: str(self.offset), X_EPOCH: self.epoch}
        elif again:
            self.missed = None  # it was not there for a while, and nobody will say what came then
            if self._is_many:  # to ask for all that is kept would bring again what came
                headers = {name: value for name, value in headers.items() if name not in (X_SINCE, X_EPOCH)}
        self._asks = X_SINCE in headers
        self._by_receipt = self._by_messages = 0
        return headers

    def confirm(self, receipt: Mapping[str, str]) -> None:
        """The RECEIPT of the SUBSCRIBE has come, before or behind the first messages."""
        count = number(receipt.get(X_MISSED))
        self._add(count, self._by_messages)
        self._by_receipt = 0 if self._by_messages or count is None else count
        # Where what is kept is still to come, the newest that there is is not where we are.
        if not self._asks and self.epoch is None:
            self._move(receipt)

    def advance(self, destination: str, headers: Mapping[str, str]) -> None:
        """A message counts as received."""
        if destination != self._destination:
            self._is_many = True
        count = number(headers.get(X_MISSED))
        self._add(count, self._by_receipt)
        if count:
            self._by_messages += count
            self._by_receipt = 0  # the next gap is another one
        self._move(headers)

    def _move(self, headers: Mapping[str, str]) -> None:
        epoch, offset = headers.get(X_EPOCH), number(headers.get(X_OFFSET, ""))
        if epoch and offset is not None:
            self.epoch, self.offset = epoch, offset

    def _add(self, count: int | None, counted: int) -> None:
        if count is None:
            self.missed = None
        elif self.missed is not None:
            self.missed += max(0, count - counted)


def number(text: str | None) -> int | None:
    """A number of the server; 0 where it says none, and None where it says something else: unknown."""
    if text is None:
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None
