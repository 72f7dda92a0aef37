"""Section 9: temporary queues of the embedded broker, and ``reply-to``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import pytest

from sockbridge.stomp import EVERYBODY, NOBODY, Controller, EmbeddedBroker, Header, Messaging, Rule

from .clients import Client, ServerFrame
from .site import ALL_CARRIERS, VERSIONS, Site, serve_stomp

JOBS = "/queue/jobs"
ANSWERS = "/temp-queue/answers"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """With a broker that has queues, a controller that answers, and the limits of production."""
    controller = Controller()

    @controller.message_mapping("/ask")
    async def answer(text: str, reply_to: Annotated[str, Header()], messaging: Messaging) -> None:
        await messaging.send(reply_to, f"{text} for {reply_to}")

    broker = EmbeddedBroker(queues=["/queue"])
    async with serve_stomp(broker=broker, controllers=[controller], disconnect_grace=0.2) as site:
        yield site


async def service(site: Site, version: str = "1.2") -> Client:
    """Who gets questions."""
    client = await site.connect("tcp", version)
    await client.subscribe(JOBS)
    return client


async def ask(client: Client, text: str = "question", reply_to: str = ANSWERS) -> None:
    assert await client.ask("SEND", {"destination": JOBS, "reply-to": reply_to}, text) == []


async def address(service: Client) -> str:
    """Where the answer to the next question goes."""
    return (await service.message()).headers["reply-to"]


def bodies(frames: list[ServerFrame]) -> list[str]:
    return [frame.text for frame in frames]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_an_answer_reaches_the_temporary_queue_of_who_asked(site: Site, carrier: str, version: str) -> None:
    """Rules 9.1 and 9.2: RabbitMQ, ``reply-to:/temp-queue/...``; there the queue needs no SUBSCRIBE, here it does."""
    client, other = await site.connect(carrier, version), await service(site)
    await client.subscribe(ANSWERS, "mine")
    await ask(client)
    where = await address(other)
    assert where.startswith("/reply-queue/")
    assert await other.ask("SEND", {"destination": where, "correlation-id": "7"}, "answer") == []
    frame = await client.message()
    assert (frame.text, frame.headers["destination"], frame.headers["correlation-id"]) == ("answer", where, "7")
    assert frame.headers["subscription"] == "mine"


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_page_answers_a_service_as_well(site: Site, carrier: str) -> None:
    """Rule 9.1: whoever asks and whoever answers, on whatever carrier."""
    client, other = await site.connect(carrier), await site.connect("tcp")
    await client.subscribe(JOBS, ack="client-individual")
    await other.subscribe(ANSWERS)
    await ask(other)
    question = await client.message()
    await client.publish(question.headers["reply-to"], f"answer to {question.text}")
    await client.acknowledge(question)
    assert (await other.message()).text == "answer to question"


async def test_addresses_cannot_be_guessed_and_each_queue_has_its_own(site: Site) -> None:
    """Rule 9.3: as RabbitMQ; 128 random bits. Names are each client's own; the same name means the same queue."""
    one, two, other = await site.connect("tcp"), await site.connect("tcp"), await service(site)
    addresses = []
    for client, name in ((one, "a"), (one, "b"), (two, "a"), (one, "a")):
        await ask(client, reply_to=f"/temp-queue/{name}")
        addresses.append(await address(other))
    assert addresses[3] == addresses[0]
    assert len(set(addresses)) == 3
    assert all(len(one.removeprefix("/reply-queue/")) >= 22 for one in addresses)


async def test_only_its_owner_consumes_a_temporary_queue(site: Site) -> None:
    """Rule 9.4: sockbridge's own; the owner may name it either way."""
    client, other = await site.connect("tcp"), await service(site)
    await ask(client)
    where = await address(other)
    for destination in (where, "/reply-queue/guessed", "/reply-queue/"):
        spy = await site.connect("tcp")
        await spy.send("SUBSCRIBE", {"id": "1", "destination": destination, "receipt": "r"})
        assert (await spy.refused("somebody else's, or gone")).headers["receipt-id"] == "r"
    for destination in ("/reply-queue/*", "/reply-queue/**"):
        spy = await site.connect("tcp")
        await spy.send("SUBSCRIBE", {"id": "1", "destination": destination})
        await spy.refused()
    await other.publish(where, "answer")
    assert bodies(await client.ask("SUBSCRIBE", {"id": "1", "destination": where})) == ["answer"]


