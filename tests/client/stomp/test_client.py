"""A client over many connections: subscriptions, breaks, reconnects, the end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

import pytest

from sockbridge.client.backoff import Backoff
from sockbridge.client.stomp.client import Client
from sockbridge.client.stomp.inbox import READ_ON
from sockbridge.errors import (
    ClientError,
    ConnectFailed,
    InDoubt,
    InvalidFrame,
    InvalidOption,
    LoginRefused,
    ReceiptTimeout,
    SessionClosed,
    SessionLost,
    StaleMessage,
    StompError,
)
from tests.client.stomp.fakes import Exchange, FakeLink, client, options
from tests.fakes import GUARD
from tests.transports.wire import until

AT_ONCE = Backoff(first=1e-6, limit=1e-6)


@pytest.fixture(autouse=True)
async def no_task_is_left() -> Any:
    yield
    async with asyncio.timeout(GUARD):
        while rest := [task for task in asyncio.all_tasks() if "stomp" in task.get_name()]:
            await asyncio.wait(rest)


async def subscribed(made: Client, link: FakeLink, destination: str = "/topic/a", **how: Any) -> Any:
    """A subscription that the server has confirmed."""
    async with asyncio.timeout(GUARD):
        subscription, _ = await asyncio.gather(_await(made.subscribe(destination, **how)), link.confirm("SUBSCRIBE"))
    return subscription


async def _await(awaitable: Any) -> Any:
    return await awaitable


# Sending.


@pytest.mark.parametrize("destination", ["", None, 1])
async def test_a_destination_is_text(destination: Any) -> None:
    async with client(FakeLink()) as made:
        with pytest.raises(InvalidFrame):
            await made.send(destination)
        with pytest.raises(InvalidFrame):
            made.subscribe(destination)


async def test_a_body_that_cannot_be_written_is_told_before_anything_is_sent() -> None:
    link = FakeLink()
    async with client(link) as made:
        with pytest.raises(TypeError):
            await made.send("/a", object())
        with pytest.raises(InvalidFrame):
            await made.send("/a", headers={"content-length": "3"})
        assert link.is_quiet


@pytest.mark.parametrize(
    ("body", "content_type", "octets"),
    [
        ("ä", "text/plain;charset=UTF-8", "ä".encode()),
        (b"\xff\0", "application/octet-stream", b"\xff\0"),
        ({"a": [1]}, "application/json", b'{"a":[1]}'),
        (None, "application/json", b"null"),
        (b"", None, b""),
    ],
)
async def test_what_a_body_is_decides_how_it_is_written(body: object, content_type: str | None, octets: bytes) -> None:
    link = FakeLink()
    async with client(link) as made:
        await made.send("/a", body, headers={"x": "y"})
        frame = await link.frame("SEND")
        assert frame.headers.get("content-type") == content_type
        assert (frame.destination, frame.body, frame.headers["x"]) == ("/a", octets, "y")
        await made.send("/a", body, content_type="text/x")
        assert (await link.frame("SEND")).headers["content-type"] == "text/x"


# Subscribing.


async def test_wrong_arguments_of_a_subscription_are_told_at_the_call() -> None:
    async with client(FakeLink()) as made:
        with pytest.raises(InvalidOption):
            made.subscribe("/a", ack="individual")
        with pytest.raises(InvalidFrame):
            made.subscribe("/a", headers={"id": "1"})


async def test_an_id_is_taken_once_at_a_time() -> None:
    link = FakeLink()
    async with client(link) as made:
        one = await subscribed(made, link, id="x")
        with pytest.raises(InvalidFrame, match="'x'"):
            await made.subscribe("/b", id="x")
        with pytest.raises(InvalidFrame):
            await one
        async with asyncio.timeout(GUARD):
            await asyncio.gather(one.unsubscribe({"durable": "true"}), link.confirm("UNSUBSCRIBE"))
        with pytest.raises(InvalidFrame, match="ended"):
            await one
        await subscribed(made, link, id="x")


async def test_messages_go_to_their_subscriptions_and_others_are_counted() -> None:
    link = FakeLink()
    async with client(link) as made:
        a, b = await subscribed(made, link), await subscribed(made, link, "/topic/b")
        link.message("nobody")
        link.message(b.id, "for b")
        link.message(a.id, "for a")
        async with asyncio.timeout(GUARD):
            assert ((await a.receive()).text, (await b.receive()).text) == ("for a", "for b")
        assert made.unclaimed == 1


async def test_in_1_0_a_message_may_name_its_destination_only() -> None:
    link = FakeLink(version="1.0")
    async with client(link) as made:
        one = await subscribed(made, link)
        link.say("MESSAGE", {"destination": "/topic/b", "message-id": "1"})
        link.say("MESSAGE", {"destination": "/topic/a", "message-id": "2"}, "x")
        async with asyncio.timeout(GUARD):
            assert (await one.receive()).text == "x"
        assert made.unclaimed == 1


async def test_a_subscription_that_is_refused_is_no_more() -> None:
    link = FakeLink()
    async with client(link) as made:
        subscribing = asyncio.create_task(_await(made.subscribe("/a")))
        await link.frame("SUBSCRIBE")
        link.say("ERROR", {"message": "not allowed"})
        with pytest.raises(StompError, match="not allowed"):
            await subscribing


async def test_a_subscription_that_is_not_confirmed_or_cancelled_is_taken_back() -> None:
    """The server may have heard of it, and would send for ever."""
    link = FakeLink()
    async with client(link, timeout=0.05) as made:
        with pytest.raises(ReceiptTimeout):
            await made.subscribe("/a")
        ids = [(await link.frame("SUBSCRIBE")).headers["id"], (await link.frame("UNSUBSCRIBE")).headers["id"]]
        assert ids[0] == ids[1]
        subscribing = asyncio.create_task(_await(made.subscribe("/a")))
        await link.frame("SUBSCRIBE")
        subscribing.cancel()
        await asyncio.wait([subscribing])
        await link.frame("UNSUBSCRIBE")


async def test_a_block_that_fails_takes_its_subscription_back_without_waiting() -> None:
    link = FakeLink()
    async with client(link) as made:

        async def work() -> None:
            async with made.subscribe("/a", ack="client") as one:
                raise ZeroDivisionError(one.id)

        working = asyncio.create_task(work())
        await link.confirm("SUBSCRIBE")
        with pytest.raises(ZeroDivisionError):
            await working
        await link.frame("UNSUBSCRIBE")


async def test_an_id_that_was_abandoned_is_used_again_when_nothing_late_can_come() -> None:
    link = FakeLink()
    async with client(link) as made, asyncio.timeout(GUARD):
        subscribing = asyncio.create_task(_await(made.subscribe("/old", id="x")))
        receipt = (await link.frame("SUBSCRIBE")).headers["receipt"]
        subscribing.cancel()
        await asyncio.wait([subscribing])
        leaving = await link.frame("UNSUBSCRIBE")
        subscribing = asyncio.create_task(_await(made.subscribe("/new", id="x")))
        link.say("RECEIPT", {"receipt-id": receipt})
        link.message("x", "late")
        link.say("RECEIPT", {"receipt-id": leaving.headers["receipt"]})
        await link.confirm("SUBSCRIBE")
        one = await subscribing
        link.message("x", "new")
        assert (await one.receive()).text == "new"
        assert made.unclaimed == 1


async def test_without_a_receipt_a_subscription_does_not_wait() -> None:
    link = FakeLink()
    async with client(link) as made, made.subscribe("/a", receipt=False, headers={"selector": "x"}):
        frame = await link.frame("SUBSCRIBE")
        assert frame.headers == {"id": "s1", "destination": "/a", "ack": "auto", "selector": "x"}
    assert (await link.frame("UNSUBSCRIBE")).headers == {"id": "s1"}


async def test_what_comes_before_the_unsubscribe_is_served_is_not_lost_in_mode_auto() -> None:
    link = FakeLink()
    async with client(link) as made:
        one = await subscribed(made, link)
        leaving = asyncio.create_task(one.unsubscribe())
        frame = await link.frame("UNSUBSCRIBE")
        await one.unsubscribe()  # does nothing
        link.message(one.id, "late")
        link.say("RECEIPT", {"receipt-id": frame.headers["receipt"]})
        await leaving
        link.message(one.id, "too late")
        assert [message.text async for message in one] == ["late"]
        assert link.is_quiet


async def test_in_the_other_modes_it_goes_back() -> None:
    link = FakeLink()
    async with client(link) as made:
        one = await subscribed(made, link, ack="client-individual")
        link.message(one.id, "early")
        leaving = asyncio.create_task(one.unsubscribe())
        frame = await link.frame("UNSUBSCRIBE")
        link.message(one.id, "late")
        link.say("RECEIPT", {"receipt-id": frame.headers["receipt"]})
        await leaving
        assert [message.text async for message in one] == []


async def test_a_slow_subscription_stops_the_reading_and_loses_nothing() -> None:
    link = FakeLink()
    async with client(link, receive_buffer_limit=2000, timeout=0.05) as made:
        slow = await subscribed(made, link)
        for number in range(50):
            link.message(slow.id, str(number))
        with pytest.raises(ReceiptTimeout, match="nobody empties"):
            await asyncio.gather(made.send("/a", receipt=True), link.confirm("SEND"))
        assert len(slow) <= READ_ON * 2000 / 500 + 1
        async with asyncio.timeout(GUARD):
            assert [int((await slow.receive()).text) for _ in range(50)] == list(range(50))


# The end without reconnecting.


@pytest.mark.parametrize("is_error", [False, True])
async def test_a_break_ends_waiters_of_every_kind(is_error: bool) -> None:
    link = FakeLink()
    async with client(link) as made:
        one = await subscribed(made, link)
        acked = await subscribed(made, link, ack="client")
        link.message(acked.id)
        message = await acked.receive()
        waiting = {
            "receive": asyncio.create_task(one.receive()),
            "iterate": asyncio.create_task(anext(aiter(one))),
            "send": asyncio.create_task(made.send("/a", receipt=True)),
            "subscribe": asyncio.create_task(_await(made.subscribe("/b"))),
            "ack": asyncio.create_task(message.ack(receipt=True)),
        }
        for _ in range(3):
            await link.frame()
        if is_error:
            link.say("ERROR", {"message": "no"})
        else:
            link.cut()
        for name, task in waiting.items():
            with pytest.raises(StompError if is_error else SessionLost) as caught:
                await task
            assert isinstance(caught.value, InDoubt) == (not is_error and name in ("send", "subscribe", "ack"))
        for call in (made.send("/a"), made.send("/a", receipt=True), one.receive(), _await(made.subscribe("/c"))):
            with pytest.raises(StompError if is_error else SessionLost):
                await call
        assert not made.is_connected
        await one.unsubscribe()


async def test_close_says_goodbye_and_ends_everything_and_may_be_called_twice() -> None:
    link = FakeLink()
    async with client(link, close_timeout=GUARD) as made:
        one = await subscribed(made, link)
        taking = asyncio.create_task(one.receive())
        iterating = asyncio.create_task(_collect(one))
        closing = [asyncio.create_task(made.close()) for _ in range(2)]
        await link.confirm("DISCONNECT")
        async with asyncio.timeout(GUARD):
            await asyncio.gather(*closing)
        assert link.is_closed
        with pytest.raises(SessionClosed):
            await taking
        assert await iterating == []
        with pytest.raises(SessionClosed):
            await made.send("/a")
        await made.close()


async def test_a_second_close_waits_for_the_goodbye_of_the_first() -> None:
    link = FakeLink()
    async with client(link, close_timeout=GUARD) as made, asyncio.timeout(GUARD):
        closing = [asyncio.create_task(made.close()) for _ in range(2)]
        goodbye = await link.frame("DISCONNECT")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not link.is_closed
        assert not any(task.done() for task in closing)
        link.say("RECEIPT", {"receipt-id": goodbye.headers["receipt"]})
        await asyncio.gather(*closing)


async def test_a_client_whose_connection_breaks_at_once_is_freed_by_close() -> None:
    link = FakeLink()
    async with client(link) as made:
        link.cut()
    link = FakeLink()
    made = Client("fake://", Exchange(link).dial, {}, options())

    async def use() -> None:
        await made.start()
        link.cut()
        with pytest.raises(SessionLost):
            await made.send("/a")
        await made.close()

    async with asyncio.timeout(GUARD):
        await asyncio.gather(use(), link.log_in())
    assert link.is_closed


async def _collect(subscription: Any) -> list[str]:
    return [message.text async for message in subscription]


async def test_close_does_not_wait_for_a_server_that_says_nothing() -> None:
    link = FakeLink()
    async with client(link, close_timeout=0.01) as made, asyncio.timeout(GUARD):
        await made.close()
        await link.frame("DISCONNECT")
    assert link.is_closed


async def test_a_goodbye_that_is_cut_off_is_no_error() -> None:
    link = FakeLink()
    async with client(link, close_timeout=GUARD, reconnect=True) as made:
        closing = asyncio.create_task(made.close())
        await link.frame("DISCONNECT")
        link.cut()
        async with asyncio.timeout(GUARD):
            await closing
        assert made.reconnects == 0


async def test_a_close_that_is_cancelled_frees_everything() -> None:
    link = FakeLink()
    async with client(link, close_timeout=GUARD) as made:
        closing = asyncio.create_task(made.close())
        await link.frame("DISCONNECT")
        closing.cancel()
        await asyncio.wait([closing])
        await made.close()
        assert link.is_closed


async def test_a_client_that_was_never_started_is_closed_at_once() -> None:
    made = Client("fake://", Exchange().dial, {}, options())
    await made.close()
    with pytest.raises(SessionClosed):
        _ = made.version
    with pytest.raises(ConnectFailed):
        await made.start()


async def test_a_refused_login_is_told_and_frees_the_link() -> None:
    link = FakeLink()
    link.say("ERROR", {"message": "no"})
    with pytest.raises(LoginRefused):
        async with client(link):
            raise AssertionError
    assert link.is_closed


async def test_a_cancelled_login_frees_the_link() -> None:
    link = FakeLink()
    starting = asyncio.create_task(Client("fake://", Exchange(link).dial, {}, options()).start())
    await link.frame("CONNECT")
    starting.cancel()
    await asyncio.wait([starting])
    assert link.is_closed


# Reconnecting.


async def test_after_a_break_all_subscriptions_stand_again_with_their_ids() -> None:
    first, second = FakeLink(), FakeLink()
    reasons: asyncio.Queue[ClientError] = asyncio.Queue()
    async with client(first, second, reconnect=AT_ONCE, on_reconnect=reasons.put_nowait) as made:
        a = await subscribed(made, first, headers={"selector": "x"})
        b = await subscribed(made, first, "/topic/b", ack="client")
        first.message(a.id, "before")
        async with asyncio.timeout(GUARD):
            first.message(b.id)
            await b.receive()
            first.cut("pulled the plug")
            assert (await second.log_in()).headers["login"] == "ann"
            frames = [await second.confirm("SUBSCRIBE") for _ in range(2)]
            assert "pulled the plug" in str(await reasons.get())
            await made.send("/a")
            await second.frame("SEND")
            second.message(a.id, "after")
            assert [(await a.receive()).text for _ in range(2)] == ["before", "after"]
        assert first.is_closed
        assert made.reconnects == 1
        assert [{name: frame.headers[name] for name in ("id", "ack")} for frame in frames] == [
            {"id": a.id, "ack": "auto"},
            {"id": b.id, "ack": "client"},
        ]
        assert frames[0].headers["selector"] == "x"
        assert (a.missed, b.missed) == (None, None), "nobody knows"


async def test_what_the_server_keeps_is_asked_for_and_what_is_gone_is_counted() -> None:
    first, second = FakeLink(), FakeLink()
    async with client(first, second, reconnect=AT_ONCE) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, first)
        first.message(one.id, "7", x_epoch="e", x_offset="7")
        await one.receive()
        first.cut()
        await second.log_in()
        frame = await second.confirm("SUBSCRIBE", x_missed="3", x_epoch="e", x_offset="11")
        assert {"x-since": "7", "x-epoch": "e"}.items() <= frame.headers.items()
        second.message(one.id, "11", x_epoch="e", x_offset="11", x_missed="3")
        message = await one.receive()
        assert (message.missed, one.missed, one.place) == (3, 3, ("e", 11))


async def test_what_waits_for_a_receipt_is_in_doubt_and_never_sent_again() -> None:
    first, second = FakeLink(), FakeLink()
    async with client(first, second, reconnect=AT_ONCE) as made, asyncio.timeout(GUARD):
        sending = asyncio.create_task(made.send("/a", "job", receipt=True))
        await first.frame("SEND")
        first.cut()
        with pytest.raises(InDoubt) as caught:
            await sending
        assert caught.value.in_doubt == (b"job",)
        await second.log_in()
        sending = asyncio.create_task(made.send("/b", receipt=True))
        assert (await second.confirm("SEND")).destination == "/b"
        await sending


async def test_what_is_sent_while_there_is_no_connection_waits_for_one() -> None:
    first, second = FakeLink(), FakeLink()
    async with client(first, second, reconnect=AT_ONCE) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, first)
        first.cut()
        await second.frame("CONNECT")
        sending = asyncio.create_task(made.send("/a", receipt=True))
        subscribing = asyncio.create_task(_await(made.subscribe("/b")))
        second.say("CONNECTED", {"version": "1.2"})
        assert (await second.confirm("SUBSCRIBE")).headers["id"] == one.id
        await second.confirm("SUBSCRIBE")
        await second.confirm("SEND")  # behind all subscriptions
        await asyncio.gather(sending, subscribing)


async def test_a_subscription_whose_connection_breaks_stands_in_the_next_one() -> None:
    first, second = FakeLink(), FakeLink()
    async with client(first, second, reconnect=AT_ONCE) as made, asyncio.timeout(GUARD):
        subscribing = asyncio.create_task(_await(made.subscribe("/topic/a")))
        await first.frame("SUBSCRIBE")
        first.cut()
        await second.log_in()
        await second.confirm("SUBSCRIBE")
        one = await subscribing
        assert one.missed == 0
        assert second.is_quiet
        second.message(one.id, "x")
        assert (await one.receive()).text == "x"


async def test_acks_of_the_old_connection_are_void() -> None:
    first, second = FakeLink(), FakeLink()
    async with client(first, second, reconnect=AT_ONCE) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, first, ack="client-individual")
        for body in ("taken", "not taken"):
            first.message(one.id, body)
        message = await one.receive()
        first.cut()
        await second.log_in()
        await second.confirm("SUBSCRIBE")
        with pytest.raises(StaleMessage):
            await message.ack()
        assert one.voided == 1
        second.message(one.id, "taken", redelivered="true")
        assert (await one.receive()).text == "taken"


async def test_one_that_was_unsubscribed_while_there_was_no_connection_does_not_come_back() -> None:
    first, second = FakeLink(), FakeLink()
    async with client(first, second, reconnect=AT_ONCE) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, first)
        first.cut()
        await second.frame("CONNECT")
        await one.unsubscribe()
        second.say("CONNECTED", {"version": "1.2"})
        await made.send("/a")
        await second.frame("SEND")


async def test_an_error_is_told_and_then_it_connects_again() -> None:
    first, second = FakeLink(), FakeLink()
    async with client(first, second, reconnect=AT_ONCE) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, first)
        sending = asyncio.create_task(made.send("/a", receipt=True))
        subscribing = asyncio.create_task(_await(made.subscribe("/secret")))
        await first.frame("SEND")
        await first.frame("SUBSCRIBE")
        first.say("ERROR", {"message": "no"})
        for task in (sending, subscribing):
            with pytest.raises(StompError, match="no"):
                await task
        await second.log_in()
        assert (await second.confirm("SUBSCRIBE")).headers["id"] == one.id
        second.message(one.id, "x")
        assert (await one.receive()).text == "x"
        assert second.is_quiet, "what was refused is not asked for again"


@pytest.mark.parametrize("at", ["CONNECT", "SUBSCRIBE"])
async def test_what_is_refused_on_the_way_back_ends_it(at: str) -> None:
    first, second, third = FakeLink(), FakeLink(), FakeLink()
    async with client(first, second, third, reconnect=AT_ONCE) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, first)
        first.cut()
        if at == "SUBSCRIBE":
            await second.log_in()
        await second.frame(at)
        second.say("ERROR", {"message": "not any more"})
        with pytest.raises(LoginRefused if at == "CONNECT" else StompError, match="not any more"):
            await one.receive()
        with pytest.raises(StompError):
            await made.send("/a")
        assert second.is_closed
        assert third.is_quiet


async def test_it_tries_until_there_is_a_connection_on_which_all_stand() -> None:
    links = [FakeLink() for _ in range(4)]
    first, broken, silent, last = links
    async with client(first, None, broken, silent, last, reconnect=AT_ONCE, timeout=0.2) as made:
        async with asyncio.timeout(GUARD):
            one = await subscribed(made, first)
            first.cut()
            await broken.log_in()
            await broken.frame("SUBSCRIBE")
            broken.cut()
            await silent.log_in()  # confirms nothing
            await last.log_in()
            await last.confirm("SUBSCRIBE")
            await made.send("/a")
            await last.frame("SEND")
        assert made.reconnects == 1
        assert one.is_active
        assert all(link.is_closed for link in (first, broken, silent))


async def test_it_gives_up_after_so_many_attempts() -> None:
    first = FakeLink()
    backoff = Backoff(first=1e-6, limit=1e-6, attempts=3)
    async with client(first, reconnect=backoff) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, first)
        sending = asyncio.create_task(made.send("/a", receipt=True))
        await first.frame("SEND")
        first.cut("cut")
        with pytest.raises(InDoubt):
            await sending
        with pytest.raises(ConnectFailed, match="cut; given up after 3 attempts to connect again: the exchange has"):
            await one.receive()
        with pytest.raises(ConnectFailed):
            await made.send("/a")


async def test_a_server_that_breaks_every_new_connection_is_asked_less_and_less(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.0)  # no pause, but each connection is a short one
    links = [FakeLink() for _ in range(5)]
    async with client(*links, reconnect=Backoff(first=60, limit=600, attempts=3)) as made, asyncio.timeout(GUARD):
        links[0].say("ERROR", {"message": "go away\\nCRITICAL: forged"})
        for link in links[1:4]:
            await link.log_in()
            link.say("ERROR", {"message": "go away"})
        await until(lambda: "ended" in repr(made))
        with pytest.raises(ConnectFailed, match="go away; given up after 3 attempts"):
            await made.send("/a")
        assert links[4].is_quiet
        assert r"go away\nCRITICAL: forged; connecting again" in caplog.text


async def test_after_a_connection_that_lived_for_a_while_all_attempts_count_anew() -> None:
    links = [FakeLink() for _ in range(4)]
    backoff = Backoff(first=1e-6, limit=1e-6, attempts=1)
    async with client(*links, reconnect=backoff) as made, asyncio.timeout(GUARD):
        for link, following in itertools.pairwise(links):
            link.cut()
            await following.log_in()
            await made.send("/a")
            await following.frame("SEND")
        assert made.reconnects == 3


async def test_a_subscription_that_the_next_version_cannot_say_ends_it_with_that_reason() -> None:
    first, second, third = FakeLink(), FakeLink(version="1.0"), FakeLink()
    async with client(first, second, third, reconnect=AT_ONCE) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, first, headers={"a:b": "c"})
        first.cut()
        await second.log_in()
        with pytest.raises(InvalidFrame, match=r"'a:b' of SUBSCRIBE .* 1\.0"):
            await one.receive()
        with pytest.raises(InvalidFrame):
            await made.send("/a")
        assert second.is_closed
        assert third.is_quiet


async def test_a_fault_of_our_own_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    link = FakeLink()
    links: list[FakeLink] = [link]

    async def dial() -> FakeLink:
        return links.pop()

    made = Client("fake://", dial, {}, options(reconnect=AT_ONCE))
    async with asyncio.timeout(GUARD):
        await asyncio.gather(made.start(), link.log_in())
        one = await subscribed(made, link)
        link.cut()
        with pytest.raises(SessionLost, match="IndexError"):
            await one.receive()
        await made.close()
    assert "the client failed" in caplog.text


@pytest.mark.parametrize("piece", [b"NONSENSE\n\n\0", None])
async def test_it_does_not_come_back_where_that_is_of_no_use(piece: bytes | None) -> None:
    first, second = FakeLink(), FakeLink()
    async with client(first, second, reconnect=AT_ONCE) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, first)
        if piece:
            first.say_raw(piece)
        else:
            first.cut("the server closed the connection (1008 kicked)", may_return=False)
        with pytest.raises(SessionLost):
            await one.receive()
        assert second.is_quiet


async def test_close_ends_the_attempts_to_connect_again() -> None:
    first = FakeLink()
    async with client(first, reconnect=Backoff(first=1000, limit=1000)) as made, asyncio.timeout(GUARD):
        one = await subscribed(made, first)
        sending = asyncio.create_task(_sends_after_a_break(made, first))
        await sending
        waiting = asyncio.create_task(made.send("/a"))
        await asyncio.sleep(0)
        await made.close()
        with pytest.raises(SessionClosed):
            await waiting
        assert [message async for message in one] == []


async def _sends_after_a_break(made: Client, link: FakeLink) -> None:
    link.cut()
    with pytest.raises(InDoubt):
        await made.send("/a", receipt=True)


async def test_close_in_the_middle_of_a_reconnect_frees_both_links() -> None:
    first, second = FakeLink(), FakeLink()
    async with client(first, second, reconnect=AT_ONCE) as made, asyncio.timeout(GUARD):
        first.cut()
        await second.frame("CONNECT")
        await made.close()
    assert first.is_closed
    assert second.is_closed


async def test_on_reconnect_may_wait_for_the_connection_that_breaks_again() -> None:
    first, second, third = FakeLink(), FakeLink(), FakeLink()
    told: list[str] = []
    is_done = asyncio.Event()
    made: Client

    async def greet(reason: ClientError) -> None:
        told.append("begun")
        await made.send("/hello", receipt=True)
        told.append("done")
        is_done.set()

    async with client(first, second, third, reconnect=AT_ONCE, on_reconnect=greet) as made, asyncio.timeout(GUARD):
        first.cut()
        await second.log_in()
        await second.frame("SEND")
        second.cut()
        await third.log_in()
        await third.confirm("SEND")
        await is_done.wait()
        assert told == ["begun", "begun", "done"]


async def test_on_reconnect_that_will_not_end_does_not_keep_the_client(caplog: pytest.LogCaptureFixture) -> None:
    first, second = FakeLink(), FakeLink()
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def cling(reason: ClientError) -> None:
        has_begun.set()
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    async with client(first, second, reconnect=AT_ONCE, on_reconnect=cling) as made, asyncio.timeout(GUARD):
        first.cut()
        await second.log_in()
        await has_begun.wait()
        await made.close()
        assert "on_reconnect was cancelled and goes on" in caplog.text
        may_end.set()


async def test_on_reconnect_that_fails_is_logged_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    first, second = FakeLink(), FakeLink()

    def fail(reason: ClientError) -> None:
        raise ZeroDivisionError

    async with client(first, second, reconnect=AT_ONCE, on_reconnect=fail) as made, asyncio.timeout(GUARD):
        first.cut()
        await second.log_in()
        await made.send("/a", receipt=False)
        await second.frame("SEND")
    assert "on_reconnect failed" in caplog.text


async def test_it_says_what_it_is() -> None:
    link = FakeLink()
    async with client(link) as made:
        assert (made.version, made.transport, made.server, made.user_name) == ("1.2", "fake", {"version": "1.2"}, None)
        assert repr(made) == "<stomp Client fake://server connected>"
    assert "ended" in repr(made)
