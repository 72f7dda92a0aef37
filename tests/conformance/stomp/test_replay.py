"""Section 10: replay of what was missed on a topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from sockbridge.stomp import Controller, EmbeddedBroker, History

from .clients import Client, ServerFrame
from .site import ALL_CARRIERS, VERSIONS, Site, serve_stomp

KEPT = "/topic/kept/1"
OTHER = "/topic/kept/2"
SMALL = "/topic/small/1"
LAST = "/topic/last/1"

RULES = [
    History("/topic/kept/*", size=1000),
    History("/topic/small/*", size=3),
    History("/topic/last/*", size=1, on_subscribe=True),
]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Some topics are kept."""
    controller = Controller()

    @controller.message_mapping("/say", send_to=KEPT)
    async def say(text: str) -> str:
        return text

    async with serve_stomp(broker=EmbeddedBroker(history=RULES), controllers=[controller]) as site:
        yield site


def bodies(frames: list[ServerFrame]) -> list[str]:
    return [frame.text for frame in frames]


def offsets(frames: list[ServerFrame]) -> list[int]:
    return [int(frame.headers["x-offset"]) for frame in frames]


async def follow(
    client: Client, destination: str = KEPT, id: str = "sub-0", **headers: str
) -> tuple[list[ServerFrame], Mapping[str, str]]:
    """SUBSCRIBE; what comes before the RECEIPT, and what that says."""
    return await client.inquire("SUBSCRIBE", {"id": id, "destination": destination, **headers})


async def since(
    client: Client, frame: ServerFrame, destination: str = KEPT
) -> tuple[list[ServerFrame], Mapping[str, str]]:
    """SUBSCRIBE as somebody whose last message was ``frame``."""
    place = {"x-since": frame.headers["x-offset"], "x-epoch": frame.headers["x-epoch"]}
    return await follow(client, destination, **place)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_messages_that_are_kept_are_numbered_from_1_without_gaps(site: Site, carrier: str, version: str) -> None:
    """Rule 10.1: sockbridge's own: ``x-offset`` within an ``x-epoch``, each destination for itself."""
    client = await site.connect(carrier, version)
    await client.subscribe("/topic/kept/*")
    for destination in (KEPT, OTHER, KEPT):
        await site.put(destination, "a", "b")
    frames = await client.messages(6)
    assert offsets([frame for frame in frames if frame.headers["destination"] == KEPT]) == [1, 2, 3, 4]
    assert offsets([frame for frame in frames if frame.headers["destination"] == OTHER]) == [1, 2]
    epochs = {(frame.headers["destination"], frame.headers["x-epoch"]) for frame in frames}
    assert len(epochs) == 2
    assert len({epoch for _, epoch in epochs}) == 2
    assert all("x-missed" not in frame.headers for frame in frames)


async def test_whoever_publishes_the_numbers_are_the_broker_s(site: Site) -> None:
    """Rule 10.1: clients, controllers, the application, a COMMIT; nobody can forge them."""
    client, publisher = await site.connect("tcp"), await site.connect("tcp")
    await client.subscribe(KEPT)
    await publisher.send("BEGIN", {"transaction": "t"})
    await publisher.publish(KEPT, "committed last", transaction="t")
    await publisher.ask("SEND", {"destination": KEPT, "x-offset": "99", "x-epoch": "x", "x-missed": "1"}, "client")
    await publisher.ask("SEND", {"destination": "/app/say"}, "controller")
    await site.server.messaging.send(KEPT, "application")
    await publisher.ask("COMMIT", {"transaction": "t"})
    frames = await client.messages(4)
    assert bodies(frames) == ["client", "controller", "application", "committed last"]
    assert offsets(frames) == [1, 2, 3, 4]
    assert len({frame.headers["x-epoch"] for frame in frames}) == 1


