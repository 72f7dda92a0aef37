"""Checks 1 to 20: SockJS itself, at an endpoint that speaks STOMP and at one that echoes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import WSMsgType, WSServerHandshakeError, web

import sockbridge
from sockbridge import Message, Session
from sockbridge.stomp import EmbeddedBroker, StompServer
from tests.fakes import GUARD, RecordingHandler, serve

from ..conftest import BUSY, GO_AWAY, Wire
from ..stomp.clients import WebsocketClient
from ..stomp.site import Site

FOREIGN = "https://elsewhere.example"
SAME_TEXTS = ["plain", "\u2028\u2029", "\x00\x1b\x7f", "\U0001f600", '"\\', "\ufffe\u200d"]


class Moody(sockbridge.SessionHandler):
    """Fails or closes when told to."""

    async def on_message(self, session: Session, message: Message) -> None:
        if message == "fail":
            raise ValueError("as told")
        if message == "close":
            session.close()
        for number in range(int(message) if str(message).isdigit() else 0):
            session.send(str(number))


@asynccontextmanager
async def mounted(handler: sockbridge.SessionHandler, **options: object) -> AsyncIterator[Wire]:
    """One endpoint at ``/ws``."""
    mount: Callable[..., object] = sockbridge.mount
    app = web.Application()
    mount(app, "/ws", handler, **options)
    async with aiohttp.ClientSession() as client:
        wire = Wire("", client)
        async with serve(app) as url:
            wire.url = url
            try:
                yield wire
            finally:
                await wire.close()


def stomp_server() -> StompServer:
    """One without an application."""
    return StompServer(EmbeddedBroker())


async def test_1_the_mounted_url_greets_and_an_upgrade_there_speaks_stomp(site: Site) -> None:
    """Rule 7.1."""
    for end in ("", "/"):
        async with site.http.get(f"{site.url}/ws{end}") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].replace("; ", ";") == "text/plain;charset=UTF-8"
            assert await answer.text() == "Welcome to SockJS!\n"
    client = await site.open("mounted")
    assert isinstance(client, WebsocketClient)
    assert (await client.connect()).headers["version"] == "1.2"


async def test_2_info_is_new_each_time_and_never_stored(site: Site) -> None:
    """Rule 7.2."""
    seen = set()
    for number in range(5):
        async with site.http.get(f"{site.url}/ws/info?t={number}") as answer:
            assert answer.status == 200
            assert "no-store" in answer.headers["Cache-Control"]
            info = await answer.json()
        assert (info["websocket"], info["cookie_needed"], info["origins"]) == (True, False, ["*:*"])
        assert isinstance(info["entropy"], int)
        seen.add(info["entropy"])
    assert len(seen) > 1


async def test_3_where_all_origins_are_allowed_a_foreign_one_gets_everything(site: Site) -> None:
    """Rule 7.3: Spring answers 500 since 5.3."""
    headers = {"Origin": FOREIGN}
    for method, path in (("GET", "/info"), ("POST", "/000/foreign/xhr")):
        async with site.http.request(method, f"{site.url}/ws{path}", headers=headers) as answer:
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == FOREIGN
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
            assert answer.headers["Vary"] == "Origin"
    for carrier in ("mounted", "websocket", "sockjs"):
        await (await site.open(carrier, headers=headers)).connect()


async def test_4_a_preflight_of_a_send_may_ask_for_any_header(site: Site) -> None:
    """Rule 7.4."""
    asked = {"Origin": FOREIGN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a, x-b"}
    async with site.http.options(f"{site.url}/ws/000/some/xhr_send", headers=asked) as answer:
        assert answer.status == 204
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert answer.headers["Access-Control-Allow-Headers"] == "x-a, x-b"
        assert answer.headers["Access-Control-Max-Age"] == "31536000"


@pytest.mark.parametrize("allowed", [None, ["https://listed.example"]])
async def test_5_a_foreign_origin_is_refused_unless_it_is_listed(allowed: list[str] | None) -> None:
    """Rule 7.5."""
    async with mounted(stomp_server(), allowed_origins=allowed) as wire:
        good = {"": 200, wire.url: 200, "https://listed.example": 200 if allowed else 403}
        for origin, status in {**good, FOREIGN: 403}.items():
            headers = {"Host": wire.url.removeprefix("http://"), **({"Origin": origin} if origin else {})}
            for method, path in (("GET", "/ws/info"), ("POST", f"{wire.new('/ws')}/xhr")):
                assert (await wire.request(method, path, headers=headers)).status == status
            for path in ("/ws", "/ws/websocket", f"{wire.new('/ws')}/websocket"):
                if status == 200:
                    await (await wire.websocket(path, headers=headers)).close()
                else:
                    with pytest.raises(WSServerHandshakeError) as refusal:
                        await wire.websocket(path, headers=headers)
                    assert refusal.value.status == 403


async def test_6_the_iframe_page_may_be_framed_by_whom_the_origins_say() -> None:
    """Rule 7.6: by ``frame-ancestors``, which Spring's two answers (a header, 404) become."""
    script = "https://cdn.example/sockjs.js"
    for allowed, policy in (
        ("*", None),
        (None, "frame-ancestors 'self'"),
        (["https://listed.example"], "frame-ancestors 'self' https://listed.example"),
    ):
        async with mounted(stomp_server(), allowed_origins=allowed, client_url=script) as wire:
            answer = await wire.request("GET", "/ws/iframe-1.6.1.html")
            assert answer.status == 200
            assert script.encode() in answer.body
            assert answer.headers.get("Content-Security-Policy") == policy
            known = {"If-None-Match": answer.headers["ETag"]}
            assert (await wire.request("GET", "/ws/iframe.html", headers=known)).status == 304
            assert (await wire.request("GET", "/ws/iframe.htm")).status == 404


