"""What carries a session without a socket: it takes the frames as a connection would, and can be slow.

Knows: when to take, how much a client holds that nobody reads, what a stalled client leads to.
Does not know: what is in a frame, who reads.
Spec: docs/transports.md, "A shape of your own".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from ..errors import ConnectionLost, WriteTimeout
from ..sockjs.session import Session

FRAME_SIZE: Final = 64 * 1024
"""Bytes of messages in one frame, as on the real transports that last."""


class Client(Protocol):
    """Who gets the frames."""

    @property
    def has_room(self) -> bool:
        """It takes another frame."""
        ...

    def on_frame(self, frame: bytes) -> None:
        """The next frame."""
        ...

    def on_let_go(self, receiver: MemoryReceiver) -> None:
        """The session wants nothing more of ``receiver``."""
        ...


class MemoryReceiver:
    """A receiver for ``session``. Like a websocket's it writes at the end of a loop turn.

    Attributes:
        transport: the name that the session is given.
        is_connected: False once it was cut.
    """

    is_quiet = False

    def __init__(
        self, transport: str, session: Session, client: Client, write_timeout: float, on_cut: Callable[[], None]
    ) -> None:
        """
        Args:
            write_timeout: seconds for which a client may take nothing.
            on_cut: called in the next turn of the loop when the server has cut the connection.
        """
        self.transport = transport
        self.is_connected = True
        self._session = session
        self._client = client
        self._write_timeout = write_timeout
        self._on_cut = on_cut
        self._is_woken = False
        self._stalled_at: float | None = None

    def wake(self) -> None:
        """As ``Receiver.wake``."""
        if not self._is_woken:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._flush_woken)

    def flush(self) -> None:
        """As ``Receiver.flush``."""
        session, client = self._session, self._client
        while self.is_connected and session.receiver is self and client.has_room:
            frame = session.take_frame(FRAME_SIZE)
            if frame is None:
                return
            self._stalled_at = None
            client.on_frame(frame)
        if session.receiver is not self:
            client.on_let_go(self)

    def tick(self, now: float) -> ConnectionLost | None:
        """As ``Receiver.tick``."""
        if not self.is_connected:
            return ConnectionLost("the connection was cut")
        if self._client.has_room or not self._session.has_more:
            self._stalled_at = None
        elif self._stalled_at is None:
            self._stalled_at = now
        elif now - self._stalled_at >= self._write_timeout:
            self.is_connected = False
            return WriteTimeout(f"the client took no bytes for {self._write_timeout:g} seconds")
        return None

    def cut(self) -> None:
        """As ``Receiver.cut``."""
        if self.is_connected:
            self.is_connected = False
            asyncio.get_running_loop().call_soon(self._on_cut)

    def _flush_woken(self) -> None:
        self._is_woken = False
        self.flush()
