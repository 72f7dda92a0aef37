"""The demos that speak STOMP, as a user and as a client meets them."""

from __future__ import annotations

import asyncio
import io
import json
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import stomp
import stomp.utils
from playwright.async_api import Browser, Page, async_playwright, expect

from demo import chat, conformance, scripts, serving, spring
from sockbridge import client as sockjs_client
from sockbridge.client import stomp as stomp_client

from .fakes import GUARD, serve
from .needs import absent, needs
from .test_demo import LONG_GUARD, ROOT, opened, read, started

TRANSPORTS: Final = ("websocket", "xhr-streaming", "xhr-polling")
"""In the drop-downs, after ``automatic``."""

MEBIBYTE: Final = 1024 * 1024

Headers = dict[str, str]


class Client:
    """A STOMP client on a plain websocket, which writes its frames by hand."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, command: str, headers: Headers | None = None, body: str = "") -> None:
        await self._socket.send_str(worded(command, headers or {}, body))

    async def receive(self, guard: float = GUARD) -> tuple[str, Headers, str]:
        """The next frame: command, headers, body."""
        return parsed(await self._socket.receive_str(timeout=guard))

    async def log_in(self, **headers: str) -> tuple[str, Headers, str]:
        """What a CONNECT is answered with."""
        await self.send("CONNECT", {"accept-version": "1.2", "host": "test", **headers})
        return await self.receive()

    async def subscribe(self, destination: str) -> None:
        """Returns when the subscription is in force."""
        receipt = uuid.uuid4().hex
        await self.send("SUBSCRIBE", {"id": destination, "destination": destination, "receipt": receipt})
        assert await self.receive() == ("RECEIPT", {"receipt-id": receipt}, "")

    async def send_json(self, destination: str, value: object) -> None:
        await self.send("SEND", {"destination": destination, "content-type": "application/json"}, json.dumps(value))

    async def closing_code(self) -> int | None:
        """The code by which the server closes, after all that it had to say."""
        async with asyncio.timeout(GUARD):
            assert [message async for message in self._socket] == []
        return self._socket.close_code


def worded(command: str, headers: Headers, body: str = "") -> str:
    return "\n".join([command, *(f"{name}:{value}" for name, value in headers.items()), "", body]) + "\0"


def parsed(frame: str) -> tuple[str, Headers, str]:
    assert frame.endswith("\0"), frame[-100:]
    head, _, body = frame[:-1].partition("\n\n")
    command, *lines = head.split("\n")
    return command, dict(line.split(":", 1) for line in lines), body  # type: ignore[misc]  # lists of two


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A client of the endpoint at ``url`` that has not logged in."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=["v12.stomp"], max_msg_size=0) as websocket,
    ):
        yield Client(websocket)


@asynccontextmanager
async def person(url: str, name: str, *destinations: str) -> AsyncIterator[Client]:
    """Somebody who has entered the chat and has subscribed to ``destinations``."""
    async with connected(f"{url}/chat") as client:
        command, headers, _ = await client.log_in(login=name)
        assert (command, headers["user-name"]) == ("CONNECTED", name)
        for destination in destinations:
            await client.subscribe(destination)
        yield client


async def heard(client: Client) -> tuple[str, Any]:
    """Destination and value of the next MESSAGE."""
    command, headers, body = await client.receive()
    assert command == "MESSAGE", (command, headers, body)
    return headers["destination"], json.loads(body) if headers["content-type"] == "application/json" else body


# The command line.


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("module", "title"), [("demo.chat", "sockbridge chat"), ("demo.spring", "Spring front ends")])
def test_demo_starts_answers_and_ends_without_a_traceback(module: str, title: str, ending: signal.Signals) -> None:
    with started(module, "--port", "0") as (process, url):
        page = read(f"{url}/")
        assert title in page
        assert "{{" not in page
        process.send_signal(ending)
        output, errors = process.communicate(timeout=LONG_GUARD)
        assert (process.returncode, output, errors) == (0, "Stopped.\n", "")


@pytest.mark.parametrize("module", ["demo.chat", "demo.spring"])
def test_port_in_use_is_one_line_that_says_what_to_do(module: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(module, "--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"cannot listen on 127.0.0.1, port {port}: another program uses it.")
    assert done.stderr.count("\n") == 1


def test_stomp_port_in_use_is_one_line_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("demo.conformance", "--port", "0", "--stomp-port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"cannot listen on 127.0.0.1, port {port}: another program uses it.")
    assert "--stomp-port 0" in done.stderr
    assert done.stderr.count("\n") == 1


def test_stomp_port_that_is_none_is_refused() -> None:
    done = run("demo.conformance", "--port", "0", "--stomp-port", "65536")
    assert done.returncode == 2
    assert "a port is a number from 0 to 65535" in done.stderr


def test_error_that_has_nothing_to_do_with_ports_is_not_taken_for_one(capfd: pytest.CaptureFixture[str]) -> None:
    async def fail(app: object) -> None:
        raise OSError("no such disk")

    app = chat.make_app()
    app.on_startup.append(fail)
    with pytest.raises(OSError, match="no such disk"):
        serving.run(app, "127.0.0.1", 0, "{url}")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_conformance_demo_says_goodbye_to_its_tcp_clients(ending: signal.Signals) -> None:
    with conformance_over_tcp() as (process, _, port), socket.create_connection(("127.0.0.1", port), GUARD) as client:
        client.sendall(b"CONNECT\naccept-version:1.2\nhost:test\nlogin:guest\npasscode:guest\n\n\0")
        assert client.recv(100).startswith(b"CONNECTED\nversion:1.2\n")
        process.send_signal(ending)
        assert client.recv(100) == b""
        output, errors = process.communicate(timeout=LONG_GUARD)
        assert (process.returncode, output, errors) == (0, "Stopped.\n", "")


# The broker of the conformance demo.


@pytest.mark.parametrize(
    "login",
    [{}, {"login": "guest"}, {"login": "guest", "passcode": "Guest"}, {"login": "root", "passcode": "guest"}],
    ids=["nobody", "no passcode", "wrong passcode", "another user"],
)
async def test_everybody_but_guest_is_refused_with_an_error(login: Headers) -> None:
    async with serve(conformance.make_app()) as url, connected(f"{url}/stomp") as client:
        command, headers, _ = await client.log_in(**login)
        assert (command, headers["message"]) == ("ERROR", "login refused")
        assert await client.closing_code() == 1002


@pytest.mark.parametrize(("asked", "answered"), [("1000,1000", "1000,1000"), ("500,3000", "3000,1000"), ("0,0", "0,0")])
async def test_heart_beats_are_mirrored_from_a_second_on(asked: str, answered: str) -> None:
    async with serve(conformance.make_app()) as url, connected(f"{url}/stomp/websocket") as client:
        command, headers, _ = await client.log_in(login="guest", passcode="guest", **{"heart-beat": asked})
        assert (command, headers["heart-beat"]) == ("CONNECTED", answered)


@pytest.mark.parametrize("elsewhere", ["/app/a", "/user/guest/a", "/presence/topic/a"])
async def test_guest_may_send_to_topics_and_queues_and_to_nothing_else(elsewhere: str) -> None:
    async with serve(conformance.make_app()) as url, connected(f"{url}/stomp") as client:
        await client.log_in(login="guest", passcode="guest")
        for destination in ("/topic/a", "/queue/a"):
            await client.subscribe(destination)
            await client.send("SEND", {"destination": destination}, "hello")
            assert (await client.receive())[2] == "hello"
        await client.send("SEND", {"destination": elsewhere, "receipt": "one"}, "for nobody")
        command, headers, _ = await client.receive()
        assert (command, headers["receipt-id"]) == ("ERROR", "one")


@pytest.mark.parametrize("framing", ["raw", "sockjs"])
async def test_body_of_20_mebibytes_goes_round_over_websockets(framing: str) -> None:
    """Quotes and line ends, which SockJS has to escape, and characters of several octets."""
    body = '"ä\n🙂' * (20 * MEBIBYTE // 8)
    path = "/stomp" if framing == "raw" else "/stomp/000/large/websocket"
    async with (
        serve(conformance.make_app()) as url,
        aiohttp.ClientSession() as session,
        session.ws_connect(url + path, max_msg_size=0) as websocket,
    ):

        async def say(frame: str) -> None:
            await websocket.send_str(frame if framing == "raw" else json.dumps([frame]))

        async def hear() -> tuple[str, Headers, str]:
            text = await websocket.receive_str(timeout=LONG_GUARD)
            return parsed(text if framing == "raw" else json.loads(text[1:])[0])

        if framing == "sockjs":
            assert await websocket.receive_str(timeout=GUARD) == "o"
        await say(worded("CONNECT", {"accept-version": "1.2", "login": "guest", "passcode": "guest"}))
        assert (await hear())[0] == "CONNECTED"
        await say(worded("SUBSCRIBE", {"id": "0", "destination": "/topic/large"}))
        await say(worded("SEND", {"destination": "/topic/large"}, body))
        command, headers, received = await hear()
        assert (command, headers["content-length"]) == ("MESSAGE", str(20 * MEBIBYTE))
        assert received == body


async def test_body_of_a_mebibyte_goes_round_over_polling() -> None:
    body = '"ä\n🙂' * (MEBIBYTE // 8)
    async with serve(conformance.make_app()) as url, aiohttp.ClientSession() as session:
        base = f"{url}/stomp/000/polls"

        async def say(command: str, headers: Headers, body: str = "") -> None:
            messages = io.BytesIO(json.dumps([worded(command, headers, body)]).encode())
            async with session.post(f"{base}/xhr_send", data=messages) as answer:
                assert answer.status == 204

        async def poll() -> str:
            async with asyncio.timeout(LONG_GUARD), session.post(f"{base}/xhr") as answer:
                return await answer.text()

        assert await poll() == "o\n"
        await say("CONNECT", {"accept-version": "1.2", "login": "guest", "passcode": "guest"})
        assert parsed(json.loads((await poll())[1:])[0])[0] == "CONNECTED"
        await say("SUBSCRIBE", {"id": "0", "destination": "/topic/large"})
        await say("SEND", {"destination": "/topic/large"}, body)
        assert parsed(json.loads((await poll())[1:])[0])[2] == body


@pytest.mark.parametrize("destination", ["/topic/large", "/queue/large"])
def test_body_of_20_mebibytes_goes_round_over_tcp(destination: str) -> None:
    body = '"ä\n🙂' * (20 * MEBIBYTE // 8)
    with conformance_over_tcp() as (_, _, port), stomp_py(port) as (client, listener):
        client.subscribe(destination, id="0", headers={"receipt": "subscribed"})
        assert listener.next()[0] == "RECEIPT"
        client.send(destination, body)
        command, frame = listener.next()
        assert command == "MESSAGE"
        assert frame.body == body


def test_several_of_the_largest_bodies_wait_in_a_queue() -> None:
    body = "x" * conformance.LARGEST_BODY
    with conformance_over_tcp() as (_, _, port), stomp_py(port) as (client, listener):
        for number in range(3):
            client.send("/queue/large", body, receipt=str(number))
            assert listener.next()[0] == "RECEIPT"
        client.subscribe("/queue/large", id="0")
        for _ in range(3):
            assert len(listener.next()[1].body) == conformance.LARGEST_BODY


def test_each_job_goes_to_one_of_two_tcp_clients_and_comes_again_if_it_was_not_acknowledged() -> None:
    with conformance_over_tcp() as (_, _, port), stomp_py(port) as (first, jobs_of_first):
        first.subscribe("/queue/jobs", id="0", ack="client-individual", headers={"receipt": "subscribed"})
        assert jobs_of_first.next()[0] == "RECEIPT"
        with stomp_py(port) as (second, jobs_of_second):
            second.subscribe("/queue/jobs", id="0", ack="client-individual", headers={"receipt": "subscribed"})
            assert jobs_of_second.next()[0] == "RECEIPT"
            for job in ("one", "two"):
                first.send("/queue/jobs", job)
            mine, others = jobs_of_first.next()[1], jobs_of_second.next()[1]
            assert {mine.body, others.body} == {"one", "two"}
            first.ack(mine.headers["ack"])
        returned = jobs_of_first.next()[1]
        assert returned.body == others.body
        assert (returned.headers["redelivered"], returned.headers["x-delivery-count"]) == ("true", "1")


def test_answer_goes_to_the_temporary_queue_of_the_tcp_client_that_asked() -> None:
    with (
        conformance_over_tcp() as (_, _, port),
        stomp_py(port) as (asking, answers),
        stomp_py(port) as (answering, questions),
    ):
        answering.subscribe("/queue/questions", id="0")
        asking.subscribe("/temp-queue/answers", id="0")
        asking.send("/queue/questions", "who?", headers={"reply-to": "/temp-queue/answers"})
        question = questions.next()[1]
        assert question.headers["reply-to"].startswith("/reply-queue/")
        answering.send(question.headers["reply-to"], "me")
        assert answers.next()[1].body == "me"


async def test_larger_body_is_refused_when_it_is_announced() -> None:
    async with serve(conformance.make_app()) as url, connected(f"{url}/stomp") as client:
        await client.log_in(login="guest", passcode="guest")
        await client.send("SEND", {"destination": "/topic/large", "content-length": str(20 * MEBIBYTE + 1)})
        command, _, body = await client.receive()
        assert command == "ERROR"
        assert str(20 * MEBIBYTE) in body


async def test_tcp_and_websocket_clients_share_one_broker() -> None:
    with conformance_over_tcp() as (_, url, port):
        async with connected(f"{url}/stomp") as browser:
            await browser.log_in(login="guest", passcode="guest")
            await browser.subscribe("/topic/news")
            await asyncio.to_thread(publish_once, port, "/topic/news", "from the back end")
            assert (await browser.receive())[2] == "from the back end"


def test_tcp_client_with_a_wrong_passcode_is_refused_with_an_error() -> None:
    with conformance_over_tcp() as (_, _, port):
        client = stomp.Connection12([("127.0.0.1", port)], reconnect_attempts_max=1)
        listener = Listener()
        client.set_listener("", listener)
        client.connect("guest", "wrong")
        command, frame = listener.next()
        assert (command, frame.headers["message"]) == ("ERROR", "login refused")
        assert listener.next()[0] == "DISCONNECTED"


# The chat.


async def test_what_is_said_in_a_room_reaches_everybody_in_it_and_nobody_else() -> None:
    async with (
        serve(chat.make_app()) as url,
        person(url, "alice", "/topic/rooms/lobby", "/user/queue/private") as alice,
        person(url, "bob", "/topic/rooms/lobby") as bob,
        person(url, "carol", "/topic/rooms/python", "/user/queue/private") as carol,
    ):
        await alice.send_json("/app/rooms/lobby", {"text": "<b>hi</b>"})
        for listener in (alice, bob):
            destination, said = await heard(listener)
            assert destination == "/topic/rooms/lobby"
            assert (said["who"], said["to"], said["text"]) == ("alice", "lobby", "<b>hi</b>")
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", said["at"])
        await alice.send_json("/app/rooms/python", {"text": "next door"})
        assert (await heard(carol))[1]["text"] == "next door"


async def test_private_message_reaches_the_tabs_of_both_and_nobody_else() -> None:
    async with (
        serve(chat.make_app()) as url,
        person(url, "alice", "/user/queue/private") as alice,
        person(url, "alice", "/user/queue/private") as second_tab,
        person(url, "bob", "/user/queue/private") as bob,
        person(url, "carol", "/user/queue/private") as carol,
    ):
        await alice.send_json("/app/people/bob", {"text": "between us"})
        for listener in (alice, second_tab, bob):
            destination, said = await heard(listener)
            assert destination == "/user/queue/private"
            assert (said["who"], said["to"], said["text"]) == ("alice", "bob", "between us")
        await bob.send_json("/app/people/carol", {"text": "another thing"})
        assert (await heard(carol))[1]["text"] == "another thing"


async def test_note_to_oneself_comes_once() -> None:
    async with serve(chat.make_app()) as url, person(url, "alice", "/user/queue/private") as alice:
        for text in ("first", "second"):
            await alice.send_json("/app/people/alice", {"text": text})
        assert [(await heard(alice))[1]["text"] for _ in range(2)] == ["first", "second"]


@pytest.mark.parametrize(
    ("destination", "draft", "reason"),
    [
        ("/app/people/nobody", {"text": "hello?"}, "nobody is not here"),
        ("/app/rooms/lobby", {"text": " \n"}, "`$.text`"),
        ("/app/rooms/lobby", {"text": "x" * 1001}, "length <= 1000"),
        ("/app/rooms/lobby", {"txt": "x"}, "`text`"),
        ("/app/rooms/no room", {"text": "x"}, "room: "),
    ],
    ids=["nobody there", "blank", "too long", "no text", "no such name"],
)
async def test_what_cannot_be_sent_comes_back_as_an_error_to_the_tab_that_tried(
    destination: str, draft: dict[str, str], reason: str
) -> None:
    async with (
        serve(chat.make_app()) as url,
        person(url, "alice", "/user/queue/errors", "/topic/rooms/lobby") as alice,
        person(url, "alice", "/user/queue/errors", "/topic/rooms/lobby") as second_tab,
    ):
        await alice.send_json(destination, draft)
        where, text = await heard(alice)
        assert where == "/user/queue/errors"
        assert text.startswith("Not sent: ")
        assert reason in text
        await alice.send_json("/app/rooms/lobby", {"text": "still here"})
        assert (await heard(second_tab))[1]["text"] == "still here"


async def test_everybody_is_told_who_is_here() -> None:
    """A name counts once however many tabs it has, until its last one has gone."""
    async with serve(chat.make_app()) as url, person(url, "alice", "/topic/people") as alice:
        async with person(url, "bob"):
            assert await heard(alice) == ("/topic/people", ["alice", "bob"])
            async with person(url, "bob") as second_tab:
                assert (await heard(alice))[1] == ["alice", "bob"]
                await second_tab.send("SUBSCRIBE", {"id": "0", "destination": "/app/people/here"})
                assert await heard(second_tab) == ("/app/people/here", ["alice", "bob"])
            assert (await heard(alice))[1] == ["alice", "bob"]
        assert (await heard(alice))[1] == ["alice"]


async def test_who_is_in_a_room_is_told_to_those_who_ask() -> None:
    about_lobby = "/presence/topic/rooms/lobby"
    async with serve(chat.make_app()) as url, person(url, "alice", "/topic/rooms/lobby") as alice:
        await alice.send("SUBSCRIBE", {"id": "0", "destination": about_lobby})
        assert await heard(alice) == (about_lobby, {"type": "here", "users": ["alice"], "count": 1})
        async with person(url, "bob", "/topic/rooms/lobby"):
            assert await heard(alice) == (about_lobby, {"type": "join", "user": "bob", "count": 2})
        assert await heard(alice) == (about_lobby, {"type": "leave", "user": "bob", "count": 1})


@pytest.mark.parametrize("name", ["", "a b", "x" * 21, "a/b", "alice\\n"])
async def test_name_that_is_none_is_refused_with_the_reason(name: str) -> None:
    async with serve(chat.make_app()) as url, connected(f"{url}/chat") as client:
        command, headers, _ = await client.log_in(login=name)
        assert (command, headers["message"]) == (
            "ERROR",
            "a name has 1 to 20 letters, digits, dots, dashes or underscores",
        )


@pytest.mark.parametrize(
    ("command", "destination"),
    [
        ("SEND", "/topic/rooms/lobby"),
        ("SEND", "/user/bob/queue/private"),
        ("SEND", "/presence/topic/rooms/lobby"),
        ("SUBSCRIBE", "/topic/**"),
        ("SUBSCRIBE", "/presence/topic/**"),
        ("SUBSCRIBE", "/user/bob/queue/private"),
    ],
)
async def test_nobody_gets_around_the_controllers(command: str, destination: str) -> None:
    """Who could SEND to a topic or to a user could speak in another's name."""
    async with serve(chat.make_app()) as url, person(url, "eve") as eve:
        await eve.send(command, {"destination": destination, "id": "0", "receipt": "0"})
        answer, headers, _ = await eve.receive()
        assert (answer, headers["receipt-id"]) == ("ERROR", "0")
        assert headers["message"].endswith("to this destination is not allowed")


