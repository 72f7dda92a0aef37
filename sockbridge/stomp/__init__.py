"""STOMP on SockJS, websockets and TCP. The names that an application imports; no code."""

from .broker.base import Broker, Subscriber
from .broker.embedded import EmbeddedBroker
from .broker.history import History
from .broker.options import BrokerOptions
from .broker.presence import Change, Here
from .codec import Decoder, Limits, PreparedMessage
from .connection import Carrier, StompConnection
from .controllers.arguments import Header, Headers, Message, Payload, Variable
from .controllers.mapping import Controller, Reply
from .counters import BrokerCounters, StompCounters
from .destinations import Pattern
from .events import Events
from .frame import AckMode, Command, Frame, Version
from .interceptors import Interceptor
from .messaging import Messaging
from .options import StompOptions
from .payloads import Converter
from .policy import EVERYBODY, LOGGED_IN, NOBODY, Rule, has_role
from .registry import UserRegistry
from .server import Listener, StompServer
from .subscription import Subscription
from .tcp import TcpListener
from .users import Login, User

__all__ = [
    "EVERYBODY",
    "LOGGED_IN",
    "NOBODY",
    "AckMode",
    "Broker",
    "BrokerCounters",
    "BrokerOptions",
    "Carrier",
    "Change",
    "Command",
    "Controller",
    "Converter",
    "Decoder",
    "EmbeddedBroker",
    "Events",
    "Frame",
    "Header",
    "Headers",
    "Here",
    "History",
    "Interceptor",
    "Limits",
    "Listener",
    "Login",
    "Message",
    "Messaging",
    "Pattern",
    "Payload",
    "PreparedMessage",
    "Reply",
    "Rule",
    "StompConnection",
    "StompCounters",
    "StompOptions",
    "StompServer",
    "Subscriber",
    "Subscription",
    "TcpListener",
    "User",
    "UserRegistry",
    "Variable",
    "Version",
    "has_role",
]
