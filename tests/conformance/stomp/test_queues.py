"""Section 8: queues of the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sockbridge.errors import QueueFull
from sockbridge.stomp import EmbeddedBroker

from .clients import Client, ServerFrame
from .site import ALL_CARRIERS, VERSIONS, Site, serve_stomp

JOBS = "/queue/jobs"
DEAD = "/queue/dead-letters"
ACKING = ("client", "client-individual")
SEVERAL = ("tcp", "websocket", "sockjs", "xhr")
"""One of each kind of carrier."""


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """With a broker that has queues, and the limits of production."""
    async with serve_stomp(broker=EmbeddedBroker(queues=["/queue"]), disconnect_grace=0.2) as site:
        yield site


async def consume(client: Client, destination: str = JOBS, id: str = "sub-0", **headers: str) -> list[str]:
    """SUBSCRIBE; gives the bodies of what comes before its RECEIPT."""
    return bodies(await client.ask("SUBSCRIBE", {"id": id, "destination": destination, **headers}))


def bodies(frames: list[ServerFrame]) -> list[str]:
    return [frame.text for frame in frames]


async def leave(client: Client, way: str) -> None:
    """Stop to consume, and perhaps to be there."""
    if way == "UNSUBSCRIBE":
        await client.ask("UNSUBSCRIBE", {"id": "sub-0"})
    elif way == "DISCONNECT":
        await client.ask("DISCONNECT")
    else:
        await client.vanish()


# Who gets what.


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_each_message_of_a_queue_goes_to_one_consumer_in_turn(site: Site, carrier: str) -> None:
    """Rule 8.1: sockbridge's own; RabbitMQ and ActiveMQ do the same. Who subscribes twice has two turns."""
    one, two = await site.connect(carrier), await site.connect("tcp")
    await one.subscribe(JOBS, "a")
    await one.subscribe(JOBS, "b")
    await two.subscribe(JOBS)
    await site.put(JOBS, *range(9))
    assert [(frame.headers["subscription"], frame.text) for frame in await one.messages(6)] == [
        ("a", "0"),
        ("b", "1"),
        ("a", "3"),
        ("b", "4"),
        ("a", "6"),
        ("b", "7"),
    ]
    assert bodies(await two.settle()) == ["2", "5", "8"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_queue_keeps_its_messages_until_somebody_consumes_them(site: Site, version: str, carrier: str) -> None:
    """Rule 8.2: sockbridge's own; in the order of their sending, more than go out in one turn."""
    publisher = await site.connect("tcp")
    await publisher.write("".join(f"SEND\ndestination:{JOBS}\n\n{number}\0" for number in range(200)))
    await publisher.settle()
    client = await site.connect(carrier, version)
    await client.send("SUBSCRIBE", {"id": "1", "destination": JOBS})
    frames = await client.messages(200)
    assert bodies(frames) == [str(number) for number in range(200)]
    assert {frame.headers["destination"] for frame in frames} == {JOBS}
    assert all("redelivered" not in frame.headers for frame in frames)
    assert site.broker.counters.settled == 200
    assert site.broker.held == 0


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_receipt_of_a_send_means_that_the_message_is_in_its_queue(site: Site, carrier: str) -> None:
    """Rule 8.3: STOMP 1.2, "RECEIPT": it outlives the one who sent it."""
    client = await site.connect(carrier)
    assert await client.ask("SEND", {"destination": JOBS}, "job") == []
    assert len(site.broker.queues[JOBS]) == 1
    await client.vanish()
    assert await consume(await site.connect("tcp")) == ["job"]


async def test_headers_of_a_message_in_a_queue_reach_its_consumer(site: Site) -> None:
    """Rule 8.4: STOMP 1.2, "MESSAGE"; those that the broker sets cannot be forged, ``persistent`` has no effect."""
    client = await site.connect("tcp")
    await client.subscribe(JOBS)
    forged = ("redelivered", "x-delivery-count", "x-missed", "x-offset", "x-epoch")
    forged += ("x-first-death-queue", "x-first-death-reason", "x-first-death-count")
    sent = {"persistent": "true", "priority": "9", "content-type": "a/b", "correlation-id": "x:y"}
    (frame,) = await client.ask("SEND", {"destination": JOBS, **sent, **dict.fromkeys(forged, "forged")}, "job")
    assert sent.items() <= frame.headers.items()
    assert not set(forged) & set(frame.headers)


# Acknowledging.


@pytest.mark.parametrize("way", ["UNSUBSCRIBE", "DISCONNECT", "gone"])
@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_in_mode_auto_a_message_is_done_when_it_is_written(site: Site, carrier: str, way: str) -> None:
    """Rule 8.5: STOMP 1.2, "SUBSCRIBE ack Header": the server assumes that it has arrived."""
    client = await site.connect(carrier)
    await client.subscribe(JOBS)
    await site.put(JOBS, "job")
    await client.message()
    await leave(client, way)
    assert site.broker.counters.settled == 1
    assert await consume(await site.connect("tcp")) == []


@pytest.mark.parametrize("way", ["UNSUBSCRIBE", "DISCONNECT", "gone"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ACKING)
async def test_what_was_not_acknowledged_comes_again_in_its_old_place(
    site: Site, mode: str, version: str, way: str
) -> None:
    """Rule 8.6: STOMP 1.2, "SUBSCRIBE ack Header", "ACK": for another, before what was never given out."""
    client = await site.connect("tcp", version)
    await client.subscribe(JOBS, ack=mode, **{"prefetch-count": "4"})
    await site.put(JOBS, *range(6))
    frames = await client.messages(4)
    assert bodies(frames) == ["0", "1", "2", "3"]
    await client.send("ACK", client.settling(frames[1]))
    await client.messages(2 if mode == "client" else 1)
    await leave(client, way)
    left = {"client": ["2", "3", "4", "5"], "client-individual": ["0", "2", "3", "4", "5"]}[mode]
    await site.until(lambda: len(site.broker.queues.get(JOBS, ())) == len(left))
    assert await consume(await site.connect("tcp", version)) == left


@pytest.mark.parametrize("carrier", SEVERAL)
async def test_a_consumer_that_is_lost_on_any_carrier_gives_its_messages_back(carrier: str) -> None:
    """Rule 8.6: as soon as its carrier, or the ``disconnect_delay`` of SockJS, says that it has gone."""
    async with serve_stomp(broker=EmbeddedBroker(queues=["/queue"]), options={"disconnect_delay": 0.3}) as site:
        client = await site.connect(carrier)
        await client.subscribe(JOBS, ack="client-individual")
        other = await site.connect("tcp")
        await site.put(JOBS, *range(3))
        assert bodies(await client.messages(3)) == ["0", "1", "2"]
        await other.subscribe(JOBS)
        await client.vanish()
        frames = await other.messages(3)
        assert [(frame.text, frame.headers["redelivered"]) for frame in frames] == [
            ("0", "true"),
            ("1", "true"),
            ("2", "true"),
        ]


async def test_a_message_that_comes_again_says_so_and_how_often_it_came_before(site: Site) -> None:
    """Rule 8.7: as RabbitMQ and ActiveMQ (``redelivered``); the count: RabbitMQ's quorum queues."""
    client = await site.connect("tcp")
    await client.subscribe(JOBS, ack="client-individual")
    await site.put(JOBS, "job")
    frame = await client.message()
    assert not {"redelivered", "x-delivery-count"} & set(frame.headers)
    ids = {frame.headers["message-id"]}
    for count in ("1", "2", "3"):
        await client.send("NACK", client.settling(frame))
        frame = await client.message()
        assert (frame.headers["redelivered"], frame.headers["x-delivery-count"]) == ("true", count)
        ids.add(frame.headers["message-id"])
    assert len(ids) == 1  # it is the same message, for the same subscription
    assert site.broker.counters.redelivered == 3


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_nack_puts_a_message_back_for_whoever_has_room(site: Site, version: str) -> None:
    """Rule 8.8: STOMP 1.2, "NACK"; the place: sockbridge's own."""
    client, other = await site.connect("tcp", version), await site.connect("tcp", version)
    await client.subscribe(JOBS, ack="client-individual", **{"prefetch-count": "1"})
    await site.put(JOBS, "first", "second", "third")
    first = await client.message()
    assert await consume(other, ack="client-individual", **{"prefetch-count": "1"}) == ["second"]
    assert bodies(await client.acknowledge(first, command="NACK")) == ["first"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_in_mode_client_a_nack_is_about_all_that_came_before_as_well(site: Site, version: str) -> None:
    """Rule 8.8: STOMP 1.2, "NACK": the same as ACK, the other way round."""
    client = await site.connect("tcp", version)
    await client.subscribe(JOBS, ack="client", **{"prefetch-count": "3"})
    await site.put(JOBS, *range(3))
    frames = await client.messages(3)
    again = await client.acknowledge(frames[1], command="NACK")
    assert bodies(again) == ["0", "1"]
    assert await client.acknowledge(frames[2]) == []
    assert site.broker.counters.settled == 1  # it was given out before the others came again
    assert await client.acknowledge(again[1]) == []
    assert site.broker.counters.settled == 3


@pytest.mark.parametrize("carrier", SEVERAL)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_nack_without_requeue_sends_a_message_to_the_dead_letters(
    site: Site, version: str, carrier: str
) -> None:
    """Rule 8.9: as RabbitMQ: its header ``requeue``."""
    client = await site.connect(carrier, version)
    await client.subscribe(JOBS, ack="client-individual")
    await site.put(JOBS, "bad", "good")
    bad, good = await client.messages(2)
    assert await client.acknowledge(bad, command="NACK", requeue="false") == []
    (again,) = await client.acknowledge(good, command="NACK", requeue="true")
    assert again.text == "good"
    assert await consume(await site.connect("tcp"), DEAD) == ["bad"]


@pytest.mark.parametrize("value", ["maybe", "FALSE", "0", ""])
async def test_requeue_is_true_or_false(site: Site, value: str) -> None:
    """Rule 8.10: sockbridge's own: a typing error must not bring back what was to be thrown away."""
    client = await site.connect("tcp")
    await client.subscribe(JOBS, ack="client-individual")
    await site.put(JOBS, "job")
    frame = await client.message()
    await client.send("NACK", {**client.settling(frame), "requeue": value})
    await client.refused("requeue")
    await site.until(lambda: len(site.broker.queues.get(JOBS, ())) == 1)


async def test_a_message_that_nobody_can_do_is_given_out_so_often_and_no_more() -> None:
    """Rule 8.11: sockbridge's own; the reason is worded as RabbitMQ does. The default is 20."""
    async with serve_stomp(broker=EmbeddedBroker(queues=["/queue"], max_deliveries=3)) as site:
        client = await site.connect("tcp")
        await client.subscribe(JOBS, ack="client-individual")
        await site.put(JOBS, "job")
        for count in range(3):
            frame = await client.message()
            assert frame.headers.get("x-delivery-count", "0") == str(count)
            await client.send("NACK", client.settling(frame))
        assert await client.settle() == []
        coroner = await site.connect("tcp")
        (frame,) = await coroner.ask("SUBSCRIBE", {"id": "1", "destination": DEAD})
        assert (frame.headers["x-first-death-reason"], frame.headers["x-first-death-count"]) == ("delivery_limit", "3")


async def test_an_ack_after_unsubscribe_comes_too_late(site: Site) -> None:
    """Rule 8.12: sockbridge's own; harmless, but the message has gone back already."""
    client = await site.connect("tcp")
    await client.subscribe(JOBS, ack="client-individual")
    await site.put(JOBS, "job")
    frame = await client.message()
    assert await client.ask("UNSUBSCRIBE", {"id": "sub-0"}) == []
    assert await client.acknowledge(frame) == []
    assert await consume(client) == ["job"]


@pytest.mark.parametrize(
    ("command", "headers", "text"),
    [
        ("ACK", {"id": "1-999"}, "waits for none"),
        ("NACK", {"id": "1-999"}, "waits for none"),
        ("ACK", {"id": "1-1", "transaction": "t"}, "unknown transaction"),
        ("SEND", {"destination": JOBS, "transaction": "t"}, "unknown transaction"),
        ("SEND", {"destination": "/queue/*"}, "no wildcards"),
        ("SUBSCRIBE", {"id": "2", "destination": "/reply-queue/x"}, "somebody else's, or gone"),
    ],
)
async def test_a_fault_of_a_consumer_loses_none_of_its_messages(
    site: Site, command: str, headers: dict[str, str], text: str
) -> None:
    """Rule 8.13: STOMP 1.2, "ERROR": the connection ends; so what it had not acknowledged goes to others."""
    client, other = await site.connect("tcp"), await site.connect("tcp")
    await client.subscribe(JOBS, ack="client-individual")
    await site.put(JOBS, *range(3))
    await client.acknowledge((await client.messages(3))[1])
    await client.send(command, headers)
    await client.refused(text)
    await site.until(lambda: len(site.broker.queues.get(JOBS, ())) == 2)
    assert await consume(other) == ["0", "2"]


# How much at a time.


@pytest.mark.parametrize("name", ["prefetch-count", "activemq.prefetchSize"])
@pytest.mark.parametrize("mode", ACKING)
@pytest.mark.parametrize("carrier", SEVERAL)
async def test_a_consumer_has_as_many_unacknowledged_messages_as_it_wants(
    site: Site, carrier: str, mode: str, name: str
) -> None:
    """Rule 8.14: RabbitMQ, ``prefetch-count``; ActiveMQ, ``activemq.prefetchSize``."""
    client = await site.connect(carrier)
    await site.put(JOBS, *range(7))
    assert await consume(client, ack=mode, **{name: "3"}) == ["0", "1", "2"]
    assert await client.settle() == []
    await client.ask("UNSUBSCRIBE", {"id": "sub-0"})
    frames = await client.ask("SUBSCRIBE", {"id": "sub-0", "destination": JOBS, "ack": mode, name: "3"})
    assert bodies(await client.acknowledge(frames[0])) == ["3"]
    assert bodies(await client.acknowledge(frames[2])) == (["4", "5"] if mode == "client" else ["4"])


@pytest.mark.parametrize(
    ("wanted", "count"), [({}, 5), ({"prefetch-count": "0"}, 8), ({"prefetch-count": "1000000"}, 8)]
)
async def test_the_server_says_how_many_where_a_consumer_does_not(wanted: dict[str, str], count: int) -> None:
    """Rule 8.15: sockbridge's own: ``prefetch`` and ``max_prefetch``, 100 and 1000 by default; 0 wants the most."""
    async with serve_stomp(broker=EmbeddedBroker(queues=["/queue"], prefetch=5, max_prefetch=8)) as site:
        await site.put(JOBS, *range(10))
        client = await site.connect("tcp")
        assert len(await consume(client, ack="client", **wanted)) == count
        assert await client.settle() == []


@pytest.mark.parametrize("value", ["many", "-1", "+1", "1.5", "", "\u0661", "9" * 16])
@pytest.mark.parametrize("name", ["prefetch-count", "activemq.prefetchSize"])
async def test_a_prefetch_is_digits(site: Site, name: str, value: str) -> None:
    """Rule 8.16: sockbridge's own; the message that waits is not lost."""
    await site.put(JOBS, "job")
    client = await site.connect("tcp")
    await client.send("SUBSCRIBE", {"id": "1", "destination": JOBS, name: value, "receipt": "r"})
    assert (await client.refused(f"{name} is no number")).headers["receipt-id"] == "r"
    assert len(site.broker.queues[JOBS]) == 1


@pytest.mark.parametrize("mode", ["auto", *ACKING])
async def test_a_consumer_that_does_not_read_gets_no_more_and_others_do(site: Site, mode: str) -> None:
    """Rule 8.17: sockbridge's own: at most 64 KiB and one message wait for it, and none is lost."""
    slow, quick = await site.connect("xhr"), await site.connect("tcp")
    await slow.subscribe(JOBS, ack=mode)
    await site.put(JOBS, *(f"{number:02}" + "x" * 10_000 for number in range(20)))
    assert len(site.broker.queues[JOBS]) == 20 - 7  # seven are more than 64 KiB
    assert [body[:2] for body in await consume(quick)] == [f"{number:02}" for number in range(7, 20)]
    await site.put(JOBS, "more")
    assert bodies(await quick.settle()) == ["more"]
    await quick.ask("UNSUBSCRIBE", {"id": "sub-0"})
    await site.put(JOBS, "last")
    frames = await slow.messages(8)
    assert [frame.text[:4] for frame in frames] == [*(f"{number:02}xx" for number in range(7)), "last"]


@pytest.mark.parametrize("carrier", ["xhr", "xhr_streaming", "sockjs"])
async def test_a_backlog_reaches_a_client_in_order_however_it_fetches(site: Site, carrier: str) -> None:
    """Rule 8.17: 3000 messages, more than wait for one client at a time."""
    for number in range(3000):
        await site.server.messaging.send(JOBS, f"{number}".ljust(200))
    client = await site.connect(carrier)
    await client.send("SUBSCRIBE", {"id": "1", "destination": JOBS})
    assert [int(frame.text) for frame in await client.messages(3000)] == list(range(3000))
    assert len(site.server) == 1 or carrier == "xhr"


async def test_octets_that_sockjs_cannot_carry_go_to_another_consumer(site: Site) -> None:
    """Rule 8.18: sockbridge's own; where nobody can take them, they are dead after so many tries."""
    page, service = await site.connect("sockjs"), await site.connect("tcp")
    await page.subscribe(JOBS)
    await service.subscribe(JOBS)
    publisher = await site.connect("tcp")
    for _ in range(2):
        await publisher.ask("SEND", {"destination": JOBS}, b"\xff\xfe")
    assert [frame.body for frame in await service.settle()] == [b"\xff\xfe"] * 2
    await service.ask("UNSUBSCRIBE", {"id": "sub-0"})
    await publisher.ask("SEND", {"destination": JOBS}, b"\xff\xfe")
    assert await page.settle() == []
    assert len(site.broker.queues[DEAD]) == 1


async def test_what_waits_for_another_consumer_holds_up_nothing(site: Site) -> None:
    """Rule 8.18: sockbridge's own."""
    page, service = await site.connect("sockjs"), await site.connect("tcp")
    await service.subscribe(JOBS, ack="client-individual", **{"prefetch-count": "1"})
    await site.put(JOBS, "work")
    work = await service.message()
    await page.subscribe(JOBS)
    publisher = await site.connect("tcp")
    await publisher.ask("SEND", {"destination": JOBS}, b"\xff\xfe")
    await site.put(JOBS, "1", "2")
    assert [frame.text for frame in await page.messages(2)] == ["1", "2"]
    assert len(site.broker.queues[JOBS]) == 1
    await service.send("ACK", service.settling(work))
    assert (await service.message()).body == b"\xff\xfe"


# What becomes of messages that nobody wants.


async def test_a_message_expires(site: Site) -> None:
    """Rule 8.19: RabbitMQ, ``expiration``: milliseconds; what has expired is given to nobody."""
    await site.put(JOBS, "soon", expiration="1")
    await site.put(JOBS, "later", expiration="3600000")
    await site.until(lambda: site.broker.counters.dead == 1)
    client = await site.connect("tcp")
    assert await consume(client) == ["later"]
    (frame,) = await client.ask("SUBSCRIBE", {"id": "2", "destination": DEAD})
    assert (frame.text, frame.headers["x-first-death-reason"]) == ("soon", "expired")
    assert "expiration" not in frame.headers


async def test_a_message_that_expires_while_somebody_works_on_it_does_not_come_again(site: Site) -> None:
    """Rule 8.19: it may still be acknowledged."""
    client = await site.connect("tcp")
    await client.subscribe(JOBS, ack="client-individual")
    await site.put(JOBS, "taken", "given back", expiration="30")
    taken, given_back = await client.messages(2)
    started = asyncio.get_running_loop().time()
    await site.until(lambda: asyncio.get_running_loop().time() - started > 0.03)
    assert await client.acknowledge(taken) == []
    assert await client.acknowledge(given_back, command="NACK") == []
    assert (site.broker.counters.settled, site.broker.counters.dead) == (1, 1)


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "", " 1", "9" * 16])
async def test_an_expiration_is_digits(site: Site, value: str) -> None:
    """Rule 8.20: sockbridge's own; what was sent before is not lost."""
    client = await site.connect("tcp")
    await client.ask("SEND", {"destination": JOBS}, "before")
    await client.send("SEND", {"destination": JOBS, "expiration": value, "receipt": "r"}, "x")
    assert (await client.refused("expiration is no number")).headers["receipt-id"] == "r"
    assert await consume(await site.connect("tcp")) == ["before"]


@pytest.mark.parametrize("dead_letters", [DEAD, "/topic/dead", "/queue/morgue"])
async def test_dead_letters_say_what_they_died_of(dead_letters: str) -> None:
    """Rule 8.21: RabbitMQ, ``x-first-death-queue``, ``-reason``; the count and the place: sockbridge's own."""
    broker = EmbeddedBroker(queues=["/queue"], dead_letters="" if dead_letters == DEAD else dead_letters)
    async with serve_stomp(broker=broker) as site:
        coroner, client = await site.connect("websocket"), await site.connect("tcp")
        await coroner.subscribe(dead_letters)
        await client.subscribe(JOBS, ack="client")
        await site.put(JOBS, "body", **{"content-type": "a/b", "x-first-death-queue": "forged"})
        await client.acknowledge(await client.message(), command="NACK", requeue="false")
        frame = await coroner.message()
        death = {name: value for name, value in frame.headers.items() if name.startswith("x-first-death")}
        assert death == {
            "x-first-death-queue": JOBS,
            "x-first-death-reason": "rejected",
            "x-first-death-count": "1",
        }
        assert (frame.text, frame.headers["content-type"], frame.headers["destination"]) == (
            "body",
            "a/b",
            dead_letters,
        )


async def test_what_dies_among_the_dead_letters_is_gone() -> None:
    """Rule 8.22: sockbridge's own; nor does their queue refuse anything: its oldest make room. Both are counted."""
    async with serve_stomp(broker=EmbeddedBroker(queues=["/queue"], max_queue_length=2)) as site:
        client = await site.connect("tcp")
        await client.subscribe(JOBS, ack="client-individual")
        for number in range(3):
            await site.put(JOBS, number)
            await client.acknowledge(await client.message(), command="NACK", requeue="false")
        assert (len(site.broker.queues[DEAD]), site.broker.counters.dropped) == (2, 1)
        frames = await client.ask("SUBSCRIBE", {"id": "2", "destination": DEAD, "ack": "client"})
        assert bodies(frames) == ["1", "2"]
        await client.acknowledge(frames[1], command="NACK", requeue="false")
        assert (site.broker.counters.dropped, site.broker.counters.dead, site.broker.held) == (3, 3, 0)
        assert DEAD not in site.broker.queues or len(site.broker.queues[DEAD]) == 0


# Limits.


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_full_queue_refuses_more_and_keeps_what_it_has(carrier: str) -> None:
    """Rule 8.23: sockbridge's own; ``on_queue_full="refuse"``, the default. The ERROR names the limit."""
    async with serve_stomp(broker=EmbeddedBroker(queues=["/queue"], max_queue_length=3)) as site:
        client = await site.connect(carrier)
        for number in range(3):
            assert await client.ask("SEND", {"destination": JOBS}, str(number)) == []
        await client.send("SEND", {"destination": JOBS, "receipt": "r"}, "one too many")
        frame = await client.refused("queue full")
        assert (frame.headers["receipt-id"], frame.text) == ("r", f"{JOBS} holds max_queue_length (3) messages")
        with pytest.raises(QueueFull, match=r"max_queue_length"):
            await site.server.messaging.send(JOBS, "one too many")
        assert site.broker.counters.refused == 2
        assert await consume(await site.connect("tcp")) == ["0", "1", "2"]
        await site.put(JOBS, "room again")


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ({"max_queue_size": 20_000}, f"{JOBS} may hold max_queue_size (20000) bytes"),
        ({"max_size": 20_000}, "the broker may hold max_size (20000) bytes"),
        ({"max_queues": 1}, "there are max_queues (1) queues"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_other_limits_of_queues_are_named_as_well(limit: dict[str, int], text: str) -> None:
    """Rule 8.24: sockbridge's own."""
    async with serve_stomp(broker=EmbeddedBroker(queues=["/queue"], **limit)) as site:  # type: ignore[arg-type]
        await site.put("/queue/first", "x" * 5000)
        client = await site.connect("tcp")
        await client.send("SEND", {"destination": JOBS}, "x" * 20_001)
        assert (await client.refused("queue full")).text == text
        if "max_queues" in limit:
            client = await site.connect("tcp")
            await client.send("SUBSCRIBE", {"id": "1", "destination": JOBS})
            assert (await client.refused("too many queues")).text == text
        assert await consume(await site.connect("tcp"), "/queue/first") == ["x" * 5000]


async def test_a_full_queue_may_drop_its_oldest_instead() -> None:
    """Rule 8.25: sockbridge's own; ``on_queue_full="drop_oldest"``; the reason is worded as RabbitMQ does."""
    broker = EmbeddedBroker(queues=["/queue"], max_queue_length=2, on_queue_full="drop_oldest")
    async with serve_stomp(broker=broker) as site:
        await site.put(JOBS, *range(4))
        client = await site.connect("tcp")
        assert await consume(client) == ["2", "3"]
        frames = await client.ask("SUBSCRIBE", {"id": "2", "destination": DEAD})
        assert [(frame.text, frame.headers["x-first-death-reason"]) for frame in frames] == [
            ("0", "maxlen"),
            ("1", "maxlen"),
        ]


@pytest.mark.parametrize("destination", ["/queue/*", "/queue/**", "/queue/a?", "/queue/{name}"])
@pytest.mark.parametrize("command", ["SUBSCRIBE", "SEND"])
async def test_a_queue_s_destination_is_no_pattern(site: Site, command: str, destination: str) -> None:
    """Rule 8.26: sockbridge's own: which of several queues would be meant?"""
    client = await site.connect("tcp")
    await client.send(command, {"id": "1", "destination": destination, "receipt": "r"})
    assert (await client.refused()).headers["receipt-id"] == "r"
    assert len(site.broker.queues) == 0


async def test_durable_means_nothing_for_a_queue(site: Site) -> None:
    """Rule 8.27: as RabbitMQ: a queue keeps its messages anyway; nor does it need a ``client-id``."""
    client = await site.connect("tcp")
    await client.subscribe(JOBS, durable="true")
    assert await client.ask("UNSUBSCRIBE", {"id": "sub-0"}) == []
    await site.put(JOBS, "job")
    assert await consume(client, durable="true") == ["job"]


async def test_a_queue_that_is_empty_and_unattended_is_forgotten(site: Site) -> None:
    """Rule 8.28: sockbridge's own: names cost nothing."""
    client = await site.connect("tcp")
    for number in range(50):
        await client.subscribe(f"/queue/{number}", "1")
        await client.publish(f"/queue/{number}", "x")
        await client.message()
        await client.ask("UNSUBSCRIBE", {"id": "1"})
    assert (len(site.broker.queues), len(site.broker), site.broker.held) == (0, 0, 0)


@pytest.mark.parametrize("command", ["SUBSCRIBE", "SEND"])
async def test_without_a_policy_queues_are_the_application_s(command: str) -> None:
    """Rule 8.29: sockbridge's own: who takes a message takes it from all others."""
    async with serve_stomp(broker=EmbeddedBroker(queues=["/queue"]), policy=None) as site:
        await site.server.messaging.send(JOBS, "job")
        for destination in (JOBS, DEAD):
            client = await site.connect("tcp")
            await client.send(command, {"id": "1", "destination": destination, "receipt": "r"})
            assert (await client.refused("not allowed")).headers["receipt-id"] == "r"
        assert len(site.broker.queues[JOBS]) == 1