async def test_an_answer_waits_until_its_queue_is_consumed(site: Site) -> None:
    """Rule 9.5: sockbridge's own: asking first and subscribing then loses nothing."""
    client, other = await site.connect("xhr"), await service(site)
    await ask(client)
    where = await address(other)
    for number in range(3):
        await other.publish(where, str(number))
    await other.settle()
    assert bodies(await client.ask("SUBSCRIBE", {"id": "1", "destination": ANSWERS})) == ["0", "1", "2"]


@pytest.mark.parametrize("way", ["DISCONNECT", "gone"])
async def test_a_temporary_queue_goes_with_its_connection(site: Site, way: str) -> None:
    """Rule 9.6: as RabbitMQ; an answer that comes too late is in order, as a SEND to a topic without subscribers."""
    client, other = await site.connect("websocket"), await service(site)
    await client.subscribe(ANSWERS, ack="client")
    await ask(client)
    where = await address(other)
    await other.publish(where, "not acknowledged")
    await client.message()
    if way == "DISCONNECT":
        await client.ask("DISCONNECT")
    await client.vanish()
    await site.forget()
    for destination in (where, "/reply-queue/guessed"):
        assert await other.ask("SEND", {"destination": destination}, "too late") == []
    assert (site.broker.counters.unroutable, site.broker.held) == (2, 0)
    assert list(site.broker.queues) == [JOBS]


async def test_a_temporary_queue_outlives_its_subscriptions(site: Site) -> None:
    """Rule 9.6: acknowledging, prefetch and redelivery are as for any queue."""
    client, other = await site.connect("tcp"), await service(site)
    await client.subscribe(ANSWERS, ack="client-individual", **{"prefetch-count": "1"})
    await ask(client)
    where = await address(other)
    await other.publish(where, "first")
    await other.publish(where, "second")
    assert (await client.message()).text == "first"
    await client.ask("UNSUBSCRIBE", {"id": "sub-0"})
    frames = await client.ask("SUBSCRIBE", {"id": "1", "destination": ANSWERS})
    assert [(frame.text, frame.headers.get("redelivered")) for frame in frames] == [("first", "true"), ("second", None)]


async def test_a_controller_answers_there_as_well(site: Site) -> None:
    """Rule 9.7: sockbridge's own: it sees the address."""
    client = await site.connect("sockjs")
    await client.subscribe(ANSWERS)
    await client.publish("/app/ask", "question", **{"reply-to": ANSWERS})
    frame = await client.message()
    assert frame.text == f"question for {frame.headers['destination']}"


async def test_a_client_may_write_to_itself(site: Site) -> None:
    """Rule 9.8: sockbridge's own; a SEND to ``/temp-queue/x`` goes to its own queue of that name, to no other's."""
    client, other = await site.connect("tcp"), await site.connect("tcp")
    await client.subscribe(ANSWERS)
    await other.subscribe(ANSWERS)
    (frame,) = await client.ask("SEND", {"destination": ANSWERS}, "note")
    assert (frame.text, frame.headers["destination"].startswith("/reply-queue/")) == ("note", True)
    assert await other.settle() == []


async def test_a_question_in_a_transaction_has_its_address_too(site: Site) -> None:
    """Rule 9.2: the address is that of the queue, whenever the question is sent."""
    client, other = await site.connect("tcp"), await service(site)
    await client.subscribe(ANSWERS)
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish(JOBS, "question", transaction="t", **{"reply-to": ANSWERS})
    assert await client.ask("COMMIT", {"transaction": "t"}) == []
    await other.publish(await address(other), "answer")
    assert (await client.message()).text == "answer"


async def test_another_reply_to_is_passed_on(site: Site) -> None:
    """Rule 9.9: STOMP 1.2, "MESSAGE": a header like any other, where it is no name of a temporary queue."""
    client, other = await site.connect("tcp"), await service(site)
    for reply_to in ("/topic/answers", "/queue/answers", "anything: else"):
        await ask(client, reply_to=reply_to)
        assert await address(other) == reply_to


