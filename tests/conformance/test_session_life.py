"""Section 5: how a session begins, who may receive, how it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from uuid import uuid4

import pytest

from sockbridge.errors import ConnectionLost
from sockbridge.sockjs.framing import Close
from tests.fakes import GUARD

from .conftest import BUSY, GO_AWAY, INTERRUPTED, RECEIVERS, STREAMS, Wire

ABORTED = ("xhr", "xhr_streaming", "eventsource", "htmlfile", "jsonp")
ENDINGS = ("leave", "reset")


@pytest.mark.parametrize("transport", RECEIVERS)
async def test_a_receiving_request_opens_a_session(wire: Wire, transport: str) -> None:
    """Rule 5.1."""
    url = wire.new("/plain")
    assert await (await wire.receive(url, transport)).frame() == "o"
    assert await wire.obedient.wait_for("on_connected") == [transport]
    await wire.send(url, "a")
    assert await wire.obedient.wait_for("on_message") == ["a"]


@pytest.mark.parametrize("second", RECEIVERS)
@pytest.mark.parametrize("first", ["xhr", "jsonp"])
async def test_any_transport_goes_on_with_a_session_of_another(wire: Wire, first: str, second: str) -> None:
    """Rule 5.2."""
    url = wire.new()
    assert await (await wire.receive(url, first)).frame() == "o"
    await wire.send(url, "a")
    assert await (await wire.receive(url, second)).frame() == 'a["a"]'


@pytest.mark.parametrize("second", RECEIVERS)
@pytest.mark.parametrize("first", RECEIVERS)
async def test_a_second_receiver_is_told_2010_and_the_first_stays(wire: Wire, first: str, second: str) -> None:
    """Rule 5.3."""
    url = await wire.open()
    receiver = await wire.receive(url, first)
    await wire.settle()
    for _ in range(2):
        rival = await wire.receive(url, second)
        assert await rival.frame() == BUSY
        await rival.end()
    await wire.send(url, "still here")
    assert await receiver.frame() == 'a["still here"]'


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("transport", STREAMS)
async def test_a_refused_receiver_that_breaks_off_harms_nobody(wire: Wire, transport: str, ending: str) -> None:
    """Rule 5.3."""
    url = wire.new("/plain")
    receiver = await wire.receive(url, transport)
    assert await receiver.frame() == "o"
    rival = await wire.connect()
    method, end = RECEIVERS[transport]
    await rival.ask(method, f"{url}/{end}")
    await getattr(rival, ending)()
    await wire.send(url, "still here")
    assert await receiver.frame() == 'a["still here"]'
    assert "on_transport_error" not in wire.obedient.names()


async def test_many_rivals_at_once_are_all_told(wire: Wire) -> None:
    """Rule 5.3."""
    url = wire.new()
    frames = []
    receivers = [await wire.receive(url, "xhr_streaming") for _ in range(10)]
    for receiver in receivers:
        frames.append(await receiver.frame())
    assert frames == ["o"] + [BUSY] * 9
    await wire.send(url, "a")
    assert await receivers[0].frame() == 'a["a"]'


async def test_polls_that_follow_each_other_at_once_are_never_told_2010(wire: Wire) -> None:
    """Rule 5.3."""
    url = await wire.open()
    first, second = await wire.connect(), await wire.connect()
    for number in range(100):
        await wire.send(url, str(number))
        poll = await wire.receive(url, "xhr", (first, second)[number % 2])
        assert await poll.frame() == f'a["{number}"]'


@pytest.mark.parametrize("transport", ["", *RECEIVERS])
async def test_a_client_that_stays_away_loses_its_session(wire: Wire, transport: str) -> None:
    """Rule 5.4."""
    url = await wire.open("/brief")
    if transport:  # having come back before changes nothing
        await wire.send(url, "x" * 200_000)
        receiver = await wire.receive(url, transport)
        assert await receiver.frame() == f'a["{"x" * 200_000}"]'
        await receiver.end()
    assert await wire.obedient.wait_for("on_closed") == [Close(1006, "Client did not come back", clean=False)]
    assert (await wire.request("POST", f"{url}/xhr_send", b'["a"]')).status == 404
    assert await wire.poll(url) == "o"
    assert len(await wire.obedient.wait_for("on_connected", 2)) == 2


async def test_sending_does_not_keep_a_session(wire: Wire) -> None:
    """Rule 5.5."""
    begin = time.monotonic()
    url = await wire.open("/brief")
    async with asyncio.timeout(GUARD):
        while (await wire.request("POST", f"{url}/xhr_send", b'["a"]')).status == 204:
            await wire.obedient.wait_for("on_message")
    assert time.monotonic() >= begin + 0.1


async def test_an_attached_receiver_keeps_a_session(wire: Wire) -> None:
    """Rule 5.5."""
    url = await wire.open("/brief")
    poll = await wire.receive(url)
    other = await wire.open("/brief")
    await wire.obedient.wait_for("on_closed")  # the other one's, which was opened later
    await wire.send(url, "a")
    assert await poll.frame() == 'a["a"]'
    assert (await wire.request("POST", f"{other}/xhr_send", b'["a"]')).status == 404


@pytest.mark.parametrize("next_transport", RECEIVERS)
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("transport", ABORTED)
async def test_after_an_abort_the_next_receiver_is_told_and_not_2010(
    wire: Wire, transport: str, ending: str, next_transport: str
) -> None:
    """Rule 5.6."""
    url = await wire.open("/plain")
    standby = await wire.connect()  # a connection that is open already gives the server no time
    cut = await wire.receive(url, transport)
    await wire.settle()
    await getattr(cut.connection, ending)()
    receiver = await wire.receive(url, next_transport, standby)
    frame = await receiver.frame()
    assert frame in ("o", INTERRUPTED)
    if frame == INTERRUPTED:
        await receiver.end()
        assert await wire.poll(url) == INTERRUPTED


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("transport", STREAMS)
async def test_a_session_whose_first_stream_was_cut_is_told_as_well(wire: Wire, transport: str, ending: str) -> None:
    """Rule 5.6."""
    url = wire.new()
    cut = await wire.receive(url, transport)
    assert await cut.frame() == "o"
    await getattr(cut.connection, ending)()
    assert await wire.poll(url) in ("o", INTERRUPTED)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("transport", ABORTED)
async def test_the_application_hears_of_an_abort_without_a_next_receiver(
    wire: Wire, transport: str, ending: str
) -> None:
    """Rule 5.7."""
    url = await wire.open("/brief")
    cut = await wire.receive(url, transport)
    await wire.settle()
    await getattr(cut.connection, ending)()
    (error,) = await wire.obedient.wait_for("on_transport_error")
    assert isinstance(error, ConnectionLost)
    assert await wire.obedient.wait_for("on_closed") == [Close(1002, "Connection interrupted", clean=False)]
    assert wire.obedient.names() == ["on_start"] * wire.obedient.names().count("on_start") + [
        "on_connected",
        "on_transport_error",
        "on_closed",
    ]


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_stream_cut_while_it_is_written_to_is_noticed(wire: Wire, transport: str) -> None:
    """Rule 5.7."""
    url = wire.new("/brief")
    cut = await wire.receive(url, transport)
    assert await cut.frame() == "o"
    sends = asyncio.gather(*(wire.request("POST", f"{url}/xhr_send", b'["%b"]' % (b"x" * 9000)) for _ in range(20)))
    await cut.connection.reset()
    assert {answer.status for answer in await sends} <= {204, 404}
    await wire.obedient.wait_for("on_closed")
    async with asyncio.timeout(GUARD):
        while (await wire.request("POST", f"{url}/xhr_send", b'["a"]')).status != 404:
            await wire.settle()


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_stream_shows_open_then_close_if_the_open_handler_closes(wire: Wire, transport: str) -> None:
    """Rule 5.8."""
    receiver = await wire.receive(wire.new("/close"), transport)
    assert await receiver.frame() == "o"
    assert await receiver.frame() == GO_AWAY
    await receiver.end()


async def test_a_poll_shows_open_and_the_next_one_close_if_the_open_handler_closes(wire: Wire) -> None:
    """Rule 5.8."""
    url = await wire.open("/close")
    for _ in range(3):
        assert await wire.poll(url) == GO_AWAY


@pytest.mark.parametrize("transport", RECEIVERS)
async def test_a_close_reaches_the_waiting_receiver_after_what_was_sent_before(wire: Wire, transport: str) -> None:
    """Rule 5.9."""
    url = await wire.open("/plain")
    receiver = await wire.receive(url, transport)
    await wire.settle()
    await wire.send(url, "farewell")
    assert await receiver.frame() == 'a["one","two"]'
    if transport in STREAMS:
        assert await receiver.frame() == 'c[4001,"Bye"]'
        await receiver.end()
    assert await wire.poll(url) == 'c[4001,"Bye"]'


async def test_messages_that_wait_are_delivered_before_a_late_receiver_hears_of_the_close(wire: Wire) -> None:
    """Rule 5.9."""
    url = await wire.open("/plain")
    await wire.send(url, "farewell")
    assert await wire.poll(url) == 'a["one","two"]'
    assert await wire.poll(url) == 'c[4001,"Bye"]'


@pytest.mark.parametrize("transport", RECEIVERS)
async def test_a_late_receiver_is_told_the_true_close_code(wire: Wire, transport: str) -> None:
    """Rule 5.10."""
    url = await wire.open("/plain")
    await wire.send(url, 'close 4999 The "true" reason \u2028')
    for _ in range(3):
        receiver = await wire.receive(url, transport)
        frame = await receiver.frame()
        assert frame.isascii()
        assert frame[0] == "c"
        assert json.loads(frame[1:]) == [4999, 'The "true" reason \u2028']
        await receiver.end()


async def test_a_closed_session_is_forgotten_though_somebody_polls_it(wire: Wire) -> None:
    """Rule 5.11."""
    begin = time.monotonic()
    url = await wire.open("/brief")
    await wire.send(url, "close 4001 Bye")
    async with asyncio.timeout(GUARD):
        while (frame := await wire.poll(url)) == 'c[4001,"Bye"]':
            await wire.settle()
    assert frame == "o"
    assert time.monotonic() >= begin + 0.1


async def test_an_interrupted_session_is_forgotten_though_somebody_polls_it(wire: Wire) -> None:
    """Rule 5.11."""
    url = await wire.open("/brief")
    cut = await wire.receive(url)
    await wire.settle()
    await cut.connection.reset()
    async with asyncio.timeout(GUARD):
        while (frame := await wire.poll(url)) == INTERRUPTED:
            await wire.settle()
    assert frame == "o"


@pytest.mark.parametrize("transport", STREAMS)
async def test_an_idle_stream_gets_heartbeats(wire: Wire, transport: str) -> None:
    """Rule 5.12."""
    url = wire.new("/beat")
    receiver = await wire.receive(url, transport)
    assert [await receiver.frame() for _ in range(3)] == ["o", "h", "h"]
    await wire.send(url, "a")
    frames = [await receiver.frame()]
    while frames[-1] == "h":
        frames.append(await receiver.frame())
    assert frames[-1] == 'a["a"]'


@pytest.mark.parametrize("transport", ["xhr", "jsonp"])
async def test_a_heartbeat_ends_a_poll(wire: Wire, transport: str) -> None:
    """Rule 5.12."""
    url = await wire.open("/beat")
    for _ in range(2):
        assert await (await wire.receive(url, transport)).frame() == "h"


async def test_no_heartbeat_before_its_time(wire: Wire) -> None:
    """Rule 5.12."""
    url = await wire.open("/brief")
    poll = await wire.receive(url)
    await wire.open("/brief")
    await wire.obedient.wait_for("on_closed")  # that takes 0.2 seconds, and heartbeats here 25
    await wire.send(url, "a")
    assert await poll.frame() == 'a["a"]'


@pytest.mark.parametrize("transport", RECEIVERS)
async def test_open_comes_before_anything_the_application_does(wire: Wire, transport: str) -> None:
    """Rule 5.13."""
    url = wire.new("/slow")
    assert await (await wire.receive(url, transport)).frame() == "o"
    assert not wire.hesitant.gate.is_set()
    wire.hesitant.gate.set()


async def test_the_secret_of_a_session_is_not_in_the_logs(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    """Rule 5.14."""
    caplog.set_level(logging.DEBUG)
    secret = uuid4().hex
    url = f"/brief/000/{secret}"
    assert (await wire.request("POST", f"{url}/xhr_send", b'["a"]')).status == 404
    assert await wire.poll(url) == "o"
    await wire.send(url, "hush", "close 4001 Bye")
    await wire.request("POST", f"{url}/xhr_send", b"[hush")
    await wire.obedient.wait_for("on_closed")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("sockbridge")]
    assert ours
    assert not [line for line in ours if secret in line or "hush" in line]
    (session,) = {session for _, session, _ in wire.obedient.calls if session is not None}
    assert session.id != secret
    assert any(session.id in line for line in ours)


async def test_messages_of_parallel_sends_arrive_in_the_order_of_the_requests(wire: Wire) -> None:
    """Rule 5.15."""
    url = await wire.open("/plain")
    connections = [await wire.connect() for _ in range(20)]
    await wire.settle()
    for number, connection in enumerate(connections):
        await connection.ask("POST", f"{url}/xhr_send", b'["%d"]' % number)
    for connection in connections:
        assert (await connection.answer()).status == 204
    messages: list[str] = []
    while len(messages) < 20:
        messages += json.loads((await wire.poll(url))[1:])
    assert messages == [str(number) for number in range(20)]


async def test_one_session_s_end_touches_no_other(wire: Wire) -> None:
    """Rule 5.15."""
    other = await wire.open("/plain")
    waiting = await wire.receive(other)
    url = await wire.open("/plain")
    await wire.settle()
    await wire.send(url, "close 4001 Bye")
    assert await wire.poll(url) == 'c[4001,"Bye"]'
    await wire.send(other, "a")
    assert await waiting.frame() == 'a["a"]'
