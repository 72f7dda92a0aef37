"""Back-end services on the embedded broker, with clients of others over TCP as they come: stomp.py and stompman.

What they do is what queues, durable subscriptions and replay are for; pages join in where that matters, as
``tests.stomp.peers``. Real pages are in tests/browser/test_stomp_broker.py.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import stompman

from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.broker.history import History
from sockbridge.stomp.frame import Command
from sockbridge.stomp.policy import EVERYBODY, Rule
from sockbridge.stomp.server import StompServer
from sockbridge.stomp.tcp import TcpListener
from sockbridge.stomp.users import Login, User
from tests.fakes import GUARD
from tests.stomp.foreign import (
    LIBRARIES,
    VERSIONS,
    Ear,
    Inbox,
    confirmed,
    settle,
    stomp_py,
    stompman_client,
    subscribe,
    victim,
)
from tests.stomp.peers import Site, site
from tests.transports.wire import until

JOBS: Final = "/queue/jobs"
DEAD: Final = "/queue/dead-letters"
NACKING: Final = ("1.1", "1.2")
"""Versions of stomp.py that have NACK."""

MAX_QUEUE_LENGTH: Final = 200


OPEN = [Rule.connect(EVERYBODY), Rule.subscribe("**", EVERYBODY), Rule.send("**", EVERYBODY)]
"""Services may do everything."""


async def authenticate(login: Login) -> User:
    """Whoever comes, by any name."""
    return User(login.login)


def make_server(*listeners: TcpListener) -> StompServer:
    broker = EmbeddedBroker(
        ["/topic"],
        queues=["/queue"],
        history=[History("/topic/kept/*")],
        max_queue_length=MAX_QUEUE_LENGTH,
        max_deliveries=5,
    )
    return StompServer(broker, authenticate=authenticate, listeners=listeners, policy=OPEN)


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    """A server with a broker and a TCP listener; at its end nothing may be lent to a client that has gone."""
    async with site(make_server, tcp={"shutdown_grace": 0.1}, disconnect_delay=0.05) as running:
        yield running
        await running.dismiss()
        await until(lambda: len(running.server) == 0)
        for queue in broker_of(running).queues.values():
            assert (queue.lent, queue.consumers) == (0, 0), queue


def broker_of(here: Site) -> EmbeddedBroker:
    broker = here.server.broker
    assert isinstance(broker, EmbeddedBroker)
    return broker


async def publish(here: Site, *bodies: str, destination: str = JOBS, **headers: str) -> None:
    for body in bodies:
        await here.server.messaging.send(destination, body, headers)


async def page(here: Site, carrier: str = "websocket") -> Any:
    """A page that has logged in."""
    peer = await here.peer(carrier)
    await peer.connect({"login": "page", "passcode": "secret"})
    return peer


# Work that is shared.


async def test_each_job_is_done_once_and_every_client_has_its_share(here: Site) -> None:
    async with (
        stomp_py(here, "1.0") as (ten, ear_of_ten),
        stomp_py(here, "1.1") as (eleven, ear_of_eleven),
        stomp_py(here, "1.2") as (twelve, ear_of_twelve),
        stompman_client(here) as man,
    ):
        window = await page(here)
        assert (await window.ask("SUBSCRIBE", {"id": "1", "destination": JOBS})).command is Command.RECEIPT
        for client, ear in ((ten, ear_of_ten), (eleven, ear_of_eleven), (twelve, ear_of_twelve)):
            await confirmed(client, ear, JOBS)
        subscription, inbox = await subscribe(man, JOBS, ack="auto")
        await publish(here, *map(str, range(100)))
        done = [[await ear.body() for _ in range(20)] for ear in (ear_of_ten, ear_of_eleven, ear_of_twelve)]
        done.append([await inbox.body() for _ in range(20)])
        done.append([(await window.frame()).body.decode() for _ in range(20)])
        assert Counter(job for share in done for job in share) == Counter(map(str, range(100)))
        assert all(share == sorted(share, key=int) for share in done)  # each in order
        await subscription.unsubscribe()


@pytest.mark.parametrize("ack", ["client", "client-individual"])
async def test_who_acknowledges_faster_gets_more(here: Site, ack: str) -> None:
    """The slow one sits on a job; the others go to the one that works."""
    async with stomp_py(here, "1.2") as (slow, ear_of_slow), stompman_client(here) as fast:
        await confirmed(slow, ear_of_slow, JOBS, ack, **{"prefetch-count": "1"})
        await publish(here, "for the slow one")
        assert await ear_of_slow.body() == "for the slow one"
        how: Any = {"ack": ack, "headers": {"prefetch-count": "1"}}
        subscription, inbox = await subscribe(fast, JOBS, **how)
        await publish(here, *map(str, range(30)))
        assert [await inbox.body() for _ in range(30)] == [str(number) for number in range(30)]
        await until(lambda: broker_of(here).counters.settled == 30)
        await subscription.unsubscribe()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_the_job_of_a_service_that_is_killed_is_done_by_another(here: Site, library: str) -> None:
    """And the ones that it had been given beyond that, in their order."""
    async with victim(here, library, JOBS) as service:
        await publish(here, "heavy", "next", "last")
        assert await service.job() == "heavy"
        async with stomp_py(here, "1.2") as (client, ear):
            await confirmed(client, ear, JOBS, "client-individual")
            await until(lambda: broker_of(here).queues[JOBS].lent == 3)
            await service.kill()
            for job in ("heavy", "next", "last"):
                headers, body = await ear.next("MESSAGE")
                assert (body, headers["redelivered"], headers["x-delivery-count"]) == (job, "true", "1")
                settle(client, "ack", headers)
            await publish(here, "fresh")
            headers, body = await ear.next("MESSAGE")
            assert body == "fresh"
            assert "redelivered" not in headers
            settle(client, "ack", headers, receipt="done")
            await ear.receipt("done")
        counters = broker_of(here).counters
        assert (counters.settled, counters.redelivered) == (4, 3)


async def test_a_job_goes_on_until_somebody_survives_it(here: Site) -> None:
    """Three services die of it in turn; the fourth is told that it is the fourth."""
    await publish(here, "deadly")
    for library in (*LIBRARIES, LIBRARIES[0]):
        async with victim(here, library, JOBS) as service:
            assert await service.job() == "deadly"
            await service.kill()
        await until(lambda: len(here.server) == 0)
    async with stomp_py(here, "1.1") as (client, ear):
        await confirmed(client, ear, JOBS, "client")
        headers, body = await ear.next("MESSAGE")
        assert (body, headers["x-delivery-count"]) == ("deadly", "3")
        settle(client, "ack", headers, receipt="done")
        await ear.receipt("done")


# Acknowledging.


@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_in_mode_client_settles_all_up_to_one(here: Site, version: str) -> None:
    async with stomp_py(here, version) as (client, ear):
        await confirmed(client, ear, JOBS, "client")
        await publish(here, "1", "2", "3")
        frames = [await ear.next("MESSAGE") for _ in range(3)]
        settle(client, "ack", frames[1][0], receipt="two")
        await ear.receipt("two")
        client.unsubscribe(id="1", headers={"receipt": "gone"})
        await ear.receipt("gone")
        await confirmed(client, ear, JOBS, id="2")
        headers, body = await ear.next("MESSAGE")
        assert (body, headers["redelivered"]) == ("3", "true")
        assert broker_of(here).counters.settled == 3


@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_in_mode_client_individual_settles_one(here: Site, version: str) -> None:
    async with stomp_py(here, version) as (client, ear):
        await confirmed(client, ear, JOBS, "client-individual")
        await publish(here, "1", "2", "3")
        frames = [await ear.next("MESSAGE") for _ in range(3)]
        settle(client, "ack", frames[1][0], receipt="two")
        await ear.receipt("two")
        client.unsubscribe(id="1", headers={"receipt": "gone"})
        await ear.receipt("gone")
        await confirmed(client, ear, JOBS, id="2")
        assert [await ear.body(), await ear.body()] == ["1", "3"]


@pytest.mark.parametrize("version", NACKING)
async def test_stomp_py_puts_back_what_it_cannot_do(here: Site, version: str) -> None:
    """NACK: the job goes to another, before what came after it."""
    async with stomp_py(here, version) as (client, ear), stompman_client(here) as man:
        await confirmed(client, ear, JOBS, "client-individual", **{"prefetch-count": "1"})
        await publish(here, "first", "second")
        headers, _ = await ear.next("MESSAGE")
        how: Any = {"ack": "client-individual", "headers": {"prefetch-count": "1"}}
        await publish(here, "third")
        inbox = Inbox()
        subscription = await man.subscribe_with_manual_ack(JOBS, inbox.take, receipt_timeout=GUARD, **how)
        second = await inbox.next()
        assert second.body == b"second"
        settle(client, "nack", headers)
        headers, body = await ear.next("MESSAGE")  # it is the only one with room
        assert (body, headers["redelivered"]) == ("first", "true")
        settle(client, "ack", headers)
        assert await ear.body() == "third"
        await second.ack()
        await until(lambda: broker_of(here).counters.settled == 2)
        await subscription.unsubscribe()


@pytest.mark.parametrize("version", NACKING)
async def test_stomp_py_throws_a_job_away_and_somebody_looks_at_the_dead(here: Site, version: str) -> None:
    async with stomp_py(here, version) as (client, ear), stompman_client(here) as coroner:
        subscription, inbox = await subscribe(coroner, DEAD)
        await confirmed(client, ear, JOBS, "client-individual")
        await publish(here, "poison", priority="4")
        headers, _ = await ear.next("MESSAGE")
        settle(client, "nack", headers, requeue="false", receipt="thrown away")
        await ear.receipt("thrown away")
        dead = await inbox.next()
        assert dead.body == b"poison"
        death = {name: dead.headers[f"x-first-death-{name}"] for name in ("queue", "reason", "count")}
        assert death == {"queue": JOBS, "reason": "rejected", "count": "1"}
        assert (dead.headers["destination"], dead.headers["priority"]) == (DEAD, "4")
        await subscription.unsubscribe()


async def test_stompman_s_handler_that_always_fails_does_not_spin_for_ever(here: Site) -> None:
    """It sends NACK whenever its handler raises; after ``max_deliveries`` the job is dead, and the next is done."""
    tries: list[str] = []
    failures: list[Exception] = []

    async def work(frame: Any) -> None:
        tries.append(frame.headers.get("x-delivery-count", "0"))
        if frame.body == b"poison":
            raise ValueError("no good")

    async with stompman_client(here) as client:
        subscription = await client.subscribe(
            JOBS, work, on_suppressed_exception=lambda error, frame: failures.append(error), receipt_timeout=GUARD
        )
        await publish(here, "poison", "good")
        await until(lambda: broker_of(here).counters.settled == 1 and broker_of(here).counters.dead == 1)
        assert len(failures) == 5
        assert sorted(tries) == ["0", "0", "1", "2", "3", "4"]
        assert len(broker_of(here).queues[DEAD]) == 1
        await subscription.unsubscribe()


@pytest.mark.parametrize("name", ["prefetch-count", "activemq.prefetchSize"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_gets_no_more_than_it_wants_at_a_time(here: Site, version: str, name: str) -> None:
    async with stomp_py(here, version) as (client, ear):
        await confirmed(client, ear, JOBS, "client-individual", **{name: "2"})
        await publish(here, *map(str, range(6)))
        for number in range(0, 6, 2):
            first, _ = await ear.next("MESSAGE")
            second, body = await ear.next("MESSAGE")
            assert body == str(number + 1)
            client.send("/topic/nobody", "", receipt="nothing before this")
            await ear.receipt("nothing before this")
            settle(client, "ack", first)
            settle(client, "ack", second)


# Transactions.


@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_takes_a_job_and_answers_in_one_transaction(here: Site, version: str) -> None:
    """Aborted: nothing was sent, and the job is still its own to acknowledge. Committed: both."""
    async with stomp_py(here, version) as (client, ear), stompman_client(here) as man:
        subscription, inbox = await subscribe(man, "/queue/results", ack="auto")
        await confirmed(client, ear, JOBS, "client-individual")
        await publish(here, "job")
        headers, _ = await ear.next("MESSAGE")
        for end in (client.abort, client.commit):
            transaction = client.begin()
            client.send("/queue/results", end.__name__, transaction=transaction)
            settle(client, "ack", headers, transaction=transaction)
            assert (broker_of(here).counters.settled, broker_of(here).queues[JOBS].lent) == (0, 1)
            end(transaction, receipt=end.__name__)
            await ear.receipt(end.__name__)
        assert await inbox.body() == "commit"
        assert broker_of(here).counters.settled == 2  # the job, and its result
        await subscription.unsubscribe()


async def test_what_a_killed_client_had_not_committed_never_happened(here: Site) -> None:
    async with stomp_py(here, "1.2") as (client, ear):
        await confirmed(client, ear, JOBS, "client-individual")
        await publish(here, "job")
        headers, _ = await ear.next("MESSAGE")
        transaction = client.begin()
        client.send("/queue/results", "half done", transaction=transaction)
        settle(client, "ack", headers, transaction=transaction)
        client.send("/topic/nobody", "", receipt="that came")
        await ear.receipt("that came")
        client.transport.disconnect_socket()
        await ear.next("disconnected")
    await until(lambda: len(broker_of(here).queues.get(JOBS, ())) == 1)
    assert "/queue/results" not in broker_of(here).queues


async def test_a_commit_that_does_not_fit_is_refused_whole(here: Site) -> None:
    """Of 201 messages for a queue that takes 200 none arrives; the jobs acknowledged with them are not lost."""
    async with stomp_py(here, "1.2") as (client, ear):
        await confirmed(client, ear, JOBS, "client-individual")
        await publish(here, "job")
        headers, _ = await ear.next("MESSAGE")
        transaction = client.begin()
        settle(client, "ack", headers, transaction=transaction)
        for number in range(MAX_QUEUE_LENGTH + 1):
            client.send("/queue/results", str(number), transaction=transaction)
        client.commit(transaction, receipt="too much")
        headers, body = await ear.next("ERROR")
        assert (headers["message"], headers["receipt-id"]) == ("queue full", "too much")
        assert f"max_queue_length ({MAX_QUEUE_LENGTH})" in body
        await ear.next("disconnected")
    await until(lambda: len(broker_of(here).queues.get(JOBS, ())) == 1)
    assert "/queue/results" not in broker_of(here).queues


async def test_stompman_commits_and_aborts_on_a_queue(here: Site) -> None:
    async with stompman_client(here) as client, stomp_py(here, "1.0") as (worker, ear):
        async with client.begin() as transaction:
            for number in range(3):
                await transaction.send(str(number).encode(), JOBS)
            await client.send(b"outside", JOBS, receipt_timeout=GUARD)

        async def give_up() -> None:
            async with client.begin() as transaction:
                await transaction.send(b"aborted", JOBS)
                raise LookupError

        with pytest.raises(LookupError):
            await give_up()
        await client.send(b"last", JOBS, receipt_timeout=GUARD)
        await confirmed(worker, ear, JOBS)
        assert [await ear.body() for _ in range(5)] == ["outside", "0", "1", "2", "last"]


# Asking and answering.


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_service_of_one_library_asks_one_of_the_other(here: Site, version: str) -> None:
    async with stomp_py(here, version) as (client, ear), stompman_client(here) as man:

        async def answer(frame: Any) -> None:
            await man.send(
                frame.body.upper(), frame.headers["reply-to"], headers={"correlation-id": frame.headers["about"]}
            )

        subscription = await man.subscribe(
            JOBS, answer, on_suppressed_exception=lambda error, frame: None, receipt_timeout=GUARD
        )
        await confirmed(client, ear, "/temp-queue/answers", id="mine")
        for number in range(3):
            headers = {"reply-to": "/temp-queue/answers", "about": str(number)}
            client.send(JOBS, f"question {number}", headers=headers)
        for number in range(3):
            headers, body = await ear.next("MESSAGE")
            assert (body, headers["correlation-id"]) == (f"QUESTION {number}", str(number))
            assert headers["destination"].startswith("/reply-queue/")
            assert headers["subscription"] == "mine" if version != "1.0" else True
        await subscription.unsubscribe()


async def test_stompman_asks_stomp_py(here: Site) -> None:
    async with stomp_py(here, "1.1") as (service, ear), stompman_client(here) as man:
        await confirmed(service, ear, JOBS)
        subscription, inbox = await subscribe(man, "/temp-queue/answers")
        await man.send(b"question", JOBS, headers={"reply-to": "/temp-queue/answers"})
        headers, body = await ear.next("MESSAGE")
        service.send(headers["reply-to"], f"answer to {body}")
        assert await inbox.body() == "answer to question"
        await subscription.unsubscribe()


async def test_an_answer_to_somebody_who_has_gone_harms_nobody(here: Site) -> None:
    async with stomp_py(here, "1.2") as (service, ear):
        await confirmed(service, ear, JOBS)
        async with stompman_client(here) as man:
            await man.send(b"question", JOBS, headers={"reply-to": "/temp-queue/answers"}, receipt_timeout=GUARD)
        await until(lambda: len(here.server) == 1)
        headers, _ = await ear.next("MESSAGE")
        service.send(headers["reply-to"], "too late", receipt="all the same")
        await ear.receipt("all the same")
        assert broker_of(here).counters.unroutable == 1
        assert headers["reply-to"] not in broker_of(here).queues


# Coming back.


@pytest.mark.parametrize("end", ["lost", "DISCONNECT"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_comes_back_to_its_durable_subscription(here: Site, version: str, end: str) -> None:
    identity = {"client-id": "reports"}
    durable = {"durable": "true"}
    async with stomp_py(here, version, headers=identity) as (client, ear):
        assert (await confirmed(client, ear, "/topic/news", **durable))["x-resumed"] == "false"
        await publish(here, "while here", destination="/topic/news")
        assert await ear.body() == "while here"
        if end == "lost":
            client.transport.disconnect_socket()
            await ear.next("disconnected")
    await until(lambda: len(here.server) == 0)
    await publish(here, "one", "two", "three", destination="/topic/news")
    async with stomp_py(here, version, headers=identity) as (client, ear):
        assert (await confirmed(client, ear, "/topic/news", id="another", **durable))["x-resumed"] == "true"
        assert [await ear.body() for _ in range(3)] == ["one", "two", "three"]
        await publish(here, "live again", destination="/topic/news")
        assert await ear.body() == "live again"
        client.unsubscribe(id="another", headers={"receipt": "enough"})
        await ear.receipt("enough")
    await publish(here, "to nobody", destination="/topic/news")
    assert broker_of(here).held == 0


async def test_a_durable_subscriber_that_died_gets_again_what_it_had_not_acknowledged(here: Site) -> None:
    who: Any = {"headers": {"client-id": "reports"}}
    async with stomp_py(here, "1.2", **who) as (client, ear):
        await confirmed(client, ear, "/topic/news", "client-individual", durable="true")
        await publish(here, "one", "two", destination="/topic/news")
        await ear.next("MESSAGE")
        second, _ = await ear.next("MESSAGE")
        settle(client, "ack", second, receipt="second")
        await ear.receipt("second")
        client.transport.disconnect_socket()
        await ear.next("disconnected")
    await until(lambda: len(here.server) == 0)
    await publish(here, "three", destination="/topic/news")
    async with stomp_py(here, "1.2", **who) as (client, ear):
        await confirmed(client, ear, "/topic/news", durable="true")
        headers, body = await ear.next("MESSAGE")
        assert (body, headers["redelivered"]) == ("one", "true")
        assert await ear.body() == "three"
        client.unsubscribe(id="1", headers={"receipt": "enough"})
        await ear.receipt("enough")


async def test_stompman_misses_nothing_of_its_durable_subscription_when_it_is_cut_off(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """It subscribes again by itself, with the headers that it was given."""
    with caplog.at_level(logging.CRITICAL):  # it logs that it has lost the connection
        async with stompman_client(here) as client:
            headers = {"durable": "true", "client-id": "reports"}
            subscription, inbox = await subscribe(client, "/topic/news", ack="auto", headers=headers)
            (first,) = here.server.connections
            await publish(here, "one", destination="/topic/news")
            first.close()
            await publish(here, "two", destination="/topic/news")
            await until(lambda: [*here.server.connections] not in ([], [first]))
            await publish(here, "three", destination="/topic/news")
            assert [await inbox.body() for _ in range(3)] == ["one", "two", "three"]
            await subscription.unsubscribe()


@pytest.mark.parametrize("version", VERSIONS)
async def test_stomp_py_catches_up_on_a_topic(here: Site, version: str) -> None:
    topic = "/topic/kept/1"
    async with stomp_py(here, version) as (client, ear):
        await confirmed(client, ear, topic)
        await publish(here, "one", "two", destination=topic)
        await ear.next("MESSAGE")
        last, _ = await ear.next("MESSAGE")
    await publish(here, "three", "four", destination=topic)
    async with stomp_py(here, version) as (client, ear):
        since = {"x-epoch": last["x-epoch"], "x-since": last["x-offset"]}
        receipt = await confirmed(client, ear, topic, **since)
        assert (receipt["x-missed"], receipt["x-epoch"], receipt["x-offset"]) == ("0", last["x-epoch"], "4")
        for body, offset in (("three", "3"), ("four", "4")):
            headers, found = await ear.next("MESSAGE")
            assert (found, headers["x-epoch"], headers["x-offset"]) == (body, last["x-epoch"], offset)


# What is refused.


async def fault(ear: Ear) -> tuple[str, str]:
    """The ERROR that comes next, and then the end: its message, and its body."""
    headers, body = await ear.next("ERROR")
    await ear.next("disconnected")
    return headers["message"], body


async def test_a_full_queue_is_told_and_what_it_holds_stays(here: Site) -> None:
    async with stomp_py(here, "1.2") as (client, ear):
        for number in range(MAX_QUEUE_LENGTH + 1):
            client.send(JOBS, str(number), receipt=str(number))
        for number in range(MAX_QUEUE_LENGTH):
            await ear.receipt(str(number))
        assert await fault(ear) == ("queue full", f"{JOBS} holds max_queue_length ({MAX_QUEUE_LENGTH}) messages")
    async with stompman_client(here, on_error_frame=None) as client:
        with pytest.raises(stompman.SendReceiptError) as caught:
            await client.send(b"one too many", JOBS, receipt_timeout=GUARD)
        assert caught.value.frame is not None
        assert caught.value.frame.headers["message"] == "queue full"
    async with stomp_py(here, "1.0") as (client, ear):
        await confirmed(client, ear, JOBS)
        assert [await ear.body() for _ in range(MAX_QUEUE_LENGTH)] == [str(n) for n in range(MAX_QUEUE_LENGTH)]
    assert broker_of(here).counters.refused == 2


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_acknowledgement_of_nothing_is_told_and_the_jobs_go_back(here: Site, version: str) -> None:
    async with stomp_py(here, version) as (client, ear):
        await confirmed(client, ear, JOBS, "client-individual")
        await publish(here, "job")
        headers, _ = await ear.next("MESSAGE")
        odd = {name: value if name == "subscription" else "1-999999" for name, value in headers.items()}
        settle(client, "ack", odd)
        message, _ = await fault(ear)
        assert message == "ACK or NACK of a message that waits for none"
    await until(lambda: len(broker_of(here).queues[JOBS]) == 1)


@pytest.mark.parametrize(
    ("destination", "headers", "message"),
    [
        ("/queue/*", {}, "no wildcards in the destination of a queue"),
        (JOBS, {"prefetch-count": "many"}, "prefetch-count is no number"),
        ("/reply-queue/guessed", {}, "this temporary queue is somebody else's, or gone"),
        ("/topic/news", {"durable": "true"}, "durable without client-id"),
        ("/topic/kept/1", {"x-since": "soon"}, "x-since is no number"),
        ("/topic/kept/1", {"x-since": "1"}, "x-since without x-epoch"),
    ],
)
async def test_stomp_py_is_told_what_is_wrong_with_its_subscription(
    here: Site, destination: str, headers: dict[str, str], message: str
) -> None:
    async with stomp_py(here, "1.2") as (client, ear):
        client.subscribe(destination, id="1", headers=headers)
        found, _ = await fault(ear)
        assert found == message