async def test_nobody_is_led_to_answer_where_who_asks_may_not_send() -> None:
    """Rule 9.9: sockbridge's own: who answers may have more rights."""
    policy = [
        Rule.connect(EVERYBODY),
        Rule.send("/queue/secret", NOBODY),
        Rule.send("/queue/**", EVERYBODY),
        Rule.subscribe("**", EVERYBODY),
    ]
    async with serve_stomp(broker=EmbeddedBroker(queues=["/queue"]), policy=policy) as site:
        client = await site.connect("tcp")
        await client.send("SEND", {"destination": JOBS, "reply-to": "/queue/secret", "receipt": "r"}, "x")
        assert (await client.refused("not allowed")).headers["receipt-id"] == "r"
        assert site.broker.counters.queued == 0


async def test_temporary_queues_are_limited_per_connection() -> None:
    """Rule 9.10: sockbridge's own; ``max_temporary_queues``, 100. Those that there are go on."""
    async with serve_stomp(broker=EmbeddedBroker(queues=["/queue"], max_temporary_queues=2)) as site:
        other = await service(site)
        for command, name in (("SUBSCRIBE", "destination"), ("SEND", "reply-to")):
            client = await site.connect("tcp")
            for number in range(2):
                await ask(client, reply_to=f"/temp-queue/{number}")
                await address(other)
            await ask(client, reply_to="/temp-queue/0")
            await address(other)
            await client.send(command, {"id": "1", "destination": JOBS, name: "/temp-queue/2"})
            assert (await client.refused("too many temporary queues")).text == "the limit is 2"


@pytest.mark.parametrize("destination", ["/temp-queue", "/temp-queue/", "/temp-queue/*", "/temp-queue/{x}"])
async def test_a_temporary_queue_has_a_name(site: Site, destination: str) -> None:
    """Rule 9.11: sockbridge's own."""
    frames = [
        ("SEND", {"destination": destination}),
        ("SEND", {"destination": JOBS, "reply-to": destination}),
        ("SUBSCRIBE", {"destination": destination, "id": "1"}),
    ]
    for command, headers in frames:
        client = await site.connect("tcp")
        await client.send(command, {**headers, "receipt": "r"})
        text = "no wildcards" if destination[-1] in "*}" else "a temporary queue has a name"
        assert (await client.refused(text)).headers["receipt-id"] == "r"


async def test_who_answers_does_not_suffer_from_who_does_not_read() -> None:
    """Rule 9.12: sockbridge's own: the oldest make room, and ``x-missed`` says how many."""
    async with serve_stomp(broker=EmbeddedBroker(queues=["/queue"], max_queue_length=2)) as site:
        client, other = await site.connect("tcp"), await service(site)
        await ask(client)
        where = await address(other)
        for number in range(5):
            assert await other.ask("SEND", {"destination": where}, str(number)) == []
        frames = await client.ask("SUBSCRIBE", {"id": "1", "destination": ANSWERS})
        assert [(frame.text, frame.headers.get("x-missed")) for frame in frames] == [("3", "3"), ("4", None)]
        assert site.broker.counters.dropped == 3


async def test_the_policy_knows_both_names() -> None:
    """Rule 9.13: sockbridge's own: SUBSCRIBE is looked up as written, a SEND to an answer's address like any other."""
    everybody = [Rule.connect(EVERYBODY), Rule.send("/queue/**", EVERYBODY), Rule.subscribe("/queue/**", EVERYBODY)]
    broker = EmbeddedBroker(queues=["/queue"])
    async with serve_stomp(broker=broker, policy=[*everybody, Rule.subscribe("/temp-queue/*", EVERYBODY)]) as site:
        client, other = await site.connect("tcp"), await service(site)
        await client.subscribe(ANSWERS)
        await ask(client)
        where = await address(other)
        await other.send("SEND", {"destination": where}, "answer")
        await other.refused("not allowed")
        await site.server.messaging.send(where, "the application's")
        assert (await client.message()).text == "the application's"
    broker = EmbeddedBroker(queues=["/queue"])
    async with serve_stomp(broker=broker, policy=[*everybody, Rule.send("/reply-queue/*", EVERYBODY)]) as site:
        client = await site.connect("tcp")
        await client.send("SUBSCRIBE", {"id": "1", "destination": ANSWERS})
        await client.refused("not allowed")
