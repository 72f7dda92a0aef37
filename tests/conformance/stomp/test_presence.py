"""Section 12: who is present."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sockbridge.stomp import EVERYBODY, LOGGED_IN, EmbeddedBroker, Here, Rule

from .clients import Client, ServerFrame
from .site import ALL_CARRIERS, VERSIONS, WITH_POLLING, Site, serve_stomp

ROOM = "/topic/rooms/1"
COMPANION = "/presence/topic/rooms/1"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Rooms are watched, other topics are not."""
    broker = EmbeddedBroker(presence=["/topic/rooms/*"])
    async with serve_stomp(broker=broker, options={"disconnect_delay": 0.3}, disconnect_grace=0.2) as site:
        yield site


def here(*users: str, guests: int = 0) -> dict[str, Any]:
    return {"type": "here", "users": list(users), "count": len(users) + guests}


def change(kind: str, user: str | None, count: int) -> dict[str, Any]:
    return {"type": kind, "user": user, "count": count}


def news(frame: ServerFrame) -> Any:
    """What a MESSAGE of the companion destination says."""
    assert frame.headers["content-type"] == "application/json"
    assert frame.headers["destination"] == COMPANION
    return json.loads(frame.text)


async def watch(site: Site, carrier: str = "tcp", version: str = "1.2") -> tuple[Client, Any]:
    """Somebody who looks on, and what it is told first."""
    client = await site.connect(carrier, version)
    (frame,) = await client.ask("SUBSCRIBE", {"id": "watch", "destination": COMPANION})
    return client, news(frame)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("carrier", ALL_CARRIERS)
async def test_who_looks_on_is_told_who_is_there_and_then_who_comes_and_goes(
    site: Site, carrier: str, version: str
) -> None:
    """Rules 12.1 and 12.2: sockbridge's own; ``here`` comes before the RECEIPT."""
    alice, bob = await site.connect("websocket", user="alice"), await site.connect("sockjs", user="bob")
    await alice.subscribe(ROOM)
    watcher, first = await watch(site, carrier, version)
    assert first == here("alice")
    await bob.subscribe(ROOM)
    assert news(await watcher.message()) == change("join", "bob", 2)
    await alice.ask("UNSUBSCRIBE", {"id": "sub-0"})
    assert news(await watcher.message()) == change("leave", "alice", 1)


@pytest.mark.parametrize("way", ["UNSUBSCRIBE", "DISCONNECT", "fault", "gone"])
@pytest.mark.parametrize("carrier", WITH_POLLING)
async def test_whoever_goes_is_seen_to_go(site: Site, carrier: str, way: str) -> None:
    """Rule 12.3: sockbridge's own; on SockJS without a word after ``disconnect_delay``."""
    alice = await site.connect(carrier, user="alice")
    await alice.subscribe(ROOM)
    watcher, _ = await watch(site)
    if way == "UNSUBSCRIBE":
        await alice.ask("UNSUBSCRIBE", {"id": "sub-0"})
    elif way == "DISCONNECT":
        await alice.ask("DISCONNECT")
    elif way == "fault":
        await alice.send("PONG")
        await alice.refused()
    else:
        await alice.vanish()
    assert news(await watcher.message()) == change("leave", "alice", 0)
    assert site.broker.here(ROOM) == Here([], 0)


async def test_a_user_counts_once_however_many_tabs_there_are(site: Site) -> None:
    """Rule 12.4: sockbridge's own: comes with the first subscription, goes with the last."""
    watcher, _ = await watch(site)
    tabs = [await site.connect("websocket", user="alice") for _ in range(2)]
    await tabs[0].subscribe(ROOM, "one")
    await tabs[0].subscribe(ROOM, "two")
    await tabs[1].subscribe(ROOM)
    assert [news(frame) for frame in await watcher.settle()] == [change("join", "alice", 1)]
    await tabs[0].ask("UNSUBSCRIBE", {"id": "one"})
    await tabs[0].ask("DISCONNECT")
    assert await watcher.settle() == []
    await tabs[1].ask("DISCONNECT")
    assert news(await watcher.message()) == change("leave", "alice", 0)


async def test_each_connection_of_a_guest_counts(site: Site) -> None:
    """Rule 12.5: sockbridge's own: guests have no name, so ``user`` is null."""
    watcher, _ = await watch(site)
    guests = [await site.connect("websocket") for _ in range(2)]
    await guests[0].subscribe(ROOM, "one")
    await guests[0].subscribe(ROOM, "two")
    await guests[1].subscribe(ROOM)
    joins = [change("join", None, 1), change("join", None, 2)]
    assert [news(frame) for frame in await watcher.settle()] == joins
    assert (await watch(site))[1] == here(guests=2)
    await guests[0].ask("DISCONNECT")
    assert [news(frame) for frame in await watcher.settle()] == [change("leave", None, 1)]


