"""One worker of the jobs demo: takes jobs from ``/queue/jobs``, one at a time, and counts primes.

``python -m demo.worker --port PORT [--name worker-1] [--seconds 3]``, with the passcode in the environment. The jobs
demo starts it so, and it ends with its connection.

Knows: how a job is done, and where to tell of it.
Does not know: who wants the result, which other workers there are.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import sys
import threading
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import stomp  # type: ignore[import-untyped]
from msgspec import Meta

from .jobs import JOBS, PASSCODE, PROGRESS
from .serving import port_number

STEPS: Final = 20
"""Parts of a job, between which the worker waits: it is to take seconds, whatever the machine."""

LARGEST: Final = 10_000_000

Number = Annotated[int, Meta(ge=0, le=LARGEST)]


class Job(msgspec.Struct):
    """How many primes are there from ``first`` up to, and without, ``last``?"""

    id: Annotated[str, Meta(min_length=1, max_length=40)]
    first: Number
    last: Number


class Inbox(stomp.ConnectionListener):  # type: ignore[misc]  # the package has no types
    """Takes what comes in from stomp.py's thread, which would hear of no loss while it does a job.

    Attributes:
        frames: jobs; None after the last.
        is_lost: the connection has ended.
    """

    def __init__(self) -> None:
        self.frames: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.is_lost = threading.Event()

    def on_message(self, frame: Any) -> None:
        self.frames.put(frame)

    def on_error(self, frame: Any) -> None:
        print(f"{sys.argv[0]}: {frame.headers.get('message', frame.body)}", file=sys.stderr)

    def on_disconnected(self) -> None:
        self.is_lost.set()
        self.frames.put(None)


class Worker:
    """Does what comes into the inbox."""

    def __init__(self, client: stomp.Connection12, inbox: Inbox, name: str, seconds: float) -> None:
        self._client = client
        self._inbox = inbox
        self._name = name
        self._pause = seconds / STEPS

    def run(self) -> None:
        """Work until the connection is lost.

        Raises:
            StompException, OSError: it was lost in the middle of telling something.
        """
        # One job at a time: what waits in a busy worker, no other can take.
        self._client.subscribe(JOBS, id="jobs", ack="client-individual", headers={"prefetch-count": "1"})
        while (frame := self._inbox.frames.get()) is not None:
            try:
                job = msgspec.json.decode(frame.body, type=Job)
            except msgspec.MsgspecError:
                self._client.nack(frame.headers["ack"], requeue="false")  # nobody else could do it either
                continue
            self._do(job, frame.headers)

    def _do(self, job: Job, headers: dict[str, str]) -> None:
        self._report(job, "taken over" if headers.get("redelivered") == "true" else "started")
        span = job.last - job.first
        count = 0
        for step in range(STEPS):
            if step == STEPS // 2:
                self._report(job, "half done")
            count += count_primes(job.first + span * step // STEPS, job.first + span * (step + 1) // STEPS)
            if self._inbox.is_lost.wait(self._pause):
                return
        # The result goes out and the job is settled in one step: killed before it, the worker has done neither.
        transaction = self._client.begin()
        if "reply-to" in headers:
            self._send(headers["reply-to"], {"id": job.id, "count": count, "worker": self._name}, transaction)
        self._report(job, "done", transaction)
        self._client.ack(headers["ack"], transaction=transaction)
        self._client.commit(transaction)

    def _report(self, job: Job, state: str, transaction: str | None = None) -> None:
        report = {"worker": self._name, "state": state, "job": job.id, "at": datetime.now(UTC).isoformat()}
        self._send(PROGRESS, report, transaction)

    def _send(self, destination: str, value: object, transaction: str | None) -> None:
        headers = {} if transaction is None else {"transaction": transaction}
        self._client.send(destination, json.dumps(value), content_type="application/json", headers=headers)


def count_primes(first: int, last: int) -> int:
    """How many primes there are from ``first`` up to, and without, ``last``."""
    first = max(first, 2)
    if last <= first:
        return 0
    is_prime = bytearray(b"\1") * (last - first)
    for factor in range(2, math.isqrt(last - 1) + 1):
        start = max(factor * factor, -(-first // factor) * factor)
        is_prime[start - first :: factor] = bytes(len(range(start, last, factor)))
    return sum(is_prime)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.worker", description="A worker of the jobs demo.")
    parser.add_argument("--port", type=port_number, required=True, help="where the demo serves STOMP over TCP")
    parser.add_argument("--name", default="worker", help="default %(default)s")
    parser.add_argument("--seconds", type=float, default=3.0, help="that a job takes at least; default %(default)s")
    chosen = parser.parse_args()
    client = stomp.Connection12([("127.0.0.1", chosen.port)], reconnect_attempts_max=1)
    inbox = Inbox()
    client.set_listener("", inbox)
    try:
        client.connect(chosen.name, os.environ.get(PASSCODE, ""), wait=True)
        Worker(client, inbox, chosen.name, chosen.seconds).run()
    except (stomp.exception.StompException, OSError):  # the demo has ended
        return 1
    except KeyboardInterrupt:  # from somebody who has started it by hand
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
