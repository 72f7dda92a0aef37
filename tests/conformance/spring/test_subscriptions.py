"""Checks 29 to 33 and 36: subscriptions, patterns, users, receipts and acknowledgements."""

from __future__ import annotations

import pytest

from sockbridge.stomp import EmbeddedBroker

from ..stomp.site import CARRIERS, OPEN_POLICY, Site
from .application import serve_spring

PATTERNS = {
    "t/p/?": ({"t/p/a"}, {"t/p/ab", "t/p/", "t/p/a/b"}),
    "t/p/*": ({"t/p/a", "t/p/ab"}, {"t/p", "t/p/a/b"}),
    "t/p/a*": ({"t/p/a", "t/p/ab"}, {"t/p/b", "t/p/a/b"}),
    "t/**": ({"t", "t/p", "t/p/a/b"}, {"ts", "s/t"}),
    "t/**/z": ({"t/z", "t/p/a/z"}, {"t/p/a", "z"}),
    "t/p/{x}": ({"t/p/a", "t/p/ab"}, {"t/p/a/b", "t/p"}),
    "t/p/a": ({"t/p/a"}, {"t/p/a/", "t/p/A"}),
}
"""Pattern: what it matches, what it does not; all under ``/topic/``."""


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_29_each_subscription_of_a_session_gets_its_own_message(site: Site, carrier: str) -> None:
    """Rule 7.29: and after UNSUBSCRIBE by id it is silent; an unknown id is harmless."""
    client = await site.connect(carrier)
    for id in ("one", "two"):
        await client.subscribe("/topic/messages", id)
    await client.publish("/app/echo", "x")
    assert [frame.headers["subscription"] for frame in await client.messages(2)] == ["one", "two"]
    await client.send("UNSUBSCRIBE", {"id": "one"})
    await client.send("UNSUBSCRIBE", {"id": "unknown"})
    await client.publish("/app/echo", "x")
    assert [frame.headers["subscription"] for frame in await client.settle()] == ["two"]


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_29_an_id_that_is_taken_is_an_error(site: Site, carrier: str) -> None:
    """Rule 7.29: Spring keeps the first silently."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/one", "same")
    await client.send("SUBSCRIBE", {"id": "same", "destination": "/topic/two"})
    await client.refused("subscribed already")


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("pattern", PATTERNS)
async def test_30_patterns_match_as_in_spring(pattern: str, separator: str, carrier: str) -> None:
    """Rule 7.30: with ``separator="."`` as well, for what follows the broker's prefix."""

    def written(destination: str) -> str:
        return "/topic/" + destination.replace("/", separator)

    matching, others = PATTERNS[pattern]
    async with serve_spring(broker=EmbeddedBroker(["/topic"], separator=separator)) as spring:
        client = await spring.site.connect(carrier)
        await client.subscribe(written(pattern))
        for destination in sorted(matching | others):
            await spring.site.server.messaging.send(written(destination), destination)
        assert {frame.text for frame in await client.settle()} == matching


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_30_what_is_sent_to_is_never_a_pattern(site: Site, carrier: str) -> None:
    """Rule 7.30."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/p/a", "literal")
    await client.subscribe("/topic/p/?", "pattern")
    await site.server.messaging.send("/topic/p/*", "x")
    (frame,) = await client.settle()
    assert (frame.headers["subscription"], frame.headers["destination"]) == ("pattern", "/topic/p/*")


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_31_a_mapped_subscription_is_answered_once(site: Site, carrier: str) -> None:
    """Rule 7.31: with the destination that was asked for; what is broadcast later never uses its id."""
    client = await site.connect(carrier)
    await client.send("SUBSCRIBE", {"id": "init", "destination": "/app/init/42"})
    frame = await client.message()
    assert (frame.headers["destination"], frame.headers["subscription"]) == ("/app/init/42", "init")
    assert frame.text == '{"number":42}'
    for destination in ("/topic/init/42", "/queue/init/42"):
        await site.server.messaging.send(destination, "x")
    await client.send("SUBSCRIBE", {"id": "other", "destination": "/app/nobody"})
    assert await client.settle() == []


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_32_results_for_a_user_reach_every_session_of_the_user(site: Site, carrier: str) -> None:
    """Rule 7.32: under the name that was subscribed to; no internal name is seen."""
    alice, tab, bob = [await site.connect(carrier, user=name) for name in ("alice", "alice", "bob")]
    guest = await site.connect(carrier)
    for client in (alice, tab, bob, guest):
        await client.subscribe("/user/queue/me")
    await alice.publish("/app/me", "x")
    for client in (alice, tab):
        frame = await client.message()
        assert (frame.headers["destination"], frame.text) == ("/user/queue/me", "alice: x")
        assert b"user" not in frame.wire.replace(b"/user/queue/me", b"")
    await alice.settle()
    for client in (bob, guest):
        assert await client.settle() == []


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize(("user", "destination"), [("alice", "/app/me-alone"), ("", "/app/me")])
async def test_32_without_broadcast_and_for_guests_only_the_asking_session_is_answered(
    site: Site, user: str, destination: str, carrier: str
) -> None:
    """Rule 7.32."""
    client, other = await site.connect(carrier, user=user), await site.connect(carrier, user=user)
    for one in (client, other):
        await one.subscribe("/user/queue/me")
    await client.publish(destination, "x")
    assert (await client.message()).headers["destination"] == "/user/queue/me"
    assert await other.settle() == []


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("name", ["alice", "a/li/ce", "älice@example.org"])
async def test_33_with_compat_a_client_may_send_to_another_user(carrier: str, name: str) -> None:
    """Rule 7.33: a ``/`` in a name is written ``%2F``; nobody who listens to everything hears it."""
    async with serve_spring(compat="spring", authenticate=_login_is_name) as spring:
        site = spring.site
        alice = await site.connect(carrier, headers={"login": name})
        spy = await site.connect(carrier, headers={"login": "spy"})
        sender = await site.connect(carrier, headers={"login": "bob"})
        await alice.subscribe("/user/queue/me")
        for number, pattern in enumerate(("/queue/**", "/topic/**", "/queue/*", "/user/queue/me", "/queue/me")):
            await spy.subscribe(pattern, str(number))
        await sender.publish(f"/user/{name.replace('/', '%2F')}/queue/me", "psst")
        await sender.publish("/user/nobody/queue/me", "lost")
        assert await sender.settle() == []
        frame = await alice.message()
        assert (frame.headers["destination"], frame.text) == ("/user/queue/me", "psst")
        assert await spy.settle() == []


async def _login_is_name(login: object) -> str:
    return str(getattr(login, "login", ""))


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_33_by_default_it_may_not(site: Site, carrier: str) -> None:
    """Rule 7.33."""
    alice = await site.connect(carrier, user="alice")
    await alice.subscribe("/user/queue/me")
    client = await site.connect(carrier, user="bob")
    await client.publish("/user/alice/queue/me", "psst")
    await client.refused("not allowed")
    assert await alice.settle() == []


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_33_no_pattern_shows_one_user_s_messages_to_another(site: Site, carrier: str) -> None:
    """Rule 7.33: Spring shows them to whoever subscribes to ``/queue/**``."""
    alice = await site.connect(carrier, user="alice")
    await alice.subscribe("/user/queue/me")
    spy = await site.connect(carrier, user="spy")
    wanted = ["/queue/**", "/queue/*", "/queue/me-useralice", "/user/queue/me", "/queue/me", "/user/alice/queue/me"]
    for number, destination in enumerate(wanted):
        await spy.subscribe(destination, str(number))
    await site.server.messaging.send_to_user("alice", "/queue/me", "psst")
    assert (await alice.message()).text == "psst"
    assert await spy.settle() == []
    for pattern in ("/user/**", "/user/*/queue/me", "/**"):
        intruder = await site.connect(carrier, user="spy")
        await intruder.send("SUBSCRIBE", {"id": "1", "destination": pattern, "receipt": "r"})
        await intruder.refused()


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_36_receipts_come_after_the_effect(carrier: str) -> None:
    """Rule 7.36: on each command; what anybody publishes after that of a SUBSCRIBE is received."""
    async with serve_spring(compat="spring") as spring:
        site = spring.site
        publisher = await site.connect("tcp")
        client = await site.connect(carrier)
        await client.subscribe("/topic/messages", ack="client-individual")
        await publisher.ask("SEND", {"destination": "/app/echo"}, "x")
        frame = await client.message()
        assert await client.ask("ACK", {"id": frame.headers["ack"]}) == []
        await client.send("BEGIN", {"transaction": "t"})
        await client.publish("/app/echo", "y", transaction="t")
        assert await client.settle() == []
        await client.send("COMMIT", {"transaction": "t", "receipt": "commit"})
        answers = [await client.receive(), await client.receive()]
        assert [frame.command for frame in answers] == ["MESSAGE", "RECEIPT"]
        assert await client.ask("UNSUBSCRIBE", {"id": "sub-0"}) == []
        await publisher.ask("SEND", {"destination": "/app/echo"}, "z")
        assert await client.settle() == []


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_36_an_abort_discards(site: Site, carrier: str) -> None:
    """Rule 7.36: clients that never ask for receipts see none."""
    client = await site.connect(carrier)
    await client.subscribe("/topic/messages")
    await client.send("BEGIN", {"transaction": "t"})
    await client.publish("/app/echo", "x", transaction="t")
    await client.send("ABORT", {"transaction": "t"})
    await client.publish("/app/echo", "y")
    assert (await client.message()).text == "y"


@pytest.mark.parametrize("way", ["NACK", "UNSUBSCRIBE", "DISCONNECT", "gone"])
@pytest.mark.parametrize("carrier", CARRIERS)
async def test_36_what_was_not_acknowledged_comes_again_with_redelivered(carrier: str, way: str) -> None:
    """Rule 7.36: where ``/queue`` is one of queues; Spring's simple broker gives everybody everything, once."""
    broker = EmbeddedBroker(topics=["/topic"], queues=["/queue"])
    async with serve_spring({"disconnect_delay": 0.3}, broker=broker, policy=OPEN_POLICY) as spring:
        site = spring.site
        client, other = await site.connect(carrier), await site.connect(carrier)
        await client.subscribe("/queue/jobs", ack="client-individual")
        await site.server.messaging.send("/queue/jobs", "job")
        frame = await client.message()
        assert "redelivered" not in frame.headers
        if way == "NACK":
            await client.send("NACK", client.settling(frame))
            other = client
        elif way == "UNSUBSCRIBE":
            await client.ask("UNSUBSCRIBE", {"id": "sub-0"})
        elif way == "DISCONNECT":
            await client.ask("DISCONNECT")
        else:
            await client.vanish()
        if other is not client:
            await other.send("SUBSCRIBE", {"id": "1", "destination": "/queue/jobs", "ack": "client-individual"})
        again = await other.message()
        assert (again.text, again.headers["redelivered"]) == ("job", "true")
        assert await other.acknowledge(again) == []
        assert broker.counters.settled == 1
