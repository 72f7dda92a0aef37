"""The documentation: its examples run, its tables agree with the code, its links lead somewhere."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import functools
import inspect
import json
import logging
import re
import socket
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import pytest
import stomp as stomp_py
from aiohttp import web

import sockbridge
from demo.scripts import SOCKJS, STOMPJS
from sockbridge import stomp
from sockbridge.endpoint import EndpointResource
from sockbridge.sockjs.session import Receiver
from sockbridge.stomp.frame import RESERVED
from sockbridge.stomp.policy import Policy
from sockbridge.transports.base import Transport
from tests.fakes import GUARD, RecordingHandler, serve
from tests.stomp.fakes import RecordingCarrier
from tests.test_architecture import FACES, MAY_IMPORT

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md")) + [page for page in [ROOT / "README.md"] if page.exists()]

BLOCK = re.compile(r"(?:^<!-- example: (?P<name>[\w-]+) -->\n)?^```python\n(?P<source>.*?)^```$", re.M | re.S)


# The examples.


@dataclass(frozen=True)
class Example:
    """A Python block of a page; ``name`` is "" unless a comment before it gives one."""

    page: str
    line: int
    name: str
    source: str

    def __str__(self) -> str:
        return f"{self.page}-{self.name or self.line}"

    @property
    def is_complete(self) -> bool:
        return re.search(r"^(import|from) ", self.source, re.M) is not None


def examples() -> Iterator[Example]:
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("source")) + 1
            yield Example(page.name, line, match["name"] or "", match["source"])


EXAMPLES = list(examples())
COMPLETE = [example for example in EXAMPLES if example.is_complete]


def load(example: Example) -> dict[str, Any]:
    """The names that ``example`` defines. Its ``web.run_app`` is left out: the test serves the application. A TCP port
    is any that is free."""
    tree = ast.parse(example.source.replace("port=61613", "port=0"))
    tree.body = [node for node in tree.body if not is_run_app(node)]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(tree, f"{example.page}:{example.line}", "exec", dont_inherit=True), names)
    return names


def is_run_app(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == "web.run_app"
    )


def asks_who_it_is(source: str) -> bool:
    """Is it mounted with ``authenticate``? (A ``StompServer`` with one asks later.)"""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    mounts = [call for call in calls if ast.unparse(call.func).endswith("mount")]
    return any(keyword.arg == "authenticate" for call in mounts for keyword in call.keywords)


async def application(names: dict[str, Any]) -> web.Application | None:
    if "make_app" in names:
        made: web.Application = await names["make_app"]()
        return made
    return names.get("app")


def prefixes(app: web.Application) -> Iterator[str]:
    """Where endpoints are mounted, in sub-applications as well."""
    for resource in app.router.resources():
        if isinstance(resource, EndpointResource):
            yield resource.canonical
        elif isinstance(resource, web.PrefixedSubAppResource):
            yield from prefixes(resource.get_info()["app"])


class Client:
    """A polling client of one session."""

    def __init__(self, http: aiohttp.ClientSession, endpoint: str, session: str = "docs") -> None:
        self.http = http
        self.endpoint = endpoint
        self.url = f"{endpoint}/000/{session}"

    async def connect(self, **headers: str) -> int:
        """Opens the session; returns the status."""
        async with self.http.post(f"{self.url}/xhr", headers=headers) as response:
            if response.status == 200:
                assert await response.text() == "o\n"
            return response.status

    async def send(self, *messages: str, **headers: str) -> int:
        async with self.http.post(f"{self.url}/xhr_send", data=json.dumps(messages), headers=headers) as response:
            return response.status

    async def poll(self, **headers: str) -> str:
        """The next frame."""
        async with self.http.post(f"{self.url}/xhr", headers=headers) as response:
            return (await response.text()).removesuffix("\n")

    async def messages(self, count: int) -> list[str]:
        """The next ``count`` messages, or more, in as many polls as it takes."""
        messages: list[str] = []
        while len(messages) < count:
            frame = await self.poll()
            assert frame.startswith("a"), frame
            messages += json.loads(frame[1:])
        return messages

    async def ask(self, *messages: str) -> list[str]:
        """Sends, and waits for as many answers."""
        assert await self.send(*messages) == 204
        return await self.messages(len(messages))


Talk = Callable[[str, aiohttp.ClientSession, dict[str, Any]], Awaitable[None]]
TALKS: dict[str, Talk] = {}


def talk(name: str) -> Callable[[Talk], Talk]:
    """Registers what is said to the application of the example ``name``."""

    def register(function: Talk) -> Talk:
        TALKS[name] = function
        return function

    return register


async def expect_echo(endpoint: str, http: aiohttp.ClientSession, change: Callable[[str], str] = str) -> None:
    client = Client(http, endpoint, "echo")
    assert await client.connect() == 200
    assert await client.ask("hello", "") == [change("hello"), ""]


@talk("quickstart")
async def talk_to_quickstart(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    await expect_echo(f"{base}/echo", http)
    async with http.get(base) as response:
        page = await response.text()
    assert f'src="{SOCKJS.cdn_url}"' in page
    assert f'integrity="{SOCKJS.integrity}"' in page


@talk("gunicorn")
@talk("options")
@talk("uvloop")
async def talk_to_echo(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    await expect_echo(f"{base}/echo", http)


@talk("existing")
async def talk_to_existing(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    client = Client(http, f"{base}/news")
    await client.connect()
    assert await client.messages(1) == ["welcome"]
    async with http.post(f"{base}/publish", data="extra") as response:
        # The test that precedes this talk has a session of its own.
        assert await response.json() == {"sent_to": len(list(names["app"][names["NEWS"]].sessions))}
    assert await client.messages(1) == ["extra"]


@talk("several")
async def talk_to_several(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    await expect_echo(f"{base}/echo", http)
    await expect_echo(f"{base}/api/v1/shout", http, str.upper)
    async with http.get(f"{base}/api/v1/shout/info") as response:
        assert (await response.json())["websocket"] is False


@talk("subapp")
async def talk_to_subapp(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    assert names["endpoint"].prefix == "/chat/live"
    client = Client(http, f"{base}/chat/live")
    await client.connect()
    assert await client.messages(1) == ["hello from the sub-application"]


@talk("handler-shared")
async def talk_to_shared(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    first, second = Client(http, f"{base}/chat", "a"), Client(http, f"{base}/chat", "b")
    await first.connect()
    greeting = (await first.messages(1))[0]
    await second.connect()
    await second.messages(1)
    await first.send("hi")
    assert await second.messages(1) == [greeting.removeprefix("you are ") + ": hi"]


@talk("handler-class")
async def talk_to_class(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    for session in "ab":
        client = Client(http, f"{base}/counter", session)
        await client.connect()
        assert await client.ask("x", "y") == ["1", "2"]


@talk("handler-coroutine")
async def talk_to_coroutine(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    client = Client(http, f"{base}/adder")
    await client.connect()
    await client.messages(1)
    await client.send("1", "41", "stop")
    assert await client.messages(1) == ["total 42"]
    assert await client.poll() == 'c[1000,"Normal closure"]'


@talk("handler-drain")
async def talk_to_drain(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    client = Client(http, f"{base}/numbers")
    await client.connect()
    numbers = await client.messages(30_000)
    assert numbers == [str(number) for number in range(len(numbers))]


@talk("handler-principal")
async def talk_to_principal(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    client = Client(http, f"{base}/private")
    assert await client.connect() == 401
    assert await client.connect(Cookie="login=s3cret") == 200
    assert await client.poll(Cookie="login=s3cret") == 'a["hello ada"]'
    assert await client.send("mine", Cookie="login=s3cret; theme=dark") == 204
    assert await client.send("stolen") == 404


@talk("handler-raw")
async def talk_to_raw(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    async with http.ws_connect(f"{base}/sum/websocket", protocols=["checksum.v1"]) as connection:
        assert connection.protocol == "checksum.v1"
        await connection.send_bytes(b"\1\2\3")
        assert await connection.receive_bytes() == b"\0\0\0\6"
        await connection.send_str("text")
        assert await connection.receive_str() == "bytes, please"


@talk("ndjson")
async def talk_to_ndjson(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    client = Client(http, f"{base}/echo")
    url = f"{client.endpoint}/000/lines"
    async with http.post(f"{url}/ndjson", headers={"Origin": base}) as stream:
        assert stream.headers["Content-Type"] == "application/x-ndjson"
        assert stream.headers["Access-Control-Allow-Origin"] == base
        assert await stream.content.readline() == b"\n"
        assert await stream.content.readline() == b"o\n"
        async with http.post(f"{url}/ndjson") as second:
            assert await second.text() == '\nc[2010,"Another connection still open"]\n'
        async with http.post(f"{url}/xhr_send", data='["hello","100% %20"]') as sent:
            assert sent.status == 204
        frames = [await stream.content.readline()]
        if frames != [b'a["hello","100% %20"]\n']:
            frames.append(await stream.content.readline())
            assert frames == [b'a["hello"]\n', b'a["100% %20"]\n']
    async with http.get(f"{url}/ndjson") as wrong:
        assert (wrong.status, wrong.headers["Allow"]) == (405, "POST, OPTIONS")
    async with http.post(f"{url}/ndjson", headers={"Origin": "https://other.example"}) as foreign:
        assert foreign.status == 403


@talk("security-authenticate")
async def talk_to_authenticate(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    client = Client(http, f"{base}/inbox")
    assert await client.connect() == 401
    assert await client.connect(Cookie="login=k3y-of-bob") == 403
    assert await client.connect(Cookie="login=k3y-of-ada") == 200
    assert await client.poll(Cookie="login=k3y-of-ada") == 'a["messages for ada"]'
    names["log_out"]("ada")
    assert await client.poll(Cookie="login=k3y-of-ada") == 'c[4001,"Logged out"]'


@talk("security-token")
async def talk_to_token(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    known, unknown = Client(http, f"{base}/chat", "known"), Client(http, f"{base}/chat", "unknown")
    await known.connect()
    assert await known.ask("token-of-ada") == ["hello ada"]
    assert await known.ask("hi") == ["ada: hi"]
    await unknown.connect()
    await unknown.send("a guess")
    assert await unknown.poll() == 'c[4401,"Login required"]'


# What is said to the examples of STOMP.


@dataclass(frozen=True)
class Heard:
    """A frame of the server."""

    command: str
    headers: Mapping[str, str]
    body: str

    @classmethod
    def of(cls, text: str) -> Heard:
        head, _, body = text.removesuffix("\0").partition("\n\n")
        command, *lines = head.split("\n")
        return cls(command, dict(line.split(":", 1) for line in lines), body)


class StompClient:
    """A client of STOMP on a plain websocket. What it sends is worked on when ``send`` returns, by its receipt."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self.connection = connection
        self._others: list[Heard] = []

    async def write(self, command: str, headers: Mapping[str, str] | None = None, body: str = "") -> None:
        lines = "".join(f"{name}:{value}\n" for name, value in (headers or {}).items())
        await self.connection.send_str(f"{command}\n{lines}\n{body}\0")

    async def hear(self) -> Heard:
        """The next frame that is no receipt."""
        return self._others.pop(0) if self._others else Heard.of(await self.connection.receive_str())

    async def send(self, command: str, headers: Mapping[str, str] | None = None, body: str = "") -> None:
        await self.write(command, {"receipt": "docs", **(headers or {})}, body)
        while (heard := Heard.of(await self.connection.receive_str())).command != "RECEIPT":
            assert heard.command == "MESSAGE", heard
            self._others.append(heard)

    async def subscribe(self, destination: str) -> None:
        await self.send("SUBSCRIBE", {"id": destination, "destination": destination})

    async def publish(self, destination: str, value: object, headers: Mapping[str, str] | None = None) -> None:
        body = value if isinstance(value, str) else json.dumps(value)
        await self.send("SEND", {"destination": destination, **(headers or {})}, body)

    async def messages(self, count: int) -> list[object]:
        """Their bodies: those of JSON read, others as they are."""
        heard = [await self.hear() for _ in range(count)]
        is_json = [one.headers["content-type"] == "application/json" for one in heard]
        return [json.loads(one.body) if kind else one.body for one, kind in zip(heard, is_json, strict=True)]

    async def fails(self) -> str:
        """What the ERROR says that comes now, and the code of the close behind it."""
        heard = await self.hear()
        assert heard.command == "ERROR", heard
        await self.connection.receive()
        return f"{heard.headers['message']} ({self.connection.close_code})"