async def test_7_other_urls_are_not_found_and_other_methods_are_told_which(wire: Wire) -> None:
    """Rule 7.7."""
    for path in ("/a", "/a/b", "/a/b/c/d", "//b/xhr", "/a//xhr", "/a.b/c/xhr", "/a/b.c/xhr", "/a/b/carrier_pigeon"):
        assert (await wire.request("POST", f"/echo{path}")).status == 404, path
    answer = await wire.request("GET", "/echo/000/a/xhr")
    assert answer.status == 405
    assert {"POST", "OPTIONS"} <= set(answer.headers["Allow"].split(", "))


async def test_8_messages_come_and_go_in_arrays_as_they_are(wire: Wire) -> None:
    """Rule 7.8."""
    async with await wire.websocket(f"{wire.new()}/websocket") as socket:
        assert await socket.receive_str(timeout=GUARD) == "o"
        await socket.send_str(json.dumps(SAME_TEXTS))
        received: list[str] = []
        while len(received) < len(SAME_TEXTS):
            frame = await socket.receive_str(timeout=GUARD)
            assert frame.startswith("a[")
            received += json.loads(frame[1:])
        assert received == SAME_TEXTS


async def test_9_what_is_no_message_ends_the_socket_and_what_may_be_one_does_not(wire: Wire) -> None:
    """Rule 7.9: with the reference server's 3000, and binary read as text; Spring has 1007 and 1003."""
    async with await wire.websocket(f"{wire.new()}/websocket") as socket:
        assert await socket.receive_str(timeout=GUARD) == "o"
        await socket.send_str("")
        await socket.send_str('"bare"')
        assert await socket.receive_str(timeout=GUARD) == 'a["bare"]'
        await socket.send_str('["broken')
        assert await socket.receive_str(timeout=GUARD) == 'c[3000,"Broken framing."]'
        assert (await socket.receive(timeout=GUARD)).data == 3000


@pytest.mark.parametrize(("told", "code", "reason"), [("fail", 1011, "Internal error"), ("close", 3000, "Go away!")])
async def test_10_a_failing_handler_is_1011_and_a_closing_one_3000(told: str, code: int, reason: str) -> None:
    """Rule 7.10: the same code in SockJS's close frame and in the websocket's."""
    async with mounted(Moody()) as wire:
        async with await wire.websocket(f"{wire.new('/ws')}/websocket") as socket:
            assert await socket.receive_str(timeout=GUARD) == "o"
            await socket.send_str(json.dumps([told]))
            assert await socket.receive_str(timeout=GUARD) == f'c[{code},"{reason}"]'
            assert (await socket.receive(timeout=GUARD)).data == code
        async with await wire.websocket("/ws/websocket") as socket:
            await socket.send_str(told)
            end = await socket.receive(timeout=GUARD)
            assert (end.type, end.data, end.extra) == (WSMsgType.CLOSE, code, reason)