@pytest.mark.browser
@pytest.mark.parametrize("transport", ["", *TRANSPORTS])
async def test_two_browsers_talk_in_a_room_and_in_private(transport: str, fetched: None, browser: Browser) -> None:
    async with serve(chat.make_app()) as url, opened(browser, url) as alice, opened(browser, url) as bob:
        await enter(alice, "alice", "websocket")
        await enter(bob, "bob", transport)
        await expect(bob.locator("#in-use")).to_have_text(f"as bob, by {transport or 'websocket'}")
        await expect(alice.locator("#people button")).to_have_text("@bob")
        await say(bob, "Hello, <img src=x onerror=alert(1)> 🙂")
        for page in (alice, bob):
            await expect(page.locator("#lines .text")).to_have_text("Hello, <img src=x onerror=alert(1)> 🙂")
            await expect(page.locator("#lines strong")).to_have_text("bob")
            assert await page.locator("#lines img").count() == 0
        await alice.click("#people button")
        await say(alice, "Between us.")
        await expect(alice.locator("#lines li.own .text")).to_have_text("Between us.")
        await expect(bob.locator("#people .unread")).to_have_text("1")
        await bob.click("#people button")
        await expect(bob.locator("#lines .text")).to_have_text("Between us.")
        await expect(bob.locator("#people .unread")).to_have_count(0)
        await bob.click("#leave")
        await expect(bob.locator("#state")).to_have_text("not connected")
        await expect(alice.locator("#people .away")).to_have_text("@bob", timeout=LONG_GUARD * 1000)
        await say(alice, "Are you there?")
        await expect(alice.locator("#problem")).to_contain_text("Not sent: bob is not here")


