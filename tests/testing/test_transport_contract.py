"""All our HTTP transports, and one of a third party, keep what the contract says; those that do not are caught."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDict

from sockbridge.sockjs.framing import INTERRUPTED
from sockbridge.testing.transport_contract import TransportContract
from sockbridge.transports.base import Transport
from sockbridge.transports.eventsource import EventSourceTransport
from sockbridge.transports.htmlfile import HtmlFileTransport
from sockbridge.transports.jsonp import JsonpTransport
from sockbridge.transports.websocket import WebSocketTransport
from sockbridge.transports.xhr_polling import XhrPollingTransport
from sockbridge.transports.xhr_send import XhrSendTransport
from sockbridge.transports.xhr_streaming import XhrStreamingTransport
from tests.transports.ndjson import NdjsonTransport


def between(body: bytes, before: str, after: str) -> str:
    text = body.decode()
    assert text.startswith(before), text[:50]
    assert text.endswith(after), text[-50:]
    return text[len(before) : len(text) - len(after)]


class TestXhr(TransportContract):
    transport = XhrPollingTransport

    def unwrap(self, body: bytes) -> str:
        return between(body, "", "\n")


class TestXhrStreaming(TestXhr):
    transport = XhrStreamingTransport


class TestNdjson(TestXhr):
    transport = NdjsonTransport


class TestEventSource(TransportContract):
    transport = EventSourceTransport

    def unwrap(self, body: bytes) -> str:
        text = between(body, "data: ", "\r\n\r\n")
        return re.sub(r"%(00|0A|0D|25)", lambda found: chr(int(found[1], 16)), text)


class TestHtmlFile(TransportContract):
    transport = HtmlFileTransport
    query = "?c=callback"

    def unwrap(self, body: bytes) -> str:
        text = between(body, "<script>\np(", ");\n</script>\r\n")
        assert "</" not in text
        return str(json.loads(text))


class TestJsonp(TransportContract):
    transport = JsonpTransport
    query = "?c=callback"

    def unwrap(self, body: bytes) -> str:
        return str(json.loads(between(body, "/**/callback(", ");\r\n")))


# Transports that break a promise.


class Cached(XhrStreamingTransport):
    def headers(self, request: web.Request) -> CIMultiDict[str]:
        headers = super().headers(request)
        headers["Cache-Control"] = "max-age=60"
        return headers


class Garbled(XhrStreamingTransport):
    def format(self, frame: bytes) -> bytes:
        return frame.replace(b"%25", b"%") + b"\n"


class Silent(XhrStreamingTransport):
    """Without a prelude its head waits for the first frame; and then there is a chunk too few."""

    def prelude(self, request: web.Request) -> bytes:
        return b""


class Rude(XhrPollingTransport):
    """Ends the session of the first receiver when a second one comes."""

    def attach(self, session: Any, receiver: Any) -> bool | None:
        is_new = super().attach(session, receiver)
        if is_new is None:
            session.interrupt(INTERRUPTED, None)
        return is_new


class Open(XhrPollingTransport):
    """Asks nobody for an origin."""

    async def respond(self, request: web.Request) -> web.StreamResponse:
        return await self.handle(request)


BROKEN: dict[type[Transport], str] = {
    Cached: "test_its_answers_are_of_its_type_and_not_cached",
    Garbled: "test_messages_come_back_unchanged_and_in_order",
    Silent: "test_it_opens_a_session_and_says_who_carries_it",
    Rude: "test_a_second_receiver_is_told_2010_and_the_first_stays",
    Open: "test_pages_of_foreign_origins_are_refused",
    WebSocketTransport: "test_it_opens_a_session_and_says_who_carries_it",
    XhrSendTransport: "test_it_opens_a_session_and_says_who_carries_it",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_transport_that_breaks_a_promise_is_caught(kind: type[Transport], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockbridge.testing.loop.Guard.__init__.__defaults__", (0.5,))

    class Examined(TestXhr):
        transport = kind  # type: ignore[assignment]

    with pytest.raises(AssertionError):
        getattr(Examined(), BROKEN[kind])()


def test_how_a_transport_words_a_frame_is_to_be_said() -> None:
    with pytest.raises(NotImplementedError):
        TransportContract().unwrap(b"")


def test_a_contract_without_unwrap_names_what_to_define() -> None:
    with pytest.raises(NotImplementedError, match=r"define unwrap\(self, body\) in TransportContract"):
        TransportContract().unwrap(b"")