async def test_11_a_poll_fetches_all_that_waits_in_one_array(wire: Wire) -> None:
    """Rule 7.11."""
    url = await wire.open()
    for number, kind in enumerate(("application/json", "text/plain", "application/xml", "x/y; z")):
        body = json.dumps([str(number)]).encode()
        answer = await wire.request("POST", f"{url}/xhr_send", body, {"Content-Type": kind})
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Content-Type"].replace("; ", ";") == "text/plain;charset=UTF-8"
    poll = await wire.receive(url)
    assert await poll.frame() == 'a["0","1","2","3"]'
    assert poll.head is not None
    assert poll.head.headers["Content-Type"].replace("; ", ";") == "application/javascript;charset=UTF-8"


async def test_12_a_stream_ends_at_its_limit_and_goes_on_in_the_next(wire: Wire) -> None:
    """Rule 7.12: the limit of this endpoint is 4096 bytes."""
    url = wire.new()
    stream = await wire.receive(url, "xhr_streaming")
    assert stream.prelude == b"h" * 2048 + b"\n"
    assert await stream.frame() == "o"
    sent = [str(number) * 1000 for number in range(6)]
    for text in sent:
        await wire.send(url, text)
    received: list[str] = []
    while len(received) < 6:
        chunk = await stream.connection.chunk()
        if chunk:
            received += json.loads(chunk[1:])
        else:
            stream = await wire.receive(url, "xhr_streaming")
            assert stream.prelude == b"h" * 2048 + b"\n"
    assert received == sent


async def test_13_eventsource_and_htmlfile_begin_as_their_clients_expect(wire: Wire) -> None:
    """Rule 7.13."""
    events = await wire.receive(wire.new(), "eventsource")
    assert events.head is not None
    assert events.head.headers["Content-Type"].startswith("text/event-stream")
    assert events.prelude == b"\r\n"
    assert await events.connection.chunk() == b"data: o\r\n\r\n"
    page = await wire.receive(wire.new(), "htmlfile")
    assert len(page.prelude) >= 1024
    assert b"parent.callback" in page.prelude
    for query in ("", "?c=", "?c=a(b)"):
        answer = await wire.request("GET", f"{wire.new()}/htmlfile{query}")
        assert answer.status == 500
        assert b'"callback" parameter' in answer.body


async def test_14_a_bad_send_is_answered_and_the_session_goes_on(wire: Wire) -> None:
    """Rule 7.14."""
    assert (await wire.request("POST", f"{wire.new()}/xhr_send", b'["a"]')).status == 404
    url = await wire.open()
    for body in (b"", b'["a', b'{"a": 1}', b"5"):
        answer = await wire.request("POST", f"{url}/xhr_send", body)
        assert answer.status == 500
        assert 0 < len(answer.body) < 50
    await wire.send(url, "still here")
    assert await wire.poll(url) == 'a["still here"]'


async def test_15_a_second_receiver_is_told_so_and_a_late_one_the_close() -> None:
    """Rule 7.15: the close code is the true one, also where the close was never delivered."""
    async with mounted(Moody()) as wire:
        url = await wire.open("/ws")
        first = await wire.receive(url, "xhr_streaming")
        second = await wire.receive(url, "xhr")
        assert await second.frame() == BUSY
        await wire.send(url, "2")
        assert await first.frame() == 'a["0","1"]'
        await wire.send(url, "close")
        assert await first.frame() == GO_AWAY
        assert await wire.poll(url) == GO_AWAY
        url = await wire.open("/ws")
        await wire.send(url, "fail")
        assert await wire.poll(url) == 'c[1011,"Internal error"]'