@pytest.mark.browser
async def test_room_that_is_entered_later_is_entered_again_after_a_lost_connection(
    fetched: None, browser: Browser
) -> None:
    app = chat.make_app()
    async with serve(app) as url, opened(browser, url) as alice:
        await enter(alice, "alice", "xhr-polling")
        await alice.fill("#room", "größe")
        await alice.press("#room", "Enter")
        await expect(alice.locator("#title")).to_have_text("#größe")
        await say(alice, "before")
        await expect(alice.locator("#lines .text")).to_have_text(["before"])
        assert app[chat.SERVER].users.disconnect("alice") == 1
        await expect(alice.locator("#state")).to_have_text("lost, trying again ...")
        await expect(alice.locator("#text")).to_be_disabled()
        await expect(alice.locator("#state")).to_have_text("connected")
        await say(alice, "after")
        await expect(alice.locator("#lines .text")).to_have_text(["before", "after"])


@pytest.mark.browser
async def test_page_that_gets_no_connection_says_so_and_goes_on_trying(fetched: None, browser: Browser) -> None:
    async with serve(chat.make_app()) as url, opened(browser, url, blocked="**/chat/**") as page:
        await page.fill("#name", "alice")
        await page.click("#join")
        await expect(page.locator("#problem")).to_contain_text("No connection over any transport: Cannot connect")
        await page.unroute("**/chat/**")
        await expect(page.locator("#state")).to_have_text("connected", timeout=LONG_GUARD * 1000)
        await expect(page.locator("#problem")).to_be_hidden()


