"""Section 4: receipts, and BEGIN, COMMIT, ABORT."""

from __future__ import annotations

import asyncio

import pytest

from sockbridge.stomp import Controller, EmbeddedBroker

from .clients import Client
from .site import ALL_CARRIERS, VERSIONS, Site, serve_stomp

TOPIC = {"destination": "/topic/a"}
JOBS = "/queue/jobs"
DONE = "/queue/done"


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_every_frame_of_a_client_may_ask_for_a_receipt(site: Site, version: str, carrier: str) -> None:
    """Rule 4.1: STOMP 1.2, "receipt", "RECEIPT"; ``ask`` waits for it, and for nothing else."""
    client = await site.connect(carrier, version)
    assert await client.ask("SUBSCRIBE", {"id": "1", **TOPIC, "ack": "client"}) == []
    (frame,) = await client.ask("SEND", TOPIC, "x")
    id = frame.headers.get("ack", frame.headers["message-id"])
    assert await client.ask("ACK", {"id": id, "message-id": id, "subscription": "1"}) == []
    for command in ("BEGIN", "COMMIT", "BEGIN", "ABORT"):
        assert await client.ask(command, {"transaction": "t"}) == []
    assert await client.ask("UNSUBSCRIBE", {"id": "1"}) == []
    assert await client.ask("DISCONNECT") == []


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_receipt_comes_after_the_effect(site: Site, carrier: str) -> None:
    """Rule 4.2: STOMP 1.2, "RECEIPT": has been processed; so what others send from then on arrives."""
    publisher = await site.connect("tcp")
    for number in range(5):
        client = await site.connect(carrier)
        await client.subscribe("/topic/a")
        await publisher.ask("SEND", TOPIC, str(number))
        assert (await client.message()).text == str(number)


async def test_a_receipt_of_a_send_comes_after_it_was_published(site: Site) -> None:
    """Rule 4.2."""
    publisher, subscriber = await site.connect("tcp"), await site.connect("tcp")
    await subscriber.subscribe("/topic/a")
    await publisher.ask("SEND", TOPIC, "x")
    assert [frame.text for frame in await subscriber.settle()] == ["x"]


async def test_a_frame_that_fails_gets_an_error_with_its_receipt_id_and_no_receipt(site: Site) -> None:
    """Rule 4.3: STOMP 1.2, "ERROR": SHOULD set ``receipt-id``."""
    client = await site.connect("tcp")
    await client.send("COMMIT", {"transaction": "none", "receipt": "r9"})
    assert (await client.refused("unknown transaction")).headers["receipt-id"] == "r9"


async def test_a_frame_that_cannot_be_read_is_named_by_its_receipt_as_well(site: Site) -> None:
    """Rule 4.3."""
    client = await site.connect("tcp")
    await client.write("SEND\nreceipt:r9\ndestination:/topic/a\nx:\\t\n\n\0")
    assert (await client.refused("undefined escape")).headers["receipt-id"] == "r9"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", ["BEGIN", "COMMIT", "ABORT"])
