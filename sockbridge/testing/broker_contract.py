"""What every broker promises, as tests: subclass the contract, say how your broker is made, and let your runner
collect it.

::

    class TestMyBroker(BrokerContract):
        def make_broker(self, **wanted):
            return MyBroker(**wanted)

Each test plays a scene: clients without sockets at a server with the broker. A broker that does not have a feature
takes the contracts of those that it has. The tests are plain functions, so any runner will do.

Knows: which contracts there are.
Does not know: any broker; the test runner.
"""

from __future__ import annotations

from .queue_contract import QueueContract, TemporaryQueueContract, TransactionContract
from .topic_contract import DurableContract, PresenceContract, ReplayContract, TopicContract


class BrokerContract(
    TopicContract,
    QueueContract,
    TemporaryQueueContract,
    TransactionContract,
    ReplayContract,
    DurableContract,
    PresenceContract,
):
    """Everything that the embedded broker promises."""
