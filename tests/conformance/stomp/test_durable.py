"""Section 11: durable subscriptions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sockbridge.stomp import EmbeddedBroker, History

from .clients import Client, ServerFrame
from .site import ALL_CARRIERS, VERSIONS, Site, serve_stomp

NEWS = "/topic/news"
DURABLE = {"durable": "true", "client-id": "c1"}
DEAD = "/queue/dead-letters"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """With queues, so that there are dead letters; a lost session is noticed soon."""
    broker = EmbeddedBroker(queues=["/queue"], history=[History("/topic/kept/*")], max_deliveries=3)
    async with serve_stomp(broker=broker, disconnect_grace=0.2, options={"disconnect_delay": 0.3}) as site:
        yield site


def bodies(frames: list[ServerFrame]) -> list[str]:
    return [frame.text for frame in frames]


async def attend(
    client: Client, destination: str = NEWS, id: str = "sub-0", **headers: str
) -> tuple[list[ServerFrame], bool]:
    """SUBSCRIBE; what comes before its RECEIPT, and whether that says that it goes on."""
    frames, told = await client.inquire("SUBSCRIBE", {"id": id, "destination": destination, **DURABLE, **headers})
    return frames, {"true": True, "false": False}[told["x-resumed"]]


async def go(site: Site, client: Client, way: str) -> None:
    """Be away, and known to be."""
    count = site.server.counters.disconnected
    if way == "DISCONNECT":
        await client.ask("DISCONNECT")
    elif way == "fault":
        await client.send("PONG")
        await client.refused()
    if way != "fault":
        await client.vanish()
    await site.forget(count + 1)


# Away and back.


@pytest.mark.parametrize("way", ["DISCONNECT", "fault", "gone"])
@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_what_comes_while_a_durable_subscriber_is_away_waits_for_it(site: Site, carrier: str, way: str) -> None:
    """Rules 11.1 and 11.2: ActiveMQ and RabbitMQ have the like; the headers: ``durable`` as RabbitMQ's."""
    client = await site.connect(carrier)
    assert await attend(client) == ([], False)
    await site.put(NEWS, "here")
    assert (await client.message()).text == "here"
    await go(site, client, way)
    await site.put(NEWS, "one", "two")
    await site.put("/topic/other", "not for it")
    back = await site.connect(carrier)
    frames, is_resumed = await attend(back, id="another id")
    assert (bodies(frames), is_resumed) == (["one", "two"], True)
    assert {frame.headers["subscription"] for frame in frames} == {"another id"}
    await site.put(NEWS, "live")
    assert bodies(await back.settle()) == ["live"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_it_goes_on_in_any_version_and_on_any_carrier(site: Site, version: str) -> None:
    """Rule 11.1: what is the same is the client, not its way in."""
    await go(site, await leaving(site), "DISCONNECT")
    for number, carrier in enumerate(ALL_CARRIERS):
        await site.put(NEWS, number)
        client = await site.connect(carrier, version)
        frames, is_resumed = await attend(client)
        assert (bodies(frames), is_resumed) == ([str(number)], True)
        await go(site, client, "DISCONNECT")


async def leaving(site: Site, carrier: str = "tcp", **headers: str) -> Client:
    """A client with a new durable subscription."""
    client = await site.connect(carrier)
    _, is_resumed = await attend(client, **headers)
    assert not is_resumed
    return client


async def test_it_is_the_same_if_user_client_and_destination_are(site: Site) -> None:
    """Rule 11.3: sockbridge's own; so nobody gets at another user's by knowing the ``client-id``."""
    client = await site.connect("websocket", user="alice")
    await attend(client)
    await go(site, client, "DISCONNECT")
    await site.put(NEWS, "for alice")
    guest, bob = await site.connect("websocket"), await site.connect("websocket", user="bob")
    for other in (guest, bob):
        assert await attend(other) == ([], False)
    alice = await site.connect("websocket", user="alice")
    assert await attend(alice, id="1", **{"client-id": "c2"}) == ([], False)
    assert await attend(alice, "/topic/*", id="2") == ([], False)
    frames, is_resumed = await attend(alice, id="3")
    assert (bodies(frames), is_resumed) == (["for alice"], True)


async def test_a_client_may_say_who_it_is_when_it_connects(site: Site) -> None:
    """Rule 11.4: JMS, and ActiveMQ's ``client-id`` of CONNECT; that of the SUBSCRIBE goes before it."""
    client = await site.connect("tcp", headers={"client-id": "c1"})
    _, told = await client.inquire("SUBSCRIBE", {"id": "1", "destination": NEWS, "durable": "true"})
    assert told == {"x-resumed": "false"}
    await go(site, client, "DISCONNECT")
    await site.put(NEWS, "one")
    client = await site.connect("tcp", headers={"client-id": "somebody else"})
    assert (await attend(client))[1]


async def test_a_durable_subscription_may_have_wildcards(site: Site) -> None:
    """Rule 11.1: one queue for all that it matches, in the order of publishing."""
    client = await site.connect("tcp")
    await attend(client, "/topic/*")
    await go(site, client, "gone")
    for number in range(4):
        await site.put(f"/topic/{number % 2}", number)
    frames, _ = await attend(await site.connect("tcp"), "/topic/*")
    assert [(frame.headers["destination"], frame.text) for frame in frames] == [
        (f"/topic/{number % 2}", str(number)) for number in range(4)
    ]


async def test_unsubscribe_ends_a_durable_subscription(site: Site) -> None:
    """Rule 11.5: STOMP 1.2, "UNSUBSCRIBE"; nothing waits any more."""
    client = await leaving(site)
    await client.ask("UNSUBSCRIBE", {"id": "sub-0"})
    await site.put(NEWS, "to nobody")
    assert (site.broker.held, len(site.broker)) == (0, 0)
    assert await attend(client) == ([], False)


async def test_a_durable_subscription_waits_for_so_long_and_no_longer() -> None:
    """Rule 11.6: sockbridge's own; ``durable_grace``, 300 seconds; looked at once a second."""
    async with serve_stomp(broker=EmbeddedBroker(durable_grace=0.01)) as site:
        client = await leaving(site)
        await go(site, client, "DISCONNECT")
        await site.put(NEWS, "too late")
        await site.until(lambda: len(site.broker) == 0)
        assert site.broker.held == 0
        assert await attend(await site.connect("tcp")) == ([], False)


# Limits.


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_beyond_its_limit_the_oldest_are_dropped_and_counted_for_the_client(carrier: str) -> None:
    """Rule 11.7: sockbridge's own; ``max_durable_length``: ``x-missed`` of the next MESSAGE."""
    async with serve_stomp(broker=EmbeddedBroker(max_durable_length=3), disconnect_grace=0.2) as site:
        await go(site, await leaving(site), "DISCONNECT")
        await site.put(NEWS, *range(10))
        frames, is_resumed = await attend(await site.connect(carrier))
        assert is_resumed
        assert [(frame.text, frame.headers.get("x-missed")) for frame in frames] == [
            ("7", "7"),
            ("8", None),
            ("9", None),
        ]
        assert site.broker.counters.dropped == 7


async def test_a_publisher_does_not_suffer_from_who_is_away() -> None:
    """Rule 11.7: what does not fit at all is dropped and counted as well."""
    async with serve_stomp(broker=EmbeddedBroker(max_size=10_000)) as site:
        await go(site, await leaving(site), "DISCONNECT")
        await site.put(NEWS, "x" * 10_001, "fits")
        frames, _ = await attend(await site.connect("tcp"))
        assert [(frame.text, frame.headers.get("x-missed")) for frame in frames] == [("fits", "1")]


@pytest.mark.parametrize(
    ("user", "limits", "text"),
    [
        ("alice", {"max_durables": 2}, "the limit is 2, of all clients"),
        ("alice", {"max_durables_per_user": 2}, "the limit is 2, of one user"),
        ("", {"max_durables": 4}, "the limit is 2, of all guests"),
    ],
)
async def test_there_are_so_many_durable_subscriptions_and_no_more(
    user: str, limits: dict[str, int], text: str
) -> None:
    """Rule 11.8: sockbridge's own. Those that there are can be attended; guests have a half, all together."""
    async with serve_stomp(broker=EmbeddedBroker(**limits)) as site:  # type: ignore[arg-type]
        client = await site.connect("websocket", user=user)
        for number in range(2):
            await attend(client, id=str(number), **{"client-id": str(number)})
        if "clients" not in text:
            await attend(await site.connect("websocket", user="bob"))
        await client.send("SUBSCRIBE", {"id": "2", "destination": NEWS, **DURABLE, "receipt": "r"})
        frame = await client.refused("too many durable subscriptions")
        assert (frame.headers["receipt-id"], frame.text) == ("r", text)
        await site.put(NEWS, "kept")
        frames, is_resumed = await attend(await site.connect("websocket", user=user), **{"client-id": "1"})
        assert (bodies(frames), is_resumed) == (["kept"], True)


async def test_a_message_that_comes_again_says_again_what_was_dropped_before_it() -> None:
    """Rule 11.7: sockbridge's own: it may have been lost with the connection."""
    async with serve_stomp(broker=EmbeddedBroker(max_durable_length=1)) as site:
        lost = await site.connect("tcp")
        await attend(lost, ack="client-individual")
        await go(site, lost, "DISCONNECT")
        await site.put(NEWS, "1", "2", "3")
        for _ in range(2):
            client = await site.connect("tcp")
            (frame,), _ = await attend(client, ack="client-individual")
            assert (frame.text, frame.headers.get("x-missed")) == ("3", "2")
            await go(site, client, "DISCONNECT")


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"durable": "true"}, "durable without client-id"),
        ({"durable": "true", "client-id": ""}, "durable without client-id"),
        ({"durable": "yes", "client-id": "c"}, "durable is true or false"),
        ({"durable": "", "client-id": "c"}, "durable is true or false"),
        ({"durable": "true", "client-id": "c", "x-since": "0"}, "either durable or x-since"),
        ({"durable": "true", "client-id": "c", "prefetch-count": "x"}, "prefetch-count is no number"),
    ],
)
async def test_a_durable_subscription_that_cannot_be_meant_is_an_error(
    site: Site, headers: dict[str, str], text: str
) -> None:
    """Rule 11.9: sockbridge's own; nothing is kept for it."""
    client = await site.connect("tcp")
    await client.send("SUBSCRIBE", {"id": "1", "destination": NEWS, **headers, "receipt": "r"})
    assert (await client.refused(text)).headers["receipt-id"] == "r"
    assert len(site.broker) == 0


