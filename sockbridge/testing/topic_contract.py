"""What a broker with topics promises: everybody gets each message; who comes back misses nothing; who is there.

Knows: what clients of STOMP can see.
Does not know: any broker.
Spec: docs/stomp-conformance.md, sections 3 and 10 to 12.
"""

from __future__ import annotations

from ..stomp.broker.history import History
from ..stomp.frame import Command
from .stage import (
    DURABLE,
    KEPT,
    KEPT_SIZE,
    LAST,
    ROOM,
    TOPIC,
    Contract,
    Stage,
    assert_refused,
    bodies,
    body,
    news,
    scene,
    since,
)
from .stomp_client import MemoryClient


class TopicContract(Contract):
    """A topic's message goes to whoever has subscribed."""

    @scene()
    async def test_everybody_who_has_subscribed_gets_each_message_in_order(self, stage: Stage) -> None:
        one, two = await stage.consumer(TOPIC), await stage.consumer(TOPIC, {"ack": "client"})
        other = await stage.consumer("/topic/other")
        await stage.publish(TOPIC, "1", "2", "3")
        assert bodies(await one.messages(3)) == bodies(await two.messages(3)) == ["1", "2", "3"]
        assert await stage.came(other) == []

    @scene()
    async def test_a_topic_keeps_nothing_for_whoever_comes_later(self, stage: Stage) -> None:
        await stage.publish(TOPIC, "1")
        assert await stage.came(await stage.consumer(TOPIC)) == []

    @scene()
    async def test_who_unsubscribes_gets_nothing_more(self, stage: Stage) -> None:
        client = await stage.consumer(TOPIC)
        await client.ask("UNSUBSCRIBE", {"id": "s"})
        await stage.publish(TOPIC, "1")
        assert await stage.came(client) == []

    @scene()
    async def test_patterns_get_what_they_match(self, stage: Stage) -> None:
        single, double = await stage.consumer("/topic/*"), await stage.consumer("/topic/**")
        await stage.publish("/topic/a", "a")
        await stage.publish("/topic/a/b", "b")
        assert await stage.came(single) == ["a"]
        assert await stage.came(double) == ["a", "b"]


