"""Frames that wait for COMMIT.

Knows: names, frames, limits.
Does not know: what a frame does once it is applied.
Spec: STOMP 1.2, "BEGIN", "COMMIT", "ABORT"; docs/stomp-conformance.md, section 4.
"""

from __future__ import annotations

from ..errors import BadFrame
from .frame import TRANSACTION, Frame, require
from .options import StompOptions


class Transactions:
    """The open transactions of one connection. They end with it, and then nothing of them has happened."""

    __slots__ = ("_held", "_options", "_size")

    def __init__(self, options: StompOptions) -> None:
        self._options = options
        self._held: dict[str, list[Frame]] = {}
        self._size = 0

    def begin(self, frame: Frame) -> None:
        """
        Raises:
            BadFrame: no name, one that is taken, or too many.
        """
        name = require(frame, TRANSACTION)
        if name in self._held:
            raise BadFrame("this transaction is open already", ascii(name[:100]))
        if len(self._held) >= self._options.max_transactions:
            raise BadFrame("too many transactions", f"the limit is {self._options.max_transactions}")
        self._held[name] = []

    def hold(self, frame: Frame) -> None:
        """Keep ``frame`` until its transaction is committed.

        Raises:
            BadFrame: the transaction is unknown, or a limit is passed.
        """
        held = self._open(frame)
        options = self._options
        if sum(map(len, self._held.values())) >= options.max_transaction_frames:
            raise BadFrame("too many frames in transactions", f"the limit is {options.max_transaction_frames}")
        size = self._size + _weight(frame)
        if size > options.max_transaction_size:
            raise BadFrame("transactions too large", f"the limit is {options.max_transaction_size} bytes")
        self._size = size
        held.append(frame)

    def end(self, frame: Frame) -> list[Frame]:
        """The frames that a COMMIT applies, or an ABORT drops, in order.

        Raises:
            BadFrame: the transaction is unknown.
        """
        held = self._open(frame)
        del self._held[frame.headers[TRANSACTION]]
        self._size -= sum(map(_weight, held))
        return held

    def _open(self, frame: Frame) -> list[Frame]:
        name = require(frame, TRANSACTION)
        held = self._held.get(name)
        if held is None:
            raise BadFrame("unknown transaction", ascii(name[:100]))
        return held


def _weight(frame: Frame) -> int:
    # In octets, as far as one can say without writing the frame out.
    return len(frame.body) + sum(len(name.encode()) + len(value.encode()) for name, value in frame.headers.items())
