"""``cors_config`` with the package ``aiohttp_cors``: the pages that may read answers are the same."""

from __future__ import annotations

import pytest

from tests.needs import absent
from tests.transports.wire import Client, fetch

from .stage import FOREIGN_WARNINGS, Record, play_both

try:
    from .applications import cors
except ImportError:
    absent("aiohttp_cors is not installed (pip install aiohttp-cors)")

pytestmark = FOREIGN_WARNINGS

FRIEND = {"Origin": "https://friend.example"}
STRANGER = {"Origin": "https://stranger.example"}
ALLOW = "Access-Control-Allow-Origin"
CREDENTIALS = "Access-Control-Allow-Credentials"


@pytest.mark.parametrize("name", ["xhr", "xhr_streaming", "eventsource"])
async def test_a_page_of_an_allowed_origin_may_read(name: str) -> None:
    async def scene(base: str, record: Record) -> None:
        client = await Client(f"{base}/sockjs", name, headers=FRIEND).connect()
        head, _ = await client.post(b'["hello"]', headers=FRIEND)
        record.seen += [head.headers.get(ALLOW), head.headers.get(CREDENTIALS), await client.messages()]
        await client.close()

    theirs, ours = await play_both(cors.make_app, scene)
    assert ours.seen == theirs.seen == ["https://friend.example", "true", ["hello"]]


async def test_other_routes_of_the_application_keep_what_they_have() -> None:
    async def scene(base: str, record: Record) -> None:
        for headers in (FRIEND, STRANGER):
            head, body = await fetch(f"{base}/other", headers=headers)
            record.seen += [body, head.headers.get(ALLOW)]

    theirs, ours = await play_both(cors.make_app, scene)
    assert ours.seen == theirs.seen == [b"not SockJS", "https://friend.example", b"not SockJS", None]


async def test_a_page_of_another_origin_may_not_read_and_is_refused_by_ours() -> None:
    async def scene(base: str, record: Record) -> None:
        for path in ("/sockjs/info", "/sockjs/000/x/eventsource"):
            client = Client(f"{base}/sockjs", "eventsource", headers=STRANGER)
            head = await client.begin() if "000" in path else (await fetch(base + path, headers=STRANGER))[0]
            assert head is not None
            record.seen += [head.status, head.headers.get(ALLOW)]
            if client.wire is not None:
                await client.close()

    theirs, ours = await play_both(cors.make_app, scene)
    assert theirs.seen == [200, None, 200, None]
    assert ours.seen == [403, None, 403, None]
