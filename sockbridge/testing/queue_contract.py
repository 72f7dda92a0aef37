"""What a broker with queues promises: consumers that compete, temporary queues, transactions.

Knows: what clients of STOMP can see.
Does not know: any broker.
Spec: docs/stomp-conformance.md, sections 4, 8 and 9.
"""

from __future__ import annotations

import itertools

from ..stomp.frame import Command
from .stage import (
    DEAD,
    INDIVIDUAL,
    QUEUE,
    TOPIC,
    Contract,
    Stage,
    abort,
    assert_died,
    assert_refused,
    bodies,
    body,
    drain_queue,
    drop_all,
    scene,
    unsubscribe,
)
from .stomp_client import MemoryClient


class QueueContract(Contract):
    """A queue's message waits, and goes to one consumer."""

    @scene()
    async def test_what_waits_comes_in_order_to_whoever_comes(self, stage: Stage) -> None:
        await stage.publish(QUEUE, "1", "2", "3")
        assert bodies(await (await stage.consumer()).messages(3)) == ["1", "2", "3"]

    @scene()
    async def test_each_message_goes_to_one_consumer_in_turn(self, stage: Stage) -> None:
        consumers = [await stage.consumer(QUEUE, headers) for headers in ({}, {"ack": "client"}, INDIVIDUAL)]
        await stage.publish(QUEUE, *map(str, range(9)))
        shares = [await stage.came(consumer) for consumer in consumers]
        assert [len(share) for share in shares] == [3, 3, 3]
        assert sorted(itertools.chain(*shares)) == list(map(str, range(9)))
        assert all(share == sorted(share) for share in shares)

    @scene()
    async def test_who_has_its_fill_gets_more_when_it_has_acknowledged(self, stage: Stage) -> None:
        for name in ("prefetch-count", "activemq.prefetchSize"):
            consumer = await stage.consumer(QUEUE, {**INDIVIDUAL, name: "2"})
            await stage.publish(QUEUE, "1", "2", "3", "4")
            first, second = await consumer.messages(2)
            assert await stage.came(consumer) == []
            await consumer.ack(second)
            assert body(await consumer.message()) == "3"
            await consumer.ack(first)
            last = await consumer.message()
            assert body(last) == "4"
            await consumer.cut()
            await drain_queue(stage, QUEUE)

    @scene(prefetch=2, max_prefetch=3)
    async def test_prefetch_has_a_default_and_a_limit(self, stage: Stage) -> None:
        await stage.publish(QUEUE, *map(str, range(9)))
        assert len(await stage.came(await stage.consumer(QUEUE, INDIVIDUAL))) == 2
        for asked in ("0", "100"):
            assert len(await stage.came(await stage.consumer(QUEUE, {**INDIVIDUAL, "prefetch-count": asked}))) == 3

    @scene()
    async def test_in_mode_client_an_ack_covers_the_earlier_messages_of_its_subscription_alone(
        self, stage: Stage
    ) -> None:
        client = await stage.client()
        for id in ("a", "b"):
            await client.subscribe(id, QUEUE, {"ack": "client"})
        await stage.publish(QUEUE, *map(str, range(6)))
        messages = await client.messages(6)
        mine = [message for message in messages if message.headers["subscription"] == "a"]
        assert len(mine) == 3
        await client.ack(mine[1])
        await client.cut()
        left = await drain_queue(stage, QUEUE)
        assert left == sorted({body(message) for message in messages} - {body(mine[0]), body(mine[1])})

    @scene()
    async def test_a_nack_puts_a_message_back_to_the_front(self, stage: Stage) -> None:
        consumer = await stage.consumer(QUEUE, {**INDIVIDUAL, "prefetch-count": "1"})
        await stage.publish(QUEUE, "1", "2")
        await consumer.nack(await consumer.message())
        again = await consumer.message()
        assert (body(again), again.headers["redelivered"], again.headers["x-delivery-count"]) == ("1", "true", "1")
        await consumer.ack(again)
        following = await consumer.message()
        assert body(following) == "2"
        assert "redelivered" not in following.headers

    @scene()
    async def test_a_nack_without_requeue_leads_to_the_dead_letters(self, stage: Stage) -> None:
        consumer = await stage.consumer(QUEUE, INDIVIDUAL)
        await stage.publish(QUEUE, "1")
        await consumer.nack(await consumer.message(), {"requeue": "false"})
        assert await stage.came(consumer) == []
        dead = await (await stage.consumer(DEAD)).message()
        assert_died(dead, "1", "rejected", 1)

    @scene()
    async def test_what_a_lost_consumer_had_not_settled_comes_back_in_order(self, stage: Stage) -> None:
        for leave in (MemoryClient.cut, MemoryClient.disconnect, unsubscribe):
            consumer = await stage.consumer(QUEUE, {"ack": "client", "prefetch-count": "4"})
            await stage.publish(QUEUE, "1", "2", "3", "4")
            messages = await consumer.messages(4)
            await consumer.ack(messages[0])
            await stage.publish(QUEUE, "5", "6")  # one more for it, and one that waits
            await leave(consumer)
            await stage.publish(QUEUE, "7")
            got = await (await stage.consumer()).messages(6)
            assert bodies(got) == ["2", "3", "4", "5", "6", "7"]
            assert ["redelivered" in message.headers for message in got] == [True] * 4 + [False] * 2
            await drop_all(stage)

    @scene(max_deliveries=3)
    async def test_a_message_that_nobody_can_take_ends_among_the_dead_letters(self, stage: Stage) -> None:
        consumer = await stage.consumer(QUEUE, INDIVIDUAL)
        await stage.publish(QUEUE, "poison")
        await consumer.nack(await consumer.message())
        await consumer.nack(await consumer.message())
        assert (await consumer.message()).headers["x-delivery-count"] == "2"
        await consumer.cut()
        assert_died(await (await stage.consumer(DEAD)).message(), "poison", "delivery_limit", 3)
        assert await stage.came(await stage.consumer()) == []

    @scene()
    async def test_what_expires_before_it_is_taken_is_dead(self, stage: Stage) -> None:
        dead = await stage.consumer(DEAD)
        client = await stage.client()
        await client.publish(QUEUE, "old", {"expiration": "10000"})
        await client.publish(QUEUE, "older", {"expiration": "5000"})
        await client.publish(QUEUE, "lasting")
        await stage.advance(6.0)
        assert_died(await dead.message(), "older", "expired", 0)
        consumer = await stage.consumer(QUEUE, INDIVIDUAL)
        first, second = await consumer.messages(2)
        assert bodies([first, second]) == ["old", "lasting"]
        await stage.advance(6.0)  # what a consumer has does not expire, but does not come back either
        assert await stage.came(dead) == []
        await consumer.nack(first)
        assert_died(await dead.message(), "old", "expired", 1)

    @scene(max_queue_length=2)
    async def test_a_full_queue_refuses_and_keeps_what_it_has(self, stage: Stage) -> None:
        client = await stage.client()
        for text in ("1", "2"):
            assert (await client.publish(QUEUE, text)).command is Command.RECEIPT
        refused = await client.publish(QUEUE, "3")
        assert_refused(client, refused, "queue full", "max_queue_length (2)")
        assert await drain_queue(stage, QUEUE) == ["1", "2"]

    @scene(max_queue_length=2, on_queue_full="drop_oldest")
    async def test_a_full_queue_may_drop_its_oldest_instead(self, stage: Stage) -> None:
        client = await stage.client()
        for text in ("1", "2", "3"):
            assert (await client.publish(QUEUE, text)).command is Command.RECEIPT
        assert_died(await (await stage.consumer(DEAD)).message(), "1", "maxlen", 0)
        assert await drain_queue(stage, QUEUE) == ["2", "3"]

    @scene()
    async def test_a_slow_consumer_loses_nothing_and_holds_nobody_up(self, stage: Stage) -> None:
        slow, quick = await stage.consumer(), await stage.consumer()
        slow.stop_reading()
        await stage.publish(QUEUE, *(f"{number:03}" for number in range(300)))
        swift = await stage.came(quick)
        slow.read_on()
        late = await stage.came(slow)
        assert sorted(swift + late) == [f"{number:03}" for number in range(300)]
        assert len(swift) > len(late)

    @scene()
    async def test_a_fault_of_a_consumer_loses_nothing_that_it_had(self, stage: Stage) -> None:
        for fault in ({"id": "1-999999"}, {"id": "nonsense"}):
            consumer = await stage.consumer(QUEUE, INDIVIDUAL)
            await stage.publish(QUEUE, "1")
            await consumer.message()
            await consumer.send("ACK", fault)
            assert (await consumer.frame()).command is Command.ERROR
            await consumer.cut()
            again = await (await stage.consumer()).message()
            assert (body(again), again.headers["redelivered"]) == ("1", "true")
            await drop_all(stage)

    @scene()
    async def test_what_makes_no_sense_is_refused_by_name(self, stage: Stage) -> None:
        wrong: list[tuple[str, dict[str, str], str]] = [
            ("SUBSCRIBE", {"id": "1", "destination": "/queue/*"}, "wildcards"),
            ("SUBSCRIBE", {"id": "1", "destination": QUEUE, "prefetch-count": "many"}, "prefetch-count"),
            ("SEND", {"destination": "/queue/*"}, "wildcards"),
            ("SEND", {"destination": QUEUE, "expiration": "-1"}, "expiration"),
        ]
        for command, headers, text in wrong:
            client = await stage.client()
            assert_refused(client, await client.ask(command, headers), text)
            await client.cut()
        consumer = await stage.consumer(QUEUE, INDIVIDUAL)
        await stage.publish(QUEUE, "1")
        id = (await consumer.message()).headers["ack"]
        assert_refused(consumer, await consumer.ask("NACK", {"id": id, "requeue": "maybe"}), "requeue")
        await consumer.cut()
        assert await drain_queue(stage, QUEUE) == ["1"]


