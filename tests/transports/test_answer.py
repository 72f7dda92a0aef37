"""Whole answers: worded beforehand as aiohttp would word them, and nobody who wants to look is passed over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from multidict import CIMultiDict

import sockbridge
from sockbridge.transports.answer import MAX_HEADS, Head, Heads, ReadyAnswer
from sockbridge.transports.xhr_polling import XhrPollingTransport
from sockbridge.transports.xhr_send import XhrSendTransport

from ..fakes import RecordingHandler, serve
from .wire import Head as Received
from .wire import Wire, echo_server

PAGE = {"Origin": "https://page.example"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def passes_on(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)


@web.middleware
async def signs(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    response.headers["X-Signed-By"] = "middleware"
    response.set_cookie("seen", "yes")
    return response


async def stamps(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Stamped-By"] = "signal"


def echo_app(*middlewares: Any, **options: Any) -> web.Application:
    app = web.Application(middlewares=middlewares)
    sockbridge.mount(app, "/echo", RecordingHandler(echo=True), **{"allowed_origins": "*", **options})
    return app


@asynccontextmanager
async def wired(app: web.Application) -> AsyncIterator[Wire]:
    """A connection to a server that runs ``app``."""
    async with serve(app) as url:
        wire = await Wire.open(url)
        try:
            yield wire
        finally:
            await wire.close()


async def ask(
    wire: Wire, name: str, body: bytes = b"", headers: dict[str, str] | None = None, version: str = "1.1"
) -> tuple[Received, bytes]:
    """One request of the session ``me``."""
    wire.request("POST", f"/echo/000/me/{name}", body, headers, version)
    head = await wire.read_head()
    return head, await wire.read_body()


async def opened(wire: Wire, headers: dict[str, str] | None = None) -> Received:
    """The head of the answer that opens the session ``me``."""
    head, body = await ask(wire, "xhr", headers=headers)
    assert (head.status, body) == (200, b"o\n")
    return head


# What is sent.


@pytest.mark.parametrize("origin", [{}, PAGE, {"Origin": "null"}, {"Origin": "https://pagé.example"}])
@pytest.mark.parametrize("further", [{}, {"Access-Control-Request-Headers": "a, b"}])
async def test_the_answers_are_those_that_aiohttp_would_word(origin: dict[str, str], further: dict[str, str]) -> None:
    """A middleware that does nothing makes aiohttp word them: no header more, none less, in the same order."""
    answers = []
    for app in (echo_app(), echo_app(passes_on)):
        async with wired(app) as wire:
            headers = {**origin, **further}
            heads = [await opened(wire, headers)]
            sent, nothing = await ask(wire, "xhr_send", b'["a"]', headers)
            polled, message = await ask(wire, "xhr", headers=headers)
            assert (sent.status, nothing, message) == (204, b"", b'a["a"]\n')
            answers.append([(head.status, list(head.headers.items())) for head in (*heads, sent, polled)])
            for head in (*heads, sent, polled):
                date = parsedate_to_datetime(head.headers["Date"])
                assert abs(datetime.now(UTC) - date) < timedelta(seconds=2)
    ready, worded = ([(status, [one for one in items if one[0] != "Date"]) for status, items in one] for one in answers)
    assert ready == worded


async def test_each_origin_gets_its_own_headers() -> None:
    async with wired(echo_app()) as wire:
        assert (await opened(wire)).headers["Access-Control-Allow-Origin"] == "*"
        for origin in ("https://a.example", "https://b.example", "https://a.example"):
            head, _ = await ask(wire, "xhr_send", b'["a"]', {"Origin": origin})
            assert head.headers["Access-Control-Allow-Origin"] == origin
            head, _ = await ask(wire, "xhr", headers={"Origin": origin})
            assert head.headers["Access-Control-Allow-Origin"] == origin
        head, _ = await ask(wire, "xhr_send", b'["a"]')
        assert head.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in head.headers


async def test_a_cookie_comes_back_to_its_owner_alone() -> None:
    async with wired(echo_app(jsessionid=True)) as wire:
        assert (await opened(wire, {"Cookie": "JSESSIONID=one"})).headers["Set-Cookie"] == "JSESSIONID=one; path=/"
        head, _ = await ask(wire, "xhr_send", b'["a"]', {"Cookie": "JSESSIONID=two"})
        assert head.headers["Set-Cookie"] == "JSESSIONID=two; path=/"


async def test_headers_of_a_transport_of_ones_own_are_asked_for_each_time() -> None:
    class Counted(XhrPollingTransport):
        name = "counted"
        count = 0

        def headers(self, request: web.Request) -> CIMultiDict[str]:
            Counted.count += 1
            headers = super().headers(request)
            headers["X-Count"] = str(Counted.count)
            return headers

    async with wired(echo_app(transports=[Counted, XhrSendTransport])) as wire:
        for number in (1, 2, 3):
            head, _ = await ask(wire, "counted")
            assert head.headers["X-Count"] == str(number)
            await ask(wire, "xhr_send", b'["a"]')


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with wired(echo_app()) as wire:
        await opened(wire)
        for number in range(10):
            wire.request("POST", "/echo/000/me/xhr_send", b'["%d"]' % number)
            wire.request("POST", "/echo/000/me/xhr")
        messages = []
        for _ in range(10):
            assert (await wire.read_head()).status == 204
            assert (await wire.read_head()).status == 200
            messages.append(await wire.read_body())
        assert messages == [b'a["%d"]\n' % number for number in range(10)]


async def test_what_waits_for_100_continue_gets_it() -> None:
    async with wired(echo_app()) as wire:
        await opened(wire)
        wire.request("POST", "/echo/000/me/xhr_send", b"", {"Expect": "100-continue", "Content-Length": "5"})
        assert (await wire.read_head()).status == 100
        wire.writer.write(b'["a"]')
        assert (await wire.read_head()).status == 204
        assert (await ask(wire, "xhr"))[1] == b'a["a"]\n'


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_connection_ends_where_the_client_asks_for_it(version: str) -> None:
    async with serve(echo_app()) as url:
        for name, body in (("xhr", b""), ("xhr_send", b'["a"]')):
            wire = await Wire.open(url)
            head, _ = await ask(wire, name, body, {"Connection": "close"}, version)
            assert head.status in (200, 204)
            assert head.headers.get("Connection", "close") == "close"
            assert await wire.read_end() == b""
            await wire.close()


async def test_a_client_that_has_gone_is_written_to_no_more() -> None:
    """It asks, waits for the handler, and leaves: nothing fails, and the server goes on."""
    async with echo_server() as (url, endpoint, _):
        wire = await Wire.open(url)
        await opened(wire)
        wire.request("POST", "/echo/000/me/xhr_send", b'["a"]')
        wire.reset()
        again = await Wire.open(url)
        assert (await ask(again, "xhr", headers=PAGE))[0].status == 200
        assert len(endpoint) == 1
        await again.close()


# Who looks.


async def test_what_a_middleware_adds_is_sent() -> None:
    async with wired(echo_app(signs)) as wire:
        await opened(wire)
        for name, body in (("xhr_send", b'["a"]'), ("xhr", b""), ("xhr_send", b'["b"]')):
            head, _ = await ask(wire, name, body)
            assert head.headers["X-Signed-By"] == "middleware"
            assert head.headers["Set-Cookie"].startswith("seen=yes")


async def test_what_a_middleware_puts_in_place_of_an_answer_is_sent() -> None:
    @web.middleware
    async def replaces(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        return web.Response(status=202, text="replaced") if response.status == 204 else response

    async with wired(echo_app(replaces)) as wire:
        await opened(wire)
        head, body = await ask(wire, "xhr_send", b'["a"]')
        assert (head.status, body) == (202, b"replaced")


async def test_signal_handlers_are_called_and_heard() -> None:
    app = echo_app()
    app.on_response_prepare.append(stamps)
    async with wired(app) as wire:
        assert (await opened(wire)).headers["X-Stamped-By"] == "signal"
        for name, body in (("xhr_send", b'["a"]'), ("xhr", b"")):
            head, _ = await ask(wire, name, body)
            assert head.headers["X-Stamped-By"] == "signal"


@pytest.mark.parametrize("who", ["outer", "inner"])
async def test_those_of_every_application_around_the_endpoint_count(who: str) -> None:
    inner = echo_app(*([signs] if who == "inner" else []))
    outer = web.Application(middlewares=[signs] if who == "outer" else [])
    outer.add_subapp("/inner", inner)
    async with serve(outer) as url:
        wire = await Wire.open(url)
        wire.request("POST", "/inner/echo/000/me/xhr")
        assert (await wire.read_head()).headers["X-Signed-By"] == "middleware"
        await wire.read_body()
        await wire.close()


async def test_an_endpoint_in_two_applications_is_watched_by_one_of_them_only() -> None:
    inner = echo_app()
    quiet, watching = web.Application(), web.Application()
    watching.on_response_prepare.append(stamps)
    heads = Heads(204, lambda request: CIMultiDict(), depend_on_origin_alone=True)
    kinds = [type(heads.answer(fake_request((app, inner)))) for app in (quiet, watching, quiet)]
    assert kinds == [ReadyAnswer, web.Response, ReadyAnswer]


async def test_an_access_log_is_told_what_was_sent() -> None:
    """Status, length and headers as aiohttp's own answers tell them."""
    lines: list[tuple[int, int, str | None, str | None]] = []

    class Log(AbstractAccessLogger):
        def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
            headers = response.headers
            lines.append(
                (response.status, response.body_length, headers.get("Content-Length"), headers.get("Content-Type"))
            )

    for app in (echo_app(), echo_app(passes_on)):
        runner = web.AppRunner(app, access_log_class=Log)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        wire = await Wire.open(f"http://127.0.0.1:{site.port}")
        await opened(wire, PAGE)
        await ask(wire, "xhr_send", b'["a"]', PAGE)
        await ask(wire, "xhr", headers=PAGE)
        await wire.close()
        await runner.cleanup()
    assert lines[:3] == lines[3:]
    assert [status for status, *_ in lines[:3]] == [200, 204, 200]