async def test_topics_that_are_not_kept_are_not_numbered(site: Site) -> None:
    """Rule 10.1."""
    client = await site.connect("tcp")
    await client.subscribe("/topic/a")
    await site.put("/topic/a", "x")
    assert not {"x-offset", "x-epoch"} & set((await client.message()).headers)


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_the_receipt_of_a_subscription_says_where_the_topic_stands(site: Site, carrier: str) -> None:
    """Rule 10.2: sockbridge's own; before the first message, and for wildcards, there is nothing to say."""
    client = await site.connect(carrier)
    assert await follow(client, id="early") == ([], {})
    await site.put(KEPT, *range(3))
    frames = await client.messages(3)
    assert await follow(client, "/topic/kept/*", "all") == ([], {})
    _, told = await follow(client, id="late")
    assert told == {"x-epoch": frames[0].headers["x-epoch"], "x-offset": "3"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_who_says_how_far_it_came_gets_what_followed_and_then_what_comes(
    site: Site, carrier: str, version: str
) -> None:
    """Rule 10.3: sockbridge's own: in order, nothing missing, nothing twice."""
    client = await site.connect(carrier, version)
    await client.subscribe(KEPT)
    await site.put(KEPT, *range(3))
    last = (await client.messages(3))[1]
    await client.vanish()
    await site.put(KEPT, *range(3, 10))
    back = await site.connect(carrier, version)
    frames, told = await since(back, last)
    assert bodies(frames) == [str(number) for number in range(2, 10)]
    assert offsets(frames) == list(range(3, 11))
    assert told == {"x-missed": "0", "x-epoch": last.headers["x-epoch"], "x-offset": "10"}
    assert all("x-missed" not in frame.headers for frame in frames)
    await site.put(KEPT, "live")
    assert (await back.message()).headers["x-offset"] == "11"


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_no_gap_opens_between_what_was_missed_and_what_comes_meanwhile(site: Site, carrier: str) -> None:
    """Rule 10.3: more is published while it catches up, and it reads no faster than it can."""
    publisher = await site.connect("tcp")
    padding = "x" * 1000
    await publisher.write("".join(f"SEND\ndestination:{KEPT}\n\n{padding}\0" for _ in range(300)))
    await publisher.settle()
    client = await site.connect(carrier)
    await client.send("SUBSCRIBE", {"id": "1", "destination": KEPT, "x-since": "0"})
    frames = await client.messages(10)
    async with asyncio.TaskGroup() as group:
        group.create_task(publisher.write(*(f"SEND\ndestination:{KEPT}\n\n{padding}\0" for _ in range(300))))
        frames += await client.messages(590)
    assert offsets(frames) == list(range(1, 601))
    assert await client.settle() == []


async def test_who_missed_nothing_gets_nothing(site: Site) -> None:
    """Rule 10.3."""
    client = await site.connect("tcp")
    await client.subscribe(KEPT)
    await site.put(KEPT, "x")
    last = await client.message()
    await client.ask("UNSUBSCRIBE", {"id": "sub-0"})
    frames, told = await since(client, last)
    assert (frames, told["x-missed"]) == ([], "0")


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_x_since_0_is_all_that_is_kept(site: Site, carrier: str) -> None:
    """Rule 10.4: sockbridge's own; with wildcards as well, in the order of publishing."""
    for number in range(3):
        await site.put(KEPT, f"kept {number}")
        await site.put(OTHER, f"other {number}")
    await site.put(SMALL, *range(5))
    client = await site.connect(carrier)
    frames, told = await follow(client, KEPT, "one", **{"x-since": "0"})
    assert bodies(frames) == ["kept 0", "kept 1", "kept 2"]
    assert (told["x-missed"], told["x-offset"]) == ("0", "3")
    frames, told = await follow(client, "/topic/kept/*", "all", **{"x-since": "0"})
    assert bodies(frames) == [f"{name} {number}" for number in range(3) for name in ("kept", "other")]
    assert told == {"x-missed": "0"}
    frames, told = await follow(client, SMALL, "small", **{"x-since": "0"})
    assert (bodies(frames), told["x-missed"]) == (["2", "3", "4"], "0")  # all that was asked for


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_what_is_not_kept_any_more_is_counted_for_who_missed_it(site: Site, carrier: str) -> None:
    """Rule 10.5: sockbridge's own: ``x-missed`` on the RECEIPT, and on the first MESSAGE after the gap."""
    client = await site.connect(carrier)
    await client.subscribe(SMALL)
    await site.put(SMALL, "seen")
    last = await client.message()
    await client.ask("UNSUBSCRIBE", {"id": "sub-0"})
    await site.put(SMALL, *range(10))
    frames, told = await since(client, last, SMALL)
    assert bodies(frames) == ["7", "8", "9"]
    assert told["x-missed"] == "7"
    assert [frame.headers.get("x-missed") for frame in frames] == ["7", None, None]
    assert site.broker.counters.missed == 7


@pytest.mark.parametrize(
    "place", [{"x-epoch": "another"}, {"x-since": "99"}], ids=["another-epoch", "an-offset-of-the-future"]
)
async def test_a_place_that_nobody_knows_begins_anew(site: Site, place: dict[str, str]) -> None:
    """Rule 10.6: sockbridge's own: ``unknown``; what is kept follows, as it may be new to the client."""
    client = await site.connect("tcp")
    await client.subscribe(KEPT)
    await site.put(KEPT, "one", "two")
    (_, last) = await client.messages(2)
    headers = {"x-since": "1", "x-epoch": last.headers["x-epoch"], **place}
    frames, told = await follow(client, id="again", **headers)
    assert told["x-missed"] == "unknown"
    assert [(frame.text, frame.headers.get("x-missed")) for frame in frames] == [("one", "unknown"), ("two", None)]


async def test_after_a_restart_who_comes_back_is_told_that_nobody_knows() -> None:
    """Rule 10.6: another server, another epoch; the first message after it says so, too."""
    async with serve_stomp(broker=EmbeddedBroker(history=RULES)) as site:
        client = await site.connect("tcp")
        await client.subscribe(KEPT)
        await site.put(KEPT, "before")
        last = await client.message()
    async with serve_stomp(broker=EmbeddedBroker(history=RULES)) as site:
        client = await site.connect("tcp")
        frames, told = await since(client, last)
        assert (frames, told) == ([], {"x-missed": "unknown"})
        await site.put(KEPT, "after", "and on")
        first, second = await client.messages(2)
        assert (first.text, first.headers["x-offset"], first.headers["x-missed"]) == ("after", "1", "unknown")
        assert first.headers["x-epoch"] != last.headers["x-epoch"]
        assert "x-missed" not in second.headers


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_a_subscriber_may_begin_with_the_last_value(site: Site, carrier: str) -> None:
    """Rule 10.7: sockbridge's own: ``History(..., size=1, on_subscribe=True)``; wildcards as well."""
    client = await site.connect(carrier)
    await site.put(LAST, *range(3))
    await site.put("/topic/last/2", "b")
    await site.put(KEPT, "is not given without x-since")
    frames, told = await follow(client, LAST, "one")
    assert (bodies(frames), told["x-offset"]) == (["2"], "3")
    frames, _ = await follow(client, "/topic/*/*", "all")
    assert bodies(frames) == ["2", "b"]
    assert all("x-missed" not in frame.headers for frame in frames)
    await site.put(LAST, "3")
    assert bodies(await client.messages(2)) == ["3", "3"]


async def test_who_says_nothing_gets_what_comes_from_now_on(site: Site) -> None:
    """Rule 10.8: STOMP 1.2, "SUBSCRIBE": as of any topic."""
    await site.put(KEPT, "before")
    client = await site.connect("tcp")
    frames, _ = await follow(client)
    assert frames == []
    await site.put(KEPT, "after")
    assert (await client.message()).text == "after"


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"x-since": "soon"}, "x-since is no number"),
        ({"x-since": "-1"}, "x-since is no number"),
        ({"x-since": ""}, "x-since is no number"),
        ({"x-since": "1"}, "x-since without x-epoch"),
        ({"x-since": "1", "x-epoch": ""}, "x-since without x-epoch"),
        ({"x-since": "1", "x-epoch": "e", "destination": "/topic/kept/*"}, "one destination only"),
        ({"x-since": "0", "durable": "true", "client-id": "c"}, "either durable or x-since"),
    ],
)
async def test_a_place_that_cannot_be_meant_is_an_error(site: Site, headers: dict[str, str], text: str) -> None:
    """Rule 10.9: sockbridge's own; nothing is kept for the client, and nothing is lost by it."""
    await site.put(KEPT, "x")
    client = await site.connect("tcp")
    await client.send("SUBSCRIBE", {"id": "1", "destination": KEPT, **headers, "receipt": "r"})
    assert (await client.refused(text)).headers["receipt-id"] == "r"
    assert len(site.broker) == 0
    frames, _ = await follow(await site.connect("tcp"), **{"x-since": "0"})
    assert bodies(frames) == ["x"]