async def test_16_an_idle_receiver_gets_a_heartbeat_which_ends_a_poll(wire: Wire) -> None:
    """Rule 7.16: after 25 seconds, at this endpoint after a tenth of one."""
    assert sockbridge.Options().heartbeat_delay == 25.0
    url = await wire.open("/beat")
    assert await wire.poll(url) == "h"
    stream = await wire.receive(url, "xhr_streaming")
    assert [await stream.frame(), await stream.frame()] == ["h", "h"]


async def test_17_a_session_without_a_receiver_ends_and_its_id_is_free(wire: Wire) -> None:
    """Rule 7.17: ``disconnect_delay`` of this endpoint is 0.2 seconds."""
    begin = asyncio.get_running_loop().time()
    url = await wire.open("/brief")
    await wire.obedient.wait_for("on_closed")
    assert 0.15 < asyncio.get_running_loop().time() - begin < 0.2 * 2 + 0.5  # and what the machine adds
    assert (await wire.request("POST", f"{url}/xhr_send", b'["a"]')).status == 404
    assert await wire.poll(url) == "o"


async def test_18_a_session_belongs_to_the_user_who_opened_it_and_to_any_transport() -> None:
    """Rule 7.18: without a user, only those whom ``authenticate`` lets in ask at all."""

    async def authenticate(request: web.Request) -> str:
        return request.headers.get("X-User", "guest")

    handler = RecordingHandler(echo=True)
    async with mounted(handler, authenticate=authenticate) as wire:
        url = wire.new("/ws")
        alice = {"X-User": "alice"}
        assert (await wire.request("POST", f"{url}/xhr", headers=alice)).body == b"o\n"
        for headers in ({"X-User": "bob"}, {}):
            assert (await wire.request("POST", f"{url}/xhr", headers=headers)).status == 404
            assert (await wire.request("POST", f"{url}/xhr_send", b'["a"]', headers)).status == 404
        assert (await wire.request("POST", f"{url}/xhr_send", b'["mine"]', alice)).status == 204
        connection = await wire.connect()
        await connection.ask("POST", f"{url}/xhr_streaming", headers=alice)
        await connection.head()
        assert await connection.chunk() == b"h" * 2048 + b"\n"
        assert await connection.chunk() == b'a["mine"]\n'


async def test_19_no_message_between_two_polls_is_lost() -> None:
    """Rule 7.19: Spring loses the session, and all that waits, at the 101st."""
    async with mounted(Moody()) as wire:
        url = await wire.open("/ws")
        await wire.send(url, "150")
        received: list[str] = []
        while len(received) < 150:
            received += json.loads((await wire.poll(url))[1:])
        assert received == [str(number) for number in range(150)]


async def test_19_what_does_not_fit_ends_the_session_with_a_code_that_says_so() -> None:
    """Rule 7.19."""
    async with mounted(Moody(), send_buffer_limit=1000) as wire:
        url = await wire.open("/ws")
        await wire.send(url, "5000")
        frame = await wire.poll(url)
        while frame.startswith("a"):
            frame = await wire.poll(url)
        assert json.loads(frame[1:])[0] == 1008


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("v12.stomp, v11.stomp, v10.stomp", "v12.stomp"),
        ("v10.stomp, v11.stomp", "v10.stomp"),
        ("x, v11.stomp", "v11.stomp"),
        ("x", None),
    ],
)
async def test_20_a_plain_websocket_agrees_on_the_client_s_first_protocol(offered: str, chosen: str | None) -> None:
    """Rule 7.20."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": offered,
    }
    async with mounted(stomp_server()) as wire:
        for path in ("/ws", "/ws/websocket"):
            connection = await wire.connect()
            await connection.ask("GET", path, headers=upgrade)
            head = await connection.head()
            assert (head.status, head.headers.get("Sec-WebSocket-Protocol")) == (101, chosen)
        answer = await wire.request("GET", "/ws/websocket", headers={**upgrade, "Sec-WebSocket-Version": "12"})
        assert (answer.status, answer.headers["Sec-WebSocket-Version"]) == (426, "13")
        assert (await wire.request("POST", "/ws/websocket", headers=upgrade)).status == 405
