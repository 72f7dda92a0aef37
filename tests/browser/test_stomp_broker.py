"""Pages and back-end services on one embedded broker: the unmodified @stomp/stompjs, stomp.py and stompman.

Pages run in Chromium and in Node, on a plain websocket and on sockjs-client with each transport; services over TCP.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from sockbridge import stomp
from tests.fakes import serve
from tests.stomp.foreign import LIBRARIES, confirmed, settle, stomp_py, stompman_client, subscribe, victim
from tests.transports.wire import until

from .stomp_clients import FIXTURES, Front
from .stomp_site import StompSite

stomp_scripts, stomp_modules, chromium_front, node_front, front, carrier = FIXTURES

pytestmark = pytest.mark.asyncio(loop_scope="session")

JOBS: Final = "/queue/jobs"
DEAD: Final = "/queue/dead-letters"
ROOM: Final = "/topic/rooms/1"

PROTOCOL_ERROR: Final = 1002


async def by_name(login: stomp.Login) -> stomp.User:
    """Whoever comes, by any name; pages give none."""
    return stomp.User(login.login or "page")


class BrokerSite(StompSite):
    """A site with everything that the broker has, for pages and, over TCP, for services.

    Attributes:
        broker: its.
        listener: for services.
    """

    def __init__(self, **options: Any) -> None:
        """
        Args:
            options: of the broker.
        """
        self.broker = stomp.EmbeddedBroker(
            queues=["/queue"],
            history=[stomp.History("/topic/rooms/*", size=1000)],
            presence=["/topic/rooms/*"],
            **options,
        )
        self.listener = stomp.TcpListener(port=0, shutdown_grace=0.1)
        super().__init__(
            by_name,
            broker=self.broker,
            listeners=[self.listener],
            mount={"disconnect_delay": 1.0},
        )

    async def put(self, *bodies: str, destination: str = JOBS) -> None:
        """Messages of the application."""
        for body in bodies:
            await self.server.messaging.send(destination, body)

    async def until_consumed(self, count: int, destination: str = JOBS) -> None:
        """Until a queue has so many consumers."""
        await until(lambda: destination in self.broker.queues and self.broker.queues[destination].consumers == count)


@asynccontextmanager
async def running(front: Front, **options: Any) -> AsyncIterator[BrokerSite]:
    """A site that the page has been loaded from."""
    site = BrokerSite(**options)
    async with serve(site.app) as url:
        await front.visit(url)
        yield site


@asynccontextmanager
async def driving(front: Front, carrier: str, script: str, argument: object) -> AsyncIterator[asyncio.Task[Any]]:
    """The script runs while the test goes on; a failure of either ends both."""
    async with asyncio.TaskGroup() as group:
        yield group.create_task(front.run(carrier, script, argument))


# Work that is shared.


async def test_two_services_and_a_page_share_the_work(front: Front, carrier: str) -> None:
    """Each job is done once, and everybody has had some."""
    script = """async (open, [destination, end]) => {
        const tab = open();
        await tab.connect();
        const done = await tab.subscribe(end);
        const jobs = await tab.subscribe(destination, { ack: "client-individual" }, (message) => message.ack());
        await done.next();
        return jobs.bodies;
    }"""
    async with running(front) as site, stomp_py(site, "1.2") as (client, ear), stompman_client(site) as man:
        await confirmed(client, ear, JOBS, "client-individual")
        subscription, inbox = await subscribe(man, JOBS)
        async with driving(front, carrier, script, [JOBS, "/topic/end"]) as page:
            await site.until_consumed(3)
            await site.put(*map(str, range(60)))
            of_stomp_py = []
            for _ in range(20):
                headers, body = await ear.next("MESSAGE")
                of_stomp_py.append(body)
                settle(client, "ack", headers)
            of_stompman = [await inbox.body() for _ in range(20)]
            await until(lambda: site.broker.counters.settled == 60)
            await site.put("all is done", destination="/topic/end")
        of_page = page.result()
        assert Counter(of_stomp_py + of_stompman + of_page) == Counter(map(str, range(60)))
        assert len(of_page) == 20
        assert site.broker.counters.redelivered == 0
        await subscription.unsubscribe()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_page_does_the_job_of_a_service_that_was_killed(front: Front, carrier: str, library: str) -> None:
    script = """async (open, destination) => {
        const tab = open();
        await tab.connect();
        const jobs = await tab.subscribe(destination, { ack: "client" });
        const messages = await jobs.take(2);
        await tab.confirm((receipt) => messages[1].ack(receipt));
        return messages.map(({ body, headers }) => [body, headers.redelivered, headers["x-delivery-count"]]);
    }"""
    async with running(front) as site, victim(site, library, JOBS) as service:
        await site.put("heavy", "next")
        assert await service.job() == "heavy"
        async with driving(front, carrier, script, JOBS) as page:
            await site.until_consumed(2)
            await service.kill()
        assert page.result() == [["heavy", "true", "1"], ["next", "true", "1"]]
        assert (site.broker.counters.settled, site.broker.counters.redelivered) == (2, 2)


async def test_a_service_does_the_job_of_a_page_that_vanished(front: Front, carrier: str) -> None:
    """On SockJS without a websocket, that is when its ``disconnect_delay`` is over."""
    script = """async (open, destination) => {
        const tab = open();
        await tab.connect();
        const jobs = await tab.subscribe(destination, { ack: "client-individual" });
        await jobs.take(2);
        await tab.confirm((receipt) => jobs.messages[1].ack(receipt));
        tab.client.forceDisconnect();
        await tab.until(() => tab.closes.length > 0);
        return jobs.bodies;
    }"""
    async with running(front) as site, stomp_py(site, "1.1") as (client, ear):
        await site.put("first", "second")
        assert await front.run(carrier, script, JOBS) == ["first", "second"]
        await confirmed(client, ear, JOBS)
        headers, body = await ear.next("MESSAGE")
        assert (body, headers["redelivered"]) == ("first", "true")
        client.send("/topic/nobody", "", receipt="nothing more")
        await ear.receipt("nothing more")


async def test_a_backlog_of_5000_messages_is_consumed_in_order(front: Front, carrier: str) -> None:
    """More than a client may have waiting: it gets them as fast as it takes them, and the session never overflows."""
    script = """async (open, [destination, count]) => {
        const tab = open();
        await tab.connect();
        const jobs = await tab.subscribe(destination);
        await jobs.take(count);
        await tab.publish("/topic/nobody");
        const isInOrder = jobs.bodies.every((body, index) => body.trimEnd() === String(index));
        return { count: jobs.bodies.length, isInOrder, errors: tab.errors, closes: [...tab.closes] };
    }"""
    async with running(front) as site:
        await site.put(*(str(number).ljust(200) for number in range(5000)))
        result = await front.run(carrier, script, [JOBS, 5000])
        assert result == {"count": 5000, "isInOrder": True, "errors": [], "closes": []}
        assert site.broker.held == 0


# Acknowledging.


async def test_acknowledged_messages_do_not_come_again(front: Front, carrier: str) -> None:
    """In mode ``client`` an ACK is about all before it, in mode ``client-individual`` about one."""
    script = """async (open, destination) => {
        const results = {};
        for (const ack of ["client", "client-individual"]) {
            const tab = open();
            await tab.connect();
            for (const body of ["1", "2", "3"]) await tab.publish(destination, body);
            const first = await tab.subscribe(destination, { ack });
            const messages = await first.take(3);
            await tab.confirm((receipt) => messages[1].ack(receipt));
            await tab.confirm((receipt) => first.subscription.unsubscribe(receipt));
            const second = await tab.subscribe(destination);
            results[ack] = second.messages.map(({ body, headers }) => [body, headers.redelivered]);
            await tab.client.deactivate();
        }
        return results;
    }"""
    async with running(front) as site:
        assert await front.run(carrier, script, JOBS) == {
            "client": [["3", "true"]],
            "client-individual": [["1", "true"], ["3", "true"]],
        }
        assert site.broker.held == 0


async def test_a_page_puts_a_job_back_and_throws_one_away(front: Front, carrier: str) -> None:
    """``message.nack()``, and with ``requeue:false``; an operator's page sees what has died, and of what."""
    script = """async (open, [jobs, dead]) => {
        const [worker, operator] = [open(), open()];
        await Promise.all([worker.connect(), operator.connect()]);
        const morgue = await operator.subscribe(dead);
        const inbox = await worker.subscribe(jobs, { ack: "client-individual" });
        await operator.publish(jobs, "difficult", { "content-type": "text/x" });
        (await inbox.next()).nack();
        const [, again] = await inbox.take(2);
        again.nack({ requeue: "false" });
        const body = await morgue.next();
        const death = (name) => body.headers[`x-first-death-${name}`];
        return { again: again.headers["x-delivery-count"], body: body.body, type: body.headers["content-type"],
                 queue: death("queue"), reason: death("reason"), count: death("count") };
    }"""
    async with running(front) as site:
        assert await front.run(carrier, script, [JOBS, DEAD]) == {
            "again": "1",
            "body": "difficult",
            "type": "text/x",
            "queue": JOBS,
            "reason": "rejected",
            "count": "2",
        }
        assert (site.broker.counters.dead, site.broker.held) == (1, 0)


