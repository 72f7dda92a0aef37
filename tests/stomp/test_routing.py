"""Where a SEND leads: to a controller, to a user, or to the broker; and which names it is known by there."""

from __future__ import annotations

import pytest

from sockbridge.errors import BadFrame, UnknownDestination
from sockbridge.stomp.broker.embedded import EmbeddedBroker
from sockbridge.stomp.codec import PreparedMessage
from sockbridge.stomp.controllers.mapping import Controller
from sockbridge.stomp.frame import RESERVED, Frame
from sockbridge.stomp.server import StompServer
from sockbridge.stomp.subscription import Subscription
from tests.stomp.fakes import RecordingBroker, RecordingCarrier, login, make_frame, subscribe

APP_PREFIXES = ["/app", "/api/"]


class Bench:
    """The routing of one server.

    Attributes:
        server: around it.
        routing: the one.
    """

    def __init__(self, broker: EmbeddedBroker | RecordingBroker | None = None) -> None:
        controller = Controller()

        @controller.message_mapping("/a", "/")
        async def function() -> None: ...

        self.broker = broker or RecordingBroker("/topic", "/queue")
        self.server = StompServer(self.broker, controllers=[controller], app_prefixes=APP_PREFIXES)
        self.routing = self.server._commands._routing

    def user(self, name: str) -> tuple[Subscription, RecordingCarrier]:
        """Somebody who has subscribed to ``/user/queue/me``."""
        connection, carrier = login(user=name)
        subscription = subscribe(connection, "/user/queue/me")
        self.server.users.add(connection)
        self.server.users.subscribe(connection, subscription)
        return subscription, carrier


def send(destination: str = "/topic/a", body: bytes = b"x", /, **headers: str) -> Frame:
    return make_frame("SEND", body, **{"destination": destination, **headers})


# Prefixes.


@pytest.mark.parametrize(
    ("destination", "path"),
    [
        ("/app/a", "/a"),
        ("/app/a/b", "/a/b"),
        ("/app", "/"),
        ("/app/", "/"),
        ("/api/a", "/a"),
        ("/apps/a", None),
        ("/topic/app/a", None),
        ("app/a", None),
        ("", None),
    ],
)
def test_what_is_for_controllers_is_known_by_its_prefix(destination: str, path: str | None) -> None:
    assert Bench().routing.app_path(destination) == path


@pytest.mark.parametrize(
    ("command", "destination", "is_functions"),
    [
        ("SEND", "/app/a", True),
        ("SEND", "/api/gone", True),
        ("SEND", "/topic/a", False),
        ("SEND", "/user/ann/queue/a", False),
        ("ACK", "/app/a", False),
        ("NACK", "", False),
    ],
)
def test_what_a_function_works_on_is_told_from_the_rest(command: str, destination: str, is_functions: bool) -> None:
    frame = make_frame(command, destination=destination)
    assert Bench().routing.is_functions(frame) is is_functions


@pytest.mark.parametrize(
    ("destination", "is_users"),
    [("/user/ann/queue/a", True), ("/user", True), ("/users/a", False), ("/topic/user", False)],
)
def test_what_is_for_users_is_known_by_its_prefix(destination: str, is_users: bool) -> None:
    assert Bench().routing.is_users(destination) is is_users


@pytest.mark.parametrize("destination", ["/topic/a", "/queue/a", "/user/ann/queue/me", "/user", "/app/a", "/app/"])
def test_what_leads_somewhere_is_served(destination: str) -> None:
    Bench().routing.check_served(login()[0], send(destination))


@pytest.mark.parametrize("destination", ["/elsewhere", "/apps/a", "/topics", "x"])
def test_what_leads_nowhere_is_not(destination: str) -> None:
    with pytest.raises(UnknownDestination, match=f"nobody serves SEND to '{destination}'"):
        Bench().routing.check_served(login()[0], send(destination))


def test_what_no_function_is_there_for_is_not_served_either() -> None:
    routing = Bench().routing
    for act in (routing.check_served, routing.find):
        with pytest.raises(UnknownDestination):
            act(login()[0], send("/app/nowhere"))


def test_a_long_destination_is_shown_briefly() -> None:
    with pytest.raises(UnknownDestination) as caught:
        Bench().routing.check_served(login()[0], send("/" + "x" * 1000))
    assert len(str(caught.value)) < 300


def test_the_function_of_a_frame_is_found() -> None:
    routing, connection = Bench().routing, login()[0]
    assert routing.find(connection, send("/app/a")) is not None
    assert routing.find(connection, send("/topic/a")) is None


# Temporary queues.


def resolved(bench: Bench, frame: Frame) -> tuple[str, dict[str, str]]:
    """What ``resolve`` returns, and what the headers are then."""
    connection, _ = login()
    told = bench.routing.resolve(connection, frame)
    return told, frame.headers


def test_where_to_answer_is_written_as_others_know_it() -> None:
    bench = Bench(EmbeddedBroker(queues=["/queue"]))
    told, headers = resolved(bench, send("/queue/jobs", **{"reply-to": "/temp-queue/x", "x": "1"}))
    assert told == "", "there is no more to ask about it"
    assert headers["reply-to"].startswith("/reply-queue/")
    assert (headers["destination"], headers["x"]) == ("/queue/jobs", "1")


def test_a_client_reaches_its_own_queue_by_its_own_name() -> None:
    bench = Bench(EmbeddedBroker(queues=["/queue"]))
    connection, _ = login()
    frame = send("/temp-queue/x", reply_to="/temp-queue/x")
    bench.routing.resolve(connection, frame)
    assert frame.destination == frame.headers["reply-to"]
    assert frame.destination.startswith("/reply-queue/")
    other = send("/temp-queue/x")
    bench.routing.resolve(login()[0], other)
    assert other.destination != frame.destination