async def test_a_transaction_has_a_name(site: Site, command: str, version: str) -> None:
    """Rule 4.4: STOMP 1.2, "BEGIN", "COMMIT", "ABORT"."""
    for lines in ("x:1\n", "transaction:\n"):
        client = await site.connect("tcp", version)
        await client.write(f"{command}\n{lines}\n\0")
        await client.refused(f"{command} without transaction")


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_sent_in_a_transaction_is_published_at_its_commit(site: Site, version: str, carrier: str) -> None:
    """Rules 4.5 and 4.6: STOMP 1.2, "COMMIT"; in order, and the receipts of its frames come then."""
    client = await site.connect(carrier, version)
    subscriber = await site.connect("tcp")
    await subscriber.subscribe("/topic/a")
    await client.send("BEGIN", {"transaction": "t"})
    for number in range(3):
        await client.publish("/topic/a", str(number), transaction="t", receipt=f"s{number}")
    assert await client.settle() == []
    assert await subscriber.settle() == []
    await client.send("COMMIT", {"transaction": "t", "receipt": "commit"})
    receipts = [(await client.receive()).headers["receipt-id"] for _ in range(4)]
    assert sorted(receipts) == ["commit", "s0", "s1", "s2"]
    frames = await subscriber.settle()
    assert [frame.text for frame in frames] == ["0", "1", "2"]
    assert all("transaction" not in frame.headers for frame in frames)


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_an_abort_drops_what_was_sent_in_the_transaction(site: Site, carrier: str) -> None:
    """Rule 4.7: STOMP 1.2, "ABORT"; receipts of what was dropped never come."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/a")
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish("/topic/a", "x", transaction="t", receipt="never")
    assert await client.ask("ABORT", {"transaction": "t"}) == []
    assert await client.settle() == []


@pytest.mark.parametrize("command", ["ACK", "NACK"])
async def test_an_ack_in_a_transaction_counts_from_its_commit(site: Site, command: str) -> None:
    """Rule 4.8: STOMP 1.2, "ACK"; after an ABORT the message still waits for one."""
    client = await site.connect("tcp")
    await client.subscribe("/topic/a", ack="client-individual")
    await client.publish("/topic/a", "x")
    headers = {"id": (await client.message()).headers["ack"]}
    await client.send("BEGIN", {"transaction": "t"})
    await client.send(command, {**headers, "transaction": "t"})
    assert await client.ask("ABORT", {"transaction": "t"}) == []
    await client.send("BEGIN", {"transaction": "t"})
    await client.send(command, {**headers, "transaction": "t"})
    assert await client.ask("COMMIT", {"transaction": "t"}) == []
    await client.send(command, headers)
    await client.refused("waits for none")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_name_is_open_once_at_a_time(site: Site, version: str) -> None:
    """Rule 4.9: STOMP 1.2, "BEGIN"; ended, it may be used again."""
    client = await site.connect("tcp", version)
    for end in ("COMMIT", "ABORT"):
        assert await client.ask("BEGIN", {"transaction": "t"}) == []
        assert await client.ask(end, {"transaction": "t"}) == []
    await client.send("BEGIN", {"transaction": "t"})
    await client.send("BEGIN", {"transaction": "t"})
    await client.refused("open already")


@pytest.mark.parametrize("command", ["COMMIT", "ABORT", "SEND", "ACK", "NACK"])
async def test_an_unknown_transaction_is_an_error(site: Site, command: str) -> None:
    """Rule 4.10: STOMP 1.2, "COMMIT", "SEND", "ACK"."""
    client = await site.connect("tcp")
    other = await site.connect("tcp")
    await other.ask("BEGIN", {"transaction": "t"})  # of another connection: names are each client's own
    await client.send(command, {**TOPIC, "id": "1-1", "transaction": "t"})
    await client.refused("unknown transaction")


async def test_several_transactions_may_be_open(site: Site) -> None:
    """Rule 4.11: STOMP 1.2, "BEGIN"; each has its own frames."""
    client = await site.connect("tcp")
    await client.subscribe("/topic/a")
    for name in ("t1", "t2"):
        await client.send("BEGIN", {"transaction": name})
    for name in ("t1", "t2", "t1"):
        await client.publish("/topic/a", name, transaction=name)
    assert [frame.text for frame in await client.ask("COMMIT", {"transaction": "t2"})] == ["t2"]
    assert await client.ask("ABORT", {"transaction": "t1"}) == []


@pytest.mark.parametrize("way", ["DISCONNECT", "gone"])
async def test_what_is_open_at_the_end_is_dropped(site: Site, way: str) -> None:
    """Rule 4.12: STOMP 1.2, "DISCONNECT", "BEGIN": implicitly aborted."""
    subscriber = await site.connect("tcp")
    await subscriber.subscribe("/topic/a")
    client = await site.connect("websocket")
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish("/topic/a", "x", transaction="t")
    await client.settle()
    if way == "DISCONNECT":
        await client.ask("DISCONNECT")
    await client.vanish()
    await site.forget()
    assert await subscriber.settle() == []


async def test_subscriptions_are_never_part_of_a_transaction(site: Site) -> None:
    """Rule 4.13: STOMP 1.2, "SUBSCRIBE" has no such header; it takes effect at once."""
    client = await site.connect("tcp")
    await client.send("BEGIN", {"transaction": "t"})
    await client.subscribe("/topic/a", transaction="t")
    await client.publish("/topic/a", "x")
    assert (await client.message()).text == "x"


# Over queues.


async def waiting(site: Site, destination: str) -> list[str]:
    """What waits in a queue; it is empty afterwards."""
    client = await site.connect("tcp")
    frames = await client.ask("SUBSCRIBE", {"id": "1", "destination": destination})
    await client.ask("DISCONNECT")
    return [frame.text for frame in frames]


async def begun(client: Client) -> dict[str, str]:
    """A transaction of ``client``; the header that makes a frame part of it."""
    await client.ask("BEGIN", {"transaction": "t"})
    return {"transaction": "t"}


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_commit_takes_a_job_and_puts_its_result_both_or_neither(version: str, carrier: str) -> None:
    """Rule 4.14: STOMP 1.2, "COMMIT", "ABORT": SEND, ACK and NACK of a transaction apply in order at its COMMIT."""
    async with serve_stomp(broker=EmbeddedBroker(queues=["/queue"]), disconnect_grace=0.2) as site:
        client = await site.connect(carrier, version)
        await client.subscribe(JOBS, ack="client-individual")
        await site.put(JOBS, "job", "not now")
        job, not_now = await client.messages(2)
        for end in ("ABORT", "COMMIT"):
            held = await begun(client)
            await client.publish(DONE, f"{end} 1", **held)
            await client.send("ACK", {**client.settling(job), **held})
            await client.publish(DONE, f"{end} 2", **held)
            assert await client.settle() == []
            assert (site.broker.counters.settled, DONE in site.broker.queues) == (0, False)
            assert await client.ask(end, held) == []
        assert site.broker.counters.settled == 1
        held = await begun(client)
        await client.send("NACK", {**client.settling(not_now), **held})
        assert await client.settle() == []
        assert [frame.text for frame in await client.ask("COMMIT", held)] == ["not now"]
        await client.ask("DISCONNECT")
        assert await waiting(site, DONE) == ["COMMIT 1", "COMMIT 2"]
        assert await waiting(site, JOBS) == ["not now"]


@pytest.mark.parametrize(
    ("command", "headers", "text"),
    [
        ("SEND", {"destination": "/queue/full"}, "max_queue_length (2)"),
        ("SEND", {"destination": "/queue/another"}, "max_queues (3)"),
        ("SEND", {"destination": "/queue/*"}, "no wildcards"),
        ("SEND", {"destination": DONE, "expiration": "soon"}, "expiration is no number"),
        ("SEND", {"destination": DONE, "x": "y" * 4000}, "max_queue_size (4000)"),
        ("ACK", {"id": "1-999"}, "waits for none"),
        ("NACK", {"id": "1-999"}, "waits for none"),
    ],
)
async def test_a_commit_that_cannot_be_done_whole_is_an_error_and_nothing_of_it_happens(
    command: str, headers: dict[str, str], text: str
) -> None:
    """Rule 4.15: sockbridge's own: all of it is checked before any of it has an effect."""
    broker = EmbeddedBroker(queues=["/queue"], max_queue_length=2, max_queues=3, max_queue_size=4000)
    async with serve_stomp(broker=broker) as site:
        await site.put("/queue/full", "1", "2")
        listener = await site.connect("tcp")
        await listener.subscribe("/topic/a")
        client = await site.connect("tcp")
        await client.subscribe(JOBS, ack="client")
        await site.put(JOBS, "job")
        job = await client.message()
        frames = [
            ("SEND", {"destination": DONE}),
            ("SEND", {"destination": "/topic/a"}),
            ("ACK", client.settling(job)),
            (command, headers),
        ]
        await client.send("BEGIN", {"transaction": "t"})
        for one, own in frames:
            await client.send(one, {**own, "transaction": "t"})
        await client.send("COMMIT", {"transaction": "t", "receipt": "r"})
        await client.refused(text)
        await site.until(lambda: len(site.broker.queues.get(JOBS, ())) == 1)
        assert (await waiting(site, DONE), await waiting(site, JOBS)) == ([], ["job"])
        assert await waiting(site, "/queue/full") == ["1", "2"]
        assert await listener.settle() == []