async def test_a_page_gets_no_more_than_it_wants_at_a_time(front: Front, carrier: str) -> None:
    script = """async (open, destination) => {
        const tab = open();
        await tab.connect();
        for (let number = 0; number < 5; number += 1) await tab.publish(destination, String(number));
        const jobs = await tab.subscribe(destination, { ack: "client-individual", "prefetch-count": "2" });
        const counts = [];
        for (let number = 0; number < 5; number += 1) {
            await tab.publish("/topic/nobody");
            counts.push(jobs.messages.length);
            await tab.confirm((receipt) => jobs.messages[number].ack(receipt));
        }
        return counts;
    }"""
    async with running(front):
        assert await front.run(carrier, script, JOBS) == [2, 3, 4, 5, 5]


async def test_a_page_takes_a_job_and_answers_in_one_transaction(front: Front, carrier: str) -> None:
    """Aborted: nothing has happened. Committed: the job is done, and its result is there for a service."""
    script = """async (open, [jobs, results]) => {
        const tab = open();
        await tab.connect();
        const inbox = await tab.subscribe(jobs, { ack: "client-individual" });
        const job = await inbox.next();
        for (const end of ["abort", "commit"]) {
            const transaction = tab.client.begin();
            tab.send(results, `${job.body}: ${end}`, { transaction: transaction.id });
            job.ack({ transaction: transaction.id });
            transaction[end]();
        }
        await tab.publish("/topic/nobody");
        return tab.errors;
    }"""
    results = "/queue/results"
    async with running(front) as site, stomp_py(site, "1.0") as (client, ear):
        await confirmed(client, ear, results)
        await site.put("job")
        assert await front.run(carrier, script, [JOBS, results]) == []
        assert await ear.body() == "job: commit"
        client.send("/topic/nobody", "", receipt="nothing more")
        await ear.receipt("nothing more")
        assert (site.broker.counters.settled, site.broker.held) == (2, 0)


