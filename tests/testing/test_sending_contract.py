"""Both our transports that carry messages in keep what the contract says; those that do not are caught."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from aiohttp import web

from sockbridge.errors import PayloadExpected
from sockbridge.testing.sending_contract import SendingContract
from sockbridge.transports.base import Transport
from sockbridge.transports.jsonp import JsonpSendTransport
from sockbridge.transports.xhr_polling import XhrPollingTransport
from sockbridge.transports.xhr_send import XhrSendTransport


class TestXhrSend(SendingContract):
    transport = XhrSendTransport


class TestJsonpSend(SendingContract):
    transport = JsonpSendTransport


class TestJsonpSendForm(SendingContract):
    transport = JsonpSendTransport

    def wrap(self, text: str) -> tuple[bytes, Mapping[str, str]]:
        return urlencode({"d": text}).encode(), {"Content-Type": "application/x-www-form-urlencoded"}


class Lenient(XhrSendTransport):
    def payload(self, body: bytes, request: web.Request) -> bytes:
        return body or b"[]"


class Strict(XhrSendTransport):
    def payload(self, body: bytes, request: web.Request) -> bytes:
        raise PayloadExpected


class Open(XhrSendTransport):
    async def respond(self, request: web.Request) -> web.StreamResponse:
        return await self.handle(request)


BROKEN: dict[type[Transport], str] = {
    Lenient: "test_what_is_no_message_is_answered_500_and_ends_nothing",
    Strict: "test_messages_arrive_unchanged_in_order_and_several_at_once",
    XhrPollingTransport: "test_messages_arrive_unchanged_in_order_and_several_at_once",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_transport_that_breaks_a_promise_is_caught(kind: type[Transport]) -> None:
    class Examined(SendingContract):
        transport = kind  # type: ignore[assignment]

    with pytest.raises(AssertionError):
        getattr(Examined(), BROKEN[kind])()
