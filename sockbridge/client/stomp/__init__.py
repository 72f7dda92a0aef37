"""A STOMP client over SockJS, websockets and TCP. The names that applications import; no code."""

from .client import Client
from .connecting import Connecting, connect
from .message import Message
from .options import StompClientOptions
from .subscription import Subscription
from .transaction import Transaction

__all__ = ["Client", "Connecting", "Message", "StompClientOptions", "Subscription", "Transaction", "connect"]
