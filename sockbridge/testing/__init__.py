"""For tests of applications, of brokers and of transports: clients without a socket, a clock that is moved by hand, a
network that can be cut, and what every broker and every transport promises, as tests. The names that tests import; no
code."""

from .broker_contract import BrokerContract
from .loop import ManualClockLoop
from .memory_endpoint import MemoryEndpoint
from .memory_session import MemorySession
from .queue_contract import QueueContract, TemporaryQueueContract, TransactionContract
from .relay import Relay
from .relayed_client import RelayedClient
from .sending_contract import SendingContract
from .serving import Serving, serve
from .stage import Stage, scene
from .stomp_client import MemoryClient
from .topic_contract import DurableContract, PresenceContract, ReplayContract, TopicContract
from .transport_contract import TransportContract
from .transport_stage import TransportStage, transport_scene

__all__ = [
    "BrokerContract",
    "DurableContract",
    "ManualClockLoop",
    "MemoryClient",
    "MemoryEndpoint",
    "MemorySession",
    "PresenceContract",
    "QueueContract",
    "Relay",
    "RelayedClient",
    "ReplayContract",
    "SendingContract",
    "Serving",
    "Stage",
    "TemporaryQueueContract",
    "TopicContract",
    "TransactionContract",
    "TransportContract",
    "TransportStage",
    "scene",
    "serve",
    "transport_scene",
]