# Asking and answering.


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_page_asks_a_service_and_a_service_asks_the_page(front: Front, carrier: str, library: str) -> None:
    script = """async (open, [services, pages]) => {
        const tab = open();
        await tab.connect();
        const questions = await tab.subscribe(pages, {}, (message) => {
            tab.send(message.headers["reply-to"], `the page says ${message.body}`);
        });
        const answers = await tab.subscribe("/temp-queue/answers");
        for (const body of ["a", "b"]) {
            tab.send(services, body, { "reply-to": "/temp-queue/answers", "correlation-id": `about ${body}` });
        }
        await answers.take(2);
        await questions.next();
        await tab.publish("/topic/nobody");
        return answers.messages.map(({ body, headers }) => [body, headers["correlation-id"],
            headers.destination.startsWith("/reply-queue/")]);
    }"""
    services, pages = "/queue/services", "/queue/pages"
    async with running(front) as site:
        work = with_stomp_py if library == "stomp.py" else with_stompman
        async with driving(front, carrier, script, [services, pages]) as page:
            await site.until_consumed(1, pages)
            assert await work(site, services, pages) == "the page says hello"
        assert page.result() == [["A", "about a", True], ["B", "about b", True]]
        assert site.broker.counters.unroutable == 0


async def with_stomp_py(site: BrokerSite, mine: str, yours: str) -> str:
    """Answer two questions of a page, and ask it one; what it answers."""
    async with stomp_py(site, "1.2") as (client, ear):
        await confirmed(client, ear, "/temp-queue/x", id="answers")
        client.subscribe(mine, id="questions")
        for _ in range(2):
            headers, body = await ear.next("MESSAGE")
            client.send(headers["reply-to"], body.upper(), headers={"correlation-id": headers["correlation-id"]})
        client.send(yours, "hello", headers={"reply-to": "/temp-queue/x"})
        headers, body = await ear.next("MESSAGE")
        assert headers["subscription"] == "answers"
        return str(body)


