"""Several clients do what they like, and at every step a simple model says what they may see.

The model knows messages by their text: what was sent, who has what, what is settled. It does not foretell who gets
which message; it checks that whatever comes was promised, and at the end that everything promised has come.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.broker.history import History
from sockbridge.stomp.frame import Command, Frame
from sockbridge.stomp.policy import EVERYBODY, Rule
from sockbridge.stomp.server import StompServer
from sockbridge.testing import ManualClockLoop, MemoryClient
from sockbridge.testing.loop import turns

RUNS = 2000
STEPS = 30

QUEUES = ("/queue/a", "/queue/b")
DEAD = "/queue/dead-letters"
KEPT = "/topic/kept"
NEWS = "/topic/news"
ROOM = "/topic/room"

USERS = ("ann", "bob", "ann", None)
"""Who sits at which place; two are tabs of one user, one is a guest."""

MAX_DELIVERIES = 3
MAX_QUEUE_LENGTH = 5
KEPT_SIZE = 4
DURABLE_LENGTH = 3
EXPIRES_AFTER = 10
MAX_SIZE = 50_000

WHICH = st.integers(0, 11)
MODES = st.sampled_from(["auto", "client", "client-individual"])

POLICY = (Rule.connect(EVERYBODY), Rule.subscribe("**", EVERYBODY), Rule.send("**", EVERYBODY))

T = TypeVar("T")


@dataclass
class Job:
    """A message of a queue."""

    queue: str
    number: int
    expires_at: float | None
    order: int = 0  # in which it was put into its queue
    deliveries: int = 0
    holder: tuple[int, str] | None = None  # place and subscription
    ack: str = ""
    fate: str = ""  # settled, rejected; "" while it is promised

    @property
    def text(self) -> str:
        return f"{self.queue} {self.number}"


@dataclass
class Line:
    """One subscription, and what the model knows of it."""

    kind: str  # queue, kept, durable, room
    destination: str
    mode: str = "auto"
    prefetch: int = 0
    held: list[Job] = field(default_factory=list)
    last_first: int = 0  # order of the last job that came for the first time
    last: int = 0  # number of the last message of a topic


@dataclass
class Place:
    """One client."""

    client: MemoryClient
    lines: dict[str, Line] = field(default_factory=dict)
    transactions: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)
    is_late: bool = False  # what it reads now may have come long ago


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = ManualClockLoop()
        self.broker = EmbeddedBroker(
            ["/topic"],
            queues=["/queue"],
            history=[History(KEPT, size=KEPT_SIZE)],
            presence=[ROOM],
            max_deliveries=MAX_DELIVERIES,
            max_queue_length=MAX_QUEUE_LENGTH,
            max_durable_length=DURABLE_LENGTH,
            max_size=MAX_SIZE,
            durable_grace=1e6,
        )
        self.server = StompServer(self.broker, policy=POLICY)
        self.run(self.server.on_start())
        self.places: dict[int, Place] = {}
        self.jobs: dict[str, Job] = {}
        self.ids = 0
        self.orders = 0
        self.published = 0  # on the kept topic
        self.epoch = ""
        self.seen: dict[int, int] = {}  # place -> last offset of the kept topic
        self.told = 0  # on the topic of durable subscriptions
        self.durable: dict[int, int] = {}  # place -> last number that its durable subscription got
        for seat in range(3):
            self.places[seat] = Place(self.run(self.arrive(USERS[seat])))
        self.undertaker = self.run(self.arrive(None))
        self.run(self.undertaker.subscribe("dead", DEAD))
        self.died: dict[str, str] = {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def seat(self, which: int) -> int:
        """One of the seats that are taken; somebody comes if none is."""
        if not self.places:
            self.places[0] = Place(self.run(self.arrive(USERS[0])))
        return sorted(self.places)[which % len(self.places)]

    async def arrive(self, user: str | None) -> MemoryClient:
        client = MemoryClient(self.server, user)
        assert (await client.connect()).command is Command.CONNECTED
        return client

    # Who is there.

    @precondition(lambda self: len(self.places) < len(USERS))
    @rule()
    def connect(self) -> None:
        seat = next(seat for seat in range(len(USERS)) if seat not in self.places)
        self.places[seat] = Place(self.run(self.arrive(USERS[seat])))

    @precondition(lambda self: len(self.places) > 1)
    @rule(which=WHICH, is_polite=st.booleans())
    def leave(self, which: int, is_polite: bool) -> None:
        self.gone(self.seat(which), is_polite=is_polite)

    @precondition(lambda self: len(self.places) > 1)
    @rule(which=WHICH)
    def commit_a_fault(self, which: int) -> None:
        seat = self.seat(which)
        self.run(self.places[seat].client.send("ACK", {"id": "999-999"}))
        self.expect_end(seat, "ACK of an unknown message")

    @rule(which=WHICH)
    def stop_reading(self, which: int) -> None:
        place = self.places[self.seat(which)]
        place.client.stop_reading()
        place.is_late = True

    @precondition(lambda self: any(not place.client.is_reading for place in self.places.values()))
    @rule()
    def read_on(self) -> None:
        for place in self.places.values():
            place.client.read_on()
        self.look()
        for place in self.places.values():
            place.is_late = False

    @rule(seconds=st.sampled_from([3.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.run(self.loop.advance(seconds))

    # Queues.

    @rule(which=WHICH, queue=st.sampled_from(QUEUES), mode=MODES, prefetch=st.integers(1, 3))
    def consume(self, which: int, queue: str, mode: str, prefetch: int) -> None:
        headers = {"ack": mode, "prefetch-count": str(prefetch)}
        self.subscribe(self.seat(which), Line("queue", queue, mode, prefetch), headers)

    @precondition(lambda self: any(place.lines for place in self.places.values()))
    @rule(which=WHICH)
    def unsubscribe(self, which: int) -> None:
        lines = [(seat, id) for seat, place in self.places.items() for id in place.lines]
        seat, id = lines[which % len(lines)]
        place = self.places[seat]
        was_reading = place.client.is_reading
        place.client.read_on()  # what is on its way is the client's already
        self.look()
        self.run(place.client.send("UNSUBSCRIBE", {"id": id}))
        line = place.lines.pop(id)
        self.free(line)
        if line.kind == "durable":
            del self.durable[seat]
        if not was_reading:
            place.client.stop_reading()

    @rule(which=WHICH, queue=st.sampled_from(QUEUES), expires=st.booleans(), count=st.integers(1, 3))
    def send(self, which: int, queue: str, expires: bool, count: int) -> None:
        seat = self.seat(which)
        for _ in range(count):
            if seat not in self.places:
                return  # the queue was full
            job, headers = self.job(queue, expires=expires)
            self.put(job)
            self.run(self.places[seat].client.send("SEND", headers, job.text))
            if self.places[seat].client.close_code is not None:
                job.fate = "refused"
                self.expect_end(seat, "queue full")

    @precondition(lambda self: any(place.transactions for place in self.places.values()))
    @rule(which=WHICH, queue=st.sampled_from(QUEUES), expires=st.booleans())
    def send_in_a_transaction(self, which: int, queue: str, expires: bool) -> None:
        seat, name = self.transaction(which)
        job, headers = self.job(queue, expires=expires)
        self.run(self.places[seat].client.send("SEND", {**headers, "transaction": name}, job.text))
        self.places[seat].transactions[name].append(("SEND", job))

    def job(self, queue: str, *, expires: bool) -> tuple[Job, dict[str, str]]:
        # One that is to be sent, and its headers.
        job = Job(queue, len(self.jobs) + 1, EXPIRES_AFTER if expires else None, fate="held back")
        self.jobs[job.text] = job
        return job, {"destination": queue, **({"expiration": str(EXPIRES_AFTER * 1000)} if expires else {})}

    def put(self, job: Job) -> None:
        # It is sent now; it may come back within the call.
        self.orders += 1
        job.order = self.orders
        job.fate = ""
        if job.expires_at is not None:
            job.expires_at += self.loop.time()

    def transaction(self, which: int) -> tuple[int, str]:
        # Whose, and its name.
        several = [(seat, name) for seat, place in self.places.items() for name in place.transactions]
        return several[which % len(several)]

    def choices(self) -> list[tuple[int, Line, Job]]:
        """What can be acknowledged, and is not already in a transaction."""
        pending = {
            job.text
            for place in self.places.values()
            for acts in place.transactions.values()
            for act, value in acts
            if act != "SEND"
            for job in value[1]
        }
        return [
            (seat, line, job)
            for seat, place in self.places.items()
            for line in place.lines.values()
            for job in line.held
            if not any(one.text in pending for one in self.covered(line, job))
        ]

    def covered(self, line: Line, job: Job) -> list[Job]:
        return line.held[: line.held.index(job) + 1] if line.mode == "client" else [job]

    @precondition(lambda self: self.choices())
    @rule(which=WHICH, verdict=st.sampled_from(["ACK", "NACK", "reject"]), transacted=st.booleans())
    def settle(self, which: int, verdict: str, transacted: bool) -> None:
        choices = self.choices()
        seat, line, job = choices[which % len(choices)]
        covered = self.covered(line, job)
        place = self.places[seat]
        headers = {"id": job.ack}
        if verdict == "reject":
            headers["requeue"] = "false"
        command = "ACK" if verdict == "ACK" else "NACK"
        if transacted and place.transactions:
            name = next(iter(place.transactions))
            place.transactions[name].append((verdict, (line, covered)))
            self.run(place.client.send(command, {**headers, "transaction": name}))
        else:
            self.apply(verdict, line, covered)
            self.run(place.client.send(command, headers))
        assert place.client.close_code is None

    def apply(self, verdict: str, line: Line, covered: list[Job]) -> None:
        for job in covered:
            line.held.remove(job)
            job.holder = None
            if verdict == "ACK":
                job.fate = "settled"
            elif verdict == "reject":
                job.fate = "rejected"

    # Transactions.

    @rule(which=WHICH)
    def begin(self, which: int) -> None:
        place = self.places[self.seat(which)]
        if len(place.transactions) < 2:
            self.ids += 1
            self.run(place.client.send("BEGIN", {"transaction": str(self.ids)}))
            place.transactions[str(self.ids)] = []

    @precondition(lambda self: any(place.transactions for place in self.places.values()))
    @rule(which=WHICH)
    def commit(self, which: int) -> None:
        seat, name = self.transaction(which)
        place = self.places[seat]
        acts = place.transactions.pop(name)
        held = {id: list(line.held) for id, line in place.lines.items()}
        for act, value in acts:  # as if it works: what comes of it comes at once
            if act == "SEND":
                self.put(value)
            else:
                line, covered = value  # of a subscription that has ended meanwhile nothing is left to settle
                self.apply(act, line, [job for job in covered if job in line.held])
        self.run(place.client.send("COMMIT", {"transaction": name}))
        if place.client.close_code is None:
            return
        for id, jobs in held.items():  # then nothing of it has happened
            place.lines[id].held = jobs
            for job in jobs:
                job.fate, job.holder = "", (seat, id)
        for act, value in acts:
            if act == "SEND":
                value.fate = "refused"
        self.expect_end(seat, "queue full")

    @precondition(lambda self: any(place.transactions for place in self.places.values()))
    @rule(which=WHICH)
    def abort(self, which: int) -> None:
        seat, name = self.transaction(which)
        self.run(self.places[seat].client.send("ABORT", {"transaction": name}))
        self.undo(self.places[seat].transactions.pop(name))

    def undo(self, acts: list[tuple[str, Any]]) -> None:
        for act, value in acts:
            if act == "SEND":
                value.fate = "never sent"

    # Topics.

    @rule(count=st.integers(1, 6))
    def publish(self, count: int) -> None:
        for _ in range(count):
            self.published += 1
            self.run(self.server.messaging.send(KEPT, str(self.published)))

    @rule(which=WHICH, how=st.sampled_from(["live", "all", "since"]))
    def follow(self, which: int, how: str) -> None:
        seat = self.seat(which)
        headers: dict[str, str] = {}
        line = Line("kept", KEPT)
        if how == "all":
            headers = {"x-since": "0"}
            line.last = max(0, self.published - KEPT_SIZE)
        elif how == "since" and seat in self.seen:
            line.last = self.seen[seat]
            headers = {"x-since": str(line.last), "x-epoch": self.epoch}
        else:
            line.last = self.published
        self.subscribe(seat, line, headers)

    @rule(count=st.integers(1, 4))
    def tell(self, count: int) -> None:
        for _ in range(count):
            self.told += 1
            self.run(self.server.messaging.send(NEWS, str(self.told)))

    @rule(which=WHICH)
    def attend(self, which: int) -> None:
        seat = self.seat(which)
        if any(line.kind == "durable" for line in self.places[seat].lines.values()):
            return
        headers = {"durable": "true", "client-id": f"seat {seat}"}
        line = Line("durable", NEWS)
        line.last = self.durable.setdefault(seat, self.told)
        self.subscribe(seat, line, headers)

    @rule(which=WHICH)
    def enter(self, which: int) -> None:
        self.subscribe(self.seat(which), Line("room", ROOM), {})

    def subscribe(self, seat: int, line: Line, headers: dict[str, str]) -> None:
        place = self.places[seat]
        self.ids += 1
        place.lines[str(self.ids)] = line
        headers = {"id": str(self.ids), "destination": line.destination, **headers}
        self.run(place.client.send("SUBSCRIBE", headers))
        assert place.client.close_code is None

    # What comes.

    @invariant()
    def nothing_comes_that_was_not_promised(self) -> None:
        self.run(turns(30))
        self.look()

    def look(self) -> None:
        for frame in self.undertaker.take():
            text, reason = frame.body.decode(), frame.headers["x-first-death-reason"]
            assert text not in self.died, "it died twice"
            self.died[text] = reason
            self.check_death(self.jobs[text], reason, frame)
        for seat, place in self.places.items():
            for frame in place.client.take():
                assert frame.command is Command.MESSAGE, frame
                line = place.lines[frame.headers["subscription"]]
                if line.kind == "queue":
                    self.take_job(seat, line, frame)
                elif line.kind in ("kept", "durable"):
                    self.take_news(seat, line, frame)

    def check_death(self, job: Job, reason: str, frame: Frame) -> None:
        assert job.holder is None
        if reason == "rejected":
            assert job.fate == "rejected"
        elif reason == "expired":
            assert job.fate == ""
            assert job.expires_at is not None
            assert self.loop.time() >= job.expires_at
        else:
            assert reason == "delivery_limit"
            assert job.fate == ""
            assert frame.headers["x-first-death-count"] == str(MAX_DELIVERIES)

    def take_job(self, seat: int, line: Line, frame: Frame) -> None:
        job = self.jobs[frame.body.decode()]
        assert job.queue == line.destination == frame.destination
        assert job.fate == "", f"it is {job.fate}"
        assert job.holder is None, "somebody else has it"
        assert job.text not in self.died
        if job.expires_at is not None and not self.places[seat].is_late:
            assert self.loop.time() < job.expires_at, "it has expired"
        count = int(frame.headers.get("x-delivery-count", "0"))
        assert (frame.headers.get("redelivered") == "true") == (count > 0)
        # Deliveries that nobody has read, as their client was gone, count as well.
        assert job.deliveries <= count < MAX_DELIVERIES
        job.deliveries = count + 1
        if count == 0:
            assert job.order > line.last_first, "it was overtaken"
            line.last_first = job.order
        if line.mode == "auto":
            job.fate = "settled"
            return
        job.ack = frame.headers["ack"]
        job.holder = (seat, frame.headers["subscription"])
        line.held.append(job)
        assert len(line.held) <= line.prefetch

    def take_news(self, seat: int, line: Line, frame: Frame) -> None:
        number = int(frame.body)
        missed = int(frame.headers.get("x-missed", "0"))
        assert missed >= 0
        assert number == line.last + 1 + missed, f"{number} after {line.last}, {missed} missing"
        line.last = number
        if line.kind == "durable":
            assert "x-offset" not in frame.headers
            self.durable[seat] = number
        else:
            assert frame.headers["x-offset"] == str(number)
            self.epoch = self.epoch or frame.headers["x-epoch"]
            assert frame.headers["x-epoch"] == self.epoch
            self.seen[seat] = max(self.seen.get(seat, 0), number)

    def gone(self, seat: int, *, is_polite: bool) -> None:
        place = self.places[seat]
        place.client.read_on()  # what is on its way is the client's already, and nobody runs in between
        self.look()
        del self.places[seat]
        for line in place.lines.values():
            self.free(line)
        for acts in place.transactions.values():
            self.undo(acts)
        self.run(place.client.disconnect() if is_polite else place.client.cut())

    def free(self, line: Line) -> None:
        for job in line.held:
            job.holder = None
        line.held.clear()

    def expect_end(self, seat: int, message: str) -> None:
        place = self.places[seat]
        place.client.read_on()
        frames = place.client.take()
        assert frames[-1].command is Command.ERROR
        assert frames[-1].headers["message"] == message
        place.client._frames.extend(frames[:-1])
        self.gone(seat, is_polite=False)

    # What always holds.

    @invariant()
    def counters_add_up(self) -> None:
        counters = self.broker.counters
        held = sum(len(queue) + queue.lent for queue in self.queues())
        assert counters.queued == counters.settled + counters.dead + counters.dropped + held

    @invariant()
    def limits_hold(self) -> None:
        assert 0 <= self.broker.held <= MAX_SIZE
        for queue in self.broker.queues.values():
            assert len(queue) + queue.lent <= MAX_QUEUE_LENGTH

    @invariant()
    def who_is_there_is_known(self) -> None:
        there = [(seat, USERS[seat]) for seat, place in self.places.items()
                 for line in place.lines.values() if line.kind == "room"]  # fmt: skip
        here = self.broker.here(ROOM)
        assert here.users == sorted({user for _, user in there if user is not None})
        assert here.count == len(here.users) + len({seat for seat, user in there if user is None})

    def queues(self) -> Iterator[Any]:
        yield from self.broker.queues.values()
        for durable in self.broker._topics._durables:
            yield durable.queue

    # At the end everything promised has come.

    def teardown(self) -> None:
        try:
            self.settle_accounts()
            self.run(self.server.on_stop())
        finally:
            self.loop.close()

    def settle_accounts(self) -> None:
        for place in self.places.values():
            place.client.read_on()
        self.run(turns(60))
        self.look()
        for place in self.places.values():
            for line in place.lines.values():
                if line.kind == "kept":
                    assert line.last == self.published or self.is_behind_by_gap(line)
                elif line.kind == "durable":
                    assert line.last == self.told
        for seat in list(self.places):
            self.gone(seat, is_polite=True)
        last = self.run(self.arrive(None))
        for number, queue in enumerate(QUEUES):
            self.run(last.subscribe(str(number), queue))
        self.run(turns(60))
        self.look()
        rest = [frame.body.decode() for frame in last.take() if frame.command is Command.MESSAGE]
        promised = [job.text for job in self.jobs.values() if job.fate == "" and job.text not in self.died]
        assert sorted(rest) == sorted(promised), "lost, or given out though it was settled"
        for queue in QUEUES:
            orders = [self.jobs[text].order for text in rest if self.jobs[text].queue == queue]
            assert orders == sorted(orders)
        rejected = {job.text for job in self.jobs.values() if job.fate == "rejected"}
        assert rejected == {text for text, reason in self.died.items() if reason == "rejected"}
        self.run(last.disconnect())
        kept = sum(stream._size for _, stream in self.broker._topics._histories._streams.items())
        waiting = sum(queue._size for queue in self.queues())
        assert self.broker.held == kept + waiting
        assert json.dumps(sorted(self.broker.queues)) == json.dumps([DEAD])

    def is_behind_by_gap(self, line: Line) -> bool:
        # Nothing is kept any more of what it misses: the next message would say how many.
        return self.published - line.last > 0 and not len(self.broker._topics._histories.find(KEPT) or ())


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=RUNS,
    stateful_step_count=STEPS,
    deadline=None,
    phases=[Phase.generate],  # to shrink a failure takes minutes: add Phase.shrink where one is looked into
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
