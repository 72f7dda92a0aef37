"""The knobs of the embedded broker: unit, default and reason of each, and the check of their values.

Knows: what each value means and which are allowed.
Does not know: who reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict

from ...errors import InvalidOption

MOST_SECONDS: Final = 1e9


class BrokerOptionArguments(TypedDict, total=False):
    """The keyword arguments of ``EmbeddedBroker`` that are limits and times; see ``BrokerOptions``."""

    prefetch: int
    max_prefetch: int
    max_deliveries: int
    on_queue_full: Literal["refuse", "drop_oldest"]
    max_queues: int
    max_queue_length: int
    max_queue_size: int
    max_temporary_queues: int
    max_histories: int
    max_history_size: int
    durable_grace: float
    max_durables: int
    max_durables_per_user: int
    max_durable_length: int
    max_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions:
    """The limits of an embedded broker. Seconds are floats, sizes are bytes: of bodies and headers, and 500 for each
    message, about what it costs besides.

    Attributes:
        prefetch: messages that a consumer of a queue has at a time without having acknowledged them, where its
            SUBSCRIBE has no ``prefetch-count``. 100.
        max_prefetch: what ``prefetch-count`` may ask for at most; 0, for no limit, means this. 1000.
        max_deliveries: of one message. One that comes back after so many goes to the dead letters. 20.
        on_queue_full: ``"refuse"`` answers the SEND with ERROR; ``"drop_oldest"`` moves the oldest that waits to the
            dead letters.
        max_queues: that hold a message or have a consumer. 10000.
        max_queue_length: messages of one queue, with those that its consumers have not settled. 10000.
        max_queue_size: of these messages. 67108864.
        max_temporary_queues: of one connection. 100.
        max_histories: destinations whose messages are kept for replay; beyond it the one that was quiet for longest
            is forgotten. 10000.
        max_history_size: of what is kept for one destination. 4194304.
        durable_grace: seconds that a durable subscription outlives its connection. 300.
        max_durables: durable subscriptions, of all clients. 10000.
        max_durables_per_user: of one user, however many clients. Guests have half of ``max_durables``, all together.
            100.
        max_durable_length: messages that wait for one of them; beyond it the oldest is dropped, and the client told
            how many. 1000.
        max_size: of all that the broker holds, together. 268435456.
    """

    prefetch: int = 100
    max_prefetch: int = 1000
    max_deliveries: int = 20
    on_queue_full: Literal["refuse", "drop_oldest"] = "refuse"
    max_queues: int = 10_000
    max_queue_length: int = 10_000
    max_queue_size: int = 64 * 1024 * 1024
    max_temporary_queues: int = 100
    max_histories: int = 10_000
    max_history_size: int = 4 * 1024 * 1024
    durable_grace: float = 300.0
    max_durables: int = 10_000
    max_durables_per_user: int = 100
    max_durable_length: int = 1000
    max_size: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.on_queue_full not in ("refuse", "drop_oldest"):
            raise InvalidOption(f'on_queue_full is "refuse" or "drop_oldest", not {self.on_queue_full!r}')
        grace: Any = self.durable_grace
        if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not 0 < grace <= MOST_SECONDS:
            raise InvalidOption(f"durable_grace is a finite number above 0, not {grace!r}")
        for name in _INTEGERS:
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidOption(f"{name} is an integer of 1 or more, not {value!r}")
        if self.prefetch > self.max_prefetch:
            raise InvalidOption("prefetch is at most max_prefetch")


_INTEGERS: Final = tuple(
    name for name in BrokerOptions.__dataclass_fields__ if name == "prefetch" or name.startswith("max_")
)