class TemporaryQueueContract(Contract):
    """Each client has queues of its own, to which others can answer."""

    @scene()
    async def test_who_is_asked_can_answer(self, stage: Stage) -> None:
        asking, answering = await stage.client(), await stage.consumer()
        await asking.subscribe("answers", "/temp-queue/answers")
        await asking.publish(QUEUE, "2 + 2", {"reply-to": "/temp-queue/answers"})
        question = await answering.message()
        told = await answering.publish(question.headers["reply-to"], "4")
        assert told.command is Command.RECEIPT
        answer = await asking.message()
        assert (body(answer), answer.headers["subscription"]) == ("4", "answers")

    @scene()
    async def test_an_answer_waits_for_the_subscription(self, stage: Stage) -> None:
        asking, answering = await stage.client(), await stage.consumer()
        await asking.publish(QUEUE, "2 + 2", {"reply-to": "/temp-queue/answers"})
        await answering.publish((await answering.message()).headers["reply-to"], "4")
        await asking.subscribe("answers", "/temp-queue/answers")
        assert body(await asking.message()) == "4"

    @scene()
    async def test_equal_names_of_two_clients_are_two_queues(self, stage: Stage) -> None:
        one, two = await stage.consumer("/temp-queue/x"), await stage.consumer("/temp-queue/x")
        await one.publish("/temp-queue/x", "mine")
        assert (await stage.came(one), await stage.came(two)) == (["mine"], [])

    @scene()
    async def test_nobody_else_can_listen(self, stage: Stage) -> None:
        asking, spy = await stage.consumer("/temp-queue/x"), await stage.consumer()
        await asking.publish(QUEUE, "", {"reply-to": "/temp-queue/x"})
        address = (await spy.message()).headers["reply-to"]
        assert_refused(spy, await spy.subscribe("spy", address), "somebody else's")
        await spy.cut()

    @scene()
    async def test_a_temporary_queue_is_gone_with_its_client(self, stage: Stage) -> None:
        for leave in (MemoryClient.cut, MemoryClient.disconnect):
            asking, answering = await stage.client(), await stage.consumer()
            await asking.publish(QUEUE, "", {"reply-to": "/temp-queue/x"})
            address = (await answering.message()).headers["reply-to"]
            await leave(asking)
            assert (await answering.publish(address, "late")).command is Command.RECEIPT
            await answering.cut()

    @scene(max_queue_length=2)
    async def test_who_answers_never_suffers_from_who_does_not_read(self, stage: Stage) -> None:
        asking, answering = await stage.client(), await stage.consumer()
        await asking.publish(QUEUE, "", {"reply-to": "/temp-queue/x"})
        address = (await answering.message()).headers["reply-to"]
        for number in range(5):
            assert (await answering.publish(address, str(number))).command is Command.RECEIPT
        await asking.subscribe("s", "/temp-queue/x")
        messages = await asking.messages(2)
        assert bodies(messages) == ["3", "4"]
        assert [message.headers.get("x-missed") for message in messages] == ["3", None]

    @scene(max_temporary_queues=2)
    async def test_a_client_has_so_many_and_no_more(self, stage: Stage) -> None:
        client = await stage.client()
        for id, name in enumerate(("a", "b", "a")):  # the third is one that it has
            assert (await client.subscribe(str(id), f"/temp-queue/{name}")).command is Command.RECEIPT
        assert_refused(client, await client.subscribe("c", "/temp-queue/c"), "too many temporary queues", "2")