@pytest.mark.browser
async def test_refused_name_is_shown_and_can_be_mended(fetched: None, browser: Browser) -> None:
    async with serve(chat.make_app()) as url, opened(browser, url) as page:
        await page.fill("#name", "two words")
        await page.click("#join")
        await expect(page.locator("#problem")).to_contain_text("a name has 1 to 20 letters")
        await expect(page.locator("#state")).to_have_text("not connected")
        await enter(page, "words")
        await expect(page.locator("#problem")).to_be_hidden()


@pytest.mark.browser
async def test_next_person_at_the_same_page_does_not_see_what_the_last_one_was_told(
    fetched: None, browser: Browser
) -> None:
    async with serve(chat.make_app()) as url, opened(browser, url) as page:
        await enter(page, "alice")
        await say(page, "alice was here")
        await expect(page.locator("#lines .text")).to_have_count(1)
        await page.evaluate("open('@carol')")
        await expect(page.locator("#people button")).to_have_text("@carol")
        await page.click("#leave")
        await enter(page, "bob")
        await expect(page.locator("#people button")).to_have_count(0)
        await expect(page.locator("#lines .text")).to_have_text(["alice was here"])  # the room's, to everybody


@pytest.mark.browser
async def test_who_comes_later_reads_what_was_said_and_sees_who_is_in_the_room(fetched: None, browser: Browser) -> None:
    async with serve(chat.make_app()) as url, opened(browser, url) as alice, opened(browser, url) as bob:
        await enter(alice, "alice")
        await expect(alice.locator("#members")).to_have_text("Here: you")
        await say(alice, "in the lobby")
        await alice.get_by_role("button", name="#python").click()
        await say(alice, "in the other room")
        await expect(alice.locator("#lines .text")).to_have_text(["in the other room"])
        await enter(bob, "bob")
        await expect(bob.locator("#lines .text")).to_have_text(["in the lobby"])
        await expect(bob.locator("#members")).to_have_text("Here: you, alice")
        await expect(bob.locator(".unread")).to_have_count(0)
        await expect(alice.locator("#lines .note")).to_have_text(["bob has come"])
        await expect(alice.locator("#members")).to_have_text("Here: you, bob")
        await say(alice, "and now")
        await expect(bob.locator(".unread")).to_have_text("1")
        await bob.click("#leave")
        await expect(bob.locator("#members")).to_be_empty()
        await expect(alice.locator("#lines .note")).to_have_text(
            ["bob has come", "bob has gone"], timeout=LONG_GUARD * 1000
        )
        await expect(alice.locator("#members")).to_have_text("Here: you")


