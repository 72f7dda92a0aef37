"""The headers in which clients and the embedded broker speak about queues, replay and durable subscriptions.

Knows: names, and how their values are read.
Does not know: what is done about them.
Spec: none in STOMP; ``prefetch-count``, ``requeue``, ``expiration`` and ``x-delivery-count`` as RabbitMQ has them.
"""

from __future__ import annotations

from typing import Final

from ...errors import BadFrame
from ..codec import PreparedMessage
from ..destinations import has_wildcard
from .base import Subscriber

EXPIRATION: Final = "expiration"
PREFETCH_COUNT: Final = "prefetch-count"
PREFETCH_SIZE: Final = "activemq.prefetchSize"
REDELIVERED: Final = "redelivered"
X_DELIVERY_COUNT: Final = "x-delivery-count"
X_EPOCH: Final = "x-epoch"
X_FIRST_DEATH_COUNT: Final = "x-first-death-count"
X_FIRST_DEATH_QUEUE: Final = "x-first-death-queue"
X_FIRST_DEATH_REASON: Final = "x-first-death-reason"
X_MISSED: Final = "x-missed"
X_OFFSET: Final = "x-offset"
X_RESUMED: Final = "x-resumed"
X_SINCE: Final = "x-since"


def expiration_of(message: PreparedMessage) -> float | None:
    """Seconds until ``message`` expires: its header ``expiration``, in milliseconds. None: never.

    Raises:
        BadFrame: that is no number.
    """
    text = message.headers.get(EXPIRATION)
    return None if text is None else number(text, EXPIRATION) / 1000


def prefetch_of(subscriber: Subscriber, default: int, most: int) -> int:
    """How many messages ``subscriber`` may have at a time without having settled them.

    Raises:
        BadFrame: what it asks for is no number.
    """
    for name in (PREFETCH_COUNT, PREFETCH_SIZE):
        text = subscriber.headers.get(name)
        if text is not None:
            return min(number(text, name), most) or most
    return default


def number(text: str, name: str) -> int:
    """What a header says in ASCII digits.

    Raises:
        BadFrame: it is something else.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise BadFrame(f"{name} is no number", ascii(text[:100]))
    return int(text)


def check_literal(destination: str) -> None:
    """A queue is one destination.

    Raises:
        BadFrame: ``destination`` has wildcards.
    """
    if has_wildcard(destination):
        raise BadFrame("no wildcards in the destination of a queue", ascii(destination[:100]))