async def test_a_topic_that_is_not_kept_says_so_to_who_comes_back(site: Site) -> None:
    """Rule 10.10: sockbridge's own: whatever was missed, it is unknown how much."""
    client = await site.connect("tcp")
    frames, told = await follow(client, "/topic/a", **{"x-since": "5", "x-epoch": "e"})
    assert (frames, told) == ([], {"x-missed": "unknown"})
    await site.put("/topic/a", "live", "and on")
    assert [frame.headers.get("x-missed") for frame in await client.messages(2)] == ["unknown", None]


async def test_messages_are_kept_for_so_long_and_no_longer() -> None:
    """Rule 10.11: sockbridge's own: ``History(..., seconds=...)``; who comes too late is told how many are gone."""
    async with serve_stomp(broker=EmbeddedBroker(history=[History("/topic/**", seconds=0.02)])) as site:
        loop = asyncio.get_running_loop()
        client = await site.connect("tcp")
        await client.subscribe(KEPT)
        await site.put(KEPT, "first", "second")
        first, _ = await client.messages(2)
        await client.ask("UNSUBSCRIBE", {"id": "sub-0"})
        started = loop.time()
        await site.until(lambda: loop.time() - started > 0.02)
        frames, told = await since(client, first)
        assert (frames, told["x-missed"], told["x-offset"]) == ([], "1", "2")
        await site.put(KEPT, "third")
        frame = await client.message()
        assert (frame.headers["x-offset"], frame.headers["x-missed"]) == ("3", "1")