@pytest.mark.browser
@pytest.mark.parametrize(("count", "gap"), [(3, []), (51, ["1 message is gone."]), (60, ["10 messages are gone."])])
async def test_page_that_comes_back_shows_what_it_missed_once_and_says_what_is_gone(
    count: int, gap: list[str], fetched: None, browser: Browser
) -> None:
    app = chat.make_app()
    messaging = app[chat.SERVER].messaging
    async with serve(app) as url, opened(browser, url) as page:
        await enter(page, "alice", "xhr-polling")
        await say(page, "before")
        await expect(page.locator("#lines .text")).to_have_text(["before"])
        await page.route("**/chat/**", lambda route: route.abort())
        app[chat.SERVER].users.disconnect("alice")
        await expect(page.locator("#state")).to_have_text("lost, trying again ...", timeout=LONG_GUARD * 1000)
        for number in range(count):
            await messaging.send("/topic/rooms/lobby", chat.Said("bob", "lobby", str(number)))
        await page.unroute("**/chat/**")
        await expect(page.locator("#state")).to_have_text("connected", timeout=LONG_GUARD * 1000)
        await say(page, "after")
        missed = [str(number) for number in range(max(0, count - 50), count)]
        await expect(page.locator("#lines .text")).to_have_text(["before", *missed, "after"])
        await expect(page.locator("#lines .gap")).to_have_text(gap)