class ReplayContract(Contract):
    """Who comes back gets what it has missed."""

    @scene()
    async def test_offsets_count_without_gaps_within_one_epoch(self, stage: Stage) -> None:
        one, two = await stage.consumer(KEPT), await stage.consumer("/topic/kept/*")
        await stage.publish(KEPT, *"abc")
        for client in (one, two):
            messages = await client.messages(3)
            assert [message.headers["x-offset"] for message in messages] == ["1", "2", "3"]
            assert len({message.headers["x-epoch"] for message in messages}) == 1

    @scene()
    async def test_who_comes_back_gets_what_it_missed_and_then_what_comes(self, stage: Stage) -> None:
        client = await stage.consumer(KEPT)
        await stage.publish(KEPT, "a", "b")
        _, last = await client.messages(2)
        await client.cut()
        await stage.publish(KEPT, "c", "d")
        back = await stage.client()
        told = await back.subscribe("s", KEPT, since(last))
        assert (told.headers["x-missed"], told.headers["x-offset"]) == ("0", "4")
        await stage.publish(KEPT, "e")
        messages = await back.messages(3)
        assert bodies(messages) == ["c", "d", "e"]
        assert not any("x-missed" in message.headers for message in messages)
        assert await stage.came(back) == []

    @scene()
    async def test_what_cannot_be_given_any_more_is_said(self, stage: Stage) -> None:
        client = await stage.consumer(KEPT)
        await stage.publish(KEPT, "0")
        last = await client.message()
        await client.cut()
        await stage.publish(KEPT, *map(str, range(1, KEPT_SIZE + 4)))
        back = await stage.client()
        told = await back.subscribe("s", KEPT, since(last))
        assert told.headers["x-missed"] == "3"
        messages = await back.messages(KEPT_SIZE)
        assert bodies(messages) == list(map(str, range(4, KEPT_SIZE + 4)))
        assert [message.headers.get("x-missed") for message in messages] == ["3", *[None] * (KEPT_SIZE - 1)]

    @scene(history=[History("/topic/kept/*", size=KEPT_SIZE, seconds=60)])
    async def test_where_nothing_is_left_the_next_message_says_so(self, stage: Stage) -> None:
        client = await stage.consumer(KEPT)
        await stage.publish(KEPT, "0")
        last = await client.message()
        await client.cut()
        await stage.publish(KEPT, "1", "2")
        await stage.advance(61.0)
        back = await stage.client()
        told = await back.subscribe("s", KEPT, since(last))
        assert told.headers["x-missed"] == "2"
        assert await stage.came(back) == []
        await stage.publish(KEPT, "3", "4")
        assert [message.headers.get("x-missed") for message in await back.messages(2)] == ["2", None]

    @scene()
    async def test_an_epoch_that_nobody_knows_is_said(self, stage: Stage) -> None:
        await stage.publish(KEPT, "a", "b")
        for offset in ("1", "2", "1000"):
            client = await stage.client()
            told = await client.subscribe("s", KEPT, {"x-since": offset, "x-epoch": "of-another-life"})
            assert told.headers["x-missed"] == "unknown"
            messages = await client.messages(2)
            assert bodies(messages) == ["a", "b"]
            assert [message.headers.get("x-missed") for message in messages] == ["unknown", None]
            await client.cut()

    @scene()
    async def test_all_that_is_kept_can_be_asked_for_by_pattern_as_well(self, stage: Stage) -> None:
        await stage.publish("/topic/kept/b", "1")
        await stage.publish(KEPT, "2")
        await stage.publish("/topic/kept/b", "3")
        everything = await stage.consumer("/topic/kept/*", {"x-since": "0"})
        await stage.publish(KEPT, "4")
        assert await stage.came(everything) == ["1", "2", "3", "4"]
        assert await stage.came(await stage.consumer(KEPT, {"x-since": "0"})) == ["2", "4"]
        assert await stage.came(await stage.consumer(KEPT)) == []

    @scene()
    async def test_a_last_value_comes_unasked(self, stage: Stage) -> None:
        await stage.publish(LAST, "1", "2")
        client = await stage.consumer(LAST)
        await stage.publish(LAST, "3")
        assert await stage.came(client) == ["2", "3"]

    @scene(history=[History("/topic/kept/*", size=1000)])
    async def test_all_that_was_missed_comes_though_nothing_more_is_published(self, stage: Stage) -> None:
        await stage.publish(KEPT, *map(str, range(500)))
        for destination in (KEPT, "/topic/kept/*"):
            client = await stage.consumer(destination, {"x-since": "0"})
            assert bodies(await client.messages(500)) == list(map(str, range(500)))

    @scene(history=[History("/topic/kept/*", size=1000)])
    async def test_a_slow_reader_catches_up_without_gap_or_repetition(self, stage: Stage) -> None:
        client = await stage.consumer(KEPT)
        await stage.publish(KEPT, *(f"{number:04}" for number in range(300)))
        messages = await client.messages(300)
        await client.cut()
        await stage.publish(KEPT, *(f"{number:04}" for number in range(300, 600)))
        back = await stage.client()
        back.stop_reading()
        await back.send("SUBSCRIBE", {"id": "s", "destination": KEPT, **since(messages[-1])})
        for number in range(600, 700):
            await stage.publish(KEPT, f"{number:04}")
            if number % 10 == 0:
                back.read_on()
                await stage.quiet()
                back.stop_reading()
        back.read_on()
        got = await stage.came(back)
        await stage.publish(KEPT, "0700")
        assert got + await stage.came(back) == [f"{number:04}" for number in range(300, 701)]

    @scene()
    async def test_what_is_unclear_is_refused_by_name(self, stage: Stage) -> None:
        wrong: list[tuple[str, dict[str, str], str]] = [
            (KEPT, {"x-since": "5"}, "x-epoch"),
            (KEPT, {"x-since": "five", "x-epoch": "e"}, "x-since"),
            ("/topic/kept/*", {"x-since": "5", "x-epoch": "e"}, "one destination"),
        ]
        for destination, headers, text in wrong:
            client = await stage.client()
            assert_refused(client, await client.subscribe("s", destination, headers), text)
            await client.cut()