# Acknowledging.


@pytest.mark.parametrize("mode", ["client", "client-individual"])
async def test_what_it_had_not_acknowledged_comes_again(site: Site, mode: str) -> None:
    """Rule 11.10: STOMP 1.2, "SUBSCRIBE ack Header"; in its old place."""
    client = await leaving(site, ack=mode)
    await site.put(NEWS, *range(3))
    frames = await client.messages(3)
    await client.acknowledge(frames[1])
    await go(site, client, "gone")
    await site.put(NEWS, "3")
    frames, _ = await attend(await site.connect("tcp"), ack=mode)
    again = {"client": ["2"], "client-individual": ["0", "2"]}[mode]
    assert [frame.text for frame in frames if frame.headers.get("redelivered") == "true"] == again
    assert bodies(frames) == [*again, "3"]
    assert {frame.headers.get("x-delivery-count") for frame in frames} == {"1", None}


async def test_its_messages_may_be_refused_and_what_dies_is_no_dead_letter(site: Site) -> None:
    """Rule 11.10: NACK, ``requeue``, ``max_deliveries``, ``prefetch-count`` are as in section 8. But what dies was
    everybody's, and must not push out what others look for."""
    client = await leaving(site, ack="client-individual", **{"prefetch-count": "1"})
    await site.put(NEWS, "bad", "worse")
    await client.send("NACK", {**client.settling(await client.message()), "requeue": "false"})
    for count in (None, "1", "2"):
        frame = await client.message()
        assert (frame.text, frame.headers.get("x-delivery-count")) == ("worse", count)
        await client.send("NACK", client.settling(frame))
    assert await client.settle() == []
    coroner = await site.connect("tcp")
    assert await coroner.ask("SUBSCRIBE", {"id": "1", "destination": DEAD}) == []
    assert (site.broker.counters.dropped, site.broker.counters.dead) == (2, 0)


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_who_comes_back_before_anybody_noticed_that_it_was_lost_loses_nothing(carrier: str) -> None:
    """Rule 11.11: sockbridge's own: in the modes ``client`` and ``client-individual``, also on polls."""
    async with serve_stomp(broker=EmbeddedBroker()) as site:
        lost = await site.connect(carrier)
        await attend(lost, ack="client")
        await site.put(NEWS, "written to nobody")  # it has not been read, and never will be
        back = await site.connect(carrier)
        frames, is_resumed = await attend(back, ack="client")
        assert (bodies(frames), is_resumed) == (["written to nobody"], True)


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_another_connection_of_the_same_client_takes_over(site: Site, carrier: str) -> None:
    """Rule 11.12: ActiveMQ refuses the second; here the first ends: it may be gone and not missed yet."""
    first, second = await site.connect(carrier), await site.connect("tcp")
    await attend(first)
    assert await attend(second) == ([], True)
    await first.refused("used by another connection")
    await site.put(NEWS, "for the second")
    assert bodies(await second.settle()) == ["for the second"]


async def test_a_durable_subscription_to_a_topic_that_is_kept_has_its_numbers(site: Site) -> None:
    """Rule 11.13: sockbridge's own: sections 10 and 11 do not get into each other's way."""
    destination = "/topic/kept/1"
    client = await site.connect("tcp")
    await attend(client, destination)
    await go(site, client, "DISCONNECT")
    await site.put(destination, "one", "two")
    client = await site.connect("tcp")
    frames, told = await client.inquire("SUBSCRIBE", {"id": "1", "destination": destination, **DURABLE})
    assert [(frame.text, frame.headers["x-offset"]) for frame in frames] == [("one", "1"), ("two", "2")]
    epoch = frames[0].headers["x-epoch"]
    assert told == {"x-resumed": "true", "x-epoch": epoch, "x-offset": "2"}