@pytest.mark.browser
async def test_page_says_that_messages_may_be_gone_after_the_server_was_started_anew(
    fetched: None, browser: Browser
) -> None:
    with started("demo.chat", "--port", "0") as (process, url):
        async with opened(browser, url) as page:
            await enter(page, "alice")
            await say(page, "before")
            await expect(page.locator("#lines .text")).to_have_text(["before"])
            process.kill()
            process.wait()
            with started("demo.chat", "--port", url.rpartition(":")[2]):
                await expect(page.locator("#members")).to_have_text("Here: you", timeout=LONG_GUARD * 1000)
                await say(page, "after")
                await expect(page.locator("#lines .text")).to_have_text(["before", "after"])
                await expect(page.locator("#lines .gap")).to_contain_text("Messages may be gone")


@pytest.mark.browser
@pytest.mark.parametrize("module", [chat, spring], ids=["chat", "spring"])
async def test_page_without_a_script_says_what_to_do(module: Any, not_fetched: None, browser: Browser) -> None:
    async with serve(module.make_app()) as url, opened(browser, url, blocked="https://**") as page:
        await expect(page.locator("#no-script")).to_contain_text("python -m demo.scripts")
        await expect(page.locator("#join, #guide .connect")).to_be_disabled()


@pytest.mark.parametrize("module", [chat, spring], ids=["chat", "spring"])
async def test_page_falls_back_to_a_cdn_with_integrity(module: Any, not_fetched: None) -> None:
    async with serve(module.make_app()) as url, aiohttp.ClientSession() as client:
        page = await (await client.get(f"{url}/")).text()
        for script in (scripts.SOCKJS, scripts.STOMPJS):
            assert f'<script src="{script.cdn_url}" integrity="{script.integrity}" crossorigin="anonymous">' in page


