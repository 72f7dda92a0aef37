"""What every HTTP transport promises, as tests: subclass the contract, name your transport, let your runner collect it.

::

    class TestNdjson(TransportContract):
        transport = NdjsonTransport

        def unwrap(self, body):
            assert body.endswith(b"\\n")
            return body[:-1].decode()

Each test plays a scene on a real server with real connections. The tests are plain functions, so any runner will do.

Knows: what clients may rely on.
Does not know: how a transport words a frame; the test runner.
Spec: docs/conformance.md, sections 3 to 5; docs/transports.md, "Writing your own".
"""

from __future__ import annotations

import asyncio

from ..errors import ConnectionLost
from ..sockjs.framing import Close
from ..transports.streaming import StreamingTransport
from ..transports.xhr_polling import XhrPollingTransport
from .loop import Guard
from .transport_stage import USER, Contract, TransportStage, check_kind, transport_scene

BUSY = 'c[2010,"Another connection still open"]'
INTERRUPTED = 'c[1002,"Connection interrupted"]'
AWKWARD = ["", " ", "x", '"', "\\", "\n\r\0", "ü\u2028\u2029", "\U0001f600", "\ud800", "</script>", "%25 + &=", "['x']"]
"""Messages that are easily garbled."""

LOCAL_ORIGIN = "https://a.example"
FOREIGN_ORIGIN = "https://b.example"


class TransportContract(Contract):
    """For a transport by which clients receive: one that polls, or one that streams."""

    @transport_scene()
    async def test_it_opens_a_session_and_says_who_carries_it(self, stage: TransportStage) -> None:
        check_kind(stage.kind, sends=False)
        await stage.client()
        assert await stage.handler.wait_for("on_connected") == [stage.kind.name]
        assert len(list(stage.endpoint.sessions)) == 1

    @transport_scene()
    async def test_messages_come_back_unchanged_and_in_order(self, stage: TransportStage) -> None:
        incoming, url = await stage.client()
        for message in AWKWARD:
            await stage.send(url, message)
        await stage.send(url, *AWKWARD)
        assert await incoming.messages(2 * len(AWKWARD)) == AWKWARD * 2

    @transport_scene()
    async def test_many_messages_of_the_server_arrive_in_order(self, stage: TransportStage) -> None:
        incoming, _ = await stage.client()
        session = await stage.handler.session()
        expected = [str(number) for number in range(1000)]
        for number in expected:
            session.send(number)
            if number.endswith("00"):
                await asyncio.sleep(0)
        assert await incoming.messages(len(expected)) == expected

    @transport_scene()
    async def test_a_large_message_arrives_whole(self, stage: TransportStage) -> None:
        incoming, url = await stage.client()
        session = await stage.handler.session()
        large = "<ü>" * 100_000
        session.send(large)
        session.send("behind it")
        assert await incoming.messages(2) == [large, "behind it"]
        await stage.send(url, "still here")
        assert await incoming.messages(1) == ["still here"]

    @transport_scene()
    async def test_a_second_receiver_is_told_2010_and_the_first_stays(self, stage: TransportStage) -> None:
        incoming, url = await stage.client()
        assert await stage.receiver(url).frame() == BUSY
        assert await stage.receiver(url, kind=XhrPollingTransport).frame() == BUSY
        await stage.send(url, "still here")
        assert await incoming.messages(1) == ["still here"]

    @transport_scene()
    async def test_what_waits_comes_before_the_goodbye_and_that_is_told_again_and_again(
        self, stage: TransportStage
    ) -> None:
        incoming, url = await stage.client()
        session = await stage.handler.session()
        session.send("last words")
        session.close(4321, 'no "more"')
        assert await incoming.messages(1) == ["last words"]
        frame = 'c[4321,"no \\"more\\""]'
        assert await incoming.frame() == frame
        if issubclass(stage.kind, StreamingTransport):
            assert await incoming.frame() == "", "a stream ends behind the goodbye"
        for _ in range(2):
            assert await stage.receiver(url).frame() == frame
        assert await stage.handler.wait_for("on_closed") == [Close(4321, 'no "more"')]

    @transport_scene(response_limit=100)
    async def test_an_answer_ends_at_the_limit_and_the_session_goes_on(self, stage: TransportStage) -> None:
        incoming, url = await stage.client()
        session = await stage.handler.session()
        for number in range(6):
            session.send(f"{number}{'x' * 120}")
            assert await incoming.messages(1) == [f"{number}{'x' * 120}"]
        assert incoming.requests >= 6, "response_limit has ended no answer"
        assert session.is_open
        await stage.send(url, "still here")
        assert await incoming.messages(1) == ["still here"]

    @transport_scene()
    async def test_a_receiver_that_is_cut_ends_the_session_and_the_next_is_told_1002(
        self, stage: TransportStage
    ) -> None:
        _, url = await stage.client()
        await stage.relay.cut()
        assert await stage.handler.wait_for("on_closed") == [Close(1002, "Connection interrupted", clean=False)]
        (error,) = stage.handler.values("on_transport_error")
        assert isinstance(error, ConnectionLost)
        for _ in range(2):
            assert await stage.receiver(url).frame() == INTERRUPTED

    @transport_scene(disconnect_delay=0.1)
    async def test_a_cut_client_leaves_nothing_behind(self, stage: TransportStage) -> None:
        await stage.client()
        await stage.relay.cut(reset=False)
        await stage.handler.wait_for("on_closed")
        async with Guard("the session was not forgotten"):
            while len(stage.endpoint):
                await asyncio.sleep(0.005)  # nobody tells

    @transport_scene(disconnect_delay=0.1, response_limit=1)
    async def test_a_client_that_does_not_come_back_is_given_up(self, stage: TransportStage) -> None:
        incoming = stage.receiver()
        assert await incoming.frame() == "o"  # which is the end of a stream as well, with this limit
        assert await stage.handler.wait_for("on_closed") == [Close(1006, "Client did not come back", clean=False)]
        assert stage.handler.values("on_transport_error") == []

    @transport_scene(heartbeat_delay=0.1)
    async def test_silence_is_broken_by_a_heartbeat(self, stage: TransportStage) -> None:
        incoming, _ = await stage.client()
        assert await incoming.frame() == "h"

    @transport_scene()
    async def test_a_server_that_stops_says_1001_to_who_waits(self, stage: TransportStage) -> None:
        incoming, _ = await stage.client()
        await stage.endpoint.close()
        assert await incoming.frame() == 'c[1001,"Server is shutting down"]'

    @transport_scene(max_sessions=1)
    async def test_a_full_server_answers_503(self, stage: TransportStage) -> None:
        await stage.client()
        assert (await stage.receiver().head()).status == 503

    @transport_scene(users=True)
    async def test_a_session_is_found_by_its_owner_only(self, stage: TransportStage) -> None:
        incoming, url = await stage.client()
        method = stage.kind.method
        assert (await stage.status(method, url, headers={USER: "bob"}))[0] == 404
        assert (await stage.status(method, stage.new_url(), headers={USER: ""}))[0] == 401
        await stage.send(url, "still here")
        assert await incoming.messages(1) == ["still here"]

    @transport_scene()
    async def test_its_answers_are_of_its_type_and_not_cached(self, stage: TransportStage) -> None:
        response = await stage.receiver().head()
        assert response.status == 200
        assert response.headers["Content-Type"] == stage.kind.content_type
        assert "no-store" in response.headers["Cache-Control"]

    @transport_scene()
    async def test_other_methods_are_answered_405_and_open_nothing(self, stage: TransportStage) -> None:
        await check_methods(stage)
        assert stage.endpoint.counters.opened == 0

    @transport_scene(allowed_origins=[LOCAL_ORIGIN])
    async def test_pages_of_foreign_origins_are_refused(self, stage: TransportStage) -> None:
        await check_origins(stage)
        assert stage.endpoint.counters.opened == 0