async def test_a_commit_over_several_queues_fits_as_a_whole() -> None:
    """Rule 4.15: each would fit, all together do not."""
    for limit, text in ({"max_queues": 1}, "max_queues (1)"), ({"max_size": 20_000}, "max_size (20000)"):
        broker = EmbeddedBroker(queues=["/queue"], **limit)  # type: ignore[arg-type]
        async with serve_stomp(broker=broker) as site:
            client = await site.connect("tcp")
            held = await begun(client)
            for number in range(2):
                await client.publish(f"/queue/{number}", "x" * 12_000, **held)
            await client.send("COMMIT", held)
            await client.refused(text)
            assert (len(site.broker.queues), site.broker.held) == (0, 0)


@pytest.mark.parametrize("way", ["DISCONNECT", "fault", "gone"])
@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_transaction_that_is_lost_leaves_its_job_to_others(carrier: str, way: str) -> None:
    """Rule 4.16: STOMP 1.2, "BEGIN": implicitly aborted; so what was acknowledged in it comes again."""
    broker = EmbeddedBroker(queues=["/queue"])
    async with serve_stomp(broker=broker, disconnect_grace=0.2, options={"disconnect_delay": 0.3}) as site:
        client = await site.connect(carrier)
        await client.subscribe(JOBS, ack="client")
        await site.put(JOBS, "job")
        job = await client.message()
        held = await begun(client)
        await client.send("ACK", {**client.settling(job), **held})
        await client.publish(DONE, "done", **held)
        await client.settle()
        if way == "DISCONNECT":
            await client.ask("DISCONNECT")
        elif way == "fault":
            await client.send("COMMIT", {"transaction": "another"})
            await client.refused("unknown transaction")
        else:
            await client.vanish()
        await site.until(lambda: len(site.broker.queues.get(JOBS, ())) == 1)
        assert (await waiting(site, JOBS), await waiting(site, DONE)) == (["job"], [])


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_functions_of_a_commit_run_when_the_broker_s_part_is_done(carrier: str) -> None:
    """Rule 4.17: sockbridge's own: that part is whole even if the client goes while they run."""
    controller, entered, gate = Controller(), list[str](), asyncio.Event()

    @controller.message_mapping("/slow")
    async def slow(name: str) -> None:
        entered.append(name)
        await gate.wait()

    broker = EmbeddedBroker(queues=["/queue"])
    async with serve_stomp(
        broker=broker, controllers=[controller], disconnect_grace=0.2, options={"disconnect_delay": 0.3}
    ) as site:
        client = await site.connect(carrier)
        await client.subscribe(JOBS, ack="client-individual")
        await site.put(JOBS, "job")
        job = await client.message()
        held = await begun(client)
        for name in ("first", "second"):
            await client.publish("/app/slow", name, **held)
        await client.publish(DONE, "done", **held)
        await client.send("ACK", {**client.settling(job), **held})
        await client.send("COMMIT", held)
        await site.until(lambda: bool(entered))
        assert (entered, broker.counters.settled, len(broker.queues[DONE])) == (["first"], 1, 1)
        await client.vanish()
        gate.set()
        await site.forget()
        assert (await waiting(site, JOBS), await waiting(site, DONE)) == ([], ["done"])