# The Spring demo.


async def test_guides_greeting_is_escaped_as_its_page_expects() -> None:
    async with serve(spring.make_app()) as url, connected(f"{url}/gs-guide-websocket") as client:
        assert (await client.log_in())[0] == "CONNECTED"
        await client.subscribe("/topic/greetings")
        await client.send("SEND", {"destination": "/app/hello"}, '{"name": "Ada <& co>"}')
        command, headers, body = await client.receive()
        assert (command, headers["destination"], headers["content-type"]) == (
            "MESSAGE",
            "/topic/greetings",
            "application/json",
        )
        assert body == '{"content":"Hello, Ada &lt;&amp; co&gt;!"}'


async def test_echo_gives_text_and_time_to_pages_of_every_origin() -> None:
    async with serve(spring.make_app()) as url, aiohttp.ClientSession(headers={"Origin": "http://else.test"}) as pages:
        answer = await pages.get(f"{url}/ws/info")
        assert answer.headers["Access-Control-Allow-Origin"] == "http://else.test"
        async with pages.ws_connect(f"{url}/ws/websocket") as websocket:
            client = Client(websocket)
            await client.log_in()
            await client.subscribe("/topic/messages")
            await client.send("SEND", {"destination": "/api/echo"}, "hello wörld")
            _, _, body = await client.receive()
            assert list(json.loads(body)) == ["message", "time"]
            assert json.loads(body)["message"] == "hello wörld"


async def test_clients_may_send_to_topics_as_spring_lets_them() -> None:
    async with serve(spring.make_app()) as url, connected(f"{url}/ws") as client:
        await client.log_in()
        await client.subscribe("/topic/messages")
        await client.send("SEND", {"destination": "/topic/messages"}, "directly")
        assert (await client.receive())[2] == "directly"


@pytest.mark.browser
async def test_spring_page_shows_both_back_ends(fetched: None, browser: Browser) -> None:
    async with serve(spring.make_app()) as url, opened(browser, url) as page, opened(browser, url) as other:
        for opener in (page, other):
            await opener.click("#guide .connect")
            await expect(opener.locator("#guide .state")).to_have_text("connected")
        await page.fill("#guide input", "Ada <b>& co")
        await page.press("#guide input", "Enter")
        for reader in (page, other):
            await expect(reader.locator("#guide td")).to_have_text("Hello, Ada <b>& co!")
        for transport in ("", *TRANSPORTS):
            await page.select_option("#echo select", transport)
            await page.click("#echo .connect")
            await expect(page.locator("#echo .state")).to_have_text(f"connected by {transport or 'websocket'}")
            await page.fill("#echo input", f"over {transport} <b>")
            await page.press("#echo input", "Enter")
            await expect(page.locator("#echo tr:first-child td:last-child")).to_have_text(f"over {transport} <b>")
            await page.click("#echo .disconnect")
            await expect(page.locator("#echo .state")).to_have_text("not connected")
        await page.click("#guide .disconnect")
        await expect(page.locator("#guide .state")).to_have_text("not connected")


