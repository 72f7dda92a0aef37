"""An endpoint without URLs: the sessions of one handler, as ``mount`` would have them, for clients without sockets.

Knows: the handler, the options, start and stop.
Does not know: clients; aiohttp.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, Unpack

from ..errors import InvalidOption, UsageError
from ..options import OptionArguments, Options
from ..sockjs.framing import Message
from ..sockjs.handler import HandlerSource, SessionHandler
from ..sockjs.manager import Counters, SessionManager
from ..sockjs.session import Session
from .handler_errors import raise_or_note
from .loop import ManualClockLoop
from .watched_handler import WatchedHandler


class MemoryEndpoint:
    """For several clients of one handler: enter it, and give it to each ``MemorySession``.

    What it has in common with ``sockbridge.Endpoint`` has the same names. An exception of the handler that no session
    has raised is raised at the end; so is an ``AssertionError`` that names a call that did not end within
    ``shutdown_grace``. Coroutine functions are excepted: to be cancelled after their session is one of their ends.

    Attributes:
        options: the settings in force.
        manager: the engine.
        handler: what watches the handler that is tested.
        is_entered: its block has begun.
    """

    def __init__(self, handler: HandlerSource, **options: Unpack[OptionArguments]) -> None:
        """
        Args:
            handler: in any form that ``mount`` takes.
            options: those of ``mount``. What is about requests alone has no effect: who may connect, cookies, URLs.

        Raises:
            InvalidOption: an option is not one.
            UsageError: ``handler`` is not one.
        """
        if isinstance(handler, SessionHandler) or (isinstance(handler, type) and issubclass(handler, SessionHandler)):
            options = {**handler.defaults, **options}
        unknown = options.keys() - OptionArguments.__annotations__.keys()
        if unknown:
            known = ", ".join(sorted(OptionArguments.__annotations__))
            raise InvalidOption(f"there is no option {', '.join(sorted(unknown))}; there are: {known}")
        self.options = Options(**options)  # type: ignore[arg-type]  # origins: any iterable, made a tuple there
        self.handler = WatchedHandler(handler)
        self.manager = SessionManager(self.handler, self.options)
        self.is_entered = False

    async def __aenter__(self) -> Self:
        self.is_entered = True
        await self.manager.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.manager.stop()
        errors = [*self.handler.take_errors(), *self.handler.unended()]
        self.handler.end_all()
        raise_or_note(errors, error)

    @property
    def sessions(self) -> Iterator[Session]:
        """The open sessions as the handler sees them, oldest first."""
        return self.manager.sessions

    def __len__(self) -> int:
        """How many sessions are held, those that are about to be forgotten included."""
        return len(self.manager)

    def __bool__(self) -> bool:
        return True  # an endpoint without sessions is one all the same

    @property
    def counters(self) -> Counters:
        """What has happened here since the start."""
        return self.manager.counters

    def broadcast(self, message: Message, sessions: Iterable[Session] | None = None) -> int:
        """As ``sockbridge.Endpoint.broadcast``."""
        return self.manager.broadcast(message, sessions)

    async def close(self) -> None:
        """What a shutdown of the server does: everybody is told 1001."""
        await self.manager.stop()

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at once, in the steps in which the server looks at its clock.

        Raises:
            UsageError: the loop is no ``ManualClockLoop``.
        """
        loop = asyncio.get_running_loop()
        if not isinstance(loop, ManualClockLoop):
            raise UsageError(
                "time is moved by hand on a ManualClockLoop only: asyncio.Runner(loop_factory=ManualClockLoop)"
            )
        left = seconds
        while left > 0:
            step = min(left, self.options.tick)
            await loop.advance(step)
            left -= step