@asynccontextmanager
async def stomp_client(
    base: str, http: aiohttp.ClientSession, headers: Mapping[str, str] | None = None, path: str = "/ws"
) -> AsyncIterator[StompClient]:
    """Connects; a login that is refused is an error."""
    async with http.ws_connect(base + path, protocols=["v12.stomp"]) as connection:
        assert connection.protocol == "v12.stomp"
        client = StompClient(connection)
        await client.write("CONNECT", {"accept-version": "1.2", **(headers or {})})
        heard = await client.hear()
        assert heard.command == "CONNECTED", heard
        yield client


@talk("stomp")
async def talk_to_stomp(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    async with http.get(base) as response:
        page = await response.text()
    for script in (SOCKJS, STOMPJS):
        assert f'src="{script.cdn_url}"' in page
        assert f'integrity="{script.integrity}"' in page
    sockjs = Client(http, f"{base}/ws")
    await sockjs.connect()
    await sockjs.send("CONNECT\naccept-version:1.2\nlogin:ada\n\n\0")
    assert Heard.of((await sockjs.messages(1))[0]).headers["user-name"] == "ada"
    await sockjs.send("SUBSCRIBE\nid:1\ndestination:/topic/rooms/lobby\nreceipt:r\n\n\0")
    await sockjs.messages(1)
    async with stomp_client(base, http, {"login": "bob"}, "/ws/websocket") as client:
        await client.publish("/app/rooms/lobby", {"text": "hi"})
    said = json.loads(Heard.of((await sockjs.messages(1))[0]).body)
    assert (said["who"], said["text"]) == ("bob", "hi")
    with pytest.raises(AssertionError, match="login refused"):
        async with stomp_client(base, http):
            pass


@talk("stomp-parameters")
async def talk_to_parameters(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    async with stomp_client(base, http) as client:
        await client.subscribe("/topic/orders/*")
        await client.publish("/app/orders/north/7", {"item": "tea"}, {"x-trace": "t1", "dry-run": "true"})
        await client.publish("/app/orders/south/8", {"item": "salt", "count": 100})
        first, second = await client.messages(2)
        assert first == {
            "order": {"item": "tea", "count": 1}, "shelf": 7, "trace": "t1", "by": "a guest", "dry_run": True
        }  # fmt: skip
        assert second == {
            "order": {"item": "salt", "count": 100}, "shelf": 8, "trace": None, "by": "a guest", "dry_run": False
        }  # fmt: skip
        await client.write("SEND", {"destination": "/app/orders/north/x"}, '{"item": "tea"}')
        await client.write("SEND", {"destination": "/app/orders/north/7", "receipt": "r"}, '{"item": 5}')
        assert await client.fails() == "Expected `str`, got `int` - at `$.item` (1002)"
    assert names["server"].counters.unserved == 2


@talk("stomp-replies")
async def talk_to_replies(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    async with stomp_client(base, http) as client:
        await client.subscribe("/app/auction/lots")
        assert await client.messages(1) == [{"1": 10, "2": 20}]
        await client.subscribe("/app/auction/countdown/3")
        assert await client.messages(4) == [3, 2, 1, 0]
        for destination in ("/user/queue/bids", "/topic/bids", "/user/queue/errors"):
            await client.subscribe(destination)
        await client.publish("/app/auction/bid", {"lot": 1, "amount": 11})
        both = [await client.hear(), await client.hear()]
        assert {heard.headers["subscription"] for heard in both} == {"/topic/bids", "/user/queue/bids"}
        assert [heard.headers["x-lot"] for heard in both] == ["1", "1"]
        await client.publish("/app/auction/bid", {"lot": 1, "amount": 11})
        await client.publish("/app/auction/bid", {"lot": 1})
        assert await client.messages(2) == [
            "no bid: 11 is bid already", "no bid: Object missing required field `amount`"
        ]  # fmt: skip
    assert names["server"].counters.unserved == 0


@talk("stomp-converter")
async def talk_to_converter(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    class Order:
        """Behaves as a model of pydantic does, as far as the example needs it."""

        def __init__(self, item: str) -> None:
            self.item = item

        @classmethod
        def model_validate_json(cls, text: bytes) -> Order:
            read = json.loads(text)
            if "item" not in read:
                raise ValueError("an order has an item")
            return cls(**read)

        def model_dump_json(self) -> str:
            return json.dumps(vars(self))

    async def order(order: Order) -> Order:
        return Order(order.item.upper())

    controller = stomp.Controller()
    controller.message_mapping("/order", send_to="/topic/orders")(order)
    server = stomp.StompServer(stomp.EmbeddedBroker(), controllers=[controller], converters=[names["Pydantic"]()])
    app = web.Application()
    sockbridge.mount(app, "/ws", server)
    async with serve(app) as other, stomp_client(other, http) as client:
        await client.subscribe("/topic/orders")
        await client.publish("/app/order", {"item": "tea"})
        assert await client.messages(1) == [{"item": "TEA"}]
        await client.write("SEND", {"destination": "/app/order", "receipt": "r"}, "{}")
        assert await client.fails() == "an order has an item (1002)"


@talk("stomp-users")
async def talk_to_users(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    server: stomp.StompServer = names["server"]
    with pytest.raises(AssertionError, match="this token is not known"):
        async with stomp_client(base, http, {"token": "a guess"}):
            pass
    async with AsyncExitStack() as stack:
        ada, bob, tab = [
            await stack.enter_async_context(stomp_client(base, http, {"token": f"t0ken-of-{name}"}))
            for name in ("ada", "bob", "bob")
        ]
        for client in (ada, bob, tab):
            await client.subscribe("/user/queue/private")
        await ada.subscribe("/topic/**")
        await ada.publish("/app/people/bob", "psst")
        assert await bob.messages(1) == await tab.messages(1) == ["ada: psst"]
        assert (sorted(server.users), "eve" in server.users, len(server.users), len(server)) == (
            ["ada", "bob"], False, 2, 3
        )  # fmt: skip
        (connection,) = server.users.connections("ada")
        assert await server.unsubscribe(connection, "/user/queue/private") is True
        assert await server.unsubscribe(connection, "/user/queue/private") is False
        async with http.post(f"{base}/log-out/bob") as response:
            assert await response.json() == {"closed": 2}
        assert (await bob.connection.receive()).extra == "Logged out"
        assert bob.connection.close_code == 4001
        await ada.publish("/app/people/ada", "to nobody")
        await server.messaging.send("/topic/x", "last")
        assert await ada.messages(1) == ["last"]


@talk("stomp-rest")
async def talk_to_rest(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    async with stomp_client(base, http, {"login": "ada"}) as client:
        await client.subscribe("/topic/news")
        await client.subscribe("/user/queue/notices")
        async with http.post(f"{base}/news", json={"title": "rain"}) as response:
            assert await response.json() == {"connected": 1}
        heard = await client.hear()
        assert (json.loads(heard.body), heard.headers["x-source"]) == ({"title": "rain"}, "desk")
        for name, count in (("ada", 1), ("eve", 0)):
            async with http.post(f"{base}/notices/{name}", data="lunch") as response:
                assert await response.json() == {"sent_to": count}
        assert await client.messages(1) == ["lunch"]
    messaging: stomp.Messaging = names["server"].messaging
    for destination, headers in (("/elsewhere", {}), ("/topic/x", {"message-id": "1"})):
        with pytest.raises(sockbridge.UsageError):
            await messaging.send(destination, "x", headers)
    with pytest.raises(TypeError):
        await messaging.send("/topic/x", object())


@talk("stomp-hooks")
async def talk_to_hooks(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    async with stomp_client(base, http) as client:
        await client.subscribe("/topic/people")
        async with stomp_client(base, http):
            assert await client.messages(1) == [2]
        assert await client.messages(1) == [1]
        for number in (1, 2, 3):
            await client.publish("/topic/people", "x")
            assert (await client.hear()).headers["x-sent"] == str(number)
        await client.write("SEND", {"destination": "/topic/people"})
        assert await client.fails() == "too many messages (1002)"


@talk("stomp-tcp")
async def talk_to_tcp(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", names["listener"].port)
    writer.write(b"CONNECT\naccept-version:1.2\nlogin:ada\npasscode:s3cret\n\n\0")
    assert (await reader.readuntil(b"\0")).startswith(b"CONNECTED\n")
    writer.write(b"SUBSCRIBE\nid:1\ndestination:/topic/x\nreceipt:r\n\n\0")
    assert await reader.readuntil(b"\0") == b"RECEIPT\nreceipt-id:r\n\n\0"
    await names["server"].messaging.send("/topic/x", "hello")
    assert (await reader.readuntil(b"\0")).endswith(b"\n\nhello\0")
    writer.close()
    await writer.wait_closed()


# What is said to the examples of the broker.


@talk("broker")
async def talk_to_broker(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    broker: stomp.EmbeddedBroker = names["broker"]

    async def health() -> object:
        async with http.get(f"{base}/health") as response:
            return await response.json()

    by_ack = {"id": "w", "destination": "/queue/images", "ack": "client-individual", "prefetch-count": "1"}
    async with AsyncExitStack() as stack:
        ada, bob, worker = [
            await stack.enter_async_context(stomp_client(base, http, {"login": name, "passcode": passcode}))
            for name, passcode in (("ada", ""), ("bob", ""), ("worker", "w0rk"))
        ]
        await ada.subscribe("/presence/topic/rooms/lobby")
        await ada.send("SUBSCRIBE", {"id": "lobby", "destination": "/topic/rooms/lobby", "x-since": "0"})
        await bob.subscribe("/topic/rooms/lobby")
        assert [json.loads((await ada.hear()).body) for _ in range(3)] == [
            {"type": "here", "users": [], "count": 0},
            {"type": "join", "user": "ada", "count": 1},
            {"type": "join", "user": "bob", "count": 2},
        ]
        await bob.publish("/app/rooms/lobby", "hi")
        heard = await ada.hear()
        assert (heard.body, heard.headers["x-offset"]) == ("bob: hi", "1")
        await server_sends_prices(names["server"])
        await bob.subscribe("/topic/prices/*")
        assert await bob.messages(3) == ["bob: hi", 8, 5]
        await ada.publish("/app/images/shrink", {"url": "/1.png", "width": 100})
        assert await health() == {"waiting": {"/queue/images": 1}, "lobby": ["ada", "bob"], "dead": 0}
        await worker.send("SUBSCRIBE", by_ack)
        for count in range(5):
            heard = await worker.hear()
            assert (json.loads(heard.body), heard.headers["x-for"]) == ({"url": "/1.png", "width": 100}, "ada")
            assert heard.headers.get("x-delivery-count", "0") == str(count)
            await worker.send("NACK", {"id": heard.headers["ack"]})
        await worker.subscribe("/queue/dead-letters")
        heard = await worker.hear()
        assert {name: value for name, value in heard.headers.items() if name.startswith("x-")} == {
            "x-for": "ada", "x-first-death-queue": "/queue/images", "x-first-death-reason": "delivery_limit",
            "x-first-death-count": "5",
        }  # fmt: skip
        assert "expiration" not in heard.headers
        assert (broker.counters.dead, broker.counters.redelivered) == (1, 4)
        for client, command, destination in (
            (ada, "SUBSCRIBE", "/queue/images"), (bob, "SEND", "/queue/images")
        ):  # fmt: skip
            assert "not allowed" in await answer_to(client, command, destination)


async def server_sends_prices(server: stomp.StompServer) -> None:
    for name, price in (("tea", 7), ("tea", 8), ("salt", 5)):
        await server.messaging.send(f"/topic/prices/{name}", price)


@talk("broker-answers")
async def talk_to_answers(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    async with (
        stomp_client(base, http, {"login": "ada"}) as ada,
        stomp_client(base, http, {"login": "shop", "passcode": "s3cret"}) as shop,
    ):
        await ada.subscribe("/temp-queue/answers")
        await shop.subscribe("/queue/prices")
        question = {"reply-to": "/temp-queue/answers", "correlation-id": "1"}
        await ada.publish("/app/stock/tea", "", question)
        heard = await ada.hear()
        assert (heard.body, heard.headers["correlation-id"]) == ("12", "1")
        await ada.publish("/queue/prices", "tea", question)
        asked = await shop.hear()
        address = asked.headers["reply-to"]
        assert address.startswith("/reply-queue/")
        await shop.publish(address, "3 a bag", {"correlation-id": asked.headers["correlation-id"]})
        heard = await ada.hear()
        assert (heard.body, heard.headers["destination"]) == ("3 a bag", address)
        await ada.write("SEND", {"destination": "/app/stock/tea", "reply-to": "/queue/elsewhere"})
        assert "not allowed" in await ada.fails()
        await shop.publish(address, "too late")
    assert names["server"].broker.counters.unroutable == 1


# What is said to the examples for those who move from Spring.


@asynccontextmanager
async def logged_in(base: str, login: str) -> AsyncIterator[StompClient]:
    """A client with the cookie ``login``."""
    async with (
        aiohttp.ClientSession(headers={"Cookie": f"login={login}"}) as http,
        stomp_client(base, http) as client,
    ):
        yield client


async def answer_to(client: StompClient, command: str, destination: str) -> str:
    """``RECEIPT``, or what the ERROR says."""
    await client.write(command, {"id": "1", "destination": destination, "receipt": "r"}, "7" * (command == "SEND"))
    heard = await client.hear()
    return heard.headers.get("message", heard.command)


@talk("spring-guide")
async def talk_to_spring_guide(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    for path in ("/gs-guide-websocket", "/gs-guide-websocket/websocket"):
        async with stomp_client(base, http, path=path) as client:
            await client.subscribe("/topic/greetings")
            await client.publish("/app/hello", {"name": "<Ada>"})
            assert await client.messages(1) == [{"content": "Hello, &lt;Ada&gt;!"}]


@talk("spring-controller")
async def talk_to_spring_controller(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    async with logged_in(base, "k3y-of-ada") as client:
        for destination in ("/topic/rooms/hall", "/user/queue/counts", "/user/queue/errors"):
            await client.subscribe(destination)
        await client.publish("/app/rooms/hall/say", {"text": "hi"}, {"accept-language": "de"})
        said = {"who": "ada", "text": "hi", "language": "de"}
        assert await client.messages(1) == [said]
        await client.subscribe("/app/rooms/hall/latest")
        assert await client.messages(1) == [[said]]
        await client.publish("/app/rooms/hall/count", "")
        assert await client.messages(1) == [1]
        await client.publish("/app/rooms/attic/say", {"text": "hi"})
        await client.publish("/app/rooms/hall/say", {})
        assert await client.messages(2) == [
            "nobody may talk in the attic", "Object missing required field `text`"
        ]  # fmt: skip


@talk("spring-policy")
async def talk_to_spring_policy(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    async def tell(name: str, command: str, destination: str) -> str:
        async with logged_in(base, f"k3y-of-{name}") as client:
            return await answer_to(client, command, destination)

    assert await tell("bob", "SEND", "/app/orders/cancel") == "RECEIPT"
    assert "not allowed" in await tell("ada", "SEND", "/app/orders/cancel")
    assert "not allowed" in await tell("bob", "SEND", "/topic/orders/cancelled")
    assert await tell("ada", "SUBSCRIBE", "/topic/people/ada/mail") == "RECEIPT"
    assert await tell("ada", "SUBSCRIBE", "/topic/people/ada/*") == "RECEIPT"
    for destination in ("/topic/people/bob/mail", "/topic/people/*/mail", "/topic/**", "/topic/orders/cancelled"):
        assert "not allowed" in await tell("ada", "SUBSCRIBE", destination), destination


@talk("spring-interceptor")
async def talk_to_spring_interceptor(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    async with stomp_client(base, http) as client:
        await client.subscribe("/topic/x")
        assert names["online"]
        await client.write("SEND", {"destination": "/topic/x", "x-debug": "1"}, "dropped")
        await client.write("SEND", {"destination": "/topic/x"}, "hello")
        heard = await client.hear()
        assert (heard.headers["x-server"], heard.body) == ("one", "hello")
        assert await answer_to(client, "SUBSCRIBE", "/topic/old") == "use /topic/new"


@talk("spring-test")
async def talk_to_spring_test(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    await names["test_function"]()
    await names["test_wire"]()


@talk("security-stomp")
async def talk_to_security_stomp(base: str, http: aiohttp.ClientSession, names: dict[str, Any]) -> None:
    def bearer(token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    async def tell(name: str, destination: str, command: str = "SUBSCRIBE") -> str:
        async with stomp_client(base, http, bearer(names["make_token"](name, 60))) as client:
            return await answer_to(client, command, destination)

    for destination in ("/topic/people/bob", "/topic/news/*", "/user/queue/x", "/topic/news"):
        assert await tell("bob", destination) == "RECEIPT", destination
    for destination in ("/topic/staff/lunch", "/topic/s*/**", "/topic/people/ada", "/topic/people/*", "/topic/**"):
        assert "not allowed" in await tell("bob", destination), destination
    assert await tell("ada", "/topic/staff/lunch") == "RECEIPT"
    assert "not allowed" in await tell("ada", "/topic/**")
    assert "not allowed" in await tell("ada", "/topic/news", "SEND")
    late = names["make_token"]("ada", -1)
    for token, text in ((late, "the login has expired"), (late[:-1] + "x", "login required"), ("", "login required")):
        with pytest.raises(AssertionError, match=text):
            async with stomp_client(base, http, bearer(token)):
                pass
    async with stomp_client(base, http, bearer(names["make_token"]("ada", 2))) as client:
        assert await client.fails() == "the login has expired (1002)"


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_python_block_is_python(example: Example) -> None:
    compile(example.source, example.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("example", COMPLETE, ids=str)
async def test_every_complete_example_serves_what_it_mounts(example: Example) -> None:
    names = load(example)
    app = await application(names)
    if app is None:
        assert "mount(" not in example.source, "an example that mounts is to define app, or make_app()"
        return
    async with asyncio.timeout(GUARD), serve(app) as base, aiohttp.ClientSession() as http:
        for prefix in prefixes(app):
            async with http.get(base + prefix) as response:
                assert await response.text() == "Welcome to SockJS!\n"
            status = await Client(http, base + prefix, "first").connect()
            assert status == (401 if asks_who_it_is(example.source) else 200)
        if example.name:
            await TALKS[example.name](base, http, names)


def test_every_named_example_has_its_talk() -> None:
    assert {example.name for example in EXAMPLES if example.name} == set(TALKS)


def test_uvloop_serves_the_same_example() -> None:
    uvloop = pytest.importorskip("uvloop")
    example = next(example for example in EXAMPLES if example.name == "uvloop")

    async def run() -> None:
        names = load(example)
        async with asyncio.timeout(GUARD), serve(names["app"]) as base, aiohttp.ClientSession() as http:
            await talk_to_echo(base, http, names)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


# The tables.


def table(page: str, first_column: str) -> list[list[str]]:
    """The rows of the table whose head begins with ``first_column``; each a list of cells."""
    lines = iter((ROOT / "docs" / page).read_text().splitlines())
    for line in lines:
        if line.startswith(f"| {first_column} |"):
            next(lines)
            rows = []
            for row in lines:
                if not row.startswith("|"):
                    break
                rows.append([cell.strip() for cell in row.strip("|").split(" | ")])
            return rows
    raise AssertionError(f"{page} has no table {first_column!r}")


def test_the_table_of_options_agrees_with_the_code() -> None:
    told = {row[0].strip("`"): row[2].strip("`") for row in table("options.md", "Option")}
    assert told.pop("transports") == "DEFAULT_TRANSPORTS"
    assert {name: ast.literal_eval(value) for name, value in told.items()} == {
        field.name: field.default for field in dataclasses.fields(sockbridge.Options)
    }


def test_every_option_has_its_reason() -> None:
    assert all(len(row) == 4 and len(row[3]) > 20 for row in table("options.md", "Option"))


def test_the_table_of_transports_agrees_with_the_code() -> None:
    told = {row[0].strip("`"): row[2] for row in table("transports.md", "Name here")}
    served = {kind.name: kind.method for kind in sockbridge.DEFAULT_TRANSPORTS}
    assert {name: method.split(",")[0] for name, method in told.items()} == served


def test_the_table_of_transport_attributes_agrees_with_the_code() -> None:
    told = {row[0].strip("`") for row in table("transports.md", "Attribute")}
    assert told == set(Transport.__annotations__)


def test_the_table_of_a_receiver_s_members_agrees_with_the_code() -> None:
    told = {re.match(r"`(\w+)", row[0])[1] for row in table("transports.md", "Member of a receiver")}  # type: ignore[index]
    assert told == set(Receiver.__annotations__) | {name for name in vars(Receiver) if not name.startswith("_")}


def test_the_table_of_counters_agrees_with_the_code() -> None:
    told = [row[0].strip("`") for row in table("delivery.md", "Counter")]
    assert told == [field.name for field in dataclasses.fields(sockbridge.Counters)]


def test_the_list_of_headers_that_clients_cannot_set_agrees_with_the_code() -> None:
    section = (ROOT / "docs" / "security.md").read_text().split("### Headers that clients cannot set\n")[1]
    assert set(re.findall(r"`([^`]+)`", section.split(" of a SEND")[0])) == RESERVED - {"content-type"}


def test_the_names_for_those_who_move_from_spring_are_there() -> None:
    app = web.Application()
    server = stomp.StompServer(stomp.EmbeddedBroker())
    endpoint = sockbridge.mount(app, "/x", server)
    connection = stomp.StompConnection(RecordingCarrier(), server.options, 0.0)
    roots = {"sockbridge": sockbridge, "stomp": stomp, "server": server, "endpoint": endpoint, "connection": connection}
    arguments = {
        *inspect.signature(stomp.StompServer).parameters,
        *inspect.signature(stomp.EmbeddedBroker).parameters,
        *inspect.signature(stomp.Controller.message_mapping).parameters,
        *inspect.signature(sockbridge.mount).parameters,
        *(field.name for field in dataclasses.fields(sockbridge.Options)),
        *(field.name for field in dataclasses.fields(stomp.StompOptions)),
    }
    tables = re.findall(r"^<!-- names -->\n((?:\|.*\n)+)", (ROOT / "docs" / "spring.md").read_text(), re.M)
    found = set()
    for row in "".join(tables).splitlines():
        for name in re.findall(r"`(\w+(?:\.\w+)*)`", row.strip("|").split(" | ")[-1]):
            first, *rest = name.split(".")
            if first in roots:
                functools.reduce(getattr, rest, roots[first])
                found.add(name)
            elif name.islower() and "_" in name:
                assert name in arguments, name
                found.add(name)
    assert len(found) > 50


def test_the_tables_of_members_name_what_is_there() -> None:
    told = re.findall(r"`(?:await )?(\w+)", " ".join(row[0] for row in table("handler.md", "Member")))
    session = {name for name in told if not hasattr(sockbridge.Session, name)}
    assert not session
    told = re.findall(r"`(?:await )?(\w+)", " ".join(row[0] for row in table("mounting.md", "Member of `Endpoint`")))
    endpoint = sockbridge.mount(web.Application(), "/x", RecordingHandler())
    assert {name for name in told if not hasattr(endpoint, name)} == {"len"}


def test_the_tables_of_stomp_s_options_agree_with_the_code() -> None:
    rows = table("stomp-options.md", "Option of STOMP")
    assert {row[0].strip("`"): ast.literal_eval(row[2].strip("`")) for row in rows} == {
        field.name: field.default for field in dataclasses.fields(stomp.StompOptions)
    }
    assert all(len(row) == 4 and len(row[3]) > 20 for row in rows)


def test_the_table_of_stomp_s_limits_of_mount_agrees_with_the_code() -> None:
    server = stomp.StompServer(stomp.EmbeddedBroker(), max_body_size=10**6, max_head_size=500_000)
    small = stomp.StompServer(stomp.EmbeddedBroker(), max_body_size=1, max_head_size=1)
    for name, rule, _ in table("stomp-options.md", "Option of `mount`"):
        factor, least = re.findall(r"\d+", rule)
        assert dict(server.defaults)[name.strip("`")] == int(factor) * 1_500_000
        assert dict(small.defaults)[name.strip("`")] == int(least)


def test_the_table_of_the_tcp_listener_agrees_with_the_code() -> None:
    told = {
        row[0].strip("`"): ast.literal_eval(row[2].strip("`"))
        for row in table("stomp-options.md", "Argument of `TcpListener`")
    }
    parameters = inspect.signature(stomp.TcpListener).parameters
    assert told == {name: parameter.default for name, parameter in parameters.items()}


def test_the_table_of_stomp_s_counters_agrees_with_the_code() -> None:
    told = [row[0].strip("`") for row in table("stomp-options.md", "Counter of STOMP")]
    assert told == [field.name for field in dataclasses.fields(stomp.StompCounters)]


def test_the_tables_of_the_broker_agree_with_the_code() -> None:
    rows = table("stomp-options.md", "Option of the broker")
    assert {row[0].strip("`"): ast.literal_eval(row[2].strip("`")) for row in rows} == {
        field.name: field.default for field in dataclasses.fields(stomp.BrokerOptions)
    }
    assert all(len(row) == 4 and len(row[3]) > 20 for row in rows)
    told = [row[0].strip("`") for row in table("stomp-options.md", "Counter of the broker")]
    assert told == [field.name for field in dataclasses.fields(stomp.BrokerCounters)]
    for kind in (stomp.EmbeddedBroker, stomp.History):
        arguments = {
            row[0].strip("`"): inspect.Parameter.empty if row[1] == "-" else ast.literal_eval(row[1].strip("`"))
            for row in table("stomp-options.md", f"Argument of `{kind.__name__}`")
        }
        parameters = dict(inspect.signature(kind).parameters)
        parameters.pop("options", None)
        assert arguments == {name: parameter.default for name, parameter in parameters.items()}


def test_the_table_of_the_broker_s_members_names_what_is_there() -> None:
    broker = stomp.EmbeddedBroker(queues=["/queue"])
    told = [re.match(r"`(\w+)", row[0]) for row in table("broker.md", "Member of the broker")]
    assert all(name and hasattr(broker, name[1]) for name in told)


def test_every_counter_in_the_table_of_guarantees_is_one() -> None:
    page = (ROOT / "docs" / "delivery.md").read_text().split("### Queues, replay, durable subscriptions\n")[1]
    told = set(re.findall(r"(?<!\*)\*([a-z]+)\*(?!\*)", page))
    assert told == {field.name for field in dataclasses.fields(stomp.BrokerCounters)}


def test_the_table_of_the_stomp_server_agrees_with_the_code() -> None:
    told = [name for row in table("stomp.md", "Argument of `StompServer`") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(told) == sorted(inspect.signature(stomp.StompServer).parameters)


def test_the_tables_of_stomp_s_members_name_what_is_there() -> None:
    server = stomp.StompServer(stomp.EmbeddedBroker())
    for row in table("stomp.md", "`server.`"):
        path = re.match(r"`(?:await )?([\w.]+)", row[0])
        assert path
        owner: object = server
        for name in path[1].split("."):
            owner = getattr(owner, name)
    for row in table("stomp.md", "Member of `messaging`"):
        call = re.match(r"`await (\w+)\((.+)\)`", row[0])
        assert call
        assert [*inspect.signature(getattr(server.messaging, call[1])).parameters] == call[2].split(", ")
    login = re.findall(r"`(\w+)`", " ".join(row[0] for row in table("stomp.md", "Member of `Login`")))
    assert {name for name in dir(stomp.Login) if not name.startswith("_")} == set(login)


@pytest.mark.parametrize("row", table("stomp.md", "Parameter"), ids=lambda row: row[0][:50])
def test_a_parameter_of_the_table_can_be_served(row: list[str]) -> None:
    """Each stands in a function of its own; what it gets is tested beside the code."""

    class NotFound(Exception):
        pass

    @dataclass
    class Order:
        item: str

    told = re.match(r"`(.+?)`", row[0])
    assert told
    source = told[1].replace("\\|", "|")
    names = {**vars(stomp), "Any": Any, "Annotated": Annotated, "Session": sockbridge.Session}
    names |= {"Order": Order, "NotFound": NotFound, "DEFAULT": Order("tea")}
    exec(f"async def function({source}) -> None: pass", names)
    controller = stomp.Controller()
    if "NotFound" in source:
        controller.exception_handler(NotFound)(names["function"])
    else:
        controller.message_mapping("/{room}" if "room" in source else "/x")(names["function"])
    stomp.StompServer(stomp.EmbeddedBroker(), controllers=[controller])


def test_the_map_names_every_file() -> None:
    told = {row[0].strip("`") for row in table("architecture.md", "File")}
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "sockbridge").rglob("*.py")}
    empty = {f"sockbridge/{folder}/__init__.py" for folder in ("sockjs", "stomp/broker", "stomp/controllers")}
    assert there - told == empty
    assert told <= there


def test_the_map_of_imports_agrees_with_the_test_of_imports() -> None:
    told = {
        file: set(re.findall(r"`([^`]+)`", row[1]))
        for row in table("architecture.md", "Importing file")
        for file in re.findall(r"`([^`]+)`", row[0])
    }
    assert told == {file: set(allowed.split()) for file, allowed in MAY_IMPORT.items() if file not in FACES}


# How sessions end.


class Stage:
    """A served endpoint, and the session that is about to end."""

    def __init__(self, base: str, http: aiohttp.ClientSession, endpoint: sockbridge.Endpoint) -> None:
        self.endpoint = endpoint
        self.url = f"{base}{endpoint.prefix}"
        self.http = http
        self.polling = Client(http, self.url)
        self.sockets: list[aiohttp.ClientWebSocketResponse] = []
        self.streams: list[socket.socket] = []
        self._session: sockbridge.Session | None = None

    def look(self) -> sockbridge.Session | None:
        """The session, once it is there; still the same after it has ended."""
        self._session = self._session or next(self.endpoint.sessions, None)
        return self._session

    @property
    def session(self) -> sockbridge.Session:
        session = self.look()
        assert session is not None
        return session

    async def connect(self, path: str = "/000/docs/websocket", **options: Any) -> aiohttp.ClientWebSocketResponse:
        connection: aiohttp.ClientWebSocketResponse = await self.http.ws_connect(self.url + path, **options)
        self.sockets.append(connection)
        if path != "/websocket":
            assert await connection.receive_str() == "o"
        return connection

    async def leave(self) -> None:
        for connection in self.sockets:
            await connection.close()
        for stream in self.streams:
            stream.close()


class FailingHandler(RecordingHandler):
    async def on_message(self, session: sockbridge.Session, message: sockbridge.Message) -> None:
        raise RuntimeError("as the test wants it")


async def say_goodbye(stage: Stage) -> None:
    await (await stage.connect()).close(code=4001, message=b"bye")


async def cut_off(stage: Stage) -> None:
    async with stage.http.post(f"{stage.url}/000/docs/xhr_streaming") as response:
        await response.content.readline()
        response.close()


async def ignore_pings(stage: Stage) -> None:
    await stage.connect(autoping=False)


async def take_nothing(stage: Stage) -> None:
    stream = socket.socket()
    stage.streams.append(stream)
    stream.setblocking(False)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, port = stage.url.removeprefix("http://").split("/")[0].split(":")
    loop = asyncio.get_running_loop()
    await loop.sock_connect(stream, (host, int(port)))
    await loop.sock_sendall(
        stream, b"POST /way/000/docs/xhr_streaming HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    )
    while not stage.endpoint.counters.opened:
        await asyncio.sleep(0)
    for _ in range(32):
        stage.session.send("x" * 1_000_000)


async def stay_away(stage: Stage) -> None:
    await stage.polling.connect()


async def close(stage: Stage) -> None:
    await stage.connect()
    stage.session.close(4001, "bye")


async def open_and_send(stage: Stage) -> None:
    await stage.polling.connect()
    await stage.polling.send("x")


async def overflow(stage: Stage) -> None:
    await stage.polling.connect()
    for _ in range(20):
        stage.session.send("x" * 100)


async def send_broken_json(stage: Stage) -> None:
    await (await stage.connect()).send_str("{")


async def send_a_number(stage: Stage) -> None:
    await (await stage.connect()).send_str("5")


async def send_broken_text(stage: Stage) -> None:
    await (await stage.connect("/websocket")).send_frame(b"\xff", aiohttp.WSMsgType.TEXT)


async def send_too_much(stage: Stage) -> None:
    await (await stage.connect()).send_str('["' + "x" * 262_144 + '"]')


async def stop(stage: Stage) -> None:
    await stage.connect()
    await asyncio.gather(stage.endpoint.close(), stage.sockets[0].receive())


async def one_message(session: sockbridge.Session) -> None:
    async for _ in session:
        return


@dataclass(frozen=True)
class Way:
    act: Callable[[Stage], Awaitable[None]]
    handler: Callable[[], Any] = RecordingHandler
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


WAYS = {
    "the client says goodbye": Way(say_goodbye),
    "the connection is cut off": Way(cut_off),
    "a websocket peer leaves a ping": Way(ignore_pings, options={"heartbeat_delay": 0.05, "pong_timeout": 0.05}),
    "a peer takes no bytes": Way(
        take_nothing, options={"write_timeout": 0.05, "response_limit": 2**30, "send_buffer_limit": 2**30}
    ),
    "the client stays away": Way(stay_away, options={"disconnect_delay": 0.05}),
    "the application calls": Way(close),
    "a coroutine handler returns": Way(open_and_send, handler=lambda: one_message),
    "the handler raises": Way(open_and_send, handler=FailingHandler),
    "more than `send_buffer_limit`": Way(overflow, options={"send_buffer_limit": 1000}),
    "a websocket client sends what is not JSON": Way(send_broken_json),
    "a websocket client sends JSON of another": Way(send_a_number),
    "a raw websocket client": Way(send_broken_text),
    "a websocket message exceeds": Way(send_too_much),
    "the server stops": Way(stop),
}

ENDINGS = table("handler.md", "How the session ends")


def way_of(row: list[str]) -> Way:
    return next(way for start, way in WAYS.items() if row[0].startswith(start))


def test_every_way_to_end_is_tried() -> None:
    assert len(ENDINGS) == len(WAYS)
    assert len({id(way_of(row)) for row in ENDINGS}) == len(WAYS)


@pytest.mark.parametrize("row", ENDINGS, ids=lambda row: row[0][:40])
async def test_a_session_ends_as_the_table_says(row: list[str]) -> None:
    way = way_of(row)
    handler = way.handler()
    app = web.Application()
    endpoint = sockbridge.mount(app, "/way", handler, **way.options)
    async with asyncio.timeout(GUARD), serve(app) as base, aiohttp.ClientSession() as http:
        stage = Stage(base, http, endpoint)
        act = asyncio.ensure_future(way.act(stage))
        while (session := stage.look()) is None or session.is_open:
            await asyncio.sleep(0)
        await act
        if isinstance(handler, RecordingHandler):
            await handler.wait_for("on_closed")
        await stage.leave()

    told = re.match(r"`(\d+) (.+)`", row[2])
    close = session.close_info
    assert close is not None
    assert (close.code, close.reason) == ((int(told[1]), told[2]) if told else (4001, "bye"))
    assert str(close.clean) == row[3]
    if isinstance(handler, RecordingHandler):
        errors = [type(error).__name__ for error in handler.values("on_transport_error")]
        assert errors == [row[1].strip("`")] * (row[1] != "-")
        assert handler.values("on_closed") == [close]


# What the pages promise besides.


def snippet(page: str, start: str) -> str:
    """The one incomplete example of ``page`` that begins so."""
    (found,) = (one.source for one in EXAMPLES if one.page == page and one.source.startswith(start))
    return found


async def test_a_test_talks_to_a_stomp_server_as_the_page_says() -> None:
    """stomp.md, Testing."""
    names = load(next(example for example in EXAMPLES if example.name == "stomp"))
    exec("async def talk(base, http):\n" + textwrap.indent(snippet("stomp.md", "async with http"), "    "), names)
    async with asyncio.timeout(GUARD), serve(names["app"]) as base, aiohttp.ClientSession() as http:
        await names["talk"](base, http)


async def test_stomp_py_asks_and_answers_as_the_page_says() -> None:
    """broker.md, Questions and answers."""
    answers: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    class Answers:
        def on_message(self, frame: Any) -> None:
            loop.call_soon_threadsafe(answers.put_nowait, (frame.headers["correlation-id"], frame.body))

    def act(name: str, passcode: str, source: str) -> stomp_py.Connection12:
        port = names["listener"].port
        connection = stomp_py.Connection12([("127.0.0.1", port)], reconnect_attempts_max=1)
        connection.connect(name, passcode, wait=True)
        exec(source, {"connection": connection, "Answers": Answers, "PRICES": {"tea": "3 a bag"}})
        return connection

    names = load(next(example for example in EXAMPLES if example.name == "broker-answers"))
    async with asyncio.timeout(GUARD), serve(names["app"]):
        shop = await asyncio.to_thread(act, "shop", "s3cret", snippet("broker.md", "class Prices"))
        ada = await asyncio.to_thread(act, "ada", "", snippet("broker.md", "connection.set_listener"))
        assert await answers.get() == ("1", "3 a bag")
        for connection in (ada, shop):
            await asyncio.to_thread(connection.disconnect)


def test_the_rules_of_the_page_do_what_it_says() -> None:
    """stomp.md, Who may do what."""
    names: dict[str, Any] = {"stomp": stomp, "rooms_of": lambda user: {"lobby"} if user else set()}
    exec(snippet("stomp.md", "policy = ["), names)
    policy = Policy(names["policy"])
    ada, boss = stomp.User("ada"), stomp.User("boss", {"staff"})
    policy.check_connect(ada)
    policy.check_send(ada, "/app/rooms/lobby")
    policy.check_subscribe(ada, stomp.Pattern("/topic/news"))
    policy.check_subscribe(ada, stomp.Pattern("/user/queue/errors"))
    policy.check_subscribe(boss, stomp.Pattern("/topic/**"))
    with pytest.raises(sockbridge.AccessRefused):
        policy.check_connect(None)
    for user, destination in ((ada, "/app/rooms/cellar"), (boss, "/topic/news"), (boss, "/user/ada/queue/errors")):
        with pytest.raises(sockbridge.AccessRefused):
            policy.check_send(user, destination)
    for pattern in ("/topic/staff/x", "/topic/**", "/app/rooms/lobby"):
        with pytest.raises(sockbridge.AccessRefused):
            policy.check_subscribe(ada, stomp.Pattern(pattern))


async def test_on_closed_of_a_client_that_stayed_away_waits_for_the_message_that_runs() -> None:
    """handler.md: calls never overlap, and on_closed waits for up to disconnect_delay."""
    may_end = asyncio.Event()

    class SlowHandler(RecordingHandler):
        async def on_message(self, session: sockbridge.Session, message: sockbridge.Message) -> None:
            self.record("on_message", session, message)
            await may_end.wait()
            self.record("end", session, message)

    handler = SlowHandler()
    app = web.Application()
    endpoint = sockbridge.mount(app, "/x", handler, disconnect_delay=0.3)
    async with asyncio.timeout(GUARD), serve(app) as base, aiohttp.ClientSession() as http:
        client = Client(http, f"{base}/x")
        await client.connect()
        session = next(endpoint.sessions)
        await client.send("1", "2")
        while session.is_open:
            await asyncio.sleep(0)
        may_end.set()
        await handler.wait_for("on_closed")
    assert handler.names(session) == ["on_connected", "on_message", "end", "on_message", "end", "on_closed"]


async def test_drain_that_ends_with_the_session_is_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """handler.md: SessionClosed out of drain is the ordinary end."""

    class SendingHandler(RecordingHandler):
        async def on_message(self, session: sockbridge.Session, message: sockbridge.Message) -> None:
            while True:
                session.send("x" * 1000)
                await session.drain()

    handler = SendingHandler()
    app = web.Application()
    sockbridge.mount(app, "/x", handler, disconnect_delay=0.05)
    async with asyncio.timeout(GUARD), serve(app) as base, aiohttp.ClientSession() as http:
        client = Client(http, f"{base}/x")
        await client.connect()
        await client.send("go")
        await handler.wait_for("on_closed")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_middleware_that_reads_the_body_does_not_take_the_messages_away() -> None:
    """mounting.md, Middlewares."""

    @web.middleware
    async def read(request: web.Request, handler: Callable[..., Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        await request.text()
        return await handler(request)

    app = web.Application(middlewares=[read])
    sockbridge.mount(app, "/echo", RecordingHandler(echo=True))
    async with asyncio.timeout(GUARD), serve(app) as base, aiohttp.ClientSession() as http:
        await expect_echo(f"{base}/echo", http)


async def test_small_send_buffer_limit_holds() -> None:
    """options.md: send_buffer_limit, whatever its value."""
    handler = RecordingHandler()
    app = web.Application()
    endpoint = sockbridge.mount(app, "/x", handler, send_buffer_limit=1000, on_overflow="drop_oldest")
    async with asyncio.timeout(GUARD), serve(app) as base, aiohttp.ClientSession() as http:
        client = Client(http, f"{base}/x")
        await client.connect()
        session = next(endpoint.sessions)
        for number in range(30):
            session.send(f"{number:98}")
        assert session.buffered == 1000
        assert session.undelivered == 20
        assert [int(message) for message in await client.messages(10)] == list(range(20, 30))


async def test_messages_behind_the_one_that_failed_are_counted() -> None:
    """delivery.md: those in line are dropped and counted."""
    handler = FailingHandler()
    app = web.Application()
    endpoint = sockbridge.mount(app, "/x", handler)
    async with asyncio.timeout(GUARD), serve(app) as base, aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{base}/x/000/docs/websocket") as connection:
            await connection.send_str('["raises","x","y"]')
            await handler.wait_for("on_closed")
        while len(endpoint):
            await asyncio.sleep(0)
    assert endpoint.counters.unheard == 2


# The links.

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), f"{target}#{anchor}"