@pytest.mark.parametrize("reply_to", ["/topic/a", "/reply-queue/guess", "/app/secret", "somewhere", ""])
def test_another_address_for_the_answer_stays_and_is_told(reply_to: str) -> None:
    """So that it can be asked whether the client may send there itself."""
    told, headers = resolved(Bench(EmbeddedBroker(queues=["/queue"])), send(reply_to=reply_to))
    assert (told, headers["reply-to"]) == (reply_to, reply_to)


def test_without_an_address_for_the_answer_there_is_none() -> None:
    told, headers = resolved(Bench(), send())
    assert (told, headers) == ("", {"destination": "/topic/a"})


@pytest.mark.parametrize(
    "headers",
    [
        {" reply-to": "/app/secret"},
        {"reply-to\t": " /app/secret "},
        {"\ufeffreply-to": "/app/secret", "reply-to": "/topic/a"},
        {"reply-to": "\u00a0/app/secret"},
    ],
)
def test_blanks_hide_no_address(headers: dict[str, str]) -> None:
    """Clients in the field drop them, and would answer to what nobody has looked at."""
    told, written = resolved(Bench(), send("/topic/a", **headers))
    assert told == "/app/secret"
    assert written == {"destination": "/topic/a", "reply-to": "/app/secret"}


def test_other_headers_of_similar_names_stay() -> None:
    told, headers = resolved(Bench(), send(**{"x-reply-to": "/temp-queue/x", "reply-to-user": "/app/a"}))
    assert told == ""
    assert headers == {"destination": "/topic/a", "x-reply-to": "/temp-queue/x", "reply-to-user": "/app/a"}


@pytest.mark.parametrize("headers", [{"destination": "/temp-queue/"}, {"reply-to": "/temp-queue"}])
def test_a_temporary_queue_without_a_name_is_a_fault(headers: dict[str, str]) -> None:
    with pytest.raises(BadFrame, match="has a name"):
        resolved(Bench(EmbeddedBroker(queues=["/queue"])), send(**{"/topic/a": "", **headers}))


# The broker.


def test_what_is_for_the_broker_becomes_a_message() -> None:
    message = Bench().routing.message(send("/topic/a", b"hello", x="1", content_type="text/css"))
    assert message is not None
    assert (message.destination, message.body) == ("/topic/a", b"hello")
    assert message.headers == {"x": "1", "content-type": "text/css"}
    assert Bench().routing.message(send("/app/a")) is None


def test_headers_of_the_server_are_left_out_whatever_blanks_are_around_them() -> None:
    forged = dict.fromkeys(RESERVED - {"content-type", "destination"}, "forged")
    blank = {f" {name}\u3000": "forged" for name in RESERVED}
    message = Bench().routing.message(send("/topic/a", b"", **forged, **blank, own="1"))
    assert message is not None
    assert message.headers == {"own": "1"}


def test_every_message_has_a_number_of_its_own() -> None:
    routing = Bench().routing
    messages = [routing.message(send()) for _ in range(3)]
    assert len({message.serial for message in messages if message is not None}) == 3


async def test_what_the_broker_takes_is_published() -> None:
    bench = Bench()
    message = bench.routing.message(send())
    assert message is not None
    await bench.routing.check([message])
    await bench.routing.publish(message)
    assert isinstance(bench.broker, RecordingBroker)
    assert bench.broker.calls == [("check", [message]), ("publish", message)]


async def test_a_full_queue_is_a_fault_that_names_the_limit() -> None:
    bench = Bench(EmbeddedBroker(queues=["/queue"], max_queue_length=1))
    messages = [bench.routing.message(send("/queue/a")) for _ in range(2)]
    several = [message for message in messages if message is not None]
    with pytest.raises(BadFrame, match=r"^queue full: /queue/a holds max_queue_length \(1\) messages$"):
        await bench.routing.check(several)
    await bench.routing.publish(several[0])
    with pytest.raises(BadFrame, match=r"^queue full: .*max_queue_length"):
        await bench.routing.publish(several[1])


async def test_other_faults_of_the_broker_pass_through() -> None:
    class Broken(RecordingBroker):
        async def publish(self, message: PreparedMessage) -> None:
            raise OSError("secret")

        async def check(self, messages: object) -> None:
            raise OSError("secret")

    bench = Bench(Broken("/topic"))
    message = bench.routing.message(send())
    assert message is not None
    with pytest.raises(OSError, match="secret"):
        await bench.routing.publish(message)
    with pytest.raises(OSError, match="secret"):
        await bench.routing.check([message])


# Users.


@pytest.mark.parametrize(
    ("destination", "name"),
    [("/user/ann/queue/me", "ann"), ("/user/a%2Fb/queue/me", "a/b"), ("/user/a%2fb/queue/me", "a/b")],
)
def test_a_message_to_a_user_is_known_there_by_the_users_own_name_for_it(destination: str, name: str) -> None:
    bench = Bench()
    (_, carrier), (_, other) = bench.user(name), bench.user("other")
    bench.routing.send_to_user(send(destination, b"hi", x="1", receipt="r"))
    (frame,) = carrier.take()
    assert (frame.destination, frame.body, frame.headers["x"]) == ("/user/queue/me", b"hi", "1")
    assert "receipt" not in frame.headers
    assert other.take() == []


@pytest.mark.parametrize("destination", ["/user/nobody/queue/me", "/user", "/user/", "/user//queue/me"])
def test_a_message_to_nobody_is_silent(destination: str) -> None:
    bench = Bench()
    _, carrier = bench.user("ann")
    bench.routing.send_to_user(send(destination))
    assert carrier.take() == []
