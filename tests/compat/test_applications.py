"""Applications in the style of the package ``sockjs`` behave alike on it and on ours, event by event."""

from __future__ import annotations

import pytest

from tests.transports.wire import ALL, HTTP, POLLING, SOCKETS, Client, fetch

from .applications import chat, closing, echo, failing, handshake, several, state
from .stage import FOREIGN_WARNINGS, Record, leave, play_both

pytestmark = FOREIGN_WARNINGS

FRAMED = (*HTTP, "websocket")


@pytest.mark.parametrize("name", ALL)
async def test_an_echo_sends_everything_back_and_hears_of_the_end(name: str) -> None:
    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/sockjs", name).connect()
        await client.send("one", "two\n\u2028 \U0001f600 </script> ä")
        record.seen += await client.messages(2)
        await client.send("three")
        record.seen += await client.messages()
        await leave(client)

    theirs, ours = await play_both(echo.make_app, scene)
    assert ours.seen == theirs.seen == ["one", "two\n\u2028 \U0001f600 </script> ä", "three"]
    assert ours.told_by(name) == theirs.told_by(name)
    end = ["CLOSE", "CLOSED"] if name in SOCKETS else ["CLOSED"]
    assert [kind for kind, _ in ours.told_by(name)[0]] == ["OPEN", *["MESSAGE"] * 3, *end]


@pytest.mark.parametrize("name", FRAMED)
async def test_a_chat_reaches_everybody_and_a_whisper_the_others(name: str) -> None:
    async def scene(base: str, record: Record) -> None:
        first = await Client(f"{base}/sockjs", name).connect()
        second = await Client(f"{base}/sockjs", "xhr_streaming").connect()
        record.seen.append(await first.messages(2))
        await second.send("hello")
        await first.send("psst")
        record.seen += [await first.messages(), await second.messages(3)]
        await leave(first)
        await leave(second)

    theirs, ours = await play_both(chat.make_app, scene)
    assert ours.seen == theirs.seen == [["A guest has come"] * 2, ["hello"], ["A guest has come", "hello", "psst"]]
    assert ours.told_by(name, "xhr_streaming") == theirs.told_by(name, "xhr_streaming")


@pytest.mark.parametrize("name", FRAMED)
async def test_a_session_that_is_closed_where_it_opens_hears_why(name: str) -> None:
    async def scene(base: str, record: Record) -> None:
        client = Client(f"{base}/refuse", name)
        if name in POLLING:  # their polls lose what was sent before the close: test_differences
            await client.begin()
            record.seen.append(await client.frame())
        else:
            await client.begin()
            record.seen += [await client.frame() for _ in range(3)]
        await client.close()

    theirs, ours = await play_both(closing.make_app, scene)
    assert ours.seen == theirs.seen == ["o", 'a["not now"]', 'c[3000,"Go away!"]'][: len(ours.seen)]
    assert ours.told == theirs.told == [[("OPEN", None), ("CLOSED", None)]]


@pytest.mark.parametrize("name", [name for name in FRAMED if name not in POLLING])
async def test_a_session_that_is_closed_on_demand_hears_the_last_words_and_the_code(name: str) -> None:
    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/obey", name).connect()
        await client.send("as you like")
        record.seen += [await client.frame(), await client.frame()]
        await client.close()

    theirs, ours = await play_both(closing.make_app, scene)
    assert ours.seen == theirs.seen == ['a["goodbye"]', 'c[4001,"as you like"]']
    assert ours.told == theirs.told == [[("OPEN", None), ("MESSAGE", "as you like"), ("CLOSED", None)]]


@pytest.mark.parametrize("name", ALL)
async def test_state_is_kept_by_the_id_of_the_session(name: str) -> None:
    async def scene(base: str, record: Record) -> None:
        first, second = [await Client(f"{base}/shop", name).connect() for _ in range(2)]
        await first.send("bread", "milk")
        await second.send("ink")
        record.seen += [*await first.messages(2), *await second.messages()]
        record.seen.append((await fetch(f"{base}/count"))[1])
        await leave(first)
        await leave(second)

    theirs, ours = await play_both(state.make_app, scene)
    assert ours.seen == theirs.seen == ['[1, ["bread"]]', '[2, ["bread", "milk"]]', '[1, ["ink"]]', b"2"]
    assert ours.told_by(name, name) == theirs.told_by(name, name)