# The room by itself.


class FakeTransport:
    """What a ``ReadyAnswer`` sees of a connection."""

    def __init__(self, *, is_closing: bool = False, is_full: bool = False) -> None:
        self.written: list[bytes] = []
        self.writing_paused = is_full
        self.drained = 0
        self._is_closing = is_closing

    def is_closing(self) -> bool:
        return self._is_closing

    def write(self, data: bytes) -> None:
        self.written.append(data)

    async def drain(self) -> None:
        self.drained += 1


class FakeRequest:
    """What ``Heads`` and ``ReadyAnswer`` see of a request."""

    version = (1, 1)
    keep_alive = True

    def __init__(self, apps: tuple[web.Application, ...], headers: dict[str, str], transport: FakeTransport | None):
        self.headers = CIMultiDict(headers)
        self.match_info = self
        self.apps = apps
        self.transport = self.protocol = self.writer = transport


def fake_request(
    apps: tuple[web.Application, ...] = (),
    headers: dict[str, str] | None = None,
    transport: FakeTransport | None = None,
) -> Any:
    return FakeRequest(apps, headers or {}, transport)


def counted_heads(status: int = 200) -> tuple[Heads, list[str | None]]:
    """Heads, and the origins for which headers were made."""
    made: list[str | None] = []

    def make(request: web.Request) -> CIMultiDict[str]:
        origin = request.headers.get("Origin")
        made.append(origin)
        return CIMultiDict({"X-Origin": origin or "-"})

    return Heads(status, make, depend_on_origin_alone=True), made


