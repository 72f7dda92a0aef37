"""Clients that pages in the field still load: webstomp-client 1.2.6 and stomp.js 2.3.3, in Chromium and in Node.

Neither escapes or unescapes headers, both cut what they send at 16384 UTF-16 units, and say goodbye without waiting.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.fakes import serve

from .stomp_clients import FIXTURES, NATIVE, SOCKJS_CARRIERS, Front
from .stomp_site import PASSCODES, StompSite, authenticate

stomp_scripts, stomp_modules, chromium_front, node_front, front, carrier = FIXTURES

pytestmark = pytest.mark.asyncio(loop_scope="session")

WEBSTOMP: Final = "webstomp"
STOMP_JS: Final = "stomp.js"

EMOJI: Final = "\U0001f600"


@pytest.fixture(params=[WEBSTOMP, STOMP_JS])
def library(request: pytest.FixtureRequest) -> str:
    """Each test is for both clients."""
    name: str = request.param
    return name


async def drive(site: StompSite, front: Front, carrier: str, library: str, script: str, argument: object = None) -> Any:
    """Serve ``site`` and run ``script`` against it; gives what the script returns."""
    async with serve(site.app) as url:
        await front.visit(url)
        return await front.run(carrier, script, argument, library=library)


async def test_user_logs_in_and_talks_to_a_controller(front: Front, carrier: str, library: str) -> None:
    """webstomp asks for the version of the subprotocol (of those it offers, 1.0 stands first), or for 1.2; stomp.js
    for 1.1 and 1.0."""
    script = """async (open, headers) => {
        const tab = open.old();
        const connected = await tab.connect(headers);
        const inbox = await tab.subscribe("/topic/greetings");
        tab.send("/app/hello", JSON.stringify({ name: "Zoë" }), { "content-type": "application/json" });
        return { version: connected.version, user: connected["user-name"], body: (await inbox.next()).body };
    }"""
    login = {"login": "alice", "passcode": PASSCODES["alice"]}
    result = await drive(StompSite(authenticate), front, carrier, library, script, login)
    version = "1.1" if library == STOMP_JS else "1.0" if carrier == NATIVE else "1.2"
    assert result == {"version": version, "user": "alice", "body": '{"content":"Hello, Zoë!"}'}


async def test_refused_login_reaches_the_error_callback_and_then_the_socket_closes(
    front: Front, carrier: str, library: str
) -> None:
    script = """async (open) => {
        const tab = open.old();
        tab.start({ login: "alice", passcode: "wrong" });
        await tab.until(() => tab.closes > 0);
        return tab.errors.map((error) => error.headers.message);
    }"""
    result = await drive(StompSite(authenticate), front, carrier, library, script)
    assert result == ["wrong name or passcode"]


async def test_disconnect_without_a_receipt_leaves_nothing_behind(front: Front, carrier: str, library: str) -> None:
    """They close the socket right after DISCONNECT, whose answer nobody would read. A browser may not even send it
    where it takes a request of its own; then the polls that stay away end the session."""
    site = StompSite(mount={"disconnect_delay": 1.0})
    script = """async (open) => {
        const tab = open.old();
        await tab.connect();
        await tab.subscribe("/topic/x");
        return new Promise((resolve) => tab.client.disconnect(() => resolve(tab.errors.length)));
    }"""
    async with serve(site.app) as url:
        await front.visit(url)
        assert await front.run(carrier, script, library=library) == 0
        await site.witness.until(lambda: len(site.witness.closes) == 1)
        assert len(site.server) == 0
        assert site.server.counters.faults == 0


async def test_names_that_the_client_does_not_escape_come_back_as_it_wrote_them(
    front: Front, carrier: str, library: str
) -> None:
    """Ids and receipts are found by what the client wrote. Other headers with a colon come back escaped, as STOMP 1.1
    and 1.2 want it ("Value Encoding"), and the client shows the escape; webstomp speaks 1.0 on a plain websocket."""
    site = StompSite()
    script = """async (open) => {
        const tab = open.old();
        await tab.connect();
        const inbox = await tab.subscribe("/topic/echo", { id: "room:4:2" });
        const other = await tab.subscribe("/topic/other", { id: "plain, but: long" });
        await tab.confirm("receipt: 1", (receipt) => {
            tab.send("/topic/echo", "x", { url: "http://example.org:80", ...receipt });
        });
        const { subscription, url } = (await inbox.next()).headers;
        inbox.subscription.unsubscribe();
        tab.send("/topic/echo", "to nobody");
        tab.send("/topic/other", "y");
        return { subscription, url, other: (await other.next()).body, count: inbox.messages.length };
    }"""
    result = await drive(site, front, carrier, library, script)
    url = "http://example.org:80"
    shown = url if library == WEBSTOMP and carrier == NATIVE else url.replace(":", "\\c")
    assert result == {"subscription": "room:4:2", "url": shown, "other": "y", "count": 1}
    assert site.witness.of("SEND")[0].headers["url"] == url


async def test_two_subscriptions_transactions_and_acknowledgements(front: Front, carrier: str, library: str) -> None:
    """stomp.js acknowledges by ``message-id`` and ``subscription``, as 1.1 has it; webstomp by the ``ack`` header."""
    site = StompSite()
    script = """async (open) => {
        const tab = open.old();
        await tab.connect();
        const automatic = await tab.subscribe("/topic/orders", { id: "one" });
        const acking = await tab.subscribe("/topic/orders", { id: "two", ack: "client" });
        const [kept, dropped] = [tab.client.begin("kept"), tab.client.begin("dropped")];
        tab.send("/topic/orders", "first", { transaction: "kept" });
        tab.send("/topic/orders", "never", { transaction: "dropped" });
        tab.send("/topic/orders", "second", { transaction: "kept" });
        dropped.abort();
        kept.commit();
        const messages = await acking.take(2);
        await tab.confirm("acked", (receipt) => messages[0].ack(receipt));
        await tab.confirm("nacked", (receipt) => messages[1].nack(receipt));
        await automatic.take(2);
        return [automatic.bodies, acking.bodies, tab.errors];
    }"""
    result = await drive(site, front, carrier, library, script)
    assert result == [["first", "second"], ["first", "second"], []]
    assert [frame.command for frame in site.witness.frames if frame.command.endswith("ACK")] == ["ACK", "NACK"]


@pytest.mark.parametrize("carrier", SOCKJS_CARRIERS)
async def test_large_body_that_is_cut_within_a_character_comes_back(front: Front, carrier: str, library: str) -> None:
    script = """async (open, texts) => {
        const tab = open.old();
        await tab.connect();
        const inbox = await tab.subscribe("/topic/echo");
        texts.forEach((text) => tab.send("/topic/echo", text));
        await inbox.take(texts.length);
        return texts.map((text, index) => difference(text, inbox.bodies[index]));
    }"""
    texts = ["x" * 60 * 1024, EMOJI * 30_000, "x" + EMOJI * 30_000, "grün\u2028" * 9000]
    assert await drive(StompSite(), front, carrier, library, script, texts) == [None] * len(texts)


@pytest.mark.slow
@pytest.mark.parametrize("carrier", [NATIVE])
async def test_heart_beats_of_a_second_keep_every_connection(front: Front, carrier: str) -> None:
    """STOMP 1.2, "Heart-beating". One test for both clients and all carriers, since it takes its time.

    On a plain websocket webstomp speaks 1.0, which has no heart-beats: it asks for them, and then sends none.
    """
    script = """async (open, pairs) => {
        const heartbeat = { incoming: 1000, outgoing: 1000 };
        const tabs = pairs.map(([library, carrier]) => open.old({ heartbeat }, carrier, library));
        const connected = await Promise.all(tabs.map((tab) => tab.connect()));
        const beating = tabs.filter((tab, index) => connected[index].version !== "1.0");
        await Promise.all(beating.map((tab) => tab.until(() => tab.beats >= 5)));
        const inboxes = await Promise.all(tabs.map((tab) => tab.subscribe("/topic/x")));
        tabs[0].send("/topic/x", "still there");
        await Promise.all(inboxes.map((inbox) => inbox.next()));
        return tabs.map((tab, index) => [connected[index]["heart-beat"], tab.errors.length, tab.closes]);
    }"""
    pairs = [[library, each] for each in (NATIVE, *SOCKJS_CARRIERS) for library in (WEBSTOMP, STOMP_JS)]
    result = await drive(StompSite(), front, carrier, "", script, pairs)
    expected = [["0,0" if pair == [WEBSTOMP, NATIVE] else "1000,1000", 0, 0] for pair in pairs]
    assert result == expected
