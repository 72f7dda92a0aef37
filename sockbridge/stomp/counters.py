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