def test_headers_are_made_once_for_each_origin() -> None:
    heads, made = counted_heads()
    for origin in ("a", "b", "a", "b", "a"):
        assert isinstance(heads.answer(fake_request(headers={"Origin": origin}), b"x"), ReadyAnswer)
    assert made == ["a", "b"]


def test_requests_that_are_told_the_same_share_an_answer() -> None:
    heads, _ = counted_heads()
    first = heads.answer(fake_request(), b"message")
    assert heads.answer(fake_request(), b"message") is first
    other = heads.answer(fake_request(), b"another")
    assert isinstance(other, ReadyAnswer)
    assert (other is first, other.body) == (False, b"another")


def test_an_answer_of_another_second_is_worded_anew() -> None:
    head = Head(204, CIMultiDict())
    first = head.answer(b"", b"Date: then\r\n")
    assert head.answer(b"", b"Date: now\r\n") is not first


def test_invented_origins_fill_no_memory() -> None:
    heads, made = counted_heads()
    for number in range(3 * MAX_HEADS):
        heads.answer(fake_request(headers={"Origin": f"o{number}"}))
    heads.answer(fake_request(headers={"Origin": "o0"}))
    assert made.count("o0") == 2  # it had been forgotten
    long = fake_request(headers={"Origin": "x" * 1000})
    assert type(heads.answer(long)) is web.Response
    assert type(heads.answer(long)) is web.Response
    assert made.count("x" * 1000) == 2


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\x00b", "a\x7fb", "é"])
def test_a_value_that_could_be_more_than_a_value_is_not_worded_here(value: str) -> None:
    with pytest.raises(ValueError, match="X-Name holds what must not be sent"):
        Head(200, CIMultiDict({"X-Name": value}))
    assert type(counted_heads()[0].answer(fake_request(headers={"Origin": value}))) is web.Response


async def test_an_answer_leaves_in_one_write() -> None:
    transport = FakeTransport()
    answer = Head(200, CIMultiDict({"X-Name": "value"})).answer(b"body", b"Date: now\r\n")
    await answer.prepare(fake_request(transport=transport))
    await answer.write_eof()
    assert transport.written == [b"HTTP/1.1 200 OK\r\nX-Name: value\r\nContent-Length: 4\r\nDate: now\r\n\r\nbody"]
    assert (answer.keep_alive, transport.drained) == (True, 0)


async def test_a_client_that_reads_nothing_gets_no_further_answers() -> None:
    """As with aiohttp's own: the next of its pipelined requests waits until it has read."""
    transport = FakeTransport(is_full=True)
    await Head(204, CIMultiDict()).answer(b"", b"").prepare(fake_request(transport=transport))
    assert transport.drained == 1


@pytest.mark.parametrize("transport", [None, FakeTransport(is_closing=True)])
async def test_nothing_is_written_to_a_connection_that_has_ended(transport: FakeTransport | None) -> None:
    answer = Head(204, CIMultiDict()).answer(b"", b"")
    with pytest.raises(ConnectionResetError):
        await answer.prepare(fake_request(transport=transport))
    assert transport is None or transport.written == []


def test_the_headers_of_an_answer_say_the_same_each_time() -> None:
    answer = Head(200, CIMultiDict({"X-Name": "value"})).answer(b"body", b"")
    for _ in range(2):
        assert list(answer.headers.items()) == [("X-Name", "value"), ("Content-Length", "4")]
    assert answer.body_length == len(b"HTTP/1.1 200 OK\r\nX-Name: value\r\nContent-Length: 4\r\n\r\nbody")
