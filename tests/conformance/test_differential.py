"""The same handler and the same traffic against sockbridge and against the ``sockjs`` package 0.13.

Every step writes down what came back, field by field. Where the two differ the difference must be in
``DIFFERENCES``, with the verdict whose fault it is; docs/conformance.md repeats that table. A difference that
is not there fails, and so does one that no longer shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import aiohttp
import pytest
import sockjs
from aiohttp import WSMsgType, web

import sockbridge
from sockbridge.sockjs.framing import Message
from tests.fakes import GUARD, serve

from .conftest import RECEIVERS, SCRIPT_URL, STREAMS, Answer, Head, Wire

pytestmark = [
    # The package keeps its managers and its transport's name under string keys of the application and the request,
    pytest.mark.filterwarnings("ignore:It is recommended to use web.AppKey:aiohttp.web.NotAppKeyWarning"),
    pytest.mark.filterwarnings("ignore:It is recommended to use web.RequestKey:aiohttp.web.NotAppKeyWarning"),
    # and refuses a POST to a websocket with an argument that aiohttp no longer wants.
    pytest.mark.filterwarnings("ignore:body argument is deprecated for http web exceptions:DeprecationWarning"),
]

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "conformance.md"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PAGE = {"Origin": "http://page.example"}


class Echo(sockbridge.SessionHandler):
    """Sends back; closes if told to."""

    async def on_message(self, session: sockbridge.Session, message: Message) -> None:
        if message == "farewell":
            session.send("one")
            session.close(4001, "Bye")
        else:
            session.send(message)


class Close(sockbridge.SessionHandler):
    async def on_connected(self, session: sockbridge.Session) -> None:
        session.close(3000, "Go away!")


async def peer_echo(manager: object, session: sockjs.Session, message: sockjs.SockjsMessage) -> None:
    """``Echo`` for the package."""
    if message.type is sockjs.MsgType.MESSAGE:
        if message.data == "farewell":
            session.send("one")
            session.close(4001, "Bye")
        else:
            session.send(message.data)


async def peer_close(manager: object, session: sockjs.Session, message: sockjs.SockjsMessage) -> None:
    """``Close`` for the package."""
    if message.type is sockjs.MsgType.OPEN:
        session.close(3000, "Go away!")


@asynccontextmanager
async def serve_ours(client: aiohttp.ClientSession) -> AsyncIterator[Wire]:
    app = web.Application()
    for prefix, handler in (("/echo", Echo()), ("/close", Close())):
        sockbridge.mount(app, prefix, handler, allowed_origins="*", client_url=SCRIPT_URL, jsessionid=True)
    sockbridge.mount(app, "/plain", Echo(), allowed_origins="*")
    async with serve(app) as url:
        yield Wire(url, client)


@asynccontextmanager
async def serve_theirs(client: aiohttp.ClientSession) -> AsyncIterator[Wire]:
    app = web.Application()
    for prefix, handler in (("/echo", peer_echo), ("/close", peer_close)):
        sockjs.add_endpoint(app, handler, name=prefix.strip("/"), prefix=prefix, sockjs_cdn=SCRIPT_URL)
    sockjs.add_endpoint(app, peer_echo, name="plain", prefix="/plain", cookie_needed=False)
    # A short time-out: the package does not end its open streams, and the default waits a minute for them.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Wire(f"http://127.0.0.1:{site.port}", client)
    finally:
        await runner.cleanup()


class Transcript:
    """What came back: ``(step, field)`` to value."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.notes: dict[tuple[str, str], object] = {}

    def note(self, step: str, field: str, value: object) -> None:
        assert (step, field) not in self.notes
        self.notes[step, field] = value

    def head(self, step: str, head: Head) -> None:
        """Status and headers that matter; what changes from request to request becomes ``...``."""
        self.note(step, "status", head.status)
        for name in set(map(str.title, head.headers)) - {"Date", "Server", "Content-Length"}:
            value = ", ".join(head.headers.getall(name))
            if name == "Content-Type":
                value = value.replace(" ", "")
            elif name == "Expires":
                value = re.sub(r"\d+", "...", re.sub(r"\b[A-Z][a-z][a-z]\b", "...", value))
            elif name == "Cache-Control":
                value = ", ".join(sorted(value.replace(" ", "").split(",")))
            elif name == "Set-Cookie":
                value = value.replace("Path", "path")
            elif name == "Etag":
                value = re.sub(r"[0-9a-f]+", "...", value)
            self.note(step, name, value)

    def answer(self, step: str, answer: Answer) -> None:
        self.head(step, answer)
        self.note(step, "body", answer.body)

    async def request(
        self, step: str, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.answer(step, await self.wire.request(method, target, body, headers))

    async def poll(self, step: str, url: str) -> None:
        self.note(step, "frame", await self.wire.poll(url))


async def pages(to: Transcript) -> None:
    await to.request("greeting", "GET", "/echo")
    await to.request("greeting with slash", "GET", "/echo/")
    answer = await to.wire.request("GET", "/echo/info", headers=PAGE)
    to.head("info", answer)
    for name, value in json.loads(answer.body).items():
        to.note("info", f"info {name}", "..." if name == "entropy" else value)
    plain = json.loads((await to.wire.request("GET", "/plain/info")).body)
    to.note("info without cookie", "info cookie_needed", plain["cookie_needed"])
    await to.request("info preflight", "OPTIONS", "/echo/info", headers=PAGE)


async def iframe(to: Transcript) -> None:
    page = await to.wire.request("GET", "/echo/iframe.html")
    to.head("page", page)
    to.note("page", "body", page.body)
    await to.request("version", "GET", "/echo/iframe-0.1.2.html?t=1")
    await to.request("same tag", "GET", "/echo/iframe.html", headers={"If-None-Match": page.headers["ETag"]})
    await to.request("other tag", "GET", "/echo/iframe.html", headers={"If-None-Match": '"other"'})


async def unknown_urls(to: Transcript) -> None:
    for path in (
        "/a",
        "/a/a",
        "/000/id/unknown",
        "/000/a.b/xhr",
        "//id/xhr",
        "/iframe",
        "/IFRAME.HTML",
        "/iframe-/.html",
    ):
        to.note(path, "status", (await to.wire.request("POST" if "xhr" in path else "GET", f"/echo{path}")).status)
    to.note("/iframe in capitals", "status", (await to.wire.request("GET", "/echo/iframeABC.html")).status)


async def methods(to: Transcript) -> None:
    for method, path in (
        ("GET", "xhr"),
        ("PUT", "xhr"),
        ("POST", "eventsource"),
        ("POST", "htmlfile?c=callback"),
        ("POST", "jsonp?c=callback"),
        ("POST", "websocket"),
        ("GET", "xhr_send"),
        ("PUT", "xhr_send"),
    ):
        connection = await to.wire.connect()
        await connection.ask(method, f"{to.wire.new()}/{path}")
        head = await connection.head()
        to.note(f"{method} {path}", "status", head.status)
        await connection.leave()
    for path in ("", "/info", "/websocket"):
        answer = await to.wire.request("POST", f"/echo{path}")
        to.note(f"POST {path}", "status", answer.status)
        to.note(f"POST {path}", "Allow", set(re.split(", ?", answer.headers.get("Allow", ""))))
        to.note(f"POST {path}", "body", answer.body)


async def xhr(to: Transcript) -> None:
    url = to.wire.new()
    await to.request("open", "POST", f"{url}/xhr")
    await to.request("send", "POST", f"{url}/xhr_send", b'["a"]', PAGE)
    await to.request("message", "POST", f"{url}/xhr", b"", PAGE | {"Cookie": "JSESSIONID=abc"})
    for number in range(8):
        await to.wire.send(url, str(number))
    await to.poll("eight", url)
    await to.request("preflight", "OPTIONS", f"{url}/xhr", headers=PAGE)
    await to.request("send to nobody", "POST", f"{to.wire.new()}/xhr_send", b'["a"]')
    await to.wire.send(url)
    await to.wire.send(url, "")
    await to.poll("empty", url)
    answer = await to.wire.request("POST", f"{to.wire.new('/plain')}/xhr")
    to.note("no cookie wanted", "Set-Cookie", answer.headers.get("Set-Cookie"))


async def bad_payloads(to: Transcript) -> None:
    for body in (b"", b"[", b'"abc"', b'{"a":1}', b"5", b"null", b'["x",1]', b'["\xff"]', b"[" * 100_000):
        url = await to.wire.open()
        step = body[:10].decode(errors="replace") or "nothing"
        answer = await to.wire.request("POST", f"{url}/xhr_send", body)
        to.note(step, "status", answer.status)
        to.note(step, "reason", answer.body.strip() if answer.status == 500 else b"")
        await to.wire.send(url, "afterwards")
        await to.poll(step, url)


async def large_bodies(to: Transcript) -> None:
    for size in (100_000, 300_000, 2_000_000):
        url = await to.wire.open()
        connection = await to.wire.connect()
        await connection.ask("POST", f"{url}/xhr_send", json.dumps(["x" * size]).encode())
        to.note(f"{size}", "status", (await connection.answer()).status)
        await connection.leave()


async def strings(to: Transcript) -> None:
    url = await to.wire.open()
    for text in ("\0\x1f\x7f", "\u200c\u2028\ufff0\uffff", "\U0001f600", "\ud800", "</script>", "100% %20"):
        await to.wire.send(url, text)
        await to.poll(ascii(text), url)
    for text in ("gr\u00fc\u00df", "\u4f60\u597d"):
        await to.wire.send(url, text)
        await to.poll(ascii(text), url)


async def streams(to: Transcript) -> None:
    for transport in STREAMS:
        url = to.wire.new()
        stream = await to.wire.receive(url, transport)
        assert stream.head is not None
        to.head(transport, stream.head)
        to.note(transport, "prelude", stream.prelude)
        to.note(transport, "first chunk", await stream.connection.chunk())
        for text in ("x", "100% %20", "</script>"):
            await to.wire.send(url, text)
            to.note(f"{transport} {text}", "chunk", await stream.connection.chunk())
        await stream.connection.leave()


async def jsonp(to: Transcript) -> None:
    url = to.wire.new()
    await to.request("open", "GET", f"{url}/jsonp?c=callback")
    await to.request("send", "POST", f"{url}/jsonp_send", b"d=%5B%22a%22%5D", FORM)
    await to.request("message", "GET", f"{url}/jsonp?c=callback")
    for body, headers in (
        (b'["%61"]', {}),
        (b"", FORM),
        (b"d=", FORM),
        (b"d=x", FORM),
        (b"p=p", FORM),
        (b"e=1&d=%5B%22b%22%5D", FORM),
        (b"d=%5B%22c%22%5D&e=1", FORM),
    ):
        answer = await to.wire.request("POST", f"{url}/jsonp_send", body, headers)
        to.note(f"send {body!r}", "status", answer.status)
        to.note(f"send {body!r}", "body", answer.body.strip())
    await to.wire.send(url, "end")
    await to.poll("arrived", url)


async def callbacks(to: Transcript) -> None:
    for transport in ("jsonp", "htmlfile"):
        for query in ("", "c=", "c=a%20b", "c=abc(", "c=%2A", f"c={'a' * 33}", "c=a-b", "callback=cb", "c=a%0A"):
            connection = await to.wire.connect()
            await connection.ask("GET", f"{to.wire.new()}/{transport}?{query}")
            head = await connection.head()
            to.note(f"{transport}?{query}", "status", head.status)
            if head.status == 500:
                to.note(
                    f"{transport}?{query}",
                    "body",
                    (await connection.exactly(int(head.headers["Content-Length"]))).strip(),
                )
            await connection.leave()


async def second_receivers(to: Transcript) -> None:
    url = to.wire.new()
    stream = await to.wire.receive(url, "xhr_streaming")
    to.note("first", "frame", await stream.frame())
    await to.poll("second", url)
    await to.poll("third", url)
    to.note("send", "status", (await to.wire.request("POST", f"{url}/xhr_send", b'["a"]')).status)
    await to.poll("fourth", url)
    await stream.connection.leave()


async def goodbyes(to: Transcript) -> None:
    url = await to.wire.open()
    await to.wire.send(url, "farewell")
    for step in ("message", "close", "later", "much later"):
        await to.poll(step, url)
    to.note("send", "status", (await to.wire.request("POST", f"{url}/xhr_send", b'["a"]')).status)
    url = to.wire.new("/close")
    for step in ("open handler 1", "open handler 2", "open handler 3"):
        await to.poll(step, url)
    for transport in RECEIVERS:
        if transport in STREAMS:
            receiver = await to.wire.receive(to.wire.new("/close"), transport)
            to.note(transport, "frames", [(await receiver.connection.chunk())[-40:] for _ in range(3)])


async def aborts(to: Transcript) -> None:
    for ending in ("leave", "reset"):
        url = await to.wire.open()
        cut = await to.wire.receive(url)
        await to.wire.settle()
        await getattr(cut.connection, ending)()
        frame = await to.wire.poll(url)
        to.note(ending, "frame", frame)


async def websocket(to: Transcript) -> None:
    async with await to.wire.websocket(to.wire.new() + "/websocket") as socket:
        to.note("open", "frame", await socket.receive_str(timeout=GUARD))
        for step, text in (
            ("one", '["a"]'),
            ("empty first", ""),
            ("string", '"b"'),
            ("unicode", '["\U0001f600"]'),
        ):
            await socket.send_str(text)
            if text:
                to.note(step, "frame", await socket.receive_str(timeout=GUARD))
        await socket.send_str("[]")
        await socket.send_bytes(b'["binary"]')
        await socket.send_str('["end"]')
        arrived: list[str] = []
        while "end" not in arrived:
            arrived += json.loads((await socket.receive_str(timeout=GUARD))[1:])
        to.note("binary", "messages", arrived)
    async with await to.wire.websocket(to.wire.new() + "/websocket") as socket:
        await socket.receive_str(timeout=GUARD)
        await socket.send_str('["a')
        message = await socket.receive(timeout=GUARD)
        while message.type is WSMsgType.TEXT:
            message = await socket.receive(timeout=GUARD)
        to.note("broken", "end", (message.type, message.data, message.extra))
    async with await to.wire.websocket(to.wire.new("/close") + "/websocket") as socket:
        for step in ("closed 1", "closed 2"):
            to.note(step, "frame", await socket.receive_str(timeout=GUARD))
        message = await socket.receive(timeout=GUARD)
        to.note("closed 3", "end", (message.type, message.data, message.extra))
    to.note("plain GET", "status", (await to.wire.request("GET", to.wire.new() + "/websocket")).status)


async def raw_websocket(to: Transcript) -> None:
    async with await to.wire.websocket("/echo/websocket") as socket:
        for text in ("a", '["a"]', "\U0001f600"):
            await socket.send_str(text)
            to.note(text, "message", await socket.receive_str(timeout=GUARD))
        await socket.send_str("")
        await socket.send_bytes(b"binary")
        await socket.send_str("end")
        to.note("empty", "message", (await socket.receive(timeout=GUARD)).data)
    async with await to.wire.websocket("/close/websocket") as socket:
        message = await socket.receive(timeout=GUARD)
        to.note("closed", "end", (message.type, message.data, message.extra))
    try:
        async with await to.wire.websocket("/echo"):
            to.note("at the mounted URL", "status", 101)
    except aiohttp.WSServerHandshakeError as refused:
        to.note("at the mounted URL", "status", refused.status)


async def old_http(to: Transcript) -> None:
    for transport, (method, path) in RECEIVERS.items():
        connection = await to.wire.connect()
        await connection.ask(
            method, f"{to.wire.new('/close')}/{path}", headers={"Connection": "Keep-Alive"}, version="1.0"
        )
        head = await connection.head()
        to.note(transport, "Transfer-Encoding", head.headers.get("Transfer-Encoding"))
        to.note(transport, "Connection", head.headers.get("Connection", "close").lower())
        await connection.leave()


SCENARIOS: tuple[Callable[[Transcript], Awaitable[None]], ...] = (
    pages,
    iframe,
    unknown_urls,
    methods,
    xhr,
    bad_payloads,
    large_bodies,
    strings,
    streams,
    jsonp,
    callbacks,
    second_receivers,
    goodbyes,
    aborts,
    websocket,
    raw_websocket,
    old_http,
)


@dataclass(frozen=True)
class Difference:
    """One way in which the two answer differently.

    Attributes:
        title: what differs; stands in docs/conformance.md.
        verdict: ``theirs``: the package breaks a rule; ``ours``: the protocol leaves it open, and we chose so.
        places: where it shows: scenario to patterns of ``(step, field)``.
    """

    title: str
    verdict: str
    places: dict[str, tuple[tuple[str, str], ...]]


CORS = (("*", "Access-Control-Allow-*"), ("*", "Vary"))

DIFFERENCES = (
    Difference(
        "no CORS headers unless another package is added",
        "theirs",
        {"pages": CORS, "xhr": CORS, "streams": CORS},
    ),
    Difference(
        "preflights are refused",
        "theirs",
        {
            "pages": (("info preflight", "*"),),
            "xhr": (("preflight", "*"),),
        },
    ),
    Difference(
        "`/info` lists the transports, which no client reads", "ours", {"pages": (("info", "info transports"),)}
    ),
    Difference("any `If-None-Match` is answered 304", "theirs", {"iframe": (("other tag", "*"),)}),
    Difference(
        "the iframe page's tag is not quoted and missing in the 304, which has an empty content type",
        "theirs",
        {"iframe": (("page", "Etag"), ("version", "Etag"), ("same tag", "Etag"), ("same tag", "Content-Type"))},
    ),
    Difference("the iframe page's `Expires` names no time zone", "theirs", {"iframe": (("*", "Expires"),)}),
    Difference(
        "the iframe page carries a preflight's `Access-Control-Max-Age`",
        "theirs",
        {"iframe": (("*", "Access-Control-Max-Age"),)},
    ),
    Difference(
        "capital letters pass in an iframe URL", "theirs", {"unknown_urls": (("/iframe in capitals", "status"),)}
    ),
    Difference(
        "wrong methods open sessions, or are taken for another fault",
        "theirs",
        {
            "methods": (
                ("GET xhr", "status"),
                ("PUT xhr", "status"),
                ("POST *=callback", "status"),
                ("POST eventsource", "status"),
                ("* xhr_send", "status"),
            )
        },
    ),
    Difference(
        "a 405 has a body, and does not name OPTIONS",
        "theirs",
        {"methods": (("POST *", "body"), ("POST /info", "Allow"))},
    ),
    Difference(
        "a poll's answer is chunked and has no length",
        "ours",
        {"xhr": (("*", "Transfer-Encoding"),), "jsonp": (("*", "Transfer-Encoding"),)},
    ),
    Difference(
        "the cookie is set though the endpoint does not want it, and on errors",
        "theirs",
        {"xhr": (("no cookie wanted", "Set-Cookie"), ("send to nobody", "Set-Cookie"))},
    ),
    Difference(
        "a 404 has aiohttp's text",
        "ours",
        {"xhr": (("send to nobody", "body"), ("send to nobody", "Content-Type"))},
    ),
    Difference(
        "JSON that is no array of strings reaches the handler in pieces, or fails inside the server",
        "theirs",
        {"bad_payloads": (('"abc"', "*"), ('{"a":1}', "*"), ("5", "reason"), ("null", "reason"), ("*x*,1*", "*"))},
    ),
    Difference(
        "the limit of a body is aiohttp's, 1 MiB",
        "ours",
        {"large_bodies": (("300000", "status"),)},
    ),
    Difference(
        "everything outside ASCII is escaped",
        "ours",
        {"strings": (("*u4f60*", "frame"), ("*xfc*", "frame"), ("*x1f*", "frame"))},
    ),
    Difference("`%` is not escaped in an event", "theirs", {"streams": (("eventsource 100% %20", "chunk"),)}),
    Difference(
        "`<` is not escaped in htmlfile, so a message can run as a script",
        "theirs",
        {"streams": (("htmlfile </script>", "chunk"),)},
    ),
    Difference(
        "the htmlfile page begins with an empty line and is padded otherwise",
        "theirs",
        {"streams": (("htmlfile", "prelude"),)},
    ),
    Difference("streams close their connection; ours keep it", "ours", {"streams": (("*", "Connection"),)}),
    Difference(
        "no `X-Accel-Buffering`, no `X-Content-Type-Options`",
        "ours",
        {
            "streams": (("*", "X-Accel-Buffering"), ("htmlfile", "X-Content-Type-Options")),
            "jsonp": (("*", "X-Content-Type-Options"),),
        },
    ),
    Difference(
        "the field `d` of a form must be the first and only one",
        "theirs",
        {"jsonp": (("send *b*e=1*", "*"), ("arrived", "frame"))},
    ),
    Difference(
        "callbacks: `-` is refused, a line feed at the end and any length pass, `callback=` is unknown",
        "theirs",
        {"callbacks": (("*c=a-b", "*"), ("*%0A", "*"), ("*aaa", "*"), ("*callback=cb", "*"))},
    ),
    Difference(
        "an empty callback is called invalid, not missing", "theirs", {"callbacks": (("htmlfile[?]c=", "body"),)}
    ),
    Difference(
        "a second receiver ends the session of the first",
        "theirs",
        {"second_receivers": (("third", "frame"), ("fourth", "frame"))},
    ),
    Difference(
        "what was sent before the close is lost to polls, which are told 3000 whatever the code was",
        "theirs",
        {"goodbyes": (("message", "frame"), ("close", "frame"), ("*later", "frame"))},
    ),
    Difference("after a cut the next receiver is told 2010", "theirs", {"aborts": (("*", "frame"),)}),
    Difference("binary is ignored by a framed websocket", "ours", {"websocket": (("binary", "messages"),)}),
    Difference(
        "after broken JSON a websocket ends with `1000 broken json`",
        "ours",
        {"websocket": (("broken", "end"),)},
    ),
    Difference(
        "the application's close code is not in the websocket's close frame",
        "theirs",
        {"websocket": (("closed 3", "end"),), "raw_websocket": (("closed", "end"),)},
    ),
    Difference(
        "a raw websocket ignores empty and binary messages",
        "theirs",
        {"raw_websocket": (("empty", "message"),)},
    ),
    Difference(
        "no raw websocket at the mounted URL itself", "ours", {"raw_websocket": (("at the mounted URL", "status"),)}
    ),
    Difference(
        "to HTTP/1.0 with keep-alive a stream promises to keep the connection that its end closes",
        "theirs",
        {"old_http": (("xhr_streaming", "Connection"),)},
    ),
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_the_same_traffic_differs_only_where_we_know_it(
    scenario: Callable[[Transcript], Awaitable[None]],
) -> None:
    async with (
        aiohttp.ClientSession() as client,
        serve_ours(client) as ours,
        serve_theirs(client) as theirs,
    ):
        transcripts = [Transcript(ours), Transcript(theirs)]
        for transcript in transcripts:
            await scenario(transcript)
            await transcript.wire.close()
    our_notes, their_notes = (transcript.notes for transcript in transcripts)
    differing = {
        place: (our_notes.get(place), their_notes.get(place))
        for place in our_notes.keys() | their_notes.keys()
        if our_notes.get(place) != their_notes.get(place)
    }
    known = [places for difference in DIFFERENCES for places in difference.places.get(scenario.__name__, ())]
    unknown = {place: pair for place, pair in differing.items() if not any(matches(place, it) for it in known)}
    assert unknown == {}
    gone = [pattern for pattern in known if not any(matches(place, pattern) for place in differing)]
    assert gone == []


def matches(place: tuple[str, str], pattern: tuple[str, str]) -> bool:
    return fnmatchcase(place[0], pattern[0]) and fnmatchcase(place[1], pattern[1])


def test_every_difference_has_a_verdict_and_a_scenario() -> None:
    names = {scenario.__name__ for scenario in SCENARIOS}
    for difference in DIFFERENCES:
        assert difference.verdict in ("theirs", "ours")
        assert difference.places.keys() <= names


def test_the_document_repeats_the_differences() -> None:
    section = DOCUMENT.read_text().partition("## Differences from the sockjs package")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (theirs|ours) \| .+ \|$", section, re.MULTILINE)
    assert rows == [(difference.title, difference.verdict) for difference in DIFFERENCES]
