"""What has happened at a STOMP server.

Knows: numbers.
Does not know: who counts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class StompCounters:
    """What has happened at a STOMP server.

    Attributes:
        connected: logins.
        disconnected: connections that had logged in and ended.
        faults: connections that were ended with an ERROR.
        unserved: frames that the application did not serve: unknown destinations, payloads of the wrong type, failing
            controllers.
        dropped: frames that an interceptor dropped.
        undelivered: messages that could not be said to a client: binary over SockJS.
    """

    connected: int = 0
    disconnected: int = 0
    faults: int = 0
    unserved: int = 0
    dropped: int = 0
    undelivered: int = 0


@dataclass(slots=True)
class BrokerCounters:
    """What has happened at an embedded broker. Of what its queues took in (``queued``), everything was ``settled``, is
    ``dead`` or was ``dropped``, or is still held; a dead letter that is put into a queue counts as ``queued`` anew.

    Attributes:
        published: messages of topics.
        queued: messages that were put into a queue, also a temporary one or that of a durable subscription.
        delivered: those given to a consumer, each time.
        redelivered: of these, how many were not the first try.
        settled: those that a consumer has taken: acknowledged, or sent in mode ``auto``.
        dead: those that no consumer has taken, and that went to the dead letters.
        dropped: those that are lost: from the dead letters, a temporary queue or a durable subscription, or because
            the dead letters were full.
        refused: messages that were refused since a queue was full.
        unroutable: messages to a temporary queue that is gone.
        missed: messages that a returning client asked for and that were not kept any more, as far as their number is
            known.
    """

    published: int = 0
    queued: int = 0
    delivered: int = 0
    redelivered: int = 0
    settled: int = 0
    dead: int = 0
    dropped: int = 0
    refused: int = 0
    unroutable: int = 0
    missed: int = 0
