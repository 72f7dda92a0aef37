"""For tests of applications and of brokers: a STOMP client without a socket, a clock that is moved by hand, and what
every broker promises, as tests. The names that tests import; no code."""

from .broker_contract import BrokerContract
from .loop import ManualClockLoop
from .queue_contract import QueueContract, TemporaryQueueContract, TransactionContract
from .stage import Stage, scene
from .stomp_client import MemoryClient
from .topic_contract import DurableContract, PresenceContract, ReplayContract, TopicContract

__all__ = [
    "BrokerContract",
    "DurableContract",
    "ManualClockLoop",
    "MemoryClient",
    "PresenceContract",
    "QueueContract",
    "ReplayContract",
    "Stage",
    "TemporaryQueueContract",
    "TopicContract",
    "TransactionContract",
    "scene",
]