async def with_stompman(site: BrokerSite, mine: str, yours: str) -> str:
    """The same."""
    async with stompman_client(site) as client:
        answers, inbox = await subscribe(client, "/temp-queue/x")
        questions, asked = await subscribe(client, mine)
        for _ in range(2):
            frame = await asked.next()
            headers = {"correlation-id": frame.headers["correlation-id"]}
            await client.send(frame.body.upper(), frame.headers["reply-to"], headers=headers)
        await client.send(b"hello", yours, headers={"reply-to": "/temp-queue/x"})
        body = await inbox.body()
        await questions.unsubscribe()
        await answers.unsubscribe()
        return body


# Coming back.


async def test_a_page_that_is_cut_off_again_and_again_misses_nothing(front: Front, carrier: str) -> None:
    """It subscribes with the place that it has come to; more is published all the while."""
    script = """async (open, [destination, total]) => {
        const writer = open();
        await writer.connect();
        const reader = open({ reconnectDelay: 10 });
        const [seen, missed] = [[], []];
        let place = { "x-since": "0" };
        let cuts = 0;
        reader.client.onConnect = () => {
            const receipt = `follow ${cuts}`;
            reader.client.watchForReceipt(receipt, (frame) => reader.note(missed, frame.headers["x-missed"]));
            reader.client.subscribe(destination, (message) => {
                place = { "x-since": message.headers["x-offset"], "x-epoch": message.headers["x-epoch"] };
                reader.note(seen, Number(message.body));
                if (seen.length % 100 === 50) {
                    cuts += 1;
                    reader.client.forceDisconnect();
                }
            }, { receipt, ...place });
        };
        reader.client.activate();
        await reader.until(() => missed.length > 0);
        for (let number = 0; number < total; number += 1) {
            writer.send(destination, String(number));
            if (number % 50 === 0) {
                await writer.publish("/topic/nobody");
            }
        }
        await reader.until(() => seen.length >= total);
        await reader.publish("/topic/nobody");
        const isInOrder = seen.every((number, index) => number === index);
        return { isInOrder, count: seen.length, cuts, missed: [...new Set(missed)], errors: reader.errors };
    }"""
    async with running(front):
        result = await front.run(carrier, script, [ROOM, 500])
        assert result == {"isInOrder": True, "count": 500, "cuts": 5, "missed": ["0"], "errors": []}


async def test_a_page_is_told_what_nobody_can_give_it_any_more(front: Front, carrier: str) -> None:
    """It was away for 1500 messages of a topic that keeps 1000: a number, and the first that is left."""
    script = """async (open, [destination, total]) => {
        const [before, writer, after] = [open(), open(), open()];
        await Promise.all([before.connect(), writer.connect(), after.connect()]);
        const first = await before.subscribe(destination);
        await writer.publish(destination, "0");
        const { "x-offset": since, "x-epoch": epoch } = (await first.next()).headers;
        before.client.forceDisconnect();
        for (let number = 1; number <= total; number += 1) {
            writer.send(destination, String(number));
        }
        await writer.publish("/topic/nobody");
        const inbox = new Inbox(after);
        const receipt = await after.confirm((headers) => after.client.subscribe(destination,
            (message) => inbox.add(message), { ...headers, "x-since": since, "x-epoch": epoch }));
        await inbox.take(1000);
        const [oldest, second] = inbox.messages;
        return { receipt: receipt["x-missed"], oldest: [oldest.body, oldest.headers["x-missed"]],
                 second: [second.body, second.headers["x-missed"]], count: inbox.messages.length };
    }"""
    async with running(front) as site:
        assert await front.run(carrier, script, [ROOM, 1500]) == {
            "receipt": "500",
            "oldest": ["501", "500"],
            "second": ["502", None],
            "count": 1000,
        }
        assert site.broker.counters.missed == 500


