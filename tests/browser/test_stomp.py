"""The unmodified @stomp/stompjs in Chromium and in Node, on a plain websocket and on sockjs-client with each transport.

Each test is what a front end does, as a script that runs in both; see stomp_client.js.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from aiohttp import web

from sockbridge import stomp
from tests.fakes import serve

from .stomp_clients import FIXTURES, NATIVE, SOCKJS_CARRIERS, Front
from .stomp_site import PASSCODES, StompSite, authenticate

stomp_scripts, stomp_modules, chromium_front, node_front, front, carrier = FIXTURES

pytestmark = pytest.mark.asyncio(loop_scope="session")

on_sockjs = pytest.mark.parametrize("carrier", SOCKJS_CARRIERS)
on_a_plain_websocket = pytest.mark.parametrize("carrier", [NATIVE])

PROTOCOL_ERROR: Final = 1002

ALICE: Final = {"login": "alice", "passcode": PASSCODES["alice"]}
BOB: Final = {"login": "bob", "passcode": PASSCODES["bob"]}


async def drive(site: StompSite, front: Front, carrier: str, script: str, argument: object = None) -> Any:
    """Serve ``site`` and run ``script`` against it; gives what the script returns."""
    async with serve(site.app) as url:
        await front.visit(url)
        return await front.run(carrier, script, argument)


# Coming and going.


async def test_guest_connects_without_login_headers(front: Front, carrier: str) -> None:
    """STOMP 1.2, "Connecting": the highest version that both sides speak; heart-beats are mirrored."""
    result = await drive(StompSite(), front, carrier, "open => open().connect()")
    assert result == {"version": "1.2", "heart-beat": "10000,10000"}


@on_a_plain_websocket
@pytest.mark.parametrize("path", ["", "/websocket"], ids=["at the mounted URL", "at websocket under it"])
async def test_plain_websocket_speaks_the_newest_version_that_the_client_offers(
    front: Front, carrier: str, path: str
) -> None:
    """The client offers v12.stomp, v11.stomp and v10.stomp; without an answer under Node it would give up."""
    script = """async (open, path) => {
        const tab = open({ brokerURL: open.url.replace(/^http/, "ws") + path });
        await tab.connect();
        return tab.client.webSocket.protocol;
    }"""
    assert await drive(StompSite(), front, carrier, script, path) == "v12.stomp"


async def test_user_connects_with_login_headers(front: Front, carrier: str) -> None:
    """STOMP 1.2, "Value Encoding": CONNECT and CONNECTED are not escaped, so the passcode arrives as it was typed."""
    script = "(open, connectHeaders) => open({ connectHeaders, heartbeatIncoming: 0, heartbeatOutgoing: 0 }).connect()"
    result = await drive(StompSite(authenticate), front, carrier, script, ALICE)
    assert result == {"version": "1.2", "heart-beat": "0,0", "user-name": "alice"}


async def test_refused_login_is_told_and_then_the_socket_closes(front: Front, carrier: str) -> None:
    """STOMP 1.2, "ERROR": the server closes right after it; a polling client has to get it all the same."""
    site = StompSite(authenticate)
    script = """(open, logins) => Promise.all(logins.map(async (connectHeaders) => {
        const tab = open({ connectHeaders });
        tab.client.activate();
        return { ...(await tab.ended()), connected: tab.connected };
    }))"""
    refused = {
        "errors": [{"headers": {"message": "wrong name or passcode", "content-length": "0"}, "body": ""}],
        "close": {"code": PROTOCOL_ERROR, "reason": "wrong name or passcode"},
        "connected": [],
    }
    logins = [{"login": "alice", "passcode": "wrong"}, {}]
    assert await drive(site, front, carrier, script, logins) == [refused, refused]
    assert site.witness.connected == []


async def test_deactivate_ends_with_on_disconnect(front: Front, carrier: str) -> None:
    """STOMP 1.2, "DISCONNECT": the receipt is the last thing on the wire, then the client closes."""
    site = StompSite(disconnect_grace=0.01, heart_beat_min_ms=250)
    script = """async (open) => {
        const tab = open({ heartbeatIncoming: 250, heartbeatOutgoing: 250, heartbeatToleranceMultiplier: 20 });
        await tab.connect();
        await tab.subscribe("/topic/greetings");
        await tab.client.deactivate();
        return { receipts: tab.disconnects.length, errors: tab.errors, code: tab.closes[0].code };
    }"""
    async with serve(site.app) as url:
        await front.visit(url)
        assert await front.run(carrier, script) == {"receipts": 1, "errors": [], "code": 1000}
        await site.witness.until(lambda: len(site.witness.closes) == 1)
        assert len(site.server) == 0
    assert [frame.command for frame in site.witness.frames] == ["CONNECT", "SUBSCRIBE", "DISCONNECT"]


async def test_client_that_is_closed_by_the_server_comes_back_and_subscribes_again(front: Front, carrier: str) -> None:
    site = StompSite()
    script = """async (open) => {
        const bodies = [];
        const tab = open({ reconnectDelay: 20 });
        tab.client.onConnect = (frame) => {
            tab.client.subscribe("/topic/news", (message) => tab.note(bodies, message.body));
            tab.note(tab.connected, frame.headers);
        };
        tab.client.activate();
        await tab.until(() => bodies.length >= 1);
        return { bodies, connected: tab.connected.length, closes: tab.closes.slice(0, 1), errors: tab.errors };
    }"""

    async def close_the_first() -> None:
        await site.witness.until(lambda: _subscribers(site) == 1)
        next(site.server.connections).close(3001, "somebody stumbled")
        await site.witness.until(lambda: len(site.witness.closes) == 1 and _subscribers(site) == 1)
        await site.server.messaging.send("/topic/news", "after the second time")

    closing = asyncio.create_task(close_the_first())
    result = await drive(site, front, carrier, script)
    await closing
    assert result == {
        "bodies": ["after the second time"],
        "connected": 2,
        "closes": [{"code": 3001, "reason": "somebody stumbled"}],
        "errors": [],
    }


async def test_client_comes_back_after_the_server_was_started_again(front: Front, carrier: str) -> None:
    """A deployment: the port is silent for a while, and who comes back finds a server that knows nothing of it."""
    before, after = StompSite(), StompSite()
    script = """async (open) => {
        const bodies = [];
        const tab = open({ reconnectDelay: 50 });
        tab.client.onConnect = (frame) => {
            tab.client.subscribe("/topic/news", (message) => tab.note(bodies, message.body));
            tab.note(tab.connected, frame.headers);
        };
        tab.client.activate();
        await tab.until(() => bodies.length >= 2);
        return { bodies, connected: tab.connected.length, code: tab.closes[0].code };
    }"""
    first = web.AppRunner(before.app, access_log=None)
    second = web.AppRunner(after.app, access_log=None)
    await first.setup()
    await second.setup()
    try:
        site = web.TCPSite(first, "127.0.0.1", 0)
        await site.start()
        await front.visit(site.name)
        running = asyncio.create_task(front.run(carrier, script))
        await before.witness.until(lambda: _subscribers(before) == 1)
        await before.server.messaging.send("/topic/news", "one")
        port = site.port
        await first.cleanup()
        assert len(before.server) == 0
        await web.TCPSite(second, "127.0.0.1", port).start()
        await after.witness.until(lambda: _subscribers(after) == 1)
        await after.server.messaging.send("/topic/news", "two")
        result = await running
        assert result.pop("code") in ((1001, 1006) if carrier == "xhr-polling" else (1001,))  # it may be between polls
        assert result == {"bodies": ["one", "two"], "connected": 2}
    finally:
        await first.cleanup()
        await second.cleanup()


def _subscribers(site: StompSite) -> int:
    return sum(len(connection.subscriptions) for connection in site.server.connections)


# Messages.


async def test_json_goes_to_a_controller_and_what_it_returns_comes_back(front: Front, carrier: str) -> None:
    script = """async (open) => {
        const tab = open();
        await tab.connect();
        const inbox = await tab.subscribe("/topic/greetings");
        tab.sendJson("/app/hello", { name: "Zoë" });
        tab.send("/app/hello", JSON.stringify({ name: "nobody in particular" }));
        const [first, second] = await inbox.take(2);
        const { "message-id": id, subscription, ...headers } = first.headers;
        return { body: first.body, headers, second: JSON.parse(second.body), hasId: id.length > 0,
                 isOfSubscription: subscription === inbox.subscription.id };
    }"""
    result = await drive(StompSite(), front, carrier, script)
    assert result == {
        "body": '{"content":"Hello, Zoë!"}',
        "headers": {"destination": "/topic/greetings", "content-type": "application/json", "content-length": "26"},
        "second": {"content": "Hello, nobody in particular!"},
        "hasId": True,
        "isOfSubscription": True,
    }


async def test_each_subscription_gets_its_own_message_until_it_is_unsubscribed(front: Front, carrier: str) -> None:
    script = """async (open) => {
        const tab = open();
        await tab.connect();
        const one = await tab.subscribe("/topic/news");
        const two = await tab.subscribe("/topic/news", { id: "my own: \\\\ id" });
        await tab.publish("/topic/news", "to both");
        await tab.confirm((receipt) => one.subscription.unsubscribe(receipt));
        await tab.publish("/topic/news", "to the second");
        two.subscription.unsubscribe();
        await tab.publish("/topic/news", "to nobody");
        return { one: one.bodies, two: two.bodies, unhandled: tab.unhandled };
    }"""
    result = await drive(StompSite(), front, carrier, script)
    assert result == {"one": ["to both"], "two": ["to both", "to the second"], "unhandled": []}


async def test_subscribing_to_the_application_is_answered_once(front: Front, carrier: str) -> None:
    script = """async (open) => {
        const tab = open();
        await tab.connect();
        const inbox = await tab.subscribe("/app/rooms/42");
        await tab.publish("/app/rooms/42", "nobody serves a SEND here").catch(() => {});
        return inbox.messages.map((message) => [message.headers.destination, message.body]);
    }"""
    assert await drive(StompSite(), front, carrier, script) == [["/app/rooms/42", '{"room":42}']]


async def test_a_thousand_messages_arrive_in_the_order_in_which_they_were_sent(front: Front, carrier: str) -> None:
    script = """async (open) => {
        const tab = open();
        await tab.connect();
        const inbox = await tab.subscribe("/topic/numbers");
        for (let number = 0; number < 1000; number += 1) {
            tab.send("/topic/numbers", String(number));
        }
        await inbox.take(1000);
        return inbox.bodies.every((body, index) => body === String(index));
    }"""
    assert await drive(StompSite(), front, carrier, script)


async def test_receipt_comes_for_every_frame_that_asks(front: Front, carrier: str) -> None:
    """STOMP 1.2, "RECEIPT"; the id comes back as it was, whatever it holds."""
    script = """async (open, receipt) => {
        const tab = open();
        await tab.connect();
        const seen = [];
        const watch = (id) => tab.client.watchForReceipt(id, (frame) => tab.note(seen, frame.headers["receipt-id"]));
        ["begin", "send", "subscribe", "unsubscribe", "commit", receipt].forEach(watch);
        const subscription = tab.client.subscribe("/topic/x", () => {}, { receipt: "subscribe" });
        tab.client.publish({ destination: "/topic/x", body: "x", headers: { receipt: "send" } });
        subscription.unsubscribe({ receipt: "unsubscribe" });
        tab.client.publish({ destination: "/app/me", body: "x", headers: { receipt } });
        await tab.until(() => seen.length === 4 || tab.errors.length);
        return { seen, errors: tab.errors };
    }"""
    receipt = "a:b\\d\ne, f"
    result = await drive(StompSite(authenticate=_as_alice), front, carrier, script, receipt)
    assert result == {"seen": ["subscribe", "send", "unsubscribe", receipt], "errors": []}


async def _as_alice(login: stomp.Login) -> stomp.User:
    return stomp.User("alice")


async def test_committed_transaction_is_published_in_order_and_an_aborted_one_is_not(
    front: Front, carrier: str
) -> None:
    """STOMP 1.2, "BEGIN", "COMMIT", "ABORT"."""
    script = """async (open) => {
        const tab = open();
        await tab.connect();
        const inbox = await tab.subscribe("/topic/orders");
        const kept = tab.client.begin();
        const dropped = tab.client.begin("my: transaction");
        tab.send("/topic/orders", "first", { transaction: kept.id });
        tab.send("/topic/orders", "never", { transaction: dropped.id });
        tab.send("/topic/orders", "second", { transaction: kept.id });
        await tab.publish("/topic/orders", "outside");
        const before = inbox.bodies;
        dropped.abort();
        kept.commit();
        await tab.publish("/topic/orders", "afterwards");
        return { before, after: inbox.bodies };
    }"""
    result = await drive(StompSite(), front, carrier, script)
    assert result == {"before": ["outside"], "after": ["outside", "first", "second", "afterwards"]}


async def test_messages_are_acknowledged(front: Front, carrier: str) -> None:
    """STOMP 1.2, "ACK": its id is the ``ack`` header of the MESSAGE."""
    site = StompSite()
    script = """async (open) => {
        const tab = open();
        await tab.connect();
        const inbox = await tab.subscribe("/topic/tasks", { ack: "client" });
        const other = await tab.subscribe("/topic/tasks", { ack: "client-individual" });
        ["one", "two", "three"].forEach((body) => tab.send("/topic/tasks", body));
        const [messages, others] = [await inbox.take(3), await other.take(3)];
        await tab.confirm((receipt) => messages[1].ack(receipt));
        await tab.confirm((receipt) => messages[2].nack(receipt));
        await tab.confirm((receipt) => others[2].ack(receipt));
        await tab.confirm((receipt) => others[0].nack(receipt));
        return { acks: [...messages, ...others].map((message) => message.headers.ack), errors: tab.errors };
    }"""
    result = await drive(site, front, carrier, script)
    acks = result["acks"]
    assert result["errors"] == []
    assert len(set(acks)) == 6
    assert [(frame.command, frame.headers["id"]) for frame in site.witness.frames if frame.command.endswith("ACK")] == [
        ("ACK", acks[1]),
        ("NACK", acks[2]),
        ("ACK", acks[5]),
        ("NACK", acks[3]),
    ]


async def test_acknowledging_without_being_asked_does_no_harm(front: Front, carrier: str) -> None:
    """With ``ack:auto`` a MESSAGE has no ``ack`` header; pages call ``message.ack()`` all the same."""
    script = """async (open) => {
        const tab = open();
        await tab.connect();
        const inbox = await tab.subscribe("/topic/tasks");
        tab.send("/topic/tasks", "one");
        (await inbox.next()).ack();
        await tab.publish("/topic/tasks", "two");
        return inbox.bodies;
    }"""
    assert await drive(StompSite(), front, carrier, script) == ["one", "two"]


# Users.


async def test_two_tabs_of_one_user_share_what_is_sent_to_the_user(front: Front, carrier: str) -> None:
    script = """async (open, [alice, bob]) => {
        const tabs = [alice, alice, bob].map((connectHeaders) => open({ connectHeaders }));
        await Promise.all(tabs.map((tab) => tab.connect()));
        const inboxes = await Promise.all(tabs.map((tab) => tab.subscribe("/user/queue/me")));
        await tabs[0].publish("/app/me", "to all of mine");
        await tabs[1].publish("/app/tab", "to this one");
        await tabs[2].publish("/app/me", "hello");
        await Promise.all([inboxes[0].take(1), inboxes[1].take(2), inboxes[2].take(1)]);
        return inboxes.map((inbox) => inbox.messages.map((one) => [one.headers.destination, one.body]));
    }"""
    result = await drive(StompSite(authenticate), front, carrier, script, [ALICE, BOB])
    assert result == [
        [["/user/queue/me", "alice: to all of mine"]],
        [["/user/queue/me", "alice: to all of mine"], ["/user/queue/me", "this tab: to this one"]],
        [["/user/queue/me", "bob: hello"]],
    ]


async def test_error_of_a_controller_is_told_to_the_one_who_asked(front: Front, carrier: str) -> None:
    script = """async (open) => {
        const [tab, other] = [open(), open()];
        await Promise.all([tab.connect(), other.connect()]);
        const inbox = await tab.subscribe("/user/queue/errors");
        const others = await other.subscribe("/user/queue/errors");
        tab.send("/app/trouble", "with colons: here");
        const message = await inbox.next();
        await other.publish("/topic/x");
        return { body: message.body, others: others.bodies, errors: tab.errors };
    }"""
    result = await drive(StompSite(), front, carrier, script)
    assert result == {"body": "sorry: with colons: here", "others": [], "errors": []}


# What is not allowed, or not there.


async def test_refused_destination_is_told_with_the_receipt_and_then_the_socket_closes(
    front: Front, carrier: str
) -> None:
    policy = [stomp.Rule.connect(stomp.EVERYBODY), stomp.Rule.subscribe("/topic/**", stomp.EVERYBODY)]
    script = """async (open) => {
        const [tab, other] = [open(), open()];
        await Promise.all([tab.connect(), other.connect()]);
        const inbox = await other.subscribe("/topic/x");
        tab.send("/topic/x", "not allowed", { receipt: "r:1" });
        const ended = await tab.ended();
        await other.subscribe("/topic/y");
        return { ...ended, others: inbox.bodies };
    }"""
    result = await drive(StompSite(policy=policy), front, carrier, script)
    [error] = result["errors"]
    assert error["headers"]["message"] == "sending to this destination is not allowed"
    assert error["headers"]["receipt-id"] == "r:1"
    assert result["close"]["code"] == PROTOCOL_ERROR
    assert result["others"] == []


async def test_destination_that_nobody_serves_is_told_only_to_who_wants_a_receipt(front: Front, carrier: str) -> None:
    script = """async (open) => {
        const tab = open();
        await tab.connect();
        tab.send("/app/nobody", "no receipt");
        await tab.publish("/topic/x");
        const wasFine = tab.errors.length === 0;
        tab.send("/app/nobody", "please", { receipt: "now" });
        return { wasFine, ...(await tab.ended()) };
    }"""
    result = await drive(StompSite(), front, carrier, script)
    assert result["wasFine"]
    assert [error["headers"]["receipt-id"] for error in result["errors"]] == ["now"]
    assert result["close"]["code"] == PROTOCOL_ERROR


async def test_body_above_the_limit_is_answered_with_the_limit(front: Front, carrier: str) -> None:
    """STOMP 1.2, "Size Limits"."""
    script = """async (open) => {
        const tab = open();
        await tab.connect();
        tab.send("/topic/x", "x".repeat(1001));
        return tab.ended();
    }"""
    result = await drive(StompSite(max_body_size=1000), front, carrier, script)
    [error] = result["errors"]
    assert (error["headers"]["message"], error["body"]) == ("body too long", "the limit is 1000 bytes")
    assert result["close"]["code"] == PROTOCOL_ERROR


# Heart-beats. One test for all carriers, since it takes its time.


@pytest.mark.slow
@pytest.mark.parametrize("carrier", [NATIVE])
async def test_heart_beats_of_a_second_keep_every_connection(front: Front, carrier: str) -> None:
    """STOMP 1.2, "Heart-beating": whoever is silent for two intervals is given up, here by both sides."""
    site = StompSite()
    script = """async (open, carriers) => {
        const settings = { heartbeatIncoming: 1000, heartbeatOutgoing: 1000, heartbeatToleranceMultiplier: 1.5 };
        const tabs = carriers.map((carrier) => open(settings, carrier));
        const connected = await Promise.all(tabs.map((tab) => tab.connect()));
        const inboxes = await Promise.all(tabs.map((tab) => tab.subscribe("/topic/x")));
        await Promise.all(tabs.map((tab) => tab.until(() => tab.beats >= 5)));
        await tabs[0].publish("/topic/x", "still there");
        await Promise.all(inboxes.map((inbox) => inbox.next()));
        return tabs.map((tab, index) => [
            connected[index]["heart-beat"], tab.closes.length, tab.errors.length, tab.lost,
        ]);
    }"""
    result = await drive(site, front, carrier, script, [NATIVE, *SOCKJS_CARRIERS])
    assert result == [["1000,1000", 0, 0, 0]] * 4
    assert len(site.witness.of("SEND")) == 1


# Bodies.

EMOJI: Final = "\U0001f600"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 60 * 1024, id="60 KiB"),
        pytest.param(EMOJI * 256 * 1024, id="1 MiB of emoji"),
    ],
)
async def test_large_body_comes_back(front: Front, carrier: str, text: str) -> None:
    assert await drive(StompSite(), front, carrier, _ECHO, {"text": text}) is None


_ECHO: Final = """async (open, { text, settings }) => {
    const tab = open(settings || {});
    await tab.connect();
    const inbox = await tab.subscribe("/topic/echo");
    tab.send("/topic/echo", text);
    return difference(text, (await inbox.next()).body);
}"""


@pytest.mark.parametrize("offset", [0, 1])
@on_sockjs
async def test_body_that_is_split_in_the_middle_of_a_character_comes_back(
    front: Front, carrier: str, offset: int
) -> None:
    """``splitLargeFrames`` cuts at 8192 UTF-16 units; SockJS delivers the halves of a character one by one."""
    argument = {"text": "x" * offset + EMOJI * 40_000, "settings": {"splitLargeFrames": True}}
    assert await drive(StompSite(), front, carrier, _ECHO, argument) is None


@pytest.mark.parametrize("text", ["x" * 100_000, "\u00e4\u65e5" * 40_000], ids=["ascii", "basic plane"])
@on_a_plain_websocket
async def test_split_body_comes_back_where_no_character_is_cut(front: Front, carrier: str, text: str) -> None:
    argument = {"text": text, "settings": {"splitLargeFrames": True}}
    assert await drive(StompSite(), front, carrier, _ECHO, argument) is None


@on_a_plain_websocket
async def test_body_that_is_split_within_a_character_is_refused_and_not_garbled(front: Front, carrier: str) -> None:
    """A browser turns half a character into U+FFFD before it sends it, so ``content-length`` is wrong: of two cuts
    one unit apart one goes through a pair."""
    site = StompSite()
    script = """async (open, emoji) => {
        const results = [];
        for (const offset of ["", "x"]) {
            const tab = open({ splitLargeFrames: true });
            await tab.connect();
            const inbox = await tab.subscribe("/topic/echo");
            tab.send("/topic/echo", offset + emoji);
            await tab.until(() => inbox.messages.length > 0 || tab.closes.length > 0);
            results.push(inbox.bodies.length ? inbox.bodies[0] === offset + emoji : tab.errors[0].headers.message);
            await tab.client.deactivate();
        }
        return results;
    }"""
    result = await drive(site, front, carrier, script, EMOJI * 5000)
    assert sorted(result, key=str) == [True, "no NUL after the body"]


async def test_odd_bodies_come_back(front: Front, carrier: str) -> None:
    """STOMP 1.2, "Body": with ``content-length`` it may hold anything, NUL included."""
    script = """async (open, texts) => {
        const tab = open();
        await tab.connect();
        const inbox = await tab.subscribe("/topic/echo");
        texts.forEach((text) => tab.send("/topic/echo", text));
        await inbox.take(texts.length);
        return inbox.bodies.map((body, index) => difference(texts[index], body)).filter((found) => found !== null);
    }"""
    assert await drive(StompSite(), front, carrier, script, ODD_TEXTS) == []


ODD_TEXTS: Final = [
    "",
    "a\0b\0",
    "\0",
    "\n\0\n\n",
    "\u2028\u2029\x85",
    "\r\n\ttabs \x01\x1f\x7f",
    '"\\" </script> %00 %u2028',
    "MESSAGE\nsubscription:x\n\nnot a frame",
    "\U0001f469\u200d\U0001f467 e\u0301 \U0010ffff",
]


async def test_headers_arrive_as_they_were_written(front: Front, carrier: str) -> None:
    """STOMP 1.2, "Value Encoding": colons, backslashes, line feeds and carriage returns are escaped both ways.

    The client replaces escapes one kind after the other, so it reads a backslash before n, r or c wrongly; such a
    value is compared as the server got it.
    """
    site = StompSite()
    script = """async (open, headers) => {
        const tab = open();
        await tab.connect();
        const inbox = await tab.subscribe("/topic/echo");
        tab.send("/topic/echo", "x", headers);
        const received = (await inbox.next()).headers;
        return Object.fromEntries(Object.keys(headers).map((name) => [name, received[name]]));
    }"""
    sent = {
        "colons": "http://example.org:80/?a=b:c",
        "backslashes": "a\\b\\\\d\\",
        "lines": "one\ntwo\r\nthree",
        "letters": "äöü 日本 \U0001f600 \u2028 a",
        "empty": "",
        "x-y_z.1": "name",
    }
    hard = {"path": "C:\\new\\code\\readme"}
    result = await drive(site, front, carrier, script, sent | hard)
    assert {name: result[name] for name in sent} == sent
    [frame] = site.witness.of("SEND")
    assert {name: frame.headers[name] for name in sent | hard} == sent | hard


# Octets.


@on_a_plain_websocket
async def test_client_that_talks_in_binary_is_answered_in_binary(front: Front, carrier: str) -> None:
    script = """async (open, text) => {
        const kinds = [];
        const tab = open({
            forceBinaryWSFrames: true,
            webSocketFactory: () => {
                const socket = new open.libraries.WebSocket(open.url.replace(/^http/, "ws"), ["v12.stomp"]);
                socket.addEventListener("message", (event) => kinds.push(typeof event.data));
                return socket;
            },
        });
        await tab.connect();
        const inbox = await tab.subscribe("/topic/echo");
        tab.send("/topic/echo", text);
        return { difference: difference(text, (await inbox.next()).body), kinds: [...new Set(kinds)] };
    }"""
    result = await drive(StompSite(), front, carrier, script, "Grüße\0" + EMOJI * 9000)
    assert result == {"difference": None, "kinds": ["object"]}


@on_a_plain_websocket
async def test_octets_that_are_no_text_come_back(front: Front, carrier: str) -> None:
    script = """async (open, octets) => {
        const tab = open();
        await tab.connect();
        const inbox = await tab.subscribe("/topic/echo");
        const headers = { "content-type": "application/octet-stream" };
        tab.client.publish({ destination: "/topic/echo", binaryBody: Uint8Array.from(octets), headers });
        const message = await inbox.next();
        return { octets: [...message.binaryBody], type: message.headers["content-type"] };
    }"""
    octets = [*range(256), 0xFF, 0xFE, 0, 10, 0]
    result = await drive(StompSite(), front, carrier, script, octets)
    assert result == {"octets": octets, "type": "application/octet-stream"}


async def test_octets_of_the_application_never_end_a_connection(front: Front, carrier: str) -> None:
    """SockJS carries text: octets that are text arrive there, others are left out and counted."""
    site = StompSite()
    script = """async (open) => {
        const tab = open();
        await tab.connect();
        const inbox = await tab.subscribe("/topic/octets");
        tab.sendJson("/app/octets", [...new TextEncoder().encode("text, by chance: ä")]);
        tab.sendJson("/app/octets", [255, 254, 0, 128]);
        await tab.publish("/topic/octets", "and on it goes");
        return inbox.messages.map((message) => [...message.binaryBody]);
    }"""
    result = await drive(site, front, carrier, script)
    text, octets, last = ([*"text, by chance: ä".encode()], [255, 254, 0, 128], [*b"and on it goes"])
    assert result == ([text, octets, last] if carrier == NATIVE else [text, last])
    assert site.server.counters.undelivered == (0 if carrier == NATIVE else 1)


@on_sockjs
async def test_octets_of_a_client_on_sockjs_are_refused_with_the_reason(front: Front, carrier: str) -> None:
    """sockjs-client sends ``[object ArrayBuffer]`` instead, so nothing can be saved; others are not disturbed."""
    script = """async (open) => {
        const [tab, other] = [open(), open()];
        await Promise.all([tab.connect(), other.connect()]);
        tab.client.publish({ destination: "/topic/echo", binaryBody: Uint8Array.from([1, 2, 3]) });
        const ended = await tab.ended();
        await other.publish("/topic/x");
        return ended;
    }"""
    result = await drive(StompSite(), front, carrier, script)
    [error] = result["errors"]
    assert error["headers"]["message"] == "unknown command"
    assert "SockJS carries text" in error["body"]
    assert result["close"]["code"] == PROTOCOL_ERROR


async def test_client_that_appends_nuls_to_what_comes_in_gets_every_message(front: Front, carrier: str) -> None:
    """``appendMissingNULLonIncoming``, for React Native: one whole frame per message, or the rest is lost."""
    script = """async (open) => {
        const heartBeats = { heartbeatIncoming: 100, heartbeatOutgoing: 100, heartbeatToleranceMultiplier: 50 };
        const tab = open({ appendMissingNULLonIncoming: true, ...heartBeats });
        await tab.connect();
        const inbox = await tab.subscribe("/topic/echo");
        await tab.until(() => tab.beats >= 2);
        const bodies = Array.from({ length: 50 }, (_, index) => `${index}`.repeat(index));
        bodies.forEach((body) => tab.send("/topic/echo", body));
        await inbox.take(bodies.length);
        return bodies.filter((body, index) => body !== inbox.bodies[index]);
    }"""
    assert await drive(StompSite(heart_beat_min_ms=100, heart_beat_tolerance=50), front, carrier, script) == []
