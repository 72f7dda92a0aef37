"""sockjs-tornado: ``python server.py PORT``. Runs in an environment of its own, so it imports nothing of ours.

Knows: its connections and router.
Does not know: how the environment comes to be there.
"""

# mypy: ignore-errors
# neither it nor its types are where the rest is checked

from __future__ import annotations

import asyncio
import sys

from sockjs.tornado import SockJSConnection, SockJSRouter
from tornado import web


class Echo(SockJSConnection):
    """Every message goes back."""

    def on_message(self, message):
        self.send(message)


class Broadcast(SockJSConnection):
    """Every message goes to all."""

    connections = set()  # noqa: RUF012  # one endpoint, one set, as its documentation has it

    def on_open(self, request):
        self.connections.add(self)

    def on_message(self, message):
        self.broadcast(self.connections, message)

    def on_close(self):
        self.connections.discard(self)


async def main(port: int) -> None:
    """Serve until a signal ends the process."""
    bytes(4 * 1024 * 1024)  # as bench.server.settle_allocator, which says why
    urls = SockJSRouter(Echo, "/echo").urls + SockJSRouter(Broadcast, "/broadcast").urls
    web.Application(urls, log_function=lambda handler: None).listen(port, "127.0.0.1", backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