async def test_a_page_goes_on_with_its_durable_subscription(front: Front, carrier: str) -> None:
    """Cut off in the middle, and back before anybody noticed: nothing is lost. What it had not acknowledged comes
    again, and on polls what it had, but its ACK was still to be sent."""
    script = """async (open, destination) => {
        const writer = open();
        await writer.connect();
        const reader = open({ reconnectDelay: 10, connectHeaders: { login: "ada", "client-id": "a tab of hers" } });
        const [done, resumed] = [[], []];
        let visits = 0;
        reader.client.onConnect = () => {
            const visit = (visits += 1);
            const receipt = `visit ${visit}`;
            reader.client.watchForReceipt(receipt, (frame) => reader.note(resumed, frame.headers["x-resumed"]));
            reader.client.subscribe(destination, (message) => {
                if (visit === 1 && message.body === "5") {
                    reader.client.forceDisconnect();
                    return;
                }
                message.ack();
                reader.note(done, [Number(message.body), message.headers.redelivered === "true"]);
            }, { receipt, durable: "true", ack: "client-individual" });
        };
        reader.client.activate();
        await reader.until(() => resumed.length > 0);
        for (let number = 0; number < 20; number += 1) {
            writer.send(destination, String(number));
        }
        await reader.until(() => done.some(([number]) => number === 19));
        await reader.publish("/topic/nobody");
        return { done, resumed };
    }"""
    async with running(front) as site:
        result = await front.run(carrier, script, "/topic/orders")
        assert result["resumed"] == ["false", "true"]
        numbers = [number for number, _ in result["done"]]
        assert numbers[:5] == [0, 1, 2, 3, 4]
        assert numbers[5:] == list(range(20 - len(numbers[5:]), 20))  # from the first that was not acknowledged
        assert [5, True] in result["done"]
        assert all(is_redelivered for number, is_redelivered in result["done"][5:] if number <= 5)
        if carrier in ("native", "websocket"):
            assert len(numbers) == 20
        await until(lambda: site.broker.held == 0)


async def test_a_page_sees_who_is_there(front: Front, carrier: str) -> None:
    """Services and pages; a user counts once, however many tabs there are."""
    script = """async (open, room) => {
        const logins = [{ login: "carol" }, { login: "bob" }, { login: "bob" }, {}];
        const [watcher, one, two, nobody] = logins.map((connectHeaders) => open({ connectHeaders }));
        await Promise.all([watcher, one, two, nobody].map((tab) => tab.connect()));
        await (await watcher.subscribe("/queue/begin")).next();
        const inbox = await watcher.subscribe("/presence" + room);
        for (const tab of [one, two, nobody]) await tab.subscribe(room);
        await one.client.deactivate();
        await two.client.deactivate();
        await inbox.take(4);
        watcher.send("/queue/leave", "please");
        await inbox.take(5);
        return inbox.messages.map(({ body }) => JSON.parse(body));
    }"""
    async with running(front) as site:
        async with driving(front, carrier, script, ROOM) as page, stomp_py(site, "1.2", "ada") as (client, ear):
            await confirmed(client, ear, ROOM)
            await confirmed(client, ear, "/queue/leave", id="2")
            client.send("/queue/begin", "the page may look")
            assert await ear.body() == "please"
        assert page.result() == [
            {"type": "here", "users": ["ada"], "count": 1},
            {"type": "join", "user": "bob", "count": 2},
            {"type": "join", "user": "page", "count": 3},
            {"type": "leave", "user": "bob", "count": 2},
            {"type": "leave", "user": "ada", "count": 1},
        ]
        assert site.broker.here("/topic/rooms/2") == stomp.Here([], 0)