@pytest.mark.browser
@pytest.mark.parametrize("transport", ["websocket", "xhr-streaming", "eventsource", "xhr-polling"])
async def test_spring_page_and_both_clients_in_python_hear_each_other(
    transport: str, fetched: None, browser: Browser
) -> None:
    """A page with sockjs-client and stompjs, our STOMP client, and our SockJS client that words its frames by hand."""
    async with serve(spring.make_app()) as url, opened(browser, url) as page, asyncio.timeout(LONG_GUARD):
        await page.click("#echo .connect")
        await expect(page.locator("#echo .state")).to_have_text("connected by websocket")
        shown = page.locator("#echo tr:first-child td:last-child")
        async with (
            stomp_client.connect(f"{url}/ws", transports=[transport], http_headers={"Origin": url}) as client,
            client.subscribe("/topic/messages") as messages,
            sockjs_client.connect(f"{url}/ws", transports=[transport]) as session,
        ):
            await session.send(worded("CONNECT", {"accept-version": "1.2", "host": "test"}))
            assert parsed(str(await session.receive()))[0] == "CONNECTED"
            await session.send(worded("SUBSCRIBE", {"id": "0", "destination": "/topic/messages", "receipt": "1"}))
            assert parsed(str(await session.receive()))[0] == "RECEIPT"

            async def everybody_hears(text: str) -> None:
                await expect(shown).to_have_text(text)
                assert (await anext(messages)).json(dict)["message"] == text
                assert json.loads(parsed(str(await session.receive()))[2])["message"] == text

            await page.fill("#echo input", "from the page")
            await page.press("#echo input", "Enter")
            await everybody_hears("from the page")
            await client.send("/api/echo", "from the STOMP client")
            await everybody_hears("from the STOMP client")
            await session.send(worded("SEND", {"destination": "/api/echo"}, "from the SockJS client"))
            await everybody_hears("from the SockJS client")


# Programs that tests drive.


async def enter(page: Page, name: str, transport: str = "") -> None:
    """Join the chat."""
    await page.fill("#name", name)
    await page.select_option("#transport", transport)
    await page.click("#join")
    await expect(page.locator("#state")).to_have_text("connected", timeout=LONG_GUARD * 1000)


async def say(page: Page, text: str) -> None:
    """Write a line in the talk that is open."""
    await page.fill("#text", text)
    await page.press("#text", "Enter")


class Listener(stomp.ConnectionListener):  # type: ignore[misc]  # the package has no types
    """Puts what comes in into a queue, from stomp.py's thread."""

    def __init__(self) -> None:
        self._frames: queue.Queue[tuple[str, Any]] = queue.Queue()

    def next(self) -> tuple[str, Any]:
        return self._frames.get(timeout=LONG_GUARD)

    def on_message(self, frame: stomp.utils.Frame) -> None:
        self._frames.put(("MESSAGE", frame))

    def on_receipt(self, frame: stomp.utils.Frame) -> None:
        self._frames.put(("RECEIPT", frame))

    def on_error(self, frame: stomp.utils.Frame) -> None:
        self._frames.put(("ERROR", frame))

    def on_disconnected(self) -> None:
        self._frames.put(("DISCONNECTED", None))


@contextmanager
def stomp_py(port: int) -> Iterator[tuple[stomp.Connection12, Listener]]:
    """stomp.py, logged in."""
    client = stomp.Connection12([("127.0.0.1", port)], reconnect_attempts_max=1)
    listener = Listener()
    client.set_listener("", listener)
    client.connect("guest", "guest", wait=True)
    yield client, listener
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("StompReceiver")]
    client.disconnect()
    for thread in threads:
        thread.join(LONG_GUARD)


def publish_once(port: int, destination: str, body: str) -> None:
    with stomp_py(port) as (client, _):
        client.send(destination, body)


@contextmanager
def conformance_over_tcp() -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """``python -m demo.conformance`` with a STOMP port of its choice; gives the process, the URL and the port."""
    with started("demo.conformance", "--port", "0", "--stomp-port", "0") as (process, url):
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"STOMP over TCP at 127\.0\.0\.1:(\d+)\n", line)
        assert found is not None, line
        yield process, url, int(found[1])


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a demo that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=LONG_GUARD
    )


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    path = needs("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        await browser.close()


@pytest.fixture
def fetched() -> None:
    """The browser scripts are there, as ``python -m demo.scripts`` fetched them."""
    if not (scripts.SOCKJS.is_here() and scripts.STOMPJS.is_here()):
        absent("the browser scripts are not there (python -m demo.scripts fetches them)")


@pytest.fixture
def not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout in which nothing has been fetched."""
    monkeypatch.setattr(scripts, "STATIC", tmp_path / "static")
    monkeypatch.setattr(serving, "STATIC", tmp_path / "static")