@pytest.mark.parametrize(
    "limit",
    [{"max_history_size": 20_000}, {"max_size": 20_000}],
    ids=lambda value: next(iter(value)),
)
async def test_what_is_kept_is_limited_and_publishing_is_not(limit: dict[str, int]) -> None:
    """Rule 10.12: sockbridge's own: the oldest make room; a message too large to be kept is given to who is there."""
    broker = EmbeddedBroker(history=[History("/topic/**")], **limit)  # type: ignore[arg-type]
    async with serve_stomp(broker=broker) as site:
        client = await site.connect("tcp")
        await client.subscribe(KEPT)
        await site.put(KEPT, *("x" * 4000 for _ in range(10)))
        assert offsets(await client.messages(10)) == list(range(1, 11))
        assert 0 < site.broker.held <= 20_000
        late = await site.connect("tcp")
        frames, _ = await follow(late, **{"x-since": "0"})
        assert offsets(frames) == list(range(11 - len(frames), 11))
        assert 1 < len(frames) < 5
        await site.put(KEPT, "y" * 20_001)
        assert (await client.message()).headers["x-offset"] == "11"
        assert (await late.message()).headers["x-offset"] == "11"
        frames, told = await since(await site.connect("tcp"), frames[-1])
        assert (frames, told["x-missed"]) == ([], "1")


async def test_who_was_quiet_for_longest_is_forgotten() -> None:
    """Rule 10.13: sockbridge's own; ``max_histories``: its next message begins a new epoch."""
    async with serve_stomp(broker=EmbeddedBroker(history=RULES, max_histories=2)) as site:
        client = await site.connect("tcp")
        await client.subscribe("/topic/kept/*")
        await site.put(KEPT, "x")
        first = await client.message()
        await client.ask("UNSUBSCRIBE", {"id": "sub-0"})
        for number in (2, 3):
            await site.put(f"/topic/kept/{number}", "x")
        frames, told = await since(client, first)
        assert (frames, told) == ([], {"x-missed": "unknown"})
        await site.put(KEPT, "y")
        frame = await client.message()
        assert (frame.headers["x-offset"], frame.headers["x-missed"]) == ("1", "unknown")


@pytest.mark.parametrize("mode", ["client", "client-individual"])
async def test_acknowledging_is_as_on_any_topic(site: Site, mode: str) -> None:
    """Rule 10.14: sockbridge's own: the place is the client's to note, so ACK and NACK bring nothing back."""
    await site.put(KEPT, *range(3))
    client = await site.connect("tcp")
    frames, _ = await follow(client, ack=mode, **{"x-since": "0"})
    assert await client.acknowledge(frames[2]) == []
    if mode == "client-individual":
        assert await client.acknowledge(frames[0], command="NACK") == []
    assert await client.settle() == []