async def test_who_subscribes_with_wildcards_looks_on_and_does_not_count(site: Site) -> None:
    """Rule 12.6: sockbridge's own: it is on no room in particular. Nor does who looks on count."""
    watcher, first = await watch(site)
    assert first == here()
    alice = await site.connect("websocket", user="alice")
    await alice.subscribe("/topic/rooms/*", "1")
    await alice.subscribe("/topic/**", "2")
    await alice.ask("SUBSCRIBE", {"id": "3", "destination": COMPANION})
    assert await watcher.settle() == []
    assert site.broker.here(ROOM) == Here([], 0)


async def test_several_rooms_can_be_watched_at_once(site: Site) -> None:
    """Rule 12.7: sockbridge's own: one ``here`` for each room where somebody is."""
    for user, room in (("alice", "1"), ("bob", "1"), ("carol", "2")):
        await (await site.connect("websocket", user=user)).subscribe(f"/topic/rooms/{room}")
    watcher = await site.connect("tcp")
    frames = await watcher.ask("SUBSCRIBE", {"id": "1", "destination": "/presence/topic/rooms/*"})
    assert {frame.headers["destination"]: json.loads(frame.text) for frame in frames} == {
        "/presence/topic/rooms/1": here("alice", "bob"),
        "/presence/topic/rooms/2": here("carol"),
    }
    await (await site.connect("websocket", user="dan")).subscribe("/topic/rooms/3")
    frame = await watcher.message()
    assert frame.headers["destination"] == "/presence/topic/rooms/3"
    assert json.loads(frame.text) == change("join", "dan", 1)


async def test_of_topics_that_are_not_watched_nothing_can_be_asked(site: Site) -> None:
    """Rule 12.8: sockbridge's own: an empty answer would look as if nobody were there."""
    alice = await site.connect("websocket", user="alice")
    await alice.subscribe("/topic/other")
    watcher = await site.connect("tcp")
    await watcher.send("SUBSCRIBE", {"id": "1", "destination": "/presence/topic/other", "receipt": "r"})
    assert (await watcher.refused("nobody watches")).headers["receipt-id"] == "r"


@pytest.mark.parametrize("carrier", ALL_CARRIERS)
@pytest.mark.parametrize("destination", [COMPANION, "/presence", "/presence/anything"])
async def test_who_is_present_is_told_by_the_server_alone(site: Site, destination: str, carrier: str) -> None:
    """Rule 12.9: sockbridge's own: nobody can be made to see who is not there."""
    watcher, _ = await watch(site)
    client = await site.connect(carrier)
    await client.publish(destination, json.dumps(change("join", "nobody", 99)), receipt="r")
    assert (await client.refused("told by the server alone")).headers["receipt-id"] == "r"
    client = await site.connect(carrier)
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish("/topic/x", "never", transaction="t")
    await client.publish(destination, "x", transaction="t")
    await client.send("COMMIT", {"transaction": "t"})
    await client.refused("told by the server alone")
    assert await watcher.settle() == []
    assert site.broker.counters.published == 0


async def test_a_rule_decides_who_may_look_on() -> None:
    """Rule 12.10: sockbridge's own: it stands under ``/presence``; one for the topic does not hold it."""
    policy = [
        Rule.connect(EVERYBODY),
        Rule.subscribe("/presence/topic/rooms/*", LOGGED_IN),
        Rule.subscribe("/topic/**", EVERYBODY),
    ]
    async with serve_stomp(broker=EmbeddedBroker(presence=["/topic/rooms/*"]), policy=policy) as site:
        guest = await site.connect("websocket")
        await guest.subscribe(ROOM)
        await guest.send("SUBSCRIBE", {"id": "1", "destination": COMPANION})
        await guest.refused("not allowed")
        alice = await site.connect("websocket", user="alice")
        (frame,) = await alice.ask("SUBSCRIBE", {"id": "1", "destination": COMPANION})
        assert news(frame) == here()


async def test_the_application_asks_the_broker(site: Site) -> None:
    """Rule 12.11: sockbridge's own: ``broker.here``."""
    assert site.broker.here(ROOM) == Here([], 0)
    await (await site.connect("websocket", user="bob")).subscribe(ROOM)
    await (await site.connect("websocket", user="alice")).subscribe(ROOM)
    await (await site.connect("tcp")).subscribe(ROOM)
    assert site.broker.here(ROOM) == Here(["alice", "bob"], 3)