class TransactionContract(Contract):
    """What belongs together happens together, or not at all."""

    @scene()
    async def test_nothing_happens_before_the_commit_and_then_all_in_order(self, stage: Stage) -> None:
        worker = await stage.consumer(QUEUE, {**INDIVIDUAL, "prefetch-count": "1"})
        done, log = await stage.consumer("/queue/done"), await stage.consumer(TOPIC)
        await stage.publish(QUEUE, "job", "next")
        job = await worker.message()
        await worker.send("BEGIN", {"transaction": "t"})
        await worker.send("SEND", {"destination": "/queue/done", "transaction": "t", "receipt": "sent"}, "result")
        await worker.ack(job, {"transaction": "t"})
        await worker.send("SEND", {"destination": TOPIC, "transaction": "t"}, "1")
        await worker.send("SEND", {"destination": TOPIC, "transaction": "t"}, "2")
        assert [await stage.came(client) for client in (done, log)] == [[], []]
        assert worker.take() == []
        await worker.send("COMMIT", {"transaction": "t", "receipt": "committed"})
        await stage.quiet()
        frames = worker.take()
        receipts = [frame.headers["receipt-id"] for frame in frames if frame.command is Command.RECEIPT]
        assert sorted(receipts) == ["committed", "sent"]
        assert bodies(frames) == ["next"]
        assert [await stage.came(client) for client in (done, log)] == [["result"], ["1", "2"]]

    @scene()
    async def test_what_is_aborted_or_lost_has_never_happened(self, stage: Stage) -> None:
        for undo in (abort, MemoryClient.cut, MemoryClient.disconnect):
            worker = await stage.consumer(QUEUE, {**INDIVIDUAL, "prefetch-count": "1"})
            await stage.publish(QUEUE, "job")
            job = await worker.message()
            await worker.send("BEGIN", {"transaction": "t"})
            await worker.send("SEND", {"destination": "/queue/done", "transaction": "t", "receipt": "never"}, "result")
            await worker.ack(job, {"transaction": "t"})
            await undo(worker)
            assert "never" not in [frame.headers.get("receipt-id") for frame in worker.take()]
            await worker.cut()
            again = await (await stage.consumer()).message()
            assert (body(again), again.headers["redelivered"]) == ("job", "true")
            assert await stage.came(await stage.consumer("/queue/done")) == []
            await drop_all(stage)

    @scene()
    async def test_a_nack_counts_from_the_commit(self, stage: Stage) -> None:
        worker = await stage.consumer(QUEUE, {**INDIVIDUAL, "prefetch-count": "1"})
        await stage.publish(QUEUE, "job")
        job = await worker.message()
        await worker.send("BEGIN", {"transaction": "t"})
        await worker.nack(job, {"transaction": "t"})
        assert await stage.came(worker) == []
        await worker.send("COMMIT", {"transaction": "t"})
        assert (await worker.message()).headers["redelivered"] == "true"

    @scene(max_queue_length=2)
    async def test_a_commit_that_does_not_fit_has_no_effect_at_all(self, stage: Stage) -> None:
        worker = await stage.consumer(QUEUE, INDIVIDUAL)
        log = await stage.consumer(TOPIC)
        await stage.publish(QUEUE, "job")
        job = await worker.message()
        await worker.send("BEGIN", {"transaction": "t"})
        await worker.ack(job, {"transaction": "t"})
        await worker.send("SEND", {"destination": TOPIC, "transaction": "t"}, "done")
        for number in range(3):
            await worker.send("SEND", {"destination": "/queue/done", "transaction": "t"}, str(number))
        assert_refused(worker, await worker.ask("COMMIT", {"transaction": "t"}), "queue full", "max_queue_length (2)")
        await worker.cut()
        assert await stage.came(log) == []
        assert await stage.came(await stage.consumer("/queue/done")) == []
        assert await drain_queue(stage, QUEUE) == ["job"]

    @scene(max_size=1000)
    async def test_a_commit_over_several_queues_fits_as_a_whole(self, stage: Stage) -> None:
        client = await stage.client()
        await client.send("BEGIN", {"transaction": "t"})
        for name in ("a", "b"):
            await client.send("SEND", {"destination": f"/queue/{name}", "transaction": "t"}, "x" * 600)
        assert_refused(client, await client.ask("COMMIT", {"transaction": "t"}), "queue full", "max_size (1000)")
        await client.cut()
        for name in ("a", "b"):
            assert await drain_queue(stage, f"/queue/{name}") == []

    @scene(max_queues=2)
    async def test_a_commit_that_needs_too_many_queues_has_no_effect_at_all(self, stage: Stage) -> None:
        client = await stage.client()
        await client.send("BEGIN", {"transaction": "t"})
        for name in ("a", "b", "c"):
            await client.send("SEND", {"destination": f"/queue/{name}", "transaction": "t"}, "x")
        assert_refused(client, await client.ask("COMMIT", {"transaction": "t"}), "queue full", "max_queues (2)")
        await client.cut()
        for name in ("a", "b", "c"):
            assert await drain_queue(stage, f"/queue/{name}") == []

    @scene()
    async def test_a_commit_with_a_wrong_ack_has_no_effect_at_all(self, stage: Stage) -> None:
        worker, log = await stage.consumer(QUEUE, INDIVIDUAL), await stage.consumer(TOPIC)
        await stage.publish(QUEUE, "job")
        job = await worker.message()
        await worker.send("BEGIN", {"transaction": "t"})
        await worker.send("SEND", {"destination": TOPIC, "transaction": "t"}, "done")
        await worker.ack(job, {"transaction": "t"})
        await worker.ack(job, {"transaction": "t"})
        assert_refused(worker, await worker.ask("COMMIT", {"transaction": "t"}), "waits for none")
        await worker.cut()
        assert await stage.came(log) == []
        assert await drain_queue(stage, QUEUE) == ["job"]
