"""What all peers written in Python have in common: the command line, the event loop, the allocator.

Knows: how a peer is told where to listen, and on which loop.
Does not know: what it serves.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from ...server import settle_allocator

HOST: Final = "127.0.0.1"

BACKLOG: Final = 1024
"""Connections that may wait to be accepted; with the usual 100, many that come at once are told to try again."""

LARGEST_MESSAGE: Final = 1024 * 1024
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a peer was told.

    Attributes:
        port: where it listens.
        loop: where it runs; not running yet.
    """

    port: int
    loop: asyncio.AbstractEventLoop


class Serve(Protocol):
    """What a server without aiohttp does to listen on a port and serve, until it is cancelled."""

    async def __call__(self, port: int) -> None: ...


def serve_application(app: web.Application) -> None:
    """Serve ``app`` as the command line says, as aiohttp does in production; until SIGTERM."""
    arguments = _arguments()
    web.run_app(app, host=HOST, port=arguments.port, backlog=BACKLOG, loop=arguments.loop, access_log=None, print=None)


def serve_forever(serve: Serve) -> None:
    """Run ``serve`` as the command line says; until a signal ends the process."""
    arguments = _arguments()
    with asyncio.Runner(loop_factory=lambda: arguments.loop) as runner:
        runner.run(serve(arguments.port))


def _arguments() -> Arguments:
    parser = argparse.ArgumentParser(description="A server to compare with.")
    parser.add_argument("port", type=int)
    parser.add_argument("--uvloop", action="store_true")
    parsed = parser.parse_args()
    settle_allocator()
    # only with --uvloop must it be there
    loops = importlib.import_module("uvloop") if parsed.uvloop else asyncio
    return Arguments(parsed.port, loops.new_event_loop())