@pytest.mark.parametrize("name", ALL)
async def test_the_first_request_says_who_has_come(name: str) -> None:
    async def scene(base: str, record: Record) -> None:
        headers = {"X-Fact": "blue", "Cookie": "other=1; key=key-2"}
        client = await Client(f"{base}/welcome", name, headers=headers).connect()
        record.seen += await client.messages()
        await leave(client)

    theirs, ours = await play_both(handshake.make_app, scene)
    assert ours.seen == theirs.seen == ['["Hello", "Grace", "blue", "127.0.0.1", "-", "/welcome/"]']
    assert ours.told_by(name) == theirs.told_by(name)


@pytest.mark.parametrize("name", [name for name in FRAMED if name not in POLLING])
async def test_who_is_not_recognized_is_sent_away(name: str) -> None:
    async def scene(base: str, record: Record) -> None:
        client = Client(f"{base}/welcome", name, headers={"X-Fact": "red"})
        await client.begin()
        record.seen += [await client.frame() for _ in range(3)]
        await client.close()

    theirs, ours = await play_both(handshake.make_app, scene)
    assert ours.seen == theirs.seen
    assert ours.seen[2] == 'c[4401,"Who are you?"]'
    assert ours.told == theirs.told == [[("OPEN", None), ("CLOSED", None)]]


async def test_several_endpoints_have_their_own_sessions_handlers_and_transports() -> None:
    async def scene(base: str, record: Record) -> None:
        news = await Client(f"{base}/news", "websocket").connect()
        shout = await Client(f"{base}/shout", "xhr_streaming").connect()
        counting = await Client(f"{base}/counting", "xhr").connect()
        await fetch(f"{base}/publish", "POST", b"it rains")
        await shout.send("loud")
        await counting.send("a", "b")
        record.seen += [await news.messages(2), await shout.messages(), await counting.messages(2)]
        record.seen.append(
            [(await fetch(f"{base}/shout/1/2/{name}?c=x"))[0].status for name in ("htmlfile", "websocket")]
        )
        for client in (news, shout, counting):
            await leave(client)

    theirs, ours = await play_both(several.make_app, scene)
    assert ours.seen == theirs.seen
    assert ours.seen == [["welcome to news", "it rains"], ["LOUD"], ["1. a", "2. b"], [404, 404]]
    names = ("websocket", "xhr_streaming", "xhr")
    assert ours.told_by(*names) == theirs.told_by(*names)


@pytest.mark.parametrize("name", ALL)
async def test_a_fault_at_a_message_is_logged_and_the_session_goes_on(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/divide", name).connect()
        await client.send("0", "many", "6")
        record.seen += await client.messages()
        await leave(client)

    theirs, ours = await play_both(failing.make_app, scene)
    assert ours.seen == theirs.seen == ["10"]
    assert ours.told_by(name) == theirs.told_by(name)
    logged = [record for record in caplog.records if record.name == "sockbridge.compat"]
    assert [record.exc_info[0] for record in logged if record.exc_info] == [ZeroDivisionError, ValueError]
    assert "secret" not in caplog.text.partition("sockbridge.compat")[2]


@pytest.mark.parametrize("name", [name for name in FRAMED if name not in POLLING])
async def test_a_fault_where_a_session_opens_ends_it(name: str) -> None:
    async def scene(base: str, record: Record) -> None:
        client = Client(f"{base}/open", name)
        await client.begin()
        record.seen += [await client.frame(), await client.frame()]
        await client.close()

    theirs, ours = await play_both(failing.make_app, scene)
    assert ours.seen == theirs.seen == ["o", 'c[3000,"Internal error"]']
    assert ours.told == theirs.told == [[("OPEN", None), ("CLOSED", None)]]