# What is refused.

FAULTS: Final = [
    ("SEND", {"destination": JOBS, "transaction": "unknown"}, "unknown transaction"),
    ("SEND", {"destination": JOBS, "expiration": "soon"}, "expiration is no number"),
    ("SEND", {"destination": "/queue/*"}, "no wildcards in the destination of a queue"),
    ("SEND", {"destination": "/presence" + ROOM}, "who is present is told by the server alone"),
    ("SEND", {"destination": "/queue/full"}, "queue full"),
    ("SUBSCRIBE", {"destination": "/queue/**"}, "no wildcards in the destination of a queue"),
    ("SUBSCRIBE", {"destination": "/reply-queue/x"}, "this temporary queue is somebody else's, or gone"),
    ("SUBSCRIBE", {"destination": JOBS, "prefetch-count": "many"}, "prefetch-count is no number"),
    ("SUBSCRIBE", {"destination": ROOM, "x-since": "soon"}, "x-since is no number"),
    ("SUBSCRIBE", {"destination": ROOM, "durable": "true"}, "durable without client-id"),
    ("SUBSCRIBE", {"destination": ROOM, "durable": "yes"}, "durable is true or false"),
    ("ACK", {}, "ACK or NACK of a message that waits for none"),
    ("NACK", {"requeue": "perhaps"}, "requeue is true or false"),
]


async def test_a_page_is_told_what_is_wrong_and_its_jobs_go_to_others(front: Front, carrier: str) -> None:
    """Each time it has a job in hand, which comes again afterwards."""
    script = """async (open, [jobs, faults]) => {
        const results = [];
        for (const [command, headers] of faults) {
            const tab = open();
            await tab.connect();
            const message = await (await tab.subscribe(jobs, { ack: "client-individual" })).next();
            if (command === "SEND") {
                tab.send(headers.destination, "x", headers);
            } else if (command === "SUBSCRIBE") {
                tab.client.subscribe(headers.destination, () => {}, headers);
            } else if (command === "ACK") {
                tab.client.ack("1-999999", message.headers.subscription);
            } else {
                message.nack(headers);
            }
            const { errors, close } = await tab.ended();
            results.push([errors.map((error) => error.headers.message), close.code]);
        }
        return results;
    }"""
    async with running(front, max_queue_length=1, max_deliveries=100) as site:
        await site.put("job")
        await site.put("full", destination="/queue/full")
        results = await front.run(carrier, script, [JOBS, [[command, headers] for command, headers, _ in FAULTS]])
        assert results == [[[message], PROTOCOL_ERROR] for _, _, message in FAULTS]
        async with stomp_py(site, "1.2") as (client, ear):
            await confirmed(client, ear, JOBS)
            headers, body = await ear.next("MESSAGE")
            assert (body, headers["x-delivery-count"]) == ("job", str(len(FAULTS)))
        assert len(site.broker.queues["/queue/full"]) == 1


async def test_a_full_queue_holds_what_it_has_promised(front: Front, carrier: str) -> None:
    """The page that passes the limit is told which; a service then gets all that had a receipt."""
    script = """async (open, destination) => {
        const tab = open();
        await tab.connect();
        let receipts = 0;
        const send = (number) => {
            tab.client.watchForReceipt(`r${number}`, () => { receipts += 1; });
            tab.send(destination, String(number), { receipt: `r${number}` });
        };
        for (let number = 0; number < 60; number += 1) send(number);
        const { errors } = await tab.ended();
        return { receipts, errors: errors.map(({ headers, body }) => [headers.message, headers["receipt-id"], body]) };
    }"""
    async with running(front, max_queue_length=50) as site, stompman_client(site) as man:
        assert await front.run(carrier, script, JOBS) == {
            "receipts": 50,
            "errors": [["queue full", "r50", f"{JOBS} holds max_queue_length (50) messages"]],
        }
        subscription, inbox = await subscribe(man, JOBS, ack="auto")
        assert [await inbox.body() for _ in range(50)] == [str(number) for number in range(50)]
        await subscription.unsubscribe()
