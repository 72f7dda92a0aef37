"""Every transport against every server: ours, sockjs-node, and the package ``sockjs``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

import sockbridge
from sockbridge.client import TRANSPORTS, Session, connect
from sockbridge.errors import SessionClosed
from sockbridge.sockjs.framing import Message
from tests.fakes import GUARD, RecordingHandler
from tests.transports.wire import echo_server

from .conftest import package_server

pytestmark = [
    pytest.mark.filterwarnings("ignore:It is recommended to use web.AppKey:aiohttp.web.NotAppKeyWarning"),
    pytest.mark.filterwarnings("ignore:It is recommended to use web.RequestKey:aiohttp.web.NotAppKeyWarning"),
]

ODD = [
    "",
    " ",
    "\0",
    '"\\/',
    "\u00fc\u00df\u4f60",
    "\u2028\u2029\u200c\ufeff\uffff",
    "\N{PARTY POPPER}\U0010ffff",
    "[]",
    "o",
    "h",
    'a["x"]',
    "data: x\r\n\r\n",
    "100%25",
    "\x7f\x80\x9f",
    "\u0000\u001f\r\n",
]

LONE = ["\ud800", "x\udfffx", "\udc00\ud800"]


class Echo(RecordingHandler):
    """Says goodbye when told to."""

    async def on_message(self, session: sockbridge.Session, message: Message) -> None:
        if message == "farewell":
            session.send("last words")
            session.close(4001, "enough")
        else:
            session.send(message)


@pytest.fixture(params=["sockbridge", "sockjs-node", "sockjs"])
def server(request: pytest.FixtureRequest) -> str:
    """Whose server it is."""
    name: str = request.param
    return name


@pytest.fixture
async def url(server: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Where it echoes."""
    if server == "sockjs-node":
        yield request.getfixturevalue("sockjs_node")
    elif server == "sockjs":
        async with package_server() as url:
            yield url
    else:
        async with echo_server(Echo(), response_limit=4096, jsessionid=True) as (url, _, _):
            yield url


@pytest.fixture(params=TRANSPORTS)
async def session(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Session]:
    """A session with it."""
    async with connect(url, transports=[request.param], timeout=GUARD) as session:
        assert session.transport == request.param
        yield session


@pytest.fixture
def odd(server: str, session: Session) -> list[str]:
    """Texts that may come to harm on the way."""
    if server == "sockjs" and session.transport == "eventsource":
        return [text for text in ODD if "%" not in text]  # it does not encode percent signs, as the protocol wants
    return ODD


async def received(session: Session, count: int) -> list[Message]:
    async with asyncio.timeout(4 * GUARD):
        return [await session.receive() for _ in range(count)]


async def test_a_thousand_messages_come_back_in_order(session: Session, odd: list[str]) -> None:
    """The answers of a server are limited to 4 KiB, so streams are opened again many times."""
    texts = [f"{number} {odd[number % len(odd)]}" for number in range(1000)]
    receiving = asyncio.create_task(received(session, len(texts)))
    for text in texts:
        await session.send(text)
    assert await receiving == texts
    await session.flush()
    assert session.buffered == 0


async def test_messages_one_by_one(session: Session, odd: list[str]) -> None:
    for text in odd:
        await session.send(text)
        assert await received(session, 1) == [text]


async def test_halves_of_characters(session: Session, server: str) -> None:
    if server == "sockjs":
        pytest.skip("the package cannot encode them")
    for text in LONE:
        await session.send(text)
        assert await received(session, 1) == [text]


async def test_large_messages(session: Session) -> None:
    text = "".join(f"{number:7}\u00fc" for number in range(12_000))
    for _ in range(3):
        await session.send(text)
    assert await received(session, 3) == [text] * 3


async def test_the_servers_goodbye_has_its_code_and_comes_after_its_last_words(session: Session, server: str) -> None:
    await session.send("1")
    await session.send("farewell")
    assert await received(session, 2) == ["1", "last words"]
    with pytest.raises(SessionClosed) as caught:
        await received(session, 1)
    forgotten = (3000, "Go away!")  # the package has forgotten the code when the next poll comes
    assert (caught.value.code, caught.value.reason) in [(4001, "enough"), *[forgotten] * (server == "sockjs")]
    await session.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_cookie_of_load_balancers_is_kept(url: str, transport: str) -> None:
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
        connect(url, session=http, transports=[transport]) as session,
    ):
        http.cookie_jar.update_cookies({"JSESSIONID": "worker1"}, aiohttp.client.URL(url))
        await session.send("x")
        assert await received(session, 1) == ["x"]
        cookies = http.cookie_jar.filter_cookies(aiohttp.client.URL(url))
        assert cookies["JSESSIONID"].value == "worker1"
