"""A back-end service for a test to kill: takes jobs, prints each, and never finishes one.

Usage: python victim.py LIBRARY PORT DESTINATION
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import stomp
import stompman


def take(job: str) -> None:
    """Start to work, for ever."""
    print(job, flush=True)


class Listener(stomp.ConnectionListener):
    """Hears of jobs."""

    def on_message(self, frame: Any) -> None:
        take(frame.body)


def with_stomp_py(port: int, destination: str) -> None:
    client = stomp.StompConnection12([("127.0.0.1", port)])
    client.set_listener("", Listener())
    client.connect("victim", "secret", wait=True)
    client.subscribe(destination, id="1", ack="client-individual")
    threading.Event().wait()


async def with_stompman(port: int, destination: str) -> None:
    async def work(frame: Any) -> None:
        take(frame.body.decode())
        await asyncio.Event().wait()

    server = stompman.ConnectionParameters("127.0.0.1", port, "victim", "secret")
    async with stompman.Client([server]) as client:
        await client.subscribe(destination, work, on_suppressed_exception=print)


if __name__ == "__main__":
    library, port, destination = sys.argv[1:]
    if library == "stomp.py":
        with_stomp_py(int(port), destination)
    else:
        asyncio.run(with_stompman(int(port), destination))