async def check_methods(stage: TransportStage) -> None:
    """405 with ``Allow`` for all methods but the transport's, and OPTIONS where it has CORS."""
    kind = stage.kind
    allowed = {kind.method, *(["OPTIONS"] if kind.cors else [])}
    for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} - allowed:
        status, _, response = await stage.status(method, stage.new_url())
        assert status == 405, f"{method}: {status}"
        assert set(response.headers["Allow"].split(", ")) == allowed
    if kind.cors:
        status, _, response = await stage.status("OPTIONS", stage.new_url(), headers={"Origin": LOCAL_ORIGIN})
        assert status == 204
        assert response.headers["Access-Control-Allow-Origin"] == LOCAL_ORIGIN
        assert set(response.headers["Access-Control-Allow-Methods"].split(", ")) == allowed


async def check_origins(stage: TransportStage) -> None:
    """403 for a page that is not allowed; 404 where origins cannot be told apart, as it is not served then."""
    kind = stage.kind
    status, _, response = await stage.status(kind.method, stage.new_url(), headers={"Origin": FOREIGN_ORIGIN})
    assert status == (404 if kind.needs_open_origins else 403)
    assert "Access-Control-Allow-Origin" not in response.headers
    if kind.cors:
        status, _, _ = await stage.status("OPTIONS", stage.new_url(), headers={"Origin": FOREIGN_ORIGIN})
        assert status == 403