class DurableContract(Contract):
    """Who is away for a while misses nothing."""

    @scene()
    async def test_what_comes_meanwhile_waits(self, stage: Stage) -> None:
        for leave in (MemoryClient.cut, MemoryClient.disconnect):
            client = await stage.client("ada")
            assert (await client.subscribe("s", TOPIC, DURABLE)).headers["x-resumed"] == "false"
            await stage.publish(TOPIC, "1")
            assert body(await client.message()) == "1"
            await leave(client)
            await stage.publish(TOPIC, "2", "3")
            back = await stage.client("ada")
            assert (await back.subscribe("t", TOPIC, DURABLE)).headers["x-resumed"] == "true"
            await stage.publish(TOPIC, "4")
            assert bodies(await back.messages(3)) == ["2", "3", "4"]
            await back.ask("UNSUBSCRIBE", {"id": "t"})
            await back.cut()

    @scene()
    async def test_the_client_may_be_named_when_it_connects(self, stage: Stage) -> None:
        headers = {"client-id": "desk"}
        client = await stage.client("ada", headers)
        await client.subscribe("s", TOPIC, {"durable": "true"})
        await client.cut()
        await stage.publish(TOPIC, "1")
        back = await stage.client("ada", headers)
        await back.subscribe("s", TOPIC, {"durable": "true"})
        assert body(await back.message()) == "1"

    @scene()
    async def test_what_was_not_acknowledged_comes_again(self, stage: Stage) -> None:
        client = await stage.client("ada")
        await client.subscribe("s", TOPIC, {**DURABLE, "ack": "client"})
        await stage.publish(TOPIC, "1", "2", "3")
        messages = await client.messages(3)
        await client.ack(messages[0])
        await client.cut()
        back = await stage.client("ada")
        await back.subscribe("s", TOPIC, {**DURABLE, "ack": "client"})
        got = await back.messages(2)
        assert bodies(got) == ["2", "3"]
        assert all(message.headers["redelivered"] == "true" for message in got)

    @scene()
    async def test_nobody_else_gets_at_it(self, stage: Stage) -> None:
        client = await stage.client("ada")
        await client.subscribe("s", TOPIC, DURABLE)
        await client.cut()
        await stage.publish(TOPIC, "for ada")
        for user in ("bob", None):
            other = await stage.client(user)
            assert (await other.subscribe("s", TOPIC, DURABLE)).headers["x-resumed"] == "false"
            assert await stage.came(other) == []

    @scene()
    async def test_who_unsubscribes_ends_it(self, stage: Stage) -> None:
        client = await stage.client("ada")
        await client.subscribe("s", TOPIC, DURABLE)
        await client.ask("UNSUBSCRIBE", {"id": "s"})
        await client.cut()
        await stage.publish(TOPIC, "1")
        back = await stage.client("ada")
        assert (await back.subscribe("s", TOPIC, DURABLE)).headers["x-resumed"] == "false"
        assert await stage.came(back) == []

    @scene(durable_grace=30.0)
    async def test_after_the_grace_it_is_over(self, stage: Stage) -> None:
        client = await stage.client("ada")
        await client.subscribe("s", TOPIC, DURABLE)
        await client.cut()
        await stage.publish(TOPIC, "1")
        await stage.advance(32.0)
        back = await stage.client("ada")
        assert (await back.subscribe("s", TOPIC, DURABLE)).headers["x-resumed"] == "false"
        assert await stage.came(back) == []

    @scene(max_durable_length=3)
    async def test_what_was_dropped_is_said(self, stage: Stage) -> None:
        client = await stage.client("ada")
        await client.subscribe("s", TOPIC, DURABLE)
        await client.cut()
        await stage.publish(TOPIC, "1", "2", "3", "4", "5")
        back = await stage.client("ada")
        await back.subscribe("s", TOPIC, DURABLE)
        messages = await back.messages(3)
        assert bodies(messages) == ["3", "4", "5"]
        assert [message.headers.get("x-missed") for message in messages] == ["2", None, None]

    @scene()
    async def test_who_comes_second_takes_over(self, stage: Stage) -> None:
        first, second = await stage.client("ada"), await stage.client("ada")
        await first.subscribe("s", TOPIC, DURABLE)
        assert (await second.subscribe("s", TOPIC, DURABLE)).headers["x-resumed"] == "true"
        assert (await first.frame()).command is Command.ERROR
        assert first.close_code is not None
        await first.cut()
        await stage.publish(TOPIC, "1")
        assert await stage.came(second) == ["1"]

    @scene()
    async def test_what_contradicts_itself_is_refused_by_name(self, stage: Stage) -> None:
        wrong: list[tuple[dict[str, str], str]] = [
            ({"durable": "true"}, "client-id"),
            ({"durable": "perhaps", "client-id": "desk"}, "durable"),
            ({**DURABLE, "x-since": "0"}, "x-since"),
        ]
        for headers, text in wrong:
            client = await stage.client("ada")
            assert_refused(client, await client.subscribe("s", KEPT, headers), text)
            await client.cut()


class PresenceContract(Contract):
    """One can see who is there."""

    @scene()
    async def test_who_comes_and_goes_is_told_once_per_user(self, stage: Stage) -> None:
        watcher = await stage.consumer(f"/presence{ROOM}")
        assert news(await watcher.message()) == {"type": "here", "users": [], "count": 0}
        tabs = [await stage.client("ada") for _ in range(2)]
        for tab in tabs:
            await tab.subscribe("s", ROOM)
        bob = await stage.client("bob")
        await bob.subscribe("s", ROOM)
        guest = await stage.consumer(ROOM)
        late = await stage.consumer(f"/presence{ROOM}")
        assert news(await late.message()) == {"type": "here", "users": ["ada", "bob"], "count": 3}
        await tabs[0].cut()
        await tabs[1].ask("UNSUBSCRIBE", {"id": "s"})
        await guest.disconnect()
        await stage.quiet()
        told = [(change["type"], change["user"], change["count"]) for change in map(news, watcher.take())]
        assert told == [
            ("join", "ada", 1),
            ("join", "bob", 2),
            ("join", None, 3),
            ("leave", "ada", 2),
            ("leave", None, 1),
        ]

    @scene()
    async def test_who_looks_on_by_pattern_is_not_there(self, stage: Stage) -> None:
        watcher = await stage.consumer("/presence/topic/rooms/*")
        await stage.consumer("/topic/rooms/*")
        await stage.consumer("/topic/elsewhere")
        assert await stage.came(watcher) == []
        ada = await stage.client("ada")
        await ada.subscribe("s", ROOM)
        joined = await watcher.message()
        assert joined.destination == f"/presence{ROOM}"
        assert news(joined) == {"type": "join", "user": "ada", "count": 1}

    @scene()
    async def test_only_the_server_tells(self, stage: Stage) -> None:
        liar = await stage.client()
        assert_refused(liar, await liar.publish(f"/presence{ROOM}", "{}"), "present")
